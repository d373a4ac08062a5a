// Payloads of the entries about regions (standby/PROTOCOL.md, "Entries").
// decode_* errors: kCorrupt, kNewerFormat.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/entry.h"
#include "base/units.h"

namespace leeward::region {

enum class FenceMode : std::uint8_t { kContact = 1, kLease = 2 };
const char* name(FenceMode mode);

using ArmingId = std::uint64_t;     // random, never 0, as are the next two
using PromotionId = std::uint64_t;
using SealId = std::uint64_t;

// A control entry of another group, as a member told that had applied it.
struct Proof {
  GroupId group;
  Index index;
  EntryKind kind = EntryKind::kNoop;
  std::string payload;
  bool operator==(const Proof&) const = default;
};

struct Armed {
  ArmingId arming = 0;
  GroupId group;
  std::string region;  // shown; the group id decides
  FenceMode mode = FenceMode::kContact;
  Duration lease = 10s;  // whole milliseconds
  bool unguarded = false;
  bool operator==(const Armed&) const = default;
};

struct Disarmed {
  ArmingId arming = 0;
  std::optional<Proof> resigned;  // none: forced, for a region known destroyed
  // The epoch is unguarded from here on: always when forced, and when it was.
  bool unguarded = false;
  bool operator==(const Disarmed&) const = default;
};

// What a plan announced as lost and its acceptance named.
struct Loss {
  std::uint64_t writes = 0, entries = 0, bytes = 0;  // known
  bool more = false;                                 // and what nobody here ever heard of
  bool operator==(const Loss&) const = default;
};

enum class Ending : std::uint8_t {  // how an epoch ended
  kSealed = 1,   // planned
  kGuarded = 2,  // by the armed group, unplanned
  kForced = 3,
};
const char* name(Ending ending);

struct EpochChange {
  Epoch epoch;
  PromotionId promotion = 0;
  GroupId group;
  std::string region;       // shown
  Position fork;            // the last entry of the epoch before
  Ending ending = Ending::kGuarded;
  Index cut;                // lease mode: the Cut that was waited for, in the group's log
  Loss announced;
  std::int64_t time_ms = 0;  // since 1970, of the proposer; shown only
  std::string by, reason;    // operator
  std::string plan;          // digest of the plan that was accepted
  bool operator==(const EpochChange&) const = default;
};

// What the end of an epoch has lost: told by the group that was primary until
// then, once it follows (State::Control::left_behind); a history entry of the primary.
struct Measured {
  Epoch epoch;  // that began where that group's history parted
  PromotionId promotion = 0;
  GroupId group;
  Loss lost;    // more: survivors of a lost majority said so, who do not know all
  bool operator==(const Measured&) const = default;
};

struct Seal {
  SealId seal = 0;
  GroupId group;
  ArmingId arming = 0;
  std::string by, reason;  // operator; the EpochChange that it leads to says so too
  bool operator==(const Seal&) const = default;
};

struct Unseal {
  SealId seal = 0;
  Proof reclaimed;
  bool operator==(const Unseal&) const = default;
};

struct Resigned {
  ArmingId arming = 0;
  Epoch epoch;  // the arming's
  bool operator==(const Resigned&) const = default;
};

struct Cut {  // and Uncut
  ArmingId arming = 0;
  bool operator==(const Cut&) const = default;
};

struct Reclaimed {
  SealId seal = 0;
  Epoch epoch;  // the Seal's
  bool operator==(const Reclaimed&) const = default;
};

struct Fenced {
  Epoch epoch;
  PromotionId promotion = 0;
  std::string region;  // that serves the epoch; shown
  bool operator==(const Fenced&) const = default;
};

// Survivors of a group that lost its majority are another group from here on;
// what is to become of it: the forced EpochChange that its leader then commits.
struct Regrouped {
  GroupId group;         // that it is now
  Epoch known;           // the newest epoch that anybody asked knew of
  std::string region;    // shown
  Loss announced;
  std::int64_t time_ms = 0;
  std::string by, reason;
  std::string plan;      // digest of the plan that was accepted
  bool operator==(const Regrouped&) const = default;
};

// Of two histories that hold that epoch, this promotion's goes on.
struct Survivor {
  Epoch epoch;
  PromotionId promotion = 0;
  bool operator==(const Survivor&) const = default;
};

// One EpochChange of the history. What follows from applying it is there too.
struct EpochRecord {
  Epoch epoch;
  PromotionId promotion = 0;
  Position fork;
  bool operator==(const EpochRecord&) const = default;
};

struct Follow {  // leaps (base/entry.h)
  std::vector<EpochRecord> history;  // of the group followed, oldest first, not empty
  Position common;
  Position kept;                     // from which on the group has what it puts aside; common: all of it
  bool damaged = false;              // the histories differ below where their epochs part: an operator gave the word
  bool operator==(const Follow&) const = default;
};

// History that a group held beyond the common position and put aside when it
// followed: its ledger holds the entries in (kept, to].
struct Ledger {
  Index follow;        // of the Follow, in the group's log
  Epoch epoch;         // in which the group was then
  Epoch followed;      // the newest of the history that it went on with
  Position from;       // the common position: where the histories part
  Position kept;       // above it: what lies between is not in the group's log any more
  Position to;
  // Where survivors of a lost majority went on, 0: none did. What the others
  // had acknowledged behind it is in nobody's log, and nobody knows how much.
  HistoryIndex survived_at;
  bool complete() const { return kept == from && survived_at == HistoryIndex(); }
  bool operator==(const Ledger&) const = default;
};

// That ledger goes, at every member, and for good.
struct Discarded {
  Index follow;
  std::string by;
  bool operator==(const Discarded&) const = default;
};

// An epoch's revisions, as many as none uses up, and the epochs there is room
// for in 63 bits.
inline constexpr std::int64_t kRevisionsOfAnEpoch = std::int64_t{1} << 44;
inline constexpr Epoch kLastEpoch{(1u << 19) - 1};
// The revision that the entry itself takes, with `forked` the last one before:
// after an unplanned end one that no lost tail can have used.
Revision first_revision(const EpochChange& change, Revision forked);

std::string encode(const Armed&);
std::string encode(const Disarmed&);
std::string encode(const EpochChange&);
std::string encode(const Measured&);
std::string encode(const Seal&);
std::string encode(const Unseal&);
std::string encode(const Resigned&);
std::string encode(const Cut&);
std::string encode(const Reclaimed&);
std::string encode(const Fenced&);
std::string encode(const Follow&);
std::string encode(const Regrouped&);
std::string encode(const Survivor&);
std::string encode(const Discarded&);
Result<Armed> decode_armed(std::string_view payload);
Result<Disarmed> decode_disarmed(std::string_view payload);
Result<EpochChange> decode_epoch_change(std::string_view payload);
Result<Measured> decode_measured(std::string_view payload);
Result<Seal> decode_seal(std::string_view payload);
Result<Unseal> decode_unseal(std::string_view payload);
Result<Resigned> decode_resigned(std::string_view payload);
Result<Cut> decode_cut(std::string_view payload);
Result<Reclaimed> decode_reclaimed(std::string_view payload);
Result<Fenced> decode_fenced(std::string_view payload);
Result<Follow> decode_follow(std::string_view payload);
Result<Regrouped> decode_regrouped(std::string_view payload);
Result<Survivor> decode_survivor(std::string_view payload);
Result<Discarded> decode_discarded(std::string_view payload);

}  // namespace leeward::region
