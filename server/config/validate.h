// Rules over several keys, and what follows from others.
#pragma once

#include <set>
#include <string>

#include "config/config.h"

namespace leeward::config {

struct Findings {
  Loaded& loaded;
  std::set<std::string> unreadable;  // keys whose value was refused: rules over them are not judged

  bool readable(std::initializer_list<const char*> names) const;
  bool given(const std::string& key) const { return loaded.origins.contains(key); }
  // One line: where `key` was set, the key, the text.
  void problem(const std::string& key, const std::string& text);
  void warning(const std::string& key, const std::string& text);
};

void validate(Findings& findings);

}  // namespace leeward::config
