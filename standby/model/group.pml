/* A region's Raft group as one replicated log. What is abstracted, and why that
 * is sound, stands in README.md, "A group".
 *
 * Defined before inclusion: N, entries a log may hold. An entry is a byte:
 * kind * 8 + argument.
 */
#define E(kind, argument) ((kind) * 8 + (argument))
#define KIND(entry) ((entry) / 8)
#define ARGUMENT(entry) ((entry) % 8)

typedef Group {
  byte log[N];      /* the leader's, uncommitted entries included */
  byte size;
  byte com;         /* committed: in the log of every later leader */
  byte inherited;   /* length of the log when its leader was elected */
  bool own;         /* the leader has committed an entry of its own term */
  byte old[N];      /* a deposed leader's log, which may win again */
  byte oldsize;
  byte elections;
};

hidden byte at;     /* scans; never part of a state */
hidden byte was;

inline append(g, entry) {
  assert(g.size < N);
  g.log[g.size] = entry;
  g.size++
}

#define can_commit(g) (!g.own || g.com < g.size)

/* A new leader's first committed entry is its no-op: everything it inherited is
 * committed with it, and every log that lacks the no-op is dead. */
inline commit(g) {
  if
  :: !g.own -> g.com = g.inherited; g.own = true; forget(g)
  :: else -> g.com++
  fi
}

inline forget(g) {
  at = 0;
  do
  :: at < g.oldsize -> g.old[at] = 0; at++
  :: else -> break
  od;
  g.oldsize = 0;
  at = 0
}

#define can_elect(g, most) (g.elections < (most))

/* The next leader has all that is committed and any part of what is not: of the
 * last leader's log, or of the log of one deposed earlier, while that may win. */
inline elect(g) {
  g.elections++;
  g.own = false;
  if
  :: g.oldsize > 0 -> swap(g)
  :: g.size > g.com -> keep_old(g); cut_back(g)
  :: cut_back(g)
  fi;
  g.inherited = g.size
}

inline swap(g) {
  d_step {
    at = 0;
    do
    :: at < N -> was = g.log[at]; g.log[at] = g.old[at]; g.old[at] = was; at++
    :: else -> break
    od;
    was = g.size; g.size = g.oldsize; g.oldsize = was;
    at = 0; was = 0
  }
}

inline keep_old(g) {
  d_step {
    at = 0;
    do
    :: at < N -> g.old[at] = g.log[at]; at++
    :: else -> break
    od;
    g.oldsize = g.size;
    at = 0
  }
}

inline cut_back(g) {
  do
  :: g.size > g.com -> g.size--; g.log[g.size] = 0
  :: break
  od
}
