"""Nobody speaks for an address but who holds its keys: whatever he says, in whatever order.

Eve knows the protocol and every record there is. She holds keys of her own, and the CURVE key that
Low has replaced since. She opens links with these, answers where she was dialed in Low's stead, and
shows records of all sorts. Low and High come and go meanwhile.
"""

from dataclasses import dataclass, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tests import frames as some
from tests.engine_world import HIGH, LOW, MIDDLE, START_MS, Note, Sut, curve_of, hello_of, note
from tests.engine_world import record_of as record_by
from zmqp2p import codec
from zmqp2p.crypto import SecretKey
from zmqp2p.ids import Address, CurveKey, LinkId, Seq
from zmqp2p.limits import Limits
from zmqp2p.records import PeerRecord, PeerUri
from zmqp2p.session.handshake import Link, LinkState
from zmqp2p.wire.frames import Data, Frame, Hello, Ping, Who
from zmqp2p.wire.link import DownReason, LinkDown

EVE, EVES_OTHER_NAME = SecretKey(b"\x09" * 32), SecretKey(b"\x0a" * 32)
EVES_KEY, STOLEN, NEW = CurveKey(b"e" * 32), CurveKey(b"o" * 32), CurveKey(b"n" * 32)
REPLACED = record_by(LOW, curve_key=STOLEN)
LOWS = record_by(LOW, curve_key=NEW, issued_ms=START_MS + 1)
HIGHS = record_by(HIGH)
LINKS = 4  # Numbered from 1, each with one key.
KEYS = (EVES_KEY, STOLEN, NEW, curve_of(HIGH))
EVES_LINKS = (1, 2)


def _forged(address: Address, curve_key: CurveKey, issued_ms: int) -> bytes:
    """Return a record of ``address`` that Eve has signed."""
    hers = record_by(EVE, curve_key=curve_key, issued_ms=issued_ms)
    value = codec.decode(hers.encode())
    assert isinstance(value, tuple)
    return codec.encode((value[0], address, *value[2:]))


def _resigned(record: PeerRecord, curve_key: CurveKey) -> bytes:
    """Return ``record`` with another CURVE key, and the signature that it had."""
    value = codec.decode(record.encode())
    assert isinstance(value, tuple)
    return codec.encode((*value[:2], curve_key, *value[3:]))


eves_records: st.SearchStrategy[bytes] = st.one_of(
    st.sampled_from([REPLACED, LOWS, HIGHS, record_by(MIDDLE)]).map(PeerRecord.encode),
    st.builds(
        lambda name, key, issued: record_by(name, curve_key=key, issued_ms=issued).encode(),
        st.sampled_from([EVE, EVES_OTHER_NAME]),
        st.sampled_from(KEYS),
        st.integers(START_MS - 1, START_MS + 2),
    ),
    st.builds(
        _forged,
        st.sampled_from([LOW.address, HIGH.address]),
        st.sampled_from(KEYS),
        st.integers(START_MS, START_MS + 9),
    ),
    st.builds(_resigned, st.sampled_from([LOWS, HIGHS]), st.sampled_from([EVES_KEY, STOLEN])),
)


def _saying(hello: Hello, record: bytes) -> Hello:
    return replace(hello, record=record)


eves_frames: st.SearchStrategy[Frame] = st.one_of(
    st.builds(_saying, st.sampled_from([hello_of(LOW), hello_of(HIGH)]), eves_records),
    st.builds(
        lambda seq: Data(Seq(seq), some.UNSAID, some.progress_of(), (note("from Eve"),)),
        st.integers(1, 3),
    ),
    st.sampled_from([Ping(1), Who()]),
)


@dataclass(frozen=True)
class Eve:
    """She says a frame over one of her links."""

    link: int
    frame: Frame


@dataclass(frozen=True)
class Known:
    """The application adds a contact; the URI of Low, who is to be dialed there, leads to Eve."""

    contact: PeerRecord | PeerUri


@dataclass(frozen=True)
class Comes:
    """Low or High says HELLO and one message, over a link of its own."""

    link: int


@dataclass(frozen=True)
class Ends:
    """A link ends, and the next one with its key comes up."""

    link: int


LURE = PeerUri(LOW.address, EVES_KEY, "tcp://10.0.0.9:1")
happenings = st.one_of(
    st.builds(
        lambda link, name: Eve(
            link, _saying(hello_of(LOW), record_by(name, curve_key=KEYS[link - 1]).encode())
        ),
        st.sampled_from(EVES_LINKS),
        st.sampled_from([EVE, EVES_OTHER_NAME]),
    ),
    st.builds(Eve, st.sampled_from(EVES_LINKS), eves_frames),
    st.builds(Eve, st.just(0), eves_frames),  # Over the link that this node dialed last.
    st.builds(Known, st.sampled_from([LURE, REPLACED, LOWS])),
    st.builds(Comes, st.sampled_from([3, 4])),
    st.builds(Ends, st.sampled_from([1, 2, 3, 4])),
)


