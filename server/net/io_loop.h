// The I/O loop: an Executor over an Asio io_context, one thread each.
//
// A turn is: wait for readiness, run what is ready, run posted callbacks, run
// due timers, then the turn-end tasks. Connections write in the turn-end task,
// so that everything a turn produced for one connection leaves in one system
// call.
//
// Threads: post() and stop() from anywhere; run() belongs to one thread, and
// the rest to that thread, or to whoever sets up before run() has begun.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "net/socket.h"
#include "ports/executor.h"

namespace leeward::net {

class IoLoop final : public Executor {
 public:
  // Runs once at the end of the turn it was asked for in.
  class TurnEnd {
   public:
    virtual ~TurnEnd() = default;
    virtual void turn_end() = 0;
  };

  IoLoop();
  // All connections of the loop must be closed by then.
  ~IoLoop() override;

  void run();   // until stop()
  void stop();  // what is posted but not begun by then is dropped with the loop

  void post(Callback callback) override;
  TimerId after(Duration delay, Callback callback) override;
  void cancel(TimerId timer) override;
  bool on_loop() const override;

  Instant now() const;  // CLOCK_BOOTTIME, as every Instant in the program
  void at_turn_end(std::shared_ptr<TurnEnd> task);

  // Buffers that all connections of the loop share, so that an idle one holds none.
  std::string& read_buffer();
  std::string& spare_buffer();

  // Names are looked up in Asio's resolver thread; numeric addresses at once.
  // `done` runs on this loop.
  void resolve(const HostPort& target, Function<void(Result<std::vector<SocketAddress>>)> done);

 private:
  friend class FdWatch;
  struct Impl;
  void turn();
  void drain_inbox();
  void run_timers();

  std::unique_ptr<Impl> impl_;
};

// Readiness of one file descriptor, which it owns. Callbacks run on the loop,
// as long as they are wanted and this object lives; a callback may destroy it.
class FdWatch {
 public:
  FdWatch(IoLoop& loop, int fd, Function<void()> readable, Function<void()> writable);
  ~FdWatch();
  FdWatch(const FdWatch&) = delete;
  FdWatch& operator=(const FdWatch&) = delete;

  int fd() const;
  void want_read(bool on);
  void want_write(bool on);
  int release();  // gives the descriptor away; no callback runs any more

 private:
  struct State;
  std::shared_ptr<State> state_;
};

// A loop with its thread; stops and joins when destroyed.
class IoThread {
 public:
  IoThread() : thread_([this] { loop_.run(); }) {}
  ~IoThread() { join(); }
  IoLoop& loop() { return loop_; }
  void join() {
    loop_.stop();
    if (thread_.joinable()) thread_.join();
  }

 private:
  IoLoop loop_;
  std::thread thread_;
};

}  // namespace leeward::net
