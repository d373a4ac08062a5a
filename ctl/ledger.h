// What a region has put aside, read over the gateway: which ledgers there are,
// and the transactions of one in order, from whichever member has it.
#pragma once

#include <boost/json/object.hpp>

#include <optional>
#include <string>
#include <vector>

#include "ctl/server.h"

namespace leeward::ctl {

struct KeptLedger {
  boost::json::object described;  // the server's words
  std::string region, lineage, group;
  std::uint64_t id = 0;           // of this group
  std::uint64_t from_index = 0;   // of the history: where it parts
  std::vector<Endpoint> members;  // of its group; those that said that they have it first
};

// Which of them a command is about.
struct LedgerChoice {
  std::string region;    // empty: all
  std::uint64_t id = 0;  // 0: all, oldest first
};
struct KeptLedgers {
  std::vector<KeptLedger> all;
  std::vector<std::string> silent;  // regions of which no member could be asked
};
// Errors: kNotFound when a named one is not there; kUnavailable: nobody could be asked.
Result<KeptLedgers> kept_ledgers(const Server& server, const LedgerChoice& choice);

// Goes on at another member of the group where one fails: all hold the same.
class LedgerTransactions {
 public:
  LedgerTransactions(const Server& server, const KeptLedger& ledger) : server_(server), ledger_(ledger) {}
  // nullopt: that was all of it.
  Result<std::optional<boost::json::object>> next();

 private:
  Result<void> turn();

  const Server& server_;
  const KeptLedger& ledger_;
  std::size_t member_ = 0;
  std::vector<boost::json::object> page_;
  std::size_t taken_ = 0;
  std::string after_ = "0";
  bool end_ = false;
};

}  // namespace leeward::ctl
