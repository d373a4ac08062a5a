// CHECK(condition, "format", ...): what must hold on both sides of a call. On
// in release builds: going on after one has failed could lose data. A failure
// prints the reason, runs the handler (the flight recorder's dump) and aborts.
#pragma once

#include <string>

namespace leeward {

// Runs once before the abort; must not allocate much nor return by exception.
void set_check_handler(void (*handler)(const char* file, int line, const char* text));

[[noreturn]] void check_failed(const char* file, int line, const char* condition, const std::string& detail);

}  // namespace leeward

#define LEEWARD_CHECK(condition, ...)                                                        \
  do {                                                                                       \
    if (!(condition)) [[unlikely]]                                                           \
      ::leeward::check_failed(__FILE__, __LINE__, #condition, ::std::string(__VA_ARGS__));   \
  } while (0)
