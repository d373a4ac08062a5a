/* Fencing inside the old primary's group, member by member: three voters, proof of
 * the newer epoch reaches them one at a time or not at all, they restart, they
 * elect leaders, and leaders deposed go on believing.
 *
 * Checked: no member that was told acknowledges; no leader acknowledges by a round
 * begun after a majority was told, or after Fenced was committed (I9).
 */
#define NODES 3
#define TERMS 6

typedef Node {
  byte term;
  bool leads;        /* in that term, as far as it knows */
  bool knows;        /* the newer epoch */
  bool durable;      /* so does its disk */
  bool round;        /* has a round under way to confirm what it answers */
  bool counted;      /* by another member's reply: with its own, a majority */
  bool log_fenced;   /* its log holds Fenced */
  /* what only the checks know */
  bool told;
  bool too_late;     /* the round began when nobody may acknowledge any more */
};

Node node[NODES];
bool fenced;         /* Fenced is committed */
byte newest_term;

#define majority_told (node[0].told + node[1].told + node[2].told >= 2)

/* Durable first, then known, then everything else. */
inline learn(n) {
  node[n].told = true;
  node[n].knows = true;
#ifndef PROOF_ONLY_IN_MEMORY
  node[n].durable = true
#endif
}

inline restart(n) {
  node[n].knows = node[n].durable;
  node[n].leads = false;
  stop_round(n)
}

inline stop_round(n) { node[n].round = false; node[n].counted = false; node[n].too_late = false }

/* Votes of the fenced count; the reply brings their epoch. The new leader's log has
 * all that is committed: here the voter's, or its own if that is longer. */
inline elect(n, voter) {
  newest_term++;
  node[n].term = newest_term;
  node[voter].term = newest_term;
  node[voter].leads = false;
  stop_round(voter);
  stop_round(n);
  node[n].leads = true;
  if
  :: node[voter].durable -> learn(n)
  :: else
  fi
}

inline begin_round(n) {
  node[n].round = true;
  node[n].counted = false;
  node[n].too_late = majority_told || fenced
}

inline reply(n, from) {
  node[from].leads = (from == n);
  node[from].term = node[n].term;
#ifndef REPLY_COUNTED_BEFORE_ITS_EPOCH
  if
  :: node[from].durable -> learn(n)
  :: else
  fi;
#endif
  node[n].counted = true
}

#ifdef FENCED_ONLY_IN_MEMORY_OF_THE_LEADER
#define closed(n) node[n].knows
#else
#define closed(n) (node[n].knows || node[n].log_fenced)
#endif

#ifdef LEADER_ANSWERS_BY_ITS_BELIEF
#define may_acknowledge(n) (node[n].leads && node[n].round && !closed(n))
#else
#define may_acknowledge(n) (node[n].leads && node[n].round && node[n].counted && !closed(n))
#endif

inline acknowledge(n) {
  assert(!node[n].told);
  assert(!node[n].too_late);
  stop_round(n)
}

/* A leader that knows has Fenced appended and committed with one other member. */
inline replicate(n, to) {
  node[n].log_fenced = true;
  node[to].log_fenced = true;
  node[to].leads = false;
  node[to].term = node[n].term;
  stop_round(to);
  fenced = true
}

/* A voter whose log holds Fenced elects no leader whose log does not. */
#define may_elect(n, voter) \
  (n != voter && newest_term < TERMS && (node[n].log_fenced || !node[voter].log_fenced))

active proctype world() {
  byte n, other;
  d_step {
    node[0].leads = true;
    node[0].term = 1; node[1].term = 1; node[2].term = 1;
    newest_term = 1
  }
  do
  :: atomic {
      select(n : 0 .. 2);
      select(other : 0 .. 2);
      if
      :: !node[n].told -> learn(n)
      :: node[n].knows || node[n].leads || node[n].told -> restart(n)
      :: may_elect(n, other) -> elect(n, other)
      :: node[n].leads && !node[n].round -> begin_round(n)
      :: n != other && node[n].leads && node[n].round && !node[n].counted && node[other].term <= node[n].term ->
        reply(n, other)
      :: may_acknowledge(n) -> acknowledge(n)
      :: n != other && node[n].leads && node[n].knows && node[other].term <= node[n].term -> replicate(n, other)
      :: else
      fi;
      n = 0; other = 0
    }
  od
}
