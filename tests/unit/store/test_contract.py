"""What every store promises, on each store."""

from collections.abc import Sequence
from typing import get_args

import pytest

from zmqp2p.errors import LocalError, StoreError, StoreForeign
from zmqp2p.ids import Address, ChannelId, InstanceId, Seq, StreamDigest, StreamId
from zmqp2p.persistence import (
    DropHandOver,
    DropHold,
    DropIssued,
    DropMessages,
    DropObjective,
    DropPeer,
    DropRefusals,
    DropUndelivered,
    Held,
    PastStream,
    PeerSnapshot,
    PutChainCursor,
    PutContact,
    PutCursor,
    PutHandOver,
    PutHold,
    PutIncarnation,
    PutIssued,
    PutMessage,
    PutObjective,
    PutOutStream,
    PutPastStream,
    PutPeerRun,
    PutRefusal,
    PutUndelivered,
    Snapshot,
    Write,
)
from zmqp2p.store import Store
from zmqp2p.store.statements import STATEMENTS

ALICE = Address(b"a" * 20)
BOB = Address(b"b" * 20)
CAROL = Address(b"c" * 20)
CHANNEL = ChannelId(b"\x01" * 32)
OTHER_CHANNEL = ChannelId(b"\x02" * 32)
STREAM = StreamId(b"s" * 16)
OTHER_STREAM = StreamId(b"t" * 16)
DIGEST = StreamDigest(b"d" * 16)
OTHER_DIGEST = StreamDigest(b"e" * 16)
HELD = Held(13, "why", Seq(3), Seq(9), Seq(4), DIGEST)
NOW_MS = 1_700_000_000_000


def reopened(store: Store) -> Snapshot:
    """Return what the store finds after a restart of its node."""
    store.close()
    return store.open(ALICE, NOW_MS)


def written(store: Store, *writes: Write) -> Snapshot:
    """Return what a new store finds after one commit of ``writes`` and a restart."""
    store.open(ALICE, NOW_MS)
    store.apply(writes)
    store.commit()
    return reopened(store)


def messages(numbers: Sequence[int], peer: Address = BOB) -> list[Write]:
    """Return messages whose bodies tell their numbers."""
    return [PutMessage(peer, Seq(number), b"body %d" % number) for number in numbers]


def test_a_new_store_is_empty_and_takes_the_time_as_its_incarnation(store: Store) -> None:
    assert store.open(ALICE, NOW_MS) == Snapshot(incarnation=NOW_MS)


@pytest.mark.parametrize("later_ms", [NOW_MS + 60_000, NOW_MS, 5])
def test_each_opening_is_one_incarnation_later_whatever_the_clock_says(
    store: Store, later_ms: int
) -> None:
    """By the clock, a store restored from an old copy would look newer than it is."""
    store.open(ALICE, NOW_MS)
    store.close()
    assert store.open(ALICE, later_ms).incarnation == NOW_MS + 1
    store.close()
    assert store.open(ALICE, later_ms).incarnation == NOW_MS + 2


def test_the_incarnation_is_kept_though_the_run_wrote_nothing_and_was_rolled_back(
    store: Store,
) -> None:
    store.open(ALICE, NOW_MS)
    store.rollback()
    assert reopened(store).incarnation == NOW_MS + 1


def test_a_store_of_another_identity_is_refused_and_both_are_named(store: Store) -> None:
    store.open(ALICE, NOW_MS)
    store.close()
    with pytest.raises(StoreForeign, match=f"belongs to 0x{ALICE.hex()}.*0x{BOB.hex()}"):
        store.open(BOB, NOW_MS)
    assert store.open(ALICE, NOW_MS).incarnation == NOW_MS + 1  # The attempt changed nothing.


def test_an_owner_that_is_no_address_is_refused(store: Store) -> None:
    with pytest.raises(StoreError, match="cannot open"):
        store.open(Address(b"short"), NOW_MS)
    assert store.open(ALICE, NOW_MS).incarnation == NOW_MS


