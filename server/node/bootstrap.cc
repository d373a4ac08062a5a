#include "node/bootstrap.h"

#include <algorithm>

#include "base/codec.h"

namespace leeward::node {
namespace {

constexpr Duration kInterval = 200ms;
constexpr Duration kFresh = 3s;  // an older answer says nothing any more
constexpr Duration kStrangeFor = 10s;
// Longer than a living group takes to dial a node that was away and to call it.
constexpr Duration kListen = 2s;

}  // namespace

Bootstrap::Bootstrap(Context& context)
    : context_(context), list_hash_(list_hash(context.options.cluster_name, context.options.nodes)) {
  for (const auto& n : own_list(context.options.nodes, context.options.self)) own_.insert(n.id);
  for (const auto& n : context.options.nodes)
    if (n.role == GroupRole::kPrimary) active_.insert(n.id);
}

void Bootstrap::knock() {
  const auto now = context_.now();
  if (knocked_ && now - *knocked_ < kInterval) return;
  knocked_ = now;
  if (!listens_since_) listens_since_ = now;
  const auto body = encode(Knock{context_.options.cluster_name, list_hash_});
  for (const auto& n : context_.group.topology.empty() ? nodes() : context_.group.topology)
    if (n.id != context_.options.self) context_.send(n.id, Lane::kControl, FrameType::kKnock, body);
}

void Bootstrap::answer(NodeId from, const FrameHeader&, const Knock&, bool cold) {
  KnockAnswer answer;
  answer.cluster_name = context_.options.cluster_name;
  answer.list_hash = list_hash_;
  // A primary that does not serve yet, for another region may have been promoted, is nobody's to follow.
  answer.role = cold ? GroupRole::kUnknown : context_.group.control.role;
  answer.lineage = context_.group.lineage;
  answer.same_group = own_.contains(from) || context_.group.membership.contains(from) || context_.group.removed.contains(from);
  answer.applied = context_.applied();
  const auto it = context_.group.admitted.find(from);
  if (it != context_.group.admitted.end()) answer.admitted = it->second;
  if (context_.group.started())
    answer.membership = raft::encode(context_.group.membership, encode(MembershipNote{context_.group.topology}));
  context_.send(from, Lane::kControl, FrameType::kKnockAnswer, encode(answer));
}

void Bootstrap::hear(NodeId from, const FrameHeader& header, const KnockAnswer& answer) {
  if (answer.cluster_name != context_.options.cluster_name || answer.list_hash != list_hash_) {
    if (differing_.insert(from).second)
      context_.ports.log.warn("a node answers with another cluster name or other member lists", {{"peer", from}});
    // A running group's lists may have moved on since this file was written.
    if (!answer.lineage.known()) return;
  } else {
    differing_.erase(from);
  }
  heard_[from] = {answer, header.group, header.incarnation, context_.now()};
  std::string_view carried;
  if (answer.membership.empty() || !raft::decode_membership(answer.membership, &carried).ok()) return;
  if (auto note = decode_membership_note(carried); note.ok()) (answer.same_group ? told_ : told_afar_) = std::move(note->nodes);
}

std::vector<Node> Bootstrap::nodes() const {
  auto nodes = context_.options.nodes;
  for (const auto& told : told_) {
    const auto listed = std::find_if(nodes.begin(), nodes.end(), [&](const Node& n) { return n.id == told.id; });
    if (listed == nodes.end()) nodes.push_back(told);
    else if (own_.contains(told.id) && told.id != context_.options.self) *listed = told;
  }
  for (const auto& told : told_afar_)
    if (std::none_of(nodes.begin(), nodes.end(), [&](const Node& n) { return n.id == told.id; })) nodes.push_back(told);
  return nodes;
}

std::string Bootstrap::named(NodeId id) const {
  std::string out = "node " + std::to_string(id.value());
  for (const auto& n : nodes())
    if (n.id == id && !n.client_url.empty()) out += " at " + n.client_url;
  return out;
}

void Bootstrap::hear_stranger(NodeId from, const Lineage& theirs) { strangers_[from] = {theirs, context_.now()}; }

std::optional<Error> Bootstrap::wrong_directory(const Lineage& ours) const {
  std::map<Lineage, std::string> said;
  std::map<Lineage, std::size_t> count;
  for (const auto& [id, stranger] : strangers_) {
    if (!own_.contains(id) || context_.now() - stranger.at > kStrangeFor || stranger.lineage == ours) continue;
    auto& ids = said[stranger.lineage];
    ids += (ids.empty() ? "" : ", ") + std::to_string(id.value());
    if (++count[stranger.lineage] * 2 > own_.size())
      return Error{Code::kLineage, context_.options.data_dir + " is of the lineage " + ours.hex() + ", nodes " + ids +
                                       " of " + std::to_string(own_.size()) + " are of " + stranger.lineage.hex() +
                                       ": this directory belongs to another cluster of the same name. Give this node"
                                       " its own, or an empty one and admit it (leewardctl member admit)"};
  }
  return std::nullopt;
}

std::string Bootstrap::strangers() const {
  std::string out;
  for (const auto& [id, stranger] : strangers_) {
    if (context_.now() - stranger.at > kStrangeFor) continue;
    out += (out.empty() ? "" : "; ") + ("node " + std::to_string(id.value())) + " is of another lineage: " +
           stranger.lineage.hex();
  }
  return out;
}

std::optional<Lineage> Bootstrap::lineage_elsewhere() const {
  for (const auto& [id, heard] : heard_)
    if (heard.answer.lineage.known()) return heard.answer.lineage;
  return std::nullopt;
}

// Of this node's own group, and lately.
bool Bootstrap::tells(const Heard& heard) const {
  return heard.answer.same_group && !heard.answer.membership.empty() && context_.now() - heard.at < kFresh;
}

// Who counts votes of this id must know this incarnation.
bool Bootstrap::takes_in(const Heard& heard, const raft::Membership& membership) const {
  const auto self = context_.options.self;
  return membership.contains(self) && (heard.answer.admitted == context_.incarnation || !membership.is_voter(self));
}

bool Bootstrap::takes_in(GroupId group) const {
  return std::any_of(heard_.begin(), heard_.end(), [&](const auto& it) {
    const auto& heard = it.second;
    if (heard.group != group || !tells(heard)) return false;
    const auto membership = raft::decode_membership(heard.answer.membership);
    return membership.ok() && takes_in(heard, *membership);
  });
}

Bootstrap::Verdict Bootstrap::verdict() const {
  const auto self = context_.options.self;
  const auto own = std::to_string(self.value());
  // The group runs. One that has missed the newest changes may name as a member who
  // is none, and the reverse.
  std::map<GroupId, Index> newest;
  std::map<GroupId, std::set<NodeId>> there;
  for (const auto& [id, heard] : heard_) {
    if (!tells(heard)) continue;
    newest[heard.group] = std::max(newest[heard.group], heard.answer.applied);
    there[heard.group].insert(id);
  }
  std::optional<Verdict> waits;
  for (const auto& [id, heard] : heard_) {
    if (!tells(heard) || heard.answer.applied < newest[heard.group]) continue;
    auto membership = raft::decode_membership(heard.answer.membership);
    if (!membership.ok()) continue;
    const bool member = membership->contains(self);
    if (takes_in(heard, *membership)) return {*membership, "", false, heard.group};
    if (waits && !membership->contains(id)) continue;
    const auto& voters = membership->voters;
    const auto up = std::count_if(voters.begin(), voters.end(), [&](NodeId voter) { return there[heard.group].contains(voter); });
    if (static_cast<std::size_t>(up) * 2 <= voters.size()) {
      waits = {std::nullopt, named(id) + " is of a group that runs, of whose " + std::to_string(voters.size()) + " voters " + std::to_string(up) +
                                 (up == 1 ? " is" : " are") + " heard: too few to take this node in; leewardctl dr status there"};
      continue;
    }
    waits = {std::nullopt, member ? named(id) + " says the group runs: waiting to be admitted (leewardctl member admit " + own + ")"
                                  : named(id) + " says the group runs without this node: waiting to be added"
                                                " (leewardctl member add " + own + ")"};
    waits->waits_for = member ? WaitsFor::kAdmission : WaitsFor::kAdding;
  }
  if (waits) return *waits;
  if (context_.options.bootstrap == BootstrapMode::kJoin)
    return {std::nullopt, "a running group that has this node as a member (leewardctl member add " +
                              std::to_string(self.value()) + ")"};
  if (context_.options.bootstrap == BootstrapMode::kForce)
    return {membership_of(own_list(context_.options.nodes, self)), ""};
  return new_group();
}

bool Bootstrap::another_serves() const {
  std::map<GroupId, std::size_t> voters;
  for (const auto& [id, heard] : heard_) {
    const auto& answer = heard.answer;
    if (answer.same_group || answer.role != GroupRole::kPrimary || answer.membership.empty() || context_.now() - heard.at >= kFresh) continue;
    const auto membership = raft::decode_membership(answer.membership);
    if (membership.ok() && membership->voters.contains(id) && ++voters[heard.group] * 2 > membership->voters.size()) return true;
  }
  return false;
}

Bootstrap::Verdict Bootstrap::new_group() const {
  const bool active = active_.contains(context_.options.self) && !another_serves();
  if (active) {
    for (const auto& [id, heard] : heard_)
      if (heard.answer.lineage.known())
        return {std::nullopt, named(id) + " names a lineage: this region had a life before; waiting to be admitted, or for another region"
                                  " to serve, which this one then follows (leewardctl dr plan there says how to promote it)"};
  } else {
    std::optional<Lineage> one;
    for (const auto& [id, heard] : heard_) {
      if (!heard.answer.lineage.known()) continue;
      if (one && *one != heard.answer.lineage) return {std::nullopt, "other nodes name two lineages"};
      one = heard.answer.lineage;
    }
    // A member may still come back with this region's history, and know more than who has that lineage.
    if (one && !another_serves()) return {std::nullopt, "a region of its lineage to serve: none does, or too few of its members answer"};
  }
  std::string missing;
  // Each list by itself: this node's, the active one, and for an active member
  // every other list too.
  std::map<std::pair<GroupRole, std::string>, std::set<NodeId>> lists;
  for (const auto& n : context_.options.nodes)
    lists[{n.role, n.role == GroupRole::kObserver ? n.region : ""}].insert(n.id);
  const auto region = list_told();
  if (std::none_of(region.begin(), region.end(), [this](const Node& n) { return n.id == context_.options.self; })) {
    std::string members;
    for (const auto& n : region) members += (members.empty() ? "" : ", ") + named(n.id);
    return {std::nullopt, "this region's group, whose members are " + members + ", to add it (leewardctl member add " +
                              std::to_string(context_.options.self.value()) + "); where all their disks are lost, start those first, on empty ones"};
  }
  for (auto& [key, list] : lists) {
    const bool own = list == own_;
    if (own)
      for (const auto& n : region) list.insert(n.id);
    // Observers never promote: only their own list waits for them.
    if (!own && key.first == GroupRole::kObserver) continue;
    if (!active && !own && (key.first != GroupRole::kPrimary || another_serves())) continue;
    if (!majority(list, missing))
      return {.waiting_for = "an answer of a majority of each list, to begin a new cluster where they are empty; silent: " + missing,
              .waits_for = WaitsFor::kMajority};
  }
  if (!listens_since_ || context_.now() - *listens_since_ < kListen)
    return {std::nullopt, "a group that these nodes were part of before, should there be one"};
  return {membership_of(region), "", active_.contains(context_.options.self) && !active, {}};
}

// This node's list as it was when the region was lost; in the file it is of the first start.
std::vector<Node> Bootstrap::list_told() const {
  auto list = own_list(context_.options.nodes, context_.options.self);
  if (!another_serves() || list.empty()) return list;
  std::vector<Node> told;
  for (const auto& n : told_afar_)
    if (n.region == list.front().region) told.push_back(n);
  return told.empty() ? list : told;
}

bool Bootstrap::majority(const std::set<NodeId>& list, std::string& missing) const {
  std::size_t answered = 0;
  const auto now = context_.now();
  for (const auto id : list) {
    const auto it = heard_.find(id);
    const bool fresh = it != heard_.end() && now - it->second.at < kFresh;
    if (id == context_.options.self || (fresh && !differing_.contains(id))) {
      ++answered;
      continue;
    }
    if (!missing.empty()) missing += ", ";
    missing += "node " + std::to_string(id.value());
    if (differing_.contains(id)) missing += " (has other lists)";
  }
  return answered * 2 > list.size();
}

}  // namespace leeward::node
