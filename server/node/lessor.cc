#include "node/lessor.h"

namespace leeward::node {
namespace {

constexpr Duration kRevokeRetry = 3s;

}  // namespace

void Lessor::lead(Instant now, const std::vector<LeaseInfo>& leases) {
  follow();
  leading_ = true;
  for (const auto& lease : leases) granted(now, lease);
}

void Lessor::extend(Duration by) {
  by_due_.clear();
  for (auto& [id, lease] : leases_) {
    if (lease.due == lease.until) lease.due = lease.until += by;
    by_due_.insert({lease.due, id});
  }
}

void Lessor::follow() {
  leading_ = false;
  leases_.clear();
  by_due_.clear();
}

void Lessor::granted(Instant now, const LeaseInfo& lease) {
  if (!leading_) return;
  const Duration ttl = std::chrono::seconds(lease.ttl_seconds);
  place(lease.id, {ttl, now + ttl, now + ttl});
}

void Lessor::revoked(std::int64_t id) {
  const auto it = leases_.find(id);
  if (it == leases_.end()) return;
  by_due_.erase({it->second.due, id});
  leases_.erase(it);
}

std::optional<std::int64_t> Lessor::renew(Instant now, std::int64_t id) {
  const auto it = leases_.find(id);
  // A lease that has run out may have a revoke in the log: it is gone.
  if (it == leases_.end() || it->second.until <= now) return std::nullopt;
  const auto ttl = it->second.ttl;
  place(id, {ttl, now + ttl, now + ttl});
  return std::chrono::duration_cast<std::chrono::seconds>(ttl).count();
}

std::optional<Duration> Lessor::remaining(Instant now, std::int64_t id) const {
  const auto it = leases_.find(id);
  if (it == leases_.end()) return std::nullopt;
  return it->second.until - now;
}

std::vector<std::int64_t> Lessor::expired(Instant now) {
  std::vector<std::int64_t> ids;
  if (now - window_start_ >= Duration(1s)) {
    window_start_ = now;
    revoked_in_window_ = 0;
  }
  while (!by_due_.empty() && by_due_.begin()->first <= now && revoked_in_window_ < rate_) {
    const auto id = by_due_.begin()->second;
    auto lease = leases_.at(id);
    lease.due = now + kRevokeRetry;
    place(id, lease);
    ids.push_back(id);
    ++revoked_in_window_;
  }
  return ids;
}

void Lessor::place(std::int64_t id, Lease lease) {
  revoked(id);
  by_due_.insert({lease.due, id});
  leases_[id] = lease;
}

}  // namespace leeward::node
