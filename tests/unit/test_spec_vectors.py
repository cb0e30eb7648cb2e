"""The vectors of the spec, which peers in other languages run too (docs/spec/zp2p-1.md).

Each file of tests/vectors/zp2p-1 says what it holds. Bad bytes name the rule that they break.
"""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import pytest
import zmq

from tests.notation import parse, unhex
from zmqp2p import codec, messages
from zmqp2p.codec import Value
from zmqp2p.codes import ByeCode, RefusalCode, RejectCode
from zmqp2p.crypto import SecretKey, Signature, next_digest, recover_address
from zmqp2p.engine.channels import Channels
from zmqp2p.engine.outcomes import message_id
from zmqp2p.engine.output import EngineOutput
from zmqp2p.engine.signing import SigningLedger
from zmqp2p.errors import (
    Contradiction,
    DecodeError,
    EndpointError,
    InvalidValue,
    PeerError,
    RecordError,
    RefuseMessage,
    SignatureError,
)
from zmqp2p.ids import Address, CurveKey, InstanceId, LinkId, Seq, StreamDigest, StreamId
from zmqp2p.limits import DEFAULT_LIMITS, Limits
from zmqp2p.messages import ProtocolMessage, decode_message, encode_message
from zmqp2p.objectives import DirectFund, EmitEvent, SendMessage, Status, SubmitTransaction
from zmqp2p.persistence import PeerSnapshot
from zmqp2p.records import PeerRecord, PeerUri, checksum_text
from zmqp2p.session.handshake import TABLE
from zmqp2p.session.resume import Hold, Memory, Resume, resume
from zmqp2p.session.rto import ResendTimer
from zmqp2p.session.session import Output, Session
from zmqp2p.state import channel_id, outcome_hash, sign_state, state_hash
from zmqp2p.state.packing import state_from_value, state_to_value
from zmqp2p.transport import ZmqTransport
from zmqp2p.transport.options import (
    CurvePair,
    SocketLimits,
    dialer_options,
    listener_options,
)
from zmqp2p.transport.zap import answer
from zmqp2p.wire.encoding import decode_frame, encode_frame
from zmqp2p.wire.frames import Frame, Hello, Ignored, Kind, Progress, Refusal

Case = dict[str, Any]

VECTORS = Path(__file__).parents[1] / "vectors" / "zp2p-1"


def load(name: str) -> Case:
    """Return the content of a file of vectors."""
    content: Case = json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))
    return content


ENCODING, FRAMES, MESSAGES, RECORDS = map(load, ("encoding", "frames", "messages", "records"))
RESUME, LINKS, SESSIONS, FUNDING = map(load, ("resume", "links", "sessions", "funding"))
DIGESTS = load("digests")


def each(cases: Sequence[Case]) -> pytest.MarkDecorator:
    """Run a test with each case, under its name."""
    named = [pytest.param(case, id=case.get("name", str(n))) for n, case in enumerate(cases)]
    return pytest.mark.parametrize("case", named)


def zmtp(frames: Sequence[str]) -> tuple[bytes, ...]:
    """Return a ZMTP message whose frames are given in hex."""
    return tuple(map(unhex, frames))


# --- Encoding -----------------------------------------------------------------------------------


@each(ENCODING["good"])
def test_a_value_has_the_encoding_of_the_vector(case: Case) -> None:
    data, value = unhex(case["bytes"]), parse(case["value"])
    assert codec.decode(data) == value
    assert codec.encode(value) == data


@each(ENCODING["bad"])
def test_bytes_that_are_no_encoding_break_the_rule_of_the_vector(case: Case) -> None:
    with pytest.raises(DecodeError) as caught:
        codec.decode(unhex(case["bytes"]))
    assert caught.value.rule == case["rule"]


# --- Frames -------------------------------------------------------------------------------------


def fields_of(frame: Any) -> dict[str, Value]:
    """Return the fields of a frame as the spec names them."""
    fields: dict[str, Value] = {}
    for item in dataclasses.fields(frame):
        value = getattr(frame, item.name)
        if isinstance(value, Progress):
            fields |= {_PROGRESS_NAMES.get(k, k): v for k, v in fields_of(value).items()}
        elif item.name == "refusals":
            fields["refusals"] = tuple((r.seq, r.code.value, r.reason) for r in value)
        else:
            fields[item.name] = value.value if isinstance(value, ByeCode) else value
    return fields


