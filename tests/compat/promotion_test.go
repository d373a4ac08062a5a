package compat

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Clients across the loss of a region, its promotion by hand, and the return of
// the old one. They have all six endpoints in their list and nothing but the
// client's own retries and a loop around what ends as Unavailable or unknown.

const (
	registers = "reg/"
	// Longer than a machine stands still: nobody is told anything before the loss.
	silence   = "dr.primary_silence=3s"
	elections = "raft.election_timeout=3s"
)

type story struct {
	t     testing.TB
	r     *regions
	begun time.Time
	start int64 // the first revision of the story

	stop   context.Context
	end    context.CancelFunc
	actors sync.WaitGroup

	enough  atomic.Bool // of the workers
	workers sync.WaitGroup

	mu       sync.Mutex
	h        history
	failures map[string]int // what callers were told, since the last look
	second   map[int]time.Duration
}

func begin(t testing.TB, delay string) *story {
	s := &story{t: t, r: startRegions(t, delay, silence, elections), begun: time.Now(), failures: map[string]int{}, second: map[int]time.Duration{}}
	s.stop, s.end = context.WithTimeout(context.Background(), 10*time.Minute)
	t.Cleanup(func() { s.end(); s.workers.Wait(); s.actors.Wait() })
	s.start = must(s.r.client(0).Get(s.stop, "x"))(t).Header.Revision + 1
	return s
}

func (s *story) now() time.Duration { return time.Since(s.begun) }

func (s *story) actor(run func()) { s.actors.Go(run) }

func (s *story) wait(what string, done func() bool) {
	s.t.Helper()
	for end := time.Now().Add(60 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("still waiting for %s", what)
		}
	}
}

// An error that a user repeats a call on; any other is a fault.
func (s *story) repeatable(what string, err error) {
	if s.stop.Err() != nil {
		return
	}
	code := status.Code(err)
	var told rpctypes.EtcdError
	if errors.As(err, &told) {
		code = told.Code()
	} else if errors.Is(err, context.DeadlineExceeded) {
		code = codes.DeadlineExceeded
	}
	s.mu.Lock()
	s.failures[fmt.Sprintf("%s: %v", what, err)]++
	s.mu.Unlock()
	if code != codes.Unavailable && code != codes.Unknown && code != codes.DeadlineExceeded {
		s.t.Errorf("%s at %v: %v %v", what, s.now(), code, err)
	}
}

// What callers were told since the last call.
func (s *story) told() (texts []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for text, n := range s.failures {
		texts = append(texts, fmt.Sprintf("%d x %s", n, text))
	}
	clear(s.failures)
	slices.Sort(texts)
	return texts
}

// Reads, writes and swaps of five registers, one after the other.
func (s *story) work(id int, c *clientv3.Client) {
	s.workers.Go(func() {
		for n := 0; s.stop.Err() == nil && !s.enough.Load(); n++ {
			s.operate(c, op{client: id, key: fmt.Sprint(registers, rand.IntN(5)), kind: kind(rand.IntN(3)), value: fmt.Sprintf("%d-%d", id, n)})
			time.Sleep(5 * time.Millisecond)
		}
	})
}

func (s *story) operate(c *clientv3.Client, o op) {
	if o.kind == swap {
		s.mu.Lock()
		for _, other := range slices.Backward(s.h.ops) {
			if other.wrote() && other.key == o.key {
				o.expected = other.value
				break
			}
		}
		s.mu.Unlock()
	}
	ctx, cancel := context.WithTimeout(s.stop, 10*time.Second)
	defer cancel()
	var err error
	o.call = s.now()
	switch o.kind {
	case read:
		var got *clientv3.GetResponse
		if got, err = c.Get(ctx, o.key); err == nil {
			o.rev, o.term = got.Header.Revision, got.Header.RaftTerm
			for _, kv := range got.Kvs {
				o.found, o.mod = string(kv.Value), kv.ModRevision
			}
		}
	case put:
		var got *clientv3.PutResponse
		if got, err = c.Put(ctx, o.key, o.value); err == nil {
			o.rev, o.term = got.Header.Revision, got.Header.RaftTerm
		}
	case swap:
		var got *clientv3.TxnResponse
		is := clientv3.Compare(clientv3.Value(o.key), "=", o.expected)
		if o.expected == "" {
			is = clientv3.Compare(clientv3.CreateRevision(o.key), "=", 0)
		}
		if got, err = c.Txn(ctx).If(is).Then(clientv3.OpPut(o.key, o.value)).Else(clientv3.OpGet(o.key)).Commit(); err == nil {
			o.rev, o.term, o.done = got.Header.Revision, got.Header.RaftTerm, got.Succeeded
			if !got.Succeeded {
				for _, kv := range got.Responses[0].GetResponseRange().Kvs {
					o.found, o.mod = string(kv.Value), kv.ModRevision
				}
			}
		}
	}
	o.ret, o.answered = s.now(), err == nil
	s.mu.Lock()
	s.h.ops = append(s.h.ops, o)
	if _, ok := s.second[o.client]; o.wrote() && o.epoch() == 2 && !ok {
		s.second[o.client] = o.ret
	}
	s.mu.Unlock()
	if err != nil {
		s.repeatable([]string{"read", "put", "swap"}[o.kind], err)
	}
}

