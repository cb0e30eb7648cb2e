"""Links and the sessions they serve, seen from outside: frames and events in, output out."""

from dataclasses import replace

import pytest

from tests.engine_world import (
    HIGH,
    HOUR_MS,
    LOW,
    MIDDLE,
    START_MS,
    Sut,
    curve_of,
    frames_on,
    hello_of,
    note,
    record_of,
)
from tests.frames import INSTANCE, OTHER_INSTANCE, STREAM, UNSAID, progress_of
from zmqp2p import codec
from zmqp2p.codes import ByeCode
from zmqp2p.crypto import SecretKey
from zmqp2p.engine.output import Dial, EngineOutput
from zmqp2p.errors import UnknownPeer
from zmqp2p.events import (
    DataLossDetected,
    LinkRefused,
    PeerConnected,
    PeerDisconnected,
    PeerHandedOver,
)
from zmqp2p.ids import LinkId, Seq
from zmqp2p.limits import Limits
from zmqp2p.persistence import Held, PutContact, PutIssued, PutPeerRun
from zmqp2p.records import PeerUri
from zmqp2p.wire.encoding import encode_frame
from zmqp2p.wire.frames import (
    Ack,
    Bye,
    Data,
    Frame,
    Gap,
    Hello,
    Ignored,
    Ping,
    Pong,
    Who,
)
from zmqp2p.wire.link import DownReason, LinkUp, Received

LINK = 1


def middle(limits: Limits | None = None) -> Sut:
    """Return an engine of the node whose address is between the others'."""
    return Sut(MIDDLE) if limits is None else Sut(MIDDLE, limits=limits)


def connected(key: SecretKey = LOW) -> Sut:
    """Return an engine to which ``key``'s owner has come in over `LINK`."""
    sut = middle()
    sut.meet(LINK, key)
    return sut


def byes(output: EngineOutput) -> list[tuple[int, ByeCode]]:
    """Return the links that are refused or ended, all of which are closed too."""
    said = [(link, frame.code) for link, frame in output.frames if isinstance(frame, Bye)]
    assert [link for link, _ in said] == output.closes
    return [(int(link), code) for link, code in said]


def refusals(output: EngineOutput) -> list[tuple[bytes | None, ByeCode]]:
    """Return whom the application hears to be refused, and why."""
    return [(e.peer, e.code) for e in output.events if isinstance(e, LinkRefused)]


def test_what_was_under_way_on_a_link_that_is_closed_is_dropped() -> None:
    """The transport may have read it before it was told."""
    sut = connected()
    sut.hear(LINK, Bye(ByeCode.CLOSING, ""))
    output = sut.turn(Received(LinkId(LINK), encode_frame(Ping(1))))
    assert (output.frames, output.events, output.writes, output.closes) == ([], [], [], [])
    assert sut.statuses()[LOW.address] != "connected"


# --- Coming in ----------------------------------------------------------------------------------


def test_who_comes_in_is_to_speak_first() -> None:
    """HEL-3."""
    assert middle().up(LINK, curve_of(LOW)).frames == []


def test_a_hello_is_answered_with_a_hello() -> None:
    """HEL-2, HEL-4."""
    sut = middle()
    output = sut.meet(LINK, LOW)
    (frame,) = frames_on(output, LINK)
    assert isinstance(frame, Hello)
    assert frame.record == record_of(MIDDLE).encode()
    assert (frame.incarnation, frame.instance) == (1, sut.instance)
    assert (frame.seen_stream, frame.cursor) == (STREAM, 0)
    assert output.events == [PeerConnected(LOW.address, "link 1")]
    assert PutContact(LOW.address, str(record_of(LOW)), dial=False) in output.writes
    assert PutPeerRun(LOW.address, 1, INSTANCE) in output.writes
    assert sut.statuses() == {LOW.address: "connected"}


def test_without_curve_the_record_alone_says_who_it_is() -> None:
    """IDN-1: there is no key to compare, as security "none" has to be asked for by name."""
    sut = middle()
    sut.up(LINK, None)
    sut.hear(LINK, hello_of(LOW))
    assert sut.statuses() == {LOW.address: "connected"}


def test_a_record_that_is_known_is_not_stored_again() -> None:
    sut = connected()
    output = sut.meet(2, LOW)
    assert not [write for write in output.writes if isinstance(write, PutContact)]


def test_a_hello_may_be_said_again_on_the_same_link() -> None:
    """HEL-4."""
    sut = connected()
    output = sut.hear(LINK, hello_of(LOW))
    assert [type(frame) for frame in frames_on(output, LINK)] == [Hello]
    assert output.events == []
    assert sut.engine.peer_statuses()[0].reconnects == 0


LATER = START_MS + HOUR_MS
BAD_HELLOS = [
    ("HEL-1", ByeCode.VERSION_UNSUPPORTED, replace(hello_of(LOW), versions=(2,))),
    ("REC-1", ByeCode.RECORD_INVALID, replace(hello_of(LOW), record=b"?")),
    (
        "REC-3",
        ByeCode.RECORD_EXPIRED,
        hello_of(LOW, record_of(LOW, issued_ms=START_MS - HOUR_MS)),
    ),
    (
        "REC-4",
        ByeCode.RECORD_INVALID,
        hello_of(LOW, record_of(LOW, issued_ms=START_MS + 300_001)),
    ),
    ("IDN-1", ByeCode.KEY_MISMATCH, hello_of(LOW, record_of(LOW, curve_key=curve_of(HIGH)))),
    (
        "IDN-3",
        ByeCode.DUPLICATE_INSTANCE,
        hello_of(MIDDLE, record_of(MIDDLE, curve_key=curve_of(LOW))),
    ),
]


@pytest.mark.parametrize(("rule", "code", "hello"), BAD_HELLOS, ids=[b[0] for b in BAD_HELLOS])
def test_who_does_not_pass_a_check_is_told_why_and_leaves_no_trace(
    rule: str, code: ByeCode, hello: Hello
) -> None:
    """HEL-1, REC-1 to REC-4, IDN-1, IDN-3: the link is closed; nothing is remembered."""
    sut = middle()
    sut.up(LINK, curve_of(LOW))
    output = sut.hear(LINK, hello)
    assert byes(output) == [(LINK, code)]
    (bye,) = frames_on(output, LINK)
    assert isinstance(bye, Bye)
    assert bye.reason.startswith(rule)
    assert refusals(output) == [(None, code)]
    assert output.writes == []
    assert sut.statuses() == {}
    assert sut.hear(LINK, hello_of(LOW)).frames == []  # The link is forgotten.


def test_a_clock_that_is_a_little_behind_is_no_reason_to_refuse() -> None:
    """REC-4."""
    sut = middle()
    sut.up(LINK, curve_of(LOW))
    sut.hear(LINK, hello_of(LOW, record_of(LOW, issued_ms=START_MS + 300_000)))
    assert sut.statuses() == {LOW.address: "connected"}


