"""Whose turn it is: the participant whose state counts when two want the same turn."""

from zmqp2p.ids import Address, TurnNum
from zmqp2p.state.types import UINT48_END, FixedPart, check_uint


def mover(fixed: FixedPart, turn_num: TurnNum) -> Address:
    """Return who makes the state of ``turn_num``: participants move in order, the first at 0.

    Everyone else signs that state or waits, and makes none of its own (SIG-3). So two that move at
    once need not talk about whose state it is to be.

    Raises:
        InvalidValue: ``turn_num`` is not below 2**48.
    """
    check_uint("turn_num", turn_num, UINT48_END)
    return fixed.participants[turn_num % len(fixed.participants)]
