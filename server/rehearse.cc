#include "rehearse.h"

#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <utility>

#include "kv/offline.h"
#include "kv/state_machine.h"
#include "kv/stores.h"
#include "node/member.h"
#include "os/child_process.h"
#include "os/clock.h"
#include "os/posix_disk.h"
#include "os/random.h"
#include "os/thread_executor.h"
#include "standby/replication.h"
#include "wal/log_store.h"
#include "wal/superblock.h"
#include "wiring.h"

namespace leeward {
namespace {

constexpr Duration kPoll = 10ms;

// --- the node's side ---

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

// What the fork's member must have in common with the node; all else is of no
// use to one that is alone and listens to nobody.
std::string configuration(const config::Config& c, const node::Forked& fork) {
  const auto line = [](const char* key, const std::string& value) { return std::string(key) + " = " + value + "\n"; };
  const auto time = [](Duration d) { return "\"" + std::to_string(d / 1ms) + "ms\""; };
  const auto bytes = [](std::uint64_t b) { return "\"" + std::to_string(b) + "B\""; };
  const std::string id = std::to_string(c.node.id);
  return "[node]\n" + line("id", id) + line("name", quoted(c.node.name)) + line("region", quoted(c.node.region)) +
         line("data_dir", quoted(fork.data_dir)) + line("wal_dir", quoted(fork.wal_dir)) +
         line("snapshot_dir", quoted(fork.data_dir + "/snapshots")) + "[cluster]\n" + line("name", quoted(c.cluster.name)) +
         "members = [{ id = " + id + ", name = " + quoted(c.node.name) +
         ", peer = \"127.0.0.1:1\", client = \"127.0.0.1:2\", region = " + quoted(c.node.region) + " }]\n" + "[raft]\n" +
         line("heartbeat_interval", time(c.raft.heartbeat_interval)) + line("election_timeout", time(c.raft.election_timeout)) +
         line("max_batch_bytes", bytes(c.raft.max_batch_bytes)) +
         "[storage]\n" + line("segment_size", bytes(c.storage.segment_size)) +
         "rocksdb = { write_buffer = " + bytes(c.storage.rocksdb.write_buffer) + ", block_cache = " + bytes(c.storage.rocksdb.block_cache) +
         ", background_jobs = " + std::to_string(c.storage.rocksdb.background_jobs) + " }\n";
}

class ProcessStage final : public standby::Stage {
 public:
  ProcessStage(const config::Config& config, Disk& disk, Executor& core, Executor& background)
      : config_(config), disk_(disk), core_(core), background_(background) {}

  void rehearse(const node::Forked& fork, Function<void(standby::Rehearsed)> done) override {
    background_.post([this, fork, done = std::move(done)]() mutable {
      done_ = std::move(done);
      rehearsed_ = {};
      cancelled_.clear();
      if (auto started = start(fork); !started.ok()) {
        rehearsed_.broken = started.error().message;
        return end();
      }
      poll();
    });
  }

  void cancel(const std::string& why) override {
    background_.post([this, why] {
      if (!child_) return;
      cancelled_ = why;
      child_->kill();
    });
  }

 private:
  Result<void> start(const node::Forked& fork) {
    const Path path = fork.data_dir + "/leewardd.toml";
    auto file = disk_.open(path, OpenMode::kCreate);
    if (!file.ok()) return file.error();
    LEEWARD_TRY((*file)->write(0, configuration(config_, fork)));
    auto child = os::ChildProcess::start({"--config", path, "--rehearse"});
    if (!child.ok()) return child.error();
    child_ = std::move(*child);
    return {};
  }

  // Lines after the end, for it may have come between the two looks.
  void poll() {
    const auto ended = child_->ended();
    bool whole = false;
    for (const auto& line : child_->lines()) {
      const auto last = standby::take_line(line, rehearsed_);
      if (!last.ok() && rehearsed_.broken.empty()) rehearsed_.broken = last.error().message;
      whole |= last.ok() && *last;
    }
    whole_ |= whole;
    if (!ended) {
      background_.after(kPoll, [this] { poll(); });
      return;
    }
    if (!cancelled_.empty()) rehearsed_.broken = cancelled_;
    else if (!std::exchange(whole_, false) && rehearsed_.broken.empty())
      rehearsed_.broken = "the process that rehearses ended before its time" + (ended->empty() ? std::string() : ", by " + *ended) +
                          "; see this node's standard error";
    whole_ = false;
    end();
  }

