// Operations: what leewardctl and the console show, from this node's view of
// all members. JSON names are the fields' own (proto/leeward.proto).
#include <algorithm>
#include <charconv>
#include <map>

#include "api/handlers.h"
#include "proto/leeward.pb.h"

namespace leeward::api::operations {

std::string hexadecimal(std::uint64_t id) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(id));
  return text;
}

std::string asked_by(const CallPtr& call) {
  const auto& peer = call->rpc().peer();
  return !peer.common_name.empty() ? peer.common_name : peer.unix_socket ? "the node's unix socket" : peer.address;
}

namespace {

namespace pb = leeward::v1;

// What a member lacks of its group's log: at the leader by what that member has
// acknowledged; elsewhere of two reports of about one age. A leader lacks nothing.
std::uint64_t entries_behind(const NodeStatus& status, const MemberStatus& member) {
  for (const auto& peer : status.peers)
    if (peer.id == member.id) return status.last > peer.match ? status.last - peer.match : 0;
  std::uint64_t behind = 0;
  for (const auto& other : status.members)
    if (other.region == member.region && other.role == member.role && other.state == MemberState::kLeader &&
        other.applied.index > member.applied.index)
      behind = other.applied.index - member.applied.index;
  return behind;
}

bool follows(const MemberStatus& member) {
  return member.role == GroupRole::kStandby || member.role == GroupRole::kObserver;
}

void fill(pb::MemberInfo& out, const MemberStatus& member, const NodeStatus& status) {
  out.set_id(member.id.value());
  out.set_name(member.name);
  out.set_region(member.region);
  out.set_zone(member.zone);
  out.set_role(leeward::name(member.role));
  out.set_state(leeward::name(member.state));
  out.set_voter(member.voter);
  out.set_admitted(member.admitted);
  out.set_healthy(member.healthy);
  out.set_term(member.term.value());
  out.set_applied_index(member.applied.index.value());
  out.set_position_index(member.applied.position.index.value());
  out.set_state_hash(member.state_hash.hex());
  out.set_state_hash_index(member.applied.position.index.value());
  out.set_durable_index(member.durable.value());
  out.set_db_bytes(member.db_bytes);
  out.set_db_bytes_in_use(member.db_bytes_in_use);
  out.set_version(member.version);
  out.set_client_url(member.client_url);
  out.set_peer_address(member.peer_address);
  out.set_paused(member.paused);
  out.set_verifying(member.verifying);
  out.set_standing_reason(member.standing_reason);
  if (!member.report_age) return;  // never heard: what follows is not known
  out.set_report_age_ms(to_ms(*member.report_age));
  if (!follows(member))
    out.set_lag_entries(entries_behind(status, member));
  else if (member.lag.entries)
    out.set_lag_entries(*member.lag.entries);
}

void fill(pb::Check& out, const NamedCheck& check) {
  out.set_check(check.check);
  out.set_ok(check.ok);
  out.set_detail(check.detail);
}

void fill(pb::StandbyInfo& out, const MemberStatus& member) {
  out.set_id(member.id.value());
  out.set_region(member.region);
  out.set_connected(member.stream_connected);
  if (member.lag.writes) out.set_lag_writes(*member.lag.writes);
  if (member.lag.entries) out.set_lag_entries(*member.lag.entries);
  if (member.lag.bytes) out.set_lag_bytes(*member.lag.bytes);
  if (member.lag.low) out.set_lag_low_ms(to_ms(*member.lag.low));
  if (member.lag.high) out.set_lag_high_ms(to_ms(*member.lag.high));
  if (member.report_age) out.set_report_age_ms(to_ms(*member.report_age));
  // No verdict is no eligibility.
  bool eligible = !member.eligibility.empty();
  for (const auto& check : member.eligibility) {
    fill(*out.add_reasons(), check);
    eligible &= check.ok;
  }
  out.set_promotion_eligible(eligible);
}

void fill(pb::RpoInfo& out, const RpoStatus& rpo) {
  out.set_policy(leeward::name(rpo.configured));
  out.set_active(leeward::name(rpo.active));
  out.set_budget_ms(to_ms(rpo.budget));
  if (rpo.lag) out.set_lag_ms(to_ms(*rpo.lag));
  out.set_exceeded(rpo.exceeded);
  out.set_refusing(rpo.refusing);
  if (rpo.allowed) out.set_allowed_bytes_per_second(static_cast<std::uint64_t>(*rpo.allowed));
  out.set_detail(rpo.detail);
  out.set_judged(rpo.judged);
}

std::string rfc3339(WallTime time) {
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch());
  const auto seconds = static_cast<std::time_t>(std::chrono::duration_cast<std::chrono::seconds>(ms).count());
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[40];
  const std::size_t size = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  const std::string fraction = std::to_string(1000 + ms.count() % 1000).substr(1);
  return std::string(text, size) + "." + fraction + "Z";
}

