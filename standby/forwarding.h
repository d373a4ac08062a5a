// node::Service for clients of any region: at a primary it is the member
// itself; at a standby writes, lease calls and linearizable reads go to the
// primary, once, when it is heard (`dr.forward`), else they are refused. At a
// member of the primary it answers what standbys pass on.
//
// During a switchover calls wait here, wherever they were asked: each ended as
// certainly not done because of the Seal, so it may be begun again, here when the
// Seal is open no more, or at the region that serves now.
//
// Service is for any thread, as that of the member; construction, destruction
// and ForwardHandler belong to the core loop. It outlives no part it is given.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <vector>

#include "node/group.h"
#include "node/service.h"
#include "standby/replication.h"

namespace leeward::standby {

struct ForwardingOptions {
  bool forward = true;                // dr.forward
  Duration request_timeout = 7s;      // when the caller has no deadline
  std::size_t max_waiting = 4096;     // calls passed on, and calls served for others
  std::size_t max_bytes = 16_MiB;     // of the former
  std::size_t max_held = 65536;       // calls that wait for the end of a switchover,
  std::size_t max_held_bytes = 64_MiB;
};

using node::text::kNotPrimary;
using node::text::kSealed;
using node::text::kStandby;
using node::kLeaving;
using node::kTryNextEndpoint;

class ForwardingService final : public node::Service, public ForwardHandler {
 public:
  ForwardingService(node::Service& member, node::Group& group, Replication& replication, ForwardingOptions options);
  ~ForwardingService() override;
  ForwardingService(const ForwardingService&) = delete;
  ForwardingService& operator=(const ForwardingService&) = delete;

  // --- node::Service ---
  void propose(Command command, std::optional<Instant> deadline, Executor& reply,
               Function<void(node::Outcome)> done) override;
  void read_barrier(std::optional<Instant> deadline, Executor& reply, Function<void(Result<void>)> done) override;
  bool read_now() const override { return !following_ && member_.read_now(); }
  void keep_alive(std::int64_t lease, Executor& reply, Function<void(Result<std::int64_t>)> done) override;
  void lease_remaining(std::int64_t lease, Executor& reply, Function<void(Result<std::int64_t>)> done) override;
  void transfer_leadership(NodeId to, Executor& reply, Function<void(Result<void>)> done) override {
    member_.transfer_leadership(to, reply, std::move(done));
  }
  void admit(NodeId member, Executor& reply, Function<void(Result<bool>)> done) override {
    member_.admit(member, reply, std::move(done));
  }
  void alarm(NodeId member, bool raised, Executor& reply, Function<void(Result<bool>)> done) override {
    member_.alarm(member, raised, reply, std::move(done));
  }
  void finalize(Executor& reply, Function<void(Result<bool>)> done) override { member_.finalize(reply, std::move(done)); }
  void change_standing(node::StandingChange change, Executor& reply, Function<void(Result<void>)> done) override {
    member_.change_standing(std::move(change), reply, std::move(done));
  }
  void change_members(node::MemberChange change, Executor& reply, Function<void(Result<Index>)> done) override {
    member_.change_members(std::move(change), reply, std::move(done));
  }
  void member_sync(NodeId member, Executor& reply, Function<void(Result<std::uint64_t>)> done) override {
    member_.member_sync(member, reply, std::move(done));
  }
  Origin next_origin() override { return member_.next_origin(); }
  std::uint64_t cluster_id() const override { return member_.cluster_id(); }
  StateMachine& state() override { return member_.state(); }
  NodeStatus status() const override { return member_.status(); }
  const NodeProbe& probe() const override { return member_.probe(); }

  // --- ForwardHandler ---
  void forward(NodeId from, Forward call) override;
  void reply(NodeId from, ForwardReply reply) override;
  void following(bool yes) override;
  void turned() override;
  void stopping() override;

 private:
  using Done = Function<void(ForwardReply)>;
  struct Waiting {
    NodeId to;
    Instant until{};
    std::size_t bytes = 0;
    Done done;
  };

  // What a client asked, until it is answered.
  struct Asked {
    Forward call;  // kPropose: command; else the lease
    bool read = false;
    std::optional<Instant> deadline;
    Instant until{};
    bool held = false;  // has waited for the end of a switchover
    Executor* reply = nullptr;
    Function<void(ForwardReply)> done;
  };
  using AskedPtr = std::shared_ptr<Asked>;

  AskedPtr asked(Call kind, std::optional<Instant> deadline, Executor& reply);
  // Any thread; then on the core loop where it must be.
  void begin(AskedPtr asked);
  void begin_on_core(AskedPtr asked);
  void ask_member(AskedPtr asked);
  void ask_elsewhere(AskedPtr asked);
  void hold(AskedPtr asked, ForwardReply reply);
  void begin_again(AskedPtr asked);
  void begin_held();
  // To whom a fenced member passes what has waited.
  NodeId successor() const;

  // Core loop: sends the call, or ends it at once.
  void pass_on(NodeId to, Forward call, Instant until, Done done);
  void pass_on_traced(NodeId to, Forward call, Instant until, Done done);
  void wait_here(std::optional<Instant> deadline, Function<void(Result<void>)> done);
  void expire();
  void watch_time();
  void answer(NodeId to, ForwardReply reply);
  std::string silent_text() const;
  std::string diverged_text() const;

  node::Service& member_;
  node::Group& group_;
  Replication& replication_;
  ForwardingOptions options_;
  std::atomic<bool> following_{false};
  std::atomic<bool> regions_{false};  // there is another one: a switchover may come
  std::vector<AskedPtr> held_;
  std::size_t held_bytes_ = 0;
  bool beginning_ = false, stopped_ = false;
  std::map<std::uint64_t, Waiting> waiting_;  // by request
  std::size_t waiting_bytes_ = 0;
  std::size_t serving_ = 0;
  std::uint64_t next_request_ = 0;
  Executor::TimerId timer_ = 0;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace leeward::standby
