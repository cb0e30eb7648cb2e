"""Whose signature a message bears, whoever finds it out."""

from dataclasses import replace

import pytest

from tests.engine_world import HIGH, LOW, Note
from zmqp2p.crypto import SecretKey, Signature
from zmqp2p.engine.proofs import Proof, Proofs, signer_of
from zmqp2p.ids import ZERO_ADDRESS, ChannelId, TurnNum
from zmqp2p.messages import AcceptState, ProposeState
from zmqp2p.state import FixedPart, State, VariablePart, channel_id, sign_state, state_hash

FIXED = FixedPart((LOW.address, HIGH.address), 1, ZERO_ADDRESS)
CHANNEL = channel_id(FIXED)
NO_KEY = Signature((5).to_bytes(32), b"\x01" * 32, 27)  # No point of the curve has this r.


def propose(turn: int, key: SecretKey = LOW) -> ProposeState:
    state = State(FIXED, VariablePart(b"", (), TurnNum(turn), is_final=False))
    return ProposeState(CHANNEL, state, sign_state(state, key))


def accept(turn: int, key: SecretKey = LOW) -> AcceptState:
    proposed = propose(turn, key)
    return AcceptState(CHANNEL, TurnNum(turn), state_hash(proposed.state), proposed.signature)


@pytest.mark.parametrize("key", [LOW, HIGH])
def test_the_signer_is_whose_key_it_was(key: SecretKey) -> None:
    assert signer_of(propose(5, key)) == key.address
    assert signer_of(accept(5, key)) == key.address


def test_a_signature_over_another_state_is_somebody_elses() -> None:
    assert signer_of(replace(propose(5), signature=propose(6).signature)) not in (
        LOW.address,
        None,
    )


@pytest.mark.parametrize(
    "message",
    [
        Note("bears none"),
        replace(propose(5), channel_id=ChannelId(b"\xcc" * 32)),
        replace(propose(5), signature=NO_KEY),
        replace(accept(5), signature=NO_KEY),
    ],
)
def test_what_proves_nothing_has_no_signer(message: object) -> None:
    assert signer_of(message) is None
    assert Proof(message).signer is None


def test_who_needs_the_first_examines_them_all() -> None:
    """Two threads that do nothing else are at it at the same time (ADR-0022)."""
    proofs = Proofs()
    first, second = proofs.add(propose(1)), proofs.add(propose(2, HIGH))
    assert first.signer == LOW.address
    later = proofs.add(propose(3))
    assert second.signer == HIGH.address  # It is known: nothing is left to do for it.
    assert proofs.take() is later


def test_what_others_have_examined_is_not_examined_again() -> None:
    proofs = Proofs()
    first = proofs.add(propose(1))
    proofs.work()
    later = proofs.add(propose(2))
    assert first.signer == LOW.address
    assert proofs.take() is later


def test_one_that_somebody_has_begun_is_not_waited_for() -> None:
    """A helper's thread may get no time for as long as the system likes."""
    proofs = Proofs()
    first, second = proofs.add(propose(1)), proofs.add(propose(2, HIGH))
    begun = proofs.take()
    assert begun is first
    assert first.signer == LOW.address
    assert second.signer == HIGH.address
    begun.examine()  # The helper comes to it at last.
    assert first.signer == LOW.address


def test_a_row_ends() -> None:
    proofs = Proofs()
    assert proofs.take() is None
    proofs.work()
    only = proofs.add(propose(1))
    assert proofs.take() is only
    assert proofs.take() is None
