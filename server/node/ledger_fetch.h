// The files of the group's ledgers that this member lacks, because it came behind
// their Follow by a snapshot or its disk was emptied: taken from another member,
// a page at a time. What arrives is proved by the chain (region/ledger.h).
//
// Core loop; what is written is written on the files loop. One ledger at a time.
#pragma once

#include <memory>
#include <optional>

#include "node/context.h"
#include "node/ledger_pages.h"

namespace leeward::node {

class LedgerFetch {
 public:
  LedgerFetch(Context& context, LedgerPages& pages) : context_(context), pages_(pages) {}

  // Once a second or so, and not while a ledger of this member's own is being made.
  // Looks for what is lacking now and then, and at once when the group keeps another.
  void drive();
  void asked(NodeId from, const LedgerAsk& ask);
  void answered(NodeId from, LedgerPiece piece);

 private:
  // Shared with the files loop, which has it to itself while `writing`.
  struct Work {
    region::Ledger ledger;
    std::optional<region::LedgerWriter> writer;
    HistoryIndex after;  // of what is written
    bool end = false;
    std::size_t tries = 0;
    std::size_t spoilt = 0;  // members whose file did not chain
  };
  void look();
  void begin(const region::Ledger& ledger);
  void ask();
  void give_up();
  void try_another(std::string_view why);
  static Result<void> write(Context& context, const Lineage& lineage, GroupId group, Work& work, const LedgerPiece& piece);

  Context& context_;
  LedgerPages& pages_;
  std::shared_ptr<Work> work_;
  bool looking_ = false, writing_ = false;
  NodeId peer_;  // who was asked last
  Index tried_;  // the ledger that was looked for last: the others have their turn
  Index newest_;  // the group's newest ledger when it was looked last
  Instant asked_at_{};
  std::optional<Instant> looked_at_;
};

}  // namespace leeward::node
