"""Two hosts on this machine, and the wire between them: network namespaces, root only.

Each host is a namespace with one veth device; the other ends of the two are joined by a thread that
forwards Ethernet frames, and loses, delays and reorders them as its `Weather` says. What
``tc netem`` would do, that is, but seeded, and on kernels that have no netem as well. The TCP above
it is the kernel's own: it retransmits, backs off and times out as on a bad network.
"""

import ctypes
import fcntl
import heapq
import itertools
import os
import select
import shutil
import socket
import struct
import subprocess
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from random import Random
from time import monotonic
from types import TracebackType
from typing import Self

ADDRESSES = ("10.77.0.1", "10.77.0.2")
_NAMES = ("a", "b")
_FRAME_MAX_BYTES = 2_048  # MTU 1500 and its header, with room.
_QUEUE_MAX_FRAMES = 1_000  # As netem's: more under way are lost.
_ETH_P_ALL = 3
_IGNORE_OUTGOING = 23  # PACKET_IGNORE_OUTGOING
_SIOCETHTOOL = 0x8946
# Offloads would hand over frames of 64 KiB, without checksums: ETHTOOL_S{RXCSUM,TXCSUM,SG,TSO,GSO}
_OFFLOADS = (0x15, 0x17, 0x19, 0x1F, 0x24)
IP = shutil.which("ip") or "/sbin/ip"


@dataclass(frozen=True, slots=True)
class Weather:
    """How the wire treats the frames of one direction, or of both alike."""

    loss: float = 0.0  # The share that is lost, at random.
    delay_s: float = 0.0
    jitter_s: float = 0.0  # The delay is at random between so much less and so much more; <= delay.
    reorder: float = 0.0  # The share that is not delayed, and so overtakes.


FAIR = Weather()
DARK = Weather(loss=1.0)


def unavailable() -> str:
    """Return why there can be no hosts here, or nothing."""
    if not shutil.which("ip"):
        return "there is no `ip`"
    if os.geteuid() != 0:
        return "it takes root"
    name = f"zp-probe-{os.getpid()}"
    added = subprocess.run([IP, "netns", "add", name], capture_output=True, check=False)
    if added.returncode != 0:
        return added.stderr.decode().strip()
    subprocess.run([IP, "netns", "del", name], capture_output=True, check=True)
    return ""


@dataclass(slots=True)
class Counts:
    """What became of the frames so far."""

    taken: int = 0
    lost: int = 0
    overtaken: int = 0


