#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "standby/eligibility.h"

namespace leeward::standby {
namespace {

EligibilityFacts good() {
  EligibilityFacts f;
  f.armed = f.leader_known = f.heard = f.voter = true;
  f.armed_region = "west";
  f.leader = NodeId(4);
  f.high = 120ms;
  f.lag_at_newest = 40ms;
  f.newest_age = 60ms;
  f.hash = HashVerdict::kEqual;
  f.hash_index = HistoryIndex(12);
  f.version = f.newest_primary_version = "0.1.0";
  f.epoch = f.newest_epoch = Epoch(1);
  return f;
}

NamedCheck check(const EligibilityFacts& facts, std::string_view which) {
  const auto checks = judge(facts, {});
  const auto it = std::find_if(checks.begin(), checks.end(), [&](const NamedCheck& c) { return c.check == which; });
  return it == checks.end() ? NamedCheck{} : *it;
}

TEST(Eligibility, NamesEveryCheckAlwaysInOneOrder) {
  const auto checks = judge({}, {});
  ASSERT_EQ(checks.size(), std::size(kChecks));
  for (std::size_t i = 0; i < checks.size(); ++i) EXPECT_EQ(checks[i].check, kChecks[i]);
  for (const auto& c : judge(good(), {})) EXPECT_TRUE(c.ok) << c.check << ": " << c.detail;
  EXPECT_TRUE(eligible(judge(good(), {})));
  EXPECT_FALSE(eligible({}));
}

TEST(Eligibility, FailsByExactlyTheCheckThatIsHurt) {
  const std::vector<std::pair<std::string, std::function<void(EligibilityFacts&)>>> hurts = {
      {"armed", [](auto& f) { f.armed = false; }},
      {"quorum", [](auto& f) { f.leader_known = false; }},
      {"lag", [](auto& f) { f.high = 1001ms; }},
      {"lag", [](auto& f) { f.high.reset(); }},
      {"hash", [](auto& f) { f.hash = HashVerdict::kNotCompared; }},
      {"hash", [](auto& f) { f.hash = HashVerdict::kDifferent; }},
      {"integrity", [](auto& f) { f.damage = "diverged"; }},
      {"disk", [](auto& f) { f.disk_full = true; }},
      {"disk", [](auto& f) { f.disk_stall = 6s; }},
      {"version", [](auto& f) { f.newest_primary_version = "0.2.0"; }},
      {"epoch", [](auto& f) { f.newest_epoch = Epoch(2); }},
      {"isolated", [](auto& f) { f.isolated = true; }},
      {"voter", [](auto& f) { f.voter = false; }},
  };
  for (const auto& [name, hurt] : hurts) {
    auto facts = good();
    hurt(facts);
    for (const auto& c : judge(facts, {})) EXPECT_EQ(c.ok, c.check != name) << name << " changed " << c.check;
    EXPECT_FALSE(check(facts, name).detail.empty());
  }
}

// Its ten reasons would all be true, and none of them what it waits for.
TEST(Eligibility, WhoTakesPartInNoGroupSaysThatAlone) {
  auto facts = good();
  facts.waiting = true;
  const auto checks = judge(facts, {});
  ASSERT_EQ(checks.size(), 1u);
  EXPECT_FALSE(checks[0].ok);
  EXPECT_NE(checks[0].detail.find("takes part in no group"), std::string::npos);
  EXPECT_FALSE(eligible(checks));
  std::vector<VoterVerdict> voters = {{NodeId(4), checks}, {NodeId(5), judge(good(), {})}, {NodeId(6), judge(good(), {})}};
  EXPECT_TRUE(eligible(judge_group(voters)));
  voters[1].checks = checks;
  EXPECT_FALSE(eligible(judge_group(voters)));
}

TEST(Eligibility, LagOfASilentPrimaryIsThatOfItsLastAnswer) {
  auto f = good();
  f.high = 60s;
  EXPECT_FALSE(check(f, "lag").ok);
  f.heard = false;
  f.newest_age = 60s;
  EXPECT_TRUE(check(f, "lag").ok);
  EXPECT_NE(check(f, "lag").detail.find("60000 ms ago"), std::string::npos);
  // One member that is cut off from a primary which another member hears.
  f.heard_by_others = true;
  EXPECT_FALSE(check(f, "lag").ok);
  f.heard_by_others = false;
  f.lag_at_newest = 2s;
  EXPECT_FALSE(check(f, "lag").ok);
}

TEST(Eligibility, ARestartedMemberHasNoLag) {
  auto f = good();
  f.heard = false;
  f.high.reset(), f.lag_at_newest.reset(), f.newest_age.reset();
  EXPECT_FALSE(check(f, "lag").ok);
}

TEST(Eligibility, OfAGroupNeedsAMajorityOfItsVotersForEachCheck) {
  auto bad = good();
  bad.hash = HashVerdict::kDifferent;
  std::vector<VoterVerdict> voters = {{NodeId(4), judge(good(), {})}, {NodeId(5), judge(good(), {})}, {NodeId(6), {}}};
  EXPECT_TRUE(eligible(judge_group(voters)));
  voters[1].checks = judge(bad, {});
  const auto checks = judge_group(voters);
  for (const auto& c : checks) EXPECT_EQ(c.ok, c.check != "hash") << c.check << ": " << c.detail;
}

TEST(Eligibility, VersionsCompareByNumber) {
  EXPECT_TRUE(older_version("0.9.0", "0.10.0"));
  EXPECT_FALSE(older_version("0.10.0", "0.9.9"));
  EXPECT_FALSE(older_version("1.2.3", "1.2.3-rc1"));
  EXPECT_TRUE(older_version("", "0.0.1"));
  EXPECT_FALSE(older_version("0.1.0", ""));
}

}  // namespace
}  // namespace leeward::standby
