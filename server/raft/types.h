// Values that go into and come out of the consensus core. Plain data.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/entry.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/units.h"

namespace leeward::raft {

// Voters, and while a joint change is under way the outgoing voters too
// (dissertation, 4.3): then both sets must agree. Learners receive the log and
// do not count.
struct Membership {
  std::set<NodeId> voters;
  std::set<NodeId> outgoing;       // empty unless joint
  std::set<NodeId> learners;
  std::set<NodeId> learners_next;  // outgoing voters that become learners when the joint phase ends
  bool joint() const { return !outgoing.empty(); }
  bool is_voter(NodeId id) const { return voters.contains(id) || outgoing.contains(id); }
  bool contains(NodeId id) const { return is_voter(id) || learners.contains(id) || learners_next.contains(id); }
  bool operator==(const Membership&) const = default;
};

// `note` is the proposer's own and rides along unread: what its state machine
// has to know of the change, in the one entry that makes it.
std::string encode(const Membership& membership, std::string_view note = {});
// Errors: kCorrupt, kNewerFormat. `note` stays valid as long as `bytes`.
Result<Membership> decode_membership(std::string_view bytes, std::string_view* note = nullptr);

// The membership from this entry on, if it brings one.
constexpr bool brings_membership(EntryKind kind) { return kind == EntryKind::kMembership || kind == EntryKind::kRegroup; }
Result<Membership> membership_in(const Entry& entry);

enum class Role : std::uint8_t { kFollower, kPreCandidate, kCandidate, kLeader, kLearner };
const char* name(Role role);

// Numbers are on the wire: never reuse one.
enum class MessageType : std::uint8_t {
  kPreVote = 1,
  kPreVoteReply = 2,
  kVote = 3,
  kVoteReply = 4,
  kAppend = 5,          // entries, may be empty; also the heartbeat of a caught-up follower's probe
  kAppendReply = 6,
  kHeartbeat = 7,       // carries commit, context of the newest waiting read round and the sender's time
  kHeartbeatReply = 8,
  kSnapshotOffer = 9,   // the follower needs a snapshot at or beyond `index`; node transfers it
  kSnapshotReply = 10,  // installed up to `index`, or rejected
  kTimeoutNow = 11,
  kReadIndex = 12,       // follower -> leader, `context`
  kReadIndexReply = 13,  // `index`, or rejected
};

struct Message {
  MessageType type = MessageType::kHeartbeat;
  NodeId from;
  NodeId to;
  Term term;
  Index index;              // kAppend: of the entry before `entries`; replies: last match; votes: last log index
  Term log_term;            // term at `index`
  Hash log_hash;            // kAppend: chain hash of the position at `index`
  Index commit;
  std::vector<Entry> entries;
  bool reject = false;
  Index hint;               // on a rejected append: where the follower's log could match
  Term hint_term;
  std::uint64_t context = 0;  // read round, or the sequence of a heartbeat
  bool transfer = false;    // kVote: campaigning on TimeoutNow, may break a lease that was given up
  bool heard_serving = false;  // kVoteReply: since its start the sender heard a serving leader

  bool operator==(const Message&) const = default;
};

void encode(const Message& message, std::string& out);
// Entries share `frame`'s storage. Errors: kCorrupt.
Result<Message> decode_message(const Bytes& frame);

// One proposed entry; the core gives it term, index and position.
struct Proposal {
  EntryKind kind = EntryKind::kWrites;
  Epoch epoch;               // history entries only
  std::uint32_t writes = 0;
  Bytes payload;
  Bytes envelope;
  // History from the stream: the position it must get. A mismatch refuses it.
  std::optional<Position> expected;
};

}  // namespace leeward::raft
