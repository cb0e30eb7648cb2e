"""Whom to dial, when, and which contact counts."""

import pytest

from tests.chance import Least, Most
from tests.engine_world import HIGH, LOW, START_MS, curve_of, record_of
from zmqp2p.codes import ByeCode
from zmqp2p.engine.peers import PATIENT_CODES, Peer, PeerManager
from zmqp2p.engine.redial import Failure
from zmqp2p.ids import Address, LinkId
from zmqp2p.limits import Limits
from zmqp2p.records import PeerUri

LIMITS = Limits(redial_max_s=30.0)
URI = PeerUri(LOW.address, curve_of(HIGH), "tcp://10.0.0.1:5")


def manager() -> PeerManager:
    """Return an empty address book, with the longest jitter."""
    return PeerManager(LIMITS, Most())


def known(book: PeerManager, *endpoints: str) -> Peer:
    """Add a wanted peer with ``endpoints`` at instant 10, and return it."""
    book.learn(record_of(LOW, endpoints=endpoints or ("tcp://h:1",)), wanted=True, now=10.0)
    return book.peer(LOW.address)


# --- Contacts -----------------------------------------------------------------------------------


def test_a_contact_is_news_once() -> None:
    book, record = manager(), record_of(LOW)
    assert book.learn(record, wanted=True, now=0.0)
    assert not book.learn(record, wanted=True, now=0.0)
    assert not book.learn(record, wanted=False, now=0.0)
    assert book.peer(LOW.address).wanted


def test_that_a_known_peer_is_now_wanted_is_news() -> None:
    book, record = manager(), record_of(LOW)
    book.learn(record, wanted=False, now=0.0)
    assert book.learn(record, wanted=True, now=0.0)
    assert list(book.wanted()) == [book.peer(LOW.address)]


def test_a_newer_record_replaces_an_older_one_only() -> None:
    book = manager()
    older, newer = record_of(LOW), record_of(LOW, issued_ms=START_MS + 1)
    book.learn(newer, wanted=True, now=0.0)
    assert not book.learn(older, wanted=True, now=0.0)
    assert book.peer(LOW.address).contact is newer
    book = manager()
    book.learn(older, wanted=True, now=0.0)
    assert book.learn(newer, wanted=True, now=0.0)
    assert book.peer(LOW.address).contact is newer


def test_a_record_replaces_a_uri_and_never_the_other_way_round() -> None:
    """A record is signed, and says more."""
    book, record = manager(), record_of(LOW)
    book.learn(URI, wanted=True, now=0.0)
    assert book.learn(record, wanted=False, now=0.0)
    assert not book.learn(URI, wanted=True, now=0.0)
    assert book.peer(LOW.address).contact is record


def test_another_uri_replaces_a_uri() -> None:
    book = manager()
    book.learn(URI, wanted=True, now=0.0)
    assert not book.learn(URI, wanted=True, now=0.0)
    other = PeerUri(URI.address, URI.curve_key, "tcp://10.0.0.2:5")
    assert book.learn(other, wanted=True, now=0.0)
    assert book.peer(LOW.address).contact is other


# --- When ---------------------------------------------------------------------------------------


def test_a_wanted_peer_is_dialed_at_once() -> None:
    book = manager()
    assert book.dial_at(known(book), has_mail=False) == 10.0


def test_a_peer_is_not_dialed_without_a_reason_or_a_way() -> None:
    book = manager()
    peer = book.peer(LOW.address)
    assert book.dial_at(peer, has_mail=True) is None  # No contact.
    book.learn(record_of(LOW, endpoints=()), wanted=True, now=0.0)
    assert book.dial_at(peer, has_mail=True) is None  # It only dials.
    book.learn(record_of(LOW, issued_ms=START_MS + 1), wanted=False, now=0.0)
    assert book.dial_at(peer, has_mail=False) == 0.0


def test_a_peer_that_is_not_wanted_is_dialed_if_there_is_mail_for_it() -> None:
    book = manager()
    book.learn(record_of(LOW, endpoints=("tcp://10.0.0.1:5",)), wanted=False, now=0.0)
    peer = book.peer(LOW.address)
    assert book.dial_at(peer, has_mail=False) is None
    assert book.dial_at(peer, has_mail=True) == 0.0


