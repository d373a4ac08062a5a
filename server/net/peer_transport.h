// Peer connections over TCP, with or without TLS: the PeerLink of the daemon.
//
// A node dials each peer it is told of, one connection for each lane, so that
// no lane waits for another; frames go from dialer to acceptor only, and what
// it receives comes over connections that others dialed. Connections are made
// again with jittered back-off; a hello from a peer makes it dial that peer at
// once.
//
// Threads: everything public belongs to the core loop, but open(), close() and
// the destructor: those are for a thread that is neither loop, while both run.
// Frames cross between the loops in batches, one post a turn each way.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "net/io_loop.h"
#include "net/tls.h"
#include "ports/executor.h"
#include "ports/log.h"
#include "ports/peer_link.h"
#include "ports/probe.h"

namespace leeward::net {

struct PeerTransportOptions {
  std::string address;                     // of the peer listener: "127.0.1.1:2380"
  std::string config_key = "listen.peer";  // named in errors
  std::string cluster;                     // name: another one is refused
  NodeId self;
  Lineage lineage;                         // zero while not known; see set_lineage
  std::shared_ptr<Tls> tls;                // made by Tls::server; null: plain
  std::size_t queue_bytes = 8_MiB;         // a (peer, lane)
  std::size_t undelivered_bytes = 16_MiB;  // a connection: taken in and not yet handled by the core loop
  Duration retry_first = 50ms, retry_most = 1s;
  Duration handshake_timeout = 5s;         // connect, TLS and hello
  std::size_t inbound = 1024;              // connections that others dialed; peers have four each
  std::uint64_t seed = 0;                  // of the jitter
};

struct PeerProbe {
  Gauge connections;  // both ways, hello done
  Counter frames_sent, frames_received, bytes_sent, bytes_received, dropped, refused;
};

class PeerTransport final : public PeerLink {
 public:
  // Listens at once, delivers once set_handler() was called. Errors as Listener::open.
  static Result<std::unique_ptr<PeerTransport>> open(PeerTransportOptions options, IoLoop& io, Executor& core,
                                                     Log& log);
  ~PeerTransport() override;  // close()
  void close();  // a second call does nothing

  void set_handler(Handler handler) override;
  void set_stranger_handler(StrangerHandler handler) override;
  void set_peers(std::vector<PeerAddress> peers) override;
  bool send(NodeId to, Lane lane, std::vector<Bytes> parts) override;
  std::size_t queued(NodeId to, Lane lane) const override;
  bool connected(NodeId to) const override;
  std::size_t unfinished(NodeId from, Lane lane) const override;

  // Once the lineage is known; connections to nodes of another one end. Any thread.
  void set_lineage(const Lineage& lineage);

  std::uint16_t port() const;
  const PeerProbe& probe() const;

  struct Shared;   // internal
  struct LaneView; // internal: what both loops know of one (peer, lane)

 private:
  struct Outgoing {
    NodeId to;
    Lane lane;
    std::vector<Bytes> parts;
  };
  explicit PeerTransport(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}
  LaneView* view(NodeId to, Lane lane) const;
  void flush();

  std::shared_ptr<Shared> shared_;
  std::unordered_map<NodeId, std::vector<std::shared_ptr<LaneView>>> views_;  // core loop's
  std::vector<Outgoing> outbox_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  bool closed_ = false;  // of the thread that closes
};

}  // namespace leeward::net
