"""Records and URIs are explained with what a person must know before trusting them."""

import pytest

from zmqp2p.cli.contacts import explain_contact
from zmqp2p.crypto import SecretKey
from zmqp2p.ids import CurveKey
from zmqp2p.records import PeerRecord, PeerUri, checksum_text

KEY = SecretKey(b"\1" * 32)
CURVE = CurveKey(b"\2" * 32)
ISSUED_MS = 1_700_000_000_000  # 2023-11-14 22:13:20 UTC.
HOUR_MS = 3_600_000


def record(expires_ms: int = ISSUED_MS + 48 * HOUR_MS, *endpoints: str) -> PeerRecord:
    return PeerRecord.issue(KEY, CURVE, endpoints, ISSUED_MS, expires_ms)


def test_a_record_is_explained_whole() -> None:
    shown = record(ISSUED_MS + 48 * HOUR_MS, "tcp://192.0.2.1:7801", "ipc:///run/x")
    assert explain_contact(shown, ISSUED_MS + HOUR_MS).splitlines() == [
        "peer record, version 1",
        f"  address    {checksum_text(KEY.address)}",
        f"  curve key  {'02' * 32}",
        "  endpoint   tcp://192.0.2.1:7801",
        "  endpoint   ipc:///run/x",
        "  issued     2023-11-14 22:13:20 UTC",
        "  expires    2023-11-16 22:13:20 UTC",
        "  signature  good: signed by the address",
        "  time       valid for 1 day, 23:00:00",
    ]


def test_a_record_without_endpoints_is_said_to_dial_only() -> None:
    assert "  endpoint   none: it only dials" in explain_contact(record(), ISSUED_MS)


@pytest.mark.parametrize(
    ("now_ms", "standing"),
    [
        (ISSUED_MS + 48 * HOUR_MS - 1, "valid for 0:00:00"),
        (ISSUED_MS + 48 * HOUR_MS, "EXPIRED 0:00:00 ago"),
        (ISSUED_MS + 50 * HOUR_MS, "EXPIRED 2:00:00 ago"),
        (ISSUED_MS - 300_000, "valid for 2 days, 0:05:00"),
        (ISSUED_MS - 300_001, "NOT VALID YET, issued 0:05:00 in the future"),
    ],
)
def test_the_time_is_compared_with_the_clock(now_ms: int, standing: str) -> None:
    assert explain_contact(record(), now_ms).splitlines()[-1] == f"  time       {standing}"


@pytest.mark.parametrize(
    ("expires_ms", "text"),
    [
        (253_402_300_799_999, "9999-12-31 23:59:59 UTC"),
        (253_402_300_800_000, "253402300800000 ms after 1970"),
        (2**53 - 1, "9007199254740991 ms after 1970"),
    ],
)
def test_instants_beyond_the_calendar_are_shown_as_numbers(expires_ms: int, text: str) -> None:
    assert f"  expires    {text}" in explain_contact(record(expires_ms), ISSUED_MS)


def test_a_uri_is_explained_as_unsigned() -> None:
    uri = PeerUri(KEY.address, CURVE, "tcp://192.0.2.1:7801")
    assert explain_contact(uri, ISSUED_MS).splitlines() == [
        "peer URI",
        f"  address    {checksum_text(KEY.address)}",
        f"  curve key  {'02' * 32}",
        "  endpoint   tcp://192.0.2.1:7801",
        "  signature  none: a URI is worth as much as the way it came by",
    ]
