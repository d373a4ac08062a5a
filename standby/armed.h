// Which group may end the present epoch: the payloads of `Armed` and
// `Disarmed`, and the rule that reads them. Pure.
//
// The rule is a function of the history's region entries alone (as the state
// machine keeps them, so it survives restarts and snapshots) and of the group's
// own `Resigned`, which has no writer yet.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "base/units.h"
#include "ports/state_machine.h"

namespace leeward::standby {

enum class FenceMode : std::uint8_t { kContact = 1, kLease = 2 };
const char* name(FenceMode mode);

struct Armed {
  std::uint64_t arming = 0;  // random, never 0
  GroupId group;
  std::string region;        // shown; the group id decides
  FenceMode mode = FenceMode::kContact;
  Duration lease = 10s;      // whole milliseconds
  bool unguarded = false;
  bool operator==(const Armed&) const = default;
};

struct Disarmed {
  std::uint64_t arming = 0;
  bool operator==(const Disarmed&) const = default;
};

std::string encode(const Armed& armed);
std::string encode(const Disarmed& disarmed);
// Errors: kCorrupt, kNewerFormat.
Result<Armed> decode_armed(std::string_view payload);
Result<Disarmed> decode_disarmed(std::string_view payload);

// The newest `Armed` of `epoch` that no later `Disarmed` names, among `entries`
// (any order; the newest of each kind is enough). Malformed ones arm nobody.
std::optional<Armed> armed_in(const std::vector<RegionEntry>& entries, Epoch epoch);

}  // namespace leeward::standby
