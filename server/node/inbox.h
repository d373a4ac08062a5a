// Where other threads leave what the core loop is to do. Bounded by bytes of
// writes; one wake-up for all that waits.
#pragma once

#include <atomic>
#include <mutex>
#include <vector>

#include "node/proposals.h"

namespace leeward::node {

class Inbox {
 public:
  struct Contents {
    std::vector<WaitingWrite> writes;
    std::vector<Function<void()>> tasks;
  };

  // True: the caller wakes the core loop.
  bool push(WaitingWrite write) {
    bytes_.fetch_add(write.bytes(), std::memory_order_relaxed);
    std::lock_guard lock(mutex_);
    contents_.writes.push_back(std::move(write));
    return !std::exchange(woken_, true);
  }
  bool push(Function<void()> task) {
    std::lock_guard lock(mutex_);
    contents_.tasks.push_back(std::move(task));
    return !std::exchange(woken_, true);
  }

  Contents take() {
    Contents contents;
    {
      std::lock_guard lock(mutex_);
      woken_ = false;
      std::swap(contents, contents_);
    }
    std::size_t bytes = 0;
    for (const auto& w : contents.writes) bytes += w.bytes();
    bytes_.fetch_sub(bytes, std::memory_order_relaxed);
    return contents;
  }

  // Of writes not yet taken by the core loop. Any thread.
  std::size_t bytes() const { return bytes_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::size_t> bytes_{0};
  std::mutex mutex_;
  Contents contents_;
  bool woken_ = false;
};

}  // namespace leeward::node
