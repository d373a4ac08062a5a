// What an operator asks of a region's group when the primary is lost, and what
// it answers: standby/PROTOCOL.md. `standby` implements it, the API serves it.
// Plain values; any thread may call, `reply` runs `done`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/entry.h"
#include "base/function.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/units.h"
#include "ports/executor.h"
#include "ports/status.h"

namespace leeward {

struct PromotionPlan {
  struct Refusal {
    std::string rule, detail;  // rule: of the closed set in standby/README.md, "Plan"
    bool forceable = false;    // an operator may name it, and it refuses no more
  };
  GroupId group;
  std::string region;
  Epoch from, to;              // by force or unguarded `to` is the least of the epochs that are drawn from
  bool drawn = false;
  Epoch known;                 // the newest that anybody asked knows of; all from `from` + 1 to here are lost by force
  Position position;           // all committed in the group: it is kept
  KnownLoss loss;              // up to the commit in the newest answer that anybody here has of the primary
  // Since the ping of that answer was sent: what was committed after it is
  // unknown here. nullopt: nobody has an answer, and the loss has no bound.
  std::optional<Duration> unknown_for;
  // From now, if the primary is not heard again and the plan is accepted at once,
  // until this group serves; nullopt: of a group that is not armed, or survivors.
  std::optional<Duration> estimated_rto;
  std::vector<NamedCheck> checks;  // of eligibility: they inform
  std::vector<Refusal> refusals;   // none: the promotion is allowed
  bool unguarded = false;          // a region was disarmed by force in this epoch: no switchover ends it
  bool too_early = false;          // asked in a moment, who is dead is no longer called heard, or who lives is
  std::vector<NodeId> members, silent;  // voters of the group that answered, and the others
  bool survivors = false;          // `members` are to be a group without the others, who may vote no more
  bool sealed = false;             // the primary has sealed its history for this group, which has all of it: nothing is lost
  std::string digest;              // 32 hexadecimal digits over all that a promotion relies on
  bool allowed() const { return refusals.empty(); }
};

struct PromotionRequest {
  std::string digest;             // of the plan that was accepted
  bool accept_data_loss = false;  // demanded by every unplanned promotion
  std::string by, reason;         // who, and why; kept in the history
  std::vector<std::string> force = {};  // rules that may refuse it all the same
  std::vector<NodeId> members = {};     // what is left of a group without a majority; empty: it has one
};

struct PromotionRecord {
  Epoch epoch;
  std::uint64_t promotion = 0;
  GroupId group;
  NodeId leader;
  HistoryIndex fork;  // the last of the epoch before
  Revision fork_revision, first_revision;
  bool repeated = false;  // it was done already
  std::string region = {};
  std::vector<std::string> notes = {};  // for the operator
  struct Step {
    std::string name;
    Duration took{};
  };
  std::vector<Step> steps;
  Duration took{};
  // From the ping of the primary's newest answer until this group served; nullopt:
  // it had no answer, or it is not known any more.
  std::optional<Duration> paused = {};
};

// An epoch and how it began; the first has none.
struct EpochRecorded {
  Epoch epoch;
  std::uint64_t promotion = 0;
  std::string region;  // that became primary
  bool planned = false, forced = false;
  HistoryIndex fork;
  Revision fork_revision, first_revision;
  WallTime time;       // by the clock of who promoted
  std::string by, reason;
  KnownLoss announced;
  bool announced_open = false;  // and whatever nobody there had heard of
  // Told by the region that was primary before, once it follows.
  std::optional<KnownLoss> measured;
  bool measured_open = false;   // its survivors do not know all
};

struct RecoveryStatus {
  std::vector<EpochRecorded> history;  // oldest first
};

struct SurvivorRecord {
  Epoch contested, epoch;  // epoch: that this group then serves, or that it is in
  bool goes_on = false;    // it was this group's promotion
};

class Recovery {
 public:
  virtual ~Recovery() = default;
  // Errors: kUnavailable (no leader here, and who leads; no quorum).
  virtual void plan(Executor& reply, Function<void(Result<PromotionPlan>)> done) = 0;
  // Of these members alone, the others being lost for good. Errors: kUnavailable
  // (not one of them), kInvalid.
  virtual void plan_survivors(std::vector<NodeId> /*members*/, Executor& reply, Function<void(Result<PromotionPlan>)> done) {
    reply.post([done = std::move(done)]() mutable { done(Error{Code::kUnavailable, "leeward: not at this node"}); });
  }
  // Of two promotions that took one epoch, this group's or another's, `promotion`
  // goes on: this group by an epoch of its own, or as fenced. Errors: kRefused
  // (not contested, or by no such promotion), kUnavailable, kUnknown.
  virtual void survivor(std::uint64_t /*promotion*/, std::string /*by*/, Executor& reply, Function<void(Result<SurvivorRecord>)> done) {
    reply.post([done = std::move(done)]() mutable { done(Error{Code::kUnavailable, "leeward: not at this node"}); });
  }
  // Errors: kRefused with the rules that do, or because what the digest stands
  // for has changed; kUnavailable: certainly not begun; kUnknown: ask again.
  virtual void promote(PromotionRequest request, Executor& reply, Function<void(Result<PromotionRecord>)> done) = 0;
  // From what is applied here. Errors: kCorrupt.
  virtual Result<RecoveryStatus> status() const = 0;
};

}  // namespace leeward
