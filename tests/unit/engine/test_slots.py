"""Places for handlers: never more than there are, and nobody is overtaken."""

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from zmqp2p.engine.slots import Slots
from zmqp2p.ids import Address

PEERS = [Address(bytes([number]) * 20) for number in range(4)]
ALICE, BOB, CAROL, DAVE = PEERS


def test_so_many_take_a_place_and_the_next_one_waits() -> None:
    slots = Slots(2)
    assert slots.take(ALICE)
    assert slots.take(ALICE)
    assert not slots.take(BOB)
    assert list(slots.line) == [BOB]
    slots.check()


def test_a_free_place_is_promised_to_the_first_in_line_and_to_nobody_else() -> None:
    slots = Slots(1)
    slots.take(ALICE)
    for peer in (BOB, CAROL):
        slots.take(peer)
    assert slots.leave() == BOB
    assert list(slots.line) == [CAROL]
    assert not slots.take(DAVE)  # It came later, though it asks earlier.
    assert slots.take(BOB)
    assert slots.leave() == CAROL
    slots.check()


def test_a_place_that_is_not_needed_goes_to_the_next() -> None:
    slots = Slots(1)
    slots.take(ALICE)
    slots.take(BOB)
    slots.take(CAROL)
    assert slots.leave() == BOB
    assert slots.forfeit(CAROL) is None  # It has none yet.
    assert slots.forfeit(BOB) == CAROL
    assert slots.forfeit(CAROL) is None
    assert slots.take(DAVE)
    slots.check()


@given(
    most=st.integers(1, 3),
    asked=st.lists(st.tuples(st.sampled_from(["take", "leave", "forfeit"]), st.integers(0, 3))),
)
def test_places_go_round_in_the_order_in_which_peers_have_lined_up(
    most: int, asked: list[tuple[str, int]]
) -> None:
    slots = Slots(most)
    taken, promised, line = 0, set[Address](), deque[Address]()

    def given_to(peer: Address | None) -> None:
        assert peer == (line[0] if line else None)
        if peer is not None:
            promised.add(line.popleft())

    for what, number in asked:
        peer = PEERS[number]
        if what == "take" and peer not in line:
            got = slots.take(peer)
            assert got == (peer in promised or taken + len(promised) < most)
            taken += got
            promised.discard(peer)
            if not got:
                line.append(peer)
        elif what == "leave" and taken:
            taken -= 1
            given_to(slots.leave())
        elif what == "forfeit" and peer in promised:
            promised.discard(peer)
            given_to(slots.forfeit(peer))
        slots.check()
        assert list(slots.line) == list(line)
