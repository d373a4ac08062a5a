// The JSON gateway as curl sees it, and the JSON that leewardctl prints.
#include "api/json.h"
#include "harness.h"

namespace leeward::api::test {
namespace {

using namespace etcdserverpb;

class JsonGateway : public ScriptedServices {
 protected:
  void range_answers(int keys) {
    RangeResponse response;
    response.mutable_header()->set_revision(11);
    for (int i = 0; i < keys; ++i) {
      auto* kv = response.add_kvs();
      kv->set_key("foo");
      kv->set_value("bar");
      kv->set_mod_revision(1ll << 40);
    }
    response.set_count(keys);
    state->range_response = response.SerializeAsString();
  }
};

TEST_F(JsonGateway, ARangeIsEtcdsJson) {
  range_answers(1);
  const auto answer = post("/v3/kv/range", R"({"key": "Zm9v"})");
  EXPECT_EQ(answer->status, 200);
  EXPECT_EQ(answer->type, "application/json");
  EXPECT_EQ(answer->body,
            R"({"header":{"cluster_id":"12648430","member_id":"7","revision":"11","raft_term":"4294967299"},)"
            R"("kvs":[{"key":"Zm9v","mod_revision":"1099511627776","value":"YmFy"}],"count":"1"})"
            "\n");
}

TEST_F(JsonGateway, BothSpellingsOfFieldsAndNumbersAreTaken) {
  for (const std::string body : {R"({"key":"Zm9v","range_end":"AA==","prev_kv":true})",
                                 R"({"key":"Zm9v","rangeEnd":"AA==","prevKv":true})"}) {
    EXPECT_EQ(post("/v3/kv/deleterange", body)->status, 200);
    const auto request = parsed<DeleteRangeRequest>(node->last_request);
    EXPECT_EQ(request.range_end(), std::string(1, '\0'));
    EXPECT_TRUE(request.prev_kv());
  }
  for (const std::string body : {R"({"TTL":5,"ID":7})", R"({"TTL":"5","ID":"7"})"}) {
    post("/v3/lease/grant", body);
    EXPECT_EQ(parsed<LeaseGrantRequest>(node->last_request).ttl(), 5);
  }
}

TEST_F(JsonGateway, BadJsonIsABadRequest) {
  for (const std::string body : {"{", "nonsense", "[]", "{}{}", R"({"no_such_field":1})", R"({"key":5})",
                                 R"({"key":"not base64!"})", "\"text\"", "}"}) {
    const auto answer = post("/v3/kv/put", body);
    EXPECT_EQ(answer->status, 400) << body;
    EXPECT_NE(answer->body.find("\"code\":3"), std::string::npos) << answer->body;
    EXPECT_NE(answer->body.find("\"error\":"), std::string::npos);
    EXPECT_NE(answer->body.find("\"message\":"), std::string::npos);
  }
  EXPECT_EQ(node->proposals, 0);
}

// gRPC has the text on which etcd's Go client goes to its next endpoint.
TEST_F(JsonGateway, ARefusalOfAStandbySaysWhy) {
  node->info.role = GroupRole::kStandby;
  node->failure = Error{Code::kUnavailable, std::string(kTryNextEndpoint)};
  const auto answer = post("/v3/kv/put", R"({"key":"Zm9v"})");
  EXPECT_EQ(answer->status, 503);
  EXPECT_NE(answer->body.find(R"(is a standby and hears no primary; only serializable reads are served here")"), std::string::npos) << answer->body;
  EXPECT_EQ(answer->body.find("no_primary"), std::string::npos) << answer->body;
  EXPECT_EQ(answer->body.find(kTryNextEndpoint), std::string::npos) << answer->body;
  PutRequest put;
  put.set_key("foo");
  EXPECT_REFUSED(*run(make("/etcdserverpb.KV/Put"), put.SerializeAsString())->status, GrpcCode::kUnavailable, std::string(kTryNextEndpoint));
}

// One that is being removed waits for no other region, and does not say so.
TEST_F(JsonGateway, ARefusalOfAPrimarySaysWhy) {
  MemberStatus self;
  self.id = node->info.self;
  self.region = "east";
  node->info.members = {self};
  PutRequest put;
  put.set_key("foo");
  for (const auto& [text, word, sentence] : {std::tuple{kTryNextEndpoint, "no_stamp: ", "region east acknowledges nothing until the armed region answers"},
                                             {kLeaving, "leaving: ", "this member, or the leader that it passed the write to, stops or is being removed from its group"}}) {
    node->failure = Error{Code::kUnavailable, std::string(text)};
    const auto answer = post("/v3/kv/put", R"({"key":"Zm9v"})");
    EXPECT_EQ(answer->status, 503);
    EXPECT_NE(answer->body.find("\"" + std::string(sentence)), std::string::npos) << answer->body;
    const auto call = run(make("/etcdserverpb.KV/Put"), put.SerializeAsString());
    EXPECT_REFUSED(*call->status, GrpcCode::kUnavailable, std::string(text));
    const auto& reason = call->status->trailers.back();
    EXPECT_EQ(reason.first, "leeward-reason");
    EXPECT_TRUE(reason.second.starts_with(std::string(word) + sentence)) << reason.second;
  }
}

TEST_F(JsonGateway, ARefusalOfALearnerSaysThatItIsOne) {
  node->info.state = MemberState::kLearner;
  EXPECT_NE(post("/v3/kv/put", R"({"key":"Zm9v"})")->body.find("this member is a learner"), std::string::npos);
}

TEST_F(JsonGateway, ARefusalOfAMemberWithoutAGroupSaysWhatItWaitsFor) {
  node->info.state = MemberState::kWaiting;
  node->info.waiting_for = "a running group";
  node->failure = Error{Code::kUnavailable, std::string(kTryNextEndpoint)};
  EXPECT_NE(post("/v3/kv/put", R"({"key":"Zm9v"})")->body.find("takes part in no group yet: a running group"), std::string::npos);
}

// The last one would win, and a put write another key than was meant.
TEST_F(JsonGateway, AFieldStandsOnce) {
  for (const auto& [path, body] : std::vector<std::pair<std::string, std::string>>{
           {"/v3/kv/put", R"({"key":"Zm9v","key":"YmFy"})"},
           {"/v3/kv/put", R"({"key":"Zm9v","\u006bey":"YmFy"})"},
           {"/v3/kv/deleterange", R"({"key":"Zm9v","range_end":"AA==","rangeEnd":"Zm9w"})"},
           {"/v3/kv/txn", R"({"success":[{"request_put":{"key":"YQ=="},"requestPut":{"key":"Yg=="}}]})"},
           {"/v3/kv/txn", R"({"success":[{"request_put":{"key":"YQ==","key":"Yg=="}}]})"},
           {"/v3/kv/txn", R"({"success":[{"request_put":{"key":"YQ=="},"request_range":{"key":"Yg=="}}]})"}}) {
    const auto answer = post(path, body);
    EXPECT_EQ(answer->status, 400) << body << answer->body;
  }
  EXPECT_NE(post("/v3/kv/put", R"({"key":"Zm9v","key":"YmFy"})")->body.find(R"(duplicate field \"key\" in PutRequest)"), std::string::npos);
  EXPECT_EQ(node->proposals, 0);
  EXPECT_EQ(post("/v3/kv/txn", R"({"success":[{"request_put":{"key":"YQ=="}},{"request_put":{"key":"Yg=="}}]})")->status, 200);
}

// A guard that is dropped is none: the transaction would write unconditionally.
TEST_F(JsonGateway, AListHoldsNoNullAndNoList) {
  for (const std::string compare : {"[null]", "[ null]", "[[]]", "[{\"key\":\"YQ==\"},null]", "[{\"key\":\"YV0sW251bGw=\"} , []]", "[[{\"key\":\"YQ==\"}]]"}) {
    const auto answer = post("/v3/kv/txn", R"({"compare":)" + compare + R"(,"success":[{"request_put":{"key":"YQ=="}}]})");
    EXPECT_EQ(answer->status, 400) << compare << answer->body;
  }
  EXPECT_EQ(post("/v3/kv/txn", R"({"success":[null]})")->status, 400);
  EXPECT_EQ(node->proposals, 0);
  EXPECT_EQ(post("/v3/kv/txn", R"({"compare":null,"success":[{"request_put":{"key":"YQ==","value":null}}],"failure":[]})")->status, 200);
}

TEST_F(JsonGateway, ErrorsHaveGrpcGatewaysBodyAndStatus) {
  const auto empty = post("/v3/kv/put", "{}");
  EXPECT_EQ(empty->status, 400);
  EXPECT_EQ(empty->body, R"({"error":"etcdserver: key is not provided","code":3,"message":"etcdserver: key is not provided"})"
                         "\n");
  state->next.etcd_error = "etcdserver: requested lease not found";
  EXPECT_EQ(post("/v3/lease/revoke", R"({"ID":5})")->status, 404);
  EXPECT_EQ(post("/v3/kv/lease/revoke", R"({"ID":5})")->status, 404);
  node->failure = Error{Code::kUnavailable, ""};
  EXPECT_EQ(post("/v3/kv/put", R"({"key":"Zm9v"})")->status, 503);
  EXPECT_EQ(post("/v3/auth/user/add", "{}")->status, 501);
  EXPECT_EQ(post("/v3/lock/lock", "{}")->status, 501);
  EXPECT_EQ(post("/v3/kv/nothing", "{}")->status, 404);
  EXPECT_EQ(post("/elsewhere", "")->status, 404);
  EXPECT_EQ(http("GET", "/v3/kv/range", "")->status, 405);
}

TEST_F(JsonGateway, AnEmptyBodyIsAnEmptyRequest) {
  const auto answer = post("/v3/maintenance/status", "");
  EXPECT_EQ(answer->status, 200);
  EXPECT_NE(answer->body.find(R"("version":"3.5.17")"), std::string::npos) << answer->body;
  EXPECT_NE(answer->body.find(R"("leader":"7")"), std::string::npos);
}

TEST_F(JsonGateway, AWatchIsAStreamOfResults) {
  const auto stream = post("/v3/watch", R"({"create_request":{"key":"Zm9v"}} {"create_request":{"key":"YmFy"}})");
  EXPECT_FALSE(stream->ended);
  ASSERT_EQ(state->watches.size(), 2u);
  WatchResponse response;
  response.add_events()->mutable_kv()->set_key("foo");
  WatchEvents events;
  events.revision = Revision(12);
  events.events = Bytes(response.SerializeAsString());
  state->watches[0]->events.push_back(events);
  state->watches[0]->ready();
  loop.run();
  EXPECT_EQ(std::count(stream->body.begin(), stream->body.end(), '\n'), 3);
  EXPECT_EQ(stream->body.find(R"({"result":{"header":{)"), 0u) << stream->body;
  EXPECT_NE(stream->body.find(R"("created":true)"), std::string::npos);
  EXPECT_NE(stream->body.find(R"("events":[{"kv":{"key":"Zm9v"}}]}})"), std::string::npos) << stream->body;
  stream->cancel();
  EXPECT_FALSE(state->watches[0]->alive);
  EXPECT_EQ(probe.streams.get(), 0);
}

TEST_F(JsonGateway, AnErrorInAStreamIsItsLastLine) {
  const auto unimplemented = post("/v3/maintenance/snapshot", "{}");  // a scripted state gives none
  EXPECT_EQ(unimplemented->status, 501) << "nothing was streamed yet";
  auto stream = std::make_shared<FakeExchange>(loop, "POST", "/v3/watch", R"({"create_request":{"key":"Zm9v"}})");
  stream->wanted.headers.emplace_back("grpc-metadata-hasleader", "true");
  gateway->handle(stream);
  node->info.leader = NodeId(0);
  loop.advance(std::chrono::seconds(10));
  EXPECT_TRUE(stream->ended);
  EXPECT_NE(stream->body.find(R"({"error":{"grpc_code":14,"http_code":503,"message":"etcdserver: no leader"}})"),
            std::string::npos)
      << stream->body;
}

TEST_F(JsonGateway, KeepAlivesEndWithTheirBody) {
  const auto stream = post("/v3/lease/keepalive", R"({"ID":5})");
  EXPECT_TRUE(stream->ended);
  EXPECT_NE(stream->body.find(R"("ID":"5"}})"), std::string::npos) << stream->body;
  const auto nothing = post("/v3/lease/keepalive", "");
  EXPECT_TRUE(nothing->ended);
  EXPECT_EQ(nothing->status, 200);
  EXPECT_EQ(nothing->body, "");
}

TEST_F(JsonGateway, ATimeoutIsMalformedOrOverOrForever) {
  for (const std::string text : {"abc", "5", "-1S", "1x"}) {
    auto exchange = std::make_shared<FakeExchange>(loop, "POST", "/v3/kv/put", R"({"key":"Zm9v"})");
    exchange->wanted.headers.emplace_back("grpc-timeout", text);
    gateway->handle(exchange);
    EXPECT_EQ(exchange->status, 400);
    EXPECT_NE(exchange->body.find("invalid grpc-timeout: " + text), std::string::npos) << exchange->body;
  }
  auto over = std::make_shared<FakeExchange>(loop, "POST", "/v3/kv/put", R"({"key":"Zm9v"})");
  over->wanted.headers.emplace_back("grpc-timeout", "0S");
  gateway->handle(over);
  EXPECT_EQ(over->status, 504);
  EXPECT_EQ(node->proposals, 0);
  auto forever = std::make_shared<FakeExchange>(loop, "POST", "/v3/kv/put", R"({"key":"Zm9v"})");
  forever->wanted.headers.emplace_back("grpc-timeout", "99999999H");
  gateway->handle(forever);
  loop.run();
  EXPECT_EQ(forever->status, 200);
  EXPECT_EQ(node->proposals, 1);
}

TEST_F(JsonGateway, ATimeoutIsTheClients) {
  auto exchange = std::make_shared<FakeExchange>(loop, "POST", "/v3/watch", R"({"create_request":{"key":"Zm9v"}})");
  exchange->wanted.headers.emplace_back("grpc-timeout", "200m");
  gateway->handle(exchange);
  loop.advance(std::chrono::milliseconds(100));
  EXPECT_FALSE(exchange->ended);
  loop.advance(std::chrono::milliseconds(200));
  EXPECT_TRUE(exchange->ended);
  EXPECT_FALSE(state->watches[0]->alive);
  EXPECT_EQ(probe.of(Method::kWatch).requests[4].get(), 1u);
}

TEST_F(JsonGateway, AnAnswerTooLargeForJsonIsRefused) {
  options_.max_gateway_bytes = 100'000;
  begin();
  range_answers(20'000);
  const auto answer = post("/v3/kv/range", R"({"key":"Zm9v"})");
  EXPECT_EQ(answer->status, 429);
}

TEST_F(JsonGateway, AClientThatLeftIsNotAnswered) {
  node->lease_valid = false;
  auto exchange = std::make_shared<FakeExchange>(loop, "POST", "/v3/kv/range", R"({"key":"Zm9v"})");
  gateway->handle(exchange);
  exchange->cancel();
  loop.run();
  EXPECT_FALSE(exchange->ended);
  EXPECT_EQ(probe.in_flight.get(), 0);
}

TEST_F(JsonGateway, VersionAndHealthAreEtcds) {
  EXPECT_EQ(http("GET", "/version", "")->body.find(R"({"etcdserver":"3.5.17","etcdcluster":"3.5.0")"), 0u);
  const auto healthy = http("GET", "/health", "");
  EXPECT_EQ(healthy->status, 200);
  EXPECT_EQ(healthy->body, "{\"health\":\"true\",\"reason\":\"\"}\n");
  node->lease_valid = false;
  EXPECT_EQ(http("GET", "/health", "")->status, 200);
  EXPECT_EQ(node->barriers, 1);
  node->read_failure = Error{Code::kDeadline, ""};
  EXPECT_EQ(http("GET", "/health", "")->body,
            "{\"health\":\"false\",\"reason\":\"QGET ERROR:etcdserver: request timed out\"}\n");
  EXPECT_EQ(http("GET", "/health?serializable=true", "")->status, 200);
  node->info.leader = NodeId(0);
  node->info.disk_full = true;
  clock.time += std::chrono::seconds(1);
  EXPECT_EQ(http("GET", "/health", "")->body, "{\"health\":\"false\",\"reason\":\"ALARM NOSPACE\"}\n");
  const auto leaderless = http("GET", "/health?exclude=NOSPACE", "");
  EXPECT_EQ(leaderless->status, 503);
  EXPECT_EQ(leaderless->body, "{\"health\":\"false\",\"reason\":\"RAFT NO LEADER\"}\n");
}

class OperatorJson : public JsonGateway {
 protected:
  OperatorJson() {
    for (int id : {7, 8, 21}) {
      MemberStatus member;
      member.id = NodeId(id);
      member.name = "n" + std::to_string(id);
      member.region = id > 20 ? "west" : "east";
      member.role = id > 20 ? GroupRole::kStandby : GroupRole::kPrimary;
      member.state = id == 8 ? MemberState::kFollower : MemberState::kLeader;
      member.report_age = std::chrono::milliseconds(250);
      member.applied.index = Index(id == 7 ? 100 : 90);
      member.applied.position.index = HistoryIndex(80);
      member.lag.entries = 4;
      member.lag.high = std::chrono::microseconds(1500);
      node->info.members.push_back(member);
    }
    node->info.members[2].eligibility = {{"lag", true, ""}, {"armed", false, "not armed yet"}};
  }
  static bool has(const std::string& body, const std::string& part) { return body.find(part) != std::string::npos; }
};

TEST_F(OperatorJson, ClusterStatusHasTheFieldsOfItsContract) {
  const std::string body = post("/v3/cluster/status", "{}")->body;
  for (const std::string field : {"lineage", "epoch", "term", "leader_id", "revision", "members", "id", "name", "region",
                                  "zone", "role", "voter", "state", "healthy", "applied_index", "lag_entries",
                                  "state_hash", "state_hash_index"})
    EXPECT_TRUE(has(body, '"' + field + "\":")) << field << " is not in " << body;
  EXPECT_TRUE(has(body, R"("leader_id":"7")"));
  EXPECT_TRUE(has(body, R"("term":"3")"));
  EXPECT_TRUE(has(body, R"("healthy":false)")) << "false is a value, not an absence";
  EXPECT_TRUE(has(body, R"("role":"standby")"));
  EXPECT_TRUE(has(body, R"("lag_entries":"10")")) << "8 is behind 7";
  EXPECT_TRUE(has(body, R"("lag_entries":"4")")) << "21 is behind the primary";
  EXPECT_EQ(http("GET", "/v3/cluster/status", "")->status, 200);
}

TEST_F(OperatorJson, StandbyStatusHasTheFieldsOfItsContract) {
  const std::string body = post("/v3/standby/status", "{}")->body;
  for (const std::string field : {"standbys", "id", "region", "connected", "lag_entries", "lag_high_ms",
                                  "promotion_eligible", "reasons", "check", "ok", "detail"})
    EXPECT_TRUE(has(body, '"' + field + "\":")) << field << " is not in " << body;
  EXPECT_TRUE(has(body, R"("id":"21")"));
  EXPECT_FALSE(has(body, R"("id":"7")"));
  EXPECT_TRUE(has(body, R"("lag_high_ms":1.5)"));
  EXPECT_TRUE(has(body, R"("promotion_eligible":false)"));
  for (const std::string unknown : {"lag_writes", "lag_bytes", "lag_low_ms"})
    EXPECT_FALSE(has(body, unknown)) << "an unknown bound must not look like a number";
}

TEST_F(OperatorJson, EligibleIsWhoPassesEveryCheck) {
  node->info.members[2].eligibility[1].ok = true;
  EXPECT_TRUE(has(post("/v3/standby/status", "{}")->body, R"("promotion_eligible":true)"));
  node->info.members[2].eligibility.clear();
  EXPECT_TRUE(has(post("/v3/standby/status", "{}")->body, R"("promotion_eligible":false)")) << "no verdict is no yes";
}

TEST_F(OperatorJson, AMemberIsAskedForById) {
  EXPECT_TRUE(has(post("/v3/replica/status", R"({"id":"21"})")->body, R"("standby":{)"));
  EXPECT_TRUE(has(post("/v3/replica/status", "{}")->body, R"("name":"n7")"));
  EXPECT_EQ(post("/v3/replica/status", R"({"id":99})")->status, 404);
  EXPECT_EQ(post("/v3/standby/status", R"({"id":7})")->status, 404);
}

TEST_F(OperatorJson, TopologyAndStorageAnswer) {
  const std::string topology = post("/v3/cluster/topology", "{}")->body;
  EXPECT_TRUE(has(topology, R"("region":"west","role":"standby","leader_id":"21")")) << topology;
  const std::string storage = post("/v3/storage/info", "{}")->body;
  EXPECT_TRUE(has(storage, R"("db_bytes":"4096")")) << storage;
  EXPECT_EQ(post("/v3/member/admit", R"({"id":9})")->status, 403);
}

TEST(Json, DocumentsOfABodyAreSplit) {
  const auto some = json::split(" {\"a\":\"}{\\\"\"}\n{}{\"b\":[1,{}]} ");
  ASSERT_TRUE(some.ok());
  EXPECT_EQ(some->size(), 3u);
  EXPECT_TRUE(json::split("")->empty());
  for (const std::string bad : {"{", "}", "x", "{}x", "\"", "{\"", "1"}) EXPECT_FALSE(json::split(bad).ok()) << bad;
}

TEST(Json, TextIsQuoted) { EXPECT_EQ(json::quoted("a\"b\\c\n\x01"), "\"a\\\"b\\\\c\\n\\u0001\""); }

TEST(Json, MillionsOfBracketsAreAnError) {
  const auto types = json::Types::of("/etcdserverpb.KV/Txn");
  ASSERT_TRUE(types.ok());
  EXPECT_FALSE(types->request(std::string(1'000'000, '[')).ok());
  std::string nested;
  for (int i = 0; i < 10'000; ++i) nested += "{\"success\":[{\"request_txn\":";
  EXPECT_FALSE(types->request(nested).ok());
}

}  // namespace
}  // namespace leeward::api::test
