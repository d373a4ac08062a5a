#include <algorithm>
#include <array>
#include <cstdarg>
#include <limits>
#include <map>
#include <mutex>

#include <rocksdb/cache.h>
#include <rocksdb/convenience.h>
#include <rocksdb/db.h>
#include <rocksdb/file_checksum.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/listener.h>
#include <rocksdb/slice_transform.h>
#include <rocksdb/table.h>
#include <rocksdb/utilities/checkpoint.h>
#include <rocksdb/write_batch.h>

#include "base/check.h"
#include "kv/rocksdb_silent.h"
#include "kv/stores.h"

namespace leeward::kv {
namespace {

constexpr std::array<const char*, kFamilies> kNames = {"head", "hist", "rev", "lease", "auth", "meta"};

rocksdb::Slice slice(std::string_view v) { return {v.data(), v.size()}; }
std::string_view view(const rocksdb::Slice& s) { return {s.data(), s.size()}; }

Error to_error(const rocksdb::Status& status) {
  const std::string text = "state store: " + status.ToString();
  if (status.IsNoSpace()) return {Code::kNoSpace, text};
  if (status.IsCorruption()) return {Code::kCorrupt, text};
  if (status.IsNotFound() || status.IsPathNotFound()) return {Code::kNotFound, text};
  if (status.IsIOError() && text.find("lock") != std::string::npos)
    return {Code::kInUse, text + "; is another leewardd running on this directory?"};
  if (text.find("does not exist") != std::string::npos) return {Code::kNotFound, text};
  return {Code::kIo, text};
}

Result<void> to_result(const rocksdb::Status& status) {
  if (status.ok()) return {};
  return to_error(status);
}

// Closed when the store and everything that was taken from it is gone.
struct Db {
  std::unique_ptr<rocksdb::DB> db;
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  bool read_only = false;

  Db() = default;
  Db(const Db&) = delete;
  Db& operator=(const Db&) = delete;
  ~Db() {
    if (!db) return;
    for (auto* handle : handles) db->DestroyColumnFamilyHandle(handle);
    const rocksdb::Status status = db->Close();
    (void)status;  // nothing is left to do about it: what mattered was flushed before
  }
  rocksdb::ColumnFamilyHandle* of(Family family) const { return handles[static_cast<std::size_t>(family)]; }
};

class RocksIterator final : public Iterator {
 public:
  RocksIterator(std::shared_ptr<const Db> db, rocksdb::ReadOptions options, Family family, std::string bound = {})
      : db_(std::move(db)), bound_(std::move(bound)), bound_slice_(bound_) {
    if (!bound_.empty()) options.iterate_upper_bound = &bound_slice_;
    inner_.reset(db_->db->NewIterator(options, db_->of(family)));
  }
  void seek(std::string_view key) override { inner_->Seek(slice(key)); }
  void seek_for_prev(std::string_view key) override { inner_->SeekForPrev(slice(key)); }
  void next() override { inner_->Next(); }
  void prev() override { inner_->Prev(); }
  bool valid() const override { return inner_->Valid(); }
  std::string_view key() const override { return view(inner_->key()); }
  std::string_view value() const override { return view(inner_->value()); }
  Result<void> status() const override { return to_result(inner_->status()); }

 private:
  std::shared_ptr<const Db> db_;  // outlives the iterator
  std::string bound_;
  rocksdb::Slice bound_slice_;
  std::unique_ptr<rocksdb::Iterator> inner_;
};

Result<std::optional<std::string>> get_from(const Db& db, const rocksdb::ReadOptions& options, Family family,
                                            std::string_view key) {
  std::string value;
  const rocksdb::Status status = db.db->Get(options, db.of(family), slice(key), &value);
  if (status.ok()) return std::optional<std::string>(std::move(value));
  if (status.IsNotFound()) return std::optional<std::string>();
  return to_error(status);
}

class RocksSnapshot final : public StoreSnapshot {
 public:
  explicit RocksSnapshot(std::shared_ptr<const Db> db) : db_(std::move(db)) {
    options_.snapshot = db_->db->GetSnapshot();
  }
  ~RocksSnapshot() override { db_->db->ReleaseSnapshot(options_.snapshot); }
  RocksSnapshot(const RocksSnapshot&) = delete;
  RocksSnapshot& operator=(const RocksSnapshot&) = delete;

