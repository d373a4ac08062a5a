#include "node/ledger_fetch.h"

#include <algorithm>

namespace leeward::node {
namespace {

constexpr Duration kLookEach = 10s;
constexpr Duration kPatience = 5s;  // with who was asked

}  // namespace

void LedgerFetch::drive() {
  if (!context_.core || writing_ || looking_) return;
  const auto now = context_.now();
  const auto& kept = context_.group.control.ledgers;
  const auto newest = kept.empty() ? Index() : kept.back().follow;
  if (work_) {
    if (std::find(kept.begin(), kept.end(), work_->ledger) == kept.end())
      work_.reset();  // discarded meanwhile
    else if (now - asked_at_ >= kPatience)
      try_another("no answer");
  } else if (!looked_at_ || newest != newest_ || now - *looked_at_ >= kLookEach) {
    looked_at_ = now;
    newest_ = newest;
    look();
  }
}

// Of those that were looked for: one that came meanwhile is being made here.
void LedgerFetch::look() {
  if (context_.group.control.ledgers.empty()) return;
  looking_ = true;
  pages_.held([this, wanted = context_.group.control.ledgers](const std::vector<Index>& held) {
    looking_ = false;
    const region::Ledger* next = nullptr;
    for (const auto& ledger : wanted) {
      if (std::find(held.begin(), held.end(), ledger.follow) != held.end()) continue;
      if (next == nullptr || (next->follow <= tried_ && ledger.follow > tried_)) next = &ledger;
    }
    if (next != nullptr) begin(*next);
  });
}

void LedgerFetch::begin(const region::Ledger& ledger) {
  work_ = std::make_shared<Work>();
  work_->ledger = ledger;
  work_->after = ledger.kept.index;
  tried_ = ledger.follow;
  try_another({});
}

// In turn by id; when all were asked, it is looked for again later.
void LedgerFetch::try_another(std::string_view why) {
  std::vector<NodeId> peers;
  const auto& m = context_.core->membership();
  for (const auto* ids : {&m.voters, &m.learners})
    for (const auto id : *ids)
      if (id != context_.options.self && context_.ports.link.connected(id)) peers.push_back(id);
  std::sort(peers.begin(), peers.end());
  if (work_->tries++ >= peers.size()) {
    if (!peers.empty())
      context_.ports.log.warn("a ledger's file could not be had of any member; tried again later",
                              {{"ledger", work_->ledger.follow}, {"peer", peer_}, {"reason", why}});
    return give_up();
  }
  const auto next = std::upper_bound(peers.begin(), peers.end(), peer_);
  peer_ = next == peers.end() ? peers.front() : *next;
  ask();
}

// The next look is another ledger's, if there is one, and begins with another peer.
void LedgerFetch::give_up() {
  work_.reset();
  looked_at_ = context_.now();
}

void LedgerFetch::ask() {
  asked_at_ = context_.now();
  context_.send(peer_, Lane::kBulk, FrameType::kLedgerAsk, encode(LedgerAsk{work_->ledger.follow, work_->after}));
}

void LedgerFetch::asked(NodeId from, const LedgerAsk& ask) {
  pages_.read(ask.follow, ask.after, [this, from, ask](Result<LedgerPage> page) {
    LedgerPiece piece{ask.follow, ask.after, !page.ok(), false, {}};
    if (page.ok()) {
      piece.end = page->end;
      piece.entries = std::move(page->entries);
    }
    context_.send(from, Lane::kBulk, FrameType::kLedgerPiece, encode(piece));
  });
}

void LedgerFetch::answered(NodeId from, LedgerPiece piece) {
  if (!work_ || writing_ || piece.follow != work_->ledger.follow || piece.after != work_->after) return;
  if (piece.gone) {
    if (from == peer_) try_another("it has none, or it is damaged there");
    return;
  }
  peer_ = from;
  writing_ = true;
  context_.run_on_files([this, &context = context_, work = work_, piece = std::move(piece), lineage = context_.group.lineage,
                         group = context_.group.control.group]() -> Function<void()> {
    const auto written = write(context, lineage, group, *work, piece);
    return [this, work, written] {
      writing_ = false;
      if (!written.ok() && written.error().code == Code::kCorrupt) {
        work->writer.reset();
        work->after = work->ledger.kept.index;
        work->tries = ++work->spoilt;
        return try_another(written.error().message);
      }
      if (!written.ok()) {
        context_.ports.log.warn("a ledger could not be taken over; tried again later",
                                {{"ledger", work->ledger.follow}, {"peer", peer_}, {"error", written.error().message}});
        return give_up();
      }
      work->tries = 0;
      if (!work->end) return ask();
      context_.ports.log.info("a ledger was taken from another member", {{"ledger", work->ledger.follow}, {"from", peer_}});
      work_.reset();
      looked_at_.reset();
    };
  });
}

// On the files loop.
Result<void> LedgerFetch::write(Context& context, const Lineage& lineage, GroupId group, Work& work, const LedgerPiece& piece) {
  if (piece.entries.empty() && !piece.end) return Error{Code::kCorrupt, "an empty piece of a ledger"};
  if (!work.writer) {
    auto writer = region::LedgerWriter::create(context.ports.disk, context.options.data_dir, lineage, group, work.ledger);
    if (!writer.ok()) return writer.error();
    work.writer = std::move(*writer);
  }
  // Before it is written: the chain is proved at its end only.
  if (std::any_of(piece.entries.begin(), piece.entries.end(), [](const Entry& e) { return !is_history(e.kind); }))
    return Error{Code::kCorrupt, "a piece of a ledger with what is no history"};
  if (const auto& to = work.ledger.to; !piece.entries.empty() && (piece.entries.back().position.index > to.index || piece.entries.back().position.bytes > to.bytes))
    return Error{Code::kCorrupt, "a piece of a ledger beyond its end"};
  LEEWARD_TRY(work.writer->add(piece.entries));
  if (!piece.entries.empty()) work.after = piece.entries.back().position.index;
  if (!piece.end) return {};
  LEEWARD_TRY(work.writer->finish());
  work.writer.reset();
  work.end = true;
  return {};
}

}  // namespace leeward::node
