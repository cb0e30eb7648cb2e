"""What decides in the ZeroMQ transport: ZAP answers, dial verdicts, greetings, readiness."""

import errno
import os
import threading
import time
from collections.abc import Iterator

import pytest
import zmq

from zmqp2p.errors import InvalidValue
from zmqp2p.ids import CurveKey, LinkId
from zmqp2p.transport import probe, zap
from zmqp2p.transport.links import Links, SendFailure, check_frames
from zmqp2p.transport.monitor import PASSED, DialFailure, DialProgress, Turn, with_passed
from zmqp2p.transport.reactor import Reactor, Serve
from zmqp2p.wire.link import DownReason, LinkDown, LinkUp

KEY = CurveKey(bytes(range(32)))
REQUEST = [b"1.0", b"7", b"zmqp2p", b"192.0.2.1", b"", b"CURVE", bytes(KEY)]

# --- ZAP ----------------------------------------------------------------------------------------


def test_an_admitted_key_becomes_the_user_id() -> None:
    reply = zap.answer(REQUEST, zap.admit_everyone, curve=True)
    assert reply == [b"1.0", b"7", b"200", b"OK", KEY.hex().encode(), b""]


def test_without_curve_there_is_no_user_id() -> None:
    reply = zap.answer([*REQUEST[:5], b"NULL"], zap.admit_everyone, curve=False)
    assert reply == [b"1.0", b"7", b"200", b"OK", b"", b""]


@pytest.mark.parametrize("allowed", [False, True])
def test_admission_is_decided_by_key_and_address(*, allowed: bool) -> None:
    asked: list[tuple[CurveKey | None, str]] = []

    def admit(key: CurveKey | None, address: str) -> bool:
        asked.append((key, address))
        return allowed

    reply = zap.answer(REQUEST, admit, curve=True)
    assert reply[2] == (b"200" if allowed else b"400")
    assert asked == [(KEY, "192.0.2.1")]


def changed(place: int, value: bytes) -> list[bytes]:
    return [*REQUEST[:place], value, *REQUEST[place + 1 :]]


@pytest.mark.parametrize(
    ("request_frames", "why"),
    [
        ([], b"malformed request"),
        ([b"1.0"], b"malformed request"),
        (REQUEST[:5], b"malformed request"),
        (changed(0, b"2.0"), b"malformed request"),
        (changed(2, b""), b"wrong domain"),
        (changed(2, b"other"), b"wrong domain"),
        (changed(5, b"NULL"), b"wrong mechanism"),
        (changed(5, b"PLAIN"), b"wrong mechanism"),
        (REQUEST[:6], b"malformed credentials"),
        (changed(6, bytes(31)), b"malformed credentials"),
        ([*REQUEST, b"more"], b"malformed credentials"),
    ],
)
def test_what_is_not_understood_is_refused(request_frames: list[bytes], why: bytes) -> None:
    reply = zap.answer(request_frames, zap.admit_everyone, curve=True)
    assert reply[2:] == [b"400", why, b"", b""]
    assert reply[1] == b"".join(request_frames[1:2])


@pytest.mark.parametrize("frames", [REQUEST, [*REQUEST[:5], b"NULL", b"credentials"]])
def test_without_curve_a_key_is_refused(frames: list[bytes]) -> None:
    assert zap.answer(frames, zap.admit_everyone, curve=False)[2] == b"400"


@pytest.mark.parametrize(
    ("told", "plain"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::ffff:1", "::ffff:1"),
        ("2001:db8::1", "2001:db8::1"),
        ("localhost:1000:1000:4711", "localhost"),
    ],
)
def test_addresses_are_told_plainly(told: str, plain: str) -> None:
    assert zap.plain_address(told) == plain


# --- What became of a dial ----------------------------------------------------------------------

MISMATCH = int(zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH)
EVENTS = {
    "connected": int(zmq.EVENT_CONNECTED),
    "closed": int(zmq.EVENT_CLOSED),
    "retried": int(zmq.EVENT_CONNECT_RETRIED),
    "lost": int(zmq.EVENT_DISCONNECTED),
    "good": int(zmq.EVENT_HANDSHAKE_SUCCEEDED),
    "failed": int(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL),
    "protocol": int(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL),
    "denied": int(zmq.EVENT_HANDSHAKE_FAILED_AUTH),
}


