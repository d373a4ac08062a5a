// The core's inside. One class, its parts in one file each:
//   core.cc         construction, time, Ready, status
//   election.cc     terms, votes, changes of role
//   follower.cc     what a follower does with a leader's messages
//   replication.cc  what a leader does: propose, append, commit, transfer
//   confirmed_reads.cc  lease, read rounds, reads forwarded to the leader
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "raft/core.h"
#include "raft/log_window.h"
#include "raft/membership.h"
#include "raft/roles.h"

namespace leeward::raft {

// xorshift64*, seeded: the jitter of election timers and the first number of
// forwarded reads. Nothing else is left to chance.
class Jitter {
 public:
  explicit Jitter(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 0x2545f4914f6cdd1du) {
    if (state_ == 0) state_ = 1;
    next();
  }
  std::uint64_t next() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 0x2545f4914f6cdd1du;
  }

 private:
  std::uint64_t state_;
};

class Core::Impl {
 public:
  Impl(Options options, const LogView& log, InitialState initial, Instant now);

  // core.cc
  void tick(Instant now);
  Instant next_tick() const;
  void step(Instant now, Message message);
  void persisted(Instant now, std::uint64_t token);
  void applied(Index index);
  bool wants_snapshot(const LogPoint& point) const;
  void restored(Instant now, const LogPoint& point, Membership membership);
  Ready take_ready();
  bool has_ready() const;
  Status status() const;
  Role role() const;
  NodeId leader() const;
  Term term() const { return term_; }
  const Membership& membership() const { return members_.current(); }
  LogPoint last() const { return log_.last(); }
  Result<std::vector<Entry>> read(Index from, Index to, std::size_t max_bytes) const { return log_.read(from, to, max_bytes); }
  Index durable() const { return log_.stable(); }
  Index commit() const { return commit_; }
  void set_may_vote(bool may) { may_vote_ = may; }
  void set_may_lead(bool may) { may_lead_ = may; }
  void set_passed_over(std::set<NodeId> ids) { passed_over_ = std::move(ids); }
  void set_replication_floor(Index floor) { replication_floor_ = floor; }
  void set_serving(bool serving) { serving_ = serving; }

  // election.cc
  void campaign(Instant now);

  // replication.cc
  Result<Index> propose(Instant now, std::span<const Proposal> proposals);
  Result<void> transfer_leadership(Instant now, NodeId to);
  void step_down(Instant now);
  void snapshot_sent(Instant now, NodeId to, bool ok, Index index);
  void unreachable(NodeId peer);

  // confirmed_reads.cc
  void read_index(Instant now, std::uint64_t context, bool by_lease);
  std::optional<Index> lease_read(Instant now) const;

 private:
  // core.cc
  void load_memberships(Index applied);
  void advance(Instant now) { now_ = std::max(now_, now); }
  HardState hard_state() const { return {term_, vote_, commit_}; }
  bool hard_state_changed() const { return term_ != saved_.term || vote_ != saved_.vote; }
  Message message(MessageType type, NodeId to) const;
  void send(Message m) { messages_.push_back(std::move(m)); }
  void send_durable(Message m) { after_persist_.push_back(std::move(m)); }
  void set_commit(Index commit);
  void take_writes(Ready& ready);
  void take_committed(Ready& ready);
  bool may_hand_out() const;
  void report_fault(std::string what);

  // election.cc
  bool accept_term(const Message& m);
  void answer_old_term(const Message& m);
  void step_same_term(Message& m);
  bool refuses_votes(const Message& m) const;
  bool up_to_date(const Message& m) const;
  bool may_campaign() const;
  bool sole_voter() const;
  void on_pre_vote(const Message& m);
  void on_vote(const Message& m);
  void on_vote_reply(const Message& m, bool pre_vote);
  void on_timeout_now(const Message& m);
  void start_pre_vote();
  void start_election(bool transfer);
  void request_votes(MessageType type, Term term, bool transfer);
  void count_votes();
  void become_follower(Term term, NodeId leader);
  void become_leader();
  void leave_role();
  Instant election_deadline();
  void tick_election();

  // follower.cc
  Follower& follow(const Message& m);
  void on_append(Message& m);
  bool check_meeting(const Message& m);
  bool accept_entries(Message& m);
  void append_from_leader(Entry entry);
  void reject_append(const Message& m);
  void on_heartbeat(const Message& m);
  void on_snapshot_offer(const Message& m);

  // replication.cc
  Leader& leading() { return std::get<Leader>(role_); }
  Progress* peer(NodeId id);
  bool leader_ready() const;
  Result<void> check_proposals(const Leader& leader, std::span<const Proposal> proposals) const;
  void append_own(Entry entry);
  void note_uncommitted(Index index, std::size_t bytes);
  void forget_demoted(const Membership& to);
  void reconcile_peers();
  void on_append_reply(const Message& m);
  void back_up(Progress& progress, const Message& m);
  void on_heartbeat_reply(const Message& m);
  void on_snapshot_reply(const Message& m);
  void leave_snapshot(Progress& progress, Index holds);
  void ask(NodeId to, Progress& progress);
  Message append_after(const LogPoint& before, NodeId to);
  void replicate();
  bool send_append(NodeId to, Progress& progress);
  Index replication_base() const;
  void need_snapshot(NodeId to, Progress& progress);
  std::uint64_t send_heartbeats();
  void advance_commit();
  void leave_when_removed();
  void try_transfer();
  void send_timeout_now(NodeId to);
  NodeId best_successor() const;
  Instant quorum_heard() const;
  void tick_leader();

  // confirmed_reads.cc
  std::optional<Instant> lease_until() const;
  std::uint64_t quorum_round() const;
  void gather_read(WaitingRead read, bool by_lease);
  void start_read_round();
  void confirm_reads();
  void answer(const WaitingRead& read, bool ok, Index index);
  void fail_reads(const std::vector<std::uint64_t>& contexts);
  void forward_reads();
  void on_read_index(const Message& m);
  void on_read_index_reply(const Message& m);
  void tick_reads();

  const Options options_;
  LogWindow log_;
  MembershipHistory members_;
  Jitter jitter_;

  Term term_;
  NodeId vote_;
  Index commit_;
  HardState saved_;  // as of the last Ready
  RoleState role_;

  Instant now_;
  Instant votes_from_;  // vote_wait: no vote before
  std::optional<Instant> heard_leader_;  // outlives roles and terms: a lease may stand on it
  bool heard_serving_ = false;
  bool serving_ = true;
  bool may_vote_ = true, may_lead_ = true;
  std::set<NodeId> passed_over_;
  Index replication_floor_;
  std::optional<std::string> fault_;
  std::uint64_t forward_sequence_;

  Index applied_;
  Index handed_;  // the last one in Ready::committed
  struct Handed {
    Index last;
    std::size_t bytes;
  };
  std::deque<Handed> unapplied_;
  std::size_t unapplied_bytes_ = 0;

  // What the next Ready says.
  std::vector<Message> messages_;
  std::vector<Message> after_persist_;
  std::vector<ReadState> reads_;
  std::vector<Ready::SnapshotNeed> snapshots_;
  bool work_ = false;  // take_ready() may find something to send

  // Writes under way, with promises that wait for the last of them.
  struct Write {
    std::uint64_t token;
    Term term;    // hard state as of then
    NodeId vote;
    std::vector<Message> held;
  };
  std::deque<Write> writes_;
  std::uint64_t token_ = 0;

  Role reported_role_ = Role::kFollower;
  NodeId reported_leader_;
  Term reported_term_;
};

}  // namespace leeward::raft
