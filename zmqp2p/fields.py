"""How a frozen dataclass travels: as the array of its fields, checked on the way out and in.

The type hints are read once, when the class is registered; what remains for a message is one call
per field. A field may be an ``int`` of 64 bits, ``str``, ``bytes``, ``bool``, a ``NewType`` of
those, ``tuple[X, ...]``, ``tuple[X, Y]``, another such dataclass, and the protocol's own `State`,
`Signature` and `RejectCode`.
"""

import dataclasses
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from zmqp2p.codec import DEPTH_MAX, INT_MAX, INT_MIN, Value
from zmqp2p.codes import RejectCode
from zmqp2p.crypto import Signature
from zmqp2p.errors import InvalidValue
from zmqp2p.limits import REASON_MAX_BYTES
from zmqp2p.state.packing import state_from_value, state_to_value
from zmqp2p.state.types import State, within

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Field:
    """How the values of one type hint travel. Both ways raise InvalidValue, path relative."""

    to_value: Callable[[Any], Value]
    from_value: Callable[[Any], Any]
    depth: int = 0  # Of the arrays it needs.


class Record:
    """How the instances of one frozen dataclass travel.

    Raises:
        InvalidValue: the class cannot travel; the field is named.
    """

    __slots__ = ("_from_values", "_make", "_names", "_to_values", "cls", "depth")

    def __init__(self, cls: type, *, inside: tuple[type, ...] = ()) -> None:
        """Read the hints of ``cls``; ``inside`` are the classes it is nested in."""
        self.cls = cls
        fields = _fields_of(cls, (*inside, cls))
        self._names = tuple(name for name, _ in fields)
        self._to_values = tuple((name, field.to_value) for name, field in fields)
        self._from_values = tuple(field.from_value for _, field in fields)
        self._make = _maker_of(cls)
        self.depth = 1 + max((field.depth for _, field in fields), default=0)
        if self.depth > DEPTH_MAX:
            raise InvalidValue(cls.__qualname__, f"nests to {self.depth}, more than {DEPTH_MAX}")

    def pack(self, instance: object) -> tuple[Value, ...]:
        """Return the fields of ``instance`` as codec values.

        Raises:
            InvalidValue: ``instance`` or a field is not of its declared type, or out of range.
        """
        if type(instance) is not self.cls:
            raise InvalidValue("", _wrong_type(self.cls, instance))
        values: list[Value] = []
        try:
            for name, to_value in self._to_values:
                values.append(to_value(getattr(instance, name)))
        except InvalidValue as fault:
            raise within(name, fault) from None
        return tuple(values)

    def unpack(self, values: object) -> Any:
        """Return the instance that ``values``, decoded codec values, stand for.

        Raises:
            InvalidValue: they stand for none, by their number, types or ranges, or because the
                class refuses them.
        """
        if type(values) is not tuple or len(values) != len(self._names):
            raise InvalidValue("", f"must be an array of {len(self._names)} fields")
        given: list[Any] = []
        try:
            for from_value, value in zip(self._from_values, values, strict=True):
                given.append(from_value(value))
        except InvalidValue as fault:
            raise within(self._names[len(given)], fault) from None
        return self._construct(given, values)

    def _construct(self, given: list[Any], values: tuple[Value, ...]) -> object:
        try:
            instance = self._make(*given)
        except InvalidValue:
            raise
        except Exception as fault:  # A peer sent it: it must not end the node.
            detail = str(fault)[:REASON_MAX_BYTES] or type(fault).__name__
            raise InvalidValue("", f"refused: {detail}") from fault
        # A constructor may put other values in place of those given; then two byte strings would
        # stand for one message.
        for name, value in zip(self._names, given, strict=True):
            if getattr(instance, name) is not value:
                return self._check_kept(instance, values)
        return instance

    def _check_kept(self, instance: object, values: tuple[Value, ...]) -> object:
        """Return ``instance`` if what its constructor has put into it is what it was given."""
        if self.pack(instance) != values:
            raise InvalidValue("", "not the values that its constructor would keep")
        return instance


def _fields_of(cls: type, path: tuple[type, ...]) -> tuple[tuple[str, Field], ...]:
    name = cls.__qualname__
    params = vars(cls).get("__dataclass_params__")
    if params is None or not params.frozen or not params.init:
        raise InvalidValue(name, "must be a frozen dataclass, with the constructor it makes")
    hints = _hints_of(cls, path)
    fields = []
    for item in dataclasses.fields(cls):
        if not item.init:
            raise InvalidValue(f"{name}.{item.name}", "is not an argument of the constructor")
        try:
            fields.append((item.name, _field_of(hints.pop(item.name), path)))
        except InvalidValue as fault:
            raise within(f"{name}.{item.name}", fault) from None
    for left, hint in hints.items():
        if isinstance(hint, dataclasses.InitVar):
            raise InvalidValue(f"{name}.{left}", "is an argument of the constructor but no field")
    return tuple(fields)


def _maker_of(cls: type) -> Callable[..., object]:
    """Return what makes an instance from its fields, in their order."""
    fields = dataclasses.fields(cls)
    if not any(field.kw_only for field in fields):
        return cls  # Names would take it three times as long.
    names = [field.name for field in fields]
    return lambda *values: cls(**dict(zip(names, values, strict=True)))


