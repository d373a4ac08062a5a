// leewardctl snapshot: save, status and restore, on files and directories.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "ctl/commands.h"
#include "kv/snapshot_file.h"
#include "kv/state_machine.h"
#include "kv/stores.h"
#include "node/group_state.h"
#include "os/clock.h"
#include "os/posix_disk.h"
#include "proto/rpc.pb.h"
#include "wal/superblock.h"

namespace leeward::ctl {
namespace {

// Sends `file` to whoever asks, in pieces; as an endpoint that is up or is not.
class SnapshotNodes final : public Poster {
 public:
  Result<Reply> post(const Endpoint&, const std::string&, const std::string&, Duration) override { return Error{Code::kUnavailable, "Connection refused"}; }
  Result<Ended> stream(const Endpoint& endpoint, const std::string& method, const std::string&, Duration,
                       const std::function<Result<void>(std::string_view)>& take) override {
    EXPECT_EQ(method, "/etcdserverpb.Maintenance/Snapshot");
    asked.push_back(endpoint.text());
    if (endpoint.host == "down") return Error{Code::kUnavailable, "Connection refused"};
    if (endpoint.host == "fenced") return Ended{14, "epoch 3 is served by region west"};
    if (endpoint.host == "busy") return Ended{8, "leeward: this member sends 2 snapshots already; ask another member, or again later"};
    const std::size_t end = endpoint.host == "breaks" ? file.size() / 2 : file.size();
    for (std::size_t at = 0; at < end;) {
      const std::size_t piece = std::min<std::size_t>(10'000, end - at);
      etcdserverpb::SnapshotResponse response;
      response.set_blob(file.substr(at, piece));
      response.set_remaining_bytes(file.size() - at - piece);
      at += piece;
      if (auto taken = take(response.SerializeAsString()); !taken.ok()) return taken.error();
    }
    return Ended{};
  }
  std::string file;
  std::vector<std::string> asked;
};

class SnapshotCommand : public ::testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/leeward-snapshot-XXXXXX";
    root_ = mkdtemp(pattern);
    nodes_.file = state_file();
  }
  void TearDown() override { EXPECT_EQ(std::system(("rm -rf " + root_).c_str()), 0); }

  struct Ended {
    int code;
    std::string out, err;
  };
  Ended run(std::vector<std::string> arguments) {
    std::ostringstream out, err;
    const int code = ctl::run(arguments, out, err, disk_, &nodes_);
    EXPECT_TRUE(err.str().empty() || err.str().find('\n') == err.str().size() - 1) << "more than one line: " << err.str();
    return {code, out.str(), err.str()};
  }

