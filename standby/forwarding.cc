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

Result<std::int64_t> lease_result(ForwardReply reply) {
  if (reply.outcome.end != node::Outcome::End::kApplied) return reply.outcome.error;
  return reply.seconds;
}

Result<void> void_result(ForwardReply reply) {
  if (reply.outcome.end != node::Outcome::End::kApplied) return reply.outcome.error;
  return {};
}

bool names_next(const Error& error) { return error.message == kTryNextEndpoint || error.message == kLeaving; }

// Certainly not done, because of a switchover: it may be begun again. Of those
// that have waited, all that come at once need not be taken at once.
bool waits(const ForwardReply& reply, bool held) {
  const auto& o = reply.outcome;
  if (o.end != node::Outcome::End::kNotApplied) return false;
  if (o.error.code == Code::kOverloaded) return held;
  if (o.error.code != Code::kUnavailable) return false;
  return o.error.message == kSealed || o.error.message == kTryNextEndpoint || o.error.message == kNotPrimary || o.error.message == kStandby;
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
  stopping();
  if (timer_) group_.loop().cancel(timer_);
  replication_.set_forward_handler(nullptr);
}

std::string ForwardingService::silent_text() const {
  if (group_.state().applied().point.index == Index())
    return "leeward: this region has not begun yet and serves nothing; leewardctl cluster status tells what it waits for";
  return "leeward: region " + replication_.regions().own + " is a standby and hears no primary (epoch " +
         std::to_string(group_.epoch().value()) + "); only serializable reads are served here";
}

std::string ForwardingService::diverged_text() const {
  return "leeward: region " + replication_.regions().own +
         " holds another history than the primary; only serializable reads are served here (leewardctl standby status says more)";
}

// --- what clients ask here ---

void ForwardingService::following(bool yes) {
  following_ = yes;
  const auto& regions = replication_.regions();
  regions_ = std::any_of(regions.region_of.begin(), regions.region_of.end(), [&](const auto& n) { return n.second != regions.own; });
}

ForwardingService::AskedPtr ForwardingService::asked(Call kind, std::optional<Instant> deadline, Executor& reply) {
  auto a = std::make_shared<Asked>();
  a->call.call = kind;
  a->deadline = deadline;
  a->until = deadline.value_or(group_.clock().now() + options_.request_timeout);
  a->reply = &reply;
  return a;
}

void ForwardingService::propose(Command command, std::optional<Instant> deadline, Executor& reply,
                                Function<void(node::Outcome)> done) {
  if (!following_ && !regions_) return member_.propose(std::move(command), deadline, reply, std::move(done));
  auto a = asked(Call::kPropose, deadline, reply);
  a->call.command = std::move(command);
  a->done = [done = std::move(done)](ForwardReply answer) mutable { done(std::move(answer.outcome)); };
  begin(std::move(a));
}

void ForwardingService::keep_alive(std::int64_t lease, Executor& reply, Function<void(Result<std::int64_t>)> done) {
  if (!following_ && !regions_) return member_.keep_alive(lease, reply, std::move(done));
  auto a = asked(Call::kKeepAlive, std::nullopt, reply);
  a->call.lease = lease;
  a->done = [done = std::move(done)](ForwardReply answer) mutable { done(lease_result(std::move(answer))); };
  begin(std::move(a));
}

void ForwardingService::lease_remaining(std::int64_t lease, Executor& reply,
                                        Function<void(Result<std::int64_t>)> done) {
  if (!following_ && !regions_) return member_.lease_remaining(lease, reply, std::move(done));
  auto a = asked(Call::kLeaseRemaining, std::nullopt, reply);
  a->call.lease = lease;
  a->done = [done = std::move(done)](ForwardReply answer) mutable { done(lease_result(std::move(answer))); };
  begin(std::move(a));
}

void ForwardingService::read_barrier(std::optional<Instant> deadline, Executor& reply,
                                     Function<void(Result<void>)> done) {
  if (!following_ && !regions_) return member_.read_barrier(deadline, reply, std::move(done));
  auto a = asked(Call::kPropose, deadline, reply);
  a->read = true;
  a->done = [done = std::move(done)](ForwardReply answer) mutable { done(void_result(std::move(answer))); };
  begin(std::move(a));
}

void ForwardingService::begin(AskedPtr a) {
  if (!following_) return ask_member(std::move(a));
  group_.loop().post([this, a = std::move(a)]() mutable { begin_on_core(std::move(a)); });
}

