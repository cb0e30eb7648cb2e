"""One party of ``zmqp2p demo``, a process: ``python -m zmqp2p.cli.party NAME FOLDER STARTED``.

``STARTED`` is the demo's start by the system-wide monotonic clock, in seconds. What it prints and
obeys is in `zmqp2p.cli.script`. It ends at once when its stdin does: it never outlives its parent.
"""

import argparse
import dataclasses
import os
import sys
import threading
from contextlib import closing
from pathlib import Path
from queue import SimpleQueue
from time import monotonic

from zmqp2p import codec
from zmqp2p.chain import SimulatedChain
from zmqp2p.cli import script
from zmqp2p.cli.script import Step
from zmqp2p.errors import P2PError
from zmqp2p.events import (
    ChannelFunded,
    ChannelProposed,
    ChannelStep,
    Event,
    PeerConnected,
    PeerDisconnected,
)
from zmqp2p.identity import Identity
from zmqp2p.ids import ZERO_ADDRESS, ChannelId, address_text
from zmqp2p.node.funding import FundedChannel
from zmqp2p.policy import approve_all
from zmqp2p.records import parse_contact
from zmqp2p.render import hex_text
from zmqp2p.service import Channel, P2PService
from zmqp2p.state import Allocation, AssetExit, Outcome, destination_of, state_hash
from zmqp2p.state.packing import state_to_value

EXIT_ORPHANED = 3


class Party:
    """Alice or Bob: a node in a folder that both share, telling each of its steps."""

    def __init__(self, name: str, folder: Path, started: float) -> None:
        self._name = name
        self._folder = folder
        self._started = started
        self._lock = threading.Lock()  # Steps are told by the node's thread and by the main one.
        self._orders: SimpleQueue[str] = SimpleQueue()
        self._connected = threading.Event()
        self._proposed: SimpleQueue[ChannelId] = SimpleQueue()

    def run(self) -> None:
        """Fund a channel with the other party; returns when the parent says `script.END`."""
        threading.Thread(target=self._obey, daemon=True).start()
        with closing(SimulatedChain(self._folder / script.CHAIN_FILE)) as chain:
            identity = Identity.load_or_create(self._folder / f"{self._name}.key")
            self._tell(
                script.KEYS_MADE,
                address=address_text(identity.address),
                curve=identity.curve_public.hex(),
                pid=os.getpid(),
            )
            with P2PService(
                "tcp://127.0.0.1:0",
                identity=identity,
                store=self._folder / f"{self._name}.db",
                chain=chain,
                policy=approve_all,
            ) as p2p:
                p2p.on_event(self._on_event)
                (endpoint,) = p2p.record.endpoints
                self._tell(script.LISTENING, endpoint=endpoint, record=str(p2p.record))
                channel = self._open(p2p) if self._name == script.ALICE else self._expect(p2p)
                funded = channel.result()
                p2p.flush()  # The other party has then processed all that this one said.
                self._tell_report(funded)
                self._orders.get()  # END: nobody leaves while the other waits for an ack.

    def _open(self, p2p: P2PService) -> Channel:
        contact = parse_contact(self._orders.get().removeprefix(script.CONTACT))
        peer = p2p.add_peer(contact)
        self._tell("record_received", peer=address_text(peer), endpoint=contact.endpoints[0])
        self._connected.wait()
        self._tell("proposing", deposits=script.DEPOSITS)
        shares = zip((p2p.address, peer), script.DEPOSITS.values(), strict=True)
        allocations = tuple(Allocation(destination_of(who), amount) for who, amount in shares)
        outcome: Outcome = (AssetExit(ZERO_ADDRESS, allocations),)
        return p2p.fund_channel(peer, outcome)

    def _expect(self, p2p: P2PService) -> Channel:
        return p2p.channel(self._proposed.get())

    def _on_event(self, event: Event) -> None:
        match event:
            case PeerConnected(peer, remote):
                self._tell("connected", peer=address_text(peer), remote=remote)
                self._connected.set()
            case ChannelProposed(channel, proposer):
                about = {"channel_id": "0x" + channel.hex(), "proposer": address_text(proposer)}
                self._tell("proposal_received", **about)
                self._proposed.put(channel)
            case ChannelStep(channel, step, detail):
                self._tell(step, channel_id="0x" + channel.hex(), detail=detail)
            case ChannelFunded(channel):
                self._tell("funded", channel_id="0x" + channel.hex())
            case PeerDisconnected():
                pass  # The other party may leave first.
            case _:
                self._tell("trouble", detail=event_text(event))

    def _tell_report(self, funded: FundedChannel) -> None:
        self._tell(
            script.REPORT,
            channel_id="0x" + funded.channel_id.hex(),
            state_hash="0x" + state_hash(funded.state).hex(),
            state="0x" + codec.encode(state_to_value(funded.state)).hex(),
            signatures=["0x" + signature.to_bytes().hex() for signature in funded.signatures],
        )

    def _tell(self, what: str, **details: object) -> None:
        with self._lock:
            at_ms = round((monotonic() - self._started) * 1000, 1)
            print(Step(at_ms, self._name, what, details).line(), flush=True)  # noqa: T201

    def _obey(self) -> None:
        # Unbuffered: a thread that waits inside a buffered reader blocks the interpreter's exit.
        with open(0, "rb", buffering=0, closefd=False) as stdin:
            for line in stdin:
                order = line.decode("ascii").strip()
                self._orders.put(order)
                if order == script.END:
                    return
        os._exit(EXIT_ORPHANED)


def event_text(event: Event) -> str:
    """Return ``event`` on one line, bytes in hex."""
    values = ((each.name, getattr(event, each.name)) for each in dataclasses.fields(event))
    shown = ((name, hex_text(it) if isinstance(it, bytes) else it) for name, it in values)
    return " ".join((type(event).__name__, *(f"{name}={it}" for name, it in shown)))


def main() -> None:
    """Run the party that the arguments name; exits 1 with one line on stderr on a `P2PError`."""
    parser = argparse.ArgumentParser(prog="python -m zmqp2p.cli.party")
    parser.add_argument("name", choices=script.NAMES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("started", type=float)
    arguments = parser.parse_args()
    try:
        Party(arguments.name, arguments.folder, arguments.started).run()
    except P2PError as fault:
        sys.exit(f"{type(fault).__name__}: {fault}")


if __name__ == "__main__":
    main()
