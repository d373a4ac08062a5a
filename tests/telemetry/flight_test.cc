// The flight recorder, as it is read and as a crash leaves it.
#include "telemetry/flight_recorder.h"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <fstream>
#include <sstream>
#include <thread>

#include "telemetry/logger.h"
#include "telemetry/stage_times.h"

namespace leeward::telemetry {
namespace {

class FixedClock final : public Clock {
 public:
  Instant now() const override { return Instant(time); }
  WallTime wall() const override { return WallTime(std::chrono::seconds(1'790'000'000)) + time; }
  Duration time = 1h;
};

std::vector<boost::json::object> events(const std::string& text) {
  std::vector<boost::json::object> out;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) out.push_back(boost::json::parse(line).as_object());
  return out;
}

void record(FlightRecorder& recorder, std::string_view message, std::initializer_list<Field> fields = {}) {
  recorder.record(Level::kInfo, message, fields);
}

TEST(FlightRecorder, EventsComeBackInOrderAsJson) {
  FixedClock clock;
  FlightRecorder recorder(clock);
  record(recorder, "stands for election", {{"term", 7}, {"why", "a \"quoted\"\nline \\"}, {"lag", std::numeric_limits<double>::infinity()}});
  clock.time += 1ms;
  recorder.record(Level::kError, "cannot go on", {});
  const auto seen = events(recorder.text());
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_EQ(seen[0].at("ts").as_string(), "2026-09-21T15:13:20.000000Z");
  EXPECT_EQ(seen[0].at("msg").as_string(), "stands for election");
  EXPECT_EQ(seen[0].at("term").as_int64(), 7);
  EXPECT_EQ(seen[0].at("why").as_string(), "a \"quoted\" line \\");
  EXPECT_EQ(seen[0].at("lag").as_string(), "inf");
  EXPECT_EQ(seen[1].at("level").as_string(), "error");
  EXPECT_EQ(seen[1].at("ts").as_string(), "2026-09-21T15:13:20.001000Z");
}

TEST(FlightRecorder, BytesThatAreNoUtf8AreReplacedSoThatTheLineIsJson) {
  FixedClock clock;
  FlightRecorder recorder(clock);
  // What a stranger may call its cluster: no lead byte, cut, overlong, a surrogate, beyond Unicode.
  record(recorder, "stranger \xff", {{"cluster", "\xff\xfe"}, {"cut", "a\xc3"}, {"overlong", "\xc0\xaf"}, {"half", "\xed\xa0\x80"},
                                    {"beyond", "\xf4\x90\x80\x80"}, {"well", "Zürich \xf0\x9f\x98\x80"}});
  const auto seen = events(recorder.text());
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_EQ(seen[0].at("msg").as_string(), "stranger ?");
  EXPECT_EQ(seen[0].at("cluster").as_string(), "??");
  EXPECT_EQ(seen[0].at("cut").as_string(), "a?");
  EXPECT_EQ(seen[0].at("overlong").as_string(), "??");
  EXPECT_EQ(seen[0].at("half").as_string(), "???");
  EXPECT_EQ(seen[0].at("beyond").as_string(), "????");
  EXPECT_EQ(seen[0].at("well").as_string(), "Zürich \xf0\x9f\x98\x80");
}

TEST(FlightRecorder, ItKeepsTheNewestAndLeavesOutWhatDoesNotFit) {
  FixedClock clock;
  FlightRecorder recorder(clock);
  for (std::size_t i = 0; i < FlightRecorder::kEvents + 10; ++i)
    record(recorder, "m", {{"n", i}, {"long", std::string(400, 'x')}, {"short", 1}});
  const auto seen = events(recorder.text());
  ASSERT_EQ(seen.size(), FlightRecorder::kEvents);
  EXPECT_EQ(seen.front().at("n").as_int64(), 10);
  EXPECT_FALSE(seen.front().contains("long"));
  EXPECT_EQ(seen.front().at("short").as_int64(), 1);
  EXPECT_TRUE(seen.front().at("cut").as_bool());
}

TEST(FlightRecorder, ReadersMeetWholeEventsWhileOthersAreWritten) {
  FixedClock clock;
  FlightRecorder recorder(clock);
  std::atomic<bool> over{false};
  std::vector<std::thread> writers;
  for (int w = 0; w < 3; ++w)
    writers.emplace_back([&, w] {
      for (std::uint64_t i = 0; !over; ++i) record(recorder, "event", {{"writer", w}, {"n", i}, {"again", i}});
    });
  for (int i = 0; i < 20; ++i)
    for (const auto& event : events(recorder.text())) EXPECT_EQ(event.at("n"), event.at("again"));
  over = true;
  for (auto& writer : writers) writer.join();
}

TEST(FlightRecorder, WhoFollowsItReadsEachEventOnce) {
  FixedClock clock;
  FlightRecorder recorder(clock);
  std::string seen;
  std::uint64_t next = recorder.text_since(0, seen);
  EXPECT_EQ(seen, "");
  std::size_t told = 0;
  for (const std::size_t more : {std::size_t{1}, std::size_t{3}, FlightRecorder::kEvents + 7}) {
    for (std::size_t i = 0; i < more; ++i) record(recorder, "m", {{"n", told + i}});
    told += more;
    seen.clear();
    next = recorder.text_since(next, seen);
    const auto lines = events(seen);
    ASSERT_EQ(lines.size(), std::min(more, FlightRecorder::kEvents)) << "what the ring has lost is passed over";
    EXPECT_EQ(lines.back().at("n").as_int64(), static_cast<std::int64_t>(told - 1));
  }
  seen.clear();
  EXPECT_EQ(recorder.text_since(next, seen), next);
  EXPECT_EQ(seen, "");
}

TEST(FlightRecorder, NoEventIsPassedOverThatIsWrittenWhileItIsFollowed) {
  FixedClock clock;
  FlightRecorder recorder(clock);
  constexpr int kWriters = 3, kEach = 2000;  // fewer than the ring holds
  std::atomic<int> writing{kWriters};
  std::vector<std::thread> writers;
  for (int w = 0; w < kWriters; ++w)
    writers.emplace_back([&] {
      for (int i = 0; i < kEach; ++i) record(recorder, "event");
      --writing;
    });
  std::string seen;
  std::uint64_t next = 0;
  while (writing > 0) next = recorder.text_since(next, seen);
  for (auto& writer : writers) writer.join();
  recorder.text_since(next, seen);
  EXPECT_EQ(std::count(seen.begin(), seen.end(), '\n'), kWriters * kEach);
}

TEST(FlightRecorder, ASecondOfALeaderHasAllItsStages) {
  FixedClock clock;
  FlightRecorder recorder(clock);
  std::array<Histogram, 6> times;
  StageTimes stages({{"queue", &times[0]}, {"forward", &times[1]}, {"fsync", &times[2]}, {"append", &times[3]}, {"quorum", &times[4]}, {"apply", &times[5]}});
  for (Histogram& stage : times)
    for (int i = 0; i < 12345; ++i) stage.observe(24ms);
  NodeStatus status;
  status.term = Term(1234567);
  status.commit = status.applied.point.index = Index(123456789012);
  stages.note(clock.now(), status, recorder);
  const auto seen = events(recorder.text());
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_FALSE(seen[0].contains("cut"));
  EXPECT_EQ(seen[0].at("apply").as_string(), "12345 up to 25 ms");
}

TEST(FlightRecorder, ADumpIsWhatTheTextIs) {
  FixedClock clock;
  FlightRecorder recorder(clock);
  for (int i = 0; i < 100; ++i) record(recorder, "event", {{"n", i}});
  char path[] = "/tmp/leeward-flight-XXXXXX";
  const int fd = mkstemp(path);
  ASSERT_GE(fd, 0);
  EXPECT_TRUE(recorder.dump(fd));
  close(fd);
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_EQ(text.str(), recorder.text());
  unlink(path);
  const int full = open("/dev/full", O_WRONLY);
  EXPECT_FALSE(recorder.dump(full));
  close(full);
}

// A logger that writes errors to a file and gives its events to a recorder.
class FlightRecorderOfALogger : public ::testing::Test {
 protected:
  void SetUp() override {
    close(mkstemp(path_));
    LogOptions options;
    options.output = path_;
    options.level = Level::kError;
    options.recorder = &recorder_;
    auto logger = Logger::open(options, clock_);
    ASSERT_TRUE(logger.ok());
    logger_ = std::move(*logger);
  }
  void TearDown() override { unlink(path_); }

  // What was recorded by now; the log itself has nothing.
  std::vector<boost::json::object> recorded() {
    logger_->flush();
    std::ifstream file(path_);
    EXPECT_EQ(file.peek(), std::ifstream::traits_type::eof());
    return events(recorder_.text());
  }

  FixedClock clock_;
  FlightRecorder recorder_{clock_};
  char path_[40] = "/tmp/leeward-flight-log-XXXXXX";
  std::unique_ptr<Logger> logger_;
};

TEST_F(FlightRecorderOfALogger, TakesWhatTheLogsOwnLevelHolds) {
  logger_->debug("a detail");
  logger_->info("was elected leader", {{"term", 3}});
  const auto seen = recorded();
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_EQ(seen[0].at("msg").as_string(), "was elected leader");
}

TEST_F(FlightRecorderOfALogger, KeepsWhatLedToAStormOfOneMessage) {
  logger_->info("lost its leader");
  for (std::size_t i = 0; i < 2 * FlightRecorder::kEvents; ++i) logger_->warn("slow request");
  clock_.time += 2s;
  const auto seen = recorded();
  EXPECT_LT(seen.size(), 100u);
  EXPECT_EQ(seen.front().at("msg").as_string(), "lost its leader");
  EXPECT_GT(seen.back().at("repeated").as_int64(), 16'000);
}

TEST(StageTimes, EachSecondTellsWhatHappenedInItAndNoMore) {
  FixedClock clock;
  FlightRecorder recorder(clock);
  Histogram fsync, apply;
  fsync.observe(1s);  // before
  StageTimes times({{"fsync", &fsync}, {"apply", &apply}});
  NodeStatus status;
  status.term = Term(4);
  fsync.observe(3ms);
  fsync.observe(900us);
  apply.observe(30s);
  times.note(clock.now(), status, recorder);
  times.note(clock.now() + 500ms, status, recorder);
  times.note(clock.now() + 1s, status, recorder);
  const auto seen = events(recorder.text());
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_EQ(seen[0].at("term").as_int64(), 4);
  EXPECT_EQ(seen[0].at("fsync").as_string(), "2 up to 5.0 ms");
  EXPECT_EQ(seen[0].at("apply").as_string(), "1 beyond 10.0 s");
  EXPECT_FALSE(seen[1].contains("fsync") || seen[1].contains("apply"));
}

}  // namespace
}  // namespace leeward::telemetry
