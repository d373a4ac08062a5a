// What the core wants done, in the order it states (raft/core.h, Ready).
#include <algorithm>

#include "base/check.h"
#include "base/codec.h"
#include "node/member.h"

namespace leeward::node {
namespace {

constexpr std::size_t kApplyBytes = 4_MiB;  // a turn
constexpr Duration kFullDiskRetry = 500ms;
constexpr Duration kAppendLost = 5s;

// The commands of a payload, without copying or parsing them.
template <class F>
void for_each_command(std::string_view payload, F&& f) {
  std::uint8_t op;
  std::string_view request;
  while (codec::get_u8(payload, op) && codec::get_bytes(payload, request)) f(static_cast<Op>(op), request);
}

// A varint field of a protobuf message; 0 when absent. Lease requests have no
// nested messages, so fields stand at the top.
std::uint64_t varint_field(std::string_view message, std::uint32_t field) {
  std::uint64_t tag, value;
  while (codec::get_varint(message, tag)) {
    if ((tag & 7) == 0) {
      if (!codec::get_varint(message, value)) return 0;
      if (tag >> 3 == field) return value;
    } else if ((tag & 7) == 2) {
      std::string_view skipped;
      if (!codec::get_bytes(message, skipped)) return 0;
    } else {
      return 0;
    }
  }
  return 0;
}

}  // namespace

void Member::handle_ready() {
  std::size_t bytes = 0;
  for (const auto& e : to_apply_) bytes += e.payload.size();
  // While something long is under way the core itself bounds what it hands out;
  // it must go on to vote and to replicate.
  while (context_.core->has_ready() && (bytes < kApplyBytes || leaping_ || held_since_ || staging_ || state_busy())) {
    auto ready = context_.core->take_ready();
    publish_gate();  // before any message tells a follower of a new commit
    if (ready.role_changed) role_changed();
    send_messages(ready.messages);
    if (context_.traces.any() && !ready.entries.empty())
      context_.traces.handed(ready.entries.back().index, ready.token, context_.now());
    if (ready.token != 0)
      wal_->submit({ready.token, std::move(ready.entries), ready.hard_state, std::move(ready.after_persist)});
    else
      send_messages(ready.after_persist);
    for (auto& e : ready.committed) {
      bytes += e.payload.size();
      committed_ = {e.index, e.term, e.position};
      to_apply_.push_back(std::move(e));
    }
    // Not when it is handed out: a leader's own disk may be the last of them.
    if (context_.traces.any()) context_.traces.committed(context_.core->commit(), context_.now());
    if (!ready.committed.empty())
      for (auto* o : observers_) o->committed(committed_.index);
    reads_->answered(ready.reads);
    for (const auto& need : ready.snapshots) snapshots_->offer(need.to, need.beyond);
  }
}

void Member::send_messages(std::vector<raft::Message>& messages) {
  for (const auto& m : messages) {
    // One at a time is timed: a sample of what the followers take.
    if (m.type == raft::MessageType::kAppend && !m.entries.empty()) {
      auto& timed = timed_appends_[m.to];
      if (timed.term != m.term || context_.now() - timed.at > kAppendLost)
        timed = {m.term, m.entries.back().index, context_.now()};
      if (context_.traces.any()) context_.traces.sent(m.to, m.entries.front().index, m.entries.back().index, context_.now());
    }
    std::string body;
    raft::encode(m, body);
    context_.send(m.to, Lane::kConsensus, FrameType::kRaft, std::move(body));
  }
}

void Member::persisted(std::uint64_t token, std::vector<raft::Message> after_persist) {
  if (failed_) return;
  if (context_.traces.any()) context_.traces.durable(token, context_.now());
  context_.core->persisted(context_.now(), token);
  if (context_.removed) return;
  send_messages(after_persist);
  wake();
}

// Writes go to the apply loop, one batch at a time: a single one may take seconds
// (a DeleteRange over a million keys), in which this loop beats, votes and
// replicates on. All other entries are applied in this turn, so that what they make
// of the group and of the state is never seen apart.
void Member::apply_committed() {
  while (!state_busy() && !leaping_ && !failed_ && !to_apply_.empty() && !winds_down()) {
    if (held_since_ && context_.now() < try_again_) return;
    // A leap that puts nothing aside is an entry like any other.
    auto at = context_.state->applied().point.position.index;
    const auto leap = std::find_if(to_apply_.begin(), to_apply_.end(), [&](const Entry& e) {
      return std::exchange(at, e.position.index) != e.position.index && leaps(e.kind);
    });
    if (leap == to_apply_.begin()) {
      if (staging_) return;  // it may need what a frozen member is not given
      return meet_leap();
    }
    const auto writes = [](const Entry& e) { return e.kind == EntryKind::kWrites; };
    std::size_t bytes = 0;
    const auto end = std::find_if(to_apply_.begin(), leap, [&, same = writes(to_apply_.front())](const Entry& e) {
      return writes(e) != same || std::exchange(bytes, bytes + e.payload.size()) >= kApplyBytes;
    });
    apply_next(static_cast<std::size_t>(end - to_apply_.begin()));
  }
  if (leaping_) wait_for_leap();
}

// What is committed stays in the log, for the next start or the next core.
bool Member::winds_down() const {
  const auto now = context_.now();
  return finishing_ || (stopping_ && now >= stop_deadline_) || (staging_ && (stopping_ || now >= staging_->gives_up));
}

void Member::apply_next(std::size_t count) {
  auto next = std::make_unique<Applying>();
  next->started = context_.now();
  const auto end = to_apply_.begin() + static_cast<std::ptrdiff_t>(count);
  next->entries.assign(std::make_move_iterator(to_apply_.begin()), std::make_move_iterator(end));
  to_apply_.erase(to_apply_.begin(), end);
  const bool writes = next->entries.front().kind == EntryKind::kWrites;
  const auto taken = std::find_if(next->entries.begin(), next->entries.end(), [this](const Entry& e) { return e.index > acted_on_; });
  apply_control(std::span(taken, next->entries.end()));
  if (failed_) return;
  if (!writes) acted_on_ = next->entries.back().index;
  proposals_->begin_apply(next->entries);
  context_.traces.begin_apply(next->entries);
  applying_ = std::move(next);
  // On the apply loop. Who asks for what stands still until this is back.
  const auto run = [this, state = context_.state->current(), batch = applying_.get()] {
    batch->end = state->apply(
        batch->entries, [this](std::size_t e, std::size_t c) { return proposals_->wanted(e, c) || context_.traces.wanted(e, c); },
        [&](std::size_t e, std::size_t c, CommandResult r) {
          if (context_.traces.wanted(e, c)) context_.traces.result(e, c, r.revision);
          if (proposals_->wanted(e, c)) batch->answers.push_back({e, c, std::move(r)});
        });
    batch->ended = context_.now();
  };
  if (!writes) {
    run();
    return applied();
  }
  context_.ports.apply.post([this, run] {
    run();
    context_.ports.core.post([this] {
      applied();
      turn();
    });
  });
}

void Member::applied() {
  const auto batch = std::move(applying_);
  if (failed_ || context_.removed) return;
  if (!batch->end.ok() && batch->end.error().code == Code::kNoSpace) {
    to_apply_.insert(to_apply_.begin(), std::make_move_iterator(batch->entries.begin()), std::make_move_iterator(batch->entries.end()));
    return hold_back(batch->end.error());
  }
  if (!batch->end.ok()) return fail(batch->end.error());
  held_since_.reset();
  const auto& last = batch->entries.back();
  context_.finished = {last.index, last.term, last.position};
  // Keep-alives that wait are answered behind this.
  if (const auto since = std::exchange(expiry_waits_, std::nullopt)) {
    extended_at_ = context_.now();
    lessor_->extend(extended_at_ - *since);
  }
  context_.probe.stage_apply.observe(batch->ended - batch->started);
  context_.traces.applied(batch->entries, batch->started, batch->ended, role() != GroupRole::kPrimary);
  for (auto& answer : batch->answers) proposals_->result(batch->entries, answer.entry, answer.command, std::move(answer.result));
  proposals_->applied_term(batch->entries.back().term);
  context_.core->applied(batch->entries.back().index);
  publish_gate();
  after_apply(batch->entries);
  if (sweep_waits_) sweep();
}

void Member::hold_back(const Error& error) {
  const auto now = context_.now();
  try_again_ = now + kFullDiskRetry;
  if (held_since_) return;
  held_since_ = now;
  context_.ports.log.warn("no space for the state; what is committed waits for it", {{"error", error.message}});
  give_reserve();
}

// The group's state after these entries, stored with them in one batch.
void Member::apply_control(std::span<const Entry> entries) {
  bool changed = false;
  const auto epoch_before = region_log_->applied().live_epoch();
  const bool before = context_.group.started();
  const auto role_before = role();
  for (const auto& e : entries) {
    if (auto judged = region_log_->apply(e); !judged.ok()) return fail(judged.error());
    if (const auto& control = region_log_->applied().control(); context_.group.started() && control != context_.group.control) {
      // An alarm is of the primary that raised it: what stands when the region serves
      // again was not looked at since. Its leader raises it again where it is true.
      if (control.role != context_.group.control.role) context_.group.over_quota.clear();
      context_.group.control = control;
      changed = true;
    }
    if (is_history(e.kind)) continue;
    const auto members = e.kind == EntryKind::kMembership ? context_.group.admitted : std::map<NodeId, Incarnation>();
    auto result = apply_to_group(e, context_.group);
    if (!result.ok()) return fail(result.error());
    changed |= *result;
    // Whoever was heard by an id that is added now was another life of it.
    if (e.kind == EntryKind::kMembership)
      for (const auto& [id, incarnation] : context_.group.admitted)
        if (!members.contains(id)) forget_lives(id);
    if (e.kind == EntryKind::kAdmit) forget_other_lives(e);
    if (e.kind == EntryKind::kAlarm && *result) {
      alarms_changed_at_ = context_.now();
      if (is_leader()) watch_quota();
    }
    if (e.kind == EntryKind::kBootstrap && *result) region_log_->begin(context_.group.control);
  }
  if (region_log_->applied().live_epoch() != epoch_before || !before) publish_seen();
  if (region_log_->applied().live_epoch() != epoch_before) reported_.reset();
  if (!changed) return;
  published_.reset();
  if (before && role() != role_before)
    context_.ports.log.warn("the group's role has changed", {{"before", name(role_before)}, {"role", name(role())},
                                                             {"epoch", region_log_->applied().group_epoch()}});
  if (role() != role_before) judge_serving();  // now: the gate is published next, and reads go by it
  // Who waits for a confirmation that none will give any more asks anew, where that leads.
  if (role() != role_before && !may_be_read()) reads_->end_asked(role_refusal());
  context_.state->set_group_state(encode(context_.group));
  update_may_vote();
  heed_regroup(entries.back().index);
  heed_format();
  if (before || !context_.group.started()) return;
  const auto& group = context_.group;
  context_.ports.log.info("the group has begun", {{"lineage", group.lineage.hex()}, {"group", group.control.group}});
  publish_cluster_id();
  change_superblock(
      [lineage = group.lineage, id = group.control.group](SuperblockData& data) {
        data.lineage = lineage;
        data.group = id;
      },
      [this](const Result<void>& written) {
        if (!written.ok() && written.error().code != Code::kNoSpace) fail(written.error());
      });
}

void Member::after_apply(std::span<const Entry> entries) {
  const bool leads = context_.is_leader() && role() == GroupRole::kPrimary;
  for (const auto& e : entries) {
    if (e.kind == EntryKind::kDiscarded) discarded_ = true;
    // A leader's first entry of its own term: from here on it knows every
    // lease that was ever granted.
    if (e.kind == EntryKind::kNoop && leads && e.term == context_.core->term())
      lessor_->lead(context_.now(), context_.state->leases());
    if (e.kind == EntryKind::kBootstrap && leads && !lessor_->leading())
      lessor_->lead(context_.now(), context_.state->leases());
    // In a new epoch every lease begins anew, in full.
    if (e.kind == EntryKind::kEpochChange && leads) lessor_->lead(context_.now(), context_.state->leases());
    if (e.kind == EntryKind::kWrites && lessor_->leading()) watch_lease_commands(e);
    if (e.kind == EntryKind::kSeal) proposals_->seal_applied();
    if (e.kind == EntryKind::kEpochChange && role() == GroupRole::kPrimary && !superseded()) proposals_->resume();
  }
  if (!leads) lessor_->follow();
  for (auto& w : until_applied_)
    for (const auto& e : entries)
      if (e.index == w.index) w.there = e.term;
  reads_->applied();
  for (auto* o : std::vector<GroupObserver*>(observers_)) o->applied(entries);
  if (!published_) publish_status();  // who asked for this change looks at once whether it is there
  // A new epoch is told at once: who served the last one lets its clients go by it.
  if (!reported_) send_reports();
}

void Member::watch_lease_commands(const Entry& entry) {
  for_each_command(entry.payload.view(), [this](Op op, std::string_view request) {
    if (op != Op::kLeaseGrant && op != Op::kLeaseRevoke) return;
    // LeaseGrantRequest.ID is field 2, LeaseRevokeRequest.ID field 1.
    const auto id = static_cast<std::int64_t>(varint_field(request, op == Op::kLeaseGrant ? 2 : 1));
    // The state is that after the whole batch: a lease that is there may have
    // been revoked and granted anew within it, and then it begins anew.
    const auto lease = context_.state->lease(id);
    if (op == Op::kLeaseRevoke || !lease) {
      lessor_->revoked(id);
    } else if (!lessor_->remaining(context_.now(), id)) {
      lessor_->granted(context_.now(), *lease);
    }
  });
}

void Member::role_changed() {
  const bool leader_now = context_.core->role() == raft::Role::kLeader;
  const auto leader = context_.core->leader();
  const auto term = context_.core->term();
  auto& log = context_.ports.log;
  if (leader != last_leader_) {
    if (last_leader_) proposals_->leader_lost();
    if (leader) ++leader_changes_;
    if (leader == self())
      log.info("was elected leader", {{"term", term}});
    else if (leader)
      log.info("follows a leader", {{"leader", leader}, {"term", term}, {"before", last_leader_}});
    else
      log.warn("has no leader", {{"term", term}, {"before", last_leader_}});
    last_leader_ = leader;
    reported_.reset();  // healthy is who knows a leader: the others are told at once
  }
  if (leader_now && !was_leader_) context_.probe.elections_won.add();
  if (!leader_now) lessor_->follow();
  if (!leader_now) context_.over_quota = false;  // whoever leads looks
  if (context_.core->role() == raft::Role::kCandidate) {
    context_.probe.elections_started.add();
    log.info("stands for election", {{"term", term}});
  }
  was_leader_ = leader_now;
  trace_election();
  for (auto* o : std::vector<GroupObserver*>(observers_)) o->role_changed();
}

// From when it stands until it knows a leader, over as many terms as that takes.
void Member::trace_election() {
  Tracer* tracer = context_.ports.tracer;
  if (tracer == nullptr) return;
  if (!election_since_ && context_.core->role() == raft::Role::kCandidate) election_since_ = context_.now();
  const NodeId leader = context_.core->leader();
  if (!election_since_ || !leader) return;
  Span span = root_span(*tracer, "election", *std::exchange(election_since_, std::nullopt), context_.now());
  span.with("leeward.term", static_cast<std::int64_t>(context_.core->term().value())).with("leeward.leader", static_cast<std::int64_t>(leader.value()));
  tracer->record(span);
}

// An id that nobody has filled yet may vote by its first start's right; one
// that another incarnation filled has forgotten what it voted.
void Member::update_may_vote() {
  bool may = membership().is_voter(self());
  if (context_.group.started()) {
    const auto it = context_.group.admitted.find(self());
    may = it == context_.group.admitted.end() || !it->second || it->second == context_.incarnation;
  }
  context_.core->set_may_vote(may);
}

void Member::publish_cluster_id() {
  std::uint64_t id = 0;
  for (int i = 0; i < 8; ++i) id = id << 8 | context_.group.lineage.bytes[i];
  cluster_id_.store(id, std::memory_order_relaxed);
}

void Member::publish_gate() {
  if (!context_.core) return;  // a frame that ends serving may come before there is one
  // Who is a member and what alarms stand is read like any key: what is confirmed
  // by this gate, or behind it, is not older than what it says is applied.
  if (!published_) publish_status();
  ReadGate gate;
  gate.applied = context_.applied().value();
  gate.commit = context_.core->commit().value();
  gate.term = context_.core->term().value();
  if (context_.serves && !sealed() && context_.group.started() && context_.core->lease_read(context_.now()))
    if (auto until = context_.core->status().lease_until) {
      // Of the two the one that ends first.
      if (warrant_->required()) until = std::min(*until, warrant_->valid_until().value_or(Instant{}));
      gate.lease_until = until->time_since_epoch().count();
    }
  gate_.publish(gate);
}

}  // namespace leeward::node
