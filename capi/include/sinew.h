/* The C interface of sinew: what nanomsg's interface (nanomsg/nn.h) cannot say.
 *
 * Programs link with the same library. A call returns 0 or a number of errno.h, and leaves a sentence for
 * sinew_error(). Times are milliseconds: 0 is one attempt, which fails with EAGAIN, and a negative one has no end.
 * A signal handler ends a call that sleeps, with EINTR; nothing is lost.
 *
 * Made from capi/src/own by cbindgen; do not edit. */


#ifndef SINEW_H
#define SINEW_H

#include <stddef.h>
#include <stdint.h>

/* A connection is complete; no message has passed. */
#define SINEW_ATTACHING 1

/* The socket uses the pipe. */
#define SINEW_ATTACHED 2

/* The pipe is gone, or was turned away. */
#define SINEW_DETACHED 3

/* Messages that may wait to be sent to one peer, 1 to 8192. */
#define SINEW_SEND_QUEUE 1

/* Bytes that may wait to be sent to one peer, at least 1. */
#define SINEW_SEND_QUEUE_BYTES 2

/* Messages from one peer that may wait to be received, 1 to 8192. */
#define SINEW_RECV_QUEUE 3

/* Bytes from one peer that may wait to be received, at least 1. */
#define SINEW_RECV_QUEUE_BYTES 4

/* The longest message that may be sent; -1: no limit. */
#define SINEW_MAX_SEND_SIZE 5

/* The longest message that may be received; -1: no limit. */
#define SINEW_MAX_RECV_SIZE 6

/* For how many milliseconds a closed socket may go on sending; -1: until all is sent. */
#define SINEW_LINGER 7

/* How many milliseconds pass between attempts to connect, above 0. */
#define SINEW_RECONNECT_INTERVAL 8

/* What that may grow to; 0: it does not grow. */
#define SINEW_RECONNECT_MAX 9

/* How many milliseconds an attempt to connect may take; -1: as long as the system likes. */
#define SINEW_CONNECT_TIMEOUT 10

/* How many peers a socket may have. */
#define SINEW_MAX_PEERS 11

/* Whether small tcp segments are sent at once. */
#define SINEW_TCP_NODELAY 12

/* For how many milliseconds a tcp peer may be silent; -1: as long as the system likes. */
#define SINEW_TCP_KEEPALIVE 13

/* The most hops of a message, 1 to 255: REP, RESPONDENT and PAIR v1. */
#define SINEW_TTL 14

/* After how many milliseconds a request is sent again; -1: never. REQ. */
#define SINEW_RESEND_INTERVAL 15

/* How often a request is sent again; -1: as often as needed. REQ. */
#define SINEW_MAX_RESENDS 16

/* For how many milliseconds answers to a survey count; -1: without end. SURVEYOR. */
#define SINEW_SURVEY_DEADLINE 17

/* 1, served first, to 16: PUSH and REQ. For endpoints made later. */
#define SINEW_SEND_PRIORITY 18

/* 1, served first, to 16: sockets that receive from many. For endpoints made later. */
#define SINEW_RECV_PRIORITY 19

/* Whether a full queue of a SUB drops its oldest message at once. */
#define SINEW_PREFER_NEW 20

/* How many bytes at the beginning of a message are its key: of each key only the newest message waits. -1: off.
 * PUB and SUB. */
#define SINEW_CONFLATE_PREFIX 21

/* One to one. */
#define SINEW_PAIR 16

/* One to one, with a count of hops. */
#define SINEW_PAIR1 17

/* Sends to all. */
#define SINEW_PUB 32

/* Receives the messages that begin with one of its topics. */
#define SINEW_SUB 33

/* Sends requests, and gets a reply to each. */
#define SINEW_REQ 48

/* Receives requests, and answers each. */
#define SINEW_REP 49

/* Sends work. */
#define SINEW_PUSH 80

/* Receives work. */
#define SINEW_PULL 81

/* Asks all. */
#define SINEW_SURVEYOR 98

/* Answers surveys. */
#define SINEW_RESPONDENT 99

/* Sends to all and receives from all. */
#define SINEW_BUS 112

/* For a time in milliseconds: without end. Zero is one attempt, which fails with EAGAIN. */
#define SINEW_FOREVER -1

