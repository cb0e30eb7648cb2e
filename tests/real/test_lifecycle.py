"""Starting, stopping and failing: nothing is left behind, nothing is lost, nobody hangs."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.real.faces import FACES, LoopThread
from tests.real.parties import (
    HASTY,
    LOOPBACK,
    PATIENCE_S,
    UNKNOWN_CHANNEL,
    Journal,
    Note,
    Parties,
    events_of,
    numbers_into,
    open_files,
    until,
    until_connected,
)
from zmqp2p import (
    Delivery,
    EndpointError,
    Identity,
    InvalidValue,
    Limits,
    LocalError,
    P2PService,
    PeerRecord,
    Receipt,
    Refused,
    ServiceClosed,
    StoreError,
    StoreForeign,
    StoreLocked,
    aio,
)
from zmqp2p.chain import Deposited, SimulatedChain
from zmqp2p.codes import RefusalCode
from zmqp2p.errors import Cancelled
from zmqp2p.events import Event, PeerConnected, PeerDisconnected
from zmqp2p.ids import Address
from zmqp2p.persistence import Snapshot
from zmqp2p.store import MemoryStore, SqliteStore

ROOT = Path(__file__).parents[2]
PATIENT = Limits(redial_max_s=0.2, subscribe_grace_s=60.0)


def left_of(work: Callable[[], object]) -> tuple[list[str], set[str]]:
    """Return the descriptors and threads that ``work`` leaves behind."""
    Identity.generate()  # Loads what is loaded once per process.
    threads, files = set(threading.enumerate()), open_files()
    work()
    names = {thread.name for thread in set(threading.enumerate()) - threads}
    after = open_files()
    for known in files:
        if known in after:
            after.remove(known)
    return after, names


NOTHING: tuple[list[str], set[str]] = ([], set())


# --- Nothing is left ----------------------------------------------------------------------------


@pytest.mark.parametrize("face", FACES)
def test_a_service_that_was_used_leaves_nothing_but_its_store(
    face: str, tmp_path: Path, chain: SimulatedChain
) -> None:
    identities = {name: Identity.generate() for name in ("alice", "bob")}
    chain.height()

    def use() -> None:
        alice, bob = (
            FACES[face](
                [LOOPBACK, f"ipc://{tmp_path}/{name}.ipc"],
                identity=identity,
                store=tmp_path / f"{name}.db",
                chain=chain,
            )
            for name, identity in identities.items()
        )
        bob.on_message(lambda _: None)
        alice.add_peer(bob.record)
        alice.send(bob.address, Note(1)).wait(PATIENCE_S)
        alice.close()
        bob.close()

    assert left_of(use) == NOTHING
    files = {path.name for path in tmp_path.iterdir() if not path.name.startswith("chain")}
    assert files == {"alice.db", "bob.db"}


def test_leaving_the_with_block_closes_even_when_it_raises(parties: Parties) -> None:
    def use() -> None:
        with (
            suppress(ZeroDivisionError),
            P2PService(LOOPBACK, identity=parties.identity("alice")) as alice,
        ):
            assert alice.peers() == []
            raise ZeroDivisionError

    assert left_of(use) == NOTHING


def test_a_store_has_one_user(parties: Parties) -> None:
    """The second is told, leaves nothing behind and does not disturb the first."""
    alice, bob = parties.start("alice", store=parties.store("alice")), parties.start("bob")
    store = SqliteStore(parties.store("carol"))
    carol = parties.start("carol", store=store)

    def start_again() -> None:
        with pytest.raises(StoreLocked):
            parties.start("alice", store=parties.store("alice"))
        with pytest.raises(LocalError, match="open already"):
            parties.start("carol", store=store)

    assert left_of(start_again) == NOTHING
    bob.on_message(lambda _: None)
    for service in (alice, carol):
        service.add_peer(bob.record)
        service.send_message(bob.address, Note(1)).wait(PATIENCE_S)


def test_a_store_of_another_identity_is_refused(parties: Parties) -> None:
    parties.start("alice", store=parties.store("alice")).close()

    def start_as_bob() -> None:
        with pytest.raises(StoreForeign):
            parties.start("bob", store=parties.store("alice"))

    assert left_of(start_as_bob) == NOTHING


def test_an_endpoint_that_cannot_be_used_is_said_and_nothing_is_left(parties: Parties) -> None:
    alice = parties.start("alice")
    (taken,) = alice.record.endpoints
    endpoints: list[Any] = [taken, [LOOPBACK, taken], "tcp://nowhere", "tcp://*:0", "tcp://[::]:0"]

    def start() -> None:
        for endpoint in endpoints:
            with pytest.raises(EndpointError):
                parties.start("bob", endpoint, store=parties.store("bob"))
        with pytest.raises(EndpointError, match="for this machine only"):
            parties.start("bob", "tcp://0.0.0.0:0", security="none")

    assert left_of(start) == NOTHING
    assert not parties.store("bob").exists()
    shown = parties.start("bob", "tcp://*:0", advertise=("tcp://192.0.2.1:9",)).record
    assert shown.endpoints == ("tcp://192.0.2.1:9",)


def test_settings_that_make_no_record_are_refused_and_nothing_is_left(parties: Parties) -> None:
    def start() -> None:
        for settings in ({"record_lifetime_s": -1.0}, {"advertise": ("tcp://nowhere",)}):
            with pytest.raises(InvalidValue):
                parties.start("alice", store=parties.store("alice"), **settings)

    assert left_of(start) == NOTHING
    parties.start("alice", store=parties.store("alice"))  # The store is free.


def test_importing_the_package_starts_nothing_and_loads_no_more_than_it_needs() -> None:
    code = (
        "import sys, threading, zmqp2p\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
        "loaded = {'asyncio', 'click', 'rich', 'zmqp2p.aio', 'zmqp2p.cli'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    assert run_code(code) == ""


def test_a_program_that_forgets_to_close_ends_all_the_same(tmp_path: Path) -> None:
    code = (
        "import zmqp2p\n"
        "p2p = zmqp2p.P2PService('tcp://127.0.0.1:0', identity=zmqp2p.Identity.generate(),"
        f" store={str(tmp_path / 'store.db')!r})\n"
        "print(p2p.peers())\n"
    )
    assert run_code(code) == "[]\n"


def run_code(code: str) -> str:
    """Run Python code in a process of its own and return what it prints."""
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


# --- Restarts -----------------------------------------------------------------------------------


def test_what_was_not_acked_arrives_once_after_both_were_restarted(parties: Parties) -> None:
    """Bob handles some and is closed; Alice is closed with the rest; both come back."""
    arrived = Journal[int]()
    alice = parties.start("alice", store=parties.store("alice"))
    bob = parties.start("bob", store=parties.store("bob"))
    bob.on_message(numbers_into(arrived))
    alice.add_peer(bob.record)
    alice.send_message(bob.address, Note(0)).wait(PATIENCE_S)
    bob.close()
    receipts = [alice.send_message(bob.address, Note(number)) for number in range(1, 301)]
    assert receipts[-1].message_id
    alice.close()
    assert {type(receipt.error) for receipt in receipts} == {Cancelled}
    alice = parties.restart("alice", alice)
    more = [alice.send_message(bob.address, Note(number)) for number in range(301, 501)]
    again = parties.restart("bob", bob)
    again.on_message(numbers_into(arrived))
    for receipt in more:
        receipt.wait(PATIENCE_S)
    alice.flush(PATIENCE_S)
    assert arrived.entries == list(range(501))


def test_a_peer_that_restarts_again_and_again_gets_each_message_once(parties: Parties) -> None:
    """On the same port, with the same store, while messages keep coming."""
    arrived = Journal[int]()
    alice = parties.start("alice")
    bob = parties.start("bob", store=parties.store("bob"))
    alice.add_peer(bob.record)
    receipts = []
    for round_ in range(4):
        bob.on_message(numbers_into(arrived))
        numbers = range(round_ * 250, (round_ + 1) * 250)
        receipts += [alice.send_message(bob.address, Note(number)) for number in numbers]
        arrived.count(round_ * 250 + 100)
        bob.close()  # In the midst of a batch.
        bob = parties.restart("bob", bob)
    bob.on_message(numbers_into(arrived))
    for receipt in receipts:
        receipt.wait(PATIENCE_S)
    assert arrived.entries == list(range(1000))


def test_messages_that_come_before_their_handler_wait_for_it(parties: Parties) -> None:
    """After a restart peers are faster than the program that subscribes."""
    alice, bob = parties.start("alice"), parties.start("bob", limits=PATIENT)
    alice.add_peer(bob.record)
    receipt = alice.send_message(bob.address, Note(1))
    until_connected(alice, bob.address)
    received = until(alice.peers, lambda peers: peers[0].last_seen_ms is not None)
    assert received[0].unacked == 1
    arrived = Journal[int]()
    bob.on_message(numbers_into(arrived))
    receipt.wait(PATIENCE_S)
    assert arrived.entries == [1]


def test_after_the_grace_messages_without_a_handler_are_refused(parties: Parties) -> None:
    alice, bob = parties.pair()
    for number in range(100):  # More than can be refused before the peer has heard of it.
        receipt = alice.send_message(bob.address, Note(number))
    with pytest.raises(Refused) as refused:
        receipt.wait(PATIENCE_S)
    assert refused.value.code is RefusalCode.TYPE_UNKNOWN
    late = Journal[int]()
    bob.on_message(numbers_into(late))
    alice.send_message(bob.address, Note(100)).wait(PATIENCE_S)
    assert late.entries == [100]


def test_peers_hear_that_a_node_stops(parties: Parties) -> None:
    alice, bob = parties.pair()
    events = events_of(alice)
    until_connected(alice, bob.address)
    bob.close()
    assert "closing: the node stops" in events.first(PeerDisconnected).reason


def test_a_newer_record_replaces_an_older_one_when_a_node_moves(parties: Parties) -> None:
    """Bob comes back on another port and connects; Alice dials the new port from then on."""
    alice = parties.start("alice")
    bob = parties.start("bob", store=parties.store("bob"))
    alice.add_peer(bob.record)
    bob.add_peer(alice.record)
    until_connected(alice, bob.address)
    bob.close()
    bob = parties.start("bob", store=parties.store("bob"))
    status = until(alice.peers, lambda peers: peers[0].endpoints == bob.record.endpoints)[0]
    assert status.address == bob.address


# --- Failures inside the loop -------------------------------------------------------------------


class BrokenStore(MemoryStore):
    """A store on a disk that fails when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.commits_fail = False
        self.close_fails = False
        self.rollbacks_fail = False
        self.closing = threading.Event()
        self.may_close = threading.Event()
        self.may_close.set()

    def rollback_to_savepoint(self) -> None:
        if self.rollbacks_fail:
            raise StoreError("the disk is full")
        super().rollback_to_savepoint()

    def commit(self) -> None:
        if self.commits_fail:
            raise StoreError("the disk is full")
        super().commit()

    def close(self) -> None:
        self.closing.set()
        self.may_close.wait(PATIENCE_S)
        super().close()
        if self.close_fails:
            raise StoreError("the disk is gone")


