// The echo worker: an honest fake of an inference engine. It answers in OpenAI's shapes with the
// words that it was given, in the time that its options say, with the faults that its options say.
// Everything about it is real but the model: memory is allocated, tokens are emitted one by one,
// usage is what was emitted. It runs inline on the loop, so that it can stand beside nginx in a
// benchmark.
#pragma once

#include <simdjson.h>

#include <memory>
#include <string>
#include <string_view>

#include "worker/echo/echo_options.h"
#include "worker/echo/echo_request.h"
#include "worker/runtime.h"

namespace stoker::worker {

/// Anonymous memory that is really there, on huge pages where the kernel has them.
class TouchedMemory {
 public:
  TouchedMemory() = default;
  ~TouchedMemory() { free(); }
  TouchedMemory(const TouchedMemory&) = delete;
  TouchedMemory& operator=(const TouchedMemory&) = delete;
  /// Errors: false: the kernel has no room for it.
  [[nodiscard]] bool allocate(Bytes bytes);
  /// Writes to pages until `fraction` (0..1) of them is there.
  void touch(double fraction);
  void free();

 private:
  char* start_ = nullptr;
  std::size_t bytes_ = 0;
  std::size_t touched_ = 0;
};

class EchoRuntime final : public Runtime {
 public:
  /// `control_fd`: where faults write their garbage; -1: nowhere.
  explicit EchoRuntime(int control_fd) : control_fd_(control_fd) {}

  [[nodiscard]] std::string_view name() const override { return "echo"; }
  void attach(WorkerContext& context) override { context_ = &context; }
  LoadResult load(const LoadOrder& order, LoadProgress& progress) override;
  LoadResult warm_up() override;
  void unload() override;
  [[nodiscard]] bool can_suspend() const override { return true; }
  LoadResult suspend() override;
  LoadResult resume(LoadProgress& progress) override;
  void serve(WorkerExchangePtr exchange) override;

 private:
  LoadResult fail_if_told() const;
  LoadResult take_time(LoadProgress& progress);
  void arm_faults_of_ready();
  void send_garbage();
  void serve_openai(EchoRoute route, WorkerExchangePtr exchange);
  void serve_plain(WorkerExchange& exchange) const;
  void serve_probe(WorkerExchangePtr exchange) const;

  const int control_fd_;
  WorkerContext* context_ = nullptr;
  std::string deployment_;
  std::shared_ptr<const EchoOptions> options_ = std::make_shared<EchoOptions>();
  TouchedMemory memory_;
  simdjson::dom::parser parser_;  // loop thread
  bool garbage_sent_ = false;     // loop thread
};

}  // namespace stoker::worker
