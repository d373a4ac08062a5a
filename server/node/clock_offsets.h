// How far the wall clocks of other nodes are from this one's. For people: nothing
// decides by it.
//
// As NTP's symmetric mode (RFC 5905, 8): each report says when it was sent and,
// for each node it goes to, how much later than sent that node's own reports came
// in, by the two clocks: the delay and the offset in one. Half of what the two
// ways differ by is the offset, wrong by at most half of what both take together.
// Each way counts its quickest report of the last few, for a busy process is late
// and never early; a full link delays all of them, one way alone. So what is told
// is how far the clocks are apart at least. The core's thread.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "base/ids.h"
#include "base/units.h"

namespace leeward::node {

struct ClockReport {
  std::int64_t sent_us = 0;  // wall clock of the sender; 0: of a version that does not say
  struct Way {
    NodeId from;
    std::int64_t late_us = 0;  // how much later than sent, by the two clocks; negative: ours is behind
  };
  std::vector<Way> ways;  // into the sender
};

// 142 years: sums and nanoseconds of what is within it fit 64 bits.
constexpr std::int64_t kMostClockUs = std::int64_t{1} << 52;
constexpr std::size_t kMostClockWays = 64;

class ClockOffsets {
 public:
  explicit ClockOffsets(NodeId self) : self_(self) {}

  void heard(NodeId from, const ClockReport& theirs, WallTime now);
  // What the next report says of this clock, to all.
  ClockReport report(WallTime now) const;
  // At least so far; positive: theirs is ahead. nullopt: not both ways have been
  // heard of.
  std::optional<Duration> of(NodeId node) const;

 private:
  static constexpr std::size_t kSamples = 8;
  struct Peer {
    std::array<std::int64_t, kSamples> in_us{};
    std::size_t heard = 0;
    std::optional<std::int64_t> out_us;
    std::int64_t quickest() const;
  };
  NodeId self_;
  std::map<NodeId, Peer> peers_;
};

}  // namespace leeward::node
