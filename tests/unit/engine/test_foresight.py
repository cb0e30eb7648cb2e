"""What follows on a message and is handed out with it: what is certain, allowed and of use."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.engine_world import HIGH, LOW, MIDDLE, START_MS, Note, Other, Sut, note, record_of
from tests.frames import UNSAID, progress_of
from zmqp2p.codes import RefusalCode
from zmqp2p.crypto import SecretKey
from zmqp2p.engine.line import MESSAGE_US
from zmqp2p.engine.pending import Pending
from zmqp2p.ids import Address, Seq
from zmqp2p.limits import KIB, STRETCH_MAX, STRETCH_MAX_BYTES, Limits
from zmqp2p.messages import encode_message, message
from zmqp2p.wire.frames import Data

PEER, ANOTHER = 1, 2
LATER_MS = START_MS + 3_600_000


def engine_with(*bodies: bytes, limits: Limits | None = None) -> Sut:
    """Return an engine in which ``bodies`` of one peer wait for handlers that end later."""
    sut = Sut(MIDDLE, limits=limits or Limits(subscribe_grace_s=0.0))
    sut.engine.subscribe(Note, None, late=True)
    sut.meet(PEER, LOW)
    sut.meet(ANOTHER, HIGH)
    sut.begin()
    together = 1 if max(map(len, bodies)) > KIB else 200
    for first in range(0, len(bodies), together):
        data = Data(Seq(first + 1), UNSAID, progress_of(), bodies[first : first + together])
        sut.take(PEER, data)
    return sut


def hand_out(sut: Sut, most: int = 1024) -> list[Pending]:
    """Return the next message, and what is handed out with it."""
    for pending in sut.engine.deliveries(most):
        if pending is not None:
            return [pending, *sut.engine.ahead(pending)]
    return []


def end(sut: Sut, together: list[Pending]) -> None:
    """Let all of them end well, as the node tells of it."""
    for pending, then in zip(together, [*together[1:], None], strict=True):
        sut.engine.complete(pending, then)
        sut.engine.check()


def numbers(together: list[Pending]) -> list[int]:
    return [pending.seq for pending in together]


def test_what_follows_stays_in_the_inbox_until_the_one_before_has_ended() -> None:
    sut = engine_with(note("a"), note("b"), note("c"))
    together = hand_out(sut)
    assert [pending.message for pending in together] == [Note("a"), Note("b"), Note("c")]
    assert numbers(together) == [1, 2, 3]
    inbox = together[0].inbox
    sut.engine.complete(together[0], together[1])
    assert (inbox.cursor, inbox.ready()) == (1, False)
    sut.engine.complete(together[1])  # Stopped here: what was not begun is handed out anew.
    assert (inbox.cursor, inbox.ready()) == (2, True)
    assert numbers(hand_out(sut)) == [3]


@pytest.mark.parametrize(
    "other",
    [
        encode_message(Other(1)),
        note("may expire", LATER_MS),
        note("has expired", START_MS - 1),
        b"no message at all",
        note("x" * 3 * KIB),
    ],
)
def test_what_is_not_certain_to_go_there_ends_it(other: bytes) -> None:
    """Others take it, it may expire until then, cannot be read, or is larger than is allowed."""
    limits = Limits(subscribe_grace_s=0.0, message_max_bytes=2 * KIB)
    sut = engine_with(note("a"), note("b"), other, note("c"), limits=limits)
    assert numbers(hand_out(sut)) == [1, 2]


def test_each_handler_has_its_own_messages() -> None:
    sut = engine_with(note("a"), encode_message(Other(1)), encode_message(Other(2)), note("b"))
    sut.engine.subscribe(Other, None, late=True)
    given = []
    while together := hand_out(sut):
        given.append(numbers(together))
        end(sut, together)
    assert given == [[1], [2, 3], [4]]


def test_what_is_larger_than_allowed_is_refused_behind_another_too() -> None:
    limits = Limits(subscribe_grace_s=0.0, message_max_bytes=2 * KIB)
    sut = engine_with(note("a"), note("x" * 3 * KIB), note("c"), limits=limits)
    end(sut, hand_out(sut))
    assert numbers(hand_out(sut)) == [3]
    (refusal,) = sut.engine._connections.book.sessions[LOW.address].inbox.refusals  # noqa: SLF001
    assert (refusal.seq, refusal.code) == (2, RefusalCode.TOO_LARGE)


def test_what_is_as_large_as_is_allowed_goes_along() -> None:
    body = note("x" * (2 * KIB))
    limits = Limits(subscribe_grace_s=0.0, message_max_bytes=len(body))
    assert numbers(hand_out(engine_with(note("a"), body, limits=limits))) == [1, 2]


def test_they_are_bounded_in_number_and_bytes() -> None:
    many = engine_with(*[note("x")] * (STRETCH_MAX + 10))
    assert len(hand_out(many)) == STRETCH_MAX
    text = "x" * (STRETCH_MAX_BYTES // 8)
    eighth = note(text[: 2 * len(text) - len(note(text))])
    assert len(eighth) * 8 == STRETCH_MAX_BYTES
    assert len(hand_out(engine_with(*[eighth] * 9))) == 8
    one_byte_more = note(text[: 2 * len(text) - len(note(text)) + 1])
    assert len(hand_out(engine_with(*[eighth] * 7, one_byte_more))) == 7


def test_they_count_as_work_of_the_turn() -> None:
    sut = engine_with(*[note("x")] * 100)
    assert len(hand_out(sut, most=1)) == 1
    sut = engine_with(*[note("x")] * 100)
    assert len(hand_out(sut, most=10)) == 10


@message(302)
@dataclass(frozen=True)
class Many:
    """A message of many items."""

    numbers: tuple[int, ...]


def test_their_items_count_as_work_too() -> None:
    """ENC-4 bounds one message; 256 KiB of such messages would take 0.1 s."""
    dear = encode_message(Many((0,) * 1_000))
    sut = engine_with(*[dear] * 20)
    sut.engine.subscribe(Many, None, late=True)
    assert len(hand_out(sut, most=100)) == 5  # 2 ms; each is 0.4 ms.


def test_while_others_wait_a_peer_has_so_many_as_take_a_millisecond() -> None:
    sut = engine_with(*[note("x")] * STRETCH_MAX)
    sut.take(ANOTHER, Data(Seq(1), UNSAID, progress_of(), (note("y"),)))
    together = hand_out(sut)
    assert len(together) == 1_000 // MESSAGE_US
    sut.engine.check()
    assert [one.sender for one in hand_out(sut)] == [HIGH.address]


def begun(sut: Sut) -> list[Address]:
    """Let handlers have what they can, and not end; return whose."""
    return [one.sender for one in sut.engine.deliveries(1024) if one is not None]


def test_guests_whose_handlers_take_long_do_not_keep_a_contact_waiting() -> None:
    """Two of three places are theirs, however many they are."""
    sut = engine_with(note("a"), limits=Limits(subscribe_grace_s=0.0, handlers_max=3))
    assert begun(sut) == [LOW.address]
    other, contact = SecretKey((77).to_bytes(32)), SecretKey((78).to_bytes(32))
    for link, key in ((3, other), (4, contact)):
        sut.meet(link, key)
    sut.begin()
    for link in (ANOTHER, 3, 4):
        sut.take(link, Data(Seq(1), UNSAID, progress_of(), (note("b"),)))
    assert begun(sut) == [HIGH.address]
    sut.engine.add_contact(record_of(contact))  # It waits already.
    assert begun(sut) == [contact.address]
    sut.engine.check()


def test_while_others_wait_for_a_place_a_peer_has_one() -> None:
    limits = Limits(subscribe_grace_s=0.0, handlers_max=1)
    sut = engine_with(*[note("x")] * 3, limits=limits)
    first = hand_out(sut)
    assert len(first) == 3
    sut.take(ANOTHER, Data(Seq(1), UNSAID, progress_of(), (note("y"), note("y"))))
    assert hand_out(sut) == []  # She stands in line now, which is her turn.
    assert sut.engine.crowded
    sut.engine.complete(first[0])  # Its place is promised, and now he stands in line.
    (other,) = hand_out(sut)
    assert other.sender == HIGH.address
    sut.engine.complete(other)
    assert [one.sender for one in hand_out(sut)] == [LOW.address] * 2  # Nobody waits now.


@pytest.mark.parametrize(
    "fail",
    [
        lambda sut, one: sut.engine.refuse(one, RefusalCode.PAYLOAD_INVALID, "no"),
        lambda sut, one: sut.engine.put_back(one),
        lambda sut, one: sut.engine.retry(one, "failed"),
    ],
)
def test_after_a_failure_it_is_half_as_many(fail: Callable[[Sut, Pending], None]) -> None:
    sut = engine_with(*[note("x")] * 1_000)
    fail(sut, hand_out(sut)[0])
    sut.begin(later_s=1.0)
    sut.engine.tick()
    assert len(hand_out(sut)) == STRETCH_MAX // 2


def test_a_peer_whose_every_message_is_refused_has_one_and_more_again_when_all_goes_well() -> None:
    """Or 256 would be decoded for each."""
    sut = engine_with(*[note("x")] * 1_000)
    lengths = []
    for _ in range(12):
        first, *rest = hand_out(sut)
        lengths.append(1 + len(rest))
        sut.engine.refuse(first, RefusalCode.PAYLOAD_INVALID, "no")
        sut.engine.check()
    assert lengths == [256, 128, 64, 32, 16, 8, 4, 2, 1, 1, 1, 1]
    lengths.clear()
    for _ in range(10):
        together = hand_out(sut)
        lengths.append(len(together))
        end(sut, together)
    assert lengths == [1, 2, 4, 8, 16, 32, 64, 128, 256, 256]


def test_what_fails_with_one_peer_makes_no_difference_to_others() -> None:
    sut = engine_with(*[note("x")] * 10)
    sut.engine.refuse(hand_out(sut)[0], RefusalCode.PAYLOAD_INVALID, "no")
    sut.take(ANOTHER, Data(Seq(1), UNSAID, progress_of(), (note("y"),) * 40))
    lengths = {one[0].sender: len(one) for one in (hand_out(sut), hand_out(sut))}
    assert lengths == {LOW.address: 9, HIGH.address: 40}
