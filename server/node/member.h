// A member of a Raft group: turns the core's Ready into disk, peers and apply,
// and owns log, superblock, state, checkpoints and serving for the life of the
// process. README.md says how wiring makes one.
//
// Threads: open() before the loops run or on any one thread; start(), stop()
// and all of Service from any thread; all of Group, and what says so, on the
// core loop. Destroy it when neither loop runs callbacks any more.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "node/adoption.h"
#include "node/bootstrap.h"
#include "node/context.h"
#include "node/group.h"
#include "node/inbox.h"
#include "node/ledger_fetch.h"
#include "node/ledger_pages.h"
#include "node/lessor.h"
#include "node/membership.h"
#include "node/options.h"
#include "node/proposals.h"
#include "node/published.h"
#include "node/reads.h"
#include "node/region_log.h"
#include "node/rewind.h"
#include "node/service.h"
#include "node/snapshots.h"
#include "node/standing.h"
#include "node/wal_loop.h"
#include "node/warrant.h"

namespace leeward::node {

// Of a directory, or a group, that was finalized to a format which this version does not know.
Error newer_format(const MemberOptions& options, std::uint32_t format);

class Member final : public Service, public Group {
 public:
  // Opens or makes the directories, finishing what a crash left half done.
  // Errors: kInUse, kLineage (another cluster's or node's directory),
  // kNewerFormat, kCorrupt, kInvalid, kIo.
  static Result<std::unique_ptr<Member>> open(MemberPorts ports, MemberOptions options);
  ~Member() override;

  void start();
  // Graceful: refuses new work, hands leadership over, lets what is under way
  // end, flushes, marks the directory clean; then `done` on the core loop.
  void stop(Function<void()> done);
  void give_up_leadership();  // SIGUSR2

  // --- Service: any thread ---
  void propose(Command command, std::optional<Instant> deadline, Executor& reply,
               Function<void(Outcome)> done) override;
  void read_barrier(std::optional<Instant> deadline, Executor& reply, Function<void(Result<void>)> done) override;
  bool read_now() const override;
  void keep_alive(std::int64_t lease, Executor& reply, Function<void(Result<std::int64_t>)> done) override;
  void lease_remaining(std::int64_t lease, Executor& reply, Function<void(Result<std::int64_t>)> done) override;
  void transfer_leadership(NodeId to, Executor& reply, Function<void(Result<void>)> done) override;
  void admit(NodeId member, Executor& reply, Function<void(Result<bool>)> done) override;
  void alarm(NodeId member, bool raised, Executor& reply, Function<void(Result<bool>)> done) override;
  void finalize(Executor& reply, Function<void(Result<bool>)> done) override;
  void change_standing(StandingChange change, Executor& reply, Function<void(Result<void>)> done) override;
  void change_members(MemberChange change, Executor& reply, Function<void(Result<Index>)> done) override;
  void member_sync(NodeId member, Executor& reply, Function<void(Result<std::uint64_t>)> done) override;
  Origin next_origin() override;
  std::uint64_t cluster_id() const override { return cluster_id_.load(std::memory_order_relaxed); }
  StateMachine& state() override { return *context_.state; }
  NodeStatus status() const override;
  const NodeProbe& probe() const override { return context_.probe; }

