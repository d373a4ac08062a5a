#include "cluster.h"

#include <gtest/gtest.h>

#include "raft/log_window.h"
#include "raft/membership.h"
#include "raft/progress.h"
#include "raft/quorum.h"

namespace leeward::raft::test {
namespace {

Membership voters(std::initializer_list<int> ids) {
  Membership m;
  for (int id : ids) m.voters.insert(NodeId(static_cast<std::uint64_t>(id)));
  return m;
}

struct Group {
  std::vector<ReadState> reads;
  std::vector<Ready::SnapshotNeed> needs;
  Cluster cluster{{.read = [this](NodeId, const ReadState& r) { reads.push_back(r); },
                   .snapshot_needed = [this](NodeId, const Ready::SnapshotNeed& n) { needs.push_back(n); }}};

  explicit Group(Membership membership) {
    for (NodeId id : membership.voters) {
      Options options;
      options.id = id;
      options.seed = id.value();
      options.vote_wait = false;
      cluster.add(options, membership);
    }
  }
  void settle() {
    for (int i = 0; i < 1000; ++i) {
      for (NodeId id : cluster.ids()) {
        if (cluster.up(id)) cluster.drain(id);
      }
      if (cluster.network().empty()) return;
      Message m = std::move(cluster.network().front());
      cluster.network().pop_front();
      cluster.deliver(std::move(m));
    }
  }
  void run(Duration d) {
    const Instant end = cluster.now() + d;
    while (cluster.now() < end) {
      cluster.advance(10ms);
      for (NodeId id : cluster.ids()) {
        if (cluster.up(id) && cluster.core(id).next_tick() <= cluster.now()) cluster.core(id).tick(cluster.now());
      }
      settle();
    }
  }
  NodeId leader() {
    for (NodeId id : cluster.ids()) {
      if (cluster.up(id) && cluster.core(id).role() == Role::kLeader) return id;
    }
    return {};
  }
};

TEST(Core, AGroupOfOneLeadsAndCommitsAtOnce) {
  Group g(voters({1}));
  g.run(10ms);
  ASSERT_EQ(g.leader(), NodeId(1));
  Proposal p;
  p.payload = Bytes(std::string("a"));
  p.writes = 1;
  ASSERT_TRUE(g.cluster.core(NodeId(1)).propose(g.cluster.now(), {&p, 1}).ok());
  g.settle();
  EXPECT_EQ(g.cluster.at(NodeId(1)).history.size(), 2u);
  g.cluster.core(NodeId(1)).read_index(g.cluster.now(), 7);
  g.settle();
  ASSERT_EQ(g.reads.size(), 1u);
  EXPECT_TRUE(g.reads[0].ok);
  EXPECT_EQ(g.reads[0].index, Index(2));
}

TEST(Core, ThreeElectALeaderThatReplicatesAndIsReplacedWhenItDies) {
  Group g(voters({1, 2, 3}));
  g.run(3s);
  const NodeId first = g.leader();
  ASSERT_TRUE(bool(first));
  for (int i = 0; i < 10; ++i) {
    Proposal p;
    p.payload = Bytes(std::string("a"));
    p.writes = 1;
    ASSERT_TRUE(g.cluster.core(first).propose(g.cluster.now(), {&p, 1}).ok());
    g.settle();
  }
  for (NodeId id : g.cluster.ids()) EXPECT_EQ(g.cluster.at(id).history.size(), 11u);
  EXPECT_TRUE(g.cluster.core(first).lease_read(g.cluster.now()).has_value());
  g.cluster.crash(first);
  g.run(4s);
  const NodeId second = g.leader();
  ASSERT_TRUE(bool(second));
  EXPECT_NE(first, second);
  g.cluster.start(first, true);
  g.run(1s);
  EXPECT_EQ(g.cluster.at(first).history.size(), 12u);
  const NodeId follower = first;
  g.reads.clear();
  g.cluster.core(follower).read_index(g.cluster.now(), 9);
  g.settle();
  ASSERT_EQ(g.reads.size(), 1u);
  EXPECT_TRUE(g.reads[0].ok);
  ASSERT_TRUE(g.cluster.core(second).transfer_leadership(g.cluster.now(), first).ok());
  g.settle();
  EXPECT_EQ(g.leader(), first);
}


Proposal write(std::size_t size) {
  Proposal p;
  p.epoch = Epoch(1);
  p.writes = 1;
  p.payload = Bytes(std::string(size, 'w'));
  return p;
}

TEST(Core, WhatIsHandedOutIsBoundedUntilItIsApplied) {
  MemoryLog log;
  Options options;
  options.id = NodeId(1);
  Core core(options, log, {{}, voters({1}), {}}, Instant(1s));
  std::size_t bytes = 0, most = 0;
  Index handed;
  auto drain = [&] {
    while (core.has_ready()) {
      Ready ready = core.take_ready();
      log.append(ready.entries);
      if (ready.token) core.persisted(Instant(1s), ready.token);
      std::size_t once = 0;
      for (const Entry& e : ready.committed) once += e.payload.size();
      most = std::max(most, once);
      bytes += once;
      if (!ready.committed.empty()) handed = ready.committed.back().index;
    }
  };
  core.tick(Instant(1s));
  drain();
  for (int i = 0; i < 32; ++i) {
    const Proposal p = write(1_MiB);
    ASSERT_TRUE(core.propose(Instant(1s), {&p, 1}).ok());
    drain();
  }
  EXPECT_LE(bytes, 21_MiB);
  EXPECT_LT(core.status().applied, core.commit());
  while (handed < core.commit()) {
    core.applied(handed);
    drain();
  }
  EXPECT_EQ(bytes, 32_MiB);
  EXPECT_LE(most, 5_MiB);
}

TEST(Core, AStreamedProposalKeepsThePositionItCameWith) {
  Group g(voters({1}));
  g.run(10ms);
  Core& core = g.cluster.core(NodeId(1));
  Proposal p = write(10);
  p.expected = extend({}, p.epoch, p.kind, p.writes, p.payload.view());
  ASSERT_TRUE(core.propose(g.cluster.now(), {&p, 1}).ok());
  EXPECT_EQ(core.last().position, *p.expected);
  const auto again = core.propose(g.cluster.now(), {&p, 1});  // the next position is another
  ASSERT_FALSE(again.ok());
  EXPECT_EQ(again.error().code, Code::kInvalid);
  EXPECT_EQ(core.last().position, *p.expected);
  // The right place, and a payload that the hash does not cover.
  const Position end = *p.expected;
  p.expected = extend(end, p.epoch, p.kind, p.writes, p.payload.view());
  p.payload = Bytes(std::string(10, 'x'));
  const auto other = core.propose(g.cluster.now(), {&p, 1});
  ASSERT_FALSE(other.ok());
  EXPECT_EQ(other.error().code, Code::kInvalid);
  EXPECT_EQ(core.last().position, end);
}

// A leader of two, and its append of one write, which the follower has not yet.
struct OneAppend : Group {
  OneAppend() : Group(voters({1, 2})) {
    run(3s);
    follower = leader() == NodeId(1) ? NodeId(2) : NodeId(1);
    Proposal p = write(10);
    EXPECT_TRUE(cluster.core(leader()).propose(cluster.now(), {&p, 1}).ok());
    cluster.drain(leader());
    for (const Message& m : cluster.network())
      if (m.type == MessageType::kAppend && m.to == follower) append = m;
    cluster.network().clear();
    EXPECT_EQ(append.entries.size(), 1u);
  }
  void deliver(const Message& m) {
    cluster.deliver(m);
    cluster.drain(follower);
  }
  Core& core() { return cluster.core(follower); }
  NodeId follower;
  Message append;
};

TEST(Core, AnAppendWhosePayloadItsHashDoesNotCoverIsNotTaken) {
  OneAppend g;
  const auto before = g.core().last();
  Message bad = g.append;
  bad.entries[0].payload = Bytes(std::string(10, 'x'));
  g.deliver(bad);
  EXPECT_EQ(g.core().last(), before);
  ASSERT_TRUE(g.core().status().fault.has_value());
  EXPECT_NE(g.core().status().fault->find("does not chain"), std::string::npos) << *g.core().status().fault;
  g.deliver(g.append);
  EXPECT_EQ(g.core().last().position, g.append.entries[0].position);
}

// Index and term say that it is here already; the hash says that it is another.
TEST(Core, AnEntryThatIsHereUnderAnotherHashIsAFault) {
  OneAppend g;
  g.deliver(g.append);
  const auto held = g.core().last();
  EXPECT_EQ(held.position, g.append.entries[0].position);
  g.deliver(g.append);  // once more is no fault
  EXPECT_FALSE(g.core().status().fault.has_value());
  g.cluster.network().clear();
  Message other = g.append;
  auto& e = other.entries[0];
  e.payload = Bytes(std::string(10, 'x'));
  e.position = extend(g.cluster.core(g.leader()).last().position, e.epoch, e.kind, e.writes, e.payload.view());
  g.deliver(other);
  EXPECT_TRUE(g.core().status().fault.has_value());
  EXPECT_EQ(g.core().last(), held);
  EXPECT_TRUE(g.cluster.network().empty()) << "it was acknowledged";
}

TEST(Core, AFollowLeapsBackInTheHistoryOrStaysAndNeverForward) {
  Group g(voters({1}));
  g.run(10ms);
  Core& core = g.cluster.core(NodeId(1));
  const auto common = core.last().position;
  Proposal lost;
  lost.epoch = Epoch(1);
  lost.payload = Bytes(std::string("lost"));
  ASSERT_TRUE(core.propose(g.cluster.now(), {&lost, 1}).ok());
  const auto end = core.last().position;
  ASSERT_GT(end.index, common.index);
  auto follow_at = [&](const Position& position) {
    Proposal p;
    p.kind = EntryKind::kFollow;
    p.payload = Bytes(leap_payload(position, "history"));
    return core.propose(g.cluster.now(), {&p, 1});
  };
  auto beyond = end;
  beyond.index = end.index + 1;
  const auto forward = follow_at(beyond);
  ASSERT_FALSE(forward.ok());
  EXPECT_EQ(forward.error().code, Code::kInvalid);
  ASSERT_TRUE(follow_at(end).ok());
  EXPECT_EQ(core.last().position, end);
  ASSERT_TRUE(follow_at(common).ok());
  EXPECT_EQ(core.last().position, common);
}

TEST(Core, AnAdoptLeapsForwardInTheHistoryAndNeverBack) {
  Group g(voters({1}));
  g.run(10ms);
  Core& core = g.cluster.core(NodeId(1));
  auto adopt_at = [&](std::uint64_t index, const char* hash = "elsewhere") {
    Proposal p;
    p.kind = EntryKind::kAdopt;
    p.payload = Bytes(leap_payload({HistoryIndex(index), sha256(hash), index, index}, "manifest"));
    return core.propose(g.cluster.now(), {&p, 1});
  };
  ASSERT_TRUE(adopt_at(500).ok());
  EXPECT_EQ(core.last().position.index, HistoryIndex(500));
  EXPECT_EQ(core.last().position.hash, sha256("elsewhere"));
  EXPECT_EQ(adopt_at(400).error().code, Code::kInvalid);
  EXPECT_EQ(adopt_at(500, "other history").error().code, Code::kInvalid);
  EXPECT_TRUE(adopt_at(500).ok()) << "where the log stands already";
  const Proposal next = write(10);
  ASSERT_TRUE(core.propose(g.cluster.now(), {&next, 1}).ok());
  EXPECT_EQ(core.last().position.index, HistoryIndex(501));
}

TEST(Core, WhoStandsBelowTheReplicationFloorGetsASnapshotThoughTheLogReachesDown) {
  Group g(voters({1, 2, 3}));
  g.run(3s);
  Core& core = g.cluster.core(g.leader());
  const NodeId away = g.leader() == NodeId(3) ? NodeId(2) : NodeId(3);
  const Index end = core.last().index;
  g.cluster.crash(away);
  for (int i = 0; i < 10; ++i) {
    const Proposal p = write(10);
    ASSERT_TRUE(core.propose(g.cluster.now(), {&p, 1}).ok());
    g.settle();
  }
  const Index floor = end + 5;
  core.set_replication_floor(floor);
  g.cluster.start(away, true);
  g.run(1s);
  ASSERT_EQ(g.needs.size(), 1u);
  EXPECT_EQ(g.needs[0].to, away);
  EXPECT_EQ(g.needs[0].beyond, floor);
  EXPECT_EQ(g.cluster.core(away).last().index, end);
  const auto point = g.cluster.at(g.leader()).log.point(floor);
  ASSERT_TRUE(point.ok());
  ASSERT_TRUE(g.cluster.install(away, {*point, voters({1, 2, 3})}));
  core.snapshot_sent(g.cluster.now(), away, true, floor);
  g.run(1s);
  EXPECT_EQ(g.cluster.core(away).last().index, core.last().index);
  EXPECT_EQ(g.needs.size(), 1u);
}

TEST(Core, ReplicationInNormalWorkDoesNotReadTheStore) {
  Group g(voters({1, 2, 3}));
  g.run(3s);
  const NodeId leader = g.leader();
  const std::size_t before = g.cluster.at(leader).log.reads;
  for (int i = 0; i < 100; ++i) {
    const Proposal p = write(1000);
    ASSERT_TRUE(g.cluster.core(leader).propose(g.cluster.now(), {&p, 1}).ok());
    g.settle();
  }
  EXPECT_EQ(g.cluster.at(leader).log.reads, before);
}

TEST(Core, ManyReadsAtOnceShareOneRoundAndEachGetsOneAnswer) {
  Group g(voters({1, 2, 3}));
  g.run(3s);
  NodeId follower = g.leader() == NodeId(1) ? NodeId(2) : NodeId(1);
  g.run(20ms);
  g.cluster.network().clear();
  for (std::uint64_t i = 1; i <= 1000; ++i) g.cluster.core(follower).read_index(g.cluster.now(), i);
  g.cluster.drain(follower);
  EXPECT_EQ(g.cluster.network().size(), 1u);
  g.settle();
  ASSERT_EQ(g.reads.size(), 1000u);
  for (std::uint64_t i = 1; i <= 1000; ++i) EXPECT_TRUE(g.reads[i - 1].ok && g.reads[i - 1].context == i);
}

TEST(Core, ReadsAtAMemberWithoutLeaderFailAtOnce) {
  Group g(voters({1, 2, 3}));
  g.cluster.core(NodeId(1)).read_index(g.cluster.now(), 5);
  g.settle();
  ASSERT_EQ(g.reads.size(), 1u);
  EXPECT_FALSE(g.reads[0].ok);
}

Entry noop(std::uint64_t index, std::uint64_t term) {
  Entry e;
  e.index = Index(index);
  e.term = Term(term);
  return e;
}

TEST(LogWindow, AWriteCountsOnlyUpToWhereItWasCut) {
  MemoryLog log;
  LogWindow window(log, 1_MiB);
  for (std::uint64_t i = 1; i <= 3; ++i) window.append(noop(i, 1));
  EXPECT_EQ(window.take_unwritten(1).size(), 3u);
  window.truncate(Index(2));
  window.append(noop(2, 2));
  EXPECT_EQ(window.take_unwritten(2).size(), 1u);
  window.truncate(Index(2));
  window.append(noop(2, 1));  // as the first time
  EXPECT_EQ(window.take_unwritten(3).size(), 1u);
  window.persisted(1);
  EXPECT_EQ(window.stable(), Index(1));
  window.persisted(2);
  EXPECT_EQ(window.stable(), Index(1));
  window.persisted(3);
  EXPECT_EQ(window.stable(), Index(2));
}

TEST(LogWindow, OldEntriesAreLeftToTheStoreAndReadFromThere) {
  MemoryLog log;
  LogWindow window(log, 3 * weight(noop(1, 1)));
  for (std::uint64_t i = 1; i <= 10; ++i) {
    window.append(noop(i, 1));
    log.append(window.take_unwritten(i));
    window.persisted(i);
  }
  EXPECT_EQ(window.base().index, Index(0));
  auto old = window.read(Index(2), Index(11), 1_MiB);
  ASSERT_TRUE(old.ok());
  EXPECT_EQ(old->front().index, Index(2));
  EXPECT_EQ(log.reads, 1u);
  ASSERT_TRUE(window.read(Index(9), Index(11), 1_MiB).ok());
  EXPECT_EQ(log.reads, 1u);
  EXPECT_EQ(window.read(Index(8), Index(11), 1)->size(), 1u);
  log.release(Index(5));
  EXPECT_EQ(window.base().index, Index(5));
  EXPECT_FALSE(window.point(Index(4)).has_value());
  window.truncate(Index(7));
  EXPECT_EQ(window.last().index, Index(6));
  EXPECT_EQ(window.stable(), Index(6));
}

TEST(Quorum, AJointMembershipNeedsBothMajorities) {
  Membership m = voters({1, 2, 3});
  std::map<NodeId, Index> at{{NodeId(1), Index(9)}, {NodeId(2), Index(5)}, {NodeId(3), Index(1)}, {NodeId(4), Index(2)}};
  auto reached = [&](NodeId id) { return at[id]; };
  EXPECT_EQ(majority(m, reached, Index(99)), Index(5));
  m.outgoing = {NodeId(1), NodeId(3), NodeId(4)};
  EXPECT_EQ(majority(m, reached, Index(99)), Index(2));
  m.outgoing = {NodeId(3)};
  EXPECT_EQ(majority(m, reached, Index(99)), Index(1));
  // Two of four are no majority.
  EXPECT_EQ(majority(voters({1, 2, 3, 4}), reached, Index(99)), Index(2));
}

TEST(Quorum, VotesAreWonByAMajorityAndLostWhenNoneCanCome) {
  const Membership m = voters({1, 2, 3, 4, 5});
  std::map<NodeId, bool> votes{{NodeId(1), true}, {NodeId(2), true}, {NodeId(9), true}};
  EXPECT_EQ(tally(m, votes), Tally::kPending);
  votes[NodeId(3)] = true;
  EXPECT_EQ(tally(m, votes), Tally::kWon);
  votes = {{NodeId(1), true}, {NodeId(2), false}, {NodeId(3), false}, {NodeId(4), false}};
  EXPECT_EQ(tally(m, votes), Tally::kLost);
}

TEST(Progress, WhoHoldsLessThanItHadAcknowledgedIsKnown) {
  Progress p(Index(5), Instant{});
  p.heard(Instant(10ms));
  p.acknowledged(Index(9));
  p.holds(Index(9), Instant(11ms));
  EXPECT_FALSE(p.had());
  p.holds(Index(3), Instant(10ms));
  EXPECT_FALSE(p.had()) << "the answer to an older question came late";
  p.lost_log(Index(3), 1);
  EXPECT_EQ(p.match(), Index(3));
  p.holds(Index(3), Instant(11ms));
  EXPECT_EQ(p.had(), Index(9));
}

TEST(Progress, APipelineStopsAtItsWindowAndGoesOnWithAnswers) {
  Progress p(Index(5), Instant{});
  EXPECT_TRUE(p.can_send(100));
  p.sent(Index(4), 0, 1);
  EXPECT_FALSE(p.can_send(100));  // a probe waits for its answer
  p.acknowledged(Index(4));
  EXPECT_EQ(p.state(), Progress::State::kReplicate);
  p.sent(Index(6), 60, 1);
  p.sent(Index(8), 60, 1);
  EXPECT_FALSE(p.can_send(100));
  p.acknowledged(Index(6));
  EXPECT_TRUE(p.can_send(100));
  EXPECT_EQ(p.next(), Index(9));
}

TEST(MembershipHistory, ACutBringsBackTheOneBefore) {
  MembershipHistory history(voters({1}), Index(3));
  history.append(Index(5), voters({1, 2}));
  history.append(Index(8), voters({1, 2, 3}));
  EXPECT_TRUE(history.may_be_voter(NodeId(3), Index(8)));
  history.truncate(Index(6));
  EXPECT_EQ(history.current(), voters({1, 2}));
  history.settle(Index(5));
  EXPECT_EQ(history.changed_at(), Index(5));
  history.truncate(Index(6));
  EXPECT_EQ(history.current(), voters({1, 2}));
}

}  // namespace
}  // namespace leeward::raft::test
