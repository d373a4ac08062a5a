// Deadlines of client leases, in memory, at the leader only. A new leader
// starts every lease at its full time to live: nobody logged the keep-alives.
//
// Core loop. Time comes with each call.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "base/units.h"
#include "ports/state_machine.h"

namespace leeward::node {

class Lessor {
 public:
  explicit Lessor(std::uint32_t revokes_per_second) : rate_(revokes_per_second) {}

  // The leader's first entry is committed: all leases begin anew.
  void lead(Instant now, const std::vector<LeaseInfo>& leases);
  void follow();
  // For so long no keep-alive could be heard: every lease lasts as much longer, but those
  // that ended before, of which a revoke may be in the log.
  void extend(Duration by);
  bool leading() const { return leading_; }

  // A grant or a revoke was applied. Does nothing at a follower.
  void granted(Instant now, const LeaseInfo& lease);
  void revoked(std::int64_t id);

  // The time to live it has again, or nullopt when there is no such lease or
  // it has run out already.
  std::optional<std::int64_t> renew(Instant now, std::int64_t id);
  std::optional<Duration> remaining(Instant now, std::int64_t id) const;

  // Leases to revoke now, at most the rate allows; each is named again after a
  // while when it is still there.
  std::vector<std::int64_t> expired(Instant now);

 private:
  struct Lease {
    Duration ttl{};
    Instant until{};
    Instant due{};  // `until`, or when to try the revoke again
  };
  void place(std::int64_t id, Lease lease);

  std::uint32_t rate_;
  bool leading_ = false;
  std::map<std::int64_t, Lease> leases_;
  std::set<std::pair<Instant, std::int64_t>> by_due_;
  Instant window_start_{};
  std::uint32_t revoked_in_window_ = 0;
};

}  // namespace leeward::node
