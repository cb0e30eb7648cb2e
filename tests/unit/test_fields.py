"""A frozen dataclass travels as the array of its fields; what cannot travel is refused early."""

import dataclasses
from dataclasses import InitVar, dataclass, field
from typing import Any, ClassVar, NewType, Self

import pytest

from zmqp2p.codec import DEPTH_MAX, INT_MAX, INT_MIN
from zmqp2p.codes import RejectCode
from zmqp2p.crypto import SecretKey, Signature
from zmqp2p.errors import InvalidValue
from zmqp2p.fields import Record
from zmqp2p.ids import Address
from zmqp2p.state import FixedPart, State, VariablePart

Cents = NewType("Cents", int)
EuroCents = NewType("EuroCents", Cents)

SIGNATURE = SecretKey(bytes(31) + b"\x01").sign(bytes(32))
STATE = State(
    FixedPart((Address(bytes(20)),), 0),
    VariablePart(b"", (), 0, is_final=False),  # type: ignore[arg-type]
)


@dataclass(frozen=True)
class Point:
    """A class that others hold; its second field has a default."""

    x: int
    y: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Everything:
    """One field of every type that travels."""

    number: int
    text: str
    data: bytes
    flag: bool
    price: EuroCents
    pair: tuple[int, str]
    nothing: tuple[()]
    many: tuple[Point, ...]
    deep: tuple[tuple[int, ...], ...]
    point: Point
    state: State
    signature: Signature
    code: RejectCode
    shared: ClassVar[float] = 0.5  # No field.


EVERYTHING = Everything(
    number=-1,
    text="é",
    data=b"\0",
    flag=True,
    price=EuroCents(Cents(3)),
    pair=(1, "a"),
    nothing=(),
    many=(Point(1), Point(2, 3)),
    deep=((), (1, 2)),
    point=Point(4),
    state=STATE,
    signature=SIGNATURE,
    code=RejectCode.BUSY,
)
VALUES: tuple[Any, ...] = (
    -1,
    "é",
    b"\0",
    True,
    3,
    (1, "a"),
    (),
    ((1, 0), (2, 3)),
    ((), (1, 2)),
    (4, 0),
    ((bytes(20),), 0, bytes(20), 86_400, b"", (), 0, False),
    SIGNATURE.to_bytes(),
    3,
)
NAMES = [item.name for item in dataclasses.fields(Everything)]


def with_value(name: str, value: Any) -> tuple[Any, ...]:
    return tuple(value if name == other else VALUES[at] for at, other in enumerate(NAMES))


def test_every_type_that_travels_survives_it() -> None:
    record = Record(Everything)
    assert record.pack(EVERYTHING) == VALUES
    assert record.unpack(VALUES) == EVERYTHING


@pytest.mark.parametrize("number", [INT_MIN, INT_MAX])
def test_an_int_has_the_range_of_the_codec(number: int) -> None:
    assert Record(Point).unpack((number, 0)) == Point(number)
    assert Record(Point).pack(Point(number)) == (number, 0)


BAD_BOTH_WAYS = [
    ("number", True, "number"),
    ("number", 1.0, "number"),
    ("number", INT_MAX + 1, "number"),
    ("number", INT_MIN - 1, "number"),
    ("text", b"", "text"),
    ("text", "\ud800", "text"),
    ("data", "", "data"),
    ("flag", 1, "flag"),
    ("price", "3", "price"),
    ("pair", (1,), "pair"),
    ("pair", (1, "a", 2), "pair"),
    ("pair", (1, 2), "pair[1]"),
    ("pair", [1, "a"], "pair"),
    ("nothing", (1,), "nothing"),
    ("many", [], "many"),
    ("many", 5, "many"),
    ("deep", ((), (1, "2")), "deep[1][1]"),
    ("deep", ((), 5), "deep[1]"),
    ("point", 5, "point"),
    ("state", 5, "state"),
    ("signature", 5, "signature"),
    ("code", True, "code"),
    ("code", "busy", "code"),
]


