// Follows the primary: run by the leader of a following group. Finds a source,
// proposes to its own group what the source sends, acknowledges what the group
// has committed. README.md, "The stream". Of a fenced group, or one that is
// ahead of a fork: finds out where its way back begins, and proposes the Follow.
//
// Core loop. Bounded: what waits here to be proposed is at most the window plus
// one frame, since the source sends no more than was granted.
#pragma once

#include <cstdint>
#include <deque>
#include <set>
#include <string>

#include "node/group.h"
#include "standby/hashes.h"
#include "standby/outbox.h"
#include "standby/regions.h"
#include "standby/stream_traces.h"

namespace leeward::standby {

struct ClientOptions {
  std::size_t window = 8_MiB;         // granted beyond what the group has taken
  std::size_t propose_bytes = 1_MiB;  // in one call
  Duration ack_delay = 10ms;          // after a commit
  Duration ack_interval = 100ms;      // at least
  Duration hello_timeout = 2s;
  Duration source_silence = 1s;
  Duration stall = 2s;                // the primary is known to have more, and nothing comes
  Duration backoff_min = 50ms;
  Duration backoff_max = 2s;
  Duration behind_retry = 5s;
  // A source that does not answer may keep more log; it is waited for that often.
  int behind_rounds = 5;
  // A search for the common position ends after that long. A source that does
  // not answer may keep more log; it is waited for that often.
  Duration search_limit = 30s;
  int search_rounds = 3;
  bool compression = true;
  // A group that was primary goes back without being asked to, whatever it holds
  // that the new one lacks.
  bool auto_rejoin = false;
};

enum class StreamState { kOff, kSeeking, kGreeting, kStreaming, kResyncNeeded, kForked, kDiverged };
const char* name(StreamState state);

// A search for where two histories part: the highest position that both hold lies in
// [low, high] or is `best`, else nowhere in what both logs hold.
struct CommonSearch {
  HistoryIndex low, high;
  HistoryIndex asked;             // what the histories hold there is asked of one source after the other
  std::optional<Position> best;   // the highest that is known to be common
  std::vector<region::EpochRecord> epochs;  // of the history that is to be followed
  std::size_t hidden = 0;         // of those asked, whose log begins above it
  int rounds = 0;                 // in which some said so, and nobody could tell
  Instant until{};
  std::string why;                // of the last that did not tell
};

class StreamClient {
 public:
  StreamClient(node::Group& group, Outbox& outbox, StandbyProbe& probe,
               ClientOptions options);
  ~StreamClient();
  StreamClient(const StreamClient&) = delete;
  StreamClient& operator=(const StreamClient&) = delete;

  void welcome(NodeId from, const Welcome& welcome);
  void refused(NodeId from, const Refused& refused);
  void entries(NodeId from, Entries entries, std::size_t wire_bytes);
  void idle(NodeId from, const Idle& idle);

  void committed();
  void applied();
  void tick(Instant now, const Regions& regions);
  void stop();

  // A fenced group goes back, whatever it holds alone: that will be in its ledger.
  void rejoin();
  // An operator's word to a group that has diverged: it looks for the highest
  // position at which both histories are the same, and goes back to there.
  void discard();
  bool searches() const { return search_.has_value(); }
  // Neither streams nor knows yet why it cannot.
  bool undecided() const { return !searches() && (state_ == StreamState::kSeeking || state_ == StreamState::kGreeting); }
  // Why the last search led to no Follow.
  const std::optional<Error>& unfound() const { return unfound_; }
  // Where it would go back to, while it waits for that word.
  const std::optional<Position>& common() const { return common_; }

  // Hints from the answers to pings: whom not to burden, and what exists.
  void primary_leader(NodeId leader) { primary_leader_ = leader; }
  void primary_committed(const Position& committed) { primary_committed_ = committed; }

