// What a fuzzer is here: a function of any bytes that must neither crash nor
// break what it states, and inputs to begin with, made by the product's own
// encoders so that mutations start deep inside the format.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace leeward::fuzz {

struct Target {
  const char* name;
  void (*run)(std::string_view input);
  std::vector<std::string> (*seeds)();
};

std::vector<Target> peer_targets();
std::vector<Target> disk_targets();
std::vector<Target> config_targets();
std::vector<Target> client_targets();

// Takes values off the front of an input; zeros at its end.
class Input {
 public:
  explicit Input(std::string_view bytes) : left_(bytes) {}
  bool empty() const { return left_.empty(); }
  unsigned u8() {
    if (left_.empty()) return 0;
    const auto value = static_cast<unsigned char>(left_.front());
    left_.remove_prefix(1);
    return value;
  }
  unsigned u16() {
    const unsigned high = u8();
    return high << 8 | u8();
  }
  std::string_view take(std::size_t size) {
    const auto taken = left_.substr(0, size);
    left_.remove_prefix(taken.size());
    return taken;
  }
  std::string_view rest() { return take(left_.size()); }

 private:
  std::string_view left_;
};

}  // namespace leeward::fuzz
