#include "cluster.h"

#include <gtest/gtest.h>

namespace leeward::raft::test {
namespace {

Membership voters(std::initializer_list<int> ids) {
  Membership m;
  for (int id : ids) m.voters.insert(NodeId(static_cast<std::uint64_t>(id)));
  return m;
}

struct Group {
  std::vector<ReadState> reads;
  Cluster cluster{{.read = [this](NodeId, const ReadState& r) { reads.push_back(r); }}};

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

}  // namespace
}  // namespace leeward::raft::test
