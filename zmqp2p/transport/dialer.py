"""A link that this node dialed: one DEALER, one connection, one life."""

import selectors
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import assert_never

import zmq

from zmqp2p.ids import CurveKey, LinkId
from zmqp2p.transport.endpoints import Endpoint
from zmqp2p.transport.links import (
    CONGESTED,
    GONE,
    FastSocket,
    Portion,
    SendFailure,
    Shared,
)
from zmqp2p.transport.monitor import DIAL_EVENTS, DialFailure, DialProgress, Monitor, Turn
from zmqp2p.transport.options import apply, descriptor, dialer_options, to_ms
from zmqp2p.transport.probe import NOT_ZMTP, GreetingProbe
from zmqp2p.wire.link import DownReason, LinkUp, Received
from zmqp2p.wire.work import work_us


class DialedLink:
    """A DEALER that connects once.

    Its monitor decides: up, failed and why, lost. Messages that arrived before the connection was
    lost are told before the `LinkDown`.

    Raises:
        zmq.ZMQError: no socket could be made, or libzmq refuses the address. Nothing is left.
    """

    def __init__(
        self, link_id: LinkId, shared: Shared, endpoint: Endpoint, curve_key: CurveKey
    ) -> None:
        self.link_id = link_id
        self._shared = shared
        self._endpoint = endpoint
        self._curve_key = curve_key
        self._progress = DialProgress(curve=shared.curve is not None)
        self._up = self._ended = self._flushed = self._checked = self._closed = False
        self._probe: _ProbeWatch | None = None
        with ExitStack() as undo:
            self._open(undo)
            undo.pop_all()
        shared.reactor.call_at(time.monotonic() + shared.bounds.dial_timeout_s, self._give_up)

    def send(self, frames: Sequence[bytes]) -> SendFailure | None:
        """Queue one message; before the link is up it waits for that."""
        if self._ended or self._probe is not None:
            return GONE
        try:
            self._fast.send_all(frames)
        except zmq.Again:
            return CONGESTED
        self._shared.reactor.mark(self._serve_data)
        return None

    def close(self) -> None:
        """Close the socket; what was sent on a link that is up has a moment to leave."""
        if self._probe is not None:
            self._probe.close()
            self._probe = None
        if self._up and not self._ended:
            self._socket.set(zmq.LINGER, to_ms(self._shared.bounds.linger_s))
        self._release()

    def _open(self, undo: ExitStack) -> None:
        shared, endpoint = self._shared, self._endpoint
        self._socket = shared.context.socket(zmq.DEALER)
        undo.callback(self._socket.close)
        apply(
            self._socket,
            dialer_options(shared.bounds, shared.curve, self._curve_key, ipv6=endpoint.ipv6),
        )
        self._fast = FastSocket(self._socket)
        self._monitor = Monitor(shared.context, shared.reactor, self._socket, DIAL_EVENTS)
        undo.callback(self._monitor.close)
        self._fd = descriptor(self._socket)
        self._socket.connect(endpoint.address)
        self._monitor.watch(self._serve_monitor)
        shared.reactor.watch(self._fd, self._serve_data)

    def _release(self) -> None:
        if not self._closed:
            self._closed = True
            self._monitor.close()
            self._shared.reactor.unwatch(self._fd, self._serve_data)
            self._socket.close()

    def _serve_monitor(self) -> bool:
        for event, value in self._monitor.drain():
            self._advance(self._progress.observe(event, value))
        return False

    def _advance(self, change: Turn | DialFailure | None) -> None:
        if self._closed:  # By the event before this one.
            return
        match change:
            case Turn.UP:
                self._rise()
            case Turn.ENDED:
                self._end()
            case Turn.FLUSHED:
                self._flush()
            case Turn.SUSPECT:
                self._start_probe()
            case DialFailure(reason, detail):
                self._shared.links.drop(self, reason, detail)
            case None:
                pass
            case _:
                assert_never(change)

    def _serve_data(self) -> bool:
        ration = self._shared.links.ration
        if ration.spent:
            return True
        portion = ration.portion()
        return ration.count(portion, left=self._read(portion))

    def _read(self, portion: Portion) -> bool:
        """Read up to ``portion``; return whether there may be more."""
        while not portion.full:
            try:
                first = self._fast.receive_frame()
            except zmq.Again:
                if self._flushed:
                    self._shared.links.drop(self, GONE.reason, GONE.detail)
                return False
            frames = self._fast.rest_of(first)
            fault = self._fault_of(first, frames)
            if fault is not None or frames is None:
                self._shared.links.drop(self, DownReason.NOT_ZP2P, fault or "")
                return False
            work = work_us(frames)
            portion.add(work)
            self._rise()  # The event may come after the first message.
            self._shared.links.news.tell(Received(self.link_id, frames), work)
        return True

    def _fault_of(self, first: zmq.Frame, frames: tuple[bytes, ...] | None) -> str | None:
        if frames is None:
            return "more than two frames"
        if not self._checked:  # Once is enough: it was said in the handshake.
            self._checked = True
            if _socket_type(first) != "ROUTER":
                return "connected to itself, or to what is no listener"
        return None

    def _rise(self) -> None:
        if not self._up:
            self._up = True
            key = None if self._shared.curve is None else self._curve_key
            former = self._shared.former
            up = LinkUp(self.link_id, key, self._endpoint.text, dialed=True, former=former)
            self._shared.links.news.tell(up)

    def _end(self) -> None:
        """Note that the connection is lost; read on until nothing more can come."""
        self._ended = True
        # After a protocol error libzmq sends no second event: do not wait for it for ever.
        self._shared.reactor.call_at(time.monotonic() + self._shared.bounds.grace_s, self._flush)

    def _flush(self) -> None:
        if not self._closed:
            self._flushed = True
            self._shared.reactor.mark(self._serve_data)

    def _start_probe(self) -> None:
        self._release()
        try:
            self._probe = _ProbeWatch(self, self._shared, self._endpoint)
        except OSError:  # No descriptor left, or no route by now.
            self.probed(NOT_ZMTP)

    def probed(self, verdict: DialFailure) -> None:
        """Take the answer of the probe, which ends the dial."""
        self._shared.links.drop(self, verdict.reason, verdict.detail)

    def _give_up(self) -> None:
        """End a dial of which nothing was heard: the backstop of libzmq's own timeouts."""
        if self._probe is not None:
            self.probed(NOT_ZMTP)
        elif not self._closed and not self._up:
            self._advance(self._progress.give_up())


def _socket_type(frame: zmq.Frame) -> str:
    """Return what the peer said to be in the handshake; ZMTP 1.0, a fall-back, tells nothing."""
    try:
        return str(frame.get("Socket-Type"))
    except zmq.ZMQError:
        return ""


class _ProbeWatch:
    """A `GreetingProbe` in the loop, for one dial whose handshake was cut short."""

    def __init__(self, dial: DialedLink, shared: Shared, endpoint: Endpoint) -> None:
        self._dial = dial
        self._reactor = shared.reactor
        self._probe = GreetingProbe(endpoint)
        self._reactor.watch(self._probe.fd, self._serve, selectors.EVENT_WRITE)

    def close(self) -> None:
        """Close the probe's connection."""
        self._reactor.unwatch(self._probe.fd, self._serve)
        self._probe.close()

    def _serve(self) -> bool:
        was_sent = self._probe.sent
        verdict = self._probe.advance()
        if verdict is not None:
            self._dial.probed(verdict)
        elif self._probe.sent and not was_sent:
            self._reactor.unwatch(self._probe.fd, self._serve)
            self._reactor.watch(self._probe.fd, self._serve)
        return False
