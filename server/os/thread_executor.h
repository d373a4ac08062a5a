// A loop on a thread of its own: for the core and the wal loop.
//
// post(), stop(), beats() and busy_since(): any thread. after() and cancel():
// the loop itself, or anyone before start(). start() and join(): the owner.
// Timers run on CLOCK_BOOTTIME: one that was due while the machine slept runs
// at once on waking. Inbox and timers take turns, so that neither starves.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "ports/executor.h"

namespace leeward::os {

class ThreadExecutor final : public Executor {
 public:
  ThreadExecutor();
  ~ThreadExecutor() override;  // stop() and join()
  ThreadExecutor(const ThreadExecutor&) = delete;
  ThreadExecutor& operator=(const ThreadExecutor&) = delete;

  // Starts the thread, with all signals blocked; what was posted before runs
  // first. Once only. The name is cut to 15 characters.
  void start(const std::string& name);
  // Asks the loop to end once it has run what was posted before. Later posts
  // are dropped, as are timers. May be called twice.
  void stop();
  void join();

  void post(Callback callback) override;
  TimerId after(Duration delay, Callback callback) override;
  void cancel(TimerId timer) override;
  bool on_loop() const override;

  // For a watchdog: callbacks run so far, and since when the current one has
  // been running (nullopt: the loop sleeps, which is health, not a hang).
  std::uint64_t beats() const { return beats_.load(std::memory_order_relaxed); }
  std::optional<Instant> busy_since() const;

 private:
  void run();
  bool take_inbox(std::vector<Callback>& batch);  // false: stopped and empty
  void call(Callback& callback);
  void run_due_timers();
  void sleep();

  mutable std::mutex mutex_;
  std::vector<Callback> inbox_;
  bool sleeping_ = false;  // under mutex_: only then does a post cost a wake-up
  bool stopping_ = false;

  // The loop's own.
  std::map<std::pair<Instant, TimerId>, Callback> timers_;
  std::unordered_map<TimerId, Instant> deadlines_;
  TimerId next_timer_ = 1;
  Instant armed_{};  // what timer_fd_ is set to; zero: off

  int wake_fd_ = -1;
  int timer_fd_ = -1;
  std::atomic<std::uint64_t> beats_{0};
  std::atomic<std::int64_t> busy_since_{0};  // nanoseconds; 0: asleep
  std::thread thread_;
};

}  // namespace leeward::os