_PROGRESS_NAMES = {"digest": "ack_digest"}  # DATA has a digest of its own beside it.


@each(FRAMES["good"])
def test_a_frame_is_the_bytes_of_the_vector(case: Case) -> None:
    parts = zmtp(case["frames"])
    bare_body = case["kind"] == "BULK"
    headers = parts[:1] if bare_body else parts
    assert [codec.decode(part) for part in headers] == [parse(v) for v in case["values"]][
        : len(headers)
    ]
    frame = decode_frame(parts)
    assert type(frame).__name__.upper() == case["kind"]
    assert fields_of(frame) == {name: parse(value) for name, value in case["fields"].items()}
    assert encode_frame(frame) == parts


@each(FRAMES["ignored"])
def test_an_unknown_odd_frame_is_ignored(case: Case) -> None:
    """Rule FRM-4."""
    assert isinstance(decode_frame(zmtp(case["frames"])), Ignored)


@each(FRAMES["bad"])
def test_a_bad_frame_breaks_the_rule_of_the_vector(case: Case) -> None:
    with pytest.raises(DecodeError) as caught:
        decode_frame(zmtp(case["frames"]))
    assert caught.value.rule == case["rule"]


# --- Messages and states ------------------------------------------------------------------------


@messages.message(1000)
@dataclass(frozen=True)
class Order:
    """The application message of the vectors."""

    number: int
    item: str
    express: bool


@each(MESSAGES["good"])
def test_a_message_is_the_bytes_of_the_vector(case: Case) -> None:
    body = unhex(case["bytes"])
    assert codec.decode(body) == parse(case["value"])
    envelope = decode_message(body)
    assert envelope.deadline_ms == case.get("deadline_ms")
    assert type(envelope.message).__name__ == case["message"]
    assert encode_message(envelope.message, envelope.deadline_ms) == body


@each(MESSAGES["tolerated"])
def test_an_unknown_odd_extension_of_a_message_is_dropped(case: Case) -> None:
    """Rule MSG-4."""
    envelope = decode_message(unhex(case["bytes"]))
    assert envelope.message == Order(7, "tea", express=True)
    assert envelope.deadline_ms == case["deadline_ms"]


@each(MESSAGES["bad"])
def test_a_bad_message_breaks_the_rule_of_the_vector(case: Case) -> None:
    with pytest.raises(DecodeError) as caught:
        decode_message(unhex(case["bytes"]))
    assert caught.value.rule == case["rule"]


@each(MESSAGES["ids"]["cases"])
def test_a_message_id_is_that_of_the_vector(case: Case) -> None:
    stream, body = StreamId(unhex(case["stream"])), unhex(case["body"])
    assert message_id(stream, Seq(case["seq"]), body).hex() == case["id"]


@each(MESSAGES["states"]["cases"])
def test_a_state_has_the_hashes_and_the_signature_of_the_vector(case: Case) -> None:
    value = parse(case["value"])
    state = state_from_value(value)
    assert state_to_value(state) == value
    assert channel_id(state.fixed).hex() == case["channel_id"]
    assert outcome_hash(state.variable.outcome).hex() == case["outcome_hash"]
    assert state_hash(state).hex() == case["state_hash"]
    signature = sign_state(state, SecretKey(unhex(case["secret"])))
    assert signature.to_bytes().hex() == case["signature"]
    assert recover_address(unhex(case["digest"]), signature).hex() == case["signer"]


def test_a_signature_that_no_key_fits_breaks_rule_sig_1() -> None:
    """An r of 5 is the x of no point of the curve: rule SIG-1."""
    signature = Signature(bytes(31) + b"\x05", bytes(31) + b"\x01", 27)
    with pytest.raises(SignatureError) as caught:
        recover_address(bytes(32), signature)
    assert caught.value.rule == "SIG-1"


# --- Records ------------------------------------------------------------------------------------


@each(RECORDS["keys"]["cases"])
def test_an_address_is_that_of_its_key(case: Case) -> None:
    address = SecretKey(unhex(case["secret"])).address
    assert address.hex() == case["address"]
    assert checksum_text(address) == case["text"]


@each(RECORDS["good"])
def test_a_record_is_the_bytes_and_the_text_of_the_vector(case: Case) -> None:
    data = unhex(case["bytes"])
    record = PeerRecord.decode(data)
    assert codec.decode(data) == parse(case["value"])
    assert record == PeerRecord.parse(case["text"])
    assert (record.encode(), str(record)) == (data, case["text"])
    issued = PeerRecord.issue(
        SecretKey(unhex(case["secret"])),
        record.curve_key,
        record.endpoints,
        record.issued_ms,
        record.expires_ms,
    )
    assert issued.encode() == data
    assert recover_address(unhex(case["digest"]), record.signature) == record.address


