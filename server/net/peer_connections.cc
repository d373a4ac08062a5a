#include "net/peer_connections.h"

#include <errno.h>
#include <unistd.h>

#include <algorithm>

#include "base/check.h"

namespace leeward::net {

namespace {

// Seconds without any acknowledgement. A peer that is alive and does not read
// for so long counts as dead too, so no stall of its core loop may last it.
constexpr int kPeerDeadAfter = 15;
constexpr Duration kReplacedWithin = 60s;
constexpr int kReplacedOften = 3;

Bytes frame_of(const std::string& payload, std::uint8_t lane) {
  Bytes body(payload);
  return Bytes(frame_header(lane, {body}) + payload);
}

}  // namespace

void PeerDialer::dial() {
  if (state_ != State::kIdle && state_ != State::kWaiting) return;
  if (timer_ != 0) shared_.io.cancel(timer_);
  state_ = State::kDialing;
  const std::uint64_t attempt = ++attempt_;
  const auto self = shared_from_this();
  timer_ = shared_.io.after(shared_.options.handshake_timeout, [self, attempt] {
    self->timer_ = 0;
    if (self->attempt_ == attempt) self->failed({Code::kUnavailable, "no answer within the handshake timeout"});
  });
  shared_.io.resolve(target_, [self, attempt](Result<std::vector<SocketAddress>> found) {
    if (self->attempt_ != attempt || self->state_ != State::kDialing) return;
    if (!found) self->failed(found.error());
    else self->try_addresses(std::move(*found));
  });
}

void PeerDialer::try_addresses(std::vector<SocketAddress> addresses) {
  if (addresses.empty()) return failed({Code::kUnavailable, "no address"});
  const SocketAddress first = addresses.front();
  addresses.erase(addresses.begin());
  const auto fd = connect_socket(first);
  if (!fd) return addresses.empty() ? failed(fd.error()) : try_addresses(std::move(addresses));
  // The watch is replaced from within its own callback, which it allows.
  connecting_ = std::make_unique<FdWatch>(shared_.io, *fd, nullptr, [self = shared_from_this(), this, addresses] {
    const auto keep = self;
    const auto outcome = connect_outcome(connecting_->fd());
    const int connected_fd = outcome.ok() ? connecting_->release() : -1;
    auto rest = addresses;
    connecting_.reset();
    if (outcome.ok()) connected(connected_fd);
    else if (rest.empty()) failed(outcome.error());
    else try_addresses(std::move(rest));
  });
  connecting_->want_write(true);
}

void PeerDialer::connected(int fd) {
  tune_tcp(fd, kPeerDeadAfter);
  auto session = shared_.options.tls ? TlsSession::dial(shared_.options.tls->dialing(), target_.host) : nullptr;
  reader_ = FrameReader(4096);
  overhead_ = 0;
  transport_ = Transport::open(shared_.io, fd, std::move(session), shared_from_this());
}

void PeerDialer::on_open() { say_hello(); }

void PeerDialer::say_hello() {
  const Bytes frame = frame_of(encode(shared_.hello(node_, lane_)), kHelloLane);
  overhead_ += frame.size();
  transport_->write(frame.view());
}

void PeerDialer::on_data(std::string_view data) {
  while (!data.empty() && transport_ && !transport_->closed()) {
    auto frame = reader_.next(data);
    if (!frame) return transport_->close(frame.error());
    if (!*frame) return;
    if (state_ == State::kUp || (*frame)->lane != kHelloLane)
      return transport_->close({Code::kCorrupt, "an unexpected frame from the acceptor"});
    answered((*frame)->payload);
  }
}

void PeerDialer::answered(std::string_view payload) {
  const auto reply = decode_reply(payload);
  if (!reply) return transport_->close(reply.error());
  std::string wrong = reply->accepted ? mismatch(shared_.options.cluster, shared_.lineage, reply->cluster, reply->lineage)
                                      : "it refused us: " + reply->reason;
  const bool same_cluster = reply->cluster == shared_.options.cluster && reply->from == node_;
  if (same_cluster && shared_.lineage.known() && reply->lineage.known() && reply->lineage != shared_.lineage)
    shared_.stranger(node_, reply->lineage);
  if (wrong.empty() && reply->from != node_) wrong = "it is node " + std::to_string(reply->from.value());
  if (!wrong.empty()) return transport_->close({Code::kLineage, std::move(wrong)});
  shared_.io.cancel(timer_);
  timer_ = 0;
  theirs_ = reply->lineage;
  state_ = State::kUp;
  retry_ = Duration(0);
  view_->up = true;
  view_->down = false;
  shared_.probe.connections.add(1);
  if (const auto peer = shared_.peers.find(node_); peer != shared_.peers.end() && peer->second.reported) {
    peer->second.reported.reset();
    shared_.log.info("reached a peer again", {{"peer_node", node_}, {"address", address_}});
  }
  for (auto& frame : std::exchange(waiting_, {})) put(std::move(frame));
}

void PeerDialer::send(std::vector<Bytes> parts, std::size_t bytes) {
  if (state_ == State::kWaiting || state_ == State::kStopped) {
    view_->queued -= bytes;
    shared_.probe.dropped.add();
    return;
  }
  outstanding_ += bytes;
  Queued frame{frame_header(lane_, parts), std::move(parts)};
  if (state_ == State::kUp) return put(std::move(frame));
  waiting_.push_back(std::move(frame));
  dial();
}

void PeerDialer::put(Queued frame) {
  shared_.probe.frames_sent.add();
  transport_->write(frame.header);
  for (auto& part : frame.parts) transport_->write(std::move(part));
}

void PeerDialer::on_sent(std::size_t bytes) {
  shared_.probe.bytes_sent.add(bytes);
  // A hello in the middle makes this inexact by its few bytes for a moment.
  const std::size_t hello = std::min(bytes, overhead_);
  overhead_ -= hello;
  const std::size_t counted = std::min(bytes - hello, outstanding_);
  outstanding_ -= counted;
  view_->queued -= counted;
}

void PeerDialer::on_closed(const Error& why) {
  // A port without TLS cannot say so in a way that we read: it takes our handshake for garbage.
  const bool in_handshake = transport_ && transport_->tls() && !transport_->secured() && why.code == Code::kCancelled;
  transport_.reset();
  if (state_ == State::kUp) shared_.probe.connections.add(-1);
  failed(in_handshake ? Error{why.code, why.message + ", it may speak no TLS"} : why);
}

void PeerDialer::failed(const Error& why) {
  if (state_ == State::kStopped || state_ == State::kWaiting) return;
  ++attempt_;
  if (timer_ != 0) shared_.io.cancel(timer_);
  const bool was_up = state_ == State::kUp;
  state_ = State::kWaiting;
  view_->up = false;
  view_->down = true;
  connecting_.reset();
  waiting_.clear();
  view_->queued -= std::exchange(outstanding_, 0);
  if (auto transport = std::move(transport_)) transport->close(why);
  const auto peer = shared_.peers.find(node_);
  // One line an outage and kind of reason: waiting heals some and others not.
  const bool gone = why.code == Code::kUnavailable || why.code == Code::kCancelled;
  const Code reason = gone ? Code::kUnavailable : why.code;
  if (peer != shared_.peers.end() && peer->second.reported != reason) {
    peer->second.reported = reason;
    shared_.log.warn(!gone ? "a peer cannot be used" : was_up ? "lost a peer connection" : "cannot reach a peer",
                     {{"peer_node", node_}, {"address", address_}, {"detail", why.message}});
  }
  retry_ = std::min(std::max(retry_ * 2, shared_.options.retry_first), shared_.options.retry_most);
  timer_ = shared_.io.after(shared_.jittered(retry_), [self = shared_from_this()] {
    self->timer_ = 0;
    self->dial();
  });
}

void PeerDialer::hurry() {
  if (state_ == State::kWaiting) dial();
}

void PeerDialer::adopt_lineage() {
  if (state_ != State::kUp) return;
  const std::string wrong = mismatch(shared_.options.cluster, shared_.lineage, shared_.options.cluster, theirs_);
  if (!wrong.empty()) transport_->close({Code::kLineage, wrong});
  else say_hello();
}

void PeerDialer::stop() {
  const auto self = shared_from_this();
  if (state_ == State::kUp) shared_.probe.connections.add(-1);
  state_ = State::kStopped;
  ++attempt_;
  if (timer_ != 0) shared_.io.cancel(std::exchange(timer_, 0));
  view_->up = false;
  view_->down = true;
  connecting_.reset();
  waiting_.clear();
  view_->queued -= std::exchange(outstanding_, 0);
  if (auto transport = std::move(transport_)) transport->close({Code::kCancelled, "stopping"});
}

void PeerInbound::begin(int fd) {
  tune_tcp(fd, kPeerDeadAfter);
  auto session = shared_.options.tls ? TlsSession::accept(shared_.options.tls->accepting()) : nullptr;
  transport_ = Transport::open(shared_.io, fd, std::move(session), shared_from_this());
  timer_ = shared_.io.after(shared_.options.handshake_timeout, [self = shared_from_this()] {
    self->timer_ = 0;
    self->cut({Code::kCancelled, "no hello within the handshake timeout"});
  });
}

void PeerInbound::on_data(std::string_view data) {
  const bool tls_to_plain = !accepted_ && !transport_->tls() && data.starts_with("\x16\x03");
  if (tls_to_plain) return cut({Code::kInvalid, "the peer speaks TLS and this port does not: set tls.peer alike on all nodes"});
  while (!data.empty() && !transport_->closed()) {
    auto frame = reader_.next(data);
    if (!frame) return cut(frame.error());
    tell_unfinished(reader_.unfinished());
    if (!*frame) return;
    if (!accepted_) {
      if ((*frame)->lane != kHelloLane) return cut({Code::kCorrupt, "a frame before the hello"});
      greet((*frame)->payload);
      if (!accepted_) return;
    } else {
      take(std::move(**frame));
    }
  }
}

void PeerInbound::tell_unfinished(std::size_t bytes) {
  if (!accepted_ || bytes == unfinished_) return;
  const auto peer = shared_.peers.find(from());
  if (peer == shared_.peers.end()) return;
  const auto dialer = peer->second.lanes.find(lane());
  if (dialer == peer->second.lanes.end()) return;
  dialer->second->view().unfinished = unfinished_ = bytes;
}

// A peer that came back replaces its dead connection once; two processes that
// take one another for dead do it again and again.
void PeerTransport::Shared::replaced(NodeId from, std::uint8_t lane, const std::string& before, const std::string& now) {
  auto& r = replacements[{from, lane}];
  if (io.now() - r.since > kReplacedWithin) r = {io.now(), 0};
  if (++r.count < kReplacedOften) return;
  r.count = 0;
  limited.warn(io.now(), "two processes may run as one peer: their connections replace each other", now,
               "node " + std::to_string(from.value()) + ", before from " + before);
}

void PeerInbound::greet(std::string_view payload) {
  auto hello = decode_hello(payload);
  if (!hello) return hello.error().code == Code::kNewerFormat ? refuse(hello.error().message) : cut(hello.error());
  hello_ = std::move(*hello);
  const std::string wrong = shared_.refusal(hello_, transport_->tls_peer(), transport_->tls());
  if (!wrong.empty()) return refuse(wrong);
  // The same peer's older connection on this lane is dead, or soon will be.
  const std::vector<std::shared_ptr<PeerInbound>> others(shared_.inbound.begin(), shared_.inbound.end());
  for (const auto& other : others) {
    if (other.get() == this || !other->accepted_ || other->from() != from() || other->lane() != lane()) continue;
    shared_.replaced(from(), lane(), other->address_, address_);
    other->cut({Code::kCancelled, "replaced by a newer connection"});
  }
  accepted_ = true;
  shared_.io.cancel(std::exchange(timer_, 0));
  shared_.probe.connections.add(1);
  reader_.limit(kMaxFrame);
  const HelloReply reply{true, shared_.options.self, shared_.options.cluster, shared_.lineage, ""};
  transport_->write(frame_of(encode(reply), kHelloLane));
  shared_.heard(from());
}

void PeerInbound::refuse(std::string reason) {
  shared_.probe.refused.add();
  shared_.warn("refused a peer", address_, "node " + std::to_string(hello_.from.value()) + ": " + reason);
  const HelloReply reply{false, shared_.options.self, shared_.options.cluster, shared_.lineage, std::move(reason)};
  transport_->write(frame_of(encode(reply), kHelloLane));
  transport_->close_when_sent({Code::kCancelled, "refused"});
}

void PeerInbound::take(Frame frame) {
  if (frame.lane == kHelloLane) {  // its lineage became known
    auto hello = decode_hello(frame.payload);
    if (!hello) return cut(hello.error());
    hello_.lineage = hello->lineage;
    return check_lineage();
  }
  if (frame.lane != hello_.lane) return cut({Code::kCorrupt, "a frame of another lane than the hello said"});
  shared_.probe.frames_received.add();
  shared_.probe.bytes_received.add(frame.payload.size() + kFrameHeader);
  intake_->bytes += frame.payload.size();
  shared_.received({from(), static_cast<Lane>(frame.lane), Bytes(std::move(frame.payload)), intake_});
  if (intake_->bytes > shared_.options.undelivered_bytes && !intake_->paused) {
    transport_->pause_reading(true);
    intake_->paused = true;
    if (intake_->bytes <= shared_.options.undelivered_bytes / 2) resume();  // the core loop was quicker
  }
}

void PeerInbound::resume() {
  intake_->paused = false;
  transport_->pause_reading(false);
}

void PeerInbound::check_lineage() {
  if (!accepted_) return;
  const std::string wrong = mismatch(shared_.options.cluster, shared_.lineage, hello_.cluster, hello_.lineage);
  if (wrong.empty()) return;
  shared_.probe.refused.add();
  cut({Code::kLineage, wrong});
}

void PeerInbound::on_closed(const Error& why) {
  const auto self = shared_from_this();
  if (timer_ != 0) shared_.io.cancel(std::exchange(timer_, 0));
  intake_->connection = nullptr;
  tell_unfinished(0);
  if (accepted_) shared_.probe.connections.add(-1);
  if (why.code != Code::kCancelled)
    shared_.warn("closed a peer connection", address_,
                 (accepted_ ? "node " + std::to_string(from().value()) + ": " : std::string()) + why.message);
  shared_.inbound.erase(self);
  shared_.io.post([self, shared = shared_.shared_from_this()] {});
}

}  // namespace leeward::net