def test_who_came_by_himself_has_no_socket_file_of_this_machine_connected_to() -> None:
    """His record may name any: that of a database, of a container engine."""
    book = manager()
    book.learn(record_of(LOW, endpoints=("ipc:///run/other.sock",)), wanted=False, now=0.0)
    peer = book.peer(LOW.address)
    assert book.dial_at(peer, has_mail=True) is None
    endpoints = ("ipc:///run/other.sock", "tcp://10.0.0.1:5", "tcp://10.0.0.2:5")
    record = record_of(LOW, issued_ms=START_MS + 1, endpoints=endpoints)
    book.learn(record, wanted=False, now=0.0)
    assert book.dial_at(peer, has_mail=True) == 0.0
    dialed = [book.begin(peer, 0.0, 0.0)[0] for _ in range(3)]
    assert dialed == [endpoints[1], endpoints[2], endpoints[1]]
    book.learn(record, wanted=True, now=0.0)
    assert book.begin(peer, 0.0, 0.0)[0] == endpoints[0]  # The application says so.


def attempt(book: PeerManager, peer: Peer, link: int, now: float) -> LinkId | None:
    """Begin an attempt as ``link``; return the one that made room."""
    assert book.may_dial(peer, 0, now)
    _, given_up = book.begin(peer, now, 0.0)
    book.check()
    assert book.dial_at(peer, has_mail=True) is None  # Until the node says which link it is.
    book.dialing(peer, LinkId(link), now)
    book.check()
    return given_up


def test_a_peer_is_not_dialed_while_it_is_about_to_be_connected() -> None:
    book = manager()
    peer = known(book)
    attempt(book, peer, 1, 10.0)
    assert book.came_up(peer, LinkId(1)) == (10.0, [])
    book.check()
    assert book.dial_at(peer, has_mail=True) is None
    book.established(peer)
    book.check()
    assert book.dial_at(peer, has_mail=True) is None


def test_a_new_contact_is_tried_at_once() -> None:
    book = manager()
    peer = known(book)
    book.failed(peer, "go away", 10.0, Failure.DENIED)
    book.learn(record_of(LOW, issued_ms=START_MS + 1), wanted=False, now=11.0)
    assert book.dial_at(peer, has_mail=False) == 11.0
    assert peer.attempts == 0


def test_a_record_from_the_future_does_not_count() -> None:
    """REC-8: it was taken while a clock was wrong."""
    book = manager()
    peer = known(book)
    peer.contact = record_of(LOW, issued_ms=START_MS + 10**9)
    right = record_of(LOW, issued_ms=START_MS + 1)
    assert not book.learn(right, wanted=False, now=11.0)
    assert book.learn(right, wanted=False, now=11.0, known_counts=False)
    assert peer.contact is right


# --- Attempts that overlap ----------------------------------------------------------------------


def test_while_nobody_answers_another_attempt_begins_each_quarter_of_a_second() -> None:
    """The first one goes on: on a long way it may be the one that succeeds."""
    book = manager()
    peer = known(book)
    for number in range(4):
        at = 10.0 + 0.25 * number
        assert book.dial_at(peer, has_mail=False) == pytest.approx(at)
        assert attempt(book, peer, number, at) is None
    assert list(peer.dialing) == [0, 1, 2, 3]


def test_when_there_are_four_the_oldest_but_one_makes_room() -> None:
    book = manager()
    peer = known(book)
    for number in range(4):
        attempt(book, peer, number, 10.0 + number)
    assert [attempt(book, peer, number, 10.0 + number) for number in (4, 5)] == [1, 2]
    assert list(peer.dialing) == [0, 3, 4, 5]


def test_the_first_attempt_that_is_up_ends_the_others() -> None:
    book = manager()
    peer = known(book)
    for number in range(3):
        attempt(book, peer, number, 10.0 + number)
    assert book.came_up(peer, LinkId(1)) == (11.0, [0, 2])
    assert (peer.greeting, peer.dialing) == (1, {})
    book.check()


