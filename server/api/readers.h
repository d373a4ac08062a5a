// Loops beside the client port's own for reads that may touch many keys: while
// one runs, keep-alives, single keys and other clients' calls go on.
//
// run(): any thread; the loops outlive what it posts. Bounded by the streams
// that connections may have open.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "base/function.h"
#include "ports/executor.h"

namespace leeward::api {

class Readers {
 public:
  explicit Readers(std::vector<Executor*> loops);
  // On the loop with the least to do; at once where there are no loops.
  void run(Function<void()> work);

 private:
  struct Loop {
    Executor* executor = nullptr;
    std::atomic<int> pending{0};
  };
  const std::size_t count_;
  const std::unique_ptr<Loop[]> loops_;
};

}  // namespace leeward::api
