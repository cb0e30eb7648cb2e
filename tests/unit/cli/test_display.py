"""What the demo prints: lines for people that any terminal can show, or JSON for programs."""

import json

import pytest

from zmqp2p.chain import MinedDeposit
from zmqp2p.cli.demo import DemoResult
from zmqp2p.cli.display import Display, JsonDisplay, TextDisplay
from zmqp2p.cli.script import DemoFailed, Step
from zmqp2p.cli.verdict import Verdict
from zmqp2p.ids import ZERO_ADDRESS, Address, ChannelId, address_text
from zmqp2p.records import checksum_text

ALICE, BOB = Address(b"\xaa" * 20), Address(b"\xbb" * 20)
CHANNEL = ChannelId(b"\x11" * 32)
DEPOSITS = (
    MinedDeposit("0x01", 3, CHANNEL, ZERO_ADDRESS, 60, 60),
    MinedDeposit("0x02", 5, CHANNEL, ZERO_ADDRESS, 40, 100),
)
RESULT = DemoResult(
    Verdict(CHANNEL, b"\x22" * 32, {"alice": ALICE, "bob": BOB}, DEPOSITS), 4, 512.3
)
Capture = pytest.CaptureFixture[str]


def test_steps_are_aligned_and_parties_go_by_their_names(capsys: Capture) -> None:
    display = TextDisplay()
    display.step(Step(7.6, "bob", "keys_made", {"address": address_text(BOB)}), 7.6)
    display.step(Step(1234.4, "alice", "connected", {"peer": address_text(BOB)}), 0.2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[2:] == [
        "   at ms    took  who    what",
        f"       8      +8  bob    made keys {address_text(BOB)}",
        "    1234      +0  alice  connected: HELLO from bob",
    ]


@pytest.mark.parametrize(
    ("what", "details", "words"),
    [
        (
            "proposing",
            {"deposits": {"alice": 60, "bob": 40}},
            "proposes a channel: alice 60, bob 40",
        ),
        (
            "deposit_submitted",
            {"detail": f"40 of asset {address_text(ZERO_ADDRESS)} on top of 60"},
            "deposits 40 on top of 60",
        ),
        ("prefund_signed", {"detail": "turn 0"}, "signed the prefund state (turn 0)"),
        ("trouble", {"detail": "[bold] of :smile:"}, "TROUBLE: [bold] of :smile:"),
        ("listening", {}, "listens at ?"),
        ("novelty", {"a": 1, "b": "x" * 100}, "a=1 b=" + "x" * 66),
    ],
)
def test_each_step_has_its_words(
    capsys: Capture, what: str, details: dict[str, object], words: str
) -> None:
    TextDisplay().step(Step(0, "alice", what, details), 0)
    assert capsys.readouterr().out.splitlines()[-1] == f"       0      +0  alice  {words}"


def test_the_summary_names_what_was_verified(capsys: Capture) -> None:
    TextDisplay().result(RESULT, "somewhere")
    lines = capsys.readouterr().out.splitlines()
    assert lines[lines.index("Funded.") :] == [
        "Funded.",
        "",
        f"  channel   0x{'11' * 32}",
        f"  alice     {checksum_text(ALICE)}  deposited 60",
        f"  bob       {checksum_text(BOB)}  deposited 40",
        f"  postfund  0x{'22' * 32}",
        "            signed by both parties; both signatures verified here",
        "  chain     holds 100; each deposit made once, in blocks 3 and 5",
        "  messages  4, each acknowledged",
        "  time      0.51 s in all",
        "  files     somewhere",
    ]


def test_nothing_but_ascii_is_printed_and_no_colour_outside_a_terminal(capsys: Capture) -> None:
    display = TextDisplay()
    display.step(Step(0, "alice", "funded"), 0)
    display.result(RESULT, None)
    text = capsys.readouterr().out
    assert text.isascii()
    assert "\x1b" not in text
    assert "files" not in text


def test_json_lines_hold_the_steps_and_then_the_result(capsys: Capture) -> None:
    display = JsonDisplay()
    display.step(Step(7.6, "bob", "listening", {"endpoint": "tcp://x"}), 1.26)
    display.result(RESULT, "somewhere")
    step, result = map(json.loads, capsys.readouterr().out.splitlines())
    assert step == {
        "at_ms": 7.6,
        "took_ms": 1.3,
        "who": "bob",
        "what": "listening",
        "endpoint": "tcp://x",
    }
    assert result == {
        "what": "result",
        "ok": True,
        "channel_id": "0x" + "11" * 32,
        "state_hash": "0x" + "22" * 32,
        "addresses": {"alice": checksum_text(ALICE), "bob": checksum_text(BOB)},
        "deposits": {"alice": 60, "bob": 40},
        "transactions": ["0x01", "0x02"],
        "messages": 4,
        "total_ms": 512.3,
        "folder": "somewhere",
    }


def test_a_failure_is_the_last_json_line(capsys: Capture) -> None:
    display: Display = JsonDisplay()
    display.failure(DemoFailed("bob ended"))
    assert json.loads(capsys.readouterr().out) == {
        "what": "result",
        "ok": False,
        "error": "bob ended",
    }


def test_a_failure_adds_nothing_to_the_lines_for_people(capsys: Capture) -> None:
    display: Display = TextDisplay()
    capsys.readouterr()
    display.failure(DemoFailed("bob ended"))
    assert capsys.readouterr().out == ""
