// The rules of one worker's side of the control channel over its life: hello first and once, with
// the right identity; counters that never fall; an endpoint that is its own. Shared by every
// backend, the fake included, so that all are equally strict. Pure.
#pragma once

#include <string>
#include <string_view>

#include "backend/worker_message.h"
#include "base/result.h"

namespace stoker::backend {

struct ConversationRules {
  std::string worker;             // what hello must say
  std::string nonce;              // the same
  std::string endpoint;           // of the listening socket that it was given: "unix:/path"
  bool loopback_allowed = false;  // it may serve on a TCP port of this machine's loopback instead
};

class WorkerConversation {
 public:
  explicit WorkerConversation(ConversationRules rules) : rules_(std::move(rules)) {}

  /// Gives: the message; `WorkerReady::endpoint` is filled in if it was absent.
  /// Errors: invalid: a breach of contract. Nothing may be accepted afterwards.
  [[nodiscard]] Result<WorkerMessage> accept(std::string_view packet);
  [[nodiscard]] bool greeted() const { return greeted_; }

 private:
  [[nodiscard]] Result<void> check_hello(const WorkerHello& hello) const;
  [[nodiscard]] Result<void> check_progress(const WorkerProgress& progress);
  [[nodiscard]] Result<void> complete_ready(WorkerReady& ready) const;

  ConversationRules rules_;
  bool greeted_ = false;
  WorkerProgress last_progress_;
};

}  // namespace stoker::backend
