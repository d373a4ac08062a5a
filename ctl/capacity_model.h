// What a group of members carries, predicted from what its
// machines and its load are. Pure: no I/O and no clock. README.md, "Capacity",
// has the reasoning; sizes of rows and records come from the daemon's own
// encoders, its limits from its own options.
#pragma once

#include <cstdint>
#include <optional>

#include "base/result.h"
#include "base/units.h"
#include "config/config.h"

namespace leeward::ctl {

// Processor time, measured: tests/bench/README.md, "Capacity", says by what and where.
struct CapacityCosts {
  Duration write = 15us;   // a write, all threads of the leader
  Duration batch = 275us;  // an entry with what is paid once for it, all threads of the leader
  Duration way = 380us;    // a lone write's way through leader and one follower, disks and wires not counted
};

struct CapacityInput {
  Duration fsync = 1ms;            // one fdatasync of a small write, on each member
  Duration round_trip = 1ms;       // between members of the group
  Duration wan_round_trip = 60ms;  // to the other region
  std::uint64_t link = 0;          // bytes a second to the other region; 0: not known
  std::uint64_t key_bytes = 32, value_bytes = 256;
  std::uint64_t clients = 100;     // writes in flight at any time; at least 1
  std::uint64_t keys = 100'000;
  std::optional<std::uint64_t> wanted;  // writes a second; else as many as there can be
  Duration history = 1h;           // how long superseded versions stay; 0: for ever
  std::uint64_t watchers = 0;
  unsigned processors = 2;         // of the leader's machine; at least 1
  CapacityCosts costs;
  config::Config::Storage storage;
  std::uint64_t retain_log = config::Config::Dr{}.retain_log;
};

enum class Bound { kFsync, kRoundTrip, kProcessor, kLink };
const char* name(Bound bound);

struct Capacity {
  // Writes a second: the least of the four limits, and which it is.
  double writes = 0;
  Bound bound = Bound::kFsync;
  double by_waiting = 0, by_disk = 0, by_processor = 0, by_link = 0;
  Duration lone{};    // latency of a write while no other is under way
  Duration waited{};  // the same beside others: for the end of the sync that is under way
  bool enough = true; // for what was wanted

  // All below is at `load` writes a second: what was wanted, else `writes`.
  double load = 0;
  double batch_writes = 1;       // writes in one entry, so by one fsync
  double log_bytes_a_write = 0;  // sectors of the log, shared by the writes of a batch
  double row_bytes_a_key = 0;    // of the state: the newest version
  double row_bytes_a_version = 0;  // and each superseded one

  // Bytes on each member's disks.
  double log_a_day = 0;       // written; twice that reaches the device, which zeros each segment first
  double log_calm = 0;        // kept while all follow
  double log_volume = 0;      // what its volume must hold
  Duration away{};            // how long a region may be gone before it must take a copy; max(): for ever
  double state_a_day = 0;     // growth before compaction
  double state = 0;           // with `history` of superseded versions, and rows of head that no longer count
  double quota = 0;           // for storage.quota
  double data_volume = 0;

  // Resident bytes of the leader: what is there in calm, and with all that may pile up.
  struct Memory {
    double process = 0, log = 0, memtables = 0, cache = 0, watchers = 0, requests = 0;
    double sum() const { return process + log + memtables + cache + watchers + requests; }
  } memory, memory_most;
};

// Errors, kInvalid: what no group could be asked for.
Result<Capacity> predict(const CapacityInput& input);

// What the log writes and syncs at once for an entry of so many writes.
std::uint64_t log_batch_bytes(const CapacityInput& input, std::uint64_t writes);

}  // namespace leeward::ctl
