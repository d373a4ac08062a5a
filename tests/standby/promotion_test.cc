// A promotion as an operator carries it out: a plan, and what is committed by
// it. Real members of two regions in the simulator.
#include "standby/promotion.h"

#include <gtest/gtest.h>

#include "operator.h"
#include "support/sanitized.h"

namespace leeward::standby {
namespace {

TEST_F(Promotion, ThePlanIsCarriedOutAndTheRegionServes) {
  make(1);
  lose_primary();
  const auto leader = *r_->leader();
  const auto planned = plan(leader);
  ASSERT_TRUE(planned.ok()) << planned.error().message;
  ASSERT_TRUE(planned->allowed()) << planned->refusals[0].rule;
  EXPECT_EQ(planned->loss, KnownLoss{}) << "it had everything";
  EXPECT_GE(planned->unknown_for, 5s);
  EXPECT_EQ(planned->members, kStandbys);
  const auto record = promote(leader, planned->digest);
  ASSERT_TRUE(record.ok()) << record.error().message;
  EXPECT_EQ(record->epoch, Epoch(2));
  EXPECT_EQ(record->leader, leader);
  EXPECT_EQ(record->first_revision.value(), kSecondEpoch);
  EXPECT_EQ(record->fork_revision, r_->last_revision);
  EXPECT_FALSE(record->repeated);
  ASSERT_EQ(record->steps.size(), 2u);
  EXPECT_EQ(record->steps[0].name, "survey");
  EXPECT_EQ(record->steps[1].name, "epoch_change");
  EXPECT_LT(record->steps[0].took + record->steps[1].took, 1s);
  ASSERT_TRUE(r_->world.run_until([&] { return r_->all_turned(); })) << r_->why();
  const auto kept = changes(NodeId(4));
  ASSERT_EQ(kept.size(), 1u);
  EXPECT_EQ(kept[0].by, "ada");
  EXPECT_EQ(kept[0].reason, "the region burns");
  EXPECT_EQ(kept[0].announced, (region::Loss{0, 0, 0, true}));
  r_->expect_it_serves();

  const auto again = promote(*r_->leader(), planned->digest);
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_TRUE(again->repeated);
  EXPECT_EQ(again->promotion, record->promotion);
  ASSERT_TRUE(r_->world.settle()) << r_->why();
}

// The newest answer may be another voter's, told while the survey is waited out.
TEST_F(Promotion, HowLongTheRegionWasDarkIsNotUnderstated) {
  make(1);
  const auto leader = *r_->leader();
  for (const auto primary : kPrimaries) {
    r_->world.network.cut(primary, leader);
    r_->world.network.cut(leader, primary);
  }
  r_->world.run_for(200ms);
  const auto lost = r_->world.scheduler.now();
  lose_primary();
  const auto planned = plan(leader);
  ASSERT_TRUE(planned.ok() && planned->allowed());
  const auto record = promote(leader, planned->digest);
  ASSERT_TRUE(record.ok()) << record.error().message;
  ASSERT_TRUE(record->paused);
  EXPECT_GE(*record->paused + 50ms, r_->world.scheduler.now() - lost);
  EXPECT_GE(record->took, record->steps[0].took + record->steps[1].took);
}

TEST_F(Promotion, IsRefusedWhileAnyVoterHearsThePrimary) {
  make(2);
  const auto leader = *r_->leader();
  const auto planned = plan(leader);
  ASSERT_TRUE(planned.ok()) << planned.error().message;
  ASSERT_EQ(planned->refusals.size(), 1u);
  EXPECT_EQ(planned->refusals[0].rule, "primary_heard");
  EXPECT_NE(refusal(leader, planned->digest).find("primary_heard"), std::string::npos);
  // Only one of them, and not the leader.
  const auto hears = r_->followers()[0];
  for (const auto id : kStandbys) {
    if (id == hears) continue;
    for (const auto primary : kPrimaries) {
      r_->world.network.cut(primary, id);
      r_->world.network.cut(id, primary);
    }
  }
  r_->world.run_for(6s);
  ASSERT_TRUE(r_->world.run_until([&] { return r_->leader().has_value(); })) << r_->why();
  EXPECT_NE(refusal(*r_->leader(), plan(*r_->leader())->digest).find("primary_heard"), std::string::npos);
  EXPECT_TRUE(changes(NodeId(4)).empty());
}

TEST_F(Promotion, NeedsTheLossAcceptedAndJustThatPlan) {
  make(3);
  lose_primary();
  const auto leader = *r_->leader();
  const auto planned = plan(leader);
  ASSERT_TRUE(planned.ok() && planned->allowed());
  EXPECT_NE(refusal(leader, planned->digest, false).find("accept_data_loss"), std::string::npos);
  EXPECT_NE(refusal(leader, std::string(32, '0')).find("plan_changed"), std::string::npos);
  EXPECT_NE(refusal(leader, "").find("plan_changed"), std::string::npos);
  EXPECT_TRUE(changes(leader).empty());
  EXPECT_EQ(plan(leader)->digest, planned->digest) << "time alone changes nothing";
}

TEST_F(Promotion, WhoDoesNotLeadNamesWhoDoes) {
  make(4);
  lose_primary();
  const auto follower = r_->followers()[0];
  const auto named = "node " + std::to_string(r_->leader()->value()) + " leads";
  const auto planned = plan(follower);
  ASSERT_FALSE(planned.ok());
  EXPECT_NE(planned.error().message.find(named), std::string::npos) << planned.error().message;
  const auto record = promote(follower, "x");
  ASSERT_FALSE(record.ok());
  EXPECT_EQ(record.error().code, Code::kUnavailable) << "certainly not begun";
}

TEST_F(Promotion, OfTwoOperatorsAtOnceBothAreToldOfOne) {
  make(5);
  lose_primary();
  const auto leader = *r_->leader();
  const auto digest = plan(leader)->digest;
  const auto one = ask(leader, digest, true, "ada"), two = ask(leader, digest, true, "grace");
  ASSERT_TRUE(r_->world.run_until([&] { return one->answer && two->answer; })) << r_->why();
  ASSERT_TRUE((*one->answer).ok() && (*two->answer).ok());
  EXPECT_EQ((**one->answer).promotion, (**two->answer).promotion);
  EXPECT_EQ(changes(leader).size(), 1u);
}

TEST_F(Promotion, WhileOneIsUnderWayAnotherPlansIsRefused) {
  make(18);
  lose_primary();
  const auto leader = *r_->leader();
  const auto accepted = plan(leader);
  ASSERT_TRUE(accepted.ok());
  const auto first = ask(leader, accepted->digest);
  EXPECT_EQ(refusal(leader, "another").substr(0, 18), "another_promotion:");
  EXPECT_TRUE(ended(first).ok());
}

TEST_F(Promotion, AnEpochThatBeginsMeanwhileEndsIt) {
  make(19);
  lose_primary();
  const auto leader = *r_->leader();
  const auto accepted = plan(leader);
  ASSERT_TRUE(accepted.ok());
  const auto first = ask(leader, accepted->digest);
  ASSERT_TRUE(r_->world.propose(leader, r_->world.change_at(leader)).ok());
  const auto end = ended(first);
  ASSERT_FALSE(end.ok());
  EXPECT_EQ(end.error().message.substr(0, 12), "newer_epoch:") << end.error().message;
}

TEST_F(Promotion, WithoutAMajorityOfTheGroupNothingIsBegun) {
  make(6);
  lose_primary();
  const auto leader = *r_->leader();
  const auto digest = plan(leader)->digest;
  for (const auto id : r_->followers()) r_->world.crash(id);
  const auto record = promote(leader, digest);
  ASSERT_FALSE(record.ok());
  EXPECT_EQ(record.error().code, Code::kUnavailable) << record.error().message;
}

TEST_F(Promotion, ALeaderKilledAtAnyMomentLeavesOneChangeOrNone) {
  for (std::uint64_t seed = 10; seed < 18; seed += test::kSanitized ? 4 : 1) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    make(seed);
    lose_primary();
    if (HasFatalFailure()) return;
    const auto leader = *r_->leader();
    const auto asked = ask(leader, plan(leader)->digest);
    r_->world.run_for((seed - 10) * 50ms);
    r_->world.crash(leader);
    r_->world.run_for(100ms);
    r_->world.start(leader);
    ASSERT_TRUE(r_->world.run_until([&] {
      const auto id = r_->leader();
      if (!id) return false;
      if (r_->all_turned()) return true;
      const auto planned = plan(*id);
      if (planned.ok() && planned->allowed() && r_->leader() == id) (void)promote(*id, planned->digest);
      return false;
    }, 60s)) << r_->why();
    for (const auto id : kStandbys) EXPECT_EQ(changes(id).size(), 1u);
    r_->expect_it_serves();
    ASSERT_TRUE(r_->world.settle()) << r_->why();
  }
}

}  // namespace
}  // namespace leeward::standby
