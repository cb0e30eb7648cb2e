"""Hypothesis strategies for the values of this package: in range, with the edges in easy reach."""

from hypothesis import strategies as st

from zmqp2p.codec import INT_MAX, INT_MIN, Value
from zmqp2p.codes import RejectCode
from zmqp2p.ids import Address, ChannelId, StateHash, TurnNum
from zmqp2p.messages import AcceptState, ProposeState, ProtocolMessage, RejectProposal
from zmqp2p.state import (
    Allocation,
    AssetExit,
    FixedPart,
    Outcome,
    Signature,
    State,
    VariablePart,
    channel_id,
)

_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def uints(bits: int) -> st.SearchStrategy[int]:
    """Return integers below ``2**bits``; small ones, large ones and the largest come often."""
    most = 2**bits - 1
    return st.one_of(st.integers(0, 3), st.integers(0, most), st.just(most))


def blobs() -> st.SearchStrategy[bytes]:
    """Return bytes around the word sizes, where ABI padding goes wrong."""
    exact = st.sampled_from([0, 1, 31, 32, 33, 64, 65])
    return exact.flatmap(lambda size: st.binary(min_size=size, max_size=size))


addresses = st.binary(min_size=20, max_size=20).map(Address)
hashes = st.binary(min_size=32, max_size=32)
channel_ids = hashes.filter(lambda value: any(value[:12])).map(ChannelId)
turn_nums = uints(48).map(TurnNum)
reasons = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)  # At most 4 bytes each.

allocations = st.builds(
    Allocation,
    destination=hashes,
    amount=uints(256),
    allocation_type=uints(8),
    metadata=blobs(),
)
asset_exits = st.builds(
    AssetExit,
    asset=addresses,
    allocations=st.lists(allocations, max_size=3).map(tuple),
    asset_type=uints(8),
    asset_metadata=blobs(),
)
outcomes: st.SearchStrategy[Outcome] = st.lists(asset_exits, max_size=3).map(tuple)
fixed_parts = st.builds(
    FixedPart,
    participants=st.lists(addresses, min_size=1, max_size=5, unique=True).map(tuple),
    channel_nonce=uints(64),
    app_definition=addresses,
    challenge_duration=uints(48),
)
variable_parts = st.builds(
    VariablePart,
    app_data=blobs(),
    outcome=outcomes,
    turn_num=turn_nums,
    is_final=st.booleans(),
)
states = st.builds(State, fixed_parts, variable_parts)
signatures = st.builds(
    Signature,
    r=st.integers(1, _ORDER - 1).map(lambda number: number.to_bytes(32)),
    s=st.integers(1, _ORDER // 2).map(lambda number: number.to_bytes(32)),
    v=st.sampled_from([27, 28]),
)


@st.composite
def proposals(draw: st.DrawFn) -> ProposeState:
    """Return proposals whose channel id is the state's."""
    state = draw(states)
    return ProposeState(channel_id(state.fixed), state, draw(signatures))


messages: st.SearchStrategy[ProtocolMessage] = st.one_of(
    proposals(),
    st.builds(AcceptState, channel_ids, turn_nums, hashes.map(StateHash), signatures),
    st.builds(RejectProposal, channel_ids, turn_nums, st.sampled_from(RejectCode), reasons),
)
deadlines_ms = st.none() | uints(63)

values: st.SearchStrategy[Value] = st.recursive(
    st.one_of(
        st.integers(INT_MIN, INT_MAX),
        st.booleans(),
        st.text(st.characters(exclude_categories=["Cs"])),
        st.binary(),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.integers(0, INT_MAX), inner, max_size=3).map(
            lambda items: dict(sorted(items.items()))
        ),
    ),
    max_leaves=12,
)
