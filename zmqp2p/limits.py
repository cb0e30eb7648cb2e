"""Every bound of this package, in one place, each with its reason.

A peer can never make a node hold, write or compute more than these say.
"""

from dataclasses import dataclass, fields
from math import inf

from zmqp2p.errors import InvalidValue

KIB = 1024
MIB = 1024 * KIB

# --- Fixed by the protocol (both sides must agree; docs/spec/zp2p-1.md) -------------------------

MESSAGE_MAX_BYTES = 16 * MIB  # Larger ones are refused at send. What a node sets may be less.
# One body on the wire; a larger message goes in parts. 256 KiB pass in 1 s at 2 Mbit/s: nothing
# waits longer behind one, and a stranger can make a node hold no more (FRAME_MAX_BYTES).
BODY_MAX_BYTES = 256 * KIB
PART_MAX_BYTES = BODY_MAX_BYTES - 16  # Of a message, in one body: the rest is its head.
PARTS_MAX = 4_096  # Of one message: 1 GiB, far above what anybody accepts.
BULK_MIN_BYTES = 32 * KIB  # From here a body travels alone and bare: copying it costs more.
# A batch is closed here: one ZMTP frame then stays below pyzmq's copy limit of 64 KiB.
BATCH_MAX_BYTES = 48 * KIB
BATCH_MAX_MESSAGES = 256  # Above it packing gains < 10 % and latency of the first suffers.
HEADER_MAX_BYTES = 64 * KIB  # A HELLO with a record and the most refusals stays below.
# Of a header, and of a batch: 400 and 257 are in use. Those of 64 KiB would take 10 ms to look at.
HEADER_MAX_ITEMS = 1_024
FRAME_MAX_BYTES = BODY_MAX_BYTES + 1 * KIB  # ZMQ_MAXMSGSIZE: a body, CURVE's 33 bytes, slack.
# Handed out together to a handler in an executor or on an event loop, and held twice, as bodies and
# decoded. Each stretch costs a commit or more; 256 small messages are 1 to 2 ms' work to decode.
STRETCH_MAX = 256
STRETCH_MAX_BYTES = 256 * KIB
# Read before their turn, of all streams, where a handler asks who has signed: 64 small ones are
# 1 ms to read and 2 to examine, half of it with a second core. Fewer gain less: threads wake up.
READ_AHEAD_MAX = 64
READ_AHEAD_MAX_BYTES = 32 * KIB  # Of one stream: of the dearest states 2 ms to read.
REFUSALS_MAX = 64  # Refusals carried at a time; processing pauses when more are unheard.
ERROR_MAX_BYTES = 1_000  # Of what a handler raised, kept with its dead letter.
REASON_MAX_BYTES = 200  # A refusal's or goodbye's text.
RECORD_MAX_BYTES = 2 * KIB
HAND_OVER_MAX_BYTES = 256  # Two addresses, two signatures and a time have 189.
ENDPOINTS_MAX = 8  # Per record.
ENDPOINT_MAX_BYTES = 200
PARTICIPANTS_MAX = 255  # uint8 on chain.
ASSETS_MAX = 32  # Far above use.
# Of one state: each has 192 bytes of calldata, and no Ethereum node passes on a transaction above
# 128 KiB. Of what is larger no state could ever be enforced; but 8,160 took 60 ms to look at.
ALLOCATIONS_MAX = 512
STATE_DATA_MAX_BYTES = 128 * KIB  # App data and all metadata of one state; likewise.
# Own records of which it is remembered when they were issued: after a day, whoever's clock was
# ahead has seen a newer one. Of more of them (each start issues one) some that lie close go.
ISSUED_KEPT_S = 86_400.0
ISSUED_MAX = 32
PAST_STREAMS_MAX = 16  # Per peer, of those given up: each took an operator's decision.
METADATA_MAX_BYTES = 64 * KIB  # Of an asset or an allocation, and of app data.

# --- Defaults of calls --------------------------------------------------------------------------

