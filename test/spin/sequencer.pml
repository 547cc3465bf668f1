/*
 * sequencer.pml: how a transaction over several groups commits in all of them or in none: requests, epochs, markers, votes, outcomes, acknowledgements.
 *
 * Two nodes, each with a replica of every group; a sequencer log; transactions T0 (in all NG groups) and T1 (in groups 0 and 1); one entry of a single
 * group, S, in group 0. README.md says what stands for what, and what is left out. Macros that begin with BUG_ plant a bug each; run.sh shows
 * that each is found.
 *
 * A group's log is agreed as soon as an entry stands in it: what a lost leader takes with it was not in it, and a replica may lag behind by any
 * number of entries. The sequencer's log has a tail that is not committed, for its epochs; its state is what its committed entries make, the same for everybody.
 * Who looks at an old state of it acts later: facts are never taken back.
 *
 * F: faults in all, each of: a leader change (of the sequencer, of a group), a request or vote or acknowledgement lost or doubled, a stray marker, an abort
 * entry, a replica that replays its log from the start, with or without what its node had applied.
 * -DK10=1, -DK11=1: T1 does not meet T0 in group 0, 1. -DDEAD: the last group is silent for ever. -DLATE: T1 is a late copy of T0, behind its end. -DCANCEL: S is
 * a CANCEL of T0. -DNOS: no S. -DONE: no T1. -DATONCE: T0 and T1 run at the beginning.
 */
#ifndef NG
#define NG 2
#endif
#ifndef F
#define F 1
#endif
#ifndef K10
#define K10 0
#endif
#ifndef K11
#define K11 0
#endif
#define NT 2
#define NN 2
#define ML 14						/* entries of a group's log: more is an error */

#define M(tx,g) ((tx) * NG + (g))
#define Q(n,g) ((n) * NG + (g))
#define L(g,i) ((g) * ML + (i))
#ifdef ONE
#define EXISTS(tx) ((tx) == 0)
#else
#define EXISTS(tx) true
#endif
#define IN(tx,g) (EXISTS(tx) && ((tx) == 0 || (g) < 2))
#ifdef LATE
#define KEY(tx,g) 0
#define ID(tx) 0
#else
#define KEY(tx,g) ((tx) == 0 -> 0 : ((g) == 0 -> K10 : K11))
#define ID(tx) (tx)
#endif
#ifdef DEAD
#define ALIVE(g) ((g) != NG - 1)
#else
#define ALIVE(g) true
#endif

/* ---- the sequencer's log and the state that it makes ---- */
byte sq_epoch, sq_n;				/* last epoch, last position */
byte pos[NT], prevp[NT * NG], lastp[NG];	/* positions; the one before in the same group */
byte vote[NT * NG];					/* 1 yes, 2 no; the first one counts */
#define COMMIT 1
#define ABORT 2
byte ndec, dec[NT], out[NT], prevd[NT * NG], lastd[NG];	/* decisions are numbered as they fall; the one before in the same group */
byte ack[NG];						/* outcome entries up to this decision are committed */
bool fg[NT];						/* forgotten */
byte tl, te[2], tt[2];				/* tail: epochs that are not committed; number, content: 1 T0, 2 T1, 3 T0 T1, 4 T1 T0 */

/* ---- the sequencer's leader ---- */
bool inbox[NT];
byte nexte;							/* 0: its own term's no-op is not committed yet */

/* ---- messages ---- */
bool started[NT], sdone;
bool said[NT * NG];					/* only for BUG_VOTE_ONCE */

/* ---- the groups ---- */
#define MARKER 1
#define OUTCOME 2
#define SINGLE 3
byte ln[NG], ek[NG * ML], et[NG * ML];	/* kind, transaction */
byte ev[NG * ML];					/* of an outcome: COMMIT or ABORT */
byte lead[NG], np[NG], nd[NG];		/* leader's node; what it proposed in its term: last position, last decision */
byte base[NT * NG], rv[NT * NG];	/* of T: base; ghost: the version that it read */
byte sbase, srv;

/* ---- replicas: the certifier's state ---- */
byte cp[NN * NG], mp[NN * NG], ld[NN * NG];	/* certified; last position; last decision */
byte open[NN * NG], ids[NN * NG];	/* bits: open markers; ids that have a verdict or an open marker */
byte chg[NN * NG * 2];				/* by key: entry that changed it last */
#define C(q,k) chg[(q) * 2 + (k)]
bool tomb[NN * NG];					/* a CANCEL of T0 came first */