void ForwardingService::begin_on_core(AskedPtr a) {
  if (follows(group_.role()) || (group_.role() == GroupRole::kFenced && a->held && !a->read))
    ask_elsewhere(std::move(a));
  else
    ask_member(std::move(a));
}

void ForwardingService::ask_member(AskedPtr a) {
  // What comes back comes to the asker's own loop, when this may be gone.
  // A region that may not acknowledge sends its clients elsewhere: fenced, after a
  // cold start, without a stamp; and so does a member that is being removed. None of
  // it ends with a switchover.
  auto back = [this, alive = std::weak_ptr<bool>(alive_), &core = group_.loop(), a](ForwardReply reply) {
    const bool elsewhere = !a->held && names_next(reply.outcome.error);
    if (elsewhere || !waits(reply, a->held)) return a->done(std::move(reply));
    core.post([this, alive, a, reply = std::move(reply)]() mutable {
      // It became a standby while the call was on its way to it: nothing is to be waited for.
      const bool turned = reply.outcome.error.message == kStandby && follows(group_.role());
      if (turned && !alive.expired()) return begin_again(std::move(a));
      if (!alive.expired()) return hold(std::move(a), std::move(reply));
      a->reply->post([a, reply = std::move(reply)]() mutable { a->done(std::move(reply)); });
    });
  };
  if (a->read)
    return member_.read_barrier(a->deadline, *a->reply, [back](Result<void> r) { back(r.ok() ? lease_reply(std::int64_t{0}) : lease_reply(r.error())); });
  switch (a->call.call) {
    case Call::kPropose: {
      auto command = a->call.command;
      if (a->held) command.origin = member_.next_origin();  // nothing knows of the attempt before
      return member_.propose(std::move(command), a->deadline, *a->reply, [back](node::Outcome outcome) {
        ForwardReply reply;
        reply.outcome = std::move(outcome);
        back(std::move(reply));
      });
    }
    case Call::kKeepAlive:
      return member_.keep_alive(a->call.lease, *a->reply, [back](Result<std::int64_t> r) { back(lease_reply(r)); });
    case Call::kLeaseRemaining:
      return member_.lease_remaining(a->call.lease, *a->reply, [back](Result<std::int64_t> r) { back(lease_reply(r)); });
  }
}

// What another region says of a switchover is waited for as what this member says.
void ForwardingService::ask_elsewhere(AskedPtr a) {
  auto back = [this, alive = std::weak_ptr<bool>(alive_), a](ForwardReply reply) {
    const bool told = reply.request != 0 || reply.outcome.error.code == Code::kOverloaded;  // else nobody was to be had
    if (!alive.expired() && told && waits(reply, a->held)) return hold(a, std::move(reply));
    a->reply->post([a, reply = std::move(reply)]() mutable { a->done(std::move(reply)); });
  };
  if (a->read)
    return wait_here(a->deadline, [back](Result<void> r) {
      auto reply = r.ok() ? lease_reply(std::int64_t{0}) : lease_reply(r.error());
      reply.request = !r.ok() && r.error().message == kSealed;
      back(std::move(reply));
    });
  const auto now = group_.clock().now();
  const bool may = options_.forward && (group_.role() == GroupRole::kFenced || replication_.heard(now));
  const auto to = !may ? NodeId() : group_.role() == GroupRole::kFenced ? successor() : replication_.primary_member();
  const auto* tracer = group_.tracer();
  if (tracer && a->call.command.trace.sampled) return pass_on_traced(to, a->call, a->until, std::move(back));
  pass_on(to, a->call, a->until, std::move(back));
}

// What it becomes in the other region is below this span.
void ForwardingService::pass_on_traced(NodeId to, Forward call, Instant until, Done done) {
  Tracer& tracer = *group_.tracer();
  const auto now = group_.clock().now();
  Span span = child_span(tracer, call.command.trace, "forward", now, now);
  span.kind = SpanKind::kClient;
  call.command.trace = span.context;
  pass_on(to, std::move(call), until, [&tracer, &clock = group_.clock(), span, done = std::move(done)](ForwardReply reply) mutable {
    span.end = clock.now();
    if (reply.outcome.end != node::Outcome::End::kApplied) span.failure = "not applied there";
    tracer.record(span);
    done(std::move(reply));
  });
}

