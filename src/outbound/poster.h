// Sends requests to servers of others and hears only whether they arrived.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/units.h"

namespace stoker::outbound {

struct PostRequest {
  std::string url;
  std::string host;                 // as check() gave it
  std::vector<std::string> fields;  // "Name: value", without line ends
  std::string body;
  Duration timeout;  // of everything: resolving, connecting, sending, the answer's head
};

struct PostAnswer {
  int status = 0;        // of the answer; 0: there was none
  std::string problem;   // why not; names the host, nothing else of the URL
  Duration retry_after;  // that the answer asks for; zero: none
};

class Poster {
 public:
  virtual ~Poster() = default;
  /// Gives: the host that `url` names.   Errors: those of host_to_call.
  /// Threads: any; does not block.
  [[nodiscard]] virtual Result<std::string> check(std::string_view url) const = 0;
  /// Threads: any; does not block. `done` is called once, on a thread of the poster, or never if
  /// the poster ends before.
  virtual void post(PostRequest request, std::function<void(PostAnswer)> done) = 0;
};

}  // namespace stoker::outbound
