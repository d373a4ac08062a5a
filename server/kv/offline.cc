#include "kv/offline.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/check.h"
#include "base/codec.h"
#include "base/crc32c.h"
#include "base/units.h"
#include "kv/stores.h"
#include "ports/file_hash.h"

namespace leeward::kv {
namespace {

constexpr std::size_t kChunk = 1_MiB;
constexpr std::size_t kMaxManifest = 64_MiB;
// RocksDB's log format: blocks with records of a 7-byte head.
constexpr std::size_t kBlock = 32_KiB;
constexpr std::size_t kHead = 7;

Result<void> each_chunk(Disk& disk, const Path& path, const std::function<void(std::string_view)>& take) {
  auto file = disk.open(path, OpenMode::kRead);
  if (!file.ok()) return file.error();
  std::string chunk;
  for (std::uint64_t at = 0;; at += chunk.size()) {
    chunk.clear();
    if (auto read = (*file)->read(at, kChunk, chunk); !read.ok()) return read.error();
    if (chunk.empty()) return {};
    take(chunk);
  }
}

Result<Hash> sha256_of(Disk& disk, const Path& path, std::uint64_t size) {
  auto file = disk.open(path, OpenMode::kRead);
  if (!file.ok()) return file.error();
  return hash_file(**file, size);
}

Result<std::uint64_t> size_of(Disk& disk, const Path& path) {
  auto file = disk.open(path, OpenMode::kRead);
  if (!file.ok()) return file.error();
  return (*file)->size();
}

Result<std::string> read_whole(Disk& disk, const Path& path, std::size_t limit) {
  auto file = disk.open(path, OpenMode::kRead);
  if (!file.ok()) return file.error();
  std::string out;
  if (auto read = (*file)->read(0, limit, out); !read.ok()) return read.error();
  return out;
}

// What a fault of the disk itself is, beside a file that is just not there.
bool is_damage(const Error& error) { return error.code == Code::kNotFound || error.code == Code::kCorrupt; }

// RocksDB's checksums are rotated, so that one over another means something.
std::uint32_t unmasked(std::uint32_t stored) {
  const std::uint32_t rotated = stored - 0xa282ead8u;
  return rotated >> 17 | rotated << 15;
}

// Every byte of RocksDB's manifest: RocksDB itself takes a record that reaches
// beyond the end of the file for one that was never finished, and drops it.
std::optional<std::pair<std::uint64_t, std::string>> fault_in_manifest(std::string_view bytes) {
  bool open = false;
  for (std::size_t at = 0; at < bytes.size();) {
    const std::size_t left = kBlock - at % kBlock;
    if (left < kHead) {
      const auto padding = bytes.substr(at, left);
      if (padding.find_first_not_of('\0') != std::string_view::npos) return {{at, "padding that is not zero"}};
      at += left;
      continue;
    }
    if (bytes.size() - at < kHead) return {{at, "the file is cut short in the head of a record"}};
    std::string_view head = bytes.substr(at, kHead);
    std::uint32_t stored = 0;
    codec::get_u32(head, stored);
    const std::size_t length = static_cast<unsigned char>(head[0]) | std::size_t{static_cast<unsigned char>(head[1])} << 8;
    const int type = head[2];
    if (length > left - kHead) return {{at, "a record is damaged"}};
    if (bytes.size() - at - kHead < length) return {{at, "the file is cut short in a record, or its length is damaged"}};
    if (crc32c(bytes.substr(at + kHead - 1, length + 1)) != unmasked(stored)) return {{at, "a record is damaged"}};
    const bool begins = type == 1 || type == 2, ends = type == 1 || type == 4;
    if (type < 1 || type > 4 || begins == open) return {{at, "a record of another kind than belongs here"}};
    open = !ends;
    at += kHead + length;
  }
  if (open || bytes.empty()) return {{bytes.size(), "the file is cut short"}};
  return std::nullopt;
}

// The name of a table file in what RocksDB says, if there is one.
std::string table_in(const std::string& message) {
  const std::size_t end = message.find(".sst");
  if (end == std::string::npos) return {};
  std::size_t begin = end;
  while (begin > 0 && message[begin - 1] >= '0' && message[begin - 1] <= '9') --begin;
  return begin == end ? std::string() : message.substr(begin, end + 4 - begin);
}

class StateCheck {
 public:
  StateCheck(Disk& disk, const Path& directory, bool full_scan, const RowsSeen& seen)
      : disk_(disk), directory_(directory), full_(full_scan), rows_seen_(seen) {}

