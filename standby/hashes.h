// State hashes, to compare with what another region says it has.
#pragma once

#include "node/group.h"
#include "ports/state_machine.h"
#include "standby/messages.h"

namespace leeward::standby {

inline HashPoint applied_hash(const StateMachine& state) {
  const auto applied = state.applied();
  return {applied.point.position.index, applied.state_hash};
}

// Behind a Follow, until the state is back at the common position: what is there
// until then is what the group puts aside, however far that reached. A stream goes
// on behind a Follow as soon as it stands in the log.
inline bool holds_what_is_put_aside(node::Group& group) {
  const auto applied = group.state().applied().point.index;
  const auto behind = [applied](const region::State* regions) { return regions && applied < regions->control().followed_at; };
  return behind(group.regions()) || behind(group.regions_of_log());
}

// Told to others. A member on its way back holds a state that is no part of the
// history that its group goes on with: index 0.
inline HashPoint told_hash(node::Group& group) {
  return holds_what_is_put_aside(group) ? HashPoint{} : applied_hash(group.state());
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
