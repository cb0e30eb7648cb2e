"""Reliable peer-to-peer messages for state channels, over ZeroMQ.

Exactly once and in order, through partitions, crashes and restarts; README.md says what is
guaranteed, and what is not.
"""

from zmqp2p.admission import Admission, all_but_these, everyone, known_peers_only, only_these
from zmqp2p.engine.door import Defences
from zmqp2p.engine.peers import PeerStatus
from zmqp2p.errors import (
    Backpressure,
    Cancelled,
    ChainError,
    DecodeError,
    DeliveryError,
    DeliveryTimeout,
    EndpointError,
    Expired,
    HandlerFailed,
    InvalidValue,
    KeyFileError,
    LocalError,
    P2PError,
    PeerError,
    RecordError,
    Refused,
    RefuseMessage,
    Rejected,
    ServiceClosed,
    SignatureError,
    SignedAlready,
    StoreError,
    StoreForeign,
    StoreLocked,
    StoreTooNew,
    TooLarge,
    UnknownChannel,
    UnknownMessage,
    UnknownPeer,
    WouldDeadlock,
    WrongPassphrase,
)
from zmqp2p.handover import HandOver
from zmqp2p.identity import Identity
from zmqp2p.limits import Limits
from zmqp2p.messages import AcceptState, ProposeState, RejectProposal, describe, message
from zmqp2p.node.deliveries import Delivery
from zmqp2p.node.funding import ChannelStatus, FundedChannel
from zmqp2p.node.letters import DeadLetter
from zmqp2p.node.receipts import Receipt
from zmqp2p.policy import Approve, Policy, Proposal, Reject, approve_all, ask
from zmqp2p.records import PeerRecord, PeerUri, parse_contact
from zmqp2p.service import Channel, P2PService

__version__ = "0.1.0"

__all__ = [
    "AcceptState",
    "Admission",
    "Approve",
    "Backpressure",
    "Cancelled",
    "ChainError",
    "Channel",
    "ChannelStatus",
    "DeadLetter",
    "DecodeError",
    "Defences",
    "Delivery",
    "DeliveryError",
    "DeliveryTimeout",
    "EndpointError",
    "Expired",
    "FundedChannel",
    "HandOver",
    "HandlerFailed",
    "Identity",
    "InvalidValue",
    "KeyFileError",
    "Limits",
    "LocalError",
    "P2PError",
    "P2PService",
    "PeerError",
    "PeerRecord",
    "PeerStatus",
    "PeerUri",
    "Policy",
    "Proposal",
    "ProposeState",
    "Receipt",
    "RecordError",
    "RefuseMessage",
    "Refused",
    "Reject",
    "RejectProposal",
    "Rejected",
    "ServiceClosed",
    "SignatureError",
    "SignedAlready",
    "StoreError",
    "StoreForeign",
    "StoreLocked",
    "StoreTooNew",
    "TooLarge",
    "UnknownChannel",
    "UnknownMessage",
    "UnknownPeer",
    "WouldDeadlock",
    "WrongPassphrase",
    "__version__",
    "all_but_these",
    "approve_all",
    "ask",
    "describe",
    "everyone",
    "known_peers_only",
    "message",
    "only_these",
    "parse_contact",
]
