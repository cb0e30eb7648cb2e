"""What the demo's parent verifies itself, from what the parties printed and the chain's file."""

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from zmqp2p import codec
from zmqp2p.chain import MinedDeposit
from zmqp2p.cli import script
from zmqp2p.cli.script import DemoFailed, Step
from zmqp2p.crypto import Signature
from zmqp2p.errors import InvalidValue, PeerError
from zmqp2p.ids import Address, address_text
from zmqp2p.state import State, channel_id, destination_of, recover_signer, state_hash
from zmqp2p.state.packing import state_from_value
from zmqp2p.store import snapshot

_POSTFUND_TURN = 1


@dataclass(frozen=True, slots=True)
class Verdict:
    """The channel as both parties, their signatures and the chain agree on it."""

    channel_id: bytes
    state_hash: bytes
    addresses: Mapping[str, Address]
    deposits: tuple[MinedDeposit, ...]


def judge(
    keys: Mapping[str, Step], reports: Mapping[str, Step], deposits: Sequence[MinedDeposit]
) -> Verdict:
    """Return what is true of the channel, by name of party in ``keys`` and ``reports``.

    Raises:
        DemoFailed: something is missing, differs between the parties, or is not signed by both.
    """
    addresses = {who: Address(_hex(keys[who], "address")) for who in script.NAMES}
    states = {who: _state(reports[who]) for who in script.NAMES}
    state = states[script.ALICE]
    if states[script.BOB] != state:
        raise DemoFailed("the parties report different postfund states")
    for who in script.NAMES:
        _check_report(reports[who], state, tuple(addresses.values()))
    _check_outcome(state, addresses)
    _check_deposits(state, deposits)
    return Verdict(channel_id(state.fixed), state_hash(state), addresses, tuple(deposits))


def messages_sent(store: Path) -> int:
    """Return how many messages the closed store's node has sent and had acknowledged."""
    # Immutable: a log file would be left beside the store even by a connection that only reads.
    with closing(sqlite3.connect(f"{store.absolute().as_uri()}?immutable=1", uri=True)) as db:
        peers = snapshot.load(db, str(store)).peers.values()
    return sum(peer.acked for peer in peers)


def _check_report(report: Step, state: State, participants: tuple[Address, ...]) -> None:
    """Check one party's claims against ``state``, which it printed."""
    who = report.who
    if state.fixed.participants != participants:
        raise DemoFailed(f"{who}'s channel is not between the two parties")
    if state.variable.turn_num != _POSTFUND_TURN:
        raise DemoFailed(f"{who} reports turn {state.variable.turn_num}, not the postfund state")
    if _hex(report, "channel_id") != channel_id(state.fixed):
        raise DemoFailed(f"{who} reports another channel id than its state has")
    if _hex(report, "state_hash") != state_hash(state):
        raise DemoFailed(f"{who} reports another hash than its state has")
    signatures = report.details.get("signatures")
    if not isinstance(signatures, list) or len(signatures) != len(participants):
        raise DemoFailed(f"{who} does not report {len(participants)} signatures")
    for address, text in zip(participants, signatures, strict=True):
        if _signer(who, state, text) != address:
            raise DemoFailed(f"{who} holds no signature of {address_text(address)}")


def _check_outcome(state: State, addresses: Mapping[str, Address]) -> None:
    shares = [
        (allocation.destination, allocation.amount)
        for asset_exit in state.variable.outcome
        for allocation in asset_exit.allocations
    ]
    if shares != [(destination_of(addresses[who]), script.DEPOSITS[who]) for who in script.NAMES]:
        raise DemoFailed("the channel's outcome is not what was to be deposited")


def _check_deposits(state: State, deposits: Sequence[MinedDeposit]) -> None:
    channel = channel_id(state.fixed)
    if any(deposit.channel != channel for deposit in deposits):
        raise DemoFailed("the chain holds deposits for another channel")
    amounts = [deposit.amount for deposit in deposits]
    if amounts != list(script.DEPOSITS.values()):
        raise DemoFailed(f"the chain holds the deposits {amounts}, not each party's once")


def _state(report: Step) -> State:
    try:
        return state_from_value(codec.decode(_hex(report, "state")))
    except (PeerError, InvalidValue) as fault:
        raise DemoFailed(f"{report.who} reports what is no state: {fault}") from None


def _signer(who: str, state: State, text: object) -> Address:
    try:
        if isinstance(text, str):
            return recover_signer(state, Signature.from_bytes(_bytes(text)))
    except (PeerError, ValueError) as fault:
        raise DemoFailed(f"{who} reports what is no signature: {fault}") from None
    raise DemoFailed(f"{who} reports what is no signature: {text!r}")


def _hex(step: Step, name: str) -> bytes:
    text = step.text(name)
    try:
        return _bytes(text)
    except ValueError:
        raise DemoFailed(f"{step.who}'s {name} is not hexadecimal: {text[:80]!r}") from None


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))
