// One request on its way through a service: the transport's call, its figures
// and the one place where it ends.
//
// Thread rule: that of RpcCall, the call's loop. Ending it twice does nothing;
// after the client has gone open() is false and answers are dropped.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <utility>

#include "api/core.h"
#include "api/errors.h"
#include "api/header.h"
#include "base/function.h"
#include "ports/rpc.h"

namespace google::protobuf {
class Message;
}
namespace etcdserverpb {
class TxnRequest;
}

namespace leeward::api {

// Answers of a stream that its client does not take: beyond it, what would be
// answered ends the call with kTooManyRequests.
inline constexpr std::size_t kMaxAnswersQueued = 1_MiB;

class Call {
 public:
  Call(Core& core, std::shared_ptr<RpcCall> rpc, Method method, bool streaming);
  ~Call();
  Call(const Call&) = delete;

  Core& core() { return core_; }
  Executor& loop() { return loop_; }
  bool open() const { return rpc_ != nullptr; }
  // Any thread: nobody waits for the answer any more.
  bool ended() const { return ended_ || core_.clock.now() >= deadline_; }
  RpcCall& rpc() { return *rpc_; }  // while open()
  void set_method(Method method) { method_ = method; }
  // True once: the request of a unary call.
  bool take_request() { return !std::exchange(requested_, true); }
  bool requested() const { return requested_; }

  // The client's, but not later than the server's own limit.
  Instant deadline() const { return deadline_; }

  // Unary: the whole answer.
  void reply(Bytes message);
  void reply(std::unique_ptr<MessageSource> message);
  // The state machine's answer with the header completed.
  void reply_with_header(const Bytes& response, const HeaderFields& fields);
  template <class Message>
  void reply_message(const Message& message) {
    reply(Bytes(message.SerializeAsString()));
  }

  // Streams: one message; finish() ends.
  void send(Bytes message);
  void send(std::unique_ptr<MessageSource> message);
  std::size_t queued() const { return rpc_ ? rpc_->queued() : 0; }

  void finish(RpcStatus status);
  void fail(const EtcdError& error) { finish(status(error)); }
  void fail(const Error& error) { finish(status_of(error)); }

  // The client went away or its deadline passed. Wired by the dispatcher.
  void cancelled();
  // Called once when the call ends, whoever ends it.
  void on_end(Function<void()> callback) { on_end_ = std::move(callback); }

  // What is read for this call may lag by `lag` now, and be told later.
  void reads_from(Instant now, Duration lag) { as_of_ = now - lag; }
  // How old that is by now; nullopt: not told.
  std::optional<Duration> age(Instant now) const { return as_of_ ? std::optional(now - *as_of_) : std::nullopt; }

  // Time stamp for the slow-request log: the wait for consensus begins or ends.
  void waiting() { wait_from_ = core_.clock.now(); }
  void answered() { waited_ += core_.clock.now() - wait_from_; }

  // What goes on with it: the client's, or this call's own span where it is sampled.
  const TraceContext& trace() const { return trace_; }
  // A stage of this call that ends now.
  void note_stage(std::string_view name, Instant start);

 private:
  bool fits(std::uint64_t bytes);
  void account(GrpcCode code);
  void record_span(GrpcCode code);

  Core& core_;
  std::shared_ptr<RpcCall> rpc_;
  Executor& loop_;
  Method method_;
  const bool streaming_;
  bool requested_ = false;
  std::atomic<bool> ended_{false};
  const Instant started_;
  Instant deadline_;
  TraceContext trace_;
  SpanId parent_{};
  Instant wait_from_;
  Duration waited_{};
  std::optional<Instant> as_of_;
  Function<void()> on_end_;
};

using CallPtr = std::shared_ptr<Call>;

// Parses `bytes` or ends the call: what does not parse here never reaches a log.
template <class Message>
bool parse(const CallPtr& call, const Bytes& bytes, Message& message) {
  if (message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return true;
  call->finish(invalid("malformed " + message.GetTypeName()));
  return false;
}

void settle(google::protobuf::Message& message, Bytes& bytes);

// The same for a request whose bytes the state machine parses again, by a reader
// of its own. Both must read the same: what could be read in two ways (a field
// twice, numbers longer than need be, groups) is written anew. A message without
// messages in it needs that only when its size tells: each such oddity takes
// bytes that protobuf does not write. (The exceptions are refused: an enum below
// 0 by check(), a number beyond 64 bits by the state machine.)
template <class Message>
bool parse(const CallPtr& call, Bytes& bytes, Message& message) {
  if (!parse(call, std::as_const(bytes), message)) return false;
  settle(message, bytes);
  return true;
}
// A transaction is always written anew; it may nest as deep as etcd takes it.
bool parse(const CallPtr& call, Bytes& bytes, etcdserverpb::TxnRequest& message);

}  // namespace leeward::api