// The flags that carry just this plan out; empty where no flag does.
std::string next_command(const PromotionPlan& plan) {
  std::string force;
  for (const auto& refusal : plan.refusals) {
    if (!refusal.forceable) return {};
    force += (force.empty() ? " --force " : ",") + refusal.rule;
  }
  const bool loses = !plan.sealed || !plan.allowed();
  std::string members;
  if (plan.survivors)
    for (const NodeId id : plan.members) members += (members.empty() ? " --members " : ",") + std::to_string(id.value());
  return "leewardctl dr promote --digest " + plan.digest + (loses ? " --accept-data-loss" : "") + members + force;
}

void fill(pb::DrPlanResponse& out, const PromotionPlan& plan, WallTime now) {
  out.set_allowed(plan.allowed());
  for (const auto& refusal : plan.refusals) {
    auto* to = out.add_refusals();
    to->set_rule(refusal.rule);
    to->set_detail(refusal.detail);
    to->set_forceable(refusal.forceable);
  }
  out.set_epoch_drawn(plan.drawn);
  out.set_survivors(plan.survivors);
  out.set_newest_known_epoch(plan.known.value());
  out.set_next_command(next_command(plan));
  out.set_digest(plan.digest);
  out.set_region(plan.region);
  out.set_position_index(plan.position.index.value());
  for (const NodeId id : plan.members) out.add_members(id.value());
  for (const NodeId id : plan.silent) out.add_silent(id.value());
  out.set_from_epoch(plan.from.value());
  out.set_to_epoch(plan.to.value());
  out.set_known_loss_writes(plan.loss.writes);
  out.set_known_loss_entries(plan.loss.entries);
  out.set_known_loss_bytes(plan.loss.bytes);
  if (plan.unknown_for && !plan.sealed) {
    out.set_unknown_since(rfc3339(now - std::chrono::duration_cast<WallTime::duration>(*plan.unknown_for)));
    out.set_unknown_since_ms_ago(to_ms(*plan.unknown_for));
  }
  for (const auto& check : plan.checks) fill(*out.add_checks(), check);
  out.set_sealed(plan.sealed);
}

void fill(pb::DrStatusResponse::Epoch& out, const EpochRecorded& epoch) {
  out.set_epoch(epoch.epoch.value());
  out.set_promotion_id(hexadecimal(epoch.promotion));
  out.set_region(epoch.region);
  out.set_planned(epoch.planned);
  out.set_forced(epoch.forced);
  out.set_fork_index(epoch.fork.value());
  out.set_fork_revision(epoch.fork_revision.value());
  out.set_first_revision(epoch.first_revision.value());
  out.set_time(rfc3339(epoch.time));
  out.set_operator_(epoch.by);
  out.set_reason(epoch.reason);
  out.set_announced_loss_writes(epoch.announced.writes);
  out.set_announced_loss_entries(epoch.announced.entries);
  out.set_announced_loss_bytes(epoch.announced.bytes);
  out.set_announced_loss_open(epoch.announced_open);
}

const MemberStatus* find(const NodeStatus& status, std::uint64_t id) {
  for (const auto& member : status.members)
    if (member.id.value() == id) return &member;
  return nullptr;
}

void no_such_member(const CallPtr& call, std::uint64_t id) {
  call->finish({GrpcCode::kNotFound, "leeward: no member has the id " + std::to_string(id) +
                                         "; leewardctl cluster status lists all of them", {}});
}

template <class List>
std::vector<NodeId> node_ids(const List& numbers) {
  std::vector<NodeId> ids;
  for (const auto id : numbers) ids.push_back(NodeId(id));
  return ids;
}

// Null where there are no regions; the call is ended then.
Recovery* recovery_of(const CallPtr& call) {
  Recovery* recovery = call->core().recovery;
  if (recovery == nullptr) call->finish({GrpcCode::kUnimplemented, "leeward: this node knows no second region", {}});
  return recovery;
}

}  // namespace

