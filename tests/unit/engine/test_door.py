"""The door: who may be a peer, and how little those who may not can make a node do."""

import math
from collections import Counter, UserDict
from collections.abc import ValuesView
from dataclasses import dataclass, replace

import pytest

from tests.engine_world import HIGH, LOW, MIDDLE, Sut, curve_of, frames_on, hello_of, record_of
from tests.frames import UNSAID, progress_of
from zmqp2p.admission import Admission, all_but_these, everyone, known_peers_only, only_these
from zmqp2p.codes import ByeCode
from zmqp2p.crypto import SecretKey, Signature
from zmqp2p.engine.bans import Bans
from zmqp2p.engine.door import claimed_address
from zmqp2p.engine.output import EngineOutput
from zmqp2p.events import (
    CallbackFailed,
    ConnectionsRefused,
    DataLossDetected,
    LinkRefused,
    PeerConnected,
    PeerDisconnected,
)
from zmqp2p.ids import Address, CurveKey, LinkId, Seq
from zmqp2p.limits import BATCH_MAX_BYTES, Limits
from zmqp2p.persistence import PutIssued
from zmqp2p.records import PeerRecord
from zmqp2p.session.handshake import Link
from zmqp2p.wire.frames import Bye, Data, Hello, Ignored, Ping, Who
from zmqp2p.wire.link import LinkUp, Received, TurnedAway

LINK = 1


def guarded(admission: Admission, **changes: object) -> Sut:
    """Return an engine that admits whom ``admission`` does."""
    sut = Sut(MIDDLE, **changes)  # type: ignore[arg-type]  # Fields of it.
    sut.begin()
    sut.engine.set_admission(admission)
    sut.settle()
    return sut


def byes(output: EngineOutput) -> list[tuple[int, ByeCode]]:
    """Return what BYEs leave, over which links."""
    return [(link, frame.code) for link, frame in output.frames if isinstance(frame, Bye)]


def refused(output: EngineOutput) -> list[LinkRefused]:
    """Return what links were said to be refused."""
    return [event for event in output.events if isinstance(event, LinkRefused)]


def ban(sut: Sut, key: SecretKey, seconds: float = 60.0) -> EngineOutput:
    """Ban ``key``'s owner in a turn of its own."""
    sut.begin()
    sut.engine.ban(key.address, seconds, "floods")
    return sut.turn()


# --- Who may come in --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "admission",
    [only_these(HIGH.address), all_but_these(LOW.address), known_peers_only, lambda _peer: False],
)
def test_who_is_not_admitted_is_told_so(admission: Admission) -> None:
    """ADM-1."""
    sut = guarded(admission)
    output = sut.meet(LINK, LOW)
    assert byes(output) == [(LINK, ByeCode.NOT_ALLOWED)]
    assert output.closes == [LINK]
    (event,) = refused(output)
    assert event.code is ByeCode.NOT_ALLOWED
    assert event.curve_key == curve_of(LOW)
    assert "ADM-1" in event.reason
    assert LOW.address not in sut.statuses()


@pytest.mark.parametrize(
    "admission",
    [everyone, only_these(LOW.address), all_but_these(HIGH.address), lambda _peer: True],
)
def test_who_is_admitted_comes_in(admission: Admission) -> None:
    sut = guarded(admission)
    assert byes(sut.meet(LINK, LOW)) == []
    assert sut.statuses() == {LOW.address: "connected"}


def test_known_peers_are_those_that_the_application_added() -> None:
    """Not those that came by themselves, though the node knows them too."""
    sut = Sut(MIDDLE)
    sut.meet(LINK, LOW)
    sut.begin()
    sut.engine.add_contact(record_of(HIGH))
    sut.engine.set_admission(known_peers_only)
    assert byes(sut.turn()) == [(LINK, ByeCode.NOT_ALLOWED)]
    assert byes(sut.meet(2, HIGH)) == []
    assert sut.statuses()[HIGH.address] == "connected"


