#include "raft/quorum.h"

namespace leeward::raft {
namespace {

Tally tally_of(const std::set<NodeId>& ids, const std::map<NodeId, bool>& votes) {
  if (ids.empty()) return Tally::kWon;
  std::size_t granted = 0, missing = 0;
  for (NodeId id : ids) {
    const auto vote = votes.find(id);
    if (vote == votes.end()) {
      ++missing;
    } else if (vote->second) {
      ++granted;
    }
  }
  const std::size_t needed = ids.size() / 2 + 1;
  if (granted >= needed) return Tally::kWon;
  return granted + missing >= needed ? Tally::kPending : Tally::kLost;
}

}  // namespace

Tally tally(const Membership& membership, const std::map<NodeId, bool>& votes) {
  const Tally incoming = tally_of(membership.voters, votes);
  const Tally outgoing = tally_of(membership.outgoing, votes);
  if (incoming == Tally::kLost || outgoing == Tally::kLost) return Tally::kLost;
  return incoming == Tally::kWon && outgoing == Tally::kWon ? Tally::kWon : Tally::kPending;
}

}  // namespace leeward::raft
