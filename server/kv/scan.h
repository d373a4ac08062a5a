// Reading versions of keys: as they stood at a revision, or all of them.
// Works on a snapshot, or on the overlay of a running apply.
#pragma once

#include <functional>
#include <limits>
#include <memory>
#include <string>

#include "kv/layout.h"
#include "ports/store.h"

namespace leeward::kv {

inline constexpr std::int64_t kNewest = std::numeric_limits<std::int64_t>::max();

// What key `escaped` held at `at`; nullopt when it did not exist then. The
// string is the record.
struct Found {
  std::string row;     // owns `record`
  std::size_t skip = 0;
  std::string_view record() const { return std::string_view(row).substr(skip); }
};
Result<std::optional<Found>> find_version(const StoreSnapshot& at_snapshot, std::string_view escaped, std::int64_t at);

// Walks the keys of a range in order, each as it stood at revision `at`.
class RangeScan {
 public:
  // `snapshot` must outlive the scan.
  RangeScan(const StoreSnapshot& snapshot, const KeyRange& range, std::int64_t at);

  // To the next key that existed then. False at the end or at an error.
  bool next();
  Result<void> status() const;
  // Good until next().
  std::string_view escaped_key() const { return escaped_; }
  std::string_view key() const { return key_; }
  std::string_view record() const { return record_; }

 private:
  bool emit(std::string_view escaped, std::string_view record);
  bool next_newest();
  bool next_at();

  EscapedRange range_;
  std::int64_t at_;
  std::unique_ptr<Iterator> head_, hist_;
  enum class Pending { kNothing, kHead } pending_ = Pending::kNothing;
  std::string hist_skip_;  // where hist goes on
  std::string scratch_, from_hist_;
  std::string_view escaped_, key_, record_;
  bool corrupt_ = false;
};

// Every stored version of every key, by key and newest first. `superseded` is
// the main revision of the next newer version, 0 when it is the newest.
struct Version {
  std::string_view key;
  Rev rev;
  std::string_view record;  // "" is a deletion
  std::int64_t superseded = 0;
};
Result<void> for_each_version(const StoreSnapshot& snapshot, const std::function<void(const Version&)>& visit);

}  // namespace leeward::kv
