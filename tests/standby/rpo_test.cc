// The RPO policies over real members of two regions, in the simulator: a link of
// limited rate between them, or none. LEEWARD_VERBOSE prints the curves.
#include <gtest/gtest.h>

#include <cstdio>
#include <functional>
#include <map>

#include "proto/rpc.pb.h"
#include "story.h"
#include "tests/support/sanitized.h"

namespace leeward::standby {
namespace {

constexpr std::uint64_t kLink = 60'000;  // bytes a second

sim::WorldOptions with(RpoPolicy policy, Duration budget = 1s, std::uint64_t seed = 7) {
  auto o = options(seed);
  o.flush_every = 5000;
  o.wan.delay_low = 20ms;
  o.wan.delay_high = 25ms;
  o.governor.policy = policy;
  o.governor.budget = budget;
  return o;
}

struct Tale : Story {
  explicit Tale(sim::WorldOptions o) : Story(std::move(o)) {}

  const RpoStatus rpo() { return world.member(*world.leader())->status().rpo.value(); }
  Counter& refused() { return const_cast<Counter&>(world.member(*world.leader())->probe().gate_refused); }
  double held_seconds() { return static_cast<double>(world.member(*world.leader())->probe().gate_held_us.get()) * 1e-6; }

  // So many clients, each at one of the primaries, write again a moment after
  // they are answered, a value that cannot be made smaller.
  void load(int clients, std::size_t bytes = 500, Duration pause_between = 100ms) {
    running = true;
    pause = pause_between;
    for (int i = 0; i < clients; ++i) next(i, bytes);
  }
  void next(int client, std::size_t bytes) {
    if (!running) return;
    std::string value(bytes, '\0');
    for (auto& c : value) c = static_cast<char>(world.dice.below(256));
    etcdserverpb::PutRequest request;
    request.set_key("c" + std::to_string(client));
    request.set_value(value);
    const auto to = kPrimaries[static_cast<std::size_t>(client) % 3];
    if (!world.running(to)) return;
    world.service(to)->propose({Op::kPut, Bytes(request.SerializeAsString()), {}, {}}, std::nullopt, world.client_loop(),
                               [this, client, bytes](node::Outcome o) {
                                 ++ends[o.end];
                                 if (o.end != node::Outcome::End::kApplied) last_error = o.error;
                                 if (o.end == node::Outcome::End::kApplied) written_bytes += bytes;
                                 world.scheduler.after(pause, [this, client, bytes] { next(client, bytes); });
                               });
  }
  struct Curve {
    double least = 1e9, most = 0;
    int unknown = 0;
  };
  Curve watch(Duration time) {
    Curve c;
    for (Duration t{}; t < time; t += 100ms) {
      world.run_for(100ms);
      const auto now = rpo();
      if (std::getenv("LEEWARD_VERBOSE"))
        std::printf("%6.1f s  lag %6.3f s  allowed %8.0f B/s%s\n", to_s(t), now.lag ? to_s(*now.lag) : -1, now.allowed.value_or(-1),
                    now.exceeded ? "  exceeded" : "");
      if (!now.lag) {
        ++c.unknown;
        continue;
      }
      c.least = std::min(c.least, to_s(*now.lag));
      c.most = std::max(c.most, to_s(*now.lag));
    }
    return c;
  }
  node::Outcome put_now(const std::string& key) {
    auto put = world.client_put(*world.leader(), key, "v");
    EXPECT_TRUE(world.run_until([&] { return put->ended; }, 20s)) << why();
    return put->outcome;
  }
  bool cut_regions() {
    world.network.cut_regions("east", "west");
    world.network.cut_regions("west", "east");
    return true;
  }

