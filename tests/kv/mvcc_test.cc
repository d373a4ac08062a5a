// Commands and reads, each behaviour by itself.
#include <atomic>
#include <thread>

#include "support.h"

namespace leeward::kv {
namespace {

class MvccTest : public testing::TestWithParam<StoreKind> {
 protected:
  Machine m_{GetParam()};
};

pb::RequestOp put_op(const std::string& key, const std::string& value) {
  pb::RequestOp op;
  op.mutable_request_put()->set_key(key);
  op.mutable_request_put()->set_value(value);
  return op;
}
pb::RequestOp range_op(const std::string& key, const std::string& end = "", std::int64_t revision = 0) {
  pb::RequestOp op;
  op.mutable_request_range()->set_key(key);
  op.mutable_request_range()->set_range_end(end);
  op.mutable_request_range()->set_revision(revision);
  return op;
}
pb::RequestOp delete_op(const std::string& key, const std::string& end = "") {
  pb::RequestOp op;
  op.mutable_request_delete_range()->set_key(key);
  op.mutable_request_delete_range()->set_range_end(end);
  return op;
}

TEST_P(MvccTest, AnEmptyStoreStandsAtRevisionOne) {
  EXPECT_EQ(m_->applied().revision, Revision(1));
  EXPECT_EQ(m_->applied().epoch, Epoch(1));
  EXPECT_EQ(m_->state_hash(), Hash{});
  EXPECT_EQ(m_.range("a").header().revision(), 1);
}

TEST_P(MvccTest, APutCountsVersionsAndKeepsTheCreateRevision) {
  EXPECT_EQ(m_.put("a", "1").header().revision(), 2);
  m_.put("b", "x");
  const auto previous = m_.put("a", "2", 0, true).prev_kv();
  EXPECT_EQ(previous.value(), "1");
  EXPECT_EQ(previous.mod_revision(), 2);
  const auto kv = m_.range("a").kvs(0);
  EXPECT_EQ(kv.create_revision(), 2);
  EXPECT_EQ(kv.mod_revision(), 4);
  EXPECT_EQ(kv.version(), 2);
  EXPECT_EQ(m_->key_count(), 2u);
  m_.remove("a");
  EXPECT_EQ(m_.range("a").count(), 0);
  m_.put("a", "3");
  EXPECT_EQ(m_.range("a").kvs(0).create_revision(), 6);
  EXPECT_EQ(m_.range("a").kvs(0).version(), 1);
}

TEST_P(MvccTest, KeysAndValuesMayHoldAnyByte) {
  const std::string zero(1, '\0'), odd("a\0b\xff", 4);
  for (const std::string& key : {zero, zero + zero, odd, std::string("a"), std::string("a\x01"), std::string("\xff")})
    m_.put(key, key + odd);
  EXPECT_EQ(m_.range(odd).kvs(0).value(), odd + odd);
  const auto all = m_.range(zero, kFromKey);
  ASSERT_EQ(all.kvs_size(), 6);
  for (int i = 1; i < 6; ++i) EXPECT_LT(all.kvs(i - 1).key(), all.kvs(i).key());
  EXPECT_EQ(m_.range("a", "b").count(), 3);
  m_.put("empty", "");
  EXPECT_EQ(m_.range("empty").kvs(0).value(), "");
}

TEST_P(MvccTest, ARangeEndAtOrBelowTheKeyIsAnEmptyRange) {
  m_.put("b", "1");
  EXPECT_EQ(m_.range("b", "a").count(), 0);
  EXPECT_EQ(m_.range("b", "b").count(), 0);
  EXPECT_EQ(m_.range("b", "a", 2).count(), 0);
  EXPECT_EQ(m_.remove("b", "a").deleted(), 0);
  EXPECT_EQ(m_->applied().revision, Revision(2));
}

TEST_P(MvccTest, OldRevisionsReadAsTheyWere) {
  m_.put("a", "1");      // 2
  m_.put("b", "1");      // 3
  m_.put("a", "2");      // 4
  m_.remove("a");        // 5
  m_.put("a", "3");      // 6
  EXPECT_EQ(m_.range("a", "", 2).kvs(0).value(), "1");
  EXPECT_EQ(m_.range("a", "z", 3).kvs_size(), 2);
  EXPECT_EQ(m_.range("a", "z", 4).kvs(0).value(), "2");
  EXPECT_EQ(m_.range("a", "z", 5).kvs(0).key(), "b");
  EXPECT_EQ(m_.range("a", "", 5).count(), 0);
  EXPECT_EQ(m_.range("a", "", 6).kvs(0).value(), "3");
  EXPECT_EQ(m_.range("a", "", 2).header().revision(), 6);
}

TEST_P(MvccTest, ReadsOutsideTheKeptRevisionsNameEtcdsErrors) {
  m_.put("a", "1");
  m_.put("a", "2");
  m_.put("a", "3");
  EXPECT_EQ(m_.compact(3).etcd_error, "");
  pb::RangeRequest request;
  request.set_key("a");
  request.set_revision(2);
  auto old = m_.range_bytes(request);
  ASSERT_FALSE(old.ok());
  EXPECT_EQ(old.error().code, Code::kCompacted);
  EXPECT_EQ(old.error().message, "etcdserver: mvcc: required revision has been compacted");
  request.set_revision(5);
  auto future = m_.range_bytes(request);
  ASSERT_FALSE(future.ok());
  EXPECT_EQ(future.error().code, Code::kInvalid);
  EXPECT_EQ(future.error().message, "etcdserver: mvcc: required revision is a future revision");
  EXPECT_EQ(m_.range("a", "", 3).kvs(0).value(), "2");
  EXPECT_EQ(m_.compact(3).etcd_error, "etcdserver: mvcc: required revision has been compacted");
  EXPECT_EQ(m_.compact(9).etcd_error, "etcdserver: mvcc: required revision is a future revision");
}

// As etcd, whose word for "never compacted" is -1.
TEST_P(MvccTest, AnImpossibleRevisionInATransactionIsCompactedButForMinusOneBeforeTheFirst) {
  m_.put("a", "1");
  const auto read_at = [&](std::int64_t revision) {
    pb::TxnRequest txn;
    auto* read = txn.add_success()->mutable_request_range();
    read->set_key("a");
    read->set_revision(revision);
    return m_->read_only_txn(wire(txn))->etcd_error;
  };
  EXPECT_EQ(read_at(-1), "");
  EXPECT_EQ(read_at(-2), "etcdserver: mvcc: required revision has been compacted");
  EXPECT_EQ(m_.compact(2).etcd_error, "");
  EXPECT_EQ(read_at(-1), "etcdserver: mvcc: required revision has been compacted");
}

TEST_P(MvccTest, EachCommandOfAnEntryHasItsOwnRevisionAndOneFailingHarmsNoOther) {
  pb::PutRequest good, bad, ignored;
  good.set_key("a");
  bad.set_key("b");
  bad.set_lease(77);
  ignored.set_key("c");
  ignored.set_ignore_value(true);
  const auto results = m_.apply({m_.maker().writes({
      command(Op::kPut, wire(good)), command(Op::kPut, wire(bad)), command(Op::kPut, "\x0a\x7fgarbage"),
      command(Op::kPut, wire(ignored)), command(Op::kPut, ""), command(Op::kPut, wire(good))})});
  ASSERT_EQ(results.size(), 6u);
  EXPECT_EQ(results[0].revision, Revision(2));
  EXPECT_EQ(results[1].etcd_error, "etcdserver: requested lease not found");
  EXPECT_EQ(results[2].etcd_error, "etcdserver: malformed request");
  EXPECT_EQ(results[3].etcd_error, "etcdserver: key not found");
  EXPECT_EQ(results[4].etcd_error, "etcdserver: key is not provided");
  EXPECT_EQ(results[5].revision, Revision(3));
  EXPECT_EQ(m_.range("a").kvs(0).version(), 2);
}

TEST_P(MvccTest, IgnoreValueAndIgnoreLeaseKeepWhatStands) {
  m_.grant(7, 60);
  m_.put("a", "1", 7);
  pb::PutRequest request;
  request.set_key("a");
  request.set_ignore_lease(true);
  request.set_value("2");
  m_.call<pb::PutResponse>(Op::kPut, request);
  EXPECT_EQ(m_.range("a").kvs(0).lease(), 7);
  request = {};
  request.set_key("a");
  request.set_ignore_value(true);
  m_.call<pb::PutResponse>(Op::kPut, request);
  EXPECT_EQ(m_.range("a").kvs(0).lease(), 0);
  EXPECT_EQ(m_.range("a").kvs(0).value(), "2");
  EXPECT_TRUE(m_->lease_keys(7).empty());
  request.set_value("x");
  EXPECT_EQ(m_.run(Op::kPut, wire(request)).etcd_error, "etcdserver: value is provided");
  request.set_ignore_value(false);
  request.set_ignore_lease(true);
  request.set_lease(7);
  EXPECT_EQ(m_.run(Op::kPut, wire(request)).etcd_error, "etcdserver: lease is provided");
}

TEST_P(MvccTest, ADeleteOfARangeIsOneRevision) {
  for (const char* key : {"a", "b", "c", "d"}) m_.put(key, key);
  const auto response = m_.remove("b", "d", true);
  EXPECT_EQ(response.deleted(), 2);
  EXPECT_EQ(response.header().revision(), 6);
  EXPECT_EQ(response.prev_kvs(1).value(), "c");
  EXPECT_EQ(m_.remove("x").header().revision(), 6);
  EXPECT_EQ(m_.range("a", kFromKey).count(), 2);
  EXPECT_EQ(m_.remove("a", kFromKey).deleted(), 2);
  EXPECT_EQ(m_->key_count(), 0u);
}

TEST_P(MvccTest, ATransactionSeesItsOwnWritesAndTakesOneRevision) {
  m_.put("a", "1");
  pb::TxnRequest txn;
  auto* compare = txn.add_compare();
  compare->set_key("a");
  compare->set_target(pb::Compare::VALUE);
  compare->set_value("1");
  *txn.add_success() = range_op("a", "z");
  *txn.add_success() = put_op("b", "2");
  *txn.add_success() = range_op("a", "z");
  *txn.add_success() = delete_op("a");
  *txn.add_success() = range_op("a", "z");
  *txn.add_success() = range_op("a", "z", 2);
  *txn.add_failure() = put_op("never", "");
  const auto response = m_.call<pb::TxnResponse>(Op::kTxn, txn);
  EXPECT_TRUE(response.succeeded());
  EXPECT_EQ(response.header().revision(), 3);
  ASSERT_EQ(response.responses_size(), 6);
  EXPECT_EQ(response.responses(0).response_range().kvs_size(), 1);
  EXPECT_EQ(response.responses(0).response_range().header().revision(), 2);
  EXPECT_EQ(response.responses(2).response_range().kvs_size(), 2);
  EXPECT_EQ(response.responses(2).response_range().header().revision(), 3);
  EXPECT_EQ(response.responses(4).response_range().kvs(0).key(), "b");
  EXPECT_EQ(response.responses(5).response_range().kvs(0).key(), "a") << "an old revision is read as it was";
  EXPECT_EQ(m_.range("a", "z").kvs_size(), 1);
}

TEST_P(MvccTest, ATransactionThatFailsChangesNothing) {
  m_.put("a", "1");
  pb::TxnRequest txn;
  *txn.add_success() = put_op("b", "2");
  *txn.add_success() = range_op("a", "", 9);
  EXPECT_EQ(m_.run(Op::kTxn, wire(txn)).etcd_error, "etcdserver: mvcc: required revision is a future revision");
  txn = {};
  *txn.add_success() = put_op("b", "2");
  *txn.add_success() = put_op("c", "2");
  txn.mutable_success(1)->mutable_request_put()->set_lease(5);
  EXPECT_EQ(m_.run(Op::kTxn, wire(txn)).etcd_error, "etcdserver: requested lease not found");
  EXPECT_EQ(m_.range("a", "z").count(), 1);
  EXPECT_EQ(m_->applied().revision, Revision(2));
}

TEST_P(MvccTest, ATransactionMayNotPutAKeyTwiceNorPutWhatItDeletes) {
  const char* duplicate = "etcdserver: duplicate key given in txn request";
  pb::TxnRequest twice;
  *twice.add_success() = put_op("a", "1");
  *twice.add_success() = put_op("a", "2");
  EXPECT_EQ(m_.run(Op::kTxn, wire(twice)).etcd_error, duplicate);
  pb::TxnRequest deleted;
  *deleted.add_failure() = delete_op("a", "c");
  *deleted.add_failure() = put_op("b", "2");
  EXPECT_EQ(m_.run(Op::kTxn, wire(deleted)).etcd_error, duplicate);
  pb::TxnRequest nested;
  *nested.add_success() = put_op("a", "1");
  auto* inner = nested.add_success()->mutable_request_txn();
  *inner->add_failure() = put_op("a", "2");
  EXPECT_EQ(m_.run(Op::kTxn, wire(nested)).etcd_error, duplicate);
  pb::TxnRequest branches;
  inner = branches.add_success()->mutable_request_txn();
  *inner->add_success() = put_op("a", "1");
  *inner->add_failure() = put_op("a", "2");
  EXPECT_EQ(m_.run(Op::kTxn, wire(branches)).etcd_error, "") << "only one branch is taken";
  pb::TxnRequest empty;
  empty.add_success();
  EXPECT_EQ(m_.run(Op::kTxn, wire(empty)).etcd_error, "etcdserver: key not found");
}

TEST_P(MvccTest, AMissingKeyComparesAsZeroButHasNoValue) {
  const auto holds = [&](pb::Compare::CompareTarget target, pb::Compare::CompareResult result) {
    pb::TxnRequest txn;
    auto* compare = txn.add_compare();
    compare->set_key("missing");
    compare->set_target(target);
    compare->set_result(result);
    return m_.call<pb::TxnResponse>(Op::kTxn, txn).succeeded();
  };
  EXPECT_TRUE(holds(pb::Compare::VERSION, pb::Compare::EQUAL));
  EXPECT_TRUE(holds(pb::Compare::CREATE, pb::Compare::EQUAL));
  EXPECT_FALSE(holds(pb::Compare::MOD, pb::Compare::GREATER));
  EXPECT_FALSE(holds(pb::Compare::VALUE, pb::Compare::EQUAL));
  EXPECT_FALSE(holds(pb::Compare::VALUE, pb::Compare::NOT_EQUAL));
  // As etcd: of a later version's kinds the one is never less, the other always true.
  const auto target = static_cast<pb::Compare::CompareTarget>(9);
  EXPECT_TRUE(holds(target, pb::Compare::EQUAL));
  EXPECT_FALSE(holds(target, pb::Compare::LESS));
  EXPECT_TRUE(holds(pb::Compare::VERSION, static_cast<pb::Compare::CompareResult>(9)));
}

TEST_P(MvccTest, ChecksComeInEtcdsOrder) {
  pb::PutRequest put;
  put.set_key("missing");
  put.set_ignore_value(true);
  put.set_lease(4711);
  EXPECT_EQ(m_.run(Op::kPut, wire(put)).etcd_error, "etcdserver: requested lease not found");
  pb::TxnRequest txn;
  auto* range = txn.add_success()->mutable_request_range();
  range->set_key("a");
  range->set_revision(1000);
  *txn.add_success()->mutable_request_put() = put;
  EXPECT_EQ(m_.run(Op::kTxn, wire(txn)).etcd_error, "etcdserver: mvcc: required revision is a future revision");
}

TEST_P(MvccTest, ATransactionNestedTooDeepIsRefused) {
  std::string txn;
  for (int i = 0; i < 400; ++i) {
    std::string op, outer;
    append_bytes_field(op, 4, txn);
    append_bytes_field(outer, 2, op);
    txn = std::move(outer);
  }
  EXPECT_EQ(m_.run(Op::kTxn, txn).etcd_error, "etcdserver: malformed request");
  EXPECT_EQ(m_->read_only_txn(txn)->etcd_error, "etcdserver: malformed request");
}

TEST_P(MvccTest, ALeaseTakesItsKeysWithIt) {
  EXPECT_EQ(parse_as<pb::LeaseGrantResponse>(m_.grant(7, 60).response.view()).ttl(), 60);
  EXPECT_EQ(m_.grant(7, 60).etcd_error, "etcdserver: lease already exists");
  EXPECT_EQ(m_.grant(8, 9'000'000'001).etcd_error, "etcdserver: too large lease TTL");
  EXPECT_EQ(parse_as<pb::LeaseGrantResponse>(m_.grant(8, 0).response.view()).ttl(), 2);
  m_.put("b", "1", 7);
  m_.put("a", "1", 7);
  m_.put("c", "1", 8);
  m_.put("b", "2", 8);
  EXPECT_EQ(m_->lease_keys(7), std::vector<std::string>{"a"});
  EXPECT_EQ(m_->lease_keys(8), (std::vector<std::string>{"b", "c"}));
  EXPECT_EQ(m_->leases().size(), 2u);
  const auto result = m_.revoke(8);
  EXPECT_EQ(result.revision, Revision(6));
  EXPECT_EQ(m_.range("a", "z").count(), 1);
  EXPECT_EQ(m_->lease(8), std::nullopt);
  EXPECT_EQ(m_->lease(7)->ttl_seconds, 60);
  EXPECT_EQ(m_.revoke(8).etcd_error, "etcdserver: requested lease not found");
  m_.remove("a");
  EXPECT_TRUE(m_->lease_keys(7).empty());
  EXPECT_EQ(m_.revoke(7).revision, Revision(7)) << "without keys it takes no revision";
  EXPECT_EQ(m_.recomputed(), m_->state_hash());
}

TEST_P(MvccTest, ControlEntriesMoveIndexAndTermOnly) {
  m_.put("a", "1");
  const AppliedState before = m_->applied();
  m_.apply({m_.maker().control(EntryKind::kNoop), m_.maker().control(EntryKind::kAlarm)});
  const AppliedState after = m_->applied();
  EXPECT_EQ(after.point.index, before.point.index + 2);
  EXPECT_EQ(after.point.position, before.point.position);
  EXPECT_EQ(after.state_hash, before.state_hash);
}

TEST_P(MvccTest, RegionEntriesArePartOfTheState) {
  const Hash before = m_->state_hash();
  m_.apply({m_.maker().history(EntryKind::kArmed, "one")});
  const Hash one = m_->state_hash();
  EXPECT_NE(one, before);
  m_.apply({m_.maker().history(EntryKind::kArmed, "two"), m_.maker().history(EntryKind::kTopology, "map")});
  ASSERT_EQ(m_->region_entries().size(), 2u);
  EXPECT_EQ(m_->region_entries()[0].payload.view(), "two");
  EXPECT_EQ(m_->region_entries()[0].index, HistoryIndex(2));
  EXPECT_EQ(m_.recomputed(), m_->state_hash());
}

TEST_P(MvccTest, AnEntryOutOfOrderIsRefused) {
  LogMaker other;
  other.control(EntryKind::kNoop);
  const Entry second = other.control(EntryKind::kNoop);
  const auto done = m_->apply(std::vector<Entry>{second}, nullptr, nullptr);
  ASSERT_FALSE(done.ok());
  EXPECT_EQ(done.error().code, Code::kInvalid);
}

// Refuses writes on demand, as a full disk does: nothing of them is done.
class RefusingStore : public Store {
 public:
  RefusingStore(std::unique_ptr<Store> store, const bool& full) : store_(std::move(store)), full_(full) {}
  Result<void> write(const Batch& batch) override {
    if (full_) return Error{Code::kNoSpace, "full"};
    return store_->write(batch);
  }
  Result<std::optional<std::string>> get(Family family, std::string_view key) const override { return store_->get(family, key); }
  std::unique_ptr<Iterator> iterate(Family family) const override { return store_->iterate(family); }
  std::shared_ptr<const StoreSnapshot> snapshot() const override { return store_->snapshot(); }
  Result<void> flush() override { return store_->flush(); }
  Result<void> checkpoint(const std::string& directory) override { return store_->checkpoint(directory); }
  Result<std::shared_ptr<const StoreSnapshot>> open_checkpoint(const std::string& directory) const override {
    return store_->open_checkpoint(directory);
  }
  std::uint64_t bytes() const override { return store_->bytes(); }
  std::uint64_t bytes_in_use() const override { return store_->bytes_in_use(); }
  Result<void> compact() override { return store_->compact(); }

 private:
  std::unique_ptr<Store> store_;
  const bool& full_;
};

TEST_P(MvccTest, ASweepThatTheStoreRefusedIsDoneAtTheNextTry) {
  bool full = false;
  Machine refusing(GetParam());
  refusing.stop();
  refusing.adopt(std::make_unique<RefusingStore>(refusing.home().open(), full));
  for (int i = 0; i < 20; ++i) refusing.put("key", std::to_string(i));
  ASSERT_EQ(refusing.compact(refusing->applied().revision.value()).etcd_error, "");
  full = true;
  for (int i = 0; i < 3; ++i) {
    const auto refused = refusing->compact_step(4);
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code, Code::kNoSpace);
  }
  full = false;
  while (*refusing->compact_step(4)) {
  }
  ASSERT_TRUE(refusing->flush().ok());
  refusing.stop();
  const auto store = refusing.home().open();
  const auto rows = [&](Family family) {
    int count = 0;
    const auto each = store->iterate(family);
    for (each->seek(""); each->valid(); each->next()) ++count;
    return count;
  };
  EXPECT_EQ(rows(Family::kHist), 0) << "all were superseded but the one that lives, which stands with its key";
  EXPECT_EQ(rows(Family::kRev), 1);
}

TEST_P(MvccTest, AnApplyThatTheStoreRefusedHasChangedNothing) {
  bool full = false;
  Machine refusing(GetParam()), plain(GetParam());
  refusing.stop();
  refusing.adopt(std::make_unique<RefusingStore>(refusing.home().open(), full));
  LogMaker maker;
  const auto put = [&maker](const std::string& key, const std::string& value) {
    pb::PutRequest q;
    q.set_key(key);
    q.set_value(value);
    return maker.writes({command(Op::kPut, wire(q))});
  };
  std::vector<Entry> log;
  for (int i = 0; i < 5; ++i) log.push_back(put(i % 2 ? "a" : "b", std::to_string(i)));
  refusing.apply(log);
  const std::vector<Entry> held{put("a", "new"), put("c", "new"), put("a", "newer")};
  full = true;
  for (int i = 0; i < 2; ++i) {
    const auto refused = refusing->apply(held, nullptr, nullptr);
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code, Code::kNoSpace);
  }
  full = false;
  log.insert(log.end(), held.begin(), held.end());
  log.push_back(put("a", "last"));
  refusing.apply({held[0], held[1], held[2], log.back()});
  plain.apply(log);
  EXPECT_EQ(refusing.range("a").kvs(0).version(), plain.range("a").kvs(0).version());
  EXPECT_EQ(refusing->state_hash(), plain->state_hash());
  EXPECT_EQ(refusing.recomputed(), refusing->state_hash());
}

TEST_P(MvccTest, ACrashComesBackAtTheDurableIndex) {
  m_.put("a", "1");
  ASSERT_TRUE(m_->flush().ok());
  EXPECT_EQ(m_->durable(), Index(1));
  const AppliedState flushed = m_->applied();
  m_->set_group_state("members");
  const Entry second = m_.maker().writes({command(Op::kPut, wire([] {
                                                    pb::PutRequest q;
                                                    q.set_key("b");
                                                    return q;
                                                  }()))});
  m_.apply({second});
  EXPECT_EQ(m_->durable(), Index(1));
  m_.crash();
  EXPECT_EQ(m_->applied().point, flushed.point);
  EXPECT_EQ(m_->applied().state_hash, flushed.state_hash);
  EXPECT_EQ(m_->group_state(), "");
  EXPECT_EQ(m_.range("a", "z").count(), 1);
  m_->set_group_state("members");
  m_.apply({second});
  EXPECT_EQ(m_.range("a", "z").count(), 2);
  ASSERT_TRUE(m_->flush().ok());
  m_.crash();
  EXPECT_EQ(m_->group_state(), "members");
  EXPECT_EQ(m_->applied().point.index, Index(2));
}

TEST_P(MvccTest, ACheckpointNamesItsFilesAndOpensElsewhere) {
  m_->set_group_state("members");
  m_.put("a", "1");
  const Path directory = m_.home().fresh_path();
  auto manifest = m_->checkpoint(directory);
  ASSERT_TRUE(manifest.ok()) << manifest.error().message;
  EXPECT_EQ(manifest->state.state_hash, m_->state_hash());
  EXPECT_EQ(manifest->membership, "members");
  ASSERT_FALSE(manifest->files.empty());
  for (const StateFile& file : manifest->files) {
    std::ifstream in(directory + "/" + file.name, std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(in)), {});
    EXPECT_EQ(bytes.size(), file.size);
    EXPECT_EQ(sha256(bytes), file.hash) << file.name;
  }
  const Hash then = m_->state_hash();
  m_.put("a", "2");
  Machine other(GetParam());
  ASSERT_TRUE(other->install(other.home().open_at(directory)).ok());
  EXPECT_EQ(other->state_hash(), then);
  EXPECT_EQ(other->group_state(), "members");
  EXPECT_EQ(other.range("a").kvs(0).value(), "1");
  EXPECT_EQ(other->applied().point.index, Index(1));
}

// Somebody removes files of a checkpoint as soon as it stands.
class RobbedStore final : public RefusingStore {
 public:
  RobbedStore(std::unique_ptr<Store> store, const bool& full, std::string_view loses)
      : RefusingStore(std::move(store), full), loses_(loses) {}
  Result<void> checkpoint(const std::string& directory) override {
    LEEWARD_TRY(RefusingStore::checkpoint(directory));
    for (const auto& entry : fs::directory_iterator(directory))
      if (entry.path().string().find(loses_) != std::string::npos) fs::remove(entry.path());
    return {};
  }