/* ---- nodes: what they applied ---- */
byte ap[NN * NG];
byte vv[NN * NG * 2];				/* by key: the version that a reader sees */

/* ---- ghosts ---- */
byte gvd[NG * ML];					/* verdict, by whoever reached it first: 1 effect, 2 none */
byte gvote[NT * NG];				/* vote of the first replica that certified the marker */
byte mi[NT * NG], oi[NT * NG];		/* where the marker and the outcome that count stand */
byte flt;
hidden byte i, k, tx, g, q, v, n, x, w, go;

inline verdict(i0) {
	assert(gvd[L(g,i0)] == 0 || gvd[L(g,i0)] == v);	/* the same everywhere, and again on replay */
	gvd[L(g,i0)] = v
}

/* does the key conflict with an open marker of another transaction? */
#ifdef BUG_KNOWN_OUTCOME
#define HOLDS(x) (((open[q] >> x) & 1) && KEY(x,g) == k && out[x] != ABORT)
#elif defined(BUG_NO_RESERVE)
#define HOLDS(x) false
#else
#define HOLDS(x) (((open[q] >> x) & 1) && KEY(x,g) == k)
#endif

#ifdef BUG_MARKER_TWICE
#define MARKER_NEXT true
#elif defined(BUG_MARKER_GAP)
#define MARKER_NEXT (mi[M(tx,g)] == 0 || mi[M(tx,g)] == i)
#else
#define MARKER_NEXT (prevp[M(tx,g)] == mp[q])
#endif
#ifdef BUG_OUTCOME_UNORDERED
#define OUTCOME_NEXT (((open[q] >> tx) & 1) || (vote[M(tx,g)] == 2 && ld[q] < dec[tx]))
#elif defined(BUG_OUTCOME_TWICE)
#define OUTCOME_NEXT (mp[q] >= pos[tx])
#else
#define OUTCOME_NEXT (prevd[M(tx,g)] == ld[q] && mp[q] >= pos[tx])
#endif
#ifdef BUG_LATE_COPY
#define SEEN(tx) false
#else
#define SEEN(tx) ((ids[q] >> ID(tx)) & 1)
#endif

inline certify_marker() {
	v = 2; verdict(i);
	if
	:: MARKER_NEXT ->
		mp[q] = pos[tx]; k = KEY(tx,g);
		if
		:: SEEN(tx) || (tx == 0 && tomb[q]) || C(q,k) > base[M(tx,g)] || HOLDS(0) || HOLDS(1) -> v = 2
		:: else -> v = 1; open[q] = open[q] | (1 << tx)
		fi;
		ids[q] = ids[q] | (1 << ID(tx));
		assert(mi[M(tx,g)] == 0 || mi[M(tx,g)] == i);	/* exactly once, at the same place everywhere */
		mi[M(tx,g)] = i;
		assert(gvote[M(tx,g)] == 0 || gvote[M(tx,g)] == v);
		gvote[M(tx,g)] = v
	:: else
	fi
}

inline certify_outcome() {
	if
	:: OUTCOME_NEXT ->
		ld[q] = dec[tx];
		assert(oi[M(tx,g)] == 0 || oi[M(tx,g)] == i);
		oi[M(tx,g)] = i;
		if
		:: ev[L(g,i)] == COMMIT ->
			assert((open[q] >> tx) & 1);				/* whoever commits has certified here */
			k = KEY(tx,g);
			assert(C(q,k) == rv[M(tx,g)]);			/* nobody changed what it read */
			C(q,k) = i; v = 1
		:: else -> v = 2
		fi;
		open[q] = open[q] & ~(1 << tx)
	:: else -> v = 2
	fi;
	verdict(i)
}

inline certify_single() {
	k = 0;
#ifdef CANCEL
	v = 2;
#ifdef BUG_CANCEL_FREES
	open[q] = open[q] & ~1;
#endif
	if :: ids[q] & 1 :: else -> tomb[q] = 1 fi;
#else
	if
	:: C(q,0) > sbase || HOLDS(0) || HOLDS(1) -> v = 2
	:: else -> assert(C(q,0) == srv); C(q,0) = i; v = 1
	fi;
#endif
	verdict(i)
}

