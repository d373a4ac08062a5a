/* Promotion in contact mode and the way back. Two operators promote standby B while
 * primary A may be alive and cut off; A goes on until proof of the new epoch
 * arrives, is fenced, follows from the common position with its ledger written, and
 * streams from B. Both sides change leaders at any moment.
 *
 * Checked: one EpochChange, and no plan's position is lost (I1, I7); what is
 * committed at one place of the history is the same in both regions (I2); what A
 * acknowledged is in B's history or in A's ledger (I6); after the way back A's
 * history is B's (I11); A acknowledges nothing from Fenced or Follow on (I9).
 */
#define N 6
#include "group.pml"

#define WRITE 1      /* argument: which; of epoch 1 */
#define CHANGE 2     /* argument: promotion id, 1 or 2; begins epoch 2 */
#define WRITE2 3     /* of epoch 2 */
#define FENCED 4     /* A's control entry */
#define FOLLOW 5     /* A's control entry; argument: common position */

#define WRITES 3

Group a, b;
byte writes;         /* made by A's leaders, committed or not */
byte acked;          /* writes that A acknowledged, a bit each */
byte kept;           /* writes in A's ledger or in B's history at the fork */
byte planned;        /* the highest position that a plan promised to keep */
byte changed;        /* promotion id of B's committed EpochChange */
byte fork;           /* the position before it */
bool followed;       /* A has committed Follow */

hidden byte i, j, end_a, end_b, fenced, follows, change, promoted_at, holds;
hidden byte live_a[N];
hidden byte live_b[N];

/* A's live history by a prefix of its log: Follow cuts it back. */
inline read_a(size_of_prefix) {
  i = 0; end_a = 0; fenced = 0; follows = 0;
  do
  :: i < size_of_prefix ->
    if
    :: KIND(a.log[i]) == FENCED -> fenced = 1
    :: KIND(a.log[i]) == FOLLOW -> follows = 1; end_a = ARGUMENT(a.log[i])
    :: else -> live_a[end_a] = a.log[i]; end_a++
    fi;
    i++
  :: else -> break
  od;
  i = 0
}

inline read_b(size_of_prefix) {
  end_b = 0; change = 0;
  do
  :: end_b < size_of_prefix ->
    live_b[end_b] = b.log[end_b];
    if
    :: KIND(b.log[end_b]) == CHANGE -> change = ARGUMENT(b.log[end_b]); promoted_at = end_b
    :: else
    fi;
    end_b++
  :: else -> break
  od
}

/* --- A --- */

#ifdef CLIENT_WRITES_AFTER_FOLLOW
#define closed fenced
#else
#define closed (fenced || follows)
#endif

inline a_write() {
  d_step {
    read_a(a.size);
    if
    :: !closed && writes < WRITES && a.size < N -> writes++; append(a, E(WRITE, writes))
    :: else
    fi
  }
}

/* All that is committed; a deposed leader acknowledges nothing. */
inline a_acknowledge() {
  d_step {
    read_a(a.size);
    if
    :: a.own && !fenced && !follows ->
      assert(!followed);
      read_a(a.com);
      i = 0;
      do
      :: i < end_a -> acked = acked | (1 << ARGUMENT(live_a[i])); i++
      :: else -> break
      od;
      i = 0
    :: else
    fi
  }
}

#ifdef PROOF_OF_AN_UNCOMMITTED_ENTRY
#define proof (change > 0)
#else
#define proof (changed > 0)
#endif

inline a_fence() {
  d_step {
    read_a(a.size);
    read_b(b.size);
    if
    :: proof && !fenced && !follows && a.size < N -> append(a, E(FENCED, 0))
    :: else
    fi
  }
}

/* The common position: the lower of the fork and the end of A's log. */
inline a_follow() {
  d_step {
    read_a(a.size);
    read_b(b.size);
#ifdef FOLLOW_AT_THE_LOGS_END
    promoted_at = end_a;
#endif
    if
    :: promoted_at > end_a -> promoted_at = end_a
    :: else
    fi;
    if
    :: proof && !follows && a.size < N -> append(a, E(FOLLOW, promoted_at))
    :: else
    fi
  }
}

