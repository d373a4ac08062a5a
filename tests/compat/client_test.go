package compat

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.etcd.io/etcd/client/v3/leasing"
	"go.etcd.io/etcd/client/v3/mirror"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.etcd.io/etcd/client/v3/ordering"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func endpoints(t testing.TB, name string) []string { return strings.Split(need(t, name), ",") }

func newClient(t testing.TB, at ...string) *clientv3.Client {
	c, err := clientv3.New(clientv3.Config{Endpoints: at, DialTimeout: 5 * time.Second, Logger: zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithChainUnaryInterceptor(again)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// A call that an election ends is sent again, as a user would: a leader may change whenever the machine stands still for a while.
func again(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	for attempt := 0; ; attempt++ {
		err := invoke(ctx, method, request, reply, conn, options...)
		text := status.Convert(err).Message()
		elects := strings.HasPrefix(text, "etcdserver: no leader") || strings.HasPrefix(text, "etcdserver: leader changed") ||
			strings.HasPrefix(text, "etcdserver: request timed out")
		if err == nil || !elects || attempt == 5 || ctx.Err() != nil {
			return err
		}
		time.Sleep(500 * time.Millisecond)
	}
}

// A client of all members of the primary region, and time for the test.
func primary(t testing.TB) (*clientv3.Client, context.Context) {
	ctx, cancel := context.WithTimeout(context.Background(), 120*time.Second)
	t.Cleanup(cancel)
	return newClient(t, endpoints(t, "LEEWARD_ACTIVE")...), ctx
}

func must[T any](value T, err error) func(t testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// The id of the leader and a status of each endpoint.
func leader(t testing.TB, ctx context.Context, c *clientv3.Client, at []string) (id uint64, endpoint string, others []uint64) {
	for ctx.Err() == nil {
		others = nil
		for _, e := range at {
			s, err := c.Status(ctx, e)
			if err != nil {
				continue
			}
			if s.Leader == s.Header.MemberId {
				id, endpoint = s.Leader, e
			} else {
				others = append(others, s.Header.MemberId)
			}
		}
		if endpoint != "" {
			return id, endpoint, others
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("no leader")
	return
}

func TestClientSyncFindsTheMembers(t *testing.T) {
	_, ctx := primary(t)
	all := endpoints(t, "LEEWARD_ACTIVE")
	c := newClient(t, all[0])
	if err := c.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	var bare []string
	for _, e := range c.Endpoints() {
		bare = append(bare, strings.TrimPrefix(e, "http://"))
	}
	slices.Sort(bare)
	slices.Sort(all)
	if !slices.Equal(bare, all) {
		t.Errorf("Sync gave %v, the members are %v", c.Endpoints(), all)
	}
	if _, err := c.Put(ctx, "synced", "yes"); err != nil {
		t.Errorf("a write over the endpoints of Sync: %v", err)
	}
	members := must(c.MemberList(ctx))(t).Members
	if len(members) != len(all) || members[0].Name == "" || members[0].IsLearner {
		t.Errorf("%v", members)
	}
}

func TestClientMaintenance(t *testing.T) {
	c, ctx := primary(t)
	all := endpoints(t, "LEEWARD_ACTIVE")
	put := must(c.Put(ctx, "hashed", "x"))(t)
	hashes := map[uint32]bool{}
	for _, e := range all {
		s := must(c.Status(ctx, e))(t)
		if !strings.HasPrefix(s.Version, "3.5.") || s.Leader == 0 || s.RaftTerm == 0 || s.DbSize == 0 || len(s.Errors) != 0 {
			t.Errorf("%s: %v", e, s)
		}
		for ctx.Err() == nil { // a follower may not have applied it yet
			h, err := c.HashKV(ctx, e, put.Header.Revision)
			if errors.Is(err, rpctypes.ErrFutureRev) {
				continue
			}
			if err != nil {
				t.Fatal(e, err)
			}
			hashes[h.Hash] = true
			break
		}
		if _, err := c.Defragment(ctx, e); err != nil {
			t.Errorf("%s: defragment: %v", e, err)
		}
	}
	if len(hashes) != 1 {
		t.Errorf("%d hashes of one revision", len(hashes))
	}
	if alarms := must(c.AlarmList(ctx))(t); len(alarms.Alarms) != 0 {
		t.Errorf("alarms: %v", alarms)
	}
	if _, err := c.AlarmDisarm(ctx, &clientv3.AlarmMember{}); err != nil {
		t.Errorf("disarming nothing: %v", err)
	}
}

// The stream is a file with its SHA-256 behind a multiple of 512 bytes.
func TestClientReadsASnapshot(t *testing.T) {
	c, ctx := primary(t)
	snapshot := must(c.SnapshotWithVersion(ctx))(t)
	file := must(io.ReadAll(snapshot.Snapshot))(t)
	if len(file)%512 != sha256.Size {
		t.Fatalf("%d bytes", len(file))
	}
	if sum := sha256.Sum256(file[:len(file)-sha256.Size]); !bytes.Equal(sum[:], file[len(file)-sha256.Size:]) {
		t.Error("another checksum than its own")
	}
	if !strings.HasPrefix(snapshot.Version, "3.5.") {
		t.Errorf("version %q", snapshot.Version)
	}
}

// What is not built says so, and the client does not hang or repeat it.
func TestClientIsToldClearlyWhatIsNotBuilt(t *testing.T) {
	c, ctx := primary(t)
	_, addErr := c.MemberAdd(ctx, []string{"http://127.0.0.1:1"})
	_, userErr := c.UserAdd(ctx, "u", "p")
	for what, err := range map[string]error{"member add": addErr, "user add": userErr} {
		if err == nil {
			continue // it has been built since
		}
		if s := status.Convert(err); s.Code() != codes.Unimplemented || !strings.Contains(s.Message(), "leeward") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestClientMovesTheLeader(t *testing.T) {
	c, ctx := primary(t)
	all := endpoints(t, "LEEWARD_ACTIVE")
	id, endpoint, others := leader(t, ctx, c, all)
	direct := newClient(t, endpoint)
	if _, err := direct.MoveLeader(ctx, 4711); !errors.Is(err, rpctypes.ErrBadLeaderTransferee) {
		t.Errorf("a stranger as the next leader: %v", err)
	}
	for _, e := range all {
		if e != endpoint {
			if _, err := newClient(t, e).MoveLeader(ctx, others[0]); !errors.Is(err, rpctypes.ErrNotLeader) {
				t.Errorf("asked at a follower: %v", err)
			}
		}
	}
	if _, err := direct.MoveLeader(ctx, others[0]); err != nil {
		t.Fatal(err)
	}
	// A member publishes its status now and then; the old leader may show itself a moment longer.
	for now := id; now == id; now, _, _ = leader(t, ctx, c, all) {
		if ctx.Err() != nil {
			t.Fatalf("%x still leads", id)
		}
	}
	if _, err := c.Put(ctx, "moved", "yes"); err != nil {
		t.Error(err)
	}
}

func TestClientSessionsMutexesAndElections(t *testing.T) {
	c, ctx := primary(t)
	sessions := make([]*concurrency.Session, 3)
	for i := range sessions {
		sessions[i] = must(concurrency.NewSession(c, concurrency.WithTTL(20)))(t)
	}
	// Only one holds it: a counter without any other protection adds up.
	var group sync.WaitGroup
	count := 0
	for _, s := range sessions {
		group.Add(1)
		go func() {
			defer group.Done()
			for range 5 {
				m := concurrency.NewMutex(s, "mutex")
				if err := m.Lock(ctx); err != nil {
					t.Error(err)
					return
				}
				count++
				if err := m.Unlock(ctx); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	group.Wait()
	if count != 15 {
		t.Errorf("counted %d of 15", count)
	}
	held := concurrency.NewMutex(sessions[0], "mutex")
	if err := held.TryLock(ctx); err != nil {
		t.Error(err)
	}
	if err := concurrency.NewMutex(sessions[1], "mutex").TryLock(ctx); !errors.Is(err, concurrency.ErrLocked) {
		t.Errorf("a second holder: %v", err)
	}

	first, second := concurrency.NewElection(sessions[0], "office"), concurrency.NewElection(sessions[1], "office")
	if err := first.Campaign(ctx, "one"); err != nil {
		t.Fatal(err)
	}
	won := make(chan error, 1)
	go func() { won <- second.Campaign(ctx, "two") }()
	observed := concurrency.NewElection(sessions[2], "office").Observe(ctx)
	if got := <-observed; string(got.Kvs[0].Value) != "one" {
		t.Errorf("observed %v", got)
	}
	if err := first.Proclaim(ctx, "one again"); err != nil {
		t.Error(err)
	}
	sessions[0].Close() // its lease takes office and lock with it
	if err := <-won; err != nil {
		t.Fatal(err)
	}
	if got := must(second.Leader(ctx))(t); string(got.Kvs[0].Value) != "two" {
		t.Errorf("the leader is %v", got)
	}
	if err := concurrency.NewMutex(sessions[1], "mutex").TryLock(ctx); err != nil {
		t.Errorf("the lock outlives its session: %v", err)
	}

	_, err := concurrency.NewSTM(c, func(s concurrency.STM) error {
		s.Put("stm", s.Get("stm")+"x")
		return nil
	})
	if err != nil || string(must(c.Get(ctx, "stm"))(t).Kvs[0].Value) != "x" {
		t.Errorf("transactional memory: %v", err)
	}
}

func TestClientKeepsALeaseAlive(t *testing.T) {
	c, ctx := primary(t)
	lease := must(c.Grant(ctx, 6))(t)
	must(c.Put(ctx, "kept", "x", clientv3.WithLease(lease.ID)))(t)
	alive := must(c.KeepAlive(ctx, lease.ID))(t)
	for start := time.Now(); time.Since(start) < 7*time.Second; {
		if r, open := <-alive; !open || r.TTL != 6 {
			t.Fatalf("keep-alive: %v", r)
		}
	}
	left := must(c.TimeToLive(ctx, lease.ID, clientv3.WithAttachedKeys()))(t)
	if left.TTL < 0 || left.GrantedTTL != 6 || len(left.Keys) != 1 {
		t.Errorf("%v", left)
	}
	must(c.Revoke(ctx, lease.ID))(t)
	if _, err := c.KeepAliveOnce(ctx, lease.ID); !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		t.Errorf("a revoked lease: %v", err)
	}
}

func TestClientWrappers(t *testing.T) {
	c, ctx := primary(t)
	spaced := namespace.NewKV(c.KV, "space/")
	watched := namespace.NewWatcher(c.Watcher, "space/").Watch(ctx, "", clientv3.WithPrefix())
	must(spaced.Put(ctx, "a", "1"))(t)
	must(spaced.Txn(ctx).If(clientv3.Compare(clientv3.Value("a"), "=", "1")).Then(clientv3.OpPut("b", "2")).Commit())(t)
	if got := must(spaced.Get(ctx, "", clientv3.WithPrefix()))(t); got.Count != 2 || string(got.Kvs[1].Key) != "b" {
		t.Errorf("namespace: %v", got)
	}
	if e := (<-watched).Events[0]; string(e.Kv.Key) != "a" {
		t.Errorf("namespace watch: %v", e)
	}

	for i := range 15 { // the syncer reads pages of 1,000
		var puts []clientv3.Op
		for j := range 100 {
			puts = append(puts, clientv3.OpPut(fmt.Sprintf("mirror/%02d%02d", i, j), "x"))
		}
		must(c.Txn(ctx).Then(puts...).Commit())(t)
	}
	syncer := mirror.NewSyncer(c, "mirror/", 0)
	pages, errs := syncer.SyncBase(ctx)
	keys := 0
	for page := range pages {
		keys += len(page.Kvs)
	}
	if err := <-errs; err != nil || keys != 1500 {
		t.Errorf("mirror: %d keys, %v", keys, err)
	}
	updates := syncer.SyncUpdates(ctx)
	must(c.Delete(ctx, "mirror/0000"))(t)
	if e := (<-updates).Events[0]; e.Type != clientv3.EventTypeDelete {
		t.Errorf("mirror: %v", e)
	}

	ordered := ordering.NewKV(c.KV, ordering.NewOrderViolationSwitchEndpointClosure(c))
	for i := range 20 {
		must(ordered.Put(ctx, "ordered", fmt.Sprint(i)))(t)
		if got := must(ordered.Get(ctx, "ordered"))(t); string(got.Kvs[0].Value) != fmt.Sprint(i) {
			t.Errorf("ordering: %v", got)
		}
	}

	leased, stop, err := leasing.NewKV(c, "leasing/")
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	must(c.Put(ctx, "owned", "1"))(t)
	for range 3 {
		must(leased.Get(ctx, "owned"))(t)
	}
	must(leased.Put(ctx, "owned", "2"))(t)
	must(leased.Txn(ctx).If(clientv3.Compare(clientv3.Value("owned"), "=", "2")).Then(clientv3.OpPut("owned", "3")).Commit())(t)
	if got := must(leased.Get(ctx, "owned"))(t); string(got.Kvs[0].Value) != "3" {
		t.Errorf("leasing: %v", got)
	}
	if got := must(c.Get(ctx, "owned"))(t); string(got.Kvs[0].Value) != "3" {
		t.Errorf("leasing, as others see it: %v", got)
	}
}

func TestClientSeesEtcdsErrors(t *testing.T) {
	_, ctx := primary(t)
	// One member: another may not have applied the compaction when it is asked to watch.
	c := newClient(t, endpoints(t, "LEEWARD_ACTIVE")[0])
	_, err := c.Put(ctx, "large", strings.Repeat("x", 1536*1024+1))
	if !errors.Is(err, rpctypes.ErrRequestTooLarge) {
		t.Errorf("a request above the limit: %v", err)
	}
	rev := must(c.Put(ctx, "old", "x"))(t).Header.Revision
	must(c.Put(ctx, "old", "y"))(t)
	must(c.Compact(ctx, rev+1, clientv3.WithCompactPhysical()))(t)
	if _, err := c.Get(ctx, "old", clientv3.WithRev(rev)); !errors.Is(err, rpctypes.ErrCompacted) {
		t.Errorf("a compacted read: %v", err)
	}
	w := <-c.Watch(ctx, "old", clientv3.WithRev(rev))
	if !w.Canceled || w.CompactRevision != rev+1 || !errors.Is(w.Err(), rpctypes.ErrCompacted) {
		t.Errorf("a compacted watch: %+v", w)
	}
	if _, err := c.Revoke(ctx, 4711); !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		t.Errorf("an unknown lease: %v", err)
	}
	progress := c.Watch(ctx, "nothing", clientv3.WithCreatedNotify())
	<-progress
	for ctx.Err() == nil {
		if err := c.RequestProgress(ctx); err != nil {
			t.Fatal(err)
		}
		if r := <-progress; r.IsProgressNotify() {
			break
		}
	}
	if got, err := clientv3.GetStreamToGetResponse(must(c.GetStream(ctx, "old"))(t)); err == nil {
		t.Errorf("RangeStream answers now (%v): compare it with etcd's", got)
	} else if status.Code(err) != codes.Unimplemented {
		t.Errorf("RangeStream: %v", err)
	}
}