  // --- Group: core loop ---
  Executor& loop() override { return context_.ports.core; }
  Clock& clock() override { return context_.ports.clock; }
  Log& logger() override { return context_.ports.log; }
  Tracer* tracer() override { return context_.ports.tracer; }
  std::uint64_t random() override { return context_.ports.random.next(); }
  PeerLink& link() override { return context_.ports.link; }
  void on_frames(Lane lane, PeerLink::Handler handler) override;
  void observe(GroupObserver* observer) override;
  void unobserve(GroupObserver* observer) override;
  NodeId self() const override { return context_.options.self; }
  Lineage lineage() const override { return context_.group.lineage; }
  GroupId group() const override { return context_.group_id(); }
  Epoch epoch() const override { return context_.state->applied().epoch; }
  GroupRole role() const override;
  GroupRole role_at_end() override;
  bool sealed() const override { return region_log_->applied().history().seal.has_value(); }
  Epoch contested() const override;
  Epoch newest_epoch() const override { return std::max(context_.seen.epoch, told_.epoch); }
  std::string serving_region() const override;
  std::optional<region::Armed> stamp_wanted() override;
  bool may_acknowledge() const override { return context_.serves && (!warrant_->required() || warrant_->valid()); }
  void stamp_returned(Term term, Instant sent, region::ArmingId arming) override;
  std::uint64_t cold_question() const override { return context_.serves ? 0 : question_; }
  void cold_answer(std::uint64_t question, Epoch newest) override;
  bool is_leader() const override;
  bool stands_aside() const override { return standing_.kind != Standing::Kind::kNone; }
  bool leads() const { return context_.is_leader(); }  // ready or not
  NodeId leader() const override { return context_.leader(); }
  Term term() const override;
  const raft::Membership& membership() const override;
  std::vector<Node> topology() const override;
  const LogView& log() const override { return *context_.log; }
  LogPoint last() const override;
  LogPoint committed() const override { return committed_; }
  const region::State* regions() const override { return region_log_ ? &region_log_->applied() : nullptr; }
  Index leapt() const override { return context_.group.leapt; }
  const region::State* regions_of_log() override { return installing_ || (leaping_ && leaping_->manifest) ? nullptr : region_log_->prefix(); }
  Result<Index> propose(std::span<const raft::Proposal> proposals) override;
  void confirm(Function<void(Result<Index>)> done) override;
  void transfer_leadership(NodeId to) override;
  void retain(std::string_view holder, Index index) override;
  bool lacks_state() const override;
  std::set<NodeId> without_state() const override;
  void adopt(std::span<const NodeId> sources) override;
  std::string adoption() const override;
  void fork(ForkOptions options, Function<void(Result<Forked>)> done) override;
  void drop_fork(Function<void(Result<void>)> done) override;
  void drilled(Duration rto) override;
  void held_ledgers(Function<void(std::vector<Index>)> done) override { ledger_pages_->held(std::move(done)); }
  void read_ledger(Index follow, HistoryIndex after, Function<void(Result<LedgerPage>)> done) override {
    ledger_pages_->read(follow, after, std::move(done));
  }
  RegroupStand regroup_stand() override;
  void stage(Regroup regroup, Function<void(Result<void>)> done) override;
  void activate(const std::string& plan, Function<void(Result<void>)> done) override;
  void extend_status(StatusExtension* extension) override { extension_ = extension; }
  void gate_writes(WriteGate* gate) override { proposals_->set_gate(gate); }

 private:
  // A call that only a leader answers, on its way there.
  struct PendingCall {
    Call call;
    Function<void(Result<std::int64_t>)> done;
    Instant gives_up{};
    NodeId sent_to;
  };
  using CallDone = Function<void(Result<std::int64_t>)>;

  Member(MemberPorts ports, MemberOptions options);

  // member_open.cc
  Result<void> open_storage();
  Result<void> open_superblock();
  bool looks_new() const;
  Result<void> finish_pending_state();
  Result<void> check_log_meets_state();
  // On the wal loop, on what the change before it left; `then` on the core loop.
  void change_superblock(Function<void(SuperblockData&)> change, Function<void(const Result<void>&)> then);
  void remove_stray_state_dirs();

  // member_fork.cc
  struct Fork;
  Result<void> may_fork() const;
  Result<void> fork_state(Fork& fork);  // files loop
  void fork_log(const std::shared_ptr<Fork>& fork);
  void forked(Fork& fork, Result<void> made);
  static Result<void> remove_fork(Disk& disk, const MemberOptions& options);
  Result<void> check_rehearsal() const;
  void become_alone();
  void heed_drill(const DrillRecord& drill);

