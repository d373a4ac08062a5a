// Sends a group that is fenced or has diverged on its way back when an operator
// says so, and tells when it is there. The steps are the client's (client.h) and node's (node/rewind.h).
//
// Also shows what the group has put aside.
//
// Core loop; WayBack's from any thread. Bounded: a few who wait.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "node/group.h"
#include "ports/way_back.h"
#include "standby/client.h"

namespace leeward::standby {

class Returner final : public WayBack {
 public:
  Returner(node::Group& group, StreamClient& client, std::function<bool()> heard)
      : group_(group), client_(client), heard_(std::move(heard)) {}
  ~Returner() override { *alive_ = false; }

  void rejoin(RejoinRequest request, Executor& reply, Function<void(Result<RejoinRecord>)> done) override;

  void discard(Index ledger, bool accept_data_loss, std::string by, Executor& reply,
               Function<void(Result<std::vector<LedgerSummary>>)> done) override;
  void ledgers(Executor& reply, Function<void(Result<LedgerList>)> done) override;
  void ledger_page(Index ledger, HistoryIndex after, Executor& reply, Function<void(Result<LedgerPiece>)> done) override;

  void tick(Instant now);
  void stopping();

 private:
  using Done = Function<void(Result<RejoinRecord>)>;
  struct Dropping {
    Index ledger;
    Instant until{};
    Function<void(Result<std::vector<LedgerSummary>>)> done;
  };
  struct Waiting {
    RejoinRequest request;
    Done done;
    Instant until{};
    bool begun = false;  // there was no leader yet to begin, or it did not know enough
    Index followed_at;   // when it began: of the newest Follow
  };
  void begin(Waiting asked);
  void begin_rejoin(Waiting asked);
  void begin_discard(Waiting asked);
  // Answers it, or waits on.
  void look_after(Waiting asked, Instant now);
  bool diverged() const { return client_.state() == StreamState::kDiverged || client_.searches(); }
  bool there() const { return follows(group_.role()) && group_.adoption().empty(); }
  Index followed_at() const;
  RejoinRecord record(bool changed) const;
  std::vector<LedgerSummary> summaries() const;
  bool keeps(Index ledger) const;
  void begin_drop(Dropping asked, bool accept_data_loss, std::string by);
  std::string others() const;

  node::Group& group_;
  StreamClient& client_;
  std::function<bool()> heard_;  // whether the primary is
  std::vector<Waiting> waiting_;
  std::vector<Dropping> dropping_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace leeward::standby
