// A WAN on loopback; README.md says what it is told and what it does.
//
// One thread, one epoll. A connection is two pipes; a pipe is a queue of chunks
// with the time at which each reaches the other end. The bandwidth belongs to
// a path's direction, so connections share it.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
using Time = Clock::time_point;
using Nanos = std::chrono::nanoseconds;

constexpr std::size_t kReadSize = 256 * 1024;
constexpr std::size_t kMinimumHeld = 32u << 20;

struct Address {
  sockaddr_in in{};
  std::string text;
};

std::optional<Address> parse_address(const std::string& text) {
  Address a;
  a.text = text;
  const auto colon = text.rfind(':');
  if (colon == std::string::npos) return std::nullopt;
  a.in.sin_family = AF_INET;
  const int port = std::atoi(text.c_str() + colon + 1);
  if (port <= 0 || port > 65535 || inet_pton(AF_INET, text.substr(0, colon).c_str(), &a.in.sin_addr) != 1) return std::nullopt;
  a.in.sin_port = htons(static_cast<std::uint16_t>(port));
  return a;
}

std::optional<Nanos> parse_delay(const std::string& text) {
  std::size_t used = 0;
  double value = 0;
  try {
    value = std::stod(text, &used);
  } catch (const std::exception&) {
    return std::nullopt;
  }
  const auto unit = text.substr(used);
  const double scale = unit == "ms" ? 1e6 : unit == "us" ? 1e3 : unit == "s" ? 1e9 : 0;
  if (scale == 0 || value < 0) return std::nullopt;
  return Nanos(static_cast<std::int64_t>(value * scale));
}

// One direction of a path.
struct Direction {
  Nanos delay{};
  double rate = 0;  // bytes a second; 0: no limit
  bool cut = false;
  Time free{};      // when the link has sent all it took
  std::uint64_t passed = 0;

  std::size_t held_limit() const {
    const double fills = rate * (static_cast<double>(delay.count()) / 1e9) * 2;
    return std::max(kMinimumHeld, static_cast<std::size_t>(fills));
  }
};

struct Chunk {
  Time due;
  std::string bytes;
  std::size_t written = 0;
};

struct Pipe {
  int from = -1, to = -1;
  Direction* direction = nullptr;
  std::deque<Chunk> chunks;
  std::size_t held = 0;
  bool ended = false;     // `from` has no more
  bool shut = false;      // and `to` was told
  bool blocked = false;   // `to` takes no more for now
};

struct Connection {
  int dialled = -1, target = -1;
  bool connecting = false;
  bool dead = false;
  Pipe up, down;
};

struct Path {
  std::string name;
  Address listen, target;
  int listener = -1;
  Direction up, down;
  bool refuse = false;
  std::list<std::unique_ptr<Connection>> connections;
  std::deque<int> waiting;  // accepted during a cut
};

void set_nonblocking(int fd) { fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK); }

