package compat

import (
	"cmp"
	"fmt"
	"math/rand"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// Requests drawn at random from small sets, so that they meet.
type generator struct {
	*rand.Rand
	revision  int64 // about how many writes there were
	compacted bool  // in this sequence
}

// Fewer than 12: etcd sorts more of them by an unstable sort, README.md.
var keys = []string{"a", "a\x00", "aa", "ab", "b", "c", "c/1", "c/2", "\xff", "\x00", "k\x00\x01"}
var values = []string{"", "1", "2", "10", "x", "xx", "\x00", strings.Repeat("v", 300)}
var leaseIDs = []int64{1, 2, 3, 4, 1 << 40, 9223372036854775807}

func (g *generator) one(of int) bool { return g.Intn(of) == 0 }

func (g *generator) key() []byte {
	if g.one(60) {
		return nil
	}
	return []byte(keys[g.Intn(len(keys))])
}

func (g *generator) span() (key, end []byte) {
	key = g.key()
	switch g.Intn(8) {
	case 0, 1, 2:
		return key, nil
	case 3:
		return key, []byte{0} // from the key on
	case 4:
		return []byte{0}, []byte{0} // everything
	case 5:
		if len(key) == 0 || key[len(key)-1] == 0xff {
			return key, []byte{0}
		}
		end = slices.Clone(key)
		end[len(end)-1]++
		return key, end // a prefix
	default:
		return key, g.key() // may end before it begins
	}
}

// Mostly of the recent past; also of the future, before the start, and no revision at all.
func (g *generator) at() int64 {
	switch g.Intn(12) {
	case 0:
		return g.revision + 1 + int64(g.Intn(5))
	case 1:
		return -int64(g.Intn(6)) - 1
	case 2:
		return raw - int64(g.Intn(3))
	default:
		return max(1, g.revision-int64(g.Intn(20)))
	}
}

func (g *generator) sometimesAt(of int) int64 {
	if g.one(of) {
		return g.at()
	}
	return 0
}

func (g *generator) rangeRequest() *pb.RangeRequest {
	r := &pb.RangeRequest{}
	r.Key, r.RangeEnd = g.span()
	r.Revision = g.sometimesAt(4)
	if g.one(3) {
		r.Limit = int64(g.Intn(5))
	}
	if g.one(40) {
		r.Limit = -1
	}
	if g.one(2) {
		r.SortOrder = pb.RangeRequest_SortOrder(g.Intn(3))
		r.SortTarget = pb.RangeRequest_SortTarget(g.Intn(5))
	}
	if g.one(60) {
		r.SortOrder = pb.RangeRequest_SortOrder(3 + g.Intn(2))
	}
	if g.one(60) {
		r.SortTarget = pb.RangeRequest_SortTarget(5 + g.Intn(2))
	}
	r.Serializable = g.one(3)
	r.KeysOnly = g.one(5)
	r.CountOnly = g.one(6)
	r.MinModRevision = g.sometimesAt(8)
	r.MaxModRevision = g.sometimesAt(8)
	r.MinCreateRevision = g.sometimesAt(8)
	r.MaxCreateRevision = g.sometimesAt(8)
	return r
}

func (g *generator) leaseID() int64 {
	if g.one(20) {
		return -1
	}
	return leaseIDs[g.Intn(len(leaseIDs))]
}

func (g *generator) put() *pb.PutRequest {
	r := &pb.PutRequest{Key: g.key(), Value: []byte(values[g.Intn(len(values))]), PrevKv: g.one(3)}
	if g.one(4) {
		r.Lease = g.leaseID()
	}
	if g.one(6) {
		r.IgnoreValue = true
		if !g.one(5) {
			r.Value = nil
		}
	}
	if g.one(6) {
		r.IgnoreLease = true
		if !g.one(5) {
			r.Lease = 0
		}
	}
	return r
}

func (g *generator) deleteRange() *pb.DeleteRangeRequest {
	r := &pb.DeleteRangeRequest{PrevKv: g.one(2)}
	r.Key, r.RangeEnd = g.span()
	if g.one(2) {
		r.RangeEnd = nil
	}
	return r
}

func (g *generator) compare() *pb.Compare {
	c := &pb.Compare{Result: pb.Compare_CompareResult(g.Intn(4)), Target: pb.Compare_CompareTarget(g.Intn(5)), Key: g.key()}
	if g.one(40) {
		c.Result = 4
	}
	if g.one(40) {
		c.Target = 5
	}
	if g.one(3) {
		c.Key, c.RangeEnd = g.span()
	}
	target := c.Target
	if g.one(25) {
		target = pb.Compare_CompareTarget(g.Intn(6)) // of another kind than the target says, or none
	}
	switch target {
	case pb.Compare_VERSION:
		c.TargetUnion = &pb.Compare_Version{Version: int64(g.Intn(4))}
	case pb.Compare_CREATE:
		c.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: g.at()}
		if g.one(3) { // the usual question: is it there?
			c.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: raw}
		}
	case pb.Compare_MOD:
		c.TargetUnion = &pb.Compare_ModRevision{ModRevision: g.at()}
	case pb.Compare_VALUE:
		c.TargetUnion = &pb.Compare_Value{Value: []byte(values[g.Intn(len(values))])}
	case pb.Compare_LEASE:
		c.TargetUnion = &pb.Compare_Lease{Lease: []int64{0, 1, 2, 3}[g.Intn(4)]}
	}
	return c
}

