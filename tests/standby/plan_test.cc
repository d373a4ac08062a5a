// What a plan says from what the voters know.
#include "standby/plan.h"

#include <gtest/gtest.h>

namespace leeward::standby {
namespace {

constexpr GroupId kEast(1), kWest(2);
constexpr region::ArmingId kArming = 11;

Position point_at(std::uint64_t i) { return {HistoryIndex(i), sha256(std::to_string(i)), i * 2, i * 300}; }

// West follows east up to 100 and is armed; node 5 has the newest answer.
class Plan : public testing::Test {
 protected:
  Plan() {
    region::State::History history;
    history.armed = region::Armed{.arming = kArming, .group = kWest, .region = "west"};
    history.armed_in = Epoch(1);
    log_ = region::State({.group = kWest, .role = GroupRole::kStandby}, history, point_at(101));
    facts_.region = "west";
    facts_.log = &log_;
    facts_.committed = point_at(100);
    facts_.voters = 3;
    facts_.said = {said(4, 7, 103, 900ms), said(5, 9, 110, 700ms), said(6, 8, 105, 800ms)};
  }
  static Testimony said(std::uint64_t voter, std::uint64_t counter, std::uint64_t commit, Duration age) {
    Testimony t;
    t.voter = NodeId(voter);
    t.stamp = Stamp{Epoch(1), Term(3), counter};
    t.committed = point_at(commit);
    t.age = age;
    t.newest_epoch = Epoch(1);
    return t;
  }
  std::string rules() const {
    std::string out;
    for (const auto& r : make_plan(facts_).refusals) out += (out.empty() ? "" : " ") + r.rule;
    return out;
  }

