"""The ZeroMQ transport: a ROUTER per listening endpoint, a fresh DEALER per dial, CURVE with ZAP.

Everything runs without blocking in the thread that calls `ZmqTransport.wait`, over one context of
its own; only libzmq's I/O thread is besides. Handshakes of peers that dial us are admitted during
`wait`, so a node that does not call it lets nobody in.
"""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Literal

import zmq

from zmqp2p.errors import EndpointError, InvalidValue, ServiceClosed
from zmqp2p.ids import CURVE_KEY_SIZE, CurveKey, LinkId
from zmqp2p.transport.arrivals import Arrivals
from zmqp2p.transport.descriptors import descriptors_max
from zmqp2p.transport.dialer import DialedLink
from zmqp2p.transport.endpoints import (
    Endpoint,
    check_ipc_free,
    listen_ports,
    parse_dial,
    parse_listen,
)
from zmqp2p.transport.links import Links, Shared, check_frames
from zmqp2p.transport.listener import AcceptedLink, Listener
from zmqp2p.transport.options import (
    CurvePair,
    SocketLimits,
    check_process,
    make_context,
    seed_routing_ids,
)
from zmqp2p.transport.reactor import Reactor
from zmqp2p.transport.zap import Admit, ZapHandler, admit_everyone
from zmqp2p.wire.link import DownReason, LinkDown, LinkEvent

_CLOGGED = "the listening socket is renewed: connections that never end have clogged it"
_REBIND_AGAIN_S = 0.1  # If it could not be: descriptors are about to be free.
_REBIND_MAX_S = 1.0  # libzmq's thread gives a listening socket up within a millisecond or two.
_PORT_ATTEMPTS = 64  # Where port 0 is asked for. So many random ports in use means thousands are.

Security = Literal["curve", "none"]