def test_a_peer_that_comes_in_by_itself_ends_all_attempts() -> None:
    book = manager()
    peer = known(book)
    for number in range(2):
        attempt(book, peer, number, 10.0 + number)
    assert book.established(peer) == [0, 1]
    book.check()


def test_on_a_long_way_the_next_attempt_comes_later() -> None:
    """Three of them then last for a handshake of five round trips."""
    book = manager()
    peer = known(book)
    for rtt_s, wait_s in ((0.01, 0.25), (0.6, 1.2), (60.0, 5.0)):
        book.may_dial(peer, 0, peer.next_dial_at)
        now = peer.next_dial_at
        book.begin(peer, now, rtt_s)
        assert peer.next_dial_at == pytest.approx(now + wait_s)


def test_beyond_so_many_attempts_to_all_peers_each_has_one() -> None:
    book = manager()
    peer, other = known(book), book.peer(HIGH.address)
    attempt(book, peer, 1, 10.0)
    assert not book.may_dial(peer, LIMITS.attempts_max, 10.3)
    assert peer.next_dial_at == pytest.approx(10.55)
    assert book.may_dial(other, LIMITS.attempts_max, 10.3)


# --- Back-off -----------------------------------------------------------------------------------


def test_where_nobody_listens_the_next_attempt_comes_soon() -> None:
    book = manager()
    peer = known(book)
    attempt(book, peer, 1, 10.0)
    book.attempt_failed(peer, LinkId(1), "nobody there", 10.001, Failure.REFUSED)
    assert (peer.why_not, peer.dialing) == ("nobody there", {})
    assert peer.next_dial_at == pytest.approx(10.081)


def test_an_attempt_that_ends_late_hurries_nothing() -> None:
    book = manager()
    peer = known(book)
    for number in range(2):
        attempt(book, peer, number, 10.0 + number)
    planned_at = peer.next_dial_at
    book.attempt_failed(peer, LinkId(0), "no answer", 11.2, Failure.REFUSED)
    assert (peer.next_dial_at, list(peer.dialing)) == (planned_at, [1])


def test_somebody_else_who_answers_is_asked_less_and_less() -> None:
    book = manager()
    peer = known(book)
    for gone_s, wait_s in ((0.0, 0.08), (20.0, 2.0), (70.0, 5.0)):
        attempt(book, peer, 1, 10.0 + gone_s)
        book.attempt_failed(peer, LinkId(1), "not ZMTP", 10.0 + gone_s, Failure.ANSWERED)
        assert peer.next_dial_at == pytest.approx(10.0 + gone_s + wait_s)


def test_the_longer_a_peer_is_gone_the_longer_the_wait() -> None:
    """100 attempts in the first 8 s, and from 50 minutes on one each half minute."""
    book = manager()
    peer = known(book)
    now, times = 10.0, []
    while now < 10.0 + 7200:
        attempt(book, peer, 1, now)
        book.attempt_failed(peer, LinkId(1), "nobody there", now, Failure.REFUSED)
        times.append(now - 10.0)
        now = peer.next_dial_at
        while not book.may_dial(peer, 0, now):
            now = peer.next_dial_at
    assert sum(time < 7.99 for time in times) == 100
    assert sum(8.0 <= time < 600.0 for time in times) < 450
    assert sum(time >= 3600.0 for time in times) == 120


def test_the_wait_is_jittered_downwards_by_half_at_most() -> None:
    book = PeerManager(LIMITS, Least())
    peer = known(book)
    book.failed(peer, "lost", 100.0, Failure.LOST)
    assert peer.next_dial_at == pytest.approx(100.01)


def test_a_link_that_was_up_is_replaced_at_once_however_long_it_took() -> None:
    book = manager()
    peer = known(book)
    for number in range(5):
        attempt(book, peer, number, 100.0 + number)
    book.established(peer)
    assert (peer.connects, peer.why_not, peer.connected) == (1, "", True)
    book.failed(peer, "lost", 200.0, Failure.LOST)
    assert (peer.why_not, peer.connected, peer.gone_since) == ("lost", False, 200.0)
    assert peer.next_dial_at == pytest.approx(200.02)


