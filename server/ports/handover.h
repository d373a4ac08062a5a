// What an operator asks of a primary that lives: to hand its role over to the
// armed region, to take that back, and which region is to be armed.
// standby/PROTOCOL.md, "Switchover". `standby` implements it, the API serves it.
// Plain values; any thread may call, `reply` runs `done`, exactly once.
//
// Errors of all: kRefused, "rule: why"; kUnavailable: certainly not begun, for
// another node leads (the message names it); kUnknown: begun, and how it ends
// `dr status` tells.
#pragma once

#include <string>
#include <vector>

#include "base/function.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/units.h"
#include "ports/executor.h"

namespace leeward {

struct SwitchoverRequest {
  std::string region;      // empty: the armed one
  std::string by, reason;  // who, and why; kept in the history
};

struct SwitchoverRecord {
  Epoch epoch;
  std::uint64_t promotion = 0;
  std::string region;  // that is primary now
  NodeId leader;
  HistoryIndex fork;
  Revision fork_revision, first_revision;
  struct Step {
    std::string name;  // seal, stream, epoch_change
    Duration took{};
  };
  std::vector<Step> steps;
  Duration took{};
  // From when writes began to wait until those that wait here were let go.
  Duration paused{};
};

struct HandoverState {
  Epoch epoch;
  std::string state;         // serving, sealed
  std::string armed_region;  // empty: nobody is
  bool changed = true;       // false: it was so already
};

class Handover {
 public:
  virtual ~Handover() = default;
  virtual void switchover(SwitchoverRequest request, Executor& reply, Function<void(Result<SwitchoverRecord>)> done) = 0;
  // Takes a switchover back that has not become one yet.
  virtual void abort(Executor& reply, Function<void(Result<HandoverState>)> done) = 0;
  // Arms that region, or the first that has caught up, by the fencing mode and
  // lease of this node's configuration; whoever else was armed resigns first.
  virtual void arm(std::string region, Executor& reply, Function<void(Result<HandoverState>)> done) = 0;
  // `force`: without the word of a region that is known to be destroyed.
  virtual void disarm(bool force, Executor& reply, Function<void(Result<HandoverState>)> done) = 0;
};

}  // namespace leeward
