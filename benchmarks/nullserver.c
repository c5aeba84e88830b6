/* nullserver: an S3 server that keeps names and sizes and no bytes, so that a benchmark measures clients.
 *
 *   cc -O2 -pthread -o nullserver nullserver.c -ldl
 *   ./nullserver [port=0] [name=value ...]        prints "PORT n" when it listens, on 127.0.0.1 only
 *
 *   size=4096 keys=20000 layout=tree     the objects of every bucket to which nothing was written ("synthetic"):
 *       tree     dir-%06d/obj-%09d.bin       200 to a folder
 *       flat     %016x                       evenly spread, no folders
 *       skewed   nine in ten below hot/2026/, the rest spread over a/ to z/
 *   mtime=2026-01-01T00:00:00.000Z       when synthetic objects were last modified
 *   get_checksum=0                       1: x-amz-checksum-crc64nvme on HEADs and whole GETs of synthetic objects,
 *                                        for those who ask with x-amz-checksum-mode, as S3 does
 *   latency_ms=0 list_latency_ms=0       waited before an answer; the second, where given, for listings
 *   slowdown_permille=0                  so many requests in a thousand are answered 503 SlowDown
 *   tls=CERT.pem,KEY.pem                 speak TLS (libssl is found at run time, see tls.h)
 *   stdin=watch                          exit when stdin closes, so that it cannot outlive who started it
 *
 * What was written is remembered by bucket and key: size, time, ETag, and the checksum, metadata and content-type headers,
 * which HEAD gives back. The first write or delete makes a bucket real: from then on it has what was written. Bodies are
 * zeros. Signatures and checksums are not looked at: whether a client is correct is for real servers to say.
 * `GET /-/stats` answers counters as JSON ("-" is no bucket's name).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include "tls.h"

typedef long long i64;
typedef unsigned long long u64;
enum { HEAD_ROOM = 128 << 10, ZEROS = 1 << 20, NAME_ROOM = 4096, PAGE_KEYS = 1000, POST_ROOM = 16 << 20, TOWER = 18 };

static struct {
    int port, latency_ms, list_latency_ms, slowdown_permille, get_checksum;
    i64 size, keys;
    const char *layout, *mtime, *tls;
} opt = {.size = 4096, .keys = 20000, .layout = "tree", .mtime = "2026-01-01T00:00:00.000Z", .list_latency_ms = -1};

static char zeros[ZEROS];
static int zeros_fd = -1;
static void *tls_ctx;
static char synthetic_crc[16], synthetic_http_time[40];

/* ---- counters ------------------------------------------------------------------------------------------------ */

enum verb { V_PUT, V_PART, V_CREATE, V_COMPLETE, V_ABORT, V_COPY, V_GET, V_HEAD, V_LIST, V_DELETE, V_DELETES, V_OTHER, V_N };
static const char *const verb_names[V_N] = {"put", "part", "create", "complete", "abort", "copy", "get", "head", "list",
                                            "delete", "delete_objects", "other"};
static _Atomic i64 verb_count[V_N], bytes_in, bytes_out, connections_made;

/* ---- text that grows ----------------------------------------------------------------------------------------- */

typedef struct { char *at; size_t n, room; } text;

