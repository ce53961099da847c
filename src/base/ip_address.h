// IP addresses, ranges of them, and which of them are public: reachable for everybody, and so no
// way into the networks that this machine is in.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace stoker {

/// IPv4 is kept as ::ffff:a.b.c.d, so that both spellings of an address are one.
struct IpAddress {
  std::array<std::uint8_t, 16> bytes{};
  bool operator==(const IpAddress&) const = default;

  [[nodiscard]] static IpAddress v4(const std::array<std::uint8_t, 4>& bytes);
  /// "10.0.0.1" (four decimal numbers, nothing else) or "fd00::1", without brackets and zone.
  [[nodiscard]] static std::optional<IpAddress> parse(std::string_view text);
  [[nodiscard]] bool is_v4() const;
};

struct IpRange {
  IpAddress first;
  int bits = 128;  // of `first` that all its addresses have

  /// "10.0.0.0/8", "fd00::/8", or one address. Gives: nullopt also if there are bits behind the
  /// prefix, as in 10.0.0.1/8, which says two things.
  [[nodiscard]] static std::optional<IpRange> parse(std::string_view text);
  [[nodiscard]] bool contains(const IpAddress& address) const;
};

/// False for loopback, private, shared, link-local (where clouds keep their metadata), multicast,
/// reserved, documentation and tunnelled addresses, in whatever notation of IPv6 they come.
/// Source: the IANA registries of special-purpose addresses, RFC 6890 and its updates.
[[nodiscard]] bool is_public(const IpAddress& address);

/// Letters, digits, - and _ in labels between dots, at most 253 bytes; not all digits.
[[nodiscard]] bool is_host_name(std::string_view text);

}  // namespace stoker
