"""Channels funded over real sockets: who decides, what fails, and what survives a restart."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tests.real.parties import (
    HASTY,
    PATIENCE_S,
    Journal,
    Note,
    Parties,
    events_of,
    outcome_of,
    until,
    until_connected,
)
from zmqp2p import (
    AcceptState,
    Approve,
    ChainError,
    Channel,
    Delivery,
    DeliveryTimeout,
    LocalError,
    P2PService,
    Proposal,
    Reject,
    Rejected,
    UnknownChannel,
    approve_all,
)
from zmqp2p.chain import ChainService, Deposited, SimulatedChain
from zmqp2p.codes import RejectCode
from zmqp2p.errors import Cancelled
from zmqp2p.events import (
    CallbackFailed,
    ChainFailed,
    ChannelFunded,
    ChannelProposed,
    ChannelRejected,
    ChannelStep,
    Event,
)
from zmqp2p.ids import ZERO_ADDRESS, Address, ChannelId, StateHash, TurnNum
from zmqp2p.objectives.base import Deposit, Status, WaitingFor
from zmqp2p.state import FixedPart, channel_id, sign_hash

TOKEN = Address(b"\x11" * 20)
STEPS = (
    "prefund_signed",
    "prefund_complete",
    "deposit_submitted",
    "funded_on_chain",
    "postfund_signed",
)


def fund(alice: P2PService, bob: P2PService, **terms: Any) -> Channel:
    """Have Alice open a channel with 5 of her own and 7 of Bob's."""
    outcome = outcome_of((alice.address, 5), (bob.address, 7))
    return alice.fund_channel(bob.address, outcome, **terms)


def amounts(chain: SimulatedChain) -> list[int]:
    return [deposit.amount for deposit in chain.deposits()]


# --- Who decides --------------------------------------------------------------------------------


def test_three_participants_fund_two_assets(parties: Parties, chain: SimulatedChain) -> None:
    names = ("alice", "bob", "carol")
    alice, bob, carol = (parties.start(n, chain=chain, policy=approve_all) for n in names)
    alice.add_peer(bob.record)
    alice.add_peer(carol.record)
    bob.add_peer(carol.record)
    outcome = (
        *outcome_of((alice.address, 1), (bob.address, 2), (carol.address, 3)),
        *outcome_of((alice.address, 40), (carol.address, 60), asset=TOKEN),
    )
    channel = alice.fund_channel((bob.address, carol.address), outcome)
    funded = channel.result(PATIENCE_S)
    assert len(funded.signatures) == 3
    for other in (bob, carol):
        assert other.channel(channel.channel_id).result(PATIENCE_S) == funded
    made = chain.deposits()
    assert [d.amount for d in made if d.asset == ZERO_ADDRESS] == [1, 2, 3]
    assert [d.amount for d in made if d.asset == TOKEN] == [40, 60]


def test_one_of_three_rejects_and_nobody_deposits(parties: Parties, chain: SimulatedChain) -> None:
    alice = parties.start("alice", chain=chain)
    bob = parties.start("bob", chain=chain, policy=approve_all)
    carol = parties.start("carol", chain=chain, policy=lambda _: Reject("not with Bob"))
    for service in (alice, carol):
        service.add_peer(bob.record)
    alice.add_peer(carol.record)
    outcome = outcome_of((alice.address, 1), (bob.address, 2), (carol.address, 3))
    at_bob = events_of(bob)
    channel = alice.fund_channel((bob.address, carol.address), outcome)
    with pytest.raises(Rejected, match="not with Bob") as rejected:
        channel.result(PATIENCE_S)
    assert rejected.value.by == carol.address
    assert rejected.value.code is RejectCode.DECLINED
    assert at_bob.first(ChannelRejected).by == carol.address
    assert chain.deposits() == []


