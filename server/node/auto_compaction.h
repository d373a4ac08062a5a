// Which revision a group compacts up to by itself, and when: etcd's two modes
// (server/etcdserver/api/v3compactor).
//
// Core loop. Time and revision come with each call.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <utility>

#include "base/ids.h"
#include "base/units.h"

namespace leeward::node {

struct CompactionOptions {
  enum class Mode : std::uint8_t { kOff, kPeriodic, kRevision };
  Mode mode = Mode::kOff;
  Duration period = 1h;         // kPeriodic: what is older is compacted, once an hour, or once a period if that is shorter
  std::uint64_t revisions = 0;  // kRevision: what lies further back is compacted, each 5 minutes
};

class AutoCompaction {
 public:
  explicit AutoCompaction(CompactionOptions options) : options_(options) {}

  // Asked again and again at every member, so that one which comes to lead knows
  // what was when; only a primary's leader acts on the answer. nullopt: nothing now.
  std::optional<Revision> due(Instant now, Revision current);

 private:
  std::optional<Revision> by_age(Instant now, Revision current);
  std::optional<Revision> by_count(Instant now, Revision current);

  CompactionOptions options_;
  std::deque<std::pair<Instant, Revision>> seen_;  // ten an interval, for a period
  std::optional<Instant> next_;
};

}  // namespace leeward::node
