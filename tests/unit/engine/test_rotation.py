"""CURVE keys are replaced, here and at a peer: links move, and a thief of the old key stays out."""

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
from tests.frames import OTHER_INSTANCE
from zmqp2p.codes import ByeCode
from zmqp2p.crypto import SecretKey
from zmqp2p.engine.me import Told
from zmqp2p.engine.output import Dial, EngineOutput
from zmqp2p.events import LinkRefused, PeerConnected, PeerDisconnected
from zmqp2p.ids import CurveKey, LinkId
from zmqp2p.persistence import PutContact, PutIssued
from zmqp2p.records import PeerRecord
from zmqp2p.wire.frames import NEWEST_RECORD, Bye, Data, Hello, Who
from zmqp2p.wire.link import DownReason, LinkDown, LinkUp

OLD, NEW = 1, 2  # Links that others dialed.
NEW_KEY = CurveKey(b"\x77" * 32)
GRACE_S = 100.0


def newer(key: SecretKey, *, issued_ms: int = START_MS + 10, **terms: object) -> PeerRecord:
    """Return a later record of ``key``'s owner, of another CURVE key."""
    return record_of(key, issued_ms=issued_ms, curve_key=NEW_KEY, **terms)  # type: ignore[arg-type]


def telling(key: SecretKey, newest: PeerRecord, record: PeerRecord | None = None) -> Hello:
    """Return a HELLO of the former key that tells of the newest record."""
    return replace(hello_of(key, record), extensions={NEWEST_RECORD: newest.encode()})


def codes(output: EngineOutput) -> list[ByeCode]:
    return [frame.code for _link, frame in output.frames if isinstance(frame, Bye)]


def rules(output: EngineOutput) -> list[str]:
    """Return the rules that links were refused by."""
    return [e.reason.split(":")[0] for e in output.events if isinstance(e, LinkRefused)]


def hellos(output: EngineOutput, link: int) -> list[Hello]:
    return [frame for frame in frames_on(output, link) if isinstance(frame, Hello)]


def over_new_link(sut: Sut, link: int, curve_key: CurveKey, hello: Hello) -> EngineOutput:
    """Let somebody with ``curve_key`` come in over a new link and say ``hello``."""
    sut.up(link, curve_key)
    return sut.hear(link, hello)


def rotate(sut: Sut, grace_s: float = GRACE_S) -> EngineOutput:
    """Give ``sut`` another key, in a turn of its own."""
    sut.begin()
    record = newer(sut.key, issued_ms=sut.utc_ms + 1)
    sut.record = record
    sut.engine.rotate(record, grace_s=grace_s)
    return sut._work()  # noqa: SLF001  # The rest of the turn.


# --- A peer's key is replaced -------------------------------------------------------------------


def dialed_low() -> Sut:
    """Return Middle, who has dialed Low and is connected."""
    sut = Sut(MIDDLE)
    link = sut.dial(LOW)
    sut.hear(link, hello_of(LOW))
    return sut


def test_a_peers_newest_record_is_learned_over_a_link_of_its_former_key() -> None:
    """IDN-5: it is what is known of the peer from then on, after a restart too."""
    sut = Sut(MIDDLE)
    sut.begin()
    sut.engine.add_contact(record_of(LOW, endpoints=()))
    output = over_new_link(sut, OLD, curve_of(LOW), telling(LOW, newer(LOW)))
    assert codes(output) == []
    assert sut.statuses()[LOW.address] == "connected"
    (stored,) = [write for write in output.writes if isinstance(write, PutContact)]
    assert stored.contact == str(newer(LOW))


def test_who_dialed_the_former_key_dials_the_new_one_while_the_link_goes_on() -> None:
    sut = dialed_low()
    old = sut.last_link
    output = sut.hear(old, telling(LOW, newer(LOW, endpoints=("tcp://127.0.0.1:9",))))
    assert output.dials == [Dial(LOW.address, "tcp://127.0.0.1:9", NEW_KEY)]
    assert output.closes == []
    new = sut.last_link
    assert sut.statuses()[LOW.address] == "connected"
    sut.up(new, NEW_KEY, dialed=True)
    output = sut.hear(new, hello_of(LOW, newer(LOW)))
    assert not any(isinstance(event, PeerConnected) for event in output.events)
    output = sut.until(sut.now + sut.limits.duplicate_grace_s)
    assert output.closes == [old]
    assert frames_on(output, old)[-1] == Bye(ByeCode.DUPLICATE_LINK, "a link of newer keys is used")
    assert not any(isinstance(event, PeerDisconnected) for event in output.events)
    assert output.dials == []


