// Bugs planted behind the ports: each must be found, and the same run without
// the bug must hold. A checker that cannot fail proves nothing.
#include <gtest/gtest.h>

#include "world/world.h"

namespace leeward::sim {
namespace {

// Runs `story` with the bug and without; only the first may break.
void expect_caught(const std::function<void(World&)>& story, const std::function<void(Plants&)>& plant,
                   const std::string& by, WorldOptions base = {}) {
  {
    World sound(base);
    story(sound);
    EXPECT_EQ(sound.checkers.breach(), "") << "without the bug";
  }
  plant(base.plants);
  World broken(base);
  story(broken);
  EXPECT_NE(broken.checkers.breach(), "") << "the bug was not found";
  EXPECT_NE(broken.checkers.breach().find(by), std::string::npos) << broken.checkers.breach();
}

void start_all(World& w) {
  for (const auto id : w.ids()) w.start(id);
  EXPECT_TRUE(w.run_until([&] { return w.leader().has_value(); })) << w.checkers.breach();
}

void put(World& w, NodeId id, const std::string& key, const std::string& value) {
  auto put = w.put(id, key, value);
  w.run_until([&] { return put->ended; });
}

// Random runs of one seed after another, until the bug shows.
void expect_some_seed_catches(const std::function<void(Plants&)>& plant, int seeds, const WorldOptions& base) {
  for (int seed = 1; seed <= seeds; ++seed) {
    auto o = base;
    o.seed = static_cast<std::uint64_t>(seed);
    plant(o.plants);
    World w(o);
    if (!w.torment(20s)) return;  // found
  }
  ADD_FAILURE() << "the bug was not found in " << seeds << " runs";
}

TEST(PlantedBugs, FsyncLeftOutLosesAcknowledgedWrites) {
  expect_caught(
      [](World& w) {
        start_all(w);
        // The first start is over: what follows is written, and "synced".
        w.run_for(2s);
        for (const auto id : w.ids()) w.disk(id).ignore_syncs(w.options().plants.fsync_left_out);
        for (int i = 0; i < 20; ++i) put(w, *w.leader(), "key" + std::to_string(i), "v");
        for (const auto id : w.ids()) {
          w.disk(id).ignore_syncs(false);
          w.crash(id);
        }
        w.settle();
      },
      [](Plants& p) { p.fsync_left_out = true; }, "");
}

TEST(PlantedBugs, AVoteThatIsNotPersistedMakesTwoLeadersOfATerm) {
  // Two candidates of one term ask the same voter; it restarts in between.
  expect_some_seed_catches([](Plants& p) { p.vote_not_persisted = true; }, 0 + 1, WorldOptions{});
}

TEST(PlantedBugs, AnEntryOfAnOlderTermCommittedByCountingIsLost) {
  WorldOptions o;
  expect_some_seed_catches([](Plants& p) { p.older_term_committed = true; }, 40, o);
}

TEST(PlantedBugs, AnAcknowledgementBeforeTheQuorumHasItIsLost) {
  expect_caught(
      [](World& w) {
        start_all(w);
        const auto leader = *w.leader();
        for (int i = 0; i < 5; ++i) put(w, leader, "key" + std::to_string(i), "v");
        w.crash(leader);
        w.run_for(5s);
        w.settle();
      },
      [](Plants& p) { p.acknowledged_before_quorum = true; }, "");
}

TEST(PlantedBugs, ACheckpointWithoutItsLogDoesNotOpen) {
  expect_caught(
      [](World& w) {
        start_all(w);
        for (int i = 0; i < 300; ++i) put(w, *w.leader(), "key", std::string(500, 'v') + std::to_string(i));
        w.run_for(3s);
        for (int i = 0; i < 10; ++i) put(w, *w.leader(), "key", "w" + std::to_string(i));
        for (const auto id : w.ids()) w.crash(id);
        w.settle();
      },
      [](Plants& p) { p.checkpoint_without_log = true; }, "does not open");
}

TEST(PlantedBugs, AStateThatIgnoresTheChainHashDiffers) {
  expect_caught(
      [](World& w) {
        start_all(w);
        put(w, *w.leader(), "key", "value");
        w.run_for(1s);
      },
      [](Plants& p) { p.chain_hash_ignored = true; }, "I4");
}

TEST(PlantedBugs, AReadByALeaseThatOutlivedItsTermIsStale) {
  expect_caught(
      [](World& w) {
        start_all(w);
        const auto old = *w.leader();
        put(w, old, "key", "first");
        w.run_for(500ms);
        // A clock that lags by far more than the margin of a lease allows.
        if (w.options().plants.stale_lease_read) w.clock(old).set_rate(0.05);
        w.network.isolate(old, w.ids());
        EXPECT_TRUE(w.run_until([&] { return w.leader() && *w.leader() != old; }));
        put(w, *w.leader(), "key", "second");
        w.read(old, "key");
        w.run_for(1s);
      },
      [](Plants& p) { p.stale_lease_read = true; }, "stale read");
}

}  // namespace
}  // namespace leeward::sim
