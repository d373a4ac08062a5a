// Everything the daemon can be told, validated. A plain value: copy it freely.
// Defaults stand here and nowhere else; README.md lists the rules.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "base/units.h"
#include "config/values.h"

namespace leeward::config {

// A member of a group at its first start, as the lists of the file name it.
struct Member {
  NodeId id;
  std::string name;    // "" in the file: "node-<id>"
  std::string peer;    // host:port
  std::string client;  // host:port or URL; "" when not given
  std::string region, zone;
  bool operator==(const Member&) const = default;
};

struct ObserverGroup {
  std::string region;
  std::vector<Member> members;
  bool operator==(const ObserverGroup&) const = default;
};

// Where the node's id stands decides its role at first start.
enum class Place { kActive, kStandby, kObserver };

// TLS of one listener (and, for `peer`, of the connections that go out).
// Without `cert` it is plain.
struct Tls {
  std::string cert, key, ca;  // PEM files
  std::string client_auth;    // none | optional | require
  bool on() const { return !cert.empty(); }
  bool operator==(const Tls&) const = default;
};

struct Config {
  struct Node {
    std::uint64_t id = 0;  // 1..2^32-1
    std::string name, region, zone;
    std::string data_dir = "/var/lib/leeward";
    std::string wal_dir;       // default: <data_dir>/wal
    std::string snapshot_dir;  // default: <data_dir>/snapshots
    bool operator==(const Node&) const = default;
  } node;

  struct Listen {
    std::string client = "127.0.0.1:2379";
    std::string peer = "127.0.0.1:2380";
    std::string admin = "127.0.0.1:8080";
    std::string metrics = "127.0.0.1:9090";
    bool operator==(const Listen&) const = default;
  } listen;

  struct Advertise {  // default: the node's entry in its list, else `listen`
    std::string client, peer;
    bool operator==(const Advertise&) const = default;
  } advertise;

  struct Cluster {
    std::string name = "leeward";
    std::string bootstrap = "new";  // new | join | force
    std::vector<Member> members;
    bool operator==(const Cluster&) const = default;
  } cluster;

  struct Standby {
    std::string region;
    std::vector<Member> members;
    std::vector<ObserverGroup> observers;
    bool operator==(const Standby&) const = default;
  } standby;

  struct Raft {
    Duration heartbeat_interval = 100ms;
    Duration election_timeout = 1s;
    std::uint64_t max_batch_bytes = 1_MiB;
    std::uint64_t max_inflight = 8_MiB;  // bytes sent to one follower and not acknowledged
    bool lease_reads = true;
    bool operator==(const Raft&) const = default;
  } raft;

  struct Storage {
    bool fsync = true;
    std::uint64_t segment_size = 64_MiB;
    std::uint64_t checkpoint_interval = 100'000;  // writes
    std::uint64_t checkpoint_retention = 3;
    std::uint64_t quota = 2_GiB;
    std::uint64_t scrub_rate = 1_MiB;  // bytes a second; 0: off
    struct RocksDb {
      std::uint64_t block_cache = 32_MiB;
      std::uint64_t write_buffer = 16_MiB;
      std::uint64_t background_jobs = 2;
      std::uint64_t max_open_files = 512;
      bool operator==(const RocksDb&) const = default;
    } rocksdb;
    bool operator==(const Storage&) const = default;
  } storage;

  struct Compaction {
    std::string mode = "off";        // periodic | revision | off
    std::string retention = "1h";    // a duration, or with mode revision a number of revisions
    bool operator==(const Compaction&) const = default;
  } compaction;

  struct Dr {
    Duration max_lag = 1s;
    Duration primary_silence = 5s;
    std::string rpo_policy = "alert";  // alert | throttle | refuse
    Duration rpo_budget = 1s;
    Duration start_wait = 30s;         // Duration::max(): "forever"
    std::uint64_t retain_log = 4_GiB;
    std::string compression = "zstd";  // zstd | off
    bool forward = true;
    bool auto_rejoin = false;
    Duration switchover_timeout = 5s;
    std::string self_fence = "contact";  // contact | lease
    Duration lease = 10s;
    bool operator==(const Dr&) const = default;
  } dr;

