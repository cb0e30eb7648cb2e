"""An engine under test, strangers who talk to it in frames, and two engines joined by links.

Time is a number that the test chooses. The engine's chance says 0 always: a redial then comes after
half of the longest wait.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from tests.chance import Least
from tests.frames import INSTANCE, STREAM, UNSAID, honest, honest_hello
from tests.memory import remember
from zmqp2p.crypto import SecretKey
from zmqp2p.engine.engine import Engine
from zmqp2p.engine.me import Me
from zmqp2p.engine.output import EngineOutput, Watch
from zmqp2p.engine.pending import Pending
from zmqp2p.ids import Address, ChannelId, CurveKey, InstanceId, LinkId, Seq, StreamId
from zmqp2p.limits import Limits
from zmqp2p.messages import encode_message, message
from zmqp2p.objectives.base import Deposit
from zmqp2p.persistence import Snapshot
from zmqp2p.records import PeerRecord
from zmqp2p.wire.encoding import encode_frame
from zmqp2p.wire.frames import Bye, Frame, Hello, Ignored, Who
from zmqp2p.wire.link import DownReason, LinkDown, LinkEvent, LinkUp, Received

START_MS = 1_700_000_000_000
HOUR_MS = 3_600_000

# In ascending order of their addresses: who is higher matters to duplicate links.
LOW, MIDDLE, HIGH = sorted(
    (SecretKey(bytes([number]) * 32) for number in (1, 2, 3)), key=lambda key: key.address
)


@message(300)
@dataclass(frozen=True)
class Note:
    """An application message."""

    text: str


@message(301)
@dataclass(frozen=True)
class Other:
    """An application message that nobody subscribes to."""

    number: int


def curve_of(key: SecretKey) -> CurveKey:
    """Return the transport key that belongs to ``key`` in these tests."""
    return CurveKey(key.address[:1] * 32)


def record_of(  # Each field matters to some test.
    key: SecretKey,
    *,
    issued_ms: int = START_MS,
    lifetime_ms: int = HOUR_MS,
    endpoints: tuple[str, ...] = ("tcp://127.0.0.1:1",),
    curve_key: CurveKey | None = None,
) -> PeerRecord:
    """Return a record of ``key``'s owner."""
    curve_key = curve_of(key) if curve_key is None else curve_key
    return PeerRecord.issue(key, curve_key, endpoints, issued_ms, issued_ms + lifetime_ms)


def hello_of(key: SecretKey, record: PeerRecord | None = None) -> Hello:
    """Return the HELLO of ``key``'s owner to somebody it has never met; tests change the rest."""
    return Hello(
        versions=(1,),
        record=(record or record_of(key)).encode(),
        incarnation=1,
        instance=INSTANCE,
        stream=STREAM,
        base=Seq(1),
        base_digest=UNSAID,
        next=Seq(100),
        seen_stream=StreamId(b""),
        cursor=Seq(0),
        seen_digest=UNSAID,
        heard=Seq(1),
        refusals=(),
        window_messages=1000,
        window_bytes=1_000_000,
    )


