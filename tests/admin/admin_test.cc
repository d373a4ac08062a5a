// Each health path over each state a node can be in.
#include "admin/handler.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <map>

#include "admin/checks.h"

namespace leeward::admin {
namespace {

class FakeSource final : public StatusSource {
 public:
  NodeStatus status() const override { return now; }
  const NodeProbe& probe() const override { return figures; }
  NodeStatus now;
  NodeProbe figures;
};

PeerIdentity loopback() { return {.loopback = true, .address = "127.0.0.1:5"}; }
PeerIdentity stranger() { return {.tls = true, .address = "10.9.9.9:5"}; }
PeerIdentity certified(const std::string& name) { return {.tls = true, .common_name = name, .address = "10.9.9.9:5"}; }

// One request, and what was answered.
class Exchange {
 public:
  explicit Exchange(HttpRequest request) : exchange_(std::make_shared<Kept>(std::move(request))) {}
  std::shared_ptr<HttpExchange> shared() { return exchange_; }
  const std::optional<HttpResponse>& answer() const { return exchange_->answer; }

 private:
  struct Loop final : Executor {
    void post(Callback work) override { work(); }
    TimerId after(Duration, Callback) override { return 1; }
    void cancel(TimerId) override {}
    bool on_loop() const override { return true; }
  };
  struct Kept final : HttpExchange {
    explicit Kept(HttpRequest r) : asked(std::move(r)) {}
    const HttpRequest& request() const override { return asked; }
    Executor& loop() override { return on; }
    void respond(HttpResponse response) override { answer = std::move(response); }
    void start_stream(HttpResponse) override {}
    void write(Bytes) override {}
    void end() override {}
    std::size_t queued() const override { return 0; }
    bool open() const override { return !answer; }
    void on_drain(Function<void()>) override {}
    void on_cancel(Function<void()>) override {}
    HttpRequest asked;
    Loop on;
    std::optional<HttpResponse> answer;
  };
  std::shared_ptr<Kept> exchange_;
};

class AdminTest : public ::testing::Test {
 protected:
  AdminTest() {
    status().cluster_name = "orders";
    status().epoch = Epoch(3);
    status().self = NodeId(1);
    status().admitted = true;
    status().role = GroupRole::kPrimary;
    status().state = MemberState::kFollower;
    status().term = Term(8);
    status().leader = NodeId(2);
    status().members = {member(1, "east", GroupRole::kPrimary, MemberState::kFollower),
                        member(2, "east", GroupRole::kPrimary, MemberState::kLeader),
                        member(4, "west", GroupRole::kStandby, MemberState::kLeader)};
    sources_ = {.status = &source_,
                .metrics = [](std::string_view accept) -> AdminSources::Page {
                  if (accept == "application/openmetrics-text") return {"application/openmetrics-text", "# EOF\n"};
                  return {"text/plain; version=0.0.4", "leeward_epoch 3\n"};
                },
                .config = [] { return std::string("[node]\nid = 1\n"); },
                .dr_status = [this]() -> Result<std::string> { return dr_status_; },
                .dr_plan = [this](std::vector<NodeId> members, Executor&, Function<void(Result<std::string>)> done) {
                  planned_for_.push_back(std::move(members));
                  plan_done_ = std::move(done);
                },
                .loops_turn = [this] { return turning_; },
                .now = [this] { return now_; },
                .operators = {"ops"}};
  }

  static MemberStatus member(std::uint64_t id, const char* region, GroupRole role, MemberState state) {
    return {.id = NodeId(id), .name = "node-" + std::to_string(id), .region = region, .peer_address = "10.0.0.1:2380",
            .role = role, .state = state, .voter = true, .admitted = true, .healthy = true, .report_age = 100ms};
  }

  NodeStatus& status() { return source_.now; }
  MemberStatus& self() {
    for (MemberStatus& m : status().members)
      if (m.id == status().self) return m;
    throw std::logic_error("no self");
  }

  void become_leader() {
    status().leader = NodeId(1);
    status().state = MemberState::kLeader;
    status().leader_ready = true;
  }
  void become_standby() {
    status().self = NodeId(4);
    status().role = GroupRole::kStandby;
    status().leader = NodeId(4);
    status().primary_heard = true;
    status().primary_silence = 20ms;
    self().lag = {.writes = 3, .entries = 2, .bytes = 100, .low = 0ms, .high = 80ms};
    for (const char* check : {"armed", "quorum", "lag", "hash"}) self().eligibility.push_back({check, true, "fine"});
  }

