// Frames of Lane::kStream: what the regions say to each other about the shared
// history. Plain values; encode and decode only. The format is in README.md,
// "Frames".
//
// decode() takes any bytes: what is not exactly one well-formed frame of this
// version is an error, never more. Versions: newer is refused (kNewerFormat).
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/entry.h"
#include "base/ids.h"
#include "base/result.h"
#include "node/service.h"
#include "region/entries.h"

namespace leeward::standby {

// Stands in front of every frame. Checked in this order: lineage, epoch, body.
struct Header {
  Lineage lineage;
  GroupId group;  // the sender's
  Epoch epoch;    // the sender's
};

// The state hash after a history index.
struct HashPoint {
  HistoryIndex index;
  Hash hash;
  bool operator==(const HashPoint&) const = default;
};

// Orders the answers of primaries: later is newer. `counter` rises within a term.
struct Stamp {
  Epoch epoch;
  Term term;
  std::uint64_t counter = 0;
  auto operator<=>(const Stamp&) const = default;
};

// --- the stream: the leader of a following group and its source ---

struct Hello {
  std::uint64_t session = 0;  // random; all frames of this stream carry it
  std::string region;
  Epoch epoch;                // that the group goes with; its history may end before
  std::vector<region::EpochRecord> epochs;  // of its history
  // It was primary and asks where its way back begins: the answer is kFork,
  // whatever its end is.
  bool way_back = false;
  Position end;               // of the log, uncommitted included
  Position committed;
  std::uint64_t granted = 0;  // see Ack
  bool compression = true;
};

struct Welcome {
  std::uint64_t session = 0;
  Position committed;  // the source's
};

// Numbers are on the wire: never reuse one.
enum class Refusal : std::uint8_t {
  kNotPrimary = 1,   // not a member of the primary group; ask another
  kNotYet = 2,       // the source is behind the asker; ask another
  kBehind = 3,       // the log does not reach down to the asker's end
  kDiverged = 4,     // other history at the asker's end, `at` is the source's
  kEpoch = 5,        // the asker knows a newer epoch, or one is contested
  kStranger = 6,     // the topology does not name the asker
  kEnded = 7,        // the source stops serving this session
  kFork = 8,         // the asker must go back to `at` before it can go on: the common position with `epochs`
};
const char* name(Refusal refusal);

struct Refused {
  std::uint64_t session = 0;
  Refusal reason = Refusal::kEnded;
  std::string detail;
  Position at;  // kFork: only its index is sure where the source's log does not reach down
  std::vector<region::EpochRecord> epochs;
};

// A history entry without what belongs to one group's log.
struct StreamEntry {
  EntryKind kind = EntryKind::kWrites;
  Epoch epoch;
  std::uint32_t writes = 0;
  Position position;  // after it
  Bytes payload;
  Bytes envelope;     // traces only, no origins; empty when nothing was sampled
  bool operator==(const StreamEntry&) const = default;
};

// What an entry counts for in Ack::granted, equal at both ends.
inline std::uint64_t cost(const StreamEntry& e) { return e.payload.size() + e.envelope.size() + 64; }

struct Entries {
  std::uint64_t session = 0;
  Position before;
  std::vector<StreamEntry> entries;
};

// Sent when there is nothing to send: what was sent before it on this session
// has arrived when it arrives, or was lost.
struct Idle {
  std::uint64_t session = 0;
  HistoryIndex sent;
};

struct Ack {
  std::uint64_t session = 0;
  std::uint64_t granted = 0;  // the source may send entries up to this sum of cost() in the session
  Position committed;         // in the following group
  HashPoint applied;          // of the group's leader; index 0: not told
};

struct Bye {
  std::uint64_t session = 0;
};

// --- lag: each member of a following group and the primary's leader ---

struct Ping {
  std::uint64_t sequence = 0;
  NodeId origin;
  bool relayed = false;  // by a member of the primary group to its leader
  HashPoint applied;
};

enum class HashVerdict : std::uint8_t { kNotCompared = 0, kEqual = 1, kDifferent = 2 };

struct Pong {
  std::uint64_t sequence = 0;
  NodeId origin;
  NodeId leader;
  Stamp stamp;
  Position committed;  // confirmed by a round begun after the ping came
  HashVerdict verdict = HashVerdict::kNotCompared;
  HistoryIndex compared;
};

// --- among the members of one group ---

// Primary group: how far a following group is, for retention and arming.
struct Progress {
  std::string region;
  GroupId group;
  Position committed;
  std::uint64_t age_ms = 0;  // since the source heard it
};

// Following group: whether this member hears the primary; of its leader, also
// whether it streams, and what it found wrong.
struct Presence {
  bool heard = false;
  std::uint64_t silence_ms = 0;  // of the primary; meaningless when it was never heard
  bool streaming = false;
  std::string damage;
};

// Before a promotion: its leader asks each voter what it knows.
struct Survey {
  std::uint64_t id = 0;
};
struct SurveyReply {
  std::uint64_t id = 0;
  bool heard = false;
  std::optional<Stamp> stamp;  // of the newest answer of the primary; then also:
  Position committed;
  std::uint64_t age_ms = 0;    // since its ping was sent
  Epoch newest_epoch;
  std::string damage;
};

// --- calls a standby passes on ---

enum class Call : std::uint8_t { kPropose = 1, kKeepAlive = 2, kLeaseRemaining = 3 };

struct Forward {
  std::uint64_t request = 0;
  Call call = Call::kPropose;
  std::uint64_t timeout_ms = 0;
  Command command;         // kPropose: op, request, trace; the origin is not sent
  std::int64_t lease = 0;  // the others
};

struct ForwardReply {
  std::uint64_t request = 0;
  node::Outcome outcome;    // error and end serve all calls
  std::int64_t seconds = 0;
};

// From a primary's leader after a cold start to the armed group: is there a
// newer epoch? Answered by that group's leader, confirmed.
struct ColdQuestion {
  std::uint64_t question = 0;  // random, of the asking process
};
struct ColdAnswer {
  std::uint64_t question = 0;
  Epoch newest;
};

// From the primary's leader to the armed group, in lease mode: an instant of its
// own clock, returned by that group's leader (stamps.h).
struct StampSent {
  Term term;               // of the sender
  std::uint64_t sent = 0;  // its CLOCK_BOOTTIME in nanoseconds
  std::uint64_t arming = 0;
};
struct StampReturned {
  Term term;
  std::uint64_t sent = 0;
  std::uint64_t arming = 0;
};

// From a primary's leader to the group that its open Seal names: what became of
// it, and, to take it back, that it may be (PROTOCOL.md, "Messages": Reclaim).
struct SealAsked {
  std::uint64_t seal = 0;
  bool take_back = false;
};
enum class SealFate : std::uint8_t { kReclaimed = 1, kActivated = 2 };
// Of what is committed there; kReclaimed confirmed by that group's leader.
struct SealTold {
  std::uint64_t seal = 0;
  SealFate fate = SealFate::kReclaimed;
  Index applied;           // in the log of who tells, the entry included
  std::string entry;       // payload of the Reclaimed, or of the EpochChange; of that also:
  Revision forked;
  NodeId leader;
  std::uint64_t took_us = 0;  // from the Seal to the change, there
};

// From a primary's leader to the armed group: whether it has given this arming
// up, and, with `resign`, that it shall. Answered when it has.
struct ResignAsked {
  std::uint64_t arming = 0;
  bool resign = false;
};
struct ResignTold {
  std::uint64_t arming = 0;
  Index applied;      // in the log of who tells, the entry included
  std::string entry;  // its payload
};

// About survivors of a lost majority, about contested epochs, and about what a
// promotion lost: survivors.h, contest.h and measuring.h say what `body` holds.
struct Aid {
  // Numbers are on the wire: never reuse one.
  enum class Kind : std::uint8_t { kAsk = 1, kTold = 2, kStage = 3, kStaged = 4, kBegin = 5, kBegun = 6, kEpochs = 7, kLeftBehind = 8 };
  Kind kind = Kind::kAsk;
  std::uint64_t id = 0;  // of the inquiry or the promotion; answers carry it
  std::string body;
};

using Body = std::variant<Hello, Welcome, Refused, Entries, Idle, Ack, Bye, Ping, Pong, Progress, Presence, Forward,
                          ForwardReply, Survey, SurveyReply, ColdQuestion, ColdAnswer, StampSent, StampReturned,
                          SealAsked, SealTold, ResignAsked, ResignTold, Aid>;

struct Frame {
  Header header;
  Body body;
};

struct EncodeOptions {
  bool compress = false;  // Entries only, when it makes the frame smaller
};

Bytes encode(const Header& header, const Body& body, EncodeOptions options = {});

// Payloads and envelopes share storage with `frame`, or with the buffer it was
// decompressed into. Errors: kCorrupt, kNewerFormat.
Result<Frame> decode(const Bytes& frame);

// An envelope with the traces of `envelope` and no origins; empty when none was
// sampled or the envelope is malformed (it is outside the chain hash).
Bytes traces_of(const Bytes& envelope, std::uint32_t writes);

}  // namespace leeward::standby
