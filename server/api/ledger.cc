// What a group has put aside, as its members hold it, and what an operator needs
// to know of the history that went on without it.
#include "api/handlers.h"
#include "base/command.h"
#include "proto/leeward.pb.h"
#include "proto/rpc.pb.h"

namespace leeward::api::operations {
namespace {

namespace pb = leeward::v1;

constexpr std::size_t kChangesBytes = 512_KiB;
constexpr std::size_t kPollBytes = 256_KiB;
constexpr Duration kLookAgain = 5ms;

WayBack* way_back_of(const CallPtr& call) {
  if (call->core().way_back == nullptr) call->finish({GrpcCode::kUnimplemented, "leeward: this node knows no second region", {}});
  return call->core().way_back;
}

const char* op_name(EntryKind kind) {
  switch (kind) {
    case EntryKind::kEpochChange: return "epoch_change";
    case EntryKind::kArmed: return "armed";
    case EntryKind::kDisarmed: return "disarmed";
    case EntryKind::kSeal: return "seal";
    case EntryKind::kUnseal: return "unseal";
    case EntryKind::kTopology: return "topology";
    case EntryKind::kMeasured: return "measured";
    default: return "other";
  }
}

bool take(pb::DrLedgerPageResponse::Transaction& to, const CommandView& command) {
  const auto parse = [&](auto* message) { return message->ParseFromArray(command.request.data(), static_cast<int>(command.request.size())); };
  switch (command.op) {
    case Op::kPut: to.set_op("put"); return parse(to.mutable_put());
    case Op::kDeleteRange: to.set_op("delete_range"); return parse(to.mutable_delete_range());
    case Op::kTxn: to.set_op("txn"); return parse(to.mutable_txn());
    case Op::kCompact: to.set_op("compact"); return parse(to.mutable_compact());
    case Op::kLeaseGrant: to.set_op("lease_grant"); return parse(to.mutable_lease_grant());
    case Op::kLeaseRevoke: to.set_op("lease_revoke"); return parse(to.mutable_lease_revoke());
  }
  return false;
}

Result<void> add(pb::DrLedgerPageResponse& response, const Entry& entry) {
  const Error damaged{Code::kCorrupt, "a ledger holds what is no request"};
  const auto one = [&](std::uint32_t number) -> pb::DrLedgerPageResponse::Transaction& {
    auto& to = *response.add_transactions();
    to.set_index(entry.position.index.value());
    to.set_number(number);
    to.set_epoch(entry.epoch.value());
    return to;
  };
  response.set_next_after(entry.position.index.value());
  if (entry.kind != EntryKind::kWrites) {
    auto& to = one(0);
    to.set_op(op_name(entry.kind));
    to.set_payload(std::string(entry.payload.view()));
    return {};
  }
  const auto commands = decode_payload(entry.payload.view(), entry.writes);
  if (!commands.ok()) return commands.error();
  for (std::uint32_t i = 0; i < commands->size(); ++i)
    if (!take(one(i), (*commands)[i])) return damaged;
  return {};
}

// Reads the history with a watch from the past, until it is at `to` or the
// answer is long enough. On one executor; the call is answered on its own loop.
class Changes : public std::enable_shared_from_this<Changes> {
 public:
  Changes(CallPtr call, Executor& executor, std::unique_ptr<Watcher> watcher, Revision from, Revision to)
      : call_(std::move(call)), executor_(executor), watcher_(std::move(watcher)), to_(to) {
    response_.set_next_revision(from.value());
  }

  void run() {
    while (auto events = watcher_->poll(kPollBytes)) {
      if (events->compacted) {
        response_.set_compacted(events->compacted->value());
        return answer();
      }
      if (!events->cancel_reason.empty()) return fail({Code::kUnavailable, "leeward: " + events->cancel_reason});
      etcdserverpb::WatchResponse parsed;
      if (!parsed.ParseFromArray(events->events.data(), static_cast<int>(events->events.size())))
        return fail({Code::kCorrupt, "a watch told what does not parse"});
      for (const auto& event : parsed.events()) {
        if (event.kv().mod_revision() > to_.value()) {
          finish_at_end();
          return answer();
        }
        auto* change = response_.add_changes();
        change->set_key(event.kv().key());
        change->set_revision(event.kv().mod_revision());
        change->set_deleted(event.type() == mvccpb::Event::DELETE);
        bytes_ += event.kv().key().size() + 16;
        response_.set_next_revision(event.kv().mod_revision() + 1);
      }
      if (bytes_ >= kChangesBytes) return answer();
    }
    if (watcher_->synced() >= to_) {
      finish_at_end();
      return answer();
    }
    executor_.after(kLookAgain, [self = shared_from_this()] { self->run(); });
  }

 private:
  void finish_at_end() {
    response_.set_next_revision(to_.value() + 1);
    response_.set_end(true);
  }
  void answer() {
    watcher_.reset();
    call_->loop().post([self = shared_from_this()] { self->call_->reply_message(self->response_); });
  }
  void fail(Error error) {
    watcher_.reset();
    call_->loop().post([self = shared_from_this(), error = std::move(error)] { self->call_->fail(error); });
  }

