// Lease mode against promotions that are broken off, forced, or outlived by their
// arming: once a new epoch has acknowledged anything the old one acknowledges
// nothing (I9). standby/PROTOCOL.md, "Fencing".
#include "standby/switchover.h"
#include "story.h"
#include "support/sanitized.h"

namespace leeward::standby {
namespace {

using node::Outcome;

struct LeasedRegions : ::testing::Test {
  static sim::WorldOptions leased(std::uint64_t seed, Duration lease) {
    auto o = options(seed);
    o.fence_lease = lease;
    return o;
  }
  static bool ready(Story& s) {
    return s.ready() && s.world.run_until([&] {
      const auto leader = s.world.leader();
      return leader && s.world.member(*leader)->stamp_wanted().has_value();
    });
  }
  using Answer = std::shared_ptr<std::optional<Result<PromotionRecord>>>;
  // By force, whatever refuses.
  static Answer ask_promotion(Story& s, NodeId id) {
    std::optional<Result<PromotionPlan>> plan;
    s.world.stream(id)->recovery().plan(s.world.client_loop(), [&](Result<PromotionPlan> p) { plan = std::move(p); });
    auto answer = std::make_shared<std::optional<Result<PromotionRecord>>>();
    if (!s.world.run_until([&] { return plan.has_value(); }, 5s) || !plan->ok()) return answer;
    PromotionRequest request{(*plan)->digest, true, "ada", "the region burns"};
    for (const auto& refusal : (*plan)->refusals) request.force.push_back(refusal.rule);
    s.world.stream(id)->recovery().promote(std::move(request), s.world.client_loop(), [answer](Result<PromotionRecord> r) { *answer = std::move(r); });
    return answer;
  }
  static bool cut_stands(Story& s) { return s.world.checkers.regions(GroupRole::kStandby).control().cut.has_value(); }
  static bool acknowledged(Story& s, NodeId id) {
    auto put = s.world.client_put(id, "k", "v");
    s.world.run_until([&] { return put->ended; }, 1s);
    return put->ended && put->outcome.end == Outcome::End::kApplied;
  }
  static void isolate(Story& s) {
    for (const auto a : kPrimaries) s.world.network.isolate(a, kStandbys);
  }
  static void disarm(Story& s, bool force = false) {
    std::optional<Result<HandoverState>> off;
    s.world.stream(*s.world.leader())->handover().disarm(force, s.world.client_loop(), [&](Result<HandoverState> r) { off = std::move(r); });
    ASSERT_TRUE(s.world.run_until([&] { return off.has_value(); }, 5s));
    ASSERT_TRUE(off->ok()) << off->error().message;
  }
  static void arm(Story& s) {
    std::optional<Result<HandoverState>> on;
    s.world.stream(*s.world.leader())->handover().arm("west", s.world.client_loop(), [&](Result<HandoverState> r) { on = std::move(r); });
    ASSERT_TRUE(s.world.run_until([&] { return on.has_value(); }, 5s));
    ASSERT_TRUE(on->ok()) << on->error().message;
  }
};

// It may be unknown; it is never done, at whichever member it was asked for.
TEST_F(LeasedRegions, WhatWaitsForAStampIsNotAcknowledgedByTheFence) {
  for (const auto at : kPrimaries) {
    SCOPED_TRACE(at.value());
    Story s(leased(22, 1s));
    ASSERT_TRUE(ready(s)) << s.why();
    s.world.run_for(1s);
    isolate(s);
    const auto asked = ask_promotion(s, *s.leader());
    // The newest stamp is too old, and writes are not refused yet for want of one.
    ASSERT_TRUE(s.world.run_until([&] { return s.world.member(*s.world.leader())->status().fencing.remaining == Duration(); }, 5s)) << s.why();
    auto put = s.world.client_put(at, "k", "waits");
    ASSERT_TRUE(s.world.run_until([&] { return asked->has_value(); }, 20s));
    ASSERT_TRUE((*asked)->ok()) << (*asked)->error().message;
    s.puts(*s.leader(), 1);
    ASSERT_FALSE(put->ended) << "answered early: another seed";
    s.world.network.heal();
    ASSERT_TRUE(s.world.run_until([&] { return put->ended; }, 20s)) << s.why();
    EXPECT_NE(put->outcome.end, Outcome::End::kApplied) << "acknowledged at revision " << put->outcome.result.revision.value();
  }
}

// Under the new arming stamps are given again while the promotion still waits.
TEST_F(LeasedRegions, APromotionDoesNotOutliveTheArmingThatItWaitsFor) {
  for (const bool again : {true, false}) {
    SCOPED_TRACE(again ? "armed again" : "disarmed");
    Story s(leased(24, 3s));
    ASSERT_TRUE(ready(s)) << s.why();
    s.world.run_for(3s);
    const auto asked = ask_promotion(s, *s.leader());
    ASSERT_TRUE(s.world.run_until([&] { return cut_stands(s); }, 5s)) << s.why();
    ASSERT_NO_FATAL_FAILURE(disarm(s));
    if (again) ASSERT_NO_FATAL_FAILURE(arm(s));
    s.world.run_for(2s);
    isolate(s);
    ASSERT_TRUE(s.world.run_until([&] { return asked->has_value(); }, 20s));
    ASSERT_FALSE((*asked)->ok());
    EXPECT_EQ((*asked)->error().code, Code::kRefused);
    EXPECT_EQ((*asked)->error().message.find("plan_changed"), 0u) << (*asked)->error().message;
    EXPECT_EQ(s.world.checkers.breach(), "");
  }
}

TEST_F(LeasedRegions, AnUnguardedArmingIsWaitedOutToo) {
  Story s(leased(26, 3s));
  ASSERT_TRUE(ready(s)) << s.why();
  s.world.run_for(3s);
  ASSERT_NO_FATAL_FAILURE(disarm(s, true));
  s.world.run_for(1s);
  ASSERT_NO_FATAL_FAILURE(arm(s));
  s.world.run_for(1s);
  const auto east = *s.world.leader();
  ASSERT_TRUE(acknowledged(s, east));
  isolate(s);
  const auto asked = ask_promotion(s, *s.leader());
  ASSERT_TRUE(s.world.run_until([&] { return asked->has_value(); }, 20s));
  ASSERT_TRUE((*asked)->ok()) << (*asked)->error().message;
  s.puts(*s.leader(), 1);
  EXPECT_FALSE(acknowledged(s, east));
  EXPECT_EQ(s.world.checkers.breach(), "");
}

// Leaders of the armed group crash or are cut off from it, the link breaks, operators
// ask again: whatever becomes of their promotions.
class Torment {
 public:
  explicit Torment(Story& s) : s_(s) {}
  void act() {
    auto& dice = s_.world.dice;
    const auto leader = s_.leader();
    switch (dice.below(7)) {
      case 0: case 1: case 2:
        if (leader) (void)LeasedRegions::ask_promotion(s_, *leader);
        break;
      case 3:
        if (leader && dice.chance(0.5)) s_.world.crash(*leader);
        break;
      case 4:
        for (const auto other : kStandbys)
          if (leader && other != *leader) s_.world.network.cut(*leader, other), s_.world.network.cut(other, *leader);
        break;
      case 5: s_.world.network.heal(); break;
      default: LeasedRegions::isolate(s_);
    }
    run(dice.between(20ms, 920ms));
    for (const auto id : kStandbys)
      if (!s_.world.running(id)) s_.world.start(id);
  }
  // Somebody says it until it is done.
  void finish() {
    for (int i = 0; i < 20 && !promoted(); ++i) {
      s_.world.network.heal();
      run(300ms);
      LeasedRegions::isolate(s_);
      if (s_.leader()) (void)LeasedRegions::ask_promotion(s_, *s_.leader());
      run(2500ms);
    }
    run(3s);
  }
  bool promoted() const { return first_west_.has_value(); }
  void judge() const {
    if (promoted() && last_east_) EXPECT_LE(*last_east_, *first_west_) << "east acknowledged " << to_ms(*last_east_ - *first_west_) << " ms after west did";
  }

