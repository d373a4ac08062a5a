// What the stories about members share: a world that starts, is written to and
// asked, and a reason when it does not get there.
#pragma once

#include <gtest/gtest.h>

#include "proto/rpc.pb.h"
#include "world/world.h"

namespace leeward::node {

using sim::World;
using sim::WorldOptions;

inline constexpr NodeId kOne{1}, kTwo{2}, kThree{3};

struct Fixture : testing::Test {
  void make(WorldOptions o = {}) { world = std::make_unique<World>(std::move(o)); }
  World& w() { return *world; }

  void start(std::initializer_list<NodeId> ids) {
    for (const auto id : ids) w().start(id);
    ASSERT_TRUE(w().run_until([&] { return w().leader().has_value(); })) << w().checkers.breach();
  }
  void start_all() {
    for (const auto id : w().ids()) w().start(id);
    ASSERT_TRUE(w().run_until([&] { return w().leader().has_value(); })) << w().checkers.breach();
  }
  Outcome put(NodeId id, const std::string& key, const std::string& value) {
    auto put = w().put(id, key, value);
    EXPECT_TRUE(w().run_until([&] { return put->ended; })) << w().checkers.breach();
    return put->outcome;
  }
  void puts(int count) {
    for (int i = 0; i < count; ++i) {
      ASSERT_TRUE(w().run_until([&] { return w().leader().has_value(); })) << w().checkers.breach();  // it may have been removed
      ASSERT_EQ(put(*w().leader(), "key" + std::to_string(i % 10), std::string(100, 'v')).end, Outcome::End::kApplied);
    }
  }
  bool leads_next(NodeId id) {
    for (int i = 0; i < 5 && w().leader() != id; ++i) {
      w().member(*w().leader())->transfer_leadership(id);
      (void)w().run_until([&] { return w().leader() == id; }, 5s);
    }
    w().run_for(1s);  // it knows who answers it
    return w().leader() == id;
  }
  NodeId follower() {
    for (const auto id : w().ids())
      if (id != *w().leader() && w().member(id)) return id;
    return {};
  }
  template <class T>
  struct Answer {
    std::optional<Result<T>> result;
  };
  Result<bool> admit(NodeId through, NodeId id) {
    auto answer = std::make_shared<Answer<bool>>();
    w().member(through)->admit(id, w().client_loop(), [answer](Result<bool> r) { answer->result = r; });
    EXPECT_TRUE(w().run_until([&] { return answer->result.has_value(); })) << w().checkers.breach();
    return *answer->result;
  }
  Result<std::int64_t> keep_alive(NodeId through, std::int64_t id) {
    auto answer = std::make_shared<Answer<std::int64_t>>();
    w().member(through)->keep_alive(id, w().client_loop(), [answer](Result<std::int64_t> r) { answer->result = r; });
    EXPECT_TRUE(w().run_until([&] { return answer->result.has_value(); })) << w().checkers.breach();
    return *answer->result;
  }
  Outcome grant(NodeId through, std::int64_t id, std::int64_t ttl) {
    etcdserverpb::LeaseGrantRequest request;
    request.set_id(id);
    request.set_ttl(ttl);
    auto outcome = std::make_shared<std::optional<Outcome>>();
    Command command;
    command.op = Op::kLeaseGrant;
    command.request = Bytes(request.SerializeAsString());
    w().member(through)->propose(std::move(command), std::nullopt, w().client_loop(),
                                 [outcome](Outcome o) { *outcome = std::move(o); });
    EXPECT_TRUE(w().run_until([&] { return outcome->has_value(); })) << w().checkers.breach();
    return **outcome;
  }
  bool admitted(NodeId id) { return w().member(id) && w().member(id)->status().admitted; }

  std::unique_ptr<World> world;
};

}  // namespace leeward::node
