// How many requests a second a node takes from its clients (limits.rate), and how
// many at once (limits.burst). A token bucket, kept as the one time at which it is
// full again (the generic cell rate algorithm, ITU-T I.371).
//
// Any thread, without a lock.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/units.h"

namespace leeward::api {

class RateLimit {
 public:
  // `rate` 0: no limit. `burst` 0: as many as a second has.
  void set(std::uint64_t rate, std::uint64_t burst);
  // False: this one is too many.
  bool take(Instant now);

 private:
  std::atomic<Duration::rep> each_{0}, most_{0};  // ns that one request takes of the bucket; how many it holds
  std::atomic<Duration::rep> full_at_{0};
};

}  // namespace leeward::api
