#include "os/clock.h"

#include <time.h>

#include "base/check.h"

namespace leeward::os {
namespace {

Duration read_clock(clockid_t id) {
  timespec t{};
  LEEWARD_CHECK(clock_gettime(id, &t) == 0);
  return std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec);
}

}  // namespace

Instant SystemClock::now() const { return Instant(read_clock(CLOCK_BOOTTIME)); }
WallTime SystemClock::wall() const { return WallTime(read_clock(CLOCK_REALTIME)); }

}  // namespace leeward::os
