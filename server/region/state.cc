#include "region/state.h"

#include <algorithm>

#include "base/position_codec.h"

namespace leeward::region {
namespace {

Error refused(std::string rule) { return {Code::kInvalid, std::move(rule)}; }

constexpr std::uint8_t kControlFormat = 4;  // 1: without Follow, ledgers, survivors and what was contested; 2: all ledgers were complete; 3: without what was left behind

// Forced epochs keep away from the next one, which a group thought dead may
// take by an arming of its own, and from each other by chance.
constexpr std::uint64_t kForcedLeast = 2, kForcedMost = 1024;

template <class T, class Id>
bool names(const std::vector<T>& list, Id T::*member, Id id) {
  return std::any_of(list.begin(), list.end(), [&](const T& item) { return item.*member == id; });
}

}  // namespace

Epoch forced_epoch(Epoch known, std::uint64_t draw) {
  return known + kForcedLeast + draw % (kForcedMost - kForcedLeast + 1);
}

Epoch State::live_epoch() const { return history_.epochs.empty() ? Epoch(1) : history_.epochs.back().epoch; }
Epoch State::group_epoch() const { return std::max(live_epoch(), control_.followed); }
Epoch State::known_epoch() const {
  return control_.fenced ? std::max(group_epoch(), control_.fenced->epoch) : group_epoch();
}

bool State::measured(Epoch epoch) const {
  const auto& told = history_.measured;
  return std::any_of(told.begin(), told.end(), [&](const History::Told& t) { return t.epoch == epoch; });
}

PromotionId State::promotion(Epoch epoch) const {
  for (const EpochRecord& record : history_.epochs)
    if (record.epoch == epoch) return record.promotion;
  return 0;
}

bool State::superseded_by(Epoch epoch, PromotionId by) const {
  return epoch > group_epoch() || contested_by(epoch, by);
}

bool State::contested_by(Epoch epoch, PromotionId by) const {
  const auto own = promotion(epoch);
  if (own == 0 || by == own || by == 0) return false;
  return std::none_of(control_.decided.begin(), control_.decided.end(),
                      [&](const Survivor& s) { return s.epoch == epoch && s.promotion == own; });
}

std::optional<EpochRecord> State::contested_by(const std::vector<EpochRecord>& history) const {
  for (const auto& record : history)
    if (contested_by(record.epoch, record.promotion)) return record;
  return std::nullopt;
}

std::optional<Armed> State::armed_group() const {
  if (!history_.armed || history_.armed_in != live_epoch()) return std::nullopt;
  if (history_.disarmed == history_.armed->arming) return std::nullopt;
  return history_.armed;
}

std::optional<Armed> State::armed() const {
  const auto armed = armed_group();
  if (!armed || armed->group != control_.group || live_epoch() != group_epoch()) return std::nullopt;
  if (names(control_.resigned, &Resigned::arming, armed->arming)) return std::nullopt;
  return armed;
}

bool State::may_end_sealed() const {
  const auto by = armed();
  return by && history_.seal && history_.seal->group == control_.group && history_.seal->arming == by->arming &&
         history_.sealed_at == end_.index && !names(control_.reclaimed, &Reclaimed::seal, history_.seal->seal);
}

Result<State::History> State::history_of(const std::vector<RegionEntry>& entries) {
  // Folded in the order of the history.
  std::vector<const RegionEntry*> sorted;
  for (const RegionEntry& entry : entries) sorted.push_back(&entry);
  std::sort(sorted.begin(), sorted.end(), [](auto* a, auto* b) { return a->index < b->index; });
  State state;
  for (const RegionEntry* from : sorted) {
    Entry entry;
    entry.kind = from->kind;
    entry.epoch = from->epoch;
    entry.position.index = from->index;
    entry.payload = from->payload;
    LEEWARD_TRY(state.fold(entry));
  }
  return std::move(state.history_);
}

State::Control State::control_in(Epoch epoch) const {
  auto control = control_;
  if (epoch <= live_epoch()) return control;
  std::erase_if(control.resigned, [&](const Resigned& r) { return r.epoch < epoch; });
  control.reclaimed.clear();
  control.cut.reset();
  control.fenced.reset();
  control.regrouped.reset();
  return control;
}

void State::begin_epoch(const EpochChange& change) {
  control_ = control_in(change.epoch);
  history_.epochs.push_back({change.epoch, change.promotion, change.fork});
  history_.seal.reset();
  if (change.group == control_.group)
    control_.role = GroupRole::kPrimary;
  else if (control_.role == GroupRole::kPrimary || control_.role == GroupRole::kFenced)
    control_.role = GroupRole::kStandby;
}

void State::follow(const Follow& follow, Index index) {
  const Epoch before = group_epoch();
  const auto survived_at = std::exchange(control_.survived_at, {});
  const bool survived = survived_at != HistoryIndex() && survived_at >= follow.common.index;
  const auto& common = follow.common;
  // Who was primary knows what the epoch lost that came after its own: those before
  // it began without it, and it went on beside them by force.
  const auto first = std::find_if(follow.history.begin(), follow.history.end(), [&](const EpochRecord& r) {
    return r.fork.index >= common.index && promotion(r.epoch) != r.promotion && r.epoch > before;
  });
  if (first != follow.history.end() && (role() == GroupRole::kPrimary || role() == GroupRole::kFenced))
    control_.left_behind.push_back({first->epoch, first->promotion, control_.group,
                                    {end_.writes - common.writes, end_.index.value() - common.index.value(), end_.bytes - common.bytes, survived}});
  // What was armed at the common position only a rewind tells; by then the epoch
  // has ended, so nobody goes by it.
  std::erase_if(history_.epochs, [&](const EpochRecord& r) { return r.fork.index >= common.index; });
  std::erase_if(history_.measured, [&](const History::Told& t) { return t.at > common.index; });
  history_.armed.reset();
  history_.disarmed.reset();
  history_.seal.reset();
  history_.unguarded = Epoch();
  control_.followed = follow.history.empty() ? Epoch(1) : follow.history.back().epoch;
  control_.fenced.reset();
  control_.followed_at = index;
  if (end_ != common)
    control_.ledgers.push_back({index, before, control_.followed, common, follow.kept, end_, survived ? survived_at : HistoryIndex()});
  control_.contested.reset();
  control_.regrouped.reset();
  if (control_.role != GroupRole::kObserver) control_.role = GroupRole::kStandby;
  end_ = common;
}

Result<void> State::fold(const Entry& entry) {
  const std::string_view payload = entry.payload.view();
  switch (entry.kind) {
    case EntryKind::kEpochChange: {
      auto v = decode_epoch_change(payload);
      if (!v.ok()) return v.error();
      begin_epoch(*v);
      break;
    }
    case EntryKind::kMeasured: {
      auto v = decode_measured(payload);
      if (!v.ok()) return v.error();
      history_.measured.push_back({v->epoch, entry.position.index});
      break;
    }
    case EntryKind::kArmed: {
      auto v = decode_armed(payload);
      if (!v.ok()) return v.error();
      // Armed by hand an observer observes no longer.
      if (v->group == control_.group && control_.role == GroupRole::kObserver) control_.role = GroupRole::kStandby;
      history_.armed = std::move(*v);
      history_.armed_in = entry.epoch;
      break;
    }
    case EntryKind::kDisarmed: {
      auto v = decode_disarmed(payload);
      if (!v.ok()) return v.error();
      history_.disarmed = v->arming;
      if (v->unguarded) history_.unguarded = entry.epoch;
      break;
    }
    case EntryKind::kSeal: {
      auto v = decode_seal(payload);
      if (!v.ok()) return v.error();
      history_.seal = *v;
      history_.sealed_at = entry.position.index;
      break;
    }
    case EntryKind::kUnseal: {
      auto v = decode_unseal(payload);
      if (!v.ok()) return v.error();
      if (history_.seal && history_.seal->seal == v->seal) history_.seal.reset();
      break;
    }
    case EntryKind::kResigned: {
      auto v = decode_resigned(payload);
      if (!v.ok()) return v.error();
      control_.resigned.push_back(*v);
      break;
    }
    case EntryKind::kReclaimed: {
      auto v = decode_reclaimed(payload);
      if (!v.ok()) return v.error();
      control_.reclaimed.push_back(*v);
      break;
    }
    case EntryKind::kCut: {
      auto v = decode_cut(payload);
      if (!v.ok()) return v.error();
      control_.cut = Control::CutAt{v->arming, entry.index};
      break;
    }
    case EntryKind::kUncut: {
      auto v = decode_cut(payload);
      if (!v.ok()) return v.error();
      if (control_.cut && control_.cut->arming == v->arming) control_.cut.reset();
      break;
    }
    case EntryKind::kFenced: {
      auto v = decode_fenced(payload);
      if (!v.ok()) return v.error();
      control_.role = GroupRole::kFenced;
      if (contested_by(v->epoch, v->promotion)) control_.contested = Survivor{v->epoch, v->promotion};
      if (v->epoch > known_epoch() || !control_.contested) control_.fenced = std::move(*v);
      break;
    }
    case EntryKind::kSurvivor: {
      auto v = decode_survivor(payload);
      if (!v.ok()) return v.error();
      std::erase_if(control_.decided, [&](const Survivor& s) { return s.epoch == v->epoch; });
      control_.decided.push_back(*v);
      if (control_.contested && control_.contested->epoch == v->epoch) control_.contested.reset();
      control_.role = GroupRole::kFenced;  // until it begins an epoch of its own, or follows
      break;
    }
    case EntryKind::kDiscarded: {
      auto v = decode_discarded(payload);
      if (!v.ok()) return v.error();
      std::erase_if(control_.ledgers, [&](const Ledger& l) { return l.follow == v->follow; });
      break;
    }
    case EntryKind::kRegroup: {
      const auto parts = decode_regroup(payload);
      if (!parts.ok()) return parts.error();
      auto v = decode_regrouped(parts->group);
      if (!v.ok()) return v.error();
      control_.group = v->group;
      control_.resigned.clear();
      control_.reclaimed.clear();
      control_.cut.reset();
      control_.regrouped = std::move(*v);
      if (const bool acknowledged = control_.role == GroupRole::kPrimary || control_.role == GroupRole::kFenced;
          acknowledged && control_.survived_at == HistoryIndex())
        control_.survived_at = end_.index;
      if (control_.role == GroupRole::kPrimary) control_.role = GroupRole::kFenced;
      break;
    }
    case EntryKind::kFollow: {
      auto v = decode_follow(payload);
      if (!v.ok()) return v.error();
      follow(*v, entry.index);
      return {};
    }
    default: break;
  }
  if (is_history(entry.kind) || entry.kind == EntryKind::kAdopt) end_ = entry.position;
  return {};
}

Result<void> State::judge(Origin origin, EntryKind kind, Epoch epoch, std::string_view payload) const {
  return is_history(kind) ? judge_history(origin, kind, epoch, payload) : judge_control(kind, payload);
}

Result<void> State::judge_history(Origin origin, EntryKind kind, Epoch epoch, std::string_view payload) const {
  if (kind == EntryKind::kEpochChange) {
    auto v = decode_epoch_change(payload);
    if (!v.ok()) return v.error();
    if (v->epoch != epoch) return refused("an EpochChange is hashed with the epoch it begins");
    return judge(*v);
  }
  if (epoch != live_epoch()) return refused("the history is in another epoch");
  if (role() == GroupRole::kFenced) return refused("a fenced group makes no history");
  if (role() != GroupRole::kPrimary)  // what is received its own group has judged
    return origin == Origin::kReceived ? Result<void>() : refused("a following group makes no history of its own");

  if (history_.seal && kind != EntryKind::kUnseal) return refused("behind an open Seal");
  switch (kind) {
    case EntryKind::kArmed: {
      auto v = decode_armed(payload);
      if (!v.ok()) return v.error();
      if (v->group == control_.group) return refused("a primary does not arm itself");
      if (armed_group()) return refused("another arming of this epoch is not disarmed");
      if (v->unguarded != (history_.unguarded == live_epoch()))
        return refused("unguarded exactly in an epoch with a forced Disarmed");
      return {};
    }
    case EntryKind::kDisarmed: {
      auto v = decode_disarmed(payload);
      if (!v.ok()) return v.error();
      const auto armed = armed_group();
      if (!armed || armed->arming != v->arming) return refused("that arming does not count");
      if (v->unguarded != (!v->resigned || history_.unguarded == live_epoch()))
        return refused("a Disarmed leaves its epoch unguarded exactly when forced, or when it was");
      if (!v->resigned) return {};
      const auto by = decode_resigned(v->resigned->payload);
      if (v->resigned->kind != EntryKind::kResigned || v->resigned->group != armed->group || !by.ok() ||
          by->arming != v->arming)
        return refused("the proof is of something else");
      return {};
    }
    case EntryKind::kMeasured: {
      auto v = decode_measured(payload);
      if (!v.ok()) return v.error();
      if (promotion(v->epoch) != v->promotion) return refused("it tells of an epoch that is not in this history");
      if (measured(v->epoch))
        return refused("what that epoch lost was told before");
      return {};
    }
    case EntryKind::kSeal: {
      auto v = decode_seal(payload);
      if (!v.ok()) return v.error();
      const auto armed = armed_group();
      if (!armed || armed->arming != v->arming || armed->group != v->group || armed->unguarded)
        return refused("a Seal names the group that is armed, guarded");
      return {};
    }
    case EntryKind::kUnseal: {
      auto v = decode_unseal(payload);
      if (!v.ok()) return v.error();
      if (!history_.seal || history_.seal->seal != v->seal) return refused("that Seal is not open");
      const auto by = decode_reclaimed(v->reclaimed.payload);
      if (v->reclaimed.kind != EntryKind::kReclaimed || v->reclaimed.group != history_.seal->group || !by.ok() ||
          by->seal != v->seal)
        return refused("the proof is of something else");
      return {};
    }
    default: return {};
  }
}

Result<void> State::judge(const EpochChange& change) const {
  if (change.epoch > kLastEpoch) return refused("there is no room for the revisions of that epoch");
  const bool totals = change.fork.writes != 0 || change.fork.bytes != 0;  // older versions did not tell them
  if (totals ? change.fork != end_ : change.fork.index != end_.index || change.fork.hash != end_.hash)
    return refused("an epoch begins where the history ends");
  if (change.group != control_.group) {
    if (role() == GroupRole::kPrimary || role() == GroupRole::kFenced) return refused("only a following group receives one");
    return change.epoch > live_epoch() ? Result<void>() : refused("the epoch is not newer");
  }
  if (control_.contested)
    return refused("epoch " + std::to_string(control_.contested->epoch.value()) + " is contested: a survivor is to be named first");
  if (change.ending == Ending::kForced || (change.ending == Ending::kGuarded && armed() && armed()->unguarded)) {
    // Who forces one may know of newer epochs than this log does.
    if (change.epoch < known_epoch() + kForcedLeast ||
        (change.ending != Ending::kForced && change.epoch > known_epoch() + kForcedMost))
      return refused("a forced or unguarded epoch is drawn from 2 to 1024 above all known ones");
    return {};
  }
  if (change.epoch != group_epoch() + 1) return refused("an unforced epoch is the next one");
  const auto by = armed();
  if (!by) return refused("this group is not armed");
  if (change.ending == Ending::kSealed)
    return may_end_sealed() ? Result<void>() : refused("the history does not end at an open Seal for this group");
  if (by->mode == FenceMode::kLease &&
      (!control_.cut || control_.cut->arming != by->arming || control_.cut->index != change.cut))
    return refused("the Cut it names is not the last word of this arming");
  return {};
}

Result<void> State::judge(const Follow& follow) const {
  const Epoch newest = follow.history.empty() ? Epoch(1) : follow.history.back().epoch;
  if (newest < group_epoch() || (newest == group_epoch() && !follow.damaged)) return refused("that history is not of a newer epoch");
  if (follow.damaged && role() == GroupRole::kPrimary) return refused("a primary's history is the one that others go by");
  // Its stamps are what a primary acknowledges by, and until the state is back nobody can tell what is armed.
  if (const auto by = armed(); follow.damaged && newest == group_epoch() && by && by->mode == FenceMode::kLease)
    return refused("armed by lease this group gives its arming up first");
  for (const auto& record : follow.history) {
    const bool decided = names(control_.decided, &Survivor::promotion, record.promotion);
    if (!decided && contested(history_.epochs, {record}))
      return refused("epoch " + std::to_string(record.epoch.value()) + " is contested");
  }
  // Its last epoch is not in this history: where the common one ends there, it says itself.
  const HistoryIndex at = common_index(history_.epochs, end_.index, follow.history, end_.index + 1);
  if (follow.damaged ? follow.common.index >= at : follow.common.index != at) return refused("that is not the common position");
  if (at == end_.index && !follow.damaged && follow.common.hash != end_.hash) return refused("the common position has another hash here");
  if (follow.kept.index > end_.index || (follow.kept.index == follow.common.index && follow.kept != follow.common))
    return refused("what is kept does not begin between the common position and the end");
  return {};
}

Result<void> State::judge_control(EntryKind kind, std::string_view payload) const {
  switch (kind) {
    case EntryKind::kFenced: {
      auto v = decode_fenced(payload);
      if (!v.ok()) return v.error();
      if (role() != GroupRole::kPrimary && role() != GroupRole::kFenced) return refused("a following group is not fenced");
      if (v->epoch > known_epoch()) return {};
      if (!control_.contested && contested_by(v->epoch, v->promotion)) return {};
      return refused("that epoch is not newer");
    }
    case EntryKind::kFollow: {
      auto v = decode_follow(payload);
      if (!v.ok()) return v.error();
      return judge(*v);
    }
    case EntryKind::kSurvivor: {
      auto v = decode_survivor(payload);
      if (!v.ok()) return v.error();
      if (role() != GroupRole::kPrimary && role() != GroupRole::kFenced) return refused("a following group is not contested");
      return promotion(v->epoch) != 0 ? Result<void>() : refused("that epoch is not in this history");
    }
    case EntryKind::kDiscarded: {
      auto v = decode_discarded(payload);
      if (!v.ok()) return v.error();
      return names(control_.ledgers, &Ledger::follow, v->follow) ? Result<void>() : refused("this group keeps no such ledger");
    }
    case EntryKind::kAdopt:
      if (role() != GroupRole::kStandby && role() != GroupRole::kObserver) return refused("only a following group adopts a state");
      return {};
    case EntryKind::kResigned: {
      auto v = decode_resigned(payload);
      if (!v.ok()) return v.error();
      return v->epoch >= live_epoch() ? Result<void>() : refused("behind a newer epoch");
    }
    case EntryKind::kReclaimed: {
      auto v = decode_reclaimed(payload);
      if (!v.ok()) return v.error();
      if (v->epoch != live_epoch() || !history_.seal || history_.seal->seal != v->seal) return refused("that Seal is not open");
      return history_.seal->group == control_.group ? Result<void>() : refused("the Seal names another group");
    }
    case EntryKind::kCut:
    case EntryKind::kUncut: {
      auto v = decode_cut(payload);
      if (!v.ok()) return v.error();
      const auto by = armed();
      if (!by || by->arming != v->arming) return refused("not armed by that arming");
      const bool cut = control_.cut && control_.cut->arming == by->arming;
      return cut == (kind == EntryKind::kUncut) ? Result<void>() : refused(cut ? "cut already" : "not cut");
    }
    default: return {};
  }
}

std::string encode(const State::Control& control) {
  std::string out;
  codec::put_u8(out, kControlFormat);
  codec::put_u64(out, control.group.value());
  codec::put_u8(out, static_cast<std::uint8_t>(control.role));
  codec::put_varint(out, control.followed.value());
  codec::put_bytes(out, control.fenced ? encode(*control.fenced) : std::string());
  codec::put_varint(out, control.resigned.size());
  for (const Resigned& r : control.resigned) codec::put_bytes(out, encode(r));
  codec::put_varint(out, control.reclaimed.size());
  for (const Reclaimed& r : control.reclaimed) codec::put_bytes(out, encode(r));
  codec::put_u64(out, control.cut ? control.cut->arming : 0);
  codec::put_varint(out, control.cut ? control.cut->index.value() : 0);
  codec::put_varint(out, control.followed_at.value());
  codec::put_varint(out, control.ledgers.size());
  for (const Ledger& l : control.ledgers) {
    codec::put_varint(out, l.follow.value());
    codec::put_varint(out, l.epoch.value());
    codec::put_varint(out, l.followed.value());
    codec::put_position(out, l.from);
    codec::put_position(out, l.to);
    codec::put_position(out, l.kept);
    codec::put_varint(out, l.survived_at.value());
  }
  codec::put_bytes(out, control.regrouped ? encode(*control.regrouped) : std::string());
  codec::put_bytes(out, control.contested ? encode(*control.contested) : std::string());
  codec::put_varint(out, control.decided.size());
  for (const Survivor& s : control.decided) codec::put_bytes(out, encode(s));
  codec::put_varint(out, control.survived_at.value());
  codec::put_varint(out, control.left_behind.size());
  for (const Measured& m : control.left_behind) codec::put_bytes(out, encode(m));
  return out;
}

Result<State::Control> decode_control(std::string_view in) {
  const Error malformed{Code::kCorrupt, "a group's own state about regions is malformed"};
  State::Control control;
  std::uint8_t format = 0, role = 0;
  std::uint64_t group = 0, followed = 0, count = 0, arming = 0, index = 0;
  std::string_view bytes;
  if (!codec::get_u8(in, format) || format == 0) return malformed;
  if (format > kControlFormat) return Error{Code::kNewerFormat, "a group's own state about regions was written by a newer version"};
  if (!codec::get_u64(in, group) || !codec::get_u8(in, role) || role > static_cast<std::uint8_t>(GroupRole::kFenced) ||
      !codec::get_varint(in, followed) || !codec::get_bytes(in, bytes))
    return malformed;
  control.group = GroupId(group);
  control.role = static_cast<GroupRole>(role);
  control.followed = Epoch(followed);
  if (!bytes.empty()) {
    auto fenced = decode_fenced(bytes);
    if (!fenced.ok()) return fenced.error();
    control.fenced = std::move(*fenced);
  }
  if (!codec::get_varint(in, count)) return malformed;
  for (; count > 0; --count) {
    if (!codec::get_bytes(in, bytes)) return malformed;
    auto v = decode_resigned(bytes);
    if (!v.ok()) return v.error();
    control.resigned.push_back(*v);
  }
  if (!codec::get_varint(in, count)) return malformed;
  for (; count > 0; --count) {
    if (!codec::get_bytes(in, bytes)) return malformed;
    auto v = decode_reclaimed(bytes);
    if (!v.ok()) return v.error();
    control.reclaimed.push_back(*v);
  }
  if (!codec::get_u64(in, arming) || !codec::get_varint(in, index)) return malformed;
  if (arming != 0) control.cut = State::Control::CutAt{arming, Index(index)};
  if (format == 1) return in.empty() ? Result<State::Control>(control) : malformed;  // knew no more
  if (!codec::get_varint(in, index) || !codec::get_varint(in, count)) return malformed;
  control.followed_at = Index(index);
  for (; count > 0; --count) {
    std::uint64_t follow = 0, epoch = 0;
    Ledger l;
    if (!codec::get_varint(in, follow) || !codec::get_varint(in, epoch) || !codec::get_varint(in, followed) ||
        !codec::get_position(in, l.from) || !codec::get_position(in, l.to))
      return malformed;
    l.kept = l.from;
    if (format > 2 && (!codec::get_position(in, l.kept) || !codec::get_varint(in, index))) return malformed;
    l.survived_at = HistoryIndex(format > 2 ? index : 0);
    l.follow = Index(follow);
    l.epoch = Epoch(epoch);
    l.followed = Epoch(followed);
    control.ledgers.push_back(l);
  }
  if (!codec::get_bytes(in, bytes)) return malformed;
  if (!bytes.empty()) {
    auto v = decode_regrouped(bytes);
    if (!v.ok()) return v.error();
    control.regrouped = std::move(*v);
  }
  if (!codec::get_bytes(in, bytes)) return malformed;
  if (!bytes.empty()) {
    auto v = decode_survivor(bytes);
    if (!v.ok()) return v.error();
    control.contested = *v;
  }
  if (!codec::get_varint(in, count)) return malformed;
  for (; count > 0; --count) {
    if (!codec::get_bytes(in, bytes)) return malformed;
    auto v = decode_survivor(bytes);
    if (!v.ok()) return v.error();
    control.decided.push_back(*v);
  }
  if (format > 2) {
    if (!codec::get_varint(in, index)) return malformed;
    control.survived_at = HistoryIndex(index);
  }
  if (format > 3) {
    if (!codec::get_varint(in, count)) return malformed;
    for (; count > 0; --count) {
      if (!codec::get_bytes(in, bytes)) return malformed;
      auto v = decode_measured(bytes);
      if (!v.ok()) return v.error();
      control.left_behind.push_back(*v);
    }
  }
  if (!in.empty()) return malformed;
  return control;
}

std::optional<Epoch> contested(const std::vector<EpochRecord>& a, const std::vector<EpochRecord>& b) {
  for (const EpochRecord& x : a)
    for (const EpochRecord& y : b)
      if (x.epoch == y.epoch && x.promotion != y.promotion) return x.epoch;
  return std::nullopt;
}

HistoryIndex common_index(const std::vector<EpochRecord>& a, HistoryIndex a_end, const std::vector<EpochRecord>& b,
                          HistoryIndex b_end) {
  std::size_t same = 0;
  while (same < a.size() && same < b.size() && a[same].epoch == b[same].epoch && a[same].promotion == b[same].promotion) ++same;
  return std::min(same < a.size() ? a[same].fork.index : a_end, same < b.size() ? b[same].fork.index : b_end);
}

std::optional<Position> fork_at(const std::vector<EpochRecord>& epochs, HistoryIndex index) {
  for (const auto& e : epochs)
    if (e.fork.index == index && e.fork.writes + e.fork.bytes > 0) return e.fork;  // an older version kept the index alone
  return std::nullopt;
}

}  // namespace leeward::region
