#include <cstdio>
#include <cstdlib>

#include "base/check.h"
#include "base/ids.h"
#include "base/result.h"

namespace leeward {
namespace {

std::string to_hex(const std::uint8_t* data, std::size_t size) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  out.reserve(size * 2);
  for (std::size_t i = 0; i < size; ++i) {
    out.push_back(kDigits[data[i] >> 4]);
    out.push_back(kDigits[data[i] & 15]);
  }
  return out;
}

void (*check_handler)(const char*, int, const char*) = nullptr;

}  // namespace

Lineage Lineage::make(std::uint64_t random, std::uint64_t more_random, WallTime now) {
  Lineage lineage;
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count();
  for (int i = 0; i < 8; ++i) lineage.bytes[i] = static_cast<std::uint8_t>(random >> 8 * i);
  for (int i = 0; i < 2; ++i) lineage.bytes[8 + i] = static_cast<std::uint8_t>(more_random >> 8 * i);
  for (int i = 0; i < 6; ++i) lineage.bytes[15 - i] = static_cast<std::uint8_t>(ms >> 8 * i);
  return lineage;
}

WallTime Lineage::created() const {
  std::int64_t ms = 0;
  for (int i = 10; i < 16; ++i) ms = ms << 8 | bytes[i];
  return WallTime(std::chrono::milliseconds(ms));
}

std::string Lineage::hex() const { return to_hex(bytes.data(), bytes.size()); }
std::string Hash::hex() const { return to_hex(bytes.data(), bytes.size()); }

const char* name(Code code) {
  switch (code) {
    case Code::kInvalid: return "invalid";
    case Code::kNotFound: return "not found";
    case Code::kExists: return "exists";
    case Code::kIo: return "I/O error";
    case Code::kNoSpace: return "no space";
    case Code::kCorrupt: return "corrupt";
    case Code::kLineage: return "other lineage";
    case Code::kNewerFormat: return "newer format";
    case Code::kInUse: return "in use";
    case Code::kUnavailable: return "unavailable";
    case Code::kUnknown: return "unknown outcome";
    case Code::kOverloaded: return "overloaded";
    case Code::kCompacted: return "compacted";
    case Code::kCancelled: return "cancelled";
    case Code::kDeadline: return "deadline exceeded";
    case Code::kPermission: return "permission denied";
    case Code::kRefused: return "refused by a rule";
    case Code::kUnimplemented: return "unimplemented";
  }
  return "?";
}

void set_check_handler(void (*handler)(const char*, int, const char*)) { check_handler = handler; }

void check_failed(const char* file, int line, const char* condition, const std::string& detail) {
  std::string text = std::string("CHECK failed: ") + condition;
  if (!detail.empty()) text += ": " + detail;
  std::fprintf(stderr, "%s:%d: %s\n", file, line, text.c_str());
  if (auto* handler = std::exchange(check_handler, nullptr)) handler(file, line, text.c_str());
  std::abort();
}

}  // namespace leeward
