"""Puts a node together from what both faces are given."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from os import PathLike, urandom
from threading import TIMEOUT_MAX
from time import monotonic
from typing import Any

from zmqp2p.admission import Admission, everyone
from zmqp2p.chain.base import ChainService
from zmqp2p.engine.bans import Bans
from zmqp2p.errors import EndpointError, InvalidValue, LocalError
from zmqp2p.handover import HandOver
from zmqp2p.identity import Identity, curve_public_of, new_curve_secret
from zmqp2p.ids import ZERO_ADDRESS, Address, ChannelId, CurveKey
from zmqp2p.limits import BODY_MAX_BYTES, DEFAULT_LIMITS, PART_MAX_BYTES, Limits
from zmqp2p.messages import encode_message
from zmqp2p.node.loop import Parts, utc_ms
from zmqp2p.node.node import Node
from zmqp2p.policy import Policy, ask
from zmqp2p.records import Contact, PeerRecord, PeerUri, parse_address, parse_contact
from zmqp2p.state import FixedPart
from zmqp2p.state.types import check_channel_id
from zmqp2p.store import MemoryStore, SqliteStore
from zmqp2p.store.base import Store
from zmqp2p.transport import ZmqTransport
from zmqp2p.transport.base import Transport
from zmqp2p.transport.options import CurvePair, socket_limits
from zmqp2p.transport.zeromq import Security

RECORD_LIFETIME_S = 30 * 24 * 3600.0
_CONTACTS = (PeerRecord, PeerUri)  # A union would be made anew for each message sent.
_TEN_YEARS_S = 10 * 365 * 24 * 3600.0  # No deadline, and no record's life, is as long.
_WAIT_MAX_S = TIMEOUT_MAX / 2  # More than a century; half, so that sums with a clock fit too.
_STORE_METHODS = ("open", "apply", "savepoint", "rollback_to_savepoint", "commit", "close")
_CHAIN_METHODS = ("deposit", "holdings", "events", "wait")
_WILDCARDS = ("tcp://*:", "tcp://0.0.0.0:", "tcp://[::]:")


PeerName = Address | bytes | str | PeerRecord | PeerUri
"""A peer, as an address of 20 bytes, ``0x…`` text, or a contact that has one."""

CHALLENGE_DURATION_S = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a service may be given; see `zmqp2p.service.P2PService`.

    Raises:
        InvalidValue: one of them is not of its kind.
    """

    endpoints: tuple[str, ...]
    identity: Identity
    store: "str | PathLike[str] | Store | None" = None
    chain: ChainService | None = None
    policy: Policy = ask
    admission: Admission = everyone
    advertise: tuple[str, ...] | None = None
    record_lifetime_s: float = RECORD_LIFETIME_S
    security: Security = "curve"
    allow_insecure_remote: bool = False
    transport: Transport | None = None
    limits: Limits = DEFAULT_LIMITS

    def __post_init__(self) -> None:
        store, chain = self.store, self.chain
        path = store is None or isinstance(store, str | PathLike)
        _check("identity", "an Identity", fits=isinstance(self.identity, Identity))
        _check("limits", "a Limits", fits=isinstance(self.limits, Limits))
        _check("store", "a path, a Store or None", fits=path or _has(store, _STORE_METHODS))
        _check("chain", "a ChainService", fits=chain is None or _has(chain, _CHAIN_METHODS))
        _check("policy", "callable", fits=callable(self.policy))
        check_admission(self.admission)
        if self.advertise is not None:
            _check("advertise", "a sequence of texts", fits=_are_texts(self.advertise))
        lifetime_s = self.record_lifetime_s
        fits = _is_number(lifetime_s) and 0 < lifetime_s < _TEN_YEARS_S
        _check("record_lifetime_s", "a positive number of seconds below ten years", fits=fits)


def _check(field: str, kind: str, *, fits: bool) -> None:
    if not fits:
        raise InvalidValue(field, f"must be {kind}")


def _has(given: object, methods: Sequence[str]) -> bool:
    return all(callable(getattr(given, method, None)) for method in methods)


def _are_texts(given: object) -> bool:
    if isinstance(given, str) or not isinstance(given, Sequence):
        return False
    return all(isinstance(each, str) for each in given)


def _is_number(given: object) -> bool:
    return isinstance(given, int | float) and not isinstance(given, bool)


def start_node(options: Options) -> Node:
    """Return a running node; if it cannot start, raise why and leave nothing open."""
    _check_inbox(options.limits)
    barred: Bans[CurveKey] = Bans(options.limits.bans_max)
    transport = options.transport or _transport(options, barred)
    store = _store(options.store)
    try:
        presence = _Presence(options, transport)
        node = Node(
            Parts(
                identity=options.identity,
                store=store,
                transport=transport,
                chain=options.chain,
                policy=options.policy,
                limits=options.limits,
                record_of=presence.record_of,
                rekey=presence.rekey,
                admission=options.admission,
                barred=barred,
            )
        )
        node.start()
    except BaseException:
        transport.close()
        raise
    return node


