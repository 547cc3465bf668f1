/*
 * handover.pml: how a committed entry finds the one process that commits it locally: backends, raft worker, applier, bulk applier and guard of one node.
 *
 * Behind each step stands the function whose step it is; what one atomic access or one critical section does in C is one step here.
 * README.md lists what is left out. Macros that begin with BUG_ plant a bug each; run.sh shows that each is found.
 *
 * Size: NB backends, NT transactions one after the other in each backend's slot, NR entries of other nodes, NG data groups (a transaction has parts in one or both), with -DBULK
 * a bulk applier that may replay the last of those entries ahead; F faults in all: an error at any step of a
 * backend (cancel, termination, no space), with or without the end of its process; an error in the applier's or bulk applier's transaction; a second copy of a
 * proposal in the log; a lost majority; with -DCRASH a crash of the server (SIGKILL of any process, failure of the raft worker), which may lose the newest local commits.
 */
#ifndef NB
#define NB 2
#endif
#ifndef NT
#define NT 1
#endif
#ifndef NR
#define NR 1
#endif
#ifndef NG
#define NG 1
#endif
#ifndef F
#define F 1
#endif
#ifndef WANTS
#define WANTS 6						/* bit x: transaction x needs the row */
#endif
#define NL (NB * NT)				/* transactions of this node: 0..NL-1, then those of others */
#define NX (NL + NR)
#define NLOG (NX + F)				/* entries of the log */
#ifndef RING
#define RING 4						/* TICKETS; with 2 places are used again */
#endif
#define BX (NX - 1)					/* with -DBULK: the large one */

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
typedef Ticket { byte owner; byte slot; byte index; bool bulk };	/* its parts: part[index] */
Ticket ring[RING];
byte turn = 1, tickets_end = 1;
bool wlock;							/* watermark_lock */
byte watermark[NG], last_ticket[NG], follow_index[NG];
byte applier_ticket, applier_committing;
bool latch_applier;

/* NodedbBulk: BulkState, ticket */
#define B_FREE 0
#define B_OPEN 1
#define B_TURN 2
#define B_DROPPED 3
#define B_FAILED 4
byte bulk, bulk_ticket;
bool latch_bulk;
bool bulk_doomed;					/* SIGINT: by the guard, by drop() */

/* raft worker's memory */
byte pend_slot[NL], pend_req[NL];	/* slot + 1; 0 = not pending */
byte delivered;						/* entries handed on by the driver */
bool gathered, begun;				/* Gathered: the large one's pieces; they were taken once in this life */

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
byte part[NLOG + 1];					/* bit g: the entry has effects in group g. All groups' entries have one numbering: the order of delivery */
byte bx_at;							/* where the large one is; 0: not yet */
bool foreign[NLOG + 1];				/* proposed before the last crash: no business of a backend (another incarnation) */
byte fate[NX];						/* verdict of the first copy */
byte old_life[NL];					/* begun before the last crash */

/* one row that some transactions change: its lock; 0 free, b + 1, NB + 1 the applier */
#define BY_APPLIER (NB + 1)
#define BY_BULK (NB + 2)
byte row;							/* it is of group 0 */
bool wants[NX];						/* needs the row */
bool applier_waits, bulk_waits;		/* in the lock's queue */

/* ghosts */
byte gi;							/* scratch of d_steps */
byte la;							/* index of the newest local commit */
byte commits[NLOG + 1];				/* local commits of each entry, since the last crash that took it back */
#define OK 1
#define E40001 2
#define E40003 3
#define E57P03 4
#define LOST 5						/* the connection broke */
byte row_commit;					/* index of the newest local commit that changed the row */
byte told[NL];
byte ended;							/* backends whose work is over */
byte faults, epoch, up;
#ifdef BULK
#define NPROC (NB + 4)
#else
#define NPROC (NB + 3)
#endif
#define HAS(i, g) ((part[i] >> (g)) & 1)

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

inline move_watermark(g, i) { if :: i > watermark[g] -> watermark[g] = i :: else fi }

/* Whoever has the lock sees the turnstile and all watermarks as of one moment. */
inline check_moment() {
#if NG > 1
	gi = 1;
	do
	:: gi <= nlog -> assert(part[gi] != 3 || verdict[gi] != COMMIT || (watermark[0] >= gi) == (watermark[1] >= gi)); gi++
	:: else -> break
	od;
	gi = 0
#else
	skip
#endif
}

