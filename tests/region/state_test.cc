#include "region/state.h"

#include <gtest/gtest.h>

namespace leeward::region {
namespace {

constexpr GroupId kEast(1), kWest(2), kNorth(3);
constexpr ArmingId kArming = 11, kLaterArming = 12;
constexpr SealId kSeal = 21;

// One group's log, as its leader holds it: appends what the rule allows.
class Group {
 public:
  Group(GroupId id, GroupRole role) : state_({.group = id, .role = role}, {}, {}) {}

  // "" when appended, else the rule that refuses.
  std::string append(EntryKind kind, std::string payload = {}, State::Origin origin = State::Origin::kOwn) {
    Entry e;
    e.index = ++index_;
    e.kind = kind;
    e.epoch = is_history(kind) ? state_.live_epoch() : Epoch();
    if (kind == EntryKind::kEpochChange) e.epoch = decode_epoch_change(payload)->epoch;
    if (const auto verdict = state_.judge(origin, kind, e.epoch, payload); !verdict.ok()) return verdict.error().message;
    e.position = is_history(kind) ? extend(state_.end(), e.epoch, kind, 0, payload) : state_.end();
    e.payload = Bytes(payload);
    EXPECT_TRUE(state_.fold(e).ok());
    log_.push_back(std::move(e));
    return {};
  }
  template <class T>
  std::string append(EntryKind kind, const T& value, State::Origin origin = State::Origin::kOwn) {
    return append(kind, encode(value), origin);
  }
  std::string write(std::string text = "w") { return append(EntryKind::kWrites, std::move(text)); }

  // Takes over the history of `from` that is not here yet.
  void receive(const Group& from) {
    for (const Entry& e : from.log_) {
      if (!is_history(e.kind) || e.position.index <= state_.end().index) continue;
      if (e.kind == EntryKind::kEpochChange)
        ASSERT_EQ(append(e.kind, std::string(e.payload.view()), State::Origin::kReceived), "");
      else
        ASSERT_EQ(append(e.kind, std::string(e.payload.view()), State::Origin::kReceived), "");
      ASSERT_EQ(log_.back().position, e.position);
    }
  }
  EpochChange change(Ending ending = Ending::kGuarded) const {
    return {.epoch = state_.group_epoch() + 1,
            .promotion = 31,
            .group = state_.control().group,
            .fork = state_.end(),
            .ending = ending};
  }
  Index last() const { return index_; }
  const State& state() const { return state_; }
  const std::vector<Entry>& log() const { return log_; }

