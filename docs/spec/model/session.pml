/*
 * A model of the session: one stream from A to B, its acknowledgements, crashes, rollbacks.
 *
 * README.md says which step stands for which function, what each property means and what is left
 * out. `check` compiles and runs it. All numbers are small; each has a -D switch.
 *
 * A turn of a node (Loop.turn) is one atomic step: read, work, commit, send. The peer sees nothing
 * of it but the frames, and these leave at the end. So between turns the memory that is meant to
 * last equals the store; the difference is what a crash inside a turn loses.
 */

#ifndef N
#define N 3                     /* Messages, at most 4. */
#endif
#ifndef WINDOW
#define WINDOW 2                /* Limits.inbox_max_messages. */
#endif
#ifndef LINKS
#define LINKS 2                 /* 2 or 3 at a time; one counts until both ends have given it up. */
#endif
#ifndef QUEUE
#define QUEUE 3                 /* Frames in flight per link and direction; one more is lost. */
#endif
#ifndef BATCH
#define BATCH 2                 /* Messages in one DATA: 1, or 1 and 2 by choice. */
#endif
#ifndef REFUSALS
#define REFUSALS 1              /* limits.REFUSALS_MAX: with so many unheard, processing pauses. */
#endif
#ifndef CRASHES
#define CRASHES 1               /* Of both nodes together, at any boundary inside a turn. */
#endif
#ifndef FAULTS
#define FAULTS 1                /* A link cut, a frame lost or doubled, a timer that is early. */
#endif
#ifndef DIALS_B
#define DIALS_B 1               /* How often B dials; A dials whenever it has no link. */
#endif
#ifndef ROLLBACK
#define ROLLBACK 0              /* 1: A's store goes back to an older copy, once. 2: B's. */
#endif
/* RECOVER: after a hold, the operator of the node that was rolled back begins anew (`recover`). */

/* --- Properties: each run of `check` switches one of these on --------------------------------- */

#ifdef P_ORDER
#define must_order(c) assert(c)
#else
#define must_order(c) skip
#endif
#ifdef P_ACK
#define must_ack(c) assert(c)
#else
#define must_ack(c) skip
#endif
#ifdef P_REFUSAL
#define must_refusal(c) assert(c)
#else
#define must_refusal(c) skip
#endif
#ifdef P_KEEP
#define must_keep(c) assert(c)
#else
#define must_keep(c) skip
#endif
#ifdef P_RUN
#define must_run(c) assert(c)
#else
#define must_run(c) skip
#endif
#ifdef P_CALM
#define must_calm(c) assert(c)
#else
#define must_calm(c) skip
#endif
#ifdef P_BOUNDS
#define must_bounds(c) assert(c)
#else
#define must_bounds(c) skip
#endif
#ifdef P_HELD
#define must_held(c) assert(c)
#else
#define must_held(c) skip
#endif

#ifdef P_NEEDED
#define must_need(c) assert(c)
#else
#define must_need(c) skip
#endif

/* Not a property: that the model gets anywhere at all. `check` wants it violated. */
#ifndef P_REACH
#define must_reach() skip
#elif defined(RECOVER)
#define must_reach() assert(!(done && recovered))
#elif ROLLBACK == 0
#define must_reach() assert(!(done && crashes == 0 && faults == 0 && store_b.refused != 0))
#else
#define must_reach() assert(!(held && copied == 2))
#endif

#ifdef NO_LOSS
#define lossy false
#else
#define lossy true
#endif
#ifdef NO_TWIN                  /* A HELLO is not doubled (as it cannot be on a TCP connection). */
#define may_double(k) ((k) != HELLO)
#else
#define may_double(k) true
#endif

/* --- State ------------------------------------------------------------------------------------ */

/*
 * Fields of a frame:
 *          to B                                  to A
 *   HELLO  base, next, run, 0, digest            cursor, window, refusals, run, digest
 *   DATA   seq, count, base, bodies, digest      -
 *   PROG   base, 0, 0, 0, 0                      ack, received, window, refusals, digest
 *   GAP    -                                     as PROG
 *   PING   0, 0, 0, 0, 0                         0, 0, 0, 0, 0
 *   WHO    0, 0, 0, 0, 0                         0, 0, 0, 0, 0
 * run of A is 16 * stream + incarnation; of B 32 * incarnation + 4 * heard + known, where known is 0
 * or 1 + the stream. PROG stands for ACK and for PONG. Refusals are a set of bits, bit n - 1 for
 * message n. The digest is A's stream's, always: at base - 1, at the end of DATA, at cursor or ack.
 */
mtype = { HELLO, DATA, PROG, GAP, PING, WHO };

#define DOWN 0                  /* LinkState, and the end that has no link. */
#define SILENT 1
#define GREETED 2
#define ESTABLISHED 3

#define BODIES 8                /* A body is 1 + the run of A that took it into the outbox. */

/* The digest of a stream after one body more; before the first, the stream. Never two alike. */
#define next_digest(digest, body) (BODIES * (digest) + (body))
#define bit_of(n) (1 << ((n) - 1))
#define count_of(s) (((s) & 1) + (((s) >> 1) & 1) + (((s) >> 2) & 1) + (((s) >> 3) & 1))

/* What of A's session lasts: PeerSnapshot.acked, .messages, .incarnation, .instance. */
typedef OutStore {
    byte base = 1;
    byte next = 1;
    byte incarnation = 1;       /* Its own: Snapshot.incarnation. */
    byte peer_incarnation;
    byte peer_run;              /* 1 + the run of B (its instance), 0 for none. */
    bit stream;
    byte body[N]                /* Kept when dropped: it is what A said the number means. */
};

