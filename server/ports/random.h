// Randomness. One loop's own: not safe to share between threads. In the
// simulator it is seeded, so nothing else may be a source of chance.
#pragma once

#include <cstdint>

namespace leeward {

class Random {
 public:
  virtual ~Random() = default;
  virtual std::uint64_t next() = 0;
  // Uniform in [0, bound); bound > 0.
  std::uint64_t below(std::uint64_t bound) { return next() % bound; }
};

}  // namespace leeward
