// A rehearsal of this region's promotion, by a fork of this member's data while
// it goes on following: standby/README.md, "Drill". `standby` implements it, the
// API serves it. Plain values; any thread may call, `reply` runs `done`.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/entry.h"
#include "base/function.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/units.h"
#include "ports/executor.h"

namespace leeward {

// One step, in the order in which they were done. The first that is not ok is
// the last but for what cleans up.
struct DrillCheck {
  std::string name;  // of the closed set in standby/README.md, "Drill"
  bool ok = false;
  Duration took{};
  std::string detail;
};

struct DrillReport {
  NodeId node;
  std::string region;
  std::vector<DrillCheck> checks;
  // In the fork: from asking for the promotion to the first write that was
  // answered. nullopt: it did not come to that.
  std::optional<Duration> rto;
  // The upper bound of this standby's lag at its highest while the drill ran;
  // nullopt: it was unknown at some time.
  std::optional<Duration> standby_lag;
  Position position;  // where the fork's history ended
  Epoch epoch;        // that began in the fork
  Duration took{};
  bool passed() const {
    for (const auto& check : checks)
      if (!check.ok) return false;
    return !checks.empty();
  }
};

class Drills {
 public:
  virtual ~Drills() = default;
  // Takes as long as it takes to read all that the member holds. A drill that
  // fails is a report. Errors: kRefused with the rule, kUnavailable.
  virtual void drill(Executor& reply, Function<void(Result<DrillReport>)> done) = 0;
};

}  // namespace leeward
