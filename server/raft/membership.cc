#include "raft/membership.h"

#include <algorithm>
#include <iterator>

namespace leeward::raft {
namespace {

bool disjoint(const std::set<NodeId>& a, const std::set<NodeId>& b) {
  return std::none_of(a.begin(), a.end(), [&](NodeId id) { return b.contains(id); });
}

std::size_t difference(const std::set<NodeId>& a, const std::set<NodeId>& b) {
  std::vector<NodeId> ids;
  std::set_symmetric_difference(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(ids));
  return ids.size();
}

Error refuse(const char* why) { return {Code::kInvalid, std::string("membership change refused: ") + why}; }

Result<void> check_shape(const Membership& to) {
  if (to.voters.empty()) return refuse("it leaves no voter");
  if (!disjoint(to.learners, to.voters) || !disjoint(to.learners, to.outgoing)) return refuse("a learner is a voter too");
  if (!disjoint(to.learners_next, to.voters)) return refuse("a voter is to become a learner and stays a voter");
  if (!std::includes(to.outgoing.begin(), to.outgoing.end(), to.learners_next.begin(), to.learners_next.end())) {
    return refuse("only an outgoing voter becomes a learner when the joint phase ends");
  }
  return {};
}

}  // namespace

Result<void> check_change(const Membership& from, const Membership& to) {
  LEEWARD_TRY(check_shape(to));
  if (from.joint()) {
    if (to.joint() || to.voters != from.voters) return refuse("a joint membership must be left first");
    if (!std::includes(to.learners.begin(), to.learners.end(), from.learners_next.begin(), from.learners_next.end())) {
      return refuse("leaving the joint membership forgets a learner");
    }
    return {};
  }
  if (to.joint()) {
    if (to.outgoing != from.voters) return refuse("the outgoing voters are not the present ones");
    return {};
  }
  if (difference(from.voters, to.voters) > 1) return refuse("more than one voter at once needs a joint membership");
  return {};
}

bool MembershipHistory::may_be_voter(NodeId id, Index commit) const {
  for (auto change = changes_.rbegin(); change != changes_.rend(); ++change) {
    if (change->membership.is_voter(id)) return true;
    if (change->index <= commit) return false;
  }
  return base_.is_voter(id);
}

void MembershipHistory::truncate(Index from) {
  while (!changes_.empty() && changes_.back().index >= from) changes_.pop_back();
}

void MembershipHistory::settle(Index index) {
  while (!changes_.empty() && changes_.front().index <= index) {
    base_ = std::move(changes_.front().membership);
    base_index_ = changes_.front().index;
    changes_.pop_front();
  }
}

}  // namespace leeward::raft
