"""Between peers: whatever one sends, the others' messages are not far behind."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.engine_world import HIGH, LOW, MIDDLE, Note, Other, Sut, frames_on, note, record_of
from tests.frames import UNSAID, progress_of
from tests.unit.objectives.world import KEYS, TWO_OUTCOME, fixed_of, proposal_of, state_of
from zmqp2p import codec
from zmqp2p.crypto import SecretKey
from zmqp2p.engine.line import MESSAGE_US
from zmqp2p.engine.pending import Pending
from zmqp2p.ids import Address, Seq
from zmqp2p.limits import KIB, Limits
from zmqp2p.messages import encode_message
from zmqp2p.wire.frames import Ack, Bulk, Data

FLOOD, HONEST, GUEST = 1, 2, 3
GUEST_KEY = SecretKey(bytes([7]) * 32)
FLOODER = LOW.address
ANYBODY = Limits(subscribe_grace_s=0.0)
SHARE_OF_TWO = 832  # Of 4,096: a quarter of what the other guest was not promised.


def data_of(seq: int, *bodies: bytes) -> Data:
    """Return DATA with ``bodies``."""
    return Data(Seq(seq), UNSAID, progress_of(), bodies)


def flooded(bodies: int = 16_384, body: bytes = b"x", limits: Limits = ANYBODY) -> Sut:
    """Return an engine that a guest has filled up to its window, when another peer comes in."""
    sut = Sut(MIDDLE, limits=limits)
    sut.engine.subscribe(Note, None)
    sut.meet(FLOOD, LOW)
    sut.meet(HONEST, HIGH)
    sut.begin()
    for first in range(1, bodies + 1, 256):
        sut.take(FLOOD, data_of(first, *[body] * min(256, bodies + 1 - first)))
    return sut


def handed(sut: Sut, most: int) -> Iterator[Pending | None]:
    """Let a handler have up to ``most`` messages at once."""
    for pending in sut.engine.deliveries(most):
        yield pending
        if pending is not None:
            sut.engine.complete(pending)


@pytest.mark.parametrize("body", [b"x", note("x"), encode_message(Other(1))])
def test_a_guest_is_next_but_one_whatever_another_has_waiting(body: bytes) -> None:
    """Whether the flood is garbage, has a handler or has none: 16,384 messages count as one."""
    sut = flooded(body=body)
    sut.take(HONEST, data_of(1, note("honest")))
    firsts = [pending for pending, _ in zip(handed(sut, 1024), range(2), strict=False)]
    assert any(one is not None and one.sender == HIGH.address for one in firsts)


def test_a_contact_is_served_first_each_turn_by_three_parts_of_four() -> None:
    sut = flooded(body=note("x"))
    sut.engine.add_contact(record_of(HIGH))
    sut.take(HONEST, data_of(1, *[note("honest")] * 200))
    senders = [pending.sender for pending in handed(sut, 200) if pending is not None]
    assert senders.count(HIGH.address) == pytest.approx(150, abs=2)


def test_a_turn_ends_when_the_last_contact_was_served() -> None:
    """It waits for its ack. Guests have their fourth of the work in turns of their own."""
    sut = flooded(body=note("x"))
    sut.engine.add_contact(record_of(HIGH))
    sut.take(HONEST, data_of(1, note("honest"), note("honest")))
    senders = [pending.sender for pending in handed(sut, 1_000) if pending is not None]
    assert senders == [HIGH.address, FLOODER, HIGH.address]
    assert sum(1 for _ in handed(sut, 1_000)) == pytest.approx(1_000, abs=2)


def test_a_contact_that_has_one_in_every_turn_leaves_guests_their_fourth() -> None:
    sut = flooded(body=note("x"))
    sut.engine.add_contact(record_of(HIGH))
    senders: list[Address] = []
    for seq in range(1, 301):
        sut.take(HONEST, data_of(seq, note("honest")))
        senders += [pending.sender for pending in handed(sut, 1_000) if pending is not None]
    assert senders.count(HIGH.address) == 300
    assert senders.count(FLOODER) >= 99


def test_a_turn_is_as_long_as_so_many_small_messages_however_large_they_are() -> None:
    """A turn's acks wait for its end: so must not do more than is bearable."""
    sut = flooded(bodies=0)
    body = note("x" * 100 * KIB)
    for seq in range(1, 41):
        sut.take(FLOOD, Bulk(Seq(seq), UNSAID, progress_of(), body))
    taken = sum(1 for _ in handed(sut, 64))
    work_each = MESSAGE_US + len(body) / 200
    assert taken == pytest.approx(64 * MESSAGE_US / work_each, abs=1)


