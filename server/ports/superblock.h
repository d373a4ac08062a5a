// What a data directory is, apart from its log and state: identity, formats,
// and which state directory is the current one. Four copies, see
// wal/FORMAT.md. wal loop or start only.
#pragma once

#include <cstdint>
#include <string>

#include "base/ids.h"
#include "base/result.h"

namespace leeward {

struct SuperblockData {
  std::uint32_t format = 1;       // of the directory as a whole; a newer one is refused
  std::uint64_t sequence = 0;     // raised by each write
  std::string cluster_name;
  Lineage lineage;                // zero until bootstrapped
  NodeId node;
  GroupId group;                  // zero until known
  Incarnation incarnation;        // made with the directory
  std::string state_dir;          // name below data_dir of the current state ("state-<n>")
  std::uint64_t starts = 0;       // process starts on this directory
  bool clean_shutdown = false;    // set by a graceful stop, cleared by a start
  // A state swap in progress (snapshot install, later rewinding): empty or the
  // new state's directory, whose files are complete.
  std::string pending_state_dir;
  std::string extra;              // versioned records of later features; kept as they are
  bool operator==(const SuperblockData&) const = default;
};

class Superblock {
 public:
  virtual ~Superblock() = default;
  virtual const SuperblockData& data() const = 0;
  // Durable when it returns; raises `sequence` itself.
  virtual Result<void> write(const SuperblockData& data) = 0;
};

}  // namespace leeward