void cluster_status(CallPtr call, Bytes bytes) {
  pb::ClusterStatusRequest request;
  if (!parse(call, bytes, request)) return;
  const NodeStatus status = call->core().node.status();
  pb::ClusterStatusResponse response;
  response.set_cluster(status.cluster_name);
  if (status.lineage.known()) response.set_lineage(status.lineage.hex());
  response.set_epoch(status.epoch.value());
  response.set_term(status.term.value());
  response.set_leader_id(status.leader.value());
  response.set_revision(status.applied.revision.value());
  response.set_node_id(status.self.value());
  response.set_role(leeward::name(status.role));
  response.set_state(leeward::name(status.state));
  response.set_waiting_for(status.waiting_for);
  response.set_position_index(status.applied.point.position.index.value());
  response.set_state_hash(status.applied.state_hash.hex());
  if (status.primary_silence) response.set_primary_silence_ms(to_ms(*status.primary_silence));
  for (const auto& member : status.members) fill(*response.add_members(), member, status);
  call->reply_message(response);
}

void topology(CallPtr call, Bytes bytes) {
  pb::TopologyRequest request;
  if (!parse(call, bytes, request)) return;
  const NodeStatus status = call->core().node.status();
  pb::TopologyResponse response;
  response.set_cluster(status.cluster_name);
  if (status.lineage.known()) response.set_lineage(status.lineage.hex());
  response.set_epoch(status.epoch.value());
  std::map<std::string, std::vector<const MemberStatus*>> regions;
  for (const auto& member : status.members) regions[member.region].push_back(&member);
  for (const auto& [name, members] : regions) {
    auto* region = response.add_regions();
    region->set_region(name);
    region->set_role(leeward::name(members.front()->role));
    for (const MemberStatus* member : members) {
      if (member->state == MemberState::kLeader) {
        region->set_leader_id(member->id.value());
        region->set_role(leeward::name(member->role));
      }
      auto* out = region->add_members();
      out->set_id(member->id.value());
      out->set_name(member->name);
      out->set_zone(member->zone);
      out->set_peer_address(member->peer_address);
      out->set_client_url(member->client_url);
      out->set_voter(member->voter);
    }
  }
  call->reply_message(response);
}

void replica_status(CallPtr call, Bytes bytes) {
  pb::ReplicaStatusRequest request;
  if (!parse(call, bytes, request)) return;
  const NodeStatus status = call->core().node.status();
  const std::uint64_t id = request.id() == 0 ? status.self.value() : request.id();
  const MemberStatus* member = find(status, id);
  if (member == nullptr) return no_such_member(call, id);
  pb::ReplicaStatusResponse response;
  fill(*response.mutable_member(), *member, status);
  if (follows(*member)) fill(*response.mutable_standby(), *member);
  call->reply_message(response);
}

void standby_status(CallPtr call, Bytes bytes) {
  pb::StandbyStatusRequest request;
  if (!parse(call, bytes, request)) return;
  const NodeStatus status = call->core().node.status();
  if (request.id() != 0) {
    const MemberStatus* member = find(status, request.id());
    if (member == nullptr) return no_such_member(call, request.id());
    if (!follows(*member))
      return call->finish({GrpcCode::kNotFound, "leeward: member " + std::to_string(request.id()) + " is of the primary "
                           "region, no standby; leewardctl replica status --id " + std::to_string(request.id()) +
                           " shows it", {}});
  }
  pb::StandbyStatusResponse response;
  for (const auto& member : status.members)
    if (follows(member) && (request.id() == 0 || member.id.value() == request.id()))
      fill(*response.add_standbys(), member);
  if (status.rpo) fill(*response.mutable_rpo(), *status.rpo);
  call->reply_message(response);
}

void storage_info(CallPtr call, Bytes bytes) {
  pb::StorageInfoRequest request;
  if (!parse(call, bytes, request)) return;
  Core& core = call->core();
  const NodeStatus status = core.node.status();
  const StateMachine& state = core.node.state();
  const AppliedState applied = state.applied();
  pb::StorageInfoResponse response;
  response.set_node_id(status.self.value());
  response.set_db_bytes(state.db_bytes());
  response.set_db_bytes_in_use(state.db_bytes_in_use());
  response.set_log_bytes(status.log_bytes);
  response.set_keys(state.key_count());
  response.set_watchers(state.watcher_count());
  response.set_commit_index(status.commit.value());
  response.set_last_index(status.last.value());
  response.set_applied_index(applied.point.index.value());
  response.set_durable_index(state.durable().value());
  response.set_revision(applied.revision.value());
  response.set_compacted_revision(applied.compacted.value());
  response.set_disk_full(status.disk_full);
  if (status.disk_stall) response.set_disk_stall_ms(to_ms(*status.disk_stall));
  call->reply_message(response);
}

