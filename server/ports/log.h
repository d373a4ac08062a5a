// Structured logging. Any thread; never blocks (a full queue drops and counts).
// Messages are constant text; what varies goes into fields. No client keys or
// values at info level or above.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>

namespace leeward {

enum class Level { kDebug, kInfo, kWarn, kError };

struct Field {
  std::string_view key;
  std::string value;
  bool quoted = true;  // false for numbers and booleans

  Field(std::string_view k, std::string_view v) : key(k), value(v) {}
  Field(std::string_view k, const char* v) : key(k), value(v) {}
  Field(std::string_view k, const std::string& v) : key(k), value(v) {}
  Field(std::string_view k, bool v) : key(k), value(v ? "true" : "false"), quoted(false) {}
  template <class T>
    requires(std::is_arithmetic_v<T> && !std::is_same_v<T, bool>)
  Field(std::string_view k, T v) : key(k), value(std::to_string(v)), quoted(false) {}
  template <class T>
    requires requires(const T& t) { t.value(); }
  Field(std::string_view k, const T& v) : key(k), value(std::to_string(v.value())), quoted(false) {}
};

class Log {
 public:
  virtual ~Log() = default;
  virtual bool enabled(Level level) const = 0;
  virtual void write(Level level, std::string_view message, std::initializer_list<Field> fields) = 0;

  void debug(std::string_view m, std::initializer_list<Field> f = {}) { put(Level::kDebug, m, f); }
  void info(std::string_view m, std::initializer_list<Field> f = {}) { put(Level::kInfo, m, f); }
  void warn(std::string_view m, std::initializer_list<Field> f = {}) { put(Level::kWarn, m, f); }
  void error(std::string_view m, std::initializer_list<Field> f = {}) { put(Level::kError, m, f); }

 private:
  void put(Level level, std::string_view m, std::initializer_list<Field> f) {
    if (enabled(level)) write(level, m, f);
  }
};

// Swallows everything: for tests that do not look at logs.
class NullLog final : public Log {
 public:
  bool enabled(Level) const override { return false; }
  void write(Level, std::string_view, std::initializer_list<Field>) override {}
};

}  // namespace leeward
