// What an operator asks of a region that was primary and is so no more: to put
// aside what it alone holds, and to follow. standby/PROTOCOL.md, "The way back".
// `standby` implements it, the API serves it. Plain values; any thread may call,
// `reply` runs `done`, exactly once.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/entry.h"
#include "base/function.h"
#include "base/result.h"
#include "ports/executor.h"

namespace leeward {

// History that the group put aside: (kept, to].
struct LedgerSummary {
  Index follow;              // names it, in this group
  Epoch epoch, followed;     // in which it was written; with which the group went on
  Position from, kept, to;   // from: where the histories part; up to kept it was gone from the log
  HistoryIndex survived_at;  // behind this, survivors of a lost majority do not know what the others held; 0: none did
  bool complete() const { return kept == from && survived_at == HistoryIndex(); }
  std::uint64_t writes() const { return to.writes - kept.writes; }
  std::uint64_t entries() const { return to.index.value() - kept.index.value(); }
  std::uint64_t bytes() const { return to.bytes - kept.bytes; }
  bool held = false;         // by this member, in a file
};

struct LedgerList {
  Lineage lineage;
  GroupId group;
  std::vector<LedgerSummary> ledgers;  // oldest first
};

struct LedgerPiece {
  std::vector<Entry> entries;  // in order
  bool end = false;            // nothing follows, and all of it is proved
};

struct RejoinRecord {
  Epoch epoch;        // that is followed
  HistoryIndex index; // which the group went back to, or stood at
  bool changed = true;  // false: it followed already
  std::vector<LedgerSummary> ledgers;  // all that the group keeps, oldest first
};

struct RejoinRequest {
  // Of a region that follows and holds other history than the primary, below
  // where their epochs part: what it alone holds goes into a ledger.
  bool discard = false;
  bool accept_data_loss = false;  // demanded by that
  std::string by;
};

class WayBack {
 public:
  virtual ~WayBack() = default;
  // Errors: kRefused, "rule: why"; kUnavailable: another node leads this group
  // (the message names it), or the region that serves is not reached; kUnknown:
  // begun, and how it ends `dr status` tells.
  // With `discard` the rules are "primary", "primary_silent", "not_diverged",
  // "accept_data_loss", "lease", "no_common_position", "no_answer": nothing was changed.
  virtual void rejoin(RejoinRequest request, Executor& reply, Function<void(Result<RejoinRecord>)> done) = 0;
  // For good: the group keeps that ledger no more. Errors: kNotFound; kRefused
  // ("rule: why"); kUnavailable; kUnknown: say it again.
  virtual void discard(Index ledger, bool accept_data_loss, std::string by, Executor& reply,
                       Function<void(Result<std::vector<LedgerSummary>>)> done) = 0;
  virtual void ledgers(Executor& reply, Function<void(Result<LedgerList>)> done) = 0;
  // About a MiB behind `after`. Errors: kNotFound; kUnavailable: this member has
  // no such file (the message says whom to ask); kIo, kCorrupt, kNewerFormat.
  virtual void ledger_page(Index ledger, HistoryIndex after, Executor& reply, Function<void(Result<LedgerPiece>)> done) = 0;
};

}  // namespace leeward
