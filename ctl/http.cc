#include "ctl/http.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <optional>

#include "base/quantity.h"

namespace leeward::ctl {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kMaxAnswer = 64_MiB;

Error unreachable(const std::string& text) { return {Code::kUnavailable, text}; }

bool numeric(const std::string& host) {
  unsigned char buffer[16];
  return inet_pton(AF_INET, host.c_str(), buffer) == 1 || inet_pton(AF_INET6, host.c_str(), buffer) == 1;
}

class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

class Limit {
 public:
  explicit Limit(Duration timeout) : timeout_(timeout), end_(Clock::now() + timeout) {}
  // Waits for `events`; false when the time is up.
  bool wait(int fd, short events) const {
    while (true) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(end_ - Clock::now()).count();
      if (left <= 0) return false;
      pollfd poll_fd{fd, events, 0};
      const int n = ::poll(&poll_fd, 1, static_cast<int>(std::min<long long>(left, 60'000)));
      if (n > 0) return true;
      if (n < 0 && errno != EINTR) return true;  // the next call on it says what is wrong
    }
  }
  Error error() const { return {Code::kDeadline, "no answer within " + format_duration(timeout_)}; }

 private:
  Duration timeout_;
  Clock::time_point end_;
};

Result<Descriptor> connect_to(const sockaddr* address, socklen_t size, const Limit& limit) {
  Descriptor fd(::socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (fd.get() < 0) return unreachable(std::strerror(errno));
  if (::connect(fd.get(), address, size) != 0) {
    if (errno != EINPROGRESS) return unreachable(std::strerror(errno));
    if (!limit.wait(fd.get(), POLLOUT)) return limit.error();
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &length);
    if (error != 0) return unreachable(std::strerror(error));
  }
  return fd;
}

Result<Descriptor> connect_socket(const Endpoint& endpoint, const Limit& limit) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (endpoint.socket.size() >= sizeof address.sun_path) return unreachable("the path is too long for a socket");
  std::memcpy(address.sun_path, endpoint.socket.c_str(), endpoint.socket.size());
  return connect_to(reinterpret_cast<const sockaddr*>(&address), sizeof address, limit);
}

Result<Descriptor> connect_host(const Endpoint& endpoint, const Limit& limit) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(endpoint.host.c_str(), endpoint.port.c_str(), &hints, &found); error != 0)
    return unreachable(gai_strerror(error));
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> addresses(found, freeaddrinfo);
  Result<Descriptor> last = unreachable("no address");
  for (const addrinfo* at = found; at; at = at->ai_next) {
    last = connect_to(at->ai_addr, at->ai_addrlen, limit);
    if (last.ok()) break;
  }
  return last;
}

std::string openssl_reason() {
  const unsigned long code = ERR_peek_last_error();
  const char* reason = code ? ERR_reason_error_string(code) : nullptr;
  ERR_clear_error();
  return reason ? reason : "connection closed";
}

// Bytes in and out, plain or by TLS, each call within the limit.
class Wire {
 public:
  Wire(Descriptor fd, const Limit& limit) : fd_(std::move(fd)), limit_(limit) {}

