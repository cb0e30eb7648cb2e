"""Findings F2 to F4 of the model (docs/spec/model): rollbacks that once passed without a word.

Two real sessions and their stores; Alice sends, Bob processes, and Alice's store is put back. Each
ended with Alice being told that Bob had processed a message that he never saw.
"""

from copy import deepcopy

import pytest

from tests.chance import seeded
from tests.memory import remember_of_peer
from zmqp2p.codes import ByeCode, RefusalCode
from zmqp2p.errors import Contradiction
from zmqp2p.ids import Address, InstanceId, LinkId
from zmqp2p.limits import DEFAULT_LIMITS
from zmqp2p.persistence import PeerSnapshot
from zmqp2p.session.resume import Hold
from zmqp2p.session.session import Output, Session
from zmqp2p.wire.frames import Data, Frame, Hello

ALICE, BOB = Address(b"a" * 20), Address(b"b" * 20)


class Node:
    """One side: a store, and the session of its present run."""

    def __init__(self, me: Address, peer: Address) -> None:
        """Begin with an empty store."""
        self.memory = PeerSnapshot()
        self.told: list[bool] = []  # Of each message sent: was it processed, or else refused?
        self._names = (me, peer)
        self._runs = 0
        self.start()

    def start(self, memory: PeerSnapshot | None = None) -> None:
        """Begin another run, on the store as it is or on a copy that is put back."""
        self._runs += 1
        self.memory = memory or self.memory
        self._output = Output()
        self.session = Session(
            self._names[1], self.memory, self._output, DEFAULT_LIMITS, seeded(self._runs)
        )

    def copy(self) -> PeerSnapshot:
        """Return a backup of the store."""
        self.turn()
        return deepcopy(self.memory)

    def hello(self) -> Hello:
        """Return this side's HELLO, which leaves with the turn."""
        instance = InstanceId(self._names[0][:7] + bytes([self._runs]))
        return self.session.hello(b"", self._runs, instance)

    def turn(self) -> list[Frame]:
        """End the turn: commit, and return what leaves."""
        self.session.settle(0.0)
        self.session.check()
        for write in self._output.writes:
            remember_of_peer(self.memory, write)
        for _, processed in self._output.processed:
            numbers = range(processed.first, processed.last + 1)
            self.told += [seq not in processed.refused for seq in numbers]
        frames = [frame for _, frame in self._output.frames]
        self._output.writes, self._output.frames, self._output.processed = [], [], []
        return frames

    def hear(self, frames: list[Frame], link: LinkId) -> list[Frame]:
        """Take in frames in one turn, and return what leaves."""
        for frame in frames:
            self.session.receive(link, frame, 0.0)  # type: ignore[arg-type]  # No HELLO here.
        return self.turn()

    def process(self, *, refuse: bool = False) -> None:
        """Process the next message, or refuse it."""
        self.session.inbox.take()
        if refuse:
            self.session.refuse(RefusalCode.PAYLOAD_INVALID, "no")
        else:
            self.session.done()


class Pair:
    """Alice and Bob, who have met; Alice has sent one message, which Bob has processed."""

    def __init__(self) -> None:
        """Let them do so."""
        self.alice, self.bob = Node(ALICE, BOB), Node(BOB, ALICE)
        self._links = 0
        assert self.meet(self.alice, self.bob) is None
        self.alice.session.send(b"1")
        self.flow(process=True)
        assert self.alice.told == [True]

    def meet(self, dialer: Node, listener: Node, first: Hello | None = None) -> Hold | None:
        """Exchange HELLOs over a new link, ``first`` being the dialer's; return who holds, why."""
        link = self.next_link()
        hold = listener.session.establish(link, first or dialer.hello(), 0.0)
        return hold or dialer.session.establish(link, listener.hello(), 0.0)

    def next_link(self) -> LinkId:
        """End the link there is, and return the next one."""
        for node in (self.alice, self.bob):
            node.session.lose(LinkId(self._links))
        self._links += 1
        return LinkId(self._links)

    def flow(self, *, process: bool = False, refuse: bool = False) -> None:
        """Carry frames both ways until there are none; Bob processes what he has, if he may."""
        link = LinkId(self._links)
        said = self.alice.turn()
        while said:
            answers = self.bob.hear(said, link)
            while (process or refuse) and self.bob.session.inbox.ready():
                self.bob.process(refuse=refuse)
                answers += self.bob.turn()
            said = self.alice.hear(answers, link)