  region::State log_;
  PlanFacts facts_;
};

TEST_F(Plan, StatesWhatIsKeptAndWhatIsLostUpToTheNewestAnswerOfAnyVoter) {
  const auto plan = make_plan(facts_);
  EXPECT_TRUE(plan.allowed());
  EXPECT_EQ(plan.from, Epoch(1));
  EXPECT_EQ(plan.to, Epoch(2));
  EXPECT_EQ(plan.position, point_at(100)) << "what is committed, not the log's end";
  EXPECT_EQ(plan.loss, (KnownLoss{20, 10, 3000}));
  EXPECT_EQ(plan.unknown_for, 700ms);
}

TEST_F(Plan, NothingKnownIsLostWhereTheGroupHoldsMoreThanTheAnswerSaid) {
  facts_.said = {said(4, 7, 90, 900ms), said(5, 6, 80, 1s)};
  EXPECT_EQ(make_plan(facts_).loss, KnownLoss{});
}

TEST_F(Plan, WithoutAnAnswerTheLossHasNoBound) {
  for (auto& t : facts_.said) t.stamp.reset();
  EXPECT_EQ(make_plan(facts_).unknown_for, std::nullopt);
  EXPECT_TRUE(make_plan(facts_).allowed()) << "it is stated, and accepted with the loss";
}

TEST_F(Plan, OfOneAnswerTheVoterThatAskedLastKnowsTheAge) {
  facts_.said = {said(4, 9, 110, 900ms), said(5, 9, 110, 700ms), said(6, 9, 110, 800ms)};
  EXPECT_EQ(make_plan(facts_).unknown_for, 700ms);
}

TEST_F(Plan, NamesEachRuleThatRefuses) {
  EXPECT_EQ(rules(), "");
  facts_.said[2].heard = true;
  EXPECT_EQ(rules(), "primary_heard");
  facts_.said[2].heard = false;
  facts_.said[0].newest_epoch = Epoch(2);
  EXPECT_EQ(rules(), "newer_epoch");
  facts_.said[0].newest_epoch = Epoch(1);
  facts_.said[1].damage = "other history";
  EXPECT_EQ(rules(), "corruption");
  facts_.said[1].damage.clear();
  facts_.said.resize(1);
  facts_.silent = {NodeId(5), NodeId(6)};
  EXPECT_EQ(rules(), "no_quorum");
  region::State::History other;
  log_ = region::State({.group = kWest, .role = GroupRole::kStandby}, other, point_at(101));
  EXPECT_EQ(rules(), "not_armed no_quorum");
}

TEST_F(Plan, AGroupThatResignedIsNotArmed) {
  Entry resigned;
  resigned.index = Index(9);
  resigned.kind = EntryKind::kResigned;
  resigned.payload = Bytes(encode(region::Resigned{kArming, Epoch(1)}));
  ASSERT_TRUE(log_.fold(resigned).ok());
  EXPECT_EQ(rules(), "not_armed");
}

TEST_F(Plan, TheDigestIsOverAllThatAPromotionRestsOnAndNoTimeThatPasses) {
  const auto digest = make_plan(facts_).digest;
  EXPECT_EQ(digest.size(), 32u);
  auto changed = facts_;
  for (auto& t : changed.said) t.age += 1min;
  changed.said[0].stamp->counter = 6;  // not the newest
  changed.checks = {{"lag", false, "9 s"}};
  EXPECT_EQ(make_plan(changed).digest, digest);

  changed = facts_;
  changed.committed = point_at(99);
  EXPECT_NE(make_plan(changed).digest, digest);
  changed = facts_;
  changed.said[1].stamp->counter = 10;
  EXPECT_NE(make_plan(changed).digest, digest);
  changed = facts_;
  changed.said.pop_back();
  changed.said.erase(changed.said.begin() + 1);
  EXPECT_NE(make_plan(changed).digest, digest) << "the newest answer is another's now";
  changed = facts_;
  changed.lineage.bytes[0] ^= 1;
  EXPECT_NE(make_plan(changed).digest, digest);
  changed = facts_;
  auto history = log_.history();
  history.armed->arming += 1;
  const region::State armed_anew(log_.control(), history, log_.end());
  changed.log = &armed_anew;
  EXPECT_NE(make_plan(changed).digest, digest);
}

TEST_F(Plan, ItsChangeIsOneThatTheLogAllows) {
  const auto plan = make_plan(facts_);
  const auto change = change_for(plan, log_, 77, 5);
  EXPECT_TRUE(log_.judge(change).ok()) << log_.judge(change).error().message;
  EXPECT_EQ(change.fork, HistoryIndex(101)) << "the log's end, uncommitted included";
  EXPECT_EQ(change.announced, (region::Loss{20, 10, 3000, true}));
}

TEST_F(Plan, AnUnguardedOneDrawsItsEpoch) {
  auto history = log_.history();
  history.armed->unguarded = true;
  log_ = region::State(log_.control(), history, log_.end());
  for (const std::uint64_t draw : {std::uint64_t{0}, std::uint64_t{1022}, UINT64_MAX}) {
    const auto change = change_for(make_plan(facts_), log_, 77, draw);
    EXPECT_TRUE(log_.judge(change).ok()) << draw << ": " << log_.judge(change).error().message;
    EXPECT_GE(change.epoch, Epoch(3));
  }
}

TEST_F(Plan, ASealedHistoryLosesNothing) {
  auto history = log_.history();
  history.seal = region::Seal{21, kWest, kArming};
  history.sealed_at = HistoryIndex(101);
  log_ = region::State(log_.control(), history, log_.end());
  const auto plan = make_plan(facts_);
  EXPECT_TRUE(plan.sealed);
  EXPECT_EQ(plan.loss, KnownLoss{});
  const auto change = change_for(plan, log_, 77, 5);
  EXPECT_EQ(change.ending, region::Ending::kSealed);
  EXPECT_EQ(change.announced, region::Loss{});
  EXPECT_TRUE(log_.judge(change).ok()) << log_.judge(change).error().message;
}

}  // namespace
}  // namespace leeward::standby
