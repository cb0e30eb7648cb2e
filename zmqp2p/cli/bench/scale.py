"""``zmqp2p bench-peers``: one node with many connected peers that say nothing but PONG."""

import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from zmqp2p.cli.bench.runner import START_MAX_S, WORKER_COMMAND, Progress, Worker
from zmqp2p.cli.bench.script import BenchFailed, Load, Plan
from zmqp2p.records import PeerRecord

_DIALS = 256  # At a time: all at once would fill the backlog, and measure the kernel's retries.
_BATCH_MESSAGES = 10  # From each peer, when all send.
_ROUNDS = 3
_PACED_PART = 20  # One of so many messages of the one that sends is paced.
_WARM_UP = Load(messages=2_000, window=100)
_PEER_START_S = 0.01  # To make a peer's keys, at most.
_KIB = 1024


@dataclass(frozen=True, slots=True)
class Activity:
    """What one real peer that sends finds: as fast as it can, and at 500 messages a second."""

    rate: float
    cpu_us: float  # Of the node, for each message, above what it uses when it is idle.
    paced_p50_ms: float
    paced_p95_ms: float


@dataclass(frozen=True, slots=True)
class Scale:
    """What many connected peers cost a node."""

    peers: int
    accepted_s: float  # From the first dial until the node has answered every HELLO;
    accept_p95_ms: float  # of one peer. `_DIALS` dial at a time.
    kib_each: float  # Resident memory of the node for each peer, all connected and measured.
    idle_cpu: float  # Share of a core that the node uses when there is nothing but liveness.
    all_rate: float  # Messages a second of all peers together,
    all_p50_ms: float  # and when half of them, and the last one, had their batch acked.
    all_max_ms: float
    restarted_s: float  # From a restarted node's listening until it has answered every HELLO;
    restarted_p50_ms: float  # and half of them.
    alone: Activity  # Of a real peer before the others come,
    among: Activity  # and among them.


@dataclass(frozen=True, slots=True)
class Crowd:
    """What is asked for: how many peers, how long the idle node is watched, and how patiently."""

    peers: int
    idle_s: float = 10.0
    timeout_s: float = 60.0  # For all of them to connect, or to send.
    settle_s: float = 2.0  # After all have come: the node measures each peer's round trip.
    messages: int = 20_000  # Of the one that sends, as fast as it can, each time.

    @property
    def fast(self) -> Load:
        """What it sends as fast as it can, each time."""
        return Load(messages=self.messages, window=1_024)

    @property
    def paced(self) -> Load:
        """What it sends by the clock."""
        return Load(messages=self.messages // _PACED_PART, window=1, rate=500.0)


def measure_peers(
    crowd: Crowd,
    folder: Path,
    progress: Progress,
    command: tuple[str, ...] = WORKER_COMMAND,
) -> Scale:
    """Measure a node with ``crowd``; no process is left when this returns or raises.

    Raises:
        BenchFailed: a message was lost, a peer was refused, or it took too long.
    """
    peers, idle_s, timeout_s = crowd.peers, crowd.idle_s, crowd.timeout_s
    with ExitStack() as stack:

        def start(plan: Plan) -> Worker:
            worker = Worker(plan.side, plan, folder, command)
            stack.callback(worker.child.end)
            return worker

        progress("starting")
        plan = Plan(
            "zmqp2p",
            "receive",
            peers=peers,
            store=str(folder / "node.db"),
            key=str(folder / "node.key"),
        )
        node = start(plan)
        contact = str(node.answer(START_MAX_S)["ready"])
        sender = start(Plan("zmqp2p", "send", contact=contact))
        swarm = start(Plan("zmqp2p", "swarm", contact=contact, peers=peers))
        sender.answer(START_MAX_S)
        swarm.answer(START_MAX_S + _PEER_START_S * peers)
        progress("one peer alone")
        sender.run(_WARM_UP)
        alone = _activity(crowd, sender, node, 0.0)
        before = node.usage()
        progress(f"{peers} peers connect")
        accepted = swarm.run(Load(messages=1, window=_DIALS, timeout_s=timeout_s))
        time.sleep(crowd.settle_s)
        connected = node.usage()
        progress(f"{peers} idle peers")
        time.sleep(idle_s)
        idle_cpu = (node.usage().cpu_s - connected.cpu_s) / idle_s
        progress("one peer among them")
        among = _activity(crowd, sender, node, idle_cpu)
        progress("all peers send")
        batch = Load(messages=_BATCH_MESSAGES, window=peers, timeout_s=timeout_s)
        sent = sorted((swarm.run(batch) for _ in range(_ROUNDS)), key=lambda one: one.elapsed_s)
        all_sent = sent[_ROUNDS // 2]
        _check(node, swarm, crowd)
        sender.end()
        progress("the node is restarted")
        swarm.run(Load(messages=1, window=peers, hang_up=True))
        node.child.end()
        ended = time.monotonic()
        node = start(replace(plan, endpoint=PeerRecord.parse(contact).endpoints[0]))
        node.answer(START_MAX_S)
        outage_s = time.monotonic() - ended
        back = swarm.run(Load(messages=1, window=peers, timeout_s=timeout_s, outage_s=outage_s))
        swarm.run(batch)
        _check_restarted(node, swarm, peers)
        for worker in (swarm, node):
            worker.end()
    return Scale(
        peers=peers,
        accepted_s=accepted.elapsed_s,
        accept_p95_ms=accepted.p95_ms,
        kib_each=(connected.resident_bytes - before.resident_bytes) / _KIB / peers,
        idle_cpu=idle_cpu,
        all_rate=peers * _BATCH_MESSAGES / all_sent.elapsed_s,
        all_p50_ms=all_sent.p50_ms,
        all_max_ms=all_sent.max_ms,
        restarted_s=back.elapsed_s,
        restarted_p50_ms=back.p50_ms,
        alone=alone,
        among=among,
    )


def _activity(crowd: Crowd, sender: Worker, node: Worker, idle_cpu: float) -> Activity:
    since, began = node.usage().cpu_s, time.monotonic()
    outcomes = [sender.run(crowd.fast) for _ in range(_ROUNDS)]
    used_s = node.usage().cpu_s - since - idle_cpu * (time.monotonic() - began)
    rates = sorted(outcome.messages / outcome.elapsed_s for outcome in outcomes)
    paced = sender.run(crowd.paced)
    cpu_us = used_s / (_ROUNDS * crowd.messages) * 1e6
    return Activity(rates[_ROUNDS // 2], cpu_us, paced.p50_ms, paced.p95_ms)


def _check_restarted(node: Worker, swarm: Worker, peers: int) -> None:
    usage, faults = node.usage(), swarm.usage().faults
    expected = _BATCH_MESSAGES * peers
    if usage.received != expected or faults:
        raise BenchFailed(f"restarted: {usage.received} of {expected} received, {faults} faults")


def _check(node: Worker, swarm: Worker, crowd: Crowd) -> None:
    active = _WARM_UP.messages + 2 * (_ROUNDS * crowd.messages + crowd.paced.messages)
    expected = active + _ROUNDS * _BATCH_MESSAGES * crowd.peers
    usage, faults = node.usage(), swarm.usage().faults
    if usage.received != expected or usage.faults or faults:
        raise BenchFailed(
            f"{usage.received} of {expected} received, {usage.faults} faulty; "
            f"{faults} unexpected frames came to the peers"
        )
