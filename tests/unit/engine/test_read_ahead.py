"""What is read before its turn is the same when its turn comes, bounded, and not kept for long."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.engine_world import HIGH, LOW, MIDDLE, START_MS, Note, Sut, note
from tests.frames import UNSAID, progress_of
from tests.unit.engine.test_proofs import propose
from zmqp2p.codes import RefusalCode
from zmqp2p.crypto import SecretKey
from zmqp2p.engine import engine, foresight
from zmqp2p.engine.foresight import RESTS_MAX
from zmqp2p.engine.pending import Pending
from zmqp2p.engine.proofs import Proof, Proofs
from zmqp2p.ids import Seq
from zmqp2p.limits import READ_AHEAD_MAX, READ_AHEAD_MAX_BYTES, Limits
from zmqp2p.messages import ProposeState, encode_message, message, read_body
from zmqp2p.session.inbox import Inbox
from zmqp2p.wire.frames import Data

PEER, ANOTHER = 1, 2


def signed(turn: int, key: SecretKey = LOW, deadline_ms: int | None = None) -> bytes:
    return encode_message(propose(turn, key), deadline_ms)


@message(303)
@dataclass(frozen=True)
class Many:
    """A message of many items."""

    numbers: tuple[int, ...]


def ahead_of(sut: Sut, inbox: Inbox) -> int:
    """Return how many messages are held that were read before their turn."""
    known = sut.engine._foresight.ahead.get(inbox)  # noqa: SLF001
    return 0 if known is None else len(known.messages)


def engine_with(*bodies: bytes) -> Sut:
    """Return an engine in which ``bodies`` of one peer wait; another peer is there too."""
    sut = Sut(MIDDLE, limits=Limits(subscribe_grace_s=0.0))
    for kind in (Note, ProposeState):
        sut.engine.subscribe(kind, None)
    sut.meet(PEER, LOW)
    sut.meet(ANOTHER, HIGH)
    sut.begin()
    come(sut, PEER, *bodies)
    return sut


def come(sut: Sut, link: int, *bodies: bytes, first: int = 1) -> None:
    for at in range(0, len(bodies), 100):
        data = Data(Seq(first + at), UNSAID, progress_of(), bodies[at : at + 100])
        sut.take(link, data)


def hand_out(sut: Sut) -> Pending:
    """Return the next message; it is in progress."""
    (pending,) = [one for one in sut.engine.deliveries(1) if one is not None]
    return pending


def row_of(proofs: Proofs | None) -> list[Proof]:
    """Take all that is in a row."""
    taken: list[Proof] = []
    while proofs is not None and (proof := proofs.take()) is not None:
        taken.append(proof)
    return taken


def test_what_was_read_is_handed_out_as_it_was_with_its_signature() -> None:
    sut = engine_with(signed(2), signed(3), note("unsigned"), signed(4, HIGH))
    first = hand_out(sut)
    assert first.proof is None
    proofs = sut.engine.read_ahead(first)
    assert proofs is not None
    sut.engine.complete(first)
    rest = []
    for _ in range(3):
        rest.append(hand_out(sut))
        sut.engine.complete(rest[-1])
        sut.engine.check()
    assert [one.seq for one in rest] == [2, 3, 4]
    assert [one.message for one in rest] == [propose(3), Note("unsigned"), propose(4, HIGH)]
    assert [one.proof for one in rest if one.proof is not None] == row_of(proofs)
    assert [one.proof and one.proof.signer for one in rest] == [LOW.address, None, HIGH.address]


def test_nothing_more_is_read_before_all_that_was_has_had_its_turn() -> None:
    sut = engine_with(*[signed(turn) for turn in range(2, READ_AHEAD_MAX + 10)])
    first = hand_out(sut)
    assert len(row_of(sut.engine.read_ahead(first))) == READ_AHEAD_MAX
    for _ in range(READ_AHEAD_MAX):
        sut.engine.complete(first)
        first = hand_out(sut)
        assert first.proof is not None
        again = sut.engine.read_ahead(first)
        assert (again is None) == (first.seq <= READ_AHEAD_MAX)
    assert len(row_of(again)) == 7


@pytest.mark.parametrize("body", [b"no message", note("x" * READ_AHEAD_MAX_BYTES)])
def test_it_ends_before_what_cannot_be_read_or_is_too_much(body: bytes) -> None:
    sut = engine_with(signed(2), signed(3), body, signed(4))
    assert len(row_of(sut.engine.read_ahead(hand_out(sut)))) == 1


@pytest.mark.parametrize(("more", "read"), [(0, 3), (1, 2)])
def test_so_many_bytes_are_read_and_no_more(more: int, read: int) -> None:
    begin = signed(3) + note("x" * 16_000)
    rest = READ_AHEAD_MAX_BYTES - len(begin) - len(note("x" * 1_000)) + 1_000
    last = note("x" * (rest + more))
    assert len(begin) + len(last) == READ_AHEAD_MAX_BYTES + more
    sut = engine_with(signed(2), signed(3), note("x" * 16_000), last)
    first = hand_out(sut)
    sut.engine.read_ahead(first)
    sut.engine.check()
    assert ahead_of(sut, first.inbox) == read


def test_what_bears_no_signature_gives_nobody_anything_to_do() -> None:
    sut = engine_with(note("a"), note("b"))
    assert sut.engine.read_ahead(hand_out(sut)) is None
    sut = engine_with(note("a"))
    assert sut.engine.read_ahead(hand_out(sut)) is None


def test_of_each_that_waits_so_much_is_read_that_it_soon_has_its_turn() -> None:
    sut = engine_with(*[signed(turn) for turn in range(2, 100)])
    come(sut, ANOTHER, *[signed(turn, HIGH) for turn in range(2, 100)])
    assert len(row_of(sut.engine.read_ahead(hand_out(sut)))) == READ_AHEAD_MAX // 2


def test_a_deadline_is_looked_at_when_it_has_its_turn() -> None:
    sut = engine_with(signed(2), signed(3, deadline_ms=START_MS + 500), signed(4))
    first = hand_out(sut)
    assert len(row_of(sut.engine.read_ahead(first))) == 2
    sut.engine.complete(first)
    sut.settle()
    sut.begin(later_s=1.0)
    assert list(sut.engine.deliveries(1)) == [None]
    assert hand_out(sut).seq == 3
    (refusal,) = first.inbox.refusals
    assert (refusal.seq, refusal.code) == (2, RefusalCode.EXPIRED)


def test_what_is_handed_out_again_is_what_it_was() -> None:
    """Its place in what was read is taken by the next; that is not mistaken for it."""
    sut = engine_with(signed(2), signed(3), signed(4))
    first = hand_out(sut)
    sut.engine.read_ahead(first)
    sut.engine.retry(first, "failed")
    sut.begin(later_s=1.0)
    sut.engine.tick()
    again = hand_out(sut)
    assert (again.seq, again.message, again.attempt) == (1, first.message, 2)
    sut.engine.complete(again)
    then = hand_out(sut)
    assert (then.seq, then.message) == (2, propose(3))
    assert then.proof is not None


def test_of_a_stream_that_is_held_up_nothing_is_kept() -> None:
    sut = engine_with(signed(2), signed(3), signed(4))
    first = hand_out(sut)
    sut.engine.read_ahead(first)
    sut.engine.retry(first, "failed")
    for _ in range(RESTS_MAX):
        sut.settle()
        assert ahead_of(sut, first.inbox) == 2  # It may have its turn in the next one.
        sut.begin()
    sut.settle()
    assert ahead_of(sut, first.inbox) == 0
    assert sut.engine._foresight.ahead == {}  # noqa: SLF001


def test_of_a_stream_of_which_nothing_is_read_nothing_is_kept() -> None:
    """Or each of many that pass would leave something for a while."""
    sut = engine_with(signed(2))
    sut.engine.read_ahead(first := hand_out(sut))
    assert sut.engine._foresight.ahead == {}  # noqa: SLF001
    sut.engine.complete(first)
    come(sut, PEER, signed(3), signed(4), first=2)
    sut.engine.read_ahead(second := hand_out(sut))
    assert list(sut.engine._foresight.ahead) == [second.inbox]  # noqa: SLF001
    sut.engine.complete(second)
    assert hand_out(sut).proof is not None
    assert sut.engine._foresight.ahead == {}  # noqa: SLF001


@pytest.mark.parametrize("notes", [2, 10])
def test_what_has_its_turn_in_a_stretch_is_no_hindrance_to_what_follows(
    monkeypatch: pytest.MonkeyPatch, notes: int
) -> None:
    """One handler on the node's thread asks for signatures, another one runs elsewhere."""
    sut = Sut(MIDDLE, limits=Limits(subscribe_grace_s=0.0))
    sut.engine.subscribe(ProposeState, None)
    sut.engine.subscribe(Note, None, late=True)
    sut.meet(PEER, LOW)
    sut.begin()
    come(sut, PEER, signed(2), *[note("x")] * notes, *[signed(turn) for turn in range(3, 43)])
    decoded: list[bytes] = []

    def read(body: bytes) -> tuple[object, int]:
        decoded.append(body)
        return read_body(body)

    for module in (engine, foresight):
        monkeypatch.setattr(module, "read_body", read)
    first = hand_out(sut)
    sut.engine.read_ahead(first)
    sut.engine.complete(first)
    together: list[Pending] = []
    for pending in sut.engine.deliveries(1024):
        assert pending is not None
        together += [pending, *sut.engine.ahead(pending)]
    assert len(together) == notes
    for one, then in zip(together, [*together[1:], None], strict=True):
        sut.engine.complete(one, then)
        sut.engine.check()
        sut.settle()
        sut.begin()
    for _ in range(40):
        pending = hand_out(sut)
        sut.engine.read_ahead(pending)
        assert pending.proof is not None
        sut.engine.complete(pending)
        sut.settle()
        sut.begin()
    # What follows on the first note is looked at for the stretch, too, up to what is no note.
    assert len(decoded) == 1 + notes + 40 + notes


