// Columns of text, aligned, two blanks between them.
#pragma once

#include <ostream>
#include <string>
#include <string_view>
#include <vector>

namespace leeward::ctl {

class Table {
 public:
  enum class Align { kLeft, kRight };
  struct Column {
    std::string title;
    Align align = Align::kLeft;
  };

  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  std::string text() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// One line of a list of keys and what stands for them, one below the other.
void print_line(std::ostream& out, std::string_view key, const std::string& text);

// Characters of UTF-8 text: what a terminal shows for it, nearly.
std::size_t width(const std::string& text);

}  // namespace leeward::ctl
