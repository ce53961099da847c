#include "gateway/openapi_route.h"

#include <algorithm>
#include <string>
#include <string_view>

#include "gateway/admin_routes.h"
#include "net/http_chars.h"
#include "openapi/document.h"

namespace stoker::gateway {
namespace {

/// True if one of the entity tags that the client has, or '*', is `tag`. Which marks a weak one
/// does not matter here (RFC 9110 13.1.2).
bool has_already(const net::HttpRequest& request, std::string_view tag) {
  std::string_view list = request.fields.find("if-none-match").value_or(std::string_view{});
  while (!list.empty()) {
    std::string_view each = list.substr(0, list.find(','));
    list.remove_prefix(std::min(list.size(), each.size() + 1));
    each = net::trim_blanks(each);
    if (each.starts_with("W/")) each.remove_prefix(2);
    if (each == tag || each == "*") return true;
  }
  return false;
}

}  // namespace

void send_openapi(net::Exchange& exchange, RequestId id) {
  const std::string fields = plain_fields("application/json", id) +
                             "Cache-Control: no-cache\r\nETag: " + openapi::entity_tag() + "\r\n";
  if (has_already(exchange.request(), openapi::entity_tag())) {
    exchange.respond(304, fields, {});
  } else {
    exchange.respond(200, fields, openapi::document());
  }
}

}  // namespace stoker::gateway
