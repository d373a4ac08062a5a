// What the services do around the state machine: headers, reads, ends of
// calls, figures, operators.
#include "api/header.h"
#include "harness.h"
#include "proto/health.pb.h"
#include "proto/leeward.pb.h"
#include "proto/reflection.pb.h"

namespace leeward::api::test {
namespace {

using namespace etcdserverpb;

PutRequest put(std::string key) {
  PutRequest request;
  request.set_key(key);
  return request;
}
RangeRequest range(std::string key, bool serializable = false) {
  RangeRequest request;
  request.set_key(key);
  request.set_serializable(serializable);
  return request;
}
template <class Response>
std::string with_revision(Response response, std::int64_t revision) {
  response.mutable_header()->set_revision(revision);
  return response.SerializeAsString();
}
// How often field 1 stands in a message.
int headers(const std::string& bytes) {
  const auto fields = parsed<HashRequest>(bytes).GetReflection();
  const auto message = parsed<HashRequest>(bytes);  // no fields of its own: all are unknown
  int count = 0;
  const auto& unknown = fields->GetUnknownFields(message);
  for (int i = 0; i < unknown.field_count(); ++i) count += unknown.field(i).number() == 1;
  return count;
}

using Service = ScriptedServices;

TEST_F(Service, AWriteIsProposedAsItCame) {
  // Fields out of order: nothing is encoded anew.
  const std::string wire = "\x12\x01v\x0a\x01k";
  run(make("/etcdserverpb.KV/Put"), wire);
  EXPECT_EQ(node->last_request, wire);
  EXPECT_EQ(node->last_op, Op::kPut);
  // But for a field of a later version, which this one has not checked.
  run(make("/etcdserverpb.KV/Put"), wire + "\xfa\x01\x01z");
  EXPECT_EQ(node->last_request, "\x0a\x01k\x12\x01v");
}

TEST_F(Service, AnAnswerHasOneHeaderWithAllItsFields) {
  PutResponse stored;
  stored.mutable_prev_kv()->set_key("k");
  state->next.response = Bytes(with_revision(stored, 12));
  const auto call = run("/etcdserverpb.KV/Put", put("k"));
  ASSERT_EQ(call->sent.size(), 1u);
  EXPECT_EQ(headers(call->sent[0]), 1);
  const auto response = parsed<PutResponse>(call->sent[0]);
  EXPECT_EQ(response.header().cluster_id(), 0xc0ffeeu);
  EXPECT_EQ(response.header().member_id(), 7u);
  EXPECT_EQ(response.header().revision(), 12);
  EXPECT_EQ(response.header().raft_term(), (1ull << 32) + 3);
  EXPECT_EQ(response.prev_kv().key(), "k");
}

TEST_F(Service, AnAnswerWithoutAHeaderGetsOne) {
  DeleteRangeResponse stored;
  stored.set_deleted(4);
  state->next.response = Bytes(stored.SerializeAsString());
  DeleteRangeRequest request;
  request.set_key("k");
  const auto response = ask<DeleteRangeResponse>("/etcdserverpb.KV/DeleteRange", request);
  EXPECT_EQ(response.header().member_id(), 7u);
  EXPECT_EQ(response.deleted(), 4);
}

TEST_F(Service, ALargeAnswerIsNotCopied) {
  PutResponse stored;
  stored.mutable_prev_kv()->set_value(std::string(1_MiB, 'x'));
  state->next.response = Bytes(with_revision(stored, 12));
  const auto call = run("/etcdserverpb.KV/Put", put("k"));
  EXPECT_EQ(call->sources, 1);
  EXPECT_TRUE(call->exact);
  const auto response = parsed<PutResponse>(call->sent.at(0));
  EXPECT_EQ(response.header().revision(), 12);
  EXPECT_EQ(response.prev_kv().value().size(), 1_MiB);
}

TEST_F(Service, ARangeIsTheSameWholeAndInPieces) {
  for (const std::size_t size : {10u, 70'000u, 300'000u}) {
    RangeResponse stored;
    stored.set_count(1);
    stored.add_kvs()->set_value(std::string(size, 'v'));
    state->range_response = with_revision(stored, 11);
    const auto call = run("/etcdserverpb.KV/Range", range("k"));
    ASSERT_TRUE(call->status && call->status->ok());
    EXPECT_TRUE(call->exact);
    EXPECT_EQ(call->sources, size > 65'536 ? 1 : 0);
    EXPECT_EQ(headers(call->sent.at(0)), 1);
    const auto response = parsed<RangeResponse>(call->sent.at(0));
    EXPECT_EQ(response.header().revision(), 11);
    EXPECT_EQ(response.header().cluster_id(), 0xc0ffeeu);
    EXPECT_EQ(response.kvs(0).value().size(), size);
  }
}

TEST_F(Service, AReadAsksForLeadershipUnlessItMayBeStale) {
  state->range_response = with_revision(RangeResponse(), 11);
  run("/etcdserverpb.KV/Range", range("k"));
  EXPECT_EQ(node->barriers, 0) << "the lease is valid";
  node->lease_valid = false;
  run("/etcdserverpb.KV/Range", range("k", true));
  EXPECT_EQ(node->barriers, 0);
  run("/etcdserverpb.KV/Range", range("k"));
  EXPECT_EQ(node->barriers, 1);
  node->read_failure = Error{Code::kUnavailable, ""};
  EXPECT_REFUSED(refusal("/etcdserverpb.KV/Range", range("k")), GrpcCode::kUnavailable, "etcdserver: no leader");
  EXPECT_EQ(state->ranges, 3);
}

// The loops for reads of many keys turn when told.
class ReadersBeside : public ServicesOver<ScriptedState> {
 protected:
  ReadersBeside() {
    readers = {&first, &second};
    begin();
    state->range_response = with_revision(RangeResponse(), 11);
    state->next.response = Bytes(with_revision(TxnResponse(), 11));
  }
  static RangeRequest of_many() {
    auto request = range("a", true);
    request.set_range_end("z");
    return request;
  }
  FakeLoop first{clock}, second{clock};
};

TEST_F(ReadersBeside, ASingleKeyIsAnsweredWhileReadsOfManyWait) {
  const auto many = run("/etcdserverpb.KV/Range", of_many());
  TxnRequest txn;
  *txn.add_success()->mutable_request_range() = of_many();
  const auto in_txn = run("/etcdserverpb.KV/Txn", txn);
  EXPECT_FALSE(many->status || in_txn->status);
  ask<RangeResponse>("/etcdserverpb.KV/Range", range("k", true));
  EXPECT_EQ(state->ranges, 1);
  EXPECT_EQ(first.posts + second.posts, 2);
  EXPECT_EQ(first.posts, 1) << "one loop each";
  first.run();
  second.run();
  EXPECT_FALSE(many->status || in_txn->status) << "answered on the call's own loop";
  loop.run();
  EXPECT_TRUE(many->status && many->status->ok());
  EXPECT_TRUE(in_txn->status && in_txn->status->ok());
}

TEST_F(ReadersBeside, OneThatTakesLongHoldsUpItsOwnLoopAlone) {
  std::vector<std::shared_ptr<FakeCall>> calls;
  for (int i = 0; i < 5; ++i) calls.push_back(run("/etcdserverpb.KV/Range", of_many()));
  second.run();  // the first does not turn
  loop.run();
  for (const auto& call : calls) EXPECT_TRUE(call->status && call->status->ok());
  first.run();
  EXPECT_EQ(state->ranges, 5);
}

TEST_F(ReadersBeside, TooManyThatWaitAreRefusedAtOnce) {
  auto large = of_many();
  large.set_range_end(std::string(1'000'000, 'z'));
  int refused = 0;
  for (int i = 0; i < 80; ++i) {
    const auto call = run("/etcdserverpb.KV/Range", large);
    refused += call->status.has_value();
    if (call->status) { EXPECT_EQ(call->status->code, GrpcCode::kResourceExhausted); }
  }
  EXPECT_EQ(refused, 80 - 67) << "64 MiB may wait";
}

// What is as old as it may be when it is asked for is older when its turn comes.
TEST_F(ReadersBeside, AStaleReadThatWaitedIsRefusedBeyondItsBound) {
  const auto call = make("/etcdserverpb.KV/Range");
  call->headers["leeward-max-lag"] = "500ms";
  run(call, of_many().SerializeAsString());
  clock.time += std::chrono::seconds(1);
  first.run();
  second.run();
  loop.run();
  ASSERT_TRUE(call->status);
  EXPECT_EQ(call->status->code, GrpcCode::kUnavailable);
  EXPECT_NE(call->status->message.find("may lag 1000"), std::string::npos) << call->status->message;
}

TEST_F(ReadersBeside, WhatNobodyWaitsForIsNotRead) {
  const auto gone = run("/etcdserverpb.KV/Range", of_many());
  gone->cancel();
  const auto late = make("/etcdserverpb.KV/Range");
  late->due = clock.now() + std::chrono::seconds(1);
  run(late, of_many().SerializeAsString());
  clock.time += std::chrono::seconds(2);
  first.run();
  second.run();
  loop.run();
  EXPECT_EQ(state->ranges, 0);
}

TEST_F(Service, ATransactionOfReadsIsNotProposed) {
  state->next.response = Bytes(with_revision(TxnResponse(), 11));
  TxnRequest txn;
  *txn.add_success()->mutable_request_range() = range("k");
  node->lease_valid = false;
  ask<TxnResponse>("/etcdserverpb.KV/Txn", txn);
  EXPECT_EQ(node->barriers, 1);
  EXPECT_EQ(state->reads, 1);
  EXPECT_EQ(node->proposals, 0);
}

TEST_F(Service, ErrorsOfTheStateMachineKeepTheirCode) {
  state->next.etcd_error = "etcdserver: requested lease not found";
  EXPECT_REFUSED(refusal("/etcdserverpb.KV/Put", put("k")), GrpcCode::kNotFound,
                 "etcdserver: requested lease not found");
  state->range_failure = Error{Code::kCompacted, "etcdserver: mvcc: required revision has been compacted"};
  EXPECT_REFUSED(refusal("/etcdserverpb.KV/Range", range("k")), GrpcCode::kOutOfRange,
                 "etcdserver: mvcc: required revision has been compacted");
}

TEST_F(Service, AProposalThatFailsHasOneOfTwoEnds) {
  node->failure = Error{Code::kUnavailable, "etcdserver: no leader"};
  EXPECT_REFUSED(refusal("/etcdserverpb.KV/Put", put("k")), GrpcCode::kUnavailable, "etcdserver: no leader");
  node->failure = Error{Code::kUnknown, ""};
  node->certain = false;
  EXPECT_REFUSED(refusal("/etcdserverpb.KV/Put", put("k")), GrpcCode::kUnavailable,
                 "etcdserver: request timed out, possibly due to previous leader failure");
}

TEST_F(Service, TheEarlierOfTwoDeadlinesHolds) {
  auto call = make("/etcdserverpb.KV/Put");
  call->due = clock.now() + std::chrono::milliseconds(5);
  run(call, put("k").SerializeAsString());
  EXPECT_EQ(node->last_deadline, call->due);
  run("/etcdserverpb.KV/Put", put("k"));
  EXPECT_EQ(node->last_deadline, clock.now() + options_.request_timeout);
}

TEST_F(Service, ACancelledCallIsCountedAndNotAnswered) {
  auto call = make("/etcdserverpb.KV/Put");
  services->start(call);
  call->deliver(put("k").SerializeAsString());
  EXPECT_EQ(probe.in_flight.get(), 1);
  call->cancel();
  loop.run();
  EXPECT_FALSE(call->status);
  EXPECT_TRUE(call->sent.empty());
  EXPECT_EQ(probe.in_flight.get(), 0);
  EXPECT_EQ(probe.of(Method::kPut).requests[1].get(), 1u);
}

TEST_F(Service, EachCallIsCountedByMethodAndCode) {
  state->range_response = with_revision(RangeResponse(), 11);
  run("/etcdserverpb.KV/Range", range("k"));
  run("/etcdserverpb.KV/Range", range("k", true));
  run("/etcdserverpb.KV/Range", range(""));
  node->failure = Error{Code::kUnavailable, ""};
  run("/etcdserverpb.KV/Put", put("k"));
  run(make("/nobody.Knows/This"), "");
  EXPECT_EQ(probe.of(Method::kRange).requests[0].get(), 1u);
  EXPECT_EQ(probe.of(Method::kRangeSerializable).requests[0].get(), 1u);
  EXPECT_EQ(probe.of(Method::kRange).requests[3].get(), 1u);
  EXPECT_EQ(probe.of(Method::kRange).server_faults.get(), 0u);
  EXPECT_EQ(probe.of(Method::kPut).requests[14].get(), 1u);
  EXPECT_EQ(probe.of(Method::kPut).server_faults.get(), 1u);
  EXPECT_EQ(probe.of(Method::kOther).requests[12].get(), 1u);
  EXPECT_EQ(probe.in_flight.get(), 0);
}

TEST_F(Service, ASlowRequestIsLoggedWithWhereItsTimeWent) {
  auto call = make("/etcdserverpb.KV/Put");
  services->start(call);
  call->deliver(put("secret").SerializeAsString());
  clock.time += std::chrono::milliseconds(250);
  loop.run();
  EXPECT_EQ(probe.slow_requests.get(), 1u);
  ASSERT_EQ(log.lines.size(), 1u);
  EXPECT_NE(log.lines[0].find("warn slow request method=Put code=OK took_ms=250"), std::string::npos) << log.lines[0];
  EXPECT_NE(log.lines[0].find("wait_ms=250"), std::string::npos);
  EXPECT_EQ(log.lines[0].find("secret"), std::string::npos);
}

TEST_F(Service, UnknownNamesAreUnimplementedAsGrpcSaysIt) {
  EXPECT_REFUSED(*run(make("/nobody.Knows/This"), "")->status, GrpcCode::kUnimplemented, "unknown service nobody.Knows");
  EXPECT_REFUSED(*run(make("/etcdserverpb.KV/Drop"), "")->status, GrpcCode::kUnimplemented,
                 "unknown method Drop for service etcdserverpb.KV");
  EXPECT_EQ(run(make("garbage"), "")->status->code, GrpcCode::kUnimplemented);
  EXPECT_EQ(run(make(""), "")->status->code, GrpcCode::kUnimplemented);
}

TEST_F(Service, AUnaryCallHasExactlyOneRequest) {
  auto none = make("/etcdserverpb.KV/Put");
  services->start(none);
  none->half_close();
  EXPECT_EQ(none->status->code, GrpcCode::kInternal);
  auto two = make("/etcdserverpb.KV/Put");
  services->start(two);
  two->deliver(put("a").SerializeAsString());
  two->deliver(put("b").SerializeAsString());
  EXPECT_EQ(two->status->code, GrpcCode::kInternal);
}

TEST_F(Service, AClientThatDemandsALeaderIsToldThatThereIsNone) {
  node->info.leader = NodeId(0);
  auto call = make("/etcdserverpb.KV/Put");
  call->headers["hasleader"] = "true";
  EXPECT_REFUSED(*run(call, put("k").SerializeAsString())->status, GrpcCode::kUnavailable, "etcdserver: no leader");
  EXPECT_EQ(node->proposals, 0);
}

TEST_F(Service, AStreamThatDemandsALeaderEndsWhenThereIsNone) {
  auto call = make("/etcdserverpb.Watch/Watch");
  call->headers["hasleader"] = "true";
  services->start(call);
  loop.advance(std::chrono::seconds(10));
  EXPECT_FALSE(call->status) << "there is a leader";
  node->info.leader = NodeId(0);
  loop.advance(std::chrono::seconds(2));
  EXPECT_FALSE(call->status) << "an election is not an outage";
  loop.advance(std::chrono::seconds(2));
  ASSERT_TRUE(call->status);
  EXPECT_REFUSED(*call->status, GrpcCode::kUnavailable, "etcdserver: no leader");
}

TEST_F(Service, MoreRequestsThanTheRateAreRefusedAtOnceAndKeepAlivesAreNot) {
  state->range_response = with_revision(RangeResponse(), 11);
  Options fresh = options_;
  fresh.rate = 100;
  fresh.burst = 3;
  services->core().set_limits(fresh);
  auto taken = [&](int of) {
    int n = 0;
    for (int i = 0; i < of; ++i) n += run("/etcdserverpb.KV/Range", range("k"))->status->ok();
    return n;
  };
  EXPECT_EQ(taken(10), 3);
  EXPECT_REFUSED(refusal("/etcdserverpb.KV/Put", put("k")), GrpcCode::kResourceExhausted, "etcdserver: too many requests");
  EXPECT_EQ(post("/v3/kv/range", R"({"key":"aw=="})")->status, 429);
  EXPECT_EQ(probe.over_rate.get(), 9u);
  EXPECT_TRUE(run("/etcdserverpb.Maintenance/Status", StatusRequest())->status->ok());
  const auto stream = make("/etcdserverpb.Lease/LeaseKeepAlive");
  services->start(stream);
  EXPECT_FALSE(stream->status) << stream->status->message;
  stream->cancel();
  clock.time += std::chrono::milliseconds(20);
  EXPECT_EQ(taken(10), 2) << "a hundred a second";
  clock.time += std::chrono::hours(1);
  EXPECT_EQ(taken(10), 3) << "what was not asked for is not saved up beyond the burst";
  fresh.rate = 0;
  services->core().set_limits(fresh);
  EXPECT_EQ(taken(1'000), 1'000);
  fresh.rate = 50;
  fresh.burst = 0;
  services->core().set_limits(fresh);
  clock.time += std::chrono::hours(1);
  EXPECT_EQ(taken(1'000), 50) << "without a burst, what a second has";
  fresh.rate = 10;
  fresh.burst = 3'000;
  services->core().set_limits(fresh);
  EXPECT_EQ(taken(4'000), 3'000);
  fresh.rate = fresh.burst = 1'000;
  services->core().set_limits(fresh);
  EXPECT_EQ(taken(2'000), 1'000) << "who is given more has it at once";
  services->core().set_limits(fresh);
  EXPECT_EQ(taken(10), 0) << "and no more for being given the same";
  fresh.rate = std::numeric_limits<std::uint64_t>::max();
  fresh.burst = fresh.rate;
  services->core().set_limits(fresh);
  EXPECT_EQ(taken(1'000), 1'000);
}

TEST_F(Service, ALearnerServesStatusAndStaleReadsOnly) {
  node->info.state = MemberState::kLearner;
  state->range_response = with_revision(RangeResponse(), 11);
  EXPECT_TRUE(run("/etcdserverpb.KV/Range", range("k", true))->status->ok());
  EXPECT_TRUE(run("/etcdserverpb.Maintenance/Status", StatusRequest())->status->ok());
  // On it etcd's client goes to another member by itself.
  const std::string text(kTryNextEndpoint);
  EXPECT_REFUSED(refusal("/etcdserverpb.KV/Range", range("k")), GrpcCode::kUnavailable, text);
  EXPECT_REFUSED(refusal("/etcdserverpb.KV/Put", put("k")), GrpcCode::kUnavailable, text);
}

TEST_F(Service, AnEmptyStoreAnswersNoStaleRead) {
  state->info.point.index = Index();
  EXPECT_REFUSED(refusal("/etcdserverpb.KV/Range", range("k", true)), GrpcCode::kUnavailable, "etcdserver: no leader");
}

TEST_F(Service, AnAdmissionWithoutALeaderIsRefusedAtOnce) {
  node->info.leader = NodeId();
  leeward::v1::MemberAdmitRequest request;
  request.set_id(9);
  auto call = make("/leeward.v1.Operations/MemberAdmit");
  call->identity.unix_socket = true;
  EXPECT_REFUSED(*run(call, request.SerializeAsString())->status, GrpcCode::kUnavailable, "etcdserver: no leader");
  EXPECT_EQ(node->admitted, NodeId(0));
}

class Standby : public ScriptedServices {
 protected:
  Standby() {
    node->info.role = GroupRole::kStandby;
    MemberStatus self;
    self.id = NodeId(7);
    self.role = GroupRole::kStandby;
    self.lag.high = std::chrono::milliseconds(300);
    node->info.members = {self};
    state->range_response = with_revision(RangeResponse(), 11);
  }
  std::shared_ptr<FakeCall> stale_read(std::string max_lag) {
    auto call = make("/etcdserverpb.KV/Range");
    if (!max_lag.empty()) call->headers["leeward-max-lag"] = max_lag;
    return run(call, range("k", true).SerializeAsString());
  }
};

TEST_F(Standby, EachAnswerSaysHowOldItMayBe) {
  const auto call = stale_read("");
  ASSERT_TRUE(call->status->ok());
  ASSERT_EQ(call->status->trailers.size(), 1u);
  EXPECT_EQ(call->status->trailers[0].first, "leeward-lag-high-ms");
  EXPECT_EQ(call->status->trailers[0].second, "300.000");
  clock.time += std::chrono::milliseconds(50);
  EXPECT_EQ(stale_read("")->status->trailers[0].second, "350.000") << "the status itself has aged";
}

TEST_F(Standby, AReadThatWouldBeTooStaleIsRefused) {
  EXPECT_TRUE(stale_read("500ms")->status->ok());
  EXPECT_TRUE(stale_read("0.3s")->status->ok());
  const auto late = stale_read("200ms");
  EXPECT_EQ(late->status->code, GrpcCode::kUnavailable);
  EXPECT_NE(late->status->message.find("300"), std::string::npos) << late->status->message;
  EXPECT_EQ(stale_read("soon")->status->code, GrpcCode::kInvalidArgument);
}

TEST_F(Standby, AnUnknownLagIsBeyondEveryBound) {
  node->info.members[0].lag.high.reset();
  const auto call = stale_read("1h");
  EXPECT_EQ(call->status->code, GrpcCode::kUnavailable);
  EXPECT_EQ(call->status->trailers.at(0).second, "unknown");
}

TEST_F(Standby, ARefusalCarriesTheEpochAndTheReason) {
  node->info.epoch = node->info.newest_epoch = Epoch(3);
  node->info.members[0].region = "west";
  const auto refusal = [this] {
    std::map<std::string, std::string> trailers;
    const auto call = stale_read("200ms");
    EXPECT_EQ(call->status->code, GrpcCode::kUnavailable);
    for (const auto& [name, value] : call->status->trailers) trailers[name] = value;
    clock.time += std::chrono::seconds(1);  // the next one asks for the status anew
    return trailers;
  };
  auto trailers = refusal();
  EXPECT_EQ(trailers["leeward-epoch"], "3");
  EXPECT_TRUE(trailers["leeward-reason"].starts_with("no_primary: region west")) << trailers["leeward-reason"];
  node->info.primary_heard = true;
  EXPECT_TRUE(refusal()["leeward-reason"].starts_with("standby: ")) << "the primary is there, the bound is not met";
  node->info.role = GroupRole::kFenced;
  node->info.newest_epoch = Epoch(4);
  node->info.serving_region = "east";
  trailers = refusal();
  EXPECT_EQ(trailers["leeward-epoch"], "4");
  EXPECT_TRUE(trailers["leeward-reason"].starts_with("fenced: epoch 4 is served by region east")) << trailers["leeward-reason"];
}

TEST_F(Service, MemberListShowsTheOwnGroup) {
  for (int id : {7, 8, 21}) {
    MemberStatus member;
    member.id = NodeId(id);
    member.name = "n" + std::to_string(id);
    member.region = id > 20 ? "west" : "east";
    member.peer_address = "127.0.1." + std::to_string(id) + ":2380";
    member.client_url = "http://127.0.1." + std::to_string(id) + ":2379";
    member.voter = id != 8;
    member.report_age = Duration(0);
    node->info.members.push_back(member);
  }
  const auto response = ask<MemberListResponse>("/etcdserverpb.Cluster/MemberList", MemberListRequest());
  ASSERT_EQ(response.members_size(), 2);
  EXPECT_EQ(response.members(0).id(), 7u);
  EXPECT_EQ(response.members(0).peerurls(0), "http://127.0.1.7:2380");
  EXPECT_EQ(response.members(0).clienturls(0), "http://127.0.1.7:2379");
  EXPECT_FALSE(response.members(0).islearner());
  EXPECT_TRUE(response.members(1).islearner());
}

TEST_F(Service, StatusSaysWhatEtcdctlsTableShows) {
  state->info.point.index = Index(55);
  const auto response = ask<StatusResponse>("/etcdserverpb.Maintenance/Status", StatusRequest());
  EXPECT_EQ(response.version(), "3.5.17");
  EXPECT_EQ(response.dbsize(), 4096);
  EXPECT_EQ(response.dbsizeinuse(), 1024);
  EXPECT_EQ(response.leader(), 7u);
  EXPECT_EQ(response.raftindex(), 55u);
  EXPECT_EQ(response.raftappliedindex(), 55u);
  EXPECT_EQ(response.raftterm(), response.header().raft_term());
  EXPECT_EQ(response.errors_size(), 0);
  node->info.leader = NodeId(0);
  node->info.disk_full = true;
  const auto worse = ask<StatusResponse>("/etcdserverpb.Maintenance/Status", StatusRequest());
  ASSERT_EQ(worse.errors_size(), 2);
  EXPECT_EQ(worse.errors(0), "etcdserver: no leader");
}

TEST_F(Service, OnlyTheLeaderMovesLeadershipAndOnlyToAMember) {
  MoveLeaderRequest request;
  request.set_targetid(9);
  EXPECT_REFUSED(refusal("/etcdserverpb.Maintenance/MoveLeader", request), GrpcCode::kFailedPrecondition,
                 "etcdserver: bad leader transferee");
  MemberStatus other;
  other.id = NodeId(9);
  node->info.members.push_back(other);
  ask<MoveLeaderResponse>("/etcdserverpb.Maintenance/MoveLeader", request);
  EXPECT_EQ(node->info.leader, NodeId(9));
  EXPECT_REFUSED(refusal("/etcdserverpb.Maintenance/MoveLeader", request), GrpcCode::kFailedPrecondition,
                 "etcdserver: not leader");
  request.set_targetid(0);
  node->info.leader = node->info.self;
  EXPECT_REFUSED(refusal("/etcdserverpb.Maintenance/MoveLeader", request), GrpcCode::kFailedPrecondition,
                 "etcdserver: bad leader transferee");
  node->info.leader = NodeId(9);
  // Who sits at the machine is served by any member.
  other.id = NodeId(8);
  node->info.members.push_back(other);
  request.set_targetid(8);
  const auto call = make("/etcdserverpb.Maintenance/MoveLeader");
  call->identity.unix_socket = true;
  run(call, request.SerializeAsString());
  EXPECT_EQ(node->info.leader, NodeId(8));
}

TEST_F(Service, AFullDiskIsAnAlarm) {
  EXPECT_EQ(ask<AlarmResponse>("/etcdserverpb.Maintenance/Alarm", AlarmRequest()).alarms_size(), 0);
  node->info.disk_full = true;
  const auto response = ask<AlarmResponse>("/etcdserverpb.Maintenance/Alarm", AlarmRequest());
  ASSERT_EQ(response.alarms_size(), 1);
  EXPECT_EQ(response.alarms(0).memberid(), 7u);
  EXPECT_EQ(response.alarms(0).alarm(), NOSPACE);
}

// Each answer is what etcd 3.5 gives.
TEST_F(Service, AlarmsRaisedLoweredAndListedByHandAnswerAsEtcd) {
  const auto alarms = [&](AlarmRequest::AlarmAction action, AlarmType type, std::uint64_t member) {
    AlarmRequest request;
    request.set_action(action);
    request.set_alarm(type);
    request.set_memberid(member);
    std::vector<std::uint64_t> members;
    const auto response = ask<AlarmResponse>("/etcdserverpb.Maintenance/Alarm", request);
    for (const auto& alarm : response.alarms()) {
      EXPECT_EQ(alarm.alarm(), NOSPACE);
      members.push_back(alarm.memberid());
    }
    return members;
  };
  using Members = std::vector<std::uint64_t>;
  EXPECT_EQ(alarms(AlarmRequest::ACTIVATE, NONE, 9), Members());
  EXPECT_EQ(alarms(AlarmRequest::GET, NONE, 0), Members());
  EXPECT_EQ(alarms(AlarmRequest::ACTIVATE, NOSPACE, 9), Members{9});
  EXPECT_EQ(alarms(AlarmRequest::ACTIVATE, NOSPACE, 9), Members{9}) << "though it was raised";
  EXPECT_EQ(alarms(AlarmRequest::ACTIVATE, NOSPACE, 8), Members{8});
  EXPECT_EQ(alarms(AlarmRequest::GET, NONE, 777), (Members{9, 8})) << "whichever member is named";
  EXPECT_EQ(alarms(AlarmRequest::GET, CORRUPT, 9), Members());
  EXPECT_EQ(alarms(AlarmRequest::DEACTIVATE, NONE, 9), Members());
  EXPECT_EQ(alarms(AlarmRequest::DEACTIVATE, NOSPACE, 9), Members{9});
  EXPECT_EQ(alarms(AlarmRequest::DEACTIVATE, NOSPACE, 9), Members());
  EXPECT_EQ(alarms(AlarmRequest::GET, NOSPACE, 0), Members{8});
}

TEST_F(Service, HashKvAnswersWithTheRevisionItWasCompactedAt) {
  HashKVRequest request;
  request.set_revision(8);
  const auto response = ask<HashKVResponse>("/etcdserverpb.Maintenance/HashKV", request);
  EXPECT_EQ(response.hash(), 99u);
  EXPECT_EQ(response.compact_revision(), 2);
}

TEST_F(Service, AuthIsThatOfAnEtcdWithoutUsers) {
  EXPECT_FALSE(ask<AuthStatusResponse>("/etcdserverpb.Auth/AuthStatus", AuthStatusRequest()).enabled());
  EXPECT_REFUSED(refusal("/etcdserverpb.Auth/Authenticate", AuthenticateRequest()), GrpcCode::kFailedPrecondition,
                 "etcdserver: authentication is not enabled");
  EXPECT_REFUSED(refusal("/etcdserverpb.Auth/AuthEnable", AuthEnableRequest()), GrpcCode::kFailedPrecondition,
                 "etcdserver: root user does not exist");
  EXPECT_REFUSED(refusal("/etcdserverpb.Auth/UserGet", AuthUserGetRequest()), GrpcCode::kFailedPrecondition,
                 "etcdserver: user name not found");
  EXPECT_EQ(refusal("/etcdserverpb.Auth/UserAdd", AuthUserAddRequest()).code, GrpcCode::kUnimplemented);
}

TEST_F(Service, WhatIsNotBuiltSaysSo) {
  for (const std::string method : {"/v3lockpb.Lock/Lock", "/v3electionpb.Election/Observe",
                                   "/etcdserverpb.Cluster/MemberAdd"}) {
    const auto call = run(make(method), "");
    EXPECT_EQ(call->status->code, GrpcCode::kUnimplemented) << method;
    EXPECT_FALSE(call->status->message.empty());
  }
}

TEST_F(Service, HealthFollowsTheNode) {
  using namespace grpc::health::v1;
  const auto check = [&](std::string service) {
    HealthCheckRequest request;
    request.set_service(service);
    return ask<HealthCheckResponse>("/grpc.health.v1.Health/Check", request).status();
  };
  EXPECT_EQ(check(""), HealthCheckResponse::SERVING);
  EXPECT_EQ(check("etcdserverpb.KV"), HealthCheckResponse::SERVING);
  HealthCheckRequest unknown;
  unknown.set_service("nobody");
  EXPECT_REFUSED(refusal("/grpc.health.v1.Health/Check", unknown), GrpcCode::kNotFound, "unknown service");

  auto watch = make("/grpc.health.v1.Health/Watch");
  run(watch, HealthCheckRequest().SerializeAsString());
  loop.advance(std::chrono::seconds(3));
  ASSERT_EQ(watch->sent.size(), 1u) << "sent again without a change";
  node->info.waiting_for = "a majority";
  loop.advance(std::chrono::seconds(3));
  ASSERT_EQ(watch->sent.size(), 2u);
  EXPECT_EQ(parsed<HealthCheckResponse>(watch->sent[1]).status(), HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(check(""), HealthCheckResponse::NOT_SERVING);
  watch->cancel();
  loop.advance(std::chrono::seconds(3));
  EXPECT_EQ(loop.timers(), 0u);
}

TEST_F(Service, ReflectionTellsWhatIsSpoken) {
  using namespace grpc::reflection::v1;
  auto call = make("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo");
  services->start(call);
  const auto answer = [&](const ServerReflectionRequest& request) {
    call->deliver(request.SerializeAsString());
    return parsed<ServerReflectionResponse>(call->sent.back());
  };
  ServerReflectionRequest list, symbol, unknown;
  list.set_list_services("*");
  symbol.set_file_containing_symbol("etcdserverpb.KV.Range");
  unknown.set_file_containing_symbol("nobody");
  std::set<std::string> names;
  const auto listed = answer(list);
  for (const auto& service : listed.list_services_response().service()) names.insert(service.name());
  for (const std::string service : {"etcdserverpb.KV", "grpc.health.v1.Health", "leeward.v1.Operations"})
    EXPECT_TRUE(names.contains(service)) << service;
  EXPECT_EQ(answer(symbol).file_descriptor_response().file_descriptor_proto_size(), 3) << "the file and its imports";
  EXPECT_EQ(answer(unknown).error_response().error_code(), 5);
  call->half_close();
  EXPECT_TRUE(call->status && call->status->ok());
}

TEST_F(Service, ChangesOfMembersNeedTheOperatorAndReachTheMemberAsAsked) {
  leeward::v1::MemberChangeRequest request;
  request.add_add()->set_id(4);
  request.mutable_add(0)->set_peer_address("http://h:2380");
  request.add_promote(5);
  request.add_remove(1);
  const auto as = [&](bool socket, const leeward::v1::MemberChangeRequest& what) {
    auto call = make("/leeward.v1.Operations/MemberChange");
    call->identity.unix_socket = socket;
    return run(call, what.SerializeAsString());
  };
  EXPECT_EQ(as(false, request)->status->code, GrpcCode::kPermissionDenied);
  EXPECT_TRUE(node->changes.empty());
  EXPECT_EQ(parsed<leeward::v1::MemberChangeResponse>(as(true, request)->sent.at(0)).index(), 77u);
  ASSERT_EQ(node->changes.size(), 1u);
  EXPECT_EQ(node->changes[0].add.at(0).peer_address, "h:2380");
  EXPECT_EQ(node->changes[0].promote, (std::vector<NodeId>{NodeId(5)}));
  EXPECT_EQ(node->changes[0].remove, (std::vector<NodeId>{NodeId(1)}));
  request.add_remove(0);
  EXPECT_EQ(as(true, request)->status->code, GrpcCode::kInvalidArgument);
  request.clear_remove();
  // What may have been done is not tried again elsewhere by who asked.
  node->change_failure = Error{Code::kUnknown, "etcdserver: request timed out"};
  EXPECT_EQ(as(true, request)->status->code, GrpcCode::kDeadlineExceeded);
}

TEST_F(Service, EtcdsChangesOfMembersAreAnsweredInItsWords) {
  options_.insecure = true;
  begin();
  MemberRemoveRequest remove;
  remove.set_id(2);
  MemberPromoteRequest promote;
  promote.set_id(4);
  MemberUpdateRequest update;
  update.set_id(3);
  update.add_peerurls("http://h:9");
  EXPECT_TRUE(run(make("/etcdserverpb.Cluster/MemberRemove"), remove.SerializeAsString())->status->ok());
  EXPECT_TRUE(run(make("/etcdserverpb.Cluster/MemberPromote"), promote.SerializeAsString())->status->ok());
  EXPECT_TRUE(run(make("/etcdserverpb.Cluster/MemberUpdate"), update.SerializeAsString())->status->ok());
  ASSERT_EQ(node->changes.size(), 3u);
  EXPECT_EQ(node->changes[0].remove.at(0), NodeId(2));
  EXPECT_EQ(node->changes[1].promote.at(0), NodeId(4));
  EXPECT_EQ(node->changes[2].move.at(0).peer_address, "h:9");
  const auto says = [&](Error why) {
    node->change_failure = std::move(why);
    return run(make("/etcdserverpb.Cluster/MemberPromote"), promote.SerializeAsString())->status->message;
  };
  namespace rule = node::rule;
  EXPECT_EQ(says({Code::kNotFound, "x"}), "etcdserver: member not found");
  EXPECT_EQ(says(node::refusal(rule::kInSync, "x")), "etcdserver: can only promote a learner member which is in sync with leader");
  EXPECT_EQ(says(node::refusal(rule::kLearner, "x")), "etcdserver: can only promote a learner member");
  EXPECT_EQ(says(node::refusal(rule::kQuorum, "x")), "etcdserver: unhealthy cluster");
  EXPECT_EQ(says(node::refusal(rule::kTaken, "x")), "etcdserver: Peer URLs already exists");
  EXPECT_EQ(says(node::refusal(rule::kChangeUnderWay, "x")), "change_under_way: x");
  update.add_peerurls("http://h:10");
  EXPECT_EQ(run(make("/etcdserverpb.Cluster/MemberUpdate"), update.SerializeAsString())->status->message, "etcdserver: given member URLs are invalid");
}

// They name the epoch; their clients go on elsewhere. A snapshot any member gives.
TEST_F(Service, AFencedMemberEndsWhatOnlyAServingRegionGives) {
  auto watch = make("/etcdserverpb.Watch/Watch"), snapshot = make("/etcdserverpb.Maintenance/Snapshot");
  services->start(watch);
  services->start(snapshot);
  node->info.role = GroupRole::kFenced;
  node->info.newest_epoch = Epoch(7);
  services->heed(node->info);
  loop.run();
  ASSERT_TRUE(watch->status);
  EXPECT_EQ(watch->status->code, GrpcCode::kUnavailable);
  EXPECT_NE(watch->status->message.find("epoch 7"), std::string::npos) << watch->status->message;
  EXPECT_FALSE(snapshot->status && snapshot->status->message == watch->status->message);
  clock.time += std::chrono::seconds(1);
  auto later = make("/etcdserverpb.Lease/LeaseKeepAlive");
  services->start(later);
  ASSERT_TRUE(later->status);
  EXPECT_NE(later->status->message.find("epoch 7"), std::string::npos) << later->status->message;
}

TEST_F(Service, ARemovedMemberEndsItsStreamsAndAnswersItsOperatorOnly) {
  auto watch = make("/etcdserverpb.Watch/Watch");
  services->start(watch);
  node->info.state = MemberState::kRemoved;
  services->heed(node->info);
  loop.run();
  ASSERT_TRUE(watch->status);
  EXPECT_EQ(watch->status->code, GrpcCode::kUnavailable);
  loop.advance(std::chrono::seconds(1));
  for (const std::string method : {"/etcdserverpb.KV/Range", "/etcdserverpb.KV/Put", "/etcdserverpb.Cluster/MemberList", "/etcdserverpb.Watch/Watch"}) {
    const auto call = run(make(method), "");
    ASSERT_TRUE(call->status) << method;
    EXPECT_NE(call->status->message.find("removed from its group"), std::string::npos) << method;
  }
  EXPECT_TRUE(run(make("/leeward.v1.Operations/ClusterStatus"), "")->status->ok());
  EXPECT_TRUE(run(make("/etcdserverpb.Maintenance/Status"), "")->status->ok());
}

TEST_F(Service, AdmittingAMemberNeedsTheOperator) {
  leeward::v1::MemberAdmitRequest request;
  request.set_id(9);
  const auto as = [&](PeerIdentity peer) {
    auto call = make("/leeward.v1.Operations/MemberAdmit");
    call->identity = std::move(peer);
    return run(call, request.SerializeAsString())->status->code;
  };
  PeerIdentity plain, stranger, forged, socket;
  plain.loopback = true;
  stranger.tls = true;
  stranger.common_name = "app";
  forged.common_name = "ops";  // a name that no TLS proves
  socket.unix_socket = true;
  for (const auto& peer : {plain, stranger, forged}) EXPECT_EQ(as(peer), GrpcCode::kPermissionDenied);
  EXPECT_EQ(node->admitted, NodeId(0));
  const auto already = [&] {
    auto call = make("/leeward.v1.Operations/MemberAdmit");
    call->identity = socket;
    run(call, request.SerializeAsString());
    return parsed<leeward::v1::MemberAdmitResponse>(call->sent.at(0)).already();
  };
  EXPECT_FALSE(already());
  EXPECT_EQ(node->admitted, NodeId(9));
  EXPECT_TRUE(already());

  options_.operators = {"ops"};
  begin();
  PeerIdentity ops;
  ops.tls = true;
  ops.common_name = "ops";
  for (const auto& peer : {plain, stranger, forged}) EXPECT_EQ(as(peer), GrpcCode::kPermissionDenied);
  EXPECT_EQ(as(ops), GrpcCode::kOk);

  options_.insecure = true;
  begin();
  EXPECT_EQ(as(plain), GrpcCode::kOk);
}

}  // namespace
}  // namespace leeward::api::test
