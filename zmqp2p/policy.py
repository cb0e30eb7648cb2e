"""Who decides about channels that others propose: a policy, or the application in its own time."""

from collections.abc import Callable
from dataclasses import dataclass

from zmqp2p.ids import Address, ChannelId
from zmqp2p.objectives.direct_fund import DirectFund
from zmqp2p.state import Outcome, State, destination_of
from zmqp2p.state.types import check_type


@dataclass(frozen=True, slots=True)
class Proposal:
    """A channel that waits for this node's approval."""

    channel_id: ChannelId
    state: State  # The prefund state: participants, outcome, app, challenge duration.
    me: Address

    @property
    def proposer(self) -> Address:
        """Who opens the channel."""
        return self.state.fixed.participants[0]

    @property
    def participants(self) -> tuple[Address, ...]:
        """Everyone taking part, in the channel's order."""
        return self.state.fixed.participants

    @property
    def outcome(self) -> Outcome:
        """Who puts in, and gets back, what."""
        return self.state.variable.outcome

    def my_deposits(self) -> dict[Address, int]:
        """Return how much of each asset this node would deposit."""
        mine = destination_of(self.me)
        return {
            exit_.asset: sum(a.amount for a in exit_.allocations if a.destination == mine)
            for exit_ in self.outcome
        }


@dataclass(frozen=True, slots=True)
class Approve:
    """Sign the channel, and deposit when it is safe."""


@dataclass(frozen=True, slots=True)
class Reject:
    """Decline the channel; the participants are told ``reason``, or the first 200 bytes of it.

    Raises:
        InvalidValue: ``reason`` is no text.
    """

    reason: str = "declined"

    def __post_init__(self) -> None:
        check_type("reason", self.reason, str)


Policy = Callable[[Proposal], Approve | Reject | None]
"""Decides at once, on the node's thread: approve, reject, or None to ask the application."""


def ask(_proposal: Proposal) -> None:
    """Leave every decision to the application: the default."""


def approve_all(_proposal: Proposal) -> Approve:
    """Approve whatever can be funded safely. For demonstrations and tests: it spends money."""
    return Approve()


def proposal_of(objective: DirectFund, me: Address) -> Proposal:
    """Return the proposal that ``objective`` was made from."""
    return Proposal(objective.channel_id, objective.prefund, me)
