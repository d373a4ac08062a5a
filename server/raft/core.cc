#include "raft/core.h"

#include <algorithm>

#include "base/check.h"
#include "raft/impl.h"

namespace leeward::raft {
namespace {

constexpr std::size_t kCommittedBytes = 4_MiB;  // in one Ready
constexpr std::size_t kUnappliedBytes = 16_MiB; // handed out and not applied
constexpr std::size_t kScanBytes = 4_MiB;       // one read when starting

}  // namespace

Core::Impl::Impl(Options options, const LogView& log, InitialState initial, Instant now)
    : options_(options), log_(log, options.cache_bytes), members_(std::move(initial.membership), initial.applied),
      jitter_(options.seed), term_(initial.hard_state.term), vote_(initial.hard_state.vote),
      saved_(initial.hard_state), now_(now), votes_from_(options.vote_wait ? now + options.election_timeout : now),
      forward_sequence_(jitter_.next()), applied_(initial.applied), handed_(initial.applied) {
  LEEWARD_CHECK(bool(options_.id), "a member needs an id");
  LEEWARD_CHECK(options_.heartbeat_interval > 0ns && options_.election_timeout > options_.heartbeat_interval,
                "the election timeout must be longer than the heartbeat interval");
  LEEWARD_CHECK(options_.lease_fraction > 0 && options_.lease_fraction < 1, "a lease must end before an election");
  const Index last = log_.last().index;
  LEEWARD_CHECK(applied_ >= log.base().index && applied_ <= last, "what is applied must lie within the log");
  // The stored commit index is a hint: it may be behind, and never counts for
  // more than the log holds.
  commit_ = std::clamp(initial.hard_state.commit, applied_, last);
  LEEWARD_CHECK(log_.last().term <= term_, "the log has a term that the hard state does not know");
  load_memberships(applied_);
  role_ = Follower{{}, sole_voter() ? now : election_deadline(), {}};
  reported_term_ = term_;
  reported_role_ = role();
}

void Core::Impl::load_memberships(Index applied) {
  const Index last = log_.last().index;
  for (Index from = applied + 1; from <= last;) {
    auto entries = log_.read(from, last + 1, kScanBytes);
    LEEWARD_CHECK(entries.ok(), "the log cannot be read at start");
    for (const Entry& entry : *entries) {
      if (!brings_membership(entry.kind)) continue;
      auto membership = membership_in(entry);
      LEEWARD_CHECK(membership.ok(), "a stored membership cannot be read");
      members_.append(entry.index, std::move(*membership));
    }
    from = entries->back().index + 1;
  }
}

void Core::Impl::tick(Instant now) {
  advance(now);
  tick_reads();
  if (std::holds_alternative<Leader>(role_)) {
    tick_leader();
  } else {
    tick_election();
  }
}

Instant Core::Impl::next_tick() const {
  if (const auto* follower = std::get_if<Follower>(&role_)) {
    return std::min(follower->campaign_at, follower->reads.next_deadline());
  }
  if (const auto* candidate = std::get_if<Candidate>(&role_)) return candidate->campaign_at;
  const auto& leader = std::get<Leader>(role_);
  Instant next = std::min(leader.heartbeat_at, leader.reads.next_deadline());
  if (leader.transfer) next = std::min(next, leader.transfer->deadline);
  return next;
}

void Core::Impl::step(Instant now, Message m) {
  advance(now);
  if (m.to != options_.id || !m.from || m.from == options_.id) return;
  if (m.term > term_) {
    if (!accept_term(m)) return;
  } else if (m.term < term_) {
    answer_old_term(m);
    return;
  }
  step_same_term(m);
}

void Core::Impl::persisted(Instant now, std::uint64_t token) {
  advance(now);
  LEEWARD_CHECK(token <= token_, "a write is reported that was never asked for");
  log_.persisted(token);
  bool own_vote = false;
  while (!writes_.empty() && writes_.front().token <= token) {
    Write& write = writes_.front();
    own_vote = own_vote || (write.term == term_ && write.vote == options_.id);
    for (Message& m : write.held) send(std::move(m));
    writes_.pop_front();
  }
  if (auto* candidate = std::get_if<Candidate>(&role_); candidate && !candidate->pre_vote && own_vote) {
    candidate->votes.emplace(options_.id, true);
    count_votes();
  } else if (std::holds_alternative<Leader>(role_)) {
    advance_commit();
  }
}

void Core::Impl::applied(Index index) {
  LEEWARD_CHECK(index <= handed_, "an entry was applied that was never handed out");
  applied_ = std::max(applied_, index);
  members_.settle(applied_);
  while (!unapplied_.empty() && unapplied_.front().last <= applied_) {
    unapplied_bytes_ -= unapplied_.front().bytes;
    unapplied_.pop_front();
  }
}

bool Core::Impl::wants_snapshot(const LogPoint& point) const {
  return !std::holds_alternative<Leader>(role_) && point.index > commit_ && log_.term(point.index) != point.term;
}

void Core::Impl::restored(Instant now, const LogPoint& point, Membership membership) {
  advance(now);
  // What wants_snapshot() asks, as far as it can be told after the log's reset.
  LEEWARD_CHECK(!std::holds_alternative<Leader>(role_) && point.index > commit_,
                "a snapshot was installed that wants_snapshot() refuses");
  log_.restore(point);
  if (point.term > term_) become_follower(point.term, {});
  commit_ = applied_ = handed_ = point.index;
  members_ = MembershipHistory(std::move(membership), point.index);
  unapplied_.clear();
  unapplied_bytes_ = 0;
  // What was promised about the old log is void; the peers ask again. The
  // writes themselves stay: they carry the hard state.
  for (Write& write : writes_) write.held.clear();
  after_persist_.clear();
  if (!leader()) return;
  Message reply = message(MessageType::kSnapshotReply, leader());
  reply.index = point.index;
  send_durable(std::move(reply));
}

Message Core::Impl::message(MessageType type, NodeId to) const {
  Message m;
  m.type = type;
  m.from = options_.id;
  m.to = to;
  m.term = term_;
  return m;
}

void Core::Impl::set_commit(Index commit) {
  if (commit <= commit_) return;
  LEEWARD_CHECK(commit <= log_.last().index, "what is committed must be in the log");
  commit_ = commit;
  work_ = true;
}

void Core::Impl::report_fault(std::string what) {
  if (!fault_) fault_ = std::move(what);
}

Ready Core::Impl::take_ready() {
  work_ = false;
  if (std::holds_alternative<Leader>(role_)) {
    start_read_round();
    replicate();
  } else {
    forward_reads();
  }
  Ready ready;
  ready.messages = std::exchange(messages_, {});
  take_writes(ready);
  take_committed(ready);
  ready.reads = std::exchange(reads_, {});
  ready.snapshots = std::exchange(snapshots_, {});
  ready.role_changed = role() != reported_role_ || leader() != reported_leader_ || term_ != reported_term_;
  reported_role_ = role();
  reported_leader_ = leader();
  reported_term_ = term_;
  return ready;
}

// A promise must not overtake a write that it stands on. With a write in this
// Ready it goes along; else it waits for the newest one under way; with none,
// it stands on what is durable already.
void Core::Impl::take_writes(Ready& ready) {
  const bool entries = log_.has_unwritten();
  if (entries || hard_state_changed()) {
    ready.token = ++token_;
    if (hard_state_changed() || commit_ != saved_.commit) {
      ready.hard_state = hard_state();
      saved_ = hard_state();
    }
    ready.entries = log_.take_unwritten(ready.token);
    writes_.push_back({ready.token, term_, vote_, {}});
    ready.after_persist = std::exchange(after_persist_, {});
    return;
  }
  auto& target = writes_.empty() ? ready.messages : writes_.back().held;
  std::move(after_persist_.begin(), after_persist_.end(), std::back_inserter(target));
  after_persist_.clear();
}

bool Core::Impl::may_hand_out() const {
  return handed_ < std::min(commit_, log_.stable()) && unapplied_bytes_ < kUnappliedBytes;
}

void Core::Impl::take_committed(Ready& ready) {
  if (!may_hand_out()) return;
  auto entries = log_.read(handed_ + 1, std::min(commit_, log_.stable()) + 1, kCommittedBytes);
  LEEWARD_CHECK(entries.ok(), "a committed entry cannot be read: " + entries.error().message);
  LEEWARD_CHECK(!entries->empty() && entries->front().index == handed_ + 1, "committed entries leave a gap");
  std::size_t bytes = 0;
  for (const Entry& entry : *entries) bytes += weight(entry);
  handed_ = entries->back().index;
  unapplied_.push_back({handed_, bytes});
  unapplied_bytes_ += bytes;
  ready.committed = std::move(*entries);
}

bool Core::Impl::has_ready() const {
  return work_ || !messages_.empty() || !after_persist_.empty() || !reads_.empty() || !snapshots_.empty() ||
         log_.has_unwritten() || hard_state_changed() || may_hand_out() || role() != reported_role_ ||
         leader() != reported_leader_ || term_ != reported_term_;
}

Role Core::Impl::role() const {
  if (std::holds_alternative<Leader>(role_)) return Role::kLeader;
  if (const auto* candidate = std::get_if<Candidate>(&role_)) {
    return candidate->pre_vote ? Role::kPreCandidate : Role::kCandidate;
  }
  const Membership& m = membership();
  const bool learns = (m.learners.contains(options_.id) || m.learners_next.contains(options_.id)) &&
                      !m.is_voter(options_.id);
  return learns ? Role::kLearner : Role::kFollower;
}

NodeId Core::Impl::leader() const {
  if (const auto* follower = std::get_if<Follower>(&role_)) return follower->leader;
  return std::holds_alternative<Leader>(role_) ? options_.id : NodeId();
}

Status Core::Impl::status() const {
  Status s;
  s.id = options_.id;
  s.role = role();
  s.term = term_;
  s.leader = leader();
  s.vote = vote_;
  s.commit = commit_;
  s.applied = applied_;
  s.last = log_.last().index;
  s.leader_ready = leader_ready();
  s.lease_until = lease_until();
  s.membership = membership();
  s.heard_serving = heard_serving_;
  s.fault = fault_;
  const auto* leader = std::get_if<Leader>(&role_);
  if (!leader) return s;
  s.heard_serving = heard_serving_ || leader->heard_serving;
  if (leader->transfer) s.transferring_to = leader->transfer->to;
  for (const auto& [id, p] : leader->peers) {
    s.peers.push_back({id, p.match(), p.next(), p.heard() + options_.election_timeout > now_,
                       p.state() == Progress::State::kSnapshot, p.rtt(), p.had()});
  }
  return s;
}

Core::Core(Options options, const LogView& log, InitialState initial, Instant now)
    : impl_(std::make_unique<Impl>(options, log, std::move(initial), now)) {}
Core::~Core() = default;
Core::Core(Core&&) noexcept = default;

void Core::tick(Instant now) { impl_->tick(now); }
Instant Core::next_tick() const { return impl_->next_tick(); }
void Core::step(Instant now, Message message) { impl_->step(now, std::move(message)); }
Result<Index> Core::propose(Instant now, std::span<const Proposal> proposals) { return impl_->propose(now, proposals); }
void Core::read_index(Instant now, std::uint64_t context, bool by_lease) { impl_->read_index(now, context, by_lease); }
std::optional<Index> Core::lease_read(Instant now) const { return impl_->lease_read(now); }
Result<void> Core::transfer_leadership(Instant now, NodeId to) { return impl_->transfer_leadership(now, to); }
void Core::campaign(Instant now) { impl_->campaign(now); }
void Core::step_down(Instant now) { impl_->step_down(now); }
void Core::persisted(Instant now, std::uint64_t token) { impl_->persisted(now, token); }
void Core::applied(Index index) { impl_->applied(index); }
bool Core::wants_snapshot(const LogPoint& point) const { return impl_->wants_snapshot(point); }
void Core::restored(Instant now, const LogPoint& point, Membership membership) {
  impl_->restored(now, point, std::move(membership));
}
void Core::snapshot_sent(Instant now, NodeId to, bool ok, Index index) { impl_->snapshot_sent(now, to, ok, index); }
void Core::unreachable(NodeId peer) { impl_->unreachable(peer); }
void Core::set_may_vote(bool may) { impl_->set_may_vote(may); }
void Core::set_may_lead(bool may) { impl_->set_may_lead(may); }
void Core::set_passed_over(std::set<NodeId> ids) { impl_->set_passed_over(std::move(ids)); }
void Core::set_replication_floor(Index floor) { impl_->set_replication_floor(floor); }
void Core::set_serving(bool serving) { impl_->set_serving(serving); }
Ready Core::take_ready() { return impl_->take_ready(); }
bool Core::has_ready() const { return impl_->has_ready(); }
Status Core::status() const { return impl_->status(); }
Role Core::role() const { return impl_->role(); }
NodeId Core::leader() const { return impl_->leader(); }
Term Core::term() const { return impl_->term(); }
const Membership& Core::membership() const { return impl_->membership(); }
LogPoint Core::last() const { return impl_->last(); }
Result<std::vector<Entry>> Core::read(Index from, Index to, std::size_t max_bytes) const {
  return impl_->read(from, to, max_bytes);
}
Index Core::durable() const { return impl_->durable(); }
Index Core::commit() const { return impl_->commit(); }

}  // namespace leeward::raft
