"""Dead letters as the application sees them."""

from dataclasses import dataclass, field

from zmqp2p.errors import DecodeError
from zmqp2p.ids import Address, MessageId
from zmqp2p.messages import decode_message
from zmqp2p.persistence import FailedMessage


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message whose handler failed on every attempt: refused to its sender, and kept."""

    message_id: MessageId
    sender: Address
    message: object  # Decoded; None if its type is not registered in this program.
    attempts: int
    error: str  # What the handler raised at the last one.
    failed_at_ms: int  # When that was, milliseconds since 1970, UTC.
    body: bytes = field(repr=False)  # As it was sent.


def letters_of(failed: list[tuple[MessageId, FailedMessage]]) -> list[DeadLetter]:
    """Return dead letters for the application."""
    return [
        DeadLetter(
            message_id=letter_id,
            sender=letter.sender,
            message=_decoded(letter.body),
            attempts=letter.attempts,
            error=letter.error,
            failed_at_ms=letter.at_ms,
            body=letter.body,
        )
        for letter_id, letter in failed
    ]


def _decoded(body: bytes) -> object:
    try:
        return decode_message(body).message
    except DecodeError:
        return None
