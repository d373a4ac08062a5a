// What an operator asks of a region that was primary: to follow.
#include "api/handlers.h"
#include "proto/leeward.pb.h"

namespace leeward::api::operations {

namespace pb = leeward::v1;

void dr_rejoin(CallPtr call, Bytes bytes) {
  pb::DrRejoinRequest request;
  if (!parse(call, bytes, request) || !by_operator(call)) return;
  WayBack* way_back = call->core().way_back;
  if (way_back == nullptr) return call->finish({GrpcCode::kUnimplemented, "leeward: this node knows no second region", {}});
  call->core().log.warn("a region is to follow again", {{"peer", call->rpc().peer().address}});
  way_back->rejoin({request.discard(), request.accept_data_loss(), asked_by(call)}, call->loop(), [call](Result<RejoinRecord> done) {
    if (!done.ok()) return fail(call, done.error());
    pb::DrRejoinResponse response;
    response.set_epoch(done->epoch.value());
    response.set_state("following");
    response.set_changed(done->changed);
    response.set_position_index(done->index.value());
    for (const auto& ledger : done->ledgers) fill_ledger(*response.add_ledgers(), ledger);
    response.set_next_command(done->ledgers.empty() ? "leewardctl standby status" : "leewardctl dr ledger show");
    call->reply_message(response);
  });
}

}  // namespace leeward::api::operations
