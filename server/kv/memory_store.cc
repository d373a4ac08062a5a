#include <array>
#include <deque>
#include <map>
#include <mutex>
#include <set>

#include "base/check.h"
#include "base/codec.h"
#include "base/crc32c.h"
#include "kv/stores.h"

namespace leeward::kv {
namespace {

constexpr std::string_view kMagic = "LWMEMST1";
constexpr std::string_view kImage = "IMAGE";

// What is said of a key from sequence number `seq` on.
struct Version {
  std::uint64_t seq;
  std::optional<std::string> value;
};
using Rows = std::map<std::string, std::vector<Version>, std::less<>>;

// All rows with their versions, and which sequence numbers are still read.
// Everything under one mutex: readers may live on other loops.
class Table {
 public:
  static constexpr std::uint64_t kLatest = ~std::uint64_t{0};

  std::uint64_t pin() {
    const std::lock_guard lock(mutex_);
    pinned_.insert(seq_);
    return seq_;
  }
  void unpin(std::uint64_t seq) {
    const std::lock_guard lock(mutex_);
    pinned_.erase(pinned_.find(seq));
  }

  void apply(const Batch& batch) {
    const std::lock_guard lock(mutex_);
    ++seq_;
    for (const Batch::Change& change : batch.changes()) set(change);
    const std::uint64_t oldest = pinned_.empty() ? seq_ : *pinned_.begin();
    while (!garbage_.empty() && garbage_.front().seq <= oldest) {
      prune(garbage_.front(), oldest);
      garbage_.pop_front();
    }
  }

  std::optional<std::string> get(Family family, std::string_view key, std::uint64_t at) const {
    const std::lock_guard lock(mutex_);
    const Rows& rows = of(family);
    const auto it = rows.find(key);
    if (it == rows.end()) return std::nullopt;
    const Version* version = visible(it->second, at);
    return version ? version->value : std::nullopt;
  }

  enum class Move { kAtOrAfter, kAfter, kAtOrBefore, kBefore };
  // The nearest row in that direction, copied out.
  bool find(Family family, std::string_view key, Move move, std::uint64_t at, std::string& found_key,
            std::string& found_value) const {
    const std::lock_guard lock(mutex_);
    const Rows& rows = of(family);
    if (move == Move::kAtOrAfter || move == Move::kAfter) {
      auto it = move == Move::kAfter ? rows.upper_bound(key) : rows.lower_bound(key);
      for (; it != rows.end(); ++it)
        if (take(it, at, found_key, found_value)) return true;
      return false;
    }
    auto it = move == Move::kBefore ? rows.lower_bound(key) : rows.upper_bound(key);
    while (it != rows.begin())
      if (take(--it, at, found_key, found_value)) return true;
    return false;
  }

  // Each live row, in order, all of one moment.
  template <class F>
  void for_each(F&& f) const {
    const std::lock_guard lock(mutex_);
    for (int i = 0; i < kFamilies; ++i)
      for (const auto& [key, versions] : of(static_cast<Family>(i)))
        if (const Version* version = visible(versions, kLatest); version && version->value)
          f(static_cast<Family>(i), key, *version->value);
  }

  std::uint64_t bytes() const {
    const std::lock_guard lock(mutex_);
    return bytes_;
  }

 private:
  struct Garbage {
    std::uint64_t seq;  // nobody at or after it reads the older versions
    Family family;
    std::string key;
  };

  Rows& of(Family family) { return rows_[static_cast<std::size_t>(family)]; }
  const Rows& of(Family family) const { return rows_[static_cast<std::size_t>(family)]; }

  static const Version* visible(const std::vector<Version>& versions, std::uint64_t at) {
    for (auto it = versions.rbegin(); it != versions.rend(); ++it)
      if (it->seq <= at) return &*it;
    return nullptr;
  }
  static bool take(Rows::const_iterator it, std::uint64_t at, std::string& key, std::string& value) {
    const Version* version = visible(it->second, at);
    if (!version || !version->value) return false;
    key = it->first;
    value = *version->value;
    return true;
  }

  void set(const Batch::Change& change) {
    std::vector<Version>& versions = of(change.family)[change.key];
    if (!versions.empty()) {
      if (versions.back().value) bytes_ -= change.key.size() + versions.back().value->size();
    }
    if (change.value) bytes_ += change.key.size() + change.value->size();
    if (!versions.empty() && versions.back().seq == seq_)
      versions.back().value = change.value;
    else
      versions.push_back({seq_, change.value});
    if (versions.size() > 1 || !change.value) garbage_.push_back({seq_, change.family, change.key});
  }

