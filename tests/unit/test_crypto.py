"""Hashes and signatures, against figures published elsewhere."""

from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from zmqp2p.crypto import SecretKey, Signature, keccak256, next_digest, recover_address
from zmqp2p.errors import InvalidValue, SignatureError
from zmqp2p.ids import StreamDigest

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
DIGEST = keccak256(b"a digest")
KEY = SecretKey((1).to_bytes(32))
GOOD = KEY.sign(DIGEST)


def word(number: int) -> bytes:
    return number.to_bytes(32)


def test_keccak_has_the_original_padding_not_that_of_sha3() -> None:
    """The hash of nothing, as every Ethereum client has it."""
    empty = "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    assert keccak256(b"").hex() == empty


def test_the_address_of_key_one_is_the_well_known_one() -> None:
    assert KEY.address.hex() == "7e5f4552091a69125d5dfcb7b8c2659029395bdf"


def test_a_signature_recovers_to_its_signer() -> None:
    assert recover_address(DIGEST, GOOD) == KEY.address
    assert recover_address(keccak256(b"another"), GOOD) != KEY.address


def test_signing_is_deterministic() -> None:
    """RFC 6979: the same digest gives the same signature, so a state is never signed twice."""
    assert SecretKey(word(1)).sign(DIGEST) == GOOD


def test_many_signatures_have_a_low_s_and_both_parities_occur() -> None:
    signatures = [KEY.sign(keccak256(bytes((number,)))) for number in range(64)]
    assert all(int.from_bytes(item.s) <= ORDER // 2 for item in signatures)
    assert {item.v for item in signatures} == {27, 28}


def test_the_joined_form_is_r_s_v_with_27_or_28() -> None:
    joined = GOOD.to_bytes()
    assert joined == GOOD.r + GOOD.s + bytes((GOOD.v,))
    assert Signature.from_bytes(joined) == GOOD


@pytest.mark.parametrize(("written", "meant"), [(0, 27), (1, 28), (27, 27), (28, 28)])
def test_v_may_be_read_as_a_recovery_id(written: int, meant: int) -> None:
    assert Signature.from_bytes(GOOD.r + GOOD.s + bytes((written,))).v == meant


@pytest.mark.parametrize("written", [2, 26, 29, 255])
def test_any_other_v_is_refused(written: int) -> None:
    with pytest.raises(InvalidValue, match=r"signature\.v"):
        Signature.from_bytes(GOOD.r + GOOD.s + bytes((written,)))


@pytest.mark.parametrize("data", [b"", bytes(64), bytes(66), bytearray(65), "x" * 65, None])
def test_joined_bytes_of_another_size_or_type_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidValue, match="signature: must be 65 bytes"):
        Signature.from_bytes(data)


@pytest.mark.parametrize("v", [True, 27.0, "27", 0])
def test_a_signature_holds_v_as_the_integer_27_or_28(v: int) -> None:
    with pytest.raises(InvalidValue, match=r"signature\.v"):
        replace(GOOD, v=v)


@pytest.mark.parametrize("part", [bytes(32), word(ORDER), bytes(31), bytearray(word(1)), None])
@pytest.mark.parametrize("name", ["r", "s"])
def test_r_and_s_are_32_bytes_of_a_number_within_the_order(name: str, part: Any) -> None:
    with pytest.raises(InvalidValue) as caught:
        replace(GOOD, **{name: part})
    assert caught.value.field == f"signature.{name}"


def test_a_high_s_is_refused_because_anybody_can_make_it() -> None:
    """(r, order - s) with the other parity is a second signature of the same signer."""
    assert replace(GOOD, r=word(ORDER - 1), s=word(ORDER // 2)).s == word(ORDER // 2)
    with pytest.raises(InvalidValue, match=r"signature\.s"):
        Signature(GOOD.r, word(ORDER - int.from_bytes(GOOD.s)), 55 - GOOD.v)


def test_an_r_that_is_no_point_recovers_to_nobody() -> None:
    """There is no point of the curve with x = 5."""
    with pytest.raises(SignatureError, match="SIG-1"):
        recover_address(DIGEST, Signature(word(5), word(1), 27))


@pytest.mark.parametrize("digest", [b"", bytes(31), bytes(33), bytearray(32), "x" * 32])
def test_a_digest_is_32_bytes(digest: bytes) -> None:
    with pytest.raises(InvalidValue, match="digest"):
        KEY.sign(digest)
    with pytest.raises(InvalidValue, match="digest"):
        recover_address(digest, GOOD)


@pytest.mark.parametrize(
    "secret", [bytes(32), word(ORDER), bytes(31), bytes(33), bytearray(word(1)), "x" * 32]
)
def test_a_secret_is_32_bytes_of_a_number_within_the_order(secret: bytes) -> None:
    with pytest.raises(InvalidValue, match="secret"):
        SecretKey(secret)


def test_the_largest_secret_is_a_key() -> None:
    assert SecretKey(word(ORDER - 1)).secret == word(ORDER - 1)


def test_generated_keys_differ() -> None:
    assert SecretKey.generate().secret != SecretKey.generate().secret


def test_the_secret_is_not_shown() -> None:
    key = SecretKey(b"\x5a" * 32)
    assert "5a5a" not in repr(key)
    assert repr(key) == f"SecretKey(address=0x{key.address.hex()})"


@pytest.mark.parametrize("size", [0, 1, 16 * 1024 - 1, 16 * 1024, 256 * 1024])
def test_a_streams_digest_is_of_the_one_before_and_the_body(size: int) -> None:
    """RES-11: SHA-256 of both, cut to 16 bytes, however long the body is."""
    before, body = StreamDigest(bytes(range(16))), b"\x07" * size
    assert next_digest(before, body) == sha256(before + body).digest()[:16]
