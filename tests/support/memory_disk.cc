#include "support/memory_disk.h"

#include <algorithm>
#include <array>

namespace leeward::test {
namespace {

// Small and enough to decide what survives (xorshift64*).
class Dice {
 public:
  explicit Dice(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 0x2545f4914f6cdd1du) {
    for (int i = 0; i < 8; ++i) next();
  }
  std::uint64_t next() {
    if (state_ == 0) state_ = 1;
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 0x2545f4914f6cdd1du;
  }
  bool chance(unsigned percent) { return (next() >> 33) % 100 < percent; }

 private:
  std::uint64_t state_;
};

Path parent_of(const Path& path) {
  const auto slash = path.rfind('/');
  return slash == Path::npos ? Path(".") : slash == 0 ? Path("/") : path.substr(0, slash);
}

bool within(const Path& path, const Path& directory) {
  return path.size() > directory.size() && path.starts_with(directory) && path[directory.size()] == '/';
}

Error missing(const Path& path) { return {Code::kNotFound, "no such file or directory: " + path}; }

void put(std::string& data, std::uint64_t offset, std::string_view piece) {
  if (data.size() < offset + piece.size()) data.resize(offset + piece.size(), '\0');
  data.replace(offset, piece.size(), piece);
}

}  // namespace

struct MemoryDisk::Inode {
  // Since the last sync, in order: data at an offset, or a new size.
  struct Change {
    std::optional<std::uint64_t> size;
    bool grow_only = false;
    std::uint64_t offset = 0;
    std::string data;
  };
  std::string now, durable;
  std::vector<Change> pending;

  void apply(std::string& to, const Change& change) const {
    if (!change.size) return put(to, change.offset, change.data);
    if (!change.grow_only || *change.size > to.size()) to.resize(*change.size, '\0');
  }
  void change(Change c) {
    apply(now, c);
    pending.push_back(std::move(c));
  }
  void sync() {
    for (const auto& c : pending) apply(durable, c);
    pending.clear();
  }
  void crash(Dice& dice, unsigned percent) {
    for (const auto& c : pending) {
      if (c.size) {
        if (dice.chance(percent)) apply(durable, c);
        continue;
      }
      for (std::size_t at = 0; at < c.data.size();) {
        const std::size_t piece = std::min(c.data.size() - at, kSector - (c.offset + at) % kSector);
        if (dice.chance(percent)) put(durable, c.offset + at, std::string_view(c.data).substr(at, piece));
        at += piece;
      }
    }
    pending.clear();
    now = durable;
  }
};

struct MemoryDisk::NameChange {
  Path directory;
  Path removed;                  // "" for none
  Path added;                    // "" for none
  std::shared_ptr<Inode> inode;  // of `added`

  void apply(std::map<Path, std::shared_ptr<Inode>>& names) const {
    if (!removed.empty()) names.erase(removed);
    if (!added.empty()) names[added] = inode;
  }
};

class MemoryDisk::MemoryFile final : public File {
 public:
  MemoryFile(MemoryDisk& disk, std::shared_ptr<Inode> inode, Path path, bool writable)
      : disk_(disk), inode_(std::move(inode)), path_(std::move(path)), writable_(writable), generation_(disk.generation_) {}

  Result<std::size_t> read(std::uint64_t offset, std::size_t size, std::string& out) const override {
    std::lock_guard lock(disk_.mutex_);
    if (generation_ != disk_.generation_) return dead();
    const std::string& data = inode_->now;
    if (offset >= data.size()) return std::size_t{0};
    const std::size_t n = std::min<std::uint64_t>(size, data.size() - offset);
    out.append(data, offset, n);
    return n;
  }

  Result<void> write(std::uint64_t offset, std::string_view data) override {
    std::lock_guard lock(disk_.mutex_);
    LEEWARD_TRY(may_change());
    if (!disk_.write_refused_.empty() && path_.find(disk_.write_refused_) != Path::npos &&
        (disk_.writes_allowed_ == 0 || --disk_.writes_allowed_ == 0)) {
      // Space runs out between blocks, so whole sectors are there.
      const std::size_t half = data.size() / 2 / kSector * kSector;
      inode_->change({.offset = offset, .data = std::string(data.substr(0, half))});
      return Error{Code::kNoSpace, "write " + path_ + ": no space left on device"};
    }
    LEEWARD_TRY(may_grow(offset + data.size()));
    inode_->change({.offset = offset, .data = std::string(data)});
    return {};
  }

