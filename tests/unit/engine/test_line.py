"""Who is next: fair by work, contacts and guests by class, and rates that cost nobody idle time."""

from collections import Counter
from math import inf

import pytest

from tests.chance import seeded
from zmqp2p.engine.line import MESSAGE_US, SIGNATURE_US, Line
from zmqp2p.ids import Address
from zmqp2p.limits import MIB, Limits
from zmqp2p.persistence import PeerSnapshot
from zmqp2p.session.session import Output, Session

LIMITS = Limits()
BURST = int(LIMITS.guest_rate_messages * LIMITS.rate_burst_s)


def session_of(name: str) -> Session:
    """Return a session of a peer called ``name``."""
    return Session(Address(name.encode()), PeerSnapshot(), Output(), LIMITS, seeded(1))


class Crowd:
    """Peers that always have a message more, and a line that serves them."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.line = Line(limits)
        self.now = 0.0
        self.served: list[str] = []
        self._contacts: dict[str, bool] = {}
        self._sizes: dict[str, int] = {}
        self._works: dict[str, float] = {}

    def join(self, name: str, size: int = 0, work: float = 0.0, *, contact: bool = False) -> None:
        """Let ``name`` ask for messages of ``size`` bytes that cost ``work`` besides."""
        self._contacts[name], self._sizes[name], self._works[name] = contact, size, work
        self.line.offer(session_of(name), self.now, contact=contact)

    def serve(self, messages: int, *, stay: bool = True) -> Counter[str]:
        """Process so many messages; return how many of whom."""
        served: Counter[str] = Counter()
        for _ in range(messages):
            service = self.line.next()
            assert service is not None
            session = service.session
            name = session.peer.decode()
            service.count(self._sizes[name])
            service.work_us += self._works[name]
            assert session.queued
            self.line.end(service, self.now)
            served[name] += 1
            self.served.append(name)
            if stay:
                self.line.offer(session, self.now, contact=self._contacts[name])
            self.line.check()
        return served


def test_nobody_is_next_in_an_empty_line() -> None:
    line = Line(LIMITS)
    assert not line
    assert line.next() is None


def test_equals_take_turns_in_the_order_they_came() -> None:
    crowd = Crowd()
    for name in "abc":
        crowd.join(name)
    assert crowd.line
    crowd.serve(6)
    assert "".join(crowd.served) == "abcabc"


def test_who_is_handed_out_does_not_stand_in_line_any_more() -> None:
    crowd = Crowd()
    crowd.join("a")
    service = crowd.line.next()
    assert service is not None
    assert not crowd.line
    crowd.line.end(service, 0.0)
    assert not service.session.queued
    assert not crowd.line


def test_who_is_in_excess_is_known_until_it_stands_in_line_again() -> None:
    crowd = Crowd()
    crowd.join("flood")
    crowd.join("calm")
    crowd.serve(3 * BURST)
    assert crowd.line.in_excess(crowd.now) == {b"flood", b"calm"}
    crowd.now = 60.0
    crowd.line.promote(crowd.now)
    crowd.serve(2)
    assert crowd.line.in_excess(crowd.now) == set()


def test_who_waits_no_more_is_in_excess_until_its_rate_has_caught_up() -> None:
    crowd = Crowd()
    crowd.join("flood")
    crowd.serve(3 * BURST)
    waits = crowd.line.next()
    assert waits is not None
    crowd.line.end(waits, crowd.now)
    assert crowd.line.in_excess(crowd.now) == {b"flood"}
    crowd.now += 60.0
    assert crowd.line.in_excess_most == 1
    assert crowd.line.in_excess(crowd.now) == set()
    assert crowd.line.in_excess_most == 0


def test_who_waits_is_in_excess_though_its_rate_has_caught_up_for_a_moment() -> None:
    """Else of those that all send without end one would now and then seem not to."""
    crowd = Crowd()
    crowd.join("flood")
    crowd.serve(3 * BURST)
    crowd.now += 60.0
    assert not crowd.line.beyond_rate(Address(b"flood"), crowd.now)
    assert crowd.line.in_excess(crowd.now) == {b"flood"}


def test_each_has_the_same_work_and_not_the_same_number_of_messages() -> None:
    """One with signatures to check, or with large messages, is not worth more than others."""
    crowd = Crowd()
    crowd.join("small")
    crowd.join("signed", work=SIGNATURE_US)
    crowd.join("large", size=100_000)
    served = crowd.serve(2_000)
    work = {
        "small": MESSAGE_US,
        "signed": MESSAGE_US + SIGNATURE_US,
        "large": MESSAGE_US + 100_000 / 200,
    }
    spent = {name: served[name] * work[name] for name in work}
    assert max(spent.values()) < min(spent.values()) * 1.05


def test_a_newcomer_does_not_wait_for_what_others_have_had_or_have_yet_to_say() -> None:
    crowd = Crowd()
    for name in "abc":
        crowd.join(name, contact=True)
    crowd.serve(3_000)
    crowd.join("new", contact=True)
    assert crowd.serve(4)["new"] >= 1


def test_who_was_away_has_saved_up_nothing() -> None:
    """Else it could have the node for itself for as long as it was silent."""
    crowd = Crowd()
    crowd.join("a", contact=True)
    crowd.serve(1)
    crowd.join("b", contact=True)
    crowd.serve(1_000)
    crowd.join("late", contact=True)
    served = crowd.serve(300)
    assert served["late"] <= 101


def test_many_guests_do_not_crowd_out_a_contact() -> None:
    """Identities cost nothing: however many there are, a contact has three parts of four."""
    crowd = Crowd()
    for number in range(200):
        crowd.join(f"guest {number}")
    crowd.serve(500)
    crowd.join("contact", contact=True)
    served = crowd.serve(400)
    assert served["contact"] == pytest.approx(300, abs=3)


def test_contacts_do_not_crowd_out_guests() -> None:
    crowd = Crowd()
    for number in range(50):
        crowd.join(f"contact {number}", contact=True)
    crowd.serve(500)
    crowd.join("guest")
    assert crowd.serve(400)["guest"] == pytest.approx(100, abs=3)


def test_a_class_that_was_idle_has_saved_up_nothing() -> None:
    crowd = Crowd()
    crowd.join("contact", contact=True)
    crowd.serve(10_000)
    crowd.join("guest")
    assert crowd.serve(40)["guest"] <= 11
    assert crowd.serve(40)["guest"] <= 11


def test_a_guest_alone_is_served_beyond_its_rate() -> None:
    """The node has time: a rate that it would have to wait for costs throughput for nothing."""
    crowd = Crowd()
    crowd.join("guest")
    assert crowd.serve(10 * BURST)["guest"] == 10 * BURST


def test_a_guest_beyond_its_rate_has_what_the_others_leave() -> None:
    """A flood does not take from one that keeps to its rate, nor from a contact."""
    crowd = Crowd()
    crowd.join("flood")
    crowd.serve(BURST)
    crowd.join("calm")
    crowd.join("contact", contact=True)
    assert crowd.serve(1_000)["flood"] <= 1  # It stood in line before its burst was used up.


def test_a_guest_beyond_its_rate_has_its_rate_all_the_same() -> None:
    """It is not starved: what its bucket gains, it may have like everybody else."""
    crowd = Crowd()
    crowd.join("flood")
    crowd.serve(BURST + 1)
    crowd.join("contact", contact=True)
    served: Counter[str] = Counter()
    for _ in range(100):  # 0.1 s: it may have 100 messages in that.
        crowd.now += 0.001
        crowd.line.promote(crowd.now)
        served += crowd.serve(20)
    assert served["flood"] == pytest.approx(100, abs=3)


def test_what_a_guest_had_while_nobody_else_came_is_not_held_against_it() -> None:
    """Else it would be starved for as long as the node had been idle."""
    crowd = Crowd()
    crowd.join("flood")
    crowd.serve(10 * BURST)
    crowd.join("contact", contact=True)
    crowd.now += 0.1
    crowd.line.promote(crowd.now)
    assert crowd.serve(1_000)["flood"] == pytest.approx(100, abs=2)


def test_those_in_excess_are_fair_to_each_other() -> None:
    crowd = Crowd()
    crowd.join("a")
    crowd.join("b")
    crowd.serve(2 * BURST)
    assert crowd.serve(101)["a"] == pytest.approx(50, abs=1)


def test_bytes_have_a_rate_too() -> None:
    """A largest message at once, and then 4 MiB a second."""
    crowd = Crowd()
    crowd.join("bulk", size=16 * MIB)
    crowd.serve(1)
    crowd.join("calm")
    assert crowd.serve(100)["bulk"] <= 1


def test_a_message_that_is_more_work_counts_as_many_ordinary_ones() -> None:
    """Within its rate nobody can have much of a core, however dear each message is."""
    line = Line(LIMITS)
    line.offer(session_of("dear"), 0.0, contact=False)
    service = line.next()
    assert service is not None
    service.count(0)
    assert service.count_more((BURST - 2) * MESSAGE_US) == (BURST - 2) * MESSAGE_US
    assert service.work_us == (BURST - 1) * MESSAGE_US
    line.end(service, 0.0)
    assert not line.beyond_rate(service.session.peer, 0.0)
    line.offer(service.session, 0.0, contact=False)
    service = line.next()
    assert service is not None
    service.count_more(MESSAGE_US)
    line.end(service, 0.0)
    assert line.beyond_rate(service.session.peer, 0.0)


def test_a_contact_has_no_rate_unless_it_is_given_one() -> None:
    assert LIMITS.contact_rate_messages == LIMITS.contact_rate_bytes == inf
    crowd = Crowd(Limits(contact_rate_messages=10.0, rate_burst_s=1.0))
    crowd.join("contact", contact=True)
    crowd.serve(11)
    crowd.join("calm", contact=True)
    assert crowd.serve(10)["calm"] == 10


def test_a_guest_that_is_added_is_a_contact_from_then_on() -> None:
    crowd = Crowd()
    crowd.join("a")
    crowd.serve(2 * BURST)
    crowd.join("guest")
    crowd._contacts["a"] = True  # noqa: SLF001  # The application has added it meanwhile.
    crowd.serve(BURST)
    assert crowd.serve(100)["a"] >= 70


def test_whoever_moves_up_keeps_its_order() -> None:
    crowd = Crowd(Limits(guest_rate_messages=1.0, rate_burst_s=1.0))
    for name in "abc":
        crowd.join(name)
    crowd.serve(3)
    assert crowd.served == ["a", "b", "c"]
    crowd.now = 10.0
    crowd.line.promote(crowd.now)
    crowd.serve(3, stay=False)
    assert crowd.served[3:] == ["a", "b", "c"]


def test_one_goes_on_while_nobody_else_waits_but_not_for_ever() -> None:
    """To look who is next costs something; within a turn others may come to wait."""
    crowd = Crowd()
    crowd.join("a")
    service = crowd.line.next()
    assert service is not None
    assert crowd.line.may_go_on(service)
    crowd.join("b")
    assert not crowd.line.may_go_on(service)
    other = crowd.line.next()
    assert other is not None
    assert crowd.line.may_go_on(other)
    other.work_us = 1_000.0
    assert not crowd.line.may_go_on(other)


def test_in_excess_each_has_a_run() -> None:
    crowd = Crowd()
    crowd.join("a")
    crowd.join("b")
    crowd.serve(3 * BURST)
    service = crowd.line.next()
    assert service is not None
    assert crowd.line.may_go_on(service)


def test_of_whoever_is_forgotten_nothing_is_kept() -> None:
    """Identities cost nothing: an account for each that ever came would fill the memory."""
    crowd = Crowd()
    crowd.join("a")
    crowd.join("b")
    crowd.serve(4)
    gone = session_of("gone")
    crowd.line.offer(gone, crowd.now, contact=False)
    crowd.line.forget(gone)
    crowd.line.check()
    assert not gone.queued
    assert gone.peer not in crowd.line._accounts  # noqa: SLF001  # It shows nowhere else.
    assert crowd.serve(2) == {"a": 1, "b": 1}
    crowd.join("gone")  # It has come again.
    assert crowd.serve(3)["gone"] == 1


def test_who_is_forgotten_is_beyond_no_rate() -> None:
    crowd = Crowd(Limits(guest_rate_messages=1.0, rate_burst_s=1.0))
    gone = session_of("gone")
    crowd.line.offer(gone, 0.0, contact=False)
    for _ in range(2):
        service = crowd.line.next()
        assert service is not None
        service.count(0)
        crowd.line.end(service, 0.0)
        crowd.line.offer(gone, 0.0, contact=False)
    assert crowd.line.in_excess(crowd.now) == {gone.peer}
    crowd.line.forget(gone)
    assert not crowd.line.in_excess(crowd.now)
    assert not crowd.line
    crowd.line.forget(gone)
    crowd.line.check()