static void need(text *t, size_t more) {
    if (t->n + more + 1 <= t->room) return;
    while (t->n + more + 1 > t->room) t->room = t->room ? t->room * 2 : 4096;
    t->at = realloc(t->at, t->room);
    if (!t->at) abort();
}
static void put_n(text *t, const char *s, size_t n) { need(t, n); memcpy(t->at + t->n, s, n); t->n += n; t->at[t->n] = 0; }
static void put(text *t, const char *s) { put_n(t, s, strlen(s)); }
__attribute__((format(printf, 2, 3))) static void putf(text *t, const char *format, ...) {
    char line[4096];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    put_n(t, line, n < 0 ? 0 : (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
}
static void put_i64(text *t, i64 v) {
    char d[24], *p = d + sizeof d;
    u64 u = v < 0 ? 0 : (u64)v;
    do *--p = (char)('0' + u % 10); while (u /= 10);
    put_n(t, p, (size_t)(d + sizeof d - p));
}

static const char HEX[] = "0123456789ABCDEF";
enum escape { AS_XML, AS_URL };

/* A key inside XML: percent-encoded where the client asked for it, else with entities. Plain runs are copied whole. */
static void put_key(text *t, const char *s, enum escape how) {
    static char plain[2][256];
    static _Atomic int ready;
    if (!ready) {
        for (int c = 1; c < 256; c++) {
            plain[AS_URL][c] = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || strchr("-_.~/*", c);
            plain[AS_XML][c] = c >= 0x20 && c != 0x7f && !strchr("&<>\"'", c);
        }
        ready = 1;
    }
    for (const unsigned char *p = (const unsigned char *)s; *p;) {
        const unsigned char *run = p;
        while (plain[how][*p]) p++;
        put_n(t, (const char *)run, (size_t)(p - run));
        if (!*p) break;
        if (how == AS_URL) { char e[3] = {'%', HEX[*p >> 4], HEX[*p & 15]}; put_n(t, e, 3); }
        else putf(t, "&#x%X;", *p);
        p++;
    }
}

static int unhex(int c) { return c >= '0' && c <= '9' ? c - '0' : (c |= 32) >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; }

/* Percent-decodes n bytes of s into out (room bytes); a plus is a space only in queries. -1 where it does not fit or holds NUL. */
static int percent_decode(const char *s, size_t n, int plus, char *out, size_t room) {
    size_t o = 0;
    for (size_t i = 0; i < n; i++) {
        int c = (unsigned char)s[i];
        if (c == '%' && i + 2 < n && unhex(s[i + 1]) >= 0 && unhex(s[i + 2]) >= 0) { c = unhex(s[i + 1]) << 4 | unhex(s[i + 2]); i += 2; }
        else if (c == '+' && plus) c = ' ';
        if (!c || o + 1 >= room) return -1;
        out[o++] = (char)c;
    }
    out[o] = 0;
    return 0;
}

/* Undoes XML entities in place. */
static void xml_decode(char *s) {
    static const struct { const char *name; char is; } named[] = {{"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&quot;", '"'}, {"&apos;", '\''}};
    char *o = s;
    while (*s) {
        if (*s == '&') {
            int hit = 0;
            for (size_t i = 0; i < sizeof named / sizeof *named && !hit; i++)
                if (!strncmp(s, named[i].name, strlen(named[i].name))) { *o++ = named[i].is; s += strlen(named[i].name); hit = 1; }
            if (hit) continue;
            if (s[1] == '#') {
                char *end;
                unsigned long c = s[2] == 'x' ? strtoul(s + 3, &end, 16) : strtoul(s + 2, &end, 10);
                if (*end == ';' && c) {
                    if (c < 0x80) *o++ = (char)c;
                    else if (c < 0x800) { *o++ = (char)(0xC0 | c >> 6); *o++ = (char)(0x80 | (c & 63)); }
                    else if (c < 0x10000) { *o++ = (char)(0xE0 | c >> 12); *o++ = (char)(0x80 | (c >> 6 & 63)); *o++ = (char)(0x80 | (c & 63)); }
                    else { *o++ = (char)(0xF0 | c >> 18); *o++ = (char)(0x80 | (c >> 12 & 63)); *o++ = (char)(0x80 | (c >> 6 & 63)); *o++ = (char)(0x80 | (c & 63)); }
                    s = end + 1;
                    continue;
                }
            }
        }
        *o++ = *s++;
    }
    *o = 0;
}

/* ---- time ---------------------------------------------------------------------------------------------------- */

static i64 now_ms(void) { struct timespec t; clock_gettime(CLOCK_REALTIME, &t); return (i64)t.tv_sec * 1000 + t.tv_nsec / 1000000; }

static void iso_time(i64 ms, char *out) { /* the second is formatted once, and kept */
    static __thread time_t kept = -1;
    static __thread char second[24];
    time_t s = (time_t)(ms / 1000);
    if (s != kept) { struct tm g; gmtime_r(&s, &g); strftime(second, sizeof second, "%Y-%m-%dT%H:%M:%S.", &g); kept = s; }
    memcpy(out, second, 20);
    int f = (int)(ms % 1000);
    out[20] = (char)('0' + f / 100); out[21] = (char)('0' + f / 10 % 10); out[22] = (char)('0' + f % 10); out[23] = 'Z'; out[24] = 0;
}

static void http_time(time_t s, char *out, size_t room) { struct tm g; gmtime_r(&s, &g); strftime(out, room, "%a, %d %b %Y %H:%M:%S GMT", &g); }

/* ---- what was written: a skip list by "bucket/key", in byte order ---------------------------------------------- */

typedef struct object {
    char *name, *headers; /* headers: the lines HEAD gives back, or NULL */
    i64 size, mtime_ms;   /* size < 0: deleted */
    char etag[44];
    struct object *next[];
} object;

typedef struct { i64 size; char etag[44]; } part;
typedef struct { char *name, *headers; part *parts; int parts_n, open; i64 begun_ms; } upload;

static pthread_rwlock_t memory = PTHREAD_RWLOCK_INITIALIZER; /* guards all below */
static object *first;
static upload *uploads;
static long uploads_n, uploads_room;

/* The first object whose name is not less than s; `left` receives its left neighbour on each level. */
static object *at_or_after(const char *s, object **left) {
    object *here = first;
    for (int level = TOWER; level-- > 0;) {
        object *n;
        while ((n = here->next[level]) && strcmp(n->name, s) < 0) here = n;
        if (left) left[level] = here;
    }
    return here->next[0];
}

static object *find(const char *name) { object *o = at_or_after(name, NULL); return o && !strcmp(o->name, name) ? o : NULL; }

static int bucket_is_real(const char *bucket) {
    char name[NAME_ROOM];
    size_t n = (size_t)snprintf(name, sizeof name, "%s/", bucket);
    object *o = at_or_after(name, NULL);
    return o && !strncmp(o->name, name, n);
}

/* Takes over `headers`. The caller holds the lock for writing. */
static void remember(const char *name, i64 size, const char *etag, char *headers) {
    static u64 dice = 88172645463325252ULL;
    object *left[TOWER], *o = at_or_after(name, left);
    if (!o || strcmp(o->name, name)) {
        dice ^= dice << 13; dice ^= dice >> 7; dice ^= dice << 17;
        int height = 1;
        for (u64 d = dice; height < TOWER && (d & 3) == 0; d >>= 2) height++;
        o = calloc(1, sizeof *o + (size_t)height * sizeof(object *));
        if (!o || !(o->name = strdup(name))) abort();
        for (int level = 0; level < height; level++) { o->next[level] = left[level]->next[level]; left[level]->next[level] = o; }
    }
    free(o->headers);
    o->headers = headers;
    o->size = size;
    o->mtime_ms = now_ms();
    snprintf(o->etag, sizeof o->etag, "%s", etag);
}

static void forget(const char *name) { remember(name, -1, "", NULL); }

/* ---- synthetic objects --------------------------------------------------------------------------------------- */

/* The key of synthetic object i: ascending in byte order as i ascends. */
static void synthetic_key(i64 i, char *out) {
    if (*opt.layout == 'f') { sprintf(out, "%016llx", (u64)i * (~0ULL / (u64)(opt.keys ? opt.keys : 1))); return; }
    if (*opt.layout == 's') { /* a/ .. h/, then hot/, then i/ .. z/ */
        i64 per_letter = opt.keys / 260 + 1, cold_before = per_letter * 8, hot = opt.keys - per_letter * 26;
        if (hot < 0) hot = 0;
        if (i < cold_before) sprintf(out, "%c/%09lld", (char)('a' + i / per_letter), i);
        else if (i < cold_before + hot) sprintf(out, "hot/2026/%012lld.parquet", i);
        else sprintf(out, "%c/%09lld", (char)('a' + (i - hot) / per_letter), i);
        return;
    }
    sprintf(out, "dir-%06lld/obj-%09lld.bin", i / 200, i);
}

/* The number of the first synthetic object whose key is not less than s. */
static i64 synthetic_at_or_after(const char *s) {
    char key[64];
    i64 low = 0, high = opt.keys;
    while (low < high) {
        i64 middle = low + (high - low) / 2;
        synthetic_key(middle, key);
        if (strcmp(key, s) < 0) low = middle + 1; else high = middle;
    }
    return low;
}

static int synthetic_has(const char *key) {
    char have[64];
    i64 i = synthetic_at_or_after(key);
    if (i >= opt.keys) return 0;
    synthetic_key(i, have);
    return !strcmp(have, key);
}

static u64 mix(const char *s, u64 h) { /* FNV-1a, then stirred */
    for (; *s; s++) h = (h ^ (unsigned char)*s) * 1099511628211ULL;
    h ^= h >> 31; h *= 0x9E3779B97F4A7C15ULL; return h ^ h >> 29;
}
/* 32 digits made of the arguments; a PUT's, where it brought no Content-MD5. */
static void fake_etag(const char *name, i64 size, const char *salt, char *out) {
    u64 a = mix(salt, mix(name, 14695981039346656037ULL ^ (u64)size)), b = mix(name, a ^ 0xD6E8FEB86659FD93ULL);
    sprintf(out, "%016llx%016llx", a, b);
}

/* Of a form that nobody takes for the MD5 of the body (rclone would compare). */
static void synthetic_etag(const char *key, char *out) { fake_etag(key, opt.size, "", out); strcat(out, "-1"); }

/* CRC-64/NVME of n zero bytes. One zero byte is a linear map of the register over GF(2), so n of them are its n-th power. */
static u64 crc64nvme_of_zeros(u64 n) {
    u64 step[64], square[64], crc = ~0ULL;
    for (int bit = 0; bit < 64; bit++) {
        u64 c = 1ULL << bit;
        for (int k = 0; k < 8; k++) c = c & 1 ? c >> 1 ^ 0x9A6C9329AC4BC9B5ULL : c >> 1;
        step[bit] = c;
    }
    for (; n; n >>= 1) {
        if (n & 1) { u64 r = 0; for (int b = 0; b < 64; b++) if (crc >> b & 1) r ^= step[b]; crc = r; }
        for (int b = 0; b < 64; b++) { u64 r = 0; for (int k = 0; k < 64; k++) if (step[b] >> k & 1) r ^= step[k]; square[b] = r; }
        memcpy(step, square, sizeof step);
    }
    return ~crc;
}

static void base64_of_u64(u64 v, char *out) { /* big-endian, 12 characters */
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int i = 0, shift = 58; i < 10; i++, shift -= 6) out[i] = digits[v >> shift & 63];
    out[10] = digits[v << 2 & 63]; out[11] = '='; out[12] = 0;
}

/* ---- a connection -------------------------------------------------------------------------------------------- */

typedef struct {
    int fd;
    void *session;
    char *in;           /* HEAD_ROOM + 1: the head of the request at hand and what came with it */
    size_t have;
    text out, page, body;
    unsigned seed;
} conn;

typedef struct { /* a request: all pointers lead into conn.in */
    char method[8], bucket[256], name[NAME_ROOM]; /* name: "bucket/key" */
    const char *key, *query, *head;
    i64 length;
} request;

static ssize_t conn_recv(conn *c, char *to, size_t room) {
    if (c->session) return tls.read(c->session, to, room > 1 << 30 ? 1 << 30 : (int)room);
    ssize_t n;
    do n = recv(c->fd, to, room, 0); while (n < 0 && errno == EINTR);
    return n;
}

static int conn_send(conn *c, const char *from, size_t n, int more) {
    while (n) {
        ssize_t sent = c->session ? tls.write(c->session, from, n > 1 << 20 ? 1 << 20 : (int)n)
                                  : send(c->fd, from, n, MSG_NOSIGNAL | (more ? MSG_MORE : 0));
        if (sent < 0 && !c->session && errno == EINTR) continue;
        if (sent <= 0) return -1;
        from += sent;
        n -= (size_t)sent;
    }
    return 0;
}

static int send_zeros(conn *c, i64 n) {
    while (n > 0) {
        size_t some = n < ZEROS ? (size_t)n : ZEROS;
        off_t from = 0;
        ssize_t sent = 0;
        if (c->session || n < 64 << 10) { if (conn_send(c, zeros, some, 0)) return -1; sent = (ssize_t)some; }
        else { /* pages of a memory file go by reference: the server's own copy is saved */
            do sent = sendfile(c->fd, zeros_fd, &from, some); while (sent < 0 && errno == EINTR);
            if (sent <= 0) return -1;
        }
        n -= sent;
    }
    return 0;
}

/* Throws away n bytes of a body: without TLS the kernel drops them uncopied. */
static int discard(conn *c, i64 n) {
    static char sink[ZEROS]; /* written to by all, read by none */
    char record[64 << 10];
    while (n > 0) {
        ssize_t got;
        if (c->session) got = tls.read(c->session, record, n < (i64)sizeof record ? (int)n : (int)sizeof record);
        else do got = recv(c->fd, sink, n < ZEROS ? (size_t)n : ZEROS, MSG_TRUNC); while (got < 0 && errno == EINTR);
        if (got <= 0) return -1;
        n -= got;
    }
    return 0;
}

/* The value of a header, up to its line's end; NULL where it is absent. */
static const char *header(const char *head, const char *name) {
    size_t n = strlen(name);
    for (const char *line = strchr(head, '\n'); line; line = strchr(line, '\n')) {
        line++;
        if (!strncasecmp(line, name, n) && line[n] == ':') { line += n + 1; return line + strspn(line, " \t"); }
    }
    return NULL;
}

static int header_copy(const char *head, const char *name, char *out, size_t room) {
    const char *v = header(head, name);
    size_t n = v ? strcspn(v, "\r\n") : 0;
    if (!v || n >= room) { *out = 0; return 0; }
    memcpy(out, v, n);
    out[n] = 0;
    return 1;
}

/* Appends the request's header lines that begin with `prefix`. */
static void put_headers(text *t, const char *head, const char *prefix) {
    size_t n = strlen(prefix);
    for (const char *line = strchr(head, '\n'); line; line = strchr(line, '\n'))
        if (!strncasecmp(++line, prefix, n)) { put_n(t, line, strcspn(line, "\r\n")); put_n(t, "\r\n", 2); }
}

/* The decoded value of a query parameter; 0 where it is absent. */
static int param(const char *query, const char *name, char *out, size_t room) {
    size_t n = strlen(name);
    *out = 0;
    for (const char *p = query; p && *p; p = strchr(p, '&') ? strchr(p, '&') + 1 : NULL) {
        if (strncmp(p, name, n) || (p[n] != '=' && p[n] != '&' && p[n])) continue;
        if (p[n] == '=') { p += n + 1; if (percent_decode(p, strcspn(p, "&"), 1, out, room)) *out = 0; }
        return 1;
    }
    return 0;
}
static int has(const char *query, const char *name) { char unused[NAME_ROOM]; return param(query, name, unused, sizeof unused); }

static int reply(conn *c, const char *status, const char *headers, const char *body, size_t n) {
    c->out.n = 0;
    put(&c->out, "HTTP/1.1 ");
    put(&c->out, status);
    put(&c->out, "\r\nServer: nullserver\r\nx-amz-request-id: NULLSERVER000000\r\n");
    put(&c->out, headers);
    if (strncmp(status, "204", 3)) { put(&c->out, "Content-Length: "); put_i64(&c->out, (i64)n); put(&c->out, "\r\n"); }
    put(&c->out, "\r\n");
    if (n && n < 64 << 10) { put_n(&c->out, body, n); n = 0; }
    return conn_send(c, c->out.at, c->out.n, n > 0) || (n && conn_send(c, body, n, 0));
}

static const char XML[] = "Content-Type: application/xml\r\n";
#define DECLARATION "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
#define NAMESPACE " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\""

static int reply_page(conn *c, const char *headers) { return reply(c, "200 OK", headers, c->page.at, c->page.n); }

static int refuse(conn *c, const char *status, const char *code, int with_body) {
    char body[512];
    int n = snprintf(body, sizeof body, DECLARATION "<Error><Code>%s</Code><Message>%s</Message><RequestId>NULLSERVER000000</RequestId></Error>", code, status + 4);
    return reply(c, status, XML, body, with_body ? (size_t)n : 0);
}

/* ---- listing ------------------------------------------------------------------------------------------------- */

/* Turns s into the least string greater than all that begin with s; 0 where there is none. */
static int after_all(char *s) {
    size_t n = strlen(s);
    while (n && (unsigned char)s[n - 1] == 0xFF) n--;
    if (!n) return 0;
    s[n - 1] = (char)((unsigned char)s[n - 1] + 1);
    s[n] = 0;
    return 1;
}

static void put_entry(text *t, const char *key, enum escape how, i64 size, const char *time, const char *etag) {
    put(t, "<Contents><Key>");
    put_key(t, key, how);
    put(t, "</Key><LastModified>");
    put(t, time);
    put(t, "</LastModified><ETag>&quot;");
    put(t, etag);
    put(t, "&quot;</ETag><Size>");
    put_i64(t, size);
    put(t, "</Size><StorageClass>STANDARD</StorageClass></Contents>");
}

static int list_objects(conn *c, const request *r) {
    char prefix[NAME_ROOM], delimiter[NAME_ROOM], from[2 * NAME_ROOM], token[2 * NAME_ROOM], word[32], key[NAME_ROOM] = "", last[NAME_ROOM] = "";
    int v2 = param(r->query, "list-type", word, sizeof word) && *word == '2';
    enum escape how = param(r->query, "encoding-type", word, sizeof word) && !strcmp(word, "url") ? AS_URL : AS_XML;
    i64 limit = param(r->query, "max-keys", word, sizeof word) ? atoll(word) : PAGE_KEYS;
    if (limit < 0 || limit > PAGE_KEYS) limit = PAGE_KEYS;
    param(r->query, "prefix", prefix, sizeof prefix);
    param(r->query, "delimiter", delimiter, sizeof delimiter);
    param(r->query, v2 ? "start-after" : "marker", from, NAME_ROOM);

    /* A token is "1" and the hexadecimal bytes of the last key or common prefix shown. */
    if (v2 && param(r->query, "continuation-token", token, sizeof token) && *token) {
        size_t n = strlen(token) / 2;
        if (*token != '1' || n >= NAME_ROOM) return refuse(c, "400 Bad Request", "InvalidArgument", 1);
        for (size_t i = 0; i < n; i++) from[i] = (char)(unhex(token[1 + 2 * i]) << 4 | unhex(token[2 + 2 * i]));
        from[n] = 0;
    } else *token = 0;

    text *page = &c->page;
    page->n = 0;
    put(page, DECLARATION "<ListBucketResult" NAMESPACE "><Name>");
    put_key(page, r->bucket, AS_XML);
    put(page, "</Name><Prefix>");
    put_key(page, prefix, how);
    put(page, "</Prefix>");
    if (*delimiter) { put(page, "<Delimiter>"); put_key(page, delimiter, how); put(page, "</Delimiter>"); }
    if (*token) { put(page, "<ContinuationToken>"); put(page, token); put(page, "</ContinuationToken>"); }
    else if (*from || !v2) { put(page, v2 ? "<StartAfter>" : "<Marker>"); put_key(page, from, how); put(page, v2 ? "</StartAfter>" : "</Marker>"); }
    if (how == AS_URL) put(page, "<EncodingType>url</EncodingType>");
    put(page, "<MaxKeys>");
    put_i64(page, limit);
    put(page, "</MaxKeys>");

    /* Where to begin: at the prefix, or just after what was shown last; a shown common prefix is passed whole. */
    size_t from_n = strlen(from), prefix_n = strlen(prefix), delimiter_n = strlen(delimiter);
    int exhausted = limit == 0;
    if (from_n && strcmp(from, prefix) >= 0) {
        const char *cut = delimiter_n && !strncmp(from, prefix, prefix_n) ? strstr(from + prefix_n, delimiter) : NULL;
        if (cut && !cut[delimiter_n]) exhausted |= !after_all(from);
        else { from[from_n] = 1; from[from_n + 1] = 0; } /* the least string after `from`: keys hold no NUL */
    } else snprintf(from, NAME_ROOM, "%s", prefix);

    char full[3 * NAME_ROOM], time[32];
    size_t bucket_n = (size_t)sprintf(full, "%s/", r->bucket);
    i64 shown = 0, i = 0;
    int more = 0;
    object *o = NULL;
    pthread_rwlock_rdlock(&memory);
    int real = bucket_is_real(r->bucket);
    if (!real) pthread_rwlock_unlock(&memory);
    if (real) { strcpy(full + bucket_n, from); o = at_or_after(full, NULL); } else i = synthetic_at_or_after(from);
    while (!exhausted) {
        if (real) {
            while (o && o->size < 0) o = o->next[0];
            if (!o || strncmp(o->name, full, bucket_n)) break;
            snprintf(key, sizeof key, "%s", o->name + bucket_n);
        } else {
            if (i >= opt.keys) break;
            synthetic_key(i, key);
        }
        if (strncmp(key, prefix, prefix_n)) break;
        if (shown == limit) { more = 1; break; }
        shown++;
        char *cut = delimiter_n ? strstr(key + prefix_n, delimiter) : NULL;
        if (cut) {
            cut[delimiter_n] = 0;
            put(page, "<CommonPrefixes><Prefix>");
            put_key(page, key, how);
            put(page, "</Prefix></CommonPrefixes>");
            strcpy(last, key);
            if (!after_all(key)) break;
            if (real) { strcpy(full + bucket_n, key); o = at_or_after(full, NULL); full[bucket_n] = 0; } else i = synthetic_at_or_after(key);
        } else if (real) {
            iso_time(o->mtime_ms, time);
            put_entry(page, key, how, o->size, time, o->etag);
            strcpy(last, key);
            o = o->next[0];
        } else {
            char etag[44];
            synthetic_etag(key, etag);
            put_entry(page, key, how, opt.size, opt.mtime, etag);
            strcpy(last, key);
            i++;
        }
    }
    if (real) pthread_rwlock_unlock(&memory);
    if (v2) { put(page, "<KeyCount>"); put_i64(page, shown); put(page, "</KeyCount>"); }
    put(page, more ? "<IsTruncated>true</IsTruncated>" : "<IsTruncated>false</IsTruncated>");
    if (more && v2) {
        put(page, "<NextContinuationToken>1");
        for (const unsigned char *p = (const unsigned char *)last; *p; p++) { char e[2] = {HEX[*p >> 4], HEX[*p & 15]}; put_n(page, e, 2); }
        put(page, "</NextContinuationToken>");
    } else if (more) { put(page, "<NextMarker>"); put_key(page, last, how); put(page, "</NextMarker>"); }
    put(page, "</ListBucketResult>");
    return reply_page(c, XML);
}

static int list_buckets(conn *c) {
    char seek[300], bucket[256];
    c->page.n = 0;
    put(&c->page, DECLARATION "<ListAllMyBucketsResult" NAMESPACE "><Owner><ID>null</ID></Owner><Buckets>");
    pthread_rwlock_rdlock(&memory);
    for (object *o = first->next[0]; o; o = at_or_after(seek, NULL)) {
        size_t n = strcspn(o->name, "/");
        if (n >= sizeof bucket) break;
        memcpy(bucket, o->name, n);
        bucket[n] = 0;
        putf(&c->page, "<Bucket><Name>%s</Name><CreationDate>%s</CreationDate></Bucket>", bucket, opt.mtime);
        snprintf(seek, sizeof seek, "%s0", bucket); /* '0' follows '/' */
    }
    pthread_rwlock_unlock(&memory);
    put(&c->page, "</Buckets></ListAllMyBucketsResult>");
    return reply_page(c, XML);
}

/* ---- objects ------------------------------------------------------------------------------------------------- */

typedef struct { i64 size; int synthetic; char etag[44], time[40], *headers; } found;

/* What an object is; 0 where there is none. `headers` is the caller's to free. */
static int look(const char *bucket, const char *name, const char *key, found *f) {
    memset(f, 0, sizeof *f);
    pthread_rwlock_rdlock(&memory);
    object *o = find(name);
    int there = o && o->size >= 0, real = o || bucket_is_real(bucket);
    if (there) {
        f->size = o->size;
        strcpy(f->etag, o->etag);
        http_time((time_t)(o->mtime_ms / 1000), f->time, sizeof f->time);
        if (o->headers) f->headers = strdup(o->headers);
    }
    pthread_rwlock_unlock(&memory);
    if (there || real || !synthetic_has(key)) return there;
    f->size = opt.size;
    f->synthetic = 1;
    synthetic_etag(key, f->etag);
    strcpy(f->time, synthetic_http_time);
    return 1;
}

static int same_etag(const char *condition, const char *etag) {
    size_t n = strlen(etag);
    if (*condition == '*') return 1;
    if (*condition == '"') condition++;
    return !strncmp(condition, etag, n) && (condition[n] == '"' || condition[n] == '\r');
}

static int get_object(conn *c, const request *r, int with_body) {
    found f;
    if (!look(r->bucket, r->name, r->key, &f)) return refuse(c, "404 Not Found", "NoSuchKey", with_body);
    const char *condition = header(r->head, "if-match");
    if (condition && !same_etag(condition, f.etag)) { free(f.headers); return refuse(c, "412 Precondition Failed", "PreconditionFailed", with_body); }
    if ((condition = header(r->head, "if-none-match")) && same_etag(condition, f.etag)) { free(f.headers); return reply(c, "304 Not Modified", "", "", 0); }

    i64 from = 0, to = f.size - 1;
    const char *range = header(r->head, "range");
    if (range && strncasecmp(range, "bytes=", 6)) range = NULL;
    if (range) {
        char *end;
        range += 6;
        if (*range == '-') from = f.size - strtoll(range + 1, NULL, 10);
        else { from = strtoll(range, &end, 10); if (*end == '-' && end[1] >= '0' && end[1] <= '9') to = strtoll(end + 1, NULL, 10); }
        if (from < 0) from = 0;
        if (to >= f.size) to = f.size - 1;
        if (from > to) { free(f.headers); return refuse(c, "416 Requested Range Not Satisfiable", "InvalidRange", with_body); }
    }
    i64 n = to - from + 1;
    text *out = &c->out;
    out->n = 0;
    put(out, range ? "HTTP/1.1 206 Partial Content" : "HTTP/1.1 200 OK");
    put(out, "\r\nServer: nullserver\r\nx-amz-request-id: NULLSERVER000000\r\nAccept-Ranges: bytes\r\nLast-Modified: ");
    put(out, f.time);
    put(out, "\r\nETag: \"");
    put(out, f.etag);
    put(out, "\"\r\n");
    int asks = header(r->head, "x-amz-checksum-mode") != NULL;
    if (f.synthetic && opt.get_checksum && asks && !(range && n < f.size)) {
        put(out, "x-amz-checksum-crc64nvme: ");
        put(out, synthetic_crc);
        put(out, "\r\nx-amz-checksum-type: FULL_OBJECT\r\n");
    }
    int typed = 0;
    for (char *line = f.headers; line && *line; line = strchr(line, '\n') + 1) {
        int checksum = !strncasecmp(line, "x-amz-checksum-", 15);
        if (checksum && (with_body || !asks)) continue; /* the zeros that GET sends do not have it */
        typed |= !strncasecmp(line, "content-type:", 13);
        put_n(out, line, (size_t)(strchr(line, '\n') + 1 - line));
    }
    if (!typed) put(out, "Content-Type: binary/octet-stream\r\n");
    free(f.headers);
    if (range) putf(out, "Content-Range: bytes %lld-%lld/%lld\r\n", from, to, f.size);
    put(out, "Content-Length: ");
    put_i64(out, n);
    put(out, "\r\n\r\n");
    if (!with_body) return conn_send(c, out->at, out->n, 0);
    bytes_out += n;
    if (n < 64 << 10) { need(out, (size_t)n); memset(out->at + out->n, 0, (size_t)n); out->n += (size_t)n; n = 0; }
    return conn_send(c, out->at, out->n, n > 0) || send_zeros(c, n);
}

static i64 body_size(const request *r) { /* aws-chunked bodies say what they hold */
    const char *decoded = header(r->head, "x-amz-decoded-content-length");
    return decoded ? atoll(decoded) : r->length;
}

/* Content-MD5 is the ETag where it was sent; else 32 digits made of the name, the size and the checksum header. */
static void etag_for(const request *r, const char *checksum, i64 size, char *out) {
    char md5[32];
    if (!header_copy(r->head, "content-md5", md5, sizeof md5) || strlen(md5) != 24) { fake_etag(r->name, size, checksum, out); return; }
    unsigned bits = 0, have = 0, o = 0;
    for (const char *p = md5; *p && *p != '=' && o < 32; p++) {
        int d = *p >= 'A' && *p <= 'Z' ? *p - 'A' : *p >= 'a' && *p <= 'z' ? *p - 'a' + 26 : *p >= '0' && *p <= '9' ? *p - '0' + 52 : *p == '+' ? 62 : 63;
        bits = bits << 6 | (unsigned)d;
        for (have += 6; have >= 4 && o < 32; have -= 4) out[o++] = "0123456789abcdef"[bits >> (have - 4) & 15];
    }
    out[32] = 0;
}

/* The header lines to keep with an object: checksums, metadata, type, encoding. */
static char *kept_headers(const request *r) {
    static const char *const kept[] = {"x-amz-checksum-crc", "x-amz-checksum-sha", "x-amz-checksum-type:", "x-amz-meta-",
                                       "content-type:", "content-disposition:", "content-language:", "cache-control:", "expires:"};
    text t = {0};
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) put_headers(&t, r->head, kept[i]);
    return t.at;
}

