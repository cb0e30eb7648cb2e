"""Every socket option of the ZeroMQ transport, in one place, each with its reason.

The functions return tables from option to value, so that a test can read what a socket is given.
Figures and sources are in docs/adr (transport); "libzmq" is 4.3.5, the one inside the pyzmq wheel.
"""

import ctypes
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import NoReturn

import zmq
from zmq.utils import z85

from zmqp2p import limits
from zmqp2p.errors import InvalidValue, ServiceClosed
from zmqp2p.ids import CURVE_KEY_SIZE, CurveKey

ZAP_DOMAIN = b"zmqp2p"
IO_THREADS = 1  # The order of monitor events and messages relies on there being one.
MAX_SOCKETS = 65_535  # libzmq's most, 1 MB. A dialed link takes three: DEALER, monitor, its peer.
NEVER_MS = 3_600_000  # Longer than a socket without a connection lives.

FRAMES_MAX = 2  # A header and at most one batch or body.

Options = Mapping[int, int | bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketLimits:
    """The bounds and times that sockets are given; times in seconds."""

    frame_max_bytes: int = limits.FRAME_MAX_BYTES  # Per frame, encrypted. Below 296 CURVE fails.
    send_queue_messages: int = 20_000  # More than a session's window: full means "does not read".
    # All that libzmq holds of one peer before it is read.
    receive_queue_messages: int = 1_000  # Of one that this node dialed.
    # Of one that dialed it: anybody. 8 batches have 2,048 messages; the rest waits in TCP, and no
    # rate suffers. Of each message libzmq keeps the 8 KiB that it was read with: with 1,000, 200
    # connections that send 3 bytes at a time made it hold 300 MiB. Bodies of 256 KiB make 2 MiB.
    accepted_queue_messages: int = 8
    backlog: int = 1_024  # A restarted node is dialed by all its peers at once.
    # Up to round trips of 2 s. Whoever dials need not wait that long: attempts may overlap.
    connect_timeout_s: float = 4.0  # One round trip, and time for a lost SYN to be sent again.
    handshake_timeout_s: float = 10.0  # Four. A silent connection holds a descriptor until then.
    # For both together, and the backstop where libzmq says nothing.
    dial_timeout_s: float = 15.0
    # From the event that a connection ended until its last messages are readable. libzmq hands them
    # over microseconds after the event; on a machine under load its thread may need a time slice.
    grace_s: float = 0.01
    linger_s: float = 0.1  # How long a goodbye may take to leave a socket that is closed.
    # What a node may set; see `zmqp2p.limits.Limits` for the reasons.
    connections_max: int = limits.DEFAULT_LIMITS.connections_max
    connections_max_per_source: int = limits.DEFAULT_LIMITS.connections_max_per_source
    unproven_max: int = limits.DEFAULT_LIMITS.unproven_max
    unproven_max_per_source: int = limits.DEFAULT_LIMITS.unproven_max_per_source
    unproven_at_once: int = limits.DEFAULT_LIMITS.unproven_at_once
    connects_per_s_per_source: float = limits.DEFAULT_LIMITS.connects_per_s_per_source
    connects_burst_per_source: int = limits.DEFAULT_LIMITS.connects_burst_per_source
    mute_per_s_per_source: float = limits.DEFAULT_LIMITS.mute_per_s_per_source
    mute_burst_per_source: int = limits.DEFAULT_LIMITS.mute_burst_per_source
    first_message_s: float = limits.DEFAULT_LIMITS.first_message_s
    stuck_connections_max: int = limits.DEFAULT_LIMITS.stuck_connections_max
    unread_connections_max: int = limits.DEFAULT_LIMITS.unread_connections_max
    listener_renewal_min_s: float = limits.DEFAULT_LIMITS.listener_renewal_min_s
    # Read of a connection, and not handed over as whole messages: two frames of the largest size,
    # and what libzmq may have in hand. Of frames that are followed by more it bounds no number.
    incomplete_max_bytes: int = 2 * limits.MIB
    stuck_s: float = 1.0  # From a shutdown, which libzmq notices at once, to its being told.


def socket_limits(of: limits.Limits) -> SocketLimits:
    """Return the bounds of sockets with those that ``of`` has too as it says."""
    names = {field.name for field in fields(SocketLimits)}
    both = names & {field.name for field in fields(limits.Limits)}
    said = {name: getattr(of, name) for name in both}
    # The engine refuses any link beyond its own bound: then a contact would find no place either.
    said["connections_max"] = min(of.connections_max, of.links_max)
    return SocketLimits(**said)


@dataclass(frozen=True, slots=True)
class CurvePair:
    """A node's own CURVE keys, 32 raw bytes each. The secret is never shown by ``repr``.

    Raises:
        InvalidValue: a wrong size, or the public key does not belong to the secret one.
    """

    secret: bytes
    public: CurveKey

    def __post_init__(self) -> None:
        for name, key in (("curve_secret", self.secret), ("curve_public", self.public)):
            if type(key) is not bytes or len(key) != CURVE_KEY_SIZE:
                raise InvalidValue(name, f"must be {CURVE_KEY_SIZE} bytes")
        if zmq.curve_public(z85.encode(self.secret)) != z85.encode(self.public):
            raise InvalidValue("curve_public", "does not belong to curve_secret")

    def __repr__(self) -> str:
        return f"CurvePair(public={self.public.hex()})"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse: a pickle would carry the secret to wherever it goes."""
        raise TypeError("a CurvePair is not to be copied or pickled")


def listener_options(bounds: SocketLimits, curve: CurvePair | None, *, ipv6: bool) -> Options:
    """Return what the ROUTER of one listening endpoint is given; ``curve`` None means NULL."""
    options: dict[int, int | bytes] = {
        **_common_options(bounds, ipv6=ipv6),
        zmq.RCVHWM: bounds.accepted_queue_messages,
        # A send to a peer that is gone or does not read must fail, not vanish.
        zmq.ROUTER_MANDATORY: 1,
        # With 1 any admitted peer takes another's return route by announcing its routing id.
        zmq.ROUTER_HANDOVER: 0,
        zmq.BACKLOG: bounds.backlog,
        # Both: CURVE without a domain, or with a domain but no answer to it, admits every key.
        zmq.ZAP_DOMAIN: ZAP_DOMAIN,
        zmq.ZAP_ENFORCE_DOMAIN: 1,
        # A ROUTER cannot close one connection. Only the kernel frees the descriptor of a peer that
        # vanished without a word: after 30 + 3 * 10 s of silence, or 30 s of unacknowledged data.
        zmq.TCP_KEEPALIVE: 1,
        zmq.TCP_KEEPALIVE_IDLE: 30,
        zmq.TCP_KEEPALIVE_INTVL: 10,
        zmq.TCP_KEEPALIVE_CNT: 3,
        zmq.TCP_MAXRT: 30_000,
    }
    if curve is not None:
        options[zmq.CURVE_SERVER] = 1
        options[zmq.CURVE_SECRETKEY] = curve.secret
    return options


def dialer_options(
    bounds: SocketLimits, curve: CurvePair | None, server_key: CurveKey, *, ipv6: bool
) -> Options:
    """Return what the DEALER of one dial is given; ``server_key`` is pinned by CURVE."""
    options: dict[int, int | bytes] = {
        **_common_options(bounds, ipv6=ipv6),
        zmq.RCVHWM: bounds.receive_queue_messages,
        # One socket is one connection: whoever wants another dials again, on a fresh socket that
        # holds nothing stale. Not -1: that makes libzmq drop what it has received and not yet
        # handed over when the connection ends (measured: 801 of 900 messages).
        zmq.RECONNECT_IVL: NEVER_MS,
        zmq.CONNECT_TIMEOUT: to_ms(bounds.connect_timeout_s),
    }
    if curve is not None:
        options[zmq.CURVE_SERVERKEY] = server_key
        options[zmq.CURVE_PUBLICKEY] = curve.public
        options[zmq.CURVE_SECRETKEY] = curve.secret
    return options


def _common_options(bounds: SocketLimits, *, ipv6: bool) -> Options:
    return {
        zmq.LINGER: 0,  # The default, for ever, makes the end of the context hang.
        zmq.SNDHWM: bounds.send_queue_messages,
        # Without it a stranger grows the process by 400 MiB before he is authenticated.
        zmq.MAXMSGSIZE: bounds.frame_max_bytes,
        zmq.HANDSHAKE_IVL: to_ms(bounds.handshake_timeout_s),
        # ZMTP heartbeats can abort the process (libzmq #3937) and cost O(peers ** 2).
        zmq.HEARTBEAT_IVL: 0,
        zmq.IPV6: int(ipv6),  # With 1 an IPv4 wildcard would mean IPv6 too: only where asked for.
    }


def apply(socket: "zmq.Socket[bytes]", options: Options) -> None:
    """Set ``options`` on ``socket``; most of them only count before bind or connect."""
    for option, value in options.items():
        socket.set(option, value)


def descriptor(socket: "zmq.Socket[bytes]") -> int:
    """Return the descriptor to watch for reading; see `zmqp2p.transport.reactor` on how."""
    return int(socket.get(zmq.FD))


def make_context() -> "zmq.Context[zmq.Socket[bytes]]":
    """Return a context of our own: a shared one would share its ZAP handler and its limits."""
    context = zmq.Context(io_threads=IO_THREADS)
    context.set(zmq.MAX_SOCKETS, MAX_SOCKETS)  # Only before the first socket.
    return context


def check_process(made_in: int) -> None:
    """Make sure that sockets are used in the process (by pid) that made them.

    After a fork they seem to work in the child, and what is sent goes nowhere.

    Raises:
        ServiceClosed: this is another process.
    """
    if os.getpid() != made_in:
        raise ServiceClosed("the transport belongs to another process: make one after the fork")


def to_ms(duration_s: float) -> int:
    """Return ``duration_s`` in whole milliseconds, rounded up: 0 would mean "no limit"."""
    return max(1, -int(-duration_s * 1000 // 1))


def seed_routing_ids() -> None:
    """Make the routing ids that libzmq invents unpredictable.

    libzmq takes them from ``rand()``, which it never seeds: the first peer of the first ROUTER has
    the same id in every process, and a peer that announces the next id before its owner connects
    blacks the owner out. To be called once per process, before its first ROUTER. On systems other
    than POSIX the ids stay predictable.
    """
    if os.name == "posix" and _seeded_in.get("pid") != os.getpid():
        ctypes.CDLL(None).srand(ctypes.c_uint(secrets.randbits(32)))
        _seeded_in["pid"] = os.getpid()


_seeded_in: dict[str, int] = {}  # A fork inherits the state of rand(): seed again.
