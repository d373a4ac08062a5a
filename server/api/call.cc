#include "api/call.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/message.h>
#include <google/protobuf/unknown_field_set.h>

#include <algorithm>
#include <charconv>

#include "api/handlers.h"
#include "base/traceparent.h"
#include "proto/rpc.pb.h"

namespace leeward::api {
namespace {

// Messages within messages, two for each level of transactions: far more than
// check() takes, so that it is check() that refuses; little enough for the stack.
constexpr int kTxnNesting = 1000;
constexpr std::uint64_t kLongestMessage = 2'147'483'647;
constexpr std::size_t kJoinBytes = 16_KiB;  // below it one copy is cheaper than a source

std::string milliseconds(Duration d) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof(text), to_ms(d), std::chars_format::fixed, 3).ptr;
  return std::string(text, end);
}

// Ten lines a second and loop; the counter of slow requests misses none.
struct SlowLines {
  Instant second{};
  int left = 10;

  bool take(Instant now) {
    if (now - second >= 1s || now < second) second = now, left = 10;
    return left-- > 0;
  }
};
thread_local SlowLines slow_lines;

std::string fenced_text(const NodeStatus& node) {
  return "epoch " + std::to_string(node.newest_epoch.value()) + " is served by " +
         (node.serving_region.empty() ? "another region" : "region " + node.serving_region) +
         "; this one answers serializable reads only";
}

// Why a node outside the primary group refuses, or one of it sends a write on: a
// word for programs, then a sentence. The message itself may be a text that
// etcd's clients match.
std::string refusal_reason(const StatusView& view, const std::string& message) {
  const NodeStatus& node = view.status;
  const MemberStatus* self = view.self();
  const std::string region = self ? "region " + self->region : "this region";
  if (message == kLeaving)  // this member, or the leader that it passed the write to
    return "leaving: this member, or the leader that it passed the write to, stops or is being removed from its group; ask again, or another one";
  if (node.state == MemberState::kLearner && message == kTryNextEndpoint)
    return "learner: this member is a learner, and answers serializable reads alone until leewardctl member promote";
  if (node.state == MemberState::kWaiting) return "waiting: this member takes part in no group yet: " + node.waiting_for;
  if (node.role == GroupRole::kFenced) return "fenced: " + fenced_text(node);
  if (node.role == GroupRole::kPrimary && node.start_wait)
    return "start_wait: " + region + " has started anew and asks whether another one was promoted meanwhile";
  if (node.role == GroupRole::kPrimary)
    return "no_stamp: " + region + " acknowledges nothing until the armed region answers";
  if (!node.primary_heard || message == kTryNextEndpoint)
    return "no_primary: " + region + " is a standby and hears no primary; only serializable reads are served here";
  return "standby: " + region + " is a standby; the call ended with: " + message;
}

// A standby tells with each answer how old it may be, and with each refusal
// why; so does a primary that sends its clients to another region or member.
void add_trailers(const Core& core, const Call& call, RpcStatus& status) {
  const auto view = core.status();
  const NodeStatus& node = view->status;
  const bool elsewhere = status.code == GrpcCode::kUnavailable && names_next(status.message);
  if (node.role == GroupRole::kUnknown || (node.role == GroupRole::kPrimary && !elsewhere)) return;
  if (node.role != GroupRole::kPrimary) {
    const auto now = core.clock.now();
    const auto own = call.age(now);
    const auto lag = own ? own : view->lag_high(now);
    status.trailers.emplace_back("leeward-lag-high-ms", lag ? milliseconds(*lag) : "unknown");
  }
  if (status.code != GrpcCode::kUnavailable) return;
  status.trailers.emplace_back("leeward-epoch", std::to_string(node.newest_epoch.value()));
  status.trailers.emplace_back("leeward-reason", refusal_reason(*view, status.message));
}

}  // namespace

Call::Call(Core& core, std::shared_ptr<RpcCall> rpc, Method method, bool streaming)
    : core_(core), rpc_(std::move(rpc)), loop_(rpc_->loop()), method_(method), streaming_(streaming),
      started_(core.clock.now()), deadline_(started_ + core.limits.request_timeout.load()) {
  if (const auto deadline = rpc_->deadline()) deadline_ = std::min(deadline_, *deadline);
  core_.probe.of(method_).started.add();
  (streaming_ ? core_.probe.streams : core_.probe.in_flight).add(1);
  trace_ = rpc_->trace();
  if (core_.tracer == nullptr) return;
  parent_ = trace_.span_id;
  trace_ = core_.tracer->begin(trace_);
}

Call::~Call() {
  // Dropped unanswered: the node is stopping, and this may not be the loop.
  if (open()) account(GrpcCode::kUnavailable);
}

// As gRPC's own senders: a longer one has no place for its length.
bool Call::fits(std::uint64_t bytes) {
  if (bytes <= kLongestMessage) return true;
  finish({GrpcCode::kResourceExhausted,
          "trying to send message larger than max (" + std::to_string(bytes) + " vs. " + std::to_string(kLongestMessage) + ")", {}});
  return false;
}

