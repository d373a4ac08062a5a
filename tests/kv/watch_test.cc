// Watches: what is delivered, when, and to whom.
#include "model.h"
#include "support.h"

namespace leeward::kv {
namespace {

struct Seen {
  std::vector<mvccpb::Event> events;
  std::vector<std::int64_t> revisions;  // of the pieces
  std::optional<std::int64_t> compacted;
  std::string cancelled;
};

// A watcher with its owner: polls when told, as the API does.
class Client {
 public:
  Client(Machine& m, WatchRequest request) : request_(request) {
    auto watcher = m->watch(request, [this] { ready_ = true; });
    EXPECT_TRUE(watcher.ok());
    watcher_ = std::move(*watcher);
    ready_ = true;  // once after creation
  }
  bool ready() const { return ready_; }
  // Until there is nothing more.
  void drain(std::size_t max = 64_KiB) {
    while (ready_) {
      ready_ = false;
      while (step(max)) {
      }
    }
  }
  bool step(std::size_t max) {
    auto piece = watcher_->poll(max);
    if (!piece) return false;
    if (piece->compacted) seen.compacted = piece->compacted->value();
    seen.cancelled = piece->cancel_reason;
    if (piece->progress) ++progress, progress_at = piece->revision;
    if (piece->count == 0) return true;
    if (piece->fragment) ++fragments;
    const auto response = parse_as<pb::WatchResponse>(piece->events.view());
    EXPECT_EQ(static_cast<std::uint32_t>(response.events_size()), piece->count);
    EXPECT_EQ(response.events(response.events_size() - 1).kv().mod_revision(), piece->revision.value());
    if (!seen.events.empty() && !after_fragment_) {
      EXPECT_GT(response.events(0).kv().mod_revision(), seen.events.back().kv().mod_revision())
          << "a revision's events came apart";
    }
    after_fragment_ = piece->fragment;
    for (const auto& event : response.events()) seen.events.push_back(event);
    seen.revisions.push_back(piece->revision.value());
    return true;
  }
  std::vector<std::string> keys() const {
    std::vector<std::string> out;
    for (const auto& event : seen.events) out.push_back((event.type() == mvccpb::Event::DELETE ? "-" : "") + event.kv().key());
    return out;
  }
  Watcher& watcher() { return *watcher_; }
  void end() { watcher_.reset(); }

  Seen seen;
  int fragments = 0, progress = 0;
  Revision progress_at;

