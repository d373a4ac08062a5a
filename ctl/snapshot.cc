#include "ctl/snapshot.h"

#include <ctime>

#include "base/json.h"
#include "base/quantity.h"
#include "ctl/figures.h"
#include "ctl/table.h"
#include "proto/rpc.pb.h"

namespace leeward::ctl {
namespace {

constexpr const char* kSnapshotMethod = "/etcdserverpb.Maintenance/Snapshot";
constexpr Duration kSilence = 60s;  // a node reads all of its state once before the first byte

std::string utc_time(std::int64_t ms) {
  const std::time_t seconds = ms / 1000;
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

std::string folder_of(const std::string& file) {
  const std::size_t slash = file.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : file.substr(0, slash);
}

// What comes, into FILE.part.
class PartFile {
 public:
  PartFile(Disk& disk, std::string path) : disk_(disk), path_(std::move(path)) {}
  ~PartFile() {
    file_.reset();
    if (!kept_) (void)disk_.remove(path_);  // it says by its name that it is not whole
  }
  PartFile(const PartFile&) = delete;
  PartFile& operator=(const PartFile&) = delete;

  Result<void> begin() {
    auto file = disk_.open(path_, OpenMode::kCreateOrOpen);
    if (!file.ok()) return file.error();
    file_ = std::move(*file);
    size_ = 0;
    return file_->truncate(0);
  }
  Result<void> add(std::string_view data) {
    LEEWARD_TRY(file_->write(size_, data));
    size_ += data.size();
    return {};
  }
  Result<void> sync() { return file_->sync(); }
  Result<void> become(const std::string& name) {
    LEEWARD_TRY(disk_.rename(path_, name));
    kept_ = true;
    return disk_.sync_dir(folder_of(name));
  }
  const std::string& path() const { return path_; }
  std::uint64_t size() const { return size_; }

 private:
  Disk& disk_;
  const std::string path_;
  std::unique_ptr<File> file_;
  std::uint64_t size_ = 0;
  bool kept_ = false;
};

kv::BytesSeen seen_by(const Progress& progress, const char* what) {
  if (!progress) return {};
  return [&progress, what](std::uint64_t bytes, std::uint64_t of) { progress(what, bytes, of); };
}

// One endpoint's, whole as far as its end says.
Result<void> fetch_snapshot(const Server& server, const Endpoint& from, PartFile& part, const Progress& progress) {
  std::optional<Error> own;  // our disk's
  std::uint64_t remaining = 0;
  if (auto begun = part.begin(); !begun.ok()) return begun.error();
  const auto ended = server.stream_at(from, kSnapshotMethod, std::string(), kSilence, [&](std::string_view message) -> Result<void> {
    etcdserverpb::SnapshotResponse response;
    if (!response.ParseFromArray(message.data(), static_cast<int>(message.size()))) return Error{kCannotServe, from.text() + " sent what is no part of a snapshot"};
    if (auto added = part.add(response.blob()); !added.ok()) {
      own = added.error();
      if (own->code == Code::kNoSpace) own->message += "; free some room and save again";
      return *own;
    }
    remaining = response.remaining_bytes();
    if (progress) progress("saves", part.size(), part.size() + remaining);
    return {};
  });
  if (own) return *own;
  if (!ended.ok() && part.size() > 0 && exit_code(ended.error()) == kUnreachable)
    return Error{kCannotServe, from.text() + " broke off after " + human_size(part.size()) + " (" + ended.error().message + "); nothing was kept, save again"};
  if (!ended.ok()) return ended.error();
  if (remaining > 0 || part.size() == 0)
    return Error{kCannotServe, from.text() + " ended " + (part.size() == 0 ? std::string("without a snapshot") : std::to_string(remaining) + " bytes too early")};
  return {};
}

}  // namespace

void put_snapshot(const Output& output, const std::string& file, const kv::SnapshotReport& r, const std::string& from) {
  const auto& at = r.state.point;
  if (output.json) {
    JsonWriter out;
    out.begin_object().field("sound", true).field("file", file).field("size_bytes", std::to_string(r.size)).field("sha256", r.digest.hex())
        .field("revision", std::to_string(r.state.revision.value())).field("compact_revision", std::to_string(r.state.compacted.value()))
        .field("keys", std::to_string(r.keys)).field("versions", std::to_string(r.versions)).field("leases", std::to_string(r.leases))
        .field("rows", std::to_string(r.rows)).field("state_hash", r.state.state_hash.hex()).field("epoch", std::to_string(r.state.epoch.value()))
        .field("position_index", std::to_string(at.position.index.value())).field("chain_hash", at.position.hash.hex())
        .field("applied_index", std::to_string(at.index.value())).field("lineage", r.note.lineage.hex()).field("cluster", r.note.cluster)
        .field("node_id", std::to_string(r.note.node.value())).field("region", r.note.region).field("version", r.note.version)
        .field("taken_at", utc_time(r.note.taken_ms));
    if (!from.empty()) out.field("endpoint", from);
    out.end_object();
    output.out << out.text() << "\n";
    return;
  }
  std::ostream& out = output.out;
  print_line(out, "file", file + (from.empty() ? "" : ", from " + from));
  print_line(out, "size", human_size(r.size) + ", sha256 " + r.digest.hex());
  print_line(out, "taken", utc_time(r.note.taken_ms) + " by node " + std::to_string(r.note.node.value()) + (r.note.region.empty() ? "" : " in " + r.note.region) +
                               ", version " + or_dash(r.note.version));
  print_line(out, "cluster", or_dash(r.note.cluster) + ", lineage " + r.note.lineage.hex());
  print_line(out, "revision", std::to_string(r.state.revision.value()) + ", compacted " + std::to_string(r.state.compacted.value()));
  print_line(out, "position", std::to_string(at.position.index.value()) + " in epoch " + std::to_string(r.state.epoch.value()));
  print_line(out, "keys", grouped(r.keys) + ", in " + grouped(r.versions) + " versions; " + grouped(r.leases) + " leases");
  print_line(out, "state hash", r.state.state_hash.hex() + ", as its rows give it");
}

Result<void> snapshot_save(Disk& disk, const Server& server, const Output& output, const SnapshotTarget& target, const Progress& progress) {
  if (disk.exists(target.file) && !target.force)
    return Error{Code::kRefused, target.file + " is there already; --force replaces it once the new one is whole, or give another name"};
  if (const std::string folder = folder_of(target.file); !disk.exists(folder)) return Error{Code::kNotFound, "there is no directory " + folder + "; make it first"};
  PartFile part(disk, target.file + ".part");
  Endpoint from;
  LEEWARD_TRY(server.try_each([&](const Endpoint& endpoint) {
    from = endpoint;
    return fetch_snapshot(server, endpoint, part, progress);
  }));
  LEEWARD_TRY(part.sync());
  // A backup that nobody has read is none.
  auto report = kv::read_snapshot(disk, part.path(), {}, seen_by(progress, "checks"));
  if (!report.ok()) return Error{report.error().code, "what " + from.text() + " sent is damaged, and was not kept: " + report.error().message};
  LEEWARD_TRY(part.become(target.file));
  put_snapshot(output, target.file, *report, from.text());
  return {};
}

Result<void> snapshot_status(Disk& disk, const Output& output, const std::string& file, const Progress& progress) {
  const auto report = kv::read_snapshot(disk, file, {}, seen_by(progress, "reads"));
  if (!report.ok()) return report.error();
  put_snapshot(output, file, *report, {});
  return {};
}

}  // namespace leeward::ctl
