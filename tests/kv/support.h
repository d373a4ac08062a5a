// What the suites of kv share: files in a temporary directory, a clock that is
// told the time, stores that can crash, and a state machine fed with entries.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kv/state_machine.h"
#include "kv/stores.h"
#include "proto/rpc.pb.h"
#include "region/entries.h"

namespace leeward::kv {

namespace fs = std::filesystem;
namespace pb = ::etcdserverpb;

// Removed when it goes.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = (fs::temp_directory_path() / "leeward-kv-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// Real files, without the care for crashes that the product's Disk takes.
class TestFile final : public File {
 public:
  explicit TestFile(Path path) : path_(std::move(path)) {}
  Result<std::size_t> read(std::uint64_t offset, std::size_t size, std::string& out) const override {
    std::ifstream in(path_, std::ios::binary);
    in.seekg(static_cast<std::streamoff>(offset));
    std::string chunk(size, '\0');
    in.read(chunk.data(), static_cast<std::streamsize>(size));
    chunk.resize(static_cast<std::size_t>(in.gcount()));
    out += chunk;
    return chunk.size();
  }
  Result<void> write(std::uint64_t offset, std::string_view data) override {
    std::fstream out(path_, std::ios::binary | std::ios::in | std::ios::out);
    out.seekp(static_cast<std::streamoff>(offset));
    out.write(data.data(), static_cast<std::streamsize>(data.size()));
    return out ? Result<void>{} : Error{Code::kIo, path_};
  }
  Result<void> sync() override { return {}; }
  Result<std::uint64_t> size() const override { return static_cast<std::uint64_t>(fs::file_size(path_)); }
  Result<std::uint64_t> links() const override { return static_cast<std::uint64_t>(fs::hard_link_count(path_)); }
  Result<void> truncate(std::uint64_t size) override {
    fs::resize_file(path_, size);
    return {};
  }
  Result<void> allocate(std::uint64_t) override { return {}; }

 private:
  Path path_;
};

class TestDisk final : public Disk {
 public:
  Result<std::unique_ptr<File>> open(const Path& path, OpenMode mode) override {
    if (mode == OpenMode::kCreate && fs::exists(path)) return Error{Code::kExists, path};
    if (mode == OpenMode::kCreate || mode == OpenMode::kCreateOrOpen) std::ofstream(path, std::ios::app);
    if (!fs::exists(path)) return Error{Code::kNotFound, path};
    return std::unique_ptr<File>(std::make_unique<TestFile>(path));
  }
  Result<void> rename(const Path& from, const Path& to) override { return fs::rename(from, to), Result<void>{}; }
  Result<void> link(const Path& from, const Path& to) override { return fs::create_hard_link(from, to), Result<void>{}; }
  Result<void> remove(const Path& path) override { return fs::remove(path), Result<void>{}; }
  Result<void> remove_all(const Path& path) override { return fs::remove_all(path), Result<void>{}; }
  Result<void> make_dirs(const Path& path) override { return fs::create_directories(path), Result<void>{}; }
  Result<std::vector<std::string>> list(const Path& directory) override {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(directory)) names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
  }
  bool exists(const Path& path) override { return fs::exists(path); }
  Result<void> sync_dir(const Path&) override { return {}; }
  Result<DiskSpace> space(const Path&) override { return DiskSpace{}; }
  Result<std::unique_ptr<DirectoryLock>> lock(const Path&) override { return std::make_unique<DirectoryLock>(); }
};

class TestClock final : public Clock {
 public:
  Instant now() const override { return now_; }
  WallTime wall() const override { return WallTime(now_.time_since_epoch()); }
  void advance(Duration d) { now_ += d; }

 private:
  Instant now_{Duration(1h)};
};

// Printed when a test fails: LEEWARD_SEED=... replays it.
inline std::uint64_t test_seed() {
  if (const char* given = std::getenv("LEEWARD_SEED")) return std::strtoull(given, nullptr, 10);
  return std::random_device{}();
}
class Dice {
 public:
  explicit Dice(std::uint64_t seed) : engine_(seed) {}
  std::uint64_t below(std::uint64_t bound) { return engine_() % bound; }
  bool one_in(std::uint64_t n) { return below(n) == 0; }

 private:
  std::mt19937_64 engine_;
};

