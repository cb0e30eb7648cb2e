"""A handler that asks who has signed: what it hears, when others help, and for whom."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace

import pytest

from tests.node_world import Elsewhere, Letter, World, world_of
from tests.unit.engine.test_proofs import accept, propose
from zmqp2p.codes import RefusalCode
from zmqp2p.crypto import SecretKey
from zmqp2p.engine.proofs import Proofs
from zmqp2p.errors import RefuseMessage
from zmqp2p.ids import Address, ChannelId
from zmqp2p.messages import AcceptState, ProposeState
from zmqp2p.node.deliveries import Delivery

KEY = SecretKey(b"\x07" * 32)


@pytest.fixture
def world() -> Iterator[World]:
    with world_of() as world:
        yield world


class Help:
    """Stands for helpers: notes each time that it is asked, and how many there were to examine."""

    def __init__(self, *, works: bool = True) -> None:
        self.asked: list[int] = []
        self.rows: list[Proofs] = []
        self._works = works

    def __call__(self, proofs: Proofs) -> None:
        """Examine them all at once, or none."""
        self.asked.append(len(proofs))
        self.rows.append(proofs)
        if self._works:
            proofs.work()


def subscribe(world: World, handler: Callable[[Delivery], object]) -> int:
    return world.bob.loop.handlers.subscribe(handler, None, ProposeState, None)


def send(world: World, *proposals: ProposeState) -> None:
    for proposal in proposals:
        world.alice.send(world.bob, proposal)
    world.run()


@pytest.mark.parametrize("help_", [None, Help(), Help(works=False)])
def test_who_has_signed_is_the_same_whoever_has_found_out(world: World, help_: Help | None) -> None:
    world.bob.loop.handlers.help = help_
    heard: list[tuple[int, Address | None]] = []
    subscribe(world, lambda one: heard.append((one.message.state.variable.turn_num, one.signer)))
    others = replace(propose(4, KEY), signature=propose(9, KEY).signature)
    astray = replace(propose(5, KEY), channel_id=ChannelId(b"\xcc" * 32))
    send(world, propose(2, KEY), propose(3), others, astray, propose(6, KEY))
    signers = [signer for _, signer in heard]
    assert [turn for turn, _ in heard] == [2, 3, 4, 5, 6]
    assert signers[0] == signers[4] == KEY.address
    assert signers[1] == propose(3).state.fixed.participants[0]
    assert signers[2] not in (KEY.address, None)
    assert signers[3] is None


def test_nobody_helps_a_handler_that_does_not_ask(world: World) -> None:
    helps = world.bob.loop.handlers.help = Help()
    handled: list[object] = []
    subscribe(world, lambda one: handled.append(one.message))
    send(world, *[propose(turn) for turn in range(2, 9)])
    assert len(handled) == 7
    assert helps.asked == []


def test_others_help_from_the_second_on_until_it_does_not_ask_any_more(world: World) -> None:
    helps = world.bob.loop.handlers.help = Help()
    asks = {2, 3, 4, 5, 9}
    heard: list[int] = []

    def handle(delivery: Delivery) -> None:
        turn = delivery.message.state.variable.turn_num
        heard.append(turn)
        if turn in asks:
            assert delivery.signer is not None

    subscribe(world, handle)
    send(world, *[propose(turn) for turn in range(2, 9)])
    assert helps.asked == [5]  # At the second, all that follow.
    send(world, propose(9), propose(10), propose(11))
    assert helps.asked == [5, 1]  # At the tenth, the one that follows; it is not asked about.
    send(world, propose(12), propose(13))
    assert (heard, helps.asked) == (list(range(2, 14)), [5, 1])


def test_a_handler_that_fails_is_handed_the_same_again(world: World) -> None:
    world.bob.loop.handlers.help = Help()
    heard: list[tuple[int, int, Address | None]] = []

    def handle(delivery: Delivery) -> None:
        turn = delivery.message.state.variable.turn_num
        heard.append((turn, delivery.attempt, delivery.signer))
        if turn == 4 and delivery.attempt == 1:
            raise ValueError("once")
        if turn == 5:
            raise RefuseMessage(RefusalCode.PAYLOAD_INVALID, "no")

    subscribe(world, handle)
    send(world, *[propose(turn, KEY) for turn in range(2, 8)])
    world.run(20)
    assert [(turn, attempt) for turn, attempt, _ in heard] == [
        (2, 1), (3, 1), (4, 1), (4, 2), (5, 1), (6, 1), (7, 1),
    ]  # fmt: skip
    assert {signer for _, _, signer in heard} == {KEY.address}


def test_what_bears_no_signature_changes_nothing(world: World) -> None:
    """A handler of all kinds of messages need not ask of those."""
    helps = world.bob.loop.handlers.help = Help()
    heard: list[object] = []

    def handle(delivery: Delivery) -> None:
        heard.append(1 if isinstance(delivery.message, Letter) else delivery.signer)

    world.bob.loop.handlers.subscribe(handle, None, None, None)
    for some in ((propose(2, KEY), Letter(1)), (propose(3, KEY), propose(4, KEY))):
        for message in some:
            world.alice.send(world.bob, message)
        world.run()
    assert heard == [KEY.address, 1, KEY.address, KEY.address]
    assert helps.asked == [1]  # At the third.


def test_one_handler_asks_for_itself_only(world: World) -> None:
    helps = world.bob.loop.handlers.help = Help()
    subscribe(world, lambda one: one.signer)
    world.bob.loop.handlers.subscribe(lambda _: None, None, AcceptState, None)
    for message in (propose(2), accept(3), accept(4), accept(5), propose(6)):
        world.alice.send(world.bob, message)
    world.run()
    assert helps.asked == []


def test_what_no_helper_has_come_to_the_handler_examines_in_one_go(world: World) -> None:
    helps = world.bob.loop.handlers.help = Help(works=False)
    left: list[int] = []

    def handle(delivery: Delivery) -> None:
        assert delivery.signer == KEY.address
        left.extend(len(proofs) for proofs in helps.rows)

    subscribe(world, handle)
    send(world, *[propose(turn, KEY) for turn in range(2, 7)])
    assert helps.asked == [3]  # At the second, which nobody has looked at before.
    assert left == [3, 0, 0, 0]


def test_asking_twice_is_asking_once(world: World) -> None:
    world.bob.loop.handlers.help = Help()
    heard: list[tuple[Address | None, Address | None]] = []
    subscribe(world, lambda one: heard.append((one.signer, one.signer)))
    send(world, propose(2, KEY), propose(3, KEY), propose(4, KEY))
    assert heard == [(KEY.address, KEY.address)] * 3
    assert all(first is second for first, second in heard)  # It was not found out again.


def test_a_handler_elsewhere_finds_out_where_it_runs(world: World) -> None:
    helps, elsewhere = Help(), Elsewhere()
    world.bob.loop.handlers.help = helps
    world.bob.loop.handlers.subscribe(lambda _: None, elsewhere, ProposeState, None)
    send(world, propose(2, KEY), propose(3, KEY))
    signers = []
    while elsewhere.handed:
        delivery, done = elsewhere.handed.pop()
        signers.append(delivery.signer)
        done(None)
        world.run(2)
    assert signers == [KEY.address] * 2
    assert helps.asked == []


def test_another_subscription_begins_anew(world: World) -> None:
    helps = world.bob.loop.handlers.help = Help()
    key = subscribe(world, lambda one: one.signer)
    send(world, propose(2), propose(3))
    assert helps.asked == []  # Nothing followed on the second.
    world.bob.loop.handlers.unsubscribe(key)
    assert world.bob.loop.handlers._asking == set()  # noqa: SLF001  # Nor is it kept for ever.


def test_a_dead_letter_is_asked_about_where_it_is_redriven(world: World) -> None:
    world.bob.loop.handlers.help = Help()
    fails, heard = [True], list[Address | None]()

    def handle(delivery: Delivery) -> None:
        heard.append(delivery.signer)
        if fails[0]:
            raise ValueError("for good")

    subscribe(world, handle)
    send(world, propose(2, KEY), propose(3, KEY))
    world.run(50)
    letters = world.bob.loop.engine.dead_letters.all()
    assert len(letters) == 2
    fails[0] = False
    future: Future[None] = Future()
    world.bob.later(lambda: world.bob.loop.handlers.redrive(next(iter(letters)), future))
    world.run()
    assert future.result(0) is None
    assert set(heard) == {KEY.address}
