#include "standby/eligibility.h"

#include <algorithm>
#include <cstdio>

namespace leeward::standby {
namespace {

std::string ms(Duration d) {
  char text[48];
  std::snprintf(text, sizeof text, "%.0f ms", to_ms(d));
  return text;
}

NamedCheck armed(const EligibilityFacts& f) {
  if (f.armed) return {"armed", true, "this group is armed"};
  if (f.armed_region.empty()) return {"armed", false, "no group is armed in this epoch; the primary arms one that has caught up"};
  return {"armed", false, "region " + f.armed_region + " is armed, with another group"};
}

NamedCheck quorum(const EligibilityFacts& f) {
  if (f.leader_known) return {"quorum", true, "leader " + std::to_string(f.leader.value())};
  return {"quorum", false, "the group has no confirmed leader"};
}

NamedCheck lag(const EligibilityFacts& f, Duration limit) {
  const auto bound = ", limit " + ms(limit);
  if (!f.newest_age) return {"lag", false, "the primary never answered this member since it started; loss is without bound"};
  if (f.heard || f.heard_by_others) {
    if (!f.high) return {"lag", false, "more than is known: no answered ping is covered yet" + bound};
    return {"lag", *f.high <= limit, "at most " + ms(*f.high) + bound};
  }
  const auto at = " at the last answer, " + ms(*f.newest_age) + " ago" + bound;
  if (!f.lag_at_newest) return {"lag", false, "unknown" + at};
  return {"lag", *f.lag_at_newest <= limit, "at most " + ms(*f.lag_at_newest) + at};
}

NamedCheck hash(const EligibilityFacts& f) {
  const auto at = " at history index " + std::to_string(f.hash_index.value());
  switch (f.hash) {
    case HashVerdict::kEqual: return {"hash", true, "equal" + at};
    case HashVerdict::kDifferent: return {"hash", false, "differs from the primary's" + at + "; the data is not the same"};
    case HashVerdict::kNotCompared: break;
  }
  return {"hash", false, "never compared with the primary's since this member started"};
}

NamedCheck disk(const EligibilityFacts& f, Duration limit) {
  if (f.disk_full) return {"disk", false, "full"};
  if (f.disk_stall && *f.disk_stall > limit) return {"disk", false, "a sync has been running for " + ms(*f.disk_stall)};
  return {"disk", true, "answers"};
}

NamedCheck version(const EligibilityFacts& f) {
  if (older_version(f.version, f.newest_primary_version))
    return {"version", false, f.version + " is older than the primary's " + f.newest_primary_version + "; upgrade"};
  return {"version", true, f.version};
}

NamedCheck epoch(const EligibilityFacts& f) {
  if (f.newest_epoch > f.epoch)
    return {"epoch", false, "epoch " + std::to_string(f.newest_epoch.value()) + " is known, this group is in " +
                                std::to_string(f.epoch.value())};
  return {"epoch", true, std::to_string(f.epoch.value())};
}

}  // namespace

std::vector<NamedCheck> judge(const EligibilityFacts& f, const EligibilityLimits& limits) {
  if (f.waiting) return {{"voter", false, "takes part in no group yet; leewardctl dr status at this member"}};
  return {
      armed(f),
      quorum(f),
      lag(f, limits.max_lag),
      hash(f),
      {"integrity", f.damage.empty(), f.damage.empty() ? "no damage known" : f.damage},
      disk(f, limits.max_disk_stall),
      version(f),
      epoch(f),
      {"isolated", !f.isolated && !f.paused,
       f.isolated ? "isolated by an operator" + (f.reason.empty() ? "" : ": " + f.reason) : f.paused ? "paused by an operator" : "no"},
      {"voter", f.voter, f.voter ? "votes" : "does not vote; admit it with leewardctl member admit"},
  };
}

std::vector<NamedCheck> judge_group(std::span<const VoterVerdict> voters) {
  std::vector<NamedCheck> out;
  for (const auto check : kChecks) {
    std::size_t passing = 0;
    std::string failing;
    for (const auto& voter : voters) {
      const auto it = std::find_if(voter.checks.begin(), voter.checks.end(),
                                   [&](const NamedCheck& c) { return c.check == check; });
      if (it != voter.checks.end() && it->ok) {
        ++passing;
      } else {
        failing += (failing.empty() ? "; not " : ", ") + std::to_string(voter.id.value());
      }
    }
    out.push_back({std::string(check), passing > voters.size() / 2,
                   std::to_string(passing) + " of " + std::to_string(voters.size()) + " voters" + failing});
  }
  return out;
}

bool eligible(std::span<const NamedCheck> checks) {
  return !checks.empty() && std::all_of(checks.begin(), checks.end(), [](const NamedCheck& c) { return c.ok; });
}

bool older_version(std::string_view a, std::string_view b) {
  for (int part = 0; part < 3; ++part) {
    auto take = [](std::string_view& v) {
      std::uint64_t n = 0;
      std::size_t i = 0;
      for (; i < v.size() && v[i] >= '0' && v[i] <= '9' && i < 18; ++i) n = n * 10 + static_cast<std::uint64_t>(v[i] - '0');
      v.remove_prefix(i);
      if (!v.empty() && v.front() == '.') v.remove_prefix(1);
      else v = {};
      return n;
    };
    const auto x = take(a), y = take(b);
    if (x != y) return x < y;
  }
  return false;
}

}  // namespace leeward::standby
