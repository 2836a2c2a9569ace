/*
 * The relay: take-over, sessions, and both modes of delivery. doc.go says what is proved, and with which names for -D.
 *
 * Between any two steps a relay may be killed (the term is given up and the process starts again), may have a doubt
 * (the session ends, the next one begins in the same term), or may stand still (it is not scheduled). The lease has no
 * clock here: anybody may take it at any moment, so nothing below rests on its ttl.
 */
#include "servers.pml"

inline trouble() {
	if
	:: true
	:: goto start                 /* killed, and started again */
	:: goto begin                 /* a doubt */
	fi
}

inline answered() {
	if
	:: answer == WRITTEN
	:: answer == REFUSED -> answer = 0; goto start
	:: answer == DOUBT -> answer = 0; goto begin
	fi;
	answer = 0
}

inline takeLease() {
	if
	:: terms < TERMS && producer < SESSIONS && (_pid == 2 || terms > 0) -> write(); terms++; epoch++; e = epoch; holder = _pid
	:: else -> goto gone
	fi
}

#if defined(NO_RECHECK)
#define OURS true
#elif defined(NO_HOLDER)
#define OURS (epoch == e)
#else
#define OURS (epoch == e && holder == _pid)      /* a promotion can lose a term; then its number is given again */
#endif

/* The lease is checked again and the row is read, in one statement that also makes the session the only writer. */
inline readRow() {
	if
	:: g != NOW -> goto begin
	:: g == NOW && !OURS -> goto start
	:: g == NOW && OURS ->
		write(); session++; s = session; from = cursor
	fi
}

/* Everything is settled: nothing to do until the connections end. */
inline rest() {
	if
	:: g == NOW && !fenced(e, s) ->
		delivered = true;
		if
		:: cursor != ROWS || candBatch != 0 -> never(notAllSettled)
		:: else
		fi
	:: else
	fi
}

byte terms;

#ifdef AT_LEAST_ONCE

proctype Relay() {
	byte e, s; bool g;            /* our epoch and session; the timeline our connections reach */
	byte from, sent;              /* settled; acked by Kafka */
	byte known; bool knownIn;     /* acked in the last session of this term; in which timeline */
	byte answer;

start:	atomic { known = 0; knownIn = false; s = 0; g = false; from = 0; sent = 0; e = 0; takeLease() }
begin:	atomic {
		known = (sent > 0 -> sent : known); knownIn = (sent > 0 -> g : knownIn);
		s = 0; from = 0; sent = 0; g = NOW;
		if
		:: producer < SESSIONS -> producer++
		:: else -> goto gone
		fi }
	atomic {
		readRow();
#ifdef POSITION_ACROSS_RECONNECT
		from = (known > from -> known : from);
#endif
		sent = (known > from && knownIn == g -> known : from) }
	do
	:: from == ROWS -> break
	:: atomic { sent < ROWS -> appear(sent + 1, g);
		if
		:: sent++
		:: goto begin                              /* the ack was lost */
		fi }
	:: atomic { sent < ROWS && lateRecord == 0 -> lateRecord = sent + 1; lateTimeline = g; goto begin }
#ifdef SETTLE_BEFORE_ACK
	:: atomic { sent < ROWS -> ask(sent + 1, 0, 0, 0); answered(); sent++; from = sent }
#endif
	:: atomic { sent > from -> ask(sent, 0, 0, 0); answered(); from = sent }
	:: goto start
	:: goto begin
	od;
	atomic { rest() }
end_idle:
	atomic { g != NOW -> goto begin }
gone:	skip
}

#else

/* The order in a transaction: begin record, events, progress record when all events are acked, commit. */
#if defined(NO_BEGIN)
#define MAY_SEND true
#define MAY_NOTE (sent == to)
#elif defined(PROGRESS_FIRST)
#define MAY_SEND noted
#define MAY_NOTE begun
#elif defined(PROGRESS_BEFORE_ACKS)
#define MAY_SEND begun
#define MAY_NOTE (begun && sent + 1 >= to)
#else
#define MAY_SEND begun
#define MAY_NOTE (begun && sent == to)
#endif
#ifdef COMMIT_BEFORE_PREPARE
#define MAY_COMMIT true
#else
#define MAY_COMMIT prepared
#endif

inline forget() {
	s = 0; g = false; p = 0; added = 0; from = 0; to = 0; sent = 0; number = 0; newest = 0; due = 0;
	prepared = false; begun = false; noted = false; cand = 0; after = 0; answer = 0
}

