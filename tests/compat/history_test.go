package compat

import (
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// What clients did and saw across a promotion, and what may not be in it. The
// judge is pure; its own tests are at the end.

type kind int

const (
	read kind = iota
	put
	swap // put, if the value is `expected`
)

// One attempt, as its caller saw it. Each value is written by one attempt only.
type op struct {
	client               int
	kind                 kind
	key, value, expected string
	call, ret            time.Duration // since the story began
	answered             bool          // else it may have been executed or not
	done                 bool          // swap: the compare held
	found                string        // read, or swap that was not done; "": no such key
	rev, mod             int64         // of the header; of what was found
	term                 uint64        // of the header: (epoch << 32) + term
}

func (o op) epoch() uint64 { return o.term >> 32 }
func (o op) wrote() bool   { return o.answered && (o.kind == put || o.kind == swap && o.done) }

type event struct {
	rev        int64
	key, value string
	deleted    bool
}

// One watch from its creation to its end; a watcher that goes on makes another.
type watched struct {
	name    string
	from    int64
	events  []event
	compact int64 // != 0: ended with this compact revision
}

type proof struct { // of leadership: a write that was guarded by the leader's key
	name string
	key  string
	rev  int64
}

type belief struct { // somebody took itself for the one holder
	name       string
	begin, end time.Duration
}

type history struct {
	ops     []op
	watches []watched
	audit   []event // all that is left, as one watch of all keys at the new primary told at the end
	fork    int64   // the last revision of epoch 1 that was kept
	first   int64   // of epoch 2
	// Of the plan.
	knownLoss    int
	unknownSince time.Duration
}

func (h *history) lost(rev int64) bool { return rev > h.fork && rev < h.first }

// Every rule that is broken, in words; and the acknowledged writes that are gone.
func (h *history) judge() (faults []string, gone []op) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }

	// I8: no revision names two contents, whoever told it.
	content := map[int64]string{}
	at := map[int64][]event{}
	for _, e := range h.audit {
		at[e.rev] = append(at[e.rev], e)
	}
	names := func(who string, rev int64, key, value string) {
		this := key + "=" + value
		if was, ok := content[rev]; ok && was != this {
			fault("revision %d is %s, and to %s %s", rev, was, who, this)
		}
		content[rev] = this
		if here, ok := at[rev]; ok && (len(here) != 1 || here[0].key != key || here[0].value != value) {
			fault("revision %d was %s to %s and is %v now", rev, this, who, here)
		}
	}
	values := map[string]int{}
	for _, e := range h.audit {
		if values[e.key+"="+e.value]++; strings.HasPrefix(e.key, registers) && values[e.key+"="+e.value] > 1 {
			fault("the write of %s=%s was executed twice", e.key, e.value)
		}
		if h.lost(e.rev) {
			fault("revision %d is of the lost tail and in the new history", e.rev)
		}
	}
	for _, o := range h.ops {
		who := fmt.Sprintf("client %d", o.client)
		if o.answered && (o.epoch() == 1) != (o.rev < h.first) {
			fault("%s: revision %d in epoch %d", who, o.rev, o.epoch())
		}
		if o.answered && !o.wrote() && o.found != "" {
			names(who, o.mod, o.key, o.found)
		}
		if !o.wrote() {
			continue
		}
		names(who, o.rev, o.key, o.value)
		if h.lost(o.rev) {
			gone = append(gone, o)
		} else if _, ok := at[o.rev]; !ok {
			fault("%s: the acknowledged write of %s=%s at revision %d is missing", who, o.key, o.value, o.rev)
		}
	}
	for _, w := range h.watches {
		for _, e := range w.events {
			if strings.HasPrefix(e.key, registers) {
				names(w.name, e.rev, e.key, e.value)
			}
		}
	}

	// I7: what is lost was announced.
	announced := 0
	for _, o := range gone {
		if o.ret < h.unknownSince {
			announced++
		}
	}
	if announced > h.knownLoss {
		fault("%d writes acknowledged before the time of the last answer are lost, %d were announced", announced, h.knownLoss)
	}

	faults = append(faults, h.order()...)
	faults = append(faults, h.reads()...)
	faults = append(faults, h.linearizable()...)
	for _, w := range h.watches {
		faults = append(faults, h.watch(w)...)
	}
	return faults, gone
}

