/* PUSH/PULL: work for three workers, and a program that ends when all of it has left. */
#include "check.h"

int main (void)
{
    sinew_socket *push, *workers[3];
    char url[128];

    CHECK (sinew_socket_open (SINEW_PUSH, &push));
    CHECK (sinew_bind (push, "tcp://127.0.0.1:0", url, sizeof url));
    for (int i = 0; i < 3; i++) {
        CHECK (sinew_socket_open (SINEW_PULL, &workers[i]));
        CHECK (sinew_connect (workers[i], url));
    }
    CHECK (sinew_wait_for_peers (push, 3, 5000)); /* else the first to connect gets all of it */
    for (int i = 0; i < 3; i++)
        CHECK (sinew_send (push, "job", 3, SINEW_FOREVER));
    if (sinew_drain (push, 5000) != 0)
        return 1;
    for (int i = 0; i < 3; i++) {
        sinew_message *job;
        CHECK (sinew_recv (workers[i], &job, 5000)); /* one each, since they are equally free */
        show ("worker", job);
        sinew_socket_free (workers[i]);
    }
    sinew_socket_free (push);
    return 0;
}
