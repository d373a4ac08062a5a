// Sends a fenced group on its way back when an operator says so, and tells when
// it is there. The steps are the client's (client.h) and node's (node/rewind.h).
//
// Also shows what the group has put aside.
//
// Core loop; WayBack's from any thread. Bounded: a few who wait.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "node/group.h"
#include "ports/way_back.h"
#include "standby/client.h"

namespace leeward::standby {

class Returner final : public WayBack {
 public:
  Returner(node::Group& group, StreamClient& client) : group_(group), client_(client) {}
  ~Returner() override { *alive_ = false; }

  void rejoin(Executor& reply, Function<void(Result<RejoinRecord>)> done) override;

  void discard(Index ledger, bool accept_data_loss, std::string by, Executor& reply,
               Function<void(Result<std::vector<LedgerSummary>>)> done) override;
  void ledgers(Executor& reply, Function<void(Result<LedgerList>)> done) override;
  void ledger_page(Index ledger, HistoryIndex after, Executor& reply, Function<void(Result<LedgerPiece>)> done) override;

  void tick(Instant now);
  void stopping();

 private:
  using Done = Function<void(Result<RejoinRecord>)>;
  struct Discarding {
    Index ledger;
    Instant until{};
    Function<void(Result<std::vector<LedgerSummary>>)> done;
  };
  void begin(Done done);
  RejoinRecord record(bool changed) const;
  std::vector<LedgerSummary> summaries() const;
  bool keeps(Index ledger) const;
  void begin_discard(Discarding asked, bool accept_data_loss, std::string by);
  std::string others() const;

  node::Group& group_;
  StreamClient& client_;
  struct Waiting {
    Instant until{};
    Done done;
    bool begun = true;  // false: there was no leader yet to begin
  };
  std::vector<Waiting> waiting_;
  std::vector<Discarding> discarding_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace leeward::standby