def test_a_store_cannot_be_opened_twice(store: Store) -> None:
    store.open(ALICE, NOW_MS)
    with pytest.raises(LocalError, match="open already"):
        store.open(ALICE, NOW_MS)


def test_every_kind_of_write_has_its_statements() -> None:
    assert {*STATEMENTS, PutMessage} == set(get_args(Write))  # Those are put many at a time.


def test_everything_written_of_a_peer_is_found_again(store: Store) -> None:
    snapshot = written(
        store,
        PutContact(BOB, "zp2p:bob", dial=True),
        PutOutStream(BOB, STREAM),
        *messages(range(1, 6)),
        DropMessages(BOB, Seq(2), DIGEST),
        PutCursor(BOB, OTHER_STREAM, Seq(9), OTHER_DIGEST, Seq(7)),
        PutRefusal(BOB, Seq(8), 4, "wrong turn"),
        PutPeerRun(BOB, 77, InstanceId(b"instance")),
        PutHold(BOB, HELD),
    )
    expected = PeerSnapshot(
        contact="zp2p:bob",
        dial=True,
        out_stream=STREAM,
        acked=Seq(2),
        acked_digest=DIGEST,
        messages=[(Seq(3), b"body 3"), (Seq(4), b"body 4"), (Seq(5), b"body 5")],
        in_stream=OTHER_STREAM,
        cursor=Seq(9),
        cursor_digest=OTHER_DIGEST,
        in_base=Seq(7),
        refusals=[(Seq(8), 4, "wrong turn")],
        incarnation=77,
        instance=InstanceId(b"instance"),
        held=HELD,
    )
    assert snapshot.peers == {BOB: expected}
    assert snapshot.peers[BOB].dial is True


def test_of_a_peer_that_is_dropped_nothing_is_found_again(store: Store) -> None:
    """Another one, whose row may have its number, has nothing of it; nor has itself, come again."""
    written(
        store,
        PutContact(BOB, "zp2p:bob", dial=True),
        PutOutStream(BOB, STREAM),
        *messages(range(1, 6)),
        DropMessages(BOB, Seq(2), DIGEST),
        PutUndelivered(STREAM, Seq(2), 4, "no"),
        DropUndelivered(STREAM, Seq(1)),
        PutPastStream(OTHER_STREAM, PastStream(BOB, Seq(1), Seq(2))),
        PutUndelivered(OTHER_STREAM, Seq(1), 4, "no"),
        PutCursor(BOB, OTHER_STREAM, Seq(9), OTHER_DIGEST, Seq(7)),
        PutRefusal(BOB, Seq(8), 4, "wrong turn"),
        PutHold(BOB, HELD),
    )
    store.apply([PutCursor(BOB, STREAM, Seq(1), DIGEST), *messages(range(3, 4), peer=CAROL)])
    store.apply(
        [
            DropPeer(BOB),
            PutOutStream(CAROL, OTHER_STREAM),
            PutContact(CAROL, "zp2p:carol", dial=False),
        ]
    )
    store.apply([DropPeer(BOB)])  # Not there any more.
    store.commit()
    found = reopened(store)
    assert found.peers == {CAROL: PeerSnapshot(contact="zp2p:carol", out_stream=OTHER_STREAM)}
    assert (found.undelivered, found.floors, found.past_streams) == ([], {}, {})


def test_everything_written_of_the_node_is_found_again(store: Store) -> None:
    snapshot = written(
        store,
        PutIssued(NOW_MS + 1),
        PutIssued(NOW_MS),
        PutHandOver(BOB, CAROL),
        PutChainCursor(12),
        PutObjective(CHANNEL, b"one"),
        PutObjective(OTHER_CHANNEL, b"two"),
    )
    assert snapshot == Snapshot(
        NOW_MS + 1,
        12,
        issued_ms=[NOW_MS, NOW_MS + 1],
        hand_overs={BOB: CAROL},
        objectives={CHANNEL: b"one", OTHER_CHANNEL: b"two"},
    )


