// Flags and the list of commands: the only file with CLI11.
#include <CLI/CLI.hpp>

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iostream>
#include <functional>
#include <limits>
#include <sstream>
#include <utility>

#include "base/quantity.h"
#include "ctl/commands.h"
#include "ctl/ledger.h"
#include "ctl/patient_poster.h"
#include "ctl/snapshot.h"

namespace leeward::ctl {
namespace {

struct Options {
  std::string endpoints = "127.0.0.1:2379";
  Certificates certificates;
  std::string output = "table";
  std::string timeout = "5s";
  std::uint64_t id = 0;
  std::string reason;
  NewMember member;
  std::vector<std::uint64_t> pairs;
  bool force = false;
  std::string wait = "10m";
  StoragePlace place;
  bool full_scan = false;
  Promotion promotion;
  HandoverTo handover;
  LedgerChoice ledger;
  bool accept_data_loss = false;
  std::string file;
  RestoreTo restore;
  bool dry_run = false, auth = false;
  std::string promotion_id;
  bool discard = false;
  bool history = false;
  std::uint64_t from = 0, to = std::numeric_limits<std::uint64_t>::max();
  CapacityFlags capacity;
};

using Action = std::function<Result<void>()>;

// How many letters stand between two words: left out, put in or exchanged; mixed up is one.
std::size_t distance(const std::string& a, const std::string& b) {
  if (std::is_permutation(a.begin(), a.end(), b.begin(), b.end())) return a == b ? 0 : 1;
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j < row.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j)
      diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)}));
  }
  return row[b.size()];
}

// The command or flag of `app` that was probably meant; empty: nobody can tell.
std::string nearest(const std::string& word, const CLI::App& app) {
  const std::string named = word.substr(0, word.find('='));
  std::size_t least = std::max<std::size_t>(named.size() / 3, 1) + 1;
  std::string meant;
  const auto look = [&](const std::string& candidate) {
    if (const auto d = distance(named, candidate); d < least) least = d, meant = candidate;
  };
  if (named.starts_with("-"))
    for (const auto* at = &app; at != nullptr; at = at->get_parent())
      for (const auto* option : at->get_options())
        for (const auto& name : option->get_lnames()) look("--" + name);
  else
    for (const auto* command : app.get_subcommands([](const CLI::App*) { return true; })) look(command->get_name());
  return meant;
}

class CommandLine {
 public:
  CommandLine(std::ostream& out, Disk& disk, Poster* poster) : out_(out), disk_(disk), poster_(poster) {
    app_.name("leewardctl");
    app_.description("Operates a Leeward cluster.\n\nExit codes: 0 done, 1 failed, 2 usage, 3 refused by a safety rule, 4 unreachable.");
    app_.require_subcommand(1);
    app_.fallthrough();
    app_.add_option("--endpoints", options_.endpoints, "client ports to try in turn: host:port,https://host:port or unix:///path")
        ->envname("LEEWARDCTL_ENDPOINTS")->capture_default_str();
    app_.add_option("--cacert", options_.certificates.ca, "whom to believe, PEM; turns TLS on")->envname("LEEWARDCTL_CACERT");
    app_.add_option("--cert", options_.certificates.cert, "the operator's certificate, PEM")->envname("LEEWARDCTL_CERT");
    app_.add_option("--key", options_.certificates.key, "its key, PEM")->envname("LEEWARDCTL_KEY");
    app_.add_option("-o,--output", options_.output, "table or json")->check(CLI::IsMember({"table", "json"}))->capture_default_str();
    app_.add_option("--timeout", options_.timeout, "limit of each try")->capture_default_str();
    add_commands();
  }