/* A context of a REQ, REP, SUB, SURVEYOR or RESPONDENT. */
typedef struct sinew_context sinew_context;

/* The events of a socket, from when this was made. */
typedef struct sinew_events sinew_events;

/* A message that was received. Its bytes do not change. */
typedef struct sinew_message sinew_message;

/* A request or survey that was received, and the right to answer it once. */
typedef struct sinew_request sinew_request;

/* A socket. Any thread may use it; only its free must be the last call. */
typedef struct sinew_socket sinew_socket;

/* A survey under way. */
typedef struct sinew_survey sinew_survey;

/* Something happened to a pipe. */
typedef struct {
    /* SINEW_ATTACHING, SINEW_ATTACHED or SINEW_DETACHED. */
    int kind;
    /* The number of the pipe. */
    uint32_t pipe;
    /* The peer's address, with an end; cut off if it is longer. */
    char remote[128];
    /* Why a pipe is gone, in words; empty for the others. */
    char reason[128];
} sinew_event;

/* A peer that is connected. */
typedef struct {
    /* The number of the pipe. */
    uint32_t pipe;
    /* Whether we connected to it, rather than it to us. */
    int outgoing;
    /* Over ipc the process, else 0. */
    uint32_t pid;
    /* Messages sent to it so far. */
    uint64_t messages_sent;
    /* Messages received from it so far. */
    uint64_t messages_received;
    /* Messages that wait to be sent to it. */
    uint64_t send_queue;
    /* Messages from it that wait to be received. */
    uint64_t recv_queue;
    /* Messages to or from it that were dropped, for all reasons together. */
    uint64_t dropped;
    /* Its address, with an end; cut off if it is longer. */
    char remote[128];
} sinew_peer;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/* Makes a context. It copies the socket's options, and has no subscriptions.
 *
 * Requires: The socket is not freed, and `context` points to a pointer. */
int sinew_context_open(const sinew_socket *socket, sinew_context **context);

/* Sends a request, a survey or an answer. Never waits. EFSM: there is nothing to answer.
 *
 * Requires: The context is not freed, and so many bytes can be read. */
int sinew_context_send(const sinew_context *context, const void *data, size_t length);

/* Receives, waiting for so many milliseconds at most. EFSM: nothing was asked.
 *
 * Requires: The context is not freed, and `message` points to a pointer. */
int sinew_context_recv(const sinew_context *context, sinew_message **message, int milliseconds);

/* A descriptor that is readable while a receive would not wait. Only to be polled; it lives as long as the context.
 *
 * Requires: The context is not freed, and `descriptor` points to an `int`. */
int sinew_context_recv_fd(const sinew_context *context,
                          int *descriptor);

/* Subscribes a context of a SUB. A second time changes nothing.
 *
 * Requires: The context is not freed, and so many bytes can be read. */
int sinew_context_subscribe(const sinew_context *context, const void *topic, size_t length);

/* Closes and frees a context.
 *
 * Requires: The context is null, or not freed yet, and no call on it is under way. */
void sinew_context_free(sinew_context *context);

/* Subscribes to the events of a socket. The list keeps up to 1024 that were not read.
 *
 * Requires: The socket is not freed, and `events` points to a pointer. */
int sinew_events_open(const sinew_socket *socket, sinew_events **events);

/* Reads the next event, waiting for so many milliseconds at most. EBADF: the socket is closed, and all were read.
 *
 * Requires: The events are not freed, and an event can be written at `event`. */
int sinew_events_next(const sinew_events *events,
                      sinew_event *event,
                      int milliseconds);

/* How many events were lost because 1024 were not read.
 *
 * Requires: The events are not freed. */
uint64_t sinew_events_missed(const sinew_events *events);

/* Ends the subscription.
 *
 * Requires: The events are null, or not freed yet. */
void sinew_events_free(sinew_events *events);

/* The sentence of the last call of this thread that has failed. It is valid until the next one fails. */
const char *sinew_error(void);

/* The text of an error number, for those that `strerror` does not know too. */
const char *sinew_strerror(int number);

/* The bytes of a message, which live as long as it.
 *
 * Requires: The message is not freed. */
const void *sinew_message_data(const sinew_message *message);