def test_what_a_handler_took_counts_towards_its_senders_share() -> None:
    """A message that takes 1 ms is worth fifty that take none."""
    sut = flooded(body=note("x"))
    sut.take(HONEST, data_of(1, *[note("honest")] * 200))
    senders: list[Address] = []
    for pending in handed(sut, 204):
        assert pending is not None
        senders.append(pending.sender)
        sut.engine.took(0.001 if pending.sender == FLOODER else 0.0)
    assert senders.count(FLOODER) <= 6


def drained(sut: Sut, reading_s: float) -> list[Address]:
    """Let a turn of 100 messages pass, of which the flooder's take so long to read."""
    sut.engine.tick()
    senders: list[Address] = []
    for pending in handed(sut, 100):
        assert pending is not None
        senders.append(pending.sender)
        took_s = reading_s if pending.sender == FLOODER else 0.0
        sut.engine.took(took_s, took_s)
    sut.settle()
    return senders


def test_a_guest_whose_messages_are_dear_to_read_rests_while_others_are_connected() -> None:
    """One of 20 ms cannot be broken off: at 2 % of the time, the next comes a second later."""
    sut = flooded(bodies=10, body=note("x"))
    sut.take(HONEST, data_of(1, *[note("honest")] * 50))
    assert drained(sut, reading_s=0.02).count(FLOODER) == 1
    sut.begin(0.99)
    assert drained(sut, reading_s=0.02) == []
    sut.begin(0.01)
    assert drained(sut, reading_s=0.02) == [FLOODER]


def test_guests_that_are_dear_to_read_rest_for_each_other() -> None:
    """Identities cost nothing: a hundred of them must not take a hundred times the time."""
    sut = flooded(bodies=10, body=note("x"))
    sut.take(HONEST, data_of(1, *[note("x")] * 10))
    served: list[tuple[float, Address]] = []
    for _ in range(130):
        sut.begin(0.01)
        sut.engine.tick()
        for pending in handed(sut, 100):
            assert pending is not None
            served.append((sut.now, pending.sender))
            sut.engine.took(0.005, 0.005)
        sut.settle()
    began_at = served[0][0]
    assert [round((at - began_at) / 0.25) for at, _ in served] == [0, 0, 1, 2, 3, 4, 5]
    assert {sender for _, sender in served} == {LOW.address, HIGH.address}


@pytest.mark.parametrize(
    ("reading_s", "contact", "alone"),
    [(0.0009, False, False), (0.02, True, False), (0.02, False, True)],
    ids=["cheap", "a contact", "alone"],
)
def test_nobody_else_rests(*, reading_s: float, contact: bool, alone: bool) -> None:
    sut = flooded(bodies=0)
    if contact:
        sut.engine.add_contact(record_of(LOW))
    if alone:
        sut.down(HONEST)
    sut.begin()
    sut.take(FLOOD, data_of(1, *[note("x")] * 10))
    assert drained(sut, reading_s) == [FLOODER] * 10


def test_time_that_a_handler_takes_is_not_its_senders_doing() -> None:
    sut = flooded(bodies=10, body=note("x"))
    for pending in handed(sut, 100):
        assert pending is not None
        sut.engine.took(0.02, 0.0001)
    sut.begin()
    assert sut.engine.peer_statuses()[0].waiting == 0


def test_messages_that_need_no_handler_are_yielded_as_none() -> None:
    """So whoever has a clock can stop among them, too."""
    sut = flooded(bodies=64)  # As many refusals as may be unheard.
    assert list(handed(sut, 1024)) == [None] * 64
    sut.settle()


def test_a_node_is_shared_while_more_than_one_peer_is_connected() -> None:
    sut = flooded(bodies=0)
    shared = [sut.engine.shared]
    sut.down(HONEST)
    shared.append(sut.engine.shared)
    sut.meet(3, HIGH)
    sut.meet(4, HIGH)  # Its second link.
    shared.append(sut.engine.shared)
    sut.down(FLOOD)
    shared.append(sut.engine.shared)
    assert shared == [True, False, True, False]


def test_a_node_is_nobodys_but_theirs_if_all_send_without_end() -> None:
    """None of them minds how long a turn is; short ones would cost each of them throughput."""
    wide = Limits(subscribe_grace_s=0.0, guest_window_messages=16_384)
    sut = flooded(bodies=9_000, body=note("x"), limits=wide)
    sut.begin()
    for first in range(1, 9_001, 225):
        sut.take(HONEST, data_of(first, *[note("x")] * 225))
    shared = [sut.engine.shared]
    for _ in range(10):
        sum(1 for _ in handed(sut, 1_024))
        sut.settle()
    shared.append(sut.engine.shared)
    sut.meet(3, SecretKey(bytes([9]) * 32))
    shared.append(sut.engine.shared)
    assert shared == [True, False, True]


