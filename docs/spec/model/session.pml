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

/* Not a property: that the model gets anywhere at all. `check` wants it violated. */
#ifndef P_REACH
#define must_reach() skip
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

/* --- State ------------------------------------------------------------------------------------ */

/*
 * Fields of a frame:
 *          to B                                  to A
 *   HELLO  base, next, incarnation, 0            cursor, window, refusals, run
 *   DATA   seq, count, base, bodies              -
 *   PROG   base, 0, 0, 0                         ack, received, window, refusals
 *   GAP    -                                     as PROG
 *   PING   0, 0, 0, 0                            0, 0, 0, 0
 * run is 16 * incarnation + 2 * in_base + known; only the proposal FIX_BASE reads in_base. PROG
 * stands for ACK and for PONG. Refusals are a set of bits, bit n - 1 for message n.
 */
mtype = { HELLO, DATA, PROG, GAP, PING };

#define DOWN 0                  /* LinkState, and the end that has no link. */
#define SILENT 1
#define GREETED 2
#define ESTABLISHED 3

#define BODIES 8                /* A body is 1 + the run of A that took it into the outbox. */
#define bit_of(n) (1 << ((n) - 1))
#define count_of(s) (((s) & 1) + (((s) >> 1) & 1) + (((s) >> 2) & 1) + (((s) >> 3) & 1))

/* What of A's session lasts: PeerSnapshot.acked, .messages, .incarnation, .instance. */
typedef OutStore {
    byte base = 1;
    byte next = 1;
    byte incarnation = 1;       /* Its own: Snapshot.incarnation. */
    byte peer_incarnation;
    byte peer_run;              /* 1 + the run of B (its instance), 0 for none. */
    byte body[N]                /* Kept when dropped: it is what A said the number means. */
};

/* What of B's session lasts: .in_stream, .cursor, .refusals, and the effects of the handlers. */
typedef InStore {
    bit known;                  /* Whether in_stream is A's stream. */
    byte cursor;
    byte refusals;
    byte incarnation = 1;
    byte peer_incarnation;
    byte peer_run;
    byte in_base;               /* The highest base that A has said (RES-10). */
    byte effect[N];             /* The body that was processed under this number, 0 for none. */
    byte refused                /* Of the processed ones, those that were refused. */
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
chan to_a[LINKS] = [QUEUE] of { mtype, byte, byte, byte, byte };
chan to_b[LINKS] = [QUEUE] of { mtype, byte, byte, byte, byte };
byte end_a[LINKS], end_b[LINKS];
bit dead[LINKS];                /* Nothing new passes; what is in flight may be read or lost. */
bit by_b[LINKS];                /* B dialed it. */
byte run_a_of[LINKS], run_b_of[LINKS];  /* The runs at its ends. */
#ifdef FIX_LATE
bit older_b[LINKS], older_a[LINKS];     /* It was up before the newest run here was accepted. */
#endif

/* What no node knows: for bounds and properties. */
byte run_a, run_b;              /* Runs so far. */
byte crashes = CRASHES, faults = FAULTS, dials_b = DIALS_B;
bit held;                       /* The session was held at least once. */
byte copied;                    /* 0: no copy yet; 1: there is one; 2: it was put back. */
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
#define done (store_a.base == N + 1 && store_b.cursor == N)

/* What B has done is not what A says it sent: message i + 1 was never numbered, or is another. */
#define differs(i) (i < N && store_b.cursor > i && \
    (store_a.next <= i + 1 || store_b.effect[i % N] != store_a.body[i % N]))
/* Or B has not done what A has dropped. Only a rollback can bring this about (P_KEEP, P_ORDER).
 * Then B must take nothing in, but from a run of A that has ended (P_HELD); what A is told must be
 * true all the same (P_ACK). */
#define diverged \
    (store_a.base - 1 > store_b.cursor || differs(0) || differs(1) || differs(2) || differs(3))

/* The proposal FIX_DIGEST: each ack carries a digest of what was processed up to it, and each DATA
 * one of what was sent before it. So each side sees whether both mean the same messages. */
#define other_body(n, i) (i < N && n > i && store_b.effect[i % N] && \
    (memory_a.next <= i + 1 || store_b.effect[i % N] != memory_a.body[i % N]))
#define other_bodies(n) \
    (other_body(n, 0) || other_body(n, 1) || other_body(n, 2) || other_body(n, 3))
#define other_waiting(i) (i < N && received_b > i && waiting[i % N] && \
    (memory_a.next <= i + 1 || waiting[i % N] != memory_a.body[i % N]))