@pytest.fixture
def broken(parties: Parties) -> Iterator[tuple[P2PService, BrokenStore]]:
    """Return a service, and the store under it that can fail."""
    store = BrokenStore()
    service = P2PService(LOOPBACK, identity=parties.identity("alice"), store=store, limits=HASTY)
    assert service.peers() == []  # The turn in which it starts is over.
    yield service, store
    store.may_close.set()
    with suppress(StoreError):
        service.close()


def absent(parties: Parties) -> PeerRecord:
    """Return the record of a node that is gone."""
    made = parties.start("absent")
    made.close()
    return made.record


def test_a_commit_that_fails_stops_the_node_and_close_says_why(
    parties: Parties, broken: tuple[P2PService, BrokenStore]
) -> None:
    """Whoever waits is told. Nothing of the turn has left."""
    service, store = broken
    bob = parties.start("bob")
    arrived = Journal[int]()
    bob.on_message(numbers_into(arrived))
    peer = service.add_peer(bob.record)
    until_connected(service, peer)
    unsent = service.send_message(service.add_peer(absent(parties)), Note(1))
    assert unsent.message_id
    store.commits_fail = True
    receipt = service.send_message(peer, Note(1))
    with pytest.raises(Cancelled):
        receipt.wait(PATIENCE_S)
    with pytest.raises(Cancelled):
        unsent.wait(PATIENCE_S)
    with pytest.raises(ServiceClosed) as closed:
        service.peers()
    assert isinstance(closed.value.__cause__, StoreError)
    with pytest.raises(StoreError, match="the disk is full"):
        service.close()
    service.close()  # It was said.
    with pytest.raises(Cancelled):
        assert receipt.message_id
    assert arrived.entries == []