  Result<std::optional<std::string>> get(Family family, std::string_view key) const override {
    return get_from(*db_, options_, family, key);
  }
  std::unique_ptr<Iterator> iterate(Family family) const override {
    return std::make_unique<RocksIterator>(db_, options_, family);
  }
  std::unique_ptr<Iterator> iterate_below(Family family, std::string bound) const override {
    return std::make_unique<RocksIterator>(db_, options_, family, std::move(bound));
  }
  std::unique_ptr<Iterator> iterate_once(Family family) const override {
    rocksdb::ReadOptions options = options_;
    options.fill_cache = false;
    return std::make_unique<RocksIterator>(db_, options, family);
  }

 private:
  std::shared_ptr<const Db> db_;
  rocksdb::ReadOptions options_;
};

Result<std::shared_ptr<Db>> open_db(const Path& directory, const RocksDbOptions& options);

class RocksDbStore final : public Store {
 public:
  explicit RocksDbStore(std::shared_ptr<Db> db) : db_(std::move(db)) { write_options_.disableWAL = true; }

  Result<void> write(const Batch& batch) override {
    native_.Clear();
    for (const Batch::Change& change : batch.changes()) {
      const rocksdb::Status status =
          change.value ? native_.Put(db_->of(change.family), slice(change.key), slice(*change.value))
                       : native_.Delete(db_->of(change.family), slice(change.key));
      if (!status.ok()) return to_error(status);
    }
    return to_result(db_->db->Write(write_options_, &native_));
  }
  Result<std::optional<std::string>> get(Family family, std::string_view key) const override {
    return get_from(*db_, {}, family, key);
  }
  std::unique_ptr<Iterator> iterate(Family family) const override {
    return std::make_unique<RocksIterator>(db_, rocksdb::ReadOptions{}, family);
  }
  std::shared_ptr<const StoreSnapshot> snapshot() const override { return std::make_shared<RocksSnapshot>(db_); }

  Result<void> flush() override {
    rocksdb::FlushOptions options;
    options.allow_write_stall = true;  // else it waits while other flushes are pending
    return to_result(db_->db->Flush(options, db_->handles));
  }

  Result<void> checkpoint(const std::string& directory) override {
    rocksdb::Checkpoint* raw = nullptr;
    if (auto status = rocksdb::Checkpoint::Create(db_->db.get(), &raw); !status.ok()) return to_error(status);
    const std::unique_ptr<rocksdb::Checkpoint> checkpoint(raw);
    LEEWARD_TRY(flush());
    // Without the flush of its own: see compact_family().
    constexpr std::uint64_t kNeverFlush = std::numeric_limits<std::uint64_t>::max();
    return to_result(checkpoint->CreateCheckpoint(directory, kNeverFlush));
  }

  Result<std::shared_ptr<const StoreSnapshot>> open_checkpoint(const std::string& directory) const override {
    RocksDbOptions options;
    options.block_cache = 1_MiB;
    options.create = false;
    options.read_only = true;
    auto db = open_db(directory, options);
    if (!db.ok()) return db.error();
    return std::shared_ptr<const StoreSnapshot>(std::make_shared<RocksSnapshot>(std::move(*db)));
  }

  std::uint64_t bytes() const override {
    // Without the files that a running compaction is about to replace: they would count twice.
    return sum_of(rocksdb::DB::Properties::kLiveSstFilesSize) + sum_of(rocksdb::DB::Properties::kCurSizeAllMemTables);
  }
  std::uint64_t bytes_in_use() const override {
    return sum_of(rocksdb::DB::Properties::kEstimateLiveDataSize) +
           sum_of(rocksdb::DB::Properties::kCurSizeAllMemTables);
  }
  Result<void> compact() override {
    LEEWARD_TRY(flush());
    for (auto* handle : db_->handles) LEEWARD_TRY(to_result(compact_family(handle)));
    return {};
  }

