/* floor: the least that any client must do for a workload, as a floor to hold clients against.
 *
 *   cc -O2 -pthread -o floor floor.c -ldl
 *   ./floor put  PORT BUCKET/PREFIX FOLDER [name=value ...] < names    each file of the list becomes an object
 *   ./floor get  PORT BUCKET/PREFIX FOLDER [name=value ...] < names    each object of the list becomes a file
 *   ./floor list PORT BUCKET/PREFIX FOLDER [name=value ...]            walk and stat the folder, fetch the listing
 *   ./floor read 0    -             FOLDER < names                     read the files (warms the page cache)
 *
 *   connections=8   threads, each with one connection
 *   size=N          of each object (get only)
 *   piece=67108864  larger files go in pieces of this size: put as objects NAME.NUMBER, get by ranges (these only where
 *                   there are fewer files than connections: two writers of one file wait for each other)
 *   sync=0          1: a get ends with syncfs of the folder
 *   tls=0           1: over TLS, without looking at the certificate
 *
 * The names are paths below FOLDER and keys below PREFIX, a line each. Put opens, reads and sends with a ready-made head of
 * the length of a signed one; get receives, writes to a temporary name and renames, and makes folders first. There is no
 * signing, checksum, listing, parsing, retry or proof here; an answer that is not 2xx ends the program.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include "tls.h"

typedef long long i64;
enum { BLOCK = 256 << 10, HEAD = 8 << 10, CONNECTIONS_MAX = 512 };

typedef struct { char *name; i64 size; _Atomic int pieces_left; int fd; } item;
typedef struct { item *of; i64 from, n; int number; } task;

static int port, connections = 8, sync_at_end, use_tls;
static i64 size = -1, piece = 64 << 20;
static char bucket_and_prefix[1024];
static int folder_fd;
static item *items;
static task *tasks;
static long items_n, tasks_n;
static _Atomic long next_task;
static void *context;

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...) {
    int error = errno;
    va_list args;
    va_start(args, format);
    fprintf(stderr, "floor: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, ": %s\n", strerror(error));
    exit(1);
}

/* ---- a connection -------------------------------------------------------------------------------------------- */

typedef struct { int fd; void *session; char *buffer; size_t have; } conn;

static void conn_open(conn *c) {
    int one = 1;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(c->fd, (void *)&to, sizeof to)) die("connect to port %d", port);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    c->session = NULL;
    c->buffer = malloc(BLOCK + 1);
    if (!c->buffer) die("memory");
    if (!use_tls) return;
    c->session = tls.session_new(context);
    if (!c->session || tls.set_fd(c->session, c->fd) != 1 || tls.handshake(c->session) != 1) die("TLS handshake");
}

static void send_all(conn *c, const char *from, size_t n, int more) {
    while (n) {
        ssize_t sent = c->session ? tls.write(c->session, from, (int)n) : send(c->fd, from, n, MSG_NOSIGNAL | (more ? MSG_MORE : 0));
        if (sent <= 0) die("send");
        from += sent;
        n -= (size_t)sent;
    }
}

static size_t receive(conn *c, char *to, size_t room, int whole) {
    ssize_t n = c->session ? tls.read(c->session, to, (int)room) : recv(c->fd, to, room, whole ? MSG_WAITALL : 0);
    if (n <= 0) die("receive");
    return (size_t)n;
}

/* Receives a head, and returns where in the buffer the body begins; c->have is what came in all. */
static size_t receive_head(conn *c, i64 *length) {
    char *end = NULL;
    for (c->have = 0; !end;) {
        if (c->have >= HEAD) die("an answer without an end to its head");
        c->have += receive(c, c->buffer + c->have, BLOCK - c->have, 0);
        c->buffer[c->have] = 0;
        end = memmem(c->buffer, c->have, "\r\n\r\n", 4);
    }
    if (strncmp(c->buffer, "HTTP/1.1 2", 10)) die("answered %.60s", c->buffer);
    *end = 0;
    const char *l = strcasestr(c->buffer, "\r\nContent-Length:");
    *length = l ? atoll(l + 17) : 0;
    *end = '\r';
    return (size_t)(end - c->buffer) + 4;
}

