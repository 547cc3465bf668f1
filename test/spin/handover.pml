/*
 * handover.pml: how a committed entry finds the one process that commits it locally: backends, raft worker, applier and guard of one node.
 *
 * One group. Behind each step stands the function whose step it is; what one atomic access or one critical section does in C is one step here.
 * README.md lists what is left out. Macros that begin with BUG_ plant a bug each; run.sh shows that each is found.
 *
 * Size: NB backends, NT transactions one after the other in each backend's slot, one entry of another node (NR), F faults in all: an error at any step of a
 * backend (cancel, termination, no space), with or without the end of its process; an error in the applier's transaction; a second copy of a proposal in the
 * log; a lost majority; with -DCRASH a crash of the server (SIGKILL of any process, failure of the raft worker), which may lose the newest local commits.
 */
#ifndef NB
#define NB 2
#endif
#ifndef NT
#define NT 1
#endif
#define NR 1
#ifndef F
#define F 1
#endif
#ifndef WANTS
#define WANTS 6						/* bit x: transaction x needs the row */
#endif
#define NL (NB * NT)				/* transactions of this node: 0..NL-1, then those of others */
#define NX (NL + NR)
#define NLOG (NX + F)				/* entries of the log */
#define RING 4						/* TICKETS */

/* SlotState; the word is (req, st), always changed in one step */
#define IDLE 0
#define SUBMITTED 1
#define TAKEN 2
#define ABANDONED 3
#define GRANTED 4
#define REFUSED 5
#define FAILED 6
typedef Slot {
	byte req; byte st;				/* word */
	bool queued;
	byte x;							/* counter: the transaction */
	byte ticket;					/* answer */
	bool unknown;					/* answer: outcome_unknown */
	byte demoted;					/* demoted_request */
	bool doomed;					/* doomed_lxid is this transaction's */
	bool committing
};
Slot slot[NB];
bool latch_b[NB];
chan list = [NB] of { byte };		/* queue_head and next_queued: pushed by compare-and-swap, taken whole and turned round */
bool latch_raft;

/* TicketOwner */
#define LOCAL 1
#define APPLIER 2
typedef Ticket { byte owner; byte slot; byte index };
Ticket ring[RING];
byte turn = 1, tickets_end = 1;
byte watermark, last_ticket, follow_index;
byte applier_ticket;
bool latch_applier;

/* raft worker's memory */
byte pend_slot[NL], pend_req[NL];	/* slot + 1; 0 = not pending */
byte delivered;						/* entries handed on by the driver */

/* the group: what of each proposal can happen */
#define NONE 0
#define HELD 1						/* node_propose() took it, nothing was sent: it can still fail for sure */
#define SENT 2
#define GONE 3						/* it surely never enters the log */
byte prop[NL];
#define COMMIT 1
#define ABORT 2
#define DUPLICATE 3
byte nlog, ent[NLOG + 1], verdict[NLOG + 1];
bool foreign[NLOG + 1];				/* proposed before the last crash: no business of a backend (another incarnation) */
byte fate[NX];						/* verdict of the first copy */
byte old_life[NL];					/* begun before the last crash */

/* one row that some transactions change: its lock; 0 free, b + 1, NB + 1 the applier */
#define BY_APPLIER (NB + 1)
byte row;
bool wants[NX];						/* needs the row */
bool applier_waits;					/* in the lock's queue */

/* ghosts */
byte gi;							/* scratch of d_steps */
byte la;							/* index of the newest local commit */
byte commits[NLOG + 1];				/* local commits of each entry, since the last crash that took it back */
#define OK 1
#define E40001 2
#define E40003 3
#define E57P03 4
#define LOST 5						/* the connection broke */
byte told[NL];
byte ended;							/* backends whose work is over */
byte faults, epoch, up;
#define NPROC (NB + 3)

#define R(t) ring[(t) % RING]

/* ---- shmem.c ---- */

/* what nodedb_wake() and SetLatch() of the owner do; under no lock */
inline wake_turn(t) {
	if
	:: t >= tickets_end -> skip
	:: else ->
		if
		:: R(t).owner == LOCAL -> latch_b[R(t).slot] = 1
		:: else -> latch_applier = 1
		fi
	fi
}

inline move_watermark(i) { if :: i > watermark -> watermark = i :: else fi }

