"""Channels as the application sees them: how they stand, and how they end."""

from concurrent.futures import Future
from dataclasses import dataclass

from zmqp2p.engine.channels import Channels
from zmqp2p.errors import Cancelled, Rejected
from zmqp2p.events import ChannelFunded, ChannelRejected, Event
from zmqp2p.ids import Address, ChannelId
from zmqp2p.objectives.base import Status, WaitingFor
from zmqp2p.objectives.direct_fund import DirectFund
from zmqp2p.state import Signature, State


@dataclass(frozen=True, slots=True)
class FundedChannel:
    """A channel that is open: the chain holds the funds, everyone has signed the postfund state."""

    channel_id: ChannelId
    state: State  # The postfund state, turn 1.
    signatures: tuple[Signature, ...]  # Of that state, in the order of the participants.


@dataclass(frozen=True, slots=True)
class ChannelStatus:
    """How a channel's funding stands."""

    channel_id: ChannelId
    participants: tuple[Address, ...]
    status: Status
    waiting_for: WaitingFor


class Funding:
    """The futures of channels that are being funded. Belongs to the node's thread."""

    def __init__(self, channels: Channels) -> None:
        self._channels = channels
        self._waiting: dict[ChannelId, list[Future[FundedChannel]]] = {}

    def wait(self, channel: ChannelId, future: "Future[FundedChannel]") -> None:
        """End ``future`` when the channel is funded or rejected; at once if it is.

        Raises:
            UnknownChannel: there is no objective for it.
        """
        objective = self._channels.get(channel)
        if not _end(future, objective):
            self._waiting.setdefault(channel, []).append(future)

    def statuses(self) -> list[ChannelStatus]:
        """Return how all channels stand."""
        return [_status(objective) for objective in self._channels.objectives.values()]

    def status(self, channel: ChannelId) -> ChannelStatus:
        """Return how one channel stands, or raise UnknownChannel."""
        return _status(self._channels.get(channel))

    def on_event(self, event: Event) -> None:
        """End the futures of a channel that has ended."""
        if isinstance(event, ChannelFunded):
            objective = self._channels.get(event.channel)
            for future in self._waiting.pop(event.channel, []):
                _end(future, objective)
        elif isinstance(event, ChannelRejected):
            error = Rejected(event.by, event.code, event.reason)
            for future in self._waiting.pop(event.channel, []):
                _set_error(future, error)

    def close(self) -> None:
        """No channel will end any more in this run."""
        for futures in self._waiting.values():
            for future in futures:
                _set_error(future, Cancelled("the service closed; the channel goes on at restart"))
        self._waiting.clear()


def _end(future: "Future[FundedChannel]", objective: DirectFund) -> bool:
    if objective.status is Status.COMPLETED:
        state, signatures = objective.funded_state()
        if future.set_running_or_notify_cancel():
            future.set_result(FundedChannel(objective.channel_id, state, signatures))
        return True
    rejection = objective.rejection
    if rejection is not None:
        message = rejection.message
        _set_error(future, Rejected(rejection.by, message.code, message.reason))
        return True
    return False


def _set_error(future: "Future[FundedChannel]", error: Exception) -> None:
    if future.set_running_or_notify_cancel():
        future.set_exception(error)


def _status(objective: DirectFund) -> ChannelStatus:
    return ChannelStatus(
        objective.channel_id, objective.participants, objective.status, objective.waiting_for
    )
