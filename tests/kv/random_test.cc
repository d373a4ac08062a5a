// Random commands against the model, with every read compared; and the state
// hash under every way to arrive at the same position.
#include "model.h"
#include "support.h"

namespace leeward::kv {
namespace {

class Traffic {
 public:
  explicit Traffic(Dice& dice) : dice_(dice) {}

  std::string key() {
    static const std::vector<std::string> kKeys = {
        "a", std::string("a\0", 2), "aa", "ab", "b", "b\xff", "c", "ca", "d", "e", "f", std::string(1, '\0'), "\xff\xff"};
    return kKeys[dice_.below(kKeys.size())];
  }
  std::string end() {
    if (dice_.one_in(3)) return "";
    return dice_.one_in(5) ? kFromKey : key();
  }
  std::string value() { return std::string(dice_.below(40), static_cast<char>('a' + dice_.below(4))); }
  std::int64_t lease() { return dice_.one_in(4) ? static_cast<std::int64_t>(1 + dice_.below(5)) : 0; }
  // Of what there is between, all or, where an epoch has left a gap, its ends.
  std::int64_t near(std::int64_t revision, std::int64_t compacted) {
    const auto span = static_cast<std::uint64_t>(revision - compacted + 5);
    const auto off = static_cast<std::int64_t>(dice_.below(std::min<std::uint64_t>(span, 200)));
    return span > 200 && dice_.one_in(2) ? revision + 2 - off : compacted - 2 + off;
  }

  pb::PutRequest put() {
    pb::PutRequest q;
    q.set_key(key());
    q.set_prev_kv(dice_.one_in(2));
    q.set_ignore_value(dice_.one_in(10));
    q.set_ignore_lease(dice_.one_in(10));
    if (!q.ignore_value()) q.set_value(value());
    if (!q.ignore_lease()) q.set_lease(lease());
    return q;
  }
  pb::DeleteRangeRequest remove() {
    pb::DeleteRangeRequest q;
    q.set_key(key());
    if (dice_.one_in(3)) q.set_range_end(end());
    q.set_prev_kv(dice_.one_in(2));
    return q;
  }
  pb::RangeRequest range(const Model& model) {
    pb::RangeRequest q;
    q.set_key(key());
    q.set_range_end(end());
    if (dice_.one_in(3)) q.set_limit(static_cast<std::int64_t>(dice_.below(6)));
    if (dice_.one_in(2)) q.set_revision(std::max<std::int64_t>(0, near(model.revision(), model.compacted())));
    if (dice_.one_in(2)) q.set_sort_order(static_cast<pb::RangeRequest::SortOrder>(dice_.below(3)));
    if (dice_.one_in(2)) q.set_sort_target(static_cast<pb::RangeRequest::SortTarget>(dice_.below(5)));
    q.set_keys_only(dice_.one_in(5));
    q.set_count_only(dice_.one_in(8));
    const auto some = [&] { return static_cast<std::int64_t>(dice_.below(static_cast<std::uint64_t>(model.revision()))); };
    if (dice_.one_in(6)) q.set_min_mod_revision(some());
    if (dice_.one_in(6)) q.set_max_mod_revision(some());
    if (dice_.one_in(6)) q.set_min_create_revision(some());
    if (dice_.one_in(6)) q.set_max_create_revision(some());
    return q;
  }
  pb::Compare compare() {
    pb::Compare c;
    c.set_key(key());
    if (dice_.one_in(3)) c.set_range_end(end());
    c.set_result(static_cast<pb::Compare::CompareResult>(dice_.below(4)));
    c.set_target(static_cast<pb::Compare::CompareTarget>(dice_.below(5)));
    switch (dice_.below(6)) {
      case 0: c.set_version(static_cast<std::int64_t>(dice_.below(4))); break;
      case 1: c.set_create_revision(static_cast<std::int64_t>(dice_.below(200))); break;
      case 2: c.set_mod_revision(static_cast<std::int64_t>(dice_.below(200))); break;
      case 3: c.set_value(value()); break;
      case 4: c.set_lease(lease()); break;
      default: break;
    }
    return c;
  }
  pb::TxnRequest txn(const Model& model, int depth = 0) {
    pb::TxnRequest q;
    for (auto n = dice_.below(3); n > 0; --n) *q.add_compare() = compare();
    for (auto* ops : {q.mutable_success(), q.mutable_failure()})
      for (auto n = dice_.below(4); n > 0; --n) {
        auto* op = ops->Add();
        switch (dice_.below(depth < 2 ? 5 : 4)) {
          case 0: *op->mutable_request_range() = range(model); break;
          case 1:
          case 2: *op->mutable_request_put() = put(); break;
          case 3: *op->mutable_request_delete_range() = remove(); break;
          default: *op->mutable_request_txn() = txn(model, depth + 1); break;
        }
      }
    return q;
  }

