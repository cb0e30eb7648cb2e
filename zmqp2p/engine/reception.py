"""Who is let in: each HELLO against the policy, what is known of its sender, and the places left.

`zmqp2p.engine.admission` checks what a HELLO says by itself. Nothing is made for a HELLO here.
"""

from dataclasses import dataclass

from zmqp2p.codes import ByeCode
from zmqp2p.engine.admission import Unwelcome, admit, newest_of
from zmqp2p.engine.door import Door, claimed_address
from zmqp2p.engine.instant import Instant
from zmqp2p.engine.me import Me
from zmqp2p.engine.session_book import SessionBook
from zmqp2p.ids import Address
from zmqp2p.limits import Limits
from zmqp2p.records import Contact, PeerRecord
from zmqp2p.session.handshake import Link
from zmqp2p.wire.frames import Hello


@dataclass(frozen=True, slots=True)
class Reception:
    """Lets HELLOs in, or says why not."""

    me: Me
    clock: Instant
    limits: Limits
    book: SessionBook
    door: Door

    def welcome(self, link: Link, hello: Hello) -> PeerRecord:
        """Return the record of a HELLO that is let in.

        Raises:
            Unwelcome: it is not.
        """
        claimed = claimed_address(hello)
        if claimed is not None:  # Not proven yet: who claims to be somebody else is not let in.
            self._check_allowed(link, claimed)
            self._check_crowded(link, claimed)
        me, utc_ms = self.me.signer.address, self.clock.utc_ms
        record = admit(link, hello, me, utc_ms=utc_ms, skew_ms=self._skew_ms)
        self._check_superseded(link, record)
        if link.peer not in (None, record.address):
            raise Unwelcome("IDN-2", ByeCode.ADDRESS_MISMATCH, "another identity on this link")
        self._check_room(link, record.address)
        return record

    def newest(self, hello: Hello, record: PeerRecord) -> PeerRecord:
        """Return the newest record that ``hello`` tells of its sender; see `newest_of`."""
        return newest_of(hello, record, utc_ms=self.clock.utc_ms, skew_ms=self._skew_ms)

    def is_from_future(self, contact: Contact | None) -> bool:
        """Whether a clock was wrong when ``contact`` was issued, or when it was taken (REC-8)."""
        latest_ms = self.clock.utc_ms + self._skew_ms
        return isinstance(contact, PeerRecord) and contact.issued_ms > latest_ms

    def _check_allowed(self, link: Link, address: Address) -> None:
        why = self.door.why_not(address)
        if not why:
            return
        if link.curve_key is not None and not link.dialed:
            self.door.bar(link.curve_key, address)
        raise Unwelcome("ADM-1", ByeCode.NOT_ALLOWED, why)

    def _check_crowded(self, link: Link, address: Address) -> None:
        if link.crowded and not self.door.is_known(address):
            detail = "as many links of guests as this node serves"
            raise Unwelcome("HEL-6", ByeCode.TOO_MANY, detail)

    def _check_room(self, link: Link, address: Address) -> None:
        if not self.book.has_room_for(address):
            raise Unwelcome("HEL-6", ByeCode.TOO_MANY, "as many peers as this node serves")
        if address not in self.book.sessions and not self.door.lets_newcomer(link.remote):
            raise Unwelcome("ADM-3", ByeCode.TOO_MANY, "new peers come too fast; try again later")

    def _check_superseded(self, link: Link, record: PeerRecord) -> None:
        """IDN-4: a key that was replaced must not come back.

        An older record of the same key is of no harm: a clock was ahead when the newer was issued.
        Nor is one on the very link where its owner has said it before: CURVE has proven the key at
        a time when it counted, and whoever steals it later cannot get into that connection.
        """
        if link.curve_key is not None and link.peer == record.address:
            return
        peer = self.book.peers.peers.get(record.address)
        known = peer.contact if peer is not None else None
        if self.is_from_future(known):
            return  # REC-8: nobody would take it now, least of all instead of this one.
        if not isinstance(known, PeerRecord) or known.curve_key == record.curve_key:
            return
        if known.issued_ms > record.issued_ms:
            detail = f"issued {record.issued_ms}, one of {known.issued_ms} is known"
            raise Unwelcome("IDN-4", ByeCode.RECORD_SUPERSEDED, detail)

    @property
    def _skew_ms(self) -> int:
        return int(self.limits.clock_skew_max_s * 1000)
