"""Who was whom: the hand-overs of identities that the application accepted (HND-3)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from zmqp2p.engine.output import EngineOutput
from zmqp2p.ids import Address
from zmqp2p.persistence import DropHandOver, PutHandOver


@dataclass(slots=True)
class Lineage:
    """Which addresses are one participant, in the order in which it had them.

    It grows by the application's decisions only. Invariant: nobody was himself before.
    """

    output: EngineOutput
    _heirs: dict[Address, Address] = field(default_factory=dict)  # Who each one is now.
    _former: dict[Address, list[Address]] = field(default_factory=dict)  # The other way round.

    def load(self, heirs: Mapping[Address, Address]) -> None:
        """Take up what was accepted in earlier runs."""
        for old, new in heirs.items():
            self._enter(old, new)

    def hand_over(self, old: Address, new: Address) -> None:
        """Who was ``old`` is ``new`` from now on; neither is anybody else."""
        self.restore(new)
        self.restore(old)
        self._enter(old, new)
        self.output.writes.append(PutHandOver(old, new))

    def restore(self, old: Address) -> Address | None:
        """``old`` is itself again; return who was taken for it, if anybody was."""
        new = self._heirs.pop(old, None)
        if new is not None:
            self._former[new].remove(old)
            self.output.writes.append(DropHandOver(old))
        return new

    def was_handed_over(self, address: Address) -> bool:
        """Whether somebody else is who ``address`` was."""
        return address in self._heirs

    def former(self, address: Address) -> list[Address]:
        """Return ``address`` and all that it was before."""
        found = [address]
        for one in found:  # It grows meanwhile.
            found += self._former.get(one, ())
        return found

    def line(self, address: Address) -> list[Address]:
        """Return all addresses of the participant that ``address`` is, or was."""
        while address in self._heirs:
            address = self._heirs[address]
        return self.former(address)

    def check(self) -> None:
        """Assert the invariant."""
        for old, new in self._heirs.items():
            assert old in self._former[new]
            assert new not in self.former(old)
        assert sum(map(len, self._former.values())) == len(self._heirs)

    def _enter(self, old: Address, new: Address) -> None:
        self._heirs[old] = new
        self._former.setdefault(new, []).append(old)