@dataclass
class Sut:
    """An engine, its clock, and what its store and its links would have seen."""

    key: SecretKey
    limits: Limits = field(default_factory=lambda: Limits(subscribe_grace_s=0.0))
    memory: Snapshot = field(default_factory=lambda: Snapshot(incarnation=1))
    funding: bool = False
    now: float = 100.0
    record: PeerRecord | None = None
    endpoints: tuple[str, ...] = ("tcp://127.0.0.1:1",)
    links_from: int = 1000  # The links it dials are numbered from here; a test's own are below.

    def __post_init__(self) -> None:
        """Start."""
        self.instance = InstanceId(bytes([self.memory.incarnation]) * 8)
        rng = Least(int.from_bytes(self.key.address) + self.memory.incarnation)
        me = Me(self.key, self.memory.incarnation, self.instance)
        self.engine = Engine(me, self.memory, self.limits, rng, funding=self.funding)
        self.pending: list[Pending] = []  # Handed out and not ended.
        self.done = EngineOutput()  # All outputs so far, together.
        self._links = self.links_from + 100 * self.memory.incarnation
        self.begin()
        self.engine.start(self.record or record_of(self.key, endpoints=self.endpoints))
        self.settle()

    @property
    def address(self) -> Address:
        """Whose engine it is."""
        return self.key.address

    # --- Turns ----------------------------------------------------------------------------------

    def begin(self, later_s: float = 0.0) -> None:
        """Begin a turn, ``later_s`` seconds after the last one."""
        self.now += later_s
        self.engine.begin(self.now, self.utc_ms)

    @property
    def utc_ms(self) -> int:
        """The wall clock; it was `START_MS` when the test began."""
        return START_MS + round((self.now - 100.0) * 1000)

    def turn(self, *events: LinkEvent, later_s: float = 0.0) -> EngineOutput:
        """Do a turn of the node's loop, and return what it asks for."""
        self.begin(later_s)
        for event in events:
            self.engine.take(event)
        return self._work()

    def _work(self) -> EngineOutput:
        self.engine.tick()
        handed = self.engine.deliveries(self.limits.turn_max_messages)
        self.pending += [pending for pending in handed if pending is not None]
        return self.settle()

    def settle(self) -> EngineOutput:
        """End the turn: commit, and dial what is to be dialed, under way from then on."""
        output = self.engine.settle()
        self.engine.check()
        remember(self.memory, output.writes)
        for dial in output.dials:
            self._links += 1
            self.engine.dialing(dial.peer, LinkId(self._links))
        for name in ("writes", "frames", "dials", "closes", "deposits", "events", "watches"):
            getattr(self.done, name).extend(getattr(output, name))
        return output

    def restarted(self, **changes: object) -> "Sut":
        """Return the engine of the next run on the same store, later."""
        memory = replace(self.memory, incarnation=self.memory.incarnation + 1)
        changed = {"memory": memory, "now": self.now + 1.0, **changes}
        return replace(self, **changed)  # type: ignore[arg-type]  # Fields of this class.

    def until(self, at: float) -> EngineOutput:
        """Take a turn at each deadline up to ``at``, and one then; return all they ask for."""
        together = EngineOutput()
        while (deadline := self.engine.deadline()) is not None and deadline <= at:
            self._extend(together, self.turn(later_s=max(deadline - self.now, 0.0)))
        self._extend(together, self.turn(later_s=at - self.now))
        return together

    @staticmethod
    def _extend(together: EngineOutput, output: EngineOutput) -> None:
        for name in ("writes", "frames", "dials", "closes", "deposits", "events", "processed"):
            getattr(together, name).extend(getattr(output, name))

    # --- Links ----------------------------------------------------------------------------------

    def up(self, link: int, curve_key: CurveKey | None, *, dialed: bool = False) -> EngineOutput:
        """Let a link come up."""
        return self.turn(LinkUp(LinkId(link), curve_key, f"link {link}", dialed))

    def hear(self, link: int, *frames: Frame, later_s: float = 0.0) -> EngineOutput:
        """Take in frames over ``link``, in one turn; digests left open agree (see `honest`)."""
        self.begin(later_s)
        for frame in frames:
            self.take(link, frame)
        return self._work()

    def take(self, link: int, frame: Frame) -> None:
        """Take in one frame in the turn that has begun."""
        said = self._honest(LinkId(link), frame)
        self.engine.take(Received(LinkId(link), encode_frame(said)))

    def _honest(self, link: LinkId, frame: Frame) -> Frame:
        """Return ``frame`` as a peer says it that agrees with this engine's session."""
        connections = self.engine._connections  # noqa: SLF001  # The other side of it.
        if isinstance(frame, Hello):
            speakers = (
                key.address for key in (LOW, MIDDLE, HIGH) if frame.record.find(key.address) >= 0
            )
            return honest_hello(frame, connections.book.sessions.get(next(speakers, Address(b""))))
        found = connections.links.get(link)
        if found is None or found.peer is None or isinstance(frame, Bye | Who | Ignored):
            return frame
        return honest(frame, connections.book.sessions[found.peer])

    def down(self, link: int, reason: DownReason = DownReason.LOST) -> EngineOutput:
        """Let a link end."""
        return self.turn(LinkDown(LinkId(link), reason, "the wire broke"))

    def meet(
        self, link: int, key: SecretKey, hello: Hello | None = None, *, kept: bool = True
    ) -> EngineOutput:
        """Let ``key``'s owner come in over a new link and say HELLO.

        ``kept``: the store knows of it from then on, as if a message had been exchanged.
        """
        self.up(link, curve_of(key))
        self.begin()
        self.take(link, hello or hello_of(key))
        connections = self.engine._connections  # noqa: SLF001  # Instead of a message.
        session = connections.book.sessions.get(key.address)
        if kept and session is not None:
            session.keep()
            connections.unsettled[key.address] = session
        return self._work()

    def dial(self, key: SecretKey, record: PeerRecord | None = None) -> int:
        """Know ``key``'s owner, dial it, and let the link come up; return the link."""
        self.begin()
        self.engine.add_contact(record or record_of(key))
        output = self.turn()
        assert [dial.peer for dial in output.dials] == [key.address]
        link = self._links
        self.up(link, curve_of(key), dialed=True)
        return link

    @property
    def last_link(self) -> int:
        """The link that was dialed last."""
        return self._links

    def statuses(self) -> dict[Address, str]:
        """Return "connected", or why not, by peer."""
        return {
            status.address: "connected" if status.connected else status.why_not
            for status in self.engine.peer_statuses()
        }