/* nodedb_entry_passed(), under g->lock */
inline entry_passed(i) {
	d_step {
		if
		:: turn > last_ticket -> move_watermark(i)
#ifndef BUG_WATERMARK_EARLY
		:: else -> follow_index = i
#else
		:: else -> move_watermark(i)
#endif
		fi;
		check_watermark()
	}
}

/* nodedb_advance(first, 1): the critical section; then wake_turn() */
inline advance(first) {
	d_step {
		assert(turn == first);
		turn = first + 1;
		gi = R(first).index; move_watermark(gi);
		if :: last_ticket == first -> move_watermark(follow_index) :: else fi;
		check_watermark()
	};
#ifndef BUG_NO_WAKE
	atomic { wake_turn(first + 1) }
#endif
}

/* The watermark promises nothing that is not visible. */
inline check_watermark() {
	gi = 1;
	do
	:: gi <= watermark -> assert(verdict[gi] != COMMIT || commits[gi] == 1); gi++
	:: else -> break
	od;
	gi = 0
}
/* The local transaction of entry i becomes visible (CommitTransaction, up to the COMMIT callback). */
inline local_commit(i, t) {
	d_step {
		assert(turn == t);						/* commit order = ticket order */
		assert(R(t).index == i);
		assert(verdict[i] == COMMIT);
		assert(i > la);							/* ... = log order */
		gi = la + 1;
		do :: gi < i -> assert(verdict[gi] != COMMIT); gi++ :: else -> break od;	/* none was passed over */
		gi = 0;
		commits[i]++;
		assert(commits[i] == 1);				/* exactly one process commits it */
		la = i;
	}
}

/* ---- raft worker: raft_worker_requests.c ---- */

#define IS_TAKEN(s, r) (slot[s].req == (r) && slot[s].st == TAKEN)

/* answer(): compare-and-swap from TAKEN */
#define ANSWER(s, r, state) if :: IS_TAKEN(s, r) -> slot[s].st = state; latch_b[s] = 1 :: else fi

/* take() */
inline take_request(s) {
	atomic { wr = slot[s].req; wst = slot[s].st; wx = slot[s].x };		/* the word and the fields, then the bytes */
	atomic { slot[s].queued = 0; latch_b[s] = 1 };						/* wait_buffer_free() polls: woken here */
	atomic {
		if
		:: slot[s].req == wr && slot[s].st == SUBMITTED ->
			assert(wst == SUBMITTED && wx == slot[s].x);				/* what was copied is this very request */
			slot[s].st = TAKEN;
			pend_slot[wx] = s + 1; pend_req[wx] = wr; prop[wx] = HELD
		:: else
		fi;
		wr = 0; wst = 0; wx = 0
	}
}

/* answer_failed() */
inline fail(x, unk) {
	if
	:: pend_slot[x] > 0 ->
		ws = pend_slot[x] - 1; wr = pend_req[x]; pend_slot[x] = 0; pend_req[x] = 0;
#ifndef BUG_ANSWER_OVERWRITES
		if :: IS_TAKEN(ws, wr) -> slot[ws].unknown = unk :: else fi;
#else
		slot[ws].unknown = unk;
#endif
		ANSWER(ws, wr, FAILED);
		ws = 0; wr = 0
	:: else
	fi
}

/* deliver_commit() */
inline deliver_commit(i) {
	atomic {
		wt = tickets_end; wx = ent[i];
		if
		:: wx < NL && !foreign[i] && pend_slot[wx] > 0 -> ws = pend_slot[wx]; wr = pend_req[wx]
		:: else -> ws = 0; wr = 0
		fi;
		R(wt).index = i;
		R(wt).slot = (ws > 0 -> ws - 1 : 0);
#ifdef BUG_LATE_OWNER
		R(wt).owner = 0
#else
		R(wt).owner = (ws > 0 -> LOCAL : APPLIER)
#endif
	};
	atomic { last_ticket = wt };			/* under g->lock */
	if
	:: ws > 0 ->
#ifndef BUG_ANSWER_OVERWRITES
		atomic { if :: IS_TAKEN(ws - 1, wr) -> slot[ws - 1].ticket = wt :: else fi };
#else
		slot[ws - 1].ticket = wt;
#endif
		atomic {
			if
			:: IS_TAKEN(ws - 1, wr) -> slot[ws - 1].st = GRANTED
			:: else ->
#ifndef BUG_ABANDONED_KEEPS_TICKET
				R(wt).owner = APPLIER
#else
				skip
#endif
			fi;
			pend_slot[wx] = 0; pend_req[wx] = 0
		}
	:: else
	fi;
#ifdef BUG_LATE_OWNER
	atomic { R(wt).owner = (ws > 0 -> LOCAL : APPLIER) };
#endif
	tickets_end = wt + 1;
	atomic {								/* the owner as it is now */
#ifdef BUG_WAKE_FIRST_OWNER
		if :: ws > 0 -> latch_b[ws - 1] = 1 :: else -> latch_applier = 1 fi;
#else
		if :: R(wt).owner == LOCAL -> latch_b[ws - 1] = 1 :: else -> latch_applier = 1 fi;
#endif
		ws = 0; wr = 0; wt = 0; wx = 0
	}
}

