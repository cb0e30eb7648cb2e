"""The door: who may come in, and how much is said to those who may not.

Whoever is refused costs nothing that lasts: no signature is verified, nothing is made or stored for
it, and even the answers and the events about it are so many and no more.
"""

import math
from collections import Counter, OrderedDict
from dataclasses import dataclass, field, replace

from zmqp2p.admission import Admission, AllBut, Only, everyone, known_peers_only
from zmqp2p.codec import decode
from zmqp2p.codes import ByeCode
from zmqp2p.engine.bans import Ban, Bans
from zmqp2p.engine.instant import Instant
from zmqp2p.engine.lineage import Lineage
from zmqp2p.engine.output import EngineOutput
from zmqp2p.engine.peers import PeerManager
from zmqp2p.engine.rate import Rates, source_of
from zmqp2p.errors import DecodeError
from zmqp2p.events import (
    CallbackFailed,
    ConnectionsRefused,
    DataLossDetected,
    LinkRefused,
    SessionForgotten,
)
from zmqp2p.ids import ADDRESS_SIZE, Address, CurveKey, address_text
from zmqp2p.limits import RECORD_MAX_BYTES, Limits
from zmqp2p.session.bucket import Bucket
from zmqp2p.wire.frames import Hello
from zmqp2p.wire.link import TurnedAway

_SOURCES_MAX = 4_096  # Of which it is known when they were last told of.


@dataclass(frozen=True, slots=True)
class Defences:
    """What was refused in this run, in numbers: for status displays and monitoring."""

    refused: dict[ByeCode, int]  # Links, by why.
    connections: dict[str, int]  # Shut down before they were links, by why.
    unanswered: int  # WHO and BYE that were left out: too many strangers had one already.
    # Without an event of their own: refused links (see `LinkRefused.untold`), and what guests did.
    untold: int
    bans: dict[Address, tuple[float, str]]  # Who is banned: for so many seconds more, and why.
    barred_keys: int  # CURVE keys that are refused at the handshake now.


