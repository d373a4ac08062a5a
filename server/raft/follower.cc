// What a follower does with its leader's messages: paper 5.3, and the chain
// hash by which two logs are compared beyond index and term.
#include <algorithm>

#include "base/check.h"
#include "raft/impl.h"

namespace leeward::raft {

// The sender leads this term: elections rest.
Follower& Core::Impl::follow(const Message& m) {
  LEEWARD_CHECK(!std::holds_alternative<Leader>(role_), "two leaders in one term");
  auto* follower = std::get_if<Follower>(&role_);
  LEEWARD_CHECK(!follower || !follower->leader || follower->leader == m.from, "two leaders in one term");
  if (!follower || !follower->leader) {
    become_follower(term_, m.from);
    follower = &std::get<Follower>(role_);
  }
  follower->campaign_at = election_deadline();
  heard_leader_ = now_;
  return *follower;
}

void Core::Impl::on_append(Message& m) {
  follow(m);
  Message reply = message(MessageType::kAppendReply, m.from);
  reply.context = m.context;
  if (m.index < commit_) {
    // An old append. All that is committed here is in the leader's log.
    reply.index = commit_;
    return send_durable(std::move(reply));
  }
  if (log_.term(m.index) != m.log_term || m.index > log_.last().index) return reject_append(m);
  if (!check_meeting(m)) return;
  const Index meets = m.index + m.entries.size();
  const Index commit = m.commit;
  if (!accept_entries(m)) return;
  set_commit(std::min(commit, meets));
  reply.index = meets;
  send_durable(std::move(reply));
}

// Equal index and term, another history: one of the two logs is corrupt. It is
// not answered; the leader's appends stop at their window.
bool Core::Impl::check_meeting(const Message& m) {
  const auto here = log_.point(m.index);
  if (here && here->position.hash == m.log_hash) return true;
  report_fault("entry " + std::to_string(m.index.value()) + " of term " + std::to_string(m.log_term.value()) +
               " has chain hash " + (here ? here->position.hash.hex() : "?") + " here and " + m.log_hash.hex() +
               " at leader " + std::to_string(m.from.value()) + "; verify the storage of both");
  return false;
}

// All entries are checked before one is taken. Those that are here already stay
// (paper 5.3: an old append must not cut off what a newer one brought); the
// first that differs by term cuts the rest.
bool Core::Impl::accept_entries(Message& m) {
  Position before = log_.point(m.index)->position;
  Term term = m.log_term;
  std::size_t present = 0;
  bool conflict = false;
  for (std::size_t i = 0; i < m.entries.size(); ++i) {
    const Entry& entry = m.entries[i];
    if (entry.index != m.index + (i + 1) || entry.term < term || entry.term > m.term) return false;  // malformed
    conflict = conflict || log_.term(entry.index) != entry.term || entry.index > log_.last().index;
    const bool sound = conflict ? chains(before, entry) : log_.point(entry.index)->position == entry.position;
    if (!sound) {
      report_fault("entry " + std::to_string(entry.index.value()) + " from leader " + std::to_string(m.from.value()) +
                   " does not chain on the log; verify the storage of both");
      return false;
    }
    if (brings_membership(entry.kind) && !membership_in(entry)) return false;
    if (!conflict) ++present;
    before = entry.position;
    term = entry.term;
  }
  if (present == m.entries.size()) return true;
  const Index first = m.entries[present].index;
  if (first <= log_.last().index) {
    LEEWARD_CHECK(first > commit_, "a leader contradicts a committed entry");
    log_.truncate(first);
    members_.truncate(first);
  }
  for (std::size_t i = present; i < m.entries.size(); ++i) append_from_leader(std::move(m.entries[i]));
  return true;
}

void Core::Impl::append_from_leader(Entry entry) {
  if (brings_membership(entry.kind)) {
    members_.append(entry.index, *membership_in(entry));
  }
  log_.append(std::move(entry));
}

// Says where the logs could meet: the highest entry whose term is not above
// that of the leader's (as etcd does; the leader skips back the same way).
void Core::Impl::reject_append(const Message& m) {
  Message reply = message(MessageType::kAppendReply, m.from);
  reply.reject = true;
  reply.context = m.context;
  reply.index = m.index;
  reply.hint = log_.find_meeting(m.index, m.log_term, commit_);
  reply.hint_term = log_.term(reply.hint);
  send(std::move(reply));  // promises nothing, so it waits for no disk
}

void Core::Impl::on_heartbeat(const Message& m) {
  follow(m);
  heard_serving_ = heard_serving_ || m.heard_serving;
  // The leader names no more than what it knows to be here.
  set_commit(std::min(m.commit, log_.last().index));
  if (m.context == 0) return;  // only news of the commit index
  Message reply = message(MessageType::kHeartbeatReply, m.from);
  reply.context = m.context;
  reply.index = log_.last().index;
  reply.commit = commit_;
  send(std::move(reply));
}

// The node transfers the snapshot; the core says when it is not needed any more.
void Core::Impl::on_snapshot_offer(const Message& m) {
  follow(m);
  if (commit_ < m.index) return;
  Message reply = message(MessageType::kSnapshotReply, m.from);
  reply.index = commit_;
  send_durable(std::move(reply));
}

}  // namespace leeward::raft
