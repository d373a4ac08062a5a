// A drill, as leewardctl and the gateway ask for it.
#include "api/handlers.h"
#include "proto/leeward.pb.h"

namespace leeward::api::operations {
namespace {

void fill(leeward::v1::DrDrillResponse& out, const DrillReport& report) {
  out.set_passed(report.passed());
  if (report.rto) out.set_rto_ms(to_ms(*report.rto));
  for (const auto& check : report.checks) {
    auto* to = out.add_checks();
    to->set_name(check.name);
    to->set_ok(check.ok);
    to->set_ms(to_ms(check.took));
    to->set_detail(check.detail);
  }
  if (report.standby_lag) out.set_standby_lag_during_ms(to_ms(*report.standby_lag));
  out.set_node_id(report.node.value());
  out.set_region(report.region);
  out.set_position_index(report.position.index.value());
  out.set_epoch(report.epoch.value());
  out.set_duration_ms(to_ms(report.took));
}

}  // namespace

void dr_drill(CallPtr call, Bytes bytes) {
  leeward::v1::DrDrillRequest request;
  if (!parse(call, bytes, request) || !by_operator(call)) return;
  Core& core = call->core();
  if (core.drills == nullptr) return call->finish({GrpcCode::kUnimplemented, "leeward: this node knows no second region", {}});
  const auto self = core.node.status().self.value();
  if (request.id() != 0 && request.id() != self)
    return call->finish({GrpcCode::kFailedPrecondition, "leeward: this is member " + std::to_string(self) + "; ask member " +
                             std::to_string(request.id()) + " itself", {}});
  core.log.warn("a drill was asked for", {{"peer", call->rpc().peer().address}});
  core.drills->drill(call->loop(), [call](Result<DrillReport> report) {
    if (!report.ok()) return call->fail(report.error());
    leeward::v1::DrDrillResponse response;
    fill(response, *report);
    call->reply_message(response);
  });
}

}  // namespace leeward::api::operations