enum class StoreKind { kRocksDb, kMemory };
inline const char* name(StoreKind kind) { return kind == StoreKind::kRocksDb ? "RocksDb" : "Memory"; }

// A store's directory over restarts and crashes.
class StoreHome {
 public:
  explicit StoreHome(StoreKind kind) : kind_(kind), directory_(root_ / "state-0") {}

  std::unique_ptr<Store> open() { return open_at(directory_); }
  std::unique_ptr<Store> open_at(const Path& directory) {
    auto store = kind_ == StoreKind::kRocksDb ? open_rocksdb_store(directory, {.write_buffer = 1_MiB})
                                              : open_memory_store(disk_, directory);
    EXPECT_TRUE(store.ok()) << store.error().message;
    return store.ok() ? std::move(*store) : nullptr;
  }
  // The files as a SIGKILL at this moment would leave them. The open store
  // goes on in the old directory until it is dropped.
  void crash() {
    const Path next = root_ / ("state-" + std::to_string(++crashes_));
    // RocksDB removes files in the background: copy until nothing moved meanwhile.
    for (;;) {
      const auto before = sizes();
      std::error_code error;
      fs::remove_all(next);
      fs::copy(directory_, next, fs::copy_options::recursive, error);
      if (!error && sizes() == before) break;
    }
    directory_ = next;
  }
  void use(Path directory) { directory_ = std::move(directory); }
  Path fresh_path() { return root_ / ("fresh-" + std::to_string(++fresh_)); }
  const Path& directory() const { return directory_; }
  TestDisk& disk() { return disk_; }

 private:
  std::map<std::string, std::uintmax_t> sizes() const {
    std::map<std::string, std::uintmax_t> out;
    std::error_code gone;
    for (const auto& entry : fs::directory_iterator(directory_)) out[entry.path()] = entry.file_size(gone);
    return out;
  }

  StoreKind kind_;
  TemporaryDirectory root_;
  TestDisk disk_;
  Path directory_;
  int crashes_ = 0, fresh_ = 0;
};

template <class Message>
std::string wire(const Message& message) {
  return message.SerializeAsString();
}
template <class Message>
Message parse_as(std::string_view bytes) {
  Message out;
  EXPECT_TRUE(out.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())));
  return out;
}

// Makes the entries of one log.
class LogMaker {
 public:
  Entry writes(const std::vector<Command>& commands) {
    Entry entry;
    entry.kind = EntryKind::kWrites;
    entry.writes = static_cast<std::uint32_t>(commands.size());
    entry.payload = Bytes(encode_payload(commands));
    return finish(std::move(entry));
  }
  Entry control(EntryKind kind) {
    Entry entry;
    entry.kind = kind;
    return finish(std::move(entry));
  }
  Entry history(EntryKind kind, std::string payload) {
    Entry entry;
    entry.kind = kind;
    entry.payload = Bytes(std::move(payload));
    return finish(std::move(entry));
  }
  // The next epoch, or a later one.
  Entry epoch_change(region::Ending ending, Epoch epoch = {}) {
    region::EpochChange change;
    change.epoch = epoch_ = epoch > epoch_ ? epoch : epoch_ + 1;
    change.promotion = epoch_.value() * 7;
    change.group = GroupId(epoch_.value());
    change.fork = position_;
    change.ending = ending;
    return history(EntryKind::kEpochChange, encode(change));
  }
  Epoch epoch() const { return epoch_; }

 private:
  Entry finish(Entry entry) {
    entry.term = Term(1);
    entry.index = ++index_;
    if (is_history(entry.kind)) {
      entry.epoch = epoch_;
      position_ = extend(position_, entry.epoch, entry.kind, entry.writes, entry.payload.view());
    }
    entry.position = position_;
    return entry;
  }
  Index index_;
  Position position_;
  Epoch epoch_{1};
};

inline Command command(Op op, std::string request) {
  Command out;
  out.op = op;
  out.request = Bytes(std::move(request));
  return out;
}

// One state machine over one kind of store, restartable.
class Machine {
 public:
  explicit Machine(StoreKind kind, StateMachineOptions options = {}) : home_(kind), options_(options) { start(); }

