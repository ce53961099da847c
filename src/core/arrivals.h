// What is known of when a deployment's next request comes.
#pragma once

#include <cstdint>

#include "base/units.h"

namespace stoker::core {

class Arrivals {
 public:
  void arrived(Instant now) {
    last_ = now;
    any_ = true;
  }
  /// Expected arrivals per second, `now`.
  [[nodiscard]] double hazard(Instant now) const {
    if (!any_) return 0;
    return 1e9 / (static_cast<double>((now - last_).ns) + 1e9);
  }

 private:
  Instant last_;
  bool any_ = false;
};

}  // namespace stoker::core