def test_a_key_that_was_replaced_must_not_come_back() -> None:
    """IDN-4: the newest record counts, wherever it came from."""
    sut = middle()
    newer = record_of(LOW, issued_ms=START_MS + 1000, curve_key=curve_of(HIGH))
    sut.engine.add_contact(newer)
    output = sut.meet(LINK, LOW)
    assert byes(output) == [(LINK, ByeCode.RECORD_SUPERSEDED)]
    sut.up(2, curve_of(HIGH))
    sut.hear(2, hello_of(LOW, newer))
    assert sut.statuses() == {LOW.address: "connected"}


def test_a_newer_record_may_bring_another_key() -> None:
    """IDN-4: that is how a key is replaced."""
    sut = middle()
    sut.engine.add_contact(record_of(LOW))
    newer = record_of(LOW, issued_ms=START_MS + 1000, curve_key=curve_of(HIGH))
    sut.up(LINK, curve_of(HIGH))
    assert refusals(sut.hear(LINK, hello_of(LOW, newer))) == []
    assert sut.statuses() == {LOW.address: "connected"}


def test_an_older_record_of_the_same_key_is_accepted_and_does_not_count() -> None:
    """IDN-4: it was issued before a clock was set back; that must keep nobody out."""
    sut = middle()
    newer = record_of(LOW, issued_ms=START_MS + 1000, endpoints=("tcp://127.0.0.1:2",))
    sut.engine.add_contact(newer)
    assert refusals(sut.meet(LINK, LOW)) == []
    assert sut.statuses() == {LOW.address: "connected"}
    (status,) = sut.engine.peer_statuses()
    assert status.endpoints == ("tcp://127.0.0.1:2",)


def test_a_uri_supersedes_no_record() -> None:
    """IDN-4: it is not signed."""
    sut = middle()
    sut.engine.add_contact(PeerUri(LOW.address, curve_of(LOW), "tcp://10.0.0.1:1"))
    output = sut.meet(LINK, LOW)
    assert sut.statuses() == {LOW.address: "connected"}
    assert PutContact(LOW.address, str(record_of(LOW)), dial=True) in output.writes


def test_a_link_keeps_its_identity() -> None:
    """IDN-2: or one peer could speak in the other's session."""
    sut = connected()
    hello = hello_of(HIGH, record_of(HIGH, curve_key=curve_of(LOW)))
    output = sut.hear(LINK, hello)
    assert byes(output) == [(LINK, ByeCode.ADDRESS_MISMATCH)]
    assert sut.statuses() == {LOW.address: "address_mismatch: IDN-2: another identity on this link"}


def test_a_node_serves_so_many_peers_and_no_more() -> None:
    """HEL-6: but those that it knows may always come back."""
    sut = middle(Limits(peers_max=1))
    sut.meet(LINK, LOW)
    assert byes(sut.meet(2, HIGH)) == [(2, ByeCode.TOO_MANY)]
    assert byes(sut.meet(3, LOW)) == []


def test_a_node_serves_so_many_links_and_no_more() -> None:
    """HEL-6."""
    sut = middle(Limits(links_max=1))
    assert byes(sut.up(LINK, curve_of(LOW))) == []
    assert byes(sut.up(2, curve_of(HIGH))) == [(2, ByeCode.TOO_MANY)]
    sut.down(LINK)
    assert byes(sut.up(3, curve_of(HIGH))) == []


# --- Dialing ------------------------------------------------------------------------------------


def test_a_peer_that_is_added_is_dialed_and_greeted() -> None:
    """HEL-3: the dialer speaks first."""
    sut = middle()
    sut.engine.add_contact(record_of(LOW))
    output = sut.turn()
    assert output.dials == [Dial(LOW.address, "tcp://127.0.0.1:1", curve_of(LOW))]
    assert PutContact(LOW.address, str(record_of(LOW)), dial=True) in output.writes
    output = sut.up(sut.last_link, curve_of(LOW), dialed=True)
    assert [type(frame) for frame in frames_on(output, sut.last_link)] == [Hello]
    output = sut.hear(sut.last_link, hello_of(LOW))
    assert output.frames == []
    assert output.events == [PeerConnected(LOW.address, f"link {sut.last_link}")]
    assert sut.turn(later_s=0.1).dials == []


def test_a_contact_is_stored_when_it_is_news() -> None:
    sut = middle()
    sut.engine.add_contact(record_of(LOW))
    sut.engine.add_contact(record_of(LOW))
    writes = sut.turn().writes
    assert len([write for write in writes if isinstance(write, PutContact)]) == 1


def test_dialing_measures_the_round_trip() -> None:
    """RTO-1: from our HELLO to theirs."""
    sut = middle()
    link = sut.dial(LOW)
    sut.hear(link, hello_of(LOW), later_s=0.125)
    assert sut.engine.peer_statuses()[0].rtt_s == pytest.approx(0.125)
    sut.hear(link, hello_of(LOW), later_s=0.5)
    assert sut.engine.peer_statuses()[0].rtt_s == pytest.approx(0.125)


def test_who_is_dialed_measures_nothing() -> None:
    assert connected().engine.peer_statuses()[0].rtt_s is None


def test_another_address_than_the_dialed_one_is_refused() -> None:
    """IDN-2: whoever listens there now is not who was called."""
    sut = middle()
    link = sut.dial(LOW)
    output = sut.hear(link, hello_of(HIGH, record_of(HIGH, curve_key=curve_of(LOW))))
    assert byes(output) == [(link, ByeCode.ADDRESS_MISMATCH)]
    assert refusals(output) == [(LOW.address, ByeCode.ADDRESS_MISMATCH)]
    assert sut.statuses()[LOW.address].startswith("address_mismatch: IDN-2")
    assert HIGH.address not in sut.statuses()


def test_a_dial_that_fails_is_repeated_soon() -> None:
    """Each attempt takes the next endpoint."""
    sut = middle()
    sut.engine.add_contact(record_of(LOW, endpoints=("tcp://h:1", "tcp://h:2")))
    output = sut.turn()
    for endpoint in ("tcp://h:1", "tcp://h:2", "tcp://h:1"):
        assert [dial.endpoint for dial in output.dials] == [endpoint]
        sut.down(sut.last_link, DownReason.UNREACHABLE)
        assert sut.statuses() == {LOW.address: "unreachable: the wire broke"}
        assert sut.until(sut.now + 0.039).dials == []
        output = sut.until(sut.now + 0.002)


def test_what_answers_but_is_no_peer_is_dialed_less_and_less() -> None:
    sut = middle()
    sut.engine.add_contact(record_of(LOW))
    dials = 0
    for _ in range(1000):
        dials += len(sut.turn(later_s=0.02).dials)
        sut.down(sut.last_link, DownReason.NOT_ZP2P)
    assert 40 < dials < 90  # In 20 s; where nobody listens it would be 400.


