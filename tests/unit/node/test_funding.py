"""The futures of channels end once, however they end and whoever still wants to know."""

from concurrent.futures import Future
from random import Random

import pytest

from zmqp2p.codes import RejectCode
from zmqp2p.engine.channels import Channels
from zmqp2p.engine.output import EngineOutput
from zmqp2p.engine.signing import SigningLedger
from zmqp2p.errors import Cancelled, Rejected, UnknownChannel
from zmqp2p.events import ChannelFunded, ChannelRejected, ChannelStep
from zmqp2p.identity import Identity
from zmqp2p.ids import ZERO_ADDRESS, Address, ChannelId, TurnNum
from zmqp2p.limits import DEFAULT_LIMITS
from zmqp2p.messages import AcceptState, ProposeState, RejectProposal, decode_message
from zmqp2p.node.funding import FundedChannel, Funding
from zmqp2p.objectives.base import Status, WaitingFor
from zmqp2p.state import (
    Allocation,
    AssetExit,
    FixedPart,
    channel_id,
    destination_of,
    sign_hash,
    state_hash,
)

ALICE, BOB = Identity.generate(), Identity.generate()
FIXED = FixedPart((ALICE.address, BOB.address), Random(1).getrandbits(63))
CHANNEL = channel_id(FIXED)
OUTCOME = (
    AssetExit(
        ZERO_ADDRESS,
        (
            Allocation(destination_of(ALICE.address), 5),
            Allocation(destination_of(BOB.address), 7),
        ),
    ),
)


class World:
    """Alice's channels, and what she sent."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        output = EngineOutput()
        ledger = SigningLedger(ALICE, output)
        self.channels = Channels(ledger, DEFAULT_LIMITS, output, self)
        self.funding = Funding(self.channels)
        self.channels.propose(FIXED, OUTCOME, b"")

    def knows(self, peer: Address) -> bool:
        """Bob."""
        return peer == BOB.address

    def room(self) -> int:
        """For nobody more."""
        return 0

    def is_guest(self, peer: Address) -> bool:
        """Nobody."""
        return not peer

    def post(self, _to: Address, body: bytes) -> None:
        """Note what is sent."""
        self.sent.append(body)

    def wait(self) -> "Future[FundedChannel]":
        future: Future[FundedChannel] = Future()
        self.funding.wait(CHANNEL, future)
        return future

    def accept(self, turn: int) -> None:
        """Bob signs the state of that turn."""
        objective = self.channels.get(CHANNEL)
        digest = state_hash(objective.prefund) if turn == 0 else objective.terms.hashes[TurnNum(1)]
        message = AcceptState(CHANNEL, TurnNum(turn), digest, sign_hash(digest, BOB))
        self.channels.receive(BOB.address, message)

    def fund(self) -> None:
        self.accept(0)
        self.channels.holdings(CHANNEL, ZERO_ADDRESS, 12)
        self.accept(1)

    def reject(self) -> None:
        message = RejectProposal(CHANNEL, TurnNum(0), RejectCode.DECLINED, "no")
        self.channels.receive(BOB.address, message)

    def publish(self) -> None:
        for event in self.channels.output.events:
            self.funding.on_event(event)
        self.channels.output.events.clear()


@pytest.fixture
def world() -> World:
    return World()


def test_a_future_ends_when_the_channel_is_funded(world: World) -> None:
    waits = [world.wait(), world.wait()]
    world.fund()
    assert not waits[0].done()
    world.publish()
    funded = waits[0].result(0)
    assert waits[1].result(0) == funded
    assert funded.channel_id == CHANNEL
    assert (funded.state.variable.turn_num, len(funded.signatures)) == (1, 2)
    assert world.wait().result(0) == funded  # At once.
    assert isinstance(decode_message(world.sent[0]).message, ProposeState)


def test_a_future_ends_when_the_channel_is_rejected(world: World) -> None:
    wait = world.wait()
    world.reject()
    world.publish()
    for future in (wait, world.wait()):
        error = future.exception(0)
        assert isinstance(error, Rejected)
        assert (error.by, error.code, error.reason) == (BOB.address, RejectCode.DECLINED, "no")


def test_events_of_other_channels_end_nothing(world: World) -> None:
    wait = world.wait()
    other = ChannelId(b"\x09" * 32)
    world.funding.on_event(ChannelRejected(other, BOB.address, RejectCode.BUSY, ""))
    world.funding.on_event(ChannelStep(CHANNEL, "prefund_signed", ""))
    assert not wait.done()
    world.fund()
    world.publish()
    world.funding.on_event(ChannelFunded(CHANNEL))  # Nobody waits any more.
    assert wait.done()


def test_nobody_can_wait_for_an_unknown_channel(world: World) -> None:
    unknown = ChannelId(b"\x09" * 32)
    with pytest.raises(UnknownChannel):
        world.funding.wait(unknown, Future())
    with pytest.raises(UnknownChannel):
        world.funding.status(unknown)


def test_closing_ends_what_waits(world: World) -> None:
    wait = world.wait()
    world.funding.close()
    assert isinstance(wait.exception(0), Cancelled)
    world.fund()
    world.publish()  # Ends nothing twice.


@pytest.mark.parametrize("end", ["fund", "reject", "close"])
def test_a_future_that_was_cancelled_is_left_alone(end: str, world: World) -> None:
    given_up, other = world.wait(), world.wait()
    given_up.cancel()
    if end == "close":
        world.funding.close()
    else:
        getattr(world, end)()
        world.publish()
    assert given_up.cancelled()
    assert other.done()


def test_statuses_say_what_a_channel_waits_for(world: World) -> None:
    status = world.funding.status(CHANNEL)
    assert world.funding.statuses() == [status]
    assert (status.channel_id, status.participants) == (CHANNEL, FIXED.participants)
    assert (status.status, status.waiting_for) == (Status.APPROVED, WaitingFor.COMPLETE_PREFUND)
    world.fund()
    assert world.funding.status(CHANNEL).status is Status.COMPLETED
