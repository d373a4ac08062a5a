// An EpochChange in the log of the standby group: its region becomes primary by
// that one entry. Real members (raft, wal, kv, node, standby) of two regions in
// the simulator; nothing in the product proposes the entry yet, so the tests do.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "proto/rpc.pb.h"
#include "standby/forwarding.h"
#include "standby/messages.h"
#include "standby/replication.h"
#include "support/sanitized.h"
#include "story.h"
#include "world/wire.h"
#include "world/world.h"

namespace leeward::standby {
namespace {

TEST(Epochs, TheArmedGroupBecomesPrimaryByOneEntry) {
  Story r(1);
  ASSERT_READY(r);
  r.world.lose(GroupRole::kPrimary);
  const auto id = *r.leader();
  const auto change = r.world.change_at(id);
  ASSERT_TRUE(r.world.propose(id, change).ok());
  ASSERT_TRUE(r.world.run_until([&] { return r.all_turned(); })) << r.why();
  for (const auto member : kStandbys) {
    const auto state = r.world.member(member)->state().applied();
    EXPECT_EQ(state.revision.value(), kSecondEpoch) << "the entry itself takes the first revision";
    EXPECT_EQ(state.point.position.index, change.fork.index + 1);
    EXPECT_EQ(r.epochs(member), (std::vector<region::EpochRecord>{{Epoch(2), change.promotion, change.fork}}));
    EXPECT_EQ(r.world.peek(member, "k19"), "19" + std::string(60, 'v'));
  }
  r.expect_it_serves();
  ASSERT_TRUE(r.world.settle()) << r.why();
  const auto& first = r.world.member(NodeId(4))->state().applied();
  for (const auto member : kStandbys) EXPECT_EQ(r.world.member(member)->state().applied().state_hash, first.state_hash);
}

// --- leases ---

struct Lease {
  static Command grant(std::int64_t id, std::int64_t ttl) {
    etcdserverpb::LeaseGrantRequest request;
    request.set_id(id);
    request.set_ttl(ttl);
    Command command;
    command.op = Op::kLeaseGrant;
    command.request = Bytes(request.SerializeAsString());
    return command;
  }
  static Command put(const std::string& key, std::int64_t lease) {
    etcdserverpb::PutRequest request;
    request.set_key(key);
    request.set_value("v");
    request.set_lease(lease);
    Command command;
    command.op = Op::kPut;
    command.request = Bytes(request.SerializeAsString());
    return command;
  }
};

bool run_command(Story& r, NodeId id, Command command) {
  bool ended = false, applied = false;
  r.world.service(id)->propose(std::move(command), std::nullopt, r.world.client_loop(), [&](node::Outcome o) {
    ended = true;
    applied = o.end == node::Outcome::End::kApplied && o.result.etcd_error.empty();
  });
  return r.world.run_until([&] { return ended; }) && applied;
}

TEST(Epochs, LeasesBeginAnewInFull) {
  Story r(2);
  ASSERT_READY(r);
  ASSERT_TRUE(run_command(r, *r.world.leader(), Lease::grant(7, 20)));
  ASSERT_TRUE(run_command(r, *r.world.leader(), Lease::put("leased", 7)));
  r.world.run_for(15s);
  ASSERT_TRUE(r.world.run_until([&] { return r.world.caught_up(); })) << r.why();
  r.world.lose(GroupRole::kPrimary);
  ASSERT_TRUE(r.promote()) << r.why();
  const auto began = r.world.scheduler.now();
  for (const auto id : kStandbys) {  // the leader answers, whoever is asked
    std::optional<Result<std::int64_t>> left;
    r.world.service(id)->lease_remaining(7, r.world.client_loop(), [&](Result<std::int64_t> answer) { left = std::move(answer); });
    ASSERT_TRUE(r.world.run_until([&] { return left.has_value(); })) << r.why();
    ASSERT_TRUE(left->ok()) << left->error().message;
    EXPECT_GE(**left, 18);
  }
  ASSERT_TRUE(r.world.run_until([&] { return !r.world.peek(*r.leader(), "leased"); }, 60s)) << "it never expires" << r.why();
  EXPECT_GE(r.world.scheduler.now() - began, 19s);
  EXPECT_LE(r.world.scheduler.now() - began, 25s);
}

TEST(Epochs, AKeepAliveIsAnsweredByTheNewPrimary) {
  Story r(3);
  ASSERT_READY(r);
  ASSERT_TRUE(run_command(r, *r.world.leader(), Lease::grant(7, 20)));
  ASSERT_TRUE(r.world.run_until([&] { return r.world.caught_up(); })) << r.why();
  r.world.lose(GroupRole::kPrimary);
  ASSERT_TRUE(r.promote()) << r.why();
  for (const auto id : kStandbys) {
    std::optional<Result<std::int64_t>> ttl;
    r.world.service(id)->keep_alive(7, r.world.client_loop(), [&](Result<std::int64_t> answer) { ttl = std::move(answer); });
    ASSERT_TRUE(r.world.run_until([&] { return ttl.has_value(); })) << r.why();
    EXPECT_TRUE(ttl->ok()) << ttl->error().message;
  }
}

// --- what fails on the way ---

TEST(Epochs, PowerThatFailsAtAnyStepOfTheChangeLeavesItWholeOrNotThere) {
  int cut = 0;
  for (std::uint64_t step = 0; step < 36; step += test::kSanitized ? 9 : 1) {
    SCOPED_TRACE("power for " + std::to_string(step) + " more disk operations");
    Story r(100 + step);
    ASSERT_READY(r);
    r.world.lose(GroupRole::kPrimary);
    // One member of three, or all of them.
    const auto victims = step % 4 == 3 ? kStandbys : std::vector<NodeId>{kStandbys[step % 3]};
    const auto id = *r.leader();
    for (const auto victim : victims) r.world.disk(victim).power_off_after(step / 3);
    ASSERT_TRUE(r.world.propose(id, r.world.change_at(id)).ok());
    r.world.run_for(2s);
    for (const auto victim : victims) {
      cut += r.world.running(victim) ? 0 : 1;
      if (r.world.running(victim)) r.world.crash(victim);
    }
    ASSERT_TRUE(r.promote()) << r.why();
    r.expect_it_serves();
    if (HasFatalFailure()) return;
    ASSERT_TRUE(r.world.settle()) << r.why();
    for (const auto member : kStandbys) EXPECT_EQ(r.epochs(member).size(), 1u);
  }
  EXPECT_GT(cut, test::kSanitized ? 0 : 5);
}

TEST(Epochs, AChangeThatOnlyALostLeaderHadIsNotThere) {
  for (const bool comes_back : {false, true}) {
    SCOPED_TRACE(comes_back ? "it is cut off for some time" : "its power fails");
    Story r(5);
    ASSERT_READY(r);
    r.world.lose(GroupRole::kPrimary);
    const auto old = *r.leader();
    r.cut_off(old);
    const auto lost = r.world.change_at(old);
    ASSERT_TRUE(r.world.propose(old, lost).ok());
    r.world.run_for(50ms);
    ASSERT_EQ(r.world.member(old)->log().last().position.index, lost.fork.index + 1) << "it is in the leader's log";
    EXPECT_EQ(r.world.member(old)->role(), GroupRole::kStandby) << "not committed";
    if (!comes_back) r.world.crash(old);
    ASSERT_TRUE(r.world.run_until([&] { return r.leader() && *r.leader() != old; }, 20s)) << r.why();
    r.world.run_for(1s);
    const auto id = *r.leader();
    EXPECT_EQ(r.world.member(id)->role(), GroupRole::kStandby);
    EXPECT_EQ(r.world.member(id)->epoch(), Epoch(1));
    const auto change = r.world.change_at(id);
    ASSERT_TRUE(r.world.propose(id, change).ok()) << "its log holds none";
    ASSERT_TRUE(r.world.run_until([&] { return r.turned(id); })) << r.why();
    r.world.network.heal();
    r.world.start(old);
    ASSERT_TRUE(r.world.run_until([&] { return r.all_turned(); })) << r.why();
    for (const auto member : kStandbys) EXPECT_EQ(r.epochs(member).back().promotion, change.promotion);
    r.expect_it_serves();
    ASSERT_TRUE(r.world.settle()) << r.why();
  }
}

// It was in this very process's log, and judged: what was cut off counts no more.
TEST(Epochs, ALeaderThatLostItsChangeAndLeadsAgainMayAppendAnother) {
  Story r(11);
  ASSERT_READY(r);
  r.world.lose(GroupRole::kPrimary);
  const auto old = *r.leader();
  r.cut_off(old);
  ASSERT_TRUE(r.world.propose(old, r.world.change_at(old)).ok());
  ASSERT_EQ(r.world.member(old)->role_at_end(), GroupRole::kPrimary);
  ASSERT_TRUE(r.world.run_until([&] { return r.leader() && *r.leader() != old; }, 20s)) << r.why();
  r.world.network.heal();
  for (int i = 0; i < 10 && r.leader() != old; ++i) {
    r.world.run_for(500ms);
    r.world.member(*r.leader())->transfer_leadership(old);
    r.world.run_until([&] { return r.leader() == old; }, 2s);
  }
  ASSERT_EQ(r.leader(), old) << r.why();
  EXPECT_EQ(r.world.member(old)->role_at_end(), GroupRole::kStandby);
  const auto again = r.world.propose(old, r.world.change_at(old));
  ASSERT_TRUE(again.ok()) << again.error().message;
  ASSERT_TRUE(r.world.run_until([&] { return r.all_turned(); })) << r.why();
  r.expect_it_serves();
  ASSERT_TRUE(r.world.settle()) << r.why();
}

TEST(Epochs, AChangeThatAMajorityHoldsIsThereThoughItsLeaderNeverKnew) {
  Story r(6);
  ASSERT_READY(r);
  r.world.lose(GroupRole::kPrimary);
  const auto old = *r.leader();
  r.world.network.tamper = [old](NodeId, NodeId to, Lane lane, Bytes bytes) -> Bytes {
    const auto raft = sim::raft_frame(lane, bytes);
    return raft && to == old && raft->message.type == raft::MessageType::kAppendReply ? Bytes() : bytes;
  };
  const auto change = r.world.change_at(old);
  ASSERT_TRUE(r.world.propose(old, change).ok());
  const auto followers = r.followers();
  ASSERT_TRUE(r.world.run_until(
      [&] {
        return std::all_of(followers.begin(), followers.end(),
                           [&](NodeId id) { return r.world.member(id)->log().last().position.index == change.fork.index + 1; });
      },
      500ms))
      << r.why();
  r.world.crash(old);
  r.world.network.tamper = nullptr;
  for (const auto id : followers) EXPECT_EQ(r.world.member(id)->role(), GroupRole::kStandby);
  r.world.start(old);
  ASSERT_TRUE(r.world.run_until([&] { return r.all_turned() && r.leader(); }, 20s)) << r.why();
  for (const auto member : kStandbys) EXPECT_EQ(r.epochs(member).back().promotion, change.promotion);
  r.expect_it_serves();
  ASSERT_TRUE(r.world.settle()) << r.why();
}

TEST(Epochs, ItHoldsThroughARestartThatReplaysTheLogOverIt) {
  Story r(7);
  ASSERT_READY(r);
  r.world.lose(GroupRole::kPrimary);
  ASSERT_TRUE(r.promote()) << r.why();
  r.puts(*r.leader(), 2);
  int replayed = 0;
  for (const auto id : kStandbys) {
    const auto fork = r.epochs(id).back().fork.index;
    const auto durable = r.world.member(id)->log().point(r.world.member(id)->state().durable());
    if (!durable.ok() || durable->position.index <= fork) ++replayed;
  }
  EXPECT_GT(replayed, 0) << "every state is on its disk already";
  for (const auto id : kStandbys) r.world.crash(id);
  for (const auto id : kStandbys) r.world.start(id);
  ASSERT_TRUE(r.world.run_until([&] { return r.all_turned() && r.leader(); }, 20s)) << r.why();
  r.expect_it_serves();
  // Once more, from states that hold it.
  r.puts(*r.leader(), 60);
  for (const auto id : kStandbys) r.world.stop(id);
  for (const auto id : kStandbys) r.world.start(id);
  ASSERT_TRUE(r.world.run_until([&] { return r.all_turned() && r.leader(); }, 20s)) << r.why();
  r.expect_it_serves();
  ASSERT_TRUE(r.world.settle()) << r.why();
}

TEST(Epochs, AMemberThatWasAwayTakesItFromTheLogOrWithASnapshot) {
  for (const bool snapshot : {false, true}) {
    SCOPED_TRACE(snapshot ? "the log no longer reaches down to it" : "the log reaches down to it");
    Story r(snapshot ? options(8, 4_KiB, 40) : options(8));
    ASSERT_READY(r);
    r.world.lose(GroupRole::kPrimary);
    const auto away = r.followers()[0];
    r.world.crash(away);
    const auto id = *r.leader();
    ASSERT_TRUE(r.world.propose(id, r.world.change_at(id)).ok());
    ASSERT_TRUE(r.world.run_until([&] { return r.turned(id); })) << r.why();
    r.puts(id, 200);
    r.world.run_for(3s);
    r.world.start(away);
    ASSERT_TRUE(r.world.run_until([&] { return r.all_turned(); }, 30s)) << r.why();
    EXPECT_EQ(r.world.member(away)->probe().snapshots_received.get() > 0, snapshot);
    EXPECT_EQ(r.epochs(away), r.epochs(id));
    r.expect_it_serves();
    // What came with the snapshot is there after a restart.
    r.world.crash(away);
    r.world.start(away);
    ASSERT_TRUE(r.world.run_until([&] { return r.all_turned(); }, 30s)) << r.why();
    // It leads the new primary as well as any other.
    for (int i = 0; i < 10 && r.leader() != away; ++i) {
      r.world.member(*r.leader())->transfer_leadership(away);
      r.world.run_until([&] { return r.leader() == away; }, 2s);
    }
    ASSERT_EQ(r.leader(), away) << r.why();
    r.expect_it_serves();
    ASSERT_TRUE(r.world.settle()) << r.why();
  }
}

TEST(Epochs, AWipedMemberComesBackAsOneOfThePrimary) {
  Story r(9);
  ASSERT_READY(r);
  r.world.lose(GroupRole::kPrimary);
  ASSERT_TRUE(r.promote()) << r.why();
  const auto wiped = r.followers()[0];
  r.world.wipe(wiped);
  r.world.start(wiped);
  const auto learner = [&] {
    const auto& m = r.world.member(*r.leader())->membership();
    return m.learners.contains(wiped) && r.turned(wiped);
  };
  ASSERT_TRUE(r.world.run_until([&] { return r.leader() && learner(); }, 30s)) << r.why();
  r.world.run_for(1s);
  std::optional<Result<bool>> admitted;
  r.world.service(*r.leader())->admit(wiped, r.world.client_loop(), [&](Result<bool> done) { admitted = std::move(done); });
  ASSERT_TRUE(r.world.run_until([&] { return admitted.has_value(); })) << r.why();
  ASSERT_TRUE(admitted->ok()) << admitted->error().message;
  r.expect_it_serves();
  ASSERT_TRUE(r.world.settle()) << r.why();
  EXPECT_TRUE(r.world.member(wiped)->membership().is_voter(wiped));
}

// Entries about the group are acted on before the state takes them: while the
// state finds no space they are acted on once, however often that is tried.
TEST(Epochs, WhatAFullDiskHoldsBackIsTakenInOnce) {
  Story r(10);
  ASSERT_READY(r);
  r.world.lose(GroupRole::kPrimary);
  const auto full = r.followers()[0];
  const auto id = *r.leader();
  const auto arming = r.world.checkers.regions(GroupRole::kStandby).armed()->arming;
  const auto applied = [&](NodeId member) { return r.world.member(member)->state().applied().point.index; };
  bool held_back = false;
  r.world.disk(full).refuse_writes("/data");
  for (int i = 0; i < 60; ++i) {
    const auto proposed = r.world.propose(id, i % 2 ? EntryKind::kUncut : EntryKind::kCut, Epoch(), encode(region::Cut{arming}));
    ASSERT_TRUE(proposed.ok()) << proposed.error().message;
    r.world.run_for(20ms);
    ASSERT_TRUE(r.world.running(full)) << r.world.fatal(full)->message;
    held_back |= applied(full) + 3 < applied(id);
  }
  EXPECT_TRUE(held_back);
  ASSERT_TRUE(r.world.propose(id, r.world.change_at(id)).ok());
  ASSERT_TRUE(r.world.run_until([&] { return r.turned(id); })) << r.why();
  r.world.run_for(2s);
  ASSERT_TRUE(r.world.running(full)) << r.world.fatal(full)->message;
  r.world.disk(full).refuse_writes("");
  ASSERT_TRUE(r.world.run_until([&] { return r.all_turned(); }, 20s)) << r.why();
  r.expect_it_serves();
  ASSERT_TRUE(r.world.settle()) << r.why();
}

// --- what is refused ---

TEST(EpochRules, AGroupThatIsNotArmedEndsNoEpoch) {
  Story r(20);
  for (const auto id : r.world.ids()) r.world.start(id);
  ASSERT_TRUE(r.world.run_until([&] { return r.leader().has_value(); }, 30s)) << r.why();
  ASSERT_FALSE(r.world.checkers.armed());
  refused_by(r.world.propose(*r.leader(), r.world.change_at(*r.leader())), "this group is not armed");
}

TEST(EpochRules, AGroupThatResignedEndsNoEpoch) {
  Story r(21);
  ASSERT_READY(r);
  const auto id = *r.leader();
  const auto arming = r.world.checkers.regions(GroupRole::kStandby).armed()->arming;
  ASSERT_TRUE(r.world.propose(id, EntryKind::kResigned, Epoch(), encode(region::Resigned{arming, Epoch(1)})).ok());
  refused_by(r.world.propose(id, r.world.change_at(id)), "this group is not armed");  // before it is committed
  r.world.run_for(1s);
  refused_by(r.world.propose(id, r.world.change_at(id)), "this group is not armed");
}

TEST(EpochRules, TheNextEpochBeginsAtTheLogsEndAndAtALeader) {
  Story r(22);
  ASSERT_READY(r);
  const auto id = *r.leader();
  auto change = r.world.change_at(id);
  change.epoch = Epoch(3);
  refused_by(r.world.propose(id, change), "an unforced epoch is the next one");
  change = r.world.change_at(id);
  refused_by(r.world.propose(id, EntryKind::kEpochChange, Epoch(1), encode(change)), "hashed with the epoch it begins");
  change.fork.index = HistoryIndex(change.fork.index.value() - 1);
  refused_by(r.world.propose(id, change), "begins where the history ends");
  change = r.world.change_at(id);
  change.fork.hash.bytes[0] ^= 1;
  refused_by(r.world.propose(id, change), "begins where the history ends");
  refused_by(r.world.propose(id, r.world.change_at(id, region::Ending::kSealed)), "does not end at an open Seal");
  const auto follower = r.followers()[0];
  const auto there = r.world.propose(follower, r.world.change_at(follower));
  ASSERT_FALSE(there.ok());
  EXPECT_EQ(there.error().code, Code::kUnavailable);
}

// The primary lives and writes on: nothing of the old epoch may follow, and
// nobody is to take that for damage.
TEST(EpochRules, BehindAnUncommittedChangeNothingOfTheOldEpochIsAppended) {
  Story r(23);
  ASSERT_READY(r);
  const auto id = *r.leader();
  const auto followers = r.followers();
  for (const auto f : followers) r.world.hang_disk(f, true);
  const auto change = r.world.change_at(id);
  ASSERT_TRUE(r.world.propose(id, change).ok());
  refused_by(r.world.propose(id, r.world.change_at(id)), "an unforced epoch is the next one");
  auto third = r.world.change_at(id);
  third.epoch = Epoch(3);
  refused_by(r.world.propose(id, third), "this group is not armed");
  const region::Armed again{99, r.world.member(id)->group(), "west", region::FenceMode::kContact, 10s, false};
  refused_by(r.world.propose(id, EntryKind::kArmed, Epoch(1), encode(again)), "the history is in another epoch");
  auto* m = r.world.member(id);
  const auto end = m->last().position;
  raft::Proposal write;
  write.kind = EntryKind::kWrites;
  write.epoch = Epoch(1);
  write.writes = 1;
  write.expected = extend(end, write.epoch, write.kind, write.writes, write.payload.view());
  refused_by(m->propose({&write, 1}), "the history is in another epoch");  // as if a source had sent it
  const auto refused = r.world.put(id, "k", "a client of this member");
  r.puts(*r.world.leader(), 10);
  r.world.run_for(300ms);
  EXPECT_TRUE(refused->ended);
  EXPECT_EQ(refused->outcome.end, node::Outcome::End::kNotApplied);
  EXPECT_EQ(m->role(), GroupRole::kStandby) << "it is not committed";
  EXPECT_EQ(m->last().position, end);
  for (const auto f : followers) r.world.hang_disk(f, false);
  ASSERT_TRUE(r.world.run_until([&] { return r.all_turned(); }, 20s)) << r.why();
  r.world.run_for(500ms);
  EXPECT_EQ(r.world.stream(id)->probe().chain_refused.get(), 0u);
  EXPECT_EQ(r.world.stream(id)->probe().divergences.get(), 0u);
  r.world.lose(GroupRole::kPrimary);
  r.expect_it_serves();
  ASSERT_TRUE(r.world.settle()) << r.why();
}

// One of three takes its group for armed though it resigned, and leads.
TEST(EpochRules, WhatALeaderAppendsAgainstTheRulesEndsWhoeverAppliesIt) {
  auto o = options(24);
  o.plants.arming_forged = true;
  const auto liar = NodeId(5);
  Story r(o);
  ASSERT_READY(r);
  const auto arming = r.world.checkers.regions(GroupRole::kStandby).armed()->arming;
  ASSERT_TRUE(r.world.propose(*r.leader(), EntryKind::kResigned, Epoch(), encode(region::Resigned{arming, Epoch(1)})).ok());
  r.world.run_for(1s);
  r.world.lose(GroupRole::kPrimary);
  r.world.crash(liar);
  r.world.start(liar);
  ASSERT_TRUE(r.world.run_until([&] { return r.leader() && r.world.member(liar)->leader() == *r.leader(); }, 20s)) << r.why();
  r.world.run_for(2s);
  if (r.leader() != liar) r.world.member(*r.leader())->transfer_leadership(liar);
  ASSERT_TRUE(r.world.run_until([&] { return r.leader() == liar; }, 20s)) << r.why();
  ASSERT_TRUE(r.world.propose(liar, r.world.change_at(liar)).ok());
  r.world.run_for(1s);
  EXPECT_NE(r.world.checkers.forgive().find("I1"), std::string::npos);
  const auto ended = [&](NodeId id) { return !r.world.running(id); };
  for (int start = 0; start < 2; ++start) {  // and again when it is started again
    ASSERT_TRUE(r.world.run_until([&] { return ended(NodeId(4)) && ended(NodeId(6)); }, 20s)) << r.why();
    for (const auto id : {NodeId(4), NodeId(6)}) {
      ASSERT_TRUE(r.world.fatal(id).has_value());
      EXPECT_EQ(r.world.fatal(id)->code, Code::kCorrupt);
      EXPECT_NE(r.world.fatal(id)->message.find("this group is not armed"), std::string::npos) << r.world.fatal(id)->message;
      if (start == 0) r.world.start(id);
    }
  }
  EXPECT_TRUE(r.world.running(liar));
}

// --- a planned end ---

TEST(EpochRules, APlannedEndLosesNothingAndTheRevisionsGoOn) {
  Story r(26);
  ASSERT_READY(r);
  ASSERT_TRUE(run_command(r, *r.world.leader(), Lease::grant(7, 20)));
  const auto primary = *r.world.leader(), id = *r.leader();
  const auto armed = *r.world.checkers.regions(GroupRole::kStandby).armed();
  const auto seal = encode(region::Seal{5, armed.group, armed.arming, "", ""});
  // It stands in the leader's log, uncommitted at first.
  for (const auto p : kPrimaries)
    if (p != primary) r.world.hang_disk(p, true);
  ASSERT_TRUE(r.world.propose(primary, EntryKind::kSeal, Epoch(1), seal).ok());
  const auto sealed = r.world.member(primary)->last();
  std::vector<std::shared_ptr<sim::World::Put>> puts;
  std::vector<std::shared_ptr<sim::World::Read>> reads;
  const auto put = [&](NodeId at) { puts.push_back(r.world.client_put(at, "k0", "behind the Seal " + std::to_string(puts.size()))); };
  put(primary);
  r.world.run_for(200ms);
  EXPECT_LT(r.world.member(primary)->committed().index, sealed.index);
  r.world.network.cut_regions("east", "west");
  r.world.network.cut_regions("west", "east");
  for (const auto p : kPrimaries) r.world.hang_disk(p, false);
  ASSERT_TRUE(r.world.run_until([&] { return r.world.member(NodeId(1))->sealed() && r.world.member(NodeId(3))->sealed(); }, 5s)) << r.why();
  for (const auto p : kPrimaries) {
    put(p);
    EXPECT_FALSE(r.world.service(p)->read_now());
    reads.push_back(r.world.read(p, "k0"));
  }
  r.world.run_for(500ms);
  for (const auto& p : puts) EXPECT_FALSE(p->ended);
  for (const auto& read : reads) EXPECT_FALSE(read->ended);
  EXPECT_EQ(r.world.member(primary)->last().position, sealed.position);
  const auto before = r.world.member(primary)->state().applied().revision;
  EXPECT_EQ(before, r.last_revision) << "a Seal takes no revision";
  r.world.network.heal_regions();
  ASSERT_TRUE(r.world.run_until([&] { return r.all_turned(); }, 5s)) << r.why();
  EXPECT_GE(r.world.member(id)->state().applied().revision.value(), before.value() + 1);
  EXPECT_EQ(r.world.member(id)->state().region_entries().size(), 3u) << "Armed, Seal, EpochChange";
  ASSERT_TRUE(r.world.run_until([&] { return std::all_of(puts.begin(), puts.end(), [](auto& p) { return p->ended; }); }, 5s)) << r.why();
  for (const auto& p : puts) EXPECT_EQ(p->outcome.end, node::Outcome::End::kApplied) << p->outcome.error.message;
  r.last_revision = r.world.member(*r.leader())->state().applied().revision;
  EXPECT_EQ(r.last_revision.value(), before.value() + 1 + static_cast<std::int64_t>(puts.size()));
  EXPECT_EQ(r.world.member(primary)->last().position, sealed.position) << "behind it nothing was written";
  r.world.lose(GroupRole::kPrimary);
  for (const auto member : kStandbys) {
    r.puts(member, 1);
    if (HasFatalFailure()) return;
  }
  ASSERT_TRUE(r.world.settle()) << r.why();
}

// --- the stream's part in the same process ---

// The old primary lives, and is heard: what is asked here belongs here from the
// moment the entry is applied.
TEST(EpochTurn, AMemberServesItsClientsItselfFromTheEntryOn) {
  for (const auto at : kStandbys) {
    SCOPED_TRACE("node " + std::to_string(at.value()));
    Story r(30 + at.value());
    ASSERT_READY(r);
    const auto id = *r.leader();
    ASSERT_TRUE(r.world.propose(id, r.world.change_at(id)).ok());
    ASSERT_TRUE(r.world.run_until([&] { return r.turned(at); })) << r.why();
    auto put = r.world.client_put(at, "k", "v");
    ASSERT_TRUE(r.world.run_until([&] { return put->ended; })) << r.why();
    // A leader that has not applied it yet may refuse; nobody else may take it.
    if (put->outcome.end == node::Outcome::End::kApplied) {
      EXPECT_GT(put->outcome.result.revision.value(), kSecondEpoch);
    } else {
      EXPECT_EQ(put->outcome.end, node::Outcome::End::kNotApplied) << put->outcome.error.message;
      EXPECT_NE(at, id);
    }
    for (const auto p : kPrimaries) EXPECT_NE(r.world.peek(p, "k"), "v");
    r.world.run_for(1s);
    EXPECT_FALSE(r.world.checkers.armed()) << "there is nobody to arm";
    for (const auto member : kStandbys) {
      EXPECT_EQ(r.world.stream(member)->client().state(), StreamState::kOff);
      EXPECT_FALSE(r.world.member(member)->status().primary_heard);
    }
  }
}

// A read that asked the old primary is neither answered from the new history
// nor left waiting.
TEST(EpochTurn, AReadThatAskedTheOldPrimaryEnds) {
  Story r(40);
  ASSERT_READY(r);
  const auto id = *r.leader(), at = r.followers()[0];
  bool drop = false;
  r.world.network.tamper = [&](NodeId, NodeId to, Lane lane, Bytes bytes) -> Bytes {
    const auto frame = lane == Lane::kStream ? decode(bytes) : Result<Frame>(Error{Code::kInvalid, ""});
    return drop && to == at && frame.ok() && std::holds_alternative<Pong>(frame->body) ? Bytes() : bytes;
  };
  drop = true;
  auto read = r.world.read(at, "k0");
  r.world.run_for(20ms);
  ASSERT_TRUE(r.world.propose(id, r.world.change_at(id)).ok());
  ASSERT_TRUE(r.world.run_until([&] { return r.turned(at); })) << r.why();
  ASSERT_TRUE(r.world.run_until([&] { return read->ended; }, 200ms)) << "it waits on";
  EXPECT_FALSE(read->confirmed.ok());
  if (!read->confirmed.ok()) {
    EXPECT_EQ(read->confirmed.error().code, Code::kUnavailable);
  }
}

// The primary has confirmed a commit that this member waits to apply; the epoch
// ends below it. What stands at that index then is other history.
TEST(EpochTurn, AReadThatWaitsForALostTailIsNotAnsweredFromTheNewHistory) {
  Story r(41);
  ASSERT_READY(r);
  const auto id = *r.leader(), at = r.followers()[0];
  // The tail does not come over.
  r.world.network.tamper = [&](NodeId, NodeId, Lane lane, Bytes bytes) -> Bytes {
    const auto frame = lane == Lane::kStream ? decode(bytes) : Result<Frame>(Error{Code::kInvalid, ""});
    return frame.ok() && std::holds_alternative<Entries>(frame->body) ? Bytes() : bytes;
  };
  r.puts(*r.world.leader(), 3);
  auto read = r.world.read(at, "k0");
  r.world.run_for(100ms);
  ASSERT_FALSE(read->ended);
  ASSERT_TRUE(r.world.propose(id, r.world.change_at(id)).ok());
  ASSERT_TRUE(r.world.run_until([&] { return r.turned(id); })) << r.why();
  for (int i = 0; i < 5; ++i) r.puts(id, 1);
  ASSERT_TRUE(r.world.run_until([&] { return read->ended; }, 1s)) << "it waits on";
  EXPECT_FALSE(read->confirmed.ok());
}

// A region that is behind fetches a state when its operator ends the epoch: what
// it fetched is of a history that is over.
TEST(EpochTurn, NoStateIsAdoptedBehindAChange) {
  Story r(options(42, 4_KiB, 60));
  ASSERT_READY(r);
  for (const auto id : kStandbys) r.world.crash(id);
  r.puts(*r.world.leader(), 400);
  r.world.run_for(3s);
  for (const auto id : kStandbys) r.world.start(id);
  const auto fetches = [&] { return r.leader() && r.world.member(*r.leader())->adoption() != ""; };
  ASSERT_TRUE(r.world.run_until(fetches, 30s)) << r.why();
  const auto id = *r.leader();
  for (const auto f : r.followers()) r.world.hang_disk(f, true);  // their logs alone
  ASSERT_TRUE(r.world.propose(id, r.world.change_at(id)).ok());
  const auto end = r.world.member(id)->last().position;
  r.world.run_for(700ms);
  EXPECT_EQ(r.world.member(id)->last().position, end);
  for (const auto f : kStandbys) r.world.hang_disk(f, false);
  ASSERT_TRUE(r.world.run_until([&] { return r.all_turned(); }, 20s)) << r.why();
  r.world.lose(GroupRole::kPrimary);
  r.expect_it_serves();
  ASSERT_TRUE(r.world.settle()) << r.why();
}

// The primary began another epoch by force, and keeps no log from before.
TEST(EpochTurn, ARegionThatWasAwayWhileTheEpochChangedAdoptsAStateOfTheNewOne) {
  Story r(options(44, 4_KiB, 60));
  ASSERT_READY(r);
  for (const auto id : kStandbys) r.world.crash(id);
  const auto leader = *r.world.leader();
  auto change = r.world.change_at(leader, region::Ending::kForced);
  change.epoch = change.epoch + 1;  // of those that force may draw
  ASSERT_TRUE(r.world.propose(leader, change).ok());
  ASSERT_TRUE(r.world.run_until([&] { return r.world.member(leader)->epoch() == change.epoch; }, 5s)) << r.why();
  r.puts(leader, 400);
  r.world.run_for(3s);
  ASSERT_GT(r.world.member(leader)->log().base().position.index, change.fork.index);
  for (const auto id : kStandbys) r.world.start(id);
  ASSERT_TRUE(r.world.run_until(
      [&] { return r.world.caught_up() && r.world.member(kStandbys[0])->epoch() == change.epoch; }, 60s)) << r.why();
  for (const auto id : kStandbys) {
    EXPECT_EQ(r.epochs(id), r.epochs(leader));
    EXPECT_EQ(r.world.member(id)->role(), GroupRole::kStandby);
  }
  // It is armed in the new epoch, and can end that.
  ASSERT_TRUE(r.world.run_until([&] { return r.world.checkers.regions(GroupRole::kStandby).armed().has_value(); }, 20s)) << r.why();
  r.world.lose(GroupRole::kPrimary);
  ASSERT_TRUE(r.world.propose(*r.leader(), r.world.change_at(*r.leader())).ok());
  ASSERT_TRUE(r.world.run_until([&] { return r.world.member(kStandbys[0])->epoch() == change.epoch + 1; }, 20s)) << r.why();
  ASSERT_EQ(r.world.checkers.breach(), "");
}

// Its group took over a state and then ended the epoch, while it was away.
TEST(EpochTurn, AMemberThatWaitsForAStateMeetsTheChangeBehindIt) {
  Story r(options(43, 4_KiB, 60));
  ASSERT_READY(r);
  for (const auto id : kStandbys) r.world.crash(id);
  r.puts(*r.world.leader(), 400);
  r.world.run_for(3s);
  const auto goal = r.world.member(*r.world.leader())->state().applied().point.position;
  for (std::uint64_t id : {4, 5}) r.world.start(NodeId(id));
  const auto adopted = [&] {
    return r.world.member(NodeId(4))->state().applied().point.position == goal &&
           r.world.member(NodeId(5))->state().applied().point.position == goal;
  };
  ASSERT_TRUE(r.world.run_until(adopted, 60s)) << r.why();
  r.world.lose(GroupRole::kPrimary);
  ASSERT_TRUE(r.world.run_until([&] { return r.leader().has_value(); }, 20s)) << r.why();
  ASSERT_TRUE(r.world.propose(*r.leader(), r.world.change_at(*r.leader())).ok());
  ASSERT_TRUE(r.world.run_until([&] { return r.turned(NodeId(4)) && r.turned(NodeId(5)); }, 20s)) << r.why();
  r.puts(*r.leader(), 5);
  r.world.start(NodeId(6));
  ASSERT_TRUE(r.world.run_until([&] { return r.all_turned(); }, 60s)) << r.why();
  r.expect_it_serves();
  ASSERT_TRUE(r.world.settle()) << r.why();
}

// LEEWARD_SEED and LEEWARD_RUNS: from that seed on, that many.
TEST(Epochs, AmongRandomFaultsThePrimaryIsLostAndTheStandbyGoesOn) {
  const auto first = number("LEEWARD_SEED", 1);
  const auto runs = number("LEEWARD_RUNS", std::getenv("LEEWARD_SEED") ? 1 : test::kSanitized ? 2 : 8);
  for (auto seed = first; seed < first + runs; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    auto o = seed % 2 ? options(seed) : options(seed, 4_KiB, 40);
    o.end_epoch = true;
    Story r(o);
    ASSERT_TRUE(r.world.torment(20s)) << r.why();
    EXPECT_TRUE(r.all_turned());
    EXPECT_GT(r.world.acknowledged(), 100u);
  }
}

}  // namespace
}  // namespace leeward::standby