def test_a_peer_that_nobody_looked_for_is_looked_for_as_if_it_had_just_gone() -> None:
    """There was no mail for it, for hours."""
    book = manager()
    peer = known(book)
    attempt(book, peer, 1, 10.0)
    book.attempt_failed(peer, LinkId(1), "nobody there", 10.0, Failure.REFUSED)
    attempt(book, peer, 2, 50_000.0)
    assert peer.gone_since == 50_000.0
    assert peer.next_dial_at == pytest.approx(50_000.25)


def test_a_pause_of_this_node_does_not_count_as_absence_of_a_peer() -> None:
    """LIV-6."""
    book = manager()
    peer = known(book)
    book.failed(peer, "lost", 10.0, Failure.LOST)
    book.postpone(3600.0)
    assert peer.gone_since == 3610.0


def test_who_denied_this_node_is_asked_again_when_there_is_news() -> None:
    book = manager()
    peer = known(book)
    assert book.retry_denied(11.0) == []
    book.failed(peer, "your record is from the future", 12.0, Failure.DENIED)
    assert peer.next_dial_at == pytest.approx(17.0)
    assert book.retry_denied(13.0) == [LOW.address]
    assert book.dial_at(peer, has_mail=False) == 13.0
    assert book.retry_denied(14.0) == []


def test_a_denial_is_forgotten_once_connected() -> None:
    book = manager()
    peer = known(book)
    book.failed(peer, "no", 12.0, Failure.DENIED)
    book.established(peer)
    assert book.retry_denied(13.0) == []


def test_the_codes_that_somebody_must_act_on_are_all_but_two() -> None:
    assert set(ByeCode) - PATIENT_CODES == {ByeCode.CLOSING, ByeCode.DUPLICATE_LINK}


def test_each_attempt_takes_the_next_endpoint() -> None:
    book = manager()
    peer = known(book, "tcp://h:1", "tcp://h:2")
    taken = [book.begin(peer, 10.0 + number, 0.0)[0] for number in range(3)]
    assert taken == ["tcp://h:1", "tcp://h:2", "tcp://h:1"]


# --- The budget ---------------------------------------------------------------------------------


def peers_of(book: PeerManager, count: int, now: float) -> list[Peer]:
    """Add so many peers, all of which want to be dialed from ``now`` on."""
    made = [book.peer(Address(number.to_bytes(20))) for number in range(count)]
    for peer in made:
        peer.gone_since = now
    return made


def dialed_until(book: PeerManager, peers: list[Peer], now: float) -> int:
    """Return how many of ``peers`` may be dialed at ``now``, all of whose time has come."""
    return sum(book.may_dial(peer, 0, now) for peer in peers)


def test_many_peers_share_a_bounded_rate_of_dials() -> None:
    book = PeerManager(Limits(dials_per_s=100.0), Most())
    peers = peers_of(book, 200, 10.0)
    assert dialed_until(book, peers, 10.0) == 16
    waiting = [peer for peer in peers if peer.next_dial_at > 10.0]
    assert sorted(peer.next_dial_at for peer in waiting) == pytest.approx(
        [10.0 + number / 100 for number in range(1, 185)]
    )
    assert dialed_until(book, waiting, 11.0) == 100  # Each keeps the slot it was given.


def test_a_peer_that_has_just_gone_does_not_wait_for_the_many_that_are_long_gone() -> None:
    book = PeerManager(Limits(dials_per_s=100.0), Most())
    dialed_until(book, peers_of(book, 1000, 10.0), 15.0)
    peer = book.peer(LOW.address)
    peer.gone_since = 11.5
    assert book.may_dial(peer, 0, 15.0)


def test_a_peer_that_is_connected_or_has_a_new_contact_gives_its_slot_up() -> None:
    book = PeerManager(Limits(dials_per_s=100.0), Most())
    peer = known(book)
    dialed_until(book, peers_of(book, 1000, 10.0), 10.0)
    assert not book.may_dial(peer, 0, 10.0)
    book.learn(record_of(LOW, issued_ms=START_MS + 1), wanted=False, now=11.0)
    assert not book.may_dial(peer, 0, 11.0)
    assert peer.next_dial_at > 19.0