def test_a_refusal_by_address_costs_no_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    """ADM-1: the claim is enough to be refused. The whole check is not even begun."""
    sut = guarded(only_these(HIGH.address))

    def never(*_: object, **__: object) -> PeerRecord:
        raise AssertionError

    monkeypatch.setattr(PeerRecord, "decode", never)
    forged = record_of(LOW).encode()[:-1] + b"\0"
    output = sut.meet(LINK, LOW, replace(hello_of(LOW), record=forged))
    assert byes(output) == [(LINK, ByeCode.NOT_ALLOWED)]


def test_a_claim_lets_nobody_in() -> None:
    """Who claims to be somebody that may come in has to prove it."""
    sut = guarded(only_these(LOW.address))
    forged = record_of(LOW).encode()[:-1] + b"\0"
    output = sut.meet(LINK, LOW, replace(hello_of(LOW), record=forged))
    assert byes(output) == [(LINK, ByeCode.RECORD_INVALID)]


def test_a_function_that_raises_lets_nobody_in_and_is_reported() -> None:
    def fails(_peer: Address) -> bool:
        raise RuntimeError("no database")

    sut = guarded(fails)
    output = sut.meet(LINK, LOW)
    assert byes(output) == [(LINK, ByeCode.NOT_ALLOWED)]
    assert CallbackFailed("admission", "RuntimeError: no database") in output.events


@pytest.mark.parametrize("answer", [None, 1, "yes", [LOW]])
def test_an_answer_that_is_none_lets_nobody_in(answer: object) -> None:
    """``lambda peer: database.find(peer)`` must not let everybody in."""
    sut = guarded(lambda _peer: answer)  # type: ignore[arg-type,return-value]
    output = sut.meet(LINK, LOW)
    assert byes(output) == [(LINK, ByeCode.NOT_ALLOWED)]
    (event,) = [event for event in output.events if isinstance(event, CallbackFailed)]
    assert type(answer).__name__ in event.error


def test_a_function_that_raises_is_not_reported_without_end() -> None:
    def fails(_peer: Address) -> bool:
        raise RuntimeError

    sut = guarded(fails)
    for link in range(1, 51):
        sut.up(link, None)
        sut.hear(link, hello_of(LOW))
    assert sum(isinstance(event, CallbackFailed) for event in sut.done.events) == 5


# --- Changes while peers are there ------------------------------------------------------------


def test_a_change_applies_to_those_who_are_connected() -> None:
    """ADM-2."""
    sut = Sut(MIDDLE)
    sut.meet(LINK, LOW)
    sut.meet(2, HIGH)
    sut.begin()
    sut.engine.set_admission(all_but_these(LOW.address))
    output = sut.turn()
    assert byes(output) == [(LINK, ByeCode.NOT_ALLOWED)]
    assert output.closes == [LINK]
    assert [type(event) for event in output.events] == [LinkRefused, PeerDisconnected]
    assert sut.statuses()[HIGH.address] == "connected"
    assert "not_allowed" in sut.statuses()[LOW.address]


class Counted(UserDict[LinkId, Link]):
    """Links, and how often all of them were looked through."""

    passes = 0

    def values(self) -> ValuesView[Link]:
        """Count, and return them."""
        self.passes += 1
        return super().values()


def test_a_change_looks_through_the_links_once_whomever_it_turns_away() -> None:
    """With 10,000 peers, a pass for each of them held the node up for four seconds."""
    sut = Sut(MIDDLE)
    for link, key in enumerate((LOW, HIGH)):
        sut.meet(1 + link, key)
    endings = sut.engine._connections._endings  # noqa: SLF001  # Time is not a thing to measure here.
    links = Counted(endings.links)
    endings.links = links  # type: ignore[assignment]  # It is as good.
    sut.begin()
    sut.engine.set_admission(only_these())
    assert links.passes == 1
    assert not links


def test_who_may_not_be_a_peer_is_not_dialed() -> None:
    """ADM-2: neither again, nor at first, nor in a later run."""
    sut = Sut(MIDDLE)
    sut.dial(LOW)
    sut.begin()
    sut.engine.set_admission(all_but_these(LOW.address))
    assert byes(sut.turn()) == [(sut.last_link, ByeCode.NOT_ALLOWED)]
    assert sut.until(sut.now + 1000.0).dials == []
    sut.begin()
    sut.engine.set_admission(everyone)
    assert [dial.peer for dial in sut.turn().dials] == [LOW.address]


