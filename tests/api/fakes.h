// Stand-ins for what surrounds the services: a loop run by hand over a clock
// set by hand, a call and an HTTP exchange that keep what they are sent, and a
// member that applies each command at once.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/gateway.h"
#include "api/services.h"
#include "base/entry.h"
#include "node/service.h"
#include "ports/clock.h"
#include "ports/executor.h"
#include "ports/http.h"
#include "ports/log.h"
#include "ports/rpc.h"
#include "ports/state_machine.h"
#include "proto/rpc.pb.h"

namespace leeward::api::test {

class FakeClock final : public Clock {
 public:
  Instant now() const override { return Instant(time); }
  WallTime wall() const override { return WallTime(time); }
  Duration time = std::chrono::hours(1);
};

// Runs callbacks when told; timers fire when the clock is moved past them.
class FakeLoop final : public Executor {
 public:
  explicit FakeLoop(FakeClock& clock) : clock_(clock) {}
  void post(Callback callback) override {
    queue_.push_back(std::move(callback));
    ++posts;
  }
  TimerId after(Duration delay, Callback callback) override {
    timers_.emplace(++last_timer_, Timer{clock_.time + delay, std::move(callback)});
    return last_timer_;
  }
  void cancel(TimerId timer) override { timers_.erase(timer); }
  bool on_loop() const override { return true; }

  void run() {
    while (!queue_.empty()) {
      auto next = std::move(queue_.front());
      queue_.pop_front();
      next();
    }
  }
  void advance(Duration by) {
    const Duration end = clock_.time + by;
    for (run();; run()) {
      auto due = timers_.end();
      for (auto it = timers_.begin(); it != timers_.end(); ++it)
        if (it->second.at <= end && (due == timers_.end() || it->second.at < due->second.at)) due = it;
      if (due == timers_.end()) break;
      clock_.time = std::max(clock_.time, due->second.at);
      auto callback = std::move(due->second.callback);
      timers_.erase(due);
      callback();
    }
    clock_.time = end;
  }
  std::size_t timers() const { return timers_.size(); }
  int posts = 0;

 private:
  struct Timer {
    Duration at;
    Callback callback;
  };
  FakeClock& clock_;
  std::deque<Callback> queue_;
  std::map<TimerId, Timer> timers_;
  TimerId last_timer_ = 0;
};

// A gRPC call as net would hand it over.
class FakeCall final : public RpcCall {
 public:
  FakeCall(FakeLoop& loop, std::string method) : loop_(loop), method_(std::move(method)) {}

  std::string_view method() const override { return method_; }
  std::optional<std::string_view> metadata(std::string_view name) const override {
    const auto found = headers.find(std::string(name));
    if (found == headers.end()) return std::nullopt;
    return found->second;
  }
  std::optional<Instant> deadline() const override { return due; }
  const PeerIdentity& peer() const override { return identity; }
  const TraceContext& trace() const override { return context; }
  Executor& loop() override { return loop_; }
  void on_message(Function<void(Bytes)> callback) override { message_ = std::move(callback); }
  void on_half_close(Function<void()> callback) override { half_close_ = std::move(callback); }
  void on_cancel(Function<void()> callback) override { cancel_ = std::move(callback); }
  void on_drain(Function<void()> callback) override { drain_ = std::move(callback); }
  void send(Bytes message) override {
    if (stuck) held += message.size();
    sent.push_back(std::string(message.view()));
  }
  void send(std::unique_ptr<MessageSource> source) override {
    std::string whole;
    while (whole.size() < source->size()) {
      auto piece = source->next(1000);
      if (!piece.ok() || piece->empty()) break;
      whole += piece->view();
    }
    exact &= whole.size() == source->size();
    ++sources;
    if (stuck) held += whole.size();
    sent.push_back(std::move(whole));
  }
  std::size_t queued() const override { return held; }
  void finish(RpcStatus result) override { status = std::move(result); }

  void deliver(std::string bytes) { message_(Bytes(std::move(bytes))); }
  void half_close() { half_close_(); }
  void cancel() { cancel_(); }
  void drain() {
    stuck = false;
    held = 0;
    drain_();
  }

