// SHA-256 of what comes in pieces; for one piece entry.h has sha256().
//
// One thread at a time. Making one costs as much as a small hash: reuse it.
#pragma once

#include <string_view>

#include "base/entry.h"

struct evp_md_ctx_st;

namespace leeward {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void start();
  void add(std::string_view data);
  Hash finish();  // to be followed by start()

 private:
  evp_md_ctx_st* context_;
};

}  // namespace leeward
