"""Under a passphrase the key file is a V3 keystore: other tools read it, and it shows nothing."""

import json
import logging
import stat
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import eth_keyfile
import pytest

from zmqp2p.errors import InvalidValue, KeyFileError, WrongPassphrase
from zmqp2p.identity import Identity

SECRET = bytes(range(1, 33))
CURVE_SECRET = bytes(range(101, 133))
FRESH = bytes(range(41, 73))
PASSPHRASE = "correct horse - Pferdestärke"
CHEAP = 2  # scrypt's cost, for tests.

# The two of the Web3 Secret Storage Definition; neither has an address.
DEFINITION_SECRET = "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d"
DEFINITION: dict[str, Any] = {
    "crypto": {
        "cipher": "aes-128-ctr",
        "cipherparams": {"iv": "6087dab2f9fdbbfaddc31a909735c1e6"},
        "ciphertext": "5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46",
        "kdf": "pbkdf2",
        "kdfparams": {
            "c": 262144,
            "dklen": 32,
            "prf": "hmac-sha256",
            "salt": "ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd",
        },
        "mac": "517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2",
    },
    "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6",
    "version": 3,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "alice.key"


def alice() -> Identity:
    return Identity.from_secrets(SECRET, CURVE_SECRET)


def written(path: Path, fields: object) -> Path:
    path.write_text(json.dumps(fields))
    path.chmod(0o600)
    return path


def saved(path: Path) -> dict[str, Any]:
    alice().save(path, passphrase=PASSPHRASE, scrypt_n=CHEAP)
    fields: dict[str, Any] = json.loads(path.read_bytes())
    return fields


def shown_by(fault: BaseException) -> str:
    """Return all that a log or a debugger shows of ``fault`` and of what it hides in its chain."""
    shown = "".join(traceback.format_exception(fault))
    link: BaseException | None = fault
    while link is not None:
        shown += f"{link!r} {link.args!r} {vars(link)!r}"
        link = link.__cause__ or link.__context__
    return shown


def assert_nothing_secret(shown: str) -> None:
    secrets = (SECRET, CURVE_SECRET, FRESH, PASSPHRASE.encode())
    for text in (PASSPHRASE, *(form for each in secrets for form in (each.hex(), repr(each)))):
        assert text not in shown


# --- The file -----------------------------------------------------------------------------------


def test_an_encrypted_file_loads_with_its_passphrase(path: Path) -> None:
    saved(path)
    loaded = Identity.load(path, passphrase=PASSPHRASE)
    assert loaded.address == alice().address
    assert loaded.curve_secret == CURVE_SECRET
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_neither_secret_is_in_the_file(path: Path) -> None:
    saved(path)
    text = path.read_text().lower()
    assert SECRET.hex() not in text
    assert CURVE_SECRET.hex() not in text


def test_other_tools_read_the_key(path: Path) -> None:
    """They skip the member that they do not know."""
    fields = saved(path)
    assert eth_keyfile.extract_key_from_keyfile(str(path), PASSPHRASE.encode()) == SECRET
    assert fields.keys() == {"address", "crypto", "id", "version", "x-zmqp2p"}
    assert fields["address"].lower() == alice().address.hex()
    assert fields["crypto"]["kdfparams"]["n"] == CHEAP


def test_the_default_cost_is_that_of_geth(path: Path) -> None:
    alice().save(path, passphrase=PASSPHRASE)
    params = json.loads(path.read_bytes())["crypto"]["kdfparams"]
    assert (params["n"], params["r"], params["p"]) == (262_144, 8, 1)


def test_load_or_create_makes_an_encrypted_file_once(path: Path) -> None:
    created = Identity.load_or_create(path, passphrase=PASSPHRASE, scrypt_n=CHEAP)
    again = Identity.load_or_create(path, passphrase=PASSPHRASE)
    assert (again.address, again.curve_secret) == (created.address, created.curve_secret)


@pytest.mark.parametrize("given", [None, "wrong", PASSPHRASE + " "])
def test_a_wrong_or_missing_passphrase_has_its_own_error(path: Path, given: str | None) -> None:
    saved(path)
    for act in (Identity.load, Identity.load_or_create):
        with pytest.raises(WrongPassphrase, match=r"alice\.key: .*passphrase") as caught:
            act(path, passphrase=given)
        assert_nothing_secret(shown_by(caught.value))


def test_a_passphrase_for_a_file_without_one_is_refused(path: Path) -> None:
    """Its owner believes that the file is protected."""
    alice().save(path)
    with pytest.raises(KeyFileError, match="is not encrypted") as caught:
        Identity.load_or_create(path, passphrase=PASSPHRASE)
    assert not isinstance(caught.value, WrongPassphrase)
    assert_nothing_secret(shown_by(caught.value))


@pytest.mark.parametrize("passphrase", ["", "\ud800" + PASSPHRASE, b"bytes", 5])
def test_what_is_no_passphrase_is_refused(path: Path, passphrase: Any) -> None:
    with pytest.raises(InvalidValue) as caught:
        alice().save(path, passphrase=passphrase, scrypt_n=CHEAP)
    assert caught.value.field == "passphrase"
    assert_nothing_secret(shown_by(caught.value))
    assert not path.exists()


@pytest.mark.parametrize("cost", [0, 1, 3, 2**21, True, -2])
def test_what_is_no_cost_is_refused(path: Path, cost: int) -> None:
    with pytest.raises(InvalidValue) as caught:
        alice().save(path, passphrase=PASSPHRASE, scrypt_n=cost)
    assert caught.value.field == "scrypt_n"
    assert_nothing_secret(shown_by(caught.value))


def test_a_curve_secret_that_the_library_cannot_seal_is_refused(path: Path) -> None:
    identity = Identity.from_secrets(SECRET, b"\xff" * 32)
    with pytest.raises(InvalidValue, match="curve_secret") as caught:
        identity.save(path, passphrase=PASSPHRASE, scrypt_n=CHEAP)
    assert_nothing_secret(shown_by(caught.value))
    assert not path.exists()


def test_without_the_library_it_is_said_what_to_install(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "eth_keyfile", None)
    with pytest.raises(KeyFileError, match=r"zmqp2p\[keystore\]") as caught:
        alice().save(path, passphrase=PASSPHRASE)
    assert_nothing_secret(shown_by(caught.value))


def test_no_log_shows_a_secret(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    saved(path)
    Identity.load(path, passphrase=PASSPHRASE).replace_curve_key(FRESH)
    assert_nothing_secret(caplog.text)


# --- Another CURVE key --------------------------------------------------------------------------


def test_the_curve_key_is_replaced_without_the_passphrase(path: Path) -> None:
    before = saved(path)
    Identity.load(path, passphrase=PASSPHRASE).replace_curve_key(FRESH)
    after = json.loads(path.read_bytes())
    assert Identity.load(path, passphrase=PASSPHRASE).curve_secret == FRESH
    assert after["crypto"] == before["crypto"]
    assert after["x-zmqp2p"] != before["x-zmqp2p"]


def test_a_sealed_curve_key_of_another_file_is_refused(path: Path) -> None:
    """Who may write the file could give the node a CURVE key that he knows."""
    fields = saved(path)
    Identity.from_secrets(b"\x05" * 32, FRESH).save(
        path.with_name("other"), passphrase=PASSPHRASE, scrypt_n=CHEAP
    )
    theirs = json.loads(path.with_name("other").read_bytes())
    written(path, fields | {"x-zmqp2p": theirs["x-zmqp2p"]})
    with pytest.raises(KeyFileError, match="belongs to another key") as caught:
        Identity.load(path, passphrase=PASSPHRASE)
    assert_nothing_secret(shown_by(caught.value))


# --- Other tools' files -------------------------------------------------------------------------


def test_another_tools_keystore_is_imported_with_a_new_curve_key(path: Path) -> None:
    written(path, DEFINITION)
    one = Identity.import_keystore(path, "testpassword")
    other = Identity.import_keystore(path, "testpassword")
    assert one.address == Identity.from_secrets(bytes.fromhex(DEFINITION_SECRET), FRESH).address
    assert one.curve_public != other.curve_public
    target = path.with_name("imported.key")
    one.save(target, passphrase=PASSPHRASE, scrypt_n=CHEAP)
    assert Identity.load(target, passphrase=PASSPHRASE).curve_public == one.curve_public
    assert json.loads(path.read_bytes()) == DEFINITION


def test_members_of_other_tools_and_a_capital_letter_are_no_harm(path: Path) -> None:
    """As ethers writes it."""
    fields = eth_keyfile.create_keyfile_json(SECRET, b"x", kdf="scrypt", iterations=CHEAP)
    fields["Crypto"] = fields.pop("crypto")
    written(path, fields | {"x-ethers": {"client": "ethers.js", "mnemonicCounter": "00"}})
    assert Identity.import_keystore(path, "x").address == alice().address


def test_another_tools_keystore_is_not_loaded_without_a_curve_key(path: Path) -> None:
    """It would have another one at each start, and peers could not find it."""
    written(path, DEFINITION)
    with pytest.raises(KeyFileError, match="keygen --import"):
        Identity.load(path, passphrase="testpassword")


def test_a_file_of_this_package_is_not_imported(path: Path) -> None:
    saved(path)
    with pytest.raises(KeyFileError, match="load it as it is"):
        Identity.import_keystore(path, PASSPHRASE)
    with pytest.raises(KeyFileError, match="no such file"):
        Identity.import_keystore(path.with_name("nowhere"), PASSPHRASE)


def changed(part: str, **change: object) -> Callable[[dict[str, Any]], None]:
    def change_it(fields: dict[str, Any]) -> None:
        target = fields
        for name in filter(None, part.split(".")):
            target = target[name]
        target.update(change)

    return change_it


@pytest.mark.parametrize(
    "change",
    [
        changed("", crypto=None),
        changed("", crypto=[]),
        changed("", version=True),
        changed("", version="3"),
        changed("", address="0x12"),
        changed("", address=5),
        changed("", address="11" * 20),
        changed("crypto", cipher="aes-128-cbc"),
        changed("crypto", cipherparams="iv"),
        changed("crypto", ciphertext="00"),
        changed("crypto", ciphertext=SECRET.hex() + "00"),
        changed("crypto", mac=None),
        changed("crypto.cipherparams", iv="00"),
        changed("crypto", kdf="md5"),
        changed("crypto", kdfparams=[]),
        changed("crypto.kdfparams", n=2**21),
        changed("crypto.kdfparams", n=3),
        changed("crypto.kdfparams", n=1),
        changed("crypto.kdfparams", n=2.0),
        changed("crypto.kdfparams", n=2**20, r=16),
        changed("crypto.kdfparams", r=0),
        changed("crypto.kdfparams", p=17),
        changed("crypto.kdfparams", p=-1),
        changed("crypto.kdfparams", dklen=64),
        changed("crypto.kdfparams", salt="0"),
        changed("crypto.kdfparams", salt=""),
        changed("crypto", kdf="pbkdf2", kdfparams={"c": 10**9, "prf": "hmac-sha256"}),
        changed("", **{"x-zmqp2p": []}),
        changed("x-zmqp2p", version=2),
        changed("x-zmqp2p", crypto=None),
        changed("x-zmqp2p.crypto", mac="00" * 32),
        changed("x-zmqp2p.crypto.kdfparams", prf="hmac-md5"),
        changed("x-zmqp2p.crypto.kdfparams", c=0),
        changed("x-zmqp2p.crypto.kdfparams", c=10**8),
    ],
)
def test_a_keystore_that_is_malformed_or_costs_too_much_is_refused(
    path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    fields = saved(path)
    change(fields)
    written(path, fields)
    with pytest.raises(KeyFileError, match=r"alice\.key: ") as caught:
        Identity.load(path, passphrase=PASSPHRASE)
    assert not isinstance(caught.value, WrongPassphrase)
    assert_nothing_secret(shown_by(caught.value))


def test_a_keystore_of_a_secret_out_of_range_is_refused(path: Path) -> None:
    fields = saved(path)
    zero = eth_keyfile.keyfile.encrypt_aes_ctr  # The library makes none: so by its own cipher.
    crypto = fields["crypto"]
    crypto["kdf"], crypto["kdfparams"] = (
        "pbkdf2",
        {"c": 1, "dklen": 32, "prf": "hmac-sha256", "salt": "00"},
    )
    key = eth_keyfile.keyfile._derive_pbkdf_key(crypto["kdfparams"], b"x")  # noqa: SLF001
    iv = int(crypto["cipherparams"]["iv"], 16)
    sealed = zero(bytes(32), key[:16], iv)
    crypto["ciphertext"] = sealed.hex()
    crypto["mac"] = eth_keyfile.keyfile.keccak(key[16:] + sealed).hex()
    del fields["x-zmqp2p"]
    written(path, fields)
    with pytest.raises(KeyFileError, match="secp256k1_secret out of range"):
        Identity.import_keystore(path, "x")