def test_a_policy_decides_at_once_and_sees_what_it_would_cost(
    parties: Parties, chain: SimulatedChain
) -> None:
    seen = Journal[Proposal]()

    def policy(proposal: Proposal) -> Approve | Reject:
        seen(proposal)
        cheap = proposal.my_deposits() == {ZERO_ADDRESS: 7}
        return Approve() if cheap else Reject("too dear: " + "x" * 300)

    alice = parties.start("alice", chain=chain)
    bob = parties.start("bob", chain=chain, policy=policy)
    alice.add_peer(bob.record)
    cheap = fund(alice, bob)
    dear = alice.fund_channel(bob.address, outcome_of((alice.address, 1), (bob.address, 8)))
    cheap.result(PATIENCE_S)
    with pytest.raises(Rejected, match="too dear"):
        dear.result(PATIENCE_S)
    assert [proposal.channel_id for proposal in seen.entries] == [cheap.channel_id, dear.channel_id]
    assert {proposal.proposer for proposal in seen.entries} == {alice.address}
    assert amounts(chain) == [5, 7]
    with pytest.raises(UnknownChannel):  # What was declined at once is not kept.
        bob.channel(dear.channel_id).status()
    assert alice.channel(dear.channel_id).status().status is Status.REJECTED
    assert sorted(one.status.value for one in alice.channels()) == ["completed", "rejected"]


def broken_policy(_proposal: Proposal) -> None:
    raise ValueError("in the policy")


def careless_policy(_proposal: Proposal) -> Reject:
    return Reject(5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("policy", "error"),
    [
        (broken_policy, "ValueError: in the policy"),
        (careless_policy, "InvalidValue: reason"),
        (lambda _: True, "InvalidValue: policy: must return Approve(), Reject(reason) or None"),
        (lambda _: Approve, "InvalidValue: policy: must return"),
    ],
)
def test_a_policy_that_raises_leaves_the_decision_to_the_application(
    policy: Any, error: str, parties: Parties, chain: SimulatedChain
) -> None:
    alice = parties.start("alice", chain=chain)
    bob = parties.start("bob", chain=chain, policy=policy)
    events = events_of(bob)
    alice.add_peer(bob.record)
    channel = fund(alice, bob)
    told = events.first(CallbackFailed)
    assert told.callback == "policy"
    assert told.error.startswith(error)
    (proposal,) = bob.proposals()
    assert events.first(ChannelProposed) == ChannelProposed(channel.channel_id, alice.address)
    bob.approve(proposal.channel_id).result(PATIENCE_S)


def test_a_channel_of_more_peers_than_the_node_serves_is_declined_though_approved(
    parties: Parties, chain: SimulatedChain
) -> None:
    """Bob's policy approves; Carol, whom he does not know, would be one peer too many."""
    alice, carol = parties.start("alice", chain=chain), parties.start("carol", chain=chain)
    limits = replace(HASTY, peers_max=1)
    bob = parties.start("bob", chain=chain, policy=approve_all, limits=limits)
    alice.add_peer(bob.record)
    alice.add_peer(carol.record)
    shares = [(who.address, 1) for who in (alice, bob, carol)]
    channel = alice.fund_channel((bob.address, carol.address), outcome_of(*shares))
    with pytest.raises(Rejected, match="more peers than this node serves") as rejected:
        channel.result(PATIENCE_S)
    assert rejected.value.by == bob.address
    assert bob.channels() == []
    assert bob.peers()  # It goes on.


def test_what_was_decided_is_decided(parties: Parties, chain: SimulatedChain) -> None:
    alice, bob = parties.pair(chain=chain)
    approved, rejected = fund(alice, bob), fund(alice, bob)
    until(bob.proposals, lambda waiting: len(waiting) == 2)
    bob.reject(rejected.channel_id)
    bob.approve(approved.channel_id).result(PATIENCE_S)
    bob.approve(approved.channel_id)  # Once more changes nothing.
    with pytest.raises(LocalError):
        bob.reject(approved.channel_id)
    with pytest.raises(UnknownChannel):  # Nothing of it is kept.
        bob.approve(rejected.channel_id)
    with pytest.raises(UnknownChannel):
        bob.channel(rejected.channel_id).status()


