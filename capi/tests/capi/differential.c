/* Prints what a libnanomsg does, one fact a line: `key = value`. tests/differential.rs compiles it, runs it with
 * nanomsg's library and with ours, and compares.
 *
 * Usage: differential DIRECTORY: a directory for ipc files. */
#include "ports.h"

#include <nanomsg/bus.h>
#include <nanomsg/inproc.h>
#include <nanomsg/ipc.h>
#include <nanomsg/nn.h>
#include <nanomsg/pair.h>
#include <nanomsg/pipeline.h>
#include <nanomsg/pubsub.h>
#include <nanomsg/reqrep.h>
#include <nanomsg/survey.h>
#include <nanomsg/tcp.h>
#include <nanomsg/ws.h>

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *directory;
static int port; /* of the last join over tcp */
static int serial;

static const char *error_name (int error)
{
    static char number[32];
#define NAME(e) case e: return #e;
    switch (error) {
        NAME (EAGAIN) NAME (EBADF) NAME (EINVAL) NAME (EFAULT) NAME (ETIMEDOUT) NAME (ENOTSUP) NAME (EFSM)
        NAME (ETERM) NAME (EMSGSIZE) NAME (ENOPROTOOPT) NAME (EINTR) NAME (EPROTONOSUPPORT) NAME (ENAMETOOLONG)
        NAME (ENODEV) NAME (EADDRINUSE) NAME (EADDRNOTAVAIL) NAME (EAFNOSUPPORT) NAME (EMFILE) NAME (EACCES)
        NAME (ENOENT) NAME (ENOTSOCK) NAME (ECONNRESET) NAME (ENOMEM) NAME (EPROTO) NAME (EISDIR) NAME (ENOTDIR)
    }
    snprintf (number, sizeof number, "%d", error);
    return number;
}

static void fact (const char *value, const char *format, ...)
{
    va_list arguments;
    va_start (arguments, format);
    vprintf (format, arguments);
    va_end (arguments);
    printf (" = %s\n", value);
}

/* What a call has returned, and its error if it has failed. */
static const char *outcome (long returned)
{
    static char text[64];
    if (returned >= 0)
        snprintf (text, sizeof text, "%ld", returned);
    else
        snprintf (text, sizeof text, "%s", error_name (nn_errno ()));
    return text;
}

static const char *passed (long returned)
{
    return returned >= 0 ? "ok" : outcome (returned);
}

static void pause_for (int milliseconds)
{
    struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
    nanosleep (&time, NULL);
}

static int set_int (int s, int level, int option, int value)
{
    return nn_setsockopt (s, level, option, &value, sizeof value);
}

struct kind {
    const char *name;
    int protocol;
    int partner;
};

static const struct kind kinds[] = {
    {"pair", NN_PAIR, NN_PAIR}, {"pub", NN_PUB, NN_SUB}, {"sub", NN_SUB, NN_PUB}, {"req", NN_REQ, NN_REP},
    {"rep", NN_REP, NN_REQ}, {"push", NN_PUSH, NN_PULL}, {"pull", NN_PULL, NN_PUSH},
    {"surveyor", NN_SURVEYOR, NN_RESPONDENT}, {"respondent", NN_RESPONDENT, NN_SURVEYOR},
    {"bus", NN_BUS, NN_BUS},
};
#define KINDS (int) (sizeof kinds / sizeof *kinds)

static int open_socket (int domain, int protocol)
{
    int s = nn_socket (domain, protocol);
    if (s < 0) {
        fprintf (stderr, "nn_socket: %s\n", nn_strerror (nn_errno ()));
        exit (2);
    }
    if (protocol == NN_SUB)
        nn_setsockopt (s, NN_SUB, NN_SUB_SUBSCRIBE, "", 0);
    set_int (s, NN_SOL_SOCKET, NN_RCVTIMEO, 5000);
    set_int (s, NN_SOL_SOCKET, NN_SNDTIMEO, 5000);
    return s;
}

/* Waits until a socket has so many connections. */
static void await (int s, unsigned connections)
{
    for (int i = 0; i < 3000 && nn_get_statistic (s, NN_STAT_CURRENT_CONNECTIONS) != connections; i++)
        pause_for (1);
}

static void join (int a, int b, const char *scheme)
{
    char url[160];
    if (!strcmp (scheme, "tcp"))
        snprintf (url, sizeof url, "tcp://127.0.0.1:%d", port = free_port ());
    else if (!strcmp (scheme, "ipc"))
        snprintf (url, sizeof url, "ipc://%s/%d", directory, serial++);
    else
        snprintf (url, sizeof url, "inproc://join-%d", serial++);
    if (nn_bind (a, url) < 0 || nn_connect (b, url) < 0) {
        fprintf (stderr, "%s: %s\n", url, nn_strerror (nn_errno ()));
        exit (2);
    }
    await (a, 1);
    await (b, 1);
    pause_for (20); /* nanomsg counts a connection before its socket uses it */
}

/* Which events a socket is ready for, or the error of asking. */
static const char *state (int s)
{
    static char text[64];
    text[0] = 0;
    for (int event = NN_POLLIN; event <= NN_POLLOUT; event++) {
        struct nn_pollfd asked = {s, (short) event, 0};
        int ready = nn_poll (&asked, 1, 0);
        strcat (text, event == NN_POLLIN ? "in:" : " out:");
        strcat (text, ready < 0 ? error_name (nn_errno ()) : ready ? "yes" : "no");
    }
    return text;
}

static int try_send (int s)
{
    return nn_send (s, "hello", 5, NN_DONTWAIT);
}

static int try_recv (int s)
{
    char buffer[16];
    return nn_recv (s, buffer, sizeof buffer, NN_DONTWAIT);
}

/* Receives after waiting a little for what is on its way. */
static int recv_soon (int s)
{
    char buffer[16];
    return nn_recv (s, buffer, sizeof buffer, 0);
}

