// Where time comes from. Any thread.
#pragma once

#include "base/units.h"

namespace leeward {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual Instant now() const = 0;   // CLOCK_BOOTTIME: counts suspension, never goes back
  virtual WallTime wall() const = 0; // shown and logged, never compared
};

}  // namespace leeward
