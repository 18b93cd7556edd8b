/* The C interface of nanomsg, as sinew implements it. Names, numbers and layouts are those of nanomsg 1.1 and 1.2,
 * so that programs and bindings made for either work with both. README.md lists what behaves differently.
 *
 * Every call that can fail returns -1 (or NULL) and leaves an error number in errno; nn_errno() and nn_strerror()
 * read it and say what it means. Any thread may call anything on any socket. */
#ifndef NN_H_INCLUDED
#define NN_H_INCLUDED

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef NN_EXPORT
#define NN_EXPORT extern
#endif

/* The version of the interface, in the terms of libtool. */
#define NN_VERSION_CURRENT 5
#define NN_VERSION_REVISION 1
#define NN_VERSION_AGE 0

/* Error numbers. What the system has, errno.h defines; these are beyond it. */
#define NN_HAUSNUMERO 156384712
#ifndef ETERM
#define ETERM (NN_HAUSNUMERO + 53) /* nn_term() was called */
#endif
#ifndef EFSM
#define EFSM (NN_HAUSNUMERO + 54) /* the socket is in a state that does not allow the call */
#endif
#ifndef EFORKED
#define EFORKED (NN_HAUSNUMERO + 64) /* the socket belongs to the process that this one was forked from */
#endif
#ifndef EACCESS
#define EACCESS EACCES
#endif

NN_EXPORT int nn_errno (void);
NN_EXPORT const char *nn_strerror (int errnum);

/* All constants by number, for bindings. nn_symbol() returns NULL, and nn_symbol_info() 0, behind the last one. */
#define NN_NS_NAMESPACE 0
#define NN_NS_VERSION 1
#define NN_NS_DOMAIN 2
#define NN_NS_TRANSPORT 3
#define NN_NS_PROTOCOL 4
#define NN_NS_OPTION_LEVEL 5
#define NN_NS_SOCKET_OPTION 6
#define NN_NS_TRANSPORT_OPTION 7
#define NN_NS_OPTION_TYPE 8
#define NN_NS_OPTION_UNIT 9
#define NN_NS_FLAG 10
#define NN_NS_ERROR 11
#define NN_NS_LIMIT 12
#define NN_NS_EVENT 13
#define NN_NS_STATISTIC 14

#define NN_TYPE_NONE 0
#define NN_TYPE_INT 1
#define NN_TYPE_STR 2

#define NN_UNIT_NONE 0
#define NN_UNIT_BYTES 1
#define NN_UNIT_MILLISECONDS 2
#define NN_UNIT_PRIORITY 3
#define NN_UNIT_BOOLEAN 4
#define NN_UNIT_MESSAGES 5
#define NN_UNIT_COUNTER 6

struct nn_symbol_properties {
    int value;
    const char *name;
    int ns;
    int type;
    int unit;
};

NN_EXPORT const char *nn_symbol (int i, int *value);
NN_EXPORT int nn_symbol_info (int i, struct nn_symbol_properties *buf, int buflen);

/* Closes all sockets. From then on nn_socket() fails with ETERM. A program that just ends need not call it. */
NN_EXPORT void nn_term (void);

/* Messages that the library allocates. A send that names one by NN_MSG takes it, unless the send fails; a receive
 * with NN_MSG gives one, which is to be freed. */
#define NN_MSG ((size_t) -1)

NN_EXPORT void *nn_allocmsg (size_t size, int type);
NN_EXPORT void *nn_reallocmsg (void *msg, size_t size);
NN_EXPORT int nn_freemsg (void *msg);

/* Messages in parts, with control headers. */
struct nn_iovec {
    void *iov_base;
    size_t iov_len;
};

struct nn_msghdr {
    struct nn_iovec *msg_iov;
    int msg_iovlen;
    void *msg_control;
    size_t msg_controllen;
};

struct nn_cmsghdr {
    size_t cmsg_len;
    int cmsg_level;
    int cmsg_type;
};

/* The control header with the protocol header of a raw message: a size_t with its length, then its bytes. */
#define PROTO_SP 1
#define SP_HDR 1

NN_EXPORT struct nn_cmsghdr *nn_cmsg_nxthdr_ (
    const struct nn_msghdr *mhdr, const struct nn_cmsghdr *cmsg);

#define NN_CMSG_ALIGN_(len) (((len) + sizeof (size_t) - 1) / sizeof (size_t) * sizeof (size_t))
#define NN_CMSG_FIRSTHDR(mhdr) nn_cmsg_nxthdr_ ((struct nn_msghdr *) (mhdr), NULL)
#define NN_CMSG_NXTHDR(mhdr, cmsg) \
    nn_cmsg_nxthdr_ ((struct nn_msghdr *) (mhdr), (struct nn_cmsghdr *) (cmsg))
