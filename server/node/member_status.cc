// What a member says of itself and has heard of others.
#include <algorithm>

#include "node/member.h"

namespace leeward::node {
namespace {

constexpr Duration kReportInterval = 500ms;
constexpr Duration kPublishInterval = 100ms;

// What a member said of itself too long ago stands for nothing any more: least
// of all that it may be promoted.
void unheard(MemberStatus& m) {
  m.healthy = false;
  m.state = MemberState::kDown;
  m.stream_connected = false;
  m.lag = {};
  const auto since = std::chrono::duration_cast<std::chrono::seconds>(*m.report_age).count();
  for (auto& check : m.eligibility) check = {check.check, false, "not heard for " + std::to_string(since) + " s"};
}

// A lag that was reported a moment ago may have grown since, or gone. At the
// primary, `end` is what is committed: what that member lacks of it.
void age(MemberStatus& m, const Position* end) {
  if (m.lag.high) *m.lag.high += *m.report_age;
  if (m.lag.low) m.lag.low = Duration(0);
  if (!end) return;
  const auto at_least = [](std::optional<std::uint64_t>& told, std::uint64_t there, std::uint64_t here) {
    if (told) told = std::max(*told, there > here ? there - here : 0);
  };
  at_least(m.lag.writes, end->writes, m.applied.position.writes);
  at_least(m.lag.entries, end->index.value(), m.applied.position.index.value());
  at_least(m.lag.bytes, end->bytes, m.applied.position.bytes);
}

}  // namespace

bool Member::admitted() const {
  const auto it = context_.group.admitted.find(self());
  return it != context_.group.admitted.end() && it->second == context_.incarnation;
}

// Before the log has been applied the superblock knows whose directory this is.
Lineage Member::own_lineage() const {
  return context_.group.started() ? context_.group.lineage : superblock_data_.lineage;
}

MemberState Member::member_state() const {
  if (context_.removed) return MemberState::kRemoved;
  if (!context_.core || context_.frozen || (!context_.group.started() && !context_.leader())) return running_ ? MemberState::kWaiting : MemberState::kStarting;
  if (standing_.is_isolated()) return MemberState::kIsolated;
  if (installing_ || leaping_ || snapshots_->receiving()) return MemberState::kSnapshot;
  switch (context_.core->role()) {
    case raft::Role::kLeader: return MemberState::kLeader;
    case raft::Role::kLearner: return MemberState::kLearner;
    case raft::Role::kFollower: return MemberState::kFollower;
    case raft::Role::kPreCandidate:
    case raft::Role::kCandidate: return MemberState::kCandidate;
  }
  return MemberState::kFollower;
}

// As everybody else who has applied as much knows them: what the log's end says besides may be taken back.
const raft::Membership& Member::known_members() const {
  return context_.group.started() ? context_.group.membership : membership();
}

MemberStatus Member::own_status() const {
  MemberStatus s;
  for (const auto& n : topology()) {
    if (n.id != self()) continue;
    s.name = n.name;
    s.region = n.region;
    s.zone = n.zone;
    s.peer_address = n.peer_address;
    s.client_url = n.client_url;
  }
  const auto applied = context_.state->applied();
  s.id = self();
  s.role = role();
  s.state = member_state();
  s.voter = !context_.removed && known_members().is_voter(self());
  s.admitted = admitted();
  s.healthy = !failed_ && !context_.removed && !standing_.is_isolated() && context_.core && context_.leader() && !disk_full() &&
              !context_.core->status().fault;
  s.report_age = Duration(0);
  s.term = term();
  s.leader = context_.leader();
  s.applied = applied.point;
  s.state_hash = applied.state_hash;
  s.durable = context_.state->durable();
  s.db_bytes = context_.state->db_bytes();
  s.db_bytes_in_use = context_.state->db_bytes_in_use();
  s.version = context_.options.version;
  s.paused = standing_.kind == Standing::Kind::kPaused;
  s.verifying = verification_running_;
  s.standing_reason = standing_reason();
  s.leaping = leaping_.has_value();
  s.lacks_state = leaping_ && leaping_->lacks_state;
  s.drill = drill_;
  s.ledger_entries = ledger_entries();
  s.newest_format = context_.options.newest_format;
  s.group = group();
  return s;
}

std::uint64_t Member::ledger_entries() const {
  std::uint64_t entries = 0;
  for (const auto& l : context_.group.control.ledgers) entries += l.to.index.value() - l.kept.index.value();
  return entries;
}

void Member::publish_status() {
  const auto now = context_.now();
  if (published_ && now - *published_ < kPublishInterval) return;
  published_ = now;
  auto status = std::make_shared<NodeStatus>();
  auto& s = *status;
  s.made = now;
  s.up = now - started_.value_or(now);
  s.lineage = own_lineage();
  s.cluster_name = context_.options.cluster_name;
  s.group = group();
  s.applied = context_.state->applied();
  s.epoch = s.applied.epoch;
  s.self = self();
  s.incarnation = context_.incarnation;
  s.admitted = admitted();
  s.role = role();
  s.contested = contested();
  if (const auto& c = region_log_->applied().control().contested) s.contested_by = c->promotion;
  else if (s.contested > Epoch()) s.contested_by = told_.promotion;
  s.newest_epoch = newest_epoch();
  s.serving_region = serving_region();
  s.state = member_state();
  s.waiting_for = waiting_for_;
  s.waits_for = waits_for_;
  if (context_.removed)
    s.waiting_for = "this member was removed from its group: leewardctl snapshot save FILE here keeps what it alone may hold; then empty its directories"
                    " and let it be added again (leewardctl member add), or stop it";
  if (s.waiting_for.empty() && cold_question() != 0) s.waiting_for = "the armed region to say that it was not promoted meanwhile";
  if (s.waiting_for.empty() && follows_cold())
    s.waiting_for = "its leader (node " + std::to_string(context_.leader().value()) + ") to serve: the region has started anew, and the"
                    " armed one is asked whether it was promoted meanwhile";
  s.start_wait = waits_cold();
  s.sealed = sealed();
  s.ledger_entries = ledger_entries();
  for (const auto& l : context_.group.control.ledgers) s.ledgers_complete &= l.complete();
  if (warrant_->required() && context_.is_leader())
    s.fencing.remaining = std::max(warrant_->valid_until().value_or(now) - now, Duration());
  if (s.waiting_for.empty() && !context_.leader()) s.waiting_for = bootstrap_->strangers();
  if (s.waiting_for.empty() && context_.core && !context_.group.started() && !context_.leader())
    s.waiting_for = "a leader, for the first entry of its group";
  if (s.waiting_for.empty() && context_.core && s.applied.point.index < opened_at_)
    s.waiting_for = "its log to be applied again: " + std::to_string(s.applied.point.index.value()) + " of " +
                    std::to_string(opened_at_.value());
  if (s.waiting_for.empty() && context_.core && context_.group.started() && !s.admitted)
    s.waiting_for = "to be admitted (leewardctl member admit " + std::to_string(self().value()) + ")";
  s.stopping = stopping_;
  s.format = context_.group.format;
  (leaping_ && !leaping_->manifest ? s.rewinding : s.adopting) = adoption();
  s.term = term();
  s.leader = context_.leader();
  s.last = last().index;
  s.leader_changes = leader_changes_;
  s.durable = context_.state->durable();
  s.proposals_pending = proposals_->pending();
  s.log_bytes = context_.log->bytes();
  s.disk_stall = wal_->stalled(now);
  s.disk_full = disk_full();
  s.over_quota.assign(context_.group.over_quota.begin(), context_.group.over_quota.end());
  const auto* checkpoint = snapshots_->newest();
  s.checkpoint_writes = s.applied.point.position.writes - (checkpoint ? checkpoint->state.point.position.writes : 0);
  s.topology_differs = context_.group.started() && list_hash("", context_.group.topology) != list_hash("", context_.options.nodes);
  s.rewindable = snapshots_->rewindable();
  s.drill = drill_;
  if (context_.core) {
    const auto raft = context_.core->status();
    s.leader_ready = raft.leader_ready;
    s.commit = raft.commit;
    s.fault = raft.fault.value_or("");
    s.apply_backlog = raft.commit - std::min(raft.commit, s.applied.point.index);
    for (const auto& p : raft.peers) s.peers.push_back({p.id, p.match, p.rtt, p.active});
  }
  auto own = own_status();
  std::map<NodeId, MemberStatus> members;
  for (const auto& n : topology()) {
    if (context_.removed) break;  // nobody speaks to it: it knows of nobody
    auto& m = members[n.id];
    m.id = n.id;
    m.name = n.name;
    m.region = n.region;
    m.zone = n.zone;
    m.peer_address = n.peer_address;
    m.client_url = n.client_url;
    m.role = n.role;
    m.voter = known_members().is_voter(n.id);
    const MemberStatus listed = m;
    const auto it = reports_.find(n.id);
    if (it == reports_.end()) continue;
    const bool own = context_.group.membership.contains(n.id);
    m = it->second.status;
    // Of its own group each member has applied who votes, and of all where they are.
    if (own) m.voter = context_.group.membership.is_voter(n.id);
    for (const auto text : {&MemberStatus::name, &MemberStatus::region, &MemberStatus::zone, &MemberStatus::client_url})
      if ((m.*text).empty()) m.*text = listed.*text;
    // Where it is looked for is what the group committed, whatever it last said of itself.
    if (!listed.peer_address.empty()) m.peer_address = listed.peer_address;
    m.report_age = now - it->second.at;
    if (!is_up(m))
      unheard(m);
    else
      age(m, role() == GroupRole::kPrimary && m.role != GroupRole::kPrimary ? &committed_.position : nullptr);
    if (m.state != MemberState::kDown) m.clock_offset = clocks_.of(n.id);
  }
  members[self()] = std::move(own);
  for (auto& [id, m] : members) s.members.push_back(std::move(m));
  if (extension_)
    for (auto& m : s.members)
      if (m.id == self()) extension_->extend(s, m);
  std::lock_guard lock(status_mutex_);
  status_ = std::move(status);
}

NodeStatus Member::status() const {
  std::shared_ptr<const NodeStatus> status;
  {
    std::lock_guard lock(status_mutex_);
    status = status_;
  }
  return *status;
}

void Member::send_reports() {
  const auto now = context_.now();
  if (reported_ && now - *reported_ < kReportInterval) return;
  reported_ = now;
  auto own = own_status();
  if (extension_) {
    NodeStatus node = status();
    extension_->extend(node, own);
  }
  const auto body = encode(Report{std::move(own), clocks_.report(context_.ports.clock.wall())});
  for (const auto& n : topology())
    if (n.id != self()) context_.send(n.id, Lane::kControl, FrameType::kReport, body);
}

}  // namespace leeward::node
