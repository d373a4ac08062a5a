// Disaster recovery: what operators ask of standby's Recovery, and the JSON of
// its status and plan.
#include "api/recovery.h"

#include <algorithm>
#include <charconv>
#include <map>

#include "api/dr_advice.h"
#include "api/handlers.h"
#include "api/json.h"
#include "proto/leeward.pb.h"

namespace leeward::api::operations {
namespace {

namespace pb = leeward::v1;

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
std::string carried_out(const PromotionPlan& plan) {
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

// What a refusal asks for, before anybody overrides it.
std::string instead_of_force(const PromotionPlan& plan) {
  const auto refuses = [&](std::string_view rule) {
    return std::any_of(plan.refusals.begin(), plan.refusals.end(), [&](const auto& r) { return r.rule == rule; });
  };
  if (refuses("newer_epoch")) return "leewardctl dr rejoin";
  if (plan.too_early) return "leewardctl dr plan";
  if (refuses("not_armed") && !refuses("primary_heard") && !plan.survivors)
    return "leewardctl dr status, when members of the region that serves are started with their disks: only it arms this one";
  if (!refuses("primary_heard")) return "leewardctl dr status";
  return refuses("not_armed") || plan.survivors || plan.unguarded ? "leewardctl dr status" : "leewardctl dr switchover";
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
  out.set_next_command(plan.allowed() ? carried_out(plan) : instead_of_force(plan));
  if (!plan.allowed()) out.set_force_command(carried_out(plan));
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
  if (plan.estimated_rto) out.set_estimated_rto_ms(to_ms(*plan.estimated_rto));
  for (const auto& check : plan.checks) {
    auto* to = out.add_checks();
    to->set_check(check.check);
    to->set_ok(check.ok);
    to->set_detail(check.detail);
  }
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
  if (!epoch.measured) return;
  out.set_measured_loss_writes(epoch.measured->writes);
  out.set_measured_loss_entries(epoch.measured->entries);
  out.set_measured_loss_bytes(epoch.measured->bytes);
  out.set_measured_loss_open(epoch.measured_open);
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
    if (!done.ok()) return fail(call, done.error());
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
    if (!done.ok()) return fail(call, done.error());
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
      to->set_name(step.name);
      to->set_ms(to_ms(step.took));
    }
    response.set_duration_ms(to_ms(done->took));
    if (done->paused) response.set_paused_ms(to_ms(*done->paused));
    call->reply_message(response);
  });
}

