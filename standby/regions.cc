#include "standby/regions.h"

#include <algorithm>

namespace leeward::standby {

namespace {

// By the newest of: what other regions prove, the history, and, in the first
// epoch, the configuration.
std::string primary_region(node::Group& group, const std::vector<node::Node>& nodes) {
  if (group.newest_epoch() > group.epoch())
    if (auto region = group.serving_region(); !region.empty()) return region;
  std::string primary;
  for (const auto& entry : group.state().region_entries()) {
    if (entry.kind != EntryKind::kEpochChange) continue;
    const auto change = region::decode_epoch_change(entry.payload.view());
    if (change.ok() && change->epoch == group.epoch()) primary = change->region;
  }
  if (!primary.empty()) return primary;
  for (const auto& node : nodes)
    if (node.role == GroupRole::kPrimary) return node.region;
  return {};
}

}  // namespace

Regions survey(node::Group& group) {
  Regions regions;
  const auto nodes = group.topology();
  for (const auto& node : nodes)
    if (node.id == group.self()) regions.own = node.region;
  const auto primary = primary_region(group, nodes);
  for (const auto& node : nodes) {
    regions.region_of[node.id] = node.region;
    auto& role = regions.role_of[node.region];
    role = node.role;
    if (node.region == primary) role = GroupRole::kPrimary;
    else if (role == GroupRole::kPrimary) role = GroupRole::kStandby;
    if (node.region != regions.own && role == GroupRole::kPrimary) regions.primary.push_back(node.id);
  }
  std::sort(regions.primary.begin(), regions.primary.end());
  for (const auto wanted : {GroupRole::kStandby, GroupRole::kObserver})
    for (const auto& [region, role] : regions.role_of)
      if (role == wanted && region != regions.own) regions.following.push_back(region);
  return regions;
}

Result<LogPoint> point_at(const node::Group& group, HistoryIndex index) {
  const auto* regions = group.regions();
  const auto from = std::max(regions ? regions->control().followed_at : Index(), group.leapt());
  return last_point_at(group.log(), index, from, group.committed().index);
}

std::string at_client_url(const node::Group& group, NodeId node) {
  std::string at;
  for (const auto& n : group.topology())
    if (n.id == node) at = " at " + n.client_url;
  return at;
}

std::string own_region(const node::Group& group) {
  for (const auto& n : group.topology())
    if (n.id == group.self()) return "region " + n.region;
  return "this group";
}

Error led_elsewhere(const node::Group& group) {
  const auto leader = group.leader();
  if (!leader) return {Code::kUnavailable, "leeward: " + own_region(group) + " has no leader"};
  return {Code::kUnavailable, "leeward: node " + std::to_string(leader.value()) + " leads " + own_region(group) + ": ask it" + at_client_url(group, leader)};
}

std::vector<NodeId> others(const node::Group& group) {
  std::set<NodeId> ids;
  const auto& m = group.membership();
  for (const auto* set : {&m.voters, &m.outgoing, &m.learners, &m.learners_next}) ids.insert(set->begin(), set->end());
  ids.erase(group.self());
  return {ids.begin(), ids.end()};
}

}  // namespace leeward::standby
