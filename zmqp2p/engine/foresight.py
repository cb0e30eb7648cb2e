"""What of a stream is looked at before its turn.

Some may be handed out together, to a handler that ends in a later turn. If the next message were
handed out only when the one before has ended, each would cost a turn. So it is looked who will take
those that follow, as far as that is certain whatever comes before them.

And where a handler asks who has signed, what follows is read, so that several threads can examine
the signatures (engine/proofs.py).
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple
from weakref import WeakKeyDictionary

from zmqp2p.engine.pending import Pending
from zmqp2p.engine.proofs import SIGNED, Proof, Proofs
from zmqp2p.engine.router import MessageRouter
from zmqp2p.errors import DecodeError
from zmqp2p.ids import Seq
from zmqp2p.limits import READ_AHEAD_MAX_BYTES, STRETCH_MAX, STRETCH_MAX_BYTES, Limits
from zmqp2p.messages import Envelope, message_of, read_body
from zmqp2p.session.inbox import Inbox

# Where many streams wait and turns are short, each has its next message some turns later. In a turn
# so little is read ahead that what is kept of all that pass is little too.
RESTS_MAX = 16


class Read(NamedTuple):
    """A message that was read before its turn."""

    seq: Seq
    size_bytes: int
    envelope: Envelope
    items: int
    proof: Proof | None  # If it can bear a signature.


@dataclass(slots=True)
class _Ahead:
    """What of one stream was read and has not had its turn, oldest first; it is something."""

    messages: deque[Read]
    rests: int = 0  # Turns of the loop since one was read, or had its turn.


class Foresight:
    """Looks at messages before it is their turn, as many as is worth it.

    What follows on a message that fails is looked at in vain: a peer whose every message is refused
    would have 256 decoded for each. So after a failure it is half as many, and twice as many again
    when all went well.

    Invariant: of each stream 1 to `STRETCH_MAX` go together; noted are those with less, as long as
    they live: identities cost nothing, and those that pass must leave nothing. What was read of a
    stream is not kept beyond `RESTS_MAX` turns of the loop in which none of it was handed out.
    """

    def __init__(self, router: MessageRouter, limits: Limits) -> None:
        self._router = router
        self._limits = limits
        self._most: WeakKeyDictionary[Inbox, int] = WeakKeyDictionary()
        self.ahead: dict[Inbox, _Ahead] = {}  # Empty where no handler asks who has signed.

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

    def read_ahead(self, first: Pending, most: int) -> Proofs | None:
        """Read up to ``most`` messages that follow on ``first``, unless some are read already.

        Return their signatures, if there are any.
        """
        if first.inbox in self.ahead:
            return None  # Many at a time are examined best.
        proofs, messages, left_bytes = Proofs(), deque[Read](), READ_AHEAD_MAX_BYTES
        most = min(most, self._most.get(first.inbox, STRETCH_MAX))
        for seq, body in first.inbox.following(most):
            left_bytes -= 0 if body is None else len(body)
            if body is None or left_bytes < 0:
                break
            try:
                value, items = read_body(body)
                envelope = message_of(value)
            except DecodeError:  # It is refused when it has its turn.
                break
            signed = isinstance(envelope.message, SIGNED)
            proof = proofs.add(envelope.message) if signed else None
            messages.append(Read(seq, len(body), envelope, items, proof))
        if messages:
            self.ahead[first.inbox] = _Ahead(messages)
        return proofs if len(proofs) else None

    def recall(self, inbox: Inbox, seq: Seq) -> Read | None:
        """Return message ``seq``, which has its turn, as it was read; None if it was not."""
        ahead = self.ahead.get(inbox)
        if ahead is None:
            return None
        messages, found = ahead.messages, None
        while messages and messages[0].seq <= seq:
            found = messages.popleft()  # If it is another: it had its turn in a stretch.
        if not messages:
            del self.ahead[inbox]
        if found is None or found.seq != seq:
            return None
        ahead.rests = 0
        return found

    def turn_over(self) -> None:
        """A turn of the loop ends: forget what was read of streams that are over, or held up."""
        if self.ahead:
            kept = {inbox: each for inbox, each in self.ahead.items() if each.rests < RESTS_MAX}
            for ahead in kept.values():
                ahead.rests += 1
            self.ahead = kept

    def check(self) -> None:
        """Assert the invariant."""
        assert all(1 <= most < STRETCH_MAX for most in self._most.values())
        for ahead in self.ahead.values():
            assert 0 < sum(read.size_bytes for read in ahead.messages) <= READ_AHEAD_MAX_BYTES

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
