// What a member holds in one role and forgets with it: a follower has no
// leader's fields.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <variant>

#include "raft/progress.h"
#include "raft/reads.h"

namespace leeward::raft {

// Learners and members that are no voters too; those never campaign.
struct Follower {
  NodeId leader;  // 0: unknown
  Instant campaign_at;
  ForwardedReads reads;
};

// Asks whether it would win (pre-vote, dissertation 9.6), or campaigns.
struct Candidate {
  bool pre_vote = true;
  bool transfer = false;       // on TimeoutNow
  bool heard_serving = false;  // one of those who answered heard a serving leader
  Instant campaign_at;         // when to start over
  std::map<NodeId, bool> votes;
};

struct Transfer {
  NodeId to;
  Instant deadline;
  bool sent = false;  // TimeoutNow is on its way
};

struct Leader {
  std::map<NodeId, Progress> peers;
  Index term_start;  // the no-op of this term
  // Every heartbeat round has a number: the time when it was sent, moved up to
  // be unique. So an answer tells how old the confirmation is.
  std::uint64_t round = 0;
  Instant heartbeat_at;
  std::uint64_t append_sequence = 1;
  ReadRounds reads;
  std::optional<Transfer> transfer;
  // TimeoutNow was sent once in this term: it may arrive at any time later, so
  // there is no lease in this term any more.
  bool lease_void = false;
  bool heard_serving = false;  // one of the voters that elected this leader did
  struct Weight {
    Index index;
    std::size_t bytes;
  };
  std::deque<Weight> uncommitted;
  std::size_t uncommitted_bytes = 0;
};

using RoleState = std::variant<Follower, Candidate, Leader>;

}  // namespace leeward::raft