 private:
  // Into one sorted run, at the deepest level in use. CompactRange() would do it
  // too, but flushes first, and RocksDB before 8.1 chooses the families of such a
  // flush while a batch may be half in its tables (facebook/rocksdb #11148): a
  // crash would then keep one family's rows of a batch and lose another's.
  rocksdb::Status compact_family(rocksdb::ColumnFamilyHandle* handle) {
    rocksdb::Status status;
    for (int attempt = 0; attempt < 100; ++attempt) {
      if (attempt > 0) db_->db->GetEnv()->SleepForMicroseconds(100'000);
      rocksdb::ColumnFamilyMetaData family;
      db_->db->GetColumnFamilyMetaData(handle, &family);
      std::vector<std::string> files;
      int deepest = 1;
      for (const auto& level : family.levels) {
        if (!level.files.empty()) deepest = std::max(deepest, level.level);
        for (const auto& file : level.files) files.push_back(file.name);
      }
      if (files.empty()) return rocksdb::Status::OK();
      rocksdb::CompactionOptions options;
      options.compression = rocksdb::kDisableCompressionOption;  // the family's
      options.output_file_size_limit = db_->db->GetOptions(handle).target_file_size_base;
      status = db_->db->CompactFiles(options, handle, files, deepest);
      // A compaction of RocksDB's own has some of the files, or is done with them.
      if (!status.IsAborted() && !status.IsInvalidArgument()) return status;
    }
    return status;
  }
  std::uint64_t sum_of(const std::string& property) const {
    std::uint64_t sum = 0;
    for (auto* handle : db_->handles) {
      std::uint64_t value = 0;
      if (db_->db->GetIntProperty(handle, property, &value)) sum += value;
    }
    return sum;
  }

  std::shared_ptr<Db> db_;
  rocksdb::WriteOptions write_options_;
  rocksdb::WriteBatch native_;  // kept for its memory
};

rocksdb::CompressionType fast_compression() {
  for (const rocksdb::CompressionType type : rocksdb::GetSupportedCompressions())
    if (type == rocksdb::kLZ4Compression) return type;
  return rocksdb::kNoCompression;
}

rocksdb::ColumnFamilyOptions family_options(Family family, const RocksDbOptions& options,
                                            const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  table.block_size = 8_KiB;
  table.cache_index_and_filter_blocks = true;
  table.pin_l0_filter_and_index_blocks_in_cache = true;
  table.format_version = 5;

  rocksdb::ColumnFamilyOptions out;
  out.write_buffer_size = options.write_buffer;
  out.max_write_buffer_number = 3;  // writes go on while two full ones are on their way to disk
  out.arena_block_size = 256_KiB;  // small families must not take megabytes for a few rows
  out.compression = fast_compression();
  out.target_file_size_base = 16_MiB;
  out.max_bytes_for_level_base = 64_MiB;
  switch (family) {
    case Family::kHead:
      // Each write asks for its key here first, and many keys are new.
      table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
      out.memtable_prefix_bloom_size_ratio = 0.05;
      out.memtable_whole_key_filtering = true;
      // Batches come in order: each insertion searches on from the last one.
      out.memtable_insert_with_hint_prefix_extractor.reset(rocksdb::NewFixedPrefixTransform(0));
      break;
    case Family::kHist:
      // Read by seeks within a key; no filter can help.
      table.block_size = 16_KiB;
      out.memtable_insert_with_hint_prefix_extractor.reset(rocksdb::NewFixedPrefixTransform(0));
      break;
    case Family::kRev:
      // Written and deleted in order: files move down without being rewritten.
      table.block_size = 16_KiB;
      break;
    case Family::kLease:
    case Family::kAuth:
    case Family::kMeta:
      table.block_size = 4_KiB;
      out.target_file_size_base = 4_MiB;
      break;
  }
  out.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return out;
}

class SilentLogger final : public rocksdb::Logger {
 public:
  using rocksdb::Logger::Logv;
  void Logv(const char*, va_list) override {}
};

// Times flushes. All families of one flush have one job, from the first of them
// that begins to the first that is done with all the others.
class FlushTimer final : public rocksdb::EventListener {
 public:
  explicit FlushTimer(Histogram& durations) : durations_(durations) {}