def test_a_dial_under_way_is_called_off() -> None:
    """ADM-2."""
    sut = Sut(MIDDLE)
    sut.begin()
    sut.engine.add_contact(record_of(LOW))
    sut.turn()
    output = ban(sut, LOW)
    assert output.closes == [sut.last_link]
    assert byes(sut.up(sut.last_link, curve_of(LOW), dialed=True)) == []
    assert "not_allowed" in sut.statuses()[LOW.address]


def test_a_peer_that_was_added_but_may_not_come_is_never_dialed() -> None:
    sut = guarded(only_these(HIGH.address))
    sut.begin()
    sut.engine.add_contact(record_of(LOW))
    assert sut.turn().dials == []
    assert sut.until(sut.now + 100.0).dials == []
    assert "not_allowed" in sut.statuses()[LOW.address]


def test_a_link_that_greets_somebody_who_may_not_come_is_closed() -> None:
    """ADM-2: it has no peer yet, but is for one."""
    sut = Sut(MIDDLE)
    link = sut.dial(LOW)
    assert byes(ban(sut, LOW)) == [(link, ByeCode.NOT_ALLOWED)]


# --- Bans -------------------------------------------------------------------------------------


def test_a_ban_ends_by_itself_and_then_the_peer_is_dialed() -> None:
    sut = Sut(MIDDLE)
    sut.dial(LOW)
    began_at = sut.now
    ban(sut, LOW, 60.0)
    assert sut.until(began_at + 59.9).dials == []
    assert [dial.peer for dial in sut.until(began_at + 60.1).dials] == [LOW.address]


def test_a_banned_peer_is_refused_and_told_why() -> None:
    """ADM-1."""
    sut = Sut(MIDDLE)
    ban(sut, LOW)
    output = sut.meet(LINK, LOW)
    assert frames_on(output, LINK) == [Bye(ByeCode.NOT_ALLOWED, "ADM-1: banned: floods")]
    assert byes(sut.meet(2, HIGH)) == []


def test_a_ban_can_be_ended_and_counts_more_than_the_policy() -> None:
    sut = guarded(only_these(LOW.address))
    ban(sut, LOW, math.inf)
    assert byes(sut.meet(LINK, LOW)) == [(LINK, ByeCode.NOT_ALLOWED)]
    assert sut.engine.unban(LOW.address)
    assert not sut.engine.unban(LOW.address)
    assert byes(sut.meet(2, LOW)) == []


def test_a_ban_for_ever_is_not_dialed_until_it_is_lifted() -> None:
    sut = Sut(MIDDLE)
    sut.dial(LOW)
    ban(sut, LOW, math.inf)
    assert sut.until(sut.now + 2000.0).dials == []
    sut.begin()
    assert sut.engine.unban(LOW.address)
    assert [dial.peer for dial in sut.turn().dials] == [LOW.address]


def test_a_ban_of_somebody_unknown_makes_nothing() -> None:
    """Or bans would be sessions for ever."""
    sut = Sut(MIDDLE)
    output = ban(sut, LOW)
    assert output.writes == []
    assert sut.statuses() == {}


# --- Keys -------------------------------------------------------------------------------------


def test_the_key_of_who_was_refused_is_refused_without_a_word_from_it() -> None:
    """ADM-1: by ZAP at the next handshake, and here where the connection was open already."""
    sut = Sut(MIDDLE)
    barred: Bans[CurveKey] = Bans(10)
    sut.engine.guard(all_but_these(LOW.address), barred)
    sut.meet(LINK, LOW)
    assert barred.ask(curve_of(LOW), sut.now) is not None
    assert barred.ask(curve_of(HIGH), sut.now) is None
    output = sut.up(2, curve_of(LOW))
    assert byes(output) == [(2, ByeCode.NOT_ALLOWED)]
    assert output.closes == [2]


