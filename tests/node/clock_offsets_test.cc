// Offsets of wall clocks from reports that take their time.
#include <gtest/gtest.h>

#include "node/clock_offsets.h"

namespace leeward::node {
namespace {

constexpr NodeId kA(1), kB(2);

// Two nodes, B's clock ahead of A's; each report takes as long as the test says.
struct Clocks : testing::Test {
  WallTime at_a() const { return WallTime(1'000'000s) + now; }
  WallTime at_b() const { return at_a() + ahead; }
  void a_to_b(Duration takes) {
    const auto report = a.report(at_a());
    now += takes;
    b.heard(kA, report, at_b());
  }
  void b_to_a(Duration takes) {
    const auto report = b.report(at_b());
    now += takes;
    a.heard(kB, report, at_a());
  }
  Duration now{}, ahead = 250ms;
  ClockOffsets a{kA}, b{kB};
};

TEST_F(Clocks, AnOffsetIsKnownOnceBothWaysAreHeardOf) {
  EXPECT_FALSE(a.of(kB).has_value());
  a_to_b(40ms);
  EXPECT_FALSE(b.of(kA).has_value()) << "delay and offset in one";
  b_to_a(40ms);
  EXPECT_EQ(a.of(kB), 210ms) << "at least: it may be that one way took all of the 80 ms";
  a_to_b(40ms);
  EXPECT_EQ(b.of(kA), -210ms);
}

TEST_F(Clocks, AReportThatWasHeldUpDoesNotCount) {
  for (int i = 0; i < 3; ++i) a_to_b(i == 1 ? 5ms : 2s), b_to_a(i == 2 ? 5ms : 3s);
  EXPECT_EQ(a.of(kB), 245ms);
}

TEST_F(Clocks, AFullLinkIsNoWrongClock) {
  ahead = 0ms;
  for (int i = 0; i < 20; ++i) a_to_b(3s), b_to_a(20ms);
  EXPECT_EQ(a.of(kB), 0ms);
  EXPECT_EQ(b.of(kA), 0ms);
  for (int i = 0; i < 20; ++i) a_to_b(20ms), b_to_a(3s);
  EXPECT_EQ(a.of(kB), 0ms);
}

TEST_F(Clocks, AClockThatIsSetIsSeenWithinAFewReports) {
  for (int i = 0; i < 20; ++i) a_to_b(5ms), b_to_a(5ms);
  ahead = 0ms;
  for (int i = 0; i < 9; ++i) a_to_b(5ms), b_to_a(5ms);
  EXPECT_EQ(a.of(kB), 0ms);
  ahead = 10s;
  for (int i = 0; i < 9; ++i) a_to_b(5ms), b_to_a(5ms);
  EXPECT_EQ(a.of(kB), 10s - 5ms);
}

TEST_F(Clocks, ANodeOfAVersionThatDoesNotSayIsNotMeasured) {
  a_to_b(5ms), b_to_a(5ms);
  ASSERT_TRUE(a.of(kB).has_value());
  a.heard(kB, {}, at_a());
  EXPECT_FALSE(a.of(kB).has_value());
}

}  // namespace
}  // namespace leeward::node