def test_a_peer_that_was_not_dialed_moves_by_itself() -> None:
    """It knows where it dialed; its endpoint may not be reached from here."""
    sut = Sut(MIDDLE)
    output = over_new_link(sut, OLD, curve_of(LOW), telling(LOW, newer(LOW)))
    assert output.dials == []
    output = over_new_link(sut, NEW, NEW_KEY, hello_of(LOW, newer(LOW)))
    assert codes(output) == []
    output = sut.until(sut.now + sut.limits.duplicate_grace_s)
    assert output.closes == []  # It dialed both: it closes the old one.


@pytest.mark.parametrize("why", ["no answer", "no HELLO", "cannot begin", "expired"])
def test_a_move_that_fails_is_tried_again_and_the_link_goes_on(why: str) -> None:
    sut = dialed_low()
    old = sut.last_link
    lifetime_ms = 1_000 if why == "expired" else HOUR_MS
    sut.hear(old, telling(LOW, newer(LOW, lifetime_ms=lifetime_ms)))
    new = LinkId(sut.last_link)
    if why == "no answer":
        sut.turn(LinkDown(new, DownReason.WRONG_KEY, ""))
    elif why == "no HELLO":
        sut.up(new, NEW_KEY, dialed=True)
        sut.turn(LinkDown(new, DownReason.LOST, ""))
    elif why == "cannot begin":
        sut.turn(LinkDown(new, DownReason.UNREACHABLE, ""))
        dials = len(sut.done.dials)
        sut.begin()
        sut.engine.dial_failed(LOW.address, "no such endpoint")
        assert len(sut.done.dials) == dials
    else:
        sut.turn(LinkDown(new, DownReason.UNREACHABLE, ""), later_s=2.0)
    assert sut.statuses()[LOW.address] == "connected"
    before = len(sut.done.dials)
    for _ in range(6):
        sut.hear(old, hello_of(LOW), later_s=0.4)
    assert (len(sut.done.dials) > before) == (why != "expired")
    assert sut.statuses()[LOW.address] == "connected"


@pytest.mark.parametrize(("code", "soon"), [(ByeCode.NOT_ALLOWED, 0), (ByeCode.CLOSING, 1)])
def test_a_peer_that_refuses_the_new_key_is_not_pestered(code: ByeCode, soon: int) -> None:
    sut = dialed_low()
    old = sut.last_link
    sut.hear(old, telling(LOW, newer(LOW)))
    new = sut.last_link
    sut.up(new, NEW_KEY, dialed=True)
    sut.hear(new, Bye(code, "for a reason"))
    before = len(sut.done.dials)
    sut.until(sut.now + sut.limits.redial_denied_s / 4)
    assert min(len(sut.done.dials) - before, 1) == soon
    assert sut.statuses()[LOW.address] == "connected"


@pytest.mark.parametrize("how_far", ["asked for", "under way", "up"])
def test_a_dial_that_is_not_needed_any_more_is_given_up(how_far: str) -> None:
    """The link that this node dialed is gone; of what is left, Low is the one to dial anew."""
    sut = dialed_low()
    old = LinkId(sut.last_link)
    sut.meet(OLD, LOW)
    sut.begin()
    sut.take(old, telling(LOW, newer(LOW)))
    if how_far == "asked for":
        sut.engine.tick()
        sut.engine.take(LinkDown(old, DownReason.LOST, ""))
        assert len(sut.settle().dials) == 1
    else:
        sut.engine.tick()
        assert len(sut.settle().dials) == 1
        if how_far == "up":
            sut.up(sut.last_link, NEW_KEY, dialed=True)
        sut.turn(LinkDown(old, DownReason.LOST, ""))
    new = sut.last_link
    dials = len(sut.done.dials)
    closes = sut.turn(later_s=0.4).closes
    assert (new in closes or new in sut.done.closes) == (how_far != "up")
    assert len(sut.done.dials) == dials
    assert sut.statuses()[LOW.address] == "connected"


