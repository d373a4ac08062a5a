// Server reflection: the descriptors of what this process speaks, as grpcurl
// asks for them.
#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>

#include <set>

#include "api/handlers.h"
#include "proto/reflection.pb.h"

namespace leeward::api::reflection {
namespace {

namespace pb = google::protobuf;
using grpc::reflection::v1::ServerReflectionRequest;
using grpc::reflection::v1::ServerReflectionResponse;

const pb::DescriptorPool& pool() { return *pb::DescriptorPool::generated_pool(); }

void not_found(ServerReflectionResponse& response, std::string_view what) {
  response.mutable_error_response()->set_error_code(static_cast<int>(GrpcCode::kNotFound));
  response.mutable_error_response()->set_error_message("not found: " + std::string(what));
}

void add_files(const pb::FileDescriptor* file, std::set<const pb::FileDescriptor*>& seen,
               grpc::reflection::v1::FileDescriptorResponse& out) {
  if (!seen.insert(file).second) return;
  pb::FileDescriptorProto encoded;
  file->CopyTo(&encoded);
  out.add_file_descriptor_proto(encoded.SerializeAsString());
  for (int i = 0; i < file->dependency_count(); ++i) add_files(file->dependency(i), seen, out);
}

// The file and all that it imports.
void answer_file(ServerReflectionResponse& response, const pb::FileDescriptor* file, std::string_view asked) {
  if (file == nullptr) return not_found(response, asked);
  std::set<const pb::FileDescriptor*> seen;
  add_files(file, seen, *response.mutable_file_descriptor_response());
}

void list_services(ServerReflectionResponse& response) {
  std::set<std::string> names;
  for (const auto& entry : method_table()) {
    std::string service(entry.path.substr(1, entry.path.rfind('/') - 1));
    if (pool().FindServiceByName(service) != nullptr) names.insert(std::move(service));
  }
  for (const auto& service : names) response.mutable_list_services_response()->add_service()->set_name(service);
}

ServerReflectionResponse answer(const ServerReflectionRequest& request) {
  ServerReflectionResponse response;
  response.set_valid_host(request.host());
  *response.mutable_original_request() = request;
  switch (request.message_request_case()) {
    case ServerReflectionRequest::kFileByFilename:
      answer_file(response, pool().FindFileByName(request.file_by_filename()), request.file_by_filename());
      break;
    case ServerReflectionRequest::kFileContainingSymbol:
      answer_file(response, pool().FindFileContainingSymbol(request.file_containing_symbol()),
                  request.file_containing_symbol());
      break;
    case ServerReflectionRequest::kListServices: list_services(response); break;
    case ServerReflectionRequest::kFileContainingExtension:
    case ServerReflectionRequest::kAllExtensionNumbersOfType:
      not_found(response, "no message here has extensions");
      break;
    case ServerReflectionRequest::MESSAGE_REQUEST_NOT_SET: not_found(response, "an empty request"); break;
  }
  return response;
}

}  // namespace

void info(CallPtr call) {
  call->rpc().on_message([call](Bytes bytes) {
    ServerReflectionRequest request;
    if (!call->open() || !parse(call, bytes, request)) return;
    if (call->queued() > kMaxAnswersQueued) return call->fail(error::kTooManyRequests);
    call->send(Bytes(answer(request).SerializeAsString()));
  });
  call->rpc().on_half_close([call] { call->finish({}); });
}

}  // namespace leeward::api::reflection
