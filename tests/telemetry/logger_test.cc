// Lines as a reader finds them in a file.
#include "telemetry/logger.h"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <boost/json.hpp>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <thread>

namespace leeward::telemetry {
namespace {

class FakeClock final : public Clock {
 public:
  Instant now() const override { return Instant(Duration(ns_.load())); }
  WallTime wall() const override { return WallTime(std::chrono::seconds(1'790'000'000)) + Duration(ns_.load()); }
  void advance(Duration d) { ns_ += d.count(); }

 private:
  std::atomic<std::int64_t> ns_{3'600'000'000'000};
};

class LoggerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/leeward-log-XXXXXX";
    directory_ = mkdtemp(pattern);
    options_.output = directory_ + "/log";
    options_.node = NodeId(3);
    options_.region = "east";
  }
  void TearDown() override { EXPECT_EQ(std::system(("rm -rf " + directory_).c_str()), 0); }

  std::unique_ptr<Logger> open() {
    auto logger = Logger::open(options_, clock_);
    EXPECT_TRUE(logger.ok()) << (logger.ok() ? "" : logger.error().message);
    return std::move(logger).value();
  }

  static std::vector<std::string> lines(const std::string& path) {
    std::vector<std::string> out;
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);) out.push_back(line);
    return out;
  }
  std::vector<std::string> lines() const { return lines(options_.output); }
  static bool exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

