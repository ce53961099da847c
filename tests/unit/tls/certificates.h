// Self-signed certificates and their keys, made for one test in a folder of its own.
#pragma once

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <cstdio>
#include <filesystem>
#include <string>

#include "support/temp_dir.h"
#include "tls/tls_server.h"

namespace stoker::tls {

class CertificateFolder {
 public:
  /// Writes NAME.crt and NAME.key; valid from an hour ago for `valid_s`.
  CertificateFiles make(const std::string& name, long valid_s = 3600) const {
    EVP_PKEY* key = ::EVP_EC_gen("P-256");
    X509* certificate = ::X509_new();
    ::X509_set_version(certificate, X509_VERSION_3);
    ::ASN1_INTEGER_set(::X509_get_serialNumber(certificate), ++serial_);
    ::X509_gmtime_adj(::X509_getm_notBefore(certificate), -3600);
    ::X509_gmtime_adj(::X509_getm_notAfter(certificate), valid_s);
    ::X509_set_pubkey(certificate, key);
    X509_NAME* subject = ::X509_get_subject_name(certificate);
    ::X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                                 reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
    ::X509_set_issuer_name(certificate, subject);
    EXPECT_GT(::X509_sign(certificate, key, ::EVP_sha256()), 0);
    const CertificateFiles files{path(name + ".crt"), path(name + ".key")};
    std::FILE* out = std::fopen(files.certificate.c_str(), "w");
    EXPECT_EQ(::PEM_write_X509(out, certificate), 1);
    std::fclose(out);
    out = std::fopen(files.key.c_str(), "w");
    EXPECT_EQ(::PEM_write_PrivateKey(out, key, nullptr, nullptr, 0, nullptr, nullptr), 1);
    std::fclose(out);
    ::X509_free(certificate);
    ::EVP_PKEY_free(key);
    return files;
  }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  std::string write(const std::string& name, const std::string& text) const {
    std::FILE* out = std::fopen(path(name).c_str(), "w");
    std::fwrite(text.data(), 1, text.size(), out);
    std::fclose(out);
    return path(name);
  }

 private:
  TempDir folder_;
  mutable long serial_ = 0;
};

}  // namespace stoker::tls
