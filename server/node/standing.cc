#include "node/standing.h"

#include <algorithm>

#include "base/codec.h"

namespace leeward::node {
namespace {

constexpr std::string_view kKey = "standing";

}  // namespace

Standing standing_in(const std::string& extra) {
  std::string_view in = extra, key, value;
  while (codec::get_bytes(in, key) && codec::get_bytes(in, value)) {
    std::uint8_t kind;
    if (key != kKey || !codec::get_u8(value, kind) || kind > static_cast<std::uint8_t>(Standing::Kind::kIsolated)) continue;
    return {static_cast<Standing::Kind>(kind), std::string(value)};
  }
  return {};
}

std::string with_standing(const std::string& extra, const Standing& standing) {
  std::string out;
  std::string_view in = extra, key, value;
  while (codec::get_bytes(in, key) && codec::get_bytes(in, value)) {
    if (key == kKey) continue;
    codec::put_bytes(out, key);
    codec::put_bytes(out, value);
  }
  if (standing.kind == Standing::Kind::kNone) return out;
  std::string record;
  codec::put_u8(record, static_cast<std::uint8_t>(standing.kind));
  record += standing.reason;
  codec::put_bytes(out, kKey);
  codec::put_bytes(out, record);
  return out;
}

Result<void> check_reason(const std::string& reason) {
  if (reason.empty()) return Error{Code::kInvalid, "leeward: an isolation needs a reason: whoever finds this member later must know"};
  if (reason.size() > Standing::kMaxReason)
    return Error{Code::kInvalid, "leeward: the reason may have " + std::to_string(Standing::kMaxReason) + " bytes at most"};
  if (std::any_of(reason.begin(), reason.end(), [](char c) { return static_cast<unsigned char>(c) < ' '; }))
    return Error{Code::kInvalid, "leeward: the reason is one line of text"};
  return {};
}

}  // namespace leeward::node