#ifdef IN_ORDER
#define MAY_FAIL false
#else
#define MAY_FAIL (faults > 0)
#endif

proctype raft_worker() {
	byte me, wr, wst, wx, ws, wt, wi;
again:
	atomic { me = epoch; wr = 0; wst = 0; wx = 0; ws = 0; wt = 0; wi = 0; up++ };
	{
		up == NPROC;
		/* recovery: entries that the ledger covers are certified again, nothing else; the applier loads the watermark (ledger_load()) */
		do
		:: atomic { latch_raft -> latch_raft = 0 };
			/* requests_take(): the whole list at once; newcomers find it empty and set the latch */
			do
			:: nempty(list) -> atomic { list?ws; wi = ws; ws = 0 }; take_request(wi); wi = 0
			:: empty(list) -> break
			od
		/* node_work(): the driver's word about proposals */
		:: atomic { prop[0] == HELD -> prop[0] = SENT }
		:: atomic { prop[0] == HELD && MAY_FAIL -> faults--; prop[0] = GONE; fail(0, false) }
		:: atomic { prop[0] == SENT && MAY_FAIL -> faults--; fail(0, true) }
#if NL > 1
		:: atomic { prop[1] == HELD -> prop[1] = SENT }
		:: atomic { prop[1] == HELD && MAY_FAIL -> faults--; prop[1] = GONE; fail(1, false) }
		:: atomic { prop[1] == SENT && MAY_FAIL -> faults--; fail(1, true) }
#endif
#if NL > 2
		:: atomic { prop[2] == HELD -> prop[2] = SENT }
		:: atomic { prop[2] == HELD && MAY_FAIL -> faults--; prop[2] = GONE; fail(2, false) }
		:: atomic { prop[2] == SENT && MAY_FAIL -> faults--; fail(2, true) }
#endif
#if NL > 3
		:: atomic { prop[3] == HELD -> prop[3] = SENT }
		:: atomic { prop[3] == HELD && MAY_FAIL -> faults--; prop[3] = GONE; fail(3, false) }
		:: atomic { prop[3] == SENT && MAY_FAIL -> faults--; fail(3, true) }
#endif
		/* requests_deliver(); a full ring is ND_BUSY: later */
		:: delivered < nlog && tickets_end - turn < RING - 1 ->
			atomic { wi = delivered + 1 };
			if
			:: wi > la && verdict[wi] == COMMIT -> deliver_commit(wi)
			:: else ->
				atomic {
					if
					:: wi > la && verdict[wi] == ABORT && ent[wi] < NL && !foreign[wi] && pend_slot[ent[wi]] > 0 ->
						ws = pend_slot[ent[wi]] - 1; wr = pend_req[ent[wi]]; pend_slot[ent[wi]] = 0; pend_req[ent[wi]] = 0;
						ANSWER(ws, wr, REFUSED);
						ws = 0; wr = 0
					:: else
					fi
				};
				entry_passed(wi)
			fi;
			atomic { delivered = wi; wi = 0 }
		od
	} unless { epoch != me };
	goto again
}

/* ---- the other nodes: any order, any verdict, a second copy of a proposal that was sent again ---- */

inline append(x) {
	nlog++; ent[nlog] = x;
	if
	:: x < NL -> foreign[nlog] = old_life[x]; assert(prop[x] == SENT && told[x] != E57P03)
	:: else
	fi;
	if
	:: fate[x] != 0 -> verdict[nlog] = DUPLICATE
	:: fate[x] == 0 -> verdict[nlog] = COMMIT; fate[x] = COMMIT
#ifndef IN_ORDER
	:: fate[x] == 0 && x < NL -> verdict[nlog] = ABORT; fate[x] = ABORT
#endif
	fi
}