/* What of B's session lasts: .in_stream, .cursor, .refusals, and the effects of the handlers. */
typedef InStore {
    byte known;                 /* in_stream: 1 + A's stream, 0 for none. */
    byte cursor;
    short digest;               /* At the cursor. */
    byte refusals;
    byte incarnation = 1;
    byte peer_incarnation;
    byte peer_run;
    byte in_base;               /* The highest base that A has said (RES-10). */
    byte effect[N];             /* The body that was processed under this number, 0 for none. */
    byte refused;               /* Of the processed ones, those that were refused. */
    byte effects_of;            /* As known, for the two above: what `recover` does not forget. */
    byte begun                  /* Where it began to process this stream. */
};

OutStore memory_a, store_a;
InStore memory_b, store_b;
#if ROLLBACK == 1
OutStore copy_a;
#endif
#if ROLLBACK == 2
InStore copy_b;
#endif

/* What of A's session does not last (Outbox). */
byte received_a, sent, sent_most, window;
byte went_back_to;
bit probing;
byte active_a;                  /* 1 + the link to send on, 0 for none. */

/* What of B's session does not last (Inbox, Session). */
byte received_b;
byte waiting[N];                /* The bodies of cursor + 1 to received_b. */
byte gap_reported;
byte active_b;

/* Links. */
chan to_a[LINKS] = [QUEUE] of { mtype, byte, byte, byte, byte, short };
chan to_b[LINKS] = [QUEUE] of { mtype, byte, byte, byte, byte, short };
byte end_a[LINKS], end_b[LINKS];
bit dead[LINKS];                /* Nothing new passes; what is in flight may be read or lost. */
bit by_b[LINKS];                /* B dialed it. */
byte run_a_of[LINKS], run_b_of[LINKS];  /* The runs at its ends. */
bit doubted_a[LINKS], doubted_b[LINKS]; /* Its HELLO was of an older run (RES-3). */

/* What no node knows: for bounds and properties. */
byte run_a, run_b;              /* Runs so far. */
byte crashes = CRASHES, faults = FAULTS, dials_b = DIALS_B;
bit held;                       /* The session was held at least once. */
byte copied;                    /* 0: no copy yet; 1: there is one; 2: it was put back. */
bit recovered;
#if ROLLBACK == 2
byte ever_effect[N];            /* As effect and refused, but not rolled back. */
byte ever_refused;
#else
#define ever_effect store_b.effect
#define ever_refused store_b.refused
#endif

#if LINKS == 2
#define each_link(step) step(0) step(1)
#define all_links(test) (test(0) && test(1))
#else
#define each_link(step) step(0) step(1) step(2)
#define all_links(test) (test(0) && test(1) && test(2))
#endif

/* Nothing is under way, and both ends have noticed that a dead link is dead. Then timers may run
 * out as often as they like; before, each time takes one of FAULTS. */
#define is_quiet(l) (len(to_a[l]) == 0 && len(to_b[l]) == 0 && !dead[l])
#define quiet all_links(is_quiet)
#define is_free(l) (end_a[l] == DOWN && end_b[l] == DOWN)
#define not_dialing_a(l) (end_a[l] != GREETED && end_a[l] != ESTABLISHED)
#define not_dialing_b(l) (end_b[l] != GREETED && end_b[l] != ESTABLISHED)
#define is_joined(l) (end_a[l] == ESTABLISHED && end_b[l] == ESTABLISHED && !dead[l])

#define ready_b (received_b > memory_b.cursor && count_of(memory_b.refusals) < REFUSALS)
#define room_b (WINDOW - (received_b - memory_b.cursor))
#define is_same_stream (store_b.known == store_a.stream + 1)
#define done (store_a.base == N + 1 && store_b.cursor == N && is_same_stream)

/* What B has done is not what A says it sent: message i + 1 was never numbered, or is another. */
#define differs(i) (i < N && store_b.cursor > i && (store_a.next <= i + 1 || \
    (store_b.effect[i % N] && store_b.effect[i % N] != store_a.body[i % N])))
/* Or B has not done what A has dropped. Only a rollback can bring this about (P_KEEP, P_ORDER).
 * Then B must take nothing in, but from a run of A that has ended (P_HELD); what A is told must be
 * true all the same (P_ACK). */
#define diverged (is_same_stream && \
    (store_a.base - 1 > store_b.cursor || differs(0) || differs(1) || differs(2) || differs(3)))

/* Or A's store has forgotten that it knew what became of a message: refused, perhaps (RES-10). */
#define is_needed (diverged || (is_same_stream && store_a.base < store_b.in_base))

/* A knows the digest of its stream from base - 1 to next - 1. */
#define knows_digest_a(n) ((n) + 1 >= memory_a.base && (n) < memory_a.next)

/* Whether an older run is to be asked before it is an alarm (RES-3). */
#ifdef M_ALARM_AT_ONCE
#define must_ask(doubted) false
#elif defined(M_NO_ALARM)
#define must_ask(doubted) true
#else
#define must_ask(doubted) (!doubted)
#endif

/* Not _is_same_run. */
#ifdef M_NO_SAME_RUN
#define is_other_run_a(l) true
#define is_other_run_b(l) true
#else
#define is_other_run_a(l) (memory_a.peer_run != run_b_of[l] + 1)
#define is_other_run_b(l) (memory_b.peer_run != run_a_of[l] + 1)
#endif

/* The application is told. */
inline alarm_a() { printf("A holds the session\n"); must_calm(false); held = 1 }
inline alarm_b() { printf("B holds the session\n"); must_calm(false); held = 1 }

/* --- Links ------------------------------------------------------------------------------------ */

/* Transport.send: lost or doubled by a fault; gone if the link is dead or the queue full. */
inline put(queue, l, k, f1, f2, f3, f4, f5) {
    if
    :: dead[l] || len(queue) == QUEUE
    :: else ->
        if
        :: queue!k, f1, f2, f3, f4, f5;
            printf("leaves on %d: %e %d %d %d %d, %d\n", l, k, f1, f2, f3, f4, f5)
#ifndef NO_LOSS
        :: faults > 0 -> faults--; printf("lost on %d: %e\n", l, k)
        :: faults > 0 && len(queue) + 2 <= QUEUE && may_double(k) ->
            faults--; printf("doubled on %d: %e\n", l, k);
            queue!k, f1, f2, f3, f4, f5;
            queue!k, f1, f2, f3, f4, f5
#endif
        fi
    fi
}

