// Simulated time: events in order of time, then of making. One thread, no real
// clock; everything that happens goes through here and into the trace hash.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string_view>

#include "base/function.h"
#include "ports/clock.h"
#include "ports/executor.h"
#include "ports/random.h"

namespace leeward::sim {

// xorshift*: good enough for chance, the same everywhere.
class Dice final : public Random {
 public:
  explicit Dice(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15ull + 0x1234567) {
    for (int i = 0; i < 4; ++i) next();
  }
  std::uint64_t next() override {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    if (state_ == 0) state_ = 1;
    return state_ * 2685821657736338717ull;
  }
  bool chance(double p) { return static_cast<double>(next() >> 11) < p * 9007199254740992.0; }
  Duration between(Duration low, Duration high) {
    return low + Duration(static_cast<std::int64_t>(below(static_cast<std::uint64_t>((high - low).count()) + 1)));
  }

 private:
  std::uint64_t state_;
};

class Scheduler {
 public:
  using EventId = std::uint64_t;

  Instant now() const { return now_; }
  EventId at(Instant when, Function<void()> event) {
    const auto id = ++next_;
    events_.emplace(std::pair{std::max(when, now_), id}, std::move(event));
    when_[id] = std::max(when, now_);
    return id;
  }
  EventId after(Duration delay, Function<void()> event) { return at(now_ + delay, std::move(event)); }
  void cancel(EventId id) {
    const auto it = when_.find(id);
    if (it == when_.end()) return;
    events_.erase({it->second, id});
    when_.erase(it);
  }
  // The next event; false when there is none before `until` (time goes there).
  bool step(Instant until) {
    if (events_.empty() || events_.begin()->first.first > until) {
      now_ = std::max(now_, until);
      return false;
    }
    auto it = events_.begin();
    now_ = it->first.first;
    auto event = std::move(it->second);
    when_.erase(it->first.second);
    events_.erase(it);
    note(static_cast<std::uint64_t>(now_.time_since_epoch().count()));
    event();
    return true;
  }

  // Equal traces have equal hashes (FNV-1a over what is noted).
  void note(std::uint64_t value) {
    for (int i = 0; i < 8; ++i) trace_ = (trace_ ^ (value >> (8 * i) & 0xff)) * 1099511628211ull;
  }
  void note(std::string_view text) {
    for (unsigned char c : text) trace_ = (trace_ ^ c) * 1099511628211ull;
  }
  std::uint64_t trace() const { return trace_; }

 private:
  Instant now_{Duration(1'000'000'000)};
  std::uint64_t next_ = 0;
  std::map<std::pair<Instant, EventId>, Function<void()>> events_;
  std::map<EventId, Instant> when_;
  std::uint64_t trace_ = 14695981039346656037ull;
};

// A node's own clock may drift: it runs at `rate` of the world's.
class SimClock final : public Clock {
 public:
  SimClock(const Scheduler& scheduler) : scheduler_(scheduler) {}
  Instant now() const override {
    const auto since = scheduler_.now() - base_;
    return shown_ + Duration(static_cast<std::int64_t>(static_cast<double>(since.count()) * rate_));
  }
  WallTime wall() const override { return WallTime(now().time_since_epoch()); }
  void set_rate(double rate) {
    shown_ = now();
    base_ = scheduler_.now();
    rate_ = rate;
  }
  double rate() const { return rate_; }

 private:
  const Scheduler& scheduler_;
  Instant base_{}, shown_{};
  double rate_ = 1.0;
};

// A loop of one process. It dies with it: nothing posted before runs after.
class SimExecutor final : public Executor {
 public:
  SimExecutor(Scheduler& scheduler, Dice& dice, const SimClock* clock, Duration low, Duration high)
      : scheduler_(scheduler), dice_(dice), clock_(clock), low_(low), high_(high), alive_(std::make_shared<bool>(true)) {}
  ~SimExecutor() override { *alive_ = false; }

  void post(Callback callback) override {
    queue_.push_back(std::move(callback));
    if (!scheduled_ && !running_ && !still()) schedule_run();
  }
  // A held loop runs nothing of what is posted to it.
  void hold(bool held) {
    held_ = held;
    if (!still() && !queue_.empty() && !scheduled_) schedule_run();
  }
  // Of a paused process nothing runs, its timers neither. When it goes on, those that were
  // due meanwhile come before what was posted, or behind it.
  void pause(bool paused) {
    paused_ = paused;
    if (!still() && !scheduled_ && !(queue_.empty() && overdue_.empty())) schedule_run();
  }
  TimerId after(Duration delay, Callback callback) override {
    const double rate = clock_ ? clock_->rate() : 1.0;
    const Duration real(static_cast<std::int64_t>(static_cast<double>(delay.count()) / rate));
    auto timer = std::make_shared<TimerId>();
    *timer = scheduler_.after(real, [this, timer, alive = std::weak_ptr(alive_), callback = std::move(callback)]() mutable {
      const auto token = alive.lock();
      if (!token || !*token) return;
      if (paused_) return overdue_.push_back({*timer, std::move(callback)});
      in([&] { callback(); });
    });
    return *timer;
  }
  void cancel(TimerId timer) override {
    scheduler_.cancel(timer);
    std::erase_if(overdue_, [timer](const auto& due) { return due.first == timer; });
  }
  bool on_loop() const override { return running_; }

 private:
  bool still() const { return held_ || paused_; }
  template <class F>
  void in(F&& f) {
    const bool before = std::exchange(running_, true);
    f();
    running_ = before;
    if (!running_ && !queue_.empty() && !scheduled_ && !still()) schedule_run();
  }
  // One by one: the first may cancel the second.
  void run_overdue() {
    while (!overdue_.empty()) {
      auto callback = std::move(overdue_.front().second);
      overdue_.pop_front();
      callback();
    }
  }
  void schedule_run() {
    scheduled_ = true;
    scheduler_.after(dice_.between(low_, high_), [this, alive = std::weak_ptr(alive_)] {
      const auto token = alive.lock();
      if (!token || !*token) return;
      scheduled_ = false;
      if (still()) return;
      if (!overdue_.empty() && (queue_.empty() || dice_.chance(0.5))) return in([&] { run_overdue(); });
      auto batch = std::move(queue_);
      queue_.clear();
      in([&] {
        for (auto& callback : batch) callback();
      });
      if (!overdue_.empty() && !scheduled_ && !still()) schedule_run();
    });
  }

  Scheduler& scheduler_;
  Dice& dice_;
  const SimClock* clock_;
  Duration low_, high_;
  std::shared_ptr<bool> alive_;
  std::deque<Callback> queue_;
  std::deque<std::pair<TimerId, Callback>> overdue_;
  bool running_ = false, scheduled_ = false, held_ = false, paused_ = false;
};

}  // namespace leeward::sim