def test_a_key_is_refused_for_a_while_and_no_longer_than_its_ban() -> None:
    """A key that changes hands, or a callable that changes its mind, is not refused for ever."""
    sut = Sut(MIDDLE)
    began_at = sut.now
    ban(sut, LOW, 10.0)
    sut.meet(LINK, LOW)
    assert sut.engine.defences().barred_keys == 1
    sut.turn(later_s=began_at + 10.0 - sut.now)
    assert sut.engine.defences().barred_keys == 0
    sut.begin()
    sut.engine.set_admission(only_these(HIGH.address))
    sut.meet(2, LOW)
    sut.turn(later_s=59.0)
    assert sut.engine.defences().barred_keys == 1
    sut.turn(later_s=1.0)
    assert sut.engine.defences().barred_keys == 0


@pytest.mark.parametrize("change", ["unban", "set_admission"])
def test_whoever_may_come_in_again_is_not_kept_out_by_its_key(change: str) -> None:
    sut = Sut(MIDDLE)
    if change == "unban":
        ban(sut, LOW)
    else:
        sut.engine.set_admission(only_these())
    sut.meet(LINK, LOW)
    sut.begin()
    if change == "unban":
        sut.engine.unban(LOW.address)
    else:
        sut.engine.set_admission(everyone)
    sut.turn()
    sut.meet(2, LOW)
    assert sut.statuses() == {LOW.address: "connected"}


def test_without_curve_there_is_no_key_to_refuse() -> None:
    sut = guarded(only_these())
    sut.up(LINK, None)
    assert byes(sut.hear(LINK, hello_of(LOW))) == [(LINK, ByeCode.NOT_ALLOWED)]
    assert sut.engine.defences().barred_keys == 0


# --- Newcomers, answers and events ------------------------------------------------------------


def test_new_peers_come_no_faster_than_a_node_is_set_to() -> None:
    """ADM-3: identities cost their owner nothing, and a session here is for good."""
    sut = Sut(MIDDLE, limits=Limits(newcomers_burst=1, newcomers_per_s_per_source=0.5))
    link = LinkId(7)

    def come(key: SecretKey, link: LinkId) -> EngineOutput:
        sut.turn(LinkUp(link, curve_of(key), "192.0.2.1", dialed=False))
        return sut.hear(link, hello_of(key))

    assert byes(come(LOW, link)) == []
    assert byes(come(HIGH, LinkId(8))) == [(8, ByeCode.TOO_MANY)]
    assert byes(come(LOW, LinkId(9))) == []  # Met before: it comes as often as it likes.
    sut.turn(later_s=2.0)
    assert byes(come(HIGH, LinkId(10))) == []


def test_strangers_get_so_many_answers_and_no_more() -> None:
    """ADM-4: neither WHO nor BYE; what is refused is closed all the same."""
    sut = Sut(MIDDLE, limits=Limits(stranger_answers_per_s=50.0))
    sut.begin()
    for number in range(1, 201):
        link = LinkId(number)
        sut.engine.take(LinkUp(link, None, "192.0.2.1", dialed=False))
        sut.engine.take(Received(link, (b"\x92\x0a\x01",)))  # PING: asked WHO.
        sut.engine.take(Received(link, (b"rubbish",)))
    output = sut.settle()
    assert len(output.frames) == 5
    assert {type(frame) for _, frame in output.frames} <= {Who, Bye}
    assert len(output.closes) == 200
    assert sut.engine.defences().unanswered == 395
    assert sut.engine.defences().refused == {ByeCode.PROTOCOL_ERROR: 200}


def test_a_peer_that_is_known_is_told_why_however_many_strangers_there_are() -> None:
    sut = Sut(MIDDLE, limits=Limits(stranger_answers_per_s=10.0))
    sut.meet(LINK, LOW)
    for number in range(2, 20):
        sut.up(number, None)
        sut.engine.take(Received(LinkId(number), (b"rubbish",)))
    sut.turn()
    sut.begin()
    sut.engine.take(Received(LinkId(LINK), (b"rubbish",)))
    assert byes(sut.turn()) == [(LINK, ByeCode.PROTOCOL_ERROR)]


