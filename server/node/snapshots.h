// Checkpoints of the state, and their way to members that need one.
//
// The leader offers a manifest; the receiver fetches its files from who offered
// it (state_fetch.h) into data_dir/incoming and hands the complete directory
// back. It goes on where it stopped, after a restart too.
//
// Core loop. Checkpoints are made, read from and removed, and what is received
// is written, on the files loop, where it may take long.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "node/context.h"
#include "node/state_fetch.h"

namespace leeward::node {

class Snapshots {
 public:
  struct Received {
    Manifest manifest;
    std::string state_dir;  // name below data_dir; complete and durable
    NodeId from;            // who offered it and waits for the end
  };
  using OnReceived = Function<void(Received)>;
  // To the core: the transfer to a member is over.
  using OnSent = Function<void(NodeId to, bool ok, Index index)>;

  // This member's own disk failed: the process must not go on.
  using OnFailed = Function<void(const Error&)>;

  Snapshots(Context& context, OnReceived received, OnSent sent, OnFailed failed);

  // At start: which checkpoints are complete. Removes the others. kLineage, and
  // nothing is touched, when one is of another cluster than `own`, or of another
  // node of it: its log has something else there.
  Result<void> load(const Lineage& own);

  // Begins a new checkpoint of the applied state, unless the newest is of that.
  // True: one is being made.
  bool make();
  // False while one is being made, and shortly after one failed or was made.
  bool may_try() const;
  // Those from before the group's newest Adopt go: a member that began at one
  // would meet that entry and ask for files that nobody keeps any more.
  void forget_superseded();
  const Manifest* newest() const;
  const Manifest* oldest() const;
  // A following region holds this group's history up to `held` only: were it
  // promoted, this member would rewind to there. So the newest checkpoint at or
  // below stays, beyond the retention, as long as the log after it does; with
  // none so low the oldest stays, for `held` may be less than is known. nullopt:
  // nobody follows. Not known: others may follow that were not heard yet. Here alone those beyond the retention go: a fenced member, or
  // one that goes back, does not ask for it and keeps them all.
  void keep_for_rewind(std::optional<Index> held, bool known = true);
  // Whether that checkpoint, or the beginning, and the log after it are here;
  // nullopt: nobody follows.
  std::optional<bool> rewindable() const;

  // The newest checkpoint at or below, and where it lies; nullopt: none.
  struct Kept {
    Manifest manifest;
    Path directory;
  };
  std::optional<Kept> at_or_below(HistoryIndex index) const;

  // Leader: `to` needs a snapshot at or beyond `index`.
  void offer(NodeId to, Index beyond);
  // The lowest index that a member being served still needs the log from.
  std::optional<Index> lowest_in_transfer() const;

  // A checkpoint for another group: the one with this id if it is still here,
  // else the newest, in either case beyond `above`; nullptr: there is none, and
  // one is made if the state is beyond. It stays for a minute, and the log from
  // it on.
  const Manifest* lend(HistoryIndex above, const std::string& id);
  std::optional<Index> lowest_lent() const;
  // Files that are served besides those of checkpoints.
  using Elsewhere = Function<std::optional<Path>(const std::string& id, std::uint32_t file)>;
  void serve_also(Elsewhere elsewhere) { elsewhere_ = std::move(elsewhere); }
  // A name below data_dir that no state has yet.
  std::string new_state_dir(Index index);

  void on_frame(NodeId from, const Frame& frame);
  // Offers again, asks again, gives up.
  void drive();
  // What was received was installed (its directory is in use), or is not wanted
  // and is removed; `ok`: the sender may replicate from its index on.
  void installed(const Received& received);
  void dropped(const Received& received, bool ok);
  bool receiving() const { return fetch_.active(); }

 private:
  struct Checkpoint {
    Manifest manifest;
    Path directory;
    std::optional<Instant> served, lent;
  };
  struct Transfer {
    std::string id;
    Index index;
    Instant offered{}, progressed{}, begun{};
  };
  // What a checkpoint is made of, on the files loop.
  static Result<Manifest> write_checkpoint(Disk& disk, const Path& root, const Path& directory, StateMachine& state);
  void made(Result<Manifest> manifest, const Path& directory, bool still_current);
  void forget_old();
  bool superseded(const Manifest& manifest) const;
  Result<void> check_ours(const Manifest& manifest, const Lineage& own, const Path& directory) const;
  const Checkpoint* for_rewind() const;
  void remove_on_files(const Path& directory);
  const Checkpoint* find(const std::string& id) const;
  void on_offer(NodeId from, const Frame& frame);
  void on_fetch(NodeId from, const Frame& frame);
  void on_gone(NodeId from, const Frame& frame);
  void on_done(NodeId from, const Frame& frame);
  Path pool() const { return context_.options.data_dir + "/incoming"; }
  void begin(NodeId from, Manifest manifest);
  void given_up(const Manifest& manifest, NodeId from, const Error* error);
  void tell_done(NodeId to, const Manifest& manifest, bool ok);
  void clear_pool();
  void send_offer(NodeId to, Transfer& transfer);
  void tell_span(std::string_view name, Instant since, Index index, NodeId peer, std::string_view failure);

  Context& context_;
  OnReceived received_;
  OnSent sent_;
  OnFailed failed_;
  Elsewhere elsewhere_;
  std::vector<Checkpoint> checkpoints_;  // oldest first
  std::optional<Index> held_;            // by whoever follows
  bool known_ = true;                    // false: it is the least that can be
  bool making_ = false;
  Instant making_since_{}, fetching_since_{};  // what is under way
  Instant made_{};                           // when the last attempt ended
  std::map<NodeId, Index> offers_waiting_;   // for the checkpoint that is being made
  std::map<NodeId, Transfer> transfers_;
  StateFetch fetch_;
  std::optional<Instant> pool_used_;         // when it was, if it may hold something
  Index pool_end_;                           // of the log then
  std::string state_dir_;                    // that what is fetched will be
  std::uint64_t next_dir_ = 0;
};

}  // namespace leeward::node
