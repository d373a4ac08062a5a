#include "ctl/capacity_model.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "base/command.h"
#include "base/entry.h"
#include "kv/layout.h"
#include "kv/watch.h"
#include "node/options.h"
#include "wal/format.h"
#include "wal/log_store.h"

namespace leeward::ctl {
namespace {

constexpr double kDay = 86'400;

// The leader's busiest thread, apply, takes half of its processor time
// (tests/bench/stages.py): more than two processors it cannot use for writes.
constexpr double kUsableProcessors = 2;

// What stands in files that this folder may not include, or is nobody's option.
constexpr double kStreamWindow = 8_MiB;   // standby/client.h: bytes on the link that were not taken yet
constexpr double kHeadRows = 16_MiB;      // kv/overlay.h: rows of head that are remembered
constexpr double kWriteBuffers = 3;       // kv/rocksdb_store.cc, max_write_buffer_number
constexpr double kStates = 4;             // beside checkpoints: the state, its rewriting, one to go back to, one fetched

constexpr double kRememberedRow = 160;    // kv/head_cache.h: of each of them, beside the row

// RocksDB's of a row: 8 bytes of sequence and type, 3 of lengths; and what lies
// in upper levels, each a tenth of the one below, and is superseded below. The
// upmost are not so small: four tables of level 0, and what level 1 may hold
// (kv/rocksdb_store.cc, max_bytes_for_level_base).
constexpr double kRowOverhead = 11;
constexpr double kLevels = 1.1;
constexpr double kTablesOfLevel0 = 4;
constexpr double kLevel1 = 64_MiB;

// Measured, as CapacityCosts are.
constexpr double kProcess = 32_MiB;       // resident in a node that has done nothing
constexpr double kWatcher = 5_KiB;        // resident for each watcher, with its share of a connection

double s(Duration d) { return to_s(d); }

// Numbers as a store has them that is in use for a while: they are varints.
constexpr std::int64_t kRevision = 100'000'000;
constexpr std::uint64_t kIndex = 10'000'000;

std::string a_key(const CapacityInput& in) { return std::string(in.key_bytes, 'k'); }

std::string put_request(const CapacityInput& in) {
  std::string out;
  kv::append_bytes_field(out, 1, a_key(in));
  if (in.value_bytes > 0) kv::append_bytes_field(out, 2, std::string(in.value_bytes, 'v'));
  return out;
}

// An entry of `writes` puts as it is encoded; what is in it is put in by size.
double entry_bytes(const CapacityInput& in, double writes) {
  std::vector<Command> one(1);
  one[0].request = Bytes(put_request(in));
  one[0].origin = {NodeId(1), Incarnation(1), kIndex, 1};
  const double payload = static_cast<double>(encode_payload(one).size()), envelope = static_cast<double>(encode_envelope(one).size());
  Entry entry{Term(1), Index(kIndex), EntryKind::kWrites, Epoch(1), 1024, {HistoryIndex(kIndex), {}, kIndex, 1ull << 40}, {}, {}};
  const double lengths = writes * payload < 16'384 ? 2 : 4;  // of payload and envelope, beyond the byte that each has when empty
  return static_cast<double>(encoded_size(entry)) + lengths + writes * (payload + envelope);
}

double sectors_bytes(const CapacityInput& in, double writes) {
  const double hard_state = wal::kRecordHeadBytes + 24;  // the commit moves with each batch
  const double body = hard_state + wal::kRecordHeadBytes + entry_bytes(in, writes);
  return static_cast<double>(wal::sectors_for(static_cast<std::size_t>(std::ceil(body)))) * wal::kSector;
}

// Of batches of so many writes on average: 1.1 are 1 nine times, and 2 once.
double mean_sectors_bytes(const CapacityInput& in, double writes) {
  const double fewer = std::floor(writes), share = writes - fewer;
  return (1 - share) * sectors_bytes(in, fewer) + (share > 0 ? share * sectors_bytes(in, fewer + 1) : 0);
}

struct Rows {
  double head, hist, rev;  // bytes of one row
};

Rows rows_of(const CapacityInput& in) {
  std::string record;
  const std::string value(in.value_bytes, 'v');
  kv::append_record(record, {.create = kRevision, .mod = kRevision, .version = 1000, .value = value});
  const std::string escaped = kv::escaped(a_key(in));
  const kv::Rev rev{kRevision, 0};
  const std::string sum(32, '\0');
  const std::string changed = kv::encode_rev_row(rev, {kv::ChangeKind::kUpdate, sum, {kRevision - static_cast<std::int64_t>(in.keys % kRevision), 0}, a_key(in)});
  const auto row = [](std::size_t key, std::size_t value_size) { return static_cast<double>(key + value_size) + kRowOverhead; };
  return {row(escaped.size(), 1 + record.size()), row(escaped.size() + kv::kHistSuffix, record.size()),
          row(kv::rev_key(rev).size(), changed.size())};
}

// How many writes an entry may have: by number, and by bytes as Proposals::take counts them.
double most_in_entry(const CapacityInput& in) {
  const node::Limits limits;
  const double by_bytes = static_cast<double>(config::Config::Raft{}.max_batch_bytes) / static_cast<double>(put_request(in).size() + 64);
  return std::clamp(std::floor(by_bytes), 1.0, static_cast<double>(limits.batch_writes));
}

Result<void> check(const CapacityInput& in) {
  const auto bad = [](const std::string& what) { return Error{Code::kInvalid, what}; };
  if (in.fsync <= 0ns || in.fsync > 1min) return bad("--fsync: expected more than 0 and at most 1m; --probe DIR measures it");
  for (const auto& [flag, value] : {std::pair("--round-trip", in.round_trip), std::pair("--wan-round-trip", in.wan_round_trip),
                                    std::pair("--cpu-per-write", in.costs.write), std::pair("--cpu-per-batch", in.costs.batch),
                                    std::pair("--cpu-lone", in.costs.way)})
    if (value < 0ns || value > 1min) return bad(std::string(flag) + ": expected a duration of at most 1m");
  if (in.costs.write == 0ns) return bad("--cpu-per-write: expected more than 0");
  if (in.history < 0ns || in.history > 3650 * 24h) return bad("--history: expected a duration of at most 3650d, or 0 for no compaction");
  if (in.key_bytes == 0) return bad("--key-size: expected at least 1B; etcd has no empty keys");
  const auto most = config::Config::Limits{}.request_bytes;
  if (in.key_bytes > most || in.value_bytes > most - in.key_bytes)
    return bad("--key-size and --value-size: together at most " + format_size(most) + ", the default of limits.request_bytes");
  if (in.clients == 0 || in.processors == 0) return bad("--clients and --processors: expected at least 1");
  return {};
}

// Writes a second that each limit lets pass, and the least of them.
void predict_writes(const CapacityInput& in, Capacity& out) {
  const double clients = static_cast<double>(in.clients);
  const node::Limits limits;
  const double at_once = static_cast<double>(limits.syncs_in_flight);

  // Leader and followers sync at the same time, the followers half a round trip later.
  out.lone = in.round_trip + in.fsync + in.costs.way;
  // Who is not alone meets, on average, half a sync that is under way.
  const Duration sync_met(static_cast<std::int64_t>(static_cast<double>(in.fsync.count()) / 2 * (1 - 1 / clients)));
  out.waited = out.lone + sync_met;
  out.by_waiting = clients / s(out.waited);

  const double most = most_in_entry(in);
  out.by_disk = at_once * most / s(in.fsync);

  out.batch_writes = std::clamp(clients / at_once, 1.0, most);
  const double usable = std::min<double>(in.processors, kUsableProcessors);
  out.by_processor = usable / (s(in.costs.write) + s(in.costs.batch) / out.batch_writes);

  const double window = in.wan_round_trip > 0ns ? kStreamWindow / s(in.wan_round_trip) : std::numeric_limits<double>::infinity();
  const double link = in.link > 0 ? static_cast<double>(in.link) : std::numeric_limits<double>::infinity();
  out.by_link = std::min(window, link) / (entry_bytes(in, out.batch_writes) / out.batch_writes);

  // What waits, waits for the largest part of its way.
  const Duration syncs = in.fsync + sync_met;
  out.writes = out.by_waiting;
  out.bound = syncs >= in.round_trip && syncs >= in.costs.way ? Bound::kFsync : in.round_trip >= in.costs.way ? Bound::kRoundTrip : Bound::kProcessor;
  for (const auto& [limit, bound] : {std::pair(out.by_disk, Bound::kFsync), std::pair(out.by_processor, Bound::kProcessor), std::pair(out.by_link, Bound::kLink)})
    if (limit < out.writes) out.writes = limit, out.bound = bound;

  out.load = in.wanted ? static_cast<double>(*in.wanted) : out.writes;
  out.enough = out.load <= out.writes;
  // With less to do entries get smaller in proportion, down to one write.
  out.batch_writes = std::max(1.0, out.batch_writes * std::min(1.0, out.load / out.writes));
}

void predict_disk(const CapacityInput& in, Capacity& out) {
  out.log_bytes_a_write = mean_sectors_bytes(in, out.batch_writes) / out.batch_writes;
  const double log_a_second = out.load * out.log_bytes_a_write;
  const double retained = static_cast<double>(in.retain_log);
  out.log_a_day = kDay * log_a_second;
  // From the oldest checkpoint on: those that are kept, and the one that is due next.
  const double since_oldest = static_cast<double>((in.storage.checkpoint_retention + 1) * in.storage.checkpoint_interval);
  // It goes by whole segments: what is left of the oldest one, and the next one ahead.
  const double segments = 2 * static_cast<double>(in.storage.segment_size);
  out.log_calm = std::min(retained, since_oldest * out.log_bytes_a_write) + segments;
  out.log_volume = 2 * retained + segments;
  const double away = log_a_second > 0 ? retained / log_a_second : std::numeric_limits<double>::infinity();
  out.away = away < s(Duration::max()) ? Duration(static_cast<std::int64_t>(away * 1e9)) : Duration::max();

  const Rows rows = rows_of(in);
  out.row_bytes_a_key = kLevels * (rows.head + rows.rev);
  out.row_bytes_a_version = kLevels * (rows.hist + rows.rev);
  out.state_a_day = kDay * out.load * out.row_bytes_a_version;
  // Compaction comes once an hour, or once a period if that is shorter (node/auto_compaction.h).
  const double versions = out.load * (s(in.history) + std::min(s(in.history), s(1h)));
  const double loose = std::min(versions * rows.head, kTablesOfLevel0 * static_cast<double>(in.storage.rocksdb.write_buffer) + kLevel1);
  out.state = static_cast<double>(in.keys) * out.row_bytes_a_key + versions * out.row_bytes_a_version + loose;
  // Beyond the quota only deletes and compactions go on: they need time to catch up.
  out.quota = std::max(static_cast<double>(in.storage.quota), 2 * out.state);
  out.data_volume = out.quota * (kStates + static_cast<double>(in.storage.checkpoint_retention));
}

void predict_memory(const CapacityInput& in, Capacity& out) {
  const wal::LogOptions log;
  const kv::WatchOptions watch;
  const node::MemberOptions member;
  const Rows rows = rows_of(in);
  const double batch_bytes = out.log_bytes_a_write * out.batch_writes;
  const double request = static_cast<double>(put_request(in).size()), clients = static_cast<double>(in.clients);
  const auto index = [&](double log_bytes) { return log_bytes / batch_bytes * sizeof(wal::Location); };
  // The family with the largest rows fills its buffer first, and then all are flushed.
  const double buffers = static_cast<double>(in.storage.rocksdb.write_buffer) * (rows.head + rows.hist + rows.rev) / std::max({rows.head, rows.hist, rows.rev});
  const double head_rows = std::min(kHeadRows, static_cast<double>(in.keys) * (rows.head + kRememberedRow));
  const double cache = std::min(static_cast<double>(in.storage.rocksdb.block_cache), out.state);

  out.memory.process = kProcess;
  out.memory.log = std::min(static_cast<double>(log.cache_bytes), out.log_calm) + index(out.log_calm);
  out.memory.memtables = buffers;
  out.memory.cache = cache + head_rows;
  const double watchers = static_cast<double>(in.watchers);
  out.memory.watchers = in.watchers == 0 ? 0 : static_cast<double>(watch.ring_bytes) + watchers * kWatcher;
  out.memory.requests = 2 * clients * request;  // as it came, and in its entry

  out.memory_most = out.memory;
  out.memory_most.log = static_cast<double>(log.cache_bytes + member.raft.max_uncommitted_bytes) + index(2 * static_cast<double>(in.retain_log));
  out.memory_most.memtables = kWriteBuffers * buffers;
  out.memory_most.watchers += watchers * static_cast<double>(watch.watcher_bytes);
  out.memory_most.requests += static_cast<double>(member.limits.waiting_bytes);
}

}  // namespace

const char* name(Bound bound) {
  switch (bound) {
    case Bound::kFsync: return "fsync";
    case Bound::kRoundTrip: return "round trip";
    case Bound::kProcessor: return "processor";
    case Bound::kLink: return "link";
  }
  return "other";
}

std::uint64_t log_batch_bytes(const CapacityInput& input, std::uint64_t writes) {
  return static_cast<std::uint64_t>(sectors_bytes(input, static_cast<double>(writes)));
}

Result<Capacity> predict(const CapacityInput& input) {
  LEEWARD_TRY(check(input));
  Capacity out;
  predict_writes(input, out);
  predict_disk(input, out);
  predict_memory(input, out);
  return out;
}

}  // namespace leeward::ctl
