// Decides again what was decided elsewhere, so that a core from another compiler can be held
// against the one in production.
//   decide_again events FILE   a recording of `stoker serve --record-events`; exits 1 if it differs
//   decide_again seeds N       the worlds 1 .. N; prints the hash of all their orders
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

#include "sim/event_replay.h"
#include "sim/seed_run.h"
#include "sim/world.h"

namespace stoker {
namespace {

int events(const char* path) {
  std::ifstream file(path, std::ios::binary);
  const std::string recording{std::istreambuf_iterator<char>(file), {}};
  const Result<sim::EventReplay> replay = sim::replay_events(recording);
  if (!replay || !replay->first_difference.empty()) {
    std::fprintf(stderr, "%s\n",
                 replay ? replay->first_difference.c_str() : replay.error().message.c_str());
    return 1;
  }
  std::printf("%016" PRIx64 "\n", replay->action_hash);
  return 0;
}

int seeds(std::uint64_t count) {
  std::uint64_t all = sim::empty_hash;
  for (std::uint64_t seed = 1; seed <= count; ++seed) {
    all = sim::add_to_hash(all, sim::run_seed(seed, {}).totals.action_hash);
  }
  std::printf("%016" PRIx64 "\n", all);
  return 0;
}

}  // namespace
}  // namespace stoker

int main(int argc, char** argv) {
  const std::string what = argc == 3 ? argv[1] : "";
  if (what == "events") return stoker::events(argv[2]);
  if (what == "seeds") return stoker::seeds(std::strtoull(argv[2], nullptr, 10));
  std::fprintf(stderr, "usage: decide_again events FILE | seeds N\n");
  return 2;
}
