// The governor over a modelled link: first in, first out, of a limited rate and
// a delay, with a load that would fill it many times over. LEEWARD_VERBOSE
// prints the curves.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <deque>

#include "standby/governor.h"

namespace leeward::standby {
namespace {

constexpr Duration kStep = 10ms;   // of the model
constexpr int kJudged = 5;         // steps between two of the governor

// A primary that is asked for `demand`, a link that carries `capacity`, both
// bytes a second, and acknowledgements that come after `delay`.
class Link {
 public:
  Link(GovernorOptions options, double demand, double capacity, Duration delay)
      : governor(options), demand(demand), capacity(capacity), delay_(delay) {}

  void run(Duration time) {
    for (const auto end = now_ + time; now_ < end;) step();
  }
  // The largest and smallest lag of the next `time`.
  struct Range {
    double least = 1e9, most = 0, mean = 0;
  };
  Range watch(Duration time) {
    Range r;
    int n = 0;
    for (const auto end = now_ + time; now_ < end; ++n) {
      step();
      const auto s = to_s(*governor.lag());
      r.least = std::min(r.least, s);
      r.most = std::max(r.most, s);
      r.mean += s;
    }
    r.mean /= n;
    return r;
  }
  // Until the lag is at most `seconds`; how long that took.
  double until_below(double s, Duration limit) {
    const auto begun = now_;
    while (now_ - begun < limit) {
      step();
      if (to_s(*governor.lag()) <= s) break;
    }
    return to_s(now_ - begun);
  }
  double admitted() const { return admitted_; }
  double held() const { return held_; }

  Governor governor;
  double demand, capacity;
  bool connected = true;
  bool waits = true;  // what is not admitted is asked for again (closed loop); else it is gone

 private:
  void step() {
    now_ += kStep;
    const auto dt = to_s(kStep);
    double take = demand * dt;
    if (governor.refuses()) take = 0;
    if (const auto rate = governor.rate()) take = std::min(take, *rate * dt);
    admitted_ += take;
    cut_.push_back({now_, admitted_});
    if (connected) {
      carried_ = std::min(admitted_, carried_ + capacity * dt);
      acks_.push_back({now_ + delay_, carried_});
    }
    while (!acks_.empty() && acks_.front().first <= now_) {
      held_ = std::max(held_, acks_.front().second);
      acks_.pop_front();
    }
    while (cut_.size() > 1 && cut_[1].second <= held_) cut_.pop_front();
    if (++steps_ % kJudged != 0) return;
    // As Followers has it: since when something is missing, at most.
    const bool all = held_ >= admitted_;
    const Duration lag = all ? Duration{} : now_ - cut_.front().first;
    governor.step({now_, lag, connected, static_cast<std::uint64_t>(admitted_), static_cast<std::uint64_t>(held_)});
    if (std::getenv("LEEWARD_VERBOSE") && steps_ % 25 == 0)
      std::printf("%7.2f s  lag %6.3f  rate %10.0f  waiting %10.0f%s\n", to_s(now_ - Instant{}), to_s(lag),
                  governor.rate().value_or(-1), admitted_ - held_, governor.let_go() ? "  let go" : "");
  }