static void put_echo(text *t, const request *r, const char *etag) {
    put(t, "ETag: \"");
    put(t, etag);
    put(t, "\"\r\n");
    put_headers(t, r->head, "x-amz-checksum-crc");
    put_headers(t, r->head, "x-amz-checksum-sha");
    put_headers(t, r->head, "x-amz-checksum-type:");
    put_headers(t, r->head, "x-amz-server-side-encryption");
}

/* An open upload by the id in the query; the caller holds the lock. */
static upload *open_upload(const request *r, const char *id) {
    long n = strncmp(id, "upload-", 7) ? 0 : atol(id + 7);
    upload *u = n > 0 && n <= uploads_n ? uploads + n - 1 : NULL;
    return u && u->open && !strcmp(u->name, r->name) ? u : NULL;
}

static int copy_source(const request *r, found *f, i64 *bytes) {
    char raw[NAME_ROOM], name[NAME_ROOM], bucket[256], range[64];
    if (!header_copy(r->head, "x-amz-copy-source", raw, sizeof raw)) return 0;
    char *version = strstr(raw, "?versionId=");
    if (version) *version = 0;
    if (percent_decode(raw, strlen(raw), 0, name, sizeof name)) return 0;
    if (*name == '/') memmove(name, name + 1, strlen(name));
    size_t n = strcspn(name, "/");
    if (n >= sizeof bucket || !name[n]) return 0;
    memcpy(bucket, name, n);
    bucket[n] = 0;
    if (!look(bucket, name, name + n + 1, f)) return 0;
    *bytes = f->size;
    if (header_copy(r->head, "x-amz-copy-source-range", range, sizeof range)) {
        i64 from = 0, to = 0;
        if (sscanf(range, "bytes=%lld-%lld", &from, &to) != 2 || from > to || to >= f->size) { free(f->headers); return 0; }
        *bytes = to - from + 1;
    }
    return 1;
}

