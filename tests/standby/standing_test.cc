// What a paused or isolated member is to the other region.
#include <gtest/gtest.h>

#include "story.h"

namespace leeward::standby {
namespace {

using Kind = node::StandingChange::Kind;

bool change(Story& r, NodeId id, Kind kind, bool force = false) {
  auto result = std::make_shared<std::optional<Result<void>>>();
  r.world.service(id)->change_standing({kind, kind == Kind::kIsolate ? "hash" : "", force}, r.world.client_loop(),
                                       [result](Result<void> done) { *result = done; });
  EXPECT_TRUE(r.world.run_until([&] { return result->has_value(); })) << r.why();
  if (!(*result)->ok()) ADD_FAILURE() << (*result)->error().message;
  return (*result)->ok();
}

std::string check(Story& r, NodeId id, std::string_view which) {
  for (const auto& m : r.world.member(id)->status().members)
    if (m.id == id)
      for (const auto& c : m.eligibility)
        if (c.check == which) return c.ok ? "ok" : c.detail;
  return "no verdict";
}

TEST(StandingBetweenRegions, AMemberThatStandsAsideIsNoSource) {
  for (const auto kind : {Kind::kPause, Kind::kIsolate}) {
    Story r(3);
    ASSERT_READY(r);
    for (const auto id : kPrimaries) {
      if (r.world.stream(id)->source().sessions() == 0) continue;
      ASSERT_TRUE(change(r, id, kind));
      ASSERT_TRUE(r.world.run_until([&] { return r.world.stream(id)->source().sessions() == 0; })) << r.why();
      ASSERT_TRUE(r.world.run_until([&] {
        return std::any_of(kPrimaries.begin(), kPrimaries.end(),
                           [&](NodeId other) { return other != id && r.world.stream(other)->source().sessions() > 0; });
      })) << r.why();
      r.world.run_for(5s);
      EXPECT_EQ(r.world.stream(id)->source().sessions(), 0u);
      r.puts(*r.world.leader(), 20);
      ASSERT_TRUE(r.world.run_until([&] { return r.world.caught_up(); }, 20s)) << r.why();
      break;
    }
  }
}

TEST(StandingBetweenRegions, AStandbyThatStandsAsideLeadsNoStreamAndIsNotEligible) {
  for (const auto kind : {Kind::kPause, Kind::kIsolate}) {
    Story r(4);
    ASSERT_READY(r);
    const auto id = *r.leader();
    ASSERT_TRUE(r.world.run_until([&] { return check(r, id, "isolated") == "ok"; })) << check(r, id, "isolated");
    ASSERT_TRUE(change(r, id, kind));
    ASSERT_TRUE(r.world.run_until([&] { return r.leader() && *r.leader() != id; })) << r.why();
    const std::string why = kind == Kind::kPause ? "paused by an operator" : "isolated by an operator: hash";
    ASSERT_TRUE(r.world.run_until([&] { return check(r, id, "isolated") == why; })) << check(r, id, "isolated");
    // Two of three still make an eligible group, and the stream goes on.
    r.puts(*r.world.leader(), 20);
    ASSERT_TRUE(r.world.run_until([&] { return r.world.caught_up(); }, 20s)) << r.why();
    ASSERT_TRUE(r.world.run_until([&] { return eligible(r.world.member(*r.leader())->status().group_eligibility); }, 20s)) << r.why();

    ASSERT_TRUE(change(r, id, kind == Kind::kPause ? Kind::kResume : Kind::kRejoin));
    ASSERT_TRUE(r.world.run_until([&] { return check(r, id, "isolated") == "ok"; }, 20s)) << check(r, id, "isolated");
    EXPECT_TRUE(r.world.settle()) << r.why();
  }
}

}  // namespace
}  // namespace leeward::standby
