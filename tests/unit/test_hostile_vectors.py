"""The cases of tests/vectors/hostile: what a running node makes of whoever breaks a rule."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.corpus.__main__ import HOSTILE, files
from tests.notation import unhex
from zmqp2p import messages
from zmqp2p.codes import ByeCode
from zmqp2p.crypto import SecretKey
from zmqp2p.engine.engine import Engine
from zmqp2p.engine.me import Me
from zmqp2p.engine.output import EngineOutput
from zmqp2p.events import DataLossDetected, LinkRefused
from zmqp2p.ids import Address, CurveKey, InstanceId, LinkId, Seq, StreamId
from zmqp2p.limits import Limits
from zmqp2p.messages import APPLICATION_TAG_MIN
from zmqp2p.persistence import PeerSnapshot, Snapshot
from zmqp2p.records import PeerRecord
from zmqp2p.wire.frames import Ack, Bye, Data, Frame, Gap, Hello, Refusal
from zmqp2p.wire.link import LinkEvent, LinkUp, Received

SPEC = Path(__file__).parents[2] / "docs" / "spec" / "zp2p-1.md"
LINK = LinkId(1)
Case = dict[str, Any]


def load(name: str) -> Case:
    """Return the content of a file of hostile cases."""
    content: Case = json.loads((HOSTILE / f"{name}.json").read_text(encoding="utf-8"))
    return content


WORLD = load("world")
CASES = [(name, case) for name in ("shapes", "links", "messages") for case in load(name)["cases"]]
RUNS = [
    pytest.param(case, link, id=f"{name}: {case['name']}, {link}")
    for name, case in CASES
    for link in case["links"]
]


class Node:
    """The node of the cases, with a link in the state that a case asks for."""

    def __init__(self, link: str, curve_key: str | None) -> None:
        node, attacker = WORLD["node"], WORLD["attacker"]
        self.attacker = Address(unhex(attacker["address"]))
        memory = Snapshot(incarnation=1)
        memory.peers[self.attacker] = PeerSnapshot(
            contact="" if link in ("silent", "established") else attacker["contact"],
            dial=link == "greeted",
            out_stream=StreamId(unhex(node["stream"])),
            messages=[(Seq(1 + n), unhex(body)) for n, body in enumerate(node["outbox"])],
        )
        limits = Limits(
            inbox_max_messages=node["window"][0],
            inbox_max_bytes=node["window"][1],
            message_max_bytes=node["message_max_bytes"],
            subscribe_grace_s=0.0,
        )
        me = Me(SecretKey(unhex(node["secret"])), 1, InstanceId(bytes(8)))
        self.engine = Engine(me, memory, limits, Random(0), funding=True)
        self.engine.begin(100.0, WORLD["now_ms"])
        self.engine.start(PeerRecord.decode(unhex(node["record"])))
        key = CurveKey(unhex(curve_key or attacker["curve_key"]))
        if link == "greeted":
            self.turn()
            self.engine.dialing(self.attacker, LINK)
        self.turn(LinkUp(LINK, key, "there", dialed=link == "greeted"))
        if link == "established":
            self.hear([[attacker["hello"]]])

    def turn(self, *events: LinkEvent) -> EngineOutput:
        """Take in ``events`` and process what there is to process."""
        self.engine.begin(100.0, WORLD["now_ms"])
        for event in events:
            self.engine.take(event)
        self.engine.tick()
        assert not any(self.engine.deliveries(1000))  # There is no application.
        output = self.engine.settle()
        self.engine.check()
        return output

    def hear(self, said: list[list[str]]) -> EngineOutput:
        """Take in frames, all in one turn."""
        return self.turn(*(Received(LINK, tuple(map(unhex, frame))) for frame in said))


def together(outputs: Iterable[EngineOutput]) -> EngineOutput:
    """Return what was asked for in several turns."""
    all_of_them = EngineOutput()
    for output in outputs:
        all_of_them.frames += output.frames
        all_of_them.closes += output.closes
        all_of_them.events += output.events
    return all_of_them


def shown(output: EngineOutput) -> Case:
    """Return what was done, as a case expects it."""
    frames = [frame for link, frame in output.frames if link == LINK]
    seen: Case = {"answers": [type(frame).__name__.upper() for frame in frames]}
    seen["closed"] = LINK in output.closes
    byes = [frame.code for frame in frames if isinstance(frame, Bye)]
    if byes:
        seen |= {"bye": byes[0].value, "bye_name": byes[0].name}
    refusals = next(filter(None, map(_refusals, reversed(frames))), ())
    if refusals:
        seen["refusals"] = [[one.seq, one.code.value, one.code.name] for one in refusals]
    if any(isinstance(event, DataLossDetected) for event in output.events):
        seen["held"] = True
    return seen


def _refusals(frame: Frame) -> tuple[Refusal, ...]:
    match frame:
        case Ack(progress) | Gap(progress) | Data(_, _, progress):
            return progress.refusals
        case Hello():
            return frame.refusals
        case _:
            return ()


@pytest.fixture
def no_application(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away the message types that other tests of this process have registered."""
    table = messages._table  # noqa: SLF001  # The cases are of a node without an application.
    known = {tag: record for tag, record in table.by_tag.items() if tag < APPLICATION_TAG_MIN}
    monkeypatch.setattr(table, "by_tag", known)


