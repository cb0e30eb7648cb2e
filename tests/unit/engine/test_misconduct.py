"""An authenticated peer that does not play by the rules: what it costs, and when it is enough.

And honest ones in bad luck, who must never come to that.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.engine_world import HIGH, LOW, MIDDLE, Note, Sut, curve_of, frames_on, hello_of, note
from tests.frames import INSTANCE, OTHER_INSTANCE, OTHER_STREAM, UNSAID, progress_of
from tests.unit.objectives.world import KEYS, TWO_OUTCOME, fixed_of, proposal_of, state_of
from zmqp2p.codes import ByeCode, RefusalCode
from zmqp2p.crypto import SecretKey
from zmqp2p.engine.conduct import VIOLATION_POINTS
from zmqp2p.ids import LinkId, Seq, StreamDigest
from zmqp2p.limits import KIB, PART_MAX_BYTES, Limits
from zmqp2p.messages import encode_message
from zmqp2p.persistence import PutCursor
from zmqp2p.session.inbox import Inbox
from zmqp2p.wire.frames import Ack, Bulk, Bye, Data, Frame, Gap, Hello, Ignored, Ping, Pong, Who
from zmqp2p.wire.link import DownReason, LinkDown, Received

LINK = 1
CALM = Limits(subscribe_grace_s=0.0)
SMALL = Limits(
    subscribe_grace_s=0.0,
    control_burst_frames=200.0,
    repeats_burst_frames=200.0,
    inbox_max_messages=500,
)


def met(limits: Limits = CALM) -> Sut:
    """Return an engine that `LOW`'s owner has come in to."""
    sut = Sut(MIDDLE, limits=limits)
    sut.engine.subscribe(Note, None)
    sut.meet(LINK, LOW)
    return sut


def points(sut: Sut) -> float:
    """Return how many points `LOW`'s owner has."""
    return next(one.points for one in sut.engine.peer_statuses() if one.address == LOW.address)


def data_of(seq: int, *bodies: bytes) -> Data:
    """Return DATA with ``bodies``."""
    return Data(Seq(seq), UNSAID, progress_of(), bodies)


def codes_on(sut: Sut, link: int) -> list[ByeCode]:
    """Return the BYEs that have left over ``link``."""
    return [frame.code for frame in frames_on(sut.done, link) if isinstance(frame, Bye)]


# --- Violations ---------------------------------------------------------------------------------

VIOLATIONS = [
    ("ACK-1", Ack(progress_of(ack=0, received=1))),
    ("WIN-1", data_of(1, *[b"x"] * 256)),
    ("PRT-1", data_of(1, b"\x93\x00\x01\xc4\x01x")),
    ("ENC-1", data_of(1, b"\x93\x00\x00")),
]


@pytest.mark.parametrize(("rule", "frame"), VIOLATIONS, ids=lambda value: str(value)[:5])
def test_each_violation_ends_the_link_and_costs_points(rule: str, frame: Frame) -> None:
    """Acks of what was never sent, jumps of the window, parts that make no message."""
    sut = met(Limits(subscribe_grace_s=0.0, inbox_max_messages=200))
    (bye,) = (one for one in frames_on(sut.hear(LINK, frame), LINK) if isinstance(one, Bye))
    assert bye.code is ByeCode.PROTOCOL_ERROR
    assert bye.reason.startswith(rule)
    assert points(sut) == VIOLATION_POINTS


def break_rules(sut: Sut, times: int, first_link: int = 10) -> None:
    """Let `LOW`'s owner come in so often, and acknowledge what was never sent."""
    for link in range(first_link, first_link + times):
        sut.meet(link, LOW)
        sut.hear(link, Ack(progress_of(ack=0, received=1)))


def test_ten_violations_are_a_ban_for_a_minute() -> None:
    sut = met()
    break_rules(sut, 9)
    assert codes_on(sut, LINK) == []  # Its other link is not to blame.
    break_rules(sut, 1, first_link=19)
    assert codes_on(sut, LINK) == [ByeCode.NOT_ALLOWED]
    sut.meet(30, LOW)
    assert codes_on(sut, 30) == [ByeCode.NOT_ALLOWED]
    (reason,) = [bye.reason for bye in frames_on(sut.done, 30) if isinstance(bye, Bye)]
    assert "ACK-1" in reason
    sut.begin(CALM.ban_min_s)
    sut.meet(31, LOW)
    assert sut.statuses()[LOW.address] == "connected"


