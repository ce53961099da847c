// OpenSSL's objects with owners, and its errors in words. Internal to tls/.
#pragma once

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <memory>
#include <string>

namespace stoker::tls {

struct Freer {
  void operator()(SSL* object) const { ::SSL_free(object); }
  void operator()(SSL_CTX* object) const { ::SSL_CTX_free(object); }
  void operator()(BIO* object) const { ::BIO_free_all(object); }
  void operator()(X509* object) const { ::X509_free(object); }
  void operator()(EVP_PKEY* object) const { ::EVP_PKEY_free(object); }
};
template <class T>
using Owned = std::unique_ptr<T, Freer>;

/// Empties this thread's queue of errors; gives the first one's reason, or `otherwise`.
inline std::string take_error(const char* otherwise) {
  const unsigned long code = ::ERR_get_error();
  ::ERR_clear_error();
  const char* const reason = code == 0 ? nullptr : ::ERR_reason_error_string(code);
  return reason == nullptr ? otherwise : reason;
}

}  // namespace stoker::tls
