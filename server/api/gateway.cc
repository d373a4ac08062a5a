#include "api/gateway.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <unordered_map>

#include "api/errors.h"
#include "api/handlers.h"
#include "api/json.h"
#include "base/traceparent.h"

namespace leeward::api {
namespace {

struct Route {
  std::string_view path;
  std::string_view method;
  bool get = false;  // changes nothing and needs no input
};

constexpr Route kRoutes[] = {
    {"/v3/kv/range", "/etcdserverpb.KV/Range"},
    {"/v3/kv/put", "/etcdserverpb.KV/Put"},
    {"/v3/kv/deleterange", "/etcdserverpb.KV/DeleteRange"},
    {"/v3/kv/txn", "/etcdserverpb.KV/Txn"},
    {"/v3/kv/compaction", "/etcdserverpb.KV/Compact"},
    {"/v3/watch", "/etcdserverpb.Watch/Watch"},
    {"/v3/lease/grant", "/etcdserverpb.Lease/LeaseGrant"},
    {"/v3/lease/revoke", "/etcdserverpb.Lease/LeaseRevoke"},
    {"/v3/kv/lease/revoke", "/etcdserverpb.Lease/LeaseRevoke"},
    {"/v3/lease/keepalive", "/etcdserverpb.Lease/LeaseKeepAlive"},
    {"/v3/lease/timetolive", "/etcdserverpb.Lease/LeaseTimeToLive"},
    {"/v3/kv/lease/timetolive", "/etcdserverpb.Lease/LeaseTimeToLive"},
    {"/v3/lease/leases", "/etcdserverpb.Lease/LeaseLeases"},
    {"/v3/kv/lease/leases", "/etcdserverpb.Lease/LeaseLeases"},
    {"/v3/cluster/member/add", "/etcdserverpb.Cluster/MemberAdd"},
    {"/v3/cluster/member/remove", "/etcdserverpb.Cluster/MemberRemove"},
    {"/v3/cluster/member/update", "/etcdserverpb.Cluster/MemberUpdate"},
    {"/v3/cluster/member/list", "/etcdserverpb.Cluster/MemberList"},
    {"/v3/cluster/member/promote", "/etcdserverpb.Cluster/MemberPromote"},
    {"/v3/maintenance/alarm", "/etcdserverpb.Maintenance/Alarm"},
    {"/v3/maintenance/status", "/etcdserverpb.Maintenance/Status"},
    {"/v3/maintenance/defragment", "/etcdserverpb.Maintenance/Defragment"},
    {"/v3/maintenance/hash", "/etcdserverpb.Maintenance/Hash"},
    {"/v3/maintenance/hashkv", "/etcdserverpb.Maintenance/HashKV"},
    {"/v3/maintenance/snapshot", "/etcdserverpb.Maintenance/Snapshot"},
    {"/v3/maintenance/transfer-leadership", "/etcdserverpb.Maintenance/MoveLeader"},
    {"/v3/maintenance/downgrade", "/etcdserverpb.Maintenance/Downgrade"},
    {"/v3/auth/enable", "/etcdserverpb.Auth/AuthEnable"},
    {"/v3/auth/disable", "/etcdserverpb.Auth/AuthDisable"},
    {"/v3/auth/status", "/etcdserverpb.Auth/AuthStatus"},
    {"/v3/auth/authenticate", "/etcdserverpb.Auth/Authenticate"},
    {"/v3/auth/user/add", "/etcdserverpb.Auth/UserAdd"},
    {"/v3/auth/user/get", "/etcdserverpb.Auth/UserGet"},
    {"/v3/auth/user/list", "/etcdserverpb.Auth/UserList"},
    {"/v3/auth/user/delete", "/etcdserverpb.Auth/UserDelete"},
    {"/v3/auth/user/changepw", "/etcdserverpb.Auth/UserChangePassword"},
    {"/v3/auth/user/grant", "/etcdserverpb.Auth/UserGrantRole"},
    {"/v3/auth/user/revoke", "/etcdserverpb.Auth/UserRevokeRole"},
    {"/v3/auth/role/add", "/etcdserverpb.Auth/RoleAdd"},
    {"/v3/auth/role/get", "/etcdserverpb.Auth/RoleGet"},
    {"/v3/auth/role/list", "/etcdserverpb.Auth/RoleList"},
    {"/v3/auth/role/delete", "/etcdserverpb.Auth/RoleDelete"},
    {"/v3/auth/role/grant", "/etcdserverpb.Auth/RoleGrantPermission"},
    {"/v3/auth/role/revoke", "/etcdserverpb.Auth/RoleRevokePermission"},
    {"/v3/lock/lock", "/v3lockpb.Lock/Lock"},
    {"/v3/lock/unlock", "/v3lockpb.Lock/Unlock"},
    {"/v3/election/campaign", "/v3electionpb.Election/Campaign"},
    {"/v3/election/proclaim", "/v3electionpb.Election/Proclaim"},
    {"/v3/election/leader", "/v3electionpb.Election/Leader"},
    {"/v3/election/observe", "/v3electionpb.Election/Observe"},
    {"/v3/election/resign", "/v3electionpb.Election/Resign"},
    {"/v3/cluster/status", "/leeward.v1.Operations/ClusterStatus", true},
    {"/v3/cluster/topology", "/leeward.v1.Operations/Topology", true},
    {"/v3/replica/status", "/leeward.v1.Operations/ReplicaStatus", true},
    {"/v3/standby/status", "/leeward.v1.Operations/StandbyStatus", true},
    {"/v3/dr/plan", "/leeward.v1.Operations/DrPlan"},
    {"/v3/dr/promote", "/leeward.v1.Operations/DrPromote"},
    {"/v3/dr/drill", "/leeward.v1.Operations/DrDrill"},
    {"/v3/dr/survivor", "/leeward.v1.Operations/DrSurvivor"},
    {"/v3/dr/status", "/leeward.v1.Operations/DrStatus", true},
    {"/v3/dr/rejoin", "/leeward.v1.Operations/DrRejoin"},
    {"/v3/dr/ledgers", "/leeward.v1.Operations/DrLedgers"},
    {"/v3/dr/ledger/discard", "/leeward.v1.Operations/DrLedgerDiscard"},
    {"/v3/dr/ledger/page", "/leeward.v1.Operations/DrLedgerPage"},
    {"/v3/dr/changes", "/leeward.v1.Operations/DrChanges"},
    {"/v3/dr/switchover", "/leeward.v1.Operations/DrSwitchover"},
    {"/v3/dr/abort", "/leeward.v1.Operations/DrAbort"},
    {"/v3/dr/arm", "/leeward.v1.Operations/DrArm"},
    {"/v3/dr/disarm", "/leeward.v1.Operations/DrDisarm"},
    {"/v3/storage/info", "/leeward.v1.Operations/StorageInfo", true},
    {"/v3/member/admit", "/leeward.v1.Operations/MemberAdmit"},
    {"/v3/cluster/finalize", "/leeward.v1.Operations/ClusterFinalize"},
    {"/v3/replica/pause", "/leeward.v1.Operations/ReplicaPause"},
    {"/v3/replica/resume", "/leeward.v1.Operations/ReplicaResume"},
    {"/v3/replica/isolate", "/leeward.v1.Operations/ReplicaIsolate"},
    {"/v3/replica/rejoin", "/leeward.v1.Operations/ReplicaRejoin"},
    {"/v3/member/change", "/leeward.v1.Operations/MemberChange"},
    {"/v3/member/sync", "/leeward.v1.Operations/MemberSync"},
};

const Route* find_route(std::string_view path) {
  static const auto* index = [] {
    auto* made = new std::unordered_map<std::string_view, const Route*>;
    for (const auto& route : kRoutes) made->emplace(route.path, &route);
    return made;
  }();
  const auto found = index->find(path);
  return found == index->end() ? nullptr : found->second;
}

HttpResponse json_response(int status, std::string body) {
  HttpResponse response;
  response.status = status;
  response.content_type = "application/json";
  response.body = Bytes(std::move(body));
  return response;
}

HttpResponse error_response(int http, GrpcCode code, std::string_view message) {
  const std::string text = json::quoted(message);
  return json_response(http, "{\"error\":" + text + ",\"code\":" + std::to_string(static_cast<int>(code)) +
                                 ",\"message\":" + text + "}\n");
}

HttpResponse error_response(GrpcCode code, std::string_view message) {
  return error_response(http_status(code), code, message);
}

// gRPC's: up to eight digits and a unit.
std::optional<Duration> parse_grpc_timeout(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (fault != std::errc() || value < 0 || value > 99'999'999 || end + 1 != text.data() + text.size()) return {};
  switch (*end) {
    case 'H': return std::chrono::hours(std::min<std::int64_t>(value, 24 * 365));  // more than 64 bits hold is for ever
    case 'M': return std::chrono::minutes(value);
    case 'S': return std::chrono::seconds(value);
    case 'm': return std::chrono::milliseconds(value);
    case 'u': return std::chrono::microseconds(value);
    case 'n': return std::chrono::nanoseconds(value);
    default: return {};
  }
}

// Those texts are for etcd's Go client, which repeats the call elsewhere on them
// alone. Here is none, so the message is why: the trailer, without the word for programs.
RpcStatus in_words(RpcStatus status) {
  if (!names_next(status.message)) return status;
  for (const auto& [name, value] : status.trailers)
    if (name == "leeward-reason") status.message = value.substr(value.find(": ") + 2);
  return status;
}

// A gRPC call over an HTTP exchange. The exchange's callbacks keep it alive,
// it keeps the exchange; finish() lets go.
class GatewayCall final : public RpcCall, public std::enable_shared_from_this<GatewayCall> {
 public:
  GatewayCall(const Core& core, std::shared_ptr<HttpExchange> exchange, const MethodEntry& entry, json::Types types)
      : core_(core), exchange_(std::move(exchange)), loop_(exchange_->loop()), request_(exchange_->request()),
        entry_(entry), types_(types), trace_(parse_traceparent(exchange_->request().header("traceparent"))) {
  }

