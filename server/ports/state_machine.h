// The replicated state: etcd's MVCC store, leases and watches. `kv` implements
// it; `node` applies the log to it and the API reads it.
//
// Apply side: one call at a time, by the member's core and apply loops. Read side: any thread. The result of
// applying an entry depends on the entries before it alone.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/command.h"
#include "base/entry.h"
#include "base/function.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/units.h"
#include "ports/log_store.h"
#include "ports/store.h"

namespace leeward {

// What a client is told of its command. `etcd_error` is "" or etcd's text (for
// example "etcdserver: requested lease not found"), which api maps to a code.
struct CommandResult {
  std::string etcd_error;
  Bytes response;  // protobuf response of the op, header.revision filled, other header fields not
  Revision revision;
};

// State after the last applied entry.
struct AppliedState {
  LogPoint point;         // (index, term) in this group's log, position in the history
  Epoch epoch;            // of the newest EpochChange, 1 at first
  Revision revision;      // 1 in an empty store, as in etcd
  Revision compacted;     // 0: never
  Hash state_hash;        // equal in all regions at an equal position
};

struct LeaseInfo {
  std::int64_t id = 0;
  std::int64_t ttl_seconds = 0;  // as granted
};

struct StateFile {
  std::string name;  // relative, no ".."
  std::uint64_t size = 0;
  Hash hash;
};

// A history entry about regions, as the state machine keeps it.
struct RegionEntry {
  EntryKind kind = EntryKind::kArmed;
  Epoch epoch;  // the entry's own
  HistoryIndex index;
  Bytes payload;
  Revision forked;  // EpochChange: the last revision of the epoch before; else 0
  bool operator==(const RegionEntry&) const = default;
};

// Describes a checkpoint: complete on disk, immutable.
struct Manifest {
  std::string id;  // hex hash over the rest: equal content, equal id
  AppliedState state;
  std::string membership;  // opaque to kv: node's, as set by set_group_state
  std::vector<StateFile> files;
};

// A Range in two passes over one pinned snapshot: sizes first, then the encoded
// RangeResponse piece by piece, so that a large answer never stands in memory
// whole. `header` in the encoded response holds the revision only.
class RangeReply {
 public:
  virtual ~RangeReply() = default;
  virtual std::uint64_t size() const = 0;   // bytes of the encoded response in all
  virtual Revision revision() const = 0;    // the store's at the snapshot
  // The next piece, up to about max bytes; empty at the end. After 30 s of
  // holding the snapshot: kDeadline.
  virtual Result<Bytes> next(std::size_t max) = 0;
};

// One piece of a watch: what a WatchResponse is made of. The API adds watch id
// and header around it, so that the encoded events are shared.
struct WatchEvents {
  Revision revision;                 // header.revision
  Bytes events;                      // encoded `events` fields of a WatchResponse, shared by all watchers of this form
  std::uint32_t count = 0;
  bool progress = false;             // a progress notification: no events
  bool fragment = false;             // more of the same revision follow
  std::optional<Revision> compacted; // cancelled: started below this revision
  std::string cancel_reason;         // non-empty: the watch has ended
  std::optional<Instant> applied;    // when the oldest of these events was; nullopt: read again from the past
};

// Where a copy of the state is from, for whoever finds the file.
struct CopyNote {
  std::string cluster;
  Lineage lineage;
  GroupId group;
  NodeId node;
  std::string region, version;
  std::int64_t taken_ms = 0;  // since 1970
};

// The whole state after some entry as one file (kv/SNAPSHOT.md), made while it is
// taken. Holds a snapshot of the store: not for ever. One thread at a time.
class StateCopy {
 public:
  virtual ~StateCopy() = default;
  virtual Revision revision() const = 0;
  // Goes over the next `max` bytes of rows, about, to learn the size. True when there
  // is more: call again, before anything below.
  virtual Result<bool> measure(std::size_t max) = 0;
  virtual std::uint64_t size() const = 0;  // of the file
  // The next piece, up to `max` bytes; empty at the end.
  virtual Result<Bytes> next(std::size_t max) = 0;
};

struct WatchRequest {
  std::string key;
  std::string range_end;  // "" single key; "\0" from key to the end, as etcd
  Revision start;         // 0: from now
  bool prev_kv = false;
  bool no_put = false;
  bool no_delete = false;
  bool progress_notify = false;
  bool fragment = false;
  std::size_t fragment_bytes = 0;  // a response above it is split when `fragment`
};

// One watch. Threads: the hub's side is driven by the loop that polls it. A
// watcher holds at most 1 MiB of events; beyond it falls back to catching up
// from the store: never dropped, never waited for.
class Watcher {
 public:
  virtual ~Watcher() = default;  // ends the watch
  // Up to about max_bytes of what is next; nullopt when there is nothing now.
  // Each revision in its range once, in order.
  virtual std::optional<WatchEvents> poll(std::size_t max_bytes) = 0;
  // The revision up to which everything has been handed out by poll().
  virtual Revision synced() const = 0;
};

class StateMachine {
 public:
  virtual ~StateMachine() = default;

