// The secrets that calls to webhooks are signed with, one a tenant, so that no tenant can forge
// calls to another. All of them come from one secret of the server: there is nothing else to keep.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "access/secret.h"

namespace stoker::access {

class WebhookSecrets {
 public:
  /// Needs: 128 random bits or more.
  explicit WebhookSecrets(std::string_view server_secret)
      : server_secret_(std::string(server_secret)) {}

  /// "whsec_..." for the receivers of a tenant, in the spelling of Standard Webhooks.
  [[nodiscard]] SecretText of(std::string_view tenant) const;
  /// Value of the field webhook-signature: "v1," and the base64 of the HMAC-SHA256 of
  /// "{id}.{at_s}.{body}". Source: https://www.standardwebhooks.com, "Signature scheme".
  /// `at_s`: seconds since 1970, that of the field webhook-timestamp.
  [[nodiscard]] std::string sign(std::string_view tenant, std::string_view id, std::int64_t at_s,
                                 std::string_view body) const;

 private:
  SecretText server_secret_;
};

}  // namespace stoker::access
