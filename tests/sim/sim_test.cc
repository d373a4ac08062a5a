// The shipped members under simulated faults. A failing run prints the seed
// that replays it: scripts/sim --seed N.
#include <gtest/gtest.h>

#include "world/world.h"

namespace leeward::sim {
namespace {

WorldOptions options(std::uint64_t seed) {
  WorldOptions o;
  o.seed = seed;
  return o;
}

void start_all(World& w) {
  for (const auto id : w.ids()) w.start(id);
  ASSERT_TRUE(w.run_until([&] { return w.leader().has_value(); })) << w.checkers.breach();
}

TEST(Sim, ThreeNodesStartAGroupAndAPutIsOnAllOfThem) {
  World w(options(1));
  start_all(w);
  for (const auto id : w.ids()) {
    auto put = w.put(id, "k" + std::to_string(id.value()), "v");
    ASSERT_TRUE(w.run_until([&] { return put->ended; })) << w.checkers.breach();
    EXPECT_EQ(put->outcome.end, node::Outcome::End::kApplied) << put->outcome.error.message;
  }
  ASSERT_TRUE(w.settle()) << w.checkers.breach();
  for (const auto id : w.ids()) EXPECT_EQ(w.peek(id, "k2"), "v");
}

TEST(Sim, TheSameSeedGivesTheSameTrace) {
  std::uint64_t traces[2];
  for (auto& trace : traces) {
    World w(options(77));
    EXPECT_TRUE(w.torment(10s)) << w.checkers.breach();
    trace = w.scheduler.trace();
  }
  EXPECT_EQ(traces[0], traces[1]);
}

TEST(Sim, NoSeedOfManyBreaksAnInvariant) {
  std::uint64_t writes = 0;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    World w(varied(seed));
    EXPECT_TRUE(w.torment(20s)) << "scripts/sim --seed " << seed << ": " << w.checkers.breach();
    writes += w.acknowledged();
    if (HasFailure()) break;
  }
  EXPECT_GT(writes, 1000u);
}

}  // namespace
}  // namespace leeward::sim