  // Runs the call with the body's documents as its messages.
  void run(Services& services) {
    const auto self = shared_from_this();
    if (const auto text = request_.header("grpc-timeout"); !text.empty()) {
      const auto timeout = parse_grpc_timeout(text);
      if (!timeout) return end(error_response(GrpcCode::kInvalidArgument, "invalid grpc-timeout: " + std::string(text)));
      deadline_ = core_.clock.now() + *timeout;
    }
    std::vector<Bytes> messages;
    if (const auto read = read_body(messages); !read.ok()) return end(error_response(GrpcCode::kInvalidArgument, read.error().message));
    exchange_->on_cancel([self] { self->cancel(); });
    if (deadline_) {
      timer_ = loop_.after(std::max<Duration>(*deadline_ - core_.clock.now(), Duration::zero()), [self] {
        self->timer_ = 0;
        self->expire();
      });
    }
    services.start(self);
    if (exchange_ && deadline_ && core_.clock.now() >= *deadline_) return expire();  // before its timer had its turn
    for (auto& message : messages)
      if (exchange_ && on_message_) on_message_(std::move(message));
    if (exchange_ && on_half_close_) on_half_close_();
  }

  std::string_view method() const override { return entry_.path; }
  std::optional<std::string_view> metadata(std::string_view name) const override {
    for (const std::string& key : {std::string(name), "grpc-metadata-" + std::string(name)})
      if (const auto value = request_.header(key); !value.empty()) return value;
    return std::nullopt;
  }
  std::optional<Instant> deadline() const override { return deadline_; }
  const PeerIdentity& peer() const override { return request_.peer; }
  const TraceContext& trace() const override { return trace_; }
  Executor& loop() override { return loop_; }
  void on_message(Function<void(Bytes)> callback) override { on_message_ = std::move(callback); }
  void on_half_close(Function<void()> callback) override { on_half_close_ = std::move(callback); }
  void on_cancel(Function<void()> callback) override { on_cancel_ = std::move(callback); }
  void on_drain(Function<void()> callback) override {
    if (exchange_) exchange_->on_drain(std::move(callback));
  }
  std::size_t queued() const override { return exchange_ && streaming_ ? exchange_->queued() : 0; }

