// GET /openapi.json.
#pragma once

#include "base/units.h"
#include "net/http_server.h"

namespace stoker::gateway {

/// The document, or 304 to a client that has it: any client keeps it and asks whether it is still
/// the one.
void send_openapi(net::Exchange& exchange, RequestId id);

}  // namespace stoker::gateway
