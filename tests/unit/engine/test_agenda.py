"""One heap for every timer."""

from zmqp2p.engine.agenda import Agenda, Rounds


def test_keys_come_due_in_the_order_of_their_instants() -> None:
    agenda: Agenda[str] = Agenda()
    for key, at in (("b", 2.0), ("a", 1.0), ("c", 3.0)):
        agenda.schedule(key, at)
    assert agenda.next() == 1.0
    assert agenda.due(2.0) == ["a", "b"]
    assert agenda.next() == 3.0


def test_what_is_due_is_due_once() -> None:
    agenda: Agenda[str] = Agenda()
    agenda.schedule("a", 1.0)
    assert agenda.due(0.999) == []
    assert agenda.due(1.0) == ["a"]
    assert agenda.due(9.0) == []
    assert agenda.next() is None


def test_an_earlier_instant_replaces_a_later_one() -> None:
    agenda: Agenda[str] = Agenda()
    agenda.schedule("a", 5.0)
    agenda.schedule("a", 3.0)
    assert agenda.next() == 3.0
    assert agenda.due(3.0) == ["a"]
    assert agenda.next() is None  # The later entry is stale.
    assert agenda.due(5.0) == []


def test_a_later_instant_changes_nothing() -> None:
    """An entry is a promise to look: whoever is looked at too early says when again."""
    agenda: Agenda[str] = Agenda()
    agenda.schedule("a", 3.0)
    agenda.schedule("a", 5.0)
    agenda.schedule("a", None)
    assert agenda.due(3.0) == ["a"]
    assert agenda.next() is None


def test_a_stale_entry_does_not_come_to_life_again() -> None:
    agenda: Agenda[str] = Agenda()
    agenda.schedule("a", 5.0)
    agenda.schedule("a", 3.0)
    agenda.due(3.0)
    agenda.schedule("a", 5.0)
    assert agenda.due(9.0) == ["a"]


def test_an_entry_that_is_stale_is_not_due_in_place_of_a_later_one() -> None:
    agenda: Agenda[str] = Agenda()
    for key, at in (("a", 5.0), ("b", 4.0), ("a", 3.0)):
        agenda.schedule(key, at)
    assert agenda.due(3.0) == ["a"]
    agenda.schedule("a", 7.0)  # Behind the stale entry for 5.
    assert agenda.due(6.0) == ["b"]
    assert agenda.next() == 7.0
    assert agenda.due(7.0) == ["a"]


def test_nothing_is_scheduled_by_none() -> None:
    agenda: Agenda[str] = Agenda()
    agenda.schedule("a", None)
    assert agenda.next() is None


def test_keys_of_one_instant_need_no_order_of_their_own() -> None:
    agenda: Agenda[object] = Agenda()
    one, two = object(), object()
    agenda.schedule(one, 1.0)
    agenda.schedule(two, 1.0)
    assert agenda.due(1.0) == [one, two]


def test_a_round_is_for_all_that_are_due_by_then() -> None:
    """The thread wakes for the round, not for each key; what is due is due all the same."""
    rounds: Rounds[str] = Rounds()
    assert rounds.next() is None
    for key, at in (("b", 1.002), ("a", 1.001), ("c", 1.04)):
        rounds.schedule(key, at)
    assert rounds.next() == 1.03125
    assert rounds.due(1.0005, 100.0) == []
    assert rounds.due(1.001, 100.0) == ["a"]
    assert rounds.due(1.03125, 100.0) == ["b"]
    assert rounds.next() == 1.0625
    assert rounds.due(1.0625, 100.0) == ["c"]


def test_keys_that_are_due_all_at_once_are_spread_over_rounds() -> None:
    """Twice as many in one as come in a second if they are spread well; 32 at least."""
    rounds: Rounds[int] = Rounds()
    assert rounds.due(2.0, 640.0) == []
    for key in range(100):
        rounds.schedule(key, 1.0)
    assert rounds.due(2.03125, 640.0) == list(range(40))
    assert rounds.next() == 2.0625
    assert rounds.due(2.062, 640.0) == []
    assert rounds.due(2.0625, 640.0) == list(range(40, 80))
    assert rounds.due(2.12, 0.0) == list(range(80, 100))
    assert rounds.next() is None


def test_who_is_late_for_a_round_looks_at_more() -> None:
    """Or a busy node would fall behind, and take its peers for dead that it has not asked."""
    rounds: Rounds[int] = Rounds()
    for key in range(1_000):
        rounds.schedule(key, 1.0)
    rounds.due(2.0, 0.0)
    assert len(rounds.due(2.125, 1_000.0)) == 250
    assert len(rounds.due(4.0, 1_000.0)) == 500  # A quarter of a second's, and no more.


def test_few_keys_are_not_spread() -> None:
    rounds: Rounds[int] = Rounds()
    for key in range(33):
        rounds.schedule(key, 1.0)
    assert rounds.due(2.0, 1.0) == list(range(32))
    assert rounds.due(2.04, 1.0) == [32]
