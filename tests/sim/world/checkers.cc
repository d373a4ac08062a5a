#include "world/checkers.h"

#include <algorithm>

#include "base/command.h"
#include "node/group_state.h"

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

// Which history stands at a position does not depend on who is asked.
void Checkers::share(NodeId node, const Position& position, std::optional<Hash> payload) {
  const auto [it, fresh] = history_.emplace(position.index, Shared{position, payload});
  if (fresh) return;
  auto& shared = it->second;
  if (shared.position != position)
    report("I2: node " + text(node) + " has another history at history index " + text(position.index));
  if (payload && shared.payload && *payload != *shared.payload)
    report("I2: node " + text(node) + " has another entry at history index " + text(position.index));
  if (!shared.payload) shared.payload = payload;
}

void Checkers::check_chain(NodeId node, std::span<const Entry> entries) {
  std::optional<Position> before;
  for (const auto& e : entries) {
    const bool moves = is_history(e.kind);
    if (!before)
      if (const auto it = history_.find(moves ? HistoryIndex(e.position.index.value() - 1) : e.position.index); it != history_.end())
        before = it->second.position;
    if (before && e.kind != EntryKind::kFollow && !chains(*before, e))
      report("I2: node " + text(node) + " applied an entry at " + text(e.index) + " that does not chain on the one before");
    before = e.position;
  }
}

void Checkers::ahead(NodeId node, const char* what, HistoryIndex index) {
  if (index <= primary_committed_) return;
  report("a standby, node " + text(node) + ", " + what + " history index " + text(index) +
         ", the primary has committed up to " + text(primary_committed_));
}

void Checkers::stands(GroupRole group, NodeId node, const Position& committed, const Position& last, Instant now) {
  share(node, committed, std::nullopt);
  if (group == GroupRole::kPrimary) {
    if (committed.index <= primary_committed_) return;
    committed_at_.emplace(committed.index, now);  // and all from the one before on
    primary_committed_ = committed.index;
    return;
  }
  ahead(node, "has committed", committed.index);
  ahead(node, "holds", last.index);
  if (const auto it = history_.find(last.index); it != history_.end() && it->second.position != last)
    report("I2: the log of node " + text(node) + " ends in another history at history index " + text(last.index));
}

void Checkers::lag(NodeId node, HistoryIndex held, const Lag& told, Instant now, double drift) {
  const auto missing = committed_at_.upper_bound(held);
  const double age = missing == committed_at_.end() ? 0 : to_s(now - missing->second);
  constexpr double kRounding = 1e-6;
  if (told.high && age > to_s(*told.high) / (1 - drift) + kRounding)
    report("node " + text(node) + " says that it lags by " + std::to_string(to_s(*told.high)) +
           " s at most, and lacks what was committed " + std::to_string(age) + " s ago");
  if (told.low && age < to_s(*told.low) / (1 + drift) - kRounding)
    report("node " + text(node) + " says that it lags by " + std::to_string(to_s(*told.low)) +
           " s at least, and the oldest that it lacks was committed " + std::to_string(age) + " s ago");
}

void Checkers::fold(GroupRole group, NodeId node, const Entry& entry) {
  auto& g = groups_[group];
  if (entry.kind == EntryKind::kBootstrap && !g.regions.control().group) {
    const auto made = node::decode_group_state(entry.payload.view());
    if (!made.ok()) return report("node " + text(node) + " applied a bootstrap that does not parse");
    g.regions = region::State(made->control, {}, g.regions.end());
  }
  if (entry.kind == EntryKind::kAdopt) {
    ++adoptions_;
    // The state that is taken over holds what the history says up to there.
    for (auto it = about_regions_.upper_bound(g.regions.end().index);
         it != about_regions_.end() && it->first <= entry.position.index; ++it)
      if (const auto folded = g.regions.fold(it->second); !folded.ok()) report("I1: " + folded.error().message);
  }
  const auto origin = group == GroupRole::kPrimary ? region::State::Origin::kOwn : region::State::Origin::kReceived;
  const auto judged = g.regions.judge(origin, entry.kind, entry.epoch, entry.payload.view());
  if (!judged.ok())
    report("I1: node " + text(node) + " applied entry " + text(entry.index) + ", which may not stand there: " +
           judged.error().message);
  if (const auto folded = g.regions.fold(entry); !folded.ok())
    report("I1: node " + text(node) + " applied entry " + text(entry.index) + ": " + folded.error().message);
  if (is_history(entry.kind) && entry.kind != EntryKind::kWrites && group == GroupRole::kPrimary) {
    about_regions_.emplace(entry.position.index, entry);
    check_armed(group, entry);
  }
}

