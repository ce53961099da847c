// Rules for single texts of the configuration. Each gives nothing if the text is good.
#pragma once

#include <optional>
#include <string_view>

#include "config/values.h"

namespace stoker::config {

/// [a-z0-9][a-z0-9._-]{0,62} and none of the words that the routes use. Source: DESIGN.md 5.
[[nodiscard]] std::optional<Mistake> check_deployment_name(std::string_view text);
/// What a request may say instead of a name; slashes and capitals are welcome.
[[nodiscard]] std::optional<Mistake> check_alias(std::string_view text);
/// [a-z0-9][a-z0-9._-]{0,62}
[[nodiscard]] std::optional<Mistake> check_tenant_name(std::string_view text);
[[nodiscard]] std::optional<Mistake> check_device_id(std::string_view text);
/// "127.0.0.1:8080", "[::1]:8080", ":8080", "unix:/path". Not "8080": as likely a typing mistake.
[[nodiscard]] std::optional<Mistake> check_listen(std::string_view text);
/// Can only this machine reach the (well-formed) address?
[[nodiscard]] bool is_loopback(std::string_view listen);
/// "https://console.example.com", "http://localhost:3000": as a browser sends it.
[[nodiscard]] std::optional<Mistake> check_origin(std::string_view text);
/// An IP range, an IP address or a host name, as base/ip_address.h has them.
[[nodiscard]] std::optional<Mistake> check_destination(std::string_view text);
[[nodiscard]] std::optional<Mistake> check_model(std::string_view text);
[[nodiscard]] std::optional<Mistake> check_sha256(std::string_view text);
[[nodiscard]] std::optional<Mistake> check_currency(std::string_view text);
[[nodiscard]] std::optional<Mistake> check_health_path(std::string_view text);
[[nodiscard]] std::optional<Mistake> check_variable(std::string_view text);
[[nodiscard]] std::optional<Mistake> check_label(std::string_view text);
[[nodiscard]] std::optional<Mistake> check_not_empty(std::string_view text);

}  // namespace stoker::config
