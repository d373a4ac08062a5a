#include "kv/txn.h"

#include "base/check.h"
#include "kv/applier.h"

namespace leeward::kv {
namespace {

bool compare_record(const Compare& compare, const Record& record) {
  const bool given = compare.given == compare.target;
  const std::int64_t number = given ? compare.number : 0;
  int order = 0;
  const auto three_way = [&](std::int64_t have) { return have < number ? -1 : have > number ? 1 : 0; };
  switch (compare.target) {
    case Compare::Target::kVersion: order = three_way(record.version); break;
    case Compare::Target::kCreate: order = three_way(record.create); break;
    case Compare::Target::kMod: order = three_way(record.mod); break;
    case Compare::Target::kLease: order = three_way(record.lease); break;
    case Compare::Target::kValue: order = record.value.compare(given ? compare.value : std::string_view()); break;
    case Compare::Target::kUnknown: break;
  }
  switch (compare.result) {
    case Compare::Result::kEqual: return order == 0;
    case Compare::Result::kNotEqual: return order != 0;
    case Compare::Result::kGreater: return order > 0;
    case Compare::Result::kLess: return order < 0;
    case Compare::Result::kUnknown: return true;
  }
  return false;
}

const TxnRequest* nested(const TxnOp& op) {
  const auto* txn = std::get_if<std::unique_ptr<TxnRequest>>(&op);
  return txn ? txn->get() : nullptr;
}

}  // namespace

Result<bool> TxnRun::holds(const Compare& compare) const {
  bool any = false;
  if (compare.range.single()) {
    auto found = find_version(snapshot_, escaped(compare.range.key), kNewest);
    if (!found.ok()) return found.error();
    if (*found) {
      Record record;
      if (!parse_record((*found)->record(), record)) return Error{Code::kCorrupt, "state store: bad record"};
      return compare_record(compare, record);
    }
  } else {
    RangeScan scan(snapshot_, compare.range, kNewest);
    while (scan.next()) {
      any = true;
      Record record;
      if (!parse_record(scan.record(), record)) return Error{Code::kCorrupt, "state store: bad record"};
      if (!compare_record(compare, record)) return false;
    }
    LEEWARD_TRY(scan.status());
  }
  if (any) return true;
  // A missing key has version 0 and so on, but no value that could be compared.
  return compare.target != Compare::Target::kValue && compare_record(compare, {});
}

Result<void> TxnRun::choose(const TxnRequest& request) {
  bool all = true;
  for (const Compare& compare : request.compares) {
    auto result = holds(compare);
    if (!result.ok()) return result.error();
    all = *result;
    if (!all) break;
  }
  verdicts_.push_back(all);
  for (const TxnOp& op : all ? request.success : request.failure)
    if (const TxnRequest* txn = nested(op)) LEEWARD_TRY(choose(*txn));
  return {};
}

const char* TxnRun::check_range(const RangeRequest& range) const {
  if (range.revision == 0) return "";
  if (range.revision > start_.revision) return texts::kFutureRev;
  // etcd's word for "never compacted" is -1, and -1 it takes for the present.
  const std::int64_t first = start_.compacted == 0 ? -1 : start_.compacted;
  return range.revision < first || end_of_gap(start_.gaps, range.revision) != 0 ? texts::kCompacted : "";
}

Result<const char*> TxnRun::check_operations(const TxnRequest& request) {
  for (const TxnOp& op : branch(request)) {
    Result<const char*> text = "";
    if (const TxnRequest* txn = nested(op)) text = check_operations(*txn);
    if (const auto* put = std::get_if<PutRequest>(&op)) text = applier_->check_put(*put);
    if (const auto* range = std::get_if<RangeRequest>(&op)) text = check_range(*range);
    if (!text.ok() || **text) return text;
  }
  return "";
}

Moment TxnRun::present() const { return applier_ ? Moment{applier_->present(), start_.compacted, start_.gaps} : start_; }

Result<void> TxnRun::execute(const TxnRequest& request, bool outermost, std::string* answer) {
  const bool succeeded = verdicts_[at_];
  std::string responses;
  for (const TxnOp& op : branch(request)) {
    std::string inner;
    std::string* const out = answer ? &inner : nullptr;
    int field = 0;
    if (const auto* range = std::get_if<RangeRequest>(&op)) {
      field = 1;
      if (out) {
        RangeRun run(snapshot_, *range, present(), std::numeric_limits<std::size_t>::max());
        LEEWARD_TRY(run.prepare());
        for (std::size_t before = 1; before != out->size();) {
          before = out->size();
          LEEWARD_TRY(run.next(std::numeric_limits<std::size_t>::max(), *out));
        }
      }
    } else if (const auto* put = std::get_if<PutRequest>(&op)) {
      field = 2;
      LEEWARD_TRY(applier_->do_put(*put, out));
    } else if (const auto* remove = std::get_if<DeleteRequest>(&op)) {
      field = 3;
      LEEWARD_TRY(applier_->do_delete(*remove, out));
    } else if (const TxnRequest* txn = nested(op)) {
      field = 4;
      LEEWARD_TRY(execute(*txn, false, out));
    }
    if (!answer) continue;
    std::string response;
    append_bytes_field(response, field, inner);
    append_bytes_field(responses, 3, response);
  }
  if (answer) {
    // etcd leaves the headers of nested transactions empty.
    append_header(*answer, outermost ? present().revision : 0);
    append_varint_field(*answer, 2, succeeded ? 1 : 0);
    answer->append(responses);
  }
  return {};
}

Result<const char*> TxnRun::run(const TxnRequest& request, std::string* answer) {
  LEEWARD_TRY(choose(request));
  at_ = 0;
  auto text = check_operations(request);
  if (!text.ok() || **text) return text;
  at_ = 0;
  LEEWARD_TRY(execute(request, true, answer));
  return "";
}

}  // namespace leeward::kv
