// stoker check
#include <fmt/format.h>

#include <cstdio>
#include <memory>

#include "base/json_writer.h"
#include "cli/commands.h"
#include "config/describe.h"
#include "net/clock.h"
#include "tls/tls_server.h"

namespace stoker::cli {
namespace {

/// What a server would say of its certificate.
void check_certificate(config::Loaded& loaded) {
  const config::TlsConfig& files = loaded.config.tls;
  if (!loaded.ok() || files.certificate.empty()) return;
  const Result<std::unique_ptr<tls::TlsServer>> server =
      tls::TlsServer::create({files.certificate, files.key});
  config::Problem problem;
  problem.file = loaded.config.file;
  problem.path = "tls";
  if (!server) {
    problem.message = server.error().message;
    problem.hint = server.error().hint;
  } else if ((*server)->certificate().not_after < net::wall_now()) {
    problem.severity = config::Problem::Severity::warning;
    problem.message =
        fmt::format("the certificate {} has expired", (*server)->certificate().subject);
  } else {
    return;
  }
  loaded.problems.push_back(std::move(problem));
}

std::string problems_json(const config::Loaded& loaded) {
  JsonWriter json;
  json.object([&] {
    json.field("ok", loaded.ok());
    if (loaded.ok()) json.field("fingerprint", config::fingerprint(loaded.config));
    json.array("problems", [&] {
      for (const config::Problem& p : loaded.problems) {
        json.object([&] {
          json.field("severity",
                     p.severity == config::Problem::Severity::error ? "error" : "warning");
          json.field("file", p.file);
          json.field("line", p.line);
          json.field("column", p.column);
          json.field("path", p.path);
          json.field("message", p.message);
          json.field("hint", p.hint);
        });
      }
    });
  });
  return json.take();
}

}  // namespace

void add_check(const Program& program) {
  CLI::App* command = program.app.add_subcommand("check", "Check a configuration; start nothing");
  struct Options {
    bool schema = false;
    bool print = false;
    std::string file;
  };
  auto options = std::make_shared<Options>();
  command->add_option("FILE", options->file, "The configuration; default as for serve");
  command->add_option("--config", program.context.config_file, "The same");
  command->add_flag("--schema", options->schema, "Print the JSON Schema for editors");
  command->add_flag("--print", options->print, "Print the whole configuration, defaults included");
  add_json_option(*command, program.context);
  command->footer("Examples:\n  stoker check stoker.yaml\n  stoker check --schema > schema.json");
  command->callback([program, options] {
    if (options->schema) {
      std::printf("%s\n", config::schema().c_str());
      return;
    }
    if (!options->file.empty()) program.context.config_file = options->file;
    Result<config::Loaded> loaded = load_config(program.context);
    if (!loaded) {
      program.exit_code = complain(program.context, loaded.error(), exit_usage);
      return;
    }
    check_certificate(*loaded);
    if (program.context.json) {
      std::printf("%s\n", problems_json(*loaded).c_str());
      program.exit_code = loaded->ok() ? exit_ok : exit_usage;
      return;
    }
    program.exit_code = report(loaded->problems);
    if (program.exit_code != exit_ok) return;
    if (options->print) {
      std::printf("%s", config::to_yaml(loaded->config).c_str());
    } else {
      const std::size_t count = loaded->config.deployments.size();
      std::printf("ok: %zu deployment%s, fingerprint %s\n", count, count == 1 ? "" : "s",
                  config::fingerprint(loaded->config).c_str());
    }
  });
}

std::string version_text() {
  return "stoker " STOKER_VERSION " (worker contract 1)";
}

void add_version(const Program& program) {
  CLI::App* command = program.app.add_subcommand("version", "Print the version");
  add_json_option(*command, program.context);
  command->footer("Example:\n  stoker version --json");
  command->callback([program] {
    if (program.context.json) {
      std::printf("{\"version\":\"%s\",\"worker_contract\":1}\n", STOKER_VERSION);
    } else {
      std::printf("%s\n", version_text().c_str());
    }
  });
}

}  // namespace stoker::cli
