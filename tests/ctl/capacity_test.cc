// `leewardctl capacity`: what it predicts of a load, and how it is asked.
#include "ctl/capacity_model.h"

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>

#include "standby/client.h"
#include "support.h"

namespace leeward::ctl {
namespace {

Capacity predicted(const CapacityInput& input) {
  const auto out = predict(input);
  EXPECT_TRUE(out.ok()) << (out.ok() ? "" : out.error().message);
  return out.ok() ? *out : Capacity{};
}

// Changes one thing at a time, from a fast machine with little to do to a slow one with much.
void expect_never_rises(const std::function<void(CapacityInput&, int step)>& change, double Capacity::*figure) {
  for (const std::uint64_t clients : {1, 7, 100, 3000, 100'000})
    for (const std::uint64_t value : {0, 256, 100'000}) {
      double before = 0;
      for (int step = 0; step < 60; ++step) {
        CapacityInput input;
        input.clients = clients;
        input.value_bytes = value;
        change(input, step);
        const double now = predicted(input).*figure;
        if (step > 0) EXPECT_LE(now, before * (1 + 1e-9)) << "step " << step << ", " << clients << " in flight, values of " << value;
        before = now;
      }
    }
}

TEST(Capacity, ALoneWriteTakesOneSyncOneRoundTripAndItsProcessorTime) {
  CapacityInput input;
  input.clients = 1;
  input.fsync = 2ms;
  input.round_trip = 3ms;
  input.costs.way = 500us;
  const Capacity c = predicted(input);
  EXPECT_EQ(c.lone, 5500us);
  EXPECT_EQ(c.waited, c.lone) << "there is no other whose sync it could meet";
  EXPECT_NEAR(c.writes, 1 / 0.0055, 1e-6);
  EXPECT_EQ(c.bound, Bound::kRoundTrip);
}

TEST(Capacity, NamesWhatBinds) {
  CapacityInput input;
  input.clients = 1;
  input.fsync = 10ms;
  EXPECT_EQ(predicted(input).bound, Bound::kFsync);
  input.round_trip = 30ms;
  EXPECT_EQ(predicted(input).bound, Bound::kRoundTrip);
  input = {};
  input.clients = 100'000;
  EXPECT_EQ(predicted(input).bound, Bound::kProcessor);
  input.link = 1'000'000;
  EXPECT_EQ(predicted(input).bound, Bound::kLink);
}

TEST(Capacity, ASlowerMachineCarriesNoMore) {
  expect_never_rises([](CapacityInput& in, int step) { in.fsync = 50us * (1 + step * step); }, &Capacity::writes);
  expect_never_rises([](CapacityInput& in, int step) { in.round_trip = 100us * step * step; }, &Capacity::writes);
  expect_never_rises([](CapacityInput& in, int step) { in.wan_round_trip = 1ms * step * step + 1ns; }, &Capacity::writes);
  expect_never_rises([](CapacityInput& in, int step) { in.link = 1'000'000'000 / static_cast<std::uint64_t>(1 + step * step); }, &Capacity::writes);
  expect_never_rises([](CapacityInput& in, int step) { in.costs.write = 5us * (1 + step); }, &Capacity::writes);
  expect_never_rises([](CapacityInput& in, int step) { in.costs.batch = 50us * step; }, &Capacity::writes);
}

TEST(Capacity, MoreInFlightCarryNoLess) {
  expect_never_rises([](CapacityInput& in, int step) { in.clients = static_cast<std::uint64_t>(1 + (60 - step) * (60 - step)); }, &Capacity::writes);
  expect_never_rises([](CapacityInput& in, int step) { in.processors = static_cast<unsigned>(60 - step); }, &Capacity::writes);
}

TEST(Capacity, MoreDataTakesNoLessRoom) {
  const auto more = [](CapacityInput& in, int step) {
    in.keys = static_cast<std::uint64_t>(60 - step) * 100'000;
    in.value_bytes = static_cast<std::uint64_t>(60 - step) * 100;
    in.wanted = 100;
  };
  for (const auto figure : {&Capacity::state, &Capacity::data_volume, &Capacity::row_bytes_a_key, &Capacity::row_bytes_a_version})
    expect_never_rises(more, figure);
  expect_never_rises([](CapacityInput& in, int step) { in.wanted = 100, in.history = 1min * (60 - step); }, &Capacity::state);
  expect_never_rises([](CapacityInput& in, int step) { in.retain_log = static_cast<std::uint64_t>(60 - step) << 30; }, &Capacity::log_volume);
}

TEST(Capacity, ALoneWriteTakesWholeSectorsAndManyShareThem) {
  CapacityInput input;
  EXPECT_EQ(log_batch_bytes(input, 1), 512u);
  const auto many = log_batch_bytes(input, 100);
  EXPECT_EQ(many % 512, 0u);
  EXPECT_GT(many, 100 * (input.key_bytes + input.value_bytes)) << "all of it is in the log";
  EXPECT_LT(many, 100 * 512u);
  input.value_bytes = 100'000;
  EXPECT_NEAR(static_cast<double>(log_batch_bytes(input, 1)), 101'400, 600) << "4 bytes a sector are its checksum";
}

TEST(Capacity, AWriteTakesNoMoreLogThanALoneOneAndNoLessThanItsBytes) {
  for (std::uint64_t wanted = 1; wanted < 30'000; wanted += 97) {
    CapacityInput input;
    input.wanted = wanted;
    const double bytes = predicted(input).log_bytes_a_write;
    EXPECT_LE(bytes, 512) << wanted;
    EXPECT_GT(bytes, static_cast<double>(input.key_bytes + input.value_bytes)) << wanted;
  }
}

TEST(Capacity, TellsWhetherTheLoadFits) {
  CapacityInput input;
  const double most = predicted(input).writes;
  input.wanted = static_cast<std::uint64_t>(most) - 1;
  EXPECT_TRUE(predicted(input).enough);
  input.wanted = static_cast<std::uint64_t>(most) + 1;
  EXPECT_FALSE(predicted(input).enough);
  EXPECT_EQ(predicted(input).load, static_cast<double>(*input.wanted)) << "disk and memory are for what was asked";
}

TEST(Capacity, ARegionMayBeAwayForAsLongAsTheLogLasts) {
  CapacityInput input;
  input.wanted = 100;
  const Capacity c = predicted(input);
  EXPECT_NEAR(to_s(c.away), static_cast<double>(input.retain_log) / (100 * c.log_bytes_a_write), 1);
  EXPECT_GE(c.log_volume, 2 * static_cast<double>(input.retain_log));
}

TEST(Capacity, TheWorstOfMemoryIsNoLessThanTheUsual) {
  CapacityInput input;
  for (input.watchers = 0; input.watchers < 2000; input.watchers += 500) {
    const Capacity c = predicted(input);
    for (const auto part : {&Capacity::Memory::process, &Capacity::Memory::log, &Capacity::Memory::memtables, &Capacity::Memory::cache,
                            &Capacity::Memory::watchers, &Capacity::Memory::requests})
      EXPECT_LE(c.memory.*part, c.memory_most.*part);
    EXPECT_EQ(c.memory.watchers > 0, input.watchers > 0);
  }
}

// The model names this figure itself, for it may not include the folder.
TEST(Capacity, CountsOnTheStreamsOwnWindow) {
  CapacityInput input;
  input.wan_round_trip = 10s;
  const Capacity c = predicted(input);
  ASSERT_EQ(c.bound, Bound::kLink);
  const double bytes_a_write = static_cast<double>(standby::ClientOptions{}.window) / 10 / c.writes;
  EXPECT_GT(bytes_a_write, static_cast<double>(input.key_bytes + input.value_bytes));
  EXPECT_LT(bytes_a_write, static_cast<double>(input.key_bytes + input.value_bytes) * 1.3);
}

TEST_F(CtlTest, CapacityNeedsNoServerAndSaysHowItCameByEachFigure) {
  const Ran ran = run({"capacity", "--fsync", "10ms", "--clients", "1", "--writes-per-second", "50"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_TRUE(cluster_.asked.empty());
  for (const char* part : {"fsync          10 ms: given\n", "fsync binds: 1 in flight, each for 11 ms\n", "wanted         50: fits, at 57 % of that\n",
                           "waiting ", "processor ", "link ", "lone write ", "latency ", "log written ", "a day ", "log volume ", "data volume ", "memory "})
    EXPECT_NE(ran.out.find(part), std::string::npos) << part << "\n" << ran.out;
  EXPECT_NE(run({"capacity", "--writes-per-second", "100000000"}).out.find("100,000,000: too many"), std::string::npos);
}

TEST_F(CtlTest, CapacityIsJsonToo) {
  const Ran ran = run({"capacity", "-o", "json", "--wan-round-trip", "0", "--history", "0"});
  ASSERT_EQ(ran.code, 0) << ran.err;
  const auto json = boost::json::parse(ran.out).as_object();
  EXPECT_EQ(json.at("fsync_ms").as_double(), 1);
  EXPECT_EQ(json.at("fsync_measured"), false);
  EXPECT_EQ(json.at("bound"), "fsync");
  EXPECT_GT(json.at("writes_per_second").as_double(), 1000);
  EXPECT_FALSE(json.at("limits").as_object().contains("link")) << "there is no other region";
  for (const char* key : {"log_bytes_per_day", "log_volume_bytes", "state_bytes", "quota_bytes", "data_volume_bytes"})
    EXPECT_GT(std::stoull(std::string(json.at(key).as_string())), 0u) << key;
  EXPECT_GT(std::stoull(std::string(json.at("memory").at("sum_bytes").as_string())), 0u);
}

TEST_F(CtlTest, CapacityProbesADirectoryAndLeavesNothingThere) {
  std::string place = ::testing::TempDir() + "capacity-XXXXXX";
  ASSERT_NE(mkdtemp(place.data()), nullptr);
  const Ran ran = run({"capacity", "--probe", place, "-o", "json"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  const auto json = boost::json::parse(ran.out).as_object();
  EXPECT_EQ(json.at("fsync_measured"), true);
  EXPECT_GT(json.at("fsync_ms").as_double(), 0);
  EXPECT_GE(json.at("fsync_p99_ms").as_double(), json.at("fsync_ms").as_double());
  EXPECT_TRUE(std::filesystem::is_empty(place));
  std::filesystem::remove(place);
}

TEST_F(CtlTest, CapacityRefusesWhatMakesNoSense) {
  for (const std::vector<std::string>& bad : std::vector<std::vector<std::string>>{
           {"--fsync", "0"}, {"--fsync", "2"}, {"--fsync", "2h"}, {"--round-trip", "-1ms"}, {"--wan-round-trip", "x"}, {"--key-size", "0"},
           {"--value-size", "256"}, {"--value-size", "2MiB"}, {"--key-size", "1MiB", "--value-size", "1MiB"}, {"--clients", "0"}, {"--clients", "many"},
           {"--keys", "-1"}, {"--writes-per-second", "0"}, {"--history", "4000d"}, {"--retain-log", "much"}, {"--processors", "0"},
           {"--cpu-per-write", "0"}, {"--probe", "/no/such/place"}, {"--fsync", "1ms", "--probe", "/tmp"}, {"--fsink", "1ms"}}) {
    std::vector<std::string> words{"capacity"};
    words.insert(words.end(), bad.begin(), bad.end());
    const Ran ran = run(words);
    EXPECT_EQ(ran.code, 2) << bad[0] << " " << bad[1] << ran.out;
    EXPECT_NE(ran.err.find(bad[0] == "--fsink" ? "did you mean --fsync" : bad[0]), std::string::npos) << ran.err;
  }
}

}  // namespace
}  // namespace leeward::ctl