def test_a_dial_that_cannot_start_is_repeated_too() -> None:
    sut = middle()
    sut.engine.add_contact(record_of(LOW))
    sut.begin()
    sut.engine.tick()
    assert [dial.peer for dial in sut.engine.settle().dials] == [LOW.address]
    sut.engine.dial_failed(LOW.address, "no such host")
    assert sut.statuses() == {LOW.address: "no such host"}
    assert [dial.peer for dial in sut.turn(later_s=0.05).dials] == [LOW.address]


def test_while_nobody_answers_attempts_overlap_and_the_first_one_up_wins() -> None:
    sut = middle()
    sut.engine.add_contact(record_of(LOW))
    sut.turn()
    first = sut.last_link
    sut.until(sut.now + 0.3)
    assert sut.last_link == first + 2
    output = sut.up(first, curve_of(LOW), dialed=True)
    assert output.closes == [first + 1, first + 2]
    assert [type(frame) for frame in frames_on(output, first)] == [Hello]
    assert sut.until(sut.now + 1.0).dials == []
    sut.hear(first, hello_of(LOW))
    assert sut.statuses() == {LOW.address: "connected"}


def test_an_attempt_that_makes_room_is_closed() -> None:
    sut = middle()
    sut.engine.add_contact(record_of(LOW))
    sut.turn()
    first = sut.last_link
    assert sut.until(sut.now + 0.6).closes == [first + 1]
    assert sut.down(first + 1).events == []  # It was told already.
    assert sut.statuses() == {LOW.address: ""}


def test_of_two_attempts_that_come_up_in_one_turn_one_is_closed() -> None:
    sut = middle()
    sut.engine.add_contact(record_of(LOW))
    sut.turn()
    first = sut.last_link
    sut.until(sut.now + 0.13)
    ups = [LinkUp(LinkId(link), curve_of(LOW), "there", True) for link in (first, first + 1)]
    output = sut.turn(*ups)
    assert output.closes == [first + 1, first + 1]  # Once given up, once not asked for.
    assert [link for link, _ in output.frames] == [first]


def test_one_attempt_that_fails_ends_no_other() -> None:
    sut = middle()
    sut.engine.add_contact(record_of(LOW))
    sut.turn()
    first = sut.last_link
    sut.until(sut.now + 0.13)
    sut.down(first + 1, DownReason.UNREACHABLE)
    sut.up(first, curve_of(LOW), dialed=True)
    sut.hear(first, hello_of(LOW))
    assert sut.statuses() == {LOW.address: "connected"}


def test_attempts_beyond_the_budget_wait_for_their_turn() -> None:
    sut = middle(Limits(attempts_max=1))
    sut.engine.add_contact(record_of(LOW))
    assert len(sut.until(sut.now + 1.0).dials) == 1
    sut.engine.add_contact(record_of(HIGH))
    assert [dial.peer for dial in sut.until(sut.now + 1.0).dials] == [HIGH.address]


def test_a_way_that_took_long_to_dial_may_take_long_to_answer() -> None:
    """HEL-7: as long a way as the handshake below shows it to be."""
    sut = middle()
    sut.engine.add_contact(record_of(LOW))
    sut.turn()
    first = sut.last_link
    sut.until(sut.now + 8.0)
    sut.up(first, curve_of(LOW), dialed=True)
    assert sut.until(sut.now + 7.9).closes == []
    assert sut.until(sut.now + 0.2).closes == [first]
    assert sut.statuses()[LOW.address].startswith("no HELLO within 8")


def test_why_a_dial_failed_is_told_with_its_detail() -> None:
    sut = middle()
    sut.engine.add_contact(record_of(LOW))
    sut.turn()
    sut.down(sut.last_link, DownReason.WRONG_KEY)
    assert sut.statuses() == {LOW.address: "wrong_key: the wire broke"}


def test_a_peer_that_refuses_is_dialed_again_but_rarely() -> None:
    sut = middle(Limits(redial_min_s=0.02, redial_max_s=5.0))
    link = sut.dial(LOW)
    output = sut.hear(link, Bye(ByeCode.NOT_ALLOWED, "not you"))
    assert output.events == [
        LinkRefused(LOW.address, f"link {link}", ByeCode.NOT_ALLOWED, "not you", curve_of(LOW))
    ]
    assert output.closes == [link]
    assert sut.statuses() == {LOW.address: "not_allowed: not you"}
    assert sut.until(sut.now + 2.4).dials == []
    assert len(sut.until(sut.now + 0.2).dials) == 1


def test_a_connection_resets_the_wait() -> None:
    sut = middle(Limits(redial_min_s=0.02, redial_max_s=5.0))
    link = sut.dial(LOW)
    sut.hear(link, hello_of(LOW))
    for _ in range(3):
        sut.down(sut.last_link)
        assert sut.engine.deadline() == pytest.approx(sut.now + 0.01)
        assert len(sut.turn(later_s=0.02).dials) == 1
        sut.up(sut.last_link, curve_of(LOW), dialed=True)
        sut.hear(sut.last_link, hello_of(LOW))
    assert sut.engine.peer_statuses()[0].reconnects == 3


def test_a_record_that_has_expired_is_not_dialed() -> None:
    """REC-3: the peer would be refused anyway; the status says so."""
    sut = middle()
    sut.engine.add_contact(record_of(LOW, lifetime_ms=1000))
    sut.begin(1.0)
    output = sut.turn()
    assert output.dials == []
    assert sut.statuses()[LOW.address].startswith("record_expired: ")
    assert sut.engine.deadline() == pytest.approx(sut.now + 2.5)
    sut.engine.add_contact(record_of(LOW, issued_ms=START_MS + 1))
    assert len(sut.turn().dials) == 1


def test_a_record_is_dialed_until_it_expires_and_a_uri_for_ever() -> None:
    sut = middle()
    sut.engine.add_contact(record_of(LOW, lifetime_ms=1000))
    sut.begin(0.999)
    assert len(sut.turn().dials) == 1
    sut.engine.add_contact(PeerUri(HIGH.address, curve_of(HIGH), "tcp://10.0.0.1:1"))
    assert len(sut.turn(later_s=1e6).dials) == 1


def test_a_dial_is_not_made_once_the_peer_has_come_in() -> None:
    sut = middle()
    sut.engine.add_contact(record_of(LOW))
    sut.turn()
    sut.down(sut.last_link)
    sut.meet(LINK, LOW)
    assert sut.turn(later_s=0.02).dials == []


def test_a_dial_that_was_put_off_meanwhile_waits() -> None:
    """The timer of the first plan still runs out; that is no reason to dial now."""
    sut = middle(Limits(redial_min_s=0.02, redial_max_s=5.0))
    sut.engine.add_contact(record_of(LOW))
    sut.turn()
    sut.down(sut.last_link)
    sut.meet(LINK, LOW)
    sut.hear(LINK, Bye(ByeCode.NOT_ALLOWED, ""))
    assert sut.turn(later_s=0.02).dials == []
    assert len(sut.until(sut.now + 2.5).dials) == 1


