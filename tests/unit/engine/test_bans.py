"""Bans: each ends by itself, and there are never more than so many."""

from zmqp2p.engine.bans import Ban, Bans


def test_a_ban_ends_when_its_time_is_over() -> None:
    bans: Bans[str] = Bans(most=4)
    bans.add("mallory", 10.0, "floods")
    assert bans.ask("mallory", 9.9) == Ban(10.0, "floods")
    assert bans.ask("alice", 9.9) is None
    assert bans.ask("mallory", 10.0) is None
    assert bans.live(0.0) == {}  # It is forgotten, not only over.


def test_a_ban_can_be_lifted() -> None:
    bans: Bans[str] = Bans(most=4)
    bans.add("mallory", 10.0, "floods")
    assert bans.lift("mallory")
    assert not bans.lift("mallory")
    assert bans.ask("mallory", 0.0) is None
    bans.add("mallory", 10.0, "floods")
    bans.clear()
    assert bans.ask("mallory", 0.0) is None


def test_a_later_ban_replaces_an_earlier_one_even_by_a_shorter() -> None:
    """An operator who says 5 s means 5 s."""
    bans: Bans[str] = Bans(most=1)
    bans.add("mallory", 100.0, "floods")
    bans.add("mallory", 5.0, "floods a little")
    assert bans.live(0.0) == {"mallory": Ban(5.0, "floods a little")}


def test_the_ban_that_would_end_first_makes_room() -> None:
    """Whoever makes names without end must not make a node remember them all."""
    bans: Bans[int] = Bans(most=3)
    for number, until in enumerate((30.0, 10.0, 20.0, 40.0)):
        bans.add(number, until, "")
        bans.check()
    assert list(bans.live(0.0)) == [0, 2, 3]


def test_only_bans_that_are_not_over_are_listed() -> None:
    bans: Bans[str] = Bans(most=4)
    bans.add("a", 1.0, "")
    bans.add("b", 2.0, "")
    assert list(bans.live(1.0)) == ["b"]


def test_what_was_lifted_or_replaced_makes_no_room_twice_and_does_not_pile_up() -> None:
    bans: Bans[int] = Bans(most=2)
    for until in (*range(100, 110), *[109] * 10):
        bans.add(1, float(until), "")
        bans.check()
    bans.add(2, 101.0, "")
    bans.lift(2)
    bans.add(3, 105.0, "")  # There is room.
    bans.check()
    assert list(bans.live(0.0)) == [1, 3]
    bans.add(4, 200.0, "")
    bans.check()
    assert list(bans.live(0.0)) == [1, 4]


def test_a_ban_that_was_made_longer_does_not_make_room_at_its_first_end() -> None:
    bans: Bans[int] = Bans(most=2)
    bans.add(1, 10.0, "")
    bans.add(1, 90.0, "")
    bans.add(2, 20.0, "")
    bans.add(3, 30.0, "")
    assert list(bans.live(0.0)) == [1, 3]
