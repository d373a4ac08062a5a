// What a group writes, over an upgrade that is taken back, goes on, and is to stay.
#include "node/support.h"

namespace leeward::node {
namespace {

constexpr std::uint32_t kOlder = kNewestFormat - 1;

struct Formats : Fixture {
  void make_older(WorldOptions o) {
    make(std::move(o));
    for (const auto id : w().ids()) knows[id] = kOlder;
    w().adjust = [this](MemberOptions& options) { options.newest_format = knows.at(options.self); };
  }
  // Stopped, exchanged for another version, started.
  void exchange(NodeId id, std::uint32_t version) {
    w().stop(id);
    knows[id] = version;
    w().start(id);
  }
  bool all_up() {
    return w().run_until([&] {
      for (const auto id : w().ids())
        if (!w().member(id) || !w().member(id)->status().leader || w().member(id)->status().state == MemberState::kWaiting) return false;
      return w().leader().has_value();
    });
  }
  Result<bool> finalize(NodeId through) {
    auto answer = std::make_shared<Answer<bool>>();
    w().member(through)->finalize(w().client_loop(), [answer](Result<bool> r) { answer->result = r; });
    EXPECT_TRUE(w().run_until([&] { return answer->result.has_value(); })) << w().checkers.breach();
    return *answer->result;
  }
  bool all_write(std::uint32_t format) {
    return w().run_until([&] {
      for (const auto id : w().ids())
        if (w().member(id) && w().member(id)->status().format != format) return false;
      return true;
    }, 5s);
  }
  std::map<NodeId, std::uint32_t> knows;
};

TEST_F(Formats, ANewGroupWritesTheNewestAndNoOlderVersionOpensWhatItWrote) {
  make({.seed = 51});
  for (const auto id : w().ids()) knows[id] = kNewestFormat;
  w().adjust = [this](MemberOptions& options) { options.newest_format = knows.at(options.self); };
  start_all();
  puts(5);
  ASSERT_TRUE(all_write(kNewestFormat));
  const auto id = follower();
  exchange(id, kOlder);
  EXPECT_FALSE(w().running(id));
  EXPECT_NE(w().open_error(id).find("run the newer leewardd"), std::string::npos) << w().open_error(id);
  knows[id] = kNewestFormat;
  w().start(id);
  EXPECT_TRUE(all_up()) << "nothing was written: " << w().open_error(id) << w().checkers.breach();
}

TEST_F(Formats, AnUpgradeGoesBackUntilItIsFinalized) {
  make_older({.seed = 52});
  start_all();
  puts(5);
  for (const auto id : w().ids()) {
    exchange(id, kNewestFormat);
    ASSERT_TRUE(all_up());
    puts(3);
    if (id == kThree) break;
    w().run_for(2s);  // all hear of the newer version, an older leader too
    const auto refused = finalize(*w().leader());
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code, Code::kRefused);
    EXPECT_EQ(refused.error().message.find("version: nodes "), 0u) << refused.error().message;
  }
  ASSERT_TRUE(all_write(kOlder));
  const auto back = follower();
  exchange(back, kOlder);
  ASSERT_TRUE(all_up()) << w().open_error(back);
  puts(3);
  exchange(back, kNewestFormat);
  ASSERT_TRUE(all_up());
  w().run_for(2s);  // reports of the newer version come

  const auto done = finalize(follower());
  ASSERT_TRUE(done.ok()) << done.error().message;
  EXPECT_FALSE(*done);
  ASSERT_TRUE(all_write(kNewestFormat));
  EXPECT_EQ(finalize(follower()).value(), true) << "it was so already";
  puts(3);
  w().run_for(1s);
  exchange(back, kOlder);
  EXPECT_FALSE(w().running(back));
  EXPECT_NE(w().open_error(back).find("run the newer leewardd"), std::string::npos) << w().open_error(back);
}

TEST_F(Formats, WhoIsSilentMayBeOld) {
  make({.seed = 53});
  for (const auto id : w().ids()) knows[id] = kOlder;
  w().adjust = [this](MemberOptions& options) { options.newest_format = knows.at(options.self); };
  start_all();
  puts(3);
  for (const auto id : w().ids()) {
    exchange(id, kNewestFormat);
    ASSERT_TRUE(all_up());
  }
  const auto down = follower();
  w().stop(down);
  w().run_for(5s);
  const auto refused = finalize(*w().leader());
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().message.find("silent: "), 0u) << refused.error().message;
}

TEST_F(Formats, WhatARemovedMemberKnewAsksNothingOfTheOthers) {
  make_older({.seed = 55});
  w().expect_changes();
  start_all();
  puts(3);
  const auto newer = follower();
  exchange(newer, kNewestFormat);
  ASSERT_TRUE(all_up());
  w().run_for(2s);
  ASSERT_FALSE(finalize(*w().leader()).ok());
  std::optional<Result<Index>> removed;
  w().member(*w().leader())->change_members({.remove = {newer}}, w().client_loop(), [&](Result<Index> r) { removed = std::move(r); });
  ASSERT_TRUE(w().run_until([&] { return removed.has_value(); }));
  ASSERT_TRUE(removed->ok()) << removed->error().message;
  w().run_for(2s);
  const auto done = finalize(*w().leader());
  ASSERT_TRUE(done.ok()) << done.error().message;
  EXPECT_TRUE(*done) << "nobody knows a newer one";
}

// It was away with its disk, or comes on an empty one: it learns of it from the group.
TEST_F(Formats, AnOldVersionThatIsToldOfItByItsGroupEndsAndWritesNothingOfIt) {
  make_older({.seed = 54});
  start_all();
  puts(3);
  for (const auto id : w().ids()) {
    exchange(id, kNewestFormat);
    ASSERT_TRUE(all_up());
  }
  w().run_for(2s);
  ASSERT_TRUE(finalize(*w().leader()).ok());
  const auto id = follower();
  w().wipe(id);
  knows[id] = kOlder;
  w().start(id);
  ASSERT_TRUE(w().run_until([&] { return !w().running(id); })) << w().checkers.breach();
  ASSERT_TRUE(w().fatal(id).has_value());
  EXPECT_EQ(w().fatal(id)->code, Code::kNewerFormat) << w().fatal(id)->message;
}

}  // namespace
}  // namespace leeward::node
