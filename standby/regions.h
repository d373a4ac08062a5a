// The topology as the stream needs it, and where in a group's log a history
// index stands. Pure.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/log_view.h"
#include "node/group.h"

namespace leeward::standby {

struct Regions {
  std::string own;
  std::vector<NodeId> primary;         // members of the primary group, when that is another one
  std::vector<std::string> following;  // other regions that follow, armed candidates first
  std::map<NodeId, std::string> region_of;
  std::map<std::string, GroupRole> role_of;  // one primary; the others are standbys, or observers as they began
};

Regions survey(node::Group& group);

constexpr bool follows(GroupRole role) { return role == GroupRole::kStandby || role == GroupRole::kObserver; }

// The last log point at or below `upto` whose history index is at most `index`.
// Control entries do not move the history index, so it is searched for.
// Errors: kCompacted when the log begins above it, and those of LogView.
Result<LogPoint> last_point_at(const LogView& log, HistoryIndex index, Index upto);

// Every member of the group but this one.
std::vector<NodeId> others(const node::Group& group);

}  // namespace leeward::standby