static int request_head(char *out, const char *method, const task *t, i64 body, const char *more) {
    char number[16] = "";
    if (t->number && *method == 'P') snprintf(number, sizeof number, ".%d", t->number);
    return snprintf(out, HEAD,
                    "%s /%s%s%s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Length: %lld\r\n%sx-amz-content-sha256: UNSIGNED-PAYLOAD\r\n"
                    "x-amz-date: 20260101T000000Z\r\nAuthorization: AWS4-HMAC-SHA256 Credential=floor/20260101/us-east-1/s3/aws4_request, "
                    "SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature=%064d\r\n\r\n",
                    method, bucket_and_prefix, t->of->name, number, port, body, more, 0);
}

/* ---- put, get, read ------------------------------------------------------------------------------------------ */

static void put(conn *c, task *t) {
    char head[HEAD];
    int file = openat(folder_fd, t->of->name, O_RDONLY);
    if (file < 0) die("%s", t->of->name);
    size_t head_n = (size_t)request_head(head, "PUT", t, t->n, "x-amz-checksum-crc64nvme: AAAAAAAAAAA=\r\n");
    i64 done = 0;
    do {
        ssize_t n = pread(file, c->buffer, BLOCK, t->from + done);
        if (n < 0 || (!n && done < t->n)) die("%s", t->of->name);
        if (n > t->n - done) n = (ssize_t)(t->n - done);
        if (!done && !c->session) { /* head and first bytes in one call */
            struct iovec both[2] = {{head, head_n}, {c->buffer, (size_t)n}};
            ssize_t sent = writev(c->fd, both, 2);
            if (sent < (ssize_t)head_n) die("send");
            send_all(c, c->buffer + (sent - (ssize_t)head_n), (size_t)(n - (sent - (ssize_t)head_n)), 0);
        } else if (!done && head_n + (size_t)n <= BLOCK) { /* and in one record */
            memmove(c->buffer + head_n, c->buffer, (size_t)n);
            memcpy(c->buffer, head, head_n);
            send_all(c, c->buffer, head_n + (size_t)n, 0);
        } else {
            if (!done) send_all(c, head, head_n, 1);
            send_all(c, c->buffer, (size_t)n, 0);
        }
        done += n;
    } while (done < t->n);
    close(file);
    i64 ignored;
    receive_head(c, &ignored);
}

static void get(conn *c, task *t) {
    char head[HEAD], range[80] = "", temporary[4096];
    if (t->number) snprintf(range, sizeof range, "Range: bytes=%lld-%lld\r\n", t->from, t->from + t->n - 1);
    send_all(c, head, (size_t)request_head(head, "GET", t, 0, range), 0);
    i64 length;
    size_t at = receive_head(c, &length);
    if (length != t->n) { errno = 0; die("%s: %lld bytes, not %lld", t->of->name, length, t->n); }
    snprintf(temporary, sizeof temporary, "%s.part", t->of->name);
    int file = t->of->fd >= 0 ? t->of->fd : openat(folder_fd, temporary, O_WRONLY | O_CREAT | O_EXCL, 0644);
    if (file < 0) die("%s", temporary);
    i64 done = 0;
    for (size_t n = c->have - at;;) {
        if (n && pwrite(file, c->buffer + at, n, t->from + done) != (ssize_t)n) die("%s", temporary);
        done += (i64)n;
        if (done == length) break;
        at = 0;
        n = receive(c, c->buffer, length - done < BLOCK ? (size_t)(length - done) : BLOCK, 1);
    }
    if (--t->of->pieces_left) return;
    close(file);
    if (renameat(folder_fd, temporary, folder_fd, t->of->name)) die("%s", t->of->name);
}

