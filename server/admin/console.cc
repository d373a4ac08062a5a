#include "admin/console.h"

#include <algorithm>
#include <array>
#include <utility>

#include "admin/checks.h"
#include "console_files.h"

namespace leeward::admin {
namespace {

constexpr std::array<ConsoleFile, 3> kFiles = {{
    {"/", "text/html; charset=utf-8", kConsoleHtml},
    {"/console.css", "text/css; charset=utf-8", kConsoleCss},
    {"/console.js", "text/javascript; charset=utf-8", kConsoleJs},
}};

// 64-bit figures are decimal strings, as in leewardctl's output.
void amount(JsonWriter& out, const char* name, std::uint64_t figure) { out.field(name, std::to_string(figure)); }

void amounts(JsonWriter& out, std::uint64_t writes, std::uint64_t entries, std::uint64_t bytes) {
  amount(out, "writes", writes);
  amount(out, "entries", entries);
  amount(out, "bytes", bytes);
}

// What the region that would be promoted lacks: "basis" says who knows it, what
// is not known is absent. Of the primary `newer_ms` is an upper bound of the time
// in which what is lacking was committed; of a following group, how long ago it
// was told, for what was committed since nobody there has heard of.
void write_loss(JsonWriter& out, const NodeStatus& s) {
  const MemberStatus* me = self(s);
  out.key("loss").begin_object();
  if (s.role == GroupRole::kPrimary) {
    const auto armed = std::find_if(s.followers.begin(), s.followers.end(), [](const FollowerStatus& f) { return f.armed; });
    out.field("basis", armed == s.followers.end() ? "none" : "primary").field("region", s.armed_region);
    if (armed != s.followers.end()) {
      amounts(out, armed->lag_writes, armed->lag_entries, armed->lag_bytes);
      if (armed->lag) out.field("newer_ms", to_ms(*armed->lag));
      out.field("connected", armed->connected);
    }
  } else if (follows(s.role)) {
    out.field("basis", "follower").field("region", me ? me->region : "");
    if (s.known_loss) amounts(out, s.known_loss->writes, s.known_loss->entries, s.known_loss->bytes);
    if (s.known_loss && s.primary_silence) out.field("newer_ms", to_ms(*s.primary_silence));
    if (s.estimated_rto) out.field("estimated_rto_ms", to_ms(*s.estimated_rto));
  } else {
    out.field("basis", "none").field("region", "");
  }
  out.end_object();
}

void write_checks(JsonWriter& out, const std::vector<NamedCheck>& checks) {
  out.begin_list();
  for (const NamedCheck& check : checks)
    out.begin_object().field("check", check.check).field("ok", check.ok).field("detail", check.detail).end_object();
  out.end_list();
}

// What leewardctl's answers do not hold.
void write_node(JsonWriter& out, const NodeStatus& s) {
  out.key("node").begin_object();
  out.field("ready_leader", s.leader_ready).field("stream", s.stream_state).field("adopting", s.adopting);
  out.field("rewinding", s.rewinding).field("topology_differs", s.topology_differs);
  amount(out, "commit_index", s.commit.value());
  amount(out, "ledger_entries", s.ledger_entries);
  out.field("ledgers_complete", s.ledgers_complete);
  if (s.promotion) out.field("promotion", name(s.promotion->kind)).field("promotion_step", name(s.promotion->step));
  out.key("group_eligibility");
  write_checks(out, s.group_eligibility);
  out.end_object();
  out.key("drill").begin_object();
  amount(out, "count", s.drill.count);
  if (s.drill.count > 0) out.field("time_ms", s.drill.time_ms).field("rto_ms", static_cast<double>(s.drill.rto_us) / 1000);
  out.end_object();
}

}  // namespace

const ConsoleFile* console_file(std::string_view path) {
  const auto found = std::find_if(kFiles.begin(), kFiles.end(), [&](const ConsoleFile& file) { return file.path == path; });
  return found == kFiles.end() ? nullptr : &*found;
}

void ConsoleEvents::take(std::string_view lines) {
  while (!lines.empty()) {
    const std::string_view line = lines.substr(0, lines.find('\n'));
    lines.remove_prefix(std::min(line.size() + 1, lines.size()));
    if (!line.empty()) take_line(line);
  }
}

// A quote within a field stands escaped, so no field can look like a message.
void ConsoleEvents::take_line(std::string_view line) {
  if (line.find(",\"msg\":\"second\"") != std::string_view::npos) {
    second_ = line;
    for (Slow& slow : slow_)
      if (slow.second.empty()) slow.second = line;
  } else if (line.find(",\"msg\":\"slow request\"") != std::string_view::npos) {
    slow_.push_front({std::string(line), ""});
    if (slow_.size() > kSlow) slow_.pop_back();
  } else {
    events_.emplace_front(line);
    if (events_.size() > kEvents) events_.pop_back();
  }
}

void ConsoleEvents::write(JsonWriter& out) const {
  out.key("events").begin_list();
  for (const std::string& line : events_) out.raw(line);
  out.end_list();
  out.key("slow").begin_list();
  for (const Slow& slow : slow_) {
    out.begin_object().key("request").raw(slow.request);
    if (!slow.second.empty()) out.key("second").raw(slow.second);
    out.end_object();
  }
  out.end_list();
  if (!second_.empty()) out.key("second").raw(second_);
}

std::string console_document(const ConsoleView& view, const ConsoleEvents& events) {
  JsonWriter out;
  out.begin_object().field("time_ms", view.time_ms).field("age_ms", to_ms(view.age)).field("max_lag_ms", to_ms(view.max_lag));
  out.key("checks");
  write_checks(out, view.checks);
  write_loss(out, view.status);
  write_node(out, view.status);
  if (view.answers.ok()) out.key("leewardctl").raw(*view.answers);
  else out.field("fault", view.answers.error().message);
  events.write(out);
  out.end_object();
  return out.text();
}

void Console::drop_closed() {
  std::erase_if(streams_, [](const auto& stream) { return !stream->open(); });
}

Bytes Console::next_document() {
  if (sources_.flight_since) {
    std::string lines;
    next_event_ = sources_.flight_since(next_event_, lines);
    events_.take(lines);
  }
  return Bytes("data: " + console_document(sources_.view(), events_) + "\n\n");
}

void Console::open(const std::shared_ptr<HttpExchange>& exchange) {
  loop_ = &exchange->loop();
  drop_closed();
  if (stopped_ || streams_.size() >= kStreams) {
    HttpResponse full;
    full.status = 503;
    full.headers = {{"cache-control", "no-store"}, {"x-content-type-options", "nosniff"}};
    full.body = Bytes(stopped_ ? std::string("the node is stopping\n")
                               : std::to_string(kStreams) + " consoles are open at this node; close one, or look at another node\n");
    return exchange->respond(std::move(full));
  }
  HttpResponse head;
  head.content_type = "text/event-stream; charset=utf-8";
  head.headers = {{"cache-control", "no-store"}, {"x-content-type-options", "nosniff"}, {"x-accel-buffering", "no"}};
  exchange->start_stream(std::move(head));
  if (!exchange->open()) return;  // who asked for the head alone has it
  exchange->write(Bytes(std::string("retry: 1000\n\n")));
  exchange->write(next_document());
  streams_.push_back(exchange);
  if (std::exchange(ticking_, true)) return;
  exchange->loop().after(kInterval, [weak = weak_from_this()] {
    if (const auto console = weak.lock()) console->tick();
  });
}

void Console::tick() {
  drop_closed();
  if (streams_.empty()) {
    ticking_ = false;
    return;
  }
  const Bytes document = next_document();
  for (const auto& stream : streams_) {
    if (stream->queued() > kBehind) stream->end();
    else stream->write(document);
  }
  loop_.load()->after(kInterval, [weak = weak_from_this()] {
    if (const auto console = weak.lock()) console->tick();
  });
}

void Console::stop() {
  stopped_ = true;
  Executor* loop = loop_;
  if (loop == nullptr) return;
  loop->post([console = shared_from_this()] {
    for (const auto& stream : console->streams_) stream->end();
    console->drop_closed();
  });
}

}  // namespace leeward::admin
