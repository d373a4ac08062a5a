// Calls at a standby, over whole regions with fake members.
#include <gtest/gtest.h>

#include "standby/forwarding.h"
#include "world.h"

namespace leeward::standby::testing {
namespace {

// A member as the API sees it, over the fake group: proposes at the region's
// leader and answers when it is committed.
class FakeService final : public node::Service {
 public:
  FakeService(World& world, FakeRegion& region, FakeMember& member) : world_(world), region_(region), member_(member) {}
  void propose(Command command, std::optional<Instant>, Executor& reply, Function<void(node::Outcome)> done) override {
    ++proposals;
    node::Outcome outcome;
    if (region_.role != GroupRole::kPrimary || !region_.write(std::string(command.request.view()))) {
      outcome.end = node::Outcome::End::kNotApplied;
      outcome.error = {Code::kUnavailable, "not here"};
    } else {
      outcome.end = node::Outcome::End::kApplied;
      outcome.result.response = Bytes("done " + std::string(command.request.view()));
      outcome.result.revision = Revision(7);
      last_origin = command.origin;
    }
    auto shared = std::make_shared<Function<void(node::Outcome)>>(std::move(done));
    world_.at(5ms, [&reply, shared, outcome] { reply.post([shared, outcome] { (*shared)(outcome); }); });
  }
  void read_barrier(std::optional<Instant>, Executor& reply, Function<void(Result<void>)> done) override {
    ++barriers;
    reply.post([done = std::move(done)]() mutable { done({}); });
  }
  bool read_now() const override { return true; }
  void keep_alive(std::int64_t lease, Executor& reply, Function<void(Result<std::int64_t>)> done) override {
    reply.post([lease, done = std::move(done)]() mutable {
      if (lease == 404)
        done(Error{Code::kNotFound, "etcdserver: requested lease not found"});
      else
        done(lease * 2);
    });
  }
  void lease_remaining(std::int64_t lease, Executor& reply, Function<void(Result<std::int64_t>)> done) override {
    reply.post([lease, done = std::move(done)]() mutable { done(lease); });
  }
  void transfer_leadership(NodeId, Executor&, Function<void(Result<void>)>) override {}
  void admit(NodeId, Executor&, Function<void(Result<bool>)>) override {}
  void alarm(NodeId, bool, Executor&, Function<void(Result<bool>)>) override {}
  void finalize(Executor&, Function<void(Result<bool>)>) override {}
  void change_members(node::MemberChange, Executor&, Function<void(Result<Index>)>) override {}
  void member_sync(NodeId, Executor&, Function<void(Result<std::uint64_t>)>) override {}
  Origin next_origin() override { return {member_.self(), Incarnation(1), 1, 1}; }
  std::uint64_t cluster_id() const override { return 1; }
  StateMachine& state() override { return member_.state_; }
  NodeStatus status() const override { return {}; }
  const NodeProbe& probe() const override { return probe_; }

  int proposals = 0, barriers = 0;
  Origin last_origin;

 private:
  World& world_;
  FakeRegion& region_;
  FakeMember& member_;
  NodeProbe probe_;
};

class Forwarding : public ::testing::Test {
 protected:
  void begin(ForwardingOptions options = {}) {
    w.start();
    for (auto& region : w.regions)
      for (auto& [id, m] : region->members) {
        members[id] = std::make_unique<FakeService>(w, *region, *m);
        services[id] = std::make_unique<ForwardingService>(*members[id], *m, *m->replication, options);
      }
    w.run_for(2s);
  }
  ~Forwarding() override { services.clear(); }