def test_f2_a_hello_older_than_what_was_done_since_ends_in_a_hold() -> None:
    """RES-11: Bob dials, then processes the old 2; Alice gives the number again."""
    pair = Pair()
    alice, bob = pair.alice, pair.bob
    backup = alice.copy()
    alice.session.send(b"2")
    pair.flow()  # Bob holds it in memory: his handler is slow.
    alice.start(backup)
    early = bob.hello()
    bob.process()
    bob.turn()  # Committed; what leaves is lost.
    alice.session.send(b"another 2")
    assert pair.meet(bob, alice, first=early) is None  # Neither HELLO shows it yet.
    with pytest.raises(Contradiction, match="other messages up to 2 than were sent"):
        pair.flow()
    alice.turn()
    assert alice.told == [True]


def test_f2_what_a_progress_has_shown_the_next_link_shows_again() -> None:
    """RES-11: whoever dials it, and whether or not Alice is restarted before."""
    pair = Pair()
    alice, bob = pair.alice, pair.bob
    backup = alice.copy()
    alice.session.send(b"2")
    pair.flow(process=True)
    alice.start(backup)
    alice.session.send(b"another 2")
    alice.turn()
    for restart in (False, True):
        if restart:
            alice.start()
        for dialer, listener in ((bob, alice), (alice, bob)):
            hold = pair.meet(dialer, listener)
            assert hold is not None
            assert hold.code is ByeCode.DATA_LOSS
    assert len(alice.session.outbox) == 1


def test_f3_a_restart_after_the_rollback_does_not_hide_it() -> None:
    """RES-11: after it the number counts as perhaps sent, and so as perhaps processed."""
    pair = Pair()
    alice, bob = pair.alice, pair.bob
    backup = alice.copy()
    alice.session.send(b"2")
    bob.hear(alice.turn(), LinkId(1))
    bob.process()
    bob.turn()  # Committed; what leaves is lost.
    alice.start(backup)
    alice.session.send(b"another 2")
    alice.turn()
    alice.start()
    hold = pair.meet(alice, bob)
    assert hold is not None
    assert hold.reason == (
        "one of us was rolled back: what you have processed up to 2 is not what I have sent"
    )
    alice.turn()
    assert alice.told == [True]


def test_f4_a_refusal_that_was_heard_does_not_turn_into_an_ack() -> None:
    """RES-10: Bob has forgotten it, but not that Alice's base has passed it."""
    pair = Pair()
    alice, bob = pair.alice, pair.bob
    alice.session.send(b"2")
    backup = alice.copy()
    alice.session.lose(LinkId(1))
    pair.meet(alice, bob)
    pair.flow(refuse=True)
    assert alice.told == [True, False]
    alice.told.pop()  # What the copy does not know.
    alice.start(backup)
    bob.start()  # That base is stored.
    hold = pair.meet(bob, alice)
    assert hold is not None
    assert hold.reason == (
        "my outbox was rolled back: you have heard that I hold from 3, I hold from 2"
    )
    alice.turn()
    assert alice.told == [True]


def test_a_copy_that_lacks_nothing_of_consequence_goes_on() -> None:
    """RES-1: Bob has processed nothing that the store put back does not hold."""
    pair = Pair()
    alice, bob = pair.alice, pair.bob
    backup = alice.copy()
    alice.session.send(b"2")
    alice.turn()  # And nothing of it arrives.
    alice.start(backup)
    alice.session.send(b"another 2")
    assert pair.meet(alice, bob) is None
    pair.flow(process=True)
    assert alice.told == [True, True]
    assert bob.memory.cursor == 2


def test_a_batch_on_top_of_another_history_is_not_taken() -> None:
    """RES-11: its first part is known by its number, so that only its end can tell."""
    pair = Pair()
    alice, bob = pair.alice, pair.bob
    backup = alice.copy()
    alice.session.send(b"2")
    pair.flow()
    alice.start(backup)
    early = bob.hello()
    bob.process()
    bob.turn()  # Committed; what leaves is lost.
    for body in (b"another 2", b"3"):
        alice.session.send(body)
    assert pair.meet(bob, alice, first=early) is None
    (data,) = alice.turn()
    assert isinstance(data, Data)
    assert data.bodies == (b"another 2", b"3")
    with pytest.raises(Contradiction, match="message 3 does not follow"):
        bob.hear([data], LinkId(2))
    assert bob.session.inbox.received == 2
