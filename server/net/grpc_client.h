// One unary gRPC call, blocking, on a connection of its own: what an exporter
// speaks to a collector. Any thread but an I/O loop.
#pragma once

#include <string>

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

}  // namespace leeward::net
