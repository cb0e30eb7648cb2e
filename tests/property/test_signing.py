"""Whatever is asked to be signed, and whenever the node is killed: one signature for one turn."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from zmqp2p.crypto import SecretKey, Signature
from zmqp2p.engine.output import EngineOutput
from zmqp2p.engine.signing import SigningLedger
from zmqp2p.errors import SignedAlready
from zmqp2p.ids import Address, ChannelId, StateHash, TurnNum
from zmqp2p.store import MemoryStore

KEY = SecretKey(b"\x05" * 32)
OWNER = Address(b"o" * 20)

channels = st.sampled_from([ChannelId(bytes([number]) * 32) for number in range(1, 3)])
turns = st.integers(0, 4).map(TurnNum)
hashes = st.sampled_from([StateHash(bytes([number]) * 32) for number in range(3)])
requests = st.tuples(channels, turns, hashes)

Request = tuple[ChannelId, TurnNum, StateHash]


class Signing(RuleBasedStateMachine):
    """A ledger, its store, and the world outside, which has what left after a commit.

    ``left`` is what matters: the states whose signatures others hold. It only grows.
    """

    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryStore()
        self.waiting: list[tuple[Request, Signature]] = []  # For the commit.
        self.left: dict[tuple[ChannelId, TurnNum], tuple[StateHash, Signature]] = {}

    @initialize()
    def start(self) -> None:
        """Begin the first run."""
        self.restart()

    @rule(request=requests)
    def sign(self, request: Request) -> None:
        """Sign for the application."""
        channel, turn_num, state_hash = request
        before = self.ledger.last(channel), list(self.output.writes)
        try:
            signature = self.ledger.sign(channel, turn_num, state_hash)
        except SignedAlready:
            assert before == (self.ledger.last(channel), self.output.writes)
            return
        self.waiting.append((request, signature))

    @rule(wanted=st.lists(requests, max_size=4), keep=st.booleans())
    def crank(self, wanted: list[Request], *, keep: bool) -> None:
        """Sign for an objective; if one of its signatures is refused, none of them leaves."""
        draft = self.ledger.draft()
        try:
            signed = [(request, draft.sign_hash(*request)) for request in wanted]
        except SignedAlready:
            return
        if keep:
            self.ledger.record(draft)
            self.waiting += signed

    @rule()
    def commit(self) -> None:
        """End the turn: what was signed is stored, and then leaves."""
        self.store.apply(self.output.writes)
        self.store.commit()
        self.output.writes = []
        for (channel, turn_num, state_hash), signature in self.waiting:
            known = self.left.setdefault((channel, turn_num), (state_hash, signature))
            assert known == (state_hash, signature)  # The law.
        self.waiting = []

    @rule()
    def restart(self) -> None:
        """Kill the node, at whatever moment, and start it on what was committed."""
        self.store.close()
        self.output = EngineOutput()
        self.ledger = SigningLedger(KEY, self.output)
        self.ledger.load(self.store.open(OWNER, 1).signed)
        self.waiting = []

    @invariant()
    def each_row_covers_what_has_left(self) -> None:
        """The ledger stands at, or above, all that others hold; one row for each channel."""
        self.ledger.check()
        for (channel, turn_num), (state_hash, _) in self.left.items():
            row = self.ledger.last(channel)
            assert row is not None
            assert row.turn_num > turn_num or row.state_hash == state_hash
            assert row.turn_num >= turn_num

    def teardown(self) -> None:
        """Release the store."""
        self.store.close()


TestSigning = Signing.TestCase
TestSigning.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