def test_a_call_in_the_turn_that_fails_ends(
    broken: tuple[P2PService, BrokenStore], parties: Parties
) -> None:
    service, store = broken
    record = absent(parties)
    store.commits_fail = True
    with pytest.raises(Cancelled):
        service.add_peer(record)
    with pytest.raises(StoreError):
        service.close()


@pytest.mark.parametrize("ask", ["flush", "result"])
def test_a_wait_that_begins_in_the_turn_that_fails_ends(
    ask: str, broken: tuple[P2PService, BrokenStore], parties: Parties
) -> None:
    """The call is in the turn whose commit fails; the wait was to go on beyond it."""
    service, store = broken
    service.send_message(service.add_peer(absent(parties)), Note(1))
    waits: dict[str, Callable[[], object]] = {
        "flush": service.flush,
        "result": service.channel(UNKNOWN_CHANNEL).result,
    }
    store.commits_fail = True
    with pytest.raises(Cancelled):
        waits[ask]()
    with pytest.raises(StoreError):
        service.close()


def test_a_failure_while_closing_is_raised_and_nobody_hangs(
    broken: tuple[P2PService, BrokenStore], parties: Parties
) -> None:
    service, store = broken
    receipt = service.send_message(service.add_peer(absent(parties)), Note(1))
    store.close_fails = True
    with pytest.raises(StoreError, match="the disk is gone"):
        service.close()
    assert isinstance(receipt.error, Cancelled)
    with pytest.raises(ServiceClosed):
        service.flush()


