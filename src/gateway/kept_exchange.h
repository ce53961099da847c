// An exchange whose answer is kept: stands between a request with an Idempotency-Key and its
// connection, and lets the end of the answer out once it is on the disk.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "gateway/answer_keeper.h"
#include "net/event_loop.h"
#include "net/http_server.h"

namespace stoker::gateway {

/// SHA-256 in hex of what the request asks for: target, Content-Type and body.
[[nodiscard]] std::string fingerprint_of(const net::HttpRequest& request);

/// Threads: the loop's; the last pointer may be dropped on any.
class KeptExchange final : public net::Exchange, public std::enable_shared_from_this<KeptExchange> {
 public:
  static constexpr std::size_t most_bytes = std::size_t{8} << 20;  // longer ones are not kept

  /// Needs: `claim` is ours. `loop` and `keeper` outlive it.
  KeptExchange(net::ExchangePtr inner, net::EventLoop& loop, AnswerKeeper& keeper,
               AnswerClaim claim);
  /// Without an answer that counts, the next request under the key runs.
  ~KeptExchange() override;

  /// What comes from here on ends an answer that counts: not an error of ours, which would be
  /// another one the next time.
  void will_be_whole() { whole_ = true; }

  [[nodiscard]] const net::HttpRequest& request() const override { return inner_->request(); }
  [[nodiscard]] Instant accepted_at() const override { return inner_->accepted_at(); }
  [[nodiscard]] const std::shared_ptr<const void>& context() const override {
    return inner_->context();
  }
  [[nodiscard]] bool open() const override { return !over_ && inner_->open(); }
  [[nodiscard]] std::string peer() const override { return inner_->peer(); }
  void forget_request() override { inner_->forget_request(); }
  void respond(int status, std::string_view head_fields, std::string_view body) override;
  void start(int status, std::string_view head_fields,
             std::optional<std::uint64_t> content_length) override;
  void write(std::string_view bytes) override;
  void switch_protocol(std::string_view head_fields) override {
    inner_->switch_protocol(head_fields);
  }
  void pause_input() override { inner_->pause_input(); }
  void resume_input() override { inner_->resume_input(); }
  void finish() override;
  void abort() override;
  [[nodiscard]] std::size_t unsent_bytes() const override { return inner_->unsent_bytes(); }
  void set_callbacks(Callbacks callbacks) override { inner_->set_callbacks(std::move(callbacks)); }

 private:
  void add(std::string_view bytes);
  void keep_then(void (*end)(KeptExchange&));

  const net::ExchangePtr inner_;
  net::EventLoop& loop_;
  AnswerKeeper& keeper_;
  const AnswerClaim claim_;
  KeptAnswer answer_;
  bool too_long_ = false;
  bool whole_ = false;
  bool over_ = false;
  bool kept_ = false;
};

}  // namespace stoker::gateway
