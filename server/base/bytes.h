// An immutable run of bytes that shares its storage: passing one on never
// copies. Safe to read from several threads. A slice keeps the whole storage
// alive, so copy() what outlives its message by long.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace leeward {

class Bytes {
 public:
  Bytes() = default;
  explicit Bytes(std::string data)
      : owner_(std::make_shared<const std::string>(std::move(data))), view_(*owner()) {}
  // `view` must lie inside what `owner` keeps alive.
  Bytes(std::shared_ptr<const void> owner, std::string_view view)
      : owner_(std::move(owner)), view_(view) {}

  static Bytes copy(std::string_view view) { return Bytes(std::string(view)); }

  std::string_view view() const { return view_; }
  std::size_t size() const { return view_.size(); }
  bool empty() const { return view_.empty(); }
  const char* data() const { return view_.data(); }
  Bytes slice(std::size_t pos, std::size_t count = std::string_view::npos) const {
    return Bytes(owner_, view_.substr(pos, count));
  }
  bool operator==(const Bytes& other) const { return view_ == other.view_; }

 private:
  const std::string* owner() const { return static_cast<const std::string*>(owner_.get()); }

  std::shared_ptr<const void> owner_;
  std::string_view view_;
};

}  // namespace leeward
