package compat

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// These tests kill nodes of the cluster, one after the other, and run last.

// Ends a node at once; LEEWARD_PIDS names its process.
func kill(t testing.TB, endpoint string) {
	for _, entry := range strings.Split(need(t, "LEEWARD_PIDS"), ",") {
		name, pid, _ := strings.Cut(entry, "=")
		if name != endpoint {
			continue
		}
		number, err := strconv.Atoi(pid)
		if err != nil {
			t.Fatal(err)
		}
		// Not yet waited for by its parent, so the number is still its own.
		if err := syscall.Kill(number, syscall.SIGKILL); err != nil {
			t.Fatalf("cannot end %s, process %d: %v", endpoint, number, err)
		}
		return
	}
	t.Fatalf("no process for %s", endpoint)
}

func one(trailer metadata.MD, name string) string { return strings.Join(trailer.Get(name), ",") }

func TestRegionAStandbyTellsItsLagAndKeepsToABound(t *testing.T) {
	standby := dial(t, "standby", endpoints(t, "LEEWARD_STANDBY")[0])
	c, ctx := primary(t)
	rev := must(c.Put(ctx, "stale", "x"))(t).Header.Revision
	read := &pb.RangeRequest{Key: []byte("stale"), Serializable: true}
	var trailer metadata.MD
	for ctx.Err() == nil {
		got, err := standby.kv.Range(ctx, read, grpc.Trailer(&trailer))
		if err != nil {
			t.Fatal(err)
		}
		if got.Header.Revision >= rev {
			break
		}
	}
	if ms, err := strconv.ParseFloat(one(trailer, "leeward-lag-high-ms"), 64); err != nil || ms < 0 {
		t.Errorf("lag: %v", trailer)
	}
	bounded := metadata.AppendToOutgoingContext(ctx, "leeward-max-lag", "30s")
	if _, err := standby.kv.Range(bounded, read); err != nil {
		t.Errorf("within the bound: %v", err)
	}
	tight := metadata.AppendToOutgoingContext(ctx, "leeward-max-lag", "1ns")
	_, err := standby.kv.Range(tight, read, grpc.Trailer(&trailer))
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "lag") || one(trailer, "leeward-epoch") != "1" {
		t.Errorf("beyond the bound: %v, %v", err, trailer)
	}
	_, err = standby.kv.Txn(tight, &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: read}}}})
	if status.Code(err) != codes.Unavailable {
		t.Errorf("a transaction beyond the bound: %v", err)
	}
}

func TestRegionAStandbyPassesCallsOnToItsPrimary(t *testing.T) {
	_, ctx := primary(t)
	c := newClient(t, endpoints(t, "LEEWARD_STANDBY")...)
	must(c.Put(ctx, "passed", "on"))(t)
	if got := must(c.Get(ctx, "passed"))(t); string(got.Kvs[0].Value) != "on" {
		t.Errorf("%v", got)
	}
	lease := must(c.Grant(ctx, 60))(t)
	if left := must(c.TimeToLive(ctx, lease.ID))(t); left.TTL <= 0 {
		t.Errorf("%v", left)
	}
	must(c.KeepAliveOnce(ctx, lease.ID))(t)
	must(c.Revoke(ctx, lease.ID))(t)
}