inline drain(queue) {
    do
    :: len(queue) > 0 -> queue?_, _, _, _, _, _
    :: len(queue) == 0 -> break
    od
}

/* Both ends have given it up: the slot serves for a new one. */
inline release(l) {
    if
    :: is_free(l) ->
        dead[l] = 0; by_b[l] = 0; run_a_of[l] = 0; run_b_of[l] = 0;
        doubted_a[l] = 0; doubted_b[l] = 0
    :: else
    fi
}

/* Endings._forget and Session.lose: A gives up its end of link l. */
inline drop_a(l) {
    printf("A gives up %d\n", l); end_a[l] = DOWN; dead[l] = 1;
    drain(to_a[l]);
    if
    :: active_a == l + 1 ->
        active_a = 0;
        for (i : 0 .. LINKS - 1) {
            if
            :: end_a[i] == ESTABLISHED -> active_a = i + 1
            :: else
            fi
        }
        sent = received_a       /* Outbox.pause */
    :: else
    fi;
    release(l)
}

inline drop_b(l) {
    printf("B gives up %d\n", l); end_b[l] = DOWN; dead[l] = 1;
    drain(to_b[l]);
    if
    :: active_b == l + 1 ->
        active_b = 0;
        for (i : 0 .. LINKS - 1) {
            if
            :: end_b[i] == ESTABLISHED -> active_b = i + 1
            :: else
            fi
        }
    :: else
    fi;
    release(l)
}

/* --- Stores ----------------------------------------------------------------------------------- */

inline copy_out(to, from) {
    to.base = from.base; to.next = from.next; to.incarnation = from.incarnation;
    to.peer_incarnation = from.peer_incarnation; to.peer_run = from.peer_run;
    to.stream = from.stream;
    for (i : 0 .. N - 1) { to.body[i] = from.body[i] }
}

inline copy_in(to, from) {
    to.known = from.known; to.cursor = from.cursor; to.digest = from.digest;
    to.refusals = from.refusals; to.effects_of = from.effects_of; to.begun = from.begun;
    to.incarnation = from.incarnation; to.peer_incarnation = from.peer_incarnation;
    to.peer_run = from.peer_run; to.in_base = from.in_base; to.refused = from.refused;
    for (i : 0 .. N - 1) { to.effect[i] = from.effect[i] }
}

/* Store.open and Connections.load: a new run begins from the store. */
inline start_a() {
    d_step {
        printf("A starts anew\n"); run_a++;
        store_a.incarnation++;
        copy_out(memory_a, store_a);
        received_a = store_a.base - 1; sent = received_a; sent_most = store_a.next - 1;
        window = 0; went_back_to = 0; probing = 0; active_a = 0;
        for (l : 0 .. LINKS - 1) {
            if
            :: end_a[l] != DOWN -> end_a[l] = DOWN; dead[l] = 1; drain(to_a[l]); release(l)
            :: else
            fi
        };
        i = 0; l = 0
    }
}

inline start_b() {
    d_step {
        printf("B starts anew\n"); run_b++;
        store_b.incarnation++;
        copy_in(memory_b, store_b);
        received_b = store_b.cursor; gap_reported = 0; active_b = 0;
        for (i : 0 .. N - 1) { waiting[i] = 0 }
        for (l : 0 .. LINKS - 1) {
            if
            :: end_b[l] != DOWN -> end_b[l] = DOWN; dead[l] = 1; drain(to_b[l]); release(l)
            :: else
            fi
        };
        i = 0; l = 0
    }
}

inline commit_a() { d_step { copy_out(store_a, memory_a) } }

inline commit_b() {
    d_step {
        copy_in(store_b, memory_b);
#if ROLLBACK == 2
        for (i : 0 .. N - 1) {
            if
            :: store_b.effect[i] ->
                ever_effect[i] = store_b.effect[i];
                ever_refused = (ever_refused & ~(1 << i)) | (store_b.refused & (1 << i))
            :: else
            fi
        }
#endif
    }
}

/* --- A: the sender ---------------------------------------------------------------------------- */

/* Outbox.digest_at: of A's stream after message n. */
inline chain_a(n) {
    own = memory_a.stream;
    for (i : 0 .. n - 1) { own = next_digest(own, memory_a.body[i]) }
}

/* What B has done is of this stream of A's. */
#define is_effect_of_a (ROLLBACK == 2 || store_b.effects_of == memory_a.stream + 1)

/* Outbox._drop, and the receipts that follow from it (ReceiptDesk.resolve). */
inline drop_messages(ack, refusals) {
    for (i : memory_a.base - 1 .. ack - 1) {
        printf("A is told: %d, refused: %d\n", i + 1, (refusals >> i) & 1);
        must_ack(is_effect_of_a && ever_effect[i] != 0 && ever_effect[i] == memory_a.body[i]);
        must_refusal(((refusals >> i) & 1) == ((ever_refused >> i) & 1));
        if
        :: (refusals >> i) & 1 -> owed = 1      /* Our base tells that it was heard (REF-4). */
        :: else
        fi
    }
    memory_a.base = ack + 1
}

/* Outbox.acknowledge, its first half. */
inline advance(received, room) {
    if
    :: received >= received_a -> window = room
    :: else
    fi;
    if
    :: received > received_a ->
        received_a = received; probing = 0;
        if
        :: sent < received -> sent = received
        :: else
        fi
    :: else
    fi
}

