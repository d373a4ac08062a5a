// Log entries, the shared history, and the chain hash that binds it.
//
// Every region is a Raft group with a log of its own: (term, index). All
// regions hold one history: (history index, chain hash). A history entry moves
// the position; a control entry belongs to one group and does not.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"

namespace leeward {

// Where the shared history stands. `writes` and `bytes` are running totals
// over all history entries up to it, and covered by `hash`.
struct Position {
  HistoryIndex index;
  Hash hash;
  std::uint64_t writes = 0;
  std::uint64_t bytes = 0;
  bool operator==(const Position&) const = default;
};

// Numbers are on disk and on the wire: never reuse one.
enum class EntryKind : std::uint8_t {
  // History: streamed to every region, covered by the chain hash.
  kWrites = 1,  // a batch of commands, see command.h
  kEpochChange = 2,
  kArmed = 3,
  kDisarmed = 4,
  kSeal = 5,
  kUnseal = 6,
  kTopology = 7,
  kMeasured = 8,  // what a promotion has lost, once the group that held it has said so
  // Control: one group's own.
  kNoop = 64,        // a new leader's first entry
  kBootstrap = 65,   // the first entry of a group, see node/bootstrap
  kMembership = 66,  // raft::Membership after it, with a node::MembershipNote
  kAlarm = 67,
  kAdmit = 68,
  kFenced = 69,
  kFollow = 70,
  kAdopt = 71,
  kCut = 72,
  kUncut = 73,
  kReclaimed = 74,
  kResigned = 75,
  kOtherMembers = 76,  // the members of another group, as that group says, see node/membership.h
  kRegroup = 77,       // survivors of a lost majority are a group of their own from here on, see node/regroup.h
  kSurvivor = 78,      // which of two promotions that took one epoch goes on
  kDiscarded = 79,     // an operator has no more use for what a ledger holds
  kFormat = 80,        // what the group's members may write from here on, see format.h
};

// The history goes on from another position than before it: further on behind a
// kAdopt, at or before where it was behind a kFollow.
constexpr bool leaps(EntryKind kind) { return kind == EntryKind::kAdopt || kind == EntryKind::kFollow; }
constexpr bool is_history(EntryKind kind) { return static_cast<std::uint8_t>(kind) < 64; }

struct Entry {
  Term term;
  Index index;
  EntryKind kind = EntryKind::kNoop;
  Epoch epoch;               // the epoch a history entry was made in; 0 for control entries
  std::uint32_t writes = 0;  // commands in the payload; 0 for all but kWrites
  Position position;         // of the history after this entry
  Bytes payload;
  Bytes envelope;  // origins and trace contexts: outside the chain hash, may be empty

  bool operator==(const Entry&) const = default;
};

// The position after a history entry that follows `before`:
// H(i) = SHA-256(H(i-1), epoch, i, kind, writes, total writes, total bytes, payload),
// numbers as 8 bytes big-endian. Bytes count the payload.
Position extend(const Position& before, Epoch epoch, EntryKind kind, std::uint32_t writes,
                std::string_view payload);

// True when `entry` follows `before`: a history entry's position is what
// extend() gives, a control entry's is `before`; that of one that leaps is the
// one it names.
bool chains(const Position& before, const Entry& entry);

// Payload of an entry that leaps: the position that the group's history goes on
// from, then what the kind adds: the manifest of the state there (node/frames.h),
// or the history that is followed (region/entries.h). Errors: kCorrupt.
std::string leap_payload(const Position& position, std::string_view rest);
struct Leap {
  Position position;
  std::string_view rest;  // into the payload
};
Result<Leap> decode_leap(std::string_view payload);

Hash sha256(std::string_view data);

// Payload of a kRegroup: the raft::Membership from it on, which other group it
// is (region::Regrouped), and which lives of its members count
// (node::RegroupMembers). Views into the payload. Errors: kCorrupt.
struct RegroupPayload {
  std::string_view membership, group, members;
};
std::string regroup_payload(const RegroupPayload& parts);
Result<RegroupPayload> decode_regroup(std::string_view payload);

// The entry as it stands in log records, peer frames and stream frames (format
// in wal/FORMAT.md, "Entry"). encode appends to `out`; decode takes one entry
// off the front of `in` without copying payload or envelope (they share
// `owner`). Errors: kCorrupt.
void encode(const Entry& entry, std::string& out);
std::size_t encoded_size(const Entry& entry);
Result<Entry> decode_entry(std::string_view& in, const std::shared_ptr<const void>& owner);

}  // namespace leeward
