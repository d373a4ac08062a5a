// KV: what changes goes through the log as the client's own bytes, what reads
// goes to the store on this loop.
#include <algorithm>
#include <charconv>

#include "api/handlers.h"
#include "api/validate.h"
#include "proto/rpc.pb.h"

namespace leeward::api {
namespace {

void answer(const CallPtr& call, node::Outcome outcome) {
  call->answered();
  if (outcome.end != node::Outcome::End::kApplied) return call->fail(outcome.error);
  if (!outcome.result.etcd_error.empty()) return call->finish(status_of_text(outcome.result.etcd_error));
  call->reply_with_header(outcome.result.response, header_fields(call->core(), outcome.term));
}

}  // namespace

void propose(const CallPtr& call, Op op, Bytes request) {
  Core& core = call->core();
  if (request.size() > core.limits.max_request_bytes) return call->fail(error::kRequestTooLarge);
  Command command{op, std::move(request), core.node.next_origin(), call->trace()};
  call->waiting();
  core.node.propose(std::move(command), call->deadline(), call->loop(),
                    [call](node::Outcome outcome) { answer(call, std::move(outcome)); });
}

void when_linearizable(const CallPtr& call, Function<void()> then) {
  Core& core = call->core();
  if (core.node.read_now()) return then();
  call->waiting();
  core.node.read_barrier(call->deadline(), call->loop(), [call, asked = core.clock.now(), then = std::move(then)](Result<void> confirmed) mutable {
    call->answered();
    call->note_stage("read", asked);
    if (!call->open()) return;
    if (!confirmed.ok()) return call->fail(confirmed.error());
    then();
  });
}

std::optional<Duration> parse_duration(std::string_view text) {
  double total = 0;
  if (text.empty()) return std::nullopt;
  while (!text.empty()) {
    double value = 0;
    const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
    if (fault != std::errc() || !(value >= 0)) return std::nullopt;
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    const auto unit = text.substr(0, std::min(text.size(), text.find_first_of("0123456789.")));
    if (unit == "ns") total += value;
    else if (unit == "us") total += value * 1e3;
    else if (unit == "ms") total += value * 1e6;
    else if (unit == "s") total += value * 1e9;
    else if (unit == "m") total += value * 60e9;
    else if (unit == "h") total += value * 3600e9;
    else return std::nullopt;
    text.remove_prefix(unit.size());
  }
  if (total > 9e18) return std::nullopt;
  return Duration(static_cast<Duration::rep>(total));
}

namespace {

// Within what the client allows; else the call is ended.
bool young_enough(const CallPtr& call, std::optional<Duration> lag) {
  const auto allowed = call->rpc().metadata("leeward-max-lag");
  if (!allowed) return true;
  const auto limit = parse_duration(*allowed);
  if (!limit) {
    call->finish(invalid("leeward-max-lag: \"" + std::string(*allowed) + "\" is not a duration such as 500ms"));
    return false;
  }
  if (lag && *lag <= *limit) return true;
  call->finish({GrpcCode::kUnavailable,
                "leeward: this node may lag " + (lag ? std::to_string(to_ms(*lag)) + " ms" : std::string("unknown")) +
                    ", more than the " + std::string(*allowed) + " asked for",
                {}});
  return false;
}

}  // namespace

bool fresh_enough(const CallPtr& call) {
  // Of a group that has begun the first entry at least is applied: what is empty
  // was wiped and has not been filled again.
  if (call->core().node.state().applied().point.index == Index()) {
    call->fail(error::kNoLeader);
    return false;
  }
  return young_enough(call, call->core().status()->lag_high(call->core().clock.now()));
}

namespace kv {
namespace {

// What was read beside the loop may have grown old since it was found fresh enough.
bool still_fresh(const CallPtr& call) {
  const auto age = call->age(call->core().clock.now());
  return !age || young_enough(call, age);
}

void answer_range(const CallPtr& call, Result<std::unique_ptr<RangeReply>> reply) {
  if (!still_fresh(call)) return;
  Core& core = call->core();
  if (!reply.ok()) return call->fail(reply.error());
  Bytes small;
  auto message = range_message(header_fields(core), std::move(*reply), small);
  if (!message.ok()) return call->fail(message.error());
  if (*message) return call->reply(std::move(*message));
  call->reply(std::move(small));
}

void answer_txn(const CallPtr& call, Result<CommandResult> result) {
  if (!still_fresh(call)) return;
  if (!result.ok()) return call->fail(result.error());
  if (!result->etcd_error.empty()) return call->finish(status_of_text(result->etcd_error));
  call->reply_with_header(result->response, header_fields(call->core()));
}

// A single key is found at once; what lies in a range is counted, and may be sorted.
void serve_range(const CallPtr& call, const Bytes& request, bool many) {
  auto& state = call->core().node.state();
  if (!many) return answer_range(call, state.range(request.view()));
  in_reader<std::unique_ptr<RangeReply>>(
      call, request.size(), [&state, request] { return state.range(request.view()); },
      [call](Result<std::unique_ptr<RangeReply>> reply) { answer_range(call, std::move(reply)); });
}

void serve_txn(const CallPtr& call, const Bytes& request, bool many) {
  auto& state = call->core().node.state();
  if (!many) return answer_txn(call, state.read_only_txn(request.view()));
  in_reader<CommandResult>(
      call, request.size(), [&state, request] { return state.read_only_txn(request.view()); },
      [call](Result<CommandResult> result) { answer_txn(call, std::move(result)); });
}

// A stale read that waits for its turn: as old as it may be is what is here now.
void will_be_read(const CallPtr& call) {
  const auto now = call->core().clock.now();
  if (const auto lag = call->core().status()->lag_high(now)) call->reads_from(now, *lag);
}

constexpr int kFewOps = 32;

// Whether it may touch many keys.
bool reads_many(const etcdserverpb::TxnRequest& txn) {
  if (txn.compare_size() + txn.success_size() + txn.failure_size() > kFewOps) return true;
  const auto op_reads_many = [](const etcdserverpb::RequestOp& op) {
    return op.has_request_txn() ? true : !op.request_range().range_end().empty();
  };
  return std::any_of(txn.compare().begin(), txn.compare().end(), [](const auto& c) { return !c.range_end().empty(); }) ||
         std::any_of(txn.success().begin(), txn.success().end(), op_reads_many) ||
         std::any_of(txn.failure().begin(), txn.failure().end(), op_reads_many);
}

}  // namespace

void range(CallPtr call, Bytes request) {
  thread_local etcdserverpb::RangeRequest parsed;
  if (!parse(call, request, parsed)) return;
  if (parsed.serializable()) call->set_method(Method::kRangeSerializable);
  if (const EtcdError* why = check(parsed)) return call->fail(*why);
  const bool many = !parsed.range_end().empty();
  if (parsed.serializable()) {
    if (!fresh_enough(call)) return;
    if (many) will_be_read(call);
    return serve_range(call, request, many);
  }
  if (call->core().status()->status.state == MemberState::kLearner) return call->fail(kLearner);
  when_linearizable(call, [call, request, many] { serve_range(call, request, many); });
}

void put(CallPtr call, Bytes request) {
  thread_local etcdserverpb::PutRequest parsed;
  if (!parse(call, request, parsed)) return;
  if (const EtcdError* why = check(parsed)) return call->fail(*why);
  propose(call, Op::kPut, std::move(request));
}

void delete_range(CallPtr call, Bytes request) {
  thread_local etcdserverpb::DeleteRangeRequest parsed;
  if (!parse(call, request, parsed)) return;
  if (const EtcdError* why = check(parsed)) return call->fail(*why);
  propose(call, Op::kDeleteRange, std::move(request));
}

void txn(CallPtr call, Bytes request) {
  thread_local etcdserverpb::TxnRequest parsed;
  if (!parse(call, request, parsed)) return;
  if (const EtcdError* why = check(parsed, call->core().limits.max_txn_ops)) return call->fail(*why);
  const bool many = reads_many(parsed);
  switch (kind(parsed)) {
    case TxnKind::kWrites: return propose(call, Op::kTxn, std::move(request));
    case TxnKind::kReads: return when_linearizable(call, [call, request, many] { serve_txn(call, request, many); });
    case TxnKind::kSerializableReads:
      if (!fresh_enough(call)) return;
      if (many) will_be_read(call);
      serve_txn(call, request, many);
  }
}

void compact(CallPtr call, Bytes request) {
  etcdserverpb::CompactionRequest parsed;
  if (parse(call, request, parsed)) propose(call, Op::kCompact, std::move(request));
}

}  // namespace kv
}  // namespace leeward::api