  void prune(const Garbage& garbage, std::uint64_t oldest) {
    Rows& rows = of(garbage.family);
    const auto it = rows.find(garbage.key);
    if (it == rows.end()) return;
    std::vector<Version>& versions = it->second;
    std::size_t first = 0;
    while (first + 1 < versions.size() && versions[first + 1].seq <= oldest) ++first;
    versions.erase(versions.begin(), versions.begin() + static_cast<std::ptrdiff_t>(first));
    if (versions.size() == 1 && !versions.front().value && versions.front().seq <= oldest) rows.erase(it);
  }

  mutable std::mutex mutex_;
  std::array<Rows, kFamilies> rows_;
  std::uint64_t seq_ = 0;
  std::multiset<std::uint64_t> pinned_;
  std::deque<Garbage> garbage_;
  std::uint64_t bytes_ = 0;
};

class MemoryIterator final : public Iterator {
 public:
  MemoryIterator(std::shared_ptr<const Table> table, std::shared_ptr<const void> pin, Family family, std::uint64_t at)
      : table_(std::move(table)), pin_(std::move(pin)), family_(family), at_(at) {}
  void seek(std::string_view key) override { go(key, Table::Move::kAtOrAfter); }
  void seek_for_prev(std::string_view key) override { go(key, Table::Move::kAtOrBefore); }
  void next() override { go(key_, Table::Move::kAfter); }
  void prev() override { go(key_, Table::Move::kBefore); }
  bool valid() const override { return valid_; }
  std::string_view key() const override { return key_; }
  std::string_view value() const override { return value_; }
  Result<void> status() const override { return {}; }

 private:
  void go(std::string_view key, Table::Move move) {
    const std::string from(key);  // `key` may be a view of key_
    valid_ = table_->find(family_, from, move, at_, key_, value_);
  }

  std::shared_ptr<const Table> table_;
  std::shared_ptr<const void> pin_;
  Family family_;
  std::uint64_t at_;
  bool valid_ = false;
  std::string key_, value_;
};

class MemorySnapshot final : public StoreSnapshot, public std::enable_shared_from_this<MemorySnapshot> {
 public:
  explicit MemorySnapshot(std::shared_ptr<Table> table) : table_(std::move(table)), seq_(table_->pin()) {}
  ~MemorySnapshot() override { table_->unpin(seq_); }
  MemorySnapshot(const MemorySnapshot&) = delete;
  MemorySnapshot& operator=(const MemorySnapshot&) = delete;

  Result<std::optional<std::string>> get(Family family, std::string_view key) const override {
    return table_->get(family, key, seq_);
  }
  std::unique_ptr<Iterator> iterate(Family family) const override {
    return std::make_unique<MemoryIterator>(table_, shared_from_this(), family, seq_);
  }

 private:
  std::shared_ptr<Table> table_;
  std::uint64_t seq_;
};

// An image is: magic, then for each row family (1 byte), key, value, each with
// its length; family 255 ends it; CRC-32C of all before as 4 bytes.
constexpr std::uint8_t kEnd = 255;

std::string encode_image(const Table& table) {
  std::string out(kMagic);
  table.for_each([&](Family family, const std::string& key, const std::string& value) {
    codec::put_u8(out, static_cast<std::uint8_t>(family));
    codec::put_bytes(out, key);
    codec::put_bytes(out, value);
  });
  codec::put_u8(out, kEnd);
  codec::put_u32(out, crc32c(out));
  return out;
}

Result<Batch> decode_image(std::string_view image) {
  const Error corrupt{Code::kCorrupt, "memory store image: bad checksum or length"};
  if (image.size() < kMagic.size() + 5) return corrupt;
  if (image.substr(0, 7) != kMagic.substr(0, 7)) return Error{Code::kCorrupt, "memory store image: not one"};
  if (image[7] != kMagic[7]) return Error{Code::kNewerFormat, "memory store image: of a newer version"};
  std::string_view tail = image.substr(image.size() - 4);
  std::uint32_t crc = 0;
  codec::get_u32(tail, crc);
  if (crc != crc32c(image.substr(0, image.size() - 4))) return corrupt;

  Batch batch;
  std::string_view in = image.substr(kMagic.size(), image.size() - kMagic.size() - 4);
  for (;;) {
    std::uint8_t family;
    std::string_view key, value;
    if (!codec::get_u8(in, family)) return corrupt;
    if (family == kEnd) return batch;
    if (family >= kFamilies || !codec::get_bytes(in, key) || !codec::get_bytes(in, value)) return corrupt;
    batch.put(static_cast<Family>(family), std::string(key), std::string(value));
  }
}

class MemoryStore final : public Store {
 public:
  MemoryStore(Disk& disk, Path directory, const MemoryStoreOptions& options)
      : disk_(disk), directory_(std::move(directory)), options_(options), table_(std::make_shared<Table>()) {}

