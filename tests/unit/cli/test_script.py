"""Steps survive the way through a pipe, and nothing else passes for one."""

import pytest

from zmqp2p.cli.script import DemoFailed, Step


def test_a_step_is_parsed_as_it_was_printed() -> None:
    step = Step(12.5, "bob", "connected", {"peer": "0x12", "count": 3})
    assert Step.parse("bob", step.line() + "\n") == step


@pytest.mark.parametrize(
    "line",
    [
        "",
        "Traceback (most recent call last):",
        "[]",
        '{"who": "bob", "what": "x"}',
        '{"at_ms": "1", "who": "bob", "what": "x"}',
        '{"at_ms": 1, "who": "bob", "what": null}',
        '{"at_ms": 1, "who": "alice", "what": "x"}',
    ],
)
def test_what_is_no_step_of_this_party_is_refused_and_shown(line: str) -> None:
    with pytest.raises(DemoFailed) as caught:
        Step.parse("bob", line)
    assert str(caught.value) == f"bob printed what is no step: {line!r}"


@pytest.mark.parametrize("details", [{}, {"record": 5}])
def test_a_text_that_is_missing_is_named(details: dict[str, object]) -> None:
    with pytest.raises(DemoFailed, match="bob's step listening lacks the text 'record'"):
        Step(1, "bob", "listening", details).text("record")
