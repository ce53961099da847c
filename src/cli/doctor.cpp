// stoker doctor
#include "backend/doctor.h"

#include <cstdio>
#include <filesystem>

#include "base/json_writer.h"
#include "cli/commands.h"

namespace stoker::cli {
namespace {

const char* state_text(backend::FactState state) {
  switch (state) {
    case backend::FactState::ok:
      return "ok";
    case backend::FactState::warn:
      return "warn";
    case backend::FactState::fail:
      return "fail";
  }
  return "fail";
}

std::string facts_json(const std::vector<backend::Fact>& facts) {
  JsonWriter json;
  json.object([&] {
    json.array("checks", [&] {
      for (const backend::Fact& fact : facts) {
        json.object([&] {
          json.field("check", fact.check);
          json.field("state", state_text(fact.state));
          json.field("detail", fact.detail);
          if (!fact.hint.empty()) json.field("hint", fact.hint);
        });
      }
    });
  });
  return json.take();
}

}  // namespace

void add_doctor(const Program& program) {
  CLI::App* command = program.app.add_subcommand(
      "doctor", "Examine this machine: sandbox, limits, devices, workers");
  command->add_option("--config", program.context.config_file, "Configuration, for its state_dir");
  add_json_option(*command, program.context);
  command->footer("Example:\n  stoker doctor --config stoker.yaml");
  command->callback([program] {
    backend::DoctorOptions options;
    options.state_dir = std::filesystem::absolute("state").string();
    if (const Result<config::Loaded> loaded = load_config(program.context);
        loaded && loaded->ok()) {
      options.state_dir = std::filesystem::absolute(loaded->config.state_dir).string();
    }
    const std::vector<backend::Fact> facts = backend::examine_machine(options);
    bool failed = false;
    for (const backend::Fact& fact : facts) failed |= fact.state == backend::FactState::fail;
    program.exit_code = failed ? exit_failed : exit_ok;
    if (program.context.json) {
      std::printf("%s\n", facts_json(facts).c_str());
      return;
    }
    for (const backend::Fact& fact : facts) {
      std::printf("%-5s %-20s %s\n", state_text(fact.state), fact.check.c_str(),
                  fact.detail.c_str());
      if (!fact.hint.empty()) std::printf("%-26s %s\n", "", fact.hint.c_str());
    }
  });
}

}  // namespace stoker::cli
