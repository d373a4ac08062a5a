#include "node/ledger_pages.h"

#include <algorithm>
#include <set>

namespace leeward::node {
namespace {

constexpr std::size_t kPageBytes = 512_KiB;  // JSON makes three times as much of it at worst
constexpr std::size_t kPageEntries = 1000;
constexpr std::size_t kStepBytes = 4_MiB;    // of a way to a later place; then other work runs
constexpr std::size_t kMostWaiting = 16;

}  // namespace

void LedgerPages::held(Function<void(std::vector<Index>)> done) {
  std::vector<std::pair<Index, Path>> wanted;
  for (const auto& l : context_.group.control.ledgers) wanted.emplace_back(l.follow, region::ledger_path(context_.options.data_dir, l));
  context_.run_on_files([&disk = context_.ports.disk, wanted = std::move(wanted), done = std::move(done)]() mutable -> Function<void()> {
    std::vector<Index> held;
    for (const auto& [follow, path] : wanted)
      if (disk.exists(path)) held.push_back(follow);
    return [held = std::move(held), done = std::move(done)]() mutable { done(std::move(held)); };
  });
}

void LedgerPages::drop_discarded() {
  std::set<std::string> kept;
  for (const auto& l : context_.group.control.ledgers) {
    kept.insert(region::ledger_name(l.follow));
    kept.insert(region::ledger_name(l.follow) + std::string(region::kUnfinishedLedger));  // on its way from another member
  }
  context_.run_on_files([&disk = context_.ports.disk, dir = region::ledgers_dir(context_.options.data_dir), kept = std::move(kept),
                         next = region::ledger_name(context_.applied() + 1)]() -> Function<void()> {
    const auto names = disk.list(dir);
    if (!names.ok()) return {};  // none was ever written
    for (const auto& name : *names)
      if (name < next && !kept.contains(name)) (void)disk.remove(dir + "/" + name);
    (void)disk.sync_dir(dir);
    return {};
  });
}

void LedgerPages::read(Index follow, HistoryIndex after, Function<void(Result<LedgerPage>)> done) {
  if (asks_.size() >= kMostWaiting) return done(Error{Code::kOverloaded, "too many read ledgers here already"});
  asks_.push_back({follow, after, std::move(done)});
  if (asks_.size() == 1) begin();
}

void LedgerPages::begin() {
  while (!asks_.empty()) {
    const auto& ask = asks_.front();
    const auto& ledgers = context_.group.control.ledgers;
    const auto ledger = std::find_if(ledgers.begin(), ledgers.end(), [&](const auto& l) { return l.follow == ask.follow; });
    if (ledger == ledgers.end()) {
      work_.reset();
      auto done = std::move(asks_.front().done);
      asks_.pop_front();
      done(Error{Code::kNotFound, "this group keeps no ledger " + std::to_string(ask.follow.value())});
      continue;
    }
    if (!work_ || work_->ledger != *ledger || work_->at != ask.after || !work_->reader) {
      work_ = std::make_shared<Work>();
      work_->ledger = *ledger;
      work_->at = ledger->kept.index;
    }
    work_->lineage = context_.group.lineage;
    work_->group = context_.group.control.group;
    work_->after = std::max(ask.after, ledger->kept.index);
    work_->page = {};
    work_->whole = false;
    return go_on();
  }
}

void LedgerPages::go_on() {
  context_.run_on_files([this, &disk = context_.ports.disk, data_dir = context_.options.data_dir, work = work_]() -> Function<void()> {
    auto stepped = step(disk, data_dir, *work);
    return [this, work, stepped] {
      if (stepped.ok() && !work->whole) return go_on();
      auto done = std::move(asks_.front().done);
      asks_.pop_front();
      auto page = std::move(work->page);
      if (!stepped.ok() || page.end) work_.reset();
      if (stepped.ok())
        done(std::move(page));
      else
        done(stepped.error());
      if (!asks_.empty()) begin();
    };
  });
}

Result<void> LedgerPages::step(Disk& disk, const Path& data_dir, Work& work) {
  if (!work.reader) {
    const auto path = region::ledger_path(data_dir, work.ledger);
    auto reader = region::LedgerReader::open(disk, path);
    if (!reader.ok() && reader.error().code == Code::kNotFound)
      return Error{Code::kUnavailable, "leeward: this member has no file of ledger " + std::to_string(work.ledger.follow.value())};
    if (!reader.ok()) return reader.error();
    // The group of survivors has another id than the one that wrote it: the chain
    // decides, and the chain is the lineage's.
    if (reader->head().lineage != work.lineage || reader->head().ledger != work.ledger)
      return Error{Code::kCorrupt, path + " is of another ledger than its name says; another member of the group has the right one"};
    work.reader = std::move(*reader);
  }
  std::size_t read = 0, taken = 0;
  for (;;) {
    auto entry = work.reader->next();
    if (!entry.ok()) return entry.error();
    if (!*entry) {
      work.page.end = work.whole = true;
      return {};
    }
    const auto size = encoded_size(**entry);
    read += size;
    work.at = (*entry)->position.index;
    if (work.at > work.after) {
      taken += size;
      work.page.entries.push_back(std::move(**entry));
    }
    if (taken >= kPageBytes || work.page.entries.size() >= kPageEntries) {
      work.whole = true;
      return {};
    }
    if (taken == 0 && read >= kStepBytes) return {};
  }
}

}  // namespace leeward::node
