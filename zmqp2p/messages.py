"""What travels in a message body, and the table of tags (docs/spec/zp2p-1.md, "Messages").

A body is the canonical array ``[tag, field, ...]``, with an optional last item: a map of
extensions, of which ``{1: deadline_ms}`` is the only one yet.

* MSG-1: a body is an array that starts with a tag, an integer.
* MSG-2: the tag is known.
* MSG-3: the fields are as many as the message has, of their types and ranges.
* MSG-4: extensions: at least one, a deadline in range, no unknown even key. Unknown odd ones are
  dropped.
* MSG-5: a body is at most `MESSAGE_MAX_BYTES`.

Tags below 64 are the protocol's; `message` registers an application's, process-wide.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from zmqp2p import codec
from zmqp2p.codec import Value
from zmqp2p.codes import RejectCode
from zmqp2p.crypto import Signature
from zmqp2p.errors import DecodeError, InvalidValue, TooLarge
from zmqp2p.fields import Record
from zmqp2p.ids import HASH_SIZE, ChannelId, StateHash, TurnNum
from zmqp2p.limits import MESSAGE_MAX_BYTES, REASON_MAX_BYTES
from zmqp2p.render import hex_text, render
from zmqp2p.state.types import (
    UINT48_END,
    State,
    check_bytes,
    check_channel_id,
    check_type,
    check_uint,
    within,
)

T = TypeVar("T")

APPLICATION_TAG_MIN = 64  # Smaller tags are the protocol's, now and later.
TAG_END = 2**32
DEADLINE_END_MS = 2**63

_DEADLINE = 1  # The key of the extension.


def _full_name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


class _Table:
    """The messages known, by tag and by class.

    Invariant: both maps hold the same records, and a class has one tag.
    """

    def __init__(self) -> None:
        self.by_tag: dict[int, Record] = {}
        self.by_class: dict[type, tuple[int, Record]] = {}

    def add(self, tag: int, record: Record) -> None:
        """Enter ``record``; a class of the same qualified name, defined anew, is replaced.

        Raises:
            InvalidValue: another class has the tag, or this very class has another tag.
        """
        cls = record.cls
        holder = self.by_tag.get(tag)
        if holder is not None and _full_name(holder.cls) != _full_name(cls):
            raise InvalidValue("tag", f"{tag} is in use by {_full_name(holder.cls)}")
        if cls in self.by_class and self.by_class[cls][0] != tag:
            raise InvalidValue("tag", f"{_full_name(cls)} has tag {self.by_class[cls][0]} already")
        for older in [known for known in self.by_class if _full_name(known) == _full_name(cls)]:
            del self.by_tag[self.by_class.pop(older)[0]]
        self.by_tag[tag] = record
        self.by_class[cls] = tag, record


_table = _Table()


def message(tag: int) -> Callable[[type[T]], type[T]]:
    """Make the frozen dataclass below an application message, under ``tag``.

    ``tag`` is at least 64 and below 2**32, the same in every process that speaks of it. The class
    may hold what `zmqp2p.fields` lists. Its ``__post_init__`` refuses values by raising ValueError
    or TypeError; what a peer sends is then refused too. Defining the class anew, as the reload of
    a module does, replaces it.

    Raises:
        InvalidValue: the tag is out of range or in use, or the class cannot travel (not frozen, a
            field of an unsupported type, one that contains itself); the field is named.
    """
    if type(tag) is not int or not APPLICATION_TAG_MIN <= tag < TAG_END:
        raise InvalidValue("tag", f"must be an int from {APPLICATION_TAG_MIN}, below 2**32")

    def register(cls: type[T]) -> type[T]:
        _table.add(tag, Record(cls))
        return cls

    return register


def _protocol(tag: int) -> Callable[[type[T]], type[T]]:
    def register(cls: type[T]) -> type[T]:
        _table.add(tag, Record(cls))
        return cls

    return register


@_protocol(1)
@dataclass(frozen=True, slots=True)
class ProposeState:
    """A participant proposes ``state`` and signs it.

    That ``channel_id`` is the state's, and who signed, is for the objective to check.

    Raises:
        InvalidValue: a field is of the wrong type, size or range.
    """

    channel_id: ChannelId
    state: State
    signature: Signature

    def __post_init__(self) -> None:
        check_channel_id("channel_id", self.channel_id)
        check_type("state", self.state, State)
        check_type("signature", self.signature, Signature)


@_protocol(2)
@dataclass(frozen=True, slots=True)
class AcceptState:
    """A participant signs a state that was proposed, named by its turn number and hash.

    Raises:
        InvalidValue: a field is of the wrong type, size or range.
    """

    channel_id: ChannelId
    turn_num: TurnNum
    state_hash: StateHash
    signature: Signature

    def __post_init__(self) -> None:
        check_channel_id("channel_id", self.channel_id)
        check_uint("turn_num", self.turn_num, UINT48_END)
        check_bytes("state_hash", self.state_hash, HASH_SIZE)
        check_type("signature", self.signature, Signature)


@_protocol(3)
@dataclass(frozen=True, slots=True)
class RejectProposal:
    """A participant will not take part. ``reason`` is at most 200 bytes of UTF-8, for people.

    Raises:
        InvalidValue: a field is of the wrong type, size or range.
    """

    channel_id: ChannelId
    turn_num: TurnNum
    code: RejectCode
    reason: str

    def __post_init__(self) -> None:
        check_channel_id("channel_id", self.channel_id)
        check_uint("turn_num", self.turn_num, UINT48_END)
        check_type("code", self.code, RejectCode)
        check_type("reason", self.reason, str)
        try:
            size = len(self.reason.encode())
        except UnicodeEncodeError:
            raise InvalidValue("reason", "has a lone surrogate: not UTF-8") from None
        if size > REASON_MAX_BYTES:
            raise InvalidValue("reason", f"must be at most {REASON_MAX_BYTES} bytes, not {size}")


ProtocolMessage = ProposeState | AcceptState | RejectProposal


class Envelope(NamedTuple):  # Made for every message: half the cost of a frozen dataclass.
    """A decoded body: the message, and until when (UTC milliseconds) it may be processed."""

    message: object  # An instance of a class that is in the table.
    deadline_ms: int | None


def encode_message(message: object, deadline_ms: int | None = None) -> bytes:
    """Return the body of ``message``, its one encoding.

    Raises:
        InvalidValue: its class is not registered, a field is not of its declared type, or the
            deadline is not below 2**63; the field is named.
        TooLarge: more than `MESSAGE_MAX_BYTES`.
    """
    known = _table.by_class.get(type(message))
    if known is None:
        raise InvalidValue("message", f"{type(message).__qualname__} is not a registered message")
    tag, record = known
    items: tuple[Value, ...] = (tag, *record.pack(message))
    if deadline_ms is not None:
        items = (*items, {_DEADLINE: check_uint("deadline_ms", deadline_ms, DEADLINE_END_MS)})
    # Every item was checked by type and range. Only their number was not.
    body = codec.encode_trusted(items)
    if len(body) > MESSAGE_MAX_BYTES:
        raise TooLarge(f"{len(body)} bytes, at most {MESSAGE_MAX_BYTES}")
    codec.check_items(body)
    return body


def decode_message(body: bytes) -> Envelope:
    """Return the message that ``body`` is the one encoding of.

    Raises:
        DecodeError: anything else, whatever the bytes are (MSG-1 to MSG-5, ENC-1 to ENC-5).
    """
    return message_of(read_body(body)[0])


def read_body(body: bytes) -> tuple[Value, int]:
    """Return the value that ``body`` encodes, for `message_of`, and how many items it has.

    Most of what a message costs depends on their number.

    Raises:
        DecodeError: it encodes none (MSG-5, ENC-1 to ENC-5).
    """
    if len(body) > MESSAGE_MAX_BYTES:
        raise DecodeError("MSG-5", f"{len(body)} bytes, at most {MESSAGE_MAX_BYTES}")
    return codec.decode_counted(body)


def message_of(value: Value) -> Envelope:
    """Return the message that ``value`` stands for.

    Raises:
        DecodeError: it stands for none (MSG-1 to MSG-4).
    """
    if type(value) is not tuple or not value or type(value[0]) is not int:
        raise DecodeError("MSG-1", "not an array that starts with a tag")
    record = _table.by_tag.get(value[0])
    if record is None:
        raise DecodeError("MSG-2", f"unknown tag {value[0]}")
    fields, deadline_ms = value[1:], None
    if fields and type(fields[-1]) is dict:
        deadline_ms = _read_extensions(fields[-1])
        fields = fields[:-1]
    try:
        return Envelope(record.unpack(fields), deadline_ms)
    except InvalidValue as fault:
        raise DecodeError("MSG-3", str(within(record.cls.__name__, fault))) from fault


def _read_extensions(extensions: dict[int, Value]) -> int | None:
    if not extensions:
        raise DecodeError("MSG-4", "an empty map of extensions")
    for key in extensions:
        if key % 2 == 0:  # Odd ones may be ignored; even ones change what the message means.
            raise DecodeError("MSG-4", f"unknown extension {key}")
    if _DEADLINE not in extensions:
        return None
    try:
        return check_uint("deadline_ms", extensions[_DEADLINE], DEADLINE_END_MS)
    except InvalidValue as fault:
        raise DecodeError("MSG-4", str(fault)) from None


def describe(data: bytes) -> str:
    """Return a message body as lines of text for people; for any bytes, and never raises.

    A body that is no message of this process is shown as the value it encodes, bytes that encode
    none in hex; both with the reason.
    """
    try:
        value, _ = read_body(data)
    except DecodeError as fault:
        return f"undecodable, {len(data)} bytes ({fault})\n  {hex_text(data)}"
    try:
        envelope = message_of(value)
    except DecodeError as fault:
        return f"not a known message, {len(data)} bytes ({fault})\n" + render("value", value)
    tag, _ = _table.by_class[type(envelope.message)]
    text = f"tag {tag}, {len(data)} bytes\n" + render("message", envelope.message)
    if envelope.deadline_ms is None:
        return text
    return f"{text}\n  deadline_ms: {envelope.deadline_ms}"
