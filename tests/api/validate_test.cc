// What etcd refuses before its log, by the texts and codes that clients match.
#include "api/errors.h"
#include "api/validate.h"
#include "harness.h"

namespace leeward::api::test {
namespace {

using namespace etcdserverpb;

class Refusals : public ScriptedServices {
 protected:
  void TearDown() override { EXPECT_EQ(node->proposals, 0) << "a refused request must not reach the log"; }
};

PutRequest put(std::string key, std::string value = "v") {
  PutRequest request;
  request.set_key(key);
  request.set_value(value);
  return request;
}

void add_put(TxnRequest& txn, std::string key) { *txn.add_success()->mutable_request_put() = put(key); }
DeleteRangeRequest* add_delete(TxnRequest& txn, std::string key, std::string end = "") {
  auto* request = txn.add_success()->mutable_request_delete_range();
  request->set_key(key);
  request->set_range_end(end);
  return request;
}

TEST_F(Refusals, AnEmptyKeyIsRefusedEverywhere) {
  TxnRequest in_compare, in_put, in_delete, in_range;
  in_compare.add_compare();
  in_put.add_success()->mutable_request_put();
  in_delete.add_failure()->mutable_request_delete_range();
  in_range.add_failure()->mutable_request_range();
  const std::string text = "etcdserver: key is not provided";
  EXPECT_REFUSED(refusal("/etcdserverpb.KV/Put", PutRequest()), GrpcCode::kInvalidArgument, text);
  EXPECT_REFUSED(refusal("/etcdserverpb.KV/Range", RangeRequest()), GrpcCode::kInvalidArgument, text);
  EXPECT_REFUSED(refusal("/etcdserverpb.KV/DeleteRange", DeleteRangeRequest()), GrpcCode::kInvalidArgument, text);
  for (const auto& txn : {in_compare, in_put, in_delete, in_range})
    EXPECT_REFUSED(refusal("/etcdserverpb.KV/Txn", txn), GrpcCode::kInvalidArgument, text);
}

TEST_F(Refusals, AnIgnoredValueOrLeaseMustNotBeGiven) {
  PutRequest value = put("k"), lease = put("k");
  value.set_ignore_value(true);
  lease.set_ignore_lease(true);
  lease.set_lease(5);
  EXPECT_REFUSED(refusal("/etcdserverpb.KV/Put", value), GrpcCode::kInvalidArgument, "etcdserver: value is provided");
  EXPECT_REFUSED(refusal("/etcdserverpb.KV/Put", lease), GrpcCode::kInvalidArgument, "etcdserver: lease is provided");
}

TEST_F(Refusals, AnUnknownSortOptionIsRefused) {
  RangeRequest order, target;
  order.set_key("k");
  target.set_key("k");
  order.set_sort_order(static_cast<RangeRequest::SortOrder>(9));
  target.set_sort_target(static_cast<RangeRequest::SortTarget>(9));
  for (const auto& request : {order, target})
    EXPECT_REFUSED(refusal("/etcdserverpb.KV/Range", request), GrpcCode::kInvalidArgument,
                   "etcdserver: invalid sort option");
}

TEST_F(Refusals, ATransactionHasAtMostItsLimitOfOperations) {
  TxnRequest compares, puts, nested;
  for (int i = 0; i < 129; ++i) {
    compares.add_compare()->set_key("k");
    add_put(puts, "k" + std::to_string(i));
  }
  // One operation outside leaves 127 inside.
  auto* inner = nested.add_failure()->mutable_request_txn();
  for (int i = 0; i < 128; ++i) add_put(*inner, "k" + std::to_string(i));
  for (const auto& txn : {compares, puts, nested})
    EXPECT_REFUSED(refusal("/etcdserverpb.KV/Txn", txn), GrpcCode::kInvalidArgument,
                   "etcdserver: too many operations in txn request");
}

TEST_F(Refusals, AnOperationWithoutARequestIsRefused) {
  TxnRequest txn;
  txn.add_success();
  EXPECT_REFUSED(refusal("/etcdserverpb.KV/Txn", txn), GrpcCode::kInvalidArgument, "etcdserver: key not found");
}

TEST_F(Refusals, AKeyIsWrittenOnceInATransaction) {
  TxnRequest twice, deleted, in_range, to_the_end, nested_put, nested_deleted, both_nested;
  add_put(twice, "a");
  add_put(twice, "a");
  add_put(deleted, "a");
  add_delete(deleted, "a");
  add_put(in_range, "b");
  add_delete(in_range, "a", "c");
  add_put(to_the_end, "zzz");
  add_delete(to_the_end, "a", std::string(1, '\0'));
  add_put(*nested_put.add_success()->mutable_request_txn(), "a");
  add_put(nested_put, "a");
  add_delete(*nested_deleted.add_success()->mutable_request_txn(), "a", "c");
  add_put(nested_deleted, "b");
  add_put(*both_nested.add_success()->mutable_request_txn(), "a");
  add_put(*both_nested.add_success()->mutable_request_txn(), "a");
  int i = 0;
  for (const auto& txn : {twice, deleted, in_range, to_the_end, nested_put, nested_deleted, both_nested}) {
    SCOPED_TRACE(i++);
    EXPECT_REFUSED(refusal("/etcdserverpb.KV/Txn", txn), GrpcCode::kInvalidArgument,
                   "etcdserver: duplicate key given in txn request");
  }
}

TEST_F(Refusals, ALargeWriteIsRefused) {
  EXPECT_REFUSED(refusal("/etcdserverpb.KV/Put", put("k", std::string(2_MiB, 'x'))), GrpcCode::kInvalidArgument,
                 "etcdserver: request is too large");
}

TEST_F(Refusals, AMalformedMessageIsRefused) {
  for (const std::string method : {"KV/Put", "KV/Range", "KV/DeleteRange", "KV/Txn", "KV/Compact", "Lease/LeaseGrant",
                                   "Lease/LeaseRevoke"}) {
    const auto call = run(make("/etcdserverpb." + method), "\x0a\xff\xff");
    ASSERT_TRUE(call->status) << method;
    EXPECT_EQ(call->status->code, GrpcCode::kInvalidArgument) << method;
  }
}

TEST_F(Refusals, ATooLongLeaseIsRefused) {
  LeaseGrantRequest request;
  request.set_ttl(9'000'000'001);
  EXPECT_REFUSED(refusal("/etcdserverpb.Lease/LeaseGrant", request), GrpcCode::kOutOfRange,
                 "etcdserver: too large lease TTL");
}

TEST(Validation, TheBranchesOfANestedTransactionMayWriteTheSameKey) {
  TxnRequest txn;
  auto* inner = txn.add_success()->mutable_request_txn();
  *inner->add_success()->mutable_request_put() = put("a");
  *inner->add_failure()->mutable_request_put() = put("a");
  EXPECT_EQ(check(txn, 128), nullptr);
}

TEST(Validation, SuccessAndFailureMayWriteTheSameKey) {
  TxnRequest txn;
  add_put(txn, "a");
  *txn.add_failure()->mutable_request_put() = put("a");
  EXPECT_EQ(check(txn, 128), nullptr);
}

TEST(Validation, ARangeThatEndsBeforeItBeginsDeletesNothing) {
  TxnRequest txn;
  add_put(txn, "b");
  add_delete(txn, "c", "a");
  EXPECT_EQ(check(txn, 128), nullptr);
}

TEST(Validation, DeletedRangesThatMeetAreOneAndKeysOutsideStayFree) {
  TxnRequest txn;
  add_delete(txn, "b", "d");
  add_delete(txn, "d", "f");
  add_delete(txn, "a", "c");
  add_delete(txn, "m");
  for (const std::string free : {"A", "f", "l", "n"}) add_put(txn, free);
  EXPECT_EQ(check(txn, 128), nullptr);
  for (const std::string taken : {"a", "b", "c", "d", "e", "ezz", "m"}) {
    TxnRequest with = txn;
    add_put(with, taken);
    EXPECT_EQ(check(with, 128), &error::kDuplicateKey) << taken;
  }
}

TEST(Validation, ATransactionWithoutWritesIsARead) {
  TxnRequest txn, nested;
  EXPECT_EQ(kind(txn), TxnKind::kReads);
  auto* range = txn.add_success()->mutable_request_range();
  range->set_key("a");
  EXPECT_EQ(kind(txn), TxnKind::kReads);
  range->set_serializable(true);
  EXPECT_EQ(kind(txn), TxnKind::kSerializableReads);
  *nested.add_failure()->mutable_request_txn() = txn;
  EXPECT_EQ(kind(nested), TxnKind::kSerializableReads);
  add_put(*nested.mutable_failure(0)->mutable_request_txn(), "k");
  EXPECT_EQ(kind(nested), TxnKind::kWrites);
}

TEST(Errors, EachTextOfEtcdHasItsCode) {
  EXPECT_EQ(status_of_text("etcdserver: mvcc: required revision has been compacted").code, GrpcCode::kOutOfRange);
  EXPECT_EQ(status_of_text("etcdserver: requested lease not found").code, GrpcCode::kNotFound);
  EXPECT_EQ(status_of_text("etcdserver: mvcc: database space exceeded").code, GrpcCode::kResourceExhausted);
  EXPECT_EQ(status_of_text("etcdserver: request timed out").code, GrpcCode::kUnavailable);
  EXPECT_EQ(status_of_text("something else").code, GrpcCode::kUnknown);
}

TEST(Errors, TheEndsOfAProposalAreEtcdsTexts) {
  EXPECT_REFUSED(status_of(Error{Code::kUnavailable, ""}), GrpcCode::kUnavailable, "etcdserver: no leader");
  EXPECT_REFUSED(status_of(Error{Code::kUnavailable, "etcdserver: leader changed"}), GrpcCode::kUnavailable,
                 "etcdserver: leader changed");
  EXPECT_REFUSED(status_of(Error{Code::kUnavailable, "leeward: fenced"}), GrpcCode::kUnavailable, "leeward: fenced");
  EXPECT_REFUSED(status_of(Error{Code::kOverloaded, "queue full"}), GrpcCode::kResourceExhausted,
                 "etcdserver: too many requests");
  EXPECT_REFUSED(status_of(Error{Code::kUnknown, "leader lost"}), GrpcCode::kUnavailable,
                 "etcdserver: request timed out, possibly due to previous leader failure");
  EXPECT_REFUSED(status_of(Error{Code::kDeadline, ""}), GrpcCode::kUnavailable, "etcdserver: request timed out");
  EXPECT_REFUSED(status_of(Error{Code::kNoSpace, ""}), GrpcCode::kResourceExhausted,
                 "etcdserver: mvcc: database space exceeded");
}

}  // namespace
}  // namespace leeward::api::test
