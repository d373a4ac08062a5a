// The console's documents, and the bounds of its streams.
#include "admin/console.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>

#include "admin/handler.h"

namespace leeward::admin {
namespace {

// Runs what is posted at once, and timers when told.
struct SteppedLoop final : Executor {
  void post(Callback work) override { work(); }
  TimerId after(Duration delay, Callback work) override {
    EXPECT_EQ(delay, 1s);
    timers.push_back(std::move(work));
    return timers.size();
  }
  void cancel(TimerId) override {}
  bool on_loop() const override { return true; }
  void second() {
    auto due = std::move(timers);
    timers.clear();
    for (auto& work : due) work();
  }
  std::vector<Callback> timers;
};

struct Reader final : HttpExchange {
  Reader(SteppedLoop& on, std::string path, std::string method) : loop_(on) {
    asked.method = std::move(method);
    asked.path = std::move(path);
    asked.peer.loopback = true;
  }
  const HttpRequest& request() const override { return asked; }
  Executor& loop() override { return loop_; }
  void respond(HttpResponse response) override { head = std::move(response), alive = false; }
  void start_stream(HttpResponse response) override {
    head = std::move(response);
    if (head_only) alive = false;
  }
  void write(Bytes chunk) override { text += chunk.view(); }
  void end() override { alive = false; }
  std::size_t queued() const override { return behind; }
  bool open() const override { return alive; }
  void on_drain(Function<void()>) override {}
  void on_cancel(Function<void()>) override {}

  std::size_t documents() const {
    std::size_t n = 0;
    for (std::size_t at = 0; (at = text.find("data: ", at)) != std::string::npos; ++at) ++n;
    return n;
  }
  // The newest, which stands in one line.
  boost::json::object newest() const {
    const std::size_t from = text.rfind("data: ") + 6;
    EXPECT_EQ(text.find('\n', from), text.size() - 2);
    return boost::json::parse(text.substr(from)).as_object();
  }

  HttpRequest asked;
  HttpResponse head;
  std::string text;
  bool alive = true, head_only = false;
  std::size_t behind = 0;

 private:
  SteppedLoop& loop_;
};

class ConsoleTest : public ::testing::Test, public StatusSource {
 protected:
  NodeStatus status() const override { return ++made_, status_; }
  const NodeProbe& probe() const override { return probe_; }

  std::shared_ptr<Reader> ask(std::string path = "/console/events", std::string method = "GET", bool head_only = false) {
    auto reader = std::make_shared<Reader>(loop_, std::move(path), std::move(method));
    reader->head_only = head_only;
    handler_.handle(reader);
    return reader;
  }
  AdminSources sources() {
    AdminSources from;
    from.status = this;
    from.answers = [this](const NodeStatus& s) -> Result<std::string> {
      if (fails_) return Error{Code::kCorrupt, "an epoch does not parse"};
      return "{\"cluster_status\":{\"epoch\":\"" + std::to_string(s.epoch.value()) + "\"}}";
    };
    from.flight_since = [this](std::uint64_t number, std::string& lines) {
      asked_since_.push_back(number);
      lines += std::exchange(happened_, "");
      return number + 10;
    };
    from.now = [] { return Instant(1h); };
    from.wall = [] { return WallTime(1700000000123ms); };
    from.max_lag = 2s;
    return from;
  }

