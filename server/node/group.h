// What the stream between regions asks of the member it runs in. `Member`
// implements it; `standby` uses it and nothing else of node.
//
// Everything here is on the core loop.
#pragma once

#include <set>
#include <span>

#include "base/entry.h"
#include "base/function.h"
#include "base/log_view.h"
#include "base/result.h"
#include "node/regroup.h"
#include "node/write_gate.h"
#include "ports/clock.h"
#include "ports/executor.h"
#include "ports/log.h"
#include "ports/peer_link.h"
#include "ports/state_machine.h"
#include "ports/status.h"
#include "ports/trace.h"
#include "raft/types.h"
#include "region/state.h"

namespace leeward::node {

// A member as the topology names it, of any region.
struct Node {
  NodeId id;
  std::string name, region, zone, peer_address, client_url;
  GroupRole role = GroupRole::kUnknown;  // of its group at first start
};

// On these texts etcd's Go client repeats a write at its next endpoint; it does
// so for no other (clientv3, isSafeRetryMutableRPC).
inline constexpr const char* kTryNextEndpoint = "there is no connection available";
// By a member that stops or is being removed, of a write that was not begun: not the text
// of one that may not acknowledge, since the API tells clients which it is.
inline constexpr const char* kLeaving = "there is no address available";
// These end what was certainly not done, because roles were changing: whoever
// passes calls on begins it again.
namespace text {
inline constexpr const char* kSealed = "leeward: a switchover to another region is under way; ask again";
inline constexpr const char* kNotPrimary = "leeward: this region is about to be no primary any more; ask again";
inline constexpr const char* kStandby =
    "leeward: this member is a standby and takes no writes; ask a member of the primary region";
}  // namespace text

// What a fork may take of each disk beside what it shares.
struct ForkOptions {
  std::uint64_t data_bytes = 0, wal_bytes = 0;
};

// A copy of a member's data: another history from its end on, under a lineage of
// its own, in a group of one.
struct Forked {
  std::string data_dir, wal_dir;  // for a member with MemberOptions::rehearsal
  Lineage lineage;
  AppliedState state;  // of the copied state; the log goes on to `last`
  LogPoint last;
};

// A piece of a ledger, in order, proved by the chain from the ledger's beginning.
struct LedgerPage {
  std::vector<Entry> entries;
  bool end = false;  // nothing follows, and the chain led to the ledger's end
};

class GroupObserver {
 public:
  virtual ~GroupObserver() = default;
  virtual void role_changed() {}              // leader, term or membership differ
  virtual void committed(Index) {}            // readable from log() up to here
  virtual void applied(std::span<const Entry>) {}  // in order, after the state machine has them
  virtual void stopping() {}
};

// Fills what the stream knows into a status before it is published or reported:
// `node`'s and its own member's fields are filled already, members of others as
// last heard. On the core loop.
class StatusExtension {
 public:
  virtual ~StatusExtension() = default;
  virtual void extend(NodeStatus& node, MemberStatus& self) = 0;
};

class Group {
 public:
  virtual ~Group() = default;

  virtual Executor& loop() = 0;
  virtual Clock& clock() = 0;
  virtual Log& logger() = 0;
  virtual Tracer* tracer() { return nullptr; }  // likewise null where no traces are taken
  virtual std::uint64_t random() = 0;
  virtual PeerLink& link() = 0;
  // Frames of this lane go to `handler`. node keeps kConsensus, kBulk and kControl.
  virtual void on_frames(Lane lane, PeerLink::Handler handler) = 0;
  virtual void observe(GroupObserver* observer) = 0;  // outlives the group, or unobserve()
  virtual void unobserve(GroupObserver* observer) = 0;
  // One at most, nullptr takes it back; called for each NodeStatus this member
  // makes and for each report of itself that it sends.
  virtual void extend_status(StatusExtension*) {}
  // One at most, nullptr takes it back; asked while this member leads.
  virtual void gate_writes(WriteGate*) {}

  virtual NodeId self() const = 0;
  virtual Lineage lineage() const = 0;
  virtual GroupId group() const = 0;
  virtual Epoch epoch() const = 0;
  virtual GroupRole role() const = 0;         // as applied; kFenced as soon as a newer epoch is proved here
  // The role that the log's end gives, uncommitted entries included, as far as
  // this member can tell: a leader that is about to be primary follows no more.
  virtual GroupRole role_at_end() { return role(); }
  // Whether the history applied here ends the epoch with a Seal that is open: no
  // linearizable read that is confirmed from there on may be answered, for
  // another region may serve already.
  virtual bool sealed() const { return false; }
  // An epoch that another history holds by another promotion; 0: none is known.
  // Nothing is served then.
  virtual Epoch contested() const { return {}; }
  // The newest epoch that this member applied or was told of; if it was told,
  // the region that serves it as far as that is heard, else "".
  virtual Epoch newest_epoch() const { return epoch(); }
  virtual std::string serving_region() const { return {}; }
  // An operator has paused or isolated this member: it leads nobody and sends
  // its log and state to no other region.
  virtual bool stands_aside() const { return false; }
  virtual bool is_leader() const = 0;        // and an entry of its own term is committed
  virtual NodeId leader() const = 0;
  virtual Term term() const = 0;
  virtual const raft::Membership& membership() const = 0;
  virtual std::vector<Node> topology() const = 0;  // all regions, this node included

