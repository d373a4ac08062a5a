// One gRPC call, blocking, on a connection of its own: what an exporter speaks to
// a collector, and who saves a snapshot to a node. Any thread but an I/O loop.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "net/http_client.h"
#include "ports/rpc.h"

namespace leeward::net {

struct GrpcAnswer {
  GrpcCode code = GrpcCode::kUnknown;
  std::string message;  // of the status
  std::string body;     // the answer's message, without its frame; empty where there is none
};

// `call.path` is the method, `call.body` the request's message, `call.headers`
// are metadata, in lower case. Any status is a value; an HTTP status other than
// 200 becomes the one that gRPC maps it to. Errors as http_request's.
Result<GrpcAnswer> grpc_request(const HttpCall& call);

// The same for a call that is answered by many messages: each is given to
// `take` as it comes, and the node sends no more than that is done with; an
// error of `take` ends the call and is returned. `call.timeout` is how long
// nothing may come, `call.max_response` the most that one message may be.
Result<GrpcAnswer> grpc_stream(const HttpCall& call, const std::function<Result<void>(std::string_view message)>& take);

}  // namespace leeward::net