 private:
  Dice& dice_;
};

// An epoch begins, in the log and in the model.
Entry random_epoch(Dice& dice, LogMaker& maker, Model& model) {
  const bool planned = dice.one_in(3);
  const Epoch epoch = maker.epoch() + (planned ? 1 : 1 + dice.below(3));
  model.begin_epoch(planned ? model.revision() + 1 : static_cast<std::int64_t>(epoch.value()) << 44);
  return maker.epoch_change(planned ? region::Ending::kSealed : region::Ending::kGuarded, epoch);
}

// Runs one random command on the model; what the state machine must answer.
struct Expected {
  Command command;
  std::string error, response;  // wire bytes
};

Expected random_command(Dice& dice, Traffic& traffic, Model& model) {
  Expected out;
  const auto finish = [&](Op op, const auto& request, std::string error, const auto& response) {
    out.command = command(op, wire(request));
    out.error = std::move(error);
    if (out.error.empty()) out.response = wire(response);
  };
  switch (dice.below(14)) {
    case 0: {
      const auto q = traffic.remove();
      pb::DeleteRangeResponse r;
      const std::string error = model.remove(q, r);
      finish(Op::kDeleteRange, q, error, r);
      break;
    }
    case 1:
    case 2:
    case 3: {
      const auto q = traffic.txn(model);
      TxnRequest parsed;
      const std::string bytes = wire(q);
      EXPECT_TRUE(parse(bytes, parsed));
      pb::TxnResponse r;
      std::string error = check(parsed);
      if (error.empty()) error = model.txn(q, r);
      finish(Op::kTxn, q, error, r);
      break;
    }
    case 4: {
      pb::LeaseGrantRequest q;
      q.set_id(static_cast<std::int64_t>(1 + dice.below(5)));
      q.set_ttl(static_cast<std::int64_t>(dice.below(100)));
      pb::LeaseGrantResponse r;
      const std::string error = model.grant(q.id(), q.ttl());
      r.mutable_header()->set_revision(model.revision());
      r.set_id(q.id());
      r.set_ttl(std::max<std::int64_t>(q.ttl(), 2));
      finish(Op::kLeaseGrant, q, error, r);
      break;
    }
    case 5: {
      pb::LeaseRevokeRequest q;
      q.set_id(static_cast<std::int64_t>(1 + dice.below(5)));
      pb::LeaseRevokeResponse r;
      const std::string error = dice.one_in(2) ? model.revoke(q.id()) : (q.set_id(99), model.revoke(99));
      r.mutable_header()->set_revision(model.revision());
      finish(Op::kLeaseRevoke, q, error, r);
      break;
    }
    case 6: {
      if (!dice.one_in(4)) return random_command(dice, traffic, model);
      pb::CompactionRequest q;
      q.set_revision(std::max<std::int64_t>(1, traffic.near(model.revision(), model.compacted())));
      pb::CompactionResponse r;
      const std::string error = model.compact(q.revision());
      r.mutable_header()->set_revision(model.revision());
      finish(Op::kCompact, q, error, r);
      break;
    }
    default: {
      const auto q = traffic.put();
      PutRequest parsed;
      const std::string bytes = wire(q);
      EXPECT_TRUE(parse(bytes, parsed));
      pb::PutResponse r;
      std::string error = check(parsed);
      if (error.empty()) error = model.put(q, r);
      finish(Op::kPut, q, error, r);
    }
  }
  return out;
}

void expect_reads_agree(Machine& m, const Model& model, Dice& dice, Traffic& traffic) {
  for (int i = 0; i < 10; ++i) {
    const auto q = traffic.range(model);
    const auto expected = model.range(q);
    auto got = m.range_bytes(q, 1 + dice.below(200));
    ASSERT_EQ(got.ok(), expected.has_value()) << q.ShortDebugString();
    if (got.ok()) {
      ASSERT_EQ(parse_as<pb::RangeResponse>(*got).ShortDebugString(), expected->ShortDebugString()) << q.ShortDebugString();
    }
  }
  ASSERT_EQ(m->key_count(), model.at(model.revision()).size());
  ASSERT_EQ(m->leases().size(), model.leases().size());
}

class RandomTest : public testing::TestWithParam<StoreKind> {};

TEST_P(RandomTest, EveryAnswerIsTheModels) {
  const std::uint64_t seed = test_seed();
  SCOPED_TRACE("LEEWARD_SEED=" + std::to_string(seed));
  Dice dice(seed);
  Traffic traffic(dice);
  for (int round = 0; round < 4; ++round) {
    Model model;
    // Answers larger than this are read twice, as long ones are.
    Machine m(GetParam(), {.keep_bytes = dice.below(3) * 100});
    for (int batch = 0; batch < 60; ++batch) {
      std::vector<Entry> entries;
      std::vector<Expected> expected;
      for (auto e = 1 + dice.below(3); e > 0; --e) {
        if (dice.one_in(25)) entries.push_back(random_epoch(dice, m.maker(), model));
        std::vector<Command> commands;
        for (auto c = 1 + dice.below(5); c > 0; --c) {
          expected.push_back(random_command(dice, traffic, model));
          commands.push_back(expected.back().command);
        }
        entries.push_back(m.maker().writes(commands));
      }
      const auto results = m.apply(entries);
      ASSERT_EQ(results.size(), expected.size());
      for (std::size_t i = 0; i < results.size(); ++i) {
        ASSERT_EQ(results[i].etcd_error, expected[i].error);
        ASSERT_EQ(results[i].response.view(), expected[i].response) << static_cast<int>(expected[i].command.op);
      }
      expect_reads_agree(m, model, dice, traffic);
      if (testing::Test::HasFatalFailure()) return;
      ASSERT_EQ(m.recomputed(), m->state_hash());
      while (dice.one_in(2) && *m->compact_step(1 + dice.below(5))) {
      }
      ASSERT_EQ(m.recomputed(), m->state_hash());
    }
  }
}

// The same entries, told to another machine by any way there is: other batches,
// another store, restarts, crashes, checkpoints, more or less sweeping.
class Follower {
 public:
  Follower(StoreKind kind, std::uint64_t seed) : dice_(seed), machine_(kind) {}

