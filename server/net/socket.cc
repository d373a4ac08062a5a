#include "net/socket.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <fstream>
#include <memory>
#include <sstream>

namespace leeward::net {

namespace {

constexpr std::string_view kUnixScheme = "unix://";

std::vector<SocketAddress> lookup(const HostPort& target, int flags, int& error) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  error = getaddrinfo(target.host.empty() ? nullptr : target.host.c_str(), std::to_string(target.port).c_str(), &hints,
                      &found);
  std::vector<SocketAddress> addresses;
  if (error != 0) return addresses;
  for (addrinfo* a = found; a; a = a->ai_next) addresses.emplace_back(a->ai_addr, a->ai_addrlen);
  freeaddrinfo(found);
  return addresses;
}

// As the kernel's tables show an address: its words in hexadecimal, each as the
// machine reads it.
std::string table_form(const SocketAddress& at) {
  std::uint32_t words[4];
  std::size_t count = 1;
  if (at.family() == AF_INET6) {
    memcpy(words, &reinterpret_cast<const sockaddr_in6*>(at.get())->sin6_addr, sizeof words);
    count = 4;
  } else {
    memcpy(words, &reinterpret_cast<const sockaddr_in*>(at.get())->sin_addr, sizeof words[0]);
  }
  std::string out;
  char text[9];
  for (std::size_t i = 0; i < count; ++i) {
    snprintf(text, sizeof text, "%08X", words[i]);
    out += text;
  }
  return out;
}

// The inode of the socket that listens where `at` would, from the kernel's
// table: of several on that port the one at the same address, or at all of them.
std::string listening_inode(const char* table, const SocketAddress& at) {
  const auto wildcard = [](const std::string& address) { return address.find_first_not_of('0') == std::string::npos; };
  const std::string ours = table_form(at);
  std::ifstream in(table);
  std::string line, found;
  std::getline(in, line);
  while (std::getline(in, line)) {
    std::istringstream fields(line);
    std::string slot, local, remote, state, queues, timer, retransmits, uid, timeout, inode;
    fields >> slot >> local >> remote >> state >> queues >> timer >> retransmits >> uid >> timeout >> inode;
    const auto colon = local.rfind(':');
    if (state != "0A" || colon == std::string::npos) continue;  // 0A: LISTEN
    if (std::stoul(local.substr(colon + 1), nullptr, 16) != at.port()) continue;
    const std::string theirs = local.substr(0, colon);
    if (theirs == ours) return inode;
    if (wildcard(theirs) || wildcard(ours)) found = inode;
  }
  return found;
}

// "etcd (pid 4711)" or "" when it cannot be found (another user's process).
std::string port_holder(const SocketAddress& at) {
  std::string inode = listening_inode("/proc/net/tcp", at);
  if (inode.empty()) inode = listening_inode("/proc/net/tcp6", at);
  if (inode.empty()) return {};
  const std::string wanted = "socket:[" + inode + "]";
  const std::unique_ptr<DIR, int (*)(DIR*)> proc(opendir("/proc"), closedir);
  if (!proc) return {};
  while (const dirent* process = readdir(proc.get())) {
    if (process->d_name[0] < '0' || process->d_name[0] > '9') continue;
    const std::string base = std::string("/proc/") + process->d_name;
    const std::unique_ptr<DIR, int (*)(DIR*)> files(opendir((base + "/fd").c_str()), closedir);
    if (!files) continue;
    while (const dirent* file = readdir(files.get())) {
      char target[64];
      const ssize_t size = readlink((base + "/fd/" + file->d_name).c_str(), target, sizeof target);
      if (size <= 0 || std::string_view(target, static_cast<std::size_t>(size)) != wanted) continue;
      std::string name;
      std::getline(std::ifstream(base + "/comm") >> std::ws, name);
      return name + " (pid " + process->d_name + ")";
    }
  }
  return {};
}

// What stands where a socket is to be and is none; "" else.
std::string other_file(const SocketAddress& at) {
  struct stat info;
  if (at.family() != AF_UNIX || lstat(at.text().substr(kUnixScheme.size()).c_str(), &info) != 0 || S_ISSOCK(info.st_mode)) return {};
  return S_ISLNK(info.st_mode) ? "a symbolic link" : S_ISDIR(info.st_mode) ? "a directory" : S_ISREG(info.st_mode) ? "a regular file" : "no socket";
}

Error bind_error(const std::string& address, const std::string& config_key, const SocketAddress& at, int error) {
  const std::string key = config_key.empty() ? "its address" : config_key;
  if (const std::string other = error == EADDRINUSE ? other_file(at) : ""; !other.empty())
    return {Code::kInUse, address + " is " + other + ", not a socket that may be replaced; remove it or change " + key};
  if (error == EADDRINUSE) {
    const std::string holder = at.family() == AF_UNIX ? std::string() : port_holder(at);
    return {Code::kInUse, address + " is in use by " + (holder.empty() ? "another process" : holder) +
                              "; stop it or change " + key};
  }
  return {Code::kIo, "cannot listen on " + address + ": " + system_error(error) + "; change " + key};
}

// A socket file that nobody listens on is left over from a killed process.
void remove_stale_socket(const std::string& path, const SocketAddress& address) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0 || !S_ISSOCK(info.st_mode)) return;
  const int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (probe < 0) return;
  if (connect(probe, address.get(), address.size()) != 0 && errno == ECONNREFUSED) unlink(path.c_str());
  close(probe);
}

}  // namespace

std::string system_error(int error) {
  char text[128];
  return strerror_r(error, text, sizeof text);
}