  Result<void> sync() override {
    std::lock_guard lock(disk_.mutex_);
    LEEWARD_TRY(may_change());
    if (disk_.sync_fault_in_ > 0 && path_.find(disk_.sync_fault_) != Path::npos && --disk_.sync_fault_in_ == 0)
      return Error{Code::kIo, "fdatasync " + path_ + ": Input/output error"};
    ++disk_.syncs_;
    if (!disk_.ignore_syncs_) inode_->sync();
    return {};
  }

  Result<std::uint64_t> size() const override {
    std::lock_guard lock(disk_.mutex_);
    if (generation_ != disk_.generation_) return dead();
    return static_cast<std::uint64_t>(inode_->now.size());
  }

  Result<std::uint64_t> links() const override {
    std::lock_guard lock(disk_.mutex_);
    if (generation_ != disk_.generation_) return dead();
    return static_cast<std::uint64_t>(
        std::count_if(disk_.names_.begin(), disk_.names_.end(), [&](const auto& name) { return name.second == inode_; }));
  }

  Result<void> truncate(std::uint64_t size) override {
    std::lock_guard lock(disk_.mutex_);
    LEEWARD_TRY(may_change());
    LEEWARD_TRY(may_grow(size));
    inode_->change({.size = size});
    return {};
  }

  Result<void> allocate(std::uint64_t size) override {
    std::lock_guard lock(disk_.mutex_);
    LEEWARD_TRY(may_change());
    LEEWARD_TRY(may_grow(size));
    inode_->change({.size = size, .grow_only = true});
    return {};
  }

 private:
  Error dead() const { return {Code::kIo, path_ + " was opened before the crash"}; }
  Result<void> may_change() {
    if (generation_ != disk_.generation_) return dead();
    if (!writable_) return Error{Code::kIo, path_ + " was opened to read only"};
    return disk_.changing(path_);
  }
  Result<void> may_grow(std::uint64_t size) {
    if (size <= inode_->now.size()) return {};
    if (disk_.used() + (size - inode_->now.size()) > disk_.capacity_)
      return Error{Code::kNoSpace, "write " + path_ + ": no space left on device"};
    return {};
  }

  MemoryDisk& disk_;
  std::shared_ptr<Inode> inode_;
  Path path_;
  bool writable_;
  std::uint64_t generation_;
};

class MemoryDisk::MemoryLock final : public DirectoryLock {
 public:
  explicit MemoryLock(std::shared_ptr<int> held) : held_(std::move(held)) {}

