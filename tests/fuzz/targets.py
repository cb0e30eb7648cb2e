"""What is fuzzed: each target is a function of bytes that raises only if there is a fault."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tests.fuzz import conversation, decoders, seeds


@dataclass(frozen=True)
class Target:
    """A function of bytes, where to begin, and how long its inputs may grow."""

    run: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]
    longest: int = 4096

    def inputs(self, name: str) -> list[bytes]:
        """Return the seeds, and what was found before in the target of this ``name``."""
        return [*self.seeds(), *seeds.findings(name)]


TARGETS = {
    "codec": Target(decoders.fuzz_codec, seeds.values),
    "wire": Target(decoders.fuzz_wire, seeds.frames),
    "messages": Target(decoders.fuzz_message, seeds.bodies),
    "records": Target(decoders.fuzz_record, seeds.records, 2100),
    "contacts": Target(decoders.fuzz_contact, seeds.contacts, 3000),
    "objectives": Target(decoders.fuzz_objective, seeds.objectives),
    "endpoints": Target(decoders.fuzz_endpoint, seeds.endpoints, 300),
    "zap": Target(decoders.fuzz_zap, seeds.zap_requests, 1000),
    "parts": Target(decoders.fuzz_parts, seeds.parts, 300),
    "session": Target(conversation.fuzz_session, seeds.conversations, 1500),
}
