#include "node/wal_loop.h"

namespace leeward::node {
namespace {

constexpr Duration kWalFullRetry = 500ms;

}  // namespace

WalLoop::WalLoop(Executor& core, Executor& wal, Clock& clock, LogStore& log, NodeProbe& probe, Persisted persisted,
                 Failed failed)
    : core_(core),
      wal_(wal),
      clock_(clock),
      log_(log),
      probe_(probe),
      persisted_(std::move(persisted)),
      failed_(std::move(failed)) {}

void WalLoop::submit(Batch batch) {
  ++in_flight_;
  submitted_.push_back(clock_.now());
  push({std::move(batch), {}});
}

void WalLoop::run(Function<Function<void()>()> work) {
  ++tasks_in_flight_;
  push({std::nullopt, std::move(work)});
}

std::optional<Duration> WalLoop::stalled(Instant now) const {
  if (submitted_.empty()) return std::nullopt;
  return now - submitted_.front();
}

void WalLoop::push(Item item) {
  bool wake;
  {
    std::lock_guard lock(mutex_);
    inbox_.push_back(std::move(item));
    wake = !std::exchange(wal_woken_, true);
  }
  if (wake) wal_.post([this] { drain(); });
}

void WalLoop::drain() {
  if (broken_) return;
  {
    std::lock_guard lock(mutex_);
    for (auto& item : inbox_) queue_.push_back(std::move(item));
    inbox_.clear();
    wal_woken_ = false;
  }
  if (retrying_) return;  // the disk is full: nothing may pass what is buffered
  std::vector<Done> done;
  while (!queue_.empty()) {
    Item item = std::move(queue_.front());
    queue_.pop_front();
    if (item.batch) {
      auto& b = *item.batch;
      Result<void> result;
      if (!b.entries.empty()) result = log_.append(b.entries);
      if (result.ok() && b.hard_state) result = log_.set_hard_state(*b.hard_state);
      if (!result.ok()) {
        broken_ = true;
        core_.post([this, error = result.error()] { failed_(error); });
        return deliver(std::move(done));
      }
      for (const auto& e : b.entries) buffered_bytes_ += e.payload.size();
      buffered_.push_back({b.token, std::move(b.after_persist), {}});
      continue;
    }
    if (!persist(done)) {
      if (retrying_) queue_.push_front(std::move(item));
      return deliver(std::move(done));
    }
    done.push_back({0, {}, item.work()});
  }
  persist(done);
  deliver(std::move(done));
}

bool WalLoop::persist(std::vector<Done>& done) {
  if (buffered_.empty()) return true;
  const auto started = clock_.now();
  const auto result = log_.sync();
  if (!result.ok()) {
    if (result.error().code != Code::kNoSpace) {
      broken_ = true;
      core_.post([this, error = result.error()] { failed_(error); });
      return false;
    }
    retrying_ = true;
    core_.post([this] { disk_full_ = true; });
    wal_.after(kWalFullRetry, [this] {
      retrying_ = false;
      drain();
    });
    return false;
  }
  probe_.fsync_duration.observe(clock_.now() - started);
  probe_.stage_fsync.observe(clock_.now() - started);
  probe_.syncs.add();
  probe_.sync_bytes.add(std::exchange(buffered_bytes_, 0));
  for (auto& d : buffered_) done.push_back(std::move(d));
  buffered_.clear();
  return true;
}

void WalLoop::deliver(std::vector<Done> done) {
  if (done.empty()) return;
  core_.post([this, done = std::move(done)]() mutable { complete(done); });
}

void WalLoop::complete(std::vector<Done>& done) {
  for (auto& d : done) {
    if (d.token != 0) {
      --in_flight_;
      submitted_.pop_front();
      disk_full_ = false;
      persisted_(d.token, std::move(d.after_persist));
    } else {
      --tasks_in_flight_;
      if (d.then) d.then();
    }
  }
}

}  // namespace leeward::node
