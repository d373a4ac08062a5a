// What a member of the primary group knows of the regions that follow: how far
// each has committed, and so what log must be kept for it, how far it is behind
// and whether it has caught up. Core loop.
//
// A source hears its session's acknowledgements and tells its group; so every
// member keeps the log that the region needs, and can be its next source.
#pragma once

#include <deque>
#include <map>
#include <string>
#include <vector>

#include "node/group.h"
#include "standby/outbox.h"
#include "standby/regions.h"

namespace leeward::standby {

class Followers {
 public:
  Followers(node::Group& group, Outbox& outbox) : group_(group), outbox_(outbox) {}

  // A session of this member acknowledged.
  void acknowledged(const std::string& region, GroupId follower, const Position& committed);
  // A member of this group told what it knows.
  void told(const Progress& progress);
  void tick(Instant now, const Regions& regions);
  // This group has committed more.
  void committed(Instant now) { sample(now, kSampleInterval); }
  // This group is no longer primary: nothing is kept for anybody.
  void release();

  std::vector<FollowerStatus> status(Instant now) const;
  // How long ago at most this member committed what the region lacks; nullopt:
  // unknown, or longer than is remembered.
  std::optional<Duration> lag(const std::string& region, Instant now) const;
  GroupId group_of(const std::string& region) const;
  // That region follows, as another group than `group`: it has begun anew, and nobody answers for that one.
  bool begun_anew(const std::string& region, GroupId group, Instant now) const;
  // What that region has committed, and whether it has acknowledged lately;
  // nullopt: it was never heard.
  struct Held {
    Position committed;
    bool connected = false;
  };
  std::optional<Held> held(const std::string& region, Instant now) const;

 private:
  static constexpr Duration kSampleInterval = 5ms;


  struct Follower {
    GroupId group;
    Position committed;
    std::optional<Instant> heard;    // nullopt: never
    bool local = false;              // heard by a session of this member
    Position announced;
    std::optional<Instant> announced_at;
    std::optional<Index> retained;   // as told to the group
  };
  struct Sample {
    Instant at;
    Position committed;
  };

  void sample(Instant now, Duration since_last);
  void thin();
  void announce(Instant now, const std::string& region, Follower& follower);
  void retain(const std::string& region, Follower& follower);

  node::Group& group_;
  Outbox& outbox_;
  std::map<std::string, Follower> followers_;  // by region
  std::deque<Sample> trail_;                   // this member's commit over time
  Instant next_retain_{};
};

}  // namespace leeward::standby
