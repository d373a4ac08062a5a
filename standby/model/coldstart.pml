/* Cold start of the old primary with the link between the regions cut or slow, and
 * start_wait set to for ever: three voters of A restart in any order, elect leaders
 * in any order, ask B, which may have ended A's epoch by then.
 *
 * Checked: once B's EpochChange is committed and there has been a moment at which no
 * member of A served or had heard one that does, none ever serves again in its epoch.
 */
#define NODES 3

typedef Node {
  bool heard;        /* since its process started: a leader of its group that serves */
  bool leads;
  bool asks;         /* leads, and waits for the armed group's word */
  bool serves;
  bool answered;     /* word is under way to it: no newer epoch known */
  /* what only the check knows: has its process, since it started, */
  bool in_touch;     /* heard a leader that serves, or been sent that word? */
};

Node node[NODES];
bool changed;        /* B's EpochChange is committed */
bool dark;           /* the moment has been */
bool deposed_b;      /* a deposed leader of B, whose log ends before the EpochChange */

#define quiet(n) (!node[n].in_touch && !node[n].serves)

inline look() {
  if
  :: changed && quiet(0) && quiet(1) && quiet(2) -> dark = true
  :: else
  fi
}

inline step_down(n) { node[n].leads = false; node[n].asks = false; node[n].serves = false }

inline restart(n) {
  node[n].in_touch = false;
#ifndef HEARD_SURVIVES_A_RESTART
  node[n].heard = false;
#endif
  step_down(n);
#ifndef ANSWER_TO_AN_EARLIER_QUESTION
  node[n].answered = false
#endif
}

inline serve(n) {
  assert(!dark);
  node[n].serves = true;
  node[n].heard = true;
  node[n].in_touch = true;
  node[n].asks = false
}

/* A vote reply says whether its sender has heard a leader that serves. The third
 * member may lead on for a while, deposed: more than Raft's terms would allow. */
inline elect(n, voter) {
  step_down(n);
  step_down(voter);
  node[n].leads = true;
  if
  :: node[n].heard || node[voter].heard -> serve(n)
  :: else -> node[n].asks = true
  fi
}

inline heartbeat(n, to) {
#ifdef HEARD_A_LEADER_THAT_DOES_NOT_SERVE
  node[to].heard = true;
#endif
  if
  :: node[n].serves -> node[to].heard = true; node[to].in_touch = true
  :: else
  fi
}

active proctype world() {
  byte n, other;
  d_step {
    node[0].leads = true; node[0].serves = true;
    node[0].heard = true; node[1].heard = true; node[2].heard = true;
    node[0].in_touch = true; node[1].in_touch = true; node[2].in_touch = true
  }
  do
  :: atomic {
      !changed ->
      changed = true;
      if
      :: deposed_b = true
      :: true
      fi;
      look()
    }
  :: atomic {
      select(n : 0 .. 2);
      select(other : 0 .. 2);
      if
      :: restart(n)
      :: n != other -> elect(n, other)
      :: n != other && node[n].leads -> heartbeat(n, other)
      :: node[n].asks && !changed -> node[n].answered = true; node[n].in_touch = true
#ifdef ANSWER_OF_A_DEPOSED_LEADER
      :: node[n].asks && deposed_b -> node[n].answered = true
#endif
      :: node[n].answered && node[n].leads && node[n].asks -> serve(n); node[n].answered = false
      fi;
      n = 0; other = 0;
      look()
    }
  od
}
