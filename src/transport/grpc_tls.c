/*
 * grpc_tls.c: mutual TLS, or none.
 *
 * Owns: nothing after it returns; gRPC keeps copies of the PEM texts.
 *
 * Invariants:
 * 1. With TLS both sides present a certificate, signed by the CA of the configuration, that bears the name "nodedb" (subject alternative
 *    name of type DNS, or common name when it has none). A certificate of the same CA for something else opens nothing.
 * 2. The name is the same for all nodes: addresses of nodes may change without new certificates. A certificate proves "a node of this
 *    installation", not which one; node ids are checked by the handshake only.
 * 3. Private keys never reach a log or an error text.
 */
#include "grpc_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define PEM_BYTES_MAX (1u << 20)

const char	transport__tls_name[] = "nodedb";

/* The file as a string, or NULL with `error` set. */
static char *read_pem(const char *path, char *error, size_t error_len)
{
	FILE	   *file = fopen(path, "re");
	char	   *text = file != NULL ? nd_alloc(PEM_BYTES_MAX + 1) : NULL;
	size_t		len;

	if (text == NULL)
	{
		snprintf(error, error_len, "could not read \"%s\": %s", path, strerror(file != NULL ? ENOMEM : errno));
		if (file != NULL)
			fclose(file);
		return NULL;
	}
	errno = 0;
	len = fread(text, 1, PEM_BYTES_MAX + 1, file);
	if (ferror(file) || len > PEM_BYTES_MAX)
		snprintf(error, error_len, "could not read \"%s\": %s", path, ferror(file) ? strerror(errno) : "the file is too long");
	else
	{
		text[len] = '\0';
		if (strlen(text) == len && strstr(text, "-----BEGIN ") != NULL)
		{
			fclose(file);
			return text;
		}
		snprintf(error, error_len, "\"%s\" is not a PEM file", path);
	}
	fclose(file);
	nd_free(text);
	return NULL;
}

bool transport__credentials(const TransportConfig *config, grpc_channel_credentials **channel, grpc_server_credentials **server,
							char *error, size_t error_len)
{
	unsigned	given = (config->tls_cert_file != NULL) + (config->tls_key_file != NULL) + (config->tls_ca_file != NULL);
	char	   *cert = NULL;
	char	   *key = NULL;
	char	   *ca = NULL;

	*channel = NULL;
	*server = NULL;
	if (given == 0)
	{
		*channel = grpc_insecure_credentials_create();
		*server = grpc_insecure_server_credentials_create();
		return true;
	}
	if (given < 3)
	{
		snprintf(error, error_len, "TLS needs all three files: certificate, key and certificate authority");
		return false;
	}
	if ((cert = read_pem(config->tls_cert_file, error, error_len)) != NULL &&
		(key = read_pem(config->tls_key_file, error, error_len)) != NULL &&
		(ca = read_pem(config->tls_ca_file, error, error_len)) != NULL)
	{
		grpc_ssl_pem_key_cert_pair pair = {key, cert};

		*channel = grpc_ssl_credentials_create_ex(ca, &pair, NULL, NULL);
		*server = grpc_ssl_server_credentials_create_ex(ca, &pair, 1, GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY, NULL);
		if (*channel == NULL || *server == NULL)
			snprintf(error, error_len, "could not use the TLS files \"%s\", \"%s\", \"%s\"", config->tls_cert_file, config->tls_key_file,
					 config->tls_ca_file);
	}
	if (key != NULL)
		explicit_bzero(key, strlen(key));
	nd_free(cert);
	nd_free(key);
	nd_free(ca);
	return *channel != NULL && *server != NULL;
}

static bool has_name(const grpc_auth_context *context, const char *property)
{
	grpc_auth_property_iterator it = grpc_auth_context_find_properties_by_name(context, property);
	const grpc_auth_property *p;

	while ((p = grpc_auth_property_iterator_next(&it)) != NULL)
		if (p->value_length == strlen(transport__tls_name) && memcmp(p->value, transport__tls_name, p->value_length) == 0)
			return true;
	return false;
}

bool transport__certificate_fits(const Net *net, grpc_call *call)
{
	grpc_auth_context *context;
	bool		fits;

	if (!net->tls)
		return true;
	context = grpc_call_auth_context(call);
	if (context == NULL)
		return false;
	fits = grpc_auth_context_peer_is_authenticated(context) &&
		(has_name(context, GRPC_X509_SAN_PROPERTY_NAME) || has_name(context, GRPC_X509_CN_PROPERTY_NAME));
	grpc_auth_context_release(context);
	return fits;
}