  Result<StateReport> files() {
    auto names = disk_.list(directory_);
    if (!names.ok()) return names.error();
    names_.insert(names->begin(), names->end());
    LEEWARD_TRY(current());
    if (report_.sound()) LEEWARD_TRY(tables());
    return std::move(report_);
  }

  Result<StateReport> run() {
    auto names = disk_.list(directory_);
    if (!names.ok()) {
      fault("", 0, "the state's directory is missing", Code::kNotFound);
      return std::move(report_);
    }
    names_.insert(names->begin(), names->end());
    LEEWARD_TRY(current());
    if (report_.sound()) LEEWARD_TRY(tables());
    if (report_.sound()) LEEWARD_TRY(rows());
    LEEWARD_TRY(others());
    return std::move(report_);
  }

 private:
  Path path(const std::string& name) const { return name.empty() ? directory_ : directory_ + "/" + name; }
  void fault(const std::string& name, std::uint64_t offset, const std::string& what, Code code = Code::kCorrupt) {
    report_.faults.push_back({path(name), offset, what, code});
  }
  void looked_at(const std::string& name, std::uint64_t bytes) {
    ++report_.files;
    report_.bytes += bytes;
    seen_.insert(name);
  }

  Result<void> current() {
    seen_.insert("CURRENT");
    auto text = read_whole(disk_, path("CURRENT"), 64);
    if (!text.ok() && !is_damage(text.error())) return text.error();
    if (!text.ok()) {
      fault("CURRENT", 0, "the file is missing", Code::kNotFound);
      return {};
    }
    std::string manifest = *text;
    const bool whole = manifest.starts_with("MANIFEST-") && manifest.ends_with('\n');
    if (whole) manifest.pop_back();
    if (!whole || !names_.contains(manifest)) {
      fault("CURRENT", 0, "it names no manifest of this directory: it is damaged, or the manifest is missing");
      return {};
    }
    looked_at("CURRENT", text->size());
    auto bytes = read_whole(disk_, path(manifest), kMaxManifest);
    if (!bytes.ok()) return bytes.error();
    looked_at(manifest, bytes->size());
    if (auto bad = fault_in_manifest(*bytes)) fault(manifest, bad->first, bad->second);
    return {};
  }

  Result<void> tables() {
    auto files = table_files(directory_);
    if (!files.ok()) {
      fault(table_in(files.error().message), 0, "the store does not open: " + files.error().message);
      return {};
    }
    for (const TableFile& file : *files) {
      auto size = size_of(disk_, path(file.name));
      if (!size.ok() && !is_damage(size.error())) return size.error();
      if (!size.ok()) {
        fault(file.name, 0, "the file is missing", Code::kNotFound);
        continue;
      }
      looked_at(file.name, *size);
      if (*size != file.size) {
        fault(file.name, *size, "the file has " + std::to_string(*size) + " bytes, not " + std::to_string(file.size));
      } else if (full_) {
        LEEWARD_TRY(table_bytes(file));
      }
    }
    return {};
  }

  Result<void> table_bytes(const TableFile& file) {
    if (!file.crc) {
      report_.uncovered.push_back({path(file.name), file.size, "written without a checksum of the whole file"});
      return {};
    }
    std::uint32_t crc = 0;
    LEEWARD_TRY(each_chunk(disk_, path(file.name), [&](std::string_view c) { crc = crc32c(c, crc); }));
    if (crc != *file.crc) fault(file.name, 0, "the file fails its checksum");
    return {};
  }

  Result<void> rows() {
    RocksDbOptions options;
    options.read_only = true;
    options.create = false;
    auto store = open_rocksdb_store(directory_, options);
    if (!store.ok()) {
      fault(table_in(store.error().message), 0, store.error().message, store.error().code);
      return {};
    }
    if (full_) return check_rows(*(*store)->snapshot(), directory_, report_, rows_seen_);
    return {};
  }

