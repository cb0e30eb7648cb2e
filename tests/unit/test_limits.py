"""A node's own bounds: those that could never work are refused when they are made."""

from dataclasses import fields

import pytest

from zmqp2p.errors import InvalidValue
from zmqp2p.limits import DEFAULT_LIMITS, MESSAGE_MAX_BYTES, Limits


@pytest.mark.parametrize("name", [field.name for field in fields(Limits)])
def test_no_bound_is_negative(name: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        Limits(**{name: -1})
    assert caught.value.field == name


MAY_BE_0 = ("subscribe_grace_s", "helpers_max")


@pytest.mark.parametrize("name", [f.name for f in fields(Limits) if f.name not in MAY_BE_0])
def test_no_bound_is_zero_but_the_grace_and_the_helpers(name: str) -> None:
    without = Limits(subscribe_grace_s=0.0, helpers_max=0)
    assert (without.subscribe_grace_s, without.helpers_max) == (0.0, 0)
    with pytest.raises(InvalidValue) as caught:
        Limits(**{name: 0})
    assert caught.value.field == name


@pytest.mark.parametrize("name", ["rto", "redial", "handler_retry", "deposit_retry"])
def test_the_least_time_is_not_above_the_greatest(name: str) -> None:
    greatest = getattr(DEFAULT_LIMITS, f"{name}_max_s")
    assert getattr(Limits(**{f"{name}_min_s": greatest}), f"{name}_min_s") == greatest
    with pytest.raises(InvalidValue, match=f"{name}_min_s"):
        Limits(**{f"{name}_min_s": greatest + 1})


def test_turns_are_the_shorter_the_more_wait_for_them() -> None:
    with pytest.raises(InvalidValue, match="turn_guests_max_s"):
        Limits(turn_guests_max_s=0.0021)
    with pytest.raises(InvalidValue, match="turn_shared_max_s"):
        Limits(turn_max_s=0.0019)
    assert Limits(turn_guests_max_s=0.002).turn_guests_max_s == 0.002


def test_no_message_is_larger_than_the_protocol_permits() -> None:
    """MSG-5."""
    assert Limits(message_max_bytes=MESSAGE_MAX_BYTES).message_max_bytes == MESSAGE_MAX_BYTES
    with pytest.raises(InvalidValue, match="message_max_bytes"):
        Limits(message_max_bytes=MESSAGE_MAX_BYTES + 1)


def test_a_link_is_asked_before_it_is_given_up() -> None:
    with pytest.raises(InvalidValue, match="ping_interval_s"):
        Limits(ping_interval_s=1.5, silence_max_s=1.5)


def test_a_slow_link_has_no_less_time_than_a_fast_one() -> None:
    """LIV-4."""
    assert Limits(silence_max_s=20.0).silence_max_s == 20.0
    with pytest.raises(InvalidValue, match="silence_max_s"):
        Limits(silence_max_s=20.1)


def test_one_attempt_waits_for_an_answer_and_another_looks_for_healing() -> None:
    assert Limits(attempts_max_per_peer=2).attempts_max_per_peer == 2
    with pytest.raises(InvalidValue, match="attempts_max_per_peer"):
        Limits(attempts_max_per_peer=1)
