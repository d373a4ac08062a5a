// What an operator asks of a primary that lives: switchover, abort, arm, disarm.
#include "api/handlers.h"
#include "proto/leeward.pb.h"

namespace leeward::api::operations {
namespace {

namespace pb = leeward::v1;

// Null where there are no regions; the call is ended then.
Handover* handover_of(const CallPtr& call) {
  Handover* handover = call->core().handover;
  if (handover == nullptr) call->finish({GrpcCode::kUnimplemented, "leeward: this node knows no second region", {}});
  return handover;
}

Function<void(Result<HandoverState>)> tell_state(CallPtr call, const char* next) {
  return [call = std::move(call), next](Result<HandoverState> done) {
    if (!done.ok()) return fail(call, done.error());
    pb::DrHandoverState response;
    response.set_epoch(done->epoch.value());
    response.set_state(done->state);
    response.set_armed_region(done->armed_region);
    response.set_next_command(next);
    response.set_changed(done->changed);
    call->reply_message(response);
  };
}

}  // namespace

void dr_switchover(CallPtr call, Bytes bytes) {
  pb::DrSwitchoverRequest request;
  if (!parse(call, bytes, request) || !by_operator(call)) return;
  Handover* handover = handover_of(call);
  if (handover == nullptr) return;
  const std::string by = asked_by(call);
  call->core().log.warn("switchover asked for", {{"to", request.region()}, {"by", by}, {"reason", request.reason()}});
  handover->switchover({request.region(), by, request.reason()}, call->loop(), [call](Result<SwitchoverRecord> done) {
    if (!done.ok()) return fail(call, done.error());
    pb::DrSwitchoverResponse response;
    response.set_epoch(done->epoch.value());
    response.set_promotion_id(hexadecimal(done->promotion));
    response.set_region(done->region);
    response.set_leader_id(done->leader.value());
    response.set_fork_index(done->fork.value());
    response.set_fork_revision(done->fork_revision.value());
    response.set_first_revision(done->first_revision.value());
    for (const auto& step : done->steps) {
      auto* to = response.add_steps();
      to->set_name(step.name);
      to->set_ms(to_ms(step.took));
    }
    response.set_duration_ms(to_ms(done->took));
    response.set_paused_ms(to_ms(done->paused));
    call->reply_message(response);
  });
}

void dr_abort(CallPtr call, Bytes bytes) {
  pb::DrAbortRequest request;
  if (!parse(call, bytes, request) || !by_operator(call)) return;
  Handover* handover = handover_of(call);
  if (handover == nullptr) return;
  call->core().log.warn("a switchover is to be taken back", {{"by", asked_by(call)}});
  handover->abort(call->loop(), tell_state(call, "leewardctl dr status"));
}

void dr_arm(CallPtr call, Bytes bytes) {
  pb::DrArmRequest request;
  if (!parse(call, bytes, request) || !by_operator(call)) return;
  Handover* handover = handover_of(call);
  if (handover == nullptr) return;
  call->core().log.warn("an arming was asked for", {{"region", request.region()}, {"by", asked_by(call)}});
  handover->arm(request.region(), call->loop(), tell_state(call, "leewardctl standby status"));
}

void dr_disarm(CallPtr call, Bytes bytes) {
  pb::DrDisarmRequest request;
  if (!parse(call, bytes, request) || !by_operator(call)) return;
  Handover* handover = handover_of(call);
  if (handover == nullptr) return;
  call->core().log.warn("a disarming was asked for", {{"force", request.force()}, {"by", asked_by(call)}});
  handover->disarm(request.force(), call->loop(), tell_state(call, "leewardctl dr arm"));
}

}  // namespace leeward::api::operations