  void send(Bytes message) override {
    if (!exchange_) return;
    auto text = types_.response(message);
    if (!text.ok()) return fail(status_of(text.error()));
    if (entry_.unary != nullptr) {
      answer_ = std::move(*text);
      return;
    }
    start_stream();
    exchange_->write(Bytes("{\"result\":" + *text + "}\n"));
  }

  // JSON needs the message whole.
  void send(std::unique_ptr<MessageSource> message) override {
    if (!exchange_) return;
    if (message->size() > core_.options.max_gateway_bytes)
      return fail({GrpcCode::kResourceExhausted, "leeward: the answer is too large for JSON; use limit, or gRPC", {}});
    std::string whole;
    whole.reserve(message->size());
    while (whole.size() < message->size()) {
      const auto piece = message->next(message->size() - whole.size());
      if (!piece.ok()) return fail(status_of(piece.error()));
      if (piece->empty()) return fail({GrpcCode::kInternal, "leeward: an answer ended early", {}});
      whole.append(piece->view());
    }
    send(Bytes(std::move(whole)));
  }

  void finish(RpcStatus status) override {
    if (!exchange_) return;
    if (!status.ok()) return fail(in_words(std::move(status)));
    if (streaming_ || entry_.unary == nullptr) {
      start_stream();
      const auto exchange = release();
      return exchange->end();
    }
    HttpResponse response = json_response(200, answer_ + '\n');
    response.headers = std::move(status.trailers);
    end(std::move(response));
  }