def _hints_of(cls: type, path: tuple[type, ...]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(cls)
    except (NameError, AttributeError, TypeError, SyntaxError) as fault:
        named = getattr(fault, "name", None)
        detail = f"{fault}; the types of fields must be known at module level, above the class"
        if named in {outer.__name__ for outer in path}:
            detail = f"contains itself (by {named}): no bound"
        raise InvalidValue(cls.__qualname__, detail) from None


def _field_of(hint: Any, path: tuple[type, ...]) -> Field:
    while isinstance(hint, typing.NewType):
        hint = hint.__supertype__
    if hint in _LEAVES:
        return _LEAVES[hint]
    if hint in path:
        raise InvalidValue("", f"contains itself (by {hint.__name__}): no bound")
    if typing.get_origin(hint) is tuple:
        return _tuple_field(typing.get_args(hint), path)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        record = Record(hint, inside=path)
        return Field(record.pack, record.unpack, record.depth)
    raise InvalidValue("", f"its type {hint!r} cannot travel")


def _tuple_field(hints: tuple[Any, ...], path: tuple[type, ...]) -> Field:
    if hints[1:] == (...,):
        return _array_field(_field_of(hints[0], path))
    return _group_field([_field_of(hint, path) for hint in hints])


def _array_field(item: Field) -> Field:
    """``tuple[X, ...]``: any number of one type."""

    def both(convert: Callable[[Any], T]) -> Callable[[Any], tuple[T, ...]]:
        def convert_each(value: object) -> tuple[T, ...]:
            items = _checked_tuple(value)
            return _convert([convert] * len(items), items)

        return convert_each

    return Field(both(item.to_value), both(item.from_value), item.depth + 1)


def _group_field(items: Sequence[Field]) -> Field:
    """``tuple[X, Y]``: as many as there are types."""

    def both(converts: Sequence[Callable[[Any], T]]) -> Callable[[Any], tuple[T, ...]]:
        def convert_each(value: object) -> tuple[T, ...]:
            values = _checked_tuple(value)
            if len(values) != len(converts):
                raise InvalidValue("", f"must be {len(converts)} items, not {len(values)}")
            return _convert(converts, values)

        return convert_each

    depth = 1 + max((item.depth for item in items), default=0)
    return Field(
        both([item.to_value for item in items]), both([item.from_value for item in items]), depth
    )


def _convert(converts: Sequence[Callable[[Any], T]], values: tuple[Any, ...]) -> tuple[T, ...]:
    done: list[T] = []
    try:
        for convert, value in zip(converts, values, strict=True):
            done.append(convert(value))
    except InvalidValue as fault:
        raise within(f"[{len(done)}]", fault) from None
    return tuple(done)


def _checked_tuple(value: object) -> tuple[Any, ...]:
    if type(value) is not tuple:
        raise InvalidValue("", _wrong_type(tuple, value))
    return value


# --- Types that are one codec value -------------------------------------------------------------


def _check_int(value: object) -> int:
    if type(value) is not int:
        raise InvalidValue("", _wrong_type(int, value))
    if not INT_MIN <= value <= INT_MAX:
        raise InvalidValue("", "must be at least -2**63 and below 2**64")
    return value


def _check_str(value: object) -> str:
    if type(value) is not str:
        raise InvalidValue("", _wrong_type(str, value))
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidValue("", "has a lone surrogate: not UTF-8") from None
    return value


def _exact(kind: type[T]) -> Callable[[object], T]:
    def check(value: object) -> T:
        if type(value) is not kind:
            raise InvalidValue("", _wrong_type(kind, value))
        return value

    return check


def _signature_from_value(value: Any) -> Signature:
    try:
        signature = Signature.from_bytes(value)
    except InvalidValue as fault:
        # A signature names its own fields "signature.s"; the path has the first part already.
        raise InvalidValue(fault.field.partition(".")[2], fault.detail) from None
    if signature.v != value[-1]:  # from_bytes reads 0 and 1 too, for people; here v has one form.
        raise InvalidValue("v", "must be 27 or 28")
    return signature


def _code_from_value(value: Any) -> RejectCode:
    number = _check_int(value)
    try:
        return RejectCode(number)
    except ValueError:
        raise InvalidValue("", f"{number} is no code of a rejection") from None


def _wrong_type(expected: type, value: object) -> str:
    return f"must be of type {expected.__name__}, not {type(value).__name__}"


_checked_state = _exact(State)
_checked_signature = _exact(Signature)
_checked_code = _exact(RejectCode)

_LEAVES: dict[Any, Field] = {
    int: Field(_check_int, _check_int),
    str: Field(_check_str, _check_str),
    bytes: Field(_exact(bytes), _exact(bytes)),
    bool: Field(_exact(bool), _exact(bool)),
    State: Field(lambda value: state_to_value(_checked_state(value)), state_from_value, depth=5),
    Signature: Field(lambda value: _checked_signature(value).to_bytes(), _signature_from_value),
    RejectCode: Field(lambda value: int(_checked_code(value).value), _code_from_value),
}
