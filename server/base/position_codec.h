// A Position as it stands in payloads, states and files: index, writes and bytes
// as varints, then the hash.
#pragma once

#include <string>
#include <string_view>

#include "base/codec.h"
#include "base/entry.h"

namespace leeward::codec {

inline void put_position(std::string& out, const Position& p) {
  put_varint(out, p.index.value());
  put_varint(out, p.writes);
  put_varint(out, p.bytes);
  out.append(reinterpret_cast<const char*>(p.hash.bytes.data()), p.hash.bytes.size());
}

// False: cut short. `p` is meaningless then.
inline bool get_position(std::string_view& in, Position& p) {
  std::uint64_t index = 0;
  const bool ok = get_varint(in, index) && get_varint(in, p.writes) && get_varint(in, p.bytes) && get_fixed(in, p.hash.bytes);
  p.index = HistoryIndex(index);
  return ok;
}

}  // namespace leeward::codec
