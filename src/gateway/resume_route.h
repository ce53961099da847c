// GET /v1/streams/{request}: a client comes back for a stream that asked to be resumable.
#pragma once

#include <cstddef>
#include <string_view>

#include "gateway/kept_streams.h"
#include "net/event_loop.h"
#include "net/http_server.h"

namespace stoker::gateway {

/// Goes on after the event that the field Last-Event-ID names, without it from the first one.
/// `name`: of the request whose stream it is. `id`: of this one, for errors.
void resume_stream(net::EventLoop& loop, KeptStreams& streams, std::size_t most_unsent,
                   const net::ExchangePtr& exchange, std::string_view name, const access::Key& key,
                   RequestId id);

}  // namespace stoker::gateway
