"""The program that tells what a message costs where: its places exist, and it reads times right."""

from itertools import pairwise

import pytest

from tests.bench.stages import MARKS, STAGES, STEPS, STORES, Clocks, find, lines_of

PLACES = (*(place for places in STAGES.values() for place in places), *STORES)
Marks = list[tuple[float, str]]


@pytest.mark.parametrize("place", [*PLACES, *(place for place, _ in MARKS.values())])
def test_what_is_measured_is_there(place: str) -> None:
    _owner, _name, found = find(place)
    assert callable(found) or isinstance(found, property)


def marks(first: float) -> dict[str, Marks]:
    """Return those of one message, of which each step takes 1 ms, and a turn between for others."""
    found: dict[str, Marks] = {"send": [], "receive": []}
    for index, (side, name, _) in enumerate(STEPS):
        found[side].append((first + index / 1000, name))
    found["send"] += [(first + 0.0045, "turn"), (first + 0.0046, "commit")]
    found["receive"].append((first + 0.0047, "turn"))
    return found


def test_steps_are_told_apart_from_turns_for_something_else() -> None:
    one, two = marks(10.0), marks(11.0)
    lines = lines_of(one["send"] + two["send"], two["receive"] + one["receive"])
    assert [line[0] for line in lines] == [10.0, 11.0]
    for line in lines:
        gaps = [1000 * (after - before) for before, after in pairwise(line)]
        assert gaps == pytest.approx([1.0] * (len(STEPS) - 1), abs=1e-6)


def test_a_message_of_which_a_step_is_missing_is_left_out() -> None:
    one, two = marks(10.0), marks(11.0)
    received = [mark for mark in one["receive"] if mark[1] != "handler"]
    lines = lines_of(one["send"] + two["send"], received + two["receive"])
    assert [line[0] for line in lines] == [11.0]


def test_a_stage_does_not_include_the_stages_that_it_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    now_ns = 0

    def spend(spent_ns: int) -> None:
        nonlocal now_ns
        now_ns += spent_ns

    monkeypatch.setattr("tests.bench.stages.thread_time_ns", lambda: now_ns)
    clocks = Clocks()
    inner = clocks.around("inner", spend)

    def both() -> None:
        spend(5)
        inner(20)
        inner(100)

    clocks.around("outer", both)()
    used = clocks.snapshot()
    assert used.stages == {"inner": 120, "outer": 5}
    assert used.calls == {"inner": 2, "outer": 1}
