"""What this node says on a link so that both know each other: HELLO, and WHO."""

from dataclasses import dataclass, field, replace

from zmqp2p.engine.door import Door
from zmqp2p.engine.instant import Instant
from zmqp2p.engine.me import Me
from zmqp2p.engine.output import EngineOutput
from zmqp2p.engine.session_book import SessionBook
from zmqp2p.ids import Address, LinkId
from zmqp2p.session.handshake import Link
from zmqp2p.wire.frames import NEWEST_RECORD, Hello, Who

_WHO_INTERVAL_S = 0.2  # How often one link is asked, or told again, who is there.


@dataclass(frozen=True, slots=True)
class Greetings:
    """Says who this node is, and asks who is there."""

    me: Me
    clock: Instant
    output: EngineOutput
    links: dict[LinkId, Link]
    book: SessionBook
    door: Door
    due: dict[LinkId, Address] = field(default_factory=dict)  # Answers, at the turn's end.

    def greet(self, link: Link, address: Address) -> None:
        """Say HELLO on a link that was dialed from here: the answer is timed."""
        link.greeted_at = self.clock.now
        self.say_hello(link, address)

    def say_hello_again(self, link: Link) -> None:
        """The peer asks who is there: say HELLO again, if that was not said just now."""
        peer = link.peer or link.expected
        if link.dialed and peer and self.clock.now >= link.told_at + _WHO_INTERVAL_S:
            link.told_at = self.clock.now
            self.greet(link, peer)

    def ask_who(self, link: Link) -> None:
        """Ask who is there, if that was not asked just now."""
        due = self.clock.now >= link.asked_at + _WHO_INTERVAL_S
        if due and self.door.may_answer(link.remote):
            link.asked_at = self.clock.now
            self.output.frames.append((link.id, Who()))

    def doubt(self, link: Link, address: Address) -> None:
        """Ask an older run whether it still lives, by having it say HELLO again (RES-3).

        The HELLO of a run that has ended may be read after that of the next one: two links have no
        order. Nobody answers for it then, and the link is given up.
        """
        link.doubted = True
        if link.dialed:
            self.greet(link, address)
        else:
            self.output.frames.append((link.id, Who()))

    def answer(self) -> None:
        """Answer the HELLOs of this turn, on the links that are left."""
        for link_id, address in self.due.items():
            if link_id in self.links:
                self.say_hello(self.links[link_id], address)
        self.due.clear()

    def say_hello(self, link: Link, address: Address) -> None:
        """Say HELLO on ``link``."""
        self.output.frames.append((link.id, self._hello(link, address)))

    def _hello(self, link: Link, address: Address) -> Hello:
        """Return the HELLO for ``link``: its record bears the key that the link has (IDN-1)."""
        me = self.me
        assert me.record is not None
        session = self.book.session(address)
        if not link.former:
            return session.hello(me.record.encode(), me.incarnation, me.instance)
        assert me.former is not None
        hello = session.hello(me.former.encode(), me.incarnation, me.instance)
        return replace(hello, extensions={NEWEST_RECORD: me.record.encode()})
