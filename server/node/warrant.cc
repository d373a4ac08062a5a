#include "node/warrant.h"

#include <iterator>

namespace leeward::node {

void Warrant::returned(Term term, Instant sent, region::ArmingId arming) {
  if (!stamp_ || stamp_->term != term || stamp_->arming != arming || sent > stamp_->sent) stamp_ = Stamp{term, sent, arming};
}

std::optional<Instant> Warrant::valid_until() const {
  if (!lease_ || !stamp_ || !context_.is_leader()) return std::nullopt;
  if (stamp_->term != context_.core->term() || stamp_->arming != lease_->arming) return std::nullopt;
  return stamp_->sent + lease_->length;
}

bool Warrant::valid() const {
  const auto until = valid_until();
  return until && context_.now() < *until;
}

void Warrant::pass(Answer answer) {
  if (!lease_ || (context_.is_leader() && valid())) return answer(true);
  waiting_.push_back({context_.now() + context_.patience(), std::move(answer)});
  if (!context_.is_leader()) context_.wake();
}

void Warrant::let_go(std::deque<Waiting> answers, bool may) {
  for (auto& w : answers) w.answer(may);
}

void Warrant::drive() {
  const auto now = context_.now();
  const bool leads = context_.is_leader();
  if (!lease_ || !leads || valid()) invalid_since_.reset();
  else if (!invalid_since_) invalid_since_ = now;
  if (!lease_ || (leads && valid())) {
    let_go(std::exchange(waiting_, {}), true);
  } else if (!leads && !asking_ && !waiting_.empty() && context_.leader()) {
    ask();
  }
  std::deque<Waiting> late;
  while (!waiting_.empty() && waiting_.front().gives_up <= now) {
    late.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
  }
  let_go(std::move(late), false);
}

void Warrant::end() {
  let_go(std::exchange(asked_, {}), false);
  let_go(std::exchange(waiting_, {}), false);
}

// What comes meanwhile waits for the next question: the leader's word is of a
// moment after it was asked.
void Warrant::ask() {
  asking_ = true;
  asked_ = std::exchange(waiting_, {});
  ask_([this, alive = std::weak_ptr<bool>(alive_)](Result<std::int64_t> may) {
    if (alive.expired()) return;
    asking_ = false;
    auto asked = std::exchange(asked_, {});
    if (may.ok()) return let_go(std::move(asked), true);
    // Another leader, or this one with a stamp, may say yes yet.
    asked.insert(asked.end(), std::make_move_iterator(waiting_.begin()), std::make_move_iterator(waiting_.end()));
    waiting_ = std::move(asked);
  });
}

}  // namespace leeward::node