/* The watermark promises nothing that is not visible. */
inline check_watermarks() {
	gi = 1;
	do
	:: gi <= nlog ->
		assert(!HAS(gi, 0) || gi > watermark[0] || verdict[gi] != COMMIT || commits[gi] == 1);
#if NG > 1
		assert(!HAS(gi, 1) || gi > watermark[1] || verdict[gi] != COMMIT || commits[gi] == 1);
#endif
		gi++
	:: else -> break
	od;
	gi = 0
}

inline passed_in(g, i) {
	if
	:: !HAS(i, g) -> skip
	:: HAS(i, g) && turn > last_ticket[g] -> move_watermark(g, i)
#ifndef BUG_WATERMARK_EARLY
	:: else -> follow_index[g] = i
#else
	:: else -> move_watermark(g, i)
#endif
	fi
}

/* nodedb_entry_passed() */
inline entry_passed(i) {
	d_step {
		!wlock -> check_moment();
		passed_in(0, i);
#if NG > 1
		passed_in(1, i);
#endif
		check_watermarks()
	}
}

inline part_done(g, first) {
	if
	:: HAS(gi, g) -> move_watermark(g, gi); if :: last_ticket[g] == first -> move_watermark(g, follow_index[g]) :: else fi
	:: else
	fi
}

/* nodedb_advance(first, 1): under the lock the watermarks, then the turnstile; then wake_turn() */
inline advance(first) {
#ifndef BUG_ADVANCE_UNLOCKED
	d_step { !wlock -> check_moment(); assert(turn == first); wlock = 1; gi = R(first).index; part_done(0, first); gi = 0 };
#else
	d_step { assert(turn == first); gi = R(first).index; part_done(0, first); gi = 0 };
#endif
#if NG > 1
	d_step { gi = R(first).index; part_done(1, first); gi = 0 };
#endif
	d_step { check_watermarks(); turn = first + 1; wlock = 0 };
#ifndef BUG_NO_WAKE
	atomic { wake_turn(first + 1) }
#endif
}

/*
 * The local transaction of entry i becomes visible (CommitTransaction, up to the COMMIT callback). Who comes for the row now does not wait any more: the transaction is no longer
 * in progress, though its locks are held till behind the callback.
 */
inline local_commit(i, t, who) {
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
		if :: wants[ent[i]] -> assert(row == who); row_commit = i; row = 0 :: else fi
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
	d_step {								/* under watermark_lock */
		!wlock -> check_moment();
		wt = tickets_end; wx = ent[i];
		if :: HAS(i, 0) -> last_ticket[0] = wt :: else fi;
#if NG > 1
		if :: HAS(i, 1) -> last_ticket[1] = wt :: else fi;
#endif
	};
	atomic {
		if
		:: wx < NL && !foreign[i] && pend_slot[wx] > 0 -> ws = pend_slot[wx]; wr = pend_req[wx]
		:: else -> ws = 0; wr = 0
		fi;
		R(wt).index = i;
		R(wt).bulk = 0;
#ifdef BULK
		if :: ent[i] == BX && gathered -> R(wt).bulk = 1; gathered = 0 :: else fi;		/* bulk_of() */
#endif
		R(wt).slot = (ws > 0 -> ws - 1 : 0);
#ifdef BUG_LATE_OWNER
		R(wt).owner = 0
#else
		R(wt).owner = (ws > 0 -> LOCAL : APPLIER)
#endif
	};
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

/* raft_worker_bulk.c: no ticket will name the bulk applier */
inline let_go() {
	gathered = 0;
	if
	:: bulk == B_OPEN -> bulk = B_DROPPED; bulk_doomed = 1; latch_bulk = 1
	:: bulk == B_FAILED -> bulk = B_FREE
	:: else
	fi
}

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
#ifdef BULK
		/* take_piece(): chunks come before their TXN; open_bulk() */
		:: atomic { !gathered && !begun && bulk == B_FREE && (bx_at == 0 || (bx_at > delivered && bx_at > la)) ->
			gathered = 1; begun = 1; bulk = B_OPEN; bulk_doomed = 0; latch_bulk = 1 }
		:: atomic { gathered && MAY_FAIL -> faults--; let_go() }		/* its pieces are not in order, or too many */
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
#ifdef BULK
				atomic { if :: ent[wi] == BX && gathered -> let_go() :: else fi };		/* bulk_delivered() */
#endif
				entry_passed(wi)
			fi;
			atomic { delivered = wi; wi = 0 }
		od
	} unless { epoch != me };
	goto again
}