  int run(const std::vector<std::string>& arguments, std::ostream& err) {
    err_ = &err;
    try {
      app_.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
    } catch (const CLI::CallForHelp& help) {
      std::ostringstream ignored;
      app_.exit(help, out_, ignored);
      return kDone;
    } catch (const CLI::ParseError& error) {
      std::string text = error.what();
      if (const std::size_t line = text.find('\n'); line != std::string::npos) text.resize(line);
      // It says that a command is missing where one was given that it does not know.
      if (const auto rest = app_.remaining(true); text.starts_with("A subcommand") && !rest.empty())
        text = "\"" + rest.front() + "\" is not a command";
      std::string at = "leewardctl";
      const CLI::App* app = &app_;
      while (!app->get_subcommands().empty()) {
        app = app->get_subcommands().front();
        at += " " + app->get_name();
      }
      for (const auto& word : app_.remaining(true))
        if (const auto meant = nearest(word, *app); !meant.empty() && meant != word) {
          text += " (did you mean " + meant + "?)";
          break;
        }
      err << "leewardctl: " << text << "; " << at << " --help lists commands and flags\n";
      return kUsage;
    }
    const Result<void> done = action_ ? action_() : Error{Code::kInvalid, "no command; leewardctl --help lists them"};
    if (done.ok()) return kDone;
    const std::string& message = done.error().message;
    constexpr std::string_view kOurs = "leeward: ";  // in clients' logs it says whose words they are
    err << "leewardctl: " << message.substr(message.starts_with(kOurs) ? kOurs.size() : 0) << "\n";
    return exit_code(done.error());
  }

 private:
  CLI::App& group(const char* name, const char* description) {
    CLI::App& group = *app_.add_subcommand(name, description);
    group.require_subcommand(1);
    group.fallthrough();
    return group;
  }

  CLI::App& command(CLI::App& group, const char* name, const char* description, Action action) {
    CLI::App& command = *group.add_subcommand(name, description);
    command.fallthrough();
    command.callback([this, action = std::move(action)] { action_ = action; });
    return command;
  }

  Action online(std::function<Result<void>(const Server&, const Output&)> body) {
    return [this, body = std::move(body)]() -> Result<void> {
      const auto timeout = parse_duration(options_.timeout);
      if (!timeout.ok() || *timeout <= 0ns) return Error{Code::kInvalid, "--timeout " + options_.timeout + ": expected a duration such as 5s"};
      if (options_.certificates.cert.empty() != options_.certificates.key.empty())
        return Error{Code::kInvalid, "--cert and --key come together"};
      if (const auto usable = check(options_.certificates); !usable.ok()) return usable.error();
      auto endpoints = parse_endpoints();
      if (!endpoints.ok()) return endpoints.error();
      HttpPoster network(options_.certificates);
      Poster& poster = poster_ ? *poster_ : network;
      PatientPoster patient(poster, *err_);
      const Server server(std::move(*endpoints), *timeout, output().json ? poster : patient);
      return body(server, output());
    };
  }

  Output output() { return {out_, options_.output == "json"}; }

  Result<std::vector<Endpoint>> parse_endpoints() const {
    const bool tls = !options_.certificates.ca.empty() || !options_.certificates.cert.empty();
    std::vector<Endpoint> out;
    std::stringstream list(options_.endpoints);
    for (std::string text; std::getline(list, text, ',');) {
      auto endpoint = parse_endpoint(text, tls);
      if (!endpoint.ok()) return endpoint.error();
      out.push_back(std::move(*endpoint));
    }
    if (out.empty()) return Error{Code::kInvalid, "--endpoints is empty; expected host:port,..."};
    return out;
  }

