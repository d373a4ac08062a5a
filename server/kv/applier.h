// Turns commands into changed rows: the write side of the store of versions.
// One object for one apply batch at a time: begin(), commands, take().
//
// Core loop only. A command either changes everything it should, or nothing
// and returns etcd's text: all checks come before the first change.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/command.h"
#include "base/entry.h"
#include "kv/epochs.h"
#include "kv/events.h"
#include "kv/overlay.h"
#include "kv/range.h"
#include "kv/requests.h"
#include "kv/state_hash.h"
#include "ports/state_machine.h"

namespace leeward::kv {

// What is carried from batch to batch beside the rows; kept in the row of meta.
struct Numbers {
  LogPoint point;
  Epoch epoch{1};
  std::int64_t revision = 1;
  std::int64_t compacted = 0;
  Sum256 hash;                     // of all live records
  Sum256 superseded;               // of all records superseded up to `revision`, since ever
  Sum256 superseded_at_compacted;  // the same at `compacted`
  std::uint64_t keys = 0;
  std::shared_ptr<const Gaps> gaps;        // not in that row: they follow from the EpochChanges

  std::string encode() const;
  static Result<Numbers> decode(std::string_view row);
};

inline constexpr std::int64_t kMinLeaseTtl = 2;  // etcd's at its default election timeout
inline constexpr std::int64_t kMaxLeaseTtl = 9'000'000'000;

class Applier {
 public:
  explicit Applier(const Store& store) : store_(store), overlay_(store) {}

  // `capture`: whether events are wanted.
  void begin(const Numbers& numbers, bool capture);
  // Errors are final: the store's. A client's error is in the result.
  Result<CommandResult> run(const CommandView& command, bool wanted);
  // A history entry about regions: kept as the newest of its kind, EpochChanges
  // all of them. Errors: kCorrupt, kNewerFormat.
  Result<void> region_entry(const Entry& entry);

  Numbers& numbers() { return numbers_; }
  // All changes of the batch but the row of numbers.
  void take(Batch& batch, std::vector<std::shared_ptr<const Revisions>>& events);
  // What was taken last was not written: the same entries come again.
  void refused() { overlay_.forget_heads(); }

 private:
  friend class TxnRun;
  using Answer = std::string*;  // where to append the response; null when nobody waits

  Result<const char*> put(std::string_view wire, Answer answer);
  Result<const char*> delete_range(std::string_view wire, Answer answer);
  Result<const char*> txn(std::string_view wire, Answer answer);
  Result<const char*> compact(std::string_view wire, Answer answer);
  Result<const char*> grant(std::string_view wire, Answer answer);
  Result<const char*> revoke(std::string_view wire, Answer answer);

  // The revision that a read within the running command stands at.
  std::int64_t present() const { return numbers_.revision + (rows_.empty() ? 0 : 1); }
  Result<bool> lease_exists(std::int64_t id) const;
  Result<const char*> check_put(const PutRequest& request) const;
  Result<void> do_put(const PutRequest& request, Answer answer);
  Result<void> do_delete(const DeleteRequest& request, Answer answer);
  Result<void> write(std::string_view key, std::string escaped, std::optional<std::string> old_row, Record record);
  Result<void> erase(std::string_view key, std::string escaped, std::string old_row);
  Result<void> begin_epoch(const Entry& entry);
  void supersede(std::string_view key, std::string_view escaped, Rev old, std::string_view record);
  void note(ChangeKind kind, Rev previous, std::string_view key);
  void finish_command();
  Result<Sum256> superseded_up_to(std::int64_t revision) const;

  const Store& store_;
  Overlay overlay_;
  Numbers numbers_;
  bool capture_ = false;

  struct Row {
    ChangeKind kind;
    Rev previous;
    std::string key;
  };
  std::vector<Row> rows_;                 // of the running command, by sub revision
  std::shared_ptr<Revisions> revisions_;  // its events
  Batch appended_;                        // rows of rev
  std::vector<std::pair<std::int64_t, Sum256>> sums_;  // by main revision, of this batch
  std::vector<std::shared_ptr<const Revisions>> events_;
};

}  // namespace leeward::kv
