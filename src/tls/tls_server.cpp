#include "tls/tls_server.h"

#include <fmt/format.h>
#include <openssl/asn1.h>
#include <openssl/pem.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <new>
#include <utility>

#include "base/hex.h"
#include "tls/openssl.h"
#include "tls/tls_channel.h"

namespace stoker::tls {
namespace {

// Of TLS 1.2 only those with forward secrecy and authenticated encryption; 1.3 has no others.
constexpr const char* ciphers_12 = "ECDHE+AESGCM:ECDHE+CHACHA20";
constexpr const char* groups = "X25519:P-256:P-384";
constexpr long session_seconds = 7200;
constexpr int security_level = 2;  // 112 bits: RSA from 2048, no SHA-1

/// Files without a password: asking for one would hang a server.
int no_password(char*, int, int, void*) {
  return -1;
}

/// We speak HTTP/1.1. A client that offers protocols but not this one is told so.
int choose_protocol(SSL*, const unsigned char** out, unsigned char* out_size,
                    const unsigned char* offered, unsigned int offered_size, void*) {
  constexpr std::string_view http11 = "http/1.1";
  for (unsigned int at = 0; at < offered_size; at += 1U + offered[at]) {
    const auto size = static_cast<std::size_t>(offered[at]);
    const std::string_view name(reinterpret_cast<const char*>(offered) + at + 1, size);
    if (name != http11) continue;
    *out = offered + at + 1;
    *out_size = offered[at];
    return SSL_TLSEXT_ERR_OK;
  }
  return SSL_TLSEXT_ERR_ALERT_FATAL;
}

Error cannot(std::string_view file, std::string_view what, std::string hint = {}) {
  return {ErrorCode::invalid, fmt::format("{}: {}", file, what), std::move(hint)};
}

/// OpenSSL's own words for a missing file are its line numbers.
Result<Owned<BIO>> open_file(const std::string& path) {
  Owned<BIO> file(::BIO_new_file(path.c_str(), "r"));
  if (file) return file;
  const int error = errno;
  ::ERR_clear_error();
  return failure(error == ENOENT ? ErrorCode::not_found : ErrorCode::invalid,
                 fmt::format("{} cannot be read: {}", path, std::strerror(error)));
}

WallTime not_after(const X509* certificate) {
  std::tm time{};
  if (::ASN1_TIME_to_tm(::X509_get0_notAfter(certificate), &time) != 1) return {};
  return WallTime{static_cast<std::int64_t>(::timegm(&time)) * 1'000'000'000};
}

CertificateInfo describe(X509* certificate) {
  CertificateInfo info;
  const Owned<BIO> text(::BIO_new(BIO_s_mem()));
  if (text) {
    ::X509_NAME_print_ex(text.get(), ::X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253);
    char* bytes = nullptr;
    const long size = BIO_get_mem_data(text.get(), &bytes);
    info.subject.assign(bytes, static_cast<std::size_t>(size));
  }
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  ::X509_digest(certificate, ::EVP_sha256(), digest.data(), &size);
  info.fingerprint = to_hex({reinterpret_cast<const char*>(digest.data()), size});
  info.not_after = not_after(certificate);
  return info;
}

Result<void> use_chain(SSL_CTX* context, const std::string& path) {
  Result<Owned<BIO>> file = open_file(path);
  if (!file) return tl::unexpected(file.error());
  constexpr const char* no_certificate = "holds no PEM certificate";
  const Owned<X509> own(::PEM_read_bio_X509_AUX(file->get(), nullptr, no_password, nullptr));
  if (!own) {
    (void)take_error("");
    return tl::unexpected(
        cannot(path, no_certificate, "it begins with -----BEGIN CERTIFICATE-----"));
  }
  if (::SSL_CTX_use_certificate(context, own.get()) != 1) {
    return tl::unexpected(cannot(path, take_error("cannot be used")));
  }
  while (true) {
    Owned<X509> next(::PEM_read_bio_X509(file->get(), nullptr, no_password, nullptr));
    if (!next) break;
    if (SSL_CTX_add0_chain_cert(context, next.get()) != 1) {
      return tl::unexpected(cannot(path, take_error("its chain cannot be used")));
    }
    (void)next.release();
  }
  const bool is_end = ERR_GET_REASON(::ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  const std::string error = take_error("is damaged");
  if (!is_end) return tl::unexpected(cannot(path, error));
  return {};
}

Result<void> use_key(SSL_CTX* context, const CertificateFiles& files) {
  Result<Owned<BIO>> file = open_file(files.key);
  if (!file) return tl::unexpected(file.error());
  const Owned<EVP_PKEY> key(::PEM_read_bio_PrivateKey(file->get(), nullptr, no_password, nullptr));
  if (!key) {
    (void)take_error("");
    return tl::unexpected(cannot(files.key, "holds no PEM private key, or one with a password",
                                 "openssl pkey -in FILE -out NEW takes the password off"));
  }
  if (::SSL_CTX_use_PrivateKey(context, key.get()) != 1 ||
      ::SSL_CTX_check_private_key(context) != 1) {
    (void)take_error("");
    return tl::unexpected(
        cannot(files.key, fmt::format("is not the key of {}", files.certificate)));
  }
  return {};
}

}  // namespace

struct TlsServer::Context {
  Owned<SSL_CTX> ssl;
  CertificateFiles files;
  CertificateInfo info;
};

Result<std::shared_ptr<const TlsServer::Context>> TlsServer::load(CertificateFiles files) {
  ::ERR_clear_error();
  Owned<SSL_CTX> ssl(::SSL_CTX_new(::TLS_server_method()));
  if (!ssl) throw std::bad_alloc();
  SSL_CTX* const context = ssl.get();
  ::SSL_CTX_set_security_level(context, security_level);
  ::SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  ::SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                     SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);  // an idle connection holds none
  SSL_CTX_set_read_ahead(context, 1);                   // one recv for several records
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  ::SSL_CTX_set_timeout(context, session_seconds);
  ::SSL_CTX_set_alpn_select_cb(context, &choose_protocol, nullptr);
  if (::SSL_CTX_set_cipher_list(context, ciphers_12) != 1 ||
      SSL_CTX_set1_groups_list(context, groups) != 1) {
    return failure(ErrorCode::unavailable, "this OpenSSL has no ciphers that we want",
                   take_error(""));
  }
  if (const Result<void> used = use_chain(context, files.certificate); !used) {
    return tl::unexpected(used.error());
  }
  if (const Result<void> used = use_key(context, files); !used) {
    return tl::unexpected(used.error());
  }
  CertificateInfo info = describe(::SSL_CTX_get0_certificate(context));
  return std::make_shared<const Context>(
      Context{std::move(ssl), std::move(files), std::move(info)});
}

TlsServer::TlsServer(std::shared_ptr<const Context> context) : context_(std::move(context)) {}
TlsServer::~TlsServer() = default;

Result<std::unique_ptr<TlsServer>> TlsServer::create(CertificateFiles files) {
  auto context = load(std::move(files));
  if (!context) return tl::unexpected(context.error());
  return std::unique_ptr<TlsServer>(new TlsServer(std::move(*context)));
}

std::shared_ptr<const TlsServer::Context> TlsServer::current() const {
  const std::lock_guard lock(mutex_);
  return context_;
}

std::unique_ptr<net::SecureChannel> TlsServer::make(int fd) {
  Owned<SSL> ssl(::SSL_new(current()->ssl.get()));  // it holds the context
  if (!ssl) throw std::bad_alloc();                 // ends the process, as everywhere
  return std::make_unique<TlsChannel>(std::move(ssl), fd, TlsChannel::Side::server);
}

Result<void> TlsServer::replace(CertificateFiles files, WallTime now) {
  auto context = load(std::move(files));
  if (!context) return tl::unexpected(context.error());
  const WallTime ends = (*context)->info.not_after;
  const std::lock_guard lock(mutex_);
  if (ends < now && context_->info.not_after >= now) {
    return failure(
        ErrorCode::invalid,
        fmt::format("{}: has expired, {}", (*context)->files.certificate, (*context)->info.subject),
        "the one in use has not, and stays");
  }
  context_ = std::move(*context);
  return {};
}

CertificateFiles TlsServer::files() const {
  return current()->files;
}

CertificateInfo TlsServer::certificate() const {
  return current()->info;
}

}  // namespace stoker::tls