/* ---- the other nodes: any order, any verdict, a second copy of a proposal that was sent again ---- */

#ifdef BULK
#define MAY_ABORT(x) (x < NL || x == BX)
#else
#define MAY_ABORT(x) (x < NL)
#endif

inline append(x) {
	nlog++; ent[nlog] = x; part[nlog] = 1;
#if NG > 1
	if
	:: skip
	:: part[nlog] = 3
	:: !wants[x] -> part[nlog] = 2
	fi;
#endif
	if :: x == BX -> bx_at = nlog :: else fi;
	if
	:: x < NL -> foreign[nlog] = old_life[x]; assert(prop[x] == SENT && told[x] != E57P03)
	:: else
	fi;
	if
	:: fate[x] != 0 -> verdict[nlog] = DUPLICATE
	:: fate[x] == 0 -> verdict[nlog] = COMMIT; fate[x] = COMMIT
#ifndef IN_ORDER
	:: fate[x] == 0 && MAY_ABORT(x) -> verdict[nlog] = ABORT; fate[x] = ABORT
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
	:: atomic { fate[NL] == 0 && nlog < NLOG && ORDERED(NL) -> append(NL) }
#if NR > 1
	:: atomic { fate[NL] != 0 && fate[NL + 1] == 0 && nlog < NLOG && ORDERED(NL + 1) -> append(NL + 1) }	/* NR is 2 at most */
#endif
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
	byte me, x, n, ticket, i, t;
	bool open, fatal;
start:
	atomic { me = epoch; up++ };
next:
	atomic {
		if
		:: n == NT -> ended++; if :: me != epoch -> up++ :: else fi; b = 0; x = 0; n = 0; me = 0; t = 0; goto fin
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
		/* commit_base(): what it saw it covers, though the row may be of a transaction that has not advanced the turnstile yet */
		atomic { t = turn };
#ifndef BUG_BASE_EARLY
		if
		:: atomic { t < tickets_end && (R(t).owner == LOCAL || applier_committing == t) };
			/* wait_turn_passed(), which polls */
			atomic { turn > t || (applier_committing != t && (R(t).owner != LOCAL || slot[R(t).slot].st != GRANTED)) }
		:: atomic { t >= tickets_end || (R(t).owner != LOCAL && applier_committing != t) }
		fi;
#endif
		d_step { !wlock -> t = 0; check_moment(); assert(!wants[x] || watermark[0] >= row_commit) };	/* nodedb_watermark_exact() */
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
		atomic { i = R(ticket).index; local_commit(i, ticket, b + 1); told[x] = OK; assert(ent[la] == x); i = 0 };
		/* commit_done(), the COMMIT callback */
		advance(ticket);
		slot[b].st = IDLE;
		atomic { slot[b].committing = 0; goto next };
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
#ifdef BULK
		if :: R(first).bulk -> goto by_bulk :: else fi;
#endif
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
		applier_committing = first;
		local_commit(i, first, BY_APPLIER);
		advance(first);
		atomic { applier_committing = 0; goto loop };
undo:
		/* AbortCurrentTransaction(), recover() */
		atomic { if :: row == BY_APPLIER -> row = 0 :: else fi; goto loop };
#ifdef BULK
		/* apply_by_bulk() */
by_bulk:
		atomic {
			if
			:: turn == first -> goto give
			:: turn != first && R(turn).owner == APPLIER -> goto loop
			:: else
			fi
		};
		atomic { latch_applier -> latch_applier = 0; goto by_bulk };
give:
		bulk_ticket = first;
		atomic { if :: bulk == B_OPEN -> bulk = B_TURN :: else fi };
		latch_bulk = 1;
#ifdef BUG_BULK_IMPATIENT
		atomic { R(first).bulk = 0; goto loop };
#endif
bulk_works:
		atomic { if :: bulk != B_TURN -> goto bulk_over :: else fi };
		atomic { latch_applier -> latch_applier = 0; goto bulk_works };
bulk_over:
		atomic { if :: turn != first -> goto loop :: else fi };
		R(first).bulk = 0;
		atomic { assert(bulk == B_FAILED); bulk = B_FREE; goto loop };
#endif
sleep:
		atomic { latch_applier -> latch_applier = 0; goto loop }
	} unless { epoch != me };
	goto again
}

/* ---- bulk applier: worker/bulk.c ---- */

