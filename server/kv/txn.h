// A transaction: which branch, checks, then the operations. With an Applier it
// writes; without one it must be read-only.
#pragma once

#include <string>
#include <vector>

#include "kv/range.h"
#include "kv/requests.h"

namespace leeward::kv {

class Applier;

class TxnRun {
 public:
  TxnRun(const StoreSnapshot& snapshot, Applier* applier, const Moment& start)
      : snapshot_(snapshot), applier_(applier), start_(start) {}

  // "" or etcd's text, and then nothing was changed. `answer` may be null.
  Result<const char*> run(const TxnRequest& request, std::string* answer);

 private:
  // As in etcd all comparisons, nested ones too, are made before any
  // operation: one verdict for each transaction met, in order.
  Result<void> choose(const TxnRequest& request);
  Result<bool> holds(const Compare& compare) const;
  const std::vector<TxnOp>& branch(const TxnRequest& request) {
    return verdicts_[at_++] ? request.success : request.failure;
  }
  // What etcd checks before the first change, in the order of the operations.
  Result<const char*> check_operations(const TxnRequest& request);
  const char* check_range(const RangeRequest& range) const;
  Result<void> execute(const TxnRequest& request, bool outermost, std::string* answer);
  Moment present() const;

  const StoreSnapshot& snapshot_;
  Applier* applier_;
  Moment start_;
  std::vector<bool> verdicts_;
  std::size_t at_ = 0;  // the next verdict to use
};

}  // namespace leeward::kv
