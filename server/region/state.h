// What a prefix of one group's log says about regions, and whether an entry may
// follow it: standby/PROTOCOL.md. The leader asks in the step that appends, with
// all of its log folded; every member asks again at apply, with what is applied
// folded. A plain value; the same entries give the same answers.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ports/state_machine.h"
#include "ports/status.h"
#include "region/entries.h"

namespace leeward::region {

class State {
 public:
  // One group's own: part of its group state, never rewound.
  struct Control {
    GroupId group;
    GroupRole role = GroupRole::kUnknown;
    Epoch followed;  // of the newest Follow; 0: none
    std::optional<Fenced> fenced;
    std::vector<Resigned> resigned;    // of this epoch
    std::vector<Reclaimed> reclaimed;  // of this epoch
    struct CutAt {
      ArmingId arming = 0;
      Index index;
      bool operator==(const CutAt&) const = default;
    };
    std::optional<CutAt> cut;  // the newest, unless an Uncut came after it
    Index followed_at;         // of the newest Follow: what stands before it in the log may lead elsewhere
    std::vector<Ledger> ledgers;  // oldest first
    // What each Follow of this group that was primary before left behind, oldest first:
    // all that it held, also of what no log has any more and no ledger keeps.
    std::vector<Measured> left_behind;
    // Where survivors of a group that had acknowledged writes of its own went on;
    // 0: none did since the newest Follow.
    HistoryIndex survived_at;
    // Survivors of a lost majority, until the EpochChange that they are to commit.
    std::optional<Regrouped> regrouped;
    // Another history holds that epoch by this promotion; nothing is served.
    std::optional<Survivor> contested;
    std::vector<Survivor> decided;  // which promotion goes on, of epochs that were contested
    bool operator==(const Control&) const = default;
  };
  // All regions': follows from history alone and is rewound with it.
  struct History {
    std::vector<EpochRecord> epochs;  // oldest first; epoch 1 has none
    std::optional<Armed> armed;       // the newest, of whatever epoch
    Epoch armed_in;
    std::optional<ArmingId> disarmed;  // the newest
    Epoch unguarded;                   // the newest in which a region was disarmed by force
    std::optional<Seal> seal;          // open
    HistoryIndex sealed_at;
    struct Told {
      Epoch epoch;      // what its beginning lost is known
      HistoryIndex at;  // since there
      bool operator==(const Told&) const = default;
    };
    std::vector<Told> measured;
    bool operator==(const History&) const = default;
  };

  State() = default;
  State(Control control, History history, const Position& end)
      : control_(std::move(control)), history_(std::move(history)), end_{end} {}
  // From the newest entry of each kind and all EpochChanges, in any order.
  // Errors: kCorrupt, kNewerFormat.
  static Result<History> history_of(const std::vector<RegionEntry>& entries);

  // Takes in one more entry. Those that do not concern regions move the end only.
  // Errors: kCorrupt, kNewerFormat; nothing changed then.
  Result<void> fold(const Entry& entry);

  // Whether an entry may come next. Error kInvalid: no, and which rule says so.
  // `epoch` is the history entry's own, 0 for a control entry. A following group
  // makes no history of its own but an EpochChange; at apply nobody can tell
  // where an entry came from, and asks as for a received one.
  enum class Origin { kOwn, kReceived };
  Result<void> judge(Origin origin, EntryKind kind, Epoch epoch, std::string_view payload) const;
  Result<void> judge(const EpochChange& change) const;
  Result<void> judge(const Follow& follow) const;

  const Control& control() const { return control_; }
  // As a state that is adopted leaves it: of an epoch before, nothing counts.
  Control control_in(Epoch adopted) const;
  const History& history() const { return history_; }
  const Position& end() const { return end_; }
  GroupRole role() const { return control_.role; }
  Epoch live_epoch() const;   // of the history
  Epoch group_epoch() const;  // the same, or that of a newer Follow
  Epoch known_epoch() const;  // the same, or one that the group was fenced by
  PromotionId promotion(Epoch epoch) const;  // 0: not in this history
  bool measured(Epoch epoch) const;          // what its beginning lost stands in this history
  // Whether that epoch, proved by another group, is newer than this group's, or
  // the same under another promotion: contested.
  bool superseded_by(Epoch epoch, PromotionId promotion) const;
  // Another group's history holds that epoch by that promotion, this one's by
  // another, and nobody has decided for this one.
  bool contested_by(Epoch epoch, PromotionId promotion) const;
  // The same of a whole history.
  std::optional<EpochRecord> contested_by(const std::vector<EpochRecord>& history) const;
  // This group, by the arming that counts.
  std::optional<Armed> armed() const;
  // Whatever group, by the history alone: what a primary goes by.
  std::optional<Armed> armed_group() const;
  // The Seal that lets this group end the epoch without loss, if one does.
  bool may_end_sealed() const;

 private:
  Result<void> judge_history(Origin origin, EntryKind kind, Epoch epoch, std::string_view payload) const;
  Result<void> judge_control(EntryKind kind, std::string_view payload) const;
  void begin_epoch(const EpochChange& change);
  void follow(const Follow& follow, Index index);

  Control control_;
  History history_;
  Position end_;
};

std::string encode(const State::Control& control);
// Errors: kCorrupt, kNewerFormat.
Result<State::Control> decode_control(std::string_view bytes);

// The epoch of a forced or unguarded promotion where `known` is the newest that
// anybody asked knows of; `draw` is random.
Epoch forced_epoch(Epoch known, std::uint64_t draw);

// An epoch that both hold under different promotion ids: they are contested.
std::optional<Epoch> contested(const std::vector<EpochRecord>& a, const std::vector<EpochRecord>& b);
// The index up to which two histories can agree: the lower end of the last
// epoch that both hold. Each is given by its epochs and where it ends.
HistoryIndex common_index(const std::vector<EpochRecord>& a, HistoryIndex a_end, const std::vector<EpochRecord>& b,
                          HistoryIndex b_end);
// The position at which one of these epochs began; a log may not reach down to it any more.
std::optional<Position> fork_at(const std::vector<EpochRecord>& epochs, HistoryIndex index);

}  // namespace leeward::region