def test_refusals_make_so_many_events_and_the_rest_is_counted() -> None:
    sut = Sut(MIDDLE, limits=Limits(refusal_events_per_s=30.0))

    def refuse(number: int) -> None:
        sut.engine.take(LinkUp(LinkId(number), None, "192.0.2.1", dialed=False))
        sut.engine.take(Received(LinkId(number), (b"rubbish",)))

    sut.begin()
    for number in range(1, 101):
        refuse(number)
    assert len(refused(sut.settle())) == 3
    sut.begin(later_s=1.0)
    refuse(200)
    (event,) = refused(sut.settle())
    assert event.untold == 97
    sut.begin(later_s=1.0)
    refuse(201)
    (event,) = refused(sut.settle())
    assert event.untold == 0
    assert sut.engine.defences().untold == 97


def test_sources_that_are_made_up_leave_nothing_behind() -> None:
    sut = Sut(MIDDLE, limits=Limits(refusal_events_per_s=1.0, stranger_answers_per_s=1.0))
    sut.begin()
    for number in range(1, 10_001):
        link = LinkId(number)
        sut.engine.take(LinkUp(link, None, f"192.0.2.{number}", dialed=False))
        sut.engine.take(Received(link, (b"rubbish",)))
    output = sut.settle()  # Checks every invariant.
    assert len(refused(output)) <= 1
    assert len(output.frames) <= 1


@dataclass(frozen=True)
class Idle:
    """A signer whom nobody may ask to sign."""

    address: Address

    def sign(self, digest: bytes) -> Signature:
        raise AssertionError(digest)


def test_nothing_that_is_not_proven_makes_a_node_write_dial_or_sign() -> None:
    """Whatever comes before a HELLO is accepted, and however much of it."""
    sut = guarded(all_but_these(HIGH.address))
    sut.engine._me.signer = Idle(sut.address)  # noqa: SLF001
    forged = replace(hello_of(LOW), record=record_of(LOW).encode()[:-1] + b"\0")
    stale = hello_of(LOW, record_of(LOW, issued_ms=1, lifetime_ms=1))
    stolen = hello_of(LOW)  # Over the key of another.
    before = len(sut.done.writes)
    for number in range(1, 301):
        sut.up(number, curve_of(MIDDLE))
        sut.hear(number, (forged, stale, stolen, hello_of(HIGH))[number % 4], Ping(1))
    assert sut.done.writes[before:] == []
    assert all(isinstance(write, PutIssued) for write in sut.done.writes)
    assert sut.done.dials == []
    assert sut.done.deposits == []
    assert sut.statuses() == {}
    assert not any(isinstance(frame, Hello) for _, frame in sut.done.frames)


def test_defences_say_who_is_banned_and_for_how_long() -> None:
    sut = Sut(MIDDLE)
    ban(sut, LOW, 60.0)
    sut.turn(later_s=20.0)
    assert sut.engine.defences().bans == {LOW.address: (40.0, "floods")}
    sut.turn(later_s=40.0)
    assert sut.engine.defences().bans == {}


@pytest.mark.parametrize(
    "record",
    [b"", b"\xc1", b"\x91\x01", b"\x07", b"\x92\x01\x02", b"\x92\x01\xc4\x01\0", bytes(3000)],
)
def test_what_is_no_record_claims_nobody(record: bytes) -> None:
    """The full check says what is wrong with it."""
    assert claimed_address(replace(hello_of(LOW), record=record)) is None
    assert claimed_address(hello_of(LOW)) == LOW.address


def test_who_talks_much_before_its_hello_is_cut_off() -> None:
    """HEL-9: without BYE, since it may be a dialer that was forgotten amid much traffic."""
    sut = Sut(MIDDLE)
    sut.up(LINK, curve_of(LOW))
    output = sut.hear(LINK, *[Ping(number) for number in range(16)])
    assert output.closes == []
    output = sut.hear(LINK, Ping(16))
    assert output.closes == [LINK]
    assert byes(output) == []
    assert [event.code for event in refused(output)] == [ByeCode.PROTOCOL_ERROR]


def test_a_large_frame_before_hello_counts_as_several() -> None:
    """HEL-9: a batch of 48 KiB takes as long to read as twelve small frames, and more."""
    sut = Sut(MIDDLE)
    sut.up(LINK, curve_of(LOW))
    batch = Data(Seq(1), UNSAID, progress_of(), (bytes(BATCH_MAX_BYTES - 100),))
    assert sut.hear(LINK, batch).closes == []
    assert sut.hear(LINK, batch).closes == [LINK]


