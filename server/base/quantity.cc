#include "base/quantity.h"

#include <array>
#include <charconv>
#include <cstdio>
#include <limits>

namespace leeward {
namespace {

struct Unit {
  std::string_view name;
  std::uint64_t factor;
};

constexpr std::array<Unit, 7> kTimeUnits = {{
    {"d", 86'400'000'000'000}, {"h", 3'600'000'000'000}, {"m", 60'000'000'000}, {"s", 1'000'000'000},
    {"ms", 1'000'000},         {"us", 1'000},            {"ns", 1},
}};
constexpr std::array<Unit, 9> kSizeUnits = {{
    {"TiB", 1ull << 40}, {"GiB", 1ull << 30}, {"MiB", 1ull << 20}, {"KiB", 1ull << 10}, {"B", 1},
    {"TB", 1'000'000'000'000}, {"GB", 1'000'000'000}, {"MB", 1'000'000}, {"KB", 1'000},
}};
constexpr const char* kDurationExample = "expected a duration with a unit, such as \"250ms\", \"10s\" or \"1h30m\"";
constexpr const char* kSizeExample = "expected a size with a unit, such as \"64MiB\" or \"2GiB\"";

bool digit(char c) { return c >= '0' && c <= '9'; }

// One "<number><unit>" off the front; false when there is none or it overflows.
template <std::size_t N>
bool take_quantity(std::string_view& text, const std::array<Unit, N>& units, std::uint64_t& total) {
  std::size_t n = 0;
  while (n < text.size() && (digit(text[n]) || text[n] == '.')) ++n;
  double number = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + n, number);
  if (n == 0 || parsed.ec != std::errc{} || parsed.ptr != text.data() + n) return false;
  std::uint64_t whole = 0;
  const bool exact = std::from_chars(text.data(), text.data() + n, whole).ptr == text.data() + n;
  text.remove_prefix(n);
  std::size_t letters = 0;
  while (letters < text.size() && !digit(text[letters]) && text[letters] != '.') ++letters;
  for (const Unit& unit : units) {
    if (text.substr(0, letters) != unit.name) continue;
    constexpr double kLimit = static_cast<double>(std::numeric_limits<std::int64_t>::max());
    if (number * static_cast<double>(unit.factor) + static_cast<double>(total) >= kLimit) return false;
    total += exact ? whole * unit.factor : static_cast<std::uint64_t>(number * static_cast<double>(unit.factor));
    text.remove_prefix(letters);
    return true;
  }
  return false;
}

template <std::size_t N>
std::string largest_whole_unit(std::uint64_t value, const std::array<Unit, N>& units, std::string_view zero) {
  if (value == 0) return std::string(zero);
  for (const Unit& unit : units)
    if (value % unit.factor == 0) return std::to_string(value / unit.factor) + std::string(unit.name);
  return std::to_string(value);
}

}  // namespace

Result<Duration> parse_duration(std::string_view text) {
  if (text == "0") return Duration{0};
  std::string_view rest = text;
  std::uint64_t total = 0;
  if (rest.empty()) return Error{Code::kInvalid, kDurationExample};
  while (!rest.empty())
    if (!take_quantity(rest, kTimeUnits, total))
      return Error{Code::kInvalid, "\"" + std::string(text) + "\": " + kDurationExample};
  return Duration{static_cast<std::int64_t>(total)};
}

std::string format_duration(Duration value) {
  return largest_whole_unit(static_cast<std::uint64_t>(value.count()), kTimeUnits, "0s");
}

Result<std::uint64_t> parse_size(std::string_view text) {
  if (text == "0") return std::uint64_t{0};
  std::string_view rest = text;
  std::uint64_t total = 0;
  if (!take_quantity(rest, kSizeUnits, total) || !rest.empty())
    return Error{Code::kInvalid, (text.empty() ? "" : "\"" + std::string(text) + "\": ") + kSizeExample};
  return total;
}

std::string format_size(std::uint64_t bytes) { return largest_whole_unit(bytes, kSizeUnits, "0B"); }

std::string human_size(std::uint64_t bytes) {
  static constexpr const char* kNames[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(kNames)) value /= 1024, ++unit;
  char text[32];
  std::snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.1f %s", value, kNames[unit]);
  return text;
}

std::string grouped(std::uint64_t number) {
  const std::string digits = std::to_string(number);
  std::string out;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) out += ',';
    out += digits[i];
  }
  return out;
}

std::string human_duration(Duration value) {
  char text[32];
  const double ms = to_ms(value);
  if (ms < 10) std::snprintf(text, sizeof text, "%.1f ms", ms);
  else if (ms < 10'000) std::snprintf(text, sizeof text, "%.0f ms", ms);
  else std::snprintf(text, sizeof text, "%.1f s", ms / 1000);
  return text;
}

}  // namespace leeward
