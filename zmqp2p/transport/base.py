"""The Transport protocol: links to peers, each an ordered pipe that may end at any time.

A transport promises order within one link and nothing else: what was sent last may be lost when
the link ends, and it says so with one `LinkDown`. It never reconnects by itself; whoever owns it
dials again, which always makes a fresh connection with nothing stale in it.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from zmqp2p.ids import CurveKey, LinkId
from zmqp2p.transport.options import CurvePair
from zmqp2p.wire.link import LinkEvent


class Transport(Protocol):
    """One node's links. Every method but `wake` belongs to the thread that calls `wait`."""

    def listen(self, endpoint: str) -> str:
        """Accept links at ``endpoint`` and return it with the real port in place of 0.

        Raises:
            EndpointError: malformed, in use, or not permitted.
        """
        ...

    def rekey(
        self, curve: CurvePair, endpoints: Sequence[str], keep: Callable[[], None]
    ) -> list[str]:
        """Have another CURVE key for dials from now on, and soon for ``endpoints``.

        It is listened for at once where this node does not listen yet. Where it does, it goes on
        with the former key until `end_former`: one place listens with one key, and libzmq ends
        what a place has let in when it stops listening there. One former key is kept: what is left
        of an earlier one ends. ``keep`` is called once the new places are open, before anything
        changes; if it raises, nothing has changed. Returns the endpoints as `listen` does.

        Raises:
            EndpointError: one is malformed, in use, or not permitted. Nothing has changed.
        """
        ...

    def end_former(self) -> None:
        """Stop listening with the former key, end what it let in, and give its places to the new.

        Raises:
            EndpointError: another program was faster: nobody listens for this node there.
        """
        ...

    def dial(self, endpoint: str, curve_key: CurveKey) -> LinkId:
        """Start one attempt to connect; ends in `LinkUp`, or in `LinkDown` with the reason.

        Raises:
            EndpointError: malformed. Nothing was started.
        """
        ...

    def send(self, link: LinkId, frames: Sequence[bytes]) -> bool:
        """Queue one ZMTP message; never blocks. False if it could not be queued.

        After False the link is unusable: a `LinkDown` for it follows from the next `wait`.
        Sending on a link that is already gone returns False and is no error.
        """
        ...

    def trust(self, link: LinkId) -> None:
        """``link`` is a contact's: its connection is never ended to make room for another's.

        Until then it may be, and what comes over it may be told after what contacts say. Unknown
        links, and those that this node dialed, are no error.
        """
        ...

    def close_link(self, link: LinkId) -> None:
        """Close and forget ``link`` at once; no event follows. Unknown links are no error.

        What was sent just before (a BYE) is given a moment to leave.
        """
        ...

    def wait(self, timeout_s: float | None) -> list[LinkEvent]:
        """Return what has happened, oldest first on each link, waiting up to ``timeout_s`` seconds.

        ``None`` waits without end; 0 does not wait. Returns early, possibly empty, after `wake`.
        At most a bounded number of messages per link is returned, so that no peer starves another;
        the rest come with the next call, which then does not wait.
        """
        ...

    def wake(self) -> None:
        """Make the current or next `wait` return. The only method for other threads."""
        ...

    def close(self) -> None:
        """Close every link, listener, socket, descriptor and thread. Idempotent."""
        ...