def frames_on(output: EngineOutput, link: int) -> list[Frame]:
    """Return the frames of ``output`` that leave over ``link``."""
    return [frame for one, frame in output.frames if one == link]


def note(text: str, deadline_ms: int | None = None) -> bytes:
    """Return the body of a `Note`."""
    return encode_message(Note(text), deadline_ms)


@dataclass(frozen=True)
class Holding:
    """What a channel holds of an asset, as a chain reports it."""

    channel: ChannelId
    asset: Address
    held: int


# --- Two engines --------------------------------------------------------------------------------


class Duo:
    """Two engines, the links between them and a chain.

    Links keep their order and lose nothing until they are cut. The chain takes a deposit if it
    holds what the deposit expects, and tells everyone in the next turn.
    """

    def __init__(self, one: Sut, two: Sut) -> None:
        """Join ``one`` and ``two``, which must number their links apart; nothing is dialed yet."""
        self.suts = [one, two]
        self.chain: dict[tuple[ChannelId, Address], int] = {}
        self.before_turn: Callable[[Duo], None] = lambda _world: None
        self.handle: Callable[[Sut, Pending], None] = lambda sut, pending: sut.engine.complete(
            pending
        )
        self._log: list[Holding] = []
        self._events: list[list[LinkEvent]] = [[], []]
        self._watched: list[list[Watch]] = [[], []]
        self._failed: list[list[Deposit]] = [[], []]

    def restart(self, index: int) -> None:
        """Crash a side between two turns and start it again; its links end, what left is lost."""
        other = self.suts[1 - index]
        links = list(other.engine._connections.links)  # noqa: SLF001  # Which ones there are.
        links += [event.link for event in self._events[1 - index] if isinstance(event, LinkUp)]
        self._events[1 - index] = [LinkDown(link, DownReason.LOST, "cut") for link in links]
        self._events[index], self._watched[index], self._failed[index] = [], [], []
        self.suts[index] = self.suts[index].restarted()
        other.begin(self.suts[index].now - other.now)

    def take_turns(self, count: int) -> None:
        """Let the two take ``count`` turns each."""
        for _ in range(count):
            self.before_turn(self)
            for index in (0, 1):
                self._turn(index)

    def run(self, seconds: float = 0.0, turns_max: int = 5_000) -> None:
        """Take turns until nothing is under way and ``seconds`` have passed."""
        end = self.suts[0].now + seconds
        for _ in range(turns_max):
            self.take_turns(1)
            if any(self._events) or any(self._watched) or any(self._failed):
                continue
            deadlines = [sut.engine.deadline() for sut in self.suts]
            at = min((deadline for deadline in deadlines if deadline is not None), default=end + 1)
            if at > end:
                return
            for sut in self.suts:
                sut.begin(max(at - sut.now, 0.0))
        raise AssertionError("the two do not come to rest")

    def _turn(self, index: int) -> None:
        sut = self.suts[index]
        self._hear_chain(index)
        events, self._events[index] = self._events[index], []
        outputs = [sut.turn(*events)]
        for pending in sut.pending:
            self.handle(sut, pending)
        sut.pending.clear()
        outputs.append(sut.settle())
        for output in outputs:
            self._carry_out(index, output)

    def _hear_chain(self, index: int) -> None:
        engine = self.suts[index].engine
        block = self.suts[index].memory.chain_cursor
        if block < len(self._log):
            engine.deposited(self._log[block:], len(self._log))
        for watch in self._watched[index]:
            for asset in watch.assets:
                held = self.chain.get((watch.channel, asset), 0)
                engine.channels.holdings(watch.channel, asset, held)
        for deposit in self._failed[index]:
            engine.transaction_failed(deposit)
        self._watched[index], self._failed[index] = [], []

    def _carry_out(self, index: int, output: EngineOutput) -> None:
        sut, other = self.suts[index], self.suts[1 - index]
        for dial in output.dials:
            assert dial.peer == other.address
            link = LinkId(sut.last_link)
            self._events[index].append(LinkUp(link, curve_of(other.key), "there", dialed=True))
            self._events[1 - index].append(LinkUp(link, curve_of(sut.key), "here", dialed=False))
        for link, frame in output.frames:
            self._events[1 - index].append(Received(link, encode_frame(frame)))
        for link in output.closes:
            self._events[1 - index].append(LinkDown(link, DownReason.LOST, "closed"))
        self._watched[index] += output.watches
        for deposit in output.deposits:
            self._deposit(index, deposit)

    def _deposit(self, index: int, deposit: Deposit) -> None:
        key = (deposit.channel, deposit.asset)
        held = self.chain.get(key, 0)
        if held != deposit.expected_held:
            self._failed[index].append(deposit)
            return
        self.chain[key] = held + deposit.amount
        self._log.append(Holding(*key, self.chain[key]))
