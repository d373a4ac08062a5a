// Checkpoints of the state, and their way to members that need one.
//
// The leader offers a manifest; the receiver fetches the files piece by piece,
// by (file, offset), from who offered it, checks each piece and each whole
// file, and hands the complete directory back. It may begin, stop
// and go on at any piece; a crash throws away what was not installed.
//
// Core loop. What a transfer writes runs as tasks of the wal loop; checkpoints
// are made, read from and removed on the files loop, where they may take long.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "node/context.h"
#include "node/wal_loop.h"

namespace leeward::node {

// From the file that encode_manifest_file() filled. Errors: kNotFound, kIo, kCorrupt.
Result<Manifest> read_manifest(Disk& disk, const Path& path);
// Makes a received file durable and holds it against what its manifest says.
// Errors: kCorrupt when it is another, kIo.
Result<void> check_received(Disk& disk, const Path& path, const StateFile& expected);

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

  Snapshots(Context& context, WalLoop& wal, OnReceived received, OnSent sent, OnFailed failed);

  // At start: which checkpoints are complete. Removes the others.
  Result<void> load();

  // Begins a new checkpoint of the applied state, unless the newest is of that;
  // once it is there the oldest beyond the retention go. True: one is being made.
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
  // nobody follows.
  void keep_for_rewind(std::optional<Index> held);
  // Whether that checkpoint, or the beginning, and the log after it are here;
  // nullopt: nobody follows.
  std::optional<bool> rewindable() const;

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
  // The receiver's directory was installed, or could not be.
  void finished(const Received& received, bool ok);
  bool receiving() const { return receiver_.has_value(); }

 private:
  struct Checkpoint {
    Manifest manifest;
    Path directory;
    std::optional<Instant> served, lent;
  };
  struct Transfer {
    std::string id;
    Index index;
    Instant offered{}, progressed{};
  };
  struct Receiver {
    Manifest manifest;
    NodeId from;
    std::string state_dir;
    std::uint32_t file = 0;     // next piece to ask for
    std::uint64_t offset = 0;
    std::set<std::pair<std::uint32_t, std::uint64_t>> asked;
    std::size_t writing = 0;    // pieces on the wal loop
    Instant progressed{}, asked_again{};
  };

  // What a checkpoint is made of, on the files loop.
  static Result<Manifest> write_checkpoint(Disk& disk, const Path& root, const Path& directory, StateMachine& state);
  void made(Result<Manifest> manifest, const Path& directory, bool still_current);
  void forget_old();
  bool superseded(const Manifest& manifest) const;
  const Checkpoint* for_rewind() const;
  void remove_on_files(const Path& directory);
  const Checkpoint* find(const std::string& id) const;
  void on_offer(NodeId from, const Frame& frame);
  void on_fetch(NodeId from, const Frame& frame);
  void on_chunk(NodeId from, const Frame& frame);
  void on_gone(NodeId from, const Frame& frame);
  void on_done(NodeId from, const Frame& frame);
  void begin_receiving(NodeId from, Manifest manifest);
  void ask_for_more();
  void ask(std::uint32_t file, std::uint64_t offset);
  void verify_files();
  void abandon();
  void give_up(const Error& error);
  void send_offer(NodeId to, Transfer& transfer);

  Context& context_;
  WalLoop& wal_;
  OnReceived received_;
  OnSent sent_;
  OnFailed failed_;
  Elsewhere elsewhere_;
  std::vector<Checkpoint> checkpoints_;  // oldest first
  std::optional<Index> held_;            // by whoever follows
  bool making_ = false;
  Instant made_{};                           // when the last attempt ended
  std::map<NodeId, Index> offers_waiting_;   // for the checkpoint that is being made
  std::map<NodeId, Transfer> transfers_;
  std::optional<Receiver> receiver_;
  std::uint64_t generation_ = 0;  // of the receiver: late disk work of an abandoned one is ignored
  std::uint64_t next_dir_ = 0;
};

}  // namespace leeward::node
