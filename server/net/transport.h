// One stream connection: a non-blocking socket with TLS or without.
//
// Reading goes through the loop's shared buffer, so an idle connection holds
// none. Writing is gathered: write() queues, and the end of the turn sends all
// of it in one system call; large Bytes are not copied. What the kernel does
// not take waits here, and Owner::on_fill is asked for more only when the
// queue is short.
//
// Everything runs on the connection's loop. A transport and its owner hold one
// another until the connection is closed.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "net/io_loop.h"
#include "net/tls.h"

struct iovec;

namespace leeward::net {

// Bytes waiting to be written: small ones copied together, large ones shared.
class OutQueue {
 public:
  void append(std::string_view data) {
    tail_.append(data);
    size_ += data.size();
  }
  void append(Bytes data);
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  int gather(iovec* out, int count) const;
  std::string_view front() const;  // the first contiguous run
  void consume(std::size_t count);
  std::string& tail() { return tail_; }  // its storage may be lent while empty()

 private:
  std::vector<Bytes> parts_;
  std::size_t head_ = 0;    // first part not yet written
  std::size_t offset_ = 0;  // within it, or within tail_ when there is no part
  std::string tail_;
  std::size_t size_ = 0;
};

class Transport final : public IoLoop::TurnEnd, public std::enable_shared_from_this<Transport> {
 public:
  class Owner {
   public:
    virtual ~Owner() = default;
    // The TLS handshake is done; at once without TLS.
    virtual void on_open() {}
    // `data` is good during the call only.
    virtual void on_data(std::string_view data) = 0;
    // Queue more output, up to about kQueueTarget in all. True: there is more.
    virtual bool on_fill() { return false; }
    // The kernel took bytes that had been queued.
    virtual void on_sent(std::size_t) {}
    // The other side sends no more. True: keep the connection to answer.
    virtual bool on_eof() { return false; }
    // The first byte on a TLS port is no TLS: what to answer in plain text.
    virtual std::string on_not_tls(std::string_view) { return {}; }
    // The last call. `why` is kCancelled when nothing went wrong.
    virtual void on_closed(const Error& why) = 0;
  };

  static constexpr std::size_t kQueueTarget = 256 << 10;

  // Takes over `fd`. `session` is null for a plain connection.
  static std::shared_ptr<Transport> open(IoLoop& loop, int fd, std::unique_ptr<TlsSession> session,
                                         std::shared_ptr<Owner> owner);

  void write(std::string_view data) { out_.append(data), schedule(); }  // copies
  void write(Bytes data) { out_.append(std::move(data)), schedule(); }  // shares
  // Asks for a turn-end, and so for on_fill.
  void schedule();
  std::size_t queued() const { return out_.size() + wire_out_.size(); }
  // The kernel takes no more at the moment, and since when.
  bool blocked() const { return blocked_; }
  Instant blocked_since() const { return blocked_since_; }

  void pause_reading(bool paused);
  // Writes what is queued, then closes.
  void close_when_sent(Error why);
  void close(Error why);
  bool closed() const { return closed_; }

  IoLoop& loop() { return loop_; }
  int fd() const { return watch_->fd(); }
  bool tls() const { return session_ != nullptr; }
  bool secured() const { return session_ && session_->open(); }
  TlsPeer tls_peer() const { return session_ ? session_->peer() : TlsPeer{}; }

  void turn_end() override;

 private:
  Transport(IoLoop& loop, int fd, std::unique_ptr<TlsSession> session, std::shared_ptr<Owner> owner);
  void readable();
  void received(std::string_view data);
  void end_of_input();
  void flush();
  void linger();
  bool send_plain();
  bool send_wire();
  bool took(long result, int error);

  IoLoop& loop_;
  std::unique_ptr<FdWatch> watch_;
  std::unique_ptr<TlsSession> session_;
  std::shared_ptr<Owner> owner_;
  OutQueue out_;          // plain text
  std::string wire_out_;  // TLS records
  std::size_t wire_sent_ = 0;
  Instant blocked_since_{};
  Error close_reason_;
  bool scheduled_ = false, blocked_ = false, paused_ = false, closing_ = false, closed_ = false, heard_ = false, eof_ = false, lingering_ = false;
};

}  // namespace leeward::net
