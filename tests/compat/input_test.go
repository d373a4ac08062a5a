package compat

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Bytes that nothing can parse, as a protobuf message of gRPC.
type rawCodec struct{}

func (rawCodec) Marshal(v any) ([]byte, error)      { return *v.(*[]byte), nil }
func (rawCodec) Unmarshal(data []byte, v any) error { *v.(*[]byte) = data; return nil }
func (rawCodec) Name() string                       { return "proto" }

// Everything a client may do wrong at the port of a running node. After each
// the key written before is there and another client is served.
func TestPairBadInputIsRefusedAndDisturbsNobody(t *testing.T) {
	p := newPair(t)
	s := p.leeward
	if a := s.call(&pb.PutRequest{Key: []byte("witness"), Value: []byte("here")}); a.err != nil {
		t.Fatal(a)
	}
	for name, bad := range map[string]func(t *testing.T){
		"an oversized request": func(t *testing.T) {
			put := &pb.PutRequest{Key: []byte("big"), Value: make([]byte, 1536*1024+1)}
			if a, b := p.leeward.call(put), p.etcd.call(put); a.String() != b.String() {
				t.Errorf("\n leeward %v\n etcd    %v", a, b)
			}
			put.Value = make([]byte, 3<<20)
			if a, b := p.leeward.call(put), p.etcd.call(put); status.Code(a.err) != status.Code(b.err) {
				t.Errorf("beyond the frame limit\n leeward %v\n etcd    %v", a, b)
			}
		},
		"unknown methods and services": func(t *testing.T) {
			for _, method := range []string{"/etcdserverpb.KV/Nothing", "/nobody.Nothing/Here", "/", "/x", "//"} {
				var codes [2]codes.Code
				for i, s := range p.both() {
					codes[i] = status.Code(s.conn.Invoke(context.Background(), method, &pb.PutRequest{}, &pb.PutResponse{}))
				}
				if codes[0] != codes[1] {
					t.Errorf("%s: leeward %v, etcd %v", method, codes[0], codes[1])
				}
			}
		},
		"malformed protobuf": func(t *testing.T) {
			for _, body := range []string{"\x0a\xff", "\x0a\x05ab", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", strings.Repeat("\x12\x80", 1000)} {
				for _, method := range []string{"/etcdserverpb.KV/Put", "/etcdserverpb.KV/Txn", "/etcdserverpb.Lease/LeaseGrant"} {
					request, response := []byte(body), []byte{}
					err := s.conn.Invoke(context.Background(), method, &request, &response, forceCodec())
					if code := status.Code(err); code != codes.InvalidArgument && code != codes.Internal {
						t.Errorf("%s %q: %v", method, body, err)
					}
				}
			}
		},
		"huge headers": func(t *testing.T) {
			ctx := metadata.AppendToOutgoingContext(context.Background(), "x-huge", strings.Repeat("h", 1<<20))
			ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
			defer cancel()
			if _, err := s.kv.Range(ctx, &pb.RangeRequest{Key: []byte("x")}); err == nil {
				t.Error("a header of 1 MiB is taken")
			}
		},
		"a wrong content type": func(t *testing.T) {
			response, err := http.Post("http://"+s.endpoint+"/etcdserverpb.KV/Put", "text/plain", strings.NewReader("hello"))
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if response.StatusCode < 400 {
				t.Errorf("%d", response.StatusCode)
			}
		},
		"garbage instead of and after the preface": func(t *testing.T) {
			for _, text := range []string{"\x16\x03\x01\x02\x00garbage", "GET", "\x00\x00\x00\x00", "NOT HTTP AT ALL\r\n\r\n",
				http2.ClientPreface + strings.Repeat("\xde\xad\xbe\xef", 50), http2.ClientPreface + "\xff\xff\xff\x00\x00\x00\x00\x00\x01"} {
				conn := plain(t, s)
				conn.Write([]byte(text))
				conn.(*net.TCPConn).CloseWrite()
				conn.SetReadDeadline(time.Now().Add(30 * time.Second))
				if _, err := io.Copy(io.Discard, conn); err != nil && strings.Contains(err.Error(), "timeout") {
					t.Errorf("%q holds its connection", text)
				}
				conn.Close()
			}
		},
		"truncated frames": func(t *testing.T) {
			conn := plain(t, s)
			defer conn.Close()
			conn.Write([]byte(http2.ClientPreface))
			framer := http2.NewFramer(conn, conn)
			framer.WriteSettings()
			var block bytes.Buffer
			encoder := hpack.NewEncoder(&block)
			for _, f := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", "/etcdserverpb.KV/Put"},
				{":authority", s.endpoint}, {"content-type", "application/grpc"}, {"te", "trailers"}} {
				encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
			}
			framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true})
			framer.WriteData(1, true, []byte{0, 0, 0, 0, 50, 0x0a, 3}) // says 50 bytes, sends 2
			conn.SetReadDeadline(time.Now().Add(30 * time.Second))
			for {
				frame, err := framer.ReadFrame()
				if err != nil {
					t.Fatalf("no end to a truncated message: %v", err)
				}
				if h, ok := frame.(*http2.HeadersFrame); ok && h.StreamEnded() {
					break
				}
				if r, ok := frame.(*http2.RSTStreamFrame); ok && r.StreamID == 1 {
					break
				}
			}
			framer.WriteRawFrame(http2.FrameData, 0, 3, []byte("half"))
			conn.Write([]byte{0, 1, 0, 0, 0}) // a frame's header, cut
		},
	} {
		t.Run(name, func(t *testing.T) {
			bad(t)
			other := dial(t, "leeward", s.endpoint)
			for _, at := range []*server{s, other} {
				a := at.call(&pb.RangeRequest{Key: []byte("witness")})
				if a.err != nil || len(a.message.(*pb.RangeResponse).Kvs) != 1 {
					t.Errorf("afterwards: %v", a)
				}
			}
		})
	}
}

func plain(t *testing.T, s *server) net.Conn {
	conn, err := net.DialTimeout("tcp", s.endpoint, 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func forceCodec() grpc.CallOption { return grpc.ForceCodec(rawCodec{}) }
