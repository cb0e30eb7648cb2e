"""Who he is not, an impostor does not become: over real sockets, with keys of his own.

Alice is a node with one honest peer, Bob; Carol is known to Alice and not there.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace

import pytest
import zmq

from tests.frames import chain
from tests.real.hostile.raw import HOUR_MS, Keys, Stranger, now_ms, router
from tests.real.parties import (
    HASTY,
    PATIENCE_S,
    Journal,
    Note,
    Parties,
    events_of,
    status_of,
    until_connected,
    until_why_not,
)
from zmqp2p import Delivery, P2PService, PeerUri, codec
from zmqp2p.codes import ByeCode
from zmqp2p.events import Event, LinkRefused, PeerConnected
from zmqp2p.ids import Address, Seq, StreamDigest
from zmqp2p.messages import encode_message
from zmqp2p.wire.encoding import encode_frame
from zmqp2p.wire.frames import Bye, Data, Frame, Hello, Ping, Pong, Who

LIMITS = replace(HASTY, hello_timeout_s=0.4)
FORGED = encode_message(Note(666, "forged"))


@dataclass
class Stage:
    """Alice, Bob whom she talks with, and a connection of Mallory's to her."""

    alice: P2PService
    bob: P2PService
    told: Journal[Event]
    heard: Journal[tuple[Address, int]]
    context: "zmq.Context[zmq.Socket[bytes]]"
    stack: ExitStack
    carol: Keys

    def mallory(self, keys: Keys | None = None, routing_id: bytes | None = None) -> Stranger:
        made = Stranger(self.context, self.alice.record, keys, routing_id=routing_id)
        self.stack.callback(made.close)
        return made

    def check_undisturbed(self) -> None:
        """Bob is heard, and nobody was in the name of another."""
        self.bob.send_message(self.alice.address, Note(1)).wait(PATIENCE_S)
        assert self.heard.entries[-1] == (self.bob.address, 1)
        assert {sender for sender, _ in self.heard.entries} == {self.bob.address}
        carol = status_of(self.alice, self.carol.signer.address)
        assert (carol.connected, carol.last_seen_ms) == (False, None)


@pytest.fixture
def stage(parties: Parties) -> Iterator[Stage]:
    with ExitStack() as stack:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        stack.callback(context.destroy, linger=0)
        alice = parties.start("alice", limits=LIMITS)
        bob = parties.start("bob", endpoint=None)
        told, heard = events_of(alice), Journal[tuple[Address, int]]()

        def take(delivery: Delivery) -> None:
            heard((delivery.sender, delivery.message.number))

        alice.on_message(take, message_type=Note)
        bob.add_peer(alice.record)
        until_connected(bob, alice.address)
        carol = Keys()
        alice.add_peer(carol.record())
        yield Stage(alice, bob, told, heard, context, stack, carol)


def _forged(stage: Stage, mallory: Stranger) -> bytes:
    """Carol's address in a record that Mallory has signed, for his own CURVE key."""
    value = codec.decode(mallory.keys.record().encode())
    assert isinstance(value, tuple)
    return codec.encode((value[0], stage.carol.signer.address, *value[2:]))


def _another_signature(stage: Stage, mallory: Stranger) -> bytes:
    """Mallory's record, with the signature of one of Carol's."""
    return mallory.keys.record().encode()[:-65] + stage.carol.record().encode()[-65:]


def _replayed(stage: Stage, _mallory: Stranger) -> bytes:
    return stage.carol.record().encode()


def _alices_own(stage: Stage, _mallory: Stranger) -> bytes:
    return stage.alice.record.encode()


def _expired(_stage: Stage, mallory: Stranger) -> bytes:
    now = now_ms()
    return mallory.keys.record(issued_ms=now - HOUR_MS, expires_ms=now - 1).encode()


def _from_the_future(_stage: Stage, mallory: Stranger) -> bytes:
    issued_ms = now_ms() + HOUR_MS
    return mallory.keys.record(issued_ms=issued_ms, expires_ms=issued_ms + 1).encode()


