#include "api/readers.h"

#include <utility>

namespace leeward::api {

bool Readers::run(std::size_t bytes, Function<void()> work) {
  if (loops_.empty()) {
    work();
    return true;
  }
  Executor* wake = nullptr;
  {
    const std::lock_guard lock(mutex_);
    if (queue_.size() >= kMostWaiting || bytes_ + bytes > kMostBytes) return false;
    queue_.push_back({bytes, std::move(work)});
    bytes_ += bytes;
    wake = loops_[next_++ % loops_.size()];
  }
  // The loop that is woken may be busy: then another one, which takes on until
  // nothing waits, has done it first.
  wake->post([this] { take_all(); });
  return true;
}

void Readers::take_all() {
  for (;;) {
    Function<void()> work;
    {
      const std::lock_guard lock(mutex_);
      if (queue_.empty()) return;
      work = std::move(queue_.front().work);
      bytes_ -= queue_.front().bytes;
      queue_.pop_front();
    }
    work();
  }
}

}  // namespace leeward::api
