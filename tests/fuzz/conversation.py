# ruff: noqa: SLF001  # It looks at what the engine keeps.
"""An engine and everybody who can talk to it, driven by bytes: peers, wires, clock, application.

Two peers with good keys and an impostor with this node's own say what the bytes choose, mostly well
formed, so that it reaches far into the sessions. After each turn every invariant is checked, and
that what the engine asks for and what it holds stay within their bounds. Nothing may be raised.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from tests.engine_world import (
    HIGH,
    LOW,
    MIDDLE,
    START_MS,
    Holding,
    Note,
    Other,
    Sut,
    curve_of,
    hello_of,
    record_of,
)
from tests.fuzz import speech
from tests.fuzz.bounds import Bounds
from tests.fuzz.script import Script
from tests.unit.objectives.world import ETHER
from zmqp2p.codes import RefusalCode, RejectCode
from zmqp2p.engine.me import Told
from zmqp2p.engine.outcomes import message_id
from zmqp2p.engine.output import EngineOutput
from zmqp2p.engine.pending import Pending
from zmqp2p.errors import LocalError, UnknownMessage
from zmqp2p.events import ChannelProposed
from zmqp2p.ids import Address, ChannelId, CurveKey, LinkId, MessageId, Seq, StreamId
from zmqp2p.limits import KIB, Limits
from zmqp2p.objectives import Status
from zmqp2p.session.session import Session
from zmqp2p.state import channel_id
from zmqp2p.wire.encoding import encode_frame
from zmqp2p.wire.frames import Who
from zmqp2p.wire.link import DownReason, LinkDown, LinkEvent, LinkUp, Received

LIMITS = Limits(
    inbox_max_messages=12,
    inbox_max_bytes=1500 * KIB,
    inbox_total_max_bytes=1200 * KIB,
    message_max_bytes=600 * KIB,
    turn_max_messages=8,
    handler_attempts=2,
    handlers_max=2,
    dead_letters_max_messages=2,
    undelivered_max_per_peer=3,
    peers_max=2,
    passers_max=1,
    links_max=4,
    proposals_max_per_peer=2,
    subscribe_grace_s=1.0,
)
RECORD = record_of(MIDDLE)
_ROTATED = [
    record_of(MIDDLE, issued_ms=START_MS + n, curve_key=CurveKey(bytes([n]) * 32)) for n in (1, 2)
]
STEPS_MAX = 60
_OUTBOX_MAX = 40  # Messages that wait; the application of a node is held back by its shell.
_PAUSES_S = (0.0, 0.02, 0.25, 0.5, 1.0, 1.5, 5.0, 70.0)


def fuzz_session(data: bytes) -> None:
    """Each step is a byte that says what happens, and the bytes that say how."""
    script = Script(data)
    conversation = Conversation(script)
    for _ in range(STEPS_MAX):
        if not script:
            return
        conversation.step()


@dataclass
class Conversation:
    """One engine, over its runs, and what its surroundings know of it."""

    script: Script
    sut: Sut = field(default_factory=lambda: Sut(MIDDLE, LIMITS, funding=True, record=RECORD))
    proposed: list[ChannelId] = field(default_factory=list)
    # The last message processed for good, of each peer's stream.
    processed: dict[Address, tuple[StreamId, Seq]] = field(default_factory=dict)
    invited: set[Address] = field(default_factory=set)
    sent: list[MessageId] = field(default_factory=list)
    asked_at: dict[LinkId, float] = field(default_factory=dict)  # When WHO left last.
    _links: int = 0

    def __post_init__(self) -> None:
        """Start as an application does."""
        self._subscribe()

    def step(self) -> None:
        """Let one thing happen."""
        self.script.pick(_STEPS)(self)

    # --- Wires ----------------------------------------------------------------------------------

    def come_in(self) -> None:
        """Somebody connects; without CURVE there is no key."""
        self._links += 1
        curve_key = self.script.pick([*_OWNERS, curve_of(MIDDLE), None])
        self._turn(LinkUp(LinkId(self._links), curve_key, "there", dialed=False))

    def answer_dial(self) -> None:
        """A dial succeeds, or comes to nothing."""
        peers = self.sut.engine._connections.peers.peers.values()
        attempts = {link: peer.address for peer in peers for link in peer.dialing}
        if not attempts:
            return
        link = self.script.pick(list(attempts))
        answer = self.script.below(8)
        if answer < 6:
            pinned = {address: key for key, address in _OWNERS.items()}[attempts[link]]
            curve_key = pinned if answer else None  # Without CURVE.
            self._turn(LinkUp(link, curve_key, "there", dialed=True))
        else:
            self._turn(LinkDown(link, self.script.pick(list(DownReason)), ""))

    def cut(self) -> None:
        """A wire breaks."""
        link = self._link()
        if link is not None:
            self._turn(LinkDown(link, self.script.pick(list(DownReason)), "cut"))

    def hear_bytes(self) -> None:
        """Any bytes come."""
        link = self._link()
        if link is not None:
            parts = [self.script.take(self.script.below(64)) for _ in range(self.script.below(4))]
            self._turn(Received(link, tuple(parts)))

    def hear_frame(self) -> None:
        """A frame comes as a peer would say it, and now and then with a byte changed."""
        link = self._link()
        if link is None:
            return
        frame = speech.frame(self.script, self._session_at(link))
        parts = list(encode_frame(self.sut._honest(link, frame)))
        if self.script.below(8) == 7:
            speech.damage(self.script, parts)
        self._turn(Received(link, tuple(parts)))

    def meet(self) -> None:
        """Somebody connects and introduces himself well."""
        self.come_in()
        link = LinkId(self._links)
        if link in self.sut.engine._connections.links:
            hello = hello_of(self.script.pick([LOW, HIGH, speech.THIRD]))
            changed = replace(hello, incarnation=1 + self.script.below(3))
            self._turn(Received(link, encode_frame(self.sut._honest(link, changed))))

    # --- Time and runs --------------------------------------------------------------------------

    def wait(self) -> None:
        """Time passes."""
        self._turn(later_s=self.script.pick(_PAUSES_S))

    def restart(self) -> None:
        """The node dies between two turns and comes back with what it has committed."""
        self.sut = self.sut.restarted()
        self._subscribe()

    # --- The application ------------------------------------------------------------------------

    def send(self) -> None:
        """It sends a message to one of the two."""
        peer, body = self.script.pick([LOW, HIGH]).address, speech.body(self.script)
        if self.sut.engine.knows(peer) and self.sut.engine.unacked() < _OUTBOX_MAX:
            self.sut.begin()
            seq, stream = self.sut.engine.send(peer, body)
            self.sent.append(message_id(stream, seq, body))
            self.invited.add(peer)
            self._turn()

    def handle(self) -> None:
        """It has done, or not done, with a message it was given."""
        if not self.sut.pending:
            return
        pending = self.sut.pending.pop(self.script.below(len(self.sut.pending)))
        engine, counts = self.sut.engine, self.sut.engine.awaits(pending)
        self.sut.begin()
        match self.script.below(6):
            case 0:
                engine.refuse(pending, RefusalCode.PAYLOAD_INVALID, "no")
            case 1:
                engine.retry(pending, "failed", "ValueError")
            case 2:
                engine.put_back(pending)
            case _:
                engine.complete(pending)
                if counts:
                    self._note_processed(pending)
        self._turn()

    def add_contact(self) -> None:
        """It wants a link to one of the two."""
        self.sut.begin()
        self.sut.engine.add_contact(speech.CONTACTS[self.script.below(len(speech.CONTACTS))])
        self._turn()

    def decide(self) -> None:
        """It approves a channel, or does not."""
        if not self.proposed:
            return
        channel = self.proposed.pop()
        channels = self.sut.engine.channels
        self.sut.begin()
        if (
            channel not in channels.objectives
            or channels.get(channel).status is not Status.UNAPPROVED
        ):
            return
        if self.script.below(2):
            with suppress(LocalError):  # Too many of its participants are unknown.
                channels.approve(channel)
        else:
            channels.reject(channel, RejectCode.DECLINED, "no")
        self._turn()

    def propose(self) -> None:
        """It opens a channel of its own, if it may."""
        self.sut.begin()
        with suppress(LocalError):
            self.sut.engine.propose(*speech.OWN_CHANNEL)
        self._turn()

    def hear_chain(self) -> None:
        """The chain tells what a channel holds, or that a deposit has failed."""
        engine = self.sut.engine
        channel = self.script.pick([speech.CHANNEL, channel_id(speech.OWN_CHANNEL[0])])
        held = self.script.pick([0, 5, 12, 13, 4])
        self.sut.begin()
        deposits = self.sut.done.deposits
        if deposits and self.script.below(2):
            engine.transaction_failed(deposits[-1])
        else:
            engine.deposited([Holding(channel, ETHER, held)], 1 + self.sut.memory.chain_cursor)
        self._turn()

    def ask(self) -> None:
        """It asks what became of what it sent, and how things stand."""
        engine = self.sut.engine
        if self.sent:
            with suppress(UnknownMessage):
                engine.fate(self.script.pick(self.sent[-200:]))
        for letter_id in list(engine.dead_letters.all()):
            if self.script.below(2):
                engine.dead_letters.remove(letter_id)
        assert len(engine.peer_statuses()) == len(engine._connections.book.sessions)
        self._turn()

    def renew(self) -> None:
        """It shows another record, perhaps with another key."""
        self.sut.begin()
        choice = self.script.below(4)
        if choice < 2:
            self.sut.engine.renew(RECORD, Told.ALL if choice else Told.NOBODY)
        else:
            self.sut.engine.rotate(_ROTATED[choice - 2], grace_s=0.5)
        self._turn()

    # --- Inside ---------------------------------------------------------------------------------

    def _subscribe(self) -> None:
        self.sut.engine.subscribe(Note, None)
        self.sut.engine.subscribe(Other, None, late=True)

    def _link(self) -> LinkId | None:
        links = list(self.sut.engine._connections.links)
        return self.script.pick(links) if links else None

    def _session_at(self, link: LinkId) -> Session | None:
        connections = self.sut.engine._connections
        found = connections.links[link]
        speaker = found.peer or found.expected or _OWNERS.get(found.curve_key)
        return None if speaker is None else connections.book.sessions.get(speaker)

    def _turn(self, *events: LinkEvent, later_s: float = 0.0) -> None:
        before = Bounds.of(self.sut.engine)
        waited = len(self.sut.pending)
        output = self.sut.turn(*events, later_s=later_s)  # Checks every invariant.
        connections = self.sut.engine._connections
        self.invited |= connections.book.strangers
        if self.sut.engine.channels.objectives:
            self.invited |= {LOW.address, HIGH.address}  # Participants.
        self.invited |= {peer.address for peer in connections.peers.wanted()}
        before.check(self.sut.engine, output, events, self.invited)
        self._forget_old_streams()
        self._check_asking(output)
        for pending in self.sut.pending[waited:]:
            self._check_order(pending)
        self.proposed += [
            event.channel for event in output.events if isinstance(event, ChannelProposed)
        ]

    def _check_order(self, pending: Pending) -> None:
        """No number is handed out again after it was processed (SEQ-2), nor two at a time."""
        stream, seq = self.processed.get(pending.sender, (pending.stream, Seq(0)))
        assert pending.stream != stream or pending.seq > seq
        engine = self.sut.engine
        at_work = [one.sender for one in self.sut.pending if engine.awaits(one)]
        assert len(at_work) == len(set(at_work))

    def _check_asking(self, output: EngineOutput) -> None:
        """WHO leaves at most once in 0.2 s on a link (HEL-5), but for the one that RES-3 asks."""
        for link, frame in output.frames:
            found = self.sut.engine._connections.links.get(link)
            if isinstance(frame, Who) and found is not None and not found.doubted:
                assert self.sut.now - self.asked_at.get(link, 0.0) >= 0.2
                self.asked_at[link] = self.sut.now

    def _forget_old_streams(self) -> None:
        """A peer that begins a stream anew gives its numbers anew (RES-2)."""
        sessions = self.sut.engine._connections.book.sessions
        for peer, (stream, _) in list(self.processed.items()):
            if peer not in sessions or sessions[peer].inbox.stream != stream:
                del self.processed[peer]

    def _note_processed(self, pending: Pending) -> None:
        self.processed[pending.sender] = (pending.stream, pending.seq)


_OWNERS: dict[CurveKey | None, Address] = {
    curve_of(key): key.address for key in (LOW, HIGH, speech.THIRD)
}
_STEPS: list[Callable[[Conversation], None]] = [
    Conversation.hear_frame,
    Conversation.meet,
    Conversation.hear_frame,
    Conversation.handle,
    Conversation.send,
    Conversation.wait,
    Conversation.hear_frame,
    Conversation.add_contact,
    Conversation.answer_dial,
    Conversation.come_in,
    Conversation.hear_frame,
    Conversation.cut,
    Conversation.hear_bytes,
    Conversation.decide,
    Conversation.renew,
    Conversation.restart,
    Conversation.propose,
    Conversation.hear_chain,
    Conversation.ask,
]
