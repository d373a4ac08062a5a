// What a member is told at its construction: who it is, whom it works with,
// its bounds, and the ports it stands on. Plain values; wiring fills them.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/format.h"
#include "base/result.h"
#include "base/units.h"
#include "node/group.h"
#include "ports/clock.h"
#include "ports/disk.h"
#include "ports/executor.h"
#include "ports/log.h"
#include "ports/log_store.h"
#include "ports/peer_link.h"
#include "ports/random.h"
#include "ports/state_machine.h"
#include "ports/superblock.h"
#include "ports/trace.h"
#include "node/auto_compaction.h"
#include "raft/core.h"

namespace leeward::node {

// `cluster.bootstrap`: see bootstrap.h.
enum class BootstrapMode : std::uint8_t {
  kNew,    // starts a group when a majority of each list answers and none names a lineage
  kJoin,   // never starts one: waits until a running group has admitted it
  kForce,  // starts its group without asking anybody
};

struct Limits {
  std::size_t waiting_bytes = 16_MiB;    // proposals not yet in a log
  std::uint64_t apply_backlog = 5000;    // entries committed and not applied
  std::uint64_t apply_backlog_bytes = 128_MiB;  // in the log and not applied
  std::size_t batch_bytes = 1_MiB;       // one kWrites entry
  std::uint32_t batch_writes = 1024;
  std::size_t syncs_in_flight = 4;       // batches at the wal loop before the next entry is cut
  Duration request_timeout = 5s;         // plus two election timeouts, as etcd's 7 s
  std::uint32_t lease_revokes_per_second = 1000;
  Duration start_wait = 30s;             // after a cold start, for the armed region's word; max(): for ever
};

struct StorageOptions {
  std::uint64_t checkpoint_interval = 100000;  // writes
  std::size_t checkpoint_retention = 3;
  std::uint64_t retain_log_bytes = 1_GiB;      // for slow followers, checkpoints and retain() holders
  std::size_t chunk_bytes = 1_MiB;             // of a snapshot transfer
  std::uint64_t quota = 0;                     // of a member's state, in bytes; 0: none
  std::uint64_t reserve_bytes = 0;             // kept aside for the state where four times as much is free
};

struct MemberOptions {
  NodeId self;
  std::string cluster_name;
  // Every node of every list, this one included. Lists are made by role; those
  // of observers by region too.
  std::vector<Node> nodes;
  BootstrapMode bootstrap = BootstrapMode::kNew;
  raft::Options raft;  // id, seed and vote_wait are set by the member
  Limits limits;
  StorageOptions storage;
  CompactionOptions compaction;
  Path data_dir, wal_dir, snapshot_dir;
  bool rehearsal = false;  // the directories are a fork (Group::fork); refused otherwise, and a fork without it
  std::string version = "0.1.0";
  std::uint32_t newest_format = kNewestFormat;  // that it knows; an older build's in tests
};

// All but `random` are used as their own thread rules say; `random` belongs to
// the core loop. Everything outlives the member.
struct MemberPorts {
  Clock& clock;
  Disk& disk;
  Executor& core;
  Executor& wal;
  Executor& apply;  // of writes to the state, however long one takes
  Executor& files;  // long file work that nothing waits for: checkpoints
  Random& random;
  PeerLink& link;
  Log& log;
  // Opens the state in a directory below data_dir, making it when missing.
  std::function<Result<std::unique_ptr<StateMachine>>(const Path&)> open_state;
  // Opens the log of `owner` in wal_dir; makes one when `create`, which is so
  // until the first start has come as far as having one.
  std::function<Result<std::unique_ptr<LogStore>>(const Path&, Incarnation owner, bool create)> open_log;
  // Opens the superblock in data_dir, or makes it from the given value when
  // there is none; without a value that is kNotFound.
  std::function<Result<std::unique_ptr<Superblock>>(const Path&, const SuperblockData*)> open_superblock;
  // A failure after which the process must not go on (a failed sync, a state
  // machine that cannot apply). Called once, on the core loop.
  std::function<void(const Error&)> fatal;
  Tracer* tracer = nullptr;  // where no traces are taken
};

}  // namespace leeward::node
