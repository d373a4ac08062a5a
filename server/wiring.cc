#include "wiring.h"

#include <array>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <vector>

#include "admin/handler.h"
#include "api/gateway.h"
#include "api/services.h"
#include "kv/state_machine.h"
#include "kv/stores.h"
#include "net/io_loop.h"
#include "net/peer_transport.h"
#include "net/server.h"
#include "net/tls.h"
#include "node/member.h"
#include "os/clock.h"
#include "os/posix_disk.h"
#include "os/random.h"
#include "os/thread_executor.h"
#include "standby/forwarding.h"
#include "standby/replication.h"
#include "telemetry/logger.h"
#include "telemetry/metrics.h"
#include "wal/log_store.h"
#include "wal/superblock.h"

#ifndef LEEWARD_VERSION
#define LEEWARD_VERSION "0.0.0"
#endif
#ifndef LEEWARD_REVISION
#define LEEWARD_REVISION "unknown"
#endif

namespace leeward {

const char* version() { return LEEWARD_VERSION; }

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

node::MemberOptions member_options(const config::Config& c) {
  node::MemberOptions o;
  o.self = NodeId(c.node.id);
  o.cluster_name = c.cluster.name;
  for (const auto& [place, m] : c.everyone())
    o.nodes.push_back({m.id, m.name, m.region, m.zone, m.peer, m.client, role_at(place)});
  o.bootstrap = c.cluster.bootstrap == "join"    ? node::BootstrapMode::kJoin
                : c.cluster.bootstrap == "force" ? node::BootstrapMode::kForce
                                                 : node::BootstrapMode::kNew;
  o.raft.heartbeat_interval = c.raft.heartbeat_interval;
  o.raft.election_timeout = c.raft.election_timeout;
  o.raft.lease_reads = c.raft.lease_reads;
  o.raft.max_inflight_bytes = c.raft.max_inflight;
  o.limits.batch_bytes = c.raft.max_batch_bytes;
  o.storage.checkpoint_interval = c.storage.checkpoint_interval;
  o.storage.checkpoint_retention = c.storage.checkpoint_retention;
  o.storage.retain_log_bytes = c.dr.retain_log;
  o.data_dir = c.node.data_dir;
  o.wal_dir = c.node.wal_dir;
  o.snapshot_dir = c.node.snapshot_dir;
  o.version = version();
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
  o.product_version = version();
  o.operators.insert(c.admin.operators.begin(), c.admin.operators.end());
  o.insecure = c.admin.insecure;
  o.peer_tls = c.tls.peer.on();
  return o;
}

standby::ReplicationOptions replication_options(const config::Config& c) {
  standby::ReplicationOptions o;
  o.primary_silence = c.dr.primary_silence;
  o.eligibility.max_lag = c.dr.max_lag;
  return o;
}

std::string host_of(const std::string& address) { return address.substr(0, address.rfind(':')); }

}  // namespace

// Members are made in the order in which they depend on one another, and go in
// the reverse order; stop() says what must be quiet before what.
class Daemon::Impl {
 public:
  Impl(const config::Loaded& loaded) : loaded_(loaded), config_(loaded_.config) {}

  Result<void> start(const std::function<void(const std::string&)>& progress);
  bool stop(Duration limit);
  void reload(const config::Loaded& fresh);
  void check_files();
  std::string status_line() const;
  bool healthy() const;

  config::Loaded loaded_;
  const config::Config& config_;
  std::atomic<bool> failed_{false};

 private:
  struct Port {
    const char* name;
    std::shared_ptr<net::Tls> tls;
    std::unique_ptr<net::Listener> listener;
  };

  Result<void> load_certificates();
  Result<void> open_member();
  Result<void> open_listeners();
  void make_metrics();
  void make_admin();
  Result<std::unique_ptr<StateMachine>> open_state(const Path& path);
  Result<std::unique_ptr<Superblock>> open_superblock(const Path& path, const SuperblockData& fresh);

