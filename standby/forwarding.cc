#include "standby/forwarding.h"

#include <algorithm>
#include <vector>

namespace leeward::standby {
namespace {

constexpr Duration kExpireInterval = 50ms;

node::Outcome ended(node::Outcome::End end, Code code, std::string message) {
  node::Outcome outcome;
  outcome.end = end;
  outcome.error = {code, std::move(message)};
  return outcome;
}

ForwardReply refused(Code code, std::string message) {
  ForwardReply reply;
  reply.outcome = ended(node::Outcome::End::kNotApplied, code, std::move(message));
  return reply;
}

ForwardReply lease_reply(const Result<std::int64_t>& result) {
  if (!result.ok()) return refused(result.error().code, result.error().message);
  ForwardReply reply;
  reply.outcome.end = node::Outcome::End::kApplied;
  reply.seconds = *result;
  return reply;
}

}  // namespace

ForwardingService::ForwardingService(node::Service& member, node::Group& group, Replication& replication,
                                     ForwardingOptions options)
    : member_(member), group_(group), replication_(replication), options_(options) {
  following_ = follows(group.role());
  next_request_ = group.random();  // a reply to an earlier life of this process finds nobody
  replication_.set_forward_handler(this);
}

ForwardingService::~ForwardingService() {
  if (timer_) group_.loop().cancel(timer_);
  replication_.set_forward_handler(nullptr);
}

std::string ForwardingService::silent_text() const {
  return "leeward: region " + replication_.regions().own + " is a standby and hears no primary (epoch " +
         std::to_string(group_.epoch().value()) + "); only serializable reads are served here";
}

// --- what clients ask here ---

void ForwardingService::propose(Command command, std::optional<Instant> deadline, Executor& reply,
                                Function<void(node::Outcome)> done) {
  if (!following_) return member_.propose(std::move(command), deadline, reply, std::move(done));
  group_.loop().post([this, command = std::move(command), deadline, &reply, done = std::move(done)]() mutable {
    if (!follows(group_.role())) return member_.propose(std::move(command), deadline, reply, std::move(done));
    Forward call;
    call.call = Call::kPropose;
    call.command = std::move(command);
    pass_on(std::move(call), deadline, [&reply, done = std::move(done)](ForwardReply answer) mutable {
      reply.post([done = std::move(done), outcome = std::move(answer.outcome)]() mutable { done(std::move(outcome)); });
    });
  });
}

void ForwardingService::keep_alive(std::int64_t lease, Executor& reply, Function<void(Result<std::int64_t>)> done) {
  if (!following_) return member_.keep_alive(lease, reply, std::move(done));
  pass_on_lease(Call::kKeepAlive, lease, reply, std::move(done));
}

void ForwardingService::lease_remaining(std::int64_t lease, Executor& reply,
                                        Function<void(Result<std::int64_t>)> done) {
  if (!following_) return member_.lease_remaining(lease, reply, std::move(done));
  pass_on_lease(Call::kLeaseRemaining, lease, reply, std::move(done));
}

void ForwardingService::pass_on_lease(Call kind, std::int64_t lease, Executor& reply,
                                      Function<void(Result<std::int64_t>)> done) {
  group_.loop().post([this, kind, lease, &reply, done = std::move(done)]() mutable {
    if (!follows(group_.role()) && kind == Call::kKeepAlive) return member_.keep_alive(lease, reply, std::move(done));
    if (!follows(group_.role())) return member_.lease_remaining(lease, reply, std::move(done));
    Forward call;
    call.call = kind;
    call.lease = lease;
    pass_on(std::move(call), std::nullopt, [&reply, done = std::move(done)](ForwardReply answer) mutable {
      Result<std::int64_t> result = answer.seconds;
      if (answer.outcome.end != node::Outcome::End::kApplied) result = answer.outcome.error;
      reply.post([done = std::move(done), result = std::move(result)]() mutable { done(std::move(result)); });
    });
  });
}

void ForwardingService::pass_on(Forward call, std::optional<Instant> deadline, Done done) {
  auto& probe = replication_.probe();
  const auto now = group_.clock().now();
  const auto until = deadline.value_or(now + options_.request_timeout);
  const auto to = replication_.primary_member();
  auto refuse = [&](Code code, const char* text) {
    probe.forward_refused.add();
    done(refused(code, text));
  };
  if (!options_.forward || !replication_.heard(now) || !to) return refuse(Code::kUnavailable, kTryNextEndpoint);
  if (until <= now) return refuse(Code::kDeadline, "etcdserver: request timed out");
  const auto bytes = call.command.request.size() + 256;
  if (waiting_.size() >= options_.max_waiting || waiting_bytes_ + bytes > options_.max_bytes)
    return refuse(Code::kOverloaded, "etcdserver: too many requests");

  call.request = ++next_request_;
  call.timeout_ms = static_cast<std::uint64_t>((until - now) / 1ms);
  const auto request = call.request;
  if (!replication_.outbox().send(to, std::move(call))) return refuse(Code::kUnavailable, kTryNextEndpoint);
  probe.forwarded.add();
  waiting_bytes_ += bytes;
  waiting_.emplace(request, Waiting{to, until, bytes, std::move(done)});
  watch_time();
}

void ForwardingService::reply(NodeId from, ForwardReply reply) {
  const auto it = waiting_.find(reply.request);
  if (it == waiting_.end() || it->second.to != from) return;
  auto done = std::move(it->second.done);
  waiting_bytes_ -= it->second.bytes;
  waiting_.erase(it);
  done(std::move(reply));
}

void ForwardingService::watch_time() {
  if (timer_ || waiting_.empty()) return;
  timer_ = group_.loop().after(kExpireInterval, [this] {
    timer_ = 0;
    expire();
    watch_time();
  });
}

// It was sent: it may have been applied, and nobody sends it again.
void ForwardingService::expire() {
  const auto now = group_.clock().now();
  std::vector<Done> late;
  for (auto it = waiting_.begin(); it != waiting_.end();) {
    if (it->second.until > now) {
      ++it;
      continue;
    }
    waiting_bytes_ -= it->second.bytes;
    late.push_back(std::move(it->second.done));
    it = waiting_.erase(it);
  }
  for (auto& done : late) {
    replication_.probe().forward_unknown.add();
    ForwardReply reply;
    reply.outcome = ended(node::Outcome::End::kUnknown, Code::kDeadline, "etcdserver: request timed out");
    done(std::move(reply));
  }
}

void ForwardingService::read_barrier(std::optional<Instant> deadline, Executor& reply,
                                     Function<void(Result<void>)> done) {
  if (!following_) return member_.read_barrier(deadline, reply, std::move(done));
  group_.loop().post([this, deadline, &reply, done = std::move(done)]() mutable {
    if (!follows(group_.role())) return member_.read_barrier(deadline, reply, std::move(done));
    wait_here(deadline, [&reply, done = std::move(done)](Result<void> result) mutable {
      reply.post([done = std::move(done), result = std::move(result)]() mutable { done(std::move(result)); });
    });
  });
}

void ForwardingService::wait_here(std::optional<Instant> deadline, Function<void(Result<void>)> done) {
  const auto now = group_.clock().now();
  if (!options_.forward || !replication_.heard(now)) return done(Error{Code::kUnavailable, silent_text()});
  const auto until = deadline.value_or(now + options_.request_timeout);
  replication_.primary_commit(until - now, [this, alive = std::weak_ptr<bool>(alive_), until,
                                            done = std::move(done)](Result<Position> commit) mutable {
    if (!commit.ok()) return done(commit.error());
    if (alive.expired()) return done(Error{Code::kUnavailable, "this node is stopping"});
    replication_.when_applied(commit->index, until, [this, alive, done = std::move(done)](Result<void> applied) mutable {
      // What the primary confirmed behind its Seal may be less than what its successor serves.
      if (applied.ok() && !alive.expired() && group_.sealed()) return done(Error{Code::kUnavailable, kSealed});
      done(std::move(applied));
    });
  });
}

// --- what standbys ask of a member of the primary ---

void ForwardingService::answer(NodeId to, ForwardReply reply) {
  // Dropped at once: the asker learns it by its own deadline.
  (void)replication_.outbox().send(to, std::move(reply));
}

void ForwardingService::forward(NodeId from, Forward call) {
  auto refuse = [&](Code code, const char* text) {
    auto reply = refused(code, text);
    reply.request = call.request;
    answer(from, std::move(reply));
  };
  if (!replication_.regions().region_of.contains(from)) return;
  if (group_.role() != GroupRole::kPrimary) return refuse(Code::kUnavailable, kTryNextEndpoint);
  if (serving_ >= options_.max_waiting) return refuse(Code::kOverloaded, "etcdserver: too many requests");
  ++serving_;
  auto finish = [this, alive = std::weak_ptr<bool>(alive_), from, request = call.request](ForwardReply reply) {
    if (alive.expired()) return;
    --serving_;
    reply.request = request;
    answer(from, std::move(reply));
  };
  switch (call.call) {
    case Call::kPropose: {
      const auto timeout = std::min<std::uint64_t>(call.timeout_ms, 3'600'000);
      // The frame's buffer may be far larger than the request it carries.
      call.command.request = Bytes::copy(call.command.request.view());
      call.command.origin = member_.next_origin();
      member_.propose(std::move(call.command), group_.clock().now() + std::chrono::milliseconds(timeout), group_.loop(),
                      [finish](node::Outcome outcome) mutable {
                        ForwardReply reply;
                        reply.outcome = std::move(outcome);
                        finish(std::move(reply));
                      });
      return;
    }
    case Call::kKeepAlive:
      return member_.keep_alive(call.lease, group_.loop(),
                                [finish](Result<std::int64_t> r) mutable { finish(lease_reply(r)); });
    case Call::kLeaseRemaining:
      return member_.lease_remaining(call.lease, group_.loop(),
                                     [finish](Result<std::int64_t> r) mutable { finish(lease_reply(r)); });
  }
}

}  // namespace leeward::standby
