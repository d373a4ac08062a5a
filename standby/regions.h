// The topology as the stream needs it. Pure.
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

// Where a history index stands in what is committed of a primary's log.
// Errors: kCompacted when the log does not reach down to it.
Result<LogPoint> point_at(const node::Group& group, HistoryIndex index);

// " at http://...", where clients reach that node; "" when the topology does not say.
std::string at_client_url(const node::Group& group, NodeId node);
// "region west", of whoever this member is told by.
std::string own_region(const node::Group& group);
// Why a call that the group's leader alone serves is not begun here: who leads.
Error led_elsewhere(const node::Group& group);

// Every member of the group but this one.
std::vector<NodeId> others(const node::Group& group);

}  // namespace leeward::standby
