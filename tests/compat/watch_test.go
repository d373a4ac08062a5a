package compat

import (
	"bytes"
	"context"
	"fmt"
	"math/rand"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// What one watch of a stream was told, without the cuts between messages.
type told struct {
	marks  []string // created, canceled, with what they say
	events []string
}

// One watch stream: everything it says is kept by watch id.
type stream struct {
	*server
	rpc      pb.Watch_WatchClient
	watches  map[int64]*told
	progress int64 // newest revision told for all watches at once
	incoming chan *pb.WatchResponse
	ended    chan error
}

func (s *server) openStream(t testing.TB, ctx context.Context) *stream {
	rpc, err := s.watch.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	w := &stream{server: s, rpc: rpc, watches: map[int64]*told{}, incoming: make(chan *pb.WatchResponse), ended: make(chan error, 1)}
	go func() {
		for {
			r, err := rpc.Recv()
			if err != nil {
				w.ended <- err
				close(w.incoming)
				return
			}
			select {
			case w.incoming <- r:
			case <-ctx.Done():
				return
			}
		}
	}()
	return w
}

// Takes messages until one satisfies; false after `limit`.
func (w *stream) until(limit time.Duration, satisfies func(*pb.WatchResponse) bool) bool {
	timer := time.After(limit)
	for {
		select {
		case r, open := <-w.incoming:
			if !open {
				return false
			}
			w.note(r)
			if satisfies(r) {
				return true
			}
		case <-timer:
			return false
		}
	}
}

func (w *stream) note(absolute *pb.WatchResponse) {
	r := w.relative(absolute).(*pb.WatchResponse)
	id := r.WatchId
	if id == -1 && !r.Created && !r.Canceled {
		w.progress = max(w.progress, r.Header.Revision)
		return
	}
	if w.watches[id] == nil {
		w.watches[id] = &told{}
	}
	watch := w.watches[id]
	if r.Created || r.Canceled {
		mark := fmt.Sprintf("created=%v canceled=%v compact=%d reason=%q", r.Created, r.Canceled, r.CompactRevision, r.CancelReason)
		if r.Created {
			mark += fmt.Sprintf(" revision=%d", r.Header.Revision)
		}
		watch.marks = append(watch.marks, mark)
	}
	for _, e := range r.Events {
		watch.events = append(watch.events, text(e))
	}
}

func (w *stream) send(t testing.TB, r *pb.WatchRequest) {
	if err := w.rpc.Send(w.absolute(r).(*pb.WatchRequest)); err != nil {
		t.Fatalf("%s: %v", w.name, err)
	}
}

func (w *stream) live() bool {
	for id, watch := range w.watches {
		if id >= 0 && !strings.Contains(watch.marks[len(watch.marks)-1], "canceled=true") {
			return true
		}
	}
	return false
}

// etcd tells no progress any more on a stream of which a watch was ended by a compaction.
func (w *stream) compacted() bool {
	for _, watch := range w.watches {
		for _, mark := range watch.marks {
			if !strings.Contains(mark, "compact=0") {
				return true
			}
		}
	}
	return false
}

// Waits until every watch has been given all that was written. etcd tells no
// progress on a stream without watches, nor while one waits for a future revision.
func (w *stream) settle(t testing.TB, revision int64) {
	for end := time.Now().Add(60 * time.Second); w.progress < revision && w.live() && !w.compacted(); {
		if time.Now().After(end) {
			t.Fatalf("%s: no progress notification for revision %d, the last was %d", w.name, revision, w.progress)
		}
		w.send(t, &pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}})
		w.until(200*time.Millisecond, func(*pb.WatchResponse) bool { return w.progress >= revision })
	}
}

func (w *stream) report() string {
	var out strings.Builder
	for id := int64(-1); id < 64; id++ {
		if watch := w.watches[id]; watch != nil {
			fmt.Fprintf(&out, "  watch %d\n    %s\n    %s\n", id, strings.Join(watch.marks, "\n    "), strings.Join(watch.events, "\n    "))
		}
	}
	return out.String()
}

func (g *generator) write() proto.Message {
	switch g.Intn(6) {
	case 0:
		return g.deleteRange()
	case 1:
		return g.txn(1)
	default:
		return &pb.PutRequest{Key: g.key(), Value: []byte(values[g.Intn(len(values))])}
	}
}

func (g *generator) watchCreate() *pb.WatchCreateRequest {
	r := &pb.WatchCreateRequest{StartRevision: g.sometimesAt(2), PrevKv: g.one(2), ProgressNotify: g.one(4), Fragment: g.one(4)}
	r.Key, r.RangeEnd = g.span()
	if g.one(2) {
		r.Key, r.RangeEnd = []byte{0}, []byte{0}
	}
	if g.one(4) {
		r.Filters = append(r.Filters, pb.WatchCreateRequest_FilterType(g.Intn(2)))
	}
	if g.one(6) && !g.compacted { // etcd does not free the id of a watch that a compaction ended
		r.WatchId = int64(g.Intn(6))
	}
	return r
}