void reset_and_close(int fd) {
  if (fd < 0) return;
  const linger hard{1, 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
  close(fd);
}

class Relay {
 public:
  Relay() : epoll_(epoll_create1(EPOLL_CLOEXEC)) {}

  std::vector<std::unique_ptr<Path>> paths;

  bool listen_all() {
    for (auto& path : paths) {
      path->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
      const int yes = 1;
      setsockopt(path->listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
      if (bind(path->listener, reinterpret_cast<sockaddr*>(&path->listen.in), sizeof path->listen.in) != 0 ||
          listen(path->listener, 256) != 0) {
        std::fprintf(stderr, "leeward-relay: cannot listen on %s: %s\n", path->listen.text.c_str(), std::strerror(errno));
        return false;
      }
      watch(path->listener, EPOLLIN, EPOLL_CTL_ADD);
    }
    set_nonblocking(STDIN_FILENO);
    // A regular file or /dev/null cannot be watched: then there are no commands.
    watch(STDIN_FILENO, EPOLLIN, EPOLL_CTL_ADD);
    return true;
  }

  void run() {
    std::vector<epoll_event> events(256);
    while (!stopping_) {
      const auto wait = until_next();
      const timespec timeout{wait.count() / 1'000'000'000, wait.count() % 1'000'000'000};
      const int n = epoll_pwait2(epoll_, events.data(), static_cast<int>(events.size()), wait.count() < 0 ? nullptr : &timeout, nullptr);
      for (int i = 0; i < n; ++i) handle(events[static_cast<std::size_t>(i)]);
      for (auto& path : paths) serve(*path);
    }
  }

 private:
  void watch(int fd, std::uint32_t what, int operation) {
    epoll_event event{};
    event.events = what;
    event.data.fd = fd;
    epoll_ctl(epoll_, operation, fd, &event);
  }

  // Edge-triggered connections: serve() tries all that may make progress.
  void handle(const epoll_event& event) {
    const int fd = event.data.fd;
    if (fd == STDIN_FILENO) return commands();
    for (auto& path : paths)
      if (path->listener == fd) return accept_all(*path);
    const auto it = owners_.find(fd);
    if (it == owners_.end()) return;
    auto& c = *it->second;
    if (c.connecting && fd == c.target && (event.events & (EPOLLOUT | EPOLLERR | EPOLLHUP))) {
      int error = 0;
      socklen_t size = sizeof error;
      getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
      if (error != 0) c.dead = true;
      c.connecting = false;
    }
    if (event.events & EPOLLERR) c.dead = true;
    if (event.events & EPOLLOUT) (fd == c.target ? c.up : c.down).blocked = false;
  }

  void accept_all(Path& path) {
    for (;;) {
      const int fd = accept4(path.listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) return;
      if (path.refuse) {
        reset_and_close(fd);
      } else {
        path.waiting.push_back(fd);
      }
    }
  }

  void connect_waiting(Path& path) {
    while (!path.waiting.empty() && !path.up.cut && !path.down.cut) {
      auto c = std::make_unique<Connection>();
      c->dialled = path.waiting.front();
      path.waiting.pop_front();
      c->target = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
      const int yes = 1;
      setsockopt(c->dialled, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
      setsockopt(c->target, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
      const int connected = connect(c->target, reinterpret_cast<const sockaddr*>(&path.target.in), sizeof path.target.in);
      c->connecting = connected != 0 && errno == EINPROGRESS;
      c->dead = connected != 0 && !c->connecting;
      c->up = {c->dialled, c->target, &path.up, {}, 0, false, false, false};
      c->down = {c->target, c->dialled, &path.down, {}, 0, false, false, false};
      owners_[c->dialled] = owners_[c->target] = c.get();
      watch(c->dialled, EPOLLIN | EPOLLOUT | EPOLLET, EPOLL_CTL_ADD);
      watch(c->target, EPOLLIN | EPOLLOUT | EPOLLET, EPOLL_CTL_ADD);
      path.connections.push_back(std::move(c));
    }
  }

  void serve(Path& path) {
    connect_waiting(path);
    for (auto it = path.connections.begin(); it != path.connections.end();) {
      auto& c = **it;
      if (!c.dead && !c.connecting) {
        read_from(c, c.up);
        read_from(c, c.down);
        write_to(c, c.up);
        write_to(c, c.down);
      }
      const bool done = c.up.shut && c.down.shut;
      if (!c.dead && !done) {
        ++it;
        continue;
      }
      drop(c, c.dead);
      it = path.connections.erase(it);
    }
  }

  void drop(Connection& c, bool hard) {
    owners_.erase(c.dialled);
    owners_.erase(c.target);
    if (hard) {
      reset_and_close(c.dialled);
      reset_and_close(c.target);
    } else {
      close(c.dialled);
      close(c.target);
    }
  }

  void read_from(Connection& c, Pipe& pipe) {
    auto& direction = *pipe.direction;
    while (!pipe.ended && pipe.held < direction.held_limit()) {
      Chunk chunk;
      chunk.bytes.resize(kReadSize);
      const auto got = read(pipe.from, chunk.bytes.data(), chunk.bytes.size());
      if (got < 0) {
        if (errno != EAGAIN && errno != EINTR) c.dead = true;
        return;
      }
      if (got == 0) {
        pipe.ended = true;
        return;
      }
      chunk.bytes.resize(static_cast<std::size_t>(got));
      chunk.bytes.shrink_to_fit();
      const auto now = Clock::now();
      const auto takes = direction.rate > 0 ? Nanos(static_cast<std::int64_t>(static_cast<double>(got) / direction.rate * 1e9)) : Nanos(0);
      direction.free = std::max(direction.free, now) + takes;
      chunk.due = direction.free + direction.delay;
      // In order, though the delay became shorter.
      if (!pipe.chunks.empty()) chunk.due = std::max(chunk.due, pipe.chunks.back().due);
      pipe.held += chunk.bytes.size();
      pipe.chunks.push_back(std::move(chunk));
    }
  }

  void write_to(Connection& c, Pipe& pipe) {
    if (pipe.direction->cut) return;
    const auto now = Clock::now();
    while (!pipe.chunks.empty() && !pipe.blocked && pipe.chunks.front().due <= now) {
      auto& chunk = pipe.chunks.front();
      const auto put = send(pipe.to, chunk.bytes.data() + chunk.written, chunk.bytes.size() - chunk.written, MSG_NOSIGNAL);
      if (put < 0) {
        if (errno == EAGAIN) pipe.blocked = true;
        else if (errno != EINTR) c.dead = true;
        return;
      }
      chunk.written += static_cast<std::size_t>(put);
      pipe.held -= static_cast<std::size_t>(put);
      pipe.direction->passed += static_cast<std::uint64_t>(put);
      if (chunk.written == chunk.bytes.size()) pipe.chunks.pop_front();
    }
    if (pipe.chunks.empty() && pipe.ended && !pipe.shut) {
      shutdown(pipe.to, SHUT_WR);
      pipe.shut = true;
    }
  }

  // Time until the next chunk is due; negative: nothing is.
  Nanos until_next() const {
    std::optional<Time> next;
    for (const auto& path : paths)
      for (const auto& c : path->connections)
        for (const auto* pipe : {&c->up, &c->down})
          if (!pipe->chunks.empty() && !pipe->blocked && !pipe->direction->cut && (!next || pipe->chunks.front().due < *next))
            next = pipe->chunks.front().due;
    if (!next) return Nanos(-1);
    return std::max(Nanos(0), std::chrono::duration_cast<Nanos>(*next - Clock::now()));
  }

  void commands() {
    char buffer[4096];
    for (;;) {
      const auto got = read(STDIN_FILENO, buffer, sizeof buffer);
      if (got == 0) {
        stopping_ = true;
        return;
      }
      if (got < 0) break;
      input_.append(buffer, static_cast<std::size_t>(got));
    }
    for (auto end = input_.find('\n'); end != std::string::npos; end = input_.find('\n')) {
      const auto line = input_.substr(0, end);
      input_.erase(0, end + 1);
      if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
      std::printf("%s\n", command(line).c_str());
      std::fflush(stdout);
    }
  }

  std::string command(const std::string& line) {
    std::istringstream words(line);
    std::string name, verb, argument;
    words >> name >> verb >> argument;
    std::vector<Path*> chosen;
    for (auto& path : paths)
      if (name == "*" || path->name == name) chosen.push_back(path.get());
    if (chosen.empty()) return "error: no path named " + name;
    if (verb == "stats") return stats(chosen);
    for (auto* path : chosen) {
      const auto problem = apply(*path, verb, argument);
      if (!problem.empty()) return "error: " + problem;
    }
    return "ok";
  }

  static std::string stats(const std::vector<Path*>& chosen) {
    std::size_t connections = 0, queued = 0;
    std::uint64_t up = 0, down = 0;
    for (const auto* path : chosen) {
      connections += path->connections.size();
      up += path->up.passed;
      down += path->down.passed;
      for (const auto& c : path->connections) queued += c->up.held + c->down.held;
    }
    std::ostringstream out;
    out << "ok connections=" << connections << " up=" << up << " down=" << down << " queued=" << queued;
    return out.str();
  }

  std::string apply(Path& path, const std::string& verb, const std::string& argument) {
    if (verb == "delay") {
      const auto delay = parse_delay(argument);
      if (!delay) return "a delay is written 100ms or 500us";
      path.up.delay = path.down.delay = *delay;
    } else if (verb == "rate") {
      char* end = nullptr;
      const double rate = std::strtod(argument.c_str(), &end);
      if (argument.empty() || *end != '\0' || rate < 0) return "a rate is a number of bytes a second";
      path.up.rate = path.down.rate = rate;
      path.up.free = path.down.free = Clock::now();
    } else if (verb == "cut") {
      if (argument != "up" && argument != "down" && argument != "both") return "cut up, down or both";
      path.up.cut |= argument != "down";
      path.down.cut |= argument != "up";
    } else if (verb == "heal") {
      path.up.cut = path.down.cut = false;
    } else if (verb == "reset") {
      for (auto& c : path.connections) drop(*c, true);
      path.connections.clear();
      for (const int fd : path.waiting) reset_and_close(fd);
      path.waiting.clear();
    } else if (verb == "refuse") {
      if (argument != "on" && argument != "off") return "refuse on or off";
      path.refuse = argument == "on";
    } else {
      return "unknown command " + verb + "; delay, rate, cut, heal, reset, refuse, stats";
    }
    return {};
  }

  int epoll_;
  bool stopping_ = false;
  std::string input_;
  std::map<int, Connection*> owners_;
};

int usage() {
  std::fprintf(stderr, "usage: leeward-relay --map NAME=LISTEN,TARGET [--map ...] [--delay 100ms] [--rate BYTES]\n");
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  Relay relay;
  Nanos delay{0};
  double rate = 0;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string flag = argv[i], value = argv[i + 1];
    if (flag == "--delay") {
      const auto parsed = parse_delay(value);
      if (!parsed) return usage();
      delay = *parsed;
    } else if (flag == "--rate") {
      rate = std::atof(value.c_str());
    } else if (flag == "--map") {
      const auto equals = value.find('='), comma = value.find(',');
      if (equals == std::string::npos || comma == std::string::npos || comma < equals) return usage();
      auto path = std::make_unique<Path>();
      path->name = value.substr(0, equals);
      const auto listen = parse_address(value.substr(equals + 1, comma - equals - 1));
      const auto target = parse_address(value.substr(comma + 1));
      if (!listen || !target) return usage();
      path->listen = *listen;
      path->target = *target;
      relay.paths.push_back(std::move(path));
    } else {
      return usage();
    }
  }
  if (argc % 2 == 0 || relay.paths.empty()) return usage();
  for (auto& path : relay.paths) {
    path->up.delay = path->down.delay = delay;
    path->up.rate = path->down.rate = rate;
  }
  if (!relay.listen_all()) return 1;
  std::printf("ready\n");
  std::fflush(stdout);
  relay.run();
  return 0;
}
