#include "world.h"

namespace leeward::standby::testing {

namespace {

class FakeLink final : public PeerLink {
 public:
  FakeLink(World& world, NodeId self) : world_(world), self_(self) {}
  void set_handler(Handler) override {}
  void set_peers(std::vector<PeerAddress>) override {}
  bool send(NodeId to, Lane, std::vector<Bytes> parts) override {
    std::string frame;
    for (const auto& part : parts) frame += part.view();
    LEEWARD_CHECK(frame.size() <= 16_MiB);
    return world_.send(self_, to, Bytes(std::move(frame)));
  }
  std::size_t queued(NodeId to, Lane) const override { return world_.wire(self_, to).queued; }
  std::size_t unfinished(NodeId from, Lane) const override { return world_.unfinished(from, self_); }
  bool connected(NodeId to) const override { return world_.known(to) && !world_.wire(self_, to).cut && world_.member(to).alive(); }

 private:
  World& world_;
  NodeId self_;
};

}  // namespace

Executor::TimerId FakeLoop::after(Duration delay, Callback callback) {
  static TimerId next = 0;
  const auto id = ++next;
  pending_[id] = std::move(callback);
  world_.at(delay, [this, id] { run(id); });
  return id;
}

Instant FakeClock::now() const { return world_.now() + offset_; }

bool World::send(NodeId from, NodeId to, Bytes frame) {
  if (!known(to)) return false;
  auto& w = wire(from, to);
  if (w.cut || !member(to).alive() || w.queued + frame.size() > 8_MiB) return false;
  const auto size = frame.size();
  const auto start = std::max(now_, w.free);
  const auto takes = w.bandwidth ? Duration(static_cast<Duration::rep>(size * 1'000'000'000ull / w.bandwidth)) : Duration{};
  w.free = start + takes;
  w.queued += size;
  w.in_flight += size;
  w.max_in_flight = std::max(w.max_in_flight, w.in_flight);
  w.carried += size;
  const auto generation = w.generation;
  w.passing.push_back({start + w.delay, w.free + w.delay, size});
  at(w.free - now_, [&w, size, generation] {
    if (w.generation == generation) w.queued -= size;
  });
  at(w.free + w.delay - now_, [this, &w, from, to, frame, size, generation] {
    if (w.generation != generation) return;
    w.in_flight -= size;
    if (w.cut || !member(to).alive()) return;
    auto& m = member(to);
    m.loop_.post([&m, from, frame] { m.deliver(from, frame); });
  });
  return true;
}

std::size_t World::unfinished(NodeId from, NodeId to) {
  auto& passing = wire(from, to).passing;
  while (!passing.empty() && passing.front().last <= now_) passing.pop_front();
  if (passing.empty() || passing.front().first >= now_) return 0;
  const auto& p = passing.front();
  return static_cast<std::size_t>(static_cast<double>(p.size) * static_cast<double>((now_ - p.first).count()) /
                                  static_cast<double>((p.last - p.first).count()));
}

FakeMember::FakeMember(World& world, FakeRegion& region, NodeId id)
    : loop_(world),
      world_(world),
      region_(region),
      id_(id),
      clock_(world, 1000s * static_cast<std::int64_t>(id.value() * id.value())),
      link_(std::make_unique<FakeLink>(world, id)) {
  lineage_.bytes[0] = 1;
}

std::uint64_t FakeMember::random() { return world_.random(); }
GroupId FakeMember::group() const { return region_.group; }
GroupRole FakeMember::role() const { return region_.role; }
bool FakeMember::is_leader() const { return region_.leader_ == id_ && commit_ >= region_.ready_; }
NodeId FakeMember::leader() const { return region_.leader_; }
Term FakeMember::term() const { return region_.term_; }
const raft::Membership& FakeMember::membership() const { return region_.membership; }

std::vector<node::Node> FakeMember::topology() const {
  std::vector<node::Node> nodes;
  for (const auto& r : world_.regions)
    for (const auto& [id, _] : r->members) {
      node::Node n;
      n.id = id;
      n.region = r->name;
      n.role = r->role;
      nodes.push_back(n);
    }
  return nodes;
}

Result<Index> FakeMember::propose(std::span<const raft::Proposal> proposals) {
  if (region_.leader_ != id_) return Error{Code::kUnavailable, "not leader"};
  if (busy) return Error{Code::kOverloaded, "busy"};
  if (proposals.back().kind == EntryKind::kFollow) {
    follows.push_back(region::decode_follow(proposals.back().payload.view()).value());
    return log_.last().index + 1;
  }
  std::vector<Entry> fresh;
  auto at = log_.last();
  for (const auto& p : proposals) {
    Entry e{region_.term_, at.index + 1, p.kind, p.epoch, p.writes, at.position, p.payload, p.envelope};
    if (is_history(p.kind)) e.position = extend(at.position, p.epoch, p.kind, p.writes, p.payload.view());
    if (p.expected && *p.expected != e.position) return Error{Code::kInvalid, "does not chain"};
    at = FakeLog::at(e);
    fresh.push_back(std::move(e));
  }
  const auto first = log_.last().index + 1;
  log_.entries.insert(log_.entries.end(), fresh.begin(), fresh.end());
  region_.replicate_soon();
  return first;
}

void FakeMember::confirm(Function<void(Result<Index>)> done) {
  const auto term = region_.term_;
  auto shared = std::make_shared<Function<void(Result<Index>)>>(std::move(done));
  const auto commit = commit_;
  loop_.after(2 * region_.lan, [this, term, commit, shared] {
    if (is_leader() && region_.term_ == term && region_.quorum())
      (*shared)(commit);
    else
      (*shared)(Error{Code::kUnavailable, "not confirmed"});
  });
}

void FakeMember::transfer_leadership(NodeId to) {
  world_.at(5ms, [this, to] {
    if (region_.leader_ == id_ && region_.member(to).alive()) region_.elect(to);
  });
}

void FakeMember::start() {
  replication = std::make_unique<Replication>(*this, options);
  replication->start();
}

void FakeMember::crash() {
  replication.reset();
  loop_.clear();
  if (region_.leader_ != id_) return;
  region_.leader_ = NodeId();
  world_.at(1s, [this] {
    if (!region_.leader_) region_.elect_best();
  });
}

void FakeMember::take_log(const FakeLog& leader) {
  auto& own = log_.entries;
  while (!own.empty() && (own.back().index > leader.last().index ||
                          leader.point(own.back().index).value() != FakeLog::at(own.back())))
    own.pop_back();
  for (const auto& e : leader.entries)
    if (e.index > log_.last().index) own.push_back(e);
}

void FakeMember::learn_commit(Index commit) {
  commit = std::min(commit, log_.last().index);
  if (commit <= commit_) return;
  const auto from = commit_ + 1;
  commit_ = commit;
  if (observer_) observer_->committed(commit);
  // Batches of applied entries differ between members.
  for (Index at = from; at <= commit;) {
    const Index end = std::min(at + 1 + world_.random() % 8, commit + 1);
    const auto batch = log_.read(at, end, std::numeric_limits<std::size_t>::max()).value();
    (void)state_.apply(batch, {}, {});
    if (observer_) observer_->applied(batch);
    at = end;
  }
}

NodeStatus FakeMember::status() {
  NodeStatus s;
  MemberStatus self;
  self.id = id_;
  self.version = "0.1.0";
  if (extension_) extension_->extend(s, self);
  s.members.push_back(self);
  return s;
}

MemberStatus FakeMember::report() { return status().members.front(); }

FakeRegion::FakeRegion(World& world, std::string n, GroupRole r, GroupId g, std::vector<NodeId> ids)
    : name(std::move(n)), role(r), group(g), world_(world) {
  for (const auto id : ids) {
    membership.voters.insert(id);
    members[id] = std::make_unique<FakeMember>(world, *this, id);
  }
}

bool FakeRegion::quorum() const {
  std::size_t alive = 0;
  for (const auto& [id, m] : members) alive += m->alive() && !m->loop_.frozen;
  return alive * 2 > members.size();
}

void FakeRegion::elect(NodeId id) {
  leader_ = id;
  ++term_;
  auto& m = member(id);
  Entry noop{term_, m.last().index + 1, EntryKind::kNoop, Epoch(), 0, m.last().position, {}, {}};
  ready_ = noop.index;
  m.log_.entries.push_back(noop);
  replicate_soon();
  for (auto& [_, other] : members) other->role_changed();
}

void FakeRegion::elect_best() {
  if (!quorum()) return;
  FakeMember* best = nullptr;
  for (auto& [id, m] : members) {
    if (!m->alive() || m->loop_.frozen) continue;
    auto key = [](FakeMember* x) { return std::pair(x->last().term, x->last().index); };
    if (!best || key(m.get()) > key(best)) best = m.get();
  }
  elect(best->self());
}

void FakeRegion::replicate_soon() {
  if (scheduled_) return;
  scheduled_ = true;
  world_.at(lan, [this] {
    scheduled_ = false;
    replicate();
  });
}

void FakeRegion::replicate() {
  auto* lead = leader();
  if (!lead || !quorum()) return;
  for (auto& [id, m] : members)
    if (m.get() != lead && m->alive() && !m->loop_.frozen && !m->lan_cut) m->take_log(lead->log_);
  if (stuck) return;
  const auto commit = lead->last().index;
  const bool became_ready = lead->commit_ < ready_;
  lead->learn_commit(commit);
  if (became_ready) lead->role_changed();
  world_.at(lan, [this, commit, term = term_] {
    if (term != term_) return;
    for (auto& [id, m] : members)
      if (m->alive() && !m->loop_.frozen && !m->lan_cut) m->learn_commit(commit);
  });
}

bool FakeRegion::write(std::string payload) {
  auto* lead = leader();
  if (!lead || !lead->is_leader()) return false;
  raft::Proposal p;
  p.epoch = Epoch(1);
  p.writes = 1;
  p.payload = Bytes(std::move(payload));
  return lead->propose({&p, 1}).ok();
}

}  // namespace leeward::standby::testing
