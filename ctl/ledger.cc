#include "ctl/ledger.h"

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>

#include "ctl/commands.h"
#include "ctl/figures.h"
#include "ctl/replay.h"
#include "ctl/table.h"

namespace leeward::ctl {
namespace {

using boost::json::object;

constexpr Duration kPagePatience = std::chrono::seconds(30);
constexpr std::uint64_t kLinesEach = 10'000;
constexpr std::size_t kMostRows = 20;  // of a table that somebody reads


// A line: one client's write, the request under one name whatever it is.
object exported(const KeptLedger& ledger, const object& transaction) {
  const std::string op = text_of(transaction, "op");
  object line = {{"ledger", std::to_string(ledger.id)}, {"index", text_of(transaction, "index")}, {"number", *number_of(transaction, "number")},
                 {"epoch", text_of(transaction, "epoch")}, {"op", op}};
  const auto* request = transaction.if_contains(transaction.contains("payload") ? "payload" : op);
  line["request"] = request ? *request : boost::json::value(object());
  return line;
}

// Where nobody answers a ledger may be, with all that is nowhere else.
Error unknown_of(const std::vector<std::string>& silent) {
  std::string regions;
  for (const auto& region : silent) regions += (regions.empty() ? "" : ", ") + region;
  return {Code::kUnavailable, "no member of region " + regions + " could be asked: whether it has put history aside is not known. Start one before its disks are emptied"};
}

std::string missing(const object& ledger) {
  if (true_of(ledger, "complete")) return "nothing";
  std::string out;
  for (const object& range : list_of(ledger, "missing_ranges"))
    out += (out.empty() ? "" : ", ") + figure(range, "from_index") + (text_of(range, "to_index") == "0" ? " on" : " to " + figure(range, "to_index"));
  return out.empty() ? "unknown" : out;
}

}  // namespace

Result<KeptLedgers> kept_ledgers(const Server& server, const LedgerChoice& choice) {
  const auto status = server.call("/v3/cluster/status");
  if (!status.ok()) return status.error();
  std::map<std::string, std::vector<Endpoint>> regions;
  for (const object& member : list_of(status->json, "members")) {
    const auto endpoint = parse_endpoint(text_of(member, "client_url"), status->from.tls);
    if (endpoint.ok() && (choice.region.empty() || text_of(member, "region") == choice.region))
      regions[text_of(member, "region")].push_back(*endpoint);
  }
  if (regions.empty()) return Error{Code::kNotFound, "no member is of region " + choice.region + "; leewardctl cluster status lists all"};
  KeptLedgers kept;
  auto& out = kept.all;
  std::optional<Error> failed;
  for (const auto& [region, members] : regions) {
    std::vector<KeptLedger> here;
    bool answered = false;
    std::map<std::uint64_t, std::vector<Endpoint>> held;
    for (const Endpoint& member : members) {
      const auto answer = server.call_at(member, "/v3/dr/ledgers", {});
      if (!answer.ok()) {
        if (exit_code(answer.error()) == kRefused) return answer.error();
        failed = answer.error();
        continue;
      }
      answered = true;
      const bool first = here.empty();
      for (const object& l : list_of(answer->json, "ledgers")) {
        const auto id = number_of(l, "ledger").value_or(0);
        if (true_of(l, "held")) held[id].push_back(member);
        if (first && (choice.id == 0 || choice.id == id))
          here.push_back({l, region, text_of(answer->json, "lineage"), text_of(answer->json, "group"), id,
                          number_of(l, "from_index").value_or(0), {}});
      }
    }
    for (auto& ledger : here) {
      ledger.members = held[ledger.id];
      for (const Endpoint& member : members)
        if (std::none_of(ledger.members.begin(), ledger.members.end(), [&](const auto& e) { return e.text() == member.text(); }))
          ledger.members.push_back(member);
      out.push_back(std::move(ledger));
    }
    if (!answered) kept.silent.push_back(region);
  }
  // Of those that part at one place the longest first: what it has, the others' replay finds to be there.
  const auto to = [](const KeptLedger& l) { return number_of(l.described, "to_index").value_or(0); };
  std::stable_sort(out.begin(), out.end(), [&](const auto& a, const auto& b) { return a.from_index != b.from_index ? a.from_index < b.from_index : to(a) > to(b); });
  if (kept.silent.size() == regions.size() && failed) return *failed;
  if (out.empty() && !kept.silent.empty()) return unknown_of(kept.silent);
  if (choice.id != 0 && out.empty())
    return Error{Code::kNotFound, (choice.region.empty() ? std::string("no region keeps") : "region " + choice.region + " does not keep") + " a ledger " +
                                      std::to_string(choice.id) + "; leewardctl dr ledger show lists all"};
  return kept;
}

Result<void> LedgerTransactions::turn() {
  std::optional<Error> first;
  for (std::size_t tried = 0; tried < ledger_.members.size(); ++tried) {
    const auto answer = server_.call_at(ledger_.members[member_], "/v3/dr/ledger/page", {{"ledger", std::to_string(ledger_.id)}, {"after_index", after_}},
                                        kPagePatience);
    if (answer.ok()) {
      page_ = list_of(answer->json, "transactions");
      taken_ = 0;
      after_ = text_of(answer->json, "next_after");
      end_ = true_of(answer->json, "end");
      return {};
    }
    if (!first) first = answer.error();
    member_ = (member_ + 1) % ledger_.members.size();
  }
  return first ? *first : Error{Code::kUnavailable, "no member of region " + ledger_.region + " is known"};
}

Result<std::optional<object>> LedgerTransactions::next() {
  while (taken_ == page_.size()) {
    if (end_) return std::optional<object>();
    if (const auto turned = turn(); !turned.ok()) return turned.error();
  }
  return std::optional(std::move(page_[taken_++]));
}

Result<void> dr_ledger_show(const Server& server, const Output& output, const LedgerChoice& choice) {
  const auto ledgers = kept_ledgers(server, choice);
  if (!ledgers.ok()) return ledgers.error();
  boost::json::array all;
  std::string next;
  for (const KeptLedger& ledger : ledgers->all) {
    object shown = ledger.described;
    shown["region"] = ledger.region;
    shown.erase("held");
    const auto judged = replay(server, ledger, {.dry_run = true});
    if (judged.ok()) {
      shown["clean"] = std::to_string(judged->clean);
      shown["conflicting"] = std::to_string(judged->conflicting);
      shown["lease_bound"] = std::to_string(judged->lease_bound);
      shown["replayed"] = std::to_string(judged->replayed);
      shown["other"] = std::to_string(judged->other);
    } else {
      shown["not_judged"] = judged.error().message;
    }
    all.push_back(std::move(shown));
  }
  if (output.json) {
    boost::json::array unknown;
    for (const auto& region : ledgers->silent) unknown.push_back(boost::json::value(region));
    output.out << boost::json::serialize(object{{"ledgers", all}, {"unknown_regions", std::move(unknown)}}) << "\n";
    return {};
  }
  if (!ledgers->silent.empty()) output.out << unknown_of(ledgers->silent).message << "\n";
  if (all.empty()) {
    output.out << "no region has put history aside\n";
    return {};
  }
  Table table({{"REGION"}, {"LEDGER", Table::Align::kRight}, {"EPOCH", Table::Align::kRight}, {"WRITES", Table::Align::kRight}, {"SIZE", Table::Align::kRight},
               {"MISSING"}, {"CLEAN", Table::Align::kRight}, {"CONFLICTING", Table::Align::kRight}, {"LEASE-BOUND", Table::Align::kRight},
               {"REPLAYED", Table::Align::kRight}});
  bool clean = false, left = false, unjudged = false, no_fork = false;
  for (const auto& value : all) {
    const object& l = value.as_object();
    table.add({text_of(l, "region"), text_of(l, "ledger"), figure(l, "epoch"), figure(l, "writes"), size_figure(l, "bytes"), missing(l),
               figure(l, "clean"), figure(l, "conflicting"), figure(l, "lease_bound"), figure(l, "replayed")});
    clean |= number_of(l, "clean").value_or(0) > 0;
    left |= number_of(l, "conflicting").value_or(0) + number_of(l, "lease_bound").value_or(0) > 0;
    unjudged |= l.contains("not_judged");
    no_fork |= text_of(l, "not_judged").find("another time") != std::string::npos;
    if (l.contains("not_judged")) output.out << "ledger " << text_of(l, "ledger") << " is not judged: " << text_of(l, "not_judged") << "\n";
  }
  output.out << table.text();
  if (next.empty() && clean)
    next = "next: leewardctl dr ledger replay --dry-run says what would be applied, and what not and why; what is clean may conflict once the application has written it anew";
  if (next.empty() && no_fork)
    next = "next: leewardctl dr ledger export FILE; what is in it is brought back by hand, for nothing tells what has changed since";
  if (next.empty() && unjudged)
    next = "next: leewardctl dr ledger export FILE keeps what stands here, as nobody could say yet what of it the region that serves lacks; ask again when one serves";
  if (next.empty())
    next = std::string(left ? "next: nothing that is left can be applied: its keys were written again since, or hang on a lease; leewardctl dr ledger export FILE keeps it"
                              " to be looked at, then leewardctl dr ledger discard --region "
                            : "next: nothing is left to apply; leewardctl dr ledger export FILE keeps a copy, leewardctl dr ledger discard --region ") +
           ledgers->all.front().region + " --ledger " + std::to_string(ledgers->all.front().id) + " --accept-data-loss ends it";
  output.out << next << "\n";
  return {};
}

Result<void> dr_ledger_export(const Server& server, const Output& output, const LedgerChoice& choice, const std::string& name, bool force) {
  const bool to_terminal = name == "-";
  // It may be the last copy of another export.
  if (!to_terminal && !force && std::filesystem::exists(name)) return Error{Code::kRefused, "exists: " + name + " is there already; name another file, or say --force"};
  const auto ledgers = kept_ledgers(server, choice);
  if (!ledgers.ok()) return ledgers.error();
  if (ledgers->all.empty()) return Error{Code::kNotFound, "no region has put history aside: nothing was written"};
  std::ofstream file;
  if (!to_terminal) file.open(name, std::ios::binary | std::ios::trunc);
  if (!to_terminal && !file) return Error{Code::kIo, name + " cannot be written"};
  std::ostream& to = to_terminal ? output.out : file;
  std::uint64_t lines = 0;
  for (const KeptLedger& ledger : ledgers->all) {
    LedgerTransactions transactions(server, ledger);
    for (;;) {
      auto transaction = transactions.next();
      if (!transaction.ok()) return transaction.error();
      if (!*transaction) break;
      to << boost::json::serialize(exported(ledger, **transaction)) << "\n";
      if (!to) return Error{Code::kIo, name + " cannot be written; is there space?"};
      if (++lines % kLinesEach == 0 && !to_terminal && !output.json)
        output.out << lines << " transactions, at history index " << text_of(**transaction, "index") << " of "
                   << text_of(ledger.described, "to_index") << std::endl;
    }
  }
  to.flush();
  if (!to) return Error{Code::kIo, name + " cannot be written; is there space?"};
  if (!ledgers->silent.empty()) return unknown_of(ledgers->silent);
  if (to_terminal) return {};
  if (output.json) output.out << boost::json::serialize(object{{"file", name}, {"ledgers", std::to_string(ledgers->all.size())}, {"transactions", std::to_string(lines)}}) << "\n";
  else output.out << lines << " transactions of " << ledgers->all.size() << " ledgers in " << name << ", proved by their chain of hashes\n";
  return {};
}

Result<void> dr_ledger_discard(const Server& server, const Output& output, const LedgerChoice& choice, bool accept_data_loss) {
  const auto ledgers = kept_ledgers(server, choice);
  if (!ledgers.ok()) return ledgers.error();
  Result<Answer> answer = Error{Code::kNotFound, "region " + choice.region + " keeps no ledger " + std::to_string(choice.id) + "; leewardctl dr ledger show lists all"};
  for (const KeptLedger& ledger : ledgers->all)
    for (const Endpoint& member : ledger.members) {  // its leader answers
      answer = server.call_at(member, "/v3/dr/ledger/discard", {{"ledger", std::to_string(ledger.id)}, {"accept_data_loss", accept_data_loss}});
      if (answer.ok() || (exit_code(answer.error()) != kUnreachable && answer.error().code != kCannotServe)) break;
    }
  if (!answer.ok()) return answer.error();
  if (output.json) output.out << answer->text << "\n";
  else output.out << "ledger " << choice.id << " of region " << choice.region << " is discarded\n";
  return {};
}

Result<void> dr_ledger_replay(const Server& server, const Output& output, const LedgerChoice& choice, bool dry_run) {
  const auto ledgers = kept_ledgers(server, choice);
  if (!ledgers.ok()) return ledgers.error();
  boost::json::array all;
  std::optional<Error> failed;  // of the first that could not be: the others are replayed, and told, all the same
  for (const KeptLedger& ledger : ledgers->all) {
    const auto done = replay(server, ledger, {.dry_run = dry_run, .progress = output.json ? nullptr : &output.out});
    if (!done.ok()) {
      if (!failed) failed = Error{done.error().code, "ledger " + std::to_string(ledger.id) + " of region " + ledger.region + ": " + done.error().message};
      continue;
    }
    boost::json::array left;
    for (const auto& l : done->left)
      left.push_back(object{{"index", std::to_string(l.index)}, {"number", l.number}, {"op", l.op}, {"class", l.kind}, {"why", l.why}});
    all.push_back(object{{"region", ledger.region}, {"ledger", std::to_string(ledger.id)}, {"dry_run", dry_run}, {"applied", std::to_string(done->applied)},
                         {"replayed", std::to_string(done->replayed)}, {"clean", std::to_string(done->clean)}, {"conflicting", std::to_string(done->conflicting)},
                         {"lease_bound", std::to_string(done->lease_bound)}, {"other", std::to_string(done->other)}, {"left", std::move(left)},
                         {"left_more", std::to_string(done->left_more)}});
  }
  if (output.json) {
    output.out << boost::json::serialize(object{{"ledgers", all}}) << "\n";
    return failed ? Result<void>(*failed) : Result<void>();
  }
  if (ledgers->all.empty()) output.out << "no region has put history aside\n";
  for (const auto& value : all) {
    const object& l = value.as_object();
    const auto line = [&](const char* key, const std::string& text) { print_line(output.out, key, text); };
    line("ledger", text_of(l, "ledger") + " of region " + text_of(l, "region"));
    if (dry_run) line("would apply", figure(l, "clean"));
    else line("applied", figure(l, "applied"));
    line("applied before", figure(l, "replayed"));
    line("conflicting", figure(l, "conflicting"));
    line("lease-bound", figure(l, "lease_bound") + ", never applied");
    line("other", figure(l, "other") + ", of regions and compactions: never applied");
    Table table({{"INDEX", Table::Align::kRight}, {"N", Table::Align::kRight}, {"OP"}, {"LEFT BECAUSE"}});
    const auto left = list_of(l, "left");
    const std::size_t shown = std::min(left.size(), kMostRows);
    for (std::size_t i = 0; i < shown; ++i) table.add({text_of(left[i], "index"), text_of(left[i], "number"), text_of(left[i], "op"), text_of(left[i], "why")});
    if (shown > 0) output.out << "\n" << table.text();
    if (const auto more = left.size() - shown + number_of(l, "left_more").value_or(0); more > 0)
      output.out << "and " << more << " more; -o json names the first " << left.size() << ", leewardctl dr ledger export has all\n";
  }
  if (failed) return *failed;
  const bool more = std::any_of(all.begin(), all.end(), [](const auto& l) { return number_of(l.as_object(), "clean").value_or(0) > 0; });
  if (!all.empty())
    output.out << "next: " << (dry_run && more ? "leewardctl dr ledger replay" : "leewardctl dr ledger show") << "\n";
  return {};
}

}  // namespace leeward::ctl
