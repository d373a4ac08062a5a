// The superblock in one file of four copies; format and the reason for two
// pairs and a quorum of two: FORMAT.md. wal loop or start only.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "base/format.h"
#include "ports/disk.h"
#include "ports/superblock.h"

namespace leeward::wal {

inline constexpr int kSuperblockCopies = 4;
inline constexpr std::size_t kSuperblockCopyBytes = 4096;

class SuperblockFile final : public Superblock {
 public:
  // Makes the file in `directory`, durable when it returns. Errors: kExists, kInvalid, kNoSpace, kIo.
  static Result<std::unique_ptr<SuperblockFile>> create(Disk& disk, const Path& directory, const SuperblockData& data);
  // Reads it, mends copies that differ and cuts off what stands behind them. Errors: kNotFound, kCorrupt (fewer
  // than two valid copies agree), kNewerFormat (a directory of a format above `newest_format`; nothing is mended then), kIo.
  static Result<std::unique_ptr<SuperblockFile>> open(Disk& disk, const Path& directory, std::uint32_t newest_format = kNewestFormat);

  const SuperblockData& data() const override { return data_; }
  // kInvalid when it does not fit a copy. kNoSpace may be tried again; any other
  // error is final, as a failed sync is.
  Result<void> write(const SuperblockData& data) override;
  // Copies that open() found damaged or outdated, and wrote anew.
  int mended() const { return mended_; }

 private:
  SuperblockFile(std::unique_ptr<File> file, Path path) : file_(std::move(file)), path_(std::move(path)) {}
  Result<void> write_pair(int pair, const SuperblockData& data);

  std::unique_ptr<File> file_;
  Path path_;
  SuperblockData data_;
  int mended_ = 0;
  int whole_pair_ = 1;            // certainly durable and equal; the other one is written first
  std::uint64_t attempts_ = 0;    // newest sequence that may stand in a copy
  bool poisoned_ = false;
};

// One copy as it stands, for the offline tools: `fault` says what is wrong with it.
struct SuperblockCopy {
  std::string fault;
  Code code = Code::kCorrupt;  // of the fault
  SuperblockData data;
  bool valid() const { return fault.empty(); }
};
struct SuperblockReading {
  std::array<SuperblockCopy, kSuperblockCopies> copies;
  int current = -1;  // a copy of the newest quorum; -1: none
  std::uint64_t behind = 0;  // bytes behind the last copy, which are nobody's
  // Whether the copy belongs to that quorum.
  bool counts(std::size_t copy) const {
    return current >= 0 && copies[copy].valid() && copies[copy].data == copies[static_cast<std::size_t>(current)].data;
  }
};
Path superblock_path(const Path& directory);
// Reads without changing anything. Errors: kNotFound, kIo.
Result<SuperblockReading> read_superblock(Disk& disk, const Path& directory);
// What to say of a reading without a current copy. kCorrupt, kNewerFormat.
Error no_quorum(const SuperblockReading& reading, const Path& path);

}  // namespace leeward::wal
