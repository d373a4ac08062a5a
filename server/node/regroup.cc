#include "node/regroup.h"

#include "base/codec.h"
#include "node/records.h"
#include "raft/types.h"

namespace leeward::node {
namespace {

constexpr std::string_view kRegroupRecord = "regroup";
constexpr std::uint8_t kRegroupFormat = 1;
constexpr std::size_t kMostSurvivors = 64;
const Error kMalformedRecord{Code::kCorrupt, "the record of a regrouping is malformed"};

}  // namespace

std::string encode(const Regroup& regroup) {
  std::string out;
  codec::put_u8(out, kRegroupFormat);
  codec::put_varint(out, regroup.members.size());
  for (const auto& [id, m] : regroup.members) {
    codec::put_varint(out, id.value());
    codec::put_u64(out, m.incarnation.value());
    codec::put_u64(out, m.group.value());
    codec::put_varint(out, m.end.term.value());
    codec::put_varint(out, m.end.index.value());
  }
  codec::put_varint(out, regroup.leader.value());
  codec::put_varint(out, regroup.term.value());
  codec::put_bytes(out, region::encode(regroup.become));
  return out;
}

Result<Regroup> decode_regroup_record(std::string_view in) {
  Regroup regroup;
  std::uint8_t format = 0;
  std::uint64_t count = 0, leader = 0, term = 0;
  if (!codec::get_u8(in, format) || format == 0) return kMalformedRecord;
  if (format > kRegroupFormat) return Error{Code::kNewerFormat, "the record of a regrouping was written by a newer version"};
  if (!codec::get_varint(in, count) || count > kMostSurvivors) return kMalformedRecord;
  for (; count > 0; --count) {
    std::uint64_t id, incarnation, group, at, index;
    if (!codec::get_varint(in, id) || !codec::get_u64(in, incarnation) || !codec::get_u64(in, group) ||
        !codec::get_varint(in, at) || !codec::get_varint(in, index))
      return kMalformedRecord;
    regroup.members[NodeId(id)] = {Incarnation(incarnation), GroupId(group), {Term(at), Index(index)}};
  }
  std::string_view become;
  if (!codec::get_varint(in, leader) || !codec::get_varint(in, term) || !codec::get_bytes(in, become) || !in.empty())
    return kMalformedRecord;
  auto group = region::decode_regrouped(become);
  if (!group.ok()) return group.error();
  regroup.leader = NodeId(leader);
  regroup.term = Term(term);
  regroup.become = std::move(*group);
  if (!regroup.members.contains(regroup.leader)) return kMalformedRecord;
  return regroup;
}

void set_regroup(std::string& extra, const Regroup& regroup) { set_record(extra, kRegroupRecord, encode(regroup)); }
void drop_regroup(std::string& extra) { drop_record(extra, kRegroupRecord); }

Result<std::optional<Regroup>> regroup_in(const std::string& extra) {
  const auto value = find_record(extra, kRegroupRecord);
  if (!value) return std::optional<Regroup>();
  auto regroup = decode_regroup_record(*value);
  if (!regroup.ok()) return regroup.error();
  return std::optional<Regroup>(std::move(*regroup));
}

std::string payload_of(const Regroup& regroup) {
  raft::Membership membership;
  std::string members;
  codec::put_varint(members, regroup.members.size());
  for (const auto& [id, m] : regroup.members) {
    membership.voters.insert(id);
    codec::put_varint(members, id.value());
    codec::put_u64(members, m.incarnation.value());
  }
  const auto voters = raft::encode(membership), group = region::encode(regroup.become);
  return regroup_payload({voters, group, members});
}

Result<std::map<NodeId, Incarnation>> regroup_members(std::string_view payload) {
  const auto parts = decode_regroup(payload);
  if (!parts.ok()) return parts.error();
  auto in = parts->members;
  std::uint64_t count = 0;
  if (!codec::get_varint(in, count) || count > kMostSurvivors) return kMalformedRecord;
  std::map<NodeId, Incarnation> members;
  for (; count > 0; --count) {
    std::uint64_t id, incarnation;
    if (!codec::get_varint(in, id) || !codec::get_u64(in, incarnation)) return kMalformedRecord;
    members[NodeId(id)] = Incarnation(incarnation);
  }
  if (!in.empty()) return kMalformedRecord;
  return members;
}

}  // namespace leeward::node
