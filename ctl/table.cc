#include "ctl/table.h"

#include <algorithm>

namespace leeward::ctl {

std::size_t width(const std::string& text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

std::string Table::text() const {
  std::vector<std::size_t> widths;
  for (const Column& column : columns_) widths.push_back(width(column.title));
  for (const auto& row : rows_)
    for (std::size_t i = 0; i < columns_.size(); ++i) widths[i] = std::max(widths[i], width(row[i]));

  std::string out;
  const auto line = [&](const auto& cell) {
    std::string text;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      const std::string& value = cell(i);
      const std::string padding(widths[i] - width(value), ' ');
      text += i == 0 ? "" : "  ";
      text += columns_[i].align == Align::kRight ? padding + value : value + padding;
    }
    text.erase(text.find_last_not_of(' ') + 1);
    out += text + "\n";
  };
  line([&](std::size_t i) -> const std::string& { return columns_[i].title; });
  for (const auto& row : rows_) line([&](std::size_t i) -> const std::string& { return row[i]; });
  return out;
}

void print_line(std::ostream& out, std::string_view key, const std::string& text) {
  constexpr std::size_t kKeyWidth = 15;
  out << key << std::string(std::max(kKeyWidth, key.size() + 1) - key.size(), ' ') << text << "\n";
}

}  // namespace leeward::ctl
