"""Places for handlers: never more than there are, and nobody is overtaken."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from zmqp2p.engine.slots import Slots
from zmqp2p.ids import Address

PEERS = [Address(bytes([number]) * 20) for number in range(4)]
ALICE, BOB, CAROL, DAVE = PEERS


def slots_for(most: int, *guests: Address) -> Slots:
    """Return places of which guests may have all, taken by ``guests``."""
    slots = Slots(most, most)
    for peer in guests:
        slots.take(peer, guest=True)
    return slots


def test_so_many_take_a_place_and_the_next_one_waits() -> None:
    slots = slots_for(2)
    assert slots.take(ALICE, guest=True)
    assert slots.take(ALICE, guest=False)
    assert not slots.take(BOB, guest=False)
    assert slots.crowded
    assert slots.waits(BOB)
    slots.check()


def test_a_free_place_is_promised_to_the_first_in_line_and_to_nobody_else() -> None:
    slots = slots_for(1, ALICE, BOB, CAROL)
    assert slots.leave(ALICE) == BOB
    assert not slots.waits(BOB)
    assert slots.waits(CAROL)
    assert not slots.take(DAVE, guest=True)  # It came later, though it asks earlier.
    assert slots.take(BOB, guest=True)
    assert slots.leave(BOB) == CAROL
    slots.check()


def test_a_place_that_is_not_needed_goes_to_the_next() -> None:
    slots = slots_for(1, ALICE, BOB, CAROL)
    assert slots.leave(ALICE) == BOB
    assert slots.forfeit(CAROL) is None  # It has none yet.
    assert slots.forfeit(BOB) == CAROL
    assert slots.forfeit(CAROL) is None
    assert slots.take(DAVE, guest=True)
    slots.check()


def test_guests_never_have_all_places() -> None:
    slots = Slots(3, 2)
    assert slots.take(ALICE, guest=True)
    assert slots.take(BOB, guest=True)
    assert not slots.take(CAROL, guest=True)
    assert slots.take(DAVE, guest=False)  # Though another waits.
    assert slots.leave(DAVE) is None  # That place is not for guests.
    assert slots.leave(BOB) == CAROL
    slots.check()


def test_each_place_of_a_guest_counts() -> None:
    """A handler may still be at work for a run of its peer that is over."""
    slots = Slots(3, 2)
    assert [slots.take(peer, guest=True) for peer in (ALICE, ALICE, BOB, CAROL)] == [
        *(True, True),
        *(False, False),
    ]
    assert slots.leave(ALICE) == BOB
    slots.check()
    assert slots.leave(ALICE) == CAROL
    slots.check()


def test_contacts_have_all_places() -> None:
    slots = Slots(3, 2)
    assert all(slots.take(peer, guest=False) for peer in (ALICE, BOB, CAROL))
    assert not slots.take(DAVE, guest=True)
    assert slots.leave(ALICE) == DAVE
    slots.check()


def test_contacts_come_first_in_line() -> None:
    slots = slots_for(1, ALICE, BOB)
    slots.take(CAROL, guest=False)
    slots.take(DAVE, guest=False)
    assert [slots.leave(ALICE), slots.forfeit(CAROL), slots.forfeit(DAVE)] == [CAROL, DAVE, BOB]
    slots.check()


def test_a_guest_that_becomes_a_contact_in_line_waits_with_those() -> None:
    slots = slots_for(1, ALICE, BOB, CAROL)
    slots.take(DAVE, guest=False)
    assert slots.welcome(CAROL) is None
    assert slots.welcome(ALICE) is None  # It does not wait.
    assert [slots.leave(ALICE), slots.forfeit(DAVE), slots.forfeit(CAROL)] == [DAVE, CAROL, BOB]
    slots.check()


def test_a_guest_that_becomes_a_contact_has_a_place_that_guests_cannot_have() -> None:
    slots = Slots(2, 1)
    slots.take(ALICE, guest=True)
    slots.take(BOB, guest=True)
    assert slots.welcome(BOB) == BOB
    assert slots.take(BOB, guest=False)
    slots.check()


def test_a_place_stays_a_guests_until_it_is_left_whoever_its_peer_becomes() -> None:
    slots = Slots(3, 1)
    slots.take(ALICE, guest=True)
    assert slots.take(ALICE, guest=False)
    assert not slots.take(BOB, guest=True)
    assert slots.leave(ALICE) == BOB
    assert slots.take(BOB, guest=False)  # Promised as a guest's.
    assert not slots.take(CAROL, guest=True)
    slots.check()


class Model:
    """What `Slots` says, said plainly: two lists and a line that is searched."""

    def __init__(self, most: int, contacts: set[Address]) -> None:
        self.slots = Slots(most, max(1, most - 1))
        self.most, self.guests_most, self.contacts = most, max(1, most - 1), contacts
        self.taken: list[tuple[Address, bool]] = []
        self.promised: dict[Address, bool] = {}
        self.line: list[tuple[bool, Address]] = []  # Whether it is a guest.

    def has_place(self, *, guest: bool) -> bool:
        places = [*(one for _, one in self.taken), *self.promised.values()]
        return len(places) < self.most and (not guest or sum(places) < self.guests_most)

    def given_to(self, peer: Address | None) -> None:
        """Expect that the first for whom there is a place has it, contacts before guests."""
        may = [one for one in self.line if self.has_place(guest=one[0])]
        first = min(may, key=lambda one: one[0], default=None)
        assert peer == (first[1] if first else None)
        if first:
            self.line.remove(first)
            self.promised[first[1]] = first[0]

    def take(self, peer: Address) -> None:
        if self.slots.waits(peer) or peer in [one for one, _ in self.taken]:
            return
        guest = peer not in self.contacts
        got = self.slots.take(peer, guest=guest)
        assert got == (peer in self.promised or self.has_place(guest=guest))
        if got:
            self.taken.append((peer, self.promised.pop(peer, guest)))
        else:
            self.line.append((guest, peer))

    def leave(self, peer: Address) -> None:
        for one in [one for one in self.taken if one[0] == peer]:
            self.taken.remove(one)
            self.given_to(self.slots.leave(peer))

    def forfeit(self, peer: Address) -> None:
        if self.promised.pop(peer, None) is not None:
            self.given_to(self.slots.forfeit(peer))

    def welcome(self, peer: Address) -> None:
        self.contacts.add(peer)
        waits = (True, peer) in self.line
        if waits:
            self.line.remove((True, peer))
            self.line.append((False, peer))
        given = self.slots.welcome(peer)
        assert waits or given is None
        if waits:
            self.given_to(given)


@given(
    most=st.integers(1, 3),
    contacts=st.sets(st.sampled_from(PEERS)),
    asked=st.lists(
        st.tuples(
            st.sampled_from([Model.take, Model.take, Model.leave, Model.forfeit, Model.welcome]),
            st.sampled_from(PEERS),
        )
    ),
)
def test_places_go_round_contacts_first_in_the_order_in_which_peers_have_lined_up(
    most: int, contacts: set[Address], asked: list[tuple[Callable[[Model, Address], None], Address]]
) -> None:
    model = Model(most, contacts)
    for what, peer in asked:
        what(model, peer)
        model.slots.check()
        line = [each for _, each in model.line]
        assert [one for one in PEERS if model.slots.waits(one)] == sorted(line)
