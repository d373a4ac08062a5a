// Pings, verdicts, arming and hand-over over whole regions.
#include <gtest/gtest.h>

#include "world.h"

namespace leeward::standby::testing {
namespace {

NamedCheck check(const MemberStatus& status, std::string_view which) {
  for (const auto& c : status.eligibility)
    if (c.check == which) return c;
  return {"missing " + std::string(which), false, ""};
}

bool all_pass(const MemberStatus& status, std::string& why) {
  why.clear();
  for (const auto& c : status.eligibility)
    if (!c.ok) why += c.check + ": " + c.detail + "; ";
  return why.empty() && !status.eligibility.empty();
}

TEST(Replication, AStandbyRegionBecomesEligibleAndAllAgreeWhoIsArmed) {
  TwoRegions w;
  w.start();
  for (int i = 0; i < 100; ++i) {
    w.east.write("v");
    w.run_for(50ms);
  }
  std::string why;
  for (std::uint64_t id : {4, 5, 6}) EXPECT_TRUE(all_pass(w.member(id).report(), why)) << id << ": " << why;
  for (std::uint64_t id = 1; id <= 6; ++id) {
    const auto armed = w.member(id).replication->armed();
    ASSERT_TRUE(armed) << id;
    EXPECT_EQ(armed->region, "west");
    EXPECT_EQ(armed->group, w.west.group);
    EXPECT_EQ(w.member(id).status().armed_region, "west");
  }
}

TEST(Replication, TheLeaderTimesEachStageOfWhatItFollows) {
  TwoRegions w;
  w.start();
  for (int i = 0; i < 20; ++i) {
    w.east.write("v");
    w.run_for(50ms);
  }
  w.run_for(1s);
  const auto count = [](const Histogram& h) {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i <= Histogram::kBounds.size(); ++i) sum += h.bucket(i);
    return sum;
  };
  std::uint64_t leaders = 0;
  for (std::uint64_t id : {4, 5, 6}) {
    const auto& probe = w.member(id).replication->probe();
    if (probe.entries_received.get() == 0) continue;
    ++leaders;
    EXPECT_GE(count(probe.stage_receive), 15u);
    EXPECT_EQ(count(probe.stage_fsync), count(probe.stage_receive));
    EXPECT_EQ(count(probe.stage_apply), count(probe.stage_receive));
  }
  EXPECT_EQ(leaders, 1u);
}

TEST(Replication, ArmsOnceAndKnowsItAfterElectionsAndRestarts) {
  TwoRegions w;
  w.start();
  w.run_for(3s);
  const auto first = w.member(1).replication->armed();
  ASSERT_TRUE(first);
  for (std::uint64_t id : {1, 2, 3, 1}) {
    w.member(id).crash();
    w.run_for(2s);
    w.member(id).start();
    w.run_for(2s);
  }
  for (std::uint64_t id = 1; id <= 6; ++id) EXPECT_EQ(w.member(id).replication->armed(), first);
  int armings = 0;
  for (const auto& e : w.east.leader()->log_.entries) armings += e.kind == EntryKind::kArmed;
  EXPECT_EQ(armings, 1);
}

TEST(Replication, NeverArmsARegionThatHasNotCaughtUpNorAnObserver) {
  TwoRegions w;
  auto& north = w.add("north", GroupRole::kObserver, {7, 8, 9});
  (void)north;
  for (auto& [id, m] : w.west.members) m->busy = true;
  w.wan(w.west, w.east, [](Wire& x) { x.cut = true; });
  w.start();
  w.run_for(500ms);
  w.east.write("v");
  w.run_for(3s);
  w.wan(w.west, w.east, [](Wire& x) { x.cut = false; });
  for (int i = 0; i < 100; ++i) {
    w.east.write("v");
    w.run_for(50ms);
  }
  EXPECT_FALSE(w.member(1).replication->armed());
  for (auto& [id, m] : w.west.members) m->busy = false;
  ASSERT_TRUE(w.run_until([&] { return w.member(4).replication->armed().has_value(); }, 10s));
  EXPECT_EQ(w.member(4).replication->armed()->region, "west");
  w.run_for(1s);
  EXPECT_FALSE(check(w.member(7).report(), "armed").ok);
}

TEST(Replication, LagIsShownAtEveryMemberAndHoldsTheTruth) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    TwoRegions w(seed, 40ms);
    w.start();
    w.run_for(1s);
    std::vector<Instant> committed_at(1, w.now());
    int bounded = 0;
    for (int ms = 0; ms < 4000; ++ms) {
      if (w.random() % 5 == 0) w.east.write("v");
      if (ms == 1000) w.wan(w.east, w.west, [](Wire& x) { x.bandwidth = 20'000; });
      if (ms == 1500) w.wan(w.east, w.west, [](Wire& x) { x.bandwidth = 0; });
      if (ms == 2000) w.east.elect(NodeId(2));
      if (ms == 2500) w.wan(w.east, w.west, [](Wire& x) { x.cut = true; });
      if (ms == 3000) w.wan(w.east, w.west, [](Wire& x) { x.cut = false; });
      w.run_for(1ms);
      const auto commit = w.east.leader()->committed().position.index.value();
      while (committed_at.size() <= commit) committed_at.push_back(w.now());
      for (std::uint64_t id : {4, 5, 6}) {
        const auto held = w.member(id).state_.applied().point.position.index.value();
        const auto lag = w.member(id).report().lag;
        const Duration truth = held < commit ? w.now() - committed_at[held + 1] : Duration{};
        // The script sees a commit up to 1 ms late.
        if (lag.low) { ASSERT_LE(*lag.low, truth + 1ms) << "seed " << seed << " at " << ms; }
        if (lag.high) { ASSERT_GE(*lag.high, truth) << "seed " << seed << " at " << ms; ++bounded; }
      }
    }
    EXPECT_GT(bounded, 9000);
    w.run_for(1s);
    EXPECT_LT(*w.member(5).report().lag.high, 250ms);
    EXPECT_EQ(w.member(5).report().lag.writes, 0u);
  }
}

TEST(Replication, APrimaryWithoutQuorumIsNotHeard) {
  TwoRegions w;
  w.start();
  w.run_for(2s);
  EXPECT_TRUE(w.member(4).status().primary_heard);
  w.member(2).crash();
  w.member(3).crash();  // 1 still leads in name, still streams, answers nothing
  w.run_for(4s);
  EXPECT_TRUE(w.member(4).status().primary_heard);
  w.run_for(2s);
  EXPECT_FALSE(w.member(4).status().primary_heard);
  EXPECT_GT(*w.member(4).status().primary_silence, 5s);
}

TEST(Replication, ASilentPrimaryLeavesTheVerdictOfItsLastAnswer) {
  TwoRegions w;
  w.start();
  for (int i = 0; i < 60; ++i) {
    w.east.write("v");
    w.run_for(50ms);
  }
  std::string why;
  EXPECT_TRUE(all_pass(w.member(5).report(), why)) << why;
  for (std::uint64_t id : {1, 2, 3}) w.member(id).crash();
  w.run_for(2s);
  EXPECT_FALSE(check(w.member(5).report(), "lag").ok);  // heard a moment ago, and more than a second behind
  w.run_for(4s);
  EXPECT_TRUE(all_pass(w.member(5).report(), why)) << why;  // silent for all: as it was at T
  EXPECT_NE(check(w.member(5).report(), "lag").detail.find("ago"), std::string::npos);
}

TEST(Replication, ARestartedMemberIsNotEligibleUntilThePrimaryAnswersIt) {
  TwoRegions w;
  w.start();
  w.run_for(3s);
  for (std::uint64_t id : {1, 2, 3}) w.member(id).crash();
  w.run_for(6s);
  w.member(6).crash();
  w.member(6).start();
  w.run_for(3s);
  EXPECT_FALSE(check(w.member(6).report(), "lag").ok);
  EXPECT_FALSE(check(w.member(6).report(), "hash").ok);
  EXPECT_FALSE(w.member(6).report().lag.high);
  EXPECT_TRUE(check(w.member(5).report(), "lag").ok);
}

TEST(Replication, AMemberCutOffAloneIsNotEligibleWhileOthersHear) {
  TwoRegions w;
  w.start();
  w.run_for(3s);
  for (std::uint64_t id : {1, 2, 3}) w.wire(NodeId(id), NodeId(6)).cut = true;  // one way: its pings arrive
  w.run_for(8s);
  EXPECT_FALSE(w.member(6).status().primary_heard);
  EXPECT_FALSE(check(w.member(6).report(), "lag").ok);
  std::string why;
  EXPECT_TRUE(all_pass(w.member(5).report(), why)) << why;
}

TEST(Replication, OneDeadPrimaryMemberCostsOnlyItsShareOfThePings) {
  TwoRegions w;
  w.start();
  w.run_for(2s);
  w.wire(NodeId(4), NodeId(3)).delay = 1h;  // a black hole that looks connected
  Duration worst{};
  for (int i = 0; i < 2000; ++i) {
    w.run_for(1ms);
    worst = std::max(worst, *w.member(4).report().lag.high);
  }
  EXPECT_LT(worst, 250ms);
}

TEST(Replication, AnotherStateAtAnEqualPositionIsFoundAtEveryMember) {
  TwoRegions w;
  w.start();
  w.run_for(3s);
  w.member(6).state_.corrupt = true;
  w.east.write("v");
  w.run_for(50ms);
  w.member(6).state_.corrupt = false;
  for (int i = 0; i < 40; ++i) {
    w.east.write("v");
    w.run_for(50ms);
  }
  EXPECT_FALSE(check(w.member(6).report(), "hash").ok);
  EXPECT_TRUE(check(w.member(5).report(), "hash").ok);
  EXPECT_GT(w.member(6).replication->probe().hash_different.get(), 0u);
  EXPECT_GT(w.east.leader()->replication->probe().hash_different.get(), 0u);
  // The source compares what the group's leader acknowledges.
  w.west.elect(NodeId(6));
  w.run_for(2s);
  std::uint64_t at_sources = 0;
  for (std::uint64_t id : {1, 2, 3}) at_sources += w.member(id).replication->probe().hash_different.get();
  EXPECT_GT(at_sources, w.east.leader()->replication->probe().hash_different.get());
}

TEST(Replication, HashesAreComparedUnderSteadyLoadToo) {
  TwoRegions w;
  w.start();
  w.run_for(2s);
  const auto compared = [&](std::uint64_t id) { return w.member(id).replication->pinger().compared(); };
  for (int i = 0; i < 2000; ++i) {
    w.east.write("v");
    w.run_for(1ms);
  }
  for (std::uint64_t id : {4, 5, 6})
    EXPECT_GT(compared(id).value() + 500, w.east.leader()->committed().position.index.value()) << id;
}

TEST(Replication, ALeaderWithoutSourceHandsLeadershipToAMemberThatHearsThePrimary) {
  TwoRegions w;
  w.start();
  w.run_for(2s);
  const auto old = w.west.leader_;
  for (std::uint64_t id : {1, 2, 3}) w.wire(NodeId(id), old).cut = w.wire(old, NodeId(id)).cut = true;
  for (int i = 0; i < 10; ++i) w.east.write("v");
  ASSERT_TRUE(w.run_until([&] { return w.west.leader_ != old && w.caught_up(); }, 10s));
  // Not while nobody hears it.
  TwoRegions v;
  v.start();
  v.run_for(2s);
  const auto leader = v.west.leader_;
  v.wan(v.west, v.east, [](Wire& x) { x.cut = true; });
  v.wan(v.east, v.west, [](Wire& x) { x.cut = true; });
  v.run_for(60s);
  EXPECT_EQ(v.west.leader_, leader);
  EXPECT_EQ(v.member(5).status().stream_state, "the group's leader has no stream");
}

TEST(Replication, AConfirmedPrimaryCommitIsNotOlderThanTheQuestion) {
  TwoRegions w;
  w.start();
  w.run_for(2s);
  for (int round = 0; round < 50; ++round) {
    w.east.write("v");
    w.run_for(2ms);  // committed
    const auto commit = w.east.leader()->committed().position.index;
    std::optional<Position> got;
    const auto asked = w.now();
    w.member(5).replication->primary_commit(5s, [&](Result<Position> r) { if (r.ok()) got = *r; });
    ASSERT_TRUE(w.run_until([&] { return got.has_value(); }, 1s));
    EXPECT_GE(got->index, commit);
    EXPECT_LT(w.now() - asked, 100ms);
    w.run_for(Duration(1ms) * static_cast<std::int64_t>(w.random() % 60));
  }
  // Nobody is asked where nobody is heard.
  for (std::uint64_t id : {1, 2, 3}) w.member(id).crash();
  w.run_for(10s);
  std::optional<Code> code;
  w.member(5).replication->primary_commit(5s, [&](Result<Position> r) { code = r.error().code; });
  EXPECT_EQ(code, Code::kUnavailable);
}

// Behind a Follow, until the state is back at the common position: what is applied
// reaches as far as the primary's commit, and is another history.
TEST(Replication, NothingCountsAsAppliedOfAStateThatIsPutAside) {
  TwoRegions w;
  w.start();
  w.run_for(2s);
  w.east.write("v");
  w.run_for(2s);
  auto& m = w.member(5);
  const auto point = m.state().applied().point;
  ASSERT_GT(point.position.index, HistoryIndex());
  region::State::Control control{.group = w.west.group, .role = GroupRole::kStandby};
  control.followed_at = point.index + 1;
  const auto told = m.told;
  m.told.emplace(control, region::State::History(), Position());
  std::optional<Result<void>> read;
  m.replication->when_applied(point.position.index, m.clock().now() + 5s, [&](Result<void> r) { read = std::move(r); });
  w.run_for(1s);
  EXPECT_FALSE(read) << "answered from what is put aside";
  m.told = told;
  w.east.write("w");
  ASSERT_TRUE(w.run_until([&] { return read.has_value(); }, 3s));
  EXPECT_TRUE(read->ok());
}

TEST(Replication, AQuestionThatIsNeverAnsweredEndsByItself) {
  TwoRegions w;
  w.start();
  w.run_for(2s);
  w.wan(w.east, w.west, [](Wire& x) { x.cut = true; });
  std::optional<Code> code;
  w.member(5).replication->primary_commit(700ms, [&](Result<Position> r) { code = r.error().code; });
  w.run_for(600ms);
  EXPECT_FALSE(code);
  w.run_for(300ms);
  EXPECT_EQ(code, Code::kDeadline);
}

// It tells the commit of a time before the pings of this life were sent: taken
// for an answer to one of them, it would make the lag smaller than it is, and a
// linearizable read older than its question.
TEST(Replication, AnAnswerToAnEarlierLifeOfTheProcessIsNotCounted) {
  TwoRegions w;
  w.start();
  w.run_for(3s);
  w.member(4).crash();
  w.wan(w.east, w.west, [](Wire& wire) { wire.cut = true; });
  w.member(4).start();
  w.run_for(1s);
  auto& m = w.member(4);
  for (std::uint64_t sequence = 1; sequence <= 20; ++sequence)
    m.deliver(NodeId(1), encode({m.lineage(), GroupId(1000), Epoch(1)},
                                Pong{sequence, NodeId(4), NodeId(1), {Epoch(1), Term(1), sequence}, {}, {}, {}}));
  EXPECT_FALSE(m.replication->heard(m.clock().now()));
  EXPECT_FALSE(m.replication->pinger().meter().newest());
}

TEST(Replication, GarbageOnTheStreamLaneDisturbsNothing) {
  TwoRegions w(7);
  w.start();
  w.run_for(1s);
  for (int i = 0; i < 2000; ++i) {
    std::string garbage(w.random() % 200, '\0');
    for (auto& c : garbage) c = static_cast<char>(w.random());
    if (i % 2) garbage.replace(0, std::min<std::size_t>(2, garbage.size()), std::string("\xd7\x01", 2), 0, std::min<std::size_t>(2, garbage.size()));
    w.member(1 + w.random() % 6).deliver(NodeId(1 + w.random() % 6), Bytes(garbage));
  }
  for (int i = 0; i < 10; ++i) w.east.write("v");
  w.run_for(10ms);
  EXPECT_TRUE(w.run_until([&] { return w.caught_up(); }, 2s));
}

// The same seed gives the same run, to the byte.
TEST(Replication, IsDeterministic) {
  auto run = [](std::uint64_t seed) {
    TwoRegions w(seed);
    w.start();
    for (int i = 0; i < 200; ++i) {
      for (std::uint64_t n = w.random() % 5; n > 0; --n) w.east.write(std::to_string(w.random()));
      w.run_for(Duration(1ms) * static_cast<std::int64_t>(w.random() % 40));
      if (w.random() % 20 == 0) w.reset(NodeId(1 + w.random() % 3), NodeId(4 + w.random() % 3));
    }
    std::string trace;
    for (std::uint64_t a : {1, 2, 3})
      for (std::uint64_t b : {4, 5, 6})
        trace += std::to_string(w.wire(NodeId(a), NodeId(b)).carried) + "," + std::to_string(w.wire(NodeId(b), NodeId(a)).carried) + ";";
    return trace;
  };
  EXPECT_EQ(run(3), run(3));
  EXPECT_NE(run(3), run(4));
}

}  // namespace
}  // namespace leeward::standby::testing
