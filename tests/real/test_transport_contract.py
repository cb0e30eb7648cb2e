"""What every transport promises, whatever it is made of (zmqp2p.transport.base)."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.frames import UNSAID, progress_of
from tests.real.transport_harness import KINDS, Network, Pair, dial, join, run
from zmqp2p.errors import EndpointError, InvalidValue, ServiceClosed
from zmqp2p.ids import CurveKey, LinkId, Seq
from zmqp2p.transport.options import SocketLimits
from zmqp2p.wire.encoding import encode_frame
from zmqp2p.wire.frames import Bulk, Data
from zmqp2p.wire.link import DownReason, LinkDown, LinkUp, Received
from zmqp2p.wire.work import work_us

with_keys = pytest.mark.parametrize(
    "network", [kind for kind in KINDS if kind != "none"], indirect=True
)
NOBODY = CurveKey(b"\1" * 32)


@pytest.fixture(params=KINDS)
def network(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Network]:
    made = Network(request.param, tmp_path)
    yield made
    made.close()


@pytest.fixture
def pair(network: Network) -> Pair:
    return join(network)


def test_the_dialer_is_told_the_key_it_dialed(network: Network, pair: Pair) -> None:
    key = network.key_of(pair.bob)
    assert pair.alice.events == [LinkUp(pair.at_alice, key, pair.endpoint, dialed=True)]


def test_the_listener_is_told_the_key_that_was_proven(network: Network, pair: Pair) -> None:
    key = network.key_of(pair.alice)
    assert pair.bob.events == [
        LinkUp(pair.at_bob, key, network.first_address, dialed=False),
        Received(pair.at_bob, (b"hello",)),
    ]


def test_listening_tells_the_endpoint_to_dial(pair: Pair) -> None:
    assert not pair.endpoint.endswith(":0")


def test_messages_keep_their_frames_and_their_order_in_both_directions(pair: Pair) -> None:
    there = [(b"h%d" % n,) if n % 2 else (b"h%d" % n, b"b" * n) for n in range(300)]
    back = [(b"", bytes(n)) for n in range(300)]
    for one, other in zip(there, back, strict=True):
        assert pair.alice.transport.send(pair.at_alice, one)
        assert pair.bob.transport.send(pair.at_bob, other)
    pair.run(lambda: len(pair.alice.received()) == 300 and len(pair.bob.received()) == 301)
    assert pair.bob.received(pair.at_bob)[1:] == there
    assert pair.alice.received(pair.at_alice) == back


def test_the_largest_frame_travels(pair: Pair) -> None:
    body = bytes(256 * 1024)
    assert pair.alice.transport.send(pair.at_alice, [b"header", body])
    pair.run(lambda: len(pair.bob.received()) == 2)
    assert pair.bob.received()[1] == (b"header", body)


def test_what_is_sent_before_the_link_is_up_waits_for_it(network: Network) -> None:
    alice, bob = network.node(), network.node()
    link = alice.transport.dial(bob.transport.listen(network.endpoint()), bob.key)
    assert alice.transport.send(link, [b"early"])
    run(alice, bob, until=bob.received)
    assert bob.received() == [(b"early",)]


def test_each_dial_is_a_link_of_its_own(pair: Pair) -> None:
    second = dial(pair.alice, pair.bob, pair.endpoint)
    assert second != pair.at_alice
    pair.alice.transport.send(second, [b"second"])
    pair.run(lambda: len(pair.bob.ups) == 2)
    assert pair.bob.received(pair.bob.ups[1].link) == [(b"second",)]


def test_a_node_can_dial_itself(network: Network) -> None:
    """It has two links then, as with anybody else."""
    node = network.node()
    link = node.transport.dial(node.transport.listen(network.endpoint()), node.key)
    node.transport.send(link, [b"echo"])
    run(node, until=lambda: node.received() and len(node.ups) > 1)  # Two links have no order.
    assert sorted(up.dialed for up in node.ups) == [False, True]


def test_a_node_listens_at_several_endpoints(network: Network, pair: Pair) -> None:
    other = pair.bob.transport.listen(network.endpoint())
    link = dial(pair.alice, pair.bob, other)
    pair.alice.transport.send(link, [b"other"])
    pair.run(lambda: len(pair.bob.received()) == 2)
    assert pair.bob.received() == [(b"hello",), (b"other",)]


def test_dialing_where_nobody_listens_says_unreachable(network: Network) -> None:
    alice, bob = network.node(), network.node()
    endpoint = bob.transport.listen(network.endpoint())
    bob.transport.close()
    link = alice.transport.dial(endpoint, bob.key)
    run(alice, until=lambda: alice.downs)
    assert [(down.link, down.reason) for down in alice.downs] == [(link, DownReason.UNREACHABLE)]


@with_keys
def test_dialing_with_a_wrong_key_says_so(network: Network) -> None:
    alice, bob = network.node(), network.node()
    link = alice.transport.dial(bob.transport.listen(network.endpoint()), alice.key)
    run(alice, bob, until=lambda: alice.downs)
    assert [(down.link, down.reason) for down in alice.downs] == [(link, DownReason.WRONG_KEY)]
    assert bob.events == []


def test_a_peer_that_is_not_admitted_is_told_so(network: Network) -> None:
    asked: list[tuple[CurveKey | None, str]] = []

    def admit(key: CurveKey | None, address: str) -> bool:
        asked.append((key, address))
        return False

    alice, bob = network.node(), network.node(admit)
    link = alice.transport.dial(bob.transport.listen(network.endpoint()), bob.key)
    run(alice, bob, until=lambda: alice.downs)
    assert [(down.link, down.reason) for down in alice.downs] == [(link, DownReason.DENIED)]
    assert bob.events == []
    assert asked == [(network.key_of(alice), network.first_address)]


@with_keys
def test_one_peer_is_admitted_and_another_is_not(network: Network) -> None:
    allowed: list[CurveKey | None] = []
    bob = network.node(lambda key, _: key in allowed)
    alice, mallory = network.node(), network.node()
    allowed.append(alice.key)
    endpoint = bob.transport.listen(network.endpoint())
    dial(alice, bob, endpoint)
    mallory.transport.dial(endpoint, bob.key)
    run(mallory, bob, until=lambda: mallory.downs)
    assert mallory.downs[0].reason is DownReason.DENIED


def test_the_listener_hears_when_the_dialer_closes(pair: Pair) -> None:
    pair.alice.transport.close_link(pair.at_alice)
    pair.run(lambda: pair.bob.downs)
    assert [(down.link, down.reason) for down in pair.bob.downs] == [(pair.at_bob, DownReason.LOST)]


def test_the_dialer_hears_when_the_listener_is_gone(pair: Pair) -> None:
    pair.bob.transport.close()
    run(pair.alice, until=lambda: pair.alice.downs)
    assert [(down.link, down.reason) for down in pair.alice.downs] == [
        (pair.at_alice, DownReason.LOST)
    ]


def test_what_arrived_before_the_end_is_told_before_the_end(pair: Pair) -> None:
    """A goodbye says why the link ends: it must not be overtaken by the end."""
    for n in range(900):
        assert pair.bob.transport.send(pair.at_bob, [b"%d" % n])
    assert pair.bob.transport.send(pair.at_bob, [b"bye"])
    pair.bob.transport.close()
    run(pair.alice, until=lambda: pair.alice.downs)
    assert pair.alice.received()[-1] == (b"bye",)
    assert len(pair.alice.received()) == 901
    assert isinstance(pair.alice.events[-1], LinkDown)


def test_what_a_dialer_sent_before_it_closed_is_told_before_the_end(
    network: Network, pair: Pair
) -> None:
    """Over ipc libzmq drops what its queue had no room for when the other end closes."""
    # Its queue, but for the first message, which may still count.
    queue = SocketLimits().accepted_queue_messages
    count = queue - 2 if network.kind == "ipc" else 900
    for n in range(count):
        assert pair.alice.transport.send(pair.at_alice, [b"%d" % n])
    pair.alice.transport.close_link(pair.at_alice)
    pair.run(lambda: pair.bob.downs)
    assert len(pair.bob.received(pair.at_bob)) == count + 1
    assert isinstance(pair.bob.events[-1], LinkDown)


def test_a_link_that_was_closed_is_silent(pair: Pair) -> None:
    """What was not yet told of it is never told, and to send on it is no error."""
    pair.bob.transport.send(pair.at_bob, [b"late"])
    pair.alice.transport.close_link(pair.at_alice)
    assert not pair.alice.transport.send(pair.at_alice, [b"x"])
    pair.run(lambda: pair.bob.downs)
    assert len(pair.alice.events) == 1


def test_closing_a_link_takes_back_the_end_that_was_not_yet_told(pair: Pair) -> None:
    pair.alice.transport.close_link(pair.at_alice)
    pair.run(lambda: pair.bob.downs)
    fresh = dial(pair.alice, pair.bob, pair.endpoint)
    pair.bob.transport.close()
    deadline = time.monotonic() + 10.0
    while pair.alice.transport.send(fresh, [bytes(1000)]):  # Until the end is noticed, or it jams.
        assert time.monotonic() < deadline
    pair.alice.transport.close_link(fresh)
    pair.alice.turn(0.05)
    assert pair.alice.downs == []


def test_unknown_links_are_no_error(pair: Pair) -> None:
    pair.alice.transport.close_link(LinkId(999))
    assert not pair.alice.transport.send(LinkId(999), [b"x"])


def test_a_listener_that_closes_a_link_ends_its_connection(pair: Pair) -> None:
    """A goodbye still leaves; what the peer says meanwhile is told to nobody (ADM-4)."""
    pair.bob.transport.send(pair.at_bob, [b"goodbye"])
    pair.bob.transport.close_link(pair.at_bob)
    pair.alice.transport.send(pair.at_alice, [b"still here"])
    pair.run(lambda: pair.alice.downs)
    assert pair.alice.received() == [(b"goodbye",)]
    assert [(down.link, down.reason) for down in pair.alice.downs] == [
        (pair.at_alice, DownReason.LOST)
    ]
    pair.bob.turn(0.05)
    assert len(pair.bob.events) == 2  # As before.


def test_a_peer_whose_link_was_closed_comes_back_over_a_new_connection(pair: Pair) -> None:
    pair.bob.transport.close_link(pair.at_bob)
    pair.run(lambda: pair.alice.downs)
    again = dial(pair.alice, pair.bob, pair.endpoint)
    pair.alice.transport.send(again, [b"here again"])
    pair.run(lambda: len(pair.bob.ups) == 2)
    assert pair.bob.received(pair.bob.ups[1].link) == [(b"here again",)]
    assert pair.bob.transport.send(pair.bob.ups[1].link, [b"so am I"])
    pair.run(pair.alice.received)
    assert pair.bob.downs == []


@pytest.mark.parametrize("from_listener", [False, True])
def test_a_peer_that_does_not_read_congests_its_link_and_no_other(
    network: Network, *, from_listener: bool
) -> None:
    pair = join(network)
    carol = network.node()
    calm = dial(carol, pair.bob, pair.endpoint)
    carol.transport.send(calm, [b"carol"])
    run(carol, pair.bob, until=lambda: len(pair.bob.ups) == 2)
    sender, link = (pair.bob, pair.at_bob) if from_listener else (pair.alice, pair.at_alice)
    frames = [b"header", bytes(2000)]
    deadline = time.monotonic() + 10.0
    while sender.transport.send(link, frames):
        assert time.monotonic() < deadline
    assert not sender.transport.send(link, frames)
    started = time.monotonic()
    sender.turn(5.0)  # What is known already is not waited for.
    assert time.monotonic() < started + 2.0
    assert [(down.link, down.reason) for down in sender.downs] == [(link, DownReason.CONGESTED)]
    assert pair.bob.transport.send(pair.bob.ups[1].link, [b"calm"])
    run(carol, until=carol.received)


def test_a_flood_is_told_in_portions_and_loses_nothing(pair: Pair) -> None:
    """The rest comes with the next call, which must not wait for something new to happen."""
    for n in range(1000):
        assert pair.alice.transport.send(pair.at_alice, [b"%d" % n])
    started = time.monotonic()
    sizes = []
    while len(pair.bob.received()) < 1001:
        assert time.monotonic() < started + 10.0
        events = pair.bob.transport.wait(5.0)
        sizes.append(len(events))
        pair.bob.events += events
    assert max(sizes) <= 2 * 256  # What was read empty may fill, and be read again, in one call.
    assert time.monotonic() < started + 5.0
    assert pair.bob.received()[1:] == [(b"%d" % n,) for n in range(1000)]


def test_messages_that_are_much_work_are_told_in_smaller_portions(pair: Pair) -> None:
    """What one peer sends in batches, or in bulk, does not make a turn of everybody long."""
    batch = encode_frame(Data(Seq(1), UNSAID, progress_of(), (b"x",) * 256))
    bulk = encode_frame(Bulk(Seq(1), UNSAID, progress_of(), bytes(256 * 1024)))
    sent = [*[batch] * 20, *[bulk] * 20]
    for frames in sent:
        assert pair.alice.transport.send(pair.at_alice, frames)
    started = time.monotonic()
    while len(pair.bob.received()) < 41:
        assert time.monotonic() < started + 10.0
        events = pair.bob.transport.wait(5.0)
        work = sum(work_us(event.frames) for event in events if isinstance(event, Received))
        assert work < 2 * 5_000 + 2_000  # As above: a portion that was all, and a full one.
        pair.bob.events += events
    assert pair.bob.received()[1:] == sent


def test_a_message_that_comes_between_two_sends_is_not_slept_through(pair: Pair) -> None:
    """A send swallows the signal that a message has come: it must be looked for again."""
    for _ in range(50):
        pair.bob.transport.send(pair.at_bob, [b"ping"])
        pair.bob.transport.wait(0)
        deadline = time.monotonic() + 0.0005
        unsent = 100
        while time.monotonic() < deadline:  # The message arrives meanwhile.
            if unsent:
                unsent -= 1
                pair.alice.transport.send(pair.at_alice, [b"x"])
        started = time.monotonic()
        assert any(isinstance(event, Received) for event in pair.alice.transport.wait(5.0))
        assert time.monotonic() < started + 2.0


def test_wait_returns_after_its_time_and_not_before(network: Network) -> None:
    node = network.node()
    for timeout_s in (0.0, 0.03):
        started = time.monotonic()
        assert node.transport.wait(timeout_s) == []
        assert timeout_s <= time.monotonic() - started < timeout_s + 2.0


def test_wake_ends_the_current_wait(network: Network) -> None:
    node = network.node()
    timer = threading.Timer(0.02, node.transport.wake)
    timer.start()
    assert node.transport.wait(None) == []
    timer.join()


def test_wakes_are_counted_as_one(network: Network) -> None:
    node = network.node()
    for _ in range(100_000):
        node.transport.wake()
    assert node.transport.wait(None) == []
    started = time.monotonic()
    assert node.transport.wait(0.02) == []
    assert time.monotonic() >= started + 0.02


def test_a_wake_can_follow_a_wake(network: Network) -> None:
    node = network.node()
    for _ in range(3):
        node.transport.wake()
        assert node.transport.wait(None) == []


@pytest.mark.parametrize("frames", [(), (b"1", b"2", b"3"), ("text",), (b"1", bytearray(b"2"))])
def test_a_message_is_one_or_two_frames_of_bytes(pair: Pair, frames: tuple[bytes, ...]) -> None:
    """And nothing of another is sent: the next message arrives whole."""
    with pytest.raises(InvalidValue, match="frames"):
        pair.alice.transport.send(pair.at_alice, frames)
    pair.alice.transport.send(pair.at_alice, [b"next"])
    pair.run(lambda: len(pair.bob.received()) == 2)
    assert pair.bob.received()[1] == (b"next",)


def test_an_endpoint_in_use_cannot_be_listened_at(network: Network, pair: Pair) -> None:
    with pytest.raises(EndpointError, match="in use") as refusal:
        network.node().transport.listen(pair.endpoint)
    assert pair.endpoint in str(refusal.value)
    pair.alice.transport.send(pair.at_alice, [b"not disturbed"])
    pair.run(lambda: len(pair.bob.received()) == 2)


def test_an_endpoint_is_free_again_after_close(network: Network, pair: Pair) -> None:
    pair.bob.transport.close()
    carol = network.node()
    assert carol.transport.listen(pair.endpoint) == pair.endpoint
    dial(pair.alice, carol, pair.endpoint)


@pytest.mark.parametrize("endpoint", ["", "mem:/x", "mem://", "udp://127.0.0.1:1", "tcp://", b"x"])
def test_malformed_endpoints_are_refused(network: Network, endpoint: str) -> None:
    node = network.node()
    with pytest.raises(EndpointError):
        node.transport.listen(endpoint)
    with pytest.raises(EndpointError):
        node.transport.dial(endpoint, NOBODY)
    assert node.transport.wait(0) == []


def test_a_key_of_a_wrong_size_is_refused(network: Network) -> None:
    node = network.node()
    endpoint = node.transport.listen(network.endpoint())
    with pytest.raises(InvalidValue, match="curve_key"):
        node.transport.dial(endpoint, CurveKey(b"short"))


def test_a_closed_transport_refuses_everything(pair: Pair) -> None:
    transport = pair.alice.transport
    transport.close()
    transport.close()
    transport.wake()
    for call in (
        lambda: transport.wait(0),
        lambda: transport.send(pair.at_alice, [b"x"]),
        lambda: transport.close_link(pair.at_alice),
        lambda: transport.listen(pair.endpoint),
        lambda: transport.dial(pair.endpoint, NOBODY),
    ):
        with pytest.raises(ServiceClosed):
            call()


def test_closing_does_not_take_long_with_much_unsent(pair: Pair) -> None:
    for _ in range(15_000):
        pair.alice.transport.send(pair.at_alice, [bytes(1000)])
        pair.bob.transport.send(pair.at_bob, [bytes(1000)])
    for node in (pair.alice, pair.bob):
        started = time.monotonic()
        node.transport.close()
        assert time.monotonic() < started + 2.0


def test_a_link_that_is_trusted_goes_on(network: Network) -> None:
    """Dialed, accepted, unknown, or over: none is an error."""
    pair = join(network)
    pair.alice.transport.trust(pair.at_alice)
    for _ in range(2):
        pair.bob.transport.trust(pair.at_bob)
    pair.bob.transport.trust(LinkId(12_345))
    assert pair.alice.transport.send(pair.at_alice, [b"still"])
    pair.run(lambda: (b"still",) in pair.bob.received(pair.at_bob))
    pair.alice.transport.close_link(pair.at_alice)
    pair.run(lambda: pair.bob.downs)
    pair.bob.transport.trust(pair.at_bob)
    assert [down.link for down in pair.bob.downs] == [pair.at_bob]
