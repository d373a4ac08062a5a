#include "cluster.h"

#include <gtest/gtest.h>

namespace leeward::raft::test {

LogPoint MemoryLog::last() const {
  if (entries_.empty()) return base_;
  const Entry& e = entries_.back();
  return {e.index, e.term, e.position};
}

Result<std::vector<Entry>> MemoryLog::read(Index from, Index to, std::size_t max_bytes) const {
  ++reads;
  if (from <= base_.index) return Error{Code::kCompacted, "released"};
  if (from > last().index) return Error{Code::kNotFound, "beyond the end"};
  std::vector<Entry> found;
  std::size_t bytes = 0;
  for (Index i = from; i < to && i <= last().index; ++i) {
    const Entry& e = entries_[i - base_.index - 1];
    bytes += e.payload.size() + e.envelope.size();
    if (!found.empty() && bytes > max_bytes) break;
    found.push_back(e);
  }
  return found;
}

Result<LogPoint> MemoryLog::point(Index index) const {
  if (index == base_.index) return base_;
  if (index < base_.index) return Error{Code::kCompacted, "released"};
  if (index > last().index) return Error{Code::kNotFound, "beyond the end"};
  const Entry& e = entries_[index - base_.index - 1];
  return LogPoint{e.index, e.term, e.position};
}

void MemoryLog::append(const std::vector<Entry>& entries) {
  if (entries.empty()) return;
  const Index first = entries.front().index;
  EXPECT_GT(first, base_.index);
  EXPECT_LE(first, last().index + 1);
  while (last().index >= first) entries_.pop_back();
  EXPECT_TRUE(chains(last().position, entries.front()));
  for (const Entry& e : entries) entries_.push_back(e);
}

void MemoryLog::release(Index index) {
  while (!entries_.empty() && entries_.front().index <= index) {
    const Entry& e = entries_.front();
    base_ = {e.index, e.term, e.position};
    entries_.pop_front();
  }
}

void MemoryLog::reset(const LogPoint& point) {
  base_ = point;
  entries_.clear();
}

Member& Cluster::add(Options options, Membership membership) {
  Member& m = members_[options.id];
  m.options = options;
  m.first_membership = membership;
  m.applied.membership = membership;
  start(options.id, options.vote_wait);
  return m;
}

std::vector<NodeId> Cluster::ids() const {
  std::vector<NodeId> ids;
  for (const auto& [id, member] : members_) ids.push_back(id);
  return ids;
}

Instant Cluster::clock(NodeId id) {
  return Instant(Duration(static_cast<std::int64_t>(static_cast<double>(now_.time_since_epoch().count()) * at(id).clock_rate)));
}

void Cluster::start(NodeId id, bool vote_wait) {
  Member& m = at(id);
  m.options.vote_wait = vote_wait;
  m.suspended = false;
  m.core = std::make_unique<Core>(m.options, m.log, InitialState{m.hard_state, m.applied.membership, m.applied.point.index},
                                  clock(id));
}

void Cluster::crash(NodeId id) {
  Member& m = at(id);
  m.core.reset();
  m.writes.clear();
}

void Cluster::drain(NodeId id) {
  Member& m = at(id);
  while (m.core && !m.suspended) {
    if (!m.core->has_ready()) {
      if (m.disk_held || m.writes.empty()) return;
      sync_one(id);
      continue;
    }
    Ready ready = m.core->take_ready();
    if (ready.role_changed && observer_.role_changed) observer_.role_changed(id);
    send(ready.messages);
    if (!ready.entries.empty() && observer_.appended) observer_.appended(id, ready.entries);
    if (ready.token != 0) {
      m.writes.push_back({ready.token, std::move(ready.entries), ready.hard_state, std::move(ready.after_persist)});
    } else {
      EXPECT_TRUE(ready.entries.empty() && !ready.hard_state && ready.after_persist.empty());
    }
    apply(id, m, ready.committed);
    for (const ReadState& read : ready.reads) {
      if (observer_.read) observer_.read(id, read);
    }
    for (const auto& need : ready.snapshots) {
      if (observer_.snapshot_needed) observer_.snapshot_needed(id, need);
    }
  }
}

void Cluster::sync_one(NodeId id) {
  Member& m = at(id);
  if (m.writes.empty()) return;
  Member::Write write = std::move(m.writes.front());
  m.writes.pop_front();
  m.log.append(write.entries);
  if (write.hard_state) m.hard_state = *write.hard_state;
  send(write.after);
  m.core->persisted(clock(id), write.token);
}

void Cluster::apply(NodeId id, Member& m, std::vector<Entry>& committed) {
  for (const Entry& e : committed) {
    EXPECT_EQ(e.index, m.applied.point.index + 1);
    const auto stored = m.log.point(e.index);
    EXPECT_TRUE(stored.ok() && stored.value().term == e.term) << "applied before it was durable";
    m.applied.point = {e.index, e.term, e.position};
    if (e.kind == EntryKind::kMembership) m.applied.membership = *decode_membership(e.payload.view());
    m.history.push_back(e);
    if (observer_.applied) observer_.applied(id, e);
    m.core->applied(e.index);
  }
}

bool Cluster::install(NodeId id, const Snapshot& snapshot) {
  Member& m = at(id);
  // As a node does: what the disk still has to do comes first.
  while (!m.writes.empty()) sync_one(id);
  if (!m.core->wants_snapshot(snapshot.point)) return false;
  m.log.reset(snapshot.point);
  m.applied = snapshot;
  m.core->restored(clock(id), snapshot.point, snapshot.membership);
  return true;
}

void Cluster::send(std::vector<Message>& messages) {
  for (Message& message : messages) {
    if (observer_.sent) observer_.sent(message);
    network_.push_back(std::move(message));
  }
  messages.clear();
}

void Cluster::deliver(Message message) {
  const NodeId to = message.to;
  if (!up(to) || at(to).suspended) return;
  std::string frame;
  encode(message, frame);
  auto decoded = decode_message(Bytes(std::move(frame)));
  ASSERT_TRUE(decoded.ok());
  ASSERT_EQ(*decoded, message);
  at(to).core->step(clock(to), std::move(*decoded));
}

}  // namespace leeward::raft::test