class Hosts:
    """Two hosts and a wire, from construction to `close`; names are of this process (pid).

    Raises:
        OSError, subprocess.CalledProcessError: they cannot be made. Nothing is left.
    """

    def __init__(self, seed: int = 0) -> None:
        self._closing = ExitStack()
        self.namespaces = tuple(f"zp{os.getpid()}{name}" for name in _NAMES)
        try:
            self._make()
            self._wire = _Wire([f"zpw{os.getpid()}{name}" for name in _NAMES], Random(seed))
        except BaseException:
            self._closing.close()
            raise
        self._closing.callback(self._wire.close)

    @property
    def counts(self) -> Counts:
        """What the wire has done; it goes on counting."""
        return self._wire.counts

    def prefix(self, host: int) -> tuple[str, ...]:
        """Return what runs a command on host 0 or 1, put before it."""
        return (IP, "netns", "exec", self.namespaces[host])

    def set(self, weather: Weather, *sources: int) -> None:
        """From now on the wire does as ``weather`` says; what is under way arrives as it was.

        To what comes from ``sources`` (host 0 or 1), or from both if none is named.
        """
        for source in sources or (0, 1):
            self._wire.weather[source] = weather

    def link(self, host: int, *, up: bool) -> None:
        """Plug a host's cable in or out: it has no link then, and no way to say so."""
        _run("-n", self.namespaces[host], "link", "set", "eth0", "up" if up else "down")

    def close(self) -> None:
        """Remove everything. Idempotent."""
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _make(self) -> None:
        hosts = zip(self.namespaces, _NAMES, ADDRESSES, strict=True)
        for namespace, name, address in hosts:
            _run("netns", "add", namespace)
            self._closing.callback(_run, "netns", "del", namespace)
            outer, inner = f"zpw{os.getpid()}{name}", f"zpi{os.getpid()}{name}"
            _run("link", "add", outer, "type", "veth", "peer", "name", inner)
            # Before the namespace, whose end removes the pair only some time after.
            self._closing.callback(_run, "link", "del", outer)
            for device in (outer, inner):
                _no_offloads(device)
                _run("link", "set", device, "addrgenmode", "none")  # No IPv6 chatter.
            _run("link", "set", inner, "netns", namespace, "name", "eth0")
            _run("-n", namespace, "addr", "add", f"{address}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                _run("-n", namespace, "link", "set", device, "up")
            _run("link", "set", outer, "up")


class _Wire:
    """Forwards frames between two devices on a thread of its own."""

    def __init__(self, devices: list[str], rng: Random) -> None:
        self.weather = [FAIR, FAIR]  # By which host sends.
        self.counts = Counts()
        self._rng = rng
        self._order = itertools.count()  # Of equal instants, the first goes first.
        self._under_way: list[tuple[float, int, int, bytes]] = []  # Due at, order, to, frame.
        with ExitStack() as undo:
            self._ends = [undo.enter_context(_open(device)) for device in devices]
            self._stop, self._stopped = (undo.enter_context(one) for one in socket.socketpair())
            undo.pop_all()
        self._thread = threading.Thread(target=self._run, name="wire")
        self._thread.start()

    def close(self) -> None:
        self._stop.send(b"!")
        self._thread.join()
        for one in (*self._ends, self._stop, self._stopped):
            one.close()

    def _run(self) -> None:
        while True:
            patience_s = None
            if self._under_way:
                patience_s = max(self._under_way[0][0] - monotonic(), 0.0)
            ready, _, _ = select.select([*self._ends, self._stopped], [], [], patience_s)
            if self._stopped in ready:
                return
            for source, end in enumerate(self._ends):
                if end in ready:
                    self._take(end, 1 - source)
            self._deliver()

    def _take(self, end: socket.socket, to: int) -> None:
        """Take in the frames that wait at one end."""
        for _ in range(64):  # Then the other end's turn.
            try:
                frame = end.recv(_FRAME_MAX_BYTES)
            except OSError:  # Nothing is left; or the device is down just now.
                return
            self.counts.taken += 1
            weather = self.weather[1 - to]
            if self._rng.random() < weather.loss or len(self._under_way) >= _QUEUE_MAX_FRAMES:
                self.counts.lost += 1
                continue
            due_at = monotonic() + self._delay_s(weather)
            self.counts.overtaken += bool(self._under_way) and due_at < max(self._under_way)[0]
            heapq.heappush(self._under_way, (due_at, next(self._order), to, frame))

    def _delay_s(self, weather: Weather) -> float:
        if not weather.delay_s or self._rng.random() < weather.reorder:
            return 0.0
        return weather.delay_s + self._rng.uniform(-weather.jitter_s, weather.jitter_s)

    def _deliver(self) -> None:
        while self._under_way and self._under_way[0][0] <= monotonic():
            _, _, to, frame = heapq.heappop(self._under_way)
            try:
                self._ends[to].send(frame)
            except OSError:  # That end is unplugged, or its queue is full: the frame is lost.
                continue


def _open(device: str) -> socket.socket:
    """Return a socket on which the device's frames come and go."""
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    with ExitStack() as undo:
        undo.enter_context(end)
        end.setsockopt(263, _IGNORE_OUTGOING, 1)  # SOL_PACKET
        end.bind((device, _ETH_P_ALL))
        end.setblocking(False)
        undo.pop_all()
    return end


def _no_offloads(device: str) -> None:
    """Have the device make whole frames with checksums, as a real one does."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for command in _OFFLOADS:
            value = bytearray(struct.pack("II", command, 0))
            address = ctypes.addressof((ctypes.c_char * len(value)).from_buffer(value))
            request = struct.pack("16sQ16x", device.encode(), address)
            fcntl.ioctl(control, _SIOCETHTOOL, request)


def _run(*arguments: str) -> None:
    subprocess.run([IP, *arguments], check=True, capture_output=True)