def test_a_dial_that_fails_after_the_peer_has_come_in_changes_nothing() -> None:
    """Behind a NAT, that is how every session begins: the dial back never gets through."""
    sut = middle()
    sut.engine.add_contact(record_of(LOW))
    sut.turn()
    sut.meet(LINK, LOW)
    output = sut.down(sut.last_link, DownReason.UNREACHABLE)
    assert output.events == []
    assert sut.statuses() == {LOW.address: "connected"}
    assert sut.hear(LINK, Ping(1), later_s=1.0).dials == []
    output = sut.down(LINK)
    assert output.events == [PeerDisconnected(LOW.address, "lost: the wire broke")]


def test_mail_is_a_reason_to_dial() -> None:
    """A peer that came in and went is dialed again when there is something to say to it."""
    sut = connected()
    output = sut.down(LINK)
    assert output.events == [PeerDisconnected(LOW.address, "lost: the wire broke")]
    assert sut.until(sut.now + 10.0).dials == []
    sut.engine.send(LOW.address, note("hello"))
    assert [dial.peer for dial in sut.turn().dials] == [LOW.address]


def test_mail_that_waits_is_sent_once_connected() -> None:
    sut = middle()
    sut.engine.add_contact(record_of(LOW))
    sut.engine.send(LOW.address, note("hello"))
    sut.turn()
    sut.up(sut.last_link, curve_of(LOW), dialed=True)
    output = sut.hear(sut.last_link, hello_of(LOW))
    (frame,) = frames_on(output, sut.last_link)
    assert isinstance(frame, Data)
    assert frame.bodies == (note("hello"),)


def test_nothing_can_be_sent_to_a_stranger() -> None:
    sut = middle()
    assert not sut.engine.knows(LOW.address)
    with pytest.raises(UnknownPeer):
        sut.engine.send(LOW.address, note("hello"))
    sut.engine.add_contact(record_of(LOW))
    assert sut.engine.knows(LOW.address)
    assert sut.engine.send(LOW.address, note("hello"))[0] == 1
    assert sut.engine.unacked() == 1


# --- WHO ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "frame", [Ping(1), Ack(progress_of()), Gap(progress_of()), Pong(1, progress_of())]
)
def test_who_speaks_without_an_introduction_is_asked_who(frame: Frame) -> None:
    """HEL-5: this node restarted, and the other end has not noticed."""
    sut = middle()
    sut.up(LINK, curve_of(LOW))
    assert frames_on(sut.hear(LINK, frame), LINK) == [Who()]


def test_who_is_asked_at_most_five_times_a_second() -> None:
    """HEL-5: a window full of frames is under way."""
    sut = middle()
    sut.up(LINK, curve_of(LOW))
    assert frames_on(sut.hear(LINK, Ping(1), Ping(2)), LINK) == [Who()]
    assert frames_on(sut.hear(LINK, Ping(3), later_s=0.199), LINK) == []
    assert frames_on(sut.hear(LINK, Ping(4), later_s=0.002), LINK) == [Who()]


def test_who_is_asked_says_hello_again() -> None:
    """HEL-5: the first time at once, before and after the peer's HELLO; then each 0.2 s at most.

    At once, since who doubts an older run asks for nothing else than a second HELLO (RES-3).
    """
    sut = middle()
    link = sut.dial(LOW)
    for later_s in (0.0, 0.201, 0.201):
        (frame,) = frames_on(sut.hear(link, Who(), later_s=later_s), link)
        assert isinstance(frame, Hello)
        assert frames_on(sut.hear(link, Who()), link) == []
        assert frames_on(sut.hear(link, Who(), later_s=0.199), link) == []
        sut.hear(link, hello_of(LOW))


def test_the_listener_does_not_introduce_itself_first() -> None:
    """HEL-5: a WHO to it is answered by nothing, on a new link or an old one."""
    sut = middle()
    sut.up(LINK, curve_of(LOW))
    assert frames_on(sut.hear(LINK, Who()), LINK) == []
    sut.hear(LINK, hello_of(LOW))
    frames = frames_on(sut.hear(LINK, Who(), later_s=0.3), LINK)
    assert [type(frame) for frame in frames] == [Ping]


def test_a_link_that_nobody_asked_for_is_closed() -> None:
    """The transport says it dialed; but whom, this engine does not know."""
    sut = middle()
    output = sut.up(LINK, curve_of(LOW), dialed=True)
    assert (output.frames, output.closes) == ([], [LINK])
    assert sut.hear(LINK, Who(), later_s=0.3).frames == []


def test_a_restarted_listener_is_introduced_again_and_nothing_is_lost() -> None:
    """HEL-5, RES-1: one round trip, on the link that is there."""
    sut = middle()
    link = sut.dial(LOW)
    sut.hear(link, hello_of(LOW))
    sut.engine.send(LOW.address, note("hello"))
    sut.turn(later_s=0.3)
    (hello,) = frames_on(sut.hear(link, Who()), link)
    assert isinstance(hello, Hello)
    again = replace(
        hello_of(LOW),
        incarnation=2,
        instance=OTHER_INSTANCE,
        seen_stream=hello.stream,
        cursor=Seq(0),
    )
    (data,) = frames_on(sut.hear(link, again), link)
    assert isinstance(data, Data)
    assert (data.seq, data.bodies) == (1, (note("hello"),))


# --- Violations ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "frame",
    [
        Ping(1),
        Pong(1, progress_of()),
        Ack(progress_of()),
        Data(Seq(1), UNSAID, progress_of(), (b"",)),
    ],
)
def test_a_listener_that_does_not_introduce_itself_is_refused(frame: Frame) -> None:
    """HEL-3."""
    sut = middle()
    link = sut.dial(LOW)
    output = sut.hear(link, frame)
    assert byes(output) == [(link, ByeCode.PROTOCOL_ERROR)]
    (bye,) = frames_on(output, link)
    assert isinstance(bye, Bye)
    assert bye.reason.startswith("HEL-3")


def test_bytes_that_are_no_frame_end_the_link() -> None:
    """FRM-2: the reason names the rule; the engine goes on."""
    sut = connected()
    output = sut.turn(Received(LinkId(LINK), (b"\xc1",)))
    assert byes(output) == [(LINK, ByeCode.PROTOCOL_ERROR)]
    assert refusals(output) == [(LOW.address, ByeCode.PROTOCOL_ERROR)]
    (bye,) = frames_on(output, LINK)
    assert isinstance(bye, Bye)
    assert bye.reason.startswith("ENC-1")


def test_a_broken_rule_of_the_session_ends_the_link() -> None:
    """ACK-1."""
    sut = connected()
    output = sut.hear(LINK, Ack(progress_of(ack=1)))
    assert byes(output) == [(LINK, ByeCode.PROTOCOL_ERROR)]
    assert sut.statuses()[LOW.address].startswith("protocol_error: ACK-1")


