// Slows or refuses client writes at a leader, before they are in its log: for a
// policy that consensus knows nothing of. Core loop.
//
// Of client writes only: what a leader proposes by itself (expired leases, all
// control entries) and what is in no log (reads, keep-alives) is never asked for.
#pragma once

#include <cstddef>
#include <optional>

#include "base/result.h"
#include "base/units.h"

namespace leeward::node {

class WriteGate {
 public:
  virtual ~WriteGate() = default;

  // Why no client write is taken now; nullopt: they are.
  virtual std::optional<Error> refusal() { return std::nullopt; }

  struct Allowance {
    std::size_t bytes = 0;  // of requests, to be proposed now; one write may go beyond it
    Duration again{};       // when that is 0: until something will be allowed
    double rate = 0;        // bytes a second in the long run
  };
  // Nullopt: without limit.
  virtual std::optional<Allowance> allowance(Instant now) = 0;
};

}  // namespace leeward::node