 private:
  void run(Duration time) {
    s_.world.run_until([this] { look(); return false; }, time);
  }
  void look() {
    const auto now = s_.world.scheduler.now();
    if (east_ && east_->ended) {
      // Passed on to the new primary it has a revision of that.
      if (east_->outcome.end == Outcome::End::kApplied && east_->outcome.result.revision.value() < kSecondEpoch) last_east_ = now;
      east_ = nullptr;
    }
    if (!east_) east_ = s_.world.client_put(kPrimaries[s_.world.dice.below(3)], "e", "v");
    if (west_ && west_->ended) {
      if (west_->outcome.end == Outcome::End::kApplied && !promoted()) first_west_ = now;
      west_ = nullptr;
    }
    // Only at a member that has turned: a standby would pass it on.
    for (const auto id : kStandbys)
      if (!west_ && s_.world.member(id) && s_.world.member(id)->role() == GroupRole::kPrimary) west_ = s_.world.client_put(id, "w", "v");
  }

  Story& s_;
  std::shared_ptr<sim::World::Put> east_, west_;
  std::optional<Instant> first_west_, last_east_;
};

TEST_F(LeasedRegions, NoTwoEpochsAcknowledgeHoweverPromotionsAreBrokenOff) {
  int promoted = 0;
  const auto first = number("LEEWARD_SEED", 1), runs = number("LEEWARD_RUNS", test::kSanitized ? 4 : 20);
  for (auto seed = first; seed < first + runs && !HasFailure(); ++seed) {
    SCOPED_TRACE("LEEWARD_SEED=" + std::to_string(seed) + " LEEWARD_RUNS=1");
    Story s(leased(seed, 1s));
    ASSERT_TRUE(ready(s)) << s.why();
    s.world.run_for(1s);
    Torment torment(s);
    for (int step = 0; step < 40 && !torment.promoted(); ++step) torment.act();
    torment.finish();
    promoted += torment.promoted() ? 1 : 0;
    torment.judge();
    EXPECT_EQ(s.world.checkers.breach(), "");
  }
  EXPECT_GT(promoted, 0);
}

}  // namespace
}  // namespace leeward::standby
