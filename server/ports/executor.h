// A loop: it runs one callback at a time and owns the data that its callbacks
// touch. Wiring maps loops to threads; the simulator runs all on one.
//
// post() is for any thread; it costs a lock and wakes the loop only when its
// inbox was empty. Hand over batches, not single items. Callbacks run in the
// order of posting. The rest is for the loop itself.
#pragma once

#include <cstdint>

#include "base/function.h"
#include "base/units.h"

namespace leeward {

class Executor {
 public:
  using Callback = Function<void()>;
  using TimerId = std::uint64_t;  // never 0

  virtual ~Executor() = default;
  virtual void post(Callback callback) = 0;
  virtual TimerId after(Duration delay, Callback callback) = 0;
  // Once it returns the callback will not run. An unknown id is ignored.
  virtual void cancel(TimerId timer) = 0;
  // True when called from one of this loop's callbacks.
  virtual bool on_loop() const = 0;
};

}  // namespace leeward