func (p *pair) watchRound(t testing.TB, seed int64) bool {
	p.clean(t)
	g := &generator{Rand: rand.New(rand.NewSource(seed))}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var story []string
	before := t.Failed()
	defer func() {
		if t.Failed() && !before {
			t.Logf("COMPAT_SEED=%d:\n%s", seed, strings.Join(story, "\n"))
		}
	}()
	var revision int64
	write := func(r proto.Message) {
		a, b := settle(p.leeward.call(r)), settle(p.etcd.call(r))
		if a.String() != b.String() {
			t.Fatalf("COMPAT_SEED=%d: %s\n leeward %v\n etcd %v", seed, text(r), a, b)
		}
		if h, ok := b.message.(interface{ GetHeader() *pb.ResponseHeader }); ok && b.err == nil {
			revision = max(revision, h.GetHeader().GetRevision())
		}
		g.revision = revision
		story = append(story, fmt.Sprintf("%s %s", r.ProtoReflect().Descriptor().Name(), text(r)))
	}
	for range 5 + g.Intn(20) {
		write(g.write())
	}
	if g.one(3) {
		g.compacted = true
		write(&pb.CompactionRequest{Revision: max(1, revision-int64(g.Intn(10)))})
	}
	streams := []*stream{p.leeward.openStream(t, ctx), p.etcd.openStream(t, ctx)}
	settled := func() {
		for range 6 {
			write(&pb.PutRequest{Key: []byte("tail")})
		}
		for _, w := range streams {
			w.until(5*time.Millisecond, func(*pb.WatchResponse) bool { return false }) // a cancel on its way
			w.settle(t, revision)
		}
	}
	for range 1 + g.Intn(5) {
		r := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: g.watchCreate()}}
		story = append(story, text(r))
		for _, w := range streams {
			w.send(t, r)
			if !w.until(30*time.Second, func(r *pb.WatchResponse) bool { return r.Created }) {
				t.Fatalf("COMPAT_SEED=%d: %s says nothing on %s", seed, w.name, text(r))
			}
		}
		for range g.Intn(4) {
			write(g.write())
		}
	}
	settled()
	if g.one(3) && !streams[0].compacted() && !streams[1].compacted() {
		id := int64(g.Intn(6))
		story = append(story, fmt.Sprintf("cancel %d", id))
		for _, w := range streams {
			w.send(t, &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: id}}})
			w.progress = 0
			w.settle(t, revision)
		}
	}
	for range g.Intn(10) {
		write(g.write())
	}
	settled()
	a, b := streams[0].report(), streams[1].report()
	for end := time.Now().Add(30 * time.Second); a != b && time.Now().Before(end); {
		for _, w := range streams {
			w.until(50*time.Millisecond, func(*pb.WatchResponse) bool { return false })
		}
		a, b = streams[0].report(), streams[1].report()
	}
	if a != b {
		t.Errorf("watches differ\n leeward:\n%s etcd:\n%s", a, b)
		return false
	}
	return true
}

func TestPairWatchesTellWhatEtcdsTell(t *testing.T) {
	p := newPair(t)
	seed := number("COMPAT_SEED", 1)
	end := time.Now().Add(time.Duration(number("COMPAT_SECONDS", 5)) * time.Second)
	rounds, different := int64(0), 0
	for ; time.Now().Before(end) && different < 3; rounds++ {
		if !p.watchRound(t, seed+rounds) {
			different++
		}
	}
	t.Logf("%d rounds, seeds from %d on", rounds, seed)
}

func TestPairLargeEventsArriveWholeWithAndWithoutFragments(t *testing.T) {
	p := newPair(t)
	for i := range 5 {
		for _, s := range p.both() {
			put := &pb.PutRequest{Key: fmt.Appendf(nil, "large/%d", i), Value: bytes.Repeat([]byte{'a' + byte(i)}, 700_000)}
			if a := s.call(put); a.err != nil {
				t.Fatal(s.name, a)
			}
		}
	}
	for _, fragment := range []bool{false, true} {
		ctx, cancel := context.WithCancel(context.Background())
		var reports []string
		for _, s := range p.both() {
			w := s.openStream(t, ctx)
			w.send(t, &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{
				Key: []byte("large/"), RangeEnd: []byte("large0"), StartRevision: 1, Fragment: fragment, PrevKv: true}}})
			// Beyond 4 MiB a message would break a client that asked for fragments to avoid it.
			if !w.until(60*time.Second, func(r *pb.WatchResponse) bool {
				if fragment && proto.Size(r) > 4<<20 {
					t.Errorf("%s: a fragment of %d bytes", s.name, proto.Size(r))
				}
				return w.watches[0] != nil && len(w.watches[0].events) == 5
			}) {
				t.Fatalf("%s: fragment=%v: %d of 5 events", s.name, fragment, len(w.watches[0].events))
			}
			reports = append(reports, w.report())
		}
		if reports[0] != reports[1] {
			t.Errorf("fragment=%v: events differ", fragment)
		}
		cancel()
	}
}