/* what node n can apply: entries of each group in order; an outcome when all its parts are next */
#define NEXT(g) (ap[Q(n,g)] < cp[Q(n,g)] && gvd[L(g,ap[Q(n,g)]+1)] != 0)
#define ATHEAD(tx,g) (!IN(tx,g) || (NEXT(g) && oi[M(tx,g)] == ap[Q(n,g)] + 1))
#if NG == 2
#define ALLHEAD(tx) (ATHEAD(tx,0) && ATHEAD(tx,1))
#else
#define ALLHEAD(tx) (ATHEAD(tx,0) && ATHEAD(tx,1) && ATHEAD(tx,2))
#endif
inline advance() {
	do
	:: go = 0; w = 0;
		do
		:: w < NG ->
			if
			:: NEXT(w) ->
				x = ap[Q(n,w)] + 1;
				if
				:: gvd[L(w,x)] == 2 -> ap[Q(n,w)] = x; go = 1
				:: gvd[L(w,x)] == 1 && ek[L(w,x)] == SINGLE -> ap[Q(n,w)] = x; vv[Q(n,w) * 2] = x; go = 1
#ifdef BUG_APPLY_ALONE
				:: gvd[L(w,x)] == 1 && ek[L(w,x)] == OUTCOME -> tx = et[L(w,x)]; ap[Q(n,w)] = x; vv[Q(n,w) * 2 + KEY(tx,w)] = x; go = 1
#else
				:: gvd[L(w,x)] == 1 && ek[L(w,x)] == OUTCOME && ALLHEAD(et[L(w,x)]) ->
					tx = et[L(w,x)]; go = 1; x = 0;
					do
					:: x < NG && IN(tx,x) -> ap[Q(n,x)]++; vv[Q(n,x) * 2 + KEY(tx,x)] = ap[Q(n,x)]; x++
					:: x < NG && !IN(tx,x) -> x++
					:: else -> break
					od
#endif
				:: else
				fi
			:: else
			fi; w++
		:: else -> break
		od;
		if :: go :: else -> break fi
	od;
	/* all or nothing is visible */
	tx = 0;
	do
	:: tx < NT ->
		if
		:: out[tx] == COMMIT ->
			w = 0; go = 0; x = 0;
			do
			:: w < NG -> if :: IN(tx,w) && oi[M(tx,w)] > 0 && ap[Q(n,w)] >= oi[M(tx,w)] -> go++ :: else fi; if :: IN(tx,w) -> x++ :: else fi; w++
			:: else -> break
			od;
			assert(go == 0 || go == x)
		:: else
		fi; tx++
	:: else -> break
	od
}

inline certify(n0, g0) {
	n = n0; g = g0; q = Q(n,g);
	cp[q]++; i = cp[q]; tx = et[L(g,i)];
	if
	:: ek[L(g,i)] == MARKER -> certify_marker()
	:: ek[L(g,i)] == OUTCOME -> certify_outcome()
	:: else -> certify_single()
	fi;
	if
	:: lead[g] == n -> if :: np[g] < mp[q] -> np[g] = mp[q] :: else fi; if :: nd[g] < ld[q] -> nd[g] = ld[q] :: else fi
	:: else
	fi;
	advance()
}

inline put(g0, kind, t0, v0) {
	ln[g0]++; assert(ln[g0] < ML);
	ek[L(g0,ln[g0])] = kind; et[L(g0,ln[g0])] = t0; ev[L(g0,ln[g0])] = v0
}

/* a replica begins anew: its log from the start. lose: so do the tables of the node, which hold a prefix of its commits */
inline restart(n0, lose) {
	flt--; n = n0; g = 0;
	do
	:: g < NG ->
		q = Q(n,g);
#ifdef BUG_CHECKPOINT_FORGETS
		open[q] = 0;
#else
		cp[q] = 0; mp[q] = 0; ld[q] = 0; open[q] = 0; ids[q] = 0; C(q,0) = 0; C(q,1) = 0; tomb[q] = 0;
		if :: lose -> ap[q] = 0; vv[q * 2] = 0; vv[q * 2 + 1] = 0 :: else fi;
#endif
		g++
	:: else -> break
	od
}

inline lead_change(g0) {
	flt--; g = g0; lead[g] = 1 - lead[g]; q = Q(lead[g],g);
#ifdef BUG_LEADER_SKIPS
	np[g] = lastp[g];
#else
	np[g] = mp[q];
#endif
	nd[g] = ld[q]
}

inline decide(t0, how) {
	ndec++; dec[t0] = ndec; out[t0] = how; g = 0;
	do
	:: g < NG -> if :: IN(t0,g) -> prevd[M(t0,g)] = lastd[g]; lastd[g] = ndec :: else fi; g++
	:: else -> break
	od
}

