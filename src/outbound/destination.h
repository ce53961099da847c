// Where this server may send requests to that others asked for: public addresses, and what the
// configuration names. A URL is looked at when it is given, its addresses when it is called
// (C12 and C13 in RELIABILITY.md).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/ip_address.h"
#include "base/result.h"

namespace stoker::outbound {

class DestinationRule {
 public:
  /// Public addresses only.
  DestinationRule() = default;
  /// `allow`: ranges, addresses and host names, in the words of base/ip_address.h.
  explicit DestinationRule(const std::vector<std::string>& allow);

  /// May `address` be called for a URL that names `host`?
  [[nodiscard]] bool allows(const IpAddress& address, std::string_view host) const;
  [[nodiscard]] bool names(std::string_view host) const;

 private:
  std::vector<IpRange> ranges_;
  std::vector<std::string> hosts_;  // in small letters
};

/// Reads the host of a URL that may be called, in small letters and without brackets.
/// Errors: invalid, for what is no http or https URL, names a user, or an address that the rule
/// refuses, in whatever notation. What a name stands for is only known when it is called.
[[nodiscard]] Result<std::string> host_to_call(std::string_view url, const DestinationRule& rule);

}  // namespace stoker::outbound
