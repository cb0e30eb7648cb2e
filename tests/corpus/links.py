"""HELLOs that must not be accepted, and frames that are wrong at this point (sections 4 to 7)."""

from collections.abc import Iterator
from dataclasses import replace

from tests.corpus import world
from tests.corpus.case import ANY, ASKED, NOTHING, Case, Expected, Frame, answered, ends
from tests.corpus.world import (
    ATTACKER,
    CURVE,
    NODE,
    NODE_STREAM,
    NOW_MS,
    OTHER,
    ack,
    bulk,
    chained,
    data,
    hello,
    knowing,
    pack,
    progress,
    signed,
    statement,
)
from zmqp2p import codec
from zmqp2p.codes import ByeCode, RefusalCode
from zmqp2p.crypto import next_digest
from zmqp2p.ids import StreamDigest

_ONE_REFUSED = ((1, RefusalCode.DECODE_FAILED),)
_SECOND_REFUSED = ((2, RefusalCode.DECODE_FAILED),)
_INVALID, _LOSS = ByeCode.RECORD_INVALID, ByeCode.DATA_LOSS


def cases() -> Iterator[Case]:
    """Return the cases."""
    yield from _states()
    yield from _records()
    yield from _identities()
    yield from _runs()
    yield from _acknowledgements()
    yield from _numbers()
    yield from _parts()


def _states() -> Iterator[Case]:
    before: dict[str, Frame] = {
        "DATA": data(b"x"),
        "BULK": bulk(bytes(32_768)),
        "ACK": ack(),
        "GAP": pack((18, *progress())),
        "PING": pack((10, 1)),
        "PONG": pack((12, 1, *progress())),
    }
    for kind, frame in before.items():
        yield Case(f"{kind} before HELLO, accepted", "HEL-5", (frame,), ASKED, ("silent",))
        yield Case(f"{kind} before HELLO, dialed", "HEL-3", (frame,), ends(), ("greeted",))
    many = (before["PING"],) * 10
    yield Case("ten frames before HELLO", "HEL-5", many, ASKED, ("silent",))
    yield Case("WHO to a listener", "HEL-5", (pack((16,)),) * 10, NOTHING, ("silent",))
    who = (pack((16,)),)
    yield Case("WHO to a dialer", "HEL-5", who, answered("HELLO"), ("greeted",))
    yield Case("ten WHO to a dialer", "HEL-5", who * 10, answered("HELLO"), ("greeted",))
    bye = (pack((14, 3, "go away")),)
    yield Case("BYE", "BYE-2", bye, Expected(closed=True), ANY)
    yield Case("frames after BYE", "BYE-2", (*bye, *many), Expected(closed=True), ANY)
    # Read together: an answer to each would be as good.
    yield Case("HELLO twice more", "HEL-4", (hello(),) * 2, answered("HELLO"))


