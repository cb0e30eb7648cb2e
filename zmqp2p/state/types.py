"""The values a Nitro channel is made of. A value that exists is in range: constructors check.

Field names in errors are those of the constructor that refused; whoever builds a value out of
parts (the decoder) puts the path in front, as in ``outcome[1].allocations[0].amount``.
"""

from dataclasses import dataclass

from zmqp2p.errors import InvalidValue
from zmqp2p.ids import ADDRESS_SIZE, HASH_SIZE, ZERO_ADDRESS, Address, ChannelId, TurnNum
from zmqp2p.limits import (
    ALLOCATIONS_MAX,
    ASSETS_MAX,
    METADATA_MAX_BYTES,
    PARTICIPANTS_MAX,
    STATE_DATA_MAX_BYTES,
)

UINT8_END = 2**8
UINT48_END = 2**48
UINT64_END = 2**64
UINT256_END = 2**256

_DAY_S = 86_400
_EXTERNAL_PREFIX = bytes(HASH_SIZE - ADDRESS_SIZE)


@dataclass(frozen=True, slots=True)
class Allocation:
    """``amount`` of an asset (its smallest unit, below 2**256) for a 32-byte ``destination``.

    ``allocation_type`` is the adjudicator's uint8; 0 is a simple payment. ``metadata`` belongs to
    the type.

    Raises:
        InvalidValue: a field is of the wrong type, size or range.
    """

    destination: bytes
    amount: int
    allocation_type: int = 0
    metadata: bytes = b""

    def __post_init__(self) -> None:
        check_bytes("destination", self.destination, HASH_SIZE)
        check_uint("amount", self.amount, UINT256_END)
        check_uint("allocation_type", self.allocation_type, UINT8_END)
        check_bytes_up_to("metadata", self.metadata, METADATA_MAX_BYTES)


@dataclass(frozen=True, slots=True)
class AssetExit:
    """How the channel's holdings of one asset are divided, in order of priority.

    ``asset`` is a token contract, or `ZERO_ADDRESS` for the native asset. ``asset_type`` is the
    exit format's uint8; 0 is the native asset or an ERC-20 token.

    Raises:
        InvalidValue: a field is of the wrong type, size or range.
    """

    asset: Address
    allocations: tuple[Allocation, ...]
    asset_type: int = 0
    asset_metadata: bytes = b""

    def __post_init__(self) -> None:
        check_bytes("asset", self.asset, ADDRESS_SIZE)
        check_tuple("allocations", self.allocations, Allocation, ALLOCATIONS_MAX)
        check_uint("asset_type", self.asset_type, UINT8_END)
        check_bytes_up_to("asset_metadata", self.asset_metadata, METADATA_MAX_BYTES)


Outcome = tuple[AssetExit, ...]


@dataclass(frozen=True, slots=True)
class FixedPart:
    """What never changes in a channel, and what its id is the hash of.

    ``participants`` are 1 to 255 different addresses, ``channel_nonce`` is below 2**64,
    ``challenge_duration`` is in seconds, below 2**48.

    Raises:
        InvalidValue: a field is of the wrong type, size or range, or a participant appears twice.
    """

    participants: tuple[Address, ...]
    channel_nonce: int
    app_definition: Address = ZERO_ADDRESS
    challenge_duration: int = _DAY_S

    def __post_init__(self) -> None:
        participants = self.participants
        if type(participants) is not tuple:
            raise InvalidValue("participants", _wrong_type("a tuple", participants))
        if not 1 <= len(participants) <= PARTICIPANTS_MAX:
            raise InvalidValue(
                "participants", f"must be 1 to {PARTICIPANTS_MAX}, not {len(participants)}"
            )
        for index, address in enumerate(participants):
            if type(address) is not bytes or len(address) != ADDRESS_SIZE:
                check_bytes(f"participants[{index}]", address, ADDRESS_SIZE)
        if len(set(participants)) != len(participants):
            raise InvalidValue("participants", "an address appears twice")
        check_uint("channel_nonce", self.channel_nonce, UINT64_END)
        check_bytes("app_definition", self.app_definition, ADDRESS_SIZE)
        check_uint("challenge_duration", self.challenge_duration, UINT48_END)


