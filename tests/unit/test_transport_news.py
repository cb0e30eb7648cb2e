"""What is told first: contacts' frames, and guests' by turns, each link in its own order."""

from collections import defaultdict
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmqp2p.ids import LinkId
from zmqp2p.transport.news import HELD_MAX_BYTES, HELD_MAX_US, Backlog, News
from zmqp2p.wire.link import DownReason, LinkDown, LinkEvent, LinkUp, Received

CONTACT, GUEST, OTHER = LinkId(1), LinkId(2), LinkId(3)


def said(link: LinkId, number: int = 0) -> Received:
    """Return what came over ``link``, with its number."""
    return Received(link, (number.to_bytes(4),))


def came(link: LinkId, *, former: bool = False) -> LinkUp:
    """Return that ``link`` is up."""
    return LinkUp(link, None, "there", dialed=False, former=former)


def gone(link: LinkId) -> LinkDown:
    """Return that ``link`` has ended."""
    return LinkDown(link, DownReason.LOST, "")


def links_of(events: list[LinkEvent]) -> list[LinkId]:
    """Return of which links they are."""
    return [event.link for event in events]


class Held(News):
    """News of one listener's links."""

    def __init__(self) -> None:
        super().__init__()
        self.backlog = Backlog()

    def held(self, link: LinkId, count: int, work_us: int, first: int = 0) -> None:
        """Hold so many frames of ``link``."""
        for number in range(first, first + count):
            self.hold(said(link, number), work_us, self.backlog)


def test_contacts_are_told_before_what_guests_said_earlier() -> None:
    news = Held()
    news.held(GUEST, 3, 500)
    news.tell(said(CONTACT), 20)
    assert links_of(news.take(1_000)) == [CONTACT, GUEST, GUEST]
    assert news.take(1_000) == [said(GUEST, 2)]
    assert news.take(1_000) == []


def test_guests_have_a_fourth_however_much_contacts_say() -> None:
    news = Held()
    news.held(GUEST, 10, 100)
    for number in range(20):
        news.tell(said(CONTACT, number), 100)
    assert links_of(news.take(2_000)) == [CONTACT] * 20 + [GUEST] * 5
    news.tell(said(CONTACT), 100)
    assert links_of(news.take(400)) == [CONTACT] + [GUEST] * 3


def test_one_is_told_however_much_work_it_is() -> None:
    news = Held()
    news.held(GUEST, 2, 10_000)
    assert news.take(4) == [said(GUEST, 0)]
    assert news.take(4) == [said(GUEST, 1)]


def test_among_guests_it_goes_by_work() -> None:
    """One with small frames is not held up by one with dear ones, that came first."""
    news = Held()
    news.held(GUEST, 4, 500)
    news.held(OTHER, 12, 50)
    told = links_of(news.take(1_600))
    assert told[:2] == [GUEST, OTHER]
    assert told.count(OTHER) == 12


def test_of_those_that_begin_together_who_came_first_is_the_first() -> None:
    news = Held()
    for link in (OTHER, GUEST, CONTACT):
        news.held(link, 1, 500)
    assert links_of(news.take(1_500)) == [OTHER, GUEST, CONTACT]


def test_work_that_was_done_counts_when_a_link_comes_back_to_others_that_wait() -> None:
    """Else who says one dear thing at a time would always be the next."""
    news = Held()
    news.held(GUEST, 1, 1_000)
    news.held(OTHER, 9, 100)
    assert links_of(news.take(1_000)) == [GUEST]
    news.held(GUEST, 1, 1_000, first=1)
    assert links_of(news.take(900)) == [OTHER] * 9


def test_a_link_keeps_its_order() -> None:
    news = Held()
    news.hold(came(GUEST), 0, news.backlog)
    news.held(GUEST, 2, 500)
    news.tell(said(GUEST, 2), 500)
    news.tell(gone(GUEST))
    news.tell(gone(CONTACT))
    assert news.take(4) == [gone(CONTACT), came(GUEST), said(GUEST, 0)]
    assert news.take(4) == [said(GUEST, 1)]
    assert news.take(4) == [said(GUEST, 2)]
    assert news.take(4) == [gone(GUEST)]


def test_what_is_added_to_what_is_held_counts_as_work() -> None:
    news = Held()
    news.held(GUEST, 1, 10)
    for number in (1, 2):
        news.tell(said(GUEST, number), 500)
    assert links_of(news.take(400)) == [GUEST, GUEST]
    assert news.backlog.work_us == 500


def test_what_a_contact_said_before_it_was_known_waits_for_no_guest() -> None:
    """But not all of it is told at once: a turn stays short."""
    news = Held()
    news.held(OTHER, 8, 500)
    news.held(GUEST, 8, 500)
    for link in (GUEST, GUEST, CONTACT):
        news.trust(link)
        news.check()
    news.tell(said(GUEST, 8), 500)
    assert links_of(news.take(2_000)) == [GUEST] * 4 + [OTHER]
    assert links_of(news.take(2_000)) == [GUEST] * 4 + [OTHER]
    assert links_of(news.take(2_000)) == [GUEST] + [OTHER] * 3
    news.check()


def test_of_what_is_forgotten_nothing_is_told_nor_counted() -> None:
    news = Held()
    news.tell(came(GUEST))
    news.tell(said(GUEST), 2_000)
    news.forget(GUEST)
    news.hold(came(GUEST), 0, news.backlog)
    news.held(GUEST, 1, 500)
    news.held(OTHER, 8, 500)
    news.forget(GUEST)
    news.forget(GUEST)
    assert links_of(news.take(2_000)) == [OTHER] * 4
    news.check()


