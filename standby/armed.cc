#include "standby/armed.h"

#include "base/codec.h"

namespace leeward::standby {
namespace {

constexpr std::uint8_t kFormat = 1;

Result<void> take_format(std::string_view& in) {
  std::uint8_t format = 0;
  if (!codec::get_u8(in, format) || format == 0) return Error{Code::kCorrupt, "a region entry is malformed"};
  if (format > kFormat) return Error{Code::kNewerFormat, "a region entry was written by a newer version; upgrade"};
  return {};
}

}  // namespace

const char* name(FenceMode mode) { return mode == FenceMode::kLease ? "lease" : "contact"; }

std::string encode(const Armed& armed) {
  std::string out;
  codec::put_u8(out, kFormat);
  codec::put_u64(out, armed.arming);
  codec::put_u64(out, armed.group.value());
  codec::put_bytes(out, armed.region);
  codec::put_u8(out, static_cast<std::uint8_t>(armed.mode));
  codec::put_varint(out, static_cast<std::uint64_t>(armed.lease / 1ms));
  codec::put_u8(out, armed.unguarded);
  return out;
}

std::string encode(const Disarmed& disarmed) {
  std::string out;
  codec::put_u8(out, kFormat);
  codec::put_u64(out, disarmed.arming);
  return out;
}

Result<Armed> decode_armed(std::string_view in) {
  LEEWARD_TRY(take_format(in));
  Armed armed;
  std::uint64_t group = 0, lease_ms = 0;
  std::string_view region;
  std::uint8_t mode = 0, unguarded = 0;
  const bool ok = codec::get_u64(in, armed.arming) && codec::get_u64(in, group) && codec::get_bytes(in, region) &&
                  codec::get_u8(in, mode) && codec::get_varint(in, lease_ms) && codec::get_u8(in, unguarded) &&
                  in.empty() && armed.arming != 0 && (mode == 1 || mode == 2) && unguarded <= 1 &&
                  lease_ms <= 86'400'000;
  if (!ok) return Error{Code::kCorrupt, "an Armed entry is malformed"};
  armed.group = GroupId(group);
  armed.region = region;
  armed.mode = static_cast<FenceMode>(mode);
  armed.lease = std::chrono::milliseconds(lease_ms);
  armed.unguarded = unguarded == 1;
  return armed;
}

Result<Disarmed> decode_disarmed(std::string_view in) {
  LEEWARD_TRY(take_format(in));
  Disarmed disarmed;
  if (!codec::get_u64(in, disarmed.arming) || !in.empty())
    return Error{Code::kCorrupt, "a Disarmed entry is malformed"};
  return disarmed;
}

std::optional<Armed> armed_in(const std::vector<RegionEntry>& entries, Epoch epoch) {
  const RegionEntry* armed = nullptr;
  const RegionEntry* disarmed = nullptr;
  for (const auto& e : entries) {
    if (e.kind == EntryKind::kArmed && (!armed || e.index > armed->index)) armed = &e;
    if (e.kind == EntryKind::kDisarmed && (!disarmed || e.index > disarmed->index)) disarmed = &e;
  }
  if (!armed || armed->epoch != epoch) return std::nullopt;
  const auto value = decode_armed(armed->payload.view());
  if (!value.ok()) return std::nullopt;
  if (disarmed && disarmed->index > armed->index) {
    const auto by = decode_disarmed(disarmed->payload.view());
    if (by.ok() && by->arming == value->arming) return std::nullopt;
  }
  return *value;
}

}  // namespace leeward::standby
