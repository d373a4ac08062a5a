// The format of what a node writes to its disks and into its group's log, as one
// number for all of it. A version reads every format from the oldest on, and
// writes the one that its group has been finalized to, so that an upgrade can be
// taken back until an operator says that it is to stay: node/README.md, "Formats".
#pragma once

#include <cstdint>

namespace leeward {

// 1: as of 0.1.0. 2: the group's state says the format itself.
inline constexpr std::uint32_t kOldestFormat = 1, kNewestFormat = 2;

}  // namespace leeward
