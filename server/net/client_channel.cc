#include "net/client_channel.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

namespace leeward::net {
namespace {

constexpr int kLookAgain = 50;  // ms, whether the call was cancelled

Result<void> as_unsent(Result<void> result) {
  if (result.ok()) return result;
  return Error{Code::kUnavailable, "TLS handshake: " + result.error().message};
}

}  // namespace

Result<ClientEndpoint> parse_endpoint(const HttpCall& call) {
  std::string_view text = call.endpoint;
  ClientEndpoint endpoint;
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

std::string ClientEndpoint::authority() const {
  if (!unix_path.empty()) return "localhost";
  const bool v6 = target.host.find(':') != std::string::npos;
  return (v6 ? "[" + target.host + "]" : target.host) + ":" + std::to_string(target.port);
}

Result<std::unique_ptr<ClientChannel>> ClientChannel::open(const HttpCall& call, const ClientEndpoint& endpoint, bool http2) {
  const auto begun = std::chrono::steady_clock::now();
  std::unique_ptr<ClientChannel> channel(new ClientChannel(begun + std::min(call.timeout, call.connect_timeout), call.cancelled));
  if (endpoint.tls) {
    auto tls = Tls::client(call.tls.value_or(TlsOptions{}));
    if (!tls) return tls.error();
    channel->session_ = TlsSession::dial((*tls)->dialing(), endpoint.target.host, http2);
  }
  auto ready = channel->connect(endpoint);
  if (ready.ok()) ready = channel->handshake();
  if (!ready.ok()) return Error{ready.error().code, call.endpoint + ": " + ready.error().message};
  channel->end_ = begun + call.timeout;
  return channel;
}

ClientChannel::~ClientChannel() {
  if (fd_ >= 0) close(fd_);
}

Result<void> ClientChannel::connect(const ClientEndpoint& endpoint) {
  if (!endpoint.unix_path.empty()) return connect(SocketAddress::unix_path(endpoint.unix_path));
  const auto addresses = resolve_blocking(endpoint.target);
  if (!addresses) return addresses.error();
  Result<void> result = Error{Code::kUnavailable, "no address"};
  for (const auto& address : *addresses) {
    result = connect(address);
    if (result.ok()) break;
  }
  return result;
}

Result<void> ClientChannel::connect(const SocketAddress& address) {
  const auto fd = connect_socket(address);
  if (!fd) return fd.error();
  fd_ = *fd;
  if (!wait(POLLOUT)) return reset({Code::kUnavailable, "cannot connect to " + address.text() + ": timed out"});
  if (const auto outcome = connect_outcome(fd_); !outcome)
    return reset({Code::kUnavailable, "cannot connect to " + address.text() + ": " + outcome.error().message});
  return {};
}

// Certificates are refused by either side before or after the request went out.
Result<void> ClientChannel::handshake() {
  if (!session_) return {};
  std::string out;
  LEEWARD_TRY(session_->start(out));
  LEEWARD_TRY(as_unsent(write_wire(out)));
  while (!session_->open()) {
    auto more = receive();
    if (!more) return more.error().code == Code::kUnknown ? as_unsent(more.error()) : more.error();
    if (!*more) return Error{Code::kUnavailable, "the connection was cut during the TLS handshake"};
  }
  return {};
}

Result<void> ClientChannel::write(std::string_view data) {
  if (!session_) return write_wire(data);
  std::string out;
  LEEWARD_TRY(session_->send(data, out));
  return write_wire(out);
}

Result<bool> ClientChannel::receive() {
  const auto piece = read_wire();
  if (!piece) return piece.error();
  if (piece->empty()) return false;
  if (!session_) {
    plain_.append(*piece);
    return true;
  }
  std::string out;
  TlsSession::OnPlain add = [this](std::string_view text) { plain_.append(text); };
  const auto taken = session_->receive(*piece, out, add);
  if (!out.empty()) (void)write_wire(out);  // the reading side learns of a broken line
  if (!taken.ok() && taken.error().code == Code::kCancelled) return false;
  if (!taken.ok()) return taken.error();
  return true;
}

Result<void> ClientChannel::write_wire(std::string_view data) {
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

Result<std::string_view> ClientChannel::read_wire() {
  // Before each: one that always has more to say is cut off in time, too.
  while (std::chrono::steady_clock::now() < end_ && !(cancelled_ && *cancelled_)) {
    const ssize_t n = recv(fd_, buffer_.data(), buffer_.size(), 0);
    if (n >= 0) return std::string_view(buffer_.data(), static_cast<std::size_t>(n));
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (!wait(POLLIN)) break;
    } else if (errno != EINTR) {
      return Error{Code::kUnknown, system_error(errno)};
    }
  }
  return Error{Code::kUnknown, "timed out"};
}

Error ClientChannel::reset(Error error) {
  close(fd_);
  fd_ = -1;
  return error;
}

bool ClientChannel::wait(short events) {
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end_ - std::chrono::steady_clock::now()).count();
    if (left <= 0 || (cancelled_ && *cancelled_)) return false;
    pollfd entry{fd_, events, 0};
    const int n = poll(&entry, 1, static_cast<int>(std::min<long long>(left, cancelled_ ? kLookAgain : 1 << 30)));
    if (n > 0) return true;
    if (n < 0 && errno != EINTR) return false;
  }
}

}  // namespace leeward::net
