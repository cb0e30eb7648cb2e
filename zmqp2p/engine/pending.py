"""A message on its way through the application."""

from typing import NamedTuple

from zmqp2p.engine.proofs import Proof
from zmqp2p.ids import Address, Seq, StreamId
from zmqp2p.persistence import FailedMessage
from zmqp2p.session.inbox import Inbox


class Pending(NamedTuple):  # Made for every message: a third of the cost of a frozen dataclass.
    """A message for the application, in progress until `Engine` is told how it ended."""

    sender: Address
    seq: Seq
    body: bytes
    message: object
    subscription: int
    attempt: int  # 1 on the first.
    inbox: Inbox  # The stream it came on: an answer for a stream that is gone is dropped.
    late: bool = False  # Its handler ends in a later turn, and has a place among those.
    proof: Proof | None = None  # Whose signature it bears, if it was read before its turn.

    @property
    def stream(self) -> StreamId:
        """The sender's stream."""
        return self.inbox.stream

    def failed(self, error: str, at_ms: int) -> FailedMessage:
        """Return it as one whose last attempt failed with ``error``."""
        return FailedMessage(
            self.sender, self.stream, self.seq, self.body, self.attempt, error, at_ms
        )
