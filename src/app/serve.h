// `stoker serve`: makes every part, runs until a signal, ends in order.
#pragma once

#include <functional>
#include <string>

#include "config/config.h"
#include "config/load.h"

namespace stoker::app {

struct ServeOptions {
  /// Called once the server listens, with its address; for banners and tests.
  std::function<void(const std::string& address)> on_listening;
  /// File for every event and order of the decision core; empty: none.
  std::string record_events;
  /// Reads the configuration anew, for a reload. Null: SIGHUP ends the server like SIGTERM.
  std::function<config::Loaded()> load_again;
};

/// Gives: the exit code: 0 after a drained shutdown, 1 if a port or the state directory is taken or
/// the world failed, 2 if the configuration cannot be served. What went wrong is on stderr, once.
/// SIGINT and SIGTERM drain; a second one ends at once. SIGHUP reads the configuration anew.
/// Blocks; call it on the main thread before any other thread exists (it blocks those signals for
/// all).
int serve(const config::ServerConfig& config, const ServeOptions& options);

}  // namespace stoker::app