@pytest.mark.parametrize(
    ("record", "code", "rule"),
    [
        (_forged, ByeCode.RECORD_INVALID, "REC-2"),
        (_another_signature, ByeCode.RECORD_INVALID, "REC-2"),
        (_replayed, ByeCode.KEY_MISMATCH, "IDN-1"),
        (_alices_own, ByeCode.KEY_MISMATCH, "IDN-1"),
        (_expired, ByeCode.RECORD_EXPIRED, "REC-3"),
        (_from_the_future, ByeCode.RECORD_INVALID, "REC-4"),
    ],
)
def test_a_record_that_is_not_his_gets_nobody_in(
    stage: Stage, record: Callable[[Stage, Stranger], bytes], code: ByeCode, rule: str
) -> None:
    """What he sends with it, before he can know the answer, counts for nothing."""
    mallory = stage.mallory()
    mallory.say(mallory.hello(record(stage, mallory)))
    mallory.say(mallory.data((FORGED,)))
    bye = mallory.until(Bye, PATIENCE_S)
    assert isinstance(bye, Bye)
    assert (bye.code, bye.reason[: len(rule)]) == (code, rule)
    refused = stage.told.first(LinkRefused)
    assert (refused.code, refused.reason) == (code, bye.reason)
    assert refused.remote == "127.0.0.2"
    stage.check_undisturbed()


def test_a_record_that_was_replaced_does_not_come_back_with_its_stolen_key(stage: Stage) -> None:
    """IDN-4: Dave has changed his CURVE key; who has got the old one is not Dave any more."""
    dave, stolen = Keys(), Keys()
    stolen.signer = dave.signer
    old = stolen.record(issued_ms=now_ms() - 1_000)
    honest = stage.mallory(dave)
    assert honest.introduce()
    thief = stage.mallory(stolen)
    thief.say(thief.hello(old))
    thief.say(thief.data((FORGED,)))
    bye = thief.until(Bye, PATIENCE_S)
    assert isinstance(bye, Bye)
    assert bye.code is ByeCode.RECORD_SUPERSEDED
    assert honest.say(Ping(5))
    assert isinstance(honest.until(Pong, PATIENCE_S), Pong)  # His link is not touched.
    stage.check_undisturbed()


def test_frames_before_hello_are_asked_about_and_not_acted_upon(stage: Stage) -> None:
    """HEL-5: messages that come with no name have no sender."""
    mallory = stage.mallory()
    mallory.say(mallory.data((FORGED,)))
    assert isinstance(mallory.until(Who, PATIENCE_S), Who)
    known = len(stage.alice.peers())
    stage.check_undisturbed()
    assert len(stage.alice.peers()) == known
    assert mallory.introduce()  # There is no harm in that: he has only not said who he is.


def test_who_never_says_hello_is_nobody_and_is_forgotten(stage: Stage) -> None:
    """HEL-7: the link ends; what comes after it begins another one, and is asked anew."""
    mallory = stage.mallory()
    known = len(stage.alice.peers())
    for _ in range(2):
        # What is said just when its connection is shut down is lost with it: it is said again.
        give_up_at = time.monotonic() + PATIENCE_S
        asked = None
        while asked is None and time.monotonic() < give_up_at:
            mallory.say(Ping(1))
            asked = mallory.until(Who)
        assert isinstance(asked, Who)
        assert mallory.until(Hello, LIMITS.hello_timeout_s) is None
    assert len(stage.alice.peers()) == known
    stage.check_undisturbed()


def test_a_second_hello_of_the_same_is_answered_and_changes_nothing(stage: Stage) -> None:
    """HEL-4."""
    mallory = stage.mallory()
    hello = mallory.hello()
    for _ in range(2):
        mallory.say(hello)
        assert isinstance(mallory.until(Hello, PATIENCE_S), Hello)
    address = mallory.keys.signer.address
    assert status_of(stage.alice, address).reconnects == 0
    came = [event for event in stage.told.entries if isinstance(event, PeerConnected)]
    assert [event.peer for event in came].count(address) == 1