def test_what_waits_for_a_banned_peer_waits() -> None:
    """Nothing is lost by a ban, in either direction."""
    sut = met()
    sut.begin()
    sut.engine.send(LOW.address, note("for you"))
    sut.settle()
    sut.hear(LINK, data_of(1, note("for me")))
    break_rules(sut, 10)
    assert sut.engine.unacked() == 1
    assert [pending.message for pending in sut.pending] == [Note("for me")]
    sut.begin(CALM.ban_min_s)
    output = sut.meet(31, LOW, replace(hello_of(LOW), next=Seq(2)))
    (data,) = (frame for frame in frames_on(output, 31) if isinstance(frame, Data))
    assert data.bodies == (note("for you"),)


def test_others_do_not_pay_for_it() -> None:
    sut = met()
    sut.meet(2, HIGH)
    break_rules(sut, 20)
    sut.hear(2, data_of(1, note("honest")))
    assert [pending.message for pending in sut.pending] == [Note("honest")]
    assert sut.statuses()[HIGH.address] == "connected"


def test_before_a_hello_the_key_is_to_blame() -> None:
    """Who has proven no address has proven its CURVE key; nobody else has it."""
    sut = met()
    for link in range(10, 20):
        sut.up(link, curve_of(HIGH))
        sut.turn(Received(LinkId(link), (b"?",)))
    sut.up(20, curve_of(HIGH))
    assert codes_on(sut, 20) == [ByeCode.NOT_ALLOWED]
    sut.meet(21, LOW)
    assert sut.statuses()[LOW.address] == "connected"


def test_a_key_that_this_node_dials_is_not_banned_for_what_it_says() -> None:
    """The application chose it; it may have put it down wrong, or be told a wrong one."""
    sut = Sut(MIDDLE, limits=CALM)
    link = sut.dial(HIGH)
    for _ in range(20):
        sut.hear(link, Ping(1))
        sut.until(sut.now + 4.0)
        assert sut.last_link > link
        link = sut.last_link
        sut.up(link, curve_of(HIGH), dialed=True)
    sut.meet(5, HIGH)
    assert sut.statuses()[HIGH.address] == "connected"


def test_where_curve_proves_nothing_nobody_is_banned() -> None:
    """Else anybody could have anybody banned, by saying to be him."""
    sut = Sut(MIDDLE, limits=CALM)
    for link in range(30):
        sut.up(link, None)
        sut.hear(link, hello_of(LOW))
        sut.hear(link, Ack(progress_of(ack=0, received=1)))
    sut.up(50, None)
    sut.hear(50, hello_of(LOW))
    assert sut.statuses()[LOW.address] == "connected"


def test_to_be_turned_away_is_no_misconduct() -> None:
    """The policy, or want of room, is this node's; else nobody would come in when it changes."""
    sut = Sut(MIDDLE, limits=CALM)
    sut.begin()
    sut.engine.set_admission(lambda _address: False)
    for link in range(200):
        sut.meet(link, LOW)
    sut.engine.set_admission(lambda _address: True)
    sut.meet(1000, LOW)
    assert sut.statuses()[LOW.address] == "connected"
    assert points(sut) == 0.0


def test_to_find_no_room_is_no_misconduct() -> None:
    sut = met(Limits(subscribe_grace_s=0.0, peers_max=1))
    for link in range(10, 210):
        sut.meet(link, HIGH)
    sut.up(300, curve_of(HIGH))
    assert codes_on(sut, 11) == [ByeCode.TOO_MANY]
    assert codes_on(sut, 300) == []


# --- Messages -----------------------------------------------------------------------------------


def test_what_no_node_can_have_encoded_costs_points() -> None:
    sut = met()
    sut.hear(LINK, data_of(1, b"\xc1"))
    assert points(sut) == VIOLATION_POINTS


@pytest.mark.parametrize(("signer", "cost"), [(0, 0.0), (2, VIOLATION_POINTS)])
def test_a_signature_that_is_not_the_senders_costs_points(signer: int, cost: float) -> None:
    """Whoever signed it: the sender has sent it for its own."""
    sut = Sut(KEYS[1], limits=CALM, funding=True)
    sut.meet(LINK, KEYS[0])
    proposal = proposal_of(state_of(fixed_of(2), TWO_OUTCOME), KEYS[signer])
    sut.hear(LINK, data_of(1, encode_message(proposal)))
    (status,) = (one for one in sut.engine.peer_statuses() if one.address == KEYS[0].address)
    assert status.points == cost


