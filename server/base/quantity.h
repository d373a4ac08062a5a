// Durations and sizes as operators write them, in configuration, flags and
// queries. The error's message says what was expected.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/units.h"

namespace leeward {

// "250ms", "1.5s", "1h30m". Units: ns, us, ms, s, m, h, d. A number without a
// unit is an error, except 0.
Result<Duration> parse_duration(std::string_view text);
// In the largest unit that gives a whole number: 90s, 1500ms, 0s.
std::string format_duration(Duration value);

// "64MiB", "1GB", "512B". KiB.. are powers of 1024, KB.. of 1000.
Result<std::uint64_t> parse_size(std::string_view text);
std::string format_size(std::uint64_t bytes);

// For people, rounded: "1.5 MiB", "812 B"; "12,345,678"; "0.3 ms", "80 ms", "12.5 s".
std::string human_size(std::uint64_t bytes);
std::string grouped(std::uint64_t number);
std::string human_duration(Duration value);

}  // namespace leeward
