// The machine's clocks. Any thread.
#pragma once

#include "ports/clock.h"

namespace leeward::os {

class SystemClock final : public Clock {
 public:
  Instant now() const override;   // CLOCK_BOOTTIME
  WallTime wall() const override;  // CLOCK_REALTIME
};

}  // namespace leeward::os