/* How many bytes a message has.
 *
 * Requires: The message is not freed. */
size_t sinew_message_size(const sinew_message *message);

/* The number of the pipe on which a message came, as in `sinew_peers`.
 *
 * Requires: The message is not freed. */
uint32_t sinew_message_pipe(const sinew_message *message);

/* Frees a message.
 *
 * Requires: The message is null, or not freed yet. */
void sinew_message_free(sinew_message *message);

/* Sets an option.
 *
 * Requires: The socket is not freed. */
int sinew_set(const sinew_socket *socket, int option, int64_t value);

/* Reads an option.
 *
 * Requires: The socket is not freed, and a number can be written at `value`. */
int sinew_get(const sinew_socket *socket, int option, int64_t *value);

/* Lists the peers, as far as there is room. Returns how many there are.
 *
 * Requires: The socket is not freed, and so many peers can be written at `peers`. */
size_t sinew_peers(const sinew_socket *socket, sinew_peer *peers, size_t room);

/* Ends one connection. If we had connected, we connect again.
 *
 * Requires: The socket is not freed. */
int sinew_disconnect(const sinew_socket *socket, uint32_t pipe);

/* Reads a figure by its name, such as "messages_sent": those of `Stats` in sinew's documentation.
 *
 * Requires: The socket is not freed, `name` is a string, and a number can be written at `value`. */
int sinew_stat(const sinew_socket *socket, const char *name, uint64_t *value);

/* How many messages were dropped for a reason, which is a number from 0 on.
 *
 * Requires: The socket is not freed. */
uint64_t sinew_drops(const sinew_socket *socket, int reason);

/* The name of a reason to drop a message, such as "send_queue_full". Null: there are not so many. */
const char *sinew_drop_reason(int reason);

/* Writes all figures of a socket as an OpenMetrics page, as far as there is room, with an end. Returns how many bytes
 * the whole page has, without the end.
 *
 * Requires: The socket is not freed, and so many bytes can be written at `page`. */
size_t sinew_metrics(const sinew_socket *socket,
                     char *page,
                     size_t room);

/* Sends a request over a REQ, and waits for its reply for so many milliseconds at most. Any number of threads may do
 * so at once. A request without a reply in that time is given up.
 *
 * Requires: The socket is not freed, so many bytes can be read, and `reply` points to a pointer. */
int sinew_request_send(const sinew_socket *socket,
                       const void *data,
                       size_t length,
                       sinew_message **reply,
                       int milliseconds);

/* Receives a request over a REP, or a survey over a RESPONDENT, waiting for so many milliseconds at most. Each must
 * be answered or freed; until then others can be received.
 *
 * Requires: The socket is not freed, and `request` points to a pointer. */
int sinew_request_recv(const sinew_socket *socket,
                       sinew_request **request,
                       int milliseconds);

/* The bytes of a request, which live as long as it.
 *
 * Requires: The request is neither answered nor freed. */
const void *sinew_request_data(const sinew_request *request);

/* How many bytes a request has.
 *
 * Requires: The request is neither answered nor freed. */
size_t sinew_request_size(const sinew_request *request);

/* The number of the pipe on which a request came, as in `sinew_peers`.
 *
 * Requires: The request is neither answered nor freed. */
uint32_t sinew_request_pipe(const sinew_request *request);

/* Answers a request, and frees it, whatever it returns. Never waits.
 *
 * Requires: The request is neither answered nor freed, and so many bytes can be read. */
int sinew_request_reply(sinew_request *request, const void *data, size_t length);

/* Frees a request without an answer.
 *
 * Requires: The request is null, or neither answered nor freed. */
void sinew_request_free(sinew_request *request);

/* Sends a survey over a SURVEYOR to all that are connected. Never waits. Its answers count until the deadline.
 *
 * Requires: The socket is not freed, so many bytes can be read, and `survey` points to a pointer. */
int sinew_survey_send(const sinew_socket *socket, const void *data, size_t length, sinew_survey **survey);

/* Receives the next answer to a survey, waiting for so many milliseconds, at most until the deadline, when it fails
 * with ETIMEDOUT.
 *
 * Requires: The survey is not freed, and `answer` points to a pointer. */
