"""The hosts are apart, the wire does as it is told, and nothing is left behind."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.real.namespaces.hosts import ADDRESSES, DARK, FAIR, IP, Hosts, Weather

# Sends 100 datagrams to the other host, which sends each one back, and prints which came back in
# what order, and the median of their times.
ECHO = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.bind(("0.0.0.0", 7000))
    print("ready", flush=True)
    while data := s.recvfrom(100):
        s.sendto(*data)
"""
ASK = """
import socket, statistics, sys, time
sent, times, order = {}, [], []
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.settimeout(0.5)
    for number in range(100):
        sent[number] = time.monotonic()
        s.sendto(str(number).encode(), (sys.argv[1], 7000))
    try:
        while len(order) < 100:
            order.append(int(s.recv(100)))
            times.append(time.monotonic() - sent[order[-1]])
    except OSError:
        pass
print(len(order), int(order == sorted(order)), statistics.median(times or [0]))
"""


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    with Hosts(seed=5) as made:
        command = [*made.prefix(1), sys.executable, "-c", ECHO]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as echo:
            assert echo.stdout is not None
            echo.stdout.readline()
            ask(made)  # Both know each other's hardware address now: that was not to be lost.
            yield made
            echo.kill()


def ask(hosts: Hosts) -> tuple[int, bool, float]:
    """Return how many of 100 came back, whether in order, and their median time in seconds."""
    command = [*hosts.prefix(0), sys.executable, "-c", ASK, ADDRESSES[1]]
    answer = subprocess.run(command, capture_output=True, check=True, text=True, timeout=20)
    count, ordered, median_s = answer.stdout.split()
    return int(count), bool(int(ordered)), float(median_s)


def left_behind() -> list[str]:
    """Return what still bears this process's number."""
    shown = [
        subprocess.run([IP, *what], capture_output=True, check=True, text=True).stdout
        for what in (("netns",), ("-br", "link"))
    ]
    return [line for line in "".join(shown).splitlines() if str(os.getpid()) in line]


def test_a_fair_wire_passes_everything_at_once_and_in_order(hosts: Hosts) -> None:
    count, ordered, median_s = ask(hosts)
    assert (count, ordered) == (100, True)
    assert median_s < 0.05


def test_a_wire_that_loses_loses_its_share(hosts: Hosts) -> None:
    """A fifth there and a fifth back: 64 of 100 are expected."""
    hosts.set(Weather(loss=0.2))
    count, ordered, _ = ask(hosts)
    assert 45 <= count <= 80
    assert ordered


def test_a_wire_that_delays_delays_both_ways(hosts: Hosts) -> None:
    hosts.set(Weather(delay_s=0.1, jitter_s=0.05))
    count, ordered, median_s = ask(hosts)
    assert (count, ordered) == (100, False)
    assert 0.15 < median_s < 0.3


def test_a_wire_that_reorders_lets_a_share_overtake(hosts: Hosts) -> None:
    hosts.set(Weather(delay_s=0.1, reorder=0.25))
    before = hosts.counts.overtaken
    count, ordered, _ = ask(hosts)
    assert (count, ordered) == (100, False)
    assert hosts.counts.overtaken - before >= 20


def test_a_dark_wire_and_an_unplugged_host_pass_nothing_until_they_heal(hosts: Hosts) -> None:
    hosts.set(DARK)
    assert ask(hosts)[0] == 0
    hosts.set(FAIR)
    assert ask(hosts)[0] == 100
    hosts.link(1, up=False)
    assert ask(hosts)[0] == 0
    hosts.link(1, up=True)
    assert ask(hosts)[0] == 100


def test_a_wire_may_be_dark_in_one_direction_only(hosts: Hosts) -> None:
    """What comes back is lost, what goes there is not: the other host's answers are counted."""
    hosts.set(DARK, 1)
    before = hosts.counts.taken
    assert ask(hosts)[0] == 0
    assert hosts.counts.taken - before >= 200
    hosts.set(DARK, 0)
    hosts.set(FAIR, 1)
    before = hosts.counts.taken
    assert ask(hosts)[0] == 0
    assert 100 <= hosts.counts.taken - before < 200


def fail_within() -> None:
    with Hosts():
        assert left_behind()
        raise RuntimeError("within")


def test_nothing_is_left_behind_also_after_a_failure() -> None:
    with pytest.raises(RuntimeError, match="within"):
        fail_within()
    assert left_behind() == []


def test_a_second_pair_in_one_process_is_refused_and_the_first_goes_on() -> None:
    """Their names are the process's."""
    with Hosts() as first:
        with pytest.raises(subprocess.CalledProcessError):
            Hosts()
        assert [name for name in first.namespaces if any(name in each for each in left_behind())]
    assert left_behind() == []
