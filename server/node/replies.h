// Answers on their way to the loops that wait for them: gathered over a turn
// of the core loop, then one post a target, however many answers it gets.
//
// Core loop only. Order per target is the order of add().
#pragma once

#include <utility>
#include <vector>

#include "base/function.h"
#include "ports/executor.h"

namespace leeward::node {

class Replies {
 public:
  void add(Executor& target, Function<void()> answer) {
    for (auto& [executor, answers] : batches_)
      if (executor == &target) return answers.push_back(std::move(answer));
    batches_.emplace_back(&target, std::vector<Function<void()>>{});
    batches_.back().second.push_back(std::move(answer));
  }

  void flush() {
    for (auto& [executor, answers] : batches_)
      executor->post([answers = std::move(answers)]() mutable {
        for (auto& answer : answers) answer();
      });
    batches_.clear();
  }

 private:
  std::vector<std::pair<Executor*, std::vector<Function<void()>>>> batches_;
};

}  // namespace leeward::node
