// What is told of a call that is waited for.
#include "ctl/patient_poster.h"

#include <future>
#include <ostream>
#include <streambuf>

#include <gtest/gtest.h>

namespace leeward::ctl {
namespace {

// Keeps what is written, and says when the first line is there.
class Lines final : public std::streambuf {
 public:
  std::promise<void> first;
  std::string text;

 private:
  int_type overflow(int_type c) override {
    text += static_cast<char>(c);
    if (c == '\n' && !told_) told_ = true, first.set_value();
    return c;
  }
  bool told_ = false;
};

class Answering final : public Poster {
 public:
  explicit Answering(std::function<void()> meanwhile) : meanwhile_(std::move(meanwhile)) {}
  Result<Reply> post(const Endpoint&, const std::string&, const std::string&, Duration) override {
    meanwhile_();
    return Reply{200, "{}"};
  }

 private:
  std::function<void()> meanwhile_;
};

const Endpoint kNode{.host = "10.0.1.2", .port = "2379"};

TEST(PatientPoster, SaysOfWhatTakesLongThatItIsUnderWayAndWhere) {
  Lines lines;
  std::ostream err(&lines);
  auto told = lines.first.get_future();
  Answering slow([&] { EXPECT_EQ(told.wait_for(std::chrono::seconds(30)), std::future_status::ready); });
  PatientPoster patient(slow, err, std::chrono::milliseconds(1), std::chrono::hours(1));
  const auto reply = patient.post(kNode, "/v3/dr/rejoin", "{}", std::chrono::seconds(60));
  ASSERT_TRUE(reply.ok());
  EXPECT_EQ(reply->status, 200);
  EXPECT_EQ(lines.text, "leewardctl: dr rejoin is under way at 10.0.1.2:2379: 0 s, at most 60 s\n");
}

TEST(PatientPoster, SaysNothingOfWhatAnswersAtOnceOrIsSoonOver) {
  Lines lines;
  std::ostream err(&lines);
  Answering quick([] {});
  PatientPoster late(quick, err, std::chrono::hours(1));
  EXPECT_TRUE(late.post(kNode, "/v3/dr/rejoin", "{}", std::chrono::hours(9)).ok());
  PatientPoster early(quick, err, std::chrono::seconds(2));
  EXPECT_TRUE(early.post(kNode, "/v3/dr/status", "{}", std::chrono::seconds(5)).ok());
  EXPECT_EQ(lines.text, "");
}

}  // namespace
}  // namespace leeward::ctl
