"""What a peer says, chosen by bytes: near the truth, because lies that are near it reach furthest.

Digests are left open mostly, and the engine under test is told the right ones (`tests.frames`).
"""

from tests import frames as some
from tests.engine_world import (
    HIGH,
    HOUR_MS,
    LOW,
    MIDDLE,
    START_MS,
    Other,
    curve_of,
    note,
    record_of,
)
from tests.fuzz.script import Script
from tests.unit.objectives.world import APP_DATA, ETHER, acceptance_of, exit_of, proposal_of
from zmqp2p import codec
from zmqp2p.codes import ByeCode, RefusalCode, RejectCode
from zmqp2p.crypto import SecretKey
from zmqp2p.ids import CurveKey, Seq, StreamDigest, StreamId, TurnNum
from zmqp2p.limits import BULK_MIN_BYTES, PART_MAX_BYTES
from zmqp2p.messages import RejectProposal, encode_message
from zmqp2p.records import Contact, PeerUri
from zmqp2p.session.session import Session
from zmqp2p.state import FixedPart, State, VariablePart, channel_id
from zmqp2p.wire.frames import (
    NEWEST_RECORD,
    Ack,
    Bulk,
    Bye,
    Data,
    Frame,
    Gap,
    Hello,
    Ignored,
    Kind,
    Ping,
    Pong,
    Progress,
    Refusal,
    Who,
)

THIRD = SecretKey(b"\x04" * 32)
_RECORDS = [
    record_of(LOW).encode(),
    record_of(HIGH).encode(),
    record_of(MIDDLE).encode(),  # Whoever shows it shows this node's own.
    record_of(LOW, issued_ms=START_MS + 1, curve_key=CurveKey(b"k" * 32)).encode(),
    record_of(LOW, issued_ms=START_MS - 2, lifetime_ms=1).encode(),
    record_of(HIGH, issued_ms=START_MS + HOUR_MS).encode(),
    record_of(HIGH, issued_ms=START_MS + 2, endpoints=()).encode(),
    record_of(LOW).encode()[:-1] + b"\x00",
    record_of(THIRD).encode(),
]
CONTACTS: list[Contact] = [
    record_of(LOW),
    record_of(HIGH),
    record_of(LOW, issued_ms=START_MS + 3),
    PeerUri(HIGH.address, curve_of(HIGH), "tcp://127.0.0.1:2"),
]
_FIXED = FixedPart((LOW.address, MIDDLE.address, HIGH.address), 1)
CHANNEL = channel_id(_FIXED)
_OUTCOMES = [
    (exit_of(ETHER, (LOW.address, 5), (MIDDLE.address, total), (HIGH.address, 1)),)
    for total in (7, 8)
]
_STATES = [
    State(_FIXED, VariablePart(APP_DATA, outcome, TurnNum(turn), is_final=False))
    for turn in (0, 1)
    for outcome in _OUTCOMES
]
OWN_CHANNEL = (
    FixedPart((MIDDLE.address, LOW.address), 2),
    (exit_of(ETHER, (MIDDLE.address, 5), (LOW.address, 7)),),
    APP_DATA,
)
_OWN_STATES = [
    State(OWN_CHANNEL[0], VariablePart(APP_DATA, OWN_CHANNEL[1], TurnNum(turn), is_final=False))
    for turn in (0, 1)
]
_BODIES = [
    note(""),
    note("a note"),
    note("a note with a deadline", START_MS + 1000),
    encode_message(Other(1)),
    b"",
    b"\xc0",
    codec.encode((999,)),
    *(encode_message(proposal_of(state, key)) for state in _STATES for key in (LOW, HIGH)),
    *(encode_message(acceptance_of(state, key)) for state in _STATES for key in (LOW, HIGH)),
    *(encode_message(acceptance_of(state, LOW)) for state in _OWN_STATES),
    encode_message(RejectProposal(CHANNEL, TurnNum(0), RejectCode.DECLINED, "no")),
]
_SIZES = [BULK_MIN_BYTES - 5, BULK_MIN_BYTES, 100 * 1024, PART_MAX_BYTES]
_KINDS = [Kind.DATA, *Kind, Kind.HELLO, Kind.ACK]


def frame(script: Script, session: Session | None) -> Frame:
    """Return the next frame; ``session`` is the one of the link it comes over, if there is one."""
    kind = script.pick(_KINDS)
    match kind:
        case Kind.HELLO:
            return hello(script, session)
        case Kind.DATA | Kind.BULK:
            return _messages(script, session, kind)
        case Kind.PONG:
            return Pong(script.number(), progress(script, session))
        case Kind.ACK | Kind.GAP:
            said = progress(script, session)
            return Ack(said) if kind is Kind.ACK else Gap(said)
        case Kind.PING:
            return Ping(script.number())
        case Kind.BYE:
            return Bye(script.pick(list(ByeCode)), "")
        case _:
            return Who() if script.below(4) else Ignored(2 * script.below(8) + 1)


