/* Forced epochs: three groups, each one log by now. A is primary and may arm another
 * group, with proof that the last one resigned or by force without it; armed groups
 * promote, any group may be promoted by force, and they meet in any order or never.
 *
 * Checked: nobody begins an epoch that it knows to be taken; of two EpochChanges with
 * one epoch after the same EpochChange both were drawn at random (I1); epochs never go
 * back; whatever a group loses when it follows was announced as possibly lost by the
 * line that it follows (I7); two groups that used one epoch apart never go on as if
 * nothing were (I8).
 */
#define GROUPS 3
#define CHANGES 4    /* with the first epoch, number 0 */

typedef Change {     /* an EpochChange, and the armings of its epoch */
  byte epoch;
  byte parent;
  byte owner;
  bool drawn;        /* its epoch was drawn: forced, or by an unguarded arming */
  byte armed;        /* group armed by its owner, + 1 */
  bool unguarded;    /* somebody was disarmed by force in this epoch */
};

typedef Member {     /* a group */
  byte head;         /* the newest EpochChange of its live history */
  byte known;        /* the highest epoch that it has proof of */
  byte holds;        /* the arming of this epoch in its history: see below */
};
#define NOT_ARMED 0
#define GUARDED 1
#define UNGUARDED 2

Change change[CHANGES];
Member group[GROUPS];
byte changes = 1;
bool contested;      /* seen by two groups: both stop, and so does this model */

hidden byte i, j, lower, covered, shared;

#define epoch_of(g) change[group[g].head].epoch
#define primary(g) \
  (change[group[g].head].owner == g && group[g].known == epoch_of(g))

inline begin_epoch(g, number, by_draw) {
  assert(number > group[g].known);
  change[changes].epoch = number;
  change[changes].parent = group[g].head;
  change[changes].owner = g;
  change[changes].drawn = by_draw;
  i = 1;
  do
  :: i < changes ->
    assert(change[i].epoch != number || change[i].parent != group[g].head || (change[i].drawn && by_draw));
    i++
  :: else -> break
  od;
  i = 0;
  retire(g);
  group[g].head = changes;
  group[g].known = number;
  group[g].holds = NOT_ARMED;
  changes++
}

/* Does a line, followed back from `start`, hold number i? */
inline line_holds(start) {
  j = start; shared = 0;
  do
  :: j == i -> shared = 1; break
  :: j != i && j == 0 -> break
  :: else -> j = change[j].parent
  od
}

/* Everything that x has and y's line has not was made in epochs that a drawn
 * EpochChange of y's line stepped over, and so announced. */
inline assert_announced(x, y) {
  i = group[x].head;
  do
  :: line_holds(group[y].head);
    if
    :: shared -> break
    :: else
    fi;
    covered = 0; j = group[y].head;
    do
    :: j == 0 -> break
    :: else ->
      lower = change[change[j].parent].epoch;
      if
      :: change[j].drawn && lower < change[i].epoch && change[i].epoch < change[j].epoch -> covered = 1
      :: else
      fi;
      j = change[j].parent
    od;
    assert(covered);
    i = change[i].parent
  od;
  i = 0; j = 0; lower = 0; covered = 0; shared = 0
}

/* Is there an epoch that both lines hold with different promotions? */
inline find_contest(x, y) {
  covered = 0; i = group[x].head;
  do
  :: i == 0 -> break
  :: else ->
    j = group[y].head;
    do
    :: j == 0 -> break
    :: else ->
      if
#ifdef CONTESTED_BY_THE_NEWEST_EPOCH_ONLY
      :: i == group[x].head && j == group[y].head && i != j && change[i].epoch == change[j].epoch -> covered = 1
#else
      :: i != j && change[i].epoch == change[j].epoch -> covered = 1
#endif
      :: else
      fi;
      j = change[j].parent
    od;
    i = change[i].parent
  od;
  i = 0; j = 0
}

/* A primary that follows another streams no Armed of its own any more. */
inline retire(x) {
  if
  :: change[group[x].head].owner == x -> change[group[x].head].armed = 0; change[group[x].head].unguarded = false
  :: else
  fi
}

inline meet(x, y) {
  find_contest(x, y);
  if
  :: covered -> covered = 0; contested = true
  :: !covered && epoch_of(y) > epoch_of(x) ->
    assert_announced(x, y);
    retire(x);
    group[x].head = group[y].head;
    group[x].holds = NOT_ARMED;
    if
    :: epoch_of(y) > group[x].known -> group[x].known = epoch_of(y)
    :: else
    fi
  :: else
  fi
}

/* Of the numbers that may be drawn, the lowest: the likeliest to be met. */
#ifdef FORCED_TAKES_THE_NEXT_EPOCH
#define DRAW 1
#else
#define DRAW 2
#endif

#ifdef PROMOTES_BELOW_A_KNOWN_EPOCH
#define knows_no_higher(g) true
#else
#define knows_no_higher(g) (group[g].known == epoch_of(g))
#endif

#ifdef UNGUARDED_TAKES_THE_NEXT_EPOCH
#define takes_next(g) (group[g].holds != NOT_ARMED && knows_no_higher(g))
#else
#define takes_next(g) (group[g].holds == GUARDED && knows_no_higher(g))
#endif

#define may_promote(g) (changes < CHANGES)

active proctype world() {
  byte x, y;
  d_step {
    change[0].epoch = 1;
    group[0].known = 1; group[1].known = 1; group[2].known = 1
  }
  do
  :: atomic {
      !contested ->
      if
      :: x = 0
      :: x = 1
      :: x = 2
      fi;
      if
      :: y = (x + 1) % 3
      :: y = (x + 2) % 3
      fi;
      if
      :: primary(x) && change[group[x].head].armed == 0 -> change[group[x].head].armed = y + 1
      :: /* Armed arrives. */
        d_step {
          change[group[x].head].armed == x + 1 && group[x].holds == NOT_ARMED ->
          group[x].holds = (change[group[x].head].unguarded -> UNGUARDED : GUARDED)
        }
      :: /* Resigned, its proof, Disarmed. */
        d_step {
          primary(x) && change[group[x].head].armed == y + 1 && group[y].head == group[x].head ->
          group[y].holds = NOT_ARMED;
          change[group[x].head].armed = 0
        }
      :: /* disarm --force: no proof; the group may hold its arming still. */
        d_step {
          primary(x) && change[group[x].head].armed > 0 ->
          change[group[x].head].armed = 0;
          change[group[x].head].unguarded = true
        }
      :: d_step { may_promote(x) && takes_next(x) -> begin_epoch(x, epoch_of(x) + 1, false) }
      :: d_step { may_promote(x) && group[x].holds == UNGUARDED -> begin_epoch(x, group[x].known + DRAW, true) }
      :: d_step { may_promote(x) && group[x].holds != UNGUARDED -> begin_epoch(x, group[x].known + DRAW, true) }
      :: /* Proof of an epoch, and no more than that. */
        d_step { group[y].known > group[x].known -> group[x].known = group[y].known }
      :: d_step { meet(x, y) }
      fi;
      x = 0; y = 0
    }
  :: contested -> break
  od
}
