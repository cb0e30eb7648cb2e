"""The demo's parent believes nobody: each claim that could be false is falsified once."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from zmqp2p import codec
from zmqp2p.chain import MinedDeposit
from zmqp2p.cli.script import ALICE, BOB, DemoFailed, Step
from zmqp2p.cli.verdict import judge, messages_sent
from zmqp2p.crypto import SecretKey
from zmqp2p.ids import ZERO_ADDRESS, ChannelId, Seq, StreamDigest, StreamId, TurnNum, address_text
from zmqp2p.persistence import DropMessages, PutOutStream
from zmqp2p.state import (
    Allocation,
    AssetExit,
    FixedPart,
    State,
    VariablePart,
    channel_id,
    destination_of,
    sign_state,
    state_hash,
)
from zmqp2p.state.packing import state_to_value
from zmqp2p.store import SqliteStore

KEYS = {ALICE: SecretKey(b"\1" * 32), BOB: SecretKey(b"\2" * 32)}
STRANGER = SecretKey(b"\3" * 32)


def state_of(
    alice: SecretKey = KEYS[ALICE], *, amount: int = 60, turn: int = 1, nonce: int = 7
) -> State:
    """Return the postfund state of the demo's channel, unless told otherwise."""
    participants = (alice.address, KEYS[BOB].address)
    shares = zip(participants, (amount, 40), strict=True)
    allocations = tuple(Allocation(destination_of(who), each) for who, each in shares)
    outcome = (AssetExit(ZERO_ADDRESS, allocations),)
    return State(FixedPart(participants, nonce), VariablePart(b"", outcome, TurnNum(turn), False))


def report_of(who: str, state: State, signers: tuple[SecretKey, ...]) -> Step:
    """Return what a party prints at the end."""
    details = {
        "channel_id": "0x" + channel_id(state.fixed).hex(),
        "state_hash": "0x" + state_hash(state).hex(),
        "state": "0x" + codec.encode(state_to_value(state)).hex(),
        "signatures": ["0x" + sign_state(state, key).to_bytes().hex() for key in signers],
    }
    return Step(1, who, "report", details)


def mined(amount: int, channel: ChannelId | None = None) -> MinedDeposit:
    of = channel_id(state_of().fixed) if channel is None else channel
    return MinedDeposit("0x01", 1, of, ZERO_ADDRESS, amount, amount)


def keys_told() -> dict[str, Step]:
    return {
        who: Step(0, who, "keys_made", {"address": address_text(key.address)})
        for who, key in KEYS.items()
    }


def reports(
    state: State | None = None, signers: tuple[SecretKey, ...] = tuple(KEYS.values())
) -> dict[str, Step]:
    """Return both parties' reports of the same state."""
    return {who: report_of(who, state or state_of(), signers) for who in KEYS}


DEPOSITS = [mined(60), mined(40)]


def test_what_both_report_and_the_chain_holds_is_accepted() -> None:
    verdict = judge(keys_told(), reports(), DEPOSITS)
    assert verdict.channel_id == channel_id(state_of().fixed)
    assert verdict.state_hash == state_hash(state_of())
    assert verdict.addresses == {who: key.address for who, key in KEYS.items()}
    assert verdict.deposits == tuple(DEPOSITS)


def test_different_states_are_refused() -> None:
    told = reports() | {BOB: report_of(BOB, state_of(nonce=8), tuple(KEYS.values()))}
    with pytest.raises(DemoFailed, match="different postfund states"):
        judge(keys_told(), told, DEPOSITS)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (state_of(STRANGER), "not between the two parties"),
        (state_of(turn=0), "turn 0, not the postfund state"),
        (state_of(amount=61), "outcome is not what was to be deposited"),
    ],
)
def test_a_state_other_than_the_postfund_state_is_refused(state: State, reason: str) -> None:
    with pytest.raises(DemoFailed, match=reason):
        judge(keys_told(), reports(state), DEPOSITS)


@pytest.mark.parametrize(
    "signers",
    [(KEYS[ALICE], STRANGER), (KEYS[BOB], KEYS[ALICE]), (KEYS[ALICE], KEYS[ALICE])],
)
def test_signatures_of_others_are_refused(signers: tuple[SecretKey, ...]) -> None:
    with pytest.raises(DemoFailed, match="holds no signature of 0x"):
        judge(keys_told(), reports(signers=signers), DEPOSITS)


def test_a_signature_of_another_state_is_refused() -> None:
    told = reports()
    told[BOB].details["signatures"] = reports(state_of(nonce=8))[BOB].details["signatures"]
    with pytest.raises(DemoFailed, match="bob holds no signature of 0x"):
        judge(keys_told(), told, DEPOSITS)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("channel_id", "0x" + "11" * 32, "bob reports another channel id than its state has"),
        ("state_hash", "0x" + "11" * 32, "bob reports another hash than its state has"),
        ("channel_id", None, "lacks the text 'channel_id'"),
        ("state", "0xc1", "bob reports what is no state"),
        ("state", "0x90", "bob reports what is no state"),
        ("state", "0xzz", "bob's state is not hexadecimal"),
        ("signatures", None, "bob does not report 2 signatures"),
        ("signatures", ["0x"], "bob does not report 2 signatures"),
        ("signatures", ["0x", "0x"], "bob reports what is no signature"),
        ("signatures", ["no", "no"], "bob reports what is no signature"),
        ("signatures", [1, 2], "bob reports what is no signature: 1"),
    ],
)
def test_a_false_or_malformed_claim_is_named(name: str, value: object, reason: str) -> None:
    told = reports()
    told[BOB].details[name] = value
    with pytest.raises(DemoFailed, match=reason):
        judge(keys_told(), told, DEPOSITS)


@pytest.mark.parametrize(
    ("deposits", "reason"),
    [
        ([], r"the deposits \[\], not each"),
        ([mined(60)], r"\[60\]"),
        ([mined(60), mined(40), mined(40)], r"\[60, 40, 40\]"),
        ([mined(60), mined(41)], r"\[60, 41\]"),
        ([*DEPOSITS, mined(1, ChannelId(b"\1" * 32))], "deposits for another channel"),
    ],
)
def test_a_chain_that_does_not_hold_each_deposit_once_is_refused(
    deposits: list[MinedDeposit], reason: str
) -> None:
    with pytest.raises(DemoFailed, match=reason):
        judge(keys_told(), reports(), deposits)


def test_an_address_that_is_not_the_participant_is_refused() -> None:
    told = keys_told()
    told[BOB] = replace(told[BOB], details={"address": address_text(STRANGER.address)})
    with pytest.raises(DemoFailed, match="not between the two parties"):
        judge(told, reports(), DEPOSITS)


def test_messages_are_counted_from_the_closed_store(tmp_path: Path) -> None:
    """And the store is left as it was: no log file appears beside it."""
    store = SqliteStore(tmp_path / "x.db")
    store.open(KEYS[ALICE].address, 1)
    for key, through in ((KEYS[BOB], 3), (STRANGER, 4)):
        opened = PutOutStream(key.address, StreamId(b"\1" * 16))
        store.apply([opened, DropMessages(key.address, Seq(through), StreamDigest(b"\2" * 16))])
    store.commit()
    store.close()
    before = folder_of(tmp_path)
    assert messages_sent(tmp_path / "x.db") == 7
    assert folder_of(tmp_path) == before


def folder_of(path: Path) -> dict[str, Any]:
    read: Callable[[Path], bytes] = Path.read_bytes
    return {file.name: read(file) for file in path.iterdir()}
