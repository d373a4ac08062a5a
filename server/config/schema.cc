#include "config/schema.h"

#include <algorithm>
#include <numeric>

namespace leeward::config {
namespace {

using Form = Key::Form;
constexpr std::uint64_t kNodeIdMax = 0xffffffff;

std::uint64_t ns(Duration d) { return static_cast<std::uint64_t>(d.count()); }

// Named constructors keep the table below readable.
Key text(std::string name, std::string* to, std::vector<std::string_view> choices = {}) {
  return {.name = std::move(name), .target = to, .choices = std::move(choices)};
}
Key formed(std::string name, std::string* to, Form form) {
  return {.name = std::move(name), .target = to, .form = form};
}
Key number(std::string name, std::uint64_t* to, std::uint64_t min,
           std::uint64_t max = std::numeric_limits<std::int64_t>::max()) {
  return {.name = std::move(name), .target = to, .min = min, .max = max};
}
Key size(std::string name, std::uint64_t* to, std::uint64_t min,
         std::uint64_t max = std::numeric_limits<std::int64_t>::max()) {
  return {.name = std::move(name), .target = Size{to}, .min = min, .max = max};
}
Key duration(std::string name, Duration* to, Duration min, bool forever = false) {
  return {.name = std::move(name), .target = to, .min = ns(min), .forever = forever};
}
// For those that are multiplied: any bound is far from where that overflows.
Key duration(std::string name, Duration* to, Duration min, Duration max) {
  return {.name = std::move(name), .target = to, .min = ns(min), .max = ns(max)};
}
template <class T>
Key plain(std::string name, T* to) {
  return {.name = std::move(name), .target = to};
}

void add_identity(std::vector<Key>& out, Config& c) {
  out.insert(out.end(), {
      number("node.id", &c.node.id, 1, kNodeIdMax),
      text("node.name", &c.node.name),
      text("node.region", &c.node.region),
      text("node.zone", &c.node.zone),
      formed("node.data_dir", &c.node.data_dir, Form::kRequired),
      text("node.wal_dir", &c.node.wal_dir),
      text("node.snapshot_dir", &c.node.snapshot_dir),
      formed("listen.client", &c.listen.client, Form::kAddress),
      formed("listen.peer", &c.listen.peer, Form::kAddress),
      formed("listen.admin", &c.listen.admin, Form::kAddress),
      formed("listen.metrics", &c.listen.metrics, Form::kAddress),
      formed("advertise.client", &c.advertise.client, Form::kOptionalAddress),
      formed("advertise.peer", &c.advertise.peer, Form::kOptionalAddress),
      formed("cluster.name", &c.cluster.name, Form::kRequired),
      text("cluster.bootstrap", &c.cluster.bootstrap, {"new", "join", "force"}),
      plain("cluster.members", &c.cluster.members),
      text("standby.region", &c.standby.region),
      plain("standby.members", &c.standby.members),
      plain("standby.observers", &c.standby.observers),
  });
}

void add_engine(std::vector<Key>& out, Config& c) {
  out.insert(out.end(), {
      duration("raft.heartbeat_interval", &c.raft.heartbeat_interval, 1ms, 1h),
      duration("raft.election_timeout", &c.raft.election_timeout, 10ms, 1h),
      size("raft.max_batch_bytes", &c.raft.max_batch_bytes, 4_KiB, 16_MiB),
      size("raft.max_inflight", &c.raft.max_inflight, 64_KiB),
      plain("raft.lease_reads", &c.raft.lease_reads),
      plain("storage.fsync", &c.storage.fsync),
      size("storage.segment_size", &c.storage.segment_size, 1_MiB, 4_GiB),
      number("storage.checkpoint_interval", &c.storage.checkpoint_interval, 1),
      number("storage.checkpoint_retention", &c.storage.checkpoint_retention, 1, 100),
      size("storage.quota", &c.storage.quota, 16_MiB),
      size("storage.scrub_rate", &c.storage.scrub_rate, 0),
      size("storage.rocksdb.block_cache", &c.storage.rocksdb.block_cache, 1_MiB),
      size("storage.rocksdb.write_buffer", &c.storage.rocksdb.write_buffer, 1_MiB, 1_GiB),
      number("storage.rocksdb.background_jobs", &c.storage.rocksdb.background_jobs, 1, 64),
      number("storage.rocksdb.max_open_files", &c.storage.rocksdb.max_open_files, 16, 1'000'000),
      text("compaction.mode", &c.compaction.mode, {"periodic", "revision", "off"}),
      text("compaction.retention", &c.compaction.retention),
      duration("dr.max_lag", &c.dr.max_lag, 10ms),
      duration("dr.primary_silence", &c.dr.primary_silence, 100ms),
      text("dr.rpo_policy", &c.dr.rpo_policy, {"alert", "throttle", "refuse"}),
      duration("dr.rpo_budget", &c.dr.rpo_budget, 10ms),
      duration("dr.start_wait", &c.dr.start_wait, 0s, true),
      size("dr.retain_log", &c.dr.retain_log, 1_MiB),
      text("dr.compression", &c.dr.compression, {"zstd", "off"}),
      plain("dr.forward", &c.dr.forward),
      plain("dr.auto_rejoin", &c.dr.auto_rejoin),
      duration("dr.switchover_timeout", &c.dr.switchover_timeout, 100ms),
      text("dr.self_fence", &c.dr.self_fence, {"contact", "lease"}),
      duration("dr.lease", &c.dr.lease, 100ms),
      number("limits.connections", &c.limits.connections, 1),
      size("limits.request_bytes", &c.limits.request_bytes, 1_KiB, 15_MiB),
      number("limits.txn_ops", &c.limits.txn_ops, 1),
      number("limits.concurrent_streams", &c.limits.concurrent_streams, 1, 0x7fffffff),
      number("limits.rate", &c.limits.rate, 0),
      number("limits.burst", &c.limits.burst, 0),
      duration("limits.request_timeout", &c.limits.request_timeout, 10ms),
      duration("limits.slow_request", &c.limits.slow_request, 0s),
  });
}

void add_tls(std::vector<Key>& out, const std::string& use, Tls& tls) {
  const std::string prefix = "tls." + use + ".";
  out.insert(out.end(), {
      text(prefix + "cert", &tls.cert),
      text(prefix + "key", &tls.key),
      text(prefix + "ca", &tls.ca),
      text(prefix + "client_auth", &tls.client_auth, {"none", "optional", "require"}),
  });
}

void add_operations(std::vector<Key>& out, Config& c) {
  add_tls(out, "client", c.tls.client);
  add_tls(out, "peer", c.tls.peer);
  add_tls(out, "admin", c.tls.admin);
  add_tls(out, "metrics", c.tls.metrics);
  out.insert(out.end(), {
      text("tls.min_version", &c.tls.min_version, {"1.2", "1.3"}),
      plain("admin.operators", &c.admin.operators),
      text("admin.socket", &c.admin.socket),
      plain("admin.insecure", &c.admin.insecure),
      text("auth.token", &c.auth.token, {"simple", "jwt"}),
      duration("auth.ttl", &c.auth.ttl, 1s),
      text("auth.jwt.sign_method", &c.auth.jwt.sign_method,
           {"RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "EdDSA"}),
      text("auth.jwt.public_key", &c.auth.jwt.public_key),
      text("auth.jwt.private_key", &c.auth.jwt.private_key),
      duration("auth.jwt.ttl", &c.auth.jwt.ttl, 1s),
  });
}

void add_telemetry(std::vector<Key>& out, Config& c) {
  out.insert(out.end(), {
      text("telemetry.traces", &c.telemetry.traces, {"auto", "otlp", "none"}),
      formed("telemetry.otlp_endpoint", &c.telemetry.otlp_endpoint, Form::kUrl),
      formed("telemetry.otlp_traces_endpoint", &c.telemetry.otlp_traces_endpoint, Form::kUrl),
      text("telemetry.otlp_protocol", &c.telemetry.otlp_protocol, {"http/protobuf", "http/json", "grpc"}),
      formed("telemetry.otlp_headers", &c.telemetry.otlp_headers, Form::kSecret),
      duration("telemetry.otlp_timeout", &c.telemetry.otlp_timeout, 10ms),
      text("telemetry.otlp_ca", &c.telemetry.otlp_ca),
      text("telemetry.otlp_cert", &c.telemetry.otlp_cert),
      text("telemetry.otlp_key", &c.telemetry.otlp_key),
      text("telemetry.sampler", &c.telemetry.sampler,
           {"parentbased_traceidratio", "parentbased_always_on", "parentbased_always_off", "traceidratio", "always_on", "always_off"}),
      plain("telemetry.sample_ratio", &c.telemetry.sample_ratio),
      text("telemetry.service_name", &c.telemetry.service_name),
      text("telemetry.resource_attributes", &c.telemetry.resource_attributes),
      number("telemetry.queue_spans", &c.telemetry.queue_spans, 1, 1'000'000),
      number("telemetry.batch_spans", &c.telemetry.batch_spans, 1, 100'000),
      duration("telemetry.batch_delay", &c.telemetry.batch_delay, 1ms),
      text("log.level", &c.log.level, {"debug", "info", "warn", "error"}),
      text("log.format", &c.log.format, {"json", "pretty"}),
      formed("log.output", &c.log.output, Form::kRequired),
      size("log.max_size", &c.log.max_size, 64_KiB),
      number("log.max_backups", &c.log.max_backups, 0, 1000),
      duration("log.max_age", &c.log.max_age, 0s),
  });
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t substituted = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row.back();
}

}  // namespace

std::string Key::environment_name() const {
  std::string out = "LEEWARD_" + name;
  for (char& c : out) c = c == '.' ? '_' : static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
  return out;
}

std::vector<Key> keys(Config& config) {
  std::vector<Key> out;
  add_identity(out, config);
  add_engine(out, config);
  add_operations(out, config);
  add_telemetry(out, config);
  return out;
}

std::string nearest(std::string_view name, const std::vector<std::string>& candidates) {
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(2, name.size() / 4) + 1;
  for (const std::string& candidate : candidates) {
    const std::size_t distance = edit_distance(name, candidate);
    if (distance < best_distance) best = candidate, best_distance = distance;
  }
  return best;
}

namespace {

// The files behind tls.* are read again as well, but under their old names.
constexpr std::string_view kReloadable[] = {"log.level",           "limits.connections",        "limits.request_bytes",
                                            "limits.txn_ops",      "limits.concurrent_streams", "limits.request_timeout",
                                            "limits.slow_request", "limits.rate",               "limits.burst",
                                            "dr.rpo_policy",       "dr.rpo_budget"};

bool equal(const Target& a, const Target& b) {
  const auto same = [&b](auto mine) {
    const auto other = std::get<decltype(mine)>(b);
    if constexpr (std::is_same_v<decltype(mine), Size>) return *mine.bytes == *other.bytes;
    else return *mine == *other;
  };
  return std::visit(same, a);
}

void copy(const Target& from, const Target& to) {
  const auto assign = [&to](auto source) {
    const auto target = std::get<decltype(source)>(to);
    if constexpr (std::is_same_v<decltype(source), Size>) *target.bytes = *source.bytes;
    else *target = *source;
  };
  std::visit(assign, from);
}

}  // namespace

Changes take_reloadable(Loaded& running, const Loaded& fresh) {
  Config given = fresh.config;  // the table is over what may be written
  const std::vector<Key> mine = keys(running.config), theirs = keys(given);
  Changes out;
  for (std::size_t i = 0; i < mine.size(); ++i) {
    const std::string& name = mine[i].name;
    if (equal(mine[i].target, theirs[i].target)) continue;
    if (std::find(std::begin(kReloadable), std::end(kReloadable), name) == std::end(kReloadable)) {
      out.fixed.push_back(name);
      continue;
    }
    copy(theirs[i].target, mine[i].target);
    running.origins.erase(name);
    if (const auto origin = fresh.origins.find(name); origin != fresh.origins.end()) running.origins[name] = origin->second;
    out.taken.push_back(name);
  }
  return out;
}

}  // namespace leeward::config
