"""Whom to dial, when, and which contact counts."""

import pytest

from tests.chance import Least, Most
from tests.engine_world import HIGH, LOW, START_MS, curve_of, record_of
from zmqp2p.codes import ByeCode
from zmqp2p.engine.peers import Peer, PeerManager
from zmqp2p.ids import LinkId
from zmqp2p.limits import Limits
from zmqp2p.records import PeerUri

LIMITS = Limits(redial_min_s=0.02, redial_max_s=5.0)
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
    book.learn(record_of(LOW), wanted=False, now=0.0)
    peer = book.peer(LOW.address)
    assert book.dial_at(peer, has_mail=False) is None
    assert book.dial_at(peer, has_mail=True) == 0.0


def test_a_peer_is_not_dialed_while_it_is_dialed_or_connected() -> None:
    book = manager()
    peer = known(book)
    peer.dialing = LinkId(1)
    assert book.dial_at(peer, has_mail=True) is None
    book.check()
    book.established(peer)
    assert book.dial_at(peer, has_mail=True) is None
    book.check()


def test_a_new_contact_is_tried_at_once() -> None:
    book = manager()
    peer = known(book)
    book.failed(peer, "nobody there", 10.0, ByeCode.KEY_MISMATCH)
    book.learn(record_of(LOW, issued_ms=START_MS + 1), wanted=False, now=11.0)
    assert book.dial_at(peer, has_mail=False) == 11.0
    assert peer.attempts == 0


# --- Back-off -----------------------------------------------------------------------------------


def test_each_failure_doubles_the_wait_up_to_the_most() -> None:
    book = manager()
    peer = known(book)
    waits = []
    for _ in range(40):
        book.failed(peer, "nobody there", 100.0)
        waits.append(peer.next_dial_at - 100.0)
    assert waits[:9] == pytest.approx([0.02 * 2**n for n in range(8)] + [5.0])
    assert waits[9:] == pytest.approx([5.0] * 31)


def test_the_wait_is_jittered_downwards_by_half_at_most() -> None:
    book = PeerManager(LIMITS, Least())
    peer = known(book)
    book.failed(peer, "nobody there", 100.0)
    assert peer.next_dial_at == pytest.approx(100.01)


def test_a_connection_resets_the_wait() -> None:
    book = manager()
    peer = known(book)
    for _ in range(5):
        book.failed(peer, "nobody there", 100.0)
    book.established(peer)
    assert (peer.connects, peer.why_not, peer.connected) == (1, "", True)
    book.failed(peer, "lost", 200.0)
    assert (peer.why_not, peer.connected) == ("lost", False)
    assert peer.next_dial_at == pytest.approx(200.02)


@pytest.mark.parametrize("code", ByeCode)
def test_who_is_refused_asks_again_but_rarely(code: ByeCode) -> None:
    """The answer stays the same until somebody does something; except while a node restarts."""
    book = manager()
    peer = known(book)
    book.failed(peer, "no", 100.0, code)
    soon = code in (ByeCode.CLOSING, ByeCode.DUPLICATE_LINK)
    assert peer.next_dial_at == pytest.approx(100.02 if soon else 105.0)


def test_each_attempt_takes_the_next_endpoint() -> None:
    book = manager()
    peer = known(book, "tcp://h:1", "tcp://h:2")
    taken = []
    for _ in range(3):
        taken.append(book.next_endpoint(peer))
        book.failed(peer, "nobody there", 0.0)
    assert taken == ["tcp://h:1", "tcp://h:2", "tcp://h:1"]
