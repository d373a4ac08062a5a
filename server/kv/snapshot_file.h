// A state as one file: SNAPSHOT.md has the format, and says what reading one
// proves and how one is restored. Each object: one thread at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/sha256.h"
#include "kv/offline.h"
#include "kv/view.h"
#include "ports/clock.h"
#include "ports/disk.h"
#include "ports/log.h"
#include "ports/state_machine.h"
#include "ports/store.h"

namespace leeward::kv {

// All rows of a snapshot in the order of the file.
class RowWalk {
 public:
  // `rows` must outlive it.
  explicit RowWalk(const StoreSnapshot& rows);
  bool valid() const { return at_ != nullptr; }
  void next();
  Family family() const { return family_; }  // the next three: while valid()
  std::string_view key() const { return at_->key(); }
  std::string_view value() const { return at_->value(); }
  Result<void> status() const { return status_; }

 private:
  void settle();

  const StoreSnapshot& rows_;
  std::unique_ptr<Iterator> one_, other_;  // the latter is hist, beside head
  Iterator* at_ = nullptr;
  Family family_ = Family::kHead;
  int section_ = 0;
  Result<void> status_;
};

// A snapshot of the store as it is sent.
class SnapshotWriter final : public StateCopy {
 public:
  SnapshotWriter(std::shared_ptr<const View> view, CopyNote note);

  Revision revision() const override { return view_->state.revision; }
  Result<bool> measure(std::size_t max) override;
  std::uint64_t size() const override { return size_; }
  Result<Bytes> next(std::size_t max) override;

 private:
  enum class Part { kMeasure, kHead, kRows, kDigest, kDone };
  // One block of rows, or only its size where `body` is null.
  Result<std::uint64_t> block_of_rows(std::string* body);
  Result<std::string> head() const;
  Result<void> stage();

  std::shared_ptr<const View> view_;
  const CopyNote note_;
  std::unique_ptr<RowWalk> walk_;
  Part part_ = Part::kMeasure;
  std::uint64_t size_ = 0, rows_ = 0, measured_rows_ = 0, made_ = 0;
  Sha256 digest_;
  Bytes staged_;
  std::size_t given_ = 0;
};

// What a file says of itself, and what its rows come to.
struct SnapshotReport {
  CopyNote note;
  AppliedState state;
  std::string numbers;  // that row
  std::uint64_t size = 0, rows = 0, keys = 0, versions = 0, leases = 0;
  Hash digest;          // of the file, as its last 32 bytes have it
};

using RowSink = std::function<Result<void>(Family family, std::string_view key, std::string_view value)>;
using BytesSeen = std::function<void(std::uint64_t bytes, std::uint64_t of)>;  // each few MiB

// Reads and checks all of it; `sink` is given each row before all is checked. Errors: kCorrupt, naming
// file and offset; kNewerFormat; kNotFound; those of the disk and of `sink`.
Result<SnapshotReport> read_snapshot(Disk& disk, const Path& path, const RowSink& sink = {}, const BytesSeen& seen = {});

// What goes on from the restored state: the first entry of the log behind it, and
// what its group is, as node encodes it.
struct RestoredBeginning {
  Entry entry;  // index 1
  std::string group_state;
};

// Fills `store`, which is empty, with the file's rows, holds them against one
// another, applies the first entry and makes it durable. Errors: those of
// read_snapshot, of `begin`, of the store. `checked`: rows, each half a million.
Result<AppliedState> restore_snapshot(Disk& disk, const Path& path, std::unique_ptr<Store> store,
                                      const std::function<Result<RestoredBeginning>(const SnapshotReport&)>& begin,
                                      const Clock& clock, Log& log, const BytesSeen& seen = {}, const RowsSeen& checked = {});

}  // namespace leeward::kv