static void one_socket (const struct kind *kind, int domain)
{
    const char *raw = domain == AF_SP ? "" : "raw-";
    const char *n = kind->name;
    char buffer[16];
    int s = open_socket (domain, kind->protocol);
    void *message = NULL;
    struct nn_iovec part = {buffer, sizeof buffer};
    struct nn_msghdr header;

    fact (state (s), "%s%s fresh poll", raw, n);
    fact (outcome (try_send (s)), "%s%s fresh send", raw, n);
    fact (outcome (try_recv (s)), "%s%s fresh recv", raw, n);
    fact (state (s), "%s%s poll after send", raw, n);
    nn_close (s);

    s = open_socket (domain, kind->protocol);
    set_int (s, NN_SOL_SOCKET, NN_RCVTIMEO, 20);
    set_int (s, NN_SOL_SOCKET, NN_SNDTIMEO, 20);
    fact (outcome (recv_soon (s)), "%s%s timed recv", raw, n);
    fact (outcome (nn_send (s, "hello", 5, 0)), "%s%s timed send", raw, n);
    set_int (s, NN_SOL_SOCKET, NN_RCVTIMEO, 0);
    set_int (s, NN_SOL_SOCKET, NN_SNDTIMEO, 0);
    fact (outcome (nn_send (s, "hello", 5, 0)), "%s%s send with zero time", raw, n);
    fact (outcome (nn_send (s, NULL, 5, NN_DONTWAIT)), "%s%s send null", raw, n);
    fact (outcome (nn_send (s, NULL, 0, NN_DONTWAIT)), "%s%s send nothing", raw, n);
    fact (outcome (nn_send (s, &message, NN_MSG, NN_DONTWAIT)), "%s%s send null message", raw, n);
    fact (outcome (nn_recv (s, NULL, 5, NN_DONTWAIT)), "%s%s recv into null", raw, n);
    fact (outcome (nn_sendmsg (s, NULL, NN_DONTWAIT)), "%s%s sendmsg null", raw, n);
    fact (outcome (nn_recvmsg (s, NULL, NN_DONTWAIT)), "%s%s recvmsg null", raw, n);
    memset (&header, 0, sizeof header);
    header.msg_iov = &part;
    header.msg_iovlen = -1;
    fact (outcome (nn_sendmsg (s, &header, NN_DONTWAIT)), "%s%s sendmsg -1 parts", raw, n);
    fact (outcome (nn_recvmsg (s, &header, NN_DONTWAIT)), "%s%s recvmsg -1 parts", raw, n);
    nn_close (s);
    fact (outcome (try_send (s)), "%s%s closed send", raw, n);
    fact (outcome (try_recv (s)), "%s%s closed recv", raw, n);
    fact (state (s), "%s%s closed poll", raw, n);
    fact (outcome (nn_close (s)), "%s%s closed close", raw, n);
}

/* The same with a peer, cooked. */
static void with_peer (const struct kind *kind, const char *scheme)
{
    const char *n = kind->name;
    int s = open_socket (AF_SP, kind->protocol);
    int peer = open_socket (AF_SP, kind->partner);
    char *message;
    int received;

    join (s, peer, scheme);
    fact (state (s), "%s %s peer poll", n, scheme);
    fact (outcome (try_recv (s)), "%s %s peer recv", n, scheme);
    fact (outcome (try_send (s)), "%s %s peer send", n, scheme);
    fact (outcome (recv_soon (peer)), "%s %s peer gets", n, scheme);
    received = try_send (peer);
    fact (outcome (received), "%s %s peer answers", n, scheme);
    if (received >= 0) {
        struct nn_pollfd asked = {s, NN_POLLIN, 0};
        nn_poll (&asked, 1, 5000); /* what was sent arrives, soon or late */
    }
    fact (state (s), "%s %s poll with message", n, scheme);
    fact (outcome (try_recv (s)), "%s %s recv with message", n, scheme);
    fact (state (s), "%s %s poll after recv", n, scheme);
    fact (outcome (try_send (s)), "%s %s send after recv", n, scheme);
    fact (outcome (try_recv (s)), "%s %s recv again", n, scheme);
    fact (outcome (nn_send (s, "", 0, NN_DONTWAIT)), "%s %s send empty", n, scheme);

    message = nn_allocmsg (7, 0);
    memcpy (message, "message", 7);
    received = nn_send (s, &message, NN_MSG, NN_DONTWAIT);
    fact (outcome (received), "%s %s send message", n, scheme);
    if (received < 0)
        nn_freemsg (message);
    while (received >= 0 && (received = nn_recv (peer, &message, NN_MSG, 0)) >= 0 && received != 7)
        nn_freemsg (message);
    fact (outcome (received), "%s %s peer gets message", n, scheme);
    if (received >= 0)
        nn_freemsg (message);

    nn_close (peer);
    await (s, 0);
    pause_for (20);
    fact (state (s), "%s %s poll without peer", n, scheme);
    fact (outcome (try_send (s)), "%s %s send without peer", n, scheme);
    fact (outcome (try_recv (s)), "%s %s recv without peer", n, scheme);
    nn_close (s);
}

