#include "support.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <span>
#include <thread>

namespace leeward::net::test {

bool eventually(const std::function<bool()>& condition) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

namespace {

// Letters by position, so that a lost or repeated piece shows.
class PatternSource final : public MessageSource {
 public:
  explicit PatternSource(std::uint64_t size) : size_(size) {}
  std::uint64_t size() const override { return size_; }
  Result<Bytes> next(std::size_t max) override {
    std::string piece(std::min<std::uint64_t>(max, size_ - at_), '\0');
    for (char& c : piece) c = static_cast<char>('a' + at_++ % 23);
    return Bytes(std::move(piece));
  }

 private:
  const std::uint64_t size_;
  std::uint64_t at_ = 0;
};

class FailingSource final : public MessageSource {
 public:
  std::uint64_t size() const override { return 1000; }
  Result<Bytes> next(std::size_t) override { return Error{Code::kDeadline, "the snapshot is too old"}; }
};

std::string hex(std::span<const std::uint8_t> bytes) {
  std::string out;
  char two[3];
  for (auto b : bytes) std::snprintf(two, sizeof two, "%02x", b), out += two;
  return out;
}

}  // namespace

void EchoHandler::start(std::shared_ptr<RpcCall> call) {
  ++started;
  call->on_cancel([this] { ++cancelled; });
  const std::string method(call->method().substr(call->method().rfind('/') + 1));
  const auto done = [this, call](RpcStatus status = {}) {
    ++finished;
    call->finish(std::move(status));
  };
  if (method == "Unary") {
    auto message = std::make_shared<Bytes>();
    call->on_message([message](Bytes m) { *message = m; });
    call->on_half_close([call, message, done] {
      call->send(*message);
      done({GrpcCode::kOk, "", {{"echo-trailer", "yes"}}});
    });
  } else if (method == "Echo") {
    call->on_message([call](Bytes m) { call->send(m); });
    call->on_half_close([done] { done({}); });
  } else if (method == "Fail") {
    call->on_half_close([done] {
      done({GrpcCode::kInvalidArgument, "100% wrong:\nläuft nicht", {{"why", "because"}}});
    });
  } else if (method == "Says") {
    call->on_message([done](Bytes m) { done({GrpcCode::kInvalidArgument, std::string(m.view()), {}}); });
  } else if (method == "Head" || method == "Trailers") {
    call->on_message([call, done, method](Bytes m) {
      RpcStatus status{GrpcCode::kInvalidArgument, "no", {}};
      for (int i = std::stoi(std::string(m.view())); i > 0; --i) status.trailers.emplace_back("heavy", std::string(10'000, 'y'));
      if (method == "Trailers") call->send(std::move(m));
      done(std::move(status));
    });
  } else if (method == "Source" || method == "BadSource") {
    call->on_message([call, method](Bytes m) {
      if (method == "BadSource") call->send(std::make_unique<FailingSource>());
      else call->send(std::make_unique<PatternSource>(std::stoull(std::string(m.view()))));
    });
    call->on_half_close([done] { done({}); });
  } else if (method == "Flood") {
    const auto more = [this, call] {
      while (call->queued() < 1_MiB) call->send(Bytes(std::string(1_MiB, 'f')));
      if (call->queued() > most_queued) most_queued = call->queued();
    };
    call->on_drain(more);
    call->on_half_close(more);
  } else if (method == "Peer") {
    call->on_half_close([call, done] {
      const PeerIdentity& p = call->peer();
      call->send(Bytes("cn=" + p.common_name + " tls=" + std::to_string(p.tls) + " loopback=" +
                       std::to_string(p.loopback) + " trace=" + hex(call->trace().trace_id) +
                       " sampled=" + std::to_string(call->trace().sampled)));
      done({});
    });
  } else if (method != "Hang") {
    done({GrpcCode::kUnimplemented, "unknown method " + std::string(call->method()), {}});
  }
}

void PageHandler::handle(std::shared_ptr<HttpExchange> exchange) {
  ++handled;
  const HttpRequest& request = exchange->request();
  exchange->on_cancel([this] { ++cancelled; });
  HttpResponse response;
  if (request.path == "/hello") {
    response.body = Bytes("hello " + request.query + "\n");
  } else if (request.path == "/echo") {
    response.content_type = std::string(request.header("content-type"));
    response.body = request.body;
  } else if (request.path == "/big") {
    response.body = Bytes(std::string(8_MiB, 'b'));
  } else if (request.path == "/hang") {
    exchange->start_stream({});
    exchange->write(Bytes(std::string("first\n")));
    return;
  } else if (request.path == "/stream") {
    exchange->start_stream({});
    for (const char* chunk : {"one\n", "two\n", "three\n"}) exchange->write(Bytes(std::string(chunk)));
    exchange->end();
    return;
  } else {
    response.status = 404;
  }
  exchange->respond(std::move(response));
}

TestServer::TestServer(std::function<void(ListenerOptions&)> adjust) {
  ListenerOptions options;
  options.name = "test";
  options.address = "127.0.0.1:0";
  options.config_key = "listen.client";
  if (adjust) adjust(options);
  auto opened = Listener::open(std::move(options), {&thread.loop()}, &rpc, &http, log);
  if (!opened.ok()) ADD_FAILURE() << opened.error().message;
  else listener = std::move(*opened);
}

RawClient::RawClient(std::uint16_t port, int receive_buffer) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  if (receive_buffer > 0) setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
}

RawClient::~RawClient() { close(fd_); }

void RawClient::send(std::string_view data) { EXPECT_TRUE(try_send(data)); }

bool RawClient::try_send(std::string_view data) {
  while (!data.empty()) {
    const ssize_t n = ::send(fd_, data.data(), data.size(), MSG_NOSIGNAL);
    if (n <= 0) return false;
    data.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

void RawClient::half_close() { shutdown(fd_, SHUT_WR); }

std::string RawClient::read(std::size_t size) {
  pollfd wait{fd_, POLLIN, 0};
  if (poll(&wait, 1, 60'000) <= 0) {
    ADD_FAILURE() << "nothing to read for a minute";
    return {};
  }
  std::string out(size, '\0');
  const ssize_t n = recv(fd_, out.data(), size, 0);
  out.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  return out;
}

std::string RawClient::read_until(std::string_view mark) {
  std::string all;
  for (;;) {
    const std::string piece = read(65536);
    if (piece.empty()) return all;
    all += piece;
    if (!mark.empty() && all.find(mark) != std::string::npos) return all;
  }
}

bool RawClient::closed() {
  for (;;) {
    pollfd wait{fd_, POLLIN, 0};
    if (poll(&wait, 1, 60'000) <= 0) return false;
    char buffer[4096];
    if (recv(fd_, buffer, sizeof buffer, 0) <= 0) return true;
  }
}

Ran run(const std::string& command) {
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  std::string output;
  char buffer[4096];
  for (std::size_t n; (n = fread(buffer, 1, sizeof buffer, pipe)) > 0;) output.append(buffer, n);
  const int status = pclose(pipe);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, output};
}

Certificates::Certificates() {
  char pattern[] = "/tmp/leeward-net-XXXXXX";
  directory_ = mkdtemp(pattern);
  for (const char* name : {"ca", "other"})
    run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3 -subj '/CN=" + std::string(name) +
        " authority' -keyout " + path(std::string(name) + ".key") + " -out " + path(std::string(name) + ".pem"));
}

Certificates::~Certificates() { run("rm -r " + directory_); }

void Certificates::make(const std::string& name, const std::string& common_name, const std::string& san, int days,
                        const std::string& ca) {
  const std::string key = path(name + ".key"), request = path(name + ".csr"), extensions = path(name + ".ext");
  run("printf '" + (san.empty() ? std::string("basicConstraints=CA:FALSE") : "subjectAltName=" + san) + "' > " + extensions);
  run("openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj '/CN=" + common_name + "' -keyout " + key +
      " -out " + request);
  // A certificate that has expired: openssl accepts a negative number of days only this way.
  const std::string signed_by = "openssl x509 -req -in " + request + " -CA " + path(ca + ".pem") + " -CAkey " +
                                path(ca + ".key") + " -CAcreateserial -extfile " + extensions + " -out " +
                                path(name + ".new") + " -days " + std::to_string(days);
  const Ran made = run(signed_by);
  EXPECT_EQ(made.status, 0) << made.output;
  run("mv " + path(name + ".new") + " " + path(name + ".pem"));
}

}  // namespace leeward::net::test
