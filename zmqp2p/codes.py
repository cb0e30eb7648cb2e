"""The codes that travel on the wire, with their one meaning (docs/spec/zp2p-1.md)."""

from enum import Enum


class RefusalCode(Enum):
    """Why a message was refused for good (REF-1)."""

    DECODE_FAILED = 1  # Not the encoding of any message this node knows.
    SIGNATURE_INVALID = 2  # Not signed by the participant it must be signed by.
    CHANNEL_UNKNOWN = 3  # No objective for this channel.
    PAYLOAD_INVALID = 4  # Well-formed, but wrong at this point of this channel.
    REPLAY = 5  # A statement that was superseded long ago.
    HANDLER_FAILED = 6  # The application's handler failed on every attempt.
    EXPIRED = 7  # Its deadline passed before it could be processed.
    TOO_LARGE = 8  # Larger than the receiver accepts.
    TYPE_UNKNOWN = 9  # Nobody at the receiver has subscribed to this type.


class RejectCode(Enum):
    """Why a participant rejected a channel (MSG-6)."""

    DECLINED = 1  # The participant, by its policy or in person, does not want it.
    INVALID = 2  # The proposal is not one that can be funded safely.
    BUSY = 3  # Too many proposals are waiting for approval already. Reserved: refused instead.


class ByeCode(Enum):
    """Why a link is refused or ended (BYE-1)."""

    CLOSING = 1  # The node is stopping.
    DUPLICATE_LINK = 2  # Another link to the same peer is used instead.
    PROTOCOL_ERROR = 3  # A rule of the spec was broken; the reason names it.
    VERSION_UNSUPPORTED = 4  # No version in common.
    RECORD_INVALID = 5  # The record is malformed or not signed by its address.
    RECORD_EXPIRED = 6  # The record's time is over, by the receiver's clock.
    RECORD_SUPERSEDED = 7  # A newer record of the same address is known.
    KEY_MISMATCH = 8  # The record's CURVE key is not the one CURVE proved on this link.
    ADDRESS_MISMATCH = 9  # Another address answers than the one that was dialed.
    NOT_ALLOWED = 10  # The policy of the receiver does not allow this peer.
    STORE_ROLLED_BACK = 11  # This identity was seen in a later incarnation: its store is old.
    DUPLICATE_INSTANCE = 12  # Two nodes run with this identity.
    DATA_LOSS = 13  # A stream cannot be resumed without a gap.
    TOO_MANY = 14  # The receiver serves as many peers as it is set to.