static int put_object(conn *c, const request *r) {
    char id[64], number[16], etag[44], checksum[128], time[32];
    int as_part = param(r->query, "uploadId", id, sizeof id) && param(r->query, "partNumber", number, sizeof number);
    int copying = header(r->head, "x-amz-copy-source") != NULL;
    i64 size = body_size(r);
    found source = {0};
    if (copying && !copy_source(r, &source, &size)) return refuse(c, "404 Not Found", "NoSuchKey", 1);
    verb_count[copying ? V_COPY : as_part ? V_PART : V_PUT]++;
    bytes_in += copying ? 0 : size;
    if (!header_copy(r->head, "x-amz-checksum-crc64nvme", checksum, sizeof checksum)) header_copy(r->head, "x-amz-checksum-crc32c", checksum, sizeof checksum);
    if (copying) snprintf(checksum, sizeof checksum, "%s", source.etag);
    etag_for(r, checksum, size, etag);
    int refused = 0, existing = 0;
    char *headers = as_part ? NULL : copying ? source.headers : kept_headers(r);
    const char *match = header(r->head, "if-match"), *none = header(r->head, "if-none-match");
    pthread_rwlock_wrlock(&memory);
    if (as_part) {
        upload *u = open_upload(r, id);
        int n = atoi(number);
        if (!u) refused = 404;
        else if (n < 1 || n > 10000) refused = 400;
        else {
            if (n >= u->parts_n) {
                int room = n * 2 < 10001 ? n * 2 : 10001;
                u->parts = realloc(u->parts, (size_t)room * sizeof(part));
                if (!u->parts) abort();
                for (int i = u->parts_n; i < room; i++) u->parts[i].size = -1;
                u->parts_n = room;
            }
            u->parts[n].size = size;
            snprintf(u->parts[n].etag, sizeof u->parts[n].etag, "%s", etag);
        }
    } else {
        object *o = match || none ? find(r->name) : NULL;
        existing = o && o->size >= 0;
        if ((none && existing) || (match && existing && !same_etag(match, o->etag))) refused = 412;
        else if (match && !existing) refused = 404;
        else { remember(r->name, size, etag, headers); headers = NULL; }
    }
    pthread_rwlock_unlock(&memory);
    free(headers);
    if (as_part && copying) free(source.headers);
    if (refused == 400) return refuse(c, "400 Bad Request", "InvalidArgument", 1);
    if (refused == 412) return refuse(c, "412 Precondition Failed", "PreconditionFailed", 1);
    if (refused) return refuse(c, "404 Not Found", as_part ? "NoSuchUpload" : "NoSuchKey", 1);
    if (copying) {
        const char *root = as_part ? "CopyPartResult" : "CopyObjectResult";
        iso_time(now_ms(), time);
        c->page.n = 0;
        putf(&c->page, DECLARATION "<%s" NAMESPACE "><ETag>&quot;%s&quot;</ETag><LastModified>%s</LastModified></%s>", root, etag, time, root);
        return reply_page(c, XML);
    }
    text *page = &c->page;
    page->n = 0;
    put_echo(page, r, etag);
    return reply(c, "200 OK", page->at, "", 0);
}