@each(RECORDS["bad"])
def test_a_bad_record_breaks_the_rule_of_the_vector(case: Case) -> None:
    with pytest.raises(RecordError) as caught:
        PeerRecord.decode(unhex(case["bytes"]))
    assert caught.value.rule == case["rule"]


@each(RECORDS["bad_texts"])
def test_a_bad_text_of_a_record_breaks_the_rule_of_the_vector(case: Case) -> None:
    with pytest.raises(RecordError) as caught:
        PeerRecord.parse(case["text"])
    assert caught.value.rule == case["rule"]


@each(RECORDS["times"])
def test_a_record_is_good_at_the_times_of_the_vector(case: Case) -> None:
    record = PeerRecord.decode(unhex(RECORDS["good"][0]["bytes"]))
    broken = ""
    try:
        record.check_time(case["now_ms"], case["skew_ms"])
    except RecordError as fault:
        broken = fault.rule
    assert broken == case["rule"]


@each(RECORDS["uris"]["good"])
def test_a_uri_is_the_text_of_the_vector(case: Case) -> None:
    uri = PeerUri.parse(case["text"])
    assert str(uri) == case["text"]
    assert uri.address.hex() == case["address"]
    assert uri.curve_key.hex() == case["curve_key"]
    assert uri.endpoint == case["endpoint"]


@pytest.mark.parametrize("text", RECORDS["uris"]["bad"])
def test_a_bad_uri_is_refused(text: str) -> None:
    """Rule REC-6."""
    with pytest.raises(InvalidValue):
        PeerUri.parse(text)


# --- Handshake ----------------------------------------------------------------------------------


def test_the_vectors_have_each_state_of_a_link_with_each_frame() -> None:
    actions = {(c["state"], c["frame"]): c["action"] for c in LINKS["cases"]}
    assert actions == {(s.value, k.name): action.value for (s, k), action in TABLE.items()}


@each(RESUME["cases"])
def test_a_session_resumes_as_the_vector_says(case: Case) -> None:
    mine, theirs = ({**RESUME[who], **case[who]} for who in ("mine", "hello"))
    memory = Memory(
        out_stream=StreamId(unhex(mine["out_stream"])),
        out_base=Seq(mine["out_base"]),
        out_sent=Seq(mine["out_sent"]),
        in_stream=StreamId(unhex(mine["in_stream"])),
        cursor=Seq(mine["cursor"]),
        incarnation=mine["incarnation"],
        instance=InstanceId(unhex(mine["instance"])),
        in_base=Seq(mine["in_base"]),
        out_digest=digest_from(mine["out_digests"].get(str(theirs["cursor"]))),
        in_digest=StreamDigest(unhex(mine["in_digest"])),
    )
    hello = Hello(
        versions=(1,),
        record=b"",
        incarnation=theirs["incarnation"],
        instance=InstanceId(unhex(theirs["instance"])),
        stream=StreamId(unhex(theirs["stream"])),
        base=Seq(theirs["base"]),
        base_digest=StreamDigest(unhex(theirs["base_digest"])),
        next=Seq(theirs["next"]),
        seen_stream=StreamId(unhex(theirs["seen_stream"])),
        cursor=Seq(theirs["cursor"]),
        seen_digest=StreamDigest(unhex(theirs["seen_digest"])),
        heard=Seq(theirs["heard"]),
        refusals=(),
        window_messages=1,
        window_bytes=1,
    )
    assert shown(resume(memory, hello), hello) == case["outcome"]


def digest_from(text: str | None) -> StreamDigest | None:
    """Return a digest that is not always known."""
    return None if text is None else StreamDigest(unhex(text))


def shown(outcome: Resume | Hold, hello: Hello) -> Case:
    """Return what the vectors write for a decision about ``hello``."""
    if isinstance(outcome, Hold):
        return {"bye": outcome.code.name}
    if not outcome.anew:
        return {"acked": outcome.acked}
    begin = {"new_stream": hello.stream.hex(), "cursor": hello.base - 1}
    return {"acked": outcome.acked, **begin, "digest": hello.base_digest.hex()}


# --- Digests ------------------------------------------------------------------------------------


