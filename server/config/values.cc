#include "config/values.h"

#include <charconv>

namespace leeward::config {
namespace {

Error address_error(std::string_view text) {
  return {Code::kInvalid,
          "\"" + std::string(text) + "\" is not an address; expected \"host:port\", \"[ipv6]:port\" or \":port\""};
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

}  // namespace leeward::config
