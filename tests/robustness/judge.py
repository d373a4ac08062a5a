"""Judges what clients were told against the history that is there.

The history (what every node holds) is a total order by revision, and every
answer carries one, so linearizability is decided exactly and not searched for:
an answered write stands at its revision; whatever begins after another call
ended must not have an older revision than that call; a read gives what its
revision says. Clients of this test write each value once.

Feed rows and the history that belongs to them in turn: `add` after the clients
were held (no call under way), so later rows begin after earlier ones ended.
"""
import bisect
import collections


class Breach(Exception):
    """A claim of the product that did not hold."""


Row = collections.namedtuple("Row", "kind node begin end keys value outcome revision mod")


def parse_row(line):
    kind, node, begin, end, keys, value, outcome, revision, mod = line.split("\t")
    return Row(kind, int(node), int(begin), int(end), keys, value, outcome, int(revision), int(mod))


class RecordFile:
    """The clients' record while it grows."""

    def __init__(self, path):
        self.path, self.offset, self.rest = path, 0, ""

    def new_rows(self):
        with open(self.path, encoding="utf-8") as handle:
            handle.seek(self.offset)
            text = handle.read()
            self.offset = handle.tell()
        lines = (self.rest + text).split("\n")
        self.rest = lines.pop()
        return [parse_row(line) for line in lines]


def parse_history(text):
    """{revision: {key: value}} of leeward-bench history."""
    history = {}
    for line in text.splitlines():
        revision, key, value = line.split("\t")
        contents = history.setdefault(int(revision), {})
        if contents.setdefault(key, value) != value:
            raise Breach(f"revision {revision} gives {key} twice: {contents[key]} and {value}")
    return history


class Judge:
    def __init__(self):
        self.last = 1                                  # newest revision judged
        self.floor = (0, None)                         # newest revision known to a call that has ended
        self.keys = collections.defaultdict(lambda: ([], []))  # key -> its revisions, its values
        self.applied = {}                              # value -> revision
        self.unsure = {}                               # value -> row of a write whose end its client does not know
        self.refused = set()                           # values that certainly were not written
        self.counts = collections.Counter()

    def add(self, rows, history):
        self._take_history(rows, history)
        self._real_time(rows)
        for row in rows:
            self.counts[f"{row.kind} {row.outcome}"] += 1
            if row.outcome == "hung":
                raise Breach(f"a call never ended: {row}")
            if row.kind != "w" and row.outcome == "ok":
                self._read(row)

    def _take_history(self, rows, history):
        sent = {row.value: row for row in rows if row.kind == "w"}
        for revision in sorted(history):
            contents = history[revision]
            if revision <= self.last:
                raise Breach(f"revision {revision} changed after it was judged: {contents}")
            values = set(contents.values())
            if len(values) != 1:
                raise Breach(f"revision {revision} mixes the writes {values}")
            value = values.pop()
            row = sent.get(value) or self.unsure.pop(value, None)
            if value in self.applied:
                raise Breach(f"written once, applied twice: {value} at {self.applied[value]} and {revision}")
            if value in self.refused or (row and row.outcome == "refused"):
                raise Breach(f"refused as certainly not done, yet there: {value} at {revision}")
            if row is None:
                raise Breach(f"revision {revision} holds {contents}, which nobody wrote")
            if set(contents) != set(row.keys.split(",")):
                raise Breach(f"revision {revision} holds {contents}, written was {row}")
            self.applied[value] = revision
            for key in contents:
                self.keys[key][0].append(revision)
                self.keys[key][1].append(value)
        self.last = max([self.last, *history])
        for row in sent.values():
            at = self.applied.get(row.value)
            if row.outcome == "ok" and at != row.revision:
                raise Breach(f"acknowledged write lost: {row}; it stands at {at}")
            if row.outcome == "refused":
                self.refused.add(row.value)
            elif at is None:
                self.unsure[row.value] = row

    def _real_time(self, rows):
        """What begins after a call has ended is not older than that call."""
        ended = sorted((r for r in rows if r.outcome == "ok"), key=lambda r: r.end)
        at = 0
        for row in sorted(rows, key=lambda r: r.begin):
            while at < len(ended) and ended[at].end < row.begin:
                if ended[at].revision > self.floor[0]:
                    self.floor = (ended[at].revision, ended[at])
                at += 1
            if row.kind == "w":
                revision = self.applied.get(row.value)
                if revision is not None and revision <= self.floor[0]:
                    raise Breach(f"a write went before what was known: {row} at {revision}, after {self.floor[1]}")
            elif row.kind == "r" and row.outcome == "ok" and row.revision < self.floor[0]:
                raise Breach(f"stale read: {row}, begun after {self.floor[1]} had ended")
        for row in ended[at:]:
            if row.revision > self.floor[0]:
                self.floor = (row.revision, row)

    def _read(self, row):
        if row.revision > self.last:
            raise Breach(f"read of a revision that is not there: {row}; the newest is {self.last}")
        revisions, values = self.keys[row.keys]
        place = bisect.bisect_right(revisions, row.revision) - 1
        wanted = (values[place], revisions[place]) if place >= 0 else ("", 0)
        if (row.value, row.mod) != wanted:
            raise Breach(f"read what is not there: {row}; at that revision the key holds {wanted}")


def self_test():
    """The judge finds each breach it is there for; returns how many."""
    def w(begin, end, key, value, outcome="ok", revision=0):
        return Row("w", 0, begin, end, key, value, outcome, revision, 0)

    def r(begin, end, key, value, revision, mod, kind="r"):
        return Row(kind, 1, begin, end, key, value, "ok", revision, mod)

    good = [w(1, 2, "a", "x", revision=2), w(3, 9, "a,b", "y", "cut"), r(4, 5, "a", "x", 2, 2), r(5, 6, "a", "y", 3, 3),
            w(3, 4, "c", "z", "refused"), r(5, 7, "a", "x", 2, 2, "s")]
    history = {2: {"a": "x"}, 3: {"a": "y", "b": "y"}}
    Judge().add(good, history)
    cases = {
        "acknowledged write lost": (good, {2: {"a": "y", "b": "y"}}),
        "which nobody wrote": (good, {**history, 4: {"a": "q"}}),
        "applied twice": (good, {**history, 4: {"a": "y", "b": "y"}}),
        "mixes the writes": (good, {2: {"a": "x"}, 3: {"a": "y", "b": "x"}}),
        "refused as certainly not done": (good, {**history, 4: {"c": "z"}}),
        "written was": (good, {2: {"a": "x"}, 3: {"a": "y"}}),
        "stale read": ([*good, r(7, 8, "c", "", 2, 0)], history),
        "a write went before what was known": ([w(1, 2, "a", "x", revision=3), w(3, 4, "a", "y", "maybe")],
                                               {2: {"a": "y"}, 3: {"a": "x"}}),
        "read of a revision that is not there": ([*good, r(7, 8, "a", "y", 4, 3)], history),
        "read what is not there": ([*good, r(7, 8, "a", "x", 3, 2)], history),
        "a call never ended": ([*good, w(7, 8, "d", "d", "hung")], history),
    }
    for wanted, (rows, there) in cases.items():
        try:
            Judge().add(rows, there)
        except Breach as breach:
            if wanted not in str(breach):
                raise Breach(f"the judge says {breach!r} where it should say {wanted!r}") from None
        else:
            raise Breach(f"the judge does not find: {wanted}")
    late = Judge()
    late.add(good, history)
    try:
        late.add([], {4: {"c": "z"}})
    except Breach:
        return len(cases) + 1
    raise Breach("the judge forgets what was refused")
