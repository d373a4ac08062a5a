// The metrics page as Prometheus reads it.
#include "telemetry/metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>
#include <unistd.h>

namespace leeward::telemetry {
namespace {

class FakeSource final : public StatusSource {
 public:
  NodeStatus status() const override { return now; }
  const NodeProbe& probe() const override { return figures; }
  NodeStatus now;
  NodeProbe figures;
};

// A reader of the text format that is as strict as the format is.
struct Parsed {
  std::map<std::string, double> samples;  // name{labels} -> value
  std::map<std::string, std::string> types;
  std::vector<std::string> faults;

  double at(const std::string& series) const {
    const auto it = samples.find(series);
    return it == samples.end() ? std::nan("") : it->second;
  }
};

std::string family_of(const std::string& name, const std::map<std::string, std::string>& types) {
  for (const char* suffix : {"_bucket", "_sum", "_count"}) {
    const std::string s = suffix;
    if (name.ends_with(s) && types.contains(name.substr(0, name.size() - s.size())) &&
        types.at(name.substr(0, name.size() - s.size())) == "histogram")
      return name.substr(0, name.size() - s.size());
  }
  return name;
}

Parsed parse(const std::string& text) {
  static const std::regex kSample(R"re(([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"(?:,[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*")*,?\})? ([^ ]+))re");
  Parsed out;
  std::set<std::string> helped, ended;
  std::string current;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("# HELP ")) {
      const std::string name = line.substr(7, line.find(' ', 7) - 7);
      if (!helped.insert(name).second) out.faults.push_back("second HELP: " + line);
      if (line.size() <= 8 + name.size()) out.faults.push_back("empty help: " + line);
    } else if (line.starts_with("# TYPE ")) {
      const std::size_t space = line.find(' ', 7);
      const std::string name = line.substr(7, space - 7), type = line.substr(space + 1);
      if (!out.types.emplace(name, type).second) out.faults.push_back("second TYPE: " + line);
      if (type == "counter" && !name.ends_with("_total")) out.faults.push_back("a counter without _total: " + name);
      if (type == "gauge" && name.ends_with("_total") && !name.starts_with("etcd_")) out.faults.push_back("a gauge with _total: " + name);
      current = name;
    } else {
      std::smatch match;
      if (!std::regex_match(line, match, kSample)) {
        out.faults.push_back("not a sample: " + line);
        continue;
      }
      const std::string name = match[1], value = match[3];
      if (family_of(name, out.types) != current) out.faults.push_back("outside its family: " + line);
      const double number = value == "+Inf" ? HUGE_VAL : std::strtod(value.c_str(), nullptr);
      if (value == "NaN" || value == "Nan" || value == "nan") out.faults.push_back("NaN: " + line);
      if (!out.samples.emplace(name + match[2].str(), number).second) out.faults.push_back("twice: " + line);
    }
  }
  return out;
}

class MetricsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    source_.now.self = NodeId(1);
    source_.now.epoch = Epoch(1);
    source_.now.role = GroupRole::kPrimary;
    source_.now.state = MemberState::kLeader;
    source_.now.leader = NodeId(1);
    source_.now.leader_ready = true;
    source_.now.members = {{.id = NodeId(1), .region = "east", .role = GroupRole::kPrimary, .state = MemberState::kLeader, .report_age = 0ms},
                           {.id = NodeId(2), .region = "east", .role = GroupRole::kPrimary, .state = MemberState::kFollower, .report_age = 0ms, .clock_offset = -250ms},
                           {.id = NodeId(3), .region = "east", .role = GroupRole::kPrimary},
                           {.id = NodeId(4), .region = "west", .role = GroupRole::kStandby, .state = MemberState::kLeader, .report_age = 0ms}};
    sources_.status = &source_;
    sources_.version = "0.1.0";
    sources_.revision = "abc";
    sources_.zone = "a";
    sources_.rpc = {{"Range", range_, &faults_, &duration_}, {"Put", put_, &put_faults_, &put_duration_}};
    sources_.state = [] { return StateFigures{.db_bytes = 4096, .keys = 17, .leases = 2}; };
    sources_.volumes = [] { return std::vector<Volume>{{"data", 10, 100}, {"wal", 20, 100}, {"snapshot", 10, 100}}; };
    sources_.log_dropped = [] { return std::uint64_t{5}; };
    sources_.standby = &standby_;
    sources_.max_lag = 1s;
  }

