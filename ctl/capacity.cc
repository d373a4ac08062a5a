// `capacity`: a load and its machines as flags, what a group makes of them as a
// table, each figure with the way it was come by.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <limits>
#include <random>

#include "base/json.h"
#include "base/quantity.h"
#include "ctl/capacity_model.h"
#include "ctl/commands.h"
#include "ctl/table.h"

namespace leeward::ctl {
namespace {

// How long syncs took: what half of them and what 99 of 100 took at most.
struct Probed {
  Duration p50{}, p99{};
  std::size_t syncs = 0;
};

constexpr std::size_t kSyncs = 300;
constexpr Duration kLongest = 5s;  // of a probe; a slow disk has given enough by then
constexpr std::size_t kFewest = 20;

// As the log does (wal/log_store.cc): into space that was zeroed and synced
// before, one batch behind the other, a sync after each.
Result<Probed> sync_repeatedly(File& file, const std::string& batch) {
  LEEWARD_TRY(file.allocate(kSyncs * batch.size()));
  LEEWARD_TRY(file.write(0, std::string(kSyncs * batch.size(), '\0')));
  LEEWARD_TRY(file.sync());
  using Clock = std::chrono::steady_clock;
  std::vector<Duration> took;
  const auto began = Clock::now();
  while (took.size() < kSyncs && (took.size() < kFewest || Clock::now() - began < kLongest)) {
    const auto start = Clock::now();
    LEEWARD_TRY(file.write(took.size() * batch.size(), batch));
    LEEWARD_TRY(file.sync());
    took.push_back(Clock::now() - start);
  }
  std::sort(took.begin(), took.end());
  return Probed{took[took.size() / 2], took[took.size() * 99 / 100], took.size()};
}

Result<Probed> probe(Disk& disk, const std::string& directory, std::uint64_t batch_bytes) {
  if (!disk.exists(directory)) return Error{Code::kInvalid, "--probe: there is no directory " + directory + "; give one on the disk that node.wal_dir is to be on"};
  const Path path = directory + "/leewardctl-probe-" + std::to_string(std::random_device{}());
  auto file = disk.open(path, OpenMode::kCreate);
  if (!file.ok()) return Error{file.error().code, "--probe: " + file.error().message + "; it writes a small file there and removes it"};
  auto probed = sync_repeatedly(**file, std::string(batch_bytes, 'x'));
  const auto removed = disk.remove(path);
  if (!probed.ok()) return Error{probed.error().code, "--probe: " + probed.error().message};
  if (!removed.ok()) return Error{removed.error().code, "--probe: " + removed.error().message + "; remove it by hand"};
  return probed;
}

// --- flags ---

template <class Parsed, class To>
Result<void> read(const char* flag, const std::string& text, Result<Parsed> (*parse)(std::string_view), To& to) {
  const auto value = parse(text);
  if (!value.ok()) return Error{Code::kInvalid, std::string(flag) + " " + value.error().message};
  to = *value;
  return {};
}

Result<CapacityInput> input_of(const CapacityFlags& flags) {
  CapacityInput in;
  LEEWARD_TRY(read("--fsync", flags.fsync, parse_duration, in.fsync));
  LEEWARD_TRY(read("--round-trip", flags.round_trip, parse_duration, in.round_trip));
  LEEWARD_TRY(read("--wan-round-trip", flags.wan_round_trip, parse_duration, in.wan_round_trip));
  LEEWARD_TRY(read("--link", flags.link, parse_size, in.link));
  LEEWARD_TRY(read("--key-size", flags.key_size, parse_size, in.key_bytes));
  LEEWARD_TRY(read("--value-size", flags.value_size, parse_size, in.value_bytes));
  LEEWARD_TRY(read("--history", flags.history, parse_duration, in.history));
  LEEWARD_TRY(read("--retain-log", flags.retain_log, parse_size, in.retain_log));
  LEEWARD_TRY(read("--block-cache", flags.block_cache, parse_size, in.storage.rocksdb.block_cache));
  LEEWARD_TRY(read("--write-buffer", flags.write_buffer, parse_size, in.storage.rocksdb.write_buffer));
  LEEWARD_TRY(read("--cpu-per-write", flags.cpu_per_write, parse_duration, in.costs.write));
  LEEWARD_TRY(read("--cpu-per-batch", flags.cpu_per_batch, parse_duration, in.costs.batch));
  LEEWARD_TRY(read("--cpu-lone", flags.cpu_lone, parse_duration, in.costs.way));
  in.clients = flags.clients;
  in.keys = flags.keys;
  in.watchers = flags.watchers;
  in.processors = flags.processors;
  if (flags.writes > 0) in.wanted = flags.writes;
  return in;
}

// --- what is shown ---

std::string size(double bytes) { return human_size(static_cast<std::uint64_t>(bytes)); }
std::string count(double number) { return grouped(static_cast<std::uint64_t>(std::llround(number))); }
std::string fixed(double number) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", number);
  return text;
}
std::string micros(Duration d) { return d < 1ms ? std::to_string(d / 1us) + " us" : human_duration(d); }
std::string period(Duration d) {
  if (d == Duration::max()) return "for ever";
  return d >= 48h ? grouped(static_cast<std::uint64_t>(d / 24h)) + " days" : d >= 2h ? std::to_string(d / 1h) + " h" : d >= 2min ? std::to_string(d / 1min) + " min" : human_duration(d);
}

std::string why_bound(const CapacityInput& in, const Capacity& c) {
  if (c.writes == c.by_link) return "what the link carries; with more the other region falls behind for ever";
  if (c.writes == c.by_processor) return "processor time of the leader: " + micros(in.costs.write) + " a write, " + micros(in.costs.batch) + " a batch";
  if (c.writes == c.by_disk) return "full batches, one behind the other";
  return grouped(in.clients) + " in flight, each for " + micros(c.waited);
}

void print_table(const CapacityInput& in, const std::optional<Probed>& probed, const Capacity& c, std::ostream& out) {
  const auto line = [&](const char* key, const std::string& text) { print_line(out, key, text); };
  line("fsync", micros(in.fsync) + (probed ? ", p99 " + micros(probed->p99) + ": measured, " + std::to_string(probed->syncs) + " small writes, as the log's" : ": given"));
  line("writes/s", count(c.writes) + " at most; " + name(c.bound) + " binds: " + why_bound(in, c));
  if (in.wanted)
    line("wanted", count(c.load) + (c.enough ? ": fits, at " + count(100 * c.load / c.writes) + " % of that" : ": too many; what stands below is for them all the same"));
  out << "\n";

  Table limits({{"LIMIT"}, {"WRITES/S", Table::Align::kRight}, {"FROM"}});
  const auto limit = [&](const char* what, double writes, const std::string& how) {
    if (std::isfinite(writes)) limits.add({what, count(writes), how});
  };
  limit("waiting", c.by_waiting, grouped(in.clients) + " in flight / " + micros(c.waited) + ": fsync, round trip, processors, what is left of a sync under way");
  limit("fsync", c.by_disk, "4 entries of at most 1,024 writes and " + size(static_cast<double>(config::Config::Raft{}.max_batch_bytes)) + " by one fsync");
  limit("processor", c.by_processor, "the leader's time for a write and its share of a batch, over at most 2 processors");
  limit("link", c.by_link, "the least of --link and 8 MiB a round trip, / bytes of a write in its entry");
  out << limits.text() << "\n";

  Table table({{"FIGURE"}, {"VALUE", Table::Align::kRight}, {"UNIT"}, {"HOW"}});
  const auto figure = [&](const char* what, const std::string& value, const char* unit, const std::string& how) { table.add({what, value, unit, how}); };
  figure("lone write", micros(c.lone), "latency", "fsync " + micros(in.fsync) + " + round trip " + micros(in.round_trip) + " + processors " + micros(in.costs.way));
  figure("log", count(c.log_bytes_a_write), "bytes a write", "batches of " + fixed(c.batch_writes) + " writes on average, in sectors of 512 bytes");
  figure("log written", size(c.log_a_day), "a day", count(c.load) + " writes/s; the device gets it twice: segments are filled with zeros first");
  figure("log kept", size(c.log_calm), "while all follow", "from the oldest of " + grouped(in.storage.checkpoint_retention) + " checkpoints, one each " + grouped(in.storage.checkpoint_interval) + " writes, in whole segments, and one ahead");
  figure("log volume", size(c.log_volume), "disk", "twice dr.retain_log " + size(static_cast<double>(in.retain_log)) + ", and two segments");
  figure("away", period(c.away), "time", "how long a region may be gone before it takes a copy of the state: dr.retain_log / log written");
  figure("a key", count(c.row_bytes_a_key), "bytes", "rows of head and rev, not compressed, and a tenth for levels");
  figure("a version", count(c.row_bytes_a_version), "bytes", "rows of hist and rev, the same");
  figure("state grows", size(c.state_a_day), "a day", "each write supersedes a version, until compaction");
  figure("state", size(c.state), "disk", grouped(in.keys) + " keys, and " + (in.history > 0ns ? "versions of " + period(in.history) + " and until the next compaction" : std::string("no versions yet: without compaction it grows on")));
  figure("storage.quota", size(c.quota), "disk", "twice the state, at least the default");
  figure("data volume", size(c.data_volume), "disk", "quota x (4 + " + grouped(in.storage.checkpoint_retention) + " checkpoints): state, its rewriting, one to go back to, one fetched");
  const auto memory = [&](const char* what, double Capacity::Memory::*part, const char* how) {
    figure(what, size(c.memory.*part) + " to " + size(c.memory_most.*part), "memory", how);
  };
  memory("process", &Capacity::Memory::process, "of a node that has done nothing");
  memory("log cache", &Capacity::Memory::log, "recent entries, where each entry stands; to: uncommitted ones, twice dr.retain_log");
  memory("write buffers", &Capacity::Memory::memtables, "rows that are not flushed; to: two more that wait for the disk");
  memory("caches", &Capacity::Memory::cache, "blocks of tables, rows lately written");
  memory("watches", &Capacity::Memory::watchers, "recent events, each watcher; to: all hang behind by 1 MiB");
  memory("requests", &Capacity::Memory::requests, "in flight; to: 16 MiB more that wait for their entry");
  figure("memory", size(c.memory.sum()) + " to " + size(c.memory_most.sum()), "memory", "their sum, without the page cache");
  out << table.text();
}

void print_json(const CapacityInput& in, const std::optional<Probed>& probed, const Capacity& c, std::ostream& out) {
  JsonWriter json;
  const auto whole = [&](const char* key, double value) {
    if (std::isfinite(value)) json.field(key, std::to_string(static_cast<std::uint64_t>(std::llround(value))));
  };
  json.begin_object().field("fsync_ms", to_ms(in.fsync)).field("fsync_measured", probed.has_value());
  if (probed) json.field("fsync_p99_ms", to_ms(probed->p99));
  json.field("writes_per_second", c.writes).field("bound", name(c.bound)).key("limits").begin_object();
  for (const auto& [key, value] : {std::pair("waiting", c.by_waiting), std::pair("fsync", c.by_disk), std::pair("processor", c.by_processor), std::pair("link", c.by_link)})
    if (std::isfinite(value)) json.field(key, value);
  json.end_object().field("enough", c.enough).field("load_per_second", c.load).field("lone_ms", to_ms(c.lone)).field("in_flight_ms", to_ms(c.waited))
      .field("batch_writes", c.batch_writes).field("log_bytes_per_write", c.log_bytes_a_write).field("key_bytes", c.row_bytes_a_key)
      .field("version_bytes", c.row_bytes_a_version);
  whole("log_bytes_per_day", c.log_a_day);
  whole("log_kept_bytes", c.log_calm);
  whole("log_volume_bytes", c.log_volume);
  if (c.away != Duration::max()) json.field("away_s", to_s(c.away));
  whole("state_bytes_per_day", c.state_a_day);
  whole("state_bytes", c.state);
  whole("quota_bytes", c.quota);
  whole("data_volume_bytes", c.data_volume);
  for (const auto& [key, memory] : {std::pair("memory", &c.memory), std::pair("memory_most", &c.memory_most)}) {
    json.key(key).begin_object();
    whole("process_bytes", memory->process);
    whole("log_bytes", memory->log);
    whole("write_buffer_bytes", memory->memtables);
    whole("cache_bytes", memory->cache);
    whole("watch_bytes", memory->watchers);
    whole("request_bytes", memory->requests);
    whole("sum_bytes", memory->sum());
    json.end_object();
  }
  out << json.end_object().text() << "\n";
}

}  // namespace

