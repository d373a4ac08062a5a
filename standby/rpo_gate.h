// The RPO policy at one member of the primary: measures the armed region for
// the Governor and does as it says, as the group's WriteGate. README.md,
// "Governor".
//
// Core loop. Holds nothing but numbers: what waits, waits in node's queue.
#pragma once

#include <optional>
#include <string>

#include "node/group.h"
#include "node/write_gate.h"
#include "region/state.h"
#include "standby/followers.h"
#include "standby/governor.h"

namespace leeward::standby {

class RpoGate final : public node::WriteGate {
 public:
  RpoGate(node::Group& group, const Followers& followers, GovernorOptions options);
  ~RpoGate() override;
  RpoGate(const RpoGate&) = delete;
  RpoGate& operator=(const RpoGate&) = delete;

  void set_policy(RpoPolicy policy, Duration budget);
  // Of a member of the primary, about every 50 ms. `armed`: as its state has it.
  void tick(Instant now, const std::optional<region::Armed>& armed);
  // This group is not the primary: nothing is asked of it.
  void rest();

  RpoStatus status() const;

  // node::WriteGate
  std::optional<Error> refusal() override;
  std::optional<Allowance> allowance(Instant now) override;

 private:
  void measure(Instant now, const region::Armed& armed);
  void tell(Instant now);

  node::Group& group_;
  const Followers& followers_;
  Governor governor_;
  std::optional<std::string> region_;  // that is armed
  std::optional<Duration> lag_;        // of it, as measured; nullopt: unknown
  bool judged_ = false;
  std::optional<Instant> suspended_since_;
  bool told_over_ = false, told_let_go_ = false, told_suspended_ = false;

  // What may be cut of what the rate has allowed so far.
  struct Bucket {
    Instant at;
    double level = 0;
    std::uint64_t cut = 0;
  };
  std::optional<Bucket> bucket_;
};

}  // namespace leeward::standby
