// Which files RocksDB's own manifest names.
#include <rocksdb/db.h>

#include "kv/offline.h"
#include "kv/rocksdb_silent.h"

namespace leeward::kv {
namespace {

Error read_error(const rocksdb::Status& status) {
  return {status.IsCorruption() ? Code::kCorrupt : Code::kIo, status.ToString()};
}

// As FileChecksumGenCrc32c writes it: big-endian.
std::optional<std::uint32_t> parse_crc(const rocksdb::LiveFileMetaData& file) {
  if (file.file_checksum_func_name != "FileChecksumCrc32c" || file.file_checksum.size() != 4) return std::nullopt;
  std::uint32_t crc = 0;
  for (const char c : file.file_checksum) crc = crc << 8 | static_cast<unsigned char>(c);
  return crc;
}

}  // namespace

Result<std::vector<TableFile>> table_files(const Path& directory) {
  rocksdb::DBOptions options;
  options.info_log = silent_logger();
  options.skip_stats_update_on_db_open = true;
  std::vector<std::string> names;
  if (const auto status = rocksdb::DB::ListColumnFamilies(options, directory, &names); !status.ok())
    return read_error(status);
  std::vector<rocksdb::ColumnFamilyDescriptor> families;
  for (const std::string& name : names) families.emplace_back(name, rocksdb::ColumnFamilyOptions{});
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* raw = nullptr;
  if (const auto status = rocksdb::DB::OpenForReadOnly(options, directory, families, &handles, &raw); !status.ok())
    return read_error(status);
  const std::unique_ptr<rocksdb::DB> db(raw);
  std::vector<rocksdb::LiveFileMetaData> live;
  db->GetLiveFilesMetaData(&live);
  for (auto* handle : handles) db->DestroyColumnFamilyHandle(handle);
  std::vector<TableFile> files;
  for (const auto& file : live) {
    std::string name = file.name;
    if (name.starts_with('/')) name.erase(0, 1);
    files.push_back({std::move(name), file.size, parse_crc(file)});
  }
  return files;
}

}  // namespace leeward::kv