  Result<void> load() {
    LEEWARD_TRY(disk_.make_dirs(directory_));
    if (!disk_.exists(path())) return {};
    auto file = disk_.open(path(), OpenMode::kRead);
    if (!file.ok()) return file.error();
    auto size = (*file)->size();
    if (!size.ok()) return size.error();
    std::string image;
    if (auto read = (*file)->read(0, *size, image); !read.ok()) return read.error();
    auto batch = decode_image(image);
    if (!batch.ok()) return batch.error();
    table_->apply(*batch);
    return {};
  }

  // A batch that is refused has changed nothing: what is due goes to disk first.
  Result<void> write(const Batch& batch) override {
    bool due = false;
    {
      const std::lock_guard lock(mutex_);
      due = options_.flush_every != 0 && ++since_flush_ >= options_.flush_every;
    }
    if (due) LEEWARD_TRY(flush());
    table_->apply(batch);
    return {};
  }
  Result<std::optional<std::string>> get(Family family, std::string_view key) const override {
    return table_->get(family, key, Table::kLatest);
  }
  std::unique_ptr<Iterator> iterate(Family family) const override {
    return std::make_shared<MemorySnapshot>(table_)->iterate(family);
  }
  std::shared_ptr<const StoreSnapshot> snapshot() const override { return std::make_shared<MemorySnapshot>(table_); }

  Result<void> flush() override {
    const std::lock_guard lock(mutex_);
    LEEWARD_TRY(save(directory_));
    since_flush_ = 0;
    return {};
  }
  Result<void> checkpoint(const std::string& directory) override {
    LEEWARD_TRY(flush());
    if (disk_.exists(directory)) return Error{Code::kExists, "checkpoint: " + directory + " exists"};
    LEEWARD_TRY(disk_.make_dirs(directory));
    return save(directory);
  }
  Result<std::shared_ptr<const StoreSnapshot>> open_checkpoint(const std::string& directory) const override {
    MemoryStore copy(disk_, directory, {});
    LEEWARD_TRY(copy.load());
    return copy.snapshot();
  }
  std::uint64_t bytes() const override { return table_->bytes(); }
  std::uint64_t bytes_in_use() const override { return table_->bytes(); }
  Result<void> compact() override { return flush(); }

 private:
  Path path() const { return directory_ + "/" + std::string(kImage); }

  Result<void> save(const Path& directory) {
    const Path fresh = directory + "/" + std::string(kImage) + ".new";
    if (disk_.exists(fresh)) LEEWARD_TRY(disk_.remove(fresh));
    {
      auto file = disk_.open(fresh, OpenMode::kCreate);
      if (!file.ok()) return file.error();
      LEEWARD_TRY((*file)->write(0, encode_image(*table_)));
      LEEWARD_TRY((*file)->sync());
    }
    LEEWARD_TRY(disk_.rename(fresh, directory + "/" + std::string(kImage)));
    return disk_.sync_dir(directory);
  }

  Disk& disk_;
  Path directory_;
  MemoryStoreOptions options_;
  std::shared_ptr<Table> table_;
  std::mutex mutex_;  // one image of the directory is written at a time
  std::uint64_t since_flush_ = 0;
};

}  // namespace

Result<std::unique_ptr<Store>> open_memory_store(Disk& disk, const Path& directory, const MemoryStoreOptions& options) {
  auto store = std::make_unique<MemoryStore>(disk, directory, options);
  LEEWARD_TRY(store->load());
  return std::unique_ptr<Store>(std::move(store));
}

}  // namespace leeward::kv
