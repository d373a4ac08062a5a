#include "net/http_client.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <chrono>

#include "net/socket.h"

namespace leeward::net {

namespace http = boost::beast::http;

namespace {

using SteadyTime = std::chrono::steady_clock::time_point;

struct Endpoint {
  bool tls = false;
  std::string unix_path;
  HostPort target;
};

Result<Endpoint> parse_endpoint(const HttpCall& call) {
  std::string_view text = call.endpoint;
  Endpoint endpoint;
  endpoint.tls = call.tls.has_value();
  const auto scheme = [&](std::string_view name) {
    if (!text.starts_with(name)) return false;
    text.remove_prefix(name.size());
    return true;
  };
  if (scheme("unix://")) {
    if (text.empty() || text.size() >= sizeof(sockaddr_un::sun_path))
      return Error{Code::kInvalid, "\"" + call.endpoint + "\" names no usable socket"};
    endpoint.unix_path = text;
    endpoint.tls = false;
    return endpoint;
  }
  if (scheme("https://")) endpoint.tls = true;
  else if (scheme("http://")) endpoint.tls = false;
  if (text.ends_with('/')) text.remove_suffix(1);
  auto target = parse_host_port(text);
  if (!target) return Error{Code::kInvalid, target.error().message + ": give host:port or unix:///path"};
  endpoint.target = std::move(*target);
  if (endpoint.target.host.empty()) endpoint.target.host = "127.0.0.1";
  return endpoint;
}

// A connected socket that gives up at a point in time.
class Line {
 public:
  explicit Line(SteadyTime end) : end_(end) {}
  ~Line() {
    if (fd_ >= 0) close(fd_);
  }
  Line(const Line&) = delete;
  Line& operator=(const Line&) = delete;

  void until(SteadyTime end) { end_ = end; }

  Result<void> connect(const SocketAddress& address) {
    const auto fd = connect_socket(address);
    if (!fd) return fd.error();
    fd_ = *fd;
    if (!wait(POLLOUT)) return reset({Code::kUnavailable, "cannot connect to " + address.text() + ": timed out"});
    if (const auto outcome = connect_outcome(fd_); !outcome)
      return reset({Code::kUnavailable, "cannot connect to " + address.text() + ": " + outcome.error().message});
    return {};
  }

  Result<void> write(std::string_view data) {
    while (!data.empty()) {
      const ssize_t n = send(fd_, data.data(), data.size(), MSG_NOSIGNAL);
      if (n > 0) data.remove_prefix(static_cast<std::size_t>(n));
      else if (errno == EAGAIN || errno == EWOULDBLOCK) {
        if (!wait(POLLOUT)) return Error{Code::kUnknown, "timed out"};
      } else if (errno != EINTR) {
        return Error{Code::kUnknown, system_error(errno)};
      }
    }
    return {};
  }

  // Empty at the end of the stream.
  Result<std::string_view> read() {
    for (;;) {
      const ssize_t n = recv(fd_, buffer_.data(), buffer_.size(), 0);
      if (n >= 0) return std::string_view(buffer_.data(), static_cast<std::size_t>(n));
      if (errno == EAGAIN || errno == EWOULDBLOCK) {
        if (!wait(POLLIN)) return Error{Code::kUnknown, "timed out"};
      } else if (errno != EINTR) {
        return Error{Code::kUnknown, system_error(errno)};
      }
    }
  }

 private:
  Error reset(Error error) {
    close(fd_);
    fd_ = -1;
    return error;
  }
  bool wait(short events) {
    for (;;) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(end_ - std::chrono::steady_clock::now()).count();
      if (left <= 0) return false;
      pollfd entry{fd_, events, 0};
      const int n = poll(&entry, 1, static_cast<int>(std::min<long long>(left, 1 << 30)));
      if (n > 0) return true;
      if (n < 0 && errno != EINTR) return false;
    }
  }

  SteadyTime end_;
  int fd_ = -1;
  std::string buffer_ = std::string(64_KiB, '\0');
};

Result<void> connect(Line& line, const Endpoint& endpoint) {
  if (!endpoint.unix_path.empty()) return line.connect(SocketAddress::unix_path(endpoint.unix_path));
  const auto addresses = resolve_blocking(endpoint.target);
  if (!addresses) return addresses.error();
  Result<void> result = Error{Code::kUnavailable, "no address"};
  for (const auto& address : *addresses) {
    result = line.connect(address);
    if (result.ok()) break;
  }
  return result;
}

std::string request_text(const HttpCall& call, const Endpoint& endpoint) {
  const bool v6 = endpoint.target.host.find(':') != std::string::npos;
  const std::string host = endpoint.unix_path.empty()
                               ? (v6 ? "[" + endpoint.target.host + "]" : endpoint.target.host) + ":" +
                                     std::to_string(endpoint.target.port)
                               : "localhost";
  std::string text = call.method + " " + call.path + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n";
  if (!call.body.empty() || call.method == "POST" || call.method == "PUT")
    text += "Content-Type: " + call.content_type + "\r\nContent-Length: " + std::to_string(call.body.size()) + "\r\n";
  for (const auto& [name, value] : call.headers) text += name + ": " + value + "\r\n";
  return text + "\r\n" + call.body;
}

// The stream with TLS or without; certificates are refused by either side
// before or after the request went out.
class Channel {
 public:
  Channel(Line& line, std::unique_ptr<TlsSession> session) : line_(line), session_(std::move(session)) {}