# How long a replaced CURVE key is listened for beside the new one: most peers come by once a day.
# It gives a thief of that key nothing (ADR-0019), and costs a socket.
KEY_GRACE_S = 86_400.0
# How long, where the new one must wait for its place: time to tell all peers that are there.
KEY_HANDOVER_S = 2.0
# How often a peer may make a node issue another record, by saying that it knows a newer one: a
# signature and a row. What it knows counts for no longer than `clock_skew_max_s` before its time.
REISSUE_MIN_S = 30.0

# Of `handlers_max`, for all peers that came by themselves: they may know what makes a handler take
# long, and be as many as there are places. Contacts need few: each is served when one is free.
HANDLERS_GUESTS_SHARE = 0.75
# Of the connections that contacts leave, and of those of one source, for all peers that came by
# themselves: identities are free, and would hold all of them. A contact that dials finds a place
# among the rest, which those have of whom nothing is known yet; there the oldest makes room. Of 512
# (an ordinary limit of descriptors) it lives while 128 others come, and of its source 96.
CONNECTIONS_GUESTS_SHARE = 0.75
# Of `peers_max`, for the same: with which a message was exchanged takes a place for good, or one
# could be processed twice. The rest is for participants whom an approved channel names.
PEERS_GUESTS_SHARE = 0.75


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The bounds a node may set for itself; times in seconds, sizes in bytes.

    Raises:
        InvalidValue: one is not above 0 (`subscribe_grace_s` and `helpers_max` may be 0), or a
            least time exceeds its greatest.
    """

    # Sending: what waits for one peer. Full: `send_message` waits or raises Backpressure. A message
    # that goes in parts counts as so many.
    outbox_max_messages: int = 65_536
    outbox_max_bytes: int = 64 * MIB
    # The same for all peers together: they are held in memory.
    outbox_total_max_messages: int = 1_048_576
    outbox_total_max_bytes: int = 1024 * MIB
    # Of that, to all peers together that came by themselves: they may be one, ask for answers, and
    # never ack any; those would wait for good. As much as two peers may have, and one.
    outbox_guests_max_messages: int = 131_072
    outbox_guests_max_bytes: int = 64 * MIB
    # Messages that peers refused, remembered so that `receipt` can tell; the oldest go first.
    undelivered_max_per_peer: int = 4_096
    undelivered_max: int = 65_536  # Some 25 MB, if peers give the longest reasons.
    # Receiving: what one peer may have waiting here; advertised as the window.
    inbox_max_messages: int = 16_384  # 16-32 k keeps the pipe full; smaller stops and goes.
    inbox_max_bytes: int = 24 * MIB  # The largest message, and as much again as keeps a pipe full.
    inbox_total_max_bytes: int = 512 * MIB  # All peers together; and 512 KiB for each.
    # Of that, all peers together that came by themselves: one and the same may be many of them.
    inbox_guests_max_bytes: int = 48 * MIB  # One largest message in parts, and as much for others.
    # What one of them may have waiting while others are connected, and all together four times as
    # much: each has a quarter of what is left. Twenty that fill a window of 16,384 are a second's
    # work just to take in, of 1,024 0.1 s, and until that is done, everybody's frames wait.
    guest_window_messages: int = 1_024  # A turn: enough for 10,000 a second on a way of 100 ms.
    guest_window_bytes: int = 1 * MIB
    # However many they are. On a way of 100 ms, more than the rate of a guest.
    guest_window_min_messages: int = 128
    guest_window_min_bytes: int = 512 * KIB
    # A message in parts keeps others' from beginning: if it comes slower than this, it must go.
    parts_grace_s: float = 2.0
    parts_rate_bytes: float = 256.0 * KIB  # 2 Mbit/s.
    parts_barred_s: float = 30.0  # And whoever sent it lets the others go first.
    # Sent: refused with TooLarge. Received: refused with TOO_LARGE, and not kept.
    message_max_bytes: int = MESSAGE_MAX_BYTES
    turn_max_messages: int = 1_024  # Processed per loop turn and commit: bounds ack latency.
    # Nor is one begun after so long: messages may be dear, and handlers slow.
    turn_max_s: float = 0.05  # Twice what so many small ones take.
    # While several peers are connected: no one's flood is felt. What was read for the turn counts
    # too, but for a quarter: without it a flood of frames would hold all messages up.
    turn_shared_max_s: float = 0.002
    # Of it, if only guests wait, and who is beyond its rate: a contact may be about to send.
    turn_guests_max_s: float = 0.001
    # Messages of guests that take longer than this to read (3 ms are the dearest, at rest) have so
    # much of the time while others are connected. They cannot be broken off: so they must be rare.
    guest_reading_max_s: float = 0.001
    guest_reading_share: float = 0.02
    # What a peer may send (engine/line.py). Beyond it, it has what the others leave: an idle node
    # takes all it can, a busy one serves the others first. Nothing is lost: messages wait.
    guest_rate_messages: float = 1_000.0  # Of a peer that came by itself; 3 % of what a core does:
    # one of many items, or with a signature, counts as the ordinary ones that are as much work.
    guest_rate_bytes: float = 4.0 * MIB
    contact_rate_messages: float = inf  # Of one that the application added: it is wanted.
    contact_rate_bytes: float = inf
    rate_burst_s: float = 4.0  # A rate saved up for so long: a largest message (16 MiB) at once.
    # RFC 6298.
    rto_initial_s: float = 1.0
    # RFC 6298 says 1 s, for the Internet. Below TCP only a failing peer loses frames; a full window
    # queues for 0.1 s and more, and at 0.05 s 3 % of a saturated stream was sent again for nothing.
    rto_min_s: float = 0.25
    rto_max_s: float = 60.0
    # What may be sent again to one peer without a timeout: a window and more, and twice what it
    # acks; or a peer that does not read could have it pile up here, for a few bytes each time.
    resend_burst_bytes: int = 32 * MIB
    resend_rate_bytes: float = 64.0 * KIB
    # Liveness.
    # Half of the silence limit, so that the other half is left for the answer: TCP has sent a lost
    # PING again twice by then, and another PING could not pass it. 1,000 idle peers at 0.5 s cost
    # half as much again (tests/bench/many_peers.py, `zmqp2p bench-peers`).
    ping_interval_s: float = 0.75
    silence_max_s: float = 1.5  # The link is dead whatever TCP says.
    # Where three resend timeouts are longer, they count, up to this. Before the first round trip on
    # a link is measured that is 2 s, and twice as long each time that it was not enough.
    silence_slow_max_s: float = 20.0
    hello_timeout_s: float = 2.0  # From link up to an accepted HELLO, or as long as the dial took.
    # Redial. The wait is a share of the time that the peer has been gone (engine/redial.py): at
    # least `redial_refused_s` where nobody listens, `redial_silent_s` where nobody answers.
    redial_min_s: float = 0.02  # The first attempt, after a link that was up.
    redial_refused_s: float = 0.08  # Costs 0.3 ms: a restarted peer is found within 0.1 s.
    redial_silent_s: float = 0.25  # A healed network is found within 0.3 s.
    redial_denied_s: float = 5.0  # Somebody answers, but not as a peer; until somebody acts.
    redial_max_s: float = 30.0
    attempts_max_per_peer: int = 4  # At once: one may take its time, the others find healing.
    attempts_max: int = 256  # To all peers at once; beyond it one for each peer.
    # For each of four groups of peers, by how long they have been gone: 1,000 that died together
    # cost 8 to 25 % of a core, and a living one is found at once (tests/bench/dead_peers.py).
    dials_per_s: float = 150.0
    duplicate_grace_s: float = 1.0  # Two links to one peer: how long the second one stays.
    # Handlers.
    handler_attempts: int = 5
    # Threads that examine signatures with the node's own, where there are more cores; or none.
    helpers_max: int = 3
    handler_retry_min_s: float = 0.05
    handler_retry_max_s: float = 5.0
    # In progress on executors and event loops, of all peers; the rest waits in the inboxes. Dead
    # letters that are redriven are not counted: the application asks for each of them.
    handlers_max: int = 1_024
    # Events that wait for an event loop (asyncio): 2 MB with the longest reasons. Peers cause some.
    events_waiting_max: int = 4_096
    # Messages whose handler failed for good, kept for `dead_letters`; full, they are not kept.
    dead_letters_max_messages: int = 1_024  # Of each sender.
    dead_letters_max_bytes: int = 32 * MIB
    dead_letters_total_max_messages: int = 16_384
    dead_letters_total_max_bytes: int = 256 * MIB
    # Of that, of all that came by themselves: they can choose to send what makes a handler fail.
    dead_letters_guests_max_messages: int = 4_096
    dead_letters_guests_max_bytes: int = 32 * MIB
    subscribe_grace_s: float = 10.0  # After a start: how long a message waits for its subscriber.
    # Deposits that the chain refused.
    deposit_retry_min_s: float = 0.25
    deposit_retry_max_s: float = 30.0
    # Frames that bring nothing new (RAT-1): of a peer, over all its links; DATA and BULK on each
    # link. A HELLO counts as 50, what an idle peer says as 10, which is two in a second. Each
    # message sent to the peer permits two more.
    control_rate_frames: float = 1_000.0  # 3 % of a core.
    control_burst_frames: float = 2_000.0  # Said to 8 links at once, it is half of that.
    # Of DATA and BULK, since after a loss a window of single messages comes again; and of the
    # answers that messages have permitted, which are as many.
    repeats_burst_frames: float = 20_000.0
    # Conduct (engine/conduct.py): who breaks rules is banned, who stops breaking them forgiven.
    conduct_max_points: float = 100.0  # Ten violations at once; a peer's bug may cost it a few.
    # An honest node that is refused every 5 s never has more than 35 points.
    conduct_half_life_s: float = 60.0
    ban_min_s: float = 60.0  # The first; each further one is twice as long.
    ban_max_s: float = 3600.0  # A day would outlive the repair of a peer that only had a bug.
    # Peers and channels.
    peers_max: int = 10_000
    links_max: int = 20_000
    # The latest. Dials overlap for a round trip (four at most, from either side); a key rotation,
    # or the return of a peer that had vanished, leaves some for a second or two. Each link is read
    # in its turn, whosever it is: 50 of one peer had 50 times what it was due.
    links_max_per_peer: int = 8
    # Came by themselves, exchanged nothing and went: how many of them are remembered, in memory
    # only. Identities are free, and nobody may take the places of others with them.
    passers_max: int = 1_024
    # Waiting for approval, perhaps for ever, in memory and in the store; more are refused as busy.
    proposals_max_per_peer: int = 256
    proposals_max_bytes_per_peer: int = 4 * MIB  # The largest has 0.2.
    proposals_guests_max_bytes: int = 32 * MIB  # All together that came by themselves.
    # At the door: strangers, who have proven nothing or may not come in (docs/adr/ADR-0020).
    bans_max: int = 10_000  # Addresses, and as many CURVE keys; the one to end first makes room.
    barred_key_s: float = 60.0  # Then a CURVE key that was refused may ask, at the HELLO, again.
    # Each costs a session for good, and three rows. One source may bring 1,000 at once, as a site
    # of many nodes does after an outage, and needs more than an hour for the rest of `peers_max`.
    newcomers_per_s: float = 50.0
    newcomers_per_s_per_source: float = 2.0
    newcomers_burst: int = 1_000
    # Accepted connections: all, and of one source (an IP address, an IPv6 /64, all of ipc). 40 KB
    # and a descriptor each; they get half of the descriptors, the rest is for dials and the store.
    # No more than `links_max`. Contacts' do not count for their source: they are wanted.
    connections_max: int = 20_000
    connections_max_per_source: int = 4_096  # A site behind one address; never more than half.
    # Those of which no message has come: a TCP connection that says nothing, a handshake under
    # way, or one that is over, and then silence. Beyond it the oldest goes: with a way of 0.2 s
    # and four times that for a handshake, an honest one survives 1,200 others each second.
    unproven_max: int = 1_024
    unproven_max_per_source: int = 128
    # Those of them that came within a second. Of 600 to 1,200 handshakes in a second these are one
    # that an honest peer waits for. Beyond it the newest goes, before it has cost anything, and
    # from half of it on the system drops what asks for a connection, for a moment: all of a
    # restarted node's peers come at once, and if the oldest went nobody would ever be served.
    unproven_at_once: int = 512
    # A CURVE handshake costs libzmq's one thread 0.8 ms, and this is asked before it: one source
    # has a twelfth of that thread, and all others the rest.
    connects_per_s_per_source: float = 100.0
    # What is over before it is known whose it was counts tenfold, and for one source, all of it.
    connects_burst_per_source: int = 256  # The links of a site that comes back after an outage.
    # Handshakes after which nothing is said (yet), not even HELLO, beyond as many at once as may be
    # unproven: whoever means it speaks a round trip later. Without it one source had the listening
    # socket opened anew (see below) each 16 s, by 64 that do not end, or each 46 s. Each that does
    # not end counts for 120: now it can do that once an hour.
    mute_per_s_per_source: float = 2.0
    mute_burst_per_source: int = 128
    first_message_s: float = 15.0  # A slow handshake, and one more way.
    # What libzmq never lets go of while a listening socket lives (transport/clog.py): beyond it the
    # socket is opened anew, no more often than that. All its peers come back within 0.1 s.
    stuck_connections_max: int = 64  # They do not end: a descriptor and 0.1 to 0.5 MB each.
    # They ended, and nothing of them was read: 15 KB each, and what they sent. A source alone takes
    # half an hour for so many.
    unread_connections_max: int = 4_096
    listener_renewal_min_s: float = 10.0
    # Before HELLO: what was under way when a listener forgot a link. Of 200 connections with 64
    # each it took half a second to read them, and an honest peer's frames were one in 200.
    early_frames_max: int = 16
    # WHO and BYE to strangers, 60 bytes each; one source is given a tenth of them.
    stranger_answers_per_s: float = 1_000.0
    refusal_events_per_s: float = 100.0  # LinkRefused; the rest is counted. A source: a tenth.
    # PeerConnected (and with each its PeerDisconnected) of one guest, and as many alarms. It makes
    # them by saying HELLO, 100 a second; those of contacts must not drown. At once: a bad link.
    guest_events_per_s: float = 0.5
    guest_events_burst: int = 10
    clock_skew_max_s: float = 300.0  # How far in the future a record may be issued.

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not value > 0 and not (item.name in _MAY_BE_0 and value == 0):
                raise InvalidValue(item.name, "must be above 0")
        for name, greater in _ORDERED.items():
            if getattr(self, name) > getattr(self, greater):
                raise InvalidValue(name, f"must not exceed {greater}")
        self._check_usable()

    def _check_usable(self) -> None:
        """Refuse bounds with which something could never work."""
        if self.message_max_bytes > MESSAGE_MAX_BYTES:
            raise InvalidValue("message_max_bytes", f"must be at most {MESSAGE_MAX_BYTES}")
        if self.inbox_guests_max_bytes < 2 * self.message_max_bytes + BODY_MAX_BYTES:
            # Half of it is for complete ones: a guest's largest message could never begin.
            raise InvalidValue("inbox_guests_max_bytes", "must be twice message_max_bytes and more")
        if self.guest_window_min_bytes < BODY_MAX_BYTES:
            raise InvalidValue("guest_window_min_bytes", f"must be {BODY_MAX_BYTES} or more")
        if self.guest_window_min_messages < -(-self.message_max_bytes // PART_MAX_BYTES):
            name = "guest_window_min_messages"
            raise InvalidValue(name, "must be enough for the parts of a message")
        if self.ping_interval_s >= self.silence_max_s:
            raise InvalidValue("ping_interval_s", "must be below silence_max_s")
        if self.attempts_max_per_peer < _ATTEMPTS_MIN:
            raise InvalidValue("attempts_max_per_peer", f"must be {_ATTEMPTS_MIN} or more")


_MAY_BE_0 = ("subscribe_grace_s", "helpers_max")
_ATTEMPTS_MIN = 2  # One that waits for an answer, and one that looks for healing.
_ORDERED = {
    "rto_min_s": "rto_max_s",
    "redial_min_s": "redial_max_s",
    "handler_retry_min_s": "handler_retry_max_s",
    "deposit_retry_min_s": "deposit_retry_max_s",
    "silence_max_s": "silence_slow_max_s",
    "ban_min_s": "ban_max_s",
    "turn_shared_max_s": "turn_max_s",
    "turn_guests_max_s": "turn_shared_max_s",
    "guest_window_min_messages": "guest_window_messages",
    "guest_window_min_bytes": "guest_window_bytes",
}
DEFAULT_LIMITS = Limits()
