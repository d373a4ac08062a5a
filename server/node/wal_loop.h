// Hands batches of the core loop to the wal loop and their durability back.
//
// Core loop: everything public. One sync makes all batches durable that wait
// when it begins. Order of completion is order of submission, between batches
// and tasks alike. A full disk keeps everything buffered and tries again; any
// other failed sync is final.
#pragma once

#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <vector>

#include "base/function.h"
#include "base/result.h"
#include "base/units.h"
#include "ports/clock.h"
#include "ports/executor.h"
#include "ports/log_store.h"
#include "ports/status.h"
#include "raft/types.h"

namespace leeward::node {

class WalLoop {
 public:
  struct Batch {
    std::uint64_t token = 0;
    std::vector<Entry> entries;
    std::optional<HardState> hard_state;
    std::vector<raft::Message> after_persist;
  };
  // Called on the core loop for every batch, in order.
  using Persisted = Function<void(std::uint64_t token, std::vector<raft::Message> after_persist)>;
  using Failed = Function<void(const Error&)>;

  WalLoop(Executor& core, Executor& wal, Clock& clock, LogStore& log, NodeProbe& probe, Persisted persisted,
          Failed failed);

  void submit(Batch batch);
  // Runs `work` on the wal loop after all that was submitted, then what it
  // returns on the core loop.
  void run(Function<Function<void()>()> work);

  std::size_t batches_in_flight() const { return in_flight_; }
  bool idle() const { return in_flight_ == 0 && tasks_in_flight_ == 0; }
  // How long the oldest batch has waited to become durable.
  std::optional<Duration> stalled(Instant now) const;
  bool disk_full() const { return disk_full_; }

 private:
  struct Item {
    std::optional<Batch> batch;
    Function<Function<void()>()> work;
  };
  struct Done {
    std::uint64_t token = 0;
    std::vector<raft::Message> after_persist;
    Function<void()> then;
  };

  void push(Item item);
  void drain();                      // wal loop
  bool persist(std::vector<Done>&);  // wal loop: one sync for what is buffered; false: stop here
  void deliver(std::vector<Done> done);
  void complete(std::vector<Done>& done);

  Executor& core_;
  Executor& wal_;
  Clock& clock_;
  LogStore& log_;
  NodeProbe& probe_;
  Persisted persisted_;
  Failed failed_;

  // Core loop.
  std::size_t in_flight_ = 0, tasks_in_flight_ = 0;
  std::deque<Instant> submitted_;  // of batches in flight
  bool disk_full_ = false;

  // Between the loops.
  std::mutex mutex_;
  std::vector<Item> inbox_;
  bool wal_woken_ = false;

  // Wal loop.
  std::deque<Item> queue_;
  std::vector<Done> buffered_;  // appended, not synced
  std::uint64_t buffered_bytes_ = 0;
  bool broken_ = false;
  bool retrying_ = false;
};

}  // namespace leeward::node
