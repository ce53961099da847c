// The Date field of answers, made once per second.   Source: RFC 9110 5.6.7 (IMF-fixdate).
#pragma once

#include <string>
#include <string_view>

#include "base/units.h"

namespace stoker::net {

/// "Tue, 24 Nov 2026 04:30:00 GMT"
[[nodiscard]] std::string http_date(WallTime time);

class DateField {
 public:
  /// "Date: ...\r\n"; valid until the next call.
  std::string_view text(WallTime now);

 private:
  std::int64_t second_ = -1;
  std::string text_;
};

}  // namespace stoker::net