CapacityFlags::CapacityFlags() {
  const CapacityInput in;
  fsync = format_duration(in.fsync);
  round_trip = format_duration(in.round_trip);
  wan_round_trip = format_duration(in.wan_round_trip);
  link = format_size(in.link);
  key_size = format_size(in.key_bytes);
  value_size = format_size(in.value_bytes);
  history = format_duration(in.history);
  retain_log = format_size(in.retain_log);
  block_cache = format_size(in.storage.rocksdb.block_cache);
  write_buffer = format_size(in.storage.rocksdb.write_buffer);
  cpu_per_write = format_duration(in.costs.write);
  cpu_per_batch = format_duration(in.costs.batch);
  cpu_lone = format_duration(in.costs.way);
  clients = in.clients;
  keys = in.keys;
  watchers = in.watchers;
  processors = in.processors;
}

Result<void> capacity(Disk& disk, const Output& output, const CapacityFlags& flags) {
  auto input = input_of(flags);
  if (!input.ok()) return input.error();
  auto predicted = predict(*input);
  if (!predicted.ok()) return predicted.error();
  std::optional<Probed> probed;
  if (!flags.probe.empty()) {
    const auto measured = probe(disk, flags.probe, log_batch_bytes(*input, 1));
    if (!measured.ok()) return measured.error();
    probed = *measured;
    input->fsync = std::max<Duration>(probed->p50, 1ns);
    predicted = predict(*input);
    if (!predicted.ok()) return predicted.error();
  }
  (output.json ? print_json : print_table)(*input, probed, *predicted, output.out);
  return {};
}

}  // namespace leeward::ctl