#ifdef BULK
proctype bulk_applier() {
	byte me, i;
again:
	atomic { me = epoch; i = 0; up++ };
	{
		up == NPROC;
loop:
		atomic {
			if
			:: bulk == B_OPEN || bulk == B_TURN
			:: bulk == B_DROPPED -> goto undo
			:: else -> goto sleep
			fi
		};
		/* replay(): the row, before its turn or at it; a cancel finds it while it waits */
		if
		:: wants[BX] ->
			atomic { if :: row == 0 -> row = BY_BULK; goto have :: else -> bulk_waits = 1 fi };
			if
			:: atomic { row == 0 -> row = BY_BULK; bulk_waits = 0 }
			:: atomic { bulk_doomed -> bulk_waits = 0; goto undo }
			:: atomic { MAY_ERR -> faults--; bulk_waits = 0; goto undo }
			fi
		:: else
		fi;
have:
		/* replay_pieces(): look(), nap() */
		atomic {
			if
			:: bulk == B_TURN -> goto commit
			:: bulk == B_DROPPED || bulk_doomed -> goto undo
			:: else
			fi
		};
		if
		:: atomic { latch_bulk -> latch_bulk = 0; goto have }
		:: atomic { bulk_doomed -> goto undo }
		:: atomic { MAY_ERR -> faults--; goto undo }
		fi;
commit:
		if
		:: skip
		:: atomic { MAY_ERR -> faults--; goto undo }
		:: atomic { bulk_doomed -> goto undo }
		fi;
#ifndef BUG_BULK_UNTOLD
		applier_committing = bulk_ticket;
#endif
		atomic { i = R(bulk_ticket).index; local_commit(i, bulk_ticket, BY_BULK); i = 0 };
		advance(bulk_ticket);
		atomic { if :: applier_committing == bulk_ticket -> applier_committing = 0 :: else fi };
		/* leave() */
		bulk = B_FREE;
#ifndef BUG_BULK_NO_WAKE
		latch_applier = 1;
#endif
		goto loop;
undo:
		/* AbortCurrentTransaction(), then leave() */
		atomic { if :: row == BY_BULK -> row = 0 :: else fi };
		atomic {
			bulk_doomed = 0;
			if
			:: bulk == B_DROPPED -> bulk = B_FREE
			:: bulk == B_OPEN || bulk == B_TURN -> bulk = B_FAILED
			:: else
			fi
		};
#ifndef BUG_BULK_NO_WAKE
		latch_applier = 1;
#endif
		goto loop;
sleep:
		atomic { latch_bulk -> latch_bulk = 0; goto loop }
	} unless { epoch != me };
	goto again
}
#endif

/* ---- guard: worker/guard.c, kick() for whoever has the row that the applier, or the bulk applier that has its turn, waits for ---- */

#ifndef BUG_BULK_UNGUARDED
#define IN_THE_WAY (applier_waits || (bulk_waits && bulk == B_TURN))
#else
#define IN_THE_WAY applier_waits
#endif

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
		if
		:: atomic { applier_waits && row == BY_BULK && !bulk_doomed -> bulk_doomed = 1; goto look }
		:: atomic {
			IN_THE_WAY && row > 0 && row <= NB && !(slot[row - 1].doomed) && slot[row - 1].demoted != slot[row - 1].req && ACTS(row - 1) ->
			s = row - 1; r = slot[s].req; st = slot[s].st
		}
		fi;
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
		i = 0; do :: i < RING -> ring[i].owner = 0; ring[i].slot = 0; ring[i].index = 0; ring[i].bulk = 0; i++ :: else -> break od;
		do :: list?_ :: empty(list) -> break od;
		turn = 1; tickets_end = 1; wlock = 0; applier_ticket = 0; applier_committing = 0; delivered = 0;
		i = 0; do :: i < NG -> last_ticket[i] = 0; follow_index[i] = 0; watermark[i] = la; i++ :: else -> break od;
		bulk = B_FREE; bulk_ticket = 0; latch_bulk = 0; bulk_doomed = 0; bulk_waits = 0; gathered = 0; begun = 0;
		if :: row_commit > la -> row_commit = la :: else fi;
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
		i = 1; do :: i <= nlog ->
			assert(!HAS(i, 0) || watermark[0] >= i);
#if NG > 1
			assert(!HAS(i, 1) || watermark[1] >= i);
#endif
			i++ :: else -> break od;
		assert(row == 0 && bulk == B_FREE && !gathered && applier_committing == 0);
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
#ifdef BULK
		run bulk_applier();
#endif

		do :: i < NB -> run backend(i); i++ :: else -> break od;
		i = 0
	}
}
