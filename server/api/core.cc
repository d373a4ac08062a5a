#include "api/core.h"

namespace leeward::api {
namespace {

constexpr Duration kStatusAge = std::chrono::milliseconds(100);

// A bijection that scatters: different inputs give different ids.
std::uint64_t scatter(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

}  // namespace

const MemberStatus* StatusView::self() const {
  for (const auto& member : status.members)
    if (member.id == status.self) return &member;
  return nullptr;
}

std::optional<Duration> StatusView::lag_high(Instant now) const {
  if (status.role == GroupRole::kPrimary) return Duration::zero();
  const MemberStatus* member = self();
  if (member == nullptr || !member->lag.high) return std::nullopt;
  // While this copy aged, and what it was made of, the primary may have gone on writing.
  return *member->lag.high + (now - (status.made != Instant() ? std::min(status.made, taken) : taken));
}

Core::Core(Dependencies dependencies, Options given)
    : node(dependencies.node), clock(dependencies.clock), log(dependencies.log), probe(dependencies.probe),
      background(dependencies.background), readers(std::move(dependencies.readers)), recovery(dependencies.recovery), handover(dependencies.handover), way_back(dependencies.way_back), drills(dependencies.drills), tracer(dependencies.tracer),
      options(std::move(given)), self_(node.status().self) {
  set_limits(options);
}

void Core::set_limits(const Options& fresh) {
  limits.max_txn_ops = fresh.max_txn_ops;
  limits.max_request_bytes = fresh.max_request_bytes;
  limits.request_timeout = fresh.request_timeout;
  limits.slow_request = fresh.slow_request;
  limits.rate.set(fresh.rate, fresh.burst);
}

std::shared_ptr<const StatusView> Core::status() const {
  const Instant now = clock.now();
  {
    std::lock_guard lock(mutex_);
    if (status_ && now - status_->taken < kStatusAge) return status_;
  }
  // Two loops may do this at once: cheaper than one waiting for the other.
  auto fresh = std::make_shared<const StatusView>(StatusView{node.status(), now});
  std::lock_guard lock(mutex_);
  status_ = fresh;
  return fresh;
}

bool Core::is_operator(const PeerIdentity& peer) const {
  return options.insecure || peer.unix_socket ||
         (peer.tls && !peer.common_name.empty() && options.operators.contains(peer.common_name));
}

std::int64_t Core::new_lease_id() const {
  const Origin origin = node.next_origin();
  const std::uint64_t mixed = scatter(origin.process + origin.sequence * 0x9e3779b97f4a7c15ULL);
  const auto id = static_cast<std::int64_t>(mixed & ~(std::uint64_t{1} << 63));
  return id == 0 ? 1 : id;
}

}  // namespace leeward::api