def _records() -> Iterator[Case]:
    six = statement()
    signature = world.RECORD[-67:]
    high = bytearray(world.RECORD)
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    high[-33:-1] = (order - int.from_bytes(high[-33:-1])).to_bytes(32)
    high[-1] ^= 27 ^ 28
    bad = {
        "nothing": b"",
        "any bytes": b"\xc1" * 100,
        "six fields": pack(six),
        "eight fields": signed((*six, 0)),
        "version 2": signed(statement(version=2)),
        "true as version": signed(statement(version=True)),
        "an address of 19 bytes": signed(statement(address=bytes(19))),
        "a CURVE key of 31 bytes": signed(statement(curve_key=bytes(31))),
        "nine endpoints": signed(statement(endpoints=("tcp://192.0.2.1:1",) * 9)),
        "an endpoint of bytes": signed(statement(endpoints=(b"tcp://192.0.2.1:1",))),
        "an endpoint of 201 bytes": signed(statement(endpoints=("ipc://" + "x" * 195,))),
        "an endpoint that is any": signed(statement(endpoints=("tcp://*:1",))),
        "an endpoint with a source": signed(statement(endpoints=("tcp://eth0;192.0.2.1:1",))),
        "an endpoint in process": signed(statement(endpoints=("inproc://x",))),
        "an endpoint with port 0": signed(statement(endpoints=("tcp://192.0.2.1:0",))),
        "an endpoint with a zone": signed(statement(endpoints=("tcp://[fe80::1%eth0]:1",))),
        "an endpoint with a line feed": signed(statement(endpoints=("tcp://192.0.2.1:1\n",))),
        "an expiry before its issue": signed(statement(expires_ms=NOW_MS - 1000)),
        "an issue below zero": signed(statement(issued_ms=-1)),
        "an expiry of 2**53": signed(statement(expires_ms=2**53)),
        "a signature of 64 bytes": pack((*six, bytes(64))),
        "a signature with a high s": bytes(high),
        "a signature of zeros": pack((*six, bytes(65))),
        "v of 0 or 1": world.RECORD[:-1] + bytes([world.RECORD[-1] - 27]),
        "a byte behind it": world.RECORD + b"\x00",
        "a longer header": b"\xdc\x00\x07" + world.RECORD[1:],
    }
    for name, record in bad.items():
        rule = "REC-1"
        yield Case(
            f"a record with {name}", rule, (hello(record=record),), ends(_INVALID), ("silent",)
        )
    wrong = {
        "signed by another": signed(six, OTHER),
        "of the other's address, signed by the attacker": signed(statement(address=OTHER.address)),
        "signed without the domain": signed(six, domain=b""),
        "signed for another purpose": signed(six, domain=b"\x19Ethereum Signed Message:\n32"),
    }
    tampered = statement(endpoints=())
    wrong["with other endpoints than were signed"] = b"\x97" + pack(tampered)[1:] + signature
    for name, record in wrong.items():
        yield Case(
            f"a record {name}", "REC-2", (hello(record=record),), ends(_INVALID), ("silent",)
        )
    expired = signed(statement(expires_ms=NOW_MS))
    early = signed(statement(issued_ms=NOW_MS + 300_001))
    expiry = ends(ByeCode.RECORD_EXPIRED)
    yield Case("a record that has expired", "REC-3", (hello(record=expired),), expiry, ("silent",))
    yield Case(
        "a record of the future", "REC-4", (hello(record=early),), ends(_INVALID), ("silent",)
    )


def _identities() -> Iterator[Case]:
    theirs = signed(statement(OTHER), OTHER)
    own_key = signed(statement(OTHER, curve_key=CURVE[ATTACKER.address]), OTHER)
    own = world.NODE_RECORD
    mismatch, elsewhere = ends(ByeCode.KEY_MISMATCH), ends(ByeCode.ADDRESS_MISMATCH)
    replayed = (hello(record=theirs),)
    yield Case("another's record over one's own key", "IDN-1", replayed, mismatch, ANY)
    yield Case(
        "one's own record over another key",
        "IDN-1",
        (hello(),),
        mismatch,
        ("silent",),
        curve_key=CURVE[OTHER.address],
    )
    swapped = (hello(record=own_key),)
    known = ("greeted", "established")
    yield Case("another identity of the same key", "IDN-2", swapped, elsewhere, known)
    yield Case(
        "the node's own record",
        "IDN-3",
        (hello(record=own),),
        ends(ByeCode.DUPLICATE_INSTANCE),
        ("silent",),
        curve_key=CURVE[NODE.address],
    )
    older = signed(statement(curve_key=CURVE[OTHER.address], issued_ms=NOW_MS - 2000))
    yield Case(
        "an older record with another key",
        "IDN-4",
        (hello(record=older),),
        ends(ByeCode.RECORD_SUPERSEDED),
        ("known",),
        curve_key=CURVE[OTHER.address],
    )
    unsupported = ends(ByeCode.VERSION_UNSUPPORTED)
    yield Case(
        "HELLO of other versions", "HEL-1", (hello(versions=(0, 2)),), unsupported, ("silent",)
    )


def _runs() -> Iterator[Case]:
    """The session is established by an honest HELLO; the attacker then says another one."""
    earlier = hello(incarnation=6)
    two = ends(ByeCode.DUPLICATE_INSTANCE, "HELLO", held=True)
    lost = ends(_LOSS, "HELLO", held=True)
    yield Case("an earlier run, once", "RES-3", (earlier,), ASKED)
    rolled_back = ends(ByeCode.STORE_ROLLED_BACK, "WHO", "HELLO", held=True)
    yield Case("an earlier run, twice", "RES-3", (earlier, earlier), rolled_back)
    future = hello(incarnation=NOW_MS + 300_001)
    yield Case("a run of the future", "RES-13", (future,), ends(), ("silent", "known"))
    yield Case("the same run in two places", "RES-4", (hello(instance=bytes(8)),), two)
    yield Case("a base beyond what the node has", "RES-5", (hello(base=3, next=3),), lost)
    behind = knowing(cursor=2)
    yield Case("processed what was never sent", "RES-6", (behind,), lost)
    yield Case("heard a base that was never said", "RES-10", (knowing(heard=2),), lost)
    yield Case("another beginning of the stream", "RES-11", (hello(base_digest=bytes(16)),), lost)
    yield Case("other messages processed", "RES-11", (knowing(seen_digest=bytes(16)),), lost)
    one, another_run = data(b"\x90"), {"incarnation": 8, "instance": bytes(8)}
    forgot = replace(lost, answers=("ACK", *lost.answers), refusals=_ONE_REFUSED)
    again = hello(**another_run, base=1, next=1)
    yield Case("numbers to be given again", "RES-5", (one, again), forgot, apart=True)
    raised = data(b"\x90", seq=2, before=[b"\x90"], base=2)
    lowered = hello(**another_run, base=1, next=9)
    fallen = replace(lost, answers=("ACK", "ACK", *lost.answers), refusals=_SECOND_REFUSED)
    yield Case("a base lower than before", "RES-10", (one, raised, lowered), fallen, apart=True)