  // member.cc: the turn of the core loop
  void begin();
  void wake();
  void wake_from_outside();
  void turn();
  void housekeep();
  void arm_tick();
  void start_core(raft::Membership membership, bool first, bool follows = false, GroupId joins = {});
  void heed_strangers();
  void try_bootstrap();
  void lead_duties();
  void hear_incarnation(NodeId from, Incarnation incarnation);
  void forget_lives(NodeId id);
  void forget_other_lives(const Entry& admission);
  bool is_admitted_life(NodeId id) const;
  bool beside_admitted(NodeId id) const;
  void propose_first_entry();
  void watch_disk();
  void keep_reserve();
  void give_reserve();
  bool others_go_on(Instant since, bool log) const;
  NodeId outpaced_by();
  void watch_connections();
  NodeId over_quota() const;
  void watch_quota();
  // Log or state has met a full disk; of the state's, until there is space
  // beside the reserve again: what was put aside is not for new writes.
  bool disk_full() const { return wal_->disk_full() || held_since_ || reserve_given_; }
  std::optional<Error> write_refusal();
  void fail(const Error& error);
  void continue_stop();
  void finish_stop();

  // member_ready.cc
  void handle_ready();
  void send_messages(std::vector<raft::Message>& messages);
  void persisted(std::uint64_t token, std::vector<raft::Message> after_persist);
  void apply_committed();
  void apply_next(std::size_t count);  // of to_apply_
  void applied();
  void hold_back(const Error& error);
  bool state_busy() const { return applying_ || sweeping_; }  // nobody else may change the state
  bool winds_down() const;
  void apply_control(std::span<const Entry> entries);
  void after_apply(std::span<const Entry> entries);
  void watch_lease_commands(const Entry& entry);
  void role_changed();
  void trace_election();
  void publish_gate();
  void update_may_vote();
  void publish_cluster_id();

  // member_frames.cc
  void on_frame(NodeId from, Lane lane, Bytes bytes);
  void time_append(const raft::Message& reply);
  void on_consensus(NodeId from, const Frame& frame);
  void on_control(NodeId from, const Frame& frame);
  bool of_own_group(NodeId from, const FrameHeader& header) const;
  bool of_one_beginning(NodeId from, const FrameHeader& header) const;
  bool may_be_counted(NodeId from, const FrameHeader& header);
  void on_report(NodeId from, const Frame& frame);

  // member_calls.cc
  void post_task(Function<void()> task);
  void call(Call call, CallDone done);
  void serve(Call call, CallDone done);
  void serve_keep_alive(std::int64_t lease, CallDone done);
  void serve_lease_remaining(std::int64_t lease, CallDone done);
  void serve_transfer(NodeId to, CallDone done);
  void serve_admit(NodeId member, CallDone done);
  Error two_lives(NodeId id) const;
  void serve_alarm(const std::string& body, CallDone done);
  void serve_finalize(CallDone done);
  std::optional<Error> who_lacks(std::uint32_t format) const;
  void heed_format();
  void propose_and_wait(std::span<const raft::Proposal> proposals, CallDone done);
  void drive_calls();
  bool may_write() const;
  bool may_be_read() const { return role() == GroupRole::kPrimary || role() == GroupRole::kUnknown; }
  WaitingWrite own_write(Op op, std::uint64_t argument) const;
  void expire_leases();

