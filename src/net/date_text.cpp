#include "net/date_text.h"

#include <fmt/format.h>

#include <array>
#include <ctime>

namespace stoker::net {

std::string http_date(WallTime time) {
  // Not strftime: its names follow the locale.
  static constexpr std::array days = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr std::array months = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                        "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const std::time_t seconds = time.ns / 1'000'000'000;
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  return fmt::format("{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT",
                     days[static_cast<std::size_t>(utc.tm_wday)], utc.tm_mday,
                     months[static_cast<std::size_t>(utc.tm_mon)], utc.tm_year + 1900, utc.tm_hour,
                     utc.tm_min, utc.tm_sec);
}

std::string_view DateField::text(WallTime now) {
  const std::int64_t second = now.ns / 1'000'000'000;
  if (second != second_) {
    second_ = second;
    text_ = "Date: " + http_date(now) + "\r\n";
  }
  return text_;
}

}  // namespace stoker::net
