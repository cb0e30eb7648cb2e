"""Events for a loop that is too slow: so many wait, the rest is counted, and alarms are kept."""

import asyncio
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from zmqp2p import Identity, Limits, aio
from zmqp2p.events import DataLossDetected, Event, EventsLost, PeerConnected, SessionForgotten
from zmqp2p.ids import Address
from zmqp2p.node.event_queue import EventQueue
from zmqp2p.transport import MemoryNetwork, MemoryTransport

MOST = 3


def event(number: int) -> PeerConnected:
    return PeerConnected(Address(bytes(20)), str(number))


def alarm(peer: int, detail: str = "") -> DataLossDetected:
    return DataLossDetected(Address(bytes([peer]) * 20), detail)


def drained(queue: EventQueue) -> list[Event]:
    """Return all that waits."""
    found, more = [], True
    while more:
        one, more = queue.take()
        found.append(one)
    return found


def filled(*events: Event, most: int = MOST) -> EventQueue:
    """Return a queue that is full, and to which ``events`` were added."""
    queue = EventQueue(most)
    for number in range(most):
        queue.put(event(number))
    for each in events:
        queue.put(each)
    return queue


FULL = [event(number) for number in range(MOST)]


def test_events_come_out_in_their_order() -> None:
    assert drained(filled()) == FULL


def test_somebody_is_woken_once_until_all_is_taken() -> None:
    """Each wake-up is a call that waits in the event loop, too."""
    queue = EventQueue(MOST)
    assert [queue.put(event(number)) for number in range(5)] == [True, *[False] * 4]
    drained(queue)
    assert queue.put(event(5))


def test_what_is_too_much_is_counted_and_told_in_its_place() -> None:
    queue = filled(event(3), event(4))
    assert queue.take() == (event(0), True)
    queue.put(event(5))  # The gap has that place.
    assert queue.take() == (event(1), True)
    queue.put(event(6))
    assert drained(queue) == [event(2), EventsLost(3), event(6)]


def test_alarms_are_kept_in_their_order_the_first_of_each_kind_and_peer() -> None:
    forgotten = SessionForgotten(alarm(1).peer, "")
    queue = filled(event(3), alarm(1, "first"), alarm(1, "second"), alarm(2), forgotten)
    assert drained(queue) == [*FULL, EventsLost(2), alarm(1, "first"), alarm(2), forgotten]
    queue = filled(alarm(1))
    assert drained(queue) == [*FULL, alarm(1)]  # Nothing was lost.
    again: list[Event] = [*FULL, alarm(1, "again")]
    for each in again:
        queue.put(each)
    assert drained(queue) == again


def test_alarms_of_peers_without_end_are_bounded_too() -> None:
    """New identities cost nothing."""
    queue = filled(*(alarm(peer) for peer in range(5)))
    assert drained(queue) == [*FULL, EventsLost(2), alarm(0), alarm(1), alarm(2)]


steps = st.lists(
    st.one_of(st.just("take"), st.builds(alarm, st.integers(0, 5)), st.builds(event, st.just(0))),
    max_size=60,
)


@given(steps)
def test_each_event_is_handed_out_or_counted_and_few_wait(steps: list[Event | str]) -> None:
    queue, put, told = EventQueue(MOST), 0, list[Event]()
    for step in steps:
        if isinstance(step, str):
            if queue._waiting:  # noqa: SLF001  # The bound is what this is about.
                told.append(queue.take()[0])
        else:
            put += 1
            queue.put(step)
        assert len(queue._alarms) <= MOST  # noqa: SLF001
        assert len(queue._waiting) <= 2 * MOST + 2  # noqa: SLF001  # Two gaps; one is told.
    told += drained(queue) if queue._waiting else []  # noqa: SLF001
    lost = sum(each.count for each in told if isinstance(each, EventsLost))
    assert put == lost + len([each for each in told if not isinstance(each, EventsLost)])


async def handed_out(events: Sequence[Event]) -> tuple[list[Event], list[object]]:
    """Let a node tell ``events`` while its event loop is busy; return what a handler got.

    And what it was told of the handler, which fails at the first.
    """
    identity, told, faults = Identity.generate(), list[Event](), list[object]()
    transport = MemoryTransport(MemoryNetwork(), curve_public=identity.curve_public, host="here")
    loop, last = asyncio.get_running_loop(), asyncio.Event()
    loop.set_exception_handler(lambda _loop, context: faults.append(context["exception"]))

    def handler(event: Event) -> None:
        told.append(event)
        if len(told) == 1:
            raise ValueError(event)
        if isinstance(event, DataLossDetected):
            last.set()

    limits = Limits(events_waiting_max=MOST)
    async with aio.P2PService(None, identity=identity, transport=transport, limits=limits) as p2p:
        p2p.on_event(handler)
        node = p2p._node  # noqa: SLF001  # It has nobody to tell of.
        for event in events:
            node.call(lambda _engine, event=event: node._loop.emit(event))  # type: ignore[misc]  # noqa: SLF001
        for _ in range(2):  # The event loop waits, until the turn of the last event has ended.
            node.call(lambda _engine: None).result(10.0)
        await asyncio.wait_for(last.wait(), 10.0)
    return told, faults


def test_a_busy_event_loop_is_handed_so_many_events_and_told_what_it_missed() -> None:
    """A handler that raises is told to the loop, and does not end what is handed out."""
    told, (fault,) = asyncio.run(handed_out([event(number) for number in range(5)] + [alarm(1)]))
    assert told == [*FULL, EventsLost(2), alarm(1)]
    assert isinstance(fault, ValueError)