@pytest.mark.parametrize(
    "body",
    [b"\x91\xcd\x10\x00", b"\x92\xcd\x01\x2c\x05", b"\x90"],
    ids=["unknown type", "other fields", "no tag"],
)
def test_a_message_of_another_version_costs_nothing(body: bytes) -> None:
    """It may be a newer application's."""
    sut = met()
    sut.hear(LINK, data_of(1, body))
    assert points(sut) == 0.0


def test_a_handler_that_fails_costs_the_sender_nothing() -> None:
    """It is this node's own; and what it refuses is a judgement of its own."""
    sut = met()
    for seq in range(1, 31):
        sut.hear(LINK, data_of(seq, note("x")))
        code = RefusalCode.SIGNATURE_INVALID if seq % 2 else RefusalCode.HANDLER_FAILED
        sut.engine.refuse(sut.pending.pop(), code, "no")
        sut.settle()
    assert points(sut) == 0.0


def test_a_message_of_a_peer_that_is_gone_is_not_held_against_it() -> None:
    """Without a link nothing proves whose it was; and the next link will show."""
    sut = met()
    sut.begin()
    sut.take(LINK, data_of(1, b"\xc1"))
    sut.engine.take(LinkDown(LinkId(LINK), DownReason.LOST, ""))
    sut.engine.tick()
    assert list(sut.engine.deliveries(10)) == [None]
    sut.settle()
    assert points(sut) == 0.0


# --- Bad luck -----------------------------------------------------------------------------------


def rolled_back(sut: Sut, link: int) -> None:
    """Let `LOW`'s owner come in with a store that remembers less than it has said."""
    stale = replace(hello_of(LOW), base=Seq(5), base_digest=StreamDigest(b"!" * 16))
    sut.meet(link, LOW, stale)


def contradicts(sut: Sut, link: int) -> None:
    """Let it say other messages than before."""
    sut.meet(link, LOW)
    sut.hear(link, Data(Seq(1), StreamDigest(b"!" * 16), progress_of(), (b"x",)))


def says_loss(sut: Sut, link: int) -> None:
    """Let it say that this node's store was rolled back."""
    sut.meet(link, LOW)
    sut.hear(link, Bye(ByeCode.DATA_LOSS, "you have forgotten"))


def expired(sut: Sut, link: int) -> None:
    """Let it show a record whose time is over."""
    sut.meet(link, LOW, replace(hello_of(LOW), versions=(7,)))


@pytest.mark.parametrize("mishap", [rolled_back, contradicts, says_loss, expired])
def test_bad_luck_at_the_pace_of_redials_is_no_ban(mishap: Callable[[Sut, int], None]) -> None:
    """A day of it: both dial again after 2.5 to 5 s."""
    sut = met()
    for link in range(10, 600):
        mishap(sut, link)
        sut.begin(1.25)
    assert codes_on(sut, 599) != [ByeCode.NOT_ALLOWED]
    sut.meet(1000, LOW)
    assert sut.statuses()[LOW.address] == "connected"


@pytest.mark.parametrize("mishap", [rolled_back, contradicts, says_loss])
def test_bad_luck_at_line_rate_is_a_ban(mishap: Callable[[Sut, int], None]) -> None:
    """Each writes what is held into the store; so it must not go on for ever."""
    sut = met()
    for link in range(10, 130):
        mishap(sut, link)
    sut.meet(1000, LOW)
    assert codes_on(sut, 1000) == [ByeCode.NOT_ALLOWED]


# --- Frames that bring nothing new (RAT-1) -------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "most"),
    [
        (Ack(progress_of()), 15),  # With the HELLO, which counts as 50.
        (Gap(progress_of()), 15),
        (Ping(1), 15),
        (Pong(1, progress_of()), 15),
        (Who(), 15),
        (Ignored(77), 15),
        (data_of(1, note("known")), 200),
        (data_of(9, note("beyond a gap")), 200),
    ],
    ids=lambda value: type(value).__name__,
)
def test_so_many_frames_that_bring_nothing_new_and_no_more(frame: Frame, most: int) -> None:
    """RAT-1: a burst, and then a rate; beyond it the link ends, as for a violation."""
    sut = met(SMALL)
    sut.hear(LINK, data_of(1, note("known")))
    sut.hear(LINK, *[frame] * most)
    assert codes_on(sut, LINK) == []
    sut.hear(LINK, frame)
    assert codes_on(sut, LINK) == [ByeCode.PROTOCOL_ERROR]
    assert points(sut) == VIOLATION_POINTS


