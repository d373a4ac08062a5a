// grpc.health.v1.Health: whether this node serves. Each of our services, and
// "" for all of them, stands and falls with the node.
#include "api/handlers.h"
#include "proto/health.pb.h"

namespace leeward::api::health {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

constexpr Duration kInterval = std::chrono::milliseconds(500);

bool known(std::string_view service) {
  if (service.empty()) return true;
  for (const auto& entry : method_table())
    if (entry.path.substr(1, entry.path.rfind('/') - 1) == service) return true;
  return false;
}

HealthCheckResponse::ServingStatus serving(const Core& core) {
  const NodeStatus& status = core.status()->status;
  const bool up = !status.stopping && status.waiting_for.empty() && status.state != MemberState::kStarting &&
                  status.state != MemberState::kDown;
  return up ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING;
}

Bytes encoded(HealthCheckResponse::ServingStatus status) {
  HealthCheckResponse response;
  response.set_status(status);
  return Bytes(response.SerializeAsString());
}

// Sends the status whenever it has changed.
void follow(const CallPtr& call, std::string service, HealthCheckResponse::ServingStatus last) {
  const auto now = known(service) ? serving(call->core()) : HealthCheckResponse::SERVICE_UNKNOWN;
  if (now != last) call->send(encoded(now));
  call->loop().after(kInterval, [weak = std::weak_ptr(call), service = std::move(service), now] {
    if (const CallPtr held = weak.lock(); held && held->open()) follow(held, service, now);
  });
}

}  // namespace

void check(CallPtr call, Bytes bytes) {
  HealthCheckRequest request;
  if (!parse(call, bytes, request)) return;
  if (!known(request.service())) return call->finish({GrpcCode::kNotFound, "unknown service", {}});
  call->reply(encoded(serving(call->core())));
}

void watch(CallPtr call) {
  auto begun = std::make_shared<bool>(false);
  call->rpc().on_message([call, begun](Bytes bytes) {
    HealthCheckRequest request;
    if (!call->open() || *begun || !parse(call, bytes, request)) return;
    *begun = true;
    follow(call, request.service(), HealthCheckResponse::UNKNOWN);
  });
  call->rpc().on_half_close([] {});
}

}  // namespace leeward::api::health
