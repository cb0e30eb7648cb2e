"""How much work a ZMTP message will be, at a glance, before anything of it is decoded.

What may be read in one turn is bounded by work, not by the number of messages: one message may hold
256 bodies or 256 KiB, and cost as much as a hundred others. An estimate is enough, but nobody may
look cheap and be dear: what a message claims is only believed up to what its bytes allow.
"""

from collections.abc import Sequence

from zmqp2p.limits import BATCH_MAX_MESSAGES

# Microseconds, measured on the project's reference machine (docs/adr/README.md).
FRAME_US = 25  # Read, decode a small header, take it in.
HELLO_US = 200  # Recover the signer of a record; answer.
_BODY_US = 2  # Decode, digest, keep.
_HEADER_BYTES_PER_US = 10  # MessagePack of many small items: the dearest bytes there are.
_BODY_BYTES_PER_US = 1_000  # Copied, and hashed for the stream's digest.

_HELLO_HEAD = b"\xdc\x00\x10\x02"  # An array of 16, that begins with the kind.
_ARRAY16, _ARRAY32 = 0xDC, 0xDD
_FIXARRAY, _FIXARRAY_MOST = 0x90, 0x0F


def work_us(parts: Sequence[bytes]) -> int:
    """Return about how many microseconds it takes to take in the ZMTP frames ``parts``."""
    header = parts[0]
    work = HELLO_US if header.startswith(_HELLO_HEAD) else FRAME_US
    work += len(header) // _HEADER_BYTES_PER_US
    if len(parts) > 1:
        work += _BODY_US * _claimed(parts[1]) + len(parts[1]) // _BODY_BYTES_PER_US
    return work


def read_us(parts: Sequence[bytes]) -> int:
    """Return about how many microseconds it takes to read ``parts`` and leave them for later."""
    return FRAME_US + sum(map(len, parts)) // _BODY_BYTES_PER_US


def _claimed(batch: bytes) -> int:
    """Return how many bodies ``batch`` claims to have, one for what is no array (as BULK)."""
    head = batch[:3]
    if not head:
        return 1
    if head[0] & ~_FIXARRAY_MOST == _FIXARRAY:
        claimed = head[0] & _FIXARRAY_MOST
    elif head[0] == _ARRAY16:
        claimed = int.from_bytes(head[1:])
    else:
        claimed = BATCH_MAX_MESSAGES if head[0] == _ARRAY32 else 1
    return min(claimed, BATCH_MAX_MESSAGES)