  Parsed page() {
    Parsed parsed = parse(Metrics(sources_).render().text);
    EXPECT_TRUE(parsed.faults.empty()) << parsed.faults.front();
    return parsed;
  }

  FakeSource source_;
  MetricsSources sources_;
  std::array<Counter, 17> range_, put_;
  Counter faults_, put_faults_;
  Histogram duration_, put_duration_;
  StandbyProbe standby_;
};

TEST_F(MetricsTest, EverySeriesOfAClosedSetExistsFromTheStart) {
  const Parsed p = page();
  for (const char* series : {
           "leeward_build_info{version=\"0.1.0\",revision=\"abc\"}", "leeward_node_info{node=\"1\",zone=\"a\",role=\"primary\"}",
           "leeward_lineage_created_timestamp_seconds", "leeward_epoch", "leeward_term_in_epoch", "leeward_is_leader", "leeward_has_leader", "leeward_is_primary",
           "leeward_is_fenced", "leeward_member_admitted", "leeward_restart_pending", "process_start_time_seconds",
           "process_resident_memory_bytes", "process_open_fds", "process_max_fds",
           "leeward_cluster_members{role=\"observer\",status=\"isolated\"}",
           "leeward_rpc_requests_total{method=\"Put\",code=\"OK\"}", "leeward_rpc_requests_total{method=\"Put\",code=\"other\"}",
           "leeward_rpc_requests_total{method=\"Range\",code=\"Unavailable\"}", "leeward_rpc_duration_seconds_count{method=\"Range\"}",
           "leeward_rpc_server_faults_total{method=\"Put\"}", "leeward_rpc_in_flight", "leeward_rejected_total{reason=\"overloaded\"}",
           "leeward_slow_requests_total", "leeward_proposals_total{result=\"unknown\"}", "leeward_commit_duration_seconds_count",
           "leeward_stage_duration_seconds_count{stage=\"fsync\"}", "leeward_stage_duration_seconds_count{stage=\"standby_apply\"}",
           "leeward_commit_index", "leeward_applied_index", "leeward_durable_index", "leeward_leader_changes_total",
           "leeward_elections_total{result=\"won\"}", "leeward_wal_fsync_duration_seconds_count", "leeward_wal_bytes_total",
           "leeward_wal_size_bytes", "leeward_db_size_bytes", "leeward_db_quota_bytes", "leeward_disk_free_bytes{volume=\"wal\"}",
           "leeward_disk_total_bytes{volume=\"snapshot\"}", "leeward_alarm{alarm=\"nospace\"}", "leeward_revision_in_epoch",
           "leeward_compacted_revision_in_epoch", "leeward_keys", "leeward_watchers", "leeward_watch_events_total", "leeward_leases",
           "leeward_lease_expired_total", "leeward_standby_lag_writes", "leeward_standby_lag_entries", "leeward_standby_lag_bytes",
           "leeward_standby_lag_seconds{bound=\"low\"}", "leeward_standby_lag_seconds{bound=\"high\"}",
           "leeward_standby_promotion_eligible", "leeward_standby_group_quorum", "leeward_standby_ineligible{check=\"voter\"}",
           "leeward_standby_connected", "leeward_standby_stream_bytes_total", "leeward_standby_resyncs_total{kind=\"snapshot\"}",
           "leeward_hash_comparisons_total{result=\"different\"}", "leeward_source_lag_writes{standby=\"set\"}",
           "leeward_source_lag_seconds{standby=\"set\"}", "leeward_dr_primary_silence_seconds", "leeward_dr_max_lag_seconds",
           "leeward_dr_armed", "leeward_log_dropped_total", "etcd_server_has_leader", "etcd_disk_wal_fsync_duration_seconds_count"})
    EXPECT_TRUE(p.samples.contains(series)) << series;
}

TEST_F(MetricsTest, NoSeriesHasALabelThatTheScrapeConfigurationSets) {
  for (const auto& [series, value] : page().samples)
    for (const char* label : {"{job=", ",job=", "{cluster=", ",cluster=", "{region=", ",region="})
      EXPECT_EQ(series.find(label), std::string::npos) << series;
}

