#include "node/auto_compaction.h"

#include <algorithm>

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
  if (current.value() <= count) return std::nullopt;
  return Revision(current.value() - count);
}

}  // namespace leeward::node
