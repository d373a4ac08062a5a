// What a majority says: of the voters, and in a joint membership of both sets.
#pragma once

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <set>
#include <vector>

#include "raft/types.h"

namespace leeward::raft {

// The highest value that a majority of `ids` has reached, where `reached(id)`
// tells each one's. An empty set agrees to everything (a membership that is not
// joint has no outgoing voters).
template <class T, class Reached>
T majority_of(const std::set<NodeId>& ids, const Reached& reached, T everything) {
  if (ids.empty()) return everything;
  std::vector<T> values;
  values.reserve(ids.size());
  for (NodeId id : ids) values.push_back(reached(id));
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end(), std::greater<>());
  return *middle;
}

template <class T, class Reached>
T majority(const Membership& membership, const Reached& reached, T everything) {
  return std::min(majority_of(membership.voters, reached, everything),
                  majority_of(membership.outgoing, reached, everything));
}

enum class Tally { kPending, kWon, kLost };

// Votes by voter, true for granted. Won needs a majority of each set; lost is
// what can no longer be won.
Tally tally(const Membership& membership, const std::map<NodeId, bool>& votes);

}  // namespace leeward::raft