inline acknowledge(l, ack, received, room, refusals, said) {
    chain_a(ack);
    if
    :: received > sent_most -> must_calm(false); drop_a(l)                      /* ACK-1 */
#if !defined(M_NO_DIGEST) && !defined(M_NO_ACK_DIGEST)
    :: received <= sent_most && knows_digest_a(ack) && own != said -> hold_a(l)   /* RES-11 */
#endif
    :: else ->
        advance(received, room);
        if
#ifdef M_DROP_RECEIVED
        :: received >= memory_a.base -> drop_messages(received, refusals)
#else
        :: ack >= memory_a.base -> drop_messages(ack, refusals)
#endif
        :: else
        fi
    fi
}

/* Endings.hold for DATA_LOSS: no link of this session stays. */
inline hold_a(l) {
    alarm_a(); must_need(is_needed);
    for (m : 0 .. LINKS - 1) {
        if
        :: end_a[m] == ESTABLISHED && m + 1 != leave -> drop_a(m)
        :: else
        fi
    };
    if
    :: end_a[l] != DOWN && l + 1 != leave -> drop_a(l)
    :: else
    fi
}

/* Introductions._held_off: a listener says HELLO first, so that the other sees for itself. */
inline hold_off_a(l) {
    leave = l + 1;
    if
    :: by_b[l] -> say_hello = l + 1
    :: else
    fi
}

/* Greetings.doubt: ask the older run to say HELLO again. */
inline doubt_a(l) {
    printf("A doubts %d\n", l); doubted_a[l] = 1;
    if
    :: by_b[l] -> who = l + 1
    :: else -> say_hello = l + 1
    fi
}

/* Introductions.introduce and Session.establish at A; resume() decides. */
inline establish_a(l, hello_cursor, room, hello_refusals, hello_incarnation, hello_heard,
        hello_known, said) {
    chain_a(hello_cursor);
    if
#ifndef M_NO_RUN
    :: memory_a.peer_run && hello_incarnation < memory_a.peer_incarnation ->    /* RES-3 */
        if
        :: must_ask(doubted_a[l]) -> doubt_a(l)
        :: else -> hold_off_a(l); alarm_a()
        fi
    :: memory_a.peer_run && hello_incarnation == memory_a.peer_incarnation &&
        memory_a.peer_run != run_b_of[l] + 1 -> hold_off_a(l); alarm_a()        /* RES-4 */
#endif
#ifndef M_NO_SENT_CHECK
    :: hello_known == memory_a.stream + 1 && hello_cursor > sent_most -> hold_off_a(l); hold_a(l)       /* RES-6 */
#endif
#ifndef M_NO_LOSS_CHECK
    :: hello_known == memory_a.stream + 1 && hello_cursor < memory_a.base - 1 && is_other_run_a(l) ->   /* RES-6 */
        hold_off_a(l); hold_a(l)
#endif
#ifndef M_NO_HEARD
    :: hello_known == memory_a.stream + 1 && hello_heard > memory_a.base -> hold_off_a(l); hold_a(l)    /* RES-10 */
#endif
#if !defined(M_NO_DIGEST) && !defined(M_NO_SEEN_DIGEST)
    :: hello_known == memory_a.stream + 1 && knows_digest_a(hello_cursor) && own != said ->
        hold_off_a(l); hold_a(l)                                                /* RES-11 */
#endif
    :: else ->
        must_run(run_b_of[l] + 1 >= memory_a.peer_run);
        memory_a.peer_run = run_b_of[l] + 1; memory_a.peer_incarnation = hello_incarnation;
        acked = memory_a.base - 1;
        if
        :: hello_known == memory_a.stream + 1 && hello_cursor > acked -> acked = hello_cursor
        :: else
        fi;
        advance(acked, room);
        if
        :: acked >= memory_a.base -> drop_messages(acked, hello_refusals)
        :: else
        fi;
        if
        :: end_a[l] != ESTABLISHED ->   /* Outbox.resume */
#ifdef M_RESUME_SENT
            received_a = sent_most;     /* Instead of what they have processed for good. */
#else
            received_a = acked;
#endif
            sent = received_a; window = room; probing = 0; went_back_to = 0
        :: else                         /* A HELLO that is only said again. */
        fi;
        end_a[l] = ESTABLISHED; active_a = l + 1; printf("A has joined on %d\n", l);
        for (m : 0 .. LINKS - 1) {
            if
#ifndef M_STALE
            :: end_a[m] == ESTABLISHED && run_b_of[m] != run_b_of[l] -> drop_a(m)   /* RES-8 */
#endif
            :: else
            fi
        }
#if ROLLBACK == 2
        must_held(!(is_joined(l) && diverged));
#endif
        if
        :: by_b[l] -> say_hello = l + 1
        :: else
        fi
    fi
}

/* What DATA says of the stream, besides its bodies: the digest at its end. */
#ifdef M_SEQ1_DIGEST
#define data_end(seq, count) seq - 1
#else
#define data_end(seq, count) seq + count - 1
#endif

/* Session.settle: the frames of this turn. */
inline settle_a() {
    if
    :: say_hello ->
        chain_a(memory_a.base - 1);
        put(to_b[say_hello - 1], say_hello - 1, HELLO, memory_a.base, memory_a.next,
            16 * memory_a.stream + memory_a.incarnation, 0, own)
    :: else
    fi;
    if
    :: leave -> drop_a(leave - 1)
    :: else
    fi;
    if
    :: who -> put(to_b[who - 1], who - 1, WHO, 0, 0, 0, 0, 0)
    :: else
    fi;
    if
    :: pong -> put(to_b[pong - 1], pong - 1, PROG, memory_a.base, 0, 0, 0, 0)
    :: else
    fi;
    do
    :: active_a && sent < memory_a.next - 1 && sent < received_a + window &&
        !(probing && sent > received_a) ->
        n = 1;
        if
        :: BATCH > 1 && sent + 2 < memory_a.next && sent + 1 < received_a + window -> n = 2
        :: true
        fi;
        chain_a(data_end(sent + 1, n));
        put(to_b[active_a - 1], active_a - 1, DATA, sent + 1, n, memory_a.base,
            memory_a.body[sent] + (n == 2 -> BODIES * memory_a.body[(sent + 1) % N] : 0), own);
        sent = sent + n; owed = 0;
        if
        :: sent > sent_most -> sent_most = sent
        :: else
        fi
    :: else -> break
    od;
    if
    :: owed && active_a -> put(to_b[active_a - 1], active_a - 1, PROG, memory_a.base, 0, 0, 0, 0)
    :: else
    fi
}

