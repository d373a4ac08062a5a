#include "standby/source.h"

#include <algorithm>

namespace leeward::standby {

StreamSource::StreamSource(node::Group& group, Outbox& outbox, Followers& followers,
                           StandbyProbe& probe, SourceOptions options)
    : group_(group), outbox_(outbox), followers_(followers), probe_(probe), options_(options) {}

StreamSource::~StreamSource() {
  if (timer_) group_.loop().cancel(timer_);
}

void StreamSource::refuse(NodeId to, std::uint64_t session, Refusal reason, std::string detail, Position at,
                          std::vector<region::EpochRecord> epochs) {
  probe_.refusals.add();
  group_.logger().info("stream refused", {{"to", to}, {"reason", name(reason)}, {"detail", detail}});
  outbox_.send(to, Refused{session, reason, std::move(detail), at, std::move(epochs)});
}

void StreamSource::hello(NodeId from, GroupId group, const Hello& hello, const Regions& regions) {
  sessions_.erase(from);
  const auto region = regions.region_of.find(from);
  if (group_.role() != GroupRole::kPrimary)
    return refuse(from, hello.session, Refusal::kNotPrimary, "this group is not primary");
  if (region == regions.region_of.end() || region->second != hello.region || hello.region == regions.own)
    return refuse(from, hello.session, Refusal::kStranger, "the topology does not name this node in region " + hello.region);
  if (group_.stands_aside())
    return refuse(from, hello.session, Refusal::kEnded, "this member is paused or isolated by an operator");
  if (hello.epoch > group_.epoch())
    return refuse(from, hello.session, Refusal::kEpoch, "this group is in epoch " + std::to_string(group_.epoch().value()));
  if (forked(from, hello)) return;

  const auto commit = group_.committed();
  if (hello.end.index > commit.position.index)
    return refuse(from, hello.session, Refusal::kNotYet,
                  "committed here up to history index " + std::to_string(commit.position.index.value()), commit.position);
  const auto found = point_at(group_, hello.end.index);
  if (!found.ok()) {
    const auto reason = found.error().code == Code::kCompacted ? Refusal::kBehind : Refusal::kEnded;
    return refuse(from, hello.session, reason, found.error().message, group_.log().base().position);
  }
  if (found->position != hello.end) {
    group_.logger().error("a following group holds other history", {{"region", hello.region}, {"node", from},
                          {"history_index", hello.end.index}, {"hash", found->position.hash.hex()},
                          {"theirs", hello.end.hash.hex()}});
    return refuse(from, hello.session, Refusal::kDiverged,
                  "other history at index " + std::to_string(hello.end.index.value()), found->position);
  }

  const auto now = group_.clock().now();
  Session session;
  session.id = hello.session;
  session.group = group;
  session.region = hello.region;
  session.next = found->index + 1;
  session.at = found->position;
  session.granted = hello.granted;
  session.compress = hello.compression && options_.compression;
  session.last_ack = session.last_sent = now;
  probe_.sessions.add();
  group_.logger().info("streaming", {{"to", from}, {"region", hello.region}, {"after_history_index", hello.end.index}});
  outbox_.send(from, Welcome{hello.session, commit.position});
  followers_.acknowledged(hello.region, group, hello.committed);
  auto& kept = sessions_[from] = std::move(session);
  if (!pump(from, kept)) sessions_.erase(from);
}

// One of an older epoch goes on from where it is, if that is at or below the
// fork: the chain hash there says so.
bool StreamSource::forked(NodeId to, const Hello& hello) {
  const auto* regions = group_.regions();
  if (!regions) return false;
  const auto& epochs = regions->history().epochs;
  if (const auto epoch = region::contested(epochs, hello.epochs)) {
    refuse(to, hello.session, Refusal::kEpoch, "epoch " + std::to_string(epoch->value()) + " is contested");
    return true;
  }
  const auto commit = group_.committed();
  const bool same = hello.epochs == epochs;
  const auto common = same ? std::min(hello.end.index, commit.position.index)
                           : region::common_index(hello.epochs, hello.end.index, epochs, commit.position.index);
  if (!hello.way_back && (same || hello.end.index <= common)) return false;
  Position at;
  at.index = common;
  if (const auto point = point_at(group_, common); point.ok()) at = point->position;
  if (const auto fork = region::fork_at(epochs, common)) at = *fork;
  refuse(to, hello.session, Refusal::kFork, "the common position is " + std::to_string(common.value()), at, epochs);
  return true;
}

void StreamSource::ack(NodeId from, const Ack& ack) {
  const auto it = sessions_.find(from);
  if (it == sessions_.end() || it->second.id != ack.session) {
    // The client would learn it from silence; it need not wait that long.
    outbox_.send(from, Refused{ack.session, Refusal::kEnded, "no such session", {}});
    return;
  }
  auto& session = it->second;
  session.last_ack = group_.clock().now();
  session.granted = std::max(session.granted, ack.granted);
  followers_.acknowledged(session.region, session.group, ack.committed);
  compare(from, session, ack);
  if (!pump(from, session)) sessions_.erase(it);
}

void StreamSource::compare(NodeId from, Session& session, const Ack& ack) {
  const auto found = standby::compare(group_.state(), ack.applied);
  if (found.verdict == HashVerdict::kNotCompared || found.index <= session.compared) return;
  session.compared = found.index;
  if (found.verdict == HashVerdict::kEqual) return probe_.hash_equal.add();
  probe_.hash_different.add();
  group_.logger().error("state hash differs from a following group's",
                        {{"region", session.region}, {"node", from}, {"history_index", found.index}});
}

void StreamSource::bye(NodeId from, const Bye& bye) {
  const auto it = sessions_.find(from);
  if (it != sessions_.end() && it->second.id == bye.session) sessions_.erase(it);
}

void StreamSource::committed() { pump_all(); }

void StreamSource::pump_all() {
  for (auto it = sessions_.begin(); it != sessions_.end();)
    it = pump(it->first, it->second) ? std::next(it) : sessions_.erase(it);
}

bool StreamSource::pump(NodeId to, Session& s) {
  const auto commit = group_.committed().index;
  std::size_t turn = 0;
  while (s.next <= commit && s.sent < s.granted) {
    if (turn >= options_.turn_bytes) return again(Duration{}), true;
    if (outbox_.queued(to) >= options_.max_queued) return again(options_.blocked_retry), true;
    const auto room = static_cast<std::size_t>(std::min<std::uint64_t>(options_.batch_bytes, s.granted - s.sent));
    const auto read = group_.log().read(s.next, commit + 1, room);
    if (!read.ok() || read->empty()) {
      const bool gone = !read.ok() && read.error().code == Code::kCompacted;
      refuse(to, s.id, gone ? Refusal::kBehind : Refusal::kEnded, read.ok() ? "nothing to read" : read.error().message);
      return false;
    }
    Entries frame{s.id, s.at, {}};
    std::uint64_t bytes = 0;
    for (const auto& e : *read) {
      if (!is_history(e.kind)) continue;
      frame.entries.push_back({e.kind, e.epoch, e.writes, e.position, e.payload, traces_of(e.envelope, e.writes)});
      bytes += cost(frame.entries.back());
    }
    if (!frame.entries.empty()) {
      const auto count = frame.entries.size();
      const auto last = frame.entries.back().position;
      // A frame that was not sent is read again: nothing is held here for it.
      if (!outbox_.send(to, std::move(frame), {.compress = s.compress})) return again(options_.blocked_retry), true;
      s.at = last;
      s.sent += bytes;
      s.last_sent = group_.clock().now();
      turn += bytes;
      probe_.entries_sent.add(count);
      probe_.bytes_sent.add(bytes);
    }
    s.next = read->back().index + 1;
  }
  return true;
}

void StreamSource::again(Duration delay) {
  if (timer_) return;
  timer_ = group_.loop().after(delay, [this] {
    timer_ = 0;
    pump_all();
  });
}

void StreamSource::tick(Instant now) {
  if (group_.stands_aside() && !sessions_.empty()) end_all("this member is paused or isolated by an operator");
  for (auto it = sessions_.begin(); it != sessions_.end();) {
    auto& [to, session] = *it;
    if (now - session.last_ack > options_.session_timeout) {
      group_.logger().warn("a stream went silent", {{"to", to}, {"region", session.region}});
      it = sessions_.erase(it);
      continue;
    }
    if (now - session.last_sent >= options_.idle_interval && outbox_.queued(to) < options_.max_queued &&
        outbox_.send(to, Idle{session.id, session.at.index}))
      session.last_sent = now;
    ++it;
  }
  pump_all();
}

void StreamSource::end_all(const char* why) {
  for (const auto& [to, session] : sessions_) outbox_.send(to, Refused{session.id, Refusal::kEnded, why, {}});
  sessions_.clear();
}

}  // namespace leeward::standby
