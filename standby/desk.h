// What operators' calls have in common: they come on any thread, are begun on the
// core loop, and answered on the asker's executor.
#pragma once

#include "base/function.h"
#include "base/result.h"
#include "ports/executor.h"
#include "ports/standby_probe.h"

namespace leeward::standby {

inline const Error kNodeStops{Code::kUnavailable, "this node is stopping"};

// How a promotion ended, by what its operator is told.
inline PromotionResult result_of(const Error& error) {
  if (error.code == Code::kRefused || error.code == Code::kInvalid) return PromotionResult::kRefused;
  return error.code == Code::kUnknown ? PromotionResult::kUnknown : PromotionResult::kFailed;
}

template <class T>
Function<void(Result<T>)> answer_on(Executor& reply, Function<void(Result<T>)> done) {
  return [&reply, done = std::move(done)](Result<T> result) mutable {
    reply.post([result = std::move(result), done = std::move(done)]() mutable { done(std::move(result)); });
  };
}

}  // namespace leeward::standby
