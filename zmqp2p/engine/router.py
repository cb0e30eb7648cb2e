"""MessageRouter: which objective or subscriber a message is for, or why nobody's.

Turns 0 and 1 of a channel are funding: they belong to the channel's objective. Everything else
belongs to the application, to the subscription that fits best. There is exactly one receiver.
"""

from collections.abc import Container
from dataclasses import dataclass

from zmqp2p.codes import RefusalCode
from zmqp2p.errors import InvalidValue
from zmqp2p.ids import ChannelId, TurnNum
from zmqp2p.messages import ProposeState, ProtocolMessage

_POSTFUND_TURN = 1


@dataclass(frozen=True, slots=True)
class ToObjective:
    """For the objective of ``channel``, which exists."""

    channel: ChannelId


@dataclass(frozen=True, slots=True)
class ToNewObjective:
    """A proposal for a channel that has no objective yet."""


@dataclass(frozen=True, slots=True)
class ToSubscriber:
    """For the application's subscription ``key``."""

    key: int


@dataclass(frozen=True, slots=True)
class Nobody:
    """There is no receiver; ``final`` if no subscription could change that."""

    code: RefusalCode
    reason: str
    final: bool = False


Route = ToObjective | ToNewObjective | ToSubscriber | Nobody


class MessageRouter:
    """The subscriptions by what they filter on: message type, channel, both, or nothing."""

    def __init__(self, *, funding: bool) -> None:
        self.funding = funding  # Whether proposals may become objectives: there is a chain.
        self._subscribed: dict[tuple[type | None, ChannelId | None], ToSubscriber] = {}
        self._next_key = 1
        # For types, where no channel is filtered on.
        self._cache: dict[type, ToSubscriber | None] = {}
        self._by_channel = False

    def subscribe(self, message_type: type | None, channel: ChannelId | None) -> int:
        """Add a subscription and return its key.

        Raises:
            InvalidValue: the same filter is subscribed already; each message has one receiver.
        """
        wanted = (message_type, channel)
        if wanted in self._subscribed:
            raise InvalidValue("message_type", "this filter has a handler already")
        key = self._next_key
        self._next_key += 1
        self._subscribed[wanted] = ToSubscriber(key)
        self._changed()
        return key

    def unsubscribe(self, key: int) -> None:
        """Remove a subscription; unknown keys are no error."""
        subscribed = self._subscribed.items()
        self._subscribed = {wanted: route for wanted, route in subscribed if route.key != key}
        self._changed()

    def route(self, message: object, channels: Container[ChannelId]) -> Route:
        """Return the one receiver of ``message``; ``channels`` contains the ids with objectives."""
        if isinstance(message, ProtocolMessage):
            return self._route_protocol(message, channels)
        found = self._find(message)
        if found is None:
            name = type(message).__name__
            return Nobody(RefusalCode.TYPE_UNKNOWN, f"nobody has subscribed to {name}")
        return found

    def foresee(self, message: object) -> int | None:
        """Return the subscription that ``message`` will go to when those before it are processed.

        None if that cannot be known: they may change what becomes of a channel's funding. Other
        subscriptions change it too.
        """
        if isinstance(message, ProtocolMessage) and _turn_of(message) <= _POSTFUND_TURN:
            return None
        route = self.route(message, ())
        return route.key if isinstance(route, ToSubscriber) else None

    def _route_protocol(self, message: ProtocolMessage, channels: Container[ChannelId]) -> Route:
        channel = message.channel_id
        proposing = isinstance(message, ProposeState)
        turn = _turn_of(message)
        if turn <= _POSTFUND_TURN and channel in channels:
            return ToObjective(channel)
        subscribed, kind = self._subscribed, type(message)
        exact = subscribed.get((kind, channel)) or subscribed.get((None, channel))
        if exact is not None:
            return exact
        if self.funding and turn == 0 and proposing and (kind, None) not in subscribed:
            return ToNewObjective()
        found = self._find(message)
        if found is None:
            reason = f"no objective for 0x{channel.hex()}"
            funding = self.funding and turn <= _POSTFUND_TURN
            return Nobody(RefusalCode.CHANNEL_UNKNOWN, reason, final=funding)
        return found

    def _find(self, message: object) -> ToSubscriber | None:
        kind = type(message)
        if self._by_channel:
            channel = getattr(message, "channel_id", None)
            for wanted in ((kind, channel), (None, channel)):
                if channel is not None and wanted in self._subscribed:
                    return self._subscribed[wanted]
        if kind not in self._cache:
            found = self._subscribed.get((kind, None))
            self._cache[kind] = found or self._subscribed.get((None, None))
        return self._cache[kind]

    def _changed(self) -> None:
        self._cache.clear()
        self._by_channel = any(channel is not None for _, channel in self._subscribed)


def _turn_of(message: ProtocolMessage) -> TurnNum:
    if isinstance(message, ProposeState):
        return message.state.variable.turn_num
    return message.turn_num