 private:
  std::shared_ptr<int> held_;  // the disk knows by its use count that the lock is held
};

MemoryDisk::MemoryDisk() = default;
MemoryDisk::~MemoryDisk() = default;

Result<void> MemoryDisk::changing(const Path& path) {
  if (power_off_at_ && operations_ >= *power_off_at_) return Error{Code::kIo, "the power is off: " + path};
  ++operations_;
  return {};
}

std::uint64_t MemoryDisk::used() const {
  std::set<const Inode*> counted;
  std::uint64_t bytes = 0;
  for (const auto& [path, inode] : names_)
    if (counted.insert(inode.get()).second) bytes += inode->now.size();
  return bytes;
}

MemoryDisk::Inode* MemoryDisk::find(const Path& path) const {
  const auto found = names_.find(path);
  return found == names_.end() ? nullptr : found->second.get();
}

void MemoryDisk::note(NameChange change) {
  change.apply(names_);
  pending_names_.push_back(std::move(change));
}

Result<std::unique_ptr<File>> MemoryDisk::open(const Path& path, OpenMode mode) {
  std::lock_guard lock(mutex_);
  const bool exists = names_.contains(path);
  if (exists && mode == OpenMode::kCreate) return Error{Code::kExists, "file exists: " + path};
  if (!exists) {
    if (mode == OpenMode::kRead || mode == OpenMode::kReadWrite) return missing(path);
    if (!directories_.contains(parent_of(path))) return missing(parent_of(path));
    LEEWARD_TRY(changing(path));
    note({parent_of(path), "", path, std::make_shared<Inode>()});
  }
  return std::unique_ptr<File>(
      std::make_unique<MemoryFile>(*this, names_.at(path), path, mode != OpenMode::kRead));
}

Result<void> MemoryDisk::rename(const Path& from, const Path& to) {
  std::lock_guard lock(mutex_);
  LEEWARD_TRY(changing(from));
  if (directories_.contains(from)) {  // a tree moves at once: enough for state directories
    std::map<Path, std::shared_ptr<Inode>> moved;
    const auto move_names = [&](auto& names) {
      moved.clear();
      for (auto at = names.begin(); at != names.end();) {
        if (!within(at->first, from)) {
          ++at;
          continue;
        }
        moved.emplace(to + at->first.substr(from.size()), at->second);
        at = names.erase(at);
      }
      names.merge(moved);
    };
    for (auto& change : pending_names_) {
      if (change.directory == from || within(change.directory, from)) change.directory = to + change.directory.substr(from.size());
      for (Path* path : {&change.removed, &change.added})
        if (within(*path, from)) *path = to + path->substr(from.size());
    }
    move_names(names_);
    move_names(durable_names_);
    std::set<Path> directories;
    for (const auto& d : directories_)
      directories.insert(d == from || within(d, from) ? to + d.substr(from.size()) : d);
    directories_ = std::move(directories);
    return {};
  }
  const auto found = names_.find(from);
  if (found == names_.end()) return missing(from);
  note({parent_of(to), from, to, found->second});
  return {};
}

Result<void> MemoryDisk::link(const Path& from, const Path& to) {
  std::lock_guard lock(mutex_);
  LEEWARD_TRY(changing(to));
  const auto found = names_.find(from);
  if (found == names_.end()) return missing(from);
  if (names_.contains(to)) return Error{Code::kExists, "file exists: " + to};
  note({parent_of(to), "", to, found->second});
  return {};
}

Result<void> MemoryDisk::remove(const Path& path) {
  std::lock_guard lock(mutex_);
  LEEWARD_TRY(changing(path));
  if (directories_.contains(path)) {
    for (const auto& [name, inode] : names_)
      if (within(name, path)) return Error{Code::kIo, "directory not empty: " + path};
    directories_.erase(path);
    return {};
  }
  if (!names_.contains(path)) return missing(path);
  note({parent_of(path), path, "", nullptr});
  return {};
}

Result<void> MemoryDisk::remove_all(const Path& path) {
  std::lock_guard lock(mutex_);
  LEEWARD_TRY(changing(path));
  std::vector<Path> gone;
  for (const auto& [name, inode] : names_)
    if (name == path || within(name, path)) gone.push_back(name);
  for (const auto& name : gone) note({parent_of(name), name, "", nullptr});
  std::erase_if(directories_, [&](const Path& d) { return d == path || within(d, path); });
  return {};
}

Result<void> MemoryDisk::make_dirs(const Path& path) {
  std::lock_guard lock(mutex_);
  for (Path at = path; !at.empty() && at != "/" && at != "."; at = parent_of(at)) directories_.insert(at);
  directories_.insert("/");
  directories_.insert(".");
  return {};
}

Result<std::vector<std::string>> MemoryDisk::list(const Path& directory) {
  std::lock_guard lock(mutex_);
  if (!directories_.contains(directory)) return missing(directory);
  std::set<std::string> names;
  const auto add = [&](const Path& path) {
    if (!within(path, directory)) return;
    const Path rest = path.substr(directory.size() + 1);
    names.insert(rest.substr(0, rest.find('/')));
  };
  for (const auto& [name, inode] : names_) add(name);
  for (const auto& name : directories_) add(name);
  return std::vector<std::string>(names.begin(), names.end());
}

bool MemoryDisk::exists(const Path& path) {
  std::lock_guard lock(mutex_);
  return names_.contains(path) || directories_.contains(path);
}

Result<void> MemoryDisk::sync_dir(const Path& directory) {
  std::lock_guard lock(mutex_);
  LEEWARD_TRY(changing(directory));
  if (!directories_.contains(directory)) return missing(directory);
  if (ignore_syncs_) return {};
  std::erase_if(pending_names_, [&](const NameChange& change) {
    if (change.directory != directory) return false;
    change.apply(durable_names_);
    return true;
  });
  return {};
}

Result<DiskSpace> MemoryDisk::space(const Path&) {
  std::lock_guard lock(mutex_);
  const std::uint64_t taken = used();
  return DiskSpace{capacity_ > taken ? capacity_ - taken : 0, capacity_};
}

Result<std::unique_ptr<DirectoryLock>> MemoryDisk::lock(const Path& directory) {
  std::lock_guard lock(mutex_);
  if (!directories_.contains(directory)) return missing(directory);
  auto& held = locks_[directory];
  if (held && held.use_count() > 1) return Error{Code::kInUse, directory + " is in use by process 1"};
  held = std::make_shared<int>(0);
  return std::unique_ptr<DirectoryLock>(std::make_unique<MemoryLock>(held));
}

void MemoryDisk::crash(std::uint64_t seed, Tear tear) {
  std::lock_guard lock(mutex_);
  Dice dice(seed);
  // Some crashes lose nearly all, some nearly nothing, most are in between.
  const unsigned random_percent = std::array<unsigned, 5>{10, 50, 50, 90, 98}[dice.next() % 5];
  const unsigned percent = tear == Tear::kKeepAll ? 100 : tear == Tear::kLoseAll ? 0 : random_percent;
  for (const auto& change : pending_names_)
    if (dice.chance(percent)) change.apply(durable_names_);
  pending_names_.clear();
  names_ = durable_names_;
  std::set<Inode*> seen;
  for (const auto& [path, inode] : names_)
    if (seen.insert(inode.get()).second) inode->crash(dice, percent);
  locks_.clear();
  ++generation_;
  power_off_at_.reset();
  sync_fault_in_ = 0;
}

void MemoryDisk::kill() {
  std::lock_guard lock(mutex_);
  locks_.clear();
  ++generation_;
  power_off_at_.reset();
  sync_fault_in_ = 0;
}

void MemoryDisk::power_off_after(std::uint64_t operations) {
  std::lock_guard lock(mutex_);
  power_off_at_ = operations_ + operations;
}

bool MemoryDisk::powered() const {
  std::lock_guard lock(mutex_);
  return !power_off_at_ || operations_ < *power_off_at_;
}

std::uint64_t MemoryDisk::operations() const {
  std::lock_guard lock(mutex_);
  return operations_;
}

std::uint64_t MemoryDisk::syncs() const {
  std::lock_guard lock(mutex_);
  return syncs_;
}

void MemoryDisk::set_capacity(std::uint64_t bytes) {
  std::lock_guard lock(mutex_);
  capacity_ = bytes;
}

void MemoryDisk::fail_sync(std::string part, std::uint64_t nth) {
  std::lock_guard lock(mutex_);
  sync_fault_ = std::move(part);
  sync_fault_in_ = nth;
}

void MemoryDisk::refuse_writes(std::string part, std::uint64_t allowed) {
  std::lock_guard lock(mutex_);
  writes_allowed_ = allowed == 0 ? 0 : allowed + 1;
  write_refused_ = std::move(part);
}

void MemoryDisk::ignore_syncs(bool ignore) {
  std::lock_guard lock(mutex_);
  ignore_syncs_ = ignore;
}

std::vector<Path> MemoryDisk::files() const {
  std::lock_guard lock(mutex_);
  std::vector<Path> paths;
  for (const auto& [path, inode] : names_) paths.push_back(path);
  return paths;
}

std::string MemoryDisk::contents(const Path& path) const {
  std::lock_guard lock(mutex_);
  const Inode* inode = find(path);
  return inode == nullptr ? std::string() : inode->now;
}

void MemoryDisk::overwrite(const Path& path, std::uint64_t offset, std::string_view data) {
  std::lock_guard lock(mutex_);
  Inode* inode = find(path);
  if (inode == nullptr) return;
  put(inode->now, offset, data);
  put(inode->durable, offset, data);
}

void MemoryDisk::flip(const Path& path, std::uint64_t offset, std::uint8_t mask) {
  std::lock_guard lock(mutex_);
  Inode* inode = find(path);
  if (inode == nullptr || offset >= inode->now.size()) return;
  inode->now[offset] = static_cast<char>(inode->now[offset] ^ mask);
  if (offset < inode->durable.size()) inode->durable[offset] = static_cast<char>(inode->durable[offset] ^ mask);
}

}  // namespace leeward::test