def test_what_the_node_need_not_remember_is_forgotten(store: Store) -> None:
    snapshot = written(
        store,
        PutIssued(1),
        PutIssued(2),
        PutIssued(2),
        DropIssued(1),
        DropIssued(3),
        PutHandOver(BOB, CAROL),
        PutHandOver(CAROL, BOB),
        PutHandOver(CAROL, ALICE),
        DropHandOver(BOB),
        DropHandOver(ALICE),
    )
    assert snapshot.issued_ms == [2]
    assert snapshot.hand_overs == {CAROL: ALICE}


def test_a_contact_is_replaced(store: Store) -> None:
    snapshot = written(store, PutContact(BOB, "old", dial=True), PutContact(BOB, "new", dial=False))
    assert snapshot.peers == {BOB: PeerSnapshot(contact="new")}


def test_peers_are_kept_apart(store: Store) -> None:
    snapshot = written(
        store,
        *messages([1, 2], BOB),
        *messages([1, 2], CAROL),
        PutRefusal(BOB, Seq(1), 1, "b"),
        PutRefusal(CAROL, Seq(1), 1, "c"),
        DropMessages(BOB, Seq(2), DIGEST),
        DropRefusals(CAROL, Seq(1)),
    )
    assert snapshot.peers[BOB] == PeerSnapshot(
        acked=Seq(2), acked_digest=DIGEST, refusals=[(Seq(1), 1, "b")]
    )
    assert snapshot.peers[CAROL].messages == [(1, b"body 1"), (2, b"body 2")]
    assert snapshot.peers[CAROL].refusals == []


def test_a_new_out_stream_starts_with_nothing_sent_and_nothing_acknowledged(store: Store) -> None:
    snapshot = written(
        store,
        PutOutStream(BOB, STREAM),
        *messages([1, 2, 3]),
        *messages([1], CAROL),
        DropMessages(BOB, Seq(1), DIGEST),
        PutOutStream(BOB, OTHER_STREAM),
    )
    assert snapshot.peers[BOB] == PeerSnapshot(out_stream=OTHER_STREAM)
    assert snapshot.peers[CAROL].messages == [(1, b"body 1")]


def test_messages_of_a_new_out_stream_count_from_one_again(store: Store) -> None:
    """The old messages must be gone before, not after, the new ones come in the same turn."""
    snapshot = written(
        store, *messages([1, 2]), PutOutStream(BOB, STREAM), PutMessage(BOB, Seq(1), b"new")
    )
    assert snapshot.peers[BOB].messages == [(1, b"new")]


def test_a_cursor_in_a_new_stream_replaces_that_in_the_old(store: Store) -> None:
    snapshot = written(
        store,
        PutCursor(BOB, STREAM, Seq(100), DIGEST, Seq(50)),
        PutCursor(BOB, OTHER_STREAM, Seq(1), OTHER_DIGEST),
    )
    assert snapshot.peers[BOB] == PeerSnapshot(
        in_stream=OTHER_STREAM, cursor=Seq(1), cursor_digest=OTHER_DIGEST
    )


def test_a_hold_is_replaced_by_the_next_and_ends(store: Store) -> None:
    """RES-7: there is one for each peer, the newest."""
    newer = Held(13, "why now")
    snapshot = written(
        store,
        *[PutHold(peer, HELD) for peer in (ALICE, BOB, CAROL)],
        PutHold(BOB, newer),
        DropHold(CAROL),
        DropHold(CAROL),
    )
    held = {peer: memory.held for peer, memory in snapshot.peers.items()}
    assert held == {ALICE: HELD, BOB: newer, CAROL: None}


def test_the_incarnation_may_be_set(store: Store) -> None:
    """A store that begins anew with a peer must be later than the one it replaces."""
    assert written(store, PutIncarnation(NOW_MS + 500)).incarnation == NOW_MS + 501


def test_messages_and_refusals_come_back_in_ascending_order(store: Store) -> None:
    refusals = [PutRefusal(BOB, Seq(number), 1, "") for number in (300, 2, 10)]
    snapshot = written(store, *messages([300, 2, 10]), *refusals)
    assert [seq for seq, _ in snapshot.peers[BOB].messages] == [2, 10, 300]
    assert [seq for seq, _, _ in snapshot.peers[BOB].refusals] == [2, 10, 300]


