// Scripted timelines: times in milliseconds of the member's own clock, commits
// as history indexes.
#include <gtest/gtest.h>

#include "standby/lag.h"

namespace leeward::standby {
namespace {

Instant at(std::int64_t ms) { return Instant(std::chrono::milliseconds(ms)); }
Position pos(std::uint64_t index) { return {HistoryIndex(index), {}, index * 10, index * 100}; }
Duration ms(std::int64_t v) { return std::chrono::milliseconds(v); }

Answer answer(std::uint64_t counter, std::uint64_t commit, std::int64_t sent, std::int64_t arrived,
              std::uint64_t term = 1, std::uint64_t epoch = 1) {
  return {{Epoch(epoch), Term(term), counter}, pos(commit), at(sent), at(arrived)};
}

TEST(Lag, IsUnknownBeforeTheFirstAnswer) {
  LagMeter meter(Epoch(1));
  const auto lag = meter.lag(pos(5), at(1000));
  EXPECT_FALSE(lag.low || lag.high || lag.writes || lag.entries || lag.bytes);
  EXPECT_FALSE(meter.silence(at(1000)) || meter.newest() || meter.lag_at_newest(pos(5)));
}

TEST(Lag, OfAMemberThatHoldsAllIsZeroUpToTheAgeOfThePing) {
  LagMeter meter(Epoch(1));
  EXPECT_TRUE(meter.add(answer(1, 7, 100, 300)));
  const auto lag = meter.lag(pos(7), at(320));
  EXPECT_EQ(lag.low, ms(0));
  EXPECT_EQ(lag.high, ms(220));
  EXPECT_EQ(lag.writes, 0u);
}

TEST(Lag, CountsWritesEntriesAndBytesFromTheNewestAnswer) {
  LagMeter meter(Epoch(1));
  meter.add(answer(1, 7, 100, 300));
  meter.add(answer(2, 9, 150, 350));
  const auto lag = meter.lag(pos(4), at(400));
  EXPECT_EQ(lag.writes, 50u);
  EXPECT_EQ(lag.entries, 5u);
  EXPECT_EQ(lag.bytes, 500u);
}

TEST(Lag, LowRunsFromTheOldestAnswerAboveWhatIsHeld) {
  LagMeter meter(Epoch(1));
  meter.add(answer(1, 5, 100, 300));
  meter.add(answer(2, 7, 150, 350));
  meter.add(answer(3, 9, 200, 400));
  const auto lag = meter.lag(pos(6), at(1000));
  EXPECT_EQ(lag.low, ms(650));
  EXPECT_EQ(lag.high, ms(900));
}

TEST(Lag, HighIsUnknownWhileEveryAnswerIsAboveWhatIsHeld) {
  LagMeter meter(Epoch(1));
  meter.add(answer(1, 5, 100, 300));
  const auto lag = meter.lag(pos(4), at(1000));
  EXPECT_FALSE(lag.high);
  EXPECT_EQ(lag.low, ms(700));
  EXPECT_FALSE(meter.lag_at_newest(pos(4)));
}

TEST(Lag, SilenceMakesHighGrowByItself) {
  LagMeter meter(Epoch(1));
  meter.add(answer(1, 5, 100, 300));
  EXPECT_EQ(meter.lag(pos(5), at(400)).high, ms(300));
  EXPECT_EQ(meter.lag(pos(5), at(60'000)).high, ms(59'900));
  EXPECT_EQ(meter.silence(at(60'000)), ms(59'900));
}

TEST(Lag, AtTheLastAnswerStaysWhenThePrimaryIsSilent) {
  LagMeter meter(Epoch(1));
  meter.add(answer(1, 5, 100, 300));
  meter.add(answer(2, 8, 400, 600));
  EXPECT_EQ(meter.lag_at_newest(pos(5)), ms(300));
  // What was still on the wire arrived: nothing of T is missing.
  EXPECT_EQ(meter.lag_at_newest(pos(8)), ms(0));
}

TEST(Lag, TakesAnswersInAnyOrder) {
  LagMeter meter(Epoch(1));
  meter.add(answer(3, 9, 200, 300));
  meter.add(answer(1, 5, 100, 310));
  meter.add(answer(2, 7, 150, 320));
  EXPECT_EQ(meter.newest()->stamp.counter, 3u);
  const auto lag = meter.lag(pos(7), at(400));
  EXPECT_EQ(lag.high, ms(250));
  EXPECT_EQ(lag.low, ms(100));
  EXPECT_EQ(lag.entries, 2u);
}

TEST(Lag, AnswersOfALaterTermAreNewerWhateverTheirCounter) {
  LagMeter meter(Epoch(1));
  meter.add(answer(900, 9, 200, 300, 4));
  meter.add(answer(1, 12, 250, 350, 5));
  meter.add(answer(901, 9, 260, 360, 4));
  EXPECT_EQ(meter.newest()->stamp.term, Term(5));
  EXPECT_EQ(meter.lag(pos(9), at(400)).entries, 3u);
  // The late answer of the old leader is still true of its ping.
  EXPECT_EQ(meter.lag(pos(9), at(400)).high, ms(140));
}

TEST(Lag, AnswersOfAnotherEpochDoNotCount) {
  LagMeter meter(Epoch(2));
  EXPECT_FALSE(meter.add(answer(1, 9, 200, 300, 1, 1)));
  EXPECT_FALSE(meter.add(answer(1, 9, 200, 300, 1, 3)));
  EXPECT_FALSE(meter.newest());
  EXPECT_TRUE(meter.add(answer(1, 9, 200, 300, 1, 2)));
  meter.restart(Epoch(3));
  EXPECT_FALSE(meter.newest() || meter.silence(at(400)));
}

TEST(Lag, OfOneRoundTheLastSentPingNamesT) {
  LagMeter meter(Epoch(1));
  meter.add(answer(1, 9, 100, 300));
  meter.add(answer(1, 9, 150, 300));
  EXPECT_EQ(meter.newest()->sent, at(150));
  EXPECT_EQ(meter.silence(at(300)), ms(150));
}

TEST(Lag, TrimmingChangesNoBound) {
  LagMeter trimmed(Epoch(1)), whole(Epoch(1));
  for (int i = 1; i <= 100; ++i)
    for (auto* meter : {&trimmed, &whole}) meter->add(answer(i, i, i * 50, i * 50 + 200));
  trimmed.trim(HistoryIndex(40));
  EXPECT_LE(trimmed.answers(), 61u);
  for (std::uint64_t held : {40u, 41u, 70u, 100u, 120u}) {
    const auto a = trimmed.lag(pos(held), at(9000)), b = whole.lag(pos(held), at(9000));
    EXPECT_EQ(a.low, b.low);
    EXPECT_EQ(a.high, b.high);
  }
}

TEST(Lag, MemoryIsBoundedAndThinningOnlyWidensTheInterval) {
  LagMeter meter(Epoch(1)), whole(Epoch(1));
  const int n = 20'000;
  for (int i = 1; i <= n; ++i) {
    meter.add(answer(i, i, i * 50, i * 50 + 200));
    ASSERT_LE(meter.answers(), LagMeter::kMaxAnswers);
  }
  for (std::uint64_t held : {1u, 50u, 5'000u, 15'001u, 19'999u}) {
    const auto lag = meter.lag(pos(held), at(n * 50 + 300));
    const Duration exact_high = ms(n * 50 + 300 - static_cast<std::int64_t>(held) * 50);
    const Duration exact_low = ms(n * 50 + 300 - (static_cast<std::int64_t>(held + 1) * 50 + 200));
    ASSERT_TRUE(lag.low);
    EXPECT_LE(*lag.low, exact_low);
    if (lag.high) { EXPECT_GE(*lag.high, exact_high); }
  }
  EXPECT_EQ(meter.lag(pos(n), at(n * 50 + 300)).high, ms(300));
}

// The truth is scripted: what the primary had committed at each instant. The
// interval must hold it at every step, whatever is lost or delayed.
TEST(Lag, TheIntervalHoldsTheTruthOnRandomTimelines) {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    std::uint64_t state = seed * 0x9e3779b97f4a7c15ull;
    auto random = [&](std::uint64_t bound) {
      state ^= state << 13, state ^= state >> 7, state ^= state << 17;
      return state % bound;
    };
    struct Flying {
      std::int64_t arrives;
      Answer answer;
    };
    LagMeter meter(Epoch(1));
    std::vector<std::int64_t> committed_at{0};  // by history index
    std::vector<Flying> flying;
    std::uint64_t held = 0, counter = 0, term = 1;
    for (std::int64_t now = 1; now < 4000; ++now) {
      const bool paused = now > 1500 && now < 2200 && seed % 3 == 0;
      if (!paused && random(4) == 0) committed_at.push_back(now);
      if (random(400) == 0) ++term, counter = 0;  // another leader
      const auto commit = committed_at.size() - 1;
      if (now % 50 == 0 && !paused && random(5) != 0) {
        // The ping was on its way for a while; it is answered now.
        const auto sent = now - static_cast<std::int64_t>(random(150));
        const auto arrives = now + 1 + static_cast<std::int64_t>(random(300));
        flying.push_back({arrives, answer(++counter, commit, sent, arrives, term)});
      }
      for (std::size_t i = 0; i < flying.size();) {
        if (flying[i].arrives > now) { ++i; continue; }
        if (random(10) != 0) meter.add(flying[i].answer);
        flying.erase(flying.begin() + static_cast<std::ptrdiff_t>(i));
      }
      if (held < commit && random(5) == 0) held += 1 + random(commit - held);
      if (random(50) == 0) meter.trim(HistoryIndex(held));
      const auto lag = meter.lag(pos(held), at(now));
      // Since when is there something that is not held.
      const auto truth = held < commit ? ms(now - committed_at[held + 1]) : ms(0);
      if (lag.low) { ASSERT_LE(*lag.low, truth) << "seed " << seed << " at " << now; }
      if (lag.high) { ASSERT_GE(*lag.high, truth) << "seed " << seed << " at " << now; }
    }
  }
}

TEST(Pings, AreAnsweredOnce) {
  PingBook book;
  const auto a = book.sent(at(1)), b = book.sent(at(2));
  EXPECT_EQ(book.answered(b), at(2));
  EXPECT_FALSE(book.answered(b));
  EXPECT_EQ(book.answered(a), at(1));
  EXPECT_FALSE(book.answered(a));
  EXPECT_FALSE(book.answered(77));
  EXPECT_FALSE(book.answered(0));
  EXPECT_EQ(book.outstanding(), 0u);
}

TEST(Pings, WithoutAnswerAreForgottenInTheEnd) {
  PingBook book;
  const auto first = book.sent(at(1));
  for (std::size_t i = 0; i < PingBook::kMaxOutstanding; ++i) book.sent(at(2));
  EXPECT_EQ(book.outstanding(), PingBook::kMaxOutstanding);
  EXPECT_FALSE(book.answered(first));
}

}  // namespace
}  // namespace leeward::standby