def test_an_unknown_odd_frame_changes_nothing() -> None:
    """FRM-4."""
    sut = connected()
    output = sut.hear(LINK, Ignored(99))
    assert (output.frames, output.events, output.writes) == ([], [], [])


def test_an_unknown_even_frame_ends_the_link() -> None:
    """FRM-4."""
    sut = connected()
    output = sut.turn(Received(LinkId(LINK), (codec.encode((98,)),)))
    assert byes(output) == [(LINK, ByeCode.PROTOCOL_ERROR)]


def test_frames_of_a_link_that_is_gone_are_dropped() -> None:
    sut = connected()
    sut.down(LINK)
    output = sut.hear(LINK, Ping(1), hello_of(LOW))
    assert (output.frames, output.events) == ([], [])
    output = sut.down(LINK)
    assert (output.frames, output.events) == ([], [])


# --- Goodbye ------------------------------------------------------------------------------------


def test_a_goodbye_closes_the_link() -> None:
    """BYE-2: a node that stops is expected back soon."""
    sut = middle(Limits(redial_min_s=0.02, redial_max_s=5.0))
    link = sut.dial(LOW)
    sut.hear(link, hello_of(LOW))
    output = sut.hear(link, Bye(ByeCode.CLOSING, "the node stops"))
    assert output.closes == [link]
    assert output.frames == []
    assert output.events == [PeerDisconnected(LOW.address, "closing: the node stops")]
    assert len(sut.turn(later_s=0.02).dials) == 1


def test_a_goodbye_from_who_never_said_hello_closes_the_link() -> None:
    """BYE-2."""
    sut = middle()
    sut.up(LINK, curve_of(LOW))
    output = sut.hear(LINK, Bye(ByeCode.TOO_MANY, "full"))
    assert output.closes == [LINK]
    assert output.events == [LinkRefused(None, "link 1", ByeCode.TOO_MANY, "full", curve_of(LOW))]


@pytest.mark.parametrize(
    "code", [ByeCode.DATA_LOSS, ByeCode.STORE_ROLLED_BACK, ByeCode.DUPLICATE_INSTANCE]
)
def test_a_peer_that_sees_data_lost_raises_the_alarm_here_too(code: ByeCode) -> None:
    """RES-7: both sides must hear of it."""
    sut = middle()
    link = sut.dial(LOW)
    output = sut.hear(link, Bye(code, "you were rolled back"))
    assert output.events == [
        LinkRefused(LOW.address, f"link {link}", code, "you were rolled back", curve_of(LOW)),
        DataLossDetected(LOW.address, "the peer says: you were rolled back"),
    ]


def test_an_alarm_from_a_stranger_is_none() -> None:
    """RES-7: a link without a known peer can claim what it likes."""
    sut = middle()
    sut.up(LINK, curve_of(LOW))
    output = sut.hear(LINK, Bye(ByeCode.DATA_LOSS, "boo"))
    assert output.events == [LinkRefused(None, "link 1", ByeCode.DATA_LOSS, "boo", curve_of(LOW))]


def test_a_node_that_stops_says_goodbye_to_all() -> None:
    """BYE-2."""
    sut = connected()
    sut.meet(2, HIGH)
    sut.up(3, curve_of(HIGH))
    sut.engine.say_goodbye()
    output = sut.turn()
    assert byes(output) == [(link, ByeCode.CLOSING) for link in (1, 2, 3)]


# --- Time ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialed", [True, False])
def test_who_says_no_hello_is_given_up_after_a_while(dialed: bool) -> None:
    """HEL-7."""
    sut = middle(Limits(hello_timeout_s=2.0))
    link = sut.dial(LOW) if dialed else LINK
    if not dialed:
        sut.up(link, curve_of(LOW))
    assert sut.until(sut.now + 1.999).closes == []
    output = sut.turn(later_s=0.002)
    assert output.closes == [link]
    if dialed:
        assert sut.statuses() == {LOW.address: "no HELLO within 2 s"}


def measured(key: SecretKey = LOW) -> Sut:
    """Return an engine to which ``key``'s owner has come in, with a round trip of 0.01 s."""
    sut = connected(key)
    sut.until(sut.now + 0.02)
    sut.hear(LINK, Pong(1, progress_of()), later_s=0.01)
    return sut


def test_a_quiet_link_is_pinged_and_a_silent_one_given_up() -> None:
    """LIV-1, LIV-2: a PING 0.75 s after the last one, and 1.5 s after the PONG the end."""
    sut = measured()
    start = sut.now
    assert sut.until(start + 0.739).frames == []
    assert frames_on(sut.until(start + 0.76), LINK) == [Ping(2)]
    assert sut.until(start + 1.499).closes == []
    output = sut.until(start + 1.501)
    assert (output.frames, output.closes) == ([], [LINK])
    assert output.events == [PeerDisconnected(LOW.address, "silent for 1.5 s")]
    assert sut.statuses() == {LOW.address: "silent for 1.5 s"}


def test_a_pong_that_says_what_the_last_one_said_is_a_sign_of_life_all_the_same() -> None:
    """LIV-2: it need not be decoded, and each is one for its own PING only."""
    sut = measured()
    for number in range(2, 6):
        assert frames_on(sut.turn(later_s=0.75), LINK) == [Ping(number)]
        output = sut.hear(LINK, Pong(number, progress_of()), later_s=0.01)
        assert (output.frames, output.writes, output.closes) == ([], [], [])
    status = sut.engine.peer_statuses()[0]
    assert status.last_seen_ms == sut.utc_ms
    assert status.rtt_s == pytest.approx(0.01, abs=0.001)
    heard_at = sut.now
    assert sut.until(heard_at + 1.499).closes == []
    assert sut.until(heard_at + 1.501).closes == [LINK]


def test_a_link_that_was_just_asked_is_not_looked_at_again_at_once() -> None:
    sut = measured()
    sut.until(sut.now + 0.76)
    deadline = sut.engine.deadline()
    assert deadline is not None
    assert deadline > sut.now + 0.7


def test_a_pong_that_says_something_new_is_taken_in_after_many_that_do_not() -> None:
    """ACK-1, LIV-3: the same PONG is none any more when a message is under way, nor another one."""
    sut = measured()
    sut.until(sut.now + 0.76)
    sut.hear(LINK, Pong(2, progress_of()), later_s=0.01)
    sut.until(sut.now + 0.76)
    sut.engine.send(LOW.address, note("hello"))
    sut.turn()
    sut.hear(LINK, Pong(3, progress_of(ack=1)), later_s=0.01)
    assert sut.engine.unacked() == 0
    sut.until(sut.now + 0.76)
    output = sut.hear(LINK, Pong(4, progress_of(ack=9)))
    assert byes(output) == [(LINK, ByeCode.PROTOCOL_ERROR)]