  // Reads all that is stored and compares it with itself: the rows with one
  // another, the state hash with what they give. Any thread; takes as long as
  // that takes. Errors: kCorrupt, kIo.
  virtual Result<void> verify() const { return Error{Code::kUnimplemented, "this state cannot verify itself"}; }

  // --- apply side ---

  // Applies committed entries in order, history and control alike (control
  // entries only move index and term). `wanted(e, c)` says whether someone here
  // waits for command c of entries[e]; only then a result is built and given
  // to `result`. One atomic store batch. Errors are final for the process.
  virtual Result<void> apply(std::span<const Entry> entries,
                             const std::function<bool(std::size_t entry, std::size_t command)>& wanted,
                             const std::function<void(std::size_t entry, std::size_t command, CommandResult)>& result) = 0;
  // Group-own state that must be atomic with what is applied (membership,
  // incarnations, topology): stored with the next apply(), part of manifests.
  virtual void set_group_state(std::string bytes) = 0;
  virtual std::string group_state() const = 0;
  // Makes applied state durable; afterwards durable() == applied().
  virtual Result<void> flush() = 0;
  // Goes on with another store, opened from a checkpoint: state, position and
  // group state are that one's. Watchers stay and catch up from it.
  virtual Result<void> install(std::unique_ptr<Store> /*store*/) {
    return Error{Code::kUnimplemented, "this state machine cannot install a checkpoint"};
  }
  // Frees what logical compaction has released, about `max` rows of it. True
  // when there is more: call again, between other work.
  virtual Result<bool> compact_step(std::size_t /*max*/) { return false; }

  // --- beside both: any thread, one at a time ---

  // A checkpoint in `directory` (made by this call) of the state after some
  // entry applied since the call began, or before; durable() is not below it
  // afterwards. Long: it writes and reads files while apply() goes on.
  virtual Result<Manifest> checkpoint(const std::string& directory) = 0;

  // --- read side: any thread ---

  virtual AppliedState applied() const = 0;
  virtual Index durable() const = 0;
  // All applied EpochChanges and Measureds, and the newest applied entry of each
  // other region kind, ordered by kind. History state: written by apply() in its batch, part of
  // checkpoints and of the state hash. One that keeps none arms nobody.
  virtual std::vector<RegionEntry> region_entries() const { return {}; }
  virtual Hash state_hash() const = 0;
  // As it was after the history entry at `index`, for the last 65,536 applied
  // since the start: apply() may have merged that entry with others.
  virtual std::optional<Hash> state_hash_at(HistoryIndex /*index*/) const { return std::nullopt; }

  // `request` is an encoded RangeRequest. Errors carry etcd's text in message
  // and kCompacted, kInvalid (future revision) or kDeadline as code.
  virtual Result<std::unique_ptr<RangeReply>> range(std::string_view request) = 0;
  // Whether the command may make the state larger: puts, transactions with a
  // put in them, new leases. What cannot be read may not.
  virtual bool grows(Op op, std::string_view request) const = 0;
  // A transaction that writes nothing, on a snapshot. Encoded TxnRequest in,
  // encoded TxnResponse out.
  virtual Result<CommandResult> read_only_txn(std::string_view request) = 0;
  // etcd's HashKV at `revision` (0: now): hash, compact revision used.
  struct KvHash {
    std::uint32_t hash = 0;
    Revision revision;
    Revision compacted;
  };
  virtual Result<KvHash> hash_kv(Revision revision) = 0;

  // Of what is applied now. Cheap; what it gives is long work.
  virtual Result<std::unique_ptr<StateCopy>> copy(const CopyNote& /*note*/) const {
    return Error{Code::kUnimplemented, "this state gives no copy of itself"};
  }

  virtual std::vector<LeaseInfo> leases() const = 0;
  virtual std::optional<LeaseInfo> lease(std::int64_t id) const = 0;
  virtual std::vector<std::string> lease_keys(std::int64_t id) const = 0;

  // `ready` is called, from any thread and never concurrently for one watcher,
  // when poll() may give something after it gave nothing; also from within
  // watch() and poll() themselves, when a watcher catches up in steps. Must not
  // block nor touch a watcher: post, and return.
  virtual Result<std::unique_ptr<Watcher>> watch(const WatchRequest& request, std::function<void()> ready) = 0;

  virtual std::uint64_t db_bytes() const = 0;
  virtual std::uint64_t db_bytes_in_use() const = 0;
  virtual std::uint64_t key_count() const = 0;
  virtual std::uint64_t watcher_count() const = 0;
  // Events that watchers have not taken yet; of one that catches up, revisions.
  virtual std::uint64_t watch_backlog() const = 0;
  virtual Result<void> defragment() = 0;
};

}  // namespace leeward
