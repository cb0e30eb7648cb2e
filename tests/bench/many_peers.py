# ruff: noqa: T201  # A program: it prints for people.
"""What a peer costs an engine when there are many: nothing must grow with how many are idle.

``python -m tests.bench.many_peers [N ...]`` connects N peers to an engine without sockets (1,000,
5,000 and 20,000 by default) and prints, in microseconds of CPU: what it takes to let one in, the
PING and PONG of an idle one, and a message of one that sends, alone in its turn: decoded, handed
out, committed to nothing, and acked. Frames are encoded and decoded; libzmq, the system and the
store are not in it (`zmqp2p bench-peers` has them). It exits 0 only if PING and message cost at the
most peers at most `GROWTH_MAX` times what they cost at the fewest. Put the machine, the commit and
the output together when citing a figure.
"""

import argparse
import gc
import statistics
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from time import process_time, time

from zmqp2p.cli.bench.payloads import Opaque
from zmqp2p.cli.bench.puppet import Puppet
from zmqp2p.engine.engine import Engine
from zmqp2p.engine.me import Me
from zmqp2p.identity import Identity
from zmqp2p.ids import InstanceId, LinkId, StreamDigest
from zmqp2p.limits import Limits
from zmqp2p.persistence import Snapshot
from zmqp2p.records import PeerRecord
from zmqp2p.wire.encoding import decode_frame, encode_frame
from zmqp2p.wire.frames import Ack, Frame, Hello, Ping, Pong
from zmqp2p.wire.link import LinkEvent, LinkUp, Received

PEERS = (1_000, 5_000, 20_000)
GROWTH_MAX = 1.5  # Caches: what is seldom looked at is cold.
ROUNDS = 5
IDLE_S = 2.0  # Of virtual time, for each round.
MESSAGES = 2_000
TURN_EVENTS = 64  # What comes in one turn, of those that come at once.
RECORD_LIFE_MS = 3_600_000


@dataclass
class Stopwatch:
    """CPU seconds of what runs within `running`."""

    used_s: float = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count what the block takes."""
        since = process_time()
        try:
            yield
        finally:
            self.used_s += process_time() - since


@dataclass
class Hub:
    """An engine, its virtual clock, and how much CPU its turns have taken."""

    peers: int
    now: float = 100.0
    watch: Stopwatch = field(default_factory=Stopwatch)

    def __post_init__(self) -> None:
        """Start."""
        key = Identity.generate()
        self._began_ms = int(time() * 1000)  # Puppets issue their records now.
        expires_ms = self._began_ms + RECORD_LIFE_MS
        record = PeerRecord.issue(key, key.curve_public, (), self._began_ms, expires_ms)
        most = 2 * self.peers  # They are guests, who have three quarters.
        limits = Limits(newcomers_burst=self.peers, peers_max=most, links_max=most)
        me = Me(key, 1, InstanceId(b"instance"))
        self.engine = Engine(me, Snapshot(incarnation=1), limits, Random(0), funding=False)
        self.engine.begin(self.now, self._began_ms)
        self.engine.start(record)
        self.engine.subscribe(Opaque, None)
        self.engine.settle()

    def turn(self, events: list[LinkEvent]) -> list[tuple[LinkId, tuple[bytes, ...]]]:
        """Take a turn; return what leaves. As the loop does, but for the store."""
        engine = self.engine
        with self.watch.running():
            engine.begin(self.now, self._began_ms + int((self.now - 100.0) * 1000))
            for event in events:
                engine.take(event)
            engine.tick()
            for pending in engine.deliveries(1_024):
                if pending is not None:
                    engine.complete(pending)
            output = engine.settle()
            frames = [(link, encode_frame(frame)) for link, frame in output.frames]
            engine.deadline()
        return frames

    def connect(self) -> list[Puppet]:
        """Let all come in; return them, by link."""
        peers = [Puppet.make(index) for index in range(self.peers)]
        events: list[LinkEvent] = []
        for first in range(0, self.peers, TURN_EVENTS):
            for index in range(first, min(first + TURN_EVENTS, self.peers)):
                link = LinkId(index)
                events.append(LinkUp(link, peers[index].identity.curve_public, "10.0.0.1", False))
                events.append(Received(link, encode_frame(peers[index].hello())))
            said = [(link, decode_frame(frames)) for link, frames in self.turn(events)]
            events = []
            for link, frame in said:
                if isinstance(frame, Hello):
                    peers[link].theirs = StreamDigest(frame.stream)
                else:
                    events.append(answer(link, frame, peers[link]))
            self.now += 0.01
        return peers


@dataclass(frozen=True)
class Costs:
    """Microseconds of CPU."""

    peers: int
    accept: float
    idle: float  # A PING, and its PONG.
    message: float


def measure(count: int) -> Costs:
    """Return what each of ``count`` peers costs."""
    hub = Hub(count)
    peers = hub.connect()
    accept_s = hub.watch.used_s
    assert hub.engine.peer_statuses()[-1].connected
    be_idle(hub, peers, IDLE_S)  # The first PING of each, and what is not cached yet.
    gc.collect()
    gc.freeze()
    idle = statistics.median(be_idle(hub, peers, IDLE_S) for _ in range(ROUNDS))
    message = statistics.median(send(hub, peers) for _ in range(ROUNDS))
    return Costs(count, accept_s / count * 1e6, idle * 1e6, message * 1e6)


def be_idle(hub: Hub, peers: list[Puppet], for_s: float) -> float:
    """Let time pass, and all PINGs be answered; return the seconds for each of them."""
    hub.watch.used_s, pings, until = 0.0, 0, hub.now + for_s
    events: list[LinkEvent] = []
    while hub.now < until:
        frames = hub.turn(events)
        events = [answer(link, decode_frame(said), peers[link]) for link, said in frames]
        pings += len(events)
        deadline = hub.engine.deadline()
        assert deadline is not None
        hub.now = hub.now + 0.0005 if events else max(deadline, hub.now)
    assert pings >= len(peers) * for_s
    return hub.watch.used_s / pings


def answer(link: LinkId, frame: Frame, peer: Puppet) -> Received:
    """Return the PONG for a PING, which is all that an idle peer may be told."""
    assert isinstance(frame, Ping), frame
    return Received(link, encode_frame(Pong(frame.token, peer.progress())))


def send(hub: Hub, peers: list[Puppet]) -> float:
    """Let one peer send messages, each when the one before is acked; return the seconds of each."""
    hub.turn([])  # No time passes: the PINGs that are due leave here, and no others later.
    hub.watch.used_s, link = 0.0, LinkId(len(peers) // 2)
    for _ in range(MESSAGES):
        data = peers[link].batch(b"x" * 350, 1)
        (frames,) = hub.turn([Received(link, encode_frame(data))])
        frame = decode_frame(frames[1])
        assert isinstance(frame, Ack), frame
        assert peers[link].take_ack(frame.progress.ack)
    return hub.watch.used_s / MESSAGES


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("peers", type=int, nargs="*", default=PEERS)
    costs = []
    for count in sorted(parser.parse_args().peers):
        costs.append(measure(count))
        one = costs[-1]
        print(
            f"{one.peers:6} peers: {one.accept:6.1f} us to let one in, {one.idle:5.1f} us for PING "
            f"and PONG, {one.message:5.1f} us for a message"
        )
    least, most = costs[0], costs[-1]
    flat = max(most.idle / least.idle, most.message / least.message) <= GROWTH_MAX
    return 0 if flat else 1


if __name__ == "__main__":
    sys.exit(main())