def test_what_comes_after_a_stretch_of_all_that_was_read_is_what_it_is() -> None:
    sut = Sut(MIDDLE, limits=Limits(subscribe_grace_s=0.0))
    sut.engine.subscribe(ProposeState, None)
    sut.engine.subscribe(Note, None, late=True)
    sut.meet(PEER, LOW)
    sut.begin()
    come(sut, PEER, signed(2), note("a"), note("b"))
    sut.engine.read_ahead(first := hand_out(sut))
    sut.engine.complete(first)
    for pending in sut.engine.deliveries(1024):
        assert pending is not None
        (then,) = sut.engine.ahead(pending)
        sut.engine.complete(pending, then)
    sut.engine.complete(then)
    come(sut, PEER, signed(3), first=4)
    last = hand_out(sut)
    assert (last.seq, last.message, last.proof) == (4, propose(3), None)


def test_where_many_streams_wait_each_message_is_read_once() -> None:
    """Of a dozen, whose turns are one message long, each has its next one a dozen turns later."""
    sut = Sut(MIDDLE, limits=Limits(subscribe_grace_s=0.0))
    sut.engine.subscribe(ProposeState, None)
    keys = [SecretKey(bytes([100 + number]) * 32) for number in range(12)]
    for link, key in enumerate(keys, 1):
        sut.meet(link, key)
    sut.begin()
    for link, key in enumerate(keys, 1):
        come(sut, link, *[signed(turn, key) for turn in range(2, 6)])
    row: list[Proof] = []
    handed: list[Pending] = []
    for _ in range(4 * len(keys)):
        handed.append(hand_out(sut))
        row += row_of(sut.engine.read_ahead(handed[-1]))
        sut.engine.complete(handed[-1])
        sut.settle()
        sut.begin()
    assert len(row) == 3 * len(keys)
    assert {id(one.proof) for one in handed if one.seq > 1} == set(map(id, row))