/* ---- multipart ----------------------------------------------------------------------------------------------- */

static int create_upload(conn *c, const request *r) {
    char *headers = kept_headers(r);
    pthread_rwlock_wrlock(&memory);
    if (uploads_n == uploads_room) {
        uploads_room = uploads_room ? uploads_room * 2 : 256;
        uploads = realloc(uploads, (size_t)uploads_room * sizeof *uploads);
        if (!uploads) abort();
    }
    uploads[uploads_n] = (upload){.name = strdup(r->name), .headers = headers, .open = 1, .begun_ms = now_ms()};
    long id = ++uploads_n;
    pthread_rwlock_unlock(&memory);
    c->page.n = 0;
    put(&c->page, DECLARATION "<InitiateMultipartUploadResult" NAMESPACE "><Bucket>");
    put_key(&c->page, r->bucket, AS_XML);
    put(&c->page, "</Bucket><Key>");
    put_key(&c->page, r->key, AS_XML);
    putf(&c->page, "</Key><UploadId>upload-%ld</UploadId></InitiateMultipartUploadResult>", id);
    text *echo = &c->body;
    echo->n = 0;
    put(echo, XML);
    put_headers(echo, r->head, "x-amz-checksum-algorithm:");
    put_headers(echo, r->head, "x-amz-checksum-type:");
    return reply_page(c, echo->at);
}