TEST_F(MetricsTest, CountersFollowTheirProbes) {
  range_[0].add(3);
  range_[14].add();
  faults_.add();
  source_.figures.proposals_committed.add(9);
  source_.figures.proposals_overloaded.add(2);
  standby_.hash_equal.add(4);
  const Parsed p = page();
  EXPECT_EQ(p.at("leeward_rpc_requests_total{method=\"Range\",code=\"OK\"}"), 3);
  EXPECT_EQ(p.at("leeward_rpc_requests_total{method=\"Range\",code=\"Unavailable\"}"), 1);
  EXPECT_EQ(p.at("leeward_rpc_server_faults_total{method=\"Range\"}"), 1);
  EXPECT_EQ(p.at("leeward_proposals_total{result=\"committed\"}"), 9);
  EXPECT_EQ(p.at("leeward_rejected_total{reason=\"overloaded\"}"), 2);
  EXPECT_EQ(p.at("leeward_hash_comparisons_total{result=\"equal\"}"), 4);
  EXPECT_EQ(p.at("leeward_log_dropped_total"), 5);
  EXPECT_EQ(p.at("leeward_keys"), 17);
}

TEST_F(MetricsTest, HistogramsAreCumulativeAndEndAtInfinity) {
  duration_.observe(60us);
  duration_.observe(60us);
  duration_.observe(20s);
  const Parsed p = page();
  EXPECT_EQ(p.at("leeward_rpc_duration_seconds_bucket{method=\"Range\",le=\"5e-05\"}"), 0);
  EXPECT_EQ(p.at("leeward_rpc_duration_seconds_bucket{method=\"Range\",le=\"0.0001\"}"), 2);
  EXPECT_EQ(p.at("leeward_rpc_duration_seconds_bucket{method=\"Range\",le=\"10\"}"), 2);
  EXPECT_EQ(p.at("leeward_rpc_duration_seconds_bucket{method=\"Range\",le=\"+Inf\"}"), 3);
  EXPECT_EQ(p.at("leeward_rpc_duration_seconds_count{method=\"Range\"}"), 3);
  EXPECT_NEAR(p.at("leeward_rpc_duration_seconds_sum{method=\"Range\"}"), 20.00012, 1e-6);
  std::size_t buckets = 0;
  for (const auto& [series, value] : p.samples) buckets += series.starts_with("leeward_rpc_duration_seconds_bucket{method=\"Range\"");
  EXPECT_LE(buckets, 20u);
}

TEST_F(MetricsTest, AnUnknownBoundIsInfiniteNeverNanNeverAbsent) {
  source_.now.role = GroupRole::kStandby;
  source_.now.self = NodeId(4);
  source_.now.state = MemberState::kFollower;
  source_.now.leader = NodeId();
  const Parsed p = page();
  EXPECT_TRUE(std::isinf(p.at("leeward_standby_lag_writes")));
  EXPECT_TRUE(std::isinf(p.at("leeward_standby_lag_seconds{bound=\"high\"}")));
  EXPECT_TRUE(std::isinf(p.at("leeward_dr_primary_silence_seconds")));
  EXPECT_EQ(p.at("leeward_standby_promotion_eligible"), 0);
  EXPECT_EQ(p.at("leeward_standby_ineligible{check=\"lag\"}"), 1);
  EXPECT_EQ(p.at("leeward_standby_group_quorum"), 0);
}

TEST_F(MetricsTest, AStandbyShowsItsOwnLagAndTheCheckThatFails) {
  source_.now.role = GroupRole::kStandby;
  source_.now.self = NodeId(4);
  source_.now.primary_silence = 30ms;
  MemberStatus& self = source_.now.members[3];
  self.lag = {.writes = 12, .entries = 3, .bytes = 999, .low = 0ms, .high = 80ms};
  self.stream_connected = true;
  for (const char* check : {"armed", "quorum", "lag", "hash", "integrity", "disk", "version", "epoch", "isolated", "voter"})
    self.eligibility.push_back({check, true, ""});
  Parsed p = page();
  EXPECT_EQ(p.at("leeward_standby_lag_writes"), 12);
  EXPECT_EQ(p.at("leeward_standby_lag_bytes"), 999);
  EXPECT_DOUBLE_EQ(p.at("leeward_standby_lag_seconds{bound=\"high\"}"), 0.08);
  EXPECT_EQ(p.at("leeward_standby_promotion_eligible"), 1);
  EXPECT_EQ(p.at("leeward_standby_connected"), 1);
  self.eligibility[3].ok = false;
  p = page();
  EXPECT_EQ(p.at("leeward_standby_promotion_eligible"), 0);
  EXPECT_EQ(p.at("leeward_standby_ineligible{check=\"hash\"}"), 1);
  EXPECT_EQ(p.at("leeward_standby_ineligible{check=\"lag\"}"), 0);
}