func TestPairALeaseEndsByItselfAndTakesItsKeys(t *testing.T) {
	p := newPair(t)
	ctx, cancel := context.WithTimeout(context.Background(), 120*time.Second)
	defer cancel()
	for _, s := range p.both() {
		// Watched before it is there: the lease may end as soon as the key is.
		w := s.openStream(t, ctx)
		w.send(t, &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("mortal")}}})
		if !w.until(60*time.Second, func(r *pb.WatchResponse) bool { return r.Created }) {
			t.Fatalf("%s: no watch", s.name)
		}
		for ctx.Err() == nil {
			grant := s.call(&pb.LeaseGrantRequest{ID: 77, TTL: 1})
			if grant.err != nil || grant.message.(*pb.LeaseGrantResponse).TTL != 2 {
				t.Errorf("%s: least time to live: %v", s.name, grant)
			}
			if put := s.call(&pb.PutRequest{Key: []byte("mortal"), Lease: 77}); put.err == nil {
				break // else it has ended already
			}
		}
		if !w.until(60*time.Second, func(r *pb.WatchResponse) bool { return len(w.watches[0].events) >= 2 }) {
			t.Fatalf("%s: the key outlives its lease", s.name)
		}
		if got := w.watches[0].events[1]; !strings.HasPrefix(got, "type:DELETE") {
			t.Errorf("%s: %s", s.name, got)
		}
	}
	for _, r := range []proto.Message{&pb.LeaseTimeToLiveRequest{ID: 77, Keys: true}, &pb.LeaseKeepAliveRequest{ID: 77},
		&pb.LeaseRevokeRequest{ID: 77}, &pb.LeaseLeasesRequest{}} {
		if a, b := p.leeward.call(r), p.etcd.call(r); a.String() != b.String() {
			t.Errorf("%T\n leeward %v\n etcd    %v", r, a, b)
		}
	}
}

func TestPairServicesWithoutUsersAnswerAsEtcd(t *testing.T) {
	p := newPair(t)
	ctx, cancel := context.WithTimeout(context.Background(), 120*time.Second)
	defer cancel()
	type call struct {
		name string
		do   func(s *server) (proto.Message, error)
	}
	for _, c := range []call{
		{"AuthStatus", func(s *server) (proto.Message, error) { return s.auth.AuthStatus(ctx, &pb.AuthStatusRequest{}) }},
		{"Authenticate", func(s *server) (proto.Message, error) {
			return s.auth.Authenticate(ctx, &pb.AuthenticateRequest{Name: "a", Password: "b"})
		}},
		{"AuthEnable", func(s *server) (proto.Message, error) { return s.auth.AuthEnable(ctx, &pb.AuthEnableRequest{}) }},
		{"UserList", func(s *server) (proto.Message, error) { return s.auth.UserList(ctx, &pb.AuthUserListRequest{}) }},
		{"RoleList", func(s *server) (proto.Message, error) { return s.auth.RoleList(ctx, &pb.AuthRoleListRequest{}) }},
		{"UserGet", func(s *server) (proto.Message, error) { return s.auth.UserGet(ctx, &pb.AuthUserGetRequest{Name: "x"}) }},
		{"RoleGet", func(s *server) (proto.Message, error) { return s.auth.RoleGet(ctx, &pb.AuthRoleGetRequest{Role: "x"}) }},
		{"Alarm", func(s *server) (proto.Message, error) { return s.maint.Alarm(ctx, &pb.AlarmRequest{}) }},
		{"Alarm deactivate", func(s *server) (proto.Message, error) {
			return s.maint.Alarm(ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, Alarm: pb.AlarmType_NOSPACE})
		}},
		{"MoveLeader", func(s *server) (proto.Message, error) {
			return s.maint.MoveLeader(ctx, &pb.MoveLeaderRequest{TargetID: 4711})
		}},
		{"Defragment", func(s *server) (proto.Message, error) { return s.maint.Defragment(ctx, &pb.DefragmentRequest{}) }},
		{"HashKV future", func(s *server) (proto.Message, error) {
			return s.maint.HashKV(ctx, &pb.HashKVRequest{Revision: 1 << 40})
		}},
	} {
		var got [2]string
		for i, s := range p.both() {
			m, err := c.do(s)
			if err == nil {
				m = s.relative(m)
			}
			got[i] = answer{m, err}.String()
		}
		if got[0] != got[1] {
			t.Errorf("%s\n leeward %v\n etcd    %v", c.name, got[0], got[1])
		}
	}
}