def test_the_first_failure_is_the_one_that_is_raised(
    broken: tuple[P2PService, BrokenStore], parties: Parties
) -> None:
    service, store = broken
    record = absent(parties)
    store.commits_fail = store.close_fails = True
    with pytest.raises(Cancelled):
        service.add_peer(record)
    with pytest.raises(StoreError, match="the disk is full"):
        service.close()


def test_two_threads_can_close_at_once(broken: tuple[P2PService, BrokenStore]) -> None:
    """The second waits for the first, as long as it is given."""
    service, store = broken
    store.may_close.clear()
    with ThreadPoolExecutor(1) as executor:
        first = executor.submit(service.close)
        assert store.closing.wait(PATIENCE_S)
        with pytest.raises(LocalError, match=r"still runs after 0\.01 s"):
            service.close(0.01)
        store.may_close.set()
        service.close()
        first.result(PATIENCE_S)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_what_a_handler_sent_ends_though_it_cannot_be_undone(
    elsewhere: bool, broken: tuple[P2PService, BrokenStore], parties: Parties
) -> None:
    """The receipt's callbacks are called too: whoever awaits it does not hang."""
    service, store = broken
    store.rollbacks_fail = True
    sent: Journal[Receipt] = Journal()

    def handle(delivery: Delivery) -> None:
        sent(service.send_message(delivery.sender, Note(1)))
        delivery.transaction.execute("INSERT INTO app_missing VALUES (1)")

    with ThreadPoolExecutor(1) as executor:
        service.on_message(handle, executor=executor if elsewhere else None)
        bob = parties.start("bob")
        bob.add_peer(service.record)
        bob.send_message(service.address, Note(1))
        ended = Journal[Receipt]()
        sent.count(1)[0].add_done_callback(ended)
        assert isinstance(ended.count(1)[0].error, Cancelled)
        with pytest.raises(StoreError, match="the disk is full"):
            service.close()