  // member_fence.cc
  bool heed_epoch(NodeId from, const FrameHeader& header);
  void note_epoch();
  bool knows(NodeId node) const;  // it stands in the topology
  bool superseded() const;
  void publish_seen();
  void end_serving();
  Error role_refusal() const;
  void propose_fenced();
  void hear_start(NodeId from, const FrameHeader& header);
  void judge_serving();
  bool may_serve();
  void heed_lease();
  // A result that was confirmed, when it may be told; an error at once.
  template <class T, class Done>
  void tell(Result<T> result, Done done) {
    if (!result.ok() || !warrant_->required()) return done(std::move(result));
    warrant_->pass([result = std::move(result), done = std::move(done)](bool may) mutable {
      done(may ? std::move(result) : Result<T>(Error{Code::kUnavailable, text::kNoStamp}));
    });
  }
  bool cold();  // no call is served: a cold start is not over
  bool follows_cold() const;
  bool waits_cold() const { return cold_question() != 0 || follows_cold(); }
  void refuse_cold();
  bool serving();  // a leader: judged now if it was not a moment ago
  // member_standing.cc: what an operator did to this member
  using StandingDone = Function<void(Result<void>)>;
  void begin_standing(const StandingChange& change, StandingDone done);
  void take_standing(Standing standing, StandingDone done);
  void begin_rejoin(StandingDone done);
  void end_rejoin(Result<void> verified);
  Result<void> differs_from_others() const;
  Result<void> majority_without_this(Instant heard_since) const;
  std::set<NodeId> aside() const;
  void heed_standings();
  std::string standing_reason() const;
  // member_change.cc: changes of the members
  void serve_change(std::string body, CallDone done);
  void serve_sync(NodeId member, CallDone done);
  bool answers(NodeId id) const;
  Result<std::uint64_t> entries_behind(NodeId id) const;
  std::vector<Node> own_members() const;
  NodeId successor(const MemberChange& change) const;
  std::optional<Result<std::int64_t>> answered_by_removal(const PendingCall& pending) const;
  void leave_joint();
  bool leaves() const;
  bool removes_self(const Call& call) const;
  void drive_changes();
  bool tell_if_removed(NodeId from, const FrameHeader& header);
  void retire_late_life(NodeId from, const FrameHeader& header);
  void say_removed(NodeId id, Incarnation life);
  void tell_removed();
  void hear_removed(NodeId from, const Frame& frame);
  void retire(Index removed_by);
  void refresh_peers();
  void spread_list();
  bool speaks(NodeId id, Duration within) const;
  void call_silent();
  void hear_list(NodeId from, const Frame& frame);

  // member_regroup.cc: survivors of a lost majority
  void drive_staging();
  void end_staging(Result<void> result);
  void wake_later();
  void join_group();
  bool begun() const;
  void heed_regroup(Index applying = {});  // `applying`: up to there it is being applied in this turn
  void join_spoken(GroupId group);
  void add_unlisted(std::vector<Node>& nodes) const;
  void drop_joined();  // the record of the group that took this member in: its state says so by itself
  bool may_lead() const;
  bool left_without_state() const;

  // member_status.cc
  void send_reports();
  void publish_status();
  const raft::Membership& known_members() const;
  MemberStatus own_status() const;
  std::uint64_t ledger_entries() const;  // put aside, and not discarded
  MemberState member_state() const;
  Lineage own_lineage() const;
  bool admitted() const;

  // member_storage.cc: checkpoints and what the log keeps
  void checkpoint_when_due();
  bool has_other_regions() const;
  void release_log();
  void compact_when_due();
  Index within_budget(std::uint64_t excess, Index upto) const;
  void remove_old_states();
  void sweep();
  void swept(const Result<bool>& more, Revision compacted);
  void install(Snapshots::Received received);
  void drop_received(const Snapshots::Received& received);
  void begin_install();
  void installed(std::unique_ptr<StateMachine> state, const Manifest& manifest, SuperblockData data);

  // member_leap.cc: another state in place of this one's
  void meet_leap();
  void wait_for_leap();
  void state_made(Result<std::shared_ptr<StateMachine>> state, const std::string& name);
  void name_state(std::shared_ptr<StateMachine> state, const std::string& name);
  void leapt(std::shared_ptr<StateMachine> state, SuperblockData data);
  std::optional<Revision> taken_back_to(const StateMachine& next, const GroupState& group) const;
  // member_rewind.cc: an older one of its own
  void meet_follow();
  void rewind();
  // member_adopt.cc: that of another group
  void meet_adopt();
  void install_adopted();
  Result<std::shared_ptr<StateMachine>> make_adopted(const Path& directory, const Manifest& manifest, const Entry& entry,
                                                     std::string group_state);  // files loop
  std::optional<HistoryIndex> lowest_applied() const;
  void guard_leapt();
  void on_foreign_bulk(NodeId from, const Frame& frame);
  void on_bulk(NodeId from, const Frame& frame);