  void add_commands() {
    CLI::App& cluster = group("cluster", "the cluster as a whole");
    command(cluster, "status", "epoch, leader, members with role, state, lag and state hash", online(cluster_status));
    command(cluster, "topology", "regions, members and their addresses", online(cluster_topology));

    command(cluster, "finalize", "lets every region write the newest format that all members know; ends the way back to an older version", online(cluster_finalize));

    CLI::App& member = group("member", "members of the answering node's group");
    command(member, "list", "members with their addresses", online(member_list));
    const auto with_id = [this](CLI::App& c, const char* text) { c.add_option("id", options_.id, text)->required()->check(CLI::Range(1u, 0xffffffffu)); };
    with_id(command(member, "admit", "lets a member that came back with empty storage vote again",
                    online([this](const Server& s, const Output& o) { return member_admit(s, o, options_.id); })), "id of the member, decimal");
    add_member_changes(member, with_id);
    with_id(command(member, "move-leader", "hands leadership to another member",
                    online([this](const Server& s, const Output& o) { return member_move_leader(s, o, options_.id); })), "id of the new leader, decimal");

    const auto may_have_id = [this](CLI::App& c) { c.add_option("--id", options_.id, "of one member")->check(CLI::Range(1u, 0xffffffffu)); };
    CLI::App& replica = group("replica", "one member");
    may_have_id(command(replica, "status", "all that is known of one member (default: the one that answers)",
                        online([this](const Server& s, const Output& o) { return replica_status(s, o, options_.id); })));
    const auto change = [&](const char* what, const char* description) -> CLI::App& {
      CLI::App& c = command(replica, what, description, online([this, what](const Server& s, const Output& o) {
                              return replica_change(s, o, {what, options_.id, options_.reason, options_.force});
                            }));
      c.add_option("--id", options_.id, "of the member")->required()->check(CLI::Range(1u, 0xffffffffu));
      return c;
    };
    constexpr const char* kForce = "though no healthy majority is left that may lead";
    change("pause", "lets it lead nothing and send to no other region; it votes, applies and serves reads").add_flag("--force", options_.force, kForce);
    change("resume", "ends a pause");
    CLI::App& isolate = change("isolate", "distrusts it: as pause, and it is unready, ineligible and back by rejoin alone");
    isolate.add_option("--reason", options_.reason, "why, for whoever finds it")->required();
    isolate.add_flag("--force", options_.force, kForce);
    change("rejoin", "ends an isolation, after the member has verified its log and state");
    CLI::App& standby = group("standby", "members of following regions");
    may_have_id(command(standby, "status", "lag, and whether each may be promoted",
                        online([this](const Server& s, const Output& o) { return standby_status(s, o, options_.id); })));
    CLI::App& dr = group("dr", "disaster recovery");
    CLI::App& plan = command(dr, "plan", "what a promotion of the following region would keep and lose, and what forbids it",
                             online([this](const Server& s, const Output& o) { return dr_plan(s, o, options_.promotion); }));
    const auto in_region = [this](CLI::App& c) {
      c.add_option("--region", options_.promotion.region, "whose group; the armed one's when it is left out");
      c.add_option("--members", options_.promotion.members, "ID[,ID]: all that is left of a group that lost its majority for good")
          ->delimiter(',');
    };
    in_region(plan);
    CLI::App& promote = command(dr, "promote", "makes the following region the primary, by a plan that was read",
                                online([this](const Server& s, const Output& o) { return dr_promote(s, o, options_.promotion); }));
    promote.add_option("--digest", options_.promotion.digest, "of the plan, as leewardctl dr plan shows it")->required();
    promote.add_flag("--accept-data-loss", options_.promotion.accept_data_loss, "what the plan says is lost may be lost");
    promote.add_option("--reason", options_.promotion.reason, "kept in the history");
    CLI::App& rejoin = command(dr, "rejoin", "a fenced region puts what it alone holds into a ledger, and follows",
                               online([this](const Server& s, const Output& o) { return dr_rejoin(s, o, options_.discard, options_.accept_data_loss); }));
    rejoin.add_flag("--discard", options_.discard, "a following region whose history has diverged from the primary's puts aside what lies beyond where they part");
    rejoin.add_flag("--accept-data-loss", options_.accept_data_loss, "with --discard: what this region alone holds may be in a ledger only");
    promote.add_option("--force", options_.promotion.force, "RULE[,RULE]: promotes though these refuse; the plan names them")->delimiter(',');
    in_region(promote);
    CLI::App& reclaim = command(dr, "reclaim", "serves again in a region whose switchover can neither end nor be taken back",
                                online([this](const Server& s, const Output& o) { return dr_reclaim(s, o, options_.promotion); }));
    reclaim.add_option("--force", options_.promotion.force, "RULE[,RULE]: those that refuse; said without, the command names them")->delimiter(',');
    reclaim.add_option("--reason", options_.promotion.reason, "kept in the history");
    CLI::App& survivor = command(dr, "survivor", "which of two promotions that took one epoch goes on; to be said in both regions",
                                 online([this](const Server& s, const Output& o) { return dr_survivor(s, o, options_.promotion_id); }));
    survivor.add_option("--promotion-id", options_.promotion_id, "as leewardctl dr status shows both")->required();
    CLI::App& status = command(dr, "status", "who is primary, who may become it, and how the epochs went",
                               online([this](const Server& s, const Output& o) { return dr_status(s, o, options_.history); }));
    status.add_flag("--history", options_.history, "each epoch, how it began, and what was announced as lost");
    add_handover(dr);
    add_ledger(dr);
    CLI::App& drill = command(dr, "drill", "rehearses the promotion at a standby, which follows on; changes nothing",
                              online([this](const Server& s, const Output& o) -> Result<void> {
                                const auto limit = parse_duration(options_.wait);
                                if (!limit.ok() || *limit <= 0ns)
                                  return Error{Code::kInvalid, "--timeout " + options_.wait + ": expected a duration such as 10m"};
                                return dr_drill(s, o, options_.id, *limit);
                              }));
    may_have_id(drill);
    drill.add_option("--timeout", options_.wait, "how long it may take")->capture_default_str();
    add_snapshot();
    add_storage();
    add_capacity();
    CLI::App& flight_of = *app_.add_subcommand("flight", "the flight recorder's events, readable");
    flight_of.fallthrough();
    flight_of.add_option("file", options_.file, "as SIGUSR1 or a crash left it in the data directory; - for the input, as in curl ADMIN/debug/flight | leewardctl flight -")
        ->required();
    flight_of.callback([this] {
      action_ = [this]() -> Result<void> {
        const Output output{out_, options_.output == "json"};
        if (options_.file == "-") return flight(std::cin, "the input", output);
        std::ifstream file(options_.file, std::ios::binary);
        if (!file) return Error{Code::kIo, options_.file + " cannot be read"};
        return flight(file, options_.file, output);
      };
    });
  }