def test_of_a_stream_that_goes_on_all_is_kept() -> None:
    sut = engine_with(*[signed(turn) for turn in range(2, 7)])
    first = hand_out(sut)
    sut.engine.read_ahead(first)
    for left in (4, 3, 2, 1):
        sut.engine.complete(first)
        sut.settle()
        assert ahead_of(sut, first.inbox) == left
        sut.begin()
        first = hand_out(sut)
        assert first.proof is not None


def test_what_was_read_is_kept_while_others_have_their_turns() -> None:
    """Else it is read, and its signatures are examined, once more each time."""
    sut = engine_with(*[signed(turn) for turn in range(2, 7)])
    sut.engine.read_ahead(first := hand_out(sut))
    sut.engine.complete(first)
    for left in (4, 3, 2):
        for _ in range(RESTS_MAX):
            sut.settle()
            sut.begin()
        assert ahead_of(sut, first.inbox) == left
        again = hand_out(sut)
        assert again.proof is not None
        sut.engine.complete(again)


def test_what_is_read_later_is_kept_as_well() -> None:
    sut = engine_with(signed(2), signed(3))
    sut.engine.read_ahead(first := hand_out(sut))
    sut.engine.complete(first)
    sut.engine.complete(hand_out(sut))
    sut.settle()
    sut.begin()
    come(sut, PEER, signed(4), signed(5), first=3)
    third = hand_out(sut)
    assert third.proof is None
    sut.engine.read_ahead(third)
    sut.settle()
    assert ahead_of(sut, third.inbox) == 1


