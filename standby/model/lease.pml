/* Promotion in lease mode. Primary A acknowledges only by a young stamp that the
 * armed standby B returned. B commits Cut, returns no more, waits out the lease,
 * and commits EpochChange; or Uncut. B may also resign and be armed anew, with a
 * time between in which A needs no stamp. Both sides change leaders at any moment.
 *
 * Time is ages that saturate at LEASE, so it has no end. Clocks run alike here; the
 * margin that the product adds to the wait stands for their drift.
 *
 * Checked: A acknowledges nothing once B serves (I9, and the lease part of I12).
 */
#define N 6
#include "group.pml"

#define ARMED 1      /* argument: arming; B holds arming 1 from the start */
#define RESIGNED 2   /* argument: arming */
#define CUT 3        /* argument: arming */
#define UNCUT 4      /* argument: arming */
#define CHANGE 5     /* argument: arming */

#define LEASE 2      /* ticks; an age of LEASE is too old */

typedef Leader {     /* one that takes itself for A's leader */
  byte arming;       /* the armed one in its log; 0: none, no stamp is required */
  byte age;          /* of its newest stamp */
  byte stamped;      /* the arming with which that was returned */
};

Group b;
Leader leader, deposed;
bool arming_uncommitted;   /* A's Armed 2 */
bool was_deposed;
bool late;                 /* what the deposed one has to answer was confirmed after B served */
bool resigned_proven;
byte waited;               /* B's leader waits for the Cut at this place, + 1 */
byte wait;                 /* for so long */
bool serving;
#ifdef ROUND_BEFORE_THE_STAMP
bool believer;             /* a deposed leader of B whose log lets it return stamps */
#endif
#ifdef STAMP_AGE_FROM_ARRIVAL
byte returned;             /* the arming of a stamp under way to A */
#endif

hidden byte i, newest, last, place;
hidden byte has_resigned, holds_change, may_return;

inline read_log() {
  i = 0; newest = 1; last = 0; place = 0; has_resigned = 0; holds_change = 0;
  do
  :: i < b.size ->
    if
    :: KIND(b.log[i]) == ARMED -> newest = 2; has_resigned = 0; last = 0
    :: KIND(b.log[i]) == RESIGNED -> has_resigned = 1
    :: KIND(b.log[i]) == CUT -> last = CUT; place = i + 1
    :: KIND(b.log[i]) == UNCUT -> last = UNCUT
    :: KIND(b.log[i]) == CHANGE -> holds_change = 1
    fi;
    i++
  :: else -> break
  od;
  i = 0;
  may_return = !has_resigned && !holds_change && last != CUT
}

/* --- A --- */

inline a_elect() {
  was_deposed = true;
  late = serving;
  deposed.arming = leader.arming; deposed.age = leader.age; deposed.stamped = leader.stamped;
  leader.age = LEASE; leader.stamped = 0;
  if
  :: arming_uncommitted -> leader.arming = 0; arming_uncommitted = false
  :: true
  fi
}

#define may_answer(l) (l.arming == 0 || (l.age < LEASE && l.stamped == l.arming))

/* The one answer allowed later: of what was confirmed before B served, by a leader
 * that knows nobody armed. It is part of B's history. */
inline answers() {
  assert(!may_answer(leader));
#ifdef NO_LATE_ANSWERS
  assert(!was_deposed || !may_answer(deposed))
#else
  assert(!was_deposed || !may_answer(deposed) || (deposed.arming == 0 && !late))
#endif
}

inline stamp(l, arm) { l.age = 0; l.stamped = arm }

/* --- B --- */

/* B's leader has confirmed itself after the stamp came. The younger a stamp, the
 * longer it serves A: so this one was sent just now, and arrives at once. */
inline b_return(l) {
  d_step {
    read_log();
    if
#ifdef ROUND_WITHOUT_AN_ENTRY_OF_ITS_TERM
    :: may_return ->
#else
    :: may_return && b.own ->
#endif
#ifdef STAMP_AGE_FROM_ARRIVAL
      returned = newest
#else
      stamp(l, newest)
#endif
    :: else
    fi
  }
}