// Lists, watches, and lists again when the watch ends, as client-go's reflector.
type reflector struct {
	mu    sync.Mutex
	at    int64 // as of this revision
	state map[string]string
}

func (s *story) reflect(name string, c *clientv3.Client) *reflector {
	f := &reflector{}
	s.actor(func() {
		for s.stop.Err() == nil {
			list, err := c.Get(s.stop, registers, clientv3.WithPrefix())
			if err != nil {
				s.repeatable("list", err)
				continue
			}
			f.mu.Lock()
			f.at, f.state = list.Header.Revision, map[string]string{}
			for _, kv := range list.Kvs {
				f.state[string(kv.Key)] = string(kv.Value)
			}
			f.mu.Unlock()
			w := watched{name: name, from: list.Header.Revision + 1}
			ctx, cancel := context.WithCancel(s.stop)
			for got := range c.Watch(ctx, registers, clientv3.WithPrefix(), clientv3.WithRev(w.from)) {
				f.mu.Lock()
				for _, e := range got.Events {
					w.events = append(w.events, event{rev: e.Kv.ModRevision, key: string(e.Kv.Key), value: string(e.Kv.Value), deleted: e.Type == clientv3.EventTypeDelete})
					f.state[string(e.Kv.Key)], f.at = string(e.Kv.Value), e.Kv.ModRevision
				}
				f.mu.Unlock()
				if err := got.Err(); err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
					s.repeatable("watch", err)
				}
				w.compact = got.CompactRevision
			}
			cancel()
			s.mu.Lock()
			s.h.watches = append(s.h.watches, w)
			s.mu.Unlock()
		}
	})
	return f
}

// A session in the user's ordinary loop; nil when the story is over.
func (s *story) session(c *clientv3.Client, ttl int) *concurrency.Session {
	for s.stop.Err() == nil {
		session, err := concurrency.NewSession(c, concurrency.WithTTL(ttl))
		if err == nil {
			return session
		}
		s.repeatable("session", err)
	}
	return nil
}

func over(session *concurrency.Session) bool {
	select {
	case <-session.Done():
		return true
	default:
		return false
	}
}

// Campaigns, leads until told to resign, and again. Every write as leader is
// guarded by the key that the election made.
type candidate struct {
	name    string
	mu      sync.Mutex
	leads   bool
	proofs  []proof
	beliefs []belief
	lost    []string // leaderships that ended otherwise than by resigning
	resign  chan struct{}
}

const office = "office/"

func (s *story) campaign(name string, c *clientv3.Client, ttl int) *candidate {
	a := &candidate{name: name, resign: make(chan struct{})}
	s.actor(func() {
		var session *concurrency.Session
		for s.stop.Err() == nil {
			if session == nil || over(session) {
				if session = s.session(c, ttl); session == nil {
					return
				}
			}
			e := concurrency.NewElection(session, strings.TrimSuffix(office, "/"))
			if err := e.Campaign(s.stop, name); err != nil {
				s.repeatable("campaign", err)
				continue
			}
			s.lead(a, session, e)
		}
	})
	return a
}