@pytest.mark.parametrize(
    "fail",
    [
        lambda sut, one: sut.engine.refuse(one, RefusalCode.PAYLOAD_INVALID, "no"),
        lambda sut, one: sut.engine.retry(one, "failed"),
    ],
)
def test_after_each_failure_less_is_read(fail: Callable[[Sut, Pending], None]) -> None:
    """Its peer knows what makes a handler fail; what follows would be examined for each attempt."""
    sut = engine_with(*[signed(turn) for turn in range(2, 100)])
    lengths = []
    for _ in range(8):
        first = hand_out(sut)
        lengths.append(len(row_of(sut.engine.read_ahead(first))))
        fail(sut, first)
        for _ in range(RESTS_MAX + 1):  # Then nothing is left of what was read.
            sut.settle()
            sut.begin(later_s=10.0)
        sut.engine.tick()
    assert lengths == [64, 64, 64, 32, 16, 8, 4, 2]


def test_it_is_more_again_when_all_goes_well() -> None:
    sut = engine_with(*[signed(turn) for turn in range(2, 500)])
    for _ in range(5):
        sut.engine.refuse(hand_out(sut), RefusalCode.PAYLOAD_INVALID, "no")
    lengths = []
    for _ in range(40):
        pending = hand_out(sut)
        read = row_of(sut.engine.read_ahead(pending))
        lengths += [len(read)] if read else []
        sut.engine.complete(pending)
        sut.engine.check()
    assert lengths == [8, READ_AHEAD_MAX]  # Each of the eight that went well has doubled it.


def test_what_was_read_counts_as_work_when_it_has_its_turn() -> None:
    dear = encode_message(Many((0,) * 1_000))
    sut = engine_with(signed(2), signed(3), *[dear] * 20)
    sut.engine.subscribe(Many, None)
    first = hand_out(sut)
    sut.engine.read_ahead(first)
    assert ahead_of(sut, first.inbox) == 21
    sut.engine.complete(first)
    handed = 0
    for pending in sut.engine.deliveries(100):
        assert pending is not None
        sut.engine.complete(pending)
        handed += 1
    assert handed == 6  # 2 ms; each of the dear is 0.4 ms.
