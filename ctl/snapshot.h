// Snapshot files: saved from a node, judged, and restored as the first members
// of a new cluster. server/kv/SNAPSHOT.md has the file and what a restore means.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "ctl/commands.h"
#include "kv/snapshot_file.h"

namespace leeward::ctl {

// Told as it goes: what is done of how many bytes; null: nobody looks.
using Progress = std::function<void(std::string_view what, std::uint64_t bytes, std::uint64_t of)>;

struct SnapshotTarget {
  std::string file;
  bool force = false;  // replaces what is there
};
// From the first endpoint that gives one. Whole and checked under its name, or not there.
Result<void> snapshot_save(Disk& disk, const Server& server, const Output& output, const SnapshotTarget& target, const Progress& progress);
Result<void> snapshot_status(Disk& disk, const Output& output, const std::string& file, const Progress& progress);

struct RestoreTo {
  std::string file;
  std::string config;            // the node's
  std::vector<std::string> set;  // as leewardd takes it
  std::string data_dir, wal_dir; // instead of the configuration's, unless empty
  std::string token;
};
Result<void> snapshot_restore(Disk& disk, const Output& output, const RestoreTo& to, const Progress& progress);

// What save and status print of a file that was read.
void put_snapshot(const Output& output, const std::string& file, const kv::SnapshotReport& report, const std::string& from);

}  // namespace leeward::ctl