def test_who_is_dialed_and_only_asks_who_is_there_is_left_soon() -> None:
    """HEL-9: it may ask, but not for ever; what it says costs as much as a stranger's."""
    sut = Sut(LOW)
    link = sut.dial(HIGH)
    assert sut.hear(link, *[Who()] * 16).closes == []
    output = sut.hear(link, Ignored(101))  # No frame that may be ignored is free either.
    assert output.closes == [link]
    assert byes(output) == []
    assert [event.peer for event in refused(output)] == [HIGH.address]
    assert "HEL-9" in sut.statuses()[HIGH.address]


def test_after_hello_neither_number_nor_size_is_that_of_a_stranger() -> None:
    sut = Sut(MIDDLE)
    sut.meet(LINK, LOW)
    assert sut.hear(LINK, *[Ping(number) for number in range(100)]).closes == []


def test_connections_that_were_shut_down_are_told_and_counted() -> None:
    sut = Sut(MIDDLE, limits=Limits(refusal_events_per_s=20.0))
    told = [TurnedAway("192.0.2.1", "too many", count) for count in (5, 6, 7)]
    output = sut.turn(*told)
    assert output.events == [
        ConnectionsRefused("192.0.2.1", "too many", 5),
        ConnectionsRefused("192.0.2.1", "too many", 6),
    ]
    assert sut.engine.defences().connections == {"too many": 18}


# --- Hand-overs ---------------------------------------------------------------------------------

HEIR = SecretKey(b"\x0a" * 32)
OTHER = SecretKey(b"\x0b" * 32)


def with_heir(admission: Admission = everyone) -> Sut:
    """Return an engine whose application accepted that who was Low is the heir."""
    sut = guarded(admission)
    sut.begin()
    sut.engine.add_contact(record_of(LOW, endpoints=()))
    sut.turn()
    hand_over(sut, LOW, HEIR)
    return sut


def hand_over(
    sut: Sut, old: SecretKey, new: SecretKey, endpoints: tuple[str, ...] = ()
) -> EngineOutput:
    """Accept in a turn of its own that who was ``old`` is ``new``."""
    sut.begin()
    sut.engine.hand_over(old.address, record_of(new, endpoints=endpoints))
    return sut.turn()


def gets_in(sut: Sut, key: SecretKey, link: int = LINK) -> bool:
    """Whether ``key``'s owner gets in over a new link."""
    sut.meet(link, key)
    return sut.statuses().get(key.address) == "connected"


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("admission", [only_these(LOW.address), known_peers_only])
def test_the_heir_of_whom_a_list_names_gets_in_and_nobody_else(
    admission: Admission, restarts: bool
) -> None:
    """And so does the former one: its channels are closed under its own address."""
    sut = with_heir(admission)
    if restarts:
        sut = sut.restarted()
        sut.begin()
        sut.engine.set_admission(admission)
        sut.turn()
    assert gets_in(sut, HEIR, 1)
    assert gets_in(sut, LOW, 2)
    assert not gets_in(sut, OTHER, 3)


def test_the_heir_of_the_heir_gets_in_too() -> None:
    sut = with_heir(only_these(LOW.address))
    hand_over(sut, HEIR, OTHER)
    assert gets_in(sut, OTHER)


def test_a_list_that_names_the_heir_does_not_let_in_whom_he_was() -> None:
    """The application took the old address from its list: perhaps its key was stolen."""
    sut = with_heir(only_these(HEIR.address))
    assert not gets_in(sut, LOW)


def test_the_heir_does_not_wait_for_what_was_refused_before() -> None:
    """His key was refused at the handshake, for a minute."""
    sut = guarded(only_these(LOW.address))
    sut.begin()
    sut.engine.add_contact(record_of(LOW, endpoints=()))
    sut.turn()
    assert not gets_in(sut, HEIR, 1)
    hand_over(sut, LOW, HEIR)
    assert gets_in(sut, HEIR, 2)


