#include "base/ip_address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <string>
#include <vector>

namespace stoker {
namespace {

constexpr int v4_prefix_bits = 96;
constexpr std::array<std::uint8_t, 12> mapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
/// RFC 6052: a translator takes the last 32 bits as an IPv4 address.
constexpr std::array<std::uint8_t, 12> translated = {0, 0x64, 0xff, 0x9b};

bool begins_with(const IpAddress& address, const std::array<std::uint8_t, 12>& prefix) {
  return std::equal(prefix.begin(), prefix.end(), address.bytes.begin());
}

std::vector<IpRange> ranges(std::initializer_list<std::string_view> texts) {
  std::vector<IpRange> parsed;
  for (const std::string_view text : texts) parsed.push_back(IpRange::parse(text).value());
  return parsed;
}

const std::vector<IpRange>& special_v4() {
  static const std::vector<IpRange> all = ranges({
      "0.0.0.0/8",         // this network; 0.0.0.0 is the loopback on Linux
      "10.0.0.0/8",        // private
      "100.64.0.0/10",     // shared; metadata of one cloud
      "127.0.0.0/8",       // loopback
      "168.63.129.16/32",  // metadata of another cloud
      "169.254.0.0/16",    // link-local; metadata of most
      "172.16.0.0/12",     // private
      "192.0.0.0/24",      // protocols
      "192.0.2.0/24",      // documentation
      "192.88.99.0/24",    // 6to4 relays
      "192.168.0.0/16",    // private
      "198.18.0.0/15",     // benchmarks
      "198.51.100.0/24",   // documentation
      "203.0.113.0/24",    // documentation
      "224.0.0.0/4",       // multicast
      "240.0.0.0/4",       // reserved, broadcast
  });
  return all;
}

/// Within 2000::/3, outside of which nothing is public.
const std::vector<IpRange>& special_v6() {
  static const std::vector<IpRange> all = ranges({
      "2001::/23",      // protocols, Teredo among them
      "2001:db8::/32",  // documentation
      "2002::/16",      // 6to4: holds an IPv4 address
      "3fff::/20",      // documentation
  });
  return all;
}

bool is_in(const std::vector<IpRange>& ranges, const IpAddress& address) {
  return std::ranges::any_of(ranges, [&](const IpRange& range) { return range.contains(address); });
}

}  // namespace

IpAddress IpAddress::v4(const std::array<std::uint8_t, 4>& bytes) {
  IpAddress address;
  std::ranges::copy(mapped, address.bytes.begin());
  std::ranges::copy(bytes, address.bytes.begin() + mapped.size());
  return address;
}

std::optional<IpAddress> IpAddress::parse(std::string_view text) {
  const std::string terminated(text);
  if (terminated.find(char{0}) != std::string::npos) return std::nullopt;
  std::array<std::uint8_t, 4> four{};
  if (::inet_pton(AF_INET, terminated.c_str(), four.data()) == 1) return v4(four);
  IpAddress address;
  if (::inet_pton(AF_INET6, terminated.c_str(), address.bytes.data()) == 1) return address;
  return std::nullopt;
}

bool IpAddress::is_v4() const {
  return begins_with(*this, mapped);
}

std::optional<IpRange> IpRange::parse(std::string_view text) {
  const std::size_t slash = text.find('/');
  const std::optional<IpAddress> first = IpAddress::parse(text.substr(0, slash));
  if (!first) return std::nullopt;
  if (slash == text.npos) return IpRange{*first, 128};
  const bool four = text.substr(0, slash).find(':') == text.npos;
  const std::string_view digits = text.substr(slash + 1);
  int bits = -1;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), bits);
  if (error != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
  if (bits < 0 || bits > (four ? 32 : 128)) return std::nullopt;
  const IpRange range{*first, four ? v4_prefix_bits + bits : bits};
  for (std::size_t bit = static_cast<std::size_t>(range.bits); bit < 128; ++bit) {
    if (((first->bytes[bit / 8] >> (7 - bit % 8)) & 1) != 0) return std::nullopt;
  }
  return range;
}

bool IpRange::contains(const IpAddress& address) const {
  const auto whole = static_cast<std::size_t>(bits) / 8;
  if (!std::equal(first.bytes.begin(), first.bytes.begin() + static_cast<std::ptrdiff_t>(whole),
                  address.bytes.begin())) {
    return false;
  }
  const int rest = bits % 8;
  return rest == 0 || (first.bytes[whole] >> (8 - rest)) == (address.bytes[whole] >> (8 - rest));
}

bool is_public(const IpAddress& address) {
  if (address.is_v4()) return !is_in(special_v4(), address);
  if (begins_with(address, translated)) {
    IpAddress inner;
    std::ranges::copy(mapped, inner.bytes.begin());
    std::copy(address.bytes.begin() + mapped.size(), address.bytes.end(),
              inner.bytes.begin() + mapped.size());
    return !is_in(special_v4(), inner);
  }
  static const IpRange global = IpRange::parse("2000::/3").value();
  return global.contains(address) && !is_in(special_v6(), address);
}

bool is_host_name(std::string_view text) {
  if (text.empty() || text.size() > 253) return false;
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  bool any_letter = false;
  char before = '.';
  for (const char c : text) {
    if (!letter(c) && !digit(c) && c != '-' && c != '_' && c != '.') return false;
    if (c == '.' && before == '.') return false;
    any_letter = any_letter || letter(c);
    before = c;
  }
  return any_letter && before != '.';
}

}  // namespace stoker
