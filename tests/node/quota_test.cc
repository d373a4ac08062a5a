// A state that has grown beyond its quota, as etcd's clients know it: NOSPACE.
#include "node/support.h"

namespace leeward::node {
namespace {

constexpr std::uint64_t kQuota = 64_KiB;

struct Quota : Fixture {
  // Until the group refuses one; false: it never did.
  bool fill(NodeId through) {
    for (int i = 0; i < 400; ++i) {
      last = put(through, "fill" + std::to_string(i), std::string(1000, 'v'));
      if (last.end != Outcome::End::kApplied) return true;
    }
    return false;
  }
  Outcome propose(NodeId through, Op op, const std::string& request) {
    auto outcome = std::make_shared<std::optional<Outcome>>();
    Command command;
    command.op = op;
    command.request = Bytes(request);
    w().member(through)->propose(std::move(command), std::nullopt, w().client_loop(), [outcome](Outcome o) { *outcome = std::move(o); });
    EXPECT_TRUE(w().run_until([&] { return outcome->has_value(); })) << w().checkers.breach();
    return **outcome;
  }
  Outcome remove_all(NodeId through) {
    etcdserverpb::DeleteRangeRequest request;
    request.set_key(std::string(1, '\0'));
    request.set_range_end(std::string(1, '\0'));
    return propose(through, Op::kDeleteRange, request.SerializeAsString());
  }
  Outcome compact(NodeId through, Revision revision) {
    etcdserverpb::CompactionRequest request;
    request.set_revision(revision.value());
    return propose(through, Op::kCompact, request.SerializeAsString());
  }
  Outcome txn(NodeId through, bool puts) {
    etcdserverpb::TxnRequest inner;
    auto& op = *inner.add_failure();
    if (puts) op.mutable_request_put()->set_key("t");
    else op.mutable_request_delete_range()->set_key("t");
    etcdserverpb::TxnRequest request;
    *request.add_success()->mutable_request_txn() = inner;
    return propose(through, Op::kTxn, request.SerializeAsString());
  }
  Result<bool> alarm(NodeId through, NodeId member, bool raised) {
    auto answer = std::make_shared<Answer<bool>>();
    w().member(through)->alarm(member, raised, w().client_loop(), [answer](Result<bool> r) { answer->result = r; });
    EXPECT_TRUE(w().run_until([&] { return answer->result.has_value(); })) << w().checkers.breach();
    return *answer->result;
  }
  bool alarmed_everywhere(bool alarmed) {
    return w().run_until([&] {
      for (const auto id : w().ids())
        if (w().member(id)->status().over_quota.empty() == alarmed) return false;
      return true;
    }, 5s);
  }
  Outcome last;
};

TEST_F(Quota, WhatNeedsRoomIsRefusedUntilThereIsSomeAndAnOperatorSaysSo) {
  make({.seed = 31, .quota = kQuota});
  start_all();
  const auto through = follower();
  ASSERT_TRUE(fill(through));
  EXPECT_EQ(last.end, Outcome::End::kNotApplied);
  EXPECT_EQ(last.error.code, Code::kNoSpace);
  EXPECT_EQ(last.error.message, "etcdserver: mvcc: database space exceeded") << "clients know this text";
  ASSERT_TRUE(alarmed_everywhere(true));
  for (const auto id : {through, *w().leader()}) {
    EXPECT_EQ(grant(id, 5, 60).error.code, Code::kNoSpace);
    EXPECT_EQ(txn(id, true).error.code, Code::kNoSpace) << "a put, however deep";
    EXPECT_EQ(txn(id, false).end, Outcome::End::kApplied);
  }
  EXPECT_EQ(remove_all(through).end, Outcome::End::kApplied) << "this makes room";
  const auto revision = w().member(through)->state().applied().revision;
  EXPECT_EQ(compact(through, revision).end, Outcome::End::kApplied);
  for (const auto id : w().ids()) ASSERT_TRUE(w().run_until([&] { return w().member(id)->state().db_bytes() < kQuota; }, 20s));
  EXPECT_EQ(put(through, "k", "v").error.code, Code::kNoSpace) << "nobody has said that it is well";
  const auto over = w().member(through)->status().over_quota;
  for (const auto id : over) EXPECT_EQ(alarm(through, id, false).value(), false);
  ASSERT_TRUE(alarmed_everywhere(false));
  EXPECT_EQ(alarm(through, over.front(), false).value(), true) << "it was so already";
  EXPECT_EQ(put(through, "k", "v").end, Outcome::End::kApplied);
  EXPECT_EQ(w().checkers.breach(), "");
}

TEST_F(Quota, AnAlarmThatIsLoweredWithoutRoomIsRaisedAgain) {
  make({.seed = 32, .quota = kQuota});
  start_all();
  ASSERT_TRUE(fill(*w().leader()));
  ASSERT_TRUE(alarmed_everywhere(true));
  const auto over = w().member(*w().leader())->status().over_quota.front();
  ASSERT_TRUE(alarm(follower(), over, false).ok());
  EXPECT_EQ(put(*w().leader(), "k", "v").error.code, Code::kNoSpace);
  w().run_for(3s);
  EXPECT_TRUE(alarmed_everywhere(true));
}

// What it saw as a leader, it looks at anew when it leads again.
TEST_F(Quota, ALeaderThatComesBackGoesByTheStateAsItIsNow) {
  make({.seed = 36, .quota = kQuota});
  start_all();
  const auto first = *w().leader(), second = follower();
  ASSERT_TRUE(fill(first));
  ASSERT_TRUE(alarmed_everywhere(true));
  ASSERT_TRUE(leads_next(second));
  ASSERT_EQ(remove_all(second).end, Outcome::End::kApplied);
  ASSERT_EQ(compact(second, w().member(second)->state().applied().revision).end, Outcome::End::kApplied);
  for (const auto id : w().ids()) ASSERT_TRUE(w().run_until([&] { return w().member(id)->state().db_bytes() < kQuota; }, 20s));
  w().run_for(1s);  // its leader has heard of it
  for (const auto id : w().member(second)->status().over_quota) ASSERT_TRUE(alarm(second, id, false).ok());
  ASSERT_TRUE(alarmed_everywhere(false));
  w().run_for(1s);
  const auto gives_up = w().scheduler.now() + 20s;
  w().member(second)->transfer_leadership(first);
  while (w().leader() != first && w().scheduler.now() < gives_up) {  // what comes while it is elected too
    const auto put = w().put(first, "k", "v");
    ASSERT_TRUE(w().run_until([&] { return put->ended; }));
    EXPECT_NE(put->outcome.error.code, Code::kNoSpace) << put->outcome.error.message;
  }
  EXPECT_EQ(w().leader(), first);
  EXPECT_EQ(put(first, "k", "v").end, Outcome::End::kApplied);
}

TEST_F(Quota, TheAlarmOutlivesItsLeaderAndEveryRestart) {
  make({.seed = 33, .quota = kQuota});
  start_all();
  ASSERT_TRUE(fill(*w().leader()));
  ASSERT_TRUE(alarmed_everywhere(true));
  ASSERT_EQ(remove_all(*w().leader()).end, Outcome::End::kApplied);
  for (const auto id : w().ids()) w().crash(id);
  start_all();
  EXPECT_TRUE(alarmed_everywhere(true));
  EXPECT_EQ(put(*w().leader(), "k", "v").error.code, Code::kNoSpace);
}

// In an election too: what waits for a leader is looked at when there is one.
TEST_F(Quota, WhatWaitedForALeaderIsRefusedToo) {
  make({.seed = 35});
  start_all();
  ASSERT_TRUE(alarm(follower(), kTwo, true).ok());
  ASSERT_TRUE(alarmed_everywhere(true));
  w().crash(*w().leader());
  std::vector<std::shared_ptr<World::Put>> puts;
  ASSERT_TRUE(w().run_until([&] {
    for (const auto id : w().ids())
      if (w().member(id) && puts.size() < 2000) puts.push_back(w().put(id, "k", "v"));
    return w().leader().has_value();
  })) << w().checkers.breach();
  ASSERT_TRUE(w().run_until([&] { return std::all_of(puts.begin(), puts.end(), [](const auto& p) { return p->ended; }); })) << w().checkers.breach();
  for (const auto& put : puts) EXPECT_NE(put->outcome.end, Outcome::End::kApplied) << put->outcome.error.message;
}

// Another leader's entry may stand where this one had put it.
TEST_F(Quota, AnAlarmThatIsInNoLogIsNotSaidToBeRaised) {
  make({.seed = 36});
  start_all();
  const auto old = *w().leader();
  w().network.isolate(old, w().ids());
  auto answer = std::make_shared<Answer<bool>>();
  w().member(old)->alarm(kTwo, true, w().client_loop(), [answer](Result<bool> r) { answer->result = r; });
  ASSERT_TRUE(w().run_until([&] { return w().leader() && *w().leader() != old; })) << w().checkers.breach();
  for (int i = 0; i < 3; ++i) ASSERT_EQ(put(*w().leader(), "k", "v").end, Outcome::End::kApplied);
  w().network.heal();
  ASSERT_TRUE(w().run_until([&] { return answer->result.has_value(); })) << w().checkers.breach();
  EXPECT_FALSE(answer->result->ok());
  EXPECT_TRUE(alarmed_everywhere(false));
}

TEST_F(Quota, AnAlarmMayBeRaisedByHandForAMemberOfTheGroup) {
  make({.seed = 34});
  start_all();
  EXPECT_EQ(alarm(follower(), NodeId(77), true).error().code, Code::kNotFound);
  EXPECT_EQ(alarm(follower(), kTwo, true).value(), false);
  EXPECT_EQ(alarm(follower(), kTwo, true).value(), true);
  EXPECT_EQ(put(*w().leader(), "k", "v").error.code, Code::kNoSpace);
  EXPECT_EQ(alarm(*w().leader(), kTwo, false).value(), false);
  EXPECT_EQ(put(*w().leader(), "k", "v").end, Outcome::End::kApplied);
}

}  // namespace
}  // namespace leeward::node
