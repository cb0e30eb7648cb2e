"""The signing ledger: never two signatures for one turn, whoever asks for them."""

import pytest

from zmqp2p.crypto import SecretKey
from zmqp2p.engine.output import EngineOutput
from zmqp2p.engine.signing import SigningLedger
from zmqp2p.errors import SignedAlready, StoreError
from zmqp2p.ids import ChannelId, StateHash, TurnNum
from zmqp2p.persistence import PutSigned, Signed, Write
from zmqp2p.state import recover_hash_signer

KEY = SecretKey(bytes(31) + b"\x07")
CHANNEL, OTHER = ChannelId(b"\x01" * 32), ChannelId(b"\x02" * 32)
ONE, TWO = StateHash(b"1" * 32), StateHash(b"2" * 32)


def turn(number: int) -> TurnNum:
    return TurnNum(number)


class Sut:
    """A ledger and what it asks to be stored."""

    def __init__(self) -> None:
        self.output = EngineOutput()
        self.ledger = SigningLedger(KEY, self.output)

    def writes(self) -> list[Write]:
        """Return what was asked for since."""
        writes, self.output.writes = self.output.writes, []
        return writes

    def refuses(self, number: int, state_hash: StateHash) -> SignedAlready:
        """Assert that it may not be signed, and that nothing changes."""
        before = self.ledger.last(CHANNEL)
        with pytest.raises(SignedAlready) as caught:
            self.ledger.sign(CHANNEL, turn(number), state_hash)
        assert self.ledger.last(CHANNEL) == before
        assert self.writes() == []
        return caught.value


def signed_five() -> Sut:
    sut = Sut()
    sut.ledger.sign(CHANNEL, turn(5), ONE)
    assert sut.writes() == [PutSigned(CHANNEL, turn(5), ONE)]
    return sut


def test_what_is_signed_is_recorded() -> None:
    """SIG-2."""
    sut = Sut()
    assert sut.ledger.last(CHANNEL) is None
    signature = sut.ledger.sign(CHANNEL, turn(0), ONE)
    assert recover_hash_signer(ONE, signature) == KEY.address == sut.ledger.address
    assert sut.writes() == [PutSigned(CHANNEL, turn(0), ONE)]
    assert sut.ledger.last(CHANNEL) == Signed(turn(0), ONE)
    sut.ledger.check()


def test_the_same_state_may_be_signed_again_and_the_signature_is_the_same() -> None:
    """SIG-2: a retry is no second signature, and needs no second record."""
    sut = Sut()
    first = sut.ledger.sign(CHANNEL, turn(5), ONE)
    sut.writes()
    assert sut.ledger.sign(CHANNEL, turn(5), ONE) == first
    assert sut.writes() == []


def test_another_state_of_the_same_turn_is_refused_and_says_what_was_signed() -> None:
    """SIG-2."""
    fault = signed_five().refuses(5, TWO)
    assert (fault.channel, fault.turn_num) == (CHANNEL, 5)
    assert (fault.signed_turn, fault.signed_hash) == (5, ONE)
    assert f"0x{ONE.hex()} of turn 5" in str(fault)


@pytest.mark.parametrize("number", [0, 4])
@pytest.mark.parametrize("state_hash", [ONE, TWO])
def test_an_earlier_turn_is_refused_whatever_its_state(number: int, state_hash: StateHash) -> None:
    """SIG-2: which states of the earlier turns were signed is not kept."""
    assert signed_five().refuses(number, state_hash).signed_turn == 5


def test_a_later_turn_replaces_the_row() -> None:
    sut = signed_five()
    sut.ledger.sign(CHANNEL, turn(9), ONE)
    assert sut.writes() == [PutSigned(CHANNEL, turn(9), ONE)]
    assert sut.refuses(5, ONE).signed_turn == 9


