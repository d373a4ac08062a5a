// Promotions that a rule refuses, and an operator forces. Real members of two
// regions in the simulator.
#include <gtest/gtest.h>

#include "operator.h"
#include "support/sanitized.h"

namespace leeward::standby {
namespace {

class Force : public Promotion {
 protected:
  bool all(const std::vector<NodeId>& ids, GroupRole role) {
    return std::all_of(ids.begin(), ids.end(), [&](NodeId id) {
      auto* m = r_->world.member(id);
      return m && m->role() == role;
    });
  }
  void serves(NodeId id, Epoch epoch) {
    r_->puts(id, 3);
    EXPECT_GE(r_->last_revision.value(), static_cast<std::int64_t>(epoch.value()) * region::kRevisionsOfAnEpoch);
  }
  // The standby region is primary in epoch 2; the old primary came back fenced,
  // and after that the new one is lost.
  void lose_the_new_primary() {
    r_->link(false);
    r_->world.run_for(6s);
    const auto leader = *r_->leader();
    ASSERT_TRUE(promote(leader, plan(leader)->digest).ok()) << r_->why();
    r_->link(true);
    ASSERT_TRUE(r_->world.run_until([&] { return all(kPrimaries, GroupRole::kFenced) && r_->all_turned(); }, 20s)) << r_->why();
    r_->puts(*r_->leader(), 5);
    r_->world.run_for(2s);  // it has heard who serves
    ASSERT_TRUE(r_->world.run_until([&] { return r_->world.leader().has_value(); })) << r_->why();
  }
};

TEST_F(Force, ARegionIsPromotedThoughItsPrimaryIsHeard) {
  make(31);
  const auto leader = *r_->leader();
  const auto planned = plan(leader);
  ASSERT_EQ(rules(planned), "primary_heard");
  EXPECT_FALSE(force(leader, planned->digest, {"not_armed"}).ok());
  EXPECT_FALSE(force(leader, planned->digest, {"primary_heard"}, false).ok()) << "the loss was not accepted";
  EXPECT_TRUE(changes(leader).empty());
  const auto done = force(leader, plan(leader)->digest, {"primary_heard", "newer_epoch"});
  ASSERT_TRUE(done.ok()) << done.error().message;
  EXPECT_GE(done->epoch, Epoch(3));
  EXPECT_LE(done->epoch, Epoch(1025));
  ASSERT_EQ(done->notes.size(), 1u);
  EXPECT_NE(done->notes[0].find("newer_epoch was not needed"), std::string::npos) << done->notes[0];
  EXPECT_EQ(done->first_revision.value(), static_cast<std::int64_t>(done->epoch.value()) * region::kRevisionsOfAnEpoch);
  EXPECT_EQ(changes(leader).back().ending, region::Ending::kForced);
  EXPECT_TRUE(changes(leader).back().announced.more);
  ASSERT_TRUE(r_->world.run_until([&] { return all(kPrimaries, GroupRole::kFenced) && all(kStandbys, GroupRole::kPrimary); }, 20s))
      << r_->why();
  serves(*r_->leader(), done->epoch);
}

TEST_F(Force, ThatDrawsItsEpochAtRandom) {
  std::set<Epoch> drawn;
  for (std::uint64_t seed = 40; seed < 43; ++seed) {
    make(seed);
    if (HasFatalFailure()) return;
    const auto leader = *r_->leader();
    const auto done = force(leader, plan(leader)->digest, {"primary_heard"});
    ASSERT_TRUE(done.ok()) << done.error().message;
    drawn.insert(done->epoch);
  }
  EXPECT_GE(drawn.size(), 2u);
}

TEST_F(Force, AGroupThatResignedIsPromotedAllTheSame) {
  make(32);
  const auto leader = *r_->leader();
  const auto armed = r_->world.checkers.regions(GroupRole::kStandby).armed();
  ASSERT_TRUE(armed);
  ASSERT_TRUE(r_->world.propose(leader, EntryKind::kResigned, Epoch(), encode(region::Resigned{armed->arming, Epoch(1)})).ok());
  lose_primary();
  const auto at = *r_->leader();
  const auto planned = plan(at);
  ASSERT_EQ(rules(planned), "not_armed");
  EXPECT_NE(refusal(at, planned->digest).find("--force not_armed"), std::string::npos);
  const auto done = force(at, planned->digest, {"not_armed"});
  ASSERT_TRUE(done.ok()) << done.error().message;
  ASSERT_TRUE(r_->world.run_until([&] { return all(kStandbys, GroupRole::kPrimary); })) << r_->why();
  serves(at, done->epoch);
}

TEST_F(Force, AFencedGroupTakesOverWhenTheNewerEpochHasBurned) {
  make(33);
  lose_the_new_primary();
  if (HasFatalFailure()) return;
  const auto east = *r_->world.leader();
  ASSERT_EQ(rules(plan(east)), "primary_heard not_armed newer_epoch") << "the new primary lives";
  r_->world.lose(GroupRole::kStandby);
  r_->world.run_for(6s);
  const auto planned = plan(east);
  ASSERT_EQ(rules(planned), "not_armed newer_epoch");
  EXPECT_EQ(planned->known, Epoch(2));
  EXPECT_EQ(planned->unknown_for, std::nullopt) << "of the newer epoch nothing is kept";
  EXPECT_FALSE(force(east, planned->digest, {"newer_epoch"}).ok());
  // Nothing is served until it is committed.
  std::vector<std::shared_ptr<sim::World::Put>> early;
  const auto asked = [&] {
    PromotionRequest request{planned->digest, true, "ada", "west burns"};
    request.force = {"not_armed", "newer_epoch"};
    return ask(east, request);
  }();
  ASSERT_TRUE(r_->world.run_until([&] {
    if (!asked->answer) early.push_back(r_->world.client_put(east, "early", "x"));
    return asked->answer.has_value();
  })) << r_->why();
  const auto done = ended(asked);
  ASSERT_TRUE(done.ok()) << done.error().message;
  EXPECT_GE(done->epoch, Epoch(4));
  for (const auto& put : early)
    if (put->ended && put->outcome.end == node::Outcome::End::kApplied) {
      EXPECT_GT(put->outcome.result.revision, done->first_revision);
    }
  ASSERT_TRUE(r_->world.run_until([&] { return all(kPrimaries, GroupRole::kPrimary); })) << r_->why();
  serves(east, done->epoch);
  // It holds through a restart of all: nobody is fenced by what burned.
  for (const auto id : kPrimaries) r_->world.crash(id);
  for (const auto id : kPrimaries) r_->world.start(id);
  ASSERT_TRUE(r_->world.run_until([&] { return r_->world.leader().has_value() && all(kPrimaries, GroupRole::kPrimary); }, 30s)) << r_->why();
  serves(*r_->world.leader(), done->epoch);
  // The same command again finds it done.
  const auto again = force(*r_->world.leader(), planned->digest, {});
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_TRUE(again->repeated);
}

TEST_F(Force, APrimaryThatSealedForARegionThatBurnedGoesOnByForce) {
  make(34);
  const auto east = *r_->world.leader();
  ASSERT_EQ(rules(plan(east)).substr(0, 7), "serving");
  EXPECT_FALSE(force(east, plan(east)->digest, {"serving"}).ok());
  const auto armed = r_->world.checkers.regions(GroupRole::kPrimary).armed_group();
  ASSERT_TRUE(armed);
  r_->world.lose(GroupRole::kStandby);
  ASSERT_TRUE(r_->world.propose(east, EntryKind::kSeal, Epoch(1), encode(region::Seal{77, armed->group, armed->arming})).ok());
  ASSERT_TRUE(r_->world.run_until([&] { return r_->world.member(east)->sealed(); })) << r_->why();
  const auto planned = plan(east);
  ASSERT_EQ(rules(planned), "sealed not_armed");
  const auto done = force(east, planned->digest, {"sealed", "not_armed"});
  ASSERT_TRUE(done.ok()) << done.error().message;
  ASSERT_TRUE(r_->world.run_until([&] { return !r_->world.member(east)->sealed(); })) << r_->why();
  serves(east, done->epoch);
}

}  // namespace
}  // namespace leeward::standby