@pytest.mark.parametrize("named", [LOW, HEIR])
def test_nobody_gets_off_a_list_by_a_hand_over(named: SecretKey) -> None:
    """Neither by becoming another, nor by being again whom he was."""
    sut = with_heir(all_but_these(named.address))
    assert not gets_in(sut, HEIR, 1)
    assert not gets_in(sut, LOW, 2)
    assert gets_in(sut, OTHER, 3)


@pytest.mark.parametrize("banned", [LOW, HEIR])
@pytest.mark.parametrize("admission", [everyone, known_peers_only, lambda _peer: True])
def test_nobody_gets_rid_of_a_ban_by_a_hand_over(admission: Admission, banned: SecretKey) -> None:
    sut = guarded(admission)
    sut.begin()
    sut.engine.add_contact(record_of(LOW, endpoints=()))
    sut.engine.ban(banned.address, 60.0, "floods")
    sut.turn()
    hand_over(sut, LOW, HEIR)
    assert not gets_in(sut, HEIR, 1)
    assert not gets_in(sut, LOW, 2)
    sut.turn(later_s=61.0)
    assert gets_in(sut, HEIR, 3)
    assert gets_in(sut, LOW, 4)


def test_of_two_bans_the_longer_one_counts() -> None:
    sut = with_heir()
    ban(sut, LOW, 60.0)
    ban(sut, HEIR, 30.0)
    sut.turn(later_s=31.0)
    assert not gets_in(sut, HEIR)
    assert sut.engine.defences().bans.keys() == {LOW.address}
    ban(sut, HEIR, 10.0)
    door = sut.engine._connections.door  # noqa: SLF001  # It is asked when to dial again.
    assert door.closed_until(HEIR.address) == pytest.approx(sut.now - 31.0 + 60.0)


def test_an_heir_who_gets_in_by_it_is_dialed_at_once() -> None:
    sut = guarded(only_these(LOW.address))
    sut.begin()
    sut.engine.add_contact(record_of(LOW, endpoints=()))
    sut.turn()
    output = hand_over(sut, LOW, HEIR, ("tcp://127.0.0.1:9",))
    assert [dial.peer for dial in output.dials] == [HEIR.address]


def test_an_heir_who_was_turned_away_before_is_dialed_at_once() -> None:
    endpoints = ("tcp://127.0.0.1:9",)
    sut = guarded(everyone)
    sut.begin()
    sut.engine.add_contact(record_of(LOW, endpoints=()))
    sut.engine.add_contact(record_of(HEIR, endpoints=endpoints))
    sut.turn()
    sut.meet(LINK, HEIR, hello_of(HEIR, record_of(HEIR, endpoints=endpoints)))
    sut.begin()
    sut.engine.set_admission(only_these(LOW.address))
    assert sut.turn().closes == [LINK]
    output = hand_over(sut, LOW, HEIR, endpoints)
    assert [dial.peer for dial in output.dials] == [HEIR.address]


def test_an_heir_is_dialed_at_once_when_the_ban_of_whom_he_was_ends() -> None:
    sut = guarded(everyone)
    sut.begin()
    sut.engine.add_contact(record_of(LOW, endpoints=()))
    sut.turn()
    ban(sut, LOW, math.inf)
    assert hand_over(sut, LOW, HEIR, ("tcp://127.0.0.1:9",)).dials == []
    assert sut.until(sut.now + 100.0).dials == []
    sut.begin()
    sut.engine.unban(LOW.address)
    assert [dial.peer for dial in sut.turn().dials] == [HEIR.address]


@pytest.mark.parametrize("banned", [LOW, HEIR])
def test_a_ban_ends_the_links_of_both_addresses_and_its_end_lets_both_in(
    banned: SecretKey,
) -> None:
    sut = with_heir()
    assert gets_in(sut, LOW, 1)
    assert gets_in(sut, HEIR, 2)
    assert sorted(ban(sut, banned).closes) == [1, 2]
    sut.begin()
    assert sut.engine.unban((HEIR if banned is LOW else LOW).address)
    assert not sut.engine.unban(LOW.address)
    sut.turn()
    assert gets_in(sut, HEIR, 3)
    assert gets_in(sut, LOW, 4)