proctype Relay() {
	byte e, s; bool g;            /* our epoch and session; the timeline our connections reach */
	byte p;                       /* our producer's epoch */
	byte added;                   /* the partitions that it believes in the transaction */
	byte from, to, sent;          /* the batch is from+1..to; events up to sent were acked */
	byte number, newest;          /* our newest number; the newest that is committed */
	byte due;                     /* events up to it are committed and not settled; 0: all are settled */
	bool prepared, begun, noted;  /* of the batch: candidate, begin record, progress record are written */
	byte cand, after;             /* the candidate that the row had */
	byte answer;

start:	atomic { forget(); e = 0; takeLease() }
begin:	atomic {
		forget();
		if
		:: producer < SESSIONS -> g = NOW
		:: else -> goto gone
		fi;
#ifndef READ_BEFORE_FENCE
		fence(); p = producer
#endif
	}
	trouble();
	atomic { readRow(); number = batch; to = candCursor; cand = candBatch; after = candAfter }
	atomic {
		newest = committed;
#ifdef PROGRESS_NOT_TO_END
		if
		:: true
		:: newest = committedBefore
		fi;
#endif
		number = (newest > number -> newest : number) }
#ifdef READ_BEFORE_FENCE
	atomic { producer < SESSIONS -> fence(); p = producer }
#endif
	atomic {
		if
		:: cand == 0
		:: cand != 0 && cand == newest -> ask(to, 0, 0, 0); answered(); from = to
		:: cand != 0 && after == newest                 /* it was not committed */
		:: cand != 0 && newest < after -> never(progressMissing)
#ifdef APPLY_WHEN_NEWER
		:: cand != 0 && newest > cand -> ask(to, 0, 0, 0); answered(); from = to
#else
		:: cand != 0 && cand != newest && newest > after    /* PostgreSQL lost commits: said loudly */
#endif
		fi;
		cand = 0; after = 0; to = 0 }
work:
	if
	:: from < ROWS && number < NUMBERS
	:: from < ROWS && number >= NUMBERS -> goto gone     /* only variants get there: it bounds them */
	:: atomic { due != 0 -> ask(due, 0, 0, 0); answered(); due = 0; goto work }       /* nothing to send just now */
	:: from == ROWS && due == 0 -> goto idle
	fi;
	atomic {
		number++; sent = from; to = from + 1;
		do
		:: to < ROWS -> to++
		:: break
		od }
	do
	:: atomic { !prepared ->
		ask(due, number, newest, to); answered(); prepared = true; due = 0 }
#ifndef NO_BEGIN
	:: atomic { !begun -> produce(PROGRESS);
		if
		:: answer == WRITTEN -> begun = true; answer = 0
		:: else -> answer = 0; goto abort
		fi }
#endif
	:: atomic { MAY_SEND && sent < to -> produce(DATA(sent + 1));
		if
		:: answer == WRITTEN -> sent++; holdEvent(sent); answer = 0
		:: else -> answer = 0; goto abort
		fi }
	:: atomic { MAY_NOTE && !noted -> produce(PROGRESS);
		if
		:: answer == WRITTEN -> noted = true; progress = number; answer = 0
		:: else -> answer = 0; goto abort
		fi }
	:: MAY_COMMIT && noted && sent == to -> break
	:: goto abort                                           /* an event was not acked in time */
	:: goto start
	:: goto begin
	od;

	/* EndTxn(commit). A doubt: it, or a copy of it, may be on its way still. */
	atomic {
		if
		:: p == producer && open -> endTransaction(true); answer = WRITTEN
#ifndef NO_LATE_END
		:: p == producer && open && lateEnd == 0 -> endTransaction(true); lateEnd = COMMIT; answer = DOUBT
		:: p == producer && open && lateEnd == 0 -> lateEnd = COMMIT; goto begin
#endif
		:: p == producer && !open && endedWell -> answer = WRITTEN      /* Kafka answers: it is committed already */
		:: p == producer && !open && !endedWell -> goto begin
		:: p != producer -> goto begin
		fi;
		from = to; newest = number; due = to; to = 0; sent = 0; added = 0;
		prepared = false; begun = false; noted = false;
		if
		:: answer == WRITTEN -> answer = 0; goto work
		:: answer == DOUBT -> answer = 0
#ifdef UNNOTICED
		:: answer == DOUBT -> answer = 0; mayCopy = true; goto work
#endif
		fi }
#ifdef REUSE_AFTER_DOUBT
	goto work;
#endif
	if                                                      /* the session ends, and settles what it knows */
	:: atomic { ask(due, 0, 0, 0); answered(); goto begin }
	:: goto begin
	fi;
abort:
	atomic {
		if
		:: p == producer && open -> endTransaction(false);
			if
			:: true
#ifndef NO_LATE_END
			:: lateEnd == 0 -> lateEnd = ABORT
#endif
			fi
		:: p == producer && !open
		:: p != producer -> goto begin
		fi;
		to = 0; sent = 0; added = 0; prepared = false; begun = false; noted = false }
#ifdef REUSE_AFTER_ABORT
	goto work;
#endif
	goto begin;
idle:
	atomic { rest() }
end_idle:
	atomic { g != NOW -> goto begin }
gone:	atomic { forget(); e = 0 }
}

#endif

init {
	atomic {
#ifdef AT_LEAST_ONCE
		mayCopy = true;
#endif
		run World(); run Relay(); run Relay() }
	timeout;
#ifndef AT_LEAST_ONCE
	if
	:: delivered && stale != 0 -> never(staleTail)
	:: else
	fi;
#endif
	/* Ends that a search has to reach, or it proves nothing. */
#ifdef REACHES_BOTH_TERMS
	assert(!(delivered && terms == TERMS && producer == SESSIONS))
#endif
#ifdef REACHES_TWO_BATCHES
	assert(!(delivered && committed == 2))
#endif
#ifdef REACHES_COSTLY_PROMOTION
	assert(!(delivered && standby == PROMOTED && mayCopy))
#endif
#ifdef REACHES_NEWER_PROGRESS
	assert(!(standby == PROMOTED && committed > batch))
#endif
#ifdef REACHES_OLDER_COPY
	assert(!(delivered && stale != 0))
#endif
}
