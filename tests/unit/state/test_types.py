"""A state's values are refused out of range, with the field named."""

from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from zmqp2p.errors import InvalidValue
from zmqp2p.ids import ZERO_ADDRESS, Address, TurnNum
from zmqp2p.state import (
    Allocation,
    AssetExit,
    FixedPart,
    State,
    VariablePart,
    destination_of,
    is_external,
)
from zmqp2p.state.types import check_channel_id, within

ALICE = Address(b"\xa1" * 20)
BOB = Address(b"\xb0" * 20)
ALLOCATION = Allocation(destination_of(ALICE), 5)
EXIT = AssetExit(ZERO_ADDRESS, (ALLOCATION,))
FIXED = FixedPart((ALICE, BOB), 1)
VARIABLE = VariablePart(b"", (EXIT,), TurnNum(0), is_final=False)
STATE = State(FIXED, VARIABLE)

EDGES: list[
    tuple[Any, str, list[Any], list[Any]]
] = [  # Value, field, the last good, the first bad.
    (ALLOCATION, "destination", [bytes(32)], [bytes(31), bytes(33), bytearray(32), "x" * 32]),
    (ALLOCATION, "amount", [0, 2**256 - 1], [-1, 2**256, True, 1.0, b"\x01", None]),
    (ALLOCATION, "allocation_type", [0, 255], [-1, 256, False]),
    (ALLOCATION, "metadata", [b"", bytes(65_536)], [bytes(65_537), bytearray(1), "x"]),
    (EXIT, "asset", [bytes(20)], [bytes(19), bytes(21), "x" * 20]),
    (EXIT, "asset_type", [0, 255], [-1, 256, True]),
    (EXIT, "asset_metadata", [b"", bytes(65_536)], [bytes(65_537), None]),
    (EXIT, "allocations", [(), (ALLOCATION,) * 512], [(ALLOCATION,) * 513, [ALLOCATION], None]),
    (FIXED, "participants", [(ALICE,)], [(), [ALICE, BOB], (ALICE, BOB, ALICE), None]),
    (FIXED, "channel_nonce", [0, 2**64 - 1], [-1, 2**64, True]),
    (FIXED, "app_definition", [bytes(20)], [bytes(19), bytes(21), None]),
    (FIXED, "challenge_duration", [0, 2**48 - 1], [-1, 2**48, False]),
    (VARIABLE, "app_data", [b"", bytes(65_536)], [bytes(65_537), "x"]),
    (VARIABLE, "outcome", [(), (EXIT,) * 32], [(EXIT,) * 33, [EXIT], EXIT]),
    (VARIABLE, "turn_num", [0, 2**48 - 1], [-1, 2**48, True]),
    (VARIABLE, "is_final", [True, False], [0, 1, None]),
    (STATE, "fixed", [FIXED], [VARIABLE, None]),
    (STATE, "variable", [VARIABLE], [FIXED, None]),
]


@pytest.mark.parametrize(
    ("value", "field", "good"), [(row[0], row[1], good) for row in EDGES for good in row[2]]
)
def test_the_last_value_in_range_is_kept(value: Any, field: str, good: Any) -> None:
    assert getattr(replace(value, **{field: good}), field) == good


@pytest.mark.parametrize(
    ("value", "field", "bad"), [(row[0], row[1], bad) for row in EDGES for bad in row[3]]
)
def test_the_first_value_out_of_range_is_refused_by_name(value: Any, field: str, bad: Any) -> None:
    with pytest.raises(InvalidValue) as caught:
        replace(value, **{field: bad})
    assert caught.value.field == field


def test_the_allocations_of_all_assets_are_bounded_together() -> None:
    """STA-5: what no transaction could hold is of no use, and takes long to look at."""
    half = AssetExit(ZERO_ADDRESS, (ALLOCATION,) * 256)
    assert replace(VARIABLE, outcome=(half, half)).outcome == (half, half)
    with pytest.raises(InvalidValue, match="512 allocations, not 513") as caught:
        replace(VARIABLE, outcome=(half, half, EXIT))
    assert caught.value.field == "outcome"


