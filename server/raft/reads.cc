#include "raft/reads.h"

#include <algorithm>

namespace leeward::raft {

void ReadRounds::start(std::uint64_t round, Index index) {
  rounds_.push_back({round, index, std::move(gathering_)});
  gathering_.clear();
}

std::vector<ReadRounds::Round> ReadRounds::confirm(std::uint64_t round) {
  std::vector<Round> confirmed;
  while (!rounds_.empty() && rounds_.front().round <= round) {
    confirmed.push_back(std::move(rounds_.front()));
    rounds_.pop_front();
  }
  return confirmed;
}

std::vector<WaitingRead> ReadRounds::expire(Instant now) {
  std::vector<WaitingRead> expired;
  auto move_expired = [&](std::vector<WaitingRead>& reads) {
    auto late = std::stable_partition(reads.begin(), reads.end(), [&](const auto& r) { return r.deadline > now; });
    expired.insert(expired.end(), late, reads.end());
    reads.erase(late, reads.end());
  };
  for (Round& round : rounds_) move_expired(round.reads);
  std::erase_if(rounds_, [](const Round& round) { return round.reads.empty(); });
  move_expired(gathering_);
  return expired;
}

std::vector<WaitingRead> ReadRounds::take_all() {
  std::vector<WaitingRead> all;
  for (Round& round : rounds_) all.insert(all.end(), round.reads.begin(), round.reads.end());
  all.insert(all.end(), gathering_.begin(), gathering_.end());
  rounds_.clear();
  gathering_.clear();
  return all;
}

Instant ReadRounds::next_deadline() const {
  if (!rounds_.empty()) return rounds_.front().reads.front().deadline;
  return gathering_.empty() ? Instant::max() : gathering_.front().deadline;
}

void ForwardedReads::send(std::uint64_t id, Instant deadline) {
  batches_.push_back({id, deadline, std::move(gathering_)});
  gathering_.clear();
}

std::vector<std::uint64_t> ForwardedReads::answered(std::uint64_t id) {
  const auto batch = std::find_if(batches_.begin(), batches_.end(), [&](const Batch& b) { return b.id == id; });
  if (batch == batches_.end()) return {};
  auto contexts = std::move(batch->contexts);
  batches_.erase(batch);
  return contexts;
}

std::vector<std::uint64_t> ForwardedReads::expire(Instant now) {
  std::vector<std::uint64_t> expired;
  while (!batches_.empty() && batches_.front().deadline <= now) {
    const auto& contexts = batches_.front().contexts;
    expired.insert(expired.end(), contexts.begin(), contexts.end());
    batches_.pop_front();
  }
  return expired;
}

std::vector<std::uint64_t> ForwardedReads::take_all() {
  std::vector<std::uint64_t> all;
  for (const Batch& batch : batches_) all.insert(all.end(), batch.contexts.begin(), batch.contexts.end());
  all.insert(all.end(), gathering_.begin(), gathering_.end());
  batches_.clear();
  gathering_.clear();
  return all;
}

Instant ForwardedReads::next_deadline() const {
  return batches_.empty() ? Instant::max() : batches_.front().deadline;
}

}  // namespace leeward::raft