/* -DIN_ORDER: one path through the log, for scenarios of more processes: entries in order, all commit, errors only behind the verdict */
#ifdef IN_ORDER
#define ORDERED(n) (nlog == (n))
#else
#define ORDERED(n) true
#endif

#define MAY_APPEND(n) :: atomic { prop[n] == SENT && nlog < NLOG && ORDERED(n) && (fate[n] == 0 || faults > 0) -> \
	if :: fate[n] != 0 -> faults-- :: else fi; append(n) }

proctype group() {
	do
	MAY_APPEND(0)
#if NL > 1
	MAY_APPEND(1)
#endif
#if NL > 2
	MAY_APPEND(2)
#endif
#if NL > 3
	MAY_APPEND(3)
#endif
	:: atomic { fate[NL] == 0 && nlog < NLOG && ORDERED(NL) -> append(NL) }		/* NR is 1 */
	od
}

/* ---- backend: session/commit.c ---- */

#define MAY_ERR (faults > 0)
#ifdef IN_ORDER
#define MAY_ERR_EARLY false
#else
#define MAY_ERR_EARLY MAY_ERR
#endif

proctype backend(byte b) {
	byte me, x, n, ticket, i;
	bool open, fatal;
start:
	atomic { me = epoch; up++ };
next:
	atomic {
		if
		:: n == NT -> ended++; if :: me != epoch -> up++ :: else fi; b = 0; x = 0; n = 0; me = 0; goto fin
		:: else -> x = b * NT + n; n++; open = 0; fatal = 0; ticket = 0
		fi
	};
	{
		up == NPROC;
		/* the statement: session_before_write(), then the row's lock */
		atomic { slot[b].doomed = 0; slot[b].committing = 0;
		if
		:: wants[x] -> goto lock
		:: else -> goto locked
		fi };
lock:
			if
			:: atomic { row == 0 -> row = b + 1 }
			:: atomic { slot[b].doomed -> goto abort }
			:: atomic { MAY_ERR_EARLY -> faults--; goto abort }
			fi;
locked:
		/* session_enter_commit(), under kick_lock */
		atomic { if :: slot[b].doomed -> goto abort :: else -> slot[b].committing = 1 fi };
		/* submit(): the buffer first */
		do
		:: slot[b].queued == 0 -> break
		:: atomic { slot[b].queued && latch_b[b] -> latch_b[b] = 0; latch_raft = 1 }
		:: atomic { slot[b].queued && MAY_ERR_EARLY -> faults--; goto abort }
		od;
		atomic { slot[b].x = x; open = 1; slot[b].req++; slot[b].st = SUBMITTED };
		slot[b].queued = 1;
		atomic { if :: empty(list) -> list!b; latch_raft = 1 :: nempty(list) -> list!b fi };
		/* await_answer() */
		/* WaitLatch() without its time-out, here and below: no wake-up may be lost at all */
await:
		atomic { if :: slot[b].st >= GRANTED -> goto answered :: slot[b].st < GRANTED && slot[b].demoted == slot[b].req -> goto abort :: else fi };
		if
		:: atomic { latch_b[b] -> latch_b[b] = 0; goto await }
		:: atomic { MAY_ERR_EARLY -> faults--; goto abort }
		fi;
answered:
		if
		:: atomic { slot[b].st == FAILED && !slot[b].unknown -> open = 0; told[x] = E57P03; assert(prop[x] == GONE); goto abort }
		:: atomic { slot[b].st == FAILED && slot[b].unknown -> goto abort }
		:: atomic { slot[b].st == REFUSED -> open = 0; told[x] = E40001; goto abort }
		:: atomic { slot[b].st == GRANTED -> ticket = slot[b].ticket }
		fi;
		/* the ledger row, then the turnstile */
wait_turn:
		atomic { if :: turn == ticket -> goto my_turn :: turn != ticket && slot[b].demoted == slot[b].req -> goto abort :: else fi };
		if
		:: atomic { latch_b[b] -> latch_b[b] = 0; goto wait_turn }
		:: atomic { MAY_ERR -> faults--; goto abort }
		fi;
my_turn:
		if
		:: skip
		:: atomic { MAY_ERR -> faults--; goto abort }		/* an error behind the pre-commit callback, before the commit record */
		fi;
		atomic { i = R(ticket).index; local_commit(i, ticket); told[x] = OK; assert(ent[la] == x); i = 0 };
#ifdef BUG_UNLOCK_FIRST
		atomic { if :: row == b + 1 -> row = 0 :: else fi };
#endif
		/* commit_done(), the COMMIT callback */
		advance(ticket);
		slot[b].st = IDLE;
		atomic { if :: row == b + 1 -> row = 0 :: else fi; slot[b].committing = 0; goto next };
abort:
		/* commit_aborted(), the ABORT callback: locks are still held */
		if
		:: open ->
			atomic {
				if
				:: slot[b].st == SUBMITTED || slot[b].st == TAKEN -> slot[b].st = ABANDONED
				:: else
				fi
			};
			if
			:: slot[b].st == GRANTED ->
				ticket = slot[b].ticket;
				/* from here to the end of its life the place of the ticket in the ring is not given to another: only its owner lets it pass */
				atomic {
#ifndef BUG_NO_HANDOVER
					if :: R(ticket).owner == LOCAL -> R(ticket).owner = APPLIER :: else fi
#else
					skip
#endif
				};
#ifndef BUG_HANDOVER_NO_WAKE
				latch_applier = 1;
#endif
				slot[b].st = IDLE
			:: else
			fi;
			atomic { if :: told[x] == 0 -> told[x] = E40003 :: else fi }
		:: else
		fi;
		atomic { if :: row == b + 1 -> row = 0 :: else fi; slot[b].committing = 0; if :: told[x] == 0 -> told[x] = E40001 :: else fi };
		/* The process may end with it: the next one claims the slot (nodedb_my_slot()). */
		if
		:: n < NT -> atomic { slot[b].req++; slot[b].st = IDLE }
		:: skip
		fi;
		atomic { goto next }
	} unless { epoch != me };
	/* the server went down: the connection is lost, unless the answer had been given */
	atomic { if :: told[x] == 0 -> told[x] = LOST :: else fi; goto start };
fin:	skip
}

