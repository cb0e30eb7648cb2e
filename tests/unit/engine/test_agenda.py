"""One heap for every timer."""

from zmqp2p.engine.agenda import Agenda


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
