"""The room that all inboxes share: guests have a part of it, and nobody hogs it."""

from collections.abc import Callable

import pytest

from tests.frames import STREAM, chain, following
from zmqp2p.errors import InvalidValue, PeerError
from zmqp2p.ids import Seq
from zmqp2p.limits import BODY_MAX_BYTES, KIB, MIB, PART_MAX_BYTES, Limits
from zmqp2p.session.inbox import Accepted, Inbox
from zmqp2p.session.pace import PartsPace
from zmqp2p.session.parts import split
from zmqp2p.session.room import MESSAGE_BYTES, RESERVED_BYTES, InboxRoom

LIMITS = Limits()
LARGE = split(bytes(16 * MIB))


def inbox_in(room: InboxRoom, *, guest: bool = False) -> Inbox:
    """Return an empty inbox that has its room in ``room``."""
    inbox = Inbox(STREAM, (Seq(0), chain(STREAM)), [], LIMITS, room)
    inbox.belong(guest=guest)
    return inbox


def give(inbox: Inbox, *bodies: bytes) -> Accepted:
    """Let ``bodies`` come that follow on what came before."""
    seq = Seq(inbox.received + 1)
    accepted = inbox.accept(seq, bodies, following(inbox, seq, bodies))
    inbox.check()
    return accepted


def test_guests_together_have_their_share_and_contacts_have_the_rest() -> None:
    room = InboxRoom(20 * MIB, 4 * MIB)
    guests = [inbox_in(room, guest=True) for _ in range(8)]
    contact = inbox_in(room)
    for guest in guests:
        while guest.window()[1] >= BODY_MAX_BYTES:
            assert give(guest, bytes(BODY_MAX_BYTES)) is Accepted.NEW
    assert room.used_bytes < 4 * MIB + 8 * RESERVED_BYTES
    assert contact.window()[1] > 10 * MIB
    assert give(contact, *[bytes(1000)] * 100) is Accepted.NEW


def test_contacts_leave_guests_their_reserve_and_no_more() -> None:
    room = InboxRoom(2 * MIB, 1 * MIB)
    contact, guest = inbox_in(room), inbox_in(room, guest=True)
    while contact.window()[1] >= BODY_MAX_BYTES:
        give(contact, bytes(BODY_MAX_BYTES))
    assert guest.window()[1] <= RESERVED_BYTES


def test_a_guests_message_in_parts_needs_room_among_all_too() -> None:
    room = InboxRoom(8 * MIB, 8 * MIB)
    room.add(3 * MIB, 3 * MIB, guest=False)
    assert room.admits(MIB, guest=True)
    assert not room.admits(MIB + 1, guest=True)


def test_a_guest_that_becomes_a_contact_takes_what_it_holds_along() -> None:
    room = InboxRoom(20 * MIB, 8 * MIB)
    one, other = inbox_in(room, guest=True), inbox_in(room, guest=True)
    give(one, bytes(BODY_MAX_BYTES))
    give(one, split(bytes(3 * MIB))[0])
    before = other.window()[1]
    one.belong(guest=False)
    one.check()
    assert other.window()[1] == before + BODY_MAX_BYTES + MESSAGE_BYTES + 13 * PART_MAX_BYTES
    assert room.admits(4 * MIB, guest=True)
    one.close()
    assert (room.used_bytes, room.incomplete_bytes) == (0, 0)


def test_a_guests_half_message_takes_only_of_what_guests_have() -> None:
    room = InboxRoom(512 * MIB, 48 * MIB)
    first, second = inbox_in(room, guest=True), inbox_in(room, guest=True)
    assert give(first, LARGE[0]) is Accepted.NEW
    assert give(second, LARGE[0]) is Accepted.FULL
    contacts = [inbox_in(room) for _ in range(14)]
    assert [give(contact, LARGE[0]) for contact in contacts] == [Accepted.NEW] * 14


