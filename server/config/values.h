// Addresses as operators write them. Pure functions; the error message says
// what was expected, without the key.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/quantity.h"
#include "base/result.h"

namespace leeward::config {

struct Address {
  std::string host;  // without brackets; empty means all interfaces
  std::uint16_t port = 0;
  bool any() const { return host.empty() || host == "0.0.0.0" || host == "::"; }
  bool loopback() const { return host == "localhost" || host == "::1" || host.starts_with("127."); }
  bool numeric() const;  // an IPv4 or IPv6 address, not a name
  std::string text() const;
  bool operator==(const Address&) const = default;
};

// "host:port", ":port", "[::1]:port". Port 0 is allowed for listeners only.
Result<Address> parse_address(std::string_view text);

// "name=value,name=value" with values percent-encoded, as OpenTelemetry's
// variables have it; nullopt when it is none. Empty text is an empty list.
std::optional<std::vector<std::pair<std::string, std::string>>> key_values(std::string_view text);

}  // namespace leeward::config
