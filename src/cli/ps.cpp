// stoker ps, warm, stop: what runs, and changing it.
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <memory>
#include <thread>

#include "base/text.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/json_view.h"
#include "cli/table.h"

namespace stoker::cli {
namespace {

using simdjson::dom::element;

std::string state_of(element instance) {
  const std::string state = text_of(instance, "state");
  const double fraction = number_of(instance, "load_fraction");
  if (state == "loading" && fraction > 0) return fmt::format("loading {:.0f}%", fraction * 100);
  return state;
}

std::string bytes_text(std::int64_t bytes) {
  return to_text(Bytes{bytes});
}

std::string times(std::int64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

/// One word for what a request to the deployment would meet. Failures count only where they are why
/// nothing is ready: one instance that died and was replaced leaves a healthy deployment.
std::string deployment_state(element d) {
  if (!text_of(d, "never_fits").empty()) return "never fits";
  if (integer_of(d, "ready_instances") > 0) return "warm";
  const std::int64_t failures = integer_of(d, "failures");
  const std::int64_t retry_ms = integer_of(d, "retry_in_ms");
  if (failures > 0) {
    return fmt::format(
        "{} ({}; {})", bool_of(d, "crash_loop") ? "crash loop" : "failing",
        times(failures, "failure"),
        retry_ms > 0 ? "next try in " + to_text(ms(retry_ms)) : "tried again at the next request");
  }
  return integer_of(d, "live_instances") > 0 ? "starting" : "cold";
}

/// Where to read on, if there is anything to read.
std::string log_hint(Client& client, const std::string& name) {
  const Result<std::string> log =
      client.get(fmt::format("/api/v1/logs/{}?lines=1", percent_encode(name)));
  return log && !log->empty() ? "its log: stoker logs " + name : "";
}

void print_deployment_notes(Client& client, element root) {
  for_each_of(root, "deployments", [&](element d) {
    const std::string name = text_of(d, "name");
    if (const std::string never = text_of(d, "never_fits"); !never.empty()) {
      std::printf("\n%s: %s\n", name.c_str(), never.c_str());
      return;
    }
    const std::string failure = text_of(d, "last_failure");
    if (failure.empty()) return;
    std::printf("\n%s: %s%s\n", name.c_str(),
                integer_of(d, "ready_instances") > 0 ? "warm again; before that: " : "",
                failure.c_str());
    if (const std::string hint = log_hint(client, name); !hint.empty()) {
      std::printf("  %s\n", hint.c_str());
    }
  });
}

void print_ps(Client& client, element root) {
  Table deployments("lrrrrrl",
                    {"DEPLOYMENT", "READY", "DESIRED", "MAX", "QUEUED", "RUNNING", "STATE"});
  for_each_of(root, "deployments", [&](element d) {
    deployments.add({text_of(d, "name"), std::to_string(integer_of(d, "ready_instances")),
                     std::to_string(integer_of(d, "desired_instances")),
                     std::to_string(integer_of(d, "max_instances")),
                     std::to_string(integer_of(d, "queued")),
                     std::to_string(integer_of(d, "running")), deployment_state(d)});
  });
  Table instances("llrlrrr", {"INSTANCE", "STATE", "FOR", "DEVICE", "MEMORY", "IN FLIGHT", "PID"});
  for_each_of(root, "instances", [&](element i) {
    instances.add({text_of(i, "instance"), state_of(i), to_text(ms(integer_of(i, "since_ms"))),
                   text_of(i, "device"),
                   bytes_text(integer_of(i, "private_bytes") + integer_of(i, "shared_bytes")),
                   std::to_string(integer_of(i, "in_flight")),
                   std::to_string(integer_of(i, "pid"))});
  });
  Table devices("llrrr", {"DEVICE", "KIND", "MEMORY", "RESERVED", "INSTANCES"});
  for_each_of(root, "devices", [&](element d) {
    devices.add({text_of(d, "id"), text_of(d, "kind") + (bool_of(d, "lost") ? " (lost)" : ""),
                 bytes_text(integer_of(d, "memory_bytes")),
                 bytes_text(integer_of(d, "reserved_bytes")),
                 std::to_string(integer_of(d, "resident_instances"))});
  });
  std::printf("%s", deployments.text().c_str());
  if (!instances.empty()) std::printf("\n%s", instances.text().c_str());
  std::printf("\n%s", devices.text().c_str());
  for_each_of(root, "instances", [&](element i) {
    const std::string detail = text_of(i, "load_detail");
    if (detail.empty()) return;
    std::printf("\n%s is loading: %s\n", text_of(i, "instance").c_str(), detail.c_str());
  });
  print_deployment_notes(client, root);
}

/// One deployment and its instances, as `warm --json` and `stop --json` give it.
Result<std::string> ps_of(Client& client, const std::string& name) {
  return client.get("/api/v1/ps?deployment=" + percent_encode(name));
}

/// Shows until the deployment is warm how its instance comes up. `name` may be an alias.
Result<void> wait_until_warm(Client& client, const std::string& name) {
  simdjson::dom::parser parser;
  std::string shown;
  bool ordered_alone = false;
  for (;;) {
    const Result<std::string> ps = ps_of(client, name);
    if (!ps) return tl::unexpected(ps.error());
    element root;
    element d;
    if (parser.parse(*ps).get(root) != simdjson::SUCCESS ||
        root["deployments"].at(0).get(d) != simdjson::SUCCESS) {
      return failure(ErrorCode::corrupt, "the server's answer cannot be read");
    }
    std::string now;
    for_each_of(root, "instances", [&](element i) {
      now = fmt::format("{} {}", text_of(i, "instance"), state_of(i));
      const std::string detail = text_of(i, "load_detail");
      if (!detail.empty()) now += ": " + detail;
    });
    if (now != shown && !now.empty()) {
      std::fprintf(stderr, "%s\n", now.c_str());
      shown = now;
    }
    if (integer_of(d, "ready_instances") > 0) return {};
    const bool failing = integer_of(d, "failures") > 0;
    if (failing) {
      return failure(ErrorCode::unavailable,
                     fmt::format("'{}' did not start: {}", name, text_of(d, "last_failure")),
                     log_hint(client, name));
    }
    if (integer_of(d, "live_instances") == 0) {
      // An order is void while a draining instance fills the maximum, so it is repeated; one that
      // is void with no instance left was taken back by somebody.
      if (now.empty() && ordered_alone) {
        return failure(
            ErrorCode::no_capacity, fmt::format("no instance of '{}' comes up", name),
            fmt::format("it was stopped meanwhile: see `stoker events --deployment {}`", name));
      }
      ordered_alone = now.empty();
      const Result<std::string> again = client.post("/api/v1/warm/" + percent_encode(name));
      if (!again) return tl::unexpected(again.error());
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

/// What was told to stop, for people. `name`: a deployment, or one of its instances.
void print_stopping(const std::string& name, element root) {
  bool any = false;
  for_each_of(root, "instances", [&](element i) {
    const std::string instance = text_of(i, "instance");
    const std::string state = text_of(i, "state");
    const bool one_alone = name.find('/') != std::string::npos && name == instance;
    if (!one_alone && state != "draining" && state != "stopping") return;
    const std::int64_t runs = integer_of(i, "in_flight");
    std::printf(
        "stopping %s%s\n", instance.c_str(),
        runs > 0 ? fmt::format(" after the {} that it runs", times(runs, "request")).c_str() : "");
    any = true;
  });
  if (!any) std::printf("nothing of '%s' runs\n", name.c_str());
}

}  // namespace

void add_ps(const Program& program) {
  CLI::App* command = program.app.add_subcommand("ps", "Show deployments, instances and devices");
  add_server_options(*command, program.context);
  add_json_option(*command, program.context);
  command->footer("Example:\n  stoker ps --config stoker.yaml");
  command->callback([program] {
    Result<Client> client = Client::connect(program.context);
    if (!client) {
      program.exit_code = complain(program.context, client.error(), exit_usage);
      return;
    }
    const Result<std::string> ps = client->get("/api/v1/ps");
    if (!ps) {
      program.exit_code = complain(program.context, ps.error());
      return;
    }
    if (program.context.json) {
      std::printf("%s\n", ps->c_str());
      return;
    }
    simdjson::dom::parser parser;
    element root;
    if (parser.parse(*ps).get(root) == simdjson::SUCCESS) print_ps(*client, root);
  });
}

void add_warm(const Program& program) {
  CLI::App* command =
      program.app.add_subcommand("warm", "Start an instance before the first request needs it");
  struct Options {
    std::string name;
    bool no_wait = false;
  };
  auto options = std::make_shared<Options>();
  command->add_option("NAME", options->name, "Deployment or alias")->required();
  command->add_flag("--no-wait", options->no_wait, "Only order it");
  add_server_options(*command, program.context);
  add_json_option(*command, program.context);
  command->footer("Example:\n  stoker warm chat");
  command->callback([program, options] {
    Result<Client> client = Client::connect(program.context);
    if (!client) {
      program.exit_code = complain(program.context, client.error(), exit_usage);
      return;
    }
    Result<std::string> answer = client->post("/api/v1/warm/" + percent_encode(options->name));
    if (!answer) {
      program.exit_code = complain(program.context, answer.error());
      return;
    }
    if (!options->no_wait) {
      if (const Result<void> warm = wait_until_warm(*client, options->name); !warm) {
        program.exit_code = complain(program.context, warm.error());
        return;
      }
      answer = ps_of(*client, options->name);
    }
    if (program.context.json && answer) std::printf("%s\n", answer->c_str());
  });
}

void add_stop(const Program& program) {
  CLI::App* command = program.app.add_subcommand(
      "stop", "Stop the instances of a deployment, or one instance, after what they run");
  auto name = std::make_shared<std::string>();
  command->add_option("NAME", *name, "Deployment or alias (chat), or instance (chat/3)")
      ->required();
  add_server_options(*command, program.context);
  add_json_option(*command, program.context);
  command->footer(
      "The next request, or `stoker warm`, starts it again.\n"
      "Examples:\n  stoker stop chat\n  stoker stop chat/3");
  command->callback([program, name] {
    Result<Client> client = Client::connect(program.context);
    if (!client) {
      program.exit_code = complain(program.context, client.error(), exit_usage);
      return;
    }
    const Result<std::string> answer = client->post("/api/v1/stop/" + percent_encode(*name));
    if (!answer) {
      program.exit_code = complain(program.context, answer.error());
      return;
    }
    if (program.context.json) {
      std::printf("%s\n", answer->c_str());
      return;
    }
    simdjson::dom::parser parser;
    element root;
    if (parser.parse(*answer).get(root) == simdjson::SUCCESS) print_stopping(*name, root);
  });
}

}  // namespace stoker::cli
