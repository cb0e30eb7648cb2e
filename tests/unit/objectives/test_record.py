"""Stored objectives: one encoding each, and nothing else decodes."""

from dataclasses import replace

import pytest

from tests.unit.objectives.world import (
    ALICE,
    APP_DATA,
    BOB,
    CAROL,
    ETHER,
    KEYS,
    TOKEN,
    World,
    exit_of,
    fixed_of,
    proposal_of,
    state_of,
)
from zmqp2p import codec
from zmqp2p.codec import Value
from zmqp2p.codes import RejectCode
from zmqp2p.errors import DecodeError, InvalidValue
from zmqp2p.ids import TurnNum
from zmqp2p.messages import RejectProposal
from zmqp2p.objectives import DirectFund, Status
from zmqp2p.objectives.record import Rejection, Told, with_item
from zmqp2p.state import sign_hash

FIXED = fixed_of(3)
OUTCOME = (
    exit_of(ETHER, (ALICE, 5), (BOB, 2**255), (CAROL, 1)),
    exit_of(TOKEN, (BOB, 3), (CAROL, 9)),
)
PREFUND = state_of(FIXED, OUTCOME)


def received() -> DirectFund:
    """Bob's objective: undecided, signed by Alice."""
    return DirectFund.from_proposal(BOB, ALICE, proposal_of(PREFUND, KEYS[0]))


def funding() -> DirectFund:
    """Bob's objective: all prefund signatures held, his token deposit under way."""
    world = World(FIXED, OUTCOME)
    for sender, to in ((ALICE, BOB), (ALICE, CAROL)):
        world.deliver(sender, to)
        world.decide(world.nodes[to])
    world.deliver(CAROL, BOB)
    fund = world.nodes[BOB].fund
    assert fund is not None
    assert fund.outstanding == (None, 0)
    return fund


def completed() -> DirectFund:
    """Bob's objective at its end."""
    world = World(FIXED, OUTCOME)
    world.settle()
    fund = world.nodes[BOB].fund
    assert fund is not None
    return fund


def rejected() -> DirectFund:
    """Bob's objective: rejected by himself, nobody told yet."""
    return received().rejected_by_me(RejectCode.BUSY, "später")


ALL = [received, funding, completed, rejected]

# Places in the array of an encoded record.
VERSION, ME, STATE, STATUS, TOLD, PREFUNDS, POSTFUNDS, HELD, OUTSTANDING, REJECTION, OWED = range(
    11
)


def changed(fund: DirectFund, place: int, value: Value) -> bytes:
    """Return the encoding of ``fund`` with another value at ``place``."""
    items = codec.decode(fund.encode())
    assert isinstance(items, tuple)
    return codec.encode(with_item(items, place, value))


@pytest.mark.parametrize("make", ALL)
def test_what_was_stored_comes_back_equal(make: object) -> None:
    fund: DirectFund = make()  # type: ignore[operator]
    again = DirectFund.decode(fund.encode())
    assert again == fund
    assert type(again) is DirectFund
    assert again.terms.hashes == fund.terms.hashes
    assert again.encode() == fund.encode()


@pytest.mark.parametrize("make", ALL)
def test_no_prefix_and_no_longer_string_decodes(make: object) -> None:
    data = make().encode()  # type: ignore[operator]
    for size in range(len(data)):
        with pytest.raises(DecodeError):
            DirectFund.decode(data[:size])
    with pytest.raises(DecodeError):
        DirectFund.decode(data + b"\x00")


@pytest.mark.parametrize("make", ALL)
def test_a_changed_byte_decodes_to_another_objective_or_not_at_all(make: object) -> None:
    """Any bytes give a value whose encoding they are, or a DecodeError, never another error."""
    fund: DirectFund = make()  # type: ignore[operator]
    data = fund.encode()
    for position in range(len(data)):
        bad = data[:position] + bytes([data[position] ^ 0x01]) + data[position + 1 :]
        try:
            other = DirectFund.decode(bad)
        except DecodeError:
            continue
        assert other != fund
        assert other.encode() == bad


@pytest.mark.parametrize(
    "value",
    [0, b"", "", True, (), (1,), {}, {1: 2}, (1,) * 11, tuple((b"",) * 11)],
)
def test_other_values_are_no_objective(value: Value) -> None:
    with pytest.raises(DecodeError):
        DirectFund.decode(codec.encode(value))