// Within an epoch no answer is older than one that had come before the question.
func (h *history) order() (faults []string) {
	for epoch := uint64(1); epoch <= 2; epoch++ {
		var calls, rets []op
		for _, o := range h.ops {
			if o.answered && o.epoch() == epoch {
				calls, rets = append(calls, o), append(rets, o)
			}
		}
		sort.Slice(calls, func(i, j int) bool { return calls[i].call < calls[j].call })
		sort.Slice(rets, func(i, j int) bool { return rets[i].ret < rets[j].ret })
		newest := op{}
		for i := 0; len(calls) > 0; calls = calls[1:] {
			for ; i < len(rets) && rets[i].ret < calls[0].call; i++ {
				if rets[i].rev > newest.rev {
					newest = rets[i]
				}
			}
			if o := calls[0]; o.rev < newest.rev || o.wrote() && o.rev == newest.rev {
				faults = append(faults, fmt.Sprintf("epoch %d: client %d was answered at revision %d after client %d at %d", epoch, o.client, o.rev, newest.client, newest.rev))
			}
		}
	}
	return faults
}

// A read tells the newest write of its key at its header's revision.
func (h *history) reads() (faults []string) {
	for _, o := range h.ops {
		if !o.answered || o.wrote() || h.lost(o.rev) {
			continue
		}
		if got := h.at(o.key, o.rev); got.value != o.found || got.rev != o.mod {
			faults = append(faults, fmt.Sprintf("client %d read %q of revision %d at %d, where %s is %q of %d", o.client, o.found, o.mod, o.rev, o.key, got.value, got.rev))
		}
	}
	return faults
}

func (h *history) at(key string, rev int64) (last event) {
	for _, e := range h.audit {
		if e.rev > rev {
			break
		}
		if e.key == key {
			last = e
		}
	}
	if last.deleted {
		return event{}
	}
	return last
}

var register = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		in, out := input.(op), output.(op)
		switch {
		case in.kind == put:
			return true, in.value
		case in.kind == read:
			return state == out.found, state
		case !in.answered: // a swap whose end is unknown
			if state == in.expected {
				return true, in.value
			}
			return true, state
		case out.done:
			return state == in.expected, in.value
		default:
			return state != in.expected && state == out.found, state
		}
	},
}

// I5: each key is a register, in each epoch; what has no answer may take effect at any time, or never.
func (h *history) linearizable() (faults []string) {
	seen := map[string]bool{}
	keys := map[string]bool{}
	for _, o := range h.ops {
		keys[o.key] = true
		seen[o.found] = true
	}
	for _, e := range h.audit {
		seen[e.value] = true
	}
	for key := range keys {
		for epoch := uint64(1); epoch <= 2; epoch++ {
			var ops []porcupine.Operation
			if epoch == 2 {
				begin := op{kind: put, value: h.at(key, h.fork).value}
				ops = append(ops, porcupine.Operation{Input: begin, Output: begin, Call: math.MinInt64, Return: math.MinInt64 + 1})
			}
			for _, o := range h.ops {
				if o.key != key {
					continue
				}
				this := porcupine.Operation{ClientId: o.client, Input: o, Output: o, Call: int64(o.call), Return: int64(o.ret)}
				if !o.answered {
					if o.kind == read || !seen[o.value] {
						continue // one that nobody saw changes nothing
					}
					this.Return = math.MaxInt64
				} else if o.epoch() != epoch {
					continue
				}
				ops = append(ops, this)
			}
			if got := porcupine.CheckOperationsTimeout(register, ops, 120*time.Second); got != porcupine.Ok {
				faults = append(faults, fmt.Sprintf("epoch %d: the %d operations of %s are not linearizable: %v", epoch, len(ops), key, got))
			}
		}
	}
	return faults
}