@pytest.mark.parametrize(
    ("curve", "events", "expected"),
    [
        (True, "connected good lost retried", [None, Turn.UP, Turn.ENDED, Turn.FLUSHED]),
        (True, "connected good closed", [None, Turn.UP, None]),
        (True, "closed", [(DownReason.UNREACHABLE, "nobody listens")]),
        (True, "retried", [(DownReason.UNREACHABLE, "nobody listens")]),
        (True, "connected lost", [None, (DownReason.NOT_ZP2P, "does not speak ZMTP")]),
        (True, "connected denied:400", [None, (DownReason.DENIED, "400")]),
        (True, f"connected protocol:{MISMATCH}", [None, (DownReason.NOT_ZP2P, "another security")]),
        (True, "connected protocol:255", [None, (DownReason.NOT_ZP2P, "0xff")]),
        (True, f"connected failed:{errno.EPIPE}", [None, Turn.SUSPECT]),
        (True, f"connected failed:{errno.ECONNRESET}", [None, Turn.SUSPECT]),
        (False, f"connected failed:{errno.EPIPE}", [None, (DownReason.NOT_ZP2P, "may want CURVE")]),
        (True, f"connected failed:{errno.EAGAIN}", [None, (DownReason.NOT_ZP2P, "says nothing")]),
    ],
)
def test_events_tell_what_became_of_a_dial(
    *, curve: bool, events: str, expected: list[Turn | tuple[DownReason, str] | None]
) -> None:
    progress = DialProgress(curve=curve)
    for step, wanted in zip(events.split(), expected, strict=True):
        name, _, value = step.partition(":")
        told = progress.observe(EVENTS[name], int(value or 0))
        if isinstance(wanted, tuple):
            assert isinstance(told, DialFailure)
            assert told.reason is wanted[0]
            assert wanted[1] in told.detail
        else:
            assert told is wanted


@pytest.mark.parametrize(
    ("events", "passed"),
    [
        ("", ""),
        ("a", "a"),
        ("e", "e"),
        ("ea", "ea"),  # An earlier one had that number.
        ("ae", "pe"),
        ("eaea", "epea"),
        ("aghe", "pghe"),
        ("aeae", "pepe"),
        ("abfe", "pqfe"),
        ("abf", "aqf"),
    ],
)
def test_connections_that_came_and_went_meanwhile_are_known(events: str, passed: str) -> None:
    accepted, ended = int(zmq.EVENT_ACCEPTED), int(zmq.EVENT_DISCONNECTED)
    names = {
        "a": (accepted, 1),
        "p": (PASSED, 1),
        "q": (PASSED, 2),
        "e": (ended, 1),
        "g": (int(zmq.EVENT_HANDSHAKE_SUCCEEDED), 1),
        "h": (int(zmq.EVENT_LISTENING), 2),
        "b": (accepted, 2),
        "f": (ended, 2),
    }
    expected = [names[each] for each in passed]
    assert with_passed([names[each] for each in events]) == expected


def test_a_dial_without_events_is_given_up_by_how_far_it_came() -> None:
    progress = DialProgress(curve=True)
    assert progress.give_up().reason is DownReason.UNREACHABLE
    progress.observe(EVENTS["connected"], 0)
    assert progress.give_up().reason is DownReason.NOT_ZP2P


# --- Greetings ----------------------------------------------------------------------------------


def greeting(mechanism: bytes) -> bytes:
    return b"\xff" + bytes(8) + b"\x7f\x03\x01" + mechanism.ljust(20, b"\0")


@pytest.mark.parametrize(
    ("received", "reason", "detail"),
    [
        (greeting(b"CURVE"), DownReason.WRONG_KEY, "CURVE key"),
        (greeting(b"NULL"), DownReason.NOT_ZP2P, "'NULL'"),
        (greeting(b"\xff"), DownReason.NOT_ZP2P, "mechanism"),
        (b"H" + greeting(b"CURVE")[1:], DownReason.NOT_ZP2P, "does not speak ZMTP"),
        (greeting(b"CURVE")[:9] + b"x" + greeting(b"CURVE")[10:], DownReason.NOT_ZP2P, "ZMTP"),
        (greeting(b"CURVE")[:31], DownReason.NOT_ZP2P, "closes the connection"),
        (b"", DownReason.NOT_ZP2P, "closes the connection"),
    ],
)
def test_a_greeting_tells_a_wrong_key_from_no_curve(
    received: bytes, reason: DownReason, detail: str
) -> None:
    verdict = probe.read_greeting(received)
    assert verdict.reason is reason
    assert detail in verdict.detail


# --- Messages and links -------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [[b""], [b"a", b"b"], (b"a", b"b")])
def test_one_or_two_frames_of_bytes_are_a_message(frames: list[bytes]) -> None:
    check_frames(frames)


@pytest.mark.parametrize("frames", [[], [b""] * 3, ["a"], [b"a", None], [memoryview(b"a")]])
def test_anything_else_is_not(frames: list[bytes]) -> None:
    with pytest.raises(InvalidValue, match="frames"):
        check_frames(frames)


class FakeLink:
    """A link that notes whether it was closed."""

    def __init__(self, link_id: LinkId) -> None:
        self.link_id = link_id
        self.closed = 0

    def send(self, frames: object) -> SendFailure | None:
        """Never called here."""
        raise NotImplementedError(frames)

    def close(self) -> None:
        """Count."""
        self.closed += 1


