// Little-endian fixed and varint encoding for our own formats. Writers append
// to a string; readers take from the front of a view and say false when the
// input is too short or malformed, leaving the view unspecified.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace leeward::codec {

static_assert(std::endian::native == std::endian::little);

inline void put_u8(std::string& out, std::uint8_t v) { out.push_back(static_cast<char>(v)); }
inline void put_u32(std::string& out, std::uint32_t v) { out.append(reinterpret_cast<const char*>(&v), 4); }
inline void put_u64(std::string& out, std::uint64_t v) { out.append(reinterpret_cast<const char*>(&v), 8); }
inline void put_be64(std::string& out, std::uint64_t v) { put_u64(out, __builtin_bswap64(v)); }
inline void put_be32(std::string& out, std::uint32_t v) { put_u32(out, __builtin_bswap32(v)); }

inline void put_varint(std::string& out, std::uint64_t v) {
  while (v >= 0x80) {
    out.push_back(static_cast<char>(v | 0x80));
    v >>= 7;
  }
  out.push_back(static_cast<char>(v));
}

inline std::size_t varint_size(std::uint64_t v) { return (std::bit_width(v | 1) + 6) / 7; }

// A length-prefixed run of bytes.
inline void put_bytes(std::string& out, std::string_view v) {
  put_varint(out, v.size());
  out.append(v);
}

inline bool get_u8(std::string_view& in, std::uint8_t& v) {
  if (in.empty()) return false;
  v = static_cast<std::uint8_t>(in.front());
  in.remove_prefix(1);
  return true;
}
template <class T>
inline bool get_fixed(std::string_view& in, T& v) {
  if (in.size() < sizeof(T)) return false;
  std::memcpy(&v, in.data(), sizeof(T));
  in.remove_prefix(sizeof(T));
  return true;
}
inline bool get_u32(std::string_view& in, std::uint32_t& v) { return get_fixed(in, v); }
inline bool get_u64(std::string_view& in, std::uint64_t& v) { return get_fixed(in, v); }
inline bool get_be64(std::string_view& in, std::uint64_t& v) {
  if (!get_fixed(in, v)) return false;
  v = __builtin_bswap64(v);
  return true;
}
inline bool get_be32(std::string_view& in, std::uint32_t& v) {
  if (!get_fixed(in, v)) return false;
  v = __builtin_bswap32(v);
  return true;
}

inline bool get_varint(std::string_view& in, std::uint64_t& v) {
  v = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    std::uint8_t byte;
    if (!get_u8(in, byte)) return false;
    if (shift == 63 && byte > 1) return false;
    v |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) return true;
  }
  return false;
}

inline bool get_bytes(std::string_view& in, std::string_view& v) {
  std::uint64_t size;
  if (!get_varint(in, size) || size > in.size()) return false;
  v = in.substr(0, size);
  in.remove_prefix(size);
  return true;
}

}  // namespace leeward::codec
