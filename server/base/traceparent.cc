#include "base/traceparent.h"

#include <span>

namespace leeward {
namespace {

// Lower-case hexadecimal only, as the specification asks.
template <class Out>
bool parse_hex(std::string_view text, Out& out) {
  const auto digit = [](char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; };
  for (std::size_t i = 0; i < out.size(); ++i) {
    const int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    out[i] = static_cast<std::uint8_t>(high << 4 | low);
  }
  return true;
}

std::string hex(std::span<const std::uint8_t> bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  out.reserve(2 * bytes.size());
  for (const std::uint8_t byte : bytes) {
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  }
  return out;
}

}  // namespace

TraceContext parse_traceparent(std::string_view text) {
  constexpr std::size_t kSize = 55;  // 2-32-16-2
  if (text.size() < kSize || text[2] != '-' || text[35] != '-' || text[52] != '-') return {};
  std::array<std::uint8_t, 1> version, flags;
  TraceContext trace;
  if (!parse_hex(text, version) || version[0] == 0xff) return {};
  if (version[0] == 0 ? text.size() != kSize : (text.size() > kSize && text[kSize] != '-')) return {};
  if (!parse_hex(text.substr(3), trace.trace_id) || !parse_hex(text.substr(36), trace.span_id) ||
      !parse_hex(text.substr(53), flags))
    return {};
  if (trace.trace_id == decltype(trace.trace_id){} || trace.span_id == decltype(trace.span_id){}) return {};
  trace.sampled = flags[0] & 1;
  return trace;
}

std::string trace_id_text(const TraceContext& trace) { return hex(trace.trace_id); }
std::string span_id_text(const TraceContext& trace) { return hex(trace.span_id); }

}  // namespace leeward