def test_a_refusal_of_the_same_number_replaces_the_old(store: Store) -> None:
    """Numbers start again in a peer's new stream."""
    snapshot = written(
        store, PutRefusal(BOB, Seq(1), 1, "old stream"), PutRefusal(BOB, Seq(1), 2, "new stream")
    )
    assert snapshot.peers[BOB].refusals == [(1, 2, "new stream")]


def test_heard_refusals_are_dropped_and_later_ones_kept(store: Store) -> None:
    refusals = [PutRefusal(BOB, Seq(number), 1, "") for number in (1, 2, 3)]
    snapshot = written(store, *refusals, DropRefusals(BOB, Seq(2)))
    assert snapshot.peers[BOB].refusals == [(3, 1, "")]


def test_an_objective_is_replaced_and_dropped(store: Store) -> None:
    snapshot = written(
        store,
        PutObjective(CHANNEL, b"one"),
        PutObjective(OTHER_CHANNEL, b"two"),
        PutObjective(CHANNEL, b"three"),
        DropObjective(OTHER_CHANNEL),
        DropObjective(ChannelId(b"\x03" * 32)),  # Never there: no error.
    )
    assert snapshot.objectives == {CHANNEL: b"three"}


def test_empty_and_large_bodies_and_any_text_are_kept_byte_for_byte(store: Store) -> None:
    large = bytes(range(256)) * 4096
    text = "z\u00fcrich \U0001f600 \x00 end"
    snapshot = written(
        store,
        PutMessage(BOB, Seq(1), b""),
        PutMessage(BOB, Seq(2), large),
        PutRefusal(BOB, Seq(1), 1, text),
    )
    assert snapshot.peers[BOB].messages == [(1, b""), (2, large)]
    assert snapshot.peers[BOB].refusals == [(1, 1, text)]


def test_writes_of_one_turn_take_effect_in_their_order(store: Store) -> None:
    snapshot = written(
        store,
        *messages([1, 2]),
        DropMessages(BOB, Seq(2), DIGEST),
        *messages([3]),
        PutObjective(CHANNEL, b"one"),
        DropObjective(CHANNEL),
        *messages([4]),
    )
    assert snapshot.peers[BOB].messages == [(3, b"body 3"), (4, b"body 4")]
    assert snapshot.objectives == {}


def test_what_was_not_committed_is_forgotten(store: Store) -> None:
    store.open(ALICE, NOW_MS)
    store.apply(messages([1]))
    store.commit()
    store.apply([*messages([2]), *messages([1], CAROL), PutIssued(5)])
    snapshot = reopened(store)
    assert snapshot.peers == {BOB: PeerSnapshot(messages=[(Seq(1), b"body 1")])}
    assert snapshot.issued_ms == []


def test_rollback_forgets_the_open_transaction_only(store: Store) -> None:
    store.open(ALICE, NOW_MS)
    store.apply(messages([1]))
    store.commit()
    store.apply(messages([2]))
    store.rollback()
    store.apply(messages([3]))
    store.commit()
    assert [seq for seq, _ in reopened(store).peers[BOB].messages] == [1, 3]


def test_a_peer_first_named_in_a_transaction_rolled_back_can_be_named_again(store: Store) -> None:
    """Its row went with the transaction; nothing may remember the row's number."""
    store.open(ALICE, NOW_MS)
    store.apply(messages([1], BOB))
    store.rollback()
    store.apply([*messages([7], CAROL), *messages([8], BOB)])
    store.commit()
    peers = reopened(store).peers
    assert peers[BOB].messages == [(8, b"body 8")]
    assert peers[CAROL].messages == [(7, b"body 7")]


def test_a_peer_first_named_after_the_savepoint_can_be_named_again(store: Store) -> None:
    store.open(ALICE, NOW_MS)
    store.savepoint()
    store.apply(messages([1], BOB))
    store.rollback_to_savepoint()
    store.apply([*messages([7], CAROL), *messages([8], BOB)])
    store.commit()
    peers = reopened(store).peers
    assert peers[BOB].messages == [(8, b"body 8")]
    assert peers[CAROL].messages == [(7, b"body 7")]


