#include "wiring.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>
#include <vector>

#include "admin/handler.h"
#include "api/gateway.h"
#include "api/handlers.h"
#include "api/recovery.h"
#include "api/services.h"
#include "base/check.h"
#include "kv/offline.h"
#include "kv/state_machine.h"
#include "kv/stores.h"
#include "net/io_loop.h"
#include "net/peer_transport.h"
#include "net/server.h"
#include "net/tls.h"
#include "node/member.h"
#include "os/clock.h"
#include "os/exit_record.h"
#include "os/open_files.h"
#include "os/posix_disk.h"
#include "os/random.h"
#include "os/thread_executor.h"
#include "rehearse.h"
#include "standby/drill.h"
#include "standby/forwarding.h"
#include "standby/replication.h"
#include "telemetry/flight_recorder.h"
#include "telemetry/logger.h"
#include "telemetry/metrics.h"
#include "telemetry/stage_times.h"
#include "tracing.h"
#include "wal/log_store.h"
#include "wal/superblock.h"

namespace leeward {
namespace {

// Waits in one thread for what another says once.
class Signal {
 public:
  void set() {
    std::lock_guard lock(mutex_);
    set_ = true;
    changed_.notify_all();
  }
  bool wait(Duration limit) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, limit, [this] { return set_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool set_ = false;
};

GroupRole role_at(config::Place place) {
  switch (place) {
    case config::Place::kActive: return GroupRole::kPrimary;
    case config::Place::kStandby: return GroupRole::kStandby;
    case config::Place::kObserver: return GroupRole::kObserver;
  }
  return GroupRole::kUnknown;
}

// As validate.cc has let it pass.
node::CompactionOptions compaction_options(const config::Config::Compaction& c) {
  node::CompactionOptions o;
  if (c.mode == "revision") {
    o.mode = node::CompactionOptions::Mode::kRevision;
    o.revisions = std::stoull(c.retention);
  } else if (c.mode == "periodic") {
    o.mode = node::CompactionOptions::Mode::kPeriodic;
    o.period = parse_duration(c.retention).value();
  }
  return o;
}

node::MemberOptions member_options(const config::Config& c) {
  node::MemberOptions o;
  o.self = NodeId(c.node.id);
  o.cluster_name = c.cluster.name;
  for (const auto& [place, m] : c.everyone())
    o.nodes.push_back({m.id, m.name, m.region, m.zone, m.peer, config::client_url(c, m), role_at(place)});
  o.bootstrap = c.cluster.bootstrap == "join"    ? node::BootstrapMode::kJoin
                : c.cluster.bootstrap == "force" ? node::BootstrapMode::kForce
                                                 : node::BootstrapMode::kNew;
  o.raft.heartbeat_interval = c.raft.heartbeat_interval;
  o.raft.election_timeout = c.raft.election_timeout;
  o.raft.lease_reads = c.raft.lease_reads;
  o.raft.max_inflight_bytes = c.raft.max_inflight;
  o.limits.batch_bytes = c.raft.max_batch_bytes;
  // Until when the end of a write is waited for, to which the member adds two
  // elections; a client's own deadline may be shorter.
  o.limits.request_timeout = std::max<Duration>(c.limits.request_timeout - 2 * c.raft.election_timeout, 1s);
  o.storage.checkpoint_interval = c.storage.checkpoint_interval;
  o.storage.checkpoint_retention = c.storage.checkpoint_retention;
  o.storage.retain_log_bytes = c.dr.retain_log;
  o.storage.quota = c.storage.quota;
  o.compaction = compaction_options(c.compaction);
  o.limits.start_wait = c.dr.start_wait;
  o.storage.reserve_bytes = 4 * c.storage.rocksdb.write_buffer;  // what a flush of all families takes, about
  o.data_dir = c.node.data_dir;
  o.wal_dir = c.node.wal_dir;
  o.snapshot_dir = c.node.snapshot_dir;
  o.version = version();
  o.newest_format = newest_format();
  return o;
}

net::TlsOptions tls_options(const config::Tls& t, const std::string& min_version) {
  net::TlsOptions o;
  o.cert = t.cert;
  o.key = t.key;
  o.ca = t.ca;
  o.min_version = min_version;
  o.client_auth = t.client_auth == "require"    ? net::ClientAuth::kRequire
                  : t.client_auth == "optional" ? net::ClientAuth::kOptional
                                                : net::ClientAuth::kNone;
  return o;
}

api::Options api_options(const config::Config& c) {
  api::Options o;
  o.max_txn_ops = c.limits.txn_ops;
  o.max_request_bytes = c.limits.request_bytes;
  o.request_timeout = c.limits.request_timeout;
  o.slow_request = c.limits.slow_request;
  o.rate = c.limits.rate;
  o.burst = c.limits.burst;
  o.product_version = version();
  o.operators.insert(c.admin.operators.begin(), c.admin.operators.end());
  o.insecure = c.admin.insecure;
  o.peer_tls = c.tls.peer.on();
  return o;
}

RpoPolicy rpo_policy(const config::Config& c) {
  return c.dr.rpo_policy == "throttle" ? RpoPolicy::kThrottle
         : c.dr.rpo_policy == "refuse" ? RpoPolicy::kRefuse
                                       : RpoPolicy::kAlert;
}

standby::ReplicationOptions replication_options(const config::Config& c) {
  standby::ReplicationOptions o;
  o.primary_silence = c.dr.primary_silence;
  o.eligibility.max_lag = c.dr.max_lag;
  o.source.compression = o.client.compression = c.dr.compression != "off";
  o.arming.mode = c.dr.self_fence == "lease" ? region::FenceMode::kLease : region::FenceMode::kContact;
  o.arming.lease = c.dr.lease;
  o.client.auto_rejoin = c.dr.auto_rejoin;
  o.switchover.timeout = c.dr.switchover_timeout;
  o.switchover.max_lag = c.dr.max_lag;
  o.governor.policy = rpo_policy(c);
  o.governor.budget = c.dr.rpo_budget;
  return o;
}

// Beside what it shares with the node: a copy of the segment that is written, the
// next one prepared, and what the state's write buffers become on disk.
standby::DrillOptions drill_options(const config::Config& c) {
  standby::DrillOptions o;
  o.fork.wal_bytes = 2 * c.storage.segment_size;
  o.fork.data_bytes = 4 * c.storage.rocksdb.write_buffer;
  return o;
}

net::ListenerLimits listener_limits(const config::Config& c, std::uint64_t most_connections) {
  net::ListenerLimits limits;
  limits.connections = std::min(c.limits.connections, most_connections);
  limits.streams = static_cast<std::uint32_t>(c.limits.concurrent_streams);
  limits.message_bytes = c.limits.request_bytes + 512_KiB;  // etcd's room for framing
  return limits;
}

// These codes are said of the data directory alone, since they decide the exit
// code.
Error not_of_the_data(Error error) {
  if (error.code == Code::kInUse || error.code == Code::kIo) error.code = Code::kUnavailable;
  return error;
}

// The other way round: whatever keeps the storage from being opened is the data
// directory's fault, and its operator's to mend.
Error of_the_data(Error error) {
  if (error.code == Code::kNotFound) error.code = Code::kIo;  // no place for a directory
  if (error.code == Code::kNoSpace) error.message += "; free space on that disk and start again: nothing is damaged";
  if (error.code == Code::kIo) error.message += "; see node.data_dir, wal_dir and snapshot_dir";
  return error;
}

// What handlers write to: one node a process.
std::atomic<os::ExitRecord*> crash_record{nullptr};
std::atomic<telemetry::FlightRecorder*> crash_flight{nullptr};
std::array<char, 4096> crash_flight_path;
constexpr const char* kCrashFlight = "flight-crash.jsonl";
constexpr const char* kAskedFlight = "flight.jsonl";
constexpr Duration kDrain = 2s;  // for calls to end once their clients have been told to go
constexpr int kCrashSignals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
std::array<struct sigaction, std::size(kCrashSignals)> previous_actions;

// By which a browser on this machine may reach it.
std::vector<std::string> own_names() {
  char host[256] = "";
  if (gethostname(host, sizeof host - 1) != 0 || host[0] == '\0') return {};
  std::string name(host);
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  return {std::move(name)};
}

void note_end(os::ExitReason reason) {
  if (os::ExitRecord* record = crash_record) record->ends_by(reason);
}

// Once: a failed check aborts, which is a crash too.
void dump_flight() {
  telemetry::FlightRecorder* const flight = crash_flight.exchange(nullptr);
  if (flight == nullptr) return;
  const int fd = open(crash_flight_path.data(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
  if (fd < 0) return;
  (void)flight->dump(fd);
  close(fd);
}

// Notes it and lets the signal do what it did before.
void on_crash(int signal) {
  note_end(os::ExitReason::kSignal);
  dump_flight();
  for (std::size_t i = 0; i < std::size(kCrashSignals); ++i)
    if (kCrashSignals[i] == signal) sigaction(signal, &previous_actions[i], nullptr);
  raise(signal);
}

// Whole or not at all.
Result<void> write_flight(const telemetry::FlightRecorder& flight, const std::string& path) {
  const std::string part = path + ".part";
  const int fd = open(part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
  if (fd < 0) return Error{Code::kIo, "open " + part + ": " + std::strerror(errno)};
  const bool whole = flight.dump(fd);
  const int why = errno;
  close(fd);
  if (!whole) return Error{Code::kIo, "write " + part + ": " + std::strerror(why)};
  if (rename(part.c_str(), path.c_str()) != 0) return Error{Code::kIo, "rename " + part + ": " + std::strerror(errno)};
  return {};
}

void watch_for_crashes(os::ExitRecord& record, telemetry::FlightRecorder& flight, const std::string& dump) {
  crash_record = &record;
  if (dump.size() < crash_flight_path.size()) {
    std::copy_n(dump.c_str(), dump.size() + 1, crash_flight_path.begin());
    crash_flight = &flight;
  }
  set_check_handler([](const char* file, int line, const char* text) {
    note_end(os::ExitReason::kAssertion);
    if (telemetry::FlightRecorder* const flight = crash_flight)
      flight->record(Level::kError, "a check failed", std::array<Field, 3>{Field{"file", file}, Field{"line", line}, Field{"check", text}});
    dump_flight();
  });
  struct sigaction action {};
  action.sa_handler = on_crash;
  for (std::size_t i = 0; i < std::size(kCrashSignals); ++i) sigaction(kCrashSignals[i], &action, &previous_actions[i]);
}

// What health paths see from the first moment on: until there is a member, a
// node that starts.
class StatusRelay final : public StatusSource {
 public:
  explicit StatusRelay(const config::Config& c) {
    starting_.self = NodeId(c.node.id);
    starting_.cluster_name = c.cluster.name;
    starting_.role = role_at(c.place());
  }
  void set(const StatusSource* source) { source_ = source; }
  NodeStatus status() const override {
    const StatusSource* source = source_;
    return source ? source->status() : starting_;
  }
  const NodeProbe& probe() const override {
    const StatusSource* source = source_;
    return source ? source->probe() : none_;
  }

 private:
  NodeStatus starting_;
  const NodeProbe none_;
  std::atomic<const StatusSource*> source_{nullptr};
};

}  // namespace

// Members are made in the order in which they depend on one another, and go in
// the reverse order; stop() says what must be quiet before what.
class Daemon::Impl {
 public:
  ~Impl() {
    crash_record = nullptr;
    crash_flight = nullptr;
  }
  Impl(const config::Loaded& loaded) : config_(loaded.config), shown_(loaded), relay_(config_) {}

  Result<void> start(const std::function<void(const std::string&)>& progress);
  bool stop(Duration limit);
  bool quiet() const { return quiet_; }
  void reload(const config::Loaded& fresh);
  void check_files();
  void tick();
  void give_up_leadership() { member_->give_up_leadership(); }
  void dump_flight_recorder();
  void ends_by(os::ExitReason reason) {
    if (exits_) exits_->ends(reason, clock_.wall());
  }
  // start() has failed: what was opened goes without a graceful stop.
  void abandon();
  std::string status_line() const;
  bool healthy() const;

  const config::Config config_;  // as at the start
  Error failure_;  // written once, before failed_
  std::atomic<bool> failed_{false};

 private:
  bool stop_ports(Instant until);
  struct Port {
    const char* name;
    std::shared_ptr<net::Tls> tls;
    std::unique_ptr<net::Listener> listener;
  };

  std::array<std::pair<Port*, const config::Tls*>, 4> ports();
  std::uint64_t most_connections(const Port& port) const { return &port == &client_ ? shares_.client : shares_.other; }
  Result<void> load_certificates();
  void tell_fault(const Port& port) const;
  Result<void> open_link();
  Result<void> open_member();
  Result<void> open_admin_listeners();
  Result<void> open_client_listeners();
  Result<void> listen(Port& port, const std::string& address, const char* key, net::IoLoop& loop, RpcHandler* rpc,
                      HttpHandler* http);
  node::Service& service();
  void make_metrics();
  void make_admin();
  Result<RecoveryStatus> recovery_status() const;
  Result<std::unique_ptr<StateMachine>> open_state(const Path& path);
  Result<std::unique_ptr<Superblock>> open_superblock(const Path& path, const SuperblockData* fresh);

  std::mutex shown_mutex_;
  config::Loaded shown_;  // under shown_mutex_: with what SIGHUP has changed

  os::SystemClock clock_;
  os::PosixDisk disk_{config_.storage.fsync ? os::PosixDisk::Syncs::kReal : os::PosixDisk::Syncs::kNever};
  os::SystemRandom core_random_, wal_random_;
  telemetry::FlightRecorder flight_{clock_};
  std::unique_ptr<telemetry::StageTimes> stage_times_;
  std::unique_ptr<telemetry::Logger> log_;
  std::unique_ptr<Tracing> tracing_;  // null: no traces
  os::ThreadExecutor core_, wal_, apply_, files_, background_;
  std::array<os::ThreadExecutor, 2> readers_;
  // What clients ask for must not delay what members tell one another.
  net::IoThread io_, peer_io_, admin_io_;

  Port client_{"client", {}, {}}, peer_{"peer", {}, {}}, admin_{"admin", {}, {}}, metrics_port_{"metrics", {}, {}};
  std::unique_ptr<net::Listener> socket_;
  StatusRelay relay_;
  std::unique_ptr<os::ExitRecord> exits_;
  Histogram state_flush_;
  std::map<NodeId, Histogram> round_trips_;  // to the members of the own group; its keys never change
  Lineage told_lineage_;                     // the main thread's
  std::unique_ptr<net::PeerTransport> link_;
  std::unique_ptr<node::Member> member_;
  std::unique_ptr<standby::Replication> replication_;
  std::unique_ptr<standby::ForwardingService> forwarding_;
  std::unique_ptr<standby::Stage> stage_;
  std::unique_ptr<standby::Drill> drill_;
  api::ApiProbe api_probe_;
  std::unique_ptr<api::Services> services_;
  std::atomic<Recovery*> recovery_{nullptr};  // for the admin port, which is open before there is one
  std::unique_ptr<telemetry::Metrics> metrics_;
  std::atomic<bool> metrics_ready_{false};
  std::unique_ptr<admin::AdminHandler> admin_handler_, metrics_handler_;
  std::unique_ptr<api::Gateway> gateway_;
  bool stopped_ = false;
  bool quiet_ = true;  // stop() left no call under way
  const std::uint64_t open_files_ = os::raise_open_files();
  const os::ConnectionShares shares_ = os::share_connections(open_files_, config_.storage.rocksdb.max_open_files);
};

std::array<std::pair<Daemon::Impl::Port*, const config::Tls*>, 4> Daemon::Impl::ports() {
  return {{{&client_, &config_.tls.client},
           {&peer_, &config_.tls.peer},
           {&admin_, &config_.tls.admin},
           {&metrics_port_, &config_.tls.metrics}}};
}

Result<void> Daemon::Impl::load_certificates() {
  for (auto [port, options] : ports()) {
    if (!options->on()) continue;
    auto tls = net::Tls::server(tls_options(*options, config_.tls.min_version));
    if (!tls.ok()) return Error{tls.error().code, std::string("tls.") + port->name + ": " + tls.error().message};
    port->tls = *tls;
    tell_fault(*port);
  }
  return {};
}

void Daemon::Impl::tell_fault(const Port& port) const {
  if (const std::string found = port.tls->fault_now(); !found.empty())
    log_->warn("a certificate is not valid now", {{"port", port.name}, {"detail", found}});
}

Result<std::unique_ptr<StateMachine>> Daemon::Impl::open_state(const Path& path) {
  kv::RocksDbOptions options;
  options.write_buffer = config_.storage.rocksdb.write_buffer;
  options.block_cache = config_.storage.rocksdb.block_cache;
  options.background_jobs = static_cast<int>(config_.storage.rocksdb.background_jobs);
  options.max_open_files = static_cast<int>(config_.storage.rocksdb.max_open_files);
  options.flush_duration = &state_flush_;
  if (disk_.exists(path + "/CURRENT")) LEEWARD_TRY(kv::check_files(disk_, path));
  auto store = kv::open_rocksdb_store(path, options);
  if (!store.ok()) return store.error();
  auto state = kv::MvccStateMachine::open(std::move(*store), disk_, clock_, *log_, {});
  if (!state.ok()) return state.error();
  return std::unique_ptr<StateMachine>(std::move(*state));
}

Result<std::unique_ptr<Superblock>> Daemon::Impl::open_superblock(const Path& path, const SuperblockData* fresh) {
  auto found = wal::SuperblockFile::open(disk_, path, newest_format());
  if (!found.ok() && found.error().code == Code::kNotFound && fresh) found = wal::SuperblockFile::create(disk_, path, *fresh);
  if (!found.ok()) return found.error();
  return std::unique_ptr<Superblock>(std::move(*found));
}

Result<void> Daemon::Impl::open_link() {
  net::PeerTransportOptions options;
  options.address = config_.listen.peer;
  options.cluster = config_.cluster.name;
  options.self = NodeId(config_.node.id);
  options.tls = peer_.tls;
  options.seed = core_random_.next();
  options.inbound = std::min<std::uint64_t>(options.inbound, shares_.peer);
  auto link = net::PeerTransport::open(std::move(options), peer_io_.loop(), core_, *log_);
  if (!link.ok()) return not_of_the_data(link.error());
  link_ = std::move(*link);
  return {};
}

Result<void> Daemon::Impl::open_member() {
  node::MemberPorts ports{
      .clock = clock_,
      .disk = disk_,
      .core = core_,
      .wal = wal_,
      .apply = apply_,
      .files = files_,
      .random = core_random_,
      .link = *link_,
      .log = *log_,
      .open_state = [this](const Path& path) { return open_state(path); },
      .open_log = [this](const Path& path, Incarnation owner, bool create) -> Result<std::unique_ptr<LogStore>> {
        wal::LogOptions options;
        options.owner = owner;
        options.segment_bytes = config_.storage.segment_size;
        options.create = create;
        auto log = wal::SegmentedLog::open(disk_, wal_random_, path, options);
        if (!log.ok()) return log.error();
        return std::unique_ptr<LogStore>(std::move(*log));
      },
      .open_superblock = [this](const Path& path, const SuperblockData* fresh) { return open_superblock(path, fresh); },
      .fatal =
          [this](const Error& error) {
            log_->error("the node cannot go on", {{"reason", error.message}});
            failure_ = error;
            failed_ = true;
            // Without a sync: the disk that failed may not answer any more, and the process is to end.
            if (exits_) exits_->ends_by(error.code == Code::kIo ? os::ExitReason::kFsync : os::ExitReason::kUnknown);
          },
      .tracer = tracing_ ? &tracing_->tracer() : nullptr,
  };
  auto member = node::Member::open(std::move(ports), member_options(config_));
  if (!member.ok()) return of_the_data(member.error());
  member_ = std::move(*member);
  relay_.set(member_.get());
  // The directory is ours now.
  auto exits = os::ExitRecord::open(config_.node.data_dir + "/exits", clock_.wall());
  if (!exits.ok()) return of_the_data(exits.error());
  exits_ = std::move(*exits);
  watch_for_crashes(*exits_, flight_, config_.node.data_dir + "/" + kCrashFlight);
  for (const auto& [place, other] : config_.everyone())
    if (place == config_.place() && other.id != NodeId(config_.node.id)) round_trips_[other.id];
  return {};
}

// The service that clients see: the member, or at a standby what forwards to
// the primary.
node::Service& Daemon::Impl::service() { return *forwarding_; }

void Daemon::Impl::make_metrics() {
  telemetry::MetricsSources m;
  m.status = member_.get();
  m.version = version();
  m.revision = revision();
  m.zone = config_.node.zone;
  for (std::size_t i = 0; i < api::kMethodCount; ++i) {
    const auto& method = api_probe_.methods[i];
    m.rpc.push_back({api::kMethodNames[i], method.requests, &method.server_faults, &method.duration, &method.exemplars, &method.started});
  }
  for (const api::MethodEntry& entry : api::method_table()) {
    telemetry::RpcFigures& rpc = m.rpc[static_cast<std::size_t>(entry.method)];
    rpc.path = entry.path;
    rpc.streaming = entry.stream != nullptr;
  }
  m.rpc[static_cast<std::size_t>(api::Method::kRangeSerializable)].path = m.rpc[static_cast<std::size_t>(api::Method::kRange)].path;
  m.rpc_in_flight = &api_probe_.in_flight;
  m.slow_requests = &api_probe_.slow_requests;
  m.rejected.push_back({"rate", &api_probe_.over_rate});
  m.watch_events = &api_probe_.watch_events;
  m.stage_watch = &api_probe_.stage_watch;
  for (const Port* port : {&client_, &admin_, &metrics_port_}) {
    m.connections.push_back({port->name, &port->listener->probe().connections});
    m.rejected.push_back({"connections", &port->listener->probe().refused});
  }
  m.connections.push_back({peer_.name, &link_->probe().connections});
  for (const auto& [peer, round_trip] : round_trips_) m.peer_rtt.push_back({peer, &round_trip});
  m.peer_sent_bytes = &link_->probe().bytes_sent;
  m.peer_received_bytes = &link_->probe().bytes_received;
  m.peer_dropped = &link_->probe().dropped;
  m.client_sent_bytes = &client_.listener->probe().rpc_bytes_sent;
  m.client_received_bytes = &client_.listener->probe().rpc_bytes_received;
  m.state_flush = &state_flush_;
  m.standby = &replication_->probe();
  m.state = [this] {
    StateMachine& state = member_->state();
    return telemetry::StateFigures{state.db_bytes(), state.db_bytes_in_use(), state.key_count(), state.watcher_count(),
                                   state.leases().size(), state.watch_backlog()};
  };
  m.volumes = [this] {
    std::vector<telemetry::Volume> volumes;
    const std::array<std::pair<std::string_view, const std::string*>, 3> places = {
        {{"data", &config_.node.data_dir}, {"wal", &config_.node.wal_dir}, {"snapshot", &config_.node.snapshot_dir}}};
    for (auto [name, path] : places)
      if (auto space = disk_.space(*path); space.ok()) volumes.push_back({name, space->free_bytes, space->total_bytes});
    return volumes;
  };
  m.log_dropped = [this] { return log_->dropped(); };
  m.otlp = tracing_ ? &tracing_->probe() : nullptr;
  m.certificates = [this] {
    std::vector<std::pair<std::string_view, std::optional<double>>> out;
    for (auto [port, options] : ports())
      out.emplace_back(port->name, port->tls ? std::optional(to_s(port->tls->expires().time_since_epoch())) : std::nullopt);
    return out;
  };
  for (std::size_t i = 0; i < os::kExitReasons.size(); ++i)
    m.past_exits.push_back({os::kExitReasons[i], exits_->ended()[i].count, exits_->ended()[i].last_seconds});
  m.quota_bytes = config_.storage.quota;
  m.retain_log_bytes = config_.dr.retain_log;
  m.max_lag = config_.dr.max_lag;
  m.rpo_budget = config_.dr.rpo_budget;
  metrics_ = std::make_unique<telemetry::Metrics>(std::move(m));
  metrics_ready_ = true;
}

// Before storage is open there is no history to tell.
Result<RecoveryStatus> Daemon::Impl::recovery_status() const {
  const Recovery* recovery = recovery_;
  return recovery ? recovery->status() : RecoveryStatus{};
}

void Daemon::Impl::make_admin() {
  admin::AdminSources sources;
  sources.status = &relay_;
  sources.metrics = [this](std::string_view accept) -> admin::AdminSources::Page {
    if (!metrics_ready_) return {};
    auto page = metrics_->render(accept);
    return {page.content_type, std::move(page.text)};
  };
  sources.config = [this] {
    std::lock_guard lock(shown_mutex_);
    return config::print(shown_);
  };
  sources.dr_status = [this]() -> Result<std::string> {
    const auto told = recovery_status();
    return told.ok() ? api::dr_status_json(relay_.status(), *told) : told.error();
  };
  sources.answers = [this](const NodeStatus& status) -> Result<std::string> {
    const auto told = recovery_status();
    return told.ok() ? api::answers_json(status, *told) : told.error();
  };
  sources.dr_plan = [this](std::vector<NodeId> members, Executor& loop, Function<void(Result<std::string>)> done) {
    auto answer = [this, done = std::move(done)](Result<PromotionPlan> plan) mutable {
      done(plan.ok() ? api::dr_plan_json(*plan, clock_.wall()) : plan.error());
    };
    Recovery* recovery = recovery_;
    if (recovery == nullptr) return answer(Error{Code::kUnavailable, "the node is starting"});
    if (members.empty()) return recovery->plan(loop, std::move(answer));
    recovery->plan_survivors(std::move(members), loop, std::move(answer));
  };
  sources.loops_turn = [this] { return healthy(); };
  sources.now = [this] { return clock_.now(); };
  sources.wall = [this] { return clock_.wall(); };
  sources.flight = [this] { return flight_.text(); };
  sources.flight_since = [this](std::uint64_t from, std::string& lines) { return flight_.text_since(from, lines); };
  sources.operators = config_.admin.operators;
  sources.insecure = config_.admin.insecure;
  sources.host_names = own_names();
  sources.max_lag = config_.dr.max_lag;
  admin_handler_ = std::make_unique<admin::AdminHandler>(sources, admin::Surface::kAdmin);
  metrics_handler_ = std::make_unique<admin::AdminHandler>(sources, admin::Surface::kMetrics);
}

Result<void> Daemon::Impl::listen(Port& port, const std::string& address, const char* key, net::IoLoop& loop, RpcHandler* rpc,
                                  HttpHandler* http) {
  net::ListenerOptions options;
  options.name = port.name;
  options.address = address;
  options.config_key = key;
  options.tls = port.tls;
  options.limits = listener_limits(config_, most_connections(port));
  auto listener = net::Listener::open(std::move(options), {&loop}, rpc, http, *log_);
  if (!listener.ok()) return not_of_the_data(listener.error());
  port.listener = std::move(*listener);
  return {};
}

// The admin port has a loop of its own: overload of the client port never
// delays it.
Result<void> Daemon::Impl::open_admin_listeners() {
  LEEWARD_TRY(listen(metrics_port_, config_.listen.metrics, "listen.metrics", admin_io_.loop(), nullptr, metrics_handler_.get()));
  return listen(admin_, config_.listen.admin, "listen.admin", admin_io_.loop(), nullptr, admin_handler_.get());
}

Result<void> Daemon::Impl::open_client_listeners() {
  LEEWARD_TRY(listen(client_, config_.listen.client, "listen.client", io_.loop(), services_.get(), gateway_.get()));
  if (config_.admin.socket.empty()) return {};
  net::ListenerOptions options;
  options.name = "socket";
  options.address = "unix://" + config_.admin.socket;
  options.config_key = "admin.socket";
  options.limits = listener_limits(config_, shares_.other);
  auto listener = net::Listener::open(std::move(options), {&admin_io_.loop()}, services_.get(), gateway_.get(), *log_);
  if (!listener.ok()) return not_of_the_data(listener.error());
  socket_ = std::move(*listener);
  return {};
}

Result<void> Daemon::Impl::start(const std::function<void(const std::string&)>& progress) {
  telemetry::LogOptions log_options;
  auto level = telemetry::parse_level(config_.log.level);
  if (!level.ok()) return level.error();
  log_options.level = *level;
  log_options.format = config_.log.format == "pretty" ? telemetry::LogFormat::kPretty : telemetry::LogFormat::kJson;
  log_options.output = config_.log.output;
  log_options.max_size = config_.log.max_size;
  log_options.max_backups = config_.log.max_backups;
  log_options.max_age = config_.log.max_age;
  log_options.node = NodeId(config_.node.id);
  log_options.region = config_.node.region;
  log_options.recorder = &flight_;
  auto log = telemetry::Logger::open(log_options, clock_);
  if (!log.ok()) return not_of_the_data(log.error());
  log_ = std::move(*log);
  log_->info("starting", {{"version", version()}, {"data_dir", config_.node.data_dir}});
  tracing_ = Tracing::make(config_, core_random_.next(), clock_, *log_);
  if (shares_.client < config_.limits.connections)
    log_->warn("this process may open too few files for limits.connections: raise LimitNOFILE (ulimit -Hn)",
               {{"open_files", open_files_}, {"connections", shares_.client}, {"limits.connections", config_.limits.connections}});

  LEEWARD_TRY(load_certificates());
  make_admin();
  LEEWARD_TRY(open_admin_listeners());
  LEEWARD_TRY(open_link());
  progress("opening storage");
  LEEWARD_TRY(open_member());
  replication_ = std::make_unique<standby::Replication>(*member_, replication_options(config_));
  recovery_ = &replication_->recovery();
  forwarding_ = std::make_unique<standby::ForwardingService>(
      *member_, *member_, *replication_, standby::ForwardingOptions{.forward = config_.dr.forward});
  stage_ = process_stage(config_, disk_, core_, background_);
  drill_ = std::make_unique<standby::Drill>(*member_, *stage_, drill_options(config_), [this]() -> std::optional<Duration> {
    return replication_->pinger().meter().lag(member_->state().applied().point.position, clock_.now()).high;
  });
  services_ = std::make_unique<api::Services>(api::Dependencies{service(), clock_, *log_, api_probe_, &background_, {&readers_[0], &readers_[1]},
                                                                   &replication_->recovery(), &replication_->handover(),
                                                                   &replication_->way_back(), drill_.get(),
                                                                   tracing_ ? &tracing_->tracer() : nullptr},
                                              api_options(config_));
  gateway_ = std::make_unique<api::Gateway>(*services_, metrics_handler_.get());
  LEEWARD_TRY(open_client_listeners());
  make_metrics();
  const NodeProbe& probe = member_->probe();
  const StandbyProbe& stream = replication_->probe();
  stage_times_ = std::make_unique<telemetry::StageTimes>(std::vector<std::pair<const char*, const Histogram*>>{
      {"queue", &probe.stage_queue}, {"forward", &probe.stage_forward}, {"fsync", &probe.stage_fsync},
      {"append", &probe.stage_append}, {"quorum", &probe.stage_quorum}, {"apply", &probe.stage_apply},
      {"standby_receive", &stream.stage_receive}, {"standby_fsync", &stream.stage_fsync}, {"standby_apply", &stream.stage_apply}});
  tick();  // before peers are spoken to: they are refused by the lineage that storage tells

  wal_.start("leeward-wal");
  apply_.start("leeward-apply");
  files_.start("leeward-files");
  background_.start("leeward-scan");
  for (auto& reader : readers_) reader.start("leeward-read");
  core_.start("leeward-core");
  member_->start();
  core_.post([this] { replication_->start(); });
  log_->info("listening", {{"client", config_.listen.client},
                           {"peer", config_.listen.peer},
                           {"admin", config_.listen.admin},
                           {"metrics", config_.listen.metrics}});
  return {};
}

// Clients first, then the member, while its peers still hear it: it refuses what
// comes and ends what is under way. Then the other ports, the stream, the loops.
// A loop that makes a large answer comes to its end late; the readers give it no
// more of them meanwhile.
bool Daemon::Impl::stop_ports(Instant until) {
  const auto all = [&](Duration drain, Duration patience) {
    bool ended = true;
    for (Port* port : {&client_, &admin_, &metrics_port_})
      if (port->listener) ended &= port->listener->stop(std::clamp<Duration>(until - clock_.now(), 0s, drain), patience);
    if (socket_) ended &= socket_->stop(0s, patience);
    return ended;
  };
  if (services_) services_->core().stopping = true;
  if (admin_handler_) admin_handler_->stop();
  if (all(kDrain, 1s)) return true;
  for (auto& reader : readers_) {
    reader.stop();
    reader.join();
  }
  return all(0s, std::max<Duration>(until - clock_.now(), 1s));
}

bool Daemon::Impl::stop(Duration limit) {
  if (stopped_) return true;
  stopped_ = true;
  const Instant until = clock_.now() + limit;
  Signal done;
  bool in_time = true;
  // They hear that they should go while their calls still end here, those that were passed on to other members too. A watch
  // does not end by itself: its connection is cut.
  if (member_ && client_.listener) (void)client_.listener->stop(kDrain, 1s);
  if (member_) {
    member_->stop([&done] { done.set(); });
    in_time = done.wait(limit * 2 / 3);
    if (!in_time) log_->error("the member did not stop in time; leaving as after a crash", {});
  }
  if (!stop_ports(until)) {
    // Calls use what would go next.
    log_->error("connections did not end in time; leaving as after a crash", {});
    log_->flush();
    quiet_ = false;
    return false;
  }
  if (replication_ && in_time) {
    Signal gone;
    core_.post([this, &gone] {
      drill_.reset();
      forwarding_.reset();
      replication_.reset();
      gone.set();
    });
    in_time = gone.wait(5s);
  }
  if (link_) link_->close();
  core_.stop();
  core_.join();
  wal_.stop();
  wal_.join();
  apply_.stop();
  apply_.join();
  files_.stop();
  files_.join();
  background_.stop();
  background_.join();
  for (auto& reader : readers_) {
    reader.stop();
    reader.join();
  }
  log_->info("stopped", {{"in_time", in_time}});
  log_->flush();
  if (in_time && !failed_) ends_by(os::ExitReason::kClean);
  return in_time;
}

void Daemon::Impl::reload(const config::Loaded& fresh) {
  log_->reopen();
  bool whole = fresh.ok();
  for (const std::string& problem : fresh.problems)
    log_->error("reload: the running configuration stays", {{"problem", problem}});
  if (fresh.ok()) {
    config::Changes changes;
    {
      std::lock_guard lock(shown_mutex_);
      changes = config::take_reloadable(shown_, fresh);
    }
    if (auto level = telemetry::parse_level(fresh.config.log.level); level.ok()) log_->set_level(*level);
    services_->core().set_limits(api_options(fresh.config));
    for (Port* port : {&client_, &admin_, &metrics_port_}) port->listener->set_limits(listener_limits(fresh.config, most_connections(*port)));
    core_.post([this, policy = rpo_policy(fresh.config), budget = fresh.config.dr.rpo_budget] {
      if (replication_) replication_->set_rpo_policy(policy, budget);
    });
    for (const std::string& key : changes.taken) log_->info("reload: a setting was taken", {{"key", key}});
    for (const std::string& key : changes.fixed)
      log_->warn("reload: a changed setting waits for the next start of this node", {{"key", key}});
  }
  for (Port* port : {&client_, &peer_, &admin_, &metrics_port_}) {
    if (!port->tls) continue;
    if (auto done = port->tls->reload(); !done.ok()) {
      whole = false;
      log_->error("a certificate was not taken; the old one stays",
                  {{"port", port->name}, {"reason", done.error().message}});
    }
    tell_fault(*port);
  }
  if (whole) log_->info("reloaded", {});
  else log_->warn("reloaded in part: what the lines before name stays as it was", {});
}

void Daemon::Impl::tick() {
  const NodeStatus s = relay_.status();
  log_->set_epoch(s.epoch);
  if (s.lineage.known() && s.lineage != told_lineage_) {
    told_lineage_ = s.lineage;
    link_->set_lineage(s.lineage);
  }
  if (services_) services_->heed(s);
  if (stage_times_) stage_times_->note(clock_.now(), s, flight_);
  if (s.state != MemberState::kLeader) return;
  for (const NodeStatus::Peer& peer : s.peers)
    if (const auto found = round_trips_.find(peer.id); found != round_trips_.end() && peer.active && peer.rtt)
      found->second.observe(*peer.rtt);
}

void Daemon::Impl::dump_flight_recorder() {
  const std::string path = config_.node.data_dir + "/" + kAskedFlight;
  if (const auto done = write_flight(flight_, path); done.ok()) log_->info("the flight recorder was dumped", {{"file", path}});
  else log_->error("the flight recorder was not dumped", {{"reason", done.error().message}});
}

void Daemon::Impl::check_files() {
  for (Port* port : {&client_, &peer_, &admin_, &metrics_port_}) {
    if (!port->tls) continue;
    auto changed = port->tls->reload_if_changed();
    if (!changed.ok())
      log_->error("a certificate was not taken; the old one stays",
                  {{"port", port->name}, {"reason", changed.error().message}});
    else if (*changed) {
      log_->info("certificate reloaded", {{"port", port->name}});
      tell_fault(*port);
    }
  }
  if (exits_) exits_->alive(clock_.wall());
}

std::string Daemon::Impl::status_line() const {
  const NodeStatus s = member_->status();
  if (!s.waiting_for.empty()) return s.waiting_for;
  return std::string(name(s.role)) + ", " + name(s.state) + ", leader " + std::to_string(s.leader.value()) + ", epoch " +
         std::to_string(s.epoch.value());
}

void Daemon::Impl::abandon() {
  stopped_ = true;
  for (Port* port : {&client_, &admin_, &metrics_port_})
    if (port->listener) port->listener->stop(0s);
  if (socket_) socket_->stop(0s);
  if (exits_) ends_by(os::ExitReason::kClean);  // an error that was told is no crash
  if (!link_) return;
  core_.start("leeward-core");  // it has the link's last word
  link_->close();
  core_.stop();
  core_.join();
}

bool Daemon::Impl::healthy() const {
  const auto within = [now = clock_.now()](const os::ThreadExecutor& loop, Duration limit) {
    const auto since = loop.busy_since();
    return !since || now - *since <= limit;
  };
  // One write may be a long one, and a restart would only begin it anew.
  return within(core_, 10s) && within(wal_, 10s) && within(apply_, 5min);
}

Daemon::Daemon(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Daemon::~Daemon() { impl_->stop(1s); }

Result<std::unique_ptr<Daemon>> Daemon::start(const config::Loaded& loaded,
                                              const std::function<void(const std::string&)>& progress) {
  auto impl = std::make_unique<Impl>(loaded);
  if (auto started = impl->start(progress); !started.ok()) {
    impl->abandon();
    return started.error();
  }
  return std::unique_ptr<Daemon>(new Daemon(std::move(impl)));
}

void Daemon::reload(const config::Loaded& fresh) { impl_->reload(fresh); }
void Daemon::check_files() { impl_->check_files(); }
void Daemon::tick() { impl_->tick(); }
void Daemon::dump_flight_recorder() { impl_->dump_flight_recorder(); }
void Daemon::ends_by_signal() { impl_->ends_by(os::ExitReason::kSignal); }
void Daemon::ends_while_starting() noexcept { note_end(os::ExitReason::kClean); }
void Daemon::give_up_leadership() { impl_->give_up_leadership(); }
bool Daemon::stop(Duration limit) { return impl_->stop(limit); }
std::string Daemon::status_line() const { return impl_->status_line(); }
bool Daemon::healthy() const { return impl_->healthy(); }
bool Daemon::quiet() const { return impl_->quiet(); }
std::optional<Error> Daemon::failure() const {
  if (!impl_->failed_) return std::nullopt;
  return impl_->failure_;
}

void check_certificates(config::Loaded& loaded) {
  const config::Config::TlsSection& all = loaded.config.tls;
  for (const auto& [use, tls] : {std::pair{"client", &all.client}, {"peer", &all.peer}, {"admin", &all.admin}, {"metrics", &all.metrics}}) {
    if (tls->cert.empty() || tls->key.empty()) continue;  // none, or said by the configuration's own checks
    const auto made = net::Tls::server(tls_options(*tls, all.min_version));
    const std::string found = made.ok() ? (*made)->fault_now() : made.error().message;
    if (found.empty()) continue;
    const std::string key = std::string("tls.") + use;
    const auto origin = loaded.origins.find(key + ".cert");
    (made.ok() ? loaded.warnings : loaded.problems).push_back((origin == loaded.origins.end() ? "" : origin->second + ": ") + key + ": " + found);
  }
}

}  // namespace leeward