func (g *generator) op(depth int) *pb.RequestOp {
	switch n := g.Intn(40); {
	case n < 12:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: g.rangeRequest()}}
	case n < 28:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: g.put()}}
	case n < 33:
		d := g.deleteRange()
		if len(d.RangeEnd) == 1 && d.RangeEnd[0] == 0 {
			d.RangeEnd = nil // etcd overlooks a put within it, README.md
		}
		return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: d}}
	case n < 39 && depth < 3:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: g.txn(depth + 1)}}
	case n == 39 && g.one(4):
		return &pb.RequestOp{} // none of the kinds there are
	default:
		return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: g.rangeRequest()}}
	}
}

func (g *generator) txn(depth int) *pb.TxnRequest {
	t := &pb.TxnRequest{}
	for range g.Intn(3) {
		t.Compare = append(t.Compare, g.compare())
	}
	for range g.Intn(4) {
		t.Success = append(t.Success, g.op(depth))
	}
	for range g.Intn(4) {
		t.Failure = append(t.Failure, g.op(depth))
	}
	if depth == 0 && g.one(50) { // at the limit of 128, or above
		t = &pb.TxnRequest{}
		for i := range 127 + g.Intn(3) {
			t.Success = append(t.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestRange{
				RequestRange: &pb.RangeRequest{Key: fmt.Appendf(nil, "many/%d", i)}}})
		}
		if g.one(3) {
			t.Success[0] = &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: g.txn(1)}}
		}
	}
	return t
}

func (g *generator) request() proto.Message {
	switch n := g.Intn(100); {
	case n < 28:
		return g.rangeRequest()
	case n < 52:
		return g.put()
	case n < 59:
		return g.deleteRange()
	case n < 82:
		return g.txn(0)
	case n < 85:
		r := &pb.CompactionRequest{Revision: g.at(), Physical: g.one(2)}
		if r.Revision == raw {
			r.Revision-- // 0: etcd takes it the first time, README.md
		}
		return r
	case n < 90:
		r := &pb.LeaseGrantRequest{ID: g.leaseID(), TTL: []int64{0, -1, 1, 60, 600, 9_000_000_000, 9_000_000_001}[g.Intn(7)]}
		if r.TTL == 1 {
			r.TTL = 100 // short ones would end while the rest of the sequence runs
		}
		return r
	case n < 93:
		return &pb.LeaseRevokeRequest{ID: g.leaseID()}
	case n < 96:
		return &pb.LeaseTimeToLiveRequest{ID: g.leaseID(), Keys: g.one(2)}
	case n < 98:
		return &pb.LeaseKeepAliveRequest{ID: g.leaseID()}
	default:
		return &pb.LeaseLeasesRequest{}
	}
}

// Takes out what etcd leaves open: the order of sets, and a clock's second.
func settle(a answer) answer {
	switch m := a.message.(type) {
	case *pb.RangeResponse:
		forgetLeases(m)
	case *pb.TxnResponse:
		settleNested(m)
	case *pb.LeaseTimeToLiveResponse:
		slices.SortFunc(m.Keys, func(x, y []byte) int { return slices.Compare(x, y) })
		if m.TTL > 0 && m.GrantedTTL-m.TTL <= 20 {
			m.TTL = m.GrantedTTL
		}
	case *pb.LeaseLeasesResponse:
		slices.SortFunc(m.Leases, func(x, y *pb.LeaseStatus) int { return cmp.Compare(x.ID, y.ID) })
	}
	return a
}

