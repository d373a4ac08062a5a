// The memberships of a log, each in effect from the moment its entry stands in
// it, committed or not, until a later one or a cut (dissertation, 4.1).
#pragma once

#include <deque>

#include "base/entry.h"
#include "raft/types.h"

namespace leeward::raft {

// Whether `to` may follow `from`: one voter more or less, learners at will; or
// into a joint membership whose outgoing voters are those of `from`; or out of
// one, keeping its voters. Errors: kInvalid with the reason.
Result<void> check_change(const Membership& from, const Membership& to);

class MembershipHistory {
 public:
  MembershipHistory(Membership membership, Index as_of) : base_(std::move(membership)), base_index_(as_of) {}

  const Membership& current() const { return changes_.empty() ? base_ : changes_.back().membership; }
  // Where the current one stands; for the first one, what it was as of.
  Index changed_at() const { return changes_.empty() ? base_index_ : changes_.back().index; }

  // Whether `id` is a voter in a membership that may still be in force while
  // everything above `commit` may be cut. A member that the newest one removes
  // is needed until that is committed: others may lack it (dissertation, 4.2.2).
  bool may_be_voter(NodeId id, Index commit) const;

  void append(Index index, Membership membership) { changes_.push_back({index, std::move(membership)}); }
  void truncate(Index from);
  // Nothing up to `index` will be cut any more.
  void settle(Index index);

 private:
  struct Change {
    Index index;
    Membership membership;
  };
  Membership base_;
  Index base_index_;
  std::deque<Change> changes_;
};

}  // namespace leeward::raft