static void read_only(conn *c, task *t) {
    int file = openat(folder_fd, t->of->name, O_RDONLY);
    if (file < 0) die("%s", t->of->name);
    for (i64 done = 0; done < t->n;) {
        ssize_t n = pread(file, c->buffer, t->n - done < BLOCK ? (size_t)(t->n - done) : BLOCK, t->from + done);
        if (n <= 0) die("%s", t->of->name);
        done += n;
    }
    close(file);
}

static void (*work)(conn *, task *);

static void *connection(void *unused) {
    conn c = {.fd = -1};
    (void)unused;
    if (work == read_only) c.buffer = malloc(BLOCK); else conn_open(&c);
    if (!c.buffer) die("memory");
    for (long i; (i = next_task++) < tasks_n;) work(&c, tasks + i);
    if (c.fd >= 0) close(c.fd);
    free(c.buffer);
    return NULL;
}

/* ---- list ---------------------------------------------------------------------------------------------------- */

static long walk(int parent, const char *name) {
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) die("%s", name);
    long found = 0;
    struct stat s;
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.' && (!e->d_name[1] || (e->d_name[1] == '.' && !e->d_name[2]))) continue;
        if (e->d_type == DT_DIR) found += walk(dirfd(d), e->d_name);
        else if (fstatat(dirfd(d), e->d_name, &s, AT_SYMLINK_NOFOLLOW)) die("%s", e->d_name);
        else found++;
    }
    closedir(d);
    return found;
}

static void *walk_all(void *found) { *(long *)found = walk(folder_fd, "."); return NULL; }

/* Fetches the whole listing, finding only the token of the next page. */
static long fetch_listing(void) {
    conn c;
    char head[HEAD], token[4096] = "", *prefix = strchr(bucket_and_prefix, '/');
    long shown = 0;
    size_t room = 4 << 20;
    char *page = malloc(room + 1);
    if (!page) die("memory");
    conn_open(&c);
    do {
        int n = snprintf(head, sizeof head, "GET /%.*s?list-type=2&encoding-type=url&prefix=%s%s%s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n",
                         (int)(prefix - bucket_and_prefix), bucket_and_prefix, prefix + 1, *token ? "&continuation-token=" : "", token, port);
        send_all(&c, head, (size_t)n, 0);
        i64 length;
        size_t at = receive_head(&c, &length), have = c.have - at;
        if ((size_t)length > room) die("a page of %lld bytes", length);
        memcpy(page, c.buffer + at, have);
        while (have < (size_t)length) have += receive(&c, page + have, (size_t)length - have, 1);
        page[length] = 0;
        char *tail = page + (length > 8192 ? length - 8192 : 0), *count = strstr(tail, "<KeyCount>"), *next = strstr(tail, "<NextContinuationToken>");
        if (!count) die("a page without KeyCount");
        shown += atol(count + 10);
        *token = 0;
        if (next) { next += 23; snprintf(token, sizeof token, "%.*s", (int)strcspn(next, "<"), next); }
    } while (*token);
    free(page);
    return shown;
}

static void list(void) {
    pthread_t t;
    long files = 0;
    if (pthread_create(&t, NULL, walk_all, &files)) die("thread");
    long objects = fetch_listing();
    pthread_join(t, NULL);
    printf("%ld files, %ld objects\n", files, objects);
    if (files != objects) { errno = 0; die("the counts differ"); }
}

/* ---- start --------------------------------------------------------------------------------------------------- */

static void make_parents(char *name) {
    static char made[4096];
    char *slash = strrchr(name, '/');
    if (!slash || (!strncmp(made, name, (size_t)(slash - name)) && !made[slash - name])) return;
    snprintf(made, sizeof made, "%.*s", (int)(slash - name), name);
    for (char *s = made; (s = strchr(s, '/')); *s++ = '/') { *s = 0; if (mkdirat(folder_fd, made, 0755) && errno != EEXIST) die("%s", made); }
    if (mkdirat(folder_fd, made, 0755) && errno != EEXIST) die("%s", made);
}

