"""How a state travels: as a tuple of codec values (docs/spec/zp2p-1.md, "Messages").

``[participants, channel_nonce, app_definition, challenge_duration, app_data, outcome, turn_num,
is_final]``; an outcome is ``[[asset, [asset_type, metadata], [allocation, ...]], ...]``, an
allocation ``[destination, amount, allocation_type, metadata]``. Amounts are big-endian bytes
without leading zeros (zero is empty), for uint256 does not fit MessagePack's integers.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from zmqp2p.codec import Value
from zmqp2p.errors import InvalidValue
from zmqp2p.ids import HASH_SIZE
from zmqp2p.state.types import (
    Allocation,
    AssetExit,
    FixedPart,
    State,
    VariablePart,
    check_bytes_up_to,
    within,
)

T = TypeVar("T")


def state_to_value(state: State) -> Value:
    """Return ``state`` as a codec value."""
    fixed, variable = state.fixed, state.variable
    return (
        fixed.participants,
        fixed.channel_nonce,
        fixed.app_definition,
        fixed.challenge_duration,
        variable.app_data,
        tuple([_asset_exit_to_value(item) for item in variable.outcome]),
        variable.turn_num,
        variable.is_final,
    )


def state_from_value(value: object) -> State:
    """Return the state that ``value``, a decoded codec value, stands for.

    Raises:
        InvalidValue: it stands for none; the field is named by its path, as in
            ``outcome[1].allocations[0].amount``.
    """
    items = _exactly(8, value)
    fixed = FixedPart(*items[:4])
    outcome = _each("outcome", items[5], _asset_exit_from_value)
    return State(fixed, VariablePart(items[4], outcome, items[6], items[7]))


def _asset_exit_to_value(item: AssetExit) -> Value:
    return (
        item.asset,
        (item.asset_type, item.asset_metadata),
        tuple([_allocation_to_value(allocation) for allocation in item.allocations]),
    )


def _asset_exit_from_value(value: object) -> AssetExit:
    asset, kind, allocations = _exactly(3, value)
    try:
        asset_type, metadata = _exactly(2, kind)
    except InvalidValue as fault:
        raise within("asset_metadata", fault) from None
    return AssetExit(
        asset, _each("allocations", allocations, _allocation_from_value), asset_type, metadata
    )


def _allocation_to_value(item: Allocation) -> Value:
    amount = item.amount
    return (
        item.destination,
        amount.to_bytes((amount.bit_length() + 7) // 8),
        item.allocation_type,
        item.metadata,
    )


def _allocation_from_value(value: object) -> Allocation:
    destination, amount, allocation_type, metadata = _exactly(4, value)
    digits = check_bytes_up_to("amount", amount, HASH_SIZE)
    if digits.startswith(b"\0"):
        raise InvalidValue("amount", "has a leading zero")
    return Allocation(destination, int.from_bytes(digits), allocation_type, metadata)


def _each(field: str, value: object, convert: Callable[[object], T]) -> tuple[T, ...]:
    if type(value) is not tuple:
        raise InvalidValue(field, "must be an array")
    done: list[T] = []
    try:
        for item in value:
            done.append(convert(item))  # noqa: PERF401  # Its length names the item that fails.
    except InvalidValue as fault:
        raise within(f"{field}[{len(done)}]", fault) from None
    return tuple(done)


def _exactly(count: int, value: object) -> tuple[Any, ...]:
    """Return ``value`` if it is a tuple of ``count``; constructors check the items' types."""
    if type(value) is not tuple or len(value) != count:
        raise InvalidValue("", f"must be an array of {count} items")
    return value
