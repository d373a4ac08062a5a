// Listeners: one port that speaks gRPC, HTTP/2 and HTTP/1.1, plain or by TLS.
//
// The first bytes of a connection decide what it speaks. A connection lives on
// one of the listener's loops from accept to close, and handlers are called on
// that loop.
//
// Threads: open(), stop() and the destructor belong to a thread that is none
// of the loops; the loops must run until stop() has returned.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "net/io_loop.h"
#include "net/tls.h"
#include "ports/http.h"
#include "ports/log.h"
#include "ports/probe.h"
#include "ports/rpc.h"

namespace leeward::net {

struct ListenerLimits {
  std::size_t connections = 10'000;
  std::uint32_t streams = 100;                     // concurrent, a connection
  std::size_t message_bytes = 1536_KiB;            // one gRPC request message; more is RESOURCE_EXHAUSTED
  std::size_t body_bytes = 2_MiB;                  // one HTTP request body; more is 413
  std::size_t header_bytes = 64_KiB;
  std::size_t output_bytes = 4_MiB;                // queued on a connection that takes none; beyond it is not read from
  Duration handshake_timeout = 10s;                // to the end of TLS, preface or first header
  Duration idle_timeout = 75s;                     // HTTP/1.1 between requests
  Duration body_timeout = 60s;                     // HTTP/1.1 from header to the end of the body
  Duration stall_timeout = 60s;                    // output waits and the kernel takes none: the connection is closed;
                                                   // or a whole answer waits for its stream's window: it is reset
};

// Beyond its limit a listener closes new connections at once.
struct ListenerProbe {
  Gauge connections;
  Counter accepted, refused, tls_failures, protocol_errors;
  Counter rpcs, http_requests;
  Counter rpc_bytes_received, rpc_bytes_sent;  // of gRPC messages, without their framing
};

struct ListenerOptions {
  std::string name = "client";   // in log lines
  std::string address;           // "127.0.0.1:2379", "[::1]:0", ":2379", "unix:///run/leeward/admin.sock"
  std::string config_key;        // named in errors: "listen.client"
  std::shared_ptr<Tls> tls;      // null: plain
  ListenerLimits limits;
};

class Listener {
 public:
  // `rpc` may be null: gRPC is then answered UNIMPLEMENTED. `http` may be null:
  // 404. Both must live until stop() has returned. Errors: kInvalid, kInUse
  // (names the holder and the key to change), kIo.
  static Result<std::unique_ptr<Listener>> open(ListenerOptions options, std::vector<IoLoop*> loops, RpcHandler* rpc,
                                                HttpHandler* http, Log& log);
  ~Listener();  // stop(0)

  std::uint16_t port() const;  // the real one when the address said 0
  const ListenerProbe& probe() const;

  // For connections accepted from now on. Any thread.
  void set_limits(const ListenerLimits& limits);

  // Stops accepting, tells clients (GOAWAY, Connection: close), waits for their
  // requests up to `drain`, then cuts what is left. A second call only waits.
  // False when a loop had not come to it `patience` later: its connections and
  // calls are still there, and what they use must stay.
  bool stop(Duration drain, Duration patience = 5s);

  struct Shared;  // internal

 private:
  explicit Listener(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}
  std::shared_ptr<Shared> shared_;
};

}  // namespace leeward::net
