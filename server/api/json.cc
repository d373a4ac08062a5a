#include "api/json.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>
#include <google/protobuf/unknown_field_set.h>
#include <google/protobuf/util/json_util.h>
#include <google/protobuf/util/type_resolver_util.h>

#include <memory>
#include <set>
#include <vector>

namespace leeward::api::json {
namespace {

namespace pb = google::protobuf;

constexpr const char* kTypes = "type.googleapis.com";

const pb::Descriptor* descriptor(const void* type) { return static_cast<const pb::Descriptor*>(type); }

std::unique_ptr<pb::Message> make(const void* type) {
  return std::unique_ptr<pb::Message>(
      pb::MessageFactory::generated_factory()->GetPrototype(descriptor(type))->New());
}

bool blank(std::string_view text) { return text.find_first_not_of(" \t\r\n") == std::string_view::npos; }

// The converter drops a null of a list, and flattens a list within one: a transaction
// would lose its guard. No message of etcd's has lists within lists.
bool lists_hold_values_only(std::string_view text) {
  std::vector<char> open;
  bool in_string = false, begins = false;  // begins: a list's next element
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      else if (c == '"') in_string = false;
      continue;
    }
    if (blank(text.substr(i, 1))) continue;
    if (begins && (c == '[' || c == 'n')) return false;
    begins = false;
    if (c == '"') in_string = true;
    else if (c == '{' || c == '[') open.push_back(c), begins = c == '[';
    else if ((c == '}' || c == ']') && !open.empty()) open.pop_back();
    else if (c == ',') begins = !open.empty() && open.back() == '[';
  }
  return true;
}

// The first field that stands twice in one message of `wire`, where it may
// stand once; nullptr when there is none. By the descriptors, so that no
// spelling of a name hides it.
const pb::FieldDescriptor* repeated(const pb::Descriptor& type, const std::string& wire) {
  pb::UnknownFieldSet fields;
  if (!fields.ParseFromString(wire)) return nullptr;
  std::set<int> seen;
  for (int i = 0; i < fields.field_count(); ++i) {
    const auto& field = fields.field(i);
    const auto* known = type.FindFieldByNumber(field.number());
    if (known == nullptr) continue;
    if (!known->is_repeated() && !seen.insert(field.number()).second) return known;
    if (known->message_type() == nullptr || field.type() != pb::UnknownField::TYPE_LENGTH_DELIMITED) continue;
    if (const auto* within = repeated(*known->message_type(), field.length_delimited())) return within;
  }
  return nullptr;
}

}  // namespace

Result<Types> Types::of(std::string_view path) {
  std::string name(path.substr(path.empty() ? 0 : 1));
  if (const auto slash = name.find('/'); slash != std::string::npos) name[slash] = '.';
  const auto* method = pb::DescriptorPool::generated_pool()->FindMethodByName(name);
  if (method == nullptr) return Error{Code::kNotFound, "no messages for " + name};
  Types types;
  types.request_ = method->input_type();
  types.response_ = method->output_type();
  return types;
}

Result<Bytes> Types::request(std::string_view document) const {
  if (blank(document)) return Bytes();
  if (!lists_hold_values_only(document)) return Error{Code::kInvalid, "a list holds null or another list"};
  static auto* const types = pb::util::NewTypeResolverForDescriptorPool(kTypes, pb::DescriptorPool::generated_pool());
  const pb::Descriptor& type = *descriptor(request_);
  std::string wire;
  const auto parsed = pb::util::JsonToBinaryString(types, std::string(kTypes) + "/" + type.full_name(), pb::StringPiece(document.data(), document.size()), &wire);
  if (!parsed.ok()) return Error{Code::kInvalid, std::string(parsed.message())};
  if (const auto* field = repeated(type, wire))
    return Error{Code::kInvalid, "duplicate field \"" + field->name() + "\" in " + field->containing_type()->name()};
  const auto message = make(request_);
  if (!message->ParseFromString(wire)) return Error{Code::kInvalid, "the JSON nests too deep"};
  return Bytes(message->SerializeAsString());
}

Result<std::string> Types::response(const Bytes& bytes) const {
  const auto message = make(response_);
  if (!message->ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
    return Error{Code::kCorrupt, "an answer does not parse as " + descriptor(response_)->full_name()};
  pb::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  // Operators' tools want each field there; etcd's clients expect what etcd omits.
  options.always_print_primitive_fields = descriptor(response_)->file()->package() == "leeward.v1";
  std::string out;
  const auto printed = pb::util::MessageToJsonString(*message, &out, options);
  if (!printed.ok()) return Error{Code::kCorrupt, std::string(printed.message())};
  return out;
}

Result<std::vector<std::string_view>> split(std::string_view body) {
  std::vector<std::string_view> documents;
  std::size_t start = 0, depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < body.size(); ++i) {
    const char c = body[i];
    if (in_string) {
      if (c == '\\') ++i;
      else if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (depth++ == 0) start = i;
    } else if (c == '}' || c == ']') {
      if (depth == 0) return Error{Code::kInvalid, "unbalanced brackets in the body"};
      if (--depth == 0) documents.push_back(body.substr(start, i + 1 - start));
    }
    if (depth == 0 && c != '}' && c != ']' && !blank(body.substr(i, 1)))
      return Error{Code::kInvalid, "the body is not a JSON object"};
  }
  if (depth != 0 || in_string) return Error{Code::kInvalid, "the body ends inside a JSON object"};
  return documents;
}

std::string quoted(std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (byte < 0x20) {
      out += "\\u00";
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    } else {
      out += c;
    }
  }
  return out + '"';
}

}  // namespace leeward::api::json
