// A region whose disks are all gone begins anew, by the file that it was first started with.
#include "story.h"

namespace leeward::standby {
namespace {

class Anew : public ::testing::Test {
 protected:
  // West serves; east is gone with its disks, and its machines are there again.
  void rebuild_east(Story& r) {
    ASSERT_READY(r);
    r.world.wipe_all(GroupRole::kPrimary);
    ASSERT_TRUE(r.promote()) << r.why();
    r.expect_it_serves();
  }
  static bool follows(Story& r, NodeId id) {
    auto* m = r.world.member(id);
    return m && m->role() == GroupRole::kStandby && m->state().applied().point.position == r.world.member(*r.leader())->state().applied().point.position;
  }
  static bool all_follow(Story& r) {
    return std::all_of(kPrimaries.begin(), kPrimaries.end(), [&](NodeId id) { return follows(r, id); });
  }
  static std::string waits(Story& r, NodeId id) {
    auto* m = r.world.member(id);
    return m ? m->status().waiting_for : "it is down";
  }
};

TEST_F(Anew, AFormerPrimaryOnEmptyDisksFollowsWhoServesAndMayBePromoted) {
  Story r(1);
  rebuild_east(r);
  if (HasFatalFailure()) return;
  for (const auto id : kPrimaries) r.world.start(id);
  ASSERT_TRUE(r.world.run_until([&] { return all_follow(r); }, 60s)) << r.why() << waits(r, kPrimaries[0]);
  for (const auto id : kPrimaries) EXPECT_EQ(r.world.peek(id, "k7"), r.world.peek(*r.leader(), "k7"));
  // By itself: nobody is armed in the new epoch.
  ASSERT_TRUE(r.world.run_until([&] { return r.world.checkers.regions(GroupRole::kPrimary).armed().has_value(); }, 30s)) << r.why();
  EXPECT_EQ(r.world.checkers.breach(), "");
}

TEST_F(Anew, ItWaitsWhileNoOtherRegionServes) {
  Story r(2);
  ASSERT_READY(r);
  r.world.wipe_all(GroupRole::kPrimary);
  for (const auto id : kPrimaries) r.world.start(id);
  r.world.run_for(20s);
  for (const auto id : kPrimaries) {
    EXPECT_FALSE(r.world.member(id)->lineage().known());
    EXPECT_NE(waits(r, id).find("promote"), std::string::npos) << waits(r, id);
  }
  ASSERT_TRUE(r.promote()) << r.why();
  r.expect_it_serves();
  ASSERT_TRUE(r.world.run_until([&] { return all_follow(r); }, 60s)) << r.why() << waits(r, kPrimaries[0]);
  EXPECT_EQ(r.world.checkers.breach(), "");
}

TEST_F(Anew, TheWordOfOneMemberOfAGroupIsNotEnough) {
  Story r(3);
  rebuild_east(r);
  if (HasFatalFailure()) return;
  r.world.crash(kStandbys[0]);
  r.world.crash(kStandbys[1]);
  for (const auto id : kPrimaries) r.world.start(id);
  r.world.run_for(20s);
  for (const auto id : kPrimaries) EXPECT_FALSE(r.world.member(id)->lineage().known());
  r.world.start(kStandbys[0]);
  ASSERT_TRUE(r.world.run_until([&] { return r.leader() && all_follow(r); }, 60s)) << r.why();
  EXPECT_EQ(r.world.checkers.breach(), "");
}

// Its group may have a majority yet, and what that holds belongs in a ledger.
TEST_F(Anew, AMemberWithItsDiskKeepsTheOthersFromBeginning) {
  Story r(4);
  ASSERT_READY(r);
  for (const auto id : kPrimaries) r.world.crash(id);
  r.world.wipe(kPrimaries[0]);
  r.world.wipe(kPrimaries[1]);
  ASSERT_TRUE(r.promote()) << r.why();
  r.expect_it_serves();
  for (const auto id : kPrimaries) r.world.start(id);
  r.world.run_for(20s);
  for (const auto id : {kPrimaries[0], kPrimaries[1]}) EXPECT_NE(waits(r, id).find("member admit"), std::string::npos) << waits(r, id);
  // As the text on regions lost tells: this one too.
  r.world.wipe_all(GroupRole::kPrimary);
  for (const auto id : kPrimaries) r.world.start(id);
  ASSERT_TRUE(r.world.run_until([&] { return all_follow(r); }, 60s)) << r.why();
  EXPECT_EQ(r.world.checkers.breach(), "");
}

}  // namespace
}  // namespace leeward::standby
