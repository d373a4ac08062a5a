// What `dr status` says that an operator should do next, for each state to be in.
#include <boost/json/parse.hpp>
#include <gtest/gtest.h>

#include "api/recovery.h"

namespace leeward::api {
namespace {

using boost::json::object;

// East with members 1 to 3 is primary, west with 11 to 13 follows; `self` answers.
struct Regions {
  explicit Regions(NodeId self) {
    status.self = self;
    for (const std::uint64_t id : {1, 2, 3, 11, 12, 13}) {
      MemberStatus m;
      m.id = NodeId(id);
      m.region = id < 10 ? "east" : "west";
      m.role = id < 10 ? GroupRole::kPrimary : GroupRole::kStandby;
      m.state = MemberState::kFollower;
      m.voter = m.admitted = m.healthy = true;
      m.report_age = 0s;
      status.members.push_back(m);
    }
    status.role = self.value() < 10 ? GroupRole::kPrimary : GroupRole::kStandby;
    status.state = MemberState::kFollower;
    status.epoch = status.newest_epoch = Epoch(1);
    status.leader = self.value() < 10 ? NodeId(1) : NodeId(11);
    status.armed_region = "west";
    status.primary_heard = true;
    status.primary_silence = 20ms;
  }
  void down(std::initializer_list<std::uint64_t> ids) {
    for (auto& m : status.members)
      if (std::find(ids.begin(), ids.end(), m.id.value()) != ids.end()) {
        m.healthy = false;
        m.report_age = 10s;
      }
  }
  object told() const { return boost::json::parse(*dr_status_json(status, {})).as_object(); }
  std::string next() const { return std::string(told().at("next_command").as_string()); }
  std::string state() const { return std::string(told().at("state").as_string()); }
  std::string warnings() const {
    std::string out;
    const auto all = told();
    for (const auto& w : all.at("warnings").as_array()) out += std::string(w.as_string()) + "\n";
    return out;
  }
  NodeStatus status;
};

bool holds(const std::string& text, const std::string& part) { return text.find(part) != text.npos; }

TEST(DrStatus, WhereAllIsWellNothingIsToBeDone) {
  for (const std::uint64_t self : {1, 11}) {
    const Regions r{NodeId(self)};
    EXPECT_EQ(r.next(), "");
    EXPECT_EQ(r.warnings(), "");
  }
}

TEST(DrStatus, WithoutAMajorityItNamesWhoIsToBeStartedBeforeWhatLosesHistory) {
  Regions r{NodeId(3)};
  r.status.leader = NodeId();
  r.down({1, 2});
  EXPECT_EQ(r.state(), "no_quorum");
  const auto next = r.next();
  EXPECT_EQ(next.find("start members 1, 2 with their disks"), 0u) << next;
  EXPECT_LT(next.find("promote region west: leewardctl dr plan"), next.find("only where they are lost for good: leewardctl dr plan --members 3")) << next;
  r.down({11, 12});
  EXPECT_FALSE(holds(r.next(), "promote region west")) << r.next();
}

TEST(DrStatus, AnElectionIsNoLossOfTheMajority) {
  Regions r{NodeId(3)};
  r.status.leader = NodeId();
  EXPECT_EQ(r.state(), "electing");
  EXPECT_FALSE(holds(r.next(), "dr plan")) << r.next();
}

TEST(DrStatus, ANodeThatHasJustStartedCallsNobodyLost) {
  Regions r{NodeId(3)};
  r.status.role = GroupRole::kFenced;
  r.status.leader = NodeId();
  r.status.up = 1s;
  for (auto& m : r.status.members)
    if (m.id != NodeId(3)) m.report_age.reset();
  EXPECT_EQ(r.next().find("leewardctl dr status (this node has just started"), 0u) << r.next();
  EXPECT_EQ(r.warnings(), "");
  r.status.up = 6s;
  EXPECT_NE(r.warnings(), "");
}

TEST(DrStatus, ANodeThatTakesPartInNoGroupSaysWhatItWaitsFor) {
  Regions r{NodeId(3)};
  r.status.leader = NodeId();
  r.status.state = MemberState::kWaiting;
  r.status.waiting_for = "another region to serve";
  r.down({1, 2});
  EXPECT_EQ(r.state(), "waiting");
  EXPECT_EQ(r.told().at("waiting_for").as_string(), "another region to serve");
  EXPECT_FALSE(holds(r.next(), "--members")) << r.next();
  EXPECT_EQ(r.warnings(), "") << "it hears of nobody, whoever is up";
}

// Only a leader admits, and there may be none: who is there says what is to be done.
TEST(DrStatus, AnEmptyMemberOfAGroupThatIsThereNamesThatMember) {
  Regions r{NodeId(3)};
  r.status.leader = NodeId();
  r.status.state = MemberState::kWaiting;
  r.status.waits_for = WaitsFor::kAdmission;
  EXPECT_EQ(r.next(), "leewardctl member admit 3, at that member");
  r.status.waits_for = WaitsFor::kOther;  // too few of that group are there to take it in
  for (auto& m : r.status.members)
    if (m.id == NodeId(1)) m.client_url = "http://h1:2379";
  EXPECT_EQ(r.next(), "leewardctl --endpoints http://h1:2379 dr status");
}

TEST(DrStatus, AnUnguardedEpochIsToldBeforeSomebodyWantsASwitchover) {
  Regions r{NodeId(1)};
  EXPECT_FALSE(r.told().at("unguarded").as_bool());
  r.status.unguarded = true;
  EXPECT_TRUE(r.told().at("unguarded").as_bool());
}

TEST(DrStatus, ANodeThatIsToBeAddedNamesTheWholeCommand) {
  Regions r{NodeId(3)};
  r.status.leader = NodeId();
  r.status.state = MemberState::kWaiting;
  r.status.waits_for = WaitsFor::kAdding;
  for (auto& m : r.status.members)
    if (m.id == NodeId(3)) m.name = "a3", m.zone = "c", m.peer_address = "h3:2380", m.client_url = "http://h3:2379";
  EXPECT_EQ(r.next(), "leewardctl member add 3 --name a3 --region east --zone c --peer-url h3:2380 --client-url http://h3:2379, at that member");
}

TEST(DrStatus, APromotionIsNamedWhenThePrimaryWasSilentForLongEnough) {
  Regions r{NodeId(12)};
  r.status.primary_heard = false;
  r.status.primary_silence = 42s;
  EXPECT_EQ(r.next().find("leewardctl dr status"), 0u) << r.next();
  r.status.primary_silent = true;
  EXPECT_EQ(r.next(), "leewardctl dr plan");
}

TEST(DrStatus, ASealedPrimaryNamesWhoseAnswerItWaitsFor) {
  Regions r{NodeId(1)};
  r.status.sealed = true;
  EXPECT_EQ(r.next(), "leewardctl dr abort");
  r.down({11, 12});
  EXPECT_EQ(r.next().find("start members 11, 12 of region west"), 0u) << r.next();
}

TEST(DrStatus, AFencedRegionThatLostItsDisksIsToldHowItFollows) {
  Regions r{NodeId(3)};
  r.status.role = GroupRole::kFenced;
  EXPECT_EQ(r.next(), "leewardctl dr rejoin");
  r.status.leader = NodeId();
  for (const bool there : {false, true}) {  // off, or on empty disks
    if (!there) r.down({1, 2});
    for (auto& m : r.status.members)
      if (there && m.id.value() < 3) {
        m.report_age = 0s;
        m.state = MemberState::kWaiting;
        m.voter = m.admitted = false;
      }
    EXPECT_TRUE(holds(r.next(), "empty the directory of member 3 too")) << there << ": " << r.next();
  }
}

TEST(DrStatus, AFencedRegionWhoseSuccessorIsLostToo) {
  Regions r{NodeId(3)};
  r.status.role = GroupRole::kFenced;
  r.status.serving_region = "west";
  EXPECT_EQ(r.next(), "leewardctl dr rejoin");
  r.down({11, 12, 13});
  EXPECT_TRUE(holds(r.next(), "leewardctl dr plan --region east")) << r.next();
}

TEST(DrStatus, AMemberWhoseRegionBeganAnewWithoutItIsToldToKeepWhatItHolds) {
  Regions r{NodeId(3)};
  r.status.role = GroupRole::kFenced;
  r.status.leader = NodeId();
  r.status.group = GroupId(7);
  for (auto& m : r.status.members)
    if (m.region == "east" && m.id != NodeId(3)) {
      m.role = GroupRole::kStandby;
      m.leader = NodeId(1);
      m.group = GroupId(9);
    }
  EXPECT_EQ(r.next().find("leewardctl snapshot save"), 0u) << r.next();
}

// It is alive, leads, and answers no write: whoever looks has to see that, and why.
TEST(DrStatus, APrimaryByLeaseWhoseArmedRegionIsSilentSaysThatItAcknowledgesNothing) {
  Regions r{NodeId(1)};
  r.status.fencing = {"lease", 2s, 1s};
  EXPECT_EQ(r.next(), "");
  EXPECT_FALSE(holds(r.warnings(), "acknowledges nothing")) << r.warnings();
  r.status.fencing.remaining = 0s;
  EXPECT_TRUE(holds(r.warnings(), "acknowledges nothing")) << r.warnings();
  EXPECT_EQ(r.next(), "leewardctl dr status at region west, which answers this one too seldom");
  r.down({11, 12});
  EXPECT_EQ(r.next(), "start members 11, 12 of region west with their disks; only where that region is lost for good: leewardctl dr disarm --force");
  r.status.fencing.remaining.reset();  // another member than the leader knows nothing of it
  EXPECT_FALSE(holds(r.warnings(), "acknowledges nothing")) << r.warnings();
}

TEST(DrStatus, APrimaryThatAsksFirstSaysWhoseWordItWaitsFor) {
  Regions r{NodeId(1)};
  r.status.start_wait = true;
  r.status.waiting_for = "the armed region to say that it was not promoted meanwhile";
  EXPECT_EQ(r.next(), "");
  EXPECT_EQ(r.told().at("waiting_for").as_string(), r.status.waiting_for);
  r.down({11, 12, 13});
  EXPECT_EQ(r.next().find("start members 11, 12, 13 of region west"), 0u) << r.next();
}

TEST(DrStatus, ARegionThatIsArmedAsAnotherGroupIsToBeArmedAnew) {
  for (const std::uint64_t self : {1, 11}) {
    Regions r{NodeId(self)};
    r.status.group = GroupId(self);
    r.status.armed_group = GroupId(7);
    FollowerStatus west;
    west.region = "west";
    west.group = GroupId(11);
    west.connected = true;
    r.status.followers = {west};
    EXPECT_EQ(r.next().find("leewardctl dr disarm --force"), 0u) << self << ": " << r.next();
    EXPECT_TRUE(holds(r.warnings(), "armed as a group that is gone")) << r.warnings();
    r.status.armed_group = GroupId(11);
    EXPECT_EQ(r.next(), "") << self;
  }
}

TEST(DrStatus, AStandbyWithoutAMajorityNamesWhoIsToBeStartedWhileThePrimaryServes) {
  Regions r{NodeId(11)};
  r.status.leader = NodeId();
  r.down({12, 13});
  EXPECT_EQ(r.next().find("start members 12, 13 with their disks"), 0u) << r.next();
  EXPECT_FALSE(holds(r.next(), "dr plan")) << r.next();
  for (auto& m : r.status.members)
    if (m.id.value() > 11) {
      m.report_age = 0s;
      m.state = MemberState::kWaiting;
      m.admitted = false;
    }
  EXPECT_EQ(r.next().find("members 12, 13 run on empty disks"), 0u) << r.next();
  EXPECT_TRUE(holds(r.next(), "empty the directory of member 11 too")) << r.next();
  EXPECT_TRUE(holds(r.warnings(), "members 12, 13 of region west run on empty disks")) << r.warnings();
}

// A learner takes no voter's place.
TEST(DrStatus, ItStandsOnAsManyAsVote) {
  Regions r{NodeId(1)};
  r.down({11, 12, 13});
  EXPECT_FALSE(holds(r.warnings(), "this region stands on")) << r.warnings();
  for (auto& m : r.status.members)
    if (m.id == NodeId(2) || m.id == NodeId(3)) {
      m.state = m.id == NodeId(2) ? MemberState::kLearner : MemberState::kWaiting;
      m.voter = false;
    }
  EXPECT_TRUE(holds(r.warnings(), "this region stands on one voter")) << r.warnings();
}

TEST(DrStatus, APrimaryWarnsOfARegionThatNobodyLeadsAndSaysWhomToAsk) {
  Regions r{NodeId(1)};
  for (auto& m : r.status.members)
    if (m.region == "west") m.client_url = "http://h" + std::to_string(m.id.value()) + ":2379", m.leader = NodeId(11);
  EXPECT_FALSE(holds(r.warnings(), "has no leader")) << r.warnings();
  r.down({11, 12});
  for (auto& m : r.status.members) m.leader = m.region == "west" ? NodeId() : m.leader;
  EXPECT_TRUE(holds(r.warnings(), "region west has no leader: leewardctl --endpoints http://h13:2379 dr status")) << r.warnings();
  r.down({13});
  EXPECT_FALSE(holds(r.warnings(), "has no leader")) << r.warnings();
}

TEST(DrStatus, AMemberThatTakesPartInNoGroupCallsNobodyWhatItsFileSays) {
  Regions r{NodeId(11)};
  r.status.leader = NodeId();
  r.status.state = MemberState::kWaiting;
  r.status.waits_for = WaitsFor::kMajority;
  r.down({1, 2, 3, 12, 13});
  for (auto& m : r.status.members)
    if (m.id == NodeId(11)) m.state = MemberState::kWaiting;
  const auto told = r.told();
  for (const auto& group : told.at("groups").as_array()) EXPECT_EQ(group.as_object().at("role").as_string(), "unknown");
  EXPECT_TRUE(holds(r.next(), "first whoever has data on its disks")) << r.next();
}

TEST(DrStatus, ItWarnsOfWhatTheNextFailureWouldTake) {
  Regions r{NodeId(1)};
  r.down({2, 11, 12, 13});
  r.status.ledger_entries = 7;
  EXPECT_TRUE(holds(r.warnings(), "member 2 of region east is not heard")) << r.warnings();
  EXPECT_TRUE(holds(r.warnings(), "no member of region west is heard")) << r.warnings();
  EXPECT_TRUE(holds(r.warnings(), "leewardctl dr ledger show")) << r.warnings();
  r.status.ledger_entries = 0;
  EXPECT_FALSE(holds(r.warnings(), "leewardctl dr ledger show")) << r.warnings();
  r.status.members[2].state = MemberState::kLearner;
  r.status.members[2].admitted = false;
  EXPECT_TRUE(holds(r.warnings(), "leewardctl member admit 3")) << r.warnings();
}

// Who writes at the primary is to hear of what the other region keeps.
TEST(DrStatus, WhatAnotherRegionHasPutAsideIsToldToo) {
  Regions r{NodeId(1)};
  EXPECT_FALSE(holds(r.warnings(), "put history aside")) << r.warnings();
  for (auto& m : r.status.members)
    if (m.region == "west") m.ledger_entries = 7;
  EXPECT_TRUE(holds(r.warnings(), "region west has put history aside")) << r.warnings();
}

// Before anybody could arm it anew the primary was lost: disarming there is no way.
TEST(DrStatus, ARegionThatIsArmedAsAnotherGroupPlansWhenThePrimaryIsSilent) {
  Regions r{NodeId(11)};
  r.status.group = GroupId(11);
  r.status.armed_group = GroupId(7);
  EXPECT_EQ(r.next().find("leewardctl dr disarm --force"), 0u) << r.next();
  r.status.primary_silent = true;
  EXPECT_EQ(r.next(), "leewardctl dr plan");
}

// What it put aside is in no other place, and goes with its disks.
TEST(DrStatus, BeforeDisksWithALedgerAreEmptiedItIsExported) {
  Regions r{NodeId(11)};
  r.status.leader = NodeId();
  r.status.ledger_entries = 7;
  r.down({12, 13});
  EXPECT_TRUE(holds(r.next(), "first leewardctl dr ledger export FILE, then empty the directory of member 11")) << r.next();
}

// They are up, and of no use to the group that they were part of.
TEST(DrStatus, MembersOfAGroupThatHasBegunAnewAreNoMajorityOfTheOldOne) {
  Regions r{NodeId(13)};
  r.status.leader = NodeId();
  r.status.group = GroupId(7);
  for (auto& m : r.status.members)
    if (m.region == "west") m.group = m.id == NodeId(13) ? GroupId(7) : GroupId(9);
  EXPECT_EQ(r.state(), "no_quorum");
}

// Starting the others with their disks would change nothing: they run, as another group.
TEST(DrStatus, AMemberWhoseRegionGoesOnWithoutItIsTakenInAgain) {
  for (const auto role : {GroupRole::kFenced, GroupRole::kStandby, GroupRole::kPrimary}) {
    Regions r{NodeId(3)};
    r.status.leader = NodeId();
    r.status.role = role;
    r.status.group = GroupId(7);
    for (auto& m : r.status.members)
      if (m.region == "east") {
        m.group = m.id == NodeId(3) ? GroupId(7) : GroupId(9);
        if (m.id != NodeId(3)) m.leader = NodeId(1), m.role = GroupRole::kStandby;
        if (m.id == NodeId(1)) m.state = MemberState::kLeader;
      }
    EXPECT_EQ(r.next().find("leewardctl snapshot save FILE"), 0u) << name(role) << ": " << r.next();
    EXPECT_TRUE(holds(r.next(), "leewardctl member admit 3")) << name(role) << ": " << r.next();
    EXPECT_TRUE(holds(r.warnings(), "member 3 of region east is of a group that is gone")) << r.warnings();
    for (auto& m : r.status.members)
      if (m.region == "east") m.group = GroupId(7);  // an election, perhaps
    EXPECT_FALSE(holds(r.next(), "member admit")) << name(role) << ": " << r.next();
    EXPECT_FALSE(holds(r.warnings(), "gone")) << r.warnings();
  }
}

TEST(DrStatus, ASwitchoverToARegionThatHasBegunAnewIsReclaimed) {
  Regions r{NodeId(1)};
  r.status.sealed = true;
  r.status.armed_group = GroupId(7);
  FollowerStatus west;
  west.region = "west";
  west.group = GroupId(9);
  west.connected = true;
  r.status.followers = {west};
  EXPECT_EQ(r.next().find("leewardctl dr reclaim"), 0u) << r.next();
}

TEST(DrStatus, ASealedPrimaryWithoutAMajorityIsSentToWhoMayServe) {
  Regions r{NodeId(1)};
  r.status.sealed = true;
  r.status.leader = NodeId();
  r.down({2, 3});
  EXPECT_EQ(r.next().find("region west may have been promoted"), 0u) << r.next();
}

// As it comes on empty disks, with the history still to come.
TEST(DrStatus, ARegionThatIsAboutToFollowIsNotToldToPromote) {
  Regions r{NodeId(11)};
  r.status.primary_heard = false;
  r.status.primary_silent = true;
  r.status.newest_epoch = Epoch(9);
  r.status.serving_region = "east";
  EXPECT_FALSE(holds(r.next(), "dr plan")) << r.next();
  EXPECT_TRUE(holds(r.next(), "region east serves epoch 9")) << r.next();
}

TEST(DrStatus, APrimaryThatStandsOnOneVoterOrTwoSaysSo) {
  Regions r{NodeId(1)};
  EXPECT_FALSE(holds(r.warnings(), "stands on")) << r.warnings();
  std::erase_if(r.status.members, [](const MemberStatus& m) { return m.id == NodeId(3); });
  EXPECT_TRUE(holds(r.warnings(), "stands on two voters, and stops when either fails")) << r.warnings();
  std::erase_if(r.status.members, [](const MemberStatus& m) { return m.id == NodeId(2); });
  EXPECT_TRUE(holds(r.warnings(), "stands on one voter")) << r.warnings();
}

// The others' reports of it are half a second old.
TEST(DrStatus, OfItsOwnRegionANodeKnowsTheRoleAtOnce) {
  Regions r{NodeId(11)};
  r.status.role = GroupRole::kPrimary;
  r.status.epoch = r.status.newest_epoch = Epoch(2);
  const auto told = r.told();
  for (const auto& group : told.at("groups").as_array())
    if (group.at("region").as_string() == "west") EXPECT_EQ(group.at("role").as_string(), "primary");
}

}  // namespace
}  // namespace leeward::api