def test_guests_are_served_where_a_contact_may_send_who_is_not_beyond_its_rate() -> None:
    limits = Limits(contact_rate_messages=10.0, rate_burst_s=1.0)
    sut = flooded(bodies=0, limits=limits)
    sut.engine.add_contact(record_of(LOW))
    sut.engine.add_contact(record_of(HIGH))
    served = [sut.engine.serves_guests]  # Nobody waits.
    sut.begin()
    sut.take(FLOOD, data_of(1, *[note("x")] * 50))
    served.append(sut.engine.serves_guests)  # A contact waits.
    sum(1 for _ in handed(sut, 20))
    sut.settle()
    served.append(sut.engine.serves_guests)  # It is beyond its rate, and the other may send.
    sut.down(HONEST)
    served.append(sut.engine.serves_guests)
    assert served == [False, False, True, False]


def two_contacts_of_whom_one_floods() -> Sut:
    """Return an engine with a guest too; the flood is over, and its sender beyond its rate."""
    limits = Limits(contact_rate_messages=10.0, rate_burst_s=1.0, subscribe_grace_s=0.0)
    sut = flooded(bodies=0, limits=limits)
    for key in (LOW, HIGH):
        sut.engine.add_contact(record_of(key))
    sut.meet(GUEST, GUEST_KEY)
    sut.begin()
    sut.take(FLOOD, data_of(1, *[note("x")] * 50))
    for most in (20, 100):
        sum(1 for _ in handed(sut, most))
        sut.settle()
        sut.begin()
    return sut


def test_a_contact_that_may_send_is_not_outweighed_by_one_that_is_gone() -> None:
    sut = two_contacts_of_whom_one_floods()
    sut.down(FLOOD)
    sut.begin()
    sut.take(GUEST, data_of(1, *[note("x")] * 5))
    assert sut.engine.serves_guests


def test_a_contact_that_was_beyond_its_rate_may_send_again() -> None:
    sut = two_contacts_of_whom_one_floods()
    sut.down(HONEST)
    sut.begin()
    sut.take(GUEST, data_of(1, *[note("x")] * 5))
    assert not sut.engine.serves_guests
    sut.begin(later_s=15.0)
    assert sut.engine.serves_guests


def test_a_guest_beyond_its_rate_is_no_reason_to_make_contacts_wait_longer() -> None:
    sut = flooded(bodies=0, limits=replace(ANYBODY, guest_rate_messages=10.0))
    sut.engine.add_contact(record_of(HIGH))
    sut.begin()
    sut.take(FLOOD, data_of(1, *[note("x")] * 200))
    for _ in range(2):
        sum(1 for _ in handed(sut, 60))
        sut.settle()
        sut.begin()
    assert sut.engine.peer_statuses()[0].beyond_rate
    assert sut.engine.serves_guests


def test_who_has_sent_without_end_and_is_idle_minds_how_long_a_turn_is() -> None:
    """As soon as its rate has caught up: then its messages go before those in excess."""
    sut = flooded(bodies=0, limits=replace(ANYBODY, guest_rate_messages=10.0))
    sut.take(FLOOD, data_of(1, *[note("x")] * 200))
    sut.take(HONEST, data_of(1, *[note("x")] * 100))
    for _ in range(6):
        sum(1 for _ in handed(sut, 40))
        sut.settle()
        sut.begin()
    statuses = {one.address: one for one in sut.engine.peer_statuses()}
    assert (statuses[HIGH.address].waiting, statuses[FLOODER].waiting > 0) == (0, True)
    shared = [sut.engine.shared]
    sut.begin(later_s=15.0)
    shared.append(sut.engine.shared)
    assert shared == [False, True]


def test_a_contact_that_is_beyond_its_rate_does_not_shorten_its_own_turns() -> None:
    limits = Limits(contact_rate_messages=10.0, rate_burst_s=1.0)
    sut = flooded(bodies=0, limits=limits)
    sut.engine.add_contact(record_of(LOW))
    sut.begin()
    sut.take(FLOOD, data_of(1, *[note("x")] * 50))
    sum(1 for _ in handed(sut, 20))
    sut.settle()
    assert (sut.engine.shared, sut.engine.serves_guests) == (True, False)
    assert sut.engine.peer_statuses()[0].waiting > 0


def test_a_flood_is_served_to_the_end_and_nothing_of_it_is_lost() -> None:
    """Beyond its rate it waits for others; nobody is banned for it, and no number is skipped."""
    sut = flooded(bodies=5_000, body=note("x"))
    seqs = [pending.seq for _ in range(5) for pending in handed(sut, 1024) if pending is not None]
    assert seqs == list(range(1, 5_001))
    sut.settle()
    assert sut.statuses() == {LOW.address: "connected", HIGH.address: "connected"}


