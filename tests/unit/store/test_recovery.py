"""What became of the messages of a held session, where it can be told, and the new beginning."""

from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from zmqp2p.cli.commands import cli
from zmqp2p.codes import ByeCode
from zmqp2p.crypto import next_digest
from zmqp2p.errors import LocalError, StoreForeign
from zmqp2p.ids import Address, Seq, StreamDigest, StreamId, address_text
from zmqp2p.limits import PAST_STREAMS_MAX
from zmqp2p.persistence import (
    DropMessages,
    Held,
    PastStream,
    PutCursor,
    PutHold,
    PutMessage,
    PutOutStream,
    PutRefusal,
    Snapshot,
)
from zmqp2p.store.recovery import Fate, Pending, begin_anew, losses
from zmqp2p.store.sqlite import SqliteStore

OWNER, PEER = Address(b"o" * 20), Address(b"p" * 20)
OUT, IN = StreamId(b"s" * 16), StreamId(b"t" * 16)
BODIES = [b"one", b"two", b"three", b"four"]
NOW_MS = 1_800_000_000_000


def digest_at(number: int) -> StreamDigest:
    digest = StreamDigest(OUT)
    for body in BODIES[:number]:
        digest = next_digest(digest, body)
    return digest


def held_of(
    *, base: int = 1, cursor: int = 0, digest: bytes = b"", reason: str = "rolled back"
) -> Held:
    return Held(
        ByeCode.DATA_LOSS.value, reason, Seq(base), Seq(9), Seq(cursor), StreamDigest(digest)
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store that has sent four messages, the first of them acked, and processed two."""
    store = SqliteStore(tmp_path / "a.db")
    store.open(OWNER, 1)
    with closing(store):
        sent = [PutMessage(PEER, Seq(n), body) for n, body in enumerate(BODIES, start=1)]
        store.apply([PutOutStream(PEER, OUT), *sent])
        store.apply([DropMessages(PEER, Seq(1), digest_at(1))])
        store.apply([PutCursor(PEER, IN, Seq(2), StreamDigest(b"d" * 16), Seq(3))])
        store.apply([PutRefusal(PEER, Seq(2), 6, "no")])
        store.commit()
    return tmp_path / "a.db"


def hold(path: Path, held: Held) -> None:
    store = SqliteStore(path)
    store.open(OWNER, 1)
    with closing(store):
        store.apply([PutHold(PEER, held)])
        store.commit()


def reopened(path: Path) -> Snapshot:
    store = SqliteStore(path)
    with closing(store):
        return store.open(OWNER, 1)


def test_a_store_without_a_hold_misses_nothing(path: Path) -> None:
    assert losses(path) == []
    with pytest.raises(LocalError, match="not held"):
        begin_anew(path, PEER, Pending.DROP, now_ms=NOW_MS)


@pytest.mark.parametrize(
    ("held", "fates"),
    [
        (held_of(), [Fate.UNKNOWN] * 3),  # It said nothing of this stream.
        (held_of(cursor=1, digest=digest_at(1)), [Fate.UNPROCESSED] * 3),
        (
            held_of(cursor=3, digest=digest_at(3)),
            [Fate.PROCESSED, Fate.PROCESSED, Fate.UNPROCESSED],
        ),
        (held_of(cursor=3, digest=b"x" * 16), [Fate.UNKNOWN, Fate.UNKNOWN, Fate.UNPROCESSED]),
        (held_of(cursor=7, digest=b"x" * 16), [Fate.UNKNOWN] * 3),
        (held_of(cursor=0, digest=OUT), [Fate.UNPROCESSED] * 3),  # The peer was rolled back.
    ],
)
def test_what_became_of_what_waits_is_told_where_it_is_certain(
    path: Path, held: Held, fates: list[Fate]
) -> None:
    hold(path, held)
    (loss,) = losses(path)
    assert [message.fate for message in loss.pending] == fates
    assert [message.seq for message in loss.pending] == [2, 3, 4]


def test_what_is_missing_is_told_by_number(path: Path) -> None:
    hold(path, held_of(base=6, cursor=7, digest=b"x" * 16))
    (loss,) = losses(path)
    assert (list(loss.lost), list(loss.forgotten), list(loss.lost_by_peer)) == (
        [3, 4, 5],
        [5, 6, 7],
        [],
    )
    hold(path, held_of(cursor=0, digest=OUT))
    (loss,) = losses(path)
    assert (list(loss.lost), list(loss.forgotten), list(loss.lost_by_peer)) == ([], [], [1])


@pytest.mark.parametrize(("pending", "bodies"), [(Pending.RESEND, [b"four"]), (Pending.DROP, [])])
def test_a_new_beginning_keeps_what_the_peer_lacks_if_told(
    path: Path, pending: Pending, bodies: list[bytes]
) -> None:
    hold(path, held_of(base=4, cursor=3, digest=digest_at(3)))
    begin_anew(path, PEER, pending, now_ms=NOW_MS)
    memory = reopened(path).peers[PEER]
    assert memory.held is None
    assert memory.out_stream not in (b"", OUT)
    assert (memory.acked, memory.acked_digest) == (0, b"")
    assert memory.messages == [(n, body) for n, body in enumerate(bodies, start=1)]
    assert (memory.in_stream, memory.cursor, memory.in_base) == (b"", 0, 1)
    assert memory.refusals == []
    assert reopened(path).incarnation > NOW_MS


def test_a_store_that_is_ahead_of_the_clock_keeps_its_incarnation(path: Path) -> None:
    hold(path, held_of())
    before = reopened(path).incarnation
    begin_anew(path, PEER, Pending.DROP, now_ms=0)
    assert reopened(path).incarnation > before


def test_an_empty_file_is_nobodys_store(tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    with pytest.raises(StoreForeign, match="nobody"):
        losses(tmp_path / "empty.db")


def test_what_a_peer_wrote_is_shown_without_control_characters(path: Path) -> None:
    hold(path, held_of(reason="gone\x1b[2J"))
    shown = CliRunner().invoke(cli, ["recover", str(path)]).output
    assert "gone\\x1b[2J" in shown
    assert "\x1b" not in shown


def test_a_long_queue_is_shown_in_part(path: Path) -> None:
    store = SqliteStore(path)
    store.open(OWNER, 1)
    with closing(store):
        store.apply([PutMessage(PEER, Seq(n), b"\x00") for n in range(5, 100)])
        store.commit()
    hold(path, held_of())
    shown = CliRunner().invoke(cli, ["recover", str(path)]).output
    assert shown.count("waiting: message") == 64
    assert "waiting: and 34 more" in shown
    begun = CliRunner().invoke(
        cli, ["recover", str(path), "--new-stream", address_text(PEER), "--pending", "drop"]
    )
    assert "98 dropped" in begun.output


@pytest.mark.parametrize("held", [held_of(), held_of(cursor=3, digest=digest_at(3))])
def test_receipts_of_the_stream_that_is_given_up_can_still_be_asked_for(
    path: Path, held: Held
) -> None:
    """Of what was pending nobody knows whether the peer has refused it."""
    hold(path, held)
    begin_anew(path, PEER, Pending.DROP, now_ms=NOW_MS)
    assert reopened(path).past_streams == {OUT: PastStream(PEER, Seq(1), Seq(4))}


@pytest.mark.parametrize("base", [0, 1, 3])
def test_a_stream_that_still_reaches_this_store_is_gone_on_with(path: Path, base: int) -> None:
    """Begun anew at the peer's base it would be processed twice: at the side that is intact."""
    hold(path, held_of(base=base))
    before = reopened(path).peers[PEER]
    begin_anew(path, PEER, Pending.DROP, now_ms=NOW_MS)
    memory = reopened(path).peers[PEER]
    assert (memory.in_stream, memory.cursor, memory.cursor_digest) == (IN, 2, b"d" * 16)
    assert memory.refusals == before.refusals


def test_of_the_streams_that_were_given_up_the_newest_are_kept(path: Path) -> None:
    given_up = []
    for _ in range(PAST_STREAMS_MAX + 2):
        hold(path, held_of())
        given_up.append(reopened(path).peers[PEER].out_stream)
        begin_anew(path, PEER, Pending.DROP, now_ms=NOW_MS)
    assert list(reopened(path).past_streams) == given_up[2:]


def test_a_session_that_has_sent_nothing_leaves_no_past_stream(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "a.db")
    store.open(OWNER, 1)
    with closing(store):
        store.apply([PutHold(PEER, held_of())])
        store.commit()
    begin_anew(tmp_path / "a.db", PEER, Pending.DROP, now_ms=NOW_MS)
    assert reopened(tmp_path / "a.db").past_streams == {}