@pytest.mark.parametrize("version", [0, 2])
def test_another_version_is_refused(version: int) -> None:
    with pytest.raises(DecodeError, match="not a stored objective"):
        DirectFund.decode(changed(received(), VERSION, version))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (ME, KEYS[4].address),
        (ME, b""),
        (VERSION, True),
        (STATE, ()),
        (STATUS, "paused"),
        (TOLD, 9),
        (TOLD, True),
        (PREFUNDS, (b"", b"")),
        (PREFUNDS, (1, b"", b"")),
        (PREFUNDS, (b"\x01" * 64, b"", b"")),
        (PREFUNDS, (b"\xff" * 65, b"", b"")),
        (PREFUNDS, (b"\x01" * 64 + b"\x00", b"", b"")),  # v is 27 or 28 in the store.
        (POSTFUNDS, (b"",) * 4),
        (HELD, (b"",)),
        (HELD, (b"\x00\x01", b"")),  # A leading zero.
        (HELD, (b"\x01" * 33, b"")),
        (HELD, (1, 1)),
        (OUTSTANDING, ((),)),
        (OUTSTANDING, ((b"", b""), ())),
        (OUTSTANDING, ((1,), ())),
        (OUTSTANDING, (b"", ())),
        (REJECTION, (BOB, 1)),
        (REJECTION, b""),
        (REJECTION, (BOB, 99, "")),
        (REJECTION, (BOB, 1, "x" * 201)),
        (OWED, (1,)),
    ],
)
def test_a_field_of_another_shape_is_refused(place: int, value: Value) -> None:
    for make in ALL:
        with pytest.raises(DecodeError):
            DirectFund.decode(changed(make(), place, value))


def test_terms_that_cannot_be_funded_are_refused() -> None:
    data = received().encode()
    items = codec.decode(data)
    assert isinstance(items, tuple)
    state = items[STATE]
    assert isinstance(state, tuple)
    with pytest.raises(DecodeError, match="outcome"):
        DirectFund.decode(changed(received(), STATE, with_item(state, 5, ())))


# --- Invariants ---------------------------------------------------------------------------------

SIGNATURE = sign_hash(received().terms.hashes[0], KEYS[1])
NOTHING = (None, None, None)
EVERYTHING = (SIGNATURE,) * 3
FULL = completed().held
REJECT = RejectProposal(received().channel_id, TurnNum(0), RejectCode.BUSY, "")


@pytest.mark.parametrize(
    ("make", "field", "changes"),
    [
        (received, "status", {"signed": ((SIGNATURE,) * 3, NOTHING)}),
        (received, "status", {"signed": (NOTHING, (None, SIGNATURE, None))}),
        (funding, "signed[1]", {"signed": (EVERYTHING, (None, SIGNATURE, None))}),
        (
            funding,
            "signed[1]",
            {"signed": ((None, SIGNATURE, None), (None, SIGNATURE, None)), "held": FULL},
        ),
        (completed, "status", {"signed": (EVERYTHING, (None, SIGNATURE, SIGNATURE))}),
        (completed, "signed[1]", {"signed": ((SIGNATURE, SIGNATURE, None), EVERYTHING)}),
        (
            completed,
            "status",
            {"signed": ((SIGNATURE, SIGNATURE, None), (SIGNATURE, None, SIGNATURE))},
        ),
        (funding, "status", {"status": Status.COMPLETED}),
        (received, "told", {"told": Told.PREFUND_COMPLETE}),
        (received, "told", {"told": Told.REJECTED}),
        (funding, "outstanding", {"outstanding": (0, None)}),  # Not safe: Alice has not paid.
        (funding, "outstanding", {"outstanding": (None, 1)}),  # Never seen on the chain.
        (funding, "outstanding", {"held": (0, 3)}),  # Not needed any more.
        (received, "outstanding", {"outstanding": (None, 0)}),
        (
            rejected,
            "outstanding",
            {
                "signed": (EVERYTHING, NOTHING),
                "outstanding": (None, 0),
                "rejection": Rejection(ALICE, REJECT),
                "owed": (),
            },
        ),
        (funding, "outstanding", {"signed": ((SIGNATURE, SIGNATURE, None), NOTHING), "told": 0}),
        (received, "rejection", {"status": Status.REJECTED}),
        (received, "rejection", {"rejection": Rejection(ALICE, REJECT)}),
        (rejected, "rejection", {"rejection": Rejection(KEYS[5].address, REJECT), "owed": ()}),
        (
            rejected,
            "rejection",
            {"rejection": Rejection(BOB, replace(REJECT, turn_num=TurnNum(1)))},
        ),
        (rejected, "rejection", {"signed": ((None, SIGNATURE, None), NOTHING)}),
        (rejected, "owed", {"owed": (BOB,)}),
        (rejected, "owed", {"owed": (ALICE, ALICE)}),
        (rejected, "owed", {"rejection": Rejection(ALICE, REJECT)}),
        (received, "owed", {"owed": (ALICE,)}),
        (received, "terms", {"held": (0,)}),
        (received, "held", {"held": (0, -1)}),
    ],
)
def test_a_contradiction_is_found(make: object, field: str, changes: dict[str, object]) -> None:
    fund: DirectFund = make()  # type: ignore[operator]
    fund.check()
    with pytest.raises(InvalidValue) as fault:
        replace(fund, **changes).check()  # type: ignore[arg-type]
    assert fault.value.field == field


def test_a_proposer_is_not_told_of_its_own_proposal() -> None:
    fund = DirectFund.propose(FIXED, OUTCOME, APP_DATA, ALICE)
    with pytest.raises(InvalidValue) as fault:
        replace(fund, told=Told.PROPOSED).check()
    assert fault.value.field == "told"


def test_a_contradiction_in_the_store_is_refused() -> None:
    with pytest.raises(DecodeError, match="contradicts"):
        DirectFund.decode(changed(received(), STATUS, Status.REJECTED.value))
