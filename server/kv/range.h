// Answers a RangeRequest in two passes over one snapshot: the first counts and
// measures, the second writes. What is small is kept from the first pass.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kv/epochs.h"
#include "kv/requests.h"
#include "kv/scan.h"
#include "ports/state_machine.h"

namespace leeward::kv {

// What a reader must know of the moment it reads at.
struct Moment {
  std::int64_t revision = 1;   // newest at the snapshot; goes into the header
  std::int64_t compacted = 0;
  const Gaps* gaps = nullptr;  // the view's
};

// The encoded RangeResponse of a request whose views and snapshot outlive it.
class RangeRun {
 public:
  RangeRun(const StoreSnapshot& snapshot, const RangeRequest& request, const Moment& moment, std::size_t keep);

  // First pass. Errors: kCompacted, kInvalid (future) with etcd's texts, kCorrupt, kIo.
  Result<void> prepare();
  std::uint64_t size() const { return size_; }
  // The next piece of about `max` bytes appended to `out`; nothing at the end.
  Result<void> next(std::size_t max, std::string& out);

 private:
  struct Item {
    std::int64_t number = 0;  // what is sorted by, when it is a number
    std::string value;        // when it is the value
    std::string key;          // escaped
    std::uint32_t size = 0;   // encoded
  };

  Result<void> prepare_single();
  Result<void> prepare_scan();
  Result<void> prepare_sorted();
  Result<void> next_that_passes();
  bool passes(const Record& record) const;
  bool before(const Item& a, const Item& b) const;
  std::size_t encoded_size(std::string_view key, std::string_view record) const;
  void encode(std::string& out, std::string_view key, std::string_view record) const;
  void begin(std::string& out) const;
  void end(std::string& out) const;
  void finish_sizes(std::uint64_t kvs_bytes);

  const StoreSnapshot& snapshot_;
  RangeRequest request_;
  Moment moment_;
  std::size_t keep_;
  std::int64_t at_ = 0;
  bool sorted_ = false;

  std::uint64_t size_ = 0, selected_ = 0;
  std::int64_t count_ = 0;
  bool more_ = false;

  bool kept_ = false;   // kvs_ holds all of them, encoded
  std::string kvs_;
  std::vector<Item> items_;  // sorted answers only
  // Keys that pass, with few between them that do not: the second pass, on a loop
  // that serves others too, does not look at what lies between runs.
  struct Run {
    std::string first;
    std::uint64_t count;  // that pass
  };
  std::vector<Run> runs_;    // answers in the order of keys only
  std::size_t run_ = 0;      // the next one
  std::uint64_t left_in_run_ = 0;
  std::unique_ptr<RangeScan> scan_;
  std::uint64_t written_ = 0;
  bool begun_ = false, ended_ = false;
};

}  // namespace leeward::kv