static void states (void)
{
    int s, peer;
    char buffer[4];

    /* REP: the request in hand. */
    s = open_socket (AF_SP, NN_REP);
    peer = open_socket (AF_SP, NN_REQ);
    join (s, peer, "inproc");
    fact (outcome (nn_send (peer, "question", 8, 0)), "req sends");
    fact (outcome (nn_recv (s, buffer, sizeof buffer, 0)), "rep receives into less room");
    fact (state (s), "rep poll with request");
    fact (outcome (try_recv (s)), "rep receives another");
    fact (outcome (try_send (s)), "rep answers after that");
    fact (outcome (try_send (s)), "rep answers twice");
    set_int (peer, NN_SOL_SOCKET, NN_RCVTIMEO, 1000); /* nanomsg's never comes */
    fact (outcome (recv_soon (peer)), "req gets reply");
    fact (outcome (try_recv (peer)), "req gets another");
    nn_close (peer);
    nn_close (s);

    s = open_socket (AF_SP, NN_REQ);
    fact (outcome (try_send (s)), "req without peer sends");
    fact (outcome (try_send (s)), "req without peer sends again");
    fact (outcome (try_recv (s)), "req waits for reply");
    fact (state (s), "req poll while asking");
    nn_close (s);

    /* SURVEYOR: the deadline. */
    s = open_socket (AF_SP, NN_SURVEYOR);
    peer = open_socket (AF_SP, NN_RESPONDENT);
    fact (passed (set_int (s, NN_SURVEYOR, NN_SURVEYOR_DEADLINE, 700)), "surveyor deadline");
    join (s, peer, "inproc");
    fact (outcome (try_send (s)), "surveyor asks");
    fact (state (s), "surveyor poll while asking");
    fact (outcome (recv_soon (peer)), "respondent gets survey");
    fact (outcome (try_send (peer)), "respondent answers");
    fact (outcome (try_send (peer)), "respondent answers twice");
    fact (outcome (recv_soon (s)), "surveyor gets answer");
    fact (outcome (recv_soon (s)), "surveyor at deadline");
    fact (outcome (recv_soon (s)), "surveyor after deadline");
    fact (outcome (try_recv (s)), "surveyor after deadline again");
    fact (state (s), "surveyor poll after deadline");
    fact (outcome (try_send (s)), "surveyor asks again");
    pause_for (1000);
    fact (state (s), "surveyor poll after unread deadline");
    fact (outcome (try_recv (s)), "surveyor recv after unread deadline");
    nn_close (peer);
    nn_close (s);

    /* SUB: topics. */
    s = open_socket (AF_SP, NN_PUB);
    peer = nn_socket (AF_SP, NN_SUB);
    set_int (peer, NN_SOL_SOCKET, NN_RCVTIMEO, 100);
    join (s, peer, "inproc");
    nn_send (s, "news", 4, 0);
    fact (outcome (recv_soon (peer)), "sub without topic");
    fact (passed (nn_setsockopt (peer, NN_SUB, NN_SUB_SUBSCRIBE, "news", 4)), "sub subscribes");
    fact (passed (nn_setsockopt (peer, NN_SUB, NN_SUB_SUBSCRIBE, "news", 4)), "sub subscribes twice");
    fact (passed (nn_setsockopt (peer, NN_SUB, NN_SUB_UNSUBSCRIBE, "news", 4)), "sub unsubscribes once");
    nn_send (s, "news", 4, 0);
    set_int (peer, NN_SOL_SOCKET, NN_RCVTIMEO, 5000);
    fact (outcome (recv_soon (peer)), "sub still subscribed");
    set_int (peer, NN_SOL_SOCKET, NN_RCVTIMEO, 100);
    nn_send (s, "other", 5, 0);
    fact (outcome (recv_soon (peer)), "sub other topic");
    fact (passed (nn_setsockopt (peer, NN_SUB, NN_SUB_UNSUBSCRIBE, "never", 5)), "sub unsubscribes unknown");
    fact (passed (nn_setsockopt (peer, NN_SUB, NN_SUB_UNSUBSCRIBE, "news", 4)), "sub unsubscribes");
    fact (passed (nn_setsockopt (peer, NN_SUB, 3, "x", 1)), "sub unknown option");
    fact (passed (nn_setsockopt (s, NN_SUB, NN_SUB_SUBSCRIBE, "x", 1)), "pub subscribes");
    nn_close (peer);
    nn_close (s);

    /* PAIR: a second peer. */
    s = open_socket (AF_SP, NN_PAIR);
    peer = open_socket (AF_SP, NN_PAIR);
    join (s, peer, "tcp");
    {
        int second = open_socket (AF_SP, NN_PAIR);
        char url[64];
        snprintf (url, sizeof url, "tcp://127.0.0.1:%d", port);
        nn_connect (second, url);
        pause_for (150);
        fact (outcome (try_send (second)), "pair second sends");
        fact (outcome (try_send (peer)), "pair first sends");
        fact (outcome (recv_soon (s)), "pair gets from first");
        nn_close (second);
    }
    nn_close (peer);
    nn_close (s);
}

/* Order and distribution. */
static void order (const char *scheme)
{
    int push = open_socket (AF_SP, NN_PUSH), pull = open_socket (AF_SP, NN_PULL);
    int in_order = 1;
    join (pull, push, scheme);
    for (int i = 0; i < 50; i++)
        nn_send (push, &i, sizeof i, 0);
    for (int i = 0; i < 50; i++) {
        int number = -1;
        nn_recv (pull, &number, sizeof number, 0);
        in_order &= number == i;
    }
    fact (in_order ? "yes" : "no", "%s order", scheme);
    fact (outcome (try_recv (pull)), "%s nothing more", scheme);
    nn_close (push);
    nn_close (pull);
}

static void distribution (void)
{
    int push = open_socket (AF_SP, NN_PUSH);
    int pulls[3], counts[3] = {0, 0, 0};
    char text[64];
    nn_bind (push, "inproc://distribution");
    for (int i = 0; i < 3; i++) {
        pulls[i] = open_socket (AF_SP, NN_PULL);
        nn_connect (pulls[i], "inproc://distribution");
    }
    await (push, 3);
    pause_for (20);
    for (int i = 0; i < 30; i++)
        nn_send (push, "job", 3, 0);
    for (int i = 0; i < 3; i++) {
        set_int (pulls[i], NN_SOL_SOCKET, NN_RCVTIMEO, 500);
        while (recv_soon (pulls[i]) >= 0)
            counts[i]++;
        nn_close (pulls[i]);
    }
    nn_close (push);
    snprintf (text, sizeof text, "%d %d %d", counts[0], counts[1], counts[2]);
    fact (text, "distribution");

    /* Priorities: the better one gets all while it has room. */
    push = open_socket (AF_SP, NN_PUSH);
    for (int i = 0; i < 2; i++) {
        char url[32];
        snprintf (url, sizeof url, "inproc://priority-%d", i);
        pulls[i] = open_socket (AF_SP, NN_PULL);
        nn_bind (pulls[i], url);
        set_int (push, NN_SOL_SOCKET, NN_SNDPRIO, 2 - i);
        nn_connect (push, url);
        counts[i] = 0;
    }
    await (push, 2);
    pause_for (20);
    for (int i = 0; i < 10; i++)
        nn_send (push, "job", 3, 0);
    for (int i = 0; i < 2; i++) {
        set_int (pulls[i], NN_SOL_SOCKET, NN_RCVTIMEO, 500);
        while (recv_soon (pulls[i]) >= 0)
            counts[i]++;
        nn_close (pulls[i]);
    }
    nn_close (push);
    snprintf (text, sizeof text, "%d %d", counts[0], counts[1]);
    fact (text, "priorities");
}