def test_a_pong_that_says_what_the_one_before_said_opens_a_window_that_was_shut_between() -> None:
    """WIN-1: the same words mean something while a message waits."""
    sut = measured()
    sut.until(sut.now + 0.76)
    sut.hear(LINK, Pong(2, progress_of()), later_s=0.01)
    sut.hear(LINK, Ack(progress_of(window=(0, 0))), later_s=0.01)
    sut.engine.send(LOW.address, note("hello"))
    assert frames_on(sut.turn(), LINK) == []
    sut.until(sut.now + 0.76)
    frames = frames_on(sut.hear(LINK, Pong(3, progress_of()), later_s=0.01), LINK)
    assert [type(frame) for frame in frames] == [Data]


def test_a_pong_that_nobody_asked_for_counts_though_it_says_nothing_new() -> None:
    """RAT-1: who repeats the last one is not taken for an idle peer."""
    sut = middle(Limits(control_rate_frames=1.0, control_burst_frames=150.0))
    sut.meet(LINK, LOW)
    sut.until(sut.now + 0.02)
    closes: list[LinkId] = []
    for _ in range(60):
        closes += sut.hear(LINK, Pong(1, progress_of())).closes
    assert closes == [LINK]


def test_whatever_is_heard_is_a_sign_of_life() -> None:
    """LIV-1."""
    sut = measured()
    for _ in range(20):
        output = sut.hear(LINK, Ack(progress_of()), later_s=0.4)
        assert (output.frames, output.closes) == ([], [])
    status = sut.engine.peer_statuses()[0]
    assert status.last_seen_ms == START_MS + 8030


def test_who_came_in_is_pinged_soon_whatever_is_heard() -> None:
    """LIV-1, LIV-4: until a round trip is measured nothing is known of the path."""
    sut = connected()
    assert frames_on(sut.until(sut.now + 0.019), LINK) == []
    assert frames_on(sut.hear(LINK, Ack(progress_of()), later_s=0.002), LINK) == [Ping(1)]
    assert frames_on(sut.hear(LINK, Ack(progress_of()), later_s=0.751), LINK) == [Ping(2)]
    sut.hear(LINK, Pong(1, progress_of()))
    assert frames_on(sut.until(sut.now + 0.49), LINK) == []


def test_who_comes_in_again_is_pinged_as_soon_though_an_earlier_way_was_measured() -> None:
    sut = measured()
    sut.down(LINK)
    sut.meet(2, LOW)
    sut.hear(2, Data(Seq(1), UNSAID, progress_of(), (note("hello"),)), later_s=0.01)
    pings = [one for one in frames_on(sut.until(sut.now + 0.05), 2) if isinstance(one, Ping)]
    assert pings == [Ping(1)]


def test_who_was_dialed_or_has_acknowledged_a_message_is_not_pinged_for_it() -> None:
    """LIV-1: the round trip is measured already."""
    sut = middle()
    link = sut.dial(LOW)
    sut.hear(link, hello_of(LOW))
    assert sut.until(sut.now + 0.1).frames == []
    sut = connected()
    sut.engine.send(LOW.address, note("hello"))
    sut.turn()
    sut.hear(LINK, Ack(progress_of(received=1)), later_s=0.01)
    assert sut.until(sut.now + 0.1).frames == []


def test_a_link_that_was_not_measured_is_given_more_time_and_the_next_one_yet_more() -> None:
    """LIV-4: or a way longer than the limit would be given up over and over."""
    sut = connected()
    for link, limit_s in ((LINK, 2.0), (2, 4.0), (3, 8.0), (4, 16.0), (5, 20.0)):
        start = sut.now
        assert sut.until(start + limit_s - 0.01).closes == []
        assert sut.until(start + limit_s + 0.01).closes == [link]
        sut.meet(link + 1, LOW)
    sut.until(sut.now + 0.02)
    sut.hear(6, Pong(1, progress_of()), later_s=0.01)
    sut.down(6)
    sut.meet(7, LOW)
    assert sut.until(sut.now + 2.01).closes == [7]


def test_a_round_trip_of_two_seconds_is_no_silence() -> None:
    """LIV-4: three timeouts, after the first PONG 3 * (2 + 4) s, and that is the end of it."""
    sut = connected()
    sut.until(sut.now + 2.01)
    sut.meet(2, LOW)
    sut.turn(later_s=0.02)
    sut.until(sut.now + 2.0)
    sut.hear(2, Pong(1, progress_of()))
    assert sut.until(sut.now + 17.9).closes == []
    assert sut.until(sut.now + 0.2).closes == [2]
    assert sut.statuses()[LOW.address].startswith("silent for 18")


def test_what_was_sent_and_makes_no_progress_ends_a_link_on_which_the_peer_speaks() -> None:
    """LIV-5: whether it is sent again or not; the peer is dialed anew."""
    sut = measured()
    sut.engine.send(LOW.address, note("hello"))
    sut.turn()
    start = sut.now
    closes: list[int] = []
    while not closes and sut.now < start + 5.0:
        closes += sut.hear(LINK, Ping(7), later_s=0.1).closes
    assert closes == [LINK]
    assert 1.5 <= sut.now - start < 1.7
    assert sut.statuses() == {LOW.address: "no progress for 1.5 s"}
    assert len(sut.turn(later_s=0.02).dials) == 1


def test_a_link_is_given_up_as_soon_as_it_is_measured_if_it_was_stalled_for_too_long() -> None:
    """LIV-4, LIV-5: until then it had 2 s; the next look would be no sooner."""
    sut = connected()
    sut.engine.send(LOW.address, note("hello"))
    sut.turn()
    start = sut.now
    assert sut.until(start + 1.6).closes == []
    assert sut.hear(LINK, Pong(3, progress_of())).closes == [LINK]
    assert sut.statuses() == {LOW.address: "no progress for 1.5 s"}


def test_what_was_under_way_leaves_over_another_link_in_the_turn_in_which_its_own_ends() -> None:
    sut = connected()
    sut.meet(2, LOW)
    sut.engine.send(LOW.address, note("hello"))
    (data,) = frames_on(sut.turn(), 2)
    assert isinstance(data, Data)
    assert frames_on(sut.down(2), LINK) == [data]


def test_a_peer_that_holds_what_it_does_not_process_is_not_dead() -> None:
    """LIV-5: its handler is slow, and its window is full."""
    sut = connected()
    for number in range(1, 6):
        sut.engine.send(LOW.address, note(str(number)))
    full = progress_of(received=3, window=(0, 0))
    sut.turn()
    sut.hear(LINK, Ack(full), later_s=0.01)
    sut.hear(LINK, Gap(full), later_s=0.01)
    for _ in range(100):
        assert sut.hear(LINK, Ping(7), later_s=0.1).closes == []
    assert sut.statuses() == {LOW.address: "connected"}


def test_progress_however_slow_is_no_stall() -> None:
    """LIV-5."""
    sut = measured()
    for number in range(20):
        sut.engine.send(LOW.address, note(str(number)))
    sut.turn()
    for number in range(1, 20):
        for _ in range(4):
            assert sut.hear(LINK, Ping(7), later_s=0.3).closes == []
        sut.hear(LINK, Ack(progress_of(received=number)))
    assert sut.statuses() == {LOW.address: "connected"}


