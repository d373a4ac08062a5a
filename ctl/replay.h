// Applies a ledger to the region that serves, by etcd's own transactions:
// standby/README.md, "Replay", has the rules and why they hold.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "ctl/ledger.h"

namespace leeward::ctl {

// Stands before the keys that mark what was replayed: then the group, 16
// hexadecimal digits, the ledger, the history index and the number in its entry.
inline constexpr std::string_view kMarkerPrefix = "leeward/replayed/";

struct ReplayOptions {
  bool dry_run = false;
  std::ostream* progress = nullptr;
};

struct Replayed {
  struct Left {  // not applied
    std::uint64_t index = 0, number = 0;
    std::string op, kind, why;  // kind: conflicting, lease_bound
  };
  // Each transaction counts once. `clean` may be applied, or was just now.
  std::uint64_t clean = 0, conflicting = 0, lease_bound = 0, other = 0, replayed = 0;
  std::uint64_t applied = 0;  // just now
  std::vector<Left> left;     // the first of them
  std::uint64_t left_more = 0;
};

// Errors: kUnavailable, when neither says that it could be done; what was
// applied by then is marked, and is not applied again.
Result<Replayed> replay(const Server& server, const KeptLedger& ledger, const ReplayOptions& options);

}  // namespace leeward::ctl
