// What anybody may send to the client port.
#include <nghttp2/nghttp2.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

#include "api/harness.h"
#include "api/real_store.h"
#include "base/check.h"
#include "net/support.h"
#include "target.h"

namespace leeward::fuzz {
namespace {

// A real listener on a unix socket; each input is a connection.
struct Port {
  Port() {
    path = "/tmp/leeward-fuzz-" + std::to_string(getpid());
    net::ListenerOptions options;
    options.address = "unix://" + path;
    options.limits.message_bytes = 4096;
    options.limits.body_bytes = 4096;
    options.limits.header_bytes = 2048;
    auto opened = net::Listener::open(std::move(options), {&thread.loop()}, &rpc, &http, log);
    LEEWARD_CHECK(opened.ok(), "a unix socket in /tmp");
    listener = std::move(*opened);
  }

  class Quiet final : public Log {
   public:
    bool enabled(Level) const override { return true; }
    void write(Level, std::string_view, std::initializer_list<Field>) override {}
  };
  std::string path;
  Quiet log;
  net::test::EchoHandler rpc;
  net::test::PageHandler http;
  net::IoThread thread;
  std::unique_ptr<net::Listener> listener;
};

void connection(std::string_view bytes) {
  static auto& port = *new Port;
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  std::strncpy(to.sun_path, port.path.c_str(), sizeof to.sun_path - 1);
  LEEWARD_CHECK(fd >= 0 && connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0, "a connection");
  (void)!send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);  // the server may have closed already
  shutdown(fd, SHUT_WR);
  char answer[65536];
  pollfd ready{fd, POLLIN, 0};
  for (int turns = 0; turns < 64 && poll(&ready, 1, 20) > 0; ++turns)
    if (recv(fd, answer, sizeof answer, 0) <= 0) break;
  close(fd);
}

// What a gRPC client sends for one call.
std::string http2_call(const std::string& path, const std::string& body) {
  nghttp2_session_callbacks* callbacks;
  nghttp2_session_callbacks_new(&callbacks);
  nghttp2_session* session;
  nghttp2_session_client_new(&session, callbacks, nullptr);
  nghttp2_session_callbacks_del(callbacks);
  nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, nullptr, 0);
  const auto header = [](const char* name, std::string_view value) {
    return nghttp2_nv{reinterpret_cast<uint8_t*>(const_cast<char*>(name)),
                      reinterpret_cast<uint8_t*>(const_cast<char*>(value.data())), std::strlen(name), value.size(),
                      NGHTTP2_NV_FLAG_NONE};
  };
  const nghttp2_nv headers[] = {header(":method", "POST"), header(":scheme", "http"), header(":path", path),
                                header(":authority", "x"), header("content-type", "application/grpc"),
                                header("grpc-timeout", "1S"), header("te", "trailers")};
  struct Body {
    const std::string& bytes;
    std::size_t at = 0;
  } source{body};
  nghttp2_data_provider provider{};
  provider.source.ptr = &source;
  provider.read_callback = [](nghttp2_session*, int32_t, uint8_t* out, size_t size, uint32_t* flags,
                              nghttp2_data_source* from, void*) -> ssize_t {
    auto& b = *static_cast<Body*>(from->ptr);
    const std::size_t n = std::min(size, b.bytes.size() - b.at);
    std::memcpy(out, b.bytes.data() + b.at, n);
    b.at += n;
    if (b.at == b.bytes.size()) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return static_cast<ssize_t>(n);
  };
  nghttp2_submit_request(session, nullptr, headers, std::size(headers), &provider, nullptr);
  std::string out;
  const uint8_t* data;
  for (ssize_t n; (n = nghttp2_session_mem_send(session, &data)) > 0;) out.append(reinterpret_cast<const char*>(data), n);
  nghttp2_session_del(session);
  return out;
}