// By hand, beside region::State: no second arming while one counts.
void Checkers::check_armed(GroupRole group, const Entry& entry) {
  if (entry.kind == EntryKind::kDisarmed || entry.kind == EntryKind::kEpochChange) in_force_.reset();
  if (entry.kind == EntryKind::kArmed) {
    if (in_force_) report("I1: two armings of one epoch, the second at history index " + text(entry.position.index));
    in_force_ = groups_[group].regions.armed_group();
  }
  int armed = 0;
  for (const auto& [role, g] : groups_) armed += g.regions.armed() ? 1 : 0;
  if (armed > 1) report("I1: two groups are armed at once");
}

std::optional<region::Armed> Checkers::armed() const { return in_force_; }

void Checkers::regions_at_rest(GroupRole group, NodeId node, const StateMachine& state) {
  const auto kept = region::State::history_of(state.region_entries());
  if (!kept.ok()) return report("node " + text(node) + " keeps entries about regions that do not parse");
  if (*kept != groups_[group].regions.history())
    report("I1: the state of node " + text(node) + " says something else about the regions than its group's log");
}

void Checkers::applied(GroupRole group, NodeId node, std::span<const Entry> entries, const StateMachine& machine) {
  auto& g = groups_[group];
  const auto state = machine.applied();
  check_chain(node, entries);
  for (const auto& e : entries) {
    if (is_history(e.kind) || e.kind == EntryKind::kAdopt)
      share(node, e.position, is_history(e.kind) ? std::optional(digest(e)) : std::nullopt);
    if (group != GroupRole::kPrimary) ahead(node, "applied", e.position.index);
    if (e.index >= g.next) g.to_fold.emplace(e.index, e);
    // A later Adopt releases from an earlier one: nobody need have applied what
    // lies between.
    if (e.kind == EntryKind::kAdopt && e.index > g.next) g.next = e.index;
  }
  g.to_fold.erase(g.to_fold.begin(), g.to_fold.lower_bound(g.next));
  for (auto it = g.to_fold.find(g.next); it != g.to_fold.end(); it = g.to_fold.find(g.next)) {
    fold(group, node, it->second);
    g.to_fold.erase(it);
    g.next = g.next + 1;
  }
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
  const auto [it, fresh] = states_.emplace(position.index, StateAt{position.hash, state.state_hash, group});
  if (fresh) return;
  if (it->second.position != position.hash)
    report("I2: node " + text(node) + " has another chain hash at position " + text(position.index));
  else if (it->second.state != state.state_hash)
    report("I4: node " + text(node) + " has another state at position " + text(position.index));
  if (position.index != HistoryIndex() && it->second.group != group) ++compared_across_;
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
  seen(told.key, told.value, mod_revision);
  highest_ = std::max(highest_, told.revision);
}

void Checkers::seen(const std::string& key, const std::string& value, Revision mod_revision) {
  if (mod_revision == Revision()) return;
  const auto [it, fresh] = contents_.emplace(mod_revision, std::pair{key, value});
  if (!fresh && it->second != std::pair{key, value})
    report("I8: a read finds other contents at revision " + text(mod_revision));
}

}  // namespace leeward::sim
