// A Manifest as bytes: in frames between members, and in the file that makes a
// checkpoint complete (these bytes, then their CRC-32C). Any thread.
#pragma once

#include <string>
#include <string_view>

#include "base/codec.h"
#include "base/crc32c.h"
#include "ports/state_machine.h"

namespace leeward {

inline constexpr std::string_view kManifestFile = "leeward-manifest";
inline constexpr std::uint64_t kMaxManifestFiles = 1 << 20;

inline bool plain_file_name(std::string_view name) {
  if (name.empty() || name.size() > 255 || name.front() == '.') return false;
  for (const char c : name)
    if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_'))
      return false;
  return true;
}

inline std::string encode(const Manifest& m) {
  std::string out;
  const auto put_hash = [&](const Hash& hash) {
    out.append(reinterpret_cast<const char*>(hash.bytes.data()), hash.bytes.size());
  };
  const LogPoint& point = m.state.point;
  codec::put_bytes(out, m.id);
  codec::put_varint(out, point.index.value());
  codec::put_varint(out, point.term.value());
  codec::put_varint(out, point.position.index.value());
  put_hash(point.position.hash);
  codec::put_varint(out, point.position.writes);
  codec::put_varint(out, point.position.bytes);
  codec::put_varint(out, m.state.epoch.value());
  codec::put_u64(out, static_cast<std::uint64_t>(m.state.revision.value()));
  codec::put_u64(out, static_cast<std::uint64_t>(m.state.compacted.value()));
  put_hash(m.state.state_hash);
  codec::put_bytes(out, m.membership);
  codec::put_varint(out, m.files.size());
  for (const StateFile& f : m.files) {
    codec::put_bytes(out, f.name);
    codec::put_varint(out, f.size);
    put_hash(f.hash);
  }
  return out;
}

// Refuses file names that could leave the directory.
inline Result<Manifest> decode_manifest(std::string_view in) {
  const Error malformed{Code::kCorrupt, "a malformed manifest"};
  Manifest m;
  LogPoint& point = m.state.point;
  std::string_view id, membership;
  std::uint64_t index, term, history, epoch, revision, compacted, files;
  if (!codec::get_bytes(in, id) || !codec::get_varint(in, index) || !codec::get_varint(in, term) ||
      !codec::get_varint(in, history) || !codec::get_fixed(in, point.position.hash.bytes) ||
      !codec::get_varint(in, point.position.writes) || !codec::get_varint(in, point.position.bytes) ||
      !codec::get_varint(in, epoch) || !codec::get_u64(in, revision) || !codec::get_u64(in, compacted) ||
      !codec::get_fixed(in, m.state.state_hash.bytes) || !codec::get_bytes(in, membership) ||
      !codec::get_varint(in, files) || files > kMaxManifestFiles)
    return malformed;
  m.id = id;
  m.membership = membership;
  point.index = Index(index);
  point.term = Term(term);
  point.position.index = HistoryIndex(history);
  m.state.epoch = Epoch(epoch);
  m.state.revision = Revision(static_cast<std::int64_t>(revision));
  m.state.compacted = Revision(static_cast<std::int64_t>(compacted));
  for (std::uint64_t i = 0; i < files; ++i) {
    StateFile f;
    std::string_view name;
    if (!codec::get_bytes(in, name) || !codec::get_varint(in, f.size) || !codec::get_fixed(in, f.hash.bytes))
      return malformed;
    f.name = name;
    if (!plain_file_name(name)) return Error{Code::kCorrupt, "a manifest names the file '" + f.name + "'"};
    m.files.push_back(std::move(f));
  }
  if (!in.empty() || m.id.empty()) return malformed;
  return m;
}

inline std::string encode_manifest_file(const Manifest& manifest) {
  std::string out = encode(manifest);
  codec::put_u32(out, crc32c(out));
  return out;
}

inline Result<Manifest> decode_manifest_file(std::string_view bytes) {
  if (bytes.size() < 4) return Error{Code::kCorrupt, "a manifest is cut short"};
  std::string_view tail = bytes.substr(bytes.size() - 4);
  std::uint32_t crc = 0;
  codec::get_u32(tail, crc);
  bytes.remove_suffix(4);
  if (crc32c(bytes) != crc) return Error{Code::kCorrupt, "a manifest fails its checksum"};
  return decode_manifest(bytes);
}

}  // namespace leeward