  Context context_;
  std::unique_ptr<DirectoryLock> data_lock_, wal_lock_, snapshot_lock_;
  std::unique_ptr<Superblock> superblock_;  // wal loop once started
  SuperblockData superblock_data_;          // as last written, as far as the core loop has heard
  Seen told_, noted_;                       // the newest epoch told of; what the superblock has of that
  bool noting_ = false;
  std::map<NodeId, bool> heard_by_;         // FrameHeader::heard of the others of this group
  std::optional<Instant> cold_since_;       // this leader has waited to serve
  std::uint64_t question_ = 0;
  bool leader_cold_ = false;  // as it said last
  bool answered_ = false;
  Inbox inbox_;
  std::unique_ptr<WalLoop> wal_;
  std::unique_ptr<RegionLog> region_log_;
  std::unique_ptr<Warrant> warrant_;
  std::unique_ptr<Proposals> proposals_;
  std::unique_ptr<Reads> reads_;
  std::unique_ptr<Lessor> lessor_;
  std::unique_ptr<Bootstrap> bootstrap_;
  std::unique_ptr<Snapshots> snapshots_;
  std::unique_ptr<Adoption> adoption_;
  std::unique_ptr<Rewind> rewind_;
  std::unique_ptr<LedgerPages> ledger_pages_;
  std::unique_ptr<LedgerFetch> ledger_fetch_;
  std::unique_ptr<AutoCompaction> auto_compaction_;
  bool discarded_ = true;  // a ledger, since its files were looked for

  bool forking_ = false;
  DrillRecord drill_;  // the newest known; written to the superblock as it is learnt
  struct Staging {
    Regroup regroup;
    Function<void(Result<void>)> done;
    Instant gives_up{};
    bool writing = false;
  };
  std::optional<Staging> staging_;
  bool activating_ = false;
  std::optional<Index> regrouped_at_;  // applied here when the new group was
  std::optional<Index> joined_at_;     // likewise of the group that took this member in

  bool running_ = false, turn_posted_ = false, failed_ = false, starting_core_ = false;
  std::optional<Instant> started_;
  bool begins_following_ = false;  // as the superblock says
  std::atomic<bool> stopping_{false}, stopped_{false};
  std::atomic<std::size_t> waiting_bytes_{0};
  Executor::TimerId tick_timer_ = 0, housekeep_timer_ = 0;
  Instant tick_at_{};
  std::string waiting_for_;
  WaitsFor waits_for_ = WaitsFor::kOther;

  std::vector<Entry> to_apply_;
  // What was taken from its front; for the time of its way the apply loop's own.
  struct Applying {
    struct Answer {
      std::size_t entry, command;
      CommandResult result;
    };
    std::vector<Entry> entries;
    std::vector<Answer> answers;
    Instant started{}, ended{};
    Result<void> end;
  };
  std::unique_ptr<Applying> applying_;
  Index outpaced_at_;  // what the state is at, and since when another voter is known to be done with it
  std::optional<Instant> outpaced_since_;
  bool sweeping_ = false;     // the apply loop does
  bool sweep_waits_ = false;  // for what the apply loop does
  bool sweep_due_ = true;     // there is, or may be, something to sweep
  std::optional<Instant> sweep_again_;   // a full disk refused it; not before then
  std::optional<Instant> expiry_waits_;  // for the state: since then keep-alives are not heard
  Instant extended_at_{};                // until then the leases have been given back what they lost so
  // A full disk refused the first of to_apply_. They are tried again until there is space.
  std::optional<Instant> held_since_;
  Index acted_on_;  // up to there what is no write has taken its effect on the group, applied or held back
  Instant try_again_{};
  LogPoint committed_;
  struct TimedAppend {
    Term term;
    Index last;
    Instant at;
  };
  std::map<NodeId, TimedAppend> timed_appends_;  // by follower
  NodeId last_leader_;
  std::optional<Instant> election_since_;  // this member stands, or stood, and nobody leads yet
  std::uint64_t leader_changes_ = 0;
  bool was_leader_ = false;
  std::optional<Instant> stalled_since_;
  std::optional<Instant> alarmed_at_;  // the last alarm that this leader proposed
  Instant alarms_changed_at_{};        // what was reported before is not held against anybody
  std::map<NodeId, bool> connected_;
  std::map<NodeId, Incarnation> heard_incarnation_;  // of members of this group
  std::map<NodeId, Instant> admitted_heard_;         // when the one that is admitted spoke last
  Instant twins_told_{};
  std::map<NodeId, Index> loss_told_;
  Term first_entry_term_;                            // in which this leader proposed kBootstrap
  std::map<NodeId, Instant> admission_proposed_;
  std::map<Lane, PeerLink::Handler> lane_handlers_;
  std::vector<GroupObserver*> observers_;
  raft::Membership no_membership_;

