#include "tls/tls_client.h"

#include <fmt/format.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <new>
#include <utility>

#include "tls/openssl.h"
#include "tls/tls_channel.h"

namespace stoker::tls {
namespace {

/// `own`, if there is one, is trusted as it is: who holds its key is who we mean.
int verify(X509_STORE_CTX* chain, void* own) {
  const X509* const presented = ::X509_STORE_CTX_get0_cert(chain);
  if (own != nullptr && presented != nullptr &&
      ::X509_cmp(presented, static_cast<const X509*>(own)) == 0) {
    ::X509_STORE_CTX_set_error(chain, X509_V_OK);
    return 1;
  }
  return ::X509_verify_cert(chain);
}

}  // namespace

struct TlsClient::Impl {
  Owned<SSL_CTX> context;
  Owned<X509> own;
  std::string host;
};

Result<std::unique_ptr<TlsClient>> TlsClient::create(std::string host,
                                                     const std::string& own_certificate) {
  ::ERR_clear_error();
  auto impl = std::make_unique<Impl>();
  impl->host = std::move(host);
  impl->context.reset(::SSL_CTX_new(::TLS_client_method()));
  if (!impl->context) throw std::bad_alloc();
  if (!own_certificate.empty()) {
    const Owned<BIO> file(::BIO_new_file(own_certificate.c_str(), "r"));
    if (file) impl->own.reset(::PEM_read_bio_X509_AUX(file.get(), nullptr, nullptr, nullptr));
    if (!impl->own) {
      ::ERR_clear_error();
      return failure(ErrorCode::invalid,
                     fmt::format("{}: no certificate can be read there", own_certificate));
    }
  }
  SSL_CTX* const context = impl->context.get();
  ::SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_read_ahead(context, 1);
  ::SSL_CTX_set_default_verify_paths(context);
  ::SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  ::SSL_CTX_set_cert_verify_callback(context, &verify, impl->own.get());
  return std::unique_ptr<TlsClient>(new TlsClient(std::move(impl)));
}

TlsClient::TlsClient(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TlsClient::~TlsClient() = default;

std::unique_ptr<net::SecureChannel> TlsClient::make(int fd) {
  Owned<SSL> ssl(::SSL_new(impl_->context.get()));
  if (!ssl) throw std::bad_alloc();
  X509_VERIFY_PARAM* const rules = ::SSL_get0_param(ssl.get());
  if (::X509_VERIFY_PARAM_set1_ip_asc(rules, impl_->host.c_str()) != 1) {
    ::X509_VERIFY_PARAM_set1_host(rules, impl_->host.c_str(), impl_->host.size());
    ::SSL_ctrl(ssl.get(), SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
               impl_->host.data());
  }
  ::ERR_clear_error();
  return std::make_unique<TlsChannel>(std::move(ssl), fd, TlsChannel::Side::client);
}

}  // namespace stoker::tls
