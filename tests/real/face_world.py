"""Nodes with either face, on real ZeroMQ: what the suites for both faces are run with."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.real.faces import FACES, Face
from tests.real.parties import HASTY, LOOPBACK
from zmqp2p import Identity

Endpoints = str | list[str] | None


class World:
    """Makes nodes with one face, on one kind of store."""

    def __init__(self, face: str, *, durable: bool, folder: Path) -> None:
        self.folder = folder
        self._face = FACES[face]
        self._durable = durable
        self._identities: dict[str, Identity] = {}
        self._closing = ExitStack()

    def identity(self, name: str) -> Identity:
        return self._identities.setdefault(name, Identity.generate())

    def start(self, name: str, endpoint: Endpoints = LOOPBACK, **settings: Any) -> Face:
        settings.setdefault("limits", HASTY)
        settings.setdefault("store", self.folder / f"{name}.db" if self._durable else None)
        made = self._face(endpoint, identity=self.identity(name), **settings)
        self._closing.callback(made.close)
        return made

    def pair(self, **settings: Any) -> tuple[Face, Face]:
        """Return Alice, who knows Bob, and Bob, who listens at an ipc endpoint."""
        bob = self.start("bob", f"ipc://{self.folder}/bob.ipc", **settings)
        alice = self.start("alice", **settings)
        alice.add_peer(bob.record)
        return alice, bob

    def close(self) -> None:
        self._closing.close()
