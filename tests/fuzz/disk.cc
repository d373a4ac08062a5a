// What a disk may give back after a crash, by rot, or by someone's hand.
#include <algorithm>

#include "base/check.h"
#include "os/random.h"
#include "support/memory_disk.h"
#include "target.h"
#include "wal/format.h"
#include "wal/log_store.h"
#include "wal/offline.h"
#include "wal/superblock.h"

namespace leeward::fuzz {
namespace {

using test::MemoryDisk;
using namespace wal;

const Path kData = "/data", kLog = "/data/wal";

LogOptions options(bool create = false) {
  LogOptions o;
  o.owner = Incarnation(77);
  o.segment_bytes = 4096;
  o.cache_bytes = 2000;
  o.create = create;
  return o;
}

Entry entry_after(const LogPoint& before, std::size_t size) {
  Entry e;
  e.term = Term(1);
  e.index = before.index + 1;
  e.kind = EntryKind::kWrites;
  e.epoch = Epoch(1);
  e.writes = 1;
  e.payload = Bytes(std::string(size, 'p'));
  e.position = extend(before.position, e.epoch, e.kind, e.writes, e.payload.view());
  return e;
}

using Files = std::map<Path, std::string>;

// A small directory as the product leaves it: superblock, three segments, a spare.
const Files& sound_files() {
  static const auto* files = [] {
    MemoryDisk disk;
    os::SeededRandom random(1);
    LEEWARD_CHECK(disk.make_dirs(kLog).ok(), "a directory in memory");
    SuperblockData data;
    data.cluster_name = "test";
    data.node = NodeId(1);
    data.incarnation = Incarnation(77);
    data.state_dir = "state-1";
    auto superblock = SuperblockFile::create(disk, kData, data);
    LEEWARD_CHECK(superblock.ok() && (*superblock)->write(data).ok(), "a superblock");
    auto log = SegmentedLog::open(disk, random, kLog, options(true));
    LEEWARD_CHECK(log.ok(), "a log");
    for (int i = 0; i < 24; ++i) {
      const Entry entry = entry_after((*log)->last(), 10 + 37 * static_cast<std::size_t>(i % 9));
      LEEWARD_CHECK((*log)->append({&entry, 1}).ok() && (*log)->set_hard_state({Term(1), NodeId(1)}).ok() &&
                        (*log)->sync().ok(),
                    "entries");
    }
    auto* all = new Files;
    for (const auto& path : disk.files()) (*all)[path] = disk.contents(path);
    return all;
  }();
  return *files;
}

void put(MemoryDisk& disk, const Path& path, std::string_view content) {
  auto file = disk.open(path, OpenMode::kCreate);
  LEEWARD_CHECK(file.ok() && (*file)->write(0, content).ok() && (*file)->sync().ok(), "a file in memory");
}

// Whatever is there: it opens and everything in it reads and chains, or it is
// refused. Then it must also take new entries.
void open_and_use(MemoryDisk& disk) {
  os::SeededRandom random(2);
  (void)verify(disk, kData, kLog, true);  // any verdict is fine
  auto log = SegmentedLog::open(disk, random, kLog, options());
  if (!log.ok()) return;
  LogPoint before = (*log)->base();
  while (before.index < (*log)->last().index) {
    auto entries = (*log)->read(before.index + 1, (*log)->last().index + 1, 4000);
    if (!entries.ok()) return;
    LEEWARD_CHECK(!entries->empty(), "a read gives something");
    for (const auto& e : *entries) {
      LEEWARD_CHECK(e.index == before.index + 1 && chains(before.position, e), "entries follow one another");
      before = {e.index, e.term, e.position};
    }
  }
  const Entry entry = entry_after((*log)->last(), 100);
  if (entry.term < (*log)->last().term) return;
  if ((*log)->append({&entry, 1}).ok() && (*log)->sync().ok())
    LEEWARD_CHECK((*log)->last().index == entry.index, "an entry was appended");
}

// Edits of a sound directory: which file, where, how many bytes, the bytes.
void damaged(std::string_view bytes, bool superblock_only) {
  Input input(bytes);
  Files files = sound_files();
  while (!input.empty()) {
    auto at = files.begin();
    std::advance(at, input.u8() % files.size());
    std::string& content = superblock_only ? files.at(superblock_path(kData)) : at->second;
    const std::size_t offset = input.u16() % (content.size() + 1);
    const auto edit = input.take(1 + input.u8() % 64);
    if (edit.size() == 1 && edit[0] == '\xff') content.resize(offset);
    else content.replace(offset, edit.size(), edit);
  }
  MemoryDisk disk;
  LEEWARD_CHECK(disk.make_dirs(kLog).ok(), "a directory in memory");
  for (const auto& [path, content] : files) put(disk, path, content);
  if (auto superblock = SuperblockFile::open(disk, kData); superblock.ok())
    LEEWARD_CHECK((*superblock)->write((*superblock)->data()).ok(), "an opened superblock can be written");
  if (!superblock_only) open_and_use(disk);
}

void damaged_directory(std::string_view bytes) { damaged(bytes, false); }
void damaged_superblock(std::string_view bytes) { damaged(bytes, true); }

std::vector<std::string> edit_seeds() {
  return {std::string(), std::string("\x00\x02\x00\x00x", 5), std::string("\x01\x10\x00\x03zzzz", 8),
          std::string("\x02\x04\x00\x00\xff", 5)};
}

// Records with right checksums around any content: what only a writer's bug,
// or someone who knows the format, could leave.
void forged_records(std::string_view bytes) {
  Input input(bytes);
  MemoryDisk disk;
  LEEWARD_CHECK(disk.make_dirs(kLog).ok(), "a directory in memory");
  SegmentHeader header;
  header.number = 1;
  header.salt = 99;
  header.owner = Incarnation(77);
  header.bytes = 4096;
  header.reset = input.u8() % 2 == 1;
  const std::uint32_t seed = salted_seed(header);
  std::string content = encode_header(header);
  std::uint64_t sequence = header.first_sequence;
  while (!input.empty() && content.size() < 3000) {
    std::string body;
    const unsigned shape = input.u8();
    std::uint32_t records = 0;
    std::string probe(0, '\0');
    std::vector<std::pair<RecordType, std::string_view>> parts;
    std::size_t size = 0;
    for (unsigned i = 0; i <= shape % 3; ++i) {
      const auto type = static_cast<RecordType>(input.u8() % 5);
      const auto payload = input.take(input.u8());
      parts.emplace_back(type, payload);
      size += kRecordHeadBytes + payload.size();
    }
    const std::uint32_t sectors = sectors_for(size);
    begin_batch(body, sectors);
    for (const auto& [type, payload] : parts) {
      const std::size_t start = begin_record(body, type);
      body.append(payload);
      finish_record(body, start, seed);
      ++records;
    }
    if (shape & 64) records += 1;
    finish_batch(body, {sequence, static_cast<std::uint32_t>(size), sectors, records, (shape & 128) != 0}, seed);
    sequence += shape & 32 ? 2 : 1;
    content += body;
  }
  content.resize(std::max<std::size_t>(content.size(), 4096), '\0');
  put(disk, kLog + "/" + segment_name(1), content);
  open_and_use(disk);
}

std::vector<std::string> record_seeds() {
  std::string entry, state, point;
  encode(entry_after({}, 20), entry);
  put_hard_state(state, {Term(3), NodeId(2)});
  put_point(point, {Index(0), Term(0), {}});
  const auto part = [](int type, const std::string& payload) {
    return std::string(1, static_cast<char>(type)) + static_cast<char>(payload.size()) + payload;
  };
  return {std::string(1, '\0') + '\0' + part(1, entry), std::string(1, '\0') + '\1' + part(1, entry) + part(2, state),
          std::string(1, '\0') + '\2' + part(2, state) + part(3, point) + part(1, entry)};
}

}  // namespace

std::vector<Target> disk_targets() {
  return {{"log-directory", damaged_directory, edit_seeds},
          {"superblock", damaged_superblock, edit_seeds},
          {"log-records", forged_records, record_seeds}};
}

}  // namespace leeward::fuzz
