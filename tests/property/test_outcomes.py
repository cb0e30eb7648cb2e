"""Whatever happens to two nodes: what an id tells of its message is never wrong."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.node_world import LIMITS, Letter, World, world_of
from zmqp2p.codes import RefusalCode
from zmqp2p.errors import Expired, Refused, RefuseMessage, UnknownMessage
from zmqp2p.ids import MessageId
from zmqp2p.node.deliveries import Delivery
from zmqp2p.node.receipts import Receipt

SMALL = replace(LIMITS, undelivered_max_per_peer=3)
FATES = ("ack", "refuse", "expire")
steps = st.one_of(
    st.sampled_from(FATES).map(lambda fate: ("send", fate)),
    st.integers(1, 4).map(lambda turns: ("run", turns)),
    st.sampled_from([("restart", "alice"), ("restart", "bob"), ("crash", "alice")]),
    st.sampled_from([("end", "bob"), ("start", "bob")]),
)


def judge(delivery: Delivery) -> None:
    """Process a letter as it asks for."""
    if delivery.message.text == "refuse":
        raise RefuseMessage(RefusalCode.REPLAY, str(delivery.message.number))


class Story:
    """What was sent, the ids that Alice has learned, and what they must tell in the end."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.known: dict[MessageId, Letter] = {}
        self._open: list[tuple[Receipt, Letter]] = []
        self._count = 0
        world.bob.handle(judge)

    def step(self, what: str, how: str | int) -> None:
        """Let one thing happen."""
        world = self.world
        side = world.alice if how == "alice" else world.bob
        if what == "send":
            self._send(str(how))
        elif what == "run":
            world.run(int(how))
        elif what == "crash":
            self._crash()
        elif what == "end":
            side.end()
        elif not side.alive or what == "restart":
            side.restart()
        self._learn()

    def finish(self) -> None:
        """Let everything arrive."""
        if not self.world.bob.alive:
            self.world.bob.start()
        self.world.run(60)
        self._learn()

    def _send(self, fate: str) -> None:
        self._count += 1
        letter = Letter(self._count, fate)
        late = 1e-6 if fate == "expire" else None
        self._open.append((self.world.alice.send(self.world.bob, letter, late), letter))

    def _crash(self) -> None:
        """Crash after all has been written, and before it is committed."""
        alice = self.world.alice
        commit, alice.store.commit = alice.store.commit, _killed  # type: ignore[method-assign]
        try:
            alice.turn()
        except KeyboardInterrupt:
            alice.store.commit = commit  # type: ignore[method-assign]
            alice.restart()

    def _learn(self) -> None:
        self.known |= {receipt.message_id: sent for receipt, sent in self._open if receipt.stored}
        self._open = [(receipt, sent) for receipt, sent in self._open if not receipt.stored]


def _killed() -> None:
    raise KeyboardInterrupt


@settings(max_examples=150, deadline=None)
@given(script=st.lists(steps, max_size=25))
def test_an_id_tells_the_truth_or_that_it_is_not_known(script: list[tuple[str, str | int]]) -> None:
    """At any time: what has ended, ended as the receiver decided; in the end all has ended."""
    with world_of(SMALL) as world:
        story = Story(world)
        for what, how in script:
            story.step(what, how)
            for asked, letter in story.known.items():
                check_truth(world, asked, letter)
        story.finish()
        unknown = [letter for asked, letter in story.known.items() if not check_ended(world, asked)]
        kept = [letter for letter in story.known.values() if letter not in unknown]
        refused = [letter for letter in kept if letter.text != "ack"]
        assert not unknown or len(refused) == SMALL.undelivered_max_per_peer
        for asked, letter in story.known.items():
            check_truth(world, asked, letter)


def check_truth(world: World, asked: MessageId, letter: Letter) -> None:
    """Assert that a message that has ended, as far as it is known, has ended rightly."""
    try:
        receipt = world.alice.receipt(asked)
    except UnknownMessage:
        return
    assert receipt.message_id == asked
    if receipt.ended:
        kind = {"ack": type(None), "refuse": Refused, "expire": Expired}[letter.text]
        assert type(receipt.error) is kind, letter
        assert not isinstance(receipt.error, Refused) or receipt.error.reason == str(letter.number)


def check_ended(world: World, asked: MessageId) -> bool:
    """Assert that a message has ended; return whether it is known how."""
    try:
        assert world.alice.receipt(asked).ended
    except UnknownMessage:
        return False
    return True
