#include "api/errors.h"

#include <unordered_map>

namespace leeward::api {
namespace {

const std::unordered_map<std::string_view, GrpcCode>& table() {
  static const auto* entries = new std::unordered_map<std::string_view, GrpcCode>{
#define LEEWARD_ENTRY(Name, Grpc, words) {error::k##Name.text, error::k##Name.code},
      LEEWARD_ETCD_ERRORS(LEEWARD_ENTRY)
#undef LEEWARD_ENTRY
  };
  return *entries;
}

// What a code means when its message is not one of etcd's.
EtcdError meaning(Code code) {
  switch (code) {
    case Code::kInvalid: return {"", GrpcCode::kInvalidArgument};
    case Code::kNotFound: return {"", GrpcCode::kNotFound};
    case Code::kExists: return {"", GrpcCode::kAlreadyExists};
    case Code::kNoSpace: return error::kNoSpace;
    case Code::kCorrupt: return error::kCorrupt;
    case Code::kUnavailable: return {"etcdserver: no leader", GrpcCode::kUnavailable};
    case Code::kUnknown: return error::kTimeoutLeaderFailure;
    case Code::kDeadline: return error::kTimeout;
    case Code::kOverloaded: return error::kTooManyRequests;
    case Code::kCompacted: return error::kCompacted;
    case Code::kCancelled: return {"", GrpcCode::kCancelled};
    case Code::kPermission: return {"", GrpcCode::kPermissionDenied};
    case Code::kRefused: return {"", GrpcCode::kFailedPrecondition};
    case Code::kUnimplemented: return {"", GrpcCode::kUnimplemented};
    case Code::kIo:
    case Code::kLineage:
    case Code::kNewerFormat:
    case Code::kInUse: return {"", GrpcCode::kInternal};
  }
  return {"", GrpcCode::kUnknown};
}

}  // namespace

RpcStatus status(const EtcdError& error) { return {error.code, std::string(error.text), {}}; }

RpcStatus status_of_text(std::string_view etcd_text) {
  const auto found = table().find(etcd_text);
  return {found == table().end() ? GrpcCode::kUnknown : found->second, std::string(etcd_text), {}};
}

RpcStatus status_of(const Error& error) {
  if (table().contains(error.message)) return status_of_text(error.message);
  const EtcdError known = meaning(error.code);
  // Clients match etcd's text for the ends of a proposal; what node knows
  // beyond it is for its own log. An unavailable node says why itself, and so
  // does a bound that etcd does not have.
  const bool own = error.code == Code::kUnavailable ? !error.message.empty()
                                                    : error.code == Code::kOverloaded && error.message.starts_with("leeward: ");
  const bool fixed = !known.text.empty() && !own;
  return {known.code, fixed ? std::string(known.text) : error.message, {}};
}

RpcStatus unimplemented(std::string message) { return {GrpcCode::kUnimplemented, std::move(message), {}}; }
RpcStatus permission_denied(std::string message) { return {GrpcCode::kPermissionDenied, std::move(message), {}}; }
RpcStatus invalid(std::string message) { return {GrpcCode::kInvalidArgument, std::move(message), {}}; }

const char* name(GrpcCode code) {
  static constexpr const char* kNames[] = {
      "OK",           "CANCELLED",         "UNKNOWN",             "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
      "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED",       "OUT_OF_RANGE",
      "UNIMPLEMENTED", "INTERNAL",         "UNAVAILABLE",         "DATA_LOSS",        "UNAUTHENTICATED"};
  const auto index = static_cast<std::size_t>(code);
  return index < std::size(kNames) ? kNames[index] : "UNKNOWN";
}

}  // namespace leeward::api
