// Changes of a group's members: what is asked for, and the rules that refuse
// it. Values and pure functions; Member (member_change.cc) proposes.
//
// A change is one membership entry of the log, or two when it moves more than
// one voter: into a joint membership, in which both sets must agree, and out of
// it by itself. The entry's note carries what the sets do not say (addresses).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "base/units.h"
#include "node/group.h"
#include "raft/types.h"

namespace leeward::node {

struct GroupState;

// A learner is in sync when the leader hears it, and it has acknowledged all
// but so many of the committed entries, and applied the newest Adopt.
inline constexpr std::uint64_t kInSyncEntries = 1000;
inline constexpr std::size_t kMostVoters = 7;
inline constexpr std::size_t kMostMembers = 14;  // learners included

// What is asked for, all of it at once. `role` of added nodes is not read: it is
// the group's.
struct MemberChange {
  std::vector<Node> add;        // as learners
  std::vector<NodeId> promote;  // learners that become voters
  std::vector<NodeId> remove;   // of either kind
  std::vector<Node> move;       // members that are reached elsewhere: id, peer_address; others empty to leave as is
  bool force = false;           // not held back by rule `quorum`
};
std::string encode(const MemberChange& change);
// Errors: kCorrupt.
Result<MemberChange> decode_member_change(std::string_view bytes);

// Rules by which a change is refused, as its error names them: "rule: why".
namespace rule {
inline constexpr const char* kInSync = "in_sync";
inline constexpr const char* kQuorum = "quorum";
inline constexpr const char* kChangeUnderWay = "change_under_way";
inline constexpr const char* kLearner = "learner";    // only a learner is promoted
inline constexpr const char* kLastVoter = "last_voter";
inline constexpr const char* kLimit = "limit";
inline constexpr const char* kTaken = "taken";        // an id or address that another node has
inline constexpr const char* kRegion = "region";
}  // namespace rule
// Whether `error` is a refusal by that rule.
inline bool refused_by(const Error& error, const char* rule) {
  return error.code == Code::kRefused && error.message.starts_with(std::string(rule) + ": ");
}
inline Error refusal(const char* rule, const std::string& why) { return {Code::kRefused, std::string(rule) + ": " + why}; }

// What a leader knows of its members.
struct MemberFacts {
  const raft::Membership& membership;  // as of the log's end
  const GroupState& group;             // as applied
  std::vector<Node> own;               // this group's members, addresses as in force
  std::function<bool(NodeId)> healthy; // answers this leader now
  std::function<Result<std::uint64_t>(NodeId)> behind;  // entries; refused by in_sync
};

struct PlannedChange {
  raft::Membership first;  // what is proposed: joint when more than one voter moves
  raft::Membership last;   // where it ends
  std::vector<Node> nodes; // for the note
};
// Errors: kInvalid, kNotFound (no member), kRefused by a rule.
Result<PlannedChange> plan(const MemberChange& change, const MemberFacts& facts);

// The membership that a joint one ends in.
raft::Membership left(const raft::Membership& joint);

}  // namespace leeward::node
