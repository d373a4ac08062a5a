// What is left of a group that lost its majority becomes a group again. Real
// members of two regions in the simulator.
#include <gtest/gtest.h>

#include "node/records.h"
#include "operator.h"
#include "support/sanitized.h"
#include "wal/superblock.h"

namespace leeward::standby {
namespace {

class Survivor : public Promotion {
 protected:
  Result<PromotionPlan> plan_of(NodeId at, std::vector<NodeId> members) {
    std::optional<Result<PromotionPlan>> answer;
    r_->world.stream(at)->recovery().plan_survivors(std::move(members), r_->world.client_loop(),
                                                    [&](Result<PromotionPlan> p) { answer = std::move(p); });
    if (!r_->world.run_until([&] { return answer.has_value(); })) return Error{Code::kDeadline, "no answer" + r_->why()};
    return *answer;
  }
  std::shared_ptr<Asked> ask_for(NodeId at, const std::string& digest, std::vector<NodeId> members,
                                 std::vector<std::string> rules = {"no_quorum"}, bool accept = true) {
    PromotionRequest request{digest, accept, "ada", "the region burns"};
    request.members = std::move(members);
    request.force = std::move(rules);
    return ask(at, std::move(request));
  }
  Result<PromotionRecord> promote_these(NodeId at, std::vector<NodeId> members) {
    const auto planned = plan_of(at, members);
    if (!planned.ok()) return planned.error();
    return ended(ask_for(at, planned->digest, std::move(members)));
  }
  void lose(const std::vector<NodeId>& ids) {
    for (const auto id : ids) r_->world.crash(id);
  }
  bool are(const std::vector<NodeId>& ids, GroupRole role) {
    return std::all_of(ids.begin(), ids.end(), [&](NodeId id) {
      auto* m = r_->world.member(id);
      return m && m->role() == role;
    });
  }
  // Armed by lease, and stamps are returned.
  void make_leased(std::uint64_t seed, Duration lease, int standbys) {
    auto o = options(seed);
    o.fence_lease = lease;
    o.standbys = standbys;
    r_ = std::make_unique<Story>(o);
    ASSERT_TRUE(r_->ready()) << r_->why();
    ASSERT_TRUE(r_->world.run_until([&] {
      const auto leader = r_->world.leader();
      return leader && r_->world.member(*leader)->stamp_wanted().has_value();
    })) << r_->why();
  }
  // Known to whoever decides: nobody leads any more, the primary is silent.
  void wait_until_all_is_known() { r_->world.run_for(6s); }
};

TEST_F(Survivor, OneOfThreeBecomesAGroupAndIsPrimary) {
  make(51);
  r_->world.lose(GroupRole::kPrimary);
  lose({NodeId(5), NodeId(6)});
  wait_until_all_is_known();
  const NodeId left(4);
  const auto group = r_->world.member(left)->group();
  EXPECT_NE(plan(left).error().message.find("--members"), std::string::npos) << "an ordinary plan names the way";
  const auto planned = plan_of(left, {left});
  ASSERT_TRUE(planned.ok()) << planned.error().message;
  EXPECT_EQ(rules(planned), "no_quorum");
  EXPECT_TRUE(planned->survivors);
  EXPECT_EQ(planned->loss, KnownLoss{});
  const auto unforced = ended(ask_for(left, planned->digest, {left}, {}));
  ASSERT_FALSE(unforced.ok());
  EXPECT_NE(unforced.error().message.find("--force no_quorum"), std::string::npos) << unforced.error().message;
  const auto unaccepted = ended(ask_for(left, planned->digest, {left}, {"no_quorum"}, false));
  ASSERT_FALSE(unaccepted.ok());
  EXPECT_NE(unaccepted.error().message.find("accept_data_loss"), std::string::npos) << unaccepted.error().message;
  EXPECT_EQ(r_->world.member(left)->group(), group) << "nothing was begun";

  const auto done = ended(ask_for(left, planned->digest, {left}));
  ASSERT_TRUE(done.ok()) << done.error().message;
  EXPECT_GE(done->epoch, Epoch(3));
  EXPECT_NE(r_->world.member(left)->group(), group);
  EXPECT_EQ(r_->world.member(left)->role(), GroupRole::kPrimary);
  EXPECT_EQ(r_->world.member(left)->membership().voters, std::set<NodeId>{left});
  EXPECT_EQ(changes(left).back().ending, region::Ending::kForced);
  EXPECT_TRUE(changes(left).back().announced.more);
  r_->puts(left, 5);
  EXPECT_GE(r_->last_revision.value(), static_cast<std::int64_t>(done->epoch.value()) * region::kRevisionsOfAnEpoch);
  const auto again = ended(ask_for(left, planned->digest, {left}));
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_TRUE(again->repeated);

  // What was lost and comes back is of no group.
  for (const auto id : {NodeId(5), NodeId(6)}) r_->world.start(id);
  ASSERT_TRUE(r_->world.run_until([&] {
    for (const auto id : {NodeId(5), NodeId(6)})
      if (r_->world.service(id)->status().state != MemberState::kRemoved) return false;
    return true;
  }, 20s)) << r_->why();
  EXPECT_EQ(r_->world.member(left)->role(), GroupRole::kPrimary);
  r_->puts(left, 3);
  // And through a restart.
  r_->world.crash(left);
  r_->world.start(left);
  ASSERT_TRUE(r_->world.run_until([&] { return r_->world.member(left) && r_->world.member(left)->is_leader(); }, 20s)) << r_->why();
  EXPECT_EQ(r_->world.member(left)->role(), GroupRole::kPrimary);
  r_->puts(left, 3);
}

// Two of five would be the same; here two of three are named, of which the one
// that is asked knows less.
TEST_F(Survivor, TheOneWithTheLongestLogLeadsAndNothingItHasIsLost) {
  make(52);
  // A primary whose leader and one other acknowledge what the third never gets.
  const auto lead = *r_->world.leader();
  auto others = kPrimaries;
  std::erase(others, lead);
  const auto knows = others[0], behind = others[1];
  r_->cut_off(behind);
  r_->puts(lead, 10);
  r_->world.lose(GroupRole::kStandby);
  lose({lead});
  lose({knows});
  r_->world.network.heal();
  r_->world.start(knows);
  // Two of three are a majority: without it they are only if they cannot hear each other.
  r_->world.network.tamper = [&](NodeId, NodeId, Lane lane, Bytes bytes) { return lane == Lane::kConsensus ? Bytes() : bytes; };
  wait_until_all_is_known();
  const auto planned = plan_of(behind, {knows, behind});
  ASSERT_TRUE(planned.ok()) << planned.error().message;
  ASSERT_EQ(rules(planned), "no_quorum");
  EXPECT_EQ(planned->position, r_->world.member(knows)->last().position);
  EXPECT_GT(planned->position.index, r_->world.member(behind)->last().position.index);
  EXPECT_EQ(planned->unknown_for, std::nullopt) << "of a primary nobody knows what the lost had";
  r_->world.network.tamper = nullptr;
  const auto done = ended(ask_for(behind, planned->digest, {knows, behind}));
  // With the link back they may have elected one before: then the plan has changed.
  if (!done.ok()) {
    EXPECT_TRUE(done.error().message.find("plan_changed") != std::string::npos || done.error().message.find("quorum") != std::string::npos)
        << done.error().message;
    return;
  }
  ASSERT_TRUE(r_->world.run_until([&] { return are({knows, behind}, GroupRole::kPrimary); })) << r_->why();
  EXPECT_EQ(r_->world.peek(behind, "k" + std::to_string((r_->written - 1) % 20)), std::to_string(r_->written - 1) + std::string(60, 'v'));
  r_->puts(behind, 5);
}

TEST_F(Survivor, WhoIsNotUpOrNotNamedIsNamedByTheRefusal) {
  make(53);
  const auto leader = *r_->leader();
  EXPECT_NE(rules(plan_of(leader, kStandbys)).find("quorum"), std::string::npos) << "a group with a leader needs no regrouping";
  EXPECT_FALSE(ended(ask_for(leader, plan_of(leader, kStandbys)->digest, kStandbys, {"no_quorum", "primary_heard"})).ok());
  r_->world.lose(GroupRole::kPrimary);
  lose({NodeId(5), NodeId(6)});
  wait_until_all_is_known();
  EXPECT_EQ(rules(plan_of(NodeId(4), {NodeId(4), NodeId(5)})), "silent no_quorum");
  const auto elsewhere = plan_of(NodeId(4), {NodeId(5)});
  ASSERT_FALSE(elsewhere.ok());
  EXPECT_EQ(elsewhere.error().code, Code::kUnavailable);
  const auto stranger = plan_of(NodeId(4), {NodeId(4), NodeId(1)});
  ASSERT_FALSE(stranger.ok());
  EXPECT_EQ(stranger.error().code, Code::kInvalid);
  // Alive and cut off from its like, not from who is asked.
  r_->world.network.tamper = [](NodeId, NodeId, Lane lane, Bytes bytes) { return lane == Lane::kConsensus ? Bytes() : bytes; };
  r_->world.start(NodeId(5));
  r_->world.run_for(3s);
  EXPECT_EQ(rules(plan_of(NodeId(4), {NodeId(4)})), "left_out no_quorum");
}

TEST_F(Survivor, APrimaryThatLostItsMajorityServesNothingBeforeItsNewEpoch) {
  make(54);
  r_->puts(*r_->world.leader(), 5);
  r_->world.lose(GroupRole::kStandby);
  const NodeId left(1);
  lose({NodeId(2), NodeId(3)});
  wait_until_all_is_known();
  const auto planned = plan_of(left, {left});
  ASSERT_EQ(rules(planned), "no_quorum");
  const auto asked = ask_for(left, planned->digest, {left});
  std::vector<std::shared_ptr<sim::World::Put>> early;
  ASSERT_TRUE(r_->world.run_until([&] {
    if (!asked->answer && early.size() < 200) early.push_back(r_->world.client_put(left, "early", "x"));
    return asked->answer.has_value();
  })) << r_->why();
  const auto done = ended(asked);
  ASSERT_TRUE(done.ok()) << done.error().message;
  for (const auto& put : early)
    if (put->ended && put->outcome.end == node::Outcome::End::kApplied) {
      EXPECT_GT(put->outcome.result.revision, done->first_revision);
    }
  r_->puts(left, 3);
  EXPECT_GE(r_->last_revision.value(), static_cast<std::int64_t>(done->epoch.value()) * region::kRevisionsOfAnEpoch);
}

// Cut off at any moment of it, by any of them: said again, it is done.
TEST_F(Survivor, ACrashAtAnyStepLeavesSomethingThatTheSameCommandMends) {
  int cut = 0, changed = 0;
  for (std::uint64_t step = 0; step < 30; step += test::kSanitized ? 7 : 1) {
    SCOPED_TRACE("power for " + std::to_string(step / 2) + " more disk operations of node " + (step % 2 ? "4" : "5"));
    r_ = std::make_unique<Story>([&] {
      auto o = options(700 + step);
      o.standbys = 5;
      return o;
    }());
    ASSERT_TRUE(r_->world.run_until([&] {
      for (const auto id : r_->world.ids())
        if (!r_->world.running(id)) r_->world.start(id);
      return r_->world.leader() && r_->leader() && r_->world.checkers.regions(GroupRole::kStandby).armed() && r_->world.caught_up();
    }, 30s)) << r_->why();
    r_->puts(*r_->world.leader(), 10);
    ASSERT_TRUE(r_->world.run_until([&] { return r_->world.caught_up(); }, 20s)) << r_->why();
    r_->world.lose(GroupRole::kPrimary);
    const std::vector<NodeId> left{NodeId(4), NodeId(5)};
    lose({NodeId(6), NodeId(7), NodeId(8)});
    wait_until_all_is_known();
    const auto victim = step % 2 ? NodeId(4) : NodeId(5);
    const auto planned = plan_of(NodeId(4), left);
    ASSERT_EQ(rules(planned), "no_quorum") << r_->why();
    r_->world.disk(victim).power_off_after(step / 2);
    auto asked = ask_for(NodeId(4), planned->digest, left);
    r_->world.run_until([&] { return asked->answer.has_value() || !r_->world.running(victim); }, 5s);
    r_->world.run_for((step % 3) * 40ms);
    cut += r_->world.running(victim) ? 0 : 1;
    if (r_->world.running(victim)) r_->world.crash(victim);
    r_->world.run_for(1s);
    r_->world.start(victim);
    std::string digest = planned->digest, last;
    ASSERT_TRUE(r_->world.run_until([&] {
      if (are(left, GroupRole::kPrimary)) return true;
      if (!r_->world.running(NodeId(4)) || !r_->world.stream(NodeId(4))) return false;
      auto done = ended(ask_for(NodeId(4), digest, left));
      last = done.ok() ? "" : done.error().message;
      if (!done.ok() && last.find("plan_changed") != std::string::npos) {
        ++changed;
        if (const auto anew = plan_of(NodeId(4), left); anew.ok()) digest = anew->digest;
      }
      return are(left, GroupRole::kPrimary);
    }, 120s)) << last << r_->why();
    EXPECT_EQ(r_->world.member(NodeId(4))->group(), r_->world.member(NodeId(5))->group());
    EXPECT_EQ(r_->world.member(NodeId(4))->membership().voters, (std::set<NodeId>{NodeId(4), NodeId(5)}));
    EXPECT_EQ(changes(NodeId(4)).size(), 1u);
    r_->puts(NodeId(4), 3);
    r_->puts(NodeId(5), 3);
    if (HasFatalFailure()) return;
    // The lost come back and change nothing.
    for (const auto id : {NodeId(6), NodeId(7), NodeId(8)}) r_->world.start(id);
    ASSERT_TRUE(r_->world.run_until([&] {
      for (const auto id : {NodeId(6), NodeId(7), NodeId(8)})
        if (r_->world.service(id)->status().state != MemberState::kRemoved) return false;
      return true;
    }, 20s)) << r_->why();
    r_->puts(NodeId(5), 2);
  }
  EXPECT_GT(cut, test::kSanitized ? 0 : 4);
}

// One of the two dies for good in the middle: the other alone.
TEST_F(Survivor, OneThatDiesInTheMiddleIsLeftOutNextTime) {
  for (std::uint64_t step = 0; step < 12; step += test::kSanitized ? 5 : 1) {
    SCOPED_TRACE("step " + std::to_string(step));
    make(900 + step);
    r_->world.lose(GroupRole::kPrimary);
    r_->world.network.tamper = [](NodeId, NodeId, Lane lane, Bytes bytes) { return lane == Lane::kConsensus ? Bytes() : bytes; };
    lose({NodeId(6)});
    wait_until_all_is_known();
    const std::vector<NodeId> both{NodeId(4), NodeId(5)};
    const auto planned = plan_of(NodeId(4), both);
    ASSERT_EQ(rules(planned), "no_quorum") << r_->why();
    const auto asked = ask_for(NodeId(4), planned->digest, both);
    r_->world.run_for(300ms + step * 20ms);
    r_->world.network.tamper = nullptr;
    r_->world.run_for(step * 50ms);
    r_->world.crash(NodeId(5));
    r_->world.run_for(3s);
    ASSERT_TRUE(r_->world.run_until([&] {
      auto* m = r_->world.member(NodeId(4));
      if (m && m->role() == GroupRole::kPrimary && m->is_leader()) return true;
      (void)promote_these(NodeId(4), {NodeId(4)});
      return false;
    }, 120s)) << rules(plan_of(NodeId(4), {NodeId(4)})) << r_->why();
    r_->puts(NodeId(4), 3);
    // It was of the group that never came to be.
    r_->world.start(NodeId(5));
    r_->world.run_for(5s);
    EXPECT_FALSE(r_->world.member(NodeId(5))->is_leader());
    if (r_->world.member(NodeId(5))->group() != r_->world.member(NodeId(4))->group()) {
      EXPECT_NE(r_->world.member(NodeId(5))->role(), GroupRole::kPrimary);
    }
    r_->puts(NodeId(4), 3);
  }
}

// Each names another half: no member is of two groups, and where both become
// primary they are in two epochs.
TEST_F(Survivor, TwoOperatorsWithDifferentListsMakeNoTwoGroupsOfOneMember) {
  int primaries = 0;
  for (std::uint64_t seed = 0; seed < 12; seed += test::kSanitized ? 5 : 1) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    make(1000 + seed);
    r_->world.lose(GroupRole::kPrimary);
    r_->world.network.tamper = [](NodeId, NodeId, Lane lane, Bytes bytes) { return lane == Lane::kConsensus ? Bytes() : bytes; };
    wait_until_all_is_known();
    // Each operator's plan was made while the third was away.
    const auto hide = [&](NodeId away, NodeId from) {
      r_->world.network.cut(away, from);
      r_->world.network.cut(from, away);
    };
    hide(NodeId(6), NodeId(4));
    hide(NodeId(4), NodeId(6));
    const std::vector<NodeId> one{NodeId(4), NodeId(5)}, two{NodeId(5), NodeId(6)};
    const auto first = plan_of(NodeId(4), one), second = plan_of(NodeId(6), two);
    ASSERT_EQ(rules(first), "no_quorum");
    ASSERT_EQ(rules(second), "no_quorum");
    const auto a = ask_for(NodeId(4), first->digest, one);
    r_->world.run_for(seed * 7ms);
    const auto b = ask_for(NodeId(6), second->digest, two);
    r_->world.run_for(310ms);
    r_->world.network.tamper = nullptr;
    ASSERT_TRUE(r_->world.run_until([&] { return a->answer && b->answer; }, 60s)) << r_->why();
    EXPECT_FALSE((*a->answer).ok() && (*b->answer).ok()) << "node 5 is of both";
    primaries += (*a->answer).ok() || (*b->answer).ok();
    std::map<GroupId, int> leaders;
    for (const auto id : kStandbys)
      if (r_->world.member(id)->is_leader()) ++leaders[r_->world.member(id)->group()];
    for (const auto& [group, count] : leaders) EXPECT_EQ(count, 1) << group.value();
    EXPECT_EQ(r_->world.checkers.breach(), "");
  }
  EXPECT_GT(primaries, 0);
}

// The log that survivors go on with names the group that they were part of, until
// the entry by which they are another one: a newcomer may be there for a while.
TEST_F(Survivor, ANewcomerIsHeardWhileItsLogStillNamesTheGroupOfBefore) {
  r_ = std::make_unique<Story>(57);
  r_->world.adjust = [](node::MemberOptions& o) { o.raft.max_append_bytes = 500; };  // an entry or two at a time
  ASSERT_TRUE(r_->ready()) << r_->why();
  r_->puts(*r_->world.leader(), 40);
  ASSERT_TRUE(r_->world.run_until([&] { return r_->world.caught_up(); }, 20s)) << r_->why();
  r_->world.lose(GroupRole::kPrimary);
  const NodeId left(4), comes(5);
  lose({comes, NodeId(6)});
  wait_until_all_is_known();
  const auto done = promote_these(left, {left});
  ASSERT_TRUE(done.ok()) << done.error().message;
  r_->world.expect_changes();
  r_->world.wipe(comes);
  r_->world.start(comes);
  const auto change = [&](node::MemberChange wanted) {
    std::optional<Result<Index>> changed;
    r_->world.member(left)->change_members(std::move(wanted), r_->world.client_loop(), [&](Result<Index> i) { changed = std::move(i); });
    if (!r_->world.run_until([&] { return changed.has_value(); }, 20s)) return Result<Index>(Error{Code::kDeadline, "no answer"});
    return *changed;
  };
  node::Node newcomer;
  for (const auto& n : r_->world.member(comes)->topology())
    if (n.id == comes) newcomer = n;
  ASSERT_TRUE(r_->world.run_until([&] { return change({.add = {newcomer}}).ok(); }, 20s)) << r_->why();
  ASSERT_TRUE(r_->world.run_until([&] { return change({.promote = {comes}}).ok(); }, 30s)) << r_->why();
  const auto group = r_->world.member(left)->group();
  ASSERT_TRUE(r_->world.run_until([&] { return r_->world.member(comes)->state().applied().point == r_->world.member(left)->state().applied().point; }, 20s)) << r_->why();
  EXPECT_EQ(r_->world.member(comes)->group(), group);
  const auto noted = [&] {
    const auto reading = wal::read_superblock(r_->world.disk(comes), "/data");
    return !reading.ok() || reading->current < 0 ? std::string("no superblock") : node::find_record(reading->copies[static_cast<std::size_t>(reading->current)].data.extra, "joins_group").value_or("");
  };
  EXPECT_NE(noted(), "") << "its state is not on its disk yet: a loss of power takes it back to the log of before";
  r_->world.crash(comes);
  r_->world.start(comes);
  ASSERT_TRUE(r_->world.run_until([&] { return r_->world.leader(GroupRole::kStandby) && r_->world.member(comes)->group() == group; }, 20s)) << r_->why();
  r_->world.stop(comes);  // and with it its state is flushed
  r_->world.start(comes);
  r_->world.run_for(3s);
  EXPECT_EQ(noted(), "") << "its group may be another one by the next start";
  r_->world.crash(comes);
  r_->world.start(comes);
  ASSERT_TRUE(r_->world.run_until([&] { return r_->world.leader(GroupRole::kStandby) && r_->world.member(comes)->group() == group; }, 20s)) << r_->why();
  r_->puts(*r_->world.leader(GroupRole::kStandby), 3);
  EXPECT_EQ(r_->world.checkers.breach(), "");
}

// A host comes back empty beside one of the group of before, which does not know yet
// that it is no member any more, and counts it as a learner.
TEST_F(Survivor, ANewcomerThatTheGroupOfBeforeToldToStartIsHeardByTheOneThatGoesOn) {
  make(62);
  r_->world.expect_changes();
  const NodeId left(4), before(5), comes(6);
  const auto change = [&](node::MemberChange wanted) {
    return r_->world.run_until([&] {
      std::optional<Result<Index>> changed;
      const auto leader = r_->leader();
      if (!leader) return false;
      r_->world.member(*leader)->change_members(wanted, r_->world.client_loop(), [&](Result<Index> i) { changed = std::move(i); });
      return r_->world.run_until([&] { return changed.has_value(); }, 20s) && changed->ok();
    }, 30s);
  };
  const auto newcomer = r_->world.spec(comes);
  r_->world.lose(comes);
  ASSERT_TRUE(change({.remove = {comes}})) << r_->why();
  ASSERT_TRUE(change({.add = {newcomer}})) << r_->why();
  r_->world.run_for(1s);
  r_->world.lose(GroupRole::kPrimary);
  r_->world.stop(before);  // and with it its state is flushed
  r_->world.lose(before);
  wait_until_all_is_known();
  const auto done = promote_these(left, {left});
  ASSERT_TRUE(done.ok()) << done.error().message;

  r_->world.come_back(before, false);
  r_->world.come_back(comes, true);
  r_->world.network.isolate(left, {before, comes});
  r_->world.start(before);
  r_->world.start(comes);
  ASSERT_TRUE(r_->world.run_until([&] { return r_->world.member(comes)->group() == r_->world.member(before)->group(); }, 20s)) << r_->why();
  EXPECT_NE(r_->world.member(comes)->group(), r_->world.member(left)->group());
  r_->world.network.heal();
  ASSERT_TRUE(change({.add = {newcomer}})) << r_->why();
  ASSERT_TRUE(change({.promote = {comes}})) << r_->why();
  EXPECT_EQ(r_->world.member(comes)->group(), r_->world.member(left)->group());
  r_->puts(comes, 3);
  EXPECT_EQ(r_->world.checkers.breach(), "");
}

// East's list is the one of its survivor since; whom that left out lives on, and
// never heard of it. What west serves reaches them all the same.
TEST_F(Survivor, TheOldMajorityHearsOfAnEpochOfARegionThatItsSurvivorsListLeftItOutOf) {
  make(63);
  r_->world.expect_changes();
  const NodeId left(1);
  const std::vector<NodeId> before{NodeId(2), NodeId(3)};
  for (const auto id : before) r_->world.lose(id);
  r_->world.run_for(6s);
  const auto planned = plan_of(left, {left});
  ASSERT_TRUE(planned.ok()) << planned.error().message;
  const auto done = ended(ask_for(left, planned->digest, {left}));
  ASSERT_TRUE(done.ok()) << done.error().message;
  ASSERT_TRUE(r_->world.run_until([&] {
    const auto leader = r_->leader();
    return leader && r_->world.member(*leader)->epoch() == done->epoch && r_->world.checkers.regions(GroupRole::kStandby).armed();
  }, 30s)) << r_->why();
  r_->puts(left, 5);
  r_->world.run_for(3s);
  for (const auto& n : r_->world.member(*r_->leader())->topology()) EXPECT_TRUE(n.id != before[0] && n.id != before[1]);
  r_->world.lose(left);
  r_->world.run_for(6s);
  const auto west = plan(*r_->leader());
  ASSERT_EQ(rules(west), "");
  const auto promoted = promote(*r_->leader(), west->digest);
  ASSERT_TRUE(promoted.ok()) << promoted.error().message;

  r_->world.adjust = [](node::MemberOptions& o) { o.limits.start_wait = 3s; };
  for (const auto id : before) {
    r_->world.come_back(id, false);
    r_->world.start(id);
  }
  for (int i = 0; i < 100; ++i) {
    const auto put = r_->world.put(before[i % 2], "old", "word", 150ms);
    r_->world.run_for(200ms);
    ASSERT_FALSE(put->ended && put->outcome.end == node::Outcome::End::kApplied) << r_->why();
  }
  EXPECT_TRUE(are(before, GroupRole::kFenced)) << r_->why();
  // They are a region that may follow, by the word of an operator.
  ASSERT_TRUE(r_->world.run_until([&] {
    for (const auto id : before)
      if (r_->world.member(id)->is_leader() && r_->world.member(id)->role() == GroupRole::kFenced) r_->world.stream(id)->rejoin();
    return are(before, GroupRole::kStandby) && r_->world.member(before[0])->epoch() == promoted->epoch;
  }, 30s)) << r_->why();
  EXPECT_EQ(r_->world.checkers.breach(), "");
}

// West's survivor is gone again, and who was left out of it is asked for a plan: east
// was promoted meanwhile, and says so.
TEST_F(Survivor, ThoseThatWereLeftOutAreNotPromotedBesideARegionThatServes) {
  make(64);
  r_->world.expect_changes();
  const NodeId left(4);
  const std::vector<NodeId> before{NodeId(5), NodeId(6)};
  r_->world.lose(GroupRole::kPrimary);
  for (const auto id : before) r_->world.lose(id);
  wait_until_all_is_known();
  const auto done = promote_these(left, {left});
  ASSERT_TRUE(done.ok()) << done.error().message;
  r_->puts(left, 5);
  r_->world.find(GroupRole::kPrimary);
  for (const auto id : kPrimaries) r_->world.start(id);
  ASSERT_TRUE(r_->world.run_until([&] {
    if (const auto east = r_->world.leader(); east && r_->world.member(*east)->role() == GroupRole::kFenced) r_->world.stream(*east)->rejoin();
    return are(kPrimaries, GroupRole::kStandby) && r_->world.checkers.regions(GroupRole::kPrimary).armed() && r_->world.leader();
  }, 30s)) << r_->why();
  r_->world.run_for(3s);
  r_->world.lose(left);
  r_->world.run_for(6s);
  const NodeId east = *r_->world.leader();
  const auto planned = plan(east);
  ASSERT_EQ(rules(planned), "");
  const auto promoted = promote(east, planned->digest);
  ASSERT_TRUE(promoted.ok()) << promoted.error().message;

  for (const auto id : before) {
    r_->world.come_back(id, false);
    r_->world.start(id);
  }
  const auto leading = [&] {
    const auto it = std::find_if(before.begin(), before.end(), [&](NodeId id) { return r_->world.member(id) && r_->world.member(id)->is_leader(); });
    return it == before.end() ? NodeId() : *it;
  };
  ASSERT_TRUE(r_->world.run_until([&] { return leading() != NodeId(); }, 30s)) << r_->why();
  for (int i = 0; i < 10; ++i) {
    r_->world.run_for(1s);
    if (const auto id = leading(); id) {
      EXPECT_NE(rules(plan(id)), "");
    }
  }
  EXPECT_EQ(r_->world.checkers.breach(), "");
}

// A survivor that is fenced itself was told of a newer epoch; its own is older than
// that of those whom it left out, and they stay members.
TEST_F(Survivor, WhoOnlyHeardOfANewerEpochSendsNobodyAway) {
  make(65);
  r_->world.expect_changes();
  const NodeId left(4);
  const std::vector<NodeId> before{NodeId(5), NodeId(6)};
  r_->world.lose(GroupRole::kPrimary);
  for (const auto id : before) r_->world.lose(id);
  wait_until_all_is_known();
  const auto done = promote_these(left, {left});
  ASSERT_TRUE(done.ok()) << done.error().message;
  r_->world.lose(left);
  for (const auto id : before) {
    r_->world.come_back(id, false);
    r_->world.start(id);
  }
  const auto forced = [&](const std::vector<NodeId>& ids, Epoch epoch) {
    return r_->world.run_until([&] {
      for (const auto id : ids) {
        auto* m = r_->world.member(id);
        if (!m || !m->is_leader() || m->epoch() == epoch) continue;
        auto change = r_->world.change_at(id, region::Ending::kForced);
        change.epoch = epoch;
        (void)r_->world.propose(id, change);
      }
      return std::all_of(ids.begin(), ids.end(), [&](NodeId id) { return r_->world.member(id) && r_->world.member(id)->epoch() == epoch; });
    }, 20s);
  };
  ASSERT_TRUE(forced(before, done->epoch + 1000)) << r_->why();
  r_->world.find(GroupRole::kPrimary);
  for (const auto id : kPrimaries) r_->world.start(id);
  r_->world.come_back(left, false);
  r_->world.start(left);
  ASSERT_TRUE(r_->world.run_until([&] { return r_->world.member(left)->role() == GroupRole::kFenced && r_->world.leader(); }, 20s)) << r_->why();
  ASSERT_TRUE(forced(kPrimaries, done->epoch + 2000)) << r_->why();
  r_->world.run_for(10s);
  for (const auto id : before) EXPECT_NE(r_->world.service(id)->status().state, MemberState::kRemoved) << "node " << id.value();
}

// Nobody gives a stamp any more from when they are a group of their own; those
// that are out count as long as the lease.
TEST_F(Survivor, WhoWereArmedByLeaseWaitItOut) {
  ASSERT_NO_FATAL_FAILURE(make_leased(58, 8s, 3));
  r_->world.run_for(4s);
  const NodeId left(4), east(*r_->world.leader());
  for (const auto a : kPrimaries) r_->world.network.isolate(a, kStandbys);
  lose({NodeId(5), NodeId(6)});
  const auto lost_at = r_->world.clock(left).now();
  std::optional<Instant> last_east, first_west;
  std::shared_ptr<Asked> asked;
  for (int i = 0; i < 3000 && (!first_west || r_->world.clock(left).now() - *first_west < 10s); ++i) {
    if (!asked && r_->world.clock(left).now() - lost_at > 1s) {
      const auto planned = plan_of(left, {left});
      if (planned.ok() && (rules(planned) == "no_quorum" || rules(planned) == "primary_heard no_quorum")) {
        std::vector<std::string> all;
        for (const auto& refusal : planned->refusals) all.push_back(refusal.rule);
        asked = ask_for(left, planned->digest, {left}, all);
      }
    }
    auto put = r_->world.put(east, "east", "v", 100ms);
    r_->world.run_for(20ms);
    if (put->ended && put->outcome.end == node::Outcome::End::kApplied) last_east = r_->world.clock(left).now();
    if (!first_west && r_->world.member(left)->role() == GroupRole::kPrimary) first_west = r_->world.clock(left).now();
  }
  ASSERT_TRUE(first_west) << r_->why();
  ASSERT_TRUE(last_east) << "east acknowledged nothing at all";
  EXPECT_LE(*last_east, *first_west);
  EXPECT_EQ(r_->world.checkers.breach(), "");
}

// While they wait a lease out nothing is appended and nothing flushed: what a member
// noted has to stay until the entry is in its state for good.
TEST_F(Survivor, AMemberThatLosesPowerWhileTheyWaitIsHeardAgain) {
  ASSERT_NO_FATAL_FAILURE(make_leased(61, 4s, 4));
  r_->puts(*r_->world.leader(), 5);
  std::vector<NodeId> left, others;
  for (const auto id : r_->world.of(GroupRole::kStandby)) (id != *r_->leader() && left.size() < 2 ? left : others).push_back(id);
  r_->world.lose(GroupRole::kPrimary);
  for (const auto id : left) {  // followers: no election, and their state is on their disks as far as their log goes
    r_->world.stop(id);
    r_->world.start(id);
    r_->world.run_for(2s);
  }
  lose(others);
  wait_until_all_is_known();
  const auto before = r_->world.member(left[0])->group();
  const auto planned = plan_of(left[0], left);
  ASSERT_EQ(rules(planned), "no_quorum");
  const auto asked = ask_for(left[0], planned->digest, left);
  const auto regrouped = [&](NodeId id) { return r_->world.member(id)->group() != before && r_->world.member(id)->regions()->control().regrouped; };
  ASSERT_TRUE(r_->world.run_until([&] { return r_->world.leader(GroupRole::kStandby) && regrouped(left[0]) && regrouped(left[1]); }, 20s)) << r_->why();
  r_->world.run_for(1s);
  ASSERT_FALSE(asked->answer) << "they did not wait";
  const auto follower = r_->world.leader(GroupRole::kStandby) == left[0] ? left[1] : left[0];
  r_->world.crash_hard(follower);
  r_->world.start(follower);
  ASSERT_TRUE(r_->world.run_until([&] { return are(left, GroupRole::kPrimary); }, 40s)) << r_->why();
  EXPECT_EQ(r_->world.checkers.breach(), "");
}

TEST_F(Survivor, WhoHasJustStartedCallsNoPrimarySilent) {
  make(59);
  const NodeId left(4);
  for (const auto a : kPrimaries) r_->world.network.isolate(a, kStandbys);
  lose({NodeId(5), NodeId(6)});
  r_->world.run_for(6s);
  EXPECT_EQ(rules(plan_of(left, {left})), "no_quorum");
  r_->world.crash(left);
  r_->world.start(left);
  r_->world.run_for(500ms);
  const auto early = plan_of(left, {left});
  EXPECT_EQ(rules(early), "primary_heard no_quorum");
  EXPECT_TRUE(early.ok() && early->too_early);
  r_->world.run_for(6s);
  EXPECT_EQ(rules(plan_of(left, {left})), "no_quorum");
}

// The region that it was sealed for may serve.
TEST_F(Survivor, OfASealedPrimaryTheSealRefusesToo) {
  make(60);
  const auto east = *r_->world.leader();
  std::optional<Result<SwitchoverRecord>> over;
  r_->world.run_for(3s);  // west has said that it is well
  for (const auto a : kPrimaries) r_->world.network.isolate(a, kStandbys);
  r_->world.stream(east)->handover().switchover({}, r_->world.client_loop(), [&](Result<SwitchoverRecord> r) { over = std::move(r); });
  ASSERT_TRUE(r_->world.run_until([&] { return r_->world.member(east)->sealed(); }, 5s)) << r_->why();
  std::vector<NodeId> others;
  for (const auto id : kPrimaries)
    if (id != east) others.push_back(id);
  lose(others);
  wait_until_all_is_known();
  const auto planned = plan_of(east, {east});
  EXPECT_EQ(rules(planned), "sealed no_quorum");
  const auto refused = ended(ask_for(east, planned->digest, {east}));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().message.find("sealed: "), 0u) << refused.error().message;
}

}  // namespace
}  // namespace leeward::standby