#define room (b.size < N)

inline b_control(kind) {
  d_step {
    read_log();
    if
    :: kind == CUT && room && !has_resigned && !holds_change && last != CUT -> append(b, E(CUT, newest))
    :: kind == UNCUT && room && !holds_change && last == CUT -> append(b, E(UNCUT, newest))
    :: kind == RESIGNED && room && newest == 1 && !has_resigned && !holds_change -> append(b, E(RESIGNED, 1))
    :: kind == ARMED && room && newest == 1 && !holds_change -> append(b, E(ARMED, 2))
    :: else
    fi
  }
}

/* Its leader knows the last Cut committed: from here it waits. */
inline b_wait() {
  d_step {
    read_log();
    if
    :: b.own && last == CUT && place <= b.com && waited != place -> waited = place; wait = 0
    :: else
    fi
  }
}

inline b_change() {
  d_step {
    read_log();
#ifdef CUT_OF_ANOTHER_ARMING
    if
    :: place > 0 -> last = CUT
    :: else
    fi;
#endif
    if
#ifdef WAITED_FOR_AN_EARLIER_CUT
    :: room && !has_resigned && !holds_change && last == CUT && waited > 0 && wait == LEASE ->
#else
    :: room && !has_resigned && !holds_change && last == CUT && waited == place && wait == LEASE ->
#endif
      append(b, E(CHANGE, newest))
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
      :: KIND(b.log[i]) == RESIGNED -> resigned_proven = true
      :: KIND(b.log[i]) == CHANGE -> serving = true; waited = 0; wait = 0
      :: else
      fi;
      i++
    :: else -> break
    od;
    i = 0
  }
}

inline b_elect() {
#ifdef ROUND_BEFORE_THE_STAMP
  d_step { read_log(); believer = may_return };
#endif
  elect(b);
#ifndef NEW_LEADER_INHERITS_THE_WAIT
  waited = 0; wait = 0
#endif
}

/* --- time --- */

inline older(l) {
  if
  :: l.age < LEASE -> l.age++
  :: else
  fi;
  if
  :: l.age == LEASE -> l.stamped = 0
  :: else
  fi
}

inline tick() {
  older(leader);
  older(deposed);
  if
  :: waited > 0 && wait < LEASE -> wait++
  :: else
  fi
}

active proctype world() {
  d_step {
    b.own = true;
    leader.arming = 1; leader.age = LEASE;
    deposed.age = LEASE
  }
  do
  :: d_step { tick() }
  :: d_step { serving -> answers() }
  :: atomic { !was_deposed -> a_elect() }
  :: d_step { leader.arming == 1 && resigned_proven -> leader.arming = 0 }
  :: d_step { leader.arming == 0 -> leader.arming = 2; arming_uncommitted = true }
  :: d_step { arming_uncommitted -> arming_uncommitted = false }
  :: atomic { !serving -> b_return(leader) }
  :: atomic { !serving && was_deposed -> b_return(deposed) }
#ifdef STAMP_AGE_FROM_ARRIVAL
  :: d_step { returned > 0 -> stamp(leader, returned) }
#endif
#ifdef ROUND_BEFORE_THE_STAMP
  :: d_step { believer -> stamp(leader, 1) }
#endif
  :: atomic { !serving -> b_control(CUT) }
  :: atomic { !serving -> b_control(UNCUT) }
  :: atomic { !serving -> b_control(RESIGNED) }
  :: atomic { !serving && leader.arming == 2 && !arming_uncommitted -> b_control(ARMED) }
  :: atomic { !serving -> b_wait() }
  :: atomic { !serving -> b_change() }
  :: atomic { !serving && can_commit(b) -> b_commit() }
  :: atomic { !serving && can_elect(b, 2) -> b_elect() }
  od
}