  void follow(const std::vector<Entry>& log) {
    const auto applied = [&] { return machine_->applied().point.index.value(); };
    while (applied() < log.size()) {
      const std::size_t from = applied(), count = std::min<std::size_t>(1 + dice_.below(9), log.size() - from);
      const auto done = machine_->apply(std::span(log).subspan(from, count), nullptr, nullptr);
      ASSERT_TRUE(done.ok()) << done.error().message;
      if (dice_.one_in(8)) machine_->set_group_state("group" + std::to_string(dice_.below(9)));
      if (dice_.one_in(3)) {
        ASSERT_TRUE(machine_->compact_step(1 + dice_.below(20)).ok());
      }
      if (dice_.one_in(6)) {
        ASSERT_TRUE(machine_->flush().ok());
      }
      if (dice_.one_in(12)) machine_.crash();
      if (dice_.one_in(15)) {
        const Path directory = machine_.home().fresh_path();
        ASSERT_TRUE(machine_->checkpoint(directory).ok());
        ASSERT_TRUE(machine_->install(machine_.home().open_at(directory)).ok());
        machine_.home().use(directory);
      }
    }
  }
  Machine& machine() { return machine_; }

 private:
  Dice dice_;
  Machine machine_;
};

TEST(StateHash, IsEqualAtEqualPositionHoweverItCameAbout) {
  const std::uint64_t seed = test_seed();
  SCOPED_TRACE("LEEWARD_SEED=" + std::to_string(seed));
  Dice dice(seed);
  Traffic traffic(dice);
  Model model;
  LogMaker maker;
  std::vector<Entry> log;
  std::map<HistoryIndex, Hash> hashes;
  Machine plain(StoreKind::kMemory);
  Follower rocks(StoreKind::kRocksDb, seed + 1), memory(StoreKind::kMemory, seed + 2);
  for (int step = 0; step < 12; ++step) {
    for (int e = 0; e < 30; ++e) {
      if (dice.one_in(10)) {
        log.push_back(maker.control(EntryKind::kNoop));
      } else if (dice.one_in(15)) {
        log.push_back(maker.history(dice.one_in(2) ? EntryKind::kArmed : EntryKind::kTopology, traffic.value()));
      } else if (dice.one_in(40)) {
        log.push_back(random_epoch(dice, maker, model));
      } else {
        std::vector<Command> commands;
        for (auto c = 1 + dice.below(6); c > 0; --c) commands.push_back(random_command(dice, traffic, model).command);
        log.push_back(maker.writes(commands));
      }
      plain.apply({log.back()});
      hashes[plain->applied().point.position.index] = plain->state_hash();
    }
    for (Follower* follower : {&rocks, &memory}) {
      follower->follow(log);
      if (HasFatalFailure()) return;
      Machine& m = follower->machine();
      ASSERT_EQ(m->applied().point, plain->applied().point);
      ASSERT_EQ(m->state_hash(), plain->state_hash());
      ASSERT_EQ(m.recomputed(), plain->state_hash());
      ASSERT_EQ(m->key_count(), plain->key_count());
      const Revision now = m->applied().revision;
      for (const Revision at : {Revision(0), now, std::max(m->applied().compacted, now - 20)}) {
        if (at > now || model.in_gap(at.value())) continue;
        ASSERT_EQ(m->hash_kv(at)->hash, plain->hash_kv(at)->hash) << at.value();
      }
      std::size_t known = 0;
      for (const auto& [index, hash] : hashes) {
        const auto remembered = m->state_hash_at(index);
        if (!remembered) continue;
        ++known;
        ASSERT_EQ(*remembered, hash) << index.value();
      }
      ASSERT_GT(known, 0u);
    }
  }
  // A difference must be seen: one more command at one of them.
  const Hash before = plain->state_hash();
  pb::PutRequest put;
  put.set_key("only here");
  plain.apply({maker.writes({command(Op::kPut, wire(put))})});
  EXPECT_NE(plain->state_hash(), before);
}

TEST(StateHash, SweepingFreesAllThatIsDead) {
  Machine m(StoreKind::kMemory);
  for (int i = 0; i < 50; ++i) m.put("a", std::to_string(i));
  m.put("b", "1");
  m.remove("b");
  m.compact(m->applied().revision.value());
  const std::uint64_t before = m->db_bytes();
  std::size_t steps = 0;
  while (*m->compact_step(10)) ++steps;
  EXPECT_GE(steps, 4u);
  EXPECT_LT(m->db_bytes(), before / 4);
  m.put("a", "last");
  m.compact(m->applied().revision.value());
  while (*m->compact_step(10)) {
  }
  EXPECT_EQ(m.recomputed(), m->state_hash());
  EXPECT_EQ(m.range("a").kvs(0).value(), "last");
}

INSTANTIATE_TEST_SUITE_P(Both, RandomTest, testing::Values(StoreKind::kRocksDb, StoreKind::kMemory),
                         [](const auto& info) { return name(info.param); });

}  // namespace
}  // namespace leeward::kv
