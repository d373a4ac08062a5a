// The stream between regions as one member takes part in it: source of the
// primary, client of a following group, pings, retention, arming, verdicts.
// Wiring makes one for each node::Group.
//
// Core loop, construction and destruction included (or while the loop does not
// run). Registers itself as observer, status extension and handler of
// Lane::kStream, and takes that back when it is destroyed.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "node/group.h"
#include "standby/arming.h"
#include "standby/client.h"
#include "standby/eligibility.h"
#include "standby/followers.h"
#include "standby/handover.h"
#include "standby/hashes.h"
#include "standby/measuring.h"
#include "standby/outbox.h"
#include "standby/pings.h"
#include "standby/promotion.h"
#include "standby/rearming.h"
#include "standby/regions.h"
#include "standby/rpo_gate.h"
#include "standby/source.h"
#include "standby/stamps.h"
#include "standby/way_back.h"
#include "standby/succession.h"
#include "standby/switchover.h"

namespace leeward::standby {

struct ReplicationOptions {
  SourceOptions source;
  ClientOptions client;
  ArmingOptions arming;
  PromotionOptions promotion;
  SwitchoverOptions switchover;
  EligibilityLimits eligibility;
  GovernorOptions governor;
  Duration ping_interval = 50ms;
  Duration primary_silence = 5s;  // dr.primary_silence
  Duration handover_after = 3s;
};

// Calls passed between regions; forwarding.h implements it.
class ForwardHandler {
 public:
  virtual ~ForwardHandler() = default;
  virtual void forward(NodeId from, Forward call) = 0;
  virtual void reply(NodeId from, ForwardReply reply) = 0;
  virtual void following(bool yes) = 0;  // whether this group follows; again and again
  // Something has changed that calls may wait for: who serves, or a Seal is open no more.
  virtual void turned() {}
  virtual void stopping() {}
};

class Replication final : public node::GroupObserver, public node::StatusExtension {
 public:
  Replication(node::Group& group, ReplicationOptions options);
  ~Replication() override;
  Replication(const Replication&) = delete;
  Replication& operator=(const Replication&) = delete;

  // Begins; the group's lineage may still be unknown.
  void start();
  void set_rpo_policy(RpoPolicy policy, Duration budget) { rpo_.set_policy(policy, budget); }
  void set_forward_handler(ForwardHandler* handler) { forward_ = handler; }
  // At the leader of a fenced group: puts what it alone holds into a ledger, and
  // follows. Elsewhere nothing.
  void rejoin() { client_.rejoin(); }

  const StandbyProbe& probe() const { return probe_; }
  StandbyProbe& probe() { return probe_; }
  Outbox& outbox() { return outbox_; }
  const Regions& regions() const { return regions_; }
  const StreamClient& client() const { return client_; }
  const StreamSource& source() const { return source_; }
  const Pinger& pinger() const { return pinger_; }
  Recovery& recovery() { return promoter_; }
  Handover& handover() { return desk_; }
  WayBack& way_back() { return returner_; }
  // After a switchover: who said that its group serves now. 0: nobody yet.
  NodeId successor() const { return successor_; }

  bool heard(Instant now) const;
  // A member of the primary to pass calls to: its leader if reachable.
  NodeId primary_member() const;
  std::optional<region::Armed> armed() const;

  // `done` runs once: with the history position that was committed in the
  // primary at some time after this call, or kUnavailable after `timeout`.
  void primary_commit(Duration timeout, Function<void(Result<Position>)> done);

  // `done` runs once: when this member has applied the history up to `index`,
  // or with kDeadline at `until`.
  HistoryIndex applied_here() const;
  void when_applied(HistoryIndex index, Instant until, Function<void(Result<void>)> done);

  // node::GroupObserver
  void role_changed() override;
  void committed(Index index) override;
  void applied(std::span<const Entry> entries) override;
  void stopping() override;
  // node::StatusExtension
  void extend(NodeStatus& node, MemberStatus& self) override;

 private:
  struct Told {  // Presence of another member of this group
    Presence presence;
    Instant at{};
  };
  struct WaitingCommit {
    std::uint64_t sequence;  // of the ping that asks; 0: not sent yet
    Instant until;
    Function<void(Result<Position>)> done;
  };

  struct WaitingApply {
    Instant until;
    Function<void(Result<void>)> done;
  };

  void received(NodeId from, Bytes bytes);
  void dispatch(NodeId from, const Header& header, Body body, std::size_t wire_bytes);
  void answered(NodeId from, const Pong& pong);
  void heed_role();
  void tick();
  void tick_primary(Instant now);
  void tick_following(Instant now);
  void tell_presence(Instant now);
  void ask_cold(Instant now);
  void asked_cold(NodeId from, std::uint64_t question);
  void remember_damage(bool streaming, const std::string& damage);
  void hand_over(Instant now);
  void ask_commit();
  Error no_primary() const;
  void expire_waiting(Instant now);
  // What the group's leader last said; nullptr: nothing lately, or this is it.
  const Presence* leader_presence(Instant now) const;
  bool heard_by_others(Instant now) const;
  Testimony testimony(Instant now) const;
  void told(NodeId from, GroupId by, const SealTold& told);
  Duration silence_left(Instant now) const;
  Duration commit_time() const;
  std::optional<PromotionProgress> promotion() const;
  EligibilityFacts facts(const NodeStatus& node, const MemberStatus& self, Instant now) const;

  node::Group& group_;
  ReplicationOptions options_;
  StandbyProbe probe_;
  Outbox outbox_;
  Followers followers_;
  StreamSource source_;
  StreamClient client_;
  Pinger pinger_;
  PingAnswerer answerer_;
  Arming arming_;
  RpoGate rpo_;
  Promoter promoter_;
  Stamps stamps_;
  Succession succession_;
  Switchover switchover_;
  Rearming rearming_;
  HandoverDesk desk_;
  Returner returner_;
  Measuring measuring_;
  ForwardHandler* forward_ = nullptr;

  Regions regions_;
  Instant surveyed_{};
  std::optional<region::Armed> armed_;  // as of armed_at_
  Instant armed_at_{};
  GroupRole role_ = GroupRole::kUnknown;  // as heeded
  std::optional<Instant> follows_since_;  // likewise: before that nobody was to be heard
  Epoch epoch_;                           // likewise; 0: not yet
  std::map<NodeId, Told> told_;
  std::vector<NamedCheck> eligibility_;  // of the group, as last shown; at a primary, of the armed one
  NodeId successor_;
  std::string damage_;  // what a leader of this group found last; streaming refutes it
  Instant presence_told_{};
  Instant asked_cold_{};
  Instant handed_over_{};
  std::vector<WaitingCommit> waiting_commits_;
  std::multimap<HistoryIndex, WaitingApply> waiting_applies_;
  Executor::TimerId timer_ = 0;
  Executor::TimerId ask_timer_ = 0;
  bool stopping_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace leeward::standby
