# ruff: noqa: T201  # A program: it prints for people.
"""What is lost when the connection is reset over and over: raw ZeroMQ and zmqp2p, side by side.

``python -m tests.bench.resets [N]`` sends N messages (20,000 by default) of about 100 bytes through
a proxy that lets 1 MB/s through and resets the connection every 200 ms: once from a DEALER to a
ROUTER, as libzmq comes, which reconnects by itself and tells nobody what it lost; once from one
node to another. Both senders are paced alike, over three seconds, and both receivers are given the
same time after the last reset. It exits 0 only if the nodes lost, doubled and reordered nothing.
Put the machine, the commit and the output together when citing a figure.
"""

import argparse
import sys
import threading
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from time import monotonic

import zmq

from tests.real.faults.ports import reserved_ports
from tests.real.faults.proxy import FaultProxy, Flow, Way
from tests.real.parties import Journal, Note, numbers_into, until_connected
from zmqp2p import Identity, P2PService
from zmqp2p.store import MemoryStore

RESET_EVERY_S = 0.2
BYTES_PER_S = 1_000_000
SENDING_S = 3.0
CHUNK = 100  # Messages sent at once; then the pace is kept.
REST_MS = 5_000  # For what is still under way, after the network has healed.
TIMEOUT_S = 60.0
TEXT = "x" * 80


@dataclass(frozen=True)
class Tally:
    """What became of the messages 0 to ``sent - 1``."""

    sent: int
    lost: int
    doubled: int
    reordered: int

    @classmethod
    def of(cls, sent: int, arrived: list[int]) -> "Tally":
        """Count what ``arrived``, in its order."""
        once = set(arrived)
        reordered = sum(one > other for one, other in pairwise(arrived))
        return cls(sent, sent - len(once), len(arrived) - len(once), reordered)


def paced(count: int) -> Iterable[int]:
    """Yield the numbers of messages, each when it is its turn to be sent."""
    began_at, pace = monotonic(), threading.Event()  # Never set.
    for number in range(count):
        if number % CHUNK == 0:
            pace.wait(max(began_at + SENDING_S * number / count - monotonic(), 0.0))
        yield number


def spoil(proxy: FaultProxy) -> None:
    """Begin with the resets."""
    proxy.set(Flow(bytes_per_s=BYTES_PER_S), Way.THERE)
    proxy.reset_every(RESET_EVERY_S)


def raw(count: int) -> tuple[Tally, int]:
    """Send from a DEALER to a ROUTER; return what became of it, and how many resets there were."""
    with ExitStack() as stack:
        context = stack.enter_context(zmq.Context())
        router, dealer = (
            stack.enter_context(context.socket(kind)) for kind in (zmq.ROUTER, zmq.DEALER)
        )
        for one in (router, dealer):
            one.set(zmq.LINGER, 0)
        port = router.bind_to_random_port("tcp://127.0.0.1")
        proxy = stack.enter_context(FaultProxy(f"tcp://127.0.0.1:{port}"))
        dealer.set(zmq.SNDHWM, 0)  # Nothing is to be lost, or to wait, for want of room.
        router.set(zmq.RCVHWM, 0)
        dealer.connect(proxy.endpoint)
        arrived: list[int] = []
        receiver = threading.Thread(target=_receive, args=(router, arrived, count))
        receiver.start()
        spoil(proxy)
        for number in paced(count):
            dealer.send(f"{number} {TEXT}".encode())
        proxy.reset_every(None)
        receiver.join(TIMEOUT_S)
        return Tally.of(count, arrived), proxy.resets


def _receive(router: "zmq.Socket[bytes]", arrived: list[int], count: int) -> None:
    """Note what comes, until all has come or nothing does for a while."""
    while len(arrived) < count and router.poll(REST_MS):
        arrived.append(int(router.recv_multipart()[-1].split()[0]))


def nodes(count: int) -> tuple[Tally, int]:
    """Send from one node to another; return what became of it, and how many resets there were."""
    with ExitStack() as stack:
        (port,) = stack.enter_context(reserved_ports(1))
        endpoint = f"tcp://127.0.0.1:{port}"
        proxy = stack.enter_context(FaultProxy(endpoint))
        bob = stack.enter_context(
            P2PService(
                endpoint,
                identity=Identity.generate(),
                store=MemoryStore(),
                advertise=[proxy.endpoint],
            )
        )
        alice = stack.enter_context(
            P2PService(None, identity=Identity.generate(), store=MemoryStore())
        )
        alice.add_peer(bob.record)
        until_connected(alice, bob.record.address)
        arrived = Journal[int]()
        bob.on_message(numbers_into(arrived), message_type=Note)
        spoil(proxy)
        for number in paced(count):
            last = alice.send_message(bob.record.address, Note(number, TEXT))
        proxy.reset_every(None)
        last.wait(TIMEOUT_S)
        return Tally.of(count, arrived.entries), proxy.resets


def main() -> int:
    """Run the program; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.resets")
    parser.add_argument("count", type=int, nargs="?", default=20_000, metavar="N")
    count = max(parser.parse_args().count, 1)
    tallies = []
    for name, run in (("DEALER to ROUTER", raw), ("zmqp2p", nodes)):
        tally, resets = run(count)
        tallies.append(tally)
        print(
            f"{name}: {tally.sent} sent, {tally.lost} lost, {tally.doubled} doubled,"
            f" {tally.reordered} reordered, {resets} resets",
            flush=True,
        )
    return 0 if tallies[-1] == Tally(count, 0, 0, 0) else 1


if __name__ == "__main__":
    sys.exit(main())
