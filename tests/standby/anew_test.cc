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
  // Its clients are not to stand still meanwhile: another endpoint may serve.
  r.world.run_for(100ms);
  auto put = r.world.client_put(kPrimaries[0], "k", "v");
  ASSERT_TRUE(r.world.run_until([&] { return put->ended; }, 200ms)) << "the call waits for a leader that there is none of";
  EXPECT_EQ(put->outcome.error.code, Code::kUnavailable);
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

// It has written down that it begins, and as what; whom it heard then it no longer knows.
TEST_F(Anew, ARestartBeforeItsFirstEntryBeginsNoSecondLife) {
  for (const auto wait : {0ms, 300ms, 900ms}) {
    SCOPED_TRACE(wait / 1ms);
    Story r(5);
    rebuild_east(r);
    if (HasFatalFailure()) return;
    for (const auto id : kPrimaries) r.world.start(id);
    const auto takes_part = [&](NodeId id) { return !r.world.member(id)->membership().voters.empty(); };
    ASSERT_TRUE(r.world.run_until([&] { return std::all_of(kPrimaries.begin(), kPrimaries.end(), takes_part); }, 20s)) << r.why();
    r.world.run_for(wait);
    for (const auto id : kPrimaries) r.world.kill(id);
    r.link(false);
    for (const auto id : kPrimaries) r.world.start(id);
    r.world.run_for(20s);
    for (const auto id : kPrimaries) {
      const auto theirs = r.world.member(id)->lineage();
      EXPECT_TRUE(!theirs.known() || theirs == r.world.member(*r.leader())->lineage()) << "node " << id.value();
      EXPECT_FALSE(theirs.known() && r.world.member(id)->role() == GroupRole::kPrimary) << "node " << id.value();
    }
    r.link(true);
    ASSERT_TRUE(r.world.run_until([&] { return r.leader() && all_follow(r); }, 60s)) << r.why() << waits(r, kPrimaries[0]);
    EXPECT_EQ(r.world.checkers.breach(), "");
  }
}

// It would serve an empty state, and fence whoever holds more.
TEST_F(Anew, BeforeItHoldsAnythingItIsNotPromoted) {
  auto o = options(6);
  o.wan.delay_low = 100ms;
  o.wan.delay_high = 110ms;
  Story r(o);
  rebuild_east(r);
  if (HasFatalFailure()) return;
  for (const auto id : kPrimaries) r.world.start(id);
  ASSERT_TRUE(r.world.run_until([&] { return r.world.leader() && r.world.member(*r.world.leader())->lineage().known(); }, 30s)) << r.why();
  for (const auto id : kStandbys) r.world.crash(id);
  r.world.run_for(15s);
  ASSERT_TRUE(r.world.leader()) << r.why();
  ASSERT_EQ(r.world.member(*r.world.leader())->last().position.index, HistoryIndex()) << "it was faster: another seed";
  std::optional<Result<PromotionPlan>> plan;
  r.world.stream(*r.world.leader())->recovery().plan(r.world.client_loop(), [&](Result<PromotionPlan> p) { plan = std::move(p); });
  ASSERT_TRUE(r.world.run_until([&] { return plan.has_value(); }, 20s));
  ASSERT_TRUE(plan->ok()) << plan->error().message;
  EXPECT_TRUE(std::any_of((*plan)->refusals.begin(), (*plan)->refusals.end(), [](const auto& refusal) { return refusal.rule == "no_state" && !refusal.forceable; }));
}

// Nobody heard it while they made up their minds, and it holds what nobody else does. It
// lists both, as other lives of theirs: neither counts the other, whatever they say.
TEST_F(Anew, AMemberOfTheGroupBeforeThatWakesMeanwhileIsNoneOfTheirs) {
  std::set<int> moments;
  for (int seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE(seed);
    Story r(seed);
    ASSERT_READY(r);
    const auto woken = *r.world.leader();
    std::vector<NodeId> empty;
    for (const auto id : kPrimaries)
      if (id != woken) empty.push_back(id);
    const auto before = r.world.member(woken)->group();
    auto others = r.world.ids();
    std::erase(others, woken);
    r.world.network.isolate(woken, others);
    r.world.come_back(woken, false);  // it is of the group before from here on
    for (const auto id : empty) r.world.wipe(id);
    r.world.checkers.begins_anew(GroupRole::kPrimary, empty);
    ASSERT_TRUE(r.promote()) << r.why();
    r.expect_it_serves();
    for (const auto id : empty) r.world.start(id);
    const auto takes_part = [&](NodeId id) { return !r.world.member(id)->membership().voters.empty(); };
    ASSERT_TRUE(r.world.run_until([&] { return takes_part(empty[0]) && (seed % 2 == 0 || takes_part(empty[1])); }, 30s)) << r.why();
    r.world.run_for(seed * 200ms);
    moments.insert(r.world.member(empty[0])->group() ? 1 : 0);
    r.world.network.heal();
    ASSERT_TRUE(r.world.run_until([&] { return follows(r, empty[0]) && follows(r, empty[1]); }, 60s)) << r.why() << waits(r, empty[0]);
    const auto group = r.world.member(empty[0])->group();
    EXPECT_EQ(r.world.member(empty[1])->group(), group);
    EXPECT_NE(group, before);
    for (const auto id : empty) EXPECT_EQ(r.world.checkers.regions(GroupRole::kPrimary).control().group, group) << id.value();
    EXPECT_EQ(r.world.member(woken)->group(), before);
    EXPECT_EQ(r.world.member(woken)->status().leader, NodeId()) << "it hears whoever leads its own group";
    ASSERT_TRUE(r.world.run_until([&] { const auto armed = armed_group(r.world.member(*r.leader())->state()); return armed && armed->group == group; }, 30s)) << r.why();
    EXPECT_EQ(r.world.checkers.breach(), "");
  }
  EXPECT_EQ(moments.size(), 2u) << "before and after the new group's first entry";
}

