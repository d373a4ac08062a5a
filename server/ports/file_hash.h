// Whole files, a piece in memory at a time. Long work for large ones: the files
// loop, or a start.
#pragma once

#include <algorithm>

#include "base/sha256.h"
#include "base/units.h"
#include "ports/disk.h"

namespace leeward {

// Calls `take(offset, piece)` for each piece of the file's first `size` bytes; it may
// refuse with an error, which ends it. Errors: kIo (it is shorter), those of File.
template <class Take>
Result<void> for_each_piece(const File& file, std::uint64_t size, Take&& take) {
  std::string piece;
  for (std::uint64_t offset = 0; offset < size; offset += piece.size()) {
    piece.clear();
    auto read = file.read(offset, static_cast<std::size_t>(std::min<std::uint64_t>(size - offset, 1_MiB)), piece);
    if (!read.ok()) return read.error();
    if (piece.empty()) return Error{Code::kIo, "a file became shorter while it was read"};
    LEEWARD_TRY(take(offset, std::string_view(piece)));
  }
  return {};
}

inline Result<Hash> hash_file(const File& file, std::uint64_t size) {
  Sha256 hasher;
  hasher.start();
  LEEWARD_TRY(for_each_piece(file, size, [&](std::uint64_t, std::string_view piece) -> Result<void> {
    hasher.add(piece);
    return {};
  }));
  return hasher.finish();
}

}  // namespace leeward