/* Messages in parts, and their headers. */
static void parts (void)
{
    int a = open_socket (AF_SP, NN_PAIR), b = open_socket (AF_SP, NN_PAIR);
    char one[] = "abc", two[] = "defgh", left[4], right[4], control[64];
    struct nn_iovec out[] = {{one, 3}, {two, 5}}, in[] = {{left, 4}, {right, 4}};
    struct nn_msghdr header;
    struct nn_cmsghdr *found;
    char text[128];
    void *allocated;

    join (a, b, "inproc");
    memset (&header, 0, sizeof header);
    header.msg_iov = out;
    header.msg_iovlen = 2;
    fact (outcome (nn_sendmsg (a, &header, 0)), "parts sent");
    header.msg_iov = in;
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    fact (outcome (nn_recvmsg (b, &header, 0)), "parts received");
    snprintf (text, sizeof text, "%.4s %.4s", left, right);
    fact (text, "parts");
    found = NN_CMSG_FIRSTHDR (&header);
    snprintf (text, sizeof text, "%zu level %d type %d, next %d", found->cmsg_len, found->cmsg_level, found->cmsg_type,
        NN_CMSG_NXTHDR (&header, found) != NULL);
    (void) text;
    fact (found->cmsg_level == PROTO_SP && found->cmsg_type == SP_HDR ? "yes" : "no", "parts control header");
    snprintf (text, sizeof text, "%zu and %zu", found->cmsg_len, *(size_t *) NN_CMSG_DATA (found));
    fact (text, "parts control header length");

    header.msg_iov = out;
    header.msg_control = NULL;
    header.msg_iovlen = 0;
    fact (outcome (nn_sendmsg (a, &header, 0)), "no parts sent");
    fact (outcome (recv_soon (b)), "no parts received");
    header.msg_iovlen = 2;
    out[0].iov_len = (size_t) -2;
    fact (outcome (nn_sendmsg (a, &header, 0)), "parts too long");
    out[0].iov_base = NULL;
    out[0].iov_len = 3;
    fact (outcome (nn_sendmsg (a, &header, 0)), "part at null");

    /* Headers in a message. */
    memset (&header, 0, sizeof header);
    nn_send (a, "hello", 5, 0);
    allocated = NULL;
    in[0].iov_base = &allocated;
    in[0].iov_len = NN_MSG;
    header.msg_iov = in;
    header.msg_iovlen = 1;
    void *headers = NULL;
    header.msg_control = &headers;
    header.msg_controllen = NN_MSG;
    fact (outcome (nn_recvmsg (b, &header, 0)), "allocated received");
    found = NN_CMSG_FIRSTHDR (&header);
    fact (found && found->cmsg_type == SP_HDR ? "yes" : "no", "allocated control header");
    fact (found && NN_CMSG_NXTHDR (&header, found) ? "yes" : "no", "allocated next control header");
    nn_freemsg (headers);
    nn_freemsg (allocated);
    nn_close (a);
    nn_close (b);

    fact (nn_allocmsg (8, 1) ? "made" : error_name (nn_errno ()), "allocate type 1");
    fact (nn_allocmsg ((size_t) -1, 0) ? "made" : error_name (nn_errno ()), "allocate too much");
    allocated = nn_allocmsg (3, 0);
    memcpy (allocated, "abc", 3);
    allocated = nn_reallocmsg (allocated, 100000);
    fact (memcmp (allocated, "abc", 3) ? "lost" : "kept", "reallocated");
    fact (nn_reallocmsg (allocated, (size_t) -1) ? "made" : error_name (nn_errno ()), "reallocate too much");
    fact (passed (nn_freemsg (allocated)), "freed");
}

/* A request through a raw REP, by its header. */
static void raw_headers (void)
{
    int req = open_socket (AF_SP, NN_REQ), rep = open_socket (AF_SP_RAW, NN_REP);
    char body[16], control[128];
    struct nn_iovec part = {body, sizeof body};
    struct nn_msghdr header;
    struct nn_cmsghdr *found;
    char text[64];

    join (rep, req, "inproc");
    nn_send (req, "question", 8, 0);
    memset (&header, 0, sizeof header);
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    fact (outcome (nn_recvmsg (rep, &header, 0)), "raw rep receives");
    found = NN_CMSG_FIRSTHDR (&header);
    snprintf (text, sizeof text, "%zu, whole %zu", *(size_t *) NN_CMSG_DATA (found), found->cmsg_len);
    fact (text, "raw rep header length");
    fact (NN_CMSG_DATA (found)[sizeof (size_t) + 4] & 0x80 ? "yes" : "no", "raw rep header ends with id");
    header.msg_controllen = found->cmsg_len;
    part.iov_len = 6;
    memcpy (body, "answer", 6);
    fact (outcome (nn_sendmsg (rep, &header, 0)), "raw rep answers");
    fact (outcome (recv_soon (req)), "req gets raw answer");
    fact (outcome (try_send (rep)), "raw rep sends without header");
    header.msg_controllen = 8;
    fact (outcome (nn_sendmsg (rep, &header, NN_DONTWAIT)), "raw rep sends short control");
    nn_close (req);
    nn_close (rep);
}

static int device_left, device_right;

static void *run_device (void *unused)
{
    (void) unused;
    nn_device (device_left, device_right);
    return NULL;
}

