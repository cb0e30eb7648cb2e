"""Accepted connections: which go when there are too many, and what counts as one source."""

import os
import socket
from collections.abc import Iterator
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmqp2p.engine.rate import Rates
from zmqp2p.engine.rate import source_of as network_of
from zmqp2p.ids import CurveKey
from zmqp2p.limits import MIB
from zmqp2p.transport.arrivals import Arrival, Arrivals, Sweep
from zmqp2p.transport.descriptors import (
    LOCAL_SOURCE,
    UNKNOWN_SOURCE,
    bytes_read,
    descriptors_max,
    remote_of,
    shut_down,
    source_of,
)
from zmqp2p.transport.links import wire_bytes
from zmqp2p.transport.options import SocketLimits
from zmqp2p.wire.link import TurnedAway

FAST = 1e9  # A rate that is no bound.


def arrivals(*, descriptors: int = 1_000_000, **bounds: float) -> Arrivals:
    """Return the arrivals of a transport whose rates do not matter, unless they are given."""
    free = {"connects_per_s_per_source": FAST, "connects_burst_per_source": FAST}
    return Arrivals(SocketLimits(**{**free, **bounds}), descriptors)  # type: ignore[arg-type]


def come(to: Arrivals, source: str, now: float = 0.0) -> tuple[Arrival, Arrival | None]:
    """Let one connection come; return it, and who must go."""
    arrival = Arrival(0, (), source, now)
    victim = to.came(arrival, now)
    to.check()
    return arrival, victim


def test_one_source_has_its_share_of_unproven_connections_and_its_oldest_goes() -> None:
    sut = arrivals(unproven_max_per_source=2)
    first, _ = come(sut, "mallory")
    other, _ = come(sut, "alice")
    assert come(sut, "mallory")[1] is None
    assert come(sut, "mallory")[1] is first
    assert first.leaving
    assert not other.leaving
    assert sut.told() == [TurnedAway("mallory", "too many unproven of one source", 1)]
    assert sut.told() == []


def test_a_proven_connection_is_no_longer_in_the_way() -> None:
    sut = arrivals(unproven_max_per_source=1)
    first, _ = come(sut, "alice")
    sut.prove(first)
    sut.prove(first)
    assert come(sut, "alice")[1] is None


def test_of_all_unproven_the_oldest_goes_so_that_a_flood_keeps_nobody_out() -> None:
    sut = arrivals(unproven_max=3)
    oldest, _ = come(sut, "mallory 0")
    for number in (1, 2):
        assert come(sut, f"mallory {number}")[1] is None
    assert come(sut, "alice")[1] is oldest


def test_those_that_come_at_once_are_served_and_the_newest_goes() -> None:
    """As after a restart. If the oldest went, and all came again, nobody would ever be served."""
    sut = arrivals(unproven_at_once=8)
    first = [come(sut, str(number))[0] for number in range(4)]
    assert not sut.is_crowded(0.0)
    first += [come(sut, str(number))[0] for number in range(4, 8)]
    assert sut.is_crowded(0.0)
    late, victim = come(sut, "late")
    assert victim is late
    assert not any(each.leaving for each in first)
    assert sut.told() == [TurnedAway("late", "too many at once", 1)]
    sut.prove(first[0])
    assert come(sut, "in time")[1] is None
    for each in first[1:5]:
        sut.prove(each)
    sut.leave(first[5])
    assert not sut.has_room(0.0)
    sut.went(first[6])
    assert sut.has_room(0.0)


def test_those_that_say_nothing_keep_nobody_out_though_they_come_at_once() -> None:
    sut = arrivals(unproven_at_once=8, unproven_max=16)
    oldest, *_ = [come(sut, f"mallory {number}", 0.0)[0] for number in range(8)]
    assert sut.is_crowded(0.75)
    assert not sut.is_crowded(1.0)  # They had a second.
    for number in range(8):
        assert come(sut, f"alice {number}", 1.0)[1] is None
    assert not sut.is_crowded(1.0)  # As many are older.
    assert come(sut, "bob", 2.0)[1] is oldest


