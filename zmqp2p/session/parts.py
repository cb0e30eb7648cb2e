"""Messages too large for one body: cut into parts that follow each other in the stream (PRT-1).

A frame of 16 MiB would keep every other one waiting, PING and ACK among them. So a message goes as
several bodies, each with a number of its own. The receiver puts them together in memory and
processes the message under the number of its last part; the cursor never rests between two parts.
"""

from collections.abc import Mapping

from zmqp2p import codec, limits
from zmqp2p.errors import PeerError
from zmqp2p.ids import Seq
from zmqp2p.limits import PART_MAX_BYTES, PARTS_MAX

_TAG = 0  # No message has it.
_HEAD = b"\x93\x00"  # How the encoding of a part begins, and that of no message.


def split(body: bytes) -> list[bytes]:
    """Return the bodies that carry the message ``body``: itself, unless it is too large for one."""
    if len(body) <= limits.BODY_MAX_BYTES:
        return [body]
    starts = range(0, len(body), PART_MAX_BYTES)
    return [
        codec.encode_parts((_TAG, left, body[start : start + PART_MAX_BYTES]))
        for left, start in zip(reversed(range(len(starts))), starts, strict=True)
    ]


def space_of(size_bytes: int) -> tuple[int, int]:
    """Return how many bodies, of how many bytes in all, carry a message of ``size_bytes``."""
    if size_bytes <= limits.BODY_MAX_BYTES:
        return 1, size_bytes
    count = -(-size_bytes // PART_MAX_BYTES)
    last_bytes = size_bytes - (count - 1) * PART_MAX_BYTES
    chunks = [PART_MAX_BYTES] * (count - 1) + [last_bytes]
    heads = sum(
        len(_HEAD) + len(codec.encode_trusted(left)) + len(codec.bytes_head(chunk))
        for left, chunk in zip(reversed(range(count)), chunks, strict=True)
    )
    return count, size_bytes + heads


def is_part(body: bytes) -> bool:
    """Whether ``body`` claims to be a part of a message."""
    return body.startswith(_HEAD)


def parts_left(body: bytes) -> int:
    """Return how many parts of the same message follow on ``body``, one that `split` has made."""
    return _read(body)[0] if is_part(body) else 0


def reserve_bytes(body: bytes, most_bytes: int) -> int:
    """Return the room of the message that ``body`` begins, or is: 0 if it is not kept.

    Raises:
        PeerError: it claims to be a part and is none (PRT-1).
    """
    if not is_part(body):
        return len(body)
    left, _chunk = _read(body)
    return 0 if left * PART_MAX_BYTES > most_bytes else (left + 1) * PART_MAX_BYTES


def whole(bodies: Mapping[Seq, bytes], last: Seq) -> bytes:
    """Return the message whose last body has number ``last``, of those that `split` has made."""
    if not is_part(bodies[last]):
        return bodies[last]
    chunks: list[bytes] = []
    seq = last
    while seq in bodies and is_part(bodies[seq]):
        left, chunk = _read(bodies[seq])
        if left != len(chunks):
            break
        chunks.append(chunk)
        seq = Seq(seq - 1)
    return b"".join(reversed(chunks))


class Assembly:
    """The message whose parts are coming, if one is.

    Invariant: ``count`` parts of one message have come, at least one is missing; those of a
    message of more than ``most_bytes`` are not kept. While it is incomplete it takes the room of
    the whole, ``reserved_bytes``: or many of them could fill a room, and none be completed.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._chunks: list[bytes] = []
        self._left = 0  # Parts that are still to come.
        self.count = 0
        self.size_bytes = 0  # Of what is kept.
        self.reserved_bytes = 0
        self.too_large = False

    def add(self, body: bytes) -> bool:
        """Take in the next part; True if the message is complete, and `take` is to be called.

        Raises:
            PeerError: not the next part of this message (PRT-1); nothing changed.
        """
        left, chunk = _read(body)
        if self.count == 0 and not 1 <= left < PARTS_MAX:
            raise PeerError("PRT-1", f"a message of {left + 1} parts")
        if self.count and left != self._left - 1:
            raise PeerError("PRT-1", f"{left} parts left after {self._left}")
        if not chunk or (left and len(chunk) != PART_MAX_BYTES):
            raise PeerError("PRT-1", f"a part of {len(chunk)} bytes, {left} left")
        if self.count == 0:  # The first one tells; its last one may still make it too large.
            self.too_large = left * PART_MAX_BYTES > self._most_bytes
            self.reserved_bytes = 0 if self.too_large else (left + 1) * PART_MAX_BYTES
        self._left = left
        self.count += 1
        if not self.too_large:
            self._chunks.append(chunk)
            self.size_bytes += len(chunk)
        return left == 0

    def take(self) -> bytes | None:
        """Return the complete message, None if it was too large; and wait for another one."""
        assert self._left == 0
        body = None if self.too_large else b"".join(self._chunks)
        self.__init__(self._most_bytes)  # type: ignore[misc]  # As new.
        return body

    def check(self) -> None:
        """Assert the invariant."""
        assert self.size_bytes == sum(map(len, self._chunks))
        assert (self.count > 0) == (self._left > 0)
        assert self.too_large or len(self._chunks) == self.count
        assert self.size_bytes <= self.reserved_bytes


def _read(body: bytes) -> tuple[int, bytes]:
    value = codec.decode(body, depth_max=1)
    if type(value) is not tuple or len(value) != 3 or value[0] != _TAG:  # noqa: PLR2004  # [0, left, chunk]
        raise PeerError("PRT-1", "a message before the last part of the one before")
    left, chunk = value[1:]
    if type(left) is not int or left < 0 or type(chunk) is not bytes:
        raise PeerError("PRT-1", "a part is [0, parts left, bin]")
    return left, chunk