def test_the_end_of_the_last_link_ends_a_move_too() -> None:
    sut = dialed_low()
    old = sut.last_link
    sut.hear(old, telling(LOW, newer(LOW)))
    sut.down(old)
    assert sut.statuses()[LOW.address] != "connected"
    new = sut.last_link
    sut.up(new, NEW_KEY, dialed=True)
    sut.hear(new, hello_of(LOW, newer(LOW)))
    assert sut.statuses()[LOW.address] == "connected"


# --- A thief of the former key ------------------------------------------------------------------


def test_a_thief_with_the_former_key_and_record_is_refused_once_the_new_one_is_known() -> None:
    """IDN-4: over a link of his own, with or without the newest record, which all can show."""
    sut = Sut(MIDDLE)
    over_new_link(sut, OLD, NEW_KEY, hello_of(LOW, newer(LOW)))
    for number, hello in enumerate((hello_of(LOW), telling(LOW, newer(LOW)))):
        output = over_new_link(sut, 10 + number, curve_of(LOW), hello)
        assert codes(output) == [ByeCode.RECORD_SUPERSEDED]
        assert rules(output) == ["IDN-4"]
    assert sut.engine._connections.book.sessions[LOW.address].links.keys() == {OLD}  # noqa: SLF001


def test_a_thief_cannot_say_the_new_record_over_the_former_key() -> None:
    """IDN-1: that the record is genuine and newest does not matter."""
    sut = Sut(MIDDLE)
    output = over_new_link(sut, OLD, curve_of(LOW), hello_of(LOW, newer(LOW)))
    assert codes(output) == [ByeCode.KEY_MISMATCH]
    assert rules(output) == ["IDN-1"]


def test_a_thief_cannot_say_the_new_record_on_a_link_that_was_established() -> None:
    """IDN-1: also on a further HELLO; the link ends."""
    sut = Sut(MIDDLE)
    over_new_link(sut, OLD, curve_of(LOW), hello_of(LOW))
    output = sut.hear(OLD, hello_of(LOW, newer(LOW)))
    assert codes(output) == [ByeCode.KEY_MISMATCH]


def test_a_record_that_is_told_but_not_proven_gives_no_access() -> None:
    """The extension is for later links: who is here, only the record of this one says."""
    sut = Sut(MIDDLE)
    output = over_new_link(sut, OLD, curve_of(HIGH), telling(LOW, newer(LOW)))
    assert rules(output) == ["IDN-1"]
    assert LOW.address not in sut.statuses()


@pytest.mark.parametrize(
    "newest",
    [
        newer(HIGH),  # Another's, which is good by itself.
        newer(LOW, issued_ms=START_MS),  # Not newer.
        newer(LOW, issued_ms=START_MS - 10),
    ],
)
def test_what_is_no_newer_record_of_the_same_address_is_refused(newest: PeerRecord) -> None:
    sut = Sut(MIDDLE)
    output = over_new_link(sut, OLD, curve_of(LOW), telling(LOW, newest))
    assert rules(output) == ["IDN-5"]
    assert codes(output) == [ByeCode.RECORD_INVALID]
    assert HIGH.address not in sut.statuses()


@pytest.mark.parametrize(
    ("newest", "rule"),
    [
        (newer(LOW).encode()[:-1], "REC-1"),
        (newer(LOW).encode()[:-20] + newer(HIGH).encode()[-20:], "REC-2"),
        (newer(LOW, issued_ms=START_MS - 2 * HOUR_MS).encode(), "REC-3"),
        (newer(LOW, issued_ms=START_MS + HOUR_MS).encode(), "REC-4"),
    ],
)
def test_a_newest_record_is_checked_as_any(newest: bytes, rule: str) -> None:
    sut = Sut(MIDDLE)
    hello = replace(hello_of(LOW), extensions={NEWEST_RECORD: newest})
    assert rules(over_new_link(sut, OLD, curve_of(LOW), hello)) == [rule]
    assert LOW.address not in sut.statuses()


