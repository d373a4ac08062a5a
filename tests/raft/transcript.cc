#include "transcript.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

namespace leeward::raft::test {
namespace {

NodeId node(const std::string& text) { return NodeId(std::stoull(text)); }

Duration duration(const std::string& text) {
  std::size_t digits = 0;
  const auto count = std::stoll(text, &digits);
  return text.substr(digits) == "s" ? Duration(1s) * count : Duration(1ms) * count;
}

std::set<NodeId> nodes(const std::string& text) {
  std::set<NodeId> ids;
  std::istringstream in(text);
  for (std::string id; std::getline(in, id, ',');) ids.insert(node(id));
  return ids;
}

// "key=value" among the words.
std::optional<std::string> value(const std::vector<std::string>& words, const std::string& key) {
  for (const std::string& word : words) {
    if (word.starts_with(key + "=")) return word.substr(key.size() + 1);
  }
  return {};
}

bool has(const std::vector<std::string>& words, const std::string& word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

std::string str(NodeId id) { return std::to_string(id.value()); }
std::string str(Index index) { return std::to_string(index.value()); }
std::string str(Term term) { return std::to_string(term.value()); }

std::string str(const std::set<NodeId>& ids) {
  std::string text;
  for (NodeId id : ids) text += (text.empty() ? "" : ",") + str(id);
  return text;
}

std::string str(const Membership& m) {
  std::string text = "voters=" + str(m.voters);
  if (!m.outgoing.empty()) text += " outgoing=" + str(m.outgoing);
  if (!m.learners.empty()) text += " learners=" + str(m.learners);
  if (!m.learners_next.empty()) text += " next-learners=" + str(m.learners_next);
  return text;
}

std::string str(const Entry& e) {
  const std::string head = str(e.index) + "/" + str(e.term) + ":";
  if (e.kind == EntryKind::kNoop) return head + "noop";
  if (e.kind == EntryKind::kMembership) return head + "{" + str(*decode_membership(e.payload.view())) + "}";
  if (e.payload.size() > 20) return head + std::to_string(e.payload.size()) + "-bytes";
  return head + std::string(e.payload.view());
}

const char* type_name(MessageType type) {
  switch (type) {
    case MessageType::kPreVote: return "PreVote";
    case MessageType::kPreVoteReply: return "PreVoteReply";
    case MessageType::kVote: return "Vote";
    case MessageType::kVoteReply: return "VoteReply";
    case MessageType::kAppend: return "Append";
    case MessageType::kAppendReply: return "AppendReply";
    case MessageType::kHeartbeat: return "Heartbeat";
    case MessageType::kHeartbeatReply: return "HeartbeatReply";
    case MessageType::kSnapshotOffer: return "SnapshotOffer";
    case MessageType::kSnapshotReply: return "SnapshotReply";
    case MessageType::kTimeoutNow: return "TimeoutNow";
    case MessageType::kReadIndex: return "ReadIndex";
    case MessageType::kReadIndexReply: return "ReadIndexReply";
  }
  return "?";
}


}  // namespace

Transcript::Transcript()
    : cluster_({.sent =
                    [this](const Message& m) {
                      if (!quiet_) say(str(m.from) + " -> " + str(m.to) + " " + describe(m));
                    },
                .appended = {},
                .applied = [this](NodeId id, const Entry& e) { say(str(id) + " applies " + str(e)); },
                .read =
                    [this](NodeId id, const ReadState& r) {
                      say(str(id) + " read " + reads_[r.context] + (r.ok ? " at " + str(r.index) : " refused"));
                    },
                .role_changed =
                    [this](NodeId id) {
                      const Status s = cluster_.core(id).status();
                      std::string line = str(id) + " is " + name(s.role) + " term=" + str(s.term);
                      if (s.leader && s.leader != id) line += " of " + str(s.leader);
                      say(line);
                    },
                .snapshot_needed =
                    [this](NodeId id, const Ready::SnapshotNeed& need) {
                      say(str(id) + " has to send " + str(need.to) + " a snapshot at " + str(need.beyond) + " or later");
                    }}) {}

std::string Transcript::run(const std::string& command) {
  std::istringstream in(command);
  std::string verb;
  in >> verb;
  Words words;
  for (std::string word; in >> word;) words.push_back(word);
  if (!set_up(verb, words) && !disturb(verb, words) && !ask(verb, words) && !look(verb, words)) {
    say("unknown command: " + command);
  }
  drain();
  return text();
}

bool Transcript::set_up(const std::string& verb, const Words& w) {
  if (verb == "group") {
    group(w);
  } else if (verb == "quiet") {
    quiet_ = true;
  } else if (verb == "loud") {
    quiet_ = false;
  } else if (verb == "elect") {  // the usual way to a leader, without its story
    quiet_ = true;
    cluster_.core(node(w[0])).campaign(cluster_.clock(node(w[0])));
    deliver({});
    quiet_ = false;
    lines_.clear();
    print_status(node(w[0]));
  } else if (verb == "win") {  // ID with ID,ID: by their votes alone, nothing else is delivered
    cluster_.core(node(w[0])).campaign(cluster_.clock(node(w[0])));
    for (int round = 0; round < 2; ++round) {
      for (NodeId voter : nodes(w[2])) deliver({w[0], str(voter)});
      for (NodeId voter : nodes(w[2])) deliver({str(voter), w[0]});
    }
  } else {
    return false;
  }
  return true;
}

void Transcript::group(const Words& w) {
  Membership m;
  m.voters = nodes(value(w, "voters").value_or(""));
  m.learners = nodes(value(w, "learners").value_or(""));
  auto add = [&](NodeId id, const Membership& membership) {
    Options o;
    o.id = id;
    o.seed = id.value();
    o.vote_wait = has(w, "vote-wait");
    o.lease_reads = !has(w, "no-lease");
    o.max_append_bytes = std::stoull(value(w, "append").value_or("1000000"));
    o.max_inflight_bytes = std::stoull(value(w, "inflight").value_or("8000000"));
    o.max_uncommitted_bytes = std::stoull(value(w, "uncommitted").value_or("64000000"));
    cluster_.add(o, membership);
  };
  for (NodeId id : m.voters) add(id, m);
  for (NodeId id : m.learners) add(id, m);
  for (NodeId id : nodes(value(w, "spare").value_or(""))) add(id, {});
}

bool Transcript::disturb(const std::string& verb, const Words& w) {
  if (verb == "deliver") {
    deliver(w);
  } else if (verb == "drop") {
    auto& network = cluster_.network();
    const auto ids = w.empty() ? std::pair(NodeId(), NodeId()) : std::pair(node(w[0]), node(w[1]));
    std::erase_if(network, [&](const Message& m) { return w.empty() || std::pair(m.from, m.to) == ids; });
  } else if (verb == "late") {  // a b: the oldest message from a to b comes after all others
    auto& network = cluster_.network();
    const auto oldest = std::find_if(network.begin(), network.end(), [&](const Message& m) {
      return m.from == node(w[0]) && m.to == node(w[1]);
    });
    if (oldest != network.end()) std::rotate(oldest, oldest + 1, network.end());
  } else if (verb == "twice") {  // a b: the oldest message from a to b comes again after all others
    auto& network = cluster_.network();
    const auto oldest = std::find_if(network.begin(), network.end(), [&](const Message& m) {
      return m.from == node(w[0]) && m.to == node(w[1]);
    });
    if (oldest != network.end()) network.push_back(Message(*oldest));
  } else if (verb == "cut") {  // a b: both ways; a: from everybody
    for (NodeId other : w.size() > 1 ? std::vector<NodeId>{node(w[1])} : cluster_.ids()) {
      cut_.insert({node(w[0]), other});
      cut_.insert({other, node(w[0])});
    }
  } else if (verb == "heal") {
    cut_.clear();
  } else if (verb == "wait") {
    cluster_.advance(duration(w[0]));
    tick_due(running());
  } else if (verb == "pass") {  // time without a tick
    cluster_.advance(duration(w[0]));
  } else if (verb == "tick") {
    cluster_.core(node(w[0])).tick(cluster_.clock(node(w[0])));
  } else if (verb == "run") {
    run_for(duration(w[0]));
  } else if (verb == "crash") {
    cluster_.crash(node(w[0]));
  } else if (verb == "start") {
    cluster_.start(node(w[0]), !has(w, "at-once"));
  } else if (verb == "wipe") {  // a crash, and the disk is gone
    cluster_.crash(node(w[0]));
    Member& m = cluster_.at(node(w[0]));
    m.log.reset({});
    m.hard_state = {};
    m.applied = {{}, m.first_membership};
  } else if (verb == "suspend" || verb == "resume") {
    cluster_.at(node(w[0])).suspended = verb == "suspend";
  } else if (verb == "hold-disk" || verb == "free-disk") {
    cluster_.at(node(w[0])).disk_held = verb == "hold-disk";
  } else if (verb == "sync") {
    cluster_.sync_one(node(w[0]));
  } else if (verb == "forget") {  // the log up to an index
    cluster_.at(node(w[0])).log.release(Index(std::stoull(w[1])));
  } else if (verb == "rot") {  // an entry changes on the disk
    Entry& e = cluster_.at(node(w[0])).log.at(Index(std::stoull(w[1])));
    e.position.hash.bytes[0] ^= 0xff;
  } else if (verb == "drift") {  // its clock runs at so many percent
    cluster_.at(node(w[0])).clock_rate = std::stod(w[1]) / 100;
  } else if (verb == "send") {
    inject(w);
  } else {
    return false;
  }
  return true;
}

bool Transcript::ask(const std::string& verb, const Words& w) {
  if (w.empty()) return false;
  const NodeId id = node(w[0]);
  if (!cluster_.up(id)) return false;
  Core& core = cluster_.core(id);
  const Instant now = cluster_.clock(id);
  auto report = [&](const Result<void>& r) {
    if (!r.ok()) say(str(id) + " refuses: " + name(r.error().code) + ": " + r.error().message);
  };
  if (verb == "campaign") {
    core.campaign(now);
  } else if (verb == "propose") {
    propose(w);
  } else if (verb == "change") {
    change(w);
  } else if (verb == "read") {
    const std::uint64_t context = reads_.size() + 1;
    reads_[context] = w[1];
    core.read_index(now, context);
  } else if (verb == "confirm") {  // likewise, and a lease does not do
    const std::uint64_t context = reads_.size() + 1;
    reads_[context] = w[1];
    core.read_index(now, context, false);
  } else if (verb == "lease-read") {
    const auto index = core.lease_read(now);
    say(str(id) + (index ? " reads under its lease at " + str(*index) : " has no lease"));
  } else if (verb == "transfer") {
    report(core.transfer_leadership(now, w.size() > 1 ? node(w[1]) : NodeId()));
  } else if (verb == "step-down") {
    core.step_down(now);
  } else if (verb == "unreachable") {
    core.unreachable(node(w[1]));
  } else if (verb == "install") {  // ID from ID
    const Snapshot& snapshot = cluster_.at(node(w[2])).applied;
    const bool done = cluster_.install(id, snapshot);
    say(str(id) + (done ? " installs a snapshot at " : " wants no snapshot at ") + str(snapshot.point.index));
  } else if (verb == "snapshot-sent") {  // ID to ID index, or failed
    const bool failed = w[3] == "failed";
    core.snapshot_sent(now, node(w[2]), !failed, failed ? Index() : Index(std::stoull(w[3])));
  } else if (verb == "may-vote") {
    core.set_may_vote(w[1] == "yes");
  } else if (verb == "serving") {
    core.set_serving(w[1] == "yes");
  } else {
    return false;
  }
  return true;
}

void Transcript::propose(const Words& w) {
  const NodeId id = node(w[0]);
  std::vector<Proposal> batch;
  for (std::size_t i = 1; i < w.size(); ++i) {
    Proposal p;
    p.epoch = Epoch(1);
    p.writes = 1;
    p.payload = Bytes(w[i] == "large" ? std::string(1000, 'x') : w[i]);
    if (w[i] == "wrong-position") p.expected = Position{HistoryIndex(99)};
    batch.push_back(std::move(p));
  }
  auto first = cluster_.core(id).propose(cluster_.clock(id), batch);
  if (!first) say(str(id) + " refuses: " + name(first.error().code) + ": " + first.error().message);
}

void Transcript::change(const Words& w) {
  const NodeId id = node(w[0]);
  Membership m;
  m.voters = nodes(value(w, "voters").value_or(""));
  m.outgoing = nodes(value(w, "outgoing").value_or(""));
  m.learners = nodes(value(w, "learners").value_or(""));
  m.learners_next = nodes(value(w, "next-learners").value_or(""));
  Proposal p;
  p.kind = EntryKind::kMembership;
  p.payload = Bytes(encode(m));
  auto first = cluster_.core(id).propose(cluster_.clock(id), {&p, 1});
  if (!first) say(str(id) + " refuses: " + name(first.error().code) + ": " + first.error().message);
}

// send TYPE from=.. to=.. term=.. index=.. log-term=.. [transfer] [entry=index/term:text ...]
void Transcript::inject(const Words& w) {
  Message m;
  for (int type = 1; type <= 13; ++type) {
    if (type_name(static_cast<MessageType>(type)) == w[0]) m.type = static_cast<MessageType>(type);
  }
  auto number = [&](const char* key) { return std::stoull(value(w, key).value_or("0")); };
  m.from = NodeId(number("from"));
  m.to = NodeId(number("to"));
  m.term = Term(number("term"));
  m.index = Index(number("index"));
  m.log_term = Term(number("log-term"));
  m.commit = Index(number("commit"));
  m.context = number("context");
  m.transfer = has(w, "transfer");
  m.reject = has(w, "rejected");
  cluster_.deliver(std::move(m));
}

bool Transcript::look(const std::string& verb, const Words& w) {
  const auto ids = w.empty() ? cluster_.ids() : std::vector<NodeId>{node(w[0])};
  for (NodeId id : ids) {
    if (!cluster_.up(id)) {
      say(str(id) + " is down");
    } else if (verb == "status") {
      print_status(id);
    } else if (verb == "log") {
      print_log(id);
    } else if (verb == "peers") {
      print_peers(id);
    } else {
      return false;
    }
  }
  return verb == "status" || verb == "log" || verb == "peers";
}

void Transcript::print_status(NodeId id) {
  const Status s = cluster_.core(id).status();
  std::string line = str(id) + ": " + name(s.role) + " term=" + str(s.term) + " leader=" + str(s.leader) +
                     " vote=" + str(s.vote) + " last=" + str(s.last) + " commit=" + str(s.commit) + " " +
                     str(s.membership);
  if (s.leader_ready) line += " ready";
  if (s.heard_serving) line += " heard-serving";
  if (s.transferring_to) line += " transferring-to=" + str(s.transferring_to);
  if (s.fault) line += "\n   fault: " + *s.fault;
  say(line);
}

void Transcript::print_log(NodeId id) {
  const MemoryLog& log = cluster_.at(id).log;
  std::string line = str(id) + ": ";
  line += log.base().index == Index() ? "" : "(" + str(log.base().index) + "/" + str(log.base().term) + ") ";
  if (log.last().index > log.base().index) {
    const auto stored = log.read(log.base().index + 1, log.last().index + 1, SIZE_MAX);
    for (const Entry& e : *stored) line += str(e) + " ";
  }
  line.pop_back();
  say(line);
}

void Transcript::print_peers(NodeId id) {
  for (const auto& p : cluster_.core(id).status().peers) {
    std::string line = str(id) + " knows of " + str(p.id) + ": match=" + str(p.match) + " next=" + str(p.next);
    if (p.snapshot) line += " snapshot";
    if (!p.active) line += " silent";
    if (p.rtt) line += " rtt=" + std::to_string(p.rtt->count() / 1000000) + "ms";
    say(line);
  }
}

std::vector<NodeId> Transcript::running() {
  std::vector<NodeId> ids;
  for (NodeId id : cluster_.ids()) {
    if (cluster_.up(id) && !cluster_.at(id).suspended) ids.push_back(id);
  }
  return ids;
}

bool Transcript::blocked(const Message& m) const { return cut_.contains({m.from, m.to}); }

void Transcript::drain() {
  for (NodeId id : running()) cluster_.drain(id);
}

// deliver: everything, with what it leads to. deliver A B: what A sent to B so
// far. deliver A B n: the n oldest of these.
void Transcript::deliver(const Words& w) {
  drain();
  auto& network = cluster_.network();
  if (w.size() >= 2) {
    std::size_t left = w.size() > 2 ? std::stoull(w[2]) : SIZE_MAX;
    std::deque<Message> rest, chosen;
    for (Message& m : network) {
      const bool take = m.from == node(w[0]) && m.to == node(w[1]) && left > 0;
      if (take) --left;
      (take ? chosen : rest).push_back(std::move(m));
    }
    network = std::move(rest);
    for (Message& m : chosen) {
      if (!blocked(m)) cluster_.deliver(std::move(m));
    }
    return drain();
  }
  for (int i = 0; i < 10000 && !network.empty(); ++i) {
    Message m = std::move(network.front());
    network.pop_front();
    if (blocked(m)) continue;
    cluster_.deliver(std::move(m));
    drain();
  }
}

void Transcript::tick_due(const std::vector<NodeId>& ids) {
  for (NodeId id : ids) {
    const Instant now = cluster_.clock(id);
    if (cluster_.core(id).next_tick() <= now) cluster_.core(id).tick(now);
    cluster_.drain(id);
  }
}

void Transcript::run_for(Duration d) {
  const Instant end = cluster_.now() + d;
  while (cluster_.now() < end) {
    cluster_.advance(10ms);
    tick_due(running());
    deliver({});
  }
}

// Lines that differ only by whom a message goes to are joined.
std::string Transcript::text() {
  std::string all, from, to, rest;
  auto flush = [&] {
    if (!from.empty()) all += from + " -> " + to + " " + rest + "\n";
    from.clear();
  };
  for (const std::string& line : lines_) {
    std::istringstream in(line);
    std::string sender, arrow, receiver, what;
    in >> sender >> arrow >> receiver;
    if (arrow != "->") {
      flush();
      all += line + "\n";
      continue;
    }
    std::getline(in >> std::ws, what);
    if (sender == from && what == rest) {
      to += "," + receiver;
      continue;
    }
    flush();
    from = sender;
    to = receiver;
    rest = what;
  }
  flush();
  lines_.clear();
  return all;
}

std::string Transcript::round(const Message& m) {
  if (m.context == 0) return "";
  const NodeId leader = m.type == MessageType::kHeartbeat ? m.from : m.to;
  const auto [at, fresh] = rounds_.emplace(std::tuple(leader, m.term, m.context), 0);
  if (fresh) at->second = ++round_count_[{leader, m.term}];
  return " round=" + std::to_string(at->second);
}

std::string Transcript::question(const Message& m) {
  const auto at = questions_.emplace(m.context, static_cast<int>(questions_.size()) + 1).first;
  return " question=" + std::to_string(at->second);
}

std::string Transcript::describe(const Message& m) {
  std::string text = std::string(type_name(m.type)) + " term=" + str(m.term);
  switch (m.type) {
    case MessageType::kPreVote:
    case MessageType::kVote:
      return text + " last=" + str(m.index) + "/" + str(m.log_term) + (m.transfer ? " transfer" : "");
    case MessageType::kPreVoteReply:
    case MessageType::kVoteReply:
      return text + (m.reject ? " no" : " yes") + (m.heard_serving ? " heard-serving" : "");
    case MessageType::kAppend:
      text += " after=" + str(m.index) + "/" + str(m.log_term) + " commit=" + str(m.commit);
      for (const Entry& e : m.entries) text += " " + str(e);
      return text;
    case MessageType::kAppendReply:
      if (!m.reject) return text + " holds=" + str(m.index);
      return text + " rejected=" + str(m.index) + " hint=" + str(m.hint) + "/" + str(m.hint_term);
    case MessageType::kHeartbeat: return text + " commit=" + str(m.commit) + round(m);
    case MessageType::kHeartbeatReply: return text + round(m);
    case MessageType::kSnapshotOffer: return text + " beyond=" + str(m.index);
    case MessageType::kSnapshotReply: return text + (m.reject ? " failed" : " holds=" + str(m.index));
    case MessageType::kTimeoutNow: return text;
    case MessageType::kReadIndex: return text + question(m);
    case MessageType::kReadIndexReply: return text + question(m) + (m.reject ? " no" : " at=" + str(m.index));
  }
  return text;
}

}  // namespace leeward::raft::test