/* Loop.settle: commit, then send; a crash may come before, between and after. */
inline end_turn_a() {
#ifdef M_SEND_FIRST
    settle_a();
    if
    :: commit_a(); skip
    :: crashes > 0 -> crashes--; start_a()
    fi;
#else
    if
    :: commit_a();
        if
        :: settle_a()
        :: crashes > 0 -> crashes--; start_a()
        fi
    :: crashes > 0 -> crashes--; start_a()
    fi;
#endif
    d_step {
        must_reach();
        must_bounds(memory_a.base - 1 <= received_a && received_a <= sent &&
            sent < memory_a.next && sent_most < memory_a.next);
        must_keep(store_a.base - 1 <= store_b.cursor);
        k = 0; x = 0; y = 0; z = 0; u = 0; d = 0; i = 0; l = 0; m = 0; n = 0; acked = 0; owed = 0;
        own = 0; say_hello = 0; pong = 0; who = 0; leave = 0
    }
}

#define is_other(k) (k != HELLO && k != WHO)

/* What an older run says before it has answered (RES-3). */
#ifdef M_STRICT_IN_DOUBT
#define must_ignore(doubted) false
#else
#define must_ignore(doubted) (doubted)
#endif

inline take_a(l) {
    to_a[l]?k, x, y, z, u, d;
    printf("A reads on %d: %e %d %d %d %d, digest %d\n", l, k, x, y, z, u, d);
    if
    :: k == HELLO -> establish_a(l, x, y, z, (u >> 5), ((u >> 2) & 7), (u & 3), d)
    :: k == WHO ->
        if
        :: end_a[l] != SILENT && !by_b[l] -> say_hello = l + 1
        :: else
        fi
    :: is_other(k) && end_a[l] == SILENT                /* WHO is asked; its answer is not needed. */
    :: is_other(k) && end_a[l] == GREETED && must_ignore(doubted_a[l])
    :: is_other(k) && end_a[l] == GREETED && !must_ignore(doubted_a[l]) ->
        must_calm(lossy && !doubted_a[l]); drop_a(l)    /* HEL-3: its HELLO was lost. */
    :: is_other(k) && end_a[l] == ESTABLISHED ->
        must_run(run_b_of[l] + 1 == memory_a.peer_run);
        if
        :: k == PROG -> acknowledge(l, x, y, z, u, d)
        :: k == GAP ->
            acknowledge(l, x, y, z, u, d);
            if
#ifndef M_NO_RESEND
            :: end_a[l] == ESTABLISHED && sent > received_a && went_back_to != received_a + 1 ->   /* Outbox.go_back */
                went_back_to = received_a + 1; sent = received_a
#endif
            :: else
            fi
        :: k == PING -> pong = l + 1
        fi
    fi
}

#define turn_take_a(l) :: nempty(to_a[l]) && end_a[l] -> d_step { take_a(l) }

/* A link ends: it is dead, or its HELLO did not come (HEL-7). */
#define turn_lose_a(l) :: end_a[l] && (dead[l] || \
    (end_a[l] != ESTABLISHED && is_quiet(l))) -> d_step { drop_a(l) }

#define turn_dial_a(l) :: is_free(l) && all_links(not_dialing_a) && no_free_before(l) -> \
    end_a[l] = GREETED; end_b[l] = SILENT; run_a_of[l] = run_a; run_b_of[l] = run_b; \
    say_hello = l + 1

#define no_free_before(l) ((l < 1 || !is_free(0)) && (l < 2 || !is_free(1)))

/* The answer to a PING would tell A something (PINGs that tell nothing change nothing). */
#define news_a (memory_b.cursor >= memory_a.base || received_b > received_a || \
    (received_b == received_a && room_b > window))

active proctype A() {
    byte x, y, z, u, i, l, m, n, acked, owed, say_hello, pong, who, leave;
    short d, own;
    mtype k;
end:
    do
    :: atomic {
        if
        each_link(turn_take_a)
        each_link(turn_lose_a)
        each_link(turn_dial_a)
        /* Engine.send */
        :: memory_a.next <= N ->
            memory_a.body[memory_a.next - 1] = run_a + 1;
            printf("A is asked to send %d\n", memory_a.next); memory_a.next++
        /* Outbox.tick */
#ifndef M_NO_RESEND
        :: active_a && sent > received_a && (quiet || faults > 0) ->
            if
            :: quiet
            :: else -> faults--
            fi;
            sent = received_a; probing = 1; printf("A resends\n")
#endif
        fi;
        end_turn_a() }
#ifndef M_NO_PONG
    :: atomic { active_a && quiet && sent == received_a && !ready_b && news_a ->
        put(to_b[active_a - 1], active_a - 1, PING, 0, 0, 0, 0, 0) }
#endif
    :: atomic { crashes > 0 -> crashes--; start_a() }
#if ROLLBACK == 1
    :: atomic { copied == 0 -> printf("A's store is copied\n");
        copied = 1; copy_out(copy_a, store_a); i = 0 }
    :: atomic { copied == 1 -> printf("the copy is put back\n");
        copied = 2; copy_out(store_a, copy_a);
        copy_a.base = 0; copy_a.next = 0; copy_a.incarnation = 0;
        copy_a.peer_incarnation = 0; copy_a.peer_run = 0; copy_a.stream = 0;
        for (i : 0 .. N - 1) { copy_a.body[i] = 0 }
        start_a() }
#endif
    od
}