func (s *story) lead(a *candidate, session *concurrency.Session, e *concurrency.Election) {
	c, begun, lost := session.Client(), s.now(), ""
	a.mu.Lock()
	a.leads = true
	a.mu.Unlock()
	for n := 0; s.stop.Err() == nil && lost == ""; n++ {
		select {
		case <-a.resign:
			a.ends(begun, s.now(), "")
			for s.stop.Err() == nil {
				_, err := c.Delete(s.stop, e.Key()) // as Resign does, which forgets its key at an error
				if err == nil {
					break
				}
				s.repeatable("resign", err)
			}
			return
		case <-session.Done():
			lost = "the session is over"
		case <-time.After(50 * time.Millisecond):
			ctx, cancel := context.WithTimeout(s.stop, 3*time.Second)
			got, err := c.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(e.Key()), "=", e.Rev())).
				Then(clientv3.OpPut("work/"+a.name, fmt.Sprint(n))).Commit()
			cancel()
			if err != nil {
				s.repeatable("work", err)
			} else if got.Succeeded {
				a.mu.Lock()
				a.proofs = append(a.proofs, proof{a.name, e.Key(), got.Header.Revision})
				a.mu.Unlock()
			} else {
				lost = "the key is not the one that was elected"
			}
		}
	}
	a.ends(begun, s.now(), lost)
}

func (a *candidate) ends(begun, ended time.Duration, lost string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.leads = false
	a.beliefs = append(a.beliefs, belief{a.name, begun, ended})
	if lost != "" {
		a.lost = append(a.lost, lost)
	}
}

func (a *candidate) leading() bool { a.mu.Lock(); defer a.mu.Unlock(); return a.leads }

func leading(all []*candidate) (leads []*candidate) {
	for _, a := range all {
		if a.leading() {
			leads = append(leads, a)
		}
	}
	return leads
}

// Takes the mutex, in the user's loop; when it was there, or false at the end of the story.
func (s *story) lock(m *concurrency.Mutex) (time.Duration, bool) {
	for s.stop.Err() == nil {
		err := m.Lock(s.stop)
		if err == nil {
			return s.now(), true
		}
		s.repeatable("lock", err)
	}
	return 0, false
}

// Ends the actors and judges what they did and saw.
func (s *story) judge(p plan, done promoted) []op {
	s.t.Helper()
	audit := s.r.clientOf(s.r.endpoints("west")...)
	s.end()
	s.actors.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), 120*time.Second)
	defer cancel()
	var last, mark int64
	// What was under way when the actors ended may still be executed in between.
	for tries := 0; tries == 0 || tries < 10 && mark != last+1; tries++ {
		last = must(audit.Get(ctx, "x"))(s.t).Header.Revision
		mark = must(audit.Put(ctx, "audited", "x"))(s.t).Header.Revision
	}
	if mark != last+1 {
		s.t.Errorf("the last revision is %d, and a write takes %d", last, mark)
	}
	h := &s.h
	for got := range audit.Watch(ctx, "", clientv3.WithPrefix(), clientv3.WithRev(s.start)) {
		if err := got.Err(); err != nil {
			s.t.Fatalf("the history from before the promotion: %v", err)
		}
		ends := false
		for _, e := range got.Events {
			ends = ends || e.Kv.ModRevision == mark
			if e.Kv.ModRevision < mark {
				h.audit = append(h.audit, event{e.Kv.ModRevision, string(e.Kv.Key), string(e.Kv.Value), e.Type == clientv3.EventTypeDelete})
			}
		}
		if ends {
			break
		}
	}
	h.fork, h.first = int64(done.ForkRevision), int64(done.FirstRevision)
	h.knownLoss, h.unknownSince = int(p.KnownLossWrites), p.UnknownSince.Sub(s.begun.Round(0))
	faults, gone := h.judge()
	for i, f := range faults {
		if i == 20 {
			s.t.Errorf("and %d more", len(faults)-i)
			break
		}
		s.t.Error(f)
	}
	return gone
}

func (s *story) judgeLeaders(all []*candidate) {
	var proofs []proof
	var beliefs []belief
	for _, a := range all {
		proofs, beliefs = append(proofs, a.proofs...), append(beliefs, a.beliefs...)
	}
	for _, f := range s.h.judgeLeaders(office, proofs, beliefs) {
		s.t.Error(f)
	}
}

// Until all of the old region, which was started again, knows that it is fenced.
func (s *story) oldRegionIsFenced() {
	s.t.Helper()
	for _, at := range s.r.endpoints("east") {
		c := dial(s.t, "fenced", at) // no client of etcd's, which would ask again
		s.wait(at+" to be fenced", func() bool {
			ctx, cancel := context.WithTimeout(s.stop, 300*time.Millisecond)
			defer cancel()
			_, err := c.kv.Range(ctx, &pb.RangeRequest{Key: []byte("x")})
			return err != nil && strings.Contains(err.Error(), "epoch 2")
		})
	}
}

