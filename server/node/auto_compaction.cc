#include "node/auto_compaction.h"

#include <algorithm>

#include "region/entries.h"

namespace leeward::node {
namespace {

constexpr Duration kLongestInterval = 1h;
constexpr Duration kCountEach = 5min;
constexpr int kSamples = 10;  // an interval

}  // namespace

std::optional<Revision> AutoCompaction::due(Instant now, Revision current) {
  switch (options_.mode) {
    case CompactionOptions::Mode::kOff: return std::nullopt;
    case CompactionOptions::Mode::kPeriodic: return by_age(now, current);
    case CompactionOptions::Mode::kRevision: return by_count(now, current);
  }
  return std::nullopt;
}

std::optional<Revision> AutoCompaction::by_age(Instant now, Revision current) {
  const auto interval = std::min<Duration>(options_.period, kLongestInterval);
  if (!seen_.empty() && current < seen_.back().second) seen_.clear();  // the group follows another history
  if (seen_.empty() || now - seen_.back().first >= interval / kSamples) seen_.emplace_back(now, current);
  // The newest of those that are old enough stays at the front.
  while (seen_.size() > 1 && now - seen_[1].first >= options_.period) seen_.pop_front();
  if (now - seen_.front().first < options_.period || (next_ && now < *next_)) return std::nullopt;
  next_ = now + interval;
  return seen_.front().second;
}

std::optional<Revision> AutoCompaction::by_count(Instant now, Revision current) {
  if (!next_) next_ = now + kCountEach;
  if (now < *next_) return std::nullopt;
  next_ = now + kCountEach;
  const auto count = static_cast<std::int64_t>(options_.revisions);
  const auto upto = current.value() - count;
  // A promotion skips revisions. Behind it there is nothing to count in what it skipped, and
  // what came before stays until so many have come after it.
  const auto epoch_began = current.value() / region::kRevisionsOfAnEpoch * region::kRevisionsOfAnEpoch;
  if (upto <= 0 || upto < epoch_began) return std::nullopt;
  return Revision(upto);
}

}  // namespace leeward::node