def test_the_former_key_does_not_come_back_when_its_link_has_ended() -> None:
    """The same connection may go on; the next one is a new link, though it says the same."""
    sut = Sut(MIDDLE)
    over_new_link(sut, OLD, curve_of(LOW), telling(LOW, newer(LOW)))
    assert codes(sut.hear(OLD, telling(LOW, newer(LOW)))) == []  # A further HELLO, as after WHO.
    sut.down(OLD)
    output = over_new_link(sut, NEW, curve_of(LOW), telling(LOW, newer(LOW)))
    assert rules(output) == ["IDN-4"]


def test_the_former_record_of_another_is_refused_on_a_link_that_was_established() -> None:
    """Only what was proven on this very link counts: not what another address had."""
    sut = Sut(MIDDLE)
    over_new_link(sut, OLD, NEW_KEY, hello_of(LOW, newer(LOW)))
    shared = record_of(HIGH, curve_key=curve_of(LOW))
    hello = replace(hello_of(HIGH, shared), instance=OTHER_INSTANCE)
    over_new_link(sut, NEW, curve_of(LOW), hello)
    output = sut.hear(NEW, hello_of(LOW))
    assert rules(output) == ["IDN-4"]


def test_without_curve_the_former_record_is_refused_on_any_link() -> None:
    """TRN-5: nothing was proven there, so nothing is exempt."""
    sut = Sut(MIDDLE)
    sut.up(OLD, None)
    sut.hear(OLD, hello_of(LOW))
    sut.hear(OLD, hello_of(LOW, newer(LOW)))
    assert rules(sut.hear(OLD, hello_of(LOW))) == ["IDN-4"]


# --- This node's key is replaced ----------------------------------------------------------------


def test_all_are_told_over_the_links_there_are() -> None:
    """IDN-6: by a HELLO where this node dialed; a listener asks WHO, and tells it in its answer."""
    sut = dialed_low()
    dialed = sut.last_link
    sut.meet(OLD, HIGH)
    former = record_of(MIDDLE)
    output = rotate(sut)
    assert sut.record is not None
    assert PutIssued(sut.record.issued_ms) in output.writes
    assert frames_on(output, OLD) == [Who()]
    answer = sut.hear(OLD, hello_of(HIGH))
    for hello in (*hellos(output, dialed), *hellos(answer, OLD)):
        assert hello.record == former.encode()  # IDN-1: what this link has proven.
        assert hello.extensions == {NEWEST_RECORD: sut.record.encode()}
    assert len(hellos(output, dialed)) == len(hellos(answer, OLD)) == 1


def test_it_dials_all_whom_it_can_with_the_new_key() -> None:
    sut = dialed_low()
    old = sut.last_link
    sut.meet(OLD, HIGH)
    output = rotate(sut)
    assert {dial.peer for dial in output.dials} == {LOW.address, HIGH.address}
    links = {dial.peer: sut.last_link - 1 + n for n, dial in enumerate(output.dials)}
    for key in (LOW, HIGH):
        sut.up(links[key.address], curve_of(key), dialed=True)
        (hello,) = hellos(sut.done, links[key.address])
        assert sut.record is not None
        assert (hello.record, hello.extensions) == (sut.record.encode(), {})
        sut.hear(links[key.address], hello_of(key))
    output = sut.until(sut.now + sut.limits.duplicate_grace_s)
    assert output.closes == [old]  # High closes what it has dialed.
    assert not any(isinstance(event, PeerDisconnected) for event in output.events)


def test_messages_go_on_over_the_old_link_until_the_new_one_is_there() -> None:
    sut = Sut(MIDDLE)
    sut.meet(OLD, LOW, hello_of(LOW, record_of(LOW, endpoints=())))
    rotate(sut)
    sut.begin()
    sut.engine.send(LOW.address, note("on"))
    assert any(isinstance(frame, Data) for frame in frames_on(sut.settle(), OLD))


