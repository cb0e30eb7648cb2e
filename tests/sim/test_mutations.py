"""The world catches broken nodes: each row breaks one method of the real ones.

What is not caught here would not be caught if somebody broke it by mistake.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any

import pytest

from zmqp2p.engine.channels import Channels
from zmqp2p.node.handlers import Handlers
from zmqp2p.node.loop import Loop
from zmqp2p.objectives.direct_fund import DirectFund
from zmqp2p.session import resume as resume_module
from zmqp2p.session.handshake import Link
from zmqp2p.session.inbox import Inbox
from zmqp2p.session.outbox import Outbox
from zmqp2p.session.session import Session
from zmqp2p.store.database import DatabaseStore
from zmqp2p.testing.scenarios import play

SEEDS_MAX = 200  # All are caught far sooner; this bounds the time when one is not.

Mutation = Callable[[pytest.MonkeyPatch], None]


def instead(owner: Any, name: str, broken: Callable[..., Any]) -> Mutation:
    """Return a mutation that calls ``broken(original, self, …)`` instead of a method."""

    def mutate(patch: pytest.MonkeyPatch) -> None:
        original = getattr(owner, name)

        @wraps(original)
        def method(*arguments: Any, **named: Any) -> Any:
            return broken(original, *arguments, **named)

        patch.setattr(owner, name, method)

    return mutate


def nothing(_original: Any, *_arguments: Any, **_named: Any) -> None:
    """Do nothing at all."""


# --- What is broken -----------------------------------------------------------------------------


def drop_received(original: Any, self: Outbox, _ack: Any, refusals: Any) -> Any:
    return original(self, self._received, refusals)


def accept_as_next(original: Any, self: Inbox, _seq: Any, bodies: Any, _digest: Any) -> Any:
    return original(self, self.received + 1, bodies, self._chained(bodies)[-1])


def accept_again(original: Any, self: Inbox, seq: Any, bodies: Any, digest: Any) -> Any:
    if seq > self.received:
        return original(self, seq, bodies, digest)
    return accept_as_next(original, self, seq, bodies, digest)


def accept_beyond(original: Any, self: Inbox, seq: Any, bodies: Any, digest: Any) -> Any:
    if seq <= self.received + 1:
        return original(self, seq, bodies, digest)
    return accept_as_next(original, self, seq, bodies, digest)


def store_no_cursor(_original: Any, self: Session) -> None:
    self._stored = (self.inbox.cursor, self.inbox.digest, self._in_base)


def send_before_commit(original: Any, self: Loop) -> None:
    output = self.engine.settle()
    self._send_frames(output)
    output.frames.clear()
    output.closes.clear()
    self.engine.settle = lambda: output  # type: ignore[method-assign]
    original(self)
    del self.engine.settle


def ack_received(original: Any, self: Session) -> Any:
    progress = original(self)
    return replace(progress, ack=progress.received)


def resume_from_sent(original: Any, self: Outbox, _cursor: Any, *window: int) -> None:
    original(self, self.sent_most, *window)


def never_again(patch: pytest.MonkeyPatch) -> None:
    for name in ("deadline", "stalled_since"):
        patch.setattr(Outbox, name, property(lambda _: None))


def expire_later(original: Any, self: Link, now: float, *rest: Any) -> str:
    return str(original(self, now - 0.5, *rest))


def say_refusals_once(original: Any, self: Session) -> Any:
    progress = original(self)
    self.inbox.forget_refusals(self.inbox.cursor)
    return progress


def lose_a_message(original: Any, self: Session, body: bytes) -> Any:
    seq = original(self, body)
    if seq == 3:
        self._output.writes.pop()
    return seq


def forget_what_was_sent(original: Any, self: Outbox, stream: Any, acked: Any, *rest: Any) -> None:
    original(self, stream, acked, *rest)
    self.sent_most = acked[0]


def no_digests(patch: pytest.MonkeyPatch) -> None:
    original = resume_module.resume

    def check(mine: Any, hello: Any) -> Any:
        hello = replace(hello, base_digest=mine.in_digest, heard=0)
        return original(replace(mine, out_digest=None), hello)

    patch.setattr("zmqp2p.session.session.resume", check)
    accept, acknowledge = Inbox.accept, Outbox.acknowledge

    def accept_any(self: Inbox, seq: Any, bodies: Any, digest: Any) -> Any:
        new = bodies[self.received + 1 - seq :] if seq <= self.received + 1 else ()
        return accept(self, seq, bodies, self._chained(new)[-1] if new else digest)

    def acknowledge_any(self: Outbox, progress: Any, now: float) -> Any:
        own = self.digest_at(progress.ack) or progress.digest
        return acknowledge(self, replace(progress, digest=own), now)

    patch.setattr(Inbox, "accept", accept_any)
    patch.setattr(Outbox, "acknowledge", acknowledge_any)


def no_comparison(patch: pytest.MonkeyPatch) -> None:
    go_on = resume_module.Resume

    def check(mine: Any, hello: Any) -> Any:
        anew = hello.stream != mine.in_stream
        if hello.seen_stream != mine.out_stream:
            return go_on(mine.out_base - 1, anew)
        return go_on(min(max(hello.cursor, mine.out_base - 1), mine.out_sent), anew)

    no_digests(patch)
    patch.setattr("zmqp2p.session.session.resume", check)


def keep_failed_mail(original: Any, self: Handlers, delivery: Any) -> None:
    receipts = delivery.close()
    original(self, delivery)
    for receipt in receipts:
        self._desk.send(self._engine, receipt)


def ack_before_the_handler(original: Any, self: Handlers, pending: Any) -> None:
    if pending.attempt > 1:
        original(self, pending)
        return
    self._engine.complete(pending)


MUTATIONS: dict[str, tuple[str, Mutation]] = {
    "outbox drops what is only received": ("messages", instead(Outbox, "_drop", drop_received)),
    "no check for duplicates": ("messages", instead(Inbox, "accept", accept_again)),
    "no check for gaps": ("messages", instead(Inbox, "accept", accept_beyond)),
    "cursor not stored": ("messages", instead(Session, "_store_cursor", store_no_cursor)),
    "frames leave before the commit": ("messages", instead(Loop, "settle", send_before_commit)),
    "ack of what is only received": ("messages", instead(Session, "_progress", ack_received)),
    "resume from what was sent": ("messages", instead(Outbox, "resume", resume_from_sent)),
    "resend timer never fires": ("messages", instead(Outbox, "tick", lambda *_: 0)),
    # Either one alone is made up for by the other.
    "neither resends nor sees a stall": ("messages", never_again),
    "deadline before its time": ("messages", instead(Link, "expired", expire_later)),
    "failed handler not undone": (
        "messages",
        instead(DatabaseStore, "rollback_to_savepoint", nothing),
    ),
    "mail of a failed handler leaves": (
        "messages",
        instead(Handlers, "_undo", keep_failed_mail),
    ),
    "refusals said once": ("messages", instead(Session, "_progress", say_refusals_once)),
    "commit skipped": ("messages", instead(DatabaseStore, "commit", nothing)),
    "a message not written": ("messages", instead(Session, "send", lose_a_message)),
    "forgets what earlier runs sent": (
        "messages",
        instead(Outbox, "__init__", forget_what_was_sent),
    ),
    "PING not answered": ("calm", instead(Session, "_answer_pings", nothing)),
    "acked before the handler ends": (
        "messages",
        instead(Handlers, "deliver", ack_before_the_handler),
    ),
    "deposits forgotten by a restart": ("funding", instead(DirectFund, "resumed", lambda _, s: s)),
    "failed deposit not repeated": ("funding", instead(Channels, "transaction_failed", nothing)),
    "channels not taken up": ("funding", instead(Channels, "load", nothing)),
    "digests not compared": ("rollback", no_digests),
    "nothing compared in HELLO": ("rollback", no_comparison),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_the_world_catches_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario, mutate = MUTATIONS[name]
    mutate(monkeypatch)
    with pytest.raises(AssertionError):  # `Broken`, or an invariant of one of the parts.
        play_many(scenario)


def play_many(scenario: str) -> None:
    for seed in range(SEEDS_MAX):
        play(seed, scenario)
