#include "standby/followers.h"

#include <algorithm>
#include <limits>

namespace leeward::standby {
namespace {

constexpr Duration kAnnounceChanged = 20ms;
constexpr Duration kAnnounceAlways = 1s;
constexpr Duration kRetainInterval = 1s;
constexpr Duration kConnected = 3s;
constexpr std::size_t kTrail = 4096;

std::string holder(const std::string& region) { return "standby/" + region; }

}  // namespace

void Followers::acknowledged(const std::string& region, GroupId follower, const Position& committed) {
  auto& f = followers_[region];
  f.group = follower;
  f.committed = committed;
  f.heard = group_.clock().now();
  f.local = true;
  announce(*f.heard, region, f);
}

void Followers::told(const Progress& progress) {
  const auto it = followers_.find(progress.region);
  if (it == followers_.end()) return;  // not in the topology, or not surveyed yet
  auto& f = it->second;
  const auto heard = group_.clock().now() - std::chrono::milliseconds(std::min<std::uint64_t>(progress.age_ms, 60'000));
  if (f.heard && *f.heard > heard) return;
  f.group = progress.group;
  f.committed = progress.committed;
  f.heard = heard;
  f.local = false;
}

void Followers::tick(Instant now, const Regions& regions) {
  for (const auto& region : regions.following) followers_.try_emplace(region);
  sample(now, Duration{});
  const bool retain_now = now >= next_retain_;
  if (retain_now) next_retain_ = now + kRetainInterval;
  for (auto& [region, follower] : followers_) {
    if (follower.local) announce(now, region, follower);
    if (retain_now || !follower.retained) retain(region, follower);
  }
}

void Followers::sample(Instant now, Duration since_last) {
  const auto committed = group_.committed().position;
  if (!trail_.empty() && committed.index < trail_.back().committed.index) trail_.clear();  // of a history that it went back from
  if (trail_.empty() || committed.index > trail_.back().committed.index) {
    if (!trail_.empty() && now - trail_.back().at < since_last) return;
    trail_.push_back({now, committed});
  } else {
    trail_.back().at = now;  // still all that is committed
  }
  if (trail_.size() > kTrail) thin();
}

// Every other one of the older half goes: a lag that old is known less finely,
// and never taken for smaller than it is.
void Followers::thin() {
  std::deque<Sample> kept;
  for (std::size_t i = 0; i < trail_.size(); ++i)
    if (i >= kTrail / 2 || i % 2 == 0) kept.push_back(trail_[i]);
  trail_ = std::move(kept);
}

void Followers::announce(Instant now, const std::string& region, Follower& f) {
  const auto since = f.announced_at ? now - *f.announced_at : kAnnounceAlways;
  if (since < (f.announced == f.committed ? kAnnounceAlways : kAnnounceChanged)) return;
  if (now - *f.heard > kConnected) return;
  f.announced = f.committed;
  f.announced_at = now;
  const Progress progress{region, f.group, f.committed, static_cast<std::uint64_t>((now - *f.heard) / 1ms)};
  for (const auto member : others(group_)) outbox_.send(member, progress);
}

void Followers::retain(const std::string& region, Follower& f) {
  Index keep = group_.log().base().index;
  if (f.heard) {
    const auto point = point_at(group_, f.committed.index);
    if (point.ok()) keep = point->index;
  }
  if (f.retained == keep) return;
  f.retained = keep;
  group_.retain(holder(region), keep);
}

void Followers::release() {
  for (const auto& [region, follower] : followers_)
    if (follower.retained) group_.retain(holder(region), Index(std::numeric_limits<Index::rep>::max()));
  followers_.clear();
  trail_.clear();
}

GroupId Followers::group_of(const std::string& region) const {
  const auto it = followers_.find(region);
  return it == followers_.end() ? GroupId() : it->second.group;
}

bool Followers::begun_anew(const std::string& region, GroupId group, Instant now) const {
  const auto follows = held(region, now);
  return follows && follows->connected && group_of(region) && group_of(region) != group;
}

std::optional<Followers::Held> Followers::held(const std::string& region, Instant now) const {
  const auto it = followers_.find(region);
  if (it == followers_.end() || !it->second.heard) return std::nullopt;
  return Held{it->second.committed, now - *it->second.heard <= kConnected};
}

std::optional<Duration> Followers::lag(const std::string& region, Instant now) const {
  const auto it = followers_.find(region);
  if (it == followers_.end() || !it->second.heard || trail_.empty()) return std::nullopt;
  // What it lacks was committed after the last sample that it has.
  const auto held = it->second.committed.index;
  const auto above = std::find_if(trail_.begin(), trail_.end(), [&](const Sample& s) { return s.committed.index > held; });
  if (above == trail_.end()) return Duration{};
  if (above == trail_.begin()) return std::nullopt;
  return now - std::prev(above)->at;
}

std::vector<FollowerStatus> Followers::status(Instant now) const {
  std::vector<FollowerStatus> out;
  const auto commit = group_.committed().position;
  auto behind = [](std::uint64_t own, std::uint64_t theirs) { return own > theirs ? own - theirs : 0; };
  for (const auto& [region, f] : followers_) {
    FollowerStatus s;
    s.region = region;
    s.group = f.group;
    s.committed = f.committed;
    s.connected = f.heard && now - *f.heard <= kConnected;
    s.lag_writes = behind(commit.writes, f.committed.writes);
    s.lag_entries = behind(commit.index.value(), f.committed.index.value());
    s.lag_bytes = behind(commit.bytes, f.committed.bytes);
    s.lag = lag(region, now);
    out.push_back(std::move(s));
  }
  return out;
}

}  // namespace leeward::standby
