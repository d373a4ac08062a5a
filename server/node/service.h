// What the API asks of a member of a Raft group. `Member` implements it; tests
// of the API may stand in for it.
//
// All methods are for any thread. `done` is posted to `reply`, exactly once,
// together with the others of its batch.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/command.h"
#include "base/function.h"
#include "base/result.h"
#include "base/units.h"
#include "node/membership.h"
#include "ports/executor.h"
#include "ports/state_machine.h"
#include "ports/status.h"

namespace leeward::node {

// A proposal has one of three ends. Nobody proposes or forwards a write again.
struct Outcome {
  enum class End {
    kApplied,     // `result` holds what the state machine said, an etcd error included
    kNotApplied,  // certainly not applied, now or later: `error` is kUnavailable, kOverloaded or kDeadline
    kUnknown,     // may or may not be applied: `error` is kUnknown or kDeadline
  };
  End end = End::kUnknown;
  CommandResult result;
  Error error;
  Term term;  // of the entry, when applied
};

// What an operator does to one member; standing.h says what each means.
struct StandingChange {
  enum class Kind { kPause, kResume, kIsolate, kRejoin };
  Kind kind = Kind::kPause;
  std::string reason;  // of isolate
  bool force = false;  // though no healthy majority is left to lead
};

class Service : public StatusSource {
 public:
  // Applies one command through the log. A follower forwards it to its leader
  // once and answers from its own apply. `deadline`: when it passes before the
  // command is proposed, the command is dropped (kNotApplied, kDeadline);
  // afterwards the end is kUnknown with kDeadline.
  virtual void propose(Command command, std::optional<Instant> deadline, Executor& reply,
                       Function<void(Outcome)> done) = 0;

  // A linearizable read may be served from state() when `done` says ok: commit
  // as it stood after the call is confirmed and applied here. Errors:
  // kUnavailable (no leader), kDeadline.
  virtual void read_barrier(std::optional<Instant> deadline, Executor& reply, Function<void(Result<void>)> done) = 0;
  // The same at once, when a valid leader lease allows it and what is committed
  // is applied: true means read now. False: use read_barrier.
  virtual bool read_now() const = 0;

  // Lease keep-alive: answered by a leader with a valid read lease only; a
  // follower forwards. The new time to live in seconds, or kNotFound.
  virtual void keep_alive(std::int64_t lease, Executor& reply, Function<void(Result<std::int64_t>)> done) = 0;
  // Seconds left, from the leader. -1 and kNotFound when it does not exist.
  virtual void lease_remaining(std::int64_t lease, Executor& reply, Function<void(Result<std::int64_t>)> done) = 0;

  virtual void transfer_leadership(NodeId to, Executor& reply, Function<void(Result<void>)> done) = 0;
  // Admits a member that came back with empty storage: one change of one
  // member. True: it was admitted already, and nothing was changed.
  virtual void admit(NodeId member, Executor& reply, Function<void(Result<bool>)> done) = 0;

  // Raises or lowers the NOSPACE alarm of a member of this group: while one is
  // raised, nothing is taken that makes the state larger. True: it was so already.
  // Errors: kNotFound (no member), kUnavailable, kUnknown.
  virtual void alarm(NodeId member, bool raised, Executor& reply, Function<void(Result<bool>)> done) = 0;

  // The group's members may write the newest format that the leader's version knows
  // from now on, and go back to no version that does not know it. True: it was so
  // already. Errors: kRefused, "rule: why" (version, silent: a node of any region
  // does not know it, or nobody knows); kUnavailable, kUnknown.
  virtual void finalize(Executor& reply, Function<void(Result<bool>)> done) = 0;

  // Of this member. Done when it is durable and leadership is handed over; a
  // rejoin when its verification has begun, whose end status() tells. Errors:
  // kRefused (the message names the rule), kInvalid, kUnavailable.
  virtual void change_standing(StandingChange, Executor& reply, Function<void(Result<void>)> done) {
    reply.post([done = std::move(done)]() mutable { done(Error{Code::kUnimplemented, "this node has no standing"}); });
  }
  // Changes who the members of this group are; answered when it is applied, a
  // joint one when it is over. Errors: kRefused by a rule, "rule: why"
  // (membership.h); kNotFound, kExists, kInvalid; kUnavailable (not made);
  // kUnknown (made or not: who the members are tells).
  virtual void change_members(MemberChange change, Executor& reply, Function<void(Result<Index>)> done) = 0;
  // How many committed entries a member that is in sync lacks, by its leader.
  // Errors: kRefused by in_sync, with how far it is; kNotFound; kUnavailable.
  virtual void member_sync(NodeId member, Executor& reply, Function<void(Result<std::uint64_t>)> done) = 0;

  // This process's origin for Command::origin, with the next sequence number.
  virtual Origin next_origin() = 0;
  virtual std::uint64_t cluster_id() const = 0;  // from the lineage, as etcd's header.cluster_id
  virtual StateMachine& state() = 0;
};

}  // namespace leeward::node
