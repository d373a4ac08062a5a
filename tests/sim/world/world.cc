#include "world/world.h"

#include <algorithm>
#include <cstdio>
#include <stdexcept>
#include <utility>

#include "base/check.h"
#include "kv/state_machine.h"
#include "kv/stores.h"
#include "proto/rpc.pb.h"
#include "standby/forwarding.h"
#include "wal/log_store.h"
#include "wal/superblock.h"
#include "world/operator.h"
#include "world/plants.h"
#include "world/wire.h"

namespace leeward::sim {
namespace {

constexpr double kDrift = 0.03;  // of a clock, at most
const std::string kEast = "east", kWest = "west";
const Path kData = "/data", kWal = "/wal", kSnapshots = "/snapshots";

// A failed CHECK is a finding of the run, not the end of the simulator.
struct CheckFailed : std::runtime_error {
  using std::runtime_error::runtime_error;
};
void throw_check(const char* file, int line, const char* text) {
  throw CheckFailed(std::string(file) + ":" + std::to_string(line) + ": " + text);
}

class NodeLog final : public Log {
 public:
  NodeLog(const Scheduler& scheduler, NodeId id, bool print) : scheduler_(scheduler), id_(id), print_(print) {}
  bool enabled(Level level) const override { return print_ && level >= Level::kInfo; }
  void write(Level, std::string_view message, std::initializer_list<Field> fields) override {
    std::string line(message);
    for (const auto& f : fields) line += " " + std::string(f.key) + "=" + f.value;
    std::fprintf(stderr, "%10.4f node %u %s\n", to_s(scheduler_.now().time_since_epoch()),
                 static_cast<unsigned>(id_.value()), line.c_str());
  }

 private:
  const Scheduler& scheduler_;
  NodeId id_;
  bool print_;
};

std::string put_request(const std::string& key, const std::string& value) {
  etcdserverpb::PutRequest request;
  request.set_key(key);
  request.set_value(value);
  return request.SerializeAsString();
}

struct Found {
  Revision revision, mod_revision;
  std::string value;
  bool exists = false;
};
Result<Found> read_key(StateMachine& state, const std::string& key, Revision at = Revision()) {
  etcdserverpb::RangeRequest request;
  request.set_key(key);
  request.set_revision(at.value());
  auto reply = state.range(request.SerializeAsString());
  if (!reply.ok()) return reply.error();
  std::string bytes;
  for (;;) {
    auto piece = (*reply)->next(1_MiB);
    if (!piece.ok()) return piece.error();
    if (piece->empty()) break;
    bytes += piece->view();
  }
  etcdserverpb::RangeResponse response;
  if (!response.ParseFromString(bytes)) return Error{Code::kCorrupt, "a range answer does not parse"};
  Found found;
  found.revision = (*reply)->revision();
  if (response.kvs_size() == 0) return found;
  found.exists = true;
  found.value = response.kvs(0).value();
  found.mod_revision = Revision(response.kvs(0).mod_revision());
  return found;
}

// Revisions that no epoch has: each from an epoch's last that is kept to the next one's first.
using Gaps = std::vector<std::pair<Revision, Revision>>;
Gaps gaps_of(const StateMachine& state) {
  Gaps gaps;
  for (const auto& entry : state.region_entries())
    if (entry.kind == EntryKind::kEpochChange)
      if (const auto change = region::decode_epoch_change(entry.payload.view()); change.ok())
        gaps.emplace_back(entry.forked, region::first_revision(*change, entry.forked));
  return gaps;
}
bool in_gap(const Gaps& gaps, Revision revision) {
  return std::any_of(gaps.begin(), gaps.end(), [&](const auto& gap) { return gap.first < revision && revision < gap.second; });
}

}  // namespace

WorldOptions varied(std::uint64_t seed, int regions) {
  WorldOptions o;
  o.seed = seed;
  if (regions == 0) regions = seed % 2 == 1 ? 2 : 1;
  if (regions == 1) {
    o.primaries = seed / 2 % 2 == 1 ? 5 : 3;
    return o;
  }
  o.standbys = 3;
  o.stream = true;
  o.wan.delay_low = 5ms;
  o.wan.delay_high = seed / 2 % 3 == 0 ? 60ms : 10ms;
  // Little log: a region that is away for some seconds must adopt a state.
  if (seed / 2 % 2 == 1) {
    o.retain_log_bytes = 4_KiB;
    o.checkpoint_interval = 40;
  }
  o.end_epoch = seed / 2 % 5 == 4;
  if (o.end_epoch && seed / 2 % 2 == 0) o.retain_log_bytes = 64_MiB;
  if (seed / 2 % 7 == 3) o.governor = {.policy = RpoPolicy::kThrottle, .budget = 200ms};
  return o;
}

WorldOptions operated(std::uint64_t seed, bool forces) {
  auto o = varied(seed, 2);
  o.operate = true;
  o.forces = forces;
  if (seed % 3 == 0) o.fence_lease = 2s;
  return o;
}

struct World::Process : node::GroupObserver {
  Process(World& w, Node& n)
      : world(w),
        spec(n.spec),
        log(w.scheduler, n.spec.id, w.options_.log_to_stderr),
        random(w.dice.next()),
        wal_random(w.dice.next()),
        core(w.scheduler, w.dice, n.clock.get(), 5us, 50us),
        wal(w.scheduler, w.dice, n.clock.get(), 100us, 3ms),
        apply(w.scheduler, w.dice, n.clock.get(), 5us, 2ms),
        files(w.scheduler, w.dice, n.clock.get(), 100us, 50ms),
        link(w.network, core, n.spec.id) {}

  void applied(std::span<const Entry> entries) override {
    world.scheduler.note(entries.back().index.value());
    if (!world.of_before(spec.id)) world.checkers.applied(spec.role, spec.id, entries, member->state());
  }

