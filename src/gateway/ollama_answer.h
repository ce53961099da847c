// Answers of OpenAI's routes in Ollama's words: whole ones, and streams event by event as lines of
// JSON. Pure: bytes in, bytes out, and the time is told.
// Source: Ollama's API reference (docs/api.md), 0.6.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/units.h"
#include "gateway/routes.h"
#include "ledger/record.h"

namespace stoker::gateway {

class OllamaAnswer {
 public:
  /// `route`: of the client; `model`: as the client named it.
  OllamaAnswer(Route route, std::string model);
  ~OllamaAnswer();

  /// When what follows was made.
  void set_time(WallTime now) { now_ = now; }
  /// Appends the lines that one event of the engine becomes: none, one or two.
  /// `data`: JSON of a chunk, or of an error.
  /// Gives:  false if a call of a tool is too large to be put together.
  [[nodiscard]] bool add_event(std::string_view data, std::string& out);
  /// The last line of a stream, with its newline: `done`, and what the request took.
  [[nodiscard]] std::string last_line(const ledger::Usage& ending);
  /// A whole answer. `engine_json`: the engine's, of status 200.
  /// Gives:  an empty string if it cannot be read as what the route promises.
  [[nodiscard]] std::string whole(std::string_view engine_json, const ledger::Usage& ending);
  /// The answer to a request that only wanted the model to be there, or to be gone.
  [[nodiscard]] std::string only_done(std::string_view reason, const ledger::Usage& ending);

 private:
  [[nodiscard]] std::string embeddings(const std::vector<std::string>& vectors,
                                       const ledger::Usage& ending) const;
  struct Impl;
  Route route_;
  std::string model_;
  WallTime now_;
  std::unique_ptr<Impl> impl_;
};

}  // namespace stoker::gateway