TEST_F(MetricsTest, ThePrimaryLagsBehindNobodyAndSeesItsFollowers) {
  source_.now.followers = {{.region = "west", .connected = true, .armed = true, .lag_writes = 7, .lag = 250ms},
                           {.region = "north", .lag_writes = 100, .lag = 9s}};
  source_.now.armed_region = "west";
  const Parsed p = page();
  EXPECT_EQ(p.at("leeward_standby_lag_writes"), 0);
  EXPECT_EQ(p.at("leeward_dr_primary_silence_seconds"), 0);
  EXPECT_EQ(p.at("leeward_source_lag_writes{standby=\"set\"}"), 7);
  EXPECT_EQ(p.at("leeward_source_lag_writes{standby=\"north\"}"), 100);
  EXPECT_EQ(p.at("leeward_source_lag_seconds{standby=\"west\"}"), 0.25);
  EXPECT_EQ(p.at("leeward_dr_armed"), 1);
}

TEST_F(MetricsTest, WhatAPromotionWouldCostIsKnownOrInfinite) {
  Parsed p = page();
  EXPECT_EQ(p.at("leeward_dr_known_loss_writes"), 0) << "a primary loses to nobody";
  EXPECT_TRUE(std::isinf(p.at("leeward_dr_estimated_rto_seconds")));
  for (const GroupRole role : {GroupRole::kStandby, GroupRole::kFenced, GroupRole::kUnknown}) {
    source_.now.role = role;
    EXPECT_TRUE(std::isinf(page().at("leeward_dr_known_loss_bytes"))) << name(role);
  }
  source_.now.role = GroupRole::kStandby;
  EXPECT_EQ(page().at("leeward_dr_ledger_entries{class=\"kept\"}"), 0);
  source_.now.ledger_entries = 3;
  source_.now.ledgers_complete = false;
  EXPECT_EQ(page().at("leeward_dr_ledger_entries{class=\"kept\"}"), 3);
  EXPECT_EQ(page().at("leeward_dr_ledger_complete"), 0);
  source_.now.known_loss = {.writes = 7, .entries = 2, .bytes = 900};
  source_.now.estimated_rto = 5300ms;
  p = page();
  EXPECT_EQ(p.at("leeward_dr_known_loss_writes"), 7);
  EXPECT_EQ(p.at("leeward_dr_known_loss_entries"), 2);
  EXPECT_EQ(p.at("leeward_dr_known_loss_bytes"), 900);
  EXPECT_EQ(p.at("leeward_dr_estimated_rto_seconds"), 5.3);
}

TEST_F(MetricsTest, TheFenceIsThatOfWhoIsArmed) {
  Parsed p = page();
  EXPECT_EQ(p.at("leeward_dr_self_fence{mode=\"contact\"}"), 0);
  EXPECT_EQ(p.at("leeward_dr_self_fence{mode=\"lease\"}"), 0);
  EXPECT_TRUE(std::isinf(p.at("leeward_dr_fence_lease_remaining_seconds")));
  source_.now.fencing = {.mode = "lease", .lease = 10s, .remaining = 2500ms};
  p = page();
  EXPECT_EQ(p.at("leeward_dr_self_fence{mode=\"contact\"}"), 0);
  EXPECT_EQ(p.at("leeward_dr_self_fence{mode=\"lease\"}"), 1);
  EXPECT_EQ(p.at("leeward_dr_fence_lease_remaining_seconds"), 2.5);
}

