// State of another group, taken over by this one whose log cannot reach it any
// more: standby/README.md, "When the log does not reach down".
//
// The leader of a following group asks a member of the primary for a
// checkpoint, fetches its files, and offers them to its own members, who fetch
// them from it. When a majority of the voters has them durable it proposes
// kAdopt; Member installs them where that entry is applied.
//
// The files lie in a pool (state_fetch.h), data_dir/adopt. A manifest is written
// beside them when the last of its files is durable: only then it is held.
//
// Core loop. File work runs on the files loop.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "node/context.h"
#include "node/snapshots.h"
#include "node/state_fetch.h"

namespace leeward::node {

class Adoption {
 public:
  using OnFailed = Function<void(const Error&)>;
  // The lowest history index that every member of the group is known to have
  // applied; nullopt while one has not been heard.
  using LowestApplied = Function<std::optional<HistoryIndex>()>;
  // RegionLog::adopts_behind(), and region::State's epochs as applied.
  using Epochs = std::function<std::optional<std::vector<region::EpochRecord>>()>;

  Adoption(Context& context, Snapshots& snapshots, LowestApplied lowest, Epochs adopts_behind, Epochs applied, OnFailed failed);

  // At start: what is held.
  Result<void> load();

  // Leader of a following group, again and again as long as it finds no log to
  // follow: goes on with an adoption from one of these members of the primary.
  void pursue(std::span<const NodeId> sources);

  // A committed kAdopt that is to be applied here: fetches what it needs.
  void need(const Manifest& manifest);
  void need_no_more() { need_.reset(); }
  bool holds(const std::string& id) const { return held_.contains(id); }
  // What a held manifest is made of; see lay_out_state().
  static Path pool(const Path& data_dir) { return data_dir + "/adopt"; }

  void on_frame(NodeId from, const Frame& frame);
  // True: it was for a fetch of this.
  bool on_chunk(const Frame& frame) { return fetch_.on_chunk(frame); }
  // Whether what the entry at this index adopts is held.
  bool holds_for(Index adopted) const;
  // Where a file of a held manifest lies.
  std::optional<Path> file(const std::string& id, std::uint32_t place) const;
  void drive();
  // What is under way, for people; empty: nothing.
  std::string progress() const;

 private:
  struct Pursuit {
    std::vector<NodeId> sources;
    Instant wanted{}, asked{}, offered{};
    std::size_t turn = 0;
    NodeId source;
    std::map<NodeId, Incarnation> holders;
    std::string id;  // what they hold
    std::optional<Index> proposed;
    Term term;
  };

  Path pool() const { return pool(context_.options.data_dir); }
  void drive_pursuit();
  void drive_need();
  void ask(const std::string& id);
  void ask_source();
  bool leads_on(const Manifest& manifest, const std::vector<region::EpochRecord>& epochs) const;
  bool is_lent(const Manifest& manifest) const;
  void offer(const Manifest& manifest);
  bool enough_hold(const std::string& id) const;
  void propose(const Manifest& manifest);
  const Manifest* candidate() const;

  void on_ask(NodeId from, const Frame& frame);
  void on_manifest(NodeId from, const Frame& frame);
  void on_offer(NodeId from, const Frame& frame);
  void on_held(NodeId from, const Frame& frame);
  void on_gone(NodeId from, const Frame& frame);
  void tell_held(NodeId to, const Manifest& manifest);

  void begin(Manifest manifest, NodeId from);
  void fetched(Manifest manifest);
  void drop_old();
  const Manifest* least_needed() const;

  Context& context_;
  Snapshots& snapshots_;
  LowestApplied lowest_;
  Epochs adopts_behind_, applied_epochs_;
  OnFailed failed_;
  std::map<std::string, Manifest> held_;    // by id
  std::map<std::string, Epoch> lent_in_;    // by id: the newest epoch known when a source lent it to this leader
  std::optional<Manifest> need_;
  std::size_t need_turn_ = 0;
  StateFetch fetch_;
  std::optional<Pursuit> pursuit_;
};

}  // namespace leeward::node
