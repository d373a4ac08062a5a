// The files of a checkpoint, fetched from a member that holds it, piece by
// piece by (file, offset), into a pool: a directory in which they lie by their
// hash, whole ones under it, others as ".part". What is there is not fetched
// again, after a restart neither, nor for another manifest that names the same
// file. Each piece is checked as it comes, each whole file before it gets its
// name.
//
// Core loop. File work runs on the files loop.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "node/context.h"

namespace leeward::node {

// From the file that encode_manifest_file() filled. Errors: kNotFound, kIo, kCorrupt.
Result<Manifest> read_manifest(Disk& disk, const Path& path);

Path pooled(const Path& pool, const StateFile& file);
// Makes `directory` the state that the manifest describes, from a pool that
// holds all its files; durable when it returns. Errors: kIo, kNoSpace, kCorrupt.
Result<void> lay_out_state(Disk& disk, const Path& pool, const Manifest& manifest, const Path& directory);
// The same from the files of a checkpoint in its directory.
Result<void> lay_out_checkpoint(Disk& disk, const Path& checkpoint, const Manifest& manifest, const Path& directory);
// Removes from a pool all but what these manifests are made of, and names that
// begin with `spared`.
void drop_from_pool(Disk& disk, const Path& pool, const std::vector<Manifest>& kept, std::string_view spared = {});

class StateFetch {
 public:
  // On the files loop, when every file is whole and durable: what makes of them
  // what was wanted. Its errors end the fetch as a failed write would.
  using Finish = Function<Result<void>(const Manifest&)>;
  using OnHeld = Function<void(Manifest, NodeId from)>;
  // The pool keeps what there is. nullptr: who sent it is not heard any more.
  using OnGivenUp = Function<void(const Manifest&, NodeId from, const Error* error)>;

  StateFetch(Context& context, Path pool, OnHeld held, OnGivenUp given_up);

  // In place of what was being fetched, if any. `what` is for the log.
  void begin(Manifest manifest, NodeId from, Finish finish, std::string_view what);
  // Another holder goes on where the last one stopped.
  void go_on_from(NodeId other);
  void stop();

  bool active() const { return fetch_.has_value(); }
  bool fetches(const std::string& id) const { return fetch_ && fetch_->manifest.id == id; }
  const Manifest& manifest() const { return fetch_->manifest; }  // while active
  NodeId from() const { return fetch_->from; }                   // while active
  // Nothing comes, and the own disk is not what it waits for; true also when there is none.
  bool stale() const;
  std::uint64_t have() const { return fetch_->have; }    // bytes, while active
  std::uint64_t total() const { return fetch_->total; }

  // True: it was for this fetch.
  bool on_chunk(const Frame& frame);
  // The sender said that it holds this no more.
  bool gone(NodeId from, const std::string& id) const;
  void sender_is_gone();  // as if it had been silent for long
  // Asks again, gives up.
  void drive();

 private:
  struct Piece {
    std::uint32_t file = 0;
    std::uint64_t offset = 0;
    auto operator<=>(const Piece&) const = default;
  };
  struct Fetch {
    Manifest manifest;
    NodeId from;
    std::vector<std::uint64_t> starts;   // of each file: what is there already
    std::vector<std::uint64_t> missing;  // of each file, bytes
    Piece next;
    std::set<Piece> asked;
    std::size_t on_disk = 0;  // tasks at the files loop
    std::uint64_t have = 0, total = 0;
    Instant progressed{}, asked_again{};
  };

  void look_over();
  void ask_for_more();
  void ask(const Piece& piece);
  void written(std::size_t place, std::uint64_t bytes);
  // Checks the files from this one on, one a task, then the whole is made use of.
  void check_file(std::size_t place);
  void finish();
  void give_up(const Error* error);
  // Runs on the files loop; `then`, on the core loop, unless the fetch is over or the work failed.
  template <class Work, class Then>
  void on_files(Work work, Then then);

  Context& context_;
  Path pool_;
  OnHeld held_;
  OnGivenUp given_up_;
  Finish finish_;
  std::optional<Fetch> fetch_;
  std::uint64_t generation_ = 0;  // late disk work of another fetch is ignored
};

}  // namespace leeward::node