  void add_handover(CLI::App& dr) {
    const auto to = [this](CLI::App& c, const char* text) -> CLI::App& { return c.add_option("--to", options_.handover.region, text), c; };
    CLI::App& switchover = command(dr, "switchover", "hands the primary's role over to the armed region, without loss; writes wait meanwhile",
                                   online([this](const Server& s, const Output& o) { return dr_switchover(s, o, options_.handover); }));
    to(switchover, "the region, for those who want to be sure").add_option("--reason", options_.handover.reason, "kept in the history");
    command(dr, "abort", "takes a switchover back that has not ended", online(dr_abort));
    to(command(dr, "arm", "arms a region that follows: it may be promoted, and switched over to",
               online([this](const Server& s, const Output& o) { return dr_arm(s, o, options_.handover); })),
       "the region (default: the armed one, by the mode and lease that its primary's leader is configured for)");
    command(dr, "disarm", "lets no region be promoted, until one is armed by hand or a new epoch begins",
            online([this](const Server& s, const Output& o) { return dr_disarm(s, o, options_.force); }))
        .add_flag("--force", options_.force, "without the word of a region that is known to be destroyed; no planned switchover in this epoch from then on");
  }

  void add_ledger(CLI::App& dr) {
    CLI::App& ledger = *dr.add_subcommand("ledger", "history that a region put aside when it followed another one");
    ledger.require_subcommand(1);
    ledger.fallthrough();
    const CLI::Validator a_ledger([](const std::string& id) { return id == "0" ? std::string("0 names no ledger; leewardctl dr ledger show lists them") : std::string(); },
                                  "NUMBER");
    const auto chosen = [this, a_ledger](CLI::App& c) -> CLI::App& {
      c.add_option("--region", options_.ledger.region, "whose; all regions' when it is left out");
      c.add_option("--ledger", options_.ledger.id, "one of them, as leewardctl dr ledger show names it; else all, oldest first")->check(a_ledger);
      return c;
    };
    chosen(command(ledger, "show", "what each holds, whether it is all there is, and what could be replayed",
                   online([this](const Server& s, const Output& o) { return dr_ledger_show(s, o, options_.ledger); })));
    CLI::App& out = chosen(command(ledger, "export", "the original transactions as lines of JSON, in order",
                                   online([this](const Server& s, const Output& o) { return dr_ledger_export(s, o, options_.ledger, options_.file, options_.force); })));
    out.add_option("file", options_.file, "FILE, or - for the output")->required();
    out.add_flag("--force", options_.force, "replaces a file that is there");
    CLI::App& replay = chosen(command(ledger, "replay", "applies to the region that serves what nothing there contradicts; again: only what is left",
                                      online([this](const Server& s, const Output& o) { return dr_ledger_replay(s, o, options_.ledger, options_.dry_run); })));
    replay.add_flag("--dry-run", options_.dry_run, "says what would be applied, and what not and why");
    CLI::App& discard = command(ledger, "discard", "for good: the region keeps that ledger no more",
                                 online([this](const Server& s, const Output& o) { return dr_ledger_discard(s, o, options_.ledger, options_.accept_data_loss); }));
    discard.add_option("--region", options_.ledger.region, "whose")->required();
    discard.add_option("--ledger", options_.ledger.id, "as leewardctl dr ledger show names it")->required()->check(a_ledger);
    discard.add_flag("--accept-data-loss", options_.accept_data_loss, "what it holds is nowhere else, but for what was replayed");
    replay.add_flag("--auth", options_.auth, "changes of users and roles too (this version has none)");
  }

