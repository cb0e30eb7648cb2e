"""The key file is private, whole, never overwritten; and no secret is ever shown."""

import copy
import json
import logging
import os
import pickle
import stat
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

import zmqp2p.identity
from zmqp2p.crypto import SecretKey, Signer, keccak256, recover_address
from zmqp2p.errors import InvalidValue, KeyFileError
from zmqp2p.identity import Identity
from zmqp2p.key_file import check_private
from zmqp2p.transport.options import CurvePair

SECRET = bytes(range(1, 33))
CURVE_SECRET = bytes(range(101, 133))
# The pair of libzmq's manual (zmq_curve), in hex instead of Z85.
MANUAL_CURVE_SECRET = "7bb864b489afa3671fbe69101f94b38972f24816dfb01b51656b3fec8dfd0888"
MANUAL_CURVE_PUBLIC = "bb88471d65e2659b30c55a5321cebb5aab2b70a398645c26dca2b2fcb43fc518"

ALICE = Identity.from_secrets(SECRET, CURVE_SECRET)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a key file can be made."""
    return tmp_path / "alice.key"


def written(path: Path, text: str | bytes, mode: int = 0o600) -> Path:
    """Write ``text`` to ``path`` with ``mode`` and return it."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


def fields_of(path: Path) -> dict[str, object]:
    """Return the fields of a key file of Alice's, saved at ``path``."""
    ALICE.save(path)
    fields: dict[str, object] = json.loads(path.read_bytes())
    path.unlink()
    return fields


# --- Keys ---------------------------------------------------------------------------------------


def test_an_identity_signs_for_its_address() -> None:
    signer: Signer = ALICE
    digest = keccak256(b"anything")
    assert recover_address(digest, signer.sign(digest)) == signer.address
    assert signer.address == SecretKey(SECRET).address


def test_the_public_curve_key_is_that_of_the_secret() -> None:
    identity = Identity.from_secrets(SECRET, bytes.fromhex(MANUAL_CURVE_SECRET))
    assert identity.curve_public.hex() == MANUAL_CURVE_PUBLIC
    assert identity.curve_secret.hex() == MANUAL_CURVE_SECRET


def test_generated_identities_differ_in_both_keys() -> None:
    one, other = Identity.generate(), Identity.generate()
    assert one.address != other.address
    assert one.curve_public != other.curve_public
    assert len(one.curve_public) == len(one.curve_secret) == 32


@pytest.mark.parametrize(
    ("secret", "curve_secret", "field"),
    [
        (SECRET[:-1], CURVE_SECRET, "secret"),
        (bytes(32), CURVE_SECRET, "secret"),
        (SECRET, CURVE_SECRET[:-1], "curve_secret"),
        (SECRET, CURVE_SECRET.hex(), "curve_secret"),
    ],
)
def test_secrets_of_the_wrong_shape_are_refused(
    secret: bytes, curve_secret: bytes, field: str
) -> None:
    with pytest.raises(InvalidValue) as caught:
        Identity.from_secrets(secret, curve_secret)
    assert caught.value.field == field


