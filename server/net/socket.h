// Addresses and non-blocking sockets, as values. Any thread.
#pragma once

#include <sys/socket.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace leeward::net {

// How long a listener leaves accept() alone that failed, as without a file descriptor left.
constexpr std::chrono::milliseconds kAcceptPause{100};

struct HostPort {
  std::string host;  // without brackets
  std::uint16_t port = 0;
};
// "127.0.0.1:2379", "[::1]:2379", "db1.example:2379", ":2379" (all addresses).
Result<HostPort> parse_host_port(std::string_view text);

// An IPv4, IPv6 or unix socket address.
class SocketAddress {
 public:
  SocketAddress() = default;
  SocketAddress(const void* address, unsigned size);
  static SocketAddress unix_path(std::string_view path);

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage_); }
  unsigned size() const { return size_; }
  int family() const { return storage_.ss_family; }
  std::uint16_t port() const;
  bool loopback() const;
  std::string text() const;

 private:
  sockaddr_storage storage_{};
  unsigned size_ = 0;
};

// Without asking any name server; empty when `target.host` is a name.
std::vector<SocketAddress> numeric_addresses(const HostPort& target);
// Blocks. Errors: kUnavailable.
Result<std::vector<SocketAddress>> resolve_blocking(const HostPort& target);

// A listening, non-blocking socket on "host:port" or "unix:///path". Errors:
// kInvalid (no such address), kInUse (names the holder and `config_key`), kIo.
Result<int> listen_socket(const std::string& address, const std::string& config_key);
// A non-blocking socket whose connection is under way or done. Errors: kUnavailable.
Result<int> connect_socket(const SocketAddress& address);
// The outcome of a connect that was under way. Errors: kUnavailable.
Result<void> connect_outcome(int fd);
// TCP_NODELAY, and keep-alive probes that find a dead peer in about `dead_after` seconds.
void tune_tcp(int fd, int dead_after);

SocketAddress local_address(int fd);
// errno's text.
std::string system_error(int error);

}  // namespace leeward::net