  Result<void> start_tls(const Certificates& certificates, const std::string& host) {
    context_.reset(SSL_CTX_new(TLS_client_method()));
    SSL_CTX_set_min_proto_version(context_.get(), TLS1_2_VERSION);
    SSL_CTX_set_verify(context_.get(), SSL_VERIFY_PEER, nullptr);
    LEEWARD_TRY(load(certificates));
    ssl_.reset(SSL_new(context_.get()));
    SSL_set_fd(ssl_.get(), fd_.get());
    if (numeric(host)) {
      X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl_.get()), host.c_str());
    } else {
      SSL_set1_host(ssl_.get(), host.c_str());
      SSL_set_tlsext_host_name(ssl_.get(), host.c_str());
    }
    while (true) {
      const int n = SSL_connect(ssl_.get());
      if (n == 1) return {};
      const auto again = retry(n);
      if (!again.ok()) return handshake_error(again.error());
    }
  }

  Result<void> write(std::string_view data) {
    while (!data.empty()) {
      ssize_t n = 0;
      if (ssl_) {
        n = SSL_write(ssl_.get(), data.data(), static_cast<int>(std::min<std::size_t>(data.size(), 1_MiB)));
        if (n <= 0) {
          LEEWARD_TRY(retry(static_cast<int>(n)));
          continue;
        }
      } else {
        n = ::send(fd_.get(), data.data(), data.size(), MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) {
          if (!limit_.wait(fd_.get(), POLLOUT)) return limit_.error();
          continue;
        }
        if (n < 0) return unreachable(std::strerror(errno));
      }
      data.remove_prefix(static_cast<std::size_t>(n));
    }
    return {};
  }

  // Appends what is there; false at the end.
  Result<bool> read(std::string& out) {
    char buffer[16384];
    while (true) {
      ssize_t n = 0;
      if (ssl_) {
        n = SSL_read(ssl_.get(), buffer, sizeof buffer);
        if (n <= 0) {
          const int reason = SSL_get_error(ssl_.get(), static_cast<int>(n));
          if (reason == SSL_ERROR_ZERO_RETURN) return false;
          LEEWARD_TRY(retry(static_cast<int>(n)));
          continue;
        }
      } else {
        n = ::recv(fd_.get(), buffer, sizeof buffer, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) {
          if (!limit_.wait(fd_.get(), POLLIN)) return limit_.error();
          continue;
        }
        if (n < 0) return unreachable(std::strerror(errno));
      }
      if (n == 0) return false;
      out.append(buffer, static_cast<std::size_t>(n));
      return true;
    }
  }

 private:
  Result<void> load(const Certificates& certificates) {
    for (const auto& [flag, path] : {std::pair{"--cacert", &certificates.ca}, {"--cert", &certificates.cert}, {"--key", &certificates.key}})
      if (!path->empty() && ::access(path->c_str(), R_OK) != 0)
        return Error{Code::kInvalid, std::string(flag) + " " + *path + ": " + std::strerror(errno)};
    const bool loaded = certificates.ca.empty()
                            ? SSL_CTX_set_default_verify_paths(context_.get()) == 1
                            : SSL_CTX_load_verify_locations(context_.get(), certificates.ca.c_str(), nullptr) == 1;
    if (!loaded) return Error{Code::kInvalid, "--cacert " + certificates.ca + " holds no usable certificate: " + openssl_reason()};
    if (certificates.cert.empty()) return {};
    if (SSL_CTX_use_certificate_chain_file(context_.get(), certificates.cert.c_str()) != 1)
      return Error{Code::kInvalid, "--cert " + certificates.cert + " holds no usable certificate: " + openssl_reason()};
    if (SSL_CTX_use_PrivateKey_file(context_.get(), certificates.key.c_str(), SSL_FILETYPE_PEM) != 1)
      return Error{Code::kInvalid, "--key " + certificates.key + " does not fit --cert: " + openssl_reason()};
    return {};
  }

  // After a call that gave `n`: waits when it may be called again.
  Result<void> retry(int n) {
    switch (SSL_get_error(ssl_.get(), n)) {
      case SSL_ERROR_WANT_READ: return limit_.wait(fd_.get(), POLLIN) ? Result<void>() : limit_.error();
      case SSL_ERROR_WANT_WRITE: return limit_.wait(fd_.get(), POLLOUT) ? Result<void>() : limit_.error();
      default: break;
    }
    const std::string reason = openssl_reason();
    const bool asks_for_ours = reason.find("certificate required") != std::string::npos || reason.find("handshake failure") != std::string::npos;
    return unreachable("TLS: " + reason + (asks_for_ours ? "; it wants a client certificate: --cert and --key" : ""));
  }

  Error handshake_error(const Error& error) const {
    if (const long verdict = SSL_get_verify_result(ssl_.get()); verdict != X509_V_OK)
      return unreachable(std::string("its certificate is refused: ") + X509_verify_cert_error_string(verdict) +
                         "; --cacert names the authority to believe");
    if (error.message.find("wrong version number") != std::string::npos)
      return unreachable("it does not speak TLS; use http:// or leave --cacert out");
    return error;
  }

  Descriptor fd_;
  const Limit& limit_;
  std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context_{nullptr, SSL_CTX_free};
  std::unique_ptr<SSL, decltype(&SSL_free)> ssl_{nullptr, SSL_free};
};

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

// Takes whole chunks; nullopt when more must come, an error when it is none.
Result<std::optional<std::string>> dechunked(std::string_view text) {
  std::string out;
  while (true) {
    const std::size_t line = text.find("\r\n");
    if (line == std::string_view::npos) return std::optional<std::string>();
    std::size_t size = 0;
    const auto parsed = std::from_chars(text.data(), text.data() + line, size, 16);
    if (parsed.ec != std::errc{} || size > kMaxAnswer) return unreachable("the answer is not HTTP");
    text.remove_prefix(line + 2);
    if (size == 0) return std::optional<std::string>(out);
    if (text.size() < size + 2) return std::optional<std::string>();
    out += text.substr(0, size);
    text.remove_prefix(size + 2);
  }
}

