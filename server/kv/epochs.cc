#include "kv/epochs.h"

#include <algorithm>

#include "base/codec.h"
#include "kv/layout.h"
#include "region/entries.h"

namespace leeward::kv {
namespace {

const Error kBadRegion{Code::kCorrupt, "state store: an entry about regions cannot be read"};

}  // namespace

std::int64_t end_of_gap(const Gaps* gaps, std::int64_t revision) {
  if (!gaps) return 0;
  for (const Gap& gap : *gaps)
    if (gap.after < revision && revision < gap.until) return gap.until;
  return 0;
}

std::int64_t end_of_gap_for_watch(const Gaps* gaps, std::int64_t start) {
  const std::int64_t until = end_of_gap(gaps, start);
  return end_of_gap(gaps, start - 1) == 0 ? 0 : until;  // else right after the fork
}

bool is_region_kind(EntryKind kind) {
  switch (kind) {
    case EntryKind::kEpochChange:
    case EntryKind::kArmed:
    case EntryKind::kDisarmed:
    case EntryKind::kSeal:
    case EntryKind::kUnseal:
    case EntryKind::kTopology:
    case EntryKind::kMeasured: return true;
    default: return false;
  }
}

std::string region_row(EntryKind kind, Epoch epoch, HistoryIndex index) {
  std::string out(kRegionPrefix);
  codec::put_u8(out, static_cast<std::uint8_t>(kind));
  if (kind == EntryKind::kEpochChange) codec::put_be64(out, epoch.value());
  if (kind == EntryKind::kMeasured) codec::put_be64(out, index.value());
  return out;
}

std::string region_body(const RegionEntry& entry) {
  std::string out;
  codec::put_be64(out, entry.epoch.value());
  if (entry.kind == EntryKind::kEpochChange) codec::put_be64(out, static_cast<std::uint64_t>(entry.forked.value()));
  out.append(entry.payload.view());
  return out;
}

std::string region_value(const RegionEntry& entry) {
  std::string out;
  codec::put_be64(out, entry.index.value());
  return out + region_body(entry);
}

Result<RegionEntry> parse_region(std::string_view row, std::string_view value) {
  RegionEntry entry;
  row.remove_prefix(std::min(row.size(), kRegionPrefix.size()));
  std::uint8_t kind = 0;
  std::uint64_t index = 0, epoch = 0, forked = 0;
  if (!codec::get_u8(row, kind) || !codec::get_be64(value, index) || !codec::get_be64(value, epoch)) return kBadRegion;
  entry.kind = static_cast<EntryKind>(kind);
  if (!is_region_kind(entry.kind)) return kBadRegion;
  if (entry.kind == EntryKind::kEpochChange) {
    std::uint64_t named = 0;
    if (!codec::get_be64(row, named) || named != epoch || !codec::get_be64(value, forked)) return kBadRegion;
    entry.forked = Revision(static_cast<std::int64_t>(forked));
  }
  if (std::uint64_t named = 0; entry.kind == EntryKind::kMeasured && (!codec::get_be64(row, named) || named != index)) return kBadRegion;
  if (!row.empty()) return kBadRegion;
  entry.epoch = Epoch(epoch);
  entry.index = HistoryIndex(index);
  entry.payload = Bytes::copy(value);
  return entry;
}

Result<std::vector<RegionEntry>> read_region_entries(const StoreSnapshot& snapshot) {
  std::vector<RegionEntry> entries;
  const auto rows = snapshot.iterate(Family::kMeta);
  for (rows->seek(kRegionPrefix); rows->valid() && rows->key().starts_with(kRegionPrefix); rows->next()) {
    auto entry = parse_region(rows->key(), rows->value());
    if (!entry.ok()) return entry.error();
    entries.push_back(std::move(*entry));
  }
  LEEWARD_TRY(rows->status());
  return entries;
}

Result<std::shared_ptr<const Gaps>> gaps_of(const std::vector<RegionEntry>& entries) {
  auto gaps = std::make_shared<Gaps>();
  for (const RegionEntry& entry : entries) {
    if (entry.kind != EntryKind::kEpochChange) continue;
    auto change = region::decode_epoch_change(entry.payload.view());
    if (!change.ok()) return change.error();
    const std::int64_t first = region::first_revision(*change, entry.forked).value();
    if (first > entry.forked.value() + 1) gaps->push_back({entry.forked.value(), first});
  }
  return std::shared_ptr<const Gaps>(std::move(gaps));
}

}  // namespace leeward::kv