static void devices (void)
{
    pthread_t thread;
    int left, right, s, peer;
    char url[64];

    fact (outcome (nn_device (-1, -1)), "device without sockets");
    s = open_socket (AF_SP, NN_PAIR);
    fact (outcome (nn_device (s, -1)), "device with cooked socket");
    left = open_socket (AF_SP_RAW, NN_PAIR);
    right = open_socket (AF_SP_RAW, NN_BUS);
    fact (outcome (nn_device (left, right)), "device of two protocols");
    fact (outcome (nn_device (left, s)), "device raw and cooked");
    nn_close (s);
    nn_close (right);
    right = open_socket (AF_SP_RAW, NN_PUSH);
    s = open_socket (AF_SP_RAW, NN_PUSH);
    fact (outcome (nn_device (right, s)), "device of two pushes");
    fact (outcome (nn_device (s, -1)), "device of one push");
    nn_close (s);
    nn_close (right);
    fact (outcome (nn_device (left, 12345)), "device with bad socket");
    nn_close (left);

    /* REQ - device - REP. */
    device_left = left = open_socket (AF_SP_RAW, NN_REP);
    device_right = right = open_socket (AF_SP_RAW, NN_REQ);
    nn_bind (left, "inproc://device-left");
    nn_bind (right, "inproc://device-right");
    pthread_create (&thread, NULL, run_device, NULL);
    s = open_socket (AF_SP, NN_REQ);
    peer = open_socket (AF_SP, NN_REP);
    nn_connect (s, "inproc://device-left");
    nn_connect (peer, "inproc://device-right");
    fact (outcome (nn_send (s, "question", 8, 0)), "through device");
    fact (outcome (recv_soon (peer)), "out of device");
    fact (outcome (nn_send (peer, "reply!", 6, 0)), "back through device");
    fact (outcome (recv_soon (s)), "back out of device");
    nn_close (s);
    nn_close (peer);
    nn_close (left);
    nn_close (right);
    pthread_join (thread, NULL);
    fact ("yes", "device ends with its socket");

    /* Everything back through one socket. */
    static const int reflected[] = {NN_PAIR, NN_REP, NN_BUS};
    for (int i = 0; i < 3; i++) {
        device_left = left = open_socket (AF_SP_RAW, reflected[i]);
        device_right = -1;
        snprintf (url, sizeof url, "inproc://reflector-%d", i);
        nn_bind (left, url);
        pthread_create (&thread, NULL, run_device, NULL);
        s = open_socket (AF_SP, reflected[i] == NN_REP ? NN_REQ : reflected[i]);
        set_int (s, NN_SOL_SOCKET, NN_RCVTIMEO, reflected[i] == NN_BUS ? 200 : 5000); /* a BUS never echoes */
        nn_connect (s, url);
        await (s, 1);
        pause_for (5);
        nn_send (s, "echo", 4, 0);
        fact (outcome (recv_soon (s)), "reflected by %d", reflected[i]);
        nn_close (s);
        nn_close (left);
        pthread_join (thread, NULL);
    }
}

static void read_int (const char *key, int s, int level, int option)
{
    int value = -77;
    size_t length = sizeof value;
    int read = nn_getsockopt (s, level, option, &value, &length);
    char text[64];
    snprintf (text, sizeof text, "%d (%zu)", value, length);
    fact (read < 0 ? outcome (read) : text, "%s", key);
}

