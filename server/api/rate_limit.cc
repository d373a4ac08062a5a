#include "api/rate_limit.h"

#include <algorithm>

namespace leeward::api {

void RateLimit::set(std::uint64_t rate, std::uint64_t burst) {
  constexpr Duration::rep kSecond = std::chrono::nanoseconds(1s).count();
  constexpr std::uint64_t kFastest = static_cast<std::uint64_t>(kSecond);
  constexpr Duration::rep kLargest = 86'400 * kSecond;
  const Duration::rep each = rate == 0 ? 0 : kSecond / static_cast<Duration::rep>(std::min(rate, kFastest));
  const auto held = static_cast<double>(each) * static_cast<double>(burst == 0 ? rate : burst);
  const Duration::rep most = held < static_cast<double>(kLargest) ? std::max(each, static_cast<Duration::rep>(held)) : kLargest;
  const bool other = most_.exchange(most) != most;
  if (each_.exchange(each) != each || other) full_at_ = 0;  // it was reckoned by what held before
}

bool RateLimit::take(Instant now) {
  const Duration::rep each = each_.load(std::memory_order_relaxed);
  if (each == 0) return true;
  const Duration::rep at = now.time_since_epoch().count(), latest = at + most_.load(std::memory_order_relaxed);
  Duration::rep full_at = full_at_.load(std::memory_order_relaxed), then = 0;
  do {
    then = std::max(full_at, at) + each;
    if (then > latest) return false;
  } while (!full_at_.compare_exchange_weak(full_at, then, std::memory_order_relaxed));
  return true;
}

}  // namespace leeward::api
