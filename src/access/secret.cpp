#include "access/secret.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <sys/random.h>

#include <cstring>
#include <memory>

#include "base/invariant.h"

namespace stoker::access {
namespace {

/// The one-shot SHA256() looks its code up by name in each call, which takes longer than the hash.
struct Hasher {
  struct Free {
    void operator()(EVP_MD* each) const { EVP_MD_free(each); }
    void operator()(EVP_MD_CTX* each) const { EVP_MD_CTX_free(each); }
  };
  std::unique_ptr<EVP_MD, Free> sha256{EVP_MD_fetch(nullptr, "SHA256", nullptr)};
  std::unique_ptr<EVP_MD_CTX, Free> context{EVP_MD_CTX_new()};
};

}  // namespace

Digest::Digest(std::string_view secret) {
  thread_local const Hasher hasher;
  EVP_MD_CTX* const context = hasher.context.get();
  const bool done = EVP_DigestInit_ex2(context, hasher.sha256.get(), nullptr) == 1 &&
                    EVP_DigestUpdate(context, secret.data(), secret.size()) == 1 &&
                    EVP_DigestFinal_ex(context, bytes_.data(), nullptr) == 1;
  STOKER_INVARIANT(done, "OpenSSL has no SHA-256");
}

std::optional<Digest> Digest::from_bytes(std::string_view bytes) {
  if (bytes.size() != size) return std::nullopt;
  Digest digest;
  std::memcpy(digest.bytes_.data(), bytes.data(), size);
  return digest;
}

bool Digest::equals(const Digest& other) const {
  return CRYPTO_memcmp(bytes_.data(), other.bytes_.data(), size) == 0;
}

std::uint64_t Digest::bucket() const {
  std::uint64_t value = 0;
  std::memcpy(&value, bytes_.data(), sizeof value);
  return value;
}

std::string_view Digest::bytes() const {
  return {reinterpret_cast<const char*>(bytes_.data()), size};
}

SecretText::~SecretText() {
  OPENSSL_cleanse(text_.data(), text_.size());
}

Result<SecretText> new_secret(std::string_view prefix) {
  // Two letters for each byte would be longer, 64 letters for six bits each need '-' and '_': with
  // 32 letters a secret survives being read out, and 52 of them hold 260 bits.
  constexpr std::string_view letters = "abcdefghijkmnpqrstuvwxyz23456789";
  static_assert(letters.size() == 32);
  constexpr std::size_t length = 52;
  std::array<unsigned char, length> random{};
  if (::getrandom(random.data(), random.size(), 0) != static_cast<ssize_t>(random.size())) {
    return tl::unexpected(errno_error("cannot draw a random key"));
  }
  std::string text(prefix);
  text.reserve(prefix.size() + length);
  for (const unsigned char byte : random) text += letters[byte % letters.size()];
  OPENSSL_cleanse(random.data(), random.size());
  return SecretText(std::move(text));
}

}  // namespace stoker::access