def test_acknowledgements_that_wait_behind_messages_are_waited_for() -> None:
    """LIV-5: both send much over a slow network."""
    sut = measured()
    sut.engine.send(LOW.address, note("hello"))
    sut.turn()
    for number in range(1, 60):
        data = Data(Seq(number), UNSAID, progress_of(), (note(str(number)),))
        assert sut.hear(LINK, data, later_s=0.1).closes == []
    assert sut.statuses() == {LOW.address: "connected"}


def test_a_link_that_is_not_sent_on_does_not_stall() -> None:
    """LIV-5: what was sent goes over the other one."""
    sut = measured()
    sut.meet(2, LOW)
    sut.engine.send(LOW.address, note("hello"))
    sut.turn()
    closes: list[int] = []
    for _ in range(50):
        closes += [link for link in stay(sut, 0.1, LINK, 2).closes if link in (LINK, 2)]
    assert closes == [2, LINK]  # Then it is sent over the first, which stalls in its turn.


# --- Pauses of this node ------------------------------------------------------------------------


def test_a_link_survives_that_this_node_was_stopped() -> None:
    """LIV-6: the peer may have spoken meanwhile, or waited for a PING; nothing is sent again."""
    sut = measured()
    sut.engine.send(LOW.address, note("hello"))
    sut.turn()
    sut.turn(later_s=10.0)
    output = sut.turn(later_s=0.01)
    assert [type(frame) for frame in frames_on(sut.done, LINK)][-2:] == [Data, Ping]
    assert (output.closes, sut.done.closes) == ([], [])
    assert sut.engine.peer_statuses()[0].resent == 0
    sut.hear(LINK, Pong(2, progress_of(received=1)), later_s=0.01)
    assert sut.engine.peer_statuses()[0].rtt_s == pytest.approx(0.01, abs=0.005)
    assert sut.until(sut.now + 1.0).closes == []


def test_what_was_not_heard_before_and_after_a_pause_is_silence() -> None:
    """LIV-6: a peer that died meanwhile is noticed in the usual time."""
    sut = measured()
    sut.turn(later_s=10.0)
    assert sut.until(sut.now + 0.7).closes == []
    assert sut.until(sut.now + 0.2).closes == [LINK]


def test_a_node_that_is_always_late_gives_up_the_dead_all_the_same() -> None:
    """LIV-6: of each turn an interval counts."""
    sut = measured()
    turns = 0
    while not sut.turn(later_s=2.0).closes:
        turns += 1
        assert turns < 10
    assert turns >= 1


def test_a_node_that_slept_because_nothing_was_due_has_not_overslept() -> None:
    """LIV-6: the deadline says when it should have run."""
    sut = connected()
    sut.down(LINK)
    sut.turn(later_s=1000.0)
    sut.meet(2, LOW)
    assert sut.until(sut.now + 2.01).closes == [2]


def test_a_pong_is_a_sign_of_life_and_measures_the_round_trip() -> None:
    """RTO-1: each PING once."""
    sut = connected()
    for number in (1, 2, 3, 4):
        frames = frames_on(sut.turn(later_s=0.02 if number == 1 else 0.64), LINK)
        assert frames == [Ping(number)]
        sut.hear(LINK, Pong(number - 1, progress_of()))
        assert sut.engine.peer_statuses()[0].rtt_s == (None if number == 1 else 0.125)
        sut.hear(LINK, Pong(number, progress_of()), later_s=0.125)
        assert sut.engine.peer_statuses()[0].rtt_s == 0.125


def test_a_ping_is_answered() -> None:
    """LIV-3."""
    (pong,) = frames_on(connected().hear(LINK, Ping(77)), LINK)
    assert isinstance(pong, Pong)
    assert pong.token == 77


def test_what_is_not_received_in_time_is_sent_again() -> None:
    """RTO-3."""
    sut = connected()
    sut.engine.send(LOW.address, note("hello"))
    sut.turn()
    assert sut.engine.peer_statuses()[0].unacked == 1
    sut.hear(LINK, Ping(1), later_s=0.8)
    frames = frames_on(sut.until(sut.now + 0.2), LINK)
    assert [type(frame) for frame in frames] == [Data]
    status = sut.engine.peer_statuses()[0]
    assert (status.resent, status.unacked, status.unacked_bytes) == (1, 1, len(note("hello")))


def test_timers_of_links_that_are_gone_do_nothing() -> None:
    sut = connected()
    sut.down(LINK)
    output = sut.until(sut.now + 3.0)
    assert (output.frames, output.closes, output.events) == ([], [], [])


# --- Several links ------------------------------------------------------------------------------


def test_a_peer_is_connected_while_it_has_a_link() -> None:
    sut = connected()
    assert sut.meet(2, LOW).events == []
    assert sut.down(LINK).events == []
    assert sut.statuses() == {LOW.address: "connected"}
    assert sut.down(2).events == [PeerDisconnected(LOW.address, "lost: the wire broke")]


def both_dialed(key: SecretKey, other: SecretKey) -> tuple[Sut, int]:
    """Return ``key``'s engine with two links to ``other``, and the one that it dialed itself."""
    sut = Sut(key)
    link = sut.dial(other)
    sut.hear(link, hello_of(other))
    sut.meet(LINK, other)
    return sut, link


def stay(sut: Sut, later_s: float, *links: int) -> EngineOutput:
    """Let time pass, with a sign of life on ``links`` at the end."""
    sut.begin(later_s)
    return sut.turn(*[Received(LinkId(link), (codec.encode((10, 1)),)) for link in links])


def test_of_two_links_the_higher_address_gives_up_the_one_it_dialed() -> None:
    """DUP-1: after a while, so that what is under way arrives."""
    sut, mine = both_dialed(MIDDLE, LOW)
    assert byes(stay(sut, 0.9, LINK, mine)) == []
    assert byes(stay(sut, 0.2, LINK, mine)) == [(mine, ByeCode.DUPLICATE_LINK)]
    assert sut.statuses() == {LOW.address: "connected"}
    assert sut.until(sut.now + 0.4).dials == []


def test_the_lower_address_waits_for_the_other_to_give_up() -> None:
    """DUP-1: or both links could be closed."""
    sut, mine = both_dialed(LOW, MIDDLE)
    stay(sut, 0.9, LINK, mine)
    assert byes(stay(sut, 0.2, LINK, mine)) == []
    output = sut.hear(mine, Bye(ByeCode.DUPLICATE_LINK, ""))
    assert output.events == []
    assert sut.statuses() == {MIDDLE.address: "connected"}
    assert output.dials == []


def test_two_links_that_the_other_dialed_are_its_own_affair() -> None:
    """DUP-1."""
    sut = connected()
    sut.meet(2, LOW)
    stay(sut, 0.9, LINK, 2)
    assert byes(stay(sut, 0.2, LINK, 2)) == []


