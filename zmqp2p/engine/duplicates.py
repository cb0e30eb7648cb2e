"""Links to one peer of which one would do: how many stay, and which, the same at both ends."""

from dataclasses import dataclass

from zmqp2p.codes import ByeCode
from zmqp2p.engine.agenda import Agenda
from zmqp2p.engine.endings import Endings
from zmqp2p.engine.instant import Instant, Timer
from zmqp2p.engine.key_change import KeyChange
from zmqp2p.ids import Address, LinkId
from zmqp2p.limits import Limits
from zmqp2p.session.handshake import Link
from zmqp2p.session.session import Session


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Ends links that others have made needless."""

    me: Address
    clock: Instant
    limits: Limits
    agenda: Agenda[Timer]
    links: dict[LinkId, Link]
    sessions: dict[Address, Session]
    keys: KeyChange
    endings: Endings

    def established(self, session: Session, newest: Link) -> None:
        """Look, now and after a while, whether ``newest`` makes other links needless."""
        if len(session.links) > 1:
            self._end_oldest(session, newest)
            at = self.clock.now + self.limits.duplicate_grace_s
            self.agenda.schedule(Timer("duplicate", session.peer), at)

    def tick(self, address: Address) -> None:
        """Both sides dialed: the higher address gives up the link it dialed (DUP-1)."""
        links = [self.links[i] for i in self.sessions[address].links]
        fresh = [link for link in links if not self.keys.is_replaced(link)]
        for link in links:
            if link.dialed and fresh and link not in fresh:
                self.endings.close(link, ByeCode.DUPLICATE_LINK, "a link of newer keys is used")
        mine = [link for link in fresh if link.dialed]
        if len(fresh) > 1 and mine and self.me > address:
            self.endings.close(mine[0], ByeCode.DUPLICATE_LINK, "your link is used")

    def _end_oldest(self, session: Session, newest: Link) -> None:
        """Of more links than anybody needs, end the one not used for longest (DUP-2).

        Each is read in its turn, as are those of other peers: a hundred would be a hundred turns.
        """
        if len(session.links) <= self.limits.links_max_per_peer:
            return
        accepted = [link for i in session.links if not (link := self.links[i]).dialed]
        oldest = next((link for link in accepted if link is not newest), None)
        if oldest is not None:  # Those dialed from here are few, and end by themselves.
            self.endings.close(oldest, ByeCode.DUPLICATE_LINK, "your newer links are used")
