#include "gateway/forwarding.h"

#include <algorithm>
#include <array>
#include <span>
#include <string>

#include "base/text.h"

namespace stoker::gateway {
namespace {

// Fields of one connection, not of the message (RFC 9110 7.6.1), and what client and server of
// net/ write themselves.
constexpr std::array<std::string_view, 12> connection_fields = {"connection",
                                                                "keep-alive",
                                                                "proxy-connection",
                                                                "proxy-authenticate",
                                                                "proxy-authorization",
                                                                "te",
                                                                "trailer",
                                                                "transfer-encoding",
                                                                "upgrade",
                                                                "content-length",
                                                                "date",
                                                                "host"};
constexpr std::array<std::string_view, 6> not_for_engines = {
    "authorization", "x-api-key", "api-key", "cookie", "expect", "accept-encoding"};
constexpr std::array<std::string_view, 4> not_for_clients = {
    "server-timing", "x-request-id", "request-id", "x-content-type-options"};
constexpr std::string_view own_prefix = "x-stoker-";

bool is_one_of(std::string_view name, std::span<const std::string_view> names) {
  return std::any_of(names.begin(), names.end(),
                     [&](std::string_view known) { return net::equal_ignoring_case(name, known); });
}

/// True if the field Connection names `name` as one of its own.
bool is_listed(std::string_view list, std::string_view name) {
  while (!list.empty()) {
    std::string_view item = list.substr(0, list.find(','));
    list.remove_prefix(std::min(list.size(), item.size() + 1));
    while (!item.empty() && (item.front() == ' ' || item.front() == '\t')) item.remove_prefix(1);
    while (!item.empty() && (item.back() == ' ' || item.back() == '\t')) item.remove_suffix(1);
    if (net::equal_ignoring_case(item, name)) return true;
  }
  return false;
}

void pass_on(std::string& text, const net::Fields& fields,
             std::span<const std::string_view> also_dropped) {
  const std::string_view connection = fields.find("connection").value_or(std::string_view{});
  for (const net::Field& field : fields) {
    if (is_one_of(field.name, connection_fields) || is_one_of(field.name, also_dropped)) continue;
    if (field.name.size() > own_prefix.size() &&
        net::equal_ignoring_case(field.name.substr(0, own_prefix.size()), own_prefix)) {
      continue;
    }
    if (!connection.empty() && is_listed(connection, field.name)) continue;
    text.append(field.name).append(": ").append(field.value).append("\r\n");
  }
}

/// The tenant by its number, which names nobody: a worker only has to tell tenants apart.
void add_own_fields(std::string& text, RequestId request, TenantId tenant) {
  text.append("X-Stoker-Request: ");
  append_public_id(text, request);
  text.append("\r\nX-Stoker-Tenant: ").append(std::to_string(tenant.value)).append("\r\n");
}

/// The media type without parameters and white space.
std::string_view media_type(std::string_view content_type) {
  content_type = content_type.substr(0, content_type.find(';'));
  while (!content_type.empty() && content_type.back() == ' ') content_type.remove_suffix(1);
  return content_type;
}

}  // namespace

void add_fields_for_engine(std::string& text, const net::Fields& fields, RequestId request,
                           TenantId tenant) {
  pass_on(text, fields, not_for_engines);
  add_own_fields(text, request, tenant);
}

void add_fields_of_translation(std::string& text, RequestId request, TenantId tenant) {
  text.append("Content-Type: application/json\r\n");
  add_own_fields(text, request, tenant);
}

void add_fields_for_client(std::string& text, const net::Fields& fields) {
  pass_on(text, fields, not_for_clients);
}

std::string target_for_engine(const RouteMatch& match, const net::HttpRequest& request,
                              const Deployment& deployment) {
  const Route route = match.spec->route;
  std::string target;
  if (names_model_in_body(route)) {
    // Not the target as received: an absolute one would name a host.
    target.append(request.path);
  } else if (route == Route::invoke) {
    target.append("/").append(match.raw_rest);
  } else {
    constexpr std::string_view models = "/v2/models/";
    const std::string_view after = request.path.substr(models.size());
    const std::size_t slash = after.find('/');
    target.append(models).append(deployment.engine_model.empty() ? deployment.name
                                                                 : deployment.engine_model);
    if (slash != after.npos) target.append(after.substr(slash));
  }
  if (!request.query.empty()) target.append("?").append(request.query);
  return target;
}

std::string_view content_type_of(std::string_view fields) {
  constexpr std::string_view name = "content-type:";
  while (!fields.empty()) {
    const std::size_t end = std::min(fields.find("\r\n"), fields.size());
    std::string_view line = fields.substr(0, end);
    fields.remove_prefix(std::min(end + 2, fields.size()));
    if (line.size() < name.size() || !net::equal_ignoring_case(line.substr(0, name.size()), name)) {
      continue;
    }
    line.remove_prefix(name.size());
    while (line.starts_with(' ')) line.remove_prefix(1);
    return line;
  }
  return {};
}

bool is_json(std::string_view content_type) {
  const std::string_view type = media_type(content_type);
  constexpr std::string_view suffix = "+json";
  return net::equal_ignoring_case(type, "application/json") ||
         (type.size() > suffix.size() &&
          net::equal_ignoring_case(type.substr(type.size() - suffix.size()), suffix));
}

bool is_form(std::string_view content_type) {
  return net::equal_ignoring_case(media_type(content_type), "multipart/form-data");
}

bool is_event_stream(std::string_view content_type) {
  return net::equal_ignoring_case(media_type(content_type), "text/event-stream");
}

}  // namespace stoker::gateway