def test_what_cannot_begin_is_not_permitted_until_it_can() -> None:
    """Else it would be sent again and again, in vain, and its link given up for a stall."""
    room = InboxRoom(40 * MIB)
    first, second = inbox_in(room), inbox_in(room)
    give(first, LARGE[0])
    assert give(second, LARGE[0]) is Accepted.FULL
    assert room.waiting == {second}
    assert room.left_bytes(0) > 16 * MIB  # It is not for want of room, but of half of it.
    assert second.window()[1] == 0
    first.drop_parts()
    assert second.window()[1] > 16 * MIB
    assert give(second, LARGE[0]) is Accepted.NEW
    assert room.waiting == set()


@pytest.mark.parametrize("end", [Inbox.close, Inbox.drop_parts])
def test_nobody_waits_who_is_gone(end: Callable[[Inbox], None]) -> None:
    room = InboxRoom(40 * MIB)
    give(inbox_in(room), LARGE[0])
    gone = inbox_in(room)
    give(gone, LARGE[0])
    assert room.waiting == {gone}
    end(gone)
    assert room.waiting == set()
    assert gone.window()[1] > 0


def test_who_is_barred_does_not_begin_and_makes_nobody_hurry() -> None:
    room = InboxRoom(40 * MIB)
    inbox = inbox_in(room)
    inbox.barred = True
    assert give(inbox, LARGE[0]) is Accepted.FULL
    assert inbox.window()[1] == 0
    assert room.waiting == set()
    inbox.barred = False
    assert inbox.window()[1] > 16 * MIB
    assert give(inbox, LARGE[0]) is Accepted.NEW


def test_who_is_barred_may_send_messages_that_are_no_parts() -> None:
    inbox = inbox_in(InboxRoom(40 * MIB))
    inbox.barred = True
    assert give(inbox, b"small", bytes(1000)) is Accepted.NEW
    assert inbox.window()[1] > 0


def test_how_much_has_come_of_a_message_in_parts_is_known_while_it_is_kept() -> None:
    inbox = inbox_in(InboxRoom(40 * MIB))
    assert inbox.assembled_bytes is None
    parts = split(bytes(600 * KIB))
    seen: list[int | None] = []
    for part in parts:
        give(inbox, part)
        seen.append(inbox.assembled_bytes)
    assert seen == [PART_MAX_BYTES, 2 * PART_MAX_BYTES, None]


# --- The pace -----------------------------------------------------------------------------------


def test_a_message_that_comes_fast_enough_is_never_too_slow() -> None:
    pace, now = PartsPace(LIMITS), 0.0
    for number in range(1, 65):
        pace.watch(number * PART_MAX_BYTES, now)
        assert not pace.too_slow(now + 0.99)
        now += 0.99
    pace.watch(None, now)
    assert not pace.too_slow(now + 1e6)


def test_a_message_that_stops_coming_is_too_slow_after_a_while() -> None:
    pace = PartsPace(LIMITS)
    pace.watch(PART_MAX_BYTES, 10.0)
    assert not pace.too_slow(12.9)
    assert pace.too_slow(13.0)


def test_a_message_that_trickles_is_too_slow() -> None:
    pace, now = PartsPace(LIMITS), 0.0
    for number in range(1, 5):
        pace.watch(number * PART_MAX_BYTES, now)
        now += 2.0
    assert pace.too_slow(now)


def test_the_next_message_begins_its_own_time() -> None:
    """Whether or not the end of the one before was seen: both may be in one batch."""
    pace = PartsPace(LIMITS)
    pace.watch(8 * PART_MAX_BYTES, 0.0)
    pace.watch(PART_MAX_BYTES, 9.0)
    assert not pace.too_slow(11.9)
    pace.watch(None, 12.0)
    pace.watch(PART_MAX_BYTES, 20.0)
    assert not pace.too_slow(22.9)


def test_who_was_too_slow_is_barred_for_a_while() -> None:
    pace = PartsPace(LIMITS)
    assert not pace.barred(0.0)
    pace.bar(5.0)
    assert pace.barred(34.9)
    assert not pace.barred(35.0)


