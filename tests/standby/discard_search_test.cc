// How the leader of a diverged group finds the highest position at which both
// histories are the same: standby/PROTOCOL.md, "Where the histories differ".
#include <gtest/gtest.h>

#include "world.h"

namespace leeward::standby {
namespace {

using testing::TwoRegions;
using testing::Wire;

struct DiscardSearch : ::testing::Test {
  void start() {
    for (auto* region : {&w.east, &w.west})
      for (auto& [id, m] : region->members) m->told.emplace(region::State::Control{.group = region->group, .role = region->role}, region::State::History(), Position());
    w.start();
    w.run_for(500ms);
  }
  void write(int count) {
    for (int i = 0; i < count; ++i) {
      ASSERT_TRUE(w.east.write("write " + std::to_string(written++)));
      w.run_for(1ms);
    }
  }
  void catch_up() { ASSERT_TRUE(w.run_until([&] { return w.caught_up(); }, 20s)); }
  void link(bool up) {
    w.wan(w.east, w.west, [up](Wire& wire) { wire.cut = !up; });
    w.wan(w.west, w.east, [up](Wire& wire) { wire.cut = !up; });
  }
  // West holds `lost` entries that nobody in east has, and east `others` that west lacks.
  void diverge(int lost, int others) {
    link(false);
    w.run_for(500ms);
    common = w.west.leader()->last().position;
    for (int i = 0; i < lost; ++i) ASSERT_TRUE(w.west.write("lost " + std::to_string(i)));
    write(others);
    w.run_for(500ms);
    link(true);
    ASSERT_TRUE(w.run_until([&] { return client().state() == StreamState::kDiverged && w.west.leader()->replication->heard(w.west.leader()->clock().now()); }, 20s));
  }
  // East's other two members stay behind, and the regions part above what they have.
  void one_source_goes_ahead() {
    start();
    write(10);
    catch_up();
    w.member(2).lan_cut = w.member(3).lan_cut = true;
    write(20);
    w.run_for(3s);
    catch_up();
    diverge(20, 40);
  }
  const StreamClient& client() { return w.west.leader()->replication->client(); }
  Result<RejoinRecord> discard(Duration limit = 100s) {
    std::optional<Result<RejoinRecord>> answer;
    auto& leader = *w.west.leader();
    leader.replication->way_back().rejoin({true, true, "ada"}, leader.loop(), [&](Result<RejoinRecord> r) { answer = std::move(r); });
    w.run_until([&] { return answer.has_value() || !leader.follows.empty(); }, limit);
    if (!answer) w.run_for(200ms);
    return answer ? *answer : Result<RejoinRecord>(Error{Code::kUnknown, "under way"});
  }
  const std::vector<region::Follow>& follows() { return w.west.leader()->follows; }

  TwoRegions w;
  int written = 0;
  Position common;
};

// Writes before they part, that west alone has, and east.
struct DiscardSearchPlaces : DiscardSearch, ::testing::WithParamInterface<std::tuple<int, int, int>> {};
INSTANTIATE_TEST_SUITE_P(Places, DiscardSearchPlaces,
                         ::testing::Values(std::tuple(10, 20, 40), std::tuple(10, 40, 20), std::tuple(0, 5, 9), std::tuple(33, 1, 1), std::tuple(64, 200, 1)));

TEST_P(DiscardSearchPlaces, FindsTheHighestCommonPosition) {
  const auto [before, lost, others] = GetParam();
  start();
  write(before);
  catch_up();
  diverge(lost, others);
  if (HasFatalFailure()) return;
  (void)discard();
  ASSERT_EQ(follows().size(), 1u);
  EXPECT_EQ(follows()[0].common, common);
  EXPECT_EQ(follows()[0].kept, common);
  EXPECT_TRUE(follows()[0].damaged);
}

// A member of the primary that lags tells of its own end; what lies above it
// another one tells.
TEST_F(DiscardSearch, AnotherSourceIsAskedWhereOneIsNotSoFar) {
  one_source_goes_ahead();
  if (HasFatalFailure()) return;
  (void)discard();
  ASSERT_EQ(follows().size(), 1u);
  EXPECT_EQ(follows()[0].common, common);
}

TEST_F(DiscardSearch, EndsWhenNobodyCanTell) {
  one_source_goes_ahead();
  if (HasFatalFailure()) return;
  w.member(1).aside = true;  // answers pings, and is no source
  const auto before = w.now();
  const auto done = discard();
  ASSERT_FALSE(done.ok());
  EXPECT_EQ(done.error().code, Code::kRefused);
  EXPECT_NE(done.error().message.find("no_answer: "), std::string::npos) << done.error().message;
  EXPECT_LT(w.now() - before, 35s);
  EXPECT_TRUE(follows().empty());
  EXPECT_EQ(client().state(), StreamState::kDiverged);
  EXPECT_NE(client().damage().find("other history"), std::string::npos) << "as before";
  w.member(1).aside = false;  // said again it is found
  (void)discard();
  ASSERT_EQ(follows().size(), 1u);
}

TEST_F(DiscardSearch, WhereEverySourcesLogBeginsAboveItNothingIsPutAside) {
  start();
  write(10);
  catch_up();
  diverge(40, 60);
  if (HasFatalFailure()) return;
  for (const std::uint64_t id : {1, 2, 3}) {
    auto& log = w.member(id).log_;
    for (const auto& e : std::vector(log.entries))
      if (e.position.index <= HistoryIndex(30)) log.release(e.index);
  }
  const auto done = discard();
  ASSERT_FALSE(done.ok());
  EXPECT_EQ(done.error().code, Code::kRefused);
  EXPECT_NE(done.error().message.find("no_common_position: "), std::string::npos) << done.error().message;
  EXPECT_TRUE(follows().empty());
}

// What stands before a leap leads to another state; a Follow to there nobody could carry out.
TEST_F(DiscardSearch, DoesNotLookBelowALeap) {
  start();
  write(10);
  catch_up();
  diverge(40, 60);
  if (HasFatalFailure()) return;
  for (const std::uint64_t id : {4, 5, 6}) {
    auto& m = w.member(id);
    for (const auto& e : m.log_.entries)
      if (e.position.index == HistoryIndex(20)) m.leapt_at = e.index;
  }
  const auto done = discard();
  ASSERT_FALSE(done.ok());
  EXPECT_NE(done.error().message.find("no_common_position: "), std::string::npos) << done.error().message;
  EXPECT_TRUE(follows().empty());
}

}  // namespace
}  // namespace leeward::standby