static void options (void)
{
    static const char *names[] = {"", "LINGER", "SNDBUF", "RCVBUF", "SNDTIMEO", "RCVTIMEO", "RECONNECT_IVL",
        "RECONNECT_IVL_MAX", "SNDPRIO", "RCVPRIO", "SNDFD", "RCVFD", "DOMAIN", "PROTOCOL", "IPV4ONLY", "SOCKET_NAME",
        "RCVMAXSIZE", "MAXTTL"};
    static const int values[] = {-2, -1, 0, 1, 2, 16, 17, 255, 256, 100000};
    char key[64], text[80];
    int s = nn_socket (AF_SP, NN_PAIR);
    size_t length;
    int value = 1;

    for (int option = 0; option <= 18; option++) {
        const char *name = option < 1 || option > 17 ? "unknown" : names[option];
        if (option == NN_SNDFD || option == NN_RCVFD || option == NN_SOCKET_NAME)
            continue;
        snprintf (key, sizeof key, "option %s %d default", name, option);
        read_int (key, s, NN_SOL_SOCKET, option);
        for (int i = 0; i < (int) (sizeof values / sizeof *values); i++) {
            int set = set_int (s, NN_SOL_SOCKET, option, values[i]);
            fact (passed (set), "option %s %d set to %d", name, option, values[i]);
            if (set >= 0) {
                snprintf (key, sizeof key, "option %s %d is after %d", name, option, values[i]);
                read_int (key, s, NN_SOL_SOCKET, option);
            }
        }
        fact (passed (nn_setsockopt (s, NN_SOL_SOCKET, option, &value, 3)), "option %s %d of 3 bytes", name, option);
        fact (passed (nn_setsockopt (s, NN_SOL_SOCKET, option, NULL, 0)), "option %s %d of nothing", name, option);
    }
    fact (passed (nn_setsockopt (s, NN_SOL_SOCKET, NN_SNDTIMEO, NULL, 4)), "option at null");
    fact (passed (nn_setsockopt (999, NN_SOL_SOCKET, NN_SNDTIMEO, &value, 4)), "option of bad socket");
    length = 2;
    fact (passed (nn_getsockopt (s, NN_SOL_SOCKET, NN_DOMAIN, &value, &length)), "option read into 2 bytes");
    snprintf (text, sizeof text, "%zu", length);
    fact (text, "option read into 2 bytes has");
    fact (passed (set_int (s, NN_SOL_SOCKET, NN_DOMAIN, 1)), "option DOMAIN set");
    fact (passed (set_int (s, NN_SOL_SOCKET, NN_RCVFD, 1)), "option RCVFD set");

    length = sizeof text;
    fact (passed (nn_setsockopt (s, NN_SOL_SOCKET, NN_SOCKET_NAME, "a name", 6)), "option name");
    nn_getsockopt (s, NN_SOL_SOCKET, NN_SOCKET_NAME, text, &length);
    text[length < sizeof text ? length : 0] = 0;
    fact (text, "option name is");
    memset (text, 'x', sizeof text);
    fact (passed (nn_setsockopt (s, NN_SOL_SOCKET, NN_SOCKET_NAME, text, 63)), "option name of 63");
    fact (passed (nn_setsockopt (s, NN_SOL_SOCKET, NN_SOCKET_NAME, text, 64)), "option name of 64");

    fact (passed (set_int (s, NN_TCP, NN_TCP_NODELAY, 1)), "option nodelay 1");
    read_int ("option nodelay is", s, NN_TCP, NN_TCP_NODELAY);
    fact (passed (set_int (s, NN_TCP, NN_TCP_NODELAY, 2)), "option nodelay 2");
    fact (passed (set_int (s, NN_TCP, 7, 1)), "option tcp 7");
    fact (passed (set_int (s, NN_IPC, 1, 1)), "option ipc 1");
    fact (passed (set_int (s, NN_INPROC, 1, 1)), "option inproc 1");
    fact (passed (set_int (s, NN_WS, NN_WS_MSG_TYPE, NN_WS_MSG_TYPE_TEXT)), "option ws");
    fact (passed (set_int (s, -9, 1, 1)), "option level -9");
    fact (passed (set_int (s, 999, 1, 1)), "option level 999");
    fact (passed (set_int (s, NN_REQ, NN_REQ_RESEND_IVL, 1)), "option of req on pair");
    read_int ("option of req on pair is", s, NN_REQ, NN_REQ_RESEND_IVL);
    nn_close (s);

    s = nn_socket (AF_SP, NN_REQ);
    read_int ("option resend default", s, NN_REQ, NN_REQ_RESEND_IVL);
    fact (passed (set_int (s, NN_REQ, NN_REQ_RESEND_IVL, 500)), "option resend 500");
    read_int ("option resend is", s, NN_REQ, NN_REQ_RESEND_IVL);
    fact (passed (set_int (s, NN_REQ, 2, 500)), "option req 2");
    nn_close (s);
    s = nn_socket (AF_SP_RAW, NN_REQ);
    fact (passed (set_int (s, NN_REQ, NN_REQ_RESEND_IVL, 500)), "option resend of raw req");
    nn_close (s);
    s = nn_socket (AF_SP, NN_SURVEYOR);
    read_int ("option deadline default", s, NN_SURVEYOR, NN_SURVEYOR_DEADLINE);
    fact (passed (set_int (s, NN_SURVEYOR, NN_SURVEYOR_DEADLINE, 500)), "option deadline 500");
    read_int ("option deadline is", s, NN_SURVEYOR, NN_SURVEYOR_DEADLINE);
    nn_close (s);

    /* Which sockets have a descriptor for what. */
    for (int i = 0; i < KINDS; i++) {
        int descriptor;
        s = nn_socket (AF_SP, kinds[i].protocol);
        length = sizeof descriptor;
        fact (passed (nn_getsockopt (s, NN_SOL_SOCKET, NN_RCVFD, &descriptor, &length)), "%s RCVFD", kinds[i].name);
        length = sizeof descriptor;
        fact (passed (nn_getsockopt (s, NN_SOL_SOCKET, NN_SNDFD, &descriptor, &length)), "%s SNDFD", kinds[i].name);
        nn_close (s);
    }
    fact (outcome (nn_socket (0, NN_PAIR)), "socket of no domain");
    fact (outcome (nn_socket (AF_SP, 17)), "socket of no protocol");
    fact (outcome (nn_socket (AF_SP, -1)), "socket of protocol -1");
}

static void try_address (int binds, const char *url, const char *shown)
{
    int s = nn_socket (AF_SP, NN_PAIR);
    int endpoint = binds ? nn_bind (s, url) : nn_connect (s, url);
    fact (passed (endpoint), "%s %s", binds ? "bind" : "connect", shown);
    nn_close (s);
}

