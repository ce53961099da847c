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

void print_ps(element root) {
  Table deployments({"DEPLOYMENT", "READY", "DESIRED", "MAX", "QUEUED", "RUNNING", "STATE"});
  for_each_of(root, "deployments", [&](element d) {
    std::string state = integer_of(d, "ready_instances") > 0 ? "warm" : "cold";
    if (integer_of(d, "ready_instances") == 0 && integer_of(d, "live_instances") > 0) {
      state = "starting";
    }
    if (integer_of(d, "failures") > 0) {
      state = fmt::format("{} ({} failures; next try in {})",
                          bool_of(d, "crash_loop") ? "crash loop" : "failing",
                          integer_of(d, "failures"), to_text(ms(integer_of(d, "retry_in_ms"))));
    }
    deployments.add({text_of(d, "name"), std::to_string(integer_of(d, "ready_instances")),
                     std::to_string(integer_of(d, "desired_instances")),
                     std::to_string(integer_of(d, "max_instances")),
                     std::to_string(integer_of(d, "queued")),
                     std::to_string(integer_of(d, "running")), state});
  });
  Table instances({"INSTANCE", "STATE", "FOR", "DEVICE", "MEMORY", "IN FLIGHT", "PID"});
  for_each_of(root, "instances", [&](element i) {
    instances.add({text_of(i, "instance"), state_of(i), to_text(ms(integer_of(i, "since_ms"))),
                   text_of(i, "device"),
                   bytes_text(integer_of(i, "private_bytes") + integer_of(i, "shared_bytes")),
                   std::to_string(integer_of(i, "in_flight")),
                   std::to_string(integer_of(i, "pid"))});
  });
  Table devices({"DEVICE", "KIND", "MEMORY", "RESERVED", "INSTANCES"});
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
  for_each_of(root, "deployments", [&](element d) {
    const std::string failure = text_of(d, "last_failure");
    if (failure.empty()) return;
    const std::string name = text_of(d, "name");
    std::printf("\n%s: %s\n  its log: stoker logs %s\n", name.c_str(), failure.c_str(),
                name.c_str());
  });
}

/// Shows until the deployment is warm how its instance comes up. Gives the exit code.
int wait_until_warm(Client& client, const std::string& name) {
  simdjson::dom::parser parser;
  std::string shown;
  bool ordered_alone = false;
  for (;;) {
    const Result<std::string> ps = client.get("/api/v1/ps");
    if (!ps) return complain(ps.error());
    element root;
    if (parser.parse(*ps).get(root) != simdjson::SUCCESS) return exit_failed;
    bool warm = false;
    bool failing = false;
    bool coming = false;
    std::string failure;
    for_each_of(root, "deployments", [&](element d) {
      if (text_of(d, "name") != name) return;
      warm = integer_of(d, "ready_instances") > 0;
      failing = integer_of(d, "failures") > 0;
      coming = integer_of(d, "live_instances") > 0;
      failure = text_of(d, "last_failure");
    });
    std::string now;
    for_each_of(root, "instances", [&](element i) {
      if (text_of(i, "deployment") == name) {
        now = fmt::format("{} {}", text_of(i, "instance"), state_of(i));
        const std::string detail = text_of(i, "load_detail");
        if (!detail.empty()) now += ": " + detail;
      }
    });
    if (now != shown && !now.empty()) {
      std::fprintf(stderr, "%s\n", now.c_str());
      shown = now;
    }
    if (warm) return exit_ok;
    if (!failing && !coming) {
      // An order is void while a draining instance fills the maximum, so it is repeated; one that
      // is void with no instance left will always be.
      if (now.empty() && ordered_alone) {
        return complain({ErrorCode::no_capacity, fmt::format("no instance of '{}' comes up", name),
                         fmt::format("it was stopped, or needs more memory than any device has: "
                                     "see `stoker events --deployment {}` and `stoker ps`",
                                     name)});
      }
      ordered_alone = now.empty();
      const Result<std::string> again = client.post("/api/v1/warm/" + name);
      if (!again) return complain(again.error());
    }
    if (failing) {
      return complain({ErrorCode::unavailable, fmt::format("'{}' did not start: {}", name, failure),
                       fmt::format("its log: stoker logs {}", name)});
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
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
      program.exit_code = complain(client.error(), exit_usage);
      return;
    }
    const Result<std::string> ps = client->get("/api/v1/ps");
    if (!ps) {
      program.exit_code = complain(ps.error());
      return;
    }
    if (program.context.json) {
      std::printf("%s\n", ps->c_str());
      return;
    }
    simdjson::dom::parser parser;
    element root;
    if (parser.parse(*ps).get(root) == simdjson::SUCCESS) print_ps(root);
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
  command->add_option("NAME", options->name, "Deployment")->required();
  command->add_flag("--no-wait", options->no_wait, "Only order it");
  add_server_options(*command, program.context);
  add_json_option(*command, program.context);
  command->footer("Example:\n  stoker warm chat");
  command->callback([program, options] {
    Result<Client> client = Client::connect(program.context);
    if (!client) {
      program.exit_code = complain(client.error(), exit_usage);
      return;
    }
    Result<std::string> answer = client->post("/api/v1/warm/" + options->name);
    if (!answer) {
      program.exit_code = complain(answer.error());
      return;
    }
    if (!options->no_wait) {
      program.exit_code = wait_until_warm(*client, options->name);
      if (program.context.json) answer = client->get("/api/v1/ps");
    }
    if (program.context.json && answer) std::printf("%s\n", answer->c_str());
  });
}

void add_stop(const Program& program) {
  CLI::App* command = program.app.add_subcommand(
      "stop", "Stop the instances of a deployment, or one instance, after what they run");
  auto name = std::make_shared<std::string>();
  command->add_option("NAME", *name, "Deployment (chat) or instance (chat/3)")->required();
  add_server_options(*command, program.context);
  add_json_option(*command, program.context);
  command->footer(
      "The next request, or `stoker warm`, starts it again.\n"
      "Examples:\n  stoker stop chat\n  stoker stop chat/3");
  command->callback([program, name] {
    Result<Client> client = Client::connect(program.context);
    if (!client) {
      program.exit_code = complain(client.error(), exit_usage);
      return;
    }
    const Result<std::string> answer = client->post("/api/v1/stop/" + *name);
    if (!answer) {
      program.exit_code = complain(answer.error());
      return;
    }
    if (program.context.json) {
      std::printf("%s\n", answer->c_str());
    } else {
      std::printf("stopping %s\n", name->c_str());
    }
  });
}

}  // namespace stoker::cli