def test_a_hand_over_by_who_is_banned_ends_the_links_of_his_heir() -> None:
    sut = guarded(everyone)
    sut.begin()
    sut.engine.add_contact(record_of(LOW, endpoints=()))
    sut.turn()
    ban(sut, LOW)
    assert gets_in(sut, HEIR)
    output = hand_over(sut, LOW, HEIR)
    assert byes(output) == [(LINK, ByeCode.NOT_ALLOWED)]


def test_who_is_itself_again_takes_his_place_with_him() -> None:
    """HND-3: the application undoes it; those who came by it go."""
    sut = with_heir(only_these(LOW.address))
    hand_over(sut, HEIR, OTHER)
    assert gets_in(sut, HEIR, 1)
    assert gets_in(sut, OTHER, 2)
    sut.begin()
    sut.engine.add_contact(record_of(LOW, endpoints=()))
    assert sorted(sut.turn().closes) == [1, 2]
    assert not gets_in(sut, HEIR, 3)
    assert gets_in(sut, LOW, 4)


def test_a_function_is_asked_for_each_address_alone() -> None:
    """It may know who is whom better than the node: it is the application's."""
    sut = with_heir(lambda peer: peer == LOW.address)
    assert not gets_in(sut, HEIR, 1)
    assert gets_in(sut, LOW, 2)


def come_and_alarm(sut: Sut, key: SecretKey, times: int) -> list[type]:
    """Let ``key``'s owner come, speak of lost data and go, so many times; return the events."""
    events = len(sut.done.events)
    for link in range(100, 100 + times):
        sut.meet(link, key, kept=False)
        sut.hear(link, Bye(ByeCode.DATA_LOSS, "boo"), later_s=0.01)
    return [type(e) for e in sut.done.events[events:] if not isinstance(e, LinkRefused)]


def test_what_a_guest_does_without_end_drowns_no_alarm() -> None:
    """It costs a guest a HELLO; each PeerConnected that was told has its PeerDisconnected."""
    limits = Limits(guest_events_burst=5, guest_events_per_s=1.0)
    sut = Sut(MIDDLE, limits=limits)
    first = come_and_alarm(sut, LOW, times=1)
    assert first == [PeerConnected, DataLossDetected, PeerDisconnected]
    told = Counter(come_and_alarm(sut, LOW, times=20))
    assert told == Counter({PeerConnected: 4, PeerDisconnected: 4, DataLossDetected: 4})
    assert sut.engine.defences().untold >= 32
    assert Counter(come_and_alarm(sut, HIGH, times=1)) == Counter(first)  # Whoever is new.
    sut.turn(later_s=5.0)
    assert Counter(come_and_alarm(sut, LOW, times=1)) == Counter(first)


def test_an_alarm_is_told_of_a_guest_that_has_come_and_gone_many_times() -> None:
    """A bad link is not its fault, and a store that was rolled back must not pass unseen."""
    sut = Sut(MIDDLE, limits=Limits(guest_events_burst=5, guest_events_per_s=1.0))
    for link in range(1, 21):
        sut.meet(link, LOW, kept=False)
        sut.down(link)
    assert DataLossDetected in come_and_alarm(sut, LOW, times=1)


def test_of_a_contact_everything_is_told() -> None:
    sut = Sut(MIDDLE, limits=Limits(guest_events_burst=1))
    sut.begin()
    sut.engine.add_contact(record_of(LOW, endpoints=()))
    sut.settle()
    assert Counter(come_and_alarm(sut, LOW, times=20)) == dict.fromkeys(
        (PeerConnected, DataLossDetected, PeerDisconnected), 20
    )


def test_a_guest_that_is_added_while_it_is_connected_is_told_to_be_gone() -> None:
    sut = Sut(MIDDLE, limits=Limits(guest_events_burst=1, guest_events_per_s=0.001))
    come_and_alarm(sut, LOW, times=1)
    sut.meet(LINK, LOW)
    sut.begin()
    sut.engine.add_contact(record_of(LOW))
    sut.settle()
    assert PeerDisconnected in [type(event) for event in sut.down(LINK).events]
