// What a leader does: paper 5.3 and 5.4.2; dissertation 3.10 (transfer), 4
// (membership), 10.2.1 (writing to its disk in parallel), 10.2.2 (pipelining).
#include <algorithm>

#include "base/check.h"
#include "raft/impl.h"
#include "raft/quorum.h"

namespace leeward::raft {

Progress* Core::Impl::peer(NodeId id) {
  auto* leader = std::get_if<Leader>(&role_);
  if (!leader) return nullptr;
  const auto found = leader->peers.find(id);
  return found == leader->peers.end() ? nullptr : &found->second;
}

bool Core::Impl::leader_ready() const {
  const auto* leader = std::get_if<Leader>(&role_);
  return leader && commit_ >= leader->term_start;
}

Result<Index> Core::Impl::propose(Instant now, std::span<const Proposal> proposals) {
  advance(now);
  auto* leader = std::get_if<Leader>(&role_);
  if (!leader) return Error{Code::kUnavailable, "this member is not the leader; ask member " +
                                                    std::to_string(this->leader().value())};
  LEEWARD_TRY(check_proposals(*leader, proposals));
  std::vector<Entry> entries;
  entries.reserve(proposals.size());
  Position position = log_.last().position;
  for (const Proposal& proposal : proposals) {
    Entry entry;
    entry.kind = proposal.kind;
    entry.payload = proposal.payload;
    entry.envelope = proposal.envelope;
    if (is_history(proposal.kind)) {
      entry.epoch = proposal.epoch;
      entry.writes = proposal.writes;
      position = extend(position, entry.epoch, entry.kind, entry.writes, entry.payload.view());
    } else if (leaps(entry.kind)) {
      const auto leap = decode_leap(entry.payload.view());
      if (!leap) return Error{Code::kInvalid, leap.error().message};
      const bool adopts = entry.kind == EntryKind::kAdopt;
      const bool other = leap->position.index == position.index && leap->position != position;
      if (other || (adopts ? leap->position.index < position.index : leap->position.index > position.index))
        return Error{Code::kInvalid, std::string(adopts ? "an Adopt leads nowhere back" : "a Follow leads nowhere forward") +
                                         ": the log stands at history position " + std::to_string(position.index.value())};
      position = leap->position;
    }
    if (proposal.expected && *proposal.expected != position) {
      return Error{Code::kInvalid, "a proposal expects history position " +
                                       std::to_string(proposal.expected->index.value()) + " and would get " +
                                       std::to_string(position.index.value()) + " or another hash"};
    }
    entry.position = position;
    entries.push_back(std::move(entry));
  }
  const Index first = log_.last().index + 1;
  for (Entry& entry : entries) append_own(std::move(entry));
  return first;
}

Result<void> Core::Impl::check_proposals(const Leader& leader, std::span<const Proposal> proposals) const {
  if (proposals.empty()) return Error{Code::kInvalid, "nothing is proposed"};
  if (leader.transfer) return Error{Code::kUnavailable, "leadership is being transferred"};
  std::size_t bytes = 0;
  bool changes = false;
  for (const Proposal& proposal : proposals) {
    bytes += sizeof(Entry) + proposal.payload.size() + proposal.envelope.size();
    if (proposal.kind == EntryKind::kRegroup) return Error{Code::kInvalid, "a Regroup is nobody's to propose"};
    if (proposal.kind != EntryKind::kMembership) continue;
    if (changes || members_.changed_at() > commit_) {
      return Error{Code::kExists, "a membership change is under way; wait until it is committed"};
    }
    // Without an entry of its own term a leader may not know the last change
    // (the flaw found in single-server changes in 2015).
    if (!leader_ready()) return Error{Code::kUnavailable, "the leader has not committed an entry of its term yet"};
    auto to = decode_membership(proposal.payload.view());
    if (!to) return Error{Code::kInvalid, to.error().message};
    LEEWARD_TRY(check_change(membership(), *to));
    changes = true;
  }
  // One batch always fits into an empty log tail.
  if (leader.uncommitted_bytes > 0 && leader.uncommitted_bytes + bytes > options_.max_uncommitted_bytes) {
    return Error{Code::kOverloaded, "too much of the log is not committed yet"};
  }
  return {};
}

void Core::Impl::append_own(Entry entry) {
  const Index index = log_.last().index + 1;
  entry.term = term_;
  entry.index = index;
  std::optional<Membership> change;
  if (entry.kind == EntryKind::kMembership) change = *decode_membership(entry.payload.view());
  note_uncommitted(index, weight(entry));
  log_.append(std::move(entry));
  if (change) {
    forget_demoted(*change);
    members_.append(index, std::move(*change));
    reconcile_peers();
  }
  work_ = true;
}

void Core::Impl::note_uncommitted(Index index, std::size_t bytes) {
  Leader& leader = leading();
  leader.uncommitted.push_back({index, bytes});
  leader.uncommitted_bytes += bytes;
}

// A voter becomes a learner at once, not by a joint step, when its storage is gone:
// what its former life had acknowledged says nothing of it, and is not believed.
void Core::Impl::forget_demoted(const Membership& to) {
  Leader& leader = leading();
  if (membership().joint()) return;
  for (auto& [id, progress] : leader.peers) {
    if (!membership().is_voter(id) || to.is_voter(id)) continue;
    const Index next = progress.next();
    progress = Progress(next, now_);
    progress.become_probe(next, leader.append_sequence);
  }
}

// Keeps what is known of those that stay.
void Core::Impl::reconcile_peers() {
  Leader& leader = leading();
  const Membership& m = membership();
  std::erase_if(leader.peers, [&](const auto& p) { return !m.contains(p.first); });
  for (const auto* ids : {&m.voters, &m.outgoing, &m.learners, &m.learners_next}) {
    for (NodeId id : *ids) {
      if (id != options_.id) leader.peers.try_emplace(id, log_.last().index + 1, now_);
    }
  }
}

void Core::Impl::on_append_reply(const Message& m) {
  Progress* progress = peer(m.from);
  if (!progress) return;
  progress->heard(now_);
  work_ = true;
  if (progress->stale(m.context)) return;
  if (m.reject) return back_up(*progress, m);
  if (m.index > log_.last().index) return;  // malformed
  progress->acknowledged(m.index);
  leave_snapshot(*progress, progress->match());
  advance_commit();
  try_transfer();
}

// Skips what cannot match: all of this log above the follower's hint with a
// term higher than the hint's (paper 5.3, the optimisation it leaves out).
void Core::Impl::back_up(Progress& progress, const Message& m) {
  Leader& leader = leading();
  const std::uint64_t sequence = leader.append_sequence;
  if (m.hint < progress.match()) return progress.lost_log(m.hint, sequence);
  const Index meeting = log_.find_meeting(std::min(m.hint, m.index), m.hint_term, progress.match());
  progress.become_probe(meeting + 1, sequence);
}

void Core::Impl::on_heartbeat_reply(const Message& m) {
  Progress* progress = peer(m.from);
  if (!progress || m.context > leading().round) return;
  progress->heard(now_);
  progress->round_acknowledged(m.context, now_.time_since_epoch() - Duration(static_cast<std::int64_t>(m.context)));
  const auto interval = static_cast<std::uint64_t>(options_.heartbeat_interval.count());
  progress->resume(m.context, interval);
  work_ = true;
  progress->holds(m.index, Instant(Duration(static_cast<std::int64_t>(m.context))));
  if (m.index < progress->match()) {
    progress->lost_log(m.index, leading().append_sequence);
  } else {
    leave_snapshot(*progress, m.commit);
    if (progress->stalled(m.context, interval)) ask(m.from, *progress);
  }
  confirm_reads();
}

// What a follower must hold to be sent log.
Index Core::Impl::replication_base() const { return std::max(log_.base().index, replication_floor_); }

// A follower that waits for a snapshot has come by what it needed.
void Core::Impl::leave_snapshot(Progress& progress, Index holds) {
  if (progress.state() != Progress::State::kSnapshot || holds < replication_base()) return;
  progress.become_probe(std::max(holds, progress.match()) + 1, leading().append_sequence);
}

// Nothing was acknowledged for a while: an empty append at the end of what was
// sent. If that was lost it is rejected, and sent again from there; a follower
// that is only slow gets nothing twice.
void Core::Impl::ask(NodeId to, Progress& progress) {
  if (const auto end = log_.point(progress.next() - 1)) return send(append_after(*end, to));
  // Released meanwhile: probing leads to a snapshot.
  progress.become_probe(progress.match() + 1, leading().append_sequence);
}

Message Core::Impl::append_after(const LogPoint& before, NodeId to) {
  Message m = message(MessageType::kAppend, to);
  m.index = before.index;
  m.log_term = before.term;
  m.log_hash = before.position.hash;
  m.commit = commit_;
  m.context = leading().append_sequence++;
  return m;
}

void Core::Impl::on_snapshot_reply(const Message& m) { snapshot_sent(now_, m.from, !m.reject, m.index); }

void Core::Impl::snapshot_sent(Instant now, NodeId to, bool ok, Index index) {
  advance(now);
  Progress* progress = peer(to);
  if (!progress || progress->state() != Progress::State::kSnapshot || index > log_.last().index) return;
  if (ok) progress->acknowledged(index);
  progress->become_probe(progress->match() + 1, leading().append_sequence);
  if (!ok) progress->pause(leading().round);  // until it answers a heartbeat
  work_ = true;
  advance_commit();
}

void Core::Impl::unreachable(NodeId id) {
  Progress* progress = peer(id);
  if (!progress || progress->state() == Progress::State::kSnapshot) return;
  progress->become_probe(progress->match() + 1, leading().append_sequence);
  progress->pause(leading().round);
}

// Sends what each follower may get now; where there is nothing to send, news of
// the commit index.
void Core::Impl::replicate() {
  Leader& leader = leading();
  for (auto& [id, progress] : leader.peers) {
    while (progress.can_send(options_.max_inflight_bytes) && send_append(id, progress)) {
    }
    const Index commit = std::min(commit_, progress.match());
    if (commit <= progress.told_commit()) continue;
    Message m = message(MessageType::kHeartbeat, id);
    m.commit = commit;
    m.heard_serving = serving_ && leader_ready();
    progress.tell_commit(commit);
    send(std::move(m));
  }
}

bool Core::Impl::send_append(NodeId to, Progress& progress) {
  const Index last = log_.last().index;
  if (progress.state() == Progress::State::kReplicate && progress.next() > last) return false;
  if (progress.next() <= replication_floor_) return need_snapshot(to, progress), false;
  const auto before = log_.point(progress.next() - 1);
  if (!before) return need_snapshot(to, progress), false;
  Message m = append_after(*before, to);
  std::size_t bytes = 0;
  if (progress.next() <= last) {
    auto entries = log_.read(progress.next(), last + 1, options_.max_append_bytes);
    // Released meanwhile, or unreadable: a snapshot has it, too.
    if (!entries) return need_snapshot(to, progress), false;
    m.entries = std::move(*entries);
  }
  for (const Entry& entry : m.entries) bytes += weight(entry);
  const Index end = m.index + m.entries.size();
  progress.sent(end, bytes, leading().round);
  progress.tell_commit(std::max(progress.told_commit(), std::min(commit_, end)));
  send(std::move(m));
  return true;
}

void Core::Impl::need_snapshot(NodeId to, Progress& progress) {
  if (progress.heard() + options_.election_timeout <= now_) return progress.pause(leading().round);  // nobody to send it to
  progress.become_snapshot();
  snapshots_.push_back({to, replication_base()});
}

// One round: who answers says that it followed this leader after the round was
// sent. Returns the round's number.
std::uint64_t Core::Impl::send_heartbeats() {
  Leader& leader = leading();
  const auto now = static_cast<std::uint64_t>(std::max<std::int64_t>(now_.time_since_epoch().count(), 0));
  leader.round = std::max(leader.round + 1, now);
  heard_serving_ = heard_serving_ || (serving_ && leader_ready());
  for (auto& [id, progress] : leader.peers) {
    Message m = message(MessageType::kHeartbeat, id);
    m.commit = std::min(commit_, progress.match());
    m.context = leader.round;
    m.heard_serving = serving_ && leader_ready();
    progress.tell_commit(std::max(progress.told_commit(), m.commit));
    send(std::move(m));
  }
  return leader.round;
}

// A majority's lowest durable index, the own disk being one of them. An entry
// of an older term is committed only by one of this term above it (figure 8).
void Core::Impl::advance_commit() {
  Leader& leader = leading();
  auto durable = [&](NodeId id) {
    if (id == options_.id) return log_.stable();
    const auto found = leader.peers.find(id);
    return found == leader.peers.end() ? Index() : found->second.match();
  };
  const Index reached = majority(membership(), durable, Index(UINT64_MAX));
  if (reached <= commit_ || reached < leader.term_start) return;
  LEEWARD_CHECK(log_.term(reached) == term_, "entries from the term's first on are of this term");
  set_commit(reached);
  while (!leader.uncommitted.empty() && leader.uncommitted.front().index <= commit_) {
    leader.uncommitted_bytes -= leader.uncommitted.front().bytes;
    leader.uncommitted.pop_front();
  }
  leave_when_removed();
}

// The entry that removed this leader from the voters is committed: the others
// know it, and go on without it (dissertation 4.2.2).
void Core::Impl::leave_when_removed() {
  if (membership().is_voter(options_.id) || members_.changed_at() > commit_) return;
  step_down(now_);
}

Result<void> Core::Impl::transfer_leadership(Instant now, NodeId to) {
  advance(now);
  auto* leader = std::get_if<Leader>(&role_);
  if (!leader) return Error{Code::kUnavailable, "this member is not the leader"};
  if (!to) to = best_successor();
  if (!to) return Error{Code::kNotFound, "no other voter answers"};
  if (!membership().contains(to)) return Error{Code::kNotFound, "the target is not a member of this group"};
  if (to == options_.id) return Error{Code::kInvalid, "the target is the leader already"};
  if (!membership().voters.contains(to)) return Error{Code::kInvalid, "the target is not a voter"};
  if (leader->transfer && leader->transfer->to == to) return {};
  leader->transfer = Transfer{to, now_ + options_.election_timeout, false};
  work_ = true;
  try_transfer();
  // What was sent to it may be lost: better to know now than at a heartbeat.
  if (!leader->transfer->sent && peer(to)->state() == Progress::State::kReplicate) ask(to, *peer(to));
  return {};
}

void Core::Impl::try_transfer() {
  auto* leader = std::get_if<Leader>(&role_);
  if (!leader || !leader->transfer || leader->transfer->sent) return;
  const Progress* target = peer(leader->transfer->to);
  if (!target || target->match() < log_.last().index) return;
  leader->transfer->sent = true;
  send_timeout_now(leader->transfer->to);
}

void Core::Impl::send_timeout_now(NodeId to) {
  leading().lease_void = true;
  send(message(MessageType::kTimeoutNow, to));
}

// The voter that is heard and holds most of the log; 0 when there is none.
NodeId Core::Impl::best_successor() const {
  NodeId best;
  Index most;
  for (const auto& [id, progress] : std::get<Leader>(role_).peers) {
    const bool alive = progress.heard() + options_.election_timeout > now_;
    if (!alive || !membership().voters.contains(id) || passed_over_.contains(id) || (best && progress.match() <= most)) continue;
    best = id;
    most = progress.match();
  }
  return best;
}

void Core::Impl::step_down(Instant now) {
  advance(now);
  if (!std::holds_alternative<Leader>(role_)) return;
  send_heartbeats();  // the commit index, for the last time
  if (const NodeId successor = best_successor()) send_timeout_now(successor);
  become_follower(term_, {});
}

// When a majority was last heard; in a group of one, always now.
Instant Core::Impl::quorum_heard() const {
  const auto& leader = std::get<Leader>(role_);
  auto heard = [&](NodeId id) {
    const auto found = leader.peers.find(id);
    return found == leader.peers.end() ? now_ : found->second.heard();
  };
  return majority(membership(), heard, now_);
}

void Core::Impl::tick_leader() {
  Leader& leader = leading();
  if (quorum_heard() + options_.election_timeout <= now_) return become_follower(term_, {});
  if (leader.transfer && leader.transfer->deadline <= now_) leader.transfer.reset();
  if (leader.heartbeat_at > now_) return;
  leader.heartbeat_at = now_ + options_.heartbeat_interval;
  send_heartbeats();
  work_ = true;
}

}  // namespace leeward::raft
