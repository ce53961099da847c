// stoker replay --live TRACE: recorded traffic to a running server.
#include <fmt/format.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <set>

#include "base/json_writer.h"
#include "cli/client.h"
#include "cli/replay.h"
#include "cli/table.h"
#include "traffic/live_sender.h"

namespace stoker::cli {
namespace {

std::atomic<bool> interrupted = false;

/// The first Ctrl-C ends the replay with its summary, a second one the program.
void on_interrupt(int) {
  interrupted = true;
  ::signal(SIGINT, SIG_DFL);
}

/// Each request in flight is a connection, and each of those a descriptor.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  (void)::setrlimit(RLIMIT_NOFILE, &limit);
}

/// Asks the server for each deployment that will be named, before anything is sent.
Result<void> check_deployments(Client& client, const sim::TraceWorld& world, const NameMap& names) {
  std::set<std::string> asked;
  for (const sim::TraceDeployment& each : world.deployments) {
    const std::string target = names(each.name);
    if (!asked.insert(target).second) continue;
    Result<Answer> answer = client.call("GET", "/v1/models/" + percent_encode(target));
    if (!answer) return tl::unexpected(answer.error());
    if (answer->status < 400) continue;
    Error error = error_of(*answer);
    if (answer->status == 404) {
      error.message = fmt::format(
          "the trace has requests for '{}', and the server at {} has no "
          "such deployment",
          target, client.endpoint().text());
      error.hint = fmt::format(
          "say which one stands for it: --map {}=NAME, or --to NAME for all; "
          "`stoker ps` lists them",
          each.name);
    }
    return tl::unexpected(std::move(error));
  }
  return {};
}

/// One line that is written over on a terminal, and left alone elsewhere.
void show_progress(Duration since, const traffic::LiveCounts& counts) {
  std::fprintf(stderr, "\r%5lld s: %llu sent, %llu ok, %llu failed, %llu running ",
               static_cast<long long>(since.ns / 1'000'000'000),
               static_cast<unsigned long long>(counts.sent),
               static_cast<unsigned long long>(counts.ok),
               static_cast<unsigned long long>(counts.failed),
               static_cast<unsigned long long>(counts.running()));
  std::fflush(stderr);
}

constexpr int shown_percents[] = {50, 95, 99};

void print_json(const traffic::LiveResult& result) {
  JsonWriter json;
  json.object([&] {
    json.field("seconds", static_cast<double>(result.took.ns) / 1e9);
    json.field("sent", result.counts.sent);
    json.field("ok", result.counts.ok);
    json.field("left", result.counts.left);
    json.field("skipped", result.counts.skipped);
    json.field("failed", result.counts.failed);
    json.object("failures", [&] {
      for (const auto& [kind, count] : result.failures) json.field(kind, count);
    });
    const auto times = [&](const char* name, const Percentiles& of) {
      json.object(name, [&] {
        for (const int percent : shown_percents) {
          json.field(fmt::format("p{}", percent), as_ms(of.at(percent)));
        }
      });
    };
    times("first_byte_ms", result.first_byte);
    times("whole_ms", result.whole);
    times("late_ms", result.late);
    json.field("interrupted", result.stopped);
  });
  std::printf("%s\n", json.text().c_str());
}

void print_text(const traffic::LiveResult& result) {
  const traffic::LiveCounts& counts = result.counts;
  std::printf("%llu sent in %.1f s: %llu ok, %llu left as recorded, %llu failed\n",
              static_cast<unsigned long long>(counts.sent),
              static_cast<double>(result.took.ns) / 1e9, static_cast<unsigned long long>(counts.ok),
              static_cast<unsigned long long>(counts.left),
              static_cast<unsigned long long>(counts.failed));
  for (const auto& [kind, count] : result.failures) {
    std::printf("  %8llu  %s\n", static_cast<unsigned long long>(count), kind.c_str());
  }
  if (counts.skipped > 0) {
    std::printf("%llu skipped: nobody can make up what infer and invoke take\n",
                static_cast<unsigned long long>(counts.skipped));
  }
  Table table("lrrr", {"ms", "P50", "P95", "P99"});
  const auto row = [&](const char* name, const Percentiles& of) {
    table.add({name, ms_cell(of.at(50)), ms_cell(of.at(95)), ms_cell(of.at(99))});
  };
  row("to the first byte", result.first_byte);
  row("whole", result.whole);
  row("sent late", result.late);
  std::printf("\n%s", table.text().c_str());
}

}  // namespace

int replay_live(const Context& context, const ReplayOptions& options) {
  const Result<NameMap> names = NameMap::parse(options.map, options.to);
  if (!names) return complain(context, names.error(), exit_usage);
  const auto source = open_for_replay(options.trace);
  if (!source) return complain(context, source.error());
  Result<Client> client = Client::connect(context);
  if (!client) return complain(context, client.error(), exit_usage);
  if (const Result<void> there = check_deployments(*client, (*source)->world(), *names); !there) {
    return complain(context, there.error());
  }
  raise_descriptor_limit();
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGINT, on_interrupt);
  const bool tells = !context.json && ::isatty(STDERR_FILENO) == 1;
  traffic::LiveOptions live;
  live.endpoint = client->endpoint();
  live.key = client->key();
  live.speed = options.speed;
  live.deployment_for = *names;
  live.error_code = [](std::string_view body) { return spoken_error(body).code; };
  if (tells) live.on_progress = show_progress;
  live.stop = [] { return interrupted.load(); };
  const Result<traffic::LiveResult> result = traffic::send_trace(**source, live);
  if (tells) std::fprintf(stderr, "\r\x1b[K");
  if (!result) return complain(context, result.error());
  context.json ? print_json(*result) : print_text(*result);
  return result->counts.failed == 0 && !result->stopped ? exit_ok : exit_failed;
}

}  // namespace stoker::cli