  std::map<std::string, std::string> headers;
  std::optional<Instant> due;
  PeerIdentity identity;
  TraceContext context;
  std::vector<std::string> sent;
  std::optional<RpcStatus> status;
  bool stuck = false;  // the client does not read
  std::size_t held = 0;
  int sources = 0;
  bool exact = true;  // every source gave what it announced

 private:
  FakeLoop& loop_;
  std::string method_;
  Function<void(Bytes)> message_;
  Function<void()> half_close_, cancel_, drain_;
};

class FakeExchange final : public HttpExchange {
 public:
  FakeExchange(FakeLoop& loop, std::string method, std::string path, std::string body) : loop_(loop) {
    wanted.method = std::move(method);
    const auto mark = path.find('?');
    wanted.path = path.substr(0, mark);
    if (mark != std::string::npos) wanted.query = path.substr(mark + 1);
    wanted.body = Bytes(std::move(body));
  }
  const HttpRequest& request() const override { return wanted; }
  Executor& loop() override { return loop_; }
  void respond(HttpResponse response) override {
    status = response.status;
    type = response.content_type;
    headers = response.headers;
    body = std::string(response.body.view());
    ended = true;
  }
  void start_stream(HttpResponse head) override { status = head.status; }
  void write(Bytes chunk) override { body += chunk.view(); }
  void end() override { ended = true; }
  std::size_t queued() const override { return 0; }
  bool open() const override { return !ended; }
  void on_drain(Function<void()> callback) override { drain_ = std::move(callback); }
  void on_cancel(Function<void()> callback) override { cancel_ = std::move(callback); }
  void cancel() { cancel_(); }

  HttpRequest wanted;
  int status = 0;
  std::string type, body;
  std::vector<std::pair<std::string, std::string>> headers;
  bool ended = false;

 private:
  FakeLoop& loop_;
  Function<void()> drain_, cancel_;
};

// Applies each command as an entry of its own, at once; answers on the loop.
class FakeNode : public node::Service {
 public:
  explicit FakeNode(StateMachine& state) : state_(state) {
    info.self = NodeId(7);
    info.leader = NodeId(7);
    info.role = GroupRole::kPrimary;
    info.state = MemberState::kLeader;
    info.epoch = Epoch(1);
    info.term = Term(3);
    info.cluster_name = "test";
  }

