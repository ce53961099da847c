// Runs a script of events through the core and writes down what it ordered, one line an action.
//
//   device cpu0 memory=1024MiB slots=8    also: kind node label
//   pool slurm quota=4 pending=5min
//   deployment chat memory=100MiB shared=0MiB max=2 concurrency=1 ...
//   at 0s   request r1..r3 chat          requests r1, r2, r3
//   at 20ms up chat/1                    also: progress ready load_failed exited hung start_failed
//                                        unkillable placed outcome_unknown
//   at 1s   ready chat/1 memory=90MiB
//   at 2s   end r1                       also: cancel undelivered
//   at 3s   warm chat                    also: stop, remove, shutdown, wake
//   at 4s   change chat max=1            what is not named stays
//   at 5s   lost cpu0                    also: returned
//   at 6s   keep chat idle=10s           without idle: as configured
//
// Time between two events passes through every due time of the core. Instances are named by their
// deployment and number, as people see them. Check: all invariants hold after each event.
#pragma once

#include <string>

namespace stoker::golden {

/// Gives: the actions, one line each: "0s start chat/1 on cpu0 reason=from_zero ...".
/// A line that cannot be read becomes "error: LINE: what" and ends the run.
std::string run_script(const std::string& script);

}  // namespace stoker::golden
