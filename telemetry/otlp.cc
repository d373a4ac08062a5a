#include "telemetry/otlp.h"

#include <charconv>

#include "base/codec.h"
#include "base/json.h"

namespace leeward::telemetry {
namespace {

constexpr std::string_view kScope = "leeward";

// Protobuf's wire types.
constexpr std::uint32_t kVarint = 0, kFixed64 = 1, kLengthDelimited = 2, kFixed32 = 5;

void put_tag(std::string& out, std::uint32_t field, std::uint32_t type) { codec::put_varint(out, field << 3 | type); }

void put_varint(std::string& out, std::uint32_t field, std::uint64_t value) {
  put_tag(out, field, kVarint);
  codec::put_varint(out, value);
}

void put_bytes(std::string& out, std::uint32_t field, std::string_view bytes) {
  put_tag(out, field, kLengthDelimited);
  codec::put_bytes(out, bytes);
}

void put_fixed64(std::string& out, std::uint32_t field, std::uint64_t value) {
  put_tag(out, field, kFixed64);
  codec::put_u64(out, value);
}

template <class Bytes>
std::string_view view(const Bytes& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

template <class Bytes>
std::string hex(const Bytes& bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (const std::uint8_t byte : bytes) {
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  }
  return out;
}

std::uint64_t unix_ns(Instant at, WallTime boot) {
  return static_cast<std::uint64_t>((boot.time_since_epoch() + at.time_since_epoch()).count());
}

// A KeyValue in `field`; its AnyValue holds a string (1) or an integer (3).
void put_attribute(std::string& out, std::uint32_t field, const SpanAttribute& attribute) {
  std::string value, pair;
  if (attribute.text.data()) put_bytes(value, 1, attribute.text);
  else put_varint(value, 3, static_cast<std::uint64_t>(attribute.number));
  put_bytes(pair, 1, attribute.key);
  put_bytes(pair, 2, value);
  put_bytes(out, field, pair);
}

std::string span_message(const Span& span, WallTime boot) {
  std::string out;
  put_bytes(out, 1, view(span.context.trace_id));
  put_bytes(out, 2, view(span.context.span_id));
  if (span.parent != SpanId{}) put_bytes(out, 4, view(span.parent));
  put_bytes(out, 5, span.name);
  put_varint(out, 6, static_cast<std::uint64_t>(span.kind));
  put_fixed64(out, 7, unix_ns(span.start, boot));
  put_fixed64(out, 8, unix_ns(span.end, boot));
  for (std::size_t i = 0; i < span.attribute_count; ++i) put_attribute(out, 9, span.attributes[i]);
  if (!span.failure.empty()) {
    std::string status;
    put_bytes(status, 2, span.failure);
    put_varint(status, 3, 2);  // STATUS_CODE_ERROR
    put_bytes(out, 15, status);
  }
  put_tag(out, 16, kFixed32);  // flags: sampled
  codec::put_u32(out, 1);
  return out;
}

void write_attribute(JsonWriter& json, std::string_view key, std::string_view text) {
  json.begin_object().field("key", key).key("value").begin_object().field("stringValue", text).end_object().end_object();
}

void write_span(JsonWriter& json, const Span& span, WallTime boot) {
  json.begin_object().field("traceId", hex(span.context.trace_id)).field("spanId", hex(span.context.span_id));
  if (span.parent != SpanId{}) json.field("parentSpanId", hex(span.parent));
  json.field("name", span.name)
      .field("kind", static_cast<int>(span.kind))
      .field("startTimeUnixNano", std::to_string(unix_ns(span.start, boot)))
      .field("endTimeUnixNano", std::to_string(unix_ns(span.end, boot)))
      .field("flags", 1);
  json.key("attributes").begin_list();
  for (std::size_t i = 0; i < span.attribute_count; ++i) {
    const SpanAttribute& attribute = span.attributes[i];
    if (attribute.text.data()) {
      write_attribute(json, attribute.key, attribute.text);
      continue;
    }
    json.begin_object().field("key", attribute.key).key("value").begin_object();
    json.field("intValue", std::to_string(attribute.number)).end_object().end_object();
  }
  json.end_list();
  if (!span.failure.empty()) json.key("status").begin_object().field("message", span.failure).field("code", 2).end_object();
  json.end_object();
}

// The value of field `wanted`, of this wire type, in a protobuf message.
template <class Take>
void find_field(std::string_view message, std::uint32_t wanted, std::uint32_t type, Take take) {
  std::uint64_t tag = 0, number = 0;
  std::string_view bytes;
  while (codec::get_varint(message, tag)) {
    switch (tag & 7) {
      case kVarint:
        if (!codec::get_varint(message, number)) return;
        break;
      case kLengthDelimited:
        if (!codec::get_bytes(message, bytes)) return;
        break;
      case kFixed64:
      case kFixed32: {
        const std::size_t size = (tag & 7) == kFixed64 ? 8 : 4;
        if (message.size() < size) return;
        message.remove_prefix(size);
        break;
      }
      default: return;
    }
    if (tag == (wanted << 3 | type)) take(number, bytes);
  }
}

}  // namespace

std::string otlp_protobuf(const OtlpResource& resource, std::span<const Span> spans, WallTime boot) {
  std::string attributes;
  for (const auto& [key, text] : resource.attributes) put_attribute(attributes, 1, {key, text, 0});
  std::string scope, scope_spans, resource_spans, out;
  put_bytes(scope, 1, kScope);
  put_bytes(scope, 2, resource.version);
  put_bytes(scope_spans, 1, scope);
  for (const Span& span : spans) put_bytes(scope_spans, 2, span_message(span, boot));
  put_bytes(scope_spans, 3, kSchemaUrl);
  put_bytes(resource_spans, 1, attributes);
  put_bytes(resource_spans, 2, scope_spans);
  put_bytes(resource_spans, 3, kSchemaUrl);
  put_bytes(out, 1, resource_spans);
  return out;
}

std::string otlp_json(const OtlpResource& resource, std::span<const Span> spans, WallTime boot) {
  JsonWriter json;
  json.begin_object().key("resourceSpans").begin_list().begin_object();
  json.key("resource").begin_object().key("attributes").begin_list();
  for (const auto& [key, text] : resource.attributes) write_attribute(json, key, text);
  json.end_list().end_object();
  json.key("scopeSpans").begin_list().begin_object();
  json.key("scope").begin_object().field("name", kScope).field("version", resource.version).end_object();
  json.key("spans").begin_list();
  for (const Span& span : spans) write_span(json, span, boot);
  json.end_list().field("schemaUrl", kSchemaUrl).end_object().end_list();
  json.field("schemaUrl", kSchemaUrl).end_object().end_list().end_object();
  return json.text();
}

std::uint64_t otlp_rejected_protobuf(std::string_view response) {
  std::uint64_t rejected = 0;
  find_field(response, 1, kLengthDelimited, [&](std::uint64_t, std::string_view partial_success) {
    find_field(partial_success, 1, kVarint, [&](std::uint64_t number, std::string_view) { rejected = number; });
  });
  return rejected;
}

std::uint64_t otlp_rejected_json(std::string_view response) {
  constexpr std::string_view kField = "\"rejectedSpans\"";
  const std::size_t at = response.find(kField);
  if (at == std::string_view::npos) return 0;
  response.remove_prefix(at + kField.size());
  response.remove_prefix(std::min(response.find_first_not_of(": \t\r\n\""), response.size()));
  std::uint64_t rejected = 0;
  std::from_chars(response.data(), response.data() + response.size(), rejected);
  return rejected;
}

}  // namespace leeward::telemetry