#define others_waiting \
    (other_waiting(0) || other_waiting(1) || other_waiting(2) || other_waiting(3))

/* Not _is_same_run. */
#ifdef M_NO_SAME_RUN
#define is_other_run_a(l) true
#define is_other_run_b(l) true
#else
#define is_other_run_a(l) (memory_a.peer_run != run_b_of[l] + 1)
#define is_other_run_b(l) (memory_b.peer_run != run_a_of[l] + 1)
#endif

/* The proposal FIX_STICKY: a node that has held a session holds it until its operator decides. */
#ifdef FIX_STICKY
bit stuck_a, stuck_b;
#define stick_a() stuck_a = 1
#define stick_b() stuck_b = 1
#else
#define stick_a() skip
#define stick_b() skip
#endif

/* The application is told, once per HELLO. */
inline hold_a() { printf("A holds the session\n"); must_calm(false); held = 1; stick_a() }
inline hold_b() { printf("B holds the session\n"); must_calm(false); held = 1; stick_b() }

/* --- Links ------------------------------------------------------------------------------------ */

/* Transport.send: lost or doubled by a fault; gone if the link is dead or the queue full. */
inline put(queue, l, k, f1, f2, f3, f4) {
    if
    :: dead[l] || len(queue) == QUEUE
    :: else ->
        if
        :: queue!k, f1, f2, f3, f4; printf("leaves on %d: %e %d %d %d %d\n", l, k, f1, f2, f3, f4)
#ifndef NO_LOSS
        :: faults > 0 -> faults--; printf("lost on %d: %e\n", l, k)
        :: faults > 0 && len(queue) + 2 <= QUEUE -> faults--; printf("doubled on %d: %e\n", l, k);
            queue!k, f1, f2, f3, f4;
            queue!k, f1, f2, f3, f4
#endif
        fi
    fi
}

inline drain(queue) {
    do
    :: len(queue) > 0 -> queue?_, _, _, _, _
    :: len(queue) == 0 -> break
    od
}

/* Both ends have given it up: the slot serves for a new one. */
inline release(l) {
    if
    :: is_free(l) ->
        dead[l] = 0; by_b[l] = 0; run_a_of[l] = 0; run_b_of[l] = 0;
#ifdef FIX_LATE
        older_a[l] = 0; older_b[l] = 0
#endif
    :: else
    fi
}

/* Connections._forget and Session.lose: A gives up its end of link l. */
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
    for (i : 0 .. N - 1) { to.body[i] = from.body[i] }
}

