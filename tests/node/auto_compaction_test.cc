#include "node/auto_compaction.h"

#include <gtest/gtest.h>

#include <vector>

#include "region/entries.h"

namespace leeward::node {
namespace {

using Mode = CompactionOptions::Mode;
using Compacted = std::vector<std::pair<Duration, std::int64_t>>;  // when, up to where

// A revision each second, asked 20 times a second.
Compacted over(Duration time, CompactionOptions options, Duration step = 50ms) {
  AutoCompaction compaction(options);
  Compacted out;
  for (Duration at{}; at <= time; at += step)
    if (const auto due = compaction.due(Instant(1h) + at, Revision(1 + at / 1s))) out.emplace_back(at, due->value());
  return out;
}

TEST(AutoCompaction, WhatIsOlderThanAShortPeriodGoesOnceAPeriod) {
  EXPECT_EQ(over(35s, {.mode = Mode::kPeriodic, .period = 10s}), (Compacted{{10s, 1}, {20s, 11}, {30s, 21}}));
}

TEST(AutoCompaction, WhatIsOlderThanALongPeriodGoesOnceAnHour) {
  EXPECT_EQ(over(25h + 30min, {.mode = Mode::kPeriodic, .period = 24h}, 1s), (Compacted{{24h, 1}, {25h, 3601}}));
}

TEST(AutoCompaction, WhatLiesFurtherBackGoesEachFiveMinutes) {
  EXPECT_EQ(over(16min, {.mode = Mode::kRevision, .revisions = 400}), (Compacted{{10min, 201}, {15min, 501}}));
}

TEST(AutoCompaction, WhatAPromotionSkippedIsNotCounted) {
  constexpr std::int64_t kFirst = 2 * region::kRevisionsOfAnEpoch;
  AutoCompaction compaction({.mode = Mode::kRevision, .revisions = 400});
  EXPECT_FALSE(compaction.due(Instant(0s), Revision(1000)));
  EXPECT_EQ(compaction.due(Instant(5min), Revision(1000)), Revision(600));
  EXPECT_FALSE(compaction.due(Instant(10min), Revision(kFirst)));
  EXPECT_FALSE(compaction.due(Instant(15min), Revision(kFirst + 399)));
  EXPECT_EQ(compaction.due(Instant(20min), Revision(kFirst + 450)), Revision(kFirst + 50));
}

TEST(AutoCompaction, NothingIsDoneUnasked) { EXPECT_EQ(over(3h, {}, 1s), Compacted{}); }

TEST(AutoCompaction, WhatWasSeenOfAnotherHistoryIsForgotten) {
  AutoCompaction compaction({.mode = Mode::kPeriodic, .period = 10s});
  EXPECT_FALSE(compaction.due(Instant(0s), Revision(100)));
  EXPECT_FALSE(compaction.due(Instant(5s), Revision(50)));
  EXPECT_FALSE(compaction.due(Instant(10s), Revision(60)));
  EXPECT_EQ(compaction.due(Instant(15s), Revision(70)), Revision(50));
}

}  // namespace
}  // namespace leeward::node
