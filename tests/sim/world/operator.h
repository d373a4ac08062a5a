// An operator of two regions who does at random what one may do about their
// roles (loses a region, promotes, takes back, hands over, arms), whatever the
// regions are in the middle of; and the judge of what came of all that:
// standby/PROTOCOL.md. One for each World, on its thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "ports/recovery.h"
#include "world/world.h"

namespace leeward::sim {

class Operator {
 public:
  explicit Operator(World& world) : world_(world) {}

  void act();
  // One step towards rest: nobody is lost, who was primary follows, somebody is armed.
  void mend();
  // Whether one region serves, the other one follows it, and is armed.
  bool at_rest();
  // When all are equal. I6: what was acknowledged and did not live on is in a ledger,
  // or in a range that a ledger lacks. I7: what was lost is within what was announced.
  void judge();
  // How often each act was done to its end.
  const std::map<std::string, int>& done() const { return done_; }

 private:
  NodeId any();
  NodeId leader_of(GroupRole now);
  GroupRole role(GroupRole group);  // of that group's log now
  void lose();
  // A group's majority is gone for good, or so it is thought.
  void lose_members();
  void regroup();     // its survivors are told to be a group: again, until they are
  void give_back();   // who was lost comes back, on an empty disk or on its own
  void take_in(GroupRole group);
  std::vector<NodeId> left_of(GroupRole group);
  void promote(NodeId at);
  void ask(NodeId at, const PromotionRequest& request);
  static bool force(const PromotionPlan& plan, PromotionRequest& request);
  void force_at(NodeId at);  // whatever refuses there
  bool all_vote();
  void switch_over();
  void rearm();
  void take_back(bool all);
  void judge_ledgers(NodeId id, std::set<std::string>& put_aside, bool& incomplete);

  World& world_;
  std::map<std::string, int> done_;
  struct Loss {
    GroupRole group;
    Instant gives_up;    // and the lost come back as they were, if nothing was begun
    bool begun = false;  // survivors were told: only they can go on
    bool done = false;
  };
  std::optional<Loss> loss_;
  Instant asked_{}, sealed_since_{};
};

}  // namespace leeward::sim
