"""Whose signatures messages bear: those of one stream are examined by several threads at a time.

To recover a signer takes longer than everything else about a small message, and runs without the
interpreter's lock. So the signatures of what waits in a stream stand in a row, and all who have
time examine the next one: helpers, on their threads, and the node's own, which needs the first.
Nobody waits for anybody. What a proof says depends on its message alone: who has found it, and
when, changes nothing.
"""

from collections import deque

from zmqp2p.errors import SignatureError
from zmqp2p.ids import Address
from zmqp2p.messages import AcceptState, ProposeState
from zmqp2p.state import channel_id, recover_hash_signer, recover_signer

SIGNED = (ProposeState, AcceptState)


class Proofs:
    """The signatures of one stream that nobody has begun to examine, in the stream's order.

    One thread adds to them; any may work at the same time.
    """

    __slots__ = ("_row",)

    def __init__(self) -> None:
        self._row: deque[Proof] = deque()

    def __len__(self) -> int:
        return len(self._row)

    def add(self, message: object) -> "Proof":
        """Let the signature of ``message``, the next in the stream, be examined."""
        proof = Proof(message, self)
        self._row.append(proof)
        return proof

    def take(self) -> "Proof | None":
        """Take the next out of the row, to examine it; None if there is none."""
        try:
            return self._row.popleft()
        except IndexError:  # Not asked for first: another thread may be taking it.
            return None

    def work(self) -> None:
        """Examine what is in the row, until nothing is."""
        while (proof := self.take()) is not None:
            proof.examine()


class Proof:
    """Whose signature one message bears."""

    __slots__ = ("_done", "_message", "_others", "_signer")

    def __init__(self, message: object, others: Proofs | None = None) -> None:
        self._message = message
        self._others = others
        self._signer: Address | None = None
        self._done = False

    @property
    def signer(self) -> Address | None:
        """Who has signed; None if nobody has, as `signer_of` says."""
        if not self._done and self._others is not None:
            # All of them, not only until this one is known: two threads that do nothing else are at
            # it at the same time. Between other work, each would wait for the lock every time.
            self._others.work()
        if not self._done:
            self.examine()  # Once more, if a helper is at it: to wait for it takes no less.
        return self._signer

    def examine(self) -> None:
        """Find out who has signed, on any thread."""
        self._signer = signer_of(self._message)
        self._done = True


def signer_of(message: object) -> Address | None:
    """Return whose signature over its state ``message`` bears.

    None if it bears none, no key fits it, or the message names another channel than its state's.

    Raises:
        InvalidValue: as `zmqp2p.state.channel_id`, for one channel in 2**96.
    """
    try:
        if isinstance(message, ProposeState):
            signer = recover_signer(message.state, message.signature)
            return signer if channel_id(message.state.fixed) == message.channel_id else None
        if isinstance(message, AcceptState):
            return recover_hash_signer(message.state_hash, message.signature)
    except SignatureError:
        pass
    return None