// I13: each revision of its range once, in order, or compacted.
func (h *history) watch(w watched) (faults []string) {
	fault := func(format string, args ...any) {
		faults = append(faults, w.name+": "+fmt.Sprintf(format, args...))
	}
	last, tail := w.from-1, false
	var kept []event
	for _, e := range w.events {
		if e.rev <= last {
			fault("revision %d after %d", e.rev, last)
		}
		last = e.rev
		if h.lost(e.rev) {
			tail = true
			continue
		}
		if tail {
			fault("goes on with revision %d behind the lost tail", e.rev)
			break
		}
		kept = append(kept, e)
	}
	if tail && w.compact != h.first {
		fault("saw the lost tail up to %d and was not told that it is compacted up to %d, but %d", last, h.first, w.compact)
	}
	if tail {
		last = h.fork
	}
	var wanted []event
	for _, e := range h.audit {
		if strings.HasPrefix(e.key, registers) && e.rev >= w.from && e.rev <= last {
			wanted = append(wanted, e)
		}
	}
	if !slices.Equal(kept, wanted) {
		fault("from %d to %d it saw %d events of %d; the first that differs is %v", w.from, last, len(kept), len(wanted), differs(kept, wanted))
	}
	return faults
}

func differs(a, b []event) string {
	for i := range max(len(a), len(b)) {
		if i >= len(a) || i >= len(b) || a[i] != b[i] {
			return fmt.Sprint(a[min(i, len(a)):min(i+1, len(a))], b[min(i, len(b)):min(i+1, len(b))])
		}
	}
	return "none"
}

// At each revision at most one leads: the oldest of the keys under `prefix`.
func (h *history) leader(prefix string, rev int64) string {
	born := map[string]int64{}
	for _, e := range h.audit {
		if e.rev > rev {
			break
		}
		if !strings.HasPrefix(e.key, prefix) {
			continue
		}
		if e.deleted {
			delete(born, e.key)
		} else if _, ok := born[e.key]; !ok {
			born[e.key] = e.rev
		}
	}
	oldest := ""
	for key, rev := range born {
		if oldest == "" || rev < born[oldest] {
			oldest = key
		}
	}
	return oldest
}

func (h *history) judgeLeaders(prefix string, proofs []proof, beliefs []belief) (faults []string) {
	for _, p := range proofs {
		if h.lost(p.rev) {
			continue
		}
		if leads := h.leader(prefix, p.rev); leads != p.key {
			faults = append(faults, fmt.Sprintf("%s wrote as leader at revision %d by %s, where %q leads", p.name, p.rev, p.key, leads))
		}
	}
	sort.Slice(beliefs, func(i, j int) bool { return beliefs[i].begin < beliefs[j].begin })
	for i, b := range beliefs {
		for _, c := range beliefs[:i] {
			if c.end > b.begin {
				faults = append(faults, fmt.Sprintf("%s held from %v to %v, and %s from %v", c.name, c.begin, c.end, b.name, b.begin))
			}
		}
	}
	return faults
}

