#include "outbound/destination.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "base/lower_case.h"

namespace stoker::outbound {
namespace {

constexpr std::size_t longest_url = 2048;

struct FreeUrl {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};

std::string part_of(CURLU* url, CURLUPart part) {
  char* text = nullptr;
  if (curl_url_get(url, part, &text, 0) != CURLUE_OK) return {};
  std::string copy(text);
  curl_free(text);
  return copy;
}

/// The loopback by definition (RFC 6761), wherever a resolver would send it.
bool is_localhost(std::string_view host) {
  return host == "localhost" || host.ends_with(".localhost");
}

tl::unexpected<Error> wrong(std::string message) {
  return failure(ErrorCode::invalid, std::move(message));
}

}  // namespace

DestinationRule::DestinationRule(const std::vector<std::string>& allow) {
  for (const std::string& each : allow) {
    if (const std::optional<IpRange> range = IpRange::parse(each)) {
      ranges_.push_back(*range);
    } else {
      hosts_.push_back(lower_case(each));
    }
  }
}

bool DestinationRule::allows(const IpAddress& address, std::string_view host) const {
  if (is_public(address) || names(host)) return true;
  return std::ranges::any_of(ranges_,
                             [&](const IpRange& range) { return range.contains(address); });
}

bool DestinationRule::names(std::string_view host) const {
  return std::ranges::find(hosts_, host) != hosts_.end();
}

Result<std::string> host_to_call(std::string_view url, const DestinationRule& rule) {
  if (url.size() > longest_url) return wrong("is longer than 2,048 bytes");
  const bool printable = std::ranges::all_of(url, [](char c) { return c > ' ' && c < 0x7f; });
  if (!printable) return wrong("has blanks or other bytes that must be escaped");
  const std::unique_ptr<CURLU, FreeUrl> parsed(curl_url());
  const CURLUcode read =
      curl_url_set(parsed.get(), CURLUPART_URL, std::string(url).c_str(), CURLU_NON_SUPPORT_SCHEME);
  if (read != CURLUE_OK) return wrong(fmt::format("is no URL ({})", curl_url_strerror(read)));
  const std::string scheme = part_of(parsed.get(), CURLUPART_SCHEME);
  if (scheme != "http" && scheme != "https") return wrong("must begin with https:// or http://");
  if (!part_of(parsed.get(), CURLUPART_USER).empty() ||
      !part_of(parsed.get(), CURLUPART_PASSWORD).empty()) {
    return wrong("must not name a user");
  }
  // 127.1, 0177.0.0.1 and 2130706433 have become four decimal numbers by now.
  std::string host = lower_case(part_of(parsed.get(), CURLUPART_HOST));
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  while (host.ends_with('.')) host.pop_back();
  const std::optional<IpAddress> address = IpAddress::parse(host);
  if (!address && !is_host_name(host)) return wrong("has no host that can be called");
  const bool allowed = address ? rule.allows(*address, host)
                               : !is_localhost(host) || rule.names(host) ||
                                     rule.allows(IpAddress::v4({127, 0, 0, 1}), host);
  if (!allowed) return wrong(fmt::format("names {}, which is not public", host));
  return host;
}

}  // namespace stoker::outbound
