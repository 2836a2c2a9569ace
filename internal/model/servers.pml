/*
 * What the relay works with: PostgreSQL's row and its standby, Kafka's transaction coordinator, the network, and what
 * readers see. The relay itself is in relay.pml. Bounds: see doc.go.
 */
#ifndef ROWS
#define ROWS 3                    /* events in the outbox, in their order */
#endif
#ifndef TERMS
#define TERMS 3                   /* how often the lease is taken, in all */
#endif
#ifndef SESSIONS
#define SESSIONS 4                /* how often a producer is made, in all */
#endif

#ifndef NUMBERS
#define NUMBERS (ROWS + SESSIONS)  /* of batches: bounds variants that go on for ever; the protocol stays below it */
#endif
#ifndef LOSES
#define LOSES 2                   /* how many writes to the row a promotion loses at most */
#endif

#define bit(n)   (1 << ((n) - 1))
#define upto(n)  ((1 << (n)) - 1)

/* --- what must never be ------------------------------------------------------------------------------------------- */

byte seen;                        /* bit n: event n was read by a consumer */
byte stale;                       /* bit n: the last copy of event n came before the last copy of n-1 */
bool mayCopy;                     /* something has happened after which copies are allowed */
bool delivered;                   /* a leader has settled everything, and nothing was lost since */
bool eventLost, eventCopied, eventOvertaken, cursorWentBack, staleTail, notAllSettled, progressMissing;
byte i;

#define never(what) what = true; assert(!what)

/* --- PostgreSQL: one row of outbox.relays, and a standby that may be promoted ------------------------------------- */

byte epoch, holder, session;      /* the term; who leads in it; which of its sessions may write */
byte cursor;                      /* events 1..cursor are settled */
byte batch;                       /* the newest number that was prepared */
byte candBatch, candAfter, candCursor;    /* the candidate; candBatch 0: none */

#define FOLLOWS  0                /* the standby has all that the primary has */
#define LAGS     1                /* it has what is kept below, and lags by `unreceived` writes; at LOSES it catches up */
#define PROMOTED 2                /* it is the primary now. What it had not received is gone */
byte standby, unreceived;
byte keptEpoch, keptHolder, keptSession, keptCursor, keptBatch, keptCandBatch, keptCandAfter, keptCandCursor;
byte keptEvents;                  /* events above it are lost too; other events take their places */

/* A statement whose session has given up waiting, and that may still run: PostgreSQL was frozen, or waits for its
   synchronous standby. */
bool late;
byte lateEpoch, lateSession, lateMark, lateBatch, lateAfter, lateCursor;

/* The connections to the old primary end when the standby is promoted. */
#define NOW (standby == PROMOTED)

#if defined(SETTLE_WITHOUT_EPOCH)
#define fenced(e, s) false
#elif defined(EPOCH_ONLY)
#define fenced(e, s) (e != epoch)
#else
#define fenced(e, s) (e != epoch || s != session)
#endif

inline moveCursor(mark) {
	if
	:: mark < cursor -> never(cursorWentBack)
	:: else
	fi;
	cursor = mark;
	if
	:: (seen & upto(mark)) != upto(mark) -> never(eventLost)
	:: else
	fi
}

inline stopReceiving() {
	standby = LAGS;
	keptEpoch = epoch; keptHolder = holder; keptSession = session; keptCursor = cursor; keptBatch = batch;
	keptCandBatch = candBatch; keptCandAfter = candAfter; keptCandCursor = candCursor
}

inline forgetKept() {
	keptEpoch = 0; keptHolder = 0; keptSession = 0; keptCursor = 0; keptBatch = 0;
	keptCandBatch = 0; keptCandAfter = 0; keptCandCursor = 0
}

/* The standby stops receiving before a write that it does not get; when in between makes no difference. */
inline write() {
#ifndef NO_STANDBY
	if
	:: true
	:: standby == FOLLOWS -> stopReceiving()
	fi;
	if
	:: standby == LAGS && unreceived < LOSES -> unreceived++
	:: standby == LAGS && unreceived == LOSES -> standby = FOLLOWS; unreceived = 0; forgetKept()
	:: else
	fi
#else
	skip
#endif
}

/* One statement: settles events up to `mark` (0: leaves the cursor), and enters a candidate (n 0: none). */
inline execute(mark, n, a, c) {
	write();
	if
	:: mark != 0 -> moveCursor(mark)
	:: else
	fi;
	if
	:: n != 0 -> batch = n
	:: else
	fi;
	candBatch = n; candAfter = a; candCursor = c
}

#define WRITTEN 1
#define REFUSED 2
#define DOUBT   3

/* The same, asked for by session (e, s) over connections to timeline g. In doubt it was executed, or it was not, or
   it will be. */
inline ask(mark, n, a, c) {
	if
	:: g != NOW -> answer = DOUBT
	:: g == NOW && fenced(e, s) -> answer = REFUSED
	:: g == NOW && !fenced(e, s) ->
		execute(mark, n, a, c);
		if
		:: answer = WRITTEN
		:: answer = DOUBT
		fi
#ifndef NO_LATE_STATEMENT
	:: g == NOW && !late ->
		late = true; lateEpoch = e; lateSession = s;
		lateMark = mark; lateBatch = n; lateAfter = a; lateCursor = c;
		answer = DOUBT
#endif
	fi
}