/* --- B: the receiver -------------------------------------------------------------------------- */

/* Session._progressed at B: the refusals below A's base were heard (Inbox.forget_refusals). */
inline hear_base(base) {
    memory_b.refusals = memory_b.refusals & ~((1 << (base - 1)) - 1);
    if
    :: base > memory_b.in_base -> memory_b.in_base = base
    :: else
    fi
}

/* Session._forget_unprocessed */
inline forget_waiting() {
    received_b = memory_b.cursor;
    for (i : 0 .. N - 1) { waiting[i] = 0 }
}

#define not_joined_b(l) (end_b[l] != ESTABLISHED || leave == l + 1)

/* Session._restart_inbox (RES-2) */
inline begin_stream(hello_base, hello_known, base_digest) {
    must_order(hello_base == 1 || recovered);   /* Else what came before is lost without a word. */
    if
    :: memory_b.effects_of != hello_known ->
        for (i : 0 .. N - 1) { memory_b.effect[i] = 0 };
        memory_b.refused = 0; memory_b.effects_of = hello_known
    :: else
    fi;
    memory_b.known = hello_known; memory_b.refusals = 0; memory_b.begun = hello_base - 1;
#ifdef M_WRONG_BASE
    memory_b.cursor = hello_base;
#else
    memory_b.cursor = hello_base - 1;
#endif
    memory_b.digest = base_digest; memory_b.in_base = hello_base;
    forget_waiting()
}

/* As hold_a; then nothing is processed either: Session.hold. */
inline hold_b(l) {
    alarm_b(); must_need(is_needed);
    for (m : 0 .. LINKS - 1) {
        if
        :: end_b[m] == ESTABLISHED && m + 1 != leave -> drop_b(m)
        :: else
        fi
    };
    if
    :: end_b[l] != DOWN && l + 1 != leave -> drop_b(l)
    :: else
    fi;
    forget_waiting()
}

inline hold_off_b(l) {
    leave = l + 1;
    if
    :: !by_b[l] -> say_hello = l + 1
    :: else
    fi
}

inline doubt_b(l) {
    printf("B doubts %d\n", l); doubted_b[l] = 1;
    if
    :: !by_b[l] -> who = l + 1
    :: else -> say_hello = l + 1
    fi
}

/* A run is refused (RES-3, RES-4); the others go on. */
inline refuse_b(l) {
    hold_off_b(l); alarm_b();
    if
    :: all_links(not_joined_b) -> forget_waiting()
    :: else
    fi
}

/* Introductions.introduce and Session.establish at B; resume() decides. */
inline establish_b(l, hello_base, hello_next, hello_incarnation, hello_known, base_digest) {
    if
#ifndef M_NO_RUN
    :: memory_b.peer_run && hello_incarnation < memory_b.peer_incarnation ->    /* RES-3 */
        if
        :: must_ask(doubted_b[l]) -> doubt_b(l)
        :: else -> refuse_b(l)
        fi
    :: memory_b.peer_run && hello_incarnation == memory_b.peer_incarnation &&
        memory_b.peer_run != run_a_of[l] + 1 -> refuse_b(l)                     /* RES-4 */
#endif
#ifndef M_NO_LOSS_CHECK
    :: memory_b.known == hello_known && hello_base > memory_b.cursor + 1 ->     /* RES-5 */
        hold_off_b(l); hold_b(l)
#endif
#ifndef M_NO_BASE_CHECK
    :: memory_b.known == hello_known && hello_base < memory_b.in_base && is_other_run_b(l) ->
        hold_off_b(l); hold_b(l)                                                /* RES-10 */
#endif
#ifndef M_NO_NEXT_CHECK
    :: memory_b.known == hello_known && hello_next <= memory_b.cursor && is_other_run_b(l) ->
        hold_off_b(l); hold_b(l)                                                /* RES-5 */
#endif
#if !defined(M_NO_DIGEST) && !defined(M_NO_BASE_DIGEST)
    :: memory_b.known == hello_known && hello_base == memory_b.cursor + 1 &&
        base_digest != memory_b.digest -> hold_off_b(l); hold_b(l)              /* RES-11 */
#endif
    :: else ->
        must_run(run_a_of[l] + 1 >= memory_b.peer_run);
        if
        :: memory_b.peer_run != run_a_of[l] + 1 ->
#ifndef M_NO_FORGET
            forget_waiting();                   /* RES-9 */
#endif
            memory_b.peer_run = run_a_of[l] + 1; memory_b.peer_incarnation = hello_incarnation
        :: else
        fi;
        if
        :: memory_b.known != hello_known -> begin_stream(hello_base, hello_known, base_digest)
        :: else
        fi;
        hear_base(hello_base);
        if
        :: end_b[l] != ESTABLISHED -> gap_reported = 0
        :: else         /* A HELLO that is only said again. */
        fi;
        end_b[l] = ESTABLISHED; active_b = l + 1; printf("B has joined on %d\n", l);
        for (m : 0 .. LINKS - 1) {
            if
#ifndef M_STALE
            :: end_b[m] == ESTABLISHED && run_a_of[m] != run_a_of[l] -> drop_b(m)   /* RES-8 */
#endif
            :: else
            fi
        }
#if ROLLBACK == 2
        must_held(!(is_joined(l) && diverged));
#endif
        if
        :: !by_b[l] -> say_hello = l + 1
        :: else
        fi
    fi
}

/* The digest of what B holds up to message n, from its cursor on. */
inline chain_to(n) {
    after = memory_b.digest;
    for (i : memory_b.cursor .. n - 1) { after = next_digest(after, waiting[i]) }
}

/* The same after DATA, of which only what is new is looked at (Inbox._chained). */
inline chain_data(seq, count, bodies) {
    chain_to(received_b);
    if
    :: received_b < seq -> after = next_digest(after, bodies % BODIES)
    :: else
    fi;
    if
    :: count == 2 -> after = next_digest(after, bodies / BODIES)
    :: else
    fi
}