Result<HostPort> parse_host_port(std::string_view text) {
  const Error bad{Code::kInvalid, "\"" + std::string(text) + "\" is no host:port"};
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos) return bad;
  std::string_view host = text.substr(0, colon), port = text.substr(colon + 1);
  if (!host.empty() && host.front() == '[') {
    if (host.back() != ']') return bad;
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return bad;
  }
  HostPort result{std::string(host), 0};
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), result.port);
  if (port.empty() || error != std::errc() || end != port.data() + port.size()) return bad;
  return result;
}

SocketAddress::SocketAddress(const void* address, unsigned size) : size_(size) {
  memcpy(&storage_, address, std::min<std::size_t>(size, sizeof storage_));
}

SocketAddress SocketAddress::unix_path(std::string_view path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::size_t size = std::min(path.size(), sizeof address.sun_path - 1);
  memcpy(address.sun_path, path.data(), size);
  return SocketAddress(&address, static_cast<unsigned>(offsetof(sockaddr_un, sun_path) + size + 1));
}

std::uint16_t SocketAddress::port() const {
  if (family() == AF_INET) return ntohs(reinterpret_cast<const sockaddr_in*>(&storage_)->sin_port);
  if (family() == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6*>(&storage_)->sin6_port);
  return 0;
}

bool SocketAddress::loopback() const {
  if (family() == AF_UNIX) return true;
  if (family() == AF_INET)
    return (ntohl(reinterpret_cast<const sockaddr_in*>(&storage_)->sin_addr.s_addr) >> 24) == 127;
  if (family() != AF_INET6) return false;
  const in6_addr& address = reinterpret_cast<const sockaddr_in6*>(&storage_)->sin6_addr;
  if (IN6_IS_ADDR_V4MAPPED(&address)) return address.s6_addr[12] == 127;
  return IN6_IS_ADDR_LOOPBACK(&address);
}

std::string SocketAddress::text() const {
  if (family() == AF_UNIX) {
    const char* path = reinterpret_cast<const sockaddr_un*>(&storage_)->sun_path;
    return size_ > offsetof(sockaddr_un, sun_path) && *path ? std::string("unix://") + path : "unix";
  }
  char host[INET6_ADDRSTRLEN] = "?";
  if (family() == AF_INET) {
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(&storage_)->sin_addr, host, sizeof host);
    return std::string(host) + ":" + std::to_string(port());
  }
  inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6*>(&storage_)->sin6_addr, host, sizeof host);
  return "[" + std::string(host) + "]:" + std::to_string(port());
}

std::vector<SocketAddress> numeric_addresses(const HostPort& target) {
  int ignored;  // a name is no error here
  return lookup(target, AI_NUMERICHOST | AI_PASSIVE, ignored);
}

Result<std::vector<SocketAddress>> resolve_blocking(const HostPort& target) {
  int error;
  auto found = lookup(target, AI_ADDRCONFIG, error);
  if (found.empty()) found = lookup(target, 0, error);
  if (found.empty())
    return Error{Code::kUnavailable, "cannot resolve " + target.host + ": " + gai_strerror(error)};
  return found;
}

Result<int> listen_socket(const std::string& address, const std::string& config_key) {
  SocketAddress at;
  std::string path;
  if (address.starts_with(kUnixScheme)) {
    path = address.substr(kUnixScheme.size());
    if (path.empty() || path.size() >= sizeof(sockaddr_un::sun_path))
      return Error{Code::kInvalid, "the socket path " + path + " must have 1 to 107 bytes; change " + config_key};
    at = SocketAddress::unix_path(path);
    remove_stale_socket(path, at);
  } else {
    const auto target = parse_host_port(address);
    if (!target) return target.error();
    auto found = numeric_addresses(*target);
    if (found.empty()) {
      auto resolved = resolve_blocking(*target);
      if (!resolved) return Error{Code::kInvalid, resolved.error().message + "; change " + config_key};
      found = std::move(*resolved);
    }
    at = found.front();
    // ":2379" means both families where the machine has IPv6.
    if (target->host.empty())
      for (const auto& candidate : found)
        if (candidate.family() == AF_INET6) at = candidate;
  }
  int fd = socket(at.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0 && at.family() == AF_INET6 && errno == EAFNOSUPPORT && address.starts_with(":"))
    return listen_socket("0.0.0.0" + address, config_key);
  if (fd < 0) return bind_error(address, config_key, at, errno);
  const int on = 1, off = 0;
  if (at.family() != AF_UNIX) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (at.family() == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  if (bind(fd, at.get(), at.size()) != 0 || (!path.empty() && chmod(path.c_str(), 0600) != 0) ||
      listen(fd, 1024) != 0) {
    const int error = errno;
    close(fd);
    return bind_error(address, config_key, at, error);
  }
  return fd;
}

Result<int> connect_socket(const SocketAddress& address) {
  const int fd = socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return Error{Code::kUnavailable, "cannot make a socket: " + system_error(errno)};
  if (connect(fd, address.get(), address.size()) != 0 && errno != EINPROGRESS) {
    const int error = errno;
    close(fd);
    return Error{Code::kUnavailable, "cannot connect to " + address.text() + ": " + system_error(error)};
  }
  return fd;
}

Result<void> connect_outcome(int fd) {
  int error = 0;
  socklen_t size = sizeof error;
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
  if (error != 0) return Error{Code::kUnavailable, system_error(error)};
  return {};
}

void tune_tcp(int fd, int dead_after) {
  const int on = 1, probes = 3;
  const int idle = std::max(1, dead_after / 2), interval = std::max(1, dead_after / 6), timeout_ms = dead_after * 1000;
  // On a unix socket each of these fails, which is fine.
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
  setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof timeout_ms);
}

SocketAddress local_address(int fd) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0) return {};
  return SocketAddress(&storage, size);
}

}  // namespace leeward::net