  struct Limits {
    std::uint64_t connections = 10'000;
    std::uint64_t request_bytes = 3_MiB / 2;
    std::uint64_t txn_ops = 128;
    std::uint64_t concurrent_streams = 1'000;  // of one connection
    std::uint64_t rate = 0;                    // requests a second of KV and Lease; 0: no limit
    std::uint64_t burst = 0;                   // at once; 0: as many as rate
    Duration request_timeout = 7s;
    Duration slow_request = 100ms;
    bool operator==(const Limits&) const = default;
  } limits;

  struct TlsSection {
    Tls client{.client_auth = "none"};
    Tls peer{.client_auth = "require"};
    Tls admin{.client_auth = "optional"};
    Tls metrics{.client_auth = "optional"};
    std::string min_version = "1.2";  // 1.2 | 1.3
    bool operator==(const TlsSection&) const = default;
  } tls;

  struct Admin {
    std::vector<std::string> operators;  // certificate common names
    std::string socket;                  // path; "" none
    bool insecure = false;
    bool operator==(const Admin&) const = default;
  } admin;

  struct Auth {
    std::string token = "simple";  // simple | jwt
    Duration ttl = 5min;
    struct Jwt {
      std::string sign_method = "RS256";
      std::string public_key, private_key;  // PEM files
      Duration ttl = 5min;
      bool operator==(const Jwt&) const = default;
    } jwt;
    bool operator==(const Auth&) const = default;
  } auth;

  struct Telemetry {
    std::string traces = "auto";  // auto: when an endpoint is given; otlp: also to the default one; none
    std::string otlp_endpoint;    // base of OTLP's URLs
    std::string otlp_traces_endpoint;             // used as it is, and before the base
    std::string otlp_protocol = "http/protobuf";  // http/protobuf | http/json | grpc
    std::string otlp_headers;                     // "name=value,name=value", values percent-encoded; a secret
    Duration otlp_timeout = 10s;                  // of one request
    std::string otlp_ca, otlp_cert, otlp_key;     // PEM files; without a CA the system's
    std::string sampler = "parentbased_traceidratio";
    double sample_ratio = 0.01;
    std::string service_name = "leeward";
    std::string resource_attributes;              // "key=value,key=value", beside the node's own
    std::uint64_t queue_spans = 2048, batch_spans = 512;
    Duration batch_delay = 5s;
    bool operator==(const Telemetry&) const = default;
  } telemetry;

  struct LogSection {
    std::string level = "info";     // debug | info | warn | error
    std::string format = "json";    // json | pretty
    std::string output = "stderr";  // or a path
    std::uint64_t max_size = 100_MiB;
    std::uint64_t max_backups = 5;
    Duration max_age = 30 * 24h;    // of rotated files; 0: no limit
    bool operator==(const LogSection&) const = default;
  } log;

  bool operator==(const Config&) const = default;

  // The entry of node.id, and its place. A loaded configuration has one.
  const Member* self() const;
  Place place() const;
  // All entries of all lists with the place of each.
  std::vector<std::pair<Place, Member>> everyone() const;
};

// How clients reach `member`: "http://10.0.1.1:2379", https when the client
// port of this configuration has TLS. "" when its list does not say.
std::string client_url(const Config& config, const Member& member);

// One node on loopback, data below ./leeward-data, readable logs, and no
// certificate asked of operators: for trying it out on one's own machine.
Config dev_config();

struct Sources {
  std::string file_name;  // for messages; "" when there is no file
  std::string file_text;
  std::vector<std::string> environment;  // "NAME=value"; others than LEEWARD_ and OTEL_ are ignored
  std::vector<std::string> set;          // "section.key=value"
  bool dev = false;                      // start from dev_config()
};

struct Loaded {
  Config config;
  std::vector<std::string> problems;  // any of them: do not start, exit 2
  std::vector<std::string> warnings;
  std::map<std::string, std::string> origins;  // key -> "leeward.toml:3", "--set", ...; without an entry: default
  bool ok() const { return problems.empty(); }
};

Loaded load(const Sources& sources);

// The keys whose values differ, in the order of print().
struct Changes {
  std::vector<std::string> taken;  // README.md, "Reload", lists them
  std::vector<std::string> fixed;  // wait for the next start
};
// Gives `running` what a running node may take of `fresh`.
Changes take_reloadable(Loaded& running, const Loaded& fresh);

// Reads `path` into `sources`. Errors: kNotFound, kIo, with what to do.
Result<void> read_file(const std::string& path, Sources& sources);

// The effective configuration as TOML, the origin of each value beside it.
std::string print(const Loaded& loaded);

}  // namespace leeward::config
