#include "telemetry/metrics.h"

#include <limits>
#include <map>

#include "telemetry/etcd_names.h"
#include "telemetry/page.h"

namespace leeward::telemetry {
namespace {

using prometheus::MetricType;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr std::int64_t kRevisionsOfAnEpoch = std::int64_t{1} << 44;

// Of standby/README.md, "Eligible".
constexpr const char* kEligibilityChecks[] = {"armed", "quorum", "lag", "hash", "integrity",
                                              "disk", "version", "epoch", "isolated", "voter"};
constexpr GroupRole kRoles[] = {GroupRole::kUnknown, GroupRole::kPrimary, GroupRole::kStandby, GroupRole::kObserver,
                                GroupRole::kFenced};
constexpr MemberState kStates[] = {MemberState::kDown, MemberState::kStarting, MemberState::kFollower,
                                   MemberState::kCandidate, MemberState::kLeader, MemberState::kLearner,
                                   MemberState::kSnapshot, MemberState::kWaiting, MemberState::kIsolated,
                                   MemberState::kRemoved};

// Those that ports/status.h tells of each kind.
constexpr PromotionProgress kPromotionSteps[] = {
    {PromotionKind::kPromotion, PromotionStep::kSurvey},      {PromotionKind::kPromotion, PromotionStep::kCut},
    {PromotionKind::kPromotion, PromotionStep::kLease},       {PromotionKind::kPromotion, PromotionStep::kEpochChange},
    {PromotionKind::kSurvivors, PromotionStep::kSurvey},      {PromotionKind::kSurvivors, PromotionStep::kStage},
    {PromotionKind::kSurvivors, PromotionStep::kBegin},       {PromotionKind::kSurvivors, PromotionStep::kEpochChange},
    {PromotionKind::kSwitchover, PromotionStep::kSeal},       {PromotionKind::kSwitchover, PromotionStep::kStream},
    {PromotionKind::kSwitchover, PromotionStep::kEpochChange}};

double seconds_or_infinity(const std::optional<Duration>& d) { return d ? to_s(*d) : kInfinity; }
double count_or_infinity(const std::optional<std::uint64_t>& n) { return n ? static_cast<double>(*n) : kInfinity; }

std::string decimal(NodeId id) { return std::to_string(id.value()); }

const MemberStatus* self_of(const NodeStatus& status) {
  for (const MemberStatus& member : status.members)
    if (member.id == status.self) return &member;
  return nullptr;
}

const StandbyProbe& standby_probe(const MetricsSources& from) {
  static const StandbyProbe kNone;
  return from.standby ? *from.standby : kNone;
}

bool is_follower_region(const NodeStatus& s) { return s.role == GroupRole::kStandby || s.role == GroupRole::kObserver; }

void add_identity(Page& page, const MetricsSources& from, const NodeStatus& s) {
  page.gauge("build_info", "Version and source revision of this binary.")
      .sample(1.0, {{"version", from.version}, {"revision", from.revision}});
  page.gauge("node_info", "Id, zone and role of this node.")
      .sample(1.0, {{"node", decimal(s.self)}, {"zone", from.zone}, {"role", name(s.role)}});
  page.gauge("lineage_created_timestamp_seconds", "When the first cluster of this history began; 0: not yet.")
      .sample(s.lineage.known() ? std::chrono::duration<double>(s.lineage.created().time_since_epoch()).count() : 0.0);
  page.gauge("epoch", "Which group is primary, counted from 1.").sample(s.epoch.value());
  page.gauge("term_in_epoch", "Raft term of this node's group.").sample(s.term.value());
  page.gauge("is_leader", "1 when this node leads its group and may serve.").sample(s.state == MemberState::kLeader && s.leader_ready);
  page.gauge("has_leader", "1 when this node knows its group's leader.").sample(bool(s.leader));
  page.gauge("is_primary", "1 when this node's group is the primary.").sample(s.role == GroupRole::kPrimary);
  page.gauge("is_fenced", "1 when a newer epoch exists that this node's group is not part of.").sample(s.role == GroupRole::kFenced);
  page.gauge("dr_sealed", "1 while a Seal is open: writes wait for the end of a switchover.").sample(s.sealed);
  page.gauge("dr_start_wait_active", "1 while this member's leader waits, after a cold start, for the armed region's word.").sample(s.start_wait);
  page.gauge("member_removed", "1 when this node's group has removed it: it serves nobody any more.").sample(s.state == MemberState::kRemoved);
  page.gauge("member_admitted", "0 when this node came with empty storage and waits for member admit.").sample(s.admitted);
  std::map<std::pair<GroupRole, MemberState>, std::uint64_t> counts;
  for (const MemberStatus& member : s.members) ++counts[{member.role, member.state}];
  page.gauge("cluster_members", "Members of all regions by role and state, as this node last heard.");
  for (const GroupRole role : kRoles)
    for (const MemberState state : kStates)
      page.sample(counts[{role, state}], {{"role", name(role)}, {"status", name(state)}});

  const ProcessFigures process = process_figures();
  page.gauge("restart_pending", "1 when the installed binary is not the running one.").sample(process.binary_replaced);
  page.family(MetricType::Gauge, "process_start_time_seconds", "Start of the process since 1970.").sample(process.start_time_seconds);
  page.family(MetricType::Gauge, "process_resident_memory_bytes", "Resident memory.").sample(process.resident_bytes);
  page.family(MetricType::Gauge, "process_open_fds", "Open file descriptors.").sample(process.open_fds);
  page.family(MetricType::Gauge, "process_max_fds", "Limit of open file descriptors.").sample(process.max_fds);
}

void add_requests(Page& page, const MetricsSources& from, const NodeProbe& probe) {
  page.counter("rpc_requests_total", "Ended calls of the client port by method and gRPC code.");
  for (const RpcFigures& rpc : from.rpc) {
    for (std::size_t code = 0; code < std::size(kGrpcCodeNames); ++code)
      page.sample(code < rpc.requests.size() ? rpc.requests[code].get() : 0,
                  {{"method", std::string(rpc.method)}, {"code", kGrpcCodeNames[code]}});
    std::uint64_t other = 0;
    for (std::size_t code = std::size(kGrpcCodeNames); code < rpc.requests.size(); ++code) other += rpc.requests[code].get();
    page.sample(other, {{"method", std::string(rpc.method)}, {"code", "other"}});
  }
  page.histogram("rpc_duration_seconds", "Time of unary calls, from complete request to answer handed to the connection.");
  for (const RpcFigures& rpc : from.rpc) page.sample(rpc.duration, {{"method", std::string(rpc.method)}}, rpc.exemplars);
  page.counter("rpc_server_faults_total", "Calls that failed by the server's fault: what the availability objective counts.");
  for (const RpcFigures& rpc : from.rpc) page.sample(value_of(rpc.server_faults), {{"method", std::string(rpc.method)}});
  page.gauge("rpc_in_flight", "Unary calls being served.").sample(static_cast<double>(from.rpc_in_flight ? from.rpc_in_flight->get() : 0));
  page.gauge("connections", "Open connections by listener.");
  for (const NamedGauge& listener : from.connections)
    page.sample(static_cast<double>(listener.gauge->get()), {{"listener", std::string(listener.name)}});
  page.counter("rejected_total", "Requests refused by a bound, certainly not done, by reason.")
      .sample(probe.proposals_overloaded.get(), {{"reason", "overloaded"}});
  std::map<std::string_view, std::uint64_t> rejected;
  for (const NamedCounter& reason : from.rejected) rejected[reason.name] += value_of(reason.counter);
  for (const auto& [reason, count] : rejected) page.sample(count, {{"reason", std::string(reason)}});
  page.counter("slow_requests_total", "Requests over limits.slow_request.").sample(value_of(from.slow_requests));
}

std::uint64_t entries_behind(const NodeStatus& s, const MemberStatus& member) {
  for (const NodeStatus::Peer& peer : s.peers)
    if (peer.id == member.id) return s.last > peer.match ? s.last - peer.match : 0;
  return s.commit > member.applied.index ? s.commit - member.applied.index : 0;
}

void add_consensus(Page& page, const MetricsSources& from, const NodeStatus& s, const NodeProbe& probe) {
  page.counter("proposals_total", "Proposals by their end.")
      .sample(probe.proposals_committed.get(), {{"result", "committed"}})
      .sample(probe.proposals_refused.get(), {{"result", "refused"}})
      .sample(probe.proposals_unknown.get(), {{"result", "unknown"}})
      .sample(probe.proposals_overloaded.get(), {{"result", "overloaded"}});
  page.histogram("commit_duration_seconds", "From propose to applied, at the leader.").sample(&probe.commit_duration);
  const StandbyProbe& stream = standby_probe(from);
  page.histogram("stage_duration_seconds", "Time of a write in each stage.")
      .sample(&probe.stage_queue, {{"stage", "queue"}})
      .sample(&probe.stage_forward, {{"stage", "forward"}})
      .sample(&probe.stage_fsync, {{"stage", "fsync"}})
      .sample(&probe.stage_append, {{"stage", "append"}})
      .sample(&probe.stage_quorum, {{"stage", "quorum"}})
      .sample(&probe.stage_apply, {{"stage", "apply"}})
      .sample(from.stage_watch, {{"stage", "watch"}})
      .sample(&stream.stage_receive, {{"stage", "standby_receive"}})
      .sample(&stream.stage_fsync, {{"stage", "standby_fsync"}})
      .sample(&stream.stage_apply, {{"stage", "standby_apply"}});
  page.gauge("commit_index", "Highest committed index of this group's log known here.").sample(s.commit.value());
  page.gauge("applied_index", "Highest index applied to the state.").sample(s.applied.point.index.value());
  page.gauge("durable_index", "Highest index whose effect survives a crash without the log.").sample(s.durable.value());
  page.counter("leader_changes_total", "Leaders seen since the start.").sample(s.leader_changes);
  page.counter("elections_total", "Elections of this node by result.")
      .sample(probe.elections_started.get(), {{"result", "started"}})
      .sample(probe.elections_won.get(), {{"result", "won"}})
      .sample(probe.elections_lost.get(), {{"result", "lost"}});
  page.gauge("peer_lag_entries", "Entries a member of the same group is behind; +Inf when it was never heard.");
  const MemberStatus* self = self_of(s);
  for (const MemberStatus& member : s.members)
    if (self && member.id != s.self && member.region == self->region && member.role == self->role)
      page.sample(member.report_age ? static_cast<double>(entries_behind(s, member)) : kInfinity, {{"peer", decimal(member.id)}});
  page.gauge("clock_offset_seconds", "How far a node's clock is ahead of this one's, at least; nodes of both regions.");
  for (const MemberStatus& member : s.members)
    if (member.clock_offset) page.sample(to_s(*member.clock_offset), {{"peer", decimal(member.id)}});
  page.histogram("peer_rtt_seconds", "Round trip to a member of the same group.");
  for (const PeerHistogram& peer : from.peer_rtt) page.sample(peer.histogram, {{"peer", decimal(peer.peer)}});
}

void add_storage(Page& page, const MetricsSources& from, const NodeStatus& s, const NodeProbe& probe, const StateFigures& state) {
  page.histogram("wal_fsync_duration_seconds", "Time of one sync of the log.").sample(&probe.fsync_duration);
  page.counter("wal_bytes_total", "Bytes written to the log.").sample(probe.sync_bytes.get());
  page.gauge("wal_size_bytes", "Size of the log on disk.").sample(s.log_bytes);
  page.gauge("db_size_bytes", "Size of the state on disk.").sample(state.db_bytes);
  page.gauge("db_quota_bytes", "Limit of the state's size: beyond it the group takes nothing that needs room.").sample(from.quota_bytes);
  const std::vector<Volume> volumes = from.volumes ? from.volumes() : std::vector<Volume>{};
  page.gauge("disk_free_bytes", "Free space by volume.");
  for (const Volume& volume : volumes) page.sample(volume.free_bytes, {{"volume", std::string(volume.name)}});
  page.gauge("disk_total_bytes", "Size of the file system by volume.");
  for (const Volume& volume : volumes) page.sample(volume.total_bytes, {{"volume", std::string(volume.name)}});
  page.gauge("checkpoint_age_writes", "Writes applied since the newest checkpoint.").sample(s.checkpoint_writes);
  page.histogram("compaction_duration_seconds", "From a compaction until what it released is swept here.")
      .sample(&probe.compaction_duration);
  const StandbyProbe& stream = standby_probe(from);
  page.counter("corruption_detected_total", "Times data here was found not to be what it should, by what showed it.")
      .sample(stream.hash_different.get(), {{"kind", "state_hash"}})
      .sample(stream.chain_refused.get(), {{"kind", "stream"}})
      .sample(static_cast<std::uint64_t>(!s.fault.empty()), {{"kind", "log"}});
  page.gauge("alarm", "1 while the alarm is raised.")
      .sample(s.disk_full, {{"alarm", "nospace"}})
      .sample(!s.over_quota.empty(), {{"alarm", "quota"}})
      .sample(!s.fault.empty(), {{"alarm", "corrupt"}});
}

void add_mvcc(Page& page, const MetricsSources& from, const NodeStatus& s, const NodeProbe& probe, const StateFigures& state) {
  page.gauge("revision_in_epoch", "Revision without the epoch's part, which a double cannot hold.")
      .sample(static_cast<double>(s.applied.revision.value() % kRevisionsOfAnEpoch));
  page.gauge("compacted_revision_in_epoch", "Compacted revision, likewise.")
      .sample(static_cast<double>(s.applied.compacted.value() % kRevisionsOfAnEpoch));
  page.gauge("keys", "Live keys.").sample(state.keys);
  page.gauge("watchers", "Open watches.").sample(state.watchers);
  page.counter("watch_events_total", "Events sent to watchers.").sample(value_of(from.watch_events));
  page.gauge("watch_lag_events", "Events that watchers have not been sent yet; of one that catches up, revisions.")
      .sample(state.watch_backlog);
  page.gauge("leases", "Live leases.").sample(state.leases);
  page.counter("lease_expired_total", "Leases revoked because their time had run out.").sample(probe.leases_expired.get());
}

// A member of the primary is behind nobody; who is neither primary nor
// following does not know.
Lag own_lag(const NodeStatus& s, const MemberStatus* self) {
  if (s.role == GroupRole::kPrimary) return {.writes = 0, .entries = 0, .bytes = 0, .low = 0ns, .high = 0ns};
  return self && is_follower_region(s) ? self->lag : Lag{};
}

void add_standby(Page& page, const MetricsSources& from, const NodeStatus& s) {
  const MemberStatus* self = self_of(s);
  const Lag lag = own_lag(s, self);
  page.gauge("standby_lag_writes", "Writes this node is behind the primary.").sample(count_or_infinity(lag.writes));
  page.gauge("standby_lag_entries", "Entries this node is behind the primary.").sample(count_or_infinity(lag.entries));
  page.gauge("standby_lag_bytes", "Bytes this node is behind the primary.").sample(count_or_infinity(lag.bytes));
  page.gauge("standby_lag_seconds", "Interval that holds the time this node is behind the primary.")
      .sample(seconds_or_infinity(lag.low), {{"bound", "low"}})
      .sample(seconds_or_infinity(lag.high), {{"bound", "high"}});

  const bool follows = is_follower_region(s);
  std::map<std::string_view, bool> verdicts;
  bool eligible = follows && self && !self->eligibility.empty();
  if (self)
    for (const NamedCheck& check : self->eligibility) {
      verdicts[check.check] = check.ok;
      eligible = eligible && check.ok;
    }
  page.gauge("standby_promotion_eligible", "1 when every check of promotion eligibility passes here.").sample(eligible);
  page.gauge("standby_ineligible", "1 for each check that keeps this standby from being eligible.");
  for (const char* check : kEligibilityChecks) {
    const auto verdict = verdicts.find(check);
    page.sample(follows && (verdict == verdicts.end() || !verdict->second), {{"check", check}});
  }
  page.gauge("standby_group_quorum", "1 when this standby group has a leader.").sample(follows && bool(s.leader));
  page.gauge("standby_connected", "1 when the stream from the primary region is up.").sample(self && self->stream_connected);

  const StandbyProbe& probe = standby_probe(from);
  page.counter("standby_stream_bytes_total", "Bytes of the stream received.").sample(probe.wire_bytes_received.get());
  page.counter("standby_resyncs_total", "Times the stream began anew, by kind.")
      .sample(probe.reconnects.get(), {{"kind", "reconnect"}})
      .sample(probe.resyncs_needed.get(), {{"kind", "snapshot"}});
  page.counter("hash_comparisons_total", "State hashes compared with another region's.")
      .sample(probe.hash_equal.get(), {{"result", "equal"}})
      .sample(probe.hash_different.get(), {{"result", "different"}});

  const FollowerStatus* armed = nullptr;
  for (const FollowerStatus& region : s.followers)
    if (region.armed) armed = &region;
  page.gauge("source_lag_writes", "Writes a following region lacks, as this member of the primary knows; set is the armed one.")
      .sample(armed ? static_cast<double>(armed->lag_writes) : kInfinity, {{"standby", "set"}});
  for (const FollowerStatus& region : s.followers) page.sample(region.lag_writes, {{"standby", region.region}});
  page.gauge("source_lag_seconds", "Time since this member committed what the region lacks.")
      .sample(armed ? seconds_or_infinity(armed->lag) : kInfinity, {{"standby", "set"}});
  for (const FollowerStatus& region : s.followers) page.sample(seconds_or_infinity(region.lag), {{"standby", region.region}});
}

void add_recovery(Page& page, const MetricsSources& from, const NodeStatus& s, const NodeProbe& probe) {
  page.gauge("dr_primary_silence_seconds", "Time since the primary's leader answered; 0 at the primary.")
      .sample(s.role == GroupRole::kPrimary ? 0.0 : seconds_or_infinity(s.primary_silence));
  page.gauge("dr_max_lag_seconds", "The lag up to which a standby is eligible.").sample(to_s(from.max_lag));
  const RpoStatus rpo = s.rpo.value_or(RpoStatus{.budget = from.rpo_budget});
  page.gauge("dr_rpo_budget_seconds", "The lag that the RPO policy defends.").sample(to_s(rpo.budget));
  page.gauge("dr_rpo_policy_active", "1 for the RPO policy in force here; alert where none of the others is.");
  for (const RpoPolicy policy : {RpoPolicy::kAlert, RpoPolicy::kThrottle, RpoPolicy::kRefuse})
    page.sample(policy == rpo.active, {{"policy", name(policy)}});
  page.gauge("dr_rpo_policy_suspended", "1 while the configured RPO policy is not in force: no region is armed, or it does not move.")
      .sample(s.rpo && rpo.active != rpo.configured);
  page.gauge("dr_rpo_exceeded", "At the leader, 1 while the armed region lags by more than the budget, and a moment longer.")
      .sample(rpo.exceeded);
  page.gauge("dr_rpo_allowed_bytes_per_second", "At the leader, what the throttle lets pass; +Inf when it holds nothing back.")
      .sample(rpo.allowed.value_or(kInfinity));
  page.counter("dr_throttle_seconds_total", "Time in which client writes waited here for the RPO policy.")
      .sample(static_cast<double>(probe.gate_held_us.get()) * 1e-6);
  page.counter("dr_refused_writes_total", "Client writes that the RPO policy refused here, as leader.").sample(probe.gate_refused.get());
  page.gauge("dr_topology_differs", "1 when the member lists of this node's configuration are not those its group has stored.")
      .sample(s.topology_differs);
  // Which of them could be replayed only a comparison with the history that serves tells: leewardctl dr ledger show.
  page.gauge("dr_ledger_entries", "Entries that this group put aside when it followed another history, until they are discarded.")
      .sample(s.ledger_entries, {{"class", "kept"}});
  page.gauge("dr_ledger_complete", "0 when a ledger of this group lacks something of what it should hold.").sample(s.ledgers_complete);
  // 0 at the primary; where no answer of it is known, nobody can tell.
  const auto lost = [&](std::uint64_t KnownLoss::*figure) {
    return s.role == GroupRole::kPrimary ? 0.0 : s.known_loss ? static_cast<double>((*s.known_loss).*figure) : kInfinity;
  };
  page.gauge("dr_known_loss_writes", "Writes the primary told it had committed, to this member, and this member's group has not.").sample(lost(&KnownLoss::writes));
  page.gauge("dr_known_loss_entries", "Entries of the history, likewise.").sample(lost(&KnownLoss::entries));
  page.gauge("dr_known_loss_bytes", "Bytes of them, likewise.").sample(lost(&KnownLoss::bytes));
  page.gauge("dr_estimated_rto_seconds", "Until this armed group would serve if the primary were heard no more and its plan accepted at once: silence that is left, survey, lease wait, commits as measured here; +Inf elsewhere.")
      .sample(seconds_or_infinity(s.estimated_rto));
  page.gauge("dr_self_fence", "1 for the mode by which the armed region fences the primary; none while no region is armed.");
  for (const char* mode : {"contact", "lease"}) page.sample(s.fencing.mode == mode, {{"mode", mode}});
  page.gauge("dr_fence_lease_remaining_seconds", "In lease mode, at the primary's leader, for how long it may acknowledge; 0: it may not; +Inf elsewhere.")
      .sample(seconds_or_infinity(s.fencing.remaining));
  page.gauge("dr_promotion_in_progress", "1 for the step of a promotion, of survivors or of a switchover that this member carries out.");
  for (const PromotionProgress& step : kPromotionSteps)
    page.sample(s.promotion == step, {{"kind", name(step.kind)}, {"step", name(step.step)}});
  const PromotionProbe& promotions = standby_probe(from).promotions;
  page.counter("dr_promotions_total", "Promotions and switchovers that this member was asked for and carried out or refused, by their end.");
  for (const PromotionKind kind : PromotionProbe::kKinds)
    for (const PromotionResult result : PromotionProbe::kResults)
      page.sample(promotions.count(kind, result), {{"kind", name(kind)}, {"result", name(result)}});
  page.gauge("dr_last_promotion_duration_seconds", "How long the last one took that this process carried out; 0: none.")
      .sample(static_cast<double>(promotions.last_us.get()) * 1e-6);
  page.gauge("dr_contested", "1 while an epoch of this group is held by another one too: neither serves.").sample(s.contested > Epoch());
  page.gauge("dr_armed", "1 when a standby region may take over.").sample(!s.armed_region.empty());
  page.gauge("dr_last_drill_timestamp_seconds", "When a drill of the promotion passed last, in any region; 0: never.")
      .sample(static_cast<double>(s.drill.time_ms) / 1000);
  page.gauge("dr_last_drill_rto_seconds", "How long that drill took from asking for the promotion to the first write; 0: none passed.")
      .sample(static_cast<double>(s.drill.rto_us) / 1e6);
  page.gauge("rewindable", "0 when this member could return to what the following regions hold only by a full copy.")
      .sample(s.rewindable.value_or(true));
  page.gauge("dr_retained_log_bytes", "Size of the log kept here.").sample(s.log_bytes);
  page.gauge("dr_retain_log_limit_bytes", "Size above which the log is kept for nobody.").sample(from.retain_log_bytes);
  page.counter("dr_log_dropped_total", "Times that limit took log that a follower or a standby had not read.")
      .sample(probe.log_dropped.get());
}

void add_integrity(Page& page, const MetricsSources& from) {
  page.gauge("previous_exit_timestamp_seconds", "When a process last ended so on this data directory; 0: never.");
  for (const PastExits& past : from.past_exits) page.sample(past.last_seconds, {{"reason", std::string(past.reason)}});
  page.counter("abnormal_exits_total", "Ends of earlier processes on this data directory that nobody asked for.");
  std::uint64_t assertions = 0;
  for (const PastExits& past : from.past_exits) {
    if (past.reason == "clean") continue;
    if (past.reason == "assertion") assertions = past.count;
    page.sample(past.count, {{"reason", std::string(past.reason)}});
  }
  page.counter("assertion_failures_total", "Internal checks that failed; each ended its process.").sample(assertions);
  page.gauge("tls_certificate_expiry_timestamp_seconds", "When the first certificate of the file ends; +Inf where none is used.");
  if (from.certificates)
    for (const auto& [use, expiry] : from.certificates()) page.sample(expiry.value_or(kInfinity), {{"use", std::string(use)}});
}

void add_traces(Page& page, const MetricsSources& from) {
  static const OtlpProbe kNone;
  const OtlpProbe& probe = from.otlp ? *from.otlp : kNone;
  page.counter("otlp_spans_total", "Spans recorded here, by their end: taken or refused by the collector, not delivered, or no room in the queue.")
      .sample(probe.sent.get(), {{"result", "sent"}})
      .sample(probe.rejected.get(), {{"result", "rejected"}})
      .sample(probe.failed.get(), {{"result", "failed"}})
      .sample(probe.dropped.get(), {{"result", "dropped"}});
  page.gauge("otlp_queue_length", "Spans that wait for their batch.").sample(static_cast<double>(probe.queued.get()));
}

}  // namespace

Metrics::Metrics(MetricsSources sources) : sources_(std::move(sources)) {}

Metrics::Rendered Metrics::render(std::string_view accept) const {
  const NodeStatus status = sources_.status->status();
  const NodeProbe& probe = sources_.status->probe();
  const StateFigures state = sources_.state ? sources_.state() : StateFigures{};
  Page page;
  add_identity(page, sources_, status);
  add_requests(page, sources_, probe);
  add_consensus(page, sources_, status, probe);
  add_storage(page, sources_, status, probe, state);
  add_mvcc(page, sources_, status, probe, state);
  add_standby(page, sources_, status);
  add_recovery(page, sources_, status, probe);
  add_integrity(page, sources_);
  add_traces(page, sources_);
  page.counter("log_dropped_total", "Log lines dropped because the queue was full or the output failed.")
      .sample(sources_.log_dropped ? sources_.log_dropped() : 0);
  add_etcd_names(page, sources_, status, probe, state);
  if (wants_open_metrics(accept)) return {"application/openmetrics-text; version=1.0.0; charset=utf-8", page.open_metrics()};
  return {"text/plain; version=0.0.4; charset=utf-8", page.text()};
}

}  // namespace leeward::telemetry
