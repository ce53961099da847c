#include "gateway/resume_route.h"

#include <charconv>
#include <optional>

#include "base/text.h"
#include "gateway/admin_routes.h"
#include "gateway/api_error.h"
#include "gateway/stream_reader.h"

namespace stoker::gateway {
namespace {

constexpr const char* last_seen_field = "Last-Event-ID";

/// nullopt: it is no id of ours.
std::optional<std::uint64_t> last_seen_of(const net::HttpRequest& request) {
  const auto text = request.fields.find(last_seen_field);
  if (!text || text->empty()) return 0;
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc{} || end != text->data() + text->size()) return std::nullopt;
  return value;
}

ApiError error_of(KeptStreams::Attach how) {
  switch (how) {
    case KeptStreams::Attach::gone:
      return {410,
              "stream_gone",
              "what follows that event is not kept any more; the request has its record all the "
              "same, and can be sent again",
              {},
              {}};
    case KeptStreams::Attach::ahead:
      return {
          400, "invalid_field", "Last-Event-ID names no event of this stream", last_seen_field, {}};
    default:
      return {404,
              "not_found",
              "there is no such stream: only those of requests with X-Stoker-Resumable are kept, "
              "and not over a restart of the server",
              {},
              {}};
  }
}

}  // namespace

void resume_stream(net::EventLoop& loop, KeptStreams& streams, std::size_t most_unsent,
                   const net::ExchangePtr& exchange, std::string_view name, const access::Key& key,
                   RequestId id) {
  const std::optional<std::uint64_t> last_seen = last_seen_of(exchange->request());
  if (!last_seen) {
    send_error(*exchange, Dialect::openai, error_of(KeptStreams::Attach::ahead), id);
    return;
  }
  const bool only_asks = exchange->request().method == "HEAD";
  const auto reader =
      only_asks ? nullptr : std::make_shared<StreamReader>(loop, streams, exchange, most_unsent);
  const std::optional<RequestId> request = parse_request_id(name);
  const KeptStreams::Attached attached =
      request ? streams.attach(*request, key, *last_seen, reader) : KeptStreams::Attached{};
  if (attached.how == KeptStreams::Attach::nothing_left) {
    exchange->respond(204, id_fields(Dialect::openai, *request), {});
    return;
  }
  if (attached.how != KeptStreams::Attach::attached) {
    send_error(*exchange, Dialect::openai, error_of(attached.how), id);
    return;
  }
  const std::string fields = plain_fields("text/event-stream; charset=utf-8", *request) +
                             "Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\n";
  if (only_asks) {
    exchange->respond(200, fields, {});
    return;
  }
  reader->start(attached.stream, fields);
  reader->on_passing(": resumed\n\n", &loop);  // so that the head goes out at once
  reader->on_news(&loop);
}

}  // namespace stoker::gateway