def test_there_are_no_more_connections_than_half_of_the_descriptors() -> None:
    """The rest is for dials and the store: at the last one libzmq spins, and SQLite fails."""
    sut = arrivals(descriptors=8)
    known = [come(sut, str(number))[0] for number in range(4)]
    for each in known:
        assert sut.trust(each) is None
    newest, victim = come(sut, "late")
    assert victim is newest
    sut.went(known[0])
    sut.went(newest)
    assert come(sut, "in time")[1] is None
    assert len(sut) == 4


def test_one_source_never_has_all_of_them() -> None:
    sut = arrivals(descriptors=16)
    first = [come(sut, "mallory")[0] for _ in range(6)]
    assert come(sut, "mallory")[1] is first[0]
    assert come(sut, "alice")[1] is None
    assert sut.told() == [TurnedAway("mallory", "too many of one source", 1)]


# --- Guests and contacts ----------------------------------------------------------------------


def fill(sut: Arrivals, source: str) -> list[Arrival]:
    """Let guests of ``source`` have every place that they may have, and return them."""
    guests: list[Arrival] = []
    while True:
        guest, victim = come(sut, source)
        assert victim is None
        if not sut.prove(guest):
            sut.leave(guest)  # It is told so, and ends.
            sut.went(guest)
            return guests
        guests.append(guest)


@pytest.mark.parametrize("home", ["mallory 0", "mallory 1", "alice"])
def test_guests_never_have_all_places_and_a_contact_finds_one(home: str) -> None:
    """Identities are free: they held all for good. Whatever address the contact shares."""
    sut = arrivals(descriptors=1_024)
    assert len(fill(sut, "mallory 0")) == 288  # Of one source: 3/4 of 384.
    assert len(fill(sut, "mallory 1")) == 96  # Of all: 3/4 of 512.
    contact, victim = come(sut, home)
    assert victim is None
    assert not sut.prove(contact)  # It is not known to be one before it has said HELLO.
    assert sut.trust(contact) is not None  # One guest less for it: a quarter of the rest is free.
    sut.check()
    assert not contact.leaving
    assert sut.holds(contact)


def test_a_flood_beside_the_guests_does_not_drive_a_contact_out() -> None:
    """At half a second's way from here, it needs 2 s from its connection to its HELLO."""
    sut = arrivals(descriptors=1_024)
    for source in ("mallory 0", "mallory 1"):
        fill(sut, source)
    contact, _ = come(sut, "alice")
    for number in range(10_000):
        victim = come(sut, f"mallory {number % 100}")[1]
        if victim is not None:
            sut.went(victim)
    assert not contact.leaving


def test_who_has_spoken_goes_after_those_who_have_not() -> None:
    """Whose it is will be known in this turn; the time that it took is no reason to end it."""
    sut = arrivals(connections_max=8)
    fill(sut, "mallory 0")
    fill(sut, "mallory 1")
    contact, _ = come(sut, "alice")
    silent, _ = come(sut, "bob")
    assert not sut.prove(contact)
    assert come(sut, "carol")[1] is silent
    assert not contact.leaving


def test_however_many_contacts_there_are_the_next_one_finds_a_place() -> None:
    sut = arrivals(descriptors=1_024)
    guests = fill(sut, "mallory 0") + fill(sut, "mallory 1")
    for number in range(512):
        contact, victim = come(sut, "a site of many")
        assert victim is None, number
        sut.prove(contact)
        given_up = sut.trust(contact)
        sut.check()
        if given_up is not None:
            assert given_up is guests.pop()  # The newest: who is served stays.
            assert given_up.leaving
            sut.went(given_up)
    assert guests == []
    assert {each.why for each in sut.told()} == {"a contact needs the place"}


def test_a_contact_takes_none_of_the_places_of_others_at_its_source() -> None:
    sut = arrivals(descriptors=16)
    for _ in range(7):
        assert come(sut, "a site")[1] is None
        sut.trust(list(sut._all)[-1])  # noqa: SLF001
    assert come(sut, "a site")[1] is None


