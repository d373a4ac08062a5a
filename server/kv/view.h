// What readers see: the state after an apply batch, with a snapshot of the
// store at just that point. apply() sets it, any thread takes it.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "kv/range.h"
#include "ports/state_machine.h"
#include "ports/store.h"

namespace leeward::kv {

struct View {
  AppliedState state;
  std::uint64_t keys = 0;
  std::shared_ptr<const Gaps> gaps;
  std::shared_ptr<const StoreSnapshot> snapshot;

  Moment moment() const { return {state.revision.value(), state.compacted.value(), gaps.get()}; }
};

class Published {
 public:
  // Null once the state machine is gone.
  std::shared_ptr<const View> get() const {
    const std::lock_guard lock(mutex_);
    return view_;
  }
  void set(std::shared_ptr<const View> view) {
    // The old one may be the last to hold a snapshot: let it go outside the lock.
    {
      const std::lock_guard lock(mutex_);
      view_.swap(view);
    }
  }

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const View> view_;
};

}  // namespace leeward::kv
