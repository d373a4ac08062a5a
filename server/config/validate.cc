#include "config/validate.h"

#include <sys/un.h>

#include <filesystem>
#include <map>
#include <tuple>

namespace leeward::config {
namespace {

std::string line(const Findings& f, const std::string& key, const std::string& text) {
  const auto origin = f.loaded.origins.find(key);
  return (origin == f.loaded.origins.end() ? "" : origin->second + ": ") + key + ": " + text;
}

std::string in_quotes(const std::string& s) { return "\"" + s + "\""; }

struct List {
  std::string key;
  std::vector<Member>* members;
  const std::string* region;  // for entries that give none; may be null
};

std::vector<List> lists(Config& c) {
  std::vector<List> out = {{"cluster.members", &c.cluster.members, nullptr},
                           {"standby.members", &c.standby.members, &c.standby.region}};
  for (std::size_t i = 0; i < c.standby.observers.size(); ++i)
    out.push_back({"standby.observers[" + std::to_string(i) + "].members", &c.standby.observers[i].members,
                   &c.standby.observers[i].region});
  return out;
}

void fill_member_defaults(Config& c) {
  for (const List& list : lists(c))
    for (Member& member : *list.members) {
      if (member.name.empty() && member.id) member.name = "node-" + std::to_string(member.id.value());
      if (member.region.empty() && list.region) member.region = *list.region;
    }
  if (c.standby.region.empty() && !c.standby.members.empty()) c.standby.region = c.standby.members.front().region;
}

void check_duplicates(Findings& f) {
  std::map<NodeId, std::string> ids;
  std::map<std::string, std::string> addresses;
  for (const List& list : lists(f.loaded.config))
    for (std::size_t i = 0; i < list.members->size(); ++i) {
      const Member& member = (*list.members)[i];
      const std::string key = list.key + "[" + std::to_string(i) + "]";
      if (member.id)
        if (const auto [it, fresh] = ids.emplace(member.id, key); !fresh)
          f.problem(key, "id " + std::to_string(member.id.value()) + " is taken by " + it->second +
                             "; each node of all regions needs an id of its own");
      if (!member.peer.empty())
        if (const auto [it, fresh] = addresses.emplace(member.peer, key); !fresh)
          f.problem(key, "peer address " + in_quotes(member.peer) + " is taken by " + it->second);
    }
}

void check_counts(Findings& f) {
  const Config& c = f.loaded.config;
  const std::size_t active = c.cluster.members.size(), standby = c.standby.members.size();
  if (f.readable({"cluster.members"})) {
    if (active == 0)
      f.problem("cluster.members", "is empty; list the nodes of the primary region: "
                                   "[{ id = 1, peer = \"host:2380\", client = \"host:2379\" }, ...], or use --dev");
    else if (c.cluster.bootstrap == "join") {
      // Where to find the group; who its members are it says itself.
    } else if (active > 7)
      f.problem("cluster.members", "has " + std::to_string(active) + " members; expected 1, 3, 5 or 7");
    else if (active % 2 == 0)  // a running group may pass through it, and its files with it
      f.warning("cluster.members", "has " + std::to_string(active) +
                                       " members; expected 1, 3, 5 or 7: an even number survives no more failures "
                                       "than one less");
  }
  if (f.readable({"standby.members"})) {
    if (standby > 7)
      f.problem("standby.members", "has " + std::to_string(standby) + " members; expected at most 7");
    else if (standby > 0 && standby % 2 == 0)
      f.warning("standby.members", "has " + std::to_string(standby) +
                                       " members; losing half of them stops the following: 1, 3 or 5 are advised");
  }
  if (standby > 0 && c.standby.region.empty() && f.readable({"standby.members", "standby.region"}))
    f.problem("standby.region", "is not set; name the region of standby.members");
}

void check_regions(Findings& f) {
  const Config& c = f.loaded.config;
  std::set<std::string> active;
  for (const Member& member : c.cluster.members) active.insert(member.region);
  for (const Member& member : c.standby.members) {
    if (!member.region.empty() && member.region != c.standby.region) {
      f.problem("standby.members", "member " + std::to_string(member.id.value()) + " is in region " +
                                       in_quotes(member.region) + ", but standby.region is " + in_quotes(c.standby.region));
    } else if (!member.region.empty() && active.contains(member.region)) {
      f.problem("standby.region", in_quotes(member.region) + " is the region of cluster.members too; a standby group "
                                                          "protects against the loss of a region only from another one");
      return;
    }
  }
}

// Takes `own` from the list's entry when the file gives only that one.
void agree(Findings& f, const std::string& key, std::string& own, const std::string& listed) {
  if (own.empty())
    own = listed;
  else if (!listed.empty() && own != listed && f.given(key))
    f.problem(key, in_quotes(own) + " differs from the node's entry in its member list, which says " + in_quotes(listed));
}

std::string without_scheme(const std::string& url) {
  const std::size_t scheme = url.find("://");
  return scheme == std::string::npos ? url : url.substr(scheme + 3);
}

// The address under which clients find this node: its entry's, else the
// listener's, with the peer address's host where it listens on all interfaces.
std::string reachable_client(const Config& c, const Member& self) {
  if (!self.client.empty()) return without_scheme(self.client);
  auto address = parse_address(c.listen.client);
  const auto peer = parse_address(self.peer);
  if (!address.ok() || address->port == 0) return {};
  if (address->any() && peer.ok()) address->host = peer->host;
  return address->any() ? std::string() : address->text();
}

void check_self(Findings& f) {
  Config& c = f.loaded.config;
  if (!f.readable({"node.id", "cluster.members", "standby.members", "standby.observers"})) return;
  if (c.node.id == 0) {
    f.problem("node.id", "is not set; expected the id of this node's entry in cluster.members or standby.members");
    return;
  }
  const Member* self = c.self();
  if (!self) {
    std::string known;
    for (const auto& [place, member] : c.everyone())
      known += (known.empty() ? "" : ", ") + std::to_string(member.id.value());
    f.problem("node.id", std::to_string(c.node.id) +
                             " stands in none of cluster.members, standby.members and standby.observers" +
                             (known.empty() ? "" : "; they list " + known));
    return;
  }
  const bool named = f.given("node.name");
  if (!named) c.node.name = self->name;
  agree(f, "node.region", c.node.region, self->region);
  agree(f, "node.zone", c.node.zone, self->zone);
  if (c.advertise.peer.empty()) c.advertise.peer = self->peer;
  if (c.advertise.client.empty()) c.advertise.client = reachable_client(c, *self);

  const auto listen = parse_address(c.listen.peer), listed = parse_address(self->peer);
  if (listen.ok() && listed.ok() && !listen->any() && listen->numeric() && listed->numeric() &&
      listen->host != listed->host)
    f.warning("listen.peer", in_quotes(c.listen.peer) + " is not the address under which the others look for this node (" +
                                 in_quotes(self->peer) + " in its member list)");
}

constexpr const char* kNotDialled = " cannot be dialled; expected an address by which others reach this node";

bool dialled(const std::string& text) {
  const auto address = parse_address(text);
  return !address.ok() || !(address->any() || address->port == 0);
}

// What a list says of a node is what the node advertises, if nothing else does.
void check_listed_addresses(Findings& f) {
  for (const List& list : lists(f.loaded.config))
    for (std::size_t i = 0; i < list.members->size(); ++i) {
      const Member& member = (*list.members)[i];
      const std::string key = list.key + "[" + std::to_string(i) + "]";
      if (!dialled(member.peer)) f.problem(key, "peer address " + in_quotes(member.peer) + kNotDialled);
      if (!dialled(without_scheme(member.client))) f.problem(key, "client address " + in_quotes(member.client) + kNotDialled);
    }
}

void check_addresses(Findings& f) {
  const Config& c = f.loaded.config;
  const std::pair<const char*, const std::string*> listeners[] = {{"listen.client", &c.listen.client},
                                                                  {"listen.peer", &c.listen.peer},
                                                                  {"listen.admin", &c.listen.admin},
                                                                  {"listen.metrics", &c.listen.metrics}};
  for (std::size_t i = 0; i < 4; ++i)
    for (std::size_t j = 0; j < i; ++j) {
      const auto a = parse_address(*listeners[i].second), b = parse_address(*listeners[j].second);
      if (!a.ok() || !b.ok() || a->port == 0 || a->port != b->port) continue;
      if (a->host == b->host || a->any() || b->any())
        f.problem(listeners[i].first, in_quotes(*listeners[i].second) + " collides with " + listeners[j].first + " = " +
                                          in_quotes(*listeners[j].second) + "; give each listener a port of its own");
    }
  for (const auto& [key, value] : {std::pair{"advertise.client", c.advertise.client}, {"advertise.peer", c.advertise.peer}})
    if (f.given(key) && !dialled(value)) f.problem(key, in_quotes(value) + kNotDialled);
  check_listed_addresses(f);
  constexpr std::size_t kMost = sizeof(sockaddr_un::sun_path) - 1;
  if (const std::size_t size = c.admin.socket.size(); size > kMost)
    f.problem("admin.socket", "is a path of " + std::to_string(size) + " bytes; expected at most " + std::to_string(kMost) +
                                  ", all that the system takes for a socket's");
}

void check_raft(Findings& f) {
  const auto& raft = f.loaded.config.raft;
  if (f.readable({"raft.heartbeat_interval", "raft.election_timeout"}) &&
      raft.election_timeout < 5 * raft.heartbeat_interval)
    f.problem("raft.election_timeout", in_quotes(format_duration(raft.election_timeout)) +
                                           " is less than five times raft.heartbeat_interval (" +
                                           in_quotes(format_duration(raft.heartbeat_interval)) +
                                           "); one delayed heartbeat would cost the leader its office");
  const auto& dr = f.loaded.config.dr;
  if (f.readable({"dr.lease", "raft.election_timeout"}) && dr.self_fence == "lease" &&
      dr.lease < 2 * raft.election_timeout)
    f.problem("dr.lease", in_quotes(format_duration(dr.lease)) + " is less than twice raft.election_timeout; every election "
                                                              "in the standby region would stop the primary's writes");
}

void check_storage(Findings& f) {
  Config& c = f.loaded.config;
  if (c.node.wal_dir.empty()) c.node.wal_dir = c.node.data_dir + "/wal";
  if (c.node.snapshot_dir.empty()) c.node.snapshot_dir = c.node.data_dir + "/snapshots";
  // Each has names of its own to keep and to clean away.
  const auto plain = [](const std::string& path) { return std::filesystem::path(path + "/").lexically_normal(); };
  for (const auto& [key, path, other, taken] :
       {std::tuple{"node.wal_dir", &c.node.wal_dir, "node.data_dir", &c.node.data_dir},
        {"node.snapshot_dir", &c.node.snapshot_dir, "node.data_dir", &c.node.data_dir},
        {"node.snapshot_dir", &c.node.snapshot_dir, "node.wal_dir", &c.node.wal_dir}})
    if (f.readable({key, other}) && plain(*path) == plain(*taken))
      f.problem(key, in_quotes(*path) + " is " + other + "; name a directory of its own, below it for one");
  if (f.readable({"raft.max_batch_bytes", "storage.segment_size"}) && c.raft.max_batch_bytes > c.storage.segment_size / 2)
    f.problem("raft.max_batch_bytes", in_quotes(format_size(c.raft.max_batch_bytes)) +
                                          " is more than half of storage.segment_size (" +
                                          in_quotes(format_size(c.storage.segment_size)) + ")");
  if (f.readable({"storage.segment_size", "dr.retain_log"}) && c.dr.retain_log < c.storage.segment_size)
    f.problem("dr.retain_log", in_quotes(format_size(c.dr.retain_log)) + " is less than one segment of the log "
                                                                      "(storage.segment_size = " +
                                   in_quotes(format_size(c.storage.segment_size)) + ")");
  if (!f.loaded.config.storage.fsync && f.readable({"storage.fsync"}))
    f.warning("storage.fsync", "is false: a power loss takes acknowledged writes and may damage this node's data; for tests alone");
}

bool whole_number(const std::string& s) {
  return !s.empty() && s.size() < 19 && s.find_first_not_of("0123456789") == std::string::npos;
}

void check_compaction(Findings& f) {
  const auto& compaction = f.loaded.config.compaction;
  if (!f.readable({"compaction.mode", "compaction.retention"})) return;
  if (compaction.mode == "revision") {
    if (!whole_number(compaction.retention) || compaction.retention == "0")
      f.problem("compaction.retention", in_quotes(compaction.retention) + " does not fit compaction.mode = \"revision\"; "
                                                                       "expected a number of revisions, such as \"10000\"");
  } else if (const auto duration = parse_duration(compaction.retention); !duration.ok() || *duration == 0ns) {
    f.problem("compaction.retention", in_quotes(compaction.retention) + " does not fit compaction.mode = " +
                                          in_quotes(compaction.mode) + "; expected a duration, such as \"1h\"");
  }
}

void check_listener_tls(Findings& f, const std::string& use, Tls& tls, const std::string& listen) {
  const std::string prefix = "tls." + use + ".";
  if (tls.cert.empty() != tls.key.empty())
    f.problem(prefix + (tls.cert.empty() ? "cert" : "key"),
              "is not set, but " + prefix + (tls.cert.empty() ? "key" : "cert") + " is; a certificate and its key come together");
  const bool asked = f.given(prefix + "client_auth");
  if (!tls.on()) {
    if (asked && tls.client_auth != "none")
      f.problem(prefix + "client_auth", in_quotes(tls.client_auth) + " needs TLS: set " + prefix + "cert, key and ca");
    if (!tls.ca.empty() && tls.key.empty())
      f.problem(prefix + "ca", "is set without " + prefix + "cert and key; the listener would be plain");
    const auto address = parse_address(listen);
    if (address.ok() && !address->loopback())
      f.warning("listen." + use, in_quotes(listen) + " is reachable from outside and plain: set tls." + use + ".cert, key and ca");
    tls.client_auth = "none";
    return;
  }
  if (!tls.ca.empty()) return;
  if (use == "peer")
    f.problem(prefix + "ca", "is not set; members check each other's certificates against it");
  else if (tls.client_auth == "require" || (asked && tls.client_auth == "optional"))
    f.problem(prefix + "ca", "is not set; client_auth = " + in_quotes(tls.client_auth) + " checks client certificates against it");
  else
    tls.client_auth = "none";
}

void check_security(Findings& f) {
  Config& c = f.loaded.config;
  check_listener_tls(f, "client", c.tls.client, c.listen.client);
  check_listener_tls(f, "peer", c.tls.peer, c.listen.peer);
  check_listener_tls(f, "admin", c.tls.admin, c.listen.admin);
  check_listener_tls(f, "metrics", c.tls.metrics, c.listen.metrics);
  if (c.admin.insecure) {
    const auto client = parse_address(c.listen.client), admin = parse_address(c.listen.admin);
    if ((client.ok() && !client->loopback()) || (admin.ok() && !admin->loopback()))
      f.warning("admin.insecure", "is true on listeners beyond loopback: anyone who reaches them may operate the cluster");
  }
  if (c.auth.token == "jwt" && f.readable({"auth.token"}) && c.auth.jwt.public_key.empty())
    f.problem("auth.jwt.public_key", "is not set; auth.token = \"jwt\" checks tokens with it");
  if (c.limits.burst > 0 && c.limits.rate == 0 && f.readable({"limits.rate", "limits.burst"}))
    f.problem("limits.burst", "is set, but limits.rate is 0 (no limit)");
}

// Traces must never keep a node from starting: what cannot be used is a warning.
void check_telemetry(Findings& f) {
  Config::Telemetry& t = f.loaded.config.telemetry;
  if (t.batch_spans > t.queue_spans) {
    f.warning("telemetry.batch_spans", "is larger than telemetry.queue_spans; batches are of that size");
    t.batch_spans = t.queue_spans;
  }
  if (t.otlp_cert.empty() != t.otlp_key.empty()) {
    f.warning("telemetry.otlp_cert", "and telemetry.otlp_key come together; no certificate is shown to the collector");
    t.otlp_cert.clear();
    t.otlp_key.clear();
  }
  const auto pairs = [&](const char* key, std::string& text) {
    if (key_values(text)) return;
    f.warning(key, "is not a list \"name=value,name=value\"; ignored");
    text.clear();
  };
  pairs("telemetry.otlp_headers", t.otlp_headers);
  pairs("telemetry.resource_attributes", t.resource_attributes);
}

// Whoever sets a policy must hear that nothing keeps it.
void check_unbuilt(Findings& f) {
  static const Config kDefaults;
  const Config& c = f.loaded.config;
  const std::pair<const char*, bool> unbuilt[] = {
      {"storage.scrub_rate", c.storage.scrub_rate != kDefaults.storage.scrub_rate},
      {"auth.token", c.auth.token != kDefaults.auth.token},
  };
  for (const auto& [key, differs] : unbuilt)
    if (differs && f.readable({key})) f.warning(key, "this version reads this key and does not act on it yet");
}

}  // namespace

bool Findings::readable(std::initializer_list<const char*> names) const {
  for (const char* name : names)
    if (unreadable.contains(name)) return false;
  return true;
}

void Findings::problem(const std::string& key, const std::string& text) {
  loaded.problems.push_back(line(*this, key, text));
}

void Findings::warning(const std::string& key, const std::string& text) {
  loaded.warnings.push_back(line(*this, key, text));
}

void validate(Findings& f) {
  fill_member_defaults(f.loaded.config);
  check_counts(f);
  check_duplicates(f);
  check_regions(f);
  check_self(f);
  check_addresses(f);
  check_raft(f);
  check_storage(f);
  check_compaction(f);
  check_security(f);
  check_telemetry(f);
  check_unbuilt(f);
}

const Member* Config::self() const {
  const auto find = [this](const std::vector<Member>& members) -> const Member* {
    for (const Member& member : members)
      if (member.id.value() == node.id) return &member;
    return nullptr;
  };
  if (const Member* found = find(cluster.members)) return found;
  if (const Member* found = find(standby.members)) return found;
  for (const ObserverGroup& group : standby.observers)
    if (const Member* found = find(group.members)) return found;
  return nullptr;
}

Place Config::place() const {
  for (const auto& [place, member] : everyone())
    if (member.id.value() == node.id) return place;
  return Place::kActive;
}

std::vector<std::pair<Place, Member>> Config::everyone() const {
  std::vector<std::pair<Place, Member>> out;
  for (const Member& member : cluster.members) out.emplace_back(Place::kActive, member);
  for (const Member& member : standby.members) out.emplace_back(Place::kStandby, member);
  for (const ObserverGroup& group : standby.observers)
    for (const Member& member : group.members) out.emplace_back(Place::kObserver, member);
  return out;
}

std::string client_url(const Config& config, const Member& member) {
  if (member.client.empty() || member.client.find("://") != std::string::npos) return member.client;
  return (config.tls.client.on() ? "https://" : "http://") + member.client;
}

Config dev_config() {
  Config config;
  config.node.id = 1;
  config.node.data_dir = "./leeward-data";
  config.cluster.name = "dev";
  config.cluster.members = {{.id = NodeId(1), .name = "dev", .peer = "127.0.0.1:2380", .client = "127.0.0.1:2379"}};
  config.admin.insecure = true;
  config.log.format = "pretty";
  return config;
}

}  // namespace leeward::config