  mutable int made_ = 0;
  NodeStatus status_;
  NodeProbe probe_;
  SteppedLoop loop_;
  bool fails_ = false;
  std::string happened_;
  std::vector<std::uint64_t> asked_since_;
  AdminHandler handler_{sources(), Surface::kAdmin};
};

TEST_F(ConsoleTest, AStreamBeginsWithADocumentAndGoesOnWithOneEachSecond) {
  const auto reader = ask();
  EXPECT_EQ(reader->head.status, 200);
  EXPECT_EQ(reader->head.content_type, "text/event-stream; charset=utf-8");
  EXPECT_TRUE(reader->text.starts_with("retry: 1000\n\ndata: {"));
  EXPECT_EQ(reader->documents(), 1u);
  status_.epoch = Epoch(7);
  loop_.second();
  EXPECT_EQ(reader->documents(), 2u);
  EXPECT_EQ(reader->newest().at("leewardctl").at("cluster_status").at("epoch").as_string(), "7");
}

TEST_F(ConsoleTest, OneDocumentASecondIsMadeForAllAndNoneWhenNobodyLooks) {
  std::vector<std::shared_ptr<Reader>> readers;
  for (int i = 0; i < 5; ++i) readers.push_back(ask());
  EXPECT_EQ(loop_.timers.size(), 1u) << "one clock for all";
  made_ = 0;
  loop_.second();
  EXPECT_EQ(made_, 1);
  for (const auto& reader : readers) EXPECT_EQ(reader->documents(), 2u);
  for (const auto& reader : readers) reader->alive = false;
  loop_.second();
  EXPECT_EQ(made_, 1);
  EXPECT_TRUE(loop_.timers.empty());
  const auto again = ask();
  loop_.second();
  EXPECT_EQ(again->documents(), 2u) << "the clock begins anew";
}

TEST_F(ConsoleTest, StreamsAreBoundedAndARefusalSaysSo) {
  std::vector<std::shared_ptr<Reader>> readers;
  for (std::size_t i = 0; i < Console::kStreams; ++i) EXPECT_EQ(readers.emplace_back(ask())->head.status, 200) << i;
  const auto refused = ask();
  EXPECT_EQ(refused->head.status, 503);
  EXPECT_EQ(refused->head.body.view(), "16 consoles are open at this node; close one, or look at another node\n");
  EXPECT_EQ(refused->documents(), 0u);
  readers[3]->alive = false;  // its browser went away
  EXPECT_EQ(ask()->head.status, 200);
}

TEST_F(ConsoleTest, WhoAsksForTheHeadAloneTakesNoPlace) {
  for (std::size_t i = 0; i < 2 * Console::kStreams; ++i) {
    EXPECT_EQ(ask("/console/events", "HEAD")->head.status, 200);
    EXPECT_EQ(ask("/console/events", "GET", true)->head.status, 200) << "as net hands a HEAD on";
  }
  EXPECT_TRUE(loop_.timers.empty());
  EXPECT_EQ(ask("/console/events", "POST")->head.status, 405);
}

TEST_F(ConsoleTest, AReaderThatTakesNothingIsLetGo) {
  const auto slow = ask(), quick = ask();
  slow->behind = Console::kBehind;
  loop_.second();
  EXPECT_TRUE(slow->alive);
  slow->behind = Console::kBehind + 1;
  loop_.second();
  EXPECT_FALSE(slow->alive);
  EXPECT_EQ(slow->documents(), 2u) << "and gets no more";
  EXPECT_EQ(quick->documents(), 3u);
}

TEST_F(ConsoleTest, AStopEndsAllStreamsAndTakesNoMore) {
  const auto reader = ask();
  handler_.stop();
  EXPECT_FALSE(reader->alive);
  const auto late = ask();
  EXPECT_EQ(late->head.status, 503);
  EXPECT_EQ(late->head.body.view(), "the node is stopping\n");
}

TEST_F(ConsoleTest, AHandlerMayGoWhileItsClockIsSet) {
  auto handler = std::make_unique<AdminHandler>(sources(), Surface::kAdmin);
  const auto reader = std::make_shared<Reader>(loop_, "/console/events", "GET");
  handler->handle(reader);
  reader->alive = false;
  handler.reset();
  loop_.second();
  EXPECT_TRUE(loop_.timers.empty());
}

TEST_F(ConsoleTest, AFollowingRegionTellsWhatItsPromotionWouldLose) {
  status_.role = GroupRole::kStandby;
  status_.self = NodeId(11);
  status_.members.push_back({.id = NodeId(11), .region = "west"});
  auto loss = ask()->newest().at("loss").as_object();
  EXPECT_EQ(loss.at("basis").as_string(), "follower");
  EXPECT_EQ(loss.at("region").as_string(), "west");
  for (const char* unknown : {"writes", "newer_ms", "estimated_rto_ms"}) EXPECT_FALSE(loss.contains(unknown)) << unknown;
  status_.known_loss = KnownLoss{3, 2, 4096};
  status_.primary_silence = 1500ms;
  status_.estimated_rto = 250ms;
  loss = ask()->newest().at("loss").as_object();
  EXPECT_EQ(loss.at("writes").as_string(), "3");
  EXPECT_EQ(loss.at("entries").as_string(), "2");
  EXPECT_EQ(loss.at("bytes").as_string(), "4096");
  EXPECT_EQ(loss.at("newer_ms").as_double(), 1500);
  EXPECT_EQ(loss.at("estimated_rto_ms").as_double(), 250);
}

TEST_F(ConsoleTest, ThePrimaryTellsWhatTheArmedRegionLacksAndNoOther) {
  status_.role = GroupRole::kPrimary;
  EXPECT_EQ(ask()->newest().at("loss").at("basis").as_string(), "none") << "nobody is armed";
  status_.armed_region = "west";
  status_.followers = {{.region = "north", .lag_writes = 99}, {.region = "west", .connected = true, .armed = true, .lag_writes = 7, .lag_entries = 4, .lag_bytes = 800}};
  auto loss = ask()->newest().at("loss").as_object();
  EXPECT_EQ(loss.at("basis").as_string(), "primary");
  EXPECT_EQ(loss.at("writes").as_string(), "7");
  EXPECT_FALSE(loss.contains("newer_ms")) << "not known";
  status_.followers[1].lag = 320ms;
  EXPECT_EQ(ask()->newest().at("loss").at("newer_ms").as_double(), 320);
  status_.role = GroupRole::kFenced;
  EXPECT_EQ(ask()->newest().at("loss").at("basis").as_string(), "none");
}

TEST_F(ConsoleTest, FiguresCarryTheirAgeAndTheDrillsTime) {
  status_.made = Instant(1h) - 3s;
  auto told = ask()->newest();
  EXPECT_EQ(told.at("age_ms").as_double(), 3000);
  EXPECT_EQ(told.at("time_ms").as_int64(), 1700000000123);
  EXPECT_EQ(told.at("max_lag_ms").as_double(), 2000);
  EXPECT_EQ(told.at("drill").at("count").as_string(), "0");
  EXPECT_FALSE(told.at("drill").as_object().contains("time_ms"));
  status_.drill = {.count = 2, .time_ms = 1699999999000, .rto_us = 43'500};
  told = ask()->newest();
  EXPECT_EQ(told.at("drill").at("time_ms").as_int64(), 1699999999000);
  EXPECT_EQ(told.at("drill").at("rto_ms").as_double(), 43.5);
}

TEST_F(ConsoleTest, WhatLeewardctlCannotTellIsAFaultAndTheRestIsShown) {
  fails_ = true;
  const auto told = ask()->newest();
  EXPECT_EQ(told.at("fault").as_string(), "an epoch does not parse");
  EXPECT_FALSE(told.contains("leewardctl"));
  EXPECT_TRUE(told.contains("checks"));
}

std::string line(int second, const std::string& message, const std::string& more = "") {
  return "{\"ts\":\"" + std::to_string(second) + "\",\"level\":\"info\",\"msg\":\"" + message + "\"" + more + "}\n";
}

TEST_F(ConsoleTest, ASlowRequestIsShownWithTheStagesOfItsSecond) {
  happened_ = line(1, "became leader") + line(2, "second", ",\"fsync\":\"1 up to 5 ms\"") + line(3, "slow request", ",\"took_ms\":300");
  auto reader = ask();
  auto slow = reader->newest().at("slow").as_array();
  ASSERT_EQ(slow.size(), 1u);
  EXPECT_EQ(slow[0].at("request").at("took_ms").as_int64(), 300);
  EXPECT_FALSE(slow[0].as_object().contains("second")) << "it is not over";
  happened_ = line(4, "second", ",\"fsync\":\"9 up to 250 ms\"") + line(5, "second");
  loop_.second();
  const auto told = reader->newest();
  EXPECT_EQ(told.at("slow").at(0).at("second").at("fsync").as_string(), "9 up to 250 ms") << "that in which it ended";
  EXPECT_EQ(told.at("second").at("ts").as_string(), "5");
  EXPECT_EQ(told.at("events").as_array().size(), 1u);
  EXPECT_EQ(asked_since_, (std::vector<std::uint64_t>{0, 10})) << "each event is read once";
}

TEST_F(ConsoleTest, EventsAndSlowRequestsAreTheNewestAndBounded) {
  for (int i = 0; i < 500; ++i) happened_ += line(i, "stirred") + line(i, "slow request");
  const auto told = ask()->newest();
  ASSERT_EQ(told.at("events").as_array().size(), ConsoleEvents::kEvents);
  ASSERT_EQ(told.at("slow").as_array().size(), ConsoleEvents::kSlow);
  EXPECT_EQ(told.at("events").at(0).at("ts").as_string(), "499");
  EXPECT_EQ(told.at("slow").at(0).at("request").at("ts").as_string(), "499");
}

TEST_F(ConsoleTest, AFieldThatLooksLikeAMessageIsNone) {
  happened_ = line(1, "stirred", ",\"by\":\",\\\"msg\\\":\\\"slow request\\\"\"");
  const auto told = ask()->newest();
  EXPECT_EQ(told.at("slow").as_array().size(), 0u);
  EXPECT_EQ(told.at("events").at(0).at("by").as_string(), ",\"msg\":\"slow request\"");
}

}  // namespace
}  // namespace leeward::admin
