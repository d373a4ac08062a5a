// What a reader on any thread must know to serve a linearizable read by
// itself, published by the core loop as one seqlock.
//
// The writer publishes before it sends a message that tells a follower of a
// new commit, so no follower can answer a client with a write that a reader
// here, seeing applied >= commit, would miss.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/ids.h"
#include "base/units.h"

namespace leeward::node {

struct ReadGate {
  std::int64_t lease_until = 0;  // Instant as a count; 0: no lease
  std::uint64_t commit = 0;
  std::uint64_t applied = 0;
  std::uint64_t term = 0;
};

class PublishedGate {
 public:
  void publish(const ReadGate& gate) {
    const auto sequence = sequence_.load(std::memory_order_relaxed);
    sequence_.store(sequence + 1, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release);
    lease_until_.store(gate.lease_until, std::memory_order_relaxed);
    commit_.store(gate.commit, std::memory_order_relaxed);
    applied_.store(gate.applied, std::memory_order_relaxed);
    term_.store(gate.term, std::memory_order_relaxed);
    sequence_.store(sequence + 2, std::memory_order_release);
  }

  ReadGate read() const {
    for (;;) {
      const auto before = sequence_.load(std::memory_order_acquire);
      ReadGate gate{lease_until_.load(std::memory_order_relaxed), commit_.load(std::memory_order_relaxed),
                    applied_.load(std::memory_order_relaxed), term_.load(std::memory_order_relaxed)};
      std::atomic_thread_fence(std::memory_order_acquire);
      if (before % 2 == 0 && sequence_.load(std::memory_order_relaxed) == before) return gate;
    }
  }

 private:
  std::atomic<std::uint64_t> sequence_{0};
  std::atomic<std::int64_t> lease_until_{0};
  std::atomic<std::uint64_t> commit_{0}, applied_{0}, term_{0};
};

}  // namespace leeward::node