def test_what_is_leaving_or_trusted_is_not_trusted_again() -> None:
    sut = arrivals(descriptors=8)
    leaving, _ = come(sut, "alice")
    sut.leave(leaving)
    assert sut.trust(leaving) is None
    assert not leaving.trusted
    contact, _ = come(sut, "alice")
    for _ in range(2):
        assert sut.trust(contact) is None
        sut.check()
    sut.leave(contact)
    sut.went(contact)
    sut.went(leaving)
    assert len(sut) == 0
    over, _ = come(sut, "alice")
    sut.went(over)
    assert sut.trust(over) is None  # Its last messages are read later.
    sut.check()


def test_who_has_spoken_has_another_deadline() -> None:
    """HEL-7: that of its link."""
    sut = arrivals(connections_max=1, first_message_s=15.0)
    heard, _ = come(sut, "alice", 0.0)
    assert not sut.prove(heard)  # One place cannot be shared: it is a contact's.
    assert not sut.prove(heard)
    assert sut.overdue(100.0) == []


def test_of_the_unproven_those_go_first_whose_source_has_most() -> None:
    sut = arrivals(unproven_max=4, unproven_max_per_source=4)
    alice, _ = come(sut, "alice")
    first, _ = come(sut, "mallory")
    come(sut, "mallory")
    come(sut, "mallory")
    assert come(sut, "carol")[1] is first
    assert not alice.leaving


@given(
    places=st.integers(1, 12),
    script=st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from(["come", "prove", "trust", "leave"])),
        max_size=80,
    ),
)
def test_while_contacts_leave_a_place_whoever_comes_next_has_one(
    places: int, script: list[tuple[int, str]]
) -> None:
    """Whatever came before, from wherever: its own is never the connection that goes."""
    sut = arrivals(connections_max=places)
    live: list[Arrival] = []
    for number, what in script:
        gone: Arrival | None = None
        if what == "come":
            contacts = sum(each.trusted for each in live)
            newest, gone = come(sut, f"source {number % 2}")
            assert gone is not newest or contacts == places
            live.append(newest)
        elif live:
            chosen = live[number % len(live)]
            if what == "prove":
                sut.prove(chosen)
            elif what == "trust":
                gone = sut.trust(chosen)
            else:
                sut.leave(chosen)
                gone = chosen
        if gone is not None:
            assert what == "leave" or not gone.trusted
            sut.went(gone)
            live.remove(gone)
        sut.check()


def test_a_source_that_comes_too_fast_is_turned_away_before_a_handshake() -> None:
    sut = arrivals(connects_per_s_per_source=10.0, connects_burst_per_source=5)
    victims = [come(sut, "mallory", 100.0)[1] for _ in range(50)]
    assert victims.count(None) == 5
    assert come(sut, "alice", 100.0)[1] is None
    assert come(sut, "mallory", 100.2)[1] is None
    assert sut.told() == [TurnedAway("mallory", "too fast from one source", 45)]


def test_a_source_whose_connections_are_to_blame_may_open_fewer() -> None:
    """A handshake and what follows cost more than a connection that says nothing."""
    sut = arrivals(connects_per_s_per_source=10.0, connects_burst_per_source=15)
    first, _ = come(sut, "mallory", 100.0)
    assert not sut.is_too_fast("mallory", 100.0)
    sut.blame(first, 100.0)
    victims = [come(sut, "mallory", 100.0)[1] for _ in range(10)]
    assert victims.count(None) == 5
    assert sut.is_too_fast("mallory", 100.0)
    assert not sut.is_too_fast("alice", 100.0)


def test_who_goes_on_when_it_is_to_leave_is_cut_off_and_to_blame() -> None:
    """What it was told last has had time to leave by then."""
    sut = arrivals(connects_per_s_per_source=1.0, connects_burst_per_source=10)
    flooding, _ = come(sut, "mallory", 0.0)
    sut.leave(flooding)
    assert [sut.goes_on(flooding, 0.0) for _ in range(66)] == [False] * 63 + [True, False, False]
    assert sut.is_too_fast("mallory", 0.0)


