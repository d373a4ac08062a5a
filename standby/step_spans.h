// What an operator began, as spans: the whole and its steps, which follow one
// another. Pure but for the tracer it tells.
#pragma once

#include <string_view>

#include "ports/trace.h"

namespace leeward::standby {

// Names of steps are a closed set, but a record holds them as text of its own.
inline std::string_view step_name(std::string_view name) {
  for (const std::string_view known :
       {"survey", "cut", "lease", "epoch_change", "stage", "begin", "seal", "stream",  // promotions
        "fork", "log", "state_files", "apply", "state", "promote", "write", "read", "sample", "hash", "remove", "follow",
        "rehearsal", "open", "fork_process"})  // drills: README.md, "Drill"
    if (name == known) return known;
  return "step";
}

// `steps`: each has a name and how long it took. `tracer` may be null; `failure`
// is a constant, empty when all went well.
template <class Steps>
void tell_steps(Tracer* tracer, std::string_view name, Instant begun, const Steps& steps, Instant now, std::string_view failure) {
  if (tracer == nullptr) return;
  Span whole = root_span(*tracer, name, begun, now);
  whole.failure = failure;
  tracer->record(whole);
  Instant at = begun;
  for (const auto& step : steps) {
    tracer->record(child_span(*tracer, whole.context, step_name(step.name), at, at + step.took));
    at += step.took;
  }
}

}  // namespace leeward::standby
