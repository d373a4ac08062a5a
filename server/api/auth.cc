// Auth: as an etcd whose authentication is disabled and that has no users.
#include "api/handlers.h"
#include "proto/rpc.pb.h"

namespace leeward::api::auth {
namespace {

template <class Request, class Response>
void answer(const CallPtr& call, const Bytes& bytes, void (*complete)(Response&) = nullptr) {
  Request request;
  if (!parse(call, bytes, request)) return;
  Response response;
  fill(response.mutable_header(), call->core());
  if (complete) complete(response);
  call->reply_message(response);
}

}  // namespace

void enable(CallPtr call, Bytes) { call->fail(error::kRootUserNotExist); }

void disable(CallPtr call, Bytes request) {
  answer<etcdserverpb::AuthDisableRequest, etcdserverpb::AuthDisableResponse>(call, request);
}

void status(CallPtr call, Bytes request) {
  answer<etcdserverpb::AuthStatusRequest, etcdserverpb::AuthStatusResponse>(
      call, request, +[](etcdserverpb::AuthStatusResponse& response) { response.set_authrevision(1); });
}

void authenticate(CallPtr call, Bytes) { call->fail(error::kAuthNotEnabled); }

void user_list(CallPtr call, Bytes request) {
  answer<etcdserverpb::AuthUserListRequest, etcdserverpb::AuthUserListResponse>(call, request);
}

void role_list(CallPtr call, Bytes request) {
  answer<etcdserverpb::AuthRoleListRequest, etcdserverpb::AuthRoleListResponse>(call, request);
}

void no_such_user(CallPtr call, Bytes) { call->fail(error::kUserNotFound); }
void no_such_role(CallPtr call, Bytes) { call->fail(error::kRoleNotFound); }

void not_built(CallPtr call, Bytes) {
  call->finish(unimplemented("leeward: users and roles are not built yet; authentication is disabled"));
}

}  // namespace leeward::api::auth

namespace leeward::api::recipes {
namespace {
RpcStatus refusal() {
  return unimplemented("leeward: the Lock and Election services are not built yet; the client library's concurrency "
                       "package does the same over KV, Watch and Lease");
}
}  // namespace

void not_built(CallPtr call, Bytes) { call->finish(refusal()); }
void not_built_stream(CallPtr call) { call->finish(refusal()); }

}  // namespace leeward::api::recipes
