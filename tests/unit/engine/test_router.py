"""Each message has exactly one receiver, or a reason why none."""

import pytest

from tests.engine_world import Note, Other
from tests.unit.objectives.world import (
    KEYS,
    TWO_OUTCOME,
    acceptance_of,
    fixed_of,
    proposal_of,
    state_of,
)
from zmqp2p.codes import RefusalCode, RejectCode
from zmqp2p.engine.router import (
    MessageRouter,
    Nobody,
    Route,
    ToNewObjective,
    ToObjective,
    ToSubscriber,
)
from zmqp2p.errors import InvalidValue
from zmqp2p.ids import ChannelId, TurnNum
from zmqp2p.messages import AcceptState, ProposeState, ProtocolMessage, RejectProposal
from zmqp2p.state import channel_id

FIXED = fixed_of(2)
CHANNEL = channel_id(FIXED)
ELSEWHERE = ChannelId(b"\xff" * 32)
STATES = [state_of(FIXED, TWO_OUTCOME, turn) for turn in range(3)]
PROPOSALS = [proposal_of(state, KEYS[0]) for state in STATES]
ACCEPTANCES = [acceptance_of(state, KEYS[0]) for state in STATES]
REJECTIONS = [RejectProposal(CHANNEL, TurnNum(turn), RejectCode.DECLINED, "") for turn in range(3)]
OURS = (CHANNEL,)


class Chat:
    """A message of an application that speaks of channels too."""

    channel_id = CHANNEL


def router_of(
    *filters: tuple[type | None, ChannelId | None], funding: bool = True
) -> MessageRouter:
    """Return a router with these subscriptions, numbered from 1."""
    router = MessageRouter(funding=funding)
    for number, (message_type, channel) in enumerate(filters, start=1):
        assert router.subscribe(message_type, channel) == number
    return router


def code_of(route: Route) -> tuple[RefusalCode, bool]:
    """Return why there is no receiver, and whether that is final."""
    assert isinstance(route, Nobody)
    return route.code, route.final


# --- The application's messages -----------------------------------------------------------------


def test_a_message_goes_to_the_subscription_of_its_type() -> None:
    router = router_of((Note, None), (Other, None))
    assert router.route(Note("x"), ()) == ToSubscriber(1)
    assert router.route(Other(1), ()) == ToSubscriber(2)


def test_a_message_of_another_type_goes_to_whoever_takes_all() -> None:
    router = router_of((None, None), (Note, None))
    assert router.route(Other(1), ()) == ToSubscriber(1)
    assert router.route(Note("x"), ()) == ToSubscriber(2)


def test_a_message_without_a_subscriber_has_an_unknown_type() -> None:
    """A subscription may come yet."""
    assert code_of(router_of().route(Note("x"), ())) == (RefusalCode.TYPE_UNKNOWN, False)


def test_a_subscription_that_fits_better_comes_first() -> None:
    """Type and channel, then channel, then type, then nothing."""
    chat = Chat()
    filters = [(None, None), (Chat, None), (None, CHANNEL), (Chat, CHANNEL)]
    for count in (1, 2, 3, 4):
        assert router_of(*filters[:count]).route(chat, ()) == ToSubscriber(count)


def test_a_channel_filter_takes_only_its_channel() -> None:
    router = router_of((Chat, ELSEWHERE), (None, None))
    assert router.route(Chat(), ()) == ToSubscriber(2)
    assert router.route(Note("x"), ()) == ToSubscriber(2)


def test_each_filter_has_one_subscription() -> None:
    router = router_of((Note, CHANNEL))
    with pytest.raises(InvalidValue, match="message_type"):
        router.subscribe(Note, CHANNEL)


def test_a_subscription_can_be_ended_and_made_again() -> None:
    """Its key is not used again: what is in progress must not be taken for the new one's."""
    router = router_of((Note, None))
    assert router.route(Note("x"), ()) == ToSubscriber(1)
    router.unsubscribe(1)
    router.unsubscribe(7)
    assert isinstance(router.route(Note("x"), ()), Nobody)
    assert router.subscribe(Note, None) == 2
    assert router.route(Note("x"), ()) == ToSubscriber(2)


def test_a_new_subscription_takes_over_what_fits_it_better() -> None:
    router = router_of((None, None))
    assert router.route(Note("x"), ()) == ToSubscriber(1)
    router.subscribe(Note, None)
    assert router.route(Note("x"), ()) == ToSubscriber(2)


# --- Funding ------------------------------------------------------------------------------------


@pytest.mark.parametrize("messages", [PROPOSALS, ACCEPTANCES, REJECTIONS])
def test_turns_0_and_1_of_a_known_channel_belong_to_its_objective(
    messages: list[ProtocolMessage],
) -> None:
    """Whoever has subscribed to what: nothing may come between a channel and its funding."""
    router = router_of((None, None), (type(messages[0]), CHANNEL), (None, CHANNEL))
    assert router.route(messages[0], OURS) == ToObjective(CHANNEL)
    assert router.route(messages[1], OURS) == ToObjective(CHANNEL)
    assert router.route(messages[2], OURS) == ToSubscriber(2)


def test_a_proposal_for_an_unknown_channel_begins_an_objective() -> None:
    router = router_of((None, None))
    assert router.route(PROPOSALS[0], ()) == ToNewObjective()
    assert router.route(PROPOSALS[1], ()) == ToSubscriber(1)
    assert router.route(ACCEPTANCES[0], ()) == ToSubscriber(1)


@pytest.mark.parametrize("wanted", [(ProposeState, None), (None, CHANNEL), (ProposeState, CHANNEL)])
def test_who_subscribes_to_proposals_by_name_gets_them(
    wanted: tuple[type | None, ChannelId | None],
) -> None:
    assert router_of(wanted).route(PROPOSALS[0], ()) == ToSubscriber(1)


def test_without_a_chain_a_proposal_is_the_applications() -> None:
    assert router_of((None, None), funding=False).route(PROPOSALS[0], ()) == ToSubscriber(1)


def test_a_statement_about_an_unknown_channel_has_no_receiver() -> None:
    """Final where the funding of a channel would be meant: no subscription is to come for that."""
    router = router_of()
    assert code_of(router.route(ACCEPTANCES[0], ())) == (RefusalCode.CHANNEL_UNKNOWN, True)
    assert code_of(router.route(ACCEPTANCES[1], ())) == (RefusalCode.CHANNEL_UNKNOWN, True)
    assert code_of(router.route(REJECTIONS[2], OURS)) == (RefusalCode.CHANNEL_UNKNOWN, False)
    without_chain = router_of(funding=False)
    assert code_of(without_chain.route(PROPOSALS[0], ())) == (RefusalCode.CHANNEL_UNKNOWN, False)


def test_acceptances_by_type_go_to_their_subscriber() -> None:
    router = router_of((AcceptState, None))
    assert router.route(ACCEPTANCES[2], OURS) == ToSubscriber(1)
    assert isinstance(router.route(REJECTIONS[2], OURS), Nobody)


def test_who_takes_a_message_of_a_channels_funding_is_not_known_before() -> None:
    """What comes before it may begin the channel, or end it."""
    router = MessageRouter(funding=True)
    key = router.subscribe(None, None)
    assert [router.foresee(each) for each in PROPOSALS] == [None, None, key]
    assert router.foresee(Note("one")) == key


def test_what_nobody_takes_is_foreseen_for_nobody() -> None:
    assert MessageRouter(funding=False).foresee(Note("one")) is None
