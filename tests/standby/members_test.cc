// The stream over real members (raft, wal, kv, node) of two regions, in the
// simulator: crashes lose what was not synced, disks are replaced, frames are
// lost and late.
#include <gtest/gtest.h>

#include "standby/replication.h"
#include "world/world.h"

namespace leeward::standby {
namespace {

struct Regions2 {
  explicit Regions2(std::uint64_t seed) : world(options(seed)) {}

  sim::WorldOptions options(std::uint64_t seed) {
    sim::WorldOptions o;
    o.seed = seed;
    o.standbys = 3;
    o.retain_log_bytes = 64_MiB;
    o.companion = [this](node::Member& member) {
      auto made = std::shared_ptr<Replication>(new Replication(member, {}), [this, id = member.self()](Replication* r) {
        streams.erase(id);
        delete r;
      });
      streams[member.self()] = made.get();
      member.loop().post([r = std::weak_ptr(made)] {
        if (auto alive = r.lock()) alive->start();
      });
      return made;
    };
    return o;
  }
  bool start() {
    for (const auto id : world.ids()) world.start(id);
    return world.run_until([&] { return world.leader().has_value(); });
  }
  node::Member* standby_leader() {
    for (std::uint64_t id : {4, 5, 6})
      if (auto* m = world.member(NodeId(id)); m && m->is_leader()) return m;
    return nullptr;
  }
  // All standbys have applied all that the primaries have.
  bool caught_up() {
    std::optional<AppliedState> first;
    for (const auto id : world.ids()) {
      auto* m = world.member(id);
      if (!m || !m->lineage().known()) return false;
      const auto state = m->state().applied();
      if (!first) first = state;
      if (state.point.position != first->point.position) return false;
    }
    return true;
  }
  void expect_equal_states() {
    const auto first = world.member(NodeId(1))->state().applied();
    for (const auto id : world.ids()) {
      const auto state = world.member(id)->state().applied();
      EXPECT_EQ(state.state_hash, first.state_hash) << id.value();
      EXPECT_EQ(state.revision, first.revision) << id.value();
    }
  }

  std::map<NodeId, Replication*> streams;
  sim::World world;
};

TEST(Members, AStandbyGroupTakesLineageAndHistoryFromThePrimary) {
  Regions2 r(1);
  ASSERT_TRUE(r.start()) << r.world.checkers.breach();
  for (int i = 0; i < 100; ++i) {
    auto put = r.world.put(*r.world.leader(), "k" + std::to_string(i), "v" + std::to_string(i));
    ASSERT_TRUE(r.world.run_until([&] { return put->ended; })) << r.world.checkers.breach();
  }
  ASSERT_TRUE(r.world.run_until([&] { return r.caught_up(); }, 20s)) << r.world.checkers.breach();
  for (std::uint64_t id : {4, 5, 6}) EXPECT_EQ(r.world.peek(NodeId(id), "k99"), "v99");
  r.expect_equal_states();
  // Armed and eligible, as the members' own status says.
  auto all_ok = [&] {
    for (std::uint64_t id : {4, 5, 6}) {
      const auto status = r.world.member(NodeId(id))->status();
      if (status.armed_region != "west" || !status.primary_heard || !eligible(status.group_eligibility)) return false;
      for (const auto& m : status.members)
        if (m.id == NodeId(id) && !eligible(m.eligibility)) return false;
    }
    return true;
  };
  EXPECT_TRUE(r.world.run_until(all_ok, 10s));
  for (const auto& m : r.world.member(NodeId(4))->status().members)
    for (const auto& c : m.id == NodeId(4) ? m.eligibility : std::vector<NamedCheck>{}) EXPECT_TRUE(c.ok) << m.id.value() << " " << c.check << ": " << c.detail;
  const auto followers = r.world.member(*r.world.leader())->status().followers;
  ASSERT_EQ(followers.size(), 1u);
  EXPECT_TRUE(followers[0].armed);
}

TEST(Members, AStandbyRefusesWritesOfItsOwn) {
  Regions2 r(2);
  ASSERT_TRUE(r.start());
  ASSERT_TRUE(r.world.run_until([&] { return r.standby_leader() && r.caught_up(); }, 20s));
  auto put = r.world.put(r.standby_leader()->self(), "k", "v");
  ASSERT_TRUE(r.world.run_until([&] { return put->ended; }));
  EXPECT_EQ(put->outcome.end, node::Outcome::End::kNotApplied);
}

TEST(Members, FollowThroughCrashesOfBothRegions) {
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Regions2 r(seed);
    ASSERT_TRUE(r.world.torment(12s)) << r.world.checkers.breach();
    ASSERT_TRUE(r.world.run_until([&] { return r.caught_up(); }, 60s)) << r.world.checkers.breach();
    r.expect_equal_states();
    for (auto& [id, stream] : r.streams) {
      EXPECT_EQ(stream->probe().divergences.get(), 0u) << id.value();
      EXPECT_EQ(stream->probe().hash_different.get(), 0u) << id.value();
    }
  }
}

}  // namespace
}  // namespace leeward::standby