/* ---- applier: worker/applier.c ---- */

proctype applier() {
	byte me, first, i;
again:
	atomic { me = epoch; first = 0; i = 0; up++ };
	{
		up == NPROC;
loop:
		/* next_batch(): the first ticket of ours at or behind the turnstile (batches of one). tickets_end may be behind turn: a ticket is granted before
		 * tickets_end shows it. */
		atomic {
			first = turn;
			do
			:: first < tickets_end && R(first).owner != APPLIER -> first++
			:: else -> break
			od;
			if :: first >= tickets_end -> first = 0 :: else -> i = R(first).index fi
		};
		applier_ticket = first;
		if :: first == 0 -> goto sleep :: else fi;
		/* apply_ticket(): it may begin before its turn, and then waits for whoever has the row */
		if
		:: wants[ent[i]] ->
			atomic { if :: row == 0 -> row = BY_APPLIER; goto have :: else -> applier_waits = 1 fi };
			if
			:: atomic { row == 0 -> row = BY_APPLIER; applier_waits = 0 }
			:: atomic { MAY_ERR -> faults--; applier_waits = 0; goto undo }
			fi
		:: else
		fi;
have:
		/* wait_turn() */
look_at_turn:
		atomic {
			if
			:: turn == first -> goto commit
#ifndef BUG_NO_YIELD
			:: turn != first && R(turn).owner == APPLIER -> goto undo
#endif
			:: else
			fi
		};
		if
		:: atomic { latch_applier -> latch_applier = 0; goto look_at_turn }
		:: atomic { MAY_ERR -> faults--; goto undo }
		fi;
commit:
		atomic { local_commit(i, first) };
		advance(first);
		atomic { if :: row == BY_APPLIER -> row = 0 :: else fi; goto loop };
undo:
		/* AbortCurrentTransaction(), recover() */
		atomic { if :: row == BY_APPLIER -> row = 0 :: else fi; goto loop };
sleep:
		atomic { latch_applier -> latch_applier = 0; goto loop }
	} unless { epoch != me };
	goto again
}

/* ---- guard: worker/guard.c, kick() for whoever has the row that the applier waits for ---- */

/* It polls for ever; here it looks only when that can lead to something, so that a hang shows as nothing left to do. */
#ifndef BUG_ORPHAN_WAITS
#define ORPHAN (turn < applier_ticket && turn < tickets_end && R(turn).owner == APPLIER)	/* a ticket handed over: it comes before what the applier is at */
#else
#define ORPHAN false
#endif
#define DEMOTES(s) (slot[s].ticket > turn && (slot[s].ticket > applier_ticket || ORPHAN))
#define ACTS(s) ((slot[s].st == GRANTED && DEMOTES(s)) || \
	(slot[s].st != GRANTED && (!slot[s].committing || slot[s].st == SUBMITTED || slot[s].st == TAKEN)))

