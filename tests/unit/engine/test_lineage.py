"""Who was whom, after hand-overs in any order, undone in any order, over restarts."""

from hypothesis import given
from hypothesis import strategies as st

from tests.memory import remember
from zmqp2p.engine.lineage import Lineage
from zmqp2p.engine.output import EngineOutput
from zmqp2p.ids import Address
from zmqp2p.persistence import DropHandOver, PutHandOver, Snapshot

A, B, C, D = (Address(bytes([number]) * 20) for number in range(4))


def lineage_of(*pairs: tuple[Address, Address]) -> Lineage:
    """Return what is known after hand-overs from the first to the second of each pair."""
    lineage = Lineage(EngineOutput())
    for old, new in pairs:
        lineage.hand_over(old, new)
        lineage.check()
    return lineage


def test_who_never_handed_over_is_itself_alone() -> None:
    lineage = lineage_of((A, B))
    assert lineage.former(C) == lineage.line(C) == [C]


def test_one_knows_whom_it_was_and_not_whom_it_will_be() -> None:
    lineage = lineage_of((A, B), (B, C))
    assert [set(lineage.former(one)) for one in (A, B, C)] == [{A}, {A, B}, {A, B, C}]
    assert all(set(lineage.line(one)) == {A, B, C} for one in (A, B, C))


def test_two_may_become_one() -> None:
    lineage = lineage_of((A, C), (B, C))
    assert set(lineage.former(C)) == set(lineage.line(A)) == {A, B, C}
    assert lineage.former(A) == [A]


def test_who_is_itself_again_was_taken_for_another() -> None:
    lineage = lineage_of((A, B), (B, C))
    assert lineage.restore(B) == C
    assert lineage.restore(B) is None
    assert set(lineage.line(A)) == {A, B}
    assert lineage.line(C) == [C]


def test_a_second_heir_replaces_the_first() -> None:
    lineage = lineage_of((A, B), (A, C))
    assert lineage.line(B) == [B]
    assert set(lineage.line(A)) == {A, C}


def test_who_comes_back_as_whom_it_was_first_is_not_its_own_forebear() -> None:
    lineage = lineage_of((A, B), (B, A))
    assert set(lineage.former(A)) == {A, B}
    assert lineage.former(B) == [B]


def test_each_change_is_stored() -> None:
    output = EngineOutput()
    lineage = Lineage(output)
    lineage.hand_over(A, B)
    lineage.restore(A)
    lineage.restore(A)
    assert output.writes == [PutHandOver(A, B), DropHandOver(A)]


people = st.sampled_from([A, B, C, D])


@given(st.lists(st.tuples(people, people).filter(lambda pair: pair[0] != pair[1])))
def test_whatever_is_accepted_the_store_knows_and_nobody_is_his_own_forebear(
    pairs: list[tuple[Address, Address]],
) -> None:
    output, memory = EngineOutput(), Snapshot(incarnation=1)
    lineage = Lineage(output)
    for old, new in pairs:
        lineage.hand_over(old, new)
        lineage.check()
        assert {old, new} <= set(lineage.former(new))
    remember(memory, output.writes)
    again = Lineage(output)
    again.load(memory.hand_overs)
    again.check()
    for one in (A, B, C, D):
        assert set(again.former(one)) == set(lineage.former(one))
        assert set(again.line(one)) == set(lineage.line(one))
