// State hashes, to compare with what another region says it has.
#pragma once

#include "ports/state_machine.h"
#include "standby/messages.h"

namespace leeward::standby {

inline HashPoint applied_hash(const StateMachine& state) {
  const auto applied = state.applied();
  return {applied.point.position.index, applied.state_hash};
}

struct HashComparison {
  HashVerdict verdict = HashVerdict::kNotCompared;
  HistoryIndex index;
};

// kNotCompared when `own` has not applied that far, or no longer remembers.
inline HashComparison compare(const StateMachine& own, const HashPoint& told) {
  if (told.index == HistoryIndex()) return {};
  const auto applied = applied_hash(own);
  const auto hash = applied.index == told.index ? std::optional(applied.hash) : own.state_hash_at(told.index);
  if (!hash) return {};
  return {*hash == told.hash ? HashVerdict::kEqual : HashVerdict::kDifferent, told.index};
}

}  // namespace leeward::standby
