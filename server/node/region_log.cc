#include "node/region_log.h"

#include <algorithm>

#include "base/entry.h"

namespace leeward::node {
namespace {

constexpr std::size_t kFoldBytes = 1_MiB;  // read at once

}  // namespace

Result<void> RegionLog::load() {
  auto history = region::State::history_of(context_.state->region_entries());
  if (!history.ok()) return history.error();
  const auto point = context_.state->applied().point;
  applied_ = region::State(context_.group.control, std::move(*history), point.position);
  applied_at_ = point.index;
  prefix_term_ = Term();
  return {};
}

Result<void> RegionLog::apply(const Entry& entry) {
  const auto verdict = applied_.judge(region::State::Origin::kReceived, entry.kind, entry.epoch, entry.payload.view());
  if (!verdict.ok())
    return Error{verdict.error().code == Code::kInvalid ? Code::kCorrupt : verdict.error().code,
                 "entry " + std::to_string(entry.index.value()) + " of kind " +
                     std::to_string(static_cast<int>(entry.kind)) + " may not stand in this log: " + verdict.error().message};
  LEEWARD_TRY(applied_.fold(entry));
  applied_at_ = entry.index;
  return {};
}

void RegionLog::begin(const region::State::Control& control) {
  applied_ = region::State(control, applied_.history(), applied_.end());
  prefix_term_ = Term();
}

const region::State* RegionLog::prefix() {
  if (!context_.is_leader()) return nullptr;
  const auto term = context_.core->term();
  if (prefix_term_ != term || prefix_at_ < applied_at_) {
    prefix_ = applied_;
    prefix_at_ = applied_at_;
    prefix_term_ = term;
  }
  for (const auto end = context_.core->last().index; prefix_at_ < end;) {
    const auto entries = context_.core->read(prefix_at_ + 1, end + 1, kFoldBytes);
    if (!entries.ok() || entries->empty()) return nullptr;  // the log's own reader says why
    for (const auto& entry : *entries) {
      // The state behind an Adopt is not known before it is here.
      if (entry.kind == EntryKind::kAdopt || !prefix_.fold(entry).ok()) return nullptr;
      prefix_at_ = entry.index;
    }
  }
  return &prefix_;
}

std::optional<std::vector<region::EpochRecord>> RegionLog::adopts_behind() const {
  if (!context_.is_leader() || !applied_.judge(region::State::Origin::kOwn, EntryKind::kAdopt, Epoch(), {}).ok()) return std::nullopt;
  auto epochs = applied_.history().epochs;
  for (auto at = applied_at_; at < context_.core->last().index;) {
    const auto entries = context_.core->read(at + 1, context_.core->last().index + 1, kFoldBytes);
    if (!entries.ok() || entries->empty()) return std::nullopt;  // the log's own reader says why
    for (const auto& entry : *entries) {
      if (entry.kind == EntryKind::kFollow) return std::nullopt;
      if (entry.kind != EntryKind::kEpochChange) continue;
      const auto change = region::decode_epoch_change(entry.payload.view());
      if (!change.ok() || change->group == applied_.control().group) return std::nullopt;  // it is about to be primary
      epochs.push_back({change->epoch, change->promotion, change->fork});
    }
    at = entries->back().index;
  }
  return epochs;
}

Result<void> RegionLog::judge(std::span<const raft::Proposal> proposals) {
  const auto* before = prefix();
  if (!before) return Error{Code::kUnavailable, text::kNoLeader};
  std::optional<region::State> moving;  // only where more than one is judged
  for (const auto& p : proposals) {
    const auto& state = moving ? *moving : *before;
    LEEWARD_TRY(state.judge(p.expected ? region::State::Origin::kReceived : region::State::Origin::kOwn, p.kind, p.epoch,
                            p.payload.view()));
    if (&p == &proposals.back()) break;
    Entry entry;
    entry.kind = p.kind;
    entry.epoch = p.epoch;
    entry.payload = p.payload;
    entry.position = p.expected          ? *p.expected
                     : is_history(p.kind) ? extend(state.end(), p.epoch, p.kind, p.writes, p.payload.view())
                                          : state.end();
    if (!moving) moving = *before;
    LEEWARD_TRY(moving->fold(entry));
  }
  return {};
}

}  // namespace leeward::node