inline copy_in(to, from) {
    to.known = from.known; to.cursor = from.cursor; to.refusals = from.refusals;
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

/* Outbox._drop, and the receipts that follow from it (ReceiptDesk.resolve). */
inline drop_messages(ack, refusals) {
    for (i : memory_a.base - 1 .. ack - 1) {
        printf("A is told: %d, refused: %d\n", i + 1, (refusals >> i) & 1);
        must_ack(ever_effect[i] != 0 && ever_effect[i] == memory_a.body[i]);
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

inline acknowledge(l, ack, received, room, refusals) {
    if
#ifdef FIX_DIGEST
    :: other_bodies(ack) -> hold_a(); drop_a(l)
#endif
    :: received > sent_most -> must_calm(false); drop_a(l)     /* ACK-1 */
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

/* Connections._introduce and Session.establish at A; resume() decides. */
inline establish_a(l, hello_cursor, room, hello_refusals, hello_incarnation, hello_in_base,
        hello_known) {
    if
#ifdef FIX_STICKY
    :: stuck_a -> drop_a(l)
#endif
#ifndef M_NO_RUN
    :: memory_a.peer_run && (hello_incarnation < memory_a.peer_incarnation ||
        (hello_incarnation == memory_a.peer_incarnation &&
         memory_a.peer_run != run_b_of[l] + 1)) ->      /* RES-3, RES-4 */
#ifdef FIX_LATE
        if
        :: older_a[l]
        :: else -> hold_a()
        fi;
#else
        hold_a();
#endif
        drop_a(l)
#endif
#ifndef M_NO_SENT_CHECK
    :: hello_known && hello_cursor > sent_most -> hold_a(); drop_a(l)           /* RES-6 */
#endif
#ifndef M_NO_LOSS_CHECK
    :: hello_known && hello_cursor < memory_a.base - 1 && is_other_run_a(l) ->  /* RES-6 */
        hold_a(); drop_a(l)
#endif
#ifdef FIX_DIGEST
    :: hello_known && other_bodies(hello_cursor) -> hold_a(); drop_a(l)
#endif
#ifdef FIX_BASE
    :: hello_known && hello_in_base > memory_a.base -> hold_a(); drop_a(l)
#endif
    :: else ->
        must_run(run_b_of[l] + 1 >= memory_a.peer_run);
#ifdef FIX_LATE
        if
        :: memory_a.peer_run != run_b_of[l] + 1 ->
            for (i : 0 .. LINKS - 1) { older_a[i] = end_a[i] != DOWN && i != l }
        :: else
        fi;
#endif
        memory_a.peer_run = run_b_of[l] + 1; memory_a.peer_incarnation = hello_incarnation;
        acked = memory_a.base - 1;
        if
        :: hello_known && hello_cursor > acked -> acked = hello_cursor
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

/* Session.settle: the frames of this turn. */
inline settle_a() {
    if
    :: say_hello ->
        put(to_b[say_hello - 1], say_hello - 1, HELLO, memory_a.base, memory_a.next,
            memory_a.incarnation, 0)
    :: else
    fi;
    if
    :: pong -> put(to_b[pong - 1], pong - 1, PROG, memory_a.base, 0, 0, 0)
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
        put(to_b[active_a - 1], active_a - 1, DATA, sent + 1, n, memory_a.base,
            memory_a.body[sent] + (n == 2 -> BODIES * memory_a.body[(sent + 1) % N] : 0));
        sent = sent + n; owed = 0;
        if
        :: sent > sent_most -> sent_most = sent
        :: else
        fi
    :: else -> break
    od;
    if
    :: owed && active_a -> put(to_b[active_a - 1], active_a - 1, PROG, memory_a.base, 0, 0, 0)
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
        k = 0; x = 0; y = 0; z = 0; u = 0; i = 0; l = 0; m = 0; n = 0; acked = 0; owed = 0;
        say_hello = 0; pong = 0
    }
}

inline take_a(l) {
    to_a[l]?k, x, y, z, u; printf("A reads on %d: %e %d %d %d %d\n", l, k, x, y, z, u);
    if
    :: k == HELLO -> establish_a(l, x, y, z, (u >> 4), ((u >> 1) & 7), (u & 1))
    :: k != HELLO && end_a[l] == SILENT                 /* WHO */
    :: k != HELLO && end_a[l] == GREETED ->    /* HEL-3: its HELLO was lost. */
        must_calm(lossy); drop_a(l)
    :: k != HELLO && end_a[l] == ESTABLISHED ->
        must_run(run_b_of[l] + 1 == memory_a.peer_run);
        if
        :: k == PROG -> acknowledge(l, x, y, z, u)
        :: k == GAP ->
            acknowledge(l, x, y, z, u);
            if
#ifndef M_NO_RESEND
            :: sent > received_a && went_back_to != received_a + 1 ->   /* Outbox.go_back */
                went_back_to = received_a + 1; sent = received_a
#endif
            :: else
            fi
        :: k == PING -> pong = l + 1
        fi
    fi
}

#define turn_take_a(l) :: atomic { nempty(to_a[l]) && end_a[l] -> \
    d_step { take_a(l) }; end_turn_a() }

/* A link ends: it is dead, or its HELLO did not come (HEL-7). */
#define turn_lose_a(l) :: atomic { end_a[l] && (dead[l] || \
    (end_a[l] != ESTABLISHED && is_quiet(l))) -> d_step { drop_a(l) }; end_turn_a() }

#define turn_dial_a(l) :: atomic { is_free(l) && all_links(not_dialing_a) && no_free_before(l) -> \
    end_a[l] = GREETED; end_b[l] = SILENT; run_a_of[l] = run_a; run_b_of[l] = run_b; \
    say_hello = l + 1; end_turn_a() }

#define no_free_before(l) ((l < 1 || !is_free(0)) && (l < 2 || !is_free(1)))

/* The answer to a PING would tell A something (PINGs that tell nothing change nothing). */
#define news_a (memory_b.cursor >= memory_a.base || received_b > received_a || \
    (received_b == received_a && room_b > window))

