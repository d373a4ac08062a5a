// Real members (raft, wal, kv, node) over simulated clocks, loops, disks and
// networks, of one region or of two with the stream between them (standby), with
// clients that remember what they were told. One thread; the seed decides
// everything.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "node/member.h"
#include "standby/replication.h"
#include "support/memory_disk.h"
#include "world/checkers.h"
#include "world/network.h"
#include "world/scheduler.h"

namespace leeward::sim {

// Bugs planted behind the ports, to prove that the checkers see them.
struct Plants {
  bool fsync_left_out = false;
  bool vote_not_persisted = false;
  bool older_term_committed = false;
  bool acknowledged_before_quorum = false;
  bool checkpoint_without_log = false;
  bool other_bytes_applied = false;
  bool stale_lease_read = false;
  bool append_unchecked = false;      // the chain hash ignored: by a follower,
  bool log_unchecked = false;         // by a log,
  bool stream_unchecked = false;      // by a following group
  bool streamed_before_commit = false;
  bool answered_without_round = false;
  bool arming_forged = false;         // the second standby takes its group for armed
};

struct WorldOptions {
  std::uint64_t seed = 1;
  int primaries = 3;
  int standbys = 0;
  int clients = 4;
  std::uint64_t quota = 0;  // of each state, in bytes; 0: none
  std::uint64_t checkpoint_interval = 200;  // writes; small, so that snapshots happen
  std::uint64_t retain_log_bytes = 64_KiB;
  std::uint64_t flush_every = 20;             // batches, of the state; each flush writes all of it
  bool stream = false;  // the standbys follow the primaries, and clients ask both
  bool change_members = false;  // a torment adds, promotes, removes and replaces members of the primary
  bool operate = false;    // a torment has an operator who promotes, takes back, hands over and arms at random (operator.h)
  bool forces = false;     // and who loses members for good, names survivors, and forces what refuses
  bool pauses = false;     // a torment pauses processes, for up to eight seconds
  bool end_epoch = false;  // a torment loses the primary region, and the standby ends the epoch; some come back
  Network::Weather weather, wan;
  standby::GovernorOptions governor;
  Duration fence_lease{};  // 0: fencing by contact
  Plants plants;
  bool log_to_stderr = false;
};

// Two regions for odd seeds, one for even ones, unless `regions` says; what else
// varies follows from the seed: how many members, how much log is kept, how far
// the regions are apart.
WorldOptions varied(std::uint64_t seed, int regions = 0);
// Two regions and an operator; for every third seed armed by lease.
WorldOptions operated(std::uint64_t seed, bool forces = false);

class Operator;

class World {
 public:
  explicit World(WorldOptions options);
  ~World();

  // --- nodes ---
  void start(NodeId id);
  void crash(NodeId id);           // power lost: what was not synced may be gone
  void crash_hard(NodeId id);      // likewise: what was not synced is gone
  void kill(NodeId id);            // the process alone dies: the page cache stays
  void wipe(NodeId id);            // crash, and the disk is replaced by an empty one
  void wipe_all(GroupRole group);  // and with its disks its group is gone
  void stop(NodeId id);            // graceful; runs until it is down
  void stop_some_time(NodeId id);  // graceful; goes on at once
  void pause(NodeId id, bool paused);  // SIGSTOP, SIGCONT: the process stands still, its clock goes on
  // A node with an empty disk whose configuration lists the first members and
  // itself; to be started, and for its group to add.
  node::Node join(GroupRole group = GroupRole::kPrimary);
  // Whether it is a member of its group, by what its leader holds. Where no change
  // is expected all are.
  bool counts(NodeId id);
  void expect_changes() { members_change_ = true; }
  // All of a region crash, and are not started again unless it is found again.
  void lose(GroupRole group);
  void find(GroupRole group);
  // One member, for good as far as its group knows: it crashes, and stays down until
  // it comes back, on an empty disk or on its own. On its own it is of the group
  // before: what it does is judged again when its disk was emptied.
  void lose(NodeId id);
  void come_back(NodeId id, bool empty);
  void find(NodeId id) { nodes_.at(id).lost = false; }
  bool of_before(NodeId id) const { return nodes_.at(id).of_before; }
  const node::Node& spec(NodeId id) const { return nodes_.at(id).spec; }
  // By force a region served beside another one: by lease too, and what it wrote last
  // may be what the other one lacks.
  void expect_two_primaries() { two_primaries_ = true; }
  std::vector<NodeId> of(GroupRole group) const;  // the region's nodes, by what it began as
  bool lost(NodeId id) const { return nodes_.at(id).lost; }
  bool running(NodeId id) const { return nodes_.at(id).process != nullptr; }
  node::Member* member(NodeId id);
  node::Service* service(NodeId id);          // what a client of that node is given
  standby::Replication* stream(NodeId id);    // nullptr: down, or a world without
  test::MemoryDisk& disk(NodeId id) { return *nodes_.at(id).disk; }
  SimClock& clock(NodeId id) { return *nodes_.at(id).clock; }
  std::vector<NodeId> ids() const;
  std::optional<NodeId> leader(GroupRole group = GroupRole::kPrimary) const;  // ready to serve
  bool two_regions() const { return options_.stream && options_.standbys > 0; }
  // Every node is up and has applied the same history.
  bool caught_up();
  std::string standing();  // where each member stands, for a failure's message
  const std::string& open_error(NodeId id) const { return nodes_.at(id).open_error; }
  // Why the member ended itself last; nullopt: it never did.
  const std::optional<Error>& fatal(NodeId id) const { return nodes_.at(id).fatal; }