  HttpResponse get(const std::string& target, PeerIdentity peer = loopback(), const std::string& method = "GET",
                   Surface surface = Surface::kAdmin) {
    return *AdminHandler(sources_, surface).answer(request(target, std::move(peer), method));
  }
  static HttpRequest request(const std::string& target, PeerIdentity peer, const std::string& method) {
    HttpRequest request;
    request.method = method;
    request.path = target.substr(0, target.find('?'));
    if (request.path.size() < target.size()) request.query = target.substr(request.path.size() + 1);
    request.peer = std::move(peer);
    return request;
  }
  int code(const std::string& target, PeerIdentity peer = loopback()) { return get(target, std::move(peer)).status; }
  std::string body(const std::string& target, PeerIdentity peer = loopback()) {
    return std::string(get(target, std::move(peer)).body.view());
  }

  FakeSource source_;
  AdminSources sources_;
  bool turning_ = true;
  Instant now_ = Instant(1h);
  Result<std::string> dr_status_ = std::string("{\"epoch\":\"3\"}");
  std::vector<std::vector<NodeId>> planned_for_;
  Function<void(Result<std::string>)> plan_done_;
};

TEST_F(AdminTest, AHealthyFollowerOfThePrimaryIsReadyAndPrimaryAndNotLeader) {
  for (const char* path : {"/livez", "/readyz", "/ready", "/readiness", "/health", "/primary", "/replica", "/replica?lag=1ms", "/readyz/raft"})
    EXPECT_EQ(code(path), 200) << path << body(path);
  for (const char* path : {"/leader", "/standby", "/standby?max_lag=1s", "/standby/eligible"}) EXPECT_EQ(code(path), 503) << path;
}

TEST_F(AdminTest, ARegionThatDoesNotServeYetAfterAStartHasNoPrimaryAndNoLeader) {
  for (const bool leads : {false, true}) {
    if (leads) become_leader();
    status().start_wait = true;
    status().waiting_for = "the armed region";
    for (const char* path : {"/readyz", "/primary", "/leader", "/replica"}) EXPECT_EQ(code(path), 503) << path;
    EXPECT_EQ(code("/livez"), 200);
  }
  status().start_wait = false;
  status().waiting_for.clear();
  for (const char* path : {"/readyz", "/primary", "/leader"}) EXPECT_EQ(code(path), 200) << path << body(path);
}

TEST_F(AdminTest, TheLeaderIsLeaderOnceItsFirstEntryIsCommitted) {
  become_leader();
  EXPECT_EQ(code("/leader"), 200);
  status().leader_ready = false;
  EXPECT_EQ(code("/leader"), 503);
}

TEST_F(AdminTest, WithoutALeaderNothingButLivezAnswers200) {
  status().leader = NodeId();
  EXPECT_EQ(code("/livez"), 200);
  for (const char* path : {"/readyz", "/health", "/leader", "/primary", "/replica", "/readyz/raft"}) EXPECT_EQ(code(path), 503) << path;
  EXPECT_EQ(body("/readyz"), "[-]raft failed: no leader is known in term 8\nreadyz check failed\n");
}

TEST_F(AdminTest, AMemberThatIsFarBehindItsLeaderIsNotReadyWhateverItsOwnCommit) {
  const auto leader = [this](std::uint64_t writes, std::optional<Duration> age) {
    status().leader = NodeId(9);
    MemberStatus m;
    m.id = NodeId(9);
    m.role = GroupRole::kPrimary;
    m.applied.position.writes = writes;
    m.report_age = age;
    std::erase_if(status().members, [](const MemberStatus& other) { return other.id == NodeId(9); });
    status().members.push_back(m);
  };
  status().applied.point.position.writes = 10'000;
  leader(11'000, 400ms);
  EXPECT_EQ(code("/readyz"), 200) << body("/readyz");
  EXPECT_EQ(code("/replica?lag=100ms"), 200);
  leader(60'000, 400ms);
  EXPECT_EQ(body("/readyz/apply"), "[-]apply failed: 50000 writes behind its leader\n");
  EXPECT_EQ(code("/replica?lag=100ms"), 503);
  leader(10'000, std::nullopt);
  EXPECT_EQ(body("/readyz/apply"), "[-]apply failed: its leader's position is not known yet\n");
  leader(10'000, 5s);
  EXPECT_EQ(code("/readyz"), 503) << "an old report says nothing";
}

TEST_F(AdminTest, LivezDependsOnTheLoopsAlone) {
  status() = NodeStatus{};
  status().disk_full = true;
  status().disk_stall = 60s;
  status().stopping = true;
  status().role = GroupRole::kFenced;
  status().waiting_for = "a majority";
  EXPECT_EQ(code("/livez"), 200);
  turning_ = false;
  EXPECT_EQ(code("/livez"), 503);
  EXPECT_EQ(body("/livez?verbose"), "[-]loop failed: the event loops do not turn\nlivez check failed\n");
}

TEST_F(AdminTest, AStandbyIsReadyAndNeverPrimary) {
  become_standby();
  for (const char* path : {"/livez", "/readyz", "/health", "/standby", "/standby?max_lag=80ms", "/standby/eligible", "/replica?lag=100ms", "/readyz/stream"})
    EXPECT_EQ(code(path), 200) << path << body(path);
  for (const char* path : {"/primary", "/leader", "/standby?max_lag=79ms", "/replica?lag=10ms"}) EXPECT_EQ(code(path), 503) << path;
  EXPECT_EQ(body("/standby?max_lag=10ms"), "the lag is up to 80ms, more than 10ms\n");
}

TEST_F(AdminTest, AStandbyWhoseStreamCannotGoOnIsNotReadyThoughItHearsThePrimary) {
  become_standby();
  self().stream_connected = false;
  EXPECT_EQ(code("/readyz"), 200) << "it looks for another source";
  status().stream_state = "resync needed";
  self().eligibility.push_back({"integrity", false, "no source keeps the log this group needs"});
  EXPECT_EQ(body("/readyz/stream"), "[-]stream failed: resync needed: no source keeps the log this group needs\n");
  EXPECT_EQ(code("/readyz"), 503);
  EXPECT_EQ(code("/health"), 503);
}

TEST_F(AdminTest, AStandbyThatHearsNobodyIsNotReadyAndItsLagIsUnknown) {
  become_standby();
  status().primary_heard = false;
  status().primary_silence = 7500ms;
  self().lag.high.reset();
  EXPECT_EQ(code("/livez"), 200);
  EXPECT_EQ(body("/readyz/stream"), "[-]stream failed: the primary has been silent for 7500ms\n");
  EXPECT_EQ(code("/readyz"), 503);
  EXPECT_EQ(code("/replica"), 503);
  EXPECT_EQ(body("/standby"), "the lag is not known\n");
}

// After a pause of the process, or while its core loop hangs.
TEST_F(AdminTest, WhatTheNodeKnewOfItselfLongAgoIsNoVerdict) {
  become_standby();
  status().made = now_ - 100ms;
  EXPECT_EQ(code("/standby?max_lag=200ms"), 200);
  EXPECT_EQ(code("/standby?max_lag=150ms"), 503) << "80 ms of lag then, and 100 ms since";
  EXPECT_EQ(code("/standby/eligible"), 200);
  EXPECT_EQ(code("/readyz"), 200);
  status().made = now_ - 5s;
  for (const char* path : {"/standby?max_lag=1h", "/standby/eligible", "/replica", "/leader", "/primary"})
    EXPECT_EQ(body(path), "what this node knows of itself is 5000 ms old\n") << path;
  EXPECT_EQ(code("/readyz"), 503);
  EXPECT_EQ(code("/readyz/loop"), 503);
  EXPECT_EQ(code("/livez"), 200);
}

TEST_F(AdminTest, AnIneligibleStandbyNamesTheFailingChecks) {
  become_standby();
  self().eligibility[3] = {"hash", false, "never compared"};
  EXPECT_EQ(code("/standby/eligible"), 503);
  EXPECT_EQ(body("/standby/eligible"), "hash: never compared\n");
  self().eligibility.clear();
  EXPECT_EQ(body("/standby/eligible"), "there is no verdict yet\n");
}

TEST_F(AdminTest, AFencedNodeIsAliveAndNotReady) {
  status().role = GroupRole::kFenced;
  EXPECT_EQ(code("/livez"), 200);
  EXPECT_EQ(code("/readyz"), 503);
  EXPECT_EQ(code("/primary"), 503);
  EXPECT_EQ(code("/dr/status"), 200);
  EXPECT_EQ(body("/readyz"), "[-]fenced failed: a newer epoch than 3 exists; stale reads only\nreadyz check failed\n");
}

TEST_F(AdminTest, AStartingWaitingOrUnadmittedNodeIsNotReadyAndSaysWhy) {
  status().waiting_for = "waiting for 2 of 3 active members: 2, 3";
  EXPECT_EQ(body("/readyz/started"), "[-]started failed: waiting for 2 of 3 active members: 2, 3\n");
  EXPECT_EQ(code("/primary"), 503);
  EXPECT_EQ(code("/replica"), 503);
  status().waiting_for.clear();
  status().admitted = false;
  EXPECT_EQ(body("/readyz/started"), "[-]started failed: this member waits for its admission: leewardctl member admit 1\n");
  status().admitted = true;
  status().state = MemberState::kStarting;
  EXPECT_EQ(code("/readyz"), 503);
}

TEST_F(AdminTest, AStoppingNodeLeavesTheBalancersFirst) {
  status().stopping = true;
  EXPECT_EQ(code("/livez"), 200);
  for (const char* path : {"/readyz", "/primary", "/replica"}) EXPECT_EQ(code(path), 503) << path;
}

TEST_F(AdminTest, AFullOrHangingDiskFailsStorage) {
  status().disk_full = true;
  EXPECT_EQ(code("/readyz/storage"), 503);
  status().disk_full = false;
  status().disk_stall = 1s;
  EXPECT_EQ(code("/readyz/storage"), 200);
  status().disk_stall = 3s;
  EXPECT_EQ(body("/readyz/storage"), "[-]storage failed: a sync has been running for 3s\n");
}

TEST_F(AdminTest, ANodeFarBehindInApplyingIsNotReady) {
  status().apply_backlog = 5000;
  EXPECT_EQ(code("/readyz/apply"), 200);
  status().apply_backlog = 5001;
  EXPECT_EQ(code("/readyz/apply"), 503);
  EXPECT_EQ(code("/replica"), 503);
  status().apply_backlog = 0;
  status().state = MemberState::kSnapshot;
  EXPECT_EQ(code("/readyz/apply"), 503);
}

TEST_F(AdminTest, VerboseListsEveryCheckAndExcludeLeavesSomeOut) {
  status().leader = NodeId();
  EXPECT_EQ(body("/readyz?verbose"),
            "[+]started ok\n[+]stopping ok\n[+]fenced ok\n[+]isolated ok\n[+]storage ok\n[+]integrity ok\n[-]raft failed: no leader is known in term 8\n"
            "[+]apply ok\n[+]loop ok\nreadyz check failed\n");
  EXPECT_EQ(code("/readyz?exclude=raft"), 200);
  EXPECT_EQ(body("/readyz?verbose&exclude=raft&exclude=apply"),
            "[+]started ok\n[+]stopping ok\n[+]fenced ok\n[+]isolated ok\n[+]storage ok\n[+]integrity ok\n[+]raft excluded: ok\n[+]apply excluded: ok\n[+]loop ok\nreadyz check passed\n");
  EXPECT_EQ(code("/health?exclude=raft"), 200);
  EXPECT_EQ(code("/health?exclude=raft&exclude=NOSPACE&serializable=true"), 200) << "as etcd's probes ask";
  EXPECT_EQ(code("/livez?exclude=NOSPACE"), 200);
}

TEST_F(AdminTest, AProbeThatNamesAFollowersCheckOutlivesAPromotion) {
  for (const bool follower : {true, false}) {
    if (follower) become_standby();
    else status().role = GroupRole::kPrimary;
    for (const char* target : {"/readyz?exclude=stream", "/ready?exclude=stream", "/health?exclude=stream", "/readyz/stream"})
      EXPECT_EQ(code(target), 200) << target << follower;
    EXPECT_EQ(body("/readyz/stream"), follower ? "ok\n" : "not a check of this node's role\n");
    EXPECT_EQ(code("/livez?exclude=stream"), 400) << follower;
    EXPECT_EQ(code("/livez/stream"), 404) << follower;
  }
}

TEST_F(AdminTest, BadQueriesAre400AndSayWhatWasExpected) {
  EXPECT_EQ(body("/replica?lag=100"), "lag: \"100\": expected a duration with a unit, such as \"250ms\", \"10s\" or \"1h30m\"\n");
  for (const char* target : {"/replica?lag=100", "/replica?lag=", "/replica?max_lag=1s", "/standby?max_lag=soon", "/standby?lag=1s",
                             "/readyz?exclude=nonsense", "/readyz?exclude=", "/readyz?nonsense", "/health?exclude=x", "/replica?lag=%zz",
                             "/livez?exclude=raft"})
    EXPECT_EQ(code(target), 400) << target;
  EXPECT_EQ(code("/replica?lag=1%30s"), 200);
}

TEST_F(AdminTest, UnknownPathsAndChecksAre404) {
  for (const char* target : {"/nonsense", "/readyz/nonsense", "/livez/raft", "/readyzz", "/debug", "/dr"}) EXPECT_EQ(code(target), 404) << target;
}

TEST_F(AdminTest, HealthIsEtcdsJsonAndMore) {
  auto healthy = boost::json::parse(body("/health")).as_object();
  EXPECT_EQ(healthy.at("health").as_string(), "true");
  EXPECT_EQ(healthy.at("status").as_string(), "healthy");
  for (const char* check : {"store", "raft", "disk"})
    EXPECT_TRUE(healthy.at("checks").as_object().at(check).as_object().at("ok").as_bool()) << check;
  status().leader = NodeId();
  auto sick = boost::json::parse(body("/health")).as_object();
  EXPECT_EQ(code("/health"), 503);
  EXPECT_EQ(sick.at("health").as_string(), "false");
  EXPECT_EQ(sick.at("reason").as_string(), "raft: no leader is known in term 8");
  EXPECT_EQ(get("/health").content_type, "application/json");
}

TEST_F(AdminTest, HeadAndOptionsAnswerAsGetWithoutBody) {
  for (const char* target : {"/livez", "/readyz", "/metrics", "/", "/dr/status", "/nonsense", "/leader"}) {
    const int expected = get(target).status;
    for (const char* method : {"HEAD", "OPTIONS"}) {
      const HttpResponse response = get(target, loopback(), method);
      EXPECT_EQ(response.status, expected) << method << target;
      EXPECT_TRUE(response.body.empty()) << method << target;
    }
  }
  EXPECT_EQ(get("/livez", loopback(), "POST").status, 405);
}

TEST_F(AdminTest, AStrangerSeesHealthAndMetricsWithoutDetails) {
  status().leader = NodeId();
  for (const char* target : {"/livez", "/metrics", "/replica?lag=1s"}) EXPECT_NE(code(target, stranger()), 403) << target;
  EXPECT_EQ(body("/readyz", stranger()), "[-]raft failed\nreadyz check failed\n");
  EXPECT_EQ(body("/readyz/raft", stranger()), "[-]raft failed\n");
  EXPECT_EQ(body("/health", stranger()).find("term 8"), std::string::npos);
  for (const char* target : {"/", "/console.css", "/console.js", "/console/events", "/dr/status", "/dr/plan", "/debug/config", "/debug/flight", "/readyz?verbose", "/livez?verbose", "/health?verbose"})
    EXPECT_EQ(code(target, stranger()), 403) << target;
}

TEST_F(AdminTest, ACertificateShowsDetailsAndOnlyAnOperatorsShowsTheRest) {
  EXPECT_EQ(code("/readyz?verbose", certified("prometheus")), 200);
  for (const char* target : {"/", "/dr/status", "/debug/config"}) {
    EXPECT_EQ(code(target, certified("prometheus")), 403) << target;
    EXPECT_EQ(code(target, certified("ops")), 200) << target;
    EXPECT_EQ(code(target, {.unix_socket = true}), 200) << target;
  }
  sources_.insecure = true;
  EXPECT_EQ(code("/debug/config", stranger()), 200);
}

TEST_F(AdminTest, TheMetricsPortHasHealthAndMetricsOnly) {
  const auto at_metrics = [&](const char* target) { return get(target, loopback(), "GET", Surface::kMetrics).status; };
  for (const char* target : {"/livez", "/readyz", "/health", "/metrics", "/primary"}) EXPECT_EQ(at_metrics(target), 200) << target;
  for (const char* target : {"/", "/console/events", "/dr/status", "/debug/config"}) EXPECT_EQ(at_metrics(target), 404) << target;
  EXPECT_EQ(get("/metrics").content_type, "text/plain; version=0.0.4");
}

TEST_F(AdminTest, TheMetricsPageIsAsTheClientAcceptsIt) {
  HttpRequest asked = request("/metrics", loopback(), "GET");
  asked.headers = {{"accept", "application/openmetrics-text"}};
  const auto response = AdminHandler(sources_, Surface::kAdmin).answer(asked);
  ASSERT_TRUE(response);
  EXPECT_EQ(response->content_type, "application/openmetrics-text");
  EXPECT_EQ(response->body.view(), "# EOF\n");
}

TEST_F(AdminTest, SeveralAcceptHeadersAreOneList) {
  sources_.metrics = [](std::string_view accept) -> AdminSources::Page { return {"text/plain", std::string(accept)}; };
  HttpRequest asked = request("/metrics", loopback(), "GET");
  asked.headers = {{"accept", "text/plain;q=0.5"}, {"host", "a"}, {"accept", "application/openmetrics-text"}};
  const auto response = AdminHandler(sources_, Surface::kAdmin).answer(asked);
  ASSERT_TRUE(response);
  EXPECT_EQ(response->body.view(), "text/plain;q=0.5,application/openmetrics-text");
}

TEST_F(AdminTest, TheFlightRecorderIsLinesOfJson) {
  sources_.flight = [] { return std::string("{\"msg\":\"second\"}\n"); };
  EXPECT_EQ(body("/debug/flight"), "{\"msg\":\"second\"}\n");
  EXPECT_EQ(get("/debug/flight").content_type, "application/x-ndjson");
}

TEST_F(AdminTest, DrStatusIsWhatTheClientPortSays) {
  EXPECT_EQ(body("/dr/status"), "{\"epoch\":\"3\"}\n");
  EXPECT_EQ(get("/dr/status").content_type, "application/json");
  dr_status_ = Error{Code::kCorrupt, "an epoch does not parse"};
  EXPECT_EQ(code("/dr/status"), 500);
  EXPECT_EQ(body("/dr/status"), "an epoch does not parse\n");
}

// The group's voters are asked: the answer comes when it comes, and the loop is
// not held up meanwhile.
TEST_F(AdminTest, APlanIsAnsweredWhenItIsMade) {
  Exchange exchange(request("/dr/plan", loopback(), "GET"));
  AdminHandler handler(sources_, Surface::kAdmin);
  handler.handle(exchange.shared());
  ASSERT_EQ(planned_for_.size(), 1u);
  EXPECT_TRUE(planned_for_[0].empty());
  EXPECT_FALSE(exchange.answer());
  plan_done_(std::string("{\"allowed\":true}"));
  ASSERT_TRUE(exchange.answer());
  EXPECT_EQ(exchange.answer()->status, 200);
  EXPECT_EQ(exchange.answer()->content_type, "application/json");
  EXPECT_EQ(exchange.answer()->body.view(), "{\"allowed\":true}\n");
}

TEST_F(AdminTest, APlanThatCannotBeMadeHereSaysWhere) {
  for (const auto& [error, status] : {std::pair{Error{Code::kUnavailable, "node 4 leads this group: ask it"}, 503},
                                      {Error{Code::kInvalid, "node 9 is no member of this group"}, 400}}) {
    Exchange exchange(request("/dr/plan", loopback(), "GET"));
    AdminHandler(sources_, Surface::kAdmin).handle(exchange.shared());
    plan_done_(error);
    EXPECT_EQ(exchange.answer()->status, status);
    EXPECT_EQ(exchange.answer()->body.view(), error.message + "\n");
  }
}

TEST_F(AdminTest, APlanOfSurvivorsNamesThem) {
  Exchange exchange(request("/dr/plan?members=4,15", loopback(), "HEAD"));
  AdminHandler(sources_, Surface::kAdmin).handle(exchange.shared());
  EXPECT_EQ(planned_for_.back(), (std::vector{NodeId(4), NodeId(15)}));
  plan_done_(std::string("{}"));
  EXPECT_EQ(exchange.answer()->status, 200);
  EXPECT_TRUE(exchange.answer()->body.empty());
  for (const char* wrong : {"members=", "members=4,", "members=x", "members=0", "region=west"})
    EXPECT_EQ(code(std::string("/dr/plan?") + wrong), 400) << wrong;
}

TEST_F(AdminTest, TheConsolesFilesNameNothingElsewhereAndTheirPolicyAllowsNothing) {
  for (const auto& [path, type] : {std::pair{"/", "text/html; charset=utf-8"}, {"/console.css", "text/css; charset=utf-8"},
                                   {"/console.js", "text/javascript; charset=utf-8"}}) {
    const HttpResponse file = get(path);
    const std::string text(file.body.view());
    EXPECT_EQ(file.status, 200) << path;
    EXPECT_EQ(file.content_type, type);
    EXPECT_GT(text.size(), 1000u) << path;
    for (const char* elsewhere : {"//cdn", "src=\"http", "href=\"http", "@import", "url(", "innerHTML", "insertAdjacentHTML", "eval(", "onclick=", "style=\""})
      EXPECT_EQ(text.find(elsewhere), std::string::npos) << path << " holds " << elsewhere;
    std::map<std::string, std::string> headers(file.headers.begin(), file.headers.end());
    EXPECT_EQ(headers["content-security-policy"],
              "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
    EXPECT_EQ(headers["x-content-type-options"], "nosniff");
    EXPECT_EQ(headers["cache-control"], "no-store");
    EXPECT_EQ(code(path, stranger()), 403);
    EXPECT_EQ(get(path, loopback(), "POST").status, 405);
    EXPECT_EQ(get(path, loopback(), "GET", Surface::kMetrics).status, 404);
  }
}

TEST_F(AdminTest, APageFromElsewhereWhoseNameLeadsHereIsNoOperator) {
  sources_.host_names = {"db-1"};
  const auto asked = [&](const std::string& path, std::vector<std::string> hosts, PeerIdentity peer) {
    HttpRequest r = request(path, std::move(peer), "GET");
    for (std::string& host : hosts) r.headers.emplace_back("host", std::move(host));
    return *AdminHandler(sources_, Surface::kAdmin).answer(r);
  };
  for (const char* host : {"127.0.0.1", "127.0.0.1:8080", "[::1]:8080", "[::1]", "localhost:8080", "LocalHost", "a.localhost", "db-1:8080", "DB-1"})
    EXPECT_EQ(asked("/", {host}, loopback()).status, 200) << host;
  for (const char* host : {"evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example", "[::1].evil.example", "xlocalhost", "db-1.evil",
                           "\x80\xff", "a b", "<script>", "127.0.0.1@evil.example"}) {
    for (const char* path : {"/", "/console.js", "/dr/status", "/debug/config", "/debug/flight", "/readyz?verbose"}) {
      const HttpResponse refused = asked(path, {host}, loopback());
      EXPECT_EQ(refused.status, 403) << host << path;
      EXPECT_EQ(refused.body.view().find(host), std::string::npos) << "it is echoed";
    }
    EXPECT_EQ(asked("/livez", {host}, loopback()).status, 200) << "a balancer may name it as it likes";
    EXPECT_EQ(asked("/", {host}, certified("ops")).status, 200) << "a certificate is no page from elsewhere";
  }
  EXPECT_EQ(asked("/", {"127.0.0.1", "evil.example"}, loopback()).status, 403) << "two of them";
  status().leader = NodeId();
  EXPECT_EQ(asked("/readyz", {"evil.example"}, loopback()).body.view(), "[-]raft failed\nreadyz check failed\n") << "details";
}

TEST_F(AdminTest, AnEmptyStatusIsShownToo) {
  status() = NodeStatus{};
  EXPECT_EQ(code("/"), 200);
  EXPECT_EQ(code("/metrics"), 200);
}

class FakeExchange final : public HttpExchange {
 public:
  explicit FakeExchange(HttpRequest r) : request_(std::move(r)) {}
  const HttpRequest& request() const override { return request_; }
  Executor& loop() override { throw std::logic_error("not asked for"); }
  void respond(HttpResponse response) override { responses.push_back(std::move(response)); }
  void start_stream(HttpResponse) override {}
  void write(Bytes) override {}
  void end() override {}
  std::size_t queued() const override { return 0; }
  bool open() const override { return responses.empty(); }
  void on_drain(Function<void()>) override {}
  void on_cancel(Function<void()>) override {}
  std::vector<HttpResponse> responses;

 private:
  HttpRequest request_;
};

TEST_F(AdminTest, AnExchangeIsAnsweredOnceAtOnce) {
  HttpRequest request;
  request.method = "GET";
  request.path = "/livez";
  const auto exchange = std::make_shared<FakeExchange>(request);
  AdminHandler(sources_, Surface::kAdmin).handle(exchange);
  ASSERT_EQ(exchange->responses.size(), 1u);
  EXPECT_EQ(exchange->responses[0].body.view(), "ok\n");
}

}  // namespace
}  // namespace leeward::admin