def test_a_link_is_dropped_once() -> None:
    links = Links()
    link = FakeLink(links.new_id())
    links.add(link)
    for _ in range(2):
        links.drop(link, DownReason.LOST, "gone")
    assert links.news.take(1) == [LinkDown(link.link_id, DownReason.LOST, "gone")]
    assert links.news.take(1) == []
    assert (link.closed, links.get(link.link_id)) == (1, None)


def test_a_link_that_is_forgotten_is_not_spoken_of() -> None:
    links = Links()
    one, other = FakeLink(links.new_id()), FakeLink(links.new_id())
    for link in (one, other):
        links.add(link)
        links.news.tell(LinkUp(link.link_id, None, "here", dialed=True))
    links.forget(one.link_id)
    links.forget(one.link_id)
    assert [event.link for event in links.news.take(1)] == [other.link_id]
    assert (one.closed, other.closed) == (1, 0)


# --- The reactor --------------------------------------------------------------------------------


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    made = Reactor()
    yield made
    made.close()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    yield read, write
    os.close(read)
    os.close(write)


def test_a_source_is_served_at_first_and_when_it_is_readable(
    reactor: Reactor, pipe: tuple[int, int]
) -> None:
    served: list[str] = []

    def serve() -> bool:
        served.append("once")
        return False

    reactor.watch(pipe[0], serve)
    assert not reactor.turn(None)
    assert served == []
    reactor.catch_up()
    assert len(served) == 1
    os.write(pipe[1], b"x")
    reactor.turn(None)
    assert len(served) == 2
    reactor.unwatch(pipe[0], serve)
    reactor.catch_up()
    reactor.turn(0.0)
    assert len(served) == 2


def test_what_is_left_is_served_again_without_sleeping(reactor: Reactor) -> None:
    left = [3]

    def serve() -> bool:
        left[0] -= 1
        return left[0] > 0

    reactor.mark(serve)
    for expected in (True, True, False):
        assert not reactor.turn(None)
        reactor.catch_up()
        assert reactor.is_marked(serve) is expected


def test_a_source_that_is_readable_and_has_something_left_is_served_once(
    reactor: Reactor, pipe: tuple[int, int]
) -> None:
    """Else one peer would have two portions where the others have one."""
    served: list[str] = []

    def serve() -> bool:
        served.append("once")
        return True

    os.write(pipe[1], b"x")
    reactor.watch(pipe[0], serve)
    for count in (1, 2):
        reactor.catch_up()
        reactor.turn(None)
        assert len(served) == count


def test_a_source_that_is_forgotten_is_not_served(reactor: Reactor, pipe: tuple[int, int]) -> None:
    def serve() -> bool:
        raise AssertionError

    reactor.watch(pipe[0], serve)
    reactor.unwatch(pipe[0], serve)
    reactor.catch_up()
    reactor.turn(0.0)


@pytest.mark.parametrize("marked", [False, True])
def test_a_source_that_another_has_closed_is_not_served(
    reactor: Reactor, pipe: tuple[int, int], *, marked: bool
) -> None:
    """Both are due at once, and whichever comes first closes the other."""
    sources: dict[int, Serve] = {}
    served: list[int] = []

    def source(fd: int) -> Serve:
        def serve() -> bool:
            served.append(fd)
            if len(served) > 2:
                (other,) = set(sources) - {fd}
                reactor.unwatch(other, sources[other])
            return False

        return serve

    twin = os.dup(pipe[0])
    for fd in (pipe[0], twin):
        sources[fd] = source(fd)
        reactor.watch(fd, sources[fd])
    reactor.catch_up()
    if marked:
        for serve in sources.values():
            reactor.mark(serve)
        reactor.catch_up()
    else:
        os.write(pipe[1], b"x")
        reactor.turn(None)
    os.close(twin)
    assert len(served) == 3


def test_timers_run_in_order_and_end_the_sleep(reactor: Reactor) -> None:
    ran: list[str] = []
    now = time.monotonic()
    reactor.call_at(now + 0.02, lambda: ran.append("second"))
    reactor.call_at(now + 0.01, lambda: ran.append("first"))
    reactor.call_at(now + 0.02, lambda: ran.append("third"))
    while len(ran) < 3:
        reactor.turn(None)
    assert ran == ["first", "second", "third"]
    assert time.monotonic() >= now + 0.02


def test_the_end_of_the_wait_comes_before_a_later_timer(reactor: Reactor) -> None:
    reactor.call_at(time.monotonic() + 60.0, lambda: None)
    started = time.monotonic()
    assert not reactor.turn(started + 0.01)
    assert started + 0.01 <= time.monotonic() < started + 5.0


def test_a_wake_from_another_thread_ends_the_sleep(reactor: Reactor) -> None:
    thread = threading.Thread(target=reactor.wake)
    thread.start()
    assert reactor.turn(None)
    thread.join()
    assert not reactor.turn(0.0)


def test_waking_what_is_closed_does_nothing() -> None:
    """Not even write to a descriptor that is another's by now."""
    made = Reactor()
    made.close()
    made.wake()