def test_rollback_to_the_savepoint_keeps_what_came_before_it(store: Store) -> None:
    """One handler that fails takes nothing of the handlers before it in the same turn along."""
    store.open(ALICE, NOW_MS)
    store.apply(messages([1]))
    store.savepoint()
    store.transaction.execute("CREATE TABLE app_notes (text TEXT)")
    store.apply(messages([2]))
    store.rollback_to_savepoint()
    store.apply(messages([3]))
    store.commit()
    with pytest.raises(StoreError, match="no such table"):
        store.transaction.execute("SELECT * FROM app_notes")
    assert [seq for seq, _ in reopened(store).peers[BOB].messages] == [1, 3]


def test_a_later_savepoint_replaces_the_earlier(store: Store) -> None:
    store.open(ALICE, NOW_MS)
    store.savepoint()
    store.apply(messages([1]))
    store.savepoint()
    store.apply(messages([2]))
    store.rollback_to_savepoint()
    store.apply(messages([3]))
    store.rollback_to_savepoint()  # The mark stays.
    store.commit()
    assert [seq for seq, _ in reopened(store).peers[BOB].messages] == [1]


@pytest.mark.parametrize("end", ["commit", "rollback", "close"])
def test_a_savepoint_ends_with_its_transaction(store: Store, end: str) -> None:
    store.open(ALICE, NOW_MS)
    store.savepoint()
    getattr(store, end)()
    if end == "close":
        store.open(ALICE, NOW_MS)
    with pytest.raises(LocalError, match="no savepoint"):
        store.rollback_to_savepoint()


def test_rollback_to_a_savepoint_never_set_is_refused(store: Store) -> None:
    store.open(ALICE, NOW_MS)
    store.apply(messages([1]))
    with pytest.raises(LocalError, match="no savepoint"):
        store.rollback_to_savepoint()


def test_commit_and_rollback_of_nothing_do_nothing(store: Store) -> None:
    store.open(ALICE, NOW_MS)
    store.apply([])
    store.commit()
    store.rollback()
    assert reopened(store) == Snapshot(NOW_MS + 1)


@pytest.mark.parametrize("count", [1, 2, 7, 63, 64, 65, 127, 200])
def test_many_messages_to_several_peers_are_stored_in_one_turn_each_as_it_is(
    store: Store, count: int
) -> None:
    """Runs go into the database many rows at a time: 64, and what is left by halves."""
    store.open(ALICE, NOW_MS)
    store.apply([PutOutStream(BOB, STREAM), PutOutStream(CAROL, OTHER_STREAM)])
    mixed = zip(messages(range(1, count + 1)), messages(range(1, count + 1), CAROL), strict=True)
    store.apply([write for both in mixed for write in both])
    store.commit()
    found = reopened(store).peers
    expected = tuple((Seq(number), b"body %d" % number) for number in range(1, count + 1))
    assert tuple(found[BOB].messages) == expected
    assert tuple(found[CAROL].messages) == expected


def test_of_many_messages_none_is_stored_if_one_has_a_number_that_is_used(store: Store) -> None:
    store.open(ALICE, NOW_MS)
    store.apply([PutOutStream(BOB, STREAM), *messages(range(70, 71))])
    store.commit()
    with pytest.raises(StoreError, match="cannot write"):
        store.apply(messages(range(1, 129)))
    store.rollback()
    assert tuple(reopened(store).peers[BOB].messages) == ((Seq(70), b"body 70"),)


def test_a_message_number_used_twice_is_refused_and_the_turn_cannot_be_committed(
    store: Store,
) -> None:
    """Half of a turn must never become durable, even if somebody swallows the error."""
    store.open(ALICE, NOW_MS)
    store.apply(messages([1]))
    store.commit()
    with pytest.raises(StoreError, match="cannot write"):
        store.apply([PutIssued(9), *messages([2, 1, 3])])
    with pytest.raises(StoreError, match="cannot write"):
        store.apply(messages([4]))
    with pytest.raises(StoreError, match="cannot write"):
        store.transaction.execute("SELECT 1")
    with pytest.raises(StoreError, match="cannot write"):
        store.savepoint()
    with pytest.raises(StoreError, match="cannot write"):
        store.commit()
    snapshot = reopened(store)
    assert snapshot.issued_ms == []
    assert snapshot.peers[BOB].messages == [(1, b"body 1")]