class CrashingChain(SimulatedChain):
    """A chain service with a bug."""

    def events(self, after_block: int) -> list[Deposited]:
        raise RuntimeError(f"a bug, at block {after_block}")


def test_a_chain_service_with_a_bug_stops_the_node_and_close_says_so(parties: Parties) -> None:
    chain = CrashingChain(parties.folder / "chain.db")
    service = P2PService(LOOPBACK, identity=parties.identity("alice"), chain=chain)
    assert service._node.ended.result(PATIENCE_S) is None  # noqa: SLF001  # Only to know when.
    with pytest.raises(ServiceClosed):
        service.peers()
    with pytest.raises(RuntimeError, match="a bug, at block 0"):
        service.close()
    chain.close()


# --- Closing under way --------------------------------------------------------------------------


class Blocked:
    """A service whose handler holds its node up until told otherwise."""

    def __init__(self, parties: Parties) -> None:
        self.alice = parties.start("alice")
        self.bob = parties.start("bob")
        self.alice.add_peer(self.bob.record)
        self.bob.add_peer(absent(parties))
        self.absent = parties.address("absent")
        self._inside, self._go_on = threading.Event(), threading.Event()
        self.bob.on_message(self._hold)
        self.alice.send_message(self.bob.address, Note(1))
        assert self._inside.wait(PATIENCE_S)

    def _hold(self, _delivery: Delivery) -> None:
        self._inside.set()
        self._go_on.wait(PATIENCE_S)

    def go_on(self) -> None:
        self._go_on.set()


@pytest.fixture
def blocked(parties: Parties) -> Iterator[Blocked]:
    made = Blocked(parties)
    yield made
    made.go_on()


def test_closing_under_a_running_handler_says_so_and_happens_when_it_ends(
    blocked: Blocked,
) -> None:
    with pytest.raises(LocalError, match="a handler still runs"):
        blocked.bob.close(0.01)
    blocked.go_on()
    blocked.bob.close()
    with pytest.raises(ServiceClosed):
        blocked.bob.peers()


def test_a_service_stays_open_if_it_is_closed_within_no_time_that_makes_sense(
    parties: Parties,
) -> None:
    alice = parties.start("alice")
    with pytest.raises(InvalidValue, match="timeout_s"):
        alice.close(float("nan"))
    assert alice.peers() == []


def test_what_was_asked_too_late_ends_as_closed(blocked: Blocked) -> None:
    """More commands wait than one turn takes, and the node stops before it comes to the rest."""
    bob = blocked.bob
    with pytest.raises(LocalError):
        bob.close(0.01)  # From now on the node stops at its next turn.
    early = bob.send_message(blocked.absent, Note(0))
    for number in range(5_000):
        late = bob.send_message(blocked.absent, Note(number))
    with pytest.raises(LocalError):
        bob.close(0.01)  # Once more: that too comes too late.
    node = bob._node  # noqa: SLF001  # To ask without waiting.
    futures: list[Any] = [node.flush(), node.funded(UNKNOWN_CHANNEL), node.channel_statuses()]
    blocked.go_on()
    for future in futures:
        assert isinstance(future.exception(PATIENCE_S), ServiceClosed)
    bob.close()
    assert isinstance(late.error, Cancelled)
    assert not late.stored
    assert early.stored


