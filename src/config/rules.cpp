#include "config/rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "base/ip_address.h"

namespace stoker::config {
namespace {

bool is_lower(char c) {
  return c >= 'a' && c <= 'z';
}
bool is_upper(char c) {
  return c >= 'A' && c <= 'Z';
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

/// Words that are segments of routes beside names: /v2/models/..., /v2/{name}/health.
constexpr std::array<std::string_view, 4> reserved = {"models", "health", "repository", "openai"};

bool is_port(std::string_view text) {
  unsigned port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc{} && end == text.data() + text.size() && port <= 65535;
}

/// The host of "HOST:PORT"; all interfaces give "".
std::string_view host_of(std::string_view listen) {
  const std::size_t colon = listen.rfind(':');
  std::string_view host = colon == std::string_view::npos ? "" : listen.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  return host;
}

}  // namespace

std::optional<Mistake> check_tenant_name(std::string_view text) {
  const auto first = [](char c) { return is_lower(c) || is_digit(c); };
  const auto inner = [&](char c) { return first(c) || c == '.' || c == '_' || c == '-'; };
  if (!text.empty() && text.size() <= 63 && first(text.front()) &&
      std::ranges::all_of(text, inner)) {
    return std::nullopt;
  }
  return Mistake{fmt::format("'{}' is not a name: it must be 1 to 63 of a-z 0-9 . _ - and begin "
                             "with a letter or a digit",
                             text.substr(0, 80)),
                 {}};
}

std::optional<Mistake> check_deployment_name(std::string_view text) {
  if (std::optional<Mistake> wrong = check_tenant_name(text)) {
    wrong->hint = "other names that requests use can stand under aliases:";
    return wrong;
  }
  if (std::ranges::find(reserved, text) != reserved.end()) {
    return Mistake{fmt::format("'{}' is a reserved name", text), "choose another one"};
  }
  return std::nullopt;
}

std::optional<Mistake> check_alias(std::string_view text) {
  const auto good = [](char c) {
    return is_lower(c) || is_upper(c) || is_digit(c) ||
           std::string_view("._-/:@+").find(c) != std::string_view::npos;
  };
  if (text.empty() || text.size() > 200 || !std::ranges::all_of(text, good)) {
    return Mistake{
        fmt::format("'{}' cannot be an alias: it must be 1 to 200 of A-Z a-z 0-9 . _ - / "
                    ": @ +",
                    text.substr(0, 80)),
        {}};
  }
  if (std::ranges::find(reserved, text) != reserved.end()) {
    return Mistake{fmt::format("'{}' is a reserved name", text), "choose another one"};
  }
  return std::nullopt;
}

std::optional<Mistake> check_device_id(std::string_view text) {
  const auto good = [](char c) { return is_lower(c) || is_digit(c) || c == '-' || c == '_'; };
  if (!text.empty() && text.size() <= 32 && std::ranges::all_of(text, good)) return std::nullopt;
  return Mistake{fmt::format("'{}' is not a device id", text.substr(0, 80)),
                 "1 to 32 of a-z 0-9 _ -, for example cuda0"};
}

std::optional<Mistake> check_listen(std::string_view text) {
  constexpr std::string_view hint =
      "write for example 127.0.0.1:8080, [::1]:8080 or unix:/run/s.sock";
  if (text.starts_with("unix:")) {
    const std::string_view path = text.substr(5);
    // sun_path holds 108 bytes with the final NUL. Source: unix(7).
    if (!path.empty() && path.size() < 108) return std::nullopt;
    return Mistake{"a socket path must be 1 to 107 bytes long", std::string(hint)};
  }
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) {
    return Mistake{fmt::format("'{}' is not HOST:PORT", text),
                   is_port(text)
                       ? fmt::format("write 127.0.0.1:{0}, or :{0} for all interfaces", text)
                       : std::string(hint)};
  }
  const std::string_view port = text.substr(colon + 1);
  const std::string_view written_host = text.substr(0, colon);
  const bool bracketed = written_host.starts_with('[') && written_host.ends_with(']');
  if (!is_port(port) || (!bracketed && written_host.find(':') != std::string_view::npos) ||
      written_host.find_first_of(" /") != std::string_view::npos) {
    return Mistake{fmt::format("'{}' is not HOST:PORT", text), std::string(hint)};
  }
  return std::nullopt;
}

bool is_loopback(std::string_view listen) {
  if (listen.starts_with("unix:")) return true;
  const std::string_view host = host_of(listen);
  const bool four = host.starts_with("127.") && std::ranges::count(host, '.') == 3 &&
                    std::ranges::all_of(host, [](char c) { return is_digit(c) || c == '.'; });
  return four || host == "::1" || host == "localhost";
}

std::optional<Mistake> check_origin(std::string_view text) {
  const std::size_t scheme = text.find("://");
  const std::string_view host = scheme == std::string_view::npos ? "" : text.substr(scheme + 3);
  const auto good = [](char c) {
    return is_lower(c) || is_digit(c) ||
           std::string_view(".-:[]").find(c) != std::string_view::npos;
  };
  if (!host.empty() && (text.starts_with("https://") || text.starts_with("http://")) &&
      std::ranges::all_of(host, good)) {
    return std::nullopt;
  }
  return Mistake{fmt::format("'{}' is not an origin", text.substr(0, 80)),
                 text == "*" ? "name each one; any page at all could call the server otherwise"
                             : "write it as browsers do: https://HOST or https://HOST:PORT, in "
                               "small letters, without a path"};
}

std::optional<Mistake> check_destination(std::string_view text) {
  if (IpRange::parse(text) || is_host_name(text)) return std::nullopt;
  return Mistake{fmt::format("'{}' is no range, address or host name", text.substr(0, 80)),
                 "write for example 10.1.0.0/16, fd00::/8, 192.168.1.7 or hooks.internal"};
}

std::optional<Mistake> check_model(std::string_view text) {
  const std::size_t at = text.find("://");
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view scheme = text.substr(0, at);
  for (const std::string_view known : {"hf", "https", "http", "s3", "file"}) {
    if (scheme == known) return std::nullopt;
  }
  return Mistake{fmt::format("'{}://' is not known", scheme), "write a path or file:PATH"};
}

std::optional<Mistake> check_sha256(std::string_view text) {
  const auto hex = [](char c) {
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
  };
  if (text.empty() || (text.size() == 64 && std::ranges::all_of(text, hex))) return std::nullopt;
  return Mistake{fmt::format("is {} characters, must be 64 hexadecimal digits", text.size()),
                 "sha256sum prints it"};
}

std::optional<Mistake> check_currency(std::string_view text) {
  if (text.size() == 3 && std::ranges::all_of(text, is_upper)) return std::nullopt;
  return Mistake{fmt::format("'{}' is not a currency code", text), "for example USD or EUR"};
}

std::optional<Mistake> check_health_path(std::string_view text) {
  const bool printable = std::ranges::all_of(text, [](char c) { return c > ' ' && c < 0x7f; });
  if (text.empty()) return std::nullopt;  // unset
  if (text.starts_with('/') && printable) return std::nullopt;
  return Mistake{fmt::format("'{}' is not a path", text), "it begins with /, for example /health"};
}

std::optional<Mistake> check_variable(std::string_view text) {
  const auto good = [](char c) { return is_lower(c) || is_upper(c) || is_digit(c) || c == '_'; };
  if (text.starts_with("STOKER_")) {
    return Mistake{"variables that begin with STOKER_ are set by Stoker itself", "rename it"};
  }
  if (!text.empty() && !is_digit(text.front()) && std::ranges::all_of(text, good))
    return std::nullopt;
  return Mistake{fmt::format("'{}' is not the name of a variable", text.substr(0, 80)),
                 "letters, digits and _"};
}

std::optional<Mistake> check_label(std::string_view text) {
  const auto good = [](char c) {
    return is_lower(c) || is_upper(c) || is_digit(c) || c == '.' || c == '_' || c == '-' ||
           c == '/';
  };
  if (!text.empty() && text.size() <= 128 && std::ranges::all_of(text, good)) return std::nullopt;
  return Mistake{fmt::format("'{}' is not the name of a label", text.substr(0, 80)),
                 "letters, digits and . _ - /"};
}

std::optional<Mistake> check_not_empty(std::string_view text) {
  if (!text.empty()) return std::nullopt;
  return Mistake{"is empty", {}};
}

}  // namespace stoker::config
