"""The node under attack: a process of its own, so that what it costs can be read from outside.

Its one argument is a `Setting` as JSON. It prints its record, and then answers each line of its
input with one line of JSON: ``report``, ``mail ADDRESS COUNT`` (send so many notes) or ``add
CONTACT``. Ends when its input ends.
"""

import json
import resource
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.real.parties import Note
from zmqp2p import Delivery, Identity, Limits, P2PService
from zmqp2p.events import Event, LinkRefused, PeerDisconnected
from zmqp2p.ids import Address, address_text
from zmqp2p.records import parse_address

EXAMPLES_MAX = 20  # Of events, of each name.
PEERS_MAX = 100  # In a report.


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What the victim is to be."""

    key: str
    store: str
    endpoint: str = "tcp://127.0.0.1:0"
    security: str = "curve"
    descriptors: int = 0  # That it may have open, if not as many as the system lets it.
    limits: dict[str, Any] = field(default_factory=dict)

    def to_text(self) -> str:
        return json.dumps(asdict(self))


class Victim:
    """Counts what comes, by sender, and what it is told."""

    def __init__(self, setting: Setting) -> None:
        self._heard: dict[Address, list[int]] = {}  # How many, the last number, how many amiss.
        self._events: Counter[str] = Counter()
        self._examples: dict[str, list[str]] = {}
        self.service = P2PService(
            setting.endpoint,
            identity=Identity.load_or_create(setting.key),
            store=setting.store,
            security=setting.security,
            limits=Limits(**setting.limits),
        )
        self.service.on_event(self._note_event)
        self.service.on_message(self._take, message_type=Note)

    def obey(self, line: str) -> dict[str, Any]:
        """Do what a line of input says, and return the answer."""
        command, *words = line.split()
        if command == "mail":
            peer = parse_address(words[0])
            for number in range(int(words[1])):
                self.service.send_message(peer, Note(number, "x" * 300))
            return {}
        if command == "add":
            self.service.add_peer(words[0])
            return {}
        return self._report()

    def _report(self) -> dict[str, Any]:
        peers = self.service.peers()
        return {
            "heard": {address_text(peer): counts for peer, counts in self._heard.items()},
            "events": dict(self._events),
            "examples": self._examples,
            "peers": {address_text(one.address): one.why_not for one in peers[:PEERS_MAX]},
            "peers_known": len(peers),
        }

    def _take(self, delivery: Delivery) -> None:
        counts = self._heard.setdefault(delivery.sender, [0, -1, 0])
        number = delivery.message.number
        counts[0] += 1
        counts[2] += number != counts[1] + 1
        counts[1] = number

    def _note_event(self, event: Event) -> None:
        name = type(event).__name__
        if isinstance(event, LinkRefused):
            name = f"{name} {event.code.name}"
        self._events[name] += 1
        examples = self._examples.setdefault(name, [])
        if len(examples) < EXAMPLES_MAX and not isinstance(event, PeerDisconnected):
            examples.append(str(event))


def main(text: str) -> None:
    """Be the victim until there is no more input."""
    setting = Setting(**json.loads(text))
    if setting.descriptors:
        resource.setrlimit(resource.RLIMIT_NOFILE, (setting.descriptors, setting.descriptors))
    victim = Victim(setting)
    with victim.service:
        _write(str(victim.service.record))
        for line in sys.stdin:
            _write(json.dumps(victim.obey(line)))


def _write(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
