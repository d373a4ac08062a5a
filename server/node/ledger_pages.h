// A member's ledgers as others read them: a piece at a time, each proved by the
// chain from the ledger's beginning (ledger.h).
//
// Core loop; the files are read on the files loop, in steps of bounded size. One
// piece at a time; who asks meanwhile waits, a few at most.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "node/context.h"
#include "node/group.h"
#include "region/ledger.h"

namespace leeward::node {

class LedgerPages {
 public:
  explicit LedgerPages(Context& context) : context_(context) {}

  void held(Function<void(std::vector<Index>)> done);
  // Files of ledgers that the group keeps no more go. Those of a Follow that is
  // not behind the state yet are left to that.
  void drop_discarded();
  void read(Index follow, HistoryIndex after, Function<void(Result<LedgerPage>)> done);

 private:
  struct Ask {
    Index follow;
    HistoryIndex after;
    Function<void(Result<LedgerPage>)> done;
  };
  // The reader stays open behind the last piece: who reads on need not begin anew.
  struct Work {
    Lineage lineage;
    GroupId group;
    region::Ledger ledger;
    HistoryIndex after;
    std::optional<region::LedgerReader> reader;
    HistoryIndex at;  // read up to here
    LedgerPage page;
    bool whole = false;
  };
  void begin();
  void go_on();
  static Result<void> step(Disk& disk, const Path& data_dir, Work& work);

  Context& context_;
  std::deque<Ask> asks_;  // the first is under way
  std::shared_ptr<Work> work_;
};

}  // namespace leeward::node