func TestRegionTheClientGoesOnWhenTheLeaderDies(t *testing.T) {
	c, ctx := primary(t)
	watched := c.Watch(ctx, "fail/", clientv3.WithPrefix())
	lease := must(c.Grant(ctx, 10))(t)
	alive := must(c.KeepAlive(ctx, lease.ID))(t)
	must(c.Put(ctx, "fail/mortal", "x", clientv3.WithLease(lease.ID)))(t)
	_, victim, _ := leader(t, ctx, c, endpoints(t, "LEEWARD_ACTIVE"))
	kill(t, victim)
	killed := time.Now()
	// A read is repeated by the client itself; a write may be told that its end is unknown.
	if _, err := c.Get(ctx, "fail/mortal"); err != nil {
		t.Errorf("a read while there is no leader: %v", err)
	}
	for {
		once, cancel := context.WithTimeout(ctx, 5*time.Second)
		_, err := c.Put(once, "fail/after", "y")
		cancel()
		if err == nil {
			break
		}
		code := status.Code(err)
		var told rpctypes.EtcdError
		if errors.As(err, &told) { // the client gives etcd's own errors, and its context's, without their status
			code = told.Code()
		} else if errors.Is(err, context.DeadlineExceeded) {
			code = codes.DeadlineExceeded
		}
		if code != codes.Unavailable && code != codes.DeadlineExceeded && code != codes.Canceled {
			t.Fatalf("a write after the loss of the leader: %v", err)
		}
		if ctx.Err() != nil {
			t.Fatal("no write got through")
		}
	}
	t.Logf("the first write was %v after the kill", time.Since(killed).Round(time.Millisecond))
	for seen := false; !seen; {
		select {
		case r := <-watched:
			if r.Err() != nil {
				t.Fatalf("the watch ended: %v", r.Err())
			}
			for _, e := range r.Events {
				seen = seen || string(e.Kv.Key) == "fail/after"
			}
		case <-ctx.Done():
			t.Fatal("the watch does not go on at another member")
		}
	}
	for until := time.Now().Add(time.Second); time.Now().Before(until); {
		select {
		case _, open := <-alive:
			if !open {
				t.Fatal("the keep-alive ended")
			}
		case <-time.After(50 * time.Millisecond):
		}
	}
	if left := must(c.TimeToLive(ctx, lease.ID))(t); left.TTL <= 0 {
		t.Errorf("the lease did not survive: %v", left)
	}
}

// The write must be refused by a text on which the client tries its next
// endpoint: it repeats a write on no other. A standby without its primary and
// a cluster of one that serves stand in one list, as two regions would.
func TestRegionTheClientLeavesAStandbyWithoutItsPrimary(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 120*time.Second)
	defer cancel()
	here := endpoints(t, "LEEWARD_STANDBY")[0]
	for _, e := range endpoints(t, "LEEWARD_ACTIVE") {
		kill(t, e)
	}
	standby := dial(t, "standby", here)
	var trailer metadata.MD
	var err error
	for ctx.Err() == nil {
		trailer = nil
		// One that was passed on to a primary that then died waits for an answer.
		once, cancel := context.WithTimeout(ctx, time.Second)
		_, err = standby.kv.Put(once, &pb.PutRequest{Key: []byte("nowhere")}, grpc.Trailer(&trailer))
		cancel()
		if status.Convert(err).Message() == "there is no connection available" {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if s := status.Convert(err); s.Code() != codes.Unavailable || s.Message() != "there is no connection available" {
		t.Errorf("a write: %v", err)
	}
	if one(trailer, "leeward-epoch") != "1" || one(trailer, "leeward-lag-high-ms") == "" ||
		!strings.HasPrefix(one(trailer, "leeward-reason"), "no_primary: region west") {
		t.Errorf("trailers: %v", trailer)
	}
	// At the latest when the silence is noticed, not when the caller's time is over.
	_, err = standby.kv.Range(ctx, &pb.RangeRequest{Key: []byte("x")}, grpc.Trailer(&trailer))
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "epoch 1") || one(trailer, "leeward-epoch") != "1" {
		t.Errorf("a linearizable read: %v %v", err, trailer)
	}
	if _, err = standby.kv.Range(ctx, &pb.RangeRequest{Key: []byte("stale"), Serializable: true}); err != nil {
		t.Errorf("a stale read: %v", err)
	}

	c := newClient(t, here, need(t, "LEEWARD_SINGLE"))
	for range 20 { // in turn at both
		if _, err := c.Put(ctx, "moved-on", "yes"); err != nil {
			t.Fatalf("the client stayed: %v", err)
		}
		if _, err := c.Get(ctx, "moved-on"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Txn(ctx).Then(clientv3.OpPut("moved-on", "again")).Commit(); err != nil {
			t.Fatalf("a transaction: %v", err)
		}
		lease, err := c.Grant(ctx, 60)
		if err != nil {
			t.Fatalf("a lease: %v", err)
		}
		if _, err := c.Revoke(ctx, lease.ID); err != nil {
			t.Fatalf("revoke: %v", err)
		}
	}
}
