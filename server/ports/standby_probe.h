// Figures of the stream between regions; see probe.h for the rules.
#pragma once

#include "ports/probe.h"

namespace leeward {

struct StandbyProbe {
  // Source side.
  Counter sessions, refusals, entries_sent, bytes_sent, wire_bytes_sent;
  // Following side. `chain_refused`: entries that did not chain; `divergences`:
  // the source holds other history at our position.
  Counter entries_received, bytes_received, wire_bytes_received;
  Counter reconnects, resyncs_needed, chain_refused, divergences;
  // State hashes compared with another region's, at either side.
  Counter hash_equal, hash_different;
  Counter pings_sent, pongs_received, pings_answered;
  Counter forwarded, forward_refused, forward_unknown;
  Counter malformed_frames;
  // At the leader of a following group: from a frame's arrival to its proposal,
  // from there to the group's commit, from there to applied.
  Histogram stage_receive, stage_fsync, stage_apply;
};

}  // namespace leeward
