// What the state keeps of EpochChanges: a row for each, and the gaps that they
// leave in the revisions. README.md, "Epochs". Plain functions, any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/entry.h"
#include "base/result.h"
#include "ports/state_machine.h"
#include "ports/store.h"

namespace leeward::kv {

// The revisions between `after`, the last of an epoch, and `until`, the first
// of the next: they may have been given out in a tail that is lost, and are
// never given out here.
struct Gap {
  std::int64_t after = 0, until = 0;
  bool operator==(const Gap&) const = default;
};
using Gaps = std::vector<Gap>;  // oldest first

// Where the gap ends in which a revision lies; 0: it lies in none.
std::int64_t end_of_gap(const Gaps* gaps, std::int64_t revision);
// The same for the start of a watch. Who starts right after the fork has seen
// nothing that could be lost.
std::int64_t end_of_gap_for_watch(const Gaps* gaps, std::int64_t start);

bool is_region_kind(EntryKind kind);
// Under which an entry about regions is kept: the newest of its kind, but of
// EpochChanges and Measureds all.
std::string region_row(EntryKind kind, Epoch epoch, HistoryIndex index);
// The value: be64 history index, then the body that the state hash covers.
std::string region_body(const RegionEntry& entry);
std::string region_value(const RegionEntry& entry);
// Errors: kCorrupt.
Result<RegionEntry> parse_region(std::string_view row, std::string_view value);

// All of them, EpochChanges oldest first. Errors: kCorrupt, the store's.
Result<std::vector<RegionEntry>> read_region_entries(const StoreSnapshot& snapshot);
// Errors: kCorrupt, kNewerFormat.
Result<std::shared_ptr<const Gaps>> gaps_of(const std::vector<RegionEntry>& entries);

}  // namespace leeward::kv