def _acknowledgements() -> Iterator[Case]:
    lost = ends(_LOSS, held=True)
    yield Case("received what was never sent", "ACK-1", (ack(received=2),), ends())
    yield Case("received the largest number", "ACK-1", (ack(received=2**53 - 1),), ends())
    yield Case("acknowledged what was never sent", "ACK-1", (ack(ack=2, received=2),), ends())
    pong = pack((12, 0, *progress(ack=9, received=9)))
    yield Case("PONG that nobody asked for, with such an ack", "ACK-1", (pong,), ends())
    yield Case("PONG that nobody asked for", "LIV-3", (pack((12, 9, *progress())),), NOTHING)
    contradiction = ack(ack=1, received=1)
    yield Case("processed other messages than were sent", "RES-11", (contradiction,), lost)
    other_start = ack(ack_digest=bytes(16))
    yield Case("another beginning of the node's stream", "RES-11", (other_start,), lost)
    true = next_digest(StreamDigest(NODE_STREAM), world.NODE_BODY)
    newer = ack(ack=1, ack_digest=true, received=1)
    yield Case("an older progress after a newer one", "ACK-5", (newer, ack()), NOTHING)
    unsent = data(b"\x90", received=5)
    yield Case("DATA with such a received", "ACK-1", (unsent,), ends())
    gaps = (pack((18, *progress())),) * 50
    yield Case("fifty GAPs", "GAP-1", gaps, answered("DATA"), apart=True)


def _numbers() -> Iterator[Case]:
    lost = ends(_LOSS, held=True)
    one, two = b"\x90", b"\x91\x05"
    yield Case("a number left out", "GAP-1", (data(two, seq=2, before=[one]),), answered("GAP"))
    far = data(two, seq=2**53 - 1, digest=bytes(16))
    yield Case("the largest number", "GAP-1", (far,) * 50, answered("GAP"), apart=True)
    yield Case(
        "another message than its digest says", "RES-11", (data(one, digest=chained(two)),), lost
    )
    window = world.WINDOW_MESSAGES + 1
    yield Case("more messages than the window", "WIN-1", (data(*[one] * window),), ends())
    third = bytes(world.WINDOW_BYTES // 3)
    more = [bulk(third, seq, [third] * (seq - 1)) for seq in range(1, 5)]
    yield Case("more bytes than the window", "WIN-1", tuple(more), ends())


def _parts() -> Iterator[Case]:
    def part(left: object, chunk: object) -> bytes:
        return codec.encode_trusted((0, left, chunk))  # type: ignore[arg-type]  # Any on purpose.

    full = bytes(262_128)
    bad = {
        "a chunk that is too short": part(1, full[:-1]),
        "no chunk": part(1, b""),
        "no part to come": part(0, b"x"),
        "4,096 parts to come": part(4096, full),
        "parts below zero to come": part(-1, full),
        "true as what is to come": part(True, full),
        "text as chunk": part(1, "x" * 40_000),
    }
    for name, body in bad.items():
        frame = bulk(body) if len(body) >= 32_768 else data(body)
        rule = "PRT-1"
        yield Case(f"a part with {name}", rule, (frame,), ends())
    first = part(2, full)
    yield Case(
        "a message between two parts",
        "PRT-1",
        (bulk(first), data(b"\x90", seq=2, before=[first])),
        ends(),
    )
    third = part(0, b"x")
    yield Case(
        "a part left out", "PRT-1", (bulk(first), data(third, seq=2, before=[first])), ends()
    )
    cut = b"\x93\x00" + b"\xc1" * 10
    yield Case("a part that is no encoding", "ENC-1", (data(cut),), ends())
