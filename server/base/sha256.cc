#include "base/sha256.h"

#include <openssl/evp.h>

#include "base/check.h"

namespace leeward {
namespace {

// Fetched once: an implicit fetch takes a lock in every init.
const EVP_MD* algorithm() {
  static const EVP_MD* md = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  return md;
}

}  // namespace

Sha256::Sha256() : context_(EVP_MD_CTX_new()) { LEEWARD_CHECK(context_ != nullptr, "out of memory"); }

Sha256::~Sha256() { EVP_MD_CTX_free(context_); }

void Sha256::start() { LEEWARD_CHECK(EVP_DigestInit_ex(context_, algorithm(), nullptr) == 1); }

void Sha256::add(std::string_view data) {
  LEEWARD_CHECK(EVP_DigestUpdate(context_, data.data(), data.size()) == 1);
}

Hash Sha256::finish() {
  Hash hash;
  LEEWARD_CHECK(EVP_DigestFinal_ex(context_, hash.bytes.data(), nullptr) == 1);
  return hash;
}

}  // namespace leeward