/* RES-11 at B. */
inline compare(seq, count, bodies, said) {
    after = said;
#if defined(M_NO_DIGEST) || defined(M_NO_DATA_DIGEST)
#elif defined(M_SEQ1_DIGEST)
    if
    :: seq > memory_b.cursor -> chain_to(seq - 1)       /* What was before it is not known. */
    :: else
    fi
#else
    chain_data(seq, count, bodies)
#endif
}

/* Inbox.accept and Session._accept. */
inline accept(l, seq, count, bodies, said) {
    if
#ifdef M_NO_GAP
    :: seq > received_b + 1 && seq + count - 1 - memory_b.cursor <= WINDOW ->
        memory_b.cursor = seq - 1; received_b = seq - 1; memory_b.digest = said;
        keep(seq, count, bodies)
#else
    :: seq > received_b + 1 ->
        owed_gap = gap_reported != received_b + 1;
        gap_reported = received_b + 1
#endif
#ifdef M_NO_DUPLICATE
    :: seq <= received_b ->
        memory_b.cursor = seq - 1; received_b = seq - 1; memory_b.digest = said;
        keep(seq, count, bodies)
#else
    :: seq <= received_b + 1 && seq + count - 1 <= received_b -> owed = 1
#endif
    :: seq <= received_b + 1 && seq + count - 1 > received_b ->
        if
        :: seq + count - 1 - received_b > room_b -> must_calm(false); drop_b(l)     /* WIN-1 */
        :: else ->
            compare(seq, count, bodies, said);
            if
            :: after != said -> hold_b(l)
            :: else -> must_held(!(diverged && run_a_of[l] == run_a)); keep(seq, count, bodies)
            fi
        fi
    fi
}

inline keep(seq, count, bodies) {
    if
    :: received_b < seq -> waiting[seq - 1] = bodies % BODIES
    :: else
    fi;
    if
    :: count == 2 -> waiting[seq % N] = bodies / BODIES
    :: else
    fi;
    received_b = seq + count - 1; owed = 1
}

/* What has come may be processed in the same turn, or in a later one. */
#ifdef NO_WAITING
#define may_wait false
#else
#define may_wait true
#endif
inline process_some() {
    do
    :: k == DATA && ready_b -> process()
    :: may_wait || k != DATA || !ready_b -> break
    od
}

/* Engine.deliveries, then Session.done or Session.refuse. */
inline process() {
    must_order(memory_b.effect[memory_b.cursor] == 0);
    must_order(memory_b.cursor == memory_b.begun ||
        memory_b.effect[(memory_b.cursor + N - 1) % N] != 0);
#if ROLLBACK == 0
    must_order(waiting[memory_b.cursor] == store_a.body[memory_b.cursor]);
#endif
    memory_b.effect[memory_b.cursor] = waiting[memory_b.cursor];
    memory_b.digest = next_digest(memory_b.digest, waiting[memory_b.cursor]);
    waiting[memory_b.cursor] = 0;
    memory_b.cursor++; printf("B processes %d, of run %d\n", memory_b.cursor,
        memory_b.effect[memory_b.cursor - 1] - 1);
    if
    :: memory_b.refused = memory_b.refused & ~bit_of(memory_b.cursor)
#ifndef NO_REFUSAL
    :: memory_b.refused = memory_b.refused | bit_of(memory_b.cursor); printf("refused\n");
        memory_b.refusals = memory_b.refusals | bit_of(memory_b.cursor)
#endif
    fi;
    owed = 1
}

#ifdef M_ACK_RECEIVED
#define ack_b received_b
#else
#define ack_b memory_b.cursor
#endif
#define progress_b ack_b, received_b, room_b, memory_b.refusals, memory_b.digest

inline settle_b() {
    if
    :: say_hello ->
        put(to_a[say_hello - 1], say_hello - 1, HELLO, memory_b.cursor, room_b, memory_b.refusals,
            32 * memory_b.incarnation + 4 * memory_b.in_base + memory_b.known, memory_b.digest)
    :: else
    fi;
    if
    :: leave -> drop_b(leave - 1)
    :: else
    fi;
    if
    :: who -> put(to_a[who - 1], who - 1, WHO, 0, 0, 0, 0, 0)
    :: else
    fi;
    if
    :: pong -> put(to_a[pong - 1], pong - 1, PROG, progress_b)
    :: else
    fi;
    if
    :: active_b && owed_gap -> put(to_a[active_b - 1], active_b - 1, GAP, progress_b)
    :: active_b && !owed_gap && owed -> put(to_a[active_b - 1], active_b - 1, PROG, progress_b)
    :: else
    fi;
#ifdef M_REFUSAL_ONCE
    if
    :: owed -> memory_b.refusals = 0
    :: else
    fi
#endif
}

inline end_turn_b() {
#ifdef M_ACK_FIRST
    settle_b();
    if
    :: commit_b(); skip
    :: crashes > 0 -> crashes--; start_b()
    fi;
#else
    if
    :: commit_b();
        if
        :: settle_b();
#ifdef M_REFUSAL_ONCE
            commit_b(); skip
#endif
        :: crashes > 0 -> crashes--; start_b()
        fi
    :: crashes > 0 -> crashes--; start_b()
    fi;
#endif
    d_step {
        must_reach();
        must_bounds(memory_b.cursor <= received_b && received_b - memory_b.cursor <= WINDOW &&
            count_of(memory_b.refusals) <= REFUSALS &&
            memory_b.refusals < (1 << memory_b.cursor));
        must_keep(store_a.base - 1 <= store_b.cursor);
        k = 0; x = 0; y = 0; z = 0; u = 0; d = 0; i = 0; l = 0; m = 0; owed = 0; owed_gap = 0;
        after = 0; say_hello = 0; pong = 0; who = 0; leave = 0
    }
}

