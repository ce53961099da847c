// Facts about this machine that decide how well Stoker can run here, as plain data. `stoker doctor`
// prints them; `serve` logs those that are not ok. Reads only; changes nothing that stays.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace stoker::backend {

enum class FactState : std::uint8_t { ok, warn, fail };
struct Fact {
  std::string check;  // "sandbox", "cgroup.memory", ...: stable names, for --json
  FactState state = FactState::ok;
  std::string detail;  // what was found
  std::string hint;    // what to do; empty when ok
};

struct DoctorOptions {
  std::string state_dir;   // absolute; may not exist yet
  std::string worker_dir;  // where stoker-worker-* lie; empty: beside this program
  std::string nvml_library = "libnvidia-ml.so.1";
};

/// Gives: always the same checks in the same order.
/// Cost: blocks up to a second (runs bubblewrap once).
[[nodiscard]] std::vector<Fact> examine_machine(const DoctorOptions& options);

}  // namespace stoker::backend
