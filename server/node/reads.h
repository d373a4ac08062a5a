// Linearizable reads: what must be applied here before one may be served.
//
// Core loop. A valid leader lease gives the commit index at once; else all
// reads of one turn share a read-index round. A round that is lost is begun
// again while the read has time: asking twice changes nothing.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "node/context.h"

namespace leeward::node {

class Reads {
 public:
  using Done = Function<void(Result<Index>)>;  // on the core loop, with the index that was confirmed

  explicit Reads(Context& context) : context_(context) {}

  // `by_lease` false: only a round begun after this call will do.
  void arrive(std::optional<Instant> deadline, Done done, bool by_lease = true);
  // Leader: confirmed by a round begun after this call, applied or not.
  void confirm(Done done);

  void dispatch();
  void answered(const std::vector<raft::ReadState>& states);
  void applied();
  // For how long the first of those that are confirmed has waited for the state.
  Duration waited(Instant now) const;
  // Rounds lost since the last call begin again; reads out of time end.
  void expire();
  void end_all(const Error& error);
  void end_asked(const Error& error);  // those of arrive(): confirm() says nothing of what is served

 private:
  struct Waiter {
    std::optional<Instant> deadline;
    Instant gives_up{};
    Done done;
    bool by_lease = true;
    bool need_applied = true;
    Instant confirmed{};  // since then it waits for the state
  };
  void ask(std::vector<Waiter> waiters, bool by_lease);
  void confirmed(Index index, Waiter waiter);
  void end(const Error& error, bool asked_only);
  void drop_empty();
  void expire_list(std::vector<Waiter>& list, Instant now, const Error& late);

  Context& context_;
  std::uint64_t next_context_ = 0;
  std::vector<Waiter> arrived_;
  std::vector<Waiter> lost_;                             // begin again at the next expire()
  std::map<std::uint64_t, std::vector<Waiter>> rounds_;  // by context
  std::map<Index, std::vector<Waiter>> by_index_;        // wait for apply; none is empty
};

}  // namespace leeward::node
