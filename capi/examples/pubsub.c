/* PUB/SUB: topics of a socket, and of a context with a queue of its own. */
#include "check.h"

int main (void)
{
    sinew_socket *publisher, *subscriber;
    sinew_context *all;
    sinew_message *message;

    CHECK (sinew_socket_open (SINEW_PUB, &publisher));
    CHECK (sinew_socket_open (SINEW_SUB, &subscriber));
    CHECK (sinew_subscribe (subscriber, "weather.", 8));
    CHECK (sinew_context_open (subscriber, &all));
    CHECK (sinew_context_subscribe (all, "", 0));
    CHECK (sinew_bind (publisher, "inproc://pubsub", NULL, 0));
    CHECK (sinew_connect (subscriber, "inproc://pubsub"));
    CHECK (sinew_wait_for_peers (publisher, 1, 5000)); /* who connects later has missed it */

    CHECK (sinew_send (publisher, "traffic.quiet", 13, 0));
    CHECK (sinew_send (publisher, "weather.sunny", 13, 0));
    CHECK (sinew_recv (subscriber, &message, 5000));
    show ("weather", message);
    for (int i = 0; i < 2; i++) {
        CHECK (sinew_context_recv (all, &message, 5000));
        show ("all", message);
    }

    sinew_context_free (all);
    sinew_socket_free (subscriber);
    sinew_socket_free (publisher);
    return 0;
}