def test_channels_are_kept_apart() -> None:
    sut = signed_five()
    sut.ledger.sign(OTHER, turn(2), TWO)
    assert sut.ledger.last(CHANNEL) == Signed(turn(5), ONE)
    assert sut.ledger.last(OTHER) == Signed(turn(2), TWO)


def test_the_next_run_remembers() -> None:
    sut = Sut()
    sut.ledger.load({CHANNEL: Signed(turn(5), ONE)})
    sut.ledger.check()
    sut.refuses(5, TWO)
    sut.ledger.sign(CHANNEL, turn(5), ONE)
    assert sut.writes() == []


# --- Drafts -------------------------------------------------------------------------------------


def test_a_draft_leaves_no_trace_until_it_is_recorded() -> None:
    sut = signed_five()
    draft = sut.ledger.draft()
    assert draft.address == KEY.address
    draft.sign_hash(CHANNEL, turn(6), ONE)
    draft.sign_hash(OTHER, turn(0), ONE)
    assert sut.writes() == []
    assert sut.ledger.last(CHANNEL) == Signed(turn(5), ONE)
    sut.ledger.record(draft)
    assert sut.writes() == [PutSigned(CHANNEL, turn(6), ONE), PutSigned(OTHER, turn(0), ONE)]


def test_a_draft_knows_what_it_has_signed_itself() -> None:
    """Several turns of one channel in one crank: each above the last, and the last is recorded."""
    sut = Sut()
    draft = sut.ledger.draft()
    draft.sign_hash(CHANNEL, turn(0), ONE)
    draft.sign_hash(CHANNEL, turn(1), TWO)
    draft.sign_hash(CHANNEL, turn(1), TWO)
    with pytest.raises(SignedAlready) as caught:
        draft.sign_hash(CHANNEL, turn(0), ONE)
    assert (caught.value.signed_turn, caught.value.signed_hash) == (1, TWO)
    sut.ledger.record(draft)
    assert sut.writes() == [PutSigned(CHANNEL, turn(1), TWO)]


def test_an_outdated_draft_cannot_be_recorded() -> None:
    """Two drafts that sign one turn: a fault of our own, which must not get any further."""
    sut = Sut()
    drafts = [sut.ledger.draft(), sut.ledger.draft()]
    for draft, state_hash in zip(drafts, (ONE, TWO), strict=True):
        draft.sign_hash(CHANNEL, turn(0), state_hash)
    sut.ledger.record(drafts[0])
    with pytest.raises(AssertionError):
        sut.ledger.record(drafts[1])
    assert sut.writes() == [PutSigned(CHANNEL, turn(0), ONE)]


# --- Signatures found in objectives -------------------------------------------------------------


def test_a_signature_that_only_an_objective_knows_of_is_taken_up() -> None:
    sut = Sut()
    for number in (0, 1):
        sut.ledger.adopt(CHANNEL, Signed(turn(number), ONE))
    assert sut.writes() == [PutSigned(CHANNEL, turn(number), ONE) for number in (0, 1)]
    sut.refuses(1, TWO)


def test_what_the_ledger_knows_already_is_not_taken_up_again() -> None:
    sut = signed_five()
    sut.ledger.adopt(CHANNEL, Signed(turn(5), ONE))
    sut.ledger.adopt(CHANNEL, Signed(turn(1), TWO))
    assert sut.writes() == []
    assert sut.ledger.last(CHANNEL) == Signed(turn(5), ONE)


def test_a_store_that_knows_two_signatures_for_one_turn_is_damaged() -> None:
    with pytest.raises(StoreError, match="turn 5"):
        signed_five().ledger.adopt(CHANNEL, Signed(turn(5), TWO))


@pytest.mark.parametrize("row", [Signed(turn(-1), ONE), Signed(turn(1), StateHash(b""))])
def test_a_row_that_cannot_be_one_is_found(row: Signed) -> None:
    sut = Sut()
    sut.ledger.load({CHANNEL: row})
    with pytest.raises(AssertionError):
        sut.ledger.check()