 private:
  State state_;
  Index index_;
  std::vector<Entry> log_;
};

Armed arming(GroupId group, ArmingId id = kArming, FenceMode mode = FenceMode::kContact) {
  return {.arming = id, .group = group, .region = "r", .mode = mode};
}
Proof resigned_by(GroupId group, ArmingId id) {
  return {group, Index(9), EntryKind::kResigned, encode(Resigned{id, Epoch(1)})};
}
Proof reclaimed_by(GroupId group, SealId id) {
  return {group, Index(9), EntryKind::kReclaimed, encode(Reclaimed{id, Epoch(1)})};
}

class Rule : public testing::Test {
 protected:
  // East is primary, has written, and has armed west, which has it all.
  void arm(FenceMode mode = FenceMode::kContact) {
    ASSERT_EQ(east.write(), "");
    ASSERT_EQ(east.append(EntryKind::kArmed, arming(kWest, kArming, mode)), "");
    west.receive(east);
    north.receive(east);
  }
  Group east{kEast, GroupRole::kPrimary}, west{kWest, GroupRole::kStandby}, north{kNorth, GroupRole::kObserver};
};

TEST_F(Rule, TheArmedGroupAndNoOtherMayEndTheEpoch) {
  arm();
  EXPECT_EQ(north.append(EntryKind::kEpochChange, north.change()), "this group is not armed");
  EXPECT_EQ(west.append(EntryKind::kEpochChange, west.change()), "");
  EXPECT_EQ(west.state().role(), GroupRole::kPrimary);
  EXPECT_EQ(west.state().live_epoch(), Epoch(2));
}

TEST_F(Rule, AnEpochChangeTurnsEveryRole) {
  arm();
  ASSERT_EQ(west.append(EntryKind::kEpochChange, west.change()), "");
  north.receive(west);
  EXPECT_EQ(north.state().role(), GroupRole::kObserver);
  EXPECT_EQ(north.state().live_epoch(), Epoch(2));
  EXPECT_EQ(north.state().armed_group(), std::nullopt) << "the arming was of the epoch before";
}

TEST_F(Rule, AnObserverThatIsArmedIsAStandbyFromThereOn) {
  arm();
  ASSERT_EQ(north.state().role(), GroupRole::kObserver);
  ASSERT_EQ(east.append(EntryKind::kDisarmed, Disarmed{kArming, resigned_by(kWest, kArming)}), "");
  ASSERT_EQ(east.append(EntryKind::kArmed, arming(kNorth, kLaterArming)), "");
  north.receive(east);
  west.receive(east);
  EXPECT_EQ(north.state().role(), GroupRole::kStandby);
  EXPECT_EQ(west.state().role(), GroupRole::kStandby);
  EXPECT_EQ(north.append(EntryKind::kEpochChange, north.change()), "");
}

// SECOND_OPERATOR_SEES_COMMITTED_ONLY
TEST_F(Rule, TheSecondOperatorFindsTheEpochTaken) {
  arm();
  ASSERT_EQ(west.append(EntryKind::kEpochChange, west.change()), "");
  EXPECT_NE(west.append(EntryKind::kEpochChange, west.change()), "");
}

// OLD_EPOCH_AFTER_EPOCH_CHANGE
TEST_F(Rule, NothingOfAnOlderEpochComesBehindAnEpochChange) {
  arm();
  ASSERT_EQ(east.write("late"), "");
  ASSERT_EQ(west.append(EntryKind::kEpochChange, west.change()), "");
  EXPECT_FALSE(west.state().judge(State::Origin::kReceived, EntryKind::kWrites, Epoch(1), "late").ok());
  for (const auto kind : {EntryKind::kResigned, EntryKind::kCut, EntryKind::kReclaimed}) {
    const std::string payload = kind == EntryKind::kResigned ? encode(Resigned{kArming, Epoch(1)})
                                : kind == EntryKind::kCut    ? encode(Cut{kArming})
                                                             : encode(Reclaimed{kSeal, Epoch(1)});
    EXPECT_NE(west.append(kind, payload), "");
  }
}

// DISARMED_WITHOUT_PROOF
TEST_F(Rule, AnArmingEndsByTheProofOfItsOwnGroupOnly) {
  arm();
  EXPECT_NE(east.append(EntryKind::kArmed, arming(kNorth, kLaterArming)), "") << "two armed at once";
  EXPECT_NE(east.append(EntryKind::kDisarmed, Disarmed{kArming, resigned_by(kNorth, kArming)}), "");
  EXPECT_NE(east.append(EntryKind::kDisarmed, Disarmed{kArming, resigned_by(kWest, kLaterArming)}), "");
  EXPECT_NE(east.append(EntryKind::kDisarmed, Disarmed{kArming, reclaimed_by(kWest, kArming)}), "");
  EXPECT_EQ(east.append(EntryKind::kDisarmed, Disarmed{kArming, resigned_by(kWest, kArming)}), "");
  EXPECT_EQ(east.append(EntryKind::kArmed, arming(kNorth, kLaterArming)), "");
}

// RESIGNED_COUNTS_ONLY_AFTER_ARMED
TEST_F(Rule, AnArmingThatWasResignedBeforeItCameDoesNotCount) {
  ASSERT_EQ(west.append(EntryKind::kResigned, Resigned{kArming, Epoch(1)}), "");
  arm();
  EXPECT_EQ(west.append(EntryKind::kEpochChange, west.change()), "this group is not armed");
}

// WAITED_FOR_AN_EARLIER_CUT
TEST_F(Rule, InLeaseModeAnEpochChangeNamesTheLastCut) {
  arm(FenceMode::kLease);
  EXPECT_NE(west.append(EntryKind::kEpochChange, west.change()), "") << "no Cut at all";
  ASSERT_EQ(west.append(EntryKind::kCut, Cut{kArming}), "");
  EpochChange early = west.change();
  early.cut = west.last();
  EXPECT_NE(west.append(EntryKind::kCut, Cut{kArming}), "") << "cut already";
  ASSERT_EQ(west.append(EntryKind::kUncut, Cut{kArming}), "");
  EXPECT_NE(west.append(EntryKind::kEpochChange, early), "") << "uncut since";
  ASSERT_EQ(west.append(EntryKind::kCut, Cut{kArming}), "");
  EXPECT_NE(west.append(EntryKind::kEpochChange, early), "") << "another Cut since";
  EpochChange late = west.change();
  late.cut = west.state().control().cut->index;
  EXPECT_EQ(west.append(EntryKind::kEpochChange, late), "");
}

// CUT_OF_ANOTHER_ARMING
TEST_F(Rule, ACutOfAnEarlierArmingIsNothingToALaterOne) {
  arm(FenceMode::kLease);
  ASSERT_EQ(west.append(EntryKind::kCut, Cut{kArming}), "");
  const Index old_cut = west.last();
  ASSERT_EQ(west.append(EntryKind::kResigned, Resigned{kArming, Epoch(1)}), "");
  ASSERT_EQ(east.append(EntryKind::kDisarmed, Disarmed{kArming, resigned_by(kWest, kArming)}), "");
  ASSERT_EQ(east.append(EntryKind::kArmed, arming(kWest, kLaterArming, FenceMode::kLease)), "");
  west.receive(east);
  EpochChange change = west.change();
  change.cut = old_cut;
  EXPECT_NE(west.append(EntryKind::kEpochChange, change), "");
  EXPECT_EQ(west.append(EntryKind::kCut, Cut{kLaterArming}), "");
}

TEST_F(Rule, BehindASealNothingIsWrittenAndThePlannedChangeLosesNothing) {
  arm();
  ASSERT_EQ(east.append(EntryKind::kSeal, Seal{kSeal, kWest, kArming}), "");
  EXPECT_EQ(east.write(), "behind an open Seal");
  EXPECT_NE(west.append(EntryKind::kEpochChange, west.change(Ending::kSealed)), "") << "the Seal has not come yet";
  west.receive(east);
  EXPECT_EQ(west.append(EntryKind::kEpochChange, west.change(Ending::kSealed)), "");
  EXPECT_NE(west.append(EntryKind::kReclaimed, Reclaimed{kSeal, Epoch(1)}), "") << "RECLAIMED_AFTER_EPOCH_CHANGE";
}

// RECLAIMED_IGNORED
TEST_F(Rule, ASealThatWasReclaimedEndsNoEpochAndIsLiftedByItsProof) {
  arm();
  ASSERT_EQ(east.append(EntryKind::kSeal, Seal{kSeal, kWest, kArming}), "");
  west.receive(east);
  ASSERT_EQ(west.append(EntryKind::kReclaimed, Reclaimed{kSeal, Epoch(1)}), "");
  EXPECT_NE(west.append(EntryKind::kEpochChange, west.change(Ending::kSealed)), "");
  EXPECT_NE(east.append(EntryKind::kUnseal, Unseal{kSeal, reclaimed_by(kNorth, kSeal)}), "");
  EXPECT_NE(east.append(EntryKind::kUnseal, Unseal{kSeal, resigned_by(kWest, kSeal)}), "");
  EXPECT_EQ(east.append(EntryKind::kUnseal, Unseal{kSeal, reclaimed_by(kWest, kSeal)}), "");
  EXPECT_EQ(east.write(), "");
}

TEST_F(Rule, ASealNamesTheGroupThatIsArmedAndGuarded) {
  arm();
  EXPECT_NE(east.append(EntryKind::kSeal, Seal{kSeal, kNorth, kArming}), "");
  EXPECT_NE(east.append(EntryKind::kSeal, Seal{kSeal, kWest, kLaterArming}), "");
  ASSERT_EQ(east.append(EntryKind::kDisarmed, Disarmed{.arming = kArming, .unguarded = true}), "");
  Armed unguarded = arming(kNorth, kLaterArming);
  EXPECT_NE(east.append(EntryKind::kArmed, unguarded), "") << "an epoch with a forced Disarmed is unguarded";
  unguarded.unguarded = true;
  ASSERT_EQ(east.append(EntryKind::kArmed, unguarded), "");
  EXPECT_NE(east.append(EntryKind::kSeal, Seal{kSeal, kNorth, kLaterArming}), "");
}

// UNGUARDED_TAKES_THE_NEXT_EPOCH
TEST_F(Rule, AnUnguardedEpochIsDrawnAwayFromTheNextOne) {
  arm();
  ASSERT_EQ(east.append(EntryKind::kDisarmed, Disarmed{.arming = kArming, .unguarded = true}), "");
  Armed unguarded = arming(kNorth, kLaterArming);
  unguarded.unguarded = true;
  ASSERT_EQ(east.append(EntryKind::kArmed, unguarded), "");
  north.receive(east);
  EpochChange change = north.change();
  EXPECT_NE(north.append(EntryKind::kEpochChange, change), "");
  change.epoch = Epoch(1 + 1025);
  EXPECT_NE(north.append(EntryKind::kEpochChange, change), "");
  change.epoch = Epoch(1 + 2);
  ASSERT_EQ(north.append(EntryKind::kEpochChange, change), "");
  Armed next = arming(kWest, 13);
  EXPECT_EQ(north.append(EntryKind::kArmed, next), "") << "the next epoch begins guarded";
  EXPECT_EQ(west.append(EntryKind::kEpochChange, west.change()), "") << "the one thought dead takes the next";
}

TEST_F(Rule, AProvenDisarmedLeavesAnUnguardedEpochUnguarded) {
  arm();
  ASSERT_EQ(east.append(EntryKind::kDisarmed, Disarmed{.arming = kArming, .unguarded = true}), "");
  Armed unguarded = arming(kNorth, kLaterArming);
  unguarded.unguarded = true;
  ASSERT_EQ(east.append(EntryKind::kArmed, unguarded), "");
  EXPECT_NE(east.append(EntryKind::kDisarmed, Disarmed{kLaterArming, resigned_by(kNorth, kLaterArming), false}), "");
  EXPECT_EQ(east.append(EntryKind::kDisarmed, Disarmed{kLaterArming, resigned_by(kNorth, kLaterArming), true}), "");
  EXPECT_NE(east.append(EntryKind::kArmed, arming(kWest, 13)), "");
}

TEST_F(Rule, AnEpochBeginsWhereTheHistoryEndsAndIsTheNextOne) {
  arm();
  EpochChange change = west.change();
  change.fork.index = HistoryIndex(1);
  EXPECT_EQ(west.append(EntryKind::kEpochChange, change), "an epoch begins where the history ends");
  change = west.change();
  change.fork.hash.bytes[0] ^= 1;
  EXPECT_EQ(west.append(EntryKind::kEpochChange, change), "an epoch begins where the history ends");
  change = west.change();
  change.epoch = Epoch(3);
  EXPECT_EQ(west.append(EntryKind::kEpochChange, change), "an unforced epoch is the next one");
}

TEST_F(Rule, AStateIsAdoptedByFollowingGroupsOnly) {
  arm();
  const std::string adopt = leap_payload(north.state().end(), "manifest");
  EXPECT_EQ(east.append(EntryKind::kAdopt, adopt), "only a following group adopts a state");
  ASSERT_TRUE(west.state().judge(State::Origin::kOwn, EntryKind::kAdopt, Epoch(), adopt).ok());
  ASSERT_EQ(west.append(EntryKind::kEpochChange, west.change()), "");
  EXPECT_EQ(west.append(EntryKind::kAdopt, adopt), "only a following group adopts a state");
  EXPECT_TRUE(north.state().judge(State::Origin::kOwn, EntryKind::kAdopt, Epoch(), adopt).ok());
}

TEST_F(Rule, AnEpochOfAnotherGroupIsReceivedByFollowersOnlyAndOnlyANewerOne) {
  arm();
  const EpochChange change = west.change();
  EXPECT_EQ(east.append(EntryKind::kEpochChange, change, State::Origin::kReceived), "only a following group receives one");
  ASSERT_EQ(north.append(EntryKind::kEpochChange, change, State::Origin::kReceived), "");
  EpochChange again = north.change();
  again.group = kWest;
  again.epoch = Epoch(2);
  EXPECT_EQ(north.append(EntryKind::kEpochChange, again, State::Origin::kReceived), "the epoch is not newer");
}

TEST_F(Rule, APrimaryDoesNotArmItself) {
  EXPECT_EQ(east.append(EntryKind::kArmed, arming(kEast)), "a primary does not arm itself");
}

TEST_F(Rule, OnlyTheGroupThatASealNamesLetsItGo) {
  arm();
  ASSERT_EQ(east.append(EntryKind::kSeal, Seal{kSeal, kWest, kArming}), "");
  north.receive(east);
  EXPECT_EQ(north.append(EntryKind::kReclaimed, Reclaimed{kSeal, Epoch(1)}), "the Seal names another group");
}

TEST_F(Rule, AGroupIsFencedByANewerEpochOrByItsOwnUnderAnotherPromotion) {
  arm();
  EXPECT_NE(east.append(EntryKind::kFenced, Fenced{Epoch(1), 31, "west"}), "") << "the first epoch was promoted by nobody";
  ASSERT_EQ(west.append(EntryKind::kEpochChange, west.change()), "");
  EXPECT_NE(west.append(EntryKind::kFenced, Fenced{Epoch(2), 31, "west"}), "") << "that is itself";
  EXPECT_EQ(west.append(EntryKind::kFenced, Fenced{Epoch(2), 32, "north"}), "");
}

TEST_F(Rule, AFencedGroupMakesNoHistory) {
  arm();
  ASSERT_EQ(east.append(EntryKind::kFenced, Fenced{Epoch(2), 31, "west"}), "");
  EXPECT_EQ(east.state().role(), GroupRole::kFenced);
  EXPECT_EQ(east.state().group_epoch(), Epoch(1)) << "Fenced does not raise it";
  EXPECT_NE(east.write(), "");
  EXPECT_FALSE(east.state().judge(State::Origin::kReceived, EntryKind::kWrites, Epoch(1), "w").ok()) << "nor takes any in";
  EXPECT_NE(west.append(EntryKind::kFenced, Fenced{Epoch(2), 31, "west"}), "") << "a following group is not fenced";
}

// CLIENT_WRITES_AFTER_FOLLOW
TEST_F(Rule, BehindAFollowOnlyWhatIsReceivedComes) {
  arm();
  ASSERT_EQ(west.append(EntryKind::kEpochChange, west.change()), "");
  ASSERT_EQ(west.write("new"), "");
  ASSERT_EQ(east.write("lost"), "");
  ASSERT_EQ(east.append(EntryKind::kFenced, Fenced{Epoch(2), 31, "west"}), "");
  Follow follow{west.state().history().epochs, west.log()[1].position};
  Follow wrong = follow;
  wrong.common = east.state().end();
  EXPECT_NE(east.append(EntryKind::kFollow, wrong), "") << "FOLLOW_AT_THE_LOGS_END";
  EXPECT_NE(west.append(EntryKind::kFollow, follow), "") << "its own epoch";
  Group same(kEast, GroupRole::kPrimary);  // ends at the common position
  ASSERT_EQ(same.write(), "");
  ASSERT_EQ(same.append(EntryKind::kArmed, arming(kWest)), "");
  wrong = follow;
  wrong.common.hash.bytes[0] ^= 1;
  EXPECT_EQ(same.append(EntryKind::kFollow, wrong), "the common position has another hash here");
  EXPECT_EQ(same.append(EntryKind::kFollow, follow), "");
  ASSERT_EQ(east.append(EntryKind::kFollow, follow), "");
  EXPECT_EQ(east.state().role(), GroupRole::kStandby);
  EXPECT_EQ(east.state().group_epoch(), Epoch(2));
  EXPECT_EQ(east.state().end(), follow.common);
  EXPECT_NE(east.write(), "");
  EXPECT_NE(east.append(EntryKind::kEpochChange, east.change()), "") << "armed by nobody";
  east.receive(west);
  EXPECT_EQ(east.state().end(), west.state().end());
  EXPECT_EQ(east.state().live_epoch(), Epoch(2));
}

// CONTESTED_BY_THE_NEWEST_EPOCH_ONLY
TEST_F(Rule, AnEpochTakenTwiceIsContestedWhereverItStands) {
  arm();
  EpochChange forced = west.change(Ending::kForced);
  forced.epoch = Epoch(3);
  ASSERT_EQ(west.append(EntryKind::kEpochChange, forced), "");
  EpochChange again = west.change(Ending::kForced);
  again.epoch = Epoch(5);
  again.promotion = 32;
  ASSERT_EQ(west.append(EntryKind::kEpochChange, again), "");
  EpochChange other = north.change(Ending::kForced);
  other.epoch = Epoch(3);
  other.promotion = 33;
  ASSERT_EQ(north.append(EntryKind::kEpochChange, other), "");
  EXPECT_EQ(contested(west.state().history().epochs, north.state().history().epochs), Epoch(3));
  EXPECT_EQ(north.append(EntryKind::kFollow, Follow{west.state().history().epochs, east.state().end()}),
            "epoch 3 is contested");
}

TEST_F(Rule, AContestedGroupTakesNoEpochUntilASurvivorIsNamed) {
  EpochChange own = east.change(Ending::kForced);
  own.epoch = Epoch(3);
  ASSERT_EQ(east.append(EntryKind::kEpochChange, own), "");
  EpochChange later = east.change(Ending::kForced);
  later.epoch = Epoch(5);
  later.promotion = 32;
  ASSERT_EQ(east.append(EntryKind::kEpochChange, later), "");
  EXPECT_NE(east.append(EntryKind::kFenced, Fenced{Epoch(3), own.promotion, "west"}), "") << "its own";
  ASSERT_EQ(east.append(EntryKind::kFenced, Fenced{Epoch(3), 99, "west"}), "") << "older than its newest";
  EXPECT_EQ(east.state().role(), GroupRole::kFenced);
  ASSERT_TRUE(east.state().control().contested);
  EXPECT_EQ(*east.state().control().contested, (Survivor{Epoch(3), 99}));
  EpochChange forced = east.change(Ending::kForced);
  forced.epoch = Epoch(50);
  EXPECT_EQ(east.append(EntryKind::kEpochChange, forced), "epoch 3 is contested: a survivor is to be named first");
  EXPECT_NE(east.append(EntryKind::kSurvivor, Survivor{Epoch(4), 99}), "") << "an epoch that it does not hold";
  const auto stored = decode_control(encode(east.state().control()));
  ASSERT_TRUE(stored.ok());
  EXPECT_EQ(*stored, east.state().control());

  auto other = east;
  ASSERT_EQ(east.append(EntryKind::kSurvivor, Survivor{Epoch(3), own.promotion}), "");
  EXPECT_EQ(east.state().role(), GroupRole::kFenced) << "until it has an epoch of its own";
  ASSERT_EQ(east.append(EntryKind::kEpochChange, forced), "");
  EXPECT_EQ(east.state().role(), GroupRole::kPrimary);
  EXPECT_FALSE(east.state().superseded_by(Epoch(3), 99)) << "decided";
  EXPECT_NE(east.append(EntryKind::kFenced, Fenced{Epoch(3), 99, "west"}), "");
  const auto decided = decode_control(encode(east.state().control()));
  ASSERT_TRUE(decided.ok());
  EXPECT_EQ(*decided, east.state().control());

  // The other way round it follows a history with the survivor in it.
  const Follow follow{{{Epoch(3), 99, HistoryIndex(0), {}}, {Epoch(60), 98, HistoryIndex(0), {}}}, {}};
  EXPECT_EQ(other.append(EntryKind::kFollow, follow), "epoch 3 is contested");
  ASSERT_EQ(other.append(EntryKind::kSurvivor, Survivor{Epoch(3), 99}), "");
  EXPECT_EQ(other.append(EntryKind::kFollow, follow), "");
}

TEST_F(Rule, SurvivorsAreAnotherGroupForWhichNothingCounts) {
  arm();
  ASSERT_EQ(east.append(EntryKind::kSeal, Seal{kSeal, kWest, kArming}), "");
  west.receive(east);
  ASSERT_TRUE(west.state().armed() && west.state().may_end_sealed());
  Regrouped become;
  become.group = GroupId(77);
  become.known = Epoch(1);
  become.plan = "digest";
  const auto regroup = regroup_payload({"", encode(become), ""});
  ASSERT_EQ(west.append(EntryKind::kRegroup, regroup), "");
  EXPECT_EQ(west.state().control().group, GroupId(77));
  EXPECT_FALSE(west.state().armed()) << "every Armed names the group that was";
  EXPECT_FALSE(west.state().may_end_sealed()) << "and every Seal";
  EXPECT_EQ(west.append(EntryKind::kEpochChange, west.change()), "this group is not armed");
  EXPECT_EQ(west.append(EntryKind::kEpochChange, west.change(Ending::kSealed)), "this group is not armed");
  const auto stored = decode_control(encode(west.state().control()));
  ASSERT_TRUE(stored.ok());
  EXPECT_EQ(*stored, west.state().control());
  EpochChange forced = west.change(Ending::kForced);
  forced.epoch = Epoch(3);
  ASSERT_EQ(west.append(EntryKind::kEpochChange, forced), "");
  EXPECT_EQ(west.state().control().regrouped, std::nullopt) << "done";

  ASSERT_EQ(east.append(EntryKind::kRegroup, regroup), "");
  EXPECT_EQ(east.state().role(), GroupRole::kFenced) << "nothing is served before the change";
  EXPECT_NE(east.write(), "");
}

TEST_F(Rule, AFollowGivesUpTheEpochsBehindTheCommonPosition) {
  arm();
  EpochChange own = north.change(Ending::kForced);
  own.epoch = Epoch(3);
  ASSERT_EQ(north.append(EntryKind::kEpochChange, own), "");
  EpochChange other = west.change(Ending::kForced);
  other.epoch = Epoch(5);
  other.promotion = 33;
  ASSERT_EQ(west.append(EntryKind::kEpochChange, other), "");
  ASSERT_EQ(north.append(EntryKind::kFollow, Follow{west.state().history().epochs, east.state().end()}), "");
  EXPECT_EQ(north.state().live_epoch(), Epoch(1));
  north.receive(west);
  EXPECT_EQ(north.state().history().epochs, west.state().history().epochs);
}

TEST_F(Rule, AGroupThatWasPrimaryKnowsWhatItLeftBehind) {
  arm();
  ASSERT_EQ(west.append(EntryKind::kEpochChange, west.change()), "");
  const Position fork = east.state().end();
  ASSERT_EQ(east.write("one"), "");
  ASSERT_EQ(east.write("two"), "");
  const Position end = east.state().end();
  const Follow follow{west.state().history().epochs, fork};
  ASSERT_EQ(east.append(EntryKind::kFollow, follow), "");
  const Measured left{Epoch(2), 31, kEast, {end.writes - fork.writes, 2, end.bytes - fork.bytes, false}};
  EXPECT_EQ(east.state().control().left_behind, std::vector{left});
  const auto stored = decode_control(encode(east.state().control()));
  ASSERT_TRUE(stored.ok());
  EXPECT_EQ(*stored, east.state().control());

  // One that only followed lost nothing of its own.
  ASSERT_EQ(north.append(EntryKind::kFollow, follow), "");
  EXPECT_TRUE(north.state().control().left_behind.empty());
}

// East went on by force beside west's second epoch; west by force beside east's
// third: what that one lost is east's, whichever of west's began at the fork.
TEST_F(Rule, WhatWasWrittenByForceIsLostWithTheEpochThatOvertookIt) {
  arm();
  ASSERT_EQ(west.append(EntryKind::kEpochChange, west.change()), "");
  const Position fork = east.state().end();
  EpochChange third = east.change(Ending::kForced);
  third.epoch = Epoch(3);
  third.promotion = 32;
  ASSERT_EQ(east.append(EntryKind::kEpochChange, third), "");
  ASSERT_EQ(east.write("beside"), "");
  const Position end = east.state().end();
  EpochChange fourth = west.change(Ending::kForced);
  fourth.epoch = Epoch(4);
  fourth.promotion = 33;
  ASSERT_EQ(west.append(EntryKind::kEpochChange, fourth), "");
  ASSERT_EQ(east.append(EntryKind::kFollow, Follow{west.state().history().epochs, fork}), "");
  const Measured left{Epoch(4), 33, kEast, {end.writes - fork.writes, end.index.value() - fork.index.value(), end.bytes - fork.bytes, false}};
  EXPECT_EQ(east.state().control().left_behind, std::vector{left});
}

TEST_F(Rule, WithNothingBeyondTheForkNothingWasLost) {
  arm();
  ASSERT_EQ(west.append(EntryKind::kEpochChange, west.change()), "");
  ASSERT_EQ(east.append(EntryKind::kFollow, Follow{west.state().history().epochs, east.state().end()}), "");
  EXPECT_EQ(east.state().control().left_behind, (std::vector<Measured>{{Epoch(2), 31, kEast, {}}}));
}

TEST_F(Rule, WhatAnEpochLostIsToldOnceAndByThePrimary) {
  arm();
  const Measured measured{Epoch(2), 31, kEast, {3, 2, 100, false}};
  EXPECT_EQ(east.append(EntryKind::kMeasured, measured), "it tells of an epoch that is not in this history");
  ASSERT_EQ(west.append(EntryKind::kEpochChange, west.change()), "");
  north.receive(west);
  EXPECT_NE(north.append(EntryKind::kMeasured, measured), "");
  EXPECT_EQ(west.append(EntryKind::kMeasured, measured), "");
  EXPECT_EQ(west.append(EntryKind::kMeasured, measured), "what that epoch lost was told before");
  north.receive(west);
  EXPECT_EQ(north.state().history(), west.state().history());
}

// Members of one group must judge alike, whether they folded the log or read the
// newest entries of each kind after a restart.
TEST_F(Rule, WhatWasMeasuredBeforeTheCommonPositionStaysKnownBehindAFollow) {
  arm();
  ASSERT_EQ(west.append(EntryKind::kEpochChange, west.change()), "");
  const Measured lost{Epoch(2), 31, kEast, {3, 2, 100, false}};
  ASSERT_EQ(west.append(EntryKind::kMeasured, lost), "");
  const Position told = west.state().end();
  north.receive(west);
  EpochChange forced = north.change(Ending::kForced);
  forced.epoch = Epoch(4);
  forced.promotion = 32;
  ASSERT_EQ(north.append(EntryKind::kEpochChange, forced), "");
  ASSERT_EQ(north.append(EntryKind::kMeasured, Measured{Epoch(4), 32, kWest, {}}), "");

  // Nothing put aside, and a rewind that takes back the later one alone.
  ASSERT_EQ(west.append(EntryKind::kFollow, Follow{north.state().history().epochs, told}), "");
  west.receive(north);
  EXPECT_TRUE(west.state().measured(Epoch(2)) && west.state().measured(Epoch(4)));
  ASSERT_EQ(north.append(EntryKind::kFollow, Follow{{{Epoch(2), 31, east.state().end()}, {Epoch(5), 33, told}}, told}), "");
  EXPECT_TRUE(north.state().measured(Epoch(2)));
  EXPECT_FALSE(north.state().measured(Epoch(4)));
}

TEST_F(Rule, AFollowOutOfADamagedHistoryLeadsBelowTheCommonPositionInTheSameEpoch) {
  arm();
  const Position same = west.state().end();
  ASSERT_EQ(west.append(EntryKind::kWrites, std::string("of a day that is lost"), State::Origin::kReceived), "");
  ASSERT_EQ(east.write("of another"), "");
  const auto history = east.state().history().epochs;
  EXPECT_EQ(west.append(EntryKind::kFollow, Follow{history, same, same}), "that history is not of a newer epoch");
  EXPECT_EQ(west.append(EntryKind::kFollow, Follow{history, west.state().end(), west.state().end(), true}), "that is not the common position");
  Position other = same;
  ++other.writes;
  EXPECT_EQ(west.append(EntryKind::kFollow, Follow{history, same, other, true}), "what is kept does not begin between the common position and the end");
  EXPECT_NE(east.append(EntryKind::kFollow, Follow{history, same, same, true}), "") << "a primary";
  const auto end = west.state().end();
  ASSERT_EQ(west.append(EntryKind::kFollow, Follow{history, same, same, true}), "");
  EXPECT_EQ(west.state().end(), same);
  ASSERT_EQ(west.state().control().ledgers.size(), 1u);
  EXPECT_EQ(west.state().control().ledgers[0].to, end);
  EXPECT_EQ(west.state().control().ledgers[0].epoch, Epoch(1));
  EXPECT_EQ(west.state().control().ledgers[0].followed, Epoch(1)) << "by which a ledger of one epoch is known";
  EXPECT_TRUE(west.state().control().left_behind.empty()) << "no epoch has lost it";
  EXPECT_NE(west.append(EntryKind::kEpochChange, west.change()), "") << "what was armed there the state tells, when it is back";
  west.receive(east);
  EXPECT_EQ(west.state().end(), east.state().end());
}

// By lease a primary waits for this group's stamps: none come before its state is back.
TEST_F(Rule, ByLeaseAGroupGivesItsArmingUpBeforeItGoesBackInItsEpoch) {
  arm(FenceMode::kLease);
  const Position same = west.state().end();
  ASSERT_EQ(west.append(EntryKind::kWrites, std::string("of a day that is lost"), State::Origin::kReceived), "");
  const Follow follow{east.state().history().epochs, same, same, true};
  EXPECT_EQ(west.append(EntryKind::kFollow, follow), "armed by lease this group gives its arming up first");
  ASSERT_EQ(west.append(EntryKind::kResigned, Resigned{kArming, Epoch(1)}), "");
  EXPECT_EQ(west.append(EntryKind::kFollow, follow), "");
}

// PROMOTES_BELOW_A_KNOWN_EPOCH
TEST_F(Rule, AForcedEpochIsAboveAllThatAreKnown) {
  arm();
  ASSERT_EQ(east.append(EntryKind::kFenced, Fenced{Epoch(7), 31, "west"}), "");
  EpochChange forced = east.change(Ending::kForced);
  forced.epoch = Epoch(8);
  EXPECT_NE(east.append(EntryKind::kEpochChange, forced), "");
  forced.epoch = Epoch(9);
  EXPECT_EQ(east.append(EntryKind::kEpochChange, forced), "");
  EXPECT_EQ(east.state().role(), GroupRole::kPrimary);
}

TEST_F(Rule, TheNewestEntriesOfAHistoryTellWhatAllOfItDoes) {
  arm();
  ASSERT_EQ(east.append(EntryKind::kDisarmed, Disarmed{kArming, resigned_by(kWest, kArming)}), "");
  ASSERT_EQ(east.append(EntryKind::kArmed, arming(kNorth, kLaterArming)), "");
  ASSERT_EQ(east.append(EntryKind::kSeal, Seal{kSeal, kNorth, kLaterArming}), "");
  const auto check = [](const Group& group) {
    std::vector<RegionEntry> kept;  // as a state machine keeps them
    for (const Entry& e : group.log()) {
      if (!is_history(e.kind) || e.kind == EntryKind::kWrites) continue;
      if (e.kind != EntryKind::kEpochChange && e.kind != EntryKind::kMeasured)
        std::erase_if(kept, [&](const RegionEntry& k) { return k.kind == e.kind; });
      kept.insert(kept.begin(), {e.kind, e.epoch, e.position.index, e.payload});
    }
    const auto history = State::history_of(kept);
    ASSERT_TRUE(history.ok()) << history.error().message;
    EXPECT_EQ(*history, group.state().history());
  };
  check(east);
  north.receive(east);
  ASSERT_EQ(north.append(EntryKind::kEpochChange, north.change(Ending::kSealed)), "");
  ASSERT_EQ(north.append(EntryKind::kArmed, arming(kWest, 13)), "");
  ASSERT_EQ(north.append(EntryKind::kMeasured, Measured{Epoch(2), 31, kEast, {}}), "");
  Group twin(kNorth, GroupRole::kStandby);
  twin.receive(north);
  check(twin);
}

TEST(Common, TwoHistoriesAgreeUpToTheLowerEndOfTheLastEpochTheyShare) {
  const std::vector<EpochRecord> one{{Epoch(2), 1, HistoryIndex(10), {}}};
  const std::vector<EpochRecord> two{{Epoch(2), 1, HistoryIndex(10), {}}, {Epoch(3), 2, HistoryIndex(20), {}}};
  const std::vector<EpochRecord> other{{Epoch(4), 3, HistoryIndex(7), {}}};
  EXPECT_EQ(common_index({}, HistoryIndex(5), {}, HistoryIndex(9)), HistoryIndex(5));
  EXPECT_EQ(common_index(one, HistoryIndex(30), two, HistoryIndex(40)), HistoryIndex(20));
  EXPECT_EQ(common_index(one, HistoryIndex(15), two, HistoryIndex(40)), HistoryIndex(15));
  EXPECT_EQ(common_index(two, HistoryIndex(25), other, HistoryIndex(40)), HistoryIndex(7));
}

template <class T>
void expect_strict(const T& value, Result<T> (*decode)(std::string_view), std::size_t format_at = 0) {
  const std::string bytes = encode(value);
  const auto back = decode(bytes);
  ASSERT_TRUE(back.ok()) << back.error().message;
  EXPECT_EQ(*back, value);
  for (std::size_t size = 0; size < bytes.size(); ++size) EXPECT_FALSE(decode(std::string_view(bytes).substr(0, size)).ok());
  EXPECT_FALSE(decode(bytes + "x").ok());
  std::string newer = bytes;
  ++newer[format_at];
  EXPECT_EQ(decode(newer).error().code, Code::kNewerFormat);
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    std::string flipped = bytes;
    flipped[at] = static_cast<char>(flipped[at] ^ 0xff);
    (void)decode(flipped);  // must not crash; ASan looks on
  }
}

// What the lost members had acknowledged is in nobody's log.
TEST(Follow, OfAGroupThatSurvivorsHadBegunAnewPutsAsideAnIncompleteLedger) {
  const Position common{HistoryIndex(7), sha256("a"), 1, 2}, end{HistoryIndex(20), sha256("b"), 9, 9};
  for (const auto& [role, at] : {std::pair(GroupRole::kFenced, HistoryIndex(12)), std::pair(GroupRole::kStandby, HistoryIndex())}) {
    State::Control control;
    control.group = kEast;
    control.role = role;
    State state(control, {}, {HistoryIndex(12), sha256("c"), 4, 4});
    Entry entry;
    entry.kind = EntryKind::kRegroup;
    entry.index = Index(30);
    entry.payload = Bytes(regroup_payload({"members", encode(Regrouped{.group = kWest, .region = "east"}), "lives"}));
    ASSERT_TRUE(state.fold(entry).ok());
    State later(state.control(), {}, end);
    entry.kind = EntryKind::kFollow;
    entry.index = Index(40);
    entry.payload = Bytes(encode(Follow{{{Epoch(5), 3, common}}, common, common}));
    ASSERT_TRUE(later.fold(entry).ok());
    ASSERT_EQ(later.control().ledgers.size(), 1u);
    const auto& ledger = later.control().ledgers[0];
    EXPECT_EQ(ledger.survived_at, at);
    EXPECT_EQ(ledger.complete(), at == HistoryIndex());
    EXPECT_EQ(later.control().survived_at, HistoryIndex());
    entry.kind = EntryKind::kDiscarded;
    entry.index = Index(50);
    entry.payload = Bytes(encode(Discarded{Index(40), "an operator"}));
    EXPECT_TRUE(later.judge(State::Origin::kOwn, entry.kind, Epoch(), entry.payload.view()).ok());
    ASSERT_TRUE(later.fold(entry).ok());
    EXPECT_TRUE(later.control().ledgers.empty());
    EXPECT_FALSE(later.judge(State::Origin::kOwn, entry.kind, Epoch(), entry.payload.view()).ok()) << "twice";
  }
}

TEST(Follow, OfAnOlderVersionKeepsAllThatItPutsAside) {
  const Follow follow{{}, {HistoryIndex(7), sha256("a"), 1, 2}, {HistoryIndex(7), sha256("a"), 1, 2}};
  const auto bytes = encode(follow);
  const auto leap = decode_leap(bytes);
  ASSERT_TRUE(leap.ok());
  const auto older = leap_payload(leap->position, std::string("\1\0", 2));  // the format, and no epochs
  const auto back = decode_follow(older);
  ASSERT_TRUE(back.ok()) << back.error().message;
  EXPECT_EQ(*back, follow);
}

TEST(Control, ComesBackWithTheLedgersAndFromBeforeThereWereAny) {
  State::Control control;
  control.group = kWest;
  control.role = GroupRole::kStandby;
  control.followed = Epoch(4);
  const auto before = encode(control);
  control.followed_at = Index(90);
  control.ledgers = {{Index(90), Epoch(1), Epoch(4), {HistoryIndex(7), sha256("a"), 1, 2}, {HistoryIndex(8), sha256("c"), 2, 3},
                      {HistoryIndex(9), sha256("b"), 3, 4}, HistoryIndex(8)}};
  control.survived_at = HistoryIndex(5);
  const auto bytes = encode(control);
  const auto back = decode_control(bytes);
  ASSERT_TRUE(back.ok()) << back.error().message;
  EXPECT_EQ(*back, control);
  for (std::size_t size = 0; size < bytes.size(); ++size) EXPECT_FALSE(decode_control(bytes.substr(0, size)).ok());
  std::string first = before.substr(0, before.size() - 7);  // format 1 ends there
  first[0] = 1;
  const auto older = decode_control(first);
  ASSERT_TRUE(older.ok()) << older.error().message;
  EXPECT_TRUE(older->ledgers.empty());
  EXPECT_EQ(older->followed, Epoch(4));
  std::string third = bytes.substr(0, bytes.size() - 1);  // format 3 did not tell what was left behind
  third[0] = 3;
  const auto later = decode_control(third);
  ASSERT_TRUE(later.ok()) << later.error().message;
  EXPECT_EQ(*later, control);
}

TEST(Entries, AreDecodedWholeOrRefused) {
  expect_strict(arming(kWest), decode_armed);
  expect_strict(Disarmed{kArming, resigned_by(kWest, kArming), true}, decode_disarmed);
  expect_strict(EpochChange{.epoch = Epoch(2), .promotion = 31, .group = kWest, .region = "west", .fork = {.index = HistoryIndex(7), .hash = {}, .writes = 3, .bytes = 4},
                            .ending = Ending::kGuarded, .cut = Index(5), .announced = {1, 2, 3, true}, .time_ms = -1,
                            .by = "o", .reason = "fire"}, decode_epoch_change);
  expect_strict(Seal{kSeal, kWest, kArming}, decode_seal);
  expect_strict(Discarded{Index(9), "o"}, decode_discarded);
  expect_strict(Measured{Epoch(2), 31, kEast, {1, 2, 3, true}}, decode_measured);
  expect_strict(Unseal{kSeal, reclaimed_by(kWest, kSeal)}, decode_unseal);
  expect_strict(Resigned{kArming, Epoch(1)}, decode_resigned);
  expect_strict(Cut{kArming}, decode_cut);
  expect_strict(Reclaimed{kSeal, Epoch(1)}, decode_reclaimed);
  expect_strict(Fenced{Epoch(2), 31, "west"}, decode_fenced);
  expect_strict(Follow{{{Epoch(2), 31, {HistoryIndex(7), {}, 1, 2}}}, {HistoryIndex(7), {}, 1, 2}, {HistoryIndex(9), {}, 3, 4}, true}, decode_follow, 36);  // behind the position
}

}  // namespace
}  // namespace leeward::region