  std::uint64_t next_call_ = random();  // an answer to a call of an earlier life meets none of this one
  std::map<std::uint64_t, PendingCall> calls_;
  struct Waiter {
    Instant gives_up{};
    NodeId from, to;  // a transfer: who led, who is to lead
    Index index;      // a proposal: applied up to here
    Term term;        // and it is that term's entry
    std::optional<Term> there;  // of what was applied at `index`
    CallDone done;
  };
  std::vector<Waiter> transfers_, until_applied_;

  // A change that this leader has proposed, until it is applied to its end.
  struct PendingChange {
    raft::Membership target;
    Index index;
    Instant gives_up{};
    CallDone done;
  };
  std::vector<PendingChange> changes_;
  // One that removes this leader: it goes to the next one.
  struct Handover {
    MemberChange change;
    Instant gives_up{};
    CallDone done;
  };
  std::vector<Handover> handovers_;
  int leaving_ = 0;    // calls for its own removal that were passed on
  bool left_ = false;  // it was told that such a one is committed
  std::map<NodeId, std::string> peers_;       // as the link was told
  std::map<NodeId, Instant> told_removed_;    // of those removed
  std::optional<Instant> list_spread_, list_proposed_, silent_called_;
  Index list_spread_of_;

  Function<void()> stopped_callback_;
  Instant stop_deadline_{};
  bool transfer_on_stop_ = false, finishing_ = false;

  std::map<std::string, Index, std::less<>> retained_;
  Index released_;
  Index opened_at_;  // what was known to be committed when the log was opened
  bool fault_logged_ = false;
  std::optional<Snapshots::Received> installing_;
  bool install_submitted_ = false;
  // A committed entry that leaps, at the front of to_apply_, whose state is
  // waited for or being made. Control entries behind it take effect meanwhile.
  struct Leaping {
    std::optional<Manifest> manifest;  // of a kAdopt
    std::string group_state;           // of this group, as of the entry
    std::size_t looked_at = 1;         // of to_apply_
    bool submitted = false;
    Instant retry_at{};
    Index searched_from;               // kFollow: of the one before it
    Index leapt_before;                // of the leap before it; 0: there was none
    bool lacks_state = false;          // it waits for an Adopt, or a snapshot
    bool ledger_written = false;
  };
  std::optional<Leaping> leaping_;
  // Exchanged states, until the last reader lets go of them.
  std::vector<std::pair<std::weak_ptr<StateMachine>, Path>> old_states_;

  PublishedGate gate_;
  std::atomic<std::uint64_t> cluster_id_{0}, next_sequence_{0};
  struct HeardReport {
    MemberStatus status;
    Instant at{};
    bool same_group = false;
    Seen seen;  // as its frame said
    bool same_lineage = false;
  };
  std::map<NodeId, HeardReport> reports_;
  ClockOffsets clocks_{self()};
  std::map<NodeId, Instant> lost_;  // when a connection ended last: who comes next by that id may be another
  std::optional<Instant> reported_, published_, stored_, sweep_since_;
  std::optional<Instant> reserve_looked_at_, reserve_given_;
  Revision swept_;  // what logical compaction released up to here is gone
  Standing standing_;
  bool standing_changes_ = false, verification_running_ = false;
  std::string verification_failure_;
  struct StepsAside {  // a leader that hands over, and who waits for it
    Instant since{};
    std::vector<StandingDone> done;
  };
  std::optional<StepsAside> steps_aside_;
  StatusExtension* extension_ = nullptr;
  mutable std::mutex status_mutex_;
  std::shared_ptr<const NodeStatus> status_;
};

// The superblock's record that the group has removed this incarnation, by the
// entry at that index.
std::optional<Index> removed_at(const std::string& superblock_extra);

}  // namespace leeward::node
