"""A store copied back from an old backup, with real files: noticed by both, held, and begun anew.

Bob's store is copied while he is stopped, he goes on, and then the copy is put back.
"""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.real.parties import (
    PATIENCE_S,
    Journal,
    Note,
    Parties,
    events_of,
    numbers_into,
    status_of,
    until_connected,
)
from zmqp2p.cli.commands import cli
from zmqp2p.events import DataLossDetected
from zmqp2p.ids import address_text


class Backup:
    """Alice, who stays as she is, and Bob, whose store is put back to an older copy of it."""

    def __init__(self, parties: Parties) -> None:
        self.parties = parties
        self.at_alice, self.at_bob = Journal[int](), Journal[int]()
        self.alice = parties.start("alice", store=parties.store("alice"))
        self.alice.on_message(numbers_into(self.at_alice), message_type=Note)
        self.bob = parties.start("bob", store=parties.store("bob"))
        self.bob.on_message(numbers_into(self.at_bob), message_type=Note)
        self.alice.add_peer(self.bob.record)
        self.bob.add_peer(self.alice.record)
        until_connected(self.bob, self.alice.address)

    @property
    def copy(self) -> Path:
        return self.parties.folder / "bob.backup"

    def say(self, *numbers: int) -> None:
        """Let both send the numbers to each other, and wait for the acks."""
        for number in numbers:
            to_bob = self.alice.send_message(self.bob.address, Note(number))
            self.bob.send_message(self.alice.address, Note(number)).wait(PATIENCE_S)
            to_bob.wait(PATIENCE_S)

    def back_up(self) -> None:
        """Copy Bob's store while he is stopped."""
        self.bob.close()
        shutil.copy(self.parties.store("bob"), self.copy)
        self.restart()

    def put_back(self) -> None:
        self.bob.close()
        shutil.copy(self.copy, self.parties.store("bob"))

    def restart(self) -> None:
        self.bob = self.parties.restart("bob", self.bob)
        self.bob.on_message(numbers_into(self.at_bob), message_type=Note)


@pytest.fixture
def backup(parties: Parties) -> Backup:
    made = Backup(parties)
    made.say(1, 2)
    made.back_up()
    made.say(3, 4, 5)
    return made


def recover(store: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["recover", str(store), *arguments])


def test_an_old_copy_is_noticed_by_both_and_held_over_restarts(backup: Backup) -> None:
    at_alice = events_of(backup.alice)
    backup.put_back()
    backup.restart()
    at_bob = events_of(backup.bob)
    assert at_bob.first(DataLossDetected).peer == backup.alice.address
    assert at_alice.first(DataLossDetected).peer == backup.bob.address
    waiting = backup.bob.send_message(backup.alice.address, Note(99))
    waiting.wait_stored(PATIENCE_S)
    backup.bob.close()
    backup.restart()
    assert events_of(backup.bob).first(DataLossDetected).peer == backup.alice.address
    assert not status_of(backup.bob, backup.alice.address).connected
    assert backup.at_alice.entries == [1, 2, 3, 4, 5]  # Held: 99 was neither processed
    assert status_of(backup.bob, backup.alice.address).unacked == 1  # nor dropped.
    assert "rolled" in status_of(backup.bob, backup.alice.address).held
    assert status_of(backup.alice, backup.bob.address).held


def test_recover_shows_what_is_missing_and_begins_anew_when_told(backup: Backup) -> None:
    parties, store = backup.parties, backup.parties.store("bob")
    peer = address_text(backup.alice.address)
    backup.put_back()
    backup.restart()
    events_of(backup.bob).first(DataLossDetected)
    backup.bob.send_message(backup.alice.address, Note(6)).wait_stored(PATIENCE_S)
    backup.bob.close()

    shown = recover(store)
    assert shown.exit_code == 1
    assert "missing: the peer's messages 3 to 5" in shown.output
    assert "processed and this store forgot" in shown.output
    assert "waiting: message 3, Note" in shown.output
    assert recover(store).output == shown.output  # Looking changes nothing.

    undecided = recover(store, "--new-stream", peer)
    assert undecided.exit_code == 2
    assert "--pending" in undecided.output
    begun = recover(store, "--new-stream", peer, "--pending", "resend")
    assert (begun.exit_code, "1 messages are sent again" in begun.output) == (0, True)
    assert begun.output.endswith("no session is held\n")

    backup.restart()
    until_connected(backup.bob, backup.alice.address)
    backup.say(7)
    assert backup.at_alice.entries == [1, 2, 3, 4, 5, 6, 7]
    assert backup.at_bob.entries == [1, 2, 3, 4, 5, 7]
    backup.bob.close()
    backup.alice.close()
    assert recover(parties.store("alice")).output == "no session is held\n"


def test_a_copy_that_lacks_nothing_goes_on(backup: Backup) -> None:
    """Stopped, copied, put back: the same store. And a store without a hold is left alone."""
    backup.bob.close()
    shutil.copy(backup.parties.store("bob"), backup.copy)
    shutil.copy(backup.copy, backup.parties.store("bob"))
    refused = recover(backup.parties.store("bob"), "--new-stream", address_text(b"\x01" * 20))
    assert "is not held" in refused.stderr
    backup.restart()
    backup.say(6)
    assert backup.at_bob.entries == [1, 2, 3, 4, 5, 6]


def test_recover_refuses_a_store_in_use_and_a_file_that_is_not_there(backup: Backup) -> None:
    in_use = recover(backup.parties.store("bob"))
    assert (in_use.exit_code, "open" in in_use.stderr) == (1, True)
    missing = backup.parties.folder / "mistyped.db"
    absent = recover(missing)
    assert (absent.exit_code, "no such file" in absent.stderr) == (1, True)
    assert not missing.exists()