def test_each_message_sent_to_a_peer_permits_it_two_answers() -> None:
    """ACK-4: one when it was received, one when it was processed."""
    sut = met(SMALL)
    sent = 0
    for _ in range(10):
        sut.begin()
        for _ in range(50):
            sut.engine.send(LOW.address, note("x"))
        sut.settle()
        each = range(sent + 1, sent + 51)
        sut.hear(LINK, *[Ack(progress_of(ack=sent, received=one)) for one in each])
        sut.hear(LINK, *[Ack(progress_of(ack=one, received=sent + 50)) for one in each])
        sent += 50
    assert codes_on(sut, LINK) == []


@pytest.mark.parametrize(
    "frame",
    [Ack(progress_of()), Ping(1), Who(), Ignored(77), data_of(1, note("known"))],
    ids=lambda frame: type(frame).__name__,
)
def test_more_links_permit_no_more_frames(frame: Frame) -> None:
    """RAT-1: or each would be as many again, and links cost a peer nothing."""
    sut = met(SMALL)
    sut.hear(LINK, data_of(1, note("known")))
    sut.meet(2, LOW)
    count = 11 if not isinstance(frame, Data) else 201  # Of DATA, each link has its own.
    sut.hear(LINK, *[frame] * (count - 1))
    assert codes_on(sut, LINK) == []
    sut.hear(2, frame)
    assert codes_on(sut, 2) == ([] if isinstance(frame, Data) else [ByeCode.PROTOCOL_ERROR])


def test_who_comes_again_and_again_says_no_more_hellos_than_over_one_link() -> None:
    """RAT-1: each HELLO is a signature to verify, and an answer."""
    sut = met(SMALL)
    sut.meet(2, LOW)
    sut.meet(3, LOW)
    sut.meet(4, LOW)
    assert codes_on(sut, 4) == []
    sut.meet(5, LOW)
    assert codes_on(sut, 5) == [ByeCode.PROTOCOL_ERROR]


def test_what_a_loss_has_sent_again_has_a_burst_of_its_own() -> None:
    """RAT-1: a window of single messages may be known already, all of it."""
    sut = met(replace(SMALL, repeats_burst_frames=400.0))
    sut.hear(LINK, data_of(1, note("known")))
    sut.hear(LINK, *[data_of(1, note("known"))] * 400)
    assert codes_on(sut, LINK) == []
    sut.hear(LINK, data_of(1, note("known")))
    assert codes_on(sut, LINK) == [ByeCode.PROTOCOL_ERROR]


def test_a_goodbye_is_never_too_much() -> None:
    """RAT-1: whoever goes makes no more work."""
    sut = met(SMALL)
    sut.hear(LINK, *[Ping(1)] * 15)
    sut.hear(LINK, Bye(ByeCode.CLOSING, ""))
    assert codes_on(sut, LINK) == []
    assert points(sut) == 0


def test_many_messages_sent_at_once_permit_as_many_answers() -> None:
    """RAT-1: what they earn is not cut off at the burst, which is for what nobody asked for."""
    sut = met(replace(SMALL, repeats_burst_frames=1_000.0))
    sut.begin()
    for _ in range(500):
        sut.engine.send(LOW.address, note("x"))
    sut.settle()
    each = range(1, 501)
    sut.hear(LINK, *[Ack(progress_of(ack=0, received=one)) for one in each])
    sut.hear(LINK, *[Ack(progress_of(ack=one, received=500)) for one in each])
    assert codes_on(sut, LINK) == []
    sut.hear(LINK, Ack(progress_of(ack=500)))
    assert codes_on(sut, LINK) == [ByeCode.PROTOCOL_ERROR]


