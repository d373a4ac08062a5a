// Runs the commands of a transcript against a Cluster and tells what happened.
// The commands are listed in README.md.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "cluster.h"

namespace leeward::raft::test {

class Transcript {
 public:
  Transcript();

  // What the command made happen, a line an event. After each command every
  // running member does what its Readys say.
  std::string run(const std::string& command);

 private:
  using Words = std::vector<std::string>;

  bool set_up(const std::string& verb, const Words& words);
  bool disturb(const std::string& verb, const Words& words);
  bool ask(const std::string& verb, const Words& words);
  bool look(const std::string& verb, const Words& words);

  void group(const Words& words);
  void deliver(const Words& words);
  void run_for(Duration d);
  void tick_due(const std::vector<NodeId>& ids);
  void propose(const Words& words);
  void change(const Words& words);
  void inject(const Words& words);
  void print_status(NodeId id);
  void print_log(NodeId id);
  void print_peers(NodeId id);

  std::vector<NodeId> running();
  bool blocked(const Message& m) const;
  void drain();
  void say(const std::string& line) { lines_.push_back(line); }
  std::string text();
  std::string describe(const Message& m);
  std::string round(const Message& m);
  std::string question(const Message& m);

  std::vector<std::string> lines_;
  bool quiet_ = false;
  Cluster cluster_;
  std::set<std::pair<NodeId, NodeId>> cut_;
  std::map<std::tuple<NodeId, Term, std::uint64_t>, int> rounds_;
  std::map<std::pair<NodeId, Term>, int> round_count_;
  std::map<std::uint64_t, int> questions_;
  std::map<std::uint64_t, std::string> reads_;
};

}  // namespace leeward::raft::test
