// Client writes on their way: from the inbox into log entries at a leader, or
// over to the leader at a follower, and back from this member's own apply.
//
// A proposal has one of three ends (service.h). Nobody proposes or forwards a
// write twice. What left this member is appended in the term it was sent in or
// never (a leader refuses what was forwarded in another term), and terms never
// fall along a log: so once an entry of a later term is applied here, what was
// not seen before it is certainly not applied. Until then it is unknown.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <span>
#include <tuple>
#include <vector>

#include "node/context.h"
#include "node/service.h"
#include "node/region_log.h"
#include "node/write_gate.h"
#include "node/wal_loop.h"
#include "node/warrant.h"

namespace leeward::node {

// A write that waits to be proposed.
struct WaitingWrite {
  Command command;
  Executor* reply = nullptr;          // null: nobody here waits for it
  Function<void(Outcome)> done;
  std::optional<Instant> deadline;
  Instant arrived{};
  NodeId via;                         // the follower that forwarded it; 0: our own
  Term term;                          // the only one in which it may be proposed; 0: any
  bool ungated = false;               // a leader's own: no gate holds it
  TraceContext forward{};             // as it was sent to the leader
  std::size_t bytes() const { return command.request.size() + 64; }
};

class Proposals {
 public:
  Proposals(Context& context, const WalLoop& wal, RegionLog& regions, Warrant& warrant)
      : context_(context), wal_(wal), regions_(regions), warrant_(warrant) {}

  void set_gate(WriteGate* gate) { gate_ = gate; }
  // When the gate will let some of what waits pass; max(): it holds nothing.
  Instant held_until() const { return held_until_; }

  // `refusal`: why no write is taken at present, or nullopt.
  void arrive(std::vector<WaitingWrite> writes, const std::optional<Error>& refusal);
  void arrive(NodeId from, Forward forward, const std::optional<Error>& refusal);
  // The leader would not take these.
  void refused(const ForwardRefused& refused);

  // Cuts entries (leader) or forwards (follower) as far as bounds allow.
  void dispatch();

  // Around StateMachine::apply of `entries`: what someone here waits for.
  void begin_apply(std::span<const Entry> entries);
  bool wanted(std::size_t entry, std::size_t command) const;
  void result(std::span<const Entry> entries, std::size_t entry, std::size_t command, CommandResult result);

  // Everything up to an entry of `term` is applied and answered: what was sent
  // in an older term can never be.
  void applied_term(Term term);
  // The state was exchanged for a snapshot: whose writes are in it is not known.
  void state_exchanged() { end_pending({Code::kUnknown, text::kTimeoutLeaderFail}); }
  // A newer epoch exists. What is under way ends as unknown, some time later: an
  // epoch that was sealed is kept whole, and a member that lags may apply the end
  // of it only now. Until a Seal says so no result is told.
  void fenced(const Error& error);
  void seal_applied();
  // This group itself has begun that epoch: its history is the one that goes on.
  void resume();
  // Ends everything: what waits was certainly not applied, of the rest nobody
  // here will know.
  void end_all(const Error& error);

  void leader_lost() { leader_lost_ = context_.now(); }
  void expire();
  // Ends everything that waits to be proposed.
  void refuse_waiting(const Error& error);

  std::size_t waiting_bytes() const { return waiting_bytes_; }
  // This member is of its group no more, and sees no end of what is under way.
  void removed(const Error& error);
  std::size_t pending() const { return waiting_.size() + ungated_.size() + pending_.size(); }
  bool idle() const { return nothing_waits() && pending_.empty(); }

 private:
  struct Pending {
    Executor* reply = nullptr;
    Function<void(Outcome)> done;
    std::optional<Instant> deadline;
    Instant arrived{}, sent{}, gives_up{};
    bool forwarded = false;
    Term term;  // its entry has this term or does not exist
    TraceContext trace{}, forward{};
    std::optional<Outcome> kept;  // its result, while nobody may be told
  };

  bool nothing_waits() const { return waiting_.empty() && ungated_.empty(); }
  std::optional<WriteGate::Allowance> allowance();
  std::optional<Error> gate_refusal();
  bool waits_too_long() const;
  bool lacks_room(const WaitingWrite& write) const;
  void note_held(bool held);
  void refuse(WaitingWrite& write, const Error& error);
  void answer(Executor* reply, Function<void(Outcome)> done, Outcome outcome);
  void count(const Outcome& outcome);
  std::vector<WaitingWrite> take(std::size_t allowed);
  bool still_wanted(WaitingWrite& write);
  void cut_entries();
  bool cut_one();
  void forward_all(NodeId leader);
  void remember(WaitingWrite& write, bool forwarded);
  void trace(Index index, const std::vector<WaitingWrite>& writes, Instant now);
  TraceContext forward_trace(const TraceContext& parent);
  void tell_forward(const Pending& pending, std::string_view failure);
  void flush_refusals();
  void end_pending(const Error& error);

  Context& context_;
  const WalLoop& wal_;
  RegionLog& regions_;
  Warrant& warrant_;
  std::deque<WaitingWrite> waiting_;
  std::deque<WaitingWrite> ungated_;  // proposed before those
  std::size_t waiting_bytes_ = 0;     // of both
  WriteGate* gate_ = nullptr;
  double gate_rate_ = 0;              // as last said; 0: without limit
  Instant held_until_ = Instant::max();
  std::optional<Instant> held_since_;
  std::map<std::uint64_t, Pending> pending_;  // by sequence of the origin
  std::vector<std::vector<std::uint64_t>> applying_;  // sequences of ours, by entry and command; 0: not ours
  std::map<std::tuple<NodeId, std::uint64_t, Code>, ForwardRefused> refusals_;  // by follower, its process, and why
  Term applied_term_;
  std::optional<Instant> leader_lost_;
  struct Fence {
    Error error;
    Instant until;
  };
  std::optional<Fence> fence_;
};

}  // namespace leeward::node