def test_an_answer_that_is_news_counts_less() -> None:
    """RAT-1: with what it may say for each message, an honest peer never comes near the end."""
    sut = met(SMALL)
    sut.begin()
    for _ in range(100):
        sut.engine.send(LOW.address, note("x"))
    sut.settle()
    for received in range(1, 101):
        sut.hear(LINK, Ack(progress_of(ack=0, received=received)))
    assert codes_on(sut, LINK) == []


def test_an_ack_that_only_hears_of_refusals_is_news() -> None:
    """REF-4 asks for it: one for each message that was refused."""
    sut = met(SMALL)
    for seq in range(1, 101):
        sut.hear(LINK, data_of(seq, b"\xff"), Ack(progress_of(base=seq)))
    assert codes_on(sut, LINK) == []


def test_what_a_base_claims_beyond_what_was_acked_is_no_news() -> None:
    """RAT-1: a number that is one higher each time costs nothing to say."""
    sut = met(SMALL)
    sut.hear(LINK, *[Ack(progress_of(base=base)) for base in range(2, 18)])
    assert codes_on(sut, LINK) == [ByeCode.PROTOCOL_ERROR]


def test_an_honest_rate_is_never_too_much() -> None:
    """A hundred times that of a peer that has nothing to say."""
    sut = met()
    for _ in range(200):
        sut.hear(LINK, Ping(1), Gap(progress_of()), later_s=0.02)
    assert codes_on(sut, LINK) == []


# --- Links of one peer (DUP-2) -------------------------------------------------------------------


def test_of_many_links_of_one_peer_the_newest_are_kept() -> None:
    """Each is read in its turn: a hundred of one peer would be a hundred turns."""
    sut = met()
    most = CALM.links_max_per_peer
    for link in range(2, most + 1):
        sut.meet(link, LOW)
    assert codes_on(sut, LINK) == []
    sut.hear(LINK, hello_of(LOW))  # Said again: that is the newest now.
    sut.meet(most + 1, LOW)
    assert codes_on(sut, 2) == [ByeCode.DUPLICATE_LINK]
    assert codes_on(sut, LINK) == []
    sut.meet(most + 2, LOW)
    assert codes_on(sut, 3) == [ByeCode.DUPLICATE_LINK]
    assert sut.statuses()[LOW.address] == "connected"
    assert points(sut) == 0


def test_a_link_that_was_dialed_from_here_does_not_give_way() -> None:
    """DUP-2: who opens links without end must not end the one that this node wanted."""
    sut = Sut(MIDDLE, limits=Limits(links_max_per_peer=1, duplicate_grace_s=60.0))
    mine = sut.dial(LOW)
    sut.hear(mine, hello_of(LOW))
    sut.meet(LINK, LOW)
    assert codes_on(sut, mine) == []
    assert codes_on(sut, LINK) == []  # It is the newest.
    sut.meet(LINK + 1, LOW)
    assert codes_on(sut, LINK) == [ByeCode.DUPLICATE_LINK]
    assert codes_on(sut, mine) == []


def test_new_messages_are_no_such_frames() -> None:
    """However many: the window is what bounds them."""
    sut = met(SMALL)
    for seq in range(1, 400):
        sut.hear(LINK, data_of(seq, note("x")))
    assert codes_on(sut, LINK) == []


def test_a_hello_counts_as_fifty() -> None:
    sut = met(SMALL)
    sut.hear(LINK, *[hello_of(LOW)] * 3)  # And the first one.
    assert codes_on(sut, LINK) == []
    sut.hear(LINK, hello_of(LOW))
    assert codes_on(sut, LINK) == [ByeCode.PROTOCOL_ERROR]


def test_a_hello_said_again_and_again_is_answered_once_in_a_turn() -> None:
    """HEL-4: 250 bytes would bring 3 KB each, refusals and all."""
    sut = met()
    output = sut.hear(LINK, *[hello_of(LOW)] * 30)
    assert [type(frame) for frame in frames_on(output, LINK)] == [Hello]


def test_a_hello_is_not_answered_on_a_link_that_ends_in_the_same_turn() -> None:
    sut = met()
    output = sut.hear(LINK, hello_of(LOW), Ack(progress_of(ack=0, received=1)))
    assert [type(frame) for frame in frames_on(output, LINK)] == [Bye]


