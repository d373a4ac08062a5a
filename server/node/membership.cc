#include "node/membership.h"

#include <algorithm>

#include "base/codec.h"
#include "node/group_state.h"

namespace leeward::node {
namespace {

std::string member(NodeId id) { return "member " + std::to_string(id.value()); }

const Node* find(const std::vector<Node>& nodes, NodeId id) {
  const auto it = std::find_if(nodes.begin(), nodes.end(), [&](const Node& n) { return n.id == id; });
  return it == nodes.end() ? nullptr : &*it;
}

Result<void> check_address(const Node& node, const GroupState& group) {
  const auto colon = node.peer_address.rfind(':');
  if (colon == std::string::npos || colon == 0 || colon + 1 == node.peer_address.size())
    return Error{Code::kInvalid, "the peer address \"" + node.peer_address + "\" is none; expected host:port"};
  for (const auto& other : group.topology)
    if (other.id != node.id && other.peer_address == node.peer_address)
      return refusal(rule::kTaken, "the peer address " + node.peer_address + " is that of " + member(other.id));
  return {};
}

// Who stands in this group's list and is no member did not come back when its region began anew.
bool of_own_list(const Node& node, const MemberFacts& facts) { return !facts.own.empty() && same_list(node, facts.own.front()); }

// Each region is one group's: who reads the topology goes by it.
Result<void> check_region(const Node& node, const MemberFacts& facts) {
  for (const auto& other : facts.group.topology)
    if (other.region == node.region && !find(facts.own, other.id) && !of_own_list(other, facts))
      return refusal(rule::kRegion, "region " + node.region + " is that of another group; ask one of its members");
  if (!facts.own.empty() && node.region != facts.own.front().region)
    return refusal(rule::kRegion, "this group is of region " + facts.own.front().region + ", not " + node.region);
  return {};
}

Result<void> plan_add(const Node& wanted, const MemberFacts& facts, PlannedChange& out) {
  if (!wanted.id) return Error{Code::kInvalid, "a member needs an id from 1 to 4294967295"};
  if (facts.membership.contains(wanted.id)) return Error{Code::kExists, member(wanted.id) + " is a member already"};
  if (const auto* listed = find(facts.group.topology, wanted.id); listed && !of_own_list(*listed, facts)) return refusal(rule::kTaken, "the id " + std::to_string(wanted.id.value()) + " is taken in another region");
  LEEWARD_TRY(check_address(wanted, facts.group));
  auto node = wanted;
  if (!facts.own.empty()) node.role = facts.own.front().role;
  if (node.region.empty() && !facts.own.empty()) node.region = facts.own.front().region;
  if (node.name.empty()) node.name = "node-" + std::to_string(node.id.value());
  LEEWARD_TRY(check_region(node, facts));
  out.last.learners.insert(node.id);
  out.nodes.push_back(std::move(node));
  return {};
}

Result<void> plan_promote(NodeId id, const MemberFacts& facts, PlannedChange& out) {
  if (!facts.membership.contains(id)) return Error{Code::kNotFound, member(id) + " is not one of this group"};
  if (!out.last.learners.erase(id)) return refusal(rule::kLearner, member(id) + " is no learner: it votes already");
  const auto behind = facts.behind(id);
  if (!behind.ok()) return behind.error();
  out.last.voters.insert(id);
  return {};
}

Result<void> plan_move(const Node& wanted, const MemberFacts& facts, PlannedChange& out) {
  const auto* known = find(facts.own, wanted.id);
  if (!known) return Error{Code::kNotFound, member(wanted.id) + " is not one of this group"};
  auto node = *known;
  if (!wanted.peer_address.empty()) node.peer_address = wanted.peer_address;
  if (!wanted.client_url.empty()) node.client_url = wanted.client_url;
  LEEWARD_TRY(check_address(node, facts.group));
  out.nodes.push_back(std::move(node));
  return {};
}

// In each set that must agree, more than half must be there to do so.
Result<void> check_quorum(const raft::Membership& to, const MemberFacts& facts) {
  for (const auto* set : {&to.voters, &to.outgoing}) {
    std::string missing;
    std::size_t there = 0;
    for (const auto id : *set) {
      if (facts.healthy(id)) ++there;
      else missing += (missing.empty() ? "" : ", ") + std::to_string(id.value());
    }
    if (set->empty() || there * 2 > set->size()) continue;
    return refusal(rule::kQuorum, "only " + std::to_string(there) + " of the " + std::to_string(set->size()) +
                                      " voters that remain answer, not " + missing +
                                      ": without a majority the group stops; bring them back or replace them first, or "
                                      "override by --force");
  }
  return {};
}

Result<void> check_limits(const raft::Membership& last) {
  if (last.voters.empty()) return refusal(rule::kLastVoter, "no voter would remain; a group ends when its nodes are stopped");
  if (last.voters.size() > kMostVoters)
    return refusal(rule::kLimit, std::to_string(last.voters.size()) + " voters; at most " + std::to_string(kMostVoters) + " are allowed");
  if (last.voters.size() + last.learners.size() > kMostMembers)
    return refusal(rule::kLimit, "more than " + std::to_string(kMostMembers) + " members");
  return {};
}

void put(std::string& out, const std::vector<NodeId>& ids) {
  codec::put_varint(out, ids.size());
  for (const auto id : ids) codec::put_varint(out, id.value());
}

bool get(std::string_view& in, std::vector<NodeId>& ids) {
  std::uint64_t count, id;
  if (!codec::get_varint(in, count)) return false;
  for (; count > 0; --count) {
    if (!codec::get_varint(in, id)) return false;
    ids.push_back(NodeId(id));
  }
  return true;
}

}  // namespace

std::string encode(const MemberChange& change) {
  std::string out;
  codec::put_bytes(out, encode(MembershipNote{change.add}));
  codec::put_bytes(out, encode(MembershipNote{change.move}));
  put(out, change.promote);
  put(out, change.remove);
  codec::put_u8(out, change.force ? 1 : 0);
  return out;
}

Result<MemberChange> decode_member_change(std::string_view in) {
  const Error malformed{Code::kCorrupt, "a malformed membership change"};
  MemberChange change;
  std::string_view add, move;
  std::uint8_t force;
  if (!codec::get_bytes(in, add) || !codec::get_bytes(in, move) || !get(in, change.promote) || !get(in, change.remove) ||
      !codec::get_u8(in, force) || force > 1 || !in.empty())
    return malformed;
  auto added = decode_membership_note(add), moved = decode_membership_note(move);
  if (!added.ok() || !moved.ok()) return malformed;
  change.add = std::move(added->nodes);
  change.move = std::move(moved->nodes);
  change.force = force == 1;
  return change;
}

raft::Membership left(const raft::Membership& joint) {
  auto after = joint;
  after.outgoing.clear();
  after.learners.insert(after.learners_next.begin(), after.learners_next.end());
  after.learners_next.clear();
  return after;
}

Result<PlannedChange> plan(const MemberChange& change, const MemberFacts& facts) {
  const auto& from = facts.membership;
  if (from.joint()) return refusal(rule::kChangeUnderWay, "the group is between two sets of voters; try again in a moment");
  PlannedChange out{from, from, {}};
  for (const auto& node : change.add) LEEWARD_TRY(plan_add(node, facts, out));
  for (const auto id : change.promote) LEEWARD_TRY(plan_promote(id, facts, out));
  for (const auto& node : change.move) LEEWARD_TRY(plan_move(node, facts, out));
  for (const auto id : change.remove)
    if (out.last.voters.erase(id) + out.last.learners.erase(id) == 0)
      return Error{Code::kNotFound, member(id) + " is not one of this group"};
  if (out.last == from && out.nodes.empty()) return Error{Code::kInvalid, "nothing is to be changed"};
  LEEWARD_TRY(check_limits(out.last));
  std::vector<NodeId> moved;
  std::set_symmetric_difference(from.voters.begin(), from.voters.end(), out.last.voters.begin(), out.last.voters.end(),
                                std::back_inserter(moved));
  out.first = out.last;
  if (moved.size() > 1) out.first.outgoing = from.voters;
  if (!moved.empty() && !change.force) LEEWARD_TRY(check_quorum(out.first, facts));
  return out;
}

}  // namespace leeward::node
