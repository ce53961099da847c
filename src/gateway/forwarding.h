// Which header fields go on: from the client to the engine and back. Pure text.
#pragma once

#include <string>
#include <string_view>

#include "base/units.h"
#include "gateway/directory.h"
#include "gateway/routes.h"
#include "net/http.h"

namespace stoker::gateway {

/// Raw header text for the engine: the client's fields without those of the connection
/// (RFC 9110 7.6.1), without credentials (the engine must never see a key of ours), without what
/// would change the answer's coding, and with X-Stoker-Request and X-Stoker-Tenant.
void add_fields_for_engine(std::string& text, const net::Fields& fields, RequestId request,
                           TenantId tenant);

/// What asks, and answers, for the one protocol that is switched to.
inline constexpr std::string_view upgrade_fields = "Connection: Upgrade\r\nUpgrade: websocket\r\n";

/// The same for a body that the gateway wrote itself: nothing of the client's fields fits it.
void add_fields_of_translation(std::string& text, RequestId request, TenantId tenant);

/// Raw header text for the client: the engine's fields without those of the connection and without
/// any X-Stoker-* field or Server-Timing, which are the gateway's to set.
void add_fields_for_client(std::string& text, const net::Fields& fields);

/// Request target at the engine. Names in the path become the name that the engine knows.
[[nodiscard]] std::string target_for_engine(const RouteMatch& match,
                                            const net::HttpRequest& request,
                                            const Deployment& deployment);

/// Value of Content-Type in raw header text; empty if there is none.
[[nodiscard]] std::string_view content_type_of(std::string_view fields);
/// True for application/json and anything/...+json, whatever parameters follow.
[[nodiscard]] bool is_json(std::string_view content_type);
/// True for multipart/form-data.
[[nodiscard]] bool is_form(std::string_view content_type);
[[nodiscard]] bool is_event_stream(std::string_view content_type);

}  // namespace stoker::gateway