inline take_vote(t0, g0) {
	if
	:: dec[t0] == 0 && vote[M(t0,g0)] == 0 ->
		vote[M(t0,g0)] = v;
		if
		:: vote[M(t0,g0)] == 2 -> decide(t0, ABORT)
#ifdef BUG_COMMIT_EARLY
		:: vote[M(t0,g0)] == 1 -> decide(t0, COMMIT)
#elif NG == 2
		:: vote[M(t0,0)] == 1 && vote[M(t0,1)] == 1 -> decide(t0, COMMIT)
#else
		:: vote[M(t0,0)] == 1 && vote[M(t0,1)] == 1 && (!IN(t0,2) || vote[M(t0,2)] == 1) -> decide(t0, COMMIT)
#endif
		:: else
		fi
	:: else
	fi
}

#define ACKED(tx,g) (!IN(tx,g) || ack[g] >= dec[tx])
#ifdef BUG_FORGET_EARLY
#define ALLACKED(tx) (ACKED(tx,0) || ACKED(tx,1))
#elif NG == 2
#define ALLACKED(tx) (ACKED(tx,0) && ACKED(tx,1))
#else
#define ALLACKED(tx) (ACKED(tx,0) && ACKED(tx,1) && ACKED(tx,2))
#endif
inline take_ack(g0) {
	ack[g0] = ld[Q(lead[g0],g0)];
	tx = 0;
	do
	:: tx < NT -> if :: dec[tx] > 0 && ALLACKED(tx) -> fg[tx] = 1 :: else fi; tx++
	:: else -> break
	od
}

/* an epoch is committed: its requests get positions */
inline order_one(t0) {
	if
#ifdef BUG_REQUEST_TWICE
	:: true ->
#else
	:: pos[t0] == 0 ->
#endif
		assert(pos[t0] == 0);						/* one place for each request */
		sq_n++; pos[t0] = sq_n; g = 0;
		do
		:: g < NG -> if :: IN(t0,g) -> prevp[M(t0,g)] = lastp[g]; lastp[g] = sq_n :: else fi; g++
		:: else -> break
		od
	:: else
	fi
}
inline commit_epoch() {
	v = tt[0];
	if
	:: te[0] == sq_epoch + 1 ->
		sq_epoch = te[0];
		if :: v == 1 || v == 3 -> order_one(0) :: else fi;
		if :: v >= 2 -> order_one(1) :: else fi;
		if :: v == 4 -> order_one(0) :: else fi
	:: else ->
#ifdef BUG_EPOCH_STALE
		assert(false)								/* without a look at the number, it would go back here */
#endif
	fi;
	te[0] = te[1]; tt[0] = tt[1]; te[1] = 0; tt[1] = 0; tl--
}
inline close_epoch(what) {
	te[tl] = nexte; tt[tl] = what; nexte++; tl++;
	if :: what != 2 -> inbox[0] = 0 :: else fi;
	if :: what != 1 -> inbox[1] = 0 :: else fi
}
#define INTAIL(tx) (tl > 0 && (tt[0] > 2 || tt[0] == (tx) + 1)) || (tl > 1 && (tt[1] > 2 || tt[1] == (tx) + 1))

/* a transaction runs on node n0, then asks */
inline begin(t0, n0) {
	n = n0; g = 0;
	do
	:: g < NG -> base[M(t0,g)] = ap[Q(n,g)]; rv[M(t0,g)] = vv[Q(n,g) * 2 + KEY(t0,g)]; g++
	:: else -> break
	od;
	started[t0] = 1; inbox[t0] = 1
}

#ifdef LATE
#define MAYSTART(tx) ((tx) == 0 || fg[0])
#define START(tx) \
	:: d_step { (tx) == 0 && !started[tx] -> begin(tx, 0); skip } \
	:: d_step { (tx) == 1 && !started[1] && fg[0] -> started[1] = 1; inbox[1] = 1; base[M(1,0)] = base[M(0,0)]; base[M(1,1)] = base[M(0,1)]; rv[M(1,0)] = rv[M(0,0)]; rv[M(1,1)] = rv[M(0,1)]; skip }
#else
#define START(tx) \
	:: d_step { EXISTS(tx) && !started[tx] -> begin(tx, tx); skip }
