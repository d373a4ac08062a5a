// W3C trace context (https://www.w3.org/TR/trace-context/) as text: the value
// of the header or metadata `traceparent`. Pure functions.
#pragma once

#include <string>
#include <string_view>

#include "base/command.h"

namespace leeward {

// 00-<trace id>-<span id>-<flags>, a later version likewise with more behind
// it. All zero for anything malformed: a request is never refused for it.
TraceContext parse_traceparent(std::string_view text);

// Lower-case hexadecimal, as in `traceparent` and in logs.
std::string trace_id_text(const TraceContext& trace);
std::string span_id_text(const TraceContext& trace);

}  // namespace leeward
