// The rehearsal in the fork of a drill: a member alone in its group, under a
// lineage of its own, is promoted, written to and read, step by step.
//
// Core loop of that member, construction and destruction included. Over ports:
// in the daemon it runs in a process of its own (server/rehearse.h), in the
// simulator beside the other members.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "node/group.h"
#include "node/service.h"
#include "ports/drill.h"
#include "ports/recovery.h"

namespace leeward::standby {

// What the fork has to tell, as far as it came.
struct Rehearsed {
  std::vector<DrillCheck> checks;
  std::optional<LogPoint> end;  // of the forked log, and the state hash there
  Hash state_hash;
  std::optional<Duration> rto;
  Epoch epoch;         // that began in the fork; 0: none
  std::string broken;  // why it ended before its last step, none of which failed; empty: it did not
};

// One line a fact, as the fork's process writes them: a process that dies has
// told what it had done.
std::string line_of(const DrillCheck& check);
std::string line_of(const LogPoint& end, const Hash& state_hash);
std::string line_of(Duration rto, Epoch epoch);
// The last line; without it the rehearsal broke off.
std::string last_line();
// Takes a line in; true: it was the last one. Error kCorrupt.
Result<bool> take_line(std::string_view line, Rehearsed& rehearsed);

struct RehearsalOptions {
  Duration step_limit = 60s;     // for the fork to lead, to apply its log, to be promoted
  Duration answer_limit = 10s;   // for a write and a read
  int samples = 16;              // reads at random places
  std::int64_t sample_keys = 32; // each
};

class Rehearsal {
 public:
  struct Parts {
    node::Group& group;
    node::Service& service;
    Recovery& recovery;
    Executor& files;  // long reads
  };
  struct Told {
    Function<void(const DrillCheck&)> check;
    Function<void(const LogPoint& end, const Hash& state_hash)> end;
    Function<void(Duration rto, Epoch epoch)> promoted;
    Function<void()> done;  // once, last
  };
  Rehearsal(Parts parts, RehearsalOptions options, Told told);
  ~Rehearsal();
  Rehearsal(const Rehearsal&) = delete;
  Rehearsal& operator=(const Rehearsal&) = delete;

  // The member is started. Where its log ended before that.
  void begin(const LogPoint& end);

 private:
  void step(const char* name);
  void pass(std::string detail);
  void fail(const Error& error);
  void wait_until(Function<bool()> condition, Duration limit, Function<void()> then);
  void lead();
  void verify_rows();
  void plan();
  void promote(const PromotionPlan& plan);
  void promote_unarmed();
  void promoted(std::string how);
  void write();
  void read();
  void sample();

  Parts parts_;
  RehearsalOptions options_;
  Told told_;
  LogPoint end_;
  std::string name_;
  Instant begun_{}, asked_{};
  std::string key_, value_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace leeward::standby