#endif
#ifdef BUG_REQUEST_LOST
#define ASKAGAIN(tx)
#else
#define ASKAGAIN(tx) :: d_step { started[tx] && pos[tx] == 0 && !inbox[tx] && !(INTAIL(tx)) -> inbox[tx] = 1; skip }
#endif
#define REQUEST(tx) START(tx) ASKAGAIN(tx) \
	:: d_step { started[tx] && pos[tx] > 0 && !fg[tx] && flt > 0 && tl < 2 && nexte > 0 -> flt--; te[tl] = nexte; tt[tl] = (tx) + 1; nexte++; tl++; skip }

#define SEQUENCER \
	:: d_step { nexte > 0 && tl < 2 && inbox[0] -> close_epoch(1); skip } \
	:: d_step { nexte > 0 && tl < 2 && inbox[1] -> close_epoch(2); skip } \
	:: d_step { nexte > 0 && tl < 2 && inbox[0] && inbox[1] -> close_epoch(3); skip } \
	:: d_step { nexte > 0 && tl < 2 && inbox[0] && inbox[1] -> close_epoch(4); skip } \
	:: d_step { tl > 0 -> commit_epoch(); skip } \
	NEWTERM(0) NEWTERM(1) NEWTERM(2)
/* a new leader: its log has the first of the tail's epochs, keep of them */
#ifdef BUG_EPOCH_STALE
#define SETTLE nexte = sq_epoch + 1
#define NOOP
#else
#define SETTLE nexte = 0
#define NOOP :: d_step { nexte == 0 && tl == 0 -> nexte = sq_epoch + 1; skip }
#endif
#define NEWTERM(keep) \
	:: d_step { flt > 0 && tl >= keep -> flt--; inbox[0] = 0; inbox[1] = 0; tl = keep; if :: tl < 2 -> te[1] = 0; tt[1] = 0 :: else fi; if :: tl < 1 -> te[0] = 0; tt[0] = 0 :: else fi; SETTLE; skip }

#ifdef BUG_ABORT_LATE
#define ABORTABLE(tx) (!fg[tx] && out[tx] == COMMIT)
#else
#define ABORTABLE(tx) (dec[tx] == 0)
#endif
#ifdef DEAD
#define TIMEOUT(tx) :: d_step { pos[tx] > 0 && ABORTABLE(tx) -> decide(tx, ABORT); skip }
#else
#define TIMEOUT(tx) :: d_step { pos[tx] > 0 && ABORTABLE(tx) && flt > 0 -> flt--; if :: dec[tx] == 0 -> decide(tx, ABORT) :: else -> out[tx] = ABORT fi; skip }
#endif

#define MARK(tx,g) \
	:: d_step { IN(tx,g) && ALIVE(g) && pos[tx] > 0 && !fg[tx] && prevp[M(tx,g)] == np[g] && np[g] < pos[tx] -> put(g, MARKER, tx, 0); np[g] = pos[tx]; skip } \
	:: d_step { IN(tx,g) && pos[tx] > 0 && !fg[tx] && flt > 0 -> flt--; put(g, MARKER, tx, 0); skip }
/* the vote is what the certifier's state says; it is sent until it stands in the sequencer's log, or needs no more */
#ifdef BUG_VOTE_ONCE
#define SAYS(tx,g) !said[M(tx,g)]
#define VOTE_LOST(tx,g) :: d_step { IN(tx,g) && pos[tx] > 0 && CERTIFIED(tx,g) && vote[M(tx,g)] == 0 && flt > 0 -> flt--; said[M(tx,g)] = 1; skip }
#else
#define SAYS(tx,g) true
#define VOTE_LOST(tx,g)
#endif
#ifdef BUG_VOTE_BEFORE_MARKER
#define CERTIFIED(tx,g) true
#define VOTEOF(tx,g) ((mp[Q(lead[g],g)] < pos[tx] || ((open[Q(lead[g],g)] >> tx) & 1)) -> 1 : 2)
#else
#define CERTIFIED(tx,g) (mp[Q(lead[g],g)] >= pos[tx])
#define VOTEOF(tx,g) (((open[Q(lead[g],g)] >> tx) & 1) -> 1 : 2)
#endif
#define VOTE(tx,g) VOTE_LOST(tx,g) \
	:: d_step { IN(tx,g) && ALIVE(g) && pos[tx] > 0 && dec[tx] == 0 && CERTIFIED(tx,g) && vote[M(tx,g)] == 0 && SAYS(tx,g) -> \
		v = VOTEOF(tx,g); take_vote(tx, g); skip }