active proctype A() {
    byte x, y, z, u, i, l, m, n, acked, owed, say_hello, pong;
    mtype k;
end:
    do
    each_link(turn_take_a)
    each_link(turn_lose_a)
    each_link(turn_dial_a)
    /* Engine.send */
    :: atomic { memory_a.next <= N ->
        memory_a.body[memory_a.next - 1] = run_a + 1;
        printf("A is asked to send %d\n", memory_a.next); memory_a.next++; end_turn_a() }
    /* Outbox.tick */
#ifndef M_NO_RESEND
    :: atomic { active_a && sent > received_a && (quiet || faults > 0) ->
        if
        :: quiet
        :: else -> faults--
        fi;
        sent = received_a; probing = 1; printf("A resends\n"); end_turn_a() }
#endif
#ifndef M_NO_PONG
    :: atomic { active_a && quiet && sent == received_a && !ready_b && news_a ->
        put(to_b[active_a - 1], active_a - 1, PING, 0, 0, 0, 0) }
#endif
    :: atomic { crashes > 0 -> crashes--; start_a() }
#if ROLLBACK == 1
    :: atomic { copied == 0 -> printf("A's store is copied\n");
        copied = 1; copy_out(copy_a, store_a); i = 0 }
    :: atomic { copied == 1 -> printf("the copy is put back\n");
        copied = 2; copy_out(store_a, copy_a);
        copy_a.base = 0; copy_a.next = 0; copy_a.incarnation = 0;
        copy_a.peer_incarnation = 0; copy_a.peer_run = 0;
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

/* Connections._introduce and Session.establish at B; resume() decides. */
inline establish_b(l, hello_base, hello_next, hello_incarnation) {
    if
#ifdef FIX_STICKY
    :: stuck_b -> drop_b(l)
#endif
#ifndef M_NO_RUN
    :: memory_b.peer_run && (hello_incarnation < memory_b.peer_incarnation ||
        (hello_incarnation == memory_b.peer_incarnation &&
         memory_b.peer_run != run_a_of[l] + 1)) ->      /* RES-3, RES-4 */
#ifdef FIX_LATE
        if
        :: older_b[l]
        :: else -> hold_b()
        fi;
#else
        hold_b();
#endif
        drop_b(l)
#endif
#ifndef M_NO_LOSS_CHECK
    :: memory_b.known && hello_base > memory_b.cursor + 1 -> hold_b(); drop_b(l)        /* RES-5 */
#endif
#ifndef M_NO_BASE_CHECK
    :: memory_b.known && hello_base < memory_b.in_base && is_other_run_b(l) ->          /* RES-10 */
        hold_b(); drop_b(l)
#endif
#ifndef M_NO_NEXT_CHECK
    :: memory_b.known && hello_next <= memory_b.cursor && is_other_run_b(l) ->          /* RES-5 */
        hold_b(); drop_b(l)
#endif
    :: else ->
        must_run(run_a_of[l] + 1 >= memory_b.peer_run);
        if
        :: memory_b.peer_run != run_a_of[l] + 1 ->
#ifdef FIX_LATE
            for (i : 0 .. LINKS - 1) { older_b[i] = end_b[i] != DOWN && i != l };
#endif
#ifndef M_NO_FORGET
            received_b = memory_b.cursor;       /* RES-9: Session._forget_unprocessed */
            for (i : 0 .. N - 1) { waiting[i] = 0 };
#endif
            memory_b.peer_run = run_a_of[l] + 1; memory_b.peer_incarnation = hello_incarnation
        :: else
        fi;
        if
        :: !memory_b.known ->           /* RES-2: Session._restart_inbox */
            memory_b.known = 1; memory_b.refusals = 0;
#ifdef M_WRONG_BASE
            memory_b.cursor = hello_base;
#else
            memory_b.cursor = hello_base - 1;
#endif
            received_b = memory_b.cursor;
            for (i : 0 .. N - 1) { waiting[i] = 0 };
            memory_b.in_base = hello_base
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

/* Inbox.accept and Session._accept. */
inline accept(l, seq, count, bodies) {
    if
#ifdef FIX_DIGEST
    :: run_a_of[l] == run_a && (other_bodies(memory_b.cursor) || others_waiting) ->
        hold_b(); drop_b(l)
#endif
#ifdef M_NO_GAP
    :: seq > received_b + 1 && seq + count - 1 - memory_b.cursor <= WINDOW ->
        memory_b.cursor = seq - 1; received_b = seq - 1; keep(seq, count, bodies)
#else
    :: seq > received_b + 1 ->
        owed_gap = gap_reported != received_b + 1;
        gap_reported = received_b + 1
#endif
#ifdef M_NO_DUPLICATE
    :: seq <= received_b ->
        memory_b.cursor = seq - 1; received_b = seq - 1; keep(seq, count, bodies)
#else
    :: seq <= received_b + 1 && seq + count - 1 <= received_b -> owed = 1
#endif
    :: seq <= received_b + 1 && seq + count - 1 > received_b ->
        if
        :: seq + count - 1 - received_b > room_b -> must_calm(false); drop_b(l)     /* WIN-1 */
        :: else -> must_held(!(diverged && run_a_of[l] == run_a)); keep(seq, count, bodies)
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
    must_order(memory_b.cursor == 0 || memory_b.effect[(memory_b.cursor + N - 1) % N] != 0);
#if ROLLBACK == 0
    must_order(waiting[memory_b.cursor] == store_a.body[memory_b.cursor]);
#endif
    memory_b.effect[memory_b.cursor] = waiting[memory_b.cursor];
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
#define progress_b ack_b, received_b, room_b, memory_b.refusals

inline settle_b() {
    if
    :: say_hello ->
        put(to_a[say_hello - 1], say_hello - 1, HELLO, memory_b.cursor, room_b, memory_b.refusals,
            16 * memory_b.incarnation + 2 * memory_b.in_base + memory_b.known)
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
        k = 0; x = 0; y = 0; z = 0; u = 0; i = 0; l = 0; m = 0; owed = 0; owed_gap = 0;
        say_hello = 0; pong = 0
    }
}

inline take_b(l) {
    to_b[l]?k, x, y, z, u; printf("B reads on %d: %e %d %d %d %d\n", l, k, x, y, z, u);
    if
    :: k == HELLO -> establish_b(l, x, y, z)
    :: k != HELLO && end_b[l] == SILENT
    :: k != HELLO && end_b[l] == GREETED ->    /* HEL-3: its HELLO was lost. */
        must_calm(lossy); drop_b(l)
    :: k != HELLO && end_b[l] == ESTABLISHED ->
        must_run(run_a_of[l] + 1 == memory_b.peer_run);
        if
        :: k == DATA ->
            hear_base(z);
            accept(l, x, y, u)
        :: k == PROG -> hear_base(x)
        :: k == PING -> pong = l + 1
        fi
    fi
}

#define turn_take_b(l) :: atomic { nempty(to_b[l]) && end_b[l] -> \
    d_step { take_b(l) }; process_some(); end_turn_b() }

#define turn_lose_b(l) :: atomic { end_b[l] && (dead[l] || \
    (end_b[l] != ESTABLISHED && is_quiet(l))) -> d_step { drop_b(l) }; end_turn_b() }