void Call::reply(Bytes message) {
  if (!open() || !fits(message.size())) return;
  rpc_->send(std::move(message));
  finish({});
}

void Call::reply(std::unique_ptr<MessageSource> message) {
  if (!open() || !fits(message->size())) return;
  rpc_->send(std::move(message));
  finish({});
}

void Call::reply_with_header(const Bytes& response, const HeaderFields& fields) {
  if (!open()) return;
  Spliced spliced = splice(fields, response.view());
  Bytes rest = response.slice(spliced.replaced);
  if (rest.size() > kJoinBytes) return reply(joined(std::move(spliced.head), std::move(rest)));
  spliced.head.append(rest.view());
  reply(Bytes(std::move(spliced.head)));
}

void Call::send(Bytes message) {
  if (open()) rpc_->send(std::move(message));
}

void Call::send(std::unique_ptr<MessageSource> message) {
  if (open()) rpc_->send(std::move(message));
}

void Call::finish(RpcStatus status) {
  if (!open()) return;
  add_trailers(core_, *this, status);
  account(status.code);
  // First out of reach, then ended: a callback from below must find it closed.
  const auto rpc = std::move(rpc_);
  ended_ = true;
  rpc->finish(std::move(status));
  if (auto ended = std::move(on_end_)) ended();
}

void Call::cancelled() {
  if (!open()) return;
  const auto deadline = rpc_->deadline();
  const bool late = deadline && core_.clock.now() >= *deadline;
  account(late ? GrpcCode::kDeadlineExceeded : GrpcCode::kCancelled);
  const auto rpc = std::move(rpc_);
  ended_ = true;
  if (auto ended = std::move(on_end_)) ended();
}

void Call::account(GrpcCode code) {
  auto& probe = core_.probe.of(method_);
  probe.requests[std::min<std::size_t>(static_cast<std::size_t>(code), kGrpcCodes - 1)].add();
  if (is_server_fault(code)) probe.server_faults.add();
  (streaming_ ? core_.probe.streams : core_.probe.in_flight).add(-1);
  if (trace_.sampled && core_.tracer) record_span(code);
  if (streaming_) return;
  const Duration took = core_.clock.now() - started_;
  probe.duration.observe(took);
  if (trace_.sampled && core_.tracer) probe.exemplars.note(trace_, took, core_.clock.wall());
  if (took < core_.limits.slow_request.load()) return;
  core_.probe.slow_requests.add();
  // When all are slow, a line for each would make them slower yet.
  if (!slow_lines.take(started_ + took)) return;
  core_.log.warn("slow request", {{"method", kMethodNames[static_cast<std::size_t>(method_)]},
                                  {"code", name(code)},
                                  {"took_ms", to_ms(took)},
                                  {"wait_ms", to_ms(waited_)},
                                  {"peer", rpc_->peer().address},
                                  {"trace_id", trace_.trace_id == TraceContext{}.trace_id ? std::string() : trace_id_text(trace_)}});
}

void Call::note_stage(std::string_view name, Instant start) {
  if (trace_.sampled && core_.tracer) core_.tracer->record(child_span(*core_.tracer, trace_, name, start, core_.clock.now()));
}

// Names and attributes of OpenTelemetry's conventions for RPC servers; what the
// client asks for comes from the table of methods, never from its own text.
void Call::record_span(GrpcCode code) {
  const MethodEntry* entry = find_method(rpc_->method());
  Span span;
  span.name = entry ? entry->path.substr(1) : "unknown method";
  span.context = trace_;
  span.parent = parent_;
  span.kind = SpanKind::kServer;
  span.start = started_;
  span.end = core_.clock.now();
  if (is_server_fault(code)) span.failure = name(code);
  span.with("rpc.system", "grpc").with("rpc.grpc.status_code", static_cast<std::int64_t>(code));
  if (entry) {
    const auto slash = span.name.find('/');
    span.with("rpc.service", span.name.substr(0, slash)).with("rpc.method", span.name.substr(slash + 1));
  }
  span.with("leeward.wait_us", waited_ / std::chrono::microseconds(1));
  core_.tracer->record(span);
}

void settle(google::protobuf::Message& message, Bytes& bytes) {
  if (message.GetReflection()->GetUnknownFields(message).empty() && message.ByteSizeLong() == bytes.size()) return;
  message.DiscardUnknownFields();
  bytes = Bytes(message.SerializeAsString());
}

bool parse(const CallPtr& call, Bytes& bytes, etcdserverpb::TxnRequest& message) {
  google::protobuf::io::CodedInputStream in(reinterpret_cast<const std::uint8_t*>(bytes.data()), static_cast<int>(bytes.size()));
  in.SetRecursionLimit(kTxnNesting);
  if (!message.ParseFromCodedStream(&in) || !in.ConsumedEntireMessage()) {
    call->finish(invalid("malformed " + message.GetTypeName()));
    return false;
  }
  message.DiscardUnknownFields();
  bytes = Bytes(message.SerializeAsString());
  return true;
}

}  // namespace leeward::api
