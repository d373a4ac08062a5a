// What a plan says from what the voters know.
#include "standby/plan.h"

#include <functional>

#include <gtest/gtest.h>

namespace leeward::standby {
namespace {

constexpr GroupId kEast(1), kWest(2);
constexpr region::ArmingId kArming = 11;

Position point_at(std::uint64_t i) { return {HistoryIndex(i), sha256(std::to_string(i)), i * 2, i * 300}; }

// West follows east up to 100 and is armed; node 5 has the newest answer.
class Plan : public ::testing::Test {
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

// Who consents to a loss of a millisecond has not consented to one without bound.
TEST_F(Plan, ALossWithoutBoundIsAnotherPlanWhileThePrimaryIsHeardToo) {
  for (auto& t : facts_.said) t.heard = true;
  const auto bounded = make_plan(facts_);
  EXPECT_EQ(bounded.digest, make_plan(facts_).digest);
  for (auto& t : facts_.said) t.stamp.reset();
  EXPECT_NE(make_plan(facts_).digest, bounded.digest);
}

TEST_F(Plan, OfOneAnswerTheVoterThatAskedLastKnowsTheAge) {
  facts_.said = {said(4, 9, 110, 900ms), said(5, 9, 110, 700ms), said(6, 9, 110, 800ms)};
  EXPECT_EQ(make_plan(facts_).unknown_for, 700ms);
}

// Behind it other history stands at the same indices, and less of it.
TEST_F(Plan, AWayBackMakesAnotherPlan) {
  const auto before = make_plan(facts_).digest;
  auto control = log_.control();
  control.followed_at = Index(7);
  log_ = region::State(control, log_.history(), log_.end());
  EXPECT_NE(make_plan(facts_).digest, before);
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

TEST_F(Plan, WhileThePrimaryIsHeardTheDigestIsNotOverWhatMovesOn) {
  const auto silent = make_plan(facts_).digest;
  facts_.said[2].heard = true;
  const auto heard = make_plan(facts_).digest;
  EXPECT_NE(heard, silent) << "that it is heard is part of it";
  facts_.said[1].stamp->counter = 99;
  facts_.committed = point_at(101);
  EXPECT_EQ(make_plan(facts_).digest, heard);
  facts_.said[1].newest_epoch = Epoch(4);
  EXPECT_NE(make_plan(facts_).digest, heard);
}

TEST_F(Plan, ItsChangeIsOneThatTheLogAllows) {
  const auto plan = make_plan(facts_);
  const auto change = change_for(plan, log_, 77, 5);
  EXPECT_TRUE(log_.judge(change).ok()) << log_.judge(change).error().message;
  EXPECT_EQ(change.fork.index, HistoryIndex(101)) << "the log's end, uncommitted included";
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

// --- by force ---

struct Refusing {
  const char* rule;
  std::function<void(PlanFacts&, region::State&)> make;
};
std::vector<Refusing> forceable_rules() {
  return {
      {"sealed",
       [](PlanFacts& f, region::State& log) {
         f.role = GroupRole::kPrimary;
         auto history = log.history();
         history.seal = region::Seal{21, kEast, kArming};
         history.armed->group = kWest;
         log = region::State({.group = kWest, .role = GroupRole::kPrimary}, history, log.end());
       }},
      {"primary_heard", [](PlanFacts& f, region::State&) { f.said[2].heard = true; }},
      {"not_armed", [](PlanFacts&, region::State& log) { log = region::State(log.control(), {}, log.end()); }},
      {"newer_epoch", [](PlanFacts& f, region::State&) { f.said[0].newest_epoch = Epoch(900); }},
      {"corruption", [](PlanFacts& f, region::State&) { f.said[1].damage = "other history"; }},
  };
}

TEST_F(Plan, EachRuleIsForcedByItsNameAndByNoOther) {
  const auto log = log_;
  const auto facts = facts_;
  for (const auto& refusing : forceable_rules()) {
    SCOPED_TRACE(refusing.rule);
    log_ = log;
    facts_ = facts;
    facts_.log = &log_;
    refusing.make(facts_, log_);
    ASSERT_EQ(rules(), refusing.rule);
    const auto plan = make_plan(facts_);
    EXPECT_TRUE(plan.refusals[0].forceable);
    EXPECT_TRUE(plan.drawn);
    const auto unforced = forced_by(plan, {}, true);
    ASSERT_FALSE(unforced.ok());
    EXPECT_EQ(unforced.error().code, Code::kRefused);
    EXPECT_NE(unforced.error().message.find(std::string("--force ") + refusing.rule), std::string::npos) << unforced.error().message;
    for (const auto& other : forceable_rules())
      if (std::string(other.rule) != refusing.rule) {
        EXPECT_FALSE(forced_by(plan, {other.rule}, true).ok()) << other.rule;
      }
    const auto forced = forced_by(plan, {refusing.rule}, true);
    ASSERT_TRUE(forced.ok()) << forced.error().message;
    EXPECT_TRUE(forced->empty());
    for (const std::uint64_t draw : {std::uint64_t{0}, std::uint64_t{1022}, UINT64_MAX}) {
      const auto change = change_for(plan, log_, 77, draw);
      EXPECT_EQ(change.ending, region::Ending::kForced);
      EXPECT_TRUE(change.announced.more);
      EXPECT_GE(change.epoch, plan.known + 2);
      EXPECT_LE(change.epoch, plan.known + 1024);
      EXPECT_TRUE(log_.judge(change).ok()) << log_.judge(change).error().message;
    }
  }
}

TEST_F(Plan, WhoHasJustBegunToListenCallsNobodySilent) {
  for (auto& t : facts_.said) t.stamp.reset();
  facts_.listens_for = 1500ms;
  const auto plan = make_plan(facts_);
  EXPECT_EQ(rules(), "primary_heard");
  EXPECT_TRUE(plan.too_early);
  EXPECT_NE(plan.refusals[0].detail.find("ask again in 2 s"), std::string::npos) << plan.refusals[0].detail;
  facts_.said[1] = said(5, 9, 110, 700ms);
  EXPECT_EQ(rules(), "") << "one of them has heard it, and does no more";
}

TEST_F(Plan, APlanThatNobodyHasSeenIsRefusedWithoutTheWayToForceIt) {
  facts_.said[2].heard = true;
  const auto refused = forced_by(make_plan(facts_), {}, false);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().message.find("--force"), std::string::npos) << refused.error().message;
  EXPECT_NE(refused.error().message.find("leewardctl dr plan"), std::string::npos) << refused.error().message;
}

TEST_F(Plan, APrimaryThatMayHaveJustDiedIsAskedAboutAgain) {
  for (auto& t : facts_.said) t.heard = true;
  auto plan = make_plan(facts_);
  EXPECT_FALSE(plan.too_early);
  EXPECT_EQ(plan.refusals[0].detail.find("old"), std::string::npos) << plan.refusals[0].detail;
  for (auto& t : facts_.said) t.age = 3s;
  plan = make_plan(facts_);
  EXPECT_TRUE(plan.too_early);
  EXPECT_NE(plan.refusals[0].detail.find("3000 ms old"), std::string::npos) << plan.refusals[0].detail;
}

TEST_F(Plan, SeveralRulesAreAllToBeNamed) {
  facts_.said[2].heard = true;
  facts_.said[1].damage = "other history";
  const auto plan = make_plan(facts_);
  EXPECT_FALSE(forced_by(plan, {"primary_heard"}, true).ok());
  EXPECT_FALSE(forced_by(plan, {"corruption"}, true).ok());
  EXPECT_TRUE(forced_by(plan, {"corruption", "primary_heard"}, true).ok());
}

TEST_F(Plan, ARuleThatDoesNotRefuseMayBeNamedAndIsTold) {
  const auto idle = forced_by(make_plan(facts_), {"not_armed"}, true);
  ASSERT_TRUE(idle.ok()) << idle.error().message;
  EXPECT_EQ(*idle, std::vector<std::string>{"not_armed"});
  EXPECT_EQ(change_for(make_plan(facts_), log_, 77, 5).ending, region::Ending::kGuarded) << "nothing was forced by it";
}

TEST_F(Plan, AGroupWithoutAStateIsPromotedByNoForce) {
  facts_.stateless = {NodeId(6)};
  EXPECT_EQ(rules(), "") << "the others have theirs";
  facts_.leader_stateless = true;
  EXPECT_EQ(rules(), "no_state");
  EXPECT_EQ(forced_by(make_plan(facts_), {"no_state"}, true).error().code, Code::kInvalid);
  facts_.leader_stateless = false;
  facts_.stateless = {NodeId(5), NodeId(6)};
  EXPECT_EQ(rules(), "no_state");
}

TEST_F(Plan, WithoutAQuorumOrWhileItServesNoForceHelps) {
  facts_.said.resize(1);
  EXPECT_EQ(rules(), "no_quorum");
  const auto quorum = forced_by(make_plan(facts_), {"no_quorum"}, true);
  ASSERT_FALSE(quorum.ok());
  EXPECT_NE(quorum.error().message.find("--members"), std::string::npos) << quorum.error().message;
  facts_.role = GroupRole::kPrimary;
  facts_.said = {said(4, 7, 103, 900ms), said(5, 9, 110, 700ms)};
  EXPECT_EQ(rules(), "serving");
  const auto serving = forced_by(make_plan(facts_), {"serving"}, true);
  ASSERT_FALSE(serving.ok());
  EXPECT_EQ(serving.error().code, Code::kInvalid);
  EXPECT_FALSE(forced_by(make_plan(facts_), {}, true).ok());
}

TEST_F(Plan, AContestedGroupIsNotForcedButDecided) {
  auto control = log_.control();
  control.contested = region::Survivor{Epoch(3), 9};
  log_ = region::State(control, log_.history(), log_.end());
  EXPECT_EQ(rules(), "contested");
  EXPECT_FALSE(make_plan(facts_).refusals[0].forceable);
  EXPECT_FALSE(forced_by(make_plan(facts_), {"contested"}, true).ok());
}

// --- survivors ---

class SurvivorPlan : public ::testing::Test {
 protected:
  SurvivorPlan() {
    facts_.members = {NodeId(4), NodeId(5)};
    say(4, 7, 100, 103);
    say(5, 7, 98, 110);
  }
  void say(std::uint64_t id, std::uint64_t term, std::uint64_t index, std::uint64_t heard_commit) {
    auto& said = facts_.said[NodeId(id)];
    said.stand.incarnation = Incarnation(id);
    said.stand.group = kWest;
    said.stand.term = Term(term);
    said.stand.end = {Term(term), Index(index)};
    said.stand.position = point_at(index);
    said.stand.epoch = Epoch(1);
    said.stand.role = GroupRole::kStandby;
    said.stand.may = true;
    said.testimony.voter = NodeId(id);
    said.testimony.stamp = Stamp{Epoch(1), Term(3), heard_commit};
    said.testimony.committed = point_at(heard_commit);
    said.testimony.age = 1s;
    said.testimony.newest_epoch = Epoch(1);
  }
  std::string rules() const {
    std::string out;
    for (const auto& r : make_plan(facts_).refusals) out += (out.empty() ? "" : " ") + r.rule + (r.forceable ? "" : "!");
    return out;
  }
  SurvivorFacts facts_;
};

TEST_F(SurvivorPlan, TheHighestEndLeadsByTermBeforeIndex) {
  EXPECT_EQ(rules(), "no_quorum");
  EXPECT_EQ(make_plan(facts_).position, point_at(100));
  EXPECT_EQ(make_plan(facts_).loss, (KnownLoss{20, 10, 3000})) << "of what a primary was heard to have";
  say(5, 8, 97, 110);
  EXPECT_EQ(make_plan(facts_).position, point_at(97)) << "a later term's leader had all that was committed before";
  const auto regroup = regroup_for(make_plan(facts_), facts_, {}, 0);
  EXPECT_EQ(regroup.leader, NodeId(5));
  EXPECT_EQ(regroup.term, Term(9)) << "above all that they know";
  EXPECT_EQ(regroup.members.at(NodeId(4)).end, (node::LogEnd{Term(7), Index(100)}));
  EXPECT_TRUE(regroup.become.announced.more);
  EXPECT_NE(regroup.become.group, kWest);
  EXPECT_EQ(regroup_for(make_plan(facts_), facts_, {}, 5).become.group, regroup.become.group) << "said again it is the same group";
}

TEST_F(SurvivorPlan, AWrongListIsNeverForced) {
  facts_.said[NodeId(4)].stand.leader = NodeId(4);
  EXPECT_EQ(rules(), "quorum!");
  facts_.said[NodeId(4)].stand.leader = {};
  facts_.said[NodeId(5)].stand.may = false;
  EXPECT_EQ(rules(), "unfit! no_quorum");
  facts_.said.erase(NodeId(5));
  EXPECT_EQ(rules(), "silent! no_quorum");
  say(5, 7, 98, 110);
  say(6, 7, 98, 110);
  EXPECT_EQ(rules(), "left_out! no_quorum");
  for (const auto* rule : {"quorum", "unfit", "silent", "left_out"}) EXPECT_FALSE(forced_by(make_plan(facts_), {"no_quorum", rule}, true).ok()) << rule;
}

// What is left of the group before is no region to be promoted beside the one that it became.
TEST_F(SurvivorPlan, WhereTheRegionGoesOnAsAnotherGroupNobodyIsToldToBeOne) {
  say(6, 9, 98, 110);
  facts_.said[NodeId(6)].stand.group = GroupId(99);
  EXPECT_EQ(rules(), "no_quorum") << "it is led by nobody either";
  facts_.said[NodeId(6)].stand.leader = NodeId(7);
  EXPECT_EQ(rules(), "quorum! no_quorum");
}

TEST_F(SurvivorPlan, EachRuleThatMayBeForcedIsToBeNamed) {
  EXPECT_FALSE(forced_by(make_plan(facts_), {}, true).ok());
  EXPECT_TRUE(forced_by(make_plan(facts_), {"no_quorum"}, true).ok());
  facts_.said[NodeId(4)].testimony.heard = true;
  facts_.said[NodeId(5)].testimony.damage = "other history";
  facts_.said[NodeId(5)].testimony.newest_epoch = Epoch(6);
  EXPECT_EQ(rules(), "primary_heard no_quorum newer_epoch corruption");
  const auto plan = make_plan(facts_);
  EXPECT_EQ(plan.to, Epoch(8));
  EXPECT_EQ(plan.unknown_for, std::nullopt);
  EXPECT_FALSE(forced_by(plan, {"no_quorum", "primary_heard", "newer_epoch"}, true).ok());
  EXPECT_TRUE(forced_by(plan, {"no_quorum", "primary_heard", "newer_epoch", "corruption"}, true).ok());
}

TEST_F(SurvivorPlan, OfAPrimaryNobodyKnowsWhatTheLostHad) {
  for (auto& [id, said] : facts_.said) said.stand.role = GroupRole::kPrimary;
  EXPECT_EQ(make_plan(facts_).unknown_for, std::nullopt);
  EXPECT_EQ(make_plan(facts_).loss, KnownLoss{});
}

TEST_F(SurvivorPlan, TheDigestIsOverTheListAndWhereEachStands) {
  const auto digest = make_plan(facts_).digest;
  auto other = facts_;
  other.said[NodeId(4)].testimony.age += 1min;
  other.said[NodeId(4)].stand.term = Term(70);
  EXPECT_EQ(make_plan(other).digest, digest);
  other = facts_;
  other.members = {NodeId(4)};
  EXPECT_NE(make_plan(other).digest, digest);
  other = facts_;
  other.said[NodeId(5)].stand.end.index = Index(99);
  EXPECT_NE(make_plan(other).digest, digest);
  other = facts_;
  other.said[NodeId(5)].stand.incarnation = Incarnation(99);
  EXPECT_NE(make_plan(other).digest, digest);
  other = facts_;
  other.said[NodeId(5)].stand.group = kEast;
  EXPECT_NE(make_plan(other).digest, digest);
}

TEST_F(Plan, OfANewerEpochAllIsLostAndItsNumberIsPartOfTheDigest) {
  const auto before = make_plan(facts_).digest;
  facts_.said[0].newest_epoch = Epoch(5);
  const auto plan = make_plan(facts_);
  EXPECT_EQ(plan.known, Epoch(5));
  EXPECT_EQ(plan.to, Epoch(7)) << "the least that is drawn";
  EXPECT_EQ(plan.unknown_for, std::nullopt);
  EXPECT_NE(plan.digest, before);
  facts_.said[0].newest_epoch = Epoch(6);
  EXPECT_NE(make_plan(facts_).digest, plan.digest) << "another epoch has come since";
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

// Of a primary's three members 1 has begun anew beside 3, which kept its disk.
SurvivorFacts two_groups(std::vector<NodeId> named) {
  SurvivorFacts facts;
  facts.region = "east";
  facts.members = std::move(named);
  const auto stands = [](GroupId group, std::uint64_t end, Epoch epoch) {
    SurvivorFacts::Said said;
    said.stand.incarnation = Incarnation(end);
    said.stand.group = group;
    said.stand.end = {Term(1), Index(end)};
    said.stand.position = point_at(end);
    said.stand.epoch = epoch;
    said.stand.may = true;
    return said;
  };
  facts.said[NodeId(1)] = stands(kEast, 33, Epoch(2));
  facts.said[NodeId(3)] = stands(GroupId(7), 46, Epoch(1));
  return facts;
}
std::string rules_of(const SurvivorFacts& facts) {
  std::string out;
  for (const auto& r : make_plan(facts).refusals) out += (out.empty() ? "" : " ") + r.rule;
  return out;
}

TEST(SurvivorsOfTwoGroups, AreNotMadeOne) {
  EXPECT_EQ(rules_of(two_groups({NodeId(1), NodeId(3)})), "other_group no_quorum");
  for (const auto& r : make_plan(two_groups({NodeId(1), NodeId(3)})).refusals)
    if (r.rule == "other_group") EXPECT_FALSE(r.forceable);
}

TEST(SurvivorsOfTwoGroups, AreNotMissedOfTheOther) {
  EXPECT_EQ(rules_of(two_groups({NodeId(1)})), "no_quorum");
  auto same = two_groups({NodeId(1)});
  same.said[NodeId(3)].stand.group = kEast;
  EXPECT_EQ(rules_of(same), "left_out no_quorum");
}

// Half of them have begun already, as another group: the same command is repeated.
TEST(SurvivorsOfTwoGroups, WhoTakesPartInARegroupingIsOfBoth) {
  auto facts = two_groups({NodeId(1), NodeId(3)});
  facts.said[NodeId(1)].stand.plan = "of the first attempt";
  EXPECT_EQ(rules_of(facts), "no_quorum");
}

}  // namespace
}  // namespace leeward::standby