proctype guard() {
	byte me, s, r, st;
again:
	atomic { me = epoch; s = 0; r = 0; st = 0; up++ };
	{
		up == NPROC;
#ifdef BUG_NO_GUARD
		false;
#endif
look:
		/* free_applier(), then the slot's word as kick() reads it; what it does about it comes later. Looking again at what was told changes nothing. */
		atomic {
			applier_waits && row > 0 && row <= NB && !(slot[row - 1].doomed) && slot[row - 1].demoted != slot[row - 1].req && ACTS(row - 1) ->
			s = row - 1; r = slot[s].req; st = slot[s].st
		};
		if
		:: st == GRANTED ->
			atomic {
				if
				:: DEMOTES(s) -> slot[s].demoted = r; latch_b[s] = 1
				:: else
				fi
			}
		:: st != GRANTED ->
			/* under kick_lock */
			atomic {
				if
				:: slot[s].committing && (st == SUBMITTED || st == TAKEN) -> slot[s].demoted = r; latch_b[s] = 1
				:: !slot[s].committing && row == s + 1 -> slot[s].doomed = 1
				:: else
				fi
			}
		fi;
		atomic { s = 0; r = 0; st = 0; goto look }
	} unless { epoch != me };
	goto again
}

/* ---- a crash of the server: shared memory and the raft worker's are made anew; of the local commits a prefix survives ---- */

proctype chaos() {
	byte i;
#ifndef CRASH
	goto fin;
#endif
	do
	:: atomic { faults > 0 && up == NPROC ->
		faults--; epoch++; up = ended;
		do
		:: la > 0 -> commits[la] = 0; la--; do :: la > 0 && verdict[la] != COMMIT -> la-- :: else -> break od
		:: break
		od;
		i = 0; do :: i < NB -> slot[i].req = 0; slot[i].st = IDLE; slot[i].queued = 0; slot[i].ticket = 0; slot[i].demoted = 0;
			slot[i].doomed = 0; slot[i].committing = 0; slot[i].unknown = 0; latch_b[i] = 0; i++ :: else -> break od;
		i = 0; do :: i < NL -> pend_slot[i] = 0; pend_req[i] = 0;
			if :: prop[i] == HELD -> prop[i] = GONE :: else fi; if :: prop[i] != NONE -> old_life[i] = 1 :: else fi; i++ :: else -> break od;
		i = 0; do :: i < RING -> ring[i].owner = 0; ring[i].slot = 0; ring[i].index = 0; i++ :: else -> break od;
		do :: list?_ :: empty(list) -> break od;
		turn = 1; tickets_end = 1; last_ticket = 0; follow_index = 0; watermark = la; applier_ticket = 0; delivered = 0;
		latch_raft = 0; latch_applier = 0; row = 0; applier_waits = 0; i = 0 }
	:: faults == 0 -> break
	od;
fin:	skip
}

/* ---- when nothing can happen any more ---- */

proctype judge() {
	byte i;
	timeout -> atomic {
		assert(ended == NB);						/* every client has its answer: nobody waits for a turn that never comes */
		assert(delivered == nlog && turn == tickets_end);
		assert(watermark == nlog);
		assert(row == 0);
		i = 1; do :: i <= nlog -> assert(verdict[i] != COMMIT || commits[i] == 1); i++ :: else -> break od;	/* exactly one of backend and applier */
		i = 0; do :: i < NL ->
			assert(told[i] != 0);
			assert(told[i] != OK || fate[i] == COMMIT);
			assert(told[i] != E40001 || fate[i] != COMMIT);
			assert(told[i] != E57P03 || fate[i] == 0);
			i++ :: else -> break od;
		i = 0; do :: i < NB -> assert(slot[i].st != SUBMITTED && slot[i].st != TAKEN && !slot[i].queued); i++ :: else -> break od }
}

init {
	byte i;
	atomic {
		select(i : 0 .. F); faults = i;				/* a fault that is not used must not hide a hang */
		i = 0; do :: i < NX -> wants[i] = (WANTS >> i) & 1; i++ :: else -> break od;
		i = 0;
		run raft_worker(); run group(); run applier(); run guard(); run chaos(); run judge();
		do :: i < NB -> run backend(i); i++ :: else -> break od;
		i = 0
	}
}
