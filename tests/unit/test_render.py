"""Values for people: every kind is readable, nothing is endless, nothing reaches the terminal."""

from dataclasses import dataclass

import pytest

from zmqp2p.codes import RejectCode
from zmqp2p.crypto import SecretKey
from zmqp2p.render import hex_text, printable, render

SIGNATURE = SecretKey(bytes(31) + b"\x01").sign(bytes(32))


@dataclass(frozen=True)
class Note:
    """Text, and parts of any kind."""

    text: str
    parts: tuple[object, ...]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5, "5"),
        (True, "True"),
        ("é", "'é'"),
        (b"", "0x"),
        (b"\x01\xff", "0x01ff"),
        (RejectCode.BUSY, "busy"),
        (SIGNATURE, "0x" + SIGNATURE.to_bytes().hex()),
        ((), "0 items"),
        ({}, "0 items"),
    ],
)
def test_a_simple_value_takes_one_line(value: object, text: str) -> None:
    assert render("label", value, indent=0) == f"label: {text}"


def test_parts_are_named_and_indented() -> None:
    assert render("note", Note("a", (1, {2: (b"",)}))).splitlines() == [
        "  note: Note",
        "    text: 'a'",
        "    parts: 2 items",
        "      [0]: 1",
        "      [1]: 1 item",
        "        2: 1 item",
        "          [0]: 0x",
    ]


def test_control_characters_of_a_peer_do_not_reach_the_terminal() -> None:
    assert render("text", "\x1b[2J\n", 0) == r"text: '\x1b[2J\n'"


def test_long_values_are_cut_and_say_how_long_they_are() -> None:
    assert hex_text(bytes(96)) == "0x" + "00" * 96
    assert hex_text(bytes(97)) == "0x" + "00" * 96 + "… (97 bytes)"
    assert render("x", "a" * 96, 0) == f"x: '{'a' * 96}'"
    assert render("x", "a" * 97, 0) == f"x: '{'a' * 96}'… (97 characters)"


def test_long_arrays_are_cut() -> None:
    assert render("x", tuple(range(64)), 0).splitlines()[-1] == "  [63]: 63"
    lines = render("x", tuple(range(1000)), 0).splitlines()
    assert lines[0] == "x: 1000 items"
    assert lines[-2:] == ["  [63]: 63", "  …"]
    assert len(lines) == 66


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ünder way, 5 %", "ünder way, 5 %"),
        ("\x1b[2J\n", r"\x1b[2J\n"),
        ("a\u202eb", r"a\u202eb"),  # What follows would be read backwards.
        ("é" * 150, "é" * 100),
        ("x" + "é" * 150, "x" + "é" * 99),
        ("\0" * 200, r"\x00" * 50),
    ],
)
def test_text_of_a_peer_does_nothing_to_a_terminal_and_stays_short(text: str, shown: str) -> None:
    assert printable(text, 200) == shown
