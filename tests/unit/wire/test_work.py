"""How much work a message is, told from its first bytes."""

import pytest
from hypothesis import given

from tests.frames import STREAM, UNSAID, frames, progress_of
from zmqp2p import limits
from zmqp2p.ids import Seq
from zmqp2p.wire.encoding import encode_frame
from zmqp2p.wire.frames import Ack, Bulk, Data, Frame, Hello
from zmqp2p.wire.work import FRAME_US, HELLO_US, read_us, work_us


def data_of(*bodies: bytes) -> Data:
    """Return DATA with ``bodies``."""
    return Data(Seq(1), UNSAID, progress_of(), bodies)


@pytest.mark.parametrize(
    ("frame", "least", "most"),
    [
        (Ack(progress_of()), FRAME_US, FRAME_US + 10),
        (data_of(b"x"), FRAME_US + 2, FRAME_US + 20),
        (data_of(*[b"x"] * 15), FRAME_US + 30, FRAME_US + 50),
        (data_of(*[b"x"] * 16), FRAME_US + 32, FRAME_US + 50),
        (data_of(*[b"x"] * 256), FRAME_US + 512, FRAME_US + 530),
        (Bulk(Seq(1), UNSAID, progress_of(), bytes(limits.BODY_MAX_BYTES)), 270, 300),
    ],
    ids=["ack", "one", "fifteen", "sixteen", "batch", "bulk"],
)
def test_work_follows_what_a_frame_holds(frame: Frame, least: int, most: int) -> None:
    assert least <= work_us(encode_frame(frame)) <= most


@given(frames)
def test_each_hello_and_nothing_else_costs_a_signature(frame: Frame) -> None:
    work = work_us(encode_frame(frame))
    if isinstance(frame, Hello):
        assert work >= HELLO_US
    else:
        assert work < HELLO_US


@pytest.mark.parametrize(
    ("batch", "bodies"),
    [
        (b"", 1),
        (STREAM, 1),
        (b"\xdc\xff\xff", 256),
        (b"\xdc", 0),
        (b"\xdd\xff\xff\xff\xff", 256),
        (b"\xdd\x00\x00\x00\x01", 256),
        (b"\x90", 0),
    ],
)
def test_what_a_batch_claims_counts_up_to_what_is_permitted(batch: bytes, bodies: int) -> None:
    """A claim that is too large is refused, and costs nothing more than the largest permitted."""
    assert work_us((b"\x91\x04", batch)) == FRAME_US + 2 * bodies


def test_a_header_of_many_small_items_is_dear() -> None:
    assert work_us((b"\x91" * limits.HEADER_MAX_BYTES,)) > 6_000


def test_to_read_a_frame_costs_by_its_bytes_whatever_it_holds() -> None:
    assert read_us((b"\x91\x04", b"\xdc\x01\x00" + b"\x90" * 256)) == FRAME_US
    assert read_us((b"", bytes(250_000))) == FRAME_US + 250
