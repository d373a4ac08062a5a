// Which traces a histogram's figures are of.
#pragma once

#include <array>
#include <mutex>
#include <optional>

#include "base/command.h"
#include "ports/probe.h"

namespace leeward {

struct Exemplar {
  TraceContext trace;
  double seconds = 0;
  WallTime at;
};

// The newest sampled one of each bucket. Any thread.
class Exemplars {
 public:
  void note(const TraceContext& trace, Duration took, WallTime at) {
    const std::lock_guard lock(mutex_);
    newest_[Histogram::bucket_of(took)] = {trace, to_s(took), at};
  }
  std::optional<Exemplar> of_bucket(std::size_t i) const {
    const std::lock_guard lock(mutex_);
    return newest_[i];
  }

 private:
  mutable std::mutex mutex_;
  std::array<std::optional<Exemplar>, Histogram::kBounds.size() + 1> newest_;
};

}  // namespace leeward