  void end() {
    child_.reset();
    core_.post([done = std::move(done_), rehearsed = std::move(rehearsed_)]() mutable { done(std::move(rehearsed)); });
  }

  const config::Config& config_;
  Disk& disk_;
  Executor& core_;
  Executor& background_;
  // The background loop's.
  Function<void(standby::Rehearsed)> done_;
  standby::Rehearsed rehearsed_;
  std::unique_ptr<os::ChildProcess> child_;
  std::string cancelled_;
  bool whole_ = false;
};

// --- the other process ---

// Nobody is reached, and nobody reaches it.
class NoLink final : public PeerLink {
 public:
  void set_handler(Handler) override {}
  void set_peers(std::vector<PeerAddress>) override {}
  bool send(NodeId, Lane, std::vector<Bytes>) override { return false; }
  std::size_t queued(NodeId, Lane) const override { return 0; }
  bool connected(NodeId) const override { return false; }
};

// Warnings and errors, for whoever reads the node's standard error.
class StderrLog final : public Log {
 public:
  bool enabled(Level level) const override { return level >= Level::kWarn; }
  void write(Level, std::string_view message, std::initializer_list<Field> fields) override {
    std::string line = "leewardd: drill: " + std::string(message);
    for (const auto& f : fields) line += " " + std::string(f.key) + "=" + f.value;
    std::fprintf(stderr, "%s\n", line.c_str());
  }
};

void tell(const std::string& line) {
  std::fputs(line.c_str(), stdout);
  std::fflush(stdout);
}

class Fork {
 public:
  explicit Fork(const config::Config& config) : config_(config) {}
  int run();

 private:
  Result<void> open();
  // Runs `open` and tells how it went, as a check.
  template <class T>
  Result<T> told(const char* name, Result<T> (Fork::*open)(const Path&, Incarnation), const Path& path, Incarnation owner) {
    const Instant begun = clock_.now();
    auto result = (this->*open)(path, owner);
    failed_ |= !result.ok();
    tell(standby::line_of(DrillCheck{name, result.ok(), clock_.now() - begun, result.ok() ? "whole" : result.error().message}));
    return result;
  }
  Result<std::unique_ptr<StateMachine>> open_state(const Path& path, Incarnation);
  Result<std::unique_ptr<LogStore>> open_log(const Path& path, Incarnation owner);
  void end();

  const config::Config& config_;
  os::SystemClock clock_;
  os::PosixDisk disk_;
  os::SystemRandom random_, wal_random_;
  StderrLog log_;
  NoLink link_;
  os::ThreadExecutor core_, wal_, apply_, files_;
  std::unique_ptr<node::Member> member_;
  std::unique_ptr<standby::Replication> replication_;
  std::unique_ptr<standby::Rehearsal> rehearsal_;
  bool failed_ = false;