  // Of a state with some keys and a lease.
  std::string state_file() {
    auto store = kv::open_rocksdb_store(root_ + "/source");
    auto machine = kv::MvccStateMachine::open(std::move(*store), disk_, clock_, log_);
    EXPECT_TRUE(machine.ok());
    std::vector<Command> commands;
    const auto add = [&](Op op, const auto& request) {
      Command command;
      command.op = op;
      command.request = Bytes(request.SerializeAsString());
      commands.push_back(std::move(command));
    };
    etcdserverpb::LeaseGrantRequest lease;
    lease.set_id(5);
    lease.set_ttl(100);
    add(Op::kLeaseGrant, lease);
    for (int i = 0; i < 300; ++i) {
      etcdserverpb::PutRequest put;
      put.set_key("k" + std::to_string(i % 100));
      put.set_value(std::string(500, static_cast<char>('a' + i % 26)));
      put.set_lease(i % 50 == 0 ? 5 : 0);
      add(Op::kPut, put);
    }
    Entry entry;
    entry.kind = EntryKind::kWrites;
    entry.term = Term(3);
    entry.index = Index(1);
    entry.epoch = Epoch(1);
    entry.writes = static_cast<std::uint32_t>(commands.size());
    entry.payload = Bytes(encode_payload(commands));
    entry.position = extend({}, entry.epoch, entry.kind, entry.writes, entry.payload.view());
    EXPECT_TRUE((*machine)->apply({&entry, 1}, nullptr, nullptr).ok());
    CopyNote note;
    note.cluster = "orders";
    note.region = "east";
    note.node = NodeId(2);
    note.taken_ms = 1'700'000'000'000;
    auto copy = (*machine)->copy(note);
    while (*(*copy)->measure(1_MiB)) {}
    std::string out;
    for (;;) {
      const auto piece = (*copy)->next(1_MiB);
      EXPECT_TRUE(piece.ok());
      if (!piece.ok() || piece->empty()) return out;
      out += piece->view();
    }
  }
  std::string text_of_file(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void write(const std::string& path, const std::string& bytes) { std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes; }
  std::string config(int id, const std::string& more = "") {
    const std::string path = root_ + "/node" + std::to_string(id) + ".toml";
    std::string members;
    for (int i = 1; i <= 3; ++i)
      members += (i > 1 ? ", " : "") + std::string("{ id = ") + std::to_string(i) + ", peer = \"127.0.0." + std::to_string(i) + ":2380\", region = \"east\" }";
    write(path, "[node]\nid = " + std::to_string(id) + "\nregion = \"" + (id > 10 ? "west" : "east") + "\"\ndata_dir = \"" + root_ + "/data" +
                    std::to_string(id) + "\"\n[cluster]\nname = \"orders\"\nmembers = [" + members + "]\n" +
                    "[standby]\nregion = \"west\"\nmembers = [{ id = 11, peer = \"127.0.0.11:2380\" }]\n" + more);
    return path;
  }
  bool exists(const std::string& name) { return disk_.exists(root_ + "/" + name); }

  std::string root_;
  os::PosixDisk disk_;
  os::SystemClock clock_;
  NullLog log_;
  SnapshotNodes nodes_;
};

TEST_F(SnapshotCommand, SaveKeepsWhatWasSentAndSaysWhatItIs) {
  const auto saved = run({"--endpoints=down:2379,fenced:2379,up:2379", "-o", "json", "snapshot", "save", root_ + "/backup"});
  EXPECT_EQ(saved.code, 0) << saved.err;
  EXPECT_EQ(nodes_.asked.size(), 3u);
  EXPECT_EQ(text_of_file(root_ + "/backup"), nodes_.file);
  EXPECT_FALSE(exists("backup.part"));
  for (const char* field : {"\"sound\":true", "\"revision\":\"301\"", "\"keys\":\"100\"", "\"leases\":\"1\"", "\"endpoint\":\"up:2379\"", "\"epoch\":\"1\"",
                            "\"taken_at\":\"2023-11-14T22:13:20Z\"", "\"cluster\":\"orders\"", "\"node_id\":\"2\""})
    EXPECT_NE(saved.out.find(field), std::string::npos) << field << " in " << saved.out;
  const auto status = run({"-o", "json", "snapshot", "status", root_ + "/backup"});
  EXPECT_EQ(status.code, 0);
  EXPECT_NE(status.out.find("\"revision\":\"301\""), std::string::npos);
  const auto table = run({"snapshot", "status", root_ + "/backup"});
  EXPECT_NE(table.out.find("keys           100, in 300 versions; 1 leases"), std::string::npos) << table.out;
}

TEST_F(SnapshotCommand, SaveReplacesNothingUnlessItIsTold) {
  write(root_ + "/backup", "older");
  const auto refused = run({"--endpoints=up:2379", "snapshot", "save", root_ + "/backup"});
  EXPECT_EQ(refused.code, 3);
  EXPECT_NE(refused.err.find("--force"), std::string::npos);
  EXPECT_EQ(text_of_file(root_ + "/backup"), "older");
  EXPECT_EQ(run({"--endpoints=breaks:2379", "snapshot", "save", "--force", root_ + "/backup"}).code, 1);
  EXPECT_EQ(text_of_file(root_ + "/backup"), "older") << "until the new one is whole";
  EXPECT_EQ(run({"--endpoints=up:2379", "snapshot", "save", "--force", root_ + "/backup"}).code, 0);
  EXPECT_EQ(text_of_file(root_ + "/backup"), nodes_.file);
}

TEST_F(SnapshotCommand, WhatIsNotWholeOrDamagedIsNotKept) {
  for (const char* endpoint : {"--endpoints=breaks:2379", "--endpoints=busy:2379", "--endpoints=fenced:2379"}) {
    const auto broken = run({endpoint, "snapshot", "save", root_ + "/backup"});
    EXPECT_EQ(broken.code, 1) << endpoint << broken.err;
    EXPECT_FALSE(exists("backup") || exists("backup.part"));
  }
  EXPECT_EQ(run({"--endpoints=down:2379", "snapshot", "save", root_ + "/backup"}).code, 4);
  nodes_.file[nodes_.file.size() / 2] ^= 1;
  const auto damaged = run({"--endpoints=up:2379", "snapshot", "save", root_ + "/backup"});
  EXPECT_EQ(damaged.code, 1);
  EXPECT_NE(damaged.err.find("is damaged, and was not kept"), std::string::npos) << damaged.err;
  EXPECT_FALSE(exists("backup") || exists("backup.part"));
  EXPECT_EQ(run({"--endpoints=up:2379", "snapshot", "save", root_ + "/none/backup"}).code, 1);
}

TEST_F(SnapshotCommand, StatusFindsDamage) {
  write(root_ + "/backup", nodes_.file.substr(0, nodes_.file.size() - 512));
  const auto cut = run({"snapshot", "status", root_ + "/backup"});
  EXPECT_EQ(cut.code, 1);
  EXPECT_NE(cut.err.find("it was cut"), std::string::npos) << cut.err;
  EXPECT_EQ(run({"snapshot", "status", root_ + "/none"}).code, 1);
  EXPECT_EQ(run({"snapshot", "status"}).code, 2);
}

TEST_F(SnapshotCommand, RestoreMakesOneClusterOfSeveralDirectories) {
  write(root_ + "/backup", nodes_.file);
  std::set<std::string> lineages, incarnations, hashes;
  for (const int id : {1, 2, 3}) {
    const auto restored = run({"-o", "json", "snapshot", "restore", root_ + "/backup", "--config", config(id)});
    ASSERT_EQ(restored.code, 0) << restored.err;
    const auto told = restored.out.find("\"epoch\":\"");
    ASSERT_NE(told, std::string::npos) << restored.out;
    const auto epoch = std::strtoll(restored.out.c_str() + told + 9, nullptr, 10);
    EXPECT_GE(epoch, 3) << "above all that other regions may have begun since";
    EXPECT_NE(restored.out.find("\"revision\":\"" + std::to_string(epoch << 44) + "\""), std::string::npos) << restored.out;
    const std::string data = root_ + "/data" + std::to_string(id);
    const auto superblock = wal::SuperblockFile::open(disk_, data);
    ASSERT_TRUE(superblock.ok()) << superblock.error().message;
    EXPECT_EQ((*superblock)->data().node, NodeId(static_cast<std::uint64_t>(id)));
    lineages.insert((*superblock)->data().lineage.hex());
    incarnations.insert(std::to_string((*superblock)->data().incarnation.value()));
    const auto store = kv::open_rocksdb_store(data + "/state-1-1", {.create = false, .read_only = true});
    ASSERT_TRUE(store.ok());
    const auto group = node::decode_group_state((*store)->get(Family::kMeta, "group")->value());
    ASSERT_TRUE(group.ok());
    EXPECT_EQ(group->membership.voters.size(), 3u);
    EXPECT_EQ(group->topology.size(), 4u);
    const auto verified = run({"-o", "json", "storage", "verify", "--full-scan", data});
    EXPECT_EQ(verified.code, 0) << verified.err << verified.out;
    const std::size_t at = verified.out.find("\"state_hash\"");
    hashes.insert(verified.out.substr(at, 80));
  }
  EXPECT_EQ(lineages.size(), 1u);
  EXPECT_EQ(incarnations.size(), 3u);
  EXPECT_EQ(hashes.size(), 1u);
  const auto another = run({"-o", "json", "snapshot", "restore", root_ + "/backup", "--config", config(1), "--token", "x", "--data-dir", root_ + "/other"});
  ASSERT_EQ(another.code, 0) << another.err;
  EXPECT_EQ(another.out.find(*lineages.begin()), std::string::npos);
  EXPECT_TRUE(exists("other/wal"));
}

TEST_F(SnapshotCommand, RestoreTouchesNoMembersDirectory) {
  write(root_ + "/backup", nodes_.file);
  ASSERT_EQ(run({"snapshot", "restore", root_ + "/backup", "--config", config(1)}).code, 0);
  const std::string before = text_of_file(root_ + "/data1/superblock");
  const auto again = run({"snapshot", "restore", root_ + "/backup", "--config", config(1)});
  EXPECT_EQ(again.code, 3);
  EXPECT_NE(again.err.find("is not empty"), std::string::npos);
  EXPECT_EQ(text_of_file(root_ + "/data1/superblock"), before);
  ASSERT_TRUE(disk_.make_dirs(root_ + "/log").ok());
  write(root_ + "/log/log-1.seg", "");
  EXPECT_EQ(run({"snapshot", "restore", root_ + "/backup", "--config", config(2), "--wal-dir", root_ + "/log"}).code, 3);
  EXPECT_FALSE(exists("data2"));
}

TEST_F(SnapshotCommand, WhatCannotBeRestoredLeavesNothing) {
  std::string damaged = nodes_.file;
  damaged[damaged.size() - 40] ^= 1;
  write(root_ + "/backup", damaged);
  const auto refused = run({"snapshot", "restore", root_ + "/backup", "--config", config(1)});
  EXPECT_EQ(refused.code, 1);
  EXPECT_FALSE(exists("data1/state-1-1") || exists("data1/superblock") || exists("data1/wal"));
  write(root_ + "/backup", nodes_.file);
  const auto standby = run({"snapshot", "restore", root_ + "/backup", "--config", config(11)});
  EXPECT_EQ(standby.code, 2);
  EXPECT_NE(standby.err.find("begins on empty directories"), std::string::npos) << standby.err;
  EXPECT_EQ(run({"snapshot", "restore", root_ + "/backup"}).code, 2);
  EXPECT_EQ(run({"snapshot", "restore", root_ + "/backup", "--config", config(1, "nonsense = 1\n")}).code, 2);
  EXPECT_EQ(run({"snapshot", "restore", root_ + "/backup", "--config", config(1)}).code, 0) << "what failed before is not in its way";
}

}  // namespace
}  // namespace leeward::ctl