def test_the_grace_ends_what_is_left() -> None:
    sut = Sut(MIDDLE)
    sut.meet(OLD, LOW, hello_of(LOW, record_of(LOW, endpoints=())))
    rotate(sut, grace_s=1.0)
    assert not sut.turn(later_s=0.5).former_ended
    output = sut.turn(later_s=0.5)
    assert output.former_ended
    assert frames_on(output, OLD)[-1] == Bye(
        ByeCode.CLOSING, "the CURVE key of this link was replaced"
    )
    assert output.closes == [OLD]
    assert not sut.turn(later_s=5.0).former_ended  # Once.
    sut.meet(NEW, LOW)
    assert sut.statuses()[LOW.address] == "connected"


def test_a_link_of_the_former_key_that_comes_during_the_grace_is_told() -> None:
    sut = Sut(MIDDLE)
    rotate(sut)
    sut.turn(LinkUp(LinkId(OLD), curve_of(LOW), "there", dialed=False, former=True))
    (hello,) = hellos(sut.hear(OLD, hello_of(LOW)), OLD)
    assert hello.record == record_of(MIDDLE).encode()
    assert NEWEST_RECORD in hello.extensions
    sut.meet(NEW, HIGH)
    (hello,) = hellos(sut.done, NEW)
    assert hello.extensions == {}


def test_a_link_of_the_former_key_that_comes_after_the_grace_is_closed() -> None:
    """A dial that was long under way, for one."""
    sut = Sut(MIDDLE)
    rotate(sut, grace_s=0.0)
    output = sut.turn(LinkUp(LinkId(OLD), curve_of(LOW), "there", dialed=False, former=True))
    assert (codes(output), output.closes) == ([ByeCode.CLOSING], [OLD])


def test_a_second_rotation_ends_what_the_one_before_left() -> None:
    sut = Sut(MIDDLE)
    sut.meet(OLD, LOW, hello_of(LOW, record_of(LOW, endpoints=())))
    rotate(sut, grace_s=1.0)
    output = rotate(sut, grace_s=5.0)
    assert output.closes == [OLD]
    assert not output.former_ended  # The transport has seen to it.
    assert not sut.turn(later_s=2.0).former_ended  # The first one's time.
    assert sut.turn(later_s=3.0).former_ended


def test_a_rotation_alone_moves_nobody() -> None:
    sut = Sut(MIDDLE)
    output = rotate(sut, grace_s=1.0)
    assert (output.frames, output.dials, output.closes) == ([], [], [])
    assert sut.turn(later_s=1.0).former_ended


def test_of_two_links_of_former_keys_none_is_closed_before_there_is_a_newer_one() -> None:
    """Both sides had dialed, and then the key was replaced."""
    sut = dialed_low()
    sut.meet(OLD, LOW)
    sut.hear(OLD, telling(LOW, newer(LOW)))
    old = sut.engine._connections.book.sessions[LOW.address].links.keys()  # noqa: SLF001
    output = sut.until(sut.now + sut.limits.duplicate_grace_s)
    assert len(old) == 2
    assert not old & set(output.closes)


def test_a_duplicate_is_found_among_the_links_of_newest_keys() -> None:
    """DUP-1: of these the higher address ends the one it dialed; the former one ends as well."""
    sut = Sut(HIGH)
    old = sut.dial(LOW)
    sut.hear(old, hello_of(LOW))
    sut.hear(old, telling(LOW, newer(LOW)))
    mine = sut.last_link
    sut.up(mine, NEW_KEY, dialed=True)
    over_new_link(sut, NEW, NEW_KEY, hello_of(LOW, newer(LOW)))
    sut.hear(mine, hello_of(LOW, newer(LOW)))
    output = sut.until(sut.now + sut.limits.duplicate_grace_s)
    assert sorted(output.closes) == sorted([old, mine])


def test_duplicate_links_of_the_newest_keys_end_as_before() -> None:
    """DUP-1 is not confused by one that is on its way out."""
    sut = Sut(HIGH)
    old = sut.dial(LOW)
    sut.hear(old, hello_of(LOW))
    sut.hear(old, telling(LOW, newer(LOW)))
    mine = sut.last_link
    over_new_link(sut, NEW, NEW_KEY, hello_of(LOW, newer(LOW)))
    output = sut.until(sut.now + sut.limits.duplicate_grace_s)
    assert mine in sut.done.closes  # Given up: Low has come in meanwhile.
    assert [link for link in output.closes if link == old] == [old]
    assert NEW not in sut.done.closes


