// Maintenance.Snapshot: who gets one, at what pace, and when it ends. What is in
// one: tests/kv/snapshot_file_test.cc.
#include <numeric>

#include "base/sha256.h"
#include "harness.h"
#include "real_store.h"

namespace leeward::api::test {
namespace {

using namespace etcdserverpb;

class SnapshotCalls : public ServicesOver<ScriptedState> {
 protected:
  SnapshotCalls() {
    machine = open_state_machine(disk, clock, log);
    begin_over(*machine);
    for (int i = 0; i < 40; ++i) put("k" + std::to_string(i), std::string(100'000, static_cast<char>('a' + i % 26)));
  }

  void put(std::string key, std::string value) {
    PutRequest request;
    request.set_key(key);
    request.set_value(value);
    ask<PutResponse>("/etcdserverpb.KV/Put", request);
  }
  std::shared_ptr<FakeCall> snapshot(bool stuck = false) {
    auto call = make("/etcdserverpb.Maintenance/Snapshot");
    call->stuck = stuck;
    services->start(call);
    if (!call->status) call->deliver("");
    if (!call->status) call->half_close();
    loop.run();
    return call;
  }
  static std::size_t blob_bytes(const FakeCall& call) {
    return std::accumulate(call.sent.begin(), call.sent.end(), std::size_t(0),
                           [](std::size_t sum, const std::string& m) { return sum + parsed<SnapshotResponse>(m).blob().size(); });
  }

  NoDisk disk;
  std::unique_ptr<leeward::kv::MvccStateMachine> machine;
};

TEST_F(SnapshotCalls, EachMessageSaysHowMuchIsStillToCome) {
  const auto call = snapshot();
  ASSERT_TRUE(call->status);
  EXPECT_TRUE(call->status->ok()) << call->status->message;
  ASSERT_GT(call->sent.size(), 10u);
  std::string file;
  std::uint64_t remaining = 0;
  for (const std::string& message : call->sent) {
    const auto response = parsed<SnapshotResponse>(message);
    EXPECT_LE(response.blob().size(), 256_KiB);
    EXPECT_EQ(response.header().member_id(), 7u);
    EXPECT_EQ(response.header().revision(), 41);
    EXPECT_EQ(response.version(), "3.5.17");
    if (!file.empty()) EXPECT_EQ(response.remaining_bytes(), remaining - response.blob().size());
    remaining = response.remaining_bytes();
    file += response.blob();
  }
  EXPECT_EQ(remaining, 0u);
  EXPECT_EQ(file.size() % 512, 32u) << "by which etcdctl knows that it has all of it";
  const Hash digest = sha256(std::string_view(file).substr(0, file.size() - 32));
  EXPECT_EQ(file.substr(file.size() - 32), std::string(reinterpret_cast<const char*>(digest.bytes.data()), 32));
  EXPECT_EQ(probe.streams.get(), 0);
}

TEST_F(SnapshotCalls, NoMoreIsMadeThanTheClientTakes) {
  const auto call = snapshot(true);
  EXPECT_FALSE(call->status);
  EXPECT_LE(call->held, 800_KiB);
  const std::size_t waiting = call->sent.size();
  loop.run();
  EXPECT_EQ(call->sent.size(), waiting);
  call->drain();
  loop.run();
  ASSERT_TRUE(call->status);
  EXPECT_TRUE(call->status->ok());
  EXPECT_GT(blob_bytes(*call), 4'000'000u);
}

TEST_F(SnapshotCalls, AThirdAtOnceIsRefusedAndOneThatEndsMakesRoom) {
  const auto first = snapshot(true), second = snapshot(true);
  EXPECT_FALSE(first->status || second->status);
  const auto third = snapshot();
  ASSERT_TRUE(third->status);
  EXPECT_EQ(third->status->code, GrpcCode::kResourceExhausted);
  EXPECT_NE(third->status->message.find("another member"), std::string::npos) << third->status->message;
  first->cancel();  // its client went away
  loop.advance(std::chrono::seconds(2));
  EXPECT_EQ(services->core().snapshots->load(), 1);
  EXPECT_TRUE(snapshot()->status->ok());
  second->drain();
  loop.advance(std::chrono::seconds(2));
  EXPECT_TRUE(second->status->ok());
  EXPECT_EQ(services->core().snapshots->load(), 0);
}

TEST_F(SnapshotCalls, AClientThatTakesNothingMoreIsLetGo) {
  const auto call = snapshot(true);
  loop.advance(std::chrono::seconds(50));
  EXPECT_FALSE(call->status);
  loop.advance(std::chrono::seconds(20));
  ASSERT_TRUE(call->status);
  EXPECT_EQ(call->status->code, GrpcCode::kDeadlineExceeded);
  EXPECT_EQ(services->core().snapshots->load(), 0);
}

TEST_F(SnapshotCalls, ANodeThatStopsEndsThem) {
  const auto call = snapshot(true);
  services->core().stopping = true;
  loop.advance(std::chrono::seconds(2));
  ASSERT_TRUE(call->status);
  EXPECT_REFUSED(*call->status, GrpcCode::kUnavailable, "etcdserver: server stopped");
  EXPECT_REFUSED(*snapshot()->status, GrpcCode::kUnavailable, "etcdserver: server stopped");
  EXPECT_EQ(services->core().snapshots->load(), 0);
}

TEST_F(SnapshotCalls, WhatIsWrittenMeanwhileIsInTheNextOne) {
  const auto call = snapshot(true);
  put("later", "1");
  call->drain();
  loop.run();
  ASSERT_TRUE(call->status && call->status->ok());
  EXPECT_EQ(parsed<SnapshotResponse>(call->sent.back()).header().revision(), 41);
  const auto next = snapshot();
  EXPECT_EQ(parsed<SnapshotResponse>(next->sent.back()).header().revision(), 42);
}

TEST_F(SnapshotCalls, AMemberThatHoldsNothingYetGivesNone) {
  auto empty = open_state_machine(disk, clock, log);
  begin_over(*empty);
  EXPECT_REFUSED(*snapshot()->status, GrpcCode::kUnavailable, "etcdserver: no leader");
}

TEST_F(SnapshotCalls, TheGatewayGivesLinesOfJson) {
  const auto exchange = post("/v3/maintenance/snapshot", "{}");
  EXPECT_EQ(exchange->status, 200);
  EXPECT_TRUE(exchange->ended);
  EXPECT_EQ(exchange->body.find(R"({"result":{"header":{)"), 0u);
  EXPECT_NE(exchange->body.find(R"("remaining_bytes":")"), std::string::npos);
}

}  // namespace
}  // namespace leeward::api::test
