#include "node/reads.h"

#include <algorithm>
#include <iterator>

namespace leeward::node {

void Reads::arrive(std::optional<Instant> deadline, Done done, bool by_lease) {
  arrived_.push_back({deadline, context_.now() + context_.patience(), std::move(done), by_lease, true});
}

void Reads::confirm(Done done) {
  arrived_.push_back({std::nullopt, context_.now() + context_.patience(), std::move(done), false, false});
}

void Reads::dispatch() {
  if (arrived_.empty() || !context_.core) return;
  const auto now = context_.now();
  auto waiters = std::move(arrived_);
  arrived_.clear();
  const auto lease = context_.core->lease_read(now);
  std::vector<Waiter> either, round_only;
  for (auto& w : waiters) {
    if (!w.by_lease)
      round_only.push_back(std::move(w));
    else if (lease)
      confirmed(*lease, std::move(w));
    else
      either.push_back(std::move(w));
  }
  ask(std::move(either), true);
  ask(std::move(round_only), false);
}

void Reads::ask(std::vector<Waiter> waiters, bool by_lease) {
  if (waiters.empty()) return;
  const auto id = ++next_context_;
  rounds_[id] = std::move(waiters);
  context_.core->read_index(context_.now(), id, by_lease);
}

void Reads::answered(const std::vector<raft::ReadState>& states) {
  for (const auto& state : states) {
    const auto it = rounds_.find(state.context);
    if (it == rounds_.end()) continue;
    auto waiters = std::move(it->second);
    rounds_.erase(it);
    for (auto& w : waiters) {
      if (state.ok) {
        confirmed(state.index, std::move(w));
      } else {
        lost_.push_back(std::move(w));
      }
    }
  }
}

void Reads::confirmed(Index index, Waiter w) {
  if (!w.need_applied || context_.applied() >= index) {
    w.done(index);
  } else {
    w.confirmed = context_.now();
    by_index_[index].push_back(std::move(w));
  }
}

void Reads::applied() {
  const auto applied = context_.applied();
  while (!by_index_.empty() && by_index_.begin()->first <= applied) {
    const auto index = by_index_.begin()->first;
    auto waiters = std::move(by_index_.begin()->second);
    by_index_.erase(by_index_.begin());
    for (auto& w : waiters) w.done(index);
  }
}

Duration Reads::waited(Instant now) const { return by_index_.empty() ? Duration{} : now - by_index_.begin()->second.front().confirmed; }

void Reads::expire() {
  const auto now = context_.now();
  for (auto& w : lost_) arrived_.push_back(std::move(w));
  lost_.clear();
  const Error late{Code::kUnavailable, context_.leader() ? text::kTimeout : context_.no_leader()};
  expire_list(arrived_, now, late);
  for (auto& [id, waiters] : rounds_) expire_list(waiters, now, late);
  for (auto& [index, waiters] : by_index_) expire_list(waiters, now, late);
  drop_empty();
}

void Reads::drop_empty() {
  std::erase_if(by_index_, [](const auto& entry) { return entry.second.empty(); });
}

void Reads::expire_list(std::vector<Waiter>& list, Instant now, const Error& late) {
  std::vector<Waiter> keep, over;
  for (auto& w : list) {
    const bool ended = w.gives_up <= now || context_.leaderless() || (w.deadline && *w.deadline <= now);
    (ended ? over : keep).push_back(std::move(w));
  }
  list = std::move(keep);
  for (auto& w : over) {
    const bool deadline = w.deadline && *w.deadline <= now;
    w.done(deadline ? Error{Code::kDeadline, "the deadline passed before the read was confirmed"} : late);
  }
}

void Reads::end_all(const Error& error) { end(error, false); }
void Reads::end_asked(const Error& error) { end(error, true); }

void Reads::end(const Error& error, bool asked_only) {
  std::vector<Waiter> all;
  auto gather = [&all, asked_only](std::vector<Waiter>& list) {
    const auto from = std::stable_partition(list.begin(), list.end(), [&](const Waiter& w) { return asked_only && !w.need_applied; });
    std::move(from, list.end(), std::back_inserter(all));
    list.erase(from, list.end());
  };
  gather(arrived_);
  gather(lost_);
  for (auto& [id, list] : rounds_) gather(list);
  for (auto& [index, list] : by_index_) gather(list);
  drop_empty();
  for (auto& w : all) w.done(error);
}

}  // namespace leeward::node
