#include "telemetry/page.h"

#include <prometheus/text_serializer.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <sstream>

#include "base/traceparent.h"

namespace leeward::telemetry {
namespace {

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// Takes what stands before the first `separator`, and that with it.
std::string_view cut(std::string_view& text, char separator) {
  const auto end = text.find(separator);
  const std::string_view head = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return head;
}

// Types and names of parameters are compared so.
bool same_without_case(std::string_view text, std::string_view lower_case) {
  return std::equal(text.begin(), text.end(), lower_case.begin(), lower_case.end(),
                    [](char a, char b) { return (a >= 'A' && a <= 'Z' ? a + ('a' - 'A') : a) == b; });
}

double quality(std::string_view parameters) {
  while (!parameters.empty()) {
    const std::string_view parameter = trimmed(cut(parameters, ';'));
    if (!same_without_case(parameter.substr(0, 2), "q=")) continue;
    double value = 0;
    std::from_chars(parameter.data() + 2, parameter.data() + parameter.size(), value);
    return value;
  }
  return 1;
}

// " # {trace_id="...",span_id="..."} 0.0012 1790000000.123"
std::string written(const Exemplar& exemplar) {
  char out[160];
  const double at = std::chrono::duration<double>(exemplar.at.time_since_epoch()).count();
  std::snprintf(out, sizeof out, " # {trace_id=\"%s\",span_id=\"%s\"} %.9g %.3f", trace_id_text(exemplar.trace).c_str(),
                span_id_text(exemplar.trace).c_str(), exemplar.seconds, at);
  return out;
}

}  // namespace

bool wants_open_metrics(std::string_view accept) {
  double open = 0, text = 0;
  while (!accept.empty()) {
    std::string_view range = cut(accept, ',');
    const std::string_view type = trimmed(cut(range, ';'));
    if (same_without_case(type, "application/openmetrics-text")) open = std::max(open, quality(range));
    if (same_without_case(type, "text/plain")) text = std::max(text, quality(range));
  }
  return open > 0 && open >= text;
}

std::string Page::text() const {
  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, families_);
  return std::move(out).str();
}

// What Prometheus' text has, but for: counters' families go without _total,
// buckets have exemplars, and the end is marked.
std::string Page::open_metrics() const {
  const std::string plain = text();
  std::string out;
  out.reserve(plain.size() + 1024);
  auto family = families_.begin();
  std::size_t bucket = 0;
  std::string_view rest = plain;
  while (!rest.empty()) {
    const std::string_view line = cut(rest, '\n');
    if (line.starts_with("# HELP ") || line.starts_with("# TYPE ")) {
      std::string_view told = line.substr(7);
      std::string_view name = cut(told, ' ');
      while (family->name != name) ++family;
      if (family->type == prometheus::MetricType::Counter) name.remove_suffix(std::string_view("_total").size());
      out.append(line.substr(0, 7)).append(name).append(" ").append(told);
    } else {
      out.append(line);
      if (family->type == prometheus::MetricType::Histogram && line.substr(family->name.size()).starts_with("_bucket"))
        if (const auto& exemplar = exemplars_[bucket++]) out.append(written(*exemplar));
    }
    out.push_back('\n');
  }
  return out + "# EOF\n";
}

}  // namespace leeward::telemetry
