# ruff: noqa: SLF001  # It looks at what the engine keeps.
"""What one turn of an engine may ask for, and what it may hold, whatever came in."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from tests.engine_world import HIGH, LOW, curve_of
from tests.fuzz.speech import THIRD
from zmqp2p.engine.engine import Engine
from zmqp2p.engine.output import EngineOutput
from zmqp2p.errors import PeerError
from zmqp2p.ids import Address, LinkId
from zmqp2p.limits import REFUSALS_MAX
from zmqp2p.session.handshake import Link, LinkState
from zmqp2p.session.room import RESERVED_BYTES
from zmqp2p.wire.encoding import decode_frame, encode_frame
from zmqp2p.wire.frames import Bulk, Bye, Data, Frame, Hello, Who
from zmqp2p.wire.link import LinkEvent, Received

_ANSWERS_MAX = 4  # Frames that one event brings about, messages and goodbyes to others apart.


@dataclass(frozen=True)
class Bounds:
    """How an engine was before a turn."""

    links: int
    outbox_bytes: int
    unacked: int
    strangers: frozenset[LinkId]  # Accepted links that have not said HELLO.
    waiting: bool  # Whether messages of others wait for their turn, by which anything may come.

    @classmethod
    def of(cls, engine: Engine) -> "Bounds":
        """Look at ``engine``."""
        connections = engine._connections
        outboxes = [session.outbox for session in connections.book.sessions.values()]
        silent = {i for i, link in connections.links.items() if link.state is LinkState.SILENT}
        return cls(
            len(connections.links),
            sum(outbox.size_bytes for outbox in outboxes),
            sum(len(outbox) for outbox in outboxes),
            frozenset(silent),
            any(not session.inbox.is_idle for session in connections.book.sessions.values()),
        )

    def check(
        self,
        engine: Engine,
        output: EngineOutput,
        events: Sequence[LinkEvent],
        invited: AbstractSet[Address],
    ) -> None:
        """Check what the turn of ``events`` asked for, and what the engine holds after it.

        ``invited`` are those whom the application, or a channel, has named.
        """
        self._check_asked(engine, output)
        _check_dials(engine, output, invited)
        _check_held(engine)
        _check_peers(engine, invited)
        for event in events:
            if isinstance(event, Received) and event.link in self.strangers:
                _check_stranger(event, output, alone=not self.waiting)

    def _check_asked(self, engine: Engine, output: EngineOutput) -> None:
        messages = [frame for _, frame in output.frames if isinstance(frame, Data | Bulk)]
        others = len(output.frames) - len(messages)
        assert others <= _ANSWERS_MAX + 2 * (self.links + 1)
        # Twice: a turn that goes on over another link after it has sent may send all again.
        most_bytes = 2 * max(self.outbox_bytes, Bounds.of(engine).outbox_bytes)
        assert sum(map(_carried_bytes, messages)) <= most_bytes + 2 * 1024 * 1024
        assert len(output.closes) == len(set(output.closes))  # Each link ends once.
        turn = engine._limits.turn_max_messages
        assert len(output.events) <= 8 + 4 * self.links + self.unacked + turn


def _check_dials(engine: Engine, output: EngineOutput, invited: AbstractSet[Address]) -> None:
    """Each peer is dialed once in a turn; one that goes in the same turn may have been, too."""
    dialed = [dial.peer for dial in output.dials]
    assert len(dialed) == len(set(dialed))
    limits = engine._limits
    assert len(set(dialed) - invited) <= limits.peers_max + limits.passers_max


def _check_held(engine: Engine) -> None:
    connections, limits = engine._connections, engine._limits
    sessions = connections.book.sessions.values()
    assert len(connections.links) <= limits.links_max
    room = connections.book.room
    assert room.used_bytes <= limits.inbox_total_max_bytes + RESERVED_BYTES * len(sessions)
    for session in sessions:
        assert len(session.inbox.refusals) <= REFUSALS_MAX
        waiting = session.inbox.received - session.inbox.cursor - session.inbox._unkept
        assert waiting <= limits.inbox_max_messages
    assert all(_is_whom_it_shows(link, engine) for link in connections.links.values())
    keys = 3 * len(sessions) + len(connections.links)
    planned = len(connections.agenda._heap) + len(connections.watch.rounds._agenda._heap)
    assert planned <= 4 * keys + 64
    deadline = engine.deadline()
    assert deadline is None or deadline >= engine._clock.now


def _check_peers(engine: Engine, invited: AbstractSet[Address]) -> None:
    connections, limits = engine._connections, engine._limits
    came = connections.book.sessions.keys() - connections.book.passed.keys() - invited
    assert len(came) <= limits.peers_max
    assert len(connections.book.passed) <= limits.passers_max
    assert connections.peers.peers.keys() <= connections.book.sessions.keys()
    assert len(connections.book.streams) == len(connections.book.sessions)
    assert connections.book.unkept <= connections.book.sessions.keys()


def _is_whom_it_shows(link: Link, engine: Engine) -> bool:
    """Whether the peer of a link is the one whose key opened it, and who was dialed (IDN-1 to 3).

    Without CURVE nothing is known of whoever has opened it.
    """
    if link.peer is None:
        return link.state is not LinkState.ESTABLISHED
    keys = {curve_of(key): key.address for key in (LOW, HIGH, THIRD)}
    shown = link.peer if link.curve_key is None else keys.get(link.curve_key)
    return (
        link.peer == shown
        and link.expected in (None, link.peer)
        and link.peer != engine._me.signer.address
    )


def _check_stranger(event: Received, output: EngineOutput, *, alone: bool) -> None:
    """Nobody makes this node write, dial or talk who has not shown a good record.

    ``alone``: there was nothing else to do.
    """
    try:
        frame: Frame | None = decode_frame(event.frames)
    except PeerError:
        frame = None
    answers = [frame for link, frame in output.frames if link == event.link]
    if isinstance(frame, Hello) and not any(isinstance(answer, Bye) for answer in answers):
        return
    assert all(isinstance(answer, Who | Bye | Hello) for answer in answers)
    if not isinstance(frame, Hello):
        assert len(answers) <= 1
        if alone:
            assert not output.writes
            assert not output.dials


def _carried_bytes(frame: Frame) -> int:
    return sum(map(len, encode_frame(frame)[1:]))
