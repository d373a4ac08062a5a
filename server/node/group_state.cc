#include "node/group_state.h"

#include <algorithm>

#include "base/codec.h"
#include "node/regroup.h"

namespace leeward::node {
namespace {

// 6: of format 1, which does not say so; 5: without retired lives; 4: and without alarms
constexpr std::uint8_t kGroupStateVersion = 7, kOfFormat1 = 6;
constexpr std::uint8_t kOldestGroupState = 3;  // without changes of members
const Error kMalformed{Code::kCorrupt, "the group's state is malformed"};

void put_node(std::string& out, const Node& n) {
  codec::put_varint(out, n.id.value());
  for (const auto* text : {&n.name, &n.region, &n.zone, &n.peer_address, &n.client_url}) codec::put_bytes(out, *text);
  codec::put_u8(out, static_cast<std::uint8_t>(n.role));
}

bool get_text(std::string_view& in, std::string& out) {
  std::string_view v;
  if (!codec::get_bytes(in, v)) return false;
  out = v;
  return true;
}

bool get_node(std::string_view& in, Node& n) {
  std::uint64_t id;
  std::uint8_t role;
  if (!codec::get_varint(in, id) || !get_text(in, n.name) || !get_text(in, n.region) || !get_text(in, n.zone) ||
      !get_text(in, n.peer_address) || !get_text(in, n.client_url) || !codec::get_u8(in, role) ||
      role > static_cast<std::uint8_t>(GroupRole::kFenced))
    return false;
  n.id = NodeId(id);
  n.role = static_cast<GroupRole>(role);
  return true;
}

// What has changed since the first start.
bool get_changes(std::string_view& in, GroupState& state) {
  std::uint64_t count, id, index, incarnation;
  if (!codec::get_varint(in, count)) return false;
  for (; count > 0; --count) {
    if (!codec::get_varint(in, id)) return false;
    state.named.insert(NodeId(id));
  }
  if (!codec::get_varint(in, count)) return false;
  for (; count > 0; --count) {
    Removed removed;
    if (!codec::get_varint(in, id) || !codec::get_u64(in, incarnation) || !codec::get_varint(in, index) ||
        !get_text(in, removed.peer_address))
      return false;
    removed.incarnation = Incarnation(incarnation);
    removed.index = Index(index);
    state.removed[NodeId(id)] = std::move(removed);
  }
  if (!codec::get_varint(in, index) || !codec::get_varint(in, count)) return false;
  state.listed = Index(index);
  for (; count > 0; --count) {
    if (!codec::get_u64(in, id) || !codec::get_varint(in, index)) return false;
    state.others_listed[GroupId(id)] = Index(index);
  }
  return true;
}

bool get_alarms(std::string_view& in, GroupState& state) {
  std::uint64_t count, id;
  if (!codec::get_varint(in, count)) return false;
  for (; count > 0; --count) {
    if (!codec::get_varint(in, id)) return false;
    state.over_quota.insert(NodeId(id));
  }
  return true;
}

bool get_retired(std::string_view& in, GroupState& state) {
  std::uint64_t count, incarnation, index;
  if (!codec::get_varint(in, count)) return false;
  for (; count > 0; --count) {
    if (!codec::get_u64(in, incarnation) || !codec::get_varint(in, index)) return false;
    state.retired[Incarnation(incarnation)] = Index(index);
  }
  return true;
}

// Older versions kept the last life of each removed id.
void retire_removed(GroupState& state) {
  for (const auto& [id, removed] : state.removed)
    if (removed.incarnation) state.retired[removed.incarnation] = removed.index;
}

void put_nodes(std::string& out, const std::vector<Node>& nodes) {
  codec::put_varint(out, nodes.size());
  for (const auto& n : nodes) put_node(out, n);
}

bool get_nodes(std::string_view& in, std::vector<Node>& nodes) {
  std::uint64_t count;
  if (!codec::get_varint(in, count)) return false;
  for (; count > 0; --count) {
    Node n;
    if (!get_node(in, n)) return false;
    nodes.push_back(std::move(n));
  }
  return true;
}

std::set<NodeId> all_of(const raft::Membership& m) {
  std::set<NodeId> ids;
  for (const auto* set : {&m.voters, &m.outgoing, &m.learners, &m.learners_next}) ids.insert(set->begin(), set->end());
  return ids;
}

void name_node(GroupState& state, const Node& node) {
  const auto known = std::find_if(state.topology.begin(), state.topology.end(), [&](const Node& n) { return n.id == node.id; });
  if (known == state.topology.end()) state.topology.push_back(node);
  else *known = node;
  state.named.insert(node.id);
}

void retire_life(GroupState& state, Incarnation life, Index index) {
  state.retired.try_emplace(life, index);
  if (state.retired.size() <= GroupState::kMostRetired) return;
  state.retired.erase(std::min_element(state.retired.begin(), state.retired.end(), [](const auto& a, const auto& b) { return a.second < b.second; }));
}

void remove_node(GroupState& state, NodeId id, Index index) {
  const auto known = std::find_if(state.topology.begin(), state.topology.end(), [&](const Node& n) { return n.id == id; });
  const auto admitted = state.admitted.find(id);
  state.removed[id] = {admitted == state.admitted.end() ? Incarnation() : admitted->second, index,
                       known == state.topology.end() ? std::string() : known->peer_address};
  if (admitted != state.admitted.end()) {
    if (admitted->second) retire_life(state, admitted->second, index);
    state.admitted.erase(admitted);
  }
  if (known != state.topology.end()) state.topology.erase(known);
  state.named.erase(id);
  state.over_quota.erase(id);
  if (state.removed.size() <= GroupState::kMostRemoved) return;
  state.removed.erase(std::min_element(state.removed.begin(), state.removed.end(), [](const auto& a, const auto& b) {
    return a.second.index < b.second.index;
  }));
}

Result<void> change_members(const Entry& entry, GroupState& state) {
  std::string_view carried;
  auto membership = raft::decode_membership(entry.payload.view(), &carried);
  if (!membership) return membership.error();
  auto note = decode_membership_note(carried);
  if (!note) return note.error();
  const auto before = all_of(state.membership);
  state.membership = std::move(*membership);
  if (!state.started()) return {};  // the first entry brings the lists
  for (const auto& node : note->nodes) name_node(state, node);
  if (!note->nodes.empty()) state.listed = entry.index;
  for (const auto id : all_of(state.membership))
    if (!before.contains(id)) state.admitted[id] = Incarnation();  // open: the first to knock fills it
  for (const auto id : before) {
    if (state.membership.contains(id)) continue;
    remove_node(state, id, entry.index);
    state.listed = entry.index;
  }
  return {};
}

// Who is not of it is no member any more, with what it holds: its vote least of all.
Result<void> regroup_members(const Entry& entry, GroupState& state) {
  auto membership = raft::membership_in(entry);
  if (!membership) return membership.error();
  auto lives = node::regroup_members(entry.payload.view());
  if (!lives.ok()) return lives.error();
  const auto before = all_of(state.membership);
  state.membership = std::move(*membership);
  for (const auto& [id, incarnation] : *lives) {
    state.admitted[id] = incarnation;
    state.removed.erase(id);
    state.retired.erase(incarnation);  // this group goes on from before that entry
  }
  for (const auto id : before)
    if (!state.membership.contains(id)) remove_node(state, id, entry.index);
  state.listed = entry.index;
  return {};
}

Result<void> take_list(const Entry& entry, GroupState& state) {
  auto list = decode_group_list(entry.payload.view());
  if (!list) return list.error();
  // Its own members a group knows better, whoever says what of them.
  const bool ours = std::any_of(state.topology.begin(), state.topology.end(), [&](const Node& n) {
    return state.membership.contains(n.id) && same_list(n, list->nodes.front());
  });
  if (ours || list->group == state.control.group) return {};
  auto& known = state.others_listed[list->group];
  if (list->listed <= known) return {};
  known = list->listed;
  std::erase_if(state.topology, [&](const Node& n) {
    const bool theirs = same_list(n, list->nodes.front());
    if (theirs) state.named.erase(n.id);
    return theirs;
  });
  for (const auto& node : list->nodes) {
    // An id of this group's own is not theirs to name.
    if (!state.membership.contains(node.id)) name_node(state, node);
  }
  return {};
}

}  // namespace

bool same_list(const Node& a, const Node& b) {
  return a.role == b.role && (a.role != GroupRole::kObserver || a.region == b.region);
}

std::string encode(const MembershipNote& note) {
  std::string out;
  put_nodes(out, note.nodes);
  return out;
}

Result<MembershipNote> decode_membership_note(std::string_view in) {
  MembershipNote note;
  if (!in.empty() && (!get_nodes(in, note.nodes) || !in.empty()))
    return Error{Code::kCorrupt, "a membership's note is malformed"};
  return note;
}

std::string encode(const GroupList& list) {
  std::string out;
  codec::put_u64(out, list.group.value());
  codec::put_varint(out, list.listed.value());
  put_nodes(out, list.nodes);
  return out;
}

Result<GroupList> decode_group_list(std::string_view in) {
  const Error malformed{Code::kCorrupt, "a list of another group's members is malformed"};
  GroupList list;
  std::uint64_t group, listed;
  if (!codec::get_u64(in, group) || !codec::get_varint(in, listed) || !get_nodes(in, list.nodes) || !in.empty() || list.nodes.empty())
    return malformed;
  for (const auto& n : list.nodes)
    if (!same_list(n, list.nodes.front())) return malformed;
  list.group = GroupId(group);
  list.listed = Index(listed);
  return list;
}

std::string encode(const GroupState& state) {
  std::string out;
  codec::put_u8(out, state.format == 1 ? kOfFormat1 : kGroupStateVersion);
  out.append(reinterpret_cast<const char*>(state.lineage.bytes.data()), state.lineage.bytes.size());
  codec::put_bytes(out, region::encode(state.control));
  codec::put_bytes(out, raft::encode(state.membership));
  codec::put_varint(out, state.admitted.size());
  for (const auto& [id, incarnation] : state.admitted) {
    codec::put_varint(out, id.value());
    codec::put_u64(out, incarnation.value());
  }
  put_nodes(out, state.topology);
  codec::put_varint(out, state.leapt.value());
  codec::put_varint(out, state.named.size());
  for (const auto id : state.named) codec::put_varint(out, id.value());
  codec::put_varint(out, state.removed.size());
  for (const auto& [id, removed] : state.removed) {
    codec::put_varint(out, id.value());
    codec::put_u64(out, removed.incarnation.value());
    codec::put_varint(out, removed.index.value());
    codec::put_bytes(out, removed.peer_address);
  }
  codec::put_varint(out, state.listed.value());
  codec::put_varint(out, state.others_listed.size());
  for (const auto& [group, index] : state.others_listed) {
    codec::put_u64(out, group.value());
    codec::put_varint(out, index.value());
  }
  codec::put_varint(out, state.over_quota.size());
  for (const auto id : state.over_quota) codec::put_varint(out, id.value());
  codec::put_varint(out, state.retired.size());
  for (const auto& [incarnation, index] : state.retired) {
    codec::put_u64(out, incarnation.value());
    codec::put_varint(out, index.value());
  }
  if (state.format > 1) codec::put_varint(out, state.format);
  return out;
}

Lineage lineage_of(const Manifest& manifest) {
  const auto group = decode_group_state(manifest.membership);
  return group.ok() ? group->lineage : Lineage{};
}

Result<GroupState> decode_group_state(std::string_view in) {
  GroupState state;
  if (in.empty()) return state;
  std::uint8_t version;
  std::uint64_t count, leapt, format = 1;
  std::string_view membership, control;
  if (!codec::get_u8(in, version) || version == 0) return kMalformed;
  if (version > kGroupStateVersion) return Error{Code::kNewerFormat, "the group's state was written by a newer version; run the newer leewardd"};
  if (version < kOldestGroupState)
    return Error{Code::kNewerFormat, "the group's state has format " + std::to_string(version) + ", which this version reads no more (oldest: " +
                                         std::to_string(kOldestGroupState) + "); nothing is damaged: start the version that wrote it,"
                                         " or one in between"};
  if (!codec::get_fixed(in, state.lineage.bytes) || !codec::get_bytes(in, control) ||
      !codec::get_bytes(in, membership) || !codec::get_varint(in, count))
    return kMalformed;
  auto regions = region::decode_control(control);
  if (!regions.ok()) return regions.error();
  state.control = std::move(*regions);
  auto members = raft::decode_membership(membership);
  if (!members) return members.error();
  state.membership = std::move(*members);
  for (std::uint64_t i = 0; i < count; ++i) {
    std::uint64_t id, incarnation;
    if (!codec::get_varint(in, id) || !codec::get_u64(in, incarnation)) return kMalformed;
    state.admitted[NodeId(id)] = Incarnation(incarnation);
  }
  if (!get_nodes(in, state.topology)) return kMalformed;
  if (!codec::get_varint(in, leapt) || (version > 3 && !get_changes(in, state)) ||
      (version > 4 && !get_alarms(in, state)) || (version > 5 && !get_retired(in, state)) ||
      (version > kOfFormat1 && (!codec::get_varint(in, format) || format < 2 || format > UINT32_MAX)) || !in.empty())
    return kMalformed;
  state.format = static_cast<std::uint32_t>(format);
  if (version < 6) retire_removed(state);
  state.leapt = Index(leapt);
  return state;
}

std::string encode(const FormatChange& change) {
  std::string out;
  codec::put_varint(out, change.format);
  return out;
}

Result<FormatChange> decode_format_change(std::string_view in) {
  std::uint64_t format;
  if (!codec::get_varint(in, format) || !in.empty() || format < kOldestFormat || format > UINT32_MAX)
    return Error{Code::kCorrupt, "malformed change of the format"};
  return FormatChange{static_cast<std::uint32_t>(format)};
}

std::string encode(const Admission& admission) {
  std::string out;
  codec::put_varint(out, admission.id.value());
  codec::put_u64(out, admission.incarnation.value());
  return out;
}

Result<Admission> decode_admission(std::string_view in) {
  std::uint64_t id, incarnation;
  if (!codec::get_varint(in, id) || !codec::get_u64(in, incarnation) || !in.empty())
    return Error{Code::kCorrupt, "a malformed admission"};
  return Admission{NodeId(id), Incarnation(incarnation)};
}

std::string encode(const AlarmChange& change) {
  std::string out;
  codec::put_u8(out, change.raised ? 1 : 0);
  codec::put_varint(out, change.member.value());
  return out;
}

Result<AlarmChange> decode_alarm_change(std::string_view in) {
  std::uint8_t raised;
  std::uint64_t member;
  if (!codec::get_u8(in, raised) || raised > 1 || !codec::get_varint(in, member) || !in.empty())
    return Error{Code::kCorrupt, "a malformed alarm"};
  return AlarmChange{NodeId(member), raised == 1};
}

Result<bool> apply_to_group(const Entry& entry, GroupState& state) {
  switch (entry.kind) {
    case EntryKind::kBootstrap: {
      // Only the first one counts: two leaders may each have appended one.
      if (state.started()) return false;
      auto made = decode_group_state(entry.payload.view());
      if (!made) return made.error();
      // Membership is the log's business: a change may stand before this entry.
      if (!state.membership.voters.empty()) made->membership = state.membership;
      state = std::move(*made);
      return true;
    }
    case EntryKind::kMembership:
      LEEWARD_TRY(change_members(entry, state));
      return true;
    case EntryKind::kOtherMembers:
      LEEWARD_TRY(take_list(entry, state));
      return true;
    case EntryKind::kRegroup:
      LEEWARD_TRY(regroup_members(entry, state));
      return true;
    case EntryKind::kAdmit: {
      auto admission = decode_admission(entry.payload.view());
      if (!admission) return admission.error();
      if (state.retired.contains(admission->incarnation)) return false;
      if (state.membership.contains(admission->id)) state.admitted[admission->id] = admission->incarnation;
      else retire_life(state, admission->incarnation, entry.index);
      return true;
    }
    case EntryKind::kAlarm: {
      const auto change = decode_alarm_change(entry.payload.view());
      if (!change.ok()) return change.error();
      if (!change->raised) return state.over_quota.erase(change->member) > 0;
      return state.membership.contains(change->member) && state.over_quota.insert(change->member).second;
    }
    case EntryKind::kFormat: {
      const auto change = decode_format_change(entry.payload.view());
      if (!change.ok()) return change.error();
      return std::exchange(state.format, std::max(state.format, change->format)) != state.format;
    }
    case EntryKind::kFollow: {  // region_log.h has judged it, and noted what it puts aside
      const auto& ledgers = state.control.ledgers;
      if (ledgers.empty() || ledgers.back().follow != entry.index) return false;
      state.leapt = entry.index;
      return true;
    }
    case EntryKind::kAdopt:
      state.leapt = entry.index;
      return true;
    default:
      return false;
  }
}

std::vector<Node> own_list(const std::vector<Node>& nodes, NodeId self) {
  const auto me = std::find_if(nodes.begin(), nodes.end(), [&](const Node& n) { return n.id == self; });
  std::vector<Node> list;
  if (me == nodes.end()) return list;
  for (const auto& n : nodes)
    if (same_list(n, *me)) list.push_back(n);
  return list;
}

Hash list_hash(const std::string& cluster_name, const std::vector<Node>& nodes) {
  auto sorted = nodes;
  std::sort(sorted.begin(), sorted.end(), [](const Node& a, const Node& b) { return a.id < b.id; });
  std::string text;
  codec::put_bytes(text, cluster_name);
  for (const auto& n : sorted) {
    codec::put_varint(text, n.id.value());
    // Not addresses: regions may reach one another by other ones than their own
    // members do.
    codec::put_bytes(text, n.region);
    codec::put_u8(text, static_cast<std::uint8_t>(n.role));
  }
  return sha256(text);
}

raft::Membership membership_of(const std::vector<Node>& list) {
  raft::Membership membership;
  for (const auto& n : list) membership.voters.insert(n.id);
  return membership;
}

}  // namespace leeward::node
