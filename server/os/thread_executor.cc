#include "os/thread_executor.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <cerrno>

#include "base/check.h"
#include "os/clock.h"

namespace leeward::os {
namespace {

thread_local const ThreadExecutor* current_loop = nullptr;

void drain(int fd) {
  std::uint64_t count;
  while (::read(fd, &count, sizeof count) < 0 && errno == EINTR) {
  }
}

}  // namespace

ThreadExecutor::ThreadExecutor()
    : wake_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      timer_fd_(::timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK)) {
  LEEWARD_CHECK(wake_fd_ >= 0 && timer_fd_ >= 0, "no file descriptors left for a loop: raise LimitNOFILE");
}

ThreadExecutor::~ThreadExecutor() {
  stop();
  join();
  ::close(wake_fd_);
  ::close(timer_fd_);
}

void ThreadExecutor::start(const std::string& name) {
  LEEWARD_CHECK(!thread_.joinable(), "a loop is started once");
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);  // inherited: signals belong to the main thread
  thread_ = std::thread([this] { run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_setname_np(thread_.native_handle(), name.substr(0, 15).c_str());
}

void ThreadExecutor::stop() {
  bool wake = false;
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    wake = std::exchange(sleeping_, false);
  }
  if (wake) ::eventfd_write(wake_fd_, 1);
}

void ThreadExecutor::join() {
  LEEWARD_CHECK(!on_loop(), "a loop cannot wait for its own end");
  if (thread_.joinable()) thread_.join();
}

void ThreadExecutor::post(Callback callback) {
  bool wake = false;
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return;
    inbox_.push_back(std::move(callback));
    wake = std::exchange(sleeping_, false);
  }
  if (wake) ::eventfd_write(wake_fd_, 1);
}

Executor::TimerId ThreadExecutor::after(Duration delay, Callback callback) {
  LEEWARD_CHECK(on_loop() || !thread_.joinable(), "timers belong to their loop");
  const TimerId id = next_timer_++;
  const Instant when = SystemClock().now() + std::max(delay, Duration(0));
  deadlines_.emplace(id, when);
  timers_.emplace(std::pair(when, id), std::move(callback));
  return id;
}

void ThreadExecutor::cancel(TimerId timer) {
  LEEWARD_CHECK(on_loop() || !thread_.joinable(), "timers belong to their loop");
  const auto found = deadlines_.find(timer);
  if (found == deadlines_.end()) return;
  timers_.erase(std::pair(found->second, timer));
  deadlines_.erase(found);
}

bool ThreadExecutor::on_loop() const { return current_loop == this; }

std::optional<Instant> ThreadExecutor::busy_since() const {
  const std::int64_t since = busy_since_.load(std::memory_order_relaxed);
  if (since == 0) return std::nullopt;
  return Instant(Duration(since));
}

void ThreadExecutor::run() {
  current_loop = this;
  std::vector<Callback> batch;
  while (take_inbox(batch)) {
    if (batch.empty() && (timers_.empty() || timers_.begin()->first.first > SystemClock().now())) {
      sleep();
      continue;
    }
    for (auto& callback : batch) call(callback);
    batch.clear();
    run_due_timers();
  }
  timers_.clear();
  deadlines_.clear();
  current_loop = nullptr;
}

bool ThreadExecutor::take_inbox(std::vector<Callback>& batch) {
  std::lock_guard lock(mutex_);
  batch.swap(inbox_);
  return !batch.empty() || !stopping_;
}

void ThreadExecutor::call(Callback& callback) {
  busy_since_.store(SystemClock().now().time_since_epoch().count(), std::memory_order_relaxed);
  callback();
  callback = nullptr;  // what it owns goes before the next one runs
  beats_.fetch_add(1, std::memory_order_relaxed);
  busy_since_.store(0, std::memory_order_relaxed);
}

// Only those due now: a timer that sets itself again with no delay must not
// keep the inbox waiting.
void ThreadExecutor::run_due_timers() {
  const Instant now = SystemClock().now();
  const TimerId newest = next_timer_;
  while (!timers_.empty()) {
    const auto first = timers_.begin();
    if (first->first.first > now || first->first.second >= newest) return;
    Callback callback = std::move(first->second);
    deadlines_.erase(first->first.second);
    timers_.erase(first);
    call(callback);
  }
}

void ThreadExecutor::sleep() {
  const Instant next = timers_.empty() ? Instant{} : timers_.begin()->first.first;
  if (next != armed_) {
    itimerspec spec{};
    spec.it_value.tv_sec = next.time_since_epoch().count() / 1'000'000'000;
    spec.it_value.tv_nsec = next.time_since_epoch().count() % 1'000'000'000;
    LEEWARD_CHECK(::timerfd_settime(timer_fd_, TFD_TIMER_ABSTIME, &spec, nullptr) == 0);
    armed_ = next;
  }
  {
    std::lock_guard lock(mutex_);
    if (!inbox_.empty() || stopping_) return;
    sleeping_ = true;
  }
  pollfd fds[2] = {{wake_fd_, POLLIN, 0}, {timer_fd_, POLLIN, 0}};
  while (::poll(fds, 2, -1) < 0) LEEWARD_CHECK(errno == EINTR, "poll failed");
  {
    std::lock_guard lock(mutex_);
    sleeping_ = false;
  }
  if (fds[0].revents != 0) drain(wake_fd_);
  if (fds[1].revents != 0) {
    drain(timer_fd_);
    armed_ = Instant{};
  }
}

}  // namespace leeward::os