def test_who_says_nothing_in_time_is_shut_down() -> None:
    """Whether it never finished its handshake, or did and fell silent."""
    sut = arrivals(first_message_s=15.0)
    mute, _ = come(sut, "mallory", 0.0)
    heard, _ = come(sut, "alice", 0.0)
    come(sut, "late", 1.0)
    sut.prove(heard)
    assert sut.overdue(14.9) == []
    assert sut.overdue(15.0) == [mute]
    assert sut.overdue(15.0) == []
    assert sut.holds(mute)  # Until its end is told.
    sut.went(mute)
    assert not sut.holds(mute)
    sut.check()
    assert sut.told() == [TurnedAway("mallory", "no message in time", 1)]


def test_who_shakes_hands_and_says_nothing_may_do_so_rarely() -> None:
    """Each may be one that libzmq never lets go of, and many of them cost all their links."""
    bounds = {"mute_burst_per_source": 3, "mute_per_s_per_source": 0.5}
    sut = Arrivals(SocketLimits(connects_per_s_per_source=FAST, **bounds), 1_000)  # type: ignore[arg-type]
    assert [sut.may_greet(None, f"2001:db8::{n}", 100.0) for n in range(5)] == [True] * 3 + [
        False
    ] * 2
    assert sut.may_greet(None, "192.0.2.1", 100.0)
    assert TurnedAway("2001:db8::/64", "says nothing after its handshakes", 2) in sut.told()
    sut.heard("2001:db8::7")
    sut.heard("192.0.2.9")  # Nothing is known of it.
    assert [sut.may_greet(None, "2001:db8::1", 100.0) for _ in range(2)] == [True, False]
    assert [sut.may_greet(None, "2001:db8::1", 102.0) for _ in range(2)] == [True, False]


def test_a_source_alone_does_not_have_all_links_cut_again_and_again() -> None:
    """What never ends holds a descriptor until the socket is opened anew, with all its links."""
    bounds = SocketLimits()
    sut, now, renewals = Arrivals(bounds, 20_000), 0.0, 0
    live: list[Arrival] = []
    while now < 3_600.0:
        now += 0.1
        if sut.may_greet(None, "192.0.2.1", now):
            arrival = Arrival(0, (), "192.0.2.1", now)
            live.append(arrival)
            sut.came(arrival, now)
        for late in sut.overdue(now):
            late.shut_at = now
        sut.stick(now)
        if sum(each.stuck for each in live) >= bounds.stuck_connections_max:
            renewals += 1
            while live:
                sut.went(live.pop())
    sut.check()
    assert renewals == 1
    assert sut.may_greet(None, "192.0.2.2", now)


def test_one_that_does_not_end_though_it_had_time_to_counts_once() -> None:
    sut = arrivals(mute_burst_per_source=130, mute_per_s_per_source=1e-9, stuck_s=1.0)
    ending, staying = (come(sut, "192.0.2.1")[0] for _ in range(2))
    ending.shut_at = staying.shut_at = 100.0
    sut.heard("192.0.2.1")  # Of none of them.
    seen = []
    for now in (100.9, 101.0, 102.0):
        sut.stick(now)
        seen.append(staying.stuck)
        if now < 101.0:
            sut.went(ending)
    assert seen == [False, True, True]
    assert [sut.may_greet(None, "192.0.2.1", 102.0) for _ in range(11)] == [True] * 10 + [False]


def test_a_contact_may_greet_whatever_others_do_at_its_address() -> None:
    sut = arrivals(mute_burst_per_source=1, mute_per_s_per_source=1e-9)
    key, other = CurveKey(b"c" * 32), CurveKey(b"o" * 32)
    contact, _ = come(sut, "192.0.2.1")
    sut.trust(contact, key)
    assert sut.may_greet(other, "192.0.2.1", 0.0)
    assert not sut.may_greet(other, "192.0.2.1", 0.0)
    assert sut.may_greet(key, "192.0.2.1", 0.0)
    assert not sut.may_greet(None, "192.0.2.1", 0.0)


def test_of_so_many_keys_of_contacts_it_is_remembered_that_they_are() -> None:
    sut = arrivals(mute_per_s_per_source=1e-9)
    keys = [CurveKey(number.to_bytes(32)) for number in range(4_097)]
    for key in [keys[0], keys[1], keys[0], *keys[2:]]:
        sut.trust(come(sut, "a site")[0], key) if key is keys[0] else sut._remember(key)  # noqa: SLF001
    sut.check()
    sut._mute = Rates((1e-9, 0), (inf, inf))  # noqa: SLF001
    assert [sut.may_greet(key, "a site", 0.0) for key in keys[:3]] == [True, False, True]


