"""A state travels as one value, and a value that is not a state is refused by the path."""

from typing import Any

import pytest

from zmqp2p.errors import InvalidValue
from zmqp2p.ids import Address, TurnNum
from zmqp2p.state import Allocation, AssetExit, FixedPart, State, VariablePart
from zmqp2p.state.packing import state_from_value, state_to_value

ALICE, BOB, APP, TOKEN = (Address(bytes((number,)) * 20) for number in (1, 2, 3, 4))
DESTINATION = b"\x05" * 32
STATE = State(
    FixedPart((ALICE, BOB), 6, APP, 7),
    VariablePart(
        b"8",
        (
            AssetExit(TOKEN, ()),
            AssetExit(TOKEN, (Allocation(DESTINATION, 0x0900, 10, b"11"),), 12, b"13"),
        ),
        TurnNum(14),
        is_final=True,
    ),
)
EXITS: tuple[Any, ...] = (
    (TOKEN, (0, b""), ()),
    (TOKEN, (12, b"13"), ((DESTINATION, b"\x09\x00", 10, b"11"),)),
)
VALUE: tuple[Any, ...] = ((ALICE, BOB), 6, APP, 7, b"8", EXITS, 14, True)


def with_item(value: Any, path: tuple[int, ...], item: Any) -> Any:
    """Return ``value`` with ``item`` at ``path``, an index per level."""
    if not path:
        return item
    at = path[0]
    return (*value[:at], with_item(value[at], path[1:], item), *value[at + 1 :])


def test_a_state_is_the_value_that_the_spec_shows() -> None:
    assert state_to_value(STATE) == VALUE
    assert state_from_value(VALUE) == STATE


@pytest.mark.parametrize(
    ("amount", "written"), [(0, b""), (255, b"\xff"), (256, b"\1\0"), (2**256 - 1, b"\xff" * 32)]
)
def test_an_amount_has_no_leading_zeros(amount: int, written: bytes) -> None:
    value = with_item(VALUE, (5, 1, 2, 0, 1), written)
    state = state_from_value(value)
    assert state.variable.outcome[1].allocations[0].amount == amount
    assert state_to_value(state) == value


@pytest.mark.parametrize(
    ("path", "item", "field"),
    [
        ((), 5, ""),
        ((), VALUE[:7], ""),
        ((), (*VALUE, 0), ""),
        ((0,), 5, "participants"),
        ((0, 1), ALICE, "participants"),
        ((0, 1), b"", "participants[1]"),
        ((1,), -1, "channel_nonce"),
        ((2,), b"", "app_definition"),
        ((3,), True, "challenge_duration"),
        ((4,), "", "app_data"),
        ((5,), {}, "outcome"),
        ((5, 0), 5, "outcome[0]"),
        ((5, 1), EXITS[1][:2], "outcome[1]"),
        ((5, 1, 0), b"", "outcome[1].asset"),
        ((5, 1, 1), 5, "outcome[1].asset_metadata"),
        ((5, 1, 1), (0,), "outcome[1].asset_metadata"),
        ((5, 1, 1), (0, b"", 0), "outcome[1].asset_metadata"),
        ((5, 1, 1, 0), 256, "outcome[1].asset_type"),
        ((5, 1, 1, 1), "", "outcome[1].asset_metadata"),
        ((5, 1, 2), b"", "outcome[1].allocations"),
        ((5, 1, 2, 0), 5, "outcome[1].allocations[0]"),
        ((5, 1, 2, 0, 0), b"", "outcome[1].allocations[0].destination"),
        ((5, 1, 2, 0, 1), 5, "outcome[1].allocations[0].amount"),
        ((5, 1, 2, 0, 1), b"\x00", "outcome[1].allocations[0].amount"),
        ((5, 1, 2, 0, 1), b"\x00\x01", "outcome[1].allocations[0].amount"),
        ((5, 1, 2, 0, 1), b"\x01" + bytes(32), "outcome[1].allocations[0].amount"),
        ((5, 1, 2, 0, 2), -1, "outcome[1].allocations[0].allocation_type"),
        ((5, 1, 2, 0, 3), 5, "outcome[1].allocations[0].metadata"),
        ((6,), b"", "turn_num"),
        ((7,), 1, "is_final"),
    ],
)
def test_what_is_no_state_is_refused_by_its_path(
    path: tuple[int, ...], item: Any, field: str
) -> None:
    with pytest.raises(InvalidValue) as caught:
        state_from_value(with_item(VALUE, path, item))
    assert caught.value.field == field
