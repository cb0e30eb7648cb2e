"""How long a former key lives, what its end brings about, and that no secret is shown meanwhile."""

import logging
import pickle
import traceback
from collections.abc import Iterator

import pytest

from tests.node_world import World, world_of
from zmqp2p import Identity, KeyFileError, P2PService, aio
from zmqp2p.errors import EndpointError
from zmqp2p.events import CallbackFailed
from zmqp2p.limits import KEY_GRACE_S, KEY_HANDOVER_S
from zmqp2p.node.build import Options
from zmqp2p.transport import MemoryNetwork, MemoryTransport

DAY_S = 24 * 3600.0


@pytest.fixture
def world() -> Iterator[World]:
    with world_of() as made:
        yield made


def grace_s(world: World) -> float:
    """Return how long Alice's former key has to live."""
    connections = world.alice.loop.engine._connections  # noqa: SLF001  # Nobody else knows.
    return connections._keys._grace_until - world.now  # noqa: SLF001  # As above.


@pytest.mark.parametrize(
    ("both", "asked_s", "given_s"),
    [
        (True, None, KEY_GRACE_S),
        (False, None, KEY_HANDOVER_S),
        (True, 5.0, 5.0),
        (False, 5.0, 5.0),
        (True, 0.0, 0.0),
        (True, 1000 * DAY_S, 2 * DAY_S),  # The former record lasts no longer: IDN-6.
    ],
)
def test_a_former_key_lives_as_long_as_is_asked_and_as_its_record_lasts(
    world: World, both: bool, asked_s: float | None, given_s: float
) -> None:
    parts = world.alice.loop._parts  # noqa: SLF001  # What the transport says is the parameter.
    object.__setattr__(parts, "rekey", lambda _endpoints: both)
    world.alice.loop.rotate(None, asked_s)
    assert grace_s(world) == pytest.approx(given_s, abs=2.0 if given_s > DAY_S else 0.1)


def test_what_was_under_way_arrives_though_the_link_moves_and_the_former_key_ends(
    world: World,
) -> None:
    former = world.alice.loop.record
    world.alice.loop.rotate(None, 0.5)
    world.run(40)
    assert world.alice.loop.record.curve_key == world.alice.identity.curve_public
    known = world.bob.loop.engine._connections.peers.peers[world.alice.address].contact  # noqa: SLF001
    assert known == world.alice.loop.record != former
    (status,) = world.bob.loop.engine.peer_statuses()
    assert status.connected


def test_a_place_that_is_lost_when_the_former_key_ends_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node goes on with what it has: its dials, and its other places."""

    def lost() -> None:
        raise EndpointError("taken")

    world.alice.loop.rotate(None, 0.0)
    monkeypatch.setattr(world.alice.transport, "end_former", lost)
    world.run(4)
    failed = [event for event in world.alice.events if isinstance(event, CallbackFailed)]
    assert failed == [CallbackFailed("rotate_curve_key", "EndpointError: taken")]
    assert world.alice.alive


# --- Secrets ------------------------------------------------------------------------------------


def secrets_of(identity: Identity) -> list[str]:
    secrets = (identity._key.secret, identity.curve_secret)  # noqa: SLF001  # To look for it.
    return [form for secret in secrets for form in (secret.hex(), repr(secret)[2:-1])]


def shown_by(fault: BaseException) -> str:
    shown, link = "", fault
    while True:
        shown += "".join(traceback.format_exception(link)) + f"{link!r} {link.args!r}"
        following = link.__cause__ or link.__context__
        if following is None:
            return shown
        link = following


def test_no_object_of_a_service_shows_a_secret() -> None:
    identity = Identity.generate()
    transport = MemoryTransport(MemoryNetwork(), curve_public=identity.curve_public)
    options = Options(endpoints=(), identity=identity, transport=transport)
    unstarted = aio.P2PService(None, identity=identity)
    with P2PService("tcp://127.0.0.1:0", identity=identity) as p2p:
        node = p2p._node  # noqa: SLF001  # All that is inside, too.
        parts, loop = node._parts, node._loop  # noqa: SLF001  # As above.
        zmq = parts.transport
        shared = zmq._shared  # type: ignore[attr-defined]  # noqa: SLF001  # As above.
        inside = [p2p, unstarted, node, parts, loop, zmq, shared, shared.curve, options]
        inside += [vars(p2p), vars(node), vars(loop), vars(zmq), loop.engine, vars(loop.engine)]
        shown = " ".join(f"{each!r} {each}" for each in inside)
        p2p.rotate_curve_key()
        shown += " ".join(f"{each!r}" for each in inside)
        for secret in secrets_of(identity):
            assert secret not in shown
        for each in (parts, options, shared, shared.curve):
            with pytest.raises(TypeError):
                pickle.dumps(each)
    transport.close()


def test_no_failure_of_a_rotation_shows_a_secret(
    tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    path = tmp_path_factory.mktemp("keys") / "alice.key"
    identity = Identity.load_or_create(path)
    secrets = secrets_of(identity)
    with P2PService("tcp://127.0.0.1:0", identity=identity) as p2p:
        for endpoint in ("tcp://0.0.0.0:0", "nonsense", p2p.record.endpoints[0] + "0"):
            with pytest.raises(EndpointError) as refused:
                p2p.rotate_curve_key(endpoint)
            assert not any(secret in shown_by(refused.value) for secret in secrets)
        path.write_text(path.read_text() + "}")
        for _ in range(2):  # Malformed, then gone.
            with pytest.raises(KeyFileError) as lost:
                p2p.rotate_curve_key()
            assert not any(secret in shown_by(lost.value) for secret in secrets)
            path.unlink(missing_ok=True)
    assert not any(secret in caplog.text for secret in secrets)
