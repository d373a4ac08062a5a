#include "telemetry/etcd_names.h"

#include <cstdio>
#include <map>

namespace leeward::telemetry {
namespace {

using prometheus::MetricType;

std::string hexadecimal(NodeId id) {
  char text[20];
  std::snprintf(text, sizeof text, "%llx", static_cast<unsigned long long>(id.value()));
  return text;
}

// The methods of one path are one to gRPC: Range and RangeSerializable.
using Calls = std::map<std::string_view, std::vector<const RpcFigures*>>;

Labels labels_of(std::string_view path, const RpcFigures& rpc) {
  const auto slash = path.rfind('/');
  return {{"grpc_service", std::string(path.substr(1, slash - 1))},
          {"grpc_method", std::string(path.substr(slash + 1))},
          {"grpc_type", rpc.streaming ? "bidi_stream" : "unary"}};
}

void add_grpc(Page& page, const MetricsSources& from) {
  Calls calls;
  for (const RpcFigures& rpc : from.rpc)
    if (rpc.path.starts_with("/etcdserverpb.")) calls[rpc.path].push_back(&rpc);

  page.family(MetricType::Counter, "grpc_server_started_total", "Calls of etcd's services that began here.");
  for (const auto& [path, methods] : calls) {
    std::uint64_t started = 0;
    for (const RpcFigures* rpc : methods) started += value_of(rpc->started);
    page.sample(started, labels_of(path, *methods.front()));
  }
  page.family(MetricType::Counter, "grpc_server_handled_total", "Calls of etcd's services that ended here, by code.");
  for (const auto& [path, methods] : calls)
    for (std::size_t code = 0; code < std::size(kGrpcCodeNames); ++code) {
      std::uint64_t ended = 0;
      for (const RpcFigures* rpc : methods) ended += code < rpc->requests.size() ? rpc->requests[code].get() : 0;
      Labels labels = labels_of(path, *methods.front());
      labels.push_back({"grpc_code", kGrpcCodeNames[code]});
      page.sample(ended, std::move(labels));
    }
  page.family(MetricType::Histogram, "grpc_server_handling_seconds", "Time of unary calls of etcd's services.");
  for (const auto& [path, methods] : calls) {
    if (methods.front()->streaming) continue;
    std::vector<const Histogram*> durations;
    for (const RpcFigures* rpc : methods) durations.push_back(rpc->duration);
    page.sum(durations, labels_of(path, *methods.front()));
  }
}

}  // namespace

void add_etcd_names(Page& page, const MetricsSources& from, const NodeStatus& s, const NodeProbe& probe, const StateFigures& state) {
  const auto gauge = [&](const char* name, const char* help) -> Page& { return page.family(MetricType::Gauge, name, help); };
  const auto counter = [&](const char* name, const char* help) -> Page& { return page.family(MetricType::Counter, name, help); };
  const auto histogram = [&](const char* name, const char* help) -> Page& { return page.family(MetricType::Histogram, name, help); };
  gauge("etcd_server_id", "Id of this member in hexadecimal.").sample(1.0, {{"server_id", hexadecimal(s.self)}});
  // What it is to etcd's clients: at a standby, whether writes find their way.
  const bool follows = s.role == GroupRole::kStandby || s.role == GroupRole::kObserver;
  gauge("etcd_server_has_leader", "As leeward_has_leader; at a standby, 1 while it hears the primary.")
      .sample(follows ? s.primary_heard : bool(s.leader));
  gauge("etcd_server_is_leader", "As leeward_is_leader.").sample(s.state == MemberState::kLeader && s.leader_ready);
  counter("etcd_server_leader_changes_seen_total", "As leeward_leader_changes_total.").sample(s.leader_changes);
  gauge("etcd_server_proposals_committed_total", "As leeward_commit_index.").sample(s.commit.value());
  gauge("etcd_server_proposals_applied_total", "As leeward_applied_index.").sample(s.applied.point.index.value());
  gauge("etcd_server_proposals_pending", "Writes taken here whose end is not known yet.").sample(s.proposals_pending);
  counter("etcd_server_proposals_failed_total", "Proposals that were refused or whose end is unknown.")
      .sample(probe.proposals_refused.get() + probe.proposals_unknown.get());
  histogram("etcd_disk_wal_fsync_duration_seconds", "As leeward_wal_fsync_duration_seconds.").sample(&probe.fsync_duration);
  histogram("etcd_disk_backend_commit_duration_seconds", "Writing what the state holds in memory to its files.").sample(from.state_flush);
  gauge("etcd_mvcc_db_total_size_in_bytes", "As leeward_db_size_bytes.").sample(state.db_bytes);
  gauge("etcd_mvcc_db_total_size_in_use_in_bytes", "Of it, live data.").sample(state.db_bytes_in_use);
  gauge("etcd_server_quota_backend_bytes", "As leeward_db_quota_bytes.").sample(from.quota_bytes);
  histogram("etcd_network_peer_round_trip_time_seconds", "As leeward_peer_rtt_seconds.");
  for (const PeerHistogram& peer : from.peer_rtt) page.sample(peer.histogram, {{"To", hexadecimal(peer.peer)}});
  counter("etcd_network_peer_sent_bytes_total", "Bytes sent to members and to the other regions.").sample(value_of(from.peer_sent_bytes));
  counter("etcd_network_peer_received_bytes_total", "Bytes received from them.").sample(value_of(from.peer_received_bytes));
  counter("etcd_network_peer_sent_failures_total", "Messages to them that were dropped.").sample(value_of(from.peer_dropped));
  counter("etcd_network_client_grpc_sent_bytes_total", "Bytes of gRPC messages sent to clients.").sample(value_of(from.client_sent_bytes));
  counter("etcd_network_client_grpc_received_bytes_total", "Bytes of gRPC messages received from clients.").sample(value_of(from.client_received_bytes));
  add_grpc(page, from);
}

}  // namespace leeward::telemetry