@pytest.mark.parametrize("where", ["app_data", "asset_metadata", "metadata"])
def test_app_data_and_all_metadata_are_bounded_together(where: str) -> None:
    """STA-5."""
    allocation = replace(ALLOCATION, metadata=bytes(40_000))
    exits = AssetExit(ZERO_ADDRESS, (allocation,), 0, bytes(50_000))
    app_data = bytes(131_072 - 90_000)
    assert replace(VARIABLE, app_data=app_data, outcome=(exits,)).outcome == (exits,)
    if where == "app_data":
        app_data += b"x"
    elif where == "asset_metadata":
        exits = replace(exits, asset_metadata=bytes(50_001))
    else:
        exits = replace(exits, allocations=(replace(allocation, metadata=bytes(40_001)),))
    with pytest.raises(
        InvalidValue, match="131072 bytes of metadata, with the app data, not 131073"
    ):
        replace(VARIABLE, app_data=app_data, outcome=(exits,))


def test_a_channel_has_up_to_255_participants() -> None:
    everyone = tuple(Address(number.to_bytes(20)) for number in range(256))
    assert len(replace(FIXED, participants=everyone[:255]).participants) == 255
    with pytest.raises(InvalidValue, match="participants: must be 1 to 255, not 256"):
        replace(FIXED, participants=everyone)


@pytest.mark.parametrize("bad", [bytes(19), bytes(21), "x" * 20, bytearray(20)])
def test_a_participant_is_20_bytes(bad: Any) -> None:
    with pytest.raises(InvalidValue) as caught:
        replace(FIXED, participants=(ALICE, bad))
    assert caught.value.field == "participants[1]"


def test_an_item_of_another_type_is_named_by_its_place() -> None:
    mixed: Any = (ALLOCATION, EXIT)
    with pytest.raises(InvalidValue) as caught:
        replace(EXIT, allocations=mixed)
    assert caught.value.field == "allocations[1]"
    with pytest.raises(InvalidValue) as caught:
        replace(VARIABLE, outcome=mixed[::-1])
    assert caught.value.field == "outcome[1]"
    assert caught.value.detail == "must be of type AssetExit, not Allocation"


def test_a_subclass_is_refused_for_it_need_not_check_anything() -> None:
    class Unchecked(Allocation):
        def __post_init__(self) -> None:
            pass

    with pytest.raises(InvalidValue, match=r"allocations\[0\]"):
        AssetExit(ZERO_ADDRESS, (Unchecked(b"", -1),))


def test_the_defaults_are_a_simple_channel() -> None:
    assert FIXED.app_definition == ZERO_ADDRESS
    assert FIXED.challenge_duration == 86_400
    assert (ALLOCATION.allocation_type, ALLOCATION.metadata) == (0, b"")
    assert (EXIT.asset_type, EXIT.asset_metadata) == (0, b"")


def test_values_are_frozen_comparable_and_hashable() -> None:
    same = State(replace(FIXED), replace(VARIABLE))
    assert same == STATE
    assert hash(same) == hash(STATE)
    assert replace(STATE, variable=replace(VARIABLE, is_final=True)) != STATE
    with pytest.raises(FrozenInstanceError):
        ALLOCATION.amount = 6  # type: ignore[misc]


def test_the_destination_of_an_address_is_external() -> None:
    assert destination_of(ALICE) == bytes(12) + ALICE
    assert is_external(destination_of(ALICE))
    assert is_external(bytes(32))
    assert not is_external(bytes(11) + b"\x01" + ALICE)


@pytest.mark.parametrize("bad", [bytes(19), bytes(21), None])
def test_the_destination_of_something_else_is_refused(bad: Any) -> None:
    with pytest.raises(InvalidValue, match="address"):
        destination_of(bad)


@pytest.mark.parametrize("bad", [bytes(31), bytes(33), None])
def test_only_32_bytes_can_be_a_destination(bad: Any) -> None:
    with pytest.raises(InvalidValue, match="destination"):
        is_external(bad)


def test_a_channel_id_that_looks_external_is_refused() -> None:
    """The adjudicator would pay the channel's funds to an address instead."""
    close = bytes(11) + b"\x01" + bytes(20)
    assert check_channel_id("channel_id", close) == close
    with pytest.raises(InvalidValue, match="channel_id: looks like an external destination"):
        check_channel_id("channel_id", bytes(12) + b"\xff" * 20)
    with pytest.raises(InvalidValue, match="channel_id: must be 32 bytes"):
        check_channel_id("channel_id", b"\xff" * 31)


@pytest.mark.parametrize(
    ("outer", "inner", "path"),
    [("a", "b", "a.b"), ("a", "[1].b", "a[1].b"), ("a", "", "a"), ("a[2]", "b", "a[2].b")],
)
def test_a_field_within_another_is_named_by_its_path(outer: str, inner: str, path: str) -> None:
    fault = within(outer, InvalidValue(inner, "why"))
    assert (fault.field, fault.detail) == (path, "why")
