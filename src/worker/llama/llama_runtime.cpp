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

/// One loaded model and everything that serves it. The members end in reverse order: first the
/// handlers, then the compute thread, then the model.
struct LlamaRuntime::Engine {
  Engine(WorkerCounters& counters, std::int32_t batch)
      : ledger(counters, StepPacer(batch, kStepTarget)), routes(params, server) {}

  ~Engine() {
    handlers.reset();
    if (compute.joinable()) {
      server.terminate();
      compute.join();
    }
    g_server_hooks = nullptr;
  }

  common_params params;  // first: routes keep a reference
  server_context server;
  TaskLedger ledger;
  server_routes routes;
  std::optional<LlamaRoutes> front;
  std::thread compute;
  std::optional<HandlerPool> handlers;
};

LlamaRuntime::LlamaRuntime() = default;
LlamaRuntime::~LlamaRuntime() = default;

void LlamaRuntime::attach(WorkerContext& context) {
  context_ = &context;
}

LoadResult LlamaRuntime::load(const LoadOrder& order, LoadProgress& progress) try {
  STOKER_INVARIANT(!engine_, "{} is loaded already", order.model);
  log_while_loading();
  const auto header = read_gguf_header(order.model);
  if (!header) return tl::unexpected(header.error());
  auto arguments = llama_arguments(order, header->trained_context);
  if (!arguments) return tl::unexpected(arguments.error());
  weights_files_ = arguments->weights_files;

  auto engine = std::make_unique<Engine>(context_->counters, arguments->batch);
  if (auto parsed = parse_arguments(*arguments, engine->params); !parsed) return parsed;
  llama_backend_init();
  {
    LoadWatch watch(progress, header->file_bytes);
    engine->server.set_state_callback([&](server_state, const json& payload) {
      if (progress.stopped()) throw LoadUnwanted();
      if (payload.contains("value")) watch.advance(payload.at("value").get<double>());
    });
    const bool loaded = engine->server.load_model(engine->params);
    engine->server.set_state_callback([](server_state, const json&) {});
    if (!loaded) return tl::unexpected(failed_load(order.model));
  }
  engine->routes.update_meta(engine->server);
  g_server_hooks = &engine->ledger;
  engine->compute = std::thread([&server = engine->server] { server.start_loop(); });
  // terminate() is lost on a loop that has not begun, so wait for its first sign of life.
  server_response_reader reader = engine->server.get_response_reader();
  server_task ping(SERVER_TASK_TYPE_METRICS);
  ping.id = reader.get_new_id();
  reader.post_task(std::move(ping));
  reader.next([] { return false; });

  engine->front.emplace(engine->routes, engine->ledger);
  engine->handlers.emplace(
      order.concurrency + kSpareHandlers,
      [front = &*engine->front](WorkerExchange& exchange) { front->serve(exchange); });
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
