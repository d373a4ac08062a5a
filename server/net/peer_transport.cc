#include "net/peer_transport.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "net/peer_connections.h"

namespace leeward::net {

namespace {

constexpr std::chrono::seconds kCloseLimit{5};

std::size_t frame_bytes(const std::vector<Bytes>& parts) {
  std::size_t bytes = kFrameHeader;
  for (const auto& part : parts) bytes += part.size();
  return bytes;
}

}  // namespace

Result<std::unique_ptr<PeerTransport>> PeerTransport::open(PeerTransportOptions options, IoLoop& io, Executor& core,
                                                           Log& log) {
  const auto fd = listen_socket(options.address, options.config_key);
  if (!fd) return fd.error();
  auto shared = std::make_shared<Shared>(std::move(options), io, core, log);
  shared->port = local_address(*fd).port();
  io.post([shared, fd = *fd] { shared->start(fd); });
  return std::unique_ptr<PeerTransport>(new PeerTransport(std::move(shared)));
}

PeerTransport::~PeerTransport() { close(); }

void PeerTransport::close() {
  // Once: after the first time the core loop may be gone.
  if (std::exchange(closed_, true)) return;
  const auto shared = shared_;
  shared->io.post([shared, alive = alive_] {
    shared->shut();
    // The last word is the core loop's: afterwards it calls no handler.
    shared->core.post([shared, alive] {
      *alive = false;
      shared->handler = nullptr;
      shared->on_stranger = nullptr;
      std::lock_guard lock(shared->mutex);
      shared->pending.clear();
      shared->done = true;
      shared->changed.notify_all();
    });
  });
  std::unique_lock lock(shared->mutex);
  // A loop that has stopped already calls nothing either.
  shared->changed.wait_for(lock, kCloseLimit, [&] { return shared->done; });
}

void PeerTransport::set_handler(Handler handler) {
  shared_->handler = std::move(handler);
  shared_->deliver();
}

void PeerTransport::set_stranger_handler(StrangerHandler handler) { shared_->on_stranger = std::move(handler); }

void PeerTransport::set_peers(std::vector<PeerAddress> peers) {
  std::vector<std::pair<PeerAddress, HostPort>> wanted;
  std::map<std::pair<NodeId, std::uint8_t>, std::shared_ptr<LaneView>> flat;
  decltype(views_) views;
  for (auto& peer : peers) {
    if (peer.node == shared_->options.self) continue;
    auto target = parse_host_port(peer.address);
    if (!target) {
      shared_->log.error("a peer has no usable address", {{"peer_node", peer.node}, {"detail", target.error().message}});
      continue;
    }
    auto& lanes = views[peer.node];
    if (const auto old = views_.find(peer.node); old != views_.end()) lanes = old->second;
    for (std::uint8_t lane = 1; lane <= 4; ++lane) {
      if (lanes.size() < lane) lanes.push_back(std::make_shared<LaneView>());
      flat[{peer.node, lane}] = lanes[lane - 1];
    }
    wanted.emplace_back(std::move(peer), std::move(*target));
  }
  views_ = std::move(views);
  flush();  // what was sent before goes before
  shared_->io.post([shared = shared_, wanted = std::move(wanted), flat = std::move(flat)] {
    shared->apply_peers(wanted, flat);
  });
}

PeerTransport::LaneView* PeerTransport::view(NodeId to, Lane lane) const {
  const auto found = views_.find(to);
  const auto index = static_cast<std::size_t>(lane) - 1;
  return found == views_.end() || index >= found->second.size() ? nullptr : found->second[index].get();
}

bool PeerTransport::send(NodeId to, Lane lane, std::vector<Bytes> parts) {
  LaneView* const view = this->view(to, lane);
  const std::size_t bytes = frame_bytes(parts);
  LEEWARD_CHECK(bytes <= kMaxFrame + kFrameHeader, "a frame of " + std::to_string(bytes) + " bytes is too large");
  const std::size_t queued = view ? view->queued.load() : 0;
  // A frame larger than the queue may go alone.
  if (!view || view->down || (queued > 0 && queued + bytes > shared_->options.queue_bytes)) {
    shared_->probe.dropped.add();
    return false;
  }
  view->queued += bytes;
  outbox_.push_back({to, lane, std::move(parts)});
  if (outbox_.size() == 1) {
    // After the callbacks that are due now: all they send is one batch.
    shared_->core.post([this, alive = alive_] {
      if (*alive) flush();
    });
  }
  return true;
}

void PeerTransport::flush() {
  if (outbox_.empty()) return;
  auto batch = std::make_shared<std::vector<Outgoing>>(std::move(outbox_));
  outbox_.clear();
  shared_->io.post([shared = shared_, batch] { shared->send(std::move(*batch)); });
}

std::size_t PeerTransport::queued(NodeId to, Lane lane) const {
  const LaneView* const view = this->view(to, lane);
  return view ? view->queued.load() : 0;
}

std::size_t PeerTransport::unfinished(NodeId from, Lane lane) const {
  const LaneView* const view = this->view(from, lane);
  return view ? view->unfinished.load() : 0;
}

bool PeerTransport::connected(NodeId to) const {
  const auto found = views_.find(to);
  return found != views_.end() &&
         std::any_of(found->second.begin(), found->second.end(), [](const auto& view) { return view->up.load(); });
}

void PeerTransport::set_lineage(const Lineage& lineage) {
  shared_->io.post([shared = shared_, lineage] { shared->adopt_lineage(lineage); });
}

std::uint16_t PeerTransport::port() const { return shared_->port; }
const PeerProbe& PeerTransport::probe() const { return shared_->probe; }

void PeerTransport::Shared::start(int fd) {
  acceptor = std::make_unique<FdWatch>(io, fd, [this] { accept_some(); }, nullptr);
  acceptor->want_read(true);
}

void PeerTransport::Shared::accept_some() {
  for (;;) {
    sockaddr_storage from{};
    socklen_t size = sizeof from;
    const int fd = accept4(acceptor->fd(), reinterpret_cast<sockaddr*>(&from), &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      if (errno == EAGAIN || errno == EWOULDBLOCK) return;
      warn("cannot accept a peer connection", options.address, system_error(errno));
      acceptor->want_read(false);
      io.after(kAcceptPause, [self = shared_from_this()] {
        if (self->acceptor) self->acceptor->want_read(true);
      });
      return;
    }
    const SocketAddress address(&from, size);
    if (inbound.size() >= options.inbound) {
      ::close(fd);
      warn("refused a peer connection: too many", address.text(), std::to_string(options.inbound));
      continue;
    }
    auto connection = std::make_shared<PeerInbound>(*this, address);
    inbound.insert(connection);
    connection->begin(fd);
  }
}

void PeerTransport::Shared::apply_peers(
    std::vector<std::pair<PeerAddress, HostPort>> wanted,
    std::map<std::pair<NodeId, std::uint8_t>, std::shared_ptr<LaneView>> views) {
  if (closed) return;
  std::map<NodeId, Peer> old;
  old.swap(peers);
  for (auto& [address, target] : wanted) {
    const auto before = old.find(address.node);
    if (before != old.end() && before->second.address == address.address) {
      peers[address.node] = std::move(before->second);
      old.erase(before);
      continue;
    }
    Peer& peer = peers[address.node];
    peer.address = address.address;
    peer.target = target;
  }
  for (auto& [node, peer] : old)
    for (auto& [lane, dialer] : peer.lanes) dialer->stop();
  for (auto& [address, target] : wanted) {
    Peer& peer = peers[address.node];
    if (!peer.lanes.empty()) continue;
    for (std::uint8_t lane = 1; lane <= 4; ++lane) {
      const auto& view = views[{address.node, lane}];
      view->down = false;
      peer.lanes[lane] = std::make_shared<PeerDialer>(*this, address.node, lane, target, address.address, view);
    }
    // One lane shows whether the peer is there; the others wait for their first frame.
    peer.lanes[static_cast<std::uint8_t>(Lane::kControl)]->dial();
  }
}

void PeerTransport::Shared::send(std::vector<Outgoing> outgoing) {
  for (auto& frame : outgoing) {
    const auto peer = peers.find(frame.to);
    if (peer == peers.end()) {
      probe.dropped.add();
      continue;
    }
    const std::size_t bytes = frame_bytes(frame.parts);
    peer->second.lanes[static_cast<std::uint8_t>(frame.lane)]->send(std::move(frame.parts), bytes);
  }
}

void PeerTransport::Shared::adopt_lineage(const Lineage& known) {
  lineage = known;
  const std::vector<std::shared_ptr<PeerInbound>> present(inbound.begin(), inbound.end());
  for (const auto& connection : present) connection->check_lineage();
  for (auto& [node, peer] : peers)
    for (auto& [lane, dialer] : peer.lanes) dialer->adopt_lineage();
}

void PeerTransport::Shared::stranger(NodeId peer, const Lineage& theirs) {
  core.post([self = shared_from_this(), peer, theirs] {
    if (self->on_stranger) self->on_stranger(peer, theirs);
  });
}

void PeerTransport::Shared::heard(NodeId from) {
  const auto peer = peers.find(from);
  if (peer == peers.end()) return;
  for (auto& [lane, dialer] : peer->second.lanes) dialer->hurry();
}

Hello PeerTransport::Shared::hello(NodeId to, std::uint8_t lane) const {
  return {kFrameVersion, options.self, to, lane, options.cluster, lineage};
}

// Why a peer may not talk to us; empty: it may.
std::string PeerTransport::Shared::refusal(const Hello& hello, const TlsPeer& certificate, bool tls) const {
  std::string wrong = mismatch(options.cluster, lineage, hello.cluster, hello.lineage);
  if (!wrong.empty()) return wrong;
  if (hello.from == options.self || !hello.from)
    return "node id " + std::to_string(hello.from.value()) + " is our own or none: ids must differ";
  if (hello.to != options.self)
    return "this is node " + std::to_string(options.self.value()) + ", not " + std::to_string(hello.to.value());
  if (hello.lane < 1 || hello.lane > 4) return "lane " + std::to_string(hello.lane) + " is unknown";
  if (!tls || !certificate.verified) return {};
  const auto known = peers.find(hello.from);
  const std::string own_name = "node-" + std::to_string(hello.from.value());
  if (known == peers.end() || certificate.names(known->second.target.host) || certificate.names(own_name) ||
      certificate.common_name == own_name)
    return {};
  return "its certificate (" + certificate.common_name + ") names neither " + known->second.target.host + " nor " + own_name;
}

// Between half and the whole of `wait`, so that nodes do not dial in step.
Duration PeerTransport::Shared::jittered(Duration wait) {
  jitter = jitter * 6364136223846793005u + 1442695040888963407u;
  return wait / 2 + wait / 2 * static_cast<std::int64_t>((jitter >> 33) % 1000) / 1000;
}

void PeerTransport::Shared::received(Received frame) {
  batch.push_back(std::move(frame));
  if (std::exchange(flushing, true)) return;
  io.at_turn_end(shared_from_this());
}

void PeerTransport::Shared::turn_end() {
  flushing = false;
  if (closed) return batch.clear();  // the core loop may be gone by now
  bool wake;
  {
    std::lock_guard lock(mutex);
    wake = pending.empty();
    if (wake) pending.swap(batch);
    else std::move(batch.begin(), batch.end(), std::back_inserter(pending));
  }
  batch.clear();
  if (wake) core.post([self = shared_from_this()] { self->deliver(); });
}

void PeerTransport::Shared::deliver() {
  if (!handler) return;
  std::vector<Received> frames;
  {
    std::lock_guard lock(mutex);
    frames.swap(pending);
  }
  std::vector<std::shared_ptr<Intake>> resumed;
  for (auto& received : frames) {
    const std::size_t bytes = received.frame.size();
    if (handler) handler(received.from, received.lane, std::move(received.frame));
    const std::size_t left = received.intake->bytes.fetch_sub(bytes) - bytes;
    if (left <= options.undelivered_bytes / 2 && received.intake->paused.exchange(false))
      resumed.push_back(std::move(received.intake));
  }
  if (resumed.empty()) return;
  io.post([self = shared_from_this(), resumed = std::move(resumed)] {
    for (const auto& intake : resumed)
      if (intake->connection) intake->connection->resume();
  });
}

void PeerTransport::Shared::shut() {
  if (std::exchange(closed, true)) return;
  acceptor.reset();
  for (auto& [node, peer] : peers)
    for (auto& [lane, dialer] : peer.lanes) dialer->stop();
  peers.clear();
  const std::vector<std::shared_ptr<PeerInbound>> present(inbound.begin(), inbound.end());
  for (const auto& connection : present) connection->cut({Code::kCancelled, "stopping"});
}

}  // namespace leeward::net