int sinew_survey_recv(const sinew_survey *survey,
                      sinew_message **answer,
                      int milliseconds);

/* A descriptor that is readable while there is an answer, or the survey is over. Only to be polled; it lives as long as
 * the survey.
 *
 * Requires: The survey is not freed, and `descriptor` points to an `int`. */
int sinew_survey_recv_fd(const sinew_survey *survey,
                         int *descriptor);

/* Ends a survey.
 *
 * Requires: The survey is null, or not freed yet. */
void sinew_survey_free(sinew_survey *survey);

/* Makes a socket of a kind, such as SINEW_REQ.
 *
 * Requires: `socket` points to a pointer. */
int sinew_socket_open(int kind, sinew_socket **socket);

/* Closes a socket: calls of other threads on it end with EBADF. What one write can still send is sent.
 *
 * Requires: The socket is open or closed, and not freed. */
int sinew_socket_close(const sinew_socket *socket);

/* Closes a socket, if it is open, and frees it. What was made from it (contexts, requests, surveys) may live on.
 *
 * Requires: The socket is null, or not freed yet, and no other call on it is under way or will be. */
void sinew_socket_free(sinew_socket *socket);

/* Accepts connections at an address. The address that it has then, with the port for port 0, is written to `actual`,
 * which has `room` bytes, unless it is null.
 *
 * Requires: The socket is not freed, `url` is a string, and so much can be written at `actual`. */
int sinew_bind(const sinew_socket *socket,
               const char *url,
               char *actual,
               size_t room);

/* Connects in the background, again and again until it is connected, and when it has lost the connection.
 *
 * Requires: The socket is not freed, and `url` is a string. */
int sinew_connect(const sinew_socket *socket, const char *url);

/* Makes one attempt to connect, and waits for its outcome. Once connected, it connects again when it has lost the
 * connection.
 *
 * Requires: The socket is not freed, and `url` is a string. */
int sinew_connect_now(const sinew_socket *socket,
                      const char *url);

/* Closes the endpoint with this address: that given to bind or connect, or the actual one.
 *
 * Requires: The socket is not freed, and `url` is a string. */
int sinew_endpoint_close(const sinew_socket *socket, const char *url);

/* Waits until so many peers are connected, for so many milliseconds at most.
 *
 * Requires: The socket is not freed. */
int sinew_wait_for_peers(const sinew_socket *socket, size_t peers, int milliseconds);

/* Sends `length` bytes, waiting for room for so many milliseconds at most. Not for REQ, REP, SURVEYOR and RESPONDENT.
 *
 * Requires: The socket is not freed, and so many bytes can be read. */
int sinew_send(const sinew_socket *socket,
               const void *data,
               size_t length,
               int milliseconds);

/* Receives a message, waiting for so many milliseconds at most. Not for REQ, REP, SURVEYOR and RESPONDENT.
 *
 * Requires: The socket is not freed, and `message` points to a pointer. */
int sinew_recv(const sinew_socket *socket, sinew_message **message, int milliseconds);

/* Subscribes a SUB to the messages that begin with these bytes. Each time counts.
 *
 * Requires: The socket is not freed, and so many bytes can be read. */
int sinew_subscribe(const sinew_socket *socket, const void *topic, size_t length);

/* Ends a subscription of a SUB.
 *
 * Requires: The socket is not freed, and so many bytes can be read. */
int sinew_unsubscribe(const sinew_socket *socket, const void *topic, size_t length);

/* Waits until all that was sent has been handed to the kernel, or over inproc to the peer, for so many milliseconds
 * at most. Returns how many messages have not; 0 is success.
 *
 * Requires: The socket is not freed. */
size_t sinew_drain(const sinew_socket *socket,
                   int milliseconds);

/* A descriptor that is readable while a receive would not wait. Only to be polled; it lives as long as the socket.
 *
 * Requires: The socket is not freed, and `descriptor` points to an `int`. */
int sinew_recv_fd(const sinew_socket *socket,
                  int *descriptor);

/* A descriptor that is readable while a send would not wait. Only to be polled; it lives as long as the socket.
 *
 * Requires: The socket is not freed, and `descriptor` points to an `int`. */
int sinew_send_fd(const sinew_socket *socket, int *descriptor);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* SINEW_H */