  std::string directory_;
  LogOptions options_;
  FakeClock clock_;
};

TEST_F(LoggerTest, ALineIsOneJsonObjectWithTheCommonFieldsFirst) {
  auto logger = open();
  logger->set_epoch(Epoch(2));
  logger->info("became leader", {{"term", Term(7)}, {"ready", true}, {"share", 0.5}, {"reason", "vote"}});
  logger->flush();
  ASSERT_EQ(lines().size(), 1u);
  EXPECT_EQ(lines()[0], R"({"ts":"2026-09-21T15:13:20.000000Z","level":"info","msg":"became leader","node":3,"region":"east",)"
                        R"("epoch":2,"term":7,"ready":true,"share":0.500000,"reason":"vote"})");
}

TEST_F(LoggerTest, WhateverAFieldHoldsTheLineParses) {
  auto logger = open();
  const std::string nasty = std::string("quote\" back\\slash\nline\ttab\x01 nul") + '\0' + "\xff\xc0\xaf \xed\xa0\x80 é 日本 \xf0\x9f\x8c\x8a";
  logger->warn("odd", {{"text", nasty}, {"infinite", 1.0 / 0.0}, {"nan", 0.0 / 0.0}, {"node", "other"}, {"key\"", 1}});
  logger->flush();
  ASSERT_EQ(lines().size(), 1u);
  boost::json::error_code error;
  const auto value = boost::json::parse(lines()[0], error);
  ASSERT_FALSE(error) << lines()[0];
  const auto& object = value.as_object();
  EXPECT_EQ(object.at("node").as_int64(), 3);
  EXPECT_EQ(object.at("event_node").as_string(), "other");
  EXPECT_EQ(object.at("key\"").as_int64(), 1);
  EXPECT_EQ(object.at("infinite").as_string(), "inf");
  const std::string text(object.at("text").as_string());
  EXPECT_NE(text.find("é 日本 \xf0\x9f\x8c\x8a"), std::string::npos);
  EXPECT_NE(text.find("\xef\xbf\xbd"), std::string::npos);
}

TEST_F(LoggerTest, PrettyLinesReadLikeSentences) {
  options_.format = LogFormat::kPretty;
  auto logger = open();
  logger->error("disk failed", {{"path", "/a b"}, {"errno", 5}, {"why", "a=b"}});
  logger->flush();
  EXPECT_EQ(lines()[0], R"(15:13:20.000 ERROR disk failed  path="/a b" errno=5 why="a=b")");
}

TEST_F(LoggerTest, TheLevelDecidesAndMayChange) {
  auto logger = open();
  logger->debug("hidden");
  logger->set_level(Level::kDebug);
  logger->debug("shown");
  logger->set_level(Level::kError);
  logger->warn("hidden too");
  logger->flush();
  ASSERT_EQ(lines().size(), 1u);
  EXPECT_NE(lines()[0].find("\"msg\":\"shown\""), std::string::npos);
}

TEST_F(LoggerTest, AFileIsRotatedBySizeAndOnlySoManyBackupsStay) {
  options_.max_size = 1000;
  options_.max_backups = 2;
  auto logger = open();
  for (int i = 0; i < 40; ++i) {
    logger->info("line", {{"i", i}, {"padding", std::string(100, 'x')}});
    clock_.advance(2s);
  }
  logger->flush();
  EXPECT_TRUE(exists(options_.output + ".1"));
  EXPECT_TRUE(exists(options_.output + ".2"));
  EXPECT_FALSE(exists(options_.output + ".3"));
  for (const std::string& path : {options_.output, options_.output + ".1", options_.output + ".2"}) {
    struct stat status {};
    ASSERT_EQ(::stat(path.c_str(), &status), 0);
    EXPECT_LE(status.st_size, 1000);
  }
  EXPECT_NE(lines().back().find("\"i\":39"), std::string::npos);
  const auto first = lines().front(), last_of_backup = lines(options_.output + ".1").back();
  const auto number = [](const std::string& line) { return boost::json::parse(line).as_object().at("i").as_int64(); };
  EXPECT_EQ(number(first), number(last_of_backup) + 1);
  EXPECT_EQ(logger->dropped(), 0u);
}

TEST_F(LoggerTest, OldBackupsGoAtTheNextRotation) {
  options_.max_size = 300;
  options_.max_age = 30 * 365 * 24h;  // the new files are of the machine's date, whatever that is
  std::ofstream(options_.output + ".1") << "old\n";
  const timespec old[2] = {{1'000'000, 0}, {1'000'000, 0}};
  ASSERT_EQ(utimensat(AT_FDCWD, (options_.output + ".1").c_str(), old, 0), 0);
  auto logger = open();
  for (int i = 0; i < 3; ++i) logger->info("line", {{"padding", std::string(150, 'x')}});
  logger->flush();
  EXPECT_TRUE(exists(options_.output + ".1"));
  EXPECT_FALSE(exists(options_.output + ".3"));
  for (const char* n : {".1", ".2"})
    for (const std::string& line : lines(options_.output + n)) EXPECT_NE(line, "old");
}

TEST_F(LoggerTest, ReopenFollowsAFileThatWasMovedAway) {
  auto logger = open();
  logger->info("before");
  logger->flush();
  ASSERT_EQ(::rename(options_.output.c_str(), (directory_ + "/moved").c_str()), 0);
  logger->reopen();
  logger->info("after");
  logger->flush();
  ASSERT_EQ(lines().size(), 1u);
  EXPECT_NE(lines()[0].find("after"), std::string::npos);
  EXPECT_EQ(lines(directory_ + "/moved").size(), 1u);
}

TEST_F(LoggerTest, ARepeatedMessageIsLimitedAndCounted) {
  auto logger = open();
  for (int i = 0; i < 1000; ++i) logger->error("write failed", {{"i", i}});
  logger->info("something else");
  clock_.advance(2s);
  logger->info("later");
  logger->flush();
  std::size_t failed = 0, others = 0;
  std::string repeated;
  for (const std::string& line : lines()) {
    const auto object = boost::json::parse(line).as_object();
    if (object.contains("repeated")) repeated = line;
    else if (object.at("msg").as_string() == "write failed") ++failed;
    else ++others;
  }
  EXPECT_EQ(failed, 20u);
  EXPECT_EQ(others, 2u);
  EXPECT_NE(repeated.find(R"("level":"error","msg":"write failed")"), std::string::npos);
  EXPECT_NE(repeated.find(R"("repeated":980)"), std::string::npos) << repeated;
}

TEST_F(LoggerTest, HeldBackRepetitionsAreToldAtTheEnd) {
  {
    auto logger = open();
    for (int i = 0; i < 25; ++i) logger->warn("again");
  }
  ASSERT_EQ(lines().size(), 21u);
  EXPECT_NE(lines().back().find("\"repeated\":5"), std::string::npos);
}

TEST_F(LoggerTest, AFullQueueDropsAndCountsAndSaysSoLater) {
  ASSERT_EQ(mkfifo(options_.output.c_str(), 0600), 0);
  // A pipe nobody reads stands for an output that blocks.
  const int reader = ::open(options_.output.c_str(), O_RDONLY | O_NONBLOCK);
  ASSERT_GE(reader, 0);
  options_.queue_bytes = 4096;
  auto logger = open();
  const std::string padding(1000, 'x');
  for (int i = 0; i < 400; ++i) {
    logger->info("line", {{"padding", padding}});
    clock_.advance(100ms);
  }
  EXPECT_GT(logger->dropped(), 0u);
  const std::uint64_t dropped = logger->dropped();
  std::string all;
  char buffer[65536];
  std::atomic<bool> stop = false;
  std::thread drain([&] {
    while (!stop) {
      const ssize_t n = ::read(reader, buffer, sizeof buffer);
      if (n > 0) all.append(buffer, static_cast<std::size_t>(n));
      else std::this_thread::yield();
    }
  });
  logger->flush();
  logger->info("room again");
  logger->flush();
  logger.reset();
  stop = true;
  drain.join();
  for (ssize_t n; (n = ::read(reader, buffer, sizeof buffer)) > 0;) all.append(buffer, static_cast<std::size_t>(n));
  ::close(reader);
  std::uint64_t told = 0;
  std::istringstream written(all);
  for (std::string line; std::getline(written, line);) {
    const auto object = boost::json::parse(line).as_object();
    if (object.at("msg").as_string() == "log lines were dropped") told += object.at("dropped").to_number<std::uint64_t>();
  }
  EXPECT_EQ(told, dropped);
  EXPECT_NE(all.find("room again"), std::string::npos);
}

TEST_F(LoggerTest, LinesOfSeveralThreadsDoNotMix) {
  auto logger = open();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 500; ++i) logger->write(Level::kInfo, "message " + std::to_string(t) + "/" + std::to_string(i), {{"t", t}});
    });
  for (std::thread& thread : threads) thread.join();
  logger->flush();
  EXPECT_EQ(lines().size(), 2000u);
  for (const std::string& line : lines()) {
    boost::json::error_code error;
    boost::json::parse(line, error);
    ASSERT_FALSE(error) << line;
  }
}

TEST_F(LoggerTest, AFileThatCannotBeOpenedStopsTheStart) {
  options_.output = "/nonexistent/dir/log";
  const auto logger = Logger::open(options_, clock_);
  ASSERT_FALSE(logger.ok());
  EXPECT_EQ(logger.error().message, "cannot open the log file /nonexistent/dir/log: No such file or directory; see log.output");
}

TEST(LogLevel, IsReadByName) {
  EXPECT_EQ(parse_level("warn").value(), Level::kWarn);
  EXPECT_FALSE(parse_level("loud").ok());
}

}  // namespace
}  // namespace leeward::telemetry
