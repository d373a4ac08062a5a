// Two regions of real members in the simulator, and what the stories of epochs
// and promotions ask of them.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "standby/replication.h"
#include "world/world.h"

namespace leeward::standby {

inline const std::vector<NodeId> kPrimaries{NodeId(1), NodeId(2), NodeId(3)};
inline const std::vector<NodeId> kStandbys{NodeId(4), NodeId(5), NodeId(6)};
inline constexpr std::int64_t kSecondEpoch = 2 * region::kRevisionsOfAnEpoch;

inline std::uint64_t number(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text ? std::strtoull(text, nullptr, 10) : otherwise;
}

inline sim::WorldOptions options(std::uint64_t seed, std::uint64_t retain_log_bytes = 64_MiB, std::uint64_t checkpoint_interval = 1000) {
  sim::WorldOptions o;
  o.seed = seed;
  o.standbys = 3;
  o.stream = true;
  o.retain_log_bytes = retain_log_bytes;
  o.checkpoint_interval = checkpoint_interval;
  o.log_to_stderr = std::getenv("LEEWARD_VERBOSE") != nullptr;
  return o;
}

struct Story {
  explicit Story(sim::WorldOptions o) : world(std::move(o)) {}
  explicit Story(std::uint64_t seed) : world(options(seed)) {}

  // Both run, and the standby is armed and has everything.
  bool ready() {
    for (const auto id : world.ids()) world.start(id);
    return world.run_until(
        [&] {
          return world.leader() && leader() && world.checkers.regions(GroupRole::kStandby).armed() && world.caught_up();
        },
        30s);
  }
  std::optional<NodeId> leader() { return world.leader(GroupRole::kStandby); }
  std::vector<NodeId> followers() {
    auto ids = kStandbys;
    std::erase(ids, *leader());
    return ids;
  }
  std::string why() { return world.checkers.breach() + world.standing(); }

  void puts(NodeId id, int count) {
    for (int i = 0; i < count; ++i) {
      const auto key = "k" + std::to_string(written % 20);
      auto put = world.client_put(id, key, std::to_string(written++) + std::string(60, 'v'));
      ASSERT_TRUE(world.run_until([&] { return put->ended; })) << why();
      ASSERT_EQ(put->outcome.end, node::Outcome::End::kApplied) << put->outcome.error.message << why();
      last_revision = put->outcome.result.revision;
    }
  }
  bool turned(NodeId id) {
    auto* m = world.member(id);
    return m && m->role() == GroupRole::kPrimary && m->epoch() == Epoch(2);
  }
  bool all_turned() { return std::all_of(kStandbys.begin(), kStandbys.end(), [&](NodeId id) { return turned(id); }); }
  // Starts who is down and ends the epoch, as often as that takes.
  bool promote(Duration limit = 30s) {
    return world.run_until(
        [&] {
          for (const auto id : kStandbys)
            if (!world.running(id)) world.start(id);
          const auto id = leader();
          if (id && world.checkers.regions(GroupRole::kStandby).role() == GroupRole::kStandby)
            (void)world.propose(*id, world.change_at(*id));  // refused while one is under way
          return all_turned() && leader().has_value();
        },
        limit);
  }
  void expect_it_serves() {
    for (const auto id : kStandbys) {
      puts(id, 3);
      if (::testing::Test::HasFatalFailure()) return;
      EXPECT_GT(last_revision.value(), kSecondEpoch);
      auto read = world.read(id, "k" + std::to_string((written - 1) % 20));
      ASSERT_TRUE(world.run_until([&] { return read->ended; })) << why();
      EXPECT_TRUE(read->confirmed.ok()) << read->confirmed.error().message;
      EXPECT_EQ(read->value, std::to_string(written - 1) + std::string(60, 'v'));
    }
  }
  std::vector<region::EpochRecord> epochs(NodeId id) {
    return region::State::history_of(world.member(id)->state().region_entries())->epochs;
  }
  // Between the regions, both ways; up: and whatever else was cut.
  void link(bool up) {
    if (up) return world.network.heal();
    for (const auto a : kPrimaries)
      for (const auto b : kStandbys) {
        world.network.cut(a, b);
        world.network.cut(b, a);
      }
  }
  // Of this member's own requests nothing leaves it, and nothing comes.
  void cut_off(NodeId id) { world.network.isolate(id, world.ids()); }

  sim::World world;
  int written = 0;
  Revision last_revision;
};

#define ASSERT_READY(r)                 \
  ASSERT_TRUE((r).ready()) << (r).why(); \
  (r).puts(*(r).world.leader(), 20);    \
  ASSERT_TRUE((r).world.run_until([&] { return (r).world.caught_up(); }, 20s)) << (r).why()

inline bool refused_by(const Result<Index>& result, const std::string& rule) {
  if (!result.ok() && result.error().code == Code::kInvalid && result.error().message.find(rule) != std::string::npos) return true;
  ADD_FAILURE() << "wanted: " << rule << "; got: " << (result.ok() ? "appended" : result.error().message);
  return false;
}

}  // namespace leeward::standby