namespace {

void change_standing(const CallPtr& call, const Bytes& bytes, node::StandingChange::Kind kind, const char* what) {
  pb::ReplicaChangeRequest request;
  if (!parse(call, bytes, request) || !by_operator(call)) return;
  Core& core = call->core();
  const NodeStatus status = core.node.status();
  const auto self = status.self.value();
  if (request.id() != 0 && request.id() != self) {
    const MemberStatus* member = find(status, request.id());
    if (member == nullptr) return no_such_member(call, request.id());
    return call->finish({GrpcCode::kFailedPrecondition, "leeward: this is member " + std::to_string(self) + "; ask member " +
                             std::to_string(request.id()) + " itself, at " + member->client_url, {}});
  }
  core.log.warn("a change of this replica was asked for", {{"change", what}, {"reason", request.reason()}, {"force", request.force()},
                                                           {"peer", call->rpc().peer().address}});
  core.node.change_standing({kind, request.reason(), request.force()}, call->loop(), [call, self](Result<void> done) {
    if (!done.ok()) return call->fail(done.error());
    pb::ReplicaChangeResponse response;
    response.set_id(self);
    call->reply_message(response);
  });
}

}  // namespace

void replica_pause(CallPtr call, Bytes bytes) { change_standing(call, bytes, node::StandingChange::Kind::kPause, "pause"); }
void replica_resume(CallPtr call, Bytes bytes) { change_standing(call, bytes, node::StandingChange::Kind::kResume, "resume"); }
void replica_isolate(CallPtr call, Bytes bytes) { change_standing(call, bytes, node::StandingChange::Kind::kIsolate, "isolate"); }
void replica_rejoin(CallPtr call, Bytes bytes) { change_standing(call, bytes, node::StandingChange::Kind::kRejoin, "rejoin"); }

void dr_plan(CallPtr call, Bytes bytes) {
  pb::DrPlanRequest request;
  if (!parse(call, bytes, request)) return;
  Recovery* recovery = recovery_of(call);
  if (recovery == nullptr) return;
  auto answer = [call](Result<PromotionPlan> plan) {
    if (!plan.ok()) return call->fail(plan.error());
    pb::DrPlanResponse response;
    fill(response, *plan, call->core().clock.wall());
    call->reply_message(response);
  };
  if (request.members().empty()) return recovery->plan(call->loop(), std::move(answer));
  recovery->plan_survivors(node_ids(request.members()), call->loop(), std::move(answer));
}

void dr_survivor(CallPtr call, Bytes bytes) {
  pb::DrSurvivorRequest request;
  if (!parse(call, bytes, request) || !by_operator(call)) return;
  std::uint64_t promotion = 0;
  const auto& text = request.promotion_id();
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), promotion, 16);
  if (error != std::errc() || end != text.data() + text.size() || promotion == 0)
    return call->finish(invalid("leeward: promotion_id is not a hexadecimal number; leewardctl dr status shows both"));
  Recovery* recovery = recovery_of(call);
  if (recovery == nullptr) return;
  const std::string by = asked_by(call);
  call->core().log.warn("a survivor of a contested epoch was named", {{"promotion", text}, {"by", by}});
  recovery->survivor(promotion, by, call->loop(), [call](Result<SurvivorRecord> done) {
    if (!done.ok() && done.error().code == Code::kUnknown) return call->finish({GrpcCode::kAborted, done.error().message, {}});
    if (!done.ok()) return call->fail(done.error());
    pb::DrSurvivorResponse response;
    response.set_contested_epoch(done->contested.value());
    response.set_epoch(done->epoch.value());
    response.set_state(done->goes_on ? "serving" : "fenced");
    response.set_next_command(done->goes_on ? "leewardctl dr survivor with the same promotion id at the other region"
                                            : "leewardctl dr rejoin, when the other region serves");
    call->reply_message(response);
  });
}

