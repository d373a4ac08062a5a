// The watch hub: hands each event to whoever watches its key.
//
// publish() and reset() belong to the apply side; watchers live on any loop,
// each on one. A watcher is live (the hub puts events into its queue), or it
// catches up inside its own poll(): from the ring of recent events, else from
// the store, and becomes live at an exact revision. One that holds more than
// its limit goes back to catching up.
//
// Locks: the hub's, then a watcher's own; `ready` runs under the hub's, so it
// must neither block nor touch a watcher: post, and return.
#pragma once

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "kv/events.h"
#include "kv/interval_tree.h"
#include "kv/view.h"
#include "ports/clock.h"
#include "ports/state_machine.h"

namespace leeward::kv {

struct WatchOptions {
  std::size_t ring_bytes = 32_MiB;
  std::size_t watcher_bytes = 1_MiB;
  std::size_t step_rows = 1024;      // of the store, in one poll()
  std::size_t step_bytes = 256_KiB;
  Duration progress_interval = 10min;  // as etcd
};

class WatchHub : public std::enable_shared_from_this<WatchHub> {
 public:
  WatchHub(std::shared_ptr<Published> published, const Clock& clock, const WatchOptions& options);

  // Whether a batch that starts now must capture its events.
  bool wanted() const { return count_.load(std::memory_order_relaxed) > 0; }
  std::uint64_t count() const { return count_.load(std::memory_order_relaxed); }
  // Events queued and not taken, and the revisions before those that catch up.
  std::uint64_t backlog();

  // The state now stands at `revision`; `events` are those since the last
  // call, if `captured`. After the new view is published.
  void publish(std::int64_t revision, std::vector<std::shared_ptr<const Revisions>> events, bool captured);
  // An epoch has begun: watches that wait for a revision which none will be
  // given end as compacted. Before its events are published.
  void cancel_starts_in_gaps(const Gaps& gaps);
  // The state was replaced as a whole: all catch up from the new one.
  void reset(std::int64_t revision);

  Result<std::unique_ptr<Watcher>> watch(const WatchRequest& request, std::function<void()> ready);

 private:
  class Handle;
  // Events of one revision that a watcher gets: all of the group's, or some.
  struct Item {
    std::shared_ptr<const Revisions> group;
    bool all = false;
    std::vector<std::uint32_t> which;
    std::size_t given = 0;  // of them, in earlier fragments
    std::optional<Instant> applied;  // nullopt: read again
    std::size_t bytes = 0;  // encoded
    // What it keeps in memory: the revision as a whole, however little is taken of it.
    std::size_t held() const { return group->bytes() + sizeof(Item) + which.size() * sizeof(which[0]); }

    std::size_t count() const { return all ? group->size() : which.size(); }
    std::size_t index(std::size_t i) const { return all ? i : which[i]; }
  };
  struct State {
    // Fixed.
    std::uint64_t id = 0;
    WatchRequest request;
    IntervalTree<State*>::Bounds bounds;
    std::function<void()> ready;
    bool single() const { return request.range_end.empty(); }
    bool passes(const Revisions& group, std::size_t i) const {
      return group.deletion(i) ? !request.no_delete : !request.no_put;
    }

    Item staged;  // hub's lock: of the revision being published

    std::mutex mutex;  // for all below; `live` is changed under the hub's too
    bool live = false;
    bool armed = false;           // poll() gave nothing: tell when there is something
    std::deque<Item> queue;
    std::size_t held_bytes = 0;  // of the queue
    std::int64_t next = 0;        // everything below it was queued, or does not concern it
    std::int64_t compacted = 0;   // started below this: to be told
    bool ended = false;
    bool told_end = false;
    Instant told;                 // when it last heard of a revision
  };
  struct KeyHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view key) const { return std::hash<std::string_view>{}(key); }
  };

  // Under the hub's lock:
  void enlist(State& state);
  void delist(State& state);
  void demote(State& state, std::int64_t next, std::vector<State*>& wake);
  void deliver(const std::shared_ptr<const Revisions>& group, Instant now, std::vector<State*>& wake);
  void enqueue(State& state, Item item);  // state's lock held
  void dequeue(State& state);             // likewise

  std::optional<WatchEvents> poll(State& state, std::size_t max_bytes);
  std::optional<WatchEvents> take(State& state, std::size_t max_bytes);  // state's lock held
  WatchEvents end_of(const State& state) const;  // likewise
  enum class Step { kLive, kQueued, kMore, kEnded };
  Step catch_up(State& state);
  void queue_matching(State& state, const std::vector<std::shared_ptr<const Revisions>>& groups);
  Step read_store(State& state, const View& view);
  void forget(State& state);

  const std::shared_ptr<Published> published_;
  const Clock& clock_;
  const WatchOptions options_;
  std::atomic<std::uint64_t> count_{0};
  std::atomic<std::uint64_t> queued_{0};  // events, of all watchers
  std::atomic<std::int64_t> revision_;  // everything up to it was handed to live watchers

  std::mutex mutex_;
  std::uint64_t last_id_ = 0;
  std::map<std::uint64_t, State*> all_;
  std::set<State*> behind_;  // those not live
  std::unordered_map<std::string, std::vector<State*>, KeyHash, std::equal_to<>> by_key_;
  IntervalTree<State*> by_range_;
  std::deque<std::shared_ptr<const Revisions>> ring_;  // without a gap up to revision_
  std::size_t ring_bytes_ = 0;
};

}  // namespace leeward::kv
