#include "world/checkers.h"

#include "base/command.h"

namespace leeward::sim {
namespace {

template <class T>
std::string text(const T& v) {
  return std::to_string(v.value());
}

Hash digest(const Entry& e) { return sha256(e.payload.view()); }

}  // namespace

void Checkers::leader(GroupRole group, const node::Member& member) {
  auto& g = groups_[group];
  const auto [it, fresh] = g.leaders.emplace(member.term(), member.self());
  if (it->second != member.self())
    report("I1: nodes " + text(it->second) + " and " + text(member.self()) + " both lead term " + text(member.term()));
  if (!fresh || g.committed.empty()) return;
  const auto& [index, entry] = *g.committed.rbegin();
  const auto& log = member.log();
  if (member.last().index < index)
    return report("I3: the leader of term " + text(member.term()) + " ends at " + text(member.last().index) +
                  ", committed was " + text(index));
  if (index > log.last().index || index <= log.base().index) return;
  const auto point = log.point(index);
  if (point.ok() && (point->term != entry.term || point->position.hash != entry.position))
    report("I3: the leader of term " + text(member.term()) + " has another entry at " + text(index));
}

void Checkers::applied(GroupRole group, NodeId node, std::span<const Entry> entries, const AppliedState& state) {
  auto& g = groups_[group];
  for (const auto& e : entries) {
    const Committed c{e.term, e.position.hash, e.kind, digest(e)};
    const auto [it, fresh] = g.committed.emplace(e.index, c);
    if (!fresh && it->second != c)
      report("I2: node " + text(node) + " applied another entry at " + text(e.index) + ": term " + text(e.term) +
             ", before it was term " + text(it->second.term));
  }
  for (const auto& e : entries) {
    if (e.kind != EntryKind::kWrites) continue;
    auto commands = decode_payload(e.payload.view(), e.writes);
    if (!commands.ok()) return report("node " + text(node) + " applied a payload that does not parse");
    for (const auto& c : *commands) {
      const auto hash = sha256(c.request);
      requests_applied_.insert(hash);
      if (refused_.contains(hash)) report("node " + text(node) + " applied a write that was refused for certain");
    }
  }
  const auto& position = state.point.position;
  const auto [it, fresh] = states_.emplace(position.index, std::pair{position.hash, state.state_hash});
  if (!fresh && it->second.first != position.hash)
    report("I2: node " + text(node) + " has another chain hash at position " + text(position.index));
  else if (!fresh && it->second.second != state.state_hash)
    report("I4: node " + text(node) + " has another state at position " + text(position.index));
}

void Checkers::log(GroupRole group, NodeId node, const LogView& log) {
  auto& g = groups_[group];
  auto from = std::max(log.base().index + 1, Index(1));
  while (from <= log.last().index) {
    auto entries = log.read(from, log.last().index + 1, 4_MiB);
    if (!entries.ok()) return report("node " + text(node) + " cannot read its log: " + entries.error().message);
    if (entries->empty()) return;
    for (const auto& e : *entries) {
      const auto [it, fresh] = g.entries.emplace(std::pair{e.index, e.term}, e.position.hash);
      if (!fresh && it->second != e.position.hash)
        report("I2: node " + text(node) + " has another entry at " + text(e.index) + " of term " + text(e.term));
    }
    from = entries->back().index + 1;
  }
}

void Checkers::acknowledged_put(const Told& told) {
  if (told.revision <= told.before)
    report("a put of " + told.key + " got revision " + text(told.revision) + " after " + text(told.before) +
           " was acknowledged");
  const auto [it, fresh] = contents_.emplace(told.revision, std::pair{told.key, told.value});
  if (!fresh && it->second != std::pair{told.key, told.value})
    report("I8: revision " + text(told.revision) + " names " + it->second.first + " and " + told.key);
  highest_ = std::max(highest_, told.revision);
  puts_.push_back(told);
}

void Checkers::refused_put(const std::string& request) {
  const auto hash = sha256(request);
  refused_.insert(hash);
  if (requests_applied_.contains(hash)) report("a write was refused for certain and is applied");
}

void Checkers::acknowledged_read(const Told& told, Revision mod_revision) {
  if (told.revision < told.before)
    report("a stale read of " + told.key + ": revision " + text(told.revision) + " after " + text(told.before) +
           " was acknowledged");
  const auto it = contents_.find(mod_revision);
  if (it != contents_.end() && it->second != std::pair{told.key, told.value})
    report("I8: a read finds other contents at revision " + text(mod_revision));
  highest_ = std::max(highest_, told.revision);
}

}  // namespace leeward::sim
