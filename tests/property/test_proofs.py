"""Helpers change nothing but the time that it takes: with any, in any order, all is as without."""

from collections.abc import Callable
from dataclasses import replace
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.node_world import Letter, world_of
from tests.unit.engine.test_proofs import accept, propose
from zmqp2p.codes import RefusalCode
from zmqp2p.crypto import SecretKey
from zmqp2p.engine.proofs import Proof, Proofs
from zmqp2p.errors import RefuseMessage
from zmqp2p.ids import Address, ChannelId
from zmqp2p.node.deliveries import Delivery

ALICE, MALLORY = SecretKey(b"\x07" * 32), SecretKey(b"\x08" * 32)

# What a message may be, by its turn. All signed ones are of one channel.
KINDS: dict[str, Callable[[int], object]] = {
    "signed": lambda turn: propose(turn, ALICE),
    "accepted": lambda turn: accept(turn, ALICE),
    "another's": lambda turn: propose(turn, MALLORY),
    "another state's": lambda turn: replace(
        propose(turn, ALICE), signature=propose(turn + 1, ALICE).signature
    ),
    "another channel's": lambda turn: replace(
        propose(turn, ALICE), channel_id=ChannelId(b"\xcc" * 32)
    ),
    "unsigned": Letter,
}
ENDINGS = ("well", "refused", "fails once", "fails", "does not ask")

messages = st.lists(
    st.tuples(st.sampled_from(sorted(KINDS)), st.sampled_from(ENDINGS)), max_size=30
)

Heard = tuple[object, int, Address | None]
Ended = type[Exception] | None


class Helpers:
    """Threads that begin and end when chance says so, or never."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._offers: list[Proofs] = []
        self._begun: list[Proof] = []

    def offer(self, proofs: Proofs) -> None:
        self._offers.append(proofs)

    def run(self) -> None:
        """Let each begin some more, and end some of what is begun."""
        for proofs in self._offers:
            for _ in range(self._rng.randrange(4)):
                if (proof := proofs.take()) is not None:
                    self._begun.append(proof)
        self._rng.shuffle(self._begun)
        for _ in range(self._rng.randrange(len(self._begun) + 1)):
            self._begun.pop().examine()


def outcome_of(
    items: list[tuple[str, str]], helpers: Helpers | None
) -> tuple[list[Heard], list[Ended]]:
    """Return what Bob's handler hears of Alice's messages, and how they end for her."""
    heard: list[Heard] = []

    def handle(delivery: Delivery) -> None:
        if helpers is not None:
            helpers.run()
        turn = len({message for message, _, _ in heard} | {delivery.message}) - 1
        ending = items[turn][1]
        signer = None if ending == "does not ask" else delivery.signer
        heard.append((delivery.message, delivery.attempt, signer))
        if helpers is not None:
            helpers.run()
        if ending == "refused":
            raise RefuseMessage(RefusalCode.PAYLOAD_INVALID, "no")
        if ending == "fails" or (ending == "fails once" and delivery.attempt == 1):
            raise ValueError(ending)

    with world_of() as world:
        handlers = world.bob.loop.handlers
        handlers.help = None if helpers is None else helpers.offer
        handlers.subscribe(handle, None, None, None)
        made = [KINDS[kind](turn) for turn, (kind, _) in enumerate(items, start=2)]
        receipts = [world.alice.send(world.bob, message) for message in made]
        world.run(20 + 10 * len(items))
        assert all(receipt.ended for receipt in receipts)
        return heard, [None if one.error is None else type(one.error) for one in receipts]


@settings(max_examples=60)
@given(items=messages, seed=st.integers(0, 2**32 - 1))
def test_helpers_change_nothing(items: list[tuple[str, str]], seed: int) -> None:
    alone = outcome_of(items, None)
    assert outcome_of(items, Helpers(Random(seed))) == alone