 private:
  WatchRequest request_;
  bool ready_ = false, after_fragment_ = false;
  std::unique_ptr<Watcher> watcher_;
};

using Keys = std::vector<std::string>;

class WatchTest : public testing::TestWithParam<StoreKind> {
 protected:
  Machine m_{GetParam()};
};

TEST_P(WatchTest, ALiveWatcherIsToldOfItsKeyAndNoOther) {
  m_.put("a", "0");
  Client client(m_, {.key = "a"});
  client.drain();
  EXPECT_TRUE(client.seen.events.empty());
  m_.put("b", "1");
  EXPECT_FALSE(client.ready());
  m_.put("a", "1");
  EXPECT_TRUE(client.ready());
  m_.remove("a");
  client.drain();
  EXPECT_EQ(client.keys(), (Keys{"a", "-a"}));
  EXPECT_EQ(client.seen.events[0].kv().value(), "1");
  EXPECT_EQ(client.seen.events[1].kv().mod_revision(), 5);
  EXPECT_FALSE(client.seen.events[1].has_prev_kv());
  EXPECT_EQ(client.watcher().synced(), Revision(5));
}

TEST_P(WatchTest, RangesFromKeyAndAllKeysAreWatched) {
  Client range(m_, {.key = "b", .range_end = "d"}), from(m_, {.key = "c", .range_end = kFromKey}),
      all(m_, {.key = "", .range_end = kFromKey});
  for (auto* client : {&range, &from, &all}) client->drain();
  for (const char* key : {"a", "b", "c", "d", "e"}) m_.put(key, key);
  for (auto* client : {&range, &from, &all}) client->drain();
  EXPECT_EQ(range.keys(), (Keys{"b", "c"}));
  EXPECT_EQ(from.keys(), (Keys{"c", "d", "e"}));
  EXPECT_EQ(all.keys(), (Keys{"a", "b", "c", "d", "e"}));
}

TEST_P(WatchTest, AnOldStartIsReadFromTheStore) {
  m_.put("a", "1");
  m_.put("b", "1");
  m_.put("a", "2");
  m_.remove("a");
  m_.put("a", "3");
  Client client(m_, {.key = "a", .start = Revision(3), .prev_kv = true});
  client.drain();
  EXPECT_EQ(client.keys(), (Keys{"a", "-a", "a"}));
  EXPECT_EQ(client.seen.events[0].prev_kv().value(), "1");
  EXPECT_EQ(client.seen.events[1].prev_kv().value(), "2");
  EXPECT_FALSE(client.seen.events[2].has_prev_kv());
  m_.put("a", "4");
  client.drain();
  EXPECT_EQ(client.seen.events.back().prev_kv().value(), "3");
  EXPECT_EQ(client.seen.events.size(), 4u);
}

TEST_P(WatchTest, AFutureStartWaitsForIt) {
  m_.put("a", "1");
  Client client(m_, {.key = "a", .start = Revision(4)});
  client.drain();
  m_.put("a", "2");
  client.drain();
  EXPECT_TRUE(client.seen.events.empty());
  m_.put("a", "3");
  client.drain();
  ASSERT_EQ(client.seen.events.size(), 1u);
  EXPECT_EQ(client.seen.events[0].kv().value(), "3");
}

TEST_P(WatchTest, ACompactedStartEndsTheWatchAndSaysWhere) {
  for (int i = 0; i < 5; ++i) m_.put("a", std::to_string(i));
  m_.compact(4);
  while (*m_->compact_step(1)) {
  }
  Client gone(m_, {.key = "a", .start = Revision(3)});
  gone.drain();
  EXPECT_EQ(gone.seen.compacted, 4);
  EXPECT_EQ(gone.seen.cancelled, "etcdserver: mvcc: required revision has been compacted");
  EXPECT_TRUE(gone.seen.events.empty());
  Client kept(m_, {.key = "a", .start = Revision(4), .prev_kv = true});
  kept.drain();
  ASSERT_EQ(kept.keys(), (Keys{"a", "a", "a"}));
  EXPECT_FALSE(kept.seen.events[0].has_prev_kv()) << "what came before is compacted";
  EXPECT_TRUE(kept.seen.events[1].has_prev_kv());
}

TEST_P(WatchTest, ADeletionAtTheCompactedRevisionIsStillTold) {
  m_.put("a", "1");
  m_.remove("a");
  m_.compact(3);
  while (*m_->compact_step(1)) {
  }
  Client client(m_, {.key = "a", .start = Revision(3)});
  client.drain();
  EXPECT_EQ(client.keys(), Keys{"-a"});
}

TEST_P(WatchTest, FiltersLeaveOutPutsOrDeletions) {
  Client puts(m_, {.key = "a", .no_delete = true}), deletions(m_, {.key = "a", .no_put = true});
  puts.drain();
  deletions.drain();
  m_.put("a", "1");
  m_.remove("a");
  puts.drain();
  deletions.drain();
  EXPECT_EQ(puts.keys(), Keys{"a"});
  EXPECT_EQ(deletions.keys(), Keys{"-a"});
  Client late(m_, {.key = "a", .start = Revision(2), .no_put = true});
  late.drain();
  EXPECT_EQ(late.keys(), Keys{"-a"});
}

TEST_P(WatchTest, TheEventsOfARevisionComeTogetherUnlessFragmentsAreAskedFor) {
  for (int i = 0; i < 20; ++i) m_.put("k" + std::to_string(i), std::string(100, 'x'));
  Client whole(m_, {.key = "k", .range_end = "l", .prev_kv = true});
  Client split(m_, {.key = "k", .range_end = "l", .prev_kv = true, .fragment = true, .fragment_bytes = 500});
  whole.drain();
  split.drain();
  m_.remove("k", "l");
  whole.drain(100);
  split.drain(100);
  EXPECT_EQ(whole.seen.revisions.size(), 1u);
  EXPECT_EQ(whole.seen.events.size(), 20u);
  EXPECT_EQ(split.seen.events.size(), 20u);
  EXPECT_GE(split.fragments, 4);
  for (const auto& event : split.seen.events) EXPECT_EQ(event.prev_kv().value().size(), 100u);
}

TEST_P(WatchTest, TheSameBytesServeAllWatchersOfAForm) {
  auto one = m_->watch({.key = "a"}, [] {}), two = m_->watch({.key = "", .range_end = kFromKey}, [] {});
  m_.put("a", "1");
  auto first = (*one)->poll(1000), second = (*two)->poll(1000);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(first->events.data(), second->events.data());
}

TEST_P(WatchTest, ProgressIsToldAtIntervals) {
  Client client(m_, {.key = "a", .progress_notify = true});
  client.drain();
  m_.put("b", "1");
  m_.clock().advance(11min);
  EXPECT_TRUE(client.step(100));
  EXPECT_EQ(client.progress, 1);
  EXPECT_FALSE(client.step(100));
  EXPECT_EQ(client.watcher().synced(), Revision(2));
}

TEST_P(WatchTest, ProgressOfAFutureStartNamesNoRevisionThatDoesNotExist) {
  m_.put("a", "1");
  Client client(m_, {.key = "a", .start = Revision(1000), .progress_notify = true});
  client.drain();
  m_.clock().advance(11min);
  EXPECT_TRUE(client.step(100));
  EXPECT_EQ(client.progress, 1);
  EXPECT_EQ(client.progress_at, Revision(2));
}

TEST_P(WatchTest, WatchersOutliveAnInstalledCheckpoint) {
  m_.put("a", "1");
  Client client(m_, {.key = "a"});
  client.drain();
  m_.put("a", "2");
  const Path directory = m_.home().fresh_path();
  Machine other(GetParam());
  for (const char* value : {"1", "2", "3", "4"}) other.put("a", value);
  ASSERT_TRUE(other->checkpoint(directory).ok());
  ASSERT_TRUE(m_->install(m_.home().open_at(directory)).ok());
  client.drain();
  ASSERT_EQ(client.seen.events.size(), 3u);
  EXPECT_EQ(client.seen.events.back().kv().value(), "4");
}

TEST_P(WatchTest, AnEndedWatchIsForgotten) {
  Client client(m_, {.key = "a"});
  EXPECT_EQ(m_->watcher_count(), 1u);
  client.end();
  EXPECT_EQ(m_->watcher_count(), 0u);
  m_.put("a", "1");
}

TEST_P(WatchTest, TheBacklogCountsWhatWatchersHaveNotTaken) {
  Client live(m_, {.key = "a"}), other(m_, {.key = "b"});
  live.drain();
  other.drain();
  EXPECT_EQ(m_->watch_backlog(), 0u);
  for (int i = 0; i < 3; ++i) m_.put("a", "v");
  EXPECT_EQ(m_->watch_backlog(), 3u);
  live.drain();
  EXPECT_EQ(m_->watch_backlog(), 0u);
  m_.put("a", "v");
  live.end();
  EXPECT_EQ(m_->watch_backlog(), 0u) << "its owner is gone";
  Client late(m_, {.key = "a", .start = Revision(2)});
  EXPECT_EQ(m_->watch_backlog(), 4u) << "revisions it has not read";
  late.drain();
  EXPECT_EQ(m_->watch_backlog(), 0u);
}

TEST_P(WatchTest, LiveEventsSayWhenTheyWereAppliedAndReadOnesDoNot) {
  auto watcher = m_->watch({.key = "a"}, [] {});
  ASSERT_TRUE(watcher.ok());
  EXPECT_FALSE((*watcher)->poll(1000));
  const auto before = m_.clock().now();
  m_.put("a", "1");
  m_.clock().advance(3s);
  const auto live = (*watcher)->poll(1000);
  ASSERT_TRUE(live);
  EXPECT_EQ(live->applied, before);
  auto late = m_->watch({.key = "a", .start = Revision(2)}, [] {});
  ASSERT_TRUE(late.ok());
  while (auto piece = (*late)->poll(1000)) EXPECT_EQ(piece->applied, std::nullopt);
}

// A revision stays in memory as a whole while one of its events is to be taken.
TEST_P(WatchTest, ASlowWatcherOfASmallKeyDoesNotHoldLargeTransactions) {
  auto slow = m_->watch({.key = "small"}, [] {}), fast = m_->watch({.key = "small"}, [] {});
  ASSERT_TRUE(slow.ok() && fast.ok());
  EXPECT_FALSE((*slow)->poll(1));
  std::vector<std::int64_t> written, read;
  int held = 0;
  for (int i = 0; i < 8; ++i) {
    pb::TxnRequest txn;
    for (const std::size_t size : {10, 700'000}) {
      auto* put = txn.add_success()->mutable_request_put();
      put->set_key(size == 10 ? "small" : "large");
      put->set_value(std::string(size, 'v'));
    }
    written.push_back(m_.call<pb::TxnResponse>(Op::kTxn, txn).header().revision());
    const auto piece = (*fast)->poll(1);
    ASSERT_TRUE(piece);
    EXPECT_TRUE(piece->applied) << "who takes each at once is fed";
  }
  while (const auto piece = (*slow)->poll(1)) {
    read.push_back(piece->revision.value());
    held += piece->applied.has_value();
  }
  EXPECT_EQ(read, written);
  EXPECT_EQ(held, 1) << "more than its limit of 1 MiB";
}

TEST_P(WatchTest, ASmallPartOfARevisionLeavesWithoutTheRest) {
  auto one = m_->watch({.key = "small"}, [] {}), two = m_->watch({.key = "small"}, [] {});
  pb::TxnRequest txn;
  for (const char* key : {"small", "large"}) {
    auto* put = txn.add_success()->mutable_request_put();
    put->set_key(key);
    put->set_value(std::string(*key == 's' ? 10 : 100'000, 'v'));
  }
  m_.call<pb::TxnResponse>(Op::kTxn, txn);
  const auto first = (*one)->poll(1000), second = (*two)->poll(1000);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(first->events, second->events);
  EXPECT_NE(first->events.data(), second->events.data()) << "both keep the revision in memory";
}

// Watchers of all kinds, polled at random, with bounds so small that they fall
// behind all the time: each sees each event in its range once and in order.
TEST_P(WatchTest, EachSeesEachRevisionOnceInOrderWhateverItsPace) {
  const std::uint64_t seed = test_seed();
  SCOPED_TRACE("LEEWARD_SEED=" + std::to_string(seed));
  Dice dice(seed);
  StateMachineOptions options;
  options.watch = {.ring_bytes = 2000, .watcher_bytes = 700, .step_rows = 7, .step_bytes = 500};
  Machine m(GetParam(), options);
  Model model;
  struct Watched {
    WatchRequest request;
    std::int64_t first;
    std::unique_ptr<Client> client;
  };
  std::vector<Watched> watched;
  const auto key = [&] { return std::string(1, static_cast<char>('a' + dice.below(8))); };
  const auto check = [&](Watched& w) {
    w.client->drain(1 + dice.below(2000));
    std::vector<std::string> expected, got;
    for (const auto& change : model.changes()) {
      if (change.main < w.first || !Model::covers(w.request.key, w.request.range_end, change.kv.key())) continue;
      if (change.deletion ? w.request.no_delete : w.request.no_put) continue;
      mvccpb::Event event;
      event.set_type(change.deletion ? mvccpb::Event::DELETE : mvccpb::Event::PUT);
      *event.mutable_kv() = change.kv;
      expected.push_back(event.ShortDebugString());
    }
    for (mvccpb::Event event : w.client->seen.events) {
      if (event.has_prev_kv()) {
        ASSERT_TRUE(w.request.prev_kv);
        ASSERT_EQ(event.prev_kv().key(), event.kv().key());
        ASSERT_LT(event.prev_kv().mod_revision(), event.kv().mod_revision());
      } else if (w.request.prev_kv && event.kv().version() != 1) {
        ASSERT_LT(event.kv().mod_revision() - 1, model.compacted()) << "a known previous version was left out";
      }
      event.clear_prev_kv();
      got.push_back(event.ShortDebugString());
    }
    if (w.client->seen.compacted) {
      // Ended: a beginning of what it should have seen.
      ASSERT_LE(got.size(), expected.size());
      expected.resize(got.size());
    }
    ASSERT_EQ(got, expected) << w.request.key << ".." << w.request.range_end << " from " << w.first;
  };
  for (int step = 0; step < 700; ++step) {
    switch (dice.below(8)) {
      case 0: {
        WatchRequest q;
        q.key = key();
        if (dice.one_in(2)) q.range_end = dice.one_in(3) ? kFromKey : key();
        if (dice.one_in(2)) {
          const auto span = static_cast<std::uint64_t>(model.revision() - model.compacted() + 4);
          const auto off = static_cast<std::int64_t>(dice.below(std::min<std::uint64_t>(span, 300)));
          q.start = Revision(dice.one_in(2) ? model.compacted() + off : model.revision() + 4 - off);
          if (q.start.value() < 0) q.start = Revision();
        }
        q.prev_kv = dice.one_in(2);
        q.no_put = dice.one_in(6);
        q.no_delete = dice.one_in(6);
        q.fragment = dice.one_in(4);
        q.fragment_bytes = 60;
        const std::int64_t first = q.start.value() ? q.start.value() : model.revision() + 1;
        watched.push_back({q, first, std::make_unique<Client>(m, q)});
        break;
      }
      case 1: {
        if (watched.empty()) break;
        const std::size_t i = dice.below(watched.size());
        check(watched[i]);
        if (HasFatalFailure()) return;
        if (dice.one_in(3)) watched.erase(watched.begin() + static_cast<std::ptrdiff_t>(i));
        break;
      }
      case 2: {
        // A lazy reader takes only a little.
        if (!watched.empty()) watched[dice.below(watched.size())].client->step(1 + dice.below(100));
        break;
      }
      case 3: {
        if (dice.one_in(12)) {
          const bool planned = dice.one_in(3);
          m.apply({m.maker().epoch_change(planned ? region::Ending::kSealed : region::Ending::kGuarded)});
          model.begin_epoch(planned ? model.revision() + 1 : static_cast<std::int64_t>(m.maker().epoch().value()) << 44);
        }
        if (!dice.one_in(10)) break;
        const std::int64_t at = model.compacted() + 1 + static_cast<std::int64_t>(dice.below(10));
        if (at <= model.revision()) {
          model.compact(at);
          m.compact(at);
        }
        while (*m->compact_step(3)) {
        }
        break;
      }
      default: {
        std::vector<Command> commands;
        for (auto n = 1 + dice.below(5); n > 0; --n) {
          if (dice.one_in(4)) {
            pb::DeleteRangeRequest q;
            pb::DeleteRangeResponse r;
            q.set_key(key());
            if (dice.one_in(2)) q.set_range_end(key());
            model.remove(q, r);
            commands.push_back(command(Op::kDeleteRange, wire(q)));
          } else {
            pb::PutRequest q;
            pb::PutResponse r;
            q.set_key(key());
            q.set_value(std::string(dice.below(60), 'v'));
            model.put(q, r);
            commands.push_back(command(Op::kPut, wire(q)));
          }
        }
        m.apply({m.maker().writes(commands)});
      }
    }
  }
  for (Watched& w : watched) {
    check(w);
    if (HasFatalFailure()) return;
    // Who starts right after a fork goes on; a start further in the gap is told.
    if (model.in_gap(w.first) && model.in_gap(w.first - 1)) ASSERT_TRUE(w.client->seen.compacted) << w.first;
    if (!w.client->seen.compacted && w.first <= model.revision()) {
      EXPECT_EQ(w.client->watcher().synced(), Revision(model.revision()));
    }
  }
  EXPECT_EQ(m->watch_backlog(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Both, WatchTest, testing::Values(StoreKind::kRocksDb, StoreKind::kMemory),
                         [](const auto& info) { return name(info.param); });

TEST(IntervalTree, AnswersAsAListWould) {
  const std::uint64_t seed = test_seed();
  SCOPED_TRACE("LEEWARD_SEED=" + std::to_string(seed));
  Dice dice(seed);
  using Tree = IntervalTree<int>;
  Tree tree;
  std::vector<std::pair<Tree::Bounds, int>> list;
  const auto key = [&] { return std::string(dice.below(3), static_cast<char>('a' + dice.below(6))); };
  for (int step = 0; step < 4000; ++step) {
    if (list.empty() || !dice.one_in(3)) {
      const Tree::Bounds bounds{key(), key(), dice.one_in(5)};
      tree.insert(bounds, step);
      list.emplace_back(bounds, step);
    } else {
      const std::size_t i = dice.below(list.size());
      tree.remove(list[i].first, list[i].second);
      list.erase(list.begin() + static_cast<std::ptrdiff_t>(i));
    }
    const std::string at = key();
    std::vector<int> got, expected;
    tree.visit(at, [&](int owner) { got.push_back(owner); });
    for (const auto& [bounds, owner] : list)
      if (bounds.low <= at && (bounds.unbounded || at < bounds.high)) expected.push_back(owner);
    std::sort(got.begin(), got.end());
    ASSERT_EQ(got, expected);
  }
}

}  // namespace
}  // namespace leeward::kv
