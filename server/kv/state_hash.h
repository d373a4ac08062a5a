// The state hash: the sum, modulo 2^256, of the SHA-256 of each live record.
// README.md, "State hash", defines the records byte by byte. Because it is a
// sum, a write adds and subtracts a few digests and order does not matter.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "base/entry.h"
#include "base/ids.h"
#include "kv/layout.h"

namespace leeward::kv {

// An integer modulo 2^256, little-endian in memory and on disk.
class Sum256 {
 public:
  Sum256() = default;
  static Sum256 of(const Hash& digest);
  static Sum256 parse(std::string_view bytes);  // 32 bytes

  Sum256& operator+=(const Sum256& other);
  Sum256& operator-=(const Sum256& other);
  bool operator==(const Sum256&) const = default;
  Hash hash() const;
  std::string_view bytes() const { return {reinterpret_cast<const char*>(words_.data()), 32}; }

 private:
  std::array<std::uint64_t, 4> words_{};
};

// A version of a key; "" as record is a deletion.
Sum256 hash_of_record(std::string_view key, Rev rev, std::string_view record);
Sum256 hash_of_lease(std::int64_t id, std::int64_t ttl_seconds);
// The newest entry of a kind about regions (armings, topology, ...). `body`:
// its epoch as be64, then its payload.
Sum256 hash_of_region_entry(EntryKind kind, HistoryIndex index, std::string_view body);

}  // namespace leeward::kv
