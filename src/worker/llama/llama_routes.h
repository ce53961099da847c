// The HTTP routes of llama.cpp's server library, answered on our exchanges. Which route exists is
// decided here and nowhere else; what an answer holds is llama.cpp's business.
//
// Deliberately absent: /slots (shows other requests' prompts), /v1/stream* (conversations found by
// a client-chosen id, without an owner), POST /props and POST /lora-adapters (change the instance
// for everybody), tools and proxies (run commands, fetch addresses).
#pragma once

#include <string_view>

#include "worker/exchange.h"
#include "worker/llama/task_ledger.h"

struct server_routes;

namespace stoker::worker {

class LlamaRoutes {
 public:
  /// Both outlive this.
  LlamaRoutes(server_routes& routes, TaskLedger& ledger) : routes_(routes), ledger_(ledger) {}

  /// Answers one request; blocks until it has ended on the compute thread. Threads: any number.
  void serve(WorkerExchange& exchange);

 private:
  server_routes& routes_;
  TaskLedger& ledger_;
};

}  // namespace stoker::worker