def test_a_proposal_waits_over_a_restart(parties: Parties, chain: SimulatedChain) -> None:
    """Whoever restarts without having decided is asked again, by `proposals`."""
    settings: dict[str, Any] = {"chain": chain, "store": parties.store("bob")}
    alice, bob = parties.start("alice", chain=chain), parties.start("bob", **settings)
    alice.add_peer(bob.record)
    channel = fund(alice, bob)
    until(bob.proposals, len)
    bob.close()
    bob = parties.restart("bob", bob, chain=chain)
    (proposal,) = bob.proposals()
    assert proposal.channel_id == channel.channel_id
    bob.approve(proposal.channel_id)
    channel.result(PATIENCE_S)


def test_both_sides_propose_at_once(parties: Parties, chain: SimulatedChain) -> None:
    """Even with the same nonce: the order of the participants makes them two channels."""
    alice, bob = parties.pair(chain=chain, policy=approve_all)
    bob.add_peer(alice.record)
    one = fund(alice, bob, channel_nonce=1)
    other = fund(bob, alice, channel_nonce=1)
    funded = [one.result(PATIENCE_S), other.result(PATIENCE_S)]
    assert one.channel_id != other.channel_id
    assert bob.channel(one.channel_id).result(PATIENCE_S) == funded[0]
    assert alice.channel(other.channel_id).result(PATIENCE_S) == funded[1]
    assert sorted(amounts(chain)) == [5, 5, 7, 7]


def test_fifty_channels_at_once(parties: Parties, chain: SimulatedChain) -> None:
    alice, bob = parties.pair(chain=chain, policy=approve_all)
    channels = [fund(alice, bob) for _ in range(50)]
    for channel in channels:
        channel.result(PATIENCE_S)
        bob.channel(channel.channel_id).result(PATIENCE_S)
    assert sorted(amounts(chain)) == [5] * 50 + [7] * 50


# --- Handles ------------------------------------------------------------------------------------


def test_a_handle_says_how_a_channel_stands(parties: Parties, chain: SimulatedChain) -> None:
    alice, bob = parties.pair(chain=chain)
    channel = fund(alice, bob)
    with pytest.raises(DeliveryTimeout, match=r"not within 0\.01 s"):
        channel.result(0.01)
    status = channel.status()
    assert status.participants == (alice.address, bob.address)
    assert status.status is Status.APPROVED
    assert status.waiting_for is WaitingFor.COMPLETE_PREFUND
    until(bob.proposals, len)
    assert bob.channel(channel.channel_id).status().waiting_for is WaitingFor.APPROVAL
    bob.approve(channel.channel_id)
    channel.result(PATIENCE_S)
    assert channel.status().waiting_for is WaitingFor.NOTHING
    with pytest.raises(UnknownChannel):
        alice.channel(ChannelId(b"\x07" * 32)).result(PATIENCE_S)


def test_a_channel_can_be_asked_for_after_a_restart(
    parties: Parties, chain: SimulatedChain
) -> None:
    settings: dict[str, Any] = {"chain": chain, "store": parties.store("alice")}
    alice, bob = parties.start("alice", **settings), parties.start("bob", chain=chain)
    alice.add_peer(bob.record)
    funded, rejected = fund(alice, bob), fund(alice, bob)
    until(bob.proposals, lambda waiting: len(waiting) == 2)
    bob.approve(funded.channel_id)
    bob.reject(rejected.channel_id, "one is enough")
    result = funded.result(PATIENCE_S)
    with pytest.raises(Rejected):
        rejected.result(PATIENCE_S)
    alice.close()
    alice = parties.restart("alice", alice, chain=chain)
    assert alice.channel(funded.channel_id).result(PATIENCE_S) == result
    with pytest.raises(Rejected, match="one is enough") as again:
        alice.channel(rejected.channel_id).result(PATIENCE_S)
    assert again.value.by == bob.address
    assert {status.channel_id for status in alice.channels()} == {
        funded.channel_id,
        rejected.channel_id,
    }


