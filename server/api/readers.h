// Loops beside the client port's own for reads that may touch many keys: while
// one runs, keep-alives, single keys and other clients' calls go on.
//
// run(): any thread. One queue, from which whichever loop is free takes the
// next, so that a read that takes long holds up one of them alone.
#pragma once

#include <deque>
#include <mutex>
#include <vector>

#include "base/function.h"
#include "ports/executor.h"

namespace leeward::api {

class Readers {
 public:
  static constexpr std::size_t kMostWaiting = 10'000;
  static constexpr std::size_t kMostBytes = 64 * 1024 * 1024;

  explicit Readers(std::vector<Executor*> loops) : loops_(std::move(loops)) {}
  // At once where there are no loops. `bytes`: what `work` holds while it waits.
  // False when too much waits already: it is dropped.
  bool run(std::size_t bytes, Function<void()> work);

 private:
  struct Waiting {
    std::size_t bytes;
    Function<void()> work;
  };
  void take_all();

  const std::vector<Executor*> loops_;
  std::mutex mutex_;
  std::deque<Waiting> queue_;
  std::size_t bytes_ = 0, next_ = 0;
};

}  // namespace leeward::api