  void start() { adopt(home_.open()); }
  void adopt(std::unique_ptr<Store> store) {
    auto machine = MvccStateMachine::open(std::move(store), home_.disk(), clock_, log_, options_);
    ASSERT_TRUE(machine.ok()) << machine.error().message;
    machine_ = std::move(*machine);
  }
  void stop() { machine_.reset(); }
  // Loses what was not flushed.
  void crash() {
    home_.crash();
    machine_.reset();
    start();
  }

  std::vector<CommandResult> apply(const std::vector<Entry>& entries) {
    std::vector<CommandResult> results;
    const auto done = machine_->apply(
        entries, [](std::size_t, std::size_t) { return true; },
        [&](std::size_t, std::size_t, CommandResult result) { results.push_back(std::move(result)); });
    EXPECT_TRUE(done.ok()) << done.error().message;
    return results;
  }
  CommandResult run(Op op, std::string request) {
    auto results = apply({maker_.writes({command(op, std::move(request))})});
    return results.empty() ? CommandResult{} : std::move(results.front());
  }
  template <class Response, class Request>
  Response call(Op op, const Request& request) {
    const CommandResult result = run(op, wire(request));
    EXPECT_EQ(result.etcd_error, "");
    return parse_as<Response>(result.response.view());
  }

  pb::PutResponse put(const std::string& key, const std::string& value, std::int64_t lease = 0, bool prev_kv = false) {
    pb::PutRequest request;
    request.set_key(key);
    request.set_value(value);
    request.set_lease(lease);
    request.set_prev_kv(prev_kv);
    return call<pb::PutResponse>(Op::kPut, request);
  }
  pb::DeleteRangeResponse remove(const std::string& key, const std::string& end = "", bool prev_kv = false) {
    pb::DeleteRangeRequest request;
    request.set_key(key);
    request.set_range_end(end);
    request.set_prev_kv(prev_kv);
    return call<pb::DeleteRangeResponse>(Op::kDeleteRange, request);
  }
  CommandResult compact(std::int64_t revision) {
    pb::CompactionRequest request;
    request.set_revision(revision);
    return run(Op::kCompact, wire(request));
  }
  CommandResult grant(std::int64_t id, std::int64_t ttl) {
    pb::LeaseGrantRequest request;
    request.set_id(id);
    request.set_ttl(ttl);
    return run(Op::kLeaseGrant, wire(request));
  }
  CommandResult revoke(std::int64_t id) {
    pb::LeaseRevokeRequest request;
    request.set_id(id);
    return run(Op::kLeaseRevoke, wire(request));
  }

  Result<std::string> range_bytes(const pb::RangeRequest& request, std::size_t piece = 4096) {
    auto reply = machine_->range(wire(request));
    if (!reply.ok()) return reply.error();
    std::string all;
    for (;;) {
      auto next = (*reply)->next(piece);
      if (!next.ok()) return next.error();
      if (next->empty()) break;
      all += next->view();
    }
    EXPECT_EQ(all.size(), (*reply)->size());
    return all;
  }
  pb::RangeResponse range(const pb::RangeRequest& request) {
    auto bytes = range_bytes(request);
    EXPECT_TRUE(bytes.ok()) << bytes.error().message;
    return bytes.ok() ? parse_as<pb::RangeResponse>(*bytes) : pb::RangeResponse{};
  }
  pb::RangeResponse range(const std::string& key, const std::string& end = "", std::int64_t revision = 0) {
    pb::RangeRequest request;
    request.set_key(key);
    request.set_range_end(end);
    request.set_revision(revision);
    return range(request);
  }
  Hash recomputed() {
    auto hash = machine_->recompute_state_hash();
    EXPECT_TRUE(hash.ok()) << hash.error().message;
    return hash.ok() ? *hash : Hash{};
  }

  MvccStateMachine& operator*() { return *machine_; }
  MvccStateMachine* operator->() { return machine_.get(); }
  LogMaker& maker() { return maker_; }
  StoreHome& home() { return home_; }
  TestClock& clock() { return clock_; }

 private:
  StoreHome home_;
  TestClock clock_;
  NullLog log_;
  StateMachineOptions options_;
  LogMaker maker_;
  std::unique_ptr<MvccStateMachine> machine_;
};

inline const std::string kFromKey(1, '\0');  // range_end for "from key on"

}  // namespace leeward::kv
