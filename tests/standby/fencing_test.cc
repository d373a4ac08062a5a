// What becomes of a primary when another region has begun a newer epoch:
// standby/PROTOCOL.md, "Fencing".
#include "story.h"

namespace leeward::standby {
namespace {

using node::Outcome;

struct Fencing : ::testing::Test {
  static bool serves(Story& s, NodeId id) {
    auto* m = s.world.member(id);
    return m && m->role() == GroupRole::kPrimary;
  }
  static bool fenced(Story& s, NodeId id) {
    auto* m = s.world.member(id);
    return m && m->role() == GroupRole::kFenced;
  }
  static bool all_fenced(Story& s) {
    return std::all_of(kPrimaries.begin(), kPrimaries.end(), [&](NodeId id) { return fenced(s, id); });
  }
  // In the group's log, so that a member that was told nothing knows it too.
  static bool committed(Story& s) { return s.world.checkers.regions(GroupRole::kPrimary).role() == GroupRole::kFenced; }
  // The links between the two regions, but those of `spared`.
  static void cut(Story& s, NodeId spared = {}) {
    for (const auto a : kPrimaries)
      if (a != spared) s.world.network.isolate(a, kStandbys);
  }
};

TEST_F(Fencing, AnOldPrimaryThatIsHeardStopsServingAndItsLogSaysSo) {
  Story s(1);
  ASSERT_TRUE(s.ready()) << s.why();
  s.puts(kPrimaries[0], 5);
  ASSERT_TRUE(s.promote()) << s.why();
  EXPECT_TRUE(s.world.run_until([&] { return all_fenced(s) && committed(s); }, 5s)) << s.why();
  for (const auto id : kPrimaries) {
    auto put = s.world.client_put(id, "late", "v");
    ASSERT_TRUE(s.world.run_until([&] { return put->ended; })) << s.why();
    EXPECT_EQ(put->outcome.end, Outcome::End::kNotApplied);
    EXPECT_EQ(put->outcome.error.code, Code::kUnavailable);
    EXPECT_FALSE(s.world.member(id)->read_now());
    const auto status = s.world.member(id)->status();
    EXPECT_EQ(status.newest_epoch, Epoch(2));
    EXPECT_EQ(status.epoch, Epoch(1));
  }
  s.puts(*s.leader(), 5);
}

TEST_F(Fencing, ItOutlivesARestartOfEveryMemberWithTheLinkDown) {
  Story s(2);
  ASSERT_TRUE(s.ready()) << s.why();
  ASSERT_TRUE(s.promote()) << s.why();
  ASSERT_TRUE(s.world.run_until([&] { return all_fenced(s) && committed(s); }, 5s)) << s.why();
  cut(s);
  for (const auto id : kPrimaries) s.world.crash(id);
  for (const auto id : kPrimaries) s.world.start(id);
  EXPECT_TRUE(s.world.run_until([&] { return all_fenced(s); }, 1s)) << s.why();
  s.world.run_for(5s);
  EXPECT_TRUE(all_fenced(s)) << s.why();
}

// Its own group is cut off: no log holds it yet, only this member's superblock.
TEST_F(Fencing, AMemberThatAloneWasToldRemembersItOverARestart) {
  Story s(7);
  ASSERT_TRUE(s.ready()) << s.why();
  cut(s);
  ASSERT_TRUE(s.promote()) << s.why();
  const auto told = kPrimaries[1];
  s.world.network.heal();
  cut(s, told);
  s.world.network.isolate(told, kPrimaries);
  ASSERT_TRUE(s.world.run_until([&] { return fenced(s, told); }, 5s)) << s.why();
  s.world.run_for(100ms);
  s.world.crash_hard(told);
  cut(s);
  s.world.start(told);
  EXPECT_TRUE(s.world.run_until([&] { return fenced(s, told); }, 1s)) << s.why();
  s.world.run_for(1s);
  EXPECT_TRUE(serves(s, kPrimaries[0]));
}

// One member is told; what it says to its own group tells the others.
TEST_F(Fencing, WhoIsToldTellsItsGroup) {
  for (const auto told : kPrimaries) {
    Story s(3);
    ASSERT_TRUE(s.ready()) << s.why();
    cut(s);
    ASSERT_TRUE(s.promote()) << s.why();
    s.puts(kPrimaries[0], 3);  // it cannot know
    s.world.network.heal();
    cut(s, told);
    EXPECT_TRUE(s.world.run_until([&] { return all_fenced(s) && committed(s); }, 5s)) << s.why();
  }
}

TEST_F(Fencing, AWriteUnderWayEndsAsUnknownAndItsClientIsToldAtOnce) {
  Story s(4);
  ASSERT_TRUE(s.ready()) << s.why();
  cut(s);
  ASSERT_TRUE(s.promote()) << s.why();
  const auto leader = *s.world.leader();
  // The leader's followers are gone: what it proposes cannot be committed.
  for (const auto id : kPrimaries)
    if (id != leader) s.world.network.isolate(id, kPrimaries);
  auto put = s.world.client_put(leader, "k", "v");
  s.world.run_for(100ms);
  ASSERT_FALSE(put->ended);
  s.world.network.heal();
  for (const auto id : kPrimaries)
    if (id != leader) s.world.network.isolate(id, kPrimaries);
  ASSERT_TRUE(s.world.run_until([&] { return put->ended; }, 1s)) << s.why();
  EXPECT_EQ(put->outcome.end, Outcome::End::kUnknown);
}

TEST_F(Fencing, ThePromotedRegionIsNotFencedByItsOwnEpoch) {
  Story s(5);
  ASSERT_TRUE(s.ready()) << s.why();
  ASSERT_TRUE(s.promote()) << s.why();
  s.world.run_for(200ms);
  for (const auto id : kStandbys) {
    EXPECT_TRUE(serves(s, id));
    EXPECT_EQ(s.world.member(id)->status().newest_epoch, Epoch(2));
  }
}

TEST_F(Fencing, AFullDiskDelaysTheNoteAndNotTheEndOfServing) {
  Story s(6);
  ASSERT_TRUE(s.ready()) << s.why();
  cut(s);
  ASSERT_TRUE(s.promote()) << s.why();
  const auto full = kPrimaries[0];
  s.world.disk(full).refuse_writes("superblock");
  s.world.network.heal();
  EXPECT_TRUE(s.world.run_until([&] { return fenced(s, full); }, 3s)) << s.why();
  s.world.run_for(2s);
  ASSERT_TRUE(s.world.running(full));
  s.world.disk(full).refuse_writes("");
  EXPECT_TRUE(s.world.run_until([&] { return all_fenced(s) && committed(s); }, 5s)) << s.why();
  s.world.run_for(1s);
  cut(s);
  s.world.crash(full);
  s.world.start(full);
  EXPECT_TRUE(s.world.run_until([&] { return fenced(s, full); }, 1s)) << s.why();
}

}  // namespace
}  // namespace leeward::standby
