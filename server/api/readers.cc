#include "api/readers.h"

#include <algorithm>
#include <utility>

namespace leeward::api {

Readers::Readers(std::vector<Executor*> loops) : count_(loops.size()), loops_(std::make_unique<Loop[]>(loops.size())) {
  for (std::size_t i = 0; i < count_; ++i) loops_[i].executor = loops[i];
}

void Readers::run(Function<void()> work) {
  if (count_ == 0) return work();
  Loop* const loop = std::min_element(loops_.get(), loops_.get() + count_,
                                      [](const Loop& a, const Loop& b) { return a.pending.load() < b.pending.load(); });
  ++loop->pending;
  loop->executor->post([loop, work = std::move(work)]() mutable {
    work();
    --loop->pending;
  });
}

}  // namespace leeward::api
