#include "net/transport.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/check.h"

namespace leeward::net {

namespace {

constexpr std::size_t kShareFrom = 2048;    // below it copying is cheaper than one more iovec
constexpr int kReadsPerTurn = 4;            // 256 KiB, then others have their turn
constexpr int kFillsPerTurn = 8;
constexpr std::size_t kKeepCapacity = 4096; // larger buffers are not kept by idle connections
constexpr char kTlsHandshake = 0x16;  // the first byte of a TLS connection, either way but for an alert
constexpr char kAlertRecord = 0x15;
constexpr int kGather = 64;
constexpr Duration kLinger = 1s;

}  // namespace

void OutQueue::append(Bytes data) {
  if (data.size() < kShareFrom) {
    append(data.view());
    return;
  }
  if (!tail_.empty()) {
    Bytes run(std::move(tail_));
    tail_.clear();
    // What of the tail has been written already stays written.
    if (head_ == parts_.size() && offset_ > 0) {
      run = run.slice(offset_);
      offset_ = 0;
    }
    parts_.push_back(std::move(run));
  }
  size_ += data.size();
  parts_.push_back(std::move(data));
}

std::string_view OutQueue::front() const {
  if (head_ < parts_.size()) return parts_[head_].view().substr(offset_);
  return std::string_view(tail_).substr(offset_);
}

int OutQueue::gather(iovec* out, int count) const {
  int n = 0;
  std::size_t offset = offset_;
  const auto add = [&](std::string_view run) {
    run.remove_prefix(offset);
    offset = 0;
    if (!run.empty()) out[n++] = {const_cast<char*>(run.data()), run.size()};
  };
  for (std::size_t i = head_; i < parts_.size() && n < count; ++i) add(parts_[i].view());
  if (n < count) add(tail_);
  return n;
}

void OutQueue::consume(std::size_t count) {
  size_ -= count;
  offset_ += count;
  while (head_ < parts_.size() && offset_ >= parts_[head_].size()) {
    offset_ -= parts_[head_].size();
    parts_[head_++] = Bytes();
  }
  if (head_ == parts_.size()) {
    parts_.clear();
    head_ = 0;
  } else if (head_ > 64 && head_ * 2 > parts_.size()) {
    parts_.erase(parts_.begin(), parts_.begin() + static_cast<std::ptrdiff_t>(head_));
    head_ = 0;
  }
  if (size_ == 0) {
    tail_.clear();
    offset_ = 0;
  }
}

Transport::Transport(IoLoop& loop, int fd, std::unique_ptr<TlsSession> session, std::shared_ptr<Owner> owner)
    : loop_(loop), session_(std::move(session)), owner_(std::move(owner)) {
  watch_ = std::make_unique<FdWatch>(loop, fd, [this] { readable(); }, [this] { flush(); });
}

std::shared_ptr<Transport> Transport::open(IoLoop& loop, int fd, std::unique_ptr<TlsSession> session,
                                           std::shared_ptr<Owner> owner) {
  std::shared_ptr<Transport> transport(new Transport(loop, fd, std::move(session), std::move(owner)));
  transport->watch_->want_read(true);
  // The owner learns of everything after it has the transport in hand.
  loop.post([transport] {
    if (transport->closed_) return;
    const auto owner = transport->owner_;
    if (!transport->session_) {
      owner->on_open();
    } else if (auto started = transport->session_->start(transport->wire_out_); !started) {
      transport->close(started.error());
    } else {
      transport->schedule();
    }
  });
  return transport;
}

void Transport::schedule() {
  if (scheduled_ || closed_) return;
  scheduled_ = true;
  loop_.at_turn_end(shared_from_this());
}

void Transport::turn_end() {
  scheduled_ = false;
  if (!closed_ && !blocked_) flush();
}

void Transport::pause_reading(bool paused) {
  if (closed_ || paused_ == paused) return;
  paused_ = paused;
  watch_->want_read(!paused_ && !eof_);
}

void Transport::readable() {
  const auto self = shared_from_this();
  std::string& buffer = loop_.read_buffer();
  for (int i = 0; i < kReadsPerTurn && !closed_ && !paused_; ++i) {
    const ssize_t n = recv(watch_->fd(), buffer.data(), buffer.size(), 0);
    if (n > 0) {
      received({buffer.data(), static_cast<std::size_t>(n)});
      if (static_cast<std::size_t>(n) < buffer.size()) return;
    } else if (n == 0) {
      end_of_input();
      return;
    } else if (errno != EINTR) {
      if (errno != EAGAIN && errno != EWOULDBLOCK) close({Code::kCancelled, system_error(errno)});
      return;
    }
  }
}

void Transport::received(std::string_view data) {
  const auto owner = owner_;
  if (closing_) return;  // only what is queued still matters
  if (!session_) {
    owner->on_data(data);
    return;
  }
  if (!heard_ && data.front() != kTlsHandshake && data.front() != kAlertRecord) {
    std::string answer = owner->on_not_tls(data);
    session_.reset();
    write(answer);
    close_when_sent({Code::kInvalid, "the other side does not speak TLS"});
    return;
  }
  heard_ = true;
  const bool was_open = session_->open();
  bool announced = was_open;
  TlsSession::OnPlain plain = [&](std::string_view piece) {
    if (!announced) owner->on_open(), announced = true;
    if (!closed_ && !closing_) owner->on_data(piece);
  };
  const auto result = session_->receive(data, wire_out_, plain);
  if (closed_) return;
  if (session_->open() && !announced && result.ok()) owner->on_open();
  if (!result.ok()) {
    if (!wire_out_.empty()) send_wire();  // the alert says why; best effort
    if (!closed_) close(result.error());
  } else if (!wire_out_.empty() || (!was_open && session_->open())) {
    schedule();
  }
}

void Transport::end_of_input() {
  eof_ = true;
  watch_->want_read(false);
  const auto owner = owner_;
  if (!closing_ && owner->on_eof()) return;
  const Error why{Code::kCancelled, "closed by the other side"};
  // Answers under way still go out to a client that has only said its last.
  if (closing_ && lingering_) close(close_reason_);
  else if (queued() > 0) close_when_sent(why);
  else close(why);
}

void Transport::flush() {
  const auto self = shared_from_this();
  const auto owner = owner_;
  bool more = false;
  for (int round = 0; round < kFillsPerTurn && !closed_; ++round) {
    std::string& tail = out_.tail();
    if (out_.empty() && tail.capacity() < kKeepCapacity) tail.swap(loop_.spare_buffer());
    scheduled_ = true;  // what on_fill writes leaves now, not at another turn's end
    more = !closing_ && (!session_ || session_->open()) && owner->on_fill();
    scheduled_ = false;
    if (closed_) return;
    const bool sent = session_ ? send_wire() : send_plain();
    if (closed_) return;
    if (out_.empty() && tail.capacity() > kKeepCapacity) {
      if (loop_.spare_buffer().capacity() < tail.capacity() && tail.capacity() <= 4 * kQueueTarget)
        tail.swap(loop_.spare_buffer());
      std::string().swap(tail);
    }
    if (!sent || !more) break;
  }
  const bool block = !out_.empty() && (!session_ || session_->open());
  const bool wait = block || !wire_out_.empty() || more;
  if (wait && !blocked_) blocked_since_ = loop_.now();
  const bool turned = std::exchange(blocked_, wait) != wait;
  watch_->want_write(wait);
  if (!wait && closing_) linger();
  else if (turned) owner->on_blocked(blocked_);
}

// Closing with unread input would make the kernel reset the connection, and
// the other side might lose the last answer: so say the end, and read on into
// nothing until it has gone.
void Transport::linger() {
  if (eof_) return close(close_reason_);
  if (lingering_) return;
  lingering_ = true;
  if (session_) {
    session_->close(wire_out_);
    if (!send_wire()) return closed_ ? void() : close(close_reason_);
  }
  shutdown(watch_->fd(), SHUT_WR);
  paused_ = false;
  watch_->want_read(true);
  loop_.after(kLinger, [self = shared_from_this()] { self->close(self->close_reason_); });
}

// False when the kernel took less than all.
bool Transport::send_plain() {
  while (!out_.empty()) {
    std::array<iovec, kGather> parts;
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = static_cast<std::size_t>(out_.gather(parts.data(), kGather));
    const ssize_t n = sendmsg(watch_->fd(), &message, MSG_NOSIGNAL);
    if (!took(n, errno)) return false;
    out_.consume(static_cast<std::size_t>(n));
    owner_->on_sent(static_cast<std::size_t>(n));
    if (closed_) return false;
  }
  return true;
}

bool Transport::send_wire() {
  for (;;) {
    // Records are made only as fast as the kernel takes them.
    while (session_->open() && !out_.empty() && wire_out_.size() < kQueueTarget) {
      const std::string_view run = out_.front().substr(0, 16384);
      const std::size_t size = run.size();
      if (auto sealed = session_->send(run, wire_out_); !sealed) {
        close(sealed.error());
        return false;
      }
      out_.consume(size);
      owner_->on_sent(size);
      if (closed_) return false;
    }
    if (wire_out_.empty()) return true;
    const ssize_t n =
        send(watch_->fd(), wire_out_.data() + wire_sent_, wire_out_.size() - wire_sent_, MSG_NOSIGNAL);
    if (!took(n, errno)) return false;
    wire_sent_ += static_cast<std::size_t>(n);
    if (wire_sent_ < wire_out_.size()) return false;
    wire_sent_ = 0;
    wire_out_.clear();
    if (wire_out_.capacity() > kKeepCapacity) std::string().swap(wire_out_);
  }
}

bool Transport::took(long result, int error) {
  if (result > 0) {
    blocked_since_ = loop_.now();
    return true;
  }
  if (error != EAGAIN && error != EWOULDBLOCK && error != EINTR) close({Code::kCancelled, system_error(error)});
  return false;
}

void Transport::close_when_sent(Error why) {
  if (closed_ || closing_) return;
  closing_ = true;
  close_reason_ = std::move(why);
  schedule();
}

void Transport::close(Error why) {
  if (closed_) return;
  closed_ = true;
  const auto self = shared_from_this();
  if (session_ && wire_out_.empty() && !lingering_) {
    std::string farewell;
    session_->close(farewell);
    if (!farewell.empty()) (void)send(watch_->fd(), farewell.data(), farewell.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  }
  // The watch's callback may be running: its storage lives until it returns.
  watch_->want_read(false);
  watch_->want_write(false);
  shutdown(watch_->fd(), SHUT_RDWR);
  const auto owner = std::move(owner_);
  owner->on_closed(why);
  loop_.post([self] { self->watch_.reset(); });
}

}  // namespace leeward::net
