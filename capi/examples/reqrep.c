/* REQ/REP: requests by handle. The server has two in hand at once, and answers the second first. */
#include "check.h"

#include <pthread.h>

static sinew_socket *req;

static void *ask (void *question)
{
    sinew_message *reply;
    CHECK (sinew_request_send (req, question, strlen (question), &reply, 5000));
    show (question, reply);
    return NULL;
}

int main (void)
{
    static char *questions[] = {"one", "two"};
    sinew_socket *rep;
    sinew_request *requests[2];
    pthread_t threads[2];

    CHECK (sinew_socket_open (SINEW_REQ, &req));
    CHECK (sinew_socket_open (SINEW_REP, &rep));
    CHECK (sinew_bind (rep, "inproc://reqrep", NULL, 0));
    CHECK (sinew_connect (req, "inproc://reqrep"));

    /* Any number of threads may share one REQ. */
    for (int i = 0; i < 2; i++)
        pthread_create (&threads[i], NULL, ask, questions[i]);
    for (int i = 0; i < 2; i++)
        CHECK (sinew_request_recv (rep, &requests[i], 5000));
    for (int i = 1; i >= 0; i--) {
        char answer[64];
        int length = snprintf (answer, sizeof answer, "hello %.*s", (int) sinew_request_size (requests[i]),
            (const char *) sinew_request_data (requests[i]));
        CHECK (sinew_request_reply (requests[i], answer, (size_t) length));
    }
    for (int i = 0; i < 2; i++)
        pthread_join (threads[i], NULL);

    sinew_socket_free (req);
    sinew_socket_free (rep);
    return 0;
}