@pytest.mark.parametrize("name", ["address", "curve_public", "curve_secret", "other"])
def test_an_identity_does_not_change(name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(ALICE, name, b"")


def test_repr_shows_the_address_and_no_secret() -> None:
    assert repr(ALICE) == f"Identity(address=0x{ALICE.address.hex()})"
    assert str(ALICE) == repr(ALICE)


# --- The file -----------------------------------------------------------------------------------


def test_a_saved_identity_loads_again(path: Path) -> None:
    ALICE.save(path)
    loaded = Identity.load(str(path))
    assert loaded.address == ALICE.address
    assert loaded.curve_secret == CURVE_SECRET
    assert loaded.curve_public == ALICE.curve_public


def test_the_file_has_the_documented_fields(path: Path) -> None:
    assert fields_of(path) == {
        "version": 1,
        "address": "0x" + ALICE.address.hex(),
        "secp256k1_secret": SECRET.hex(),
        "curve_secret": CURVE_SECRET.hex(),
    }


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o277])
def test_the_file_is_for_its_owner_alone_whatever_the_umask(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        ALICE.save(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_nothing_but_the_key_file_is_left(path: Path) -> None:
    ALICE.save(path)
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_nlink == 1


def test_a_file_that_exists_is_never_overwritten(path: Path) -> None:
    written(path, "precious")
    with pytest.raises(KeyFileError, match=r"alice\.key: exists and is never overwritten"):
        ALICE.save(path)
    assert path.read_text() == "precious"
    assert list(path.parent.iterdir()) == [path]


def test_load_or_create_makes_the_file_once(path: Path) -> None:
    created = Identity.load_or_create(path)
    assert Identity.load_or_create(path).address == created.address
    assert Identity.load(path).curve_secret == created.curve_secret


def test_load_or_create_does_not_replace_a_file_it_cannot_use(path: Path) -> None:
    """A damaged key file may hold the only copy of keys that guard funds."""
    written(path, "damaged")
    with pytest.raises(KeyFileError):
        Identity.load_or_create(path)
    assert path.read_text() == "damaged"


def test_a_name_taken_between_looking_and_creating_is_not_replaced(path: Path) -> None:
    """A dangling link looks missing and then exists, as a file does that another process made."""
    path.symlink_to(path.parent / "nowhere")
    with pytest.raises(KeyFileError, match="no such key file"):
        Identity.load_or_create(path)
    assert path.is_symlink()
    assert list(path.parent.iterdir()) == [path]


RACER = """
import sys
from zmqp2p.identity import Identity
print("ready", flush=True)
sys.stdin.readline()
print(Identity.load_or_create(sys.argv[1]).address.hex(), flush=True)
"""


def test_processes_that_race_to_create_get_the_same_keys(path: Path) -> None:
    root = Path(zmqp2p.identity.__file__).parents[1]
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=root,
        )
        for _ in range(4)
    ]
    try:
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
        addresses = {racer.communicate(timeout=30)[0].strip() for racer in racers}
    finally:
        for racer in racers:
            racer.kill()
            racer.communicate()
    assert addresses == {Identity.load(path).address.hex()}
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("act", [ALICE.save, Identity.load_or_create])
def test_a_folder_that_does_not_exist_is_named(
    tmp_path: Path, act: Callable[[Path], object]
) -> None:
    with pytest.raises(KeyFileError, match=r"nowhere.alice\.key: cannot be created"):
        act(tmp_path / "nowhere" / "alice.key")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_named_with_what_to_do(path: Path) -> None:
    with pytest.raises(KeyFileError, match=r"alice\.key: no such key file.*load_or_create"):
        Identity.load(path)


def test_a_folder_is_not_a_key_file(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="cannot be read"):
        Identity.load(tmp_path)


@pytest.mark.parametrize("mode", [0o640, 0o620, 0o604, 0o602, 0o666, 0o610])
def test_a_file_that_others_have_access_to_is_refused(path: Path, mode: int) -> None:
    ALICE.save(path)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match=rf"alice\.key: mode {mode:04o}.*chmod 600"):
        Identity.load(path)


def test_a_file_of_another_user_is_refused_and_one_of_the_superuser_is_not() -> None:
    """Who owns it can read it; and could have put it there for a node that runs as root."""

    def owned_by(user: int) -> os.stat_result:
        return os.stat_result((stat.S_IFREG | 0o600, 0, 0, 1, user, 0, 0, 0, 0, 0))

    path = Path("alice.key")
    check_private(path, owned_by(os.geteuid()))
    check_private(path, owned_by(0))
    with pytest.raises(KeyFileError, match=r"alice\.key: belongs to user 4711.*chown"):
        check_private(path, owned_by(4711))


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_file_that_only_its_owner_has_access_to_is_loaded(path: Path, mode: int) -> None:
    ALICE.save(path)
    path.chmod(mode)
    assert Identity.load(path).address == ALICE.address


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe\xfd",
        b"not JSON " + SECRET.hex().encode(),
        b"[" * 4000,
        b"[]",
        b"{}",
        b'"version"',
        b'{"version": "1"}',
        b'{"version": true}',
        b'{"version": 1}',
        b" " * 8193,
    ],
)
def test_a_malformed_file_is_refused(path: Path, text: bytes) -> None:
    written(path, text)
    with pytest.raises(KeyFileError, match=r"alice\.key: .*(restore it|move it away)"):
        Identity.load(path)