def _messages(script: Script, session: Session | None, kind: Kind) -> Data | Bulk:
    seq = _seq(script, session)
    digest, said = _digest(script), progress(script, session)
    if kind is Kind.BULK:
        return Bulk(seq, digest, said, body(script).ljust(BULK_MIN_BYTES))
    bodies = [body(script) for _ in range(1 + script.below(3))] * script.pick([1, 1, 1, 7])
    small = tuple(one for one in bodies if len(one) < BULK_MIN_BYTES)
    return Data(seq, digest, said, small or (b"",))


def hello(script: Script, session: Session | None) -> Hello:
    """Return a HELLO, of a peer that knows something of ``session`` or nothing."""
    base = _near(script, session.inbox.cursor + 1 if session else 1)
    ours = session.outbox.stream if session else StreamId(b"")
    seen = script.pick([ours, StreamId(b""), some.OTHER_STREAM])
    cursor = Seq(_near(script, session.outbox.base - 1 if session else 0) if seen else 0)
    return Hello(
        versions=script.pick([(1,), (1, 2), (2,)]),
        record=script.pick(_RECORDS),
        incarnation=1 + script.below(3),
        instance=script.pick([some.INSTANCE, some.OTHER_INSTANCE]),
        stream=script.pick([some.STREAM, some.OTHER_STREAM]),
        base=Seq(max(base, 1)),
        base_digest=_digest(script),
        next=Seq(min(max(base, 1) + script.number(), 2**53)),  # At most one too many.
        seen_stream=seen,
        cursor=cursor,
        seen_digest=_digest(script),
        heard=Seq(1 + script.below(4)),
        refusals=_refusals(script, cursor),
        window_messages=script.pick([1000, 0, 1, 2]),
        window_bytes=script.pick([1_000_000, 0, 300_000, 10]),
        extensions=_extensions(script),
    )


def _extensions(script: Script) -> dict[int, bytes]:
    match script.below(8):
        case 5:
            return {NEWEST_RECORD: script.pick(_RECORDS)}
        case 6:
            return {NEWEST_RECORD: script.blob()}
        case 7:
            return {7: b"x"}
        case _:
            return {}


def progress(script: Script, session: Session | None) -> Progress:
    """Return the progress of a peer that is about as far as ``session`` permits."""
    ack = _near(script, session.outbox.base - 1 if session else 0)
    received = max(ack, _near(script, ack + script.below(3)))
    base = max(_near(script, 1), 1)
    return Progress(
        Seq(base),
        Seq(ack),
        _digest(script),
        Seq(received),
        _refusals(script, ack),
        script.pick([1000, 0, 1, 2]),
        script.pick([1_000_000, 0, 300_000, 10]),
    )


def body(script: Script) -> bytes:
    """Return the body of a message, of a part of one, or of neither."""
    match script.below(6):
        case 0 | 1 | 2:
            return script.pick(_BODIES)
        case 3:
            return codec.encode((0, script.below(4), bytes(script.pick([PART_MAX_BYTES, 1, 0]))))
        case 4:
            return bytes(script.pick(_SIZES))
        case _:
            return script.take(script.below(40))


def damage(script: Script, parts: list[bytes]) -> None:
    """Change one byte of a frame, or cut it there."""
    index = script.below(len(parts))
    part = bytearray(parts[index])
    if part:
        at = script.number() % len(part)
        part[at : at + script.below(3)] = script.take(script.below(3))
    parts[index] = bytes(part)


def _seq(script: Script, session: Session | None) -> Seq:
    return Seq(max(_near(script, session.inbox.received + 1 if session else 1), 1))


def _near(script: Script, number: int) -> int:
    """Return ``number``, mostly; or one near it, or any."""
    match script.below(8):
        case 5:
            return max(number - 1 - script.below(3), 0)
        case 6:
            return number + 1 + script.below(3)
        case 7:
            return min(script.number(), 2**53 - 1)
        case _:
            return number


def _digest(script: Script) -> StreamDigest:
    return some.UNSAID if script.below(16) else StreamDigest(b"\x05" * 16)


def _refusals(script: Script, ack: int) -> tuple[Refusal, ...]:
    if ack == 0 or script.below(4) != 3:
        return ()
    codes = list(RefusalCode)
    numbers = sorted({max(ack - script.below(3), 1) for _ in range(1 + script.below(3))})
    return tuple(Refusal(Seq(number), script.pick(codes), "no") for number in numbers)
