/* Which group may end an epoch: group A is primary and arms B, then C, then B
 * again; each may resign, promote or change its leader at any moment.
 *
 * Checked: at most one group is armed in the epoch; at most one EpochChange of
 * it is committed, whatever leaders come and go (I1).
 */
#define N 7
#include "group.pml"

#define ARMED 1      /* argument: arming 1 names B, 2 names C, 3 names B */
#define DISARMED 2   /* argument: arming */
#define RESIGNED 3   /* argument: arming; control entry */
#define CHANGE 4     /* the EpochChange */

/* A's leaders append by committed facts alone and send what is committed, so A's
 * log is a count: Armed 1, Disarmed 1, Armed 2, Disarmed 2, Armed 3. */
#define nth(n) E(ARMED + (n) % 2, (n) / 2 + 1)

#define history(entry) (KIND(entry) == ARMED || KIND(entry) == DISARMED)

Group b, c;
byte streamed = 1;   /* committed in A: this many of the entries of nth() */
byte resigned[4];    /* 1: a committed Resigned proves it */
byte changes;        /* groups with a committed EpochChange */
bool b_changed, c_changed;

hidden byte i, newest, count;
hidden byte holds_change, has_resigned, b_armed, c_armed;

/* What a leader derives from the log it has, and from nothing else. */
inline read_log(g) {
  i = 0; newest = 0; count = 0; holds_change = false;
  do
  :: i < g.size ->
    if
    :: KIND(g.log[i]) == ARMED -> newest = ARGUMENT(g.log[i])
    :: KIND(g.log[i]) == CHANGE -> holds_change = true
    :: else
    fi;
    if
    :: history(g.log[i]) -> count++
    :: else
    fi;
    i++
  :: else -> break
  od;
  find_resigned(g)
}

inline find_resigned(g) {
  i = 0; has_resigned = false;
  do
  :: i < g.size ->
#ifdef RESIGNED_COUNTS_ONLY_AFTER_ARMED
    if
    :: g.log[i] == E(ARMED, newest) -> has_resigned = false
    :: else
    fi;
#endif
    if
    :: newest > 0 && g.log[i] == E(RESIGNED, newest) -> has_resigned = true
    :: else
    fi;
    i++
  :: else -> break
  od;
  i = 0
}

/* Odd armings name B, even ones C. */
#define B 1
#define C 0
#define names(arming, group) ((arming) > 0 && (arming) % 2 == (group))

inline check_armed() {
  d_step {
    read_log(b); b_armed = names(newest, B) && !has_resigned;
    read_log(c); c_armed = names(newest, C) && !has_resigned;
    assert(!(b_armed && c_armed))
  }
}

/* Only what A has committed is sent; what does not follow is not appended, nor
 * anything of this epoch once the log holds an EpochChange. */
inline stream(g) {
  d_step {
    read_log(g);
    if
    :: count < streamed && !holds_change && g.size < N -> append(g, nth(count))
    :: else
    fi
  }
}

/* A asks for arming `asked` to be given up, possibly before Armed arrived. */
inline resign(g, arming) {
  d_step {
    i = 0; has_resigned = false; holds_change = false;
    do
    :: i < g.size ->
      if
      :: g.log[i] == E(RESIGNED, arming) -> has_resigned = true
      :: KIND(g.log[i]) == CHANGE -> holds_change = true
      :: else
      fi;
      i++
    :: else -> break
    od;
    i = 0;
#ifdef RESIGNED_AFTER_EPOCH_CHANGE
    holds_change = false;
#endif
    if
    :: !has_resigned && !holds_change && g.size < N ->
      append(g, E(RESIGNED, arming));
#ifdef PROOF_OF_AN_UNCOMMITTED_ENTRY
      resigned[arming] = 1
#endif
    :: else
    fi
  }
}

inline promote(g, group) {
  d_step {
    read_log(g);
    if
    :: names(newest, group) && !has_resigned && !holds_change && g.size < N -> append(g, E(CHANGE, 0))
    :: else
    fi
  }
}

inline note_committed(g, flag) {
  d_step {
    commit(g);
    i = 0;
    do
    :: i < g.com ->
      if
      :: KIND(g.log[i]) == RESIGNED -> resigned[ARGUMENT(g.log[i])] = 1
      :: KIND(g.log[i]) == CHANGE && !flag -> flag = true; changes++
      :: else
      fi;
      i++
    :: else -> break
    od;
    i = 0;
    assert(changes <= 1)
  }
}

#ifdef DISARMED_WITHOUT_PROOF
#define proven(arming) true
#else
#define proven(arming) (resigned[arming] == 1)
#endif

active proctype world() {
  d_step {
    b.own = true; c.own = true
  }
  do
  :: d_step { streamed % 2 == 1 && streamed < 5 && proven(streamed / 2 + 1) -> streamed++ }
  :: d_step { streamed % 2 == 0 && streamed < 5 -> streamed++ }
  :: atomic { stream(b); check_armed() }
  :: atomic { stream(c); check_armed() }
  :: atomic { resign(b, 1); check_armed() }
  :: atomic { streamed >= 3 -> resign(c, 2); check_armed() }
  :: atomic { promote(b, B) }
  :: atomic { promote(c, C) }
  :: atomic { can_commit(b) -> note_committed(b, b_changed) }
  :: atomic { can_commit(c) -> note_committed(c, c_changed) }
  :: atomic { can_elect(b, 1) -> elect(b); check_armed() }
  :: atomic { can_elect(c, 1) -> elect(c); check_armed() }
  od
}
