// One stream of server-sent events on its way from an engine to a client: which bytes go on, which
// stay, and how the stream ended. Only whole events go on, so that whatever the gateway adds (a
// comment, an error event) never lands inside one (F7 in RELIABILITY.md). Pure: bytes in, bytes
// out.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "gateway/json_reader.h"
#include "gateway/ollama_answer.h"
#include "net/sse.h"

namespace stoker::gateway {

struct StreamRules {
  Dialect dialect = Dialect::openai;
  bool speaks_contract = true;  // usage comes as `: stoker-usage`, never from the events
  bool hide_usage = false;  // the client did not ask for it, the engine may show it all the same
  OllamaAnswer* translator = nullptr;  // puts events into the words of the client; outlives this
};

class StreamRelay {
 public:
  enum class End : std::uint8_t {
    terminal,  // the terminal event of the dialect came, or the dialect has none
    error,     // an error event of the engine came; it has gone on
    broken,    // neither: the engine stopped in the middle
  };

  StreamRelay(StreamRules rules, JsonReader& json) : rules_(rules), json_(&json) {}

  /// Takes the next bytes; appends what goes on to `out`. The terminal event is held back, as it
  /// may go out only once the request is on record; what follows it is dropped. Gives: false if an
  /// event is too large; nothing more may be fed then.
  [[nodiscard]] bool feed(std::string_view bytes, std::string& out);
  /// The engine's answer came to its proper end.
  [[nodiscard]] End end() const;
  /// The held terminal event, empty if there is none.
  [[nodiscard]] const std::string& terminal() const { return terminal_; }

  /// Events with output so far; the first one is the first token.
  [[nodiscard]] std::int64_t data_events() const { return data_events_; }
  [[nodiscard]] const WorkerUsage& usage() const { return usage_; }

 private:
  void take(const net::SseEvent& event, std::string& out);
  void pass_on(const net::SseEvent& event, std::string& out);
  [[nodiscard]] bool carries_output(const net::SseEvent& event) const;
  [[nodiscard]] bool is_terminal(const net::SseEvent& event) const;
  [[nodiscard]] bool read_usage(std::string_view data);
  void append_without_usage(const net::SseEvent& event, std::string& out);

  static constexpr std::size_t max_event_bytes = std::size_t{8} << 20;

  StreamRules rules_;
  JsonReader* json_;
  net::SseFramer framer_{max_event_bytes};
  std::string terminal_;
  std::int64_t data_events_ = 0;
  WorkerUsage usage_;
  bool error_seen_ = false;
  bool too_large_ = false;  // to be translated
};

}  // namespace stoker::gateway
