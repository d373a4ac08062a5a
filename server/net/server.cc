#include "net/server.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <unordered_set>

#include "base/check.h"
#include "net/connection.h"

namespace leeward::net {

namespace {

constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
constexpr char kServerTlsHandshake = 0x16;
// fatal, protocol_version: what a TLS client understands.
constexpr std::string_view kTlsAlert("\x15\x03\x01\x00\x02\x02\x46", 7);
constexpr std::string_view kPlainTextOnTls =
    "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: 46\r\n\r\n"
    "this port speaks TLS: use an https:// address\n";
constexpr Duration kSweep = 1s;
constexpr int kAcceptsPerTurn = 64;
constexpr int kClientDeadAfter = 120;     // seconds

class Connection;

}  // namespace

struct Listener::Shared : std::enable_shared_from_this<Listener::Shared> {
  // What one loop owns.
  struct Site {
    IoLoop* loop = nullptr;
    std::unordered_set<std::shared_ptr<Connection>> connections;
    Executor::TimerId sweep = 0;
    bool draining = false;
    bool done = false;  // under mutex
  };

  Shared(ListenerOptions o, RpcHandler* r, HttpHandler* h, Log& l)
      : options(std::move(o)), rpc(r), http(h), log(l), limited(l), limits(options.limits) {}
  ListenerLimits limits_now() {
    std::lock_guard lock(mutex);
    return limits;
  }
  void start(int fd);
  void accept_some();
  void adopt(Site& site, int fd, SocketAddress from);
  void remove(Site& site, const std::shared_ptr<Connection>& connection);
  void sweep(Site& site);
  void drain(Site& site, Duration limit);
  void finish(Site& site);

  const ListenerOptions options;
  RpcHandler* const rpc;
  HttpHandler* const http;
  Log& log;
  LimitedLog limited;
  ListenerProbe probe;
  std::vector<std::unique_ptr<Site>> sites;
  std::unique_ptr<FdWatch> acceptor;  // on the first loop
  std::size_t next_site = 0;
  std::uint16_t port = 0;

  std::mutex mutex;
  std::condition_variable stopped;
  bool stopping = false;  // under mutex
  ListenerLimits limits;  // under mutex: of new connections
};

namespace {

// One client: from accept over the sniffing to its protocol.
class Connection final : public Transport::Owner, public std::enable_shared_from_this<Connection> {
 public:
  Connection(Listener::Shared& shared, Listener::Shared::Site& site, SocketAddress from)
      : shared_(shared), site_(site), from_(from), since_(site.loop->now()), limits_(shared.limits_now()) {}

  void begin(int fd) {
    auto session = shared_.options.tls ? TlsSession::accept(shared_.options.tls->accepting()) : nullptr;
    transport_ = Transport::open(*site_.loop, fd, std::move(session), shared_from_this());
  }
  void drain() {
    if (protocol_) protocol_->drain();
    else transport_->close({Code::kCancelled, "stopping"});
  }
  void cut(Error why) { transport_->close(std::move(why)); }
  bool overdue(Instant now) {
    return protocol_ ? protocol_->overdue(now) : now - since_ > limits_.handshake_timeout;
  }

  void on_data(std::string_view data) override;
  bool on_fill() override { return protocol_ && protocol_->fill(); }
  void on_sent(std::size_t) override {
    if (protocol_) protocol_->sent();
  }
  void on_blocked(bool) override {
    if (protocol_) protocol_->blocked();
  }
  bool on_eof() override { return protocol_ && protocol_->eof(); }
  std::string on_not_tls(std::string_view) override;
  void on_closed(const Error& why) override;

 private:
  void sniff();
  void speak(std::unique_ptr<Protocol> (*make)(ConnectionContext));
  void feed(std::string_view data);