  // What is neither checked nor known by now.
  Result<void> others() {
    for (const std::string& name : names_) {
      if (seen_.contains(name)) continue;
      auto size = size_of(disk_, path(name));
      if (!size.ok()) continue;  // no file
      if (name.ends_with(".log")) {
        // RocksDB opens one and writes nothing to it: its own log is off.
        if (*size != 0) fault(name, 0, "a write-ahead log of the state store, which this program never writes");
        continue;
      }
      const bool in_use = name.ends_with(".sst") && !report_.sound();
      const char* why = in_use                            ? "not looked at, because of the damage above"
                        : name.ends_with(".sst")          ? "a table file that is not in use; the next start removes it"
                        : name.starts_with("MANIFEST-")   ? "an older manifest; the next start removes it"
                        : name.starts_with("LOG")         ? "messages of the state store, for people"
                        : name.starts_with("OPTIONS-")    ? "a copy of the settings, written at each start and never read"
                        : name == "IDENTITY"              ? "a random name of the store, on which nothing depends"
                        : name == "LOCK"                  ? "empty or a process number; the lock is not in its bytes"
                                                          : "not a file of the state store";
      if (*size > 0) report_.uncovered.push_back({path(name), *size, why});
    }
    return {};
  }

  Disk& disk_;
  const Path directory_;
  const bool full_;
  const RowsSeen& rows_seen_;
  std::set<std::string> names_, seen_;
  StateReport report_;
};

}  // namespace

Result<StateReport> verify_state(Disk& disk, const Path& directory, bool full_scan, const RowsSeen& seen) {
  return StateCheck(disk, directory, full_scan, seen).run();
}

Result<void> check_files(Disk& disk, const Path& directory) {
  auto report = StateCheck(disk, directory, true, {}).files();
  if (!report.ok()) return report.error();
  if (report->sound()) return {};
  const StateFault& first = report->faults.front();
  return Error{Code::kCorrupt, first.file + ": " + first.what};
}

Result<StateReport> verify_checkpoint(Disk& disk, const Path& directory, bool full_scan) {
  StateReport report;
  const Path manifest_path = directory + "/" + std::string(kManifestFile);
  const auto fault = [&](const Path& file, const std::string& what, Code code = Code::kCorrupt) {
    report.faults.push_back({file, 0, what, code});
  };
  auto bytes = read_whole(disk, manifest_path, kMaxManifest);
  if (!bytes.ok() && !is_damage(bytes.error())) return bytes.error();
  if (!bytes.ok()) {
    fault(manifest_path, "the manifest is missing: the checkpoint is incomplete", Code::kNotFound);
    return report;
  }
  auto manifest = decode_manifest_file(*bytes);
  if (!manifest.ok()) {
    fault(manifest_path, manifest.error().message);
    return report;
  }
  report.state = manifest->state;
  report.files = 1;
  report.bytes = bytes->size();
  std::set<std::string> known{std::string(kManifestFile)};
  for (const StateFile& file : manifest->files) {
    const Path path = directory + "/" + file.name;
    known.insert(file.name);
    auto size = size_of(disk, path);
    if (!size.ok() && !is_damage(size.error())) return size.error();
    if (!size.ok()) {
      fault(path, "the file is missing", Code::kNotFound);
      continue;
    }
    ++report.files;
    report.bytes += *size;
    if (*size != file.size) {
      fault(path, "the file has " + std::to_string(*size) + " bytes, not " + std::to_string(file.size));
    } else if (full_scan) {
      auto hash = sha256_of(disk, path, *size);
      if (!hash.ok()) return hash.error();
      if (*hash != file.hash) fault(path, "the file is not the one that the checkpoint's manifest names");
    }
  }
  auto names = disk.list(directory);
  if (!names.ok()) return names.error();
  for (const std::string& name : *names)
    if (!known.contains(name))
      if (auto size = size_of(disk, directory + "/" + name); size.ok() && *size > 0)
        report.uncovered.push_back({directory + "/" + name, *size, "not a file of the checkpoint"});
  return report;
}

}  // namespace leeward::kv