def test_a_stream_that_flaps_leaves_nothing_behind_and_soon_ends() -> None:
    """RES-2 lets a peer begin anew; one that does it on and on gains nothing by it."""
    sut = met()
    hellos = [hello_of(LOW), replace(hello_of(LOW), stream=OTHER_STREAM)] * 500
    output = sut.hear(LINK, *hellos)
    assert codes_on(sut, LINK) == [ByeCode.PROTOCOL_ERROR]
    cursors = [write for write in output.writes if isinstance(write, PutCursor)]
    assert len(cursors) <= CALM.control_burst_frames / 50
    assert len(sut.memory.peers) == 1
    assert len(sut.engine._connections.book.sessions) == 1  # noqa: SLF001  # What it holds.


def test_runs_that_follow_each_other_on_one_link_soon_end() -> None:
    sut = met()
    hellos = [replace(hello_of(LOW), incarnation=2 + n, instance=INSTANCE) for n in range(1000)]
    sut.hear(LINK, *hellos)
    assert ByeCode.PROTOCOL_ERROR in codes_on(sut, LINK)


# --- Half messages (WIN-4) ----------------------------------------------------------------------

LARGE = Limits(subscribe_grace_s=0.0, inbox_total_max_bytes=40 * 1024 * KIB)


def first_part(left: int = 63) -> Bulk:
    """Return the first part of a message of 16 MiB."""
    head = b"\x93\x00" + bytes([left]) + b"\xc6" + PART_MAX_BYTES.to_bytes(4)
    return Bulk(Seq(1), UNSAID, progress_of(), head + bytes(PART_MAX_BYTES))


def test_a_half_message_that_does_not_go_on_makes_room_for_another() -> None:
    """WIN-4: not before another waits; then its links end, and it lets the others begin first."""
    sut = met(LARGE)
    sut.hear(LINK, first_part())
    sut.until(sut.now + 1.0)
    sut.meet(2, HIGH)
    sut.hear(2, first_part())
    assert codes_on(sut, LINK) == []
    beat(sut, 3.0, LINK, 2)
    assert codes_on(sut, LINK) == [ByeCode.TOO_MANY]
    assert points(sut) == 0.0  # Its way may be slow: that is no misconduct.
    sut.hear(2, first_part())
    inboxes = {s.peer: s.inbox for s in sut.engine._connections.book.sessions.values()}  # noqa: SLF001  # What it holds.
    assert inboxes[HIGH.address].assembled_bytes == PART_MAX_BYTES
    sut.up(3, curve_of(LOW))
    again = replace(hello_of(LOW), incarnation=2, instance=OTHER_INSTANCE)
    sut.hear(3, again, first_part())  # Whichever of its runs: it is the same peer.
    assert not inbox_of(sut, LOW).waiting
    assert inbox_of(sut, LOW).assembled_bytes is None
    assert inboxes[HIGH.address].assembled_bytes == PART_MAX_BYTES
    assert codes_on(sut, 2) == []
    sut.down(2)  # Now there is room, and it may not have it yet.
    sut.hear(3, first_part())
    assert inbox_of(sut, LOW).assembled_bytes is None


def test_a_half_message_may_take_its_time_while_nobody_waits() -> None:
    sut = met(LARGE)
    sut.hear(LINK, first_part())
    beat(sut, 30.0, LINK)
    assert codes_on(sut, LINK) == []


def test_a_half_message_of_a_peer_that_is_forgotten_is_nothing_to_look_at() -> None:
    """A peer that only passed by, and of which nothing was kept."""
    sut = Sut(MIDDLE, limits=replace(LARGE, passers_max=1))
    for link, key in ((LINK, LOW), (2, HIGH)):  # Not `meet`, which has them kept.
        sut.up(link, curve_of(key))
        sut.hear(link, hello_of(key), first_part())
        sut.down(link)
    sut.until(sut.now + 5.0)
    assert LOW.address not in sut.statuses()


def inbox_of(sut: Sut, key: SecretKey) -> Inbox:
    """Return what waits of ``key``'s owner."""
    return sut.engine._connections.book.sessions[key.address].inbox  # noqa: SLF001  # What it holds.


def beat(sut: Sut, seconds: float, *links: int) -> None:
    """Let time pass, in which the peers are alive and send nothing."""
    end = sut.now + seconds
    while sut.now < end:
        sut.begin(0.25)
        for link in links:
            sut.take(link, Ping(1))
        sut._work()  # noqa: SLF001  # A turn.