 private:
  const std::string_view loses_;
};

TEST(Checkpoint, FilesThatGoMissingInItAreNoDamageOfTheState) {
  for (const std::string_view loses : {".sst", "CURRENT", "MANIFEST"}) {
    const bool full = false;
    Machine m(StoreKind::kRocksDb);
    m.stop();
    m.adopt(std::make_unique<RobbedStore>(m.home().open(), full, loses));
    m.put("a", "1");
    const Path directory = m.home().fresh_path();
    const auto manifest = m->checkpoint(directory);
    ASSERT_FALSE(manifest.ok()) << loses;
    EXPECT_EQ(manifest.error().code, Code::kNotFound) << loses;
    EXPECT_TRUE(manifest.error().message.find(directory + " went missing") != std::string::npos) << manifest.error().message;
  }
}

TEST_P(MvccTest, WhatIsCompactedMakesRoomThoughNothingIsWrittenAfterIt) {
  std::mt19937_64 dice(1);
  std::string value(100'000, 0);
  for (int i = 0; i < 40; ++i) {
    for (char& c : value) c = static_cast<char>(dice());
    m_.put("key", value);
  }
  const auto full = m_->db_bytes();
  EXPECT_GT(full, 3'500'000u);
  ASSERT_EQ(m_.compact(m_->applied().revision.value()).etcd_error, "");
  while (*m_->compact_step(1000)) {
  }
  ASSERT_TRUE(m_->defragment().ok());
  EXPECT_LT(m_->db_bytes(), full / 4);
}

// The answer is written by a second pass, which looks at some of what lies between
// keys that pass, and jumps over more.
TEST_P(MvccTest, AFilteredRangeGivesWhatPassesHoweverFarApart) {
  Machine m(GetParam(), {.keep_bytes = 0});
  std::mt19937_64 dice(7);
  for (int i = 0; i < 300; ++i) m.put("k" + std::to_string(1000 + i), "old");
  for (const int most : {1, 2, 8, 9, 10, 40}) {
    SCOPED_TRACE(most);
    std::vector<std::string> wanted;
    for (int i = 0; i < 300; i += 1 + static_cast<int>(dice() % static_cast<unsigned>(most))) {
      m.put("k" + std::to_string(1000 + i), "new" + std::to_string(most));
      wanted.push_back("k" + std::to_string(1000 + i));
    }
    pb::RangeRequest q;
    q.set_key("k");
    q.set_range_end("l");
    q.set_min_mod_revision(m->applied().revision.value() - static_cast<std::int64_t>(wanted.size()) + 1);
    std::vector<std::string> got;
    const auto whole = m.range(q);
    for (const auto& kv : whole.kvs()) got.push_back(kv.key());
    EXPECT_EQ(got, wanted);
    q.set_limit(7);
    const auto few = m.range(q);
    EXPECT_EQ(few.kvs_size(), 7);
    EXPECT_TRUE(few.more());
    EXPECT_EQ(few.count(), 300);
  }
}

TEST_P(MvccTest, WhatMakesTheStateLargerIsKnownBeforehand) {
  const auto txn = [](auto&& fill) {
    pb::TxnRequest inner, outer;
    fill(*inner.add_failure());
    *outer.add_success()->mutable_request_txn() = inner;
    return outer.SerializeAsString();
  };
  EXPECT_TRUE(m_->grows(Op::kPut, ""));
  EXPECT_TRUE(m_->grows(Op::kLeaseGrant, ""));
  EXPECT_TRUE(m_->grows(Op::kTxn, txn([](pb::RequestOp& op) { op.mutable_request_put()->set_key("k"); })));
  EXPECT_FALSE(m_->grows(Op::kTxn, txn([](pb::RequestOp& op) { op.mutable_request_delete_range()->set_key("k"); })));
  EXPECT_FALSE(m_->grows(Op::kTxn, "\xff"));
  for (const Op op : {Op::kDeleteRange, Op::kCompact, Op::kLeaseRevoke}) EXPECT_FALSE(m_->grows(op, ""));
}

TEST_P(MvccTest, ACheckpointMadeWhileEntriesAreAppliedKnowsWhatItHolds) {
  for (int i = 0; i < 50; ++i) m_.put("key" + std::to_string(i), "first");
  constexpr int kMost = 4000;
  std::atomic<bool> stop{false};
  std::atomic<int> writes{0};
  std::thread applier([&] {
    for (; !stop && writes < kMost; ++writes) m_.put("key" + std::to_string(writes % 50), std::string(500, 'a' + writes % 26));
  });
  for (int round = 0; round < 5; ++round) {
    const int before = writes;
    while (writes < std::min(before + 20, kMost)) std::this_thread::yield();
    const Index applied = m_->applied().point.index;
    const Path directory = m_.home().fresh_path();
    auto manifest = m_->checkpoint(directory);
    ASSERT_TRUE(manifest.ok()) << manifest.error().message;
    EXPECT_GE(manifest->state.point.index, applied);
    EXPECT_GE(m_->durable(), manifest->state.point.index);
    for (const StateFile& file : manifest->files) {
      std::ifstream in(directory + "/" + file.name, std::ios::binary);
      const std::string bytes((std::istreambuf_iterator<char>(in)), {});
      EXPECT_EQ(sha256(bytes), file.hash) << file.name;
    }
    Machine other(GetParam());
    ASSERT_TRUE(other->install(other.home().open_at(directory)).ok());
    EXPECT_EQ(other->applied().point, manifest->state.point);
    EXPECT_EQ(other->applied().revision, manifest->state.revision);
    EXPECT_EQ(other->state_hash(), manifest->state.state_hash);
    EXPECT_EQ(other.recomputed(), manifest->state.state_hash);
  }
  stop = true;
  applier.join();
}

TEST_P(MvccTest, AnAdoptOfAnotherHistoryAtTheSameIndexIsRefused) {
  m_.put("a", "1");
  const auto at = m_->applied().point;
  Entry adopt;
  adopt.kind = EntryKind::kAdopt;
  adopt.term = at.term;
  adopt.index = at.index + 100;  // a place in another group's log
  adopt.position = at.position;
  adopt.position.hash.bytes[0] ^= 1;
  const auto refused = m_->apply({&adopt, 1}, nullptr, nullptr);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::kCorrupt);
  EXPECT_EQ(m_->applied().point, at);
  adopt.position = at.position;
  ASSERT_TRUE(m_->apply({&adopt, 1}, nullptr, nullptr).ok());
  EXPECT_EQ(m_->applied().point.index, adopt.index);
}

TEST_P(MvccTest, ABatchThatFailedLeavesNothingBehind) {
  m_.put("a", "1");
  LogMaker elsewhere = m_.maker();
  pb::PutRequest request;
  request.set_key("a");
  request.set_value("never");
  const std::vector<Entry> batch{elsewhere.writes({command(Op::kPut, wire(request))}),
                                 (elsewhere.control(EntryKind::kNoop), elsewhere.control(EntryKind::kNoop))};
  EXPECT_FALSE(m_->apply(batch, nullptr, nullptr).ok()) << "the second entry does not follow the first";
  m_.put("a", "2");
  EXPECT_EQ(m_.range("a").kvs(0).version(), 2);
  EXPECT_EQ(m_.range("a").kvs(0).value(), "2");
  EXPECT_EQ(m_->state_hash(), m_.recomputed());
}

TEST(HeadCache, HoldsTheNewestRowOrNone) {
  HeadCache cache(64_KiB);
  const auto digest = [](int i) { return hash_of_lease(i, i); };
  cache.put("a", "old", digest(1));
  for (int i = 0; i < 200; ++i) cache.put("key" + std::to_string(i), std::string(100, 'x'), digest(i));
  cache.put("a", "new", digest(2));  // "old" may still be in the older generation
  ASSERT_NE(cache.find("a"), nullptr);
  EXPECT_EQ(cache.find("a")->row, "new");
  EXPECT_EQ(cache.find("a")->digest, digest(2));
  cache.erase("a");
  EXPECT_EQ(cache.find("a"), nullptr);
  cache.put("b", "small", digest(3));
  cache.put("b", std::string(32_KiB, 'x'), digest(4));
  EXPECT_EQ(cache.find("b"), nullptr) << "too large to be kept, and the small one is not head's any more";
  for (int i = 0; i < 2000; ++i) cache.put("key" + std::to_string(i), std::string(100, 'x'), digest(i));
  EXPECT_EQ(cache.find("key0"), nullptr);
  EXPECT_NE(cache.find("key1999"), nullptr);
}

TEST_P(MvccTest, ALongRangeComesInPieces) {
  std::vector<Command> commands;
  for (int i = 0; i < 3000; ++i) {
    pb::PutRequest request;
    request.set_key("key" + std::to_string(i));
    request.set_value(std::string(300, static_cast<char>('a' + i % 26)));
    commands.push_back(command(Op::kPut, wire(request)));
  }
  m_.apply({m_.maker().writes(commands)});
  pb::RangeRequest request;
  request.set_key("key");
  request.set_range_end("kez");
  auto reply = m_->range(wire(request));
  ASSERT_TRUE(reply.ok());
  EXPECT_GT((*reply)->size(), 900'000u);
  m_.remove("a", kFromKey);
  std::string all;
  std::size_t pieces = 0;
  for (;; ++pieces) {
    auto piece = (*reply)->next(64_KiB);
    ASSERT_TRUE(piece.ok());
    if (piece->empty()) break;
    EXPECT_LT(piece->size(), 65_KiB);
    all += piece->view();
  }
  EXPECT_GT(pieces, 10u);
  EXPECT_EQ(all.size(), (*reply)->size());
  const auto response = parse_as<pb::RangeResponse>(all);
  EXPECT_EQ(response.kvs_size(), 3000) << "what was deleted meanwhile is still in the snapshot";
  EXPECT_EQ(response.count(), 3000);
}

TEST_P(MvccTest, ASnapshotIsNotHeldForEver) {
  for (int i = 0; i < 600; ++i) m_.put("key" + std::to_string(i), std::string(1000, 'x'));
  pb::RangeRequest request;
  request.set_key("key");
  request.set_range_end("kez");
  for (const auto each : {31s, 20s}) {
    auto reply = m_->range(wire(request));
    ASSERT_TRUE((*reply)->next(1000).ok());
    int taken = 0;
    auto piece = Result<Bytes>(Bytes());
    for (; piece.ok() && taken < 100; ++taken) {
      m_.clock().advance(each);
      piece = (*reply)->next(1000);
    }
    ASSERT_FALSE(piece.ok());
    EXPECT_EQ(piece.error().code, Code::kDeadline);
    EXPECT_EQ(taken, each == 31s ? 1 : 30) << "one that takes some now and then has 10 minutes";
  }
}

TEST_P(MvccTest, AReadOnlyTransactionReadsAndRefusesToWrite) {
  m_.put("a", "1");
  pb::TxnRequest txn;
  *txn.add_success() = range_op("a");
  auto result = m_->read_only_txn(wire(txn));
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(parse_as<pb::TxnResponse>(result->response.view()).responses(0).response_range().kvs(0).value(), "1");
  *txn.add_failure() = put_op("a", "2");
  EXPECT_FALSE(m_->read_only_txn(wire(txn)).ok());
}

TEST_P(MvccTest, AnAnswerAfterTheStateMachineIsGoneIsAnError) {
  m_.put("a", "1");
  pb::RangeRequest request;
  request.set_key("a");
  auto reply = m_->range(wire(request));
  auto watcher = m_->watch({.key = "a"}, [] {});
  m_.stop();
  EXPECT_TRUE((*reply)->next(100).ok());
  EXPECT_EQ((*watcher)->poll(100), std::nullopt);
}

INSTANTIATE_TEST_SUITE_P(Both, MvccTest, testing::Values(StoreKind::kRocksDb, StoreKind::kMemory),
                         [](const auto& info) { return name(info.param); });

}  // namespace
}  // namespace leeward::kv