def test_the_window_of_a_flood_is_what_is_left_of_it() -> None:
    """WIN-1: the receiver's window is the brake; what it does not permit is a violation."""
    sut = flooded(bodies=500, body=note("x"))
    assert window_said(sut) == SHARE_OF_TWO - 500
    sut.begin()
    assert sum(1 for _ in handed(sut, 1_200)) == 500
    assert window_said(sut) == SHARE_OF_TWO


def test_a_guest_beyond_its_rate_has_its_rate_while_others_send_on() -> None:
    sut = flooded(bodies=5_000, body=note("x"))
    for _ in range(5):
        sum(1 for _ in handed(sut, 900))  # More than its burst.
    sut.settle()
    sut.engine.add_contact(record_of(HIGH))
    sut.begin(0.1)
    sut.take(HONEST, data_of(1, *[note("contact")] * 256))
    senders = [one.sender for one in handed(sut, 100) if one is not None]
    assert senders.count(FLOODER) == pytest.approx(25, abs=2)


def test_a_turn_has_fewer_messages_that_bear_signatures() -> None:
    """A signature takes as long as six messages without."""
    sut = Sut(KEYS[1], limits=ANYBODY, funding=True)
    sut.meet(FLOOD, KEYS[0])
    fixed = [fixed_of(2, nonce) for nonce in range(1, 51)]
    bodies = [encode_message(proposal_of(state_of(one, TWO_OUTCOME), KEYS[0])) for one in fixed]
    sut.begin()
    sut.take(FLOOD, data_of(1, *bodies))
    assert sum(1 for _ in handed(sut, 64)) == pytest.approx(64 * 20 / 152, abs=1)
    sut.settle()


DEAR = codec.encode((7001, (0,) * 5_000))


def test_a_turn_has_fewer_messages_of_many_items() -> None:
    """Whether anybody knows what they are: they are decoded first."""
    sut = flooded(bodies=0)
    sut.take(FLOOD, data_of(1, *[DEAR] * 9))
    assert list(handed(sut, 300)) == [None] * 3  # 6 ms; each is 2 ms.
    sut.settle()


def test_messages_of_many_items_are_soon_beyond_a_guests_rate() -> None:
    """Each counts as a hundred: of 20 us. As text of so many bytes, each counts as one."""
    for body, beyond in ((DEAR, True), (note("x" * len(DEAR)), False)):
        sut = flooded(bodies=0)
        for first in range(1, 50, 5):
            sut.take(FLOOD, data_of(first, *[body] * 5))
        assert sum(1 for _ in handed(sut, 10_000)) == 50
        sut.settle()
        sut.begin()
        status = next(one for one in sut.engine.peer_statuses() if one.address == FLOODER)
        assert status.beyond_rate == beyond


def test_proposals_are_soon_beyond_a_guests_rate() -> None:
    """A signature counts as the six messages that take as long."""
    sut = Sut(KEYS[1], limits=replace(ANYBODY, guest_rate_messages=5.0), funding=True)
    sut.meet(FLOOD, KEYS[0])
    fixed = [fixed_of(2, nonce) for nonce in range(1, 4)]
    bodies = [encode_message(proposal_of(state_of(one, TWO_OUTCOME), KEYS[0])) for one in fixed]
    sut.begin()
    sut.take(FLOOD, data_of(1, *bodies))
    for _ in handed(sut, 1_000):
        pass
    sut.settle()
    sut.begin()
    assert sut.engine.peer_statuses()[0].beyond_rate


def test_a_guest_that_is_added_has_a_contacts_window() -> None:
    sut = flooded(bodies=1, body=note("x"))
    assert window_said(sut) == SHARE_OF_TWO - 1
    sut.begin()
    sut.engine.add_contact(record_of(LOW))
    sut.take(FLOOD, data_of(2, note("x")))
    assert window_said(sut) == ANYBODY.inbox_max_messages - 2


def test_the_status_says_who_sends_more_than_its_rate_and_what_waits() -> None:
    sut = flooded(bodies=5_000, body=note("x"))
    before = next(one for one in sut.engine.peer_statuses() if one.address == FLOODER)
    for _ in range(4):
        assert sum(1 for _ in handed(sut, 1_024)) > 1_000
    statuses = {one.address: one for one in sut.engine.peer_statuses()}
    assert (before.waiting, before.beyond_rate) == (5_000, False)
    assert statuses[FLOODER].waiting < 1_000
    assert statuses[FLOODER].beyond_rate
    assert not statuses[HIGH.address].beyond_rate


def window_said(sut: Sut) -> int:
    """End the turn, and return how many messages more the flooder is permitted."""
    frames = [frame for frame in frames_on(sut.settle(), FLOOD) if isinstance(frame, Ack)]
    return frames[-1].progress.window_messages
