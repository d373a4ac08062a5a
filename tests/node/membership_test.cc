// Members that come, go and change places.
#include "support.h"

namespace leeward::node {
namespace {

struct Members : Fixture {
  void SetUp() override {
    make();
    w().expect_changes();
    start_all();
    puts(10);
    w().run_for(1s);
  }
  Result<void> stand(NodeId id, StandingChange::Kind kind, bool force = false) {
    auto answer = std::make_shared<Answer<void>>();
    w().member(id)->change_standing({kind, "", force}, w().client_loop(), [answer](Result<void> r) { answer->result = r; });
    EXPECT_TRUE(w().run_until([&] { return answer->result.has_value(); }, 20s)) << w().checkers.breach();
    return answer->result.value_or(Error{Code::kDeadline, "no answer"});
  }
  Result<Index> change(NodeId through, MemberChange wanted) {
    auto answer = std::make_shared<Answer<Index>>();
    w().member(through)->change_members(std::move(wanted), w().client_loop(), [answer](Result<Index> r) { answer->result = r; });
    EXPECT_TRUE(w().run_until([&] { return answer->result.has_value(); })) << w().checkers.breach();
    return *answer->result;
  }
  Result<Index> change(MemberChange wanted) { return change(*w().leader(), std::move(wanted)); }
  Result<Index> promote(NodeId id) { return change({.promote = {id}}); }
  Result<Index> remove(NodeId id, bool force = false) { return change({.remove = {id}, .force = force}); }
  // One put after another at that member, from before its removal is asked for
  // there until it was told and a moment has passed.
  Result<Index> remove_under_writes(NodeId id) {
    auto answer = std::make_shared<Answer<Index>>();
    Instant last{};
    std::optional<Instant> over;
    bool asked = false;
    EXPECT_TRUE(w().run_until([&] {
      const auto now = w().scheduler.now();
      if (!over && now - last >= 200us) {
        writes_.push_back(w().put(id, "w", std::to_string(writes_.size())));
        last = now;
      }
      if (!asked && writes_.size() > 20) {
        asked = true;
        w().member(*w().leader())->change_members({.remove = {id}}, w().client_loop(), [answer](Result<Index> r) { answer->result = r; });
      }
      if (!over && answer->result && state(id) == MemberState::kRemoved) over = now;
      return over && now - *over > 300ms;
    })) << w().checkers.breach();
    EXPECT_TRUE(answer->result && answer->result->ok());
    return answer->result ? *answer->result : Result<Index>(Error{Code::kDeadline, "no answer"});
  }
  Result<std::uint64_t> sync(NodeId id) {
    auto answer = std::make_shared<Answer<std::uint64_t>>();
    w().member(*w().leader())->member_sync(id, w().client_loop(), [answer](Result<std::uint64_t> r) { answer->result = r; });
    EXPECT_TRUE(w().run_until([&] { return answer->result.has_value(); })) << w().checkers.breach();
    return *answer->result;
  }
  bool in_sync(NodeId id) {
    for (int i = 0; i < 100; ++i) {
      if (sync(id).ok()) return true;
      w().run_for(100ms);
    }
    return false;
  }
  // Added, started and caught up, as a learner.
  NodeId learner(GroupRole group = GroupRole::kPrimary) {
    const auto node = w().join(group);
    const auto added = change(*w().leader(group), {.add = {node}});
    EXPECT_TRUE(added.ok()) << added.error().message;
    w().start(node.id);
    return node.id;
  }
  NodeId voter() {
    const auto id = learner();
    EXPECT_TRUE(in_sync(id)) << sync(id).error().message;
    const auto promoted = promote(id);
    EXPECT_TRUE(promoted.ok()) << promoted.error().message;
    return id;
  }
  // Where it was before it was removed.
  Result<Index> add_again(NodeId id) {
    Node again;
    again.id = id;
    again.peer_address = "10.0.0." + std::to_string(id.value()) + ":2380";
    return change({.add = {again}});
  }
  // Of the first three one goes on, with two new ones; the others are down.
  NodeId replace_all_but_one() {
    const auto fourth = voter(), fifth = voter();
    EXPECT_TRUE(leads_next(fourth));
    for (const auto id : {kTwo, kThree}) {
      const auto removed = remove(id);
      EXPECT_TRUE(removed.ok()) << removed.error().message;
      w().crash(id);
    }
    EXPECT_EQ(voters(), (std::set<NodeId>{kOne, fourth, fifth}));
    return kOne;
  }
  // As the leader has them; none while there is no leader.
  std::set<NodeId> voters() {
    const auto leader = w().leader();
    return leader ? w().member(*leader)->membership().voters : std::set<NodeId>();
  }
  MemberState state(NodeId id) { return w().member(id)->status().state; }
  bool knows(NodeId who, NodeId whom) {
    for (const auto& m : w().member(who)->status().members)
      if (m.id == whom) return true;
    return false;
  }
  bool refused(const Result<Index>& result, const char* rule) { return !result.ok() && refused_by(result.error(), rule); }
  bool told_removed(NodeId id) {
    return w().run_until([&] { return state(id) == MemberState::kRemoved; });
  }