def test_a_message_without_end_is_noticed() -> None:
    """FRM-1: libzmq keeps all frames of a message until the last has come."""
    sut = arrivals()
    whole, _ = come(sut, "alice")
    whole.taken_bytes = 100 * MIB
    assert not sut.hoards(whole, 102 * MIB, drained=True)
    assert sut.hoards(whole, 102 * MIB + 1, drained=True)
    assert not sut.hoards(whole, 200 * MIB, drained=True)  # It is leaving already.
    assert sut.told() == [TurnedAway("alice", "a message without end", 1)]


def test_messages_that_wait_to_be_read_are_not_held_against_their_sender() -> None:
    sut = arrivals()
    queued, _ = come(sut, "alice")
    assert not sut.hoards(queued, 6 * MIB, drained=False)
    assert sut.hoards(queued, 7 * MIB, drained=False)


def test_sources_that_are_made_up_are_told_of_as_others() -> None:
    sut = arrivals(connections_max=1)
    for number in range(1_000):
        come(sut, str(number))
    told = sut.told()
    assert len(told) == 65
    assert sum(each.count for each in told) == 999
    assert told[-1].source == "others"


@pytest.mark.parametrize(
    ("remote", "source"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("localhost", "localhost"),
        ("mem:node", "mem:node"),
    ],
)
def test_an_ipv6_network_is_one_source(remote: str, source: str) -> None:
    """Its owner has 2**64 addresses of it."""
    assert network_of(remote) == source


# --- Descriptors ------------------------------------------------------------------------------


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Yield an accepted TCP connection, and its other end."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
        with near, far:
            near.settimeout(5.0)
            yield far, near


Ends = tuple[socket.socket, socket.socket]


def test_a_connection_is_shut_down_by_its_descriptor(ends: Ends) -> None:
    far, near = ends
    remote = remote_of(far.fileno())
    assert remote is not None
    assert source_of(remote) == "127.0.0.1"
    assert shut_down(far.fileno(), remote)
    assert near.recv(1) == b""
    far.setblocking(True)  # It is open still: libzmq's to close.


def test_a_descriptor_that_is_anothers_by_now_is_let_be(ends: Ends) -> None:
    far, near = ends
    with socket.create_server(("127.0.0.1", 0)) as server:
        other = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
        with other, accepted:
            remote = remote_of(accepted.fileno())
            assert remote is not None
            assert not shut_down(far.fileno(), remote)
    far.sendall(b"x")
    assert near.recv(1) == b"x"


def test_what_is_no_socket_is_let_be() -> None:
    """As a database, whose descriptor must not even be duplicated."""
    reader, writer = os.pipe()
    assert remote_of(reader) is None
    assert not shut_down(reader, ())
    assert bytes_read(reader) == 0
    os.close(reader)
    os.close(writer)
    assert remote_of(reader) is None


def test_ipc_is_one_source_and_not_measured() -> None:
    one, other = socket.socketpair()
    with one, other:
        other.sendall(b"x")
        remote = remote_of(one.fileno())
        assert remote is not None
        assert source_of(remote) == LOCAL_SOURCE
        assert bytes_read(one.fileno()) == 0


def test_a_mapped_address_is_the_ipv4_one() -> None:
    assert source_of((("::", 1, 0, 0), ("::ffff:192.0.2.1", 5, 0, 0))) == "192.0.2.1"


def test_only_what_was_read_counts(ends: Ends) -> None:
    """What the kernel holds is bounded by itself."""
    far, near = ends
    near.sendall(bytes(50_000))
    read = 0
    while read < 20_000:
        read += len(far.recv(20_000 - read))
    assert bytes_read(far.fileno()) == 20_000