def test_a_file_of_another_version_is_refused(path: Path) -> None:
    written(path, json.dumps(fields_of(path) | {"version": 2}))
    with pytest.raises(KeyFileError, match=r"version 2, this package reads versions 1 and 3; use"):
        Identity.load(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": True}, "JSON object with a version"),
        ({"extra": ""}, "exactly the text fields"),
        ({"curve_secret": 5}, "exactly the text fields"),
        ({"address": None}, "exactly the text fields"),
        ({"curve_secret": CURVE_SECRET.hex()[:-2]}, "64 hexadecimal digits"),
        ({"curve_secret": CURVE_SECRET.hex()[:-1] + " "}, "64 hexadecimal digits"),
        ({"secp256k1_secret": SECRET.hex() + "\n"}, "64 hexadecimal digits"),
        ({"secp256k1_secret": "00" * 32}, "secp256k1_secret out of range"),
        ({"secp256k1_secret": "01" * 32}, "not that of its secp256k1 secret"),
        ({"address": "0x" + "11" * 20}, "not that of its secp256k1 secret"),
    ],
)
def test_a_file_whose_fields_are_wrong_is_refused(
    path: Path, change: dict[str, object], said: str
) -> None:
    written(path, json.dumps(fields_of(path) | change))
    with pytest.raises(KeyFileError, match=said):
        Identity.load(path)


def test_a_file_is_read_up_to_the_bound(path: Path) -> None:
    """White space is no harm; the bound is for files that are no key files at all."""
    text = json.dumps(fields_of(path))
    written(path, text.ljust(8192))
    assert Identity.load(path).address == ALICE.address
    written(path, text.ljust(8193))
    with pytest.raises(KeyFileError):
        Identity.load(path)


# --- Secrets stay secret ------------------------------------------------------------------------


def shown_by(fault: BaseException) -> str:
    """Return all that a log or a debugger shows of ``fault`` and of what it hides in its chain."""
    shown = "".join(traceback.format_exception(fault))
    link: BaseException | None = fault
    while link is not None:
        shown += f"{link!r} {link.args!r} {vars(link)!r} {getattr(link, 'doc', '')}"
        link = link.__cause__ or link.__context__
    return shown


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"extra": 1},
        {"address": "0x" + "11" * 20},
        {"secp256k1_secret": SECRET.hex() + "0"},
        {"curve_secret": CURVE_SECRET.hex() + "0"},
        {"secp256k1_secret": "ff" * 32},
    ],
)
def test_no_exception_shows_a_secret_of_the_file(path: Path, change: dict[str, object]) -> None:
    fields = fields_of(path) | change
    written(path, json.dumps(fields))
    with pytest.raises(KeyFileError) as caught:
        Identity.load(path)
    shown = shown_by(caught.value)
    assert str(fields["secp256k1_secret"]) not in shown
    assert str(fields["curve_secret"]) not in shown


def test_no_exception_shows_the_document_that_is_not_json(path: Path) -> None:
    """A JSONDecodeError carries the whole document, also as a suppressed context."""
    text = json.dumps(fields_of(path))
    written(path, text + "}")
    with pytest.raises(KeyFileError) as caught:
        Identity.load(path)
    assert SECRET.hex() not in shown_by(caught.value)
    assert CURVE_SECRET.hex() not in shown_by(caught.value)


