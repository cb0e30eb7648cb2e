"""Good frames with messages that must be refused, and the connection goes on (sections 8 and 9)."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tests.corpus.case import Case, Expected, refused
from tests.corpus.world import ATTACKER, NODE, NOW_MS, OTHER, bulk, data, pack
from zmqp2p import codec
from zmqp2p.codes import RefusalCode, RejectCode
from zmqp2p.crypto import SecretKey
from zmqp2p.ids import Address, TurnNum
from zmqp2p.messages import AcceptState, ProposeState, RejectProposal, encode_message
from zmqp2p.state import (
    Allocation,
    AssetExit,
    FixedPart,
    State,
    VariablePart,
    channel_id,
    destination_of,
    sign_state,
    state_hash,
)

_MALFORMED, _WRONG = RefusalCode.DECODE_FAILED, RefusalCode.PAYLOAD_INVALID
_FORGED = RefusalCode.SIGNATURE_INVALID
_Z32, _ETHER = bytes(32), Address(bytes(20))


def cases() -> Iterator[Case]:
    """Return the cases."""
    for name, rule, body in [*_bodies(), *_fields()]:
        yield Case(name, rule, (data(body),), refused(_MALFORMED))
    yield from _unknown()
    yield from _channels()


def _bodies() -> Iterator[tuple[str, str, bytes]]:
    yield "no byte at all", "ENC-1", b""
    yield "bytes that are no MessagePack", "ENC-1", b"\xc1"
    yield "an array that claims 2**32 - 1 items", "ENC-1", b"\xdd" + b"\xff" * 4
    yield "a tag in more bytes than it needs", "ENC-2", b"\x91\xcc\x01"
    yield "a float", "ENC-3", pack((1000, 0.5))
    yield "nil", "ENC-3", pack((1000, None))
    yield "13 levels", "ENC-4", b"\x91" * 12 + b"\x90"
    yield "a thousand levels", "ENC-4", b"\x91" * 1000 + b"\x90"
    yield "a key twice", "ENC-5", b"\x92\xcd\x03\xe8\x82\x01\x01\x01\x02"
    yield "text as key", "ENC-5", b"\x92\xcd\x03\xe8\x81\xa1x\x01"
    yield "a map", "MSG-1", pack({1: 1})
    yield "an array of nothing", "MSG-1", pack(())
    yield "text as tag", "MSG-1", pack(("1",))
    yield "true as tag", "MSG-1", pack((True,))


def _fields() -> Iterator[tuple[str, str, bytes]]:
    channel, signature = b"\x01" * 32, _prefund_signature()
    good: tuple[Any, ...] = (2, channel, 0, _Z32, signature)
    yield "an accept_state of nothing", "MSG-3", pack((2,))
    yield "a field too many", "MSG-3", pack((*good, b""))
    yield "a channel id of 31 bytes", "MSG-3", pack((2, channel[1:], *good[2:]))
    yield "a channel id that is text", "MSG-3", pack((2, "x" * 32, *good[2:]))
    yield "a channel id like an address", "STA-2", pack((2, bytes(12) + b"\x01" * 20, *good[2:]))
    yield "a turn below zero", "MSG-3", pack((2, channel, -1, *good[3:]))
    yield "true as turn", "MSG-3", pack((2, channel, True, *good[3:]))
    yield "a turn of 2**48", "MSG-3", pack((2, channel, 2**48, *good[3:]))
    yield "a signature of 64 bytes", "SIG-1", pack((*good[:4], signature[:64]))
    yield "a signature of zeros", "SIG-1", pack((*good[:4], bytes(65)))
    yield "a signature with v 0", "SIG-1", pack((*good[:4], signature[:64] + b"\x00"))
    yield (
        "a signature with a high s",
        "SIG-1",
        pack((*good[:4], b"\x01" * 32 + b"\xf0" * 32 + b"\x1b")),
    )
    yield "an unknown code of a rejection", "MSG-6", pack((3, channel, 0, 4, ""))
    yield "a rejection with a reason of 201 bytes", "MSG-6", pack((3, channel, 0, 1, "x" * 201))
    yield "a map of no extensions", "MSG-4", pack((*good, {}))
    yield "an unknown even extension", "MSG-4", pack((*good, {2: b""}))
    yield "a deadline below zero", "MSG-4", pack((*good, {1: -1}))
    yield "a deadline of 2**63", "MSG-4", pack((*good, {1: 2**63}))
    yield "true as deadline", "MSG-4", pack((*good, {1: True}))
    for name, state in _states():
        yield f"a state with {name}", "STA-1", pack((1, channel, state, signature))


def _states() -> Iterator[tuple[str, Any]]:
    destination = bytes(12) + ATTACKER.address
    paid = (destination, b"\x05", 0, b"")

    def state(allocations: Any = (paid,), **changes: Any) -> tuple[Any, ...]:
        fields = {
            "participants": (ATTACKER.address, NODE.address),
            "channel_nonce": 1,
            "app_definition": _ETHER,
            "challenge_duration": 1,
            "app_data": b"",
            "outcome": ((_ETHER, (0, b""), allocations),),
            "turn_num": 0,
            "is_final": False,
        }
        return tuple((fields | changes).values())

    yield "seven fields", state()[:-1]
    yield "no participants", state(participants=())
    yield "a participant twice", state(participants=(NODE.address, NODE.address))
    yield "a participant of 19 bytes", state(participants=(NODE.address[1:],))
    yield (
        "256 participants",
        state(participants=tuple(number.to_bytes(20) for number in range(1, 257))),
    )
    yield "a nonce below zero", state(channel_nonce=-1)
    yield "a challenge duration of 2**48", state(challenge_duration=2**48)
    yield "0 as is_final", state(is_final=0)
    yield "an amount with a leading zero", state(((destination, b"\x00\x05", 0, b""),))
    yield "an amount of 33 bytes", state(((destination, b"\x05" * 33, 0, b""),))
    yield "an amount that is an integer", state(((destination, 5, 0, b""),))
    yield "a destination of 20 bytes", state(((ATTACKER.address, b"\x05", 0, b""),))
    yield "an allocation of type 256", state(((destination, b"\x05", 256, b""),))
    yield (
        "33 assets",
        state(outcome=tuple((number.to_bytes(20), (0, b""), ()) for number in range(33))),
    )
    yield "513 allocations", state((paid,) * 513)


def _unknown() -> Iterator[Case]:
    unknown = refused(RefusalCode.TYPE_UNKNOWN)
    for tag in (4, 63, 64, 2**32 - 1, -1):
        yield Case(f"tag {tag}", "MSG-2", (data(pack((tag,))),), unknown)
    late = encode_message(_rejection(), NOW_MS - 1)
    yield Case("a deadline that has passed", "MSG-4", (data(late),), refused(RefusalCode.EXPIRED))
    parts = [codec.encode_trusted((0, left, bytes(262_128 if left else 1))) for left in (2, 1, 0)]
    frames = [
        bulk(parts[0]),
        bulk(parts[1], 2, parts[:1]),
        data(parts[2], seq=3, before=parts[:2]),
    ]
    yield Case(
        "a message larger than the node takes",
        "PRT-2",
        tuple(frames),
        refused(RefusalCode.TOO_LARGE, 3),
    )
    good = (data(b"\x90"),) * 50
    yield Case("the same DATA fifty times", "SEQ-2", good, refused(_MALFORMED, acks=50), apart=True)
    unheard = [data(b"\x90", seq=seq, before=[b"\x90"] * (seq - 1)) for seq in range(1, 67)]
    most = tuple((seq, _MALFORMED) for seq in range(1, 65))
    stopped = Expected(("ACK",) * 66, refusals=most)
    yield Case("66 refusals that it does not hear", "REF-4", tuple(unheard), stopped, apart=True)


# --- Channels -----------------------------------------------------------------------------------


def _fixed(*others: Address, nonce: int = 1) -> FixedPart:
    return FixedPart((ATTACKER.address, NODE.address, *others), nonce)


def _state(fixed: FixedPart | None = None, turn: int = 0, **changes: Any) -> State:
    shares = tuple(Allocation(destination_of(who), 5) for who in (ATTACKER.address, NODE.address))
    variable = VariablePart(b"", (AssetExit(_ETHER, shares),), TurnNum(turn), is_final=False)
    return State(fixed or _fixed(), replace(variable, **changes))


def _prefund_signature() -> bytes:
    return sign_state(_state(), ATTACKER).to_bytes()


def _rejection() -> RejectProposal:
    return RejectProposal(channel_id(_fixed()), TurnNum(0), RejectCode.DECLINED, "no")


def _propose(state: State, key: SecretKey = ATTACKER) -> bytes:
    return encode_message(ProposeState(channel_id(state.fixed), state, sign_state(state, key)))


def _accept(state: State, key: SecretKey = ATTACKER) -> bytes:
    signature = sign_state(state, key)
    fixed, turn = state.fixed, state.variable.turn_num
    return encode_message(AcceptState(channel_id(fixed), turn, state_hash(state), signature))


def _channels() -> Iterator[Case]:
    for name, rule, code, body in [*_proposals(), *_strangers()]:
        yield Case(name, rule, (data(body),), refused(code))
    good = _propose(_state())
    paid_more = _state(
        outcome=(AssetExit(_ETHER, (Allocation(destination_of(ATTACKER.address), 9),)),)
    )
    after: list[tuple[str, str, RefusalCode, bytes]] = [
        ("a second proposal for the channel", "FND-5", _WRONG, _propose(paid_more)),
        ("the acceptance of another state", "FND-5", _WRONG, _accept(paid_more)),
        ("an acceptance signed by another", "FND-5", _FORGED, _accept(_state(), OTHER)),
        ("a rejection after its signature", "FND-9", _WRONG, encode_message(_rejection())),
        ("an acceptance signed by the node", "FND-5", _FORGED, _accept(_state(), NODE)),
    ]
    for name, rule, code, body in after:
        frames = (data(good), data(body, seq=2, before=[good]))
        yield Case(name, rule, frames, refused(code, 2))


def _proposals() -> Iterator[tuple[str, str, RefusalCode, bytes]]:
    state = _state()
    yield "a proposal signed by another", "FND-5", _FORGED, _propose(state, OTHER)
    foreign = FixedPart((ATTACKER.address, OTHER.address), 1)
    yield "a channel without the node", "FND-1", _WRONG, _propose(_state(foreign))
    first = FixedPart((NODE.address, ATTACKER.address), 1)
    yield "a channel that the node must open", "FND-1", _WRONG, _propose(_state(first))
    alone = FixedPart((NODE.address,), 1)
    yield "a channel of the node alone", "FND-1", _WRONG, _propose(_state(alone), ATTACKER)
    yield "a proposal that is final", "FND-2", _WRONG, _propose(_state(is_final=True))
    other_id = ProposeState(channel_id(_fixed(nonce=2)), state, sign_state(state, ATTACKER))
    yield "the id of another channel", "FND-2", _WRONG, encode_message(other_id)
    yield "no asset", "FND-3", _WRONG, _propose(_state(outcome=()))
    pays_node = Allocation(destination_of(NODE.address), 5)
    exits = {
        "an asset twice": (AssetExit(_ETHER, (pays_node,)),) * 2,
        "an asset with nothing in it": (AssetExit(_ETHER, ()),),
        "an asset with sums above 2**256": (
            AssetExit(
                _ETHER,
                (
                    Allocation(destination_of(ATTACKER.address), 2**256 - 1),
                    pays_node,
                ),
            ),
        ),
        "a participant twice in an asset": (AssetExit(_ETHER, (pays_node, pays_node)),),
        "a stranger in an asset": (
            AssetExit(_ETHER, (Allocation(destination_of(OTHER.address), 5),)),
        ),
        "an allocation of another type": (
            AssetExit(_ETHER, (Allocation(destination_of(NODE.address), 5, 1),)),
        ),
    }
    for name, outcome in exits.items():
        yield name, "FND-3", _WRONG, _propose(_state(outcome=outcome))
    one, two = (Allocation(destination_of(who), 5) for who in (ATTACKER.address, NODE.address))
    token = Address(b"\x11" * 20)
    crossed = (AssetExit(_ETHER, (one, two)), AssetExit(token, (two, one)))
    yield "assets that wait for each other", "FND-4", _WRONG, _propose(_state(outcome=crossed))


def _strangers() -> Iterator[tuple[str, str, RefusalCode, bytes]]:
    unknown, state = RefusalCode.CHANNEL_UNKNOWN, _state()
    yield "an acceptance for an unknown channel", "FND-1", unknown, _accept(state)
    yield "a rejection of an unknown channel", "FND-1", unknown, encode_message(_rejection())
