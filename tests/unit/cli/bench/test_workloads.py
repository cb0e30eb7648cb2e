"""What may be chosen of a workload, and what stays its own."""

import pytest

from zmqp2p.cli.bench.workloads import DEFAULT, NAMES, Settings
from zmqp2p.limits import MIB


def test_pingpong_is_one_at_a_time_and_a_burst_all_at_once() -> None:
    pingpong, burst = Settings().load("pingpong"), Settings().load("burst")
    assert (pingpong.messages, pingpong.window, pingpong.rate) == (1_000, 1, 0)
    assert (burst.messages, burst.window, burst.rate) == (1_000, 1_000, 0)


def test_what_is_chosen_counts_where_it_makes_sense() -> None:
    chosen = Settings(messages=5, window=7, rate=9.0, timeout_s=3.0)
    loads = {name: chosen.load(name) for name in NAMES}
    assert {load.messages for load in loads.values()} == {5}
    assert {load.timeout_s for load in loads.values()} == {3.0}
    own = {name for name, load in loads.items() if load.window != 7}
    assert own == {"pingpong", "burst", "paced"}
    assert {name for name, load in loads.items() if load.rate == 9.0} == {"paced"}


def test_a_size_that_is_chosen_is_that_of_every_message() -> None:
    assert {Settings(size_bytes=64).load(name).size_bytes for name in NAMES} == {64}


def test_signed_messages_are_fewer_where_a_load_is_long() -> None:
    opaque, signed = Settings(), Settings(payload="signed")
    fewer = [n for n in NAMES if signed.load(n).messages < opaque.load(n).messages]
    assert fewer == ["sustained", "fan-in"]


def test_bulk_is_opaque_mebibytes_whatever_was_chosen() -> None:
    chosen = Settings(payload="signed")
    assert chosen.payload_of("bulk") == "opaque"
    assert chosen.load("bulk").size_bytes == MIB
    assert chosen.payload_of("burst") == "signed"


def test_only_fan_in_has_several_senders_and_only_fund_no_floor() -> None:
    chosen = Settings(peers=3)
    assert {name for name in NAMES if chosen.senders(name) == 3} == {"fan-in"}
    assert {name for name in NAMES if len(chosen.kinds(name)) == 1} == {"fund"}
    assert {Settings(floor=False).kinds(name) for name in NAMES} == {("zmqp2p",)}


@pytest.mark.parametrize("name", DEFAULT)
def test_a_warm_up_is_short_and_as_fast_as_it_goes(name: str) -> None:
    warm_up = Settings().warm_up(name)
    assert warm_up.messages <= 200
    assert not warm_up.rate


def test_a_warm_up_of_channels_funds_channels() -> None:
    assert Settings().warm_up("fund").channels
