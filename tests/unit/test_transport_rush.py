"""Connections that come at once: when there are too many of them, and when that does not count."""

from zmqp2p.transport.rush import Rush


def rush(most: int, came: int, at: float = 0.0) -> Rush:
    """Return one in which so many have come."""
    sut = Rush(most)
    for number in range(came):
        sut.begin(number, at)
    sut.check()
    return sut


def test_it_is_crowded_from_half_of_the_most_on_and_full_beyond_it() -> None:
    """Between the two is what comes before the system stops accepting."""
    assert not rush(8, 4).is_crowded(0.0)
    assert rush(8, 5).is_crowded(0.0)
    assert not rush(8, 8).is_full(0.0)
    assert rush(8, 9).is_full(0.0)


def test_there_is_room_again_from_a_quarter_on() -> None:
    """Or libzmq's thread would have nothing to do until the next ones come."""
    assert not rush(8, 3).has_room(0.0)
    assert rush(8, 2).has_room(0.0)


def test_who_is_done_makes_room_once() -> None:
    sut = rush(8, 9)
    sut.end(0)
    sut.end(0)
    sut.end("a stranger")
    sut.check()
    assert not sut.is_full(0.0)
    sut.begin("next", 0.0)
    assert sut.is_full(0.0)


def test_after_a_second_nothing_is_held_against_the_next_ones() -> None:
    """Whoever has said nothing by then is not waited for."""
    sut = rush(8, 100, at=10.1)
    assert sut.is_full(10.99)
    assert not sut.is_crowded(11.0)
    assert sut.has_room(11.0)


def test_a_flood_that_says_nothing_keeps_nobody_out() -> None:
    """As many are older than come: so no one waits for those that are in hand."""
    sut = rush(8, 20)
    for number in range(20, 40):
        sut.begin(number, 5.0)
    assert not sut.is_crowded(5.0)
    sut.begin("one more", 5.0)
    assert sut.is_full(5.0)