def test_guests_have_room_for_a_largest_message_in_half_of_their_share() -> None:
    with pytest.raises(InvalidValue, match="inbox_guests_max_bytes"):
        Limits(inbox_guests_max_bytes=32 * MIB)
    assert Limits(inbox_guests_max_bytes=33 * MIB).inbox_guests_max_bytes == 33 * MIB


# --- A guest's window while others are connected ------------------------------------------------


def crowded() -> InboxRoom:
    """Return the room of a node to which several peers are connected."""
    room = InboxRoom(512 * MIB, 48 * MIB)
    room.crowded = True
    return room


def test_a_guest_among_others_has_a_small_window() -> None:
    room = crowded()
    guest, contact = inbox_in(room, guest=True), inbox_in(room)
    assert guest.window() == (LIMITS.guest_window_messages, LIMITS.guest_window_bytes)
    assert contact.window() == (LIMITS.inbox_max_messages, LIMITS.inbox_max_bytes)
    give(guest, *[b"x"] * 24)
    assert guest.window() == (1_000, LIMITS.guest_window_bytes - 24)
    room.crowded = False
    assert guest.window() == (LIMITS.inbox_max_messages - 24, LIMITS.inbox_max_bytes - 24)


def test_what_was_not_permitted_is_a_violation_though_there_is_room() -> None:
    """WIN-1."""
    guest = inbox_in(crowded(), guest=True)
    guest.window()
    give(guest, *[b"x"] * 1_000)
    assert give(guest, *[b"x"] * 24) is Accepted.NEW
    with pytest.raises(PeerError, match="WIN-1"):
        give(guest, b"x")


def test_no_more_bytes_may_come_than_were_permitted() -> None:
    """WIN-1."""
    guest = inbox_in(crowded(), guest=True)
    guest.window()
    for _ in range(4):
        assert give(guest, bytes(BODY_MAX_BYTES)) is Accepted.NEW
    with pytest.raises(PeerError, match="WIN-1"):
        give(guest, b"x")


def test_what_was_permitted_once_stays_so() -> None:
    """It may have left before the peer hears that it has become less."""
    room = crowded()
    room.crowded = False
    guest = inbox_in(room, guest=True)
    guest.window()
    room.crowded = True
    guest.window()
    for _ in range(60):
        assert give(guest, *[b"x"] * 256) is Accepted.NEW
    assert guest.window()[0] == 0


def test_a_guest_may_go_on_with_a_message_in_parts() -> None:
    """WIN-2: all of it was permitted with its first part, however small the window is."""
    guest = inbox_in(crowded(), guest=True)
    for part in LARGE:
        assert guest.window()[1] >= BODY_MAX_BYTES
        assert give(guest, part) is Accepted.NEW
    assert guest.window()[1] == 0  # It holds 16 MiB now.
    guest.take()
    guest.done()
    assert guest.window() == (LIMITS.guest_window_messages, LIMITS.guest_window_bytes)


@pytest.mark.parametrize(
    ("name", "too_small"),
    [("guest_window_min_bytes", BODY_MAX_BYTES - 1), ("guest_window_min_messages", 64)],
)
def test_a_guests_window_lets_each_message_through(name: str, too_small: int) -> None:
    """WIN-2: a permitted body, and all parts of a permitted message."""
    with pytest.raises(InvalidValue, match=name):
        Limits(**{name: too_small})
    assert getattr(Limits(**{name: too_small + 1}), name) == too_small + 1


def test_guests_that_share_have_less_each_the_more_they_are() -> None:
    """Twenty that use their windows at once must not be twenty times the work of one."""
    room = crowded()
    guests = [inbox_in(room, guest=True) for _ in range(100)]
    windows = [guest.window() for guest in guests]
    assert windows[0] == (LIMITS.guest_window_messages, LIMITS.guest_window_bytes)
    assert windows == sorted(windows, reverse=True)
    assert windows[-1] == (LIMITS.guest_window_min_messages, LIMITS.guest_window_min_bytes)
    # Whatever the first of them were promised, it is no more than four had.
    beyond_least = sum(window[0] - LIMITS.guest_window_min_messages for window in windows)
    assert beyond_least <= 3 * LIMITS.guest_window_messages