  std::mutex mutex_;
  std::condition_variable changed_;
  bool over_ = false;
};

Result<std::unique_ptr<StateMachine>> Fork::open_state(const Path& path, Incarnation) {
  kv::RocksDbOptions options;
  options.write_buffer = config_.storage.rocksdb.write_buffer;
  options.block_cache = config_.storage.rocksdb.block_cache;
  options.background_jobs = static_cast<int>(config_.storage.rocksdb.background_jobs);
  LEEWARD_TRY(kv::check_files(disk_, path));
  auto store = kv::open_rocksdb_store(path, options);
  if (!store.ok()) return store.error();
  auto state = kv::MvccStateMachine::open(std::move(*store), disk_, clock_, log_, {});
  if (!state.ok()) return state.error();
  return std::unique_ptr<StateMachine>(std::move(*state));
}

Result<std::unique_ptr<LogStore>> Fork::open_log(const Path& path, Incarnation owner) {
  wal::LogOptions options;
  options.owner = owner;
  options.segment_bytes = config_.storage.segment_size;
  auto log = wal::SegmentedLog::open(disk_, wal_random_, path, options);
  if (!log.ok()) return log.error();
  return std::unique_ptr<LogStore>(std::move(*log));
}

Result<void> Fork::open() {
  node::MemberOptions o;
  o.self = NodeId(config_.node.id);
  o.cluster_name = config_.cluster.name;
  for (const auto& [place, m] : config_.everyone())
    o.nodes.push_back({m.id, m.name, m.region, m.zone, m.peer, {}, GroupRole::kPrimary});
  o.raft.heartbeat_interval = config_.raft.heartbeat_interval;
  o.raft.election_timeout = config_.raft.election_timeout;
  o.storage.checkpoint_interval = UINT64_MAX / 2;  // it does not live that long
  o.data_dir = config_.node.data_dir;
  o.wal_dir = config_.node.wal_dir;
  o.snapshot_dir = config_.node.snapshot_dir;
  o.rehearsal = true;
  o.newest_format = newest_format();
  node::MemberPorts ports{clock_, disk_, core_, wal_, apply_, files_, random_, link_, log_, {}, {}, {}, {}};
  ports.open_state = [this](const Path& path) { return told("state_files", &Fork::open_state, path, Incarnation()); };
  ports.open_log = [this](const Path& path, Incarnation owner, bool) { return told("log", &Fork::open_log, path, owner); };
  ports.open_superblock = [this](const Path& path, const SuperblockData*) -> Result<std::unique_ptr<Superblock>> {
    auto found = wal::SuperblockFile::open(disk_, path, newest_format());
    if (!found.ok()) return found.error();
    return std::unique_ptr<Superblock>(std::move(*found));
  };
  ports.fatal = [this](const Error& error) {
    tell(standby::line_of(DrillCheck{"fork_process", false, {}, error.message}));
    end();
  };
  const Instant begun = clock_.now();
  auto member = node::Member::open(std::move(ports), std::move(o));
  if (!member.ok() && !failed_)
    tell(standby::line_of(DrillCheck{"open", false, clock_.now() - begun, member.error().message}));
  if (!member.ok()) return member.error();
  member_ = std::move(*member);
  return {};
}

void Fork::end() {
  std::lock_guard lock(mutex_);
  over_ = true;
  changed_.notify_all();
}

// Nothing is stopped in good order: what it has written is thrown away.
int Fork::run() {
  if (open().ok()) {
    const LogPoint log_end = member_->log().last();
    replication_ = std::make_unique<standby::Replication>(*member_, standby::ReplicationOptions{});
    rehearsal_ = std::make_unique<standby::Rehearsal>(
        standby::Rehearsal::Parts{*member_, *member_, replication_->recovery(), files_}, standby::RehearsalOptions{},
        standby::Rehearsal::Told{[](const DrillCheck& check) { tell(standby::line_of(check)); },
                                 [](const LogPoint& end, const Hash& hash) { tell(standby::line_of(end, hash)); },
                                 [](Duration rto, Epoch epoch) { tell(standby::line_of(rto, epoch)); }, [this] { end(); }});
    wal_.start("leeward-wal");
    apply_.start("leeward-apply");
    files_.start("leeward-files");
    core_.start("leeward-core");
    member_->start();
    core_.post([this, log_end] {
      replication_->start();
      rehearsal_->begin(log_end);
    });
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return over_; });
  }
  tell(standby::last_line());
  std::_Exit(0);
}

}  // namespace

std::unique_ptr<standby::Stage> process_stage(const config::Config& config, Disk& disk, Executor& core, Executor& background) {
  return std::make_unique<ProcessStage>(config, disk, core, background);
}

int rehearse(const config::Config& config) {
  os::end_with_parent();
  return Fork(config).run();
}

}  // namespace leeward
