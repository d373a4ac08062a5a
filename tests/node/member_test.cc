// A member's behaviour, told by real members in the simulator's world.
#include <algorithm>

#include "support.h"

namespace leeward::node {
namespace {

using Writes = Fixture;

TEST_F(Writes, AFollowerForwardsAndAnswersFromItsOwnApply) {
  make();
  start_all();
  const auto id = follower();
  ASSERT_EQ(put(id, "a", "b").end, Outcome::End::kApplied);
  EXPECT_EQ(w().peek(id, "a"), "b");
}

TEST_F(Writes, WhatIsPastItsDeadlineIsNotProposed) {
  make();
  start_all();
  auto late = w().put(*w().leader(), "a", "b", Duration(-1));
  ASSERT_TRUE(w().run_until([&] { return late->ended; }));
  EXPECT_EQ(late->outcome.end, Outcome::End::kNotApplied);
  EXPECT_EQ(late->outcome.error.code, Code::kDeadline);
  w().run_for(1s);
  EXPECT_EQ(w().peek(*w().leader(), "a"), std::nullopt);
}

TEST_F(Writes, WithoutAQuorumTheEndIsUnknownAndOfALeaderlessOneNotApplied) {
  make();
  start_all();
  w().run_for(500ms);
  const auto leader = *w().leader();
  w().network.isolate(leader, w().ids());
  auto put = w().put(leader, "a", "b");
  ASSERT_TRUE(w().run_until([&] { return put->ended; }));
  EXPECT_EQ(put->outcome.end, Outcome::End::kUnknown);
  EXPECT_NE(put->outcome.error.message.find("possibly due to previous leader failure"), std::string::npos)
      << put->outcome.error.message;
  auto next = w().put(leader, "c", "d");
  ASSERT_TRUE(w().run_until([&] { return next->ended; }));
  EXPECT_EQ(next->outcome.end, Outcome::End::kNotApplied);
  EXPECT_EQ(next->outcome.error.message, "etcdserver: no leader");
}

// The frame to a leader that died is lost; the next leader's first entry tells.
TEST_F(Writes, AWriteForwardedToADeadLeaderIsRefusedForCertainSoon) {
  make();
  start_all();
  w().run_for(500ms);
  const auto old = *w().leader();
  const auto id = follower();
  w().network.tamper = [&](NodeId from, NodeId to, Lane, Bytes bytes) {
    return from == old || to == old ? Bytes() : bytes;
  };
  auto put = w().put(id, "a", "b");
  w().run_for(50ms);
  w().crash(old);
  w().network.tamper = nullptr;
  ASSERT_TRUE(w().run_until([&] { return put->ended; }, 4s)) << w().checkers.breach();
  EXPECT_EQ(put->outcome.end, Outcome::End::kNotApplied);
  EXPECT_EQ(put->outcome.error.message, "etcdserver: leader changed");
}

TEST_F(Writes, MoreThanMayWaitIsRefused) {
  make();
  w().adjust = [](MemberOptions& m) { m.limits.waiting_bytes = 10'000; };
  start_all();
  const auto leader = *w().leader();
  std::vector<std::shared_ptr<World::Put>> all;
  for (int i = 0; i < 20; ++i) all.push_back(w().put(leader, "k" + std::to_string(i), std::string(1000, 'v')));
  ASSERT_TRUE(w().run_until([&] { return std::all_of(all.begin(), all.end(), [](auto& p) { return p->ended; }); }));
  int refused = 0;
  for (auto& p : all) {
    if (p->outcome.end == Outcome::End::kApplied) continue;
    ++refused;
    EXPECT_EQ(p->outcome.error, (Error{Code::kOverloaded, "etcdserver: too many requests"}));
  }
  EXPECT_GT(refused, 5);
  EXPECT_LT(refused, 15);
}

TEST_F(Writes, ALeaderWhoseDiskHangsStepsDown) {
  make();
  start_all();
  w().run_for(500ms);
  const auto old = *w().leader();
  w().hang_disk(old, true);
  auto pending = w().put(old, "a", "b");
  ASSERT_TRUE(w().run_until([&] { return w().leader() && *w().leader() != old; }, 10s)) << w().checkers.breach();
  w().hang_disk(old, false);
  EXPECT_TRUE(w().settle()) << w().checkers.breach();
}

void expect_stays_and_reads(World& w, NodeId leader, Term term) {
  w.run_for(10s);
  EXPECT_EQ(w.leader(), leader);
  EXPECT_EQ(w.member(leader)->term(), term);
  auto read = w.read(leader, "key1");
  ASSERT_TRUE(w.run_until([&] { return read->ended; }, 2s));
  EXPECT_TRUE(read->confirmed.ok());
}

// A vote that nobody can make durable ends in no leader at all.
TEST_F(Writes, ALeaderWhoseDiskHangsLikeAllOthersStaysAndServesReads) {
  make();
  start_all();
  puts(3);
  const auto leader = *w().leader();
  const auto term = w().member(leader)->term();
  for (const auto id : w().ids()) w().hang_disk(id, true);
  auto pending = w().put(leader, "a", "b");
  ASSERT_NO_FATAL_FAILURE(expect_stays_and_reads(w(), leader, term));
  for (const auto id : w().ids()) w().hang_disk(id, false);
  EXPECT_TRUE(w().settle()) << w().checkers.breach();
}

// What the others said before they tried to write says nothing.
TEST_F(Writes, ALeaderWhoseDiskIsFullLikeAllOthersStaysAndServesReads) {
  make();
  start_all();
  puts(3);
  const auto leader = *w().leader();
  const auto term = w().member(leader)->term();
  for (const auto id : w().ids()) w().disk(id).refuse_writes("/wal");
  w().network.tamper = [](NodeId, NodeId, Lane, Bytes bytes) {
    const auto frame = decode_frame(bytes);
    return frame.ok() && frame->header.type == FrameType::kReport ? Bytes() : bytes;
  };
  auto pending = w().put(leader, "a", "b");
  ASSERT_NO_FATAL_FAILURE(expect_stays_and_reads(w(), leader, term));
  EXPECT_TRUE(w().member(leader)->status().disk_full);
  for (const auto id : w().ids()) w().disk(id).refuse_writes("");
  EXPECT_TRUE(w().settle()) << w().checkers.breach();
}

// A DeleteRange over a million keys is one write.
TEST_F(Writes, OneThatTakesLongToApplyHoldsUpNoHeartbeatVoteOrEntry) {
  make();
  start_all();
  w().run_for(500ms);
  const auto leader = *w().leader();
  const auto term = w().member(leader)->term();
  const auto before = w().member(leader)->committed().index;
  for (const auto id : w().ids()) w().hold_apply(id, true);
  auto first = w().put(leader, "long", "1");
  w().run_for(1s);
  auto second = w().put(leader, "behind", "2");
  auto read = w().read(leader, "long");
  w().run_for(30s);
  EXPECT_TRUE(read->ended && !read->confirmed.ok());
  for (const auto id : w().ids()) {
    EXPECT_EQ(w().member(id)->leader(), leader);
    EXPECT_EQ(w().member(id)->term(), term) << "nobody stood for election";
    EXPECT_EQ(w().member(id)->committed().index, before + 2);
    EXPECT_EQ(w().member(id)->state().applied().point.index, before);
  }
  for (const auto& put : {first, second}) EXPECT_EQ(put->outcome.end, Outcome::End::kUnknown) << "nobody waits for ever";
  auto third = w().put(leader, "last", "3");
  w().run_for(1s);
  w().stop_some_time(leader);
  w().run_for(10s);
  EXPECT_TRUE(w().running(leader)) << "the state is flushed when what is under way has ended";
  for (const auto id : w().ids()) w().hold_apply(id, false);
  EXPECT_TRUE(w().settle()) << w().checkers.breach();
  for (const char* key : {"long", "behind", "last"}) EXPECT_TRUE(w().peek(leader, key)) << key;
}

// Where the others are long done it is no long write but a state that hangs.
TEST_F(Writes, ALeaderWhoseStateHangsStepsDown) {
  make();
  start_all();
  w().run_for(500ms);
  const auto old = *w().leader();
  w().hold_apply(old, true);
  auto pending = w().put(old, "a", "b");
  ASSERT_TRUE(w().run_until([&] { return w().leader() && *w().leader() != old; }, 10s)) << w().checkers.breach();
  auto next = w().put(*w().leader(), "c", "d");
  ASSERT_TRUE(w().run_until([&] { return next->ended; }, 1s));
  EXPECT_EQ(next->outcome.end, Outcome::End::kApplied);
  w().hold_apply(old, false);
  EXPECT_TRUE(w().settle()) << w().checkers.breach();
}

TEST_F(Writes, AFullDiskRefusesWritesKeepsReadsAndRecovers) {
  WorldOptions o;
  o.primaries = 1;
  make(o);
  start_all();
  puts(3);
  w().disk(kOne).refuse_writes("/wal");
  auto stuck = w().put(kOne, "a", "b");
  w().run_for(1s);
  EXPECT_EQ(put(kOne, "c", "d").error.code, Code::kNoSpace);
  EXPECT_TRUE(w().member(kOne)->status().disk_full);
  EXPECT_EQ(w().peek(kOne, "key1"), std::string(100, 'v'));
  w().disk(kOne).refuse_writes("");
  ASSERT_TRUE(w().run_until([&] { return stuck->ended; }, 10s)) << w().checkers.breach();
  EXPECT_EQ(stuck->outcome.end, Outcome::End::kApplied);
  EXPECT_EQ(put(kOne, "c", "d").end, Outcome::End::kApplied);
}

TEST_F(Writes, ALeaderWhoseStateIsFullGivesItsLeadershipUpAndSaysWhatItCannotDo) {
  make();
  start_all();
  puts(3);
  w().run_for(1s);
  const auto full = *w().leader();
  w().disk(full).refuse_writes("/data/state-");
  std::vector<std::shared_ptr<World::Put>> under_way;
  const auto stepped_down = [&] {
    if (w().leader() == full) under_way.push_back(w().put(full, "key", std::string(1000, 'v')));
    return w().leader() && *w().leader() != full;
  };
  ASSERT_TRUE(w().run_until([&] { w().run_for(100ms); return stepped_down(); }, 20s)) << w().checkers.breach();
  ASSERT_TRUE(w().member(full)->status().disk_full);
  puts(5);
  EXPECT_EQ(put(full, "there", "v").error.code, Code::kNoSpace) << "it would not see the end of it";
  auto answered = std::make_shared<std::optional<Result<void>>>();
  w().member(full)->read_barrier(std::nullopt, w().client_loop(), [answered](Result<void> r) { *answered = r; });
  ASSERT_TRUE(w().run_until([&] { return answered->has_value(); }));
  EXPECT_NE((**answered).error().message.find("serializable"), std::string::npos) << (**answered).error().message;
  w().disk(full).refuse_writes("");
  EXPECT_TRUE(w().settle()) << w().checkers.breach();
  EXPECT_EQ(put(full, "there", "v").end, Outcome::End::kApplied);
}

TEST_F(Writes, TheReserveIsGivenToAStateThatIsFull) {
  WorldOptions o;
  o.primaries = 1;
  make(o);
  w().adjust = [](MemberOptions& m) { m.storage.reserve_bytes = 64_KiB; };
  start_all();
  puts(3);
  w().run_for(1s);
  ASSERT_TRUE(w().disk(kOne).exists("/data/reserve"));
  w().disk(kOne).refuse_writes("/data/state-");
  std::vector<std::shared_ptr<World::Put>> under_way;
  ASSERT_TRUE(w().run_until([&] {
    under_way.push_back(w().put(kOne, "key", std::string(1000, 'v')));
    w().run_for(100ms);
    return !w().disk(kOne).exists("/data/reserve");
  }, 20s));
  w().run_for(31s);
  EXPECT_FALSE(w().disk(kOne).exists("/data/reserve")) << "not before the state has what it needs";
  w().disk(kOne).refuse_writes("");
  EXPECT_TRUE(w().run_until([&] { return w().disk(kOne).exists("/data/reserve"); }, 60s));
}

using Stop = Fixture;

TEST_F(Stop, ALeaderHandsOverAndLeavesACleanDirectory) {
  make();
  start_all();
  puts(3);
  const auto old = *w().leader();
  w().stop(old);
  EXPECT_EQ(w().checkers.breach(), "");
  EXPECT_TRUE(w().run_until([&] { return w().leader() && *w().leader() != old; }, 500ms));  // no election timeout
  w().start(old);
  EXPECT_TRUE(w().settle()) << w().checkers.breach();
}

TEST_F(Stop, LeadershipMovesToWhomItIsTold) {
  make();
  start_all();
  w().run_for(500ms);
  const auto to = follower();
  auto answer = std::make_shared<std::optional<Result<void>>>();
  w().member(to)->transfer_leadership(to, w().client_loop(), [answer](Result<void> r) { *answer = r; });
  ASSERT_TRUE(w().run_until([&] { return answer->has_value(); })) << w().checkers.breach();
  EXPECT_TRUE((*answer)->ok()) << (*answer)->error().message;
  EXPECT_TRUE(w().run_until([&] { return w().leader() == to; }));
}

using Leases = Fixture;

TEST_F(Leases, ALeaseLivesByKeepAliveAndIsRevokedWithoutIt) {
  make();
  start_all();
  ASSERT_EQ(grant(follower(), 77, 5).end, Outcome::End::kApplied);
  for (int i = 0; i < 4; ++i) {
    w().run_for(3s);
    const auto ttl = keep_alive(follower(), 77);
    ASSERT_TRUE(ttl.ok()) << ttl.error().message;
    EXPECT_EQ(*ttl, 5);
  }
  w().run_for(8s);
  EXPECT_FALSE(w().member(kOne)->state().lease(77).has_value());
  const auto gone = keep_alive(kOne, 77);
  ASSERT_FALSE(gone.ok());
  EXPECT_EQ(gone.error().code, Code::kNotFound);
}

// A keep-alive is answered behind all that is committed. While that takes long the
// lease's owner cannot be heard, and what nobody could say is not held against it.
TEST_F(Leases, NoneEndsWhileALongWriteKeepsKeepAlivesWaiting) {
  make();
  start_all();
  const auto leader = *w().leader();
  ASSERT_EQ(grant(leader, 77, 5).end, Outcome::End::kApplied);
  for (const auto id : w().ids()) w().hold_apply(id, true);
  auto long_write = w().put(leader, "long", "1");
  w().run_for(1s);
  std::optional<Result<std::int64_t>> answer;
  w().member(leader)->keep_alive(77, w().client_loop(), [&](Result<std::int64_t> r) { answer = r; });
  w().run_for(5500ms);
  EXPECT_FALSE(answer);
  for (const auto id : w().ids()) w().hold_apply(id, false);
  ASSERT_TRUE(w().run_until([&] { return answer.has_value(); }, 100ms));
  ASSERT_TRUE(answer->ok()) << answer->error().message;
  EXPECT_EQ(**answer, 5);
  w().run_for(4s);
  EXPECT_TRUE(w().member(leader)->state().lease(77).has_value());
  w().run_for(4s);
  EXPECT_FALSE(w().member(leader)->state().lease(77).has_value()) << "it ends still";
}

// What a process asked for before it died may be answered to the next one.
TEST_F(Leases, AnAnswerToACallOfAnEarlierLifeIsNotTakenForANewOne) {
  make();
  start_all();
  const auto leader = *w().leader(), asker = follower();
  ASSERT_EQ(grant(leader, 77, 60).end, Outcome::End::kApplied);
  w().hold_apply(leader, true);
  auto long_write = w().put(leader, "long", "1");
  w().run_for(300ms);
  constexpr int kCalls = 10;  // of each life: answers may overtake one another
  for (int i = 0; i < kCalls; ++i) w().member(asker)->keep_alive(77, w().client_loop(), [](Result<std::int64_t>) {});
  w().run_for(300ms);
  w().kill(asker);
  w().start(asker);
  ASSERT_TRUE(w().run_until([&] { return w().member(asker) && w().member(asker)->status().leader == leader; }));
  std::vector<Result<std::int64_t>> answers;
  for (int i = 0; i < kCalls; ++i)
    w().member(asker)->keep_alive(4711, w().client_loop(), [&](Result<std::int64_t> r) { answers.push_back(r); });
  w().run_for(300ms);
  EXPECT_TRUE(answers.empty());
  w().hold_apply(leader, false);
  ASSERT_TRUE(w().run_until([&] { return answers.size() == kCalls; })) << w().checkers.breach();
  ASSERT_EQ(*w().leader(), leader) << "the calls were sent to another one anew";
  for (const auto& answer : answers) EXPECT_FALSE(answer.ok()) << "a lease that nobody granted has " << *answer << " s";
}

TEST_F(Leases, ANewLeaderStartsThemAtFullTime) {
  make();
  start_all();
  ASSERT_EQ(grant(*w().leader(), 5, 6).end, Outcome::End::kApplied);
  w().run_for(4s);
  const auto old = *w().leader();
  w().crash(old);
  ASSERT_TRUE(w().run_until([&] { return w().leader() && *w().leader() != old; }));
  w().run_for(5s);
  EXPECT_TRUE(w().member(*w().leader())->state().lease(5).has_value());
  w().run_for(4s);
  EXPECT_FALSE(w().member(*w().leader())->state().lease(5).has_value());
}

TEST_F(Leases, OneRevokedAndGrantedAgainAtOnceBeginsAnew) {
  make();
  start_all();
  const auto leader = *w().leader();
  ASSERT_EQ(grant(leader, 9, 600).end, Outcome::End::kApplied);
  // Both in one entry: the state shows only what is left of them.
  etcdserverpb::LeaseRevokeRequest revoke;
  revoke.set_id(9);
  etcdserverpb::LeaseGrantRequest again;
  again.set_id(9);
  again.set_ttl(3);
  int applied = 0;
  for (auto& command : {Command{Op::kLeaseRevoke, Bytes(revoke.SerializeAsString()), {}, {}},
                        Command{Op::kLeaseGrant, Bytes(again.SerializeAsString()), {}, {}}})
    w().member(leader)->propose(command, std::nullopt, w().client_loop(),
                                [&applied](Outcome o) { applied += o.end == Outcome::End::kApplied; });
  ASSERT_TRUE(w().run_until([&] { return applied == 2; })) << w().checkers.breach();
  ASSERT_TRUE(w().member(leader)->state().lease(9).has_value());
  w().run_for(8s);
  EXPECT_FALSE(w().member(leader)->state().lease(9).has_value());
}

// Its disk hangs, so what it concludes waits to be proposed; the next leader
// has begun the lease anew and may have told a client so.
TEST_F(Leases, WhatADeposedLeaderHeldExpiredIsNotRevokedByTheNext) {
  make();
  start_all();
  const auto old = *w().leader();
  ASSERT_EQ(grant(old, 5, 4).end, Outcome::End::kApplied);
  ASSERT_TRUE(w().run_until([&] { return w().member(old)->state().lease(5).has_value(); }));
  w().run_for(3900ms);
  w().hang_disk(old, true);
  std::vector<decltype(w().put(old, "", ""))> puts;
  for (int i = 0; i < 10; ++i) {
    puts.push_back(w().put(old, "fill" + std::to_string(i), "v"));
    w().run_for(5ms);
  }
  ASSERT_TRUE(w().run_until([&] { return w().leader() && *w().leader() != old; }, 10s)) << w().checkers.breach();
  w().run_for(2s);
  EXPECT_TRUE(w().member(*w().leader())->state().lease(5).has_value());
  w().hang_disk(old, false);
  EXPECT_TRUE(w().settle()) << w().checkers.breach();
}

using Status = Fixture;

TEST_F(Status, EachMemberKnowsTheOthers) {
  make();
  start_all();
  puts(3);
  w().run_for(2s);
  for (const auto id : w().ids()) {
    const auto status = w().member(id)->status();
    ASSERT_EQ(status.members.size(), 3u);
    for (const auto& m : status.members) {
      EXPECT_TRUE(m.healthy) << m.id.value();
      EXPECT_TRUE(m.admitted);
      EXPECT_EQ(m.state_hash, status.applied.state_hash);
    }
  }
  w().crash(follower());
  w().run_for(4s);
  int down = 0;
  for (const auto& m : w().member(*w().leader())->status().members) down += m.state == MemberState::kDown;
  EXPECT_EQ(down, 1);
}

}  // namespace
}  // namespace leeward::node