@pytest.mark.parametrize(("name", "bad", "path"), BAD_BOTH_WAYS)
def test_a_value_of_another_type_is_refused_on_the_way_out(name: str, bad: Any, path: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        Record(Everything).pack(dataclasses.replace(EVERYTHING, **{name: bad}))
    assert caught.value.field == path


@pytest.mark.parametrize(
    ("name", "bad", "path"),
    [
        *BAD_BOTH_WAYS,
        ("many", ((1, 0), (2,)), "many[1]"),
        ("many", ((1, 0), (2, "3")), "many[1].y"),
        ("point", (4, 0, 0), "point"),
        ("state", (), "state"),
        ("state", ((), *VALUES[10][1:]), "state.participants"),
        ("signature", SIGNATURE.to_bytes()[:64], "signature"),
        ("signature", SIGNATURE.r + bytes(32) + b"\x1b", "signature.s"),
        ("signature", SIGNATURE.to_bytes()[:64] + b"\x02", "signature.v"),
        ("code", 0, "code"),
        ("code", 4, "code"),
    ],
)
def test_a_value_of_another_type_is_refused_on_the_way_in(name: str, bad: Any, path: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        Record(Everything).unpack(with_value(name, bad))
    assert caught.value.field == path


@pytest.mark.parametrize("v", [0, 1])
def test_a_signature_travels_with_27_or_28_only(v: int) -> None:
    """`Signature.from_bytes` reads 0 and 1 too; then two byte strings would be one message."""
    joined = SIGNATURE.to_bytes()[:64] + bytes((v,))
    with pytest.raises(InvalidValue) as caught:
        Record(Everything).unpack(with_value("signature", joined))
    assert caught.value.field == "signature.v"


@pytest.mark.parametrize("values", [VALUES[:-1], (*VALUES, 0), list(VALUES), 5])
def test_the_number_of_fields_is_exact(values: Any) -> None:
    with pytest.raises(InvalidValue, match="must be an array of 13 fields"):
        Record(Everything).unpack(values)


@pytest.mark.parametrize("other", [5, Point, EVERYTHING])
def test_only_instances_of_the_class_travel(other: object) -> None:
    with pytest.raises(InvalidValue, match="must be of type Point"):
        Record(Point).pack(other)


def test_an_instance_of_a_subclass_does_not_travel() -> None:
    """It would arrive as another class."""

    @dataclass(frozen=True)
    class Point3(Point):
        z: int = 0

    with pytest.raises(InvalidValue, match="must be of type Point, not Point3"):
        Record(Point).pack(Point3(1))
    assert Record(Point3).pack(Point3(1, 2, 3)) == (1, 2, 3)


# --- Classes that cannot travel -----------------------------------------------------------------


@dataclass
class Thawed:
    """Not frozen."""

    x: int


class Bare:
    """Not a dataclass."""

    x: int


class Undecorated(Point):
    """A dataclass by its parent only: its own annotation is no field."""

    z: int


@dataclass(frozen=True, init=False)
class Handmade:
    """Without the constructor that a dataclass makes."""

    x: int


@dataclass(frozen=True)
class Within:
    """Holds a class that cannot travel."""

    inner: Thawed


@dataclass(frozen=True)
class Unknown:
    """A hint that names nothing."""

    other: "Nowhere"  # type: ignore[name-defined]  # noqa: F821


@dataclass(frozen=True)
class Broken:
    """A hint that is no expression."""

    other: "tuple[int"  # type: ignore[valid-type]  # noqa: F722


@dataclass(frozen=True)
class Elsewhere:
    """A hint that names nothing in something."""

    other: "Point.Missing"  # type: ignore[name-defined]


@dataclass(frozen=True)
class Late:
    """A field that the constructor does not take."""

    x: int
    y: int = field(default=0, init=False)


@dataclass(frozen=True)
class Hidden:
    """An argument that the instance does not keep."""

    x: int
    y: InitVar[int]


@dataclass(frozen=True)
class Tree:
    """Contains itself."""

    children: tuple["Tree", ...]


@dataclass(frozen=True)
class Loop:
    """Contains itself by way of another."""

    next: tuple["Knot", ...]


@dataclass(frozen=True)
class Knot:
    """The other."""

    next: tuple[Loop, ...]


@dataclass(frozen=True)
class Selfish:
    """Contains itself, by the name of Self."""

    children: tuple[Self, ...]


@pytest.mark.parametrize(
    ("cls", "named", "why"),
    [
        (Thawed, "Thawed", "frozen"),
        (Bare, "Bare", "frozen"),
        (Undecorated, "Undecorated", "frozen"),
        (Handmade, "Handmade", "frozen"),
        (Within, "Within.inner.Thawed", "frozen"),
        (Unknown, "Unknown", "'Nowhere' is not defined; .* module level"),
        (Broken, "Broken", "module level"),
        (Elsewhere, "Elsewhere", "no attribute 'Missing'"),
        (Late, "Late.y", "not an argument"),
        (Hidden, "Hidden.y", "no field"),
        (Tree, "Tree.children", r"contains itself \(by Tree\)"),
        (Loop, "Loop.next.Knot.next", r"contains itself \(by Loop\)"),
        (Selfish, "Selfish.children", "Self cannot travel"),
    ],
)
def test_a_class_that_cannot_travel_is_refused_by_name(cls: type, named: str, why: str) -> None:
    with pytest.raises(InvalidValue, match=why) as caught:
        Record(cls)
    assert caught.value.field == named


@pytest.mark.parametrize(
    "hint",
    [
        float,
        int | None,
        list[int],
        dict[int, int],
        tuple,
        object,
        Any,
        bytearray,
        tuple[float, ...],
        tuple[int, float],
        NewType("Ratio", float),
    ],
    ids=str,
)
def test_a_field_of_another_type_is_refused_by_name(hint: Any) -> None:
    cls = dataclasses.make_dataclass("Made", [("good", int), ("bad", hint)], frozen=True)
    with pytest.raises(InvalidValue, match="cannot travel") as caught:
        Record(cls)
    assert caught.value.field == "Made.bad"


def test_a_class_that_contains_itself_is_refused_while_it_is_being_defined() -> None:
    """A decorator runs before the class has its name: the hint cannot even be looked up."""

    @dataclass(frozen=True)
    class Young:
        children: tuple["Young", ...]  # Local, so out of reach too.

    with pytest.raises(InvalidValue, match=r"Young: contains itself \(by Young\)"):
        Record(Young)


def test_a_class_may_occur_twice_side_by_side() -> None:
    cls = dataclasses.make_dataclass("Line", [("a", Point), ("b", Point)], frozen=True)
    assert Record(cls).unpack(((1, 2), (3, 4))) == cls(Point(1, 2), Point(3, 4))


def test_a_class_that_nests_too_deep_for_the_codec_is_refused() -> None:
    """Else its instances could be made, stored and never sent."""
    hint: Any = int
    for _ in range(DEPTH_MAX - 1):
        hint = tuple[hint, ...]
    assert Record(dataclasses.make_dataclass("A", [("x", hint)], frozen=True)).depth == DEPTH_MAX
    with pytest.raises(InvalidValue, match="nests to 13"):
        Record(dataclasses.make_dataclass("B", [("x", tuple[int, hint])], frozen=True))
    with pytest.raises(InvalidValue, match="nests to 13"):
        Record(dataclasses.make_dataclass("C", [("x", tuple[hint, ...])], frozen=True))


def test_a_state_counts_with_its_own_depth() -> None:
    """An allocation is the fifth array of a state; the message is the sixth."""
    cls = dataclasses.make_dataclass("D", [("x", State)], frozen=True)
    assert Record(cls).depth == 6


def test_a_class_without_fields_travels() -> None:
    cls = dataclasses.make_dataclass("Ping", [], frozen=True)
    assert Record(cls).unpack(Record(cls).pack(cls())) == cls()


# --- What a constructor does --------------------------------------------------------------------


@dataclass(frozen=True)
class Choosy:
    """Refuses some values, each in another way."""

    kind: int

    def __post_init__(self) -> None:
        faults: dict[int, Exception] = {
            1: ValueError("not one"),
            2: TypeError(),
            3: InvalidValue("kind", "not three"),
            4: KeyError("k"),
            5: ZeroDivisionError("z"),
            6: AssertionError("a"),
            7: ValueError("x" * 1000),
            8: RuntimeError("odd"),
        }
        if self.kind in faults:
            raise faults[self.kind]


@dataclass(frozen=True)
class Holder:
    """Holds the class that refuses."""

    items: tuple[Choosy, ...]


@pytest.mark.parametrize(
    ("kind", "field_name", "detail"),
    [
        (1, "items[1]", "refused: not one"),
        (2, "items[1]", "refused: TypeError"),
        (3, "items[1].kind", "not three"),
        (4, "items[1]", "refused: 'k'"),
        (5, "items[1]", "refused: z"),
        (6, "items[1]", "refused: a"),
        (7, "items[1]", "refused: " + "x" * 200),
        (8, "items[1]", "refused: odd"),
    ],
)
def test_what_a_constructor_refuses_is_refused_by_the_path(
    kind: int, field_name: str, detail: str
) -> None:
    assert Record(Holder).unpack((((0,),),)) == Holder((Choosy(0),))
    with pytest.raises(InvalidValue) as caught:
        Record(Holder).unpack((((0,), (kind,)),))
    assert (caught.value.field, caught.value.detail) == (field_name, detail)


@dataclass(frozen=True)
class Trimmed:
    """Keeps another value than it is given."""

    text: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", self.text.strip())


def test_a_value_that_the_constructor_changes_is_refused() -> None:
    """Else two byte strings would be one message, and its id would not name it."""
    assert Record(Trimmed).unpack(("a",)) == Trimmed(" a ")
    with pytest.raises(InvalidValue, match="would keep"):
        Record(Trimmed).unpack((" a",))


@dataclass(frozen=True)
class Copied:
    """Keeps an equal value, but another object."""

    data: bytes

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", bytes(bytearray(self.data)))


def test_a_value_that_the_constructor_copies_is_as_good_as_the_one_it_was_given() -> None:
    assert Record(Copied).unpack((b"four",)) == Copied(b"four")