  CallPtr call_;
  Executor& executor_;
  std::unique_ptr<Watcher> watcher_;
  Revision to_;
  pb::DrChangesResponse response_;
  std::size_t bytes_ = 0;
};

}  // namespace

void dr_ledgers(CallPtr call, Bytes bytes) {
  pb::DrLedgersRequest request;
  if (!parse(call, bytes, request) || !by_operator(call)) return;
  WayBack* way_back = way_back_of(call);
  if (way_back == nullptr) return;
  way_back->ledgers(call->loop(), [call](Result<LedgerList> list) {
    if (!list.ok()) return call->fail(list.error());
    pb::DrLedgersResponse response;
    const auto status = call->core().status();
    response.set_node_id(call->core().self().value());
    if (const auto* self = status->self()) response.set_region(self->region);
    response.set_lineage(list->lineage.hex());
    response.set_group(hexadecimal(list->group.value()));
    for (const auto& l : list->ledgers) {
      auto* to = response.add_ledgers();
      fill_ledger(*to, l);
      to->set_complete(l.complete());
      const auto missing = [to](HistoryIndex from, HistoryIndex upto) {
        auto* range = to->add_missing_ranges();
        range->set_from_index(from.value() + 1);
        range->set_to_index(upto.value());
      };
      if (l.kept != l.from) missing(l.from.index, l.kept.index);
      if (l.survived_at != HistoryIndex()) missing(l.survived_at, {});
      to->set_held(l.held);
    }
    call->reply_message(response);
  });
}

void dr_ledger_discard(CallPtr call, Bytes bytes) {
  pb::DrLedgerDiscardRequest request;
  if (!parse(call, bytes, request) || !by_operator(call)) return;
  if (request.ledger() == 0) return call->finish(invalid("leeward: ledger is 0, which names none; leewardctl dr ledger show lists them"));
  WayBack* way_back = way_back_of(call);
  if (way_back == nullptr) return;
  way_back->discard(Index(request.ledger()), request.accept_data_loss(), asked_by(call), call->loop(),
                    [call, ledger = request.ledger()](Result<std::vector<LedgerSummary>> kept) {
    if (!kept.ok()) return operations::fail(call, kept.error());
    pb::DrLedgerDiscardResponse response;
    response.set_ledger(ledger);
    response.set_kept(static_cast<std::uint32_t>(kept->size()));
    call->reply_message(response);
  });
}

void dr_ledger_page(CallPtr call, Bytes bytes) {
  pb::DrLedgerPageRequest request;
  if (!parse(call, bytes, request) || !by_operator(call)) return;
  WayBack* way_back = way_back_of(call);
  if (way_back == nullptr) return;
  way_back->ledger_page(Index(request.ledger()), HistoryIndex(request.after_index()), call->loop(),
                        [call, after = request.after_index()](Result<LedgerPiece> piece) {
    if (!piece.ok() && piece.error().code == Code::kCorrupt)
      return call->finish({GrpcCode::kDataLoss, "leeward: " + piece.error().message, {}});
    if (!piece.ok()) return call->fail(piece.error());
    pb::DrLedgerPageResponse response;
    response.set_next_after(after);
    for (const Entry& entry : piece->entries)
      if (const auto added = add(response, entry); !added.ok()) return call->finish({GrpcCode::kDataLoss, "leeward: " + added.error().message, {}});
    response.set_end(piece->end);
    call->reply_message(response);
  });
}

void dr_changes(CallPtr call, Bytes bytes) {
  pb::DrChangesRequest request;
  if (!parse(call, bytes, request) || !by_operator(call)) return;
  Core& core = call->core();
  const Revision applied = core.node.state().applied().revision;
  const Revision from(request.from_revision()), to = request.to_revision() == 0 ? applied : Revision(request.to_revision());
  if (request.from_revision() <= 0) return call->finish(invalid("leeward: from_revision is the first one to be told, above 0"));
  if (to > applied)
    return call->fail(Error{Code::kUnavailable, "leeward: revision " + std::to_string(to.value()) + " is not applied here yet; ask another member"});
  pb::DrChangesResponse nothing;
  nothing.set_next_revision(request.from_revision());
  nothing.set_end(true);
  if (from > to) return call->reply_message(nothing);
  WatchRequest wanted;
  wanted.key = wanted.range_end = std::string(1, '\0');
  wanted.start = from;
  auto watcher = core.node.state().watch(wanted, [] {});
  if (!watcher.ok()) return call->fail(watcher.error());
  Executor& executor = core.background != nullptr ? *core.background : call->loop();
  auto changes = std::make_shared<Changes>(call, executor, std::move(*watcher), from, to);
  executor.post([changes] { changes->run(); });
}

}  // namespace leeward::api::operations
