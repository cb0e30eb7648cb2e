"""What is told first: contacts' frames, and guests' by turns, each link in its own order."""

from collections import defaultdict
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmqp2p.ids import LinkId
from zmqp2p.transport.news import HELD_MAX_BYTES, HELD_MAX_FRAMES, News
from zmqp2p.wire.link import DownReason, LinkDown, LinkEvent, LinkUp, Received

CONTACT, GUEST, OTHER = LinkId(1), LinkId(2), LinkId(3)


def said(link: LinkId, number: int = 0) -> Received:
    """Return what came over ``link``, with its number."""
    return Received(link, (number.to_bytes(4),))


def gone(link: LinkId) -> LinkDown:
    """Return that ``link`` has ended."""
    return LinkDown(link, DownReason.LOST, "")


def links_of(events: list[LinkEvent]) -> list[LinkId]:
    """Return of which links they are."""
    return [event.link for event in events]


def test_contacts_are_told_before_what_guests_said_earlier() -> None:
    news = News()
    for number in range(3):
        news.hold(said(GUEST, number), 500)
    news.tell(said(CONTACT), 20)
    assert links_of(news.take(1_000)) == [CONTACT, GUEST, GUEST]
    assert news.take(1_000) == [said(GUEST, 2)]
    assert news.take(1_000) == []


def test_guests_have_a_fourth_however_much_contacts_say() -> None:
    news = News()
    for number in range(10):
        news.hold(said(GUEST, number), 100)
    for number in range(20):
        news.tell(said(CONTACT, number), 100)
    assert links_of(news.take(2_000)) == [CONTACT] * 20 + [GUEST] * 5
    news.tell(said(CONTACT), 100)
    assert links_of(news.take(400)) == [CONTACT] + [GUEST] * 3


def test_one_is_told_however_much_work_it_is() -> None:
    news = News()
    for number in range(2):
        news.hold(said(GUEST, number), 10_000)
    assert news.take(1) == [said(GUEST, 0)]
    assert news.take(1) == [said(GUEST, 1)]


def test_among_guests_it_goes_by_work() -> None:
    """One with small frames is not held up by one with dear ones, that came first."""
    news = News()
    for number in range(4):
        news.hold(said(GUEST, number), 500)
    for number in range(12):
        news.hold(said(OTHER, number), 50)
    told = links_of(news.take(1_600))
    assert told[:2] == [GUEST, OTHER]
    assert told.count(OTHER) == 12


def test_work_that_was_done_counts_when_a_link_comes_back_to_others_that_wait() -> None:
    """Else who says one dear thing at a time would always be the next."""
    news = News()
    news.hold(said(GUEST), 1_000)
    for number in range(9):
        news.hold(said(OTHER, number), 100)
    assert links_of(news.take(1_000)) == [GUEST]
    news.hold(said(GUEST, 1), 1_000)
    assert links_of(news.take(900)) == [OTHER] * 9


def test_a_link_keeps_its_order() -> None:
    news = News()
    news.tell(LinkUp(GUEST, None, "there", dialed=False))
    news.hold(said(GUEST, 0), 500)
    news.hold(said(GUEST, 1), 500)
    news.tell(gone(GUEST))
    news.tell(gone(CONTACT))
    assert links_of(news.take(1)) == [GUEST, CONTACT, GUEST]
    assert news.take(1) == [said(GUEST, 1)]
    assert news.take(1) == [gone(GUEST)]


def test_what_a_contact_said_before_it_was_known_waits_no_more() -> None:
    news = News()
    for number in range(2):
        news.hold(said(OTHER, number), 500)
        news.hold(said(GUEST, number), 500)
    news.release(GUEST)
    news.release(GUEST)
    news.tell(said(GUEST, 2), 500)
    assert links_of(news.take(1_000)) == [GUEST] * 3 + [OTHER]
    assert links_of(news.take(1_000)) == [OTHER]


def test_of_what_is_forgotten_nothing_is_told() -> None:
    news = News()
    news.tell(LinkUp(GUEST, None, "there", dialed=False))
    news.hold(said(GUEST), 500)
    news.hold(said(OTHER), 500)
    news.forget(GUEST)
    news.forget(GUEST)
    assert news.take(10_000) == [said(OTHER)]
    assert not news
    news.check()


@pytest.mark.parametrize(
    ("frame", "most"), [(b"", HELD_MAX_FRAMES), (bytes(2**20), HELD_MAX_BYTES // 2**20)]
)
def test_what_waits_is_bounded(frame: bytes, most: int) -> None:
    news = News()
    full = []
    for _ in range(most):
        full.append(news.full)
        news.hold(Received(GUEST, (frame,)), 500)
    assert not any(full)
    full = [news.full]
    news.take(500)
    full.append(news.full)
    news.hold(Received(GUEST, (frame,)), 500)
    full.append(news.full)
    news.forget(GUEST)
    full.append(news.full)
    assert full == [True, False, True, False]


Step = Callable[["Listened", LinkId, int, int], None]


class Listened:
    """News, and what is expected of it: for each link what was put in, in its order."""

    def __init__(self) -> None:
        self.news = News()
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
        self.news.hold(said(link, number), work_us)
        self.put[link].append(said(link, number))

    def down(self, link: LinkId, number: int, work_us: int) -> None:
        """A link ends."""
        del number, work_us
        self.news.tell(gone(link))
        self.put[link].append(gone(link))

    def release(self, link: LinkId, number: int, work_us: int) -> None:
        """A link is a contact's."""
        del number, work_us
        self.news.release(link)

    def forget(self, link: LinkId, number: int, work_us: int) -> None:
        """Nobody wants to hear more of it."""
        del number, work_us
        self.news.forget(link)
        self.put[link] = list(self.told[link])


STEPS = (Listened.take, Listened.tell, Listened.down, Listened.release, Listened.forget)
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
