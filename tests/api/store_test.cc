// etcd's behaviour end to end through the services over the real state
// machine: what a client sees of KV, Txn, Compact, Lease and Watch.
#include <random>

#include "api/handlers.h"
#include "harness.h"
#include "real_store.h"

namespace leeward::api::test {
namespace {

using namespace etcdserverpb;

class Store : public ServicesOver<ScriptedState> {
 protected:
  Store() {
    machine = open_state_machine(disk, clock, log);
    begin_over(*machine);
  }

  PutResponse put(std::string key, std::string value, std::int64_t lease = 0) {
    PutRequest request;
    request.set_key(key);
    request.set_value(value);
    request.set_lease(lease);
    request.set_prev_kv(true);
    return ask<PutResponse>("/etcdserverpb.KV/Put", request);
  }
  RangeResponse get(std::string key, std::string end = "", std::int64_t revision = 0) {
    RangeRequest request;
    request.set_key(key);
    request.set_range_end(end);
    request.set_revision(revision);
    return ask<RangeResponse>("/etcdserverpb.KV/Range", request);
  }
  RpcStatus compact(std::int64_t revision) {
    CompactionRequest request;
    request.set_revision(revision);
    return refusal("/etcdserverpb.KV/Compact", request);
  }

  NoDisk disk;
  std::unique_ptr<leeward::kv::MvccStateMachine> machine;
};

TEST_F(Store, APutIsReadBackWithItsRevisions) {
  const auto first = put("k", "1");
  EXPECT_EQ(first.header().revision(), 2);
  EXPECT_FALSE(first.has_prev_kv());
  EXPECT_EQ(put("k", "2").prev_kv().value(), "1");
  const auto read = get("k");
  EXPECT_EQ(read.header().revision(), 3);
  EXPECT_EQ(read.header().member_id(), 7u);
  ASSERT_EQ(read.kvs_size(), 1);
  EXPECT_EQ(read.kvs(0).value(), "2");
  EXPECT_EQ(read.kvs(0).version(), 2);
  EXPECT_EQ(read.kvs(0).create_revision(), 2);
  EXPECT_EQ(get("k", "", 2).kvs(0).value(), "1");
}

TEST_F(Store, ARangeThatEndsBeforeItBeginsIsEmpty) {
  put("b", "1");
  const auto response = get("c", "a");
  EXPECT_EQ(response.count(), 0);
  EXPECT_EQ(response.kvs_size(), 0);
  DeleteRangeRequest request;
  request.set_key("c");
  request.set_range_end("a");
  EXPECT_EQ(ask<DeleteRangeResponse>("/etcdserverpb.KV/DeleteRange", request).deleted(), 0);
}

TEST_F(Store, ALargeRangeArrivesWhole) {
  for (int i = 0; i < 300; ++i) put("k" + std::to_string(1000 + i), std::string(2000, 'x'));
  const auto response = get("k", "l");
  EXPECT_EQ(response.kvs_size(), 300);
  EXPECT_EQ(response.count(), 300);
  EXPECT_EQ(response.kvs(299).key(), "k1299");
  EXPECT_EQ(response.header().cluster_id(), 0xc0ffeeu);
}

TEST_F(Store, CompactedAndFutureRevisionsHaveEtcdsErrors) {
  put("k", "1");
  put("k", "2");
  put("k", "3");
  EXPECT_TRUE(compact(3).ok());
  RangeRequest old, future;
  old.set_key("k");
  old.set_revision(2);
  future.set_key("k");
  future.set_revision(99);
  for (const bool serializable : {false, true}) {
    old.set_serializable(serializable);
    future.set_serializable(serializable);
    EXPECT_REFUSED(refusal("/etcdserverpb.KV/Range", old), GrpcCode::kOutOfRange,
                   "etcdserver: mvcc: required revision has been compacted");
    EXPECT_REFUSED(refusal("/etcdserverpb.KV/Range", future), GrpcCode::kOutOfRange,
                   "etcdserver: mvcc: required revision is a future revision");
  }
  EXPECT_REFUSED(compact(3), GrpcCode::kOutOfRange, "etcdserver: mvcc: required revision has been compacted");
  EXPECT_REFUSED(compact(99), GrpcCode::kOutOfRange, "etcdserver: mvcc: required revision is a future revision");
}

TEST_F(Store, ATransactionComparesAndWrites) {
  put("k", "1");
  TxnRequest txn;
  auto* compare = txn.add_compare();
  compare->set_key("k");
  compare->set_target(Compare::VALUE);
  compare->set_value("1");
  auto* op = txn.add_success()->mutable_request_put();
  op->set_key("k");
  op->set_value("2");
  txn.add_success()->mutable_request_range()->set_key("k");
  txn.add_failure()->mutable_request_range()->set_key("k");
  const auto first = ask<TxnResponse>("/etcdserverpb.KV/Txn", txn);
  EXPECT_TRUE(first.succeeded());
  EXPECT_EQ(first.header().revision(), 3);
  EXPECT_EQ(first.header().member_id(), 7u);
  ASSERT_EQ(first.responses_size(), 2);
  EXPECT_EQ(first.responses(1).response_range().kvs(0).value(), "2");
  const auto second = ask<TxnResponse>("/etcdserverpb.KV/Txn", txn);
  EXPECT_FALSE(second.succeeded());
  EXPECT_EQ(second.responses(0).response_range().kvs(0).value(), "2");
}

TEST_F(Store, ATransactionOfReadsSeesTheStore) {
  put("k", "1");
  TxnRequest txn;
  txn.add_success()->mutable_request_range()->set_key("k");
  const int before = node->proposals;
  const auto response = ask<TxnResponse>("/etcdserverpb.KV/Txn", txn);
  EXPECT_EQ(node->proposals, before);
  EXPECT_TRUE(response.succeeded());
  EXPECT_EQ(response.header().revision(), 2);
  EXPECT_EQ(response.responses(0).response_range().kvs(0).value(), "1");
}

// Protobuf by hand: fields of two kinds.
std::string varint(std::uint64_t v) {
  std::string out;
  for (; v >= 0x80; v >>= 7) out.push_back(static_cast<char>(v | 0x80));
  return out + static_cast<char>(v);
}
std::string number(int field, std::uint64_t v) { return varint(static_cast<std::uint64_t>(field) << 3) + varint(v); }
std::string part(int field, const std::string& bytes) {
  return varint(static_cast<std::uint64_t>(field) << 3 | 2) + varint(bytes.size()) + bytes;
}
const std::string kGroup = varint(2000 << 3 | 3) + varint(2000 << 3 | 4);  // of no field we know

// Legal protobuf as no library writes it: it must be done as it was checked.
TEST_F(Store, OddProtobufIsReadOnce) {
  const auto txn = [&](const std::string& bytes) {
    const auto call = run(make("/etcdserverpb.KV/Txn"), bytes);
    EXPECT_TRUE(call->status && call->status->ok()) << (call->status ? call->status->message : "did not end");
    return parsed<TxnResponse>(call->sent.empty() ? "" : call->sent.front());
  };
  const auto put_of = [](const std::string& key) { return part(2, part(2, part(1, key))); };
  // A nested transaction in two pieces is one transaction of both.
  EXPECT_EQ(txn(part(2, part(4, put_of("a")) + part(4, put_of("b")))).responses(0).response_txn().responses_size(), 2);
  EXPECT_EQ(get("a").count() + get("b").count(), 2);
  // So is a put; and of two kinds the last one counts.
  txn(part(2, part(2, part(1, "c")) + part(2, part(2, "v"))));
  EXPECT_EQ(get("c").kvs(0).value(), "v");
  txn(part(2, part(1, part(1, "x")) + part(2, part(1, "d"))));
  EXPECT_EQ(get("d").count(), 1);
  // An enum has 32 bits: EQUAL. A version of 5 is not that of no key.
  EXPECT_FALSE(txn(part(1, number(1, 1ull << 32) + part(3, "none") + number(4, 5))).succeeded());
  // An enum below 0 grows when it is written anew, so that the sizes may agree:
  // GREATER, of no target.
  EXPECT_FALSE(txn(part(1, number(2, 0xffffffff) + part(3, "none") + number(1, 1ull << 35 | 1))).succeeded());
  for (int i = 0; i < 3; ++i) put("s" + std::to_string(i), "");
  const auto sorted = run(make("/etcdserverpb.KV/Range"), part(1, "s") + part(2, "t") + number(5, (1ull << 32) + 2));
  EXPECT_EQ(parsed<RangeResponse>(sorted->sent.at(0)).kvs(0).key(), "s2");
  // Unknown groups, within and without.
  txn(part(2, part(2, part(1, "g") + kGroup) + kGroup) + kGroup);
  EXPECT_EQ(get("g").count(), 1);
  for (const auto& [method, bytes] : std::map<std::string, std::string>{
           {"KV/Put", part(1, "p") + kGroup}, {"KV/DeleteRange", part(1, "g") + kGroup}, {"KV/Range", part(1, "p") + kGroup},
           {"Lease/LeaseGrant", number(1, 60) + kGroup}, {"KV/Compact", number(1, 3) + kGroup}}) {
    const auto call = run(make("/etcdserverpb." + method), bytes);
    EXPECT_TRUE(call->status && call->status->ok()) << method << ": " << (call->status ? call->status->message : "");
  }
  EXPECT_EQ(get("p").count(), 1);
  EXPECT_EQ(get("g").count(), 0);
}

TEST_F(Store, TransactionsNestAsDeepAsEtcds) {
  const auto nested = [&](int depth) {
    std::string txn = part(2, part(2, part(1, "deep") + part(2, std::to_string(depth))));
    for (int i = 0; i < depth; ++i) txn = part(2, part(4, txn));
    return run(make("/etcdserverpb.KV/Txn"), txn)->status.value_or(RpcStatus{GrpcCode::kUnknown, "no end", {}});
  };
  for (const int depth : {49, 50, 127}) {
    EXPECT_TRUE(nested(depth).ok()) << depth;
    EXPECT_EQ(get("deep").kvs(0).value(), std::to_string(depth));
  }
  for (const int depth : {128, 129, 400}) EXPECT_REFUSED(nested(depth), GrpcCode::kInvalidArgument, "etcdserver: too many operations in txn request");
  services->core().limits.max_txn_ops = 100'000;
  EXPECT_TRUE(nested(128).ok());
  EXPECT_REFUSED(nested(129), GrpcCode::kInvalidArgument, "etcdserver: too many operations in txn request");
  EXPECT_EQ(nested(10'000).code, GrpcCode::kInvalidArgument) << "before the stack ends";
}

TEST_F(Store, ALeaseWithoutAnIdGetsOne) {
  LeaseGrantRequest request;
  request.set_ttl(60);
  const auto first = ask<LeaseGrantResponse>("/etcdserverpb.Lease/LeaseGrant", request);
  const auto second = ask<LeaseGrantResponse>("/etcdserverpb.Lease/LeaseGrant", request);
  EXPECT_GT(first.id(), 0);
  EXPECT_GT(second.id(), 0);
  EXPECT_NE(first.id(), second.id());
  EXPECT_EQ(first.ttl(), 60);
}

TEST_F(Store, ALeaseLivesWithItsKeysAndTakesThemAlong) {
  LeaseGrantRequest grant;
  grant.set_ttl(60);
  grant.set_id(77);
  ask<LeaseGrantResponse>("/etcdserverpb.Lease/LeaseGrant", grant);
  EXPECT_REFUSED(refusal("/etcdserverpb.Lease/LeaseGrant", grant), GrpcCode::kFailedPrecondition,
                 "etcdserver: lease already exists");
  put("a", "1", 77);
  put("b", "1", 77);
  LeaseTimeToLiveRequest ttl;
  ttl.set_id(77);
  ttl.set_keys(true);
  const auto alive = ask<LeaseTimeToLiveResponse>("/etcdserverpb.Lease/LeaseTimeToLive", ttl);
  EXPECT_EQ(alive.ttl(), 60);
  EXPECT_EQ(alive.grantedttl(), 60);
  ASSERT_EQ(alive.keys_size(), 2);
  EXPECT_EQ(alive.keys(0), "a");
  const auto all = ask<LeaseLeasesResponse>("/etcdserverpb.Lease/LeaseLeases", LeaseLeasesRequest());
  ASSERT_EQ(all.leases_size(), 1);
  EXPECT_EQ(all.leases(0).id(), 77);

  LeaseRevokeRequest revoke;
  revoke.set_id(77);
  EXPECT_GT(ask<LeaseRevokeResponse>("/etcdserverpb.Lease/LeaseRevoke", revoke).header().revision(), 0);
  EXPECT_EQ(get("a", "c").count(), 0);
  EXPECT_REFUSED(refusal("/etcdserverpb.Lease/LeaseRevoke", revoke), GrpcCode::kNotFound,
                 "etcdserver: requested lease not found");
  const auto gone = ask<LeaseTimeToLiveResponse>("/etcdserverpb.Lease/LeaseTimeToLive", ttl);
  EXPECT_EQ(gone.ttl(), -1);
  EXPECT_EQ(gone.id(), 77);
}

TEST_F(Store, APutWithAnUnknownLeaseIsRefused) {
  PutRequest request;
  request.set_key("k");
  request.set_lease(5);
  EXPECT_REFUSED(refusal("/etcdserverpb.KV/Put", request), GrpcCode::kNotFound,
                 "etcdserver: requested lease not found");
}

TEST_F(Store, AnIgnoredValueNeedsAKey) {
  PutRequest request;
  request.set_key("k");
  request.set_ignore_value(true);
  EXPECT_REFUSED(refusal("/etcdserverpb.KV/Put", request), GrpcCode::kInvalidArgument, "etcdserver: key not found");
}

// Damaged requests of every method: each call ends or stays a stream, nothing
// that does not parse is proposed, and the store serves on.
TEST_F(Store, DamagedRequestsDisturbNothing) {
  const auto seed = static_cast<std::uint32_t>(::testing::UnitTest::GetInstance()->random_seed());
  SCOPED_TRACE("--gtest_random_seed=" + std::to_string(seed));
  std::mt19937 random(seed);
  TxnRequest txn;
  txn.add_compare()->set_key("k");
  auto* op = txn.add_success()->mutable_request_txn()->add_success()->mutable_request_put();
  op->set_key("k");
  op->set_value("v");
  txn.add_failure()->mutable_request_delete_range()->set_key("k");
  const std::string model = txn.SerializeAsString();
  for (int round = 0; round < 300; ++round) {
    for (const auto& entry : method_table()) {
      std::string bytes = model.substr(0, random() % (model.size() + 1));
      for (int flips = static_cast<int>(random() % 4); flips > 0 && !bytes.empty(); --flips)
        bytes[random() % bytes.size()] = static_cast<char>(random());
      auto call = make(std::string(entry.path));
      services->start(call);
      if (!call->status) call->deliver(bytes);
      if (!call->status) call->half_close();
      loop.run();
      ASSERT_TRUE(entry.stream || call->status) << entry.path;
      if (!call->status) call->cancel();
    }
  }
  loop.run();
  EXPECT_EQ(probe.in_flight.get(), 0);
  EXPECT_EQ(probe.streams.get(), 0);
  put("after", "1");
  EXPECT_EQ(get("after").kvs_size(), 1);
}

TEST_F(Store, DamagedJsonDisturbsNothing) {
  const auto seed = static_cast<std::uint32_t>(::testing::UnitTest::GetInstance()->random_seed());
  SCOPED_TRACE("--gtest_random_seed=" + std::to_string(seed));
  std::mt19937 random(seed);
  const std::string model = R"({"key":"Zm9v","value":"YmFy","lease":"0","prev_kv":true,"range_end":null})";
  for (int round = 0; round < 3000; ++round) {
    std::string body = model.substr(0, random() % (model.size() + 1));
    for (int flips = static_cast<int>(random() % 4); flips > 0 && !body.empty(); --flips)
      body[random() % body.size()] = static_cast<char>(random());
    const auto answer = post(round % 2 ? "/v3/kv/put" : "/v3/kv/range", body);
    ASSERT_TRUE(answer->ended);
    ASSERT_TRUE(answer->status == 200 || answer->status == 400) << answer->status << ' ' << body;
  }
  EXPECT_EQ(probe.in_flight.get(), 0);
}

class WatchOverStore : public Store {
 protected:
  WatchOverStore() {
    call = make("/etcdserverpb.Watch/Watch");
    services->start(call);
  }
  void create(std::string key, std::string end, std::int64_t start, bool prev_kv = false) {
    etcdserverpb::WatchRequest request;
    auto* wanted = request.mutable_create_request();
    wanted->set_key(key);
    wanted->set_range_end(end);
    wanted->set_start_revision(start);
    wanted->set_prev_kv(prev_kv);
    call->deliver(request.SerializeAsString());
    loop.run();
  }
  std::vector<mvccpb::Event> events() {
    std::vector<mvccpb::Event> out;
    for (const auto& message : call->sent) {
      const auto response = parsed<WatchResponse>(message);
      out.insert(out.end(), response.events().begin(), response.events().end());
    }
    return out;
  }
  std::shared_ptr<FakeCall> call;
};

TEST_F(WatchOverStore, HistoryAndWhatFollowsComeOnceAndInOrder) {
  for (int i = 0; i < 20; ++i) put("k" + std::to_string(i % 3), std::to_string(i));
  create("k", "l", 5, true);
  for (int i = 20; i < 40; ++i) put("k" + std::to_string(i % 3), std::to_string(i));
  put("other", "x");
  const auto got = events();
  ASSERT_EQ(got.size(), 37u);  // revisions 5 to 41
  for (std::size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(got[i].kv().mod_revision(), static_cast<std::int64_t>(5 + i));
    EXPECT_EQ(got[i].kv().value(), std::to_string(3 + i));
    EXPECT_EQ(got[i].prev_kv().value(), std::to_string(i));
  }
}

TEST_F(WatchOverStore, AWatchFromNowTellsTheRevisionItStartsAfter) {
  put("k", "1");
  create("k", "", 0);
  put("k", "2");
  const auto created = parsed<WatchResponse>(call->sent.at(0));
  EXPECT_EQ(created.header().revision(), 2);
  const auto got = events();
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(got[0].kv().mod_revision(), 3);
}

TEST_F(WatchOverStore, AWatchBelowTheCompactionIsCancelledWithItsRevision) {
  for (int i = 0; i < 5; ++i) put("k", std::to_string(i));
  ASSERT_TRUE(compact(4).ok());
  create("k", "", 2);
  ASSERT_EQ(call->sent.size(), 2u);
  const auto response = parsed<WatchResponse>(call->sent[1]);
  EXPECT_TRUE(response.canceled());
  EXPECT_EQ(response.compact_revision(), 4);
}

TEST_F(WatchOverStore, AskingForProgressTellsTheStoresRevision) {
  create("k", "", 0);
  put("other", "1");
  put("other", "2");
  etcdserverpb::WatchRequest request;
  request.mutable_progress_request();
  call->deliver(request.SerializeAsString());
  loop.advance(std::chrono::milliseconds(20));
  const auto last = parsed<WatchResponse>(call->sent.back());
  EXPECT_EQ(last.watch_id(), -1);
  EXPECT_EQ(last.header().revision(), 3);
}

TEST_F(WatchOverStore, AClientThatStopsReadingGetsAllOfItLater) {
  create("k", "l", 0);
  call->stuck = true;
  for (int i = 0; i < 200; ++i) put("k" + std::to_string(i), std::string(20'000, 'x'));
  EXPECT_LT(events().size(), 40u);
  call->drain();
  loop.run();
  const auto got = events();
  ASSERT_EQ(got.size(), 200u);
  for (std::size_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i].kv().mod_revision(), static_cast<std::int64_t>(2 + i));
}

}  // namespace
}  // namespace leeward::api::test
