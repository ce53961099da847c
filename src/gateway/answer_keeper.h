// Who keeps the answers of requests that carry an Idempotency-Key, so that the same request under
// the same key gets the same answer and runs once. Owned by the gateway, implemented by answers/.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/units.h"

namespace stoker::gateway {

/// Of a request: whose it is, under which key, and what it asks for.
struct AnswerClaim {
  KeyId owner;
  std::string idempotency_key;
  std::string fingerprint;  // two requests with the same one ask for the same
};

struct KeptAnswer {
  int status = 0;      // 0: there was one, too long to be kept
  std::string fields;  // raw header text
  std::string body;
};

struct ClaimOutcome {
  enum class Kind : std::uint8_t {
    yours,      // run it; then keep() or release()
    answered,   // `answer` is what it was answered
    running,    // another request under the key has no answer yet
    different,  // the key was used for something else
    failed,     // nobody can tell
  };
  Kind kind = Kind::failed;
  KeptAnswer answer;
};

/// Threads: any, for all of it; nothing blocks. What is called back is called on the keeper's
/// thread, or never if the keeper ends before.
class AnswerKeeper {
 public:
  virtual ~AnswerKeeper() = default;
  virtual void claim(AnswerClaim claim, std::function<void(ClaimOutcome)> then) = 0;
  /// `then` once the answer is on the disk, or cannot be.
  virtual void keep(const AnswerClaim& claim, KeptAnswer answer, std::function<void()> then) = 0;
  /// It has no answer that counts: the next one under its key runs.
  virtual void release(const AnswerClaim& claim) = 0;
};

}  // namespace stoker::gateway