def test_of_what_is_dropped_it_is_told_that_it_was_up() -> None:
    """Or its end, which is told next, would be that of nothing."""
    news = Held()
    news.hold(came(GUEST), 0, news.backlog)
    news.held(GUEST, 3, 500)
    news.held(OTHER, 3, 500)
    for link in (GUEST, OTHER, CONTACT):
        news.drop(link)
        news.tell(gone(link))
    assert news.take(1) == [came(GUEST), gone(GUEST), gone(OTHER), gone(CONTACT)]
    assert not news
    assert (news.backlog.work_us, news.backlog.size_bytes) == (0, 0)


def test_a_link_may_be_held_again_after_it_was_dropped_or_trusted() -> None:
    """Its former place in line is nobody's."""
    news = Held()
    news.held(GUEST, 2, 500)
    news.drop(GUEST)
    news.held(GUEST, 2, 500, first=2)
    news.held(OTHER, 2, 500)
    news.trust(OTHER)
    assert links_of(news.take(100_000)) == [OTHER, OTHER, GUEST, GUEST]


def test_what_is_not_told_when_the_key_is_replaced_is_of_the_former_one() -> None:
    news = Held()
    news.tell(came(CONTACT))
    news.hold(came(GUEST), 0, news.backlog)
    news.held(GUEST, 1, 500)
    news.rekeyed()
    expected = [came(CONTACT, former=True), came(GUEST, former=True), said(GUEST)]
    assert news.take(1_000) == expected


@pytest.mark.parametrize(
    ("frame", "work_us", "most"),
    [(b"", 100, HELD_MAX_US // 100), (bytes(2**20), 500, HELD_MAX_BYTES // 2**20)],
)
def test_what_waits_is_bounded_for_each_listener(frame: bytes, work_us: int, most: int) -> None:
    news = Held()
    full = []
    for _ in range(most):
        full.append(news.backlog.full)
        news.hold(Received(GUEST, (frame,)), work_us, news.backlog)
    assert not any(full)
    full = [news.backlog.full]
    news.hold(said(OTHER), 500, Backlog())
    news.take(work_us)
    full.append(news.backlog.full)
    news.hold(Received(GUEST, (frame,)), work_us, news.backlog)
    full.append(news.backlog.full)
    news.forget(GUEST)
    full.append(news.backlog.full)
    assert full == [True, False, True, False]


@pytest.mark.parametrize("how", ["told", "held", "forgotten"])
def test_nothing_is_remembered_of_links_that_have_ended(how: str) -> None:
    """Though others wait all the time: links cost an enemy nothing."""
    news = Held()
    for other in (CONTACT, GUEST, OTHER):
        news.held(other, 1_000, 10)
    for trusted, link in enumerate(map(LinkId, range(10, 60))):
        news.held(link, 1, 10)
        if trusted % 2:
            news.trust(link)
        if how == "held":
            news.tell(gone(link))
        assert link in links_of(news.take(80))
        if how == "told":
            news.tell(gone(link))
        elif how == "forgotten":
            news.forget(link)
    lanes = (news._contacts, news._guests)  # noqa: SLF001  # Nobody else knows.
    assert sum(lane.remembered for lane in lanes) <= 3
    assert sum(len(lane.heap) for lane in lanes) <= 3


class Listened:
    """News, and what is expected of it: for each link what was put in, in its order."""

    def __init__(self) -> None:
        self.news = Held()
        self.put: defaultdict[LinkId, list[LinkEvent]] = defaultdict(list)
        self.told: defaultdict[LinkId, list[LinkEvent]] = defaultdict(list)

    def take(self, link: LinkId, number: int, work_us: int) -> None:
        """Have some told."""
        del link, number
        for event in self.news.take(work_us):
            self.told[event.link].append(event)

    def tell(self, link: LinkId, number: int, work_us: int) -> None:
        """A contact says something."""
        self.news.tell(said(link, number), work_us)
        self.put[link].append(said(link, number))

    def hold(self, link: LinkId, number: int, work_us: int) -> None:
        """A guest says something."""
        self.news.hold(said(link, number), work_us, self.news.backlog)
        self.put[link].append(said(link, number))

    def down(self, link: LinkId, number: int, work_us: int) -> None:
        """A link ends."""
        del number, work_us
        self.news.tell(gone(link))
        self.put[link].append(gone(link))

    def trust(self, link: LinkId, number: int, work_us: int) -> None:
        """A link is a contact's."""
        del number, work_us
        self.news.trust(link)

    def forget(self, link: LinkId, number: int, work_us: int) -> None:
        """Nobody wants to hear more of it."""
        del number, work_us
        self.news.forget(link)
        self.put[link] = list(self.told[link])


Step = Callable[[Listened, LinkId, int, int], None]
STEPS = (Listened.take, Listened.tell, Listened.down, Listened.trust, Listened.forget)
steps = st.tuples(
    st.sampled_from((*STEPS, Listened.hold, Listened.hold, Listened.hold)),
    st.sampled_from([LinkId(number) for number in range(1, 6)]),
    st.integers(0, 1_000),
)


@given(st.lists(steps, max_size=60))
def test_each_is_told_once_and_in_its_links_order(taken: list[tuple[Step, LinkId, int]]) -> None:
    listened = Listened()
    for number, (step, link, work_us) in enumerate(taken):
        step(listened, link, number, work_us)
        listened.news.check()
    while listened.news:
        listened.take(CONTACT, 0, 1_000_000)
    listened.news.check()
    for link, events in listened.put.items():
        assert listened.told[link] == events