  bool running = false;
  Duration pause{};
  std::map<node::Outcome::End, std::uint64_t> ends;
  std::uint64_t written_bytes = 0;
  Error last_error;
};

TEST(Rpo, AThrottleBringsTheLagToTheBudgetOverALinkThatIsTooSlow) {
  Tale t(with(RpoPolicy::kThrottle));
  ASSERT_READY(t);
  t.world.network.wan_bandwidth = kLink;
  t.load(40);
  t.world.run_for(20s);
  const auto before = t.written_bytes;
  const auto held = t.held_seconds();
  const Duration watched = test::kSanitized ? 5s : 30s;
  const auto curve = t.watch(watched);
  EXPECT_EQ(curve.unknown, 0);
  EXPECT_LT(curve.most, 1.1);
  EXPECT_GT(curve.least, 0.7);
  const auto rate = static_cast<double>(t.written_bytes - before) / to_s(watched);
  EXPECT_GT(rate, 0.6 * kLink) << "the link is used; answers to pings and the frames' heads take the rest";
  EXPECT_LT(rate, 1.0 * kLink);
  EXPECT_GT(t.held_seconds() - held, 0.8 * to_s(watched)) << "and the time is counted";
  EXPECT_FALSE(t.rpo().exceeded);
  EXPECT_EQ(t.rpo().active, RpoPolicy::kThrottle);
  EXPECT_EQ(t.ends[node::Outcome::End::kUnknown], 0u) << "no write is left without an end";
  t.running = false;
  t.world.network.wan_bandwidth = 0;
  EXPECT_TRUE(t.world.settle()) << t.why();
}

TEST(Rpo, MoreThanCanPassInTimeIsRefusedAtOnceAndNotDoneLate) {
  if (test::kSanitized) GTEST_SKIP() << "thousands of clients: minutes under a sanitizer";
  Tale t(with(RpoPolicy::kThrottle));
  ASSERT_READY(t);
  t.world.network.wan_bandwidth = kLink;
  t.load(2000, 500, 1s);
  t.world.run_for(8s);
  EXPECT_GT(t.ends[node::Outcome::End::kNotApplied], 100u);
  EXPECT_EQ(t.last_error.code, Code::kOverloaded) << t.last_error.message;
  EXPECT_EQ(t.ends[node::Outcome::End::kUnknown], 0u);
  t.running = false;
}

TEST(Rpo, NoReadNoKeepAliveAndNoExpiryWaitsForAThrottle) {
  Tale t(with(RpoPolicy::kThrottle));
  ASSERT_READY(t);
  const auto leader = *t.world.leader();
  for (const std::int64_t id : {77, 78}) {
    etcdserverpb::LeaseGrantRequest grant;
    grant.set_id(id);
    grant.set_ttl(6);
    bool granted = false;
    t.world.service(leader)->propose({Op::kLeaseGrant, Bytes(grant.SerializeAsString()), {}, {}}, std::nullopt,
                                     t.world.client_loop(), [&](node::Outcome o) { granted = o.end == node::Outcome::End::kApplied; });
    ASSERT_TRUE(t.world.run_until([&] { return granted; }));
  }
  t.world.network.wan_bandwidth = kLink;
  t.load(200);
  t.world.run_for(3s);
  // One is kept alive, one runs out.
  const auto begun = t.world.scheduler.now();
  bool kept = false;
  t.world.service(leader)->keep_alive(77, t.world.client_loop(), [&](Result<std::int64_t> left) { kept = left.ok(); });
  ASSERT_TRUE(t.world.run_until([&] { return kept; }));
  EXPECT_LT(t.world.scheduler.now() - begun, 50ms);
  auto read = t.world.read(leader, "c1");
  ASSERT_TRUE(t.world.run_until([&] { return read->ended; }));
  EXPECT_LT(t.world.scheduler.now() - begun, 100ms);
  ASSERT_TRUE(t.world.run_until([&] { return !t.world.member(leader)->state().lease(78); }, 10s));
  EXPECT_LT(t.world.scheduler.now() - begun, 4s) << "6 s after the grant, not after a queue";
  EXPECT_TRUE(t.world.member(leader)->state().lease(77));
  EXPECT_TRUE(t.rpo().allowed) << "it throttled all the time";
  t.running = false;
}

TEST(Rpo, AThrottleLetsGoOfARegionThatIsGoneAndTakesHoldWhenItReturns) {
  Tale t(with(RpoPolicy::kThrottle));
  ASSERT_READY(t);
  t.cut_regions();
  t.load(20, 200);
  t.world.run_for(3s);
  EXPECT_TRUE(t.rpo().allowed);
  t.world.run_for(5s);
  EXPECT_FALSE(t.rpo().allowed);
  EXPECT_EQ(t.rpo().active, RpoPolicy::kAlert);
  EXPECT_EQ(t.rpo().configured, RpoPolicy::kThrottle);
  EXPECT_TRUE(t.rpo().exceeded);
  const auto held = t.held_seconds();
  t.world.run_for(5s);
  EXPECT_EQ(t.held_seconds(), held);
  t.running = false;
  t.world.network.heal_regions();
  ASSERT_TRUE(t.world.run_until([&] { return t.rpo().active == RpoPolicy::kThrottle; }, 20s)) << t.why();
  EXPECT_TRUE(t.world.settle()) << t.why();
}

TEST(Rpo, WritesAreRefusedByNameWhileTheBudgetIsPassedAndReadsAreNot) {
  Tale t(with(RpoPolicy::kRefuse));
  ASSERT_READY(t);
  EXPECT_EQ(t.put_now("a").end, node::Outcome::End::kApplied);
  const auto leader = *t.world.leader();
  etcdserverpb::LeaseGrantRequest grant;
  grant.set_id(5);
  grant.set_ttl(4);
  bool granted = false;
  t.world.service(leader)->propose({Op::kLeaseGrant, Bytes(grant.SerializeAsString()), {}, {}}, std::nullopt, t.world.client_loop(),
                                   [&](node::Outcome o) { granted = o.end == node::Outcome::End::kApplied; });
  ASSERT_TRUE(t.world.run_until([&] { return granted; }));
  t.world.run_for(500ms);
  t.cut_regions();
  t.world.run_for(3s);
  EXPECT_EQ(t.put_now("b").end, node::Outcome::End::kApplied) << "nothing is missing yet";
  t.world.run_for(1200ms);
  const auto refused = t.put_now("c");
  EXPECT_EQ(refused.end, node::Outcome::End::kNotApplied);
  EXPECT_EQ(refused.error.code, Code::kOverloaded);
  for (const char* part : {"leeward: the standby region west lags by up to ", "over dr.rpo_budget of 1000 ms", "refuses writes"})
    EXPECT_NE(refused.error.message.find(part), std::string::npos) << refused.error.message;
  EXPECT_GE(t.refused().get(), 1u);
  // Through a follower it is the same.
  const auto other = *std::find_if(kPrimaries.begin(), kPrimaries.end(), [&](NodeId id) { return id != leader; });
  auto through = t.world.client_put(other, "d", "v");
  ASSERT_TRUE(t.world.run_until([&] { return through->ended; }));
  EXPECT_EQ(through->outcome.end, node::Outcome::End::kNotApplied);
  EXPECT_EQ(through->outcome.error.message.substr(0, 8), "leeward:") << through->outcome.error.message;
  auto read = t.world.read(leader, "b");
  ASSERT_TRUE(t.world.run_until([&] { return read->ended; }));
  EXPECT_TRUE(read->confirmed.ok());
  ASSERT_TRUE(t.world.run_until([&] { return !t.world.member(leader)->state().lease(5); }, 8s)) << "an expired lease is revoked";

  t.world.network.heal_regions();
  ASSERT_TRUE(t.world.run_until([&] { return !t.rpo().refusing; }, 20s)) << t.why();
  EXPECT_LE(*t.rpo().lag, 500ms);
  EXPECT_EQ(t.put_now("e").end, node::Outcome::End::kApplied);
  EXPECT_TRUE(t.world.settle()) << t.why();
}

TEST(Rpo, APolicyThatIsChangedWhileItRefusesIsHeeded) {
  Tale t(with(RpoPolicy::kRefuse));
  ASSERT_READY(t);
  t.cut_regions();
  (void)t.put_now("a");
  t.world.run_for(2s);
  ASSERT_EQ(t.put_now("b").end, node::Outcome::End::kNotApplied);
  for (const auto id : kPrimaries) t.world.stream(id)->set_rpo_policy(RpoPolicy::kAlert, 1s);
  t.world.run_for(200ms);
  EXPECT_EQ(t.put_now("c").end, node::Outcome::End::kApplied);
  EXPECT_EQ(t.rpo().active, RpoPolicy::kAlert);
  EXPECT_TRUE(t.rpo().exceeded);
}

TEST(Rpo, WithoutAnArmedRegionNoPolicyIsInForce) {
  Tale t(with(RpoPolicy::kRefuse, 200ms));
  for (const auto id : t.world.ids()) t.world.start(id);
  ASSERT_TRUE(t.world.run_until([&] { return t.world.leader().has_value(); }));
  for (const auto id : kStandbys) t.world.kill(id);
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(t.put_now("a").end, node::Outcome::End::kApplied);
    t.world.run_for(100ms);
  }
  EXPECT_EQ(t.rpo().active, RpoPolicy::kAlert);
  EXPECT_EQ(t.rpo().configured, RpoPolicy::kRefuse);
  EXPECT_NE(t.rpo().detail, "");
}

// What a new leader does not know it does not take for nothing.
TEST(Rpo, ANewLeaderRefusesWhileItDoesNotKnowWhatTheRegionHolds) {
  Tale t(with(RpoPolicy::kRefuse));
  t.world.adjust = [](node::MemberOptions& o) { o.limits.start_wait = Duration(0); };
  ASSERT_READY(t);
  t.cut_regions();
  (void)t.put_now("a");
  t.world.run_for(2s);
  for (const auto id : kPrimaries) t.world.kill(id);
  for (const auto id : kPrimaries) t.world.start(id);
  ASSERT_TRUE(t.world.run_until([&] { return t.world.leader().has_value(); }, 20s));
  t.world.run_for(2s);
  EXPECT_FALSE(t.rpo().lag);
  const auto refused = t.put_now("b");
  EXPECT_EQ(refused.end, node::Outcome::End::kNotApplied);
  EXPECT_NE(refused.error.message.find("lags by an unknown time"), std::string::npos) << refused.error.message;
  t.world.network.heal_regions();
  ASSERT_TRUE(t.world.run_until([&] { return !t.rpo().refusing; }, 30s)) << t.why();
  EXPECT_EQ(t.put_now("c").end, node::Outcome::End::kApplied);
}

// I10: the default asks nothing of anybody.
TEST(Rpo, AlertLetsEverythingPassWhateverTheLag) {
  Tale t(with(RpoPolicy::kAlert));
  ASSERT_READY(t);
  t.load(10, 200);
  t.world.run_for(3s);
  const auto before = t.ends[node::Outcome::End::kApplied];
  t.world.run_for(10s);
  const auto beside = t.ends[node::Outcome::End::kApplied] - before;
  t.cut_regions();
  t.world.run_for(5s);
  const auto cut = t.ends[node::Outcome::End::kApplied];
  t.world.run_for(10s);
  EXPECT_TRUE(t.rpo().exceeded);
  EXPECT_GT(static_cast<double>(t.ends[node::Outcome::End::kApplied] - cut), 0.95 * static_cast<double>(beside));
  EXPECT_EQ(t.held_seconds(), 0);
  EXPECT_EQ(t.ends[node::Outcome::End::kNotApplied], 0u);
  t.running = false;
}

}  // namespace
}  // namespace leeward::standby
