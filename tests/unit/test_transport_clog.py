"""When a listening socket is to be closed and opened again, because of what libzmq keeps."""

from zmqp2p.transport.arrivals import Arrival
from zmqp2p.transport.clog import Clog
from zmqp2p.transport.options import SocketLimits

BOUNDS = SocketLimits(
    listener_renewal_min_s=10.0, stuck_s=1.0, stuck_connections_max=2, unread_connections_max=3
)
BEGAN_AT, LATER = 100.0, 110.0
PLACES = 1_000


def arrival(*, stuck: bool = False, proven: bool = False) -> Arrival:
    """Return a connection that has not ended."""
    return Arrival(7, (), "mallory", BEGAN_AT, proven=proven, stuck=stuck)


def test_connections_that_do_not_end_clog_it_when_they_are_many() -> None:
    sut = Clog(BOUNDS, PLACES, BEGAN_AT)
    one = arrival(stuck=True)
    assert not sut.is_clogged([one], LATER)
    assert sut.is_clogged([one, arrival(stuck=True)], LATER)


def test_of_few_places_an_eighth_is_many() -> None:
    """Those that do not end have places that guests leave to contacts."""
    stuck = [arrival(stuck=True)]
    assert Clog(BOUNDS, 15, BEGAN_AT).is_clogged(stuck, LATER)
    assert not Clog(BOUNDS, 16, BEGAN_AT).is_clogged(stuck, LATER)
    assert not Clog(BOUNDS, 1, BEGAN_AT).is_clogged([], LATER)


def test_connections_that_ended_and_of_which_nothing_was_read_clog_it_too() -> None:
    """What they have sent may stay, and nothing tells."""
    sut = Clog(BOUNDS, PLACES, BEGAN_AT)
    for _ in range(3):
        sut.greeted()
    assert sut.is_clogged([], LATER)


def test_connections_of_which_something_was_read_or_may_be_read_yet_do_not() -> None:
    sut = Clog(BOUNDS, PLACES, BEGAN_AT)
    for _ in range(5):
        sut.greeted()
    for _ in range(2):
        sut.heard()
    assert not sut.is_clogged([arrival()], LATER)
    assert sut.is_clogged([arrival(proven=True)], LATER)


def test_it_is_not_renewed_all_the_time() -> None:
    """All peers lose their links each time."""
    sut = Clog(BOUNDS, PLACES, BEGAN_AT)
    stuck = [arrival(stuck=True) for _ in range(5)]
    assert not sut.is_clogged(stuck, LATER - 0.1)
    assert sut.is_clogged(stuck, LATER)
