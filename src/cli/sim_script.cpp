#include "cli/sim_script.h"

#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <iterator>

#include "cli/context.h"

namespace stoker::cli {
namespace {

using Clock = std::chrono::steady_clock;

/// Every event and order in words; the events have numbers.   Gives: true on a violation.
bool print_run(const sim::Script& script) {
  int number = 0;
  sim::SceneOptions options;
  options.trace = [&](const std::string& line) {
    if (line.find("  -> ") != std::string::npos) {
      std::printf("      %s\n", line.c_str());
    } else {
      std::printf("%5d %s\n", ++number, line.c_str());
    }
  };
  const sim::SeedResult result = sim::run_script(script, options);
  std::printf("%s\n", result.violation ? result.violation->c_str() : "no violation");
  return result.violation.has_value();
}

}  // namespace

FoundScript find_script(std::uint64_t seed, const sim::SeedOptions& options,
                        std::int32_t most_seconds, bool tells) {
  FoundScript found;
  sim::Script script;
  (void)sim::run_seed(seed, options, &script);
  const Clock::time_point end = Clock::now() + std::chrono::seconds(most_seconds);
  Clock::time_point told = Clock::now();
  found.shrunk = sim::shrink(script, [&](const sim::ShrinkProgress& progress) {
    const Clock::time_point now = Clock::now();
    if (tells && now - told >= std::chrono::seconds(1)) {
      told = now;
      std::fprintf(stderr, "shortening the script: %zu of %zu steps and faults, %llu runs\n",
                   progress.size, progress.from, static_cast<unsigned long long>(progress.runs));
    }
    return now < end;
  });
  return found;
}

void save_found(FoundScript& found, const std::string& file) {
  std::ofstream out(file, std::ios::binary);
  out << sim::to_text(found.shrunk.script);
  out.close();
  (out.good() ? found.file : found.error) = out.good() ? file : "cannot write " + file;
}

void write_found(JsonWriter& json, const FoundScript& found) {
  const sim::Shrunk& shrunk = found.shrunk;
  json.object("script", [&] {
    json.field("steps_and_faults", static_cast<std::int64_t>(shrunk.progress.size));
    json.field("drawn", static_cast<std::int64_t>(shrunk.progress.from));
    json.field("runs", static_cast<std::int64_t>(shrunk.progress.runs));
    json.field("complete", shrunk.complete);
    json.field("violation", shrunk.violation);
    json.field("file", found.file);
  });
}

void print_found(const FoundScript& found) {
  const sim::Shrunk& shrunk = found.shrunk;
  if (shrunk.violation.empty()) {
    std::printf("its script does not end in a violation\n");
    return;
  }
  std::printf("\nshortest script%s: %zu of %zu steps and faults, found in %llu runs\n",
              shrunk.complete ? "" : " in the time given", shrunk.progress.size,
              shrunk.progress.from, static_cast<unsigned long long>(shrunk.progress.runs));
  print_run(shrunk.script);
  if (!found.error.empty()) {
    std::fprintf(stderr, "error: %s\n  fix: --save-script FILE\n", found.error.c_str());
  } else {
    std::printf("run it again:\n  stoker sim --script %s\n", found.file.c_str());
  }
}

int run_script_file(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  const Result<sim::Script> script = sim::parse_script(text);
  if (!script) {
    std::fprintf(stderr, "error: %s: %s\n  fix: %s\n", file.c_str(), script.error().message.c_str(),
                 script.error().hint.c_str());
    return exit_failed;
  }
  return print_run(*script) ? exit_failed : exit_ok;
}

}  // namespace stoker::cli
