"""What `zmqp2p recover` says of a held session."""

from zmqp2p.errors import DecodeError
from zmqp2p.messages import decode_message
from zmqp2p.records import checksum_text
from zmqp2p.store.recovery import Loss, Pending, PendingMessage

_SHOWN_MESSAGES = 64
_SIGNED = (
    "what this node signed since the copy was made, the store does not know: ask the peer for "
    "the newest state of each channel before this node signs anything"
)


def explain_loss(loss: Loss) -> str:
    """Return a paragraph about one held session."""
    reason = repr(loss.reason)[1:-1]  # A peer may have written it: no control characters.
    lines = [f"{checksum_text(loss.peer)}  {loss.code.name.lower()}", f"  {reason}"]
    lines += _ranges(loss)
    lines += [f"  waiting: {_message(message)}" for message in loss.pending[:_SHOWN_MESSAGES]]
    if len(loss.pending) > _SHOWN_MESSAGES:
        lines.append(f"  waiting: and {len(loss.pending) - _SHOWN_MESSAGES} more")
    if loss.lost or loss.forgotten:
        lines.append(f"  this store is old: {_SIGNED}")
    return "\n".join(lines)


def explain_beginning(loss: Loss, pending: Pending) -> str:
    """Return what became of the messages of a session that begins anew."""
    uncertain = len(loss.uncertain)
    processed = len(loss.pending) - uncertain
    resent = uncertain if pending is Pending.RESEND else 0
    return (
        f"{checksum_text(loss.peer)}: a new stream; {resent} messages are sent again, "
        f"{uncertain - resent} dropped, {processed} were processed by the peer"
    )


def _ranges(loss: Loss) -> list[str]:
    told = (
        (loss.lost, "missing: the peer's messages {}: it has dropped them, this store lacks them"),
        (loss.forgotten, "missing: messages {} that the peer has processed and this store forgot"),
        (loss.lost_by_peer, "missing at the peer: messages {}, which it had acknowledged"),
    )
    return [f"  {text.format(_span(numbers))}" for numbers, text in told if numbers]


def _span(numbers: range) -> str:
    return f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"


def _message(message: PendingMessage) -> str:
    try:
        shown = type(decode_message(message.body).message).__name__
    except DecodeError:  # Of an application's type, which is not registered here.
        shown = "application message"
    size = len(message.body)
    return f"message {message.seq}, {shown}, {size} bytes, {message.fate.value} by the peer"
