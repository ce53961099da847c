// One request of the echo worker under way: emits its tokens when they are due, inline on the loop.
// Loop thread only, save for the wake-up of a stop.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "net/event_loop.h"
#include "worker/echo/echo_options.h"
#include "worker/echo/echo_request.h"
#include "worker/runtime.h"

namespace stoker::worker {

/// Ends the process as the faults say: by signal or by exit code.
[[noreturn]] void crash(const EchoFaults& faults);

class EchoJob : public std::enable_shared_from_this<EchoJob> {
 public:
  EchoJob(WorkerContext& context, std::shared_ptr<const EchoOptions> options,
          WorkerExchangePtr exchange, EchoRequest request);
  /// Needs: called once. The exchange is released when the answer is out or the request stopped.
  void start();

 private:
  void run();  // emits what is due, then waits or concludes
  void emit_token();
  [[nodiscard]] bool strikes(FaultPoint point);
  [[nodiscard]] std::string_view token_text();
  [[nodiscard]] std::string whole_text();
  void note_usage();
  void flush();
  void watch_for_stop();
  void wait_until(Instant at);
  void wait_until_writable();
  void set_held_up(bool held_up);
  void conclude();
  void conclude_stream();
  void let_go();

  WorkerContext& context_;
  const std::shared_ptr<const EchoOptions> options_;
  WorkerExchangePtr exchange_;
  const EchoRequest request_;
  EchoAnswer answer_;
  std::int64_t total_tokens_ = 0;
  bool cut_off_ = false;  // by max_tokens
  Instant started_at_;
  Instant next_token_at_;
  net::TimerId timer_ = 0;
  std::int64_t emitted_ = 0;
  std::int64_t emitted_bytes_ = 0;  // of text
  std::string token_;               // scratch of token_text()
  std::string events_;              // of the stream, not yet written
  bool hung_ = false;
  bool watches_ = false;
  bool held_up_ = false;  // and counted so
};

}  // namespace stoker::worker