def test_only_linux_tells_what_was_read(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    far, near = ends
    near.sendall(b"x")
    assert far.recv(1) == b"x"
    assert bytes_read(far.fileno()) == 1
    monkeypatch.setattr("sys.platform", "darwin")
    assert bytes_read(far.fileno()) == 0


def test_a_process_may_open_so_many_descriptors() -> None:
    assert descriptors_max() >= 64


@pytest.mark.parametrize(
    ("curve", "size", "on_the_wire"),
    [(False, 255, 257), (False, 256, 265), (True, 222, 257), (True, 223, 265), (True, 0, 35)],
)
def test_a_frame_is_longer_on_the_wire(size: int, on_the_wire: int, *, curve: bool) -> None:
    """As libzmq writes it; a real connection is compared in the tests of the transport."""
    assert wire_bytes([bytes(size), bytes(size)], curve=curve) == 2 * on_the_wire


def test_what_is_turned_back_counts_for_its_source_until_that_is_too_fast() -> None:
    sut = arrivals(connects_per_s_per_source=1.0, connects_burst_per_source=3)
    assert [sut.turned_back("mallory", 0.0, for_many=False) for _ in range(5)] == [
        *[False] * 3,
        *[True] * 2,
    ]
    assert not sut.turned_back("alice", 0.0, for_many=False)
    assert sorted(sut.told(), key=lambda each: (each.source, each.why)) == [
        TurnedAway("alice", "behind others that come too fast", 1),
        TurnedAway("mallory", "behind others that come too fast", 3),
        TurnedAway("mallory", "too fast from one source", 2),
    ]
    # What came when it was too fast is not held against it.
    assert sut.turned_back("mallory", 0.9, for_many=False)
    assert come(sut, "mallory", 1.0)[1] is None


@pytest.mark.parametrize("over", [False, True])
def test_a_sweep_ends_with_the_first_whose_source_is_not_too_fast(*, over: bool) -> None:
    sut = arrivals(connects_per_s_per_source=1.0, connects_burst_per_source=1)
    come(sut, "mallory")
    sweep = Sweep(sut, unknown=0, now=0.0)
    came = ["mallory", "mallory", "alice"]
    assert [sweep.another(each, over=over) for each in came] == [True, True, False]


def test_those_that_are_over_tell_who_is_too_fast_where_that_is_not_known() -> None:
    """Each counts for ten; and no more are asked than there were too many."""
    sut = arrivals(connects_per_s_per_source=1.0, connects_burst_per_source=20)
    sweep = Sweep(sut, unknown=4, now=0.0)
    came = ["mallory", "alice", "mallory", "mallory", "mallory", "alice"]
    assert [sweep.another(each, over=True) for each in came] == [*[True] * 5, False]
    assert sut.is_too_fast("mallory", 0.0)
    assert not sut.is_too_fast("alice", 0.0)
    assert sut.told() == [
        TurnedAway("mallory", "behind others that come too fast", 2),
        TurnedAway("alice", "behind others that come too fast", 2),
        TurnedAway("mallory", "too fast from one source", 2),
    ]


def test_one_that_is_not_over_tells_nothing_and_counts_for_itself() -> None:
    sut = arrivals(connects_per_s_per_source=1.0, connects_burst_per_source=2)
    assert not Sweep(sut, unknown=100, now=0.0).another("alice", over=False)
    assert not sut.is_too_fast("alice", 0.0)


def test_of_those_whose_source_is_not_known_a_tenth_as_many_may_come() -> None:
    sut = arrivals(connects_per_s_per_source=10.0, connects_burst_per_source=20)
    assert [sut.passed(UNKNOWN_SOURCE, 0.0) for _ in range(4)] == [True, True, False, False]
    assert sut.told() == [TurnedAway(UNKNOWN_SOURCE, "too fast from one source", 2)]
    arrival, victim = come(sut, UNKNOWN_SOURCE)  # Over, and not yet told so.
    assert victim is arrival
    assert sut.passed(UNKNOWN_SOURCE, 1.0)
    arrival, victim = come(sut, UNKNOWN_SOURCE, 1.0)
    assert victim is arrival
    assert come(sut, UNKNOWN_SOURCE, 2.0)[1] is None
    assert not sut.passed(UNKNOWN_SOURCE, 2.0)
    assert [sut.passed(LOCAL_SOURCE, 2.0) for _ in range(21)] == [*[True] * 20, False]
