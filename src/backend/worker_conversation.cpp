#include "backend/worker_conversation.h"

#include "net/http_client.h"

namespace stoker::backend {
namespace {

/// The nonce is a secret, so the time of the comparison must not tell how much of it was right.
bool equal_secrets(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  unsigned char different = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    different = static_cast<unsigned char>(different | (a[i] ^ b[i]));
  }
  return different == 0;
}

bool is_loopback(const net::Endpoint& endpoint) {
  return endpoint.unix_path.empty() && endpoint.port > 0 &&
         (endpoint.host == "127.0.0.1" || endpoint.host == "::1" || endpoint.host == "localhost");
}

}  // namespace

Result<WorkerMessage> WorkerConversation::accept(std::string_view packet) {
  if (packet.size() > control_packet_bytes) {
    return failure(ErrorCode::invalid, "a message is longer than 64 KiB");
  }
  Result<WorkerMessage> message = parse_worker_message(packet);
  if (!message) return message;
  const auto* hello = std::get_if<WorkerHello>(&*message);
  if (greeted_ != (hello == nullptr)) {
    return failure(ErrorCode::invalid,
                   greeted_ ? "it said `hello` twice" : "its first message is not `hello`");
  }
  Result<void> right;
  if (hello != nullptr) right = check_hello(*hello);
  if (const auto* progress = std::get_if<WorkerProgress>(&*message))
    right = check_progress(*progress);
  if (auto* ready = std::get_if<WorkerReady>(&*message)) right = complete_ready(*ready);
  if (!right) return tl::unexpected(std::move(right.error()));
  greeted_ = true;
  return message;
}

Result<void> WorkerConversation::check_hello(const WorkerHello& hello) const {
  if (!equal_secrets(hello.nonce, rules_.nonce)) {
    return failure(ErrorCode::invalid, "its `hello` does not prove that it is the one we started");
  }
  if (hello.worker != rules_.worker) {
    return failure(ErrorCode::invalid, "its `hello` names another kind of worker");
  }
  return {};
}

Result<void> WorkerConversation::check_progress(const WorkerProgress& progress) {
  if (progress.steps < last_progress_.steps || progress.tokens < last_progress_.tokens) {
    return failure(ErrorCode::invalid, "a counter of its `progress` fell");
  }
  last_progress_ = progress;
  return {};
}

Result<void> WorkerConversation::complete_ready(WorkerReady& ready) const {
  if (ready.endpoint.empty()) ready.endpoint = rules_.endpoint;
  if (ready.endpoint == rules_.endpoint) return {};
  // Anything else would let a worker send our requests, and their contents, where it likes.
  const Result<net::Endpoint> endpoint = net::parse_endpoint(ready.endpoint);
  if (endpoint && !endpoint->tls && rules_.loopback_allowed && is_loopback(*endpoint)) return {};
  return failure(ErrorCode::invalid, "its `ready` names an endpoint that it may not have");
}

}  // namespace stoker::backend
