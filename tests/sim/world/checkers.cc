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

// Nothing tells an old primary yet that its epoch is over: what it acknowledges
// meanwhile is lost with it, and held against its own epoch only.
Epoch epoch_of(Revision r) { return Epoch(static_cast<std::uint64_t>(std::max<std::int64_t>(r.value() / region::kRevisionsOfAnEpoch, 1))); }

bool same_epoch(Revision a, Revision b) { return epoch_of(a) == epoch_of(b); }

Hash digest(const Entry& e) { return sha256(e.payload.view()); }

Epoch epoch_of_adopt(const Entry& e) {
  const auto leap = decode_leap(e.payload.view());
  const auto manifest = leap.ok() ? decode_manifest(leap->rest) : Result<Manifest>(leap.error());
  return manifest.ok() ? manifest->state.epoch : Epoch();
}

}  // namespace

void Checkers::leader(GroupRole group, const node::Member& member) {
  auto& g = groups_[group];
  const auto [it, fresh] = g.leaders.emplace(member.term(), member.self());
  if (it->second != member.self())
    report("I1: nodes " + text(it->second) + " and " + text(member.self()) + " both lead term " + text(member.term()));
  // One that was paused with its votes on the way may be elected when a later term has committed already.
  if (!fresh || g.committed.empty() || g.leaders.rbegin()->first > member.term()) return;
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

Checkers::Branch& Checkers::branch(region::PromotionId tip, HistoryIndex index) {
  auto* b = &branches_[tip];
  while (tip != 0 && index <= b->fork) b = &branches_[tip = b->before];
  return *b;
}

region::PromotionId Checkers::tip(GroupRole group, Index index) {
  const auto& branches = groups_[group].branches;
  const auto after = branches.upper_bound(index);
  return after == branches.begin() ? 0 : std::prev(after)->second;
}

void Checkers::begin_branches(GroupRole group, NodeId node, std::span<const Entry> entries) {
  for (const auto& e : entries) {
    if (e.kind == EntryKind::kFollow) {  // on the branch that its common position is on
      auto on = tip(group, Index(e.index.value() - 1));
      while (on != 0 && e.position.index <= branches_[on].fork) on = branches_[on].before;
      groups_[group].branches[e.index] = on;
    }
    if (e.kind == EntryKind::kAdopt) {  // it may lead over epochs
      const auto epoch = epoch_of_adopt(e);
      groups_[group].branches.emplace(e.index, tip(group, e.index));
      // Where a group of survivors went on from there with another log than the lost had, what follows is theirs.
      bool survivors = false;
      for (const auto& [promotion, b] : branches_) {
        if (b.epoch != epoch || (survivors && !b.parted)) continue;
        const auto& entries = branch(promotion, e.position.index).entries;
        const auto held = entries.find(e.position.index);
        if (held == entries.end() || held->second.position != e.position) continue;
        groups_[group].branches[e.index] = promotion;
        survivors |= b.parted;
      }
    }
    if (const auto theirs = parted_at(e)) groups_[group].branches.emplace(e.index, *theirs);
    if (e.kind != EntryKind::kEpochChange) continue;
    const auto change = region::decode_epoch_change(e.payload.view());
    if (!change.ok()) return report("node " + text(node) + " applied an EpochChange that does not parse");
    const auto on = tip(group, Index(e.index.value() - 1));
    groups_[group].branches[e.index] = change->promotion;
    if (const auto known = branches_.find(change->promotion); known != branches_.end()) {
      if (known->second.fork != change->fork.index || known->second.epoch != change->epoch)
        report("I2: node " + text(node) + " applied another EpochChange of promotion " + std::to_string(change->promotion));
      continue;
    }
    const bool forced = change->ending == region::Ending::kForced;
    for (const auto& [promotion, b] : branches_) {
      if (b.epoch != change->epoch) continue;
      if (b.forced && forced) contested_ = true;
      if (!b.forced && !forced)
        report("I1: epoch " + text(change->epoch) + " begins twice, unforced: node " + text(node) + " applied promotion " +
               std::to_string(change->promotion));
    }
    Branch begun;
    begun.before = on;
    while (begun.before != 0 && change->fork.index <= branches_[begun.before].fork) begun.before = branches_[begun.before].before;
    begun.fork = begun.committed = change->fork.index;
    begun.epoch = change->epoch;
    begun.forced = forced;
    for (const auto& [role, g] : groups_) {
      if (g.regions.control().group != change->group && !g.became.contains(change->group)) continue;
      begun.writer = role;
      if (g.became.contains(change->group)) give_up_beyond(role, begun.epoch);
      if (const auto beyond = g.committed_beyond.find(begun.fork); beyond != g.committed_beyond.end()) begun.committed = beyond->second;
    }
    const auto& b = branches_.emplace(change->promotion, std::move(begun)).first->second;
    if (b.committed > b.fork) commit_before(b);
  }
}

// Two epochs that one group began, one right behind the other, are committed in one step.
void Checkers::commit_before(const Branch& b) {
  for (auto* after = &b; after != &branches_[0];) {
    auto& before = branches_[after->before];
    if (before.writer == b.writer) before.committed = std::max(before.committed, after->fork);
    after = &before;
  }
}

// The lost had begun a newer epoch than the survivors, who had not heard of it: no gap of revisions tells what went with it.
void Checkers::give_up_beyond(GroupRole group, Epoch epoch) {
  for (const auto& [promotion, b] : branches_)
    if (b.writer == group && b.epoch > epoch)
      std::erase_if(puts_, [&](const Told& told) { return epoch_of(told.revision) == b.epoch; });
}

std::optional<std::pair<Index, HistoryIndex>> Checkers::unapplied_change(GroupRole group, NodeId node, const LogView& log) {
  auto& seen = seen_[node];
  const auto base = log.base(), last = log.last();
  const auto cut = [&] {
    if (seen.upto < base.index || seen.upto > last.index) return true;
    const auto point = log.point(seen.upto);
    return point.ok() && point->term != seen.term;
  };
  if (cut()) seen = {base.index, base.term, {}};
  while (seen.upto < last.index) {
    const auto entries = log.read(seen.upto + 1, last.index + 1, 1_MiB);
    if (!entries.ok() || entries->empty()) break;  // its end is checked when it is read
    for (const auto& e : *entries) {
      if (e.kind == EntryKind::kEpochChange) seen.forks[e.index] = HistoryIndex(e.position.index.value() - 1);
      if (e.kind == EntryKind::kFollow) seen.forks[e.index] = e.position.index;
      if (parted_at(e)) seen.forks[e.index] = HistoryIndex(e.position.index.value() - 1);
      if (e.kind != EntryKind::kAdopt || epoch_of_adopt(e) == branches_[tip(group, e.index)].epoch) continue;
      if (const auto before = log.point(Index(e.index.value() - 1)); before.ok()) seen.forks[e.index] = before->position.index;
    }
    seen.upto = entries->back().index;
    seen.term = entries->back().term;
  }
  const auto& applied = groups_[group].branches;
  for (const auto& change : seen.forks)
    if (!applied.contains(change.first) && !groups_[group].leapt_over(change.first)) return change;
  return std::nullopt;
}

// Which history stands at a position does not depend on who is asked.
void Checkers::share(NodeId node, region::PromotionId tip, const Position& position, std::optional<Hash> payload) {
  const auto [it, fresh] = branch(tip, position.index).entries.emplace(position.index, Shared{position, payload});
  if (fresh) return;
  auto& shared = it->second;
  if (shared.position != position)
    report("I2: node " + text(node) + " has another history at history index " + text(position.index));
  if (payload && shared.payload && *payload != *shared.payload)
    report("I2: node " + text(node) + " has another entry at history index " + text(position.index));
  if (!shared.payload) shared.payload = payload;
}

void Checkers::check_chain(GroupRole group, NodeId node, std::span<const Entry> entries) {
  std::optional<Position> before;
  for (const auto& e : entries) {
    if (!before) {
      const auto index = is_history(e.kind) ? HistoryIndex(e.position.index.value() - 1) : e.position.index;
      const auto& known = branch(tip(group, e.index), index).entries;
      if (const auto it = known.find(index); it != known.end()) before = it->second.position;
    }
    if (before && e.kind != EntryKind::kFollow && !chains(*before, e))
      report("I2: node " + text(node) + " applied an entry at " + text(e.index) + " that does not chain on the one before");
    before = e.position;
  }
}

void Checkers::ahead(GroupRole group, NodeId node, const char* what, region::PromotionId tip, HistoryIndex index) {
  const auto& b = branch(tip, index);
  if (b.writer == group || index <= b.committed) return;
  report("a standby, node " + text(node) + ", " + what + " history index " + text(index) +
         ", the primary has committed up to " + text(b.committed));
}

void Checkers::stands(GroupRole group, NodeId node, const LogPoint& committed, const LogView& log, Instant now) {
  const auto change = unapplied_change(group, node, log);
  // What lies behind an EpochChange that nobody has applied is looked at when somebody has.
  // Where nobody applied what lies between, a Follow perhaps, its branch is not known.
  const auto& leaps = groups_[group];
  if (leaps.leapt_over(committed.index) || leaps.leapt_over(log.last().index)) return;
  const bool known = !change || committed.index < change->first;
  const auto on = tip(group, committed.index);
  auto& b = branch(on, committed.position.index);
  if (known && (b.writer == group || committed.index <= log.last().index)) {
    share(node, on, committed.position, std::nullopt);
    ahead(group, node, "has committed", on, committed.position.index);
  }
  if (!known) {  // who follows may apply it before anybody of that group
    auto& beyond = groups_[group].committed_beyond[change->second];
    beyond = std::max(beyond, committed.position.index);
  }
  if (known && b.writer == group && committed.position.index > b.committed) {
    b.committed_at.emplace(committed.position.index, now);  // and all from the one before on
    b.committed = committed.position.index;
    commit_before(b);
  }
  const auto last = log.last();
  const auto end = tip(group, last.index);
  if (change) return ahead(group, node, "ends an epoch at", end, change->second);
  ahead(group, node, "holds", end, last.position.index);
  const auto& entries = branch(end, last.position.index).entries;
  if (branch(end, last.position.index).writer == group) return;
  if (const auto it = entries.find(last.position.index); it != entries.end() && it->second.position != last.position)
    report("I2: the log of node " + text(node) + " ends in another history at history index " + text(last.position.index));
}

void Checkers::diverges(GroupRole group, const LogPoint& behind, const std::optional<Position>& first) {
  Branch theirs;
  theirs.before = tip(group, behind.index);
  theirs.fork = theirs.committed = behind.position.index;
  theirs.epoch = branches_[theirs.before].epoch;
  theirs.forced = theirs.parted = true;
  theirs.first = first;
  theirs.writer = group;
  theirs.in_force = branches_[theirs.before].in_force;
  const auto id = region::PromotionId(behind.index.value()) << 32 | 1;
  branches_.emplace(id, std::move(theirs));
  groups_[group].branches[behind.index + 1] = id;
}

std::optional<region::PromotionId> Checkers::parted_at(const Entry& entry) const {
  if (!is_history(entry.kind)) return std::nullopt;
  for (const auto& [promotion, b] : branches_)
    if (b.first == entry.position) return promotion;
  return std::nullopt;
}

// What the lost refused for certain, because their group had gone on without it, may stand in a survivor's log.
void Checkers::forgive_refusals(const LogView& log, Index after, Index upto) {
  for (auto from = after + 1; from <= upto;) {
    const auto entries = log.read(from, upto + 1, 1_MiB);
    if (!entries.ok() || entries->empty()) return;  // its end is checked when it is read
    for (const auto& e : *entries) {
      if (e.kind != EntryKind::kWrites) continue;
      const auto commands = decode_payload(e.payload.view(), e.writes);
      if (!commands.ok()) return;  // said when it is applied
      for (const auto& c : *commands) refused_.erase(sha256(c.request));
    }
    from = entries->back().index + 1;
  }
}

void Checkers::regroups(GroupRole group, NodeId node, const LogView& log, const StateMachine& state) {
  auto& g = groups_[group];
  auto& from = g.log_checked[node];
  from = std::clamp(from, log.base().index, log.last().index);
  while (from < log.last().index) {
    const auto entries = log.read(from + 1, log.last().index + 1, 1_MiB);
    if (!entries.ok() || entries->empty()) return;  // its end is checked when it is read
    for (const auto& e : *entries) {
      if (e.kind != EntryKind::kRegroup || !g.regrouped.emplace(e.index, e.term).second) continue;
      const auto parts = decode_regroup(e.payload.view());
      const auto become = parts.ok() ? region::decode_regrouped(parts->group) : parts.error();
      if (!become.ok()) return report("node " + text(node) + " holds a Regroup that does not parse");
      g.became.insert(become->group);
      begin_group(group, node, log, e.index, state);
    }
    from = entries->back().index;
  }
}

// What is in this log counts from here on, whatever the lost had committed.
void Checkers::begin_group(GroupRole group, NodeId node, const LogView& log, Index regroup, const StateMachine& state) {
  auto& g = groups_[group];
  const auto applied = state.applied().point;
  const auto change = unapplied_change(group, node, log);  // what is behind one is of a branch of its own
  auto other = regroup;  // the first entry that is not what the group had committed
  std::optional<std::pair<LogPoint, Position>> parts;  // the last one before another history, and the first of that
  for (auto at = log.base().index + 1; at <= regroup; at = at + 1) {
    const auto before = log.point(Index(at.value() - 1)), point = log.point(at);
    if (!before.ok() || !point.ok()) return report("node " + text(node) + " does not read its log at " + text(at));
    const auto held = g.committed.find(at);
    if (other == regroup && held != g.committed.end() && (held->second.term != point->term || held->second.position != point->position.hash)) other = at;
    if (parts || at <= applied.index || (change && at >= change->first) || point->position.index != before->position.index + 1) continue;
    const auto& shared = branch(tip(group, at), point->position.index).entries;
    const auto known = shared.find(point->position.index);
    if (known != shared.end() && known->second.position != point->position) parts.emplace(*before, point->position);
  }
  g.committed.erase(g.committed.lower_bound(other), g.committed.end());
  g.entries.erase(g.entries.lower_bound({other, Term()}), g.entries.end());
  g.branches.erase(g.branches.lower_bound(other), g.branches.end());
  g.leaders.clear();
  g.committed_beyond.clear();
  std::erase_if(g.leapt, [&](const auto& over) { return over.second >= other; });
  const auto made = node::decode_group_state(state.group_state());
  auto kept = region::State::history_of(state.region_entries());
  if (!made.ok() || !kept.ok()) return report("node " + text(node) + " keeps a group state that does not parse");
  if (applied.index >= other) return report("I2: node " + text(node) + " had applied " + text(applied.index) + ", which the group had not committed");
  g.regions = region::State(made->control, std::move(*kept), applied.position);
  g.next = applied.index + 1;
  g.to_fold.clear();
  g.epoch = Epoch();
  auto& now = branch(tip(group, applied.index), applied.position.index);
  for (auto& [promotion, b] : branches_)  // what stands behind there is folded again
    if (b.writer == group && (&b == &now || b.fork >= applied.position.index)) b.in_force.reset();
  if (now.writer == group) now.in_force = g.regions.armed_group();
  forgive_refusals(log, applied.index, regroup);
  if (parts) {
    parted_ = true;
    diverges(group, parts->first, parts->second);
    const auto revision = state.applied().revision;
    std::erase_if(puts_, [&](const Told& told) { return told.revision > revision; });
    contents_.erase(contents_.upper_bound(revision), contents_.end());
  }
}

void Checkers::lag(GroupRole group, NodeId node, const LogPoint& held, const Lag& told, Instant now, double drift) {
  const auto& on = branch(tip(group, held.index), held.position.index);
  // It cannot be compared with what the primary committed: what it holds or lacks is not what its survivors went on with.
  const auto went_on = [&](const auto& at) {
    const Branch& b = at.second;
    return b.writer == on.writer && b.forced && &branches_[b.before] == &on && b.fork < held.position.index;
  };
  if (on.parted || std::any_of(branches_.begin(), branches_.end(), went_on)) return;
  const auto& committed_at = on.committed_at;
  const auto missing = committed_at.upper_bound(held.position.index);
  const double age = missing == committed_at.end() ? 0 : to_s(now - missing->second);
  constexpr double kRounding = 1e-6;
  if (told.high && age > to_s(*told.high) / (1 - drift) + kRounding)
    report("node " + text(node) + " says that it lags by " + std::to_string(to_s(*told.high)) +
           " s at most, and lacks what was committed " + std::to_string(age) + " s ago");
  if (told.low && age < to_s(*told.low) / (1 + drift) - kRounding)
    report("node " + text(node) + " says that it lags by " + std::to_string(to_s(*told.low)) +
           " s at least, and the oldest that it lacks was committed " + std::to_string(age) + " s ago");
}

// What the history says up to there, from its beginning.
region::State::History Checkers::history_at(const GroupChecks& g, HistoryIndex index, region::PromotionId tip) {
  std::map<HistoryIndex, const Entry*> entries;
  for (auto upto = index;;) {
    const auto& b = branches_[tip];
    for (const auto& [at, e] : b.about_regions)
      if (at <= upto) entries.emplace(at, &e);
    if (tip == 0) break;
    upto = std::min(upto, b.fork);
    tip = b.before;
  }
  region::State state(g.regions.control(), {}, {});
  for (const auto& [at, e] : entries)
    if (const auto folded = state.fold(*e); !folded.ok()) report("I1: " + folded.error().message);
  return state.history();
}

void Checkers::fold(GroupRole group, NodeId node, const Entry& entry) {
  auto& g = groups_[group];
  if (entry.kind == EntryKind::kBootstrap && !g.regions.control().group) {
    const auto made = node::decode_group_state(entry.payload.view());
    if (!made.ok()) return report("node " + text(node) + " applied a bootstrap that does not parse");
    g.regions = region::State(made->control, {}, g.regions.end());
  }
  auto& b = branch(tip(group, entry.index), entry.position.index);
  // By hand, beside region::State. A group that follows another history may go back.
  if (entry.kind == EntryKind::kFollow) g.epoch = Epoch();
  if (is_history(entry.kind)) {
    if (entry.epoch < g.epoch)
      report("I1: node " + text(node) + " applied entry " + text(entry.index) + " of epoch " + text(entry.epoch) +
             " behind one of epoch " + text(g.epoch));
    g.epoch = entry.epoch;
  }
  const auto origin = g.regions.role() == GroupRole::kPrimary ? region::State::Origin::kOwn : region::State::Origin::kReceived;
  const auto judged = g.regions.judge(origin, entry.kind, entry.epoch, entry.payload.view());
  if (!judged.ok())
    report("I1: node " + text(node) + " applied entry " + text(entry.index) + ", which may not stand there: " +
           judged.error().message);
  if (const auto folded = g.regions.fold(entry); !folded.ok())
    report("I1: node " + text(node) + " applied entry " + text(entry.index) + ": " + folded.error().message);
  // The state that is taken over holds what the history says up to there.
  if (entry.kind == EntryKind::kAdopt) {
    ++adoptions_;
    g.regions = region::State(g.regions.control_in(epoch_of_adopt(entry)),
                              history_at(g, entry.position.index, tip(group, entry.index)), g.regions.end());
  }
  if (entry.kind == EntryKind::kFollow) g.regions = region::State(g.regions.control(), history_at(g, entry.position.index, tip(group, entry.index)), g.regions.end());
  if (!is_history(entry.kind) || entry.kind == EntryKind::kWrites || group != b.writer) return;
  b.about_regions.emplace(entry.position.index, entry);
  check_armed(b, group, entry);
}

// By hand, beside region::State: no second arming while one counts.
void Checkers::check_armed(Branch& b, GroupRole group, const Entry& entry) {
  if (entry.kind == EntryKind::kDisarmed) b.in_force.reset();
  if (entry.kind == EntryKind::kArmed) {
    if (b.in_force) report("I1: two armings of one epoch, the second at history index " + text(entry.position.index));
    b.in_force = groups_[group].regions.armed_group();
  }
  int armed = 0;
  for (const auto& [role, g] : groups_) armed += g.regions.armed() ? 1 : 0;
  if (armed > 1) report("I1: two groups are armed at once");
}

std::optional<region::Armed> Checkers::armed() {
  const Branch* newest = nullptr;
  for (const auto& [role, g] : groups_) {
    const auto& b = branches_[tip(role, Index(g.next.value() - 1))];
    if (b.writer == role && (!newest || newest->epoch < b.epoch)) newest = &b;
  }
  return newest ? newest->in_force : std::nullopt;
}

void Checkers::regions_at_rest(GroupRole group, NodeId node, const StateMachine& state) {
  const auto kept = region::State::history_of(state.region_entries());
  if (!kept.ok()) return report("node " + text(node) + " keeps entries about regions that do not parse");
  if (*kept != groups_[group].regions.history())
    report("I1: the state of node " + text(node) + " says something else about the regions than its group's log");
}

void Checkers::applied(GroupRole group, NodeId node, std::span<const Entry> entries, const StateMachine& machine) {
  auto& g = groups_[group];
  begin_branches(group, node, entries);
  check_chain(group, node, entries);
  for (const auto& e : entries) {
    const auto on = tip(group, e.index);
    if (is_history(e.kind) || e.kind == EntryKind::kAdopt)
      share(node, on, e.position, is_history(e.kind) ? std::optional(digest(e)) : std::nullopt);
    ahead(group, node, "applied", on, e.position.index);
    if (e.index >= g.next) g.to_fold.emplace(e.index, e);
    // An Adopt releases from an earlier leap: nobody need have applied what lies
    // between, a Follow perhaps.
    if (e.kind == EntryKind::kAdopt && e.index > g.next) {
      g.leapt.emplace_back(g.next, e.index);
      g.next = e.index;
      const auto made = node::decode_group_state(machine.group_state());
      if (!made.ok()) return report("node " + text(node) + " keeps a group state that does not parse");
      g.regions = region::State(made->control, g.regions.history(), g.regions.end());
      g.epoch = Epoch();
    }
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
  check_state(group, node, machine.applied());
}

void Checkers::check_state(GroupRole group, NodeId node, const AppliedState& state) {
  const auto& position = state.point.position;
  auto& states = branch(tip(group, state.point.index), position.index).states;
  const auto [it, fresh] = states.emplace(position.index, StateAt{position.hash, state.state_hash, group});
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
  if (told.revision <= told.before && same_epoch(told.revision, told.before))
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
  if (told.revision < told.before && same_epoch(told.revision, told.before))
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
