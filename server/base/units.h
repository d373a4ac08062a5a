// Time and size. Monotonic time counts suspension (CLOCK_BOOTTIME): a lease
// must run out while a machine sleeps. Wall time is shown, never compared.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>

namespace leeward {

using Duration = std::chrono::nanoseconds;

struct BootTime {
  using duration = Duration;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<BootTime>;
  static constexpr bool is_steady = true;
};
using Instant = BootTime::time_point;
using WallTime = std::chrono::sys_time<Duration>;

inline constexpr std::size_t operator""_KiB(unsigned long long n) { return n << 10; }
inline constexpr std::size_t operator""_MiB(unsigned long long n) { return n << 20; }
inline constexpr std::size_t operator""_GiB(unsigned long long n) { return n << 30; }

using namespace std::chrono_literals;

inline double to_ms(Duration d) { return std::chrono::duration<double, std::milli>(d).count(); }
inline double to_s(Duration d) { return std::chrono::duration<double>(d).count(); }

}  // namespace leeward
