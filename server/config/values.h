// Durations, sizes and addresses as operators write them. Pure functions; the
// error message says what was expected, without the key.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/units.h"

namespace leeward::config {

// "250ms", "1.5s", "1h30m". Units: ns, us, ms, s, m, h, d. A number without a
// unit is an error, except 0.
Result<Duration> parse_duration(std::string_view text);
// In the largest unit that gives a whole number: 90s, 1500ms, 0s.
std::string format_duration(Duration value);

// "64MiB", "1GB", "512B". KiB.. are powers of 1024, KB.. of 1000.
Result<std::uint64_t> parse_size(std::string_view text);
std::string format_size(std::uint64_t bytes);

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

}  // namespace leeward::config
