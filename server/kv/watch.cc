#include "kv/watch.h"

#include <algorithm>

#include "base/check.h"

namespace leeward::kv {
namespace {

constexpr const char* kStopped = "etcdserver: server stopped";
constexpr std::size_t kKeptBeside = 64_KiB;  // of a revision, by what is taken of it

// The record that row (rev, kind) of rev names; nullopt when compaction has taken it.
Result<std::optional<Found>> find_exact(const StoreSnapshot& snapshot, std::string_view escaped_key, Rev rev) {
  auto head = snapshot.get(Family::kHead, escaped_key);
  if (!head.ok()) return head.error();
  if (*head) {
    std::uint32_t sub;
    std::string_view wire;
    Record record;
    if (!parse_head(**head, sub, wire) || !parse_record(wire, record))
      return Error{Code::kCorrupt, "state store: a row of head cannot be read"};
    if (record.mod == rev.main && sub == rev.sub) {
      const std::size_t skip = (*head)->size() - wire.size();
      return std::optional<Found>(Found{std::move(**head), skip});
    }
  }
  auto hist = snapshot.get(Family::kHist, hist_key(escaped_key, rev));
  if (!hist.ok()) return hist.error();
  if (!*hist) return std::optional<Found>();
  return std::optional<Found>(Found{std::move(**hist), 0});
}

}  // namespace

class WatchHub::Handle final : public Watcher {
 public:
  Handle(std::shared_ptr<WatchHub> hub, std::unique_ptr<State> state) : hub_(std::move(hub)), state_(std::move(state)) {}
  ~Handle() override { hub_->forget(*state_); }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  std::optional<WatchEvents> poll(std::size_t max_bytes) override { return hub_->poll(*state_, max_bytes); }
  Revision synced() const override {
    // Read before the queue: what was handed out up to it is then in the queue.
    const std::int64_t published = hub_->revision_.load(std::memory_order_acquire);
    const std::lock_guard lock(state_->mutex);
    if (!state_->queue.empty()) return Revision(state_->queue.front().group->main() - 1);
    return Revision(state_->live ? std::max(state_->next - 1, published) : state_->next - 1);
  }

