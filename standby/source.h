// Streams committed history to the leaders of following groups, from any
// member of the primary group. README.md, "The stream".
//
// Core loop. Bounded: a session is a few numbers; entries are read from the log
// when credit and the link's queue allow it, and never waited for. A slow,
// stopped or hostile follower costs this member nothing but its credit.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "node/group.h"
#include "standby/followers.h"
#include "standby/hashes.h"
#include "standby/outbox.h"
#include "standby/regions.h"

namespace leeward::standby {

struct SourceOptions {
  std::size_t batch_bytes = 256_KiB;  // of entries in a frame, about
  std::size_t turn_bytes = 1_MiB;     // a session in one callback; more in the next
  std::size_t max_queued = 2_MiB;     // in the link before reading on
  Duration blocked_retry = 5ms;       // when the link's queue was full
  Duration idle_interval = 100ms;
  Duration session_timeout = 3s;      // without an acknowledgement
  bool compression = true;
};

class StreamSource {
 public:
  StreamSource(node::Group& group, Outbox& outbox, Followers& followers,
               StandbyProbe& probe, SourceOptions options);
  ~StreamSource();
  StreamSource(const StreamSource&) = delete;
  StreamSource& operator=(const StreamSource&) = delete;

  void hello(NodeId from, GroupId group, const Hello& hello, const Regions& regions);
  void ack(NodeId from, const Ack& ack);
  void bye(NodeId from, const Bye& bye);
  void committed();
  void tick(Instant now);
  // All sessions are told why, and dropped.
  void end_all(const char* why = "this group is not primary any more");

  std::size_t sessions() const { return sessions_.size(); }

 private:
  struct Session {
    std::uint64_t id = 0;
    GroupId group;
    std::string region;
    Index next;         // of this group's log
    Position at;        // what was sent last
    std::uint64_t sent = 0, granted = 0;  // sums of cost()
    bool compress = true;
    Instant last_ack{}, last_sent{};
    HistoryIndex compared;
  };

  void refuse(NodeId to, std::uint64_t session, Refusal reason, std::string detail, Position at = {},
              std::vector<region::EpochRecord> epochs = {});
  // Whether the asker has to go back first, and where to; it is told then.
  bool forked(NodeId to, const Hello& hello);
  void pump_all();
  // False: the session ended.
  bool pump(NodeId to, Session& session);
  void compare(NodeId from, Session& session, const Ack& ack);
  void again(Duration delay);

  node::Group& group_;
  Outbox& outbox_;
  Followers& followers_;
  StandbyProbe& probe_;
  SourceOptions options_;
  std::map<NodeId, Session> sessions_;
  Executor::TimerId timer_ = 0;
};

}  // namespace leeward::standby
