#include "node/state_fetch.h"

#include <algorithm>

#include "base/crc32c.h"
#include "ports/file_hash.h"
#include "ports/manifest.h"

namespace leeward::node {
namespace {

constexpr std::string_view kPart = ".part";
constexpr std::size_t kPiecesInFlight = 8;
constexpr Duration kAskAgain = 2s;
constexpr Duration kGiveUp = 20s;

Path part(const Path& pool, const StateFile& f) { return pooled(pool, f) + std::string(kPart); }

// How much of each file is there: all of a whole one, else the pieces in front.
Result<std::vector<std::uint64_t>> starts_of(Disk& disk, const Path& pool, const std::vector<StateFile>& files,
                                             std::uint64_t chunk) {
  LEEWARD_TRY(disk.make_dirs(pool));
  std::vector<std::uint64_t> starts;
  std::set<Path> seen;
  for (const auto& f : files) {
    const auto path = pooled(pool, f);
    if (!seen.insert(path).second || disk.exists(path)) {
      starts.push_back(f.size);
      continue;
    }
    auto file = disk.open(part(pool, f), OpenMode::kCreateOrOpen);
    if (!file.ok()) return file.error();
    auto size = (*file)->size();
    if (!size.ok()) return size.error();
    starts.push_back(*size >= f.size ? f.size : *size / chunk * chunk);
  }
  return starts;
}

Result<void> check(Disk& disk, const Path& path, const StateFile& expected) {
  auto file = disk.open(path, OpenMode::kReadWrite);
  if (!file.ok()) return file.error();
  LEEWARD_TRY((*file)->sync());
  auto size = (*file)->size();
  if (!size.ok()) return size.error();
  auto hash = hash_file(**file, *size);
  if (!hash.ok()) return hash.error();
  if (*size != expected.size || *hash != expected.hash)
    return Error{Code::kCorrupt, "the received file " + expected.name + " is not what the manifest names"};
  return {};
}

// Checked and durable: from here on it has its own name.
Result<void> complete(Disk& disk, const Path& pool, const StateFile& f) {
  const auto path = pooled(pool, f);
  if (disk.exists(path)) return {};
  if (auto checked = check(disk, part(pool, f), f); !checked.ok()) {
    if (checked.error().code == Code::kCorrupt) (void)disk.remove(part(pool, f));  // what stays fails again, and is removed then
    return checked;
  }
  LEEWARD_TRY(disk.rename(part(pool, f), path));
  return disk.sync_dir(pool);
}

Result<void> copy(Disk& disk, const Path& from, const Path& to, std::uint64_t size) {
  auto source = disk.open(from, OpenMode::kRead);
  if (!source.ok()) return source.error();
  auto target = disk.open(to, OpenMode::kCreateOrOpen);
  if (!target.ok()) return target.error();
  LEEWARD_TRY(for_each_piece(**source, size, [&](std::uint64_t offset, std::string_view piece) {
    return (*target)->write(offset, piece);
  }));
  return (*target)->sync();
}

}  // namespace

Result<Manifest> read_manifest(Disk& disk, const Path& path) {
  auto file = disk.open(path, OpenMode::kRead);
  if (!file.ok()) return file.error();
  std::string bytes;
  auto read = (*file)->read(0, 64_MiB, bytes);
  if (!read.ok()) return read.error();
  return decode_manifest_file(bytes);
}

Path pooled(const Path& pool, const StateFile& file) { return pool + "/" + file.hash.hex(); }

namespace {

// Table files are never written again and may be shared; a store appends to
// others of its files, so it gets copies of them.
template <class Source>
Result<void> lay_out(Disk& disk, const Manifest& manifest, const Path& directory, Source source) {
  LEEWARD_TRY(disk.remove_all(directory));
  LEEWARD_TRY(disk.make_dirs(directory));
  for (const auto& f : manifest.files) {
    if (!plain_file_name(f.name)) return Error{Code::kCorrupt, "a manifest names the file '" + f.name + "'"};
    const Path from = source(f), to = directory + "/" + f.name;
    if (f.name.ends_with(".sst")) {
      LEEWARD_TRY(disk.link(from, to));
    } else {
      LEEWARD_TRY(copy(disk, from, to, f.size));
    }
  }
  LEEWARD_TRY(disk.sync_dir(directory));
  return disk.sync_dir(directory.substr(0, directory.rfind('/')));
}

}  // namespace

Result<void> lay_out_state(Disk& disk, const Path& pool, const Manifest& manifest, const Path& directory) {
  return lay_out(disk, manifest, directory, [&](const StateFile& f) { return pooled(pool, f); });
}

Result<void> lay_out_checkpoint(Disk& disk, const Path& checkpoint, const Manifest& manifest, const Path& directory) {
  return lay_out(disk, manifest, directory, [&](const StateFile& f) { return checkpoint + "/" + f.name; });
}

void drop_from_pool(Disk& disk, const Path& pool, const std::vector<Manifest>& kept, std::string_view spared) {
  std::set<std::string> keep;
  for (const auto& m : kept)
    for (const auto& f : m.files) keep.insert({f.hash.hex(), f.hash.hex() + std::string(kPart)});
  const auto names = disk.list(pool);
  if (!names.ok()) return;
  for (const auto& name : *names)
    if (!keep.contains(name) && (spared.empty() || !name.starts_with(spared)))
      (void)disk.remove(pool + "/" + name);  // what stays goes with the next ones
}

StateFetch::StateFetch(Context& context, Path pool, OnHeld held, OnGivenUp given_up)
    : context_(context), pool_(std::move(pool)), held_(std::move(held)), given_up_(std::move(given_up)) {}

template <class Work, class Then>
void StateFetch::on_files(Work work, Then then) {
  ++fetch_->on_disk;
  context_.run_on_files([this, generation = generation_, work = std::move(work), then = std::move(then)]() mutable
                            -> Function<void()> {
    auto result = work();
    return [this, generation, result = std::move(result), then = std::move(then)]() mutable {
      if (generation != generation_ || !fetch_) return;
      --fetch_->on_disk;
      if (!result.ok()) return give_up(&result.error());
      then(std::move(result));
    };
  });
}

void StateFetch::begin(Manifest manifest, NodeId from, Finish finish, std::string_view what) {
  ++generation_;
  fetch_ = Fetch();
  finish_ = std::move(finish);
  auto& f = *fetch_;
  f.manifest = std::move(manifest);
  f.from = from;
  f.progressed = context_.now();
  for (const auto& file : f.manifest.files) f.total += file.size;
  context_.ports.log.info(std::string("fetches ") + std::string(what),
                          {{"history_index", f.manifest.state.point.position.index}, {"from", from}, {"bytes", f.total}});
  look_over();
}

void StateFetch::look_over() {
  on_files(
      [this, files = fetch_->manifest.files] {
        return starts_of(context_.ports.disk, pool_, files, context_.options.storage.chunk_bytes);
      },
      [this](Result<std::vector<std::uint64_t>> starts) {
        auto& f = *fetch_;
        f.starts = std::move(*starts);
        for (std::size_t i = 0; i < f.starts.size(); ++i) {
          f.have += f.starts[i];
          f.missing.push_back(f.manifest.files[i].size - f.starts[i]);
        }
        f.next = {0, f.starts.empty() ? 0 : f.starts[0]};
        if (f.have > 0) context_.ports.log.info("goes on with what is there", {{"bytes", f.have}, {"of", f.total}});
        ask_for_more();
      });
}

void StateFetch::go_on_from(NodeId other) {
  fetch_->from = other;
  fetch_->progressed = context_.now();
  for (const auto& piece : fetch_->asked) ask(piece);
}

void StateFetch::stop() {
  fetch_.reset();
  ++generation_;
}

bool StateFetch::stale() const {
  return !fetch_ || (fetch_->on_disk == 0 && context_.now() - fetch_->progressed > 2 * kAskAgain);
}

void StateFetch::ask_for_more() {
  auto& f = *fetch_;
  const auto& files = f.manifest.files;
  while (f.next.file < files.size() && f.asked.size() + f.on_disk < kPiecesInFlight) {
    if (f.next.offset >= files[f.next.file].size) {
      ++f.next.file;
      f.next.offset = f.next.file < files.size() ? f.starts[f.next.file] : 0;
      continue;
    }
    f.asked.insert(f.next);
    ask(f.next);
    f.next.offset += context_.options.storage.chunk_bytes;
  }
  if (f.next.file >= files.size() && f.asked.empty() && f.on_disk == 0) check_file(0);
}

void StateFetch::ask(const Piece& piece) {
  const auto& f = *fetch_;
  const auto left = f.manifest.files[piece.file].size - piece.offset;
  const auto length = static_cast<std::uint32_t>(std::min<std::uint64_t>(left, context_.options.storage.chunk_bytes));
  context_.send(f.from, Lane::kBulk, FrameType::kSnapshotFetch,
                encode(SnapshotFetch{f.manifest.id, piece.file, piece.offset, length}));
}

bool StateFetch::on_chunk(const Frame& frame) {
  if (!fetch_) return false;
  auto chunk = decode_snapshot_chunk(frame.body);
  if (!chunk.ok() || chunk->id != fetch_->manifest.id) return false;
  auto& f = *fetch_;
  const Piece piece{chunk->file, chunk->offset};
  if (!f.asked.contains(piece)) return true;
  const auto expected = std::min<std::uint64_t>(f.manifest.files[chunk->file].size - chunk->offset,
                                                context_.options.storage.chunk_bytes);
  if (chunk->data.size() != expected) return true;
  f.asked.erase(piece);
  f.progressed = context_.now();
  f.have += expected;
  on_files(
      [this, path = part(pool_, f.manifest.files[chunk->file]), chunk = std::move(*chunk)]() -> Result<void> {
        auto file = context_.ports.disk.open(path, OpenMode::kCreateOrOpen);
        if (!file.ok()) return file.error();
        return (*file)->write(chunk.offset, chunk.data.view());
      },
      [this, place = piece.file, expected](const Result<void>&) { written(place, expected); });
  return true;
}

// A file is checked as soon as it is whole: what a crash leaves of it is durable
// then, and the next file comes in meanwhile.
void StateFetch::written(std::size_t place, std::uint64_t bytes) {
  auto& f = *fetch_;
  f.missing[place] -= bytes;
  if (f.missing[place] > 0) return ask_for_more();
  on_files([this, file = f.manifest.files[place]] { return complete(context_.ports.disk, pool_, file); },
           [this](const Result<void>&) { ask_for_more(); });
  ask_for_more();
}

void StateFetch::check_file(std::size_t place) {
  if (place == fetch_->manifest.files.size()) return finish();
  on_files([this, file = fetch_->manifest.files[place]] { return complete(context_.ports.disk, pool_, file); },
           [this, place](const Result<void>&) { check_file(place + 1); });
}

void StateFetch::finish() {
  on_files(
      [manifest = fetch_->manifest, make = std::move(finish_)]() mutable { return make(manifest); },
      [this](const Result<void>&) {
        auto f = std::move(*fetch_);
        stop();
        held_(std::move(f.manifest), f.from);
      });
}

// Another piece or another holder may do better.
void StateFetch::give_up(const Error* error) {
  const auto f = std::move(*fetch_);
  stop();
  given_up_(f.manifest, f.from, error);
}

bool StateFetch::gone(NodeId from, const std::string& id) const {
  return fetch_ && fetch_->from == from && fetch_->manifest.id == id;
}

void StateFetch::sender_is_gone() { fetch_->progressed = context_.now() - kGiveUp - kAskAgain; }

void StateFetch::drive() {
  if (!fetch_) return;
  auto& f = *fetch_;
  const auto now = context_.now();
  if (f.on_disk > 0) {  // its own disk is at it: a large file takes long to be checked
    f.progressed = now;
    return;
  }
  if (now - f.progressed > kGiveUp) return give_up(nullptr);
  // Asking is no progress: who is never answered must give up, or take another's.
  if (now - std::max(f.progressed, f.asked_again) < kAskAgain) return;
  f.asked_again = now;
  for (const auto& piece : f.asked) ask(piece);
}

}  // namespace leeward::node