/* Turns the list on stdin into items, and these into tasks of at most a piece. */
static void read_names(void) {
    char *line = NULL;
    size_t line_room = 0;
    long items_room = 0, tasks_room = 0;
    for (ssize_t n; (n = getline(&line, &line_room, stdin)) > 0;) {
        if (line[n - 1] == '\n') line[n - 1] = 0;
        if (items_n == items_room) items = realloc(items, (size_t)(items_room = items_room ? items_room * 2 : 1024) * sizeof *items);
        if (!items) die("memory");
        items[items_n] = (item){.name = strdup(line), .size = size, .fd = -1};
        struct stat s;
        if (work == get) make_parents(line);
        else if (size < 0) { if (fstatat(folder_fd, line, &s, 0)) die("%s", line); else items[items_n].size = s.st_size; }
        items_n++;
    }
    if (work == get && items_n >= connections) piece = size > 0 ? size : 1;
    for (item *i = items; i < items + items_n; i++) {
        i64 from = 0;
        int number = i->size > piece;
        do {
            if (tasks_n == tasks_room) tasks = realloc(tasks, (size_t)(tasks_room = tasks_room ? tasks_room * 2 : 1024) * sizeof *tasks);
            if (!tasks) die("memory");
            i64 n = i->size - from < piece ? i->size - from : piece;
            tasks[tasks_n++] = (task){i, from, n, number};
            from += n;
            i->pieces_left++;
            number += number > 0;
        } while (from < i->size);
        if (work == get && i->pieces_left > 1) {
            char temporary[4096];
            snprintf(temporary, sizeof temporary, "%s.part", i->name);
            if ((i->fd = openat(folder_fd, temporary, O_WRONLY | O_CREAT | O_EXCL, 0644)) < 0) die("%s", temporary);
        }
    }
}

int main(int argc, char **argv) {
    if (argc < 5) { fprintf(stderr, "usage: floor put|get|list|read PORT BUCKET/PREFIX FOLDER [name=value ...]; see the head of floor.c\n"); return 2; }
    int listing = !strcmp(argv[1], "list");
    work = !strcmp(argv[1], "put") ? put : !strcmp(argv[1], "get") ? get : !strcmp(argv[1], "read") ? read_only : NULL;
    port = atoi(argv[2]);
    size_t n = strlen(argv[3]);
    snprintf(bucket_and_prefix, sizeof bucket_and_prefix, "%s%s", argv[3], n && argv[3][n - 1] != '/' ? "/" : "");
    if ((folder_fd = open(argv[4], O_RDONLY | O_DIRECTORY)) < 0) die("%s", argv[4]);
    for (int i = 5; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        if (!value) { fprintf(stderr, "floor: not name=value: %s\n", argv[i]); return 2; }
        *value++ = 0;
        if (!strcmp(argv[i], "connections")) connections = atoi(value);
        else if (!strcmp(argv[i], "size")) size = atoll(value);
        else if (!strcmp(argv[i], "piece")) piece = atoll(value);
        else if (!strcmp(argv[i], "sync")) sync_at_end = atoi(value);
        else if (!strcmp(argv[i], "tls")) use_tls = atoi(value);
        else { fprintf(stderr, "floor: unknown option %s\n", argv[i]); return 2; }
    }
    if ((!work && !listing) || connections < 1 || connections > CONNECTIONS_MAX || piece < 1 || (work == get && size < 0)) {
        fprintf(stderr, "floor: %s: a mode or a number that does not fit; see the head of floor.c\n", argv[1]);
        return 2;
    }
    if (use_tls && !(context = tls_context(0, NULL, NULL))) return 1;
    if (listing) { list(); return 0; }
    read_names();
    pthread_t threads[CONNECTIONS_MAX];
    if (connections > tasks_n) connections = tasks_n ? (int)tasks_n : 1;
    for (int i = 0; i < connections; i++) if (pthread_create(threads + i, NULL, connection, NULL)) die("thread");
    for (int i = 0; i < connections; i++) pthread_join(threads[i], NULL);
    if (sync_at_end && syncfs(folder_fd)) die("syncfs");
    return 0;
}