NodeId ForwardingService::successor() const {
  if (const auto told = replication_.successor(); told && group_.link().connected(told)) return told;
  const auto region = group_.serving_region();
  for (const auto& node : group_.topology())
    if (!region.empty() && node.region == region && group_.link().connected(node.id)) return node.id;
  return {};
}

void ForwardingService::pass_on(NodeId to, Forward call, Instant until, Done done) {
  auto& probe = replication_.probe();
  const auto now = group_.clock().now();
  auto refuse = [&](Code code, const char* text) {
    probe.forward_refused.add();
    done(refused(code, text));
  };
  if (!to) return refuse(Code::kUnavailable, kTryNextEndpoint);
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

// --- what waits for the end of a switchover ---

// An attempt ended because of a Seal, or of the epoch that followed it.
void ForwardingService::hold(AskedPtr a, ForwardReply reply) {
  const auto bytes = a->call.command.request.size() + 256;
  const bool full = held_.size() >= options_.max_held || held_bytes_ + bytes > options_.max_held_bytes;
  if (stopped_ || full || a->until <= group_.clock().now()) {
    if (full) reply = refused(Code::kOverloaded, "etcdserver: too many requests");
    return a->reply->post([a, reply = std::move(reply)]() mutable { a->done(std::move(reply)); });
  }
  a->held = true;
  held_bytes_ += bytes;
  held_.push_back(std::move(a));
  watch_time();
}

void ForwardingService::begin_again(AskedPtr a) {
  a->held = true;  // nothing knows of the attempt before
  begin_on_core(std::move(a));
}

// From inside the core's turn: begun again when that is over, all at once.
void ForwardingService::turned() {
  if (held_.empty() || std::exchange(beginning_, true)) return;
  group_.loop().post([this, alive = std::weak_ptr<bool>(alive_)] {
    if (!alive.expired()) begin_held();
  });
}

void ForwardingService::begin_held() {
  beginning_ = false;
  // While the Seal is open nothing more is known. A leader's log may hold one
  // that is not applied here yet: then they are back in a moment.
  if (group_.sealed() && group_.role() != GroupRole::kFenced) return;
  held_bytes_ = 0;
  for (auto& a : std::exchange(held_, {})) begin_on_core(std::move(a));
}

void ForwardingService::stopping() {
  stopped_ = true;
  held_bytes_ = 0;
  for (auto& a : std::exchange(held_, {}))
    a->reply->post([a] { a->done(refused(Code::kUnavailable, "this node is stopping")); });
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
  if (timer_ || (waiting_.empty() && held_.empty())) return;
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
  std::vector<AskedPtr> over;
  std::erase_if(held_, [&](const AskedPtr& a) {
    if (a->until > now) return false;
    held_bytes_ -= a->call.command.request.size() + 256;
    over.push_back(a);
    return true;
  });
  for (auto& a : over)
    a->reply->post([a] { a->done(refused(a->deadline ? Code::kDeadline : Code::kUnavailable, kSealed)); });
  for (auto& done : late) {
    replication_.probe().forward_unknown.add();
    ForwardReply reply;
    reply.outcome = ended(node::Outcome::End::kUnknown, Code::kDeadline, "etcdserver: request timed out");
    done(std::move(reply));
  }
}

void ForwardingService::wait_here(std::optional<Instant> deadline, Function<void(Result<void>)> done) {
  const auto now = group_.clock().now();
  if (!options_.forward || !replication_.heard(now)) return done(Error{Code::kUnavailable, silent_text()});
  const auto until = deadline.value_or(now + options_.request_timeout);
  replication_.primary_commit(until - now, [this, alive = std::weak_ptr<bool>(alive_), until,
                                            done = std::move(done)](Result<Position> commit) mutable {
    if (!commit.ok()) return done(commit.error());
    if (alive.expired()) return done(Error{Code::kUnavailable, "this node is stopping"});
    replication_.when_applied(commit->index, until, [this, alive, commit = *commit, done = std::move(done)](Result<void> applied) mutable {
      if (!applied.ok() || alive.expired()) return done(std::move(applied));
      // What the primary confirmed behind its Seal may be less than what its successor serves.
      if (group_.sealed()) return done(Error{Code::kUnavailable, kSealed});
      // As far as that, and of another history: it is not what the primary's clients wrote.
      const auto own = point_at(group_, commit.index);
      if (own.ok() && own->position.index == commit.index && own->position != commit) return done(Error{Code::kUnavailable, diverged_text()});
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
