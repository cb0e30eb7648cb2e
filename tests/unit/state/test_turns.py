"""Who moves when."""

import pytest

from zmqp2p.errors import InvalidValue
from zmqp2p.ids import Address, TurnNum
from zmqp2p.state import FixedPart, mover

ALICE, BOB, CAROL = (Address(bytes([number]) * 20) for number in (3, 1, 2))


def test_participants_move_in_their_order_and_then_again() -> None:
    """SIG-3: the order is the channel's, not that of the addresses."""
    fixed = FixedPart((ALICE, BOB, CAROL), 1)
    movers = [mover(fixed, TurnNum(turn)) for turn in range(7)]
    assert movers == [ALICE, BOB, CAROL, ALICE, BOB, CAROL, ALICE]
    assert mover(fixed, TurnNum(2**48 - 1)) == ALICE  # 2**48 is 1 modulo 3.
    assert mover(FixedPart((BOB,), 1), TurnNum(5)) == BOB


@pytest.mark.parametrize("turn", [-1, 2**48, True, 1.0])
def test_a_turn_that_cannot_be_has_no_mover(turn: TurnNum) -> None:
    with pytest.raises(InvalidValue, match="turn_num"):
        mover(FixedPart((ALICE, BOB), 1), turn)