// The reply in `text` once it is complete; `ended`: nothing more will come.
Result<std::optional<Reply>> parse_reply(const std::string& text, bool ended) {
  const std::size_t head = text.find("\r\n\r\n");
  if (head == std::string::npos) {
    if (ended || text.size() > 64_KiB)
      return unreachable(text.empty() ? "it closed the connection without an answer; does it want TLS (https://)?" : "the answer is not HTTP");
    return std::optional<Reply>();
  }
  Reply reply;
  if (text.size() < 12 || !text.starts_with("HTTP/1.") ||
      std::from_chars(text.data() + 9, text.data() + 12, reply.status).ec != std::errc{})
    return unreachable("the answer is not HTTP");
  const std::string headers = lower(text.substr(0, head + 2));
  const std::string_view body = std::string_view(text).substr(head + 4);
  if (headers.find("\r\ntransfer-encoding: chunked") != std::string::npos) {
    auto whole = dechunked(body);
    if (!whole.ok()) return whole.error();
    if (!*whole) return ended ? Result<std::optional<Reply>>(unreachable("the answer ended early")) : std::optional<Reply>();
    reply.body = std::move(**whole);
    return std::optional<Reply>(std::move(reply));
  }
  const std::size_t at = headers.find("\r\ncontent-length:");
  if (at != std::string::npos) {
    std::size_t start = at + 17, length = 0;
    while (start < headers.size() && headers[start] == ' ') ++start;
    if (std::from_chars(headers.data() + start, headers.data() + headers.size(), length).ec != std::errc{} || length > kMaxAnswer)
      return unreachable("the answer is not HTTP");
    if (body.size() < length) return ended ? Result<std::optional<Reply>>(unreachable("the answer ended early")) : std::optional<Reply>();
    reply.body = body.substr(0, length);
    return std::optional<Reply>(std::move(reply));
  }
  if (!ended) return std::optional<Reply>();
  reply.body = body;
  return std::optional<Reply>(std::move(reply));
}

Error endpoint_error(std::string_view text) {
  return {Code::kInvalid, "\"" + std::string(text) +
                              "\" is not an endpoint; expected host:port, http://host:port, https://host:port or unix:///path"};
}

}  // namespace

std::string Endpoint::text() const {
  if (!socket.empty()) return "unix://" + socket;
  return (host.find(':') == std::string::npos ? host : "[" + host + "]") + ":" + port;
}

Result<Endpoint> parse_endpoint(std::string_view text, bool tls_by_default) {
  Endpoint out;
  out.tls = tls_by_default;
  std::string_view rest = text;
  if (rest.starts_with("unix://")) {
    out.tls = false;
    out.socket = rest.substr(7);
    return out.socket.starts_with('/') ? Result<Endpoint>(out) : endpoint_error(text);
  }
  if (rest.starts_with("https://")) {
    out.tls = true;
    rest.remove_prefix(8);
  } else if (rest.starts_with("http://")) {
    out.tls = false;
    rest.remove_prefix(7);
  }
  if (rest.ends_with('/')) rest.remove_suffix(1);
  const std::size_t colon = rest.rfind(':');
  if (colon == std::string_view::npos) return endpoint_error(text);
  out.host = rest.substr(0, colon);
  out.port = rest.substr(colon + 1);
  if (out.host.starts_with('[') && out.host.ends_with(']')) out.host = out.host.substr(1, out.host.size() - 2);
  else if (out.host.find(':') != std::string::npos) return endpoint_error(text);
  std::uint16_t port = 0;
  const auto parsed = std::from_chars(out.port.data(), out.port.data() + out.port.size(), port);
  if (out.host.empty() || out.host.find('/') != std::string::npos || parsed.ec != std::errc{} ||
      parsed.ptr != out.port.data() + out.port.size() || port == 0)
    return endpoint_error(text);
  return out;
}

Result<Reply> HttpPoster::post(const Endpoint& endpoint, const std::string& path, const std::string& body, Duration timeout) {
  const Limit limit(timeout);
  auto fd = endpoint.socket.empty() ? connect_host(endpoint, limit) : connect_socket(endpoint, limit);
  if (!fd.ok()) return fd.error();
  Wire wire(std::move(*fd), limit);
  if (endpoint.tls) LEEWARD_TRY(wire.start_tls(certificates_, endpoint.host));
  const std::string host = endpoint.socket.empty() ? endpoint.text() : "localhost";
  LEEWARD_TRY(wire.write("POST " + path + " HTTP/1.1\r\nHost: " + host +
                         "\r\nContent-Type: application/json\r\nConnection: close\r\nUser-Agent: leewardctl\r\nContent-Length: " +
                         std::to_string(body.size()) + "\r\n\r\n" + body));
  std::string text;
  while (true) {
    const auto more = wire.read(text);
    if (!more.ok() && more.error().code == Code::kUnavailable && !endpoint.tls && text.empty())
      return unreachable(more.error().message + "; does it want TLS (https://)?");
    if (!more.ok()) return more.error();
    auto reply = parse_reply(text, !*more);
    if (!reply.ok()) return reply.error();
    if (*reply) return std::move(**reply);
    if (text.size() > kMaxAnswer) return unreachable("the answer is too long");
  }
}

}  // namespace leeward::ctl
