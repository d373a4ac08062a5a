#include "standby/rpo_gate.h"

#include <algorithm>

#include "base/quantity.h"

namespace leeward::standby {
namespace {

// An entry is cut for so long's worth of writes at least, and what was not used
// is kept for so long.
constexpr double kQuantum = 0.01, kKept = 0.1;
// A write larger than what a rate gives in this time does not hold up the next.
constexpr double kMostDebt = 1.0;
constexpr Duration kSuspensionTold = 5s;  // a group is armed within a moment of the start


}  // namespace

RpoGate::RpoGate(node::Group& group, const Followers& followers, GovernorOptions options)
    : group_(group), followers_(followers), governor_(options) {
  group_.gate_writes(this);
}

RpoGate::~RpoGate() { group_.gate_writes(nullptr); }

void RpoGate::set_policy(RpoPolicy policy, Duration budget) { governor_.set_policy(policy, budget); }

void RpoGate::rest() {
  governor_.restart();
  region_.reset();
  lag_.reset();
  bucket_.reset();
  suspended_since_.reset();
  judged_ = told_over_ = told_let_go_ = told_suspended_ = false;
}

void RpoGate::tick(Instant now, const std::optional<region::Armed>& armed) {
  if (!group_.is_leader()) rest();
  region_ = armed ? std::optional(armed->region) : std::nullopt;
  if (!group_.is_leader()) return;
  if (armed) {
    measure(now, *armed);
  } else if (judged_) {
    governor_.restart();
    judged_ = told_over_ = told_let_go_ = false;
  }
  tell(now);
}

void RpoGate::measure(Instant now, const region::Armed& armed) {
  const auto held = followers_.group_of(armed.region) == armed.group ? followers_.held(armed.region, now) : std::nullopt;
  lag_ = held ? followers_.lag(armed.region, now) : std::nullopt;
  governor_.step({now, lag_, held && held->connected, cost_of(group_.last().position), held ? cost_of(held->committed) : 0});
  judged_ = true;
}

void RpoGate::tell(Instant now) {
  auto& log = group_.logger();
  const auto& o = governor_.options();
  const auto region = region_.value_or("");
  if (governor_.over() != std::exchange(told_over_, governor_.over())) {
    if (told_over_)
      log.warn("the standby region lags by more than dr.rpo_budget",
               {{"standby", region}, {"lag_ms", to_ms(*governor_.lag())}, {"known", lag_.has_value()},
                {"budget_ms", to_ms(o.budget)}, {"policy", name(o.policy)}});
    else
      log.info("the standby region lags by no more than dr.rpo_budget again",
               {{"standby", region}, {"budget_ms", to_ms(o.budget)}});
  }
  if (governor_.let_go() != std::exchange(told_let_go_, governor_.let_go())) {
    if (told_let_go_)
      log.warn("writes are throttled no more: the standby region does not move, and slower writes would save none",
               {{"standby", region}, {"budget_ms", to_ms(o.budget)}});
    else
      log.info("the standby region moves again: writes are throttled while it lags", {{"standby", region}});
  }
  if (region_ || o.policy == RpoPolicy::kAlert) {
    suspended_since_.reset();
    if (std::exchange(told_suspended_, false)) log.info("dr.rpo_policy is in force again", {{"policy", name(o.policy)}});
    return;
  }
  if (!suspended_since_) suspended_since_ = now;
  if (now - *suspended_since_ < kSuspensionTold || std::exchange(told_suspended_, true)) return;
  log.warn("dr.rpo_policy is suspended: no standby region is armed", {{"policy", name(o.policy)}});
}

RpoStatus RpoGate::status() const {
  const auto& o = governor_.options();
  RpoStatus s;
  s.configured = s.active = o.policy;
  s.budget = o.budget;
  s.judged = judged_;
  if (!region_) s.detail = "no standby region is armed";
  else if (governor_.let_go()) s.detail = "the standby region does not move, and slower writes would save none";
  if (!s.detail.empty()) s.active = RpoPolicy::kAlert;
  if (o.policy == RpoPolicy::kAlert) s.detail.clear();
  if (!judged_) return s;
  s.lag = lag_;
  s.exceeded = governor_.over();
  s.refusing = governor_.refuses();
  s.allowed = governor_.rate();
  return s;
}

std::optional<Error> RpoGate::refusal() {
  if (!governor_.refuses()) return std::nullopt;
  const auto& o = governor_.options();
  const auto lag = lag_ ? "lags by up to " + human_duration(*lag_) : "lags by an unknown time";
  return Error{Code::kOverloaded, "leeward: the standby region " + region_.value_or("") + " " + lag +
                                      ", over dr.rpo_budget of " + human_duration(o.budget) + ", and dr.rpo_policy refuses writes until it is " +
                                      human_duration(o.budget / 2) + "; leewardctl standby status shows it"};
}

// What was cut is read off the log: what passes the gate and what need not are
// one load to the region.
std::optional<node::WriteGate::Allowance> RpoGate::allowance(Instant now) {
  const auto rate = governor_.rate();
  if (!rate) {
    bucket_.reset();
    return std::nullopt;
  }
  const auto cut = cost_of(group_.last().position);
  if (!bucket_ || cut < bucket_->cut) bucket_ = Bucket{now, 0, cut};
  auto& b = *bucket_;
  b.level += *rate * to_s(now - b.at) - static_cast<double>(cut - b.cut);
  b.level = std::clamp(b.level, -kMostDebt * *rate, kKept * *rate);
  b.at = now;
  b.cut = cut;
  const auto quantum = kQuantum * *rate;
  if (b.level >= quantum) return Allowance{static_cast<std::size_t>(b.level), {}, *rate};
  const auto wait = Duration(static_cast<Duration::rep>((quantum - b.level) / *rate * 1e9));
  return Allowance{0, std::max<Duration>(wait, 1ms), *rate};
}

}  // namespace leeward::standby