  std::optional<node::Outcome> put(std::uint64_t at, std::string value, Duration wait = 10s, std::optional<Duration> deadline = {}) {
    std::optional<node::Outcome> got;
    Command c;
    c.request = Bytes(std::move(value));
    auto& m = w.member(at);
    services[NodeId(at)]->propose(c, deadline ? std::optional(m.clock().now() + *deadline) : std::nullopt, io,
                                  [&](node::Outcome o) { got = std::move(o); });
    w.run_until([&] { return got.has_value(); }, wait);
    return got;
  }
  std::optional<Result<std::int64_t>> renew(std::uint64_t at, std::int64_t lease) {
    std::optional<Result<std::int64_t>> got;
    services[NodeId(at)]->keep_alive(lease, io, [&](Result<std::int64_t> r) { got = std::move(r); });
    w.run_until([&] { return got.has_value(); }, 10s);
    return got;
  }
  std::optional<Result<void>> barrier(std::uint64_t at) {
    std::optional<Result<void>> got;
    services[NodeId(at)]->read_barrier(std::nullopt, io, [&](Result<void> r) { got = std::move(r); });
    w.run_until([&] { return got.has_value(); }, 10s);
    return got;
  }

  TwoRegions w;
  FakeLoop io{w};
  std::map<NodeId, std::unique_ptr<FakeService>> members;
  std::map<NodeId, std::unique_ptr<ForwardingService>> services;
};

TEST_F(Forwarding, AWriteAtAStandbyIsAppliedInThePrimaryOnce) {
  begin();
  const auto outcome = put(5, "v");
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->end, node::Outcome::End::kApplied);
  EXPECT_EQ(outcome->result.response.view(), "done v");
  EXPECT_EQ(outcome->result.revision, Revision(7));
  int proposals = 0;
  for (auto& [id, m] : members) proposals += m->proposals;
  EXPECT_EQ(proposals, 1);
  EXPECT_EQ(members[w.east.leader_]->last_origin.node, w.east.leader_);  // it waits there, not here
  EXPECT_TRUE(w.run_until([&] { return w.caught_up(); }, 1s));
}

TEST_F(Forwarding, AtThePrimaryCallsGoToTheMember) {
  begin();
  EXPECT_TRUE(services[NodeId(1)]->read_now());
  EXPECT_FALSE(services[NodeId(5)]->read_now());
  EXPECT_TRUE(barrier(1)->ok());
  EXPECT_EQ(members[NodeId(1)]->barriers, 1);
  EXPECT_EQ(put(2, "v")->end, node::Outcome::End::kApplied);
}

TEST_F(Forwarding, LeaseCallsAndTheirErrorsComeBack) {
  begin();
  EXPECT_EQ(renew(4, 21)->value(), 42);
  const auto missing = renew(4, 404);
  ASSERT_FALSE(missing->ok());
  EXPECT_EQ(missing->error().code, Code::kNotFound);
  EXPECT_EQ(missing->error().message, "etcdserver: requested lease not found");
}

TEST_F(Forwarding, ALinearizableReadAtAStandbySeesWhatWasCommittedBefore) {
  begin();
  for (int i = 0; i < 20; ++i) {
    ASSERT_EQ(put(1, "v")->end, node::Outcome::End::kApplied);
    const auto commit = w.east.leader()->committed().position.index;
    ASSERT_TRUE(barrier(6)->ok());
    EXPECT_GE(w.member(6).state_.applied().point.position.index, commit);
  }
}

// As far as the primary, and of other entries: what it holds was never written there.
TEST_F(Forwarding, ALinearizableReadIsRefusedByAStandbyOfAnotherHistory) {
  begin();
  ASSERT_EQ(put(1, "v")->end, node::Outcome::End::kApplied);
  ASSERT_TRUE(w.run_until([&] { return w.caught_up(); }, 1s));
  ASSERT_TRUE(w.west.write("not from the stream"));
  ASSERT_TRUE(barrier(6)->ok()) << "what the primary has confirmed is the same so far";
  ASSERT_EQ(put(1, "v")->end, node::Outcome::End::kApplied);
  const auto got = barrier(6);
  ASSERT_FALSE(got->ok());
  EXPECT_NE(got->error().message.find("another history"), std::string::npos) << got->error().message;
}

TEST_F(Forwarding, ALinearizableReadWaitsForAStandbyThatIsBehind) {
  begin();
  for (auto& [id, m] : w.west.members) m->busy = true;
  ASSERT_EQ(put(1, "v")->end, node::Outcome::End::kApplied);
  std::optional<Result<void>> got;
  services[NodeId(6)]->read_barrier(std::nullopt, io, [&](Result<void> r) { got = std::move(r); });
  w.run_for(500ms);
  EXPECT_FALSE(got);
  for (auto& [id, m] : w.west.members) m->busy = false;
  ASSERT_TRUE(w.run_until([&] { return got.has_value(); }, 1s));
  EXPECT_TRUE(got->ok());
  EXPECT_EQ(w.member(6).state_.applied().point.position, w.east.leader()->committed().position);
  // One that never catches up says so in time.
  for (auto& [id, m] : w.west.members) m->busy = true;
  ASSERT_EQ(put(1, "v")->end, node::Outcome::End::kApplied);
  ASSERT_FALSE(barrier(6)->ok());
}

TEST_F(Forwarding, WithoutAPrimaryWritesNameTheNextEndpointAndReadsTheEpoch) {
  begin();
  for (std::uint64_t id : {1, 2, 3}) {
    services.erase(NodeId(id));
    w.member(id).crash();
  }
  w.run_for(6s);
  const auto outcome = put(5, "v");
  EXPECT_EQ(outcome->end, node::Outcome::End::kNotApplied);
  EXPECT_EQ(outcome->error, (Error{Code::kUnavailable, "there is no connection available"}));
  const auto read = barrier(5);
  ASSERT_FALSE(read->ok());
  EXPECT_EQ(read->error().code, Code::kUnavailable);
  EXPECT_NE(read->error().message.find("epoch 1"), std::string::npos);
}

TEST_F(Forwarding, AWaitingReadIsToldWhenThePrimaryFallsSilent) {
  begin();
  w.wan(w.east, w.west, [](Wire& x) { x.cut = true; });
  const auto result = barrier(5);
  ASSERT_TRUE(result) << "it waited out its own time";
  EXPECT_EQ(result->error().code, Code::kUnavailable);
  EXPECT_NE(result->error().message.find("epoch 1"), std::string::npos) << result->error().message;
}

TEST_F(Forwarding, AReplyThatDoesNotComeLeavesTheEndUnknown) {
  begin();
  w.wan(w.east, w.west, [](Wire& x) { x.cut = true; });
  const auto outcome = put(5, "v", 3s, 1s);
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->end, node::Outcome::End::kUnknown);
  EXPECT_EQ(outcome->error.code, Code::kDeadline);
  EXPECT_EQ(w.east.leader()->last().position.index, w.member(1).replication->armed() ? HistoryIndex(2) : HistoryIndex(1));
}

TEST_F(Forwarding, CanBeSwitchedOff) {
  begin({.forward = false});
  EXPECT_EQ(put(5, "v")->error.message, "there is no connection available");
  EXPECT_FALSE(barrier(5)->ok());
  EXPECT_EQ(members[NodeId(1)]->proposals, 0);
}

TEST_F(Forwarding, IsBounded) {
  begin({.max_waiting = 3});
  w.wan(w.east, w.west, [](Wire& x) { x.cut = true; });
  int overloaded = 0, ended = 0;
  for (int i = 0; i < 10; ++i) {
    Command c;
    services[NodeId(5)]->propose(c, std::nullopt, io, [&](node::Outcome o) {
      ++ended;
      overloaded += o.error.code == Code::kOverloaded;
    });
  }
  w.run_for(100ms);
  EXPECT_EQ(overloaded, 7);
  w.run_for(10s);
  EXPECT_EQ(ended, 10);
}

}  // namespace
}  // namespace leeward::standby::testing