  StreamState state() const { return state_; }
  NodeId source() const { return source_; }
  // How long this leader has been without a stream; zero while it streams or does not lead.
  Duration without_source(Instant now) const;
  // Empty, or why what this group holds may not be the primary's history.
  const std::string& damage() const { return damage_; }
  // Empty, or why there is no stream although what is held is the primary's history.
  const std::string& hindrance() const { return hindrance_; }
  std::uint64_t waiting_bytes() const { return received_bytes_ - taken_bytes_; }

 private:
  void start(Instant now);
  void take_copy(Instant now, const Regions& regions);
  void seek(Instant now, const Regions& regions);
  NodeId choose(const Regions& regions) const;
  // Ends the session, if any, and comes back later.
  void retry(Duration delay, const char* why);
  void fail_source(Instant now, const char* why);
  void progressed(Instant now);
  void hear_what_arrives(Instant now);
  void diverged(const Position& theirs);
  void forked(const Refused& refused);
  void begin_search();
  void searched(const Refused& refused);
  void narrow();
  void search_round_over(Instant now);
  void found();
  void end_search(Error why);
  Result<std::optional<region::Resigned>> to_resign(HistoryIndex common);
  Result<void> go_back(const region::Follow& follow, const std::optional<region::Resigned>& resigned = std::nullopt);
  // Where what leads to this group's state begins.
  Result<LogPoint> own_begin() const;
  // A fenced group's leader looks for its way back.
  bool goes_back() const;
  Result<LogPoint> own_point(HistoryIndex index) const;
  // Whether the log, uncommitted included, holds other history at that position.
  bool contradicts(const Position& theirs) const;
  void end_session();
  Position held() const;
  bool from_source(NodeId from, std::uint64_t session) const;
  void decline(NodeId from, std::uint64_t session);
  void offer();
  std::size_t offer_some();  // entries taken by the group
  void time_proposed(Index last, HistoryIndex upto);
  void acknowledge(bool with_hashes);
  Duration jittered(Duration d);

  node::Group& group_;
  Outbox& outbox_;
  StandbyProbe& probe_;
  ClientOptions options_;

  StreamState state_ = StreamState::kOff;
  NodeId source_;
  std::uint64_t session_ = 0;
  Instant since_{};         // without a stream
  Instant next_attempt_{};
  Instant heard_{};         // the source's last frame
  Instant progressed_{};    // the last entries, or nothing was missing
  std::size_t arrived_ = 0;  // of a frame that is not whole yet, at the last tick
  Duration backoff_{};
  std::set<NodeId> tried_;  // in this round over the sources
  std::size_t behind_ = 0;  // of them said so
  int behind_rounds_ = 0;   // in a row in which one did
  NodeId primary_leader_;
  Position primary_committed_;
  std::string damage_, hindrance_;
  std::optional<Position> common_;
  bool rejoin_ = false;
  HistoryIndex differs_at_;   // where it is known that the primary holds other history
  std::optional<CommonSearch> search_;
  std::optional<Error> unfound_;
  HistoryIndex resync_from_;  // committed when no source's log reached down
  bool takes_copy_ = false;   // for a member that lacks a state

  // Where batches are on their way, for the stage figures alone.
  struct Arrival {
    HistoryIndex upto;
    Instant at;
  };
  struct Proposed {
    Index last;
    Instant at;
    bool committed = false;
  };
  std::deque<Arrival> arrivals_;
  std::deque<Proposed> proposed_;
  StreamTraces traces_;

  Position received_;       // end of what was received: the log's end and what waits
  std::deque<StreamEntry> waiting_;
  std::uint64_t received_bytes_ = 0, taken_bytes_ = 0, granted_ = 0;  // sums of cost() in the session
  int refused_chains_ = 0;  // in a row

  Instant acked_at_{};
  Instant hashes_told_at_{};
  Position acked_;
  Executor::TimerId ack_timer_ = 0;
};

}  // namespace leeward::standby