  // --- epochs ---
  // What a promotion of this member's group would append now.
  region::EpochChange change_at(NodeId id, region::Ending ending = region::Ending::kGuarded);
  Result<Index> propose(NodeId id, EntryKind kind, Epoch epoch, std::string payload);
  Result<Index> propose(NodeId id, const region::EpochChange& change);

  // The disk of a node answers nothing until it is told to again.
  void hang_disk(NodeId id, bool hangs);
  void hold_apply(NodeId id, bool held);  // a write that takes long to apply
  // Changes what nodes are started with from now on.
  std::function<void(node::MemberOptions&)> adjust;
  Executor& client_loop() { return *client_loop_; }
  const WorldOptions& options() const { return options_; }

  // --- time ---
  // Runs until it is so, or time is over, or an invariant broke. True: it is so.
  bool run_until(const std::function<bool()>& condition, Duration limit = 30s);
  void run_for(Duration time);

  // --- clients ---
  void start_clients();
  void stop_clients() { clients_run_ = false; }
  // One put through `id`; the outcome once it is there.
  struct Put {
    bool ended = false;
    node::Outcome outcome;
  };
  std::shared_ptr<Put> put(NodeId id, const std::string& key, const std::string& value,
                           std::optional<Duration> deadline = std::nullopt);
  // The same as a client of that node: what is not for it is passed on.
  std::shared_ptr<Put> client_put(NodeId id, const std::string& key, const std::string& value);
  struct Read {
    bool ended = false;
    Result<void> confirmed;
    std::string value;  // "": no such key
  };
  // A linearizable read through `id`, as a client of that node; checked when it
  // is answered.
  std::shared_ptr<Read> read(NodeId id, const std::string& key);
  // The value at one node's state, without any barrier.
  std::optional<std::string> peek(NodeId id, const std::string& key);
  std::uint64_t acknowledged() const { return checkers.puts().size(); }
  // Acknowledged puts in the gaps of revisions that this member's history tells of:
  // they were lost with a region's tail.
  std::vector<Checkers::Told> lost_puts(NodeId id);
  static std::string request(const Checkers::Told& put);  // as the log has it
  // How often a torment's changes of members, or an operator's acts, were made, by what they were.
  const std::map<std::string, int>& changes() const;

  // --- ends ---
  // Heals everything, starts all nodes, waits until all are equal (two regions:
  // and one is armed), and compares with what clients were told. False: see
  // checkers.breach().
  bool settle(Duration limit = 120s);

  // A run of random faults for so long; settles at the end.
  bool torment(Duration time);

  Scheduler scheduler;
  Dice dice;
  Network network;
  Checkers checkers;

 private:
  struct Process;
  struct Node {
    node::Node spec;
    std::unique_ptr<test::MemoryDisk> disk;
    std::unique_ptr<SimClock> clock;
    std::unique_ptr<Process> process;
    std::uint64_t starts = 0;
    bool fresh = true;    // nothing on its disk yet
    bool doomed = false;  // its fatal handler ran: dies at the next event
    bool lost = false;    // never started again
    bool late = false;    // of no list of the first start
    bool of_before = false;  // of a group that goes on without it, by its survivors
    bool joins = false;      // its file says that a running group takes it in
    std::optional<Error> fatal;
    std::string open_error;
  };
  struct Client;

  node::MemberOptions member_options(NodeId id) const;
  void end(NodeId id, bool power, test::MemoryDisk::Tear tear = test::MemoryDisk::Tear::kRandom);
  void check_step();
  void begin_end_of_epoch();
  void drive_end_of_epoch();
  void find_again();
  void lead_back();
  void seal();
  std::shared_ptr<Put> put_through(node::Service& service, NodeId id, const std::string& key, const std::string& value,
                                   std::optional<Duration> deadline);
  void next_operation(Client& client);
  void client_put(Client& client, NodeId id);
  void client_read(Client& client, NodeId id);
  struct Asked {
    NodeId node;
    Epoch served;  // that the node's own group served when it was asked; 0: none
    Epoch newest;  // that had acknowledged anything by then
  };
  Asked asked(NodeId id);
  void acknowledged(const Asked& asked);
  void finish(Client& client, std::uint64_t operation, Duration pause);
  bool all_equal();
  void verify_acknowledged();
  void fault();
  void change_members();
  bool removed_are_quiet();
  void pause_some_time();
  void fault_between_regions();
  void check_streams(NodeId id);
  void check_lag();
  void plant_on_the_wire();

  WorldOptions options_;
  std::map<NodeId, Node> nodes_;
  std::unique_ptr<SimExecutor> client_loop_;
  std::vector<std::unique_ptr<Client>> clients_;
  bool clients_run_ = false;
  std::map<NodeId, Term> led_;
  std::map<NodeId, std::pair<Index, LogPoint>> stood_;  // committed and last, as checked
  Instant lag_checked_{};
  bool wiped_ = false, members_change_ = false, two_primaries_ = false;
  std::map<std::string, int> changes_;
  std::unique_ptr<Operator> operator_;
  Epoch newest_acknowledged_;  // by lease
  bool epoch_is_to_end_ = false, returns_ = false;
};

}  // namespace leeward::sim
