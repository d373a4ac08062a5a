/* Switchover: primary A seals its history, the armed standby B ends the epoch at
 * the open Seal; or A gives up, B commits Reclaimed, A unseals. Both may change
 * leaders at any moment; entries and proofs are delayed and repeated at will.
 *
 * Checked: once B serves, A confirms nothing (I5, I9); what A acknowledged is in
 * B's history (nothing lost by a planned promotion, I6, I7); of Reclaimed and
 * EpochChange only one is ever committed for one Seal.
 */
#define N 7
#include "group.pml"

#define WRITE 1
#define SEAL 2       /* argument: seal */
#define UNSEAL 3     /* argument: seal */
#define RECLAIMED 4  /* argument: seal; B's control entry */
#define CHANGE 5     /* argument: the seal at which it stands */

#define SEALS 2
#define WRITES 1

#define history(entry) (KIND(entry) <= UNSEAL)

Group a, b;
byte acked;          /* history entries of A up to the newest acknowledged write */
byte reclaimed;      /* seals with a committed Reclaimed, a bit each */
bool serving;        /* B has applied its EpochChange */
byte forked;         /* history entries of B before it */
#ifdef SEAL_ONLY_IN_MEMORY
bool forgot;         /* A's leader is new */
#endif
#ifdef KEEP_ALIVE_WITHOUT_A_ROUND
bool stale;          /* a deposed leader of A has no open Seal in its log */
#endif

hidden byte i, count, open_seal, seals, writes, named;
hidden byte holds_change;

inline read_log(g) {
  i = 0; count = 0; open_seal = 0; seals = 0; writes = 0; named = 0; holds_change = 0;
  do
  :: i < g.size ->
    if
    :: KIND(g.log[i]) == WRITE -> writes++
    :: KIND(g.log[i]) == SEAL -> seals++; open_seal = ARGUMENT(g.log[i])
    :: KIND(g.log[i]) == UNSEAL -> open_seal = 0
    :: KIND(g.log[i]) == RECLAIMED -> named = named | (1 << ARGUMENT(g.log[i]))
    :: KIND(g.log[i]) == CHANGE -> holds_change = 1
    fi;
    if
    :: history(g.log[i]) -> count++
    :: else
    fi;
    i++
  :: else -> break
  od;
  i = 0
}

/* --- A --- */

#ifdef SEAL_ONLY_IN_MEMORY
#define sealed (open_seal > 0 && !forgot)
#else
#define sealed (open_seal > 0)
#endif

inline a_write() {
  d_step {
    read_log(a);
    if
    :: !sealed && writes < WRITES && a.size < N -> append(a, E(WRITE, 0))
    :: else
    fi
  }
}

inline a_seal() {
  d_step {
    read_log(a);
    if
    :: !sealed && seals < SEALS && a.size < N -> append(a, E(SEAL, seals + 1))
    :: else
    fi
  }
}

#ifdef UNSEAL_ON_TIMEOUT
#define proven(seal) true
#else
#define proven(seal) ((reclaimed & (1 << (seal))) > 0)
#endif

inline a_unseal() {
  d_step {
    read_log(a);
    if
    :: open_seal > 0 && proven(open_seal) && a.size < N -> append(a, E(UNSEAL, open_seal))
    :: else
    fi
  }
}

/* A confirmed read or committed write; a deposed leader confirms nothing. */
inline a_confirm() {
  d_step {
    read_log(a);
    if
    :: !sealed && a.own ->
      assert(!serving);
      i = 0; count = 0;
      do
      :: i < a.com -> count++; i++;
        if
        :: KIND(a.log[i - 1]) == WRITE && count > acked -> acked = count
        :: else
        fi
      :: else -> break
      od;
      i = 0
    :: else
    fi
  }
}

inline a_elect() {
#ifdef KEEP_ALIVE_WITHOUT_A_ROUND
  d_step {
    read_log(a);
    if
    :: !sealed -> stale = true
    :: else -> stale = false
    fi
  };
#endif
#ifdef SEAL_ONLY_IN_MEMORY
  forgot = true;
#endif
  elect(a)
}

/* --- B --- */

inline b_receive() {
  d_step {
    read_log(b);
    if
    :: count < a.com && !holds_change && b.size < N -> append(b, a.log[count])
    :: else
    fi
  }
}

#define can_end_here (open_seal > 0 && !holds_change && b.size < N)

inline b_change() {
  d_step {
    read_log(b);
#ifdef RECLAIMED_IGNORED
    named = 0;
#endif
    if
    :: can_end_here && (named & (1 << open_seal)) == 0 -> append(b, E(CHANGE, open_seal))
    :: else
    fi
  }
}

/* Asked by A, for any Seal that A made, whether or not it has arrived here. */
inline b_reclaim(seal) {
  d_step {
    read_log(b);
#ifdef RECLAIMED_AFTER_EPOCH_CHANGE
    holds_change = 0;
#endif
    if
    :: !holds_change && (named & (1 << seal)) == 0 && b.size < N ->
      append(b, E(RECLAIMED, seal));
#ifdef PROOF_OF_AN_UNCOMMITTED_ENTRY
      reclaimed = reclaimed | (1 << seal)
#endif
    :: else
    fi
  }
}

inline b_commit() {
  d_step {
    commit(b);
    i = 0; count = 0;
    do
    :: i < b.com ->
      if
      :: KIND(b.log[i]) == RECLAIMED -> reclaimed = reclaimed | (1 << ARGUMENT(b.log[i]))
      :: KIND(b.log[i]) == CHANGE ->
        serving = true;
        forked = count;
        assert(acked <= forked);
        assert((reclaimed & (1 << ARGUMENT(b.log[i]))) == 0)
      :: else
      fi;
      if
      :: history(b.log[i]) -> count++
      :: else
      fi;
      i++
    :: else -> break
    od;
    i = 0; count = 0
  }
}

active proctype world() {
  d_step { a.own = true; b.own = true }
  do
  :: atomic { a_write() }
  :: atomic { a_seal() }
  :: atomic { a_unseal() }
  :: atomic { can_commit(a) -> commit(a) }
  :: atomic { a_confirm() }
  :: atomic { can_elect(a, 1) -> a_elect() }
#ifdef KEEP_ALIVE_WITHOUT_A_ROUND
  :: atomic { stale -> assert(!serving) }
#endif
  :: atomic { !serving -> b_receive() }
  :: atomic { !serving -> b_change() }
  :: atomic { !serving && a.com > 0 -> b_reclaim(1) }
  :: atomic { !serving && reclaimed > 0 -> b_reclaim(2) }
  :: atomic { !serving && can_commit(b) -> b_commit() }
  :: atomic { !serving && can_elect(b, 2) -> elect(b) }
  od
}
