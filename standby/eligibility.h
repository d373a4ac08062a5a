// Whether a member, and its group, may be promoted: a conjunction of named
// checks, each with a verdict and a figure. Pure: facts in, checks out, always
// all of them and in the same order, so that every metric series exists.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/units.h"
#include "ports/status.h"
#include "standby/messages.h"

namespace leeward::standby {

struct EligibilityLimits {
  Duration max_lag = 1s;      // dr.max_lag
  Duration max_disk_stall = 5s;
};

struct EligibilityFacts {
  // armed
  bool armed = false;             // this group, of this epoch
  std::string armed_region;       // the region that is; empty: none
  // quorum
  bool leader_known = false;      // and it has confirmed its leadership
  NodeId leader;
  // lag
  bool heard = false;             // by this member
  bool heard_by_others = false;   // by another member of the group
  std::optional<Duration> high;
  std::optional<Duration> lag_at_newest;  // at T
  std::optional<Duration> newest_age;     // of T
  // hash
  HashVerdict hash = HashVerdict::kNotCompared;
  HistoryIndex hash_index;
  // integrity: empty when whole
  std::string damage;
  // disk
  bool disk_full = false;
  std::optional<Duration> disk_stall;
  // version
  std::string version;
  std::string newest_primary_version;  // empty: none heard
  // epoch
  Epoch epoch;
  Epoch newest_epoch;             // known from anywhere
  // isolated
  bool isolated = false, paused = false;
  std::string reason;  // for an isolation
  // voter
  bool voter = false;
  bool waiting = false;  // it takes part in no group, and nothing else can be said of it
};

inline constexpr std::string_view kChecks[] = {"armed",   "quorum",  "lag",   "hash",     "integrity",
                                               "disk",    "version", "epoch", "isolated", "voter"};

std::vector<NamedCheck> judge(const EligibilityFacts& facts, const EligibilityLimits& limits);

// Of one voter of the group, as last heard. Empty checks: no fresh report.
struct VoterVerdict {
  NodeId id;
  std::vector<NamedCheck> checks;
};
// A group passes a check when a majority of its voters does.
std::vector<NamedCheck> judge_group(std::span<const VoterVerdict> voters);

// True when there are checks and all pass.
bool eligible(std::span<const NamedCheck> checks);

// Compares "1.2.3" by numbers; what follows them does not count.
bool older_version(std::string_view a, std::string_view b);

}  // namespace leeward::standby