 private:
  Result<void> read_body(std::vector<Bytes>& messages) const {
    auto documents = json::split(request_.body.view());
    if (!documents.ok()) return documents.error();
    if (documents->empty() && entry_.unary != nullptr) documents->push_back({});  // a stream of nothing is that
    if (entry_.unary != nullptr && documents->size() > 1)
      return Error{Code::kInvalid, "the body holds more than one JSON object"};
    for (const auto document : *documents) {
      auto message = types_.request(document);
      if (!message.ok()) return message.error();
      messages.push_back(std::move(*message));
    }
    return {};
  }

  void start_stream() {
    if (std::exchange(streaming_, true)) return;
    exchange_->start_stream(json_response(200, ""));
  }

  void fail(const RpcStatus& status) {
    if (!streaming_) return end(error_response(status.code, status.message));
    const auto exchange = release();
    const int http = http_status(status.code);
    exchange->write(Bytes("{\"error\":{\"grpc_code\":" + std::to_string(static_cast<int>(status.code)) +
                          ",\"http_code\":" + std::to_string(http) + ",\"message\":" + json::quoted(status.message) + "}}\n"));
    exchange->end();
  }

  void end(HttpResponse response) { release()->respond(std::move(response)); }

  std::shared_ptr<HttpExchange> release() {
    loop_.cancel(std::exchange(timer_, 0));
    return std::move(exchange_);
  }

  // Both hold the exchange to the end: what is told of the cancelled call asks
  // for its peer.
  void cancel() {
    if (!exchange_) return;
    const auto exchange = release();
    if (on_cancel_) on_cancel_();
  }

  void expire() {
    if (!exchange_) return;
    const auto exchange = exchange_;
    fail({GrpcCode::kDeadlineExceeded, "context deadline exceeded", {}});
    if (on_cancel_) on_cancel_();
  }