def test_a_sender_that_waits_for_room_is_told_that_the_service_closes(parties: Parties) -> None:
    limits = Limits(outbox_max_messages=1)
    alice = parties.start("alice", limits=limits)
    peer = alice.add_peer(absent(parties))
    alice.send_message(peer, Note(1))
    with ThreadPoolExecutor(1) as executor:
        trying = threading.Event()

        def send() -> None:
            trying.set()
            alice.send_message(peer, Note(2))

        blocked = executor.submit(send)
        assert trying.wait(PATIENCE_S)
        alice.close()
        with pytest.raises(ServiceClosed):
            blocked.result(PATIENCE_S)


def test_a_closed_service_says_so_on_any_thread(parties: Parties) -> None:
    """A new thread may have the number that the node's thread had."""
    alice = parties.start("alice")
    peer = alice.add_peer(absent(parties))
    receipt = alice.send_message(peer, Note(1))
    alice.close()
    calls: list[Callable[[], object]] = [
        alice.peers,
        alice.flush,
        alice.channels,
        lambda: alice.send_message(peer, Note(1)),
        lambda: alice.on_message(lambda _: None),
    ]
    outcomes = Journal[object]()

    def run() -> None:
        for call in calls:
            with pytest.raises(ServiceClosed):
                call()
        with pytest.raises(Cancelled):
            receipt.wait()
        with pytest.raises(ServiceClosed):
            alice.channel(UNKNOWN_CHANNEL).result()
        outcomes(None)

    for _ in range(3):
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    assert len(outcomes.entries) == 3


def test_the_awaitable_service_is_used_between_start_and_close(parties: Parties) -> None:
    thread = LoopThread()

    async def use() -> None:
        service = aio.P2PService(LOOPBACK, identity=parties.identity("alice"))
        with pytest.raises(ServiceClosed, match="async with"):
            await service.peers()
        with pytest.raises(ServiceClosed, match="async with"):
            service.on_event(lambda _: None)
        await service.close()  # Nothing to close.
        async with service:
            assert service.record.address == service.address
            with pytest.raises(LocalError, match="started before"):
                await service.start()
            with pytest.raises(InvalidValue, match="timeout_s"):
                await service.close(float("nan"))
        with pytest.raises(ServiceClosed):
            await service.peers()
        with pytest.raises(ServiceClosed):
            await anext(service.messages())
        await service.close()

    thread.run(use())
    thread.close()


class SlowStore(MemoryStore):
    """A store that opens when told to, or fails then."""

    def __init__(self, failure: Exception | None = None) -> None:
        super().__init__()
        self.opening, self.may_open = threading.Event(), threading.Event()
        self._failure = failure

    def open(self, owner: Address | None, now_ms: int) -> Snapshot:
        self.opening.set()
        assert self.may_open.wait(PATIENCE_S)
        if self._failure is not None:
            raise self._failure
        return super().open(owner, now_ms)


@pytest.mark.parametrize("failure", [None, StoreError("the disk is gone")])
def test_a_start_that_is_cancelled_ends_when_no_node_runs(
    failure: Exception | None, parties: Parties
) -> None:
    async def cancel() -> None:
        store = SlowStore(failure)
        service = aio.P2PService(LOOPBACK, identity=parties.identity("alice"), store=store)
        starting = asyncio.create_task(service.start())
        await asyncio.to_thread(store.opening.wait, PATIENCE_S)
        for _ in range(3):  # However impatient somebody is.
            starting.cancel()
            await asyncio.sleep(0)
        assert not starting.done()
        store.may_open.set()
        with pytest.raises(asyncio.CancelledError):
            await starting
        with pytest.raises(ServiceClosed):
            await service.peers()

    def run() -> None:
        with closing(LoopThread()) as thread:
            thread.run(cancel())

    assert left_of(run) == NOTHING


def test_a_service_that_is_started_twice_at_once_makes_one_node(parties: Parties) -> None:
    async def start_twice() -> None:
        store = SlowStore()
        service = aio.P2PService(LOOPBACK, identity=parties.identity("alice"), store=store)
        first = asyncio.create_task(service.start())
        await asyncio.to_thread(store.opening.wait, PATIENCE_S)
        with pytest.raises(LocalError, match="started before"):
            await service.start()
        store.may_open.set()
        assert await first is service
        await service.close()

    with closing(LoopThread()) as thread:
        thread.run(start_twice())