def test_what_a_guest_was_promised_is_the_others_when_it_is_gone_or_a_contact() -> None:
    room = crowded()
    first, second = inbox_in(room, guest=True), inbox_in(room, guest=True)
    first.window()
    second.window()
    shared = second.window()[0]
    assert shared < LIMITS.guest_window_messages
    first.belong(guest=False)
    assert second.window()[0] == LIMITS.guest_window_messages
    first.window()  # A contact's is no part of it.
    assert second.window()[0] == LIMITS.guest_window_messages
    first.belong(guest=True)
    first.window()
    assert second.window()[0] == shared
    first.close()
    assert second.window()[0] == LIMITS.guest_window_messages


def test_what_a_guest_got_when_it_was_alone_is_not_held_against_the_others() -> None:
    """It may never use it, and would make their windows small for good."""
    room = crowded()
    room.crowded = False
    first, second = inbox_in(room, guest=True), inbox_in(room, guest=True)
    assert first.window()[0] == LIMITS.inbox_max_messages
    room.crowded = True
    assert second.window()[0] == LIMITS.guest_window_messages * 3 // 4


def test_what_was_processed_is_promised_anew() -> None:
    guest = inbox_in(crowded(), guest=True)
    for _ in range(10):
        messages, _size = guest.window()
        assert messages == LIMITS.guest_window_messages
        give(guest, *[b"x"] * messages)
        assert guest.window()[0] == 0
        for _ in range(messages):
            guest.take()
            guest.done()


def ahead(inbox: Inbox, seq: int, *bodies: bytes) -> Accepted:
    """Let ``bodies`` come that do not follow on what came before; their digest is not looked at."""
    return inbox.accept(Seq(seq), bodies, chain(STREAM))


def test_what_is_not_kept_may_come_up_to_the_windows_bytes_too() -> None:
    """WIN-1: or a peer could pour in what is not kept, and everybody's frames wait behind it."""
    guest = inbox_in(crowded(), guest=True)
    guest.window()
    for seq in range(2, 6):
        assert ahead(guest, seq, bytes(BODY_MAX_BYTES)) is Accepted.GAP
    with pytest.raises(PeerError, match="WIN-1"):
        ahead(guest, 6, b"x")


def test_from_where_a_sender_goes_back_to_it_counts_anew() -> None:
    """After a loss all of the window comes again."""
    guest = inbox_in(crowded(), guest=True)
    guest.window()
    for _ in range(3):
        for seq in range(2, 6):
            assert ahead(guest, seq, bytes(BODY_MAX_BYTES)) is Accepted.GAP
    assert give(guest, b"x") is Accepted.NEW  # What was missing.
    assert ahead(guest, 9, bytes(BODY_MAX_BYTES)) is Accepted.GAP


def test_what_finds_no_room_counts_with_what_follows_it() -> None:
    room = InboxRoom(40 * MIB, 40 * MIB)
    room.crowded = True
    first, second = inbox_in(room, guest=True), inbox_in(room, guest=True)
    second.window()
    parts = split(bytes(16 * MIB))
    assert give(first, parts[0]) is Accepted.NEW
    assert give(second, parts[0]) is Accepted.FULL
    permitted = LIMITS.guest_window_bytes // BODY_MAX_BYTES
    for seq in range(2, permitted + 1):
        assert ahead(second, seq, parts[1]) is Accepted.GAP
    with pytest.raises(PeerError, match="WIN-1"):
        ahead(second, permitted + 1, parts[1])


def test_who_was_told_no_window_yet_is_not_held_to_one() -> None:
    guest = inbox_in(crowded(), guest=True)
    for seq in range(2, 20):
        assert ahead(guest, seq, bytes(BODY_MAX_BYTES)) is Accepted.GAP