TEST_F(MetricsTest, APromotionShowsItsStepItsEndAndHowLongItTook) {
  Parsed p = page();
  double steps = 0, ends = 0;
  for (const auto& [series, value] : p.samples) {
    if (series.starts_with("leeward_dr_promotion_in_progress{")) steps += 1 + value;
    if (series.starts_with("leeward_dr_promotions_total{")) ends += 1 + value;
  }
  EXPECT_EQ(steps, 11) << "each step of each kind, all at 0";
  EXPECT_EQ(ends, 12);
  EXPECT_EQ(p.at("leeward_dr_last_promotion_duration_seconds"), 0);
  source_.now.promotion = {PromotionKind::kPromotion, PromotionStep::kLease};
  standby_.promotions.ended(PromotionKind::kPromotion, PromotionResult::kRefused);
  standby_.promotions.done(PromotionKind::kSwitchover, 1500ms);
  p = page();
  EXPECT_EQ(p.at("leeward_dr_promotion_in_progress{kind=\"promotion\",step=\"lease\"}"), 1);
  EXPECT_EQ(p.at("leeward_dr_promotion_in_progress{kind=\"promotion\",step=\"survey\"}"), 0);
  EXPECT_EQ(p.at("leeward_dr_promotions_total{kind=\"promotion\",result=\"refused\"}"), 1);
  EXPECT_EQ(p.at("leeward_dr_promotions_total{kind=\"switchover\",result=\"done\"}"), 1);
  EXPECT_EQ(p.at("leeward_dr_promotions_total{kind=\"survivors\",result=\"done\"}"), 0);
  EXPECT_EQ(p.at("leeward_dr_last_promotion_duration_seconds"), 1.5);
}

TEST_F(MetricsTest, WithNobodyArmedTheSetsLagIsUnknown) {
  EXPECT_TRUE(std::isinf(page().at("leeward_source_lag_writes{standby=\"set\"}")));
  EXPECT_EQ(page().at("leeward_dr_armed"), 0);
}

TEST_F(MetricsTest, PeersBehindAreCountedAndUnheardOnesAreInfinitelySo) {
  source_.now.last = Index(100);
  source_.now.commit = Index(95);
  source_.now.peers = {{.id = NodeId(2), .match = Index(90), .active = true}};
  const Parsed p = page();
  EXPECT_EQ(p.at("leeward_clock_offset_seconds{peer=\"2\"}"), -0.25);
  EXPECT_FALSE(p.samples.contains("leeward_clock_offset_seconds{peer=\"3\"}")) << "nobody heard it";
  EXPECT_EQ(p.at("leeward_peer_lag_entries{peer=\"2\"}"), 10);
  EXPECT_TRUE(std::isinf(p.at("leeward_peer_lag_entries{peer=\"3\"}")));
  EXPECT_TRUE(std::isnan(p.at("leeward_peer_lag_entries{peer=\"4\"}"))) << "of another group";
}

TEST_F(MetricsTest, RevisionsOfLaterEpochsKeepTheirDigits) {
  source_.now.epoch = Epoch(9);
  source_.now.applied.revision = Revision((std::int64_t{9} << 44) + 12345);
  EXPECT_EQ(page().at("leeward_revision_in_epoch"), 12345);
  EXPECT_EQ(page().at("leeward_epoch"), 9);
}

TEST_F(MetricsTest, MembersAreCountedByRoleAndState) {
  const Parsed p = page();
  EXPECT_EQ(p.at("leeward_cluster_members{role=\"primary\",status=\"follower\"}"), 1);
  EXPECT_EQ(p.at("leeward_cluster_members{role=\"primary\",status=\"down\"}"), 1);
  EXPECT_EQ(p.at("leeward_cluster_members{role=\"standby\",status=\"leader\"}"), 1);
  EXPECT_EQ(p.at("leeward_cluster_members{role=\"fenced\",status=\"leader\"}"), 0);
}

