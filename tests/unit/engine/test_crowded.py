"""Where guests have as many connections as they may: only contacts come in, and they stay."""

from dataclasses import replace

import pytest

from tests.engine_world import HIGH, LOW, MIDDLE, Sut, curve_of, hello_of, record_of
from zmqp2p.codes import ByeCode
from zmqp2p.crypto import SecretKey
from zmqp2p.engine.output import EngineOutput
from zmqp2p.events import LinkRefused
from zmqp2p.ids import LinkId
from zmqp2p.wire.frames import Bye, Hello
from zmqp2p.wire.link import LinkUp

LINK = 1


def crowd_in(sut: Sut, key: SecretKey, hello: Hello | None = None) -> EngineOutput:
    """Let ``key``'s owner come over a link that only a contact may keep."""
    sut.turn(LinkUp(LinkId(LINK), curve_of(key), "192.0.2.1", dialed=False, crowded=True))
    return sut.hear(LINK, hello or hello_of(key))


def added(sut: Sut, key: SecretKey) -> EngineOutput:
    """Let the application add ``key``'s owner, who cannot be dialed."""
    sut.begin()
    sut.engine.add_contact(record_of(key, endpoints=()))
    return sut.settle()


def test_a_guest_is_told_to_come_another_time() -> None:
    """HEL-6, and no more: it has done nothing wrong."""
    sut = Sut(MIDDLE)
    output = crowd_in(sut, LOW)
    assert [frame.code for _, frame in output.frames if isinstance(frame, Bye)] == [
        ByeCode.TOO_MANY
    ]
    assert output.closes == [LINK]
    (refused,) = [event for event in output.events if isinstance(event, LinkRefused)]
    assert "guests" in refused.reason
    assert not output.trusted
    assert LOW.address not in sut.statuses()


def test_a_guest_is_refused_before_its_signature_is_looked_at() -> None:
    sut = Sut(MIDDLE)
    hello = hello_of(LOW)
    forged = replace(hello, record=hello.record[:-1] + bytes([hello.record[-1] ^ 1]))
    output = crowd_in(sut, LOW, forged)
    assert [frame.code for _, frame in output.frames if isinstance(frame, Bye)] == [
        ByeCode.TOO_MANY
    ]


def test_a_contact_comes_in_and_its_connection_is_kept() -> None:
    sut = Sut(MIDDLE)
    added(sut, LOW)
    output = crowd_in(sut, LOW)
    assert output.closes == []
    assert output.trusted == [LINK]


def test_who_claims_to_be_a_contact_is_not_trusted_before_it_is_proven() -> None:
    sut = Sut(MIDDLE)
    added(sut, LOW)
    hello = hello_of(LOW)
    forged = replace(hello, record=hello.record[:-1] + bytes([hello.record[-1] ^ 1]))
    output = crowd_in(sut, LOW, forged)
    assert output.closes == [LINK]
    assert not output.trusted
    assert not crowd_in(sut, HIGH, hello_of(HIGH, record_of(LOW))).trusted


def test_a_contact_that_is_handed_over_keeps_the_link_that_it_has() -> None:
    """It was let in when it was one; what it says again is no other arrival."""
    sut = Sut(MIDDLE)
    added(sut, LOW)
    crowd_in(sut, LOW)
    sut.begin()
    sut.engine.hand_over(LOW.address, record_of(HIGH, endpoints=()))
    sut.settle()
    output = sut.hear(LINK, hello_of(LOW))
    assert output.closes == []


def test_a_guest_that_is_added_keeps_its_connections_from_then_on() -> None:
    sut = Sut(MIDDLE)
    for link in (1, 2):
        assert not sut.meet(link, LOW, kept=False).trusted
    assert sorted(added(sut, LOW).trusted) == [1, 2]
    assert not added(sut, LOW).trusted
    assert sut.meet(3, LOW).trusted == [3]
    assert not sut.hear(3, hello_of(LOW)).trusted  # Said again.


@pytest.mark.parametrize("first", ["added", "connected"])
def test_what_this_node_dialed_takes_no_place(first: str) -> None:
    sut = Sut(MIDDLE)
    sut.begin()
    sut.engine.add_contact(record_of(LOW))
    sut.settle()
    (dial,) = sut.turn().dials
    assert dial.peer == LOW.address
    link = sut.last_link
    sut.up(link, curve_of(LOW), dialed=True)
    output = sut.hear(link, hello_of(LOW))
    assert output.closes == []
    assert not output.trusted
    if first == "connected":
        sut.begin()
        sut.engine.hand_over(LOW.address, record_of(HIGH, endpoints=()))
        sut.engine.add_contact(record_of(LOW))
        assert not sut.settle().trusted
