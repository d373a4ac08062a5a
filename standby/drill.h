// A drill at a member of a following group: forks its data, has the fork
// promoted where that can do no harm, compares, removes it. README.md, "Drill".
//
// Core loop, construction and destruction included; drill() from any thread.
// One at a time; nothing of it is sent to anybody.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "node/group.h"
#include "ports/drill.h"
#include "standby/rehearsal.h"

namespace leeward::standby {

// Where a rehearsal runs. Core loop.
class Stage {
 public:
  virtual ~Stage() = default;
  // Opens that fork, rehearses (Rehearsal), ends; `done` once, on the core loop.
  // Nothing of the fork is open any more then.
  virtual void rehearse(const node::Forked& fork, Function<void(Rehearsed)> done) = 0;
  // Ends a rehearsal that is under way: `done` soon, with why it is broken off.
  virtual void cancel(const std::string& why) = 0;
};

struct DrillOptions {
  node::ForkOptions fork;
  Duration limit = std::chrono::minutes(30);  // for the rehearsal
  Duration sample = 50ms;      // of the lag
  Duration apply_limit = 10s;  // for this member to apply what the fork has applied
};

class Drill final : public Drills, public node::GroupObserver {
 public:
  // What this standby lacks of the primary now, at most; nullopt: unknown.
  using LagBound = Function<std::optional<Duration>()>;
  Drill(node::Group& group, Stage& stage, DrillOptions options, LagBound lag);
  ~Drill() override;
  Drill(const Drill&) = delete;
  Drill& operator=(const Drill&) = delete;

  void drill(Executor& reply, Function<void(Result<DrillReport>)> done) override;

  // node::GroupObserver
  void stopping() override;

 private:
  struct Run {
    DrillReport report;
    Instant begun{}, step_begun{};
    Rehearsed rehearsed;
    // Where the fork ends, and what this member held there when it had applied
    // as much: a drill may take so long that its log begins behind that.
    LogPoint fork_end;
    std::optional<Result<LogPoint>> here;
    std::optional<Hash> hash_here;
    bool lag_unknown = false;
    Function<void(Result<DrillReport>)> done;
  };

  void begin(Function<void(Result<DrillReport>)> done);
  void forked(Result<node::Forked> fork);
  void rehearsed(Rehearsed rehearsed);
  void compare(Instant until);
  std::optional<DrillCheck> compared();  // nullopt: not applied here yet
  void remove();
  void finish(Result<void> removed);
  void check(std::string name, bool ok, std::string detail);
  void watch();
  void note_here();
  std::string region() const;

  node::Group& group_;
  Stage& stage_;
  DrillOptions options_;
  LagBound lag_;
  std::unique_ptr<Run> run_;
  std::uint64_t runs_ = 0;
  bool rehearsing_ = false, stopping_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace leeward::standby
