#include "node/standing.h"

#include <algorithm>

#include "base/codec.h"
#include "node/records.h"

namespace leeward::node {
namespace {

constexpr std::string_view kKey = "standing";

}  // namespace

Standing standing_in(const std::string& extra) {
  const auto record = find_record(extra, kKey);
  if (!record) return {};
  std::string_view value = *record;
  std::uint8_t kind;
  if (!codec::get_u8(value, kind) || kind > static_cast<std::uint8_t>(Standing::Kind::kIsolated)) return {};
  return {static_cast<Standing::Kind>(kind), std::string(value)};
}

void set_standing(std::string& extra, const Standing& standing) {
  if (standing.kind == Standing::Kind::kNone) return drop_record(extra, kKey);
  std::string record;
  codec::put_u8(record, static_cast<std::uint8_t>(standing.kind));
  set_record(extra, kKey, record + standing.reason);
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