@each(DIGESTS["cases"])
def test_a_stream_has_the_digests_of_the_vector(case: Case) -> None:
    """Rule RES-11."""
    digest = StreamDigest(unhex(case["stream"]))
    digests = []
    for body in case["bodies"]:
        digest = next_digest(digest, unhex(body))
        digests.append(digest.hex())
    assert digests == case["digests"]


def test_a_digest_comes_about_step_by_step_as_the_vector_says() -> None:
    """Rule RES-11, with nothing of this package."""
    digest = unhex(DIGESTS["steps"]["stream"])
    for step in DIGESTS["steps"]["steps"]:
        hashed = digest + unhex(step["body"])
        assert hashed.hex() == step["hashed"]
        assert sha256(hashed).hexdigest() == step["sha256"]
        digest = sha256(hashed).digest()[:16]
        assert digest.hex() == step["digest"]


# --- Sessions -----------------------------------------------------------------------------------


def frame_of(written: Sequence[str]) -> Frame:
    """Return the frame whose ZMTP frames are written as values; a BULK's body as bytes."""
    values = [parse(text) for text in written]
    parts = [codec.encode(value) for value in values]
    match values:
        case [(Kind.BULK, *_), bytes(body)]:
            parts[1] = body
    return decode_frame(parts)


class Conversation:
    """One session, as a script of the vectors drives it; the other side is the script."""

    def __init__(self, case: Case) -> None:
        messages, size_bytes = case["window"]
        limits = Limits(inbox_max_messages=messages, inbox_max_bytes=size_bytes)
        self._output = Output()
        memory = PeerSnapshot(out_stream=StreamId(unhex(SESSIONS["stream"])))
        peer = Address(bytes(20))
        self._session = Session(peer, memory, self._output, limits, Random(0))
        self._links = 0
        self.delivered: list[str] = []

    def do(self, step: Case) -> Case:
        """Take one step; return what came of it, as the script writes it."""
        result: Case = {"out": []}
        try:
            self._act(step)
        except Contradiction:
            return {"bye": ByeCode.DATA_LOSS.name}
        except PeerError as fault:
            return {"violation": fault.rule}
        self._session.settle(step["at"])
        self._session.check()
        result["out"] = [encode_frame(frame) for _, frame in self._output.frames]
        refused = {
            seq: refusal.code.value
            for _, processed in self._output.processed
            for seq, (refusal, _) in processed.refused.items()
        }
        acked = [processed.last for _, processed in self._output.processed]
        if acked:
            result["processed"] = {"through": acked[-1], "refused": sorted(refused.items())}
        self._output.frames.clear()
        self._output.processed.clear()
        return result

    def _act(self, step: Case) -> None:
        session, now = self._session, step["at"]
        match step["do"]:
            case "hello":
                self._links += 1
                hello = frame_of([step["frame"]])
                assert isinstance(hello, Hello)
                assert session.establish(LinkId(self._links), hello, now) is None
            case "lose":
                session.lose(LinkId(self._links))
            case "receive":
                frame: Any = frame_of(step["frames"])
                session.receive(LinkId(self._links), frame, now)
            case "send":
                session.send(unhex(step["body"]))
            case "process":
                _, body = session.inbox.take()
                assert body is not None
                self.delivered.append(body.hex())
                session.done()
            case "refuse":
                session.inbox.take()
                session.refuse(RefusalCode(step["code"]), step["reason"])
            case "wait":
                session.tick(now)
            case other:
                raise ValueError(other)


def expected(step: Case) -> Case:
    """Return what a step of a script is to bring about, as `Conversation.do` returns it."""
    for end in ("violation", "bye"):
        if end in step:
            return {end: step[end]}
    result: Case = {"out": [encode_frame(frame_of(frames)) for frames in step.get("out", [])]}
    if "processed" in step:
        refused = [tuple(item) for item in step["processed"]["refused"]]
        result["processed"] = {"through": step["processed"]["through"], "refused": refused}
    return result


@each(SESSIONS["cases"])
def test_a_session_answers_as_the_script_says(case: Case) -> None:
    conversation = Conversation(case)
    for step in case["steps"]:
        assert conversation.do(step) == expected(step), step
    assert conversation.delivered == case["delivered"]


def test_the_resend_timer_is_that_of_the_vector() -> None:
    """Rule RTO-1."""
    for case in SESSIONS["timer"]["cases"]:
        timer = ResendTimer(Limits(), Random(0))
        for sample_s in case["samples_s"]:
            timer.sample(sample_s)
        assert timer.timeout_s() == pytest.approx(case["timeout_s"])