def test_a_lost_transaction_cannot_be_saved_by_its_savepoint(store: Store) -> None:
    store.open(ALICE, NOW_MS)
    store.savepoint()
    with pytest.raises(StoreError, match="cannot write"):
        store.apply(messages([1, 1]))
    with pytest.raises(StoreError, match="cannot write"):
        store.rollback_to_savepoint()


@pytest.mark.parametrize("by_commit", [False, True])
def test_the_store_is_usable_after_a_failed_write_was_rolled_back(
    store: Store, by_commit: bool
) -> None:
    store.open(ALICE, NOW_MS)
    with pytest.raises(StoreError):
        store.apply(messages([1, 1]))
    if by_commit:
        with pytest.raises(StoreError):
            store.commit()
    else:
        store.rollback()
    store.apply(messages([5]))
    store.commit()
    assert reopened(store).peers[BOB].messages == [(5, b"body 5")]


@pytest.mark.parametrize(
    "write",
    [
        PutPeerRun(BOB, 2**63, InstanceId(b"i" * 8)),
        PutCursor(BOB, STREAM, Seq(2**64 - 1), DIGEST),
        PutContact(BOB, "\ud800", dial=False),
    ],
)
def test_a_value_that_no_column_can_hold_is_a_store_error(store: Store, write: Write) -> None:
    store.open(ALICE, NOW_MS)
    with pytest.raises(StoreError, match="cannot write"):
        store.apply([write])


def test_the_largest_integers_are_kept(store: Store) -> None:
    snapshot = written(store, PutPeerRun(BOB, 2**63 - 1, InstanceId(b"i" * 8)))
    assert snapshot.peers[BOB].incarnation == 2**63 - 1


def test_a_store_that_is_not_open_refuses_to_work(store: Store) -> None:
    for use in (
        lambda: store.apply(messages([1])),
        store.commit,
        store.rollback,
        store.savepoint,
        lambda: store.transaction,
    ):
        with pytest.raises(StoreError, match="not open"):
            use()


def test_close_is_idempotent(store: Store) -> None:
    store.close()
    store.open(ALICE, NOW_MS)
    store.close()
    store.close()


def test_the_applications_tables_share_the_transaction(store: Store) -> None:
    store.open(ALICE, NOW_MS)
    transaction = store.transaction
    transaction.execute("CREATE TABLE app_orders (id INTEGER PRIMARY KEY, item TEXT)")
    assert transaction.execute("INSERT INTO app_orders (item) VALUES (?)", ("tea",)) == []
    store.apply(messages([1]))
    store.commit()
    store.transaction.execute("INSERT INTO app_orders (item) VALUES (?)", ("milk",))
    store.apply(messages([2]))
    snapshot = reopened(store)
    assert store.transaction.execute("SELECT id, item FROM app_orders") == [(1, "tea")]
    assert [seq for seq, _ in snapshot.peers[BOB].messages] == [1]


@pytest.mark.parametrize("end", ["commit", "rollback", "close"])
def test_a_transaction_that_is_over_refuses_to_work(store: Store, end: str) -> None:
    """A handler that keeps it would write into the turn of another handler."""
    store.open(ALICE, NOW_MS)
    kept = store.transaction
    kept.execute("SELECT 1")
    getattr(store, end)()
    with pytest.raises(LocalError, match="over"):
        kept.execute("SELECT 1")


def test_a_transaction_of_an_earlier_opening_is_over(store: Store) -> None:
    store.open(ALICE, NOW_MS)
    kept = store.transaction
    reopened(store)
    with pytest.raises(LocalError, match="over"):
        kept.execute("SELECT 1")


