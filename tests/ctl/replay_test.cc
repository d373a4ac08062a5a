// dr ledger: what is replayed against a region that serves, and what is left.
#include <gtest/gtest.h>

#include <unistd.h>

#include <boost/json.hpp>

#include <functional>
#include <map>
#include <fstream>
#include <iterator>
#include <sstream>

#include "ctl/commands.h"
#include "os/posix_disk.h"

namespace leeward::ctl {
namespace {

namespace json = boost::json;

std::string base64(const std::string& in) {
  static const char* digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (std::size_t i = 0; i < in.size(); i += 3) {
    unsigned group = 0;
    for (std::size_t k = 0; k < 3; ++k) group = group << 8 | (i + k < in.size() ? static_cast<unsigned char>(in[i + k]) : 0);
    for (std::size_t k = 0; k < 4; ++k) out += i + k <= in.size() ? digits[group >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

constexpr std::int64_t kFirst = std::int64_t{2} << 44;  // revision of epoch 2

// A region that serves, by etcd's rules as far as a replay needs them, and one
// that put a ledger aside. Keys stand as the gateway has them: in base64, which
// keeps no order, so ranges here are of prefixes of three letters.
class Regions final : public Poster {
 public:
  struct Kv {
    std::string value;
    std::int64_t mod = 0;
  };

  Result<Reply> post(const Endpoint& endpoint, const std::string& path, const std::string& body, Duration) override {
    const auto request = json::parse(body).as_object();
    if (path == "/v3/cluster/status")
      return ok({{"members", json::array{{{"region", "east"}, {"role", "standby"}, {"client_url", "http://east:1"}, {"state", "follower"}},
                                         {{"region", "west"}, {"role", "primary"}, {"client_url", "http://west:1"}, {"state", "leader"}}}}});
    if (path == "/v3/dr/status")
      return ok({{"history", json::array{{{"epoch", "2"}, {"fork_index", "10"}, {"first_revision", std::to_string(kFirst)}}}}});
    if (endpoint.host == "east" && east_is_down && path != "/v3/cluster/status") return Error{Code::kUnavailable, "Connection refused"};
    if (path == "/v3/dr/ledgers" && endpoint.host == "west") return ok({{"group", "00000000000000bb"}, {"ledgers", west_keeps}});
    if (path == "/v3/dr/ledgers")
      return ok({{"group", "00000000000000aa"},
                 {"ledgers", json::array{{{"ledger", "7"}, {"epoch", "1"}, {"followed_epoch", followed_epoch}, {"from_index", "10"}, {"to_index", "99"}, {"writes", "3"}, {"bytes", "5"},
                                          {"complete", true}, {"held", true}}}}});
    if (path == "/v3/dr/ledger/page") return page(std::stoull(std::string(request.at("after_index").as_string())));
    if (path == "/v3/dr/changes") return tell(request);
    if (path == "/v3/kv/range") return markers(request);
    if (path == "/v3/kv/txn") return txn(request);
    return Error{Code::kUnavailable, "no " + path};
  }

  bool east_is_down = false;
  json::array west_keeps;
  // --- the ledger: one transaction an entry ---
  void lost(const char* op, json::object request) {
    const auto index = std::to_string(11 + ledger.size());
    ledger.push_back({{"index", index}, {"number", 0}, {"epoch", "1"}, {"op", op}, {op, std::move(request)}});
  }
  void lost_put(const std::string& key, const std::string& value, const std::string& lease = "0") {
    lost("put", {{"key", base64(key)}, {"value", base64(value)}, {"lease", lease}});
  }
  void lost_txn(json::array compare, const std::string& key, const std::string& then, const std::string& otherwise) {
    const auto put = [&](const std::string& value) {
      return json::array{{{"request_put", {{"key", base64(key)}, {"value", base64(value)}, {"lease", "0"}}}}};
    };
    lost("txn", {{"compare", std::move(compare)}, {"success", put(then)}, {"failure", put(otherwise)}});
  }

  // --- the region that serves ---
  void put(const std::string& key, const std::string& value) {
    store[base64(key)] = {value, ++revision};
    changes.push_back({base64(key), revision, false});
  }
  void erase(const std::string& key) {
    store.erase(base64(key));
    changes.push_back({base64(key), ++revision, true});
  }
  void before_the_fork(const std::string& key, const std::string& value) { store[base64(key)] = {value, 5}; }
  std::string get(const std::string& key) const {
    const auto found = store.find(base64(key));
    return found == store.end() ? "-" : found->second.value;
  }

  std::vector<json::object> ledger;
  std::map<std::string, Kv> store;
  struct Change {
    std::string key;
    std::int64_t revision;
    bool deleted;
  };
  std::vector<Change> changes;
  std::int64_t revision = kFirst;
  std::int64_t compacted = 0;
  int writes = 0;
  int writes_until_cut = -1;                    // then nothing more is answered
  std::string followed_epoch = "2";
  std::function<void()> before_write = [] {};

 private:
  static Reply ok(json::object body) { return {200, json::serialize(body)}; }

  Result<Reply> page(std::uint64_t after) {
    json::array some;
    for (const auto& t : ledger)
      if (std::stoull(std::string(t.at("index").as_string())) > after && some.size() < 3) some.push_back(t);
    const bool end = some.empty() || some.back() == json::value(ledger.back());
    const std::string next = some.empty() ? std::to_string(after) : std::string(some.back().as_object().at("index").as_string());
    return ok({{"transactions", some}, {"next_after", next}, {"end", end}});
  }

  Result<Reply> tell(const json::object& request) {
    const auto from = std::stoll(std::string(request.at("from_revision").as_string()));
    const auto to = std::stoll(std::string(request.at("to_revision").as_string()));
    if (from <= compacted) return ok({{"compacted", std::to_string(compacted)}});
    json::array told;
    for (const auto& c : changes)
      if (c.revision >= from && c.revision <= to)
        told.push_back({{"key", c.key}, {"revision", std::to_string(c.revision)}, {"deleted", c.deleted}});
    return ok({{"changes", told}, {"next_revision", std::to_string(to + 1)}, {"end", true}, {"compacted", "0"}});
  }

  static json::object kv(const std::string& key, const Kv& kv) {
    return {{"key", key}, {"value", base64(kv.value)}, {"mod_revision", std::to_string(kv.mod)}};
  }

  Result<Reply> markers(const json::object& request) {
    json::array found;
    const auto prefix = std::string(request.at("key").as_string()).substr(0, 40);
    for (const auto& [key, value] : store)
      if (key.starts_with(prefix)) found.push_back(kv(key, value));
    return ok({{"kvs", found}, {"more", false}});
  }

  static std::string text(const json::object& o, const char* name) {
    return o.contains(name) && o.at(name).is_string() ? std::string(o.at(name).as_string()) : "";
  }

  bool holds(const json::object& c) const {
    if (c.contains("range_end")) {
      const auto prefix = text(c, "key").substr(0, 4);
      for (const auto& [key, value] : store)
        if (key.starts_with(prefix) && value.mod >= std::stoll(text(c, "mod_revision"))) return false;
      return true;
    }
    const auto found = store.find(text(c, "key"));
    if (text(c, "target") == "VERSION") return (found == store.end()) == (text(c, "version") == "0");
    if (text(c, "target") == "VALUE") return found != store.end() && base64(found->second.value) == text(c, "value");
    return (found == store.end() ? 0 : found->second.mod) == std::stoll(text(c, "mod_revision"));
  }

  void run(const json::object& txn, json::array& responses, bool& wrote) {
    bool all = true;
    if (txn.contains("compare"))
      for (const auto& c : txn.at("compare").as_array()) all = all && holds(c.as_object());
    succeeded_ = all;
    const char* branch = all ? "success" : "failure";
    if (!txn.contains(branch)) return;
    for (const auto& value : txn.at(branch).as_array()) {
      const auto& op = value.as_object();
      if (op.contains("request_range")) {
        const auto key = text(op.at("request_range").as_object(), "key");
        json::array kvs;
        if (const auto found = store.find(key); found != store.end()) kvs.push_back(kv(key, found->second));
        responses.push_back(json::object{{"response_range", json::object{{"kvs", kvs}}}});
      } else if (op.contains("request_put")) {
        const auto& put = op.at("request_put").as_object();
        std::string plain;
        for (const char* probe : {"1", "2", "3", "new", "then", "else", "base"}) if (base64(probe) == text(put, "value")) plain = probe;
        store[text(put, "key")] = {plain, revision + 1};
        changes.push_back({text(put, "key"), revision + 1, false});
        wrote = true;
      } else if (op.contains("request_delete_range")) {
        const auto& del = op.at("request_delete_range").as_object();
        const auto key = text(del, "key");
        std::erase_if(store, [&](const auto& item) {
          const bool gone = del.contains("range_end") ? item.first.starts_with(key.substr(0, 4)) : item.first == key;
          if (gone) changes.push_back({item.first, revision + 1, true});
          return gone;
        });
        wrote = true;
      } else if (op.contains("request_txn")) {
        const bool outer = succeeded_;
        run(op.at("request_txn").as_object(), responses, wrote);
        succeeded_ = outer;
      }
    }
  }

  Result<Reply> txn(const json::object& request) {
    const bool is_write = request.contains("compare");
    if (is_write) {
      before_write();
      if (writes_until_cut == 0) return Error{Code::kUnavailable, "Connection refused"};
      if (writes_until_cut > 0) --writes_until_cut;
    }
    json::array responses;
    bool wrote = false;
    run(request, responses, wrote);
    if (wrote) {
      ++revision;
      ++writes;
    }
    return ok({{"header", {{"revision", std::to_string(revision)}}}, {"succeeded", succeeded_}, {"responses", responses}});
  }

  bool succeeded_ = false;
};

class ReplayTest : public ::testing::Test {
 protected:
  json::object replay(bool dry_run = false, int code = 0) {
    std::ostringstream out, err;
    std::vector<std::string> arguments{"--endpoints", "east:1", "-o", "json", "dr", "ledger", "replay"};
    if (dry_run) arguments.push_back("--dry-run");
    EXPECT_EQ(run(arguments, out, err, disk_, &regions_), code) << err.str();
    if (code != 0) return {};
    return json::parse(out.str()).as_object().at("ledgers").as_array().at(0).as_object();
  }
  static std::string counts(const json::object& o) {
    std::string out;
    for (const char* name : {"applied", "replayed", "clean", "conflicting", "lease_bound"}) out += std::string(o.at(name).as_string()) + " ";
    return out;
  }
  static json::array value_is(const std::string& key, const std::string& value) {
    return {{{"key", base64(key)}, {"target", "VALUE"}, {"result", "EQUAL"}, {"value", base64(value)}}};
  }

  Regions regions_;
  os::PosixDisk disk_;
};

TEST_F(ReplayTest, AppliesInOrderWhatNothingContradictsAndOnlyOnce) {
  regions_.before_the_fork("aaa", "base");
  regions_.before_the_fork("bbb", "base");
  regions_.lost_put("aaa", "1");
  regions_.lost_put("aaa", "2");
  regions_.lost("delete_range", {{"key", base64("bbb")}});
  regions_.lost_put("ccc", "3");
  EXPECT_EQ(counts(replay(true)), "0 0 4 0 0 ");
  EXPECT_EQ(regions_.writes, 0) << "a dry run writes nothing";
  EXPECT_EQ(counts(replay()), "4 0 4 0 0 ");
  EXPECT_EQ(regions_.get("aaa") + regions_.get("bbb") + regions_.get("ccc"), "2-3");
  EXPECT_EQ(counts(replay()), "0 4 0 0 0 ");
  EXPECT_EQ(regions_.writes, 4);
}

TEST_F(ReplayTest, LeavesWhatWasChangedDeletedOrMadeAndDeletedSince) {
  regions_.before_the_fork("gone", "base");
  regions_.before_the_fork("chg", "base");
  regions_.put("chg", "new");
  regions_.erase("gone");
  regions_.put("brief", "new");
  regions_.erase("brief");
  for (const char* key : {"chg", "gone", "brief", "free"}) regions_.lost_put(key, "1");
  const auto done = replay();
  EXPECT_EQ(counts(done), "1 0 1 3 0 ");
  EXPECT_EQ(regions_.get("chg") + regions_.get("gone") + regions_.get("brief") + regions_.get("free"), "new--1");
  EXPECT_EQ(done.at("left").as_array().size(), 3u);
}

TEST_F(ReplayTest, RunsTheBranchThatRanAndNoneWhereThatCannotBeKnown) {
  regions_.before_the_fork("aaa", "1");
  regions_.before_the_fork("bbb", "1");
  regions_.put("bbb", "new");
  regions_.lost_txn(value_is("aaa", "1"), "ccc", "then", "else");  // as at the fork
  regions_.lost_put("aaa", "2");
  regions_.lost_txn(value_is("aaa", "1"), "ddd", "then", "else");  // as replayed
  regions_.lost_txn(value_is("bbb", "1"), "eee", "then", "else");  // compared, and changed here
  regions_.lost_put("lea", "1", "77");
  regions_.lost_txn(value_is("lea", "1"), "fff", "then", "else");  // hangs on what is not replayed
  regions_.lost_txn({{{"key", base64("aaa")}, {"target", "MOD"}, {"result", "EQUAL"}, {"mod_revision", "9"}}}, "ggg", "then", "else");
  EXPECT_EQ(counts(replay()), "3 0 3 3 1 ");
  EXPECT_EQ(regions_.get("ccc") + " " + regions_.get("ddd"), "then else");
  EXPECT_EQ(regions_.get("eee") + regions_.get("fff") + regions_.get("ggg") + regions_.get("lea"), "----");
}

TEST_F(ReplayTest, NeverAppliesALease) {
  regions_.lost("lease_grant", {{"ID", "77"}, {"TTL", "60"}});
  regions_.lost_put("aaa", "1", "77");
  regions_.lost("lease_revoke", {{"ID", "77"}});
  EXPECT_EQ(counts(replay()), "0 0 0 0 3 ");
  EXPECT_EQ(regions_.writes, 0);
}

TEST_F(ReplayTest, GoesOnWhereItWasCutOff) {
  for (const char* key : {"aaa", "bbb", "ccc"}) regions_.lost_put(key, "1");
  regions_.lost_put("aaa", "2");
  regions_.writes_until_cut = 2;
  replay(false, kUnreachable);
  EXPECT_EQ(regions_.writes, 2);
  regions_.writes_until_cut = -1;
  EXPECT_EQ(counts(replay()), "2 2 2 0 0 ");
  EXPECT_EQ(regions_.get("aaa"), "2");
}

TEST_F(ReplayTest, AKeyThatChangesBetweenTheJudgementAndTheWriteIsLeft) {
  regions_.before_the_fork("aaa", "base");
  regions_.lost_put("aaa", "1");
  regions_.lost_put("bbb", "1");
  bool once = true;
  regions_.before_write = [&] {
    if (std::exchange(once, false)) regions_.put("aaa", "new");
  };
  EXPECT_EQ(counts(replay()), "1 0 1 1 0 ");
  EXPECT_EQ(regions_.get("aaa"), "new");
}

TEST_F(ReplayTest, DeletesARangeOnlyIfNothingInItChanged) {
  for (const char* key : {"aaa1", "aaa2", "bbb1", "bbb2"}) regions_.before_the_fork(key, "base");
  regions_.put("bbb2", "new");
  regions_.lost("delete_range", {{"key", base64("aaa")}, {"range_end", base64("aab")}});
  regions_.lost("delete_range", {{"key", base64("bbb")}, {"range_end", base64("bbc")}});
  EXPECT_EQ(counts(replay()), "1 0 1 1 0 ");
  EXPECT_EQ(regions_.get("aaa1") + regions_.get("aaa2") + regions_.get("bbb1") + regions_.get("bbb2"), "--basenew");
}

TEST_F(ReplayTest, CompactedHistoryIsAConflict) {
  regions_.before_the_fork("aaa", "base");
  regions_.lost_put("aaa", "1");
  regions_.put("other", "new");
  regions_.compacted = regions_.revision;
  EXPECT_EQ(counts(replay()), "0 0 0 1 0 ");
}

// In one epoch a revision names two writes, and no fork says from which on.
TEST_F(ReplayTest, ALedgerPutAsideWithinOneEpochIsShownAndNotReplayed) {
  regions_.lost_put("aaa", "1");
  regions_.followed_epoch = "1";
  for (const bool dry_run : {true, false}) {
    std::ostringstream out, err;
    std::vector<std::string> line{"--endpoints", "east:1", "dr", "ledger", "replay"};
    if (dry_run) line.push_back("--dry-run");
    EXPECT_EQ(run(line, out, err, disk_, &regions_), kRefused);
    EXPECT_NE(err.str().find("same_epoch: ledger 7"), std::string::npos) << err.str();
    EXPECT_NE(err.str().find("dr ledger export"), std::string::npos) << err.str();
  }
  EXPECT_EQ(regions_.writes, 0);
  std::ostringstream out, err;
  ASSERT_EQ(run(std::vector<std::string>{"--endpoints", "east:1", "dr", "ledger", "show"}, out, err, disk_, &regions_), 0) << err.str();
  EXPECT_NE(out.str().find("not judged: same_epoch: "), std::string::npos) << out.str();
  ASSERT_EQ(run(std::vector<std::string>{"--endpoints", "east:1", "dr", "ledger", "export", "-"}, out, err, disk_, &regions_), 0) << err.str();
  EXPECT_NE(out.str().find("\"index\":\"11\""), std::string::npos) << out.str();
}

TEST_F(ReplayTest, ExportsALineForEachOriginalTransaction) {
  regions_.lost_put("aaa", "1");
  regions_.lost_txn(value_is("aaa", "1"), "bbb", "then", "else");
  regions_.lost("lease_revoke", {{"ID", "77"}});
  regions_.lost_put("ccc", "1");
  std::ostringstream out, err;
  ASSERT_EQ(run(std::vector<std::string>{"--endpoints", "east:1", "dr", "ledger", "export", "-"}, out, err, disk_, &regions_), 0) << err.str();
  std::istringstream lines(out.str());
  std::string ops;
  for (std::string line; std::getline(lines, line);) {
    const auto o = json::parse(line).as_object();
    EXPECT_TRUE(o.at("request").is_object());
    ops += std::string(o.at("index").as_string()) + std::string(o.at("op").as_string()) + " ";
  }
  EXPECT_EQ(ops, "11put 12txn 13lease_revoke 14put ");
}

// Who empties its disks because nothing is put aside there is to be told that nobody knows.
TEST_F(ReplayTest, OfARegionThatNobodyCouldAskItIsNotKnownWhatItPutAside) {
  regions_.lost_put("aaa", "1");
  regions_.east_is_down = true;
  for (const char* what : {"show", "replay"}) {
    std::ostringstream out, err;
    EXPECT_EQ(run(std::vector<std::string>{"--endpoints", "east:1", "dr", "ledger", what}, out, err, disk_, &regions_), kUnreachable) << out.str();
    EXPECT_NE(err.str().find("region east could be asked"), std::string::npos) << err.str();
    EXPECT_EQ(out.str().find("no region has put history aside"), std::string::npos) << out.str();
  }
}

// What it has, the others' replay finds to be there.
TEST_F(ReplayTest, OfLedgersThatPartAtOnePlaceTheLongestComesFirst) {
  regions_.lost_put("aaa", "1");
  regions_.west_keeps = json::array{{{"ledger", "8"}, {"epoch", "1"}, {"followed_epoch", "2"}, {"from_index", "10"}, {"to_index", "200"}, {"complete", true}, {"held", true}},
                         {{"ledger", "9"}, {"epoch", "1"}, {"followed_epoch", "2"}, {"from_index", "5"}, {"to_index", "7"}, {"complete", true}, {"held", true}}};
  std::ostringstream out, err;
  ASSERT_EQ(run(std::vector<std::string>{"--endpoints", "east:1", "-o", "json", "dr", "ledger", "show"}, out, err, disk_, &regions_), 0) << err.str();
  std::string order;
  const auto shown = json::parse(out.str());
  for (const auto& l : shown.as_object().at("ledgers").as_array()) order += std::string(l.as_object().at("ledger").as_string()) + " ";
  EXPECT_EQ(order, "9 8 7 ");
}

TEST_F(ReplayTest, AnExportIsNotWrittenOverAnother) {
  const std::string file = testing::TempDir() + "/ledger." + std::to_string(::getpid());
  regions_.lost_put("aaa", "1");
  const auto exported = [&](std::vector<std::string> flags) {
    std::vector<std::string> line{"--endpoints", "east:1", "dr", "ledger", "export", file};
    line.insert(line.end(), flags.begin(), flags.end());
    std::ostringstream out, err;
    return run(line, out, err, disk_, &regions_);
  };
  const auto kept = [&] { return std::string(std::istreambuf_iterator<char>(std::ifstream(file).rdbuf()), {}); };
  EXPECT_EQ(exported({}), 0);
  const auto first = kept();
  EXPECT_NE(first.find("\"index\":\"11\""), std::string::npos) << first;
  regions_.lost_put("bbb", "1");
  EXPECT_EQ(exported({}), kRefused);
  EXPECT_EQ(kept(), first);
  EXPECT_EQ(exported({"--force"}), 0);
  EXPECT_NE(kept(), first);
  std::remove(file.c_str());
}

}  // namespace
}  // namespace leeward::ctl
