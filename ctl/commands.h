// The commands, free of flags: cli.cc reads those.
#pragma once

#include <cstdint>
#include <ostream>
#include <span>
#include <string>
#include <vector>

#include "ctl/server.h"
#include "ports/disk.h"

namespace leeward::ctl {

// Where a command writes what it has found; `json` is -o json.
struct Output {
  std::ostream& out;
  bool json = false;
};

Result<void> cluster_status(const Server& server, const Output& output);
Result<void> cluster_finalize(const Server& server, const Output& output);
Result<void> cluster_topology(const Server& server, const Output& output);
Result<void> member_list(const Server& server, const Output& output);
Result<void> member_admit(const Server& server, const Output& output, std::uint64_t id);

struct NewMember {
  std::uint64_t id = 0;
  std::string name, region, zone, peer_address, client_url;
};
Result<void> member_add(const Server& server, const Output& output, const NewMember& member);
Result<void> member_update(const Server& server, const Output& output, const NewMember& member);
// Asks twice a second until the member is in sync, and says what it waits for.
Result<void> member_wait_sync(const Server& server, const Output& output, std::uint64_t id, Duration limit);
Result<void> member_promote(const Server& server, const Output& output, std::uint64_t id);
Result<void> member_remove(const Server& server, const Output& output, std::uint64_t id, bool force);
// `pairs`: old, new, old, new, ...; all in one step.
Result<void> member_replace(const Server& server, const Output& output, const std::vector<std::uint64_t>& pairs, bool force);
Result<void> member_move_leader(const Server& server, const Output& output, std::uint64_t id);
Result<void> replica_status(const Server& server, const Output& output, std::uint64_t id);  // 0: who answers
struct ReplicaChange {
  std::string what;  // pause, resume, isolate, rejoin
  std::uint64_t id = 0;
  std::string reason;
  bool force = false;
};
Result<void> replica_change(const Server& server, const Output& output, const ReplicaChange& change);
Result<void> standby_status(const Server& server, const Output& output, std::uint64_t id);  // 0: all

struct Promotion {
  std::string digest, reason;
  std::string region;  // whose group; empty: the armed one's, or the endpoint's own
  std::vector<std::string> force;
  std::vector<std::uint64_t> members;
  bool accept_data_loss = false;
};
Result<void> dr_plan(const Server& server, const Output& output, const Promotion& promotion);
Result<void> dr_promote(const Server& server, const Output& output, const Promotion& promotion);
// Asks a member that follows and leads nothing, unless `id` names one; waits for
// its end. An error names the check that failed.
Result<void> dr_drill(const Server& server, const Output& output, std::uint64_t id, Duration limit);
Result<void> dr_survivor(const Server& server, const Output& output, const std::string& promotion);
Result<void> dr_status(const Server& server, const Output& output, bool history);
Result<void> dr_rejoin(const Server& server, const Output& output, bool discard, bool accept_data_loss);
struct LedgerChoice;
Result<void> dr_ledger_show(const Server& server, const Output& output, const LedgerChoice& choice);
// Lines of JSON to the file `name`, or to the output where that is "-". `force`: replaces a file that is there.
Result<void> dr_ledger_export(const Server& server, const Output& output, const LedgerChoice& choice, const std::string& name, bool force);
Result<void> dr_ledger_discard(const Server& server, const Output& output, const LedgerChoice& choice, bool accept_data_loss);
Result<void> dr_ledger_replay(const Server& server, const Output& output, const LedgerChoice& choice, bool dry_run);
struct HandoverTo {
  std::string region, reason;  // empty: the armed one
};
Result<void> dr_reclaim(const Server& server, const Output& output, Promotion promotion);
Result<void> dr_switchover(const Server& server, const Output& output, const HandoverTo& to);
Result<void> dr_abort(const Server& server, const Output& output);
Result<void> dr_arm(const Server& server, const Output& output, const HandoverTo& to);
Result<void> dr_disarm(const Server& server, const Output& output, bool force);

// Offline. Take the directory's lock while they look: kInUse when a node runs on it.
struct StoragePlace {
  std::string data_dir, wal_dir, snapshot_dir;
  bool names_snapshot_dir = false;  // it was given, not taken for granted
};
Result<void> storage_verify(Disk& disk, const StoragePlace& place, bool full_scan, const Output& output);
Result<void> storage_superblock(Disk& disk, const StoragePlace& place, const Output& output);
Result<void> storage_log(Disk& disk, const StoragePlace& place, std::uint64_t from, std::uint64_t to, const Output& output);

// The flight recorder's events as they were dumped or fetched, readable.
Result<void> flight(std::istream& in, const std::string& name, const Output& output);

// Without a server: what a group will carry. Durations and sizes as they are typed.
struct CapacityFlags {
  CapacityFlags();  // the defaults of CapacityInput
  std::string fsync, round_trip, wan_round_trip, link, key_size, value_size, history, retain_log, block_cache, write_buffer;
  std::string cpu_per_write, cpu_per_batch, cpu_lone;
  std::uint64_t clients, keys, watchers, writes = 0;  // writes 0: as many as there can be
  unsigned processors;
  std::string probe;  // a directory: fsync is measured there
};
Result<void> capacity(Disk& disk, const Output& output, const CapacityFlags& flags);

// The whole command line, without the program's name. Posts through `poster`
// when it is given, else over the network.
int run(std::span<const std::string> arguments, std::ostream& out, std::ostream& err, Disk& disk, Poster* poster = nullptr);

}  // namespace leeward::ctl