class ZmqTransport:
    """Links over ZeroMQ; implements `zmqp2p.transport.base.Transport`.

    A peer's link shows itself with its first message, not before. After `close`, and in a process
    forked from the one that made the transport, methods raise `ServiceClosed`.

    Args:
        curve_secret: this node's CURVE secret key, 32 raw bytes.
        curve_public: the public key that belongs to it.
        security: "none" is ZMTP NULL: no encryption, links without a key. It never talks to a
            node with "curve" and is refused beyond this machine.
        allow_insecure_remote: permit "none" beyond this machine all the same.
        bounds: queue lengths, frame size and times.
        admit: asked for each peer that dials us, with its CURVE key (None without CURVE) and IP
            address ("localhost" over ipc), in the thread of `wait`; must answer at once.

    Raises:
        InvalidValue: keys of a wrong size or that do not belong together, or unknown security.
    """

    def __init__(  # noqa: PLR0913 - all by keyword; each is a separate decision of the operator.
        self,
        *,
        curve_secret: bytes,
        curve_public: CurveKey,
        security: Security = "curve",
        allow_insecure_remote: bool = False,
        bounds: SocketLimits = SocketLimits(),  # noqa: B008 - frozen.
        admit: Admit = admit_everyone,
    ) -> None:
        if security not in ("curve", "none"):
            raise InvalidValue("security", 'must be "curve" or "none"')
        pair = CurvePair(curve_secret, curve_public)
        curve = pair if security == "curve" else None
        self._local_only = curve is None and not allow_insecure_remote
        self._pid = os.getpid()
        self._closed = False
        seed_routing_ids()
        self._context = make_context()
        self._reactor = Reactor()
        self._links = Links()
        self._arrivals = Arrivals(bounds, descriptors_max())
        self._shared = Shared(
            self._context, self._reactor, self._links, bounds, curve, self._arrivals
        )
        self._listeners: list[Listener] = []
        self._former: list[Listener] = []  # Of the key before.
        self._inherited: list[Endpoint] = []  # Where they listen, and this key will.
        # Before anything is bound: without a handler libzmq would have nobody to ask.
        self._admit = admit
        self._zap = ZapHandler(self._context, self._reactor, self._lets_in, curve=curve is not None)

    def listen(self, endpoint: str) -> str:
        """Accept links at ``endpoint`` and return it with the real port in place of 0.

        Raises:
            EndpointError: malformed, in use, not permitted, or beyond this machine without CURVE.
        """
        self._check_usable()
        listener = self._open(endpoint, self._shared)
        self._listeners.append(listener)
        return listener.endpoint.text

    def rekey(
        self, curve: CurvePair, endpoints: Sequence[str], keep: Callable[[], None]
    ) -> list[str]:
        """Have another CURVE key; see `zmqp2p.transport.base.Transport.rekey`."""
        self._check_usable()
        shared = replace(self._shared, curve=None if self._shared.curve is None else curve)
        taken = {each.endpoint.text: each.endpoint for each in self._listeners}
        taken.update({endpoint.text: endpoint for endpoint in self._inherited})
        opened: dict[str, Listener] = {}
        with ExitStack() as undo:
            for endpoint in endpoints:
                if endpoint not in taken:
                    opened[endpoint] = self._open(endpoint, shared)
                    undo.callback(opened[endpoint].close)
            keep()
            undo.pop_all()
        self.end_former()
        self._shared.former = True
        self._links.news.rekeyed()
        self._shared = shared
        self._former, self._listeners = self._listeners, list(opened.values())
        self._inherited = [taken[endpoint] for endpoint in endpoints if endpoint in taken]
        return [
            opened[endpoint].endpoint.text if endpoint in opened else endpoint
            for endpoint in endpoints
        ]

    def end_former(self) -> None:
        """Stop listening with the former key; see `zmqp2p.transport.base.Transport.end_former`."""
        self._check_usable()
        former, self._former = self._former, []
        for listener in former:
            listener.end("its key was replaced")
        inherited, self._inherited = self._inherited, []
        for endpoint in inherited:
            listener = Listener(self._shared, endpoint, (), bind_within_s=_REBIND_MAX_S)
            self._listeners.append(listener)

    def dial(self, endpoint: str, curve_key: CurveKey) -> LinkId:
        """Start one attempt to connect; ends in `LinkUp`, or in `LinkDown` with the reason.

        ``curve_key`` (32 bytes) is pinned: who does not hold its secret is never sent anything.
        Without CURVE it is not looked at.

        Raises:
            EndpointError: malformed, not numeric, or beyond this machine without CURVE.
            InvalidValue: ``curve_key`` has a wrong size. In both cases nothing was started.
        """
        self._check_usable()
        parsed = parse_dial(endpoint)
        self._check_permitted(parsed)
        if type(curve_key) is not bytes or len(curve_key) != CURVE_KEY_SIZE:
            raise InvalidValue("curve_key", f"must be {CURVE_KEY_SIZE} bytes")
        link_id = self._links.new_id()
        try:
            link = DialedLink(link_id, self._shared, parsed, curve_key)
        except zmq.ZMQError as fault:  # No descriptors left, no such interface: another time.
            detail = f"cannot dial: {fault.strerror}"
            self._links.news.tell(LinkDown(link_id, DownReason.UNREACHABLE, detail))
        else:
            self._links.add(link)
        return link_id

    def send(self, link: LinkId, frames: Sequence[bytes]) -> bool:
        """Queue one ZMTP message of one or two frames; never blocks.

        On a dialed link that is not up yet it waits for that. False if it could not be queued.

        Raises:
            InvalidValue: not one or two frames of bytes.
        """
        self._check_usable()
        check_frames(frames)
        held = self._links.get(link)
        if held is None:
            return False
        failure = held.send(frames)
        if failure is None:
            return True
        self._links.drop(held, failure.reason, failure.detail)
        return False

    def trust(self, link: LinkId) -> None:
        """Keep the connection of ``link``; see `zmqp2p.transport.base.Transport.trust`."""
        self._check_usable()
        held = self._links.get(link)
        if isinstance(held, AcceptedLink):
            held.trust()

    def close_link(self, link: LinkId) -> None:
        """Close and forget ``link`` at once; no event follows. Unknown links are no error.

        What was sent last has 0.1 s (``bounds.linger_s``) to leave; then the connection ends, also
        that of a peer that dialed us. What that still says is told to nobody.
        """
        self._check_usable()
        self._links.forget(link)

    def wait(self, timeout_s: float | None) -> list[LinkEvent]:
        """Return what has happened, oldest first on each link, waiting up to ``timeout_s`` seconds.

        At most 256 messages per dialed link, and per listening endpoint, are read at a time, and
        fewer if they are much work, or of many; what was read empty, and fills at once, is read
        once more. What comes over links that were dialed to us waits for contacts' (`trust`).
        """
        self._check_usable()
        until = None if timeout_s is None else time.monotonic() + timeout_s
        ration = self._links.ration
        while True:
            ration.renew(shared=len(self._links) > 1)
            self._reactor.catch_up(lambda: ration.spent)
            self._renew_clogged()
            # What is known already, as of a send that failed, is not held up.
            woken = self._reactor.turn(0.0 if self._links.news else until)
            if woken or self._links.news or (until is not None and time.monotonic() >= until):
                return self._links.news.take(ration.turn_us)

    def wake(self) -> None:
        """Make the current or next `wait` return, from any thread; after `close`, do nothing."""
        self._check_own_process()
        self._reactor.wake()

    def close(self) -> None:
        """Close every link, listener, socket, descriptor and thread. Idempotent.

        What was sent last has 0.1 s (``bounds.linger_s``) to leave.
        """
        self._check_own_process()
        if self._closed:
            return
        self._closed = True
        self._links.close()
        for listener in (*self._listeners, *self._former):
            listener.close()
        self._zap.close()
        self._reactor.close()
        self._context.destroy()

    def _lets_in(self, key: CurveKey | None, address: str) -> bool:
        now = time.monotonic()
        return self._admit(key, address) and self._arrivals.may_greet(key, address, now)

    def _renew_clogged(self) -> None:
        for listener in [each for each in self._listeners if each.clogged]:
            self._listeners.remove(listener)
            listener.end(_CLOGGED)
            self._listen_again(listener.endpoint)

    def _listen_again(self, endpoint: Endpoint) -> None:
        """Listen where a listener was closed a moment ago, soon if not at once."""
        if any(each.endpoint == endpoint for each in self._listeners):
            return  # The key was replaced meanwhile.
        try:
            listener = Listener(self._shared, endpoint, (), bind_within_s=_REBIND_MAX_S)
        except (EndpointError, OSError):
            at = time.monotonic() + _REBIND_AGAIN_S
            self._reactor.call_at(at, lambda: self._listen_again(endpoint))
        else:
            self._listeners.append(listener)

    def _open(self, endpoint: str, shared: Shared) -> Listener:
        parsed = parse_listen(endpoint)
        self._check_permitted(parsed)
        try:
            if parsed.scheme == "ipc":
                check_ipc_free(parsed)
            return Listener(shared, parsed, listen_ports(_PORT_ATTEMPTS))
        except OSError as fault:  # No descriptors left, no permission to look.
            raise EndpointError(f"{endpoint!r}: {fault.strerror}") from fault

    def _check_usable(self) -> None:
        self._check_own_process()
        if self._closed:
            raise ServiceClosed("the transport is closed")

    def _check_own_process(self) -> None:
        check_process(self._pid)

    def _check_permitted(self, endpoint: Endpoint) -> None:
        if self._local_only and not endpoint.local:
            raise EndpointError(f'{endpoint.text!r}: security "none" is for this machine only')
