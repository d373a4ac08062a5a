#include <gtest/gtest.h>

#include "world.h"

namespace leeward::standby::testing {
namespace {

void write_some(TwoRegions& w, int count, std::size_t bytes = 100) {
  for (int i = 0; i < count; ++i) {
    std::string payload = std::to_string(w.random());
    payload.resize(bytes, 'v');
    ASSERT_TRUE(w.east.write(payload));
  }
}

TEST(Stream, AStandbyGroupFollows) {
  TwoRegions w;
  w.start();
  w.run_for(100ms);
  write_some(w, 100);
  ASSERT_TRUE(w.run_until([&] { return w.caught_up() && w.west.leader()->committed().position.index >= HistoryIndex(100); }, 5s));
  w.run_for(100ms);
  for (auto& [id, m] : w.west.members) EXPECT_EQ(m->state_.state_hash(), w.east.leader()->state_.state_hash());
}

TEST(Stream, ControlEntriesOfTheGroupsAreTheirOwn) {
  TwoRegions w;
  w.start();
  for (int i = 0; i < 5; ++i) {
    w.run_for(200ms);
    write_some(w, 3);
    w.run_for(50ms);
    w.east.elect(NodeId(1 + i % 3));  // a no-op in the primary's log only
  }
  ASSERT_TRUE(w.run_until([&] { return w.caught_up(); }, 10s));
  EXPECT_NE(w.east.leader()->last().index, w.west.leader()->last().index);
  EXPECT_EQ(w.east.leader()->last().position, w.west.leader()->last().position);
}

TEST(Stream, PrefersAFollowerOfThePrimaryAsSource) {
  TwoRegions w;
  w.start();
  w.run_for(1s);
  ASSERT_TRUE(w.caught_up());
  // The first pick knows no leader yet; the next does.
  w.east.elect(w.west.leader()->replication->client().source());
  w.run_for(500ms);
  w.reset(w.west.leader()->self(), w.west.leader()->replication->client().source());
  w.west.elect(NodeId(5));
  w.run_for(200ms);
  w.west.elect(NodeId(4));
  ASSERT_TRUE(w.run_until([&] { return w.caught_up(); }, 5s));
  EXPECT_NE(w.west.leader()->replication->client().source(), w.east.leader_);
}

TEST(Stream, OnlyWhatIsCommittedIsSent) {
  TwoRegions w;
  w.start();
  w.run_for(1s);
  ASSERT_TRUE(w.caught_up());
  const auto before = w.west.leader()->last().position;
  w.east.stuck = true;
  write_some(w, 10);
  w.run_for(1s);
  EXPECT_EQ(w.west.leader()->last().position, before);
  w.east.stuck = false;
  w.east.replicate_soon();
  ASSERT_TRUE(w.run_until([&] { return w.west.leader()->committed().position.index - before.index == 10; }, 5s));
}

TEST(Stream, GoesOnAfterTheLossOfAnyMember) {
  for (std::uint64_t lost : {1, 2, 3, 4, 5, 6}) {
    TwoRegions w(lost);
    w.start();
    w.run_for(500ms);
    write_some(w, 50);
    w.run_for(20ms);  // some are under way
    w.member(lost).crash();
    w.run_for(1500ms);
    write_some(w, 50);
    EXPECT_TRUE(w.run_until([&] { return w.caught_up() && w.west.leader()->committed().position.index >= HistoryIndex(100); }, 10s))
        << "lost " << lost;
    w.member(lost).start();
    w.run_for(100ms);
    w.region_of(NodeId(lost)).replicate_soon();
    w.run_for(100ms);
    EXPECT_EQ(w.member(lost).last().position, w.east.leader()->last().position) << "lost " << lost;
  }
}

TEST(Stream, ALostFrameIsNoticedAndSentAgain) {
  TwoRegions w;
  w.start();
  w.run_for(1s);
  ASSERT_TRUE(w.caught_up());
  for (int i = 0; i < 10; ++i) {
    write_some(w, 5);
    w.run_for(10ms);
    w.reset(w.west.leader_, w.west.leader()->replication->client().source());  // those five are lost
    write_some(w, 5);
    w.run_for(10ms);
    ASSERT_TRUE(w.run_until([&] { return w.caught_up(); }, 2s)) << i;
  }
  // Noticed at the gap, before anything was proposed across it.
  EXPECT_EQ(w.west.leader()->replication->probe().chain_refused.get(), 0u);
  EXPECT_GE(w.west.leader()->replication->probe().reconnects.get(), 10u);
}

TEST(Stream, ALostTailIsNoticedThoughNothingFollows) {
  TwoRegions w;
  w.start();
  w.run_for(1s);
  ASSERT_TRUE(w.caught_up());
  write_some(w, 5);
  w.run_for(10ms);
  w.reset(w.west.leader_, w.west.leader()->replication->client().source());
  ASSERT_TRUE(w.run_until([&] { return w.caught_up(); }, 1s));
}

TEST(Stream, AnUncommittedEndOfAnOldLeaderIsNotSentTwice) {
  TwoRegions w;
  w.start();
  w.run_for(1s);
  w.west.stuck = true;
  write_some(w, 20);
  w.run_for(100ms);  // received, not committed
  EXPECT_GT(w.west.leader()->last().position.index, w.west.leader()->committed().position.index);
  w.west.stuck = false;
  w.west.elect(w.west.leader_);  // the same log end, another term
  ASSERT_TRUE(w.run_until([&] { return w.caught_up(); }, 5s));
  EXPECT_EQ(w.west.leader()->replication->probe().divergences.get(), 0u);
}

TEST(Stream, AnotherLineageIsIgnored) {
  TwoRegions w;
  for (auto& [id, m] : w.west.members) m->lineage_.bytes[0] = 2;
  w.start();
  w.run_for(100ms);
  write_some(w, 5);
  w.run_for(5s);
  EXPECT_EQ(w.west.leader()->committed().position.index, HistoryIndex(0));
  for (auto& [id, m] : w.east.members) EXPECT_EQ(m->replication->source().sessions(), 0u);
  std::uint64_t dropped = 0;
  for (auto& [id, m] : w.east.members) dropped += m->replication->probe().malformed_frames.get();
  EXPECT_GT(dropped, 0u);
}

TEST(Stream, ANodeThatTheTopologyDoesNotNameIsRefused) {
  TwoRegions w;
  w.start();
  w.run_for(500ms);
  const Hello hello{7, "north", Epoch(1), {}, false, {}, {}, 1 << 20, false};
  const auto frame = encode({w.member(4).lineage(), GroupId(9), Epoch(1)}, hello);
  w.member(1).deliver(NodeId(99), frame);
  w.member(1).deliver(NodeId(4), frame);  // its region is another
  EXPECT_EQ(w.member(1).replication->source().sessions(), 0u);
}

TEST(Stream, OtherHistoryStopsTheFollowingAndSaysSo) {
  TwoRegions w;
  w.start();
  w.run_for(500ms);
  write_some(w, 10);
  ASSERT_TRUE(w.run_until([&] { return w.caught_up(); }, 5s));
  // The standby group holds an entry that the primary never made, and the
  // primary goes on with another one.
  ASSERT_TRUE(w.west.write("not from the stream"));
  write_some(w, 1);
  w.run_for(500ms);
  w.west.elect(NodeId(5));
  ASSERT_TRUE(w.run_until([&] { return w.west.leader()->replication->client().state() == StreamState::kDiverged; }, 10s));
  const auto held = w.west.leader()->last().position;
  write_some(w, 10);
  w.run_for(20s);
  EXPECT_EQ(w.west.leader()->last().position, held);
  EXPECT_EQ(w.west.leader()->replication->probe().divergences.get(), 1u);
  for (std::uint64_t id : {4, 5, 6}) {
    for (const auto& c : w.member(id).report().eligibility)
      if (c.check == "integrity") { EXPECT_FALSE(c.ok) << id; EXPECT_NE(c.detail.find("other history"), std::string::npos); }
  }
}

// The primary group has lost what it had committed and streamed, and goes on
// with other history below the standby's end: no source is far enough to be
// asked for what follows that end, and still the difference must show.
TEST(Stream, APrimaryThatHasLostCommittedHistoryIsSeenBeforeItCatchesUp) {
  TwoRegions w;
  w.start();
  w.run_for(500ms);
  write_some(w, 10);
  ASSERT_TRUE(w.run_until([&] { return w.caught_up(); }, 5s));
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(w.west.write("lost by the primary"));
  write_some(w, 1);
  w.run_for(500ms);
  w.west.elect(NodeId(5));
  ASSERT_TRUE(w.run_until([&] { return w.west.leader()->replication->client().state() == StreamState::kDiverged; }, 10s));
  w.run_for(2s);
  for (std::uint64_t id : {4, 5, 6})
    for (const auto& c : w.member(id).report().eligibility) EXPECT_TRUE(c.check != "integrity" || !c.ok) << id;

  // It stays known when the leader changes, though the primary is gone and
  // nobody can ask it any more.
  w.wan(w.east, w.west, [](Wire& wire) { wire.cut = true; });
  w.wan(w.west, w.east, [](Wire& wire) { wire.cut = true; });
  w.west.elect(NodeId(6));
  w.run_for(10s);
  for (std::uint64_t id : {4, 5, 6})
    for (const auto& c : w.member(id).report().eligibility) EXPECT_TRUE(c.check != "integrity" || !c.ok) << id;
}

TEST(Stream, HistoryThatDoesNotChainIsNeverAppended) {
  TwoRegions w;
  w.start();
  w.run_for(1s);
  ASSERT_TRUE(w.caught_up());
  auto& lead = *w.west.leader();
  // A source with a corrupt log: the payload is not what the hash covers.
  auto& source = w.member(lead.replication->client().source());
  write_some(w, 1);
  w.run_until([&] { return source.committed().position == w.east.leader()->committed().position; });
  const auto held = lead.last().position;
  w.run_until([&] { return lead.last().position != held; }, 5s);
  const auto good = lead.last().position;
  write_some(w, 1);
  w.at(1ms, [&] {});
  w.run_until([&] { return source.log_.last().position.index > good.index; }, 5s);
  source.log_.entries.back().payload = Bytes(std::string("flipped"));
  ASSERT_TRUE(w.run_until([&] { return w.caught_up(); }, 10s));
  EXPECT_EQ(lead.log_.entries.back().payload.view().substr(0, 7) == "flipped", false);
}

TEST(Stream, AGroupBelowTheLogAsksAllSourcesThenSaysThatItNeedsAResync) {
  TwoRegions w;
  w.wan(w.west, w.east, [](Wire& x) { x.cut = true; });
  w.start();
  w.run_for(500ms);
  write_some(w, 50);
  w.run_for(100ms);
  // Two have dropped their log; one has not, and that is enough.
  for (std::uint64_t id : {1, 2}) w.member(id).log_.release(Index(40));
  w.wan(w.west, w.east, [](Wire& x) { x.cut = false; });
  ASSERT_TRUE(w.run_until([&] { return w.caught_up(); }, 5s));
  EXPECT_EQ(w.west.leader()->replication->client().source(), NodeId(3));

  TwoRegions v;
  v.wan(v.west, v.east, [](Wire& x) { x.cut = true; });
  v.start();
  v.run_for(500ms);
  for (int i = 0; i < 50; ++i) v.east.write("x");
  v.run_for(100ms);
  for (std::uint64_t id : {1, 2, 3}) v.member(id).log_.release(Index(40));
  v.wan(v.west, v.east, [](Wire& x) { x.cut = false; });
  ASSERT_TRUE(v.run_until([&] { return v.west.leader()->replication->client().state() == StreamState::kResyncNeeded; }, 5s));
  EXPECT_EQ(v.west.leader()->status().stream_state, "resync needed");
  EXPECT_EQ(v.west.leader()->replication->client().damage(), "") << "it is short of the primary's history, and holds no other";
  EXPECT_NE(v.west.leader()->replication->client().hindrance().find("takes a copy"), std::string::npos);
  v.run_for(30s);
  EXPECT_EQ(v.west.leader()->replication->client().state(), StreamState::kResyncNeeded);
  EXPECT_EQ(v.west.leader()->replication->probe().resyncs_needed.get(), 1u);
}

// It welcomes whoever asks, for it holds all that they have, and sends nothing.
TEST(Stream, ASourceThatIsCutOffFromItsGroupDoesNotHideThatTheOthersKeepNoLog) {
  TwoRegions w;
  w.start();
  w.run_for(500ms);
  write_some(w, 10);
  ASSERT_TRUE(w.run_until([&] { return w.caught_up(); }, 5s));
  const auto link = [&](bool cut) {
    w.wan(w.west, w.east, [cut](Wire& x) { x.cut = cut; });
    w.wan(w.east, w.west, [cut](Wire& x) { x.cut = cut; });
  };
  link(true);
  NodeId stuck;
  for (auto& [id, m] : w.east.members)
    if (id != w.east.leader_) stuck = id;
  w.member(stuck).lan_cut = true;
  for (int i = 0; i < 50; ++i) w.east.write("x");
  w.run_for(100ms);
  for (auto& [id, m] : w.east.members)
    if (id != stuck) m->log_.release(m->log_.last().index - 5);
  link(false);
  EXPECT_TRUE(w.run_until([&] { return w.west.leader()->replication->client().state() == StreamState::kResyncNeeded; }, 60s));
}

TEST(Stream, AValueThatTakesLongerOverTheLinkThanASourceMayBeSilentArrives) {
  TwoRegions w(1, 30ms, 200'000);
  for (auto& [id, m] : w.west.members) m->options.client.compression = false;
  w.start();
  w.run_for(2s);
  ASSERT_TRUE(w.caught_up());
  const auto before = w.west.leader()->replication->probe().reconnects.get();
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(w.east.write(std::string(1'000'000, static_cast<char>('a' + i))));
  ASSERT_TRUE(w.east.write("small"));
  EXPECT_TRUE(w.run_until([&] { return w.caught_up(); }, 13s)) << "10 s would do";
  EXPECT_EQ(w.west.leader()->replication->probe().reconnects.get(), before);
}

TEST(Stream, TheWindowFillsALongLink) {
  // 100 ms each way, 30 MB/s: 6 MB must be under way to fill it.
  TwoRegions w(1, 100ms, 30'000'000);
  for (auto& [id, m] : w.west.members) m->options.client.compression = false;
  w.start();
  w.run_for(2s);
  ASSERT_TRUE(w.caught_up());
  auto position = [&] { return w.west.leader()->committed().position.bytes; };
  for (int i = 0; i < 1200; ++i) ASSERT_TRUE(w.east.write(std::string(100'000, static_cast<char>('a' + i % 26))));
  w.run_for(1s);  // the ramp
  const auto before = position();
  w.run_for(2s);
  const auto rate = static_cast<double>(position() - before) / 2;
  EXPECT_GT(rate, 0.85 * 30e6);
  ASSERT_TRUE(w.run_until([&] { return w.caught_up(); }, 20s));
}

TEST(Stream, CompressionSavesTheLink) {
  TwoRegions w;
  w.start();
  w.run_for(1s);
  for (int i = 0; i < 200; ++i) w.east.write(std::string(2000, 'a'));
  w.run_for(10ms);
  ASSERT_TRUE(w.run_until([&] { return w.caught_up(); }, 5s));
  const auto& probe = w.west.leader()->replication->probe();
  EXPECT_LT(probe.wire_bytes_received.get() * 5, probe.bytes_received.get());
}

TEST(Stream, AStandbyThatTakesNothingCostsTheSourceNoMoreThanItsCredit) {
  TwoRegions w(1, 5ms);
  for (auto& [id, m] : w.west.members) m->options.client.compression = false;
  w.start();
  w.run_for(1s);
  ASSERT_TRUE(w.caught_up());
  for (auto& [id, m] : w.west.members) m->busy = true;
  const auto source = w.west.leader()->replication->client().source();
  const auto& probe = w.member(source).replication->probe();
  const auto before = probe.bytes_sent.get();
  for (int i = 0; i < 1000; ++i) w.east.write(std::string(100'000, 'x'));
  w.run_for(10s);
  EXPECT_LE(probe.bytes_sent.get() - before, 8_MiB + 512_KiB);
  EXPECT_GE(probe.bytes_sent.get() - before, 7_MiB);
  EXPECT_LE(w.west.leader()->replication->client().waiting_bytes(), 8_MiB + 512_KiB);
  for (auto& [id, m] : w.west.members) m->busy = false;
  ASSERT_TRUE(w.run_until([&] { return w.caught_up(); }, 20s));
}

TEST(Stream, AStoppedStandbyNeverHoldsThePrimaryUp) {
  TwoRegions w(1, 5ms, 50'000'000);
  for (auto& [id, m] : w.west.members) m->options.client.compression = false;
  w.start();
  w.run_for(1s);
  auto& lead = *w.west.leader();
  const auto source = lead.replication->client().source();
  lead.loop_.frozen = true;
  for (int i = 0; i < 1000; ++i) w.east.write(std::string(100'000, 'x'));
  const auto commit = w.east.leader()->last().index;
  w.run_for(10ms);
  EXPECT_EQ(w.east.leader()->committed().index, commit);
  w.run_for(10s);
  EXPECT_LE(w.wire(source, lead.self()).max_in_flight, 9_MiB);
  EXPECT_EQ(w.member(source).replication->source().sessions(), 0u);
  lead.loop_.thaw();
  ASSERT_TRUE(w.run_until([&] { return w.caught_up(); }, 30s));
}

TEST(Stream, ASourceThatFallsBehindIsChanged) {
  TwoRegions w;
  w.start();
  w.run_for(1s);
  ASSERT_TRUE(w.caught_up());
  const auto source = w.west.leader()->replication->client().source();
  ASSERT_NE(source, w.east.leader_);
  w.member(source).lan_cut = true;  // it still talks, but its own group does not reach it
  write_some(w, 10);
  w.run_for(10ms);
  ASSERT_TRUE(w.run_until([&] { return w.caught_up(); }, 5s));
  EXPECT_NE(w.west.leader()->replication->client().source(), source);
}

TEST(Stream, EveryPrimaryMemberKeepsTheLogThatAFollowingRegionNeeds) {
  TwoRegions w;
  w.wan(w.west, w.east, [](Wire& x) { x.cut = true; });
  w.start();
  w.run_for(500ms);
  write_some(w, 20);
  w.run_for(2s);
  for (std::uint64_t id : {1, 2, 3}) EXPECT_EQ(w.member(id).retained.at("standby/west"), Index(0)) << id;
  w.wan(w.west, w.east, [](Wire& x) { x.cut = false; });
  ASSERT_TRUE(w.run_until([&] { return w.caught_up(); }, 5s));
  w.run_for(3s);
  for (std::uint64_t id : {1, 2, 3}) EXPECT_EQ(w.member(id).retained.at("standby/west"), w.member(id).committed().index) << id;
  // The region goes silent: nothing above what it has is let go.
  const auto held = w.member(1).committed().index;
  w.wan(w.west, w.east, [](Wire& x) { x.cut = true; });
  write_some(w, 20);
  w.run_for(20s);
  for (std::uint64_t id : {1, 2, 3}) EXPECT_EQ(w.member(id).retained.at("standby/west"), held) << id;
}

TEST(Stream, ALateHelloBeginsNoSecondStream) {
  TwoRegions w;
  w.start();
  w.run_for(1s);
  ASSERT_TRUE(w.caught_up());
  const auto lead = w.west.leader_;
  const auto source = w.west.leader()->replication->client().source();
  const NodeId other(source == NodeId(1) ? 2 : 1);
  const Hello late{99, "west", Epoch(1), {}, false, {}, {}, 8_MiB, false};
  w.member(other).deliver(lead, encode({w.member(lead).lineage(), w.west.group, Epoch(1)}, late));
  EXPECT_EQ(w.member(other).replication->source().sessions(), 1u);
  w.run_for(100ms);
  EXPECT_EQ(w.member(other).replication->source().sessions(), 0u);
  EXPECT_EQ(w.west.leader()->replication->client().source(), source);
}

TEST(Stream, SeveralRegionsFollowAtOnce) {
  TwoRegions w;
  auto& north = w.add("north", GroupRole::kObserver, {7, 8, 9});
  w.start();
  w.run_for(500ms);
  write_some(w, 50);
  ASSERT_TRUE(w.run_until([&] { return w.caught_up() && north.leader()->committed().position == w.east.leader()->committed().position; }, 5s));
  w.run_for(500ms);
  const auto followers = w.east.leader()->status().followers;
  ASSERT_EQ(followers.size(), 2u);
  EXPECT_EQ(followers[0].region, "north");
  EXPECT_EQ(followers[1].lag_writes, 0u);
  EXPECT_TRUE(followers[1].connected);
}

// Crashes, cuts in one direction, lost connections and elections at random;
// whenever it is quiet for a while, the regions are equal.
TEST(Stream, FollowsThroughRandomFaults) {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    TwoRegions w(seed, Duration(1ms) * static_cast<std::int64_t>(1 + seed % 5 * 20), seed % 3 == 0 ? 5'000'000 : 0);
    w.start();
    for (int step = 0; step < 60; ++step) {
      for (std::uint64_t n = w.random() % 20; n > 0; --n) w.east.write(std::string(w.random() % 3000, static_cast<char>(w.random())));
      w.run_for(Duration(1ms) * static_cast<std::int64_t>(w.random() % 200));
      const NodeId a(1 + w.random() % 3), b(4 + w.random() % 3), any(1 + w.random() % 6);
      switch (w.random() % 8) {
        case 0: w.reset(a, b); break;
        case 1: w.wire(a, b).cut = true; break;
        case 2: w.wire(b, a).cut = true; break;
        case 3: w.wire(a, b).cut = w.wire(b, a).cut = false; break;
        case 4: {
          auto& region = w.region_of(any);
          if (!w.member(any).alive()) { w.member(any).start(); region.replicate_soon(); }
          else if (std::count_if(region.members.begin(), region.members.end(), [](auto& m) { return m.second->alive(); }) == 3) w.member(any).crash();
          break;
        }
        case 5: if (w.member(any).alive() && w.region_of(any).quorum()) { w.region_of(any).leader_ = NodeId(); w.region_of(any).elect_best(); } break;
        case 6: w.member(b).busy = !w.member(b).busy; break;
        default: break;
      }
      // One history: what both hold at an index is the same.
      for (std::uint64_t id : {4, 5, 6}) {
        const auto held = w.member(id).last().position;
        FakeMember* most = &w.member(1);
        for (std::uint64_t p : {2, 3}) if (w.member(p).last().index > most->last().index) most = &w.member(p);
        const auto there = last_point_at(most->log_, held.index, Index(), most->last().index);
        ASSERT_TRUE(there.ok());
        if (there->position.index == held.index) { ASSERT_EQ(there->position, held); }
      }
    }
    for (std::uint64_t id = 1; id <= 6; ++id) {
      if (!w.member(id).alive()) w.member(id).start();
      w.member(id).busy = false;
    }
    w.wan(w.east, w.west, [](Wire& x) { x.cut = false; });
    w.wan(w.west, w.east, [](Wire& x) { x.cut = false; });
    w.run_for(1500ms);
    for (auto* r : {&w.east, &w.west}) {
      if (!r->leader()) r->elect_best();
      r->replicate_soon();
    }
    ASSERT_TRUE(w.run_until([&] { return w.caught_up(); }, 30s)) << name(w.west.leader()->replication->client().state());
    w.run_for(500ms);
    for (auto& [id, m] : w.west.members) ASSERT_EQ(m->state_.state_hash(), w.east.leader()->state_.state_hash());
    for (std::uint64_t id : {4, 5, 6}) EXPECT_EQ(w.member(id).replication->probe().divergences.get(), 0u);
  }
}

}  // namespace
}  // namespace leeward::standby::testing
