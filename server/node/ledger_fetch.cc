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
  if (work_) {
    const auto& kept = context_.group.control.ledgers;
    if (std::find(kept.begin(), kept.end(), work_->ledger) == kept.end())
      work_.reset();  // discarded meanwhile
    else if (now - asked_at_ >= kPatience)
      try_another("no answer");
  } else if (!looked_at_ || now - *looked_at_ >= kLookEach) {
    looked_at_ = now;
    look();
  }
}

void LedgerFetch::look() {
  if (context_.group.control.ledgers.empty()) return;
  looking_ = true;
  pages_.held([this](std::vector<Index> held) {
    looking_ = false;
    for (const auto& ledger : context_.group.control.ledgers)
      if (std::find(held.begin(), held.end(), ledger.follow) == held.end()) return begin(ledger);
  });
}

void LedgerFetch::begin(const region::Ledger& ledger) {
  work_ = std::make_shared<Work>();
  work_->ledger = ledger;
  work_->after = ledger.kept.index;
  try_another(nullptr);
}

// In turn by id, so that none is left out.
void LedgerFetch::try_another(const char* why) {
  if (why != nullptr) context_.ports.log.warn("a ledger is asked of another member", {{"ledger", work_->ledger.follow}, {"peer", peer_}, {"reason", why}});
  const auto& m = context_.core->membership();
  NodeId first, next;
  const auto consider = [&](NodeId id) {
    if (id == context_.options.self || !context_.ports.link.connected(id)) return;
    if (!first || id < first) first = id;
    if (id > peer_ && (!next || id < next)) next = id;
  };
  std::for_each(m.voters.begin(), m.voters.end(), consider);
  std::for_each(m.learners.begin(), m.learners.end(), consider);
  peer_ = next ? next : first;
  ask();
}

void LedgerFetch::ask() {
  asked_at_ = context_.now();
  if (peer_) context_.send(peer_, Lane::kBulk, FrameType::kLedgerAsk, encode(LedgerAsk{work_->ledger.follow, work_->after}));
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
  if (!work_ || writing_ || from != peer_ || piece.follow != work_->ledger.follow || piece.after != work_->after) return;
  if (piece.gone) return try_another("it has none, or it is damaged there");
  writing_ = true;
  context_.run_on_files([this, &context = context_, work = work_, piece = std::move(piece), lineage = context_.group.lineage,
                         group = context_.group.control.group]() -> Function<void()> {
    const auto written = write(context, lineage, group, *work, piece);
    return [this, work, written] {
      writing_ = false;
      if (!written.ok()) {
        work->writer.reset();
        work->after = work->ledger.kept.index;
        if (written.error().code == Code::kCorrupt) return try_another(written.error().message.c_str());
        context_.ports.log.warn("a ledger could not be written; tried again later", {{"ledger", work->ledger.follow}, {"error", written.error().message}});
        return work_.reset();
      }
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
  LEEWARD_TRY(work.writer->add(piece.entries));
  if (!piece.entries.empty()) work.after = piece.entries.back().position.index;
  if (!piece.end) return {};
  LEEWARD_TRY(work.writer->finish());
  work.writer.reset();
  work.end = true;
  return {};
}

}  // namespace leeward::node