  void OnFlushBegin(rocksdb::DB*, const rocksdb::FlushJobInfo& job) override {
    const std::lock_guard lock(mutex_);
    started_.try_emplace(job.job_id, rocksdb::Env::Default()->NowNanos());
  }
  void OnFlushCompleted(rocksdb::DB*, const rocksdb::FlushJobInfo& job) override {
    const std::lock_guard lock(mutex_);
    const auto found = started_.find(job.job_id);
    if (found == started_.end()) return;
    durations_.observe(std::chrono::nanoseconds(rocksdb::Env::Default()->NowNanos() - found->second));
    started_.erase(started_.begin(), std::next(found));  // an earlier one that is still here has failed
  }

 private:
  Histogram& durations_;
  std::mutex mutex_;
  std::map<int, std::uint64_t> started_;
};

rocksdb::DBOptions database_options(const RocksDbOptions& options) {
  rocksdb::DBOptions out;
  out.create_if_missing = options.create && !options.read_only;
  out.create_missing_column_families = out.create_if_missing;
  // Without it a crash could keep one family's rows and lose another's.
  out.atomic_flush = true;
  out.max_background_jobs = options.background_jobs;
  out.max_open_files = options.max_open_files;
  out.allow_concurrent_memtable_write = false;  // one writer
  out.stats_dump_period_sec = 0;
  out.stats_persist_period_sec = 0;
  // Its own log file ends the process by an assertion when the disk is full.
  out.info_log = silent_logger();
  if (options.flush_duration) out.listeners.push_back(std::make_shared<FlushTimer>(*options.flush_duration));
  if (options.read_only) out.skip_stats_update_on_db_open = true;
  out.max_manifest_file_size = 4_MiB;
  // Of each table file as a whole, kept in the manifest: a block's own checksum
  // leaves the bytes between blocks and in the footer to chance.
  out.file_checksum_gen_factory = rocksdb::GetFileChecksumGenCrc32cFactory();
  return out;
}

Result<std::shared_ptr<Db>> open_db(const Path& directory, const RocksDbOptions& options) {
  const auto cache = rocksdb::NewLRUCache(options.block_cache);
  std::vector<rocksdb::ColumnFamilyDescriptor> families;
  // RocksDB insists on a family of this name; it stays empty.
  families.emplace_back(rocksdb::kDefaultColumnFamilyName, rocksdb::ColumnFamilyOptions{});
  for (int i = 0; i < kFamilies; ++i)
    families.emplace_back(kNames[static_cast<std::size_t>(i)], family_options(static_cast<Family>(i), options, cache));

  auto db = std::make_shared<Db>();
  rocksdb::DB* raw = nullptr;
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  const rocksdb::DBOptions settings = database_options(options);
  const rocksdb::Status status =
      options.read_only ? rocksdb::DB::OpenForReadOnly(settings, directory, families, &handles, &raw)
                        : rocksdb::DB::Open(settings, directory, families, &handles, &raw);
  if (!status.ok()) return to_error(status);
  db->db.reset(raw);
  db->read_only = options.read_only;
  LEEWARD_CHECK(handles.size() == kFamilies + 1, "RocksDB opened other families than asked");
  raw->DestroyColumnFamilyHandle(handles.front());
  db->handles.assign(handles.begin() + 1, handles.end());
  return db;
}

}  // namespace

std::shared_ptr<rocksdb::Logger> silent_logger() { return std::make_shared<SilentLogger>(); }

Result<std::unique_ptr<Store>> open_rocksdb_store(const Path& directory, const RocksDbOptions& options) {
  auto db = open_db(directory, options);
  if (!db.ok()) return db.error();
  return std::unique_ptr<Store>(std::make_unique<RocksDbStore>(std::move(*db)));
}

}  // namespace leeward::kv