// The judge is judged: a sound history, and each fault planted into it.
func TestPromotionTheJudgeOfHistories(t *testing.T) {
	const first = 2 << 44
	ms := time.Millisecond
	term := func(epoch uint64) uint64 { return epoch<<32 + 3 }
	sound := func() *history {
		h := &history{fork: 11, first: first, knownLoss: 1, unknownSince: 50 * ms}
		key := registers + "a"
		write := func(client int, value string, at time.Duration, rev int64, epoch uint64) {
			h.ops = append(h.ops, op{client: client, kind: put, key: key, value: value, call: at, ret: at + ms, answered: true, rev: rev, term: term(epoch)})
		}
		write(0, "v1", 10*ms, 10, 1)
		write(1, "v2", 20*ms, 11, 1)
		write(0, "v3", 30*ms, 12, 1)
		h.ops = append(h.ops, op{client: 1, kind: read, key: key, call: 35 * ms, ret: 36 * ms, answered: true, found: "v3", mod: 12, rev: 12, term: term(1)})
		write(1, "v4", 60*ms, 13, 1)
		h.ops = append(h.ops, op{client: 0, kind: put, key: key, value: "maybe", call: 70 * ms, ret: 90 * ms})
		h.ops = append(h.ops, op{client: 0, kind: read, key: key, call: 100 * ms, ret: 101 * ms, answered: true, found: "v2", mod: 11, rev: first, term: term(2)})
		h.ops = append(h.ops, op{client: 1, kind: swap, key: key, expected: "v2", value: "v5", call: 110 * ms, ret: 111 * ms, answered: true, done: true, rev: first + 1, term: term(2)})
		one := func(rev int64, value string) event { return event{rev: rev, key: key, value: value} }
		h.audit = []event{one(10, "v1"), one(11, "v2"), one(first+1, "v5")}
		h.watches = []watched{
			{name: "stays", from: 10, events: []event{one(10, "v1"), one(11, "v2"), one(first+1, "v5")}},
			{name: "saw the tail", from: 11, events: []event{one(11, "v2"), one(12, "v3")}, compact: first}}
		return h
	}
	if faults, gone := sound().judge(); len(faults) != 0 || len(gone) != 2 {
		t.Errorf("a sound history: %q, %d gone", faults, len(gone))
	}
	for _, plant := range []struct {
		say string
		do  func(h *history)
	}{
		{"is missing", func(h *history) { h.fork = 12 }},
		{"were announced", func(h *history) { h.knownLoss = 0 }},
		{"revision 12 is", func(h *history) { h.watches[1].events[1].value = "other" }},
		{"was reg/a=v5 to client 1 and is", func(h *history) { h.audit[2].value = "other" }},
		{"executed twice", func(h *history) { h.audit = append(h.audit, event{first + 2, registers + "a", "v5", false}) }},
		{"of the lost tail and in the new history", func(h *history) { h.audit = slices.Insert(h.audit, 2, event{12, registers + "a", "v3", false}) }},
		{"answered at revision 9", func(h *history) { h.ops[3].rev = 9 }},
		{"client 0 read", func(h *history) { h.ops[6].found, h.ops[6].mod = "v1", 10 }},
		{"not linearizable", func(h *history) { h.ops[6].found, h.ops[6].mod = "v3", 12 }},
		{"not linearizable", func(h *history) { h.ops[3].found, h.ops[3].mod = "v1", 10 }},
		{"in epoch 1", func(h *history) { h.ops[7].term = term(1) }},
		{"it saw 2 events of 3", func(h *history) { h.watches[0].events = slices.Delete(h.watches[0].events, 1, 2) }},
		{"revision 11 after 11", func(h *history) { h.watches[0].events = slices.Insert(h.watches[0].events, 1, h.watches[0].events[1]) }},
		{"was not told", func(h *history) { h.watches[1].compact = 0 }},
		{"behind the lost tail", func(h *history) { h.watches[1].events = append(h.watches[1].events, h.audit[2]) }},
	} {
		h := sound()
		plant.do(h)
		faults, _ := h.judge()
		if !strings.Contains(strings.Join(faults, "\n"), plant.say) {
			t.Errorf("%q is not found: %q", plant.say, faults)
		}
	}
	office := &history{fork: 20, first: first, audit: []event{{10, "office/a", "", false}, {11, "office/b", "", false}, {first + 1, "office/a", "", true}}}
	if faults := office.judgeLeaders("office/", []proof{{"a", "office/a", 12}, {"a", "office/a", first}, {"b", "office/b", first + 1}, {"b", "office/b", 30}},
		[]belief{{"a", 0, 5}, {"b", 6, 9}}); len(faults) != 0 {
		t.Errorf("one leader at a time: %q", faults)
	}
	if faults := office.judgeLeaders("office/", []proof{{"b", "office/b", first}}, nil); len(faults) != 1 {
		t.Errorf("a second leader: %q", faults)
	}
	if faults := office.judgeLeaders("office/", nil, []belief{{"b", 4, 9}, {"a", 0, 5}}); len(faults) != 1 {
		t.Errorf("two that hold: %q", faults)
	}
}
