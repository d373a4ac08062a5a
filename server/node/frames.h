// What members say to one another, beside Raft's own messages (which ride in
// kRaft). One header, one body a type; every decoder takes any bytes.
//
// A frame: version (1), type (1), lineage (16), group (8), incarnation of the
// sender (8), varint epoch, body. Order of checks on arrival: version, lineage,
// epoch, group, then the rest (standby/README.md).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/command.h"
#include "base/entry.h"
#include "base/ids.h"
#include "base/result.h"
#include "node/clock_offsets.h"
#include "node/records.h"
#include "ports/manifest.h"
#include "ports/status.h"
#include "raft/types.h"
#include "region/entries.h"

namespace leeward::node {

// Numbers are on the wire: never reuse one.
enum class FrameType : std::uint8_t {
  // Lane::kConsensus
  kRaft = 1,
  kForward = 2,         // follower -> leader: commands to propose
  kForwardRefused = 3,  // leader -> follower: certainly not proposed
  kCall = 4,            // follower -> leader: a keep-alive and its like
  kCallAnswer = 5,
  // Lane::kBulk
  kSnapshotOffer = 16,  // leader -> follower: a manifest to fetch
  kSnapshotFetch = 17,  // follower -> holder: one chunk, by file and offset
  kSnapshotChunk = 18,
  kSnapshotGone = 19,   // holder -> follower: no such checkpoint any more
  kSnapshotDone = 20,   // follower -> leader: installed, or not
  kAdoptAsk = 21,       // leader of a following group -> member of the primary: a checkpoint to adopt
  kAdoptManifest = 22,  // the answer: its manifest
  kAdoptOffer = 23,     // leader of a following group -> its members: fetch this, from here
  kAdoptHeld = 24,      // member -> its leader: all files are durable here
  kLedgerAsk = 25,      // member -> member: a piece of a ledger's file
  kLedgerPiece = 26,    // the answer
  // Lane::kControl
  kKnock = 32,
  kKnockAnswer = 33,
  kReport = 34,
  kRemoved = 35,       // member -> one that is none any more
  kGroupList = 36,     // leader -> members of other groups: who its members are
};

struct FrameHeader {
  FrameType type = FrameType::kRaft;
  Lineage lineage;          // zero before the first start is over
  GroupId group;            // 0 likewise
  Incarnation incarnation;  // of the sender
  Seen seen;                // the newest epoch that the sender has applied or was told of
  bool heard = false;       // since its process began the sender has heard a leader of its group that serves, or was one
  bool serves = false;      // the sender leads a primary and serves: no cold start holds it back
};

struct Frame {
  FrameHeader header;
  Bytes body;
};

std::string encode_header(const FrameHeader& header);
// Errors: kNewerFormat, kCorrupt.
Result<Frame> decode_frame(const Bytes& bytes);

struct Forward {
  Term term;  // of the leader it is meant for: in another term it is refused
  std::vector<Command> commands;
};
std::string encode(const Forward& forward);
Result<Forward> decode_forward(const Bytes& body);

struct ForwardRefused {
  std::uint64_t process = 0;
  std::vector<std::uint64_t> sequences;
  Error error;
};
std::string encode(const ForwardRefused& refused);
Result<ForwardRefused> decode_forward_refused(const Bytes& body);

// What only a leader answers.
enum class CallKind : std::uint8_t { kKeepAlive = 1, kLeaseRemaining = 2, kTransfer = 3, kAdmit = 4, kChange = 5, kSync = 6, kWarrant = 7, kAlarm = 8, kFinalize = 9 };  // kWarrant: may what is confirmed be acknowledged
struct Call {
  std::uint64_t id = 0;
  CallKind kind = CallKind::kKeepAlive;
  std::int64_t argument = 0;  // lease or node id
  std::string body;           // kChange: encode(MemberChange); kAlarm: encode(AlarmChange)
};
std::string encode(const Call& call);
Result<Call> decode_call(const Bytes& body);

struct CallAnswer {
  std::uint64_t id = 0;
  Result<std::int64_t> result = std::int64_t{0};
};
std::string encode(const CallAnswer& answer);
Result<CallAnswer> decode_call_answer(const Bytes& body);

// "This life of yours was removed by the entry at `index`."
struct RemovedNotice {
  Incarnation incarnation;  // the life that was; no other heeds it
  Index index;
  Seen applied;  // the newest epoch that whoever says so has in its own history
};
std::string encode(const RemovedNotice& notice);
Result<RemovedNotice> decode_removed_notice(const Bytes& body);

struct SnapshotFetch {
  std::string id;
  std::uint32_t file = 0;  // place in the manifest
  std::uint64_t offset = 0;
  std::uint32_t length = 0;
};
std::string encode(const SnapshotFetch& fetch);
Result<SnapshotFetch> decode_snapshot_fetch(const Bytes& body);

struct SnapshotChunk {
  std::string id;
  std::uint32_t file = 0;
  std::uint64_t offset = 0;
  std::uint32_t crc = 0;
  Bytes data;
};
// The part before `data`, which is sent as it lies.
std::string encode_chunk_head(const SnapshotChunk& chunk);
// Errors: kCorrupt, also when the checksum does not fit.
Result<SnapshotChunk> decode_snapshot_chunk(const Bytes& body);

struct SnapshotDone {
  std::string id;
  bool ok = false;
  Index index;
};
std::string encode(const SnapshotDone& done);
Result<SnapshotDone> decode_snapshot_done(const Bytes& body);

// A checkpoint at or beyond `above`, on the history that leads through `epochs`
// up to there; `id`, if it is still there, rather than another one. Asked again
// while it is being fetched and adopted, so that it is kept.
struct AdoptAsk {
  HistoryIndex above;
  std::string id;
  std::vector<region::EpochRecord> epochs;
};
std::string encode(const AdoptAsk& ask);
Result<AdoptAsk> decode_adopt_ask(const Bytes& body);

struct LedgerAsk {
  Index follow;        // which ledger
  HistoryIndex after;  // what the asker has of it
};
std::string encode(const LedgerAsk& ask);
Result<LedgerAsk> decode_ledger_ask(const Bytes& body);

struct LedgerPiece {
  Index follow;
  HistoryIndex after;          // as asked
  bool gone = false;           // it cannot be read here
  bool end = false;            // nothing comes behind these
  std::vector<Entry> entries;  // in order
};
std::string encode(const LedgerPiece& piece);
Result<LedgerPiece> decode_ledger_piece(const Bytes& body);

// "Here I am, with empty storage; who are you?"
struct Knock {
  std::string cluster_name;
  Hash list_hash;
};
std::string encode(const Knock& knock);
Result<Knock> decode_knock(const Bytes& body);

struct KnockAnswer {
  std::string cluster_name;
  Hash list_hash;
  GroupRole role = GroupRole::kUnknown;
  Lineage lineage;                  // known to the answerer
  bool same_group = false;          // asker and answerer stand in one list
  Incarnation admitted;             // of the asker, as the group has it; 0: still open
  std::string membership;           // raft::encode with a MembershipNote of all nodes; empty before the group's first entry
  Index applied;                    // what the answerer knows stands up to here in its group's log
};
std::string encode(const KnockAnswer& answer);
Result<KnockAnswer> decode_knock_answer(const Bytes& body);

struct Report {
  MemberStatus status;
  ClockReport clock;
};
std::string encode(const Report& report);
Result<Report> decode_report(const Bytes& body);

}  // namespace leeward::node
