#include "gateway/kept_exchange.h"

#include <fmt/format.h>

#include <utility>

#include "access/secret.h"
#include "base/hex.h"

namespace stoker::gateway {
namespace {

constexpr int first_server_error = 500;

}  // namespace

std::string fingerprint_of(const net::HttpRequest& request) {
  const access::Digest digest(
      fmt::format("{}\n{}\n{}", request.target,
                  request.fields.find("content-type").value_or(std::string_view()), request.body));
  return to_hex(digest.bytes());
}

KeptExchange::KeptExchange(net::ExchangePtr inner, net::EventLoop& loop, AnswerKeeper& keeper,
                           AnswerClaim claim)
    : inner_(std::move(inner)), loop_(loop), keeper_(keeper), claim_(std::move(claim)) {}

KeptExchange::~KeptExchange() {
  if (!kept_) keeper_.release(claim_);
}

void KeptExchange::respond(int status, std::string_view head_fields, std::string_view body) {
  if (over_) return;
  answer_.status = status;
  answer_.fields = head_fields;
  add(body);
  if (!whole_ || status >= first_server_error) {
    over_ = true;
    inner_->respond(status, head_fields, body);
    return;
  }
  if (too_long_) answer_.body = body;  // is sent all the same
  keep_then([](KeptExchange& self) {
    self.inner_->respond(self.answer_.status, self.answer_.fields, self.answer_.body);
  });
}

void KeptExchange::start(int status, std::string_view head_fields,
                         std::optional<std::uint64_t> content_length) {
  answer_.status = status;
  answer_.fields = head_fields;
  inner_->start(status, head_fields, content_length);
}

void KeptExchange::write(std::string_view bytes) {
  if (over_) return;
  add(bytes);
  inner_->write(bytes);
}

void KeptExchange::finish() {
  if (over_) return;
  if (!whole_ || answer_.status >= first_server_error) {
    over_ = true;
    inner_->finish();
    return;
  }
  keep_then([](KeptExchange& self) { self.inner_->finish(); });
}

void KeptExchange::abort() {
  over_ = true;
  inner_->abort();
}

void KeptExchange::add(std::string_view bytes) {
  too_long_ = too_long_ || answer_.body.size() + bytes.size() > most_bytes;
  if (too_long_) {
    answer_.body.clear();
  } else {
    answer_.body += bytes;
  }
}

/// Nobody has the whole answer before it is on the disk: else the same request could run again.
void KeptExchange::keep_then(void (*end)(KeptExchange&)) {
  over_ = true;
  kept_ = true;
  // Moved on, not copied, so that the exchange is let go on its own loop.
  keeper_.keep(claim_, too_long_ ? KeptAnswer{} : answer_,
               [self = shared_from_this(), end]() mutable {
                 net::EventLoop& loop = self->loop_;
                 loop.post([self = std::move(self), end] { end(*self); });
               });
}

}  // namespace stoker::gateway