#define NN_CMSG_DATA(cmsg) ((unsigned char *) ((struct nn_cmsghdr *) (cmsg) + 1))
#define NN_CMSG_SPACE(len) (NN_CMSG_ALIGN_ (sizeof (struct nn_cmsghdr)) + NN_CMSG_ALIGN_ (len))
#define NN_CMSG_LEN(len) (NN_CMSG_ALIGN_ (sizeof (struct nn_cmsghdr)) + (len))

/* Domains: ordinary sockets, and raw ones. */
#define AF_SP 1
#define AF_SP_RAW 2

/* The most bytes of an address, with its end. */
#define NN_SOCKADDR_MAX 128

/* Options of all sockets. Times are milliseconds. */
#define NN_SOL_SOCKET 0

#define NN_LINGER 1            /* how long a closed socket may go on sending; negative: without end */
#define NN_SNDBUF 2            /* bytes that may wait to be sent to one peer */
#define NN_RCVBUF 3            /* bytes from one peer that may wait to be received */
#define NN_SNDTIMEO 4          /* negative: forever */
#define NN_RCVTIMEO 5          /* negative: forever */
#define NN_RECONNECT_IVL 6
#define NN_RECONNECT_IVL_MAX 7 /* 0: the interval does not grow */
#define NN_SNDPRIO 8           /* 1, served first, to 16 */
#define NN_RCVPRIO 9
#define NN_SNDFD 10            /* a descriptor that is readable while a send would not wait; only poll it */
#define NN_RCVFD 11
#define NN_DOMAIN 12
#define NN_PROTOCOL 13
#define NN_IPV4ONLY 14
#define NN_SOCKET_NAME 15
#define NN_RCVMAXSIZE 16       /* -1: no limit */
#define NN_MAXTTL 17

/* A flag of sending and receiving: do not wait. */
#define NN_DONTWAIT 1

NN_EXPORT int nn_socket (int domain, int protocol);
NN_EXPORT int nn_close (int s);
NN_EXPORT int nn_setsockopt (int s, int level, int option, const void *optval, size_t optvallen);
NN_EXPORT int nn_getsockopt (int s, int level, int option, void *optval, size_t *optvallen);
NN_EXPORT int nn_bind (int s, const char *addr);
NN_EXPORT int nn_connect (int s, const char *addr);
NN_EXPORT int nn_shutdown (int s, int how);
NN_EXPORT int nn_send (int s, const void *buf, size_t len, int flags);
NN_EXPORT int nn_recv (int s, void *buf, size_t len, int flags);
NN_EXPORT int nn_sendmsg (int s, const struct nn_msghdr *msghdr, int flags);
NN_EXPORT int nn_recvmsg (int s, struct nn_msghdr *msghdr, int flags);

/* Waiting for many sockets at once. */
#define NN_POLLIN 1
#define NN_POLLOUT 2

struct nn_pollfd {
    int fd;
    short events;
    short revents;
};

NN_EXPORT int nn_poll (struct nn_pollfd *fds, int nfds, int timeout);

/* Forwards between two raw sockets, or back through one, until a socket is closed. */
NN_EXPORT int nn_device (int s1, int s2);

/* Statistics of a socket. */
#define NN_STAT_ESTABLISHED_CONNECTIONS 101
#define NN_STAT_ACCEPTED_CONNECTIONS 102
#define NN_STAT_DROPPED_CONNECTIONS 103
#define NN_STAT_BROKEN_CONNECTIONS 104
#define NN_STAT_CONNECT_ERRORS 105
#define NN_STAT_BIND_ERRORS 106
#define NN_STAT_ACCEPT_ERRORS 107
#define NN_STAT_CURRENT_CONNECTIONS 201
#define NN_STAT_INPROGRESS_CONNECTIONS 202
#define NN_STAT_CURRENT_EP_ERRORS 203
#define NN_STAT_MESSAGES_SENT 301
#define NN_STAT_MESSAGES_RECEIVED 302
#define NN_STAT_BYTES_SENT 303
#define NN_STAT_BYTES_RECEIVED 304
#define NN_STAT_CURRENT_SND_PRIORITY 401

NN_EXPORT uint64_t nn_get_statistic (int s, int stat);

#ifdef __cplusplus
}
#endif

#endif