TEST_F(MetricsTest, EtcdsNamesCountTheMethodsOfOnePathAsOne) {
  std::array<Counter, 17> serializable, watch, status;
  Counter started, watch_started;
  Histogram serializable_duration;
  sources_.rpc[0].path = "/etcdserverpb.KV/Range";
  sources_.rpc[0].started = &started;
  sources_.rpc.push_back({"RangeSerializable", serializable, nullptr, &serializable_duration, nullptr, nullptr, "/etcdserverpb.KV/Range"});
  sources_.rpc.push_back({"Watch", watch, nullptr, nullptr, nullptr, &watch_started, "/etcdserverpb.Watch/Watch", true});
  sources_.rpc.push_back({"ClusterStatus", status, nullptr, nullptr, nullptr, nullptr, "/leeward.v1.Operations/ClusterStatus"});
  started.add(5);
  range_[0].add(2);
  serializable[0].add(2);
  range_[14].add();
  duration_.observe(2ms);
  serializable_duration.observe(3ms);
  watch_started.add(3);
  watch[1].add();
  const Parsed p = page();
  const std::string range = "grpc_service=\"etcdserverpb.KV\",grpc_method=\"Range\",grpc_type=\"unary\"";
  EXPECT_EQ(p.at("grpc_server_started_total{" + range + "}"), 5);
  EXPECT_EQ(p.at("grpc_server_handled_total{" + range + ",grpc_code=\"OK\"}"), 4);
  EXPECT_EQ(p.at("grpc_server_handled_total{" + range + ",grpc_code=\"Unavailable\"}"), 1);
  EXPECT_EQ(p.at("grpc_server_handling_seconds_count{" + range + "}"), 2);
  EXPECT_DOUBLE_EQ(p.at("grpc_server_handling_seconds_sum{" + range + "}"), 0.005);
  const std::string watching = "grpc_service=\"etcdserverpb.Watch\",grpc_method=\"Watch\",grpc_type=\"bidi_stream\"";
  EXPECT_EQ(p.at("grpc_server_started_total{" + watching + "}"), 3);
  EXPECT_EQ(p.at("grpc_server_handled_total{" + watching + ",grpc_code=\"Canceled\"}"), 1);
  EXPECT_EQ(p.samples.count("grpc_server_handling_seconds_count{" + watching + "}"), 0u) << "a stream lasts as long as its client likes";
  for (const auto& [name, value] : p.samples) EXPECT_EQ(name.find("leeward.v1"), std::string::npos) << name;
}

TEST_F(MetricsTest, AStandbyHasALeaderForEtcdsClientsWhileItHearsThePrimary) {
  source_.now.role = GroupRole::kStandby;
  source_.now.primary_heard = true;
  source_.now.leader = NodeId();
  EXPECT_EQ(page().at("etcd_server_has_leader"), 1);
  EXPECT_EQ(page().at("leeward_has_leader"), 0);
  source_.now.primary_heard = false;
  source_.now.leader = NodeId(1);
  EXPECT_EQ(page().at("etcd_server_has_leader"), 0);
}

TEST_F(MetricsTest, PeersHaveHexadecimalNamesWhereEtcdGivesThem) {
  Histogram round_trip;
  round_trip.observe(1ms);
  sources_.peer_rtt = {{NodeId(26), &round_trip}};
  EXPECT_EQ(page().at("etcd_network_peer_round_trip_time_seconds_count{To=\"1a\"}"), 1);
}

TEST_F(MetricsTest, OpenMetricsIsForThoseWhoPreferIt) {
  const Metrics metrics(sources_);
  const auto type = [&](std::string_view accept) { return std::string(metrics.render(accept).content_type).substr(0, 15); };
  const std::string open = "application/ope", text = "text/plain; ver";
  EXPECT_EQ(type(""), text);
  EXPECT_EQ(type("*/*"), text);
  EXPECT_EQ(type("text/html, text/plain"), text);
  EXPECT_EQ(type("application/openmetrics-text"), open);
  // Prometheus 2.42.
  EXPECT_EQ(type("application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"), open);
  EXPECT_EQ(type("application/openmetrics-text; q=0.2, text/plain; q=0.3"), text);
  EXPECT_EQ(type("application/openmetrics-text;q=0"), text);
  EXPECT_EQ(type("Application/OpenMetrics-Text; Version=1.0.0"), open);
  EXPECT_EQ(type("application/openmetrics-text; Q=0.2, Text/Plain; Q=0.3"), text);
  EXPECT_EQ(type("application/openmetrics-text; Q=0.3, text/plain; Q=0.2"), open);
  EXPECT_EQ(type("application/openmetrics-text;q=none, text/plain"), text);
}