  Result<void> open() {
    if (!session_) return {};
    std::string out;
    LEEWARD_TRY(session_->start(out));
    LEEWARD_TRY(as_unsent(line_.write(out)));
    while (!session_->open()) {
      auto more = receive();
      if (!more) return more.error().code == Code::kUnknown ? as_unsent(more.error()) : more.error();
      if (!*more) return Error{Code::kUnavailable, "the connection was cut during the TLS handshake"};
    }
    return {};
  }

  Result<void> write(std::string_view data) {
    if (!session_) return line_.write(data);
    std::string out;
    LEEWARD_TRY(session_->send(data, out));
    return line_.write(out);
  }

  // Adds to plain(); false at the end of the stream.
  Result<bool> receive() {
    const auto piece = line_.read();
    if (!piece) return piece.error();
    if (piece->empty()) return false;
    if (!session_) {
      plain_.append(*piece);
      return true;
    }
    std::string out;
    TlsSession::OnPlain add = [this](std::string_view text) { plain_.append(text); };
    const auto taken = session_->receive(*piece, out, add);
    if (!out.empty()) (void)line_.write(out);  // the reading side learns of a broken line
    if (!taken.ok() && taken.error().code == Code::kCancelled) return false;
    if (!taken.ok()) return taken.error();
    return true;
  }

  std::string& plain() { return plain_; }

 private:
  static Result<void> as_unsent(Result<void> result) {
    if (result.ok()) return result;
    return Error{Code::kUnavailable, "TLS handshake: " + result.error().message};
  }
  Line& line_;
  std::unique_ptr<TlsSession> session_;
  std::string plain_;
};

using Parser = http::response_parser<http::string_body>;

HttpResponse to_response(Parser& parser) {
  auto& message = parser.get();
  HttpResponse response;
  response.status = static_cast<int>(message.result_int());
  response.content_type = std::string(message[http::field::content_type]);
  for (const auto& field : message) {
    std::string name(field.name_string());
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
    response.headers.emplace_back(std::move(name), std::string(field.value()));
  }
  response.body = Bytes(std::move(message.body()));
  return response;
}

Result<HttpResponse> read_response(Channel& channel, const HttpCall& call) {
  Parser parser;
  parser.eager(true);
  parser.skip(call.method == "HEAD");
  parser.body_limit(call.max_response);
  while (!parser.is_done()) {
    auto more = channel.receive();
    if (!more) return more.error();
    boost::system::error_code error;
    std::string& plain = channel.plain();
    while (!plain.empty() && !parser.is_done()) {
      const std::size_t n = parser.put(boost::asio::buffer(plain), error);
      plain.erase(0, n);
      if (error == http::error::need_more || n == 0) break;
      if (error) return Error{Code::kInvalid, "what answers is not HTTP: " + error.message()};
    }
    if (*more) continue;
    if (!parser.got_some()) return Error{Code::kUnknown, "the connection was closed without an answer"};
    parser.put_eof(error);
    if (error || !parser.is_done()) return Error{Code::kUnknown, "the answer was cut off"};
  }
  return to_response(parser);
}

}  // namespace

Result<HttpResponse> http_request(const HttpCall& call) {
  const auto named = [&](Error error) {
    return Error{error.code, call.endpoint + ": " + error.message};
  };
  const auto endpoint = parse_endpoint(call);
  if (!endpoint) return endpoint.error();
  const auto begun = std::chrono::steady_clock::now();
  Line line(begun + std::min(call.timeout, call.connect_timeout));
  std::unique_ptr<TlsSession> session;
  if (endpoint->tls) {
    auto tls = Tls::client(call.tls.value_or(TlsOptions{}));
    if (!tls) return tls.error();
    session = TlsSession::dial((*tls)->dialing(), endpoint->target.host);
  }
  if (auto connected = connect(line, *endpoint); !connected.ok()) return named(connected.error());
  Channel channel(line, std::move(session));
  if (auto opened = channel.open(); !opened.ok()) return named(opened.error());
  line.until(begun + call.timeout);
  // A node that refuses early answers and closes before it has read all.
  const auto sent = channel.write(request_text(call, *endpoint));
  auto response = read_response(channel, call);
  if (!response) return named(sent.ok() || response.error().code == Code::kPermission ? response.error() : sent.error());
  return response;
}

}  // namespace leeward::net
