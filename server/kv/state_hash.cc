#include "kv/state_hash.h"

#include <cstring>

#include "base/check.h"
#include "base/codec.h"

namespace leeward::kv {

Sum256 Sum256::of(const Hash& digest) {
  Sum256 out;
  std::memcpy(out.words_.data(), digest.bytes.data(), 32);
  return out;
}

Sum256 Sum256::parse(std::string_view bytes) {
  LEEWARD_CHECK(bytes.size() == 32, "a sum has 32 bytes");
  Sum256 out;
  std::memcpy(out.words_.data(), bytes.data(), 32);
  return out;
}

Sum256& Sum256::operator+=(const Sum256& other) {
  unsigned char carry = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    const auto sum = static_cast<unsigned __int128>(words_[i]) + other.words_[i] + carry;
    words_[i] = static_cast<std::uint64_t>(sum);
    carry = static_cast<unsigned char>(sum >> 64);
  }
  return *this;
}

Sum256& Sum256::operator-=(const Sum256& other) {
  unsigned char borrow = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    const auto difference = static_cast<unsigned __int128>(words_[i]) - other.words_[i] - borrow;
    words_[i] = static_cast<std::uint64_t>(difference);
    borrow = (difference >> 64) != 0 ? 1 : 0;
  }
  return *this;
}

Hash Sum256::hash() const {
  Hash out;
  std::memcpy(out.bytes.data(), words_.data(), 32);
  return out;
}

Sum256 hash_of_record(std::string_view key, Rev rev, std::string_view record) {
  thread_local std::string bytes;
  bytes.clear();
  codec::put_u8(bytes, 'r');
  codec::put_be64(bytes, static_cast<std::uint64_t>(rev.main));
  codec::put_be32(bytes, rev.sub);
  codec::put_be64(bytes, key.size());
  bytes.append(key);
  // The stored form names create and mod revision, version, value and lease,
  // each at most once and in the order of their numbers.
  bytes.append(record);
  return Sum256::of(sha256(bytes));
}

Sum256 hash_of_lease(std::int64_t id, std::int64_t ttl_seconds) {
  std::string bytes;
  codec::put_u8(bytes, 'l');
  codec::put_be64(bytes, static_cast<std::uint64_t>(id));
  codec::put_be64(bytes, static_cast<std::uint64_t>(ttl_seconds));
  return Sum256::of(sha256(bytes));
}

Sum256 hash_of_region_entry(EntryKind kind, HistoryIndex index, std::string_view payload) {
  std::string bytes;
  codec::put_u8(bytes, 't');
  codec::put_u8(bytes, static_cast<std::uint8_t>(kind));
  codec::put_be64(bytes, index.value());
  bytes.append(payload);
  return Sum256::of(sha256(bytes));
}

}  // namespace leeward::kv
