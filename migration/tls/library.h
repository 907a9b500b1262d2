/*
 * library.h - GnuTLS, opened at the first use: mapping it takes longer than the program needs to
 * start
 *
 * The functions that are used are the members of one table, named as in GnuTLS without
 * their "gnutls_".  Only the files of migration/tls/ that are listed in the Makefile
 * as GNUTLS_SRC include this; without-gnutls.c stands for all of them in a build without it.
 */
#ifndef MINIVMM_TLS_LIBRARY_H
#define MINIVMM_TLS_LIBRARY_H

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

struct err;

#define TLS_LIBRARY_FUNCTIONS(F)                                                                   \
	F(alert_get)                                                                               \
	F(alert_get_name)                                                                          \
	F(alert_send)                                                                              \
	F(alert_send_appropriate)                                                                  \
	F(anon_allocate_client_credentials)                                                        \
	F(anon_allocate_server_credentials)                                                        \
	F(anon_free_client_credentials)                                                            \
	F(anon_free_server_credentials)                                                            \
	F(anon_set_server_known_dh_params)                                                         \
	F(bye)                                                                                     \
	F(certificate_allocate_credentials)                                                        \
	F(certificate_free_credentials)                                                            \
	F(certificate_get_peers)                                                                   \
	F(certificate_server_set_request)                                                          \
	F(certificate_set_known_dh_params)                                                         \
	F(certificate_set_x509_crl_mem)                                                            \
	F(certificate_set_x509_key_mem2)                                                           \
	F(certificate_set_x509_trust_mem)                                                          \
	F(certificate_verify_peers2)                                                               \
	F(credentials_set)                                                                         \
	F(deinit)                                                                                  \
	F(error_is_fatal)                                                                          \
	F(handshake)                                                                               \
	F(init)                                                                                    \
	F(priority_set_direct)                                                                     \
	F(psk_allocate_client_credentials)                                                         \
	F(psk_allocate_server_credentials)                                                         \
	F(psk_free_client_credentials)                                                             \
	F(psk_free_server_credentials)                                                             \
	F(psk_set_client_credentials)                                                              \
	F(psk_set_server_credentials_file)                                                         \
	F(psk_set_server_known_dh_params)                                                          \
	F(record_check_pending)                                                                    \
	F(record_recv)                                                                             \
	F(record_send)                                                                             \
	F(strerror)                                                                                \
	F(transport_set_errno)                                                                     \
	F(transport_set_ptr)                                                                       \
	F(transport_set_pull_function)                                                             \
	F(transport_set_push_function)                                                             \
	F(x509_crt_check_hostname)                                                                 \
	F(x509_crt_deinit)                                                                         \
	F(x509_crt_get_activation_time)                                                            \
	F(x509_crt_get_basic_constraints)                                                          \
	F(x509_crt_get_dn2)                                                                        \
	F(x509_crt_get_expiration_time)                                                            \
	F(x509_crt_get_key_purpose_oid)                                                            \
	F(x509_crt_get_key_usage)                                                                  \
	F(x509_crt_import)                                                                         \
	F(x509_crt_init)                                                                           \
	F(x509_crt_list_import2)                                                                   \
	F(x509_crt_list_verify)

struct tls_library {
#define TLS_LIBRARY_MEMBER(name) __typeof__(gnutls_##name) *name;
	TLS_LIBRARY_FUNCTIONS(TLS_LIBRARY_MEMBER)
#undef TLS_LIBRARY_MEMBER
};

/* The table; static lifetime; NULL with *err set where there is no GnuTLS.  Any thread. */
const struct tls_library *tls_library(struct err *err);

#endif
