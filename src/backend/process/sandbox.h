// The bubblewrap sandbox of a worker: what it sees of the machine is a list of what is allowed, so
// that state directory, home folders, keys, other models and other processes are absent, not
// forbidden. Own process, network, IPC and user namespaces, no capabilities, no way to gain any.
//
//   we -> bwrap (leader, same session) -> bwrap as process 1 of the namespace -> worker
//
// The kernel kills the whole namespace with its process 1; so one pidfd of that process is the
// fence round all descendants. --die-with-parent is not used: it is PDEATHSIG, see DESIGN.md 4.3.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "backend/instance_backend.h"
#include "base/result.h"

namespace stoker::backend {

struct SandboxState {
  bool works = false;
  std::string program;  // absolute path of bwrap
  std::string detail;   // version, or why it does not work
};
/// Runs bwrap once with the flags that workers get.   Cost: blocks about 20 ms, at most 5 s.
[[nodiscard]] SandboxState probe_sandbox();

struct SandboxPaths {
  std::string state_dir;    // absolute; hidden even where a readable path contains it
  std::string program_dir;  // of the workers: visible, read-only; empty: none
};

/// Checks the paths of a request before anything is started.
/// Errors: invalid (relative or "/"), not_found (a writable one is missing). A readable one that is
/// missing is left out, so that the worker itself says what it lacks.
[[nodiscard]] Result<void> check_sandbox_paths(const SandboxSpec& spec);

/// Numbers of the descriptors that bwrap uses, in the child.
struct SandboxDescriptors {
  int info = -1;   // it writes the process id of the namespace's process 1
  int block = -1;  // it reads before it runs the worker
};

/// The command line in front of the worker's own, [0] = `program`.
/// Units: none. Gives: the same for equal input and equal /dev.
[[nodiscard]] std::vector<std::string> sandbox_arguments(const std::string& program,
                                                         const SandboxSpec& spec,
                                                         const DeviceBinding& device,
                                                         const SandboxPaths& paths,
                                                         SandboxDescriptors descriptors);

/// Reads what bwrap writes to the info descriptor: {"child-pid": N, ...}. 0 if it is not there.
[[nodiscard]] pid_t parse_sandbox_info(std::string_view json);

}  // namespace stoker::backend
