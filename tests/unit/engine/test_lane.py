"""Start-time fair queueing: whose next piece of work is the one to do."""

from zmqp2p.engine.lane import Lane


def lane_of(*items: str) -> Lane[str, str]:
    """Return a lane in which ``items`` stand, each named after its user, in this order."""
    lane: Lane[str, str] = Lane()
    for ticket, item in enumerate(items):
        lane.push(item[0], item, ticket)
    return lane


def test_of_those_that_begin_together_the_lowest_ticket_is_first() -> None:
    lane = lane_of("b", "a", "c")
    assert [lane.pop() for _ in range(3)] == ["b", "a", "c"]


def test_who_had_more_done_stands_further_behind() -> None:
    lane = lane_of("a", "b", "c")
    for work in (30, 10, 20):
        user = lane.pop()
        lane.worked(user, work)
        lane.push(user, user, 9)
    assert [lane.pop() for _ in range(3)] == ["b", "c", "a"]


def test_who_had_nothing_to_do_has_no_credit_for_it() -> None:
    lane = lane_of("a", "b")
    for _ in range(3):
        user = lane.pop()
        lane.worked(user, 10)
        lane.push(user, user, 9)
    lane.push("c", "c", 10)  # It begins where the last one did, not at 0.
    assert [lane.pop() for _ in range(3)] == ["b", "c", "a"]


def test_who_is_alone_owes_nothing_to_those_that_come() -> None:
    lane = lane_of("a")
    for _ in range(2):
        user = lane.pop()
        lane.worked(user, 1_000)
        lane.push(user, user, 0)
    assert lane.remembered == 1
    lane.pop()
    assert lane.remembered == 0
    lane.push("b", "b", 1)
    lane.push("a", "a", 0)
    assert [lane.pop() for _ in range(2)] == ["a", "b"]


def test_what_is_forgotten_was_not_done() -> None:
    lane = lane_of("a", "b", "c")
    lane.pop()
    lane.worked("a", 1_000)
    lane.forget("a")
    lane.forget("a")
    lane.push("a", "a", 1)
    assert [lane.pop() for _ in range(3)] == ["a", "b", "c"]


def test_some_are_taken_out_in_their_order_and_the_others_keep_theirs() -> None:
    """The heap of this order is not sorted."""
    lane: Lane[str, str] = Lane()
    for ticket in (1, 9, 2, 11, 10, 4, 3, 12):
        lane.push(str(ticket), str(ticket), ticket)
    heap = lane.heap
    assert [ticket for _, ticket, _ in heap] != sorted(ticket for _, ticket, _ in heap)
    assert lane.take_if(lambda item: int(item) >= 9) == ["9", "10", "11", "12"]
    assert lane.heap is heap
    lane.push("0", "0", 0)
    assert [lane.pop() for _ in range(5)] == ["0", "1", "2", "3", "4"]
    assert lane.take_if(lambda _: True) == []


def test_those_that_stay_are_a_heap_still() -> None:
    lane: Lane[str, str] = Lane()
    for ticket in (1, 5, 2, 6, 7, 4, 3):
        lane.push(str(ticket), str(ticket), ticket)
    assert lane.take_if(lambda item: item in "126") == ["1", "2", "6"]
    assert [lane.pop() for _ in range(4)] == ["3", "4", "5", "7"]
