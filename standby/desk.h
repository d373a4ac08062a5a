// What operators' calls have in common: they come on any thread, are begun on the
// core loop, and answered on the asker's executor.
#pragma once

#include "base/function.h"
#include "base/result.h"
#include "ports/executor.h"

namespace leeward::standby {

inline const Error kNodeStops{Code::kUnavailable, "this node is stopping"};

template <class T>
Function<void(Result<T>)> answer_on(Executor& reply, Function<void(Result<T>)> done) {
  return [&reply, done = std::move(done)](Result<T> result) mutable {
    reply.post([result = std::move(result), done = std::move(done)]() mutable { done(std::move(result)); });
  };
}

}  // namespace leeward::standby
