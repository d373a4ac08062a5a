// An ordered key-value store with families, atomic batches and snapshots: what
// the state machine stands on. kv implements it over RocksDB, and in memory
// for the simulator (which loses unflushed batches at a crash, as RocksDB
// without its own log does).
//
// write() belongs to one loop; everything else is for any thread, one
// checkpoint() at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace leeward {

enum class Family : std::uint8_t { kHead, kHist, kRev, kLease, kAuth, kMeta };
inline constexpr int kFamilies = 6;

// Applied whole or not at all, also across a crash, over all families.
class Batch {
 public:
  struct Change {
    Family family;
    std::string key;
    std::optional<std::string> value;  // nullopt: removed
  };
  void put(Family family, std::string key, std::string value) {
    changes_.push_back({family, std::move(key), std::move(value)});
  }
  void remove(Family family, std::string key) { changes_.push_back({family, std::move(key), std::nullopt}); }
  const std::vector<Change>& changes() const { return changes_; }
  void clear() { changes_.clear(); }

 private:
  std::vector<Change> changes_;
};

// Walks one family in key order. A view stays good until the next move.
class Iterator {
 public:
  virtual ~Iterator() = default;
  virtual void seek(std::string_view key) = 0;       // first key >= key
  virtual void seek_for_prev(std::string_view key) = 0;  // last key <= key
  virtual void next() = 0;
  virtual void prev() = 0;
  virtual bool valid() const = 0;
  virtual std::string_view key() const = 0;
  virtual std::string_view value() const = 0;
  virtual Result<void> status() const = 0;
};

// A point in time. Cheap to take; holds space while it lives.
class StoreSnapshot {
 public:
  virtual ~StoreSnapshot() = default;
  virtual Result<std::optional<std::string>> get(Family family, std::string_view key) const = 0;
  virtual std::unique_ptr<Iterator> iterate(Family family) const = 0;
  // The same, of interest below `bound` only: may end there, and then need not
  // pass what was removed behind it. "" is no bound.
  virtual std::unique_ptr<Iterator> iterate_below(Family family, std::string /*bound*/) const { return iterate(family); }
  // The same, for a walk over everything: what others read often stays in memory.
  virtual std::unique_ptr<Iterator> iterate_once(Family family) const { return iterate(family); }
};

class Store {
 public:
  virtual ~Store() = default;
  virtual Result<void> write(const Batch& batch) = 0;
  virtual Result<std::optional<std::string>> get(Family family, std::string_view key) const = 0;
  virtual std::unique_ptr<Iterator> iterate(Family family) const = 0;
  virtual std::shared_ptr<const StoreSnapshot> snapshot() const = 0;
  // Makes everything written so far survive a crash.
  virtual Result<void> flush() = 0;
  // A copy of the flushed whole in a new directory, by hard links where it can.
  // It ends with a whole batch; with which one, when write() goes on meanwhile,
  // only the copy itself tells.
  virtual Result<void> checkpoint(const std::string& directory) = 0;
  // What such a copy holds. Changes nothing in it.
  virtual Result<std::shared_ptr<const StoreSnapshot>> open_checkpoint(const std::string& directory) const = 0;
  virtual std::uint64_t bytes() const = 0;         // on disk, about
  virtual std::uint64_t bytes_in_use() const = 0;  // of live data, about
  virtual Result<void> compact() = 0;              // "defragment"
};

}  // namespace leeward