class Scene:
    """The engine, its links, and what was said honestly."""

    def __init__(self) -> None:
        self.sut = Sut(MIDDLE, limits=Limits(subscribe_grace_s=0.2))
        self.sut.engine.subscribe(Note, None)
        self.links = {number: number for number in range(1, LINKS + 1)}
        self.dialed: set[int] = set()
        for number, key in enumerate(KEYS, start=1):
            self.sut.up(number, key)

    def happen(self, event: Eve | Known | Comes | Ends) -> None:
        match event:
            case Eve(link, frame):
                self.sut.hear(self.links.get(link, self.sut.last_link), frame)
            case Known(contact):
                self._know(contact)
            case Comes(number):
                self._come(number)
            case Ends(number):
                self._renew(number)

    def _know(self, contact: PeerRecord | PeerUri) -> None:
        """Add a contact; a dial comes up with the key that it pins."""
        self.sut.begin()
        self.sut.engine.add_contact(contact)
        for dial in self.sut.turn().dials:
            self.sut.up(self.sut.last_link, dial.curve_key, dialed=True)

    def _come(self, number: int) -> None:
        key, record = (LOW, LOWS) if KEYS[number - 1] == NEW else (HIGH, HIGHS)
        self.sut.hear(self.links[number], hello_of(key, record))

    def _renew(self, number: int) -> None:
        link = self.links[number]
        self.sut.turn(LinkDown(LinkId(link), DownReason.LOST, ""))
        self.links[number] = link + LINKS
        self.sut.up(link + LINKS, KEYS[number - 1])

    @property
    def established(self) -> list[Link]:
        links = self.sut.engine._connections.links  # noqa: SLF001  # Whom it takes each one for.
        return [link for link in links.values() if link.state is LinkState.ESTABLISHED]

    @property
    def knows_the_new_record(self) -> bool:
        peer = self.sut.engine._connections.peers.peers.get(LOW.address)  # noqa: SLF001
        return peer is not None and peer.contact == LOWS


@settings(max_examples=200)
@given(script=st.lists(happenings, max_size=30))
def test_a_link_is_nobodys_but_his_who_holds_the_keys(
    script: list[Eve | Known | Comes | Ends],
) -> None:
    """REC-2, IDN-1, IDN-2, IDN-4."""
    scene = Scene()
    spoken_for: set[tuple[CurveKey, Address | None]] = set()
    for event in script:
        known = scene.knows_the_new_record
        before = {link.id for link in scene.established}
        scene.happen(event)
        for link in scene.established:
            eve = {EVE, EVES_OTHER_NAME}
            holders = {EVES_KEY: eve, NEW: {LOW}, curve_of(HIGH): {HIGH}}
            # Whoever holds the stolen key is Low, until a newer record is known (section 13).
            is_late = known and link.id not in before
            holders[STOLEN] = eve if is_late else {*eve, LOW}
            assert link.curve_key is not None
            assert link.peer in {key.address for key in holders[link.curve_key]}
            assert link.expected in (None, link.peer)
            spoken_for.add((link.curve_key, link.peer))
        senders = {pending.sender for pending in scene.sut.pending}
        assert HIGH.address not in senders  # The honest never send: whatever came is Eve's.
        assert LOW.address not in senders or (STOLEN, LOW.address) in spoken_for


def test_eve_is_herself_and_the_honest_are_heard() -> None:
    """What the law above allows does happen: it is not kept by refusing everybody."""
    scene = Scene()
    for event in (
        Eve(1, _saying(hello_of(LOW), record_by(EVE, curve_key=EVES_KEY).encode())),
        Eve(2, _saying(hello_of(LOW), REPLACED.encode())),
        Comes(4),
    ):
        scene.happen(event)
    assert {link.peer for link in scene.established} == {EVE.address, LOW.address, HIGH.address}
    scene.happen(Ends(2))
    scene.happen(Comes(3))
    scene.happen(Eve(2, _saying(hello_of(LOW), REPLACED.encode())))
    assert {link.curve_key for link in scene.established} == {EVES_KEY, NEW, curve_of(HIGH)}


def test_who_was_dialed_in_lows_stead_is_not_taken_for_low() -> None:
    """IDN-1, IDN-2: the way that the contact came was not to be trusted."""
    for record in (record_by(EVE, curve_key=EVES_KEY).encode(), LOWS.encode()):
        scene = Scene()
        scene.happen(Known(LURE))
        scene.happen(Eve(0, _saying(hello_of(LOW), record)))
        assert scene.established == []