/* The object is the parts that the request names, as with S3; a named part that never came is an error. */
static int complete_upload(conn *c, const request *r, const char *id, char *body) {
    i64 size = 0;
    int count = 0, missing = 0;
    u64 h = 14695981039346656037ULL;
    char etag[44], checksum[64];
    text headers = {0};
    put_headers(&headers, r->head, "x-amz-checksum-");
    pthread_rwlock_wrlock(&memory);
    upload *u = open_upload(r, id);
    if (u) {
        for (char *p = body; (p = strstr(p, "<PartNumber>")); count++) {
            int n = atoi(p += 12);
            if (n < 1 || n >= u->parts_n || u->parts[n].size < 0) { missing = 1; break; }
            size += u->parts[n].size;
            h = mix(u->parts[n].etag, h);
        }
        missing |= !count;
    }
    if (u && !missing) {
        sprintf(etag, "%016llx%016llx-%d", h, mix(r->name, h), count);
        if (u->headers) put(&headers, u->headers);
        remember(r->name, size, etag, headers.at);
        headers.at = NULL;
        u->open = 0;
        free(u->parts);
        free(u->headers);
        u->parts = NULL;
        u->headers = NULL;
    }
    pthread_rwlock_unlock(&memory);
    free(headers.at);
    if (!u) return refuse(c, "404 Not Found", "NoSuchUpload", 1);
    if (missing) return refuse(c, "400 Bad Request", "InvalidPart", 1);
    c->page.n = 0;
    putf(&c->page, DECLARATION "<CompleteMultipartUploadResult" NAMESPACE "><Location>http://127.0.0.1:%d/</Location><Bucket>%s</Bucket><Key>", opt.port, r->bucket);
    put_key(&c->page, r->key, AS_XML);
    putf(&c->page, "</Key><ETag>&quot;%s&quot;</ETag>", etag);
    static const struct { const char *header, *element; } sums[] = {
        {"x-amz-checksum-crc64nvme", "ChecksumCRC64NVME"}, {"x-amz-checksum-crc32c", "ChecksumCRC32C"}, {"x-amz-checksum-crc32", "ChecksumCRC32"},
        {"x-amz-checksum-sha256", "ChecksumSHA256"}, {"x-amz-checksum-sha1", "ChecksumSHA1"}, {"x-amz-checksum-type", "ChecksumType"}};
    for (size_t i = 0; i < sizeof sums / sizeof *sums; i++)
        if (header_copy(r->head, sums[i].header, checksum, sizeof checksum)) putf(&c->page, "<%s>%s</%s>", sums[i].element, checksum, sums[i].element);
    put(&c->page, "</CompleteMultipartUploadResult>");
    return reply_page(c, XML);
}

static int abort_upload(conn *c, const request *r, const char *id) {
    pthread_rwlock_wrlock(&memory);
    upload *u = open_upload(r, id);
    if (u) u->open = 0;
    pthread_rwlock_unlock(&memory);
    return u ? reply(c, "204 No Content", "", "", 0) : refuse(c, "404 Not Found", "NoSuchUpload", 1);
}

static int list_parts(conn *c, const request *r, const char *id) {
    char word[32], time[32];
    i64 after = param(r->query, "part-number-marker", word, sizeof word) ? atoll(word) : 0;
    i64 limit = param(r->query, "max-parts", word, sizeof word) ? atoll(word) : PAGE_KEYS, shown = 0, last = 0;
    if (limit < 1 || limit > PAGE_KEYS) limit = PAGE_KEYS;
    int more = 0;
    c->page.n = 0;
    put(&c->page, DECLARATION "<ListPartsResult" NAMESPACE "><Bucket>");
    put_key(&c->page, r->bucket, AS_XML);
    put(&c->page, "</Bucket><Key>");
    put_key(&c->page, r->key, AS_XML);
    putf(&c->page, "</Key><UploadId>%.60s</UploadId><PartNumberMarker>%lld</PartNumberMarker><MaxParts>%lld</MaxParts>", id, after, limit);
    pthread_rwlock_rdlock(&memory);
    upload *u = open_upload(r, id);
    for (i64 n = after < 0 ? 1 : after + 1; u && n < u->parts_n; n++) {
        if (u->parts[n].size < 0) continue;
        if (shown == limit) { more = 1; break; }
        iso_time(u->begun_ms, time);
        putf(&c->page, "<Part><PartNumber>%lld</PartNumber><LastModified>%s</LastModified><ETag>&quot;%s&quot;</ETag><Size>%lld</Size></Part>", n, time, u->parts[n].etag, u->parts[n].size);
        shown++;
        last = n;
    }
    pthread_rwlock_unlock(&memory);
    if (!u) return refuse(c, "404 Not Found", "NoSuchUpload", 1);
    if (more) putf(&c->page, "<NextPartNumberMarker>%lld</NextPartNumberMarker>", last);
    putf(&c->page, "<IsTruncated>%s</IsTruncated></ListPartsResult>", more ? "true" : "false");
    return reply_page(c, XML);
}

typedef struct { const char *name; long id; i64 begun_ms; } open_one;
static int by_name_and_id(const void *a, const void *b) {
    const open_one *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order ? order : (x->id > y->id) - (x->id < y->id);
}

