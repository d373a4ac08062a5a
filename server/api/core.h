// What every service needs: the member it serves, its limits, its figures.
//
// One for the process; shared by all I/O loops, hence any thread. Outlives
// every call.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "api/probe.h"
#include "api/rate_limit.h"
#include "api/readers.h"
#include "base/units.h"
#include "node/service.h"
#include "ports/clock.h"
#include "ports/drill.h"
#include "ports/executor.h"
#include "ports/handover.h"
#include "ports/log.h"
#include "ports/recovery.h"
#include "ports/rpc.h"
#include "ports/trace.h"
#include "ports/way_back.h"

namespace leeward::api {

struct Options {
  std::size_t max_txn_ops = 128;
  std::size_t max_request_bytes = 1536 * 1024;      // of a write, as in etcd
  Duration request_timeout = std::chrono::seconds(7);  // when the client gives none: etcd's 5 s and an election
  Duration progress_interval = std::chrono::minutes(10);
  Duration slow_request = std::chrono::milliseconds(100);
  std::uint64_t rate = 0, burst = 0;                // requests a second and at once: RateLimit::set
  Duration no_leader_grace = std::chrono::seconds(3);  // streams that demand a leader end after so long without
  std::size_t watch_high_water = 256_KiB;              // bytes queued on a call above which its watches are not polled
  std::size_t max_watches_per_stream = 100'000;
  std::size_t max_gateway_bytes = 64_MiB;  // of one JSON answer, which stands in memory whole
  std::string version = "3.5.17";          // what etcd's clients gate on
  std::string cluster_version = "3.5.0";
  std::string product_version = "0.1.0";
  std::set<std::string> operators;  // common names of client certificates
  bool insecure = false;            // everyone is an operator
  bool peer_tls = false;            // how member list spells peer addresses
};

struct Dependencies {
  node::Service& node;
  Clock& clock;
  Log& log;
  ApiProbe& probe;
  // For work that scans the whole store (hash, defragment); without it that
  // work holds up the caller's loop.
  Executor* background = nullptr;
  std::vector<Executor*> readers = {};  // for reads of many keys; likewise
  Recovery* recovery = nullptr;  // where there are regions
  Handover* handover = nullptr;  // likewise
  WayBack* way_back = nullptr;   // likewise
  Drills* drills = nullptr;      // likewise
  Tracer* tracer = nullptr;      // where traces are taken
};

// A node's status and when it was taken.
struct StatusView {
  NodeStatus status;
  Instant taken;
  const MemberStatus* self() const;
  // Upper bound of the own lag: 0 at a primary, nullopt where it is unknown.
  std::optional<Duration> lag_high(Instant now) const;
};

// What SIGHUP may change: read at each request.
struct LiveLimits {
  std::atomic<std::size_t> max_txn_ops, max_request_bytes;
  std::atomic<Duration> request_timeout, slow_request;
  RateLimit rate;
};

class Core {
 public:
  Core(Dependencies dependencies, Options options);

  node::Service& node;
  Clock& clock;
  Log& log;
  ApiProbe& probe;
  Executor* const background;
  Readers readers;
  Recovery* const recovery;
  Handover* const handover;
  WayBack* const way_back;
  Drills* const drills;
  Tracer* const tracer;
  const Options options;  // those of `limits` as they were at the start
  LiveLimits limits;
  // The ports are about to go: what waits for its turn is refused instead of answered.
  std::atomic<bool> stopping{false};
  // That are being sent. Shared, for the last of one may go after this.
  const std::shared_ptr<std::atomic<int>> snapshots = std::make_shared<std::atomic<int>>(0);

  // At most 100 ms old beyond the source's own age: a copy of the whole status
  // is too dear for each request.
  std::shared_ptr<const StatusView> status() const;
  NodeId self() const { return self_; }
  // Takes the limits of `fresh`, and nothing else of it.
  void set_limits(const Options& fresh);
  // Whether `peer` may change membership, replicas and disaster recovery.
  bool is_operator(const PeerIdentity& peer) const;
  // A lease id for a client that gave none; unique in this process.
  std::int64_t new_lease_id() const;

 private:
  const NodeId self_;
  mutable std::mutex mutex_;
  mutable std::shared_ptr<const StatusView> status_;
};

}  // namespace leeward::api