  Listener::Shared& shared_;
  Listener::Shared::Site& site_;
  const SocketAddress from_;
  const Instant since_;
  const ListenerLimits limits_;
  std::shared_ptr<Transport> transport_;
  std::unique_ptr<Protocol> protocol_;
  std::string sniffed_;
};

void Connection::on_data(std::string_view data) {
  if (protocol_) return feed(data);
  sniffed_.append(data);
  sniff();
}

void Connection::sniff() {
  const std::size_t n = std::min(sniffed_.size(), kPreface.size());
  if (!transport_->tls() && sniffed_.front() == kServerTlsHandshake) {
    transport_->write(kTlsAlert);
    transport_->close_when_sent({Code::kInvalid, "the client speaks TLS and this port does not: use http://"});
    return;
  }
  if (kPreface.substr(0, n) != std::string_view(sniffed_).substr(0, n)) return speak(make_http1);
  if (n == kPreface.size()) speak(make_http2);
}

void Connection::speak(std::unique_ptr<Protocol> (*make)(ConnectionContext)) {
  PeerIdentity peer;
  peer.tls = transport_->tls();
  peer.unix_socket = from_.family() == AF_UNIX;
  peer.loopback = from_.loopback();
  peer.address = from_.text();
  if (const TlsPeer certificate = transport_->tls_peer(); certificate.verified) peer.common_name = certificate.common_name;
  protocol_ = make({*transport_, shared_.options, limits_, shared_.rpc, shared_.http, shared_.probe, std::move(peer)});
  if (site_.draining) protocol_->drain();
  const std::string first = std::move(sniffed_);
  feed(first);
}

void Connection::feed(std::string_view data) {
  if (auto taken = protocol_->receive(data); !taken) transport_->close(taken.error());
}

std::string Connection::on_not_tls(std::string_view data) {
  const auto verb = data.substr(0, data.find(' '));
  const bool http1 = !verb.empty() && verb.size() <= 8 && !data.starts_with("PRI") &&
                     std::all_of(verb.begin(), verb.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
  return http1 ? std::string(kPlainTextOnTls) : std::string();
}

void Connection::on_closed(const Error& why) {
  const auto self = shared_from_this();
  const bool tls_failed = shared_.options.tls && !transport_->secured() && why.code != Code::kCancelled;
  if (tls_failed) {
    shared_.probe.tls_failures.add();
    shared_.limited.warn(site_.loop->now(), "refused a connection", from_.text(), shared_.options.name + ": " + why.message);
  } else if (why.code != Code::kCancelled) {
    shared_.probe.protocol_errors.add();
    shared_.limited.warn(site_.loop->now(), "closed a connection", from_.text(), shared_.options.name + ": " + why.message);
  }
  if (protocol_) protocol_->closed();
  shared_.remove(site_, self);
  // The protocol may be on the stack.
  site_.loop->post([self, shared = shared_.shared_from_this()] {});
}

}  // namespace

void LimitedLog::warn(Instant now, const std::string& message, std::string_view address, std::string_view detail) {
  std::uint64_t suppressed = 0;
  {
    std::lock_guard lock(mutex_);
    Kind& kind = kinds_[message];
    if (kind.last != Instant{} && now - kind.last < 1s) {
      ++kind.suppressed;
      return;
    }
    kind.last = now;
    suppressed = std::exchange(kind.suppressed, 0);
  }
  log_.warn(message, {{"peer", address}, {"detail", detail}, {"suppressed", suppressed}});
}

Result<std::unique_ptr<Listener>> Listener::open(ListenerOptions options, std::vector<IoLoop*> loops, RpcHandler* rpc,
                                                 HttpHandler* http, Log& log) {
  LEEWARD_CHECK(!loops.empty(), "a listener needs a loop");
  const auto fd = listen_socket(options.address, options.config_key);
  if (!fd) return fd.error();
  auto shared = std::make_shared<Shared>(std::move(options), rpc, http, log);
  for (IoLoop* loop : loops) {
    shared->sites.push_back(std::make_unique<Shared::Site>());
    shared->sites.back()->loop = loop;
  }
  shared->port = local_address(*fd).port();
  shared->start(*fd);
  return std::unique_ptr<Listener>(new Listener(std::move(shared)));
}

Listener::~Listener() { stop(Duration(0)); }

std::uint16_t Listener::port() const { return shared_->port; }
const ListenerProbe& Listener::probe() const { return shared_->probe; }
void Listener::set_limits(const ListenerLimits& limits) {
  std::lock_guard lock(shared_->mutex);
  shared_->limits = limits;
}

bool Listener::stop(Duration drain, Duration patience) {
  const auto shared = shared_;
  {
    std::lock_guard lock(shared->mutex);
    if (!std::exchange(shared->stopping, true)) {
      // Other loops hear of it after the last connection handed to them.
      shared->sites.front()->loop->post([shared, drain] {
        shared->acceptor.reset();
        if (shared->options.address.starts_with("unix://")) unlink(shared->options.address.c_str() + 7);
        for (auto& site : shared->sites)
          site->loop->post([shared, &site = *site, drain] { shared->drain(site, drain); });
      });
    }
  }
  std::unique_lock lock(shared->mutex);
  return shared->stopped.wait_for(lock, drain + patience, [&] {
    return std::all_of(shared->sites.begin(), shared->sites.end(), [](const auto& site) { return site->done; });
  });
}

void Listener::Shared::start(int fd) {
  sites.front()->loop->post([self = shared_from_this(), fd] {
    self->acceptor = std::make_unique<FdWatch>(
        *self->sites.front()->loop, fd, [shared = self.get()] { shared->accept_some(); }, nullptr);
    self->acceptor->want_read(true);
  });
  for (auto& site : sites)
    site->loop->post([self = shared_from_this(), &site = *site] { self->sweep(site); });
}

void Listener::Shared::accept_some() {
  for (int i = 0; i < kAcceptsPerTurn; ++i) {
    sockaddr_storage from{};
    socklen_t size = sizeof from;
    const int fd = accept4(acceptor->fd(), reinterpret_cast<sockaddr*>(&from), &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      if (errno == EAGAIN || errno == EWOULDBLOCK) return;
      limited.warn(sites.front()->loop->now(), "cannot accept a connection", options.address,
                   options.name + ": " + system_error(errno));
      acceptor->want_read(false);
      sites.front()->loop->after(kAcceptPause, [self = shared_from_this()] {
        if (self->acceptor) self->acceptor->want_read(true);
      });
      return;
    }
    const SocketAddress address(&from, size);
    if (const std::size_t most = limits_now().connections; probe.connections.get() >= static_cast<std::int64_t>(most)) {
      close(fd);
      probe.refused.add();
      limited.warn(sites.front()->loop->now(), "refused a connection: the limit is reached", address.text(),
                   options.name + ": limit " + std::to_string(most));
      continue;
    }
    if (address.family() != AF_UNIX) tune_tcp(fd, kClientDeadAfter);
    probe.accepted.add();
    probe.connections.add(1);
    Site& site = *sites[next_site++ % sites.size()];
    if (site.loop->on_loop()) adopt(site, fd, address);
    else site.loop->post([self = shared_from_this(), &site, fd, address] { self->adopt(site, fd, address); });
  }
}

void Listener::Shared::adopt(Site& site, int fd, SocketAddress from) {
  if (site.draining) {
    close(fd);
    probe.connections.add(-1);
    return;
  }
  auto connection = std::make_shared<Connection>(*this, site, from);
  site.connections.insert(connection);
  connection->begin(fd);
}

void Listener::Shared::remove(Site& site, const std::shared_ptr<Connection>& connection) {
  if (site.connections.erase(connection) > 0) probe.connections.add(-1);
  if (site.draining && site.connections.empty()) finish(site);
}

void Listener::Shared::sweep(Site& site) {
  if (site.draining && site.connections.empty()) return;
  const Instant now = site.loop->now();
  std::vector<std::shared_ptr<Connection>> late;
  for (const auto& connection : site.connections)
    if (connection->overdue(now)) late.push_back(connection);
  for (const auto& connection : late) connection->cut({Code::kCancelled, "timed out"});
  site.sweep = site.loop->after(kSweep, [self = shared_from_this(), &site] { self->sweep(site); });
}

void Listener::Shared::drain(Site& site, Duration limit) {
  site.draining = true;
  if (site.connections.empty()) return finish(site);
  // Copies: a connection that ends leaves the set.
  for (const auto& connection : std::vector(site.connections.begin(), site.connections.end()))
    limit.count() > 0 ? connection->drain() : connection->cut({Code::kCancelled, "stopping"});
  if (site.connections.empty()) return;  // remove() has finished
  site.loop->after(limit, [self = shared_from_this(), &site] {
    for (const auto& connection : std::vector(site.connections.begin(), site.connections.end()))
      connection->cut({Code::kCancelled, "stopping"});
  });
}

void Listener::Shared::finish(Site& site) {
  site.loop->cancel(site.sweep);
  // Connections closed in this turn are gone by the next one.
  site.loop->post([self = shared_from_this(), &site] {
    std::lock_guard lock(self->mutex);
    site.done = true;
    self->stopped.notify_all();
  });
}

}  // namespace leeward::net
