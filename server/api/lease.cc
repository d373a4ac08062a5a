// Lease: grants and revokes go through the log, keep-alives to the leader.
#include "api/handlers.h"
#include "proto/rpc.pb.h"

namespace leeward::api::lease {
namespace {

constexpr std::int64_t kMaxTtl = 9'000'000'000;  // etcd's
constexpr std::size_t kMaxOutstanding = 10'000;  // keep-alives of one stream

class KeepAlives : public std::enable_shared_from_this<KeepAlives> {
 public:
  explicit KeepAlives(CallPtr call) : call_(std::move(call)) {}

  void start() {
    const auto self = shared_from_this();
    call_->rpc().on_message([self](Bytes message) { self->receive(message); });
    call_->rpc().on_half_close([self] {
      self->half_closed_ = true;
      self->finish_when_idle();
    });
    call_->on_end([self] { self->call_.reset(); });
  }

 private:
  void receive(const Bytes& bytes) {
    if (!call_) return;
    etcdserverpb::LeaseKeepAliveRequest request;
    if (!parse(call_, bytes, request)) return;
    if (outstanding_ >= kMaxOutstanding || call_->queued() > kMaxAnswersQueued)
      return call_->fail(error::kTooManyRequests);
    ++outstanding_;
    etcdserverpb::LeaseKeepAliveResponse response;
    // Before the lease is renewed: a client must not see it alive at a
    // revision at which it was revoked.
    fill(response.mutable_header(), call_->core());
    response.set_id(request.id());
    call_->core().node.keep_alive(request.id(), call_->loop(),
                                  [self = shared_from_this(), response = std::move(response)](
                                      Result<std::int64_t> ttl) mutable { self->answer(response, ttl); });
  }

  void answer(etcdserverpb::LeaseKeepAliveResponse& response, const Result<std::int64_t>& ttl) {
    --outstanding_;
    if (!call_) return;
    if (!ttl.ok() && ttl.error().code != Code::kNotFound) return call_->fail(ttl.error());
    response.set_ttl(ttl.ok() ? *ttl : 0);
    call_->send(Bytes(response.SerializeAsString()));
    finish_when_idle();
  }

  void finish_when_idle() {
    if (call_ && half_closed_ && outstanding_ == 0) call_->finish({});
  }

  CallPtr call_;
  std::size_t outstanding_ = 0;
  bool half_closed_ = false;
};

void answer_time_to_live(const CallPtr& call, const etcdserverpb::LeaseTimeToLiveRequest& request,
                         const Result<std::int64_t>& remaining) {
  if (!call->open()) return;
  if (!remaining.ok() && remaining.error().code != Code::kNotFound) return call->fail(remaining.error());
  const StateMachine& state = call->core().node.state();
  const auto info = state.lease(request.id());
  etcdserverpb::LeaseTimeToLiveResponse response;
  fill(response.mutable_header(), call->core());
  response.set_id(request.id());
  response.set_ttl(-1);
  if (remaining.ok() && *remaining >= 0 && info) {
    response.set_ttl(*remaining);
    response.set_grantedttl(info->ttl_seconds);
    if (request.keys())
      for (auto& key : state.lease_keys(request.id())) response.add_keys(std::move(key));
  }
  call->reply_message(response);
}

}  // namespace

void grant(CallPtr call, Bytes request) {
  etcdserverpb::LeaseGrantRequest parsed;
  if (!parse(call, request, parsed)) return;
  if (parsed.ttl() > kMaxTtl) return call->fail(error::kLeaseTtlTooLarge);
  if (parsed.id() == 0) {
    parsed.set_id(call->core().new_lease_id());
    request = Bytes(parsed.SerializeAsString());
  }
  propose(call, Op::kLeaseGrant, std::move(request));
}

void revoke(CallPtr call, Bytes request) {
  etcdserverpb::LeaseRevokeRequest parsed;
  if (parse(call, request, parsed)) propose(call, Op::kLeaseRevoke, std::move(request));
}

void keep_alive(CallPtr call) { std::make_shared<KeepAlives>(std::move(call))->start(); }

// A confirmed read first: the leader knows the time left, this node the keys.
void time_to_live(CallPtr call, Bytes request) {
  etcdserverpb::LeaseTimeToLiveRequest parsed;
  if (!parse(call, request, parsed)) return;
  when_linearizable(call, [call, parsed] {
    call->core().node.lease_remaining(parsed.id(), call->loop(), [call, parsed](Result<std::int64_t> remaining) {
      answer_time_to_live(call, parsed, remaining);
    });
  });
}

void leases(CallPtr call, Bytes request) {
  etcdserverpb::LeaseLeasesRequest parsed;
  if (!parse(call, request, parsed)) return;
  when_linearizable(call, [call] {
    etcdserverpb::LeaseLeasesResponse response;
    fill(response.mutable_header(), call->core());
    for (const auto& lease : call->core().node.state().leases()) response.add_leases()->set_id(lease.id);
    call->reply_message(response);
  });
}

}  // namespace leeward::api::lease
