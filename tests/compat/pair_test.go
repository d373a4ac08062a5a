// Package compat runs the same requests against Leeward and against the etcd
// release that go.mod pins, and uses etcd's own Go client on Leeward.
//
// tests/compat/run starts the servers and names them in the environment.
package compat

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// One server under comparison, by its plain gRPC stubs: the client library
// would check and retry what the server is to be judged by.
type server struct {
	name     string
	endpoint string
	conn     *grpc.ClientConn
	kv       pb.KVClient
	watch    pb.WatchClient
	lease    pb.LeaseClient
	maint    pb.MaintenanceClient
	cluster  pb.ClusterClient
	auth     pb.AuthClient
	base     int64 // revisions are told relative to it
}

func dial(t testing.TB, name, endpoint string) *server {
	conn, err := grpc.NewClient("passthrough:///"+endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &server{name: name, endpoint: endpoint, conn: conn, kv: pb.NewKVClient(conn), watch: pb.NewWatchClient(conn),
		lease: pb.NewLeaseClient(conn), maint: pb.NewMaintenanceClient(conn), cluster: pb.NewClusterClient(conn),
		auth: pb.NewAuthClient(conn)}
}

// A node of Leeward and a real etcd, each a cluster of one.
type pair struct {
	leeward, etcd *server
}

func (p *pair) both() []*server { return []*server{p.leeward, p.etcd} }

func newPair(t testing.TB) *pair {
	p := &pair{dial(t, "leeward", need(t, "LEEWARD_SINGLE")), dial(t, "etcd", need(t, "ETCD_SINGLE"))}
	p.clean(t)
	return p
}

// Removes all keys and leases and takes the revision that is left as base.
func (p *pair) clean(t testing.TB) {
	for _, s := range p.both() {
		ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
		defer cancel()
		leases, err := s.lease.LeaseLeases(ctx, &pb.LeaseLeasesRequest{})
		if err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		for _, l := range leases.Leases {
			if _, err := s.lease.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: l.ID}); err != nil {
				t.Fatalf("%s: revoke: %v", s.name, err)
			}
		}
		if _, err := s.kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}); err != nil {
			t.Fatalf("%s: clean: %v", s.name, err)
		}
		// One revision more, so that nothing of before is at the base itself.
		put, err := s.kv.Put(ctx, &pb.PutRequest{Key: []byte("clean")})
		// And so far up that a revision a few below the base is one on both.
		for err == nil && put.Header.Revision < 100 {
			put, err = s.kv.Put(ctx, &pb.PutRequest{Key: []byte("clean")})
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte("clean")}); err != nil {
			t.Fatal(err)
		}
		s.base = put.Header.Revision + 1
	}
}

func need(t testing.TB, name string) string {
	value := os.Getenv(name)
	if value == "" {
		t.Fatalf("%s is not set: tests/compat/run starts the servers", name)
	}
	return value
}

// An answer as it is compared: the message, or code and text of the error.
type answer struct {
	message proto.Message
	err     error
}

func (a answer) String() string {
	if a.err != nil {
		s := status.Convert(a.err)
		return fmt.Sprintf("error %v %q", s.Code(), s.Message())
	}
	return strings.TrimSpace(text(a.message))
}

func text(m proto.Message) string {
	// The library varies the spaces on purpose.
	return strings.Join(strings.Fields(prototext.MarshalOptions{}.Format(m)), " ")
}

// What no two clusters have in common.
var identities = map[protoreflect.Name]bool{"cluster_id": true, "member_id": true, "raft_term": true}

var revisions = map[protoreflect.Name]bool{"revision": true, "start_revision": true, "min_mod_revision": true,
	"max_mod_revision": true, "min_create_revision": true, "max_create_revision": true, "mod_revision": true,
	"create_revision": true, "compact_revision": true}

const raw = -1000 // from here down requests mean the absolute 0, -1, -2 ...

// Adds `by` to every revision inside and clears identities.
func shift(m protoreflect.Message, by int64) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Kind() == protoreflect.MessageKind && f.IsList():
			for i := range v.List().Len() {
				shift(v.List().Get(i).Message(), by)
			}
		case f.Kind() == protoreflect.MessageKind && !f.IsMap():
			shift(v.Message(), by)
		case identities[f.Name()]:
			m.Clear(f)
		case revisions[f.Name()] && v.Int() <= raw:
			m.Set(f, protoreflect.ValueOfInt64(v.Int()-raw))
		case revisions[f.Name()] && (v.Int() != 0 || f.ContainingOneof() != nil):
			m.Set(f, protoreflect.ValueOfInt64(v.Int()+by))
		}
		return true
	})
}

func (s *server) absolute(m proto.Message) proto.Message {
	out := proto.Clone(m)
	shift(out.ProtoReflect(), s.base)
	return out
}

func (s *server) relative(m proto.Message) proto.Message {
	out := proto.Clone(m)
	shift(out.ProtoReflect(), -s.base)
	return out
}

// Sends one request of any unary kind that the fuzzer makes.
func (s *server) call(request proto.Message) answer {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	var out proto.Message
	var err error
	switch r := s.absolute(request).(type) {
	case *pb.RangeRequest:
		out, err = s.kv.Range(ctx, r)
	case *pb.PutRequest:
		out, err = s.kv.Put(ctx, r)
	case *pb.DeleteRangeRequest:
		out, err = s.kv.DeleteRange(ctx, r)
	case *pb.TxnRequest:
		out, err = s.kv.Txn(ctx, r)
	case *pb.CompactionRequest:
		out, err = s.kv.Compact(ctx, r)
	case *pb.LeaseGrantRequest:
		out, err = s.lease.LeaseGrant(ctx, r)
	case *pb.LeaseRevokeRequest:
		out, err = s.lease.LeaseRevoke(ctx, r)
	case *pb.LeaseTimeToLiveRequest:
		out, err = s.lease.LeaseTimeToLive(ctx, r)
	case *pb.LeaseLeasesRequest:
		out, err = s.lease.LeaseLeases(ctx, r)
	case *pb.LeaseKeepAliveRequest:
		out, err = s.keepAlive(ctx, r)
	default:
		panic(fmt.Sprintf("no such request: %T", request))
	}
	if err != nil {
		return answer{err: err}
	}
	return answer{message: s.relative(out)}
}

func (s *server) keepAlive(ctx context.Context, r *pb.LeaseKeepAliveRequest) (proto.Message, error) {
	stream, err := s.lease.LeaseKeepAlive(ctx)
	if err != nil {
		return nil, err
	}
	defer stream.CloseSend()
	if err := stream.Send(r); err != nil {
		return nil, err
	}
	return stream.Recv()
}
