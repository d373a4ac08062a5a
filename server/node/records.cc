#include "node/records.h"

#include "base/codec.h"

namespace leeward::node {
namespace {

constexpr std::string_view kStarted = "started";
constexpr std::string_view kBeginsFollowing = "begins_following";
constexpr std::string_view kJoinsGroup = "joins_group";
constexpr std::string_view kSeen = "seen";
constexpr std::string_view kDrill = "drill";
constexpr std::uint8_t kSeenVersion = 1;
constexpr std::uint8_t kDrillVersion = 1;

}  // namespace

std::optional<std::string> find_record(const std::string& extra, std::string_view wanted) {
  std::string_view in = extra, key, value;
  while (codec::get_bytes(in, key) && codec::get_bytes(in, value))
    if (key == wanted) return std::string(value);
  return std::nullopt;
}

void drop_record(std::string& extra, std::string_view wanted) {
  std::string out;
  std::string_view in = extra, key, old;
  while (codec::get_bytes(in, key) && codec::get_bytes(in, old)) {
    if (key == wanted) continue;
    codec::put_bytes(out, key);
    codec::put_bytes(out, old);
  }
  extra = std::move(out);
}

void set_record(std::string& extra, std::string_view key, const std::string& value) {
  drop_record(extra, key);
  codec::put_bytes(extra, key);
  codec::put_bytes(extra, value);
}

void set_started(std::string& extra, const raft::Membership& membership) {
  set_record(extra, kStarted, raft::encode(membership));
}

void set_begins_following(std::string& extra) { set_record(extra, kBeginsFollowing, "1"); }
bool begins_following(const std::string& extra) { return find_record(extra, kBeginsFollowing).has_value(); }

void set_joins_group(std::string& extra, GroupId group) {
  if (!group) return drop_record(extra, kJoinsGroup);
  std::string value;
  codec::put_u64(value, group.value());
  set_record(extra, kJoinsGroup, value);
}

GroupId joins_group(const std::string& extra) {
  const auto value = find_record(extra, kJoinsGroup);
  std::uint64_t group = 0;
  if (!value) return {};
  std::string_view in = *value;
  return codec::get_u64(in, group) && in.empty() ? GroupId(group) : GroupId();
}

std::optional<raft::Membership> started_with(const std::string& extra) {
  const auto value = find_record(extra, kStarted);
  if (!value) return std::nullopt;
  auto membership = raft::decode_membership(*value);
  if (!membership.ok()) return std::nullopt;
  return std::move(*membership);
}

void set_seen(std::string& extra, const Seen& seen) {
  std::string value;
  codec::put_u8(value, kSeenVersion);
  codec::put_varint(value, seen.epoch.value());
  codec::put_u64(value, seen.promotion);
  set_record(extra, kSeen, value);
}

Result<Seen> seen_in(const std::string& extra) {
  const auto value = find_record(extra, kSeen);
  if (!value) return Seen();
  std::string_view in = *value;
  std::uint8_t version;
  std::uint64_t epoch;
  Seen seen;
  if (codec::get_u8(in, version) && version > kSeenVersion)
    return Error{Code::kNewerFormat, "the superblock's record of the newest epoch was written by a newer version"};
  if (!codec::get_varint(in, epoch) || !codec::get_u64(in, seen.promotion) || !in.empty())
    return Error{Code::kCorrupt, "the superblock's record of the newest epoch is malformed"};
  seen.epoch = Epoch(epoch);
  return seen;
}

void set_drill(std::string& extra, const DrillRecord& drill) {
  std::string value;
  codec::put_u8(value, kDrillVersion);
  codec::put_varint(value, drill.count);
  codec::put_u64(value, static_cast<std::uint64_t>(drill.time_ms));
  codec::put_varint(value, drill.rto_us);
  set_record(extra, kDrill, value);
}

DrillRecord drill_in(const std::string& extra) {
  const auto value = find_record(extra, kDrill);
  if (!value) return {};
  std::string_view in = *value;
  std::uint8_t version;
  std::uint64_t time;
  DrillRecord drill;
  if (!codec::get_u8(in, version) || version != kDrillVersion || !codec::get_varint(in, drill.count) || !codec::get_u64(in, time) ||
      !codec::get_varint(in, drill.rto_us))
    return {};
  drill.time_ms = static_cast<std::int64_t>(time);
  return drill;
}

}  // namespace leeward::node
