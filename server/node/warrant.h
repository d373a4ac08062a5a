// In lease mode an acknowledgement needs, at the moment of answering and beside
// its own confirmation, a stamp: an instant of this leader's clock that the
// armed region's leader has returned, of the leader's own term and the present
// arming, younger than the lease (standby/PROTOCOL.md, "Fencing").
//
// Where none is required an answer passes at once. A leader without a valid one
// holds its answers until one comes; a follower asks its leader, one question
// for all that waits.
//
// Core loop. What waits here was admitted as a request, and gives up as one.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "node/context.h"
#include "region/entries.h"

namespace leeward::node {

class Warrant {
 public:
  using Answer = Function<void(bool may)>;  // false: none was to be had in time
  // A follower's question to its leader, answered with success when it may.
  using Ask = Function<void(Function<void(Result<std::int64_t>)>)>;

  Warrant(Context& context, Ask ask) : context_(context), ask_(std::move(ask)) {}
  ~Warrant() { *alive_ = false; }

  struct Lease {
    region::ArmingId arming = 0;
    Duration length{};
    bool operator==(const Lease&) const = default;
  };
  // As the log says now; nullopt: none is required.
  void require(std::optional<Lease> lease) { lease_ = lease; }
  const std::optional<Lease>& required() const { return lease_; }
  // Leader: what was sent at `sent` came back.
  void returned(Term term, Instant sent, region::ArmingId arming);
  // Leader: up to when it may answer by the newest stamp; nullopt: it has none.
  std::optional<Instant> valid_until() const;
  bool valid() const;
  // Leader: it has had none for so long that writes are better refused at once.
  bool starved() const { return lease_ && invalid_since_ && context_.now() - *invalid_since_ > kPatience; }

  void pass(Answer answer);
  // Each turn: lets go what may, asks, gives up.
  void drive();
  // This group acknowledges no more: what waits is told no. What comes behind it needs none.
  void end();

 private:
  static constexpr Duration kPatience = 500ms;
  struct Waiting {
    Instant gives_up;
    Answer answer;
  };
  struct Stamp {
    Term term;
    Instant sent;
    region::ArmingId arming = 0;
  };
  void let_go(std::deque<Waiting> answers, bool may);
  void ask();

  Context& context_;
  Ask ask_;
  std::optional<Lease> lease_;
  std::optional<Stamp> stamp_;
  std::optional<Instant> invalid_since_;
  std::deque<Waiting> waiting_;
  std::deque<Waiting> asked_;  // a question for these is under way
  bool asking_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace leeward::node