def test_who_waits_for_a_channel_is_told_that_the_service_closes(
    parties: Parties, chain: SimulatedChain
) -> None:
    alice, bob = parties.pair(chain=chain)
    channel = fund(alice, bob)
    node = alice._node  # noqa: SLF001  # To wait without a thread for each.
    waits = [node.funded(channel.channel_id) for _ in range(2)]
    assert alice.channels()  # They wait.
    alice.close()
    for wait in waits:
        assert isinstance(wait.exception(PATIENCE_S), Cancelled)


def test_a_callback_can_propose_and_approve(parties: Parties, chain: SimulatedChain) -> None:
    """On the node's own thread calls are made at once; only waiting is forbidden."""
    alice, bob = parties.pair(chain=chain)
    made = Journal[Channel]()

    def approve(event: Event) -> None:
        if isinstance(event, ChannelProposed):
            made(bob.approve(event.channel))

    bob.on_event(approve)
    channel = fund(alice, bob)
    channel.result(PATIENCE_S)
    assert made.entries[0].result(PATIENCE_S).channel_id == channel.channel_id


def test_only_a_handler_of_this_node_must_choose_the_nonce(
    parties: Parties, chain: SimulatedChain
) -> None:
    """Another node's handler, and what outlives its handler, are callers like any other."""
    alice, bob = parties.pair(chain=chain)
    opened = Journal[Channel]()
    go_on = threading.Event()

    def open_later() -> None:
        go_on.wait(PATIENCE_S)
        opened(fund(bob, alice))

    def handle(_delivery: Delivery) -> None:
        opened(fund(alice, bob))
        executor.submit(copy_context().run, open_later)

    with ThreadPoolExecutor(1) as executor:
        bob.on_message(handle)
        alice.send_message(bob.address, Note(1)).wait(PATIENCE_S)
        go_on.set()
        opened.count(2)
    assert len({channel.channel_id for channel in opened.entries}) == 2


def test_after_the_funding_a_channels_messages_are_the_applications(
    parties: Parties, chain: SimulatedChain
) -> None:
    alice, bob = parties.pair(chain=chain, policy=approve_all)
    channel = fund(alice, bob)
    channel.result(PATIENCE_S)
    turns = Journal[tuple[ChannelId, int]]()

    def note(delivery: Delivery) -> None:
        turns((delivery.message.channel_id, delivery.message.turn_num))

    bob.on_message(note, channel_id=channel.channel_id)
    state_hash = StateHash(bytes(31) + b"\x01")
    signature = sign_hash(state_hash, parties.identity("alice"))
    message = AcceptState(channel.channel_id, TurnNum(2), state_hash, signature)
    alice.send_message(bob.address, message).wait(PATIENCE_S)
    assert turns.entries == [(channel.channel_id, 2)]


# --- A chain that fails -------------------------------------------------------------------------


@dataclass
class FlakyChain:
    """A chain whose calls fail as often as told, and are then passed on."""

    chain: SimulatedChain
    failures: dict[str, int] = field(default_factory=dict)
    asked_after: Journal[int] = field(default_factory=Journal)  # Which block, for events.

    def _fail(self, call: str) -> None:
        if self.failures.get(call, 0) > 0:
            self.failures[call] -= 1
            raise ChainError(f"{call} failed")

    def deposit(self, deposit: Deposit) -> str:
        self._fail("deposit")
        name = self.chain.deposit(deposit)
        self._fail("receipt")
        return name

    def holdings(self, channel: ChannelId, asset: Address) -> int:
        self._fail("holdings")
        return self.chain.holdings(channel, asset)

    def events(self, after_block: int) -> list[Deposited]:
        self.asked_after(after_block)
        self._fail("events")
        return self.chain.events(after_block)

    def wait(self, after_block: int, timeout_s: float) -> None:
        self.chain.wait(after_block, timeout_s)

    def close(self) -> None:
        self.chain.close()