def test_no_log_and_no_output_shows_a_secret(
    path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    ALICE.save(path)
    loaded = Identity.load(path)
    logging.getLogger("test").debug("%r %s", loaded, [loaded])
    shown = caplog.text + "".join(capfd.readouterr())
    assert repr(ALICE) in shown
    assert SECRET.hex() not in shown
    assert CURVE_SECRET.hex() not in shown


@pytest.mark.parametrize("act", [copy.copy, copy.deepcopy, pickle.dumps])
@pytest.mark.parametrize(
    "what", [ALICE, SecretKey(SECRET), CurvePair(CURVE_SECRET, ALICE.curve_public), [ALICE]]
)
def test_what_holds_a_secret_is_neither_pickled_nor_copied(
    act: Callable[[object], object], what: object
) -> None:
    if act is copy.copy and isinstance(what, list):
        what = what[0]
    with pytest.raises(TypeError, match="copied or pickled") as caught:
        act(what)
    assert SECRET.hex() not in shown_by(caught.value)
    assert repr(SECRET) not in shown_by(caught.value)


# --- Another CURVE key --------------------------------------------------------------------------

FRESH = bytes(range(41, 73))


def test_another_curve_key_is_in_the_file_and_then_in_the_identity(path: Path) -> None:
    before = Identity.from_secrets(SECRET, CURVE_SECRET)
    before.save(path)
    before.replace_curve_key(FRESH)
    loaded = Identity.load(path)
    assert before.curve_secret == loaded.curve_secret == FRESH
    assert before.curve_public == loaded.curve_public != ALICE.curve_public
    assert loaded.address == ALICE.address
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_an_identity_without_a_file_takes_another_curve_key_in_memory() -> None:
    identity = Identity.from_secrets(SECRET, CURVE_SECRET)
    identity.replace_curve_key(FRESH)
    assert identity.curve_secret == FRESH


def test_the_file_is_found_though_the_working_directory_has_changed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ALICE.save(path)
    monkeypatch.chdir(path.parent)
    identity = Identity.load("alice.key")
    monkeypatch.chdir("/")
    identity.replace_curve_key(FRESH)
    assert Identity.load(path).curve_secret == FRESH


@pytest.mark.parametrize("now", [None, "other", "not JSON"])
def test_a_file_that_is_not_the_identitys_any_more_is_let_be(path: Path, now: str | None) -> None:
    """Another identity's secrets would be overwritten, or a backup put there by hand."""
    Identity.from_secrets(SECRET, CURVE_SECRET).save(path)
    identity = Identity.load(path)
    path.unlink()
    if now == "other":
        Identity.generate().save(path)
    elif now is not None:
        written(path, now)
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(KeyFileError, match="is not the key file of 0x"):
        identity.replace_curve_key(FRESH)
    assert identity.curve_secret == CURVE_SECRET
    assert (path.read_bytes() if path.exists() else None) == before


def test_a_curve_secret_of_the_wrong_size_changes_nothing(path: Path) -> None:
    identity = Identity.from_secrets(SECRET, CURVE_SECRET)
    identity.save(path)
    with pytest.raises(InvalidValue):
        identity.replace_curve_key(FRESH[:-1])
    assert Identity.load(path).curve_secret == identity.curve_secret == CURVE_SECRET


CRASHER = """
import os, sys
from zmqp2p import key_file
from zmqp2p.identity import Identity
identity = Identity.load(sys.argv[1])
def die(*arguments, **named):
    os._exit(9)
setattr(os, sys.argv[2], die)
identity.replace_curve_key(bytes(range(41, 73)))
"""


@pytest.mark.parametrize("step", ["fsync", "replace", "fchmod"])
def test_a_crash_while_the_file_is_replaced_leaves_one_of_the_two_keys(
    path: Path, step: str
) -> None:
    Identity.from_secrets(SECRET, CURVE_SECRET).save(path)
    root = Path(zmqp2p.identity.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", CRASHER, str(path), step], cwd=root, check=False)
    assert done.returncode == 9
    assert Identity.load(path).curve_secret in {CURVE_SECRET, FRESH}
    for left in path.parent.iterdir():
        assert stat.S_IMODE(left.stat().st_mode) == 0o600


def test_a_key_is_on_the_disk_before_it_has_its_name_and_then_the_name_is(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a power loss leaves an empty file, or none, where the only key was."""
    told: list[str] = []
    synced, replaced, linked = os.fsync, os.replace, os.link

    def fsync(descriptor: int) -> None:
        told.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        synced(descriptor)

    def replace(source: Path, target: Path) -> None:
        told.append("named")
        replaced(source, target)

    def link(source: Path, target: Path) -> None:
        told.append("named")
        linked(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(os, "link", link)
    identity = Identity.from_secrets(SECRET, CURVE_SECRET)
    identity.save(path)
    identity.replace_curve_key(FRESH)
    assert told == ["file", "named", "folder"] * 2