# --- A record that counts less than another (REC-8) ---------------------------------------------


def test_who_is_on_a_link_of_the_former_key_is_told_of_a_record_that_counts() -> None:
    """It was told of one that it could not take; when that link ends, it has no way back."""
    sut = dialed_low()
    dialed = sut.last_link
    sut.meet(OLD, HIGH)
    dials = rotate(sut).dials
    new = sut.last_link - len(dials) + 1 + [dial.peer for dial in dials].index(LOW.address)
    sut.up(new, curve_of(LOW), dialed=True)
    sut.hear(new, hello_of(LOW))
    sut.until(sut.now + 0.3)
    assert sut.record is not None
    record = replace_issued(sut.record, sut.key, sut.utc_ms + 5)
    sut.begin()
    sut.engine.renew(record, Told.MOVING)
    output = sut.settle()
    assert frames_on(output, OLD) == [Who()]
    (hello,) = hellos(output, dialed)
    assert hello.extensions == {NEWEST_RECORD: record.encode()}
    assert frames_on(output, new) == []
    sut.begin()
    sut.engine.renew(replace_issued(record, sut.key, sut.utc_ms + 6), Told.NOBODY)
    assert sut.settle().frames == []


def replace_issued(record: PeerRecord, key: SecretKey, issued_ms: int) -> PeerRecord:
    """Return the same record, issued at another time."""
    return record_of(key, issued_ms=issued_ms, curve_key=record.curve_key)


def test_whoever_knows_a_newer_record_makes_this_node_issue_one() -> None:
    """It was dialed, and CURVE has proven its key."""
    sut = Sut(MIDDLE)
    link = sut.dial(LOW)
    assert not sut.engine.record_is_overtaken()
    sut.hear(link, Bye(ByeCode.RECORD_SUPERSEDED, "IDN-4"))
    assert sut.engine.record_is_overtaken()


@pytest.mark.parametrize(
    "code", [code for code in ByeCode if code is not ByeCode.RECORD_SUPERSEDED]
)
def test_no_other_refusal_makes_this_node_issue_a_record(code: ByeCode) -> None:
    sut = Sut(MIDDLE)
    sut.hear(sut.dial(LOW), Bye(code, "for a reason"))
    assert not sut.engine.record_is_overtaken()


def test_a_stranger_cannot_make_this_node_issue_a_record() -> None:
    """He dials it, with or without a HELLO: nothing that is not proven makes a node sign."""
    sut = Sut(MIDDLE)
    sut.up(OLD, curve_of(HIGH))
    sut.hear(OLD, Bye(ByeCode.RECORD_SUPERSEDED, "IDN-4"))
    sut.meet(NEW, HIGH)
    sut.hear(NEW, Bye(ByeCode.RECORD_SUPERSEDED, "IDN-4"))
    assert not sut.engine.record_is_overtaken()


def test_that_the_former_key_is_replaced_is_no_news() -> None:
    """IDN-4: who knows the new one refuses the former, as he must."""
    sut = dialed_low()
    dialed = sut.last_link
    rotate(sut)
    sut.hear(dialed, Bye(ByeCode.RECORD_SUPERSEDED, "IDN-4"))
    assert not sut.engine.record_is_overtaken()


def test_a_record_from_the_future_keeps_no_new_key_out() -> None:
    """REC-8, IDN-4: both clocks were wrong when it was taken; nobody would take it now."""
    sut = Sut(MIDDLE)
    sut.begin()
    sut.engine.add_contact(record_of(LOW, issued_ms=START_MS + 300_001))
    output = over_new_link(sut, OLD, NEW_KEY, hello_of(LOW, newer(LOW)))
    assert codes(output) == []
    assert sut.statuses()[LOW.address] == "connected"


def test_a_record_that_is_a_little_ahead_keeps_an_older_key_out() -> None:
    """It counts with all whose clocks are right."""
    sut = Sut(MIDDLE)
    sut.begin()
    sut.engine.add_contact(record_of(LOW, issued_ms=START_MS + 300_000))
    output = over_new_link(sut, OLD, NEW_KEY, hello_of(LOW, newer(LOW)))
    assert codes(output) == [ByeCode.RECORD_SUPERSEDED]