# --- Funding ------------------------------------------------------------------------------------


def protocol_message(body: str) -> ProtocolMessage:
    """Return the message of a body in hex."""
    message = decode_message(unhex(body)).message
    assert isinstance(message, ProtocolMessage)
    return message


@each(FUNDING["proposals"])
def test_a_proposal_is_taken_or_refused_as_the_vector_says(case: Case) -> None:
    me, sender = Address(unhex(case["me"])), Address(unhex(case["sender"]))
    message: Any = protocol_message(case["body"])
    refused = 0
    try:
        DirectFund.from_proposal(me, sender, message)
    except RefuseMessage as fault:
        refused = fault.code.value
    assert refused == case["refused"]


class Participant:
    """One objective, as a script of the vectors drives it."""

    def __init__(self, secret: str) -> None:
        self._signer = SecretKey(unhex(secret))
        self._fund: DirectFund | None = None

    def do(self, step: Case) -> Case:
        """Take one step; return what came of it, as the script writes it."""
        try:
            fund = self._act(step)
        except RefuseMessage as fault:
            return {"refused": fault.code.value}
        draft = SigningLedger(self._signer, EngineOutput()).draft()
        cranked = fund.crank(draft)
        assert isinstance(cranked.objective, DirectFund)
        self._fund = cranked.objective
        result: Case = {"status": self._fund.status.value}
        for effect in cranked.effects:
            match effect:
                case SendMessage(to, message):
                    sent = {"to": to.hex(), "body": encode_message(message).hex()}
                    result.setdefault("send", []).append(sent)
                case SubmitTransaction(deposit):
                    paid = {
                        "asset": deposit.asset.hex(),
                        "amount": deposit.amount,
                        "expected_held": deposit.expected_held,
                    }
                    result.setdefault("deposit", []).append(paid)
                case EmitEvent():
                    pass  # For the application of this package: no part of the protocol.
        return result

    def _act(self, step: Case) -> DirectFund:
        if step["do"] == "propose":
            state = state_from_value(parse(step["state"]))
            variable = state.variable
            me = self._signer.address
            return DirectFund.propose(state.fixed, variable.outcome, variable.app_data, me)
        if self._fund is None:
            return self._first(step)
        match step["do"]:
            case "receive":
                sender = Address(unhex(step["from"]))
                return self._fund.receive(sender, protocol_message(step["body"]))
            case "approve":
                return self._fund.approve()
            case "reject":
                return self._fund.rejected_by_me(RejectCode(step["code"]), step["reason"])
            case "held":
                return self._fund.holdings_changed(Address(unhex(step["asset"])), step["held"])
            case other:
                raise ValueError(other)

    def _first(self, step: Case) -> DirectFund:
        assert step["do"] == "receive"
        message: Any = protocol_message(step["body"])
        return DirectFund.from_proposal(self._signer.address, Address(unhex(step["from"])), message)


@each(FUNDING["cases"])
def test_a_participant_acts_as_the_script_says(case: Case) -> None:
    participant = Participant(case["secret"])
    for step in case["steps"]:
        assert participant.do(step["in"]) == step["out"], step["in"]


def test_the_scripts_of_one_channel_fit_together() -> None:
    """What one participant sends is what the others receive, in both directions."""
    by_name = {case["name"]: case for case in FUNDING["cases"]}
    for names in FUNDING["together"]:
        sent: list[tuple[str, str, str]] = []
        received: list[tuple[str, str, str]] = []
        for case in (by_name[name] for name in names):
            me = SecretKey(unhex(case["secret"])).address.hex()
            for step in case["steps"]:
                mail = step["out"].get("send", [])
                sent.extend((me, letter["to"], letter["body"]) for letter in mail)
                if step["in"]["do"] == "receive":
                    received.append((step["in"]["from"], me, step["in"]["body"]))
        assert sorted(sent) == sorted(received)


def test_bytes_that_are_no_stored_objective_break_rule_obj_1() -> None:
    """Rule OBJ-1: bytes of the store are checked as those of a peer are."""
    with pytest.raises(DecodeError) as caught:
        DirectFund.decode(b"\x90")
    assert caught.value.rule == "OBJ-1"