// (d) Ends the workers; whoever listed and watched has what is there.
func (s *story) watchersAreAtTheTruth(all []*reflector) {
	s.t.Helper()
	s.enough.Store(true)
	s.workers.Wait()
	c := s.r.client(5)
	last := must(c.Put(s.stop, registers+"final", "x"))(s.t).Header.Revision
	truth := map[string]string{}
	for _, kv := range must(c.Get(s.stop, registers, clientv3.WithPrefix()))(s.t).Kvs {
		truth[string(kv.Key)] = string(kv.Value)
	}
	for i, f := range all {
		s.wait("a watcher to see the last write", func() bool { f.mu.Lock(); defer f.mu.Unlock(); return f.at >= last })
		if !maps.Equal(f.state, truth) {
			s.t.Errorf("watcher %d has %v, there is %v", i, f.state, truth)
		}
	}
}

func TestPromotionClientsOfBothRegionsGoOn(t *testing.T) {
	s := begin(t, "20ms")
	ctx := s.stop
	for i := range 6 {
		s.work(i, s.r.client(i))
	}
	var reflectors []*reflector
	for i := range 6 {
		reflectors = append(reflectors, s.reflect(fmt.Sprint("watcher ", i), s.r.client(i)))
	}
	var candidates []*candidate
	for i := range 3 {
		candidates = append(candidates, s.campaign(fmt.Sprint("candidate ", i), s.r.client(2*i), 60))
	}
	s.wait("a leader", func() bool { return len(leading(candidates)) == 1 })
	before := leading(candidates)[0]
	observed := make(chan string, 1000)
	s.actor(func() {
		c := s.r.client(1)
		for e := concurrency.NewElection(must(concurrency.NewSession(c))(t), strings.TrimSuffix(office, "/")); ctx.Err() == nil; {
			for got := range e.Observe(ctx) {
				observed <- string(got.Kvs[0].Value)
			}
		}
	})

	// One holder whose lease outlasts the loss, one whose does not.
	const brief = 5 // seconds; a machine that stands still meanwhile is no loss
	long, short := s.session(s.r.client(0), 60), s.session(s.r.client(3), brief)
	room, shed := concurrency.NewMutex(long, "room"), concurrency.NewMutex(short, "shed")
	s.lock(room)
	s.lock(shed)
	var taken [2]chan time.Duration
	for i, name := range []string{"room", "shed"} {
		taken[i] = make(chan time.Duration, 1)
		m := concurrency.NewMutex(s.session(s.r.client(i+2), 60), name)
		s.actor(func() {
			if at, ok := s.lock(m); ok {
				taken[i] <- at
			}
		})
	}
	var expired time.Duration
	s.actor(func() { <-short.Done(); expired = s.now() })
	time.Sleep(1500 * time.Millisecond)
	if told := s.told(); len(told) != 0 {
		t.Errorf("before the loss: %q", told)
	}

	s.r.tell("kill " + s.r.names("east"))
	killed := s.now()
	time.Sleep((brief + 2) * time.Second) // longer than the short lease
	p, done := s.r.promote()
	begun, ended := done.begun.Sub(s.begun), done.ended.Sub(s.begun)
	s.wait("every client to write in the new epoch", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.second) == 6 })
	var last time.Duration
	for _, at := range s.second {
		last = max(last, at)
	}
	t.Logf("lost at %v, promoted at %v in %v, the last client wrote %v later", killed.Round(time.Millisecond), begun.Round(time.Millisecond), (ended - begun).Round(time.Millisecond), (last - ended).Round(time.Millisecond))
	for _, text := range s.told() {
		t.Log("  meanwhile ", text)
	}

	// (b) the one that led leads, and nobody else; it resigns, and another does.
	if now := leading(candidates); len(now) != 1 || now[0] != before || len(before.lost) != 0 {
		t.Errorf("leadership did not survive with its lease: %v, lost %q", len(now), before.lost)
	}
	// (c) the lease that outlasted the loss holds its mutex; the other one was
	// given a full time to live, and its session was over before.
	select {
	case at := <-taken[0]:
		t.Errorf("the mutex was taken at %v under a living session", at)
	default:
	}
	if over(long) {
		t.Error("the long session did not survive")
	}
	select {
	case at := <-taken[1]:
		if expired == 0 || expired > at || at < begun+brief*time.Second {
			t.Errorf("the session was over at %v, its lease began anew at %v, its mutex was taken at %v", expired, begun, at)
		}
	case <-time.After(60 * time.Second):
		t.Error("the mutex of the dead session is never free")
	}
	before.resign <- struct{}{}
	s.wait("another leader", func() bool { now := leading(candidates); return len(now) == 1 && now[0] != before })
	for s.stop.Err() == nil {
		if err := room.Unlock(ctx); err == nil {
			break
		} else {
			s.repeatable("unlock", err)
		}
	}
	select {
	case <-taken[0]:
	case <-time.After(60 * time.Second):
		t.Error("the mutex that was given back is never taken")
	}
	if told := s.told(); len(told) != 0 {
		t.Errorf("after the promotion: %q", told)
	}

	// (e)
	returned := s.now()
	s.r.tell("start " + s.r.names("east"))
	s.oldRegionIsFenced()
	time.Sleep(2 * time.Second)
	if told := s.told(); len(told) != 0 {
		t.Errorf("the old region's return disturbs clients: %q", told)
	}
	t.Logf("the old region was fenced and served no one %v after its start", (s.now() - returned - 2*time.Second).Round(time.Millisecond))

	s.watchersAreAtTheTruth(reflectors)
	gone := s.judge(p, done)
	s.judgeLeaders(candidates)
	close(observed)
	var leaders []string
	for name := range observed {
		leaders = append(leaders, name)
	}
	if leaders = slices.Compact(leaders); len(leaders) < 2 || leaders[0] != before.name {
		t.Errorf("observed %q", leaders)
	}
	t.Logf("%d operations, %d acknowledged writes lost, %d known to the plan", len(s.h.ops), len(gone), p.KnownLossWrites)
}

