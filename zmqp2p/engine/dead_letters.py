"""Messages whose handler failed on every attempt: refused to their sender, and kept for a person.

Held in memory and in the store, both within the same bounds.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from zmqp2p.engine.instant import Instant
from zmqp2p.engine.outcomes import message_id, place_of
from zmqp2p.engine.output import EngineOutput
from zmqp2p.engine.router import Route, ToSubscriber
from zmqp2p.errors import DecodeError, LocalError, UnknownMessage
from zmqp2p.events import MessageFailed
from zmqp2p.ids import Address, MessageId, Seq, StreamId
from zmqp2p.limits import ERROR_MAX_BYTES, Limits
from zmqp2p.messages import decode_message
from zmqp2p.persistence import DropDeadLetter, FailedMessage, PutDeadLetter


@dataclass(frozen=True, slots=True)
class Redriven:
    """A dead letter that is handed to the application again."""

    message_id: MessageId
    failed: FailedMessage
    message: object
    subscription: int

    @property
    def sender(self) -> Address:
        """Who sent it."""
        return self.failed.sender

    @property
    def stream(self) -> StreamId:
        """The sender's stream at that time."""
        return self.failed.stream

    @property
    def seq(self) -> Seq:
        """Its number there."""
        return self.failed.seq

    @property
    def body(self) -> bytes:
        """Its encoding."""
        return self.failed.body

    @property
    def attempt(self) -> int:
        """Counts on from those that failed."""
        return self.failed.attempts + 1


class DeadLetters:
    """The dead letters of a node, oldest first.

    Invariant: within the limits, of each sender, of guests together, and in all.
    """

    def __init__(
        self,
        limits: Limits,
        output: EngineOutput,
        clock: Instant,
        route: Callable[[object], Route],
        is_guest: Callable[[Address], bool],
    ) -> None:
        self._limits = limits
        self._output = output
        self._clock = clock
        self._route = route  # Who gets a message now.
        self._is_guest = is_guest  # Whether a sender came by itself.
        self._letters: dict[MessageId, FailedMessage] = {}
        self._messages: Counter[Address] = Counter()
        self._bytes: Counter[Address] = Counter()
        self._total_bytes = 0

    def load(self, letters: Mapping[MessageId, FailedMessage]) -> None:
        """Take up what an earlier run has kept, even if that is more than the limits say now."""
        for letter_id, letter in letters.items():
            self._add(letter_id, letter)

    def bury(self, letter: FailedMessage) -> None:
        """Keep a message that has failed for good, if there is room; tell of it."""
        letter = replace(letter, error=_clip(letter.error))
        letter_id = message_id(letter.stream, letter.seq, letter.body)
        kept = letter_id not in self._letters and self._fits(letter)
        if kept:
            self._add(letter_id, letter)
            self._output.writes.append(PutDeadLetter(letter_id, letter))
        told = MessageFailed(letter.sender, letter_id, letter.error, kept)
        self._output.events.append(told)

    def redrive(self, letter_id: MessageId) -> Redriven:
        """Return a letter to be handled again; then say `remove`, or `failed_again`.

        Raises:
            UnknownMessage: there is none with this id.
            LocalError: nobody handles such messages now.
        """
        failed = self.get(letter_id)
        try:
            message = decode_message(failed.body).message
        except DecodeError as fault:
            raise LocalError(f"the dead letter cannot be read now: {fault}") from None
        route = self._route(message)
        if not isinstance(route, ToSubscriber):
            raise LocalError(f"nobody has subscribed to {type(message).__name__}")
        return Redriven(letter_id, failed, message, route.key)

    def failed_again(self, letter: Redriven, error: str) -> None:
        """The application has failed once more, with ``error``; the letter stays in its place."""
        failed = replace(
            letter.failed, attempts=letter.attempt, error=_clip(error), at_ms=self._clock.utc_ms
        )
        self._letters[letter.message_id] = failed
        self._output.writes.append(PutDeadLetter(letter.message_id, failed))

    def remove(self, letter_id: MessageId) -> None:
        """Forget a letter: it was processed after all, or is not wanted."""
        letter = self.get(letter_id)
        del self._letters[letter_id]
        self._messages[letter.sender] -= 1
        self._bytes[letter.sender] -= len(letter.body)
        self._total_bytes -= len(letter.body)
        if not self._messages[letter.sender]:
            del self._messages[letter.sender], self._bytes[letter.sender]
        self._output.writes.append(DropDeadLetter(letter_id))

    def get(self, letter_id: MessageId) -> FailedMessage:
        """Return a letter; raises UnknownMessage, or InvalidValue for what is no id."""
        place_of(letter_id)
        letter = self._letters.get(letter_id)
        if letter is None:
            raise UnknownMessage("there is no dead letter with this id")
        return letter

    def all(self) -> Mapping[MessageId, FailedMessage]:
        """Return all letters, oldest first; a view."""
        return MappingProxyType(self._letters)

    def check(self) -> None:
        """Assert the invariant, but that a node may start with more than its limits."""
        assert self._messages == Counter(letter.sender for letter in self._letters.values())
        assert self._total_bytes == sum(self._bytes.values())
        assert self._total_bytes == sum(len(letter.body) for letter in self._letters.values())

    def _add(self, letter_id: MessageId, letter: FailedMessage) -> None:
        self._letters[letter_id] = letter
        self._messages[letter.sender] += 1
        self._bytes[letter.sender] += len(letter.body)
        self._total_bytes += len(letter.body)

    def _fits(self, letter: FailedMessage) -> bool:
        limits, size = self._limits, len(letter.body)
        return self._fits_guests(letter) and (
            self._messages[letter.sender] < limits.dead_letters_max_messages
            and self._bytes[letter.sender] + size <= limits.dead_letters_max_bytes
            and len(self._letters) < limits.dead_letters_total_max_messages
            and self._total_bytes + size <= limits.dead_letters_total_max_bytes
        )

    def _fits_guests(self, letter: FailedMessage) -> bool:
        """Whether guests have room for it: one may be many, and make handlers fail as he likes."""
        if not self._is_guest(letter.sender):
            return True
        guests = [sender for sender in self._messages if self._is_guest(sender)]
        size_bytes = len(letter.body) + sum(self._bytes[sender] for sender in guests)
        return (
            sum(self._messages[sender] for sender in guests)
            < self._limits.dead_letters_guests_max_messages
            and size_bytes <= self._limits.dead_letters_guests_max_bytes
        )


def _clip(error: str) -> str:
    """Return ``error`` cut to what is kept, and made of what every store can hold."""
    return error.encode(errors="replace")[:ERROR_MAX_BYTES].decode(errors="ignore")
