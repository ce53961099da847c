// Poster by libcurl, on a thread of its own. Every address is checked where the socket to it is
// made, so that what was checked is what is connected to, whatever a resolver says the next time.
// Follows no redirect, knows no proxy, keeps no connection.
#pragma once

#include <memory>

#include "outbound/destination.h"
#include "outbound/poster.h"

namespace stoker::outbound {

class CurlPoster final : public Poster {
 public:
  /// Errors: unavailable (libcurl cannot begin).
  [[nodiscard]] static Result<std::unique_ptr<CurlPoster>> create(DestinationRule rule);
  /// Ends the thread; what is under way is dropped.
  ~CurlPoster() override;

  [[nodiscard]] Result<std::string> check(std::string_view url) const override;
  void post(PostRequest request, std::function<void(PostAnswer)> done) override;

 private:
  class Engine;
  explicit CurlPoster(std::unique_ptr<Engine> engine);
  std::unique_ptr<Engine> engine_;
};

}  // namespace stoker::outbound
