// The one program: gateway, orchestrator and CLI. Only wiring.
#include "app/serve.h"
#include "app/trace_world.h"
#include "cli/cli.h"

int main(int argc, char** argv) {
  return stoker::cli::run(
      argc, argv,
      {[](const stoker::config::ServerConfig& config, const stoker::cli::ServeHooks& hooks) {
         return stoker::app::serve(config,
                                   {hooks.on_listening, hooks.record_events, hooks.load_again});
       },
       stoker::app::simulated_server});
}
