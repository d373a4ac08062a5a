#include "config/values.h"

#include <algorithm>
#include <charconv>

namespace leeward::config {
namespace {

Error address_error(std::string_view text) {
  return {Code::kInvalid,
          "\"" + std::string(text) + "\" is not an address; expected \"host:port\", \"[ipv6]:port\" or \":port\""};
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

std::optional<std::string> percent_decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    std::uint8_t byte = 0;
    if (i + 3 > text.size()) return std::nullopt;
    const auto [end, fault] = std::from_chars(text.data() + i + 1, text.data() + i + 3, byte, 16);
    if (fault != std::errc() || end != text.data() + i + 3) return std::nullopt;
    out += static_cast<char>(byte);
    i += 2;
  }
  return out;
}

}  // namespace

bool Address::numeric() const {
  if (host.find(':') != std::string::npos) return true;
  return !host.empty() && host.find_first_not_of("0123456789.") == std::string::npos;
}

std::string Address::text() const {
  const bool ipv6 = host.find(':') != std::string::npos;
  return (ipv6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

Result<Address> parse_address(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return address_error(text);
  Address address;
  std::string_view host = text.substr(0, colon);
  const std::string_view port = text.substr(colon + 1);
  const auto parsed = std::from_chars(port.data(), port.data() + port.size(), address.port);
  if (port.empty() || parsed.ec != std::errc{} || parsed.ptr != port.data() + port.size()) return address_error(text);
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
    if (host.find(':') == std::string_view::npos) return address_error(text);
  } else if (host.find_first_of(":/[] \t") != std::string_view::npos) {
    return address_error(text);
  }
  address.host = host;
  return address;
}

std::optional<std::vector<std::pair<std::string, std::string>>> key_values(std::string_view text) {
  std::vector<std::pair<std::string, std::string>> out;
  while (!text.empty()) {
    const std::string_view pair = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), pair.size() + 1));
    const std::size_t equals = pair.find('=');
    const std::string_view name = trimmed(pair.substr(0, equals));
    if (equals == std::string_view::npos || name.empty()) return std::nullopt;
    const auto value = percent_decoded(trimmed(pair.substr(equals + 1)));
    // They go into headers: a line break in one would begin another.
    if (!value || value->find_first_of(std::string_view("\r\n\0", 3)) != std::string::npos ||
        name.find_first_of(" \t\r\n:") != std::string_view::npos)
      return std::nullopt;
    out.emplace_back(name, *value);
  }
  return out;
}

}  // namespace leeward::config
