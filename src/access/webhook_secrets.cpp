#include "access/webhook_secrets.h"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <array>

namespace stoker::access {
namespace {

std::string hmac_sha256(std::string_view key, std::string_view text) {
  std::array<unsigned char, Digest::size> bytes{};
  unsigned int size = 0;
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
       reinterpret_cast<const unsigned char*>(text.data()), text.size(), bytes.data(), &size);
  return {reinterpret_cast<const char*>(bytes.data()), size};
}

std::string base64(std::string_view bytes) {
  std::string text((bytes.size() + 2) / 3 * 4 + 1, '\0');  // EVP ends it with a NUL
  const int size = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                                   reinterpret_cast<const unsigned char*>(bytes.data()),
                                   static_cast<int>(bytes.size()));
  text.resize(static_cast<std::size_t>(size));
  return text;
}

std::string key_of(const SecretText& server_secret, std::string_view tenant) {
  return hmac_sha256(server_secret.reveal(), fmt::format("webhooks of {}", tenant));
}

}  // namespace

SecretText WebhookSecrets::of(std::string_view tenant) const {
  return SecretText("whsec_" + base64(key_of(server_secret_, tenant)));
}

std::string WebhookSecrets::sign(std::string_view tenant, std::string_view id, std::int64_t at_s,
                                 std::string_view body) const {
  return "v1," + base64(hmac_sha256(key_of(server_secret_, tenant),
                                    fmt::format("{}.{}.{}", id, at_s, body)));
}

}  // namespace stoker::access