inline a_receive() {
  d_step {
    read_a(a.size);
    if
    :: follows && end_a < b.com && a.size < N -> append(a, b.log[end_a])
    :: else
    fi
  }
}

inline a_commit() {
  d_step {
    commit(a);
    i = 0;
    do
    :: i < a.com ->
      if
      :: KIND(a.log[i]) == FOLLOW && !followed ->
        followed = true;
        assert(changed > 0);
        holds = i;
        write_ledger(holds);
        i = holds;
        assert((acked & ~kept) == 0)
      :: else
      fi;
      i++
    :: else -> break
    od;
    i = 0;
    same_history()
  }
}

/* Every write of the log before Follow, above the common position. */
inline write_ledger(place) {
  read_a(place);
#ifdef LEDGER_LEFT_OUT
  j = end_a;
#else
  j = ARGUMENT(a.log[place]);
#endif
  do
  :: j < end_a -> kept = kept | (1 << ARGUMENT(live_a[j])); j++
  :: else -> break
  od;
  j = 0
}

/* --- B --- */

#ifdef SENDS_UNCOMMITTED
#define sendable a.size
#else
#define sendable a.com
#endif

inline b_receive() {
  d_step {
    read_a(sendable);
    read_b(b.size);
#ifdef OLD_EPOCH_AFTER_EPOCH_CHANGE
    if
    :: end_b < end_a && KIND(live_a[end_b]) == WRITE && b.size < N -> append(b, live_a[end_b])
    :: else
    fi
#else
    if
    :: end_b < end_a && !change && !follows && b.size < N -> append(b, live_a[end_b])
    :: else
    fi
#endif
  }
}

inline b_plan() {
  d_step {
    if
    :: b.own && b.com > planned && changed == 0 -> planned = b.com
    :: else
    fi
  }
}

inline b_promote(id) {
  d_step {
    read_b(b.size);
#ifdef SECOND_OPERATOR_SEES_COMMITTED_ONLY
    read_b(b.com); end_b = b.size;
#endif
    if
    :: !change && end_b >= planned && b.size < N -> append(b, E(CHANGE, id))
    :: else
    fi
  }
}

inline b_commit() {
  d_step {
    commit(b);
    i = 0;
    do
    :: i < b.com ->
      if
      :: KIND(b.log[i]) == CHANGE && changed == 0 ->
        changed = ARGUMENT(b.log[i]);
        fork = i;
        assert(fork >= planned)
      :: KIND(b.log[i]) == CHANGE && changed > 0 -> assert(i == fork)
      :: KIND(b.log[i]) == WRITE ->
        assert(changed == 0 || i < fork);
        kept = kept | (1 << ARGUMENT(b.log[i]))
      :: else
      fi;
      i++
    :: else -> break
    od;
    i = 0;
    same_history()
  }
}

inline b_write() {
  d_step {
    read_b(b.size);
    if
    :: changed > 0 && KIND(b.log[b.size - 1]) == CHANGE && b.size < N -> append(b, E(WRITE2, 0))
    :: else
    fi
  }
}

/* Committed at one place, in one epoch or after the way back: the same. */
inline same_history() {
  read_a(a.com);
  read_b(b.com);
  i = 0;
  do
  :: i < end_a && i < end_b && (follows || changed == 0 || i < fork) ->
    assert(live_a[i] == live_b[i]);
    i++
  :: else -> break
  od;
  i = 0
}

active proctype world() {
  d_step { a.own = true; b.own = true }
  do
  :: atomic { a_write() }
  :: atomic { a_acknowledge() }
  :: atomic { a_fence() }
  :: atomic { a_follow() }
  :: atomic { a_receive() }
  :: atomic { can_commit(a) -> a_commit() }
  :: atomic { can_elect(a, 1) -> elect(a) }
  :: atomic { b_receive() }
  :: atomic { b_plan() }
  :: atomic { b_promote(1) }
  :: atomic { b_promote(2) }
  :: atomic { b_write() }
  :: atomic { can_commit(b) -> b_commit() }
  :: atomic { can_elect(b, 1) -> elect(b) }
  od
}
