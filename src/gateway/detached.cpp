#include "gateway/detached.h"

#include <utility>

#include "gateway/forwarding.h"

namespace stoker::gateway {

DetachedExchange::DetachedExchange(DetachedRequest request, std::shared_ptr<DetachedSink> sink,
                                   Instant now)
    : what_(std::move(request)), sink_(std::move(sink)), accepted_at_(now), context_(what_.key) {
  const std::string_view target = what_.target;
  const std::size_t question = target.find('?');
  head_.method = "POST";
  head_.target = target;
  head_.path = target.substr(0, question);
  if (question != target.npos) head_.query = target.substr(question + 1);
  head_.fields.add("Content-Type", "application/json");
  head_.body = what_.body;
}

void DetachedExchange::forget_request() {
  head_ = {};
  what_.body = {};
}

void DetachedExchange::respond(int status, std::string_view head_fields, std::string_view body) {
  end(status, std::string(content_type_of(head_fields)), std::string(body));
}

void DetachedExchange::start(int status, std::string_view head_fields,
                             std::optional<std::uint64_t>) {
  status_ = status;
  content_type_ = content_type_of(head_fields);
}

void DetachedExchange::write(std::string_view bytes) {
  if (sink_ != nullptr) sink_->on_bytes(bytes);
}

void DetachedExchange::finish() {
  end(status_, content_type_, {});
}

void DetachedExchange::abort() {
  end(0, content_type_, {});
}

void DetachedExchange::leave() {
  sink_ = nullptr;
  if (callbacks_.on_gone) std::exchange(callbacks_.on_gone, nullptr)();
}

void DetachedExchange::dispatched(const std::string& worker) {
  if (sink_ != nullptr) sink_->on_dispatched(worker);
}

void DetachedExchange::end(int status, std::string content_type, std::string body) {
  if (const auto sink = std::exchange(sink_, nullptr)) {
    sink->on_end(status, std::move(content_type), std::move(body));
  }
}

}  // namespace stoker::gateway