inline forgetLate() {
	late = false; lateEpoch = 0; lateSession = 0;
	lateMark = 0; lateBatch = 0; lateAfter = 0; lateCursor = 0
}

inline promote() {
	standby = PROMOTED; unreceived = 0;
	/* Row and events are in one WAL: it has the events that the row speaks of, and perhaps more. */
	keptEvents = keptCursor;
	if
	:: keptCandCursor > keptCursor -> keptEvents = keptCandCursor
	:: else
	fi;
	do
	:: keptEvents < ROWS -> keptEvents++
	:: break
	od;
	if
	:: keptCursor != cursor || keptBatch != batch || keptCandBatch != candBatch -> mayCopy = true
	:: else
	fi;
	epoch = keptEpoch; holder = keptHolder; session = keptSession; cursor = keptCursor; batch = keptBatch;
	candBatch = keptCandBatch; candAfter = keptCandAfter; candCursor = keptCandCursor;
	forgetKept();
	seen = seen & upto(keptEvents); stale = stale & upto(keptEvents); delivered = false;
	forgetLate()
}

/* --- Kafka: the coordinator of our transactional.id, and read_committed readers ----------------------------------- */

byte producer;                    /* the producer epoch that may write */
bool open, endedWell;             /* a transaction is open; the last one was committed by a late EndTxn */
byte parts;                       /* the partitions in it */
byte first, last;                 /* its events: first..last; 0 for none */
byte progress;                    /* its progress record; 0 for none */
bool timeline;                    /* of PostgreSQL when its events were read */
byte committed, committedBefore;  /* the newest committed progress record; the one before */

#define DATA(n)  (1 << ((n) & 1)) /* events lie on two partitions, 1 and 2 */
#define PROGRESS 4                /* the progress topic's */

byte lateEnd;                     /* a copy of an EndTxn of this producer epoch on its way: 0 none, 1 abort, 2 commit */
#define ABORT  1
#define COMMIT 2

/* at_least_once: a record that its session has given up, on its way. */
byte lateRecord; bool lateTimeline;

/* A reader gets event n, read from PostgreSQL in timeline t. */
inline appear(n, t) {
	if
	:: t != NOW && n > keptEvents             /* a phantom: PostgreSQL has lost it */
	:: else ->
		if
		:: n > 1 && !(seen & bit(n - 1)) -> never(eventOvertaken)
		:: else
		fi;
		if
		:: (seen & bit(n)) && !mayCopy -> never(eventCopied)
		:: else
		fi;
		seen = seen | bit(n);
		stale = stale & ~bit(n);
		if
		:: n < ROWS && (seen & bit(n + 1)) -> stale = stale | bit(n + 1)
		:: else
		fi
	fi
}

inline endTransaction(commits) {
	if
	:: commits ->
		i = first;
		do
		:: i != 0 && i <= last -> appear(i, timeline); i++
		:: else -> break
		od;
		i = 0;
		if
		:: progress != 0 ->
#ifdef PROGRESS_NOT_TO_END
			committedBefore = committed;
#endif
			committed = progress
		:: else
		fi
	:: else
	fi;
	open = false; endedWell = false; parts = 0; first = 0; last = 0; progress = 0; timeline = false
}

/* InitTransactions: no older producer writes any more, its transaction is aborted, its late EndTxn will be refused. */
inline fence() { producer++; lateEnd = 0; endTransaction(false) }

/* A record of producer p into partition `part`. It opens the transaction when the producer believes the partition new
   in it, and is refused when the producer believes it in and the transaction is gone. */
inline produce(part) {
	if
	:: p != producer -> answer = REFUSED
	:: else ->
		if
		:: !(added & part) -> added = added | part; parts = parts | part; open = true; timeline = g
		:: else
		fi;
		if
		:: open && (parts & part) -> answer = WRITTEN
		:: else -> answer = REFUSED
		fi
	fi
}

inline holdEvent(n) {
	if
	:: first == 0 -> first = n
	:: else
	fi;
	last = n
}

/* --- what happens by itself ---------------------------------------------------------------------------------------- */

proctype World() {
end_world:
	do
#ifndef NO_STANDBY
	:: atomic { standby == FOLLOWS -> stopReceiving(); promote() }
	:: atomic { standby == LAGS -> promote() }
#endif
	:: atomic { late ->
		if
		:: fenced(lateEpoch, lateSession)
		:: else -> execute(lateMark, lateBatch, lateAfter, lateCursor)
		fi;
		forgetLate() }
	:: atomic { lateEnd != 0 ->                                  /* the old protocol: it ends whatever is open */
		if
		:: open -> endTransaction(lateEnd == COMMIT); endedWell = (lateEnd == COMMIT)
		:: else
		fi;
		lateEnd = 0 }
	#ifndef NO_TIMEOUT
	:: atomic { open && producer < SESSIONS -> fence() }         /* transaction.timeout.ms has passed */
#endif
	:: atomic { lateRecord != 0 -> appear(lateRecord, lateTimeline); lateRecord = 0; lateTimeline = false }
	od
}
