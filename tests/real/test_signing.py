"""Signing states on both faces: what is on record when, after kills, failures and a close."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.real.faces import FACES, AioFace, BlockingFace, Face
from tests.real.parties import (
    HASTY,
    LOOPBACK,
    PATIENCE_S,
    Journal,
    Note,
    Parties,
    outcome_of,
)
from tests.real.signer import state_of
from zmqp2p import (
    Approve,
    Delivery,
    Identity,
    InvalidValue,
    P2PService,
    Refused,
    Rejected,
    ServiceClosed,
    SignedAlready,
    aio,
    approve_all,
)
from zmqp2p.chain import SimulatedChain
from zmqp2p.codes import RefusalCode
from zmqp2p.crypto import Signature
from zmqp2p.ids import ChannelId, TurnNum
from zmqp2p.persistence import Signed
from zmqp2p.state import (
    FixedPart,
    State,
    VariablePart,
    channel_id,
    mover,
    recover_signer,
    state_hash,
)
from zmqp2p.store import SqliteStore

ROOT = Path(__file__).parents[2]


def recorded(store: Path, owner: Identity) -> dict[ChannelId, Signed]:
    """Return what is signed by the store of a node that has ended."""
    opened = SqliteStore(store)
    try:
        return opened.open(owner.address, 1).signed
    finally:
        opened.close()


def row_of(owner: Identity, turn: int, app_data: bytes = b"") -> dict[ChannelId, Signed]:
    state = state_of(owner.address, turn, app_data)
    return {channel_id(state.fixed): Signed(TurnNum(turn), state_hash(state))}


class Alone:
    """One node of either face, on a store."""

    def __init__(self, name: str, parties: Parties) -> None:
        self.name = name
        self.identity = parties.identity("alice")
        self.store = parties.store("alice")
        self.face: Face = self.start()

    def start(self) -> Face:
        """Start the node, again."""
        self.face = FACES[self.name](None, identity=self.identity, store=self.store)
        return self.face


@pytest.fixture(params=FACES)
def alone(request: pytest.FixtureRequest, parties: Parties) -> Iterator[Alone]:
    made = Alone(request.param, parties)
    yield made
    made.face.close()


def test_a_state_is_signed_once_for_its_turn_over_restarts_too(alone: Alone) -> None:
    """SIG-2."""
    me = alone.identity.address
    first = alone.face.sign_state(state_of(me, 4))
    assert recover_signer(state_of(me, 4), first) == me
    alone.face.close()
    assert recorded(alone.store, alone.identity) == row_of(alone.identity, 4)
    face = alone.start()
    assert face.sign_state(state_of(me, 4)) == first
    with pytest.raises(SignedAlready) as caught:
        face.sign_state(state_of(me, 4, b"other"))
    assert (caught.value.turn_num, caught.value.signed_turn) == (4, 4)
    with pytest.raises(SignedAlready):
        face.sign_state(state_of(me, 3))
    face.sign_state(state_of(me, 5, b"other"))


def test_what_is_no_state_of_this_node_is_not_signed(alone: Alone) -> None:
    with pytest.raises(InvalidValue, match="state: must be of type State"):
        alone.face.sign_state(b"\x01" * 32)  # type: ignore[arg-type]
    with pytest.raises(InvalidValue, match="takes no part"):
        alone.face.sign_state(state_of(Identity.generate().address, 1))


def test_a_closed_service_signs_nothing(parties: Parties) -> None:
    service = parties.start("alice", None, store=parties.store("alice"))
    service.close()
    with pytest.raises(ServiceClosed):
        service.sign_state(state_of(service.address, 1))
    assert recorded(parties.store("alice"), parties.identity("alice")) == {}


def test_a_closed_service_for_asyncio_signs_nothing(parties: Parties) -> None:
    identity, store = parties.identity("alice"), parties.store("alice")

    async def close_and_sign() -> None:
        async with aio.P2PService(None, identity=identity, store=store) as service:
            await service.close()
            with pytest.raises(ServiceClosed):
                await service.sign_state(state_of(identity.address, 1))

    asyncio.run(close_and_sign())
    assert recorded(store, identity) == {}


def test_of_many_threads_that_sign_one_turn_one_succeeds(alone: Alone) -> None:
    """SIG-2."""
    me = alone.identity.address

    def sign(number: int) -> int | None:
        try:
            alone.face.sign_state(state_of(me, 1, bytes([number])))
        except SignedAlready:
            return None
        return number

    with ThreadPoolExecutor(8) as threads:
        winners = [number for number in threads.map(sign, range(8)) if number is not None]
    alone.face.close()
    (winner,) = winners
    assert recorded(alone.store, alone.identity) == row_of(alone.identity, 1, bytes([winner]))


@pytest.mark.parametrize("face", FACES)
def test_what_was_signed_is_on_record_when_the_process_is_killed(
    face: str, parties: Parties
) -> None:
    """SIG-2: kill -9, as soon as the last signature is there."""
    key, store = parties.folder / "signer.key", parties.store("signer")
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.real.signer", face, key, store],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    stdin, stdout = child.stdin, child.stdout
    assert stdin is not None
    assert stdout is not None
    last = ""
    for turn in range(20):
        stdin.write(f"{turn}\n")
        stdin.flush()
        last = stdout.readline().strip()
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait(PATIENCE_S) == -signal.SIGKILL
    for pipe in (stdin, stdout):
        pipe.close()
    identity = Identity.load(key)
    assert recorded(store, identity) == row_of(identity, 19)
    service = P2PService(None, identity=identity, store=store)
    parties.close_later(service)
    with pytest.raises(SignedAlready):
        service.sign_state(state_of(identity.address, 19, b"other"))
    again = service.sign_state(state_of(identity.address, 19))
    assert again.to_bytes().hex() == last


# --- In handlers --------------------------------------------------------------------------------


class Bench:
    """Alice sends; Bob's handlers sign, on his node's thread, in an executor or as coroutines."""

    def __init__(self, where: str, parties: Parties) -> None:
        self.parties = parties
        self.store = parties.store("bob")
        self.identity = parties.identity("bob")
        self._executor = ThreadPoolExecutor(2)
        self._wanted = {"executor": self._executor} if where == "executor" else {}
        face = AioFace if where == "coroutine" else BlockingFace
        self.bob: Face = face(LOOPBACK, identity=self.identity, store=self.store, limits=HASTY)
        self.alice = parties.start("alice")
        self.alice.add_peer(self.bob.record)

    def sign(self, turn: int, app_data: bytes = b"") -> Signature:
        return self.bob.sign_state(state_of(self.identity.address, turn, app_data))

    def handle(self, handler: Callable[[Delivery], object]) -> None:
        self.bob.on_message(handler, message_type=Note, **self._wanted)

    def close(self) -> None:
        self.bob.close()
        self._executor.shutdown()


@pytest.fixture(params=["node", "executor", "coroutine"])
def bench(request: pytest.FixtureRequest, parties: Parties) -> Iterator[Bench]:
    made = Bench(request.param, parties)
    yield made
    made.close()


def test_what_a_handler_signs_stays_signed_though_the_handler_fails(bench: Bench) -> None:
    """SIG-2: what it wrote is undone, but somebody may have seen the signature."""
    signed = Journal[Any]()

    def handle(delivery: Delivery) -> None:
        delivery.transaction.execute("CREATE TABLE app_tried (number INTEGER)")
        try:
            signed(bench.sign(2, bytes([delivery.attempt])))
        except SignedAlready as fault:
            signed(fault)
            raise
        raise ValueError("after it signed")

    bench.handle(handle)
    with pytest.raises(Refused) as caught:
        bench.alice.send_message(bench.bob.address, Note(1)).wait(PATIENCE_S)
    assert caught.value.code is RefusalCode.HANDLER_FAILED
    first, *others = signed.entries
    assert isinstance(first, Signature)
    assert others
    assert all(isinstance(entry, SignedAlready) for entry in others)
    bench.close()
    assert recorded(bench.store, bench.identity) == row_of(bench.identity, 2, b"\x01")


def test_a_handler_that_signs_the_same_in_each_attempt_succeeds(bench: Bench) -> None:
    """SIG-2: a deterministic handler needs no care."""
    signed = Journal[Signature]()

    def handle(delivery: Delivery) -> None:
        signed(bench.sign(2))
        if delivery.attempt == 1:
            raise ValueError("after it signed")

    bench.handle(handle)
    bench.alice.send_message(bench.bob.address, Note(1)).wait(PATIENCE_S)
    assert signed.entries[0] == signed.entries[1]
    bench.close()
    assert recorded(bench.store, bench.identity) == row_of(bench.identity, 2)


def test_a_policy_cannot_approve_what_is_signed_against(
    parties: Parties, chain: SimulatedChain
) -> None:
    """SIG-2: the channel is declined, and who proposed it is told why."""
    alice = parties.start("alice", chain=chain)
    bob = parties.start("bob", chain=chain, policy=lambda _proposal: Approve())
    alice.add_peer(bob.record)
    fixed = FixedPart((alice.address, bob.address), 7)
    bob.sign_state(State(fixed, VariablePart(b"", (), TurnNum(2), is_final=False)))
    outcome = outcome_of((alice.address, 5), (bob.address, 7))
    channel = alice.fund_channel(bob.address, outcome, channel_nonce=7)
    assert channel.channel_id == channel_id(fixed)
    with pytest.raises(Rejected, match="signed already"):
        channel.result(PATIENCE_S)


@pytest.mark.parametrize("name", FACES)
def test_a_funded_channel_goes_on_with_states_of_the_application(
    name: str, parties: Parties, chain: SimulatedChain
) -> None:
    """SIG-3: from turn 2 on; who moves signs first, and the other signs the same state."""
    faces = [
        FACES[name](LOOPBACK, identity=parties.identity(who), chain=chain, policy=approve_all)
        for who in ("alice", "bob")
    ]
    try:
        alice, bob = faces
        alice.add_peer(bob.record)
        outcome = outcome_of((alice.address, 5), (bob.address, 7))
        channel = alice.fund(bob.address, outcome)
        funded = channel.result(PATIENCE_S)
        bob.channel(channel.channel_id).result(PATIENCE_S)
        fixed = funded.state.fixed
        assert mover(fixed, TurnNum(2)) == alice.address
        state = State(fixed, VariablePart(b"move", outcome, TurnNum(2), is_final=False))
        assert [recover_signer(state, face.sign_state(state)) for face in faces] == [
            *fixed.participants
        ]
        with pytest.raises(SignedAlready) as caught:
            bob.sign_state(State(fixed, VariablePart(b"mine", outcome, TurnNum(2), is_final=False)))
        assert caught.value.signed_hash == state_hash(state)
    finally:
        for face in faces:
            face.close()
