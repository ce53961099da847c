// GatewayLoop, what stands between a request and its connection: its client may come back for the
// stream; under an Idempotency-Key one request runs, and the same again gets its answer.
#include <utility>

#include "gateway/gateway_loop.h"
#include "gateway/kept_exchange.h"
#include "gateway/resumable_exchange.h"

namespace stoker::gateway {

void GatewayLoop::run(Incoming incoming) {
  if (incoming.wishes.resumable.ns > 0) {
    const KeptStreamOwner owner{incoming.id, incoming.key->tenant, incoming.deployment->name};
    incoming.exchange = std::make_shared<ResumableExchange>(
        std::move(incoming.exchange), *loop_, kept_streams_, owner, incoming.wishes.resumable,
        options_.http.write_buffer_bytes);
  }
  const net::HttpRequest& request = incoming.exchange->request();
  const bool may_be_kept = parts_.answers != nullptr && !incoming.detached &&
                           request.method == "POST" && !request.upgrade;
  const auto key = may_be_kept ? request.fields.find("idempotency-key") : std::nullopt;
  if (key) {
    run_once(std::move(incoming), *key);
  } else {
    InferenceRequest::start(host_, std::move(incoming));
  }
}

/// Stripe's contract: under one key one request runs; the same again gets the same answer.
void GatewayLoop::run_once(Incoming incoming, std::string_view idempotency_key) {
  constexpr std::size_t longest_key = 255;
  const net::HttpRequest& request = incoming.exchange->request();
  if (idempotency_key.empty() || idempotency_key.size() > longest_key) {
    send_error(*incoming.exchange, incoming.route->dialect,
               {400, "invalid_idempotency_key", "an Idempotency-Key has 1 to 255 bytes", {}, {}},
               incoming.id);
    return;
  }
  AnswerClaim claim{incoming.key->id, std::string(idempotency_key), fingerprint_of(request)};
  // The pointers are moved on, not copied, so that the exchange is always let go on its own loop.
  auto waiting = std::make_shared<Incoming>(std::move(incoming));
  parts_.answers->claim(claim, [this, waiting = std::move(waiting),
                                claim](ClaimOutcome outcome) mutable {
    loop_->post([this, waiting = std::move(waiting), claim = std::move(claim),
                 outcome = std::move(outcome)] { claimed(std::move(*waiting), claim, outcome); });
  });
}

void GatewayLoop::claimed(Incoming incoming, AnswerClaim claim, const ClaimOutcome& outcome) {
  const auto refuse = [&](int status, const char* code, const char* message) {
    send_error(*incoming.exchange, incoming.route->dialect, {status, code, message, {}, {}},
               incoming.id);
  };
  switch (outcome.kind) {
    case ClaimOutcome::Kind::yours: {
      incoming.kept = std::make_shared<KeptExchange>(std::move(incoming.exchange), *loop_,
                                                     *parts_.answers, std::move(claim));
      incoming.exchange = incoming.kept;
      if (incoming.exchange->open()) InferenceRequest::start(host_, std::move(incoming));
      return;
    }
    case ClaimOutcome::Kind::answered:
      if (outcome.answer.status == 0) {
        return refuse(409, "idempotency_answer_not_kept",
                      "the request under this Idempotency-Key has run; its answer was too long to "
                      "be kept; to run it once more send it under another key");
      }
      incoming.exchange->respond(outcome.answer.status,
                                 outcome.answer.fields + "Idempotent-Replayed: true\r\n",
                                 outcome.answer.body);
      return;
    case ClaimOutcome::Kind::running:
      return refuse(409, "idempotency_key_in_use",
                    "a request under this Idempotency-Key is running; ask again when it has ended");
    case ClaimOutcome::Kind::different:
      return refuse(422, "idempotency_key_reused",
                    "this Idempotency-Key was used for another request");
    case ClaimOutcome::Kind::failed:
      return refuse(
          503, "storage",
          "kept answers cannot be read, so the request did not run; try again, or send it without "
          "an Idempotency-Key; the server's log says why (answers_unreadable)");
  }
}

}  // namespace stoker::gateway
