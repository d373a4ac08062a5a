#include "standby/governor.h"

#include <algorithm>

namespace leeward::standby {
namespace {

// All in budgets. A throttle takes hold a little below the budget, since what is
// under way then still has to get across; it aims a tenth below it, so that the
// lag that is measured stays within; and it leaves when the lag is far below.
constexpr double kHolds = 0.75, kAim = 0.9, kLeaves = 0.4;
// How long a difference takes to go down to a third: longer than what the region
// takes is measured over, so that acknowledgements in bursts do not show.
constexpr double kSettles = 2.0;
// What is admitted at the least, of what the region takes: the rest catches up.
constexpr double kShare = 0.5;
// Below this the region may be idle, and what it takes no measure of what it could.
constexpr double kBusy = 0.5;
// Writes that are refused are taken again only when there is room for some.
constexpr double kResumes = 0.5;
constexpr Duration kWindowLeast = 500ms, kWindowMost = 10s;

double seconds(Duration d) { return to_s(d); }
Duration times(double factor, Duration d) {
  return Duration(static_cast<Duration::rep>(factor * static_cast<double>(d.count())));
}

}  // namespace

void Governor::set_policy(RpoPolicy policy, Duration budget) {
  if (policy == options_.policy && budget == options_.budget) return;
  options_.policy = policy;
  options_.budget = budget;
  engaged_ = let_go_ = refuses_ = false;
  rate_.reset();
}

void Governor::restart() { *this = Governor(options_); }

Duration Governor::window() const { return std::clamp(options_.budget, kWindowLeast, kWindowMost); }

void Governor::step(const GovernorInput& input) {
  if (!begun_) {
    begun_ = moved_ = input.now;
    samples_.push_back({input.now, input.acknowledged});
  }
  // An unknown lag is no bound: it grows from when it was first asked for.
  lag_ = input.lag ? *input.lag : input.now - *begun_;
  watch_progress(input);
  judge_budget(input.now);
  judge_refusal();
  throttle(input);
}

void Governor::watch_progress(const GovernorInput& input) {
  const bool moved = input.acknowledged > samples_.back().acknowledged;
  if (moved || input.acknowledged >= input.cut) moved_ = input.now;
  if (let_go_ && moved) {
    // What it takes is measured anew: before that, nothing is known of it.
    let_go_ = engaged_ = false;
    samples_.clear();
    drain_ = 0;
  }
  samples_.push_back({input.now, input.acknowledged});
  while (samples_.size() > 2 && input.now - samples_[1].at >= window()) samples_.pop_front();
}

void Governor::judge_budget(Instant now) {
  if (*lag_ > options_.budget) {
    over_ = true;
    met_since_.reset();
    return;
  }
  if (!met_since_) met_since_ = now;
  if (now - *met_since_ >= options_.calm) over_ = false;
}

void Governor::judge_refusal() {
  if (options_.policy != RpoPolicy::kRefuse)
    refuses_ = false;
  else if (*lag_ > options_.budget)
    refuses_ = true;
  else if (*lag_ <= times(kResumes, options_.budget))
    refuses_ = false;
}

void Governor::measure_drain(Instant now) {
  const auto& oldest = samples_.front();
  const auto over = seconds(now - oldest.at);
  if (over <= 0) return;
  // A region that went back acknowledges less than it did.
  const auto acknowledged = std::max(samples_.back().acknowledged, oldest.acknowledged);
  const auto taken = static_cast<double>(acknowledged - oldest.acknowledged) / over;
  const bool busy = *lag_ >= times(kBusy, options_.budget);
  drain_ = busy ? taken : std::max(drain_, taken);
}

void Governor::throttle(const GovernorInput& input) {
  rate_.reset();
  if (options_.policy != RpoPolicy::kThrottle) return;
  const bool measured = input.now - samples_.front().at >= window() / 2;
  if (!engaged_ && measured && *lag_ > times(kHolds, options_.budget)) {
    engaged_ = true;
    drain_ = 0;
  }
  if (*lag_ >= times(kLeaves, options_.budget)) low_since_.reset();
  else if (!low_since_) low_since_ = input.now;
  if (engaged_ && low_since_ && input.now - *low_since_ >= window()) engaged_ = false;
  if (!engaged_) return;

  // Slower writes get nothing across that does not move: they would be delayed,
  // and no less of them lost.
  const auto still = input.now - moved_;
  if (still >= (input.connected ? options_.stuck : options_.silent)) let_go_ = true;
  if (let_go_) return;

  measure_drain(input.now);
  const auto waiting = static_cast<double>(input.cut - std::min(input.cut, input.acknowledged));
  const auto budget = seconds(options_.budget);
  const auto wanted = drain_ + (kAim * budget * drain_ - waiting) / (kSettles * budget);
  rate_ = std::max({wanted, kShare * drain_, options_.floor});
}

}  // namespace leeward::standby