@pytest.mark.usefixtures("no_application")
@pytest.mark.parametrize(("case", "link"), RUNS)
def test_the_node_does_what_the_case_expects(case: Case, link: str) -> None:
    node = Node(link, case.get("curve_key"))
    said = case["say"] * case["times"]
    output = together(node.hear([one]) for one in said) if case.get("apart") else node.hear(said)
    assert shown(output) == case["expected"]
    refused = [event for event in output.events if isinstance(event, LinkRefused)]
    if case["expected"].get("bye") is not None:  # The reason names the rule, for people.
        bye = next(frame for _, frame in output.frames if isinstance(frame, Bye))
        assert bye.code is ByeCode(case["expected"]["bye"])
        assert refused[0].reason == bye.reason
        assert bye.reason.startswith((case["rule"], "RES-7"))


# What no frame can break, because it is about what the receiver of them does, or about time and
# transport; what texts are is in zp2p-1/records.json. Not written as ids: this cites no rule.
NOT_HERE = {
    "ACK": (3, 4),
    "ADM": (1, 2, 3, 4),
    "DUP": (1,),
    "FND": (6, 7, 8, 10, 11),
    "HEL": (6, 7, 8, 9),
    "HND": (1, 2, 3),  # Statements, not frames.
    "IDN": (5, 6),  # Two keys in one connection's life: tests/unit/engine/test_rotation.py.
    "KEY": (1,),
    "LIV": (1, 2, 4, 5, 6),
    "MSG": (5, 7),
    "OBJ": (1,),
    "RAT": (1,),
    "REC": (5, 6, 7, 8, 9),
    "REF": (2,),
    "RES": (1, 2, 7, 8, 9, 12),
    "RTO": (1, 2, 3, 4),
    "SEQ": (3,),
    "SIG": (2, 3),
    "STA": (3, 4, 5),
    "TRN": (1, 2, 3, 4, 5),
    "WIN": (2, 3, 4),
}


def test_every_rule_that_a_frame_can_break_has_a_case() -> None:
    rules = set(re.findall(r"\*\*([A-Z]{3}-[0-9]+)\*\*", SPEC.read_text(encoding="utf-8")))
    with_cases = {case["rule"] for _, case in CASES}
    assert with_cases <= rules
    not_here = {f"{kind}-{number}" for kind, numbers in NOT_HERE.items() for number in numbers}
    assert sorted(rules - with_cases) == sorted(not_here)


def test_whoever_is_refused_may_come_again() -> None:
    """A violation ends a link, not the peer's session: an honest HELLO is accepted after it."""
    node = Node("established", None)
    node.hear([["c1"]])
    key = CurveKey(unhex(WORLD["attacker"]["curve_key"]))
    node.turn(LinkUp(LINK, key, "there", dialed=False))
    answers = [frame for _, frame in node.hear([[WORLD["attacker"]["hello"]]]).frames]
    assert [type(answer) for answer in answers] == [Hello, Data]


def test_the_files_are_what_the_program_writes() -> None:
    """Change tests/corpus, and run ``python -m tests.corpus``."""
    written = dict(files())
    assert written == {name: (HOSTILE / name).read_text(encoding="utf-8") for name in written}
    assert {file.name for file in HOSTILE.glob("*.json")} == written.keys()
