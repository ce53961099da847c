// stoker sim: the decision core in a virtual world with faults, checked after every step.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>

#include "base/json_writer.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/sim_script.h"
#include "cli/sim_seeds.h"

namespace stoker::cli {
namespace {

using sim::State;

struct Options {
  std::uint64_t seeds = 100;
  std::uint64_t first_seed = 1;
  std::int32_t requests = 4000;
  std::int32_t threads = 0;
  std::int32_t sweep_every = 64;
  bool calm = false;
  bool trace = false;
  bool states = false;
  bool all_states = false;
  bool unpaired = false;
  std::string script;
  std::string save_script;
  std::int32_t shrink_seconds = 60;
};

std::string hex(std::uint64_t value) {
  return fmt::format("{:016x}", value);
}

void print_json(const ManyResult& sum, const Options& options, const FoundScript* found) {
  JsonWriter json;
  json.object([&] {
    json.field("seeds", static_cast<std::int64_t>(sum.seeds));
    json.field("first_seed", static_cast<std::int64_t>(options.first_seed));
    json.field("requests", static_cast<std::int64_t>(sum.requests));
    json.field("events", static_cast<std::int64_t>(sum.events));
    json.field("virtual_seconds", sum.virtual_time.ns / 1'000'000'000);
    json.field("violations", static_cast<std::int64_t>(sum.violations));
    json.field("states_reached", std::int64_t{sum.states.reached_states()});
    json.field("states_total", static_cast<std::int64_t>(sim::state_count));
    json.field("action_hash", hex(sum.action_hash));
    json.field("version", STOKER_VERSION);
    json.field("commit", STOKER_COMMIT);
    json.object("paired", [&] {
      json.field("seeds", static_cast<std::int64_t>(sum.states.of(State::looped_beside_others)));
      json.field("decisions_compared", static_cast<std::int64_t>(sum.decisions_compared));
    });
    json.object("states", [&] {
      for (std::size_t i = 0; i < sim::state_count; ++i) {
        const auto state = static_cast<State>(i);
        json.field(sim::to_text(state), static_cast<std::int64_t>(sum.states.of(state)));
      }
    });
    if (!sum.first_violation) return;
    json.object("first_violation", [&] {
      json.field("seed", static_cast<std::int64_t>(sum.first_violation->seed));
      json.field("text", *sum.first_violation->violation);
      if (found != nullptr) write_found(json, *found);
    });
  });
  std::printf("%s\n", json.text().c_str());
}

void print_text(const ManyResult& sum, const Options& options, const FoundScript* found) {
  std::printf("%llu seeds (%llu to %llu), %llu requests, %llu steps, %.1f days of virtual time\n",
              static_cast<unsigned long long>(sum.seeds),
              static_cast<unsigned long long>(options.first_seed),
              static_cast<unsigned long long>(options.first_seed + options.seeds - 1),
              static_cast<unsigned long long>(sum.requests),
              static_cast<unsigned long long>(sum.events),
              static_cast<double>(sum.virtual_time.ns) / 86'400e9);
  std::printf("%llu violations, %d of %zu states reached, actions %s\n",
              static_cast<unsigned long long>(sum.violations), sum.states.reached_states(),
              sim::state_count, hex(sum.action_hash).c_str());
  for (std::size_t i = 0; i < sim::state_count; ++i) {
    const auto state = static_cast<State>(i);
    const std::uint64_t count = sum.states.of(state);
    if (options.states) {
      std::printf("  %12llu  %s\n", static_cast<unsigned long long>(count), sim::to_text(state));
    } else if (count == 0) {
      std::printf("  never reached: %s\n", sim::to_text(state));
    }
  }
  if (!sum.first_violation) return;
  const std::uint64_t seed = sum.first_violation->seed;
  std::printf("\nviolation in seed %llu (stoker %s, commit %s):\n  %s\n",
              static_cast<unsigned long long>(seed), STOKER_VERSION, STOKER_COMMIT,
              sum.first_violation->violation->c_str());
  if (found != nullptr) print_found(*found);
}

int run(const Options& options, bool json) {
  ManyOptions many;
  many.first_seed = options.first_seed;
  many.seeds = options.seeds;
  many.threads = options.threads > 0
                     ? options.threads
                     : static_cast<std::int32_t>(std::max(1U, std::thread::hardware_concurrency()));
  many.each.requests = options.requests;
  many.each.sweep_every = options.sweep_every;
  many.each.with_faults = !options.calm;
  if (options.unpaired) many.each.paired_in = 0;
  if (options.trace) {
    many.threads = 1;
    many.recheck_every = 0;
    many.each.trace = [](const std::string& line) { std::printf("%s\n", line.c_str()); };
  }
  const bool tells = !json && !options.trace && options.seeds >= 1000;
  const ManyResult sum = run_seeds(many, [&](const ManyResult& so_far) {
    if (!tells || so_far.seeds % 500 != 0) return;
    std::fprintf(stderr, "%llu of %llu seeds, %llu requests\n",
                 static_cast<unsigned long long>(so_far.seeds),
                 static_cast<unsigned long long>(options.seeds),
                 static_cast<unsigned long long>(so_far.requests));
  });
  std::optional<FoundScript> found;
  if (sum.first_violation && options.shrink_seconds > 0) {
    const std::uint64_t seed = sum.first_violation->seed;
    sim::SeedOptions silent = many.each;
    silent.trace = nullptr;
    found = find_script(seed, silent, options.shrink_seconds, !json);
    save_found(*found, options.save_script.empty() ? fmt::format("stoker-sim-{}.script", seed)
                                                   : options.save_script);
  }
  if (json) {
    print_json(sum, options, found ? &*found : nullptr);
  } else {
    print_text(sum, options, found ? &*found : nullptr);
  }
  if (sum.violations > 0) return exit_failed;
  const bool all = sum.states.reached_states() == static_cast<std::int32_t>(sim::state_count);
  if (options.all_states && !all) {
    std::fprintf(stderr, "error: some states were never reached\n  fix: run more seeds\n");
    return exit_failed;
  }
  return exit_ok;
}

}  // namespace

void add_sim(const Program& program) {
  CLI::App* command = program.app.add_subcommand(
      "sim", "Run the scheduler in a virtual world with faults and check every step");
  auto options = std::make_shared<Options>();
  command->add_option("--seeds", options->seeds, "So many worlds")->check(CLI::Range(1, 1 << 30));
  command->add_option("--first-seed", options->first_seed, "The first of them");
  command->add_option("--requests", options->requests, "About so many in each")
      ->check(CLI::Range(1, 100'000'000));
  command->add_option("--threads", options->threads, "Worlds at a time (default: all CPUs)");
  command
      ->add_option("--sweep-every", options->sweep_every,
                   "Steps between two full checks of the core")
      ->check(CLI::Range(1, 1 << 20));
  command->add_flag("--unpaired", options->unpaired,
                    "No world is run twice, with and without a model that never comes up");
  command
      ->add_option("--script", options->script,
                   "Run this script instead of drawing worlds, and print what happens")
      ->check(CLI::ExistingFile);
  command->add_option("--save-script", options->save_script,
                      "Where the shortest script of a violation goes "
                      "(default: stoker-sim-SEED.script)");
  command
      ->add_option("--shrink-seconds", options->shrink_seconds,
                   "So long at most a violation's script is shortened; 0: not at all")
      ->check(CLI::Range(0, 86'400));
  command->add_flag("--calm", options->calm, "Nothing breaks");
  command->add_flag("--trace", options->trace, "Print every event and every order");
  command->add_flag("--states", options->states, "Print how often each rare state was reached");
  command->add_flag("--all-states", options->all_states, "Fail if a state was never reached");
  add_json_option(*command, program.context);
  command->footer(
      "The same seeds give the same actions on any machine. Exit 1 on a violation.\n"
      "Examples:\n"
      "  stoker sim --seeds 2000\n"
      "  stoker sim --seeds 1 --first-seed 7 --trace | less\n"
      "  stoker sim --script stoker-sim-7.script");
  command->callback([program, options] {
    program.exit_code = options->script.empty() ? run(*options, program.context.json)
                                                : run_script_file(options->script);
  });
}

}  // namespace stoker::cli