def test_a_transaction_handed_out_before_anything_was_written_serves(store: Store) -> None:
    store.open(ALICE, NOW_MS)
    early = store.transaction
    store.apply(messages([1]))
    store.savepoint()
    early.execute("CREATE TABLE app_x (a)")
    store.rollback_to_savepoint()
    early.execute("CREATE TABLE app_x (a)")
    store.commit()
    assert store.transaction.execute("SELECT * FROM app_x") == []


def numbers_of(snapshot: Snapshot) -> list[int]:
    """Return the numbers of the messages to Bob that wait."""
    return [seq for seq, _body in snapshot.peers[BOB].messages]


def test_messages_of_an_earlier_opening_are_dropped_as_any_others(store: Store) -> None:
    written(store, *messages(range(4, 9)))
    store.apply([DropMessages(BOB, Seq(6), DIGEST), *messages([9])])
    store.commit()
    assert numbers_of(reopened(store)) == [7, 8, 9]


def test_of_numbers_with_gaps_those_up_to_the_last_are_dropped(store: Store) -> None:
    snapshot = written(
        store, *messages([300, 5, 7]), *messages([2]), DropMessages(BOB, Seq(200), DIGEST)
    )
    assert numbers_of(snapshot) == [300]


def test_a_number_below_those_that_wait_is_dropped_too(store: Store) -> None:
    """A store does not mind; only sessions count on."""
    snapshot = written(
        store, *messages([5, 6, 7]), *messages([3]), DropMessages(BOB, Seq(4), DIGEST)
    )
    assert numbers_of(snapshot) == [5, 6, 7]


@pytest.mark.parametrize(
    "write", [DropMessages(BOB, Seq(2), DIGEST), PutOutStream(BOB, OTHER_STREAM)]
)
@pytest.mark.parametrize("to_the_mark", [False, True])
def test_messages_that_are_gone_come_back_with_the_transaction(
    store: Store, write: Write, *, to_the_mark: bool
) -> None:
    before = PutOutStream(BOB, STREAM), *messages([1, 2, 3]), DropMessages(BOB, Seq(1), DIGEST)
    written(store, *before)
    store.savepoint()
    store.apply([write, *messages([4])])
    if to_the_mark:
        store.rollback_to_savepoint()
    else:
        store.rollback()
    store.apply([DropMessages(BOB, Seq(2), OTHER_DIGEST), *messages([4])])
    store.commit()
    peer = reopened(store).peers[BOB]
    assert (peer.out_stream, peer.acked, peer.acked_digest) == (STREAM, 2, OTHER_DIGEST)
    assert peer.messages == [(3, b"body 3"), (4, b"body 4")]


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_a_mark_is_over_with_its_transaction(store: Store, end: str) -> None:
    store.open(ALICE, NOW_MS)
    store.apply(messages([1]))
    store.savepoint()
    getattr(store, end)()
    store.apply(messages([2]))
    with pytest.raises(LocalError, match="no savepoint"):
        store.rollback_to_savepoint()
    store.commit()
    assert numbers_of(reopened(store))[-1] == 2


@pytest.mark.parametrize(
    "write", [PutMessage(BOB, Seq(2**63), b""), DropMessages(BOB, Seq(2**63), DIGEST)]
)
def test_a_number_that_no_column_can_hold_is_a_store_error(store: Store, write: Write) -> None:
    store.open(ALICE, NOW_MS)
    with pytest.raises(StoreError, match="cannot write"):
        store.apply([write])


def test_what_was_dropped_before_anything_was_sent_is_remembered(store: Store) -> None:
    snapshot = written(store, DropMessages(BOB, Seq(7), DIGEST))
    assert snapshot.peers[BOB] == PeerSnapshot(acked=Seq(7), acked_digest=DIGEST)


def test_a_number_that_was_dropped_may_be_given_again(store: Store) -> None:
    snapshot = written(store, DropMessages(BOB, Seq(5), DIGEST), *messages([3]))
    assert numbers_of(snapshot) == [3]
    assert snapshot.peers[BOB].acked == 5