static int list_uploads(conn *c, const request *r) {
    char prefix[NAME_ROOM], marker[NAME_ROOM], id_marker[64], word[32], full[NAME_ROOM * 2], time[32];
    enum escape how = param(r->query, "encoding-type", word, sizeof word) && !strcmp(word, "url") ? AS_URL : AS_XML;
    i64 limit = param(r->query, "max-uploads", word, sizeof word) ? atoll(word) : PAGE_KEYS;
    if (limit < 1 || limit > PAGE_KEYS) limit = PAGE_KEYS;
    param(r->query, "prefix", prefix, sizeof prefix);
    param(r->query, "key-marker", marker, sizeof marker);
    long after_id = param(r->query, "upload-id-marker", id_marker, sizeof id_marker) && !strncmp(id_marker, "upload-", 7) ? atol(id_marker + 7) : 0;
    size_t bucket_n = strlen(r->bucket) + 1, full_n = (size_t)snprintf(full, sizeof full, "%s/%s", r->bucket, prefix), n = 0;
    c->page.n = 0;
    put(&c->page, DECLARATION "<ListMultipartUploadsResult" NAMESPACE "><Bucket>");
    put_key(&c->page, r->bucket, AS_XML);
    put(&c->page, "</Bucket><KeyMarker>");
    put_key(&c->page, marker, how);
    put(&c->page, "</KeyMarker>");
    if (how == AS_URL) put(&c->page, "<EncodingType>url</EncodingType>");
    pthread_rwlock_rdlock(&memory);
    open_one *all = malloc((size_t)(uploads_n + 1) * sizeof *all);
    for (long i = 0; all && i < uploads_n; i++)
        if (uploads[i].open && !strncmp(uploads[i].name, full, full_n)) all[n++] = (open_one){uploads[i].name, i + 1, uploads[i].begun_ms};
    if (all) qsort(all, n, sizeof *all, by_name_and_id);
    i64 shown = 0;
    const open_one *last = NULL;
    int more = 0;
    for (size_t i = 0; i < n; i++) {
        int order = strcmp(all[i].name + bucket_n, marker);
        if (*marker && (order < 0 || (order == 0 && all[i].id <= (after_id ? after_id : uploads_n)))) continue;
        if (shown == limit) { more = 1; break; }
        put(&c->page, "<Upload><Key>");
        put_key(&c->page, all[i].name + bucket_n, how);
        iso_time(all[i].begun_ms, time);
        putf(&c->page, "</Key><UploadId>upload-%ld</UploadId><StorageClass>STANDARD</StorageClass><Initiated>%s</Initiated></Upload>", all[i].id, time);
        last = all + i;
        shown++;
    }
    if (more && last) {
        put(&c->page, "<NextKeyMarker>");
        put_key(&c->page, last->name + bucket_n, how);
        putf(&c->page, "</NextKeyMarker><NextUploadIdMarker>upload-%ld</NextUploadIdMarker>", last->id);
    }
    pthread_rwlock_unlock(&memory);
    free(all);
    putf(&c->page, "<MaxUploads>%lld</MaxUploads><IsTruncated>%s</IsTruncated></ListMultipartUploadsResult>", limit, more ? "true" : "false");
    return reply_page(c, XML);
}

static int delete_objects(conn *c, const request *r, char *body) {
    char name[NAME_ROOM];
    int quiet = strstr(body, "<Quiet>true</Quiet>") != NULL;
    c->page.n = 0;
    put(&c->page, DECLARATION "<DeleteResult" NAMESPACE ">");
    for (char *key = body; (key = strstr(key, "<Key>"));) {
        char *end = strstr(key += 5, "</Key>");
        if (!end) break;
        *end = 0;
        xml_decode(key);
        if (snprintf(name, sizeof name, "%s/%s", r->bucket, key) < (int)sizeof name) {
            pthread_rwlock_wrlock(&memory);
            forget(name);
            pthread_rwlock_unlock(&memory);
        }
        if (!quiet) { put(&c->page, "<Deleted><Key>"); put_key(&c->page, key, AS_XML); put(&c->page, "</Key></Deleted>"); }
        key = end + 1;
    }
    put(&c->page, "</DeleteResult>");
    return reply_page(c, XML);
}

/* ---- one request --------------------------------------------------------------------------------------------- */

static int statistics(conn *c) {
    c->page.n = 0;
    put(&c->page, "{");
    for (int v = 0; v < V_N; v++) putf(&c->page, "\"%s\": %lld, ", verb_names[v], (i64)verb_count[v]);
    putf(&c->page, "\"bytes_in\": %lld, \"bytes_out\": %lld, \"connections\": %lld}\n", (i64)bytes_in, (i64)bytes_out, (i64)connections_made);
    return reply_page(c, "Content-Type: application/json\r\n");
}

static void wait_ms(int ms) {
    struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000L};
    if (ms > 0) while (nanosleep(&t, &t) && errno == EINTR) {}
}

static int count(enum verb v) { verb_count[v]++; return 0; }

/* Whole-bucket requests. */
static int answer_bucket(conn *c, const request *r, char *body) {
    const char *q = r->query;
    if (!strcmp(r->method, "HEAD")) { count(V_HEAD); return reply(c, "200 OK", "x-amz-bucket-region: us-east-1\r\n", "", 0); }
    if (!strcmp(r->method, "PUT")) { count(V_OTHER); return reply(c, "200 OK", "Location: /\r\n", "", 0); }
    if (!strcmp(r->method, "DELETE")) { count(V_OTHER); return reply(c, "204 No Content", "", "", 0); }
    if (!strcmp(r->method, "POST") && has(q, "delete")) { count(V_DELETES); return delete_objects(c, r, body); }
    if (strcmp(r->method, "GET")) return refuse(c, "405 Method Not Allowed", "MethodNotAllowed", 1);
    count(V_OTHER);
    if (!*r->bucket) return list_buckets(c);
    if (has(q, "location")) { const char x[] = DECLARATION "<LocationConstraint" NAMESPACE "/>"; return reply(c, "200 OK", XML, x, sizeof x - 1); }
    if (has(q, "versioning")) { const char x[] = DECLARATION "<VersioningConfiguration" NAMESPACE "/>"; return reply(c, "200 OK", XML, x, sizeof x - 1); }
    if (has(q, "uploads")) return list_uploads(c, r);
    if (has(q, "object-lock")) return refuse(c, "404 Not Found", "ObjectLockConfigurationNotFoundError", 1);
    if (has(q, "policy")) return refuse(c, "404 Not Found", "NoSuchBucketPolicy", 1);
    if (has(q, "acl") || has(q, "encryption") || has(q, "lifecycle") || has(q, "tagging") || has(q, "versions") || has(q, "cors"))
        return refuse(c, "501 Not Implemented", "NotImplemented", 1);
    verb_count[V_OTHER]--;
    count(V_LIST);
    return list_objects(c, r);
}

static int answer_object(conn *c, const request *r, char *body) {
    char id[64];
    const char *q = r->query;
    int named = param(q, "uploadId", id, sizeof id);
    if (!strcmp(r->method, "PUT") && has(q, "tagging")) { count(V_OTHER); return reply(c, "200 OK", "", "", 0); }
    if (!strcmp(r->method, "PUT")) return put_object(c, r);
    if (!strcmp(r->method, "GET") && named) { count(V_OTHER); return list_parts(c, r, id); }
    if (!strcmp(r->method, "GET") && (has(q, "tagging") || has(q, "acl") || has(q, "attributes") || has(q, "retention"))) {
        count(V_OTHER);
        return refuse(c, "501 Not Implemented", "NotImplemented", 1);
    }
    if (!strcmp(r->method, "GET")) { count(V_GET); return get_object(c, r, 1); }
    if (!strcmp(r->method, "HEAD")) { count(V_HEAD); return get_object(c, r, 0); }
    if (!strcmp(r->method, "DELETE") && named) { count(V_ABORT); return abort_upload(c, r, id); }
    if (!strcmp(r->method, "DELETE")) {
        count(V_DELETE);
        pthread_rwlock_wrlock(&memory);
        forget(r->name);
        pthread_rwlock_unlock(&memory);
        return reply(c, "204 No Content", "", "", 0);
    }
    if (!strcmp(r->method, "POST") && has(q, "uploads")) { count(V_CREATE); return create_upload(c, r); }
    if (!strcmp(r->method, "POST") && named) { count(V_COMPLETE); return complete_upload(c, r, id, body); }
    return refuse(c, "405 Method Not Allowed", "MethodNotAllowed", 1);
}