inline take_b(l) {
    to_b[l]?k, x, y, z, u, d;
    printf("B reads on %d: %e %d %d %d %d, digest %d\n", l, k, x, y, z, u, d);
    if
    :: k == HELLO -> establish_b(l, x, y, (z & 15), (z >> 4) + 1, d)
    :: k == WHO ->
        if
        :: end_b[l] != SILENT && by_b[l] -> say_hello = l + 1
        :: else
        fi
    :: is_other(k) && end_b[l] == SILENT
    :: is_other(k) && end_b[l] == GREETED && must_ignore(doubted_b[l])
    :: is_other(k) && end_b[l] == GREETED && !must_ignore(doubted_b[l]) ->
        must_calm(lossy && !doubted_b[l]); drop_b(l)    /* HEL-3: its HELLO was lost. */
    :: is_other(k) && end_b[l] == ESTABLISHED ->
        must_run(run_a_of[l] + 1 == memory_b.peer_run);
        if
        :: k == DATA ->
            hear_base(z);
            accept(l, x, y, u, d)
        :: k == PROG -> hear_base(x)
        :: k == PING -> pong = l + 1
        fi
    fi
}

#define turn_take_b(l) :: nempty(to_b[l]) && end_b[l] -> d_step { take_b(l) }; process_some()

#define turn_lose_b(l) :: end_b[l] && (dead[l] || \
    (end_b[l] != ESTABLISHED && is_quiet(l))) -> d_step { drop_b(l) }

#define turn_dial_b(l) :: is_free(l) && all_links(not_dialing_b) && no_free_before(l) && \
    dials_b > 0 -> dials_b--; end_b[l] = GREETED; end_a[l] = SILENT; by_b[l] = 1; \
    run_a_of[l] = run_a; run_b_of[l] = run_b; \
    say_hello = l + 1

#ifdef COPY_BEFORE_MEETING
#define may_copy_b true
#else
#define may_copy_b store_b.known
#endif

/* The answer to a PING would let B forget a refusal. */
#define news_b ((memory_b.refusals & ((1 << (memory_a.base - 1)) - 1)) != 0)

active proctype B() {
    byte x, y, z, u, i, l, m, owed, owed_gap, say_hello, pong, who, leave;
    short d, after;
    mtype k;
end:
    do
    :: atomic {
        if
        each_link(turn_take_b)
        each_link(turn_lose_b)
        each_link(turn_dial_b)
        :: ready_b -> process()
        fi;
        end_turn_b() }
#ifndef M_NO_PONG
    :: atomic { active_b && quiet && !ready_b && news_b ->
        put(to_a[active_b - 1], active_b - 1, PING, 0, 0, 0, 0, 0) }
#endif
    :: atomic { crashes > 0 -> crashes--; start_b() }
#if ROLLBACK == 2
    :: atomic { copied == 0 && may_copy_b -> printf("B's store is copied\n");
        copied = 1; copy_in(copy_b, store_b); i = 0 }
    :: atomic { copied == 1 -> printf("the copy is put back\n");
        copied = 2; copy_in(store_b, copy_b);
        copy_b.known = 0; copy_b.cursor = 0; copy_b.refusals = 0; copy_b.incarnation = 0;
        copy_b.peer_incarnation = 0; copy_b.peer_run = 0; copy_b.in_base = 0; copy_b.refused = 0;
        copy_b.digest = 0; copy_b.effects_of = 0; copy_b.begun = 0;
        for (i : 0 .. N - 1) { copy_b.effect[i] = 0 }
        start_b() }
#endif
    od
}

/* --- The operator ----------------------------------------------------------------------------- */

#ifdef RECOVER
/* begin_anew at A: a new stream, of the last `kept` of what waits for its ack. */
inline recover_a() {
    d_step {
        printf("A is recovered, %d kept\n", kept); recovered = 1;
        for (i : 0 .. N - 1) {
            if
            :: i < kept -> store_a.body[i] = store_a.body[store_a.next - 1 - kept + i]
            :: else -> store_a.body[i] = 0
            fi
        };
#ifndef M_RECOVER_STREAM
        store_a.stream = 1;
#endif
#ifndef M_RECOVER_RUN
        store_a.incarnation = 8;
#endif
        store_a.base = 1; store_a.next = kept + 1; kept = 0; i = 0; l = 0
    }
}

/* begin_anew at B, for A's stream: take it up where A holds it, if some of it is gone. */
inline recover_b() {
    d_step {
        printf("B is recovered\n"); recovered = 1;
#ifndef M_RECOVER_RUN
        store_b.incarnation = 4;
#endif
        if
#ifndef M_RECOVER_FORGETS
        :: store_a.base <= store_b.cursor + 1
#endif
        :: else ->
            store_b.known = 0; store_b.cursor = 0; store_b.digest = 0; store_b.refusals = 0;
            store_b.in_base = 1
        fi
    }
}

active proctype Operator() {
    byte i, l, kept;
end:
    do
    :: atomic { held && copied == 2 && !recovered ->
#if ROLLBACK == 1
        do
        :: kept < store_a.next - store_a.base -> kept++
        :: break
        od;
        recover_a(); start_a()
#else
        recover_b(); start_b()
#endif
    }
    od
}
#endif

/* --- The network ------------------------------------------------------------------------------ */

#define cut(l) :: atomic { faults > 0 && !dead[l] && !is_free(l) -> \
    faults--; dead[l] = 1; printf("%d is cut\n", l) }

active proctype Network() {
end:
    do
    each_link(cut)
    od
}

/* --- Liveness --------------------------------------------------------------------------------- */

#ifdef L_DONE
ltl all_processed { <> done }
#endif
#ifdef L_DONE_OR_HELD
ltl all_processed_or_held { <> (done || held) }
#endif
#ifdef L_HEARD
ltl refusals_heard { <> [] (done && store_b.refusals == 0) }
#endif
