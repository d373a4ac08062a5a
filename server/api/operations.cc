// Operations: what leewardctl and the console show, from this node's view of
// all members. JSON names are the fields' own (proto/leeward.proto).
#include <algorithm>
#include <map>

#include "api/handlers.h"
#include "api/recovery.h"
#include "base/json.h"
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

void fail(const CallPtr& call, const Error& error) {
  if (error.code == Code::kUnknown) return call->finish({GrpcCode::kAborted, error.message, {}});
  call->fail(error);
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
  out.set_over_quota(std::find(status.over_quota.begin(), status.over_quota.end(), member.id) != status.over_quota.end());
  if (!member.report_age) return;  // never heard: what follows is not known
  out.set_report_age_ms(to_ms(*member.report_age));
  out.set_newest_format(member.newest_format);
  if (member.clock_offset) out.set_clock_offset_ms(to_ms(*member.clock_offset));
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

const MemberStatus* find(const NodeStatus& status, std::uint64_t id) {
  for (const auto& member : status.members)
    if (member.id.value() == id) return &member;
  return nullptr;
}

void no_such_member(const CallPtr& call, std::uint64_t id) {
  call->finish({GrpcCode::kNotFound, "leeward: no member has the id " + std::to_string(id) +
                                         "; leewardctl cluster status lists all of them", {}});
}

pb::ClusterStatusResponse cluster_status_of(const NodeStatus& status) {
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
  response.set_format(status.format);
  response.set_disk_full(status.disk_full);
  return response;
}

pb::StandbyStatusResponse standby_status_of(const NodeStatus& status, std::uint64_t id) {
  pb::StandbyStatusResponse response;
  for (const auto& member : status.members)
    if (follows(member) && (id == 0 || member.id.value() == id)) fill(*response.add_standbys(), member);
  if (status.rpo) fill(*response.mutable_rpo(), *status.rpo);
  return response;
}

}  // namespace

void cluster_status(CallPtr call, Bytes bytes) {
  pb::ClusterStatusRequest request;
  if (!parse(call, bytes, request)) return;
  call->reply_message(cluster_status_of(call->core().node.status()));
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
  call->reply_message(standby_status_of(status, request.id()));
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

}  // namespace leeward::api::operations

namespace leeward::api {

Result<std::string> answers_json(const NodeStatus& status, RecoveryStatus told) {
  constexpr std::ptrdiff_t kEpochs = 20;  // there is one more with each promotion
  auto& history = told.history;
  if (std::ssize(history) > kEpochs) history.erase(history.begin(), history.end() - kEpochs);
  JsonWriter out;
  out.begin_object();
  for (const auto& [name, answer] :
       {std::pair{"cluster_status", operations::json_of("/leeward.v1.Operations/ClusterStatus", operations::cluster_status_of(status))},
        std::pair{"standby_status", operations::json_of("/leeward.v1.Operations/StandbyStatus", operations::standby_status_of(status, 0))},
        std::pair{"dr_status", dr_status_json(status, told)}}) {
    if (!answer.ok()) return answer.error();
    out.key(name).raw(*answer);
  }
  out.end_object();
  return out.text();
}

}  // namespace leeward::api