  std::vector<std::shared_ptr<sim::World::Put>> writes_;
};

TEST_F(Members, OneThatIsAddedFollowsAsALearnerAndVotesWhenItIsPromoted) {
  const auto node = w().join();
  ASSERT_TRUE(change(follower(), {.add = {node}}).ok());
  for (const auto id : {kOne, kTwo, kThree})
    EXPECT_TRUE(w().run_until([&] { return knows(id, node.id); })) << id.value();
  EXPECT_TRUE(w().member(kOne)->membership().learners.contains(node.id));
  w().start(node.id);
  ASSERT_TRUE(w().run_until([&] { return state(node.id) == MemberState::kLearner && admitted(node.id); }))
      << w().member(node.id)->status().waiting_for;
  ASSERT_TRUE(in_sync(node.id));
  const auto promoted = promote(node.id);
  ASSERT_TRUE(promoted.ok()) << promoted.error().message;
  EXPECT_TRUE(voters().contains(node.id));
  // Its vote counts: two of the first three are not enough of four, with it they are.
  w().crash(follower());
  puts(3);
  EXPECT_TRUE(w().settle()) << w().checkers.breach();
}

TEST_F(Members, WhereANewMemberIsSurvivesARestartOfAll) {
  const auto fourth = voter();
  for (const auto id : w().ids()) w().crash(id);
  // Two of the old and the new one, whom no file of theirs names.
  start({kOne, kTwo, fourth});
  puts(3);
  EXPECT_TRUE(w().settle()) << w().checkers.breach();
}

TEST_F(Members, OneThatIsNotInSyncIsNotPromotedAndTheRefusalSaysHowFarItIs) {
  const auto node = w().join();
  ASSERT_TRUE(change({.add = {node}}).ok());
  const auto early = promote(node.id);
  ASSERT_TRUE(refused(early, rule::kInSync)) << early.error().message;
  EXPECT_NE(early.error().message.find("does not answer"), std::string::npos) << early.error().message;
  w().start(node.id);
  ASSERT_TRUE(in_sync(node.id));
  w().crash(node.id);
  w().run_for(3s);
  EXPECT_TRUE(refused(promote(node.id), rule::kInSync));
  EXPECT_TRUE(refused(promote(kOne), rule::kLearner));
  EXPECT_EQ(promote(NodeId(99)).error().code, Code::kNotFound);
}

// As a voter it would have to vote when the leader is gone, and it does not before its
// own state says that its life is admitted; a short log is no sign that it has that.
TEST_F(Members, OneThatHasNotAppliedItsAdmissionIsNotPromoted) {
  const auto node = w().join();
  ASSERT_TRUE(change({.add = {node}}).ok());
  w().start(node.id);
  w().hold_apply(node.id, true);
  ASSERT_TRUE(w().run_until([&] { return w().member(kOne)->membership().contains(node.id) && w().member(node.id)->last().index >= w().member(*w().leader())->committed().index; }));
  w().run_for(1s);
  const auto early = promote(node.id);
  ASSERT_TRUE(refused(early, rule::kInSync)) << early.error().message;
  EXPECT_NE(early.error().message.find("admitted"), std::string::npos) << early.error().message;
  w().hold_apply(node.id, false);
  ASSERT_TRUE(in_sync(node.id));
  EXPECT_TRUE(promote(node.id).ok());
  EXPECT_TRUE(w().settle()) << w().checkers.breach();
}

TEST_F(Members, OneThatIsRemovedIsToldAndServesNobodyNowAndAfterARestart) {
  const auto gone = follower();
  const auto removed = remove(gone);
  ASSERT_TRUE(removed.ok()) << removed.error().message;
  ASSERT_TRUE(told_removed(gone));
  EXPECT_NE(w().member(gone)->status().waiting_for.find("removed"), std::string::npos);
  const auto outcome = put(gone, "a", "b");
  EXPECT_EQ(outcome.end, Outcome::End::kNotApplied);
  EXPECT_NE(outcome.error.message.find("removed"), std::string::npos) << outcome.error.message;
  auto read = w().read(gone, "a");
  ASSERT_TRUE(w().run_until([&] { return read->ended; }));
  EXPECT_FALSE(read->confirmed.ok());
  const auto term = w().member(*w().leader())->term();
  w().kill(gone);
  w().start(gone);
  w().run_for(10s);
  EXPECT_EQ(state(gone), MemberState::kRemoved);
  EXPECT_EQ(w().member(*w().leader())->term(), term) << "it disturbs nobody";
  EXPECT_FALSE(knows(*w().leader(), gone));
  puts(3);
}

TEST_F(Members, OneThatWasDownWhenItWasRemovedIsToldWhenItComesBack) {
  const auto gone = follower();
  w().crash(gone);
  w().run_for(3s);
  ASSERT_TRUE(remove(gone).ok());
  puts(5);
  const auto term = w().member(*w().leader())->term();
  w().start(gone);
  ASSERT_TRUE(told_removed(gone));
  w().run_for(5s);
  EXPECT_EQ(w().member(*w().leader())->term(), term) << "it disturbs nobody";
  puts(3);
}

TEST_F(Members, ALeaderThatRemovesItselfHandsItsLeadershipOverFirst) {
  const auto leader = *w().leader();
  const auto term = w().member(leader)->term();
  const auto removed = change(leader, {.remove = {leader}});
  ASSERT_TRUE(removed.ok()) << removed.error().message;
  ASSERT_TRUE(w().run_until([&] { return w().leader() && *w().leader() != leader; }));
  EXPECT_EQ(w().member(*w().leader())->term(), term + 1) << "one election, which it asked for";
  const auto entry = w().member(*w().leader())->log().point(*removed);
  ASSERT_TRUE(entry.ok());
  EXPECT_EQ(entry->term, term + 1) << "the next leader's change, not its own";
  EXPECT_EQ(voters().size(), 2u);
  ASSERT_TRUE(told_removed(leader));
  puts(3);
  EXPECT_TRUE(w().settle()) << w().checkers.breach();
}

// It answers what it took before it goes, and takes no more.
TEST_F(Members, NoWriteAtALeaderThatIsBeingRemovedWaitsOrEndsUnknown) {
  const auto leader = *w().leader();
  ASSERT_TRUE(remove_under_writes(leader).ok());
  int applied = 0;
  for (const auto& put : writes_) {
    ASSERT_TRUE(put->ended) << "still waits";
    applied += put->outcome.end == Outcome::End::kApplied;
    if (put->outcome.end == Outcome::End::kApplied) continue;
    EXPECT_EQ(put->outcome.end, Outcome::End::kNotApplied) << put->outcome.error.message;
    EXPECT_TRUE(put->outcome.error.message == kLeaving || put->outcome.error.message == text::kRemoved) << put->outcome.error.message;
  }
  EXPECT_GT(applied, 0);
  EXPECT_TRUE(w().settle()) << w().checkers.breach();
}

// Whoever leads has them or not: this one never hears which, and says so at once.
TEST_F(Members, WhatAMemberForwardedBeforeItWasRemovedEndsAtOnce) {
  const auto gone = follower();
  ASSERT_TRUE(remove_under_writes(gone).ok());
  for (const auto& put : writes_) {
    ASSERT_TRUE(put->ended) << "still waits";
    if (put->outcome.end == Outcome::End::kUnknown) {
      EXPECT_EQ(put->outcome.error.message, text::kStopped);
    }
  }
  EXPECT_TRUE(w().settle()) << w().checkers.breach();
}

TEST_F(Members, ALeaderWhoseRemovalIsRefusedTakesWritesAgain) {
  const auto leader = *w().leader();
  const auto down = follower();
  w().crash(down);
  w().run_for(3s);
  EXPECT_FALSE(change(leader, {.remove = {leader}}).ok());
  ASSERT_TRUE(w().run_until([&] { return w().leader().has_value(); }));
  for (const auto id : {kOne, kTwo, kThree})
    if (id != down) { EXPECT_EQ(put(id, "after", "all").end, Outcome::End::kApplied); }
}

// Either of the two may be the one whose log is longer.
TEST_F(Members, ALeaderThatIsRemovedHandsOverToOneThatIsNotPaused) {
  for (const bool first : {true, false}) {
    SetUp();
    const auto leader = *w().leader();
    std::vector<NodeId> others;
    for (const auto id : {kOne, kTwo, kThree})
      if (id != leader) others.push_back(id);
    if (!first) std::swap(others[0], others[1]);
    ASSERT_TRUE(stand(others[0], StandingChange::Kind::kPause).ok());
    w().run_for(1s);
    const auto removed = change(leader, {.remove = {leader}});
    ASSERT_TRUE(removed.ok()) << removed.error().message;
    ASSERT_TRUE(w().run_until([&] { return w().leader() == others[1]; })) << w().checkers.breach();
    ASSERT_TRUE(told_removed(leader));
    puts(3);
  }
}

TEST_F(Members, ALeaderIsNotRemovedWhenAllWhoStayArePaused) {
  const auto leader = *w().leader();
  for (const auto id : {kOne, kTwo, kThree}) {
    if (id == leader) continue;
    ASSERT_TRUE(stand(id, StandingChange::Kind::kPause, true).ok());
  }
  w().run_for(1s);
  const auto removed = change(leader, {.remove = {leader}});
  ASSERT_FALSE(removed.ok());
  EXPECT_NE(removed.error().message.find("replica resume"), std::string::npos) << removed.error().message;
  EXPECT_EQ(voters().size(), 3u);
  puts(3);
}

TEST_F(Members, WhoAskedForTheLeadersRemovalThroughAnotherMemberIsAnswered) {
  const auto leader = *w().leader(), through = follower();
  const auto removed = change(through, {.remove = {leader}});
  ASSERT_TRUE(removed.ok()) << removed.error().message;
  const auto again = change(through, {.remove = {leader}});
  EXPECT_EQ(again.error().code, Code::kNotFound);
  EXPECT_TRUE(refused(change(through, {.promote = {through}}), rule::kLearner)) << "a refusal travels, too";
}

TEST_F(Members, WhatWouldLeaveNoHealthyMajorityIsRefusedUnlessForced) {
  const auto down = follower();
  NodeId other;
  for (const auto id : {kOne, kTwo, kThree})
    if (id != down && id != *w().leader()) other = id;
  w().crash(down);
  w().run_for(3s);
  const auto refusal = remove(other);
  ASSERT_TRUE(refused(refusal, rule::kQuorum)) << refusal.error().message;
  EXPECT_NE(refusal.error().message.find("--force"), std::string::npos);
  EXPECT_EQ(voters().size(), 3u);
  // Removing the dead one is what helps.
  const auto removed = remove(down);
  ASSERT_TRUE(removed.ok()) << removed.error().message;
  puts(3);
}

// Then either set may win: who leads next may never have heard of the change.
TEST_F(Members, AForcedRemovalHoldsTheGroupUpUntilThereIsAMajorityAgain) {
  const auto down = follower();
  NodeId other;
  for (const auto id : {kOne, kTwo, kThree})
    if (id != down && id != *w().leader()) other = id;
  w().crash(down);
  w().run_for(3s);
  const auto forced = remove(other, true);
  ASSERT_FALSE(forced.ok());
  EXPECT_EQ(forced.error().code, Code::kUnknown) << forced.error().message;
  EXPECT_FALSE(w().leader());
  w().start(down);
  ASSERT_TRUE(w().run_until([&] { return w().leader().has_value(); })) << w().checkers.breach();
  puts(3);
  EXPECT_TRUE(w().settle()) << w().checkers.breach();
}

TEST_F(Members, TheLastVoterStays) {
  ASSERT_TRUE(remove(follower()).ok());
  for (const auto id : voters())
    if (id != *w().leader()) {
      const auto removed = remove(id);
      ASSERT_TRUE(removed.ok()) << removed.error().message;
      break;
    }
  ASSERT_EQ(voters().size(), 1u);
  EXPECT_TRUE(refused(remove(*w().leader()), rule::kLastVoter));
  puts(3);
}

TEST_F(Members, ADeadMemberIsReplacedInOneStep) {
  const auto dead = follower();
  w().crash(dead);
  const auto fresh = learner();
  ASSERT_TRUE(in_sync(fresh));
  const auto replaced = change({.promote = {fresh}, .remove = {dead}});
  ASSERT_TRUE(replaced.ok()) << replaced.error().message;
  const auto now = w().member(*w().leader())->membership();
  EXPECT_FALSE(now.joint());
  EXPECT_EQ(now.voters.size(), 3u);
  EXPECT_TRUE(now.voters.contains(fresh) && !now.voters.contains(dead));
  puts(3);
  EXPECT_TRUE(w().settle()) << w().checkers.breach();
}

TEST_F(Members, AllAreReplacedInOneStepTheLeaderToo) {
  const std::set<NodeId> fresh = {learner(), learner(), learner()};
  MemberChange wanted{.remove = {kOne, kTwo, kThree}};
  for (const auto id : fresh) {
    ASSERT_TRUE(in_sync(id));
    wanted.promote.push_back(id);
  }
  const auto replaced = change(wanted);
  // Its old leader has nobody of the old set to hand over to: it answers, or the end is not known.
  EXPECT_TRUE(replaced.ok() || replaced.error().code == Code::kUnknown) << replaced.error().message;
  ASSERT_TRUE(w().run_until([&] { return w().leader() && fresh.contains(*w().leader()) && voters() == fresh; })) << w().checkers.breach();
  for (const auto id : {kOne, kTwo, kThree}) EXPECT_TRUE(told_removed(id)) << id.value();
  puts(3);
  EXPECT_TRUE(w().settle()) << w().checkers.breach();
}

// Whoever leads next ends what was begun, and the votes of both sets count until then.
TEST_F(Members, AJointChangeIsEndedByTheNextLeaderWhenItsLeaderDies) {
  const auto fresh = learner();
  ASSERT_TRUE(in_sync(fresh));
  const auto leader = *w().leader(), old = follower();
  w().member(leader)->change_members({.promote = {fresh}, .remove = {old}}, w().client_loop(), [](Result<Index>) {});
  ASSERT_TRUE(w().run_until([&] { return w().member(leader)->membership().joint() &&
                                         w().member(fresh)->membership().joint(); }));
  w().kill(leader);
  ASSERT_TRUE(w().run_until([&] { return w().leader() && !w().member(*w().leader())->membership().joint(); })) << w().checkers.breach();
  w().start(leader);
  puts(3);
  EXPECT_TRUE(w().settle()) << w().checkers.breach();
}

TEST_F(Members, ASecondChangeIsRefusedUntilTheFirstIsCommitted) {
  const auto leader = *w().leader();
  const auto one = w().join(), two = w().join();
  // Nobody acknowledges: the first one stands uncommitted.
  for (const auto id : {kOne, kTwo, kThree})
    if (id != leader) w().hang_disk(id, true);
  auto first = std::make_shared<Answer<Index>>();
  w().member(leader)->change_members({.add = {one}}, w().client_loop(), [first](Result<Index> r) { first->result = r; });
  ASSERT_TRUE(w().run_until([&] { return w().member(leader)->membership().contains(one.id); }));
  const auto second = change(leader, {.add = {two}});
  EXPECT_TRUE(refused(second, rule::kChangeUnderWay)) << second.error().message;
  for (const auto id : {kOne, kTwo, kThree}) w().hang_disk(id, false);
  ASSERT_TRUE(w().run_until([&] { return first->result.has_value(); }));
  EXPECT_TRUE(first->result->ok()) << first->result->error().message;
  EXPECT_TRUE(change({.add = {two}}).ok());
}

TEST_F(Members, ANewLeaderTakesNoChangeBeforeItHasCommittedAnEntryOfItsTerm) {
  const auto leader = *w().leader();
  const auto node = w().join();
  NodeId next, third;
  for (const auto id : {kOne, kTwo, kThree})
    if (id != leader) (next ? third : next) = id;
  w().kill(leader);
  ASSERT_TRUE(w().run_until([&] {
    for (const auto id : {next, third})
      if (w().member(id)->leads()) return true;
    return false;
  }));
  const auto led = w().member(next)->leads() ? next : third;
  ASSERT_FALSE(w().member(led)->is_leader()) << "its first entry is not committed yet";
  std::optional<Result<Index>> answer;
  w().member(led)->change_members({.add = {node}}, w().client_loop(), [&](Result<Index> r) { answer = r; });
  ASSERT_TRUE(w().run_until([&] { return answer.has_value(); }));
  ASSERT_FALSE(answer->ok());
  EXPECT_EQ(answer->error().code, Code::kUnavailable) << answer->error().message;
}

TEST_F(Members, AnIdAnAddressOrARegionThatIsTakenIsRefused) {
  auto node = w().join();
  auto wrong = node;
  wrong.id = kTwo;
  EXPECT_EQ(change({.add = {wrong}}).error().code, Code::kExists);
  wrong = node;
  wrong.peer_address = "10.0.0.2:2380";
  EXPECT_TRUE(refused(change({.add = {wrong}}), rule::kTaken));
  wrong.region = "elsewhere";  // a list of members goes by it
  wrong.peer_address = "10.0.0.99:2380";
  EXPECT_TRUE(refused(change({.add = {wrong}}), rule::kRegion));
  for (const std::string address : {"", "nowhere", ":2380", "host:"}) {
    wrong.peer_address = address;
    EXPECT_EQ(change({.add = {wrong}}).error().code, Code::kInvalid) << address;
  }
  EXPECT_EQ(change({.remove = {NodeId(77)}}).error().code, Code::kNotFound);
  EXPECT_EQ(change(MemberChange{}).error().code, Code::kInvalid);
}

// The life that was removed never comes back; the id does, on an empty disk.
TEST_F(Members, ARemovedIdComesBackOnAnEmptyDiskOnlyWhenItIsAddedAgain) {
  const auto gone = follower();
  w().crash(gone);
  w().run_for(3s);
  ASSERT_TRUE(remove(gone).ok());
  ASSERT_TRUE(add_again(gone).ok());
  w().start(gone);
  ASSERT_TRUE(told_removed(gone)) << "with its old disk it is the one that was removed";
  w().wipe(gone);
  w().start(gone);
  ASSERT_TRUE(in_sync(gone)) << sync(gone).error().message;
  const auto promoted = promote(gone);
  ASSERT_TRUE(promoted.ok()) << promoted.error().message;
  EXPECT_TRUE(w().settle()) << w().checkers.breach();
}

// It is of no life that the group has ever admitted, and has the group's state.
TEST_F(Members, OneThatIsRemovedBeforeItWasAdmittedIsToldToo) {
  const auto gone = follower();
  w().wipe(gone);
  w().start(gone);
  ASSERT_TRUE(w().run_until([&] {
    return w().member(gone)->state().applied().point.index == w().member(*w().leader())->state().applied().point.index;
  })) << w().checkers.breach();
  w().run_for(1s);
  const auto removed = remove(gone);
  ASSERT_TRUE(removed.ok()) << removed.error().message;
  EXPECT_TRUE(told_removed(gone));
}

// Who has applied a removal and not yet what came after knows nothing of the next life.
TEST_F(Members, OneThatIsBehindRetiresNobodyWhoWasAddedAgain) {
  const auto fourth = voter(), fifth = voter();
  const auto behind = follower();
  ASSERT_NE(behind, fifth);
  w().run_for(1s);
  ASSERT_TRUE(remove(fourth).ok());
  ASSERT_TRUE(told_removed(fourth));
  ASSERT_TRUE(w().run_until([&] { return !w().member(behind)->membership().contains(fourth); }));
  w().run_for(1s);
  w().crash(behind);
  w().wipe(fourth);
  ASSERT_TRUE(add_again(fourth).ok());
  w().start(fourth);
  ASSERT_TRUE(in_sync(fourth)) << sync(fourth).error().message;
  ASSERT_TRUE(promote(fourth).ok());
  ASSERT_TRUE(leads_next(fourth));
  for (const auto id : w().ids())
    if (id != fourth && id != behind) {  // nobody else brings it up to date
      w().network.cut(id, behind);
      w().network.cut(behind, id);
    }
  w().network.cut(fourth, behind);
  w().start(behind);
  w().run_for(5s);
  w().network.heal();
  w().run_for(5s);
  EXPECT_NE(state(fourth), MemberState::kRemoved);
  EXPECT_TRUE(w().settle()) << w().checkers.breach();
}

TEST_F(Members, AnIdThatWasRemovedBeforeItCameAndAddedAgainOutlivesEverybodysRestart) {
  const auto node = w().join();
  ASSERT_TRUE(change({.add = {node}}).ok());
  ASSERT_TRUE(remove(node.id).ok());
  ASSERT_TRUE(change({.add = {node}}).ok());
  w().start(node.id);
  ASSERT_TRUE(in_sync(node.id)) << sync(node.id).error().message;
  ASSERT_TRUE(promote(node.id).ok());
  for (const auto id : {kOne, kTwo, kThree}) {
    w().stop(id);
    w().start(id);
    ASSERT_TRUE(w().run_until([&] { return w().leader().has_value(); }));
    w().run_for(2s);
    ASSERT_NE(state(node.id), MemberState::kRemoved) << "told by " << id.value();
  }
  EXPECT_TRUE(w().settle()) << w().checkers.breach();
}

// Removed, added, removed before anybody came, added: none of it lets the first life in again.
TEST_F(Members, ALifeThatWasRemovedIsNoneHoweverOftenItsIdIsAddedAgain) {
  const auto fourth = voter();
  const auto leader = *w().leader();
  NodeId behind;
  for (const auto id : {kOne, kTwo, kThree})
    if (id != leader) behind = id;
  w().crash(fourth);
  ASSERT_TRUE(remove(fourth).ok());
  ASSERT_TRUE(add_again(fourth).ok());
  w().run_for(1s);
  w().crash(behind);
  ASSERT_TRUE(remove(fourth).ok());
  ASSERT_TRUE(add_again(fourth).ok());
  w().start(fourth);
  ASSERT_TRUE(told_removed(fourth));
  w().wipe(fourth);
  w().start(fourth);
  ASSERT_TRUE(in_sync(fourth)) << sync(fourth).error().message;
  ASSERT_TRUE(promote(fourth).ok());
  ASSERT_TRUE(leads_next(fourth));
  w().start(behind);  // it knows of the first removal alone
  EXPECT_TRUE(w().run_until([&] { return w().member(behind)->status().leader == fourth; }, 20s)) << "it drops what its leader says";
  EXPECT_TRUE(w().settle()) << w().checkers.breach();
}

// One that was down at the removal answers a fresh disk that the id is a member.
TEST_F(Members, AFreshLifeThatWaitsToBeAddedIsNotRetired) {
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    make({.seed = seed});
    w().expect_changes();
    start_all();
    puts(10);
    const auto fourth = learner();
    w().run_for(1s);
    const auto behind = follower() == fourth ? kThree : follower();
    w().crash(behind);
    w().run_for(1s);
    ASSERT_TRUE(remove(fourth).ok());
    ASSERT_TRUE(told_removed(fourth));
    w().wipe(fourth);
    w().start(fourth);
    w().run_for(2s + seed * 37ms);
    w().start(behind);
    w().run_for(5s);
    ASSERT_NE(state(fourth), MemberState::kRemoved) << seed;
    ASSERT_TRUE(add_again(fourth).ok());
    ASSERT_TRUE(in_sync(fourth)) << seed << ": " << sync(fourth).error().message;
    ASSERT_TRUE(w().run_until([&] { return admitted(fourth); })) << w().checkers.breach();
  }
}

// It is sent the log past its removal and its being added again by a leader that has not applied the first.
TEST_F(Members, ARemovedLifeThatHasFollowedPastItsRemovalIsToldToo) {
  const auto fourth = voter();
  w().run_for(1s);
  NodeId next;
  for (const auto id : {kOne, kTwo, kThree})
    if (id != *w().leader()) next = id;
  w().network.isolate(fourth, w().ids());
  w().run_for(1s);
  w().hold_apply(next, true);
  auto busy = w().put(*w().leader(), "long", "write");
  ASSERT_TRUE(w().run_until([&] { return busy->ended; }));
  ASSERT_TRUE(remove(fourth).ok());
  ASSERT_TRUE(add_again(fourth).ok());
  w().member(*w().leader())->transfer_leadership(next);
  ASSERT_TRUE(w().run_until([&] { return w().leader() == next; }, 5s));
  w().network.heal();
  w().run_for(700ms);
  w().hold_apply(next, false);
  EXPECT_TRUE(told_removed(fourth));
}

// Nobody else will ever tell it how that ended.
TEST_F(Members, WhatWaitsAtALeaderThatIsRemovedEndsAtOnce) {
  const auto old = *w().leader();
  w().network.isolate(old, w().ids());
  auto asked = std::make_shared<Answer<bool>>();
  w().member(old)->alarm(old, true, w().client_loop(), [asked](Result<bool> r) { asked->result = r; });
  w().run_for(100ms);
  ASSERT_TRUE(w().run_until([&] { return w().leader() && *w().leader() != old; }, 10s));
  ASSERT_TRUE(remove(old, true).ok());
  w().network.heal();
  ASSERT_TRUE(told_removed(old));
  ASSERT_TRUE(w().run_until([&] { return asked->result.has_value(); }, 1s));
  EXPECT_EQ(asked->result->error().code, Code::kUnknown);
}

// A former leader that could not hear it meanwhile remembers the life before.
TEST_F(Members, AVoterIsNotTakenForTheLifeThatItsAdmissionHasReplaced) {
  ASSERT_TRUE(leads_next(kTwo));
  ASSERT_TRUE(leads_next(kOne));
  w().network.cut(kTwo, kThree);
  w().network.cut(kThree, kTwo);
  w().wipe(kThree);
  w().start(kThree);
  w().run_for(5s);
  ASSERT_TRUE(w().run_until([&] { return admit(kOne, kThree).ok(); }));
  ASSERT_TRUE(w().run_until([&] { return w().member(kTwo)->membership().is_voter(kThree) && admitted(kThree); }));
  w().crash(kThree);
  w().network.heal();
  w().run_for(2s);
  ASSERT_TRUE(leads_next(kTwo));
  w().run_for(3s);
  EXPECT_TRUE(w().member(kTwo)->membership().is_voter(kThree));
}

// A life without a vote that was removed is not the one that comes when its id is added again.
TEST_F(Members, AnIdThatIsAddedAgainWaitsForALifeThatSpeaksFromThenOn) {
  const auto id = follower();
  w().wipe(id);
  w().start(id);
  w().run_for(3s);
  ASSERT_FALSE(admitted(id));
  ASSERT_TRUE(remove(id).ok());
  w().crash(id);
  ASSERT_TRUE(add_again(id).ok());
  w().run_for(3s);
  w().wipe(id);
  w().start(id);
  ASSERT_TRUE(w().run_until([&] { return admitted(id); })) << w().checkers.breach();
}

// What stands in the answer to a change, or behind a read, is the list as it is then.
TEST_F(Members, WhoIsShownIsNotOlderThanWhatIsDone) {
  const auto fourth = voter();
  for (int i = 0; i < 5; ++i) {
    const auto leader = *w().leader();
    ASSERT_TRUE(remove(fourth).ok());
    EXPECT_FALSE(knows(leader, fourth)) << i;
    const auto other = follower();
    const auto read = std::make_shared<Answer<void>>();
    w().member(other)->read_barrier(std::nullopt, w().client_loop(), [this, read, other, fourth](Result<void> r) {
      EXPECT_FALSE(knows(other, fourth));
      read->result = r;
    });
    ASSERT_TRUE(w().run_until([&] { return read->result.has_value(); }));
    ASSERT_TRUE(read->result->ok());
    ASSERT_TRUE(add_again(fourth).ok());
    EXPECT_TRUE(knows(*w().leader(), fourth)) << i;
  }
}

TEST_F(Members, WhoIsAddedAgainIsNotTakenForTheLifeThatWasRemoved) {
  const auto gone = follower();
  w().run_for(1s);
  w().crash(gone);
  ASSERT_TRUE(remove(gone).ok());
  ASSERT_TRUE(add_again(gone).ok());
  w().run_for(3s);  // its first life is admitted when it knocks
  w().wipe(gone);
  w().start(gone);
  ASSERT_TRUE(w().run_until([&] { return admitted(gone); })) << w().checkers.breach();
}

TEST_F(Members, ANewMemberFindsALeaderThatItsFileDoesNotName) {
  const auto fourth = voter();
  auto removed = remove(*w().leader());
  ASSERT_TRUE(removed.ok()) << removed.error().message;
  for (int i = 0; i < 5 && *w().leader() != fourth; ++i) {
    w().member(fourth)->transfer_leadership(fourth);
    w().member(*w().leader())->transfer_leadership(fourth);
    ASSERT_TRUE(w().run_until([&] { return w().leader() == fourth; }, 5s) || w().leader());
  }
  ASSERT_EQ(*w().leader(), fourth);
  const auto fifth = learner();
  EXPECT_TRUE(in_sync(fifth)) << sync(fifth).error().message;
}

TEST_F(Members, ANewMemberWhoseFileNamesNobodyWhoIsOneStillIsCalledByItsGroup) {
  std::set<NodeId> fresh = {learner(), learner(), learner()};
  MemberChange all{.remove = {kOne, kTwo, kThree}};
  for (const auto id : fresh) {
    ASSERT_TRUE(in_sync(id));
    all.promote.push_back(id);
  }
  (void)change(all);
  ASSERT_TRUE(w().run_until([&] { return w().leader() && fresh.contains(*w().leader()); })) << w().checkers.breach();
  for (const auto id : {kOne, kTwo, kThree}) w().crash(id);
  const auto next = learner();
  EXPECT_TRUE(in_sync(next)) << w().member(next)->status().waiting_for;
}

TEST_F(Members, OneThatWasAwayFollowsALeaderThatItsLogDoesNotName) {
  const auto away = follower();
  w().crash(away);
  const auto fourth = voter(), fifth = voter();
  for (const auto id : {kOne, kTwo, kThree})
    if (id != away) {
      const auto removed = remove(id);
      ASSERT_TRUE(removed.ok()) << removed.error().message;
      ASSERT_TRUE(w().run_until([&] { return w().leader().has_value(); }));
      w().crash(id);
    }
  ASSERT_EQ(voters(), (std::set<NodeId>{away, fourth, fifth}));
  w().start(away);
  EXPECT_TRUE(w().run_until([&] { return w().member(away)->leader() == *w().leader(); }));
  puts(3);
  EXPECT_TRUE(w().settle()) << w().checkers.breach();
}

// The one on whom all the others wait leads, and no other file names it.
TEST_F(Members, AWipedMemberFindsALeaderThatItsFileDoesNotNameAndIsAdmitted) {
  const auto fourth = voter();
  ASSERT_TRUE(remove(follower() == fourth ? kThree : follower()).ok());
  ASSERT_TRUE(leads_next(fourth));
  std::vector<NodeId> old;
  for (const auto id : voters())
    if (id != fourth) old.push_back(id);
  ASSERT_EQ(old.size(), 2u);
  w().wipe(old[0]);
  w().start(old[0]);
  ASSERT_TRUE(w().run_until([&] { return w().leader() && !voters().contains(old[0]) && state(old[0]) == MemberState::kLearner; }))
      << w().member(old[0])->status().waiting_for;
  ASSERT_TRUE(in_sync(old[0]));
  w().run_for(1s);  // it reports that it has its copy of the state
  const auto result = admit(old[1], old[0]);
  ASSERT_TRUE(result.ok()) << result.error().message;
  EXPECT_FALSE(*result) << "it was not admitted before";
  ASSERT_TRUE(w().run_until([&] { return admitted(old[0]) && voters().contains(old[0]); })) << w().checkers.breach();
  w().crash(fourth);
  ASSERT_TRUE(w().run_until([&] { return w().leader() && *w().leader() != fourth; })) << w().checkers.breach();
  puts(3);
  EXPECT_TRUE(w().settle()) << w().checkers.breach() << w().standing();
}

TEST_F(Members, AWipedMemberWhoseFileNamesNobodyWhoIsOneStillIsCalledByItsGroup) {
  const auto kept = replace_all_but_one();
  w().wipe(kept);
  w().start(kept);
  ASSERT_TRUE(w().run_until([&] { return w().leader() && state(kept) == MemberState::kLearner; }))
      << w().member(kept)->status().waiting_for;
  ASSERT_TRUE(in_sync(kept));
  w().run_for(1s);
  ASSERT_TRUE(admit(*w().leader(), kept).ok());
  ASSERT_TRUE(w().run_until([&] { return admitted(kept); })) << w().checkers.breach();
  EXPECT_TRUE(w().settle()) << w().checkers.breach();
}

TEST_F(Members, SevenVotersAndFourteenMembersAreTheMost) {
  while (voters().size() < 7) {
    (void)voter();
    ASSERT_FALSE(HasFailure());
  }
  const auto eighth = learner();
  ASSERT_TRUE(in_sync(eighth));
  EXPECT_TRUE(refused(promote(eighth), rule::kLimit));
  for (int members = 8; members < 14; ++members) (void)learner();
  const auto before = w().member(*w().leader())->membership();
  EXPECT_EQ(before.voters.size() + before.learners.size(), 14u);
  EXPECT_TRUE(refused(change({.add = {w().join(GroupRole::kPrimary)}}), rule::kLimit));
  EXPECT_EQ(w().member(*w().leader())->membership(), before);
}

TEST_F(Members, TheFirstNodesOnEmptyDisksBeginNoSecondLifeBesideTheirGroup) {
  const auto kept = replace_all_but_one();
  const auto lineage = w().member(*w().leader())->lineage();
  for (const bool group_restarts : {false, true}) {
    const auto now = voters();
    for (const auto id : now)
      if (group_restarts && id != kept) w().crash(id);
    for (const auto id : {kOne, kTwo, kThree}) w().wipe(id);
    for (const auto id : now)
      if (group_restarts && id != kept) w().start(id);
    for (const auto id : {kOne, kTwo, kThree}) w().start(id);
    w().run_for(10s);
    for (const auto id : {kOne, kTwo, kThree}) {
      const auto theirs = w().member(id)->lineage();
      EXPECT_TRUE(theirs == lineage || !theirs.known()) << id.value();
      if (id == kept) continue;
      EXPECT_EQ(state(id), MemberState::kWaiting) << id.value();
      const auto& waits = w().member(id)->status().waiting_for;
      EXPECT_NE(waits.find("member add " + std::to_string(id.value())), std::string::npos) << waits;
      EXPECT_NE(waits.find("http://10.0.0."), std::string::npos) << "whom to ask: " << waits;
    }
    ASSERT_TRUE(w().run_until([&] { return w().leader() && state(kept) == MemberState::kLearner; }))
        << w().member(kept)->status().waiting_for;
    ASSERT_TRUE(in_sync(kept));
    w().run_for(1s);
    ASSERT_TRUE(admit(*w().leader(), kept).ok());
  }
  EXPECT_TRUE(w().settle()) << w().checkers.breach();
}

TEST_F(Members, ANewMemberThatIsFarBehindComesBySnapshot) {
  for (int round = 0; round < 30; ++round) puts(20);
  w().run_for(2s);
  ASSERT_GT(w().member(*w().leader())->log().base().index, Index(1)) << "the log does not reach down";
  const auto fourth = voter();
  EXPECT_TRUE(voters().contains(fourth));
  EXPECT_TRUE(w().settle()) << w().checkers.breach();
}

TEST_F(Members, AMemberIsLookedForWhereTheGroupWasToldLast) {
  const auto moved = follower();
  Node there;
  there.id = moved;
  there.peer_address = "10.1.1.9:2380";
  ASSERT_TRUE(change({.move = {there}}).ok());
  w().run_for(1s);
  for (const auto id : {kOne, kTwo, kThree})
    for (const auto& m : w().member(id)->topology())
      if (m.id == moved) { EXPECT_EQ(m.peer_address, "10.1.1.9:2380"); }
}

struct MembersOfTwoRegions : Members {
  void SetUp() override {
    WorldOptions o;
    o.standbys = 3;
    o.stream = true;
    make(o);
    start_all();
    puts(10);
    ASSERT_TRUE(w().run_until([&] { return w().leader(GroupRole::kStandby) && w().caught_up(); })) << w().checkers.breach();
  }
};

TEST_F(MembersOfTwoRegions, EachRegionLearnsWhoTheMembersOfTheOtherAreAndKeepsIt) {
  const auto active = learner(), standby = learner(GroupRole::kStandby);
  const NodeId afar(5);
  ASSERT_TRUE(w().run_until([&] { return knows(afar, active) && knows(kOne, standby); })) << w().checkers.breach();
  w().crash(afar);
  w().network.cut_regions("east", "west");
  w().start(afar);
  EXPECT_TRUE(w().run_until([&] { return knows(afar, active); })) << "it is in its own log";
  w().network.heal_regions();
  ASSERT_TRUE(w().run_until([&] { return w().caught_up(); })) << w().checkers.breach();
  const auto removed = remove(active);
  ASSERT_TRUE(removed.ok()) << removed.error().message;
  EXPECT_TRUE(w().run_until([&] { return !knows(afar, active); }));
}

TEST_F(MembersOfTwoRegions, AStandbyRegionGoesOnWithOtherMembersAndIsFollowedByTheOther) {
  const GroupRole west = GroupRole::kStandby;
  std::vector<NodeId> fresh;
  for (int i = 0; i < 2; ++i) fresh.push_back(learner(west));
  for (const auto id : fresh) {
    ASSERT_TRUE(w().run_until([&] {
      const auto promoted = change(*w().leader(west), {.promote = {id}});
      return promoted.ok();
    })) << w().checkers.breach();
  }
  EXPECT_EQ(w().member(*w().leader(west))->membership().voters.size(), 5u);
  for (const NodeId id : {NodeId(4), NodeId(5), NodeId(6)}) {
    const auto removed = change(*w().leader(west), {.remove = {id}});
    ASSERT_TRUE(removed.ok()) << id.value() << ": " << removed.error().message;
    ASSERT_TRUE(told_removed(id)) << id.value();
    ASSERT_TRUE(w().run_until([&] { return w().leader(west).has_value(); }));
  }
  puts(5);
  ASSERT_TRUE(w().run_until([&] { return w().caught_up(); })) << w().standing();
  const auto status = w().member(*w().leader(west))->status();
  for (const auto& check : status.group_eligibility) EXPECT_EQ(check.detail.find("of 3"), std::string::npos) << check.check << ": " << check.detail;
  EXPECT_TRUE(w().settle()) << w().checkers.breach();
}

// The list that the region began anew by names two of three: the third is of no other region.
TEST(PlanOfMembers, WhoDidNotComeBackWithItsRegionIsAddedAndWhoIsOfAnotherIsNot) {
  const auto node = [](std::uint64_t id, const char* region, GroupRole role) {
    return Node{NodeId(id), "n" + std::to_string(id), region, "", "10.0.0." + std::to_string(id) + ":2380", "", role};
  };
  GroupState group;
  for (std::uint64_t id : {1, 2, 3}) group.topology.push_back(node(id, "east", GroupRole::kPrimary));
  for (std::uint64_t id : {11, 12, 13}) group.topology.push_back(node(id, "west", GroupRole::kStandby));
  raft::Membership membership;
  membership.voters = {NodeId(11), NodeId(12)};
  const MemberFacts facts{membership, group, {group.topology[3], group.topology[4]}, [](NodeId) { return true; },
                          [](NodeId) { return Result<std::uint64_t>(0); }};
  const auto back = plan({.add = {node(13, "west", GroupRole::kStandby)}}, facts);
  ASSERT_TRUE(back.ok()) << back.error().message;
  EXPECT_TRUE(back->last.learners.contains(NodeId(13)));
  const auto foreign = plan({.add = {node(3, "west", GroupRole::kStandby)}}, facts);
  ASSERT_FALSE(foreign.ok());
  EXPECT_TRUE(refused_by(foreign.error(), rule::kTaken)) << foreign.error().message;
}

}  // namespace
}  // namespace leeward::node
