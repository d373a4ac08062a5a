// A blocking connection of a client: a socket, with TLS or without, that gives
// up at a point in time. Internal to http_client and grpc_client.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "net/http_client.h"
#include "net/socket.h"
#include "net/tls.h"

namespace leeward::net {

struct ClientEndpoint {
  bool tls = false;
  std::string unix_path;
  HostPort target;
  std::string authority() const;  // host and port, as requests name it
};
Result<ClientEndpoint> parse_endpoint(const HttpCall& call);

class ClientChannel {
 public:
  // Connects, with the handshake where there is TLS. Errors as http_request's.
  static Result<std::unique_ptr<ClientChannel>> open(const HttpCall& call, const ClientEndpoint& endpoint, bool http2);
  ~ClientChannel();
  ClientChannel(const ClientChannel&) = delete;
  ClientChannel& operator=(const ClientChannel&) = delete;

  Result<void> write(std::string_view data);
  // Adds to plain(); false at the end of the stream.
  Result<bool> receive();
  std::string& plain() { return plain_; }
  // From now on it gives up so much later.
  void give_up_after(Duration limit) { end_ = std::chrono::steady_clock::now() + limit; }

 private:
  using SteadyTime = std::chrono::steady_clock::time_point;
  ClientChannel(SteadyTime end, const std::atomic<bool>* cancelled) : end_(end), cancelled_(cancelled) {}

  Result<void> connect(const ClientEndpoint& endpoint);
  Result<void> connect(const SocketAddress& address);
  Result<void> handshake();
  Result<void> write_wire(std::string_view data);
  Result<std::string_view> read_wire();  // empty at the end of the stream
  Error reset(Error error);
  bool wait(short events);

  SteadyTime end_;
  const std::atomic<bool>* const cancelled_;
  int fd_ = -1;
  std::string buffer_ = std::string(64_KiB, '\0');
  std::unique_ptr<TlsSession> session_;
  std::string plain_;
};

}  // namespace leeward::net
