"""What a channel is to be: which proposals can be funded safely, and what follows from one.

Every participant checks a proposal by the same rules, so that all come to the same verdict.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter

from zmqp2p.codes import RefusalCode
from zmqp2p.errors import InvalidValue, RefuseMessage
from zmqp2p.ids import Address, ChannelId, StateHash, TurnNum
from zmqp2p.messages import ProposeState
from zmqp2p.state import (
    AssetExit,
    FixedPart,
    Outcome,
    State,
    VariablePart,
    channel_id,
    destination_of,
    state_hash,
)

PREFUND = TurnNum(0)
POSTFUND = TurnNum(1)

_PARTICIPANTS_MIN = 2
_AMOUNT_BITS = 256  # A uint256 on chain, the sum of an asset's allocations too.


@dataclass(frozen=True, slots=True)
class Share:
    """One participant's part in funding one asset, in the asset's units.

    The participants deposit in the order of the allocations. A deposit is safe once the channel
    holds ``before``: should the channel end now, the depositor's allocation is paid out before
    those of later participants.
    """

    asset: Address
    before: int  # Allocated to those who deposit earlier.
    mine: int
    total: int

    @property
    def target(self) -> int:
        """What the channel holds once this participant has deposited."""
        return self.before + self.mine


@dataclass(frozen=True, slots=True)
class Terms:
    """The channel that a prefund state proposes, as participant ``me`` sees it.

    Everything else follows from those two. It is computed once, since a state hash costs some
    20 µs, and shared by all the successors of an objective.
    """

    me: Address
    prefund: State
    postfund: State = field(init=False, compare=False, repr=False)
    channel_id: ChannelId = field(init=False, compare=False, repr=False)
    hashes: tuple[StateHash, StateHash] = field(init=False, compare=False, repr=False)
    shares: tuple[Share, ...] = field(init=False, compare=False, repr=False)
    my_index: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Check the proposal and derive what follows from it.

        Raises:
            InvalidValue: ``me`` is no participant, the state is not an opening one, or see
                `validate`.
        """
        fixed, variable = self.prefund.fixed, self.prefund.variable
        if self.me not in fixed.participants:
            raise InvalidValue("participants", "this node is not among them")
        if variable.turn_num != PREFUND or variable.is_final:
            raise InvalidValue("state", "a channel opens with a state of turn 0 that is not final")
        validate(fixed, variable.outcome)
        postfund = opening_state(fixed, variable.outcome, variable.app_data, POSTFUND)
        mine = destination_of(self.me)
        derived = {
            "postfund": postfund,
            "channel_id": channel_id(fixed),
            "hashes": (state_hash(self.prefund), state_hash(postfund)),
            "shares": tuple(_share(exit_, mine) for exit_ in variable.outcome),
            "my_index": fixed.participants.index(self.me),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    @property
    def participants(self) -> tuple[Address, ...]:
        """Everyone taking part, in the order of the fixed part; the first is the proposer."""
        return self.prefund.fixed.participants

    @property
    def others(self) -> tuple[Address, ...]:
        """Everyone but this node, in the same order."""
        return tuple(address for address in self.participants if address != self.me)


def opening_state(fixed: FixedPart, outcome: Outcome, app_data: bytes, turn_num: TurnNum) -> State:
    """Return the prefund or postfund state.

    Both bear the full outcome: a deposit against an empty prefund could not be claimed back.
    """
    return State(fixed, VariablePart(app_data, outcome, turn_num, is_final=False))


def validate(fixed: FixedPart, outcome: Outcome) -> None:
    """Check that the channel can be funded directly, each participant safe at every step.

    Raises:
        InvalidValue: it cannot; ``field`` names the part at fault.
    """
    if len(fixed.participants) < _PARTICIPANTS_MIN:
        raise InvalidValue("participants", "a channel needs two or more")
    if not outcome:
        raise InvalidValue("outcome", "no assets: there is nothing to fund")
    owners = {destination_of(address): address for address in fixed.participants}
    seen: set[Address] = set()
    for index, exit_ in enumerate(outcome):
        if exit_.asset in seen:
            raise InvalidValue(f"outcome[{index}].asset", "an asset may appear once only")
        seen.add(exit_.asset)
        _validate_exit(exit_, owners, f"outcome[{index}]")
    _validate_order(outcome)


def _validate_exit(exit_: AssetExit, owners: dict[bytes, Address], name: str) -> None:
    seen: set[bytes] = set()
    for index, allocation in enumerate(exit_.allocations):
        where = f"{name}.allocations[{index}]"
        if allocation.allocation_type != 0:
            raise InvalidValue(f"{where}.allocation_type", "must be 0 (simple)")
        # A participant's destination is external. Any other could not deposit, nor be paid.
        if allocation.destination not in owners:
            raise InvalidValue(f"{where}.destination", "must be a participant's")
        if allocation.destination in seen:
            raise InvalidValue(f"{where}.destination", "a participant may appear once per asset")
        seen.add(allocation.destination)
    total = sum(allocation.amount for allocation in exit_.allocations)
    if total == 0:
        raise InvalidValue(f"{name}.allocations", "amounts to nothing: leave the asset out")
    if total.bit_length() > _AMOUNT_BITS:
        raise InvalidValue(f"{name}.allocations", "the sum must be below 2**256")


def _validate_order(outcome: Outcome) -> None:
    """Refuse assets whose depositors follow one another in conflicting orders.

    This node deposits each asset on its own, but others (go-nitro) deposit nothing until every
    asset is safe. With such a peer, conflicting orders would make all wait for each other. A
    conflict needs no two assets in opposite order: A-B, B-C and C-A is one as well.
    """
    order: TopologicalSorter[bytes] = TopologicalSorter()
    for exit_ in outcome:
        earlier: bytes | None = None
        for destination in _depositors(exit_):
            if earlier is not None:
                order.add(destination, earlier)
            earlier = destination
    try:
        order.prepare()
    except CycleError:
        detail = "the participants' order of depositing differs between assets: a deadlock"
        raise InvalidValue("outcome", detail) from None


def _depositors(exit_: AssetExit) -> Iterator[bytes]:
    return (allocation.destination for allocation in exit_.allocations if allocation.amount)


def _share(exit_: AssetExit, destination: bytes) -> Share:
    before = mine = total = 0
    for allocation in exit_.allocations:
        if allocation.destination == destination:
            before, mine = total, allocation.amount
        total += allocation.amount
    return Share(exit_.asset, before, mine, total)


def terms_of_proposal(me: Address, message: ProposeState) -> Terms:
    """Return the terms that ``message`` proposes to ``me``.

    Raises:
        RefuseMessage: they cannot be funded safely. The refusal ends the proposer's objective too.
    """
    try:
        return Terms(me, message.state)
    except InvalidValue as fault:
        raise RefuseMessage(RefusalCode.PAYLOAD_INVALID, str(fault)) from None