namespace {

std::uint64_t epoch_of(const NodeStatus& status, const MemberStatus* self, const pb::DrStatusResponse::Group& group) {
  if (self && group.region() == self->region) return status.epoch.value();
  // Who serves elsewhere does so in the newest one that is known.
  return group.role() == leeward::name(GroupRole::kPrimary) ? status.newest_epoch.value() : 0;
}

pb::DrStatusResponse dr_status_of(const NodeStatus& status, const RecoveryStatus& told) {
  pb::DrStatusResponse response;
  if (status.lineage.known()) response.set_lineage(status.lineage.hex());
  response.set_epoch(status.epoch.value());
  const MemberStatus* self = nullptr;
  for (const auto& member : status.members)
    if (member.id == status.self) self = &member;
  if (self) response.set_region(self->region);
  response.set_role(leeward::name(status.role));
  response.set_state(dr_state(status));
  response.set_next_command(next_command(status));
  for (auto& warning : warnings(status)) response.add_warnings(std::move(warning));
  if (status.state == MemberState::kWaiting || status.start_wait || dr_state(status) == std::string_view("removed")) response.set_waiting_for(status.waiting_for);
  response.set_armed_region(status.armed_region);
  response.set_unguarded(status.unguarded);
  if (const auto& fencing = status.fencing; !fencing.mode.empty()) {
    response.mutable_fencing()->set_mode(fencing.mode);
    if (fencing.lease > Duration()) response.mutable_fencing()->set_lease_ms(to_ms(fencing.lease));
    if (fencing.remaining) response.mutable_fencing()->set_remaining_ms(to_ms(*fencing.remaining));
  }
  response.set_primary_heard(status.primary_heard);
  response.set_primary_silent(status.primary_silent);
  if (status.primary_silence) response.set_silence_ms(to_ms(*status.primary_silence));
  response.set_newest_epoch(status.newest_epoch.value());
  response.set_serving_region(status.serving_region);
  if (status.contested > Epoch()) {
    response.mutable_contested()->set_epoch(status.contested.value());
    response.mutable_contested()->set_other_promotion_id(hexadecimal(status.contested_by));
    for (const auto& epoch : told.history)
      if (epoch.epoch == status.contested) response.mutable_contested()->set_promotion_id(hexadecimal(epoch.promotion));
  }
  std::map<std::string, pb::DrStatusResponse::Group*> groups;
  std::map<std::string, bool> heard;
  for (const auto& member : status.members) {
    auto*& group = groups[member.region];
    if (group == nullptr) group = response.add_groups();
    heard[member.region] |= member.healthy;
    group->set_region(member.region);
    // Of its own group a node knows at once what the others' reports say half a second later.
    const bool own = self && member.region == self->region;
    // Who takes part in none knows what its configuration calls them, and that says nothing.
    const bool waiting = status.state == MemberState::kWaiting;
    if (own && !waiting) group->set_role(leeward::name(status.role));
    else if (member.healthy && member.state != MemberState::kWaiting) group->set_role(leeward::name(member.role));
    else if (group->role().empty()) group->set_role(leeward::name(waiting ? GroupRole::kUnknown : member.role));
    if (member.state == MemberState::kLeader) group->set_leader_id(member.id.value());
    group->set_position_index(std::max(group->position_index(), member.applied.position.index.value()));
    group->add_members(member.id.value());
  }
  // What a lost region said last is that it serves.
  const std::string& serves = !status.serving_region.empty() || !self || status.role != GroupRole::kPrimary ? status.serving_region : self->region;
  const auto claims = std::count_if(groups.begin(), groups.end(), [](const auto& g) { return g.second->role() == leeward::name(GroupRole::kPrimary); });
  for (auto& [region, group] : groups)
    if ((serves.empty() ? claims > 1 && !heard[region] : region != serves) && group->role() == leeward::name(GroupRole::kPrimary)) group->set_role(leeward::name(GroupRole::kUnknown));
  for (auto& [region, group] : groups)
    if (const auto epoch = epoch_of(status, self, *group); epoch != 0) group->set_epoch(epoch);
  for (const auto& epoch : told.history) {
    if (epoch.epoch == status.epoch) response.set_promotion_id(hexadecimal(epoch.promotion));
    fill(*response.add_history(), epoch);
  }
  return response;
}

}  // namespace

Result<std::string> json_of(std::string_view method, const google::protobuf::Message& message) {
  const auto types = json::Types::of(method);
  return types.ok() ? types->response(Bytes(message.SerializeAsString())) : types.error();
}

void dr_status(CallPtr call, Bytes bytes) {
  pb::DrStatusRequest request;
  if (!parse(call, bytes, request)) return;
  Recovery* recovery = recovery_of(call);
  if (recovery == nullptr) return;
  const auto told = recovery->status();
  if (!told.ok()) return call->fail(told.error());
  call->reply_message(dr_status_of(call->core().node.status(), *told));
}

}  // namespace leeward::api::operations

namespace leeward::api {

Result<std::string> dr_status_json(const NodeStatus& status, const RecoveryStatus& told) {
  return operations::json_of("/leeward.v1.Operations/DrStatus", operations::dr_status_of(status, told));
}

Result<std::string> dr_plan_json(const PromotionPlan& plan, WallTime now) {
  v1::DrPlanResponse response;
  operations::fill(response, plan, now);
  return operations::json_of("/leeward.v1.Operations/DrPlan", response);
}

}  // namespace leeward::api
