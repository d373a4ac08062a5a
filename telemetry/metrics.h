// The metrics page: reads what it is pointed at and writes Prometheus' text.
//
// Any thread; nothing is locked. The pointers outlive the object; those that
// may be null say so. README.md tells what a series says without a source.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/units.h"
#include "ports/exemplars.h"
#include "ports/probe.h"
#include "ports/standby_probe.h"
#include "ports/status.h"
#include "telemetry/exporter.h"

namespace leeward::telemetry {

// Figures of one method of the client port. The set of methods is closed.
struct RpcFigures {
  std::string_view method;
  std::span<const Counter> requests;  // by gRPC code, 0 to 16
  const Counter* server_faults = nullptr;
  const Histogram* duration = nullptr;
  const Exemplars* exemplars = nullptr;  // of `duration`
  const Counter* started = nullptr;
  std::string_view path = {};         // as gRPC names it, "/etcdserverpb.KV/Put"; empty: it has no such name
  bool streaming = false;
};

struct Volume {
  std::string_view name;  // data, wal, snapshot
  std::uint64_t free_bytes = 0, total_bytes = 0;
};

// What the state machine knows of itself. `leases` may be costly: ask rarely.
struct StateFigures {
  std::uint64_t db_bytes = 0, db_bytes_in_use = 0, keys = 0, watchers = 0, leases = 0, watch_backlog = 0;
};

struct NamedCounter {
  std::string_view name;
  const Counter* counter = nullptr;
};
struct NamedGauge {
  std::string_view name;
  const Gauge* gauge = nullptr;
};
struct PeerHistogram {
  NodeId peer;
  const Histogram* histogram = nullptr;
};

// How processes on this data directory ended before this one started.
struct PastExits {
  std::string_view reason;  // of a closed set; "clean" is the one that is not abnormal
  std::uint64_t count = 0, last_seconds = 0;  // since 1970; 0: never
};

struct MetricsSources {
  const StatusSource* status = nullptr;  // required
  std::string version, revision;         // of the build
  std::string zone;

  std::vector<RpcFigures> rpc;
  const Gauge* rpc_in_flight = nullptr;
  const Counter* slow_requests = nullptr;
  const Counter* watch_events = nullptr;
  const Histogram* stage_watch = nullptr;
  std::vector<NamedGauge> connections;  // by listener: client, peer, admin, metrics
  std::vector<NamedCounter> rejected;   // by reason, those of one reason are added; "overloaded" is there already
  std::vector<PeerHistogram> peer_rtt;
  const Counter* peer_sent_bytes = nullptr;
  const Counter* peer_received_bytes = nullptr;
  const Counter* peer_dropped = nullptr;  // messages
  const Counter* client_sent_bytes = nullptr;
  const Counter* client_received_bytes = nullptr;
  const Histogram* state_flush = nullptr;
  const StandbyProbe* standby = nullptr;

  std::function<StateFigures()> state;
  std::function<std::vector<Volume>()> volumes;
  std::function<std::uint64_t()> log_dropped;
  const OtlpProbe* otlp = nullptr;  // null: no traces are sent

  // When each certificate ends, seconds since 1970; nullopt: none is used.
  std::function<std::vector<std::pair<std::string_view, std::optional<double>>>()> certificates;
  std::vector<PastExits> past_exits;

  std::uint64_t quota_bytes = 0, retain_log_bytes = 0;
  Duration max_lag{}, rpo_budget{};
};

class Metrics {
 public:
  explicit Metrics(MetricsSources sources);
  struct Rendered {
    const char* content_type;
    std::string text;
  };
  // As an HTTP client's Accept header wants it: OpenMetrics 1.0 with exemplars,
  // else Prometheus' text format 0.0.4.
  Rendered render(std::string_view accept = {}) const;

 private:
  MetricsSources sources_;
};

// This process as the kernel sees it.
struct ProcessFigures {
  double start_time_seconds = 0;  // since 1970
  std::uint64_t resident_bytes = 0, open_fds = 0, max_fds = 0;
  bool binary_replaced = false;   // the file it runs from is no longer there under its name
};
ProcessFigures process_figures();

}  // namespace leeward::telemetry