  void add_member_changes(CLI::App& member, const std::function<void(CLI::App&, const char*)>& with_id) {
    const auto ids = CLI::Range(1u, 0xffffffffu);
    const auto described = [this, ids](CLI::App& c) -> CLI::App& {
      c.add_option("id", options_.member.id, "id of the member, decimal")->required()->check(ids);
      c.add_option("--client-url", options_.member.client_url, "where clients reach it: http://host:2379");
      return c;
    };
    CLI::App& add = described(command(member, "add", "takes a new member in, as a learner: it follows and does not vote",
                                      online([this](const Server& s, const Output& o) { return member_add(s, o, options_.member); })));
    add.add_option("--peer-url", options_.member.peer_address, "where members reach it: host:2380")->required();
    add.add_option("--name", options_.member.name, "default: node-ID");
    add.add_option("--region", options_.member.region, "default: that of the answering node's group");
    add.add_option("--zone", options_.member.zone, "availability zone");
    CLI::App& update = described(command(member, "update", "says where a member is reached from now on",
                                         online([this](const Server& s, const Output& o) { return member_update(s, o, options_.member); })));
    update.add_option("--peer-url", options_.member.peer_address, "where members reach it: host:2380");

    CLI::App& wait = command(member, "wait-sync", "waits until a learner has caught up, and says how far it is",
                             online([this](const Server& s, const Output& o) -> Result<void> {
                               const auto limit = parse_duration(options_.wait);
                               if (!limit.ok() || *limit <= 0ns)
                                 return Error{Code::kInvalid, "--timeout " + options_.wait + ": expected a duration such as 10m"};
                               return member_wait_sync(s, o, options_.id, *limit);
                             }));
    with_id(wait, "id of the member, decimal");
    wait.add_option("--timeout", options_.wait, "how long")->capture_default_str();
    with_id(command(member, "promote", "makes a learner that is in sync a voter",
                    online([this](const Server& s, const Output& o) { return member_promote(s, o, options_.id); })), "id of the member, decimal");
    const auto with_force = [this](CLI::App& c) {
      c.add_flag("--force", options_.force, "even if what remains has no healthy majority: the group stops until it has one");
    };
    CLI::App& remove = command(member, "remove", "takes a member out of the group",
                               online([this](const Server& s, const Output& o) { return member_remove(s, o, options_.id, options_.force); }));
    with_id(remove, "id of the member, decimal");
    with_force(remove);
    CLI::App& replace = command(member, "replace", "in one step: learners that are in sync vote, others are removed",
                                online([this](const Server& s, const Output& o) { return member_replace(s, o, options_.pairs, options_.force); }));
    replace.add_option("pairs", options_.pairs, "OLD NEW [OLD NEW ...]: ids, decimal")->required()->check(ids);
    with_force(replace);
  }

