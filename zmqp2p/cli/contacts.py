"""Peer records and URIs explained for people."""

from datetime import UTC, datetime, timedelta

from zmqp2p.limits import DEFAULT_LIMITS
from zmqp2p.records import Contact, PeerRecord, checksum_text

SKEW_MS = int(DEFAULT_LIMITS.clock_skew_max_s * 1000)

_DATES_END_MS = 253_402_300_800_000  # The year 10000, which datetime does not know.


def explain_contact(contact: Contact, now_ms: int) -> str:
    """Return lines about ``contact``; a record's time is compared with ``now_ms``, UTC."""
    rows = [
        ("address", checksum_text(contact.address)),
        ("curve key", contact.curve_key.hex()),
        *(("endpoint", endpoint) for endpoint in contact.endpoints),
    ]
    if not isinstance(contact, PeerRecord):
        rows.append(("signature", "none: a URI is worth as much as the way it came by"))
        return _lines("peer URI", rows)
    if not contact.endpoints:
        rows.append(("endpoint", "none: it only dials"))
    rows += [
        ("issued", _instant(contact.issued_ms)),
        ("expires", _instant(contact.expires_ms)),
        ("signature", "good: signed by the address"),
        ("time", _standing(contact, now_ms)),
    ]
    return _lines(f"peer record, version {contact.version}", rows)


def _lines(title: str, rows: list[tuple[str, str]]) -> str:
    return "\n".join((title, *(f"  {name:<10} {value}" for name, value in rows)))


def _standing(record: PeerRecord, now_ms: int) -> str:
    if now_ms >= record.expires_ms:
        return f"EXPIRED {_duration(now_ms - record.expires_ms)} ago"
    if record.issued_ms - now_ms > SKEW_MS:
        return f"NOT VALID YET, issued {_duration(record.issued_ms - now_ms)} in the future"
    return f"valid for {_duration(record.expires_ms - now_ms)}"


def _instant(instant_ms: int) -> str:
    if instant_ms >= _DATES_END_MS:
        return f"{instant_ms} ms after 1970"
    moment = datetime.fromtimestamp(instant_ms // 1000, UTC)
    return moment.isoformat(sep=" ").replace("+00:00", " UTC")


def _duration(duration_ms: int) -> str:
    return str(timedelta(seconds=duration_ms // 1000))
