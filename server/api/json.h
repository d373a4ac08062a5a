// Protobuf and JSON, by reflection: proto field names out, both kinds in,
// 64-bit figures as strings, bytes in base64. Any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace leeward::api::json {

// A method's request and response, found by its gRPC path.
class Types {
 public:
  // Errors: kNotFound when the messages are not linked in.
  static Result<Types> of(std::string_view method_path);

  // One JSON object to wire bytes; an empty document is an empty message.
  // Errors: kInvalid with what is wrong and where.
  Result<Bytes> request(std::string_view document) const;
  // Errors: kCorrupt.
  Result<std::string> response(const Bytes& message) const;

 private:
  const void* request_ = nullptr;   // protobuf descriptors, kept out of this header
  const void* response_ = nullptr;
};

// The documents of a body that holds one after the other. Errors: kInvalid.
Result<std::vector<std::string_view>> split(std::string_view body);

std::string quoted(std::string_view text);  // a JSON string

}  // namespace leeward::api::json