  // On a terminal, in one line that is written over.
  Progress progress() const {
    if (options_.output == "json" || !isatty(STDERR_FILENO)) return {};
    return [shown = std::string()](std::string_view what, std::uint64_t bytes, std::uint64_t of) mutable {
      std::string text = std::string(what) + (bytes == 0 && of == 0 ? "" : " " + human_size(bytes)) + (of > 0 ? " of " + human_size(of) + ", " + std::to_string(bytes * 100 / of) + " %" : "");
      if (text == shown) return;
      shown = std::move(text);
      std::cerr << "\r\x1b[K" << (bytes == of && of > 0 ? std::string() : shown) << std::flush;
    };
  }

  void add_snapshot() {
    CLI::App& snapshot = group("snapshot", "a whole state as one file: saved, judged, restored as a new cluster");
    const auto file = [this](CLI::App& c) -> CLI::App& { return c.add_option("file", options_.file, "FILE")->required(), c; };
    file(command(snapshot, "save", "takes one from the node that answers, checks it, and keeps it as FILE", online([this](const Server& s, const Output& o) {
                   return snapshot_save(disk_, s, o, {options_.file, options_.force}, progress());
                 })))
        .add_flag("--force", options_.force, "replaces a file that is there");
    file(command(snapshot, "status", "offline: reads all of FILE, and says what it holds; exit 1 when it is damaged",
                 [this] { return snapshot_status(disk_, output(), options_.file, progress()); }));
    CLI::App& restore = file(command(snapshot, "restore", "offline: makes the empty directories of one first member of a new cluster from FILE; the same at each",
                                     [this] {
                                       RestoreTo to = options_.restore;
                                       to.file = options_.file;
                                       return snapshot_restore(disk_, output(), to, progress());
                                     }));
    restore.add_option("--config", options_.restore.config, "the node's configuration, as leewardd takes it")->required();
    restore.add_option("--set", options_.restore.set, "section.key=value, as leewardd takes it; repeatable")->allow_extra_args(false);
    restore.add_option("--data-dir", options_.restore.data_dir, "instead of the configuration's node.data_dir");
    restore.add_option("--wal-dir", options_.restore.wal_dir, "instead of the configuration's node.wal_dir");
    restore.add_option("--token", options_.restore.token, "any text, the same at all members: another cluster than one that was restored from FILE before");
  }

