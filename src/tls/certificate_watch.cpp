#include "tls/certificate_watch.h"

#include <sys/stat.h>

namespace stoker::tls {

CertificateWatch::CertificateWatch(TlsServer& server)
    : server_(server), seen_(stamp()), tried_(seen_) {}

CertificateWatch::Stamp CertificateWatch::stamp() const {
  const CertificateFiles files = server_.files();
  Stamp stamp;
  std::size_t at = 0;
  for (const std::string* file : {&files.certificate, &files.key}) {
    struct stat status{};  // all zero where there is no file
    if (::stat(file->c_str(), &status) != 0) status = {};
    for (const auto number :
         {static_cast<std::uint64_t>(status.st_dev), static_cast<std::uint64_t>(status.st_ino),
          static_cast<std::uint64_t>(status.st_size),
          static_cast<std::uint64_t>(status.st_mtim.tv_sec),
          static_cast<std::uint64_t>(status.st_mtim.tv_nsec)}) {
      stamp.numbers[at++] = number;
    }
  }
  return stamp;
}

std::optional<Result<void>> CertificateWatch::look(WallTime now) {
  const Stamp current = stamp();
  const bool settled = current == seen_;
  seen_ = current;
  if (!settled || current == tried_) return std::nullopt;
  tried_ = current;
  return server_.replace(server_.files(), now);
}

}  // namespace stoker::tls