  World& world;
  const node::Node& spec;
  NodeLog log;
  Dice random, wal_random;
  SimExecutor core, wal, apply, files;
  SimLink link;
  std::unique_ptr<node::Member> member;
  std::unique_ptr<GroupWrapper> planted;
  std::unique_ptr<standby::Replication> stream;
  std::unique_ptr<standby::ForwardingService> service;
};

// One client: an operation at a time, to any node, with a limit of its own.
struct World::Client {
  int id = 0;
  std::uint64_t operation = 0;
};

World::World(WorldOptions options)
    : dice(options.seed), network(scheduler, dice), options_(std::move(options)) {
  set_check_handler(throw_check);
  network.weather = options_.weather;
  network.wan = options_.wan;
  client_loop_ = std::make_unique<SimExecutor>(scheduler, dice, nullptr, 5us, 20us);
  for (int i = 1; i <= options_.primaries + options_.standbys; ++i) {
    Node n;
    const bool primary = i <= options_.primaries;
    n.spec.id = NodeId(static_cast<std::uint64_t>(i));
    n.spec.name = "n" + std::to_string(i);
    n.spec.region = primary ? kEast : kWest;
    network.place(n.spec.id, n.spec.region);
    n.spec.peer_address = "10.0.0." + std::to_string(i) + ":2380";
    n.spec.client_url = "http://10.0.0." + std::to_string(i) + ":2379";
    n.spec.role = primary ? GroupRole::kPrimary : GroupRole::kStandby;
    n.disk = std::make_unique<test::MemoryDisk>();
    n.clock = std::make_unique<SimClock>(scheduler);
    nodes_.emplace(n.spec.id, std::move(n));
  }
  plant_on_the_wire();
}

World::~World() {
  for (auto& [id, n] : nodes_) n.process.reset();
}

node::MemberOptions World::member_options(NodeId id) const {
  node::MemberOptions o;
  o.self = id;
  o.cluster_name = "sim";
  for (const auto& [other, n] : nodes_)
    if (!n.late || other == id) o.nodes.push_back(n.spec);
  if (nodes_.at(id).late || nodes_.at(id).joins) o.bootstrap = node::BootstrapMode::kJoin;
  o.data_dir = kData;
  o.wal_dir = kWal;
  o.snapshot_dir = kSnapshots;
  o.storage.checkpoint_interval = options_.checkpoint_interval;
  o.storage.quota = options_.quota;
  o.storage.retain_log_bytes = options_.retain_log_bytes;
  o.storage.chunk_bytes = 4_KiB;
  o.raft.cache_bytes = 16_KiB;
  if (adjust) adjust(o);
  return o;
}

void World::start(NodeId id) {
  auto& n = nodes_.at(id);
  if (n.process || n.lost) return;
  n.process = std::make_unique<Process>(*this, n);
  auto& p = *n.process;
  node::MemberPorts ports{*n.clock, *n.disk, p.core, p.wal, p.apply, p.files, p.random, p.link, p.log, {}, {}, {}, {}};
  ports.open_state = [this, &n, &p](const Path& dir) -> Result<std::unique_ptr<StateMachine>> {
    auto store = kv::open_memory_store(*n.disk, dir, {.flush_every = options_.flush_every});
    if (!store.ok()) return store.error();
    auto state = kv::MvccStateMachine::open(std::move(*store), *n.disk, *n.clock, p.log);
    if (!state.ok()) return state.error();
    if (options_.plants.other_bytes_applied && p.spec.id == NodeId(2))
      return std::unique_ptr<StateMachine>(
          std::make_unique<AppliesOtherBytes>(std::shared_ptr<StateMachine>(std::move(*state))));
    if (options_.plants.arming_forged && p.spec.id.value() == static_cast<std::uint64_t>(options_.primaries) + 2)
      return std::unique_ptr<StateMachine>(
          std::make_unique<ClaimsArmed>(std::shared_ptr<StateMachine>(std::move(*state))));
    return std::unique_ptr<StateMachine>(std::move(*state));
  };
  ports.open_log = [this, &n, &p](const Path& dir, Incarnation owner,
                                  bool create) -> Result<std::unique_ptr<LogStore>> {
    wal::LogOptions o;
    o.owner = owner;
    o.create = create;
    o.segment_bytes = 64_KiB;
    o.cache_bytes = 32_KiB;
    auto log = wal::SegmentedLog::open(*n.disk, p.wal_random, dir, o);
    if (!log.ok()) return log.error();
    std::unique_ptr<LogStore> store = std::move(*log);
    if (options_.plants.vote_not_persisted) store = std::make_unique<ForgetsVotes>(std::move(store));
    if (options_.plants.log_unchecked && p.spec.id == NodeId(2))
      store = std::make_unique<ReadsOffTheChain>(std::move(store));
    if (options_.plants.checkpoint_without_log) store = std::make_unique<DropsTooMuch>(std::move(store));
    return store;
  };
  ports.open_superblock = [&n](const Path& dir, const SuperblockData* fresh) -> Result<std::unique_ptr<Superblock>> {
    auto superblock = wal::SuperblockFile::open(*n.disk, dir);
    if (!superblock.ok() && superblock.error().code == Code::kNotFound && fresh)
      superblock = wal::SuperblockFile::create(*n.disk, dir, *fresh);
    if (!superblock.ok()) return superblock.error();
    return std::unique_ptr<Superblock>(std::move(*superblock));
  };
  ports.fatal = [&n](const Error& error) {
    n.doomed = true;
    n.fatal = error;
  };
  auto opened = node::Member::open(std::move(ports), member_options(id));
  n.open_error.clear();
  if (!opened.ok()) {
    n.open_error = opened.error().message;
    // Power that fails during the start is no finding, nor a full disk: it needs
    // some room for that; nor is an older version that finds a newer one's. All else is.
    const bool older = opened.error().code == Code::kNewerFormat && member_options(id).newest_format < kNewestFormat;
    if (n.disk->powered() && !older && !(opened.error().code == Code::kNoSpace))
      checkers.report("node " + std::to_string(id.value()) + " does not open: " + n.open_error);
    end(id, true);
    return;
  }
  n.fresh = false;
  ++n.starts;
  p.member = std::move(*opened);
  p.member->observe(&p);
  if (options_.stream) {
    const bool primary = n.spec.role == GroupRole::kPrimary;
    if (options_.plants.streamed_before_commit && primary) p.planted = std::make_unique<CommitsTooEarly>(*p.member);
    if (options_.plants.answered_without_round && primary) p.planted = std::make_unique<ConfirmsAlone>(*p.member);
    if (options_.plants.stream_unchecked && !primary) p.planted = std::make_unique<ProposesUnchecked>(*p.member);
    node::Group& group = p.planted ? static_cast<node::Group&>(*p.planted) : *p.member;
    standby::ReplicationOptions replication;
    replication.governor = options_.governor;
    if (options_.fence_lease > Duration()) {
      replication.arming.mode = region::FenceMode::kLease;
      replication.arming.lease = options_.fence_lease;
    }
    p.stream = std::make_unique<standby::Replication>(group, replication);
    p.service = std::make_unique<standby::ForwardingService>(*p.member, group, *p.stream, standby::ForwardingOptions{});
    p.core.post([stream = p.stream.get()] { stream->start(); });
  }
  p.member->start();
}

void World::end(NodeId id, bool power, test::MemoryDisk::Tear tear) {
  auto& n = nodes_.at(id);
  n.doomed = false;
  n.disk->refuse_writes("");
  stood_.erase(id);
  if (n.process) {
    if (n.process->member && !n.of_before) checkers.log(n.spec.role, id, n.process->member->log());
    check_streams(id);
    n.process->service.reset();
    n.process->stream.reset();
    n.process->planted.reset();
    n.process->member.reset();
    n.process.reset();
  }
  if (power) {
    n.disk->crash(dice.next(), tear);
  } else {
    n.disk->kill();
  }
  scheduler.note(id.value());
}

void World::crash(NodeId id) { end(id, true); }
void World::crash_hard(NodeId id) { end(id, true, test::MemoryDisk::Tear::kLoseAll); }
void World::kill(NodeId id) { end(id, false); }

void World::wipe(NodeId id) {
  end(id, true);
  auto& n = nodes_.at(id);
  n.disk = std::make_unique<test::MemoryDisk>();
  n.fresh = true;
  n.of_before = false;
}

void World::lose(NodeId id) {
  end(id, true);
  nodes_.at(id).lost = true;
}

void World::come_back(NodeId id, bool empty) {
  if (empty) wipe(id);
  auto& n = nodes_.at(id);
  n.lost = false;
  n.of_before = !empty;
  n.joins = empty;
}

void World::wipe_all(GroupRole group) {
  const auto ids = of(group);
  for (const auto id : ids) wipe(id), nodes_.at(id).joins = false;
  checkers.begins_anew(group, ids);
}

node::Node World::join(GroupRole group) {
  members_change_ = true;
  const auto i = nodes_.rbegin()->first.value() + 1;
  Node n;
  n.late = true;
  n.spec.id = NodeId(i);
  n.spec.name = "n" + std::to_string(i);
  n.spec.region = group == GroupRole::kPrimary ? kEast : kWest;
  network.place(n.spec.id, n.spec.region);
  n.spec.peer_address = "10.0.0." + std::to_string(i) + ":2380";
  n.spec.client_url = "http://10.0.0." + std::to_string(i) + ":2379";
  n.spec.role = group;
  n.disk = std::make_unique<test::MemoryDisk>();
  n.clock = std::make_unique<SimClock>(scheduler);
  const auto spec = n.spec;
  nodes_.emplace(spec.id, std::move(n));
  return spec;
}

bool World::counts(NodeId id) {
  const auto& n = nodes_.at(id);
  if (n.lost) return false;
  if (!members_change_) return true;
  const auto leading = leader(n.spec.role);
  return !leading || member(*leading)->membership().contains(id);
}

// Who is no member of its group hears no leader and leads nobody.
bool World::removed_are_quiet() {
  if (!members_change_) return true;
  for (const auto role : {GroupRole::kPrimary, GroupRole::kStandby}) {
    if (role == GroupRole::kStandby ? options_.standbys == 0 : nodes_.at(NodeId(1)).lost) continue;
    const auto leading = leader(role);
    if (!leading || member(*leading)->membership().joint()) return false;
  }
  return std::all_of(nodes_.begin(), nodes_.end(), [this](const auto& it) {
    auto* m = member(it.first);
    return counts(it.first) || !m || m->leader() == NodeId();
  });
}

void World::lose(GroupRole group) {
  for (auto& [id, n] : nodes_) {
    if (n.spec.role != group) continue;
    end(id, true);
    n.lost = true;
  }
}

void World::find(GroupRole group) {
  for (auto& [id, n] : nodes_)
    if (n.spec.role == group) n.lost = false;
}

std::vector<NodeId> World::of(GroupRole group) const {
  std::vector<NodeId> out;
  for (const auto& [id, n] : nodes_)
    if (n.spec.role == group) out.push_back(id);
  return out;
}

const std::map<std::string, int>& World::changes() const { return operator_ ? operator_->done() : changes_; }

void World::stop(NodeId id) {
  bool down = false;
  nodes_.at(id).process->member->stop([&down] { down = true; });
  if (!run_until([&] { return down; })) checkers.report("node " + std::to_string(id.value()) + " does not stop");
  end(id, true);
}

// Whatever else happens to it meanwhile.
void World::stop_some_time(NodeId id) {
  auto& n = nodes_.at(id);
  if (!n.process || !n.process->member) return;
  n.process->member->stop([this, id, start = n.starts] {
    scheduler.after(1us, [this, id, start] {
      if (nodes_.at(id).starts == start && nodes_.at(id).process) end(id, dice.chance(0.5));
    });
  });
}

void World::hang_disk(NodeId id, bool hangs) {
  if (auto& p = nodes_.at(id).process) p->wal.hold(hangs);
}

void World::pause(NodeId id, bool paused) {
  if (auto& p = nodes_.at(id).process)
    for (auto* loop : {&p->core, &p->wal, &p->apply, &p->files}) loop->pause(paused);
}

void World::hold_apply(NodeId id, bool held) {
  if (auto& p = nodes_.at(id).process) p->apply.hold(held);
}

node::Member* World::member(NodeId id) {
  auto& n = nodes_.at(id);
  return n.process ? n.process->member.get() : nullptr;
}

node::Service* World::service(NodeId id) {
  auto& n = nodes_.at(id);
  if (n.process && n.process->service) return n.process->service.get();
  return member(id);
}

standby::Replication* World::stream(NodeId id) {
  auto& n = nodes_.at(id);
  return n.process ? n.process->stream.get() : nullptr;
}

std::vector<NodeId> World::ids() const {
  std::vector<NodeId> ids;
  for (const auto& [id, n] : nodes_) ids.push_back(id);
  return ids;
}

std::optional<NodeId> World::leader(GroupRole group) const {
  std::optional<NodeId> best;
  Term term;
  for (const auto& [id, n] : nodes_) {
    if (!n.process || !n.process->member || n.spec.role != group) continue;
    const auto& m = *n.process->member;
    if (!m.is_leader() || !m.lineage().known() || m.term() < term) continue;
    best = id;
    term = m.term();
  }
  return best;
}

bool World::caught_up() {
  std::optional<Position> first;
  for (auto& [id, n] : nodes_) {
    if (!counts(id)) continue;
    if (!n.process || !n.process->member || !n.process->member->lineage().known()) return false;
    const auto position = n.process->member->state().applied().point.position;
    if (!first) first = position;
    if (position != *first) return false;
  }
  return true;
}

std::string World::standing() {
  std::string out;
  for (auto& [id, n] : nodes_) {
    out += "\nnode " + std::to_string(id.value()) + ": ";
    auto* m = member(id);
    if (!m) {
      out += "down " + n.open_error;
      continue;
    }
    auto point = [](const LogPoint& p) {
      return std::to_string(p.index.value()) + "/" + std::to_string(p.position.index.value());
    };
    out += std::string(name(m->role())) + " group " + std::to_string(m->group().value() % 1000) + " epoch " + std::to_string(m->epoch().value()) + " term " + std::to_string(m->term().value()) + " leader " + std::to_string(m->leader().value()) + " base " +
           point(m->log().base()) + " applied " + point(m->state().applied().point) + " committed " +
           point(m->committed()) + " last " + point(m->last()) + " (index/history) " + m->status().stream_state +
           "; adoption: " + m->adoption();
  }
  return out;
}

void World::check_step() {
  for (auto& [id, n] : nodes_) {
    if (n.doomed) end(id, !n.disk->powered());
    if (!n.process || !n.process->member || n.of_before) continue;
    const auto& m = *n.process->member;
    if (two_regions()) {
      auto& stood = stood_[id];
      const std::pair now{m.committed().index, m.log().last()};
      if (now != stood) {
        checkers.regroups(n.spec.role, id, m.log(), n.process->member->state());
        checkers.stands(n.spec.role, id, m.committed(), m.log(), scheduler.now());
      }
      stood = now;
    }
    if (!m.leads()) continue;
    if (auto& led = led_[id]; led != m.term()) {
      led = m.term();
      checkers.leader(n.spec.role, m);
    }
  }
  if (two_regions() && scheduler.now() - lag_checked_ >= 20ms) check_lag();
}

void World::check_lag() {
  lag_checked_ = scheduler.now();
  for (auto& [id, n] : nodes_) {
    if (n.spec.role == GroupRole::kPrimary || n.of_before || !n.process || !n.process->member || !n.process->stream) continue;
    if (n.process->member->role() == GroupRole::kPrimary) continue;  // nobody is ahead of it
    const auto& meter = n.process->stream->pinger().meter();
    if (meter.epoch() != n.process->member->epoch()) continue;  // it begins anew at the next ping
    const auto held = n.process->member->state().applied().point;
    checkers.lag(n.spec.role, id, held, meter.lag(held.position, n.clock->now()), scheduler.now(), kDrift);
  }
}

bool World::run_until(const std::function<bool()>& condition, Duration limit) {
  const auto until = scheduler.now() + limit;
  try {
    while (checkers.breach().empty()) {
      if (condition()) return true;
      if (!scheduler.step(until)) return condition();
      check_step();
    }
  } catch (const CheckFailed& failed) {
    set_check_handler(throw_check);
    checkers.report(failed.what());
  }
  return false;
}

void World::run_for(Duration time) {
  (void)run_until([] { return false; }, time);  // always false: it is time that ends it
}

// --- clients ---

std::shared_ptr<World::Put> World::put_through(node::Service& service, NodeId id, const std::string& key,
                                               const std::string& value, std::optional<Duration> deadline) {
  auto ended = std::make_shared<Put>();
  Command command;
  command.op = Op::kPut;
  command.request = Bytes(put_request(key, value));
  std::optional<Instant> until;
  if (deadline) until = nodes_.at(id).clock->now() + *deadline;
  const auto before = checkers.highest();
  service.propose(std::move(command), until, *client_loop_, [this, ended, before, key, value](node::Outcome o) {
    if (o.end == node::Outcome::End::kApplied && o.result.etcd_error.empty())
      checkers.acknowledged_put({before, key, value, o.result.revision});
    ended->outcome = std::move(o);
    ended->ended = true;
  });
  return ended;
}

std::shared_ptr<World::Put> World::put(NodeId id, const std::string& key, const std::string& value,
                                       std::optional<Duration> deadline) {
  return put_through(*member(id), id, key, value, deadline);
}

std::shared_ptr<World::Put> World::client_put(NodeId id, const std::string& key, const std::string& value) {
  return put_through(*service(id), id, key, value, std::nullopt);
}

std::shared_ptr<World::Read> World::read(NodeId id, const std::string& key) {
  auto ended = std::make_shared<Read>();
  const auto before = checkers.highest();
  auto serve = [this, id, key, before, ended, life = nodes_.at(id).starts](Result<void> confirmed) {
    if (!member(id) || nodes_.at(id).starts != life) return;  // whoever was asked answers no more
    ended->ended = true;
    ended->confirmed = std::move(confirmed);
    if (!ended->confirmed.ok()) return;
    auto found = read_key(member(id)->state(), key);
    if (!found.ok()) return;
    ended->value = found->value;
    checkers.acknowledged_read({before, key, found->value, found->revision}, found->mod_revision);
  };
  if (service(id)->read_now())
    serve({});
  else
    service(id)->read_barrier(std::nullopt, *client_loop_, serve);
  return ended;
}

std::optional<std::string> World::peek(NodeId id, const std::string& key) {
  auto found = read_key(member(id)->state(), key);
  if (!found.ok() || !found->exists) return std::nullopt;
  return found->value;
}

void World::start_clients() {
  clients_run_ = true;
  for (int i = 0; i < options_.clients; ++i) {
    clients_.push_back(std::make_unique<Client>());
    clients_.back()->id = i;
    next_operation(*clients_.back());
  }
}

void World::next_operation(Client& client) {
  if (!clients_run_) return;
  const auto operation = ++client.operation;
  // A node may die with the request: then nobody ever answers.
  scheduler.after(9s, [this, &client, operation] { finish(client, operation, 10ms); });
  const bool afar = two_regions() && (dice.chance(0.15) || nodes_.at(NodeId(1)).lost);
  auto id = NodeId(1 + (afar ? static_cast<std::uint64_t>(options_.primaries) : 0) +
                   dice.below(static_cast<std::uint64_t>(afar ? options_.standbys : options_.primaries)));
  if ((members_change_ || operator_) && dice.chance(0.5)) id = std::next(nodes_.begin(), static_cast<std::ptrdiff_t>(dice.below(nodes_.size())))->first;
  if (!member(id)) return finish(client, operation, 50ms);
  if (dice.chance(0.7)) {
    client_put(client, id);
  } else {
    client_read(client, id);
  }
}

// Only the operation under way may be finished, once.
void World::finish(Client& client, std::uint64_t operation, Duration pause) {
  if (client.operation != operation) return;
  ++client.operation;
  scheduler.after(pause, [this, &client] { next_operation(client); });
}

// That this node's group serves by its own word; 0: what is asked there is passed on.
World::Asked World::asked(NodeId id) {
  const auto* m = member(id);
  return {id, m && m->role() == GroupRole::kPrimary ? m->epoch() : Epoch(), newest_acknowledged_};
}

// I9: by lease an epoch acknowledges nothing that was asked after a newer one had
// acknowledged anything, however late a node hears of that.
void World::acknowledged(const Asked& asked) {
  const auto* m = member(asked.node);
  // Who hands over passes on what waited for that.
  if (options_.fence_lease == Duration() || two_primaries_ || asked.served == Epoch() || !m || m->epoch() != asked.served || m->role() != GroupRole::kPrimary) return;
  if (asked.served < asked.newest)
    checkers.report("I9: node " + std::to_string(asked.node.value()) + " acknowledges in epoch " + std::to_string(asked.served.value()) +
                    " what was asked when epoch " + std::to_string(asked.newest.value()) + " had acknowledged already");
  newest_acknowledged_ = std::max(newest_acknowledged_, asked.served);
}

void World::client_put(Client& client, NodeId id) {
  const auto operation = client.operation;
  const auto key = "key" + std::to_string(dice.below(8));
  const auto value = "c" + std::to_string(client.id) + "-" + std::to_string(operation) + std::string(dice.below(200), 'x');
  const auto before = checkers.highest();
  Command command;
  command.op = Op::kPut;
  command.request = Bytes(put_request(key, value));
  service(id)->propose(std::move(command), std::nullopt, *client_loop_,
                      [this, &client, operation, before, key, value, asked = asked(id)](node::Outcome o) {
                        scheduler.note(static_cast<std::uint64_t>(o.end));
                        if (o.end == node::Outcome::End::kApplied) acknowledged(asked);
                        if (o.end == node::Outcome::End::kApplied)
                          checkers.acknowledged_put({before, key, value, o.result.revision});
                        if (o.end == node::Outcome::End::kNotApplied) checkers.refused_put(put_request(key, value));
                        finish(client, operation, dice.between(Duration(0), Duration(5ms)));
                      });
}

void World::client_read(Client& client, NodeId id) {
  const auto operation = client.operation;
  const auto key = "key" + std::to_string(dice.below(8));
  const auto before = checkers.highest();
  // Its next life has not applied again what was confirmed to this one, and was not asked.
  auto serve = [this, &client, operation, before, key, id, life = nodes_.at(id).starts] {
    if (auto* m = member(id); m && nodes_.at(id).starts == life) {
      auto found = read_key(m->state(), key);
      if (found.ok()) checkers.acknowledged_read({before, key, found->value, found->revision}, found->mod_revision);
    }
    finish(client, operation, dice.between(Duration(0), Duration(5ms)));
  };
  // Any member may be asked for what it has: old perhaps, never other, unless survivors went on otherwise without it.
  if (options_.stream && dice.chance(0.3)) {
    auto found = read_key(member(id)->state(), key);
    if (found.ok() && !of_before(id)) checkers.seen(key, found->value, found->mod_revision);
    return finish(client, operation, 1ms);
  }
  if (service(id)->read_now()) return serve();
  service(id)->read_barrier(std::nullopt, *client_loop_, [this, &client, operation, serve, asked = asked(id)](Result<void> r) {
    if (!r.ok()) return finish(client, operation, 20ms);
    acknowledged(asked);
    serve();
  });
}

// --- ends ---

bool World::all_equal() {
  if (two_regions() && !caught_up()) return false;
  if (!removed_are_quiet()) return false;
  if (operator_ && !operator_->at_rest()) return false;
  const bool lost = nodes_.at(NodeId(1)).lost;
  if (returns_ && (lost || !checkers.armed() || checkers.regions(GroupRole::kPrimary).role() != GroupRole::kStandby)) return false;
  if (two_regions() && !lost && !returns_ && !operator_ && (epoch_is_to_end_ || !checkers.armed())) return false;
  if (lost && checkers.regions(GroupRole::kStandby).role() != GroupRole::kPrimary) return false;
  std::optional<AppliedState> first;
  std::map<GroupRole, Index> applied;
  for (auto& [id, n] : nodes_) {
    if (!counts(id)) continue;
    if (!n.process || !n.process->member || !n.process->member->lineage().known()) return false;
    auto& m = *n.process->member;
    if (m.leader() == NodeId()) return false;
    const auto state = m.state().applied();
    const auto [it, fresh] = applied.emplace(n.spec.role, state.point.index);
    if (it->second != state.point.index || m.last().index != state.point.index) return false;
    if (n.spec.role != GroupRole::kPrimary && !two_regions()) continue;
    if (!first) first = state;
    if (first->state_hash != state.state_hash) checkers.report("I4: the members' states differ at the end");
  }
  return true;
}

bool World::settle(Duration limit) {
  network.heal();
  network.heal_regions();
  network.weather = network.wan = {};
  clients_run_ = false;
  for (auto& [id, n] : nodes_) {
    n.clock->set_rate(1.0);
    n.disk->refuse_writes("");
    hang_disk(id, false);
    hold_apply(id, false);
    pause(id, false);
  }
  Instant mended{};
  const bool equal = run_until(
      [this, &mended] {
        if (operator_ && scheduler.now() - mended > 300ms) {
          mended = scheduler.now();
          operator_->mend();
        }
        for (auto& [id, n] : nodes_)
          if (!n.process) start(id);
        return all_equal();
      },
      limit);
  if (!equal) checkers.report("the members do not come to rest");
  if (!checkers.breach().empty()) return false;
  for (auto& [id, n] : nodes_) {
    if (!counts(id)) continue;
    checkers.log(n.spec.role, id, n.process->member->log());
    if (!two_regions()) continue;
    checkers.regions_at_rest(n.spec.role, id, n.process->member->state());
    check_streams(id);
  }
  verify_acknowledged();
  if (operator_) operator_->judge();
  return checkers.breach().empty();
}

// What the members themselves found by comparing chain and state hashes.
void World::check_streams(NodeId id) {
  const auto* s = stream(id);
  if (!s || network.corrupts || nodes_.at(id).of_before || checkers.parted()) return;
  const auto& probe = s->probe();
  if (probe.divergences.get() + probe.hash_different.get() + probe.chain_refused.get() > 0)
    checkers.report("node " + std::to_string(id.value()) + " finds that the regions hold different histories");
}

std::vector<Checkers::Told> World::lost_puts(NodeId id) {
  const auto gaps = gaps_of(member(id)->state());
  std::vector<Checkers::Told> out;
  for (const auto& told : checkers.puts())
    if (in_gap(gaps, told.revision)) out.push_back(told);
  return out;
}

std::string World::request(const Checkers::Told& put) { return put_request(put.key, put.value); }

// Every acknowledged put is to be found at its own revision, at every member;
// but for those of a tail that its region was lost with: their revisions lie
// between an epoch's last that is kept and the next one's first.
void World::verify_acknowledged() {
  for (auto& [id, n] : nodes_) {
    if (!counts(id) || (n.spec.role != GroupRole::kPrimary && !two_regions())) continue;
    auto& state = n.process->member->state();
    const auto gaps = gaps_of(state);
    for (const auto& told : checkers.puts()) {
      if (in_gap(gaps, told.revision)) continue;
      auto found = read_key(state, told.key, told.revision);
      if (found.ok() && found->exists && found->value == told.value && found->mod_revision == told.revision) continue;
      return checkers.report("the acknowledged put of " + told.key + " at revision " +
                             std::to_string(told.revision.value()) + " is lost at node " + std::to_string(id.value()));
    }
  }
}

// --- epochs ---

region::EpochChange World::change_at(NodeId id, region::Ending ending) {
  auto& m = *member(id);
  region::EpochChange change;
  change.epoch = m.epoch() + 1;
  change.promotion = dice.next() | 1;
  change.group = m.group();
  change.region = nodes_.at(id).spec.region;
  change.fork = m.last().position;
  change.ending = ending;
  return change;
}

Result<Index> World::propose(NodeId id, EntryKind kind, Epoch epoch, std::string payload) {
  raft::Proposal proposal;
  proposal.kind = kind;
  proposal.epoch = epoch;
  proposal.payload = Bytes(std::move(payload));
  return member(id)->propose({&proposal, 1});
}

Result<Index> World::propose(NodeId id, const region::EpochChange& change) {
  return propose(id, EntryKind::kEpochChange, change.epoch, region::encode(change));
}

// The primary is gone for good as soon as the standby may do without it, or some
// time later: until then it acknowledges what is lost with it.
void World::begin_end_of_epoch() {
  if (!checkers.regions(GroupRole::kStandby).armed()) {
    scheduler.after(100ms, [this] { begin_end_of_epoch(); });
    return;
  }
  if (dice.chance(0.4)) return seal();
  scheduler.after(dice.chance(0.5) ? Duration(0) : dice.between(0ms, 8s), [this] { lose(GroupRole::kPrimary); });
  drive_end_of_epoch();
}

// A planned end: the primary seals, and is lost when the standby has taken over
// or some time later.
void World::seal() {
  const auto& primary = checkers.regions(GroupRole::kPrimary);
  const auto id = leader();
  // Who takes over does so by itself, and the old primary may follow already.
  if (primary.history().seal || checkers.regions(GroupRole::kStandby).role() == GroupRole::kPrimary) return drive_end_of_epoch();
  if (const auto armed = primary.armed_group(); id && armed)
    (void)propose(*id, EntryKind::kSeal, Epoch(1), region::encode(region::Seal{dice.next() | 1, armed->group, armed->arming}));
  scheduler.after(dice.between(1ms, 200ms), [this] { seal(); });
}

void World::drive_end_of_epoch() {
  const bool sealed = checkers.regions(GroupRole::kPrimary).history().seal.has_value();
  if (checkers.regions(GroupRole::kStandby).role() == GroupRole::kPrimary) {
    const bool there = !nodes_.at(NodeId(1)).lost, stays = there && dice.chance(0.4);
    if (there && !stays) scheduler.after(dice.between(0ms, 8s), [this] { lose(GroupRole::kPrimary); });
    returns_ = stays || dice.chance(0.6);
    if (returns_) scheduler.after(dice.between(8s, 12s), [this] { find_again(); });
    return;
  }
  // Refused while an earlier one is under way; a leader that is lost with it leaves room for another.
  const auto ending = sealed ? region::Ending::kSealed : region::Ending::kGuarded;
  if (const auto id = leader(GroupRole::kStandby)) (void)propose(*id, change_at(*id, ending));
  scheduler.after(dice.between(1ms, 200ms), [this] { drive_end_of_epoch(); });
}

// Not for good after all: it comes back with its disks, and is told to follow.
void World::find_again() {
  find(GroupRole::kPrimary);
  lead_back();
}

void World::lead_back() {
  for (auto& [id, n] : nodes_) {
    if (n.spec.role != GroupRole::kPrimary) continue;
    if (!n.process && dice.chance(0.5)) start(id);
    auto* m = member(id);
    if (m && m->is_leader() && m->role() == GroupRole::kFenced) stream(id)->rejoin();
  }
  if (checkers.regions(GroupRole::kPrimary).role() != GroupRole::kStandby)
    scheduler.after(dice.between(10ms, 500ms), [this] { lead_back(); });
}

// What a line between two regions does, and a region that is away as a whole.
void World::fault_between_regions() {
  const auto standby = NodeId(static_cast<std::uint64_t>(options_.primaries) + 1 + dice.below(static_cast<std::uint64_t>(options_.standbys)));
  switch (dice.below(8)) {
    case 0: network.cut_regions(kEast, kWest); break;
    case 1: network.cut_regions(kWest, kEast); break;
    case 2: case 3:
      network.cut_regions(kEast, kWest);
      network.cut_regions(kWest, kEast);
      break;
    case 4: network.wan.loss = 0.01 * static_cast<double>(dice.below(30)); return;
    case 5:
      network.wan.delay_low = dice.between(1ms, 100ms);
      network.wan.delay_high = network.wan.delay_low + dice.between(1ms, 100ms);
      network.wan.straggler = 0.01 * static_cast<double>(dice.below(10));
      return;
    case 6:
      for (auto& [id, n] : nodes_)
        if (n.spec.role == GroupRole::kStandby) dice.chance(0.5) ? crash(id) : kill(id);
      return;
    default:
      // One of three: the group goes on without what it had promised.
      if (!options_.forces && !std::exchange(wiped_, true)) wipe(standby);
      return;
  }
  scheduler.after(dice.between(500ms, 10s), [this] { network.heal_regions(); });
}

void World::fault() {
  if (two_regions() && dice.chance(0.4)) return fault_between_regions();
  const auto id = NodeId(1 + dice.below(members_change_ ? nodes_.size() : static_cast<std::uint64_t>(options_.primaries + options_.standbys)));
  auto& n = nodes_.at(id);
  switch (dice.below(15)) {
    case 0: case 1: return crash(id);
    case 2: return kill(id);
    case 3: return n.disk->power_off_after(dice.below(40));
    case 4: return network.isolate(id, ids());
    case 5: {
      const auto other = NodeId(1 + dice.below(nodes_.size()));
      if (other != id) network.cut(id, other);
      return;
    }
    case 6: network.weather.loss = 0.01 * static_cast<double>(dice.below(20)); return;
    case 7: network.weather.straggler = 0.01 * static_cast<double>(dice.below(10)); return;
    case 8: return stop_some_time(id);
    case 9: return dice.chance(0.5) ? hang_disk(id, true) : hold_apply(id, true);
    case 10:
      for (auto& [other, node] : nodes_) {
        hang_disk(other, false);
        hold_apply(other, false);
      }
      return;
    case 11: return n.disk->refuse_writes(dice.chance(0.5) ? "/wal" : "");
    case 12: n.clock->set_rate(0.97 + 0.01 * static_cast<double>(dice.below(7))); return;
    case 13:
      if (auto* m = member(id)) m->give_up_leadership();
      return;
    default:
      for (auto& [other, node] : nodes_)
        if (dice.chance(0.5)) crash(other);
  }
}

// Whoever leads, more often than not: what a leader does not know yet when it wakes matters most.
void World::pause_some_time() {
  auto up = ids();
  std::erase_if(up, [this](NodeId id) { return !running(id); });
  if (up.empty()) return;
  auto id = up[dice.below(up.size())];
  const auto leads = leader(dice.chance(0.5) ? GroupRole::kPrimary : GroupRole::kStandby);
  if (leads && dice.chance(0.6)) id = *leads;
  pause(id, true);
  if (dice.chance(0.5)) network.isolate(id, ids());  // its connections do not outlive that: what it hears first is a client
  scheduler.after(dice.chance(0.5) ? dice.between(50ms, 1s) : dice.between(1s, 8s), [this, id, start = nodes_.at(id).starts] {
    if (nodes_.at(id).starts == start) pause(id, false);
  });
}

// One change of the primary's members, through any of its nodes. Whoever is in
// the way of it refuses it.
void World::change_members() {
  constexpr std::size_t kMostNodes = 14;
  const auto leading = leader();
  std::vector<NodeId> up;
  for (const auto& [id, n] : nodes_)
    if (n.spec.role == GroupRole::kPrimary && member(id)) up.push_back(id);
  if (!leading || up.empty()) return;
  const auto& now = member(*leading)->membership();
  const std::vector<NodeId> voters(now.voters.begin(), now.voters.end()), learners(now.learners.begin(), now.learners.end());
  const auto any = [this](const std::vector<NodeId>& ids) { return ids[dice.below(ids.size())]; };
  node::MemberChange change;
  std::string what;
  switch (dice.below(6)) {
    case 0: case 1:
      if (nodes_.size() >= kMostNodes || voters.size() + learners.size() > 6) return;
      what = "add";
      change.add.push_back(join());
      start(change.add.back().id);
      up.push_back(*leading);
      break;
    case 2: case 3:
      if (learners.empty() || voters.size() > 4) return;
      what = "promote";
      change.promote.push_back(any(learners));
      break;
    case 4:
      if (voters.size() < 3 && learners.empty()) return;
      what = "remove";
      change.remove.push_back(dice.chance(0.3) && !learners.empty() ? any(learners) : any(voters));
      break;
    default:
      if (learners.empty()) return;
      what = "replace";
      change.promote = learners;
      change.remove.push_back(any(voters));
      if (learners.size() > 1 && voters.size() > 1)
        if (const auto other = any(voters); other != change.remove.front()) change.remove.push_back(other);
  }
  member(any(up))->change_members(std::move(change), *client_loop_, [this, what](Result<Index> done) {
    if (done.ok()) ++changes_[what];
  });
}

bool World::torment(Duration time) {
  members_change_ = members_change_ || options_.change_members || options_.forces;
  for (const auto id : ids()) start(id);
  if (!run_until([this] { return leader().has_value(); })) {
    checkers.report("no leader at the start");
    return false;
  }
  start_clients();
  epoch_is_to_end_ = two_regions() && options_.end_epoch && !options_.operate;
  if (options_.operate) operator_ = std::make_unique<Operator>(*this);
  if (epoch_is_to_end_)
    scheduler.after(dice.between(time / 4, time / 2), [this] { begin_end_of_epoch(); });
  const auto until = scheduler.now() + time;
  while (scheduler.now() < until && checkers.breach().empty() && !checkers.contested()) {
    run_for(dice.between(50ms, 2500ms));
    try {
      if (options_.change_members && dice.chance(0.8)) change_members();
      for (int acts = operator_ ? 3 : 0; acts > 0; --acts) {
        operator_->act();
        run_for(dice.between(0ms, 200ms));
      }
      if (dice.chance(operator_ ? 0.4 : 0.7)) fault();
      if (options_.pauses && dice.chance(0.4)) pause_some_time();
      if (dice.chance(0.4)) network.heal();
      for (auto& [id, n] : nodes_)
        if (!n.process && dice.chance(0.5)) start(id);
    } catch (const CheckFailed& failed) {
      set_check_handler(throw_check);
      checkers.report(failed.what());
    }
  }
  if (!checkers.contested() && settle()) return true;
  return checkers.contested() && checkers.breach().empty();
}

// --- bugs on the wire ---

void World::plant_on_the_wire() {
  if (!options_.plants.acknowledged_before_quorum) return;
  // Nobody holds the entry, and the leader is told that all do.
  network.tamper = [this](NodeId from, NodeId to, Lane lane, Bytes bytes) -> Bytes {
    auto raft = raft_frame(lane, bytes);
    if (!raft || raft->message.type != raft::MessageType::kAppend || raft->message.entries.empty() || !member(to))
      return bytes;
    if (!member(from) || !member(from)->lineage().known()) return bytes;
    auto reply = std::move(*raft);
    reply.header.incarnation = member(to)->next_origin().incarnation;
    reply.message.type = raft::MessageType::kAppendReply;
    reply.message.from = to;
    reply.message.to = from;
    reply.message.index = reply.message.entries.back().index;
    reply.message.entries.clear();
    scheduler.after(100us, [this, from, to, frame = to_bytes(reply)] {
      if (auto& p = nodes_.at(from).process) p->link.arrive(to, Lane::kConsensus, frame);
    });
    return {};
  };
}

}  // namespace leeward::sim
