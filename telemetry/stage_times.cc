#include "telemetry/stage_times.h"

#include "base/quantity.h"

namespace leeward::telemetry {

StageTimes::StageTimes(std::vector<std::pair<const char*, const Histogram*>> stages) {
  for (const auto& [name, histogram] : stages) stages_.push_back({name, histogram, counts(*histogram)});
}

StageTimes::Counts StageTimes::counts(const Histogram& histogram) {
  Counts out;
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = histogram.bucket(i);
  return out;
}

void StageTimes::note(Instant now, const NodeStatus& status, FlightRecorder& recorder) {
  if (now < next_) return;
  next_ = now + 1s;
  std::vector<Field> fields{{"state", name(status.state)}, {"term", status.term}, {"leader", status.leader},
                            {"committed", status.commit}, {"applied", status.applied.point.index}};
  for (Stage& stage : stages_) {
    const Counts at = counts(*stage.histogram);
    std::uint64_t count = 0;
    std::size_t slowest = 0;
    for (std::size_t i = 0; i < at.size(); ++i)
      if (const auto more = at[i] - stage.before[i]; more > 0) {
        count += more;
        slowest = i;
      }
    stage.before = at;
    if (count == 0) continue;
    const bool bounded = slowest < Histogram::kBounds.size();
    const auto limit = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(Histogram::kBounds[bounded ? slowest : slowest - 1]));
    fields.emplace_back(stage.name, std::to_string(count) + (bounded ? " up to " : " beyond ") + human_duration(limit));
  }
  recorder.record(Level::kInfo, "second", fields);
}

}  // namespace leeward::telemetry
