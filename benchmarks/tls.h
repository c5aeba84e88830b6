/* OpenSSL by its shared library alone: what the null server and the floor need of it, found at run time.
 *
 * A fresh machine has libssl.so (Python and the openssl command bring it) but rarely its headers. The dozen functions
 * used here have had the same signatures since OpenSSL 1.1.0, so they are declared by hand and looked up with dlopen.
 */
#ifndef STERNA_BENCH_TLS_H
#define STERNA_BENCH_TLS_H
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

enum { TLS_FILETYPE_PEM = 1, TLS_CTRL_MODE = 33, TLS_CTRL_READ_AHEAD = 41, TLS_MODE_AUTO_RETRY = 4 };

static struct {
    void *(*method)(void), *(*context_new)(const void *), *(*session_new)(void *);
    int (*use_chain)(void *, const char *), (*use_key)(void *, const char *, int);
    long (*control)(void *, int, long, void *);
    void (*read_buffer)(void *, size_t);
    int (*set_fd)(void *, int), (*handshake)(void *), (*read)(void *, void *, int), (*write)(void *, const void *, int);
    int (*shutdown)(void *);
    void (*session_free)(void *);
} tls;

/* Loads the library and makes a context; NULL, with a sentence on stderr, where that cannot be done. */
static void *tls_context(int server, const char *chain, const char *key) {
    static const char *const names[] = {"libssl.so.3", "libssl.so.1.1", "libssl.so"};
    void *lib = NULL;
    for (size_t i = 0; !lib && i < sizeof names / sizeof *names; i++) lib = dlopen(names[i], RTLD_NOW);
    if (!lib) { fprintf(stderr, "tls: no libssl.so.3 or libssl.so.1.1 on this machine\n"); return NULL; }
    struct { const char *name; void *slot; } wanted[] = {
        {server ? "TLS_server_method" : "TLS_client_method", &tls.method},
        {"SSL_CTX_new", &tls.context_new}, {"SSL_new", &tls.session_new},
        {"SSL_CTX_use_certificate_chain_file", &tls.use_chain}, {"SSL_CTX_use_PrivateKey_file", &tls.use_key},
        {"SSL_CTX_ctrl", &tls.control}, {"SSL_CTX_set_default_read_buffer_len", &tls.read_buffer},
        {"SSL_set_fd", &tls.set_fd}, {server ? "SSL_accept" : "SSL_connect", &tls.handshake},
        {"SSL_read", &tls.read}, {"SSL_write", &tls.write}, {"SSL_shutdown", &tls.shutdown}, {"SSL_free", &tls.session_free},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        void *found = dlsym(lib, wanted[i].name);
        if (!found) { fprintf(stderr, "tls: libssl has no %s\n", wanted[i].name); return NULL; }
        memcpy(wanted[i].slot, &found, sizeof found);
    }
    void *context = tls.context_new(tls.method());
    if (!context) { fprintf(stderr, "tls: no context\n"); return NULL; }
    if (chain && (tls.use_chain(context, chain) != 1 || tls.use_key(context, key, TLS_FILETYPE_PEM) != 1)) {
        fprintf(stderr, "tls: cannot use %s with %s\n", chain, key);
        return NULL;
    }
    tls.control(context, TLS_CTRL_MODE, TLS_MODE_AUTO_RETRY, NULL);
    tls.control(context, TLS_CTRL_READ_AHEAD, 1, NULL); /* several records per recv */
    tls.read_buffer(context, 128 << 10);
    return context;
}
#endif
