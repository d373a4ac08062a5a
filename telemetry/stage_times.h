// Each second, how long the stages of writes took and where the node stood, as
// one event of the flight recorder. One thread at a time.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "ports/probe.h"
#include "ports/status.h"
#include "telemetry/flight_recorder.h"

namespace leeward::telemetry {

class StageTimes {
 public:
  // Names and histograms outlive it.
  explicit StageTimes(std::vector<std::pair<const char*, const Histogram*>> stages);
  // Nothing unless a second has passed since the one before.
  void note(Instant now, const NodeStatus& status, FlightRecorder& recorder);

 private:
  using Counts = std::array<std::uint64_t, Histogram::kBounds.size() + 1>;
  struct Stage {
    const char* name;
    const Histogram* histogram;
    Counts before{};
  };
  static Counts counts(const Histogram& histogram);

  std::vector<Stage> stages_;
  Instant next_{};
};

}  // namespace leeward::telemetry