std::vector<std::string> connection_seeds() {
  const std::string message("\0\0\0\0\5hello", 10);
  std::vector<std::string> seeds;
  for (const char* path : {"/test/Unary", "/test/Echo", "/test/Fail", "/test/Hang", "/test/BadSource", "/none"})
    seeds.push_back(http2_call(path, message + message));
  seeds.push_back("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
  seeds.push_back("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhelloGET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
  seeds.push_back("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
  seeds.push_back(std::string("\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03", 10));
  return seeds;
}

// Services and gateway over the real state machine in memory. Made anew now
// and then, so that what one input wrote does not steer all later ones.
class Server : public api::test::ServicesOver<StateMachine> {
 public:
  Server() {
    state = api::test::open_state_machine(disk_, clock, log);
    begin_over(*state);
  }
  void TestBody() override {}
  void call(const std::string& method, const std::string& request) {
    const auto call = run(make(method), request);
    if (!call->status) call->cancel();  // a watch stays open
    loop.run();
    log.lines.clear();
  }
  void post(const std::string& path, const std::string& body) {
    const auto exchange = http("POST", path, body);
    if (!exchange->ended) exchange->cancel();
    loop.run();
    log.lines.clear();
  }

 private:
  api::test::NoDisk disk_;
};

Server& server() {
  static std::unique_ptr<Server> current;
  static int uses = 0;
  if (!current || ++uses % 2000 == 0) current = std::make_unique<Server>();
  return *current;
}

constexpr const char* kMethods[] = {
    "KV/Range", "KV/Put", "KV/DeleteRange", "KV/Txn", "KV/Compact", "Watch/Watch", "Lease/LeaseGrant", "Lease/LeaseRevoke",
    "Lease/LeaseKeepAlive", "Lease/LeaseTimeToLive", "Lease/LeaseLeases", "Cluster/MemberList", "Maintenance/Status",
    "Maintenance/Hash", "Maintenance/HashKV", "Maintenance/Alarm", "Maintenance/Snapshot", "Maintenance/Defragment",
    "Auth/Authenticate"};
constexpr const char* kPaths[] = {"/v3/kv/range", "/v3/kv/put", "/v3/kv/deleterange", "/v3/kv/txn", "/v3/kv/compaction",
                                  "/v3/watch", "/v3/lease/grant", "/v3/lease/revoke", "/v3/lease/keepalive",
                                  "/v3/lease/timetolive", "/v3/maintenance/status", "/v3/maintenance/hash",
                                  "/v3/maintenance/alarm", "/v3/cluster/member/list", "/v3/cluster/status"};

// The first byte chooses the method; the rest is the request message.
void grpc_methods(std::string_view bytes) {
  Input input(bytes);
  const std::string method = std::string("/etcdserverpb.") + kMethods[input.u8() % std::size(kMethods)];
  server().call(method, std::string(input.rest()));
}

void gateway(std::string_view bytes) {
  Input input(bytes);
  const char* path = kPaths[input.u8() % std::size(kPaths)];
  server().post(path, std::string(input.rest()));
}

std::string numbered(unsigned number, const std::string& rest) { return std::string(1, static_cast<char>(number)) + rest; }

std::vector<std::string> method_seeds() {
  etcdserverpb::RangeRequest range;
  range.set_key("a"), range.set_range_end("b"), range.set_limit(3), range.set_revision(1);
  etcdserverpb::PutRequest put;
  put.set_key("a"), put.set_value("v"), put.set_lease(1), put.set_prev_kv(true);
  etcdserverpb::DeleteRangeRequest remove;
  remove.set_key("a"), remove.set_range_end("b");
  etcdserverpb::TxnRequest txn, inner;
  auto* compare = txn.add_compare();
  compare->set_key("a"), compare->set_target(etcdserverpb::Compare::VERSION), compare->set_version(1);
  *txn.add_success()->mutable_request_put() = put;
  *inner.add_failure()->mutable_request_range() = range;
  *txn.add_failure()->mutable_request_txn() = inner;
  etcdserverpb::CompactionRequest compact;
  compact.set_revision(1), compact.set_physical(true);
  etcdserverpb::WatchRequest watch;
  watch.mutable_create_request()->set_key("a"), watch.mutable_create_request()->set_start_revision(1);
  etcdserverpb::LeaseGrantRequest grant;
  grant.set_id(1), grant.set_ttl(60);
  std::vector<std::string> seeds = {numbered(0, range.SerializeAsString()), numbered(1, put.SerializeAsString()),
                                    numbered(2, remove.SerializeAsString()), numbered(3, txn.SerializeAsString()),
                                    numbered(4, compact.SerializeAsString()), numbered(5, watch.SerializeAsString()),
                                    numbered(6, grant.SerializeAsString())};
  for (unsigned i = 7; i < std::size(kMethods); ++i) seeds.push_back(numbered(i, ""));
  return seeds;
}

std::vector<std::string> gateway_seeds() {
  return {numbered(0, R"({"key":"YQ==","range_end":"Yg==","limit":"3","sort_order":"DESCEND"})"),
          numbered(1, R"({"key":"YQ==","value":"dg==","lease":"0"})"),
          numbered(2, R"({"key":"YQ==","prev_kv":true})"),
          numbered(3, R"({"compare":[{"key":"YQ==","target":"VALUE","value":"dg=="}],"success":[{"requestPut":{"key":"YQ=="}}]})"),
          numbered(4, R"({"revision":"1","physical":true})"),
          numbered(5, R"({"create_request":{"key":"YQ==","start_revision":"1"}})"),
          numbered(6, R"({"TTL":60,"ID":0})"),
          numbered(8, "{\"ID\":1}\n{\"ID\":2}"),
          numbered(10, "{}")};
}

}  // namespace

std::vector<Target> client_targets() {
  return {{"connection", connection, connection_seeds},
          {"grpc-methods", grpc_methods, method_seeds},
          {"gateway", gateway, gateway_seeds}};
}

}  // namespace leeward::fuzz
