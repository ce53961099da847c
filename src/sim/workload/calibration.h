// What the receipts of an earlier run say about its deployments: how long their instances start and
// load, and what a request takes on the device. A world that is calibrated so resembles the one in
// which the receipts were written.
//
// Starts: the median over instances; of an instance the longest of each phase, because a receipt
// clips them to its own request's wait. Requests: least squares over those that completed, time =
// fixed + in / prefill speed + out / decode speed, none negative, without the outliers of a first
// fit. How many requests ran beside one is not looked at.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "sim/workload/trace.h"

namespace stoker::sim {

class Calibration {
 public:
  /// Takes note of a request that has a receipt; others say nothing.   Cost: bounded memory, the
  /// latest 64 starts and 512 requests of each deployment.
  void observe(std::string_view deployment, const TraceRequest& request);

  /// Overwrites what is known better now; `deployment.name` says which it is.
  void apply(TraceDeployment& deployment) const;

  /// Starts and completed requests that were seen of it.
  struct Seen {
    std::size_t starts = 0;
    std::size_t requests = 0;
  };
  [[nodiscard]] Seen seen(std::string_view deployment) const;

 private:
  struct Start {
    std::uint64_t life = 0;  // of the server
    std::string instance;
    Duration start;
    Duration load;
  };
  struct Sample {
    double input = 0;
    double output = 0;
    double ns = 0;
  };
  struct Deployment {
    std::deque<Start> starts;      // the latest last
    std::vector<Sample> requests;  // a ring
    std::size_t next_request = 0;
  };
  static void fit(const Deployment& from, TraceDeployment& into);

  std::map<std::string, Deployment, std::less<>> deployments_;
};

/// Takes note of every request that is left in `source`.   Errors: the source's.
[[nodiscard]] Result<Calibration> calibrate(RequestSource& source);

}  // namespace stoker::sim
