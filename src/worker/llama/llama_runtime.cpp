#include "worker/llama/llama_runtime.h"

#include <fmt/format.h>

#include <cstdlib>
#include <exception>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

#include "arg.h"
#include "base/invariant.h"
#include "chat.h"
#include "common.h"
#include "llama.h"
#include "server-context.h"
#include "worker/handler_pool.h"
#include "worker/llama/gguf_header.h"
#include "worker/llama/llama_options.h"
#include "worker/llama/llama_routes.h"
#include "worker/llama/load_watch.h"
#include "worker/llama/log_filter.h"
#include "worker/llama/task_ledger.h"

namespace stoker::worker {

namespace {

// With the 20 ms in which a handler sees a cancel, a cancel stays well below 250 ms.
constexpr Duration kStepTarget = ms(60);
// Beyond the slots: requests that only count or list, and cancelled ones on their way out.
constexpr int kSpareHandlers = 2;

// llama.cpp's loader catches it and ends the load; its message is never shown.
struct LoadUnwanted : std::runtime_error {
  LoadUnwanted() : std::runtime_error("the load is no longer wanted") {}
};

LoadResult parse_arguments(LlamaArguments& arguments, common_params& params) {
  // The parser would end the process over a template that it cannot read.
  if (!arguments.chat_template.empty() &&
      !common_chat_verify_template(arguments.chat_template, arguments.jinja)) {
    return load_failure(LoadFailure::bad_option,
                        "chat_template: neither a name nor a template that llama.cpp can read");
  }
  std::vector<char*> argv{const_cast<char*>("llama")};  // the parser's signature; it writes nothing
  for (std::string& argument : arguments.arguments) argv.push_back(argument.data());
  if (!common_params_parse(static_cast<int>(argv.size()), argv.data(), params,
                           LLAMA_EXAMPLE_SERVER)) {
    return load_failure(LoadFailure::bad_option,
                        "extra_args: llama.cpp refused an argument; the log names it");
  }
  return {};
}

// llama.cpp reports a failed load as false and a log line.
LoadError failed_load(const std::string& model) {
  const std::string reason = load_errors();
  for (const char* sign : {"failed to allocate", "unable to allocate", "out of memory", "bad_alloc",
                           "failed to create context"}) {
    if (reason.find(sign) == std::string::npos) continue;
    return {LoadFailure::out_of_memory, fmt::format("{}: {}", model, reason)};
  }
  return {LoadFailure::model_broken,
          fmt::format("{}: {}", model, reason.empty() ? "llama.cpp could not load it" : reason)};
}

}  // namespace

/// One loaded model and everything that serves it.
struct LlamaRuntime::Engine {
  Engine(WorkerCounters& counters, std::int32_t batch)
      : ledger(counters, StepPacer(batch, kStepTarget)), routes(params, server) {}
  /// First the handlers end, then the compute thread, then the model.
  ~Engine();

  /// Gives: false if llama.cpp could not load; its reason is in load_errors().
  bool load_weights(LoadProgress& progress, std::int64_t weights_bytes);
  void start(int concurrency);

  common_params params;  // first: the routes keep a reference
  server_context server;
  TaskLedger ledger;
  server_routes routes;
  LlamaRoutes front{routes, ledger};
  std::thread compute;
  std::optional<HandlerPool> handlers;
};

LlamaRuntime::Engine::~Engine() {
  handlers.reset();
  if (compute.joinable()) {
    server.terminate();
    compute.join();
  }
  g_server_hooks = nullptr;
}

bool LlamaRuntime::Engine::load_weights(LoadProgress& progress, std::int64_t weights_bytes) {
  LoadWatch watch(progress, weights_bytes);
  server.set_state_callback([&](server_state, const json& payload) {
    if (progress.stopped()) throw LoadUnwanted();
    if (payload.contains("value")) watch.advance(payload.at("value").get<double>());
  });
  const bool loaded = server.load_model(params);
  server.set_state_callback([](server_state, const json&) {});
  return loaded;
}

void LlamaRuntime::Engine::start(int concurrency) {
  routes.update_meta(server);
  g_server_hooks = &ledger;
  compute = std::thread([this] { server.start_loop(); });
  // terminate() is lost on a loop that has not begun, so wait for its first sign of life.
  server_response_reader reader = server.get_response_reader();
  server_task ping(SERVER_TASK_TYPE_METRICS);
  ping.id = reader.get_new_id();
  reader.post_task(std::move(ping));
  reader.next([] { return false; });
  handlers.emplace(concurrency + kSpareHandlers,
                   [this](WorkerExchange& exchange) { front.serve(exchange); });
}

LlamaRuntime::LlamaRuntime() = default;
LlamaRuntime::~LlamaRuntime() = default;

void LlamaRuntime::attach(WorkerContext& context) {
  context_ = &context;
  // ggml would start a debugger on its own process before it aborts: seconds of a dead instance.
  ::setenv("GGML_NO_BACKTRACE", "1", 0);
  // Devices and tables now, so that a standby worker has them before a model is chosen.
  llama_backend_init();
  ggml_backend_dev_count();
}

LoadResult LlamaRuntime::load(const LoadOrder& order, LoadProgress& progress) try {
  STOKER_INVARIANT(!engine_, "{} is loaded already", order.model);
  log_while_loading();
  const auto header = read_gguf_header(order.model);
  if (!header) return tl::unexpected(header.error());
  auto arguments = llama_arguments(order, header->trained_context, header->names_pooling);
  if (!arguments) return tl::unexpected(arguments.error());
  weights_files_ = {order.model};
  std::int64_t weights_bytes = header->file_bytes;
  if (!arguments->projector.empty()) {
    const auto projector = read_gguf_header(arguments->projector);
    if (!projector) return tl::unexpected(projector.error());
    weights_files_.push_back(arguments->projector);
    weights_bytes += projector->file_bytes;
  }

  auto engine = std::make_unique<Engine>(context_->counters, arguments->batch);
  if (auto parsed = parse_arguments(*arguments, engine->params); !parsed) return parsed;
  if (!engine->load_weights(progress, weights_bytes)) {
    return tl::unexpected(failed_load(order.model));
  }
  engine->start(order.concurrency);
  engine_ = std::move(engine);
  log_while_serving();
  return {};
} catch (const std::bad_alloc&) {
  return load_failure(LoadFailure::out_of_memory, fmt::format("{}: out of memory", order.model));
} catch (const std::exception& error) {
  return load_failure(LoadFailure::model_broken, fmt::format("{}: {}", order.model, error.what()));
}

LoadResult LlamaRuntime::warm_up() {
  // Directly, not as a request: the slots' prompt caches stay empty. The compute thread is idle.
  llama_context* context = engine_->server.get_llama_context();
  const llama_vocab* vocab = llama_model_get_vocab(llama_get_model(context));
  llama_token token = llama_vocab_bos(vocab);
  if (token == LLAMA_TOKEN_NULL) token = 0;
  if (llama_model_has_decoder(llama_get_model(context)) &&
      llama_decode(context, llama_batch_get_one(&token, 1)) != 0) {
    return load_failure(LoadFailure::internal, "the warm-up decode failed");
  }
  llama_synchronize(context);
  if (llama_memory_t memory = llama_get_memory(context)) llama_memory_clear(memory, true);
  llama_perf_context_reset(context);
  count_step(context_->counters);
  return {};
}

void LlamaRuntime::unload() {
  engine_.reset();
  weights_files_.clear();
}

void LlamaRuntime::serve(WorkerExchangePtr exchange) {
  engine_->handlers->submit(std::move(exchange));
}

}  // namespace stoker::worker
