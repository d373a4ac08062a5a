// The methods of all services, one file each, and the table that names them.
#pragma once

#include <span>
#include <string_view>

#include "api/call.h"

namespace leeward::api {

using UnaryHandler = void (*)(CallPtr call, Bytes request);
using StreamHandler = void (*)(CallPtr call);

struct MethodEntry {
  std::string_view path;  // "/etcdserverpb.KV/Put"
  Method method;
  UnaryHandler unary = nullptr;    // one of the two
  StreamHandler stream = nullptr;
  bool learner = false;            // a learner answers it too
};

std::span<const MethodEntry> method_table();
const MethodEntry* find_method(std::string_view path);

namespace kv {
void range(CallPtr, Bytes);
void put(CallPtr, Bytes);
void delete_range(CallPtr, Bytes);
void txn(CallPtr, Bytes);
void compact(CallPtr, Bytes);
}  // namespace kv

namespace watch {
void watch(CallPtr);
}

namespace lease {
void grant(CallPtr, Bytes);
void revoke(CallPtr, Bytes);
void keep_alive(CallPtr);
void time_to_live(CallPtr, Bytes);
void leases(CallPtr, Bytes);
}  // namespace lease

namespace cluster {
void member_list(CallPtr, Bytes);
void member_add(CallPtr, Bytes);
void member_remove(CallPtr, Bytes);
void member_update(CallPtr, Bytes);
void member_promote(CallPtr, Bytes);
}  // namespace cluster

namespace maintenance {
void alarm(CallPtr, Bytes);
void status(CallPtr, Bytes);
void defragment(CallPtr, Bytes);
void hash(CallPtr, Bytes);
void hash_kv(CallPtr, Bytes);
void move_leader(CallPtr, Bytes);
void snapshot(CallPtr);
void downgrade(CallPtr, Bytes);
}  // namespace maintenance

namespace auth {
void enable(CallPtr, Bytes);
void disable(CallPtr, Bytes);
void status(CallPtr, Bytes);
void authenticate(CallPtr, Bytes);
void user_list(CallPtr, Bytes);
void role_list(CallPtr, Bytes);
void no_such_user(CallPtr, Bytes);
void no_such_role(CallPtr, Bytes);
void not_built(CallPtr, Bytes);
}  // namespace auth

namespace recipes {  // Lock and Election
void not_built(CallPtr, Bytes);
void not_built_stream(CallPtr);
}  // namespace recipes

namespace health {
void check(CallPtr, Bytes);
void watch(CallPtr);
}  // namespace health

namespace reflection {
void info(CallPtr);
}

namespace operations {
void cluster_status(CallPtr, Bytes);
void topology(CallPtr, Bytes);
void replica_status(CallPtr, Bytes);
void standby_status(CallPtr, Bytes);
void storage_info(CallPtr, Bytes);
void member_admit(CallPtr, Bytes);
void cluster_finalize(CallPtr, Bytes);
void member_change(CallPtr, Bytes);
void member_sync(CallPtr, Bytes);
// An id as it is shown; who asks, for the log and the history.
std::string hexadecimal(std::uint64_t id);
std::string asked_by(const CallPtr& call);
// As the gateway answers that method. Errors: kCorrupt.
Result<std::string> json_of(std::string_view method, const google::protobuf::Message& message);
// Ends the call. kUnknown is ABORTED here: begun, and not known how it ends;
// etcd's texts for that are about writes.
void fail(const CallPtr& call, const Error& error);
// What a ledger is, into a message with these fields.
template <class Message>
void fill_ledger(Message& to, const LedgerSummary& ledger) {
  to.set_ledger(ledger.follow.value());
  to.set_epoch(ledger.epoch.value());
  to.set_followed_epoch(ledger.followed.value());
  to.set_from_index(ledger.from.index.value());
  to.set_to_index(ledger.to.index.value());
  to.set_writes(ledger.writes());
  to.set_entries(ledger.entries());
  to.set_bytes(ledger.bytes());
}
void dr_plan(CallPtr, Bytes);
void dr_promote(CallPtr, Bytes);
void dr_survivor(CallPtr, Bytes);
void dr_status(CallPtr, Bytes);
void dr_rejoin(CallPtr, Bytes);
void dr_ledgers(CallPtr, Bytes);
void dr_ledger_page(CallPtr, Bytes);
void dr_ledger_discard(CallPtr, Bytes);
void dr_changes(CallPtr, Bytes);
void dr_switchover(CallPtr, Bytes);
void dr_abort(CallPtr, Bytes);
void dr_arm(CallPtr, Bytes);
void dr_disarm(CallPtr, Bytes);
void dr_drill(CallPtr, Bytes);
void replica_pause(CallPtr, Bytes);
void replica_resume(CallPtr, Bytes);
void replica_isolate(CallPtr, Bytes);
void replica_rejoin(CallPtr, Bytes);
}  // namespace operations

// True when the caller may change members, replicas and disaster recovery; else
// the call is ended.
bool by_operator(const CallPtr& call);
// Shared by services: proposes `request` and answers with its result.
void propose(const CallPtr& call, Op op, Bytes request);
// Runs `then` when a linearizable read may be served here, or ends the call.
void when_linearizable(const CallPtr& call, Function<void()> then);
// True when a stale read may be served within what the client allows
// (metadata leeward-max-lag); else the call is ended.
bool fresh_enough(const CallPtr& call);
// "500ms", "1.5s", "2m", "1h30m": as Go writes durations.
std::optional<Duration> parse_duration(std::string_view text);
// Runs `work` on the background loop, if there is one, and `then` on the
// call's with what it gave.
template <class T>
void in_background(const CallPtr& call, std::function<T()> work, std::function<void(T)> then) {
  Executor* background = call->core().background;
  if (background == nullptr) return then(work());
  background->post([call, work = std::move(work), then = std::move(then)] {
    call->loop().post([then, result = std::make_shared<T>(work())] { then(std::move(*result)); });
  });
}

// Likewise for reads that may touch many keys; `bytes`: what `work` holds. What
// nobody waits for any more when its turn comes is left out.
template <class T>
void in_reader(const CallPtr& call, std::size_t bytes, Function<Result<T>()> work, Function<void(Result<T>)> then) {
  const bool taken = call->core().readers.run(bytes, [call = call, work = std::move(work), then = std::move(then)]() mutable {
    Result<T> result = call->ended()            ? Result<T>(Error{Code::kDeadline, "its turn came too late"})
                       : call->core().stopping ? Result<T>(Error{Code::kUnavailable, std::string(error::kStopped.text)})
                                               : work();
    Executor& loop = call->loop();
    loop.post([call = std::move(call), then = std::move(then), result = std::move(result)]() mutable {
      if (call->core().stopping) result = Error{Code::kUnavailable, std::string(error::kStopped.text)};  // to write it may take long
      if (call->open()) then(std::move(result));
    });
  });
  if (!taken) call->fail(Error{Code::kOverloaded, "too many reads of many keys wait"});
}

}  // namespace leeward::api
