// Errors are values: Result<T> holds a T or an Error with a code from a closed
// set and a message that says what to do. Exceptions come only from libraries
// and are caught at the edge.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace leeward {

enum class Code {
  kInvalid,        // the caller's input is wrong
  kNotFound,
  kExists,
  kIo,             // a disk or socket operation failed
  kNoSpace,        // ENOSPC: writes stop, nothing is lost
  kCorrupt,        // stored data fails its checksum or chain
  kLineage,        // data or a peer of another cluster
  kNewerFormat,    // written by a newer version
  kInUse,          // another process holds it
  kUnavailable,    // certainly not done; try elsewhere or later
  kUnknown,        // may or may not have been done (a proposal that timed out)
  kOverloaded,     // a bound was reached; certainly not done
  kCompacted,
  kCancelled,
  kDeadline,
  kPermission,
  kUnimplemented,
  kRefused,        // a rule that keeps data safe forbids it now; the message names it. Last: members send it as a number
};

const char* name(Code code);

struct Error {
  Code code = Code::kInvalid;
  std::string message;
  bool operator==(const Error&) const = default;
};

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }
  T& value() & { return std::get<0>(state_); }
  const T& value() const& { return std::get<0>(state_); }
  T&& value() && { return std::get<0>(std::move(state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  const Error& error() const { return std::get<1>(state_); }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}

  bool ok() const { return !error_; }
  explicit operator bool() const { return ok(); }
  const Error& error() const { return *error_; }

 private:
  std::optional<Error> error_;
};

// Returns the error of `expr` from the enclosing function, if it has one.
#define LEEWARD_TRY(expr)                                      \
  do {                                                         \
    if (auto leeward_try_ = (expr); !leeward_try_.ok())        \
      return leeward_try_.error();                             \
  } while (0)

}  // namespace leeward