#ifdef BUG_OUTCOME_UNORDERED
#define DECIDED_NEXT(tx,g) (oi[M(tx,g)] == 0 && !sent[M(tx,g)])
#define SENT(tx,g) sent[M(tx,g)] = 1
bool sent[NT * NG];
#else
#define DECIDED_NEXT(tx,g) (prevd[M(tx,g)] == nd[g] && nd[g] < dec[tx])
#define SENT(tx,g) nd[g] = dec[tx]
#endif
#define END(tx,g) \
	:: d_step { IN(tx,g) && ALIVE(g) && dec[tx] > 0 && !fg[tx] && DECIDED_NEXT(tx,g) && mp[Q(lead[g],g)] >= pos[tx] -> put(g, OUTCOME, tx, out[tx]); SENT(tx,g); skip }
#define ACK(g) :: d_step { ALIVE(g) && ld[Q(lead[g],g)] > ack[g] -> take_ack(g); skip }
#define GROUP(g) MARK(0,g) MARK(1,g) VOTE(0,g) VOTE(1,g) END(0,g) END(1,g) ACK(g) \
	:: d_step { flt > 0 -> lead_change(g); skip } \
	:: d_step { cp[Q(0,g)] < ln[g] -> certify(0, g); skip } \
	:: d_step { cp[Q(1,g)] < ln[g] -> certify(1, g); skip }
#define RESTART(n) \
	:: d_step { flt > 0 && cp[Q(n,0)] + cp[Q(n,1)] > 0 -> restart(n, false); skip } \
	:: d_step { flt > 0 && ap[Q(n,0)] + ap[Q(n,1)] > 0 -> restart(n, true); skip }
#ifdef NOS
#define SINGLES
#else
#define SINGLES \
	:: d_step { !sdone -> sdone = 1; sbase = ap[Q(0,0)]; srv = vv[Q(0,0) * 2]; put(0, SINGLE, 0, 0); skip } \
	:: d_step { !sdone -> sdone = 1; sbase = ap[Q(1,0)]; srv = vv[Q(1,0) * 2]; put(0, SINGLE, 0, 0); skip }
#endif

init {
#ifdef ATONCE
	d_step { begin(0, 0); begin(1, 1); skip };
#endif
	d_step { nexte = 1; i = 0; k = 0; tx = 0; g = 0; q = 0; v = 0; n = 0; x = 0; w = 0; go = 0 };
	atomic { select(v : 0 .. F); flt = v; v = 0 }
	do
	REQUEST(0) REQUEST(1) SEQUENCER NOOP TIMEOUT(0) TIMEOUT(1) GROUP(0) GROUP(1) RESTART(0) RESTART(1) SINGLES
#if NG == 3
	GROUP(2)
#endif
	:: else -> break
	od;
	/* nothing can happen any more: all is answered, decided, in the groups' logs, applied */
	atomic {
		tx = 0;
		do
		:: tx < NT && !EXISTS(tx) -> tx++
		:: tx < NT && EXISTS(tx) ->
			assert(started[tx] && pos[tx] > 0 && dec[tx] > 0);
			g = 0;
			do
			:: g < NG && IN(tx,g) && ALIVE(g) -> assert(mi[M(tx,g)] > 0 && oi[M(tx,g)] > mi[M(tx,g)]); g++
			:: g < NG && !(IN(tx,g) && ALIVE(g)) -> g++
			:: else -> break
			od;
#ifndef DEAD
			assert(fg[tx]);							/* nothing is kept for ever */
#endif
			tx++
		:: else -> break
		od;
		g = 0;
		do
		:: g < NG ->
			n = 0;
			do
			:: n < NN -> assert(cp[Q(n,g)] == ln[g] && ap[Q(n,g)] == ln[g]); assert(!ALIVE(g) || open[Q(n,g)] == 0); n++
			:: else -> break
			od; g++
		:: else -> break
		od;
#if !defined(DEAD) && !defined(ONE)
		/* they meet in the same order everywhere, and who commits does so in the same order everywhere */
		assert((mi[M(0,0)] < mi[M(1,0)]) == (mi[M(0,1)] < mi[M(1,1)]));
		assert((oi[M(0,0)] < oi[M(1,0)]) == (oi[M(0,1)] < oi[M(1,1)]));
		assert(gvd[L(0,oi[M(0,0)])] == gvd[L(1,oi[M(0,1)])] && gvd[L(0,oi[M(1,0)])] == gvd[L(1,oi[M(1,1)])]);
#if NG == 3
		assert(gvd[L(0,oi[M(0,0)])] == gvd[L(2,oi[M(0,2)])]);
#endif
#ifdef LATE
		assert(out[1] == ABORT);
#endif
#endif
	}
}