TEST_F(MetricsTest, OpenMetricsSaysTheSameWithExemplarsOnBuckets) {
  Exemplars exemplars;
  TraceContext trace;
  trace.trace_id.fill(0xab);
  trace.span_id.fill(0x01);
  exemplars.note(trace, 700us, WallTime(1'790'000'000'250ms));
  exemplars.note(trace, 60s, WallTime(1'790'000'001s));
  put_duration_.observe(700us);
  put_duration_.observe(60s);
  sources_.rpc[1].exemplars = &exemplars;
  put_[0].add(7);
  const std::string open = Metrics(sources_).render("application/openmetrics-text").text;
  const auto has = [&](const std::string& line) { return open.find(line + "\n") != std::string::npos; };
  EXPECT_TRUE(has("# TYPE leeward_rpc_requests counter"));
  EXPECT_TRUE(has("leeward_rpc_requests_total{method=\"Put\",code=\"OK\"} 7"));
  const std::string of = " # {trace_id=\"abababababababababababababababab\",span_id=\"0101010101010101\"} ";
  EXPECT_TRUE(has("leeward_rpc_duration_seconds_bucket{method=\"Put\",le=\"0.001\"} 1" + of + "0.0007 1790000000.250")) << open;
  EXPECT_TRUE(has("leeward_rpc_duration_seconds_bucket{method=\"Put\",le=\"+Inf\"} 2" + of + "60 1790000001.000")) << open;
  EXPECT_TRUE(open.ends_with("\n# EOF\n"));

  // But for those differences the two are one page.
  std::string plain;
  std::istringstream lines(open);
  std::size_t counted = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line == "# EOF") continue;
    const auto exemplar = line.find(" # {");
    counted += exemplar != std::string::npos;
    plain += line.substr(0, exemplar) + "\n";
  }
  EXPECT_EQ(counted, 2u);
  const Parsed as_open = parse(plain), as_text = page();
  EXPECT_EQ(as_open.samples.size(), as_text.samples.size());
  for (const auto& [name, type] : as_text.types)
    EXPECT_EQ(as_open.types.contains(type == "counter" ? name.substr(0, name.size() - 6) : name), true) << name;
}

TEST_F(MetricsTest, TheProcessIsDescribed) {
  const ProcessFigures process = process_figures();
  EXPECT_GT(process.resident_bytes, 1u << 20);
  EXPECT_GE(process.open_fds, 3u);
  EXPECT_GT(process.max_fds, process.open_fds);
  EXPECT_GT(process.start_time_seconds, 1.7e9);
  EXPECT_FALSE(process.binary_replaced);
}

TEST_F(MetricsTest, WhatCrashesLeftBehindIsTold) {
  sources_.past_exits = {{"clean", 7, 1000}, {"assertion", 1, 900}, {"fsync", 0, 0}, {"signal", 2, 800}, {"unknown", 3, 700}};
  const Parsed p = page();
  EXPECT_EQ(p.at("leeward_previous_exit_timestamp_seconds{reason=\"clean\"}"), 1000);
  EXPECT_EQ(p.at("leeward_previous_exit_timestamp_seconds{reason=\"fsync\"}"), 0);
  EXPECT_EQ(p.at("leeward_abnormal_exits_total{reason=\"unknown\"}"), 3);
  EXPECT_EQ(p.at("leeward_assertion_failures_total"), 1);
  EXPECT_FALSE(p.samples.contains("leeward_abnormal_exits_total{reason=\"clean\"}"));
}

TEST_F(MetricsTest, AnUnusedCertificateNeverEnds) {
  sources_.certificates = [] {
    return std::vector<std::pair<std::string_view, std::optional<double>>>{{"client", 1764000000.0}, {"peer", std::nullopt}};
  };
  const Parsed p = page();
  EXPECT_EQ(p.at("leeward_tls_certificate_expiry_timestamp_seconds{use=\"client\"}"), 1764000000.0);
  EXPECT_TRUE(std::isinf(p.at("leeward_tls_certificate_expiry_timestamp_seconds{use=\"peer\"}")));
}

TEST_F(MetricsTest, CorruptionIsCountedByWhatShowedIt) {
  standby_.hash_different.add(2);
  standby_.chain_refused.add();
  source_.now.fault = "another chain hash";
  Counter admin, client;
  client.add(3);
  admin.add(1);
  sources_.rejected = {{"connections", &client}, {"connections", &admin}};
  const Parsed p = page();
  EXPECT_EQ(p.at("leeward_corruption_detected_total{kind=\"state_hash\"}"), 2);
  EXPECT_EQ(p.at("leeward_corruption_detected_total{kind=\"stream\"}"), 1);
  EXPECT_EQ(p.at("leeward_corruption_detected_total{kind=\"log\"}"), 1);
  EXPECT_EQ(p.at("leeward_alarm{alarm=\"corrupt\"}"), 1);
  EXPECT_EQ(p.at("leeward_rejected_total{reason=\"connections\"}"), 4);
}

}  // namespace
}  // namespace leeward::telemetry