class _Presence:
    """Where a node listens, with which CURVE key, and what its record says of both."""

    def __init__(self, options: Options, transport: Transport) -> None:
        self._options = options
        self._transport = transport
        self._asked = options.endpoints
        self._advertise = options.advertise
        self._bound = tuple(transport.listen(endpoint) for endpoint in options.endpoints)
        self._shown = _shown(self._bound, self._advertise)

    def record_of(self, issued_ms: int) -> PeerRecord:
        """Return the node's record as it would be issued at ``issued_ms``."""
        expires_ms = issued_ms + int(self._options.record_lifetime_s * 1000)
        me = self._options.identity
        return PeerRecord.issue(me, me.curve_public, self._shown, issued_ms, expires_ms)

    def rekey(self, endpoints: tuple[str, ...] | None) -> bool:
        """Have another CURVE key, in the key file too; see `Loop.rotate`."""
        advertise = self._advertise if endpoints is None else None
        asked = self._again() if endpoints is None else endpoints
        _shown(asked, advertise)  # It raises before anything has changed.
        before = set(self._bound)
        bound = rekey(self._options.identity, self._transport, asked, new_curve_secret())
        self._asked, self._advertise, self._bound = asked, advertise, tuple(bound)
        self._shown = _shown(self._bound, advertise)
        return bool(asked) and not set(bound) & before

    def _again(self) -> tuple[str, ...]:
        """Return where to listen next: a port that was any port is free to be another.

        Unless others were told of it in another way: what forwards to it would not know.
        """
        if self._advertise is not None:
            return self._bound
        pairs = zip(self._asked, self._bound, strict=True)
        return tuple(asked if asked.endswith(":0") else bound for asked, bound in pairs)


def rekey(
    identity: Identity, transport: Transport, endpoints: Sequence[str], secret: bytes
) -> list[str]:
    """Have the CURVE ``secret`` at the transport and in the identity; see `Transport.rekey`."""
    pair = CurvePair(secret, curve_public_of(secret))
    return transport.rekey(pair, endpoints, lambda: identity.replace_curve_key(secret))


def _check_inbox(limits: Limits) -> None:
    """Raise InvalidValue if a message that is permitted would wait for room for ever."""
    least_bytes = limits.message_max_bytes + BODY_MAX_BYTES
    for name in ("inbox_max_bytes", "inbox_total_max_bytes"):
        if getattr(limits, name) < least_bytes:
            raise InvalidValue(name, f"must be at least {least_bytes}")
    least = limits.message_max_bytes // PART_MAX_BYTES + 1
    if limits.inbox_max_messages < least:
        raise InvalidValue("inbox_max_messages", f"must be at least {least}")


def _transport(options: Options, barred: Bans[CurveKey]) -> Transport:
    def admit(key: CurveKey | None, _source: str) -> bool:
        return key is None or barred.ask(key, monotonic()) is None

    return ZmqTransport(
        curve_secret=options.identity.curve_secret,
        curve_public=options.identity.curve_public,
        security=options.security,
        allow_insecure_remote=options.allow_insecure_remote,
        admit=admit,
        bounds=socket_limits(options.limits),
    )


def _store(store: "str | PathLike[str] | Store | None") -> Store:
    if store is None:
        return MemoryStore()
    if isinstance(store, str | PathLike):
        return SqliteStore(store)
    return store


def _shown(bound: tuple[str, ...], advertise: Sequence[str] | None) -> tuple[str, ...]:
    """Return the endpoints of the record: where others can really dial."""
    if advertise is not None:
        return tuple(advertise)
    for endpoint in bound:
        if endpoint.startswith(_WILDCARDS):
            detail = "say with advertise=… which endpoint others dial"
            raise EndpointError(f"{endpoint} listens on every address: {detail}")
    return bound


def encode(message: object, expires_in_s: float | None) -> bytes:
    """Return the body of ``message``, with its deadline if it is to expire.

    Raises:
        InvalidValue: not a message, or a time that is no positive number of seconds.
        TooLarge: more than `limits.MESSAGE_MAX_BYTES`.
    """
    if expires_in_s is None:
        return encode_message(message)
    fits = _is_number(expires_in_s) and 0 < expires_in_s < _TEN_YEARS_S
    _check("expires_in_s", "a positive number of seconds below ten years", fits=fits)
    return encode_message(message, utc_ms() + int(expires_in_s * 1000))


def address_of(peer: PeerName) -> Address:
    """Return the address that ``peer`` names; raises InvalidValue if it names none."""
    if isinstance(peer, _CONTACTS):
        return peer.address
    return parse_address(peer)


