// OpenTelemetry's protocol (OTLP 1.x, opentelemetry-proto, trace/v1 and
// collector/trace/v1) as bytes: what is sent and what is answered. Pure
// functions. Written by hand: of the schema this is a page, and JSON wants other
// spellings (hexadecimal ids, 64-bit figures as strings) than protobuf's own.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/units.h"
#include "ports/trace.h"

namespace leeward::telemetry {

// The semantic conventions that names of attributes are of.
inline constexpr std::string_view kSchemaUrl = "https://opentelemetry.io/schemas/1.26.0";

struct OtlpResource {
  std::vector<std::pair<std::string, std::string>> attributes;
  std::string version;  // of this program, which is the instrumentation too
};

// An ExportTraceServiceRequest. `boot` is the wall time of Instant zero.
std::string otlp_protobuf(const OtlpResource& resource, std::span<const Span> spans, WallTime boot);
std::string otlp_json(const OtlpResource& resource, std::span<const Span> spans, WallTime boot);

// How many spans an ExportTraceServiceResponse says were refused; 0 too where
// it makes no sense: what cannot be read refuses nothing.
std::uint64_t otlp_rejected_protobuf(std::string_view response);
std::uint64_t otlp_rejected_json(std::string_view response);

}  // namespace leeward::telemetry
