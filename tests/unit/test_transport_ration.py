"""How much is read in one call of `wait`: so much in all, and of that each socket its share."""

from zmqp2p.transport.links import (
    TURN_MAX_WORK_US,
    TURN_SHARED_MAX_WORK_US,
    Portion,
    Ration,
)
from zmqp2p.transport.reactor import Reactor
from zmqp2p.wire.work import FRAME_US


def read_all(ration: Ration, sockets: int) -> list[int]:
    """Let so many sockets of which there is no end be read; return how many frames of each."""
    counts = []
    for _ in range(sockets):
        if ration.spent:
            counts.append(0)
            continue
        portion = ration.portion()
        count = 0
        while not portion.full:
            portion.add(FRAME_US)
            count += 1
        assert ration.count(portion, left=True)
        counts.append(count)
    return counts


def test_one_socket_alone_has_all() -> None:
    ration = Ration()
    ration.renew(shared=False)
    assert read_all(ration, 1) == [TURN_MAX_WORK_US // FRAME_US]
    assert ration.spent


def test_while_there_are_several_links_less_is_read_at_a_time() -> None:
    """Everybody waits for the end of a turn."""
    ration = Ration()
    ration.renew(shared=True)
    assert read_all(ration, 1) == [TURN_SHARED_MAX_WORK_US // FRAME_US]


def test_sockets_of_which_there_is_no_end_share_what_one_had() -> None:
    """Eight of them were eight times as long a turn, and the ninth waited for all of them."""
    ration = Ration()
    ration.renew(shared=True)
    assert read_all(ration, 8)[1:] == [0] * 7  # Nobody could know yet.
    ration.renew(shared=True)
    for _ in range(8):
        ration.count(Portion(), left=True)
    ration.renew(shared=True)
    shares = read_all(ration, 8)
    assert sum(shares) * FRAME_US <= TURN_SHARED_MAX_WORK_US + FRAME_US
    assert min(shares) >= TURN_SHARED_MAX_WORK_US // FRAME_US // 8


def test_of_a_thousand_sockets_each_has_something_when_it_is_its_turn() -> None:
    ration = Ration()
    for _ in range(1_000):
        ration.count(Portion(), left=True)
    ration.renew(shared=True)
    shares = read_all(ration, 1_000)
    assert set(shares[:40]) == {2}
    assert shares[40:] == [0] * 960


def test_a_socket_that_was_read_empty_takes_nobodys_share() -> None:
    ration = Ration()
    ration.renew(shared=True)
    for _ in range(100):
        portion = ration.portion()
        portion.add(FRAME_US)
        assert not ration.count(portion, left=False)
    ration.renew(shared=True)
    assert read_all(ration, 1) == [TURN_SHARED_MAX_WORK_US // FRAME_US]


def test_who_was_not_served_is_the_first_next_time() -> None:
    """Or those behind a flood would never have their turn."""
    reactor = Reactor()
    served: list[str] = []

    def serve(name: str, *, left: bool) -> bool:
        served.append(name)
        return left

    def flood() -> bool:
        return serve("flood", left=True)

    def honest() -> bool:
        return serve("honest", left=False)

    try:
        reactor.mark(flood)
        reactor.mark(honest)
        reactor.catch_up(lambda: len(served) >= 1)
        assert reactor.is_marked(honest)
        reactor.catch_up(lambda: len(served) >= 2)
        assert served == ["flood", "honest"]
        assert reactor.is_marked(flood)
        assert not reactor.is_marked(honest)
    finally:
        reactor.close()
