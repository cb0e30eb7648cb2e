"""The exception tree: whose fault is it, and what happens next.

* `LocalError`: you asked for something forbidden. Nothing was sent, nothing changed.
* `PeerError`: a peer broke the spec; ``rule`` names the rule. Ends its link, never the node.
* `DeliveryError`: nobody's fault, or the other side's decision. Says what became of the message.
* `ChainError`: the chain refused or could not be asked.
"""

from zmqp2p.codes import RefusalCode, RejectCode
from zmqp2p.ids import address_text


class P2PError(Exception):
    """Root of every exception this package raises on purpose."""


# --- You asked for something forbidden ----------------------------------------------------------


class LocalError(P2PError):
    """The caller's mistake. Nothing was sent, nothing changed."""


class InvalidValue(LocalError, ValueError):
    """A value is out of range or of the wrong shape; ``field`` names it."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(f"{field}: {detail}")
        self.field = field
        self.detail = detail


class TooLarge(LocalError):
    """A message exceeds the size this node sends."""


class UnknownPeer(LocalError):
    """No contact and no session for this address: call ``add_peer`` first."""


class UnknownChannel(LocalError):
    """No objective for this channel id."""


class SignedAlready(LocalError):
    """Another state of that turn is signed, or a later turn: this one is never to be signed.

    ``signed_turn`` and ``signed_hash`` say what was signed last in ``channel``.
    """

    def __init__(self, channel: bytes, turn_num: int, signed_turn: int, signed_hash: bytes) -> None:
        which = f"state 0x{signed_hash.hex()} of turn {signed_turn}"
        super().__init__(f"turn {turn_num} of channel 0x{channel.hex()}: signed already is {which}")
        self.channel = channel
        self.turn_num = turn_num
        self.signed_turn = signed_turn
        self.signed_hash = signed_hash


class UnknownMessage(LocalError):
    """No message of this id is known (any more)."""


class Backpressure(LocalError):
    """The outbox to this peer is full and the caller asked not to wait."""


class WouldDeadlock(LocalError):
    """A wait inside a handler, on the very thread that would have to end it."""


class ServiceClosed(LocalError):
    """The service is closed, was never started, or belongs to another process (fork)."""


class EndpointError(LocalError):
    """An endpoint cannot be used: malformed, in use, not permitted, or insecure."""


class KeyFileError(LocalError):
    """A key file is missing, malformed, or readable by others."""


class WrongPassphrase(KeyFileError):
    """A key file is encrypted, and its passphrase was not given, or another one was."""


class StoreError(LocalError):
    """The store cannot be used."""


class StoreLocked(StoreError):
    """Another process (or service) has this store open."""


class StoreTooNew(StoreError):
    """The store was written by a newer version of this package."""


class StoreTooOld(StoreError):
    """The store was written by a pre-release whose tables this version does not read."""


class StoreForeign(StoreError):
    """The file is not a store of this package, or belongs to another identity."""


# --- A peer broke the spec ----------------------------------------------------------------------


class PeerError(P2PError):
    """A peer broke rule ``rule`` of docs/spec/zp2p-1.md."""

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(f"{rule}: {detail}")
        self.rule = rule
        self.detail = detail


class DecodeError(PeerError):
    """Bytes are not the one canonical encoding of a permitted value."""


class RecordError(PeerError):
    """A peer record is malformed, expired, superseded, or not signed by its address."""


class SignatureError(PeerError):
    """A signature is malformed, malleable, or not by the participant it must be by."""


class Contradiction(PeerError):
    """The two sides do not remember the same messages: a store was rolled back (RES-11)."""

    def __init__(self, detail: str) -> None:
        super().__init__("RES-11", detail)


class RefuseMessage(PeerError):
    """A message that must not be processed, now or ever: refuse it with ``code``.

    Raised by objectives, and by application handlers that want no second attempt.
    """

    def __init__(self, code: RefusalCode, reason: str) -> None:
        super().__init__("REF-1", f"{code.name.lower()}: {reason}")
        self.code = code
        self.reason = reason


# --- What became of a message -------------------------------------------------------------------


class DeliveryError(P2PError):
    """The message or the channel did not end well; says how."""


class Refused(DeliveryError):
    """The peer received the message and refused it for good."""

    def __init__(self, code: RefusalCode, reason: str) -> None:
        super().__init__(f"refused by the peer ({code.name.lower()}): {reason}")
        self.code = code
        self.reason = reason


class Expired(DeliveryError):
    """The deadline passed before the peer could process the message; it did not."""


class HandlerFailed(DeliveryError):
    """The handler of a dead letter has failed again, with ``__cause__``; the letter stays."""


class Cancelled(DeliveryError):
    """The wait ended because the service closed. A stored message is sent after the restart."""


class DeliveryTimeout(DeliveryError, TimeoutError):
    """Not ended within the time given; the message stays in the outbox and is still delivered."""


class Rejected(DeliveryError):
    """A participant rejected the channel. No deposit was made on its account."""

    def __init__(self, by: bytes, code: RejectCode, reason: str) -> None:
        super().__init__(f"rejected by {address_text(by)} ({code.name.lower()}): {reason}")
        self.by = by
        self.code = code
        self.reason = reason


class ChainError(P2PError):
    """The chain refused a transaction or could not be asked."""