  void propose(Command command, std::optional<Instant> deadline, Executor& reply,
               Function<void(node::Outcome)> done) override {
    ++proposals;
    last_deadline = deadline;
    last_op = command.op;
    last_request = std::string(command.request.view());
    node::Outcome outcome;
    if (failure) {
      outcome.end = certain ? node::Outcome::End::kNotApplied : node::Outcome::End::kUnknown;
      outcome.error = *failure;
    } else {
      outcome.end = node::Outcome::End::kApplied;
      outcome.term = info.term;
      outcome.result = apply(std::move(command));
    }
    auto held = std::make_shared<std::pair<node::Outcome, Function<void(node::Outcome)>>>(std::move(outcome), std::move(done));
    reply.post([held] { held->second(std::move(held->first)); });
  }
  void read_barrier(std::optional<Instant>, Executor& reply, Function<void(Result<void>)> done) override {
    ++barriers;
    auto held = std::make_shared<Function<void(Result<void>)>>(std::move(done));
    reply.post([held, why = read_failure] { (*held)(why ? Result<void>(*why) : Result<void>()); });
  }
  bool read_now() const override { return lease_valid; }
  void keep_alive(std::int64_t lease, Executor& reply, Function<void(Result<std::int64_t>)> done) override {
    answer_lease(lease, reply, std::move(done));
  }
  void lease_remaining(std::int64_t lease, Executor& reply, Function<void(Result<std::int64_t>)> done) override {
    answer_lease(lease, reply, std::move(done));
  }
  void transfer_leadership(NodeId to, Executor& reply, Function<void(Result<void>)> done) override {
    auto held = std::make_shared<Function<void(Result<void>)>>(std::move(done));
    bool known = false;
    for (const auto& member : info.members) known |= member.id == to;
    if (known) info.leader = to;
    reply.post([held, known] {
      (*held)(known ? Result<void>() : Result<void>(Error{Code::kInvalid, "no such voter"}));
    });
  }
  void admit(NodeId member, Executor& reply, Function<void(Result<bool>)> done) override {
    const bool already = std::exchange(admitted, member) == member;
    auto held = std::make_shared<Function<void(Result<bool>)>>(std::move(done));
    reply.post([held, already] { (*held)(already); });
  }
  void alarm(NodeId member, bool raised, Executor& reply, Function<void(Result<bool>)> done) override {
    const auto known = std::find(info.over_quota.begin(), info.over_quota.end(), member);
    const bool was = known != info.over_quota.end();
    if (raised && !was) info.over_quota.push_back(member);
    if (!raised && was) info.over_quota.erase(known);
    auto held = std::make_shared<Function<void(Result<bool>)>>(std::move(done));
    reply.post([held, same = was == raised] { (*held)(same); });
  }
  void finalize(Executor& reply, Function<void(Result<bool>)> done) override {
    const bool was = std::exchange(info.format, kNewestFormat) == kNewestFormat;
    auto held = std::make_shared<Function<void(Result<bool>)>>(std::move(done));
    reply.post([held, was] { (*held)(was); });
  }
  void change_members(node::MemberChange change, Executor& reply, Function<void(Result<Index>)> done) override {
    changes.push_back(std::move(change));
    auto held = std::make_shared<Function<void(Result<Index>)>>(std::move(done));
    reply.post([held, answer = change_failure ? Result<Index>(*change_failure) : Result<Index>(Index(77))] { (*held)(answer); });
  }
  void member_sync(NodeId, Executor& reply, Function<void(Result<std::uint64_t>)> done) override {
    auto held = std::make_shared<Function<void(Result<std::uint64_t>)>>(std::move(done));
    reply.post([held, answer = change_failure ? Result<std::uint64_t>(*change_failure) : Result<std::uint64_t>(std::uint64_t{3})] { (*held)(answer); });
  }
  Origin next_origin() override { return {info.self, Incarnation(1), ++sequence_, 42}; }
  std::uint64_t cluster_id() const override { return 0xc0ffee; }
  StateMachine& state() override { return state_; }
  NodeStatus status() const override {
    NodeStatus out = info;
    out.applied = state_.applied();
    out.commit = out.last = out.applied.point.index;
    return out;
  }
  const NodeProbe& probe() const override { return probe_; }

  NodeStatus info;
  std::optional<Error> failure, read_failure, lease_failure;
  bool certain = true;
  bool lease_valid = true;
  int proposals = 0, barriers = 0;
  Op last_op{};
  std::string last_request;
  std::optional<Instant> last_deadline;
  NodeId admitted;
  std::vector<node::MemberChange> changes;
  std::optional<Error> change_failure;  // of changes and of how far a member is

 private:
  void answer_lease(std::int64_t lease, Executor& reply, Function<void(Result<std::int64_t>)> done) {
    const auto found = state_.lease(lease);
    Result<std::int64_t> answer = found ? Result<std::int64_t>(found->ttl_seconds)
                                        : Result<std::int64_t>(Error{Code::kNotFound, "etcdserver: requested lease not found"});
    if (lease_failure) answer = *lease_failure;
    auto held = std::make_shared<Function<void(Result<std::int64_t>)>>(std::move(done));
    reply.post([held, answer] { (*held)(answer); });
  }

  CommandResult apply(Command command) {
    const AppliedState before = state_.applied();
    Entry entry;
    entry.term = info.term;
    entry.index = before.point.index + 1;
    entry.kind = EntryKind::kWrites;
    entry.epoch = info.epoch;
    entry.writes = 1;
    entry.payload = Bytes(encode_payload({command}));
    entry.position = extend(before.point.position, info.epoch, entry.kind, 1, entry.payload.view());
    CommandResult out;
    const auto applied = state_.apply(std::span(&entry, 1), [](std::size_t, std::size_t) { return true; },
                                      [&](std::size_t, std::size_t, CommandResult result) { out = std::move(result); });
    if (!applied.ok()) out.etcd_error = applied.error().message;
    return out;
  }

  StateMachine& state_;
  NodeProbe probe_;
  std::uint64_t sequence_ = 0;
};

}  // namespace leeward::api::test
