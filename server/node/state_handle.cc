#include "node/state_handle.h"

#include <algorithm>

namespace leeward::node {

// Keeps the state alive as long as the range reads from it.
class StateHandle::RangeOnState final : public RangeReply {
 public:
  RangeOnState(std::shared_ptr<StateMachine> state, std::unique_ptr<RangeReply> range)
      : state_(std::move(state)), range_(std::move(range)) {}
  std::uint64_t size() const override { return range_->size(); }
  Revision revision() const override { return range_->revision(); }
  Result<Bytes> next(std::size_t max) override { return range_->next(max); }

 private:
  std::shared_ptr<StateMachine> state_;
  std::unique_ptr<RangeReply> range_;  // ends before its state
};

// Likewise: the files that it has yet to open go with the state.
class StateHandle::CopyOnState final : public StateCopy {
 public:
  CopyOnState(std::shared_ptr<StateMachine> state, std::unique_ptr<StateCopy> copy) : state_(std::move(state)), copy_(std::move(copy)) {}
  Revision revision() const override { return copy_->revision(); }
  Result<bool> measure(std::size_t max) override { return copy_->measure(max); }
  std::uint64_t size() const override { return copy_->size(); }
  Result<Bytes> next(std::size_t max) override { return copy_->next(max); }

 private:
  std::shared_ptr<StateMachine> state_;
  std::unique_ptr<StateCopy> copy_;  // ends before its state
};

class StateHandle::WatchOnState final : public Watcher {
 public:
  WatchOnState(StateHandle& handle, WatchRequest request, std::shared_ptr<std::function<void()>> ready,
               std::shared_ptr<StateMachine> state, std::size_t times_back, std::unique_ptr<Watcher> watcher)
      : handle_(handle),
        times_back_(times_back),
        request_(std::move(request)),
        ready_(std::move(ready)),
        state_(std::move(state)),
        watcher_(std::move(watcher)) {}

  std::optional<WatchEvents> poll(std::size_t max_bytes) override {
    if (auto now = handle_.current(); now != state_) {
      if (auto ended = move_to(std::move(now))) return ended;
    }
    if (!watcher_) return std::nullopt;
    return watcher_->poll(max_bytes);
  }
  Revision synced() const override { return watcher_ ? watcher_->synced() : synced_; }

 private:
  // Watches on at the first revision not handed out. Returns the end of the
  // watch when the new state refuses it.
  std::optional<WatchEvents> move_to(std::shared_ptr<StateMachine> state) {
    if (watcher_) synced_ = watcher_->synced();
    watcher_.reset();
    state_ = std::move(state);
    if (ended_) return std::nullopt;
    // What its client was told of or had read before it began is no history any
    // more, and those revisions name other events: it must read anew.
    const auto back_to = handle_.back_to_since(times_back_);
    times_back_ = handle_.times_back();
    if (back_to && *back_to < synced_) {
      ended_ = true;
      WatchEvents end;
      end.revision = state_->applied().revision;
      end.compacted = *back_to + 1;
      return end;
    }
    request_.start = synced_ + 1;
    auto next = state_->watch(request_, [ready = ready_] { (*ready)(); });
    if (next.ok()) {
      watcher_ = std::move(*next);
      return std::nullopt;
    }
    ended_ = true;
    WatchEvents end;
    end.revision = state_->applied().revision;
    end.cancel_reason = next.error().message;
    return end;
  }

  StateHandle& handle_;
  std::size_t times_back_;
  WatchRequest request_;
  std::shared_ptr<std::function<void()>> ready_;
  std::shared_ptr<StateMachine> state_;
  std::unique_ptr<Watcher> watcher_;
  Revision synced_;
  bool ended_ = false;
};

void StateHandle::exchange(std::shared_ptr<StateMachine> state, std::optional<Revision> taken_back_to) {
  std::vector<std::shared_ptr<std::function<void()>>> wake;
  std::shared_ptr<StateMachine> old;
  {
    std::lock_guard lock(mutex_);
    old = std::exchange(state_, std::move(state));
    if (taken_back_to) back_to_.push_back(*taken_back_to);
    for (const auto& weak : wake_)
      if (auto ready = weak.lock()) wake.push_back(std::move(ready));
  }
  for (const auto& ready : wake) (*ready)();
}

std::size_t StateHandle::times_back() const {
  std::lock_guard lock(mutex_);
  return back_to_.size();
}

std::optional<Revision> StateHandle::back_to_since(std::size_t n) const {
  std::lock_guard lock(mutex_);
  const auto lowest = std::min_element(back_to_.begin() + static_cast<std::ptrdiff_t>(n), back_to_.end());
  return lowest == back_to_.end() ? std::nullopt : std::optional(*lowest);
}

std::shared_ptr<StateMachine> StateHandle::current() const {
  std::lock_guard lock(mutex_);
  return state_;
}

Result<std::unique_ptr<RangeReply>> StateHandle::range(std::string_view request) {
  auto state = current();
  auto range = state->range(request);
  if (!range.ok()) return range.error();
  return std::unique_ptr<RangeReply>(std::make_unique<RangeOnState>(std::move(state), std::move(*range)));
}

Result<std::unique_ptr<StateCopy>> StateHandle::copy(const CopyNote& note) const {
  auto state = current();
  auto copy = state->copy(note);
  if (!copy.ok()) return copy.error();
  return std::unique_ptr<StateCopy>(std::make_unique<CopyOnState>(std::move(state), std::move(*copy)));
}

Result<std::unique_ptr<Watcher>> StateHandle::watch(const WatchRequest& request, std::function<void()> ready) {
  std::shared_ptr<StateMachine> state;
  std::size_t times_back = 0;
  {
    std::lock_guard lock(mutex_);
    state = state_;
    times_back = back_to_.size();
  }
  auto shared = std::make_shared<std::function<void()>>(std::move(ready));
  auto watcher = state->watch(request, [shared] { (*shared)(); });
  if (!watcher.ok()) return watcher.error();
  {
    std::lock_guard lock(mutex_);
    // Those that have ended go when there are twice as many as were left last
    // time: every read waits for this mutex.
    if (wake_.size() >= forget_at_) {
      std::erase_if(wake_, [](const auto& weak) { return weak.expired(); });
      forget_at_ = std::max(kWakesKept, 2 * wake_.size());
    }
    wake_.push_back(shared);
  }
  return std::unique_ptr<Watcher>(
      std::make_unique<WatchOnState>(*this, request, shared, std::move(state), times_back, std::move(*watcher)));
}

}  // namespace leeward::node
