// What the job routes (/v2/{deployment}/run ...) ask of whoever keeps jobs. Owned by the gateway,
// implemented by jobs/. Answers are JSON text, ready to be sent.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "access/key_ring.h"
#include "gateway/api_error.h"
#include "gateway/directory.h"

namespace stoker::gateway {

enum class JobVerb : std::uint8_t {
  run,          // submit, answer at once
  run_sync,     // submit, answer when it has ended or `wait` has passed
  call,         // submit a request as it is; its own answer if it comes within `wait`, else 202
  status,       // as it is now
  status_sync,  // when it has ended or `wait` has passed
  stream,       // what has come since the last call
  cancel,
  retry,
  purge,  // all that still wait
  health,
  list,
};

struct JobCall {
  JobVerb verb = JobVerb::status;
  DeploymentPtr deployment;
  access::KeyPtr key;
  std::string job;              // its id, for the verbs that name one
  std::string query;            // of the request
  std::string body;             // of the request, JSON
  std::string idempotency_key;  // empty: none
  std::string target;           // of `call`: where the body goes
  Duration wait;                // of `call`
};

/// Where the answer goes. Dropped without an answer: 503.
/// Threads: any; an implementation only posts to its loop.
class JobReply {
 public:
  virtual ~JobReply() = default;
  virtual void answer(int status, std::string json) = 0;
  /// As the answer of `request`, if there was one. `fields`: further raw header text.
  virtual void answer_with(int status, RequestId request, std::string fields, std::string body) = 0;
  /// In the shape of the caller's route; else as answer_with().
  virtual void refuse(ApiError error, RequestId request, std::string fields) = 0;
};

class JobApi {
 public:
  virtual ~JobApi() = default;
  /// Threads: any; does not block. The answer may come within the call or much later.
  virtual void call(JobCall call, std::shared_ptr<JobReply> reply) = 0;
};

}  // namespace stoker::gateway
