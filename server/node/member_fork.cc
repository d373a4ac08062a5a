// A copy of this member's data for a rehearsal, made while the member goes on,
// and what a member does that is opened on one: README.md, "A fork".
#include <algorithm>

#include "node/member.h"

namespace leeward::node {
namespace {

constexpr std::string_view kRehearsal = "rehearsal";  // in the superblock of a fork, and of no other directory
constexpr const char* kForkData = "/drill";
constexpr const char* kForkLog = "/drill-log";
constexpr const char* kForkState = "state-1";
constexpr std::size_t kTailBytes = 4_MiB;

// What must stay free beside what a fork may take.
constexpr std::uint64_t kLeastFreeShare = 10;  // of the disk: a tenth
constexpr std::uint64_t kLeastFree = 1_GiB;    // or so much, if that is less

Error refused(const std::string& rule, const std::string& why) { return {Code::kRefused, rule + ": " + why}; }

Result<void> has_space(Disk& disk, const Path& directory, std::uint64_t needed) {
  const auto space = disk.space(directory);
  if (!space.ok()) return space.error();
  const std::uint64_t stays = std::min(space->total_bytes / kLeastFreeShare, kLeastFree);
  if (space->free_bytes >= needed + stays) return {};
  return refused("disk", directory + " has " + std::to_string(space->free_bytes >> 20) + " MiB free; a drill takes up to " +
                             std::to_string(needed >> 20) + " MiB and leaves " + std::to_string(stays >> 20) +
                             " MiB: free some first");
}

// Entries behind the state in a fork apply to its group of one: these would
// make it another group again.
bool changes_group(EntryKind kind) {
  switch (kind) {
    case EntryKind::kBootstrap:
    case EntryKind::kMembership:
    case EntryKind::kAdmit:
    case EntryKind::kOtherMembers:
    case EntryKind::kFenced:
    case EntryKind::kFollow:
    case EntryKind::kAdopt:
    case EntryKind::kEpochChange: return true;
    default: return false;
  }
}

Result<void> harmless(const LogView& log, Index after, Index upto) {
  for (Index next = after + 1; next <= upto;) {
    const auto entries = log.read(next, upto + 1, kTailBytes);
    if (!entries.ok()) return entries.error();
    for (const Entry& e : *entries) {
      if (changes_group(e.kind)) return refused("changing", "this group's members or role are being changed; drill again");
      next = e.index + 1;
    }
  }
  return {};
}

}  // namespace

// What is in progress on its way from loop to loop.
struct Member::Fork {
  Path data, wal, state;
  ForkOptions options;
  std::shared_ptr<StateMachine> source;
  SuperblockData superblock;
  Forked made;
  Function<void(Result<Forked>)> done;
};

Result<void> Member::may_fork() const {
  if (forking_) return refused("under_way", "a drill is under way at this member");
  if (stopping_ || failed_ || !running_) return refused("stopping", "this member is starting or stopping");
  if (context_.removed) return refused("state", "this member was removed from its group");
  if (!context_.core || !context_.group.started() || !admitted()) return refused("state", "this member holds no state of its group yet");
  if (role() != GroupRole::kStandby && role() != GroupRole::kObserver)
    return refused("role", "this member's group is " + std::string(name(role())) + ": a drill rehearses the promotion of one that follows");
  if (installing_ || leaping_ || snapshots_->receiving() || !adoption_->progress().empty())
    return refused("adopting", "this member is taking over a state; drill when that is done");
  if (disk_full()) return refused("disk", "this member's disk is full");
  if (newest_epoch() > epoch())
    return refused("newer_epoch", "epoch " + std::to_string(newest_epoch().value()) + " is known, and this group is in " +
                                      std::to_string(epoch().value()));
  return {};
}

// First the state, then the log: so the log reaches beyond the state.
void Member::fork(ForkOptions options, Function<void(Result<Forked>)> done) {
  if (auto may = may_fork(); !may.ok()) return done(may.error());
  forking_ = true;
  auto fork = std::make_shared<Fork>();
  fork->data = context_.options.data_dir + kForkData;
  fork->wal = context_.options.wal_dir + kForkLog;
  fork->state = fork->data + "/" + kForkState;
  fork->options = options;
  fork->source = context_.state->current();
  fork->done = std::move(done);
  auto& d = fork->superblock;
  d.format = superblock_data_.format;
  d.cluster_name = superblock_data_.cluster_name;
  auto& random = context_.ports.random;
  const auto first = random.next();
  d.lineage = Lineage::make(first, random.next(), context_.ports.clock.wall());
  d.node = self();
  d.group = group();
  d.incarnation = context_.incarnation;  // the shared segments name it
  d.state_dir = kForkState;
  d.starts = 1;
  set_record(d.extra, kRehearsal, "1");
  fork->made.data_dir = fork->data;
  fork->made.wal_dir = fork->wal;
  fork->made.lineage = d.lineage;
  context_.run_on_files([this, fork]() -> Function<void()> {
    const auto made = fork_state(*fork);
    return [this, fork, made] {
      if (!made.ok()) return forked(*fork, made.error());
      fork_log(fork);
    };
  });
}

Result<void> Member::fork_state(Fork& fork) {
  auto& disk = context_.ports.disk;
  LEEWARD_TRY(remove_fork(disk, context_.options));
  // The two may be one disk.
  const auto needed = fork.options.data_bytes + fork.options.wal_bytes;
  LEEWARD_TRY(has_space(disk, context_.options.data_dir, needed));
  LEEWARD_TRY(has_space(disk, context_.options.wal_dir, needed));
  LEEWARD_TRY(disk.make_dirs(fork.data));
  LEEWARD_TRY(disk.make_dirs(fork.wal));
  auto manifest = fork.source->checkpoint(fork.state);
  fork.source.reset();
  if (!manifest.ok()) return manifest.error();
  fork.made.state = manifest->state;
  return {};
}

// On the wal loop, after all that was submitted: what the state holds is in the
// log by then.
void Member::fork_log(const std::shared_ptr<Fork>& fork) {
  wal_->run([this, fork]() -> Function<void()> {
    auto copy = context_.log->fork(fork->wal);
    if (!copy.ok()) return [this, fork, error = copy.error()] { forked(*fork, error); };
    fork->made.last = context_.log->last();
    return [this, fork, copy = std::move(*copy)]() mutable {
      context_.run_on_files([this, fork, copy = std::move(copy)]() mutable -> Function<void()> {
        auto made = copy();
        if (made.ok()) made = harmless(*context_.log, fork->made.state.point.index, fork->made.last.index);
        if (made.ok()) {
          const auto superblock = context_.ports.open_superblock(fork->data, &fork->superblock);
          if (!superblock.ok()) made = superblock.error();
        }
        return [this, fork, made] { forked(*fork, made); };
      });
    };
  });
}

void Member::forked(Fork& fork, Result<void> made) {
  if (made.ok()) return fork.done(std::move(fork.made));
  drop_fork([done = std::move(fork.done), error = made.error()](Result<void>) mutable { done(std::move(error)); });
}

void Member::drop_fork(Function<void(Result<void>)> done) {
  context_.run_on_files([this, done = std::move(done)]() mutable -> Function<void()> {
    return [this, removed = remove_fork(context_.ports.disk, context_.options), done = std::move(done)]() mutable {
      forking_ = false;
      if (!removed.ok())
        context_.ports.log.warn("a drill's directory could not be removed; the next start or drill tries again",
                                {{"reason", removed.error().message}});
      done(std::move(removed));
    };
  });
}

Result<void> Member::remove_fork(Disk& disk, const MemberOptions& options) {
  const auto data = disk.remove_all(options.data_dir + kForkData);
  const auto log = disk.remove_all(options.wal_dir + kForkLog);
  return data.ok() ? log : data;
}

// --- the newest drill, at every member of every region ---

void Member::drilled(Duration rto) {
  const auto now = std::chrono::duration_cast<std::chrono::milliseconds>(context_.ports.clock.wall().time_since_epoch());
  heed_drill({drill_.count + 1, now.count(), static_cast<std::uint64_t>(rto / 1us)});
}

void Member::heed_drill(const DrillRecord& drill) {
  if (drill <= drill_) return;
  drill_ = drill;
  change_superblock([drill](SuperblockData& data) { set_drill(data.extra, drill); },
                    [this](const Result<void>& written) {
                      // On a full disk it is learnt again from the others' reports.
                      if (!written.ok() && written.error().code != Code::kNoSpace) fail(written.error());
                    });
}

// --- a member that is opened on a fork ---

Result<void> Member::check_rehearsal() const {
  const bool fork = find_record(superblock_data_.extra, kRehearsal).has_value();
  if (fork == context_.options.rehearsal) return {};
  if (fork)
    return Error{Code::kLineage, context_.options.data_dir + " is the fork of a drill and no node's directory; the node beside removes "
                                 "it at its next start"};
  return Error{Code::kLineage, context_.options.data_dir + " is a node's directory; a rehearsal runs on a fork alone"};
}

// Written with the first entry that is applied. A crash before it loses a fork,
// which nobody opens a second time.
void Member::become_alone() {
  auto& g = context_.group;
  g.lineage = superblock_data_.lineage;
  g.membership = {};
  g.membership.voters.insert(self());
  g.admitted = {{self(), context_.incarnation}};
  std::erase_if(g.topology, [this](const Node& n) { return n.id != self(); });
  g.named.clear();
  g.removed.clear();
  g.retired.clear();
  g.others_listed.clear();
  g.listed = g.leapt = Index();
  context_.state->set_group_state(encode(g));
}

}  // namespace leeward::node