// A range of keys only names their leases in etcd 3.4 to 3.6, and here; 3.7
// answers from its index, which does not know them. Which ranges of a
// transaction ran is told by no field, so values that are empty stand for it.
func forgetLeases(m *pb.RangeResponse) {
	for _, kv := range m.Kvs {
		if len(kv.Value) == 0 {
			kv.Lease = 0
		}
	}
}

func settleNested(m *pb.TxnResponse) {
	for _, r := range m.Responses {
		if inner := r.GetResponseTxn(); inner != nil {
			settleNested(inner)
		}
		if inner := r.GetResponseRange(); inner != nil {
			forgetLeases(inner)
		}
	}
}

func writes(m proto.Message) int64 {
	switch m.(type) {
	case *pb.PutRequest, *pb.DeleteRangeRequest, *pb.TxnRequest, *pb.LeaseRevokeRequest:
		return 1
	}
	return 0
}

// Runs a sequence on both from a clean store. The index of the first
// difference, or -1.
func (p *pair) run(t testing.TB, requests []proto.Message) (int, answer, answer) {
	p.clean(t)
	for i, r := range requests {
		a, b := settle(p.leeward.call(r)), settle(p.etcd.call(r))
		if a.String() != b.String() {
			return i, a, b
		}
	}
	return -1, answer{}, answer{}
}

// The fewest requests that still differ: leaves out ever smaller pieces.
func (p *pair) shrink(t testing.TB, requests []proto.Message) []proto.Message {
	end := time.Now().Add(20 * time.Second)
	for piece := len(requests) / 2; piece >= 1; piece /= 2 {
		for at := 0; at+piece < len(requests) && time.Now().Before(end); {
			less := slices.Concat(requests[:at], requests[at+piece:])
			if i, _, _ := p.run(t, less); i >= 0 {
				requests = less[:i+1]
			} else {
				at += piece
			}
		}
	}
	return requests
}

func number(name string, otherwise int64) int64 {
	if n, err := strconv.ParseInt(os.Getenv(name), 10, 64); err == nil {
		return n
	}
	return otherwise
}

// The same requests each time, so that a change is judged and not the day's luck.
// COMPAT_SEED=0 draws others, another number replays; COMPAT_SECONDS runs longer.
func TestPairRandomRequestsGetEtcdsAnswers(t *testing.T) {
	p := newPair(t)
	seed := number("COMPAT_SEED", 467_412)
	if seed == 0 {
		seed = time.Now().UnixNano() % 1_000_000
	}
	end := time.Now().Add(time.Duration(number("COMPAT_SECONDS", 10)) * time.Second)
	total, different := 0, 0
	seen := map[string]bool{}
	for round := int64(0); time.Now().Before(end) && different < 8; round++ {
		g := &generator{Rand: rand.New(rand.NewSource(seed + round))}
		var requests []proto.Message
		for range 80 {
			r := g.request()
			g.revision += writes(r)
			requests = append(requests, r)
		}
		started := time.Now()
		i, _, _ := p.run(t, requests)
		slow := time.Since(started) > 1500*time.Millisecond // the shortest leases end in 2 s
		total += len(requests)
		if i < 0 {
			continue
		}
		least := p.shrink(t, requests[:i+1])
		j, a, b := p.run(t, least)
		if j < 0 && slow {
			t.Logf("COMPAT_SEED=%d: a slow run differed and the next did not: a lease ended", seed+round)
			continue
		}
		if j < 0 {
			t.Errorf("COMPAT_SEED=%d: a difference that does not come again at %T %s", seed+round, requests[i], text(requests[i]))
			different++
			continue
		}
		shape := fmt.Sprintf("%T", least[j]) + a.String()[:min(len(a.String()), 20)]
		if seen[shape] {
			continue
		}
		seen[shape] = true
		different++
		var story strings.Builder
		for _, r := range least[:j+1] {
			fmt.Fprintf(&story, "  %s %s\n", r.ProtoReflect().Descriptor().Name(), text(r))
		}
		t.Errorf("COMPAT_SEED=%d: answers differ after (revisions relative to an empty store)\n%s  leeward: %v\n  etcd:    %v",
			seed+round, &story, a, b)
	}
	t.Logf("%d requests, seeds from %d on, %d differences", total, seed, different)
}
