"""Commands take a passphrase from a file, the environment or a prompt, and never show it."""

import json
from pathlib import Path

import eth_keyfile
import pytest
from click.testing import CliRunner, Result

from zmqp2p import Identity, PeerRecord
from zmqp2p.cli.commands import cli
from zmqp2p.cli.passphrases import ENVIRONMENT_VARIABLE
from zmqp2p.errors import WrongPassphrase

PASSPHRASE = "correct horse"
RECORD = ("record", "--endpoint", "tcp://192.0.2.1:7801")
CHEAP = 2


def run(*arguments: object, typed: str = "", environment: str | None = None) -> Result:
    return CliRunner().invoke(
        cli,
        [str(each) for each in arguments],
        input=typed,
        env={ENVIRONMENT_VARIABLE: environment},
    )


@pytest.fixture
def keyfile(tmp_path: Path) -> Path:
    """Return an encrypted key file."""
    Identity.generate().save(tmp_path / "a.key", passphrase=PASSPHRASE, scrypt_n=CHEAP)
    return tmp_path / "a.key"


@pytest.fixture
def passphrase_file(tmp_path: Path) -> Path:
    """Return a file with the passphrase on its first line."""
    path = tmp_path / "passphrase"
    path.write_text(f"{PASSPHRASE}\nanother line\n")
    path.chmod(0o600)
    return path


def test_an_encrypted_key_file_is_made_and_used_with_a_prompt(tmp_path: Path) -> None:
    path = tmp_path / "new.key"
    made = run("keygen", path, "--encrypt", "--json", typed=f"{PASSPHRASE}\n{PASSPHRASE}\n")
    assert made.exit_code == 0
    assert Identity.load(path, passphrase=PASSPHRASE).address.hex() in made.stdout.lower()
    signed = run(*RECORD, path, typed=f"{PASSPHRASE}\n")
    assert signed.exit_code == 0
    assert PeerRecord.parse(signed.stdout.strip()).address.hex() in made.stdout.lower()
    assert PASSPHRASE not in made.output + signed.output


def test_a_new_passphrase_that_is_typed_differently_is_asked_for_again(tmp_path: Path) -> None:
    path = tmp_path / "new.key"
    typed = f"one\nother\n{PASSPHRASE}\n{PASSPHRASE}\n"
    assert run("keygen", path, "--encrypt", typed=typed).exit_code == 0
    Identity.load(path, passphrase=PASSPHRASE)  # Or it raises.


def test_the_environment_and_a_file_stand_for_the_prompt(
    keyfile: Path, passphrase_file: Path
) -> None:
    assert run(*RECORD, keyfile, environment=PASSPHRASE).exit_code == 0
    told = run(*RECORD, keyfile, "--passphrase-file", passphrase_file, environment="wrong")
    assert told.exit_code == 0
    assert PASSPHRASE not in told.output


def test_a_passphrase_file_means_an_encrypted_key_file(
    tmp_path: Path, passphrase_file: Path
) -> None:
    path = tmp_path / "new.key"
    assert run("keygen", path, "--passphrase-file", passphrase_file).exit_code == 0
    with pytest.raises(WrongPassphrase):
        Identity.load(path)


def test_a_key_file_without_a_passphrase_asks_for_none(tmp_path: Path) -> None:
    Identity.generate().save(tmp_path / "a.key")
    told = run(*RECORD, tmp_path / "a.key", environment=PASSPHRASE)
    assert told.exit_code == 0
    assert "assphrase" not in told.output


@pytest.mark.parametrize("where", ["prompt", "environment"])
def test_a_wrong_passphrase_is_one_line_that_does_not_show_it(keyfile: Path, where: str) -> None:
    wrong = "tr0ub4dor"
    told = run(
        *RECORD, keyfile, typed=f"{wrong}\n", environment=wrong if where != "prompt" else None
    )
    assert told.exit_code == 1
    assert told.stderr.splitlines()[-1].endswith("a.key: the passphrase is wrong")
    assert wrong not in told.output
    assert "Traceback" not in told.output


def test_a_passphrase_file_that_is_missing_is_named(keyfile: Path) -> None:
    told = run(*RECORD, keyfile, "--passphrase-file", "nowhere")
    assert (told.exit_code, told.stderr) == (1, "Error: nowhere: No such file or directory\n")


def test_another_tools_keystore_is_imported_under_its_own_passphrase(
    tmp_path: Path, passphrase_file: Path
) -> None:
    secret = bytes(range(1, 33))
    source = tmp_path / "UTC--geth"
    fields = eth_keyfile.create_keyfile_json(secret, PASSPHRASE.encode(), iterations=1)
    source.write_text(json.dumps(fields))
    source.chmod(0o600)
    path = tmp_path / "new.key"
    made = run("keygen", path, "--import", source, "--passphrase-file", passphrase_file)
    assert made.exit_code == 0
    assert Identity.load(path, passphrase=PASSPHRASE).address.hex() in made.stdout.lower()
    assert eth_keyfile.extract_key_from_keyfile(str(path), PASSPHRASE.encode()) == secret


def test_a_passphrase_file_that_others_can_read_is_refused_as_a_key_file_is(
    keyfile: Path, passphrase_file: Path
) -> None:
    passphrase_file.chmod(0o644)
    told = run(*RECORD, keyfile, "--passphrase-file", passphrase_file)
    assert told.exit_code == 1
    assert "mode 0644" in told.output
    assert PASSPHRASE not in told.output