@pytest.mark.parametrize(
    "failures",
    [
        {"deposit": 1},
        {"deposit": 3},
        {"receipt": 1},  # It was made, and is not made again.
        {"holdings": 1},
        {"events": 1},
    ],
)
def test_what_the_chain_fails_to_do_is_done_again(
    failures: dict[str, int], parties: Parties, chain: SimulatedChain
) -> None:
    flaky: ChainService = FlakyChain(chain, dict(failures))
    bob = parties.start("bob", chain=chain, policy=approve_all)
    alice = parties.start("alice", chain=flaky)
    events = events_of(alice)
    alice.add_peer(bob.record)
    channel = fund(alice, bob)
    channel.result(PATIENCE_S)
    assert amounts(chain) == [5, 7]
    (call,) = failures
    if call in ("deposit", "receipt"):
        failed = events.first(ChainFailed)
        assert failed == ChainFailed(channel.channel_id, f"{call} failed")
    assert events.first(ChannelFunded).channel == channel.channel_id


def test_a_chain_that_cannot_be_asked_is_reported(parties: Parties, chain: SimulatedChain) -> None:
    flaky = FlakyChain(chain)
    alice = parties.start("alice", chain=flaky)
    events = events_of(alice)
    flaky.failures["events"] = 1
    assert events.first(ChainFailed) == ChainFailed(None, "events failed")


def test_what_somebody_else_has_paid_in_before_counts(
    parties: Parties, chain: SimulatedChain
) -> None:
    """No event will tell of it any more: the nodes ask what the channel holds."""
    alice, bob = parties.pair(chain=chain, policy=approve_all)
    fixed = FixedPart((alice.address, bob.address), 3)
    chain.deposit(Deposit(channel_id(fixed), ZERO_ADDRESS, 5, 0))
    other = fund(alice, bob)
    other.result(PATIENCE_S)  # By now both have seen, and passed over, the first deposit.
    bob.channel(other.channel_id).result(PATIENCE_S)
    fund(alice, bob, channel_nonce=3).result(PATIENCE_S)
    made = [deposit.amount for deposit in chain.deposits() if deposit.channel == channel_id(fixed)]
    assert made == [5, 7]


def test_a_slow_chain_with_confirmations_holds_up_nothing_else(
    parties: Parties, tmp_path: Path
) -> None:
    path = tmp_path / "slow.db"
    with closing(SimulatedChain(path, block_interval_s=0.2, confirmations=1)) as slow:
        alice, bob = parties.pair(chain=slow, policy=approve_all)
        bob.on_message(lambda _: None)
        channel = fund(alice, bob)
        for number in range(10):
            alice.send_message(bob.address, Note(number)).wait(PATIENCE_S)
        assert channel.status().status is Status.APPROVED
        channel.result(PATIENCE_S)
        assert amounts(slow) == [5, 7]
        alice.close()
        bob.close()


# --- Restarts -----------------------------------------------------------------------------------


class Crash:
    """Closes a service when one of its channels takes a step, before it does anything else."""

    def __init__(self, service: P2PService, step: str) -> None:
        self._service = service
        self._step = step
        self._executor = ThreadPoolExecutor(1)
        self._closing: Future[Future[None]] = Future()
        service.on_event(self._on_event)

    def _on_event(self, event: Event) -> None:
        taken = isinstance(event, ChannelStep) and event.step == self._step
        if taken and not self._closing.done():
            running = threading.Event()
            self._closing.set_result(self._executor.submit(self._close, running))
            running.wait(PATIENCE_S)

    def _close(self, running: threading.Event) -> None:
        running.set()
        self._service.close()

    def wait(self) -> None:
        self._closing.result(PATIENCE_S).result(PATIENCE_S)
        self._executor.shutdown()