def test_a_start_that_failed_can_be_tried_again(parties: Parties) -> None:
    other = parties.start("alice", store=parties.store("alice"))

    async def start() -> None:
        path = parties.store("alice")
        service = aio.P2PService(LOOPBACK, identity=parties.identity("alice"), store=path)
        with pytest.raises(StoreLocked):
            await service.start()
        await asyncio.to_thread(other.close)
        async with service:
            assert await service.peers() == []

    with closing(LoopThread()) as thread:
        thread.run(start())


def test_an_event_loop_that_closes_first_is_no_failure_of_the_node(parties: Parties) -> None:
    """What the node then has to say to it is dropped; the node itself ends as it should."""
    thread = LoopThread()
    service = aio.P2PService(LOOPBACK, identity=parties.identity("alice"), limits=HASTY)
    thread.run(service.start())
    service.on_event(lambda _: None)
    node = service._node  # noqa: SLF001  # The face cannot be used without its loop.
    thread.close()
    bob = parties.start("bob")
    bob.add_peer(node.record)
    until_connected(bob, node.record.address)
    node.stop(PATIENCE_S)
    assert node.failure is None


# --- Threads and processes ----------------------------------------------------------------------


def test_many_threads_can_use_one_service(parties: Parties) -> None:
    alice, bob = parties.pair()
    arrived = Journal[tuple[str, int]]()
    bob.on_message(lambda delivery: arrived((delivery.message.text, delivery.message.number)))

    def work(name: str) -> None:
        receipts = [alice.send_message(bob.address, Note(n, name)) for n in range(100)]
        assert alice.peers()
        for receipt in receipts:
            receipt.wait(PATIENCE_S)

    names = [f"thread {number}" for number in range(8)]
    with ThreadPoolExecutor(len(names)) as executor:
        list(executor.map(work, names))
    assert len(arrived.entries) == 800
    for name in names:
        assert [n for who, n in arrived.entries if who == name] == list(range(100))


FORKED = """
import os, sys, threading, warnings
from tests.real.parties import Note, Parties
from zmqp2p import Identity, Limits, P2PService, Receipt, ServiceClosed
warnings.simplefilter("ignore")  # Newer Pythons warn of a fork with threads: that is the test.
limits = Limits(outbox_max_messages=1)
service = P2PService("tcp://127.0.0.1:0", identity=Identity.generate(), limits=limits)
with P2PService("tcp://127.0.0.1:0", identity=Identity.generate()) as other:
    peer = service.add_peer(other.record)
    record = other.record
receipt = service.send_message(peer, Note(1))
unnumbered = Receipt(receipt._room, peer, b"")
held, forked = threading.Event(), threading.Event()

def hold():  # As the node's thread may just then: in the child nobody lets go.
    with receipt._room.condition:
        held.set()
        forked.wait()

threading.Thread(target=hold).start()
held.wait()
child = os.fork()
if child == 0:
    calls = (
        service.peers, service.flush, receipt.wait, unnumbered.wait_stored,
        lambda: service.add_peer(record),
        lambda: service.send_message(peer, Note(2)),  # The outbox is full: it must not wait.
    )
    for call in calls:
        try:
            call()
        except ServiceClosed:
            continue
        sys.exit(1)
    service.close()
    sys.exit(0)
forked.set()
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 0, status
assert service.peers()  # The parent's is as it was.
service.close()
"""


def test_a_forked_child_is_told_that_the_service_is_not_its_own() -> None:
    assert run_code(FORKED) == ""


def test_a_connection_is_told_to_everyone_who_listens(parties: Parties) -> None:
    alice, bob = parties.start("alice"), parties.start("bob")
    journals: list[Journal[Event]] = [events_of(alice), events_of(alice), events_of(bob)]
    alice.add_peer(bob.record)
    told = [journal.first(PeerConnected) for journal in journals]
    assert [event.peer for event in told] == [bob.address, bob.address, alice.address]
