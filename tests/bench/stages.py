# ruff: noqa: T201  # A program: it prints for people.
"""What a message costs where: ``python -m tests.bench.stages [WORKLOAD…] [--store STORE]``.

Two processes, as ``zmqp2p bench`` starts them, with a clock around each stage of both nodes.

``pingpong`` is a line of time: what the clock on the wall said, message by message, at each step
from the call of ``send`` to the receipt's end; medians, in microseconds. What no step names is the
way between two processes: libzmq's threads, CURVE, loopback, and the kernel that wakes a thread.

The others are tables of cost: CPU time of each stage, of all messages, by message, in microseconds;
what a stage calls that is a stage itself counts there only. ``clocks`` is what the clocks
themselves took, which is in no stage; ``libzmq`` its own threads, CURVE among it; ``helpers``
examine signatures beside the node's thread. Without the clocks it is faster: for rates see
``zmqp2p bench``. What the sender does beside, as to sign what it will send, is not named.

``idle`` is the cost of liveness: a node with 1,000 peers that say nothing, by PING and PONG.

Linux only: it reads the CPU time of threads from /proc. Put the machine, the commit and the output
together when citing a figure.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial, wraps
from importlib import import_module
from pathlib import Path
from statistics import median
from time import perf_counter, thread_time_ns
from typing import Any

from zmqp2p.cli.bench import worker
from zmqp2p.cli.bench.runner import START_MAX_S, WORKER_COMMAND, Worker, measure
from zmqp2p.cli.bench.script import Load, Payload, Plan, Side
from zmqp2p.cli.bench.workloads import Settings

NAMES = ("pingpong", "sustained", "signed", "bulk", "idle")
SIDES: tuple[Side, ...] = ("send", "receive")

_ENCODE = "encode frames"
# Where a stage is: the module, and what in it is called. What imported a function calls its own.
STAGES = {
    "take a message from the application": ("zmqp2p.service:P2PService.send_message",),
    "number it, chain its digest": ("zmqp2p.node.desk:ReceiptDesk.send",),
    "read from libzmq": ("zmqp2p.transport.zeromq:ZmqTransport.wait",),
    "decode frames": ("zmqp2p.engine.intake:decode_frame",),
    "connections and sessions": ("zmqp2p.engine.engine:Engine.take",),
    "order, digests, window": ("zmqp2p.session.inbox:Inbox.accept",),
    "forget what was acked": ("zmqp2p.session.outbox:Outbox.acknowledge",),
    "decode messages": (
        "zmqp2p.engine.engine:read_body",
        "zmqp2p.engine.engine:message_of",
        "zmqp2p.engine.foresight:read_body",
        "zmqp2p.engine.foresight:message_of",
    ),
    "look at links, what time demands": (
        "zmqp2p.engine.engine:Engine.begin",
        "zmqp2p.engine.engine:Engine.tick",
        "zmqp2p.engine.engine:Engine.deadline",
    ),
    "look at connections": ("zmqp2p.transport.listener:Listener._look",),
    "hand out, bookkeeping": ("zmqp2p.node.loop:Loop._deliver",),
    "read ahead for helpers": ("zmqp2p.node.handlers:Handlers._look_ahead",),
    "the bench's handler": ("zmqp2p.cli.bench.payloads:Tally.take",),
    "who signed, in the handler": ("zmqp2p.node.deliveries:Delivery.signer",),
    "gather frames and writes": ("zmqp2p.engine.engine:Engine.settle",),
    "store": (
        "zmqp2p.store.memory:MemoryStore.apply",
        "zmqp2p.store.memory:MemoryStore.commit",
        "zmqp2p.store.sqlite:SqliteStore.apply",
        "zmqp2p.store.sqlite:SqliteStore.commit",
    ),
    _ENCODE: ("zmqp2p.node.loop:encode_frame",),
    "hand frames to libzmq": ("zmqp2p.transport.zeromq:ZmqTransport.send",),
    "end receipts": ("zmqp2p.node.desk:ReceiptDesk.resolve",),
    "the loop itself": ("zmqp2p.node.loop:Loop.turn",),
}

# Who reaches it, when, and what the time before it was spent on. Each is before the next one on any
# clock that both sides share: a frame leaves when libzmq is given it, not when that call returns.
STEPS = (
    ("send", "called", ""),
    ("send", "turn", "encode, post, wake the node's thread"),
    ("send", "commit", "a turn: number it, make the frame's parts"),
    ("send", "committed", "commit the outbox"),
    ("send", "left", "encode the frame"),
    ("receive", "turn", "libzmq, on the way; wake the peer's thread, read"),
    ("receive", "handler", "a turn: decode, order, digest, find the handler"),
    ("receive", "handled", "the bench's handler"),
    ("receive", "committed", "gather, commit the cursor"),
    ("receive", "left", "encode the ack"),
    ("send", "turn", "libzmq, on the way back; wake the node's thread, read"),
    ("send", "resolved", "a turn: decode, forget the message, end the receipt"),
    ("send", "woken", "wake the thread that waits"),
)
MARKS = {  # Where a step is: what is called, and whether its end counts.
    "called": ("zmqp2p.service:P2PService.send_message", False),
    "turn": ("zmqp2p.node.loop:Loop.turn", False),
    "handler": ("zmqp2p.cli.bench.payloads:Tally.take", False),
    "handled": ("zmqp2p.cli.bench.payloads:Tally.take", True),
    "left": ("zmqp2p.transport.zeromq:ZmqTransport.send", False),
    "resolved": ("zmqp2p.node.desk:ReceiptDesk.resolve", True),
    "woken": ("zmqp2p.node.receipts:Receipt.wait", True),
}
_COMMITS = {"commit": False, "committed": True}
STORES = ("zmqp2p.store.memory:MemoryStore.commit", "zmqp2p.store.sqlite:SqliteStore.commit")
_KNOWN_SHARE = 0.9  # Of the messages; of one, another turn may come between.
_CALIBRATION_CALLS = 5_000
_CALIBRATIONS = 20

Mark = tuple[float, str]


# --- In a worker --------------------------------------------------------------------------------


@dataclass
class Used:
    """What one process had used when it was asked, nanoseconds of CPU but for the times."""

    at: float
    stages: dict[str, int]
    calls: dict[str, int]  # Of stages; each costs `Clocks.call_ns` that is in none.
    threads: dict[str, int]  # By name, of the kernel.


class Clocks:
    """CPU time by stage. A stage does not include the stages that it calls."""

    def __init__(self) -> None:
        self._local = threading.local()
        # Of each thread that has used any: how much, and in how many calls.
        self._used: list[dict[str, list[int]]] = []
        self.call_ns = 0  # What it takes beside that, which is in no stage.

    def around(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``function`` with a clock around it."""
        local = self._local

        @wraps(function)
        def timed(*args: Any, **named: Any) -> Any:
            try:
                used, inner = local.used, local.inner
            except AttributeError:
                used, inner = defaultdict(lambda: [0, 0]), [0]
                local.used, local.inner = used, inner
                self._used.append(used)
            inner.append(0)
            began = thread_time_ns()
            try:
                return function(*args, **named)
            finally:
                took = thread_time_ns() - began
                used[stage][0] += took - inner.pop()
                used[stage][1] += 1
                inner[-1] += took + self.call_ns

        return timed

    def calibrate(self) -> None:
        """Find out what a clock takes beside what it measures."""
        costs = []
        for _ in range(_CALIBRATIONS):
            apart = Clocks()
            nothing = apart.around("inner", lambda: None)
            apart.around("outer", partial(_call, nothing, _CALIBRATION_CALLS))()
            costs.append(apart._used[0]["outer"][0] // _CALIBRATION_CALLS)
        self.call_ns = min(costs)  # What else the machine does can only add to it.

    def snapshot(self) -> Used:
        """Return what was used so far."""
        stages: dict[str, int] = defaultdict(int)
        calls: dict[str, int] = defaultdict(int)
        for used in self._used:
            for stage, (spent, times) in list(used.items()):
                stages[stage] += spent
                calls[stage] += times
        return Used(perf_counter(), dict(stages), dict(calls), _threads_ns())


def _call(function: Callable[[], object], times: int) -> None:
    for _ in range(times):
        function()


def _threads_ns() -> dict[str, int]:
    """Return the CPU time of this process's threads, those of one name together."""
    found: dict[str, int] = defaultdict(int)
    named = {str(thread.native_id): thread.name for thread in threading.enumerate()}
    for task in Path("/proc/self/task").iterdir():
        name = named.get(task.name) or (task / "comm").read_text().strip()
        found[_group_of(name)] += int((task / "schedstat").read_text().split()[0])
    return dict(found)


def _group_of(thread: str) -> str:
    if thread.startswith("ZMQ"):
        return "libzmq"
    return "helpers" if "helper" in thread else "python"


@dataclass
class Recorder:
    """Takes the clocks' word each time that the parent asks what was used."""

    clocks: Clocks = field(default_factory=Clocks)
    marks: list[Mark] = field(default_factory=list)
    snapshots: list[Used] = field(default_factory=list)

    def install(self, *, line: bool) -> None:
        """Put clocks around all stages, or marks at all steps of a line of time."""
        if line:
            for name, (place, at_end) in MARKS.items():
                self._mark(place, {name: at_end})
            for place in STORES:
                self._mark(place, _COMMITS)
        else:
            self.clocks.calibrate()
            for stage, places in STAGES.items():
                for place in places:
                    _replace(place, partial(self.clocks.around, stage))
        used_by = worker.used_by

        def noted(role: worker.Role) -> Any:
            self.snapshots.append(self.clocks.snapshot())
            return used_by(role)

        worker.used_by = noted

    def _mark(self, place: str, names: dict[str, bool]) -> None:
        before = [name for name, at_end in names.items() if not at_end]
        after = [name for name, at_end in names.items() if at_end]
        marks = self.marks

        def marked(function: Callable[..., Any]) -> Callable[..., Any]:
            @wraps(function)
            def call(*args: Any, **named: Any) -> Any:
                marks.extend((perf_counter(), name) for name in before)
                result = function(*args, **named)
                marks.extend((perf_counter(), name) for name in after)
                return result

            return call

        _replace(place, marked)

    def write(self, path: Path) -> None:
        """Write everything as JSON."""
        snapshots = [vars(each) for each in self.snapshots]
        said = {"marks": self.marks, "used": snapshots, "call_ns": self.clocks.call_ns}
        path.write_text(json.dumps(said), encoding="ascii")


def find(place: str) -> tuple[Any, str, Any]:
    """Return what is at ``place``: who holds it, its name there, and itself."""
    module, _, path = place.partition(":")
    owner: Any = import_module(module)
    *holders, name = path.split(".")
    for holder in holders:
        owner = getattr(owner, holder)
    return owner, name, getattr(owner, name)


def _replace(place: str, change: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    owner, name, found = find(place)
    if isinstance(found, property):
        assert found.fget is not None
        setattr(owner, name, property(change(found.fget)))
    else:
        setattr(owner, name, change(found))


def _work(kind: str, folder: str, plan: str) -> None:
    recorder = Recorder()
    recorder.install(line=kind == "line")
    parsed = Plan.parse(plan)
    try:
        worker.work(parsed)
    finally:
        recorder.write(Path(folder) / f"{parsed.side}.json")


# --- In the parent ------------------------------------------------------------------------------


def _measure(workload: str, kind: str, settings: Settings) -> dict[Side, dict[str, Any]]:
    """Run ``workload`` once, with clocks, and return what both sides have written."""
    with tempfile.TemporaryDirectory(prefix="zmqp2p-stages-") as folder:
        command = (sys.executable, "-m", "tests.bench.stages", "--worker", kind, folder)
        measure(workload, settings, Path(folder), lambda _text: None, command)
        return {
            side: json.loads((Path(folder) / f"{side}.json").read_text(encoding="ascii"))
            for side in SIDES
        }


def _trial(side: Side, said: dict[str, Any]) -> tuple[Used, Used]:
    """Return what was used before the trial, and after it: the receiver is asked once more."""
    used = [Used(**each) for each in said["used"]]
    before, after = used[-2:] if side == "send" else used[-3:-1]
    return before, after


def lines_of(sent: Sequence[Mark], received: Sequence[Mark]) -> list[list[float]]:
    """Return the times of all `STEPS`, for each message of which all are known.

    Read backwards from the end: the last turn before the ack was sent is the one that sent it.
    """
    marks = {"send": sorted(sent), "receive": sorted(received)}
    known: dict[tuple[str, str], list[float]] = defaultdict(list)
    for side, each in marks.items():
        for at, name in each:
            known[side, name].append(at)
    found = []
    for called, woken in zip(known["send", "called"], known["send", "woken"], strict=False):
        line = [woken]
        for side, name, _ in reversed(STEPS[1:-1]):
            times = known[side, name]
            index = bisect_right(times, line[-1]) - 1
            if index < 0 or times[index] < called:
                break
            line.append(times[index])
        else:
            found.append([called, *reversed(line)])
    return found


def _print_line(settings: Settings) -> None:
    said = _measure("pingpong", "line", settings)
    marks = {}
    for side in SIDES:
        before, after = _trial(side, said[side])
        marks[side] = [(at, name) for at, name in said[side]["marks"] if before.at < at < after.at]
    lines = lines_of(marks["send"], marks["receive"])
    messages = settings.load("pingpong").messages
    if len(lines) < _KNOWN_SHARE * messages:
        sys.exit(f"all steps are known of {len(lines)} messages only, of {messages}")
    whole = sorted(1e6 * (line[-1] - line[0]) for line in lines)
    print(f"\npingpong, {settings.store}: {len(lines)} messages; of one, in us")
    for index, (where, _, what) in enumerate(STEPS[1:], 1):
        spent = median(1e6 * (line[index] - line[index - 1]) for line in lines)
        print(f"  {where:<8} {what:<52} {spent:7.0f}")
    print(f"  {'':<8} {'all of it, median':<52} {median(whole):7.0f}")
    print(f"  {'':<8} {'all of it, P95':<52} {whole[int(0.95 * len(whole))]:7.0f}")


def _print_costs(name: str, settings: Settings) -> None:
    workload = "sustained" if name == "signed" else name
    messages = settings.load(workload).messages
    said = _measure(workload, "costs", settings)
    columns = {side: _costs_of(side, said[side], messages) for side in SIDES}
    print(f"\n{name}, {settings.store}: CPU of {messages} messages, by message, in us")
    print(f"  {'':<40} {'sender':>8} {'receiver':>9}")
    for row in (*STAGES, *_REST):
        sender, receiver = (columns[side].get(row, 0.0) for side in SIDES)
        if sender >= _SHOWN_US or receiver >= _SHOWN_US:
            print(f"  {row:<40} {sender:8.2f} {receiver:9.2f}")


_REST = ("not named here", "clocks", "helpers", "libzmq", "all of it")
_SHOWN_US = 0.01
_IDLE_PEERS, _IDLE_DIALS = 1_000, 256
_IDLE_SETTLE_S, _IDLE_S = 3.0, 10.0


def _costs_of(side: Side, said: dict[str, Any], messages: int) -> dict[str, float]:
    before, after = _trial(side, said)
    scale = 1e-3 / messages
    rows = {
        stage: scale * (spent - before.stages.get(stage, 0))
        for stage, spent in after.stages.items()
    }
    threads = {
        name: scale * (spent - before.threads.get(name, 0)) for name, spent in after.threads.items()
    }
    calls = sum(after.calls.values()) - sum(before.calls.values())
    rows["clocks"] = scale * said["call_ns"] * calls
    rows["not named here"] = threads["python"] - sum(rows.values())
    return rows | {
        "helpers": threads.get("helpers", 0.0),
        "libzmq": threads["libzmq"],
        "all of it": sum(threads.values()),
    }


def _print_idle(settings: Settings) -> None:
    """Print what a node with many silent peers does, by exchange of PING and PONG."""
    with tempfile.TemporaryDirectory(prefix="zmqp2p-stages-") as folder, ExitStack() as stack:
        command = (sys.executable, "-m", "tests.bench.stages", "--worker", "costs", folder)
        store = str(Path(folder) / "node.db") if settings.store == "sqlite" else None
        receive = Plan("zmqp2p", "receive", peers=_IDLE_PEERS, store=store)
        node = Worker("receive", receive, Path(folder), command)
        stack.callback(node.child.end)
        contact = str(node.answer(START_MAX_S)["ready"])
        plan = Plan("zmqp2p", "swarm", contact=contact, peers=_IDLE_PEERS)
        swarm = Worker("swarm", plan, Path(folder), WORKER_COMMAND)
        stack.callback(swarm.child.end)
        swarm.answer(START_MAX_S)
        swarm.run(Load(messages=1, window=_IDLE_DIALS))
        time.sleep(_IDLE_SETTLE_S)
        node.usage()
        time.sleep(_IDLE_S)
        node.usage()
        node.usage()  # As the runner asks a receiver once more.
        swarm.end()
        node.end()
        said = json.loads((Path(folder) / "receive.json").read_text(encoding="ascii"))
    before, after = _trial("receive", said)
    seconds = after.at - before.at
    pings = after.calls[_ENCODE] - before.calls[_ENCODE]
    costs = _costs_of("receive", said, pings)
    per_s = pings / seconds
    print(f"\nidle, {_IDLE_PEERS} peers, {settings.store}: {per_s:.0f} PINGs a second; CPU of each")
    print(f"  {'':<40} {'us':>8} {'of a core':>10}")
    for row in (*STAGES, *_REST):
        if costs.get(row, 0.0) >= _SHOWN_US:
            print(f"  {row:<40} {costs[row]:8.2f} {costs[row] * per_s / 1e6:10.2%}")


def main() -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.stages")
    parser.add_argument("names", nargs="*", metavar="WORKLOAD", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--store", choices=("memory", "sqlite"), default="memory")
    options = parser.parse_args()
    if not set(options.names) <= set(NAMES):
        parser.error(f"workloads are {', '.join(NAMES)}")
    for name in options.names or NAMES:
        payload: Payload = "signed" if name == "signed" else "opaque"
        settings = Settings(store=options.store, trials=1, floor=False, payload=payload)
        if name == "pingpong":
            _print_line(settings)
        elif name == "idle":
            _print_idle(settings)
        else:
            _print_costs(name, settings)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        _work(*sys.argv[2:])
    else:
        main()