  virtual const LogView& log() const = 0;
  virtual LogPoint last() const = 0;          // log end, uncommitted included
  virtual LogPoint committed() const = 0;
  // What is applied here says about regions; nullptr: nothing yet.
  virtual const region::State* regions() const { return nullptr; }
  // The newest applied entry that leapt in the history and put another state in
  // this one's place: what stands before it leads elsewhere. 0: none.
  virtual Index leapt() const { return {}; }
  // What a leader's whole log says about regions, its uncommitted end included;
  // nullptr: no leader here, or its state is waited for.
  virtual const region::State* regions_of_log() { return nullptr; }
  virtual StateMachine& state() = 0;

  // A primary's leader that serves only when the armed group has said that it
  // knows no newer epoch: the question, a random number, else 0. The answer: to
  // that question, confirmed by the armed group's leader, the newest epoch it knows.
  virtual std::uint64_t cold_question() const { return 0; }
  virtual void cold_answer(std::uint64_t /*question*/, Epoch /*newest*/) {}

  // Leader of a primary in lease mode: the arming of which it needs stamps, and
  // one that came back: sent by it in that term, at that instant of its clock.
  virtual std::optional<region::Armed> stamp_wanted() { return std::nullopt; }
  virtual void stamp_returned(Term, Instant /*sent*/, region::ArmingId) {}
  // Leader: whether what it has confirmed may be told now.
  virtual bool may_acknowledge() const { return true; }

  // Survivors of a lost majority (regroup.h). stage(): when `done` has a value,
  // this member is durably of the new group and of no other. Errors: kRefused
  // (its log is not where the plan has it), kUnavailable (busy; say it again).
  // activate(): at the one that is to begin it, when all have staged; durable
  // when `done` has a value. Both may be repeated.
  virtual RegroupStand regroup_stand() { return {}; }
  virtual void stage(Regroup, Function<void(Result<void>)> done) { done(Error{Code::kUnavailable, "not here"}); }
  virtual void activate(const std::string& /*plan*/, Function<void(Result<void>)> done) { done(Error{Code::kUnavailable, "not here"}); }

  // Leader: appends in this group's log. Errors as raft::Core::propose.
  virtual Result<Index> propose(std::span<const raft::Proposal> proposals) = 0;
  // Confirms leadership by a round begun after the call; the commit index then.
  virtual void confirm(Function<void(Result<Index>)> done) = 0;
  virtual void transfer_leadership(NodeId to) = 0;

  // A following region, `holder`, holds this group's history up to `index`: the
  // log after it is kept within the retention budget, and with it the newest
  // checkpoint at or below, to rewind to. The oldest holder wins; max() releases.
  virtual void retain(std::string_view holder, Index index) = 0;

  // Leader: whether a member, this one included, could not go back to the common
  // position of a Follow: the group needs a copy of state from behind it.
  virtual bool lacks_state() const { return false; }
  // Of the voters, those of which that is so, as far as this leader was told.
  virtual std::set<NodeId> without_state() const { return {}; }
  // Leader of a following group, again and again as long as no source's log
  // reaches down to its own, or lacks_state(): takes over a copy of the state of
  // one of these members. When it is done, committed() stands at the copy's position.
  virtual void adopt(std::span<const NodeId> /*sources*/) {}
  // How that goes on, in words, at any member; empty: nothing is under way.
  virtual std::string adoption() const { return {}; }

  // A fork of this member's log and state, which goes on meanwhile: a checkpoint
  // and links, so it costs a segment of the log. One at a time, until
  // drop_fork(), which removes its directories; so does the next start. Errors:
  // kRefused (the message names the rule), kNoSpace, kIo, kCorrupt; nothing is
  // left to drop then.
  virtual void fork(ForkOptions, Function<void(Result<Forked>)> done) {
    done(Error{Code::kUnimplemented, "this group cannot be forked"});
  }
  virtual void drop_fork(Function<void(Result<void>)> done) { done({}); }
  // Of the ledgers that the group keeps (regions()->control()), those of which
  // this member has a file.
  virtual void held_ledgers(Function<void(std::vector<Index>)> done) { done({}); }
  // About a MiB of that ledger behind `after`. Reading on is quick, another
  // place means reading from the start. Errors: kNotFound; kUnavailable (no file
  // here, or busy); kIo, kCorrupt, kNewerFormat.
  virtual void read_ledger(Index /*follow*/, HistoryIndex /*after*/, Function<void(Result<LedgerPage>)> done) {
    done(Error{Code::kUnimplemented, "this group keeps no ledgers"});
  }
  // A drill has passed here: all members of all regions come to know it.
  virtual void drilled(Duration /*rto*/) {}
};

}  // namespace leeward::node
