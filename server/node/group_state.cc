#include "node/group_state.h"

#include <algorithm>

#include "base/codec.h"

namespace leeward::node {
namespace {

constexpr std::uint8_t kGroupStateVersion = 3;  // 1 and 2 were of no release
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

}  // namespace

std::string encode(const GroupState& state) {
  std::string out;
  codec::put_u8(out, kGroupStateVersion);
  out.append(reinterpret_cast<const char*>(state.lineage.bytes.data()), state.lineage.bytes.size());
  codec::put_bytes(out, region::encode(state.control));
  codec::put_bytes(out, raft::encode(state.membership));
  codec::put_varint(out, state.admitted.size());
  for (const auto& [id, incarnation] : state.admitted) {
    codec::put_varint(out, id.value());
    codec::put_u64(out, incarnation.value());
  }
  codec::put_varint(out, state.topology.size());
  for (const auto& n : state.topology) put_node(out, n);
  codec::put_varint(out, state.adopted.value());
  return out;
}

Result<GroupState> decode_group_state(std::string_view in) {
  GroupState state;
  if (in.empty()) return state;
  std::uint8_t version;
  std::uint64_t count, adopted;
  std::string_view membership, control;
  if (!codec::get_u8(in, version)) return kMalformed;
  if (version > kGroupStateVersion) return Error{Code::kNewerFormat, "the group's state was written by a newer version"};
  if (version < kGroupStateVersion || !codec::get_fixed(in, state.lineage.bytes) || !codec::get_bytes(in, control) ||
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
  if (!codec::get_varint(in, count)) return kMalformed;
  for (std::uint64_t i = 0; i < count; ++i) {
    Node n;
    if (!get_node(in, n)) return kMalformed;
    state.topology.push_back(std::move(n));
  }
  if (!codec::get_varint(in, adopted) || !in.empty()) return kMalformed;
  state.adopted = Index(adopted);
  return state;
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
    case EntryKind::kMembership: {
      auto membership = raft::decode_membership(entry.payload.view());
      if (!membership) return membership.error();
      state.membership = std::move(*membership);
      return true;
    }
    case EntryKind::kAdmit: {
      auto admission = decode_admission(entry.payload.view());
      if (!admission) return admission.error();
      state.admitted[admission->id] = admission->incarnation;
      return true;
    }
    case EntryKind::kAdopt:
      state.adopted = entry.index;
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
    if (n.role == me->role && (n.role != GroupRole::kObserver || n.region == me->region)) list.push_back(n);
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
