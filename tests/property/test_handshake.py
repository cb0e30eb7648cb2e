"""Every frame in every state of a link does what the table says; no sequence of them does harm."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import frames as some
from tests.engine_world import HIGH, LOW, MIDDLE, Note, Sut, curve_of, frames_on, hello_of
from zmqp2p import codec
from zmqp2p.codes import ByeCode
from zmqp2p.crypto import SecretKey
from zmqp2p.engine.output import EngineOutput
from zmqp2p.errors import DecodeError
from zmqp2p.ids import InstanceId, LinkId, Seq
from zmqp2p.limits import Limits
from zmqp2p.session.handshake import TABLE, Action, LinkState
from zmqp2p.wire.encoding import decode_frame
from zmqp2p.wire.frames import Bye, Data, Frame, Hello, Ignored, Kind, Pong, Who
from zmqp2p.wire.link import DownReason, LinkDown, LinkEvent, LinkUp, Received

LINK = 1
STATES = [  # With who has dialed.
    (LinkState.SILENT, False),
    (LinkState.GREETED, True),
    (LinkState.ESTABLISHED, False),
    (LinkState.ESTABLISHED, True),
]
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


def byes_on(output: EngineOutput, link: int) -> list[Bye]:
    """Return the goodbyes that leave over ``link``."""
    return [frame for frame in frames_on(output, link) if isinstance(frame, Bye)]


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
@pytest.mark.parametrize(("state", "dialed"), STATES)
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


def test_the_table_has_every_state_and_every_kind() -> None:
    assert TABLE.keys() == {(state, kind) for state in LinkState for kind in Kind}


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.HELLO])
@pytest.mark.parametrize("dialed", [False, True])
@settings(max_examples=15)
@given(data=st.data())
def test_a_doubted_link_waits_for_its_hello_and_for_nothing_else(
    dialed: bool, kind: Kind, data: st.DataObject
) -> None:
    """RES-3: it may have accepted our HELLO; what it says does not count until it has answered."""
    sut, link = link_in(LinkState.GREETED if dialed else LinkState.SILENT, dialed=dialed)
    sut.meet(2, LOW, replace(hello_of(LOW), incarnation=9))
    sut.down(2)
    asked = frames_on(sut.hear(link, hello_of(LOW)), link)
    assert [type(one) for one in asked] == [Hello if dialed else Who]
    sut.turn(later_s=0.25)
    frame = data.draw(OF_KIND[kind])
    output = sut.hear(link, frame)
    action = TABLE[LinkState.GREETED if dialed else LinkState.SILENT, kind]
    expected = Action.IGNORE if action is Action.VIOLATION else action
    assert output.closes == ([link] if expected is Action.CLOSE else [])
    assert not any(isinstance(one, Bye) for one in frames_on(output, link))
    if expected is Action.IGNORE:
        assert frames_on(output, link) == []


@pytest.mark.parametrize("speaker", [LOW, HIGH, MIDDLE])
@pytest.mark.parametrize(("state", "dialed"), STATES)
def test_a_good_hello_is_accepted_from_the_owner_of_the_key_and_nobody_else(
    state: LinkState, dialed: bool, speaker: SecretKey
) -> None:
    """IDN-1 to IDN-3, in every state: the link is that of LOW's key."""
    sut, link = link_in(state, dialed=dialed)
    output = sut.hear(link, hello_of(speaker))
    answers = [type(one) for one in frames_on(output, link)]
    if speaker is LOW:
        assert answers == [Hello] * (not dialed)
        assert not output.closes
        assert sut.statuses()[LOW.address] == "connected"
    else:
        assert answers == [Bye]
        assert output.closes == [link]
        assert speaker.address not in sut.statuses()


@pytest.mark.parametrize(("state", "dialed"), STATES)
@given(number=st.integers(0, 2**63 - 1), payload=st.lists(st.binary(max_size=9), max_size=1))
def test_unknown_kinds_are_ignored_if_odd_and_end_the_link_if_even(
    state: LinkState, dialed: bool, number: int, payload: list[bytes]
) -> None:
    """FRM-4, in every state; what is ignored changes nothing, and is no sign of life."""
    sut, link = link_in(state, dialed=dialed)
    kind = number if number % 2 or number > max(Kind) else max(Kind) + 2
    due_at = sut.engine.deadline()
    output = sut.turn(Received(LinkId(link), (codec.encode((kind,)), *payload)))
    if kind % 2:
        assert output == EngineOutput()
        assert sut.engine.deadline() == due_at
    else:
        assert output.closes == [link]
        assert [one.code for one in byes_on(output, link)] == [ByeCode.PROTOCOL_ERROR]


@pytest.mark.parametrize(("state", "dialed"), STATES)
def test_frames_that_are_ignored_keep_no_link_alive(state: LinkState, dialed: bool) -> None:
    """LIV-1, HEL-7: or somebody could hold links for nothing."""
    sut, link = link_in(state, dialed=dialed)
    closed: list[LinkId] = []
    for _ in range(100):
        closed += sut.hear(link, Ignored(11), later_s=0.04).closes
    assert link in closed


@pytest.mark.parametrize(("state", "dialed"), STATES)
@given(parts=st.lists(st.binary(max_size=40), max_size=3))
def test_bytes_that_are_no_frame_end_the_link_in_every_state(
    state: LinkState, dialed: bool, parts: list[bytes]
) -> None:
    try:
        decode_frame(parts)
    except DecodeError as fault:
        rule = fault.rule
    else:
        return
    sut, link = link_in(state, dialed=dialed)
    output = sut.turn(Received(LinkId(link), tuple(parts)))
    assert output.closes == [link]
    (bye,) = byes_on(output, link)
    assert bye.code is ByeCode.PROTOCOL_ERROR
    assert bye.reason.startswith(rule)


# --- Before HELLO -------------------------------------------------------------------------------


@settings(max_examples=50)
@given(
    said=st.lists(some.frames.filter(lambda one: not isinstance(one, Bye)), max_size=20),
    pause_s=st.sampled_from([0.0, 0.01, 0.1]),
)
def test_nobody_makes_a_node_work_without_an_introduction(
    said: list[Frame], pause_s: float
) -> None:
    """No write, no dial, no session; one WHO in 0.2 s, or one BYE, is all that it says."""
    sut, link = link_in(LinkState.SILENT, dialed=False)
    before = sut.now
    outputs = [sut.hear(link, frame, later_s=pause_s) for frame in said]
    sent = [frame for output in outputs for frame in frames_on(output, link)]
    byes = [frame for frame in sent if isinstance(frame, Bye)]
    assert len(byes) <= 1
    assert len(sent) - len(byes) <= 1 + (sut.now - before) / 0.2
    assert all(isinstance(frame, Who | Bye) for frame in sent)
    assert not any(output.writes or output.dials for output in outputs)
    assert sut.statuses() == {}


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
