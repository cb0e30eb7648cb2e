"""Participants that are known by name only, and what this node is told of its own messages."""

from dataclasses import replace

from tests.engine_world import HIGH, LOW, MIDDLE, Sut, hello_of, note, record_of
from tests.frames import progress_of, refusal_of
from zmqp2p.codes import ByeCode
from zmqp2p.crypto import SecretKey
from zmqp2p.events import MessageUndelivered
from zmqp2p.ids import Address
from zmqp2p.limits import Limits
from zmqp2p.wire.frames import Ack, Bye

LINK = 1


def crowded() -> Sut:
    """Return an engine that serves one peer, and has mail for two that it never met."""
    sut = Sut(MIDDLE, limits=Limits(peers_max=1))
    sut.begin()
    for number in (1, 2):
        sut.engine.post(Address(bytes([number]) * 20), note("to nobody"))
    sut.turn()
    return sut


def test_peers_that_are_only_named_do_not_take_the_places_of_those_that_come() -> None:
    """HEL-6: or a proposal with hundreds of participants would shut everybody out."""
    sut = crowded()
    assert sut.engine.room() == -1
    assert not any(isinstance(frame, Bye) for _, frame in sut.meet(LINK, LOW).frames)
    ((_, frame),) = sut.meet(2, HIGH).frames
    assert isinstance(frame, Bye)
    assert frame.code is ByeCode.TOO_MANY


def test_guests_leave_places_to_participants_of_channels() -> None:
    """Identities are free: a node would approve no channel any more with whom it does not know."""
    sut = Sut(MIDDLE, limits=Limits(peers_max=4))
    keys = [SecretKey(number.to_bytes(32)) for number in range(10, 15)]
    refused = [
        link
        for link, key in enumerate(keys)
        if any(isinstance(frame, Bye) for _, frame in sut.meet(link, key).frames)
    ]
    assert refused == [3, 4]
    assert sut.engine.room() == 1
    sut.begin()
    sut.engine.add_contact(record_of(HIGH, endpoints=()))
    sut.settle()  # A contact takes no place of guests.
    sut.engine.forget_peer(keys[0].address)
    assert not any(isinstance(frame, Bye) for _, frame in sut.meet(9, keys[4]).frames)
    assert [isinstance(frame, Bye) for _, frame in sut.meet(10, keys[3]).frames] == [True]


def test_contacts_take_places_that_guests_would_have() -> None:
    """HEL-6: there are so many in all."""
    sut = Sut(MIDDLE, limits=Limits(peers_max=2))
    sut.begin()
    for number in (10, 11):
        sut.engine.add_contact(record_of(SecretKey(number.to_bytes(32)), endpoints=()))
    sut.settle()
    assert [isinstance(frame, Bye) for _, frame in sut.meet(LINK, LOW).frames] == [True]


def test_a_contact_that_is_handed_over_or_forgotten_is_counted_as_what_it_is() -> None:
    sut = Sut(MIDDLE, limits=Limits(peers_max=4))
    sut.begin()
    for key in (LOW, HIGH):
        sut.engine.add_contact(record_of(key, endpoints=()))
    sut.engine.hand_over(LOW.address, record_of(HIGH, endpoints=()))
    sut.settle()  # It checks the counts.
    sut.begin()
    sut.engine.forget_peer(HIGH.address)
    sut.settle()
    again = sut.restarted()
    keys = [SecretKey(number.to_bytes(32)) for number in range(10, 13)]
    refused = [
        any(isinstance(frame, Bye) for _, frame in again.meet(link, key).frames)
        for link, key in enumerate(keys)
    ]
    assert refused == [False, False, True]


def test_a_restart_does_not_make_them_peers() -> None:
    """HEL-6."""
    sut = crowded().restarted()
    assert not any(isinstance(frame, Bye) for _, frame in sut.meet(LINK, LOW).frames)


def test_a_named_participant_that_comes_takes_a_place() -> None:
    """HEL-6."""
    sut = Sut(MIDDLE, limits=Limits(peers_max=1))
    sut.begin()
    sut.engine.post(LOW.address, note("to a stranger"))
    sut.turn()
    sut.meet(LINK, LOW)
    ((_, frame),) = sut.meet(2, HIGH).frames
    assert isinstance(frame, Bye)


def test_a_status_says_that_there_is_mail_for_somebody_unknown() -> None:
    """Nothing would ever happen, and nobody would know why."""
    assert all("unknown" in why for why in crowded().statuses().values())


def test_the_application_hears_of_a_refusal_also_without_a_receipt() -> None:
    """REF-2: the run that had the receipt may be over."""
    sut = Sut(MIDDLE)
    sut.meet(LINK, LOW, replace(hello_of(LOW)))
    sut.begin()
    sut.engine.send(LOW.address, note("x"))
    sut.turn()
    refusal = refusal_of(1)
    output = sut.hear(LINK, Ack(progress_of(ack=1, received=1, refusals=(refusal,))))
    told = [event for event in output.events if isinstance(event, MessageUndelivered)]
    assert told == [MessageUndelivered(LOW.address, refusal.seq, refusal.code, refusal.reason)]
