"""CURVE keys that were replaced, this node's and its peers': which links must move, and until when.

The links that there are go on while new ones are dialed; nothing in a session changes (IDN-5).
"""

from dataclasses import dataclass

from zmqp2p.engine.agenda import Agenda
from zmqp2p.engine.dialing import Dialing
from zmqp2p.engine.instant import Instant, Timer
from zmqp2p.engine.me import Me
from zmqp2p.engine.session_book import SessionBook
from zmqp2p.ids import Address, LinkId
from zmqp2p.records import PeerRecord
from zmqp2p.session.handshake import Link


@dataclass(slots=True)
class KeyChange:
    """Moves peers to links of newer keys."""

    me: Me
    clock: Instant
    agenda: Agenda[Timer]
    links: dict[LinkId, Link]
    book: SessionBook
    dialing: Dialing
    _grace_until: float = 0.0  # How long `me.former` counts.

    def begin(self, record: PeerRecord, grace_s: float) -> None:
        """Show ``record``, whose key is new; links of the key before may go on for so long."""
        self.me.former, self.me.record = self.me.record, record
        self._grace_until = self.clock.now + grace_s
        self._plan()
        for link in self.links.values():
            link.former = True

    def grace_is_over(self) -> bool:
        """Whether the former key counts no more; if it does, look again when it may not."""
        if self.clock.now < self._grace_until:  # Another rotation came meanwhile.
            self._plan()
            return False
        return True

    def is_replaced(self, link: Link) -> bool:
        """Whether one end of ``link`` has a newer CURVE key than that the link was opened with."""
        if link.former or link.curve_key is None or link.peer is None:
            return link.former
        contact = self.book.peers.peer(link.peer).contact
        return isinstance(contact, PeerRecord) and contact.curve_key != link.curve_key

    def move(self, address: Address) -> None:
        """See to it that ``address`` gets a link of newer keys, if it has none.

        Who dialed before dials again; and whose key is new, too, since he may not be listening with
        it yet. The links that there are go on meanwhile, and are ended as duplicates.
        """
        links = [self.links[i] for i in self.book.sessions[address].links]
        mine = any(link.dialed or link.former for link in links)
        needed = mine and all(map(self.is_replaced, links))
        peers = self.book.peers
        self.dialing.give_up(peers.move(peers.peer(address), self.clock.now, needed=needed))
        if needed:
            self.dialing.plan(address)

    def _plan(self) -> None:
        self.agenda.schedule(Timer("grace", self.me.signer.address), self._grace_until)