def contact_of(contact: Contact | str, me: Address) -> Contact:
    """Return the contact, given as such or as text, of another node than ``me``.

    Raises:
        InvalidValue: not a contact. RecordError: a bad record. LocalError: it is this node's own.
    """
    known = parse_contact(contact) if isinstance(contact, str) else contact
    if not isinstance(known, PeerRecord | PeerUri):
        raise InvalidValue("contact", "must be a record, a URI, or the text of one")
    if known.address == me:
        raise LocalError("this is the node's own contact")
    return known


def hand_over_of(
    statement: HandOver | str, contact: Contact | str, me: Address
) -> tuple[HandOver, Contact]:
    """Return the statement and the contact of its new address, given as such or as text.

    Raises:
        RecordError, InvalidValue, LocalError: as `HandOver.parse` and `contact_of`. InvalidValue
            too if the contact is of another address.
    """
    read = HandOver.parse(statement) if isinstance(statement, str) else statement
    _check("statement", "a hand-over or the text of one", fits=isinstance(read, HandOver))
    known = contact_of(contact, me)
    _check("contact", "of the new address", fits=known.address == read.new_address)
    return read, known


def check_filter(message_type: type | None, channel_id: ChannelId | None) -> None:
    """Raise InvalidValue if messages cannot be chosen by this."""
    if message_type is not None and not isinstance(message_type, type):
        raise InvalidValue("message_type", "must be a class")
    if channel_id is not None:
        check_channel_id("channel_id", channel_id)


def check_timeout(timeout_s: float | None) -> None:
    """Raise InvalidValue unless ``timeout_s`` is None or a number of seconds one can wait for."""
    if timeout_s is not None:
        fits = _is_number(timeout_s) and abs(timeout_s) < _WAIT_MAX_S
        _check("timeout_s", "a number of seconds or None", fits=fits)


def check_admission(admission: Admission) -> None:
    """Raise InvalidValue unless ``admission`` can be asked."""
    _check("admission", "callable, as Admission says", fits=callable(admission))


def check_ban(seconds: float, reason: str) -> None:
    """Raise InvalidValue unless one can be banned for so long (infinity included) and for this."""
    _check("seconds", "a positive number", fits=_is_number(seconds) and seconds > 0)
    _check("reason", "a text", fits=isinstance(reason, str))


def check_attempt(node: Node, channel_nonce: int | None) -> None:
    """Raise LocalError where a message handler of ``node`` would open a channel of random nonce.

    What the handler does is undone if it fails, but not a channel: its next attempt would open
    one more. With a nonce of its own choice it is the same channel.
    """
    if channel_nonce is None and node.in_handler():
        detail = "each of its attempts would open one more; give channel_nonce"
        raise LocalError(f"a message handler cannot open a channel of random nonce: {detail}")


def options_of(
    endpoint: str | Sequence[str] | None, identity: Identity, **settings: Any
) -> Options:
    """Return the options of a service: ``endpoint`` is one, several, or None to only dial.

    Raises:
        InvalidValue: something is not of its kind, or there is no such setting.
    """
    known = {field.name for field in fields(Options)} - {"endpoints", "identity"}
    for name in settings:
        if name not in known:
            raise InvalidValue(name, f"is no setting; there are {', '.join(sorted(known))}")
    return Options(endpoints=endpoints_of(endpoint) or (), identity=identity, **settings)


def endpoints_of(endpoint: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """Return the endpoints that are given as one, several, or None; InvalidValue if it is none."""
    if endpoint is None:
        return None
    if isinstance(endpoint, str):
        return (endpoint,)
    _check("endpoint", "a text, a sequence of texts or None", fits=_are_texts(endpoint))
    return tuple(endpoint)


def check_grace(grace_s: float | None) -> None:
    """Raise InvalidValue unless ``grace_s`` is a number of seconds that a key may outlive."""
    if grace_s is not None:
        fits = _is_number(grace_s) and 0 <= grace_s < _TEN_YEARS_S
        _check("grace_s", "a number of seconds below ten years, or None", fits=fits)


def terms_of(
    me: Address,
    peers: PeerName | Sequence[PeerName],
    *,
    challenge_duration: int = CHALLENGE_DURATION_S,
    app_definition: Address = ZERO_ADDRESS,
    channel_nonce: int | None = None,
) -> FixedPart:
    """Return a channel's fixed part: this node first, then ``peers``; a random nonce if None."""
    others = [peers] if isinstance(peers, bytes | str | PeerRecord | PeerUri) else peers
    nonce = int.from_bytes(urandom(8)) if channel_nonce is None else channel_nonce
    participants = (me, *(address_of(peer) for peer in others))
    return FixedPart(participants, nonce, app_definition, challenge_duration)