def test_a_second_link_is_no_reconnect() -> None:
    """A plain start of two nodes that dial each other would be told as a lost connection."""
    sut, _mine = both_dialed(MIDDLE, LOW)
    (status,) = sut.engine.peer_statuses()
    assert (status.connected, status.reconnects) == (True, 0)


def test_a_second_link_that_is_gone_again_needs_no_end() -> None:
    """DUP-1."""
    sut, mine = both_dialed(MIDDLE, LOW)
    sut.down(LINK)
    assert byes(stay(sut, 1.1, mine)) == []
    assert sut.statuses() == {LOW.address: "connected"}


def test_links_of_an_earlier_run_end_when_the_peer_comes_back() -> None:
    """RES-8: a frame of the earlier run must not pass for one of this one."""
    sut = connected()
    again = replace(hello_of(LOW), incarnation=2, instance=OTHER_INSTANCE)
    output = sut.meet(2, LOW, again)
    assert output.closes == [LINK]
    assert PutPeerRun(LOW.address, 2, OTHER_INSTANCE) in output.writes
    sut.hear(LINK, Data(Seq(1), UNSAID, progress_of(), (note("of the past"),)))
    assert sut.memory.peers[LOW.address].cursor == 0
    assert sut.statuses() == {LOW.address: "connected"}


def test_an_old_frame_in_the_turn_of_the_new_hello_is_dropped_too() -> None:
    """RES-8."""
    sut = connected()
    sut.up(2, curve_of(LOW))
    again = replace(hello_of(LOW), incarnation=2, instance=OTHER_INSTANCE)
    old = Data(Seq(1), UNSAID, progress_of(), (note("of the past"),))
    sut.begin()
    sut.take(2, again)
    sut.take(LINK, old)
    output = sut.turn()
    assert output.closes == [LINK]
    assert sut.memory.peers[LOW.address].cursor == 0


# --- What a store remembers ---------------------------------------------------------------------


def test_a_restarted_node_knows_its_peers_and_dials_those_it_was_told_to() -> None:
    """And those it has mail for."""
    sut = middle()
    sut.meet(LINK, LOW, hello_of(LOW, record_of(LOW, endpoints=("tcp://10.0.0.1:1",))))
    sut.engine.add_contact(record_of(HIGH))
    sut.turn()
    again = sut.restarted()
    assert [dial.peer for dial in again.turn().dials] == [HIGH.address]
    assert set(again.statuses()) == {LOW.address, HIGH.address}
    again.engine.send(LOW.address, note("hello"))
    again.settle()
    dials = again.restarted().turn().dials
    assert {dial.peer for dial in dials} == {LOW.address, HIGH.address}


def test_a_peer_of_which_only_the_session_is_known_is_waited_for() -> None:
    """A participant that came by a proposal has no contact yet."""
    sut = connected()
    sut.memory.peers[LOW.address].contact = ""
    again = sut.restarted()
    assert again.turn().dials == []
    assert again.statuses() == {LOW.address: ""}


def test_a_node_stores_when_its_record_was_issued() -> None:
    sut = Sut(MIDDLE, record=record_of(MIDDLE, issued_ms=START_MS + 5))
    assert PutIssued(START_MS + 5) in sut.done.writes


def test_the_status_says_how_things_stand() -> None:
    sut = connected()
    status = sut.engine.peer_statuses()[0]
    assert status.address == LOW.address
    assert status.connected
    assert status.endpoints == ("tcp://127.0.0.1:1",)
    assert status.last_seen_ms == START_MS
    assert (status.unacked, status.unacked_bytes, status.reconnects, status.resent) == (0,) * 4
    sut.engine.send(LOW.address, note("x"))
    assert sut.engine.peer_statuses()[0].unacked == 1


# --- Hand-over ----------------------------------------------------------------------------------


def test_the_link_is_kept_to_the_new_address_instead_of_the_old_after_a_restart_too() -> None:
    """HND-3; the old one's session stays, and what waits for it is still delivered."""
    sut = middle()
    sut.begin()
    sut.engine.add_contact(record_of(LOW))
    sut.turn()
    sut.begin()
    sut.engine.hand_over(LOW.address, record_of(HIGH))
    output = sut.turn()
    assert output.events == [PeerHandedOver(LOW.address, HIGH.address)]
    again = sut.restarted()
    assert {dial.peer for dial in again.turn().dials} == {HIGH.address}
    again.begin()
    again.engine.send(LOW.address, note("of a channel that is being closed"))
    assert {dial.peer for dial in again.turn().dials} == {LOW.address}


def test_the_first_hand_over_of_an_address_is_final() -> None:
    """HND-3: a statement replayed later, or made by a thief of the old key, moves nobody."""
    sut = middle()
    sut.begin()
    sut.engine.add_contact(record_of(LOW))
    sut.engine.hand_over(LOW.address, record_of(HIGH))
    for contact in (record_of(HIGH), record_of(SecretKey(b"\x09" * 32))):
        with pytest.raises(UnknownPeer, match="handed over before"):
            sut.engine.hand_over(LOW.address, contact)
    assert sut.engine.knows(HIGH.address)
    assert not sut.engine.knows(SecretKey(b"\x09" * 32).address)


def test_hand_overs_follow_each_other_in_their_order_only() -> None:
    third = SecretKey(b"\x09" * 32)
    sut = middle()
    sut.begin()
    sut.engine.add_contact(record_of(LOW))
    with pytest.raises(UnknownPeer):  # The second comes first: nobody knows of whom it speaks.
        sut.engine.hand_over(HIGH.address, record_of(third))
    sut.engine.hand_over(LOW.address, record_of(HIGH))
    sut.engine.hand_over(HIGH.address, record_of(third))
    with pytest.raises(UnknownPeer):
        sut.engine.hand_over(LOW.address, record_of(HIGH))
    assert {dial.peer for dial in sut.turn().dials} == {third.address}


def test_who_was_not_added_is_not_handed_over() -> None:
    """That somebody came by is no reason to dial whom he names."""
    sut = connected(LOW)
    sut.begin()
    with pytest.raises(UnknownPeer):
        sut.engine.hand_over(LOW.address, record_of(HIGH))
    assert not sut.engine.knows(HIGH.address)


def test_what_a_peer_says_at_its_goodbye_is_shown_as_text_that_does_nothing() -> None:
    """A terminal would obey it, wherever a status, an event or a log is printed."""
    sut = middle()
    link = sut.dial(LOW)
    output = sut.hear(link, Bye(ByeCode.DATA_LOSS, "\x1b[2J"))
    assert sut.statuses()[LOW.address] == r"data_loss: \x1b[2J"
    assert sut.memory.peers[LOW.address].held == Held(
        ByeCode.DATA_LOSS.value, r"the peer says: \x1b[2J"
    )
    assert "\x1b" not in "".join(
        event.reason if isinstance(event, LinkRefused) else event.detail
        for event in output.events
        if isinstance(event, LinkRefused | DataLossDetected)
    )