@dataclass(slots=True)
class Door:
    """Decides who may be a peer, by bans first, then by the node's admission policy.

    A participant that has handed over its address has the same bans under each, and its place on
    lists; a function is asked for the address alone.

    ``keys`` is read where handshakes are answered: keys of peers that were refused not long ago.
    """

    clock: Instant
    limits: Limits
    output: EngineOutput
    peers: PeerManager
    admission: Admission = everyone
    lineage: Lineage = field(init=False)
    bans: Bans[Address] = field(init=False)
    keys: Bans[CurveKey] = field(init=False)
    _newcomers: Rates = field(init=False)
    _answers: Rates = field(init=False)
    _events: Rates = field(init=False)
    _guests: Rates = field(init=False)
    _refused: dict[ByeCode, int] = field(default_factory=dict)
    _turned_away: Counter[str] = field(default_factory=Counter)
    _unanswered: int = 0
    _untold: int = 0
    _untold_of: OrderedDict[str, int] = field(default_factory=OrderedDict)
    _failures: Bucket = field(default_factory=lambda: Bucket(1.0, 5.0))

    def __post_init__(self) -> None:
        limits = self.limits
        self.lineage = Lineage(self.output)
        self.bans = Bans(limits.bans_max)
        self.keys = Bans(limits.bans_max)
        self._newcomers = Rates(
            (limits.newcomers_per_s_per_source, limits.newcomers_burst),
            (limits.newcomers_per_s, limits.newcomers_burst),
        )
        answers = limits.stranger_answers_per_s
        self._answers = Rates((answers / 10, answers / 10), (answers, answers))
        events = limits.refusal_events_per_s
        self._events = Rates((events / 10, events / 10), (events, events))
        guest = limits.guest_events_per_s, limits.guest_events_burst
        self._guests = Rates(guest, (math.inf, math.inf))

    # --- Who may come in ------------------------------------------------------------------------

    def why_not(self, address: Address) -> str:
        """Return why ``address`` may not be a peer now; nothing if it may (ADM-1)."""
        ban = self._ban(address)
        if ban is not None:
            return f"banned: {ban.reason}"
        return "" if self._admits(address) else "not admitted by this node's policy"

    def closed_until(self, address: Address) -> float | None:
        """Return until when nobody needs to ask for ``address`` again; None if it may come in."""
        ban = self._ban(address)
        if ban is not None:
            return ban.until
        return None if self._admits(address) else math.inf

    def lets_newcomer(self, remote: str) -> bool:
        """Whether one more peer that was never met may come in from ``remote`` now (ADM-3)."""
        return self._newcomers.allows(source_of(remote), self.clock.now)

    def is_known(self, address: Address) -> bool:
        """Whether it is a contact: the application has added it."""
        peer = self.peers.peers.get(address)
        return peer is not None and peer.wanted

    def ban(self, address: Address, seconds: float, reason: str) -> None:
        """Keep ``address`` out for so long; whoever calls this has its links closed."""
        self.bans.add(address, self.clock.now + seconds, reason)

    def unban(self, address: Address) -> bool:
        """Let ``address`` in again, if the policy does; False if it was not banned."""
        self.keys.clear()
        lifted = [self.bans.lift(each) for each in self.lineage.line(address)]
        return any(lifted)

    def hand_over(self, old: Address, new: Address) -> None:
        """Take ``new`` for who was ``old``."""
        self.keys.clear()
        self.lineage.hand_over(old, new)

    def set_admission(self, admission: Admission) -> None:
        """Decide by ``admission`` from now on."""
        self.keys.clear()
        self.admission = admission

    def bar(self, key: CurveKey, address: Address) -> None:
        """Have handshakes of ``key`` refused: on a link that it proved, ``address`` was refused.

        Not for ever: the key's owner may be let in one day, and what a callable says may change.
        """
        ban = self._ban(address)
        until = self.clock.now + self.limits.barred_key_s
        self.keys.add(key, until if ban is None else min(ban.until, until), "refused not long ago")

    def _ban(self, address: Address) -> Ban | None:
        """Return the ban that ends last of those on the participant that ``address`` is."""
        asked = (self.bans.ask(each, self.clock.now) for each in self.lineage.line(address))
        return max((ban for ban in asked if ban), key=lambda ban: ban.until, default=None)

    def _admits(self, address: Address) -> bool:
        if isinstance(self.admission, Only):
            return any(map(self.admission, self.lineage.former(address)))
        if isinstance(self.admission, AllBut):
            return all(map(self.admission, self.lineage.line(address)))
        if self.admission is known_peers_only:
            return any(map(self.is_known, self.lineage.line(address)))
        try:
            answer: object = self.admission(address)
        except Exception as fault:  # noqa: BLE001  # The application's code; it is told.
            self._admission_failed(f"{type(fault).__name__}: {fault}")
            return False
        if not isinstance(answer, bool):
            self._admission_failed(f"must return True or False, not {type(answer).__name__}")
            return False
        return answer

    def _admission_failed(self, error: str) -> None:
        if self._failures.take(1, self.clock.now):  # Strangers make it be called.
            self.output.events.append(CallbackFailed("admission", error))

    # --- What is said of those who may not ------------------------------------------------------

    def may_answer(self, remote: str) -> bool:
        """Whether a stranger at ``remote`` is given one more answer: WHO, or BYE (ADM-4)."""
        allowed = self._answers.allows(source_of(remote), self.clock.now)
        self._unanswered += not allowed
        return allowed

    def tell(self, refusal: LinkRefused) -> None:
        """Count a refused link, and tell the application, if it was not told of many already."""
        self._refused[refusal.code] = self._refused.get(refusal.code, 0) + 1
        source = source_of(refusal.remote)
        if not self._events.allows(source, self.clock.now):
            self._untold += 1
            self._untold_of[source] = self._untold_of.pop(source, 0) + 1
            if len(self._untold_of) > _SOURCES_MAX:
                self._untold_of.popitem(last=False)
            return
        untold = self._untold_of.pop(source, 0)
        self.output.events.append(replace(refusal, untold=untold))

    def may_tell_of(self, address: Address, *, alarm: bool) -> bool:
        """Whether the application is told of what ``address`` has done now; else it is counted.

        Of contacts always, and of who is new: else a guest's alarms would drown those that matter.
        Alarms have a rate of their own: they may be about who has come and gone many times before.
        """
        source = f"{'alarm' if alarm else 'link'} {address_text(address)}"
        if self.is_known(address) or self._guests.allows(source, self.clock.now):
            return True
        self._untold += 1
        return False

    def alarm(self, event: DataLossDetected | SessionForgotten) -> None:
        """Tell the application what was lost, here or there, if it may be told of that peer now."""
        if self.may_tell_of(event.peer, alarm=True):
            self.output.events.append(event)

    def turned_away(self, told: TurnedAway) -> None:
        """Count connections that the transport has shut down, and tell the application."""
        self._turned_away[told.why] += told.count
        if self._events.allows(told.source, self.clock.now):
            self.output.events.append(ConnectionsRefused(told.source, told.why, told.count))

    def defences(self) -> Defences:
        """Return what was refused in this run."""
        now = self.clock.now
        bans = {
            address: (ban.until - now, ban.reason) for address, ban in self.bans.live(now).items()
        }
        keys = len(self.keys.live(now))
        return Defences(
            refused=dict(self._refused),
            connections=dict(self._turned_away),
            unanswered=self._unanswered,
            untold=self._untold,
            bans=bans,
            barred_keys=keys,
        )

    def check(self) -> None:
        """Assert what is bounded here."""
        self.lineage.check()
        self.bans.check()
        self.keys.check()
        for rates in (self._newcomers, self._answers, self._events, self._guests):
            rates.check()
        assert len(self._untold_of) <= _SOURCES_MAX


def claimed_address(hello: Hello) -> Address | None:
    """Return whose record ``hello`` bears by its own word, before its signature is looked at.

    Enough to refuse it, and nothing else. None if it is no record: the full check says why.
    """
    if len(hello.record) > RECORD_MAX_BYTES:
        return None
    try:
        value = decode(hello.record)
    except DecodeError:
        return None
    if not isinstance(value, tuple) or len(value) <= 1:
        return None
    address = value[1]
    if not isinstance(address, bytes) or len(address) != ADDRESS_SIZE:
        return None
    return Address(address)