/* Splits the request line; 0 where it is not one this server can take. */
static int parse(char *head, request *r) {
    char *target = strchr(head, ' ');
    size_t method_n = target ? (size_t)(target - head) : 0;
    if (!method_n || method_n >= sizeof r->method) return 0;
    memcpy(r->method, head, method_n);
    r->method[method_n] = 0;
    target++;
    char *end = target + strcspn(target, " \r\n");
    if (*end != ' ') return 0;
    r->head = end + 1; /* header() looks from the first line's end */
    *end = 0;
    if (!strncmp(target, "http://", 7)) target = strchr(target + 7, '/') ? strchr(target + 7, '/') : end;
    char *query = strchr(target, '?');
    r->query = query ? query + 1 : "";
    size_t n = query ? (size_t)(query - target) : strlen(target);
    if (n && *target == '/') { target++; n--; }
    if (percent_decode(target, n, 0, r->name, sizeof r->name)) return 0;
    size_t bucket_n = strcspn(r->name, "/");
    if (bucket_n >= sizeof r->bucket) return 0;
    memcpy(r->bucket, r->name, bucket_n);
    r->bucket[bucket_n] = 0;
    r->key = r->name + bucket_n + (r->name[bucket_n] == '/');
    return 1;
}

static int answer(conn *c, const request *r, char *body) {
    if (!strcmp(r->bucket, "-")) return statistics(c);
    int listing = !*r->key && !strcmp(r->method, "GET");
    wait_ms(listing && opt.list_latency_ms >= 0 ? opt.list_latency_ms : opt.latency_ms);
    if (opt.slowdown_permille && rand_r(&c->seed) % 1000 < opt.slowdown_permille)
        return refuse(c, "503 Slow Down", "SlowDown", strcmp(r->method, "HEAD") != 0);
    return *r->key ? answer_object(c, r, body) : answer_bucket(c, r, body);
}

static void *serve(void *arg) {
    conn *c = calloc(1, sizeof *c);
    request *r = malloc(sizeof *r);
    if (!c || !r || !(c->in = malloc(HEAD_ROOM + 1))) abort();
    c->fd = (int)(intptr_t)arg;
    c->seed = (unsigned)c->fd * 2654435761u + 1;
    connections_made++;
    int alive = 1;
    if (tls_ctx) {
        c->session = tls.session_new(tls_ctx);
        alive = c->session && tls.set_fd(c->session, c->fd) == 1 && tls.handshake(c->session) == 1;
    }
    while (alive) {
        char *end = c->have ? memmem(c->in, c->have, "\r\n\r\n", 4) : NULL;
        if (!end) {
            ssize_t got = c->have < HEAD_ROOM ? conn_recv(c, c->in + c->have, HEAD_ROOM - c->have) : 0;
            if (got <= 0) break;
            c->have += (size_t)got;
            continue;
        }
        end[2] = 0; /* keeps the last header's own line end */
        size_t head_n = (size_t)(end - c->in) + 4, came = c->have - head_n;
        if (!parse(c->in, r)) { refuse(c, "400 Bad Request", "InvalidURI", 1); break; }
        const char *length = header(r->head, "content-length");
        r->length = length ? atoll(length) : 0;
        if (header(r->head, "transfer-encoding")) { refuse(c, "411 Length Required", "MissingContentLength", 1); break; }
        if (header(r->head, "expect") && conn_send(c, "HTTP/1.1 100 Continue\r\n\r\n", 25, 0)) break;
        size_t mine = (i64)came < r->length ? came : (size_t)r->length;
        c->body.n = 0;
        put_n(&c->body, "", 0);
        if (!strcmp(r->method, "POST")) {
            if (r->length > POST_ROOM) { refuse(c, "400 Bad Request", "MaxMessageLengthExceeded", 1); break; }
            put_n(&c->body, c->in + head_n, mine);
            need(&c->body, (size_t)r->length);
            while (alive && (i64)c->body.n < r->length) {
                ssize_t got = conn_recv(c, c->body.at + c->body.n, (size_t)r->length - c->body.n);
                if (got <= 0) alive = 0; else c->body.n += (size_t)got;
            }
            c->body.at[c->body.n] = 0;
        } else if (discard(c, r->length - (i64)mine)) break;
        const char *connection = header(r->head, "connection");
        int last = connection && !strncasecmp(connection, "close", 5);
        if (!alive || answer(c, r, c->body.at) || last) break;
        size_t used = head_n + mine;
        memmove(c->in, c->in + used, c->have - used);
        c->have -= used;
    }
    if (c->session) { tls.shutdown(c->session); tls.session_free(c->session); }
    close(c->fd);
    free(c->in); free(c->out.at); free(c->page.at); free(c->body.at);
    free(c);
    free(r);
    return NULL;
}

/* ---- start --------------------------------------------------------------------------------------------------- */

static void *exit_with_stdin(void *unused) {
    char ignored[64];
    ssize_t n;
    (void)unused;
    do n = read(0, ignored, sizeof ignored); while (n > 0 || (n < 0 && errno == EINTR));
    _exit(0);
}

static int usage(const char *wrong) { fprintf(stderr, "nullserver: not an option: %s (the head of nullserver.c lists them)\n", wrong); return 2; }

int main(int argc, char **argv) {
    int watch = 0, one = 1;
    struct { const char *name; int *to; } ints[] = {{"port", &opt.port}, {"latency_ms", &opt.latency_ms}, {"list_latency_ms", &opt.list_latency_ms},
                                                    {"slowdown_permille", &opt.slowdown_permille}, {"get_checksum", &opt.get_checksum}};
    for (int i = 1; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        if (!value) return usage(argv[i]);
        *value++ = 0;
        int known = 1;
        if (!strcmp(argv[i], "size")) opt.size = atoll(value);
        else if (!strcmp(argv[i], "keys")) opt.keys = atoll(value);
        else if (!strcmp(argv[i], "layout")) opt.layout = value;
        else if (!strcmp(argv[i], "mtime")) opt.mtime = value;
        else if (!strcmp(argv[i], "tls")) opt.tls = value;
        else if (!strcmp(argv[i], "stdin")) watch = !strcmp(value, "watch");
        else {
            known = 0;
            for (size_t k = 0; k < sizeof ints / sizeof *ints; k++) if (!strcmp(argv[i], ints[k].name)) { *ints[k].to = atoi(value); known = 1; }
        }
        if (!known) return usage(argv[i]);
    }
    if (strcmp(opt.layout, "tree") && strcmp(opt.layout, "flat") && strcmp(opt.layout, "skewed")) return usage(opt.layout);
    struct tm g = {0};
    if (!strptime(opt.mtime, "%Y-%m-%dT%H:%M:%S", &g)) return usage(opt.mtime);
    http_time(timegm(&g), synthetic_http_time, sizeof synthetic_http_time);
    base64_of_u64(crc64nvme_of_zeros((u64)opt.size), synthetic_crc);
    signal(SIGPIPE, SIG_IGN);
    first = calloc(1, sizeof *first + TOWER * sizeof(object *));
    zeros_fd = memfd_create("zeros", MFD_CLOEXEC);
    if (!first || zeros_fd < 0 || write(zeros_fd, zeros, ZEROS) != ZEROS) { perror("nullserver"); return 1; }
    if (opt.tls) {
        char *key = strchr(opt.tls, ',');
        if (!key) return usage(opt.tls);
        *key++ = 0;
        if (!(tls_ctx = tls_context(1, opt.tls, key))) return 1;
    }
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((unsigned short)opt.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t at_n = sizeof at;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (void *)&at, sizeof at) || listen(listener, 4096) || getsockname(listener, (void *)&at, &at_n)) { perror("nullserver"); return 1; }
    opt.port = ntohs(at.sin_port);
    printf("PORT %d\n", opt.port);
    fflush(stdout);
    pthread_attr_t small_stack;
    pthread_attr_init(&small_stack);
    pthread_attr_setstacksize(&small_stack, 512 << 10);
    pthread_attr_setdetachstate(&small_stack, PTHREAD_CREATE_DETACHED);
    pthread_t t;
    if (watch && pthread_create(&t, &small_stack, exit_with_stdin, NULL)) { perror("nullserver"); return 1; }
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0) continue;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (pthread_create(&t, &small_stack, serve, (void *)(intptr_t)fd)) close(fd);
    }
}
