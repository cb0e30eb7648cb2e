"""What of a stream may be handed out together, to a handler that ends in a later turn.

If the next message were handed out only when the one before has ended, each would cost a turn. So
it is looked who will take those that follow, as far as that is certain whatever comes before them.
"""

from collections.abc import Iterator
from weakref import WeakKeyDictionary

from zmqp2p.engine.pending import Pending
from zmqp2p.engine.router import MessageRouter
from zmqp2p.errors import DecodeError
from zmqp2p.limits import STRETCH_MAX, STRETCH_MAX_BYTES, Limits
from zmqp2p.messages import message_of, read_body
from zmqp2p.session.inbox import Inbox


class Foresight:
    """Looks at messages before it is their turn, as many as is worth it.

    What follows on a message that fails is looked at in vain: a peer whose every message is refused
    would have 256 decoded for each. So after a failure it is half as many, and twice as many again
    when all went well.

    Invariant: of each stream 1 to `STRETCH_MAX` go together; noted are those with less, as long as
    they live: identities cost nothing, and those that pass must leave nothing.
    """

    def __init__(self, router: MessageRouter, limits: Limits) -> None:
        self._router = router
        self._limits = limits
        self._most: WeakKeyDictionary[Inbox, int] = WeakKeyDictionary()

    def following(self, first: Pending) -> Iterator[tuple[Pending, int]]:
        """Yield what follows on ``first``, and stays in the inbox, for the same handler.

        And how many items each has.
        """
        left_bytes = STRETCH_MAX_BYTES - len(first.body)
        most = self._most.get(first.inbox, STRETCH_MAX)
        for seq, body in first.inbox.following(most - 1):
            if body is None or len(body) > min(left_bytes, self._limits.message_max_bytes):
                return
            left_bytes -= len(body)
            message, items = self._foresee(body, first.subscription)
            if message is None:
                return
            yield first._replace(seq=seq, body=body, message=message, attempt=1), items

    def learn(self, inbox: Inbox, *, well: bool) -> None:
        """What was handed out together has ended: ``well``, or with one that failed."""
        most = self._most.get(inbox, STRETCH_MAX)
        most = min(most * 2, STRETCH_MAX) if well else max(most // 2, 1)
        if most < STRETCH_MAX:
            self._most[inbox] = most
        else:
            self._most.pop(inbox, None)

    def check(self) -> None:
        """Assert the invariant."""
        assert all(1 <= most < STRETCH_MAX for most in self._most.values())

    def _foresee(self, body: bytes, subscription: int) -> tuple[object | None, int]:
        """Return the message in ``body`` and how many items it has.

        None instead of it, if it is not certain that it will go to ``subscription``.
        """
        try:
            value, items = read_body(body)
            envelope = message_of(value)
        except DecodeError:
            return None, 0
        if envelope.deadline_ms is not None:  # Whether it passes is to be seen.
            return None, 0
        foreseen = self._router.foresee(envelope.message)
        return (envelope.message if foreseen == subscription else None), items