  void add_storage() {
    CLI::App& storage = group("storage", "offline: looks at the directory of a stopped node");
    const auto at = [this](CLI::App& c) -> CLI::App& {
      c.add_option("directory", options_.place.data_dir, "the node's data_dir")->required();
      c.add_option("--wal-dir", options_.place.wal_dir, "where the log is, if not in DIRECTORY/wal");
      c.add_option("--snapshot-dir", options_.place.snapshot_dir, "where checkpoints are, if not in DIRECTORY/snapshots");
      return c;
    };
    const auto place = [this] {
      StoragePlace out = options_.place;
      if (out.wal_dir.empty()) out.wal_dir = out.data_dir + "/wal";
      out.names_snapshot_dir = !out.snapshot_dir.empty();
      if (!out.names_snapshot_dir) out.snapshot_dir = out.data_dir + "/snapshots";
      return out;
    };
    at(command(storage, "verify", "checks superblock, log, state and checkpoints; exit 1 when there is damage",
               [this, place] { return storage_verify(disk_, place(), options_.full_scan, output()); }))
        .add_flag("--full-scan", options_.full_scan, "read every byte and row; recompute checksums, chain and state hash");
    at(command(storage, "superblock", "prints the four copies", [this, place] { return storage_superblock(disk_, place(), output()); }));
    CLI::App& log = at(command(storage, "log", "prints the entries of the log",
                               [this, place] { return storage_log(disk_, place(), options_.from, options_.to, output()); }));
    // Half of what fits: CLI11 takes a negative number, and one that does not fit, for one of the upper half.
    const auto index = CLI::Range(std::uint64_t(0), std::uint64_t(std::numeric_limits<std::int64_t>::max()));
    log.add_option("--from", options_.from, "first index")->check(index);
    log.add_option("--to", options_.to, "index to stop before")->check(index);
  }

  void add_capacity() {
    CLI::App& capacity_of = *app_.add_subcommand("capacity", "without a server: predicts writes a second, disk and memory from machines and load");
    capacity_of.fallthrough();
    capacity_of.callback([this] { action_ = [this] { return capacity(disk_, output(), options_.capacity); }; });
    CapacityFlags& flags = options_.capacity;
    const auto flag = [&](const char* flag_name, auto& value, const char* text) { return capacity_of.add_option(flag_name, value, text)->capture_default_str(); };
    auto* fsync = flag("--fsync", flags.fsync, "one fdatasync of a small write at a member");
    flag("--probe", flags.probe, "DIRECTORY: measures fsync there instead, by some hundred small writes as the log makes them")->excludes(fsync);
    flag("--round-trip", flags.round_trip, "between members of the group");
    flag("--wan-round-trip", flags.wan_round_trip, "to the other region; 0: there is none");
    flag("--link", flags.link, "bytes a second to the other region, such as 12MB; 0: not known");
    flag("--key-size", flags.key_size, "of a key");
    flag("--value-size", flags.value_size, "of a value");
    constexpr std::uint64_t kMost = 1'000'000'000'000;
    flag("--keys", flags.keys, "how many there are")->check(CLI::Range(std::uint64_t(0), kMost));
    flag("--clients", flags.clients, "writes in flight at any time")->check(CLI::Range(std::uint64_t(1), std::uint64_t(1'000'000)));
    capacity_of.add_option("--writes-per-second", flags.writes, "the load one wants; without it, all that fits")->check(CLI::Range(std::uint64_t(1), kMost));
    flag("--history", flags.history, "how long superseded versions stay (compaction.retention, periodic); 0: no compaction");
    flag("--watchers", flags.watchers, "how many watch at one member")->check(CLI::Range(std::uint64_t(0), kMost));
    flag("--retain-log", flags.retain_log, "dr.retain_log");
    flag("--block-cache", flags.block_cache, "storage.rocksdb.block_cache");
    flag("--write-buffer", flags.write_buffer, "storage.rocksdb.write_buffer");
    flag("--processors", flags.processors, "of the leader's machine")->check(CLI::Range(1u, 4096u));
    flag("--cpu-per-write", flags.cpu_per_write, "processor time of the leader for a write; how the default was measured: ctl/README.md");
    flag("--cpu-per-batch", flags.cpu_per_batch, "and for each batch of writes");
    flag("--cpu-lone", flags.cpu_lone, "processor time on a lone write's way through leader and follower");
  }

  std::ostream& out_;
  std::ostream* err_ = nullptr;  // while it runs
  Disk& disk_;
  Poster* poster_;
  Options options_;
  Action action_;
  CLI::App app_;
};

}  // namespace

int run(std::span<const std::string> arguments, std::ostream& out, std::ostream& err, Disk& disk, Poster* poster) {
  return CommandLine(out, disk, poster).run({arguments.begin(), arguments.end()}, err);
}

}  // namespace leeward::ctl