#define turn_dial_b(l) :: atomic { is_free(l) && all_links(not_dialing_b) && no_free_before(l) && \
    dials_b > 0 -> dials_b--; end_b[l] = GREETED; end_a[l] = SILENT; by_b[l] = 1; \
    run_a_of[l] = run_a; run_b_of[l] = run_b; \
    say_hello = l + 1; end_turn_b() }

#ifdef COPY_BEFORE_MEETING
#define may_copy_b true
#else
#define may_copy_b store_b.known
#endif

/* The answer to a PING would let B forget a refusal. */
#define news_b ((memory_b.refusals & ((1 << (memory_a.base - 1)) - 1)) != 0)

active proctype B() {
    byte x, y, z, u, i, l, m, owed, owed_gap, say_hello, pong;
    mtype k;
end:
    do
    each_link(turn_take_b)
    each_link(turn_lose_b)
    each_link(turn_dial_b)
    :: atomic { ready_b -> process(); end_turn_b() }
#ifndef M_NO_PONG
    :: atomic { active_b && quiet && !ready_b && news_b ->
        put(to_a[active_b - 1], active_b - 1, PING, 0, 0, 0, 0) }
#endif
    :: atomic { crashes > 0 -> crashes--; start_b() }
#if ROLLBACK == 2
    :: atomic { copied == 0 && may_copy_b -> printf("B's store is copied\n");
        copied = 1; copy_in(copy_b, store_b); i = 0 }
    :: atomic { copied == 1 -> printf("the copy is put back\n");
        copied = 2; copy_in(store_b, copy_b);
        copy_b.known = 0; copy_b.cursor = 0; copy_b.refusals = 0; copy_b.incarnation = 0;
        copy_b.peer_incarnation = 0; copy_b.peer_run = 0; copy_b.in_base = 0; copy_b.refused = 0;
        for (i : 0 .. N - 1) { copy_b.effect[i] = 0 }
        start_b() }
#endif
    od
}

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