@dataclass
class Pair:
    """Alice and Bob on SQLite stores."""

    parties: Parties
    chain: SimulatedChain
    services: dict[str, P2PService] = field(default_factory=dict)

    def start(self) -> None:
        for name in ("alice", "bob"):
            self.services[name] = self.parties.start(
                name, store=self.parties.store(name), chain=self.chain, policy=approve_all
            )
        self.services["alice"].add_peer(self.services["bob"].record)

    def restart(self, name: str) -> None:
        old = self.services[name]
        self.services[name] = self.parties.restart(name, old, chain=self.chain, policy=approve_all)


@pytest.fixture
def pair(parties: Parties, chain: SimulatedChain) -> Pair:
    made = Pair(parties, chain)
    made.start()
    return made


@pytest.mark.parametrize("who", ["alice", "bob"])
@pytest.mark.parametrize("step", STEPS)
def test_a_restart_at_any_step_completes_with_each_deposit_made_once(
    step: str, who: str, pair: Pair
) -> None:
    crash = Crash(pair.services[who], step)
    channel = fund(pair.services["alice"], pair.services["bob"]).channel_id
    crash.wait()
    pair.restart(who)
    alice, bob = pair.services.values()
    until(bob.channels, len)  # He may not have heard of it yet.
    assert alice.channel(channel).result(PATIENCE_S) == bob.channel(channel).result(PATIENCE_S)
    assert amounts(pair.chain) == [5, 7]


def test_a_node_that_starts_without_its_chain_keeps_its_channels(
    parties: Parties, chain: SimulatedChain
) -> None:
    """They wait until it has the chain again; everything else works meanwhile."""
    bob = parties.start("bob", chain=chain)
    alice = parties.start("alice", chain=chain, store=parties.store("alice"))
    alice.add_peer(bob.record)
    channel = fund(alice, bob).channel_id
    alice.close()
    alice = parties.restart("alice", alice)
    bob.on_message(lambda _: None)
    alice.send_message(bob.address, Note(1)).wait(PATIENCE_S)
    assert alice.channel(channel).status().waiting_for is WaitingFor.COMPLETE_PREFUND
    alice.close()
    alice = parties.restart("alice", alice, chain=chain)
    until(bob.proposals, len)
    bob.approve(channel)
    alice.channel(channel).result(PATIENCE_S)
    assert amounts(chain) == [5, 7]


def test_a_node_that_only_listens_goes_on_by_itself_after_a_restart(
    parties: Parties, chain: SimulatedChain
) -> None:
    """Bob's deposit is due; nobody connects to him, and there is nobody he would dial."""
    flaky = FlakyChain(chain, {"deposit": 1_000_000})
    alice = parties.start("alice", None, chain=chain)
    bob = parties.start("bob", store=parties.store("bob"), chain=flaky, policy=approve_all)
    failed = events_of(bob)
    alice.add_peer(bob.record)
    until_connected(alice, bob.address)
    channel = fund(alice, bob)
    failed.first(ChainFailed)
    flaky.asked_after.until(lambda blocks: 1 in blocks)
    assert bob.channels()  # The event of Alice's deposit is stored: it does not come again.
    bob.close()
    alice.close()
    assert amounts(chain) == [5]
    bob = parties.restart("bob", bob, chain=chain, policy=approve_all)
    until(lambda: amounts(chain), lambda made: made == [5, 7])
    assert bob.channel(channel.channel_id).status().waiting_for is not WaitingFor.NOTHING


def test_terms_are_what_the_caller_gave(parties: Parties, chain: SimulatedChain) -> None:
    alice, bob = parties.pair(chain=chain)
    app = Address(b"\x22" * 20)
    channel = fund(alice, bob, challenge_duration=60, app_definition=app, channel_nonce=3)
    fixed = FixedPart((alice.address, bob.address), 3, app, 60)
    assert channel.channel_id == channel_id(fixed)
    (proposal,) = until(bob.proposals, len)
    assert proposal.state.fixed == fixed
    assert proposal.participants == fixed.participants
    assert proposal.me == bob.address