class Post:
    """Takes the mail of channels, whose participants are all known."""

    def __init__(self, sent: list[tuple[Address, bytes]]) -> None:
        """Put it into ``sent``."""
        self._sent = sent

    def knows(self, peer: Address) -> bool:
        """Everybody."""
        return bool(peer)

    def room(self) -> int:
        """For as many as needed."""
        return 100

    def is_guest(self, peer: Address) -> bool:
        """Nobody."""
        return not peer

    def post(self, to: Address, body: bytes) -> None:
        """Take it."""
        self._sent.append((to, body))


def test_a_refused_funding_message_counts_as_a_rejection() -> None:
    """Rule FND-11, until the peer has signed."""
    alice, bob = (SecretKey(unhex(key["secret"])) for key in RECORDS["keys"]["cases"][:2])
    sent: list[tuple[Address, bytes]] = []
    output = EngineOutput()
    ledger = SigningLedger(alice, output)
    channels = Channels(ledger, DEFAULT_LIMITS, output, Post(sent))
    state = state_from_value(parse(FUNDING["cases"][0]["steps"][0]["in"]["state"]))
    channel = channels.propose(state.fixed, state.variable.outcome, state.variable.app_data)
    (to, body) = sent[0]
    assert to == bob.address
    channels.refused(bob.address, body, Refusal(Seq(1), RefusalCode.PAYLOAD_INVALID, "no"))
    objective = channels.get(channel)
    assert objective.status is Status.REJECTED
    assert objective.rejection is not None
    assert objective.rejection.by == bob.address


# --- Transport ----------------------------------------------------------------------------------

_PAIR = CurvePair(
    unhex("8e0bdd697628b91d8f245587ee95c5b04d48963f79259877b49cd9063aead3b7"),
    CurveKey(unhex("54fcba24e93249969316fb617c872bb0c1d1ff14800427c594cbfacf1bc2d652")),
)


def test_a_listener_is_set_up_as_the_spec_says() -> None:
    """Rules TRN-1, TRN-2 and TRN-4."""
    options = listener_options(SocketLimits(), _PAIR, ipv6=False)
    assert options[zmq.ROUTER_HANDOVER] == 0
    assert options[zmq.CURVE_SERVER] == 1
    assert options[zmq.CURVE_SECRETKEY] == _PAIR.secret
    assert options[zmq.ZAP_DOMAIN]
    assert options[zmq.ZAP_ENFORCE_DOMAIN] == 1
    assert options[zmq.HEARTBEAT_IVL] == 0
    assert options[zmq.MAXMSGSIZE] == 263_168


def test_a_dialer_is_set_up_as_the_spec_says() -> None:
    """Rules TRN-1, TRN-2 and TRN-4."""
    server = CurveKey(bytes(32))
    options = dialer_options(SocketLimits(), _PAIR, server, ipv6=False)
    assert int(options[zmq.RECONNECT_IVL]) >= 3_600_000  # Longer than a link that came to nothing.
    assert options[zmq.CURVE_SERVERKEY] == server
    assert options[zmq.CURVE_PUBLICKEY] == _PAIR.public
    assert options[zmq.HEARTBEAT_IVL] == 0
    assert options[zmq.MAXMSGSIZE] == 263_168


def test_the_zap_answer_names_the_key_and_fails_closed() -> None:
    """Rules TRN-2 and TRN-3: the User-Id is the key that CURVE proved, and nothing else passes."""
    asked = [b"1.0", b"7", b"zmqp2p", b"192.0.2.1", b"", b"CURVE", _PAIR.public]
    status, user_id = answer(asked, lambda _key, _address: True, curve=True)[2::2]
    assert (status, user_id) == (b"200", _PAIR.public.hex().encode())
    for position, wrong in ((0, b"2.0"), (2, b""), (5, b"NULL"), (6, b"")):
        other = [*asked[:position], wrong, *asked[position + 1 :]]
        assert answer(other, lambda _key, _address: True, curve=True)[2] == b"400"
    assert answer(asked, lambda _key, _address: False, curve=True)[2] == b"400"


def test_a_node_without_encryption_stays_on_its_machine() -> None:
    """Rule TRN-5."""
    transport = ZmqTransport(curve_secret=_PAIR.secret, curve_public=_PAIR.public, security="none")
    try:
        with pytest.raises(EndpointError):
            transport.listen("tcp://0.0.0.0:0")
        with pytest.raises(EndpointError):
            transport.dial("tcp://192.0.2.1:7001", _PAIR.public)
    finally:
        transport.close()
