// Frames between the nodes of all groups and regions, over authenticated
// connections that the implementation makes and remakes by itself.
//
// send() and set_handler() belong to the loop that owns the link (the core
// loop), and the handlers are called there. Delivery is at most once, in order a
// (peer, lane) while a connection lives; loss is told by nothing but silence.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/function.h"
#include "base/ids.h"

namespace leeward {

// Lanes do not wait for one another: a snapshot never delays a heartbeat.
enum class Lane : std::uint8_t {
  kConsensus = 1,  // Raft messages, forwarded proposals, read index
  kBulk = 2,       // snapshot chunks
  kStream = 3,     // history between regions
  kControl = 4,    // bootstrap, ping, knocking, admission, status
};

struct PeerAddress {
  NodeId node;
  std::string address;  // host:port of its peer listener
};

class PeerLink {
 public:
  // `frame` keeps what it needs alive. `from` is authenticated by certificate
  // where TLS is on, else as announced in the connection's hello.
  using Handler = Function<void(NodeId from, Lane lane, Bytes frame)>;
  // A node that was dialed names another lineage than ours: nothing is sent to
  // it or taken from it. Told again with each attempt.
  using StrangerHandler = Function<void(NodeId peer, const Lineage& theirs)>;

  virtual ~PeerLink() = default;
  virtual void set_handler(Handler handler) = 0;
  virtual void set_stranger_handler(StrangerHandler) {}
  // Whom send() can reach; connections to others are closed.
  virtual void set_peers(std::vector<PeerAddress> peers) = 0;
  // The concatenation of `parts` is one frame of at most 16 MiB. False when it
  // was dropped at once: unknown peer, or its 8 MiB lane queue is full.
  virtual bool send(NodeId to, Lane lane, std::vector<Bytes> parts) = 0;
  // Bytes queued and not yet taken by the kernel.
  virtual std::size_t queued(NodeId to, Lane lane) const = 0;
  virtual bool connected(NodeId to) const = 0;
  // Bytes that have come of a frame which is not whole yet; 0 between frames. As
  // long as it changes a large frame is on its way over a slow link.
  virtual std::size_t unfinished(NodeId, Lane) const { return 0; }
};

}  // namespace leeward