static void addresses (void)
{
    static const char *urls[] = {
        "", "://", "tcp", "tcp:", "tcp:/127.0.0.1:@", "tcp:127.0.0.1:@", "://127.0.0.1:@", "abc://127.0.0.1:@",
        "TCP://127.0.0.1:@", "tcp4://127.0.0.1:@", "tcp://", "tcp://:", "tcp://:@", "tcp://@", "tcp://*",
        "tcp://*:", "tcp://*:@", "tcp://127.0.0.1", "tcp://127.0.0.1:", "tcp://127.0.0.1:@", "tcp://127.0.0.1:0",
        "tcp://127.0.0.1:65536", "tcp://127.0.0.1:1000000", "tcp://127.0.0.1:-1", "tcp://127.0.0.1:+5",
        "tcp://127.0.0.1:abc", "tcp://127.0.0.1:12x", "tcp://127.0.0.1: 5", "tcp://127.0.0.1:@/",
        "tcp://127.0.0.1:@/path", "tcp://localhost:@", "tcp://nosuchhost.invalid:@", "tcp://nosuchinterface:@",
        "tcp://lo:@", "tcp://[::1]:@", "tcp://::1:@", "tcp://[]:@", "tcp://256.0.0.1:@", "tcp://1.2.3:@",
        "tcp://-host:@", "tcp://ho_st:@", "tcp://ho st:@", "tcp://.host:@", "tcp://ho..st:@", "tcp://host.:@",
        "tcp://127.0.0.1;127.0.0.1:@", "tcp://*;127.0.0.1:@", "tcp://lo;127.0.0.1:@", "tcp://;127.0.0.1:@",
        "tcp://127.0.0.1;:@", "tcp://127.0.0.1;*:@", "tcp://192.0.2.1:@", "inproc://", "inproc://a", "ipc://", "ipc://#/a",
        "ipc://#/no/such/directory", "udp://127.0.0.1:@",
    };
    char url[600], shown[300];
    for (int i = 0; i < (int) (sizeof urls / sizeof *urls); i++) {
        for (int binds = 0; binds < 2; binds++) {
            const char *from = urls[i];
            char *to = url;
            for (; *from; from++) {
                if (*from == '@')
                    to += sprintf (to, "%d", free_port ());
                else if (*from == '#')
                    to += sprintf (to, "%s", directory);
                else
                    *to++ = *from;
            }
            *to = 0;
            try_address (binds, url, urls[i]);
        }
    }
    for (int length = 100; length <= 300; length += length < 140 ? 1 : 40) {
        snprintf (shown, sizeof shown, "inproc of %d bytes", length);
        memset (url, 'x', sizeof url);
        memcpy (url, "inproc://", 9);
        url[length] = 0;
        try_address (1, url, shown);
        try_address (0, url, shown);
    }
    {
        int s = nn_socket (AF_SP, NN_PAIR), other = nn_socket (AF_SP, NN_PAIR);
        fact (outcome (nn_bind (s, NULL)), "bind null");
        fact (outcome (nn_connect (s, NULL)), "connect null");
        fact (outcome (nn_bind (s, "inproc://endpoints")), "first endpoint");
        fact (outcome (nn_connect (s, "inproc://elsewhere")), "second endpoint");
        fact (outcome (nn_bind (other, "inproc://endpoints")), "bind inproc in use");
        fact (outcome (nn_shutdown (s, 1)), "shutdown");
        fact (outcome (nn_shutdown (s, 1)), "shutdown twice");
        fact (outcome (nn_shutdown (s, 77)), "shutdown unknown");
        fact (passed (nn_bind (other, "inproc://endpoints")), "bind inproc after shutdown");
        fact (outcome (nn_bind (s, "inproc://third")), "third endpoint");
        snprintf (url, sizeof url, "tcp://127.0.0.1:%d", free_port ());
        fact (passed (nn_bind (s, url)), "bind tcp");
        fact (passed (nn_bind (other, url)), "bind tcp in use");
        snprintf (url, sizeof url, "ipc://%s/in-use", directory);
        fact (passed (nn_bind (s, url)), "bind ipc");
        fact (passed (nn_bind (other, url)), "bind ipc in use");
        fact (outcome (nn_bind (999, "inproc://bad")), "bind bad socket");
        fact (outcome (nn_shutdown (999, 1)), "shutdown bad socket");
        nn_close (s);
        nn_close (other);
        s = nn_socket (AF_SP, NN_PAIR);
        fact (passed (set_int (s, NN_SOL_SOCKET, NN_IPV4ONLY, 0)), "ipv6 allowed");
        snprintf (url, sizeof url, "tcp://[::1]:%d", free_port ());
        fact (passed (nn_bind (s, url)), "bind ipv6");
        fact (passed (nn_connect (s, url)), "connect ipv6");
        nn_close (s);
    }
}

static void on_alarm (int signal)
{
    (void) signal;
}

static void alarm_soon (int restarts)
{
    struct sigaction action;
    memset (&action, 0, sizeof action);
    action.sa_handler = on_alarm;
    action.sa_flags = restarts ? SA_RESTART : 0;
    sigaction (SIGALRM, &action, NULL);
    ualarm (50000, 50000); /* again and again: one may come before the call sleeps */
}

/* What a call has returned that signals came into. */
static const char *interrupted (long returned)
{
    const char *value = outcome (returned);
    ualarm (0, 0);
    return value;
}

static void signals (void)
{
    for (int restarts = 0; restarts < 2; restarts++) {
        int pull = nn_socket (AF_SP, NN_PULL), push = nn_socket (AF_SP, NN_PUSH), req = nn_socket (AF_SP, NN_REQ);
        struct nn_pollfd asked = {pull, NN_POLLIN, 0};
        nn_bind (pull, restarts ? "inproc://signals-1" : "inproc://signals-0");
        alarm_soon (restarts);
        fact (interrupted (recv_soon (pull)), "signal in recv %d", restarts);
        alarm_soon (restarts);
        fact (interrupted (nn_send (push, "x", 1, 0)), "signal in send %d", restarts);
        alarm_soon (restarts);
        fact (interrupted (nn_poll (&asked, 1, -1)), "signal in poll %d", restarts);
        nn_send (req, "x", 1, 0);
        alarm_soon (restarts);
        fact (interrupted (recv_soon (req)), "signal in recv of req %d", restarts);
        nn_close (pull);
        nn_close (push);
        nn_close (req);
    }
    /* Over a connection, where the waiting thread may read it itself. */
    int pull = nn_socket (AF_SP, NN_PULL), push = nn_socket (AF_SP, NN_PUSH);
    join (pull, push, "tcp");
    alarm_soon (1);
    fact (interrupted (recv_soon (pull)), "signal in recv over tcp");
    nn_send (push, "later", 5, 0);
    fact (outcome (recv_soon (pull)), "received after signal");
    nn_close (pull);
    nn_close (push);
    /* In a device, which has received nothing that it could not send. */
    pthread_t thread;
    device_left = open_socket (AF_SP_RAW, NN_PULL);
    device_right = open_socket (AF_SP_RAW, NN_PUSH);
    nn_bind (device_left, "inproc://signals-left");
    nn_bind (device_right, "inproc://signals-right");
    push = open_socket (AF_SP, NN_PUSH);
    nn_connect (push, "inproc://signals-left");
    nn_send (push, "kept", 4, 0);
    alarm_soon (0);
    fact (interrupted (nn_device (device_left, device_right)), "signal in device");
    pull = open_socket (AF_SP, NN_PULL);
    nn_connect (pull, "inproc://signals-right");
    pthread_create (&thread, NULL, run_device, NULL);
    fact (outcome (recv_soon (pull)), "received through device after signal");
    nn_close (device_left);
    nn_close (device_right);
    pthread_join (thread, NULL);
    nn_close (pull);
    nn_close (push);
}

