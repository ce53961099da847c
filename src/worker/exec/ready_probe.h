// Is the engine ready yet? Asks its health path, or the usual ones where none is given, and
// remembers the last answer, so that whoever waits can be told what for.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "worker/exec/http_probe.h"

namespace stoker::worker {

class ReadyProbe {
 public:
  /// `path`: "" is the usual ones.
  ReadyProbe(int port, std::string path);

  /// One round of questions.   Gives: whether the engine is ready.   Cost: blocks for seconds.
  bool ask();

  /// The path that was asked last: once ready, the one that said so.
  [[nodiscard]] const std::string& path() const { return path_; }
  /// "GET /health on port 41234 answered 404".   Needs: it was asked.
  [[nodiscard]] std::string last_result() const;
  /// How many rounds in a row gave that result.
  [[nodiscard]] std::int64_t times() const { return times_; }
  /// The engine serves HTTP and says neither "ready" nor "not yet" (which is a 5xx).
  [[nodiscard]] bool is_refused() const { return last_.answered() && last_.status < 500; }
  [[nodiscard]] bool somebody_listens() const { return last_.kind != ProbeResult::Kind::refused; }

 private:
  bool asked(std::string_view path);
  bool ask_usual_paths();

  const int port_;
  const std::string given_;
  std::string path_;
  ProbeResult last_;
  std::int64_t times_ = 0;
};

}  // namespace stoker::worker
