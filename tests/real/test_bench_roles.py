"""Each side of the bench is what its plan says: encrypted or not, durable or not."""

import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import pytest

from zmqp2p.cli.bench.script import BenchFailed, Face, Kind, Load, Plan
from zmqp2p.cli.bench.worker import role_of
from zmqp2p.records import PeerRecord
from zmqp2p.transport.endpoints import parse_dial

Security = Literal["CURVE", "NULL"]
KINDS: list[tuple[Kind, Face]] = [
    ("zmqp2p", "blocking"),
    ("zmqp2p", "asyncio"),
    ("floor", "blocking"),
]
LOAD = Load(messages=10, window=4, timeout_s=20.0)
PACED = Load(messages=10, window=1, rate=1_000.0, timeout_s=20.0)
PATIENCE_S = 20.0


def mechanism_at(endpoint: str) -> str:
    """Return the security mechanism in the ZMTP greeting of who listens there (RFC 23)."""
    parsed = parse_dial(endpoint)
    with socket.create_connection((parsed.host, parsed.port), timeout=PATIENCE_S) as connection:
        connection.sendall(
            b"\xff" + bytes(7) + b"\x01\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0")
        )
        greeting = b""
        while len(greeting) < 32:
            greeting += connection.recv(64)
    return greeting[12:32].rstrip(b"\0").decode("ascii")


def endpoint_of(contact: str) -> str:
    """Return where a receiver listens."""
    if "@" in contact:
        return contact.partition("@")[2]
    (endpoint,) = PeerRecord.parse(contact).endpoints
    return endpoint


@pytest.mark.parametrize(("kind", "face"), KINDS)
@pytest.mark.parametrize("security", get_args(Security))
def test_a_receiver_is_encrypted_or_not(kind: Kind, face: Face, security: Security) -> None:
    with role_of(Plan(kind, "receive", face=face, secure=security == "CURVE")) as receiver:
        assert mechanism_at(endpoint_of(receiver.contact)) == security


@pytest.mark.parametrize(("kind", "face"), KINDS)
@pytest.mark.parametrize("payload", ["opaque", "signed"])
def test_every_message_arrives_well_and_both_sides_keep_what_they_should(
    tmp_path: Path, kind: Kind, face: Face, payload: Literal["opaque", "signed"]
) -> None:
    kept = Plan(kind, "receive", payload=payload, face=face, store=str(tmp_path / "receive"))
    with role_of(kept) as receiver:
        plan = replace(kept, side="send", store=str(tmp_path / "send"), contact=receiver.contact)
        with role_of(plan) as sender:
            for load in (LOAD, PACED):
                began = time.perf_counter()
                outcome = sender.run(load)
                took_s = time.perf_counter() - began
                assert outcome.messages == 10
                assert 0 < outcome.p50_ms <= outcome.max_ms <= took_s * 1000
                assert 0 < outcome.elapsed_s <= took_s
        assert (receiver.received, receiver.faults) == (20, 0)
    for side in ("receive", "send"):
        assert (tmp_path / side).stat().st_size > 0


@pytest.mark.parametrize(("kind", "face"), KINDS)
def test_a_receiver_sends_nothing(kind: Kind, face: Face) -> None:
    with (
        role_of(Plan(kind, "receive", face=face)) as receiver,
        pytest.raises(BenchFailed, match="told to send"),
    ):
        receiver.run(LOAD)