void dr_promote(CallPtr call, Bytes bytes) {
  pb::DrPromoteRequest request;
  if (!parse(call, bytes, request) || !by_operator(call)) return;
  if (request.digest().empty()) return call->finish(invalid("leeward: digest is empty; leewardctl dr plan shows it"));
  Recovery* recovery = recovery_of(call);
  if (recovery == nullptr) return;
  const std::string by = asked_by(call);
  call->core().log.warn("promotion asked for", {{"digest", request.digest()}, {"by", by}});
  PromotionRequest wanted{request.digest(), request.accept_data_loss(), by, request.reason()};
  wanted.force.assign(request.force().begin(), request.force().end());
  wanted.members = node_ids(request.members());
  recovery->promote(std::move(wanted), call->loop(),
                         [call](Result<PromotionRecord> done) {
    // Whether it will happen is not known: etcd's texts for that are about writes.
    if (!done.ok() && done.error().code == Code::kUnknown) return call->finish({GrpcCode::kAborted, done.error().message, {}});
    if (!done.ok()) return call->fail(done.error());
    pb::DrPromoteResponse response;
    response.set_epoch(done->epoch.value());
    response.set_promotion_id(hexadecimal(done->promotion));
    response.set_region(done->region);
    response.set_leader_id(done->leader.value());
    response.set_fork_index(done->fork.value());
    response.set_fork_revision(done->fork_revision.value());
    response.set_first_revision(done->first_revision.value());
    response.set_repeated(done->repeated);
    for (const auto& note : done->notes) response.add_notes(note);
    for (const auto& step : done->steps) {
      auto* to = response.add_steps();
      to->set_step(step.name);
      to->set_took_ms(to_ms(step.took));
    }
    call->reply_message(response);
  });
}

namespace {

// The way on from a state that is none to stay in.
const char* next_command(const NodeStatus& status) {
  const std::string_view state = dr_state(status);
  if (state == "contested") return "leewardctl dr survivor --promotion-id P";
  if (state == "fenced") return "leewardctl dr rejoin";
  if (state == "no_quorum") return "leewardctl dr plan --members ID,...";
  if (state == "sealed") return "leewardctl dr abort";
  if (state == "following" && !status.primary_heard) return "leewardctl dr plan";
  return "";
}

}  // namespace

void dr_status(CallPtr call, Bytes bytes) {
  pb::DrStatusRequest request;
  if (!parse(call, bytes, request)) return;
  Recovery* recovery = recovery_of(call);
  if (recovery == nullptr) return;
  const auto told = recovery->status();
  if (!told.ok()) return call->fail(told.error());
  const NodeStatus status = call->core().node.status();
  pb::DrStatusResponse response;
  if (status.lineage.known()) response.set_lineage(status.lineage.hex());
  response.set_epoch(status.epoch.value());
  for (const auto& member : status.members)
    if (member.id == status.self) response.set_region(member.region);
  response.set_role(leeward::name(status.role));
  response.set_state(dr_state(status));
  response.set_next_command(next_command(status));
  response.set_armed_region(status.armed_region);
  if (!told->fence_mode.empty()) {
    response.mutable_fencing()->set_mode(told->fence_mode);
    if (told->lease > Duration()) response.mutable_fencing()->set_lease_ms(to_ms(told->lease));
  }
  response.set_primary_heard(status.primary_heard);
  if (status.primary_silence) response.set_silence_ms(to_ms(*status.primary_silence));
  response.set_newest_epoch(status.newest_epoch.value());
  response.set_serving_region(status.serving_region);
  if (status.contested > Epoch()) {
    response.mutable_contested()->set_epoch(status.contested.value());
    response.mutable_contested()->set_other_promotion_id(hexadecimal(status.contested_by));
    for (const auto& epoch : told->history)
      if (epoch.epoch == status.contested) response.mutable_contested()->set_promotion_id(hexadecimal(epoch.promotion));
  }
  std::map<std::string, pb::DrStatusResponse::Group*> groups;
  for (const auto& member : status.members) {
    auto*& group = groups[member.region];
    if (group == nullptr) group = response.add_groups();
    group->set_region(member.region);
    if (group->role().empty() || member.healthy) group->set_role(leeward::name(member.role));
    if (member.state == MemberState::kLeader) group->set_leader_id(member.id.value());
    group->set_position_index(std::max(group->position_index(), member.applied.position.index.value()));
    group->add_members(member.id.value());
  }
  for (const auto& epoch : told->history) {
    if (epoch.epoch == status.epoch) response.set_promotion_id(hexadecimal(epoch.promotion));
    fill(*response.add_history(), epoch);
  }
  call->reply_message(response);
}

}  // namespace leeward::api::operations