def test_a_second_hello_of_somebody_else_ends_the_link(stage: Stage) -> None:
    """IDN-2: one link, one identity; with the same CURVE key too."""
    mallory = stage.mallory()
    assert mallory.introduce()
    other = Keys((mallory.keys.curve_public, mallory.keys.curve_secret))
    mallory.say(mallory.hello(other.record()))
    bye = mallory.until(Bye, PATIENCE_S)
    assert isinstance(bye, Bye)
    assert bye.code is ByeCode.ADDRESS_MISMATCH
    refused = stage.told.first(LinkRefused)
    assert refused.peer == mallory.keys.signer.address  # As whom he was known.
    assert other.signer.address not in {status.address for status in stage.alice.peers()}
    stage.check_undisturbed()


def test_a_routing_id_in_use_is_not_taken_over(stage: Stage) -> None:
    """A routing id is a claim: who announces another's gets nothing that is sent to it."""
    owner = stage.mallory(routing_id=b"in use")
    assert owner.introduce()
    thief = stage.mallory(routing_id=b"in use")
    thief.say(thief.hello())
    thief.say(thief.data((FORGED,)))
    assert thief.until(Hello, LIMITS.hello_timeout_s) is None  # Nobody reads what it says.
    receipt = stage.alice.send_message(owner.keys.signer.address, Note(3))
    got = owner.until(Data, PATIENCE_S)
    assert isinstance(got, Data)
    assert thief.drain() == []
    assert not receipt.ended
    assert thief.keys.signer.address not in {one.address for one in stage.alice.peers()}
    stage.check_undisturbed()


# --- Where Alice dials ----------------------------------------------------------------------------


def _answer(listener: "zmq.Socket[bytes]", frames: list[Frame]) -> None:
    """Answer who dials ``listener``."""
    assert listener.poll(int(PATIENCE_S * 1000))
    dialer = listener.recv_multipart()[0]
    for frame in frames:
        listener.send_multipart([dialer, *encode_frame(frame)])


@pytest.mark.parametrize(
    ("shown", "code"),
    [("dave's", ByeCode.KEY_MISMATCH), ("mallory's", ByeCode.ADDRESS_MISMATCH)],
)
def test_who_answers_in_the_place_of_another_is_not_taken_for_him(
    stage: Stage, shown: str, code: ByeCode
) -> None:
    """IDN-1, IDN-2: the URI names Dave, and Mallory's key and endpoint. It is not signed."""
    keys, dave = Keys(), Keys()
    listener, record = router(stage.context, keys)
    stage.stack.callback(listener.close)
    shows = dave.record() if shown == "dave's" else record
    words = stage.mallory(keys)
    lure = PeerUri(dave.signer.address, record.curve_key, record.endpoints[0])
    stage.alice.add_peer(lure)
    receipt = stage.alice.send_message(dave.signer.address, Note(4, "for Dave only"))
    digest = chain(StreamDigest(words.stream), FORGED)
    data = Data(Seq(1), digest, words.progress(), (FORGED,))
    _answer(listener, [words.hello(shows), data])
    status = until_why_not(stage.alice, dave.signer.address, code.name.lower())
    assert not status.connected
    assert stage.told.first(LinkRefused).code is code
    assert b"for Dave only" not in b"".join(_rest(listener))
    assert not receipt.ended
    stage.check_undisturbed()


def _rest(listener: "zmq.Socket[bytes]") -> Iterator[bytes]:
    """Return whatever else the dialer has sent."""
    while listener.poll(50):
        yield from listener.recv_multipart()


def test_a_listener_that_does_not_say_who_it_is_gets_no_message(stage: Stage) -> None:
    """HEL-3: it gets a HELLO, as everybody, and a BYE when it sends something else."""
    keys = Keys()
    listener, record = router(stage.context, keys)
    stage.stack.callback(listener.close)
    stage.alice.add_peer(record)
    receipt = stage.alice.send_message(keys.signer.address, Note(5, "secret"))
    words = stage.mallory(keys)
    _answer(listener, [words.data((FORGED,))])
    until_why_not(stage.alice, keys.signer.address, "protocol_error")
    assert b"secret" not in b"".join(_rest(listener))
    assert not receipt.ended
    stage.check_undisturbed()
