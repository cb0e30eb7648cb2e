"""Every frame in every state of a link does what the table says; no sequence of them does harm."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import frames as some
from tests.engine_world import HIGH, LOW, MIDDLE, Note, Sut, curve_of, frames_on, hello_of
from zmqp2p.codes import ByeCode
from zmqp2p.engine.output import EngineOutput
from zmqp2p.ids import InstanceId, LinkId, Seq
from zmqp2p.limits import Limits
from zmqp2p.session.handshake import TABLE, Action, LinkState
from zmqp2p.wire.frames import Bye, Data, Frame, Hello, Kind, Pong, Who
from zmqp2p.wire.link import DownReason, LinkDown, LinkEvent, LinkUp, Received

LINK = 1
OF_KIND: dict[Kind, st.SearchStrategy[Frame]] = {
    Kind.HELLO: some.hellos(),
    Kind.DATA: some.datas,
    Kind.BULK: some.bulks,
    Kind.ACK: some.acks,
    Kind.GAP: some.gaps,
    Kind.PING: some.pings,
    Kind.PONG: some.pongs,
    Kind.BYE: some.byes,
    Kind.WHO: some.whos,
}


def link_in(state: LinkState, *, dialed: bool) -> tuple[Sut, int]:
    """Return an engine with one link, a quarter of a second old, in ``state``."""
    sut = Sut(MIDDLE)
    link = sut.dial(LOW) if dialed else LINK
    if not dialed:
        sut.up(link, curve_of(LOW))
    if state is LinkState.ESTABLISHED:
        sut.hear(link, hello_of(LOW))
    sut.turn(later_s=0.25)
    return sut, link


def follows(action: Action, frame: Frame, sent: list[Frame], closed: bool, dialed: bool) -> bool:
    """Whether what the engine did is what ``action`` means."""
    byes = [one.code for one in sent if isinstance(one, Bye)]
    match action:
        case Action.INTRODUCE:  # Of whom nobody has heard: its record is any bytes.
            wrong = {ByeCode.RECORD_INVALID, ByeCode.VERSION_UNSUPPORTED}
            return closed and len(byes) == 1 and byes[0] in wrong
        case Action.PROCESS:
            kinds = {type(one) for one in sent}
            wrong = {ByeCode.PROTOCOL_ERROR, ByeCode.DATA_LOSS}  # Of any numbers and digests.
            return wrong.issuperset(byes) if closed else kinds.isdisjoint({Who, Hello})
        case Action.SAY_HELLO:
            return not closed and [type(one) for one in sent] == [Hello] * dialed
        case Action.ASK_WHO:
            return not closed and sent == [Who()]
        case Action.CLOSE:
            return closed and sent == []
        case Action.VIOLATION:
            return closed and byes == [ByeCode.PROTOCOL_ERROR]
        case Action.IGNORE:
            return not closed and sent == [] and isinstance(frame, Who)


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize(
    ("state", "dialed"),
    [
        (LinkState.SILENT, False),
        (LinkState.GREETED, True),
        (LinkState.ESTABLISHED, False),
        (LinkState.ESTABLISHED, True),
    ],
)
@settings(max_examples=15)
@given(data=st.data())
def test_each_frame_in_each_state_does_what_the_table_says(
    state: LinkState, dialed: bool, kind: Kind, data: st.DataObject
) -> None:
    """HEL-3, HEL-4, HEL-5, BYE-2."""
    sut, link = link_in(state, dialed=dialed)
    frame = data.draw(OF_KIND[kind])
    output = sut.hear(link, frame)
    sent, closed = frames_on(output, link), output.closes == [link]
    assert follows(TABLE[state, kind], frame, sent, closed, dialed)
    after = sut.hear(link, hello_of(LOW))
    assert (frames_on(after, link) == []) == (closed or dialed)  # A closed link is forgotten.


# --- Any sequence -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Said:
    """A frame over a link; a digest that it leaves open is the right one."""

    link: LinkId
    frame: Frame


small = st.integers(1, 5).map(Seq)
plausible: st.SearchStrategy[Frame] = st.one_of(
    st.builds(
        lambda key, base, cursor, incarnation, instance, heard: replace(
            hello_of(key),
            base=Seq(base),
            heard=Seq(heard),
            seen_stream=some.STREAM if cursor else hello_of(key).seen_stream,
            cursor=Seq(cursor),
            incarnation=incarnation,
            instance=instance,
        ),
        st.sampled_from([LOW, HIGH, MIDDLE]),
        st.integers(1, 3),
        st.integers(0, 3),
        st.integers(1, 3),
        st.sampled_from([InstanceId(b"instance"), InstanceId(b"another.")]),
        st.sampled_from([1, 1, 1, 2]),
    ),
    st.builds(
        Data,
        small,
        st.sampled_from([some.UNSAID, some.UNSAID, some.chain(some.OTHER_STREAM)]),
        st.builds(lambda base: some.progress_of(base=base), st.integers(1, 3)),
        st.lists(st.binary(max_size=3), min_size=1, max_size=3).map(tuple),
    ),
    st.builds(Pong, st.integers(0, 2), st.just(some.progress_of())),
    st.just(Who()),
)
links = st.integers(1, 4).map(LinkId)
keys = st.sampled_from([curve_of(LOW), curve_of(HIGH), None])
events: st.SearchStrategy[Said | LinkEvent | float] = st.one_of(
    st.builds(Said, links, st.one_of(plausible, some.frames)),
    st.builds(Said, links, plausible),
    st.builds(Received, links, st.lists(st.binary(max_size=9), max_size=3).map(tuple)),
    st.builds(LinkUp, links, keys, st.just("there"), st.booleans()),
    st.builds(LinkDown, links, st.sampled_from(DownReason), st.just("")),
    st.sampled_from([0.0, 0.1, 0.5, 1.5]),
)


@settings(max_examples=150)
@given(script=st.lists(events, max_size=40))
def test_no_sequence_of_events_stops_the_engine(script: list[Said | LinkEvent | float]) -> None:
    """Whatever comes over four links: the invariants hold, each link closes once, time goes on."""
    sut = Sut(MIDDLE, limits=Limits(peers_max=2, links_max=3, subscribe_grace_s=0.2))
    sut.engine.subscribe(Note, None)
    up: set[LinkId] = set()
    for event in script:
        output = _happen(sut, event, up)
        up -= set(output.closes)
        deadline = sut.engine.deadline()
        assert deadline is None or deadline > sut.now  # Nothing is looked at over and over.


def _happen(sut: Sut, event: Said | LinkEvent | float, up: set[LinkId]) -> EngineOutput:
    """Let ``event`` happen, if a transport could bring it; links in ``up`` are known."""
    match event:
        case float():
            return sut.turn(later_s=event)
        case LinkUp(link) if link not in up:
            up.add(link)
        case LinkDown(link) if link in up:
            up.remove(link)
        case Said(link, frame) if link in up:
            return sut.hear(link, frame)
        case Received(link) if link in up:
            pass
        case _:
            return EngineOutput()
    return sut.turn(event)