// A client that knew the old region only, and is told of the other by and by:
// its streams stay where they are.
func (s *story) eastern() *clientv3.Client {
	c := s.r.clientOf(s.r.endpoints("east")...)
	time.AfterFunc(time.Second, func() { c.SetEndpoints(slices.Concat(s.r.endpoints("east"), s.r.endpoints("west"))...) })
	return c
}

// A tail of the history is in the old region only: what clients saw of it, or
// were given in it, is taken back, and each is told in its own way.
func TestPromotionWhatIsLostIsTakenBackOpenly(t *testing.T) {
	s := begin(t, "20ms")
	ctx := s.stop
	var reflectors []*reflector
	for i := range 4 {
		s.work(i, s.r.client(i))
		reflectors = append(reflectors, s.reflect(fmt.Sprint("watcher ", i), s.r.client(i)))
	}
	s.work(4, s.eastern())
	reflectors = append(reflectors, s.reflect("eastern watcher", s.eastern()))

	// A mutex that is handed over in the tail, and one that is taken there.
	first, second, third := s.session(s.eastern(), 60), s.session(s.eastern(), 60), s.eastern()
	handed := concurrency.NewMutex(first, "handed")
	s.lock(handed)
	next := concurrency.NewMutex(second, "handed")
	got := make(chan time.Duration, 1)
	s.actor(func() {
		if at, ok := s.lock(next); ok {
			got <- at
		}
	})
	time.Sleep(1500 * time.Millisecond)
	if told := s.told(); len(told) != 0 {
		t.Errorf("before the loss: %q", told)
	}
	s.r.tell("relay * cut both")
	time.Sleep(100 * time.Millisecond)
	east := s.r.clientOf(s.r.endpoints("east")...)
	owner := must(east.Get(ctx, "handed/", clientv3.WithFirstCreate()...))(t).Kvs[0]
	must(east.Delete(ctx, string(owner.Key)))(t) // as Unlock does
	<-got
	kv := must(east.Get(ctx, next.Key()))(t).Kvs[0]
	// Holds while no key of the mutex is older than the owner's.
	isFirst := clientv3.Compare(clientv3.CreateRevision("handed/").WithPrefix(), ">", kv.CreateRevision-1)
	if !must(east.Txn(ctx).If(next.IsOwner(), isFirst).Commit())(t).Succeeded {
		t.Error("the mutex was handed over, and is not with its new owner")
	}
	third.SetEndpoints(s.r.endpoints("east")...)
	late := s.session(third, 15)
	lateMutex := concurrency.NewMutex(late, "late")
	s.lock(lateMutex)
	for i := range 20 {
		s.operate(east, op{client: 9, key: fmt.Sprint(registers, i%5), kind: put, value: fmt.Sprint("tail-", i)})
	}
	s.r.tell("kill " + s.r.names("east"))
	third.SetEndpoints(slices.Concat(s.r.endpoints("east"), s.r.endpoints("west"))...)
	s.r.tell("relay * reset") // nor does what is under way arrive
	s.r.tell("relay * heal")
	p, done := s.r.promote()
	s.wait("every client to write in the new epoch", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.second) == 5 })

	// A lease of the tail is gone, and its holder is told.
	select {
	case <-late.Done():
	case <-time.After(60 * time.Second):
		t.Error("a session goes on whose lease is lost")
	}
	c := s.r.client(4)
	if err := concurrency.NewMutex(must(concurrency.NewSession(c))(t), "late").TryLock(ctx); err != nil {
		t.Errorf("a mutex that was taken in the lost tail: %v", err)
	}
	// What was handed over there is with the one before: the other is the owner
	// only to itself, and a guard over all keys of the mutex says so.
	if now := must(c.Get(ctx, "handed/", clientv3.WithFirstCreate()...))(t).Kvs[0]; string(now.Key) != handed.Key() {
		t.Errorf("the mutex is with %s", now.Key)
	}
	weak := must(c.Txn(ctx).If(next.IsOwner()).Commit())(t).Succeeded
	strong := must(c.Txn(ctx).If(isFirst).Commit())(t).Succeeded
	if !weak || strong {
		t.Errorf("Mutex.IsOwner says %v, a compare of all the mutex's keys %v", weak, strong)
	}
	s.told()

	// The old region returns and cannot hear of its end: it serves nothing, and disturbs nobody.
	s.r.tell("relay * cut both")
	s.r.tell("start " + s.r.names("east"))
	said := map[string]bool{} // the endpoints that say why
	// For four seconds, and until each has started.
	for began := time.Now(); time.Since(began) < 4*time.Second || len(said) != 3 && time.Since(began) < time.Minute; time.Sleep(20 * time.Millisecond) {
		for _, at := range s.r.endpoints("east") {
			once, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
			old := dial(t, "old", at)
			var trailer metadata.MD
			got, err := old.kv.Put(once, &pb.PutRequest{Key: []byte("second life")}, grpc.Trailer(&trailer))
			if err == nil {
				t.Errorf("%s took a write: %v", at, got)
			}
			if status.Convert(err).Message() == "there is no connection available" && one(trailer, "leeward-epoch") == "1" &&
				strings.HasPrefix(one(trailer, "leeward-reason"), "start_wait: region east") {
				said[at] = true
			}
			cancel()
			old.conn.Close()
		}
	}
	if len(said) != 3 {
		t.Errorf("%v say why they send a client elsewhere", said)
	}
	if told := s.told(); len(told) != 0 {
		t.Errorf("an old region that hears nobody disturbs clients: %q", told)
	}
	s.r.tell("relay * heal")
	s.oldRegionIsFenced()
	if told := s.told(); len(told) != 0 {
		t.Errorf("the old region's return disturbs clients: %q", told)
	}

	s.watchersAreAtTheTruth(reflectors)
	gone := s.judge(p, done)
	t.Logf("%d operations, %d acknowledged writes lost, %d known to the plan", len(s.h.ops), len(gone), p.KnownLossWrites)
	saw := 0
	for _, w := range s.h.watches {
		if slices.ContainsFunc(w.events, func(e event) bool { return s.h.lost(e.rev) }) {
			saw++
		}
	}
	if len(gone) == 0 || saw == 0 {
		t.Errorf("nothing was lost (%d), or nobody saw it (%d)", len(gone), saw)
	}
	// I6: what is lost is still in the old region.
	old := dial(t, "old", s.r.endpoints("east")[0])
	after, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	for _, o := range gone {
		got, err := old.kv.Range(after, &pb.RangeRequest{Key: []byte(o.key), Revision: o.rev, Serializable: true})
		if err != nil || len(got.Kvs) != 1 || string(got.Kvs[0].Value) != o.value || got.Kvs[0].ModRevision != o.rev {
			t.Fatalf("the lost write of %s=%s at %d is in no region: %v %v", o.key, o.value, o.rev, got, err)
		}
	}
}
