// What an operator writes, and what the daemon makes of it.
#include "config/config.h"

#include <gtest/gtest.h>

#include "config/command_line.h"
#include "config/schema.h"

namespace leeward::config {
namespace {

const char* const kThreeNodes = R"([node]
id = 2
[cluster]
members = [
  { id = 1, peer = "10.0.1.1:2380", client = "10.0.1.1:2379", region = "east", zone = "a" },
  { id = 2, peer = "10.0.1.2:2380", client = "10.0.1.2:2379", region = "east", zone = "b" },
  { id = 3, peer = "10.0.1.3:2380", client = "10.0.1.3:2379", region = "east", zone = "c" },
]
[standby]
region = "west"
members = [{ id = 4, peer = "10.0.2.1:2380" }, { id = 5, peer = "10.0.2.2:2380" }, { id = 6, peer = "10.0.2.3:2380" }]
[listen]
peer = "10.0.1.2:2380"
)";

Loaded from_file(const std::string& text, std::vector<std::string> environment = {}, std::vector<std::string> set = {}) {
  return load({.file_name = "leeward.toml", .file_text = text, .environment = std::move(environment), .set = std::move(set)});
}

// kThreeNodes and what else the test is about.
Loaded with(const std::string& more) { return from_file(kThreeNodes + more); }

std::string joined(const std::vector<std::string>& lines) {
  std::string out;
  for (const std::string& line : lines) out += line + "\n";
  return out;
}

TEST(Values, DurationsNeedAUnit) {
  EXPECT_EQ(parse_duration("250ms").value(), 250ms);
  EXPECT_EQ(parse_duration("1.5s").value(), 1500ms);
  EXPECT_EQ(parse_duration("1h30m").value(), 90min);
  EXPECT_EQ(parse_duration("0").value(), 0ms);
  EXPECT_EQ(parse_duration("30d").value(), 720h);
  for (const char* bad : {"", "100", "s", "1 s", "-1s", "1s2", "1x", "99999999999999h", "1..5s"})
    EXPECT_FALSE(parse_duration(bad).ok()) << bad;
  EXPECT_EQ(parse_duration("100").error().message,
            "\"100\": expected a duration with a unit, such as \"250ms\", \"10s\" or \"1h30m\"");
}

TEST(Values, SizesNeedAUnit) {
  EXPECT_EQ(parse_size("64MiB").value(), 64_MiB);
  EXPECT_EQ(parse_size("1.5MiB").value(), 3_MiB / 2);
  EXPECT_EQ(parse_size("1GB").value(), 1'000'000'000u);
  for (const char* bad : {"", "64", "64M", "64mib", "MiB", "1MiB1KiB", "99999999TiB"}) EXPECT_FALSE(parse_size(bad).ok()) << bad;
}

TEST(Values, WhatIsFormattedReadsBackEqual) {
  for (const Duration d : {Duration{0ns}, Duration{1ns}, Duration{1500us}, Duration{250ms}, Duration{90s}, Duration{720h}})
    EXPECT_EQ(parse_duration(format_duration(d)).value(), d) << format_duration(d);
  for (const std::uint64_t s : {0ull, 1ull, 1000ull, 1536ull, 3ull << 19, 5ull << 30})
    EXPECT_EQ(parse_size(format_size(s)).value(), s) << format_size(s);
}

TEST(Values, AddressesAreHostAndPort) {
  EXPECT_EQ(parse_address("a.example:2379").value(), (Address{"a.example", 2379}));
  EXPECT_TRUE(parse_address(":2379")->any());
  EXPECT_EQ(parse_address("[::1]:80")->host, "::1");
  EXPECT_EQ(parse_address("[::1]:80")->text(), "[::1]:80");
  EXPECT_TRUE(parse_address("127.0.2.3:1")->loopback());
  for (const char* bad : {"", "2379", "host", "host:", "host:65536", "host:-1", "::1:80", "http://host:80", "a b:1"})
    EXPECT_FALSE(parse_address(bad).ok()) << bad;
}

TEST(Load, AFileOfThreeActiveAndThreeStandbyNodesIsRead) {
  const Loaded loaded = with("[raft]\nheartbeat_interval = \"50ms\"\n");
  ASSERT_TRUE(loaded.ok()) << joined(loaded.problems);
  const Config& c = loaded.config;
  EXPECT_EQ(c.cluster.members.size(), 3u);
  EXPECT_EQ(c.standby.members[0].region, "west");
  EXPECT_EQ(c.raft.heartbeat_interval, 50ms);
  EXPECT_EQ(c.raft.election_timeout, 1s);
  EXPECT_EQ(c.place(), Place::kActive);
  EXPECT_EQ(c.everyone().size(), 6u);
  EXPECT_EQ(client_url(c, *c.self()), "http://10.0.1.2:2379");
}

TEST(Load, WhatFollowsFromOtherKeysIsFilledIn) {
  const Config c = with("").config;
  EXPECT_EQ(c.node.name, "node-2");
  EXPECT_EQ(c.node.region, "east");
  EXPECT_EQ(c.node.zone, "b");
  EXPECT_EQ(c.node.wal_dir, "/var/lib/leeward/wal");
  EXPECT_EQ(c.advertise.peer, "10.0.1.2:2380");
  EXPECT_EQ(c.advertise.client, "10.0.1.2:2379");
}

TEST(Load, StateLogAndCheckpointsWantDirectoriesOfTheirOwn) {
  for (const auto& [set, words] : {std::pair{"node.wal_dir=/var/lib/leeward", "node.wal_dir: \"/var/lib/leeward\" is node.data_dir"},
                                   {"node.wal_dir=/var/lib/x/../leeward/", "is node.data_dir"},
                                   {"node.snapshot_dir=/var/lib/leeward", "node.snapshot_dir: \"/var/lib/leeward\" is node.data_dir"},
                                   {"node.snapshot_dir=/var/lib/leeward/wal", "is node.wal_dir"}}) {
    const Loaded loaded = from_file(kThreeNodes, {}, {set});
    EXPECT_EQ(loaded.problems.size(), 1u) << set << joined(loaded.problems);
    EXPECT_NE(joined(loaded.problems).find(words), std::string::npos) << joined(loaded.problems);
  }
  EXPECT_TRUE(from_file(kThreeNodes, {}, {"node.wal_dir=/log", "node.snapshot_dir=/snapshots"}).ok());
}

TEST(Load, ANodeLearnsItsPlaceByWhereItsIdStands) {
  EXPECT_EQ(from_file(kThreeNodes, {}, {"node.id=5", "listen.peer=10.0.2.2:2380"}).config.place(), Place::kStandby);
  const Loaded observer = from_file(kThreeNodes, {}, {"node.id=9", "listen.peer=10.0.3.1:2380",
      "standby.observers=[{region=\"north\", members=[{id=9, peer=\"10.0.3.1:2380\"}]}]"});
  ASSERT_TRUE(observer.ok()) << joined(observer.problems);
  EXPECT_EQ(observer.config.place(), Place::kObserver);
  EXPECT_EQ(observer.config.node.region, "north");
}

TEST(Load, SetBeatsEnvironmentBeatsFileBeatsDefault) {
  const std::string file = std::string(kThreeNodes) + "[log]\nlevel = \"warn\"\nformat = \"pretty\"\nmax_backups = 1\n";
  const Loaded loaded = from_file(file, {"LEEWARD_LOG_LEVEL=error", "LEEWARD_LOG_FORMAT=json", "HOME=/root"},
                                  {"log.level=debug"});
  ASSERT_TRUE(loaded.ok()) << joined(loaded.problems);
  EXPECT_EQ(loaded.config.log.level, "debug");
  EXPECT_EQ(loaded.config.log.format, "json");
  EXPECT_EQ(loaded.config.log.max_backups, 1u);
  EXPECT_EQ(loaded.config.log.output, "stderr");
  EXPECT_EQ(loaded.origins.at("log.level"), "--set");
  EXPECT_EQ(loaded.origins.at("log.format"), "LEEWARD_LOG_FORMAT");
  EXPECT_EQ(loaded.origins.at("log.max_backups"), "leeward.toml:17");
  EXPECT_FALSE(loaded.origins.contains("log.output"));
}

TEST(Load, NestedKeysMayBeWrittenInlineAsSectionAndInTheEnvironment) {
  const std::string tls = "cert = \"c\", key = \"k\", ca = \"a\"";
  const Loaded inline_form = with("[tls]\npeer = { " + tls + " }\n");
  const Loaded section_form = with("[tls.peer]\ncert = \"c\"\nkey = \"k\"\nca = \"a\"\n");
  const Loaded environment_form =
      from_file(kThreeNodes, {"LEEWARD_TLS_PEER_CERT=c", "LEEWARD_TLS_PEER_KEY=k", "LEEWARD_TLS_PEER_CA=a"});
  const Loaded set_form = from_file(kThreeNodes, {}, {"tls.peer={" + tls + "}"});
  ASSERT_TRUE(inline_form.ok()) << joined(inline_form.problems);
  EXPECT_EQ(inline_form.config.tls.peer.client_auth, "require");
  EXPECT_EQ(inline_form.config, section_form.config);
  EXPECT_EQ(inline_form.config, environment_form.config);
  EXPECT_EQ(inline_form.config, set_form.config);
}

TEST(Load, ListsAreGivenAsTomlOrWithCommas) {
  const std::vector<std::string> both = {"ops", "admin"};
  EXPECT_EQ(from_file(kThreeNodes, {"LEEWARD_ADMIN_OPERATORS=ops,admin"}).config.admin.operators, both);
  EXPECT_EQ(from_file(kThreeNodes, {}, {"admin.operators=[\"ops\", \"admin\"]"}).config.admin.operators, both);
  EXPECT_EQ(with("[admin]\noperators = [\"ops\", \"admin\"]\n").config.admin.operators, both);
}

TEST(Load, OpenTelemetrysVariablesStandBetweenFileAndOwnOnes) {
  const std::string file = std::string(kThreeNodes) + "[telemetry]\notlp_endpoint = \"http://file:1\"\nservice_name = \"file\"\n";
  const Loaded loaded = from_file(file, {"LEEWARD_TELEMETRY_SERVICE_NAME=own", "OTEL_SERVICE_NAME=otel",
                                         "OTEL_EXPORTER_OTLP_ENDPOINT=http://otel:1", "OTEL_TRACES_SAMPLER_ARG=many"});
  ASSERT_TRUE(loaded.ok());
  EXPECT_EQ(loaded.config.telemetry.otlp_endpoint, "http://otel:1");
  EXPECT_EQ(loaded.config.telemetry.service_name, "own");
  EXPECT_EQ(loaded.config.telemetry.sample_ratio, 0.01);
  EXPECT_NE(joined(loaded.warnings).find("OTEL_TRACES_SAMPLER_ARG: \"many\" is not a ratio; expected a number from 0 to 1; ignored"),
            std::string::npos);
}

TEST(Load, OfOpenTelemetrysVariablesThoseForTracesComeLast) {
  const Loaded loaded = from_file(kThreeNodes, {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=HTTP/json", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
                                                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://t:1/x", "OTEL_EXPORTER_OTLP_ENDPOINT=http://all:1",
                                                "OTEL_EXPORTER_OTLP_TIMEOUT=2500", "OTEL_BSP_SCHEDULE_DELAY=100",
                                                "OTEL_BSP_MAX_QUEUE_SIZE=99", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE=9",
                                                "OTEL_EXPORTER_OTLP_HEADERS=key=a%20b,other=c", "OTEL_TRACES_SAMPLER=always_on",
                                                "OTEL_TRACES_EXPORTER=otlp", "OTEL_RESOURCE_ATTRIBUTES=team=stores", "OTEL_SERVICE_NAME="});
  ASSERT_TRUE(loaded.ok()) << joined(loaded.problems);
  EXPECT_EQ(loaded.warnings, from_file(kThreeNodes).warnings);
  const auto& t = loaded.config.telemetry;
  EXPECT_EQ(t.otlp_protocol, "http/json");
  EXPECT_EQ(t.otlp_traces_endpoint, "http://t:1/x");
  EXPECT_EQ(t.otlp_endpoint, "http://all:1");
  EXPECT_EQ(t.otlp_timeout, 2500ms);
  EXPECT_EQ(t.batch_delay, 100ms);
  EXPECT_EQ(t.queue_spans, 99u);
  EXPECT_EQ(t.batch_spans, 9u);
  EXPECT_EQ(key_values(t.otlp_headers).value().at(0).second, "a b");
  EXPECT_EQ(t.sampler, "always_on");
  EXPECT_EQ(t.traces, "otlp");
  EXPECT_EQ(t.service_name, "leeward");  // an empty variable is none
  EXPECT_EQ(from_file(kThreeNodes, {"OTEL_TRACES_EXPORTER=otlp", "OTEL_SDK_DISABLED=true"}).config.telemetry.traces, "none");
  EXPECT_EQ(from_file(kThreeNodes, {"OTEL_TRACES_EXPORTER=otlp", "OTEL_SDK_DISABLED=false"}).config.telemetry.traces, "otlp");
}

TEST(Load, AnAbsurdVariableOfOpenTelemetryIsOneWarningAndTheDefault) {
  const char* const absurd[] = {"OTEL_EXPORTER_OTLP_ENDPOINT=collector:4318", "OTEL_EXPORTER_OTLP_PROTOCOL=carrier-pigeon",
                                "OTEL_EXPORTER_OTLP_TIMEOUT=10s", "OTEL_EXPORTER_OTLP_TIMEOUT=-1", "OTEL_EXPORTER_OTLP_TIMEOUT=99999999999999999999",
                                "OTEL_EXPORTER_OTLP_HEADERS=no pairs here", "OTEL_EXPORTER_OTLP_HEADERS=a=b%0d%0aX: y",
                                "OTEL_TRACES_SAMPLER=sometimes", "OTEL_TRACES_SAMPLER_ARG=1.5", "OTEL_TRACES_SAMPLER_ARG=nan",
                                "OTEL_BSP_MAX_QUEUE_SIZE=0", "OTEL_BSP_MAX_QUEUE_SIZE=lots", "OTEL_BSP_SCHEDULE_DELAY=5e3",
                                "OTEL_TRACES_EXPORTER=zipkin", "OTEL_SDK_DISABLED=maybe", "OTEL_RESOURCE_ATTRIBUTES=a=%zz",
                                "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=only-this.pem"};
  const Loaded plain = from_file(kThreeNodes);
  for (const char* variable : absurd) {
    const Loaded loaded = from_file(kThreeNodes, {variable});
    EXPECT_TRUE(loaded.ok()) << variable << joined(loaded.problems);
    EXPECT_EQ(loaded.warnings.size(), plain.warnings.size() + 1) << variable << joined(loaded.warnings);
    EXPECT_EQ(loaded.config, plain.config) << variable;
  }
}

TEST(Problems, AllAreListedAtOnceInTheOrderOfTheFile) {
  const Loaded loaded = from_file(R"([node]
id = 7
nmae = "x"
[raft]
heartbeat_interval = "100"
election_timeout = 5
lease_reads = "yes"
[storage]
quota = "2"
[cluster]
members = [ { id = 1, peer = "a:1" }, { id = 1, peer = "b:1" }, { id = 2, peer = "a:1" } ]
[log]
level = "loud"
[speling]
x = 1
)", {"LEEWARD_RAFT_HEARTBEET_INTERVAL=1s"}, {"dr.max_lag=soon", "dr.max_lak=1s", "nonsense"});
  const std::string duration = "expected a duration with a unit, such as \"250ms\", \"10s\" or \"1h30m\"";
  EXPECT_EQ(joined(loaded.problems),
            "leeward.toml:3: node.nmae: unknown key; did you mean node.name?\n"
            "leeward.toml:5: raft.heartbeat_interval: \"100\": " + duration + "\n"
            "leeward.toml:6: raft.election_timeout: \"5\": " + duration + "\n"
            "leeward.toml:7: raft.lease_reads: \"yes\" is neither true nor false; expected one of them, without quotes\n"
            "leeward.toml:9: storage.quota: \"2\": expected a size with a unit, such as \"64MiB\" or \"2GiB\"\n"
            "leeward.toml:13: log.level: \"loud\" is not known; expected \"debug\", \"info\", \"warn\" or \"error\"\n"
            "leeward.toml:14: speling: unknown key\n"
            "LEEWARD_RAFT_HEARTBEET_INTERVAL: no such setting; did you mean LEEWARD_RAFT_HEARTBEAT_INTERVAL?\n"
            "--set: dr.max_lag: \"soon\": " + duration + "\n"
            "--set: dr.max_lak: unknown key; did you mean dr.max_lag?\n"
            "--set: nonsense: has no value; expected section.key=value\n"
            "leeward.toml:11: cluster.members[1]: id 1 is taken by cluster.members[0]; each node of all regions needs an id of its own\n"
            "leeward.toml:11: cluster.members[2]: peer address \"a:1\" is taken by cluster.members[0]\n"
            "leeward.toml:2: node.id: 7 stands in none of cluster.members, standby.members and standby.observers; they list 1, 1, 2\n");
}

TEST(Problems, ABrokenFileNamesLineAndColumn) {
  const Loaded loaded = from_file("[node]\nid = = 1\n");
  ASSERT_FALSE(loaded.ok());
  EXPECT_EQ(loaded.problems[0].substr(0, 15), "leeward.toml:2:");
  EXPECT_NE(loaded.problems[0].find("(column "), std::string::npos) << loaded.problems[0];
  EXPECT_EQ(loaded.problems.size(), 1u) << "what it gives is not missing: " << joined(loaded.problems);
}

struct Case {
  const char* text;
  const char* problem;
};

TEST(Problems, EachImpossibleCombinationHasItsOwnText) {
  const Case cases[] = {
      {"[raft]\nheartbeat_interval = \"300ms\"\n", "raft.election_timeout: \"1s\" is less than five times raft.heartbeat_interval (\"300ms\")"},
      {"[compaction]\nmode = \"revision\"\nretention = \"1h\"\n", "compaction.retention: \"1h\" does not fit compaction.mode = \"revision\"; expected a number of revisions"},
      {"[compaction]\nmode = \"periodic\"\nretention = \"1000\"\n", "compaction.retention: \"1000\" does not fit compaction.mode = \"periodic\"; expected a duration"},
      {"[tls.client]\ncert = \"c\"\n", "tls.client.key: is not set, but tls.client.cert is; a certificate and its key come together"},
      {"[tls.client]\nclient_auth = \"require\"\n", "tls.client.client_auth: \"require\" needs TLS"},
      {"[tls.client]\ncert = \"c\"\nkey = \"k\"\nclient_auth = \"require\"\n", "tls.client.ca: is not set; client_auth = \"require\" checks client certificates against it"},
      {"[tls.peer]\ncert = \"c\"\nkey = \"k\"\n", "tls.peer.ca: is not set; members check each other's certificates against it"},
      {"[auth]\ntoken = \"jwt\"\n", "auth.jwt.public_key: is not set"},
      {"[advertise]\nclient = \"0.0.0.0:2379\"\n", "advertise.client: \"0.0.0.0:2379\" cannot be dialled"},
      {"[dr]\nself_fence = \"lease\"\nlease = \"1s\"\n", "dr.lease: \"1s\" is less than twice raft.election_timeout"},
      {"[dr]\nretain_log = \"1MiB\"\n", "dr.retain_log: \"1MiB\" is less than one segment of the log"},
      {"[limits]\nburst = 5\n", "limits.burst: is set, but limits.rate is 0 (no limit)"},
      {"[log]\nmax_backups = 5000\n", "log.max_backups: 5000 is out of range or not a number; expected a whole number from 0 to 1000"},
      {"[telemetry]\notlp_endpoint = \"collector:4318\"\n", "is not a URL; expected \"http://host:port\""},
      {"[raft]\nmax_inflight = \"1KiB\"\n", "raft.max_inflight: \"1KiB\" is out of range; expected at least 64KiB"},
      {"raft = 5\n[x]\n", "unknown key"},
      {"[raft]\nheartbeat_interval = \"600000h\"\n", "raft.heartbeat_interval: \"600000h\" is out of range; expected from 1ms to 1h"},
      {"[raft]\nelection_timeout = \"2h\"\n", "raft.election_timeout: \"2h\" is out of range; expected from 10ms to 1h"},
  };
  for (const Case& c : cases) {
    const Loaded loaded = with(c.text);
    EXPECT_NE(joined(loaded.problems).find(c.problem), std::string::npos) << c.text << joined(loaded.problems);
  }
}

TEST(Problems, ListenersMayNotShareAPort) {
  const Loaded loaded = from_file(kThreeNodes, {}, {"listen.admin=:2379"});
  ASSERT_EQ(loaded.problems.size(), 1u) << joined(loaded.problems);
  EXPECT_EQ(loaded.problems[0], "--set: listen.admin: \":2379\" collides with listen.client = \"127.0.0.1:2379\"; "
                                "give each listener a port of its own");
}

std::string members(int count, int first = 1) {
  std::string out = "[";
  for (int i = first; i < first + count; ++i)
    out += "{ id = " + std::to_string(i) + ", peer = \"h" + std::to_string(i) + ":2380\" },";
  return out + "]";
}

// After `member add` a file may name four: no start fails for it.
TEST(Problems, GroupsOfUpToSevenStartAndEvenOnesWithAWarning) {
  for (const int count : {1, 2, 3, 4, 5, 6, 7, 8, 9}) {
    const Loaded loaded = from_file("[node]\nid = 1\n[cluster]\nmembers = " + members(count) + "\n");
    EXPECT_EQ(loaded.ok(), count <= 7) << count << joined(loaded.problems);
    const bool warned = joined(loaded.warnings).find("cluster.members") != std::string::npos;
    EXPECT_EQ(warned, count < 8 && count % 2 == 0) << count << joined(loaded.warnings);
  }
  EXPECT_NE(joined(from_file("[node]\nid = 1\n[cluster]\nmembers = " + members(4) + "\n").warnings)
                .find("leeward.toml:4: cluster.members: has 4 members; expected 1, 3, 5 or 7"), std::string::npos);
}

TEST(Problems, ANodeThatJoinsListsAsManyAsThereAre) {
  for (const int count : {2, 4, 6})
    EXPECT_TRUE(from_file("[node]\nid = 1\n[cluster]\nbootstrap = \"join\"\nmembers = " + members(count) + "\n").ok()) << count;
}

TEST(Problems, TwoStandbysAreAllowedWithAWarning) {
  const Loaded loaded = from_file("[node]\nid = 1\n[cluster]\nmembers = " + members(1) +
                                  "\n[standby]\nregion = \"west\"\nmembers = " + members(2, 11) + "\n");
  EXPECT_TRUE(loaded.ok()) << joined(loaded.problems);
  EXPECT_NE(joined(loaded.warnings).find("standby.members: has 2 members"), std::string::npos);
}

TEST(Problems, IdsAre32BitAndNotZero) {
  for (const char* bad : {"0", "-1", "4294967296", "\"1\"", "1.5"}) {
    const Loaded loaded = from_file(std::string("[node]\nid = ") + bad + "\n[cluster]\nmembers = " + members(1) + "\n");
    EXPECT_NE(joined(loaded.problems).find("expected a whole number from 1 to 4294967295"), std::string::npos)
        << bad << joined(loaded.problems);
  }
  EXPECT_TRUE(from_file("[node]\nid = 4294967295\n[cluster]\nmembers = [{ id = 4294967295, peer = \"a:1\" }]\n").ok());
}

TEST(Problems, AMemberWithoutAddressOrWithAMisspeltKeyIsNamed) {
  const std::string text = joined(from_file("[node]\nid = 1\n[cluster]\nmembers = [\n  { id = 1, pear = \"a:1\" },\n"
                                            "  { id = 2 },\n  \"c:1\",\n]\n").problems);
  EXPECT_NE(text.find("leeward.toml:5: cluster.members[0].pear: unknown key; did you mean peer?"), std::string::npos) << text;
  EXPECT_NE(text.find("leeward.toml:6: cluster.members[1]: has no peer address"), std::string::npos) << text;
  EXPECT_NE(text.find("leeward.toml:7: cluster.members[2]: is not a table"), std::string::npos) << text;
}

// They become what a node advertises, which is refused there too.
TEST(Problems, AMemberThatCannotBeDialledIsNamed) {
  const std::pair<const char*, const char*> cases[] = {{"peer = \"0.0.0.0:2380\"", "peer address \"0.0.0.0:2380\""},
                                                       {"peer = \"a:0\"", "peer address \"a:0\""},
                                                       {"peer = \"a:1\", client = \"http://[::]:2379\"", "client address \"http://[::]:2379\""}};
  for (const auto& [given, said] : cases) {
    const Loaded loaded = from_file("[node]\nid = 1\n[cluster]\nmembers = [\n  { id = 1, " + std::string(given) + " },\n]\n");
    EXPECT_EQ(joined(loaded.problems), "leeward.toml:5: cluster.members[0]: " + std::string(said) +
                                           " cannot be dialled; expected an address by which others reach this node\n");
  }
}

TEST(Problems, ASocketsPathIsNoLongerThanTheSystemTakes) {
  EXPECT_TRUE(with("[admin]\nsocket = \"/" + std::string(106, 'x') + "\"\n").ok());
  EXPECT_EQ(joined(with("[admin]\nsocket = \"/" + std::string(107, 'x') + "\"\n").problems),
            "leeward.toml:15: admin.socket: is a path of 108 bytes; expected at most 107, all that the system takes for a socket's\n");
}

TEST(Problems, AStandbyOfTheSameRegionIsRefused) {
  const Loaded loaded = from_file(kThreeNodes, {}, {"standby.region=east"});
  EXPECT_NE(joined(loaded.problems).find("--set: standby.region: \"east\" is the region of cluster.members too"), std::string::npos)
      << joined(loaded.problems);
}

TEST(Problems, WhatKubernetesSetsForAServiceIsNotOurs) {
  const Loaded loaded = from_file(kThreeNodes, {"LEEWARD_SERVICE_HOST=10.0.0.1", "LEEWARD_PORT_2379_TCP=tcp://10.0.0.1:2379",
                                                "LEEWARD_NODE_SERVICE_PORT=1", "LEEWARD_FOO_BAR=1"});
  EXPECT_TRUE(loaded.ok()) << joined(loaded.problems);
  EXPECT_NE(joined(loaded.warnings).find("LEEWARD_FOO_BAR: no such setting"), std::string::npos);
}

TEST(Warnings, APlainListenerBeyondLoopbackIsPointedOut) {
  const Loaded loaded = from_file(kThreeNodes, {}, {"listen.client=0.0.0.0:2379"});
  ASSERT_TRUE(loaded.ok());
  EXPECT_NE(joined(loaded.warnings).find("listen.client: \"0.0.0.0:2379\" is reachable from outside and plain"), std::string::npos);
}

TEST(Dev, NeedsNoFileAndStaysOnLoopback) {
  const Loaded loaded = load({.dev = true});
  ASSERT_TRUE(loaded.ok()) << joined(loaded.problems);
  EXPECT_TRUE(loaded.warnings.empty()) << joined(loaded.warnings);
  EXPECT_EQ(loaded.config.node.data_dir, "./leeward-data");
  EXPECT_EQ(loaded.config.log.format, "pretty");
  EXPECT_TRUE(loaded.config.admin.insecure);
  for (const std::string& listener : {loaded.config.listen.client, loaded.config.listen.peer, loaded.config.listen.admin})
    EXPECT_TRUE(parse_address(listener)->loopback());
  EXPECT_EQ(load({.set = {"listen.client=127.0.0.1:9999"}, .dev = true}).config.listen.client, "127.0.0.1:9999");
}

TEST(Print, ReadsBackToTheSameConfiguration) {
  const Loaded loaded = from_file(std::string(kThreeNodes) +
      "[dr]\nstart_wait = \"forever\"\n[admin]\noperators = [\"o\\\"ps\", \"tab\\there\"]\n"
      "[tls]\nclient = { cert = \"c\", key = \"k\" }\npeer = { cert = \"c\", key = \"k\", ca = \"a\" }\n"
      "[telemetry]\nsample_ratio = 1\n[limits]\nrequest_timeout = \"1500ms\"\n", {"LEEWARD_LOG_MAX_SIZE=1536KiB"},
      {"standby.observers=[{ region = \"north\", members = [{ id = 9, peer = \"10.0.3.1:2380\" }] }]"});
  ASSERT_TRUE(loaded.ok()) << joined(loaded.problems);
  const std::string text = print(loaded);
  const Loaded again = from_file(text);
  ASSERT_TRUE(again.ok()) << joined(again.problems) << text;
  EXPECT_EQ(again.config, loaded.config);
  EXPECT_EQ(print(again).substr(0, 20), text.substr(0, 20));
}

TEST(Print, AnAddressOnAllInterfacesReadsBackToo) {
  const Loaded loaded = from_file("[node]\nid = 1\n[listen]\nclient = \":2379\"\npeer = \":2380\"\n[cluster]\n"
                                  "members = [{ id = 1, peer = \"h1:2380\" }]\n");
  ASSERT_TRUE(loaded.ok()) << joined(loaded.problems);
  EXPECT_EQ(loaded.config.advertise.client, "h1:2379");
  EXPECT_EQ(from_file(print(loaded)).config, loaded.config);
  EXPECT_TRUE(from_file(print(loaded)).ok());
}

TEST(Print, NamesTheOriginOfEachValue) {
  const std::string text = print(from_file(kThreeNodes, {"LEEWARD_LOG_LEVEL=warn"}, {"dr.max_lag=2s"}));
  for (const char* expected : {"id = 2  # leeward.toml:2\n", "level = \"warn\"  # LEEWARD_LOG_LEVEL\n", "max_lag = \"2s\"  # --set\n",
                               "heartbeat_interval = \"100ms\"  # default\n", "# leeward.toml:4\nmembers = [\n"})
    EXPECT_NE(text.find(expected), std::string::npos) << expected << text;
}

TEST(Print, MasksUserAndPasswordInUrls) {
  const std::string text = print(from_file(kThreeNodes, {}, {"telemetry.otlp_endpoint=https://user:secret@collector:4318/v1"}));
  EXPECT_EQ(text.find("secret"), std::string::npos);
  EXPECT_NE(text.find("https://***@collector:4318/v1"), std::string::npos);
}

TEST(Print, MasksTheHeadersForACollector) {
  const std::string text = print(from_file(kThreeNodes, {}, {"telemetry.otlp_headers=authorization=Bearer%20secret"}));
  EXPECT_EQ(text.find("secret"), std::string::npos);
  EXPECT_NE(text.find("otlp_headers = \"***\""), std::string::npos);
}

TEST(Print, ADevelopmentConfigurationReadsBackToo) {
  const Loaded loaded = load({.dev = true});
  const Loaded again = from_file(print(loaded));
  ASSERT_TRUE(again.ok()) << joined(again.problems);
  EXPECT_EQ(again.config, loaded.config);
}

TEST(Schema, EveryKeyHasItsOwnNameInTheEnvironment) {
  Config config;
  std::map<std::string, std::string> seen;
  for (const Key& key : keys(config)) {
    const auto [it, fresh] = seen.emplace(key.environment_name(), key.name);
    EXPECT_TRUE(fresh) << key.name << " and " << it->second;
  }
}

Result<CommandLine> flags(std::vector<std::string_view> arguments) { return parse_command_line(arguments); }

TEST(Flags, AreReadInBothForms) {
  const auto line = flags({"--config", "f", "--set=a.b=c", "--set", "d.e=f", "--check-config"});
  ASSERT_TRUE(line.ok());
  EXPECT_EQ(line->config_file, "f");
  EXPECT_EQ(line->set, (std::vector<std::string>{"a.b=c", "d.e=f"}));
  EXPECT_TRUE(line->check_config);
}

TEST(Flags, MistakesSayWhatWasExpected) {
  EXPECT_EQ(flags({"--confg", "f"}).error().message, "unknown argument --confg; did you mean --config?");
  EXPECT_EQ(flags({"--config"}).error().message, "--config has no value; expected --config FILE");
  EXPECT_EQ(flags({}).error().message, "nothing to run; give --config FILE, or --dev for one node on this machine");
  EXPECT_EQ(flags({"--dev", "--config", "f"}).error().message.substr(0, 20), "--dev and --config e");
}

TEST(File, AMissingFileIsSaidSo) {
  Sources sources;
  const auto result = read_file("/nonexistent/leeward.toml", sources);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().message, "/nonexistent/leeward.toml: No such file or directory; give the configuration with --config FILE, or try --dev");
}

TEST(Reload, TakesLimitsAndLogLevelAndNamesTheRest) {
  Loaded running = with("[limits]\ntxn_ops = 5\n");
  const Loaded fresh = with("[limits]\ntxn_ops = 6\n[log]\nlevel = \"debug\"\n[raft]\nheartbeat_interval = \"50ms\"\n");
  const Changes changes = take_reloadable(running, fresh);
  EXPECT_EQ(changes.taken, (std::vector<std::string>{"limits.txn_ops", "log.level"}));
  EXPECT_EQ(changes.fixed, std::vector<std::string>{"raft.heartbeat_interval"});
  EXPECT_EQ(running.config.limits.txn_ops, 6u);
  EXPECT_EQ(running.config.log.level, "debug");
  EXPECT_EQ(running.config.raft.heartbeat_interval, 100ms);
  EXPECT_TRUE(running.origins.contains("log.level"));
  const Changes again = take_reloadable(running, fresh);
  EXPECT_TRUE(again.taken.empty());
}

// A policy that refuses all writes must be ended without a restart.
TEST(Reload, TakesTheRpoPolicyAndItsBudget) {
  Loaded running = with("[dr]\nrpo_policy = \"refuse\"\n");
  const Loaded fresh = with("[dr]\nrpo_policy = \"throttle\"\nrpo_budget = \"250ms\"\nmax_lag = \"2s\"\n");
  const Changes changes = take_reloadable(running, fresh);
  EXPECT_EQ(changes.taken, (std::vector<std::string>{"dr.rpo_policy", "dr.rpo_budget"}));
  EXPECT_EQ(changes.fixed, std::vector<std::string>{"dr.max_lag"});
  EXPECT_EQ(running.config.dr.rpo_budget, 250ms);
}

TEST(Warnings, ANodeThatDoesNotSyncSaysSo) {
  EXPECT_NE(joined(with("[storage]\nfsync = false\n").warnings).find("storage.fsync: is false: a power loss takes"), std::string::npos);
  EXPECT_EQ(joined(with("[storage]\nfsync = true\n").warnings).find("storage.fsync"), std::string::npos);
}

TEST(Warnings, APolicyThatNothingKeepsIsSaid) {
  const Loaded loaded = with("[storage]\nscrub_rate = \"2MiB\"\n");
  EXPECT_TRUE(loaded.ok()) << joined(loaded.problems);
  EXPECT_NE(joined(loaded.warnings).find("storage.scrub_rate: this version reads this key and does not act on it yet"), std::string::npos)
      << joined(loaded.warnings);
  EXPECT_EQ(joined(with("").warnings).find("does not act"), std::string::npos);
}

}  // namespace
}  // namespace leeward::config