@dataclass(frozen=True, slots=True)
class VariablePart:
    """What changes from turn to turn. ``turn_num`` is below 2**48; ``outcome`` may be empty.

    Raises:
        InvalidValue: a field is of the wrong type, size or range, or they are more together than
            any state may have that the chain is to judge.
    """

    app_data: bytes
    outcome: Outcome
    turn_num: TurnNum
    is_final: bool

    def __post_init__(self) -> None:
        check_bytes_up_to("app_data", self.app_data, METADATA_MAX_BYTES)
        check_tuple("outcome", self.outcome, AssetExit, ASSETS_MAX)
        check_uint("turn_num", self.turn_num, UINT48_END)
        check_type("is_final", self.is_final, bool)
        self._check_total()

    def _check_total(self) -> None:
        """Refuse what could never be sent to the chain, and takes long to look at (STA-5)."""
        allocations = [each for item in self.outcome for each in item.allocations]
        if len(allocations) > ALLOCATIONS_MAX:
            detail = f"must be at most {ALLOCATIONS_MAX} allocations, not {len(allocations)}"
            raise InvalidValue("outcome", detail)
        size_bytes = len(self.app_data) + sum(len(item.asset_metadata) for item in self.outcome)
        size_bytes += sum(len(item.metadata) for item in allocations)
        if size_bytes > STATE_DATA_MAX_BYTES:
            detail = f"must be at most {STATE_DATA_MAX_BYTES} bytes of metadata, with the app data"
            raise InvalidValue("outcome", f"{detail}, not {size_bytes}")


@dataclass(frozen=True, slots=True)
class State:
    """One state of one channel: what its participants sign.

    Raises:
        InvalidValue: ``fixed`` or ``variable`` is not the part it should be.
    """

    fixed: FixedPart
    variable: VariablePart

    def __post_init__(self) -> None:
        check_type("fixed", self.fixed, FixedPart)
        check_type("variable", self.variable, VariablePart)


def destination_of(address: Address) -> bytes:
    """Return the external destination that pays ``address``: 12 zero bytes, then the address.

    Raises:
        InvalidValue: not 20 bytes.
    """
    check_bytes("address", address, ADDRESS_SIZE)
    return _EXTERNAL_PREFIX + address


def is_external(destination: bytes) -> bool:
    """Return whether the 32-byte ``destination`` names an address rather than a channel.

    Raises:
        InvalidValue: not 32 bytes.
    """
    check_bytes("destination", destination, HASH_SIZE)
    return destination.startswith(_EXTERNAL_PREFIX)


def check_channel_id(field: str, channel: object) -> ChannelId:
    """Return ``channel`` if it can be a channel id.

    Raises:
        InvalidValue: not 32 bytes, or it looks like an external destination: the adjudicator would
            pay the channel's funds to an address instead.
    """
    checked = check_bytes(field, channel, HASH_SIZE)
    if checked.startswith(_EXTERNAL_PREFIX):
        raise InvalidValue(field, "looks like an external destination")
    return ChannelId(checked)


def within(outer: str, fault: InvalidValue) -> InvalidValue:
    """Return ``fault`` with its field named from ``outer``: ``amount`` is ``outer.amount`` there.

    An empty field name stands for the value itself.
    """
    dot = "." if fault.field and not fault.field.startswith("[") else ""
    return InvalidValue(f"{outer}{dot}{fault.field}", fault.detail)


# --- Checks of one field; each raises InvalidValue naming it ------------------------------------
# Types are compared exactly: a bool is an int, and a subclass of bytes or of a dataclass here may
# behave as it likes.


def check_uint(field: str, value: object, end: int) -> int:
    """Return ``value`` if it is an int, not a bool, and ``0 <= value < end``."""
    if type(value) is not int:
        raise InvalidValue(field, _wrong_type("an int", value))
    if not 0 <= value < end:
        raise InvalidValue(field, f"must be at least 0 and below 2**{end.bit_length() - 1}")
    return value


def check_bytes(field: str, value: object, size: int) -> bytes:
    """Return ``value`` if it is exactly ``size`` bytes."""
    if type(value) is not bytes:
        raise InvalidValue(field, _wrong_type("bytes", value))
    if len(value) != size:
        raise InvalidValue(field, f"must be {size} bytes, not {len(value)}")
    return value


def check_bytes_up_to(field: str, value: object, max_bytes: int) -> bytes:
    """Return ``value`` if it is at most ``max_bytes`` bytes."""
    if type(value) is not bytes:
        raise InvalidValue(field, _wrong_type("bytes", value))
    if len(value) > max_bytes:
        raise InvalidValue(field, f"must be at most {max_bytes} bytes, not {len(value)}")
    return value


def check_tuple(field: str, value: object, item_type: type, max_items: int) -> None:
    """Check that ``value`` is a tuple of at most ``max_items``, each an ``item_type``."""
    if type(value) is not tuple:
        raise InvalidValue(field, _wrong_type("a tuple", value))
    if len(value) > max_items:
        raise InvalidValue(field, f"must be at most {max_items} items, not {len(value)}")
    for index, item in enumerate(value):
        if type(item) is not item_type:
            check_type(f"{field}[{index}]", item, item_type)


def check_type(field: str, value: object, expected: type) -> None:
    """Check that ``value`` is an ``expected``, not of a subclass."""
    if type(value) is not expected:
        raise InvalidValue(field, _wrong_type(f"of type {expected.__name__}", value))


def _wrong_type(expected: str, value: object) -> str:
    return f"must be {expected}, not {type(value).__name__}"
