/* Who is connected, who comes and goes, and what became of the messages. */
#include "check.h"

#include <errno.h>
#include <inttypes.h>

int main (void)
{
    sinew_socket *publisher, *subscriber;
    sinew_events *events;
    sinew_event event;
    sinew_peer peer;
    uint64_t sent;
    char url[128];
    static char page[1 << 16];

    CHECK (sinew_socket_open (SINEW_PUB, &publisher));
    CHECK (sinew_socket_open (SINEW_SUB, &subscriber));
    CHECK (sinew_set (publisher, SINEW_SEND_QUEUE, 10));
    CHECK (sinew_events_open (publisher, &events));
    CHECK (sinew_bind (publisher, "tcp://127.0.0.1:0", url, sizeof url));

    CHECK (sinew_send (publisher, "to nobody", 9, 0));
    CHECK (sinew_connect (subscriber, url));
    do
        CHECK (sinew_events_next (events, &event, 5000));
    while (event.kind != SINEW_ATTACHED);
    if (sinew_peers (publisher, &peer, 1) != 1 || peer.pipe != event.pipe || peer.outgoing)
        return 1;
    printf ("peer %" PRIu32 " at %s\n", peer.pipe, peer.remote);

    CHECK (sinew_stat (publisher, "messages_sent", &sent));
    printf ("%" PRIu64 " sent\n", sent);
    for (int reason = 0; sinew_drop_reason (reason) != NULL; reason++)
        if (sinew_drops (publisher, reason) > 0)
            printf ("%" PRIu64 " dropped: %s\n", sinew_drops (publisher, reason), sinew_drop_reason (reason));
    if (sinew_metrics (publisher, page, sizeof page) == 0 || strstr (page, "sinew_messages_sent_total") == NULL)
        return 1;

    sinew_socket_free (subscriber);
    do
        CHECK (sinew_events_next (events, &event, 5000));
    while (event.kind != SINEW_DETACHED);
    printf ("gone: %s\n", event.reason);

    /* An error says what stood in the way. */
    CHECK (sinew_socket_open (SINEW_PUSH, &subscriber));
    CHECK (sinew_connect (subscriber, "ipc:///nowhere"));
    if (sinew_send (subscriber, "x", 1, 50) != ETIMEDOUT)
        return 1;
    printf ("%s\n", sinew_error ());

    sinew_events_free (events);
    sinew_socket_free (subscriber);
    sinew_socket_free (publisher);
    return 0;
}
