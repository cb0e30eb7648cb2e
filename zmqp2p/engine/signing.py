"""The signing ledger: what this node has signed, so that it never signs two states for one turn.

Two signatures of one participant for one turn of a channel can be used against it on chain. So the
key signs states here only: after a look at the ledger, and together with a write that is committed
before the signature can leave.
"""

from collections.abc import Mapping

from zmqp2p.crypto import Signature, Signer
from zmqp2p.errors import SignedAlready, StoreError
from zmqp2p.ids import HASH_SIZE, Address, ChannelId, StateHash, TurnNum
from zmqp2p.persistence import PutSigned, Signed
from zmqp2p.session.session import Output
from zmqp2p.state import sign_hash


class SigningLedger:
    """Of each channel the highest turn that this node has signed, and which state (SIG-2).

    One row for each channel is enough: what is below it is refused, whatever it was.

    Invariant: what is here equals what is stored, after the writes in ``output``; a row only rises.
    """

    def __init__(self, signer: Signer, output: Output) -> None:
        self._signer = signer
        self._output = output
        self._rows: dict[ChannelId, Signed] = {}

    @property
    def address(self) -> Address:
        """Whose signatures these are."""
        return self._signer.address

    def load(self, stored: Mapping[ChannelId, Signed]) -> None:
        """Take up what earlier runs have signed."""
        self._rows.update(stored)

    def last(self, channel: ChannelId) -> Signed | None:
        """Return what was signed last in ``channel``."""
        return self._rows.get(channel)

    def sign(self, channel: ChannelId, turn_num: TurnNum, state_hash: StateHash) -> Signature:
        """Return the signature over a state, and have it recorded in this turn.

        Raises:
            SignedAlready: another state of that turn, or a later turn, is signed; nothing changed.
        """
        draft = self.draft()
        signature = draft.sign_hash(channel, turn_num, state_hash)
        self.record(draft)
        return signature

    def draft(self) -> "Draft":
        """Return what signs now and is recorded by `record`, or thrown away."""
        return Draft(self._signer, self._rows)

    def record(self, draft: "Draft") -> None:
        """Have what ``draft`` signed recorded in this turn; its signatures may leave after that.

        Between making a draft and this no other one may be recorded.
        """
        for channel, row in draft.rows.items():
            assert _allows(self._rows.get(channel), row), "an outdated draft"
            if self._rows.get(channel) != row:
                self._put(channel, row)

    def adopt(self, channel: ChannelId, row: Signed) -> None:
        """Know of a signature found elsewhere in the store: in an objective.

        Raises:
            StoreError: the ledger has another state of that turn.
        """
        known = self._rows.get(channel)
        if known is None or known.turn_num < row.turn_num:
            self._put(channel, row)
        elif known.turn_num == row.turn_num and known != row:
            raise StoreError(
                f"damaged: two states signed for turn {row.turn_num} of channel 0x{channel.hex()}"
            )

    def check(self) -> None:
        """Assert that each row is one."""
        for row in self._rows.values():
            assert row.turn_num >= 0
            assert len(row.state_hash) == HASH_SIZE

    def _put(self, channel: ChannelId, row: Signed) -> None:
        self._rows[channel] = row
        self._output.writes.append(PutSigned(channel, row.turn_num, row.state_hash))


class Draft:
    """Signs as the ledger allows, without a trace until it is recorded: a `StateSigner`.

    An objective is cranked with it, so that the crank stays pure: if its effects cannot be carried
    out, nothing was signed. No signature of it may leave before `SigningLedger.record`.
    """

    def __init__(self, signer: Signer, known: Mapping[ChannelId, Signed]) -> None:
        self._signer = signer
        self._known = known
        self.rows: dict[ChannelId, Signed] = {}

    @property
    def address(self) -> Address:
        """Whose signatures these are."""
        return self._signer.address

    def sign_hash(self, channel: ChannelId, turn_num: TurnNum, state_hash: StateHash) -> Signature:
        """Return the signature over a state; see `StateSigner.sign_hash`."""
        row = Signed(turn_num, state_hash)
        known = self.rows.get(channel) or self._known.get(channel)
        if known is not None and not _allows(known, row):
            raise SignedAlready(channel, turn_num, known.turn_num, known.state_hash)
        self.rows[channel] = row
        return sign_hash(state_hash, self._signer)


def _allows(known: Signed | None, row: Signed) -> bool:
    """Whether ``row`` may be signed: a later turn, or once more the very same state (RFC 6979)."""
    return known is None or row == known or row.turn_num > known.turn_num