// It holds its group's first entry, not applied, and so says of no group that it is of one.
TEST_F(Anew, AMemberThatKnowsOfNoGroupYetGivesNobodyTheGroupBefore) {
  int met = 0;
  for (int seed = 1; seed <= 8; ++seed) {
    SCOPED_TRACE(seed);
    Story r(seed);
    const auto late = kPrimaries[2];
    for (const auto id : r.world.ids()) r.world.start(id);
    const auto holds_it = [&] { return r.world.member(late)->log().last().index > Index(1) && !r.world.member(late)->lineage().known(); };
    if (!r.world.run_until([&] { return r.world.member(late)->lineage().known() || holds_it(); }, 20s) || !holds_it()) continue;
    r.world.kill(late);
    ASSERT_TRUE(r.world.run_until([&] { return r.world.leader() && r.leader() && r.world.checkers.regions(GroupRole::kStandby).armed(); }, 60s)) << r.why();
    const auto before = r.world.member(*r.world.leader())->group();
    const std::vector<NodeId> emptied{kPrimaries[0], kPrimaries[1]};
    r.world.come_back(late, false);  // of the group before
    for (const auto id : emptied) r.world.wipe(id);
    r.world.checkers.begins_anew(GroupRole::kPrimary, emptied);
    ASSERT_TRUE(r.promote()) << r.why();
    r.expect_it_serves();
    for (const auto id : kPrimaries) r.world.start(id);
    if (r.world.member(late)->lineage().known()) continue;
    ++met;
    ASSERT_TRUE(r.world.run_until([&] { return follows(r, emptied[0]) && follows(r, emptied[1]); }, 60s)) << r.why() << waits(r, emptied[0]);
    for (const auto id : emptied) EXPECT_NE(r.world.member(id)->group(), before) << id.value();
    EXPECT_EQ(r.world.checkers.breach(), "");
  }
  EXPECT_GT(met, 2) << "who starts knows of its group in all of them";
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
  for (const auto id : {kPrimaries[0], kPrimaries[1]}) {
    EXPECT_EQ(waits(r, id).find("member admit"), std::string::npos) << "nobody is there who could: " << waits(r, id);
    EXPECT_NE(waits(r, id).find("of whose 3 voters 1 is heard"), std::string::npos) << waits(r, id);
  }
  // As the text on regions lost tells: this one too.
  r.world.wipe_all(GroupRole::kPrimary);
  for (const auto id : kPrimaries) r.world.start(id);
  ASSERT_TRUE(r.world.run_until([&] { return all_follow(r); }, 60s)) << r.why();
  EXPECT_EQ(r.world.checkers.breach(), "");
}

// Where the primary asks whether another region was promoted, and that one's disks
// are gone but for a member that is late, that member may know more than all of them.
TEST_F(Anew, TheWordOfAPrimaryThatDoesNotServeIsNotEnough) {
  Story r(8);
  ASSERT_READY(r);
  for (const auto a : kPrimaries) r.world.network.isolate(a, kStandbys);
  for (const auto id : kPrimaries) r.world.crash(id);
  ASSERT_TRUE(r.promote()) << r.why();
  r.expect_it_serves();
  const NodeId late(6);
  for (const auto id : kStandbys)
    if (id != late) r.world.wipe(id);
  r.world.crash(late);
  r.world.network.heal();
  for (const auto id : kPrimaries) r.world.start(id);
  for (const auto id : kStandbys)
    if (id != late) r.world.start(id);
  r.world.run_for(20s);
  for (const auto id : kStandbys)
    if (id != late) {
      EXPECT_FALSE(r.world.member(id)->lineage().known()) << "it has begun anew on the word of one that does not serve";
      EXPECT_NE(waits(r, id).find("to serve"), std::string::npos) << waits(r, id);
    }
  EXPECT_EQ(r.world.checkers.breach(), "");
}

}  // namespace
}  // namespace leeward::standby
