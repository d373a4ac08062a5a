// The file in which a member keeps history that its group put aside when it
// followed another one (region/entries.h, Ledger; format in README.md,
// "Ledger"). What it holds is proved by the chain hash from the ledger's first
// position to its last, so every member's file is as good as another's.
//
// On the files loop, or wherever calls may block.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/entry.h"
#include "ports/disk.h"
#include "region/entries.h"

namespace leeward::region {

inline constexpr std::string_view kLedgerSuffix = ".ledger";      // of one that is whole
inline constexpr std::string_view kUnfinishedLedger = ".part";    // behind that, until it is
Path ledgers_dir(const Path& data_dir);
std::string ledger_name(Index follow);  // these sort as the indices do
Path ledger_path(const Path& data_dir, const Ledger& ledger);

// Writes beside the name; finish() gives it, durably. A crash before leaves a
// file that the next create() begins anew. Errors: kIo, kNoSpace.
class LedgerWriter {
 public:
  static Result<LedgerWriter> create(Disk& disk, const Path& data_dir, const Lineage& lineage, GroupId group,
                                     const Ledger& ledger);
  // In order; control entries are left out.
  Result<void> add(std::span<const Entry> entries);
  // Errors: kCorrupt when what was added does not lead from one position to the other.
  Result<void> finish();

 private:
  Disk* disk_ = nullptr;
  Path path_;
  Ledger ledger_;
  Position at_;
  std::unique_ptr<File> file_;
  std::uint64_t size_ = 0;
};

class LedgerReader {
 public:
  struct Head {
    Lineage lineage;
    GroupId group;
    Ledger ledger;
  };
  // Errors: kNotFound, kIo, kCorrupt, kNewerFormat.
  static Result<LedgerReader> open(Disk& disk, const Path& path);
  const Head& head() const { return head_; }
  // nullopt behind the last one, which was the ledger's. Errors: kIo, kCorrupt
  // (also for what does not chain).
  Result<std::optional<Entry>> next();

 private:
  Result<std::optional<std::string_view>> record();

  std::unique_ptr<File> file_;
  std::uint64_t offset_ = 0;  // of what comes behind buffer_
  std::shared_ptr<std::string> buffer_;
  std::size_t read_ = 0;      // of buffer_
  Head head_;
  Position at_;
};

}  // namespace leeward::region
