// What a committed kFollow asks of a member: history that its group held beyond
// the common position goes into a ledger, and the state back to that position.
// standby/PROTOCOL.md, "The way back".
//
// Made beside the current state, from the newest checkpoint at or below that
// position and the own log after it, in steps of bounded size on the files
// loop. Nothing is in use before Member has named the new state in its
// superblock: a crash begins again at the entry.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "node/context.h"
#include "region/ledger.h"
#include "node/snapshots.h"

namespace leeward::node {

class Rewind {
 public:
  struct Task {
    Lineage lineage;
    GroupId group;
    Entry follow;
    region::Ledger ledger;
    Index kept;                            // the last log index at or below what the ledger begins behind
    Index cut;                             // and at or below the common position
    std::optional<Snapshots::Kept> start;  // nullopt: from the log's beginning
    bool ledger_only = false;              // no state can be made; done() gets nullptr
    Path directory;                        // of the state to be made
    std::string group_state;               // as of the Follow
  };
  // On the core loop. Errors: kNoSpace, what was begun is removed then; others are final.
  using Done = Function<void(Result<std::shared_ptr<StateMachine>>)>;

  explicit Rewind(Context& context) : context_(context) {}
  void begin(Task task, Done done);
  bool active() const { return work_ != nullptr; }
  // What is under way, for people; empty: nothing.
  std::string progress() const;

 private:
  enum class Phase { kLedger, kState, kReplay, kWhole };
  struct Work {
    Task task;
    Phase phase = Phase::kLedger;
    Index at;  // of the log: done up to here
    std::optional<region::LedgerWriter> ledger;
    std::shared_ptr<StateMachine> state;
  };
  // On the files loop.
  Result<void> step(Work& work);
  Result<void> write_ledger(Work& work);
  Result<void> make_state(Work& work);
  Result<void> replay(Work& work);
  Result<void> complete(Work& work);

  void go_on();

  Context& context_;
  std::shared_ptr<Work> work_;
  Done done_;
  Phase phase_ = Phase::kLedger;  // as last told
  Index at_;
};

}  // namespace leeward::node