  os::SystemClock clock_;
  os::PosixDisk disk_;
  os::SystemRandom core_random_, wal_random_;
  std::unique_ptr<telemetry::Logger> log_;
  os::ThreadExecutor core_, wal_, background_;
  net::IoThread io_, admin_io_;
  Incarnation incarnation_;  // of the data directory; known once the superblock is open
  bool made_directory_ = false;

  Port client_{"client", {}, {}}, peer_{"peer", {}, {}}, admin_{"admin", {}, {}}, metrics_port_{"metrics", {}, {}};
  std::unique_ptr<net::Listener> socket_;
  std::unique_ptr<net::PeerTransport> link_;
  std::unique_ptr<node::Member> member_;
  std::unique_ptr<standby::Replication> replication_;
  std::unique_ptr<standby::ForwardingService> service_;
  api::ApiProbe api_probe_;
  std::unique_ptr<api::Services> services_;
  std::unique_ptr<telemetry::Metrics> metrics_;
  std::unique_ptr<admin::Handler> admin_handler_;
  std::unique_ptr<api::Gateway> gateway_, socket_gateway_;
};

Result<void> Daemon::Impl::load_certificates() {
  const std::array<std::pair<Port*, const config::Tls*>, 4> all = {{{&client_, &config_.tls.client},
                                                                    {&peer_, &config_.tls.peer},
                                                                    {&admin_, &config_.tls.admin},
                                                                    {&metrics_port_, &config_.tls.metrics}}};
  for (auto [port, options] : all) {
    if (!options->on()) continue;
    auto tls = net::Tls::server(tls_options(*options, config_.tls.min_version));
    if (!tls.ok()) return Error{tls.error().code, std::string("tls.") + port->name + ": " + tls.error().message};
    port->tls = *tls;
  }
  return {};
}

Result<std::unique_ptr<StateMachine>> Daemon::Impl::open_state(const Path& path) {
  kv::RocksDbOptions options;
  options.write_buffer = config_.storage.rocksdb.write_buffer;
  options.block_cache = config_.storage.rocksdb.block_cache;
  options.background_jobs = static_cast<int>(config_.storage.rocksdb.background_jobs);
  auto store = kv::open_rocksdb_store(path, options);
  if (!store.ok()) return store.error();
  auto state = kv::MvccStateMachine::open(std::move(*store), disk_, clock_, *log_, {});
  if (!state.ok()) return state.error();
  return std::unique_ptr<StateMachine>(std::move(*state));
}

// The log belongs to the directory's incarnation, so the superblock comes first.
Result<std::unique_ptr<Superblock>> Daemon::Impl::open_superblock(const Path& path, const SuperblockData& fresh) {
  auto found = wal::SuperblockFile::open(disk_, path);
  if (!found.ok() && found.error().code == Code::kNotFound) {
    found = wal::SuperblockFile::create(disk_, path, fresh);
    made_directory_ = true;
  }
  if (!found.ok()) return found.error();
  incarnation_ = (*found)->data().incarnation;
  return std::unique_ptr<Superblock>(std::move(*found));
}

Result<void> Daemon::Impl::open_member() {
  node::MemberPorts ports{
      .clock = clock_,
      .disk = disk_,
      .core = core_,
      .wal = wal_,
      .random = core_random_,
      .link = *link_,
      .log = *log_,
      .open_state = [this](const Path& path) { return open_state(path); },
      .open_log = [this](const Path& path) -> Result<std::unique_ptr<LogStore>> {
        wal::LogOptions options;
        options.owner = incarnation_;
        options.segment_bytes = config_.storage.segment_size;
        options.create = made_directory_;
        auto log = wal::SegmentedLog::open(disk_, wal_random_, path, options);
        if (!log.ok()) return log.error();
        return std::unique_ptr<LogStore>(std::move(*log));
      },
      .open_superblock = [this](const Path& path, const SuperblockData& fresh) { return open_superblock(path, fresh); },
      .fatal =
          [this](const Error& error) {
            log_->error("the node cannot go on", {{"reason", error.message}});
            failed_ = true;
          },
  };
  auto member = node::Member::open(std::move(ports), member_options(config_));
  if (!member.ok()) return member.error();
  member_ = std::move(*member);
  return {};
}