  const Core& core_;
  std::shared_ptr<HttpExchange> exchange_;
  Executor& loop_;
  const HttpRequest& request_;
  const MethodEntry& entry_;
  const json::Types types_;
  const TraceContext trace_;
  std::optional<Instant> deadline_;
  Executor::TimerId timer_ = 0;
  Function<void(Bytes)> on_message_;
  Function<void()> on_half_close_, on_cancel_;
  std::string answer_ = "{}";
  bool streaming_ = false;
};

bool has_parameter(std::string_view query, std::string_view parameter) {
  while (!query.empty()) {
    const auto part = query.substr(0, query.find('&'));
    if (part == parameter) return true;
    query.remove_prefix(std::min(query.size(), part.size() + 1));
  }
  return false;
}

void answer_health(HttpExchange& exchange, std::string_view why) {
  const bool healthy = why.empty();
  exchange.respond(json_response(healthy ? 200 : 503, std::string("{\"health\":\"") + (healthy ? "true" : "false") +
                                                          "\",\"reason\":" + json::quoted(why) + "}\n"));
}

}  // namespace

int http_status(GrpcCode code) {
  switch (code) {
    case GrpcCode::kOk: return 200;
    case GrpcCode::kCancelled: return 408;
    case GrpcCode::kInvalidArgument:
    case GrpcCode::kFailedPrecondition:
    case GrpcCode::kOutOfRange: return 400;
    case GrpcCode::kDeadlineExceeded: return 504;
    case GrpcCode::kNotFound: return 404;
    case GrpcCode::kAlreadyExists:
    case GrpcCode::kAborted: return 409;
    case GrpcCode::kPermissionDenied: return 403;
    case GrpcCode::kUnauthenticated: return 401;
    case GrpcCode::kResourceExhausted: return 429;
    case GrpcCode::kUnimplemented: return 501;
    case GrpcCode::kUnavailable: return 503;
    case GrpcCode::kUnknown:
    case GrpcCode::kInternal:
    case GrpcCode::kDataLoss: break;
  }
  return 500;
}

void Gateway::handle(std::shared_ptr<HttpExchange> exchange) {
  const HttpRequest& request = exchange->request();
  const bool get = request.method == "GET" || request.method == "HEAD";
  if (get && request.path == "/version") return version(*exchange);
  if (get && request.path == "/health") return health(exchange);
  const Route* route = find_route(request.path);
  if (route == nullptr) {
    if (request.path.starts_with("/v3/dr/"))
      return exchange->respond(error_response(GrpcCode::kUnimplemented, "leeward: this version does not do " + std::string(request.path)));
    if (other_ != nullptr && !request.path.starts_with("/v3/")) return other_->handle(std::move(exchange));
    return exchange->respond(error_response(GrpcCode::kNotFound, "Not Found"));
  }
  if (request.method != "POST" && !(get && route->get))
    return exchange->respond(error_response(405, GrpcCode::kUnimplemented, "Method Not Allowed"));
  const MethodEntry* entry = find_method(route->method);
  const auto types = json::Types::of(route->method);
  if (entry == nullptr || !types.ok())
    return exchange->respond(error_response(GrpcCode::kUnimplemented, "leeward: this service is not built yet"));
  std::make_shared<GatewayCall>(services_.core(), std::move(exchange), *entry, *types)->run(services_);
}

void Gateway::version(HttpExchange& exchange) const {
  const Options& options = services_.core().options;
  exchange.respond(json_response(200, "{\"etcdserver\":" + json::quoted(options.version) + ",\"etcdcluster\":" +
                                          json::quoted(options.cluster_version) + ",\"leeward\":" +
                                          json::quoted(options.product_version) + "}"));
}

// As etcd's: alarms, a leader, and a read; ?exclude=NOSPACE and
// ?serializable=true leave the first and the last two out.
void Gateway::health(const std::shared_ptr<HttpExchange>& exchange) const {
  Core& core = services_.core();
  const std::string_view query = exchange->request().query;
  const auto view = core.status();
  if ((view->status.disk_full || !view->status.over_quota.empty()) && !has_parameter(query, "exclude=NOSPACE"))
    return answer_health(*exchange, "ALARM NOSPACE");
  if (has_parameter(query, "serializable=true")) return answer_health(*exchange, "");
  if (!view->status.leader) return answer_health(*exchange, "RAFT NO LEADER");
  if (core.node.read_now()) return answer_health(*exchange, "");
  core.node.read_barrier(core.clock.now() + core.limits.request_timeout.load(), exchange->loop(),
                         [exchange](Result<void> read) {
                           answer_health(*exchange, read.ok() ? "" : "QGET ERROR:" + status_of(read.error()).message);
                         });
}

}  // namespace leeward::api
