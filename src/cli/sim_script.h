// A violation's shortest script: found, saved, printed, and run again.
#pragma once

#include <cstdint>
#include <string>

#include "base/json_writer.h"
#include "sim/seed_run.h"
#include "sim/shrink.h"

namespace stoker::cli {

struct FoundScript {
  sim::Shrunk shrunk;
  std::string file;   // where it was saved
  std::string error;  // why it was not
};

/// Needs: the seed ends in a violation with these options.
/// `tells`: progress goes to stderr once a second.
[[nodiscard]] FoundScript find_script(std::uint64_t seed, const sim::SeedOptions& options,
                                      std::int32_t most_seconds, bool tells);
void save_found(FoundScript& found, const std::string& file);
void write_found(JsonWriter& json, const FoundScript& found);
void print_found(const FoundScript& found);

/// `stoker sim --script FILE`.   Gives: the exit code; 1 on a violation.
[[nodiscard]] int run_script_file(const std::string& file);

}  // namespace stoker::cli