  Duration delay_;
  Instant now_{Duration(1h)};
  std::uint64_t steps_ = 0;
  double admitted_ = 0, carried_ = 0, held_ = 0;
  std::deque<std::pair<Instant, double>> cut_, acks_;
};

GovernorOptions throttle(Duration budget = 1s) { return {.policy = RpoPolicy::kThrottle, .budget = budget}; }

constexpr double kMiB = 1024.0 * 1024;

TEST(Governor, AlertOnlyTells) {
  Link link({.policy = RpoPolicy::kAlert}, 10 * kMiB, 1 * kMiB, 50ms);
  link.run(5s);
  EXPECT_TRUE(link.governor.over());
  EXPECT_FALSE(link.governor.rate());
  EXPECT_FALSE(link.governor.refuses());
}

TEST(Governor, AnUnhurriedLoadIsNotTouched) {
  Link link(throttle(), 0.9 * kMiB, 1 * kMiB, 100ms);
  for (int i = 0; i < 2000; ++i) {
    link.run(20ms);
    ASSERT_FALSE(link.governor.rate());
  }
  EXPECT_FALSE(link.governor.over());
}

// The heart of it: whatever the load, the link and the way there and back, the
// lag comes to the budget and stays, and nearly all that the link carries is used.
TEST(Governor, TheLagComesToTheBudgetAndStays) {
  for (const Duration budget : {Duration(250ms), Duration(1s), Duration(5s)})
    for (const double load : {1.2, 2.0, 10.0})
      for (const double way : {0.02, 0.2, 0.5}) {
        const auto delay = Duration(static_cast<Duration::rep>(way * static_cast<double>(budget.count())));
        SCOPED_TRACE(::testing::Message() << "budget " << to_s(budget) << " s, load " << load << ", delay " << to_s(delay) << " s");
        Link link(throttle(budget), load * 4 * kMiB, 4 * kMiB, delay);
        const auto b = to_s(budget);
        // What was admitted before the lag could be seen comes first: up to ten
        // budgets' worth of the link, of which half goes to catching up.
        link.run(40 * budget);
        const auto r = link.watch(30 * budget);
        EXPECT_LE(r.most, 1.05 * b);
        EXPECT_GE(r.least, 0.75 * b);
        EXPECT_NEAR(r.mean, 0.9 * b, 0.08 * b);
        const auto before = link.held();
        link.watch(10 * budget);
        EXPECT_NEAR(link.held() - before, 10 * b * 4 * kMiB, 0.03 * 10 * b * 4 * kMiB) << "the link is not used";
      }
}

TEST(Governor, ItConvergesInABoundedTime) {
  Link link(throttle(), 20 * kMiB, 4 * kMiB, 50ms);
  link.run(2s);
  EXPECT_TRUE(link.governor.over());
  // 0.75 s at five times the link's rate are 3.75 s of it; half of it catches up.
  EXPECT_LT(link.until_below(1.0, 60s), 10.0);
  EXPECT_LT(link.watch(30s).most, 1.05);
  EXPECT_FALSE(link.governor.over()) << "met for long enough";
}

TEST(Governor, ItFollowsALinkThatBecomesSlower) {
  Link link(throttle(), 20 * kMiB, 4 * kMiB, 50ms);
  link.run(30s);
  link.capacity = 0.5 * kMiB;
  link.run(5s);
  EXPECT_GT(to_s(*link.governor.lag()), 1.05);
  link.until_below(1.0, 60s);
  link.run(5s);
  const auto r = link.watch(20s);
  EXPECT_LT(r.most, 1.05);
  EXPECT_GT(r.least, 0.75);
  link.capacity = 16 * kMiB;
  link.run(20s);
  const auto before = link.admitted();
  link.run(10s);
  EXPECT_GT((link.admitted() - before) / 10, 15 * kMiB) << "and becomes faster again";
}

TEST(Governor, ALoadThatComesAndGoesIsLetThroughWhenItFits) {
  Link link(throttle(), 20 * kMiB, 4 * kMiB, 50ms);
  link.run(20s);
  ASSERT_TRUE(link.governor.rate());
  link.demand = 0.2 * kMiB;
  link.run(5s);
  EXPECT_FALSE(link.governor.rate());
  link.demand = 3.9 * kMiB;
  const auto before = link.admitted();
  link.run(5s);
  EXPECT_NEAR(link.admitted() - before, 5 * 3.9 * kMiB, 0.1 * kMiB) << "what the link carries is not slowed";
}

TEST(Governor, AFloorIsNeverHeldBack) {
  Link link(throttle(), 20 * kMiB, 4 * kMiB, 50ms);
  link.run(20s);
  link.capacity = 0;  // it speaks, and takes nothing
  for (int i = 0; i < 200; ++i) {
    link.run(50ms);
    ASSERT_GE(link.governor.rate().value_or(1e9), 4096);
  }
}

TEST(Governor, ItLetsGoOfADeadRegionAndTakesHoldAgainWhenItMoves) {
  Link link(throttle(), 20 * kMiB, 40 * kMiB, 50ms);
  link.run(20s);
  EXPECT_FALSE(link.governor.rate());
  link.connected = false;
  link.run(3s);
  EXPECT_TRUE(link.governor.rate()) << "it might still be a pause";
  link.run(3s);
  EXPECT_TRUE(link.governor.let_go());
  EXPECT_FALSE(link.governor.rate());
  EXPECT_TRUE(link.governor.over()) << "but that is told";
  auto before = link.admitted();
  link.run(30s);
  EXPECT_NEAR(link.admitted() - before, 30 * 20 * kMiB, 1 * kMiB) << "a dead region stops nobody";

  link.connected = true;
  link.run(2s);
  EXPECT_FALSE(link.governor.let_go());
  ASSERT_TRUE(link.governor.rate());
  before = link.admitted();
  link.run(2s);
  EXPECT_GT(link.admitted() - before, 2 * 19 * kMiB) << "half of the link is left to clients";
  EXPECT_LT(link.until_below(1.0, 120s), 60.0);
}

TEST(Governor, ARegionThatSpeaksAndDoesNotMoveIsWaitedForLonger) {
  Link link(throttle(), 20 * kMiB, 4 * kMiB, 50ms);
  link.run(20s);
  link.capacity = 0;
  link.run(20s);
  EXPECT_FALSE(link.governor.let_go());
  link.run(15s);
  EXPECT_TRUE(link.governor.let_go());
}

TEST(Governor, WhatIsNotKnownGrowsAndCountsAsPassed) {
  Governor governor(GovernorOptions{.policy = RpoPolicy::kRefuse});
  Instant now{Duration(1h)};
  for (int i = 0; i < 20; ++i, now += 50ms) {
    governor.step({now, std::nullopt, false, 100, 0});
    EXPECT_FALSE(governor.refuses()) << i;  // it has not been asked for longer than a budget
  }
  now += 100ms;
  governor.step({now, std::nullopt, false, 100, 0});
  EXPECT_TRUE(governor.refuses());
  governor.step({now + 50ms, Duration(100ms), true, 100, 50});
  EXPECT_FALSE(governor.refuses());
}

TEST(Governor, RefusedWritesAreTakenAgainAtHalfTheBudget) {
  Governor governor(GovernorOptions{.policy = RpoPolicy::kRefuse});
  Instant now{Duration(1h)};
  const auto at = [&](Duration lag) {
    governor.step({now += 50ms, lag, true, 100, 0});
    return governor.refuses();
  };
  EXPECT_FALSE(at(900ms));
  EXPECT_FALSE(at(1s));
  EXPECT_TRUE(at(1001ms));
  EXPECT_TRUE(at(900ms));
  EXPECT_TRUE(at(501ms));
  EXPECT_FALSE(at(500ms));
  EXPECT_FALSE(at(999ms));
  EXPECT_FALSE(governor.rate());
}

TEST(Governor, RefusingKeepsTheLagNearTheBudgetToo) {
  Link link({.policy = RpoPolicy::kRefuse}, 20 * kMiB, 4 * kMiB, 50ms);
  int turns = 0;
  bool before = false;
  double most = 0;
  for (int i = 0; i < 1200; ++i) {
    link.run(50ms);
    most = std::max(most, to_s(*link.governor.lag()));
    turns += before != link.governor.refuses();
    before = link.governor.refuses();
  }
  // What a fifth of the load's time fills takes five times as long to go.
  EXPECT_LT(most, 6.0);
  EXPECT_LT(turns, 60) << "no more than once a second: clients see a state, not noise";
  EXPECT_TRUE(link.governor.over()) << "one message, not one a turn";
}

TEST(Governor, TheBudgetIsMetAgainWhenItHasBeenForAWhile) {
  Governor governor(GovernorOptions{});
  Instant now{Duration(1h)};
  const auto run = [&](Duration lag, Duration time) {
    for (const auto end = now + time; now < end;) governor.step({now += 50ms, lag, true, 100, 0});
  };
  run(200ms, 1s);
  EXPECT_FALSE(governor.over());
  int changes = 0;
  bool before = false;
  for (int i = 0; i < 100; ++i) {
    run(i % 2 == 0 ? 1050ms : 950ms, 200ms);
    changes += governor.over() != before;
    before = governor.over();
  }
  EXPECT_EQ(changes, 1) << "flaps";
  run(950ms, 6s);
  EXPECT_FALSE(governor.over());
}

TEST(Governor, APolicyIsChangedInPlace) {
  Link link({.policy = RpoPolicy::kAlert}, 20 * kMiB, 4 * kMiB, 50ms);
  link.run(5s);
  EXPECT_FALSE(link.governor.rate());
  link.governor.set_policy(RpoPolicy::kThrottle, 1s);
  link.run(1s);
  EXPECT_TRUE(link.governor.rate());
  link.governor.set_policy(RpoPolicy::kRefuse, 1s);
  link.run(1s);
  EXPECT_FALSE(link.governor.rate());
  EXPECT_TRUE(link.governor.refuses());
  link.governor.set_policy(RpoPolicy::kAlert, 1s);
  link.run(1s);
  EXPECT_FALSE(link.governor.refuses());
}

}  // namespace
}  // namespace leeward::standby
