// xoshiro256** (Blackman, Vigna 2018), seeded from the kernel or from a number.
// Not for keys or secrets. One loop's own.
#pragma once

#include <array>
#include <cstdint>

#include "ports/random.h"

namespace leeward::os {

// The same seed gives the same numbers on every machine.
class SeededRandom : public Random {
 public:
  explicit SeededRandom(std::uint64_t seed);
  std::uint64_t next() override;

 private:
  std::array<std::uint64_t, 4> state_;
};

// Seeded from getrandom(2): different in every process.
class SystemRandom final : public SeededRandom {
 public:
  SystemRandom();
};

}  // namespace leeward::os
