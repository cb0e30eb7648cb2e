"""What is signed when the node commits no more: nothing, not even on its own thread."""

import threading
from contextlib import closing, suppress

import pytest

from zmqp2p.engine.engine import Engine
from zmqp2p.errors import P2PError, ServiceClosed
from zmqp2p.events import CallbackFailed, Event
from zmqp2p.identity import Identity
from zmqp2p.ids import Address, TurnNum
from zmqp2p.node.build import options_of, start_node
from zmqp2p.node.node import Node
from zmqp2p.node.receipts import Receipt
from zmqp2p.records import PeerUri
from zmqp2p.state import FixedPart, State, VariablePart, channel_id
from zmqp2p.store import MemoryStore
from zmqp2p.transport import MemoryNetwork, MemoryTransport

ME = Identity.generate()
PEER = Identity.generate()
FIXED = FixedPart((ME.address, Address(b"\x07" * 20)), 1)
PATIENCE_S = 10.0


def state_of(turn: int) -> State:
    return State(FIXED, VariablePart(b"", (), TurnNum(turn), is_final=False))


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def node(store: MemoryStore) -> Node:
    transport = MemoryTransport(MemoryNetwork(), curve_public=ME.curve_public, host="host")
    return start_node(options_of(None, ME, transport=transport, store=store))


def test_every_signature_given_on_the_nodes_thread_is_on_record_when_it_has_closed(
    node: Node, store: MemoryStore
) -> None:
    """SIG-2: a callback signs in each turn, in the last one too, which nothing follows."""
    signed: list[TurnNum] = []
    refused: list[P2PError] = []
    busy = threading.Event()

    def emit(_engine: Engine) -> None:
        node._loop.emit(CallbackFailed("test", ""))  # noqa: SLF001  # An event for each turn.

    def on_event(_event: Event) -> None:
        node.call(emit)
        turn = TurnNum(len(signed))
        try:
            node.sign_state(state_of(turn))
        except ServiceClosed as fault:
            refused.append(fault)
            return
        signed.append(turn)
        if turn == 3:
            busy.set()

    node.on_event(on_event)
    node.call(emit)
    assert busy.wait(PATIENCE_S)
    node.stop(PATIENCE_S)
    assert len(refused) == 1
    with closing(store):
        rows = store.open(ME.address, 1).signed
    assert rows[channel_id(FIXED)].turn_num == signed[-1]


@pytest.mark.parametrize("fails", [False, True])
def test_a_receipts_callback_after_the_last_commit_gets_no_signature(
    node: Node, store: MemoryStore, *, fails: bool
) -> None:
    """Whether the node was closed or has failed."""
    endpoint = "tcp://127.0.0.1:1"
    node.add_contact(PeerUri(PEER.address, PEER.curve_public, endpoint)).result(PATIENCE_S)
    receipt = node.send(PEER.address, b"body", 0)
    receipt.wait_stored(PATIENCE_S)
    caught: list[P2PError] = []

    def ended(_receipt: Receipt) -> None:
        with pytest.raises(ServiceClosed) as fault:
            node.sign_state(state_of(1))
        caught.append(fault.value)

    receipt.add_done_callback(ended)
    if fails:
        node.call(lambda _engine: 1 // 0)
        node.ended.result(PATIENCE_S)
    with suppress(ZeroDivisionError):
        node.stop(PATIENCE_S)
    assert len(caught) == 1
    with closing(store):
        assert store.open(ME.address, 1).signed == {}
