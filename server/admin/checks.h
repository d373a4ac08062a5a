// Verdicts on a NodeStatus. Pure functions, any thread.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/units.h"
#include "ports/status.h"

namespace leeward::admin {

inline constexpr std::uint64_t kApplyBacklogLimit = 5'000;  // entries; the node refuses writes beyond it
inline constexpr std::uint64_t kWritesBehindLimit = 1'000;   // behind a report of the leader, half a second old at most
inline constexpr Duration kDiskStallLimit = 2s;

// Can this node serve its role? README.md has the list.
std::vector<NamedCheck> ready_checks(const NodeStatus& status);
// Those that not every role has: a probe that names one must outlive a promotion.
inline constexpr std::array<std::string_view, 1> kChecksOfSomeRoles = {"stream"};

// Verdict of a path that answers 200 or 503; `text` says why.
struct Verdict {
  bool ok = false;
  std::string text;
};
Verdict leader(const NodeStatus& status);
Verdict primary(const NodeStatus& status);                      // what DNS fails over by
Verdict replica(const NodeStatus& status, Duration bound);      // stale reads within `bound`
Verdict standby(const NodeStatus& status, Duration bound);
Verdict standby_eligible(const NodeStatus& status);

// This node's own entry in the status; null before the first one.
const MemberStatus* self(const NodeStatus& status);
bool follows(GroupRole role);

}  // namespace leeward::admin
