#include "net/grpc.h"

#include <algorithm>
#include <cstdint>

namespace leeward::net {

bool is_grpc_content(std::string_view content_type) {
  constexpr std::string_view kType = "application/grpc";
  if (!content_type.starts_with(kType)) return false;
  content_type.remove_prefix(kType.size());
  return content_type.empty() || content_type.front() == '+' || content_type.front() == ';';
}

std::optional<Duration> parse_grpc_timeout(std::string_view text) {
  if (text.size() < 2 || text.size() > 9) return std::nullopt;
  std::int64_t value = 0;
  for (char c : text.substr(0, text.size() - 1)) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + (c - '0');
  }
  // Eight digits of hours exceed 64 bits of nanoseconds; a year is for ever.
  constexpr Duration kMost = std::chrono::hours(24 * 365);
  const auto of = [&](Duration unit) { return value > kMost / unit ? kMost : unit * value; };
  switch (text.back()) {
    case 'H': return of(std::chrono::hours(1));
    case 'M': return of(std::chrono::minutes(1));
    case 'S': return of(1s);
    case 'm': return of(1ms);
    case 'u': return of(1us);
    case 'n': return of(1ns);
    default: return std::nullopt;
  }
}

std::string percent_encode(std::string_view text) {
  constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    // HTTP/2 has no value that begins or ends with a space.
    const bool edge = i == 0 || i + 1 == text.size();
    if (c >= 0x20 && c <= 0x7e && c != '%' && !(c == ' ' && edge)) {
      out.push_back(static_cast<char>(c));
    } else {
      out.push_back('%');
      out.push_back(kHex[c >> 4]);
      out.push_back(kHex[c & 15]);
    }
  }
  return out;
}

std::string_view cut_text(std::string_view text, std::size_t bytes) {
  if (text.size() <= bytes) return text;
  constexpr std::size_t kLongest = 4;  // of a character; what goes on for longer is no UTF-8
  std::size_t end = bytes;
  while (end > 0 && bytes - end < kLongest && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return text.substr(0, bytes - end < kLongest ? end : bytes);
}

}  // namespace leeward::net