 private:
  std::shared_ptr<WatchHub> hub_;
  std::unique_ptr<State> state_;
};

WatchHub::WatchHub(std::shared_ptr<Published> published, const Clock& clock, const WatchOptions& options)
    : published_(std::move(published)), clock_(clock), options_(options), revision_(1) {}

// --- the core loop's side ---

void WatchHub::publish(std::int64_t revision, std::vector<std::shared_ptr<const Revisions>> events, bool captured) {
  if (!captured && !wanted()) {
    // Nobody watches: keep only the place. A watch() that comes now sees the
    // new view, or finds itself below `revision` and catches up.
    const std::lock_guard lock(mutex_);
    if (all_.empty()) {
      ring_.clear();
      ring_bytes_ = 0;
      revision_.store(revision, std::memory_order_release);
      return;
    }
  }
  const std::lock_guard lock(mutex_);
  std::vector<State*> wake;
  if (captured) {
    const Instant now = clock_.now();
    for (auto& group : events) {
      deliver(group, now, wake);
      ring_bytes_ += group->bytes();
      ring_.push_back(std::move(group));
    }
    while (!ring_.empty() && ring_bytes_ > options_.ring_bytes) {
      ring_bytes_ -= ring_.front()->bytes();
      ring_.pop_front();
    }
  } else {
    // Their events were not kept: they came when this batch had begun.
    const std::int64_t first_missing = revision_.load(std::memory_order_relaxed) + 1;
    if (revision >= first_missing)
      for (const auto& [id, state] : all_) demote(*state, first_missing, wake);
    ring_.clear();
    ring_bytes_ = 0;
  }
  revision_.store(revision, std::memory_order_release);
  for (State* state : wake) state->ready();
}

void WatchHub::cancel_starts_in_gaps(const Gaps& gaps) {
  const std::lock_guard lock(mutex_);
  std::vector<State*> wake;
  for (const auto& [id, state] : all_) {
    const std::lock_guard own(state->mutex);
    // Those that catch up find it out themselves.
    const std::int64_t until = end_of_gap_for_watch(&gaps, state->next);
    if (!state->live || until == 0) continue;
    delist(*state);
    state->live = false;
    state->ended = true;
    state->compacted = until;
    if (std::exchange(state->armed, false)) wake.push_back(state);
  }
  for (State* state : wake) state->ready();
}

void WatchHub::reset(std::int64_t revision) {
  const std::lock_guard lock(mutex_);
  std::vector<State*> wake;
  const std::int64_t next = revision_.load(std::memory_order_relaxed) + 1;
  for (const auto& [id, state] : all_) demote(*state, next, wake);
  ring_.clear();
  ring_bytes_ = 0;
  revision_.store(revision, std::memory_order_release);
  for (State* state : wake) state->ready();
}

void WatchHub::deliver(const std::shared_ptr<const Revisions>& group, Instant now, std::vector<State*>& wake) {
  std::vector<State*> touched;
  const auto stage = [&](State* state, std::size_t i) {
    if (group->main() < state->next || !state->passes(*group, i)) return;
    if (!state->staged.group) {
      state->staged.group = group;
      touched.push_back(state);
    }
    state->staged.which.push_back(static_cast<std::uint32_t>(i));
    state->staged.bytes += group->encoded(i, i + 1, state->request.prev_kv).size();
  };
  for (std::size_t i = 0; i < group->size(); ++i) {
    const std::string_view key = group->key(i);
    if (const auto it = by_key_.find(key); it != by_key_.end())
      for (State* state : it->second) stage(state, i);
    by_range_.visit(key, [&](State* state) { stage(state, i); });
  }
  for (State* state : touched) {
    Item item = std::exchange(state->staged, {});
    item.applied = now;
    item.all = item.which.size() == group->size();
    if (item.all) item.which = {};
    std::unique_lock lock(state->mutex);
    if (!state->queue.empty() && state->held_bytes + item.held() > options_.watcher_bytes) {
      // Too slow to be fed: it reads this revision again by itself.
      lock.unlock();
      demote(*state, group->main(), wake);
      continue;
    }
    enqueue(*state, std::move(item));
    state->next = group->main() + 1;
    if (std::exchange(state->armed, false)) wake.push_back(state);
  }
}

void WatchHub::enqueue(State& state, Item item) {
  state.held_bytes += item.held();
  queued_.fetch_add(item.count() - item.given, std::memory_order_relaxed);
  state.queue.push_back(std::move(item));
}

void WatchHub::dequeue(State& state) {
  const Item& item = state.queue.front();
  state.held_bytes -= item.held();
  queued_.fetch_sub(item.count() - item.given, std::memory_order_relaxed);
  state.queue.pop_front();
}

std::uint64_t WatchHub::backlog() {
  std::uint64_t sum = queued_.load(std::memory_order_relaxed);
  const std::lock_guard lock(mutex_);
  const std::int64_t revision = revision_.load(std::memory_order_relaxed);
  for (State* state : behind_) {
    const std::lock_guard own(state->mutex);
    if (!state->ended && revision >= state->next) sum += static_cast<std::uint64_t>(revision - state->next + 1);
  }
  return sum;
}

void WatchHub::demote(State& state, std::int64_t next, std::vector<State*>& wake) {
  const std::lock_guard lock(state.mutex);
  if (!state.live) return;
  delist(state);
  behind_.insert(&state);
  state.live = false;
  state.next = std::max(state.next, next);
  if (std::exchange(state.armed, false)) wake.push_back(&state);
}

void WatchHub::enlist(State& state) {
  if (state.single())
    by_key_[state.request.key].push_back(&state);
  else
    by_range_.insert(state.bounds, &state);
}

void WatchHub::delist(State& state) {
  if (!state.single()) return by_range_.remove(state.bounds, &state);
  const auto it = by_key_.find(state.request.key);
  if (it == by_key_.end()) return;
  std::erase(it->second, &state);
  if (it->second.empty()) by_key_.erase(it);
}

// --- the watchers' side ---

Result<std::unique_ptr<Watcher>> WatchHub::watch(const WatchRequest& request, std::function<void()> ready) {
  auto state = std::make_unique<State>();
  state->request = request;
  if (state->request.key.empty()) state->request.key.assign(1, '\0');  // the smallest key, as in etcd
  state->ready = std::move(ready);
  const std::string& end = request.range_end;
  state->bounds = {state->request.key, end, end.size() == 1 && end[0] == '\0'};
  state->told = clock_.now();

  bool must_poll = false;
  {
    const std::lock_guard lock(mutex_);
    const auto view = published_->get();
    if (!view) return Error{Code::kUnavailable, kStopped};
    state->id = ++last_id_;
    state->next = request.start.value() != 0 ? request.start.value() : view->state.revision.value() + 1;
    all_.emplace(state->id, state.get());
    count_.fetch_add(1, std::memory_order_relaxed);
    if (state->next > revision_.load(std::memory_order_relaxed)) {
      state->live = state->armed = true;
      enlist(*state);
    } else {
      behind_.insert(state.get());
      must_poll = true;
    }
  }
  State* const raw = state.get();
  auto handle = std::make_unique<Handle>(shared_from_this(), std::move(state));
  if (must_poll) raw->ready();
  return std::unique_ptr<Watcher>(std::move(handle));
}

void WatchHub::forget(State& state) {
  const std::lock_guard lock(mutex_);
  if (state.live) delist(state);
  behind_.erase(&state);
  {
    const std::lock_guard own(state.mutex);
    while (!state.queue.empty()) dequeue(state);
  }
  all_.erase(state.id);
  count_.fetch_sub(1, std::memory_order_relaxed);
}

std::optional<WatchEvents> WatchHub::poll(State& state, std::size_t max_bytes) {
  for (;;) {
    {
      const std::lock_guard lock(state.mutex);
      if (!state.queue.empty()) return take(state, max_bytes);
      if (state.ended) {
        if (!std::exchange(state.told_end, true)) return end_of(state);
        return std::nullopt;
      }
      if (state.live) {
        state.armed = true;
        const Instant now = clock_.now();
        if (!state.request.progress_notify || now - state.told < options_.progress_interval) return std::nullopt;
        state.told = now;
        WatchEvents progress;
        progress.progress = true;
        // A watch of a future start stands at no revision that does not exist yet:
        // whoever resumed after it would miss what comes before.
        const std::int64_t there = std::max(state.next - 1, revision_.load(std::memory_order_acquire));
        const auto view = published_->get();
        progress.revision = Revision(view ? std::min(there, view->state.revision.value()) : there);
        return progress;
      }
    }
    switch (catch_up(state)) {
      case Step::kLive:
      case Step::kQueued: continue;
      case Step::kMore: state.ready(); return std::nullopt;
      case Step::kEnded: continue;
    }
  }
}

WatchEvents WatchHub::end_of(const State& state) const {
  WatchEvents end;
  end.revision = Revision(revision_.load(std::memory_order_acquire));
  end.cancel_reason = state.compacted ? texts::kCompacted : kStopped;
  if (state.compacted) end.compacted = Revision(state.compacted);
  return end;
}

std::optional<WatchEvents> WatchHub::take(State& state, std::size_t max_bytes) {
  const bool with_previous = state.request.prev_kv;
  WatchEvents out;
  Item& first = state.queue.front();
  const std::size_t fragment_limit =
      state.request.fragment && state.request.fragment_bytes > 0 ? state.request.fragment_bytes : ~std::size_t{0};
  out.revision = Revision(first.group->main());
  out.applied = first.applied;
  state.told = clock_.now();

  if (first.given > 0 || first.bytes > fragment_limit) {
    std::string bytes;
    while (first.given < first.count()) {
      const std::size_t i = first.index(first.given);
      const std::string_view event = first.group->encoded(i, i + 1, with_previous);
      if (!bytes.empty() && bytes.size() + event.size() > fragment_limit) break;
      bytes.append(event);
      ++first.given;
      ++out.count;
    }
    queued_.fetch_sub(out.count, std::memory_order_relaxed);
    out.events = Bytes(std::move(bytes));
    out.fragment = first.given < first.count();
    if (!out.fragment) dequeue(state);
    return out;
  }

  const bool alone = state.queue.size() == 1 || first.bytes + state.queue[1].bytes > max_bytes;
  const bool small_part = first.bytes + kKeptBeside < first.group->bytes();
  if (alone && (first.all || first.which.size() == 1) && !small_part) {
    // Shared with every other watcher that gets the same; keeps the revision in
    // memory until it is sent.
    const std::size_t from = first.index(0), to = first.all ? first.count() : from + 1;
    out.count = static_cast<std::uint32_t>(to - from);
    out.events = Bytes(first.group, first.group->encoded(from, to, with_previous));
    dequeue(state);
    return out;
  }
  std::string bytes;
  do {
    const Item& item = state.queue.front();
    if (!bytes.empty() && (bytes.size() + item.bytes > max_bytes || item.bytes > fragment_limit)) break;
    if (item.all) {
      bytes.append(item.group->encoded(0, item.count(), with_previous));
    } else {
      for (const std::uint32_t i : item.which) bytes.append(item.group->encoded(i, i + 1, with_previous));
    }
    out.count += static_cast<std::uint32_t>(item.count());
    out.revision = Revision(item.group->main());
    dequeue(state);
  } while (!state.queue.empty());
  out.events = Bytes(std::move(bytes));
  return out;
}

// --- catching up: on the watcher's loop ---

WatchHub::Step WatchHub::catch_up(State& state) {
  std::vector<std::shared_ptr<const Revisions>> groups;
  std::shared_ptr<const View> view;
  {
    const std::lock_guard lock(mutex_);
    view = published_->get();
    const std::int64_t until = view ? end_of_gap_for_watch(view->gaps.get(), state.next) : 0;
    if (!view || until != 0 || state.next < view->state.compacted.value()) {
      const std::lock_guard own(state.mutex);
      state.ended = true;
      state.compacted = !view ? 0 : std::max(until, view->state.compacted.value());
      return Step::kEnded;
    }
    if (state.next > revision_.load(std::memory_order_relaxed)) {
      const std::lock_guard own(state.mutex);
      state.live = true;
      behind_.erase(&state);
      enlist(state);
      return Step::kLive;
    }
    if (!ring_.empty() && ring_.front()->main() <= state.next) {
      std::size_t bytes = 0;
      auto it = std::lower_bound(ring_.begin(), ring_.end(), state.next,
                                 [](const auto& group, std::int64_t next) { return group->main() < next; });
      for (; it != ring_.end() && bytes < options_.step_bytes && groups.size() < options_.step_rows; ++it) {
        bytes += (*it)->bytes();
        groups.push_back(*it);
      }
    }
  }
  if (groups.empty()) return read_store(state, *view);
  queue_matching(state, groups);
  const std::lock_guard own(state.mutex);
  state.next = groups.back()->main() + 1;
  return state.queue.empty() ? Step::kMore : Step::kQueued;
}

void WatchHub::queue_matching(State& state, const std::vector<std::shared_ptr<const Revisions>>& groups) {
  const KeyRange range{state.request.key, state.request.range_end};
  for (const auto& group : groups) {
    if (group->main() < state.next) continue;
    Item item;
    for (std::size_t i = 0; i < group->size(); ++i) {
      if (!range.contains(group->key(i)) || !state.passes(*group, i)) continue;
      item.which.push_back(static_cast<std::uint32_t>(i));
      item.bytes += group->encoded(i, i + 1, state.request.prev_kv).size();
    }
    if (item.which.empty()) continue;
    item.group = group;
    item.all = item.which.size() == group->size();
    if (item.all) item.which = {};
    const std::lock_guard own(state.mutex);
    enqueue(state, std::move(item));
  }
}

WatchHub::Step WatchHub::read_store(State& state, const View& view) {
  const KeyRange range{state.request.key, state.request.range_end};
  const std::int64_t last = view.state.revision.value();
  const std::int64_t compacted = view.state.compacted.value();
  std::vector<std::shared_ptr<const Revisions>> groups;
  std::shared_ptr<Revisions> group;
  std::size_t rows = 0, bytes = 0;
  std::int64_t done = state.next - 1;

  const auto fail = [&](const Error&) {
    const std::lock_guard own(state.mutex);
    state.ended = true;
    return Step::kEnded;
  };
  const auto it = view.snapshot->iterate(Family::kRev);
  for (it->seek(rev_key({state.next, 0})); it->valid(); it->next(), ++rows) {
    const Rev rev = parse_rev_key(it->key());
    if (rev.main != done) {
      // A step ends between two revisions.
      if (group) {
        bytes += group->bytes();
        groups.push_back(std::move(group));
      }
      if (rows >= options_.step_rows || bytes >= options_.step_bytes) break;
      done = rev.main;
    }
    RevRow row;
    if (!parse_rev_row(rev, it->value(), row)) return fail({});
    if (!range.contains(row.key)) continue;
    const bool deletion = row.kind == ChangeKind::kDelete;
    if (deletion ? state.request.no_delete : state.request.no_put) continue;
    const std::string key = escaped(row.key);
    Found record, previous;
    if (!deletion) {
      auto found = find_exact(*view.snapshot, key, rev);
      if (!found.ok()) return fail(found.error());
      if (!*found) {
        // Put and deleted by one transaction at the compacted revision itself.
        if (rev.main == compacted) continue;
        return fail({});
      }
      record = std::move(**found);
    }
    if (state.request.prev_kv && row.kind != ChangeKind::kCreate && rev.main - 1 >= compacted) {
      auto found = find_version(*view.snapshot, key, rev.main - 1);
      if (!found.ok()) return fail(found.error());
      if (*found) previous = std::move(**found);
    }
    if (!group) group = std::make_shared<Revisions>(rev.main);
    group->add(row.key, record.record(), previous.record());
  }
  if (auto status = it->status(); !status.ok()) return fail(status.error());
  if (!it->valid()) done = last;
  if (group) groups.push_back(std::move(group));
  queue_matching(state, groups);
  const std::lock_guard own(state.mutex);
  state.next = std::max(state.next, done + 1);
  return state.queue.empty() ? Step::kMore : Step::kQueued;
}

}  // namespace leeward::kv