static void polls (void)
{
    int pull = open_socket (AF_SP, NN_PULL), push = open_socket (AF_SP, NN_PUSH);
    struct nn_pollfd asked[2] = {{pull, NN_POLLIN, 0}, {push, NN_POLLOUT, 0}};
    char text[32];
    fact (outcome (nn_poll (asked, 2, 20)), "poll times out");
    join (pull, push, "inproc");
    fact (outcome (nn_poll (asked, 2, 5000)), "poll with peer");
    snprintf (text, sizeof text, "%d %d", asked[0].revents, asked[1].revents);
    fact (text, "poll with peer finds");
    nn_send (push, "x", 1, 0);
    nn_poll (asked, 1, 5000);
    fact (outcome (nn_poll (asked, 2, 5000)), "poll with message");
    snprintf (text, sizeof text, "%d %d", asked[0].revents, asked[1].revents);
    fact (text, "poll with message finds");
    asked[0].events = 0;
    fact (outcome (nn_poll (asked, 1, 0)), "poll for nothing");
    fact (outcome (nn_poll (asked, 0, 0)), "poll no sockets");
    asked[0].fd = 999;
    asked[0].events = NN_POLLIN;
    fact (outcome (nn_poll (asked, 2, 0)), "poll bad socket");
    {
        int descriptor = -1;
        size_t length = sizeof descriptor;
        struct pollfd file;
        nn_getsockopt (pull, NN_SOL_SOCKET, NN_RCVFD, &descriptor, &length);
        file.fd = descriptor;
        file.events = POLLIN;
        fact (poll (&file, 1, 5000) == 1 ? "yes" : "no", "descriptor with message");
        recv_soon (pull);
        fact (poll (&file, 1, 0) == 1 ? "yes" : "no", "descriptor without message");
        nn_send (push, "x", 1, 0);
        fact (poll (&file, 1, 5000) == 1 ? "yes" : "no", "descriptor with message again");
    }
    nn_close (pull);
    nn_close (push);
}

static void statistics (void)
{
    int pull = open_socket (AF_SP, NN_PULL), push = open_socket (AF_SP, NN_PUSH);
    static const int stats[] = {101, 102, 103, 104, 105, 106, 107, 201, 202, 203, 301, 302, 303, 304, 401};
    char text[32];
    snprintf (text, sizeof text, "%llu", (unsigned long long) nn_get_statistic (push, 401));
    fact (text, "statistic 401 without peer");
    set_int (push, NN_SOL_SOCKET, NN_SNDPRIO, 3);
    join (pull, push, "tcp");
    nn_send (push, "hello", 5, 0);
    recv_soon (pull);
    for (int i = 0; i < (int) (sizeof stats / sizeof *stats); i++) {
        snprintf (text, sizeof text, "%llu", (unsigned long long) nn_get_statistic (pull, stats[i]));
        fact (text, "statistic %d of pull", stats[i]);
        snprintf (text, sizeof text, "%llu", (unsigned long long) nn_get_statistic (push, stats[i]));
        fact (text, "statistic %d of push", stats[i]);
    }
    fact (nn_get_statistic (pull, 1) == (uint64_t) -1 ? error_name (nn_errno ()) : "a number", "statistic 1");
    fact (nn_get_statistic (999, 101) == (uint64_t) -1 ? error_name (nn_errno ()) : "a number", "statistic of bad socket");
    nn_close (push);
    nn_close (pull);
}

static void symbols (void)
{
    struct nn_symbol_properties known;
    char text[64];
    int value = 0;
    for (int i = 0; nn_symbol_info (i, &known, sizeof known) == sizeof known; i++) {
        const char *name = nn_symbol (i, &value);
        snprintf (text, sizeof text, "%d %d %d %d %d", known.value, value, known.ns, known.type, known.unit);
        fact (text, "symbol %d %s %s", i, known.name, name);
    }
    fact (nn_symbol (1000, &value) ? "a name" : error_name (nn_errno ()), "symbol 1000");
    fact (nn_symbol (-1, &value) ? "a name" : error_name (nn_errno ()), "symbol -1");
    fact (outcome (nn_symbol_info (1000, &known, sizeof known)), "symbol info 1000");
    fact (outcome (nn_symbol_info (0, &known, sizeof (int))), "symbol info of 4 bytes");
    fact (nn_strerror (EINVAL), "text of EINVAL");
    fact (nn_strerror (0), "text of 0");
}

static void *recv_until_closed (void *socket)
{
    static char text[32];
    snprintf (text, sizeof text, "%s", outcome (recv_soon (*(int *) socket)));
    return text;
}

static void ends (void)
{
    int s = nn_socket (AF_SP, NN_PULL);
    pthread_t thread;
    void *ended;
    pthread_create (&thread, NULL, recv_until_closed, &s);
    pause_for (50);
    nn_close (s);
    pthread_join (thread, &ended);
    fact (ended, "recv in a closed socket");

    s = nn_socket (AF_SP, NN_PULL);
    pthread_create (&thread, NULL, recv_until_closed, &s);
    pause_for (50);
    nn_term ();
    pthread_join (thread, &ended);
    fact (ended, "recv in nn_term");
    fact (outcome (nn_socket (AF_SP, NN_PAIR)), "socket after nn_term");
    fact (outcome (try_send (0)), "send after nn_term");
    fact (outcome (nn_close (0)), "close after nn_term");
    nn_term ();
    fact ("yes", "nn_term twice");
}

int main (int count, char **arguments)
{
    if (count != 2)
        return 1;
    directory = arguments[1];
    setvbuf (stdout, NULL, _IOLBF, 0);
    symbols ();
    for (int i = 0; i < KINDS; i++) {
        one_socket (&kinds[i], AF_SP);
        one_socket (&kinds[i], AF_SP_RAW);
        with_peer (&kinds[i], "inproc");
        with_peer (&kinds[i], "tcp");
    }
    states ();
    order ("inproc");
    order ("ipc");
    order ("tcp");
    distribution ();
    parts ();
    raw_headers ();
    devices ();
    options ();
    addresses ();
    polls ();
    signals ();
    statistics ();
    ends ();
    return 0;
}
