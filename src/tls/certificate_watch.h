// Notices that the files of the certificate in use have changed, and takes them into use. Looks at
// them only: no watch of the kernel's follows a file through a renamed link or a remounted folder.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "tls/tls_server.h"

namespace stoker::tls {

class CertificateWatch {
 public:
  /// `server` outlives it.
  explicit CertificateWatch(TlsServer& server);
  /// To be called once a second or so. Files that were still changing at the last look are left
  /// alone until the next: of a pair, one is written after the other.
  /// Gives: nullopt if nothing was tried; else how it went, as TlsServer::replace().
  std::optional<Result<void>> look(WallTime now);

 private:
  struct Stamp {
    std::array<std::uint64_t, 10> numbers{};  // of both files: device, inode, size, time
    friend bool operator==(const Stamp&, const Stamp&) = default;
  };
  [[nodiscard]] Stamp stamp() const;

  TlsServer& server_;
  Stamp seen_;
  Stamp tried_;
};

}  // namespace stoker::tls
