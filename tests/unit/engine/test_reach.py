"""From how far an address is reached, and where the record of a guest may lead."""

import pytest

from tests.engine_world import HIGH, LOW, MIDDLE, Sut, curve_of, hello_of, note, record_of
from zmqp2p.engine.reach import Reach, leads_out, reach_of
from zmqp2p.ids import LinkId
from zmqp2p.wire.link import LinkUp

NOWHERE, MACHINE, LINK, SITE, WORLD = Reach


@pytest.mark.parametrize(
    ("host", "reach"),
    [
        ("127.0.0.1", MACHINE),
        ("127.9.9.9", MACHINE),
        ("::1", MACHINE),
        ("::ffff:127.0.0.1", MACHINE),
        ("localhost", MACHINE),  # All of ipc.
        ("127.1", MACHINE),  # No address in the form that is one.
        ("169.254.169.254", LINK),  # Where clouds tell secrets.
        ("fe80::1", LINK),
        ("fe80::1%eth0", LINK),
        ("::ffff:169.254.1.1", LINK),
        ("10.0.0.1", SITE),
        ("172.16.0.1", SITE),
        ("192.168.0.1", SITE),
        ("100.64.0.1", SITE),
        ("fd00::1", SITE),
        ("8.8.8.8", WORLD),
        ("2606:4700::1", WORLD),
        ("::ffff:8.8.8.8", WORLD),
        ("0.0.0.0", NOWHERE),  # noqa: S104
        ("::", NOWHERE),
        ("::ffff:0.0.0.0", NOWHERE),
        ("224.0.0.1", NOWHERE),
        ("255.255.255.255", NOWHERE),
        ("ff02::1", NOWHERE),
        ("::127.0.0.1", NOWHERE),
    ],
)
def test_an_address_is_reached_from_so_far(host: str, reach: Reach) -> None:
    assert reach_of(host) is reach


@pytest.mark.parametrize(
    ("endpoint", "from_where"),
    [
        ("tcp://127.0.0.1:22", {MACHINE}),
        ("tcp://[::1]:22", {MACHINE}),
        ("tcp://[::ffff:127.0.0.1]:22", {MACHINE}),
        ("tcp://localhost:22", {MACHINE}),
        ("tcp://intranet.example:80", {MACHINE}),  # The dialer asks nobody for its address.
        ("tcp://169.254.169.254:80", {MACHINE, LINK}),
        ("tcp://192.168.0.1:80", {MACHINE, LINK, SITE}),
        ("tcp://8.8.8.8:53", {MACHINE, LINK, SITE, WORLD}),
        ("tcp://[2606:4700::1]:53", {MACHINE, LINK, SITE, WORLD}),
        ("tcp://224.0.0.1:80", set()),
        ("ipc:///run/docker.sock", set()),
    ],
)
def test_who_comes_from_afar_does_not_lead_to_what_is_near(
    endpoint: str, from_where: set[Reach]
) -> None:
    assert {reach for reach in Reach if leads_out(endpoint, reach)} == from_where


def dialed_by_mail(remote: str, *endpoints: str) -> list[str]:
    """Let a guest come from ``remote`` and go; return where it is dialed for what waits for it."""
    sut = Sut(MIDDLE)
    sut.turn(LinkUp(LinkId(1), curve_of(LOW), remote, dialed=False))
    sut.hear(1, hello_of(LOW, record_of(LOW, endpoints=endpoints)))
    sut.down(1)
    return dialed(sut, len(endpoints))


def dialed(sut: Sut, times: int) -> list[str]:
    """Send `LOW` something and return where it is dialed, so many times."""
    sut.begin()
    sut.engine.send(LOW.address, note("are you there?"))
    sut.settle()
    sut.until(sut.now + 2.0)
    return [dial.endpoint for dial in sut.done.dials][:times]


def test_a_guest_is_not_dialed_where_he_could_not_go_himself() -> None:
    """REC-9: he waits for an answer, and names the place to bring it to, perhaps one nearby."""
    near = "tcp://127.0.0.1:6379", "tcp://169.254.169.254:80", "tcp://10.0.0.1:22"
    assert dialed_by_mail("8.8.8.8", *near) == []
    assert dialed_by_mail("8.8.8.8", *near, "tcp://8.8.4.4:1") == ["tcp://8.8.4.4:1"] * 4
    assert dialed_by_mail("10.0.0.9", *near) == ["tcp://10.0.0.1:22"] * 3


def test_a_guest_of_this_machine_is_dialed_at_it() -> None:
    endpoints = "tcp://127.0.0.1:6379", "tcp://127.0.0.1:6380"
    assert dialed_by_mail("127.0.0.1", *endpoints) == list(endpoints)


def test_where_it_was_when_it_came_last_counts() -> None:
    sut = Sut(MIDDLE)
    for link, remote in enumerate(("127.0.0.1", "8.8.8.8"), 1):
        sut.turn(LinkUp(LinkId(link), curve_of(LOW), remote, dialed=False))
        sut.hear(link, hello_of(LOW))
        sut.down(link)
    assert dialed(sut, 1) == []


def test_where_this_node_has_dialed_to_does_not_count() -> None:
    """He chose it: the reply comes from wherever his record leads."""
    sut = Sut(MIDDLE)
    sut.turn(LinkUp(LinkId(1), curve_of(LOW), "8.8.8.8", dialed=False))
    sut.hear(1, hello_of(LOW, record_of(LOW, endpoints=("tcp://8.8.4.4:1",))))
    sut.down(1)
    dialed(sut, 1)
    link = sut.last_link
    sut.up(link, curve_of(LOW), dialed=True)
    newer = record_of(LOW, issued_ms=record_of(LOW).issued_ms + 1)  # On this machine.
    sut.hear(link, hello_of(LOW, newer))
    before = len(sut.done.dials)
    sut.down(link)
    sut.until(sut.now + 2.0)
    assert len(sut.done.dials) == before


def test_a_contact_is_dialed_where_the_application_says() -> None:
    sut = Sut(MIDDLE)
    sut.turn(LinkUp(LinkId(1), curve_of(LOW), "8.8.8.8", dialed=False))
    sut.begin()
    sut.engine.add_contact(record_of(LOW))
    sut.settle()
    assert dialed(sut, 1) == ["tcp://127.0.0.1:1"]


def test_one_that_was_handed_over_is_still_where_the_application_said() -> None:
    sut = Sut(MIDDLE)
    sut.begin()
    sut.engine.add_contact(record_of(LOW))
    sut.engine.hand_over(LOW.address, record_of(HIGH, endpoints=()))
    sut.settle()
    assert dialed(sut, 1) == ["tcp://127.0.0.1:1"]


def test_after_a_restart_a_guest_may_be_near_but_not_here() -> None:
    """Where it was is not stored."""
    endpoints = "tcp://127.0.0.1:6379", "tcp://169.254.169.254:80", "tcp://10.0.0.1:22"
    sut = Sut(MIDDLE)
    sut.turn(LinkUp(LinkId(1), curve_of(LOW), "127.0.0.1", dialed=False))
    sut.hear(1, hello_of(LOW, record_of(LOW, endpoints=endpoints)))
    sut.begin()
    sut.engine.send(LOW.address, note("stored"))
    sut.settle()
    assert set(dialed(sut.restarted(), 9)) == {"tcp://10.0.0.1:22"}
